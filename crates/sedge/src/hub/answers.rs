//! What this process answers to others that have asked it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sedge_adapter::{
    MissingReason, Part, PeerId, RequestId, Response, ResponseBody, SendError, wire,
};
use sedge_protocol::socketio::{Args, Value};

use super::Hub;
use crate::limits::ANSWER_BACKLOG_BYTES;

/// Where the answers to another process's request go.
#[derive(Clone)]
pub(crate) struct PeerReply {
    pub(crate) hub: Arc<Hub>,
    pub(crate) peer: PeerId,
    pub(crate) request: RequestId,
    /// How many shards this process has; each answers.
    pub(crate) shards: u16,
}

impl PeerReply {
    /// A shard answers.
    pub(crate) fn answer(&self, shard: usize, body: ResponseBody<Value>) -> Result<(), SendError> {
        self.send(self.encode(shard, body))
    }

    /// A shard cannot be asked.
    pub(crate) fn unreachable(&self, shard: usize) {
        self.missing(shard, MissingReason::Overloaded);
    }

    /// A shard says why it does not answer, or not in full.
    pub(crate) fn missing(&self, shard: usize, reason: MissingReason) {
        let _ = self.answer(shard, ResponseBody::Missing(reason));
    }

    /// The process as a whole answers.
    pub(crate) fn answer_whole(&self, body: ResponseBody<Value>) {
        // If it is not taken, that has been counted, and the asker waits until its deadline.
        if self.send(self.encode_part(Part::WHOLE, body)) == Err(SendError::TooLong) {
            let missing = ResponseBody::Missing(MissingReason::TooLong);
            let _ = self.send(self.encode_part(Part::WHOLE, missing));
        }
    }

    /// How many bytes of sockets a part of an answer should have at most.
    pub(crate) fn part_bytes_max(&self) -> usize {
        self.hub.part_bytes_max()
    }

    /// Whether so much waits for the process already that one more part of an answer has to wait too.
    pub(crate) fn is_behind(&self) -> bool {
        self.hub.backlog(self.peer) > ANSWER_BACKLOG_BYTES
    }

    /// What a shard answers, to be [sent](Self::send) when the process takes it.
    pub(crate) fn encode(&self, shard: usize, body: ResponseBody<Value>) -> Bytes {
        self.encode_part(Part { shard: shard as u16, of: self.shards }, body)
    }

    /// Sends what was encoded. Nothing waits: if it is not taken, the error says why.
    pub(crate) fn send(&self, message: Bytes) -> Result<(), SendError> {
        self.hub.answer(self.peer, message)
    }

    fn encode_part(&self, part: Part, body: ResponseBody<Value>) -> Bytes {
        wire::encode_response(&Response { request: self.request, part, body })
    }
}

/// The acknowledgements of a broadcast that another process has asked for.
pub(crate) struct ForeignAcks {
    reply: PeerReply,
    /// After this the other process waits no longer.
    end: Instant,
    gone: AtomicBool,
}

impl ForeignAcks {
    pub(crate) fn new(reply: PeerReply, timeout: Duration) -> Arc<ForeignAcks> {
        let now = Instant::now();
        let end = now.checked_add(timeout).unwrap_or(now);
        Arc::new(ForeignAcks { reply, end, gone: AtomicBool::new(false) })
    }

    /// A shard has sent the packet to as many clients.
    pub(crate) fn counted(&self, shard: usize, clients: u32) {
        let _ = self.tell(shard, ResponseBody::ClientCount(clients));
    }

    /// A client has acknowledged. Only the first argument counts, as in the official server.
    pub(crate) fn acknowledged(&self, shard: usize, args: &Args<'_>) {
        let first = if args.is_empty() { None } else { Some(args.get(0).unwrap_or_default()) };
        // One that is too long for the bus is as good as none.
        if self.tell(shard, ResponseBody::Ack(first)) == Err(SendError::TooLong) {
            self.lost(shard, 1);
        }
    }

    /// As many clients will not acknowledge.
    pub(crate) fn lost(&self, shard: usize, clients: u32) {
        let _ = self.tell(shard, ResponseBody::ClientsLost(clients));
    }

    /// A shard cannot be asked.
    pub(crate) fn unreachable(&self, shard: usize) {
        let _ = self.tell(shard, ResponseBody::Missing(MissingReason::Overloaded));
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_done(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || Instant::now() >= self.end
    }

    fn tell(&self, shard: usize, body: ResponseBody<Value>) -> Result<(), SendError> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(SendError::Gone);
        }
        self.reply.answer(shard, body).inspect_err(|error| {
            self.gone.fetch_or(*error == SendError::Gone, Ordering::Relaxed);
        })
    }
}

/// The answer to another process's server-side emit. If it is dropped without one, the other process
/// is told that there will be none.
pub(crate) struct ServerSideAnswer {
    reply: PeerReply,
    given: AtomicBool,
}

impl ServerSideAnswer {
    pub(crate) fn new(reply: PeerReply) -> Arc<ServerSideAnswer> {
        Arc::new(ServerSideAnswer { reply, given: AtomicBool::new(false) })
    }

    /// Answers. Only the first answer counts.
    pub(crate) fn give(&self, value: Option<Value>) {
        self.send(ResponseBody::ServerSideEmit(value));
    }

    /// Says that there is no answer.
    pub(crate) fn refuse(&self, reason: MissingReason) {
        self.send(ResponseBody::Missing(reason));
    }

    fn send(&self, body: ResponseBody<Value>) {
        if !self.given.swap(true, Ordering::AcqRel) {
            self.reply.answer_whole(body);
        }
    }
}

impl fmt::Debug for ServerSideAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSideAnswer").finish_non_exhaustive()
    }
}

impl Drop for ServerSideAnswer {
    fn drop(&mut self) {
        self.refuse(MissingReason::NoAnswer);
    }
}
