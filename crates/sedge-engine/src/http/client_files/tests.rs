//! The client's files as a browser asks for them.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderName;

use super::*;

/// A package directory that is removed when the test ends.
struct Package(PathBuf);

static PACKAGES: AtomicU32 = AtomicU32::new(0);

impl Package {
    /// A package with these files; `dist` is made in any case.
    fn new(files: &[(&str, &str)]) -> Package {
        let number = PACKAGES.fetch_add(1, Ordering::Relaxed);
        let name = format!("sedge-client-files-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(root.join("dist")).unwrap();
        for (path, content) in files {
            fs::write(root.join(path), content).unwrap();
        }
        Package(root)
    }

    fn load(&self) -> Result<ClientFiles, ClientFilesError> {
        ClientFiles::load(&self.0.join("dist"))
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const BANNER: &str = "/*!\n * Socket.IO v4.8.1\n * (c) 2014-2024 Guillermo Rauch\n */\n";
const JSON: &str =
    "{\n  \"name\": \"socket.io-client\",\n  \"version\": \"4.8.4\",\n  \"x\": 1\n}\n";

fn main_file() -> String {
    format!("{BANNER}{}", "function io() {}\n".repeat(500))
}

fn package() -> Package {
    Package::new(&[
        ("package.json", JSON),
        ("dist/socket.io.js", &main_file()),
        ("dist/socket.io.js.map", "{\"version\":3}"),
        ("dist/secret.txt", "no"),
    ])
}

fn get(files: &ClientFiles, name: &str, headers: &[(HeaderName, &str)]) -> Response<Bytes> {
    let headers = headers.iter().map(|(n, v)| (n.clone(), v.parse().unwrap())).collect();
    files.respond(&Method::GET, name, &headers).unwrap()
}

#[test]
fn a_file_is_served_with_the_official_headers() {
    let files = package().load().unwrap();
    let response = get(&files, "socket.io.js", &[]);
    assert_eq!(response.status(), 200);
    assert_eq!(response.body(), &main_file());
    let headers = response.headers();
    assert_eq!(headers["cache-control"], "public, max-age=0");
    assert_eq!(headers["content-type"], "application/javascript; charset=utf-8");
    assert_eq!(headers["etag"], "\"4.8.4\"");
    assert_eq!(headers["vary"], "Accept-Encoding");
    assert_eq!(headers["content-length"], main_file().len().to_string());
    assert!(!headers.contains_key("content-encoding"));
    let map = get(&files, "socket.io.js.map", &[]);
    assert_eq!(map.headers()["content-type"], "application/json; charset=utf-8");
}

#[test]
fn other_names_are_left_to_the_engine() {
    let files = package().load().unwrap();
    let none = HeaderMap::new();
    for name in
        ["", "secret.txt", "socket.io.min.js", "SOCKET.IO.JS", "../package.json", "x/socket.io.js"]
    {
        assert!(files.respond(&Method::GET, name, &none).is_none(), "{name}");
    }
    assert_eq!(files.names().collect::<Vec<_>>(), ["socket.io.js", "socket.io.js.map"]);
}

#[test]
fn a_known_version_is_not_sent_again() {
    let files = package().load().unwrap();
    for tags in ["\"4.8.4\"", "W/\"4.8.4\"", "*", "\"1\", W/\"4.8.4\""] {
        let response = get(&files, "socket.io.js", &[(IF_NONE_MATCH, tags)]);
        assert_eq!(response.status(), 304, "{tags}");
        assert!(response.body().is_empty());
        // RFC 9110 §15.4.5: what the full answer would have said about caching.
        assert_eq!(response.headers()["etag"], "\"4.8.4\"");
        assert_eq!(response.headers()["cache-control"], "public, max-age=0");
        assert!(!response.headers().contains_key("content-length"));
    }
    for tags in ["\"4.8.3\"", "4.8.4", "", "W/W/\"4.8.4\""] {
        let response = get(&files, "socket.io.js", &[(IF_NONE_MATCH, tags)]);
        assert_eq!(response.status(), 200, "{tags}");
    }
}

#[test]
fn files_are_compressed_once_as_the_client_accepts() {
    let files = package().load().unwrap();
    for (accepted, encoding) in [
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("deflate", "deflate"),
        ("br;q=0.1, gzip", "gzip"),
    ] {
        let first = get(&files, "socket.io.js", &[(ACCEPT_ENCODING, accepted)]);
        assert_eq!(first.headers()["content-encoding"], encoding);
        assert_eq!(first.headers()["content-length"], first.body().len().to_string());
        assert!(first.body().len() < main_file().len() / 4);
        let second = get(&files, "socket.io.js", &[(ACCEPT_ENCODING, accepted)]);
        assert_eq!(first.body().as_ptr(), second.body().as_ptr(), "kept, not made again");
    }
}

#[test]
fn what_compression_would_enlarge_is_sent_as_it_is() {
    let files = package().load().unwrap();
    let response = get(&files, "socket.io.js.map", &[(ACCEPT_ENCODING, "gzip")]);
    assert_eq!(response.body(), "{\"version\":3}");
    assert!(!response.headers().contains_key("content-encoding"));
}

#[test]
fn head_has_the_headers_alone_and_other_methods_are_refused() {
    let files = package().load().unwrap();
    let none = HeaderMap::new();
    let response = files.respond(&Method::HEAD, "socket.io.js", &none).unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.body().is_empty());
    assert_eq!(response.headers()["content-length"], main_file().len().to_string());
    let response = files.respond(&Method::POST, "socket.io.js", &none).unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET, HEAD");
}

#[test]
fn the_version_comes_from_the_package_the_banner_or_the_content() {
    assert_eq!(package().load().unwrap().version(), "4.8.4");
    let banner = Package::new(&[("dist/socket.io.js", &main_file())]);
    assert_eq!(banner.load().unwrap().version(), "4.8.1");
    let odd = Package::new(&[
        ("package.json", "{\n \"version\": \"\\\"; drop\"\n}"),
        ("dist/socket.io.js", &main_file()),
    ]);
    assert_eq!(odd.load().unwrap().version(), "4.8.1");
    let compact = Package::new(&[
        ("package.json", "{\"name\":\"socket.io-client\",\"version\":\"4.7.0\"}"),
        ("dist/socket.io.js", "no banner"),
    ]);
    let version = compact.load().unwrap().version().to_owned();
    assert_eq!(version.len(), 16, "a hash: {version}");
    let other = Package::new(&[("dist/socket.io.js", "no banner at all")]);
    assert_ne!(other.load().unwrap().version(), version);
}

#[test]
fn a_missing_client_says_how_to_get_it() {
    let error = Package::new(&[]).load().unwrap_err().to_string();
    assert!(error.contains("socket.io.js does not exist"), "{error}");
    assert!(error.contains("npm install socket.io-client"), "{error}");
    assert!(error.contains("node_modules/socket.io-client/dist"), "{error}");
    let missing = ClientFiles::load(Path::new("/nonexistent/dist"));
    assert!(matches!(missing, Err(ClientFilesError::NotFound { .. })));
}

#[test]
fn what_is_no_file_is_an_error() {
    let package = package();
    fs::create_dir(package.0.join("dist/socket.io.min.js")).unwrap();
    let error = package.load().unwrap_err();
    assert!(matches!(error, ClientFilesError::Unreadable { .. }), "{error}");
}
