//! Words in any script → stamps of a given width.
//!
//! The fonts that are built in have the letters of Latin, Greek, Cyrillic and Arabic. Only where a
//! text has others, the fonts of the system are searched, which takes its time.

use cosmic_text::fontdb::{Database, Source};
use cosmic_text::{
    Attrs, Buffer, Color as Ink, Ellipsize, EllipsizeHeightLimit, Family, FontSystem, Metrics, Shaping,
    SwashCache, Weight, Wrap,
};

use super::canvas::{Color, Stamp};

/// See `fonts/README.md`.
const BUILT_IN: [&[u8]; 3] = [
    include_bytes!("fonts/NotoSans-Regular.ttf"),
    include_bytes!("fonts/NotoSans-Bold.ttf"),
    include_bytes!("fonts/NotoSansArabic-Regular.ttf"),
];
const FAMILY: &str = "Noto Sans";
/// Of Chinese characters, which differ by country, those of this one are shown.
const LOCALE: &str = "en-US";
/// From one line to the next, in letter heights.
const LINE: f32 = 1.25;
/// Longer texts do not fit in any case, and shaping them takes time.
const MAX_CHARS: usize = 300;

/// How a text is to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Height of the letters in pixels.
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) color: Color,
    /// Pixels of a line.
    pub(super) width: usize,
    /// What does not fit into so many lines is cut with an ellipsis.
    pub(super) lines: usize,
}

/// Sets texts.
pub(super) struct Typesetter {
    fonts: FontSystem,
    cache: SwashCache,
    /// The system's fonts are there, too.
    complete: bool,
}

impl Default for Typesetter {
    fn default() -> Self {
        let mut database = Database::new();
        for font in BUILT_IN {
            database.load_font_source(Source::Binary(std::sync::Arc::new(font)));
        }
        let fonts = FontSystem::new_with_locale_and_db(LOCALE.to_owned(), database);
        Self { fonts, cache: SwashCache::new(), complete: false }
    }
}

impl Typesetter {
    /// Sets a text; the stamp has the width of the style and the height of all lines.
    pub(super) fn set(&mut self, text: &str, style: Style) -> Stamp {
        let text = printable(text);
        if !self.complete && has_missing_letters(&self.shape(&text, style, Ellipsize::None)) {
            self.search_system();
        }
        let height = line_height(style);
        let mut lines = Vec::new();
        let mut rest = &text[..];
        while !rest.is_empty() && lines.len() < style.lines {
            let is_last = lines.len() + 1 == style.lines;
            let limit = EllipsizeHeightLimit::Lines(1);
            let buffer =
                self.shape(rest, style, if is_last { Ellipsize::End(limit) } else { Ellipsize::None });
            let first = buffer.layout_runs().next();
            let taken =
                first.and_then(|run| run.glyphs.iter().map(|glyph| glyph.end).max()).unwrap_or(rest.len());
            rest = rest.get(taken..).unwrap_or_default().trim_start();
            lines.push(buffer);
        }
        let mut stamp = Stamp::new(style.width, height * lines.len());
        for (nth, line) in lines.iter().enumerate() {
            self.draw(line, style.color, &mut stamp, nth * height);
        }
        stamp
    }

    fn search_system(&mut self) {
        tracing::debug!("a title has letters that no built-in font has; the system's fonts are searched");
        // What was looked up without them would be remembered, so everything begins anew.
        let empty = FontSystem::new_with_locale_and_db(LOCALE.to_owned(), Database::new());
        let (locale, mut database) = std::mem::replace(&mut self.fonts, empty).into_locale_and_db();
        database.load_system_fonts();
        self.fonts = FontSystem::new_with_locale_and_db(locale, database);
        (self.cache, self.complete) = (SwashCache::new(), true);
    }

    fn shape(&mut self, text: &str, style: Style, ellipsize: Ellipsize) -> Buffer {
        let mut buffer = Buffer::new(&mut self.fonts, Metrics::relative(style.size, LINE));
        #[expect(clippy::cast_precision_loss, reason = "a picture has thousands of pixels in a row")]
        let width = style.width as f32;
        buffer.set_size(Some(width), None);
        buffer.set_wrap(Wrap::WordOrGlyph);
        buffer.set_ellipsize(ellipsize);
        let weight = if style.bold { Weight::BOLD } else { Weight::NORMAL };
        let attributes = Attrs::new().family(Family::Name(FAMILY)).weight(weight);
        buffer.set_text(text, &attributes, Shaping::Advanced, None);
        buffer.shape_until_scroll(&mut self.fonts, false);
        buffer
    }

    /// Draws the first line of a text.
    fn draw(&mut self, buffer: &Buffer, [r, g, b]: Color, stamp: &mut Stamp, top: usize) {
        let Some(run) = buffer.layout_runs().next() else { return };
        let top = i32::try_from(top).unwrap_or(i32::MAX);
        for glyph in run.glyphs {
            let place = glyph.physical((0.0, run.line_y), 1.0);
            self.cache.with_pixels(&mut self.fonts, place.cache_key, Ink::rgb(r, g, b), |x, y, ink| {
                let at = (place.x.saturating_add(x), place.y.saturating_add(y).saturating_add(top));
                stamp.put(at, [ink.r(), ink.g(), ink.b()], ink.a());
            });
        }
    }
}

/// Pixels from one line to the next.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the height of a line")]
fn line_height(style: Style) -> usize {
    (style.size * LINE).ceil() as usize
}

/// No font has a glyph for some letter.
fn has_missing_letters(buffer: &Buffer) -> bool {
    buffer.layout_runs().flat_map(|run| run.glyphs).any(|glyph| glyph.glyph_id == 0)
}

/// One line without anything that cannot be seen.
fn printable(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").chars().take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style { size: 24.0, bold: false, color: [255; 3], width: 200, lines: 1 };

    /// The first and the last column with ink in it, and how much ink there is.
    fn ink(stamp: &Stamp) -> (usize, usize, u64) {
        let covered = |x: &usize| (0..stamp.height).any(|y| stamp.pixels[y * stamp.width + x].1 > 0);
        let columns: Vec<usize> = (0..stamp.width).filter(covered).collect();
        let sum = stamp.pixels.iter().map(|(_, cover)| u64::from(*cover)).sum();
        (columns.first().copied().unwrap_or(0), columns.last().copied().unwrap_or(0), sum)
    }

    #[test]
    fn every_script_that_is_promised_is_set_without_the_system() {
        let mut typesetter = Typesetter::default();
        for text in ["Crème Brûlée", "Группа крови", "Ζορμπάς", "Đường xưa", "شب سکوت", "Ґанок її"]
        {
            let stamp = typesetter.set(text, STYLE);
            assert!(!typesetter.complete, "{text} needs the system's fonts");
            assert!(ink(&stamp).2 > 5000, "{text} is seen");
        }
        // Others look for a font that has them, and do no harm where there is none.
        typesetter.set("東京", STYLE);
        assert!(typesetter.complete);
    }

    #[test]
    fn arabic_begins_at_the_right_and_is_joined() {
        let mut typesetter = Typesetter::default();
        let (left, right, _) = ink(&typesetter.set("سلام", STYLE));
        assert!(left > 100 && right > 190, "{left} to {right}");
        let joined = typesetter.set("سلام", STYLE);
        let apart = typesetter.set("س ل ا م", STYLE);
        assert!(ink(&joined).0 > ink(&apart).0 + 10, "letters that are joined take less room");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_never_grows() {
        let mut typesetter = Typesetter::default();
        let long = "A rather long title that goes on and on ".repeat(200);
        for lines in [1, 2] {
            let stamp = typesetter.set(&long, Style { lines, ..STYLE });
            assert_eq!((stamp.width, stamp.height), (200, 30 * lines));
            assert!(ink(&stamp).1 > 150, "the line is used");
        }
        let stamp = typesetter.set(&"W".repeat(5000), Style { lines: 2, ..STYLE });
        assert_eq!(stamp.height, 60, "a word without a break, too");
        assert_eq!(typesetter.set("two\nlines\u{0}", STYLE).height, 30, "a break is a blank");
        assert_eq!(ink(&typesetter.set("", STYLE)).2, 0);
    }
}
