//! The signals that a process of a cluster, or any server, heeds.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{self, SignalKind};

/// A signal that is heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: close the clients in order, and end.
    Terminate,
    /// SIGINT: the same.
    Interrupt,
    /// SIGQUIT: the same.
    Quit,
    /// SIGHUP: read files such as certificates again. It also comes when a terminal is closed, and so
    /// must not end a server.
    Hangup,
}

impl Signal {
    const ALL: [Signal; 4] = [Signal::Terminate, Signal::Interrupt, Signal::Quit, Signal::Hangup];

    /// Its name, such as `SIGTERM`.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::Quit => "SIGQUIT",
            Signal::Hangup => "SIGHUP",
        }
    }

    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Signal::Hangup => 1,
            Signal::Interrupt => 2,
            Signal::Quit => 3,
            Signal::Terminate => 15,
        }
    }

    /// The status of a process that it has ended at once.
    pub fn exit_status(self) -> u8 {
        128 + self.number()
    }
}

/// Waits for signals. From the moment it is made, none of them ends the process by itself, and none
/// is lost, however early it comes. SIGUSR1 and SIGUSR2, by which other servers reopen their logs or change
/// their program, do nothing here but a line in the log.
#[derive(Debug)]
pub struct Signals {
    heeded: [(unix::Signal, Signal); 4],
    ignored: [(unix::Signal, &'static str); 2],
}

impl Signals {
    /// Begins to wait. Must be called within a runtime with I/O.
    pub fn new() -> io::Result<Signals> {
        let [terminate, interrupt, quit, hangup] = Signal::ALL.map(|signal| {
            let kind = SignalKind::from_raw(signal.number().into());
            unix::signal(kind).map(|arrives| (arrives, signal))
        });
        let ignored = [
            (unix::signal(SignalKind::user_defined1())?, "SIGUSR1"),
            (unix::signal(SignalKind::user_defined2())?, "SIGUSR2"),
        ];
        Ok(Signals { heeded: [terminate?, interrupt?, quit?, hangup?], ignored })
    }

    /// Waits for the next one. May be given up at any time.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (arrives, signal) in &mut self.ignored {
                while arrives.poll_recv(context).is_ready() {
                    tracing::info!(signal, "it means nothing here");
                }
            }
            for (arrives, signal) in &mut self.heeded {
                if arrives.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}
