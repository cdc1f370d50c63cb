//! Waiting for a client's acknowledgement.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sedge_protocol::socketio::{Args, ArgsError};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::error::{AckError, EmitError};

/// What an acknowledgement can be read as: any type that arguments can be read as (a tuple or an array takes
/// the list, any other type the first argument), or [`extract::Args`](crate::extract::Args) for
/// the list as it came.
pub trait FromAck: Sized {
    /// Reads it.
    #[doc(hidden)]
    fn from_ack(args: Args<'static>) -> Result<Self, ArgsError>;
}

impl<T: DeserializeOwned> FromAck for T {
    fn from_ack(args: Args<'static>) -> Result<Self, ArgsError> {
        args.decode()
    }
}

/// A future of one client's acknowledgement, as `R`.
///
/// The event has been sent when this is made. A time limit counts from then on, and needs a tokio
/// runtime with its timer enabled.
#[must_use = "to send without waiting for the acknowledgement there is `emit`"]
pub struct AckFuture<R> {
    awaited: Awaited,
    deadline: Deadline,
    result: PhantomData<fn() -> R>,
}

enum Awaited {
    Waiting(oneshot::Receiver<Args<'static>>),
    Failed(Option<EmitError>),
}

impl<R> AckFuture<R> {
    pub(super) fn new(
        asked: Result<oneshot::Receiver<Args<'static>>, EmitError>,
        timeout: Option<Duration>,
    ) -> Self {
        let awaited = match asked {
            Ok(answer) => Awaited::Waiting(answer),
            Err(error) => Awaited::Failed(Some(error)),
        };
        AckFuture { awaited, deadline: Deadline::after(timeout), result: PhantomData }
    }
}

impl<R: FromAck> Future for AckFuture<R> {
    type Output = Result<R, AckError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answer = match &mut this.awaited {
            Awaited::Waiting(answer) => answer,
            Awaited::Failed(error) => {
                let error = error.take().unwrap_or(EmitError::NotConnected);
                return Poll::Ready(Err(error.into()));
            }
        };
        if let Poll::Ready(answer) = Pin::new(answer).poll(cx) {
            // The shard drops the other end when the socket goes.
            let args = answer.map_err(|_| AckError::Disconnected)?;
            return Poll::Ready(Ok(R::from_ack(args)?));
        }
        ready!(this.deadline.poll(cx));
        Poll::Ready(Err(AckError::Timeout))
    }
}

impl<R> fmt::Debug for AckFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sedge_protocol::socketio::Value;

    fn answered(values: Vec<Value>) -> oneshot::Receiver<Args<'static>> {
        let (reply, answer) = oneshot::channel();
        assert!(reply.send(Args::from_values(values)).is_ok());
        answer
    }

    #[tokio::test]
    async fn an_answer_is_decoded_like_arguments() {
        let values = vec![Value::from(1), Value::from("a")];
        let pair = AckFuture::<(i64, String)>::new(Ok(answered(values.clone())), None).await;
        assert_eq!(pair, Ok((1, "a".to_owned())));
        let first = AckFuture::<i64>::new(Ok(answered(values)), None).await;
        assert_eq!(first, Ok(1));
    }

    #[tokio::test]
    async fn an_answer_of_another_type_is_an_error() {
        let answer = AckFuture::<String>::new(Ok(answered(vec![Value::from(1)])), None).await;
        assert!(matches!(answer, Err(AckError::Decode(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_runs_into_the_time_limit() {
        let (_reply, answer) = oneshot::channel();
        let waiting = AckFuture::<()>::new(Ok(answer), Some(Duration::from_secs(1)));
        assert_eq!(waiting.await, Err(AckError::Timeout));
    }

    #[tokio::test]
    async fn the_end_of_the_socket_ends_the_waiting() {
        let (reply, answer) = oneshot::channel();
        drop(reply);
        assert_eq!(AckFuture::<()>::new(Ok(answer), None).await, Err(AckError::Disconnected));
        let failed = AckFuture::<()>::new(Err(EmitError::NotConnected), None).await;
        assert_eq!(failed, Err(AckError::Emit(EmitError::NotConnected)));
    }
}
