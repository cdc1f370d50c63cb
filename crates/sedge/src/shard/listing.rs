//! The sockets that somebody asks for, described for other shards and processes.
//!
//! They may be many. Some are described in each turn, so that clients do not wait for all of them, and another
//! process gets them in parts, as fast as it takes them: the queue to it is there for broadcasts too.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sedge_adapter::{MissingReason, RemoteSocketData, ResponseBody, SendError, wire};

use super::dispatch::Reply;
use super::handshake_value::handshake_value;
use super::local::LocalShard;
use crate::core::socket::Socket;
use crate::gather::inquiry::Answer;
use crate::gather::responders::Origin;
use crate::hub::answers::PeerReply;
use crate::hub::requests::SocketData;
use crate::limits::{ANSWER_PAUSE, SOCKETS_PER_TURN};

/// Sockets that are still to be described.
struct Listing {
    rest: std::vec::IntoIter<Socket>,
    /// Described, but too long for the last part.
    over: Option<SocketData>,
}

impl LocalShard {
    /// Tells the sockets to whoever has asked: the first of them at once, the rest in later turns.
    pub(super) fn list(self: &Rc<Self>, sockets: Vec<Socket>, reply: &Reply, wait: Duration) {
        let listing = Listing { rest: sockets.into_iter(), over: None };
        match reply {
            Reply::Sockets(gather) => {
                let (shard, gather) = (Rc::clone(self), Arc::clone(gather));
                self.begin(async move {
                    let tell = |part| gather.tell(Origin::Shard(shard.index), part);
                    listing.tell_here(&shard, tell).await;
                });
            }
            Reply::Peer(peer) => self.begin(listing.tell_peer(Rc::clone(self), peer.clone(), wait)),
            Reply::None | Reply::Acks(_) | Reply::Applied(_) => {}
        }
    }

    /// `None` if it has gone meanwhile.
    fn describe(&self, socket: &Socket) -> Option<SocketData> {
        socket.connected().then(|| RemoteSocketData {
            id: socket.id().room(),
            handshake: handshake_value(socket),
            rooms: self.rooms(socket),
            data: socket.data_value(),
        })
    }
}

impl Listing {
    /// Tells this process.
    async fn tell_here(mut self, shard: &LocalShard, tell: impl Fn(Answer<Vec<SocketData>>)) {
        loop {
            let part = self.part(shard, None);
            if self.is_over() {
                return tell(Answer::Last(part));
            }
            tell(Answer::Part(part));
            tokio::task::yield_now().await;
        }
    }

    /// Tells another process, as long as it waits. A socket that is too long for the bus is left out, and
    /// the process is told so.
    async fn tell_peer(mut self, shard: Rc<LocalShard>, peer: PeerReply, wait: Duration) {
        let end = Instant::now().checked_add(wait);
        let mut complete = true;
        loop {
            let part = self.part(&shard, Some(peer.part_bytes_max()));
            let over = self.is_over();
            let body = if over && complete {
                ResponseBody::Sockets(part)
            } else {
                ResponseBody::SomeSockets(part)
            };
            match send(&peer, peer.encode(shard.index, body), end).await {
                Ok(()) => {}
                Err(SendError::TooLong) => complete = false,
                Err(SendError::Full | SendError::Gone) => return,
            }
            if over && !complete {
                return peer.missing(shard.index, MissingReason::TooLong);
            } else if over {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    fn is_over(&self) -> bool {
        self.over.is_none() && self.rest.len() == 0
    }

    /// Describes some, at most of so many bytes; one that is longer stands alone.
    fn part(&mut self, shard: &LocalShard, bytes_max: Option<usize>) -> Vec<SocketData> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while part.len() < SOCKETS_PER_TURN {
            let over = self.over.take();
            let next = over.or_else(|| self.rest.find_map(|socket| shard.describe(&socket)));
            let Some(data) = next else { break };
            if let Some(max) = bytes_max {
                bytes += wire::socket_bytes(&data);
                if bytes > max && !part.is_empty() {
                    self.over = Some(data);
                    break;
                }
            }
            part.push(data);
        }
        part
    }
}

/// Sends a part when the process has taken most of what it was sent before; at the end of its patience, or
/// if it has gone, not at all.
async fn send(peer: &PeerReply, message: Bytes, end: Option<Instant>) -> Result<(), SendError> {
    loop {
        let sent = if peer.is_behind() { Err(SendError::Full) } else { peer.send(message.clone()) };
        if sent != Err(SendError::Full) || end.is_some_and(|end| Instant::now() >= end) {
            return sent;
        }
        tokio::time::sleep(ANSWER_PAUSE).await;
    }
}
