//! The application that the benchmarks load: echo, acknowledgements, binary, broadcasts and rooms.
//!
//!     PORT=3000 cargo run --release -p sedge --example bench
//!
//! `SHARDS` sets the number of threads, one by default. `WORKERS` makes it a cluster of so many
//! processes on the port, with `--features cluster`.

#![expect(clippy::print_stdout, reason = "whoever starts it waits for the address")]

use std::net::SocketAddr;

use bytes::Bytes;
use sedge::extract::{Ack, Data};
use sedge::{Server, Socket};

type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let address = SocketAddr::from(([127, 0, 0, 1], number("PORT")?.ok_or("PORT is not set")?));
    let shards = number("SHARDS")?.unwrap_or(1);
    if let Some(workers) = number("WORKERS")? {
        return cluster(address, workers, shards.into()).await;
    }
    let io = Server::builder().shards(shards.into()).build()?;
    handlers(&io);
    let listening = io.listen(address).await?;
    println!("listening on http://{}", listening.local_addr());
    std::future::pending::<()>().await;
    Ok(())
}

fn number(name: &str) -> Result<Option<u16>, Error> {
    Ok(std::env::var(name).ok().map(|value| value.parse()).transpose()?)
}

#[cfg(all(feature = "cluster", target_os = "linux"))]
async fn cluster(address: SocketAddr, workers: u16, shards: usize) -> Result<(), Error> {
    let run_dir = std::env::temp_dir().join(format!("sedge-bench-{}", address.port()));
    let ended = sedge_cluster::Cluster::builder()
        .listen(address)
        .workers(workers)
        .run_dir(run_dir)
        .on_serving(|addresses| println!("listening on http://{}", addresses.join(" ")))
        .run(async |worker| {
            let io = Server::builder().cluster(&worker).shards(shards).build()?;
            handlers(&io);
            io.serve_worker(worker, sedge::ListenOptions::new()).await?;
            Ok::<_, Error>(())
        })
        .await?;
    std::process::exit(ended.code());
}

#[cfg(not(all(feature = "cluster", target_os = "linux")))]
fn cluster(_: SocketAddr, _: u16, _: usize) -> std::future::Ready<Result<(), Error>> {
    std::future::ready(Err("WORKERS needs the feature `cluster`, and Linux".into()))
}

fn handlers(io: &Server) {
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
}
