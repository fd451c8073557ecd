//! `cargo xtask media`: makes the clips in `media/`, what ffprobe says about them, and their checksums.
//!
//! ```text
//! scene (pictures) ──┐
//! sound (samples) ───┴─► ffmpeg ─► media/* ─► ffprobe ─► tests/golden/ffprobe/*.json
//! ```
//!
//! FFmpeg only encodes and writes the captions; what is seen and heard is made here. An
//! FFmpeg of another version makes other bytes with the same content, so the clips are
//! committed and checked by their SHA-256.

mod scene;
mod sound;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use scene::{FPS, HEIGHT, Scene, WIDTH};
use sound::Bed;

/// Everything under `media/` together must stay below this, because it is cloned by everybody.
const SIZE_LIMIT: u64 = 16 << 20;
const SANS: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans-ExtraLight.ttf";
const MONO: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf";

/// An IDR picture every second; no other keyframe.
const IDR_EVERY_SECOND: &str = "keyint=30:min-keyint=30:scenecut=0:open-gop=0:bframes=0";
/// An IDR picture every ten seconds, no B-frames: a viewer who comes late waits for the next one.
const IDR_EVERY_TEN_SECONDS: &str = "keyint=300:min-keyint=300:scenecut=0:open-gop=0:bframes=0";
/// What a camera or a download has: B-frames used as references, an IDR every two seconds.
const REORDERED: &str = "keyint=60:min-keyint=60:scenecut=0:open-gop=0:bframes=3:b-pyramid=normal";
/// 360p, a keyframe every second, no hidden pictures.
const VP8: &[&str] = &[
    "-vf",
    "scale=-2:360:flags=area",
    "-c:v",
    "libvpx",
    "-b:v",
    "300k",
    "-g",
    "30",
    "-auto-alt-ref",
    "0",
    "-deadline",
    "good",
    "-cpu-used",
    "2",
    "-threads",
    "1",
];
/// The same, with hidden pictures in superframes as VP9's encoders make them.
const VP9: &[&str] = &[
    "-vf",
    "scale=-2:360:flags=area",
    "-c:v",
    "libvpx-vp9",
    "-b:v",
    "250k",
    "-g",
    "30",
    "-deadline",
    "good",
    "-cpu-used",
    "4",
    "-threads",
    "1",
];
const AAC: &[&str] = &["-c:a", "aac", "-b:a", "128k"];
const OPUS: &[&str] = &["-c:a", "libopus", "-b:a", "128k", "-frame_duration", "20", "-application", "audio"];
/// The encoder's 312 samples of delay. Matroska counts them in `CodecDelay`, but FFmpeg's muxer
/// also moves the pictures by as much: the sound would be 7 ms early.
const OPUS_DELAY: &str = "0.0065";
/// Variable bitrate: at a constant one LAME makes everything half a decibel quieter.
const MP3: &[&str] = &["-c:a", "libmp3lame", "-q:a", "3"];

/// One file of `media/`.
struct Clip {
    name: &'static str,
    seconds: u32,
    picture: Picture,
    bed: Bed,
    sample_rate: u32,
    audio: &'static [&'static str],
    container: &'static [&'static str],
    /// Seconds by which FFmpeg is told that the sound comes later, see [`OPUS_DELAY`].
    sound_offset: &'static str,
}

enum Picture {
    None,
    /// The encoded pictures of another clip, which comes before this one.
    From(&'static str),
    /// The same without sound, and no longer than this clip.
    Alone(&'static str),
    /// The pictures of another clip, encoded once more.
    Again(&'static str, &'static [&'static str]),
    Encoded {
        /// H.264 profile.
        profile: &'static str,
        height: u32,
        /// Upper limit of the bitrate over one second, in kbit/s.
        kbps: u32,
        x264: &'static str,
    },
}

const CLIPS: &[Clip] = &[
    Clip {
        name: "clip.mp4",
        seconds: 20,
        picture: Picture::Encoded { profile: "baseline", height: 720, kbps: 1400, x264: IDR_EVERY_SECOND },
        bed: Bed::Organ,
        sample_rate: 48_000,
        audio: AAC,
        container: &["-movflags", "+faststart"],
        sound_offset: "0",
    },
    Clip {
        name: "clip.mkv",
        seconds: 20,
        picture: Picture::From("clip.mp4"),
        bed: Bed::Organ,
        sample_rate: 48_000,
        audio: OPUS,
        container: &[],
        sound_offset: OPUS_DELAY,
    },
    Clip {
        name: "long-gop.mp4",
        seconds: 20,
        picture: Picture::Encoded { profile: "main", height: 360, kbps: 600, x264: IDR_EVERY_TEN_SECONDS },
        bed: Bed::Organ,
        sample_rate: 44_100,
        audio: AAC,
        container: &["-movflags", "+faststart"],
        sound_offset: "0",
    },
    Clip {
        name: "bframes.mp4",
        seconds: 10,
        picture: Picture::Encoded { profile: "high", height: 360, kbps: 600, x264: REORDERED },
        bed: Bed::Organ,
        sample_rate: 48_000,
        audio: AAC,
        // Without `faststart` the index (`moov`) is written last.
        container: &[],
        sound_offset: "0",
    },
    Clip {
        name: "vp8.webm",
        seconds: 20,
        picture: Picture::Again("clip.mp4", VP8),
        bed: Bed::Organ,
        sample_rate: 48_000,
        audio: OPUS,
        container: &[],
        sound_offset: OPUS_DELAY,
    },
    Clip {
        name: "vp9.webm",
        seconds: 20,
        picture: Picture::Again("clip.mp4", VP9),
        bed: Bed::Organ,
        sample_rate: 48_000,
        audio: OPUS,
        container: &[],
        sound_offset: OPUS_DELAY,
    },
    Clip {
        name: "vp8.ivf",
        seconds: 5,
        picture: Picture::Alone("vp8.webm"),
        bed: Bed::Organ,
        sample_rate: 48_000,
        audio: &[],
        container: &[],
        sound_offset: "0",
    },
    Clip {
        name: "vp9.ivf",
        seconds: 5,
        picture: Picture::Alone("vp9.webm"),
        bed: Bed::Organ,
        sample_rate: 48_000,
        audio: &[],
        container: &[],
        sound_offset: "0",
    },
    Clip {
        name: "clip.h264",
        seconds: 5,
        picture: Picture::Alone("clip.mp4"),
        bed: Bed::Organ,
        sample_rate: 48_000,
        audio: &[],
        container: &[],
        sound_offset: "0",
    },
    Clip {
        name: "music.ogg",
        seconds: 16,
        picture: Picture::None,
        bed: Bed::Chords,
        sample_rate: 48_000,
        audio: OPUS,
        container: &[],
        sound_offset: "0",
    },
    Clip {
        name: "music.mp3",
        seconds: 16,
        picture: Picture::None,
        bed: Bed::Chords,
        sample_rate: 44_100,
        audio: MP3,
        container: &[],
        sound_offset: "0",
    },
];

/// Makes everything anew, or only the clips named.
pub(crate) fn make(root: &Path, only: &[String]) -> Result<()> {
    for name in only {
        ensure!(CLIPS.iter().any(|clip| clip.name == name), "there is no clip {name} in xtask/src/media.rs");
    }
    for tool in ["ffmpeg", "ffprobe"] {
        let found = Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(found.is_ok_and(|status| status.success()), "{tool} is missing: apt install ffmpeg");
    }
    for font in [SANS, MONO] {
        ensure!(
            Path::new(font).exists(),
            "{font} is missing: apt install fonts-dejavu-core fonts-dejavu-extra"
        );
    }
    let work = root.join("target/media");
    for dir in [&work, &root.join("media"), &root.join("tests/golden/ffprobe")] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    for clip in CLIPS.iter().filter(|clip| only.is_empty() || only.iter().any(|name| name == clip.name)) {
        let started = now();
        eprint!("{:<14}", clip.name);
        encode(clip, root, &work).with_context(|| format!("cannot make {}", clip.name))?;
        let n_packets = list_packets(clip.name, root)?;
        let size = fs::metadata(media(root, clip.name))?.len();
        let took = started.elapsed().as_secs_f32();
        eprintln!("{:>6} KiB  {n_packets:>5} packets  {took:>5.1} s", size / 1024);
    }
    write_checksums(root)?;
    verify(root)
}

/// Compares the clips with the checksums in `media/README.md`.
pub(crate) fn verify(root: &Path) -> Result<()> {
    let readme = root.join("media/README.md");
    let text = fs::read_to_string(&readme).with_context(|| format!("cannot read {}", readme.display()))?;
    let mut total = 0;
    for clip in CLIPS {
        total += fs::metadata(media(root, clip.name))
            .with_context(|| format!("media/{} is missing", clip.name))?
            .len();
        let sum = sha256(&media(root, clip.name))?;
        ensure!(
            text.contains(&checksum_row(clip.name, &sum)),
            "media/{} is not the file that media/README.md describes (its SHA-256 is {sum}); \
             get it back with git, or run `cargo xtask media` to make all clips anew",
            clip.name
        );
    }
    ensure!(
        total <= SIZE_LIMIT,
        "the clips take {total} bytes, more than the {SIZE_LIMIT} that a clone may cost"
    );
    Ok(())
}

fn encode(clip: &Clip, root: &Path, work: &Path) -> Result<()> {
    let pcm = work.join("sound.raw");
    fs::write(&pcm, sound::pcm(clip.bed, clip.sample_rate, clip.seconds))?;
    let mut ffmpeg = Command::new("ffmpeg");
    // `bitexact` leaves out dates and versions, so that the same encoder makes the same file.
    ffmpeg.args(["-y", "-v", "error", "-nostdin", "-itsoffset", clip.sound_offset]);
    ffmpeg.args(["-f", "s16le", "-ac", "2", "-ar", &clip.sample_rate.to_string(), "-i"]).arg(&pcm);
    match clip.picture {
        Picture::None => {}
        Picture::From(other) => {
            ffmpeg.arg("-i").arg(media(root, other)).args(["-map", "1:v", "-map", "0:a", "-c:v", "copy"]);
        }
        Picture::Alone(other) => {
            ffmpeg.arg("-i").arg(media(root, other)).args(["-map", "1:v", "-c:v", "copy"]);
            ffmpeg.args(["-t", &clip.seconds.to_string()]);
        }
        Picture::Again(other, encoder) => {
            ffmpeg.arg("-i").arg(media(root, other)).args(["-map", "1:v", "-map", "0:a"]).args(encoder);
        }
        Picture::Encoded { profile, height, kbps, x264 } => {
            let size = format!("{WIDTH}x{HEIGHT}");
            ffmpeg.args([
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-s",
                &size,
                "-r",
                &FPS.to_string(),
                "-i",
                "-",
            ]);
            ffmpeg.args(["-map", "1:v", "-map", "0:a", "-vf", &filters(height)]);
            ffmpeg.args(["-c:v", "libx264", "-preset", "slow", "-profile:v", profile, "-crf", "21"]);
            // One second of the limit as buffer: an IDR picture may take a part of it, not more.
            ffmpeg.args(["-maxrate", &format!("{kbps}k"), "-bufsize", &format!("{kbps}k")]);
            // The number of threads changes the bits; the number of cores must not.
            ffmpeg.args(["-threads", "2", "-x264-params", x264]);
            ffmpeg.args(["-color_range", "tv", "-colorspace", "bt709", "-color_primaries", "bt709"]);
            ffmpeg.args(["-color_trc", "bt709"]);
        }
    }
    ffmpeg.args(clip.audio).args(clip.container);
    ffmpeg.args(["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]);
    ffmpeg.arg(media(root, clip.name)).stdin(Stdio::piped());
    let mut child = ffmpeg.spawn().context("cannot start ffmpeg")?;
    let mut stdin = child.stdin.take().context("ffmpeg has no standard input")?;
    if matches!(clip.picture, Picture::Encoded { .. }) {
        let scene = Scene::new();
        let mut rgb = vec![0; WIDTH * HEIGHT * 3];
        for n in 0..clip.seconds * FPS {
            scene.draw(n, &mut rgb);
            stdin.write_all(&rgb).context("ffmpeg stopped reading the pictures")?;
        }
    }
    drop(stdin);
    let status = child.wait()?;
    ensure!(status.success(), "ffmpeg failed ({status})");
    fs::remove_file(&pcm)?;
    Ok(())
}

/// Captions for people, then the size and the color format of the clip.
fn filters(height: u32) -> String {
    let title = format!("drawtext=fontfile={SANS}:text=telecast:fontsize=64:fontcolor=white@0.92:x=61:y=582");
    let time = format!(
        "drawtext=fontfile={MONO}:text='%{{pts\\:hms}}':fontsize=26:fontcolor=white@0.80:x=w-64-tw:y=588"
    );
    let number = format!(
        "drawtext=fontfile={MONO}:text='frame %{{eif\\:n\\:d\\:5}}':fontsize=26:fontcolor=white@0.80:x=w-64-tw:y=622"
    );
    format!(
        "{title},{time},{number},scale=-2:{height}:flags=area:out_color_matrix=bt709:out_range=tv,format=yuv420p"
    )
}

/// Writes what ffprobe says about the packets of a clip: a second opinion for the demuxers.
fn list_packets(name: &str, root: &Path) -> Result<usize> {
    let streams = probe(
        root,
        name,
        "stream=index,codec_name,profile,width,height,has_b_frames,sample_rate,channels,time_base",
    )?;
    let packets = probe(
        root,
        name,
        "packet=stream_index,pts,dts,duration,size,flags:packet_side_data=skip_samples,discard_padding",
    )?;
    let mut json = format!("{{\n\"file\": \"{name}\",\n\"streams\": [\n");
    let mut rows: Vec<String> = Vec::new();
    for line in streams.lines() {
        let fields: Vec<String> =
            fields(line).map(|(key, value)| format!("\"{key}\": {}", json_value(value))).collect();
        rows.push(format!("  {{{}}}", fields.join(", ")));
    }
    json += &rows.join(",\n");
    json +=
        "\n],\n\"columns\": [\"stream\", \"pts\", \"dts\", \"duration\", \"size\", \"key\", \"discard\", ";
    json += "\"skip_samples\", \"discard_padding\"],\n\"packets\": [\n";
    rows.clear();
    // After a packet with side data ffprobe writes an empty line.
    for line in packets.lines().filter(|line| !line.is_empty()) {
        let field = |wanted| fields(line).find(|(key, _)| *key == wanted).map(|(_, value)| value);
        let flags = field("flags").unwrap_or_default();
        let [stream, pts, dts, duration, size] = ["stream_index", "pts", "dts", "duration", "size"]
            .map(|key| json_value(field(key).unwrap_or("N/A")));
        let [skip, padding] = ["skip_samples", "discard_padding"].map(|key| field(key).unwrap_or("0"));
        let (key, discard) = (flags.contains('K'), flags.contains('D'));
        rows.push(format!(
            "[{stream}, {pts}, {dts}, {duration}, {size}, {key}, {discard}, {skip}, {padding}]"
        ));
    }
    ensure!(!rows.is_empty(), "ffprobe found no packets in {name}");
    json += &rows.join(",\n");
    json += "\n]\n}\n";
    fs::write(root.join(format!("tests/golden/ffprobe/{name}.json")), json)?;
    Ok(rows.len())
}

fn probe(root: &Path, name: &str, entries: &str) -> Result<String> {
    let args = ["-v", "error", "-of", "compact=p=0", "-show_entries", entries];
    let output = Command::new("ffprobe").args(args).arg(media(root, name)).output()?;
    ensure!(
        output.status.success(),
        "ffprobe cannot read {name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn fields(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('|').filter_map(|field| field.split_once('='))
}

fn json_value(value: &str) -> String {
    match value {
        "N/A" => "null".to_owned(),
        number if number.parse::<i64>().is_ok() => number.to_owned(),
        text => format!("\"{text}\""),
    }
}

/// Puts the table of checksums into `media/README.md`, between its two marker lines.
fn write_checksums(root: &Path) -> Result<()> {
    const BEGIN: &str = "<!-- checksums: written by `cargo xtask media` -->\n";
    const END: &str = "<!-- end of checksums -->";
    let path = root.join("media/README.md");
    let text = fs::read_to_string(&path)?;
    let Some(((head, _), (_, tail))) = text.split_once(BEGIN).zip(text.split_once(END)) else {
        bail!("media/README.md has lost the two lines around its table of checksums");
    };
    let mut table = String::from("| file | SHA-256 |\n|---|---|\n");
    for clip in CLIPS {
        writeln!(table, "{}", checksum_row(clip.name, &sha256(&media(root, clip.name))?))?;
    }
    fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}"))?;
    Ok(())
}

fn checksum_row(name: &str, sum: &str) -> String {
    format!("| `{name}` | `{sum}` |")
}

fn sha256(path: &Path) -> Result<String> {
    let output =
        Command::new("sha256sum").arg(path).output().context("cannot start sha256sum (coreutils)")?;
    ensure!(output.status.success(), "sha256sum cannot read {}", path.display());
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().next().context("sha256sum printed nothing")?.to_owned())
}

fn media(root: &Path, name: &str) -> PathBuf {
    root.join("media").join(name)
}

#[expect(clippy::disallowed_methods, reason = "progress lines say how long a person waited")]
fn now() -> Instant {
    Instant::now()
}
