//! Routing on arbitrary bytes and operations. What was found in a beginning of the bytes must hold
//! for all of them, a decision must name a target that may take the request, and nobody may be led by
//! a session id that a cluster's secret did not make or that was not learned.

#![no_main]

use std::net::IpAddr;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sedge_protocol::sid::{Owner, SessionId, SidCodec};
use sedge_sticky::forwarded::Header;
use sedge_protocol::request::Parameter;
use sedge_sticky::head::{self, Limits, Scan};
use sedge_sticky::{
    Availability, Config, Cookie, CookieKey, Decision, Hash, Home, Method, Networks, Opening,
    Reason, Report, Request, Router, SidFinding, Target, TargetId, proxy,
};

#[derive(Arbitrary, Debug)]
struct Case {
    method: u8,
    hash: u8,
    cookie: u8,
    forwarded: u8,
    proxy_protocol: bool,
    /// Small, so that it is full soon.
    learned_max: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Add {
        name: u8,
        weight: u8,
        worker: Option<u8>,
    },
    Remove(u8),
    Restarted(u8),
    Set(u8, u8),
    Report(u8, u8, u8),
    Session(u8, u8),
    Learn(u8, u8),
    Forget(u8),
    /// Bytes as they are.
    Raw {
        bytes: Vec<u8>,
        peer: Peer,
        random: u64,
    },
    /// A well-formed head with something in it.
    Request {
        sid: Sid,
        line: Vec<u8>,
        proxy: Option<Peer>,
        peer: Peer,
        random: u64,
    },
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Peer {
    Unix,
    /// Of those who are trusted.
    Trusted(u8),
    V4([u8; 4]),
    V6([u8; 16]),
}

#[derive(Arbitrary, Debug)]
enum Sid {
    None,
    Own { worker: u8, former: bool, flip: Option<u8> },
    OfNode(u8),
    Learned(u8),
    Text(String),
}

impl Peer {
    fn address(self) -> Option<IpAddr> {
        match self {
            Peer::Unix => None,
            Peer::Trusted(last) => Some([10, 0, 0, last].into()),
            Peer::V4(octets) => Some(octets.into()),
            Peer::V6(octets) => Some(octets.into()),
        }
    }
}

const NODE: u16 = 3;

fn codec() -> SidCodec {
    SidCodec::new(b"present").with_previous(b"former")
}

fn learned(number: u8) -> SessionId {
    SessionId::parse(
        format!("learned-------------{number:03}").get(3..).unwrap_or_default().as_bytes(),
    )
    .expect("20 characters")
}

impl Sid {
    fn text(&self) -> String {
        let made = |codec: SidCodec, node, worker| {
            codec.encode(Owner { node, worker, shard: 0 }, [worker; 8]).to_string()
        };
        match self {
            Sid::None => String::new(),
            Sid::Own { worker, former, flip } => {
                let codec = if *former { SidCodec::new(b"former") } else { codec() };
                let mut text = made(codec, NODE, *worker).into_bytes();
                if let Some(flip) = flip {
                    let at = usize::from(*flip) % text.len();
                    text[at] = if text[at] == b'A' { b'B' } else { b'A' };
                }
                String::from_utf8(text).expect("ASCII")
            }
            Sid::OfNode(node) => made(codec(), u16::from(*node), 0),
            Sid::Learned(number) => learned(*number).to_string(),
            Sid::Text(text) => text.clone(),
        }
    }
}

fn config(case: &Case) -> Config {
    let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("a network"));
    Config {
        sids: Some(codec()),
        method: Method::ALL[usize::from(case.method) % Method::ALL.len()],
        hash: Hash::ALL.get(usize::from(case.hash) % 4).copied(),
        cookie: match case.cookie % 3 {
            0 => None,
            1 => Some(CookieKey::SessionId { name: "io".into() }),
            _ => Some(CookieKey::Sticky(Cookie::new("node"))),
        },
        trusted: Networks::new(networks).expect("few"),
        forwarded: match case.forwarded % 3 {
            0 => Header::None,
            1 => Header::XForwardedFor,
            _ => Header::Forwarded,
        },
        proxy_protocol: case.proxy_protocol,
        learned_max: usize::from(case.learned_max),
        ..Config::default()
    }
}

fuzz_target!(|case: Case| {
    let mut router = Router::new(config(&case)).expect("valid");
    // Also of those that are no more.
    let mut ids: Vec<TargetId> = Vec::new();
    for step in case.steps.iter().take(200) {
        apply(&mut router, &mut ids, case.learned_max, step);
    }
});

fn apply(router: &mut Router, ids: &mut Vec<TargetId>, learned_max: u8, step: &Step) {
    let id = |at: u8| ids.get(usize::from(at) % ids.len().max(1)).copied();
    match step {
        Step::Add { name, weight, worker } => {
            let home =
                worker.map_or(Home::Node(NODE + 1), |worker| Home::Worker { node: NODE, worker });
            let target = Target::new(format!("t{name}:1")).weight(u32::from(*weight)).home(home);
            ids.extend(router.add(target));
        }
        Step::Remove(at) => {
            let _ = id(*at).map(|id| router.remove(id));
        }
        Step::Restarted(at) => {
            let successor = id(*at).and_then(|id| router.restarted(id));
            ids.extend(successor);
        }
        Step::Set(at, state) => {
            let state = match state % 3 {
                0 => Availability::Up,
                1 => Availability::Draining,
                _ => Availability::Down,
            };
            let _ = id(*at).map(|id| router.set_availability(id, state));
        }
        Step::Report(at, open, opened) => {
            let report = Report { open: u64::from(*open), opened: u64::from(*opened) };
            let _ = id(*at).map(|id| router.report(id, report));
        }
        Step::Session(at, what) => drop(id(*at).map(|id| match what % 3 {
            0 => router.opened(id),
            1 => router.closed(id),
            _ => router.abandoned(id),
        })),
        Step::Learn(number, at) => drop(id(*at).map(|id| router.learn(learned(*number), id))),
        Step::Forget(number) => drop(router.forget(&learned(*number))),
        Step::Raw { bytes, peer, random } => look(router, bytes, *peer, *random),
        Step::Request { sid, line, proxy, peer, random } => {
            let front = match proxy.and_then(Peer::address) {
                Some(IpAddr::V4(source)) => format!("PROXY TCP4 {source} 1.1.1.1 1 2\r\n"),
                Some(IpAddr::V6(source)) => format!("PROXY TCP6 {source} ::1 1 2\r\n"),
                None => String::new(),
            };
            let head = format!("{front}GET /socket.io/?EIO=4&sid={} HTTP/1.1\r\nHost: a\r\n", sid.text());
            let bytes = [head.as_bytes(), line, b"\r\n\r\n"].concat();
            look(router, &bytes, *peer, *random);
        }
    }
    assert!(router.learned_count() <= usize::from(learned_max));
}

/// Reads the bytes as they arrive, and decides.
fn look(router: &mut Router, bytes: &[u8], peer: Peer, random: u64) {
    let whole = router.read(bytes, peer.address());
    let cuts = (0..bytes.len()).step_by(bytes.len() / 64 + 1);
    for end in cuts {
        let part = router.read(&bytes[..end], peer.address());
        assert!(part == Opening::Partial || part == whole, "{end}: {part:?} and then {whole:?}");
    }
    if let proxy::State::Complete { len, .. } = proxy::parse(bytes) {
        assert!(len <= bytes.len());
    }
    let limits = Limits { bytes_max: 16 * 1024, headers_max: 100 };
    if let Scan::Complete(layout) = head::scan(bytes, limits) {
        let (len, head) = (layout.len(), layout.head(bytes));
        assert!(len <= bytes.len() && bytes[..len].ends_with(b"\r\n\r\n"));
        assert!(head.lines().all(|(name, _)| !name.is_empty()));
        let _ = (head.method(), head.path(), head.query());
        // What another server's parser makes of it is the same request.
        let again = sedge_protocol::request::Request::read(
            head.target(),
            head.request().version,
            head.lines(),
        );
        assert_eq!(again, Ok(*head.request()));
    }
    if let Opening::Request(request) | Opening::NoHead { request, .. } = whole {
        decide(router, &request, random);
    }
}

fn decide(router: &mut Router, request: &Request<'_>, random: u64) {
    let sid = request.head.map(|head| head.sid()).unwrap_or_default();
    let text = sid.value().and_then(|text| SessionId::parse(text.as_bytes()));
    let owner = text.and_then(|sid| codec().decode(&sid));
    let Decision::To(route) = router.decide(request, random) else {
        let takes = |state| state == Availability::Up;
        assert!(!router.statuses().any(|status| takes(status.availability)), "one was up");
        return;
    };
    let status = router.status(route.target).expect("a target that is there");
    assert_ne!(status.availability, Availability::Down);
    if route.sid == SidFinding::Absent {
        assert_eq!(status.availability, Availability::Up, "a new session");
    }
    match route.reason {
        Reason::BySid => assert!(owner.is_some_and(|owner| matches!(owner.node, NODE | 4))),
        Reason::Learned => assert!(text.is_some() && owner.is_none()),
        Reason::Cookie | Reason::Hash | Reason::Method => assert_ne!(route.sid, SidFinding::Known),
    }
    if sid == Parameter::Repeated {
        assert_eq!(route.sid, SidFinding::Repeated);
    }
    assert!(!route.set_cookie || router.set_cookie(route.target).is_some());
}
