//! A WebSocket client that shows frames and sends any.

use crate::http::{HttpResponse, RawHttp};
use crate::stream::{Endpoint, RawStream};

/// What a server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// The end, orderly or not.
    Closed,
}

/// One frame as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// The first byte: FIN, the reserved bits and the opcode.
    pub first: u8,
    /// The payload. Servers do not mask.
    pub payload: Vec<u8>,
}

/// A WebSocket connection.
pub struct RawWs {
    stream: RawStream,
    /// The response to the handshake.
    pub response: HttpResponse,
}

/// The header fields of a correct handshake.
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A frame as a client sends it. `first` holds FIN (0x80), the reserved bits and the opcode.
pub fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(masked | short as u8),
        middle @ 126..=0xffff => {
            bytes.push(masked | 0x7e);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(masked | 0x7f);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    let mask = mask.inspect(|mask| bytes.extend(mask)).unwrap_or_default();
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

const MASK: Option<[u8; 4]> = Some([0x12, 0xf4, 0x56, 0x98]);

impl RawWs {
    /// Connects; the target is the path with its query.
    pub fn connect(endpoint: impl Into<Endpoint>, target: &str) -> Self {
        Self::connect_with(endpoint, target, &[], b"")
    }

    /// Connects with more header fields, and sends bytes right behind the request.
    pub fn connect_with(
        endpoint: impl Into<Endpoint>,
        target: &str,
        headers: &[(&str, &str)],
        behind: &[u8],
    ) -> Self {
        Self::upgrade(RawHttp::connect(endpoint), target, headers, behind)
    }

    /// Makes a WebSocket of a connection on which nothing is awaited, as
    /// [`connect_with`](Self::connect_with).
    pub fn upgrade(
        mut http: RawHttp,
        target: &str,
        headers: &[(&str, &str)],
        behind: &[u8],
    ) -> Self {
        let headers = [&HANDSHAKE, headers].concat();
        let mut head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head += "\r\n";
        http.send_bytes(&[head.as_bytes(), behind].concat());
        let response = http.receive();
        assert_eq!(response.status, 101, "the server upgrades: {response:?}");
        // RFC 6455 §1.3 gives this answer to the key above.
        let accept = response.header("sec-websocket-accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        RawWs::over(http, response)
    }

    /// A connection whose handshake has been answered.
    pub(crate) fn over(http: RawHttp, response: HttpResponse) -> Self {
        RawWs { stream: http.into_stream(), response }
    }

    /// Tries a handshake with exactly these header fields and returns the answer, which the server
    /// must close the connection after.
    pub fn refused(
        endpoint: impl Into<Endpoint>,
        target: &str,
        headers: &[(&str, &str)],
    ) -> HttpResponse {
        let mut http = RawHttp::connect(endpoint);
        let response = http.request("GET", target, headers, b"");
        http.expect_eof();
        response
    }

    /// The header fields of a correct handshake, to be spoiled.
    pub fn handshake() -> Vec<(&'static str, &'static str)> {
        HANDSHAKE.to_vec()
    }

    /// Sends a text message.
    pub fn send(&mut self, text: &str) {
        self.stream.send(&frame(0x81, MASK, text.as_bytes()));
    }

    /// Sends text messages in one write.
    pub fn send_all<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        let frames = texts.into_iter().flat_map(|text| frame(0x81, MASK, text.as_bytes()));
        self.stream.send(&frames.collect::<Vec<_>>());
    }

    /// Sends a binary message.
    pub fn send_binary(&mut self, data: &[u8]) {
        self.stream.send(&frame(0x82, MASK, data));
    }

    /// Sends a masked frame with this first byte.
    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.stream.send(&frame(first, MASK, payload));
    }

    /// The connection itself.
    pub fn stream(&mut self) -> &mut RawStream {
        &mut self.stream
    }

    /// The next frame, or `None` if the connection ended. Panics if nothing comes before the
    /// deadline.
    pub fn receive_raw(&mut self) -> Option<RawFrame> {
        let head = self.stream.read_exact(2)?;
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let len = match head[1] {
            126 => {
                let bytes = self.stream.read_exact(2)?;
                u16::from_be_bytes([bytes[0], bytes[1]]) as usize
            }
            127 => {
                let bytes = self.stream.read_exact(8)?;
                u64::from_be_bytes(bytes.try_into().expect("eight bytes")) as usize
            }
            short => short as usize,
        };
        let payload = self.stream.read_exact(len)?;
        Some(RawFrame { first: head[0], payload })
    }

    /// The next message; pings are answered on the way. Panics if nothing comes before the deadline.
    pub fn receive(&mut self) -> Frame {
        loop {
            let Some(RawFrame { first, payload }) = self.receive_raw() else {
                return Frame::Closed;
            };
            match first {
                0x81 => return Frame::Text(String::from_utf8(payload).expect("UTF-8")),
                0x82 => return Frame::Binary(payload),
                0x88 => {
                    // The other side waits for the answer before it closes.
                    let _ = self.stream.try_send(&frame(0x88, MASK, &payload));
                    return Frame::Closed;
                }
                0x89 => self.send_frame(0x8a, &payload),
                0x8a => {}
                other => panic!("a whole message was expected, not a frame with {other:#x}"),
            }
        }
    }

    /// Expects a text message next.
    #[track_caller]
    pub fn expect_text(&mut self, text: &str) {
        assert_eq!(self.receive(), Frame::Text(text.to_owned()));
    }

    /// Expects a close frame next, with this code or none, answers it, and expects the end of the
    /// stream.
    #[track_caller]
    pub fn expect_close(&mut self, code: Option<u16>) {
        let RawFrame { first, payload } = self.receive_raw().expect("a close frame");
        assert_eq!(first, 0x88, "{}", String::from_utf8_lossy(&payload));
        let got = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
        assert_eq!(got, code);
        let _ = self.stream.try_send(&frame(0x88, MASK, &payload));
        self.expect_eof();
    }

    /// Expects that the server closes the connection without sending anything more.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let rest = self.stream.read_to_end();
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// Ends the connection without a word.
    pub fn abort(self) {
        drop(self.stream);
    }

    /// Closes the connection in an orderly way.
    pub fn close(mut self) {
        let _ = self.stream.try_send(&frame(0x88, MASK, &[]));
        while let Some(RawFrame { first, .. }) = self.receive_raw() {
            if first == 0x88 {
                return;
            }
        }
    }
}
