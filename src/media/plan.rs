//! Tracks and their first packets → what is copied, what is transcoded, and why.
//!
//! The plan is made once per item, before its first frame. Absence of B-frames cannot be
//! proven that early (only the stream's own promise counts), so the reader goes on watching.

use std::fmt;
use std::sync::Arc;

use super::codec::audio::{AudioDecoder, Undecodable};
use super::codec::h264::{ReorderWatch, Reordering, Sps, nal_type, nal_units};
use super::codec::{h264, opus};
use super::demux::generated::FORMAT;
use super::demux::{Packet, Track};
use super::{Codec, MediaKind};
use crate::time::MediaTime;

/// Pictures to look at for B-frames: encoders use them within the first dozen or not at all.
const LOOK_AT_PICTURES: usize = 64;
/// Pictures to wait for the first IDR: 20 s at 30 fps.
const WAIT_FOR_KEY: usize = 600;
/// Opus packets to look at: encoders keep the length that they begin with.
const LOOK_AT_SOUND: usize = 4;
/// Packets and bytes after which the plan is made from what is known.
const MAX_PACKETS: usize = 4000;
const MAX_BYTES: usize = 32 << 20;
/// Profiles with 4:2:0 pictures of 8 bits, which is what every receiver decodes.
const PLAYABLE_PROFILES: [u8; 3] = [66, 77, 100];

/// The shorter edge of pictures that have to be encoded, where no other is asked for.
pub const ENCODED_HEIGHT: u32 = 720;

/// What is wanted of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Play the sound, if there is any.
    pub audio: bool,
    /// Play the picture, if there is any.
    pub video: bool,
    /// What the picture may be, and what it becomes.
    pub pictures: PictureOptions,
    /// Which sound; the first that can be played otherwise.
    pub audio_track: Option<TrackChoice>,
    /// Which picture; the first that can be played otherwise.
    pub video_track: Option<TrackChoice>,
}

/// One of the tracks of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackChoice {
    /// Counted from 1 in the order of the file.
    Number(u16),
    /// The first one in this language (ISO 639-2).
    Language([u8; 3]),
}

impl std::str::FromStr for TrackChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(number) = text.parse().ok().filter(|number| *number > 0) {
            return Ok(Self::Number(number));
        }
        let letters =
            <[u8; 3]>::try_from(text.as_bytes()).ok().filter(|l| l.iter().all(u8::is_ascii_alphabetic));
        let letters =
            letters.ok_or("a track is a number from 1 on, or a language of three letters such as eng")?;
        Ok(Self::Language(letters.map(|letter| letter.to_ascii_lowercase())))
    }
}

impl fmt::Display for TrackChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Language(letters) => f.write_str(&String::from_utf8_lossy(letters)),
        }
    }
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            audio: true,
            video: true,
            pictures: PictureOptions::default(),
            audio_track: None,
            video_track: None,
        }
    }
}

/// Which pictures are copied, and how the others are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureOptions {
    /// The shorter edge at most, as in "720p"; a larger picture is made smaller. `None` copies up
    /// to [`copy_height`](Self::copy_height) and encodes at [`ENCODED_HEIGHT`].
    pub height: Option<u32>,
    /// Pictures per second at most; a faster file is transcoded with pictures left out.
    pub fps: Option<u32>,
    /// Bits per second of what is encoded; `None` goes by size and rate.
    pub bitrate_bps: Option<u32>,
    /// The shorter edge of a picture that is still copied.
    pub copy_height: u32,
    /// Bits in the busiest second of a picture that is still copied.
    pub copy_bps: u64,
}

impl Default for PictureOptions {
    fn default() -> Self {
        Self { height: None, fps: None, bitrate_bps: None, copy_height: 1080, copy_bps: 4_000_000 }
    }
}

impl PictureOptions {
    /// The shorter edge at most of what is encoded.
    #[cfg(feature = "openh264")]
    pub(super) fn encoded_height(&self) -> u32 {
        self.height.unwrap_or(ENCODED_HEIGHT)
    }

    /// What stands against copying pictures of this size.
    pub(super) fn obstacle_of(&self, (width, height): (u32, u32)) -> Option<Obstacle> {
        let shorter = width.min(height);
        match self.height {
            Some(wanted) if shorter > wanted => Some(Obstacle::AskedSmaller { wanted }),
            Some(_) => None,
            None => (shorter > self.copy_height).then_some(Obstacle::TooLarge { width, height }),
        }
    }
}

/// Why a picture that can be decoded is encoded anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Pictures are shown in another order than they are decoded in.
    BFrames,
    /// More pixels than every receiver decodes in time.
    TooLarge { width: u32, height: u32 },
    /// More bits in one second than every connection carries.
    Peak { bps: u64 },
    /// After its first picture it has no other that a viewer could start with.
    IntraRefresh,
    /// A smaller picture was asked for.
    AskedSmaller { wanted: u32 },
    /// Fewer pictures were asked for.
    AskedSlower { fps: u32 },
}

impl Obstacle {
    /// The plan for a track that has it.
    pub(super) fn plan(self, track: usize) -> TrackPlan {
        let what = match self {
            Self::BFrames => "has B-frames, which a live call cannot carry".to_owned(),
            Self::TooLarge { width, height } => {
                format!("has {width}×{height} pixels, more than some phones decode in time")
            }
            Self::Peak { bps } => {
                let mbps = bps as f64 / 1e6;
                format!("takes {mbps:.1} Mbit/s in its busiest second, more than many connections carry")
            }
            Self::IntraRefresh => {
                "is refreshed bit by bit instead of in keyframes, so nobody could start watching".to_owned()
            }
            Self::AskedSmaller { wanted } => format!("is larger than {wanted}p, which was asked for"),
            Self::AskedSlower { fps } => format!("has more than the {fps} pictures per second asked for"),
        };
        let reason = format!("The picture {what}, so it is decoded and encoded as H.264.");
        TrackPlan::Transcode { track, from: Codec::H264, to: Codec::H264, reason }
    }
}

/// Whether H.264 can be transcoded: the feature `openh264`.
pub(super) const fn can_transcode() -> bool {
    cfg!(feature = "openh264")
}

/// How an item is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its sound.
    pub audio: TrackPlan,
    /// Its picture.
    pub video: TrackPlan,
}

impl Plan {
    /// What is copied was made by FFmpeg, because of `why`.
    pub(super) fn convert(&mut self, why: &str) {
        self.made_by("ffmpeg", &format!("FFmpeg converts it while it plays, because {why}."));
    }

    /// What is copied was encoded for a test.
    pub(super) fn generate(&mut self) {
        self.made_by(FORMAT, "It is made for a test, and encoded while it plays.");
    }

    fn made_by(&mut self, maker: &str, reason: &str) {
        for plan in [&mut self.audio, &mut self.video] {
            if let TrackPlan::Copy { track, codec, .. } = plan {
                *plan = TrackPlan::Transcode {
                    track: *track,
                    from: Codec::Unknown(maker.to_owned()),
                    to: codec.clone(),
                    reason: reason.to_owned(),
                };
            }
        }
    }
}

/// How one track is played. [`Display`](fmt::Display) gives the short words that programs
/// read: `copy`, `transcode: aac`, `none`, `refused: h264`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TrackPlan {
    /// Its packets go out as they are.
    Copy {
        /// Which track of the file.
        track: usize,
        /// Its codec.
        codec: Codec,
        /// Why, as a sentence.
        reason: String,
    },
    /// It is decoded and encoded.
    Transcode {
        /// Which track of the file.
        track: usize,
        /// Its codec.
        from: Codec,
        /// The codec that goes out.
        to: Codec,
        /// Why, as a sentence.
        reason: String,
    },
    /// There is nothing to play.
    None {
        /// Why, as a sentence.
        reason: String,
    },
    /// There is something, and it cannot be played.
    Refused {
        /// Which track of the file.
        track: usize,
        /// Its codec.
        codec: Codec,
        /// Why not.
        refusal: Refusal,
    },
}

impl TrackPlan {
    /// The track that is played; none when it is refused.
    pub const fn played_track(&self) -> Option<usize> {
        match self {
            Self::Copy { track, .. } | Self::Transcode { track, .. } => Some(*track),
            Self::None { .. } | Self::Refused { .. } => None,
        }
    }

    /// Its packets go out as they are.
    pub const fn is_copy(&self) -> bool {
        matches!(self, Self::Copy { .. })
    }

    /// Why, as a full sentence.
    pub fn reason(&self) -> String {
        match self {
            Self::Copy { reason, .. } | Self::Transcode { reason, .. } | Self::None { reason } => {
                reason.clone()
            }
            Self::Refused { refusal, .. } => refusal.sentence(),
        }
    }
}

impl fmt::Display for TrackPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy { .. } => f.write_str("copy"),
            Self::Transcode { from, .. } => write!(f, "transcode: {}", from.name()),
            Self::None { .. } => f.write_str("none"),
            Self::Refused { codec, .. } => write!(f, "refused: {}", codec.name()),
        }
    }
}

/// Why a track cannot be played as it is.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Pictures are shown in another order than they are decoded in.
    #[error("the picture has B-frames, which a live call cannot carry")]
    BFrames,
    /// Fields instead of frames.
    #[error("the picture is interlaced, which receivers in a call do not decode")]
    Interlaced,
    /// Nowhere to start.
    #[error(
        "the picture has no keyframe (IDR) in its first {n_pictures} pictures, so nobody could start watching"
    )]
    NoKeyframe {
        /// Pictures that were looked at.
        n_pictures: usize,
    },
    /// More than 8 bits or other colors than 4:2:0.
    #[error("the picture is H.264 {profile}, which receivers in a call do not decode")]
    Profile {
        /// Its name.
        profile: &'static str,
    },
    /// More than 8 bits or other colors than 4:2:0.
    #[error("the picture is VP9 of another profile than 0, which receivers in a call do not decode")]
    Vp9Profile,
    /// No readable sequence parameter set.
    #[error("the picture's H.264 parameters (SPS) are missing or damaged")]
    NoParameters,
    /// Another codec.
    #[error("the picture is {codec}; telecast sends H.264, VP8 and VP9")]
    VideoCodec {
        /// Its name.
        codec: String,
    },
    /// The sound cannot be decoded.
    #[error(transparent)]
    Sound(Arc<Undecodable>),
}

impl Refusal {
    fn sentence(&self) -> String {
        let text = self.to_string();
        let mut chars = text.chars();
        chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
    }
}

/// The tracks of a file that are to be played: the first of each kind that can be, else the
/// first that is there, so that its refusal can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) audio: Option<usize>,
    pub(super) video: Option<usize>,
}

impl Selection {
    fn of(tracks: &[Track], options: PlanOptions) -> Self {
        let pick = |kind, wanted: bool, choice: Option<TrackChoice>, good: &dyn Fn(&Track) -> bool| {
            let of_kind =
                || tracks.iter().enumerate().filter(move |(_, t)| t.kind == kind && !is_still(&t.codec));
            let best = match choice {
                Some(TrackChoice::Number(number)) => of_kind().nth(usize::from(number).saturating_sub(1)),
                Some(TrackChoice::Language(letters)) => of_kind().find(|(_, track)| {
                    let language = track.language.as_deref().unwrap_or_default();
                    language.as_bytes().eq_ignore_ascii_case(&letters)
                }),
                None => of_kind().find(|(_, track)| good(track)).or_else(|| of_kind().next()),
            };
            best.filter(|_| wanted).map(|(index, _)| index)
        };
        Self {
            audio: pick(MediaKind::Audio, options.audio, options.audio_track, &|track| {
                AudioDecoder::new(track).is_ok()
            }),
            video: pick(MediaKind::Video, options.video, options.video_track, &|track| {
                matches!(track.codec, Codec::H264 | Codec::Vp8 | Codec::Vp9)
            }),
        }
    }
}

/// Cover art, which some containers keep as a track of one picture.
fn is_still(codec: &Codec) -> bool {
    let Codec::Unknown(name) = codec else { return false };
    let name = name.to_ascii_lowercase();
    ["jpeg", "jpg", "mjpg", "png", "bmp", "gif"].iter().any(|still| name.contains(still))
}

/// Looks at the first packets of an item until it is sure how to play it.
#[derive(Debug)]
pub(super) struct Planner {
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
    n_packets: usize,
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
    pub(super) fn new(tracks: &[Track], options: PlanOptions) -> Self {
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

    pub(super) const fn selection(&self) -> Selection {
        self.selection
    }

    /// Takes the next packet of the file into account, whichever track it belongs to.
    pub(super) fn look_at(&mut self, packet: &Packet) {
        self.n_packets += 1;
        self.n_bytes += packet.data.len();
        if Some(packet.track) == self.selection.audio {
            self.sound.n_packets += 1;
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

    /// No further packet changes the plan, or enough is enough.
    pub(super) fn is_sure(&self) -> bool {
        let sound_sure = match self.selection.audio {
            None => true,
            Some(_) => self.sound.n_packets >= LOOK_AT_SOUND,
        };
        let pictures_sure = match self.selection.video {
            Some(track) if self.codec_of(track) == &Codec::H264 => self.pictures.is_sure(),
            Some(track) if matches!(self.codec_of(track), Codec::Vp8 | Codec::Vp9) => {
                self.pictures.key_seen || self.pictures.n_pictures >= WAIT_FOR_KEY
            }
            // Not looked into, so one packet too many would be read for nothing.
            Some(_) | None => true,
        };
        sound_sure && pictures_sure || self.n_packets >= MAX_PACKETS || self.n_bytes >= MAX_BYTES
    }

    /// The plan from all that was seen.
    pub(super) fn decide(&self) -> Plan {
        Plan { audio: self.decide_audio(), video: self.decide_video() }
    }

    /// The stream itself promises that its pictures are never reordered.
    pub(super) fn order_is_promised(&self) -> bool {
        self.pictures.keeps_order()
    }

    /// Pictures per second, about.
    pub(super) fn fps(&self) -> f32 {
        self.pictures.fps()
    }

    fn decide_audio(&self) -> TrackPlan {
        let Some(index) = self.selection.audio else {
            return nothing(self.options.audio, self.options.audio_track, "sound");
        };
        let track = &self.tracks[index];
        if let Err(undecodable) = AudioDecoder::new(track) {
            let refusal = Refusal::Sound(Arc::new(undecodable));
            return TrackPlan::Refused { track: index, codec: track.codec.clone(), refusal };
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
            if self.options.video && self.tracks.iter().any(|track| track.kind == MediaKind::Video) {
                let reason = "The only picture is cover art, so nothing is sent as video.".to_owned();
                return TrackPlan::None { reason };
            }
            return nothing(self.options.video, self.options.video_track, "picture");
        };
        let codec = self.codec_of(index).clone();
        let verdict = match codec {
            Codec::H264 => self.pictures.verdict(),
            Codec::Vp8 | Codec::Vp9 => self.pictures.vpx_verdict(&codec),
            ref other => Err(Refusal::VideoCodec { codec: other.name().to_owned() }),
        };
        let obstacle = match &verdict {
            Ok(_) if codec != Codec::H264 => None,
            Ok(_) => self.pictures.obstacle(self.options.pictures),
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
                    codec.name().to_uppercase()
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

fn nothing(wanted: bool, choice: Option<TrackChoice>, what: &str) -> TrackPlan {
    let reason = match (wanted, choice) {
        (true, None) => format!("The file has no {what}."),
        (true, Some(choice)) => format!("The file has no {what} {choice}."),
        (false, _) => format!("The {what} was not asked for."),
    };
    TrackPlan::None { reason }
}

/// The `ffmpeg` command that writes a copy of `input` which is copied from then on.
///
/// Keyframes every two seconds, so that nobody waits long for a picture. `None` when there is
/// nothing in the file to keep.
pub fn remedy(input: &str, plan: &Plan) -> Option<String> {
    let video = match &plan.video {
        TrackPlan::None { .. } => None,
        TrackPlan::Copy { .. } => Some("-c:v copy".to_owned()),
        TrackPlan::Refused { refusal, .. } => Some(encode_h264(matches!(refusal, Refusal::Interlaced))),
        TrackPlan::Transcode { .. } => Some(encode_h264(false)),
    };
    let audio = match &plan.audio {
        TrackPlan::None { .. } => None,
        TrackPlan::Copy { .. } => Some("-c:a copy"),
        TrackPlan::Transcode { .. } | TrackPlan::Refused { .. } => Some("-c:a libopus -b:a 128k -ac 2"),
    };
    let extension = match (&video, audio) {
        (None, None) => return None,
        (Some(_), _) => "mp4",
        (None, Some(_)) => "ogg",
    };
    let stem = input.rsplit_once('.').filter(|(stem, tail)| !stem.is_empty() && !tail.contains('/'));
    let output = format!("{}-telecast.{extension}", stem.map_or(input, |(stem, _)| stem));
    let video = video.as_deref().unwrap_or("-vn");
    let audio = audio.unwrap_or("-an");
    Some(format!("ffmpeg -i {} {video} {audio} {}", shell_word(input), shell_word(&output)))
}

/// The part of an `ffmpeg` command that encodes pictures which can be copied.
pub(super) fn encode_h264(interlaced: bool) -> String {
    let filter = if interlaced { "-vf bwdif " } else { "" };
    format!("{filter}-c:v libx264 -bf 0 -pix_fmt yuv420p -force_key_frames 'expr:gte(t,2*n_forced)'")
}

/// Quoted for a POSIX shell where needed, and never taken for an option.
fn shell_word(word: &str) -> String {
    let word = if word.starts_with('-') { format!("./{word}") } else { word.to_owned() };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
