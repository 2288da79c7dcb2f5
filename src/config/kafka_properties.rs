//! Every property of librdkafka, and what becomes of it in `--kafka NAME=VALUE`: some carry an invariant and are refused.

/// What is to be done with a property that the user gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It is the user's to set.
    Free,
    /// It says what evp says.
    AsEvpSetsIt,
    /// It would break an invariant; the reason.
    Refused(&'static str),
    /// It is outside what evp works with: the lowest and the highest value, and the reason.
    OutOfBounds(i64, i64, &'static str),
    /// librdkafka has no such property.
    Unknown { nearest: Option<&'static str> },
}

/// A property, the values that change nothing, and why others would.
struct Kept(&'static [&'static str], &'static [&'static str], &'static str);

/// A number, its bounds, and why it has them.
struct Bounded(&'static str, i64, i64, &'static str);

const NO_COMMIT: &str = "offsets of events that are not applied yet would be committed, and the events lost in a crash";
const NO_HEADERS: &str = "record headers would be left out, and with them the position at which capture goes on";

const KEPT: &[Kept] = &[
    Kept(&["bootstrap.servers", "metadata.broker.list"], &[], "set KAFKA_BOOTSTRAP_SERVERS instead"),
    Kept(&["group.id"], &[], "set KAFKA_GROUP_ID instead"),
    Kept(
        &["auto.offset.reset"],
        &["error"],
        "set KAFKA_AUTO_OFFSET_RESET for a new group; an offset that is gone has to be an error, or events would be skipped",
    ),
    Kept(&["enable.auto.commit", "auto.commit.enable"], &["false"], NO_COMMIT),
    Kept(&["enable.auto.offset.store"], &["false"], NO_COMMIT),
    Kept(&["offset.store.method"], &["broker"], "offsets are the group's, which other members go on from"),
    Kept(&["group.protocol.type"], &["consumer"], "the members would not understand each other"),
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
    Kept(&["queuing.strategy"], &["fifo"], "records would be written in another order than they were committed in"),
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
    Kept(&["api.version.request"], &["true"], NO_HEADERS),
    Kept(&["api.version.fallback.ms"], &["0"], NO_HEADERS),
    Kept(
        &["metadata.recovery.strategy"],
        &["rebootstrap"],
        "a client that has lost every broker would never speak to one again",
    ),
    Kept(&["topic.blacklist"], &[], "evp would not see its own topics"),
    Kept(&["log.queue"], &["false"], "what librdkafka says would pile up unread"),
    Kept(&["enabled_events"], &[], "evp would not hear what it waits for"),
    Kept(&["internal.termination.signal"], &["0"], "evp stops by signals of its own"),
    Kept(&["test.mock.num.brokers"], &["0"], "records would go to a broker that ends with evp"),
];

const BOUNDED: &[Bounded] = &[
    Bounded(
        "max.poll.interval.ms",
        60_000,
        86_400_000,
        "a rebalance waits up to 10 s for events in flight and 30 s for their offsets, and a member that is put out meanwhile \
         is put out again and again",
    ),
    Bounded(
        "statistics.interval.ms",
        100,
        10_000,
        "evp learns from it which brokers answer and which partitions have a leader",
    ),
    Bounded(
        "topic.metadata.refresh.interval.ms",
        100,
        3_600_000,
        "partitions that are added to a topic would not be found, and their events not read",
    ),
    Bounded(
        "socket.timeout.ms",
        1_000,
        300_000,
        "requests would be given up that are answered, or a broker that is gone waited for",
    ),
];

/// Pointers of librdkafka's C interface.
const POINTERS: &[&str] = &[
    "background_event_cb",
    "closesocket_cb",
    "connect_cb",
    "consume_cb",
    "default_topic_conf",
    "dr_cb",
    "dr_msg_cb",
    "error_cb",
    "interceptors",
    "log_cb",
    "msg_order_cmp",
    "oauthbearer_token_refresh_cb",
    "offset_commit_cb",
    "opaque",
    "open_cb",
    "partitioner_cb",
    "rebalance_cb",
    "resolve_cb",
    "socket_cb",
    "ssl.certificate.verify_cb",
    "ssl_ca",
    "ssl_certificate",
    "ssl_engine_callback_data",
    "ssl_key",
    "stats_cb",
    "throttle_cb",
];

/// Speed, size, security, names, and what has no effect here.
const FREE: &[&str] = &[
    "api.version.request.timeout.ms",
    "auto.commit.interval.ms",
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "builtin.features",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "debug",
    "enable.metrics.push",
    "enable.random.seed",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "https.ca.location",
    "https.ca.pem",
    "linger.ms",
    "log.connection.close",
    "log.thread.name",
    "log_level",
    "max.partition.fetch.bytes",
    "message.copy.max.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "metadata.recovery.rebootstrap.trigger.ms",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "plugin.library.paths",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.jitter.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.kerberos.keytab",
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.metadata.authentication.type",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.blocking.max.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "ssl.ca.certificate.stores",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.engine.id",
    "ssl.engine.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.providers",
    "ssl.sigalgs.list",
    "sticky.partitioning.linger.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.cnt",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.sparse",
    "transaction.timeout.ms",
];

/// What `--kafka name=value` is.
pub(super) fn judge(name: &str, value: &str) -> Given {
    if let Some(Kept(_, accepted, reason)) = KEPT.iter().find(|Kept(names, _, _)| names.contains(&name)) {
        let is_same = accepted.iter().any(|known| known.eq_ignore_ascii_case(value));
        return if is_same { Given::AsEvpSetsIt } else { Given::Refused(reason) };
    }
    if let Some(Bounded(_, low, high, reason)) = BOUNDED.iter().find(|Bounded(known, ..)| *known == name) {
        let is_within = value.parse::<i64>().is_ok_and(|number| (*low..=*high).contains(&number));
        return if is_within { Given::Free } else { Given::OutOfBounds(*low, *high, reason) };
    }
    if POINTERS.contains(&name) {
        return Given::Refused("it is a pointer of librdkafka's C interface, and no text");
    }
    if FREE.contains(&name) { Given::Free } else { Given::Unknown { nearest: nearest(name) } }
}

fn names() -> impl Iterator<Item = &'static str> {
    let kept = KEPT.iter().flat_map(|Kept(names, _, _)| names.iter().copied());
    kept.chain(BOUNDED.iter().map(|Bounded(name, ..)| *name)).chain(FREE.iter().copied())
}

fn nearest(name: &str) -> Option<&'static str> {
    let scored = names().map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    scored.filter(|(score, _)| *score >= 0.6).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rdkafka::error::KafkaError;
    use rdkafka::types::RDKafkaConfRes;

    use super::*;

    #[test]
    fn what_an_invariant_rests_on_is_refused_under_each_of_its_names() {
        for Kept(names, accepted, reason) in KEPT {
            for name in *names {
                assert_eq!(judge(name, "something else"), Given::Refused(reason), "{name}");
                assert!(accepted.iter().all(|value| judge(name, value) == Given::AsEvpSetsIt), "{name}");
            }
        }
    }

    #[test]
    fn numbers_have_bounds() {
        for Bounded(name, low, high, reason) in BOUNDED {
            let outside = Given::OutOfBounds(*low, *high, reason);
            assert_eq!(judge(name, &(low - 1).to_string()), outside);
            assert_eq!(judge(name, &(high + 1).to_string()), outside);
            assert_eq!(judge(name, "many"), outside);
            assert_eq!((judge(name, &low.to_string()), judge(name, &high.to_string())), (Given::Free, Given::Free));
        }
    }

    #[test]
    fn every_name_is_one_of_librdkafkas_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for name in names().chain(POINTERS.iter().copied()) {
            let unknown = match rdkafka::ClientConfig::new().set(name, "?").create_native_config() {
                Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, reason, ..)) => Some(reason),
                _ => None,
            };
            assert_eq!(unknown, None, "{name}");
            assert!(seen.insert(name), "{name} stands twice");
        }
    }

    /// The list of the librdkafka that is linked, as it came with its sources.
    fn documented() -> Vec<String> {
        let version = String::from_utf8(Command::new("rustc").arg("-vV").output().unwrap().stdout).unwrap();
        // Crates of other platforms are not there if nobody has fetched them.
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let asked = ["metadata", "--format-version=1", "--offline", "--filter-platform", host];
        let metadata = Command::new(env!("CARGO")).args(asked).output().unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let linked = packages.iter().find(|package| package["name"] == "rdkafka-sys").unwrap();
        let folder = std::path::Path::new(linked["manifest_path"].as_str().unwrap()).parent().unwrap();
        let list = std::fs::read_to_string(folder.join("librdkafka/CONFIGURATION.md")).unwrap();
        let rows = list.lines().filter_map(|line| line.split_once('|')).map(|(name, _)| name.trim());
        let is_name =
            |name: &&str| name.contains(['.', '_']) || matches!(*name, "acks" | "debug" | "opaque" | "retries");
        let is_row = |name: &&str| !name.is_empty() && !name.contains([' ', '-']);
        rows.filter(is_row).filter(is_name).map(str::to_owned).collect()
    }

    #[test]
    fn every_property_of_librdkafka_is_decided() {
        let documented = documented();
        assert!(documented.len() > 150, "{documented:?}");
        let undecided: Vec<_> =
            documented.iter().filter(|name| matches!(judge(name, "?"), Given::Unknown { .. })).collect();
        assert!(undecided.is_empty(), "decide on {undecided:?}");
    }

    #[test]
    fn what_is_misspelt_is_told_with_the_nearest_name() {
        assert_eq!(judge("session.timeout", "1"), Given::Unknown { nearest: Some("session.timeout.ms") });
        assert_eq!(judge("colour", "red"), Given::Unknown { nearest: None });
    }
}
