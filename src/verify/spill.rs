//! Sorting what may be larger than memory: sorted runs in a temporary file without a name, and their merge.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Cursor, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// What entries are sorted by.
pub(super) type Key = [u8; 28];

/// Bytes that are held before they are sorted and written as a run.
const RUN_BYTES: usize = 48 * 1024 * 1024;
/// Bytes of each run that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// Takes entries in any order.
pub(super) struct Spill {
    run_bytes: usize,
    bodies: Vec<u8>,
    /// The key of each entry, and where its body is.
    entries: Vec<(Key, usize, usize)>,
    file: Option<Arc<File>>,
    /// Where each run of the file ends.
    ends: Vec<u64>,
}

impl Default for Spill {
    fn default() -> Self {
        Self::with_run_bytes(RUN_BYTES)
    }
}

impl Spill {
    fn with_run_bytes(run_bytes: usize) -> Self {
        Self { run_bytes, bodies: Vec::new(), entries: Vec::new(), file: None, ends: Vec::new() }
    }

    /// Adds an entry.
    pub(super) fn push(&mut self, key: Key, body: &[u8]) -> io::Result<()> {
        if self.bodies.len().saturating_add(body.len()) > self.run_bytes && !self.entries.is_empty() {
            self.write_run()?;
        }
        self.entries.push((key, self.bodies.len(), body.len()));
        self.bodies.extend_from_slice(body);
        Ok(())
    }

    /// All entries in the order of their keys.
    pub(super) fn sorted(mut self) -> io::Result<Sorted> {
        if self.ends.is_empty() {
            let mut run = Vec::new();
            self.encode(&mut run)?;
            return Sorted::of(vec![Box::new(Cursor::new(run))]);
        }
        self.write_run()?;
        let (mut runs, mut at): (Vec<Box<dyn Read + Send>>, u64) = (Vec::new(), 0);
        for end in self.ends {
            if let Some(file) = &self.file {
                let section = Section { file: Arc::clone(file), at, end };
                runs.push(Box::new(BufReader::with_capacity(READ_BYTES, section)));
            }
            at = end;
        }
        Sorted::of(runs)
    }

    fn write_run(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::clone(self.file.insert(Arc::new(tempfile::tempfile()?))),
        };
        let mut writer = BufWriter::new(&*file);
        let written = self.encode(&mut writer)?;
        writer.flush()?;
        let begin = self.ends.last().copied().unwrap_or(0);
        self.ends.push(begin.saturating_add(written));
        Ok(())
    }

    fn encode(&mut self, writer: &mut impl Write) -> io::Result<u64> {
        self.entries.sort_unstable_by_key(|(key, ..)| *key);
        let mut written = 0_u64;
        for (key, begin, length) in self.entries.drain(..) {
            let body = self.bodies.get(begin..begin.saturating_add(length)).unwrap_or_default();
            let length = u32::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
            writer.write_all(&key)?;
            writer.write_all(&length.to_be_bytes())?;
            writer.write_all(body)?;
            written = written.saturating_add(32).saturating_add(u64::from(length));
        }
        self.bodies.clear();
        Ok(written)
    }
}

/// A part of a file.
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.at)?;
        self.at = self.at.saturating_add(u64::try_from(read).unwrap_or_default());
        Ok(read)
    }
}

/// Entries in the order of their keys.
pub(super) struct Sorted {
    runs: Vec<Box<dyn Read + Send>>,
    /// The next key of each run.
    heads: BinaryHeap<Reverse<(Key, usize)>>,
}

impl Sorted {
    fn of(runs: Vec<Box<dyn Read + Send>>) -> io::Result<Self> {
        let count = runs.len();
        let mut sorted = Self { runs, heads: BinaryHeap::new() };
        (0..count).try_for_each(|run| sorted.read_head(run))?;
        Ok(sorted)
    }

    /// Nothing at all.
    pub(super) fn empty() -> Self {
        Self { runs: Vec::new(), heads: BinaryHeap::new() }
    }

    /// The key of the next entry.
    pub(super) fn peek(&self) -> Option<&Key> {
        self.heads.peek().map(|Reverse((key, _))| key)
    }

    /// The next entry.
    pub(super) fn next(&mut self) -> io::Result<Option<(Key, Vec<u8>)>> {
        let Some(Reverse((key, run))) = self.heads.pop() else { return Ok(None) };
        let Some(reader) = self.runs.get_mut(run) else { return Ok(None) };
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).map_err(|_| io::ErrorKind::FileTooLarge)?];
        reader.read_exact(&mut body)?;
        self.read_head(run)?;
        Ok(Some((key, body)))
    }

    fn read_head(&mut self, run: usize) -> io::Result<()> {
        let Some(reader) = self.runs.get_mut(run) else { return Ok(()) };
        let mut key: Key = [0; 28];
        let first = loop {
            match reader.read(&mut key) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if first > 0 {
            reader.read_exact(key.get_mut(first..).unwrap_or_default())?;
            self.heads.push(Reverse((key, run)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: u16) -> Key {
        let mut key = [0; 28];
        key[10..12].copy_from_slice(&number.to_be_bytes());
        key
    }

    proptest! {
        #[test]
        fn entries_come_back_in_the_order_of_their_keys(
            entries in prop::collection::btree_map(any::<u16>(), prop::collection::vec(any::<u8>(), 0..40), 0..200),
            run_bytes in 1..2_000_usize,
        ) {
            let mut spill = Spill::with_run_bytes(run_bytes);
            // Not in their order.
            for (number, body) in entries.iter().filter(|(number, _)| **number % 3 == 0).chain(entries.iter().filter(|(number, _)| **number % 3 != 0)) {
                spill.push(key(*number), body).unwrap();
            }
            let mut sorted = spill.sorted().unwrap();
            for (number, body) in &entries {
                prop_assert_eq!(sorted.peek(), Some(&key(*number)));
                prop_assert_eq!(sorted.next().unwrap(), Some((key(*number), body.clone())));
            }
            prop_assert!(sorted.peek().is_none() && sorted.next().unwrap().is_none());
        }
    }
}
