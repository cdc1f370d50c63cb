//! Packets of every form cross, and ids are put into them.

use std::sync::Arc;

use bytes::Bytes;
use sedge::{
    CustomDecoder, CustomParser, EncodeError, Message, MessageRef, PacketKind, ParseError, Parser,
    Value, ValuePacket,
};
use sedge_testkit::{Frame, RawWs, SioClient};

use super::{Carrier, Cluster, LONG, words};

/// A client that has joined the root namespace in msgpack.
fn msgpack_client(cluster: &Cluster<impl Carrier>, place: usize) -> RawWs {
    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut client = RawWs::connect(cluster.node(place).address, target);
    assert!(matches!(client.receive(), Frame::Text(_)), "OPEN is text");
    client.send_binary(b"\x82\xa4type\x00\xa3nsp\xa1/");
    assert!(matches!(client.receive(), Frame::Binary(_)), "CONNECT is not");
    client
}

pub(crate) fn msgpack<C: Carrier>() {
    Cluster::<C>::each_with(
        |builder, _| builder.parser(Parser::Msgpack),
        |cluster| {
            let mut clients: Vec<_> = (0..3).map(|n| msgpack_client(&cluster, n)).collect();
            for node in &cluster.nodes {
                node.io.emit("e", &(1, Bytes::from_static(b"ab"))).unwrap();
                let plain = b"\x83\xa4type\x02\xa4data\x93\xa1e\x01\xc4\x02ab\xa3nsp\xa1/";
                for client in &mut clients {
                    assert_eq!(client.receive(), Frame::Binary(plain.to_vec()));
                }
                let asked = node.io.timeout(LONG).emit_with_ack::<u64>("q", &());
                for (n, client) in clients.iter_mut().enumerate() {
                    let Frame::Binary(packet) = client.receive() else { panic!("a packet") };
                    let head = b"\x84\xa4type\x02\xa4data\x91\xa1q\xa3nsp\xa1/\xa2id\xce";
                    let id = packet.strip_prefix(head).unwrap_or_else(|| panic!("{packet:?}"));
                    assert!(id[0] & 0x40 != 0 && id.len() == 4, "{id:?}");
                    let ack = b"\x84\xa4type\x03\xa4data\x91";
                    let end = b"\xa3nsp\xa1/\xa2id\xce";
                    client.send_binary(&[&ack[..], &[n as u8], end, id].concat());
                }
                let mut answers = cluster.wait(asked).unwrap();
                answers.sort_unstable();
                assert_eq!(answers, [0, 1, 2]);
            }
        },
    );
}

/// Packets as text: `kind|id|namespace|arguments, in words`.
struct Words {
    /// Encodes nothing that has this in it.
    refuses: Option<&'static str>,
}

impl CustomParser for Words {
    fn encode(&self, packet: &ValuePacket) -> Result<Vec<Message>, EncodeError> {
        let list = packet.data.as_ref().and_then(Value::as_array).unwrap_or_default();
        let words = list.iter().map(|value| match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_js_string(),
            other => format!("{other:?}"),
        });
        let words: Vec<_> = words.collect();
        if self.refuses.is_some_and(|refused| words.iter().any(|word| word == refused)) {
            return Err(EncodeError::Custom("refused".to_owned()));
        }
        let id = packet.id.map(|id| id.to_string()).unwrap_or_default();
        let kind = packet.kind as u8;
        Ok(vec![Message::Text(format!("{kind}|{id}|{}|{}", packet.nsp, words.join(",")))])
    }

    fn decoder(&self) -> Box<dyn CustomDecoder> {
        Box::new(WordsDecoder)
    }
}

struct WordsDecoder;

impl CustomDecoder for WordsDecoder {
    fn decode(&mut self, message: MessageRef<'_>) -> Result<Option<ValuePacket>, ParseError> {
        let MessageRef::Text(text) = message else { return Err(ParseError::UnexpectedBinary) };
        let parts: Vec<_> = text.split('|').collect();
        let [kind, id, nsp, words] = parts[..] else { return Err(ParseError::InvalidPayload) };
        let kind = match kind {
            "0" => PacketKind::Connect,
            "2" => PacketKind::Event,
            "3" => PacketKind::Ack,
            _ => return Err(ParseError::UnknownType),
        };
        let words: Vec<Value> = words.split(',').map(Value::from).collect();
        let data = (kind != PacketKind::Connect).then_some(Value::Array(words));
        Ok(Some(ValuePacket { kind, nsp: nsp.to_owned(), id: id.parse().ok(), data }))
    }
}

fn words_client(cluster: &Cluster<impl Carrier>, place: usize) -> SioClient {
    let mut client = SioClient::open(cluster.node(place).address);
    client.send("0||/|");
    client.expect("0||/|");
    client
}

pub(crate) fn custom<C: Carrier>() {
    Cluster::<C>::each_with(
        |builder, _| builder.parser(Parser::Custom(Arc::new(Words { refuses: None }))),
        |cluster| {
            let mut clients: Vec<_> = (0..3).map(|n| words_client(&cluster, n)).collect();
            for node in &cluster.nodes {
                node.io.emit("e", &(1, "x")).unwrap();
                for client in &mut clients {
                    client.expect("2||/|e,1,x");
                }
                let asked = node.io.timeout(LONG).emit_with_ack::<String>("q", &(1, "x"));
                for (n, client) in clients.iter_mut().enumerate() {
                    let packet = client.receive();
                    let id = packet.strip_prefix("2|").and_then(|p| p.strip_suffix("|/|q,1,x"));
                    let id = id.unwrap_or_else(|| panic!("{packet}"));
                    assert!(id.parse::<u32>().unwrap() >= 1 << 30);
                    client.send(&format!("3|{id}|/|{n}"));
                }
                let mut answers = cluster.wait(asked).unwrap();
                answers.sort_unstable();
                assert_eq!(answers, ["0", "1", "2"]);
            }
        },
    );
}

pub(crate) fn custom_parsers_may_fail<C: Carrier>() {
    let refuses = |n: usize| (n == 1).then_some("secret");
    let parser = |n| Parser::Custom(Arc::new(Words { refuses: refuses(n) }));
    let cluster = Cluster::<C>::with(2, 1, |builder, n| builder.parser(parser(n)));
    let mut clients: Vec<_> = (0..2).map(|n| words_client(&cluster, n)).collect();
    let io = &cluster.nodes[0].io;
    let asked = io.timeout(LONG).emit_with_ack::<String>("q", "secret");
    let id = clients[0].receive().split('|').nth(1).unwrap().to_owned();
    clients[0].send(&format!("3|{id}|/|well"));
    let error = cluster.wait(asked).unwrap_err();
    assert_eq!(error.responses, ["well"]);
    assert_eq!(words(&error.missing_responders), ["two (its answer cannot be read)"]);
    assert_eq!(cluster.nodes[1].bus().unreadable, 1);
    io.emit("e", &()).unwrap();
    clients[1].expect("2||/|e");
}
