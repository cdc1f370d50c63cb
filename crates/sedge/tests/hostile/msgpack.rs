//! The same kinds of nonsense in msgpack, whose lengths are claimed before anything is there.

use sedge::extract::{Data, TryData};
use sedge::{Parser, Socket, Value};
use sedge_testkit::{Frame, RawWs};

use crate::common::Fixture;

/// A string of up to 31 bytes.
fn text(text: &str) -> Vec<u8> {
    [&[0xa0 | text.len() as u8], text.as_bytes()].concat()
}

/// A map from these keys to encoded values.
fn map(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0x80 | entries.len() as u8];
    for (key, value) in entries {
        bytes.extend(text(key));
        bytes.extend_from_slice(value);
    }
    bytes
}

/// A packet of the root namespace with this payload.
fn packet(kind: u8, data: &[u8]) -> Vec<u8> {
    map(&[("type", &[kind]), ("data", data), ("nsp", &text("/"))])
}

/// An event with encoded arguments.
fn event(name: &str, args: &[&[u8]]) -> Vec<u8> {
    packet(2, &[&[0x91 + args.len() as u8][..], &text(name), &args.concat()].concat())
}

/// A server, and a client of it that has joined the root namespace and is to notice nothing.
struct Stage {
    server: Fixture,
    bystander: RawWs,
}

fn join(server: &Fixture) -> RawWs {
    let mut client = RawWs::connect(server.address, "/socket.io/?EIO=4&transport=websocket");
    assert!(matches!(client.receive(), Frame::Text(_)), "OPEN is text");
    client.send_binary(&map(&[("type", &[0]), ("nsp", &text("/"))]));
    assert!(matches!(client.receive(), Frame::Binary(_)), "CONNECT is not");
    client
}

impl Stage {
    fn new() -> Self {
        let server = Fixture::with(sedge::Server::builder().shards(1).parser(Parser::Msgpack));
        server.io.on("well?", async |socket: Socket| socket.emit("well", &()));
        let bystander = join(&server);
        Stage { server, bystander }
    }

    /// Each message ends the connection as something that is no packet.
    fn parse_errors(&mut self, messages: &[Vec<u8>]) {
        let before = self.server.io.metrics().total.parse_errors;
        for (index, message) in messages.iter().enumerate() {
            let mut client = join(&self.server);
            client.send_binary(message);
            assert_eq!(client.receive(), Frame::Closed, "message {index}");
            let errors = self.server.io.metrics().total.parse_errors - before;
            assert_eq!(errors, index as u64 + 1, "message {index}");
        }
        ask(&mut self.bystander);
    }

    fn finish(self) {
        self.bystander.close();
        let io = &self.server.io;
        let empty = sedge_testkit::eventually(sedge_testkit::DEADLINE, || {
            let metrics = io.metrics();
            let engine = &metrics.engine[0];
            (metrics.total.sockets, engine.sessions(), engine.outbox_bytes) == (0, 0, 0)
        });
        assert!(empty, "{:?}", io.metrics());
    }
}

fn ask(client: &mut RawWs) {
    client.send_binary(&event("well?", &[]));
    assert_eq!(client.receive(), Frame::Binary(packet(2, &[&[0x91][..], &text("well")].concat())));
}

#[test]
fn claimed_lengths_are_not_believed() {
    let mut stage = Stage::new();
    // str, bin, ext, array and map of 2^32 - 1.
    let huge = [0xdb, 0xc6, 0xc9, 0xdd, 0xdf].map(|marker: u8| [marker, 255, 255, 255, 255]);
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for huge in huge {
        messages.push(huge.to_vec());
        messages.push(packet(2, &huge));
        messages.push(event("a", &[&huge]));
        messages.push(packet(0, &[&[0x81, 0xa1, b'a'][..], &huge].concat()));
        messages.push(map(&[("type", &[2]), ("data", &[0x91, 0xa1, b'a']), ("nsp", &huge)]));
        messages.push(map(&[("type", &huge)]));
        // Many of them within each other, as far as they are allowed to be.
        messages.push(event("a", &[&huge.repeat(100)]));
    }
    stage.parse_errors(&messages);
    stage.finish();
}

#[test]
fn what_is_no_packet_ends_the_connection() {
    let mut stage = Stage::new();
    let root = text("/");
    let name = [&[0x91][..], &text("a")].concat();
    let (minus_one, half) = ([0xff], [0xca, 0x3f, 0, 0, 0]);
    let mut messages = vec![
        Vec::new(),
        vec![0xc0],
        vec![0xc1],
        vec![0x80],
        vec![0x90],
        text("2[\"a\"]"),
        // Types: missing, unknown, negative, of another kind. Binary ones do not exist here.
        map(&[("data", &name), ("nsp", &root)]),
        map(&[("type", &[5]), ("data", &name), ("nsp", &root)]),
        map(&[("type", &[7]), ("data", &name), ("nsp", &root)]),
        map(&[("type", &minus_one), ("data", &name), ("nsp", &root)]),
        map(&[("type", &text("2")), ("data", &name), ("nsp", &root)]),
        map(&[("type", &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255]), ("nsp", &root)]),
        // Namespaces.
        map(&[("type", &[2]), ("data", &name)]),
        map(&[("type", &[2]), ("data", &name), ("nsp", &[7])]),
        map(&[("type", &[2]), ("data", &name), ("nsp", &text(""))]),
        map(&[("type", &[2]), ("data", &name), ("nsp", &text("chat"))]),
        map(&[("type", &[2]), ("data", &name), ("nsp", &[0xa2, b'/', 0xff])]),
        // Ids.
        map(&[("type", &[2]), ("data", &name), ("nsp", &root), ("id", &half)]),
        map(&[("type", &[2]), ("data", &name), ("nsp", &root), ("id", &text("1"))]),
        // Payloads.
        packet(2, &[0x90]),
        packet(2, &[0x80]),
        packet(2, &text("a")),
        packet(2, &[0x91, 0xc0]),
        packet(2, &[0x91, 0x90]),
        packet(3, &[0x80]),
        packet(1, &[0x80]),
        packet(0, &[0x90]),
        packet(0, &text("auth")),
        packet(4, &[7]),
        // Keys that are no keys, and something behind the end.
        [&[0x81][..], &[7, 7]].concat(),
        event("a", &[&[0x81, 0x90, 0x90]]),
        [event("a", &[]), vec![0xc0]].concat(),
    ];
    for name in
        ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
    {
        messages.push(event(name, &[]));
    }
    // Cut off anywhere.
    let whole = map(&[("type", &[2]), ("id", &[1]), ("data", &name), ("nsp", &root)]);
    messages.extend((0..whole.len()).map(|end| whole[..end].to_vec()));
    stage.parse_errors(&messages);

    let mut client = join(&stage.server);
    client.send(r#"42["text"]"#);
    assert_eq!(client.receive(), Frame::Closed);
    stage.finish();
}

#[test]
fn deep_nesting_is_no_packet_or_an_error_of_the_handler() {
    let mut stage = Stage::new();
    let io = &stage.server.io;
    io.on("value", async |socket: Socket, Data(_): Data<Value>| socket.emit("read", &()));
    io.on("try", async |socket: Socket, TryData(value): TryData<Value>| {
        socket.emit("read", &value.is_ok())
    });
    let levels = 100_000;
    let arrays = [vec![0x91; levels], vec![0xc0]].concat();
    let maps = [[0x81, 0xa1, b'a'].repeat(levels), vec![0xc0]].concat();
    let endless = vec![0x91; levels];
    let wide = [0xdd, 0, 0, 0, 1].repeat(levels);
    let mut messages = Vec::new();
    for deep in [arrays, maps, endless, wide] {
        for name in ["value", "try", "nobody listens"] {
            messages.push(event(name, &[&deep]));
        }
        messages.push(map(&[
            ("type", &[3]),
            ("id", &[0]),
            ("data", &[&[0x91][..], &deep].concat()),
            ("nsp", &text("/")),
        ]));
        messages.push(packet(0, &[&[0x81, 0xa1, b'a'][..], &deep].concat()));
        // Where it would only be skipped.
        messages.push(map(&[("type", &[2]), ("unknown", &deep), ("nsp", &text("/"))]));
    }
    stage.parse_errors(&messages);
    stage.finish();
}

#[test]
fn strange_events_do_no_harm() {
    let stage = Stage::new();
    let mut client = join(&stage.server);
    // Numbers are names; acknowledgements nobody waits for are ignored; so are unknown keys, and of a
    // repeated key the last one counts.
    client.send_binary(&packet(2, &[0x91, 7]));
    client.send_binary(&packet(2, &[0x91, 0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]));
    client.send_binary(&map(&[
        ("type", &[3]),
        ("id", &[9]),
        ("data", &[0x90]),
        ("nsp", &text("/")),
    ]));
    // Packets without a payload, acknowledgements of nothing, and ids that do not fit.
    let minus_one = [0xff];
    for kind in [2, 3] {
        client.send_binary(&map(&[("type", &[kind]), ("nsp", &text("/"))]));
        client.send_binary(&packet(kind, &[0xc0]));
        client.send_binary(&map(&[("type", &[kind]), ("nsp", &text("/")), ("id", &minus_one)]));
    }
    client.send_binary(&packet(3, &[0x90]));
    let name = [&[0x91][..], &text("well?")].concat();
    client.send_binary(&map(&[
        ("x", &[0x90]),
        ("type", &[9]),
        ("type", &[2]),
        ("data", &name),
        ("nsp", &text("/")),
    ]));
    assert!(matches!(client.receive(), Frame::Binary(_)));
    ask(&mut client);
    client.close();
    stage.finish();
}
