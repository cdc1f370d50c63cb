//! The engine: shard threads, and the handle by which the rest of the process reaches them.

pub(crate) mod inlet;
pub(crate) mod tower;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use sedge_protocol::sid::SidCodec;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::application::Application;
use crate::config::Config;
use crate::exchange::order::let_others_read;
use crate::lifeline::{Lifeline, ShardFailure};
use crate::limits::LAST_POLL;
use crate::panics;
use crate::serve::listener;
use crate::shard::Shard;
use crate::shard::farewell;
use crate::shard::metrics::Metrics;
use crate::shard::state::State;
use crate::tasks;
use crate::worker::Worker;
use crate::worker::command::{Adoption, Command, Forwarded, ShardHandle};
use crate::worker::driver::Driver;
use crate::worker::listen::{ListenOptions, Listening};
use crate::worker::relay::Relays;

/// An Engine.IO server. Cheap to clone; any thread may use it.
///
/// The shards run until [`close`](Engine::close), which tells the clients, or until the last handle is dropped,
/// which breaks off whatever they are doing. Layers and services are handles too; listeners, inlets and
/// [weak](Engine::weak) handles are not.
pub struct Engine<A: Application> {
    inner: Arc<EngineInner<A>>,
    running: Option<Arc<Running>>,
}

struct EngineInner<A: Application> {
    config: Arc<Config>,
    codec: SidCodec,
    shards: Arc<[ShardHandle<A>]>,
    refusing: Arc<AtomicBool>,
    lifeline: Lifeline,
    running: Weak<Running>,
}

/// Handles share this; the shards end with it.
struct Running(Lifeline);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl<A: Application> Clone for Engine<A> {
    fn clone(&self) -> Self {
        Engine { inner: Arc::clone(&self.inner), running: self.running.clone() }
    }
}

/// Why an engine could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A thread or its event loop could not be made.
    #[error("cannot start shard {shard}: {source}")]
    Shard {
        /// The shard's number.
        shard: usize,
        /// The system's error.
        source: io::Error,
    },
}

/// A shard's queue of commands is full, or the shard has ended: the command is returned.
#[derive(Debug, Error)]
#[error("the shard does not take commands: its queue is full or it has ended")]
pub struct Overloaded<C>(pub C);

impl<A: Application> Engine<A> {
    /// Starts the shard threads. `make` is called on each of them once.
    pub fn start(
        config: Config,
        make: impl Fn(Shard) -> A + Send + Sync + 'static,
    ) -> Result<Engine<A>, StartError> {
        let config = Arc::new(config);
        let count = config.shards();
        let mut receivers = Vec::with_capacity(count);
        let shards: Arc<[ShardHandle<A>]> = (0..count)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(config.local.command_queue_max);
                receivers.push(receiver);
                ShardHandle { sender, metrics: Arc::default(), in_transit: AtomicUsize::new(0) }
            })
            .collect();
        let make = Arc::new(make);
        let codec = config.sid_codec();
        let (refusing, lifeline) = (Arc::default(), Lifeline::new());
        // If a thread cannot be started, those before it end with this.
        let running = Arc::new(Running(lifeline.clone()));
        let weak = Arc::downgrade(&running);
        let inner = EngineInner { config, codec, shards, refusing, lifeline, running: weak };
        let inner = Arc::new(inner);
        for (index, receiver) in receivers.into_iter().enumerate() {
            let tied = Tied {
                shards: Arc::clone(&inner.shards),
                refusing: Arc::clone(&inner.refusing),
                lifeline: inner.lifeline.clone(),
            };
            let (config, make) = (Arc::clone(&inner.config), Arc::clone(&make));
            let fail = |source| StartError::Shard { shard: index, source };
            let (started, wait) = std::sync::mpsc::sync_channel(1);
            let run = move || run_shard(index, &config, tied, receiver, &*make, &started);
            tasks::shard_thread(inner.lifeline.clone(), index, run).map_err(fail)?;
            wait.recv().map_err(|_| fail(io::ErrorKind::BrokenPipe.into()))?.map_err(fail)?;
        }
        Ok(Engine { inner, running: Some(running) })
    }

    /// A handle that can do the same and does not keep the shards running: for what runs on them itself.
    pub fn weak(&self) -> Engine<A> {
        Engine { inner: Arc::clone(&self.inner), running: None }
    }

    /// A handle that keeps the shards running, made of a [weak](Self::weak) one. If the last such handle is
    /// gone already, it is as weak as before.
    pub fn strong(&self) -> Engine<A> {
        Engine { inner: Arc::clone(&self.inner), running: self.inner.running.upgrade() }
    }

    /// Waits until a shard has failed, that is: has panicked outside of what concerns one connection only. The
    /// engine has ended then: its listeners and connections are closed, and the process should end too, or
    /// start another one. It waits for ever if the engine is closed or dropped.
    ///
    /// ```no_run
    /// # use sedge_engine::{Application, Engine};
    /// # async fn f(engine: Engine<impl Application>, signal: impl Future<Output = ()>) {
    /// tokio::select! {
    ///     () = signal => engine.close(std::time::Duration::from_secs(5)).await,
    ///     failure = engine.failed() => panic!("{failure}"),
    /// }
    /// # }
    /// ```
    pub fn failed(&self) -> impl Future<Output = ShardFailure> + Send + use<A> {
        self.inner.lifeline.failed()
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The number of shards.
    pub fn shard_count(&self) -> usize {
        self.inner.shards.len()
    }

    /// Gives a command to the application on one shard. Never blocks.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn command(&self, shard: usize, command: A::Command) -> Result<(), Overloaded<A::Command>> {
        let sender = &self.inner.shards[shard].sender;
        sender.try_send(Command::Application(command)).map_err(|error| match error.into_inner() {
            Command::Application(command) => Overloaded(command),
            _ => unreachable!("the queue returns what it was given"),
        })
    }

    /// Listens on a TCP address with the engine's own HTTP server, which runs on the shards.
    /// Requests outside of the engine's path get 404.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Listening> {
        self.listen_with(address, ListenOptions::default()).await
    }

    /// Listens on a TCP address, with TLS or another service for the paths that are not the
    /// engine's.
    pub async fn listen_with(
        &self,
        address: SocketAddr,
        options: ListenOptions,
    ) -> io::Result<Listening> {
        let ended = || io::Error::other("the engine has been closed");
        let (reply, answer) = oneshot::channel();
        // The first shard accepts for all.
        let sender = &self.inner.shards[0].sender;
        sender.send(Command::Listen(address, options, reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Takes no new sessions from now on, or takes them again. Clients that ask for one get 503 with
    /// `Retry-After`; sessions that are open go on.
    pub fn refuse_sessions(&self, refuse: bool) {
        self.inner.refusing.store(refuse, Ordering::Relaxed);
    }

    /// Counters and gauges, one set per shard.
    pub fn metrics(&self) -> Vec<Metrics> {
        self.inner.shards.iter().map(|shard| shard.metrics.snapshot()).collect()
    }

    /// A number for each shard that grows for as long as its thread goes round, at least every half
    /// second however little there is to do. One that stands still for longer belongs to a shard that
    /// is held up, by application code that blocks for example, or that has ended. Reading it asks
    /// nothing of the shards.
    pub fn progress(&self) -> impl Iterator<Item = u64> + '_ {
        self.inner.shards.iter().map(|shard| shard.metrics.progress.get())
    }

    /// Lets some clients go whose connections are here while a sibling serves them: polls that wait are
    /// answered, WebSockets end. Returns how many were told to, which is fewer only if there are no
    /// more.
    pub async fn release_relays(&self, count: usize) -> usize {
        let mut released = 0;
        for shard in self.inner.shards.iter() {
            let (reply, answer) = oneshot::channel();
            let command = Command::ReleaseRelays(count - released, reply);
            if count > released && shard.sender.send(command).await.is_ok() {
                released += answer.await.unwrap_or(0);
            }
        }
        released
    }

    /// Open sessions on all shards.
    pub fn session_count(&self) -> u64 {
        self.metrics().iter().map(Metrics::sessions).sum()
    }

    /// Ends the engine: listeners close, sessions are closed and their clients told, as far as that
    /// is possible before the deadline. The shard threads have ended when this returns.
    pub async fn close(&self, deadline: Duration) {
        let mut ends = Vec::new();
        for shard in self.inner.shards.iter() {
            let (done, end) = oneshot::channel();
            if shard.sender.send(Command::Shutdown(deadline, done)).await.is_ok() {
                ends.push(end);
            }
        }
        for end in ends {
            // An error means that it has ended already.
            let _ = end.await;
        }
    }

    /// Reads session ids.
    pub(crate) fn codec(&self) -> &SidCodec {
        &self.inner.codec
    }

    pub(crate) fn shards(&self) -> &Arc<[ShardHandle<A>]> {
        &self.inner.shards
    }
}

/// What ties a shard to the others.
struct Tied<A: Application> {
    shards: Arc<[ShardHandle<A>]>,
    refusing: Arc<AtomicBool>,
    lifeline: Lifeline,
}

fn run_shard<A: Application>(
    index: usize,
    config: &Arc<Config>,
    tied: Tied<A>,
    commands: mpsc::Receiver<Command<A>>,
    make: &(impl Fn(Shard) -> A + ?Sized),
    started: &std::sync::mpsc::SyncSender<io::Result<()>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let Tied { shards, refusing, lifeline } = tied;
    let metrics = Arc::clone(&shards[index].metrics);
    let done = runtime.block_on(async {
        let shard = Shard::new(index, Arc::clone(config), config.sid_codec(), metrics);
        let app = make(shard.clone());
        let worker = Rc::new(Worker { shard, app, shards, refusing, relays: Relays::default() });
        // The engine waits for this, so somebody is there to receive it.
        let _ = started.send(Ok(()));
        // One turn may write to every connection; tokio's budget of 128 operations per task would
        // make all others look blocked.
        let driver = tokio::task::unconstrained(Driver::new(Rc::clone(&worker)));
        tasks::essential(lifeline.clone(), index, "driver", driver);
        let serving = pin!(serve_commands(&worker, &lifeline, commands));
        tokio::select! {
            served = panics::run(serving) => served.unwrap_or_else(|words| {
                lifeline.fail(ShardFailure::new(index, "queue of commands", words));
                None
            }),
            () = lifeline.cut() => None,
        }
    });
    // Connections end with the runtime; only then is the shard gone.
    drop(runtime);
    if let Some(done) = done {
        let _ = done.send(());
    }
}

/// Carries out commands until the shutdown is complete.
async fn serve_commands<A: Application>(
    worker: &Rc<Worker<A>>,
    lifeline: &Lifeline,
    mut commands: mpsc::Receiver<Command<A>>,
) -> Option<oneshot::Sender<()>> {
    let mut listeners = Vec::new();
    while let Some(command) = commands.recv().await {
        worker.shard.0.metrics.progress.add(1);
        match command {
            Command::Application(command) => worker.app.on_command(command),
            Command::Request(forwarded) => {
                tasks::request(serve_forwarded(Rc::clone(worker), *forwarded));
            }
            Command::Accept(connection, context) => {
                worker.shards[worker.shard.index()].in_transit.fetch_sub(1, Ordering::Relaxed);
                listener::take_over(worker, *connection, context);
            }
            Command::Adopt(adoption) => {
                let Adoption { ticket, io, answer, early } = *adoption;
                match io.attach() {
                    Ok(io) => worker.adopt(ticket, io, answer, early),
                    Err(error) => {
                        sedge_log::warn_rarely!(%error, "a connection cannot be registered");
                    }
                }
            }
            Command::ReadAll(reply) => {
                tasks::request(async move {
                    let_others_read().await;
                    // Who asked may have lost patience.
                    let _ = reply.send(());
                });
            }
            Command::ReleaseRelays(count, reply) => {
                let _ = reply.send(worker.relays.release(count));
            }
            Command::Listen(address, options, reply) => {
                let started = listener::start(worker, address, options);
                let listening = started.map(|(listening, accepting)| {
                    let (lifeline, index) = (lifeline.clone(), worker.shard.index());
                    let part = "accept loop";
                    listeners.push(tasks::essential(lifeline, index, part, accepting));
                    listening
                });
                let _ = reply.send(listening);
            }
            Command::Shutdown(deadline, done) => {
                for task in listeners {
                    task.abort();
                }
                // A shard goes on taking commands while it shuts down: handlers that are still
                // running may need its siblings.
                let _ = tokio::time::timeout(deadline, async {
                    tokio::select! {
                        () = worker.shut_down() => {}
                        () = worker.last_commands(&mut commands) => {}
                    }
                })
                .await;
                return Some(done);
            }
        }
    }
    None
}

async fn serve_forwarded<A: Application>(worker: Rc<Worker<A>>, forwarded: Forwarded) {
    let Forwarded { head, body, peer, mut reply } = forwarded;
    tokio::select! {
        answer = worker.handle(head, body, peer) => {
            let _ = reply.send(answer);
        }
        // The client has gone; dropping the handler reports it.
        () = reply.closed() => {}
    }
}

impl<A: Application> Worker<A> {
    /// Closes all sessions and waits until their clients have been told.
    async fn shut_down(&self) {
        let shard = &self.shard;
        shard.0.closing.set(true);
        self.app.on_shutdown();
        let keys = shard.0.state.borrow().keys();
        for key in keys {
            shard.close(key);
        }
        self.relays.release(usize::MAX);
        if tokio::time::timeout(LAST_POLL, self.all_told()).await.is_err() {
            shard.with_state(State::give_up);
            self.all_told().await;
        }
    }

    /// Waits until nobody is left who has not been told that this is the end.
    async fn all_told(&self) {
        loop {
            farewell::until(|| !self.has_clients()).await;
            // Who was told just now has the answer, but it is the connection's task that writes it.
            let_others_read().await;
            if !self.has_clients() {
                return;
            }
        }
    }

    /// Whether somebody has not been told yet that this is the end.
    fn has_clients(&self) -> bool {
        self.shard.session_count() > 0 || farewell::lingering() > 0 || self.relays.count() > 0
    }

    /// Carries out what handlers that are still running ask of this shard.
    async fn last_commands(&self, commands: &mut mpsc::Receiver<Command<A>>) {
        while let Some(command) = commands.recv().await {
            // Everything else is for sessions that are ending; dropping it says so.
            if let Command::Application(command) = command {
                self.app.on_command(command);
            }
        }
        std::future::pending::<()>().await;
    }
}
