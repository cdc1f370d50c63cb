//! Connections that move between the worker processes of a host.
//!
//! A session id says which worker owns the session. A worker that reads a request for a sibling's
//! session passes the connection on, with what it has read; the sibling serves it from there on, and
//! passes it on in its turn. What cannot be passed, such as a TLS connection, stays where it is, and
//! the sibling is given one end of a socket pair in its place.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode, Version};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use sedge_protocol::request::Parameter;
use sedge_protocol::sid::SessionId;

use crate::application::Application;
use crate::hooks::ErrorContext;
use crate::http::answer::{Answer, Headers};
use crate::http::body::RequestBody;
use crate::http::head::Head;
use crate::http::peer::Peer;
use crate::http::ticket::Ticket;
use crate::net::io::{Detached, Io, PassedStream};
use crate::net::passed::{NotPassed, Passed};
use crate::tasks;
use crate::worker::Worker;
use crate::worker::relay::Relay;
use crate::worker::tunnel::Tunnel;

/// Where on this host a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this shard; or nowhere, which is for this shard to say.
    Here,
    Shard(usize),
    /// In another worker process.
    Sibling(u8),
}

impl<A: Application> Worker<A> {
    /// Where a session lives.
    pub(crate) fn place_of(&self, sid: Parameter<'_>) -> Place {
        let inner = &self.shard.0;
        let local = &inner.config.local;
        if self.shards.len() == 1 && local.siblings.is_none() {
            return Place::Here;
        }
        let sid = sid.value().and_then(|sid| SessionId::parse(sid.as_bytes()));
        let Some(owner) = sid.and_then(|sid| inner.codec.decode(&sid)) else { return Place::Here };
        if let Some(sibling) = self.sibling_of(owner) {
            return Place::Sibling(sibling);
        }
        let shard = usize::from(owner.shard);
        let is_here = owner.node == local.node && owner.worker == local.worker;
        if is_here && shard != inner.index && shard < self.shards.len() {
            Place::Shard(shard)
        } else {
            Place::Here
        }
    }

    /// The worker of this host that an owner names, if it is another one that can be reached.
    pub(crate) fn sibling_of(&self, owner: sedge_protocol::sid::Owner) -> Option<u8> {
        let local = &self.shard.0.config.local;
        let is_sibling = owner.node == local.node && owner.worker != local.worker;
        (is_sibling && local.siblings.is_some()).then_some(owner.worker)
    }

    /// Passes a connection on. It comes back if the sibling does not take it, unless it is lost.
    pub(crate) async fn pass(
        &self,
        to: u8,
        io: Io,
        peer: Peer,
        read: Bytes,
    ) -> Result<(), Option<(Io, Bytes)>> {
        let Some(siblings) = &self.shard.0.config.local.siblings else {
            return Err(Some((io, read)));
        };
        let passed =
            |stream, read| Passed { stream, peer: peer.address, secure: peer.secure, read };
        let stream = match io.detach() {
            Ok(Detached::Socket(stream)) => stream,
            Ok(Detached::Other(stream)) => {
                // It stays here and its bytes travel.
                let Ok((ours, theirs)) = self.relays.open() else {
                    return Err(Some((Io::Other(stream), read)));
                };
                return match siblings.0.pass(to, passed(PassedStream::Unix(theirs), read)).await {
                    Ok(()) => {
                        let (client, sibling) =
                            ((Io::Other(stream), Bytes::new()), (ours, Bytes::new()));
                        tasks::tunnel(Tunnel::new(&self.shard, client, sibling));
                        Ok(())
                    }
                    Err(error) => Err(Some((Io::Other(stream), error.connection.read))),
                };
            }
            Err(error) => {
                sedge_log::warn_rarely!(%error, "a connection cannot be passed on");
                return Err(None);
            }
        };
        siblings.0.pass(to, passed(stream, read)).await.map_err(|error| {
            let Passed { stream, read, .. } = error.connection;
            stream.attach().ok().map(|io| (io, read))
        })
    }

    /// Has a sibling answer a request that came on a connection which cannot be passed.
    pub(crate) async fn ask_sibling(
        &self,
        to: u8,
        head: Head,
        body: RequestBody,
        peer: Peer,
    ) -> Answer {
        let unknown = |head: &Head| {
            let sid = head.sid().unwrap_or_default().to_owned();
            self.refuse(head, peer, ErrorContext::SessionIdUnknown(sid))
        };
        let (Some(siblings), Ok((ours, theirs))) =
            (&self.shard.0.config.local.siblings, self.relays.open())
        else {
            return self.unavailable(&head);
        };
        let (stream, read) = (PassedStream::Unix(theirs), Bytes::new());
        let passed = Passed { stream, peer: peer.address, secure: peer.secure, read };
        match siblings.0.pass(to, passed).await {
            Ok(()) => {}
            Err(NotPassed { gone: true, .. }) => return unknown(&head),
            Err(NotPassed { gone: false, .. }) => return self.unavailable(&head),
        }
        self.exchange(ours, &head, body).await.unwrap_or_else(|error| {
            tracing::debug!(%error, to, "a sibling did not answer");
            self.unavailable(&head)
        })
    }

    /// Sends a request over a stream and reads the answer.
    async fn exchange(
        &self,
        stream: Relay,
        head: &Head,
        body: RequestBody,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let connecting = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = connecting.await?;
        tasks::inquiry(async move {
            // What goes wrong shows in the answer.
            let _ = connection.with_upgrades().await;
        });
        let mut request = Request::from_parts(head.parts().into_owned(), body);
        // An older client's request goes on in the form that the answer is expected in.
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static(""));
        let mut response = sender.send_request(request).await?;
        let headers = Headers::from_map(response.headers());
        let status = response.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = hyper::upgrade::on(&mut response).await?;
            let ticket = Ticket::tunnel(self.shard.index(), upgraded);
            return Ok(Answer {
                status,
                headers,
                body: Bytes::new(),
                ticket: Some(ticket),
                delivers: None,
            });
        }
        // What waited for the client, and what base64 makes of it.
        let limit = self.shard.0.config.local.outbox_bytes_max.saturating_mul(2);
        let body = Limited::new(response.into_body(), limit).collect().await?.to_bytes();
        Ok(Answer { status, headers, body, ticket: None, delivers: None })
    }
}
