//! A program of somebody else's that works for us: started in a process group of its own, its
//! words kept, and never alive for longer than we are.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The longest last line that is kept.
const MAX_LINE: usize = 400;

/// A running program. Dropping it ends the program and whatever that has started.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    last_line: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    status: Option<ExitStatus>,
    last_line: String,
}

impl End {
    /// It said that all went well.
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The last line of its standard error, ready to be put behind a sentence; may be empty.
    pub(crate) fn last_words(&self) -> String {
        if self.last_line.is_empty() { String::new() } else { format!(": {}", self.last_line) }
    }

    /// Why it failed, ready to be put behind a sentence: its last words, or how it ended without any.
    pub(crate) fn reason(&self) -> String {
        match self.status {
            Some(status) if self.last_line.is_empty() => format!(": it ended with {status}"),
            _ => self.last_words(),
        }
    }
}

impl Child {
    /// Starts `command`, whose standard error is read from now on.
    ///
    /// # Errors
    /// When the system cannot start it; [`io::ErrorKind::NotFound`] when there is no such program.
    pub(crate) fn spawn(mut command: Command) -> io::Result<Self> {
        command.stderr(Stdio::piped());
        at_the_side(&mut command);
        let mut process = nursery::spawn(command)?;
        let last_line = Arc::new(Mutex::new(String::new()));
        let stderr = process.stderr.take().expect("it was asked for");
        let shared = Arc::clone(&last_line);
        let listener = std::thread::Builder::new()
            .name("child-stderr".to_owned())
            .spawn(move || listen(stderr, &shared));
        let mut this = Self { process, last_line, listener: None, ended: None };
        // Without a listener the program would block: `this` is dropped and ends it.
        this.listener = Some(listener?);
        Ok(this)
    }

    /// What it writes, once, when that was asked for.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// Ends it and all that it started.
    pub(crate) fn kill(&mut self) {
        if self.ended.is_none() {
            kill_group(&self.process);
            // It may be over already; then there is nothing to kill.
            let _ = self.process.kill();
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> End {
        if self.ended.is_none() {
            outlived(&self.process);
            self.ended = self.process.wait().ok();
        }
        if let Some(listener) = self.listener.take() {
            // The listener cannot panic, and its last line is there either way.
            let _ = listener.join();
        }
        let last_line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner).clone();
        End { status: self.ended, last_line }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        self.wait();
    }
}

/// Keeps the last line that says anything.
fn listen(stderr: ChildStderr, last_line: &Mutex<String>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line without an end must not fill the memory.
        match reader.by_ref().take(MAX_LINE as u64 * 16).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        // Progress is written over itself.
        let text = text.rsplit('\r').map(str::trim).find(|part| !part.is_empty());
        if let Some(text) = text {
            let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_LINE).collect();
            *last_line.lock().unwrap_or_else(PoisonError::into_inner) = text;
        }
    }
}

/// A process group of its own, so that Ctrl-C is ours to handle and nothing that it starts is
/// left; and its end when ours comes, however it comes.
#[cfg(target_os = "linux")]
fn at_the_side(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let parent = std::process::id();
    command.process_group(0);
    let tie = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // We may have ended before the signal was asked for.
        let alive = rustix::process::getppid()
            .is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
        if alive { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    #[expect(unsafe_code, reason = "the only way to do something between fork and exec")]
    // SAFETY: both are plain system calls without allocation or locks.
    unsafe {
        command.pre_exec(tie);
    }
}

#[cfg(not(target_os = "linux"))]
const fn at_the_side(_: &mut Command) {}

#[cfg(target_os = "linux")]
fn kill_group(process: &std::process::Child) {
    let pid = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may be over already; then there is nothing to kill.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// Waits for its end, and ends what it leaves behind while its number is still its own.
#[cfg(target_os = "linux")]
fn outlived(process: &std::process::Child) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};

    if let Some(pid) = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // When it cannot be waited for, it is over.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }
    kill_group(process);
}

#[cfg(not(target_os = "linux"))]
const fn kill_group(_: &std::process::Child) {}

#[cfg(not(target_os = "linux"))]
const fn outlived(_: &std::process::Child) {}

/// Linux ends a child when the *thread* ends that started it, so all are started by one thread
/// that lives as long as the process.
mod nursery {
    use std::io;
    use std::process::{Child, Command};
    use std::sync::OnceLock;
    use std::sync::mpsc::{SyncSender, sync_channel};

    struct Order {
        command: Command,
        answer: SyncSender<io::Result<Child>>,
    }

    pub(super) fn spawn(command: Command) -> io::Result<Child> {
        static ORDERS: OnceLock<Option<SyncSender<Order>>> = OnceLock::new();
        let orders = ORDERS.get_or_init(|| {
            let (orders, inbox) = sync_channel::<Order>(4);
            let run = move || {
                for Order { mut command, answer } in inbox {
                    // Who asked and does not listen any more needs no answer; the child is not kept.
                    if let Err(refused) = answer.send(command.spawn())
                        && let Ok(mut child) = refused.0
                    {
                        let _ = child.kill();
                        let _ = child.wait();
                    }
                }
            };
            std::thread::Builder::new().name("child-nursery".to_owned()).spawn(run).ok().map(|_| orders)
        });
        let gone = || io::Error::other("the system gives no thread to start programs from");
        let (answer, child) = sync_channel(1);
        orders.as_ref().ok_or_else(gone)?.send(Order { command, answer }).map_err(|_| gone())?;
        child.recv().map_err(|_| gone())?
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        Child::spawn(command).unwrap()
    }

    fn is_alive(pid: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state
            .rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']) && !rest.is_empty())
    }

    #[test]
    fn the_end_and_the_last_words_are_known() {
        let end = shell("echo one >&2; printf 'frame=1\\rframe=2\\n\\n' >&2; exit 3").wait();
        assert!(!end.success());
        assert_eq!(end.last_words(), ": frame=2");
        assert!(shell("exit 0").wait().success());
    }

    #[test]
    fn dropping_ends_it_and_what_it_started() {
        let mut child = shell("sleep 300 & echo $!; wait");
        let mut grandchild = String::new();
        BufReader::new(child.take_stdout().unwrap()).read_line(&mut grandchild).unwrap();
        assert!(is_alive(grandchild.trim()));
        drop(child);
        // Whoever takes over orphans collects them in its own time, so it may be a zombie.
        let gone = (0..100).any(|_| {
            std::thread::yield_now();
            !is_alive(grandchild.trim()) || {
                std::thread::park_timeout(std::time::Duration::from_millis(20));
                false
            }
        });
        assert!(gone, "the grandchild {grandchild} is gone");
    }
}
