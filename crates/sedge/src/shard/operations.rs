//! Operations on many sockets: handed to every shard and to other processes, and applied by each shard
//! to its own sockets.

use std::rc::Rc;
use std::sync::Arc;

use sedge_adapter::{MemberId, Operation, RoomList, Target};
use sedge_engine::SharedMessage;

use super::command::Command;
use super::dispatch::{AckSink, Dispatch, LocalOperation, LocalPacket, PendingAck, Reply};
use super::local::{LocalShard, ShardState};
use super::packets::send_options;
use crate::core::Namespace;
use crate::core::socket::Socket;
use crate::error::EmitError;
use crate::gather::responders::Others;
use crate::hub::Beyond;
use crate::limits::REQUEST_TIMEOUT;

/// Hands an operation to whom it concerns: to other processes, as far as the carrier takes it at once,
/// and to all shards of this one. This shard, if the thread is one, applies it at once; the others get
/// one command each. Who cannot be reached does not keep it from the others.
pub(crate) fn dispatch(
    namespace: &Namespace,
    operation: LocalOperation,
    reply: Reply,
    beyond: Beyond,
) -> Result<(), EmitError> {
    let core = Arc::clone(namespace.core());
    let shards = core.shard_count();
    let mut result = Ok(());
    let others = match (&core.hub, beyond) {
        (None, _) | (_, Beyond::No) => Others::default(),
        (Some(hub), Beyond::Full) => hub.nobody_asked(),
        (Some(hub), Beyond::Message(message)) => {
            let published = hub.publish(namespace.name(), operation.target(), &message);
            if !published.too_long.is_empty() {
                result = Err(EmitError::TooLong(message.len()));
            }
            if matches!(reply, Reply::None) { Others::default() } else { hub.others(published) }
        }
    };
    reply.expect(shards, others);
    let dispatch = Dispatch { namespace: namespace.clone(), operation, reply };
    let own = LocalShard::of(&core, Rc::clone);
    let own_index = own.as_ref().map(|shard| shard.index());
    if let Some(own) = &own
        && shards == 1
    {
        own.apply(&dispatch);
        return result;
    }
    let dispatch = Arc::new(dispatch);
    for shard in (0..shards).filter(|shard| Some(*shard) != own_index) {
        if let Err(error) = core.command(shard, Command::Operate(Arc::clone(&dispatch))) {
            dispatch.unreachable(shard);
            result = result.and(Err(error.into()));
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
        let Dispatch { namespace, operation, reply } = dispatch;
        match operation {
            Operation::Broadcast { packet, target, .. } => match reply {
                Reply::Acks(acks) => self.broadcast_with_ack(namespace, target, packet, acks),
                _ => self.broadcast(namespace, target, &packet.shared),
            },
            Operation::Join { target, rooms, .. } => {
                self.sockets_join(namespace, target, rooms);
                reply.applied(self.index);
            }
            Operation::Leave { target, rooms, .. } => {
                self.sockets_leave(namespace, target, rooms);
                reply.applied(self.index);
            }
            Operation::Disconnect { target, close, .. } => {
                for socket in self.sockets(namespace, target) {
                    self.disconnect(&socket, *close);
                }
                reply.applied(self.index);
            }
            Operation::Fetch { target, .. } => {
                let wait = target.flags.timeout.unwrap_or(REQUEST_TIMEOUT);
                self.list(self.sockets(namespace, target), reply, wait);
            }
            // It concerns other processes only.
            Operation::ServerSideEmit { .. } => {}
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
        packet: &LocalPacket,
        acks: &AckSink,
    ) {
        let options = send_options(target.flags);
        let max = self.core.options.limits.pending_acks;
        let mut unasked = 0;
        self.metrics.broadcasts.add(1);
        let count = self.with_selected(namespace, target, |state, members| {
            let namespace = state.namespace(namespace.shared().index)?;
            self.metrics.packets_out.add(members.len() as u64);
            for member in members {
                let pending = PendingAck::Broadcast(acks.clone());
                if !namespace.expect_ack(*member, packet.id, pending, max) {
                    unasked += 1;
                } else if let Some(member) = namespace.get(*member) {
                    self.engine.send_shared(member.session, &packet.shared, options);
                }
            }
            Some(members.len())
        });
        acks.counted(self.index, count.flatten().unwrap_or_default());
        if unasked > 0 {
            acks.lost(self.index, unasked);
        }
    }

    fn sockets_join(&self, namespace: &Namespace, target: &Target, rooms: &RoomList) {
        for socket in self.sockets(namespace, target) {
            if let Err(error) = self.join(&socket, rooms) {
                sedge_log::warn_rarely!(socket = %socket.id(), %error, "a room was not joined");
            }
        }
    }

    fn sockets_leave(&self, namespace: &Namespace, target: &Target, rooms: &RoomList) {
        for socket in self.sockets(namespace, target) {
            self.leave(&socket, rooms);
        }
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
        f: impl FnOnce(&mut ShardState, &[MemberId]) -> R,
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
