//! The clips that are played: those of `media/`, and what FFmpeg makes of them once for the
//! bench alone, in the build directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// 720p with B-frames used as references, as films are stored, about 1.2 Mbit/s.
const REORDERED: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "medium",
    "-profile:v",
    "high",
    "-b:v",
    "1200k",
    "-maxrate",
    "1400k",
    "-bufsize",
    "1400k",
    "-x264-params",
    "keyint=60:min-keyint=60:scenecut=0:bframes=3:b-pyramid=normal",
    "-c:a",
    "copy",
];
/// What a film has and a drawing has not: grain.
const GRAIN: &[&str] = &["-vf", "noise=alls=12:allf=t+u"];
/// Small pictures, a keyframe every second: two hours of it take some 100 MB.
const SMALL: &[&str] = &[
    "-vf",
    "scale=-2:180",
    "-c:v",
    "libx264",
    "-preset",
    "medium",
    "-profile:v",
    "baseline",
    "-b:v",
    "60k",
    "-x264-params",
    "keyint=30:min-keyint=30:scenecut=0:bframes=0",
    "-c:a",
    "aac",
    "-b:a",
    "48k",
];
/// The clip has 20 s.
const TIMES_FOR_TWO_HOURS: &str = "359";

/// Where to find the clips.
pub(super) struct Clips {
    media: PathBuf,
    made: PathBuf,
}

impl Clips {
    pub(super) fn new(root: &Path, target: &Path) -> Result<Self> {
        let made = target.join("tmp").join("bench");
        fs::create_dir_all(&made)?;
        Ok(Self { media: root.join("media"), made })
    }

    /// One of `media/`.
    pub(super) fn kept(&self, name: &str) -> PathBuf {
        self.media.join(name)
    }

    /// 720p with B-frames, drawn.
    pub(super) fn bframes(&self) -> Result<PathBuf> {
        self.make("bframes-720p.mp4", &self.kept("clip.mp4"), &[], &[REORDERED])
    }

    /// The same with grain.
    pub(super) fn grainy(&self) -> Result<PathBuf> {
        self.make("grainy-720p.mp4", &self.kept("clip.mp4"), &[], &[GRAIN, REORDERED])
    }

    /// Two hours.
    pub(super) fn long(&self) -> Result<PathBuf> {
        let small = self.make("small.mp4", &self.kept("clip.mp4"), &[], &[SMALL])?;
        let again = &["-stream_loop", TIMES_FOR_TWO_HOURS];
        self.make("two-hours.mp4", &small, again, &[&["-c", "copy", "-movflags", "+faststart"]])
    }

    fn make(&self, name: &str, from: &Path, input: &[&str], output: &[&[&str]]) -> Result<PathBuf> {
        let path = self.made.join(name);
        if path.exists() {
            return Ok(path);
        }
        eprintln!("making {name}");
        let unfinished = self.made.join(format!("unfinished-{name}"));
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y"]).args(input).arg("-i").arg(from);
        let status = command
            .args(output.concat())
            .arg(&unfinished)
            .status()
            .context("cannot run ffmpeg; cargo xtask setup test installs it")?;
        ensure!(status.success(), "ffmpeg could not make {name}");
        fs::rename(&unfinished, &path)?;
        Ok(path)
    }
}
