//! What is delivered and not parsed yet. It counts in the consumer's backlog, which bounds it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::kafka::backlog::Backlog;
use crate::kafka::chunk::Chunk;

/// Chunks in the order of their delivery.
#[derive(Debug)]
pub(super) struct Gathered {
    chunks: VecDeque<Chunk>,
    backlog: Arc<Backlog>,
}

impl Gathered {
    pub(super) fn new(backlog: Arc<Backlog>) -> Self {
        Self { chunks: VecDeque::new(), backlog }
    }

    pub(super) fn push(&mut self, chunk: Chunk) {
        self.chunks.push_back(chunk);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// How many records there are.
    pub(super) fn records(&self) -> usize {
        self.chunks.iter().map(Chunk::len).sum()
    }

    /// Takes whole chunks until they hold `records_max` records or more.
    pub(super) fn take(&mut self, records_max: usize) -> Vec<Chunk> {
        let (mut chunks, mut records) = (Vec::new(), 0_usize);
        while records < records_max
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.backlog.take(&chunk);
            records = records.saturating_add(chunk.len());
            chunks.push(chunk);
        }
        chunks
    }

    /// Forgets the records of partitions that somebody else reads now.
    pub(super) fn drop_partitions(&mut self, partitions: &[i32]) {
        for chunk in &mut self.chunks {
            self.backlog.take(chunk);
            chunk.drop_partitions(partitions);
            self.backlog.add(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_taken_or_dropped_makes_room_in_the_backlog() {
        let backlog = Arc::new(Backlog::new(2));
        let mut gathered = Gathered::new(Arc::clone(&backlog));
        for chunk in [Chunk::of(&[(0, 1, b"x"), (1, 1, b"y")]), Chunk::of(&[(1, 2, b"z")])] {
            backlog.add(&chunk);
            gathered.push(chunk);
        }
        assert_eq!((gathered.records(), backlog.wait(Duration::ZERO)), (3, false));
        gathered.drop_partitions(&[1]);
        assert_eq!((gathered.records(), backlog.wait(Duration::ZERO)), (1, true));
        assert_eq!(gathered.take(1).iter().map(Chunk::len).sum::<usize>(), 1);
        assert_eq!(gathered.records(), 0);
    }
}
