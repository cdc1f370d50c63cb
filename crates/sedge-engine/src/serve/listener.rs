//! The engine's own HTTP listeners on the shards, over TCP or TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::connection::{Connection, ConnectionTask, Counted};
use crate::application::Application;
use crate::http::peer::Peer;
use crate::limits::{ACCEPT_PAUSE, BACKLOG};
use crate::net::io::{Io, PassedStream};
use crate::net::passed::Passed;
use crate::tasks;
use crate::worker::Worker;
use crate::worker::command::least_loaded;
use crate::worker::listen::{ListenOptions, ListenerContext, Listening};

/// Opens a listener whose connections are spread over all shards, and returns what accepts them.
pub(crate) fn start<A: Application>(
    worker: &Rc<Worker<A>>,
    address: SocketAddr,
    options: ListenOptions,
) -> io::Result<(Listening, impl Future<Output = ()> + use<A>)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit it, which saves a system call for each.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let context = Arc::new(ListenerContext::new(options));
    let accepting = accept_all(Rc::clone(worker), listener, stopped, context);
    Ok((Listening { address, stop }, accepting))
}

async fn accept_all<A: Application>(
    worker: Rc<Worker<A>>,
    listener: TcpListener,
    mut stopped: watch::Receiver<bool>,
    context: Arc<ListenerContext>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The sender may be gone: then nobody can close this listener.
            Ok(_) = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, address)) => assign(&worker, stream, address, &context),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                sedge_log::warn_rarely!(%error, "cannot accept connections; pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Gives a connection to the shard that has the fewest.
fn assign<A: Application>(
    worker: &Rc<Worker<A>>,
    stream: TcpStream,
    address: SocketAddr,
    context: &Arc<ListenerContext>,
) {
    let own = worker.shard.index();
    let Some((shard, load)) = least_loaded(&worker.shards, own) else { return };
    if load >= worker.shard.0.config.local.connections_max as u64 {
        sedge_log::warn_rarely!("connection refused: all shards have as many as allowed");
        return;
    }
    let peer = Peer { address: Some(address), unix: false, secure: false };
    if shard == own {
        spawn_connection(worker, Io::Tcp(stream), peer, Bytes::new(), Arc::clone(context));
        return;
    }
    let Ok(stream) = stream.into_std().map(PassedStream::Tcp) else { return };
    let connection = Passed { stream, peer: Some(address), secure: false, read: Bytes::new() };
    if worker.shards[shard].accept(connection, context).is_err() {
        sedge_log::warn_rarely!(shard, "connection refused: the shard's queue is full");
    }
}

/// Takes a connection that was accepted by another shard or process.
pub(crate) fn take_over<A: Application>(
    worker: &Rc<Worker<A>>,
    connection: Passed,
    context: Arc<ListenerContext>,
) {
    let Passed { stream, peer, secure, read } = connection;
    let peer = Peer { address: peer, unix: peer.is_none(), secure };
    match stream.attach() {
        Ok(io) => spawn_connection(worker, io, peer, read, context),
        Err(error) => sedge_log::warn_rarely!(%error, "a connection cannot be registered"),
    }
}

fn spawn_connection<A: Application>(
    worker: &Rc<Worker<A>>,
    io: Io,
    peer: Peer,
    read: Bytes,
    context: Arc<ListenerContext>,
) {
    let worker = Rc::clone(worker);
    let counted = Counted::new(&worker.shard);
    #[cfg(feature = "tls")]
    if let Some(tls) = context.options.tls.clone().filter(|_| !peer.secure) {
        tasks::connection(async move {
            let deadline = worker.shard.0.config.local.head_timeout;
            let accept = tokio_rustls::TlsAcceptor::from(tls).accept(io);
            match tokio::time::timeout(deadline, accept).await {
                Ok(Ok(stream)) => {
                    let (io, peer) = (Io::Other(Box::new(stream)), Peer { secure: true, ..peer });
                    let connection = Connection::new(worker, counted, io, peer, read, context);
                    // On a task of its own, since this one has the size of a TLS handshake.
                    tasks::connection(ConnectionTask::new(connection));
                }
                Ok(Err(error)) => tracing::debug!(%error, ?peer, "TLS handshake failed"),
                Err(_) => {}
            }
        });
        return;
    }
    let connection = Connection::new(worker, counted, io, peer, read, context);
    tasks::connection(ConnectionTask::new(connection));
}
