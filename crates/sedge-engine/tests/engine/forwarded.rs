//! Who the client is behind proxies, on every way into the engine.

use sedge_engine::{ForwardedHeader, Networks, PeerAddr, Proxies};
use sedge_testkit::{Endpoint, RawHttp, RawWs};

use crate::common::{Server, V4_POLLING, V4_WEBSOCKET};
use crate::services::Host;

/// A server that tells who asked, by refusing.
fn server(trusted: &str, header: ForwardedHeader) -> Server {
    let trusted = Networks::new([trusted.parse().expect("a network")]).expect("one");
    let proxies = Proxies { trusted, trust_unix: true, header };
    Server::start(move |config| {
        config.trusted_proxies(proxies).allow_request(async |handshake| {
            let address = handshake.address().expect("an address").to_string();
            // What is not forwarded has a port of its own.
            let address = if address.starts_with("127.") { "127.0.0.1" } else { &address };
            Err(format!("{address} {}", handshake.secure()))
        })
    })
}

/// Asks on every way, and expects the same answer on each.
#[track_caller]
fn expect(server: &Server, lines: &[(&'static str, &'static str)], client: &str) {
    let forwarding = axum::Extension(PeerAddr("127.0.0.1:5".parse().expect("an address")));
    let app = axum::Router::new().layer(server.engine.layer()).layer(forwarding);
    let host = Host::start(async move |listener| {
        axum::serve(listener, app).await.expect("it serves");
    });
    let body = format!("{{\"code\":4,\"message\":\"{client}\"}}");
    let absolute = format!("http://x{V4_POLLING}");
    let ask = |at: Endpoint, target| RawHttp::connect(at).request("GET", target, lines, b"");
    ask(server.at(), V4_POLLING).expect(403, &body);
    ask(server.at(), &absolute).expect(403, &body);
    ask(host.at(), V4_POLLING).expect(403, &body);
    let upgrade = [RawWs::handshake(), lines.to_vec()].concat();
    RawWs::refused(server.at(), V4_WEBSOCKET, &upgrade).expect(400, client);
}

#[test]
fn a_trusted_proxy_names_the_client() {
    let server = server("127.0.0.0/8", ForwardedHeader::XForwardedFor);
    expect(&server, &[], "127.0.0.1 false");
    expect(&server, &[("x-forwarded-for", "192.0.2.1")], "192.0.2.1:0 false");
    let lines = [("X-Forwarded-For", "9.9.9.9, 192.0.2.1:77"), ("X-Forwarded-Proto", "https")];
    expect(&server, &lines, "192.0.2.1:77 true");
    // A proxy that adds a line of its own instead of appending to the client's.
    let lines = [("X-Forwarded-For", "9.9.9.9"), ("X-Forwarded-For", "2001:db8::1")];
    expect(&server, &lines, "[2001:db8::1]:0 false");
    expect(&server, &[("forwarded", "for=192.0.2.1")], "127.0.0.1 false");
}

#[test]
fn the_standard_header_is_read_where_it_is_configured() {
    let server = server("127.0.0.0/8", ForwardedHeader::Forwarded);
    let lines = [("Forwarded", "for=\"[2001:db8::1]:4711\";proto=https")];
    expect(&server, &lines, "[2001:db8::1]:4711 true");
    expect(&server, &[("x-forwarded-for", "192.0.2.1")], "127.0.0.1 false");
}

#[test]
fn a_stranger_speaks_for_nobody() {
    let server = server("10.0.0.0/8", ForwardedHeader::XForwardedFor);
    let lines = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")];
    expect(&server, &lines, "127.0.0.1 false");
}
