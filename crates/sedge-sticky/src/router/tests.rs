//! Decisions: what ties a request to a target, in which order, and what each method and state does.

use std::collections::BTreeMap;

use super::*;
use crate::target::Home;
use crate::{Cookie, Network};

const NODE: u16 = 7;

fn codec() -> SidCodec {
    SidCodec::new(b"the cluster's secret").with_previous(b"the former secret")
}

fn owner(node: u16, worker: u8) -> Owner {
    Owner { node, worker, shard: 3 }
}

fn sid_of(worker: u8) -> String {
    codec().encode(owner(NODE, worker), [worker; 8]).to_string()
}

/// A router with workers 0, 1, … of one node.
fn workers(count: u8, config: Config) -> (Router, Vec<TargetId>) {
    let mut router = Router::new(Config { sids: Some(codec()), ..config }).unwrap();
    let target =
        |worker| Target::new(format!("worker-{worker}")).home(Home::Worker { node: NODE, worker });
    let ids = (0..count).map(|worker| router.add(target(worker)).unwrap()).collect();
    (router, ids)
}

/// A generator that is good enough to spread, and the same in every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state ^ (*state >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn text(sid: &str, lines: &str) -> String {
    let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
    format!("GET /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[track_caller]
fn decide_from(router: &mut Router, sid: &str, lines: &str, peer: &str, random: u64) -> Decision {
    let text = text(sid, lines);
    let peer = Some(peer).filter(|peer| !peer.is_empty()).map(|peer| peer.parse().unwrap());
    let Opening::Request(request) = router.read(text.as_bytes(), peer) else { panic!("{text}") };
    router.decide(&request, random)
}

#[track_caller]
fn route_with(router: &mut Router, sid: &str, lines: &str) -> Route {
    match decide_from(router, sid, lines, "192.0.2.1", 0) {
        Decision::To(route) => route,
        Decision::NoTarget { .. } => panic!("no target"),
    }
}

#[track_caller]
fn route(router: &mut Router, sid: &str) -> Route {
    route_with(router, sid, "")
}

fn open_sessions(router: &mut Router, count: usize) {
    for _ in 0..count {
        route(router, "");
    }
}

fn loads(router: &Router) -> Vec<u64> {
    router.statuses().map(|status| status.load.total()).collect()
}

#[test]
fn a_session_id_names_its_worker() {
    let (mut router, ids) = workers(4, Config::default());
    for (worker, id) in ids.iter().enumerate() {
        let found = route(&mut router, &sid_of(worker as u8));
        assert_eq!(
            found,
            Route { target: *id, reason: Reason::BySid, sid: SidFinding::Known, set_cookie: false }
        );
    }
    // One of the former secret too.
    let former = SidCodec::new(b"the former secret").encode(owner(NODE, 2), [9; 8]).to_string();
    assert_eq!(route(&mut router, &former).target, ids[2]);
    assert_eq!(loads(&router), [0, 0, 0, 0], "no new sessions");
    assert_eq!(router.counters(), Counters { by_sid: 5, ..Counters::default() });
}

#[test]
fn session_ids_that_lead_nowhere_are_told_apart() {
    let (mut router, _) = workers(2, Config::default());
    let made = |codec: SidCodec, owner| codec.encode(owner, [1; 8]).to_string();
    let mut forged = sid_of(1).into_bytes();
    forged[3] ^= 1;
    for (sid, finding) in [
        (made(codec(), owner(NODE, 2)), SidFinding::Gone(owner(NODE, 2))),
        (made(codec(), owner(8, 0)), SidFinding::OtherNode(owner(8, 0))),
        (made(codec(), owner(6, 255)), SidFinding::OtherNode(owner(6, 255))),
        (made(SidCodec::new(b"another cluster"), owner(NODE, 1)), SidFinding::Unknown),
        (String::from_utf8(forged).unwrap(), SidFinding::Unknown),
        ("AAAAAAAAAAAAAAAAAAAA".to_owned(), SidFinding::Unknown),
        ("short".to_owned(), SidFinding::Malformed),
        (format!("{}=", sid_of(1)), SidFinding::Malformed),
        (format!("{}&sid={}", sid_of(1), sid_of(1)), SidFinding::Repeated),
        (String::new(), SidFinding::Absent),
    ] {
        let found = route(&mut router, &sid);
        assert_eq!((found.sid, found.reason), (finding, Reason::Method), "{sid}");
    }
    assert_eq!(loads(&router).iter().sum::<u64>(), 1, "only the last opens a session");
    assert_eq!(router.counters().lost_sids, 9);
}

#[test]
fn a_worker_drains_and_goes_and_comes_back() {
    let (mut router, ids) = workers(2, Config::default());
    assert!(router.set_availability(ids[0], Availability::Draining));
    for _ in 0..10 {
        assert_eq!(route(&mut router, "").target, ids[1], "no new sessions");
    }
    assert_eq!(route(&mut router, &sid_of(0)).target, ids[0], "old ones stay");
    router.set_availability(ids[0], Availability::Down);
    let lost = route(&mut router, &sid_of(0));
    assert_eq!((lost.target, lost.sid), (ids[1], SidFinding::Gone(owner(NODE, 0))));
    let again = router.restarted(ids[0]).unwrap();
    assert_eq!(again.slot(), ids[0].slot());
    router.set_availability(again, Availability::Up);
    assert_eq!(route(&mut router, &sid_of(0)).target, again);
    // Whatever the predecessor still says is nothing.
    assert!(!router.report(ids[0], Report { open: 9, opened: 9 }));
    assert!(!router.set_availability(ids[0], Availability::Down));
    assert_eq!(router.restarted(ids[0]), None);
    assert_eq!(router.status(again).unwrap().load.total(), 0);
}

#[test]
fn without_a_target_the_client_is_told_when_to_come_back() {
    let config = Config { retry_after: Duration::from_secs(9), ..Config::default() };
    let (mut router, ids) = workers(1, config);
    let none = Decision::NoTarget { retry_after: Duration::from_secs(9) };
    router.set_availability(ids[0], Availability::Draining);
    assert_eq!(decide_from(&mut router, "", "", "", 0), none);
    // Somebody has to say that a session is unknown.
    assert_eq!(route(&mut router, "AAAAAAAAAAAAAAAAAAAA").target, ids[0]);
    router.set_availability(ids[0], Availability::Down);
    assert_eq!(decide_from(&mut router, &sid_of(0), "", "", 0), none);
    assert!(router.remove(ids[0]) && !router.remove(ids[0]));
    for method in Method::ALL {
        let mut router = Router::new(Config { method, ..Config::default() }).unwrap();
        let decision = decide_from(&mut router, "", "", "", u64::MAX);
        assert!(matches!(decision, Decision::NoTarget { .. }), "{method}");
    }
    assert_eq!(router.counters().no_target, 2);
}

#[test]
fn a_node_has_the_sessions_of_all_its_workers() {
    let mut router = Router::new(Config { sids: Some(codec()), ..Config::default() }).unwrap();
    let a = router.add(Target::new("a").home(Home::Node(1))).unwrap();
    let b = router.add(Target::new("b").home(Home::Node(2))).unwrap();
    let special = router.add(Target::new("c").home(Home::Worker { node: 2, worker: 9 })).unwrap();
    for (owned, target) in
        [(owner(1, 0), a), (owner(1, 255), a), (owner(2, 8), b), (owner(2, 9), special)]
    {
        let sid = codec().encode(owned, [0; 8]).to_string();
        assert_eq!(route(&mut router, &sid).target, target, "{owned:?}");
    }
    let sid = codec().encode(owner(3, 0), [0; 8]).to_string();
    assert_eq!(route(&mut router, &sid).sid, SidFinding::OtherNode(owner(3, 0)));
}

#[test]
fn tables_refuse_what_makes_no_sense() {
    let (mut router, ids) = workers(1, Config::default());
    let home = Home::Worker { node: NODE, worker: 0 };
    for (target, error) in [
        (Target::new(""), TargetError::Name),
        (Target::new("x".repeat(256)), TargetError::Name),
        (Target::new("worker-0"), TargetError::NameTaken("worker-0".into())),
        (Target::new("x").home(home), TargetError::HomeTaken(home)),
        (Target::new("x").weight(0), TargetError::Weight),
        (Target::new("x").weight(1001), TargetError::Weight),
    ] {
        assert_eq!(router.add(target), Err(error));
    }
    for number in 0..16 {
        router.add(Target::new(number.to_string()).weight(1000)).unwrap();
    }
    assert_eq!(router.add(Target::new("heavy").weight(1000)), Err(TargetError::WeightSum));
    // A free slot is used again, by somebody else.
    router.remove(ids[0]);
    let other = router.add(Target::new("worker-0").home(home)).unwrap();
    assert_eq!(other.slot(), ids[0].slot());
    assert_ne!(other, ids[0]);
    assert!(router.status(ids[0]).is_none());
}

#[test]
fn tables_have_a_largest_size() {
    let mut router = Router::new(Config::default()).unwrap();
    for number in 0..crate::limits::TARGETS_MAX {
        router.add(Target::new(number.to_string())).unwrap();
    }
    assert_eq!(router.add(Target::new("more")), Err(TargetError::TooMany));
}

#[test]
fn learned_sessions() {
    let mut router = Router::new(Config { learned_max: 2, ..Config::default() }).unwrap();
    let [a, b] = ["a", "b"].map(|name| router.add(Target::new(name)).unwrap());
    let sid = |number: u8| SessionId::parse(format!("{number:020}").as_bytes()).unwrap();
    router.learn(sid(1), b);
    for _ in 0..5 {
        let found = route(&mut router, &sid(1).to_string());
        assert_eq!((found.target, found.reason), (b, Reason::Learned));
    }
    router.set_availability(b, Availability::Draining);
    assert_eq!(route(&mut router, &sid(1).to_string()).target, b);
    router.set_availability(b, Availability::Down);
    assert_eq!(route(&mut router, &sid(1).to_string()).sid, SidFinding::Unknown);
    router.set_availability(b, Availability::Up);
    assert_eq!(route(&mut router, &sid(1).to_string()).reason, Reason::Learned, "it came back");
    let b = router.restarted(b).unwrap();
    assert_eq!(route(&mut router, &sid(1).to_string()).sid, SidFinding::Unknown);
    assert_eq!(router.learned_count(), 0, "what is stale is forgotten");
    for number in 1..=3 {
        router.learn(sid(number), if number == 3 { b } else { a });
    }
    assert_eq!((router.learned_count(), router.counters().evicted), (2, 1));
    assert_eq!(route(&mut router, &sid(3).to_string()).target, b);
    assert!(router.forget(&sid(3)) && !router.forget(&sid(3)));
}

#[test]
fn a_sticky_cookie_leads_back() {
    let config =
        || Config { cookie: Some(CookieKey::Sticky(Cookie::new("node"))), ..Config::default() };
    let (mut router, ids) = workers(3, config());
    let first = route(&mut router, "");
    assert!(first.set_cookie);
    let cookie = router.set_cookie(first.target).unwrap();
    let (pair, attributes) = cookie.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax");
    let lines = format!("Cookie: theme=dark; {pair}\r\n");
    for _ in 0..5 {
        let again = route_with(&mut router, "", &lines);
        assert_eq!(
            (again.target, again.reason, again.set_cookie),
            (first.target, Reason::Cookie, false)
        );
    }
    // Another balancer says the same; one with another secret does not know it.
    let (mut other, _) = workers(3, config());
    assert_eq!(route_with(&mut other, "", &lines).target.slot(), first.target.slot());
    let (mut foreign, _) = workers(3, Config { cookie_secret: b"x".to_vec(), ..config() });
    assert_eq!(route_with(&mut foreign, "", &lines).reason, Reason::Method);
    // The session id goes before the cookie.
    let elsewhere = (first.target.slot() + 1) % 3;
    let found = route_with(&mut router, &sid_of(elsewhere as u8), &lines);
    assert_eq!((found.target, found.reason), (ids[elsewhere], Reason::BySid));
    // Who drains gets the session it has, and the client another target for the next.
    router.set_availability(first.target, Availability::Draining);
    let lost = route_with(&mut router, "AAAAAAAAAAAAAAAAAAAA", &lines);
    assert_eq!((lost.target, lost.reason), (first.target, Reason::Cookie));
    let moved = route_with(&mut router, "", &lines);
    assert!(moved.target != first.target && moved.set_cookie);
    for forged in ["node=worker-1", "node=", "node=0000000000000000"] {
        let found = route_with(&mut router, "", &format!("Cookie: {forged}\r\n"));
        assert_eq!((found.reason, found.set_cookie), (Reason::Method, true), "{forged}");
    }
    assert_eq!(router.set_cookie(ids[0]).is_some(), router.status(ids[0]).is_some());
}

#[test]
fn the_session_cookie_of_the_servers() {
    let cookie = Some(CookieKey::SessionId { name: "io".into() });
    let (mut router, ids) = workers(3, Config { cookie, ..Config::default() });
    let lines = format!("Cookie: io={}\r\n", sid_of(2));
    let found = route_with(&mut router, "", &lines);
    assert_eq!((found.target, found.reason, found.set_cookie), (ids[2], Reason::Cookie, false));
    assert_eq!(router.set_cookie(ids[2]), None);
    let learned = SessionId::parse(b"AAAAAAAAAAAAAAAAAAAA").unwrap();
    router.learn(learned, ids[1]);
    let lines = format!("Cookie: io=nonsense; io={learned}\r\n");
    assert_eq!(route_with(&mut router, "", &lines).target, ids[1]);
    // Not configured, it is no tie.
    let (mut router, _) = workers(3, Config::default());
    assert_eq!(route_with(&mut router, "", &lines).reason, Reason::Method);
    let wrong = Some(CookieKey::SessionId { name: "i;o".into() });
    let error = Router::new(Config { cookie: wrong, ..Config::default() }).unwrap_err();
    assert_eq!(error, ConfigError::Cookie(CookieError::Name("i;o".into())));
}

#[test]
fn a_burst_spreads_before_anybody_reports() {
    for method in [Method::LeastConnection, Method::RoundRobin] {
        let (mut router, _) = workers(4, Config { method, ..Config::default() });
        open_sessions(&mut router, 1000);
        assert_eq!(loads(&router), [250; 4], "{method}");
    }
}

#[test]
fn the_least_loaded_catches_up() {
    let (mut router, ids) = workers(3, Config::default());
    for (id, open) in ids.iter().zip([100, 40, 70]) {
        assert!(router.report(*id, Report { open, opened: open }));
    }
    open_sessions(&mut router, 90);
    assert_eq!(loads(&router), [100, 100, 100]);
    // The sessions are open, as the targets say now.
    for (id, opened) in ids.iter().zip([100, 100, 100]) {
        router.report(*id, Report { open: 100, opened });
    }
    assert_eq!(router.statuses().map(|s| s.load.pending()).collect::<Vec<_>>(), [0; 3]);
}

#[test]
fn what_becomes_of_an_assignment() {
    let (mut router, ids) = workers(1, Config::default());
    let pending = |router: &Router| router.status(ids[0]).unwrap().load.pending();
    open_sessions(&mut router, 10);
    router.report(ids[0], Report { open: 4, opened: 4 });
    assert_eq!(pending(&router), 6, "on their way");
    open_sessions(&mut router, 3);
    router.report(ids[0], Report { open: 6, opened: 7 });
    assert_eq!(pending(&router), 3, "three were none, and three are new");
    router.report(ids[0], Report { open: 6, opened: 7 });
    assert_eq!(pending(&router), 0);
    // For those who see each session themselves.
    open_sessions(&mut router, 3);
    router.opened(ids[0]);
    router.abandoned(ids[0]);
    assert_eq!((pending(&router), router.status(ids[0]).unwrap().load.open), (1, 7));
    (0..9).for_each(|_| router.closed(ids[0]));
    router.abandoned(ids[0]);
    router.abandoned(ids[0]);
    assert_eq!(loads(&router), [0], "never below nothing");
}

#[test]
fn weights_hold_for_every_method() {
    for method in Method::ALL {
        let mut router = Router::new(Config { method, ..Config::default() }).unwrap();
        let weights = [1, 2, 5];
        for weight in weights {
            router.add(Target::new(format!("w{weight}")).weight(weight)).unwrap();
        }
        let mut state = 1;
        for _ in 0..8000 {
            decide_from(&mut router, "", "", "", random(&mut state));
        }
        let slack = match method {
            Method::LeastConnection | Method::RoundRobin => 1,
            Method::Random => 200,
            Method::TwoChoices => 400,
        };
        for (load, weight) in loads(&router).iter().zip(weights) {
            let expected = u64::from(weight) * 1000;
            assert!(load.abs_diff(expected) <= slack, "{method}: {load} of {expected}");
        }
    }
}

#[test]
fn round_robin_is_smooth() {
    let mut router =
        Router::new(Config { method: Method::RoundRobin, ..Config::default() }).unwrap();
    for (name, weight) in [("a", 5), ("b", 1), ("c", 1)] {
        router.add(Target::new(name).weight(weight)).unwrap();
    }
    let slots: Vec<usize> = (0..14).map(|_| route(&mut router, "").target.slot()).collect();
    assert_eq!(slots, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn two_choices_are_nearly_even_and_random_is_less_so() {
    let spread = |method| {
        let (mut router, _) = workers(8, Config { method, ..Config::default() });
        let mut state = 7;
        for _ in 0..8000 {
            decide_from(&mut router, "", "", "", random(&mut state));
        }
        let loads = loads(&router);
        loads.iter().max().unwrap() - loads.iter().min().unwrap()
    };
    let (two, one) = (spread(Method::TwoChoices), spread(Method::Random));
    assert!(two <= 12 && two < one && one < 250, "{two} and {one}");
}

#[test]
fn methods_have_names() {
    for method in Method::ALL {
        assert_eq!(method.to_string().parse(), Ok(method));
    }
    assert_eq!("weighted".parse(), Ok(Method::RoundRobin));
    assert!("sticky".parse::<Method>().is_err());
}

fn spread_by_hash(router: &mut Router) -> BTreeMap<u32, TargetId> {
    let addresses = (0..3000_u32).map(|number| number.wrapping_mul(0x9e37_79b9));
    let place = |address: u32| {
        let peer = std::net::Ipv4Addr::from_bits(address).to_string();
        let Decision::To(route) = decide_from(router, "", "", &peer, 0) else { panic!() };
        assert_eq!(route.reason, Reason::Hash);
        (address, route.target)
    };
    addresses.map(place).collect()
}

#[test]
fn hashes_place_by_address_and_only_the_displaced_move() {
    for hash in Hash::ALL {
        let (mut router, ids) = workers(5, Config { hash: Some(hash), ..Config::default() });
        let before = spread_by_hash(&mut router);
        let count =
            |places: &BTreeMap<u32, TargetId>, id| places.values().filter(|t| **t == id).count();
        for id in &ids {
            assert!((450..750).contains(&count(&before, *id)), "{hash}: {}", count(&before, *id));
        }
        for away in [Availability::Draining, Availability::Down] {
            router.set_availability(ids[2], away);
            let after = spread_by_hash(&mut router);
            for (address, target) in &before {
                assert_eq!(*target == ids[2], after[address] != *target, "{hash}");
            }
            // They go to all others.
            for id in [0, 1, 3, 4].map(|at| ids[at]) {
                assert!(count(&after, id) > count(&before, id) + 60, "{hash}");
            }
        }
        router.set_availability(ids[2], Availability::Up);
        assert_eq!(spread_by_hash(&mut router), before);
        // With nearly all away too.
        for id in &ids[..4] {
            router.set_availability(*id, Availability::Down);
        }
        assert_eq!(count(&spread_by_hash(&mut router), ids[4]), before.len());
    }
}

#[test]
fn hashed_sessions_stay_while_their_target_drains() {
    for hash in Hash::ALL {
        let (mut router, _) = workers(4, Config { hash: Some(hash), ..Config::default() });
        let home = route(&mut router, "").target;
        router.set_availability(home, Availability::Draining);
        assert_ne!(route(&mut router, "").target, home);
        assert_eq!(route(&mut router, "AAAAAAAAAAAAAAAAAAAA").target, home, "of a Node server");
    }
}

#[test]
fn the_client_behind_proxies_is_what_is_hashed() {
    let trusted = || Networks::new(["10.0.0.0/8".parse::<Network>().unwrap()]).unwrap();
    let config =
        || Config { hash: Some(Hash::Rendezvous), trusted: trusted(), ..Config::default() };
    let (mut plain, _) = workers(8, config());
    let forwarded = || Config { forwarded: Header::XForwardedFor, ..config() };
    let (mut behind, _) = workers(8, forwarded());
    let (mut proxied, _) = workers(8, Config { proxy_protocol: true, ..forwarded() });
    let slot = |decision| match decision {
        Decision::To(Route { target, reason: Reason::Hash, .. }) => target.slot(),
        other => panic!("{other:?}"),
    };
    let mut seen = std::collections::BTreeSet::new();
    for last in 0..100 {
        let client = format!("192.0.2.{last}");
        let expected = slot(decide_from(&mut plain, "", "", &client, 0));
        let lines = format!("X-Forwarded-For: 8.8.8.8, {client}, 10.9.9.9\r\n");
        assert_eq!(slot(decide_from(&mut behind, "", &lines, "10.0.0.1", 0)), expected);
        let unix = slot(decide_from(&mut behind, "", &lines, "", 0));
        assert_eq!(unix, expected);
        let mapped = format!("::ffff:{client}");
        assert_eq!(slot(decide_from(&mut plain, "", "", &mapped, 0)), expected);
        let head = format!("PROXY TCP4 {client} 10.0.0.1 1234 80\r\n{}", text("", ""));
        let peer = Some("10.0.0.1".parse().unwrap());
        let Opening::Request(request) = proxied.read(head.as_bytes(), peer) else { panic!() };
        assert_eq!(request.proxy_len + request.head_len, head.len());
        assert_eq!(slot(proxied.decide(&request, 0)), expected);
        seen.insert(expected);
    }
    assert_eq!(seen.len(), 8);
    // Without an address there is nothing to hash.
    let Decision::To(route) = decide_from(&mut plain, "", "", "", 0) else { panic!() };
    assert_eq!(route.reason, Reason::Method);
}

#[test]
fn openings() {
    let trusted = Networks::new(["10.0.0.1".parse::<Network>().unwrap()]).unwrap();
    let config = Config { trusted, proxy_protocol: true, head_bytes_max: 100, ..Config::default() };
    let (router, _) = workers(1, config);
    let balancer = Some("::ffff:10.0.0.1".parse().unwrap());
    let stranger = Some("192.0.2.1".parse().unwrap());
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let proxied = format!("PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n{head}");
    for end in 0..proxied.len() {
        assert_eq!(router.read(&proxied.as_bytes()[..end], balancer), Opening::Partial, "{end}");
    }
    let Opening::Request(request) = router.read(proxied.as_bytes(), balancer) else { panic!() };
    assert_eq!(request.peer, Some("192.0.2.7".parse().unwrap()));
    // The balancer's own health checks.
    let local = format!("PROXY UNKNOWN\r\n{head}");
    let Opening::Request(request) = router.read(local.as_bytes(), balancer) else { panic!() };
    assert_eq!(request.peer, Some("10.0.0.1".parse().unwrap()));
    // Trusted peers must send one, and others must not.
    let missing = router.read(head.as_bytes(), balancer);
    assert_eq!(missing, Opening::NoProxyHeader(proxy::Invalid::Absent));
    let forged = router.read(proxied.as_bytes(), stranger);
    let Opening::NoHead { request, reason } = forged else { panic!("{forged:?}") };
    assert_eq!((request.peer, reason), (stranger, head::Invalid::Version));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100));
    let opening = router.read(long.as_bytes(), stranger);
    assert!(matches!(opening, Opening::NoHead { reason: head::Invalid::TooLong, .. }));
}

#[test]
fn what_has_no_head_is_routed_too() {
    let (mut router, _) = workers(2, Config { hash: Some(Hash::IpHash), ..Config::default() });
    let peer = Some("192.0.2.1".parse().unwrap());
    let Opening::NoHead { request, reason } = router.read(&[22, 3, 1], peer) else { panic!() };
    assert_eq!(reason, head::Invalid::Tls);
    let Decision::To(route) = router.decide(&request, 0) else { panic!() };
    assert_eq!((route.reason, route.sid), (Reason::Hash, SidFinding::Absent));
    let Decision::To(route) = router.decide(&Request::default(), 0) else { panic!() };
    assert_eq!(route.reason, Reason::Method);
}

#[test]
fn proxies_are_believed_only_if_somebody_is_trusted() {
    for config in [
        Config { forwarded: Header::Forwarded, trust_unix: false, ..Config::default() },
        Config { proxy_protocol: true, trust_unix: false, ..Config::default() },
    ] {
        assert_eq!(Router::new(config).unwrap_err(), ConfigError::NobodyTrusted);
    }
}
