//! Another id for an event that is encoded already.
//!
//! A broadcast that asks for acknowledgements is encoded once, by the process it starts from. Ids
//! belong to whoever owns the sockets, so the other processes put one of their own in its place
//! instead of encoding the event again.

use super::message::{Message, MessageRef};
use super::msgpack;
use super::parser::Parser;

impl Parser {
    /// The first message of an event of the namespace `nsp`, with the id `new` instead of `old`.
    ///
    /// `None` if the message is no such event, and always with a custom parser, whose form is not
    /// known here.
    pub fn renumber(
        &self,
        nsp: &str,
        message: MessageRef<'_>,
        old: u64,
        new: u64,
    ) -> Option<Message> {
        match (self, message) {
            (Self::Json, MessageRef::Text(text)) => {
                let begin = text_id(text, nsp)?;
                let end = begin + text.get(begin..)?.find(|c: char| !c.is_ascii_digit())?;
                if text.get(begin..end)?.parse() != Ok(old) {
                    return None;
                }
                let (before, after) = (text.get(..begin)?, text.get(end..)?);
                Some(Message::Text(format!("{before}{new}{after}")))
            }
            (Self::Msgpack, MessageRef::Binary(bytes)) => {
                // The id is the last entry of the packet's map.
                let before = bytes.strip_suffix(&*msgpack::id_entry(old).ok()?)?;
                let data = [before, &msgpack::id_entry(new).ok()?].concat();
                Some(Message::Binary(data.into()))
            }
            _ => None,
        }
    }
}

/// Where the id begins: behind type, count of attachments and namespace.
fn text_id(text: &str, nsp: &str) -> Option<usize> {
    let mut begin = match text.as_bytes().first()? {
        b'2' => 1,
        b'5' => text.find('-')? + 1,
        _ => return None,
    };
    if nsp != "/" {
        begin += text.get(begin..)?.strip_prefix(nsp)?.strip_prefix(',').map(|_| nsp.len() + 1)?;
    }
    Some(begin)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use serde::Serialize;

    use super::super::{
        CustomDecoder, CustomParser, EncodeError, MessageBuf, MessageKind, ValuePacket,
    };
    use super::*;

    const IDS: [u64; 8] = [0, 9, 10, 255, 65_536, 1 << 30, (1 << 31) - 1, u64::MAX];

    fn first(buffer: &MessageBuf) -> Message {
        let (kind, data) = buffer.messages().next().unwrap();
        match kind {
            MessageKind::Text => Message::Text(String::from_utf8(data.to_vec()).unwrap()),
            MessageKind::Binary => Message::Binary(Bytes::copy_from_slice(data)),
        }
    }

    fn borrowed(message: &Message) -> MessageRef<'_> {
        match message {
            Message::Text(text) => MessageRef::Text(text),
            Message::Binary(data) => MessageRef::Binary(data),
        }
    }

    fn check<T: Serialize>(parser: &Parser, nsp: &str, name: &str, args: &T) {
        let encode = |id| {
            let mut buffer = MessageBuf::new();
            parser.event(nsp, Some(id), name, args, &mut buffer).unwrap();
            first(&buffer)
        };
        for old in IDS {
            let message = encode(old);
            for new in IDS {
                let renumbered = parser.renumber(nsp, borrowed(&message), old, new);
                assert_eq!(renumbered, Some(encode(new)), "{parser:?} {nsp} {old} {new}");
            }
            assert_eq!(parser.renumber(nsp, borrowed(&message), old ^ 1, 5), None);
        }
    }

    #[test]
    fn it_is_as_if_it_had_been_encoded_with_the_other_id() {
        for parser in [Parser::Json, Parser::Msgpack] {
            for nsp in ["/", "/chat", "/7-7"] {
                check(&parser, nsp, "e", &());
                check(&parser, nsp, "5", &(1, "id", [2]));
                check(&parser, nsp, "binary", &(Bytes::from_static(b"abc"), 1));
            }
        }
    }

    #[test]
    fn what_is_no_such_event_is_left_alone() {
        let json = |text| Parser::Json.renumber("/a", MessageRef::Text(text), 1, 2);
        for text in
            ["", "2", "2/a", "2/a,", "2/a,1", "2/b,1[]", "2/a,[\"e\"]", "3/a,1[]", "5/a,1[]"]
        {
            assert_eq!(json(text), None, "{text}");
        }
        assert_eq!(Parser::Json.renumber("/", MessageRef::Binary(b"21[]"), 1, 2), None);
        assert_eq!(Parser::Msgpack.renumber("/", MessageRef::Binary(b"\x80"), 1, 2), None);
        assert_eq!(Parser::Msgpack.renumber("/", MessageRef::Text("21[]"), 1, 2), None);
    }

    struct Own;

    impl CustomParser for Own {
        fn encode(&self, _: &ValuePacket) -> Result<Vec<Message>, EncodeError> {
            Ok(vec![Message::Text("21[]".to_owned())])
        }

        fn decoder(&self) -> Box<dyn CustomDecoder> {
            unreachable!("nothing is decoded here")
        }
    }

    #[test]
    fn the_form_of_a_custom_parser_is_not_guessed() {
        let parser = Parser::Custom(Arc::new(Own));
        assert_eq!(parser.renumber("/", MessageRef::Text("21[]"), 1, 2), None);
    }
}
