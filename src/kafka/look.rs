//! Looking at topics and at the group of `evp process` from outside, without joining it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde::Serialize;

use super::{client_config, client_error, with_user_properties};
use crate::config::KafkaConfig;
use crate::error::{Error, ErrorKind, Result};

/// Bound of one request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A partition as the brokers tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionLook {
    pub(crate) id: i32,
    pub(crate) has_leader: bool,
    pub(crate) replicas: usize,
    pub(crate) in_sync: usize,
}

/// A consumer group as its coordinator tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct GroupLook {
    /// The coordinator's word, such as `Stable` or `Empty`.
    pub(crate) state: String,
    /// Client id and host of each member.
    pub(crate) members: Vec<(String, String)>,
}

impl GroupLook {
    /// Whether it is certain that nobody is in the group. Of a group of the newer protocol the coordinator tells nothing
    /// in the older words.
    pub(crate) fn is_empty(&self) -> bool {
        self.state == "Empty"
    }
}

/// A client that asks and never reads; each call blocks.
pub(crate) struct Looker {
    pub(super) consumer: BaseConsumer,
    pub(super) config: KafkaConfig,
}

impl Looker {
    /// Connects in the background.
    pub(crate) fn new(config: &KafkaConfig) -> Result<Self> {
        let mut client = client_config(config, "evp-look");
        with_user_properties(&mut client, config);
        // The group's offsets are asked for, and it is never joined.
        client
            .set("group.id", &config.group_id)
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            .set("socket.timeout.ms", "10000")
            .remove("group.instance.id");
        let consumer = client.create().map_err(|error| client_error("creating a consumer", config, error))?;
        Ok(Self { consumer, config: config.clone() })
    }

    /// All topics with their partitions; asking for one by name can create it.
    pub(crate) fn topics(&self) -> Result<HashMap<String, Vec<PartitionLook>>> {
        let failed = |error| client_error("reading the topics", &self.config, error);
        let metadata = self.consumer.fetch_metadata(None, REQUEST_TIMEOUT).map_err(failed)?;
        let partitions = |topic: &rdkafka::metadata::MetadataTopic| {
            let look = |partition: &rdkafka::metadata::MetadataPartition| PartitionLook {
                id: partition.id(),
                has_leader: partition.leader() >= 0,
                replicas: partition.replicas().len(),
                in_sync: partition.isr().len(),
            };
            let mut partitions: Vec<_> = topic.partitions().iter().map(look).collect();
            partitions.sort_by_key(|partition| partition.id);
            partitions
        };
        Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), partitions(topic))).collect())
    }

    /// The id of the cluster.
    pub(crate) fn cluster_id(&self) -> Result<String> {
        let failed = |error| client_error("asking for the cluster", &self.config, error);
        self.consumer.fetch_metadata(Some(&self.config.topic), REQUEST_TIMEOUT).map_err(failed)?;
        let id = self.consumer.client().fetch_cluster_id(REQUEST_TIMEOUT);
        id.ok_or_else(|| Error::unavailable("Kafka does not tell the id of its cluster"))
    }

    /// The first offset of a partition and the one behind its last.
    pub(crate) fn bounds(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        let failed = |error| client_error(&format!("reading the end of topic {topic}"), &self.config, error);
        self.consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(failed)
    }

    /// The group's offset of each of the partitions that has one.
    pub(crate) fn committed(
        &self,
        topic: &str,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Result<BTreeMap<i32, i64>> {
        let mut list = TopicPartitionList::new();
        partitions.into_iter().for_each(|partition| {
            list.add_partition(topic, partition);
        });
        let failed = |error| client_error("reading the group's offsets", &self.config, error);
        let committed = self.consumer.committed_offsets(list, REQUEST_TIMEOUT).map_err(failed)?;
        let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            Some((element.partition(), element.offset().to_raw().filter(|offset| *offset >= 0)?))
        };
        Ok(committed.elements().iter().filter_map(offset).collect())
    }

    /// The group, if the coordinator knows it.
    pub(crate) fn group(&self) -> Result<Option<GroupLook>> {
        let group = &self.config.group_id;
        let failed = |error| client_error(&format!("looking at group {group}"), &self.config, error);
        let groups = self.consumer.fetch_group_list(Some(group), REQUEST_TIMEOUT).map_err(failed)?;
        let found = groups.groups().iter().find(|found| found.name() == group);
        Ok(found.map(|found| GroupLook {
            state: found.state().to_owned(),
            members: found
                .members()
                .iter()
                .map(|member| (member.client_id().to_owned(), member.client_host().trim_start_matches('/').to_owned()))
                .collect(),
        }))
    }
}

/// Runs something that blocks, such as a client of Kafka, beside the runtime's own work.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let interrupted = |error| Error::with_source(ErrorKind::System, format!("{what} was interrupted"), error);
    tokio::task::spawn_blocking(work).await.map_err(interrupted)?
}
