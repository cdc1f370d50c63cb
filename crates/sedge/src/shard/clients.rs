//! The connections of a shard: which namespaces each has joined, and what the order of packets has
//! to be.
//!
//! ```text
//! session opens -> Client -- CONNECT -> pending -- middlewares pass --> joined
//!                    |                    '------- refused: CONNECT_ERROR, back to the start
//!                    |-- nothing joined in time, a packet out of order -> forced server close
//!                    '-- something that is no packet ------------------> parse error
//! ```

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use sedge_adapter::Topic;
use sedge_engine::{Handshake, Message, SendOptions, Sent, SessionKey};
use sedge_protocol::engine::Version;
use sedge_protocol::socketio::{
    Decoder, EncodeError, Event, MessageBuf, Packet, PacketKind, Parser, Value,
};
use serde::Serialize;
use smallvec::SmallVec;

use super::client::{Client, Joined, MemberIndex};
use super::dispatch::PendingAck;
use super::local::{Changed, LocalShard, ShardState};
use super::packets::messages;
use crate::core::socket::{Socket, SocketParts};
use crate::core::stage::{self, Context, EventDetails};
use crate::error::ConnectError;
use crate::handler::listener::Table;
use crate::id::SocketId;
use crate::limits::QUERY_FIELDS_MAX;
use crate::reason::DisconnectReason;

/// The connection's name for the CONNECT answer.
#[derive(Serialize)]
struct ConnectAnswer<'a> {
    sid: &'a str,
}

/// What a refused client is told.
#[derive(Serialize)]
struct Refusal<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

impl LocalShard {
    /// A connection has opened. Clients of Engine.IO 3 are in the root namespace without asking.
    pub(super) fn open(self: &Rc<Self>, session: SessionKey, handshake: Arc<Handshake>) {
        let Some(version) = self.engine.version(session) else { return };
        let serial = {
            let mut state = self.state.borrow_mut();
            state.next_serial = state.next_serial.wrapping_add(1);
            let serial = state.next_serial;
            let client = Client {
                session,
                handshake,
                decoder: Decoder::new(),
                joined: SmallVec::new(),
                serial,
                waiting: None,
                in_flight: 0,
                version,
                settled: false,
            };
            state.add_client(client);
            serial
        };
        let timer = u64::from(serial) << 32 | session.slot() as u64;
        self.engine.set_timer(self.core.options.connect_timeout, timer);
        if version == Version::V3 {
            self.ask_to_join(session, "/", None);
        }
    }

    /// A connection that has never joined a namespace has had its time.
    pub(super) fn connect_timeout(self: &Rc<Self>, timer: u64) {
        let (serial, slot) = ((timer >> 32) as u32, timer as u32 as usize);
        let session = {
            let mut state = self.state.borrow_mut();
            let client = state.clients.get_mut(slot);
            client.filter(|client| client.serial == serial && !client.settled).map(|c| c.session)
        };
        if let Some(session) = session {
            self.break_off(session, DisconnectReason::ForcedServerClose);
        }
    }

    /// A message has arrived.
    pub(super) fn message(self: &Rc<Self>, session: SessionKey, message: Message<'_>) {
        let (parser, limits) = (&self.core.options.parser, &self.core.decode_limits);
        let decode = |decoder: &mut Decoder| match message {
            Message::Text(text) => decoder.text(parser, text, limits),
            Message::Binary(data) => decoder.binary(parser, data, limits),
        };
        let packet = if let Parser::Custom(_) = parser {
            // It is user code, so the decoder is taken out meanwhile.
            let taken = self.with_client(session, |client| std::mem::take(&mut client.decoder));
            let Some(mut decoder) = taken else { return };
            let packet = decode(&mut decoder);
            self.with_client(session, |client| client.decoder = decoder);
            packet
        } else {
            let Some(packet) = self.with_client(session, |client| decode(&mut client.decoder))
            else {
                return;
            };
            packet
        };
        match packet {
            Ok(Some(packet)) => self.packet(session, &packet),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(?session, %error, "a client sent something that is no packet");
                self.metrics.parse_errors.add(1);
                self.break_off(session, DisconnectReason::ParseError);
            }
        }
    }

    fn packet(self: &Rc<Self>, session: SessionKey, packet: &Packet<'_>) {
        let target = match &packet.nsp_query {
            Some(_) if self.query_is_name(session) => None,
            _ => self.addressee(session, &packet.nsp),
        };
        let Some(target) = target else {
            return match packet.kind {
                PacketKind::Connect => self.connect_packet(session, packet),
                _ => self.out_of_order(session, packet.kind),
            };
        };
        match packet.kind {
            PacketKind::Event => self.event(&target, packet),
            PacketKind::Ack => self.acknowledged(&target.socket, packet),
            PacketKind::Disconnect => {
                self.close_socket(&target.socket, DisconnectReason::ClientNamespaceDisconnect);
            }
            PacketKind::Connect | PacketKind::ConnectError => {
                self.out_of_order(session, packet.kind);
            }
        }
    }

    /// The socket that a packet is for, with all handlers.
    fn addressee(&self, session: SessionKey, name: &str) -> Option<Addressee> {
        let mut state = self.state.borrow_mut();
        let ShardState { clients, namespaces, .. } = &mut *state;
        let client = clients.get_mut(session.slot()).filter(|c| c.session == session)?;
        for joined in &client.joined {
            let Some(Some(namespace)) = namespaces.get_mut(joined.namespace as usize) else {
                continue;
            };
            if namespace.name() == name {
                let member = namespace.get(joined.member?.get())?;
                let (socket, own) = (member.socket.clone(), member.own.clone());
                return Some(Addressee { socket, own, table: namespace.table() });
            }
        }
        None
    }

    fn event(self: &Rc<Self>, target: &Addressee, packet: &Packet<'_>) {
        let Some(event) = packet.event() else { return };
        self.metrics.events_in.add(1);
        if !self.wait(&target.socket, &event, packet.id) {
            self.handle(target, &event, packet.id);
        }
    }

    /// Calls the handlers of an event.
    pub(super) fn handle(self: &Rc<Self>, target: &Addressee, event: &Event<'_>, ack: Option<u64>) {
        let Addressee { socket, table, own } = target;
        let name = event.name;
        let details = EventDetails { name, args: &event.args, ack };
        let context = Context { subject: socket, details };
        for table in [Some(table), own.as_ref()].into_iter().flatten() {
            for listener in &table.any {
                self.run(&**listener, &context, name);
            }
        }
        let mut handled = false;
        for table in [Some(table), own.as_ref()].into_iter().flatten() {
            for listener in table.event(name) {
                handled = true;
                self.run(&**listener, &context, name);
            }
        }
        if !handled {
            for listener in &table.fallback {
                self.run(&**listener, &context, name);
            }
        }
    }

    /// A socket as the target of an event, if it is still connected.
    pub(super) fn target(&self, socket: &Socket) -> Option<Addressee> {
        self.with_namespace(socket, |namespace| {
            let own = namespace.find(socket)?.own.clone();
            Some(Addressee { socket: socket.clone(), own, table: namespace.table() })
        })?
    }

    /// Acknowledgements that nobody waits for, late, surplus or made up, are ignored and counted.
    fn acknowledged(&self, socket: &Socket, packet: &Packet<'_>) {
        let id = packet.id.and_then(|id| u32::try_from(id).ok());
        let pending = id.and_then(|id| self.with_member(socket, |member| member.take_ack(id))?);
        let Some(pending) = pending else { return self.metrics.acks_ignored.add(1) };
        self.metrics.acks_in.add(1);
        match pending {
            PendingAck::One(reply) => {
                let _ = reply.send(packet.args().into_owned());
            }
            PendingAck::Broadcast(acks) => acks.acknowledged(self.index, packet.args()),
        }
    }

    /// A packet for a namespace that is not joined, or one that makes no sense: the official server
    /// closes the connection.
    fn out_of_order(self: &Rc<Self>, session: SessionKey, kind: PacketKind) {
        tracing::debug!(?session, ?kind, "a client sent a packet out of order");
        self.metrics.state_errors.add(1);
        self.break_off(session, DisconnectReason::ForcedServerClose);
    }

    fn connect_packet(self: &Rc<Self>, session: SessionKey, packet: &Packet<'_>) {
        let Some(version) = self.with_client(session, |client| client.version) else { return };
        let auth = match version {
            Version::V3 => Ok(packet.nsp_query.as_deref().map(query_object)),
            Version::V4 => packet.payload(),
        };
        let Ok(auth) = auth else {
            self.metrics.parse_errors.add(1);
            return self.break_off(session, DisconnectReason::ParseError);
        };
        match &packet.nsp_query {
            Some(query) if self.query_is_name(session) => {
                self.ask_to_join(session, &format!("{}?{query}", packet.nsp), auth);
            }
            _ => self.ask_to_join(session, &packet.nsp, auth),
        }
    }

    /// Only the old protocols have a query behind a namespace; in later ones it is part of the name,
    /// and no namespace has such a name.
    fn query_is_name(&self, session: SessionKey) -> bool {
        self.with_client(session, |client| client.version) == Some(Version::V4)
    }

    /// A client asks to join a namespace.
    fn ask_to_join(self: &Rc<Self>, session: SessionKey, name: &str, auth: Option<Value>) {
        if self.core.is_closing() {
            return self.break_off(session, DisconnectReason::ServerShuttingDown);
        }
        let Some(namespace) = self.core.find(name) else {
            let refusal = Refusal { message: "Invalid namespace", data: None };
            return self.refuse(session, name, &refusal);
        };
        let index = namespace.shared().index;
        let max = self.core.options.limits.namespaces_per_connection;
        let known = self.with_client(session, |client| {
            let asked_before = client.joined.iter().any(|joined| joined.namespace == index);
            (
                asked_before,
                client.joined.len() >= max,
                client.version,
                Arc::clone(&client.handshake),
            )
        });
        let Some((asked_before, full, version, handshake)) = known else { return };
        if asked_before {
            return self.out_of_order(session, PacketKind::Connect);
        }
        if full {
            let refusal = Refusal { message: "Too many namespaces", data: None };
            return self.refuse(session, name, &refusal);
        }
        let id = self.new_id(session, version, name);
        let shard = self.index;
        let parts = SocketParts { id, namespace, handshake, auth, session, shard, version };
        self.examine(Socket::new(parts));
    }

    /// The id of a new socket. Old clients make up their ids themselves and have to be met.
    fn new_id(&self, session: SessionKey, version: Version, namespace: &str) -> SocketId {
        if version == Version::V3
            && let Some(sid) = self.engine.sid(session)
        {
            let (sid, slash) = (sid.text(), namespace == "/");
            let sid = sid.as_str();
            return SocketId::named(&if slash {
                sid.to_owned()
            } else {
                format!("{namespace}#{sid}")
            });
        }
        SocketId::random(self.engine.random())
    }

    /// Lets the middlewares examine a socket; without any, it is in.
    fn examine(self: &Rc<Self>, socket: Socket) {
        let table = {
            let mut state = self.state.borrow_mut();
            let namespace = socket.namespace().clone();
            let index = namespace.shared().index;
            let Some(client) = state.client(socket.session()) else { return };
            client.joined.push(Joined { namespace: index, member: None });
            state.make_namespace(namespace).table()
        };
        if table.middlewares.is_empty() {
            return self.admit(&socket);
        }
        self.begin(Rc::clone(self).examination(socket, table));
    }

    async fn examination(self: Rc<Self>, socket: Socket, table: Rc<Table>) {
        let in_flight = self.take_off();
        for middleware in &table.middlewares {
            let context = Context { subject: &socket, details: () };
            if let Err(error) = self.run_middleware(&**middleware, &context).await {
                return self.turn_away(&socket, &error);
            }
        }
        drop(in_flight);
        if self.core.is_closing() {
            return self.break_off(socket.session(), DisconnectReason::ServerShuttingDown);
        }
        self.admit(&socket);
    }

    /// The socket is in: it gets its place, the client is told, and its handlers are called.
    fn admit(self: &Rc<Self>, socket: &Socket) {
        let (table, member, first) = {
            let mut state = self.state.borrow_mut();
            let ShardState { clients, namespaces, .. } = &mut *state;
            let index = socket.namespace().shared().index;
            let client = clients.get_mut(socket.session().slot());
            let client = client.filter(|client| client.session == socket.session());
            // The client may have gone while the middlewares were at work.
            let Some(client) = client else { return };
            let Some(Some(namespace)) = namespaces.get_mut(index as usize) else { return };
            let Some(joined) = client.joined.iter_mut().find(|j| j.namespace == index) else {
                return;
            };
            let first = namespace.is_empty();
            let member = namespace.insert(socket.clone());
            joined.member = MemberIndex::new(member);
            client.settled = true;
            (namespace.table(), member, first)
        };
        if let Some(hub) = &self.hub {
            let name = socket.namespace().name();
            if first {
                hub.subscribe(Topic::Namespace(name));
            }
            hub.subscribe(Topic::Room(name, socket.id().as_str()));
        }
        let early = socket.set_connected(member);
        for registration in &early.registrations {
            self.register(socket, registration);
        }
        if let Err(error) = self.join(socket, &early.rooms) {
            sedge_log::warn_rarely!(socket = %socket.id(), %error, "a room was not joined");
        }
        self.metrics.sockets.add(1);
        self.metrics.connects.add(1);
        let _ = socket.send_packet(SendOptions::default(), |parser, nsp, out| {
            match socket.protocol_version() {
                Version::V3 => parser.connect(nsp, None::<&()>, out),
                Version::V4 => {
                    parser.connect(nsp, Some(&ConnectAnswer { sid: socket.id().as_str() }), out)
                }
            }
        });
        let context = Context { subject: socket, details: () };
        for listener in &table.connect {
            self.run(&**listener, &context, "connect");
        }
    }

    /// A middleware has refused the socket.
    fn turn_away(&self, socket: &Socket, error: &ConnectError) {
        let index = socket.namespace().shared().index;
        self.with_client(socket.session(), |client| {
            client.joined.retain(|joined| joined.namespace != index);
        });
        let name = socket.namespace().name();
        let refusal = Refusal { message: error.message(), data: error.details() };
        match socket.protocol_version() {
            Version::V4 => self.refuse(socket.session(), name, &refusal),
            // The clients of those days get the bare details, or the bare message.
            Version::V3 => match error.details() {
                Some(details) => self.refuse(socket.session(), name, details),
                None => self.refuse(socket.session(), name, error.message()),
            },
        }
    }

    fn refuse<T: Serialize + ?Sized>(&self, session: SessionKey, name: &str, refusal: &T) {
        self.metrics.connects_refused.add(1);
        self.send_plain(session, |parser, out| parser.connect_error(name, refusal, out));
    }

    /// Sends a packet that is no socket's.
    fn send_plain(
        &self,
        session: SessionKey,
        encode: impl FnOnce(&Parser, &mut MessageBuf) -> Result<(), EncodeError>,
    ) -> Option<Sent> {
        LocalShard::with_buffer(&self.core, |buffer| {
            encode(&self.core.options.parser, buffer).ok()?;
            Some(self.send(session, messages(buffer), SendOptions::default()))
        })
    }

    /// The server disconnects a socket, and with `close` its connection.
    pub(crate) fn disconnect(self: &Rc<Self>, socket: &Socket, close: bool) {
        if !socket.connected() {
            return;
        }
        let session = socket.session();
        let sockets = if close { self.sockets_of(session) } else { [socket.clone()].into() };
        for socket in &sockets {
            let _ = socket.send_packet(SendOptions::default(), |parser, nsp, out| {
                parser.disconnect(nsp, out)
            });
            self.close_socket(socket, DisconnectReason::ServerNamespaceDisconnect);
        }
        if close {
            self.break_off(session, DisconnectReason::ForcedServerClose);
        }
    }

    /// Ends a connection from here.
    pub(super) fn break_off(self: &Rc<Self>, session: SessionKey, reason: DisconnectReason) {
        self.engine.close(session);
        self.close_client(session, reason);
    }

    /// A connection has ended: so have its sockets, in the order in which they joined.
    pub(super) fn close_client(self: &Rc<Self>, session: SessionKey, reason: DisconnectReason) {
        let sockets = self.sockets_of(session);
        let mut client = self.state.borrow_mut().take_client(session);
        self.drop_waiting(client.as_mut().and_then(|client| client.waiting.take()));
        for socket in &sockets {
            self.close_socket(socket, reason);
        }
        drop(client);
    }

    /// The connected sockets of a connection.
    fn sockets_of(&self, session: SessionKey) -> SmallVec<[Socket; 1]> {
        let mut state = self.state.borrow_mut();
        let Some(client) = state.client(session) else { return SmallVec::new() };
        let joined = client.joined.clone();
        let socket = |joined: Joined| {
            let namespace = state.namespaces.get(joined.namespace as usize)?.as_ref()?;
            Some(namespace.get(joined.member?.get())?.socket.clone())
        };
        joined.into_iter().filter_map(socket).collect()
    }

    /// A socket is gone: it leaves everything, who waits for it is told, and so are its handlers.
    fn close_socket(self: &Rc<Self>, socket: &Socket, reason: DisconnectReason) {
        let mut ended = Changed::new(self.hub.as_ref());
        let (mut member, rooms, table, last) = {
            let mut state = self.state.borrow_mut();
            let index = socket.namespace().shared().index;
            if let Some(client) = state.client(socket.session()) {
                client.joined.retain(|joined| joined.namespace != index);
            }
            let Some(namespace) = state.namespace(index) else { return };
            if namespace.find(socket).is_none() {
                return;
            }
            let removed = namespace.remove(socket.member(), |room| ended.note(room, true));
            let Some((member, rooms)) = removed else { return };
            (member, rooms, namespace.table(), namespace.is_empty())
        };
        if let Some(hub) = &self.hub {
            let name = socket.namespace().name();
            ended.unsubscribe(name);
            hub.unsubscribe(Topic::Room(name, socket.id().as_str()));
            if last {
                hub.unsubscribe(Topic::Namespace(name));
            }
        }
        let own = member.own.take();
        let told = !table.disconnect.is_empty() || own.is_some();
        let all_rooms = || std::iter::once(socket.id().room()).chain(rooms).collect();
        socket.set_disconnected(told.then(all_rooms));
        self.metrics.sockets.sub(1);
        for pending in member.take_acks() {
            if let PendingAck::Broadcast(acks) = pending {
                acks.lost(self.index, 1);
            }
        }
        drop(member);
        let context = Context { subject: socket, details: reason };
        for table in [Some(&table), own.as_ref()].into_iter().flatten() {
            for listener in &table.disconnect {
                self.run::<stage::Disconnect>(&**listener, &context, "disconnect");
            }
        }
    }

    /// The client of a session, if it is still there. `f` must not call user code.
    pub(super) fn with_client<R>(
        &self,
        session: SessionKey,
        f: impl FnOnce(&mut Client) -> R,
    ) -> Option<R> {
        self.state.borrow_mut().client(session).map(f)
    }
}

/// A socket that a packet is for, and the handlers it may meet.
pub(super) struct Addressee {
    socket: Socket,
    table: Rc<Table>,
    own: Option<Rc<Table>>,
}

/// A query string as an object of strings; of a repeated name the last one counts.
fn query_object(query: &str) -> Value {
    let fields = form_urlencoded::parse(query.as_bytes()).take(QUERY_FIELDS_MAX);
    let mut fields: Vec<(String, Value)> =
        fields.map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
    let mut seen = HashSet::new();
    fields.reverse();
    fields.retain(|(name, _)| seen.insert(name.clone()));
    fields.reverse();
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_an_object_without_repetitions() {
        let object = |query| serde_json::to_string(&query_object(query)).unwrap();
        assert_eq!(object(""), "{}");
        assert_eq!(object("b=1&a=%20&b=2&c"), r#"{"a":" ","b":"2","c":""}"#);
        let Value::Object(fields) = query_object(&"&a=1".repeat(5)) else { unreachable!() };
        assert_eq!(fields.len(), 1);
        let many = (0..5000).map(|n| n.to_string()).collect::<Vec<_>>().join("&");
        let Value::Object(fields) = query_object(&many) else { unreachable!() };
        assert_eq!(fields.len(), QUERY_FIELDS_MAX);
    }
}
