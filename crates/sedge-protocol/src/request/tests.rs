//! One table of requests: what each of them is, read from its bytes and from its parts alike.

use super::head::{Head, Invalid, Limits, Scan, scan};
use super::target::{decode, pairs};
use super::*;

const LIMITS: Limits = Limits { bytes_max: 16 * 1024, headers_max: 100 };

const BROWSER: &str = "GET /socket.io/?EIO=4&transport=polling&t=PxQ&sid=EjQFBgECAwQFBgcIUw0d HTTP/1.1\r\n\
    Host: chat.example.com\r\nConnection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: */*\r\nReferer: https://chat.example.com/?sid=AAAAAAAAAAAAAAAAAAAA\r\n\
    Cookie: sid=BBBBBBBBBBBBBBBBBBBB; io=CCCCCCCCCCCCCCCCCCCC\r\nX-Empty:\r\n\r\n";

#[track_caller]
fn head(text: &str) -> Head<'_> {
    match scan(text.as_bytes(), LIMITS) {
        Scan::Complete(layout) => {
            assert_eq!(layout.len(), text.len());
            layout.head(text.as_bytes())
        }
        other => panic!("{other:?} for {text}"),
    }
}

#[track_caller]
fn invalid(text: &str) -> Invalid {
    match scan(text.as_bytes(), LIMITS) {
        Scan::Invalid(invalid) => invalid,
        other => panic!("{other:?} for {text}"),
    }
}

/// What a request with these lines is. From its parts, as another server gives them, it is the same.
#[track_caller]
fn read(version: &str, lines: &str) -> Result<Request, Refusal> {
    let text = format!("POST /x/ {version}\r\n{lines}\r\n");
    let parts = lines.lines().filter_map(|line| line.split_once(':'));
    let parts = parts.map(|(name, value)| (name.as_bytes(), value.trim().as_bytes()));
    let known = if version == "HTTP/1.0" { Version::Http10 } else { Version::Http11 };
    let from_parts = Request::read("/x/", known, parts);
    match scan(text.as_bytes(), LIMITS) {
        Scan::Complete(layout) => assert_eq!(from_parts, Ok(*layout.request()), "{lines}"),
        Scan::Invalid(Invalid::Refused(refusal)) => assert_eq!(from_parts, Err(refusal), "{lines}"),
        other => panic!("{other:?} for {text}"),
    }
    from_parts
}

#[test]
fn a_clients_request_is_read() {
    let head = head(BROWSER);
    let target = &head.request().target;
    assert_eq!((head.method(), head.path()), ("GET", "/socket.io/"));
    assert_eq!(head.query(), "EIO=4&transport=polling&t=PxQ&sid=EjQFBgECAwQFBgcIUw0d");
    assert_eq!(head.sid(), Parameter::Once("EjQFBgECAwQFBgcIUw0d"));
    assert_eq!(target.eio(head.target()), Parameter::Once("4"));
    assert_eq!(target.transport(head.target()), Parameter::Once("polling"));
    assert_eq!((target.jsonp(head.target()), target.base64()), (Parameter::Absent, false));
    assert_eq!(head.values("x-empty").collect::<Vec<_>>(), [b""]);
    assert_eq!(head.values("cookie").count(), 1);
    assert_eq!(head.values("cooki").count(), 0);
    let request = head.request();
    assert_eq!((request.upgrade, request.body, request.close), (Upgrade::None, Body::None, false));
    let lines: Vec<_> = head.lines().map(|(name, value)| (name.len(), value.len())).collect();
    assert_eq!(lines, [(4, 16), (10, 10), (10, 31), (6, 3), (7, 50), (6, 49), (7, 0)]);
}

#[test]
fn a_session_id_stands_only_in_the_query() {
    let elsewhere = "GET /sid=AAAAAAAAAAAAAAAAAAAA/ HTTP/1.1\r\nHost: x\r\nReferer: /?sid=AAAAAAAAAAAAAAAAAAAA\r\n\
        Cookie: sid=AAAAAAAAAAAAAAAAAAAA\r\nX: ?sid=AAAAAAAAAAAAAAAAAAAA\r\n\r\n";
    assert_eq!(head(elsewhere).sid(), Parameter::Absent);
    for (text, expected) in [
        ("/?sid=a", Parameter::Once("a")),
        ("http://host:80/x?b=1&sid=a#sid=b", Parameter::Once("a")),
        ("/?sid=a?sid=b", Parameter::Once("a?sid=b")),
        ("/?sid=a=b", Parameter::Once("a=b")),
        ("/?&&sid=a&", Parameter::Once("a")),
        ("/?x=\"<\u{e9}>\"&sid=a", Parameter::Once("a")),
        ("/?sid", Parameter::Absent),
        ("/?sid=", Parameter::Absent),
        ("/#?sid=a", Parameter::Absent),
        ("/?xsid=a&sidx=b&SID=c&s%69d=d&=sid", Parameter::Absent),
        ("*", Parameter::Absent),
        // Whoever comes next might take the other one.
        ("/?sid=a&sid=a", Parameter::Repeated),
        ("/?sid=a&x=1&sid", Parameter::Repeated),
        ("/?sid=&sid=a", Parameter::Repeated),
        ("/?sid=a&sid=b&sid=c", Parameter::Repeated),
    ] {
        let target = Target::read(text);
        assert_eq!(target.sid(text), expected, "{text}");
        let repeated = (expected == Parameter::Repeated).then_some("sid");
        assert_eq!(target.repeated(), repeated, "{text}");
    }
}

#[test]
fn every_parameter_may_be_there_once() {
    for name in ["transport", "sid", "EIO", "j", "b64"] {
        for values in [["4", "4"], ["", ""], ["a", ""], ["", "b"]] {
            let [one, two] = values;
            let text = format!("/?{name}={one}&t=1&t=2&{name}={two}");
            assert_eq!(Target::read(&text).repeated(), Some(name), "{text}");
        }
        assert_eq!(Target::read(&format!("/?{name}=a&t=1&t=1&{name}x=b")).repeated(), None);
    }
}

#[test]
fn jsonp_and_base64_are_read() {
    for (text, jsonp, base64) in [
        ("/?b64=1&j=7", Parameter::Once("7"), true),
        // `!!req._query.b64`: an empty string is false, any other is true.
        ("/?b64=", Parameter::Absent, false),
        ("/?b64=0", Parameter::Absent, true),
        // `typeof j === "string"`: an empty one asks for JSONP too.
        ("/?j=", Parameter::Once(""), false),
    ] {
        let target = Target::read(text);
        assert_eq!((target.jsonp(text), target.base64()), (jsonp, base64), "{text}");
    }
}

#[test]
fn targets_have_several_forms() {
    for (text, path, query, origin) in [
        ("/a/b?c=d", "/a/b", "c=d", "/a/b?c=d"),
        ("/a?", "/a", "", "/a"),
        ("/a#b?c", "/a", "", "/a"),
        ("/a?b#c", "/a", "b", "/a?b"),
        ("/http://x/y?z", "/http://x/y", "z", "/http://x/y?z"),
        ("http://x/a?b=c", "/a", "b=c", "/a?b=c"),
        ("HTTPS://x:1/a?b=//c", "/a", "b=//c", "/a?b=//c"),
        ("http://x", "/", "", "/"),
        ("*", "*", "", "*"),
        ("x:80", "x:80", "", "x:80"),
        ("a?b://c", "a", "b://c", "a?b://c"),
    ] {
        let target = Target::read(text);
        assert_eq!((target.path(text), target.query(text)), (path, query), "{text}");
        assert_eq!(target.path_and_query(text), origin, "{text}");
    }
}

#[test]
fn an_upgrade_needs_both_headers() {
    for (lines, upgrade) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", Upgrade::WebSocket),
        ("upgrade: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n", Upgrade::WebSocket),
        ("Connection: x\r\nConnection: upgrade\r\nUpgrade:h2c , WebSocket\r\n", Upgrade::WebSocket),
        ("Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", Upgrade::WebSocket),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", Upgrade::WebSocket),
        // What ordinary requests of HTTP clients offer: Java's, Apache's.
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAA\r\n",
            Upgrade::Other,
        ),
        ("Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n", Upgrade::Other),
        ("Connection: upgrade\r\nUpgrade: websockets\r\n", Upgrade::Other),
        ("Connection: upgrade\r\nUpgrade: \r\n", Upgrade::None),
        ("Connection: upgrade\r\n", Upgrade::None),
        ("Upgrade: websocket\r\n", Upgrade::None),
        ("Connection: keep-alive\r\nUpgrade: websocket\r\n", Upgrade::None),
        ("Connection: upgrade\r\nX-Upgrade: websocket\r\n", Upgrade::None),
    ] {
        for version in ["HTTP/1.0", "HTTP/1.1"] {
            let request = read(version, &format!("Host: x\r\n{lines}"));
            assert_eq!(request.map(|request| request.upgrade), Ok(upgrade), "{lines}");
        }
    }
}

#[test]
fn one_length_is_believed() {
    let host = "Host: x\r\n";
    for (lines, body) in [
        ("", Ok(Body::None)),
        ("Content-Length: 0\r\n", Ok(Body::None)),
        ("content-length:  17 \r\n", Ok(Body::Length(17))),
        ("Content-Length: 18446744073709551615\r\n", Ok(Body::Length(u64::MAX))),
        ("Transfer-Encoding: Chunked\r\n", Ok(Body::Chunked)),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", Err(Refusal::ContentLength)),
        ("Content-Length: 1, 1\r\n", Err(Refusal::ContentLength)),
        ("Content-Length: +1\r\n", Err(Refusal::ContentLength)),
        ("Content-Length: -1\r\n", Err(Refusal::ContentLength)),
        ("Content-Length: 0x1\r\n", Err(Refusal::ContentLength)),
        ("Content-Length: \r\n", Err(Refusal::ContentLength)),
        ("Content-Length: 18446744073709551616\r\n", Err(Refusal::ContentLength)),
        ("Transfer-Encoding: identity\r\n", Err(Refusal::TransferEncoding)),
        ("Transfer-Encoding: \r\n", Err(Refusal::TransferEncoding)),
        ("Transfer-Encoding: gzip, chunked\r\n", Err(Refusal::TransferEncoding)),
        ("Transfer-Encoding: chunked, gzip\r\n", Err(Refusal::TransferEncoding)),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Err(Refusal::TransferEncoding),
        ),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", Err(Refusal::TwoLengths)),
        ("transfer-encoding: chunked\r\ncontent-length: 0\r\n", Err(Refusal::TwoLengths)),
    ] {
        let request = read("HTTP/1.1", &format!("{host}{lines}"));
        assert_eq!(request.map(|request| request.body), body, "{lines}");
    }
    let old = read("HTTP/1.0", "Transfer-Encoding: chunked\r\n");
    assert_eq!(old.unwrap_err(), Refusal::TransferEncoding);
}

#[test]
fn a_request_has_one_host() {
    for (lines, expected) in [
        ("Host: x\r\n", Ok(())),
        ("host: [::1]:80\r\n", Ok(())),
        ("Host:\r\n", Ok(())),
        ("", Err(Refusal::NoHost)),
        ("X-Host: x\r\n", Err(Refusal::NoHost)),
        ("Host: x\r\nHost: x\r\n", Err(Refusal::Host)),
        ("Host: x\r\nhost: y\r\n", Err(Refusal::Host)),
        ("Host: x, y\r\n", Err(Refusal::Host)),
        ("Host: x y\r\n", Err(Refusal::Host)),
        ("Host: x/y\r\n", Err(Refusal::Host)),
        ("Host: x@y\r\n", Err(Refusal::Host)),
    ] {
        assert_eq!(read("HTTP/1.1", lines).map(|_| ()), expected, "{lines}");
    }
    assert!(read("HTTP/1.0", "").is_ok(), "HTTP/1.0 had none");
    assert_eq!(read("HTTP/1.0", "Host: x\r\nHost: x\r\n").unwrap_err(), Refusal::Host);
    // HTTP/2 has a field of its own for it.
    assert!(Request::read("/", Version::Later, []).is_ok());
}

#[test]
fn who_closes_the_connection() {
    for (version, lines, close) in [
        ("HTTP/1.1", "", false),
        ("HTTP/1.1", "Connection: keep-alive\r\n", false),
        ("HTTP/1.1", "Connection: Close\r\n", true),
        ("HTTP/1.1", "Connection: keep-alive\r\nConnection: x , close\r\n", true),
        ("HTTP/1.0", "", true),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", false),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", true),
    ] {
        let request = read(version, &format!("Host: x\r\n{lines}")).unwrap();
        assert_eq!(request.close, close, "{version} {lines}");
    }
    assert!(read("HTTP/1.1", "Host: x\r\nExpect: 100-Continue\r\n").unwrap().expects_continue);
}

#[test]
fn heads_cut_anywhere_are_read_alike() {
    for text in [
        BROWSER.to_owned(),
        format!("\r\n\r\n{BROWSER}"),
        "OPTIONS * HTTP/1.0\r\n\r\n".to_owned(),
        BROWSER.replace("Accept", "Upgrade: h2c, WebSocket\r\nAccept"),
    ] {
        let whole = scan(text.as_bytes(), LIMITS);
        assert!(matches!(whole, Scan::Complete(_)), "{text}");
        for end in 0..text.len() {
            assert_eq!(scan(&text.as_bytes()[..end], LIMITS), Scan::Partial, "{end} of {text}");
        }
        // The body, or the next request.
        for behind in ["x", "GET / HTTP/1.1\r\n", "\r\n", "\0"] {
            assert_eq!(scan(format!("{text}{behind}").as_bytes(), LIMITS), whole);
        }
    }
}

/// Once bytes are found to be no head, more of them do not change that, and none of their beginnings was
/// found to be one.
#[track_caller]
fn refused(bytes: &[u8], reason: Invalid) {
    let expected = Scan::Invalid(reason);
    for end in 0..=bytes.len() {
        let part = scan(&bytes[..end], LIMITS);
        assert!(part == Scan::Partial || part == expected, "{end}: {part:?}");
    }
    for behind in [&b""[..], b"\r\n\r\n", BROWSER.as_bytes(), &vec![0; 20_000]] {
        assert_eq!(scan(&[bytes, behind].concat(), LIMITS), expected);
    }
}

#[test]
fn garbage_is_named() {
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    for (bytes, reason) in [
        (&hello[..], Invalid::Tls),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Invalid::Version),
        (b"GET / HTTP/3.0\r\n\r\n", Invalid::Version),
        (b"\0", Invalid::RequestLine),
        (b"GET \0 HTTP/1.1\r\n", Invalid::RequestLine),
        (b"GET /\xff HTTP/1.1\r\n", Invalid::RequestLine),
        (b"GET /\r\n\r\n", Invalid::RequestLine),
        (b" GET / HTTP/1.1\r\n", Invalid::RequestLine),
        (b"GET / HTTP/1.1\r\nA b: c\r\n", Invalid::Header),
        (b"GET / HTTP/1.1\r\n: c\r\n", Invalid::Header),
        (b"GET / HTTP/1.1\r\na: \0\r\n", Invalid::Header),
        (b"GET / HTTP/1.1\r\na: b\r\n c\r\n", Invalid::Header),
        (b"GET / HTTP/1.1\r\na : b\r\n", Invalid::Header),
        (b"GET / HTTP/1.1\r\n\r\n", Invalid::Refused(Refusal::NoHost)),
    ] {
        refused(bytes, reason);
    }
}

/// A server behind that takes a bare line feed for a part of a value sees other lines.
#[test]
fn lines_end_with_both_characters() {
    for line in 0..BROWSER.matches("\r\n").count() {
        let mut number = 0;
        let spoiled = BROWSER.split_inclusive("\r\n").map(|text| {
            number += 1;
            if number == line + 1 { text.replace("\r\n", "\n") } else { text.to_owned() }
        });
        assert_eq!(invalid(&spoiled.collect::<String>()), Invalid::LineEnding, "line {line}");
    }
    assert_eq!(invalid(&BROWSER.replace("\r\n", "\n")), Invalid::LineEnding);
    assert_eq!(invalid("GET / HTTP/1.0\n\r\n"), Invalid::LineEnding);
    assert_eq!(invalid("GET / HTTP/1.0\r\n\n"), Invalid::LineEnding);
}

#[test]
fn heads_have_a_longest_size() {
    let line = "GET / HTTP/1.1\r\nHost: x\r\n";
    for (size, fits) in [(LIMITS.bytes_max, true), (LIMITS.bytes_max + 1, false)] {
        let rest = size - line.len() - "a: \r\n\r\n".len();
        let text = format!("{line}a: {}\r\n\r\n", "x".repeat(rest));
        assert_eq!(text.len(), size);
        let found = scan(text.as_bytes(), LIMITS);
        assert_eq!(matches!(found, Scan::Complete(_)), fits);
        assert_eq!(found == Scan::Invalid(Invalid::TooLong), !fits);
    }
    let endless = format!("GET /{}", "x".repeat(LIMITS.bytes_max * 2));
    assert_eq!(invalid(&endless), Invalid::TooLong);
    assert_eq!(scan(&endless.as_bytes()[..LIMITS.bytes_max - 1], LIMITS), Scan::Partial);
    let none = Limits { bytes_max: 0, headers_max: 0 };
    assert_eq!(scan(b"", none), Scan::Invalid(Invalid::TooLong));
}

#[test]
fn heads_have_a_limited_number_of_lines() {
    for headers_max in [1, 99, 100, 101, 1000] {
        let limits = Limits { bytes_max: 16 * 1024, headers_max };
        let text = |lines| format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(lines));
        assert!(matches!(scan(text(headers_max).as_bytes(), limits), Scan::Complete(_)));
        let more = scan(text(headers_max + 1).as_bytes(), limits);
        assert_eq!(more, Scan::Invalid(Invalid::TooManyHeaders));
    }
}

#[test]
fn logs_do_not_show_secrets() {
    let shown = format!("{:?}", head(BROWSER));
    assert!(!shown.contains("EjQFB") && !shown.contains("CCCC"), "{shown}");
}

#[test]
fn odd_pieces_of_a_query_are_taken_as_they_come() {
    let all: Vec<_> = pairs("&a&b=&=c&d=e=f&&").collect();
    assert_eq!(all, [("a", ""), ("b", ""), ("", "c"), ("d", "e=f")]);
    assert_eq!(pairs("").count(), 0);
}

#[test]
fn decoding_never_fails() {
    assert_eq!(decode("plain"), "plain");
    assert_eq!(decode("a+b%20c%2B"), "a b c+");
    assert_eq!(decode("%C3%A9%e2%82%ac"), "\u{e9}\u{20ac}");
    assert_eq!(decode("\u{e9}"), "\u{e9}");
    assert_eq!(decode("%"), "%");
    assert_eq!(decode("%4"), "%4");
    assert_eq!(decode("%zz%41"), "%zzA");
    assert_eq!(decode("%%41"), "%A");
    assert_eq!(decode("%ff"), "\u{fffd}");
}

#[test]
fn a_head_is_the_same_whatever_comes_behind_it() {
    let more = format!("{BROWSER}POST /socket.io/");
    let Scan::Complete(layout) = scan(more.as_bytes(), LIMITS) else { panic!("a head") };
    assert!(layout.head(more.as_bytes()) == head(BROWSER));
}
