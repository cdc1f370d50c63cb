//! Dynamic values: each keeps its meaning through serde in both directions, and through both
//! parsers as an argument.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use sedge_protocol::socketio::{
    DecodeLimits, Decoder, MessageBuf, MessageKind, Packet, Parser, Value,
};

fn value(u: &mut Unstructured<'_>, depth: usize) -> arbitrary::Result<Value> {
    Ok(match u.int_in_range(0..=if depth == 0 { 6 } else { 8 })? {
        0 => Value::Null,
        1 => Value::from(bool::arbitrary(u)?),
        2 => Value::from(u64::arbitrary(u)?),
        3 => Value::from(i64::arbitrary(u)?),
        4 => match f64::arbitrary(u)? {
            number if number.is_finite() => self::number(number),
            _ => Value::Null,
        },
        5 => Value::from(String::arbitrary(u)?),
        6 => Value::from(<&[u8]>::arbitrary(u)?),
        7 => {
            let len = u.int_in_range(0..=4)?;
            let elements: arbitrary::Result<Vec<_>> =
                (0..len).map(|_| value(u, depth - 1)).collect();
            Value::Array(elements?)
        }
        _ => {
            let len = u.int_in_range(0..=4)?;
            let entries: arbitrary::Result<Vec<_>> =
                (0..len).map(|_| Ok((String::arbitrary(u)?, value(u, depth - 1)?))).collect();
            Value::Object(entries?)
        }
    })
}

/// Text does not tell 3.0 from 3, nor does JavaScript: a whole number has one form, as far as 64 bits go.
fn number(number: f64) -> Value {
    match number {
        whole if whole.fract() != 0.0 => Value::from(number),
        whole if (i64::MIN as f64..0.0).contains(&whole) => Value::from(whole as i64),
        whole if (0.0..u64::MAX as f64).contains(&whole) => Value::from(whole as u64),
        _ => Value::from(number),
    }
}

/// Whether the default parser would take part of the value for an attachment.
fn has_placeholder(value: &Value) -> bool {
    value["_placeholder"] == Value::Bool(true)
        || value.as_array().is_some_and(|a| a.iter().any(has_placeholder))
        || value.as_object().is_some_and(|o| o.iter().any(|(_, v)| has_placeholder(v)))
}

fn argument(packet: &Packet<'_>) -> Value {
    packet.args().decode().expect("an argument is a value")
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let Ok(value) = value(&mut u, 20) else { return };
    assert_eq!(Value::from_serialize(&value).expect("shallow"), value);
    assert_eq!(value.decode::<Value>().expect("shallow"), value);

    let limits = DecodeLimits {
        attachments_max: usize::MAX,
        attachment_bytes_max: usize::MAX,
        ..Default::default()
    };
    for parser in [Parser::Json, Parser::Msgpack] {
        if has_placeholder(&value) && matches!(parser, Parser::Json) {
            continue;
        }
        let mut out = MessageBuf::new();
        parser.event("/", None, "value", &value, &mut out).expect("a value can be sent");
        let mut decoder = Decoder::new();
        let mut last = None;
        for (kind, message) in out.messages() {
            last = match kind {
                MessageKind::Text => {
                    let text = std::str::from_utf8(message).expect("text is UTF-8");
                    decoder.text(&parser, text, &limits)
                }
                MessageKind::Binary => decoder.binary(&parser, message, &limits),
            }
            .expect("what was sent can be received");
        }
        assert_eq!(argument(&last.expect("the last message completes the packet")), value);
    }
});
