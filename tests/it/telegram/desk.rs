//! Where a person sits who runs the program: a Telegram of our own, and a home directory.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use telecast::emulator::mtproto::{AccountId, ChatKind, MtprotoDoor, NewCall, NewChat, TelegramChatId};
use telecast::emulator::{Emulator, EmulatorOptions};
use telecast::telegram::{Datacenter, Session};

pub(super) const PHONE: &str = "+99 966 123 4567";

/// A server with a chat, and a home directory with a session file that leads there; nobody is
/// signed in.
pub(super) struct Desk {
    pub(super) emulator: Emulator,
    pub(super) door: MtprotoDoor,
    pub(super) account: AccountId,
    pub(super) home: tempfile::TempDir,
}

impl Desk {
    pub(super) async fn new() -> Self {
        Self::on(EmulatorOptions::default()).await
    }

    pub(super) async fn on(emulator: EmulatorOptions) -> Self {
        let emulator = Emulator::start(emulator).await.unwrap();
        let door = emulator.serve_mtproto("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let account = door.add_account("ann");
        door.set_phone(account, PHONE);
        let home = tempfile::tempdir().unwrap();
        Self { emulator, door, account, home }
    }

    /// A session file, with a key that is signed in or not.
    pub(super) fn session(&self, signed_in: bool) {
        let path = self.home.path().join("telecast/main.json");
        let session = Session::open(&path).unwrap();
        let key = self.door.add_key(signed_in.then_some(self.account));
        let dc = |id| Datacenter { id, addr: self.door.local_addr(), key: Some(key.clone()) };
        session.set_datacenters(&[1, 2, 3, 4, 5].map(dc)).unwrap();
        if signed_in {
            session.assume_signed_in().unwrap();
        }
    }

    pub(super) fn chat(&self, username: &str, call: Option<NewCall>) -> TelegramChatId {
        let chat = self.door.add_chat(&NewChat {
            kind: ChatKind::Supergroup,
            title: username,
            username: Some(username),
            room: username,
            admins: &[],
        });
        if let Some(call) = call {
            self.door.begin_call(chat, &call);
        }
        chat
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telecast"));
        command
            .args(args)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .env("XDG_DATA_HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .env("API_ID", "1")
            .env("API_HASH", "0123456789abcdef0123456789abcdef")
            .stdin(Stdio::null());
        command
    }

    /// Waits on the test's own thread; the server has others.
    pub(super) fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        told(self.command(args).output().unwrap())
    }

    pub(super) async fn end(self) {
        self.emulator.shutdown().await;
    }
}

/// Asks the program to end, as the system does.
pub(super) fn stop(child: Child) -> (Option<i32>, String, String) {
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    told(child.wait_with_output().unwrap())
}

pub(super) fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
