//! The handle on a shard that its application and its tasks have.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use sedge_protocol::engine::Version;
use sedge_protocol::engine::session::{Input, Time};
use sedge_protocol::sid::{RANDOM_BYTES, SessionId, SidCodec};
use sedge_protocol::ws::ReadScratch;

use super::conn;
use super::env::Env;
use super::frames::SharedMessage;
use super::metrics::ShardMetrics;
use super::random::RandomPool;
use super::state::State;
use crate::application::{Message, SendOptions, Sent, SessionKey, Transport};
use crate::config::Config;
use crate::limits::READ_BUFFER;
use crate::tasks;

/// The application's handle on its own shard: cheap to clone, bound to the shard's thread.
///
/// No method blocks or calls the application back.
#[derive(Clone)]
pub struct Shard(pub(crate) Rc<ShardInner>);

pub(crate) struct ShardInner {
    pub(crate) env: Env,
    pub(crate) state: RefCell<State>,
    /// No new sessions are taken: the engine is being closed.
    pub(crate) closing: Cell<bool>,
    pub(crate) driver_waker: RefCell<Option<Waker>>,
    driver_awake: Cell<bool>,
    random: RefCell<RandomPool>,
    scratch: RefCell<Option<Scratch>>,
}

/// What surrounds the state can be read wherever the shard can.
impl Deref for ShardInner {
    type Target = Env;

    fn deref(&self) -> &Env {
        &self.env
    }
}

/// Buffers that one thread needs one of.
pub(crate) struct Scratch {
    pub(crate) read: Box<[u8]>,
    pub(crate) message: ReadScratch,
}

impl Shard {
    pub(crate) fn new(
        index: usize,
        config: Arc<Config>,
        codec: SidCodec,
        metrics: Arc<ShardMetrics>,
    ) -> Shard {
        Shard(Rc::new(ShardInner {
            state: RefCell::new(State::new(&config)),
            env: Env::new(index, config, codec, metrics),
            closing: Cell::new(false),
            driver_waker: RefCell::new(None),
            driver_awake: Cell::new(false),
            random: RefCell::new(RandomPool::default()),
            scratch: RefCell::new(None),
        }))
    }

    /// The shard's number among those of its engine.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// Queues messages for a session: all of them, in order, or none.
    pub fn send<'a>(
        &self,
        session: SessionKey,
        messages: impl IntoIterator<Item = Message<'a>>,
        options: SendOptions,
    ) -> Sent {
        self.with_state(|state, inner| state.send(inner, session, messages, options))
    }

    /// Queues a message that many sessions get. This is the hot path of broadcasts.
    pub fn send_shared(
        &self,
        session: SessionKey,
        message: &SharedMessage,
        options: SendOptions,
    ) -> Sent {
        self.with_state(|state, inner| state.send_shared(inner, session, message, options))
    }

    /// Closes a session: what is queued is still delivered, as far as the transport allows.
    /// [`Application::on_close`](crate::Application::on_close) is not called for it.
    pub fn close(&self, session: SessionKey) {
        let now = self.now();
        self.with_state(|state, inner| {
            if let Some(conn) = state.conn(session) {
                conn.told = false;
                let drained = conn.outbox.is_empty();
                state.input(inner, now, session, Input::Close { drained });
            }
        });
    }

    /// The transport that carries a session, or `None` if it has ended.
    pub fn transport(&self, session: SessionKey) -> Option<Transport> {
        self.0.state.borrow_mut().conn(session).map(|conn| conn.transport())
    }

    /// The Engine.IO version a session speaks.
    pub fn version(&self, session: SessionKey) -> Option<Version> {
        self.0.state.borrow_mut().conn(session).map(|conn| conn.dialect.version)
    }

    /// The session's id. It is a secret between the server and this client.
    pub fn sid(&self, session: SessionKey) -> Option<SessionId> {
        self.0.state.borrow_mut().conn(session).map(|conn| conn.sid)
    }

    /// Calls [`Application::on_timer`](crate::Application::on_timer) with this number after at least
    /// this long, with a precision of some 20 ms. Cheap enough for a timer per session.
    pub fn set_timer(&self, after: Duration, timer: u64) {
        let at = Time(self.now().0 + u64::try_from(after.as_millis()).unwrap_or(u64::MAX / 2));
        self.with_state(|state, _| state.set_timer(at, timer));
    }

    /// Stops reading from the session's client until [`release`](Shard::release) has been called as
    /// often: TCP then slows the client down. What was read together with the last message is still
    /// handled if it came on a WebSocket. A POST body is still read, but its packets wait.
    pub fn hold(&self, session: SessionKey) {
        if let Some(conn) = self.0.state.borrow_mut().conn(session) {
            conn.holds = conn.holds.saturating_add(1);
        }
    }

    /// Takes back one [`hold`](Shard::hold).
    pub fn release(&self, session: SessionKey) {
        if let Some(conn) = self.0.state.borrow_mut().conn(session) {
            conn.holds = conn.holds.saturating_sub(1);
            if conn.holds == 0 {
                if let conn::Carrier::WebSocket(websocket) = &conn.carrier
                    && let Some(waker) = &websocket.waker
                {
                    waker.wake_by_ref();
                }
                if let Some(waker) = conn.held.take() {
                    waker.wake();
                }
            }
        }
    }

    /// Whether reading from the session is on hold.
    pub(crate) fn is_held(&self, session: SessionKey) -> bool {
        self.0.state.borrow_mut().conn(session).is_some_and(|conn| conn.holds > 0)
    }

    /// Waits until nothing holds the session, at most this long.
    pub(crate) async fn released(&self, session: SessionKey, at_most: Duration) {
        let released = poll_fn(|cx| {
            match self.0.state.borrow_mut().conn(session).filter(|conn| conn.holds > 0) {
                Some(conn) => {
                    conn.held = Some(Box::new(cx.waker().clone()));
                    Poll::Pending
                }
                None => Poll::Ready(()),
            }
        });
        let _ = tokio::time::timeout(at_most, released).await;
    }

    /// Random bytes from the operating system's generator, drawn in bulk.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        self.0.random.borrow_mut().take()
    }

    /// Runs a future on this shard's thread.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        tasks::application(future);
    }

    /// The number of open sessions on this shard.
    pub fn session_count(&self) -> usize {
        self.0.state.borrow().len()
    }

    pub(crate) fn now(&self) -> Time {
        self.0.now()
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.0.instant(time)
    }

    /// A new session id that leads back to this shard.
    pub(crate) fn new_sid(&self) -> SessionId {
        let owner = self.0.config.owner(self.0.index as u8);
        loop {
            let sid = self.0.codec.encode(owner, self.random::<RANDOM_BYTES>());
            if self.0.state.borrow().find(&sid).is_none() {
                return sid;
            }
        }
    }

    /// Changes the state and wakes the driver if there is something for it to do.
    pub(crate) fn with_state<R>(&self, change: impl FnOnce(&mut State, &Env) -> R) -> R {
        let mut state = self.0.state.borrow_mut();
        let result = change(&mut state, &self.0.env);
        if state.wants_driver() && !self.0.driver_awake.replace(true) {
            drop(state);
            if let Some(waker) = &*self.0.driver_waker.borrow() {
                waker.wake_by_ref();
            }
        }
        result
    }

    /// From here on, a change wakes the driver again.
    pub(crate) fn driver_rests(&self) {
        self.0.driver_awake.set(false);
    }

    /// Lends the thread's buffers. A nested call (a task polled inside another) makes new ones.
    pub(crate) fn take_scratch(&self) -> Scratch {
        self.0.scratch.borrow_mut().take().unwrap_or_else(|| Scratch {
            read: vec![0; READ_BUFFER].into_boxed_slice(),
            message: ReadScratch::default(),
        })
    }

    pub(crate) fn return_scratch(&self, scratch: Scratch) {
        *self.0.scratch.borrow_mut() = Some(scratch);
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("index", &self.0.index).finish_non_exhaustive()
    }
}
