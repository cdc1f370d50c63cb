//! Answering a connection that no worker can take: 503, and when to try again.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::passer::Accepted;
use super::state::{Supervisor, count};
use crate::limits::{REFUSAL_LINGER, REFUSAL_LINGER_BYTES_MAX, REFUSAL_LOOK, REFUSALS_MAX};
use crate::{fd, tasks};

/// The first byte of a TLS connection: the type of a handshake record.
const TLS_HANDSHAKE: u8 = 22;

impl Supervisor {
    /// Answers 503. Does not wait for the client.
    pub(super) fn refuse(&self, connection: Accepted, retry_after: Duration) {
        count(&self.counters.unavailable);
        let mut first = [0];
        let readable = matches!(fd::peek(&connection.socket, &mut first), Ok(1..));
        if !readable || first == [TLS_HANDSHAKE] || self.refusals.get() >= REFUSALS_MAX {
            return;
        }
        let under_way = UnderWay::new(&self.refusals);
        let origin = self.examine(&connection.socket, &connection.origin, 0, |_, request| {
            request.head.and_then(|head| plain(head.values("origin").next()?))
        });
        let answer = answer(retry_after.as_secs(), origin.ok().flatten().as_deref());
        tasks::refusal(async move {
            let _under_way = under_way;
            let done = async {
                if connection.origin.unix {
                    let stream = UnixStream::from_std(connection.socket.into())?;
                    farewell(stream, answer.as_bytes()).await
                } else {
                    let stream: std::net::TcpStream = OwnedFd::into(connection.socket);
                    farewell(TcpStream::from_std(stream)?, answer.as_bytes()).await
                }
            };
            // Whatever goes wrong, nobody is left to tell.
            let _ = tokio::time::timeout(REFUSAL_LINGER, done).await;
        });
    }

    /// Waits until those who were about to be passed have been refused.
    pub(super) async fn refuse_rest(&self) {
        loop {
            tokio::time::sleep(REFUSAL_LOOK).await;
            if self.refusals.get() == 0 {
                return;
            }
        }
    }
}

/// A value that can be repeated in an answer.
fn plain(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| text.to_owned())
}

/// Browsers show scripts of another `origin` an answer only if it names that. Which ones the workers would
/// name is not known here, and this answer says nothing that somebody must not know.
fn answer(retry_after: u64, origin: Option<&str>) -> String {
    let body = "No worker is available.\n";
    let cors = origin.map_or_else(String::new, |origin| {
        format!(
            "Access-Control-Allow-Origin: {origin}\r\n\
             Access-Control-Allow-Credentials: true\r\n\
             Vary: Origin\r\n"
        )
    });
    format!(
        "HTTP/1.1 503 Service Unavailable\r\n\
         Retry-After: {retry_after}\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: {}\r\n\
         Cache-Control: no-store\r\n\
         {cors}\
         Connection: close\r\n\
         \r\n\
         {body}",
        body.len()
    )
}

/// Counts refusals that have not ended.
struct UnderWay(Rc<Cell<usize>>);

impl UnderWay {
    fn new(counter: &Rc<Cell<usize>>) -> UnderWay {
        counter.set(counter.get() + 1);
        UnderWay(Rc::clone(counter))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Answers, and reads what still comes: closing with something unread would make the kernel send a
/// reset, which can take the answer from the client.
async fn farewell(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &[u8],
) -> std::io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut buffer = [0; 4096];
    let mut total = 0;
    while total < REFUSAL_LINGER_BYTES_MAX {
        match stream.read(&mut buffer).await? {
            0 => break,
            len => total += len,
        }
    }
    Ok(())
}
