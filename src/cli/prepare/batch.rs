//! A folder → a folder of prepared files; what was done before is not done again.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Container, PrepareArgs, as_media, describe, write};
use crate::cli::exit::{self, Because, Exit};
use crate::cli::say;
use crate::media::prepare::PrepareError;
use crate::media::source::list;

/// Endings by which somebody means a single file.
const MEDIA: &[&str] = &["mp4", "m4v", "m4a", "mov", "mkv", "mka", "webm", "ogg", "opus", "mp3", "avi", "ts"];

/// One file of the folder and what becomes of it.
#[derive(Debug, PartialEq)]
struct Job {
    input: PathBuf,
    output: PathBuf,
}

pub(super) fn run(args: &PrepareArgs, stop: &CancellationToken) -> anyhow::Result<Exit> {
    check_output(args)?;
    let jobs = jobs(&args.input, &args.output, args.to)?;
    let (mut n_written, mut n_there, mut worst) = (0, 0, None);
    for (nth, job) in jobs.iter().enumerate() {
        if is_done(job) {
            n_there += 1;
            tell(args, job, "there", None)?;
            continue;
        }
        let name = job.input.file_name().unwrap_or_default().to_string_lossy();
        let what = format!("{name} ({} of {})", nth + 1, jobs.len());
        if let Some(folder) = job.output.parent().filter(|_| !stop.is_cancelled()) {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        match write(args, &job.input, &job.output, what, stop) {
            Ok(prepared) => {
                n_written += 1;
                tell(args, job, "written", Some((serde_json::to_value(&prepared)?, describe(&prepared))))?;
            }
            Err(PrepareError::Stopped { .. }) => {
                say::remark("stopped; the same command goes on where it was");
                tell(args, job, "stopped", None)?;
                return Ok(Exit::Interrupted);
            }
            // It will be missing for the next file, too.
            Err(error @ PrepareError::NoFfmpeg) => return Err(error.into()),
            Err(error) => {
                let error = as_media(error);
                worst.get_or_insert_with(|| exit::code(&error));
                let text = format!("{error:#}");
                say::remark(format_args!("{}: {text}", job.input.display()));
                tell(args, job, "failed", Some((json!({ "error": text }), text.clone())))?;
            }
        }
    }
    let n_failed = jobs.len() - n_written - n_there;
    if !args.json {
        say::remark(closing(n_written, n_there, n_failed));
    }
    Ok(worst.unwrap_or(Exit::Ok))
}

/// A folder called like a file is hardly meant, unless it is there or written like a folder.
fn check_output(args: &PrepareArgs) -> anyhow::Result<()> {
    let output = &args.output;
    let extension = output.extension().unwrap_or_default();
    if args.is_into_folder() || !MEDIA.iter().any(|media| extension.eq_ignore_ascii_case(media)) {
        return Ok(());
    }
    let text = format!(
        "{} is a folder and becomes a folder, and {} is the name of a file; name a folder, such as {}/",
        args.input.display(),
        output.display(),
        output.with_extension("").display()
    );
    Err(Because(Exit::Usage, text).into())
}

/// What became of them all. Nobody knows with which options something was made earlier.
fn closing(n_written: usize, n_there: usize, n_failed: usize) -> String {
    let hint = if n_there == 0 { "" } else { " (with the options of then; remove them to make them anew)" };
    format!("{n_written} written, {n_there} there already{hint}, {n_failed} failed")
}

/// A line on what became of a file; a failure has been told on stderr already.
fn tell(args: &PrepareArgs, job: &Job, result: &str, more: Option<(Value, String)>) -> anyhow::Result<()> {
    let (fields, text) = more.unwrap_or_default();
    if args.json {
        let mut line = json!({ "input": job.input, "output": job.output, "result": result });
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields);
        }
        return say::result(line);
    }
    match result {
        "written" => say::result(format_args!("{}: {text}", job.output.display())),
        _ => Ok(()),
    }
}

/// Is there something that is not older than its source? It appeared whole, so it is whole.
fn is_done(job: &Job) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    matches!((changed(&job.input), changed(&job.output)), (Some(input), Some(output)) if output >= input)
}

/// What is to be written from what. Sources that would get one name keep their old endings in it,
/// all of them: which comes first must not matter, or one that comes later would take the place of
/// another.
fn jobs(from: &Path, to: &Path, container: Container) -> anyhow::Result<Vec<Job>> {
    if let (Ok(from), Ok(to)) = (fs::canonicalize(from), fs::canonicalize(to))
        && from == to
    {
        let text = "the prepared files need a folder of their own, which may lie inside the other one";
        return Err(Because(Exit::Usage, text.into()).into());
    }
    // What an earlier run has written into the folder itself is no source.
    let own = fs::canonicalize(to).ok();
    let is_own = |path: &Path| {
        own.as_ref().is_some_and(|own| fs::canonicalize(path).is_ok_and(|path| path.starts_with(own)))
    };
    let inputs: Vec<_> = list::expand(from)?.into_iter().filter(|input| !is_own(input)).collect();
    let names: Vec<_> = inputs
        .iter()
        .map(|input| {
            let inner = input.strip_prefix(from).unwrap_or(input);
            let mut long = to.join(inner).into_os_string();
            long.push(".");
            long.push(container.extension());
            (to.join(inner).with_extension(container.extension()), PathBuf::from(long))
        })
        .collect();
    let mut n_claims = HashMap::<_, usize>::new();
    for name in names.iter().flat_map(|(plain, long)| [plain, long]) {
        *n_claims.entry(name.clone()).or_default() += 1;
    }
    let jobs = inputs.into_iter().zip(names).map(|(input, (plain, long))| {
        let output = if n_claims[&plain] == 1 { plain } else { long };
        Job { input, output }
    });
    Ok(jobs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::prepare::tests::args;

    /// The names below `to`, in order.
    fn outputs(from: &Path, to: &Path) -> Vec<String> {
        let jobs = jobs(from, to, Container::Mp4).unwrap();
        let name = |job: &Job| job.output.strip_prefix(to).unwrap().to_string_lossy().into_owned();
        jobs.iter().map(name).collect()
    }

    #[test]
    fn names_are_kept_told_apart_and_not_taken_for_sources() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("films");
        let to = from.join("ready");
        fs::create_dir_all(from.join("old")).unwrap();
        fs::create_dir_all(&to).unwrap();
        for name in ["a.avi", "a.mov", "old/a.avi", "notes.txt", "ready/a.mp4"] {
            fs::write(from.join(name), b"x").unwrap();
        }
        assert_eq!(outputs(&from, &to), ["a.avi.mp4", "a.mov.mp4", "old/a.mp4"]);
    }

    #[test]
    fn a_source_that_comes_later_takes_nobody_s_place() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir(&from).unwrap();
        let come = |name: &str| fs::write(from.join(name), b"x").unwrap();
        come("a.mp4");
        assert_eq!(outputs(&from, &to), ["a.mp4"]);
        come("a.mp3");
        assert_eq!(outputs(&from, &to), ["a.mp3.mp4", "a.mp4.mp4"], "out/a.mp4 is nobody's now");
        come("a.mp3.mkv");
        let all = outputs(&from, &to);
        assert_eq!(all, ["a.mp3.mp4", "a.mp3.mkv.mp4", "a.mp4.mp4"], "and a long name is one's own, too");
    }

    #[test]
    fn a_folder_does_not_become_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("x.MP4");
        let refused = check_output(&args("films", &out, &[])).unwrap_err();
        assert_eq!(exit::code(&refused), Exit::Usage);
        let text = refused.to_string();
        assert!(text.starts_with("films is a folder") && text.ends_with("/x/"), "{text}");
        fs::create_dir(&out).unwrap();
        for fine in [out.to_str().unwrap(), "new/", "new.mp4/", "v1.2"] {
            check_output(&args("films", fine, &[])).unwrap();
        }
    }

    #[test]
    fn what_was_there_may_have_been_made_with_other_options() {
        assert_eq!(closing(3, 0, 1), "3 written, 0 there already, 1 failed");
        let text =
            "0 written, 2 there already (with the options of then; remove them to make them anew), 0 failed";
        assert_eq!(closing(0, 2, 0), text);
    }

    #[test]
    fn a_stopped_folder_leaves_the_rest_for_the_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir(&from).unwrap();
        for name in ["a.mp4", "b.mp4"] {
            fs::write(from.join(name), b"x").unwrap();
        }
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(run(&args(&from, &to, &["--json"]), &stop).unwrap(), Exit::Interrupted);
        assert!(!to.exists());
    }

    #[test]
    fn what_is_newer_than_its_source_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let job = Job { input: dir.path().join("in.avi"), output: dir.path().join("out.mp4") };
        fs::write(&job.input, b"x").unwrap();
        assert!(!is_done(&job));
        let output = fs::File::create(&job.output).unwrap();
        let changed = fs::metadata(&job.input).unwrap().modified().unwrap();
        output.set_modified(changed).unwrap();
        assert!(is_done(&job));
        output.set_modified(changed - std::time::Duration::from_secs(1)).unwrap();
        assert!(!is_done(&job), "the source has changed since");
    }
}
