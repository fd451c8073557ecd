//! What is wanted of pictures and sound → FFmpeg's arguments, for what is copied from then on.

use std::time::Duration;

use crate::media::codec::opus::{EXPECTED_LOSS, EncoderOptions, Preset};
use crate::media::plan::{ENCODED_HEIGHT, PictureOptions};

/// What receivers in a call decode everywhere.
const H264: &[&str] =
    &["-c:v", "libx264", "-profile:v", "baseline", "-preset", "veryfast", "-tune", "zerolatency", "-bf", "0"];
/// How often H.264 has a keyframe, where nothing else is asked for.
pub(in crate::media) const KEY_EVERY: Duration = Duration::from_secs(2);
/// How good each picture may be, where no bitrate is asked for.
const H264_QUALITY: &[&str] = &["-crf", "23"];
/// For chats that take no H.264. Nothing is held back or hidden: each picture comes out as one
/// packet when it goes in.
const VP8: &[&str] = &[
    "-c:v",
    "libvpx",
    "-deadline",
    "realtime",
    // The effort is fixed: a positive one means to use up a share of the time, however small the
    // picture is.
    "-cpu-used",
    "-8",
    // Its threads wait for each other by spinning, which costs five times as much on a busy machine.
    "-threads",
    "1",
    "-lag-in-frames",
    "0",
    "-auto-alt-ref",
    "0",
    "-crf",
    "10",
    // A keyframe, in percent of what a picture may take on average: larger ones come in bursts.
    "-max-intra-rate",
    "600",
    "-force_key_frames",
    "expr:gte(t,n_forced)",
];
/// What all sound becomes.
const OPUS: &[&str] = &["-c:a", "libopus", "-ar", "48000", "-frame_duration", "20"];
/// Bits per second at most, where no bitrate is asked for, and bits by which pictures may be ahead of
/// that: together they are what a single second can have, and less than
/// [`copy_bps`](PictureOptions::copy_bps), or what was written to be copied would not be.
const USUAL_BPS: u32 = 2_500_000;
const USUAL_BURST: u32 = 1_200_000;
/// The same for pictures of more than [`ENCODED_HEIGHT`], which are asked for.
const LARGE_BPS: u32 = 2_700_000;
const LARGE_BURST: u32 = 1_000_000;
/// Pictures per second at most, where no rate is asked for.
const USUAL_FPS: u32 = 60;

/// What pictures become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoded {
    /// What every chat takes that has been seen so far.
    H264,
    /// What is left to chats without it.
    Vp8,
}

/// FFmpeg's arguments for pictures, in H.264 with a keyframe every `key_every`: of a size that one core encodes in time, unless another is asked
/// for. Fields, where there are any, become frames, and pixels square: receivers know no others.
pub(in crate::media) fn pictures(wanted: &PictureOptions, key_every: Duration) -> Vec<String> {
    let height = wanted.height.unwrap_or(ENCODED_HEIGHT);
    // The shorter edge, and both of them even.
    let shorter = |edge: &str| format!("trunc(min({height},{edge})/2)*2");
    let fps = wanted.fps.unwrap_or(USUAL_FPS);
    // A picture is taken when its slot of time has come, or 2 ms before, because times are rounded; the
    // next slot is one later, or counts from the picture where there was none for long. What is
    // taken keeps its time: a constant rate would move it by up to half a picture.
    let rate = format!(
        "if(isnan(t)+gte(t,ld(0)-.002)+lt(t,ld(0)-1),st(0,if(gt(abs(t-ld(0)),1/{fps}),t,ld(0))+1/{fps})+9,0)"
    );
    let shape = format!(
        "bwdif=mode=send_frame:deint=interlaced,select='{rate}',\
         scale='trunc(iw*sar/2)*2':'trunc(ih/2)*2',setsar=1,\
         scale=w='if(gt(iw,ih),-2,{})':h='if(gt(iw,ih),{},-2)',format=yuv420p",
        shorter("iw"),
        shorter("ih"),
    );
    let (most, burst) =
        if height > ENCODED_HEIGHT { (LARGE_BPS, LARGE_BURST) } else { (USUAL_BPS, USUAL_BURST) };
    let burst = wanted.bitrate_bps.unwrap_or(burst).to_string();
    let bps = wanted.bitrate_bps.unwrap_or(most).to_string();
    let keys = format!("expr:gte(t,n_forced*{})", key_every.as_secs_f64());
    let h264 = [H264, &["-force_key_frames", &keys]].concat();
    let (codec, rate): (_, &[&str]) = match (wanted.codecs.encoded(), wanted.bitrate_bps) {
        (Encoded::H264, None) => (&*h264, H264_QUALITY),
        (Encoded::H264, Some(_)) => (&*h264, &["-b:v", &bps]),
        (Encoded::Vp8, _) => (VP8, &["-b:v", &bps]),
    };
    // Each at its own time, which is otherwise rounded to a whole number of pictures at the usual
    // rate, and no picture made to fill the time between two. The rate shares out the bits.
    let fps = fps.to_string();
    let exact = ["-vsync", "vfr", "-enc_time_base", "1:90000", "-fpsmax", &fps];
    let words = [&["-vf", &shape], &exact[..], codec, rate, &["-maxrate", &bps, "-bufsize", &burst]];
    words.concat().into_iter().map(str::to_owned).collect()
}

/// FFmpeg's arguments for sound.
pub(in crate::media) fn sound(wanted: &EncoderOptions) -> Vec<String> {
    let (bps, channels) = (wanted.bitrate_bps.to_string(), if wanted.mono { "1" } else { "2" });
    let loss = EXPECTED_LOSS.to_string();
    let preset: &[&str] = match wanted.preset {
        Preset::Music => &["-application", "audio"],
        Preset::Voice => &["-application", "voip", "-fec", "1", "-packet_loss", &loss],
    };
    [OPUS, &["-b:a", &bps, "-ac", channels], preset].concat().into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::plan::VideoCodecs;

    fn after(words: &[String], name: &str) -> Option<String> {
        words.iter().position(|word| word == name).map(|at| words[at + 1].clone())
    }

    #[test]
    fn pictures_become_what_is_asked_for() {
        let usual = pictures(&PictureOptions::default(), KEY_EVERY);
        assert!(after(&usual, "-vf").unwrap().contains("min(720,ih)"));
        assert_eq!(after(&usual, "-crf").as_deref(), Some("23"));
        assert_eq!((after(&usual, "-maxrate"), after(&usual, "-b:v")), (Some("2500000".into()), None));
        let asked = PictureOptions {
            height: Some(360),
            fps: Some(15),
            bitrate_bps: Some(400_000),
            ..PictureOptions::default()
        };
        let words = pictures(&asked, Duration::from_secs(1));
        assert!(after(&words, "-vf").unwrap().contains("min(360,iw)"));
        assert!(after(&words, "-vf").unwrap().contains("+1/15)"));
        assert_eq!((after(&words, "-b:v"), after(&words, "-crf")), (Some("400000".into()), None));
        assert_eq!(after(&usual, "-force_key_frames").as_deref(), Some("expr:gte(t,n_forced*2)"));
        assert_eq!(after(&words, "-force_key_frames").as_deref(), Some("expr:gte(t,n_forced*1)"));
        let large = pictures(&PictureOptions { height: Some(1080), ..PictureOptions::default() }, KEY_EVERY);
        for words in [&usual, &large] {
            let bits = |name| after(words, name).unwrap().parse::<u64>().unwrap();
            let second = bits("-maxrate") + bits("-bufsize");
            assert!(second * 100 < PictureOptions::default().copy_bps * 95, "{second}");
        }
        let vp8 = VideoCodecs { h264: false, vp8: true, vp9: false };
        let words = pictures(&PictureOptions { codecs: vp8, ..PictureOptions::default() }, KEY_EVERY);
        assert_eq!(
            (after(&words, "-c:v"), after(&words, "-b:v")),
            (Some("libvpx".into()), Some("2500000".into()))
        );
    }
}
