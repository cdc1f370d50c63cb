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
/// is lost, however early it comes.
#[derive(Debug)]
pub struct Signals([(unix::Signal, Signal); 4]);

impl Signals {
    /// Begins to wait. Must be called within a runtime with I/O.
    pub fn new() -> io::Result<Signals> {
        let [terminate, interrupt, quit, hangup] = Signal::ALL.map(|signal| {
            let kind = SignalKind::from_raw(signal.number().into());
            unix::signal(kind).map(|arrives| (arrives, signal))
        });
        Ok(Signals([terminate?, interrupt?, quit?, hangup?]))
    }

    /// Waits for the next one. May be given up at any time.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (arrives, signal) in &mut self.0 {
                if arrives.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}
