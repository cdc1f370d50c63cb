//! An operation on its way to the shards of this process, and whom they tell what became of it.

use std::sync::Arc;

use sedge_adapter::{MissingReason, Operation, ResponseBody};
use sedge_engine::SharedMessage;
use sedge_protocol::socketio::{Args, Value};
use tokio::sync::oneshot;

use crate::core::Namespace;
use crate::gather::acks::{AckEvent, Acks};
use crate::gather::inquiry::Gather;
use crate::gather::responders::{Origin, Others};
use crate::hub::answers::{ForeignAcks, PeerReply};
use crate::hub::requests::SocketData;

/// An operation within this process: packets are encoded already.
pub(crate) type LocalOperation = Operation<LocalPacket, Value>;

/// The packet of a broadcast, ready for every recipient of this process.
#[derive(Clone)]
pub(crate) struct LocalPacket {
    pub(crate) shared: SharedMessage,
    /// The id in it, if it is to be acknowledged.
    pub(crate) id: u32,
}

impl LocalPacket {
    /// Where there is nothing to send.
    pub(crate) fn empty() -> LocalPacket {
        LocalPacket { shared: SharedMessage::new([]), id: 0 }
    }
}

/// Whom a shard tells what became of an operation.
#[derive(Clone)]
pub(crate) enum Reply {
    None,
    Acks(AckSink),
    Sockets(Arc<Gather<Vec<SocketData>>>),
    Applied(Arc<Gather<()>>),
    /// Another process, whatever it has asked but a broadcast.
    Peer(PeerReply),
}

/// Who waits for the acknowledgements of a broadcast.
#[derive(Clone)]
pub(crate) enum AckSink {
    Here(Arc<Acks>),
    Peer(Arc<ForeignAcks>),
}

impl AckSink {
    /// A shard has sent the packet to as many clients.
    pub(super) fn counted(&self, shard: usize, clients: usize) {
        let clients = clients as u32;
        match self {
            AckSink::Here(acks) => acks.tell(Origin::Shard(shard), AckEvent::Counted(clients)),
            AckSink::Peer(acks) => acks.counted(shard, clients),
        }
    }

    /// A client has acknowledged.
    pub(crate) fn acknowledged(&self, shard: usize, args: Args<'_>) {
        match self {
            AckSink::Here(acks) => {
                acks.tell(Origin::Shard(shard), AckEvent::Acknowledged(args.into_owned()));
            }
            AckSink::Peer(acks) => acks.acknowledged(shard, &args),
        }
    }

    /// As many clients were disconnected before they acknowledged, or could not be asked.
    pub(crate) fn lost(&self, shard: usize, clients: u32) {
        match self {
            AckSink::Here(acks) => acks.tell(Origin::Shard(shard), AckEvent::Lost(clients)),
            AckSink::Peer(acks) => acks.lost(shard, clients),
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            AckSink::Here(acks) => acks.is_done(),
            AckSink::Peer(acks) => acks.is_done(),
        }
    }
}

impl Reply {
    /// A shard cannot be asked.
    pub(super) fn unreachable(&self, shard: usize) {
        let (who, reason) = (Origin::Shard(shard), MissingReason::Overloaded);
        match self {
            Reply::None => {}
            Reply::Acks(AckSink::Here(acks)) => acks.give_up(who, reason),
            Reply::Acks(AckSink::Peer(acks)) => acks.unreachable(shard),
            Reply::Sockets(gather) => gather.give_up(who, reason),
            Reply::Applied(gather) => gather.give_up(who, reason),
            Reply::Peer(reply) => reply.unreachable(shard),
        }
    }

    /// Who was asked.
    pub(super) fn expect(&self, shards: usize, others: Others) {
        match self {
            Reply::Acks(AckSink::Here(acks)) => acks.expect(shards, others),
            Reply::Sockets(gather) => gather.expect(shards, others),
            Reply::Applied(gather) => gather.expect(shards, others),
            Reply::None | Reply::Acks(AckSink::Peer(_)) | Reply::Peer(_) => {}
        }
    }

    /// A shard has done what was asked.
    pub(super) fn applied(&self, shard: usize) {
        match self {
            Reply::Applied(gather) => gather.answer(Origin::Shard(shard), ()),
            Reply::Peer(reply) => {
                let _ = reply.answer(shard, ResponseBody::Applied);
            }
            _ => {}
        }
    }
}

/// An operation on its way to the shards, which share it.
pub(crate) struct Dispatch {
    pub(super) namespace: Namespace,
    pub(super) operation: LocalOperation,
    pub(super) reply: Reply,
}

impl Dispatch {
    pub(crate) fn new(namespace: Namespace, operation: LocalOperation, reply: Reply) -> Dispatch {
        Dispatch { namespace, operation, reply }
    }

    /// A shard cannot be asked.
    pub(crate) fn unreachable(&self, shard: usize) {
        self.reply.unreachable(shard);
    }
}

/// Who waits for an acknowledgement.
pub(crate) enum PendingAck {
    /// The future of one emit.
    One(oneshot::Sender<Args<'static>>),
    /// A broadcast.
    Broadcast(AckSink),
}

impl PendingAck {
    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            PendingAck::One(reply) => reply.is_closed(),
            PendingAck::Broadcast(acks) => acks.is_done(),
        }
    }
}
