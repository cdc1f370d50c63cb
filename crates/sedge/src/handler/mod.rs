//! Handlers: async functions and closures whose arguments are extractors.
//!
//! A handler is erased into a [`Listener`](crate::core::stage::Listener), which every shard turns into a
//! local copy of its own, so that calling it touches no counter that another thread touches too.

pub(crate) mod from_context;
pub(crate) mod listener;

use std::fmt::Display;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::core::stage::{Context, HandlerFuture, Stage};
use crate::error::{ConnectError, ExtractError, Failure};
use from_context::FromContext;

/// An async function or closure with up to eight extractors as arguments.
///
/// You do not implement this: write an `async` closure or function instead.
///
/// ```
/// # use sedge::{Server, Socket, extract::{Ack, Data}};
/// # fn f(io: Server) {
/// io.on("add", async |Data((a, b)): Data<(i64, i64)>, ack: Ack| {
///     let _ = ack.send(&(a + b));
/// });
/// # }
/// ```
///
/// Every argument has to be an extractor ([`crate::extract`]); a bare type is not one:
///
/// ```compile_fail,E0277
/// # use sedge::Server;
/// # fn f(io: Server) {
/// io.on("add", async |text: String| {}); // write `Data(text): Data<String>`
/// # }
/// ```
///
/// The closure itself has to be `async`:
///
/// ```compile_fail
/// # use sedge::{Server, Socket};
/// # fn f(io: Server) {
/// io.on("add", |socket: Socket| {}); // write `async |socket: Socket| {}`
/// # }
/// ```
///
/// And what there is to extract depends on the occasion: there is no `Data` when a socket connects.
///
/// ```compile_fail,E0277
/// # use sedge::{Server, extract::Data};
/// # fn f(io: Server) {
/// io.on_connect(async |Data(text): Data<String>| {}); // write `Auth(text): Auth<String>`
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "this is not a handler",
    label = "not an async closure or function whose arguments are all extractors",
    note = "a handler is `async |socket: Socket, Data(value): Data<T>| {{ ... }}`: the closure itself is `async`, \
            and each of its arguments, at most 8, is an extractor of `sedge::extract` that exists on this occasion",
    note = "it returns nothing or `Result<(), E>` with a displayable `E`; a middleware returns `Result<(), E>` \
            with `E: Into<ConnectError>`",
    note = "what it captures must be `Send + Sync + 'static`"
)]
pub trait Handler<S: Stage, T>: Send + Sync + Sized + 'static {
    /// Makes the arguments and the future of one call.
    #[doc(hidden)]
    fn call(
        this: HandlerRef<Self>,
        context: &Context<'_, S>,
    ) -> Result<Pin<Box<dyn Future<Output = S::Outcome>>>, ExtractError>;
}

/// A shard's own reference to a handler, which keeps it alive while a call is under way. Counting
/// is local to the thread.
#[doc(hidden)]
#[derive(Debug)]
#[expect(clippy::redundant_allocation, reason = "the outer count is this thread's own")]
pub struct HandlerRef<H>(Rc<Arc<H>>);

impl<H> HandlerRef<H> {
    pub(crate) fn new(handler: Arc<H>) -> Self {
        HandlerRef(Rc::new(handler))
    }
}

impl<H> Clone for HandlerRef<H> {
    fn clone(&self) -> Self {
        HandlerRef(Rc::clone(&self.0))
    }
}

impl<H> Deref for HandlerRef<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.0
    }
}

/// What a handler may return: nothing or `Result<(), E>`, where a middleware's `E` becomes the
/// client's `connect_error`, and any other handler's is logged and counted.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "return nothing or `Result<(), E>` with a displayable `E`; a middleware returns `Result<(), E>` \
            with `E: Into<ConnectError>`"
)]
pub trait HandlerOutput<O> {
    /// Converts it.
    #[doc(hidden)]
    fn into_outcome(self) -> O;
}

impl HandlerOutput<Result<(), Failure>> for () {
    fn into_outcome(self) -> Result<(), Failure> {
        Ok(())
    }
}

impl<E: Display + 'static> HandlerOutput<Result<(), Failure>> for Result<(), E> {
    fn into_outcome(self) -> Result<(), Failure> {
        self.map_err(Failure::new)
    }
}

impl<E: Into<ConnectError>> HandlerOutput<Result<(), ConnectError>> for Result<(), E> {
    fn into_outcome(self) -> Result<(), ConnectError> {
        self.map_err(Into::into)
    }
}

macro_rules! impl_handler {
    ($($argument:ident),*) => {
        impl<F, R, S, $($argument,)*> Handler<S, (R, $($argument,)*)> for F
        where
            F: AsyncFn($($argument),*) -> R + Send + Sync + 'static,
            S: Stage,
            R: HandlerOutput<S::Outcome> + 'static,
            $($argument: FromContext<S> + 'static,)*
        {
            #[allow(non_snake_case, unused_variables)]
            fn call(this: HandlerRef<Self>, context: &Context<'_, S>) -> Result<HandlerFuture<S>, ExtractError> {
                $(let $argument = $argument::from_context(context)?;)*
                Ok(Box::pin(async move { (*this)($($argument),*).await.into_outcome() }))
            }
        }
    };
}

impl_handler!();
impl_handler!(A1);
impl_handler!(A1, A2);
impl_handler!(A1, A2, A3);
impl_handler!(A1, A2, A3, A4);
impl_handler!(A1, A2, A3, A4, A5);
impl_handler!(A1, A2, A3, A4, A5, A6);
impl_handler!(A1, A2, A3, A4, A5, A6, A7);
impl_handler!(A1, A2, A3, A4, A5, A6, A7, A8);
