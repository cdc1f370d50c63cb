//! What is left of a server when nobody has a handle on it any more: nothing.

mod common;

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use sedge::memory::MemoryCluster;
use sedge::{Server, Socket};
use sedge_testkit::{DEADLINE, SioClient, eventually};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn the_last_handle_ends_the_server() {
    let members = MemoryCluster::new();
    let server = |name: &str| {
        let bus = Arc::new(members.member(name));
        Server::builder().shards(2).bus(bus)
    };
    let witness = server("witness").build().expect("valid options");
    let peers = || witness.metrics().bus.expect("it has one").peers;
    let state = Arc::new("state");
    let io = server("subject").state(Arc::clone(&state)).build().expect("valid options");
    io.on("where", async |socket: Socket, io: Server| {
        socket.emit("here", &io.shard_count()).expect("connected");
    });
    io.on("wait", async |_: Socket| std::future::pending::<()>().await);
    assert!(eventually(DEADLINE, || peers() == 1));
    let local = "127.0.0.1:0".parse().expect("an address");
    let address = runtime().block_on(io.listen(local)).expect("a free port").local_addr();
    let (mut client, _) = SioClient::connect(address);
    client.send(r#"2["wait"]"#);
    client.expect_nothing_but(r#"2["where"]"#, r#"2["here",2]"#);

    let (another, chat) = (io.clone(), io.of("/chat").expect("a valid name"));
    drop(io);
    client.expect_nothing_but(r#"2["where"]"#, r#"2["here",2]"#);
    drop(another);
    client.expect_end();
    assert!(eventually(DEADLINE, || TcpStream::connect(address).is_err()), "the port is free");
    assert!(eventually(DEADLINE, || peers() == 0), "the bus has been left");
    assert!(chat.emit("nobody", &()).is_err(), "a namespace does not keep it running");
    assert_eq!(chat.server().shard_count(), 2, "and gives what is left of it");
    drop(chat);
    assert!(eventually(DEADLINE, || Arc::strong_count(&state) == 1), "nothing is left");
    runtime().block_on(witness.close(Duration::from_secs(1)));
}

#[test]
fn a_layer_is_a_handle() {
    let io = Server::builder().shards(1).build().expect("valid options");
    let layer = io.layer();
    let chat = io.of("/chat").expect("a valid name");
    drop(io);
    assert_eq!(chat.emit("nobody", &()), Ok(()));
    drop(layer);
    assert!(eventually(DEADLINE, || chat.emit("nobody", &()).is_err()));
}
