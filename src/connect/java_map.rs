//! The order in which a `java.util.HashMap` gives its keys.

/// Buckets of a new map; it doubles them when more than three quarters are taken.
const BUCKETS_MIN: usize = 16;

/// How many buckets a map has that held so many keys.
pub(crate) fn buckets_of(count: usize) -> usize {
    let mut buckets = BUCKETS_MIN;
    while count > buckets / 4 * 3 {
        buckets *= 2;
    }
    buckets
}

/// The bucket of a key: Java's hash over UTF-16, its halves folded.
pub(crate) fn bucket(key: &str, buckets: usize) -> usize {
    let hash = key.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    usize::try_from(hash ^ (hash >> 16)).unwrap_or_default() & buckets.saturating_sub(1)
}
