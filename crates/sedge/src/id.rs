//! The public name of a socket.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sedge_adapter::{IntoRooms, Room, RoomList};
use sedge_protocol::sid::{ID_CHARS, PublicId};
use serde::{Serialize, Serializer};

/// The id of a socket: public, random, and different from the secret id of the connection. It
/// works as the name of a room in which the socket is alone.
///
/// It has 20 characters of `[A-Za-z0-9_-]`. With clients of Socket.IO 1 and 2 it looks as those
/// expect it: the connection's id in the root namespace, `/chat#<connection's id>` elsewhere.
#[derive(Clone)]
pub struct SocketId(Repr);

#[derive(Clone)]
enum Repr {
    Random([u8; ID_CHARS]),
    Named(Arc<str>),
}

impl SocketId {
    /// A new id of 15 random bytes.
    pub(crate) fn random(random: [u8; 15]) -> Self {
        SocketId(Repr::Random(*PublicId::from_random(random).text().as_bytes()))
    }

    /// An id that follows from other names.
    pub(crate) fn named(name: &str) -> Self {
        SocketId(Repr::Named(name.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // Always ASCII; the default is unreachable.
            Repr::Random(text) => std::str::from_utf8(text).unwrap_or_default(),
            Repr::Named(name) => name,
        }
    }

    /// The id as the name of a room.
    pub(crate) fn room(&self) -> Room {
        match &self.0 {
            Repr::Random(_) => self.as_str().into(),
            Repr::Named(name) => Arc::clone(name),
        }
    }
}

impl IntoRooms for SocketId {
    fn append_to(self, list: &mut RoomList) {
        list.push(self.room());
    }
}

impl IntoRooms for &SocketId {
    fn append_to(self, list: &mut RoomList) {
        list.push(self.room());
    }
}

impl AsRef<str> for SocketId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for SocketId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for SocketId {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for SocketId {}

impl PartialEq<str> for SocketId {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for SocketId {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialOrd for SocketId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SocketId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for SocketId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for SocketId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_has_twenty_characters_and_names_a_room() {
        let id = SocketId::random([7; 15]);
        assert_eq!(id.as_str().len(), 20);
        assert_eq!((&id).into_rooms().as_slice(), [Room::from(id.as_str())]);
    }

    #[test]
    fn the_form_of_an_id_makes_no_difference() {
        let random = SocketId::random([1; 15]);
        let named = SocketId::named(random.as_str());
        assert_eq!(random, named);
        assert_eq!(random.to_string(), named.to_string());
        assert_eq!(size_of::<SocketId>(), 24);
    }
}
