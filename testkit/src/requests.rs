//! Requests of all kinds, and what every reader must make of them: the server's own, the one behind it for what
//! is unusual, another server in front of it, and whoever has routed the connection.

use crate::{Frame, RawHttp, RawWs};

/// A request and what it is.
pub struct Case {
    /// What is special about it.
    pub name: &'static str,
    /// Its bytes; `SID` stands for the id of a session on polling.
    pub bytes: Vec<u8>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Whether another HTTP server in front passes it on as it is. The others are refused there, or mended.
    pub passes_servers: bool,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A session on polling.
    Opens,
    /// A session on a WebSocket.
    Switches,
    /// An answer with this status and body.
    Answers(u16, String),
}

const POLL: &str = "/socket.io/?EIO=4&transport=polling";
const SOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const HOST: &str = "Host: localhost\r\n";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// All of them.
pub fn cases() -> Vec<Case> {
    [opening(), upgrading(), with_a_session(), refused()].into_iter().flatten().collect()
}

fn case(name: &'static str, outcome: Outcome, text: String) -> Case {
    Case { name, bytes: text.into_bytes(), outcome, passes_servers: true }
}

impl Case {
    fn stays_here(self) -> Case {
        Case { passes_servers: false, ..self }
    }
}

fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n{lines}\r\n")
}

/// The error that a client of the protocol is told.
fn error(code: u8, message: &str) -> Outcome {
    Outcome::Answers(400, format!("{{\"code\":{code},\"message\":\"{message}\"}}"))
}

fn opening() -> Vec<Case> {
    let opens =
        |name, lines: &str| case(name, Outcome::Opens, get(POLL, &format!("{HOST}{lines}")));
    let target = |name, target: &str| case(name, Outcome::Opens, get(target, HOST));
    let mut origin = opens("an Origin above ASCII", "Origin: http://\0.example\r\n");
    origin.bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 0xe9);
    vec![
        opens("a plain request", ""),
        opens("one that closes", "Connection: close\r\n"),
        opens(
            "h2c, as Java's HttpClient offers it",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n",
        ),
        opens(
            "TLS, as Apache's HttpClient offers it",
            "Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
        ),
        opens("Upgrade without Connection", "Upgrade: websocket\r\n"),
        opens("an empty Upgrade", "Connection: Upgrade\r\nUpgrade:\r\n"),
        origin,
        target("a fragment", &format!("{POLL}#&sid=x")),
        target("absolute form", &format!("http://localhost{POLL}")),
        target("quotes and brackets in the query", &format!("{POLL}&q=\"<a>\"|{{}}^`\\"))
            .stays_here(),
        target("absolute form with brackets", &format!("http://localhost{POLL}&q=<>")).stays_here(),
        target("an empty sid", &format!("{POLL}&sid=")),
        case("HTTP/1.0", Outcome::Opens, format!("GET {POLL} HTTP/1.0\r\n\r\n")),
    ]
}

fn upgrading() -> Vec<Case> {
    let with = |lines: &str| get(SOCKET, &format!("{HOST}{lines}"));
    let bad = || Outcome::Answers(400, "Bad request".to_owned());
    vec![
        case("a handshake", Outcome::Switches, with(UPGRADE)),
        case(
            "lists",
            Outcome::Switches,
            with(
                &UPGRADE
                    .replace("Upgrade\r\n", "keep-alive, upgrade\r\n")
                    .replace("websocket", "h2c, WebSocket"),
            ),
        ),
        case(
            "absolute form",
            Outcome::Switches,
            with(UPGRADE).replace("GET ", "GET http://localhost"),
        ),
        case(
            "a body of nothing",
            Outcome::Switches,
            with(&format!("Content-Length: 0\r\n{UPGRADE}")),
        ),
        case("brackets in the query", Outcome::Switches, with(UPGRADE).replace('?', "?q=<\">&"))
            .stays_here(),
        case(
            "HTTP/1.0, as nginx sends it",
            Outcome::Switches,
            with(UPGRADE).replace("HTTP/1.1", "HTTP/1.0"),
        )
        .stays_here(),
        case(
            "two keys",
            bad(),
            with(&format!("{UPGRADE}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")),
        ),
        case("two versions", bad(), with(&format!("{UPGRADE}Sec-WebSocket-Version: 13\r\n"))),
        case("polling", bad(), with(UPGRADE).replace("transport=websocket", "transport=polling")),
        case(
            "a POST",
            Outcome::Answers(400, "Bad handshake method".to_owned()),
            with(UPGRADE).replace("GET", "POST"),
        ),
        case("h2c only", error(3, "Bad request"), with(&UPGRADE.replace("websocket", "h2c"))),
        case(
            "no Connection",
            error(3, "Bad request"),
            with(&UPGRADE.replace("Connection: Upgrade\r\n", "")),
        ),
    ]
}

fn with_a_session() -> Vec<Case> {
    let ok = || Outcome::Answers(200, "ok".to_owned());
    let post = |target: &str, lines: &str, body: &str| {
        format!("POST {target} HTTP/1.1\r\n{HOST}{lines}\r\n{body}")
    };
    let own = format!("{POLL}&sid=SID");
    vec![
        case("a packet", ok(), post(&own, "Content-Length: 1\r\n", "3")),
        case(
            "in chunks",
            ok(),
            post(&own, "Transfer-Encoding: chunked\r\n", "1;x\r\n3\r\n0\r\nA: b\r\n\r\n"),
        ),
        case(
            "in absolute form",
            ok(),
            post(&format!("http://x{own}"), "Content-Length: 1\r\n", "3"),
        ),
        case(
            "with a session of nobody's in a cookie",
            ok(),
            post(&own, "Cookie: sid=x; io=y\r\nContent-Length: 1\r\n", "3"),
        ),
        case(
            "with brackets in front",
            ok(),
            post(&own.replace('?', "?q=\"<>\"&"), "Content-Length: 1\r\n", "3"),
        )
        .stays_here(),
        case(
            "twice",
            error(3, "Bad request: the parameter sid is repeated"),
            get(&format!("{own}&sid=SID"), HOST),
        ),
        case(
            "in a fragment",
            error(2, "Bad handshake method"),
            post(&format!("{POLL}#&sid=SID"), "Content-Length: 1\r\n", "3"),
        ),
    ]
}

fn refused() -> Vec<Case> {
    let none = |name, text: String| case(name, Outcome::Answers(400, String::new()), text);
    let large = |name, text| case(name, Outcome::Answers(431, String::new()), text).stays_here();
    let repeated = |name, query: &str| {
        let message = format!("Bad request: the parameter {name} is repeated");
        case(name, error(3, &message), get(&format!("{POLL}{query}"), HOST))
    };
    let lengths = |name, lines: &str| {
        none(name, format!("POST {POLL} HTTP/1.1\r\n{HOST}{lines}\r\n0\r\n\r\n"))
    };
    vec![
        repeated("transport", "&transport=polling"),
        repeated("EIO", "&EIO=4"),
        repeated("sid", "&sid=a&sid=b"),
        repeated("j", "&j=1&j=1"),
        repeated("b64", "&b64&b64=1"),
        case(
            "an unknown session",
            error(1, "Session ID unknown"),
            get(&format!("{POLL}&sid=x"), HOST),
        ),
        case(
            "an escaped name",
            error(0, "Transport unknown"),
            get("/socket.io/?EIO=4&%74ransport=polling", HOST),
        ),
        none("no Host", get(POLL, "")),
        none("no Host for a WebSocket", get(SOCKET, UPGRADE)),
        none("two Hosts", get(POLL, &HOST.repeat(2))),
        none("no host", get(POLL, "Host: a b\r\n")),
        none("line feeds", get(POLL, HOST).replace("\r\n", "\n")).stays_here(),
        none("one line feed", get(POLL, "Host: localhost\nA: b\r\n")).stays_here(),
        none("a folded line", get(POLL, "Host: localhost\r\nA: b\r\n c\r\n")),
        none("no version", format!("GET {POLL}\r\n\r\n")),
        lengths("two lengths", "Content-Length: 5\r\nContent-Length: 5\r\n").stays_here(),
        lengths("a list of lengths", "Content-Length: 5, 5\r\n"),
        lengths("a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")
            .stays_here(),
        lengths("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")
            .stays_here(),
        lengths("another encoding", "Transfer-Encoding: gzip, chunked\r\n"),
        lengths("no encoding", "Transfer-Encoding: identity\r\n"),
        large("many lines", get(POLL, &format!("{HOST}{}", "A: b\r\n".repeat(200)))),
        large("a long line", get(POLL, &format!("{HOST}A: {}\r\n", "b".repeat(40_000)))),
    ]
}

/// Sends a request over a connection on which nothing is awaited, and sees what becomes of it.
pub fn ask(mut http: RawHttp, case: &Case, sid: &str) -> Outcome {
    let bytes = match std::str::from_utf8(&case.bytes) {
        Ok(text) => text.replace("SID", sid).into_bytes(),
        Err(_) => case.bytes.clone(),
    };
    // A head that is too long is refused before its end.
    let _ = http.stream().try_send(&bytes);
    let response = http.receive();
    match (response.status, response.text()) {
        (101, _) => {
            let mut ws = RawWs::over(http, response);
            let first = ws.receive();
            let is_open = matches!(&first, Frame::Text(open) if open.starts_with("0{"));
            assert!(is_open, "{}: {first:?}", case.name);
            ws.close();
            Outcome::Switches
        }
        (200, body) if body.starts_with("0{") => Outcome::Opens,
        (status, body) => Outcome::Answers(status, body.to_owned()),
    }
}
