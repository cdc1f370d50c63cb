//! Beside an axum application, on its port.

mod common;

use common::Fixture;
use sedge::extract::Data;
use sedge::{Server, Socket};
use sedge_testkit::{RawHttp, SioClient};

#[test]
fn an_axum_application_and_its_sockets_share_a_port() {
    let server = Fixture::with(Server::builder().shards(2));
    let io = server.io.clone();
    io.on("join", async |socket: Socket, Data(room): Data<String>| {
        socket.join(room)?;
        Ok::<_, Box<dyn std::error::Error>>(socket.emit("joined", &())?)
    });
    let publish = {
        let io = io.clone();
        async move |text: String| {
            io.to("news").emit("news", &text).expect("a queue that is not full");
            "sent"
        }
    };
    let app = axum::Router::new().route("/news", axum::routing::post(publish)).layer(io.layer());
    // axum runs on a runtime of its own; the sockets live on the server's threads.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(async { axum::serve(listener, app).await });

    let (mut client, _) = SioClient::connect(address);
    client.send(r#"2["join","news"]"#);
    client.expect(r#"2["joined"]"#);
    let mut http = RawHttp::connect(address);
    assert_eq!(http.post("/news", "It rains").text(), "sent");
    client.expect(r#"2["news","It rains"]"#);
    assert_eq!(http.get("/elsewhere").status, 404);

    let open = http.get("/socket.io/?EIO=4&transport=polling");
    assert!(open.text().starts_with(r#"0{"sid":"#));
}
