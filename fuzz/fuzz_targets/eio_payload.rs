//! Polling payloads. All decoders on arbitrary and on nearly valid bodies: no panic, at most one
//! error and that at the end, no more data than the body has. And whatever the encoder writes, in
//! each form, has the predicted length and is read back as it was. The same for JSONP forms.

#![no_main]

use std::borrow::Cow;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sedge_protocol::engine::jsonp;
use sedge_protocol::engine::payload::{decode_v3_binary, decode_v3_text, decode_v4};
use sedge_protocol::engine::{
    Data, Packet, PacketType, PayloadEncoder, PayloadError, Version, WirePacket,
};
use sedge_protocol::limits::MAX_PACKETS_PER_PAYLOAD;

#[derive(Arbitrary, Debug)]
enum Case {
    Raw(Vec<u8>),
    /// Elements of version 3, each with a length that is right but for `wrong_by`.
    Elements(Vec<Element>),
    RoundTrip {
        form: Form,
        packets: Vec<Outgoing>,
    },
    Jsonp {
        payload: String,
        j: String,
    },
}

#[derive(Arbitrary, Debug)]
struct Element {
    mark: u8,
    content: String,
    wrong_by: i8,
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Form {
    V4,
    V3Text,
    V3,
}

#[derive(Arbitrary, Debug)]
enum Outgoing {
    Text(u8, String),
    Binary(Vec<u8>),
}

fuzz_target!(|case: Case| match case {
    Case::Raw(body) => decode_all(&body),
    Case::Elements(elements) => decode_elements(&elements),
    Case::RoundTrip { form, packets } => round_trip(form, &packets),
    Case::Jsonp { payload, j } => jsonp_round_trip(&payload, &j),
});

fn decode_all(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    check(decode_v4(&text), text.len());
    check(decode_v3_text(&text), text.len());
    check(decode_v3_binary(body), body.len());
    let form = jsonp::decode_request(body);
    assert!(form.is_none_or(|payload| payload.len() <= 3 * body.len()));
}

fn check<'a>(items: impl Iterator<Item = Result<Packet<'a>, PayloadError>>, body_len: usize) {
    let mut data_len = 0;
    let mut failed = false;
    let mut packets = 0;
    for item in items {
        assert!(!failed, "an item behind an error");
        packets += usize::from(item.is_ok());
        failed = item.is_err();
        data_len += match item.as_ref().map(|packet| &packet.data) {
            Ok(Data::Text(text)) => 1 + text.len(),
            Ok(Data::Binary(data)) => 1 + data.len(),
            Err(_) => 0,
        };
    }
    assert!(packets <= MAX_PACKETS_PER_PAYLOAD);
    assert!(data_len <= body_len, "data out of nothing");
}

fn decode_elements(elements: &[Element]) {
    let mut text = String::new();
    let mut binary = Vec::new();
    for Element { mark, content, wrong_by } in elements {
        let wrong_by = isize::from(*wrong_by / 32);
        let units = content.encode_utf16().count().saturating_add_signed(wrong_by);
        text.push_str(&format!("{units}:{content}"));
        binary.push(mark % 4);
        let length = content.len().saturating_add_signed(wrong_by).to_string();
        binary.extend(length.bytes().map(|digit| digit - b'0'));
        binary.push(0xff);
        binary.extend_from_slice(content.as_bytes());
    }
    check(decode_v3_text(&text), text.len());
    check(decode_v3_binary(&binary), binary.len());
}

fn round_trip(form: Form, outgoing: &[Outgoing]) {
    let version = if matches!(form, Form::V4) { Version::V4 } else { Version::V3 };
    // The frames as the session would make them, and what the client has to see.
    let frames: Vec<(bool, Vec<u8>)> = outgoing
        .iter()
        .map(|packet| match packet {
            Outgoing::Text(kind, text) => {
                // In version 4 the separator cannot be part of a text.
                let text = text.replace('\x1e', "");
                (false, format!("{}{text}", kind % 7).into_bytes())
            }
            Outgoing::Binary(data) if version == Version::V4 => (true, data.clone()),
            Outgoing::Binary(data) => (true, [&[4], &data[..]].concat()),
        })
        .collect();
    let expected: Vec<Packet<'_>> = frames.iter().map(|frame| packet_of(version, frame)).collect();

    let mut encoder = PayloadEncoder::new(version, matches!(form, Form::V3));
    for (binary, data) in &frames {
        let packet = WirePacket { binary: *binary, data };
        let predicted = encoder.len_with(packet);
        encoder.push(packet);
        assert_eq!(encoder.len(), predicted);
    }
    let payload = encoder.finish();
    let has_binary = frames.iter().any(|(binary, _)| *binary);
    let binary_form = matches!(form, Form::V3) && has_binary;
    assert_eq!(payload.content_type == "application/octet-stream", binary_form);

    let text = || std::str::from_utf8(&payload.body).expect("text forms are UTF-8");
    let read: Result<Vec<Packet<'_>>, PayloadError> = match version {
        _ if binary_form => decode_v3_binary(&payload.body).collect(),
        Version::V3 => decode_v3_text(text()).collect(),
        Version::V4 if frames.is_empty() => Ok(Vec::new()),
        Version::V4 => decode_v4(text()).collect(),
    };
    assert_eq!(read.as_ref(), Ok(&expected));
}

fn packet_of(version: Version, (binary, data): &(bool, Vec<u8>)) -> Packet<'_> {
    if *binary {
        let message = if version == Version::V3 { &data[1..] } else { &data[..] };
        return Packet { kind: PacketType::Message, data: Data::Binary(Cow::Borrowed(message)) };
    }
    let kind = PacketType::from_number(data[0] - b'0').expect("digits are below 7");
    Packet { kind, data: Data::Text(std::str::from_utf8(&data[1..]).expect("made from a string")) }
}

fn jsonp_round_trip(payload: &str, j: &str) {
    let script = jsonp::encode_response(j, payload.as_bytes());
    let script = std::str::from_utf8(&script).expect("UTF-8 stays UTF-8");
    let call = script.strip_prefix("___eio[").and_then(|rest| rest.strip_suffix("\");"));
    let (index, literal) = call.and_then(|rest| rest.split_once("](\"")).expect("a call");
    assert!(index.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(!literal.contains(|c: char| c < ' ' || c == '\u{2028}' || c == '\u{2029}'));

    // The official client escapes `\n` to backslash and newline, then newlines to `\n`; a backslash
    // in front of a newline is ambiguous there.
    if payload.contains("\\\n") {
        return;
    }
    let escaped = payload.replace("\\n", "\\\n").replace('\n', "\\n");
    let form: String = escaped.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let body = format!("d={form}");
    assert_eq!(jsonp::decode_request(body.as_bytes()).as_deref(), Some(payload));
}
