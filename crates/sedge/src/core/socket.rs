//! A socket, as all threads share it: who it is, where it lives, and what is attached to it. Emitting,
//! joining and the like stand in `api`.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use sedge_adapter::{JoinError, MemberId, Room, RoomList};
use sedge_engine::{Handshake, SessionKey};
use sedge_protocol::engine::Version as ProtocolVersion;
use sedge_protocol::socketio::{ArgsError, EncodeError, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::extensions::Extensions;
use super::stage::Registration;
use super::{Core, Namespace};
use crate::id::SocketId;
use crate::limits::{BROADCAST_ACK_IDS, FIRST_ACK_ID};

/// A socket: one client in one namespace.
///
/// Clones are cheap and name the same socket. A handle can be kept for as long as one likes, and used
/// from any thread; when the client has gone, emitting is an error and everything else does
/// nothing.
///
/// What its handlers do before their first `.await` takes effect at once and in order; so does what
/// they emit. From other threads, each call is a command to the socket's shard; one thread's
/// calls are carried out in order.
#[derive(Clone)]
pub struct Socket {
    inner: Arc<Inner>,
}

/// Where a socket stands in its life; it only ever moves on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    Connecting,
    Connected,
    Disconnected,
}

/// A connected socket without extras costs this, an entry in the members' slab and one in the id map.
struct Inner {
    id: SocketId,
    namespace: Namespace,
    handshake: Arc<Handshake>,
    auth: Option<Box<Value>>,
    connected_at: SystemTime,
    extras: OnceLock<Box<Extras>>,
    session: SessionKey,
    /// The socket's place in its namespace on its shard; set when it connects.
    member: AtomicU32,
    next_ack: AtomicU32,
    shard: u16,
    version: ProtocolVersion,
    phase: AtomicU8,
}

/// What only some sockets have.
#[derive(Default)]
struct Extras {
    extensions: Extensions,
    data: Mutex<Value>,
    /// What was asked for before the socket connected.
    early: Mutex<Early>,
    /// The rooms it was in when it was disconnected.
    last_rooms: OnceLock<Vec<Room>>,
}

/// What middlewares have done with a socket, to take effect when it connects.
#[derive(Default)]
pub(crate) struct Early {
    pub(crate) registrations: Vec<Registration>,
    pub(crate) rooms: RoomList,
}

/// What a shard knows of a socket that it makes.
pub(crate) struct SocketParts {
    pub(crate) id: SocketId,
    pub(crate) namespace: Namespace,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) auth: Option<Value>,
    pub(crate) session: SessionKey,
    pub(crate) shard: usize,
    pub(crate) version: ProtocolVersion,
}

impl Socket {
    pub(crate) fn new(parts: SocketParts) -> Socket {
        let SocketParts { id, namespace, handshake, auth, session, shard, version } = parts;
        Socket {
            inner: Arc::new(Inner {
                id,
                namespace,
                handshake,
                auth: auth.map(Box::new),
                connected_at: SystemTime::now(),
                extras: OnceLock::new(),
                session,
                member: AtomicU32::new(u32::MAX),
                next_ack: AtomicU32::new(0),
                shard: shard as u16,
                version,
                phase: AtomicU8::new(Phase::Connecting as u8),
            }),
        }
    }

    /// The public id, unique in the cluster.
    pub fn id(&self) -> &SocketId {
        &self.inner.id
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    /// Whether the socket is connected: not yet in a middleware, not any more once it is
    /// disconnected.
    pub fn connected(&self) -> bool {
        self.inner.phase.load(Ordering::Acquire) == Phase::Connected as u8
    }

    /// The request that opened the connection: URL, query, headers and address. All sockets of a
    /// connection share it.
    pub fn handshake(&self) -> &Arc<Handshake> {
        &self.inner.handshake
    }

    /// The client's `auth` payload as `T`; an empty object if it sent none.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        match &self.inner.auth {
            Some(auth) => auth.decode(),
            None => Value::Object(Vec::new()).decode(),
        }
    }

    /// The number of the shard, that is the thread, on which its handlers run.
    pub fn shard(&self) -> usize {
        usize::from(self.inner.shard)
    }

    /// When the client asked to join the namespace.
    pub fn connected_at(&self) -> SystemTime {
        self.inner.connected_at
    }

    /// The version of the Engine.IO protocol: 4, or 3 for clients of Socket.IO 1 and 2.
    pub fn protocol_version(&self) -> ProtocolVersion {
        self.inner.version
    }

    /// What the application attached to the socket in this process, one value per type. For what other
    /// nodes are to see there is [`set_data`](Self::set_data).
    pub fn extensions(&self) -> &Extensions {
        &self.extras().extensions
    }

    /// Attaches data to the socket, which [`fetch_sockets`](Namespace::fetch_sockets) shows to every
    /// node. It replaces what was there.
    pub fn set_data<T: Serialize + ?Sized>(&self, data: &T) -> Result<(), EncodeError> {
        let value = Value::from_serialize(data)?;
        let mut slot = self.extras().data.lock().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *slot, value);
        drop(slot);
        drop(former);
        Ok(())
    }

    /// The data attached to the socket as `T`; `null` if there is none.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        self.data_value().decode()
    }

    pub(crate) fn data_value(&self) -> Value {
        match self.inner.extras.get() {
            Some(extras) => extras.data.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            None => Value::Null,
        }
    }

    pub(crate) fn auth_value(&self) -> Value {
        self.inner.auth.as_deref().cloned().unwrap_or(Value::Object(Vec::new()))
    }
}

/// What the rest of the crate does with a socket.
impl Socket {
    pub(crate) fn core(&self) -> &Arc<Core> {
        self.inner.namespace.core()
    }

    pub(crate) fn session(&self) -> SessionKey {
        self.inner.session
    }

    pub(crate) fn member(&self) -> MemberId {
        MemberId(self.inner.member.load(Ordering::Relaxed))
    }

    /// Whether two handles name the same socket.
    pub(crate) fn is(&self, other: &Socket) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    fn phase(&self) -> Phase {
        match self.inner.phase.load(Ordering::Acquire) {
            phase if phase == Phase::Connecting as u8 => Phase::Connecting,
            phase if phase == Phase::Connected as u8 => Phase::Connected,
            _ => Phase::Disconnected,
        }
    }

    /// An id for the next acknowledgement.
    pub(crate) fn next_ack(&self) -> u32 {
        let count = self.inner.next_ack.fetch_add(1, Ordering::Relaxed);
        FIRST_ACK_ID + count % (BROADCAST_ACK_IDS - FIRST_ACK_ID)
    }

    /// Does something with what takes effect when the socket connects; `None` if it is connected by now, or
    /// gone. That is looked at again while nobody else can take it: another thread may come with the last
    /// middleware's end.
    pub(crate) fn early<R>(&self, f: impl FnOnce(&mut Early) -> R) -> Option<R> {
        if self.phase() != Phase::Connecting {
            return None;
        }
        let mut early = self.lock_early();
        (self.phase() == Phase::Connecting).then(|| f(&mut early))
    }

    fn lock_early(&self) -> MutexGuard<'_, Early> {
        self.extras().early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has rooms joined when the socket connects. The limits are looked at now, but for that of all rooms,
    /// which is another's when it comes to it.
    pub(crate) fn join_early(&self, rooms: &RoomList) -> Option<Result<(), JoinError>> {
        let limits = self.core().options.limits.rooms;
        self.early(|early| {
            for room in rooms {
                if **room == *self.id().as_str() || early.rooms.contains(room) {
                    continue;
                }
                if room.len() > limits.name_len_max {
                    let (len, limit) = (room.len(), limits.name_len_max);
                    return Err(JoinError::NameTooLong { len, limit });
                }
                if early.rooms.len() >= limits.rooms_per_member {
                    return Err(JoinError::TooManyRooms { limit: limits.rooms_per_member });
                }
                early.rooms.push(Arc::clone(room));
            }
            Ok(())
        })
    }

    /// The socket has its place in the namespace. Returns what is to be done with it now.
    pub(crate) fn set_connected(&self, member: MemberId) -> Early {
        self.inner.member.store(member.0, Ordering::Relaxed);
        self.inner.phase.store(Phase::Connected as u8, Ordering::Release);
        match self.inner.extras.get() {
            Some(_) => std::mem::take(&mut *self.lock_early()),
            None => Early::default(),
        }
    }

    /// The socket is gone; `rooms` are those it was in, if anybody may want to know.
    pub(crate) fn set_disconnected(&self, rooms: Option<Vec<Room>>) {
        if let Some(rooms) = rooms {
            let _ = self.extras().last_rooms.set(rooms);
        }
        self.inner.phase.store(Phase::Disconnected as u8, Ordering::Release);
    }

    /// The rooms it was in when it was disconnected.
    pub(crate) fn last_rooms(&self) -> Option<Vec<Room>> {
        self.inner.extras.get()?.last_rooms.get().cloned()
    }

    fn extras(&self) -> &Extras {
        self.inner.extras.get_or_init(Box::default)
    }
}

impl PartialEq for Socket {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl Eq for Socket {}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", self.id())
            .field("namespace", &self.namespace().name())
            .field("connected", &self.connected())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_small() {
        assert!(size_of::<Inner>() + 16 <= 136, "{}", size_of::<Inner>());
    }
}
