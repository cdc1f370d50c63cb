//! HTTPS from certificate files.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use common::{Folder, Sedge, sedge};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

#[test]
fn health_is_answered_over_tls() {
    let serve: &[&str] = &["serve"];
    // A supervisor passes on what it cannot read.
    let cluster: &[&str] = &["cluster", "--workers", "2", "--run-dir", "run"];
    for command in [serve, cluster] {
        health_over_tls(command);
    }
}

fn health_over_tls(arguments: &[&str]) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let folder = Folder::new();
    let cert = folder.write("cert.pem", &made.cert.pem());
    let key = folder.write("key.pem", &made.signing_key.serialize_pem());
    let mut command = sedge(&folder);
    command.args(arguments);
    command.args(["--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key]);
    let server = Sedge::run_with(command, folder, "https");

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let stream = TcpStream::connect(server.address).expect("the server accepts");
    stream.set_read_timeout(Some(sedge_testkit::DEADLINE)).expect("a socket option");
    let mut stream = StreamOwned::new(connection, stream);
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("the server reads");
    let mut response = String::new();
    // The end may come without TLS's own goodbye; the length says that it is whole.
    let _ = stream.read_to_string(&mut response);
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with("{\"status\":\"ok\"}\n"), "{response}");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let certificate = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("one");
    let folder = Folder::new();
    let cert = folder.write("cert.pem", &certificate().cert.pem());
    let key = folder.write("key.pem", &certificate().signing_key.serialize_pem());
    let empty = folder.write("empty.pem", "");
    for (cert, key, words) in [
        (&cert, &key, "cert.pem and "),
        (&empty, &key, "empty.pem: there is no certificate in it"),
        (&cert, &empty, "empty.pem: "),
    ] {
        let output = sedge(&folder)
            .args(["check-config", "--tls-cert", cert, "--tls-key", key])
            .output()
            .expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}
