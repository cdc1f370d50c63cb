//! A WebSocket client that shows frames.

use std::net::{SocketAddr, TcpStream};

use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

use crate::DEADLINE;

/// What a server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// The end, orderly or not.
    Closed,
}

/// A WebSocket connection.
pub struct RawWs {
    socket: WebSocket<TcpStream>,
}

impl RawWs {
    /// Connects; the target is the path with its query.
    pub fn connect(address: SocketAddr, target: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        stream.set_nodelay(true).expect("a socket option");
        let url = format!("ws://{address}{target}");
        let (socket, _) = tungstenite::client(url, stream).expect("the server upgrades");
        RawWs { socket }
    }

    /// Sends a text message.
    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the server reads");
    }

    /// Sends text messages in one write.
    pub fn send_all<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        for text in texts {
            self.socket.write(Message::text(text)).expect("the server reads");
        }
        self.socket.flush().expect("the server reads");
    }

    /// Sends a binary message.
    pub fn send_binary(&mut self, data: &[u8]) {
        self.socket.send(Message::binary(data.to_vec())).expect("the server reads");
    }

    /// The next message. Panics if nothing comes before the deadline.
    pub fn receive(&mut self) -> Frame {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Frame::Text(text.as_str().to_owned()),
                Ok(Message::Binary(data)) => return Frame::Binary(data.to_vec()),
                Ok(Message::Close(_)) => return Frame::Closed,
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("nothing came before the deadline");
                }
                Err(_) => return Frame::Closed,
            }
        }
    }

    /// Ends the connection without a word.
    pub fn abort(self) {
        drop(self.socket);
    }

    /// Closes the connection in an orderly way.
    pub fn close(mut self) {
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
        while self.receive() != Frame::Closed {}
    }
}
