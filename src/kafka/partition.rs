//! Which partition a key belongs to: Java's murmur2, so that evp and Debezium place a key alike.

/// The partition of `key` among `partition_count`, as Kafka's Java producer computes it.
pub(crate) fn partition_of(key: &[u8], partition_count: u32) -> Option<i32> {
    let positive = murmur2(key) & 0x7FFF_FFFF;
    i32::try_from(positive.checked_rem(partition_count)?).ok()
}

/// MurmurHash2 with the seed and word order of `org.apache.kafka.common.utils.Utils`.
fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // Java's array lengths are 32-bit, so truncation is what the original does.
    #[allow(clippy::cast_possible_truncation)]
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, tail) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (at, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of Kafka's own `UtilsTest`.
    #[test]
    fn hashes_are_those_of_the_java_client() {
        for (text, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn a_topic_without_partitions_has_no_place() {
        assert_eq!(partition_of(b"key", 0), None);
        assert_eq!(partition_of(b"key", 1), Some(0));
    }
}
