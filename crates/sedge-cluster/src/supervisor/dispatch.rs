//! From an accepted connection to the worker it is passed to.
//!
//! The first bytes of a connection are looked at and left where they are. Most often the whole head is
//! there at the first look; then accepting, looking and passing are three system calls. Otherwise the
//! connection waits among the *undecided*, bounded in number and time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SocketFlags};
use sedge_sticky::{Availability, Decision, Opening, Request, Route, Router, SidFinding, limits};
use tokio::io::Interest;
use tokio::task::AbortHandle;

use super::passer::{Accepted, NotTaken, Origin};
use super::slot::Slot;
use super::{Phase, Supervisor, count};
use crate::fd::watched::Watched;
use crate::limits::ACCEPT_PAUSE;
use crate::listen::{Listener, ip_address};
use crate::wire::command::WorkerState;
use crate::worker::is_about_one_connection;
use crate::{ClusterError, fd, tasks};

/// What dispatching remembers.
pub(super) struct State {
    undecided_max: usize,
    /// The tasks that wait, the oldest first.
    undecided: RefCell<BTreeMap<u64, AbortHandle>>,
    next: Cell<u64>,
    /// Where heads are copied to.
    scratch: RefCell<Box<[u8]>>,
    random: Cell<u64>,
}

impl State {
    /// For heads of at most this many bytes.
    pub(super) fn new(undecided_max: usize, head_bytes_max: usize) -> State {
        // Workers must always be able to be started.
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = descriptors.map_or(usize::MAX, |max| usize::try_from(max / 2).unwrap_or(1));
        let mut seed = [1; 8];
        // If there is none, choices are predictable, which harms nobody.
        let _ = getrandom::fill(&mut seed);
        let scratch = vec![0; head_bytes_max + limits::PROXY_V2_BYTES_MAX];
        State {
            undecided_max: undecided_max.min(half).max(1),
            undecided: RefCell::default(),
            next: Cell::new(0),
            scratch: RefCell::new(scratch.into()),
            random: Cell::new(u64::from_ne_bytes(seed) | 1),
        }
    }

    /// Connections that wait for their head, or for a worker that starts.
    pub(super) fn undecided(&self) -> usize {
        self.undecided.borrow().len()
    }

    /// Numbers for methods that draw lots. They need not be secret.
    fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// What a look at a connection shows.
enum Look {
    /// Where it goes, and how long the PROXY header in front is, with the address it names.
    To(Route, Option<(usize, Option<IpAddr>)>),
    /// Nobody can take it.
    NoTarget(Duration),
    /// Not enough has come yet: this many bytes.
    More(usize),
    /// It has ended, or is not what it must be.
    Useless,
}

/// Why no decision is possible.
enum Lack {
    /// Not enough has come yet, only this many bytes.
    Bytes(usize),
    /// The connection has ended, or is not what it must be.
    Sense,
}

/// What becomes of a connection.
enum Fate {
    /// It was passed, refused or closed.
    Settled,
    /// Its head is not there yet, only this many bytes.
    NeedsBytes(Accepted, usize),
    /// A worker that starts may take it.
    NeedsWorker(Accepted),
}

/// Accepts on a listener until the cluster ends.
pub(super) fn listen(
    supervisor: &Rc<Supervisor>,
    listener: Listener,
    index: u16,
) -> Result<(), ClusterError> {
    let Listener { socket, unix, secure, name, file } = listener;
    let socket = Watched::new(socket, Interest::READABLE)
        .map_err(|(_, source)| ClusterError::Listen { address: name.clone(), source })?;
    let supervisor = Rc::clone(supervisor);
    tasks::spawn_local(async move {
        let _file = file;
        let origin = Origin { peer: None, unix, secure, listener: index, at: supervisor.started };
        supervisor.accept_all(&socket, origin, &name).await;
    });
    Ok(())
}

impl Supervisor {
    async fn accept_all(self: &Rc<Self>, socket: &Watched, origin: Origin, name: &str) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept =
            |socket: std::os::fd::BorrowedFd<'_>| Ok(rustix::net::acceptfrom_with(socket, flags)?);
        let mut paused = false;
        loop {
            match socket.when_ready(Interest::READABLE, accept).await {
                Ok((socket, address)) => {
                    if std::mem::take(&mut paused) {
                        sedge_log::info_rarely!(listener = name, "accepting connections again");
                    }
                    count(&self.counters.accepted);
                    let peer = address.as_ref().and_then(ip_address);
                    let origin = Origin { peer, at: Instant::now(), ..origin };
                    self.dispatch(Accepted { socket, origin });
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    count(&self.counters.accept_errors);
                    if !std::mem::replace(&mut paused, true) {
                        sedge_log::warn_rarely!(
                            listener = name,
                            %error,
                            "cannot accept connections; pausing"
                        );
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Passes a connection on, or has it wait for whatever is missing.
    pub(super) fn dispatch(self: &Rc<Self>, connection: Accepted) {
        match self.try_dispatch(connection, 0) {
            Fate::Settled => {}
            fate => self.wait(fate),
        }
    }

    fn try_dispatch(&self, connection: Accepted, seen: usize) -> Fate {
        match self.look(&connection, seen) {
            Look::Useless => Fate::Settled,
            Look::More(seen) => Fate::NeedsBytes(connection, seen),
            Look::NoTarget(retry_after) => self.without_target(connection, retry_after),
            Look::To(route, proxy) => self.pass(connection, route, proxy),
        }
    }

    /// Looks at what has come of a connection, and decides if it is enough. A decision counts as an
    /// assignment.
    fn look(&self, connection: &Accepted, seen: usize) -> Look {
        let decided =
            self.examine(&connection.socket, &connection.origin, seen, |router, request| {
                match router.decide(request, self.dispatch.random()) {
                    Decision::NoTarget { retry_after } => Look::NoTarget(retry_after),
                    Decision::To(route) => {
                        let has_proxy = request.proxy_len > 0;
                        Look::To(route, has_proxy.then_some((request.proxy_len, request.peer)))
                    }
                }
            });
        match decided {
            Ok(look) => look,
            Err(Lack::Bytes(seen)) => Look::More(seen),
            Err(Lack::Sense) => Look::Useless,
        }
    }

    /// Reads what has come of a connection, and calls `then` if that is enough for a decision. At the
    /// last look, `seen` bytes were not.
    fn examine<T>(
        &self,
        socket: impl AsFd,
        origin: &Origin,
        seen: usize,
        then: impl FnOnce(&mut Router, &Request<'_>) -> T,
    ) -> Result<T, Lack> {
        let mut scratch = self.dispatch.scratch.borrow_mut();
        let len = match fd::peek(socket, &mut scratch) {
            Ok(0) => return Err(Lack::Sense),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Lack::Bytes(0)),
            Err(_) => return Err(Lack::Sense),
        };
        let full = len == scratch.len();
        let news = scratch.get(seen..len).unwrap_or_default();
        // A head ends with a line, so nothing else needs to be read again: a client that sends byte
        // by byte costs little.
        if seen > 0 && !full && !news.contains(&b'\n') {
            return Err(Lack::Bytes(len));
        }
        let peer = origin.peer.map(|peer| peer.ip());
        let mut router = self.router.borrow_mut();
        let request = match router.read(&scratch[..len], peer) {
            Opening::Request(request) | Opening::NoHead { request, .. } => request,
            Opening::Partial if full => Request { peer, ..Request::default() },
            Opening::Partial => return Err(Lack::Bytes(len)),
            Opening::NoProxyHeader(reason) => {
                count(&self.counters.dropped);
                tracing::debug!(?peer, %reason, "a proxy's connection was closed");
                return Err(Lack::Sense);
            }
        };
        Ok(then(&mut router, &request))
    }

    /// Gives a connection to the worker it was routed to, or to another one if that is possible.
    fn pass(
        &self,
        mut connection: Accepted,
        mut route: Route,
        proxy: Option<(usize, Option<IpAddr>)>,
    ) -> Fate {
        if let Some((len, client)) = proxy {
            // The header is for this supervisor; the worker is told the address instead.
            if take(&connection, len).is_err() {
                count(&self.counters.dropped);
                return Fate::Settled;
            }
            connection.origin.peer = client.map(|client| SocketAddr::new(client, 0));
        }
        loop {
            let Some(slot) = self.slots.get(route.target.slot()) else { return Fate::Settled };
            let passer = slot.passer.borrow().clone();
            let taken = match passer {
                Some(passer) => passer.pass(connection),
                None => Err((connection, NotTaken::Gone)),
            };
            let (back, why) = match taken {
                Ok(()) => {
                    count(&self.counters.passed);
                    slot.view.borrow_mut().passed += 1;
                    self.update_availability(slot);
                    return Fate::Settled;
                }
                Err(back) => back,
            };
            let own = route.sid == SidFinding::Known;
            match why {
                NotTaken::Gone => {
                    slot.passer.take();
                    self.update_availability(slot);
                }
                NotTaken::Full if own => {
                    self.refuse(back, self.settings.routing.retry_after);
                    return Fate::Settled;
                }
                NotTaken::Full => self.update_availability(slot),
            }
            if proxy.is_some() {
                // It cannot be looked at again.
                self.refuse(back, self.settings.routing.retry_after);
                return Fate::Settled;
            }
            match self.look(&back, 0) {
                // The one that is full is all there is.
                Look::To(again, _) if again.target == route.target => {
                    self.refuse(back, self.settings.routing.retry_after);
                    return Fate::Settled;
                }
                Look::To(other, _) => (connection, route) = (back, other),
                Look::NoTarget(retry_after) => return self.without_target(back, retry_after),
                Look::More(_) | Look::Useless => return Fate::Settled,
            }
        }
    }

    fn without_target(&self, connection: Accepted, retry_after: Duration) -> Fate {
        let patient = connection.origin.at.elapsed() < self.settings.start_patience;
        if self.somebody_starts() && patient {
            return Fate::NeedsWorker(connection);
        }
        self.refuse(connection, retry_after);
        Fate::Settled
    }

    /// Lets the router know what a worker may be given.
    pub(super) fn update_availability(&self, slot: &Slot) {
        let crowded = slot.passer.borrow().as_ref().map(|passer| passer.is_crowded());
        let availability = match (slot.state(), crowded) {
            (WorkerState::Ready, Some(false)) => Availability::Up,
            // When the whole cluster ends, a worker can refuse a session better than anybody else.
            (WorkerState::Draining, Some(false)) if self.phase() == Phase::Draining => {
                Availability::Up
            }
            (_, Some(_)) => Availability::Draining,
            (_, None) => Availability::Down,
        };
        self.router.borrow_mut().set_availability(slot.target.get(), availability);
    }

    /// Has a connection wait in a task of its own. If too many wait, the oldest is closed: most likely
    /// it never meant to say anything.
    fn wait(self: &Rc<Self>, fate: Fate) {
        let state = &self.dispatch;
        if state.undecided() >= state.undecided_max
            && let Some((_, oldest)) = state.undecided.borrow_mut().pop_first()
        {
            oldest.abort();
            count(&self.counters.displaced);
        }
        let id = state.next.get();
        state.next.set(id + 1);
        let supervisor = Rc::clone(self);
        let task = tasks::spawn_local(async move {
            supervisor.decide_later(fate).await;
            supervisor.dispatch.undecided.borrow_mut().remove(&id);
        });
        // It has not run yet, so it cannot have removed itself.
        state.undecided.borrow_mut().insert(id, task.abort_handle());
    }

    async fn decide_later(&self, mut fate: Fate) {
        loop {
            fate = match fate {
                Fate::Settled => return,
                Fate::NeedsBytes(connection, seen) => self.wait_for_bytes(connection, seen).await,
                Fate::NeedsWorker(connection) => {
                    let patience = connection.origin.at + self.settings.start_patience;
                    let changed = self.changed.notified();
                    let _ = tokio::time::timeout_at(patience.into(), changed).await;
                    self.try_dispatch(connection, 0)
                }
            };
        }
    }

    async fn wait_for_bytes(&self, connection: Accepted, seen: usize) -> Fate {
        let Accepted { socket, origin } = connection;
        let Ok(socket) = Watched::new(socket, Interest::READABLE) else {
            count(&self.counters.dropped);
            return Fate::Settled;
        };
        let deadline = origin.at + self.settings.head_timeout;
        let enough = self.see_enough(&socket, &origin, seen);
        match tokio::time::timeout_at(deadline.into(), enough).await {
            Ok(true) => self.try_dispatch(Accepted { socket: socket.into_inner(), origin }, 0),
            Ok(false) => Fate::Settled,
            Err(_) => {
                count(&self.counters.timed_out);
                Fate::Settled
            }
        }
    }

    /// Waits until a decision is possible. False if it never will be.
    async fn see_enough(&self, socket: &Watched, origin: &Origin, mut seen: usize) -> bool {
        loop {
            let Ok((ready, mut guard)) = socket.readable().await else { return false };
            match self.examine(socket, origin, seen, |_, _| ()) {
                Ok(()) => return true,
                Err(Lack::Sense) => return false,
                // Nothing more can come.
                Err(Lack::Bytes(_)) if ready.is_read_closed() => return false,
                Err(Lack::Bytes(len)) => seen = len,
            }
            // The next readiness is that more has come than was there at this look: a head of
            // which only a part is there does not keep this task busy.
            guard.clear_ready();
        }
    }
}

/// Takes bytes that were seen before from the beginning of a connection.
fn take(connection: &Accepted, len: usize) -> io::Result<()> {
    let mut header = vec![0; len];
    let (taken, _) = rustix::net::recv(&connection.socket, &mut header[..], RecvFlags::DONTWAIT)?;
    if taken == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
