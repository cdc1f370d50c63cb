//! The room index: its rules one by one, then random operation sequences against a naive model.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const A: MemberId = MemberId(0);
const B: MemberId = MemberId(1);
const C: MemberId = MemberId(2);
const CREATED: Result<Joined, JoinError> = Ok(Joined::Joined { room_created: true });
const JOINED: Result<Joined, JoinError> = Ok(Joined::Joined { room_created: false });

/// Selects among `members`, none of which has an id that works as a room.
fn select(rooms: &mut Rooms, target: &Target, members: &[MemberId]) -> Vec<MemberId> {
    select_with(rooms, target, members, |_| None)
}

fn select_with(
    rooms: &mut Rooms,
    target: &Target,
    members: &[MemberId],
    own: impl Fn(&str) -> Option<MemberId>,
) -> Vec<MemberId> {
    let mut out = vec![MemberId(77)];
    rooms.select(target, members.iter().copied(), own, &mut out);
    out.sort_unstable();
    out
}

/// A is in `red`, B in `red` and `blue`, C in nothing.
fn three() -> Rooms {
    let mut rooms = Rooms::default();
    for (member, room) in [(A, "red"), (B, "red"), (B, "blue")] {
        rooms.join(member, room).unwrap();
    }
    rooms
}

#[test]
fn a_room_exists_as_long_as_it_has_members() {
    let mut rooms = Rooms::default();
    assert_eq!(rooms.join(A, "red"), CREATED);
    assert_eq!(rooms.join(B, "red"), JOINED);
    assert_eq!(rooms.join(B, "red"), Ok(Joined::AlreadyIn));
    assert_eq!((rooms.room_count(), rooms.len("red")), (1, 2));

    assert_eq!(rooms.leave(A, "red"), Left::Left { room_deleted: false });
    assert_eq!(rooms.leave(A, "red"), Left::NotIn);
    assert_eq!(rooms.members("red"), [B]);
    assert_eq!(rooms.leave(B, "red"), Left::Left { room_deleted: true });
    assert_eq!(rooms.leave(B, "red"), Left::NotIn);
    assert_eq!((rooms.room_count(), rooms.len("red")), (0, 0));
    assert!(rooms.is_empty("red") && rooms.members("red").is_empty());
    assert_eq!(rooms.join(C, "red"), CREATED, "it can come into being again");
}

#[test]
fn leaving_everything_says_what_was_left() {
    let mut rooms = three();
    let mut left = BTreeMap::new();
    rooms.leave_all(B, |room, deleted| {
        left.insert(room.to_owned(), deleted);
    });
    assert_eq!(left, BTreeMap::from([("blue".to_owned(), true), ("red".to_owned(), false)]));
    assert_eq!(rooms.rooms_of(B).count(), 0);
    assert_eq!(rooms.members("red"), [A]);
    rooms.leave_all(B, |room, _| panic!("{room} was left twice"));
    rooms.leave_all(MemberId(1000), |room, _| panic!("a stranger left {room}"));
}

#[test]
fn a_member_knows_its_rooms() {
    let mut rooms = three();
    let of = |rooms: &Rooms, member| -> BTreeSet<String> {
        rooms.rooms_of(member).map(str::to_owned).collect()
    };
    assert_eq!(of(&rooms, B), ["blue", "red"].map(str::to_owned).into());
    assert!(rooms.is_in(B, "blue") && !rooms.is_in(A, "blue") && !rooms.is_in(C, "red"));
    for n in 0..20 {
        rooms.join(B, &n.to_string()).unwrap();
    }
    assert_eq!((rooms.count_of(B), of(&rooms, B).len()), (22, 22));
    for n in 0..20 {
        rooms.leave(B, &n.to_string());
    }
    assert_eq!(of(&rooms, B), ["blue", "red"].map(str::to_owned).into());
    assert_eq!(rooms.iter().map(|(_, members)| members.len()).sum::<usize>(), 3);
}

#[test]
fn a_target_is_a_union_minus_a_union() {
    let all = [A, B, C];
    let mut rooms = three();
    let mut check = |target: Target, expected: &[MemberId]| {
        assert_eq!(select(&mut rooms, &target, &all), expected, "{target:?}");
    };
    check(Target::everyone(), &[A, B, C]);
    check(Target::everyone().except("red"), &[C]);
    check(Target::everyone().except("none"), &[A, B, C]);
    check(Target::everyone().except(["blue", "none"]), &[A, C]);
    check(Target::rooms("red"), &[A, B]);
    check(Target::rooms("none"), &[]);
    check(Target::rooms("red").except("blue"), &[A]);
    check(Target::rooms("red").except(["blue", "red"]), &[]);
    check(Target::rooms(["red", "blue"]), &[A, B]);
    check(Target::rooms(["red", "red", "none"]), &[A, B]);
    check(Target::rooms(["red", "blue"]).except("blue"), &[A]);
}

#[test]
fn a_socket_id_is_a_room_without_being_stored() {
    let all = [A, B, C];
    let own = |name: &str| match name {
        "id-a" => Some(A),
        "id-c" => Some(C),
        _ => None,
    };
    let mut rooms = three();
    let mut check = |target: Target, expected: &[MemberId]| {
        assert_eq!(select_with(&mut rooms, &target, &all, own), expected, "{target:?}");
    };
    check(Target::rooms("id-c"), &[C]);
    check(Target::rooms(["id-c", "id-c"]), &[C]);
    check(Target::rooms(["id-a", "red", "id-c"]), &[A, B, C]);
    check(Target::rooms("red").except("id-a"), &[B]);
    check(Target::rooms("red").except("id-c"), &[A, B]);
    check(Target::rooms("id-c").except("id-c"), &[]);
    check(Target::rooms(["red", "id-c"]).except("id-a"), &[B, C]);
    check(Target::rooms(["red", "id-c"]).except(["id-a", "id-c"]), &[B]);
    check(Target::everyone().except("id-c"), &[A, B]);
    check(Target::everyone().except(["id-c", "blue"]), &[A]);
    assert_eq!(rooms.room_count(), 2);
}

#[test]
fn others_may_join_a_room_named_like_a_socket() {
    let own = |name: &str| (name == "id-a").then_some(A);
    let mut rooms = three();
    rooms.join(B, "id-a").unwrap();
    let mut check = |target: Target, expected: &[MemberId]| {
        assert_eq!(select_with(&mut rooms, &target, &[A, B, C], own), expected, "{target:?}");
    };
    check(Target::rooms("id-a"), &[A, B]);
    check(Target::rooms("id-a").except("blue"), &[A]);
    check(Target::everyone().except("id-a"), &[C]);
    check(Target::rooms("red").except("id-a"), &[]);
    rooms.join(A, "id-a").unwrap();
    let target = Target::rooms("id-a");
    assert_eq!(select_with(&mut rooms, &target, &[A, B, C], own), [A, B], "each only once");
}

#[test]
fn each_limit_is_named_and_changes_nothing() {
    let limits = RoomLimits { rooms_per_member: 3, name_len_max: 4, rooms_max: 4 };
    let mut rooms = Rooms::new(limits);
    let long = JoinError::NameTooLong { len: 5, limit: 4 };
    assert_eq!(rooms.join(A, "äöü"), Err(JoinError::NameTooLong { len: 6, limit: 4 }));
    assert_eq!(rooms.join(A, "12345"), Err(long));
    assert_eq!(rooms.join(A, "1234"), CREATED);
    assert_eq!(rooms.join(A, ""), CREATED, "the empty name is a name");
    assert_eq!(rooms.join(A, "3"), CREATED);
    assert_eq!(rooms.join(A, "4"), Err(JoinError::TooManyRooms { limit: 3 }));
    assert_eq!(rooms.join(A, "3"), Ok(Joined::AlreadyIn), "which needs no room");
    assert_eq!(rooms.join(B, "4"), CREATED);
    assert_eq!(rooms.join(B, "5"), Err(JoinError::IndexFull { limit: 4 }));
    assert_eq!(rooms.join(B, "3"), JOINED, "an existing room takes no slot");
    assert_eq!((rooms.room_count(), rooms.count_of(A), rooms.count_of(B)), (4, 3, 2));
    rooms.leave(A, "3");
    assert_eq!(rooms.join(A, "4"), JOINED);
}

#[test]
fn memory_is_given_back_after_a_crowd() {
    let mut rooms = Rooms::default();
    for n in 0..10_000 {
        rooms.join(MemberId(n), "crowd").unwrap();
        rooms.join(MemberId(n), "all").unwrap();
        rooms.join(MemberId(n), &format!("one of {n}")).unwrap();
    }
    for n in 10..10_000 {
        rooms.leave_all(MemberId(n), |_, _| {});
    }
    let slot = rooms.find("crowd").unwrap() as usize;
    assert!(rooms.slots[slot].members.capacity() <= 64, "a room shrinks by itself");
    assert_eq!(rooms.memberships.footprint().1, 10, "so do those who were in many rooms");

    rooms.shrink_to_fit();
    assert_eq!(rooms.memberships.footprint().0, 10);
    assert!(rooms.slots.capacity() < 100 && rooms.by_name.capacity() < 100);
    assert_eq!((rooms.len("crowd"), rooms.room_count()), (10, 12));
    assert!((0..10).all(|n| rooms.is_in(MemberId(n), &format!("one of {n}"))));
}

#[test]
fn one_member_in_many_rooms_gives_back_its_map() {
    let mut rooms = Rooms::default();
    let names: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    for name in &names {
        assert_eq!(rooms.join(A, name), CREATED);
    }
    for name in &names[1..] {
        assert_eq!(rooms.leave(A, name), Left::Left { room_deleted: true });
        assert!(rooms.is_in(A, "0"));
        let (_, _, capacity) = rooms.memberships.footprint();
        assert!(capacity <= 28.max(rooms.count_of(A) * 8), "{capacity} places are kept");
    }
    assert_eq!(rooms.memberships.footprint().1, 0);
    assert_eq!(rooms.rooms_of(A).collect::<Vec<_>>(), ["0"]);
}

#[test]
fn marks_of_four_billion_selections_ago_mean_nothing() {
    let mut rooms = three();
    let target = Target::rooms(["red", "blue"]);
    // Both 0 and the highest number are followed by 1, which old stamps could be mistaken for.
    for epoch in [0, u32::MAX, u32::MAX - 1, u32::MAX] {
        rooms.memberships.set_epoch(epoch);
        assert_eq!(select(&mut rooms, &target, &[]), [A, B], "after epoch {epoch}");
    }
}

/// The same sets kept in the plainest way.
#[derive(Default)]
struct Model {
    alive: BTreeSet<u32>,
    rooms: BTreeMap<String, BTreeSet<u32>>,
}

impl Model {
    fn own(&self, name: &str) -> Option<MemberId> {
        let id = name.strip_prefix('@')?.parse().ok()?;
        self.alive.contains(&id).then_some(MemberId(id))
    }

    fn union(&self, names: &[Room]) -> BTreeSet<u32> {
        let members = |name: &Room| self.rooms.get(&**name).cloned().unwrap_or_default();
        let mut union: BTreeSet<u32> = names.iter().flat_map(members).collect();
        union.extend(names.iter().filter_map(|name| self.own(name)).map(|member| member.0));
        union
    }

    fn select(&self, target: &Target) -> BTreeSet<u32> {
        let everybody = target.rooms.is_empty();
        let mut meant = if everybody { self.alive.clone() } else { self.union(&target.rooms) };
        for member in self.union(&target.except) {
            meant.remove(&member);
        }
        meant
    }

    fn leave(&mut self, member: u32, room: &str) -> Left {
        let Some(members) = self.rooms.get_mut(room) else { return Left::NotIn };
        if !members.remove(&member) {
            return Left::NotIn;
        }
        let room_deleted = members.is_empty();
        if room_deleted {
            self.rooms.remove(room);
        }
        Left::Left { room_deleted }
    }

    fn rooms_of(&self, member: u32) -> BTreeSet<&str> {
        let rooms = self.rooms.iter().filter(|(_, members)| members.contains(&member));
        rooms.map(|(name, _)| name.as_str()).collect()
    }
}

/// Marsaglia's xorshift: the sequences must be the same in every run.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % u64::from(end)) as u32
    }

    /// A room, or now and then the id of a member.
    fn room(&mut self, members: u32) -> String {
        match self.below(5) {
            0 => format!("@{}", self.below(members)),
            _ => format!("room {}", self.below(9)),
        }
    }

    fn names(&mut self, members: u32) -> Vec<String> {
        (0..self.below(4)).map(|_| self.room(members)).collect()
    }
}

fn step(rooms: &mut Rooms, model: &mut Model, random: &mut Xorshift, members: u32) {
    let id = random.below(members);
    let room = random.room(members);
    match random.below(10) {
        0..=4 => {
            model.alive.insert(id);
            let created = !model.rooms.contains_key(&room);
            let new = model.rooms.entry(room.clone()).or_default().insert(id);
            let expected =
                if new { Joined::Joined { room_created: created } } else { Joined::AlreadyIn };
            assert_eq!(rooms.join(MemberId(id), &room), Ok(expected));
        }
        5..=6 => assert_eq!(rooms.leave(MemberId(id), &room), model.leave(id, &room)),
        7 => {
            model.alive.remove(&id);
            let mut left = BTreeMap::new();
            rooms.leave_all(MemberId(id), |name, deleted| {
                assert!(left.insert(name.to_owned(), deleted).is_none());
            });
            let known: Vec<_> = model.rooms_of(id).into_iter().map(str::to_owned).collect();
            assert_eq!(left.len(), known.len());
            for name in known {
                assert_eq!(model.leave(id, &name), Left::Left { room_deleted: left[&name] });
            }
        }
        8 if random.below(50) == 0 => rooms.shrink_to_fit(),
        _ => {
            let target = Target::rooms(random.names(members)).except(random.names(members));
            let mut out = Vec::new();
            let universe = model.alive.iter().map(|id| MemberId(*id));
            rooms.select(&target, universe, |name| model.own(name), &mut out);
            let distinct: BTreeSet<_> = out.iter().map(|member| member.0).collect();
            assert_eq!(distinct.len(), out.len(), "each member once");
            assert_eq!(distinct, model.select(&target), "{target:?}");
        }
    }
}

fn compare(rooms: &Rooms, model: &Model, members: u32) {
    assert_eq!(rooms.room_count(), model.rooms.len());
    let listed: BTreeMap<String, BTreeSet<u32>> = rooms
        .iter()
        .map(|(name, members)| (name.to_owned(), members.iter().map(|member| member.0).collect()))
        .collect();
    assert_eq!(listed, model.rooms);
    for (name, known) in &model.rooms {
        assert_eq!(rooms.len(name), known.len(), "nobody twice");
    }
    for id in 0..members {
        let of = model.rooms_of(id);
        assert_eq!(rooms.rooms_of(MemberId(id)).collect::<BTreeSet<_>>(), of);
        assert_eq!(rooms.count_of(MemberId(id)), of.len());
        assert!(of.iter().all(|name| rooms.is_in(MemberId(id), name)));
    }
}

#[test]
fn random_sequences_agree_with_the_model() {
    for seed in 1..=24 {
        let mut random = Xorshift(0x9E37_79B9_7F4A_7C15 ^ seed);
        let members = [1, 3, 12, 60][seed as usize % 4];
        let (mut rooms, mut model) = (Rooms::default(), Model::default());
        rooms.memberships.set_epoch(u32::MAX - 100);
        for turn in 0..1500 {
            step(&mut rooms, &mut model, &mut random, members);
            if turn % 20 == 0 {
                compare(&rooms, &model, members);
            }
        }
        for id in 0..members {
            rooms.leave_all(MemberId(id), |_, _| {});
        }
        assert_eq!((rooms.room_count(), rooms.memberships.footprint().1), (0, 0), "all is freed");
    }
}
