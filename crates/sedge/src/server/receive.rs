//! What comes from other processes: operations for the shards, and answers for those who wait.
//!
//! This runs on the carrier's thread, which must not wait: a shard whose queue is full does not get
//! what came. A broadcast is then lost for that shard's sockets, which is counted and logged once until
//! it takes something again; who waits for an answer is told that the shard is overloaded.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use sedge_adapter::wire::{self, Incoming, WirePacket};
use sedge_adapter::{BusReceiver, MissingReason, Operation, Peer, PeerId, RequestId, ResponseBody};
use sedge_engine::{Message, SharedMessage, panics};
use sedge_protocol::socketio::{self, ArgList, Args, MessageBuf, MessageRef, Value};

use crate::core::{Core, Namespace};
use crate::hub::Hub;
use crate::hub::answers::{ForeignAcks, PeerReply, ServerSideAnswer};
use crate::limits::REQUEST_TIMEOUT;
use crate::shard::command::Command;
use crate::shard::dispatch::{AckSink, Dispatch, LocalOperation, LocalPacket, Reply};
use crate::shard::packets::shared;
use crate::shard::server_side::ServerSideCall;

/// This server's end of the bus.
pub(crate) struct Receiver(Weak<Core>);

impl Receiver {
    pub(super) fn new(core: &Arc<Core>) -> Receiver {
        Receiver(Arc::downgrade(core))
    }

    /// Calls `f` as long as there is a server.
    fn with_hub(&self, f: impl FnOnce(&Arc<Core>, &Arc<Hub>)) {
        let Some(core) = self.0.upgrade() else { return };
        if let Some(hub) = &core.hub {
            f(&core, hub);
        }
    }
}

impl BusReceiver for Receiver {
    fn on_message(&self, from: PeerId, message: Bytes) {
        self.with_hub(|core, hub| {
            hub.count_received();
            match wire::decode(&message) {
                Ok(Incoming::Response(response)) => hub.answered(from, response),
                Ok(Incoming::Operation { namespace, operation }) => {
                    Arrival { core, hub, from }.operation(namespace, operation);
                }
                Err(error) => hub.note_unreadable(from, &error),
            }
        });
    }

    fn on_joined(&self, peer: Peer) {
        self.with_hub(|_, hub| hub.joined(peer));
    }

    fn on_left(&self, peer: PeerId, lost: u64) {
        self.with_hub(|_, hub| hub.left(peer, lost));
    }
}

/// Something that has come from another process.
struct Arrival<'a> {
    core: &'a Arc<Core>,
    hub: &'a Arc<Hub>,
    from: PeerId,
}

impl Arrival<'_> {
    fn operation(&self, namespace: &str, operation: Operation<WirePacket<'_>, Value>) {
        let reply = operation.request().map(|request| self.reply(request));
        let Some(namespace) = self.core.find(namespace) else {
            // Nobody here is in it.
            if let Some(reply) = reply {
                reply.answer_whole(nobody(&operation));
            }
            return;
        };
        let operation = match operation {
            Operation::Broadcast { packet, target, ack } => {
                let packet = self.packet(&namespace, packet, ack.is_some());
                let Some(packet) = packet else {
                    let words =
                        "a broadcast cannot be encoded: have all processes the same parser?";
                    self.hub.note_unreadable(self.from, &words);
                    if let Some(reply) = reply {
                        reply.answer_whole(ResponseBody::Missing(MissingReason::Unreadable));
                    }
                    return;
                };
                let wait = target.flags.timeout.unwrap_or(REQUEST_TIMEOUT);
                let operation = Operation::Broadcast { packet, target, ack };
                let sink = reply.map(|reply| AckSink::Peer(ForeignAcks::new(reply, wait)));
                return self.to_shards(
                    &namespace,
                    operation,
                    sink.map_or(Reply::None, Reply::Acks),
                );
            }
            Operation::ServerSideEmit { event, args, .. } => {
                let answer = reply.map(ServerSideAnswer::new);
                let args = Args::from_values(args);
                return self.server_side(ServerSideCall { namespace, event, args, answer });
            }
            // None of the others has a packet.
            other => other.map_packet(|_| LocalPacket::empty()),
        };
        self.to_shards(&namespace, operation, reply.map_or(Reply::None, Reply::Peer));
    }

    fn reply(&self, request: RequestId) -> PeerReply {
        let shards = self.core.shard_count() as u16;
        PeerReply { hub: Arc::clone(self.hub), peer: self.from, request, shards }
    }

    /// Frames a packet, with an id of this process's own if its clients are to acknowledge: another
    /// process's may be in use with a socket here.
    fn packet(
        &self,
        namespace: &Namespace,
        packet: WirePacket<'_>,
        acknowledged: bool,
    ) -> Option<LocalPacket> {
        let id = acknowledged.then(|| namespace.next_broadcast_ack());
        match (packet, id) {
            (WirePacket::Messages { messages, .. }, None) => {
                let shared = SharedMessage::new(messages.into_iter().map(engine_message));
                Some(LocalPacket { shared, id: 0 })
            }
            (WirePacket::Messages { messages, id: Some(old) }, Some(new)) => {
                let (first, rest) = messages.split_first()?;
                let parser = &self.core.options.parser;
                let first = parser.renumber(namespace.name(), *first, old.into(), new.into())?;
                let first = match &first {
                    socketio::Message::Text(text) => Message::Text(text),
                    socketio::Message::Binary(data) => Message::Binary(data),
                };
                let all = std::iter::once(first).chain(rest.iter().copied().map(engine_message));
                Some(LocalPacket { shared: SharedMessage::new(all), id: new })
            }
            (WirePacket::Event { name, args }, id) => {
                // A custom parser is user code.
                let encode = || self.encode(namespace, id, name, &args);
                let shared = panics::catch(encode).ok().flatten()?;
                Some(LocalPacket { shared, id: id.unwrap_or_default() })
            }
            (WirePacket::Messages { id: None, .. }, Some(_)) => None,
        }
    }

    fn encode(
        &self,
        namespace: &Namespace,
        id: Option<u32>,
        name: &str,
        args: &[Value],
    ) -> Option<SharedMessage> {
        let mut buffer = MessageBuf::new();
        let parser = &self.core.options.parser;
        let id = id.map(u64::from);
        parser.event(namespace.name(), id, name, &ArgList(args), &mut buffer).ok()?;
        Some(shared(&buffer))
    }

    /// Hands an operation to all shards.
    fn to_shards(&self, namespace: &Namespace, operation: LocalOperation, reply: Reply) {
        let dispatch = Arc::new(Dispatch::new(namespace.clone(), operation, reply));
        for shard in 0..self.core.shard_count() {
            let command = Command::Operate(Arc::clone(&dispatch));
            if !self.command(shard, command) {
                dispatch.unreachable(shard);
            }
        }
    }

    /// Has the listeners called, by one shard: the same one for all that this process sends, so that
    /// it stays in order.
    fn server_side(&self, call: ServerSideCall) {
        let shard = (self.from.0 % self.core.shard_count() as u64) as usize;
        let answer = call.answer.clone();
        if !self.command(shard, Command::ServerSide(Box::new(call)))
            && let Some(answer) = answer
        {
            answer.refuse(MissingReason::Overloaded);
        }
    }

    fn command(&self, shard: usize, command: Command) -> bool {
        let taken = self.core.command(shard, command).is_ok();
        // The shards of a server that is ending take nothing, and have nobody who would miss it.
        if taken || !self.core.is_closing() {
            self.hub.note_overflow(shard, taken);
        }
        taken
    }
}

/// The answer of a process without sockets and listeners.
fn nobody(operation: &Operation<WirePacket<'_>, Value>) -> ResponseBody<Value> {
    match operation {
        Operation::Broadcast { .. } => ResponseBody::ClientCount(0),
        Operation::Fetch { .. } => ResponseBody::Sockets(Vec::new()),
        Operation::ServerSideEmit { .. } => ResponseBody::Missing(MissingReason::NoListener),
        Operation::Join { .. } | Operation::Leave { .. } | Operation::Disconnect { .. } => {
            ResponseBody::Applied
        }
    }
}

fn engine_message(message: MessageRef<'_>) -> Message<'_> {
    match message {
        MessageRef::Text(text) => Message::Text(text),
        MessageRef::Binary(data) => Message::Binary(data),
    }
}
