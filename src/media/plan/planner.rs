//! The first packets of an item → its plan.

use std::sync::Arc;

use super::{
    Obstacle, PictureOptions, Places, Plan, PlanOptions, Refusal, TrackChoice, TrackPlan, can_transcode,
    is_same_language,
};
use crate::media::codec::audio::AudioDecoder;
use crate::media::codec::h264::{self, ReorderWatch, Reordering, Sps, nal_type, nal_units};
use crate::media::codec::opus;
use crate::media::demux::{Packet, Shape, Track};
use crate::media::pixel::PixelAspect;
use crate::media::{Codec, MediaKind};
use crate::time::MediaTime;

/// Pictures to look at for B-frames: encoders use them within the first dozen or not at all.
const LOOK_AT_PICTURES: usize = 64;
/// Pictures to wait for the first IDR: 20 s at 30 fps.
pub(super) const WAIT_FOR_KEY: usize = 600;
/// Opus packets to look at: encoders keep the length that they begin with.
const LOOK_AT_SOUND: usize = 4;
/// Packets and bytes after which the plan is made from what is known.
pub(super) const MAX_PACKETS: usize = 4000;
const MAX_BYTES: usize = 32 << 20;
/// Profiles with 4:2:0 pictures of 8 bits, which is what every receiver decodes.
const PLAYABLE_PROFILES: [u8; 3] = [66, 77, 100];

/// The tracks of a file that are to be played: the first of each kind that can be, else the
/// first that is there, so that its refusal can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::media) struct Selection {
    pub(in crate::media) audio: Option<usize>,
    pub(in crate::media) video: Option<usize>,
}

impl Selection {
    fn of(tracks: &[Track], options: PlanOptions) -> Self {
        let pick = |kind, wanted: bool, choice: Option<TrackChoice>, good: &dyn Fn(&Track) -> bool| {
            let of_kind = || of_kind(tracks, kind);
            let best = match choice {
                Some(TrackChoice::Number(number)) => of_kind().nth(usize::from(number).saturating_sub(1)),
                Some(language @ TrackChoice::Language(_)) => {
                    let language = language.to_string();
                    let is_in_it = |said: &String| is_same_language(said, &language);
                    of_kind().find(|(_, track)| track.language.as_ref().is_some_and(is_in_it))
                }
                None => of_kind().find(|(_, track)| good(track)).or_else(|| of_kind().next()),
            };
            best.filter(|_| wanted).map(|(index, _)| index)
        };
        Self {
            audio: pick(MediaKind::Audio, options.audio, options.audio_track, &|track| {
                AudioDecoder::new(track).is_ok()
            }),
            video: pick(MediaKind::Video, options.video, options.video_track, &|track| {
                options.pictures.codecs.take(&track.codec)
            }),
        }
    }
}

/// Those that can be chosen, with their places in the file.
fn of_kind(tracks: &[Track], kind: MediaKind) -> impl Iterator<Item = (usize, &Track)> {
    tracks.iter().enumerate().filter(move |(_, track)| track.kind == kind && !is_still(&track.codec))
}

/// Cover art, which some containers keep as a track of one picture.
fn is_still(codec: &Codec) -> bool {
    let Codec::Unknown(name) = codec else { return false };
    let name = name.to_ascii_lowercase();
    ["jpeg", "jpg", "mjpg", "png", "bmp", "gif"].iter().any(|still| name.contains(still))
}

/// Looks at the first packets of an item until it is sure how to play it.
#[derive(Debug)]
pub(in crate::media) struct Planner {
    options: PlanOptions,
    tracks: Vec<Track>,
    selection: Selection,
    sound: Sound,
    pictures: Pictures,
    n_packets: usize,
    n_bytes: usize,
}

/// What the first packets of the sound tell.
#[derive(Debug, Default)]
struct Sound {
    /// Those that have something in them.
    n_packets: usize,
    /// The file ends here.
    ended: bool,
    /// The first packet that is not one frame of 20 ms.
    odd: Option<opus::Shape>,
}

/// What the first packets of the picture tell.
#[derive(Debug, Default)]
struct Pictures {
    n_pictures: usize,
    sps: Option<Sps>,
    key_seen: bool,
    watch: ReorderWatch,
    refreshed: bool,
    /// The first byte of the last VP8 or VP9 keyframe.
    vpx_header: Option<u8>,
    /// How long its pictures last together, and how many of them say so.
    length: MediaTime,
    n_timed: u32,
}

impl Planner {
    pub(in crate::media) fn new(tracks: &[Track], options: PlanOptions) -> Self {
        let selection = Selection::of(tracks, options);
        let mut pictures = Pictures::default();
        if let Some(track) = selection.video.map(|index| &tracks[index]) {
            pictures.learn(&track.config);
        }
        Self {
            options,
            tracks: tracks.to_vec(),
            selection,
            sound: Sound::default(),
            pictures,
            n_packets: 0,
            n_bytes: 0,
        }
    }

    pub(in crate::media) const fn selection(&self) -> Selection {
        self.selection
    }

    /// Takes the next packet of the file into account, whichever track it belongs to.
    pub(in crate::media) fn look_at(&mut self, packet: &Packet) {
        self.n_packets += 1;
        self.n_bytes += packet.data.len();
        if Some(packet.track) == self.selection.audio {
            self.sound.n_packets += usize::from(!packet.data.is_empty());
            let shape = opus::Shape::of(&packet.data).ok();
            self.sound.odd = self.sound.odd.or_else(|| shape.filter(|shape| shape.samples() != 960));
        }
        if Some(packet.track) == self.selection.video {
            match self.codec_of(packet.track) {
                Codec::H264 => self.pictures.look_at(packet),
                Codec::Vp8 | Codec::Vp9 => self.pictures.look_at_vpx(packet),
                _ => {}
            }
        }
    }

    /// There are no more packets.
    pub(in crate::media) fn end(&mut self) {
        self.sound.ended = true;
    }

    /// No further packet changes the plan, or enough is enough.
    pub(in crate::media) fn is_sure(&self) -> bool {
        let sound_sure = match self.selection.audio {
            None => true,
            Some(_) => self.sound.n_packets >= LOOK_AT_SOUND,
        };
        let pictures_sure = match self.selection.video {
            None => true,
            // Not looked into, so one packet too many would be read for nothing.
            Some(track) if !self.options.pictures.codecs.take(self.codec_of(track)) => true,
            Some(track) if self.codec_of(track) == &Codec::H264 => self.pictures.is_sure(),
            Some(_) => self.pictures.key_seen || self.pictures.n_pictures >= WAIT_FOR_KEY,
        };
        sound_sure && pictures_sure || self.n_packets >= MAX_PACKETS || self.n_bytes >= MAX_BYTES
    }

    /// The plan from all that was seen.
    pub(in crate::media) fn decide(&self) -> Plan {
        let places =
            Places { audio: self.place(self.selection.audio), video: self.place(self.selection.video) };
        let is_square = self.pixel().is_square();
        Plan { audio: self.decide_audio(), video: self.decide_video(), is_square, places }
    }

    /// The stream itself promises that its pictures are never reordered.
    pub(in crate::media) fn order_is_promised(&self) -> bool {
        self.pictures.keeps_order()
    }

    /// Pictures per second, about.
    pub(in crate::media) fn fps(&self) -> f32 {
        self.pictures.fps()
    }

    /// How wide the pixels are: by the container, as players have it, or else by the stream.
    pub(in crate::media) fn pixel(&self) -> PixelAspect {
        let told = self.selection.video.and_then(|track| match self.tracks[track].shape {
            Shape::Video { pixel, .. } => pixel,
            Shape::Audio { .. } => None,
        });
        let said = || self.pictures.sps.as_ref().and_then(|sps| sps.pixel);
        told.or_else(said).unwrap_or(PixelAspect::SQUARE)
    }

    /// Where it stands among those of its kind, if there are others.
    fn place(&self, index: Option<usize>) -> Option<usize> {
        let index = index?;
        let of_kind = || of_kind(&self.tracks, self.tracks[index].kind);
        (of_kind().count() > 1).then(|| of_kind().position(|(other, _)| other == index)).flatten()
    }

    /// Why none is played, and which there are.
    fn nothing(&self, kind: MediaKind, wanted: bool, choice: Option<TrackChoice>) -> TrackPlan {
        let what = match kind {
            MediaKind::Audio => "sound",
            MediaKind::Video => "picture",
        };
        let there: Vec<_> = (1..)
            .zip(of_kind(&self.tracks, kind))
            .map(|(number, (_, track))| match &track.language {
                Some(language) => format!("{number} ({language})"),
                None => number.to_string(),
            })
            .collect();
        let reason = match (wanted, choice) {
            (false, _) => format!("The {what} was not asked for."),
            (true, Some(choice)) if !there.is_empty() => {
                format!("The file has no {what} {choice}; it has {}.", there.join(", "))
            }
            (true, _) => format!("The file has no {what}."),
        };
        TrackPlan::None { reason }
    }

    fn decide_audio(&self) -> TrackPlan {
        let Some(index) = self.selection.audio else {
            return self.nothing(MediaKind::Audio, self.options.audio, self.options.audio_track);
        };
        let track = &self.tracks[index];
        if let Err(undecodable) = AudioDecoder::new(track) {
            let refusal = Refusal::Sound(Arc::new(undecodable));
            return TrackPlan::Refused { track: index, codec: track.codec.clone(), refusal };
        }
        if self.sound.ended && self.sound.n_packets == 0 {
            return TrackPlan::None { reason: "The sound has no packet with anything in it.".to_owned() };
        }
        match self.why_no_copy(track) {
            None => TrackPlan::Copy {
                track: index,
                codec: Codec::Opus,
                reason: match self.sound.odd {
                    None => {
                        "The sound is Opus in packets of 20 ms without output gain, which is exactly what a \
                             call carries, so it is copied."
                            .to_owned()
                    }
                    Some(odd) => format!(
                        "The sound is Opus in packets of {} ms, which become packets of 20 ms without being \
                         decoded, so it is copied.",
                        f64::from(odd.samples()) / 48.0
                    ),
                },
            },
            Some(why) => TrackPlan::Transcode {
                track: index,
                from: track.codec.clone(),
                to: Codec::Opus,
                reason: format!(
                    "The sound is {why}, so it is decoded and encoded as Opus in packets of 20 ms."
                ),
            },
        }
    }

    /// What follows "the sound is".
    fn why_no_copy(&self, track: &Track) -> Option<String> {
        if track.codec != Codec::Opus {
            let name = match track.codec {
                Codec::Aac => "AAC",
                Codec::Mp3 => "mp3",
                Codec::Flac => "FLAC",
                Codec::Vorbis => "Vorbis",
                Codec::Alac => "Apple Lossless",
                Codec::Pcm(_) => "uncompressed",
                ref other => other.name(),
            };
            return Some(format!("{name}, which a call does not carry"));
        }
        let gain = opus::Head::parse(&track.config).map_or(0, |head| head.output_gain);
        if gain != 0 {
            return Some(format!("Opus with an output gain of {:+.1} dB", f64::from(gain) / 256.0));
        }
        let odd = self.sound.odd.filter(|odd| !opus::is_repackable(*odd))?;
        let milliseconds = f64::from(odd.samples()) / 48.0;
        Some(format!("Opus in packets of {milliseconds} ms, and a call gets packets of 20 ms"))
    }

    fn decide_video(&self) -> TrackPlan {
        let Some(index) = self.selection.video else {
            let none_is_real = of_kind(&self.tracks, MediaKind::Video).next().is_none();
            let is_any = self.tracks.iter().any(|track| track.kind == MediaKind::Video);
            if self.options.video && is_any && none_is_real {
                let reason = "The only picture is cover art, so nothing is sent as video.".to_owned();
                return TrackPlan::None { reason };
            }
            return self.nothing(MediaKind::Video, self.options.video, self.options.video_track);
        };
        let codec = self.codec_of(index).clone();
        let verdict = match codec {
            Codec::H264 | Codec::Vp8 | Codec::Vp9 if !self.options.pictures.codecs.take(&codec) => {
                Err(Refusal::NotTaken { codec: codec.clone() })
            }
            Codec::H264 => self.pictures.verdict(),
            Codec::Vp8 | Codec::Vp9 => self.pictures.vpx_verdict(&codec),
            ref other => Err(Refusal::VideoCodec { codec: other.spelled() }),
        };
        let obstacle = match &verdict {
            Ok(_) if codec != Codec::H264 => None,
            Ok(_) => {
                let pixel = Some(self.pixel()).filter(|pixel| !pixel.is_square()).map(Obstacle::Pixels);
                pixel.or_else(|| self.pictures.obstacle(self.options.pictures))
            }
            Err(Refusal::BFrames) => Some(Obstacle::BFrames),
            Err(_) => None,
        };
        if let Some(obstacle) = obstacle.filter(|_| can_transcode()) {
            return obstacle.plan(index);
        }
        match verdict {
            Ok(_) if codec != Codec::H264 => TrackPlan::Copy {
                track: index,
                reason: format!(
                    "The picture is {}, which chats take beside H.264, so it is copied.",
                    codec.spelled()
                ),
                codec,
            },
            Ok(profile) => TrackPlan::Copy {
                track: index,
                codec,
                reason: format!(
                    "The picture is H.264 {profile} without B-frames, which receivers decode as it is, so it is copied."
                ),
            },
            Err(refusal) => TrackPlan::Refused { track: index, codec, refusal },
        }
    }

    fn codec_of(&self, track: usize) -> &Codec {
        &self.tracks[track].codec
    }
}

impl Pictures {
    /// Keeps the first sequence parameter set of an Annex B stream.
    fn learn(&mut self, annex_b: &[u8]) {
        if self.sps.is_none() {
            self.sps = nal_units(annex_b).filter(|nal| nal_type(nal) == h264::NAL_SPS).find_map(Sps::parse);
        }
    }

    fn look_at(&mut self, packet: &Packet) {
        self.n_pictures += 1;
        self.learn(&packet.data);
        self.key_seen |= packet.key;
        // Pictures before the first IDR are never sent.
        if self.key_seen {
            self.watch.push(packet.pts, &packet.data);
        }
        self.refreshed |= !packet.key && h264::refreshes_slowly(&packet.data);
        if packet.duration > MediaTime::ZERO && packet.duration < MediaTime::from_secs(1) {
            self.length += packet.duration;
            self.n_timed += 1;
        }
    }

    fn look_at_vpx(&mut self, packet: &Packet) {
        self.n_pictures += 1;
        self.key_seen |= packet.key;
        if let (true, [header, ..]) = (packet.key, &packet.data[..]) {
            self.vpx_header = Some(*header);
        }
    }

    /// Pictures of 8 bits 4:2:0: all of VP8, and profile 0 of VP9, whose bits stand in the first
    /// byte of its keyframes.
    fn vpx_verdict(&self, codec: &Codec) -> Result<&'static str, Refusal> {
        match self.vpx_header {
            None => Err(Refusal::NoKeyframe { n_pictures: self.n_pictures }),
            Some(header) if *codec == Codec::Vp9 && header & 0x30 != 0 => Err(Refusal::Vp9Profile),
            Some(_) => Ok(""),
        }
    }

    fn keeps_order(&self) -> bool {
        self.sps.as_ref().is_some_and(Sps::keeps_order)
    }

    /// Where the packets do not tell, the parameter set may; else it is what most files have.
    fn fps(&self) -> f32 {
        const USUAL: f32 = 30.0;
        if self.n_timed > 0 {
            return (f64::from(self.n_timed) / self.length.as_secs_f64()) as f32;
        }
        let per_frame = self.sps.as_ref().and_then(|sps| sps.frame_duration);
        per_frame
            .filter(|(num, den)| *num > 0 && *den > 0)
            .map_or(USUAL, |(num, den)| den as f32 / num as f32)
    }

    /// What stands against copying pictures that could be sent as they are.
    fn obstacle(&self, options: PictureOptions) -> Option<Obstacle> {
        let size = self.sps.as_ref().map(|sps| (sps.width, sps.height));
        let slower = options.fps.filter(|fps| self.fps() > *fps as f32 * 1.02);
        size.and_then(|size| options.obstacle_of(size))
            .or_else(|| slower.map(|fps| Obstacle::AskedSlower { fps }))
            .or_else(|| self.refreshed.then_some(Obstacle::IntraRefresh))
    }

    fn is_sure(&self) -> bool {
        if self.key_seen {
            self.keeps_order() || self.reordering().is_some() || self.n_pictures >= LOOK_AT_PICTURES
        } else {
            self.n_pictures >= WAIT_FOR_KEY
        }
    }

    /// A promise of the stream outweighs what its slices and its times look like: such B-slices
    /// only look back, such times are wrong.
    fn reordering(&self) -> Option<Reordering> {
        if self.keeps_order() { None } else { self.watch.found() }
    }

    /// The profile's name when the pictures can be copied.
    fn verdict(&self) -> Result<&'static str, Refusal> {
        let sps = self.sps.as_ref().ok_or(Refusal::NoParameters)?;
        if !PLAYABLE_PROFILES.contains(&sps.profile_idc) {
            return Err(Refusal::Profile { profile: sps.profile_name() });
        }
        if !sps.frame_mbs_only {
            return Err(Refusal::Interlaced);
        }
        if !self.key_seen {
            return Err(Refusal::NoKeyframe { n_pictures: self.n_pictures });
        }
        if self.reordering().is_some() {
            return Err(Refusal::BFrames);
        }
        Ok(sps.profile_name())
    }
}
