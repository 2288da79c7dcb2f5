//! The order of events where the topic itself gives none: that of their commits, as documents hold it.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson};

/// Bytes of a [`CommitOrder`]. MongoDB compares binary values of one length byte by byte.
const BYTES: usize = 26;
const SIGN: u64 = 1 << 63;

/// Where an event stands among all events of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventOrder {
    /// Its commit is not known, only a number of its row. It loses against every event whose commit is.
    Sequence(i64),
    /// Its commit is known.
    Commit(CommitOrder),
}

/// The place of an event by its commit; the fields in the order in which they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CommitOrder {
    /// Counts the clusters that events came from: each has positions of its own.
    pub(crate) epoch: u16,
    /// A position that is not below the commits before the event's own, and not beyond its own.
    pub(crate) commit: u64,
    /// Its place among the events of that commit.
    pub(crate) within: u64,
    /// Tells rows apart that one log record has written.
    pub(crate) sequence: i64,
}

impl CommitOrder {
    pub(crate) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let sequence = self.sequence.cast_unsigned() ^ SIGN;
        let parts = self.epoch.to_be_bytes().into_iter().chain(self.commit.to_be_bytes());
        let parts = parts.chain(self.within.to_be_bytes()).chain(sequence.to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (epoch, rest) = bytes.split_first_chunk()?;
        let (commit, rest) = rest.split_first_chunk()?;
        let (within, sequence) = rest.split_first_chunk()?;
        Some(Self {
            epoch: u16::from_be_bytes(*epoch),
            commit: u64::from_be_bytes(*commit),
            within: u64::from_be_bytes(*within),
            sequence: (u64::from_be_bytes(sequence.try_into().ok()?) ^ SIGN).cast_signed(),
        })
    }
}

impl EventOrder {
    /// As documents hold it. To MongoDB every number is less than every binary value.
    pub(crate) fn to_bson(self) -> Bson {
        match self {
            Self::Sequence(sequence) => Bson::Int64(sequence),
            Self::Commit(order) => {
                Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: order.to_bytes().to_vec() })
            }
        }
    }

    /// From what a document holds.
    pub(crate) fn from_bson(value: &Bson) -> Option<Self> {
        match value {
            Bson::Int64(sequence) => Some(Self::Sequence(*sequence)),
            Bson::Binary(binary) => CommitOrder::from_bytes(&binary.bytes).map(Self::Commit),
            _ => None,
        }
    }

    /// The same place in the stream of a certain cluster.
    pub(crate) fn in_epoch(self, epoch: u16) -> Self {
        match self {
            Self::Sequence(_) => self,
            Self::Commit(order) => Self::Commit(CommitOrder { epoch, ..order }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_order() -> impl Strategy<Value = EventOrder> {
        // Small numbers, so that the later parts decide, too.
        let part = || prop_oneof![0..3_u64, any::<u64>()];
        let commit = (0..3_u16, part(), part(), prop_oneof![-2..2_i64, any::<i64>()]);
        prop_oneof![
            any::<i64>().prop_map(EventOrder::Sequence),
            commit.prop_map(|(epoch, commit, within, sequence)| {
                EventOrder::Commit(CommitOrder { epoch, commit, within, sequence })
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_a_document_holds_compares_as_the_orders_do(left in any_order(), right in any_order()) {
            prop_assert_eq!(EventOrder::from_bson(&left.to_bson()), Some(left));
            match (left, right) {
                (EventOrder::Commit(a), EventOrder::Commit(b)) => {
                    prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), left.cmp(&right));
                }
                (EventOrder::Sequence(_), EventOrder::Commit(_)) => prop_assert!(left < right),
                _ => {}
            }
        }
    }
}
