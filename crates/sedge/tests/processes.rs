//! The bus between real processes: a list of more sockets than one message carries, and what a process misses
//! that does not read.
//!
//! Each test runs this program once more, as the supervisor of a cluster.
#![cfg(all(feature = "cluster", target_os = "linux"))]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sedge::extract::{Ack, Data, State};
use sedge::{ListenOptions, Server, Socket};
use sedge_cluster::{Cluster, Worker};
use sedge_testkit::{DEADLINE, SioClient, eventually};

/// Of one socket's data. Three hundred of them are more than the 16 MiB that a message may have.
const DATA_BYTES: usize = 64 * 1024;
const SOCKETS: usize = 300;

/// A peer that takes nothing for as long is cut off.
const STALL: Duration = Duration::from_millis(500);

/// What every client is told of its worker.
struct Place {
    worker: u8,
    pid: u32,
}

fn add_handlers(io: &Server) {
    io.on("place", async |State(place): State<Place>, ack: Ack| {
        ack.send(&(format!("{} {}", place.worker, place.pid),))
    });
    io.on("data", async |socket: Socket, ack: Ack| {
        socket.set_data(&"x".repeat(DATA_BYTES)).expect("a text");
        socket.join("all").expect("within the limits");
        ack.send(&())
    });
    io.on("list", async |io: Server, ack: Ack| {
        let listed = io.in_("all").timeout(DEADLINE).fetch_sockets().await;
        ack.send(&match listed {
            Ok(sockets) => {
                let data =
                    |socket: &sedge::RemoteSocket| socket.data::<String>().map_or(0, |d| d.len());
                format!("{} {}", sockets.len(), sockets.iter().map(data).sum::<usize>())
            }
            Err(error) => error.to_string(),
        })
    });
    io.on("flood", async |socket: Socket, Data(bytes): Data<usize>| {
        socket.broadcast().to("flooded").emit("n", &"x".repeat(bytes))
    });
    io.on("flooded", async |socket: Socket, ack: Ack| {
        socket.join("flooded").expect("within the limits");
        ack.send(&())
    });
    io.on("bus", async |io: Server, ack: Ack| {
        let bus = io.metrics().bus.expect("it has one");
        ack.send(&format!("{} {} {}", bus.peers, bus.refused, bus.lost))
    });
}

/// Not a test: what [`Host`] runs.
#[test]
#[ignore = "a process of the tests beside it"]
fn supervisor() {
    let run_dir = std::env::var("RUN_DIR").expect("run by a test");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = Cluster::builder()
        .listen("127.0.0.1:0".parse::<SocketAddr>().expect("an address"))
        .workers(2)
        .run_dir(run_dir)
        .bus(16 << 20, 32 << 20, STALL)
        .heartbeat(Duration::from_secs(1), 600)
        .on_serving(|addresses| eprintln!("SERVING {}", addresses[0]))
        .run(async |worker: Worker| {
            let place = Place { worker: worker.index(), pid: std::process::id() };
            let io = Server::builder().cluster(&worker).state(place).build()?;
            add_handlers(&io);
            io.serve_worker(worker, ListenOptions::new()).await?;
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    let ended = runtime.expect("a runtime").block_on(ended).expect("a cluster");
    std::process::exit(ended.code());
}

/// A cluster of two workers.
struct Host {
    child: Child,
    run_dir: PathBuf,
    address: SocketAddr,
}

/// A client, and who serves it.
struct Client {
    socket: SioClient,
    worker: String,
    pid: String,
}

impl Host {
    fn start(name: &str) -> Host {
        let run_dir = std::env::temp_dir().join(format!("sedge-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&run_dir);
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "supervisor", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env("RUN_DIR", &run_dir).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let address = lines.find_map(|line| line.ok()?.split_once("SERVING ")?.1.parse().ok());
        // Somebody has to read what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        Host { child, run_dir, address: address.expect("an address") }
    }

    fn client(&self) -> Client {
        let (mut client, _) = SioClient::connect(self.address);
        let place = ask(&mut client, "place");
        let (worker, pid) = place.split_once(' ').expect("a place");
        Client { socket: client, worker: worker.to_owned(), pid: pid.to_owned() }
    }

    /// A client of each worker.
    fn clients(&self) -> [Client; 2] {
        let mut spare = Vec::new();
        let mut on = |worker: &str| loop {
            assert!(spare.len() < 40, "new sessions go to whoever has fewest");
            let client = self.client();
            if client.worker == worker {
                return client;
            }
            spare.push(client);
        };
        ["0", "1"].map(&mut on)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        signal(&self.child.id().to_string(), "TERM");
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.run_dir);
    }
}

fn signal(pid: &str, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, pid]).status();
    assert!(sent.expect("kill").success());
}

/// Asks for one text.
fn ask(client: &mut SioClient, event: &str) -> String {
    client.send(&format!(r#"27["{event}"]"#));
    let answer = client.receive();
    let text = answer.strip_prefix(r#"37[""#).and_then(|text| text.strip_suffix(r#""]"#));
    text.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Peers, and messages refused and lost.
fn bus(client: &mut SioClient) -> [u64; 3] {
    let text = ask(client, "bus");
    let numbers: Vec<u64> =
        text.split(' ').map(|number| number.parse().expect("a number")).collect();
    numbers.try_into().expect("three of them")
}

#[test]
fn a_process_lists_more_sockets_than_one_message_carries() {
    let host = Host::start("list");
    let mut clients: Vec<_> = (0..SOCKETS).map(|_| host.client()).collect();
    for client in &mut clients {
        client.socket.expect_nothing_but(r#"28["data"]"#, "38[]");
    }
    let all = format!("{SOCKETS} {}", SOCKETS * DATA_BYTES);
    for worker in ["0", "1"] {
        let asks = clients.iter_mut().find(|client| client.worker == worker);
        assert_eq!(ask(&mut asks.expect("clients on both").socket, "list"), all);
    }
}

#[test]
fn what_a_process_misses_that_does_not_read_is_counted() {
    let host = Host::start("lost");
    let [mut sender, mut stopped] = host.clients();
    stopped.socket.expect_nothing_but(r#"28["flooded"]"#, "38[]");
    assert_eq!(bus(&mut sender.socket)[0], 1);
    signal(&stopped.pid, "STOP");
    // More than the sockets between them hold, and less than the queue.
    for _ in 0..40 {
        sender.socket.send(r#"2["flood",500000]"#);
    }
    let cut_off = eventually(DEADLINE, || bus(&mut sender.socket)[0] == 0);
    let [peers, refused, lost] = bus(&mut sender.socket);
    assert!(cut_off && refused == 0 && (1..=40).contains(&lost), "{peers} {refused} {lost}");
    signal(&stopped.pid, "CONT");
    assert!(eventually(DEADLINE, || bus(&mut sender.socket)[0] == 1), "they meet again");
    // What its sockets held is there, and the rest is not; what is sent now is.
    sender.socket.send(r#"2["flood",3]"#);
    let mut got = 0;
    while stopped.socket.receive() != r#"2["n","xxx"]"# {
        got += 1;
    }
    assert!(got + lost <= 40, "{got} came, {lost} are lost");
}
