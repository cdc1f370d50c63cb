//! The wire form: everything survives it, and nothing that is cut, altered or made up does harm.

use super::*;
use crate::limits::WIRE_DEPTH_MAX;
use crate::target::IntoRooms;

fn value() -> Value {
    Value::from([
        ("null", Value::Null),
        ("bools", [true, false].into_iter().collect()),
        ("numbers", [u64::MAX, 0, 127, 128].into_iter().collect()),
        ("negative", [i64::MIN, -1].into_iter().collect()),
        ("floats", [0.5, 3.0, -0.0, f64::INFINITY].into_iter().collect()),
        ("text", "ä\u{0}€".into()),
        ("binary", Value::from(&[0_u8, 255][..])),
        ("", Value::Object(Vec::new())),
    ])
}

fn target() -> Target {
    let flags = Flags {
        volatile: true,
        compress: Some(false),
        local: false,
        timeout: Some(Duration::from_millis(70_001)),
    };
    Target { flags, ..Target::rooms(["a", "", "ß"]).except("id-1") }
}

type Wired<'a> = Operation<WirePacket<'a>, Value>;

fn broadcast(packet: WirePacket<'_>, ack: Option<RequestId>) -> Wired<'_> {
    Operation::Broadcast { packet, target: target(), ack }
}

/// For a lifetime that each test chooses.
fn operations<'a>() -> Vec<Wired<'a>> {
    let messages: [MessageRef<'a>; 2] =
        [MessageRef::Text("51-[\"a\"]"), MessageRef::Binary(&[1, 2, 3])];
    let id = Some(RequestId(u64::MAX));
    vec![
        broadcast(WirePacket::Messages { messages: messages[..].into(), id: None }, None),
        broadcast(WirePacket::Messages { messages: messages[..1].into(), id: Some(u32::MAX) }, id),
        broadcast(WirePacket::Messages { messages: SmallVec::new(), id: Some(0) }, id),
        broadcast(WirePacket::Event { name: "e", args: vec![value(), Value::Null] }, id),
        Operation::Join { target: target(), rooms: "x".into_rooms(), request: id },
        Operation::Leave { target: Target::default(), rooms: RoomList::new(), request: None },
        Operation::Disconnect { target: Target::rooms("a"), close: true, request: id },
        Operation::Fetch { target: Target::everyone().except("b"), request: RequestId(0) },
        Operation::ServerSideEmit { event: "e".into(), args: vec![value()], request: None },
        Operation::ServerSideEmit { event: "".into(), args: vec![], request: id },
    ]
}

fn responses() -> Vec<Response<Value>> {
    let socket = RemoteSocketData {
        id: "/chat#abc".into(),
        handshake: value(),
        rooms: vec!["/chat#abc".into(), "r".into()],
        data: Value::Null,
    };
    let bodies = [
        ResponseBody::Sockets(vec![]),
        ResponseBody::Sockets(vec![socket.clone(), socket.clone()]),
        ResponseBody::SomeSockets(vec![socket]),
        ResponseBody::ServerSideEmit(Some(value())),
        ResponseBody::ServerSideEmit(None),
        ResponseBody::ClientCount(u32::MAX),
        ResponseBody::Ack(Some(Value::Null)),
        ResponseBody::Ack(None),
        ResponseBody::ClientsLost(1),
        ResponseBody::Applied,
    ];
    let reasons = [
        MissingReason::Left,
        MissingReason::Deadline,
        MissingReason::Overloaded,
        MissingReason::NoListener,
        MissingReason::NoAnswer,
        MissingReason::Unreadable,
        MissingReason::TooLong,
    ];
    let bodies = bodies.into_iter().chain(reasons.map(ResponseBody::Missing));
    let part = Part { shard: 255, of: 256 };
    bodies.map(|body| Response { request: RequestId(7 << 40), part, body }).collect()
}

fn messages() -> Vec<Bytes> {
    let operations = operations();
    let operations = operations.iter().map(|operation| encode_operation("/chat", operation));
    operations.chain(responses().iter().map(encode_response)).collect()
}

#[test]
fn operations_arrive_as_they_were_sent() {
    let messages: Vec<_> = operations().iter().map(|it| encode_operation("/chat", it)).collect();
    for (message, operation) in messages.iter().zip(operations()) {
        assert_eq!(decode(message), Ok(Incoming::Operation { namespace: "/chat", operation }));
    }
}

#[test]
fn answers_arrive_as_they_were_sent() {
    for response in responses() {
        assert_eq!(decode(&encode_response(&response)), Ok(Incoming::Response(response)));
    }
}

#[test]
fn sockets_take_what_is_said_of_them() {
    let len = |sockets: &[RemoteSocketData<Value>]| {
        let body = ResponseBody::Sockets(sockets.to_vec());
        encode_response(&Response { request: RequestId(1), part: Part::WHOLE, body }).len()
    };
    let two = responses().into_iter().find_map(|response| match response.body {
        ResponseBody::Sockets(list) => Some(list).filter(|list| list.len() == 2),
        _ => None,
    });
    let two = two.unwrap();
    assert_eq!(len(&two), len(&[]) + 2 * socket_bytes(&two[0]));
    assert!(len(&[]) <= ANSWER_HEAD_BYTES - 9, "a count may take ten bytes");
}

#[test]
fn what_is_only_for_this_process_does_not_cross() {
    let flags = Flags { local: true, ..Flags::default() };
    let target = Target { flags, ..Target::rooms("a") };
    let fetch = Operation::<Infallible, _>::Fetch { target, request: RequestId(1) };
    let message = encode_operation("/", &fetch);
    let Ok(Incoming::Operation { operation, .. }) = decode(&message) else { unreachable!() };
    assert_eq!(operation.target(), Some(&Target::rooms("a")));
}

#[test]
fn a_small_broadcast_has_few_bytes_beside_its_packet() {
    let messages: SmallVec<_> = SmallVec::from_slice(&[MessageRef::Text(r#"2["said","hello"]"#)]);
    let target = Target::rooms("lobby");
    let packet = WirePacket::Messages { messages, id: None };
    let message = encode_operation("/", &Operation::Broadcast { packet, target, ack: None });
    assert_eq!(message.len(), 17 + 19);
}

#[test]
fn the_form_is_fixed() {
    let target = Target::rooms("r");
    let fetch = Operation::<Infallible, _>::Fetch { target, request: RequestId(0x0102) };
    let expected = b"\x02\x07\x01/\x00\x01\x01r\x00\x01\x02\x01\0\0\0\0\0\0";
    assert_eq!(encode_operation("/", &fetch)[..], expected[..]);
    let body = ResponseBody::ClientCount(300);
    let response = Response { request: RequestId(5), part: Part { shard: 1, of: 2 }, body };
    let expected = b"\x02\x0b\x05\0\0\0\0\0\0\0\x01\x02\xac\x02";
    assert_eq!(encode_response(&response)[..], expected[..]);
}

#[test]
fn whatever_is_cut_off_is_an_error() {
    for message in messages() {
        for end in 0..message.len() {
            let error = decode(&message[..end]).unwrap_err();
            assert_eq!(error, WireError::Truncated, "{end} bytes of {message:?}");
        }
        let longer = [&message[..], &[0]].concat();
        assert_eq!(decode(&longer), Err(WireError::Surplus(1)));
    }
}

#[test]
fn altered_bytes_never_panic() {
    for message in messages() {
        let mut altered = message.to_vec();
        for at in 0..message.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, message[at] ^ 1, message[at].wrapping_add(1)] {
                altered[at] = byte;
                let _ = decode(&altered);
            }
            altered[at] = message[at];
        }
    }
}

#[test]
fn other_versions_and_kinds_are_named() {
    let mut message = messages()[0].to_vec();
    message[0] = VERSION - 1;
    assert_eq!(decode(&message), Err(WireError::Version(VERSION - 1)));
    message[0] = VERSION;
    for kind in [0, 1, 2, 13, 63, 68, 255] {
        message[1] = kind;
        assert_eq!(decode(&message), Err(WireError::Kind(kind)));
    }
    assert_eq!(decode(&[]), Err(WireError::Truncated));
}

#[test]
fn claimed_lengths_allocate_nothing() {
    // A server-side emit whose count of arguments, or the length of its first, is a lie.
    let lie = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
    let head = b"\x02\x09\x01/\x01e";
    for kind in [&b""[..], b"\x01\x06", b"\x01\x07", b"\x01\x08", b"\x01\x09"] {
        let message = [head, kind, lie].concat();
        assert_eq!(decode(&message), Err(WireError::Truncated), "{kind:?}");
    }
    let endless = [&head[..], &[0xff; 10]].concat();
    assert_eq!(decode(&endless), Err(WireError::Invalid("number")));
    let too_large = [&head[..], &[0xff; 9], &[0x02]].concat();
    assert_eq!(decode(&too_large), Err(WireError::Invalid("number")));
}

#[test]
fn answers_of_impossible_shards_are_refused() {
    let part = |shard, of| {
        let body = ResponseBody::Applied;
        let response = Response { request: RequestId(1), part: Part { shard, of }, body };
        decode(&encode_response(&response)).err()
    };
    assert_eq!(part(0, 1), None);
    assert_eq!(part(255, 256), None);
    for (shard, of) in [(0, 0), (1, 1), (0, 257), (u16::MAX, u16::MAX)] {
        assert_eq!(part(shard, of), Some(WireError::Invalid("shard")));
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
}

fn through(value: Value) -> Result<Value, WireError> {
    let body = ResponseBody::Ack(Some(value));
    let message = encode_response(&Response { request: RequestId(0), part: Part::WHOLE, body });
    match decode(&message)? {
        Incoming::Response(Response { body: ResponseBody::Ack(Some(value)), .. }) => Ok(value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nesting_has_a_limit_on_either_side() {
    assert_eq!(through(nested(WIRE_DEPTH_MAX)), Ok(nested(WIRE_DEPTH_MAX)));
    assert_eq!(through(nested(WIRE_DEPTH_MAX + 3)), Ok(nested(WIRE_DEPTH_MAX)), "cut off");
    let head = b"\x02\x0c\0\0\0\0\0\0\0\0\x00\x01\x01";
    for container in [&b"\x08\x01"[..], b"\x09\x01\x00"] {
        let deep = [&head[..], &container.repeat(1_000_000), b"\x00"].concat();
        assert_eq!(decode(&deep), Err(WireError::TooDeep));
    }
}

#[test]
fn text_has_to_be_utf_8() {
    let bad = b"\x02\x07\x01\xff\x00\x00\x00\x01\0\0\0\0\0\0\0\0";
    assert_eq!(decode(bad), Err(WireError::Invalid("text")));
}
