//! From an accepted connection to the worker it is passed to.
//!
//! The first bytes of a connection are looked at and left where they are. Most often the whole head is
//! there at the first look; then accepting, looking and passing are three system calls. Otherwise the
//! connection waits among the *undecided*, bounded in number and time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SocketFlags};
use sedge_sticky::{Availability, Decision, Opening, Request, Route, Router, SidFinding};
use tokio::io::Interest;

use super::passer::{Accepted, NotTaken, Origin};
use super::slot::{Slot, Standing};
use super::state::{Phase, Supervisor, count};
use crate::accept::is_about_one_connection;
use crate::error::ClusterError;
use crate::fd::watched::Watched;
use crate::limits::ACCEPT_PAUSE;
use crate::listen::{Listener, ip_address};
use crate::wire::command::WorkerState;
use crate::{fd, tasks};

/// What a look at a connection shows.
enum Look {
    /// Where it goes, and how long the PROXY header in front is, with the address it names.
    To(Route, Option<(usize, Option<IpAddr>)>),
    /// Nobody can take it.
    NoTarget(Duration),
    /// Not enough has come yet: this many bytes.
    More(usize),
    /// It has ended, or is not what it must be.
    Unusable,
}

/// Why no decision is possible.
pub(super) enum NoDecision {
    /// Not enough has come yet, only this many bytes.
    Partial(usize),
    /// The connection has ended, or is not what it must be.
    Unusable,
}

/// How dispatching a connection went.
enum Outcome {
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
    tasks::supervisor_part("listener", async move {
        let _file = file;
        let (at, proxied) = (supervisor.started, false);
        let origin = Origin { peer: None, unix, secure, listener: index, at, proxied };
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
            Outcome::Settled => {}
            outcome => self.wait(outcome),
        }
    }

    fn try_dispatch(&self, connection: Accepted, seen: usize) -> Outcome {
        match self.look(&connection, seen) {
            Look::Unusable => Outcome::Settled,
            Look::More(seen) => Outcome::NeedsBytes(connection, seen),
            Look::NoTarget(retry_after) => self.without_target(connection, retry_after),
            Look::To(route, proxy) => self.pass(connection, route, proxy),
        }
    }

    /// Looks at what has come of a connection, and decides if it is enough. A decision counts as an
    /// assignment.
    fn look(&self, connection: &Accepted, seen: usize) -> Look {
        let decided =
            self.examine(&connection.socket, &connection.origin, seen, |router, request| {
                match router.decide(request, self.undecided.random()) {
                    Decision::NoTarget { retry_after } => Look::NoTarget(retry_after),
                    Decision::To(route) => {
                        let has_proxy = request.proxy_len > 0;
                        Look::To(route, has_proxy.then_some((request.proxy_len, request.peer)))
                    }
                }
            });
        match decided {
            Ok(look) => look,
            Err(NoDecision::Partial(seen)) => Look::More(seen),
            Err(NoDecision::Unusable) => Look::Unusable,
        }
    }

    /// Reads what has come of a connection, and calls `then` if that is enough for a decision. At the
    /// last look, `seen` bytes were not.
    pub(super) fn examine<T>(
        &self,
        socket: impl AsFd,
        origin: &Origin,
        seen: usize,
        then: impl FnOnce(&mut Router, &Request<'_>) -> T,
    ) -> Result<T, NoDecision> {
        let mut scratch = self.undecided.scratch.borrow_mut();
        let len = match fd::peek(socket, &mut scratch) {
            Ok(0) => return Err(NoDecision::Unusable),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(NoDecision::Partial(0));
            }
            Err(_) => return Err(NoDecision::Unusable),
        };
        let full = len == scratch.len();
        let news = scratch.get(seen..len).unwrap_or_default();
        // A head ends with a line, so nothing else needs to be read again: a client that sends byte
        // by byte costs little.
        if seen > 0 && !full && !news.contains(&b'\n') {
            return Err(NoDecision::Partial(len));
        }
        let peer = origin.peer.map(|peer| peer.ip());
        let mut router = self.router.borrow_mut();
        let opening = if origin.proxied {
            router.read_behind_proxy(&scratch[..len], peer)
        } else {
            router.read(&scratch[..len], peer)
        };
        let request = match opening {
            Opening::Request(request) | Opening::NoHead { request, .. } => request,
            Opening::Partial if full => Request { peer, ..Request::default() },
            Opening::Partial => return Err(NoDecision::Partial(len)),
            Opening::NoProxyHeader(reason) => {
                count(&self.counters.dropped);
                sedge_log::warn_rarely!(
                    ?peer,
                    %reason,
                    "connections of a trusted proxy are closed: they begin with no PROXY header"
                );
                return Err(NoDecision::Unusable);
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
    ) -> Outcome {
        if let Some((len, client)) = proxy {
            // The header is for this supervisor; the worker is told the address instead.
            if take(&connection, len).is_err() {
                count(&self.counters.dropped);
                return Outcome::Settled;
            }
            connection.origin.peer = client.map(|client| SocketAddr::new(client, 0));
            // Should it come back, nothing that follows is taken for such a header.
            connection.origin.proxied = true;
        }
        loop {
            let Some(slot) = self.slots.get(route.target.slot()) else { return Outcome::Settled };
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
                    return Outcome::Settled;
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
                    return Outcome::Settled;
                }
                NotTaken::Full => self.update_availability(slot),
            }
            match self.look(&back, 0) {
                // The one that is full is all there is.
                Look::To(again, _) if again.target == route.target => {
                    self.refuse(back, self.settings.routing.retry_after);
                    return Outcome::Settled;
                }
                Look::To(other, _) => (connection, route) = (back, other),
                Look::NoTarget(retry_after) => return self.without_target(back, retry_after),
                Look::More(_) | Look::Unusable => return Outcome::Settled,
            }
        }
    }

    fn without_target(&self, connection: Accepted, retry_after: Duration) -> Outcome {
        let patient = connection.origin.at.elapsed() < self.settings.start_patience;
        if self.somebody_starts() && patient {
            return Outcome::NeedsWorker(connection);
        }
        self.refuse(connection, retry_after);
        Outcome::Settled
    }

    /// Lets the router know what a worker may be given, now that its state may have changed.
    pub(super) fn update_availability(&self, slot: &Slot) {
        let crowded = slot.passer.borrow().as_ref().map(|passer| passer.is_crowded());
        let standing = match (slot.state(), crowded) {
            (_, None) | (WorkerState::Killed, _) => Standing::Down,
            (WorkerState::Ready, Some(false)) => Standing::Up,
            (WorkerState::Suspect, Some(false)) => Standing::LastResort,
            // When the whole cluster ends, a worker can refuse a session better than anybody else.
            (WorkerState::Draining, Some(false)) if self.phase() == Phase::Draining => Standing::Up,
            _ => Standing::OwnSessions,
        };
        if slot.standing.replace(standing) == standing {
            return;
        }
        let somebody_is_up = self.slots.iter().any(|slot| slot.standing.get() == Standing::Up);
        let mut router = self.router.borrow_mut();
        for slot in &self.slots {
            let availability = match slot.standing.get() {
                Standing::Up => Availability::Up,
                Standing::LastResort if !somebody_is_up => Availability::Up,
                Standing::LastResort | Standing::OwnSessions => Availability::Draining,
                Standing::Down => Availability::Down,
            };
            router.set_availability(slot.target.get(), availability);
        }
    }

    /// Has a connection wait in a task of its own.
    fn wait(self: &Rc<Self>, outcome: Outcome) {
        if self.undecided.make_room() {
            count(&self.counters.displaced);
        }
        let number = self.undecided.next_number();
        let supervisor = Rc::clone(self);
        let task = tasks::undecided(async move {
            supervisor.decide_later(outcome).await;
            supervisor.undecided.remove(number);
        });
        // It has not run yet, so it cannot have removed itself.
        self.undecided.insert(number, task);
    }

    async fn decide_later(&self, mut outcome: Outcome) {
        loop {
            outcome = match outcome {
                Outcome::Settled => return,
                Outcome::NeedsBytes(connection, seen) => {
                    self.wait_for_bytes(connection, seen).await
                }
                Outcome::NeedsWorker(connection) => {
                    let patience = connection.origin.at + self.settings.start_patience;
                    let changed = self.changed.notified();
                    let _ = tokio::time::timeout_at(patience.into(), changed).await;
                    self.try_dispatch(connection, 0)
                }
            };
        }
    }

    async fn wait_for_bytes(&self, connection: Accepted, seen: usize) -> Outcome {
        let Accepted { socket, origin } = connection;
        let Ok(socket) = Watched::new(socket, Interest::READABLE) else {
            count(&self.counters.dropped);
            return Outcome::Settled;
        };
        let deadline = origin.at + self.settings.head_timeout;
        let enough = self.see_enough(&socket, &origin, seen);
        match tokio::time::timeout_at(deadline.into(), enough).await {
            Ok(true) => self.try_dispatch(Accepted { socket: socket.into_inner(), origin }, 0),
            Ok(false) => Outcome::Settled,
            Err(_) => {
                count(&self.counters.timed_out);
                Outcome::Settled
            }
        }
    }

    /// Waits until a decision is possible. False if it never will be.
    async fn see_enough(&self, socket: &Watched, origin: &Origin, mut seen: usize) -> bool {
        loop {
            let Ok((ready, mut guard)) = socket.readable().await else { return false };
            match self.examine(socket, origin, seen, |_, _| ()) {
                Ok(()) => return true,
                Err(NoDecision::Unusable) => return false,
                // Nothing more can come.
                Err(NoDecision::Partial(_)) if ready.is_read_closed() => return false,
                Err(NoDecision::Partial(len)) => seen = len,
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
