//! Which sockets of a namespace an operation is meant for, and how it is to be carried.
//!
//! A [`Target`] is what `to`, `in`, `except` and the flags of a broadcast operator add up to. It is
//! resolved by each shard against its own index: see [`Rooms::select`](crate::Rooms::select).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

/// The name of a room. Clones share the text, so a target is cheap to hand to every shard.
pub type Room = Arc<str>;

/// A short list of rooms: one or two need no allocation of their own.
pub type RoomList = SmallVec<[Room; 2]>;

/// The sockets an operation is meant for: the union of `rooms`, each socket once, minus the union
/// of `except`. No rooms means every socket of the namespace.
///
/// A socket's own id works as a room in both lists, without being stored in any index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Rooms whose members are meant; empty means everybody. Repetitions do no harm.
    pub rooms: RoomList,
    /// Rooms whose members are left out, even where `rooms` names them.
    pub except: RoomList,
    /// How the operation is carried.
    pub flags: Flags,
}

/// How an operation is carried. The defaults are those of the official server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The packet may be dropped for a socket whose transport cannot take it at once.
    pub volatile: bool,
    /// Whether the packet may be compressed; `None` leaves it to the configuration.
    pub compress: Option<bool>,
    /// Only sockets of this process are meant; the operation goes to no bus.
    pub local: bool,
    /// How long answers and acknowledgements are waited for; `None` is the requester's default.
    pub timeout: Option<Duration>,
}

impl Target {
    /// Every socket of the namespace.
    pub fn everyone() -> Self {
        Self::default()
    }

    /// The members of these rooms. An empty list means every socket, as in the official server.
    pub fn rooms(rooms: impl IntoRooms) -> Self {
        Self::default().to(rooms)
    }

    /// Adds rooms whose members are meant.
    pub fn to(mut self, rooms: impl IntoRooms) -> Self {
        rooms.append_to(&mut self.rooms);
        self
    }

    /// Adds rooms whose members are left out.
    pub fn except(mut self, rooms: impl IntoRooms) -> Self {
        rooms.append_to(&mut self.except);
        self
    }

    /// Whether every socket of the namespace is meant, without exception.
    pub fn is_everyone(&self) -> bool {
        self.rooms.is_empty() && self.except.is_empty()
    }
}

/// What can be named where rooms are wanted: one name or a list of names.
///
/// Types of other crates that stand for one room, such as a socket id, implement this by appending
/// the text that names them.
pub trait IntoRooms {
    /// Appends the named rooms to `list`.
    fn append_to(self, list: &mut RoomList);

    /// The named rooms as a list.
    fn into_rooms(self) -> RoomList
    where
        Self: Sized,
    {
        let mut list = RoomList::new();
        self.append_to(&mut list);
        list
    }
}

impl IntoRooms for Room {
    fn append_to(self, list: &mut RoomList) {
        list.push(self);
    }
}

impl IntoRooms for &Room {
    fn append_to(self, list: &mut RoomList) {
        list.push(Arc::clone(self));
    }
}

impl IntoRooms for RoomList {
    fn append_to(self, list: &mut RoomList) {
        list.extend(self);
    }
}

/// One name, given as any kind of text.
macro_rules! one_room {
    ($($text:ty),+) => {$(
        impl IntoRooms for $text {
            fn append_to(self, list: &mut RoomList) {
                list.push(Room::from(self));
            }
        }
    )+};
}
one_room!(&str, String, Cow<'_, str>);

impl IntoRooms for &String {
    fn append_to(self, list: &mut RoomList) {
        list.push(Room::from(self.as_str()));
    }
}

impl<T: AsRef<str>> IntoRooms for &[T] {
    fn append_to(self, list: &mut RoomList) {
        list.extend(self.iter().map(|room| Room::from(room.as_ref())));
    }
}

impl<T: AsRef<str>> IntoRooms for &Vec<T> {
    fn append_to(self, list: &mut RoomList) {
        self.as_slice().append_to(list);
    }
}

impl<T: AsRef<str>, const N: usize> IntoRooms for &[T; N] {
    fn append_to(self, list: &mut RoomList) {
        self.as_slice().append_to(list);
    }
}

impl<T: IntoRooms> IntoRooms for Vec<T> {
    fn append_to(self, list: &mut RoomList) {
        for rooms in self {
            rooms.append_to(list);
        }
    }
}

impl<T: IntoRooms, const N: usize> IntoRooms for [T; N] {
    fn append_to(self, list: &mut RoomList) {
        for rooms in self {
            rooms.append_to(list);
        }
    }
}

impl<T: IntoRooms> IntoRooms for Option<T> {
    fn append_to(self, list: &mut RoomList) {
        if let Some(rooms) = self {
            rooms.append_to(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(rooms: impl IntoRooms) -> Vec<String> {
        rooms.into_rooms().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_kind_of_text_names_a_room() {
        let (shared, owned) = (Room::from("a"), String::from("a"));
        assert_eq!(names("a"), ["a"]);
        assert_eq!(names(&owned), ["a"]);
        assert_eq!(names(owned), ["a"]);
        assert_eq!(names(Cow::Borrowed("a")), ["a"]);
        assert_eq!(names(&shared), ["a"]);
        assert_eq!(names(shared), ["a"]);
    }

    #[test]
    fn every_kind_of_list_names_its_rooms_in_order() {
        let both = ["a", "b"];
        let owned = both.map(str::to_owned);
        let list = owned.to_vec();
        assert_eq!(names(both), both);
        assert_eq!(names(&owned[..]), both);
        assert_eq!(names(&owned), both);
        assert_eq!(names(owned), both);
        assert_eq!(names(&list), both);
        assert_eq!(names(list), both);
        assert_eq!(names(both.into_rooms()), both);
        assert_eq!(names([Some("a"), None, Some("b")]), both);
        assert!(names(Vec::<String>::new()).is_empty());
    }

    #[test]
    fn a_target_adds_up() {
        let target = Target::rooms("a").to(["b", "c"]).except("d");
        assert_eq!(target.rooms.as_slice(), ["a".into(), "b".into(), "c".into()]);
        assert_eq!(target.except.as_slice(), ["d".into()]);
        assert!(!target.is_everyone());
        assert!(Target::everyone().is_everyone());
        assert!(!Target::everyone().except("d").is_everyone());
        assert!(Target::rooms(Vec::<String>::new()).is_everyone(), "no rooms means everybody");
    }

    #[test]
    fn a_clone_shares_the_names() {
        let target = Target::rooms("a");
        let clone = target.clone();
        assert!(Arc::ptr_eq(&target.rooms[0], &clone.rooms[0]));
    }
}
