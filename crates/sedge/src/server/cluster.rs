//! Running a server as a worker of a cluster on one host, on the pieces of `sedge-cluster`.

use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use sedge_cluster::{Connections, Drain, Stats, Stream, Worker};
use sedge_engine::{ListenOptions, NotPassed, Passed, PassedStream, Passing, Siblings};

use super::Server;
use super::builder::ServerBuilder;
use super::worker::ServerInlet;

impl ServerBuilder {
    /// Makes the server a worker of its cluster: session ids say so, requests for the sessions of other
    /// workers are passed on, and broadcasts reach the sockets of all. With one thread, unless
    /// [`shards`](Self::shards) says otherwise behind this.
    pub fn cluster(self, worker: &Worker) -> Self {
        let own = self
            .shards(1)
            .node(worker.node())
            .worker(worker.index())
            .secret(worker.secret())
            .siblings(Arc::new(OtherWorkers(worker.siblings())))
            .bus(worker.bus());
        worker.previous_secrets().fold(own, ServerBuilder::previous_secret)
    }
}

impl Server {
    /// Does the work of a worker, from now until it has to end: takes the connections that it is
    /// given, with options as for a listener, and at the end lets its clients go in batches, so that
    /// they do not all come back at once. It has ended when this returns.
    ///
    /// The server must have been made with [`ServerBuilder::cluster`]. It is ready for connections
    /// when this is called: add handlers before.
    ///
    /// ```no_run
    /// use sedge::extract::Data;
    /// use sedge::{ListenOptions, Server};
    /// use sedge_cluster::{Cluster, Worker};
    ///
    /// # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
    /// let ended = Cluster::builder()
    ///     .listen("127.0.0.1:3000".parse::<std::net::SocketAddr>()?)
    ///     .run(async |worker: Worker| {
    ///         let io = Server::builder().cluster(&worker).build()?;
    ///         io.on("say", async |io: Server, Data(text): Data<String>| io.emit("said", &text));
    ///         io.serve_worker(worker, ListenOptions::new()).await?;
    ///         Ok::<(), Box<dyn std::error::Error>>(())
    ///     })
    ///     .await?;
    /// std::process::exit(ended.code());
    /// # }
    /// ```
    ///
    /// It fails if a thread of the server does ([`failed`](Server::failed)): end the process then, and the
    /// supervisor starts another worker.
    pub async fn serve_worker(&self, worker: Worker, options: ListenOptions) -> io::Result<()> {
        tokio::select! {
            served = self.serve_until_drained(worker, options) => served,
            failure = self.failed() => Err(io::Error::other(failure)),
        }
    }

    async fn serve_until_drained(
        &self,
        mut worker: Worker,
        options: ListenOptions,
    ) -> io::Result<()> {
        let taken = || io::Error::other("the worker's connections are served already");
        let mut connections = worker.connections().ok_or_else(taken)?;
        let mut drains = worker.drains();
        let inlet = self.inlet(options);
        let server = self.clone();
        worker.report_from(move || server.stats());
        let server = self.clone();
        worker.metrics_from(move || server.metrics().prometheus());
        let server = self.clone();
        worker.progress_from(move || server.engine().progress().collect());
        worker.ready().await?;
        let drain = tokio::select! {
            drain = drains.wait() => drain,
            never = take_all(&mut connections, &inlet) => never,
        };
        self.refuse_sessions(true);
        tokio::select! {
            () = self.let_go(drain) => {}
            // Clients that have not been closed yet are served, wherever their requests arrive.
            never = take_all(&mut connections, &inlet) => never,
        }
        self.close(drain.deadline.saturating_duration_since(Instant::now())).await;
        Ok(())
    }

    /// Closes all clients at the pace that a drain wants, those included that siblings serve over this
    /// worker's connections.
    async fn let_go(&self, drain: Drain) {
        let tunnels: u64 = self.engine().metrics().iter().map(|shard| shard.tunnels).sum();
        let clients = usize::try_from(self.session_count() + tunnels).unwrap_or(usize::MAX);
        let random = || RandomState::new().build_hasher().finish() as u32;
        for batch in drain.pacing.batches(clients, random) {
            tokio::time::sleep(batch.pause).await;
            let closed = self.close_clients(batch.clients).await;
            self.engine().release_relays(batch.clients - closed).await;
        }
    }

    /// What the supervisor is told.
    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        let (mut polling, mut websocket) = (0, 0);
        for shard in self.metrics().engine {
            stats.connections += shard.connections();
            stats.opened += shard.opened;
            polling += shard.sessions_polling;
            websocket += shard.sessions_websocket;
        }
        let sessions = [("polling", polling), ("websocket", websocket)];
        stats.sessions = sessions.map(|(name, count)| (name.to_owned(), count)).into();
        stats
    }
}

/// Takes connections for as long as there may be any, and then waits for ever.
async fn take_all(connections: &mut Connections, inlet: &ServerInlet) -> ! {
    while let Some(connection) = connections.next().await {
        if inlet.give(into_engine(connection)).is_err() {
            sedge_log::warn_rarely!("connection refused: all shards have as many as allowed");
        }
    }
    std::future::pending().await
}

/// The siblings of a worker, as the engine asks them.
struct OtherWorkers(sedge_cluster::Siblings);

impl Siblings for OtherWorkers {
    fn pass(&self, worker: u8, connection: Passed) -> Passing {
        let siblings = self.0.clone();
        let passing: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            siblings.pass(worker, into_cluster(connection)).await.map_err(|error| NotPassed {
                gone: matches!(error.reason, sedge_cluster::PassReason::Gone),
                connection: into_engine(*error.passed),
            })
        });
        passing
    }
}

fn into_engine(passed: sedge_cluster::Passed) -> Passed {
    let sedge_cluster::Passed { stream, peer, secure, read, .. } = passed;
    let stream = match stream {
        Stream::Tcp(stream) => PassedStream::Tcp(stream),
        Stream::Unix(stream) => PassedStream::Unix(stream),
    };
    Passed { stream, peer, secure, read }
}

fn into_cluster(connection: Passed) -> sedge_cluster::Passed {
    let Passed { stream, peer, secure, read } = connection;
    let stream = match stream {
        PassedStream::Tcp(stream) => Stream::Tcp(stream),
        PassedStream::Unix(stream) => Stream::Unix(stream),
    };
    // Which listener it came by is of no interest to a server.
    sedge_cluster::Passed { stream, peer, secure, listener: 0, read }
}
