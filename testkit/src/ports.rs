//! Ports for servers that have to be told one.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first of so many ports in a row that were free a moment ago. They lie below those that systems
/// give to connections, so that none of them is taken by chance.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % 1000) as u16 * 15;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let found = (0..1000).find_map(|_| {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let base = 15_000 + begin.wrapping_add(offset) % 15_000;
        (base..base + count).all(|port| free(&port)).then_some(base)
    });
    found.expect("free ports")
}
