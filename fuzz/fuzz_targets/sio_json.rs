//! The default parser on arbitrary messages: no panic, and what is accepted means the same after
//! it was encoded and decoded again.
//!
//! An input is cut into messages at `0xff`, which is never part of a text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_protocol::socketio::{
    Args, DecodeLimits, Decoder, MessageBuf, MessageKind, Packet, PacketKind, Parser, Value,
};

fuzz_target!(|data: &[u8]| {
    let limits = DecodeLimits::default();
    let mut decoder = Decoder::new();
    for (index, message) in data.split(|byte| *byte == 0xff).enumerate() {
        // Text first; a text that is none is an attachment.
        let packet = match std::str::from_utf8(message) {
            Ok(text) if index == 0 || !decoder.is_awaiting() => {
                decoder.text(&Parser::Json, text, &limits)
            }
            _ => decoder.binary(&Parser::Json, message, &limits),
        };
        match packet {
            Ok(Some(packet)) => check(&packet),
            Ok(None) => assert!(decoder.is_awaiting()),
            Err(_) => {
                assert!(!decoder.is_awaiting());
                return;
            }
        }
    }
});

fn check(packet: &Packet<'_>) {
    let _ = packet.payload::<Value>();
    let _ = packet.args().decode::<(String, Option<u32>, Value)>();
    // Nesting beyond the limit shows only here.
    if packet.to_value_packet().is_err() {
        return;
    }
    let mut out = MessageBuf::new();
    let parser = Parser::Json;
    let args = packet.args();
    let encoded = match (packet.event(), packet.id) {
        (Some(event), id) => parser.event(&packet.nsp, id, event.name, &args, &mut out),
        (None, Some(id)) if packet.kind == PacketKind::Ack => {
            parser.ack(&packet.nsp, id, &args, &mut out)
        }
        _ => return,
    };
    encoded.expect("what was received can be sent");
    let limits = DecodeLimits {
        attachments_max: usize::MAX,
        attachment_bytes_max: usize::MAX,
        ..Default::default()
    };
    let mut decoder = Decoder::new();
    let messages: Vec<_> = out.messages().collect();
    for (index, (kind, message)) in messages.iter().enumerate() {
        let again = match kind {
            MessageKind::Text => {
                decoder.text(&Parser::Json, std::str::from_utf8(message).unwrap(), &limits)
            }
            MessageKind::Binary => decoder.binary(&Parser::Json, message, &limits),
        };
        match again.expect("what was sent can be received") {
            Some(again) => {
                assert_eq!(index, messages.len() - 1);
                assert_eq!(
                    (again.kind, &again.nsp, again.id),
                    (packet.kind, &packet.nsp, packet.id)
                );
                assert_eq!(shown(&again.args()), shown(&args));
            }
            None => assert!(index < messages.len() - 1),
        }
    }
}

/// Arguments as text, what is infinite as the null that it is sent on as.
fn shown(args: &Args<'_>) -> String {
    let text = format!("{:?}", args.to_values().unwrap());
    text.replace("Number(inf)", "Null").replace("Number(-inf)", "Null")
}
