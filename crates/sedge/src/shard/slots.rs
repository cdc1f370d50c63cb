//! A table indexed by the engine's session slots, in chunks, so that growing neither copies what is
//! there nor takes twice the room.

const CHUNK: usize = 64;

/// A table that grows by chunks of 64 entries.
pub(super) struct Slots<T> {
    chunks: Vec<Box<[Option<T>]>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { chunks: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.chunks.get_mut(slot / CHUNK)?[slot % CHUNK].as_mut()
    }

    /// Puts an entry in and returns the one it replaces.
    pub(super) fn set(&mut self, slot: usize, entry: T) -> Option<T> {
        while self.chunks.len() <= slot / CHUNK {
            self.chunks.push((0..CHUNK).map(|_| None).collect());
        }
        self.chunks[slot / CHUNK][slot % CHUNK].replace(entry)
    }

    pub(super) fn take(&mut self, slot: usize) -> Option<T> {
        self.chunks.get_mut(slot / CHUNK)?[slot % CHUNK].take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_where_they_are_put() {
        let mut slots = Slots::default();
        assert!(slots.set(200, 'a').is_none());
        assert_eq!(slots.set(200, 'b'), Some('a'));
        slots.set(0, 'c');
        assert_eq!(slots.get_mut(200), Some(&mut 'b'));
        assert_eq!(slots.get_mut(199), None);
        assert_eq!(slots.get_mut(10_000), None);
        assert_eq!(slots.iter().collect::<String>(), "cb");
        assert_eq!(slots.take(200), Some('b'));
        assert_eq!(slots.take(200), None);
    }
}
