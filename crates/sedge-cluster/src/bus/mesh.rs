//! The bus's thread: finds the other workers and keeps one link to each.
//!
//! Of two workers, the one with the higher index connects to the other. A worker that starts
//! connects to all lower ones, and knocks at all higher ones so that they connect to it at once. So
//! there is never more than one link between two, and no time passes in which both wait.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sedge_adapter::{BusReceiver, Peer, PeerId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::BusShared;
use super::link::{self, Link, LinkLimits};
use crate::limits::{
    ACCEPT_PAUSE, BUS_HELLO_TIMEOUT, BUS_HELLOS_MAX, BUS_LOOK, BUS_REDIAL, BUS_SETTLE_TIMEOUT,
};
use crate::wire::bus::{HELLO_BYTES, Hello};
use crate::{local, tasks};

/// What the worker that connected sends once it has read the other's hello: it is still there.
const GO: u8 = 1;

struct Mesh {
    shared: Arc<BusShared>,
    receiver: Arc<dyn BusReceiver>,
    /// The links there are, by the worker's index.
    present: RefCell<BTreeMap<u8, Present>>,
    /// For each lower worker: it has knocked.
    knocks: Vec<Notify>,
    /// Lower workers to which no connection was attempted yet.
    untried: Cell<usize>,
    /// Something has changed that may have settled the bus.
    changed: Notify,
    greeting: Cell<usize>,
}

struct Present {
    link: Arc<Link>,
    ended: Rc<Notify>,
}

/// Serves the bus until it is closed.
pub(crate) async fn run(
    shared: Arc<BusShared>,
    receiver: Arc<dyn BusReceiver>,
    listener: std::os::unix::net::UnixListener,
) {
    let mesh = Rc::new(Mesh {
        knocks: (0..shared.index).map(|_| Notify::new()).collect(),
        untried: Cell::new(shared.index.into()),
        shared,
        receiver,
        present: RefCell::default(),
        changed: Notify::new(),
        greeting: Cell::new(0),
    });
    let local = tokio::task::LocalSet::new();
    local.run_until(Rc::clone(&mesh).serve(listener)).await;
}

impl Mesh {
    async fn serve(self: Rc<Self>, listener: std::os::unix::net::UnixListener) {
        let listener = match UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the bus cannot listen: other workers are out of reach");
                return;
            }
        };
        tasks::bus(Rc::clone(&self).accept(listener));
        for to in 0..self.shared.index {
            tasks::bus(Rc::clone(&self).keep_dialling(to));
        }
        let mut knocked = Vec::new();
        for to in self.higher() {
            if self.knock(to).await.is_ok() {
                knocked.push(to);
            }
        }
        let settled = async {
            loop {
                let lower_done = self.untried.get() == 0;
                let higher_done = knocked.iter().all(|to| self.present.borrow().contains_key(to));
                if lower_done && higher_done {
                    return;
                }
                self.changed.notified().await;
            }
        };
        if tokio::time::timeout(BUS_SETTLE_TIMEOUT, settled).await.is_err() {
            tracing::warn!("some workers do not answer on the bus; they join when they do");
        }
        self.shared.settled.send_replace(true);
        self.shared.closing.notified().await;
        self.stop_all().await;
    }

    /// The workers above this one.
    fn higher(&self) -> impl Iterator<Item = u8> + use<> {
        let last = self.shared.workers.saturating_sub(1).min(u8::MAX.into()) as u8;
        (self.shared.index..=last).skip(1)
    }

    async fn stop_all(&self) {
        loop {
            let ended = self.present.borrow().values().next().map(|present| {
                present.link.stop.notify_one();
                Rc::clone(&present.ended)
            });
            let Some(ended) = ended else { return };
            ended.notified().await;
        }
    }

    /// Lets a higher worker know that this one is there.
    async fn knock(&self, to: u8) -> io::Result<()> {
        let mut stream = self.connect(to).await?;
        let hello = self.shared.hello(true).encode();
        within(BUS_HELLO_TIMEOUT, stream.write_all(&hello)).await
    }

    /// Keeps a link to a lower worker.
    async fn keep_dialling(self: Rc<Self>, to: u8) {
        let mut first = true;
        let mut tried = || {
            if std::mem::take(&mut first) {
                self.untried.set(self.untried.get() - 1);
                self.changed.notify_one();
            }
        };
        loop {
            let pause = if let Ok((stream, hello)) = self.dial(to).await {
                self.carry(stream, hello, &mut tried).await;
                BUS_REDIAL
            } else {
                tried();
                BUS_LOOK
            };
            // Whoever is there again says so.
            let knock = self.knocks[usize::from(to)].notified();
            let _ = tokio::time::timeout(pause, knock).await;
        }
    }

    async fn connect(&self, to: u8) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(self.shared.path_of(to)).await?;
        local::check_peer(&stream)?;
        Ok(stream)
    }

    async fn dial(&self, to: u8) -> io::Result<(UnixStream, Hello)> {
        let mut stream = self.connect(to).await?;
        let greeting = async {
            stream.write_all(&self.shared.hello(false).encode()).await?;
            let hello = read_hello(&mut stream).await?;
            if hello.index != to || hello.only_wakes {
                return Err(io::Error::other("another worker answers there"));
            }
            stream.write_all(&[GO]).await?;
            Ok(hello)
        };
        let hello = within(BUS_HELLO_TIMEOUT, greeting).await?;
        Ok((stream, hello))
    }

    async fn accept(self: Rc<Self>, listener: UnixListener) {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    sedge_log::warn_rarely!(%error, "the bus cannot accept a worker; pausing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if local::check_peer(&stream).is_err() {
                continue;
            }
            if self.greeting.get() >= BUS_HELLOS_MAX {
                sedge_log::warn_rarely!("a worker was not let on the bus: too many are trying");
                continue;
            }
            self.greeting.set(self.greeting.get() + 1);
            let mesh = Rc::clone(&self);
            tasks::bus(async move {
                let greeted = within(BUS_HELLO_TIMEOUT, mesh.greet(stream)).await;
                mesh.greeting.set(mesh.greeting.get() - 1);
                match greeted {
                    Ok(Some((stream, hello))) => mesh.carry(stream, hello, &mut || {}).await,
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, "somebody did not get on the bus"),
                }
            });
        }
    }

    /// Finds out who has connected, and answers if it is to stay.
    async fn greet(&self, mut stream: UnixStream) -> io::Result<Option<(UnixStream, Hello)>> {
        let hello = read_hello(&mut stream).await?;
        if hello.only_wakes {
            if let Some(knock) = self.knocks.get(usize::from(hello.index)) {
                knock.notify_one();
            }
            return Ok(None);
        }
        if hello.index <= self.shared.index {
            return Err(io::Error::other("a worker that should have been connected to"));
        }
        stream.write_all(&self.shared.hello(false).encode()).await?;
        // It may have given up while this process was not running.
        if stream.read_u8().await? != GO {
            return Err(io::Error::other("a worker that does not know the rules"));
        }
        Ok(Some((stream, hello)))
    }

    /// Carries the messages of a link, from its beginning to its end. `begun` is called when it
    /// is known to everybody.
    async fn carry(&self, stream: UnixStream, hello: Hello, begun: &mut dyn FnMut()) {
        // An older link of the same worker ends first, so that nobody is there twice.
        loop {
            let older = self.present.borrow().get(&hello.index).map(|older| {
                older.link.stop.notify_one();
                Rc::clone(&older.ended)
            });
            let Some(ended) = older else { break };
            ended.notified().await;
        }
        let peer = Peer { id: PeerId(hello.id), name: hello.name.into() };
        let settings = self.shared.settings;
        let link = Link::new(peer, hello.index, hello.row, settings.queue_bytes_max);
        let ended = Rc::new(Notify::new());
        let present = Present { link: Arc::clone(&link), ended: Rc::clone(&ended) };
        self.present.borrow_mut().insert(link.index, present);
        self.shared.add(Arc::clone(&link));
        tracing::debug!(peer = %link.peer.name, id = %link.peer.id, "joined the bus");
        self.tell(|receiver| receiver.on_joined(link.peer.clone()));
        begun();
        self.changed.notify_one();
        let limits = LinkLimits {
            message_bytes_max: settings.message_bytes_max,
            stall_timeout: Duration::from_millis(settings.stall_timeout_ms),
        };
        let id = link.peer.id;
        let mut on_message = |message| self.tell(|receiver| receiver.on_message(id, message));
        let (end, lost) = link::run(&stream, &link, limits, &mut on_message).await;
        // The other side sees it as well.
        drop(stream);
        self.shared.remove(&link);
        self.present.borrow_mut().remove(&link.index);
        tracing::info!(peer = %link.peer.name, id = %link.peer.id, lost, "left the bus: {end}");
        self.tell(|receiver| receiver.on_left(id, lost));
        ended.notify_waiters();
        self.changed.notify_one();
    }

    /// Calls the receiver. What it does wrong ends neither the bus nor the link.
    fn tell(&self, call: impl FnOnce(&dyn BusReceiver)) {
        let called = catch_unwind(AssertUnwindSafe(|| call(&*self.receiver)));
        if called.is_err() {
            sedge_log::error_rarely!("the receiver of the bus has panicked; that message is lost");
        }
    }
}

async fn read_hello(stream: &mut UnixStream) -> io::Result<Hello> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no hello of this bus");
    let mut fixed = [0; HELLO_BYTES];
    stream.read_exact(&mut fixed).await?;
    let mut name = vec![0; Hello::name_bytes(&fixed).ok_or_else(invalid)?];
    stream.read_exact(&mut name).await?;
    Hello::decode(&fixed, &name).ok_or_else(invalid)
}

async fn within<T>(patience: Duration, done: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(patience, done).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}
