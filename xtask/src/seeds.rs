//! `cargo xtask seeds`: short, small files of every format, for the fuzz targets to begin with.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Target, name of the file, and FFmpeg's words for what is in it.
type Seed = (&'static str, &'static str, &'static [&'static str]);

const X264: &[&str] = &["-c:v", "libx264", "-g", "5", "-pix_fmt", "yuv420p"];

/// Half a second of the clip with both tracks, in 64 × 36 pixels.
const FILES: &[Seed] = &[
    ("demux_mp4", "aac.mp4", &["-c:a", "aac"]),
    ("demux_mp4", "bframes-last.mov", &["-bf", "2", "-c:a", "pcm_s16be", "-ar", "8000", "-ac", "1"]),
    (
        "demux_mp4",
        "fragments.mp4",
        &["-bf", "0", "-c:a", "libopus", "-movflags", "+frag_keyframe+empty_moov"],
    ),
    ("demux_mp4", "alac.m4a", &["-vn", "-c:a", "alac", "-ar", "8000", "-ac", "1"]),
    ("demux_mp4", "flac.mp4", &["-vn", "-c:a", "flac", "-strict", "-2", "-ar", "8000", "-ac", "1"]),
    ("demux_matroska", "opus.mkv", &["-c:a", "libopus"]),
    ("demux_matroska", "vp8.webm", &["-c:v", "libvpx", "-b:v", "50k", "-c:a", "libvorbis"]),
    ("demux_matroska", "live.mkv", &["-c:a", "libmp3lame", "-live", "1"]),
    ("demux_matroska", "flac.mka", &["-vn", "-c:a", "flac", "-ar", "8000", "-ac", "1"]),
    ("demux_ogg", "opus.ogg", &["-vn", "-c:a", "libopus"]),
    ("demux_ogg", "vorbis.ogg", &["-vn", "-c:a", "libvorbis"]),
    ("demux_ogg", "flac.oga", &["-vn", "-c:a", "flac", "-ar", "8000", "-ac", "1"]),
    ("demux_mp3", "vbr.mp3", &["-vn", "-c:a", "libmp3lame", "-q:a", "9"]),
    ("demux_mp3", "mpeg2.mp3", &["-vn", "-c:a", "libmp3lame", "-ar", "22050", "-b:a", "32k"]),
    ("demux_flac", "a.flac", &["-vn", "-c:a", "flac", "-ar", "8000", "-ac", "1"]),
    ("demux_wav", "s16.wav", &["-vn", "-c:a", "pcm_s16le", "-ar", "8000", "-ac", "1"]),
    ("demux_wav", "mulaw.wav", &["-vn", "-c:a", "pcm_mulaw", "-ar", "8000"]),
    ("demux_aiff", "s16.aiff", &["-vn", "-c:a", "pcm_s16be", "-ar", "8000", "-ac", "1"]),
    ("demux_ivf", "vp8.ivf", &["-an", "-c:v", "libvpx", "-b:v", "50k"]),
    ("demux_ivf", "vp9.ivf", &["-an", "-c:v", "libvpx-vp9", "-b:v", "50k"]),
    ("demux_h264", "a.h264", &["-an", "-bf", "0"]),
    ("demux_h264", "bframes.h264", &["-an", "-bf", "2"]),
];

/// Makes the seeds anew; what a fuzzer has found stays beside them.
pub(crate) fn make(root: &Path) -> Result<()> {
    let corpus = root.join("fuzz/corpus");
    for (target, name, words) in FILES {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-nostdin", "-y", "-i"]).arg(root.join("media/clip.mp4"));
        ffmpeg.args(["-t", "0.5", "-vf", "scale=64:36,fps=10"]).args(X264).args(*words);
        ffmpeg.args(["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]);
        let status = ffmpeg.arg(folder.join(name)).status().context("cannot start ffmpeg")?;
        ensure!(status.success(), "{ffmpeg:?} failed");
    }
    // Frames and scripts of packets, cut out of these files.
    let picture = fs::read(corpus.join("demux_h264/a.h264"))?;
    let opus = fs::read(corpus.join("demux_ogg/opus.ogg"))?;
    let seed = |target: &str, name: &str, head: &[u8], body: &[u8]| -> Result<()> {
        fs::create_dir_all(corpus.join(target))?;
        Ok(fs::write(corpus.join(target).join(name), [head, body].concat())?)
    };
    for (kind, name) in [(0, "h264"), (1, "vp8"), (2, "vp9"), (3, "opus")] {
        seed("packetize", name, &[kind, 20], &picture[..picture.len().min(3000)])?;
    }
    seed("bits", "annex-b", &[0], &picture[..picture.len().min(3000)])?;
    seed("bits", "opus", &[0], &opus[opus.len().min(200)..opus.len().min(2000)])?;
    for (codecs, name) in
        [([0, 0], "h264-opus"), ([1, 3], "vp8-pcm"), ([0, 1], "h264-aac"), ([2, 4], "vp9-flac")]
    {
        // Pictures and sound in turn: a keyframe, 33 ms apart, 255 bytes each.
        let mut script = vec![codecs[0], codecs[1], 0, 2, 0];
        for (nth, body) in picture.chunks(255).take(20).enumerate() {
            let flags = u8::from(nth % 2 == 1) | if nth % 8 == 0 { 4 } else { 0 };
            script.extend([flags, 16, 33, 0, u8::try_from(body.len())?, 0]);
            script.extend(body);
        }
        seed("plan", name, &script, &[])?;
    }
    Ok(())
}
