//! A command of the caller → whom it is for, what is done, and the answer.

use std::task::Poll;

use serde_json::Value;

use super::{Session, told};
use crate::call::{ChatId, LeftReason};
use crate::media::ReaderOptions;
use crate::player::{Item, PlayError, Player};
use crate::stdio::wire::{Command, Out};
use crate::time::MediaTime;

/// What was wrong with a command: a word for programs, a sentence for people.
type Refused = (&'static str, String);
type Obeyed = Result<(), Refused>;

/// What a command is for.
enum Target {
    NewChat(ChatId),
    Chat(ChatId),
    Programme(Player),
}

impl Session {
    /// Obeys. `None` when that takes its time and is answered later.
    pub(super) async fn command(
        &mut self,
        reference: &Option<Value>,
        chat: Option<&ChatId>,
        command: Command,
    ) -> Option<Obeyed> {
        match self.aim(chat, &command) {
            Err(refused) => Some(Err(refused)),
            Ok(Target::NewChat(chat)) => {
                match self.chats.get_mut(&chat).filter(|seat| !seat.over) {
                    // Two calls in one chat would throw each other out.
                    Some(leaving) => leaving.rejoin = true,
                    None => self.join(chat).await,
                }
                Some(Ok(()))
            }
            Ok(Target::Chat(chat)) => {
                let seat = self.chats.get_mut(&chat)?;
                match command {
                    Command::Leave => {
                        (seat.leaving, seat.rejoin) = (true, false);
                        seat.call.leave(LeftReason::Command).await;
                    }
                    Command::Stats => self.tell_stats(&chat).await,
                    _ => seat.call.set_muted(command == Command::Mute).await,
                }
                Some(Ok(()))
            }
            Ok(Target::Programme(player)) => {
                let reader = self.options.reader.clone();
                let mut steering = Box::pin(async move { steer(&player, command, reader).await });
                // The first look hands the order over, so that orders keep their order; a seek
                // in a large file then must not hold up what comes after it.
                let now = std::future::poll_fn(|context| Poll::Ready(steering.as_mut().poll(context))).await;
                if let Poll::Ready(done) = now {
                    return Some(done);
                }
                let (lines, reference, chat) = (self.lines.clone(), reference.clone(), chat.cloned());
                self.tasks.spawn(async move {
                    let done = steering.await;
                    lines.send(answer(reference, chat, done)).await;
                });
                None
            }
        }
    }

    /// What a command is for.
    fn aim(&self, chat: Option<&ChatId>, command: &Command) -> Result<Target, Refused> {
        let needs_chat = || ("bad_command", "this command needs the key \"chat\"".to_owned());
        if *command == Command::Join {
            let chat = chat.ok_or_else(needs_chat)?;
            return match self.chats.get(chat) {
                Some(seat) if !seat.over && (!seat.leaving || seat.rejoin) => {
                    Err(("already_joined", format!("{chat} is joined already")))
                }
                _ => Ok(Target::NewChat(chat.clone())),
            };
        }
        let seat = chat.map(|chat| {
            let seat = self.chats.get(chat).filter(|seat| !seat.over);
            seat.ok_or_else(|| ("unknown_chat", format!("{chat} is not joined; known are {}", self.known())))
        });
        let seat = seat.transpose()?;
        match command {
            Command::Mute | Command::Unmute | Command::Leave | Command::Stats => {
                Ok(Target::Chat(seat.ok_or_else(needs_chat)?.call.chat().clone()))
            }
            Command::Play { source, .. } if source == "-" => {
                Err(("bad_command", "stdin carries the signaling: `-` cannot be a source".to_owned()))
            }
            _ => {
                let player = self.programme.as_ref().or_else(|| seat.map(|seat| &seat.player));
                Ok(Target::Programme(player.ok_or_else(needs_chat)?.clone()))
            }
        }
    }

    fn known(&self) -> String {
        let known: Vec<&str> =
            self.chats.iter().filter(|(_, seat)| !seat.over).map(|(chat, _)| chat.0.as_str()).collect();
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    }
}

/// The line that says whether a command was obeyed.
pub(super) fn answer(reference: Option<Value>, chat: Option<ChatId>, done: Obeyed) -> Out {
    match done {
        Ok(()) => Out::Ack { reference },
        Err((code, message)) => Out::Error { reference, chat: chat.map(|chat| chat.0), code, message },
    }
}

async fn steer(player: &Player, command: Command, reader: ReaderOptions) -> Obeyed {
    let item = |source: String| Item::file_with(source, reader);
    let done: Result<(), PlayError> = match command {
        Command::Pause => player.pause().await,
        Command::Resume => player.resume().await,
        Command::Skip => player.skip().await,
        Command::Stop => player.stop().await,
        Command::Seek { position_ms } => player.seek(MediaTime::from_millis(position_ms)).await.map(drop),
        Command::Volume { percent } => player.set_volume(u16::try_from(percent).unwrap_or(u16::MAX)).await,
        Command::Speed { percent } => player.set_speed(u16::try_from(percent).unwrap_or(u16::MAX)).await,
        Command::Crossfade { length_ms } => player.set_crossfade(MediaTime::from_millis(length_ms)).await,
        Command::Play { source, now: true } => player.play_now(item(source)).await.map(drop),
        Command::Play { source, now: false } => player.enqueue(item(source)).await.map(drop),
        Command::Join | Command::Leave | Command::Mute | Command::Unmute | Command::Stats => {
            unreachable!("commands of a chat never aim at a programme")
        }
    };
    done.map_err(|error| match error {
        PlayError::QueueFull => ("queue_full", told(&error)),
        _ => ("failed", told(&error)),
    })
}
