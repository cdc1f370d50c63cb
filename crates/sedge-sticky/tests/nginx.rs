//! The hashes that nginx has too place clients exactly as a running nginx does.
//!
//! One nginx with an upstream of each kind says for many addresses which server it would take. The
//! servers are closed ports on the loopback, so each answer is 502; what counts is the header that
//! names the upstream.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sedge_sticky::{Availability, Config, Decision, Hash, Reason, Request, Router, Target};

/// How long nginx may take to start or to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests that are sent before their answers are read.
const BATCH: usize = 50;

/// A server as nginx's configuration has it: name, weight, whether it is down.
type Server = (&'static str, u32, bool);

/// What is compared: different names, weights, and servers that are down.
const UPSTREAMS: [&[Server]; 5] = [
    &[("127.77.0.1:9", 1, false), ("127.77.0.2:9", 1, false)],
    &[
        ("127.77.0.1:9001", 1, false),
        ("127.77.0.1:9002", 1, false),
        ("127.77.0.1:9003", 1, false),
        ("127.77.0.1:9004", 1, false),
        ("127.77.0.1:9005", 1, false),
    ],
    &[("127.77.0.1:9001", 1, false), ("127.77.0.2:9001", 3, false), ("127.77.0.3:9001", 7, false)],
    &[
        ("127.77.0.1:9001", 2, false),
        ("127.77.0.2:9001", 1, true),
        ("127.77.0.3:9001", 1, false),
        ("127.77.0.4:9001", 3, false),
    ],
    &[
        ("unix:/nowhere/a.sock", 1, false),
        ("unix:/nowhere/b.sock", 2, false),
        ("[::1]:9", 1, false),
    ],
];

const HASHES: [(Hash, &str); 2] =
    [(Hash::IpHash, "ip_hash"), (Hash::Consistent, "hash $remote_addr consistent")];

/// nginx in a directory of its own; dropping it ends it.
struct Nginx {
    process: Child,
    folder: PathBuf,
}

impl Nginx {
    /// `None` if there is no nginx on this machine.
    fn start() -> Option<Nginx> {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        std::fs::write(folder.join("nginx.conf"), configuration(&folder))
            .expect("it can be written");
        // Debian has it where only root's path leads.
        let process = ["nginx", "/usr/sbin/nginx"].into_iter().find_map(|program| {
            let mut command = Command::new(program);
            command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "error.log"]);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            match command.spawn() {
                Ok(process) => Some(process),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => panic!("{program}: {error}"),
            }
        });
        let Some(process) = process else {
            let _ = std::fs::remove_dir_all(folder);
            return None;
        };
        Some(Nginx { process, folder })
    }

    fn connect(&mut self) -> Connection {
        let step = Duration::from_millis(10);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if let Ok(stream) = UnixStream::connect(self.folder.join("front.sock")) {
                stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
                return Connection(BufReader::new(stream));
            }
            if let Some(status) = self.process.try_wait().expect("our child") {
                let log = std::fs::read_to_string(self.folder.join("error.log"));
                panic!("nginx ended with {status}: {}", log.unwrap_or_default());
            }
            std::thread::sleep(step);
        }
        panic!("nginx did not start in {PATIENCE:?}");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    let mut text = format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log crit;
         events {{ worker_connections 512; }}
         http {{
           access_log off; keepalive_requests 1000000;
           client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
           fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
           set_real_ip_from unix:; real_ip_header X-Real-IP;
           proxy_next_upstream off;
           add_header X-Upstream $upstream_addr always;\n"
    );
    let mut locations = String::new();
    for (list, servers) in UPSTREAMS.iter().enumerate() {
        for (hash, directive) in HASHES {
            let _ = write!(text, "upstream {hash}-{list} {{ {directive};");
            for (name, weight, down) in *servers {
                let down = if *down { "down" } else { "" };
                let _ = write!(text, " server {name} weight={weight} max_fails=0 {down};");
            }
            text.push_str(" }\n");
            let _ = writeln!(
                locations,
                "location /{hash}-{list} {{ proxy_pass http://{hash}-{list}; }}"
            );
        }
    }
    let _ = write!(text, "server {{ listen unix:{folder}/front.sock;\n{locations} }} }}");
    text
}

/// One connection that carries all requests.
struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Which servers nginx takes for these addresses.
    fn ask(&mut self, path: &str, addresses: &[IpAddr]) -> Vec<String> {
        let mut requests = String::new();
        for address in addresses {
            let _ =
                write!(requests, "GET /{path} HTTP/1.1\r\nHost: a\r\nX-Real-IP: {address}\r\n\r\n");
        }
        self.0.get_mut().write_all(requests.as_bytes()).expect("nginx reads");
        addresses.iter().map(|_| self.answer()).collect()
    }

    fn answer(&mut self) -> String {
        let (mut upstream, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("nginx answers"), 0, "nginx closed");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap_or_default();
            match name {
                "X-Upstream" => upstream = Some(value.to_owned()),
                "Content-Length" => length = value.parse().expect("a number"),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut self.0, &mut body).expect("the body follows");
        upstream.expect("nginx says which server it took")
    }
}

/// Addresses of all kinds, among them some that are written in an unusual way. Not among them is
/// 255.255.255.255, which nginx takes for a parsing error in a header.
fn addresses() -> Vec<IpAddr> {
    let mut state = 1_u64;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let mut addresses: Vec<IpAddr> = [
        "0.0.0.0",
        "255.255.255.254",
        "::",
        "::1",
        "::2",
        "::102",
        "::1.2.3.4",
        "1::",
        "1:0:0:2::",
    ]
    .map(|text| text.parse().expect("an address"))
    .into();
    for _ in 0..600 {
        addresses.push(Ipv4Addr::from_bits(random()).into());
    }
    for _ in 0..400 {
        // Some groups are zero, so that they are left out of the text.
        let zeros = random();
        let groups =
            std::array::from_fn(|at| if zeros >> at & 1 == 1 { 0 } else { random() as u16 });
        addresses.push(Ipv6Addr::from_segments(groups).into());
    }
    addresses
}

fn router(hash: Hash, servers: &[Server]) -> Router {
    let mut router = Router::new(Config { hash: Some(hash), ..Config::default() }).expect("valid");
    for (name, weight, down) in servers {
        let availability = if *down { Availability::Down } else { Availability::Up };
        let target = Target::new(*name).weight(*weight).availability(availability);
        router.add(target).expect("valid");
    }
    router
}

fn place(router: &mut Router, address: IpAddr) -> String {
    let request = Request { peer: Some(address), ..Request::default() };
    let Decision::To(route) = router.decide(&request, 0) else { panic!("no target") };
    assert_eq!(route.reason, Reason::Hash);
    router.status(route.target).expect("it is there").name.to_owned()
}

#[test]
fn clients_are_placed_as_nginx_places_them() {
    let Some(mut nginx) = Nginx::start() else {
        eprintln!("skipped: nginx is not installed (apt-get install nginx-light)");
        return;
    };
    let mut connection = nginx.connect();
    let addresses = addresses();
    for (list, servers) in UPSTREAMS.iter().enumerate() {
        for (hash, _) in HASHES {
            let mut router = router(hash, servers);
            for batch in addresses.chunks(BATCH) {
                let theirs = connection.ask(&format!("{hash}-{list}"), batch);
                for (address, theirs) in batch.iter().zip(theirs) {
                    assert_eq!(
                        place(&mut router, *address),
                        theirs,
                        "{address} {hash} {servers:?}"
                    );
                }
            }
        }
    }
}
