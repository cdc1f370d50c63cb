//! Accepting connections: what goes wrong with one of them, and serving a listener for few and short ones.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::limits::{ACCEPT_PAUSE, ADMIN_CONNECTIONS_MAX};
use crate::tasks;

/// Serves the supervisor's own connections, those of the control socket or of the admin address, on its
/// thread: `accept` waits for one, `serve` does all that is to be done with it.
pub(crate) async fn serve_own<C, F>(accept: impl AsyncFn() -> io::Result<C>, serve: impl Fn(C) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let room = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match accept().await {
            Ok(connection) => {
                let served = serve(connection);
                tasks::own_connection(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Whether accepting failed for the one connection only.
pub(crate) fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
