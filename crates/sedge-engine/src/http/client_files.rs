//! The JavaScript client, served from memory as `/socket.io/socket.io.js` and its variants, like the
//! official server's `serveClient` option.
//!
//! The files are those of the npm package `socket.io-client`, read once at start-up. Each compressed
//! form is made when it is first asked for and then kept.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use thiserror::Error;

use super::compress::{Encoding, compress, negotiate_among};
use crate::limits::{CLIENT_FILE_BYTES_MAX, DEFAULT_COMPRESSION_LEVEL};

/// The file that must exist.
const MAIN: &str = "socket.io.js";

/// The files that are served if they exist, as in the official server.
const NAMES: [&str; 8] = [
    MAIN,
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

/// The client's files.
pub struct ClientFiles {
    version: Box<str>,
    etag: HeaderValue,
    files: Vec<ClientFile>,
}

struct ClientFile {
    name: &'static str,
    content: Bytes,
    /// One for each of [`Encoding::FOR_FILES`]; the inner `None` means that it does not pay.
    compressed: [OnceLock<Option<Bytes>>; Encoding::FOR_FILES.len()],
}

impl ClientFiles {
    /// Reads the files from the `dist` directory of the npm package `socket.io-client`. The version,
    /// which becomes the `ETag`, is that of `package.json` next to the directory, or that of the
    /// banner in `socket.io.js`, or else made from the content.
    pub fn load(dist: &Path) -> Result<ClientFiles, ClientFilesError> {
        let mut files = Vec::with_capacity(NAMES.len());
        for name in NAMES {
            let path = dist.join(name);
            match read_file(&path) {
                Ok(content) => files.push(ClientFile {
                    name,
                    content,
                    compressed: [const { OnceLock::new() }; Encoding::FOR_FILES.len()],
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound && name != MAIN => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(ClientFilesError::NotFound { path });
                }
                Err(error) => return Err(ClientFilesError::Unreadable { path, error }),
            }
        }
        // The first file is the main one, or the loop would have ended with an error.
        let main = files.first().map(|file| file.content.clone()).unwrap_or_default();
        let version = package_version(dist)
            .or_else(|| banner_version(&main))
            .unwrap_or_else(|| content_version(&files));
        let etag = HeaderValue::try_from(format!("\"{version}\""))
            .expect("a version has only letters, digits and a few signs");
        Ok(ClientFiles { version: version.into(), etag, files })
    }

    /// The version of the client, as in its `ETag`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The names of the files that are served.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name)
    }

    /// Answers a request for the file of this name (what follows the engine's path, without the query
    /// string), or returns `None` if there is none. CORS headers are the caller's to add.
    pub(crate) fn respond(
        &self,
        method: &Method,
        file_name: &str,
        headers: &HeaderMap,
    ) -> Option<Response<Bytes>> {
        let file = self.files.iter().find(|file| file.name == file_name)?;
        // The official server sends the file whatever the method is.
        if method != Method::GET && method != Method::HEAD {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        let mut response = Response::new(Bytes::new());
        let out = response.headers_mut();
        out.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
        out.insert(ETAG, self.etag.clone());
        out.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if self.is_known(headers) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Some(response);
        }
        out.insert(CONTENT_TYPE, content_type(file.name));
        let accepted = headers.get(ACCEPT_ENCODING).and_then(|accepted| accepted.to_str().ok());
        let encoding = negotiate_among(Encoding::FOR_FILES, accepted);
        let body = match encoding.and_then(|encoding| file.compressed(encoding)) {
            Some((encoding, body)) => {
                out.insert(CONTENT_ENCODING, encoding.header_value());
                body
            }
            None => &file.content,
        };
        out.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if method == Method::GET {
            *response.body_mut() = body.clone();
        }
        Some(response)
    }

    /// Whether the client has this version already (RFC 9110 §13.1.2; the comparison is weak).
    fn is_known(&self, headers: &HeaderMap) -> bool {
        let known = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag;
        headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|tags| tags.split(',').map(str::trim))
            .any(known)
    }
}

impl ClientFile {
    /// The content in this encoding, unless that would be no smaller.
    fn compressed(&self, encoding: Encoding) -> Option<(Encoding, &Bytes)> {
        let index = Encoding::FOR_FILES.iter().position(|offered| *offered == encoding)?;
        let content = self.compressed.get(index)?.get_or_init(|| {
            compress(encoding, DEFAULT_COMPRESSION_LEVEL, &self.content).map(Bytes::from)
        });
        content.as_ref().map(|content| (encoding, content))
    }
}

impl fmt::Debug for ClientFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientFiles")
            .field("version", &self.version)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

fn content_type(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit_once('.') {
        Some((_, "map")) => "application/json; charset=utf-8",
        _ => "application/javascript; charset=utf-8",
    })
}

/// Reads a file of at most [`CLIENT_FILE_BYTES_MAX`] bytes.
fn read_file(path: &Path) -> io::Result<Bytes> {
    let mut content = Vec::new();
    File::open(path)?.take(CLIENT_FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > CLIENT_FILE_BYTES_MAX {
        let limit = format!("it has more than {CLIENT_FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, limit));
    }
    Ok(content.into())
}

/// The version in `package.json` next to the directory. The file is npm's own and its top-level
/// `"version"` stands on a line of its own, so it is found without reading JSON in full; anything
/// else finds none.
fn package_version(dist: &Path) -> Option<String> {
    let json = read_file(&dist.join("../package.json")).ok()?;
    let json = std::str::from_utf8(&json).ok()?;
    let value = json
        .lines()
        .find_map(|line| line.trim().strip_prefix("\"version\"")?.trim_start().strip_prefix(':'))?;
    let version = value.trim().trim_end_matches(',').trim_matches('"');
    is_version(version).then(|| version.to_owned())
}

/// The version in the comment at the top of the file: `Socket.IO v4.8.1`.
fn banner_version(main: &[u8]) -> Option<String> {
    // The banner is within the first lines; 1 kB is plenty.
    let head = String::from_utf8_lossy(main.get(..1024).unwrap_or(main)).into_owned();
    let (_, rest) = head.split_once("Socket.IO v")?;
    let version = rest.split(|c: char| !is_version_char(c)).next()?;
    is_version(version).then(|| version.to_owned())
}

/// A name for a content without a version.
fn content_version(files: &[ClientFile]) -> String {
    let mut hash = crate::fnv::Fnv::new();
    for file in files {
        hash.write(file.name.as_bytes());
        hash.write(&file.content);
    }
    format!("{:016x}", hash.finish())
}

fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(is_version_char)
}

/// The characters of a semantic version.
fn is_version_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+')
}

/// Why the client cannot be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientFilesError {
    /// The main file is missing.
    #[error(
        "{} does not exist: run `npm install socket.io-client` and give the directory \
         `node_modules/socket.io-client/dist`", path.display()
    )]
    NotFound {
        /// The path of the file.
        path: PathBuf,
    },
    /// A file exists but cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

#[cfg(test)]
mod tests;
