//! A server that is about to end lets its clients go in batches.

mod common;

use common::Fixture;
use sedge::extract::Ack;
use sedge::{DisconnectReason, Server};
use sedge_testkit::{RawHttp, SioClient};

#[test]
fn clients_are_closed_in_batches_and_new_ones_refused() {
    let server = Fixture::with(Server::builder().shards(3));
    let (note, notes) = common::notes();
    server.io.on("here?", async |ack: Ack| ack.send("here"));
    server.io.on_disconnect(async move |reason: DisconnectReason| {
        let _ = note.send(reason);
    });
    let mut clients: Vec<_> = (0..10).map(|_| server.client().0).collect();
    server.io.refuse_sessions(true);
    let refused = RawHttp::connect(server.address).get("/socket.io/?EIO=4&transport=polling");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));

    assert_eq!(server.wait(server.io.close_clients(4)), 4);
    for _ in 0..4 {
        assert_eq!(notes.next(), DisconnectReason::ServerShuttingDown);
    }
    // Those who were not meant notice nothing; the others see their transport close, and no packet
    // that would keep them from coming back.
    let mut closed = 0;
    for client in &mut clients {
        client.send(r#"21["here?"]"#);
        match client.receive_frame() {
            sedge_testkit::Frame::Closed => closed += 1,
            frame => assert_eq!(frame, sedge_testkit::Frame::Text("31[\"here\"]".to_owned())),
        }
    }
    assert_eq!((closed, server.io.session_count()), (4, 6));
    assert_eq!(server.wait(server.io.close_clients(100)), 6);
    assert_eq!(server.wait(server.io.close_clients(100)), 0);

    server.io.refuse_sessions(false);
    let (client, _) = SioClient::connect(server.address);
    client.close();
}
