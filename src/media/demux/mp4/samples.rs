//! Sample tables → one sample after the other (ISO/IEC 14496-12, clause 8.6 and 8.7).
//!
//! The tables stay as the file has them (run lengths, big-endian), so two hours of film cost a
//! few megabytes and nothing is computed before it is asked for.

use bytes::Bytes;

use super::boxes::{Fields, child};

/// One sample of a track. Times in ticks of the track's timescale, on its media timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Counted from 0.
    pub(super) index: u32,
    pub(super) offset: u64,
    pub(super) size: u32,
    pub(super) dts: i64,
    pub(super) cts: i64,
    /// Decoding time until the next one.
    pub(super) delta: u32,
}

/// The tables of one track.
#[derive(Debug)]
pub(super) struct SampleTable {
    n_samples: u32,
    sizes: Sizes,
    /// Run length and decoding time to the next sample.
    stts: Table<8>,
    /// Run length and composition offset.
    ctts: Table<8>,
    /// First chunk, samples per chunk, sample description.
    stsc: Table<12>,
    chunks: Chunks,
    /// Numbers of the samples where decoding can start, from 1; `None`: all of them.
    sync: Option<Table<4>>,
}

#[derive(Debug)]
enum Sizes {
    Same(u32),
    Table(Table<4>),
    /// `stz2`: 4, 8 or 16 bits each.
    Compact {
        bits: u8,
        table: Bytes,
    },
}

#[derive(Debug)]
enum Chunks {
    Narrow(Table<4>),
    Wide(Table<8>),
}

impl SampleTable {
    /// Parses the tables in `stbl`; the error says which one is missing or broken.
    pub(super) fn parse(stbl: &Bytes) -> Result<Self, String> {
        let table = |name: &[u8; 4]| child(stbl, name);
        let missing = |name: &str| format!("the sample table {name} is missing");
        let (n_samples, sizes) = match (table(b"stsz"), table(b"stz2")) {
            (Some(stsz), _) => parse_stsz(&stsz)?,
            (None, Some(stz2)) => parse_stz2(&stz2)?,
            (None, None) => return Err(missing("stsz")),
        };
        let chunks = match (table(b"co64"), table(b"stco")) {
            (Some(co64), _) => Chunks::Wide(Table::parse("co64", &co64)?),
            (None, Some(stco)) => Chunks::Narrow(Table::parse("stco", &stco)?),
            (None, None) => return Err(missing("stco")),
        };
        let stsc = Table::parse("stsc", &table(b"stsc").ok_or_else(|| missing("stsc"))?)?;
        let stts = Table::parse("stts", &table(b"stts").ok_or_else(|| missing("stts"))?)?;
        if n_samples > 0 && (stsc.len() == 0 || stts.len() == 0 || chunks.len() == 0) {
            return Err("a table of samples, chunks or times is empty although there are samples".to_owned());
        }
        let ctts = table(b"ctts").map_or(Ok(Table::default()), |ctts| Table::parse("ctts", &ctts))?;
        let sync = table(b"stss").map(|stss| Table::parse("stss", &stss)).transpose()?;
        Ok(Self { n_samples, sizes, stts, ctts, stsc, chunks, sync })
    }

    pub(super) const fn n_samples(&self) -> u32 {
        self.n_samples
    }

    /// Ticks from the first sample to the end of the last.
    pub(super) fn total_ticks(&self) -> i64 {
        let mut left = self.n_samples;
        let mut ticks = 0_i64;
        for run in 0..self.stts.len() {
            let (count, delta) = self.stts.pair(run);
            let count = count.min(left);
            left -= count;
            ticks = ticks.saturating_add(i64::from(count) * i64::from(delta));
        }
        ticks
    }

    /// The most that a composition offset goes below zero. FFmpeg lets decoding start earlier by
    /// that, so that no sample is shown before it is decoded.
    pub(super) fn decode_lead(&self) -> i64 {
        let lowest = (0..self.ctts.len()).map(|run| self.ctts.pair(run).1 as i32).min();
        i64::from(lowest.unwrap_or(0).min(0)).abs()
    }

    /// Decoding and composition time of a sample.
    pub(super) fn times(&self, index: u32) -> (i64, i64) {
        let mut cursor = TimeCursor::default();
        cursor.go_to(self, index);
        cursor.next(self);
        (cursor.dts, cursor.dts.saturating_add(i64::from(cursor.composition)))
    }

    /// The last sample with a decoding time at or before `dts`, or the first one.
    pub(super) fn at_or_before(&self, dts: i64) -> u32 {
        let (mut index, mut start) = (0_u32, 0_i64);
        for run in 0..self.stts.len() {
            let (count, delta) = self.stts.pair(run);
            let count = count.min(self.n_samples - index);
            let length = i64::from(count) * i64::from(delta);
            if dts.saturating_sub(start) < length {
                let inside = (dts.saturating_sub(start)).max(0) / i64::from(delta).max(1);
                return index + u32::try_from(inside).unwrap_or(0);
            }
            index += count;
            start = start.saturating_add(length);
        }
        self.n_samples.saturating_sub(1)
    }

    pub(super) fn n_sync(&self) -> u32 {
        self.sync.as_ref().map_or(self.n_samples, |sync| u32::try_from(sync.len()).unwrap_or(u32::MAX))
    }

    /// The index of the `nth` sync sample.
    pub(super) fn sync_sample(&self, nth: u32) -> u32 {
        let index = self.sync.as_ref().map_or(nth, |sync| sync.number(nth as usize).saturating_sub(1));
        index.min(self.n_samples.saturating_sub(1))
    }

    fn size(&self, index: u32) -> u32 {
        let index = index as usize;
        match &self.sizes {
            Sizes::Same(size) => *size,
            Sizes::Table(table) => table.number(index),
            Sizes::Compact { bits: 4, table } => {
                let byte = table.get(index / 2).copied().unwrap_or(0);
                u32::from(if index.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
            }
            Sizes::Compact { bits: 8, table } => u32::from(table.get(index).copied().unwrap_or(0)),
            Sizes::Compact { table, .. } => {
                let pair = table.get(index * 2..index * 2 + 2);
                pair.map_or(0, |pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            }
        }
    }
}

/// Walks through the samples of one table.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    index: u32,
    times: TimeCursor,
    /// Chunks begun; the current one is `chunk - 1`.
    chunk: u32,
    left_in_chunk: u32,
    /// The entry of `stsc` in force.
    chunk_run: usize,
    offset: u64,
}

impl Cursor {
    /// The next sample; `Ok(None)` is the end, and `Err` samples that no chunk holds.
    pub(super) fn next(&mut self, table: &SampleTable) -> Result<Option<Sample>, &'static str> {
        if self.index >= table.n_samples {
            return Ok(None);
        }
        while self.left_in_chunk == 0 {
            if !self.next_chunk(table) {
                self.index = table.n_samples;
                return Err("there are more samples than chunks hold");
            }
        }
        self.times.next(table);
        let sample = Sample {
            index: self.index,
            offset: self.offset,
            size: table.size(self.index),
            dts: self.times.dts,
            cts: self.times.dts.saturating_add(i64::from(self.times.composition)),
            delta: self.times.delta,
        };
        self.index += 1;
        self.left_in_chunk -= 1;
        self.offset = self.offset.saturating_add(u64::from(sample.size));
        Ok(Some(sample))
    }

    /// Goes to the sample `index`, wherever it stands.
    pub(super) fn go_to(&mut self, table: &SampleTable, index: u32) {
        *self = Self { index: index.min(table.n_samples), ..Self::default() };
        self.times.go_to(table, self.index);
        // Whole runs of equal chunks first, then the chunk, then the samples before ours in it.
        let mut left = self.index;
        for run in 0..table.stsc.len() {
            let (first, per_chunk) = table.stsc.pair(run);
            let after = if run + 1 < table.stsc.len() {
                table.stsc.pair(run + 1).0
            } else {
                table.chunks.len().saturating_add(1)
            };
            let n_chunks = after.saturating_sub(first.max(1)).min(table.chunks.len());
            let in_run = u64::from(n_chunks) * u64::from(per_chunk);
            if u64::from(left) >= in_run {
                left -= u32::try_from(in_run).unwrap_or(left);
                self.chunk = after.saturating_sub(1);
                self.chunk_run = run;
                continue;
            }
            let skipped = left / per_chunk;
            self.chunk = first.max(1) - 1 + skipped;
            self.chunk_run = run;
            left -= skipped * per_chunk;
            break;
        }
        if self.next_chunk(table) {
            let before = self.index - left.min(self.index);
            for index in before..self.index {
                self.offset = self.offset.saturating_add(u64::from(table.size(index)));
            }
            self.left_in_chunk = self.left_in_chunk.saturating_sub(left);
        }
    }

    /// The bytes from the current sample to the end of its chunk, as far as `limit`.
    pub(super) fn run_after(&self, table: &SampleTable, sample: &Sample, limit: u64) -> u64 {
        let mut bytes = u64::from(sample.size);
        for ahead in 0..self.left_in_chunk.min(table.n_samples - self.index) {
            let next = bytes + u64::from(table.size(self.index + ahead));
            if next > limit {
                break;
            }
            bytes = next;
        }
        bytes
    }

    fn next_chunk(&mut self, table: &SampleTable) -> bool {
        if self.chunk >= table.chunks.len() {
            return false;
        }
        self.chunk += 1;
        while self.chunk_run + 1 < table.stsc.len() && table.stsc.pair(self.chunk_run + 1).0 <= self.chunk {
            self.chunk_run += 1;
        }
        self.left_in_chunk = table.stsc.pair(self.chunk_run).1;
        self.offset = table.chunks.offset(self.chunk - 1);
        true
    }
}

/// The run-length coded times of the current sample.
#[derive(Clone, Debug, Default)]
struct TimeCursor {
    dts: i64,
    delta: u32,
    run: usize,
    left: u32,
    started: bool,
    composition: i32,
    composition_run: usize,
    composition_left: u32,
}

impl TimeCursor {
    /// Steps to the next sample. Where `stts` ends early its last step goes on; where `ctts`
    /// does, the offset is zero.
    fn next(&mut self, table: &SampleTable) {
        if self.started {
            self.dts = self.dts.saturating_add(i64::from(self.delta));
        }
        self.started = true;
        while self.left == 0 {
            if self.run >= table.stts.len() {
                self.left = u32::MAX;
                break;
            }
            (self.left, self.delta) = table.stts.pair(self.run);
            self.run += 1;
        }
        self.left -= 1;
        while self.composition_left == 0 {
            if self.composition_run >= table.ctts.len() {
                (self.composition_left, self.composition) = (u32::MAX, 0);
                break;
            }
            let (count, offset) = table.ctts.pair(self.composition_run);
            // Version 0 calls it unsigned, but writers put negative numbers there, too.
            (self.composition_left, self.composition) = (count, offset as i32);
            self.composition_run += 1;
        }
        self.composition_left -= 1;
    }

    /// So that `next` gives the sample `index`.
    fn go_to(&mut self, table: &SampleTable, index: u32) {
        *self = Self::default();
        let mut left = index;
        while left > 0 && self.run < table.stts.len() {
            let (count, delta) = table.stts.pair(self.run);
            self.run += 1;
            let used = count.min(left);
            left -= used;
            self.dts = self.dts.saturating_add(i64::from(used) * i64::from(delta));
            (self.left, self.delta) = (count - used, delta);
        }
        self.dts = self.dts.saturating_add(i64::from(left) * i64::from(self.delta));
        let mut left = index;
        while left > 0 && self.composition_run < table.ctts.len() {
            let (count, offset) = table.ctts.pair(self.composition_run);
            self.composition_run += 1;
            let used = count.min(left);
            left -= used;
            (self.composition_left, self.composition) = (count - used, offset as i32);
        }
    }
}

fn parse_stsz(stsz: &Bytes) -> Result<(u32, Sizes), String> {
    let mut fields = Fields(stsz);
    let (size, count) = (|| {
        fields.version()?;
        Some((fields.u32()?, fields.u32()?))
    })()
    .ok_or("the sample table stsz is too short")?;
    let sizes = if size > 0 {
        Sizes::Same(size)
    } else {
        Sizes::Table(Table::new("stsz", count, stsz.slice_ref(fields.0))?)
    };
    Ok((count, sizes))
}

fn parse_stz2(stz2: &Bytes) -> Result<(u32, Sizes), String> {
    let mut fields = Fields(stz2);
    let (bits, count) = (|| {
        fields.skip(7)?;
        Some((fields.u8()?, fields.u32()?))
    })()
    .ok_or("the sample table stz2 is too short")?;
    if !matches!(bits, 4 | 8 | 16) {
        return Err(format!("the sample table stz2 has entries of {bits} bits"));
    }
    let table = stz2.slice_ref(fields.0);
    if (table.len() as u64) * 8 < u64::from(count) * u64::from(bits) {
        return Err(format!("the sample table stz2 has {count} entries, but no room for them"));
    }
    Ok((count, Sizes::Compact { bits, table }))
}

impl Chunks {
    fn len(&self) -> u32 {
        let len = match self {
            Self::Narrow(table) => table.len(),
            Self::Wide(table) => table.len(),
        };
        u32::try_from(len).unwrap_or(u32::MAX)
    }

    fn offset(&self, index: u32) -> u64 {
        match self {
            Self::Narrow(table) => u64::from(table.number(index as usize)),
            Self::Wide(table) => {
                let (high, low) = table.pair(index as usize);
                u64::from(high) << 32 | u64::from(low)
            }
        }
    }
}

/// A counted table with entries of `SIZE` bytes, all of them present.
#[derive(Clone, Debug, Default)]
struct Table<const SIZE: usize>(Bytes);

impl<const SIZE: usize> Table<SIZE> {
    fn parse(name: &str, payload: &Bytes) -> Result<Self, String> {
        let mut fields = Fields(payload);
        let count = fields.version().and_then(|_| fields.u32());
        let count = count.ok_or_else(|| format!("the sample table {name} is too short"))?;
        Self::new(name, count, payload.slice_ref(fields.0))
    }

    fn new(name: &str, count: u32, entries: Bytes) -> Result<Self, String> {
        let room = entries.len() / SIZE;
        match usize::try_from(count) {
            Ok(count) if count <= room => Ok(Self(entries.slice(..count * SIZE))),
            _ => Err(format!("the sample table {name} has {count} entries, but room for only {room}")),
        }
    }

    const fn len(&self) -> usize {
        self.0.len() / SIZE
    }

    /// The first number of an entry; 0 behind the end.
    fn number(&self, index: usize) -> u32 {
        let entry = self.0.get(index * SIZE..).and_then(|rest| rest.first_chunk::<4>());
        entry.map_or(0, |entry| u32::from_be_bytes(*entry))
    }

    /// The first two numbers of an entry.
    fn pair(&self, index: usize) -> (u32, u32) {
        let mut fields = Fields(self.0.get(index * SIZE..).unwrap_or(&[]));
        (fields.u32().unwrap_or(0), fields.u32().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_box(name: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
        let mut out = ((12 + 4 * numbers.len()) as u32).to_be_bytes().to_vec();
        out.extend_from_slice(name);
        out.extend_from_slice(&[0; 4]);
        out.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        out
    }

    /// Ten samples of 100, 101, … bytes in chunks of 3, 3, 2, 2; two steps of 10, then 20.
    fn stbl() -> Bytes {
        let mut sizes = vec![0, 10];
        sizes.extend(100..110);
        [
            full_box(b"stsz", &sizes),
            full_box(b"stts", &[2, 2, 10, 8, 20]),
            full_box(b"ctts", &[3, 1, 5, 1, (-7_i32) as u32, 3, 0]),
            full_box(b"stsc", &[2, 1, 3, 1, 3, 2, 1]),
            full_box(b"stco", &[4, 1000, 2000, 3000, 4000]),
            full_box(b"stss", &[2, 1, 6]),
        ]
        .concat()
        .into()
    }

    fn all(table: &SampleTable, cursor: &mut Cursor) -> Vec<Sample> {
        std::iter::from_fn(|| cursor.next(table).unwrap()).collect()
    }

    #[test]
    fn samples_in_order() {
        let table = SampleTable::parse(&stbl()).unwrap();
        let samples = all(&table, &mut Cursor::default());
        let offsets: Vec<_> = samples.iter().map(|s| s.offset).collect();
        assert_eq!(offsets, [1000, 1100, 1201, 2000, 2103, 2207, 3000, 3106, 4000, 4108]);
        let dts: Vec<_> = samples.iter().map(|s| s.dts).collect();
        assert_eq!(dts, [0, 10, 20, 40, 60, 80, 100, 120, 140, 160]);
        let composition: Vec<_> = samples.iter().map(|s| s.cts - s.dts).collect();
        assert_eq!(composition, [5, -7, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((table.total_ticks(), table.decode_lead()), (180, 7));
        assert_eq!((0..table.n_sync()).map(|n| table.sync_sample(n)).collect::<Vec<_>>(), [0, 5]);
    }

    #[test]
    fn going_anywhere_gives_the_same_samples() {
        let table = SampleTable::parse(&stbl()).unwrap();
        let samples = all(&table, &mut Cursor::default());
        for start in 0..=10 {
            let mut cursor = Cursor::default();
            cursor.go_to(&table, start);
            assert_eq!(all(&table, &mut cursor), samples[start as usize..], "from {start}");
        }
        for sample in &samples {
            assert_eq!(table.times(sample.index), (sample.dts, sample.cts));
            for tick in sample.dts..sample.dts + i64::from(sample.delta) {
                assert_eq!(table.at_or_before(tick), sample.index);
            }
        }
        assert_eq!((table.at_or_before(-5), table.at_or_before(i64::MAX)), (0, 9));
    }

    #[test]
    fn runs_end_with_the_chunk() {
        let table = SampleTable::parse(&stbl()).unwrap();
        let mut cursor = Cursor::default();
        let first = cursor.next(&table).unwrap().unwrap();
        assert_eq!(cursor.run_after(&table, &first, 1000), 303);
        assert_eq!(cursor.run_after(&table, &first, 250), 201);
        assert_eq!(cursor.run_after(&table, &first, 1), 100);
    }

    #[test]
    fn counts_without_room_are_refused() {
        let billion = 1_000_000_000;
        for broken in [
            full_box(b"stsz", &[0, billion]),
            full_box(b"stts", &[billion, 1, 1]),
            full_box(b"stsc", &[billion, 1, 1, 1]),
            full_box(b"stco", &[billion]),
        ] {
            let mut tables = stbl().to_vec();
            tables.splice(..0, broken);
            assert!(SampleTable::parse(&tables.into()).is_err());
        }
    }

    #[test]
    fn a_billion_equal_samples_end_with_the_chunks() {
        let tables = [
            full_box(b"stsz", &[1, 1_000_000_000]),
            full_box(b"stts", &[1, u32::MAX, u32::MAX]),
            full_box(b"stsc", &[1, 1, 2, 1]),
            full_box(b"stco", &[1, 0]),
        ];
        let table = SampleTable::parse(&tables.concat().into()).unwrap();
        let mut cursor = Cursor::default();
        assert!(cursor.next(&table).unwrap().is_some());
        assert!(cursor.next(&table).unwrap().is_some());
        assert!(cursor.next(&table).is_err());
        assert_eq!(cursor.next(&table), Ok(None));
        cursor.go_to(&table, 999_999_999);
        assert!(cursor.next(&table).is_err());
    }
}
