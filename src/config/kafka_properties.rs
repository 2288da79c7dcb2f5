//! The librdkafka properties that `--kafka` must not change, because an invariant rests on what evp sets.

/// What is to be done with a property that the user gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It is the user's to set.
    Free,
    /// It says what evp says.
    AsEvpSetsIt,
    /// It would break an invariant; the reason.
    Refused(&'static str),
}

/// A property, the values that change nothing, and why others would.
struct Kept(&'static [&'static str], &'static [&'static str], &'static str);

const TABLE: &[Kept] = &[
    Kept(&["bootstrap.servers", "metadata.broker.list"], &[], "set KAFKA_BOOTSTRAP_SERVERS instead"),
    Kept(&["group.id"], &[], "set KAFKA_GROUP_ID instead"),
    Kept(
        &["auto.offset.reset"],
        &["error"],
        "set KAFKA_AUTO_OFFSET_RESET for a new group; an offset that is gone has to be an error, or events would be skipped",
    ),
    Kept(
        &["enable.auto.commit"],
        &["false"],
        "offsets of events that are not applied yet would be committed, and the events lost in a crash",
    ),
    Kept(
        &["enable.auto.offset.store"],
        &["false"],
        "offsets of events that are not applied yet would be committed, and the events lost in a crash",
    ),
    Kept(&["enable.partition.eof"], &[], "evp finds the end of a partition by it"),
    Kept(
        &["isolation.level"],
        &["read_committed"],
        "records of transactions that were rolled back would be taken for events",
    ),
    Kept(&["check.crcs"], &["true"], "a record that was damaged on its way would be taken for an event"),
    Kept(
        &["allow.auto.create.topics"],
        &["false"],
        "a topic made by the broker has not the partitions that keep the order; `evp init` makes topics",
    ),
    Kept(&["enable.idempotence"], &["true"], "a record that is sent again could be written twice or out of order"),
    Kept(
        &["enable.gapless.guarantee"],
        &["true"],
        "records behind one that the broker refuses would be written, and that one lost",
    ),
    Kept(
        &["acks", "request.required.acks"],
        &["all", "-1"],
        "a record could be lost with its broker after PostgreSQL was told that it is written",
    ),
    Kept(
        &["message.timeout.ms", "delivery.timeout.ms"],
        &["0"],
        "a record that times out would be lost, and what follows it written",
    ),
    Kept(
        &["message.send.max.retries", "retries"],
        &["2147483647"],
        "a record that is not sent again would be lost, and what follows it written",
    ),
    Kept(
        &["max.in.flight.requests.per.connection", "max.in.flight"],
        &["2"],
        "what is in flight is bounded by evp, and read back after a crash",
    ),
    Kept(
        &["partitioner"],
        &["murmur2_random"],
        "a key would go to another partition than the one where Debezium put it, and lose its order",
    ),
    Kept(&["transactional.id"], &[], "evp writes no transactions, and its records would never be committed"),
    Kept(
        &["delivery.report.only.error"],
        &["false"],
        "evp would not hear that a record is written, and never confirm it to PostgreSQL",
    ),
    Kept(&["topic.blacklist"], &[], "evp would not see its own topics"),
    Kept(&["test.mock.num.brokers"], &["0"], "records would go to a broker that ends with evp"),
];

/// What `--kafka name=value` is.
pub(super) fn judge(name: &str, value: &str) -> Given {
    match TABLE.iter().find(|Kept(names, _, _)| names.contains(&name)) {
        None => Given::Free,
        Some(Kept(_, accepted, _)) if accepted.iter().any(|known| known.eq_ignore_ascii_case(value)) => {
            Given::AsEvpSetsIt
        }
        Some(Kept(_, _, reason)) => Given::Refused(reason),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::KafkaError;
    use rdkafka::types::RDKafkaConfRes;

    use super::*;

    #[test]
    fn what_an_invariant_rests_on_is_refused_under_each_of_its_names() {
        for Kept(names, accepted, reason) in TABLE {
            for name in *names {
                assert_eq!(judge(name, "something else"), Given::Refused(reason), "{name}");
                assert!(accepted.iter().all(|value| judge(name, value) == Given::AsEvpSetsIt), "{name}");
            }
        }
    }

    #[test]
    fn every_refused_name_is_one_of_librdkafkas() {
        for name in TABLE.iter().flat_map(|Kept(names, _, _)| names.iter()) {
            let unknown = match rdkafka::ClientConfig::new().set(*name, "?").create_native_config() {
                Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, reason, ..)) => Some(reason),
                _ => None,
            };
            assert_eq!(unknown, None, "{name}");
        }
    }

    #[test]
    fn what_tunes_speed_and_size_is_free() {
        for name in [
            "message.max.bytes",
            "compression.type",
            "batch.size",
            "linger.ms",
            "queue.buffering.max.kbytes",
            "auto.commit.interval.ms",
            "session.timeout.ms",
            "group.protocol",
            "debug",
            "client.id",
        ] {
            assert_eq!(judge(name, "1"), Given::Free, "{name}");
        }
    }
}
