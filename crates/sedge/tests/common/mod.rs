//! A server under test, and how tests wait.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use sedge::{Server, ServerBuilder};
use sedge_testkit::{DEADLINE, SioClient};

/// A server that listens on a free port of the loopback interface; it ends with the test.
pub(crate) struct Fixture {
    pub(crate) io: Server,
    pub(crate) address: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

impl Fixture {
    /// A server with one shard.
    pub(crate) fn new() -> Self {
        Self::with(Server::builder().shards(1))
    }

    pub(crate) fn with(builder: ServerBuilder) -> Self {
        let io = builder.build().expect("valid options");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let local = "127.0.0.1:0".parse().expect("an address");
        let listening = runtime.block_on(io.listen(local)).expect("a free port");
        Fixture { io, address: listening.local_addr(), runtime }
    }

    /// Waits for a future outside of the server's threads, within the deadline.
    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        let limited = async { tokio::time::timeout(DEADLINE, future).await };
        self.runtime.block_on(limited).expect("it ends before the deadline")
    }

    /// A client in the root namespace, and its socket's id.
    pub(crate) fn client(&self) -> (SioClient, String) {
        SioClient::connect(self.address)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.runtime.block_on(self.io.close(Duration::from_secs(1)));
    }
}

/// What handlers tell the test.
pub(crate) struct Notes<T>(mpsc::Receiver<T>);

/// A channel from handlers to the test.
pub(crate) fn notes<T>() -> (mpsc::SyncSender<T>, Notes<T>) {
    let (sender, receiver) = mpsc::sync_channel(1000);
    (sender, Notes(receiver))
}

impl<T> Notes<T> {
    /// The next note, within the deadline.
    pub(crate) fn next(&self) -> T {
        self.0.recv_timeout(DEADLINE).expect("a note before the deadline")
    }

    /// The notes so far.
    pub(crate) fn so_far(&self) -> Vec<T> {
        self.0.try_iter().collect()
    }
}
