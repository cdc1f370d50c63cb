//! What the engine calls, and what other threads have put into the shard's queue.

use std::rc::Rc;
use std::sync::Arc;

use sedge_engine::{Application, CloseReason, Handshake, Message, SessionKey, Shard, panics};
use tokio::sync::oneshot;

use super::client::Client;
use super::command::Command;
use super::local::LocalShard;
use crate::core::{Core, ShardApp};
use crate::reason::DisconnectReason;

impl ShardApp {
    /// Makes the shard's part of the server, on its thread.
    pub(crate) fn new(core: Arc<Core>, engine: Shard) -> ShardApp {
        core.shard_started();
        LocalShard::start(core, engine);
        ShardApp(())
    }
}

impl Drop for ShardApp {
    /// The shard's tasks have ended, handlers too.
    fn drop(&mut self) {
        LocalShard::with_current(|shard| shard.core.shard_ended());
    }
}

impl Application for ShardApp {
    type Command = Command;

    fn on_open(&self, session: SessionKey, handshake: Arc<Handshake>) {
        guard(Some(session), |shard| shard.open(session, handshake));
    }

    fn on_message(&self, session: SessionKey, message: Message<'_>) {
        guard(Some(session), |shard| shard.message(session, message));
    }

    fn on_close(&self, session: SessionKey, reason: CloseReason) {
        guard(None, |shard| shard.close_client(session, reason.into()));
    }

    fn on_command(&self, command: Command) {
        guard(None, |shard| shard.command(command));
    }

    fn on_timer(&self, timer: u64) {
        guard(None, |shard| shard.connect_timeout(timer));
    }

    fn on_shutdown(&self) {
        guard(None, LocalShard::close_all);
    }
}

/// Lets no panic out into the engine, whose tasks serve everybody. Handlers have a guard of their
/// own ([`run`](super::run)); what is left is mostly a custom parser's. It costs the connection it was about.
fn guard(session: Option<SessionKey>, call: impl FnOnce(&Rc<LocalShard>)) {
    LocalShard::with_current(|shard| {
        let Err(words) = panics::catch(|| call(shard)) else { return };
        sedge_log::error_rarely!(?session, words, "a panic outside of handlers");
        if let Some(session) = session {
            let close = || shard.break_off(session, DisconnectReason::ForcedServerClose);
            let _ = panics::catch(close);
        }
    });
}

impl LocalShard {
    fn command(self: &Rc<Self>, command: Command) {
        match command {
            Command::Send { session, message, options } => {
                self.metrics.packets_out.add(1);
                self.engine.send_shared(session, &message, options);
            }
            Command::Ask { socket, id, pending, message, options } => {
                if self.expect_ack(&socket, id, pending).is_ok() {
                    self.metrics.packets_out.add(1);
                    self.engine.send_shared(socket.session(), &message, options);
                }
            }
            Command::Register { socket, registration } => self.register(&socket, &registration),
            Command::Join { socket, rooms } => {
                if let Err(error) = self.join(&socket, &rooms) {
                    sedge_log::warn_rarely!(socket = %socket.id(), %error, "a room was not joined");
                }
            }
            Command::Leave { socket, rooms } => self.leave(&socket, &rooms),
            Command::Rooms { socket, reply } => {
                let _ = reply.send(self.rooms(&socket));
            }
            Command::Transport { session, reply } => {
                let _ = reply.send(self.engine.transport(session));
            }
            Command::Disconnect { socket, close } => self.disconnect(&socket, close),
            Command::Operate(dispatch) => self.apply(&dispatch),
            Command::ServerSide(call) => self.server_side(&call),
            Command::CloseSome { count, reply } => {
                let _ = reply.send(self.close_some(count));
            }
            Command::Close { done } => self.close_and_drain(done),
        }
    }

    /// The server is going: nobody is let in, everybody's handlers are told, and `done` is told when
    /// the handlers under way have ended.
    fn close_and_drain(self: &Rc<Self>, done: oneshot::Sender<()>) {
        self.close_all();
        if self.in_flight.get() == 0 {
            let _ = done.send(());
        } else {
            *self.drained.borrow_mut() = Some(done);
        }
    }

    fn close_all(self: &Rc<Self>) {
        for session in self.sessions(usize::MAX) {
            self.close_client(session, DisconnectReason::ServerShuttingDown);
        }
    }

    /// Closes this many clients and their connections, or all if there are fewer. Returns how many.
    fn close_some(self: &Rc<Self>, count: usize) -> usize {
        let sessions = self.sessions(count);
        for session in &sessions {
            self.break_off(*session, DisconnectReason::ServerShuttingDown);
        }
        sessions.len()
    }

    fn sessions(&self, count: usize) -> Vec<SessionKey> {
        let state = self.state.borrow();
        let clients = state.clients.iter().chain(&state.ending);
        clients.take(count).map(Client::session).collect()
    }
}
