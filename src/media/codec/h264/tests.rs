use super::*;

/// SPS made by x264 for the streams that their names describe.
const BASELINE_640X360: &str = "6742c01ed900a02ff97011000003000100000300320f162e48";
const HIGH_B_FRAMES: &str = "6764001eacd940a02ff97011000003000100000300320f162d96";
const HIGH_638X358: &str = "6764001eacb201405fd4dff8598059b8800000030080000019078b1724";
const INTERLACED: &str = "6764001eacd940a063f3e022000003000200000300643e28532c";
const HIGH_444: &str = "67f4001e919b281405ff1380880000030008000003019078b16cb0";
const FILM_1918X1078: &str = "67640028acd940780227a9bff04d004d1100000303e90000bb800f183196";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn sps(text: &str) -> Sps {
    Sps::parse(&hex(text)).unwrap()
}

/// Units with two-byte lengths in front.
fn sample(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&(nal.len() as u16).to_be_bytes()[..], nal].concat()).collect()
}

fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter().flat_map(|nal| [&START_CODE[..], nal].concat()).collect()
}

const SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x1e, 0xd9, 2];
const PPS: &[u8] = &[0x68, 0xcb, 0x83];
const PPS_1: &[u8] = &[0x68, 0x4b, 0x83];
const IDR: &[u8] = &[0x65, 0x88, 0x84];
const P_SLICE: &[u8] = &[0x41, 0x9a, 0x01];
const B_SLICE: &[u8] = &[0x01, 0x9e, 0x01];
const AUD: &[u8] = &[0x09, 0xf0];
const FILLER: &[u8] = &[0x0c, 0xff, 0x80];
const SEI: &[u8] = &[0x06, 0x05, 0x01, 0x80];

fn converter() -> AnnexB {
    AnnexB::new(&AvcConfig {
        length_size: Some(2),
        sps: vec![Bytes::from_static(SPS)],
        pps: vec![Bytes::from_static(PPS)],
    })
}

#[test]
fn sps_tells_the_cropped_size_and_the_promises() {
    let baseline = sps(BASELINE_640X360);
    assert_eq!((baseline.width, baseline.height, baseline.level_idc), (640, 360, 30));
    assert_eq!(baseline.profile_name(), "Constrained Baseline");
    assert!(baseline.promises_no_reordering() && baseline.frame_mbs_only);
    assert_eq!(baseline.frame_duration, Some((2, 50)));

    let high = sps(HIGH_B_FRAMES);
    assert_eq!((high.profile_name(), high.max_num_reorder_frames), ("High", Some(2)));
    assert!(!high.promises_no_reordering());

    let odd = sps(HIGH_638X358);
    assert_eq!((odd.width, odd.height, odd.max_num_reorder_frames), (638, 358, Some(0)));
    let interlaced = sps(INTERLACED);
    assert_eq!((interlaced.width, interlaced.height, interlaced.frame_mbs_only), (640, 360, false));
    let full_chroma = sps(HIGH_444);
    assert_eq!((full_chroma.width, full_chroma.height), (640, 360));
    let film = sps(FILM_1918X1078);
    assert_eq!((film.width, film.height, film.frame_duration), (1918, 1078, Some((2002, 48_000))));
}

#[test]
fn damaged_sps_is_none_at_every_cut_before_the_vui() {
    let whole = hex(HIGH_638X358);
    for end in 0..11 {
        assert_eq!(Sps::parse(&whole[..end]), None, "cut at {end}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            if let Some(sps) = Sps::parse(&flipped) {
                assert!(sps.width <= 16_880 && sps.height <= 2 * 16_880);
            }
        }
    }
}

#[test]
fn avcc_of_every_length_size() {
    for length_size in 1..=4 {
        let mut avcc = vec![1, 0x42, 0xc0, 0x1e, 0xfc | (length_size - 1), 0xe1, 0, SPS.len() as u8];
        avcc.extend_from_slice(SPS);
        avcc.extend_from_slice(&[2, 0, PPS.len() as u8]);
        avcc.extend_from_slice(PPS);
        avcc.extend_from_slice(&[0, PPS_1.len() as u8]);
        avcc.extend_from_slice(PPS_1);
        for end in 1..avcc.len() {
            assert_eq!(AvcConfig::parse(&avcc[..end]), Err(H264Error::Config));
        }
        let config = AvcConfig::parse(&avcc).unwrap();
        assert_eq!(config.length_size, Some(length_size));
        assert_eq!((config.sps.len(), config.pps.len()), (1, 2));
        assert_eq!(config.to_annex_b(), annex_b(&[SPS, PPS, PPS_1]));

        let size = usize::from(length_size);
        let mut sample = vec![0; size - 1];
        sample.push(P_SLICE.len() as u8);
        sample.extend_from_slice(P_SLICE);
        assert_eq!(AnnexB::new(&config).convert(&sample).unwrap().data, annex_b(&[P_SLICE]));
    }
    assert_eq!(AvcConfig::parse(&annex_b(&[SPS, PPS])).unwrap().sps, [SPS]);
    assert_eq!(AvcConfig::parse(&[]).unwrap().length_size, None);
    assert_eq!(AvcConfig::parse(&[9, 9, 9]), Err(H264Error::Config));
}

#[test]
fn every_idr_gets_the_sets_and_nothing_else_does() {
    let mut annexb = converter();
    let idr = annexb.convert(&sample(&[AUD, SEI, IDR, IDR, FILLER])).unwrap();
    assert!(idr.key);
    assert_eq!(idr.data, annex_b(&[SPS, PPS, SEI, IDR, IDR]));
    let p = annexb.convert(&sample(&[AUD, P_SLICE])).unwrap();
    assert!(!p.key);
    assert_eq!(p.data, annex_b(&[P_SLICE]));
    assert!(annexb.convert(&sample(&[AUD, FILLER])).unwrap().data.is_empty());
    assert!(annexb.convert(&[]).unwrap().data.is_empty());
}

#[test]
fn sets_in_band_are_not_doubled_and_replace_the_old_ones() {
    let mut annexb = converter();
    let in_band = annexb.convert(&sample(&[SEI, SPS, PPS, IDR])).unwrap();
    assert_eq!(in_band.data, annex_b(&[SPS, PPS, SEI, IDR]));

    let new_sps: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0xd9, 1];
    let between = annexb.convert(&sample(&[new_sps, PPS_1, P_SLICE])).unwrap();
    assert_eq!(between.data, annex_b(&[new_sps, PPS_1, P_SLICE]));
    let idr = annexb.convert(&sample(&[IDR])).unwrap();
    assert_eq!(idr.data, annex_b(&[new_sps, PPS, PPS_1, IDR]));
}

#[test]
fn annex_b_in_an_mp4_is_understood() {
    let mut annexb = AnnexB::new(&AvcConfig::parse(&[]).unwrap());
    let idr = annexb.convert(&[&[0, 0, 1][..], SPS, &[0, 0, 0, 1], PPS, &[0, 0, 1], IDR, &[0, 0]].concat());
    assert_eq!(idr.unwrap(), AccessUnit { data: annex_b(&[SPS, PPS, IDR]).into(), key: true });
}

#[test]
fn a_length_beyond_the_sample_is_an_error_and_the_next_sample_is_not() {
    let mut annexb = converter();
    let broken = [0, 200, 0x65, 0x88];
    assert_eq!(annexb.convert(&broken), Err(H264Error::NalTooLong { length: 200, left: 2 }));
    assert!(annexb.convert(&sample(&[IDR])).unwrap().key);
}

#[test]
fn start_codes_are_found_at_every_alignment() {
    for lead in 0..5 {
        for gap in 0..5 {
            let mut bytes = vec![0xaa; lead];
            bytes.extend_from_slice(&[0, 0, 1]);
            bytes.extend_from_slice(SPS.split_last().unwrap().1);
            bytes.extend(vec![0; gap]);
            bytes.extend_from_slice(&[0, 0, 1]);
            bytes.extend_from_slice(IDR);
            let found: Vec<_> = nal_units(&bytes).collect();
            assert_eq!(found, [&SPS[..5], IDR], "lead {lead} gap {gap}");
        }
    }
    assert_eq!(nal_units(&[0, 0, 1]).count(), 0);
    assert_eq!(nal_units(&[0, 0]).count(), 0);
}

#[test]
fn reordering_is_proven_by_slices_or_times() {
    let at = MediaTime::from_millis;
    let unit = |nals: &[&[u8]]| annex_b(nals);
    let mut by_slice = ReorderWatch::new();
    assert_eq!(by_slice.push(at(0), &unit(&[SPS, PPS, IDR])), None);
    assert_eq!(by_slice.push(at(33), &unit(&[P_SLICE])), None);
    assert_eq!(by_slice.push(at(66), &unit(&[B_SLICE])), Some(Reordering::BSlice));
    assert_eq!(by_slice.push(at(100), &unit(&[P_SLICE])), Some(Reordering::BSlice));

    let mut by_time = ReorderWatch::new();
    assert_eq!(by_time.push(at(66), &unit(&[P_SLICE])), None);
    assert_eq!(by_time.push(at(33), &unit(&[P_SLICE])), Some(Reordering::PtsWentBack));

    let mut seeking = ReorderWatch::new();
    seeking.push(at(5000), &unit(&[P_SLICE]));
    seeking.seeked();
    assert_eq!(seeking.push(at(1000), &unit(&[IDR])), None);
    assert_eq!(seeking.found(), None);
}

#[test]
fn slice_types_of_real_headers() {
    assert_eq!(slice_type(IDR), Some(SliceType::I));
    assert_eq!(slice_type(P_SLICE), Some(SliceType::P));
    assert_eq!(slice_type(B_SLICE), Some(SliceType::B));
    assert_eq!(slice_type(SPS), None);
    assert_eq!(slice_type(&[0x41]), None);
    assert_eq!(slice_type(&[]), None);
}
