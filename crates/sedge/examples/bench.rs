//! The application that the benchmarks load: echo, acknowledgements, binary, broadcasts and rooms.
//!
//!     PORT=3000 cargo run --release -p sedge --example bench
//!
//! `SHARDS` sets the number of threads, one by default.

#![expect(clippy::print_stdout, reason = "whoever starts it waits for the address")]

use bytes::Bytes;
use sedge::extract::{Ack, Data};
use sedge::{Server, Socket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<usize>()).transpose();
    let port = number("PORT")?.ok_or("PORT is not set")?;
    let io = Server::builder().shards(number("SHARDS")?.unwrap_or(1)).build()?;

    io.on("echo", async |socket: Socket, Data(text): Data<String>| socket.emit("echo", &text));
    io.on("ack", async |Data(text): Data<String>, ack: Ack| ack.send(&text));
    io.on("binary", async |socket: Socket, Data(data): Data<Bytes>| socket.emit("binary", &data));
    io.on("broadcast", async |io: Server, Data(text): Data<String>| io.emit("broadcast", &text));
    io.on("join", async |socket: Socket, Data(room): Data<String>, ack: Ack| {
        if let Err(error) = socket.join(room) {
            eprintln!("{error}");
        }
        ack.send(&())
    });
    io.on("room", async |io: Server, Data((room, text)): Data<(String, String)>| {
        io.to(room).emit("room", &text)
    });

    let listening = io.listen(format!("127.0.0.1:{port}").parse()?).await?;
    println!("listening on http://{}", listening.local_addr());
    std::future::pending::<()>().await;
    Ok(())
}
