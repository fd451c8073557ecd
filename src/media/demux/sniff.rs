//! The first bytes of a file → which container it is, or in words what else.

use super::plain::Container;

/// What the bytes are. Names lie; content is what gets demuxed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    Mp4,
    Matroska,
    Ogg,
    /// Perhaps behind an ID3 tag; the mp3 reader has the last word.
    Mp3,
    Ivf,
    /// Annex B without a container.
    H264,
    /// Sound alone.
    Plain(Container),
    /// Something that FFmpeg can read, in words.
    Foreign(&'static str),
    /// Something else, in words.
    Other(String),
    /// Nothing that is known here, in words.
    Unknown(String),
}

/// Packets of a transport stream; with a 4-byte time stamp (Blu-ray) 192.
const TS_PACKET: usize = 188;

/// Signatures at the start of the file.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"[playlist]", "playlist"),
    (b"\x89PNG", "PNG picture"),
    (b"\xff\xd8\xff", "JPEG picture"),
    (b"GIF8", "GIF picture"),
    (b"BM", "BMP picture"),
    (b"II*\0", "TIFF picture"),
    (b"MM\0*", "TIFF picture"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"%PDF", "PDF document"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "7z archive"),
    (b"Rar!", "RAR archive"),
    (b"\x7fELF", "program"),
    (b"MZ", "program"),
    (b"<!DOCTYPE", "HTML page"),
    (b"<!doctype", "HTML page"),
    (b"<html", "HTML page"),
];

/// What a playlist is called, of HLS or of files.
pub(super) const PLAYLIST: &str = "playlist";

/// Signatures of what FFmpeg reads for us.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"FLV", "Flash video"),
    (b"caff", "Core Audio"),
    (b".RMF", "RealMedia"),
    (b"#!AMR", "AMR"),
    (b"wvpk", "WavPack"),
    (b"TTA1", "True Audio"),
    (b"MAC ", "Monkey's Audio"),
    (b".snd", "Sun audio"),
    (b"riff\x2e\x91\xcf\x11", "Wave64"),
    (b"\x0b\x77", "AC-3"),
    (b"\x7f\xfe\x80\x01", "DTS"),
    (b"\x06\x0e\x2b\x34", "MXF"),
    (b"\x1f\x07\x00", "DV"),
    (b"Creative Voice File\x1a", "Creative Voice"),
    (b"YUV4MPEG2 ", "raw pictures"),
    (b"nut/multimedia container\0", "NUT"),
    (b"#EXTM3U", PLAYLIST),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media"),
    (b"\x00\x00\x01\xba", "MPEG program stream"),
    (b"\x00\x00\x01\xb3", "raw MPEG video"),
    (b"\x00\x00\x00\x01", "H.265 or MPEG-4 without a container"),
    (b"\x00\x00\x01", "H.265 or MPEG-4 without a container"),
];

/// Looks at the start of a file; a few kilobytes are enough.
pub(super) fn sniff(head: &[u8]) -> Sniffed {
    if head.starts_with(b"\x1a\x45\xdf\xa3") {
        return Sniffed::Matroska;
    }
    if head.starts_with(b"OggS") {
        return Sniffed::Ogg;
    }
    if let Some(sniffed) = iso_media(head) {
        return sniffed;
    }
    if head.starts_with(b"fLaC") {
        return Sniffed::Plain(Container::Flac);
    }
    if let Some(sniffed) = riff(head) {
        return sniffed;
    }
    if head.starts_with(b"ID3") {
        return Sniffed::Mp3;
    }
    if head.starts_with(b"DKIF") {
        return Sniffed::Ivf;
    }
    if is_h264(head) {
        return Sniffed::H264;
    }
    if is_transport_stream(head) {
        return Sniffed::Foreign("an MPEG transport stream");
    }
    if let Some((_, words)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Sniffed::Foreign(words);
    }
    if (head.starts_with(b"<?xml") || head.starts_with(b"<MPD")) && head.windows(4).any(|it| it == b"<MPD") {
        return Sniffed::Foreign("DASH");
    }
    if let Some((_, words)) = SIGNATURES.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Sniffed::Other((*words).to_owned());
    }
    match head {
        // Layer bits 00 mean AAC in ADTS frames, 01 layer III.
        [0xff, second, ..] if second & 0xf6 == 0xf0 => Sniffed::Foreign("AAC without a container"),
        [0xff, second, ..] if second & 0xe6 == 0xe2 => Sniffed::Mp3,
        [0xff, 0xf4 | 0xf5 | 0xfc | 0xfd, ..] => Sniffed::Foreign("MPEG sound of layer II"),
        _ => plain(head),
    }
}

/// Boxes that a file of the ISO family (or QuickTime) starts with.
fn iso_media(head: &[u8]) -> Option<Sniffed> {
    let kind: &[u8; 4] = head.get(4..)?.first_chunk()?;
    match kind {
        b"ftyp" => Some(match head.get(8..12) {
            Some(b"heic" | b"heix" | b"mif1" | b"msf1") => Sniffed::Other("HEIF picture".to_owned()),
            Some(b"avif" | b"avis") => Sniffed::Other("AVIF picture".to_owned()),
            _ => Sniffed::Mp4,
        }),
        b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot" | b"styp" | b"moof" | b"sidx" => {
            Some(Sniffed::Mp4)
        }
        _ => None,
    }
}

fn riff(head: &[u8]) -> Option<Sniffed> {
    let (group, form) = (head.get(..4)?, head.get(8..12)?);
    let other = |words: &str| Some(Sniffed::Other(words.to_owned()));
    match (group, form) {
        (b"RIFF", b"WAVE") => Some(Sniffed::Plain(Container::Wav)),
        (b"FORM", b"AIFF" | b"AIFC") => Some(Sniffed::Plain(Container::Aiff)),
        (b"FORM", _) => other("IFF"),
        (b"RIFF", b"AVI ") => Some(Sniffed::Foreign("AVI")),
        (b"RIFF", b"WEBP") => other("WebP picture"),
        (b"RF64", b"WAVE") => Some(Sniffed::Foreign("WAV of more than 4 GiB")),
        (b"RIFF" | b"RF64", _) => other("RIFF"),
        _ => None,
    }
}

fn is_transport_stream(head: &[u8]) -> bool {
    let synced = |first: usize, step: usize| (0..4).all(|n| head.get(first + n * step) == Some(&0x47));
    synced(0, TS_PACKET) || synced(4, TS_PACKET + 4)
}

/// A start code, and behind it a NAL unit that H.264 streams begin with. In H.265 the lowest bit
/// there is 0 in all but exotic streams, and in the others the highest is 1.
fn is_h264(head: &[u8]) -> bool {
    let ([0, 0, 0, 1, nal, ..] | [0, 0, 1, nal, ..]) = head else { return false };
    match nal & 0x1f {
        // Delimiter, messages: nothing refers to them.
        6 | 9 => nal & 0xe0 == 0,
        // Slices, and the sequence parameter set.
        1 => nal & 0x80 == 0,
        5 | 7 => nal & 0x80 == 0 && nal & 0x60 != 0,
        _ => false,
    }
}

fn plain(head: &[u8]) -> Sniffed {
    if head.iter().all(|byte| *byte == 0) {
        return Sniffed::Other("only zero bytes".to_owned());
    }
    // The head may end in the middle of a character.
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    match text {
        Some(text) if text.chars().all(|c| !c.is_control() || c.is_whitespace()) => {
            Sniffed::Other("plain text".to_owned())
        }
        _ => {
            let first: Vec<_> = head.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            Sniffed::Unknown(format!("unknown bytes, starting with {}", first.join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(words: &str) -> Sniffed {
        Sniffed::Other(words.to_owned())
    }

    #[test]
    fn containers_are_known_by_content() {
        assert_eq!(sniff(b"\0\0\0\x20ftypisom"), Sniffed::Mp4);
        assert_eq!(sniff(b"\0\0\0\x08wide\0\0\0\0mdat"), Sniffed::Mp4);
        assert_eq!(sniff(b"\x1a\x45\xdf\xa3\x9f"), Sniffed::Matroska);
        assert_eq!(sniff(b"OggS\0\x02"), Sniffed::Ogg);
        assert_eq!(sniff(b"ID3\x04\0"), Sniffed::Mp3);
        assert_eq!(sniff(b"\xff\xfb\x90\x64"), Sniffed::Mp3);
        assert_eq!(sniff(b"RIFF\x24\0\0\0WAVEfmt "), Sniffed::Plain(Container::Wav));
        assert_eq!(sniff(b"FORM\0\0\0\x24AIFFCOMM"), Sniffed::Plain(Container::Aiff));
        assert_eq!(sniff(b"fLaC\0\0\0\x22"), Sniffed::Plain(Container::Flac));
        assert_eq!(sniff(b"DKIF\0\0\x20\0VP80"), Sniffed::Ivf);
        assert_eq!(sniff(b"\0\0\0\x01\x67\x42\xc0\x1f"), Sniffed::H264);
        assert_eq!(sniff(b"\0\0\x01\x09\xf0"), Sniffed::H264);
    }

    #[test]
    fn everything_else_is_named() {
        let mut ts = vec![0; 800];
        for packet in 0..4 {
            ts[packet * 188] = 0x47;
        }
        assert_eq!(sniff(&ts), Sniffed::Foreign("an MPEG transport stream"));
        let h265 = Sniffed::Foreign("H.265 or MPEG-4 without a container");
        for parameters in [b"\0\0\0\x01\x40\x01\x0c", b"\0\0\0\x01\x46\x01\x10", b"\0\0\0\x01\x42\x01\x01"] {
            assert_eq!(sniff(parameters), h265);
        }
        assert_eq!(sniff(b"\0\0\x01\xb6\x10"), h265, "a picture of MPEG-4");
        assert_eq!(sniff(b"RIFF\x24\0\0\0AVI LIST"), Sniffed::Foreign("AVI"));
        assert_eq!(sniff(b"\xff\xf1\x50\x80"), Sniffed::Foreign("AAC without a container"));
        assert_eq!(sniff("Gr\u{fc}\u{df}e,\n\tnot a film".as_bytes()), other("plain text"));
        assert_eq!(sniff(&"\u{fc}".as_bytes()[..1]), other("plain text"));
        assert_eq!(sniff(b"<html><body>404</body></html>"), other("HTML page"));
        assert_eq!(sniff(&[0; 64]), other("only zero bytes"));
        let unknown = Sniffed::Unknown("unknown bytes, starting with 01 02 80 fe".to_owned());
        assert_eq!(sniff(b"\x01\x02\x80\xfe\x05"), unknown);
        assert_eq!(sniff(b"\0\0\0\x18ftypheic"), other("HEIF picture"));
    }
}
