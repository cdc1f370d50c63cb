//! Noticing that a process is about to run out of descriptors, before something is lost.
//!
//! A descriptor that is received when there is no room for it is closed by the kernel, and with it a
//! client's connection. So whoever receives them stops shortly before. The kernel gives a new
//! descriptor the lowest free number, so the number of the last one says how many are in use at least.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, RawFd};

use rustix::process::{Resource, getrlimit};

use crate::limits::{ACCEPT_PAUSE, DESCRIPTORS_RESERVED};

/// The room for descriptors in this process.
#[derive(Debug)]
pub(crate) struct Headroom {
    /// Numbers from here on mean that there is next to no room.
    end: RawFd,
    short: bool,
}

impl Headroom {
    pub(crate) fn new() -> Headroom {
        Headroom { end: end(), short: false }
    }

    /// A descriptor has been received.
    pub(crate) fn received(&mut self, descriptor: impl AsFd) {
        if descriptor.as_fd().as_raw_fd() < self.end {
            return;
        }
        // The limit may have been raised since.
        self.end = end();
        self.short = descriptor.as_fd().as_raw_fd() >= self.end;
        if self.short {
            sedge_log::warn_rarely!("next to no file descriptors left; connections wait for room");
        }
    }

    /// Waits until there is room for another one. `any` is a descriptor of this process.
    pub(crate) async fn wait(&mut self, any: impl AsFd) {
        while self.short {
            let probe = rustix::io::fcntl_dupfd_cloexec(any.as_fd(), 0).map_err(io::Error::from);
            self.short = probe.map_or(true, |probe| probe.as_raw_fd() >= self.end);
            if self.short {
                tokio::time::sleep(ACCEPT_PAUSE).await;
            } else {
                sedge_log::info_rarely!("there are file descriptors again");
            }
        }
    }
}

fn end() -> RawFd {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = RawFd::try_from(limit).unwrap_or(RawFd::MAX);
    (limit - DESCRIPTORS_RESERVED).max(1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn there_is_no_waiting_while_there_is_room() {
        let (any, _other) = UnixStream::pair().unwrap();
        let mut headroom = Headroom::new();
        headroom.received(&any);
        headroom.wait(&any).await;
        // As if the limit were just above the numbers in use.
        headroom.short = true;
        headroom.wait(&any).await;
        assert!(!headroom.short);
    }
}
