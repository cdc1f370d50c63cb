//! Reading a connection's first bytes and deciding allocates nothing, whatever they are.

use std::time::Duration;

use allocation_counter::measure;
use sedge_protocol::sid::{Owner, SessionId, SidCodec};
use sedge_sticky::forwarded::Header;
use sedge_sticky::{
    Availability, Config, Cookie, CookieKey, Decision, Hash, Home, Method, Networks, Opening,
    Reason, Request, Router, Target, proxy,
};

const TARGETS: u8 = 20;

fn codec() -> SidCodec {
    SidCodec::new(b"the cluster's secret").with_previous(b"the former secret")
}

fn router(config: Config) -> Router {
    let mut router = Router::new(Config { sids: Some(codec()), ..config }).expect("valid");
    for worker in 0..TARGETS {
        let home = Home::Worker { node: 1, worker };
        router.add(Target::new(format!("10.0.0.{worker}:80")).weight(2).home(home)).expect("valid");
    }
    router
}

/// Reads and decides, and returns why it went where it went.
#[track_caller]
fn quietly(router: &mut Router, bytes: &[u8], peer: &str) -> Option<Reason> {
    let peer = peer.parse().ok();
    let mut decision = None;
    let counted = measure(|| {
        let request = match router.read(bytes, peer) {
            Opening::Request(request) | Opening::NoHead { request, .. } => request,
            Opening::Partial | Opening::NoProxyHeader(_) => return,
        };
        decision = Some(router.decide(&request, 0x1234_5678_9abc_def0));
    });
    assert_eq!(counted.count_total, 0, "for {}", bytes.escape_ascii());
    match decision? {
        Decision::To(route) => Some(route.reason),
        Decision::NoTarget { .. } => None,
    }
}

fn head(sid: &str, lines: &str) -> Vec<u8> {
    let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
    format!("GET /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
        .into()
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(vec![1, 2, 3]))).count_total, 1);
}

#[test]
fn session_ids() {
    let mut router = router(Config::default());
    let target = router.statuses().last().unwrap().id;
    router.learn(SessionId::parse(b"AAAAAAAAAAAAAAAAAAAA").unwrap(), target);
    let owner = Owner { node: 1, worker: 9, shard: 0 };
    let known = codec().encode(owner, [1; 8]).to_string();
    let former = SidCodec::new(b"the former secret").encode(owner, [1; 8]).to_string();
    for (sid, reason) in [
        (&*known, Reason::BySid),
        (&*former, Reason::BySid),
        ("AAAAAAAAAAAAAAAAAAAA", Reason::Learned),
        ("BBBBBBBBBBBBBBBBBBBB", Reason::Method),
        ("B", Reason::Method),
        ("B&sid=B", Reason::Method),
    ] {
        assert_eq!(quietly(&mut router, &head(sid, ""), "192.0.2.1"), Some(reason), "{sid}");
    }
}

#[test]
fn new_sessions() {
    for method in Method::ALL {
        let mut router = router(Config { method, ..Config::default() });
        for _ in 0..100 {
            assert_eq!(quietly(&mut router, &head("", ""), "192.0.2.1"), Some(Reason::Method));
        }
    }
    for hash in Hash::ALL {
        let mut router = router(Config { hash: Some(hash), ..Config::default() });
        // Even when most are away.
        for status in router.clone().statuses().skip(2) {
            router.set_availability(status.id, Availability::Down);
        }
        for peer in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "::1.2.3.4"] {
            assert_eq!(quietly(&mut router, &head("", ""), peer), Some(Reason::Hash));
        }
        assert_eq!(quietly(&mut router, &head("", ""), "no address"), Some(Reason::Method));
    }
}

#[test]
fn cookies_and_proxies() {
    let cookie = Cookie::new("node").max_age(Duration::from_hours(1));
    let trusted = Networks::new(["10.0.0.0/8".parse().unwrap()]).unwrap();
    for forwarded in [Header::XForwardedFor, Header::Forwarded] {
        let mut router = router(Config {
            hash: Some(Hash::Rendezvous),
            cookie: Some(CookieKey::Sticky(cookie.clone())),
            trusted: trusted.clone(),
            forwarded,
            proxy_protocol: true,
            ..Config::default()
        });
        let target = router.statuses().last().unwrap().id;
        let value = router.set_cookie(target).unwrap();
        let pair = value.split(';').next().unwrap();
        let hops = "192.0.2.1, 10.0.0.2, ".repeat(20);
        let elements = "for=192.0.2.1;by=\"_x\", for=\"[2001:db8::1]:80\", ".repeat(20);
        let lines = format!("X-Forwarded-For: {hops}\r\nForwarded: {elements}\r\n").repeat(5);
        let header = b"PROXY TCP4 10.0.0.9 10.0.0.1 1234 80\r\n";
        for (lines, reason) in [
            (lines.clone(), Reason::Hash),
            (format!("{lines}Cookie: a=b; {pair}\r\n"), Reason::Cookie),
        ] {
            let bytes = [&header[..], &head("", &lines)].concat();
            assert_eq!(quietly(&mut router, &bytes, "10.0.0.1"), Some(reason));
        }
        assert_eq!(quietly(&mut router, &head("", ""), "10.0.0.1"), None, "no PROXY header");
    }
}

#[test]
fn hostile_input() {
    let mut router = router(Config::default());
    let long = vec![b'a'; 100_000];
    let many = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(2000));
    for bytes in
        [&b""[..], b"\0\0\0\0", &[22, 3, 1, 0], &long, many.as_bytes(), b"GET / HTTP/1.1\r\n"]
    {
        quietly(&mut router, bytes, "192.0.2.1");
    }
    let claim = [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, 0x11, 0xff, 0xff][..]].concat();
    assert_eq!(
        measure(|| {
            proxy::parse(&claim);
        })
        .count_total,
        0
    );
    let nobody = Request::default();
    assert_eq!(
        measure(|| {
            router.decide(&nobody, 1);
        })
        .count_total,
        0
    );
}
