//! Every task and thread of this crate is spawned here.

use std::future::Future;
use std::io;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Runs a future on the supervisor's thread.
pub(crate) fn spawn_local(future: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    tokio::task::spawn_local(future)
}

/// Runs a future on the worker's runtime.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(future)
}

/// Runs a future on this runtime, whoever asks for it.
pub(crate) fn spawn_on(runtime: &Handle, future: impl Future<Output = ()> + Send + 'static) {
    runtime.spawn(future);
}

/// Runs a function that blocks for a bounded time, beside the runtime.
pub(crate) fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    tokio::task::spawn_blocking(run)
}

/// Runs a function on a thread of its own.
pub(crate) fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
