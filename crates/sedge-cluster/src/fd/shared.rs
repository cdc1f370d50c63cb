//! Counters in memory that several processes share.
#![expect(unsafe_code, reason = "mapping memory has no safe form")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Counters of one row.
pub(crate) const ROW_LEN: usize = 1 << 16;
const ROW_BYTES: usize = ROW_LEN * size_of::<AtomicU32>();

/// What must hold of the file so that the mapping can never lose its memory.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A table of counters, all 0 in the beginning, in a file that exists only in memory. Every process
/// that has the file's descriptor can map the same table. Pages that were never written take none.
#[derive(Debug)]
pub(crate) struct SharedTable {
    file: OwnedFd,
    /// The start of the mapping; see `map` for what holds of it.
    base: NonNull<AtomicU32>,
    rows: usize,
}

// SAFETY: all that can be reached through `base` are `AtomicU32`s, by shared references, which may be
// used from any thread. The mapping itself is changed only by `drop`, which has the table alone.
unsafe impl Send for SharedTable {}
// SAFETY: as for `Send`.
unsafe impl Sync for SharedTable {}

impl SharedTable {
    /// A new table.
    pub(crate) fn create(rows: usize) -> io::Result<SharedTable> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(c"sedge-interest", flags)?;
        rustix::fs::ftruncate(&file, (rows * ROW_BYTES) as u64)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Self::map(file)
    }

    /// The table in a file that another process has created.
    pub(crate) fn map(file: OwnedFd) -> io::Result<SharedTable> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        // Fails for whatever is no memory file.
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        if !seals.contains(SEALS) {
            return Err(invalid("the table's size is not sealed"));
        }
        let size = usize::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        let rows = size / ROW_BYTES;
        if rows == 0 || size % ROW_BYTES != 0 {
            return Err(invalid("the table's size is no number of rows"));
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the address is the kernel's choice, so no existing mapping is replaced. The length
        // is that of the file, which its seals keep from ever changing: all of the mapping stays
        // backed, and no access can fault.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                size,
                protection,
                MapFlags::SHARED,
                file.as_fd(),
                0,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| invalid("mapped at no address"))?;
        Ok(SharedTable { file, base, rows })
    }

    /// The file, for other processes.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A row, or `None` if there are fewer.
    pub(crate) fn row(&self, row: usize) -> Option<&[AtomicU32; ROW_LEN]> {
        if row >= self.rows {
            return None;
        }
        // SAFETY:
        // - In bounds: the mapping has `rows * ROW_LEN` counters and `row < rows`.
        // - Aligned: a mapping starts at a page, and the offset is a multiple of the counter's size.
        // - Valid: the file was filled with zeroes by the kernel, and every bit pattern is a value of
        //   `AtomicU32`.
        // - Aliasing: this process reaches the memory only as shared `AtomicU32`s; the others use
        //   atomic accesses of the same width by this same type. A process that wrote otherwise
        //   would have to be given the descriptor, which goes to this cluster's workers alone.
        // - Lifetime: the mapping lives as long as `self`, to which the reference is bound.
        Some(unsafe { self.base.add(row * ROW_LEN).cast().as_ref() })
    }
}

impl Drop for SharedTable {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `map` made, of this length; every reference into it was
        // bound to `self` and is gone.
        let unmapped =
            unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.rows * ROW_BYTES) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn two_mappings_are_one_table() {
        let table = SharedTable::create(3).unwrap();
        let copy = rustix::io::fcntl_dupfd_cloexec(table.file(), 0).unwrap();
        let other = SharedTable::map(copy).unwrap();
        assert!(table.row(2).is_some() && table.row(3).is_none());
        table.row(2).unwrap()[ROW_LEN - 1].fetch_add(5, Ordering::SeqCst);
        assert_eq!(other.row(2).unwrap()[ROW_LEN - 1].load(Ordering::SeqCst), 5);
        assert_eq!(other.row(1).unwrap()[ROW_LEN - 1].load(Ordering::SeqCst), 0);
        assert!(other.row(3).is_none());
        drop(table);
        assert_eq!(other.row(2).unwrap()[ROW_LEN - 1].load(Ordering::SeqCst), 5);
    }

    #[test]
    fn what_is_no_sealed_table_is_refused() {
        let (socket, _other) = super::super::pair().unwrap();
        assert!(SharedTable::map(socket).is_err());
        let open = rustix::fs::memfd_create(c"open", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&open, ROW_BYTES as u64).unwrap();
        assert!(SharedTable::map(open).is_err(), "it could be made shorter while it is mapped");
        let odd = rustix::fs::memfd_create(c"odd", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&odd, 100).unwrap();
        rustix::fs::fcntl_add_seals(&odd, SEALS).unwrap();
        assert!(SharedTable::map(odd).is_err());
    }
}
