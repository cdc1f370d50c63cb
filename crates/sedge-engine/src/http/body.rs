//! Request and response bodies: one kind each, whatever the connection they belong to.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use crate::net::pace::{Alarm, Pace, PaceLimit};

/// Whatever went wrong in a body that is not the engine's.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The body of a request.
pub enum RequestBody {
    /// All of it, or nothing any more.
    Full(Option<Bytes>),
    /// From one of the engine's own listeners, as it comes.
    Incoming(Incoming),
    /// From another server, through the tower service.
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

/// The body of a response.
pub enum ResponseBody {
    /// All of it, or nothing any more.
    Full(Option<Bytes>),
    /// A stream, from the application behind the engine.
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

impl RequestBody {
    /// Boxes a body of another server.
    pub fn boxed<B>(body: B) -> RequestBody
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        RequestBody::Boxed(body.map_err(Into::into).boxed_unsync())
    }
}

impl ResponseBody {
    /// A body that is there already.
    pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
        ResponseBody::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    /// No body.
    pub fn empty() -> ResponseBody {
        ResponseBody::Full(None)
    }

    /// Boxes a body of another service.
    pub fn boxed<B>(body: B) -> ResponseBody
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        ResponseBody::Boxed(body.map_err(Into::into).boxed_unsync())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            RequestBody::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            RequestBody::Incoming(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|f| f.map_err(Into::into)))
            }
            RequestBody::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Full(bytes) => bytes.is_none(),
            RequestBody::Incoming(body) => body.is_end_stream(),
            RequestBody::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Full(bytes) => exactly(bytes.as_ref()),
            RequestBody::Incoming(body) => body.size_hint(),
            RequestBody::Boxed(body) => body.size_hint(),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            ResponseBody::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            ResponseBody::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Full(bytes) => bytes.is_none(),
            ResponseBody::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Full(bytes) => exactly(bytes.as_ref()),
            ResponseBody::Boxed(body) => body.size_hint(),
        }
    }
}

fn exactly(bytes: Option<&Bytes>) -> SizeHint {
    SizeHint::with_exact(bytes.map_or(0, |bytes| bytes.len() as u64))
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// More bytes than allowed, announced or sent.
    TooLarge,
    /// The connection broke, or the framing of the body did.
    Broken,
    /// It fell behind the least rate.
    TooSlow,
}

/// Reads a whole body, at most `limit` bytes, at no less than this pace.
pub(crate) async fn read(
    body: RequestBody,
    limit: usize,
    pace: PaceLimit,
) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    if let RequestBody::Full(bytes) = body {
        return Ok(bytes.unwrap_or_default());
    }
    let (first, rest) = (Bytes::new(), BytesMut::new());
    let mut reading = Reading { body, limit, first, rest, pace: Pace::new() };
    let mut alarm = Alarm::default();
    poll_fn(|cx| {
        if let Poll::Ready(result) = Pin::new(&mut reading).poll(cx) {
            return Poll::Ready(result);
        }
        alarm.poll(cx, reading.pace.deadline(pace)).map(|()| Err(BodyError::TooSlow))
    })
    .await
}

/// A body on its way in.
struct Reading {
    body: RequestBody,
    limit: usize,
    /// The only piece of most bodies is not copied.
    first: Bytes,
    rest: BytesMut,
    pace: Pace,
}

impl Future for Reading {
    type Output = Result<Bytes, BodyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            let Ok(frame) = frame else { return Poll::Ready(Err(BodyError::Broken)) };
            let Ok(data) = frame.into_data() else { continue };
            if this.first.len() + this.rest.len() + data.len() > this.limit {
                return Poll::Ready(Err(BodyError::TooLarge));
            }
            this.pace.advance(data.len());
            if this.first.is_empty() && this.rest.is_empty() {
                this.first = data;
                continue;
            }
            this.rest.extend_from_slice(&std::mem::take(&mut this.first));
            this.rest.extend_from_slice(&data);
        }
        let (first, rest) = (std::mem::take(&mut this.first), std::mem::take(&mut this.rest));
        Poll::Ready(Ok(if rest.is_empty() { first } else { rest.freeze() }))
    }
}
