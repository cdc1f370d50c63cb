//! Where handlers are kept: erased, once per namespace for all threads, and again per shard.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Handler, HandlerRef};
use crate::core::stage::{
    Connect, Context, Disconnect, Event, HandlerFuture, Listener, LocalListener, Middleware,
    Registration, ServerSide, Stage,
};
use crate::error::ExtractError;

struct Erased<H, T> {
    handler: Arc<H>,
    arguments: PhantomData<fn(T)>,
}

struct LocalErased<H, T> {
    handler: HandlerRef<H>,
    arguments: PhantomData<fn(T)>,
}

/// Forgets the type of a handler.
pub(crate) fn erase<S: Stage, H: Handler<S, T>, T: 'static>(handler: H) -> Arc<dyn Listener<S>> {
    Arc::new(Erased { handler: Arc::new(handler), arguments: PhantomData::<fn(T)> })
}

impl<S: Stage, H: Handler<S, T>, T: 'static> Listener<S> for Erased<H, T> {
    fn localise(&self) -> Rc<dyn LocalListener<S>> {
        let handler = HandlerRef::new(Arc::clone(&self.handler));
        Rc::new(LocalErased { handler, arguments: PhantomData::<fn(T)> })
    }
}

impl<S: Stage, H: Handler<S, T>, T: 'static> LocalListener<S> for LocalErased<H, T> {
    fn call(&self, context: &Context<'_, S>) -> Result<HandlerFuture<S>, ExtractError> {
        H::call(self.handler.clone(), context)
    }
}

type List<S> = Vec<Rc<dyn LocalListener<S>>>;

/// The handlers of a namespace or of a single socket on one shard, in the order of registration.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) middlewares: List<Middleware>,
    pub(crate) connect: List<Connect>,
    pub(crate) any: List<Event>,
    pub(crate) fallback: List<Event>,
    pub(crate) disconnect: List<Disconnect>,
    events: HashMap<Box<str>, List<Event>, RandomState>,
    server_side: HashMap<Box<str>, List<ServerSide>, RandomState>,
}

impl Table {
    /// The table of a namespace.
    pub(crate) fn of(registrations: &[Registration]) -> Table {
        let mut table = Table::default();
        for registration in registrations {
            table.add(registration);
        }
        table
    }

    /// Adds a handler behind all others of its kind.
    pub(crate) fn add(&mut self, registration: &Registration) {
        match registration {
            Registration::Middleware(listener) => self.middlewares.push(listener.localise()),
            Registration::Connect(listener) => self.connect.push(listener.localise()),
            Registration::Event(name, listener) => {
                self.events.entry_ref(&**name).or_default().push(listener.localise());
            }
            Registration::AnyEvent(listener) => self.any.push(listener.localise()),
            Registration::Fallback(listener) => self.fallback.push(listener.localise()),
            Registration::Disconnect(listener) => self.disconnect.push(listener.localise()),
            Registration::ServerSide(name, listener) => {
                self.server_side.entry_ref(&**name).or_default().push(listener.localise());
            }
        }
    }

    /// The handlers of one event that other processes send.
    pub(crate) fn server_side(&self, name: &str) -> &[Rc<dyn LocalListener<ServerSide>>] {
        self.server_side.get(name).map_or(&[], Vec::as_slice)
    }

    /// The handlers of one event.
    pub(crate) fn event(&self, name: &str) -> &[Rc<dyn LocalListener<Event>>] {
        self.events.get(name).map_or(&[], Vec::as_slice)
    }
}
