//! What a user relies on when arguments and values pass through a parser, be it one of ours or
//! one of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::tests::{LIMITS, binary, hex, sent, show, text, to_hex};
use super::*;

/// The arguments of an event that carries `json` after its name.
fn with_args<R>(json: &str, check: impl Fn(Args<'_>) -> R) -> R {
    let message = format!(r#"2["name"{json}]"#);
    let packet = Decoder::new().text(&Parser::Json, &message, &LIMITS).unwrap().unwrap();
    let result = check(packet.args());
    let owned = packet.args().into_owned();
    drop(packet);
    check(owned);
    result
}

#[test]
fn arguments_are_taken_as_a_list_or_one_by_one() {
    with_args(r#","a",2,[3,4]"#, |args| {
        assert_eq!(args.len(), 3);
        assert_eq!(args.decode(), Ok(("a".to_owned(), 2, vec![3, 4])));
        assert_eq!(args.decode(), Ok(("a".to_owned(), 2)), "surplus arguments are ignored");
        assert_eq!(args.decode(), Ok("a".to_owned()), "not a tuple: the first argument");
        assert_eq!(args.decode(), Ok(()));
        assert_eq!(args.get(2), Ok((3, 4)), "a tuple inside an argument is an array");
        assert_eq!(args.raw_json(2), Some("[3,4]"));
        assert_eq!(args.raw_json(3), None);
        assert_eq!(args.get::<Option<u8>>(3), Ok(None));
    });
    with_args(r#",{"a":{"b":1.0}}"#, |args| {
        let map: BTreeMap<String, BTreeMap<String, f32>> = args.decode().unwrap();
        assert_eq!(map["a"]["b"].to_string(), "1");
        let list: [serde_json::Value; 1] = args.decode().unwrap();
        assert_eq!(list[0], json!({"a": {"b": 1.0}}));
    });
    with_args(&format!(r#","{}""#, "x".repeat(1000)), |args| {
        assert!((1000..1100).contains(&args.memory()), "{}", args.memory());
        let values = Args::from_values(args.to_values().unwrap());
        assert!((1000..1100).contains(&values.memory()), "{}", values.memory());
    });
    with_args("", |args| {
        assert!(args.is_empty());
        assert_eq!(args.decode::<Option<u32>>(), Ok(None));
        assert_eq!(args.decode::<(Option<u32>, ())>(), Ok((None, ())));
    });
}

#[test]
fn wrong_and_missing_arguments_are_named() {
    with_args(r#","a""#, |args| {
        let error = |result: Result<(), ArgsError>| result.unwrap_err().to_string();
        let missing = args.decode::<(String, u32)>().map(|_| ());
        assert_eq!(missing, Err(ArgsError::Missing(2)));
        assert_eq!(error(missing), "missing argument 2");
        let wrong = args.decode::<u32>().map(|_| ());
        let words = "argument 1: invalid type: string \"a\", expected u32";
        assert_eq!(error(wrong), words);
        assert_eq!(error(args.decode::<(u32,)>().map(|_| ())), words);
    });
    with_args("", |args| {
        assert_eq!(args.decode::<String>(), Err(ArgsError::Missing(1)));
        assert_eq!(args.decode::<Value>(), Err(ArgsError::Missing(1)));
    });
    let packet = Decoder::new().text(&Parser::Json, r#"0{"a":1}"#, &LIMITS).unwrap().unwrap();
    let error = packet.payload::<BTreeMap<String, String>>().unwrap_err();
    assert_eq!(error.to_string(), "payload: invalid type: integer `1`, expected a string");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(u8),
    Line(u8, u8),
    Box { side: u8 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    text: String,
    number: i64,
    none: Option<u8>,
    some: Option<(u8, char)>,
    bytes: Bytes,
    list: Vec<Shape>,
    map: BTreeMap<u32, bool>,
    newtype: Wrapped,
    address: std::net::Ipv4Addr,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped(f64);

fn everything() -> Everything {
    Everything {
        text: "a\u{0}\u{1f600}".to_owned(),
        number: i64::MIN,
        none: None,
        some: Some((1, 'x')),
        bytes: Bytes::from_static(b"\xff\x00"),
        list: vec![Shape::Point, Shape::Circle(1), Shape::Line(2, 3), Shape::Box { side: 4 }],
        map: [(1, true), (70_000, false)].into(),
        newtype: Wrapped(-1.5e300),
        address: [127, 0, 0, 1].into(),
    }
}

/// Sends arguments through a parser and gives what arrives to `check`.
fn transfer<T: Serialize + ?Sized>(parser: &Parser, args: &T, check: impl Fn(Args<'_>)) {
    let mut out = MessageBuf::new();
    parser.event("/", None, "name", args, &mut out).unwrap();
    let mut decoder = Decoder::new();
    let mut arrived = None;
    for (kind, message) in out.messages() {
        assert!(arrived.is_none());
        arrived = match kind {
            MessageKind::Text => {
                let text = std::str::from_utf8(message).unwrap();
                decoder.text(parser, text, &LIMITS).unwrap()
            }
            MessageKind::Binary => decoder.binary(parser, message, &LIMITS).unwrap(),
        };
    }
    let packet = arrived.unwrap();
    check(packet.args());
    check(packet.args().into_owned());
}

#[test]
fn every_kind_of_type_survives_every_parser() {
    for parser in [Parser::Json, Parser::Msgpack, Parser::Custom(Arc::new(Plain))] {
        transfer(&parser, &everything(), |args| assert_eq!(args.decode(), Ok(everything())));
        transfer(&parser, &(1, everything()), |args| {
            assert_eq!(args.decode(), Ok((1, everything())));
            // As values, and sent on as they came.
            let value: Value = args.get(1).unwrap();
            assert_eq!(value["address"].as_str(), Some("127.0.0.1"));
            assert_eq!(value["bytes"].as_bytes().unwrap(), &everything().bytes);
            assert_eq!(value.decode(), Ok(everything()));
            transfer(&parser, &args, |again| assert_eq!(again.decode(), Ok((1, everything()))));
        });
        transfer(&parser, &Bytes::from_static(&[1, 2]), |args| {
            assert_eq!(args.decode(), Ok(vec![1_u8, 2]), "binary data as a plain Vec");
        });
        transfer(&parser, &vec![1, 2], |args| assert_eq!(args.len(), 1, "a Vec is one argument"));
        transfer(&parser, &[1, 2], |args| assert_eq!(args.len(), 2, "an array is a list"));
        transfer(&parser, &Some((1, 2)), |args| assert_eq!(args.len(), 1));
        transfer(&parser, &Shape::Line(1, 2), |args| assert_eq!(args.len(), 1));
        transfer(&parser, "a", |args| assert_eq!(args.decode(), Ok("a".to_owned())));
        transfer(&parser, &(), |args| assert!(args.is_empty()));
        transfer(&parser, &Value::Null, |args| assert_eq!(args.decode(), Ok(Value::Null)));
        transfer(&parser, &None::<u8>, |args| assert_eq!(args.len(), 1));
        transfer(&parser, &json!(null), |args| assert_eq!(args.decode(), Ok(json!(null))));
        transfer(&parser, &(json!(null),), |args| assert_eq!(args.len(), 1));
        transfer(&parser, &json!([1, 2]), |args| assert_eq!(args.len(), 1));
        transfer(&parser, b"ab", |args| assert_eq!(args.len(), 2, "an array, whatever is in it"));
        transfer(&parser, &b"ab"[..], |args| assert_eq!(args.len(), 1, "a slice is not"));
        transfer(&parser, &([1, 2],), |args| assert_eq!(args.decode(), Ok((vec![1, 2],))));
        transfer(&parser, &[(); 0], |args| assert!(args.is_empty()));
    }
}

#[test]
fn halves_of_emoji_are_replaced() {
    let cases = [
        (r"\ud83d", "\u{fffd}"),
        (r"a\ude00b", "a\u{fffd}b"),
        (r"\ud83d\ude00", "\u{1f600}"),
        (r"\ud83d\ud83d\ude00\\ud83d", "\u{fffd}\u{1f600}\\ud83d"),
        (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
    ];
    for (escaped, expected) in cases {
        with_args(&format!(r#","{escaped}",5"#), |args| {
            assert_eq!(args.decode(), Ok((expected.to_owned(), 5)));
            assert_eq!(args.decode(), Ok(expected.to_owned()));
            assert_eq!(args.to_values().unwrap()[0], Value::from(expected));
        });
        let event = text(&format!(r#"2["{escaped}"]"#));
        assert_eq!(event, Ok(format!("Event / {expected} []")));
        let message = format!(r#"51-["a","{escaped}",{{"_placeholder":true,"num":0}}]"#);
        let value = serde_json::to_string(expected).unwrap();
        assert_eq!(binary(&message, &[&[1]]), Ok(format!("Event / a [{value},<01>]")));
    }
}

#[test]
fn numbers_are_what_they_are_in_javascript() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Id {
        Number(u64),
        Text(String),
    }
    with_args(r#",3.0,[-2e0,1E2],{"id":7.0},1.5,"3""#, |args| {
        assert_eq!(args.decode(), Ok((3_u8, (-2_i64, 100_u16))));
        assert_eq!(args.decode(), Ok(3_i32));
        assert_eq!(args.get(2), Ok(BTreeMap::from([("id".to_owned(), Id::Number(7))])));
        assert_eq!(args.get(0), Ok(3.0_f64));
        assert_eq!(args.get(4), Ok(Id::Text("3".to_owned())));
        assert!(args.get::<u8>(3).is_err(), "not whole");
        let words = "argument 5: invalid type: string \"3\", expected u8";
        assert_eq!(args.get::<u8>(4).unwrap_err().to_string(), words);
        // Who asks for nothing in particular gets them as they came.
        assert_eq!(args.get(0), Ok(Value::from(3.0)));
    });
    with_args(r#",1e400,[-1e400],{"n":1e400}"#, |args| {
        assert_eq!(args.decode(), Ok((f64::INFINITY, vec![f64::NEG_INFINITY])));
        assert_eq!(args.decode(), Ok(f64::INFINITY));
        let values = args.to_values().unwrap();
        assert_eq!(values[2]["n"].as_f64(), Some(f64::INFINITY));
        assert_eq!(args.get(2), Ok(json!({"n": null})), "what serde_json makes of it");
        assert!(args.get::<u64>(0).is_err());
    });
    for parser in [Parser::Json, Parser::Msgpack, Parser::Custom(Arc::new(Plain))] {
        transfer(&parser, &(3.0, [-2.0], Bytes::from_static(b"x")), |args| {
            assert_eq!(args.decode(), Ok((3_u8, vec![-2_i64])));
            assert_eq!(args.get(0), Ok(Id::Number(3)));
            assert!(args.get::<u8>(1).is_err());
        });
    }
    let packet = Decoder::new().text(&Parser::Json, r#"0{"a":1.0}"#, &LIMITS).unwrap().unwrap();
    let auth: Value = packet.payload().unwrap().unwrap();
    assert_eq!(auth.decode(), Ok(BTreeMap::from([("a".to_owned(), 1_u8)])));
    assert_eq!(packet.payload(), Ok(Some(BTreeMap::from([("a".to_owned(), 1_u8)]))));
}

#[test]
fn what_cannot_be_serialized_leaves_nothing_behind() {
    let mut out = MessageBuf::new();
    let unordered: BTreeMap<(u8, u8), u8> = [((1, 2), 3)].into();
    for parser in [Parser::Json, Parser::Custom(Arc::new(Plain))] {
        let result = parser.event("/", None, "name", &(Bytes::new(), &unordered), &mut out);
        assert!(matches!(result, Err(EncodeError::Serialize(_))));
        assert!(out.is_empty() && out.total_bytes() == 0);
        parser.event("/", None, "name", &1, &mut out).unwrap();
        let mut fresh = MessageBuf::new();
        parser.event("/", None, "name", &1, &mut fresh).unwrap();
        assert_eq!(sent(&out), sent(&fresh), "the attachment of the failed packet is gone");
    }

    struct Liar;
    impl Serialize for Liar {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serde::ser::SerializeTuple::end(serializer.serialize_tuple(2)?)
        }
    }
    let error = EncodeError::ArgumentCount { announced: 2, written: 0 };
    assert_eq!(Parser::Msgpack.event("/", None, "name", &Liar, &mut out), Err(error));
    assert!(out.is_empty());
}

#[test]
fn values_are_looked_up_like_json() {
    let value: Value =
        serde_json::from_str(r#"{"a":[1,-2,0.5],"b":null,"a2":"x","b":true}"#).unwrap();
    assert_eq!(value["a"][0].as_u64(), Some(1));
    assert_eq!(value["a"][1].as_i64(), Some(-2));
    assert_eq!(value["a"][2].as_f64(), Some(0.5));
    assert_eq!(value["b"].as_bool(), Some(true), "the last of equal keys counts");
    assert_eq!(value["a2"].as_str(), Some("x"));
    assert!(value["missing"][7]["deeper"].is_null());
    assert!(!value.has_binary());
    let built = Value::from([("a", Value::from_iter([1, 2])), ("b", Value::from(Some("x")))]);
    assert_eq!(serde_json::to_string(&built).unwrap(), r#"{"a":[1,2],"b":"x"}"#);
}

#[test]
fn the_depth_of_values_is_limited_from_every_source() {
    let nested = |levels: usize| {
        let mut value = Value::Null;
        for _ in 0..levels {
            value = Value::Array(vec![value]);
        }
        value
    };
    assert!(Value::from_serialize(&nested(DEPTH_MAX)).is_ok());
    assert!(Value::from_serialize(&nested(DEPTH_MAX + 1)).is_err());
    assert!(nested(DEPTH_MAX).decode::<Value>().is_ok());
    assert!(nested(DEPTH_MAX + 1).decode::<Value>().is_err());
}

/// A parser of the kind a user might write: the packet as JSON, binary data in hexadecimal.
struct Plain;

impl CustomParser for Plain {
    fn encode(&self, packet: &ValuePacket) -> Result<Vec<Message>, EncodeError> {
        let packet = (packet.kind.code(), &packet.nsp, packet.id, &packet.data);
        let bytes = rmp_serde::to_vec(&packet).map_err(|e| EncodeError::Custom(e.to_string()))?;
        // In two messages, so that the decoder has to remember the first.
        let (head, tail) = bytes.split_at(1);
        let tail = Message::Binary(Bytes::copy_from_slice(tail));
        Ok(vec![Message::Text(to_hex(head)), tail])
    }

    fn decoder(&self) -> Box<dyn CustomDecoder> {
        Box::new(PlainDecoder(Vec::new()))
    }
}

struct PlainDecoder(Vec<u8>);

impl CustomDecoder for PlainDecoder {
    fn decode(&mut self, message: MessageRef<'_>) -> Result<Option<ValuePacket>, ParseError> {
        match message {
            MessageRef::Text(text) => {
                self.0 = hex(text);
                Ok(None)
            }
            MessageRef::Binary(data) => {
                self.0.extend_from_slice(data);
                let (code, nsp, id, data): (u64, String, Option<u64>, Option<Value>) =
                    rmp_serde::from_slice(&self.0)
                        .map_err(|error| ParseError::Custom(error.to_string()))?;
                let kind = PacketKind::from_code(code).ok_or(ParseError::UnknownType)?;
                Ok(Some(ValuePacket { kind, nsp, id, data }))
            }
        }
    }
}

#[test]
fn custom_parsers_obey_the_same_rules() {
    let parser = Parser::Custom(Arc::new(Plain));
    let decode = |packet: ValuePacket| {
        let mut decoder = Decoder::new();
        let mut decoded = None;
        for message in Plain.encode(&packet).unwrap() {
            decoded = match message {
                Message::Text(text) => decoder.text(&parser, &text, &LIMITS)?.map(|p| show(&p)),
                Message::Binary(data) => decoder.binary(&parser, &data, &LIMITS)?.map(|p| show(&p)),
            };
        }
        Ok(decoded.unwrap())
    };
    let packet = |kind, nsp: &str, id, data| ValuePacket { kind, nsp: nsp.to_owned(), id, data };
    let list = |name: &str| Some(Value::from_iter([name]));
    let event = PacketKind::Event;

    let fine = decode(packet(event, "/a?q", Some(1), list("x")));
    assert_eq!(fine.as_deref(), Ok("Event /a ?q #1 x []"));
    let object = Some(Value::from([("a", 1)]));
    let connect = decode(packet(PacketKind::Connect, "/", None, object.clone()));
    assert_eq!(connect.as_deref(), Ok("Connect / {a:1}"));

    let nothing = decode(packet(event, "/", Some(1), None));
    assert_eq!(nothing.as_deref(), Ok("Event / #1 []"));
    let ack = decode(packet(PacketKind::Ack, "/", None, list("x")));
    assert_eq!(ack.as_deref(), Ok(r#"Ack / ["x"]"#));

    let refused = [
        (packet(event, "/", None, list("disconnect")), ParseError::ReservedEvent),
        (packet(event, "/", None, Some(Value::Array(vec![]))), ParseError::InvalidPayload),
        (packet(event, "a", None, list("x")), ParseError::InvalidNamespace),
        (packet(event, &"/".repeat(21), None, list("x")), ParseError::NamespaceTooLong),
        (packet(PacketKind::Disconnect, "/", None, object), ParseError::InvalidPayload),
        (packet(PacketKind::ConnectError, "/", None, None), ParseError::InvalidPayload),
    ];
    for (packet, error) in refused {
        assert_eq!(decode(packet), Err(error));
    }
}
