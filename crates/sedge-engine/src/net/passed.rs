//! Connections that move between the worker processes of a host: what is passed, and to whom.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::io::PassedStream;

/// A connection between processes. It does not block.
#[derive(Debug)]
pub struct Passed {
    /// The connection.
    pub stream: PassedStream,
    /// The client's address, where it has one.
    pub peer: Option<SocketAddr>,
    /// The client's side is encrypted, though the bytes of this connection are not.
    pub secure: bool,
    /// What was already read from it.
    pub read: Bytes,
}

/// The other workers of this host.
pub trait Siblings: Send + Sync + 'static {
    /// Passes a connection to a worker.
    fn pass(&self, worker: u8, connection: Passed) -> Passing;
}

/// As part of a configuration, which can be shown and copied.
#[derive(Clone)]
pub(crate) struct SiblingsHandle(pub(crate) Arc<dyn Siblings>);

impl fmt::Debug for SiblingsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Siblings")
    }
}

/// A connection on its way.
pub type Passing = Pin<Box<dyn Future<Output = Result<(), NotPassed>> + Send>>;

/// A connection that a sibling did not take.
#[derive(Debug)]
pub struct NotPassed {
    /// The connection, as it was.
    pub connection: Passed,
    /// There is no such worker, and so none of its sessions. Otherwise it is only not to be had at
    /// present.
    pub gone: bool,
}
