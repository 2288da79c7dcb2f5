//! How much the consumer's thread may hand over before the dispatcher has taken it.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::chunk::Chunk;

/// Bytes handed over and not yet taken.
const BACKLOG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bounds what is handed over and not yet taken.
#[derive(Debug)]
pub(crate) struct Backlog {
    records_max: usize,
    size: Mutex<(usize, usize)>,
    taken: Condvar,
    /// The only partition that is wanted for now.
    only: Mutex<Option<i32>>,
}

impl Backlog {
    pub(crate) fn new(records_max: usize) -> Self {
        Self { records_max, size: Mutex::new((0, 0)), taken: Condvar::new(), only: Mutex::new(None) }
    }

    fn is_full(&self, size: (usize, usize)) -> bool {
        size.0 >= self.records_max || size.1 >= BACKLOG_BYTES_MAX
    }

    /// Asks for the records of one partition alone, or again for those of all.
    pub(crate) fn want_only(&self, partition: Option<i32>) {
        *self.only.lock() = partition;
    }

    /// The only partition that is wanted for now; `None` if all are.
    pub(crate) fn wanted(&self) -> Option<i32> {
        *self.only.lock()
    }

    /// Notes that a chunk was handed over.
    pub(crate) fn add(&self, chunk: &Chunk) {
        let mut size = self.size.lock();
        *size = (size.0.saturating_add(chunk.len()), size.1.saturating_add(chunk.bytes()));
    }

    /// Notes that a chunk was taken.
    pub(crate) fn take(&self, chunk: &Chunk) {
        let mut size = self.size.lock();
        *size = (size.0.saturating_sub(chunk.len()), size.1.saturating_sub(chunk.bytes()));
        self.taken.notify_one();
    }

    /// Waits until there is room, at the most for `timeout`; says whether there is.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut size = self.size.lock();
        if self.is_full(*size) {
            self.taken.wait_while_for(&mut size, |size| self.is_full(*size), timeout);
        }
        !self.is_full(*size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_backlog_waits_until_something_is_taken() {
        let backlog = Backlog::new(1);
        let chunk = Chunk::of(&[(0, 1, b"x")]);
        assert!(backlog.wait(Duration::ZERO));
        backlog.add(&chunk);
        assert!(!backlog.wait(Duration::from_millis(1)));
        backlog.take(&chunk);
        assert!(backlog.wait(Duration::ZERO));
    }
}
