//! Records of the topic, many in one buffer.

use std::ops::Range;

use super::headers::TopicRecord;

/// Records in the order they were read; key, value and headers lie in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    buffer: Vec<u8>,
    records: Vec<Entry>,
    headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

#[derive(Debug)]
struct Entry {
    partition: i32,
    offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// One record of a [`Chunk`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    chunk: &'a Chunk,
    entry: &'a Entry,
}

impl Chunk {
    /// Copies a record.
    pub(crate) fn push(&mut self, record: TopicRecord<'_>) {
        let key = record.key().map(|key| self.copy(key));
        let value = record.value().map(|value| self.copy(value));
        let first_header = self.headers.len();
        for (name, value) in record.headers() {
            let name = self.copy(name.as_bytes());
            let value = value.map(|value| self.copy(value));
            self.headers.push((name, value));
        }
        let (partition, offset, timestamp_ms) = (record.partition(), record.offset(), record.timestamp_ms());
        let headers = first_header..self.headers.len();
        self.records.push(Entry { partition, offset, timestamp_ms, key, value, headers });
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        start..self.buffer.len()
    }

    /// How many records.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// How many bytes of keys, values and headers.
    pub(crate) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The records, in order.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter().map(|entry| Record { chunk: self, entry })
    }

    /// The record at `index`.
    pub(crate) fn record(&self, index: usize) -> Option<Record<'_>> {
        self.records.get(index).map(|entry| Record { chunk: self, entry })
    }

    /// Removes the records of partitions that are read by somebody else now.
    pub(crate) fn drop_partitions(&mut self, partitions: &[i32]) {
        if !partitions.is_empty() {
            self.records.retain(|entry| !partitions.contains(&entry.partition));
        }
    }

    /// A copy of one record, so that it can outlive its chunk.
    pub(crate) fn only(&self, index: usize) -> Self {
        let mut copy = Self::default();
        self.record(index).into_iter().for_each(|record| copy.append(record));
        copy
    }

    /// The records of a partition, and those of the others.
    pub(crate) fn split(&self, partition: i32) -> (Self, Self) {
        let (mut of_it, mut others) = (Self::default(), Self::default());
        for record in self.records() {
            if record.partition() == partition { &mut of_it } else { &mut others }.append(record);
        }
        (of_it, others)
    }

    /// Copies a record of another chunk.
    pub(crate) fn append(&mut self, record: Record<'_>) {
        let key = record.key().map(|key| self.copy(key));
        let value = record.value().map(|value| self.copy(value));
        let first_header = self.headers.len();
        for (name, value) in record.headers() {
            let name = self.copy(name.as_bytes());
            let value = value.map(|value| self.copy(value));
            self.headers.push((name, value));
        }
        let headers = first_header..self.headers.len();
        self.records.push(Entry { key, value, headers, ..*record.entry });
    }

    /// Records given directly, for tests: partition, offset, value.
    #[cfg(test)]
    pub(crate) fn of(records: &[(i32, i64, &[u8])]) -> Self {
        let mut chunk = Self::default();
        for (partition, offset, value) in records {
            let value = Some(chunk.copy(value));
            let (partition, offset, timestamp_ms) = (*partition, *offset, Some(0));
            chunk.records.push(Entry { partition, offset, timestamp_ms, key: None, value, headers: 0..0 });
        }
        chunk
    }
}

impl<'a> Record<'a> {
    pub(crate) fn partition(&self) -> i32 {
        self.entry.partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.entry.offset
    }

    /// The time that the producer or the broker gave it.
    pub(crate) fn timestamp_ms(&self) -> Option<i64> {
        self.entry.timestamp_ms
    }

    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        self.slice(self.entry.key.as_ref())
    }

    /// `None` for a tombstone.
    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        self.slice(self.entry.value.as_ref())
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + '_ {
        let entries = self.chunk.headers.get(self.entry.headers.clone()).unwrap_or_default();
        entries.iter().map(|(name, value)| {
            let name = self.slice(Some(name)).unwrap_or_default();
            (std::str::from_utf8(name).unwrap_or_default(), self.slice(value.as_ref()))
        })
    }

    /// The headers that have a value, for as long as the chunk lives.
    pub(crate) fn headers_with_values(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let Self { chunk, entry } = self;
        let entries = chunk.headers.get(entry.headers.clone()).unwrap_or_default();
        entries.iter().filter_map(move |(name, value)| {
            let name = self.slice(Some(name)).unwrap_or_default();
            Some((std::str::from_utf8(name).unwrap_or_default(), self.slice(value.as_ref())?))
        })
    }

    fn slice(&self, range: Option<&Range<usize>>) -> Option<&'a [u8]> {
        range.and_then(|range| self.chunk.buffer.get(range.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_can_be_kept_without_its_chunk() {
        let chunk = Chunk::of(&[(0, 1, b"first"), (2, 7, b"second")]);
        let kept = chunk.only(1);
        let record = kept.record(0).unwrap();
        assert_eq!((record.partition(), record.offset(), record.value()), (2, 7, Some(&b"second"[..])));
        assert_eq!(kept.bytes(), 6);
        assert_eq!(chunk.only(9).len(), 0);
    }

    #[test]
    fn the_records_of_one_partition_are_told_from_the_others_in_their_order() {
        let (of_it, others) = Chunk::of(&[(0, 1, b"a"), (2, 7, b"b"), (0, 2, b"c"), (1, 4, b"d")]).split(0);
        let places =
            |chunk: &Chunk| chunk.records().map(|record| (record.partition(), record.offset())).collect::<Vec<_>>();
        assert_eq!((places(&of_it), places(&others)), (vec![(0, 1), (0, 2)], vec![(2, 7), (1, 4)]));
        assert_eq!(of_it.record(1).unwrap().value(), Some(&b"c"[..]));
    }
}
