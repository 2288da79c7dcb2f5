//! Which transactions a snapshot shows, by the stream's 32-bit transaction ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::pgoutput::Xid;

/// `pg_current_snapshot()`: the top-level transactions that had committed when it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Visibility {
    /// Every transaction before this one had ended.
    xmin: u64,
    /// No transaction from this one on had begun.
    xmax: u64,
    /// Between the two, those that had not ended; sorted.
    running: Vec<u64>,
}

/// The text is no snapshot of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot of the form xmin:xmax:xid,…")]
pub(crate) struct ParseVisibilityError;

impl Visibility {
    /// Reads what PostgreSQL says.
    pub(crate) fn told(text: &str) -> Result<Self> {
        text.parse().map_err(|error: ParseVisibilityError| {
            Error::with_source(ErrorKind::Protocol, format!("PostgreSQL says `{text}`"), error)
        })
    }

    /// Whether a committed transaction's changes show. One that was rolled back is never asked for.
    pub(crate) fn sees(&self, xid: Xid) -> bool {
        let xid = self.whole(xid);
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }

    /// The id with its epoch: that of all ids that end so and is nearest to the snapshot, as PostgreSQL keeps no two
    /// transactions further apart than half the circle.
    fn whole(&self, xid: Xid) -> u64 {
        let [.., a, b, c, d] = self.xmax.to_be_bytes();
        let distance = xid.0.wrapping_sub(u32::from_be_bytes([a, b, c, d])).cast_signed();
        self.xmax.saturating_add_signed(distance.into())
    }

    /// The first transaction that cannot show, as the stream would name it.
    pub(crate) fn next_xid(&self) -> Xid {
        let [.., a, b, c, d] = self.xmax.to_be_bytes();
        Xid(u32::from_be_bytes([a, b, c, d]))
    }
}

impl fmt::Display for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running: Vec<String> = self.running.iter().map(u64::to_string).collect();
        write!(f, "{}:{}:{}", self.xmin, self.xmax, running.join(","))
    }
}

impl FromStr for Visibility {
    type Err = ParseVisibilityError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseVisibilityError> {
        let mut parts = text.splitn(3, ':');
        let mut part = || parts.next().ok_or(ParseVisibilityError);
        let number = |text: &str| text.parse::<u64>().map_err(|_| ParseVisibilityError);
        let (xmin, xmax) = (number(part()?)?, number(part()?)?);
        let listed = part()?.split(',').filter(|xid| !xid.is_empty());
        let mut running = listed.map(number).collect::<std::result::Result<Vec<_>, _>>()?;
        running.sort_unstable();
        Ok(Self { xmin, xmax, running })
    }
}

impl From<Visibility> for String {
    fn from(visibility: Visibility) -> Self {
        visibility.to_string()
    }
}

impl TryFrom<String> for Visibility {
    type Error = ParseVisibilityError;

    fn try_from(text: String) -> std::result::Result<Self, ParseVisibilityError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn visibility(text: &str) -> Visibility {
        text.parse().unwrap()
    }

    #[test]
    fn what_had_ended_shows_and_what_ran_or_came_later_does_not() {
        let snapshot = visibility("750:760:752,755");
        for (xid, expected) in
            [(3, true), (749, true), (751, true), (752, false), (755, false), (759, true), (760, false)]
        {
            assert_eq!(snapshot.sees(Xid(xid)), expected, "{xid}");
        }
        assert_eq!(snapshot.next_xid(), Xid(760));
    }

    #[test]
    fn ids_are_of_the_epoch_that_is_nearest() {
        // The second epoch has just begun: 4294967290 is of the first one.
        let snapshot = visibility("8589934590:8589934600:8589934595");
        assert!(snapshot.sees(Xid(4_294_967_290)) && snapshot.sees(Xid(7)));
        assert!(!snapshot.sees(Xid(3)), "8589934595 was running");
        assert!(!snapshot.sees(Xid(8)) && !snapshot.sees(Xid(2_000_000_000)));
        assert!(!visibility("4:5:").sees(Xid(2_000_000_000)), "the first epoch has none before it");
    }

    #[test]
    fn another_text_is_refused() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x"] {
            assert_eq!(text.parse::<Visibility>(), Err(ParseVisibilityError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_kept_as_its_text(xmin in 3..u64::MAX / 2, ahead in 0..100_u64, offsets in prop::collection::btree_set(0..100_u64, 0..9)) {
            let running = offsets.into_iter().map(|offset| xmin + offset).collect();
            let snapshot = Visibility { xmin, xmax: xmin + ahead, running };
            let json = serde_json::to_string(&snapshot).unwrap();
            prop_assert_eq!(serde_json::from_str::<Visibility>(&json).unwrap(), snapshot);
        }
    }
}
