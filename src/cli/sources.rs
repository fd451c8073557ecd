//! What may be said about sources: how they are fetched, and which of their tracks is wanted.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::values;
#[cfg(feature = "card")]
use crate::media::CardOptions;
use crate::media::cache::Cache;
use crate::media::codec::opus::Preset;
use crate::media::plan::{PlanOptions, TrackChoice};
use crate::media::source::{MIN_LATENCY, SourceError, SourceOptions, is_address, list, resolver};
use crate::media::{MediaError, ReaderOptions};
use crate::secret::Secret;

/// How long a resolver may take.
const RESOLVER_PATIENCE: Duration = Duration::from_secs(60);

/// Options of all commands that read media: how a source is fetched, and which of its tracks is meant.
#[derive(Clone, Debug, Args)]
pub(super) struct TrackArgs {
    /// Send this line with every request to a web server, for example 'Authorization: Bearer x'
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, Secret<String>)>,

    /// Which sound: 1 is the first in the file, or a language such as eng
    #[arg(long, value_name = "N|LANG")]
    pub(super) audio_track: Option<TrackChoice>,

    /// Which picture: 1 is the first in the file, or a language
    #[arg(long, value_name = "N|LANG")]
    pub(super) video_track: Option<TrackChoice>,
}

impl TrackArgs {
    /// How a source is fetched.
    pub(super) fn source(&self) -> SourceOptions {
        SourceOptions { headers: self.headers.clone(), ..SourceOptions::default() }
    }

    /// The same plan for these tracks.
    pub(super) fn choose(&self, plan: PlanOptions) -> PlanOptions {
        PlanOptions { audio_track: self.audio_track, video_track: self.video_track, ..plan }
    }
}

/// Options of all commands that play.
#[derive(Clone, Debug, Args)]
pub(super) struct SourceArgs {
    #[command(flatten)]
    tracks: TrackArgs,

    /// A program that turns the address of a page into addresses of media, one a line, for
    /// example 'yt-dlp -g -f b'; it is asked about every source that is an address
    #[arg(long, value_name = "COMMAND")]
    resolver: Option<String>,

    /// How late a live source may be played (RTSP, RTMP, SRT, RTP, UDP, a radio station, HLS without an
    /// end), from 1s on: what a pause or the network has held back for longer is left out
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = latency)]
    latency: Duration,

    /// Bring every item to this loudness, by EBU R 128: -16 is usual, -23 that of television
    #[arg(long, value_name = "LUFS", allow_negative_numbers = true, value_parser = loudness)]
    loudness: Option<f32>,

    /// Bits per second of sound that is encoded, for example 96k
    #[arg(long, value_name = "RATE", value_parser = audio_bitrate)]
    audio_bitrate: Option<u32>,

    /// What the encoder of sound is tuned for
    #[arg(long, value_enum, default_value = "music")]
    audio_preset: AudioPreset,

    /// Encode both channels as one
    #[arg(long)]
    mono: bool,

    /// Show a card where there is sound and no picture: cover, title, progress and what is heard
    #[cfg(feature = "card")]
    #[arg(long)]
    card: bool,

    /// Keep prepared files there: what has to be transcoded is prepared while it plays, and copied
    /// when it plays again; needs ffmpeg
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,

    /// How much the cache may hold, for example 500M or 20G
    #[arg(long, value_name = "BYTES", default_value = "10G", value_parser = bytes, requires = "cache")]
    cache_size: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AudioPreset {
    /// Everything
    Music,
    /// Speech, prepared for lost packets
    Voice,
}

impl SourceArgs {
    /// The same options, with what was said about sources and with the cache, which one process
    /// opens once.
    pub(super) fn apply(&self, reader: ReaderOptions) -> anyhow::Result<ReaderOptions> {
        let mut reader = self.apply_uncached(reader);
        if let Some(folder) = &self.cache {
            let cache = Cache::open(folder, self.cache_size);
            let cache = cache.with_context(|| format!("cannot use {} as a cache", folder.display()))?;
            reader.cache = Some(cache);
        }
        Ok(reader)
    }

    /// The same without the cache, for what is read once.
    pub(super) fn apply_uncached(&self, mut reader: ReaderOptions) -> ReaderOptions {
        reader.source = SourceOptions { latency: self.latency, ..self.tracks.source() };
        reader.plan = self.tracks.choose(reader.plan);
        if let Some(bitrate) = self.audio_bitrate {
            reader.opus.bitrate_bps = bitrate;
        }
        reader.opus.preset = match self.audio_preset {
            AudioPreset::Music => Preset::Music,
            AudioPreset::Voice => Preset::Voice,
        };
        reader.opus.mono = self.mono;
        reader.loudness_lufs = self.loudness;
        #[cfg(feature = "card")]
        {
            reader.card = self.card.then(CardOptions::default);
        }
        reader
    }

    /// What to play: folders and playlists spelled out, pages resolved.
    pub(super) fn expand(&self, sources: &[PathBuf]) -> Result<Vec<PathBuf>, MediaError> {
        let mut all = Vec::new();
        for source in sources {
            for name in list::expand(source)? {
                all.extend(self.resolve(name)?);
            }
        }
        Ok(all)
    }

    fn resolve(&self, name: PathBuf) -> Result<Vec<PathBuf>, SourceError> {
        match (&self.resolver, name.to_str()) {
            (Some(command), Some(page)) if is_address(page) && !is_message(page) => {
                resolver::resolve(command, page, RESOLVER_PATIENCE)
            }
            _ => Ok(vec![name]),
        }
    }
}

/// A link to a message at Telegram, which no resolver is asked about.
#[cfg(feature = "telegram")]
fn is_message(name: &str) -> bool {
    crate::telegram::FileLink::is_meant(name)
}

#[cfg(not(feature = "telegram"))]
const fn is_message(_name: &str) -> bool {
    false
}

/// Reads `-16` or `-16.5`.
fn loudness(text: &str) -> Result<f32, String> {
    let lufs = text.parse::<f32>().ok().filter(|lufs| (-40.0..=-6.0).contains(lufs));
    lufs.ok_or_else(|| "from -40 (hardly audible) to -6 (as loud as the loudest records)".to_owned())
}

/// Reads how late a live source may be.
fn latency(text: &str) -> Result<Duration, String> {
    let latency = values::duration(text)?;
    let least = MIN_LATENCY.as_secs();
    if latency >= MIN_LATENCY {
        return Ok(latency);
    }
    Err(format!("closer than {least} s to the present it would run dry again and again; try {least}s or 5s"))
}

/// Reads `500M`, `20G` or a bare number of bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000)];
    let unit = units.iter().find_map(|(unit, times)| Some((text.strip_suffix(unit)?, *times)));
    let (number, times) = unit.unwrap_or((text, 1));
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(times));
    bytes.ok_or_else(|| format!("`{text}` is no size; try 500M or 20G"))
}

/// Reads `96k` or a bare number of bits per second.
fn audio_bitrate(text: &str) -> Result<u32, String> {
    let (number, unit) = text.strip_suffix(['k', 'K']).map_or((text, 1), |number| (number, 1000));
    let bps = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    bps.filter(|bps| (6_000..=510_000).contains(bps)).ok_or_else(|| "Opus has 6k to 510k".to_owned())
}

fn header(text: &str) -> Result<(String, Secret<String>), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| "a header is a name, a colon and a value".to_owned())?;
    let token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(token) || value.chars().any(char::is_control) {
        return Err("a header has a plain name and one line of value".to_owned());
    }
    Ok((name.to_owned(), Secret::new(value.trim().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_loudness_are_read_as_people_write_them() {
        assert_eq!(bytes("500M"), Ok(500_000_000));
        assert_eq!(bytes("20G"), Ok(20_000_000_000));
        assert_eq!(bytes("12345"), Ok(12_345));
        assert_eq!(loudness("-16"), Ok(-16.0));
        for wrong in ["", "G", "-1M", "1.5G", "99999999999T"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(latency("2500ms"), Ok(Duration::from_millis(2500)));
        assert!(latency("999ms").unwrap_err().contains("run dry") && latency("soon").is_err());
        assert!(loudness("16").is_err() && loudness("quiet").is_err() && loudness("NaN").is_err());
    }
}
