//! An axum application and Socket.IO on one port: a page, and a REST route that speaks to sockets.
//!
//! ```sh
//! curl -X POST http://127.0.0.1:3000/news -d 'It rains'
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use clap::Parser;
use sedge::extract::Data;
use sedge::{Server, Socket};

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

/// Handles of the server work anywhere, so also here.
async fn publish(State(io): State<Server>, text: String) -> StatusCode {
    match io.to("subscribers").emit("news", &text) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn count(State(io): State<Server>) -> String {
    format!("{} sockets\n", io.socket_count())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();

    let io = Server::new()?;
    io.on("subscribe", async |socket: Socket| socket.join("subscribers"));
    io.on("unsubscribe", async |socket: Socket| socket.leave("subscribers"));
    io.on("say", async |socket: Socket, Data(text): Data<String>| {
        socket.broadcast().emit("said", &text)
    });

    let app = Router::new()
        .route("/", get(async || "Socket.IO is at /socket.io/\n"))
        .route("/count", get(count))
        .route("/news", post(publish))
        .with_state(io.clone())
        .layer(io.layer());

    let listener = tokio::net::TcpListener::bind(options.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    io.close(std::time::Duration::from_secs(5)).await;
    Ok(())
}
