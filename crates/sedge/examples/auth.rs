//! Letting in only clients with a token, and saying why others stay out.
//!
//! ```js
//! const socket = io("http://127.0.0.1:3000/account", { auth: { token: "ada:open sesame" } });
//! socket.on("connect_error", (error) => console.log(error.message, error.data));
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::HashMap;
use std::net::SocketAddr;

use clap::Parser;
use sedge::extract::{Ack, Extension, State, TryAuth};
use sedge::{ConnectError, Server, Socket};

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

/// The users and their passwords. A real application asks its database, with `.await`.
struct Users(HashMap<&'static str, &'static str>);

struct User {
    name: String,
}

#[derive(serde::Deserialize)]
struct Credentials {
    token: String,
}

/// What a refused client finds in `error.data`.
#[derive(serde::Serialize)]
struct Hint {
    code: u16,
    hint: &'static str,
}

async fn authenticate(
    socket: Socket,
    State(users): State<Users>,
    TryAuth(credentials): TryAuth<Credentials>,
) -> Result<(), ConnectError> {
    let refuse = |hint| ConnectError::new("not authorized").data(&Hint { code: 401, hint });
    let credentials = credentials.map_err(|_| refuse("send a token"))?;
    let (name, password) = credentials
        .token
        .split_once(':')
        .ok_or_else(|| refuse("a token looks like name:password"))?;
    if users.0.get(name) != Some(&password) {
        return Err(refuse("no such user, or another password"));
    }
    socket.extensions().insert(User { name: name.to_owned() });
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();

    let users = Users([("ada", "open sesame"), ("grace", "hopper")].into());
    let io = Server::builder().state(users).build()?;

    let account = io.of("/account")?;
    account.middleware(authenticate);
    // From here on there is a user.
    account.on_connect(async |socket: Socket, user: Extension<User>| {
        // All devices of a user share a room.
        socket.join(format!("user:{}", user.name))?;
        Ok::<_, sedge::JoinRoomError>(())
    });
    account.on("whoami", async |user: Extension<User>, ack: Ack| ack.send(&user.name));
    account.on("log out everywhere", async |socket: Socket, user: Extension<User>| {
        let devices = socket.namespace().in_(format!("user:{}", user.name));
        devices.disconnect_sockets(true).await
    });

    let listening = io.listen(options.listen).await?;
    println!("listening on http://{}", listening.local_addr());
    tokio::signal::ctrl_c().await?;
    io.close(std::time::Duration::from_secs(5)).await;
    Ok(())
}
