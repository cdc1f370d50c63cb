//! What users and peers rely on. The expected messages were produced by `socket.io-parser` 4.2.7
//! and `socket.io-msgpack-parser` 3.0.2, unless a comment says otherwise.

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::*;

pub(super) const LIMITS: DecodeLimits =
    DecodeLimits { attachments_max: 10, attachment_bytes_max: 100, nsp_len_max: 20 };

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect()
}

/// Decodes a text that is a whole packet, and shows it.
pub(super) fn text(text: &str) -> Result<String, ParseError> {
    let packet = Decoder::new().text(&Parser::Json, text, &LIMITS)?;
    Ok(packet.map_or("pending".to_owned(), |packet| show(&packet)))
}

/// Decodes a text and its attachments.
pub(super) fn binary(text: &str, attachments: &[&[u8]]) -> Result<String, ParseError> {
    let mut decoder = Decoder::new();
    let mut packet = decoder.text(&Parser::Json, text, &LIMITS)?;
    for attachment in attachments {
        assert!(packet.is_none() && decoder.is_awaiting());
        packet = decoder.binary(&Parser::Json, attachment, &LIMITS)?;
    }
    assert!(!decoder.is_awaiting());
    Ok(show(&packet.unwrap()))
}

fn msgpack(hexadecimal: &str) -> Result<String, ParseError> {
    let bytes = hex(hexadecimal);
    let packet = Decoder::new().binary(&Parser::Msgpack, &bytes, &LIMITS)?;
    Ok(show(&packet.unwrap()))
}

/// `kind nsp [?query] [#id] [name] payload`, binary data as `<hex>`.
pub(super) fn show(packet: &Packet<'_>) -> String {
    let mut parts = vec![format!("{:?}", packet.kind), packet.nsp.to_string()];
    parts.extend(packet.nsp_query.iter().map(|query| format!("?{query}")));
    parts.extend(packet.id.map(|id| format!("#{id}")));
    parts.extend(packet.event().map(|event| event.name.to_owned()));
    if matches!(packet.kind, PacketKind::Event | PacketKind::Ack) {
        parts.push(show_value(&Value::Array(packet.args().to_values().unwrap())));
    }
    parts.extend(packet.payload::<Value>().unwrap().map(|payload| show_value(&payload)));
    parts.join(" ")
}

fn show_value(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(",");
    match value {
        Value::Binary(bytes) => {
            format!("<{}>", to_hex(bytes))
        }
        Value::Array(elements) => format!("[{}]", list(elements.iter().map(show_value).collect())),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(k, v)| format!("{k}:{}", show_value(v)));
            format!("{{{}}}", list(entries.collect()))
        }
        other => serde_json::to_string(other).unwrap(),
    }
}

/// The messages in `out`: text as it is, binary data as hex.
pub(super) fn sent(out: &MessageBuf) -> Vec<String> {
    out.messages()
        .map(|(kind, message)| match kind {
            MessageKind::Text => String::from_utf8(message.to_vec()).unwrap(),
            MessageKind::Binary => to_hex(message),
        })
        .collect()
}

#[derive(Serialize)]
struct Nested {
    a: bool,
    b: Option<u8>,
    c: (f64, i32),
}

#[derive(Serialize)]
struct Deep {
    deep: Vec<Bytes>,
}

/// How a packet is sent, its JSON form (text and attachments), its msgpack form, and what it is.
type Golden = (fn(&Parser, &mut MessageBuf), Vec<&'static str>, &'static str, &'static str);

fn golden() -> Vec<Golden> {
    [golden_control(), golden_lists(), golden_binary(), golden_data()].concat()
}

/// Packets that carry at most one value.
fn golden_control() -> Vec<Golden> {
    vec![
        (
            |p, out| p.connect("/", None::<&()>, out).unwrap(),
            vec!["0"],
            "82a47479706500a36e7370a12f",
            "Connect /",
        ),
        (
            |p, out| {
                let payload = json!({"sid": "oSO0OpakMV_3jnilAAAA"});
                p.connect("/admin", Some(&payload), out).unwrap();
            },
            vec![r#"0/admin,{"sid":"oSO0OpakMV_3jnilAAAA"}"#],
            "83a47479706500a46461746181a3736964b46f534f304f70616b4d565f336a6e696c41414141a36e7370a62f61646d696e",
            r#"Connect /admin {sid:"oSO0OpakMV_3jnilAAAA"}"#,
        ),
        (
            |p, out| p.disconnect("/", out).unwrap(),
            vec!["1"],
            "82a47479706501a36e7370a12f",
            "Disconnect /",
        ),
        (
            |p, out| p.disconnect("/admin", out).unwrap(),
            vec!["1/admin,"],
            "82a47479706501a36e7370a62f61646d696e",
            "Disconnect /admin",
        ),
        (
            |p, out| {
                p.connect_error("/", &json!({"message": "Not authorized"}), out).unwrap();
            },
            vec![r#"4{"message":"Not authorized"}"#],
            "83a47479706504a46461746181a76d657373616765ae4e6f7420617574686f72697a6564a36e7370a12f",
            r#"ConnectError / {message:"Not authorized"}"#,
        ),
        (
            |p, out| p.connect_error("/", "Not authorized", out).unwrap(),
            vec![r#"4"Not authorized""#],
            "83a47479706504a464617461ae4e6f7420617574686f72697a6564a36e7370a12f",
            r#"ConnectError / "Not authorized""#,
        ),
    ]
}

/// Events and acknowledgements.
fn golden_lists() -> Vec<Golden> {
    vec![
        (
            |p, out| {
                let nested = Nested { a: true, b: None, c: (1.5, -3) };
                p.event("/", None, "hello", &(1, "2", nested), out).unwrap();
            },
            vec![r#"2["hello",1,"2",{"a":true,"b":null,"c":[1.5,-3]}]"#],
            "83a47479706502a46461746194a568656c6c6f01a13283a161c3a162c0a16392cb3ff8000000000000fda36e7370a12f",
            r#"Event / hello [1,"2",{a:true,b:null,c:[1.5,-3]}]"#,
        ),
        (
            |p, out| p.event("/admin", Some(456), "project:delete", &123, out).unwrap(),
            vec![r#"2/admin,456["project:delete",123]"#],
            "84a47479706502a46461746192ae70726f6a6563743a64656c6574657ba36e7370a62f61646d696ea26964cd01c8",
            "Event /admin #456 project:delete [123]",
        ),
        (
            |p, out| p.event("/", Some(0), "x", &(), out).unwrap(),
            vec![r#"20["x"]"#],
            "84a47479706502a46461746191a178a36e7370a12fa2696400",
            "Event / #0 x []",
        ),
        (
            |p, out| p.ack("/", 12, &(), out).unwrap(),
            vec!["312[]"],
            "84a47479706503a46461746190a36e7370a12fa269640c",
            "Ack / #12 []",
        ),
        (
            |p, out| p.ack("/admin", 13, &("bar", 7), out).unwrap(),
            vec![r#"3/admin,13["bar",7]"#],
            "84a47479706503a46461746192a362617207a36e7370a62f61646d696ea269640d",
            r#"Ack /admin #13 ["bar",7]"#,
        ),
    ]
}

/// Packets with binary data.
fn golden_binary() -> Vec<Golden> {
    vec![
        (
            |p, out| {
                p.event("/", None, "baz", &Bytes::from_static(&[1, 2, 3, 4]), out).unwrap();
            },
            vec![r#"51-["baz",{"_placeholder":true,"num":0}]"#, "01020304"],
            "83a47479706502a46461746192a362617ac40401020304a36e7370a12f",
            "Event / baz [<01020304>]",
        ),
        (
            |p, out| {
                let deep = Deep { deep: vec![Bytes::from_static(&[3, 4])] };
                let args = (Bytes::from_static(&[1, 2]), deep);
                p.event("/admin", Some(9), "baz", &args, out).unwrap();
            },
            vec![
                r#"52-/admin,9["baz",{"_placeholder":true,"num":0},{"deep":[{"_placeholder":true,"num":1}]}]"#,
                "0102",
                "0304",
            ],
            "84a47479706502a46461746193a362617ac402010281a46465657091c4020304a36e7370a62f61646d696ea2696409",
            "Event /admin #9 baz [<0102>,{deep:[<0304>]}]",
        ),
        (
            |p, out| p.ack("/", 15, &Bytes::from_static(&[5]), out).unwrap(),
            vec![r#"61-15[{"_placeholder":true,"num":0}]"#, "05"],
            "84a47479706503a46461746191c40105a36e7370a12fa269640f",
            "Ack / #15 [<05>]",
        ),
    ]
}

/// Text that needs escapes, and numbers around the limits of their msgpack forms.
fn golden_data() -> Vec<Golden> {
    vec![
        (
            |p, out| {
                let name = "q\"\\\u{1}\u{2028}\u{1f600}\n";
                p.event("/", None, name, "", out).unwrap();
            },
            vec!["2[\"q\\\"\\\\\\u0001\u{2028}\u{1f600}\\n\",\"\"]"],
            "83a47479706502a46461746192ac71225c01e280a8f09f98800aa0a36e7370a12f",
            "Event / q\"\\\u{1}\u{2028}\u{1f600}\n [\"\"]",
        ),
        (
            |p, out| {
                let numbers = [
                    127,
                    128,
                    255,
                    256,
                    65535,
                    65536,
                    4_294_967_295,
                    4_294_967_296,
                    -1,
                    -32,
                    -33,
                    -128,
                    -129,
                    -32768,
                    -32769,
                    -2_147_483_648,
                    -2_147_483_649,
                    9_007_199_254_740_991_i64,
                ];
                p.event("/", None, "n", &ArgList(&numbers), out).unwrap();
            },
            vec![
                r#"2["n",127,128,255,256,65535,65536,4294967295,4294967296,-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649,9007199254740991]"#,
            ],
            "83a47479706502a464617461dc0013a16e7fcc80ccffcd0100cdffffce00010000ceffffffffcf0000000100000000ffe0d0dfd080d1ff7fd18000d2ffff7fffd280000000d3ffffffff7fffffffcf001fffffffffffffa36e7370a12f",
            "Event / n [127,128,255,256,65535,65536,4294967295,4294967296,-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649,9007199254740991]",
        ),
    ]
}

#[test]
fn packets_are_encoded_as_the_official_encoders_do() {
    let mut out = MessageBuf::new();
    for (encode, json, msgpack, _) in golden() {
        encode(&Parser::Json, &mut out);
        assert_eq!(sent(&out), json);
        encode(&Parser::Msgpack, &mut out);
        assert_eq!(sent(&out), [msgpack]);
    }
}

#[test]
fn packets_of_the_official_encoders_are_decoded() {
    for (_, json, packed, shown) in golden() {
        let attachments: Vec<Vec<u8>> = json[1..].iter().map(|text| hex(text)).collect();
        let attachments: Vec<&[u8]> = attachments.iter().map(Vec::as_slice).collect();
        assert_eq!(binary(json[0], &attachments).unwrap(), shown);
        assert_eq!(msgpack(packed).unwrap(), shown);
    }
}

#[test]
fn forms_that_old_and_sloppy_clients_send_are_understood() {
    let cases = [
        (r#"0{"token":1}"#, "Connect / {token:1}"),
        ("0/admin", "Connect /admin"),
        ("0/chat?token=1&x=%2C,", "Connect /chat ?token=1&x=%2C"),
        ("0/chat?", "Connect /chat ?"),
        ("1/a", "Disconnect /a"),
        ("2[1]", "Event / 1 []"),
        ("2[1.50,2]", "Event / 1.5 [2]"),
        ("2[-0]", "Event / 0 []"),
        ("2[1e21]", "Event / 1e+21 []"),
        ("2[12345678901234567890]", "Event / 12345678901234567000 []"),
        ("2007[\"a\"]", "Event / #7 a []"),
        ("218446744073709551615[\"a\"]", "Event / #18446744073709551615 a []"),
        ("2[ \"a\" , 1 ] ", "Event / a [1]"),
        (r#"2["\u0061\n"]"#, "Event / a\n []"),
        ("2[1e999]", "Event / Infinity []"),
        // Packets without a payload, which the official decoder lets pass: such an event has no name and
        // means nothing, such an acknowledgement has no arguments.
        ("2", "Event / []"),
        ("2/a,", "Event /a []"),
        ("27", "Event / #7 []"),
        ("30", "Ack / #0 []"),
        ("3/a,1", "Ack /a #1 []"),
        ("51-", "pending"),
        // An acknowledgement of nothing, and ids that do not fit.
        ("3[]", "Ack / []"),
        (r#"3["a"]"#, r#"Ack / ["a"]"#),
        ("3", "Ack / []"),
        ("218446744073709551616[\"a\"]", "Event / a []"),
        ("318446744073709551616[1]", "Ack / [1]"),
        // Not a binary packet, so that the object is only an object.
        (r#"2["a",{"_placeholder":true,"num":0}]"#, "Event / a [{_placeholder:true,num:0}]"),
        (r#"51-["a"]"#, "pending"),
        (r#"510-["a"]"#, "pending"),
    ];
    for (message, shown) in cases {
        assert_eq!(text(message).as_deref(), Ok(shown), "{message}");
    }
}

#[test]
fn malformed_text_is_refused() {
    use ParseError::*;
    let cases = [
        ("", UnknownType),
        ("7", UnknownType),
        ("a", UnknownType),
        ("\u{e9}", UnknownType),
        (r#"5["a"]"#, IllegalAttachments),
        (r#"5-["a"]"#, IllegalAttachments),
        (r#"50-["a"]"#, IllegalAttachments),
        (r#"5x-["a"]"#, IllegalAttachments),
        (r#"51.5-["a"]"#, IllegalAttachments),
        (r#"6["a"]"#, IllegalAttachments),
        ("51", IllegalAttachments),
        (r#"511-["a"]"#, TooManyAttachments),
        (r#"599999999999999999999999-["a"]"#, TooManyAttachments),
        ("0/a23456789012345678901,", NamespaceTooLong),
        ("0[]", InvalidPayload),
        ("0null", InvalidPayload),
        ("0\"x\"", InvalidPayload),
        ("0{}x", InvalidPayload),
        ("1{}", InvalidPayload),
        ("1/a,[]", InvalidPayload),
        ("4", InvalidPayload),
        ("2[]", InvalidPayload),
        ("2{}", InvalidPayload),
        ("2\"a\"", InvalidPayload),
        ("2[null]", InvalidPayload),
        ("2[[\"a\"]]", InvalidPayload),
        ("2[true]", InvalidPayload),
        (r#"2["a""#, InvalidPayload),
        (r#"2["a"]x"#, InvalidPayload),
        (r#"2["a",]"#, InvalidPayload),
        ("2[\"a\u{1}\"]", InvalidPayload),
        ("312{}", InvalidPayload),
        ("4[]", InvalidPayload),
        ("43", InvalidPayload),
        ("3[]x", InvalidPayload),
    ];
    for (message, error) in cases {
        assert_eq!(text(message), Err(error), "{message}");
    }
    assert_eq!(text("0/a2345678901234567890").as_deref(), Err(&NamespaceTooLong));
    assert_eq!(text("0/234567890123456789?0").as_deref(), Ok("Connect /234567890123456789 ?0"));
}

#[test]
fn reserved_names_are_neither_received_nor_sent() {
    let mut out = MessageBuf::new();
    for parser in [Parser::Json, Parser::Msgpack] {
        for name in RESERVED_EVENTS {
            assert_eq!(text(&format!(r#"2["{name}",1]"#)), Err(ParseError::ReservedEvent));
            let bytes = rmp_serde::to_vec_named(&json!({"type": 2, "data": [name], "nsp": "/"}));
            let result =
                Decoder::new().binary(&Parser::Msgpack, &bytes.unwrap(), &LIMITS).map(|_| ());
            assert_eq!(result, Err(ParseError::ReservedEvent));
            let refused = parser.event("/", None, name, &(), &mut out);
            assert_eq!(refused, Err(EncodeError::ReservedEvent(name.to_owned())));
            assert!(out.is_empty());
        }
    }
    // Spelled with an escape it is the same name.
    assert_eq!(text(r#"2["\u0063onnect"]"#), Err(ParseError::ReservedEvent));
}

#[test]
fn placeholders_are_filled_as_in_the_official_decoder() {
    let one: &[&[u8]] = &[&[1]];
    let cases: [(&str, Result<&str, ParseError>); 14] = [
        (r#"51-["a",{"_placeholder":true,"num":0}]"#, Ok("Event / a [<01>]")),
        (
            r#"51-["a",{"_placeholder":true,"num":0},{"num":0,"x":1,"_placeholder":true}]"#,
            Ok("Event / a [<01>,<01>]"),
        ),
        (r#"51-["a",{"_placeholder":1,"num":5}]"#, Ok("Event / a [{_placeholder:1,num:5}]")),
        (r#"51-["a",{"b":[{"_placeholder":true,"num":0.0}]}]"#, Ok("Event / a [{b:[<01>]}]")),
        (r#"51-["a"]"#, Ok("Event / a []")),
        (r#"61-7[{"_placeholder":true,"num":0}]"#, Ok("Ack / #7 [<01>]")),
        (r#"51-["a",{"_placeholder":true,"num":1}]"#, Err(ParseError::IllegalAttachments)),
        (r#"51-["a",{"_placeholder":true,"num":-1}]"#, Err(ParseError::IllegalAttachments)),
        (r#"51-["a",{"_placeholder":true,"num":"0"}]"#, Err(ParseError::IllegalAttachments)),
        (r#"51-["a",{"_placeholder":true}]"#, Err(ParseError::IllegalAttachments)),
        // The official decoder puts `undefined` here.
        (r#"51-["a",{"_placeholder":true,"num":0.5}]"#, Err(ParseError::IllegalAttachments)),
        ("51-", Ok("Event / []")),
        ("61-7", Ok("Ack / #7 []")),
        // It is infinite, which JSON shows as null.
        (r#"51-["a",1e999]"#, Ok("Event / a [null]")),
    ];
    for (message, expected) in cases {
        assert_eq!(binary(message, one), expected.map(str::to_owned), "{message}");
    }
    let two = binary(r#"52-["a",{"_placeholder":true,"num":1}]"#, &[&[1], &[2]]);
    assert_eq!(two.as_deref(), Ok("Event / a [<02>]"));
}

#[test]
fn attachments_and_text_come_in_order() {
    let parser = Parser::Json;
    let mut decoder = Decoder::new();
    let orphan = decoder.binary(&parser, &[1], &LIMITS).map(|_| ());
    assert_eq!(orphan, Err(ParseError::UnexpectedBinary));

    assert!(decoder.text(&parser, r#"52-["a"]"#, &LIMITS).unwrap().is_none());
    assert!(decoder.binary(&parser, &[1], &LIMITS).unwrap().is_none());
    let interrupted = decoder.text(&parser, r#"2["b"]"#, &LIMITS).map(|_| ());
    assert_eq!(interrupted, Err(ParseError::UnexpectedText));
    assert!(!decoder.is_awaiting());

    // 100 bytes in all are allowed, one more is not.
    assert!(decoder.text(&parser, r#"52-["a"]"#, &LIMITS).unwrap().is_none());
    assert!(decoder.binary(&parser, &[0; 60], &LIMITS).unwrap().is_none());
    let large = decoder.binary(&parser, &[0; 41], &LIMITS).map(|_| ());
    assert_eq!(large, Err(ParseError::AttachmentsTooLarge));
    assert!(binary(r#"52-["a"]"#, &[&[0; 60], &[0; 40]]).is_ok());

    let text = Decoder::new().text(&Parser::Msgpack, "0", &LIMITS).map(|_| ());
    assert_eq!(text, Err(ParseError::UnexpectedText));
    assert!(size_of::<Decoder>() <= 16);
}

#[test]
fn deep_nesting_neither_overflows_the_stack_nor_closes_the_connection() {
    let levels = 1_000_000;
    let deep = format!(r#"["deep",{}{}]"#, "[".repeat(levels), "]".repeat(levels));
    let message = format!("2{deep}");
    let packet = Decoder::new().text(&Parser::Json, &message, &LIMITS).unwrap().unwrap();
    assert_eq!(packet.event().unwrap().name, "deep");
    assert!(matches!(packet.args().decode::<Value>(), Err(ArgsError::Invalid { .. })));
    // What nobody looks into does no harm.
    packet.args().decode::<()>().unwrap();

    assert_eq!(binary(&format!("51-{deep}"), &[&[1]]), Err(ParseError::InvalidPayload));
}

#[test]
fn msgpack_extensions_become_what_json_would_show() {
    // From the encoders of notepack.io 2.2 for Node and for browsers: undefined, an object with an
    // undefined entry, a date, and binary data in their different forms.
    let node = "83a47479706502a46461746198a178d4000082a175d40000a16b01d7000000000000000000\
                c7010001c708000102030405060708c70300010203c7010009a36e7370a12f";
    let shown = r#"Event / x [null,{u:null,k:1},"1970-01-01T00:00:00.000Z",<01>,<0102030405060708>,<010203>,<09>]"#;
    assert_eq!(msgpack(node).as_deref(), Ok(shown));
    let browser = "83a47479706502a46461746198a178d4000082a175d40000a16b01d7000000000000000000\
                   c40101c4080102030405060708c40301020381a13009a36e7370a12f";
    let shown = r#"Event / x [null,{u:null,k:1},"1970-01-01T00:00:00.000Z",<01>,<0102030405060708>,<010203>,{0:9}]"#;
    assert_eq!(msgpack(browser).as_deref(), Ok(shown));
    // From notepack.io 2.2: 2023-11-14 without and with milliseconds, and a date before 1970.
    let dates = "83a47479706502a46461746194a164d7000000018bcfe56800d7000000018bcfe5687b\
                 d700ffffffffffffffffa36e7370a12f";
    let shown = r#"Event / d ["2023-11-14T22:13:20.000Z","2023-11-14T22:13:20.123Z","1969-12-31T23:59:59.999Z"]"#;
    assert_eq!(msgpack(dates).as_deref(), Ok(shown));
    // From notepack.io 3.0.1, as timestamps of 32, 64, 96 and 64 bits.
    let timestamps = "83a47479706502a46461746195a164d6ff6553f100d7ff1d53530000000000\
                      c70cff3b8b87c0ffffffffffffffffd7ff1d5353006553f100a36e7370a12f";
    let shown = r#"Event / d ["2023-11-14T22:13:20.000Z","1970-01-01T00:00:00.123Z","1969-12-31T23:59:59.999Z","2023-11-14T22:13:20.123Z"]"#;
    assert_eq!(msgpack(timestamps).as_deref(), Ok(shown));
    // A date out of range, an unknown ext, a broken string, and keys that are no strings.
    let odd = "83a47479706502a46461746195a164d7007fffffffffffffff\
               d50703f4a2ff4185010102a1780304c0c2c3ca3fc0000001a36e7370a12f";
    let shown = "Event / d [null,[7,<03f4>],\"\u{fffd}A\",{1:1,2:\"x\",3:4,null:false,true:1.5}]";
    let extra = msgpack(odd);
    assert!(extra.is_err(), "a byte too many: {extra:?}");
    let odd = odd.replace("3fc0000001a3", "3fc00000a3");
    assert_eq!(msgpack(&odd).as_deref(), Ok(shown));
}

#[test]
fn malformed_msgpack_is_refused() {
    use ParseError::*;
    let packet = |value: serde_json::Value| {
        let bytes = rmp_serde::to_vec_named(&value).unwrap();
        Decoder::new()
            .binary(&Parser::Msgpack, &bytes, &LIMITS)
            .map(|packet| show(&packet.unwrap()))
    };
    let cases = [
        (json!({"type": 5, "data": ["a"], "nsp": "/"}), UnknownType),
        (json!({"data": ["a"], "nsp": "/"}), UnknownType),
        (json!({"type": "2", "data": ["a"], "nsp": "/"}), InvalidId),
        (json!({"type": 2, "data": ["a"]}), InvalidNamespace),
        (json!({"type": 2, "data": ["a"], "nsp": 1}), InvalidNamespace),
        (json!({"type": 2, "data": ["a"], "nsp": "chat"}), InvalidNamespace),
        (json!({"type": 2, "data": ["a"], "nsp": "/".repeat(21)}), NamespaceTooLong),
        (json!({"type": 2, "data": ["a"], "nsp": "/", "id": 1.5}), InvalidId),
        (json!({"type": 2, "data": ["a"], "nsp": "/", "id": "1"}), InvalidId),
        (json!({"type": 2, "data": [], "nsp": "/"}), InvalidPayload),
        (json!({"type": 2, "data": [null], "nsp": "/"}), InvalidPayload),
        (json!({"type": 2, "data": {}, "nsp": "/"}), InvalidPayload),
        (json!({"type": 0, "data": [], "nsp": "/"}), InvalidPayload),
        (json!({"type": 1, "data": 1, "nsp": "/"}), InvalidPayload),
        (json!({"type": 4, "data": [], "nsp": "/"}), InvalidPayload),
        (json!([2]), InvalidPayload),
    ];
    for (value, error) in cases {
        assert_eq!(packet(value.clone()), Err(error), "{value}");
    }
    // Other clients write null for what is absent, and doubles for whole numbers.
    let null = packet(json!({"type": 0, "data": null, "nsp": "/", "id": null, "more": [1, {}]}));
    assert_eq!(null.as_deref(), Ok("Connect /"));
    let double = packet(json!({"type": 2.0, "data": [1.5], "nsp": "/", "id": 3.0}));
    assert_eq!(double.as_deref(), Ok("Event / #3 1.5 []"));
    // As with JSON: packets without a payload, acknowledgements of nothing, and ids that do not fit.
    let lenient = [
        (json!({"type": 2, "nsp": "/", "id": 7}), "Event / #7 []"),
        (json!({"type": 3, "nsp": "/", "id": 0}), "Ack / #0 []"),
        (json!({"type": 3, "data": [1], "nsp": "/"}), "Ack / [1]"),
        (json!({"type": 2, "data": ["a"], "nsp": "/", "id": -1}), "Event / a []"),
        (json!({"type": 2, "data": ["a"], "nsp": "/", "id": 1e30}), "Event / a []"),
        (json!({"type": 3, "data": [], "nsp": "/", "id": 1e30}), "Ack / []"),
    ];
    for (value, shown) in lenient {
        assert_eq!(packet(value.clone()).as_deref(), Ok(shown), "{value}");
    }
}

#[test]
fn msgpack_lengths_and_depths_are_not_believed() {
    let head = "83a47479706502a36e7370a12fa46461746192a161";
    for claim in ["ddffffffff", "dfffffffff", "c6ffffffff", "dbffffffff", "c9ffffffff00", "dcffff"]
    {
        assert_eq!(msgpack(&format!("{head}{claim}")), Err(ParseError::InvalidPayload), "{claim}");
        assert_eq!(msgpack(claim), Err(ParseError::InvalidPayload), "{claim}");
    }
    assert_eq!(msgpack(&format!("{head}c1")), Err(ParseError::InvalidPayload));
    assert_eq!(msgpack(&format!("{head}00ff")), Err(ParseError::InvalidPayload));
    let allowed = format!("{head}{}90", "91".repeat(DEPTH_MAX - 1));
    assert!(msgpack(&allowed).is_ok());
    for levels in [DEPTH_MAX, 1_000_000] {
        let deep = format!("{head}{}90", "91".repeat(levels));
        assert_eq!(msgpack(&deep), Err(ParseError::TooDeep));
    }
    // Every prefix of a valid packet is malformed.
    for (_, _, packed, _) in golden() {
        for end in (0..packed.len()).step_by(2) {
            assert!(msgpack(&packed[..end]).is_err());
        }
    }
}
