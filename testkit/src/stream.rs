//! The byte stream under a client: plain TCP, or whatever an [`Endpoint`] wraps around it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::wait::DEADLINE;

/// Anything that can be read and written.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Wraps a TCP stream, for example in TLS.
pub type Wrap = Arc<dyn Fn(TcpStream) -> Box<dyn Stream> + Send + Sync>;

/// Where a server is and what its connections are wrapped in.
#[derive(Clone)]
pub struct Endpoint {
    address: SocketAddr,
    wrap: Option<Wrap>,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint { address, wrap: None }
    }
}

impl From<&Endpoint> for Endpoint {
    fn from(endpoint: &Endpoint) -> Endpoint {
        endpoint.clone()
    }
}

impl Endpoint {
    /// A server whose connections are wrapped.
    pub fn wrapped(address: SocketAddr, wrap: Wrap) -> Endpoint {
        Endpoint { address, wrap: Some(wrap) }
    }

    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects. Every read and write ends at the [`DEADLINE`].
    pub fn connect(&self) -> RawStream {
        let tcp = TcpStream::connect(self.address).expect("the server accepts");
        tcp.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        tcp.set_write_timeout(Some(DEADLINE)).expect("a socket option");
        tcp.set_nodelay(true).expect("a socket option");
        let inner = tcp.try_clone().expect("a file descriptor");
        let io: Box<dyn Stream> = match &self.wrap {
            Some(wrap) => wrap(inner),
            None => Box::new(inner),
        };
        RawStream { tcp, io, ahead: Vec::new() }
    }
}

/// A connection with what has been read ahead.
pub struct RawStream {
    tcp: TcpStream,
    io: Box<dyn Stream>,
    ahead: Vec<u8>,
}

impl RawStream {
    /// Sends bytes as they are. Panics if the connection does not take them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server reads");
    }

    /// Sends bytes as they are; an error says that the server has closed or does not read.
    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(bytes)?;
        self.io.flush()
    }

    /// Reads exactly this many bytes, or `None` at the end of the stream or a reset.
    pub fn read_exact(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < count {
            if !self.fill() {
                return None;
            }
        }
        Some(self.ahead.drain(..count).collect())
    }

    /// Reads up to and including `end`, or `None` at the end of the stream or a reset.
    pub fn read_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut from = 0;
        loop {
            let found = self.ahead[from..].windows(end.len()).position(|window| window == end);
            if let Some(position) = found {
                return Some(self.ahead.drain(..from + position + end.len()).collect());
            }
            from = self.ahead.len().saturating_sub(end.len() - 1);
            if !self.fill() {
                return None;
            }
        }
    }

    /// Reads until the end of the stream or a reset.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.ahead)
    }

    /// Whether the connection ends within this time; what arrives until then is kept.
    pub fn ends_within(&mut self, time: Duration) -> bool {
        self.tcp.set_read_timeout(Some(time)).expect("a socket option");
        let ended = loop {
            match self.try_fill() {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break !is_timeout(&error),
            }
        };
        self.tcp.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        ended
    }

    /// Ends the sending side only.
    pub fn finish_sending(&self) {
        let _ = self.tcp.shutdown(Shutdown::Write);
    }

    /// Reads something; false at the end.
    fn fill(&mut self) -> bool {
        match self.try_fill() {
            Ok(count) => count > 0,
            Err(error) if is_timeout(&error) => panic!("nothing came before the deadline"),
            Err(_) => false,
        }
    }

    fn try_fill(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = self.io.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
