//! What becomes of a record that was handed to Kafka.

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::error::{Error, ErrorKind};
use crate::kafka::error::named;

/// Where an acknowledged record is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    /// Negative where the broker had it already and does not say.
    pub(crate) offset: i64,
}

/// Why a record is not on its brokers and never will be.
#[derive(Debug)]
pub(crate) enum DeliveryFailure {
    /// The brokers refuse its batch for good, for this reason.
    Refused(Refusal),
    /// Anything else.
    Failed(Error),
}

/// A broker's word about a batch of records.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) topic: String,
    pub(crate) code: Code,
}

impl Refusal {
    /// Whether it is the record that is refused, and not its time, its producer or the topic as a whole.
    pub(crate) fn is_of_the_record(&self) -> bool {
        matches!(self.code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord)
    }

    /// The broker's word and what to do about it.
    pub(crate) fn remedy(&self) -> String {
        let topic = &self.topic;
        match self.code {
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
                format!("topic {topic} refuses it as too large; raise its max.message.bytes, then start again")
            }
            Code::InvalidTimestamp => format!(
                "topic {topic} refuses its time; set this machine's clock, or the topic's message.timestamp.after.max.ms"
            ),
            Code::InvalidRecord => format!(
                "topic {topic} refuses it as an invalid record, such as one without a key where cleanup.policy is compact"
            ),
            code => format!("topic {topic} refuses it with {}; see the broker's log for the reason", named(code)),
        }
    }
}

impl DeliveryFailure {
    /// The same as an [`Error`] about `what`.
    pub(crate) fn into_error(self, what: &str) -> Error {
        match self {
            Self::Refused(refusal) => Error::new(ErrorKind::Unknown, format!("{what}: {}", refusal.remedy())),
            Self::Failed(error) => error,
        }
    }
}

/// What an acknowledgement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// Nothing waits for it.
    Heartbeat,
    /// The record of a position, or another record of which one is sent at a time.
    Single,
    /// A row of a snapshot, for which no position waits.
    Read,
    /// A record of the transaction that its sender has given this number.
    Transaction(u64),
}

impl Receipt {
    /// As librdkafka keeps it with the record.
    pub(super) fn pack(self) -> usize {
        match self {
            Self::Heartbeat => 0,
            Self::Single => 1,
            Self::Read => 2,
            Self::Transaction(number) => usize::try_from(number).unwrap_or(usize::MAX).saturating_add(3),
        }
    }

    pub(super) fn unpack(packed: usize) -> Self {
        match packed {
            0 => Self::Heartbeat,
            1 => Self::Single,
            2 => Self::Read,
            number => Self::Transaction(number.saturating_sub(3) as u64),
        }
    }
}

/// Receives what becomes of each record, on the producer's own thread.
pub(crate) trait DeliverySink: Send + Sync + 'static {
    /// The record of this receipt and payload size is on its brokers.
    fn delivered(&self, receipt: Receipt, payload_bytes: usize, place: Place<'_>);
    /// It is not and never will be, so nothing after it may be confirmed.
    fn failed(&self, failure: DeliveryFailure);
    /// Kafka is out of reach; librdkafka goes on trying, this is for people and readiness only.
    fn unreachable(&self, problem: &str);
}
