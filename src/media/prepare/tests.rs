//! What is written, and what is refused.

use super::*;

/// Six seconds of these channels in a lossless file.
fn flac(folder: &Path, name: &str, layout: &str, channels: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let source = format!("aevalsrc=exprs={}:c={layout}:s=48000:d=6", channels.join("|"));
    let mut command = Command::new(foreign::PROGRAM);
    command.args(["-v", "error", "-f", "lavfi", "-i", &source, "-c:a", "flac"]).arg(&path);
    assert!(command.status().unwrap().success());
    path
}

fn to_the_end(_: MediaTime, _: Option<MediaTime>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// How loud a file is, and its farthest sample.
fn heard(path: &Path) -> (f64, f32) {
    let mut reader = Reader::open(path, ReaderOptions::default()).unwrap();
    assert!(reader.plan().audio.is_copy(), "{:?}", reader.plan());
    let (mut decoder, mut peak) = (Decoder::new(0).unwrap(), 0.0_f32);
    while let Some(frame) = reader.next_frame().unwrap() {
        let samples = decoder.decode(&frame.data).unwrap();
        peak = samples.iter().fold(peak, |peak, sample| peak.max(sample.abs()));
    }
    (Probe::of(path).unwrap().loudness_lufs.unwrap(), peak)
}

#[test]
fn mono_stereo_and_surround_come_out_equally_loud_and_do_not_clip() {
    let dir = tempfile::tempdir().unwrap();
    let (low, high, loud) = ("0.07*sin(880*PI*t)", "0.05*sin(1400*PI*t)", "0.9*sin(1400*PI*t)");
    let (left, right, bass) = ("0.5*sin(700*PI*t)", "0.5*sin(1000*PI*t)", "0.9*sin(80*PI*t)");
    let sources = [
        flac(dir.path(), "mono.flac", "mono", &[low]),
        flac(dir.path(), "stereo.flac", "stereo", &[low, high]),
        flac(dir.path(), "quad.flac", "quad", &[low, high, left, right]),
        flac(dir.path(), "surround.flac", "5.1", &[left, right, loud, bass, left, right]),
    ];
    for source in sources {
        let output = source.with_extension("mp4");
        let prepared = prepare(&source, &output, &Options::default(), to_the_end).unwrap();
        assert_eq!(prepared.audio, "encode");
        let (lufs, peak) = heard(&output);
        assert!((lufs - TARGET_LUFS).abs() < 0.5, "{lufs} LUFS, {prepared:?}");
        assert!(peak < 1.0, "{peak}, {prepared:?}");
    }
}

#[test]
fn sound_that_stays_as_loud_as_it_is_becomes_stereo_as_it_is_played() {
    let dir = tempfile::tempdir().unwrap();
    let source = flac(dir.path(), "mono.flac", "mono", &["0.3*sin(880*PI*t)"]);
    let output = dir.path().join("mono.mp4");
    let options = Options { as_loud: true, ..Options::default() };
    prepare(&source, &output, &options, to_the_end).unwrap();
    let (before, after) = (Probe::of(&source).unwrap().loudness_lufs.unwrap(), heard(&output).0);
    assert!((before - after).abs() < 0.5, "{before} LUFS became {after}");
}

#[cfg(unix)]
#[test]
fn only_one_writes_a_file_at_a_time_and_the_other_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let source = flac(dir.path(), "mono.flac", "mono", &["0.3*sin(880*PI*t)"]);
    let output = dir.path().join("mono.mp4");
    let mut others = Vec::new();
    let other_too = |_: MediaTime, _: Option<MediaTime>| {
        if others.is_empty() {
            others.push(prepare(&source, &output, &Options::default(), to_the_end));
        }
        ControlFlow::Continue(())
    };
    prepare(&source, &output, &Options::default(), other_too).unwrap();
    let error = others.pop().expect("there was time for another").unwrap_err();
    assert!(matches!(error, PrepareError::Busy { .. }), "{error}");
    assert!((heard(&output).0 - TARGET_LUFS).abs() < 0.5);
    // What is left by a failure, a crash, or nobody is in nobody's way.
    std::fs::write(dir.path().join(".mono.mp4.part"), "half").unwrap();
    let stopped = prepare(&source, &output, &Options::default(), |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(PrepareError::Stopped { .. })), "{stopped:?}");
    prepare(&source, &output, &Options::default(), to_the_end).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the source and the result");
}
