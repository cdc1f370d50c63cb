//! What a routing decision costs: nanoseconds for each way to make one, with 16 targets.
//!
//!     cargo bench -p sedge-sticky
//!
//! The first lines are the target: under 300 ns for a session id.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use sedge_protocol::sid::{Owner, SessionId, SidCodec};
use sedge_sticky::forwarded::Header;
use sedge_sticky::{
    Config, Cookie, CookieKey, Decision, Hash, Home, Method, Network, Networks, Opening, Reason,
    Request, Router, Target,
};

const TARGETS: u8 = 16;
/// Each measurement is repeated this often, and the fastest counts: what else the machine does only
/// ever makes it slower.
const ROUNDS: u32 = 7;
const DECISIONS: u32 = 50_000;

fn main() {
    // Under `cargo test` a few are enough to see that it works.
    let decisions = if std::env::args().any(|arg| arg == "--bench") { DECISIONS } else { 100 };
    let bench = Bench { decisions };
    bench.sessions();
    bench.new_sessions();
    bench.parsing();
}

struct Bench {
    decisions: u32,
}

fn codec() -> SidCodec {
    SidCodec::new(b"the cluster's secret").with_previous(b"the former secret")
}

fn peer(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(number.wrapping_mul(0x9e37_79b9)))
}

fn router(config: Config) -> Router {
    let mut router = Router::new(Config { sids: Some(codec()), ..config }).expect("valid");
    for worker in 0..TARGETS {
        let target = Target::new(format!("10.0.0.{worker}:3000"));
        router.add(target.home(Home::Worker { node: 1, worker })).expect("valid");
    }
    router
}

/// What Chrome sends when it polls.
fn browser(sid: &str, lines: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=polling&t=PxQ3yPl{sid} HTTP/1.1\r\n\
         Host: chat.example.com\r\nConnection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
         sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
         Accept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n\
         Referer: https://chat.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9\r\n{lines}\r\n"
    )
}

fn with_sid(codec: &SidCodec) -> String {
    let sid = codec.encode(Owner { node: 1, worker: 11, shard: 0 }, [3; 8]);
    browser(&format!("&sid={sid}"), "")
}

#[track_caller]
fn request<'a>(router: &Router, bytes: &'a str) -> Request<'a> {
    match router.read(bytes.as_bytes(), Some(peer(1))) {
        Opening::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn measure(&self, name: &str, mut run: impl FnMut(u32)) {
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            (0..self.decisions).for_each(&mut run);
            best = best.min(begin.elapsed().as_nanos() as f64 / f64::from(self.decisions));
        }
        say(&format!("{name:<44} {best:>8.1} ns"));
    }

    fn decide(&self, name: &str, router: &mut Router, bytes: &str, reason: Reason) {
        let mut request = request(router, bytes);
        let Decision::To(route) = router.decide(&request, 0) else { panic!("{name}: no target") };
        assert_eq!(route.reason, reason, "{name}");
        self.measure(name, |number| {
            request.peer = Some(peer(number));
            let random = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            black_box(router.decide(black_box(&request), random));
        });
    }

    fn sessions(&self) {
        let bytes = with_sid(&codec());
        self.decide("session id", &mut router(Config::default()), &bytes, Reason::BySid);
        let mut both = router(Config::default());
        self.measure("session id, head parsed too", |_| {
            let request = request(&both, black_box(&bytes));
            black_box(both.decide(&request, 0));
        });
        let former = with_sid(&SidCodec::new(b"the former secret"));
        let mut plain = router(Config::default());
        self.decide("session id of the former secret", &mut plain, &former, Reason::BySid);

        let id = plain.statuses().last().expect("there are some").id;
        for number in 0..100_000 {
            let sid = SessionId::parse(format!("{number:020}").as_bytes()).expect("valid");
            plain.learn(sid, id);
        }
        let learned = browser("&sid=00000000000000077777", "");
        self.decide("learned session id, of 100,000", &mut plain, &learned, Reason::Learned);

        let cookie = Some(CookieKey::Sticky(Cookie::new("node")));
        let mut sticky = router(Config { cookie, ..Config::default() });
        let id = sticky.statuses().last().expect("there are some").id;
        let value = sticky.set_cookie(id).expect("configured");
        let pair = value.split(';').next().unwrap_or_default();
        let bytes = browser("", &format!("Cookie: theme=dark; {pair}\r\n"));
        self.decide("sticky cookie", &mut sticky, &bytes, Reason::Cookie);
    }

    fn new_sessions(&self) {
        let bytes = browser("", "");
        for method in Method::ALL {
            let mut router = router(Config { method, ..Config::default() });
            self.decide(&format!("method {method}"), &mut router, &bytes, Reason::Method);
        }
        for hash in Hash::ALL {
            let mut router = router(Config { hash: Some(hash), ..Config::default() });
            self.decide(&format!("hash {hash}"), &mut router, &bytes, Reason::Hash);
        }
        let everywhere: Network = "0.0.0.0/1".parse().expect("valid");
        let mut behind = router(Config {
            hash: Some(Hash::Rendezvous),
            trusted: Networks::new([everywhere]).expect("valid"),
            forwarded: Header::XForwardedFor,
            ..Config::default()
        });
        let bytes = browser("", "X-Forwarded-For: 198.51.100.7, 203.0.113.9, 10.0.0.1\r\n");
        let name = "hash rendezvous behind three hops, or none";
        self.decide(name, &mut behind, &bytes, Reason::Hash);
    }

    fn parsing(&self) {
        let router = router(Config::default());
        let bytes = with_sid(&codec());
        let name = format!("head of {} bytes", bytes.len());
        self.measure(&name, |_| {
            black_box(router.read(black_box(bytes.as_bytes()), None));
        });
        let client = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n";
        self.measure(&format!("head of {} bytes", client.len()), |_| {
            black_box(router.read(black_box(client.as_bytes()), None));
        });
        self.measure("PROXY header of version 1", |_| {
            let line = b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\r\n";
            black_box(sedge_sticky::proxy::parse(black_box(line)));
        });
    }
}

#[expect(clippy::print_stdout, reason = "what it is for")]
fn say(line: &str) {
    println!("{line}");
}
