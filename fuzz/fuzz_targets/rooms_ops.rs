//! The room index on arbitrary sequences of operations: it agrees with plain sets at every step,
//! selects nobody twice, and is empty once everybody has left.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sedge_adapter::{JoinError, Joined, Left, MemberId, RoomLimits, Rooms, Target};

const LIMITS: RoomLimits = RoomLimits { rooms_per_member: 6, name_len_max: 8, rooms_max: 20 };

#[derive(Arbitrary, Debug)]
enum Step {
    Join(u8, Name),
    Leave(u8, Name),
    LeaveAll(u8),
    Select { rooms: Vec<Name>, except: Vec<Name> },
    Shrink,
}

/// Names are few, so that sequences meet; some are the ids of members, some are arbitrary.
#[derive(Arbitrary, Clone, Debug)]
enum Name {
    Room(u8),
    Own(u8),
    Raw(String),
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Room(n) => format!("r{}", n % 24),
            Self::Own(n) => format!("@{n}"),
            Self::Raw(text) => text.clone(),
        }
    }
}

#[derive(Default)]
struct Model {
    members: BTreeSet<u32>,
    rooms: BTreeMap<String, BTreeSet<u32>>,
}

impl Model {
    fn own(&self, name: &str) -> Option<MemberId> {
        let id = name.strip_prefix('@')?.parse().ok()?;
        self.members.contains(&id).then_some(MemberId(id))
    }

    fn union(&self, names: &[String]) -> BTreeSet<u32> {
        let joined = names.iter().filter_map(|name| self.rooms.get(name)).flatten().copied();
        joined.chain(names.iter().filter_map(|name| self.own(name)).map(|own| own.0)).collect()
    }

    fn count_of(&self, id: u32) -> usize {
        self.rooms.values().filter(|members| members.contains(&id)).count()
    }

    fn join(&mut self, id: u32, name: &str) -> Result<Joined, JoinError> {
        let known = self.rooms.get(name);
        let rooms = self.count_of(id);
        if name.len() > LIMITS.name_len_max {
            return Err(JoinError::NameTooLong { len: name.len(), limit: LIMITS.name_len_max });
        }
        if known.is_some_and(|members| members.contains(&id)) {
            return Ok(Joined::AlreadyIn);
        }
        if rooms >= LIMITS.rooms_per_member {
            return Err(JoinError::TooManyRooms { limit: LIMITS.rooms_per_member });
        }
        let room_created = known.is_none();
        if room_created && self.rooms.len() >= LIMITS.rooms_max as usize {
            return Err(JoinError::IndexFull { limit: LIMITS.rooms_max });
        }
        self.rooms.entry(name.to_owned()).or_default().insert(id);
        Ok(Joined::Joined { room_created })
    }

    fn leave(&mut self, id: u32, name: &str) -> Left {
        let Some(members) = self.rooms.get_mut(name) else { return Left::NotIn };
        if !members.remove(&id) {
            return Left::NotIn;
        }
        let room_deleted = members.is_empty();
        if room_deleted {
            self.rooms.remove(name);
        }
        Left::Left { room_deleted }
    }
}

fn leave_all(rooms: &mut Rooms, model: &mut Model, id: u32) {
    let expected = model.count_of(id);
    let mut left = 0;
    rooms.leave_all(MemberId(id), |name, room_deleted| {
        left += 1;
        assert_eq!(model.leave(id, name), Left::Left { room_deleted });
    });
    assert_eq!(left, expected);
    model.members.remove(&id);
}

fn select(rooms: &mut Rooms, model: &Model, names: &[Name], except: &[Name]) {
    let text = |names: &[Name]| names.iter().map(Name::text).collect::<Vec<_>>();
    let (names, except) = (text(names), text(except));
    let target = Target::rooms(&names).except(&except);
    let mut out = Vec::new();
    let universe = model.members.iter().map(|id| MemberId(*id));
    rooms.select(&target, universe, |name| model.own(name), &mut out);

    let selected: BTreeSet<u32> = out.iter().map(|member| member.0).collect();
    assert_eq!(selected.len(), out.len(), "each member once");
    let meant = if names.is_empty() { model.members.clone() } else { model.union(&names) };
    assert_eq!(selected, &meant - &model.union(&except));
}

fn compare(rooms: &Rooms, model: &Model) {
    assert_eq!(rooms.room_count(), model.rooms.len());
    for (name, members) in &model.rooms {
        let listed = rooms.members(name);
        assert_eq!(listed.len(), members.len());
        assert_eq!(listed.iter().map(|member| member.0).collect::<BTreeSet<_>>(), *members);
    }
    for &id in &model.members {
        let of: BTreeSet<_> = rooms.rooms_of(MemberId(id)).collect();
        assert_eq!(of.len(), rooms.count_of(MemberId(id)));
        assert_eq!(of.len(), model.count_of(id));
        assert!(of.iter().all(|name| model.rooms[*name].contains(&id)));
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let (mut rooms, mut model) = (Rooms::new(LIMITS), Model::default());
    for step in steps.iter().take(500) {
        match step {
            Step::Join(id, name) => {
                let (id, name) = (u32::from(*id), name.text());
                model.members.insert(id);
                assert_eq!(rooms.join(MemberId(id), &name), model.join(id, &name));
            }
            Step::Leave(id, name) => {
                let (id, name) = (u32::from(*id), name.text());
                assert_eq!(rooms.leave(MemberId(id), &name), model.leave(id, &name));
            }
            Step::LeaveAll(id) => leave_all(&mut rooms, &mut model, u32::from(*id)),
            Step::Select { rooms: names, except } => select(&mut rooms, &model, names, except),
            Step::Shrink => rooms.shrink_to_fit(),
        }
        compare(&rooms, &model);
    }
    for id in model.members.clone() {
        leave_all(&mut rooms, &mut model, id);
    }
    assert_eq!((rooms.room_count(), rooms.iter().count()), (0, 0));
});
