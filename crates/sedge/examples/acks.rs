//! Acknowledgements in both directions, with time limits.
//!
//! ```js
//! const socket = io("http://127.0.0.1:3000");
//! socket.on("how old are you?", (answer) => answer(42));
//! console.log(await socket.emitWithAck("add", 1, 2));
//! console.log(await socket.emitWithAck("survey"));
//! ```
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use sedge::extract::{Ack, Data, TryData};
use sedge::{AckError, EmitError, Server, Socket};

#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

/// Asks one client. The question is out as soon as `emit_with_ack` returns.
async fn get_to_know(socket: Socket) -> Result<(), AckError> {
    let question = socket.timeout(Duration::from_secs(5)).emit_with_ack("how old are you?", &());
    match question.await {
        Ok(age) => {
            let age: u32 = age;
            println!("{} is {age}", socket.id());
            Ok(())
        }
        Err(AckError::Timeout) => {
            println!("{} does not say", socket.id());
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Asks everybody. Those who do not answer in time do not spoil the answers of the others.
async fn survey(io: Server, ack: Ack) -> Result<(), EmitError> {
    let question = io.timeout(Duration::from_secs(2)).emit_with_ack::<u32>("how old are you?", &());
    let (ages, silent) = match question.await {
        Ok(ages) => (ages, 0),
        Err(partial) => (partial.responses, partial.missing),
    };
    ack.send(&(ages, silent))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();

    let io = Server::new()?;
    io.on_connect(get_to_know);
    io.on("survey", survey);
    // A tuple is the list of arguments.
    io.on("add", async |Data((a, b)): Data<(f64, f64)>, ack: Ack| ack.send(&(a + b)));
    // A client may send anything. `TryData` is for handlers that want to say what is wrong with it.
    io.on("divide", async |TryData(numbers): TryData<(f64, f64)>, ack: Ack| match numbers {
        Ok((a, b)) => ack.send(&(true, a / b)),
        Err(error) => ack.send(&(false, error.to_string())),
    });
    // An acknowledgement can be sent at any time, or by anybody.
    io.on("sleep", async |Data(ms): Data<u64>, ack: Ack| {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(ms.min(10_000))).await;
            let _ = ack.send("good morning");
        });
    });

    let listening = io.listen(options.listen).await?;
    println!("listening on http://{}", listening.local_addr());
    tokio::signal::ctrl_c().await?;
    io.close(Duration::from_secs(5)).await;
    Ok(())
}
