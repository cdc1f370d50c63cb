//! The msgpack parser on arbitrary bytes: no panic, and what is accepted means the same after it
//! was encoded and decoded again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sedge_protocol::socketio::{DecodeLimits, Decoder, MessageBuf, PacketKind, Parser, Value};

fuzz_target!(|data: &[u8]| {
    let limits = DecodeLimits::default();
    let parser = Parser::Msgpack;
    let mut decoder = Decoder::new();
    let Ok(packet) = decoder.binary(&parser, data, &limits) else { return };
    let packet = packet.expect("a message is a packet");
    let _ = packet.args().decode::<(String, Option<u32>, Value)>();
    let values = packet.to_value_packet().expect("a checked packet has values");
    let payload = packet.payload::<Value>().expect("a checked payload is a value");

    let mut out = MessageBuf::new();
    let (nsp, args) = (packet.nsp.as_ref(), packet.args());
    match packet.kind {
        PacketKind::Event => {
            // Without a payload it means nothing.
            let Some(event) = packet.event() else { return };
            parser.event(nsp, packet.id, event.name, &args, &mut out)
        }
        PacketKind::Ack => {
            let Some(id) = packet.id else { return };
            parser.ack(nsp, id, &args, &mut out)
        }
        PacketKind::Connect => parser.connect(nsp, payload.as_ref(), &mut out),
        PacketKind::ConnectError => parser.connect_error(nsp, &payload, &mut out),
        PacketKind::Disconnect => parser.disconnect(nsp, &mut out),
    }
    .expect("what was received can be sent");

    let (_, message) = out.messages().next().unwrap();
    let again = decoder.binary(&parser, message, &limits).expect("what was sent can be received");
    let again = again.unwrap().to_value_packet().unwrap();
    // Compared as text, where NaN equals itself.
    assert_eq!(format!("{:?}", again.data), format!("{:?}", values.data));
    assert_eq!(again.kind, values.kind);
    assert_eq!(again.nsp, nsp);
});
