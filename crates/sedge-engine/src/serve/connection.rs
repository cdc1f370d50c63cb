//! One HTTP connection on its shard, from its beginning until it ends, becomes a WebSocket or moves away.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONNECTION;
use tokio::time::Instant;

use super::hyper::{self, End};
use super::native::{Next, Step, Writing, closes};
use crate::application::Application;
use crate::config::Local;
use crate::exchange::handling::{Handled, Later};
use crate::exchange::posting::Posting;
use crate::exchange::siblings::Place;
use crate::http::answer::{Answer, no_request};
use crate::http::encode::encode;
use crate::http::peer::Peer;
use crate::net::io::{Detached, Io};
use crate::net::pace::Alarm;
use crate::net::passed::Passed;
use crate::shard::Shard;
use crate::worker::Worker;
use crate::worker::command::Upgraded;
use crate::worker::listen::ListenerContext;

/// A connection. There is one for each polling client, so its size counts.
pub(super) struct Connection<A: Application> {
    pub(super) worker: Rc<Worker<A>>,
    pub(super) context: Arc<ListenerContext>,
    pub(super) io: Io,
    pub(super) peer: Peer,
    /// What was read and is not part of a request yet. An idle connection holds no buffer.
    pub(super) unread: Vec<u8>,
    pub(super) alarm: Alarm,
    /// For the next head, or the first byte of it.
    pub(super) deadline: Instant,
    /// The next request is answered here, wherever its session lives: it could not be moved.
    pub(super) stays: bool,
    /// The other side sends nothing more, but still takes an answer.
    pub(super) half_closed: bool,
    pub(super) counted: Counted,
}

/// A connection that the shard has, until this is dropped: however it ends, it is not counted any more.
pub(super) struct Counted(Shard);

impl Counted {
    pub(super) fn new(shard: &Shard) -> Counted {
        shard.0.metrics.connections_http.add(1);
        Counted(shard.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.metrics.connections_http.sub(1);
    }
}

/// The task of a connection. It is written as a value, since the future that the compiler would make of it
/// has room for everything that a connection may ever do.
pub(super) struct ConnectionTask<A: Application> {
    /// `None` while it is lent.
    connection: Option<Connection<A>>,
    doing: Doing<A>,
}

/// What a connection is waiting for.
enum Doing<A: Application> {
    /// The next request.
    Reading,
    /// An answer. The flag says whether the connection ends with it.
    Answering(Later<A>, bool),
    /// Its client, who has to take the answer.
    Writing(Box<Writing>, bool),
    /// Something that is large and rare and has the connection.
    Lent(Pin<Box<dyn Future<Output = Option<Returned<A>>>>>),
}

/// A connection that comes back.
enum Returned<A: Application> {
    /// With nothing to answer.
    Idle(Connection<A>),
    /// With a request under way, and whether it is the last.
    Handled(Connection<A>, Handled<A>, bool),
}

impl<A: Application> Future for ConnectionTask<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if let Doing::Lent(future) = &mut this.doing {
                let Some(returned) = ready!(future.as_mut().poll(cx)) else {
                    return Poll::Ready(());
                };
                this.take_back(cx, returned);
                continue;
            }
            let Some(connection) = &mut this.connection else { return Poll::Ready(()) };
            match &mut this.doing {
                Doing::Reading => {
                    let Ok(next) = ready!(connection.poll_next(cx)) else {
                        return Poll::Ready(());
                    };
                    this.start(cx, next);
                }
                Doing::Answering(later, last) => {
                    let last = *last;
                    let Some(answer) = ready!(connection.poll_answer(cx, later)) else {
                        return Poll::Ready(());
                    };
                    this.answer(cx, answer, last);
                }
                Doing::Writing(writing, last) => {
                    let last = *last;
                    if ready!(connection.poll_write(cx, writing)).is_err() {
                        return Poll::Ready(());
                    }
                    this.answered(last);
                }
                Doing::Lent(_) => {}
            }
        }
    }
}

impl<A: Application> ConnectionTask<A> {
    pub(super) fn new(connection: Connection<A>) -> ConnectionTask<A> {
        ConnectionTask { connection: Some(connection), doing: Doing::Reading }
    }

    /// Begins to do what the client wants next.
    fn start(&mut self, cx: &mut Context<'_>, next: Next) {
        let Some(connection) = &mut self.connection else { return };
        match next {
            Next::Request(request) => {
                let (missing, last) = (request.missing, request.last);
                match connection.begin(request) {
                    // What is missing of it will not be read.
                    Step::Answered(answer) => self.answer(cx, answer, last || missing > 0),
                    Step::Later(later) => self.doing = Doing::Answering(later, last || missing > 0),
                    Step::Body(posting, begun) => {
                        self.lend(|connection| connection.take_body(posting, begun, missing, last));
                    }
                }
            }
            Next::Refused(reason) => self.answer(cx, no_request(reason), true),
            Next::Elsewhere(Place::Sibling(owner)) => {
                self.lend(|connection| connection.pass(owner));
            }
            Next::Elsewhere(Place::Shard(shard)) => {
                let moved = self.connection.take().and_then(|connection| connection.move_to(shard));
                self.connection = moved;
            }
            Next::Other | Next::Partial | Next::Elsewhere(Place::Here) => {
                self.lend(Connection::serve_by_hyper);
            }
        }
    }

    /// Boxes something that is large and rare and needs the connection.
    fn lend<F>(&mut self, to: impl FnOnce(Connection<A>) -> F)
    where
        F: Future<Output = Option<Returned<A>>> + 'static,
    {
        if let Some(connection) = self.connection.take() {
            self.doing = Doing::Lent(Box::pin(to(connection)));
        }
    }

    fn take_back(&mut self, cx: &mut Context<'_>, returned: Returned<A>) {
        self.doing = Doing::Reading;
        match returned {
            Returned::Idle(connection) => self.connection = Some(connection),
            Returned::Handled(connection, handled, last) => {
                self.connection = Some(connection);
                match handled {
                    Handled::Answered(answer) => self.answer(cx, answer, last),
                    Handled::Later(later) => self.doing = Doing::Answering(later, last),
                }
            }
        }
    }

    /// Writes an answer, as far as that can be done at once.
    fn answer(&mut self, cx: &mut Context<'_>, mut answer: Answer, last: bool) {
        let Some(connection) = &mut self.connection else { return };
        if answer.ticket.is_some() {
            return self.upgrade(answer);
        }
        let says_so = closes(&answer);
        if last && !says_so {
            answer.headers.append(CONNECTION, HeaderValue::from_static("close"));
        }
        let last = last || says_so;
        let mut writing = Writing::new(answer);
        match connection.poll_write(cx, &mut writing) {
            Poll::Ready(Ok(())) => self.answered(last),
            Poll::Ready(Err(_)) => self.connection = None,
            Poll::Pending => self.doing = Doing::Writing(Box::new(writing), last),
        }
    }

    fn answered(&mut self, last: bool) {
        self.doing = Doing::Reading;
        if last {
            self.lend(async |connection| {
                hyper::end(connection.io).await;
                None
            });
        }
    }

    /// The connection is a WebSocket, once this answer is written.
    fn upgrade(&mut self, mut answer: Answer) {
        let (Some(connection), Some(ticket)) = (self.connection.take(), answer.ticket.take())
        else {
            return;
        };
        let Connection { worker, io, unread, counted, .. } = connection;
        drop(counted);
        let answer = encode(&answer).into();
        worker.settle(Upgraded { ticket, io, answer, early: unread.into() });
    }
}

impl<A: Application> Connection<A> {
    /// `read` is what was read from it already.
    pub(super) fn new(
        worker: Rc<Worker<A>>,
        counted: Counted,
        io: Io,
        peer: Peer,
        read: Bytes,
        context: Arc<ListenerContext>,
    ) -> Connection<A> {
        let deadline = Instant::now() + worker.shard.0.config.local.head_timeout;
        let (unread, alarm) = (read.into(), Alarm::default());
        let (stays, half_closed) = (false, false);
        Connection {
            worker,
            context,
            io,
            peer,
            unread,
            alarm,
            deadline,
            stays,
            half_closed,
            counted,
        }
    }

    pub(super) fn local(&self) -> &Local {
        &self.worker.shard.0.config.local
    }

    /// Whether the connection can move to another shard. The stream of a TLS connection stays where it is.
    pub(super) fn can_move(&self) -> bool {
        !self.stays && !matches!(self.io, Io::Other(_))
    }

    async fn take_body(
        mut self,
        posting: Posting<A>,
        begun: Bytes,
        missing: usize,
        last: bool,
    ) -> Option<Returned<A>> {
        let (handled, whole) = self.read_body(posting, begun, missing).await;
        Some(Returned::Handled(self, handled, last || !whole))
    }

    /// Has hyper answer what is read next. Returns the connection if there may be more.
    async fn serve_by_hyper(self) -> Option<Returned<A>> {
        let Connection { worker, context, io, peer, unread, counted, .. } = self;
        match hyper::serve(&worker, io, unread.into(), peer, &context).await {
            End::Gone => None,
            End::Upgraded(upgraded) => {
                drop(counted);
                worker.settle(upgraded);
                None
            }
            End::Answered(io, read) => {
                let mut connection = Connection::new(worker, counted, io, peer, read, context);
                if connection.unread.is_empty() {
                    connection.deadline = Instant::now() + connection.local().keep_alive_timeout;
                }
                Some(Returned::Idle(connection))
            }
        }
    }

    /// Passes the connection to a sibling. It comes back if the sibling does not take it.
    async fn pass(self, owner: u8) -> Option<Returned<A>> {
        let Connection { worker, context, io, peer, unread, counted, .. } = self;
        match worker.pass(owner, io, peer, unread.into()).await {
            Ok(()) | Err(None) => None,
            // The client is told why: hyper's way tries once more and answers.
            Err(Some((io, read))) => {
                let connection = Connection::new(worker, counted, io, peer, read, context);
                connection.serve_by_hyper().await
            }
        }
    }

    /// Moves the connection to the shard of its session, where all of the session's requests are then read by
    /// one thread. It comes back if that shard's queue is full.
    fn move_to(self, shard: usize) -> Option<Self> {
        let Connection { worker, context, io, peer, unread, counted, .. } = self;
        let Ok(Detached::Socket(stream)) = io.detach() else { return None };
        let (address, secure, read) = (peer.address, peer.secure, unread.into());
        let passed = Passed { stream, peer: address, secure, read };
        let back = worker.shards.get(shard)?.accept(passed, &context).err()?;
        let io = back.stream.attach().ok()?;
        let mut connection = Connection::new(worker, counted, io, peer, back.read, context);
        connection.stays = true;
        Some(connection)
    }
}
