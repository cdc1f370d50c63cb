//! Passing connections between workers that are all in this process.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::error::ClusterError;
use crate::limits::PASS_PART_BYTES;
use crate::passed::Stream;
use crate::worker::Connections;

struct Host(PathBuf);

impl Host {
    fn new(name: &str) -> Host {
        let path = std::env::temp_dir().join(format!("sedge-pass-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Host(path)
    }

    fn siblings(&self, own: u8) -> Siblings {
        Siblings::new(own, 3, self.0.clone())
    }

    /// A worker that takes connections, and the supervisor's end, which keeps it going.
    async fn worker(&self, own: u8) -> (Connections, std::os::fd::OwnedFd) {
        let (near, far) = fd::pair().unwrap();
        let opened: Result<Connections, ClusterError> =
            Connections::open(far, &self.siblings(own), None).await;
        (opened.unwrap(), near)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

fn connection(read: Bytes) -> (UnixStream, Passed) {
    let (client, server) = UnixStream::pair().unwrap();
    let stream = Stream::Unix(server);
    (client, Passed { stream, peer: None, secure: false, listener: 1, read })
}

#[tokio::test]
async fn a_connection_arrives_with_what_was_read() {
    let host = Host::new("arrives");
    let siblings = host.siblings(0);
    let (mut taken, _supervisor) = host.worker(1).await;
    for len in [0, 10, PASS_PART_BYTES * 3] {
        let read: Bytes = (0..len).map(|n| (n % 7) as u8).collect();
        let (mut client, passed) = connection(read.clone());
        let (sent, got) = tokio::join!(siblings.pass(1, passed), taken.next());
        sent.unwrap();
        let passed = got.unwrap();
        assert_eq!((passed.read, passed.listener), (read, 1));
        let Stream::Unix(mut server) = passed.stream else { panic!() };
        server.write_all(b"served").unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "served");
    }
}

#[tokio::test]
async fn what_cannot_be_passed_comes_back_unharmed() {
    let host = Host::new("back");
    let siblings = host.siblings(0);
    let long = Bytes::from(vec![0; PASSED_BYTES_MAX + 1]);
    for (to, read) in [(0, Bytes::new()), (1, Bytes::from("x")), (7, Bytes::new()), (1, long)] {
        let (mut client, passed) = connection(read.clone());
        let error = siblings.pass(to, passed).await.unwrap_err();
        let long = read.len() > PASSED_BYTES_MAX;
        assert_eq!(matches!(error.reason, PassReason::TooMuchRead), long, "{error}");
        assert_eq!(error.passed.read, read);
        let Stream::Unix(mut server) = error.passed.stream else { panic!() };
        server.write_all(b"still here").unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "still here");
    }
}

#[tokio::test]
async fn a_successor_is_found() {
    let host = Host::new("successor");
    let siblings = host.siblings(0);
    for _ in 0..2 {
        let (mut taken, _supervisor) = host.worker(1).await;
        let (_client, passed) = connection(Bytes::from("x"));
        siblings.pass(1, passed).await.unwrap();
        assert_eq!(taken.next().await.unwrap().read, "x");
        drop(taken);
        // Its tasks, which would have ended with the process, notice.
        let (_client, mut passed) = connection(Bytes::new());
        while let Ok(()) = siblings.pass(1, passed).await {
            tokio::task::yield_now().await;
            passed = connection(Bytes::new()).1;
        }
    }
    assert_eq!(siblings.count(), 3);
}

#[tokio::test]
async fn a_sibling_that_takes_nothing_is_full_after_a_while() {
    let host = Host::new("full");
    let siblings = host.siblings(0);
    let (_taken, _supervisor) = host.worker(1).await;
    let mut passing = tokio::task::JoinSet::new();
    let mut clients = Vec::new();
    for _ in 0..2000 {
        let (client, passed) = connection(Bytes::from(vec![0; 8000]));
        let siblings = siblings.clone();
        passing.spawn(async move { siblings.pass(1, passed).await });
        clients.push(client);
    }
    let mut taken = 0;
    let error = loop {
        match passing.join_next().await.unwrap().unwrap() {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error.reason, PassReason::Full), "{error}");
    assert!(taken > 10, "{taken}");
}

/// A sibling that ends at the worst moment: it has been sent a connection, and may even have received
/// it, but has not said that it serves it.
#[tokio::test]
async fn a_connection_that_a_sibling_had_not_taken_when_it_ended_comes_back() {
    let host = Host::new("ended");
    let siblings = host.siblings(0);
    for (received, read) in [(false, 10), (true, 10), (true, PASS_PART_BYTES * 2)] {
        let path = host.siblings(1).own_path();
        let _ = std::fs::remove_file(&path);
        let listener = fd::message_socket().unwrap();
        rustix::net::bind(&listener, &local::address(&path).unwrap()).unwrap();
        rustix::net::listen(&listener, 8).unwrap();
        let (mut client, passed) = connection(Bytes::from(vec![b'x'; read]));
        let ends = async {
            let far = Channel::new(rustix::net::accept(&listener).unwrap()).unwrap();
            drop(listener);
            let mut buffer = vec![0; PASS_PART_BYTES];
            if received {
                drop(crate::passed::receive(&far, &mut buffer).await.unwrap());
            }
        };
        let (done, ()) = tokio::join!(siblings.pass(1, passed), ends);
        let error = done.unwrap_err();
        assert!(matches!(error.reason, PassReason::Gone), "{error}");
        let Stream::Unix(mut server) = error.passed.stream else { panic!() };
        server.write_all(b"no such session").unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "no such session");
    }
}
