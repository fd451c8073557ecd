//! What the system lets the process have, raised as far as it may be.

/// Lets the process open as many files as it may: every call has a socket, and the usual limit of
/// 1,024 is there for programs that use `select`.
pub(super) fn raise_open_files() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        match raised {
            Ok(()) => tracing::debug!(from = limit.current, to = limit.maximum, "open files"),
            // It is enough for some hundred calls.
            Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
        }
    }
}
