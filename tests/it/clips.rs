//! The clips, demuxed and decoded without any call between, are what they claim to be.
//!
//! This holds three parties against each other that share no code: the program that draws the
//! clips, the demuxers and decoders of the library, and the measure that judges calls. A frame
//! time, an edit list or a codec delay that is wrong in one of them shows up as skew.

use std::fs::File;
use std::path::Path;

use openh264::OpenH264API;
use openh264::decoder::{Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource as _;

use telecast::emulator::marks::Luma;
use telecast::emulator::measure::{Measure, Picture, Reception, Report, Sound, Verdict, Wanted};
use telecast::media::audio::Resampler;
use telecast::media::codec::audio::AudioDecoder;
use telecast::media::demux::{self, Packet, Track};
use telecast::media::{Codec, MediaKind};
use telecast::time::MediaTime;

/// Enough for six flashes; the rest of a clip is more of the same.
const MEASURED: MediaTime = MediaTime::from_secs(6);

/// An edge that a lossy codec has smeared is found this exactly.
const EDGE_MS: f64 = 0.5;

struct Clip {
    measure: Measure,
    reception: Reception,
    wanted: Wanted,
}

impl Clip {
    /// Demuxes and decodes the first seconds of a clip.
    fn decode(name: &str) -> Self {
        let file = File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("media").join(name)).unwrap();
        let mut demuxer = demux::open(Box::new(file)).unwrap();
        let tracks = demuxer.tracks().to_vec();
        let mut packets: Vec<Vec<Packet>> = vec![Vec::new(); tracks.len()];
        while let Some(packet) = demuxer.next_packet().unwrap() {
            if packet.pts < MEASURED {
                packets[packet.track].push(packet);
            }
        }
        let mut clip = Self {
            measure: Measure::new(),
            reception: Reception { now: MEASURED, ..Reception::default() },
            wanted: Wanted { video: false, audio: false },
        };
        for (track, packets) in tracks.iter().zip(&packets) {
            match track.kind {
                MediaKind::Video => clip.decode_pictures(packets),
                MediaKind::Audio => clip.decode_sound(track, packets),
            }
        }
        clip
    }

    fn decode_pictures(&mut self, packets: &[Packet]) {
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let mut decoder = Decoder::with_api_config(OpenH264API::from_source(), config).unwrap();
        // Pictures come out in the order in which they are shown.
        let mut times: Vec<MediaTime> = packets.iter().map(|packet| packet.pts).collect();
        times.sort_unstable();
        let mut times = times.into_iter();
        let mut show = |picture: &openh264::decoder::DecodedYUV<'_>| {
            let (width, height) = picture.dimensions();
            let luma = Luma::new(picture.y(), picture.strides().0, width, height).unwrap();
            let taken = times.next().unwrap();
            self.measure.handle_picture(&Picture { luma, arrival: taken, taken: Some(taken) });
        };
        for packet in packets {
            if let Some(picture) = decoder.decode(&packet.data).unwrap() {
                show(&picture);
            }
        }
        for picture in decoder.flush_remaining().unwrap() {
            show(&picture);
        }
        self.reception.video = Some(Codec::H264);
        self.wanted.video = true;
    }

    fn decode_sound(&mut self, track: &Track, packets: &[Packet]) {
        let mut decoder = AudioDecoder::new(track).unwrap();
        let mut resampler = None;
        let (mut start, mut samples) = (None, Vec::new());
        for packet in packets {
            let buffer = decoder.decode(packet).into_stereo();
            if !buffer.is_empty() {
                start.get_or_insert(buffer.start);
                resampler
                    .get_or_insert_with(|| Resampler::new(buffer.rate).unwrap())
                    .push(&buffer.samples, &mut samples);
            }
        }
        assert_eq!(decoder.failures(), 0);
        for (i, part) in samples.chunks(1920).enumerate() {
            let taken = start.unwrap() + MediaTime::from_ticks(i as i64 * 960, 48_000);
            let sound = Sound { samples: part, arrival: taken, taken: Some(taken), concealed: false };
            self.measure.handle_sound(&sound);
        }
        self.reception.audio = Some(track.codec.clone());
        self.wanted.audio = true;
    }

    fn report(&self) -> Report {
        self.measure.report(&self.reception, self.wanted)
    }
}

fn assert_good(name: &str, n_pictures: u64, size: (usize, usize)) {
    let report = Clip::decode(name).report();
    assert_eq!((report.verdict, &report.reasons), (Verdict::Ok, &Vec::new()), "{name}");
    let audio = report.audio.unwrap();
    assert_eq!(audio.dominant_hz, Some(440.0), "{name}");
    for (level, expected) in [(audio.left_dbfs, -18.0), (audio.right_dbfs, -24.0)] {
        assert!((level.unwrap() - expected).abs() < 0.1, "{name}: {level:?} dBFS instead of {expected}");
    }
    let Some(video) = report.video else {
        return assert_eq!(n_pictures, 0, "{name}");
    };
    assert_eq!((video.frames_decoded, video.frame_numbers_missing), (n_pictures, Some(0)), "{name}");
    assert_eq!((video.width, video.height), size, "{name}");
    let skew = report.av_skew_ms.unwrap();
    assert!(skew.max.abs() < EDGE_MS, "{name}: {skew:?}");
}

#[test]
fn clip_mp4_is_whole_and_in_sync() {
    assert_good("clip.mp4", 180, (1280, 720));
}

#[test]
fn clip_mkv_is_whole_and_in_sync() {
    assert_good("clip.mkv", 180, (1280, 720));
}

#[test]
fn long_gop_mp4_is_whole_and_in_sync() {
    assert_good("long-gop.mp4", 180, (640, 360));
}

#[test]
fn bframes_mp4_is_whole_and_in_sync() {
    assert_good("bframes.mp4", 180, (640, 360));
}

#[test]
fn music_sounds_right() {
    assert_good("music.ogg", 0, (0, 0));
    assert_good("music.mp3", 0, (0, 0));
}
