//! Every task and thread of the command is started here. Those of its server are the libraries'.

use std::future::Future;
use std::io;

/// Runs a future on this thread's runtime, for as long as that lives.
pub(crate) fn in_background(future: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(future);
}

/// Runs a function on a thread of its own.
pub(crate) fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
