//! What is delivered and not parsed yet. It counts in the consumer's backlog, which bounds it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::kafka::backlog::Backlog;
use crate::kafka::chunk::Chunk;

/// Chunks in the order of their delivery.
#[derive(Debug)]
pub(super) struct Gathered {
    chunks: VecDeque<Chunk>,
    /// The only partition that is taken from for now; the records of the others are in `aside`, and their partitions pause.
    only: Option<i32>,
    aside: Vec<Chunk>,
    backlog: Arc<Backlog>,
}

impl Gathered {
    pub(super) fn new(backlog: Arc<Backlog>) -> Self {
        Self { chunks: VecDeque::new(), only: None, aside: Vec::new(), backlog }
    }

    pub(super) fn push(&mut self, chunk: Chunk) {
        match self.only {
            None => self.chunks.push_back(chunk),
            Some(partition) => self.push_split(&chunk, partition),
        }
    }

    fn push_split(&mut self, chunk: &Chunk, partition: i32) {
        let (of_it, others) = chunk.split(partition);
        self.backlog.take(chunk);
        self.backlog.add(&of_it);
        self.chunks.extend(Some(of_it).filter(|chunk| chunk.len() > 0));
        self.aside.extend(Some(others).filter(|chunk| chunk.len() > 0));
    }

    /// Whether one partition is read alone.
    pub(super) fn is_restricted(&self) -> bool {
        self.only.is_some()
    }

    /// Reads one partition alone from now on, or again all.
    ///
    /// What is set aside does not count in the backlog, which would pause the one that is wanted; its partitions pause.
    pub(super) fn restrict(&mut self, only: Option<i32>) {
        if self.only == only {
            return;
        }
        self.only = only;
        self.backlog.want_only(only);
        let aside = std::mem::take(&mut self.aside);
        aside.iter().for_each(|chunk| self.backlog.add(chunk));
        let chunks: Vec<Chunk> = aside.into_iter().chain(self.chunks.drain(..)).collect();
        chunks.into_iter().for_each(|chunk| self.push(chunk));
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
        if self.only.is_some_and(|only| partitions.contains(&only)) {
            self.restrict(None);
        }
        self.aside.iter_mut().for_each(|chunk| chunk.drop_partitions(partitions));
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

    #[test]
    fn while_one_partition_is_read_alone_the_others_wait_in_their_order_and_take_no_room() {
        let backlog = Arc::new(Backlog::new(3));
        let mut gathered = Gathered::new(Arc::clone(&backlog));
        let push = |gathered: &mut Gathered, records: &[(i32, i64, &[u8])]| {
            let chunk = Chunk::of(records);
            backlog.add(&chunk);
            gathered.push(chunk);
        };
        push(&mut gathered, &[(0, 1, b"a"), (1, 1, b"b"), (1, 2, b"c")]);
        gathered.restrict(Some(0));
        push(&mut gathered, &[(1, 3, b"d"), (0, 2, b"e")]);
        assert_eq!((gathered.records(), gathered.is_restricted()), (2, true));
        assert_eq!((backlog.wait(Duration::ZERO), backlog.wanted()), (true, Some(0)));
        gathered.take(1);
        gathered.restrict(None);
        push(&mut gathered, &[(1, 4, b"f")]);
        assert_eq!((backlog.wait(Duration::ZERO), backlog.wanted()), (false, None));
        let taken = gathered.take(9);
        let places: Vec<_> = taken.iter().flat_map(Chunk::records).map(|r| (r.partition(), r.offset())).collect();
        assert_eq!(places, [(1, 1), (1, 2), (1, 3), (0, 2), (1, 4)]);
        gathered.restrict(Some(0));
        gathered.drop_partitions(&[0]);
        assert!(!gathered.is_restricted());
    }
}
