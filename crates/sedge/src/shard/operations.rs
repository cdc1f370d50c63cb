//! Operations on many sockets: handed to every shard, and applied by each to its own.

use std::rc::Rc;
use std::sync::Arc;

use sedge_adapter::{MemberId, Operation, RemoteSocketData, RoomList, Target};
use sedge_engine::SharedMessage;
use sedge_protocol::socketio::Value;

use super::{Command, LocalShard, State};
use crate::error::Overloaded;
use crate::gather::{Acks, Gather};
use crate::handshake_value::handshake_value;
use crate::namespace::Namespace;
use crate::socket::{PendingAck, Socket, send_options};

/// An operation within this process: packets are encoded already.
pub(crate) type LocalOperation = Operation<SharedMessage, Value>;

/// A socket as other shards and nodes see it.
pub(crate) type SocketData = RemoteSocketData<Value>;

/// Whom a shard tells what became of an operation.
pub(crate) enum Reply {
    None,
    Acks(Arc<Acks>),
    Sockets(Arc<Gather<Vec<SocketData>>>),
    Applied(Arc<Gather<()>>),
}

impl Reply {
    fn unreachable(&self, shard: usize) {
        match self {
            Reply::None => {}
            Reply::Acks(acks) => acks.unreachable(shard),
            Reply::Sockets(gather) => gather.unreachable(shard),
            Reply::Applied(gather) => gather.unreachable(shard),
        }
    }
}

/// An operation on its way to the shards, which share it.
pub(crate) struct Dispatch {
    namespace: Namespace,
    operation: LocalOperation,
    reply: Reply,
}

/// Hands an operation to all shards of the process: this one, if the thread is one, applies it at
/// once; the others get one command each. Shards that cannot be reached do not keep it from the others.
pub(crate) fn dispatch(
    namespace: &Namespace,
    operation: LocalOperation,
    reply: Reply,
) -> Result<(), Overloaded> {
    let core = Arc::clone(namespace.core());
    let dispatch = Dispatch { namespace: namespace.clone(), operation, reply };
    let own = LocalShard::of(&core, Rc::clone);
    let own_index = own.as_ref().map(|shard| shard.index());
    let shards = core.shard_count();
    if let Some(own) = &own
        && shards == 1
    {
        own.apply(&dispatch);
        return Ok(());
    }
    let dispatch = Arc::new(dispatch);
    let mut result = Ok(());
    for shard in (0..shards).filter(|shard| Some(*shard) != own_index) {
        if let Err(error) = core.command(shard, Command::Operate(Arc::clone(&dispatch))) {
            dispatch.reply.unreachable(shard);
            result = Err(error);
        }
    }
    if let Some(own) = own {
        own.apply(&dispatch);
    }
    result
}

impl LocalShard {
    /// Applies an operation to this shard's sockets.
    pub(super) fn apply(self: &Rc<Self>, dispatch: &Dispatch) {
        let namespace = &dispatch.namespace;
        match &dispatch.operation {
            Operation::Broadcast { packet, target, ack } => match (ack, &dispatch.reply) {
                (Some(id), Reply::Acks(acks)) => {
                    self.broadcast_with_ack(namespace, target, packet, id.0 as u32, acks);
                }
                _ => self.broadcast(namespace, target, packet),
            },
            Operation::Join { target, rooms, .. } => self.sockets_join(namespace, target, rooms),
            Operation::Leave { target, rooms, .. } => self.sockets_leave(namespace, target, rooms),
            Operation::Disconnect { target, close, .. } => {
                for socket in self.sockets(namespace, target) {
                    self.disconnect(&socket, *close);
                }
            }
            Operation::Fetch { target, .. } => {
                if let Reply::Sockets(gather) = &dispatch.reply {
                    gather.answer(self.index, self.describe(namespace, target));
                }
            }
            // It concerns other processes only.
            Operation::ServerSideEmit { .. } => {}
        }
        if let Reply::Applied(gather) = &dispatch.reply {
            gather.answer(self.index, ());
        }
    }

    /// The hot path of fan-out: no allocation and no counting of references per recipient. The
    /// engine never calls back, so the state may stay borrowed.
    fn broadcast(&self, namespace: &Namespace, target: &Target, packet: &SharedMessage) {
        let options = send_options(target.flags);
        self.metrics.broadcasts.add(1);
        self.with_selected(namespace, target, |state, members| {
            let Some(namespace) = state.namespace(namespace.shared().index) else { return };
            self.metrics.packets_out.add(members.len() as u64);
            for member in members {
                if let Some(member) = namespace.get(*member) {
                    self.engine.send_shared(member.session, packet, options);
                }
            }
        });
    }

    fn broadcast_with_ack(
        &self,
        namespace: &Namespace,
        target: &Target,
        packet: &SharedMessage,
        id: u32,
        acks: &Arc<Acks>,
    ) {
        let options = send_options(target.flags);
        let max = self.core.options.limits.pending_acks;
        let mut unasked = 0;
        self.metrics.broadcasts.add(1);
        let count = self.with_selected(namespace, target, |state, members| {
            let namespace = state.namespace(namespace.shared().index)?;
            self.metrics.packets_out.add(members.len() as u64);
            for member in members {
                let pending = PendingAck::Broadcast(Arc::clone(acks));
                if !namespace.expect_ack(*member, id, pending, max) {
                    unasked += 1;
                } else if let Some(member) = namespace.get(*member) {
                    self.engine.send_shared(member.session, packet, options);
                }
            }
            Some(members.len())
        });
        acks.counted(self.index, count.flatten().unwrap_or_default());
        for _ in 0..unasked {
            acks.lost();
        }
    }

    fn sockets_join(&self, namespace: &Namespace, target: &Target, rooms: &RoomList) {
        for socket in self.sockets(namespace, target) {
            if let Err(error) = self.join(&socket, rooms) {
                tracing::warn!(socket = %socket.id(), %error, "a room was not joined");
            }
        }
    }

    fn sockets_leave(&self, namespace: &Namespace, target: &Target, rooms: &RoomList) {
        for socket in self.sockets(namespace, target) {
            self.leave(&socket, rooms);
        }
    }

    fn describe(&self, namespace: &Namespace, target: &Target) -> Vec<SocketData> {
        let sockets = self.sockets(namespace, target);
        let describe = |socket: &Socket| RemoteSocketData {
            id: socket.id().room(),
            handshake: handshake_value(socket),
            rooms: self.rooms(socket),
            data: socket.data_value(),
        };
        sockets.iter().map(describe).collect()
    }

    /// The sockets that a target means here.
    fn sockets(&self, namespace: &Namespace, target: &Target) -> Vec<Socket> {
        let index = namespace.shared().index;
        let sockets = self.with_selected(namespace, target, |state, members| {
            let namespace = state.namespace(index)?;
            let socket = |member: &MemberId| Some(namespace.get(*member)?.socket.clone());
            Some(members.iter().filter_map(socket).collect())
        });
        sockets.flatten().unwrap_or_default()
    }

    /// Selects the members that a target means, into the shard's scratch. `f` must not call user code.
    fn with_selected<R>(
        &self,
        namespace: &Namespace,
        target: &Target,
        f: impl FnOnce(&mut State, &[MemberId]) -> R,
    ) -> Option<R> {
        let mut state = self.state.borrow_mut();
        let mut selected = std::mem::take(&mut state.recipients);
        let result = state.namespace(namespace.shared().index).map(|namespace| {
            namespace.select(target, &mut selected);
        });
        let result = result.map(|()| f(&mut state, &selected));
        selected.clear();
        state.recipients = selected;
        result
    }
}
