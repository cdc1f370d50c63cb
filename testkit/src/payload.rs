//! The bodies of polling requests in all forms there are, for clients.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a polling client writes and reads bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Version 4.
    V4,
    /// Version 3, text only (`b64=1`).
    V3Text,
    /// Version 3, with binary bodies.
    V3Binary,
    /// JSONP of version 3.
    Jsonp,
}

/// A packet: text with its type digit, or the content of a binary message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A text packet, type digit included.
    Text(String),
    /// The content of a binary message.
    Binary(Vec<u8>),
}

impl From<&str> for Packet {
    fn from(text: &str) -> Packet {
        Packet::Text(text.to_owned())
    }
}

impl Form {
    /// What the query of every request says.
    pub fn query(self) -> &'static str {
        match self {
            Form::V4 => "EIO=4&transport=polling",
            Form::V3Text => "EIO=3&transport=polling&b64=1",
            Form::V3Binary => "EIO=3&transport=polling",
            Form::Jsonp => "EIO=3&transport=polling&j=7",
        }
    }

    /// The content type of a POST.
    pub fn content_type(self) -> &'static str {
        match self {
            Form::V4 | Form::V3Text => "text/plain;charset=UTF-8",
            Form::V3Binary => "application/octet-stream",
            Form::Jsonp => "application/x-www-form-urlencoded",
        }
    }

    /// The body of a POST.
    pub fn encode(self, packets: &[Packet]) -> Vec<u8> {
        match self {
            Form::V4 => {
                let texts: Vec<String> = packets.iter().map(|packet| text(packet, "b")).collect();
                texts.join("\x1e").into_bytes()
            }
            Form::V3Text => v3_text(packets).into_bytes(),
            Form::V3Binary => packets.iter().flat_map(v3_binary).collect(),
            Form::Jsonp => {
                let escaped = v3_text(packets).replace("\\n", "\\\\n").replace('\n', "\\n");
                let encoded = escaped.bytes().map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => (byte as char).to_string(),
                    other => format!("%{other:02X}"),
                });
                ["d=".to_owned()].into_iter().chain(encoded).collect::<String>().into_bytes()
            }
        }
    }

    /// The packets of a response's body.
    pub fn decode(self, content_type: &str, body: &[u8]) -> Vec<Packet> {
        let text = || std::str::from_utf8(body).expect("a body of text");
        match self {
            Form::V4 => {
                assert_eq!(content_type, "text/plain; charset=UTF-8");
                text().split('\x1e').map(|packet| parse(packet, "b")).collect()
            }
            Form::V3Binary if content_type == "application/octet-stream" => v3_parse_binary(body),
            Form::V3Text | Form::V3Binary => {
                assert_eq!(content_type, "text/plain; charset=UTF-8");
                v3_parse(text())
            }
            Form::Jsonp => {
                assert_eq!(content_type, "text/javascript; charset=UTF-8");
                let script = text().strip_prefix("___eio[7](").expect("a call");
                let literal = script.strip_suffix(");").expect("a call");
                v3_parse(&serde_json::from_str::<String>(literal).expect("a string"))
            }
        }
    }
}

fn text(packet: &Packet, mark: &str) -> String {
    match packet {
        Packet::Text(text) => text.clone(),
        Packet::Binary(data) => format!("{mark}{}", STANDARD.encode(data)),
    }
}

fn parse(packet: &str, mark: &str) -> Packet {
    match packet.strip_prefix(mark) {
        Some(encoded) => Packet::Binary(STANDARD.decode(encoded).expect("base64")),
        None => Packet::Text(packet.to_owned()),
    }
}

fn v3_text(packets: &[Packet]) -> String {
    let texts = packets.iter().map(|packet| text(packet, "b4"));
    texts.flat_map(|text| [text.encode_utf16().count().to_string(), ":".to_owned(), text]).collect()
}

fn v3_parse(body: &str) -> Vec<Packet> {
    let mut rest: Vec<u16> = body.encode_utf16().collect();
    let mut packets = Vec::new();
    while let Some(colon) = rest.iter().position(|unit| *unit == u16::from(b':')) {
        let digits = String::from_utf16(&rest[..colon]).expect("a length");
        let length: usize = digits.parse().expect("a length");
        let packet = String::from_utf16(&rest[colon + 1..colon + 1 + length]).expect("a packet");
        packets.push(parse(&packet, "b4"));
        rest.drain(..colon + 1 + length);
    }
    assert!(rest.is_empty(), "something is left over");
    packets
}

fn v3_binary(packet: &Packet) -> Vec<u8> {
    let (mark, type_byte, content) = match packet {
        Packet::Text(text) => (0, None, text.as_bytes()),
        Packet::Binary(data) => (1, Some(4), &data[..]),
    };
    let length = content.len() + usize::from(type_byte.is_some());
    let mut bytes = vec![mark];
    bytes.extend(length.to_string().bytes().map(|digit| digit - b'0'));
    bytes.push(0xff);
    bytes.extend(type_byte);
    bytes.extend(content);
    bytes
}

fn v3_parse_binary(mut rest: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    while let [mark, tail @ ..] = rest {
        let end = tail.iter().position(|byte| *byte == 0xff).expect("a length");
        let length = tail[..end].iter().fold(0, |length, digit| length * 10 + usize::from(*digit));
        let (content, after) = tail[end + 1..].split_at(length);
        packets.push(if *mark == 0 {
            Packet::Text(String::from_utf8(content.to_vec()).expect("UTF-8"))
        } else {
            assert_eq!(content[0], 4, "a message");
            Packet::Binary(content[1..].to_vec())
        });
        rest = after;
    }
    packets
}
