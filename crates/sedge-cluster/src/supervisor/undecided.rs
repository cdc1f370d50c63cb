//! Connections that wait for their head, or for a worker: bounded in number.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use sedge_sticky::limits;
use tokio::task::AbortHandle;

/// What dispatching remembers.
pub(super) struct Undecided {
    max: usize,
    /// The tasks that wait, the oldest first.
    tasks: RefCell<BTreeMap<u64, AbortHandle>>,
    next: Cell<u64>,
    /// Where heads are copied to.
    pub(super) scratch: RefCell<Box<[u8]>>,
    random: Cell<u64>,
}

impl Undecided {
    /// For heads of at most this many bytes.
    pub(super) fn new(max: usize, head_bytes_max: usize) -> Undecided {
        // Workers must always be able to be started.
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = descriptors.map_or(usize::MAX, |max| usize::try_from(max / 2).unwrap_or(1));
        let mut seed = [1; 8];
        // If there is none, choices are predictable, which harms nobody.
        let _ = getrandom::fill(&mut seed);
        let scratch = vec![0; head_bytes_max + limits::PROXY_V2_BYTES_MAX];
        Undecided {
            max: max.min(half).max(1),
            tasks: RefCell::default(),
            next: Cell::new(0),
            scratch: RefCell::new(scratch.into()),
            random: Cell::new(u64::from_ne_bytes(seed) | 1),
        }
    }

    /// Connections that wait for their head, or for a worker that starts.
    pub(super) fn len(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Numbers for methods that draw lots. They need not be secret.
    pub(super) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Makes room for one more if as many wait as may: the oldest is closed, as it most likely never meant
    /// to say anything. Returns whether one had to be.
    pub(super) fn make_room(&self) -> bool {
        let mut tasks = self.tasks.borrow_mut();
        let full = tasks.len() >= self.max;
        if full && let Some((_, oldest)) = tasks.pop_first() {
            oldest.abort();
        }
        full
    }

    /// A number for a task that is about to wait.
    pub(super) fn next_number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    /// A task waits.
    pub(super) fn insert(&self, number: u64, task: AbortHandle) {
        self.tasks.borrow_mut().insert(number, task);
    }

    /// A task has waited.
    pub(super) fn remove(&self, number: u64) {
        self.tasks.borrow_mut().remove(&number);
    }
}
