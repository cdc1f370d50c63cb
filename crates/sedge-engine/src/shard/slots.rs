//! Where the connections of a shard are kept.
//!
//! A broadcast visits thousands of connections one after the other, and what it costs is cache misses.
//! Connections therefore lie side by side in the order of their slots, each on cache lines of its own,
//! and in chunks, so that growing never moves them.

use super::conn::Conn;
use crate::application::SessionKey;

/// Connections in one chunk: 16 KiB.
const CHUNK: usize = 64;

/// A table of connections with keys that go stale when their connection goes.
#[derive(Default)]
pub(crate) struct Slots {
    chunks: Vec<Box<[Slot]>>,
    used: u32,
    free: Vec<u32>,
}

/// One place in the table.
#[repr(C, align(64))]
struct Slot {
    /// Of the connection that is here, or that will be here next.
    generation: u32,
    conn: Option<Conn>,
}

impl Slots {
    /// The connection with this key, if it is still here.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Conn> {
        let slot = self.chunks.get_mut(key.chunk())?.get_mut(key.place())?;
        if slot.generation == key.generation { slot.conn.as_mut() } else { None }
    }

    /// The key of the connection in a slot.
    pub(crate) fn key(&self, number: u32) -> Option<SessionKey> {
        let key = SessionKey { slot: number, generation: 0 };
        let slot = self.chunks.get(key.chunk())?.get(key.place())?;
        slot.conn.as_ref()?;
        Some(SessionKey { generation: slot.generation, ..key })
    }

    /// Adds a connection.
    pub(crate) fn insert(&mut self, conn: Conn) -> SessionKey {
        let number = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        let mut key = SessionKey { slot: number, generation: 0 };
        if key.chunk() == self.chunks.len() {
            let empty = || Slot { conn: None, generation: 0 };
            self.chunks.push(std::iter::repeat_with(empty).take(CHUNK).collect());
        }
        let slot = &mut self.chunks[key.chunk()][key.place()];
        slot.conn = Some(conn);
        key.generation = slot.generation;
        key
    }

    /// Takes a connection out; its key is stale from here on.
    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Conn> {
        let slot = self.chunks.get_mut(key.chunk())?.get_mut(key.place())?;
        if slot.generation != key.generation {
            return None;
        }
        let conn = slot.conn.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
        Some(conn)
    }
}

impl SessionKey {
    fn chunk(self) -> usize {
        self.slot as usize / CHUNK
    }

    fn place(self) -> usize {
        self.slot as usize % CHUNK
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn a_connection_takes_four_cache_lines() {
        assert_eq!(size_of::<Slot>(), 256);
        let first_line = offset_of!(Slot, conn) + offset_of!(Conn, carrier);
        assert!(first_line <= 64, "{first_line}");
    }
}
