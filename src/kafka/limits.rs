//! How large a record may be, asked before anything is sent: a refusal afterwards would leave a hole.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::envelope::Record;
use crate::error::Result;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Kafka's own default of `socket.request.max.bytes`, for a broker that does not say.
const REQUEST_BYTES_MAX: usize = 104_857_600;
/// What a produce request holds besides its batch and the topic's name, rounded up.
const REQUEST_OVERHEAD_BYTES: usize = 512;
/// A batch that fills this is large enough to be cheap.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// librdkafka takes no smaller batches.
const BATCH_BYTES_MIN: usize = 1_024;

/// The header of a record batch, of message format 2.
const BATCH_HEADER_BYTES: usize = 61;

/// What the brokers take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordLimits {
    /// `max.message.bytes` of each topic that says so.
    topics: BTreeMap<String, usize>,
    /// `message.max.bytes` of a broker, which holds for a topic that it creates.
    default_bytes: Option<usize>,
    /// `socket.request.max.bytes` of a broker, which closes the connection instead of answering.
    request_bytes: usize,
    /// What is compared with the limits is not known before it is compressed.
    is_compressed: bool,
    /// The user's own limit, before compression.
    message_bytes: Option<usize>,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            default_bytes: None,
            request_bytes: REQUEST_BYTES_MAX,
            is_compressed: false,
            message_bytes: None,
        }
    }
}

impl RecordLimits {
    /// The size of the largest record, alone in its batch, that the topic is known to take, and the name of what limits it.
    pub(crate) fn of_record(&self, topic: &str) -> (usize, &'static str) {
        let (bytes, name) = self.of_topic(topic);
        let bytes = if self.is_compressed { usize::MAX } else { bytes };
        match self.message_bytes {
            Some(limit) if limit < bytes => (limit, "message.max.bytes, as given by --kafka"),
            _ => (bytes, name),
        }
    }

    /// The same of a batch, before it is compressed.
    fn of_topic(&self, topic: &str) -> (usize, &'static str) {
        let request = self.request_bytes.saturating_sub(REQUEST_OVERHEAD_BYTES.saturating_add(topic.len()));
        let batch = self.topics.get(topic).copied().or(self.default_bytes).unwrap_or(usize::MAX);
        if batch <= request { (batch, "max.message.bytes") } else { (request, "socket.request.max.bytes") }
    }

    /// The batch size that every one of the topics takes.
    pub(crate) fn batch_bytes<'a>(&self, topics: impl IntoIterator<Item = &'a String>) -> usize {
        let smallest = topics.into_iter().map(|topic| self.of_topic(topic).0).min();
        smallest.unwrap_or(BATCH_BYTES_MAX).clamp(BATCH_BYTES_MIN, BATCH_BYTES_MAX)
    }
}

/// The most that producers fill a batch with before the limits are known.
pub(crate) fn usual_batch_bytes() -> usize {
    BATCH_BYTES_MAX
}

/// Asks the brokers; what they do not tell, for want of a privilege, is left to their answers.
pub(crate) async fn record_limits(config: &KafkaConfig, topics: &[String]) -> Result<RecordLimits> {
    let mut client = client_config(config, "evp-admin");
    with_user_properties(&mut client, config);
    let admin: AdminClient<DefaultClientContext> =
        client.create().map_err(|error| client_error("reading the topics' limits", config, error))?;
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let given = |names: &[&str]| {
        let property = config.properties.iter().rev().find(|(name, _)| names.contains(&name.as_str()));
        property.map(|(_, value)| value.expose())
    };
    let mut limits = RecordLimits {
        is_compressed: given(&["compression.type", "compression.codec"]).is_some_and(|codec| codec != "none"),
        message_bytes: given(&["message.max.bytes"]).and_then(|bytes| bytes.parse().ok()),
        ..RecordLimits::default()
    };
    let resources: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    for (topic, described) in topics.iter().zip(described(&admin, &resources, &options).await) {
        if let Some(bytes) = described.and_then(|settings| number(&settings, "max.message.bytes")) {
            limits.topics.insert(topic.clone(), bytes);
        }
    }
    if let Some(broker) = any_broker(admin).await {
        let (admin, id) = broker;
        let resources = [ResourceSpecifier::Broker(id)];
        let settings = described(&admin, &resources, &options).await.into_iter().next().flatten();
        limits.default_bytes = settings.as_ref().and_then(|settings| number(settings, "message.max.bytes"));
        let request_bytes = settings.as_ref().and_then(|settings| number(settings, "socket.request.max.bytes"));
        limits.request_bytes = request_bytes.unwrap_or(REQUEST_BYTES_MAX);
    }
    Ok(limits)
}

/// The settings of each resource, in order; none where the broker does not tell them.
async fn described(
    admin: &AdminClient<DefaultClientContext>,
    resources: &[ResourceSpecifier<'_>],
    options: &AdminOptions,
) -> Vec<Option<ConfigResource>> {
    if resources.is_empty() {
        return Vec::new();
    }
    match admin.describe_configs(resources, options).await {
        Ok(answers) => answers.into_iter().map(|answer| answer.ok()).collect(),
        Err(error) => {
            tracing::debug!(event = "kafka_limits_unknown", %error, "the brokers' answers will tell what is too large");
            resources.iter().map(|_| None).collect()
        }
    }
}

async fn any_broker(admin: AdminClient<DefaultClientContext>) -> Option<(AdminClient<DefaultClientContext>, i32)> {
    tokio::task::spawn_blocking(move || {
        // One broker speaks for all: these settings are those of a cluster, as a rule.
        let metadata = admin.inner().fetch_metadata(None, REQUEST_TIMEOUT).ok()?;
        let id = metadata.brokers().first()?.id();
        Some((admin, id))
    })
    .await
    .ok()
    .flatten()
}

fn number(settings: &ConfigResource, name: &str) -> Option<usize> {
    settings.get(name)?.value.as_ref()?.parse().ok()
}

/// The size of a batch that holds this record alone, uncompressed: what a broker compares with its limit.
pub(crate) fn batch_bytes_alone(record: &Record<'_>) -> usize {
    let (mut body, mut count) = (0_usize, 0_usize);
    for (name, value) in record.headers.iter() {
        body = body.saturating_add(sized(Some(name.as_bytes()))).saturating_add(sized(value));
        count = count.saturating_add(1);
    }
    // Attributes, and the offset and time relative to the batch, are one byte each in a batch of one.
    body = body.saturating_add(3).saturating_add(varint_bytes(count));
    body = body.saturating_add(sized(record.key)).saturating_add(sized(record.value));
    BATCH_HEADER_BYTES.saturating_add(varint_bytes(body)).saturating_add(body)
}

fn sized(bytes: Option<&[u8]>) -> usize {
    // Absence is the length -1, which is one byte.
    bytes.map_or(1, |bytes| varint_bytes(bytes.len()).saturating_add(bytes.len()))
}

/// How many bytes a length takes: zig-zag doubles it, then there are seven bits in a byte.
fn varint_bytes(length: usize) -> usize {
    let bits = usize::BITS.saturating_sub(length.leading_zeros()).saturating_add(1);
    usize::try_from(bits.div_ceil(7)).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Headers;

    #[test]
    fn a_length_takes_a_byte_more_from_64_on_and_from_8192_on() {
        let bytes = |length| varint_bytes(length);
        assert_eq!([bytes(0), bytes(1), bytes(63), bytes(64), bytes(8_191), bytes(8_192)], [1, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn the_size_of_a_record_alone_is_that_of_its_batch() {
        let sized = |key, value, others| {
            let headers = Headers { others, ..Headers::default() };
            batch_bytes_alone(&Record { key, value, headers, ..Record::default() })
        };
        // Header 61, length 1, attributes 1, deltas 2, key -1 is 1, value -1 is 1, no headers 1.
        assert_eq!(sized(None, None, &[]), 68);
        assert_eq!(sized(Some(&b"k"[..]), Some(&b"vv"[..]), &[]), 71);
        assert_eq!(sized(None, None, &[("h", Some(b"x")), ("n", Some(b""))]), 68 + 4 + 3);
    }

    #[test]
    fn the_smallest_limit_of_the_topics_bounds_the_batch() {
        let topics = BTreeMap::from([("small".to_owned(), 64_000), ("large".to_owned(), 9_000_000)]);
        let limits =
            RecordLimits { topics, default_bytes: Some(500_000), request_bytes: 1_000_000, ..RecordLimits::default() };
        let bytes =
            |names: &[&str]| limits.batch_bytes(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!((bytes(&["small", "large"]), bytes(&["new"]), bytes(&[])), (64_000, 500_000, 1_000_000));
        assert_eq!(limits.of_topic("small"), (64_000, "max.message.bytes"));
        let (bytes, name) = limits.of_topic("large");
        assert!(bytes < 1_000_000 && name == "socket.request.max.bytes");
    }
}
