//! `signal.*` and `incremental.snapshot.*`: where signals come from, and how tables are read that they name.

use std::time::Duration;

use super::Connector;
use crate::config::Variables;

/// What the connector says of signals.
#[derive(Debug, Clone)]
pub struct SignalSettings {
    /// `signal.data.collection`, as schema and table: signals, and the marks of windows.
    pub table: Option<(String, String)>,
    /// Rows of that table are signals.
    pub by_table: bool,
    /// The topic whose records are signals, if they are.
    pub topic: Option<SignalTopic>,
    /// Rows that are read at once.
    pub chunk_rows: u64,
    /// A window is closed by deleting the row that has opened it.
    pub deletes_marks: bool,
    /// `read.only`: windows are marked by messages of the log, and nothing is written to a table.
    pub is_read_only: bool,
}

/// Where signals come from in Kafka.
#[derive(Debug, Clone)]
pub struct SignalTopic {
    /// Its name.
    pub name: String,
    /// Another cluster than that of the records.
    pub bootstrap_servers: Option<String>,
    /// The group whose offset says where Debezium would go on.
    pub group_id: String,
    /// Between two looks at it.
    pub interval: Duration,
}

impl SignalSettings {
    /// From the properties; mistakes are noted.
    pub(super) fn of(connector: &Connector, variables: &mut Variables) -> Self {
        let channels = connector.get("signal.enabled.channels").unwrap_or("source");
        let channels: Vec<String> = channels.split(',').map(|channel| channel.trim().to_ascii_lowercase()).collect();
        for channel in channels.iter().filter(|channel| !matches!(channel.as_str(), "source" | "kafka" | "")) {
            variables.mistake(format!(
                "the property `signal.enabled.channels` has `{channel}`: evp takes signals from source and kafka"
            ));
        }
        let chunk_rows: u64 = connector.number(variables, "incremental.snapshot.chunk.size", 1024);
        let is_listed = |channel: &str| channels.iter().any(|listed| listed == channel);
        Self {
            table: connector.signal_table(variables),
            by_table: is_listed("source"),
            topic: is_listed("kafka").then(|| SignalTopic::of(connector, variables)),
            chunk_rows: chunk_rows.max(1),
            deletes_marks: connector
                .get("incremental.snapshot.watermarking.strategy")
                .is_some_and(|strategy| strategy.trim().eq_ignore_ascii_case("insert_delete")),
            is_read_only: connector.flag(variables, "read.only", false),
        }
    }

    /// Whether signals can come at all.
    pub fn are_taken(&self) -> bool {
        self.topic.is_some() || (self.by_table && self.table.is_some())
    }
}

impl SignalTopic {
    fn of(connector: &Connector, variables: &mut Variables) -> Self {
        let prefix = connector.topic_prefix().unwrap_or_default();
        let interval_ms: u64 = connector.number(variables, "signal.poll.interval.ms", 5_000);
        Self {
            name: connector.get("signal.kafka.topic").map_or_else(|| format!("{prefix}-signal"), str::to_owned),
            bootstrap_servers: connector.get("signal.kafka.bootstrap.servers").map(str::to_owned),
            group_id: connector.get("signal.kafka.groupId").unwrap_or("kafka-signal").to_owned(),
            interval: Duration::from_millis(interval_ms.clamp(10, 3_600_000)),
        }
    }
}

impl Connector {
    /// The signal table, as schema and name; a mistake is noted.
    pub(super) fn signal_table(&self, variables: &mut Variables) -> Option<(String, String)> {
        let given = self.get("signal.data.collection")?;
        let table = parse_table(given);
        if table.is_none() {
            variables.mistake(format!("the property `signal.data.collection={given}` is not of the form schema.table"));
        }
        table
    }
}

/// A table's name in full.
pub(super) fn parse_table(text: &str) -> Option<(String, String)> {
    let (schema, table) = text.trim().split_once('.')?;
    let is_name = |name: &str| !name.is_empty() && !name.contains('.');
    (is_name(schema) && is_name(table)).then(|| (schema.to_owned(), table.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::read_from;

    fn settings(sets: &[&str]) -> (SignalSettings, String) {
        read_from(sets, SignalSettings::of)
    }

    #[test]
    fn signals_come_from_a_table_unless_it_is_said_otherwise() {
        let (none, _) = settings(&[]);
        assert!(!none.are_taken() && none.chunk_rows == 1024 && !none.deletes_marks);
        let (table, _) = settings(&["signal.data.collection=app.signals"]);
        assert_eq!(table.table, Some(("app".to_owned(), "signals".to_owned())));
        assert!(table.are_taken() && table.topic.is_none());
    }

    #[test]
    fn the_topic_has_the_prefix_s_name_and_debezium_s_group() {
        let (settings, said) = settings(&[
            "signal.enabled.channels=kafka",
            "signal.data.collection=app.signals",
            "signal.poll.interval.ms=200",
            "incremental.snapshot.watermarking.strategy=INSERT_DELETE",
        ]);
        assert_eq!(said, "");
        assert!(!settings.by_table && settings.deletes_marks);
        let topic = settings.topic.unwrap();
        assert_eq!((topic.name.as_str(), topic.group_id.as_str()), ("postgres-signal", "kafka-signal"));
        assert_eq!(topic.interval, Duration::from_millis(200));
    }

    #[test]
    fn other_channels_and_a_table_without_a_schema_are_mistakes() {
        let (_, said) = settings(&["signal.enabled.channels=source,jmx", "signal.data.collection=signals"]);
        assert!(said.contains("`jmx`") && said.contains("schema.table"), "{said}");
    }
}
