//! A chat with rooms and typing notices.
//!
//! Try it with the official client:
//!
//! ```js
//! const socket = io("http://127.0.0.1:3000", { auth: { name: "Ada" } });
//! socket.on("said", (name, text) => console.log(name, text));
//! socket.emit("enter", "lobby", (people) => socket.emit("say", "lobby", "hello"));
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser;
use sedge::extract::{Ack, Auth, Data, Extension};
use sedge::{ConnectError, DisconnectReason, EmitError, Namespace, Server, Socket};

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

#[derive(serde::Deserialize)]
struct Hello {
    name: String,
}

/// Who is behind a socket.
struct Person {
    name: String,
}

/// Nobody gets in without a name.
async fn introduce(socket: Socket, Auth(hello): Auth<Hello>) -> Result<(), ConnectError> {
    let name = hello.name.trim();
    if name.is_empty() || name.len() > 40 {
        return Err(ConnectError::new("a name of up to 40 bytes, please"));
    }
    // Others learn it through `fetch_sockets`, our own handlers through `Extension`.
    socket.set_data(name).map_err(|error| error.to_string())?;
    socket.extensions().insert(Person { name: name.to_owned() });
    Ok(())
}

async fn enter(
    socket: Socket,
    chat: Namespace,
    person: Extension<Person>,
    Data(room): Data<String>,
    ack: Ack,
) -> Result<(), Box<dyn std::error::Error>> {
    socket.join(&room)?;
    socket.to(&room).emit("entered", &(&room, &person.name))?;
    // Everybody in the room, on every shard.
    let people = chat.in_(&room).fetch_sockets().await?;
    let names: Vec<String> = people.iter().filter_map(|person| person.data().ok()).collect();
    Ok(ack.send(&names)?)
}

async fn say(
    socket: Socket,
    person: Extension<Person>,
    Data((room, text)): Data<(String, String)>,
) -> Result<(), EmitError> {
    socket.to(room).emit("said", &(&person.name, text))
}

/// Nobody minds if a typing notice is lost.
async fn typing(
    socket: Socket,
    person: Extension<Person>,
    Data(room): Data<String>,
) -> Result<(), EmitError> {
    socket.to(room).volatile().emit("typing", &person.name)
}

async fn leave(
    socket: Socket,
    person: Extension<Person>,
    reason: DisconnectReason,
) -> Result<(), EmitError> {
    // The socket has left its rooms, and still knows which they were.
    let rooms = socket.rooms().await;
    socket.to(rooms).emit("left", &(&person.name, reason.as_str()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let options = Options::parse();

    let io = Server::new()?;
    io.middleware(introduce);
    io.on_connect(async |person: Extension<Person>| println!("{} is here", person.name));
    io.on("enter", enter);
    io.on("say", say);
    io.on("typing", typing);
    io.on_disconnect(leave);

    let visits = Arc::new(std::sync::atomic::AtomicU64::new(0));
    io.on_connect(async move |socket: Socket| {
        // Closures may capture what they share.
        let count = visits.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        socket.emit("welcome", &count)
    });

    let listening = io.listen(options.listen).await?;
    println!("listening on http://{}", listening.local_addr());
    tokio::signal::ctrl_c().await?;
    io.close(std::time::Duration::from_secs(5)).await;
    Ok(())
}
