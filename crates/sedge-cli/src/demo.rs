//! The chat demo: an application of the library in one file. What the page and it say to each other
//! is in `demo/CONTRACT.md`.
//!
//! Three things are worth a look. Who is who stands in each socket's *data*, and is read back with
//! `fetch_sockets`, so that nothing is kept twice. Rooms of the chat are Socket.IO rooms with a
//! prefix, since socket ids are rooms too. And who is there is announced by one task that gathers
//! changes: a thousand people who come at once cost a few announcements instead of a thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sedge::extract::{Ack, State, TryData};
use sedge::{RemoteSocket, Server, ServerBuilder, Socket};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::limits::{DEMO_GATHERING, DEMO_KEY_MAX, DEMO_LOOK, DEMO_NAME_MAX, DEMO_TEXT_MAX};
use crate::tasks;

/// Where one begins; always listed.
const LOBBY: &str = "lobby";

/// The Socket.IO room of everybody who has said hello.
const GREETED: &str = "greeted";

/// What a socket's data says about the person behind it.
#[derive(Clone, Serialize, Deserialize)]
struct Person {
    name: String,
    room: String,
    worker: u8,
    typing: bool,
}

#[derive(Deserialize)]
struct Hello {
    name: String,
    room: String,
}

#[derive(Deserialize)]
struct Join {
    room: String,
}

#[derive(Deserialize)]
struct Say {
    text: String,
    key: String,
}

#[derive(Deserialize)]
struct Typing {
    on: bool,
}

#[derive(Serialize)]
struct ServedBy<'a> {
    node: &'a str,
    worker: u8,
    shard: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChatMessage<'a> {
    id: &'a str,
    key: &'a str,
    from: &'a str,
    from_id: &'a str,
    text: &'a str,
    at: u64,
}

#[derive(Serialize)]
struct Notice<'a> {
    kind: &'static str,
    name: &'a str,
    room: &'a str,
    at: u64,
}

#[derive(Serialize)]
struct TypingOf<'a> {
    id: &'a str,
    name: &'a str,
    on: bool,
}

#[derive(Serialize)]
struct PeopleOf<'a> {
    room: &'a str,
    people: Vec<Member<'a>>,
}

#[derive(Serialize)]
struct Member<'a> {
    id: &'a str,
    name: &'a str,
    worker: u8,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
struct Room {
    name: String,
    count: usize,
}

/// The answer to `hello` and `join`; the latter has no `id` and `name`.
#[derive(Serialize)]
struct Entered<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    room: &'a str,
    rooms: &'a [Room],
    people: Vec<Member<'a>>,
}

#[derive(Serialize)]
struct Said<'a> {
    ok: bool,
    id: &'a str,
    at: u64,
}

#[derive(Serialize)]
struct Refused<'a> {
    ok: bool,
    error: &'a str,
}

/// Where this program runs, as the page shows it.
pub(crate) struct Place {
    /// The machine.
    pub(crate) node: String,
    /// Which of the machine's workers it is.
    pub(crate) worker: u8,
    /// How many there are.
    pub(crate) workers: u16,
}

/// Gives the server what the demo's handlers need.
pub(crate) fn prepare(builder: ServerBuilder, place: Place) -> ServerBuilder {
    builder.state(Announcer::new()).state(place)
}

/// Registers the demo's handlers on a server that was [prepared](prepare), and starts its task on the
/// current runtime.
pub(crate) fn install(io: &Server) {
    io.on_connect(async |socket: Socket, State(place): State<Place>| {
        tracing::debug!(client = ?socket.handshake().address(), "somebody came");
        let (node, worker) = (&*place.node, place.worker);
        let served_by = ServedBy { node, worker, shard: socket.shard() };
        socket.emit("server", &served_by)
    });
    io.on("hello", hello);
    io.on("join", join);
    io.on("say", say);
    io.on("typing", typing);
    io.on_disconnect(async |socket: Socket, State(announcer): State<Announcer>| {
        if let Some(person) = person(&socket) {
            leave(&socket, &person);
            announcer.changed([person.room]);
        }
    });
    if let (Some(announcer), Some(place)) = (io.state::<Announcer>(), io.state::<Place>()) {
        let io = io.clone();
        tasks::in_background(async move { announcer.run(&io, place.workers > 1).await });
    }
}

async fn hello(
    socket: Socket,
    State(announcer): State<Announcer>,
    TryData(payload): TryData<Hello>,
    ack: Ack,
) {
    let Ok(Hello { name, room }) = payload else {
        return refuse(ack, "hello needs a name and a room");
    };
    let Some(name) = line(&name) else { return refuse(ack, "A name has 1 to 32 characters") };
    let Some(room) = line(&room) else {
        return refuse(ack, "The name of a room has 1 to 32 characters");
    };
    match enter(&socket, &announcer, name, room) {
        Ok(change) => {
            let view = announcer.since(change).await;
            let (rooms, people) = (&view.rooms, view.people(room));
            let (ok, id, name) = (true, Some(socket.id().as_ref()), Some(name));
            answer(ack, &Entered { ok, id, name, room, rooms, people });
        }
        Err(error) => refuse(ack, &error),
    }
}

async fn join(
    socket: Socket,
    State(announcer): State<Announcer>,
    TryData(payload): TryData<Join>,
    ack: Ack,
) {
    let Some(Person { name, .. }) = person(&socket) else { return refuse(ack, "Say hello first") };
    let room = payload.as_ref().ok().and_then(|join| line(&join.room));
    let Some(room) = room else { return refuse(ack, "The name of a room has 1 to 32 characters") };
    match enter(&socket, &announcer, &name, room) {
        Ok(change) => {
            let view = announcer.since(change).await;
            let (rooms, people) = (&view.rooms, view.people(room));
            answer(ack, &Entered { ok: true, id: None, name: None, room, rooms, people });
        }
        Err(error) => refuse(ack, &error),
    }
}

async fn say(socket: Socket, TryData(payload): TryData<Say>, ack: Ack) {
    let Some(person) = person(&socket) else { return refuse(ack, "Say hello first") };
    let Ok(Say { text, key }) = payload else { return refuse(ack, "say needs a text and a key") };
    let Some(text) = trimmed(&text, DEMO_TEXT_MAX, &['\n', '\t']) else {
        return refuse(ack, "A message has 1 to 2000 characters");
    };
    if key.chars().count() > DEMO_KEY_MAX {
        return refuse(ack, "The key of a message has at most 64 characters");
    }
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let from_id = socket.id().as_ref();
    let id = &*format!("{from_id}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let at = now();
    let message = ChatMessage { id, key: &key, from: &person.name, from_id, text, at };
    // To everybody, the sender too: so all see the same order.
    match socket.server().to(room_of(&person.room)).emit("message", &message) {
        Ok(()) => answer(ack, &Said { ok: true, id, at }),
        Err(error) => refuse(ack, &error.to_string()),
    }
}

async fn typing(socket: Socket, TryData(payload): TryData<Typing>) {
    if let (Some(person), Ok(Typing { on })) = (person(&socket), payload) {
        tell_typing(&socket, &person, on);
        let _ = socket.set_data(&Person { typing: on, ..person });
    }
}

/// Brings a socket into a room and out of the one it was in. Returns the number of the change, for
/// [`Announcer::since`].
fn enter(socket: &Socket, announcer: &Announcer, name: &str, room: &str) -> Result<u64, String> {
    let before = person(socket);
    let moved = before.as_ref().is_none_or(|person| person.room != room);
    if moved {
        socket.join([GREETED.to_owned(), room_of(room)]).map_err(|error| error.to_string())?;
    }
    let (name, room) = (name.to_owned(), room.to_owned());
    let typing = !moved && before.as_ref().is_some_and(|person| person.typing);
    let worker = socket.server().state::<Place>().map_or(0, |place| place.worker);
    let person = Person { name, room, worker, typing };
    socket.set_data(&person).map_err(|error| error.to_string())?;
    let mut rooms = vec![person.room.clone()];
    if moved {
        if let Some(before) = before {
            // If it cannot leave, the server is ending.
            let _ = socket.leave(room_of(&before.room));
            leave(socket, &before);
            rooms.push(before.room);
        }
        notify(socket, "join", &person);
    }
    Ok(announcer.changed(rooms))
}

/// Tells the others of a room that somebody has left it.
fn leave(socket: &Socket, person: &Person) {
    if person.typing {
        tell_typing(socket, person, false);
    }
    notify(socket, "leave", person);
}

/// The emits below go to others. They fail only when the server ends or is overloaded, and then
/// there is nobody to tell.
fn notify(socket: &Socket, kind: &'static str, person: &Person) {
    let notice = Notice { kind, name: &person.name, room: &person.room, at: now() };
    let _ = socket.to(room_of(&person.room)).emit("notice", &notice);
}

fn tell_typing(socket: &Socket, person: &Person, on: bool) {
    let typing = TypingOf { id: socket.id().as_ref(), name: &person.name, on };
    let _ = socket.to(room_of(&person.room)).emit("typing", &typing);
}

/// Who a socket is; `None` before its hello.
fn person(socket: &Socket) -> Option<Person> {
    socket.data::<Option<Person>>().ok().flatten()
}

/// The Socket.IO room of a room of the chat.
fn room_of(room: &str) -> String {
    format!("room:{room}")
}

/// An answer to a client that has gone is lost, which does not matter.
fn answer(ack: Ack, answer: &impl Serialize) {
    let _ = ack.send(answer);
}

fn refuse(ack: Ack, error: &str) {
    answer(ack, &Refused { ok: false, error });
}

/// The name of a person or a room, if it can be one.
fn line(text: &str) -> Option<&str> {
    trimmed(text, DEMO_NAME_MAX, &[])
}

/// The text without the space around it, if something is left, it is not too long, and it has no
/// control characters but those allowed.
fn trimmed<'a>(text: &'a str, max: usize, controls: &[char]) -> Option<&'a str> {
    let text = text.trim();
    let fits = (1..=max).contains(&text.chars().take(max + 1).count());
    let clean = text.chars().all(|c| !c.is_control() || controls.contains(&c));
    (fits && clean).then_some(text)
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Who is where, at one moment.
#[derive(Default)]
struct View {
    /// All changes up to this one are in it.
    change: u64,
    /// Ids and people, sorted by name.
    people: Vec<(Arc<str>, Person)>,
    /// Sorted by name.
    rooms: Vec<Room>,
}

impl View {
    fn new(change: u64, sockets: &[RemoteSocket]) -> View {
        let known = |socket: &RemoteSocket| {
            let person = socket.data::<Option<Person>>().ok()??;
            Some((socket.id().into(), person))
        };
        let mut people: Vec<(Arc<str>, Person)> = sockets.iter().filter_map(known).collect();
        people.sort_by(|(a_id, a), (b_id, b)| (&a.name, a_id).cmp(&(&b.name, b_id)));
        let mut counts = BTreeMap::from([(LOBBY, 0)]);
        for (_, person) in &people {
            *counts.entry(&person.room).or_default() += 1;
        }
        let rooms = counts.into_iter().map(|(name, count)| Room { name: name.to_owned(), count });
        View { change, rooms: rooms.collect(), people }
    }

    /// The rooms in which others are than before.
    fn rooms_that_differ(&self, before: &View) -> BTreeSet<String> {
        let of = |view: &View| -> BTreeSet<(Arc<str>, String, String)> {
            let person =
                |(id, p): &(Arc<str>, Person)| (id.clone(), p.name.clone(), p.room.clone());
            view.people.iter().map(person).collect()
        };
        let (now, before) = (of(self), of(before));
        now.symmetric_difference(&before).map(|(_, _, room)| room.clone()).collect()
    }

    fn people(&self, room: &str) -> Vec<Member<'_>> {
        let here = self.people.iter().filter(|(_, person)| person.room == room);
        here.map(|(id, p)| Member { id, name: &p.name, worker: p.worker }).collect()
    }
}

/// Gathers changes and announces who is there.
struct Announcer {
    pending: Mutex<Pending>,
    wake: Notify,
    view: watch::Sender<Arc<View>>,
}

/// What has changed since the last announcement; no more than there are rooms with somebody in
/// them, or just left.
#[derive(Default)]
struct Pending {
    change: u64,
    rooms: BTreeSet<String>,
}

impl Announcer {
    fn new() -> Announcer {
        let view = watch::Sender::new(Arc::new(View::new(0, &[])));
        Announcer { pending: Mutex::default(), wake: Notify::new(), view }
    }

    /// Notes that the members of rooms have changed. Returns the number of the change.
    fn changed(&self, rooms: impl IntoIterator<Item = String>) -> u64 {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.rooms.extend(rooms);
        pending.change += 1;
        let change = pending.change;
        drop(pending);
        self.wake.notify_one();
        change
    }

    /// Waits for a view that contains a change.
    async fn since(&self, change: u64) -> Arc<View> {
        let mut views = self.view.subscribe();
        match views.wait_for(|view| view.change >= change).await {
            Ok(view) => Arc::clone(&view),
            // The sender is in `self`, so this does not happen.
            Err(_) => Arc::default(),
        }
    }

    /// Announces for as long as the program runs. `look` is whether others may change what is there.
    async fn run(&self, io: &Server, look: bool) {
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(DEMO_LOOK), if look => {}
            }
            self.announce(io).await;
            tokio::time::sleep(DEMO_GATHERING).await;
        }
    }

    async fn announce(&self, io: &Server) {
        let (change, mut changed) = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            (pending.change, std::mem::take(&mut pending.rooms))
        };
        let sockets = match io.in_(GREETED).fetch_sockets().await {
            Ok(sockets) => sockets,
            // Some shards or workers did not answer: better part of them than none.
            Err(incomplete) => incomplete.partial,
        };
        let view = Arc::new(View::new(change, &sockets));
        let own = !changed.is_empty();
        let before = self.view.send_replace(Arc::clone(&view));
        changed.extend(view.rooms_that_differ(&before));
        for room in &changed {
            let people = view.people(room);
            let _ = io.to(room_of(room)).emit("people", &PeopleOf { room, people });
        }
        // What others have announced meanwhile is not known here.
        if own || before.rooms != view.rooms {
            let _ = io.to(GREETED).emit("rooms", &view.rooms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_trimmed_counted_and_clean() {
        assert_eq!(line("  Ada "), Some("Ada"));
        assert_eq!(line(&"ü".repeat(32)), Some(&*"ü".repeat(32)));
        for bad in ["", "   ", "a\nb", "a\u{7f}b", &"a".repeat(33)] {
            assert_eq!(line(bad), None, "{bad:?}");
        }
        assert_eq!(trimmed("a\n\tb", 2000, &['\n', '\t']), Some("a\n\tb"));
        assert_eq!(trimmed("a\rb", 2000, &['\n', '\t']), None);
        assert_eq!(trimmed(&"a".repeat(2001), 2000, &[]), None);
    }

    #[test]
    fn the_lobby_is_listed_when_nobody_is_there() {
        let view = View::new(0, &[]);
        assert!(view.rooms == [Room { name: LOBBY.to_owned(), count: 0 }]);
        assert!(view.people(LOBBY).is_empty());
    }
}
