//! Your own program as a cluster: many worker processes on one port.
//!
//! Open several clients; each may be served by another process, and they still talk:
//!
//! ```js
//! const socket = io("http://127.0.0.1:3000");
//! socket.on("served by", (worker, pid) => console.log(`worker ${worker}, process ${pid}`));
//! socket.on("said", (room, text, worker) => console.log(room, text, worker));
//! socket.on("announced", console.log);
//! socket.on("motto", console.log);
//! socket.emit("enter", "lobby", (people) => socket.emit("say", "lobby", "hello"));
//! socket.emit("load", console.log); // how many clients each worker has
//! socket.emit("set motto", "slow is smooth");
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Parser;
use sedge::extract::{Ack, Data, State};
use sedge::{EmitError, ListenOptions, Namespace, Server, Socket};
use sedge_cluster::{Cluster, Worker};

type Error = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// How many workers there are.
    #[arg(long, default_value = "2")]
    workers: u16,
    /// Where the processes' own sockets are: `sedge status --run-dir` finds the cluster there.
    /// Left out, it is chosen by the port, as `sedge status --listen` does.
    #[arg(long)]
    run_dir: Option<PathBuf>,
}

/// What one worker knows. Another process has another one of these.
struct Here {
    worker: u8,
    motto: Mutex<String>,
}

impl Here {
    fn motto(&self) -> MutexGuard<'_, String> {
        self.motto.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first thing a client hears is who serves it. Others learn it by `fetch_sockets`.
async fn welcome(socket: Socket, State(here): State<Here>) -> Result<(), Error> {
    socket.set_data(&here.worker)?;
    socket.emit("served by", &(here.worker, std::process::id()))?;
    Ok(socket.emit("motto", &*here.motto())?)
}

/// A room has members on all workers: they are told and counted as if there were only one.
async fn enter(
    socket: Socket,
    nsp: Namespace,
    Data(room): Data<String>,
    ack: Ack,
) -> Result<(), Error> {
    socket.join(&room)?;
    socket.to(&room).emit("entered", &(&room, socket.id()))?;
    let sockets = nsp.in_(room).fetch_sockets().await?;
    let people: Vec<(&str, Option<u8>)> =
        sockets.iter().map(|socket| (socket.id(), socket.data().ok())).collect();
    Ok(ack.send(&[people])?)
}

async fn say(
    socket: Socket,
    State(here): State<Here>,
    Data((room, text)): Data<(String, String)>,
) -> Result<(), EmitError> {
    socket.server().to(&room).emit("said", &(&room, text, here.worker))
}

/// Without a room: to everybody, on every worker. It goes to each of them once, however many clients it has.
async fn announce(io: Server, Data(text): Data<String>) -> Result<(), EmitError> {
    io.emit("announced", &text)
}

/// A question to the other processes themselves. One that ends meanwhile is not waited for: the error
/// says who is missing, and has the answers of the others.
async fn load(io: Server, State(here): State<Here>, ack: Ack) -> Result<(), Error> {
    let asked = io.server_side_emit_with_ack("load", &()).await;
    let mut load: Vec<(u8, u64)> = asked.unwrap_or_else(|incomplete| incomplete.responses);
    load.push((here.worker, io.socket_count()));
    load.sort_unstable();
    Ok(ack.send(&[load])?)
}

/// Sets what newcomers are told: here and, by an event among processes, on all other workers.
async fn set_motto(
    io: Server,
    State(here): State<Here>,
    Data(motto): Data<String>,
) -> Result<(), EmitError> {
    io.server_side_emit("motto", &motto)?;
    *here.motto() = motto;
    Ok(())
}

/// The life of one worker.
async fn work(worker: Worker) -> Result<(), Error> {
    let here = Here { worker: worker.index(), motto: Mutex::default() };
    let io = Server::builder().cluster(&worker).state(here).build()?;
    io.on_connect(welcome);
    io.on("enter", enter);
    io.on("say", say);
    io.on("announce", announce);
    io.on("load", load);
    io.on("set motto", set_motto);
    io.on_server_side("motto", async |State(here): State<Here>, Data(motto): Data<String>| {
        *here.motto() = motto;
    });
    io.on_server_side("load", async |io: Server, State(here): State<Here>, ack: Ack| {
        ack.send(&[(here.worker, io.socket_count())])
    });
    // Until the cluster ends or replaces this worker; its clients are then closed in order.
    io.serve_worker(worker, ListenOptions::new()).await?;
    Ok(())
}

/// What stands in front of `run` happens in every process: the workers are this program, started again.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Error> {
    tracing_subscriber::fmt::init();
    let options = Options::parse();
    let mut cluster = Cluster::builder()
        .listen(options.listen)
        .workers(options.workers)
        .on_serving(|addresses| println!("listening on http://{}", addresses.join(", http://")));
    if let Some(directory) = options.run_dir {
        cluster = cluster.run_dir(directory);
    }
    // Ctrl-C ends it in order.
    Ok(cluster.run(work).await?.into())
}
