//! The defaults, what is refused and in which words, and what nodes compare.

use super::*;
use crate::handshake::Handshake;
use crate::http::cors::Cors;
use crate::http::head::Head;
use crate::limits;
use sedge_protocol::cookie::{Cookie, SameSite};
use sedge_protocol::sid::RANDOM_BYTES;

const SECRET: &[u8] = b"0123456789abcdef";

fn built(builder: ConfigBuilder) -> Config {
    builder.build().unwrap()
}

#[track_caller]
fn assert_refused(builder: ConfigBuilder, words: &str) {
    let error = builder.build().unwrap_err().to_string();
    assert!(error.contains(words), "{error:?} does not say {words:?}");
}

#[test]
fn the_defaults_are_the_official_ones() {
    let config = built(Config::builder());
    let shared = &config.shared;
    assert_eq!(&*shared.path, "/socket.io");
    assert!(shared.add_trailing_slash);
    assert_eq!(shared.max_payload, 1_000_000);
    assert_eq!(shared.transports, Transports::ALL);
    assert!(shared.allow_upgrades);
    assert!(!shared.allow_eio3);
    let timing = Timing { ping_interval: 25_000, ping_timeout: 20_000, upgrade_timeout: 10_000 };
    assert_eq!(config.timing(), timing);
    let local = &config.local;
    assert_eq!(local.per_message_deflate, None);
    assert_eq!(local.http_compression, Some(HttpCompression { threshold: 1024, level: 6 }));
    assert!(local.cors.is_none() && local.cookie.is_none() && local.client_files.is_none());
    assert!(local.destroy_upgrade);
    assert_eq!(local.destroy_upgrade_timeout, Duration::from_secs(1));
    assert_eq!(local.initial_packet, None);
    assert!(local.keep_handshake_headers);
    assert!((1..=limits::SHARDS_MAX).contains(&local.shards));
}

#[test]
fn the_path_with_a_trailing_slash_is_a_prefix() {
    let config = built(Config::builder());
    assert_eq!(config.matches("/socket.io/"), Some(""));
    assert_eq!(config.matches("/socket.io/socket.io.js"), Some("socket.io.js"));
    assert_eq!(config.matches("/socket.io//x"), Some("/x"));
    for other in
        ["/socket.io", "/socket.iox", "/socket.iox/", "/", "", "/Socket.io/", "x/socket.io/"]
    {
        assert_eq!(config.matches(other), None, "{other}");
    }
}

#[test]
fn the_path_without_a_trailing_slash_ends_at_a_segment() {
    let config = built(Config::builder().add_trailing_slash(false));
    assert_eq!(config.matches("/socket.io"), Some(""));
    assert_eq!(config.matches("/socket.io/"), Some(""));
    assert_eq!(config.matches("/socket.io/a.js"), Some("a.js"));
    assert_eq!(config.matches("/socket.iox"), None);
    assert_eq!(config.matches("/socket"), None);
}

#[test]
fn one_slash_at_the_end_of_the_path_is_ignored() {
    let config = built(Config::builder().path("/my/app/"));
    assert_eq!(config.matches("/my/app/"), Some(""));
    assert_eq!(config.matches("/my/app"), None);
    let root = built(Config::builder().path("/"));
    assert_eq!(root.matches("/"), Some(""));
    assert_eq!(root.matches("/socket.io.js"), Some("socket.io.js"));
    assert_eq!(root.matches("*"), None);
}

#[test]
fn paths_that_no_request_could_have_are_refused() {
    for path in ["", "socket.io", "/a b", "/a?b", "/a#b", "/é", "/a%20b", "/a\n"] {
        assert_refused(Config::builder().path(path), "must begin with '/'");
    }
}

#[test]
fn durations_must_fit_their_timers() {
    let zero = Duration::ZERO;
    assert_refused(Config::builder().ping_timeout(zero), "ping_timeout is 0ns");
    assert_refused(Config::builder().ping_interval(zero), "ping_interval is 0ns");
    assert_refused(Config::builder().upgrade_timeout(zero), "upgrade_timeout is 0ns");
    assert_refused(Config::builder().head_timeout(Duration::MAX), "head_timeout is");
    assert_refused(Config::builder().body_timeout(Duration::from_micros(999)), "body_timeout");
    // The largest delay of a timer in JavaScript.
    let day = Duration::from_hours(24);
    assert_refused(Config::builder().ping_interval(day * 24).ping_timeout(day), "2^31 ms");
    built(Config::builder().ping_interval(day * 23).ping_timeout(day));
}

#[test]
fn sizes_must_fit_each_other() {
    assert_refused(Config::builder().max_payload(5), "max_payload is 5, but must be at least 6");
    assert_refused(Config::builder().max_payload(usize::MAX), "max_payload is");
    let outbox = Config::builder().outbox_bytes_max(999_999);
    assert_refused(
        outbox,
        "outbox_bytes_max is 999999, but must be at least max_payload (1000000)",
    );
    let initial = Config::builder().max_payload(6).outbox_bytes_max(6).initial_packet("1234567");
    assert_refused(initial, "at least initial_packet (7)");
    assert_refused(Config::builder().head_bytes_max(8191), "head_bytes_max is 8191");
    assert_refused(Config::builder().headers_max(15), "headers_max is 15");
    assert_refused(Config::builder().command_queue_max(0), "command_queue_max is 0");
    assert_refused(Config::builder().sessions_max(0), "sessions_max is 0");
    assert_refused(Config::builder().connections_max(0), "connections_max is 0");
    assert_refused(Config::builder().shards(0), "shards is 0");
    assert_refused(Config::builder().shards(257), "at most 256");
    built(Config::builder().max_payload(6).outbox_bytes_max(6).shards(256));
}

#[test]
fn contradictions_are_refused_in_the_words_of_their_layer() {
    assert_refused(Config::builder().transports([]), "at least one of polling and websocket");
    assert_refused(Config::builder().cors(Cors::any().credentials(true)), "cors: credentials need");
    let cookie = Cookie::new("io").same_site(SameSite::None);
    assert_refused(Config::builder().cookie(cookie), "cookie: SameSite=None needs");
    assert_refused(Config::builder().serve_client("/nonexistent"), "npm install socket.io-client");
    let level = PerMessageDeflate { level: 10, ..PerMessageDeflate::default() };
    assert_refused(Config::builder().per_message_deflate(level), "per_message_deflate.level is 10");
}

#[test]
fn a_cluster_needs_a_good_secret() {
    assert_refused(Config::builder().node(1), "node 1, worker 0: processes that share sessions");
    assert_refused(Config::builder().worker(2), "worker 2");
    assert_refused(Config::builder().secret("short"), "secret has 5 bytes");
    let short = Config::builder().secret(SECRET).previous_secret("x");
    assert_refused(short, "previous_secret has 1 bytes");
    let config = built(Config::builder().node(7).worker(2).secret(SECRET));
    assert_eq!(config.owner(3), Owner { node: 7, worker: 2, shard: 3 });
}

#[test]
fn processes_recognise_the_session_ids_of_the_same_secret_only() {
    let owner = Owner { node: 7, worker: 2, shard: 3 };
    let a = built(Config::builder().secret(SECRET));
    let b = built(Config::builder().secret(SECRET));
    let id = a.sid_codec().encode(owner, [1; RANDOM_BYTES]);
    assert_eq!(b.sid_codec().decode(&id), Some(owner));
    assert_eq!(built(Config::builder()).sid_codec().decode(&id), None, "made-up secrets differ");
    let changed = Config::builder().secret(b"another secret of enough bytes");
    assert_eq!(built(changed.clone()).sid_codec().decode(&id), None);
    assert_eq!(built(changed.previous_secret(SECRET)).sid_codec().decode(&id), Some(owner));
}

#[test]
fn the_secret_is_never_shown() {
    let builder = Config::builder().secret(SECRET).previous_secret("fedcba9876543210");
    let shown = format!("{builder:?} {:?}", builder.clone().build().unwrap());
    let bytes = format!("{:?}", &SECRET[..4]);
    for part in ["0123", "fedc", bytes.trim_matches(['[', ']'])] {
        assert!(!shown.contains(part), "{part}");
    }
}

#[test]
fn upgrades_are_offered_where_they_are_possible() {
    let upgrades = |builder| built(builder).upgrades(Transport::Polling);
    assert_eq!(upgrades(Config::builder()), ["websocket"]);
    assert!(upgrades(Config::builder().allow_upgrades(false)).is_empty());
    assert!(upgrades(Config::builder().transports([Transport::Polling])).is_empty());
    assert!(built(Config::builder()).upgrades(Transport::WebSocket).is_empty());
}

#[test]
fn only_enabled_transports_are_found() {
    assert_eq!(Transports::ALL.find("polling"), Some(Transport::Polling));
    assert_eq!(Transports::ALL.find("websocket"), Some(Transport::WebSocket));
    assert_eq!(Transports::ALL.find("webtransport"), None);
    let polling: Transports = [Transport::Polling, Transport::Polling].into_iter().collect();
    assert_eq!(polling.find("websocket"), None);
}

#[test]
fn initial_packets_are_text_or_binary() {
    let message = |packet: InitialPacket| match packet.message() {
        Message::Text(text) => text.to_owned(),
        Message::Binary(data) => format!("{data:?}"),
    };
    assert_eq!(message("hi".into()), "hi");
    assert_eq!(message(vec![1, 2].into()), "[1, 2]");
}

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the future waits"),
    }
}

#[test]
fn allow_request_may_borrow_what_it_captured() {
    let allowed = ["/socket.io/?token=good".to_owned()];
    let config = built(Config::builder().allow_request(async move |handshake: Arc<Handshake>| {
        let known = async || allowed.iter().any(|url| url == handshake.url());
        if known().await { Ok(()) } else { Err("who are you?".to_owned()) }
    }));
    let hook = config.local.hooks.allow_request.clone().unwrap();
    let ask = |url: &str| {
        let (parts, ()) =
            http::Request::get(url).header("host", "x").body(()).unwrap().into_parts();
        now(hook(Arc::new(Handshake::new(&Head::parsed(parts).unwrap(), None, false, true))))
    };
    assert_eq!(ask("/socket.io/?token=good"), Ok(()));
    assert_eq!(ask("/socket.io/?token=bad"), Err("who are you?".to_owned()));
}

#[test]
fn the_other_hooks_are_called_with_what_they_need() {
    use crate::hooks::{ConnectionError, ErrorCode, ErrorContext, RequestInfo};
    use std::sync::Mutex;
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let config = built(
        Config::builder()
            .on_initial_headers(|headers, _| {
                headers.insert("x-first", "1".parse().unwrap());
            })
            .on_headers(|headers, request| {
                headers.insert("x-method", request.method.as_str().parse().unwrap());
            })
            .on_connection_error(move |error| log.lock().unwrap().push(error.to_string())),
    );
    let hooks = &config.local.hooks;
    let (method, uri) = (http::Method::GET, http::Uri::from_static("/socket.io/"));
    let mut headers = http::HeaderMap::new();
    let request =
        RequestInfo { method: &method, uri: &uri, headers: &http::HeaderMap::new(), address: None };
    hooks.initial_headers.as_ref().unwrap()(&mut headers, &request);
    hooks.headers.as_ref().unwrap()(&mut headers, &request);
    assert_eq!(headers["x-first"], "1");
    assert_eq!(headers["x-method"], "GET");
    let context = ErrorContext::TransportMismatch {
        transport: Transport::Polling,
        previous: Transport::WebSocket,
    };
    let error = ConnectionError::new(context, "/socket.io/".to_owned(), None);
    assert_eq!(error.code, ErrorCode::BadRequest);
    assert_eq!(error.context.name(), Some("TRANSPORT_MISMATCH"));
    hooks.connection_error.as_ref().unwrap()(&error);
    let told = told.lock().unwrap().clone();
    assert_eq!(told, ["Bad request (a polling request for a session on websocket)"]);
}

/// Another crate's builder forwards to this one.
#[test]
fn the_builder_can_be_forwarded_to() {
    struct Outer(ConfigBuilder);
    impl Outer {
        fn max_payload(self, bytes: usize) -> Outer {
            Outer(self.0.max_payload(bytes))
        }
    }
    assert_eq!(built(Outer(Config::builder()).max_payload(77).0).max_payload(), 77);
}
