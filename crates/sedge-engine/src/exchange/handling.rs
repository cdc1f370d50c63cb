//! What becomes of a request. Most are answered as soon as they are read; what has to wait is kept small,
//! since a server has a waiting request for every polling client.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::answers::panicked;
use super::polling::Waiting;
use super::posting::Posting;
use crate::application::Application;
use crate::http::answer::Answer;
use crate::http::body::{self, RequestBody};
use crate::http::head::Head;
use crate::http::peer::Peer;
use crate::panics;
use crate::worker::Worker;

/// A request of which the head has been looked at.
pub(crate) enum Begun<A: Application> {
    Handled(Handled<A>),
    /// A POST, which needs its body.
    Post(Posting<A>, RequestBody),
}

/// A request of which nothing is awaited any more.
pub(crate) enum Handled<A: Application> {
    Answered(Answer),
    Later(Later<A>),
}

/// An answer that is still to come. Dropping this is how it is known that the client has gone.
pub(crate) enum Later<A: Application> {
    /// A GET waits for packets.
    Poll(Waiting<A>),
    /// Anything else. Boxed because it is large and rare.
    Other(Pin<Box<dyn Future<Output = Answer>>>),
}

impl<A: Application> Handled<A> {
    pub(crate) fn later(answer: impl Future<Output = Answer> + 'static) -> Handled<A> {
        Handled::Later(Later::Other(Box::pin(answer)))
    }

    pub(crate) async fn answer(self) -> Answer {
        match self {
            Handled::Answered(answer) => answer,
            Handled::Later(later) => later.await,
        }
    }
}

impl<A: Application> From<Answer> for Handled<A> {
    fn from(answer: Answer) -> Handled<A> {
        Handled::Answered(answer)
    }
}

impl<A: Application> Future for Later<A> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let answer = match self.get_mut() {
            Later::Poll(waiting) => panics::poll(Pin::new(waiting), cx),
            Later::Other(other) => panics::poll(other.as_mut(), cx),
        };
        answer.map(|answer| answer.unwrap_or_else(|words| panicked(&words)))
    }
}

impl<A: Application> Worker<A> {
    /// As [`begin`](Self::begin). A hook of the application that panics costs this request only.
    pub(crate) fn begin_safely(
        self: &Rc<Self>,
        head: Head,
        body: RequestBody,
        peer: Peer,
    ) -> Begun<A> {
        panics::catch(|| self.begin(head, body, peer))
            .unwrap_or_else(|words| Begun::Handled(panicked(&words).into()))
    }

    /// Answers a request for the engine's path, however long it takes.
    pub(crate) async fn handle(
        self: Rc<Self>,
        head: Head,
        body: RequestBody,
        peer: Peer,
    ) -> Answer {
        match self.begin_safely(head, body, peer) {
            Begun::Handled(handled) => handled.answer().await,
            Begun::Post(posting, body) => {
                let pace = self.shard.0.config.local.pace();
                let body = body::read(body, posting.limit(), pace).await;
                posting.finish_safely(body).answer().await
            }
        }
    }
}
