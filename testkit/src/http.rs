//! HTTP/1.1 requests over one kept-alive connection.

use std::fmt::Write as _;
use std::time::Duration;

use crate::stream::{Endpoint, RawStream};

/// A connection that sends one request at a time, or any bytes.
pub struct RawHttp {
    stream: RawStream,
}

/// A response, its body read by Content-Length or to the end of the chunks.
#[derive(Debug)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// Expects a status and a body.
    #[track_caller]
    pub fn expect(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text()), (status, body));
    }
}

impl RawHttp {
    /// Connects.
    pub fn connect(endpoint: impl Into<Endpoint>) -> Self {
        RawHttp { stream: endpoint.into().connect() }
    }

    /// Sends a GET and waits for the response.
    pub fn get(&mut self, target: &str) -> HttpResponse {
        self.request("GET", target, &[], b"")
    }

    /// Sends a POST of plain text and waits for the response.
    pub fn post(&mut self, target: &str, body: &str) -> HttpResponse {
        self.request("POST", target, &[("content-type", "text/plain")], body.as_bytes())
    }

    /// Sends a request and waits for the response.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        self.send(method, target, headers, body);
        self.receive()
    }

    /// Sends a request without waiting.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if method == "POST" {
            let _ = write!(head, "content-length: {}\r\n", body.len());
        }
        head += "\r\n";
        self.send_bytes(&[head.as_bytes(), body].concat());
    }

    /// Begins a POST and sends the first part of its body once the server has asked for it, so that
    /// the server is known to be at it.
    pub fn begin_post(&mut self, target: &str, length: usize, part: &[u8]) {
        let head = format!("POST {target} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n");
        self.send_bytes(format!("{head}content-length: {length}\r\n\r\n").as_bytes());
        let answer = self.stream.read_until(b"\r\n\r\n").expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&answer));
        self.send_bytes(part);
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.send(bytes);
    }

    /// The connection itself.
    pub fn stream(&mut self) -> &mut RawStream {
        &mut self.stream
    }

    /// The connection alone.
    pub fn into_stream(self) -> RawStream {
        self.stream
    }

    /// Waits for a response.
    pub fn receive(&mut self) -> HttpResponse {
        self.try_receive().expect("a response before the connection ends")
    }

    /// Waits for a response, or `None` if the connection ends in front of it.
    pub fn try_receive(&mut self) -> Option<HttpResponse> {
        let head = self.stream.read_until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).expect("a head of text");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|code| code.parse().ok()).expect("a status line");
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = HttpResponse { status, headers, body: Vec::new() };
        if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = self.stream.read_until(b"\r\n").expect("a chunk's size");
                let digits = String::from_utf8_lossy(&line);
                let size = usize::from_str_radix(digits.trim(), 16).expect("a chunk's size");
                let chunk = self.stream.read_exact(size + 2).expect("a chunk");
                response.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().expect("a length");
            response.body = self.stream.read_exact(length).expect("the body");
        }
        Some(response)
    }

    /// Expects that the server closes the connection without sending anything more.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let rest = self.stream.read_to_end();
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }

    /// Whether the server closes the connection within this time.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        self.stream.ends_within(time)
    }
}
