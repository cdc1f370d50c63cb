//! Binary data, alone and within other values.
//!
//! ```js
//! const socket = io("http://127.0.0.1:3000");
//! await socket.emitWithAck("store", { name: "a.bin", content: new Uint8Array([1, 2, 3]) });
//! const content = await socket.emitWithAck("fetch", "a.bin");
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use clap::Parser;
use sedge::extract::{Ack, Args, Data, State};
use sedge::{Server, Socket};

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

/// `Bytes` is binary in both directions, wherever it stands in a value.
#[derive(serde::Serialize, serde::Deserialize)]
struct File {
    name: String,
    content: Bytes,
}

#[derive(Default)]
struct Store(Mutex<HashMap<String, Bytes>>);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();

    // Up to 10 MB in one message, and a client that reads slowly may have 100 MB waiting.
    let io = Server::builder()
        .max_payload(10_000_000)
        .outbox_bytes_max(100_000_000)
        .state(Store::default())
        .build()?;

    io.on(
        "store",
        async |socket: Socket, State(store): State<Store>, Data(file): Data<File>, ack: Ack| {
            socket.broadcast().emit("stored", &file)?;
            let length = file.content.len();
            let mut files = store.0.lock().unwrap_or_else(PoisonError::into_inner);
            files.insert(file.name, file.content);
            drop(files);
            ack.send(&length)
        },
    );
    io.on("fetch", async |State(store): State<Store>, Data(name): Data<String>, ack: Ack| {
        let content = store.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        ack.send(&content)
    });
    // Whatever it is, it goes back as it came.
    io.on("echo", async |socket: Socket, args: Args| socket.emit("echo", &args));

    let listening = io.listen(options.listen).await?;
    println!("listening on http://{}", listening.local_addr());
    tokio::signal::ctrl_c().await?;
    io.close(std::time::Duration::from_secs(5)).await;
    Ok(())
}
