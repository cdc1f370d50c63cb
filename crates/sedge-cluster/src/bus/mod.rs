//! The bus of the workers of one host: a Unix socket between each two of them.
//!
//! - Membership is the connection: a worker that ends, however it does, has left at once.
//! - Who wants what stands in shared memory (the module `interest`), so a message goes only
//!   to the workers that want it, and none is missed that was published after `subscribe` returned.
//! - Each peer has a queue, bounded in bytes. A message that does not fit is refused for that peer; a
//!   peer that takes nothing for too long is cut off, and linked to anew when it
//!   answers again. It then joins with the same id as before.
//! - Publishing is a push to those queues. The bus's own thread writes what has gathered in one system
//!   call, and is woken only when it sleeps.

mod link;
mod mesh;
mod queue;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::{fmt, io};

use bytes::Bytes;
use sedge_adapter::{Audience, Bus, BusReceiver, Peer, PeerId, Published, SendError, Topic};
use tokio::sync::{Notify, watch};

use crate::fd::shared::SharedTable;
use crate::interest::{Interest, Wanted};
use crate::wire::bus::Hello;
use crate::wire::control::BusSettings;
use crate::{local, tasks};
use link::Link;

/// Which worker a bus belongs to, and where the others are.
#[derive(Clone, Debug)]
pub(crate) struct BusPlace {
    pub(crate) index: u8,
    pub(crate) workers: u16,
    pub(crate) row: u16,
    /// Where the workers' sockets are.
    pub(crate) directory: PathBuf,
}

/// The bus among the workers of one host.
pub struct UnixBus {
    shared: Arc<BusShared>,
    started: AtomicBool,
}

/// What the bus's thread and those who publish have in common.
struct BusShared {
    id: PeerId,
    index: u8,
    workers: u16,
    row: u16,
    name: Arc<str>,
    directory: PathBuf,
    settings: BusSettings,
    interest: Interest,
    /// Replaced as a whole, so that whoever publishes holds the lock for a moment only.
    links: RwLock<Arc<[Arc<Link>]>>,
    /// Nothing is taken any more.
    closed: AtomicBool,
    closing: Notify,
    /// Everybody who was there when the bus was started is linked to.
    settled: watch::Sender<bool>,
}

impl fmt::Debug for UnixBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = self.shared.links().len();
        let (id, name) = (self.shared.id, &self.shared.name);
        f.debug_struct("UnixBus")
            .field("id", &id)
            .field("name", name)
            .field("peers", &peers)
            .finish_non_exhaustive()
    }
}

impl UnixBus {
    /// A bus that is not started: nobody can find it yet.
    pub(crate) fn new(
        place: BusPlace,
        settings: BusSettings,
        table: Arc<SharedTable>,
    ) -> io::Result<UnixBus> {
        let row = place.row;
        let no_row = || io::Error::new(io::ErrorKind::InvalidData, "no such row of interest");
        let interest = Interest::new(table, row).ok_or_else(no_row)?;
        let shared = Arc::new(BusShared {
            id: PeerId(random_id()?),
            index: place.index,
            workers: place.workers,
            row,
            name: format!("worker {}", place.index).into(),
            directory: place.directory,
            settings,
            interest,
            links: RwLock::new(Arc::new([])),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            settled: watch::Sender::new(false),
        });
        Ok(UnixBus { shared, started: AtomicBool::new(false) })
    }

    /// The buses of several workers that are all in this process, for tests and for programs that run
    /// several servers. Their sockets are made in `directory`, which must be there and should be nobody
    /// else's; its path must be short, as those of sockets are. The bounds are the default ones.
    pub fn in_one_process(directory: &Path, workers: u8) -> io::Result<Vec<UnixBus>> {
        let table = Arc::new(SharedTable::create(workers.into())?);
        let bus = |index: u8| {
            let place = BusPlace {
                index,
                workers: workers.into(),
                row: index.into(),
                directory: directory.to_owned(),
            };
            UnixBus::new(place, BusSettings::default(), Arc::clone(&table))
        };
        (0..workers).map(bus).collect()
    }

    /// This process on the bus.
    pub fn id(&self) -> PeerId {
        self.shared.id
    }

    /// Waits until all workers that were there when the bus was started are linked to, for at most
    /// two seconds. Returns at once if the bus was never started.
    pub async fn settled(&self) {
        if self.started.load(Ordering::SeqCst) {
            let mut settled = self.shared.settled.subscribe();
            let _ = settled.wait_for(|settled| *settled).await;
        }
    }

    fn run(&self, receiver: Arc<dyn BusReceiver>, listener: UnixListener) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&self.shared);
        tasks::thread("sedge-bus", move || {
            runtime.block_on(mesh::run(shared, receiver, listener));
        })
    }

    fn begin(&self, receiver: Arc<dyn BusReceiver>) -> io::Result<()> {
        if self.started.swap(true, Ordering::SeqCst) {
            return Err(io::Error::other("it was started before"));
        }
        let listener = listen(&self.shared.path_of(self.shared.index))?;
        self.run(receiver, listener)
    }
}

/// A socket of this name, in place of one that a predecessor has left.
fn listen(path: &Path) -> io::Result<UnixListener> {
    local::free(path)?;
    local::listen(path)
}

impl Bus for UnixBus {
    /// As of [`Bus`]. If the socket cannot be made, the log says so and the bus stays without peers.
    fn start(&self, receiver: Arc<dyn BusReceiver>) {
        if let Err(error) = self.begin(receiver) {
            tracing::error!(%error, "the bus cannot start: other workers are out of reach");
            self.shared.settled.send_replace(true);
        }
    }

    fn peers(&self) -> Vec<Peer> {
        self.shared.reachable().iter().map(|link| link.peer.clone()).collect()
    }

    fn subscribe(&self, topic: Topic<'_>) {
        self.shared.interest.add(topic);
    }

    fn unsubscribe(&self, topic: Topic<'_>) {
        self.shared.interest.remove(topic);
    }

    fn publish(&self, audience: Audience<'_>, message: &Bytes) -> Published {
        let mut published = Published::default();
        let links = self.shared.reachable();
        if links.is_empty() {
            return published;
        }
        let wanted = Wanted::of(audience);
        for link in links.iter().filter(|link| self.shared.interest.wants(link.row, &wanted)) {
            match self.shared.push(link, message.clone()) {
                Ok(()) => published.reached.push(link.peer.id),
                Err(SendError::Full) => published.refused.push(link.peer.id),
                Err(SendError::TooLong) => published.too_long.push(link.peer.id),
                Err(SendError::Gone) => {}
            }
        }
        published
    }

    fn send(&self, to: PeerId, message: Bytes) -> Result<(), SendError> {
        let links = self.shared.reachable();
        let link = links.iter().find(|link| link.peer.id == to).ok_or(SendError::Gone)?;
        self.shared.push(link, message)
    }

    fn message_bytes_max(&self) -> usize {
        self.shared.settings.message_bytes_max
    }

    fn backlog(&self, to: PeerId) -> usize {
        let links = self.shared.reachable();
        let link = links.iter().find(|link| link.peer.id == to);
        link.map_or(0, |link| link.outgoing.bytes())
    }

    fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.closing.notify_one();
    }
}

impl Drop for UnixBus {
    fn drop(&mut self) {
        self.close();
    }
}

impl BusShared {
    fn links(&self) -> Arc<[Arc<Link>]> {
        Arc::clone(&self.links.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The links that messages may be given to.
    fn reachable(&self) -> Arc<[Arc<Link>]> {
        if self.closed.load(Ordering::SeqCst) { Arc::default() } else { self.links() }
    }

    fn push(&self, link: &Link, message: Bytes) -> Result<(), SendError> {
        if message.len() > self.settings.message_bytes_max {
            return Err(SendError::TooLong);
        }
        link.outgoing.push(message)
    }

    fn add(&self, link: Arc<Link>) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        *links = links.iter().cloned().chain([link]).collect();
    }

    fn remove(&self, link: &Arc<Link>) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        *links = links.iter().filter(|there| !Arc::ptr_eq(there, link)).cloned().collect();
    }

    fn path_of(&self, index: u8) -> PathBuf {
        self.directory.join(format!("{index}.bus"))
    }

    fn hello(&self, only_wakes: bool) -> Hello {
        let (index, row, id) = (self.index, self.row, self.id.0);
        Hello { only_wakes, index, row, id, name: self.name.to_string() }
    }
}

/// An id that no other process has.
fn random_id() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
