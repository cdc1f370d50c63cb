//! The control socket: one request a connection, one line of JSON each way.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::rc::Rc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::slot::Order;
use super::state::Supervisor;
use crate::accept;
use crate::admin::Host as _;
use crate::error::ClusterError;
use crate::limits::{COMMAND_BYTES_MAX, COMMAND_TIMEOUT};
use crate::local;
use crate::run_dir::control_path;
use crate::wire::command::{Answer, Command, WorkerState};
use crate::wire::control::DrainOrder;

/// Opens the socket, for this user alone. The directory is held, so one that is there is left over.
pub(super) fn listen(run_dir: &Path) -> Result<UnixListener, ClusterError> {
    let path = control_path(run_dir);
    let open = || -> io::Result<UnixListener> {
        local::free(&path)?;
        let listener = local::listen(&path)?;
        if !local::is_abstract(&path) {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        }
        UnixListener::from_std(listener)
    };
    open().map_err(|source| ClusterError::Listen { address: local::shown(&path), source })
}

/// Answers until the cluster ends.
pub(super) async fn serve(supervisor: Rc<Supervisor>, listener: UnixListener) {
    let accept = async || listener.accept().await.map(|(stream, _)| stream);
    let answer = |stream| {
        let supervisor = Rc::clone(&supervisor);
        async move {
            if local::check_peer(&stream).is_err() {
                return;
            }
            let answered = tokio::time::timeout(COMMAND_TIMEOUT, answer(&supervisor, stream));
            if let Ok(Err(error)) = answered.await {
                tracing::debug!(%error, "a control connection has failed");
            }
        }
    };
    accept::serve_own(accept, answer).await;
}

async fn answer(supervisor: &Supervisor, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read).take(COMMAND_BYTES_MAX as u64).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(command) => supervisor.command(&command).await,
        Err(error) => refused(format!("no command: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await
}

fn refused(reason: impl Into<String>) -> Answer {
    Answer::Refused { reason: reason.into() }
}

impl Supervisor {
    async fn command(&self, command: &Command) -> Answer {
        match *command {
            Command::Status => Answer::Status(Box::new(self.status())),
            Command::Metrics => Answer::Metrics { text: self.metrics().await },
            Command::Drain { worker: None } => {
                tracing::info!("told to end, on the control socket: clients are being closed");
                self.leave();
                Answer::Done
            }
            Command::Drain { worker: Some(worker) } => self.replace(worker),
            Command::Stop => {
                tracing::warn!("told to end at once, on the control socket");
                self.force(15);
                Answer::Done
            }
            Command::Reload => refused("this version cannot replace its program while it runs"),
        }
    }

    /// Ends one worker in order. A successor takes its place.
    fn replace(&self, worker: u8) -> Answer {
        if self.is_ending() {
            return refused("the cluster is ending");
        }
        let Some(slot) = self.slots.get(usize::from(worker)) else {
            return refused(format!("there is no worker {worker}"));
        };
        match slot.state() {
            WorkerState::Ready | WorkerState::Suspect => {
                tracing::info!(worker, "it is being replaced, as told on the control socket");
                slot.order(Order::Drain(DrainOrder { replaced: true, ..self.settings.drain }));
                Answer::Done
            }
            state => refused(format!("worker {worker} is {state}")),
        }
    }
}
