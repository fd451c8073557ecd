//! Scripts that run foreign clients, unmodified, and end with the test that started them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Result, ensure};

/// A script's process, its pipes open on our side.
pub(crate) struct Foreign(pub(crate) Child);

impl Foreign {
    /// Starts a script of this folder in the environment that `cargo xtask setup test` makes.
    pub(crate) fn start(script: &str, args: &[&str]) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(script);
        let mut command = Self::python()?;
        command.arg(script).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Self(command.spawn()?))
    }

    /// The interpreter of that environment.
    pub(crate) fn python() -> Result<Command> {
        let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ntgcalls/bin/python");
        ensure!(python.exists(), "{} is missing: run `cargo xtask setup test`", python.display());
        Ok(Command::new(python))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It has ended by itself unless something has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
