//! Random bytes for ids, drawn from the operating system in bulk.

/// Bytes drawn at once.
const POOL: usize = 1024;

/// A supply of random bytes; each byte is handed out once and then wiped.
pub(crate) struct RandomPool {
    bytes: Box<[u8; POOL]>,
    used: usize,
}

impl Default for RandomPool {
    fn default() -> RandomPool {
        RandomPool { bytes: Box::new([0; POOL]), used: POOL }
    }
}

impl RandomPool {
    /// Takes `N` bytes, at most the size of the pool.
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= POOL) };
        if self.used + N > POOL {
            // Without randomness no id can be made, and guessable ones would be worse than none. The
            // system call does not fail on a system that has booted.
            #[expect(clippy::expect_used, reason = "see above")]
            getrandom::fill(&mut self.bytes[..]).expect("the system's random generator works");
            self.used = 0;
        }
        let range = self.used..self.used + N;
        let mut taken = [0; N];
        taken.copy_from_slice(&self.bytes[range.clone()]);
        self.bytes[range].fill(0);
        self.used += N;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_twice() {
        let mut pool = RandomPool::default();
        let mut seen = std::collections::HashSet::new();
        assert!((0..1000).all(|_| seen.insert(pool.take::<15>())));
    }
}
