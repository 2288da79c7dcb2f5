//! The form of a dead letter: the original record, byte for byte, and headers that say why it is there.
//!
//! The names are Kafka Connect's, so that its tools read them, and evp's own for what Connect has no name for.

/// The topic in which a dead letter had its place. A record that bears it was published again, behind its place.
pub(crate) const DEAD_LETTER_OF: &str = "__connect.errors.topic";
/// The letter that a record was published again from, or that a mark is about.
pub(crate) const LETTER: &str = "evp.letter";

/// What Kafka Connect calls its own begins like this.
const CONNECT: &str = "__connect.errors.";
const PARTITION: &str = "__connect.errors.partition";
const OFFSET: &str = "__connect.errors.offset";
const CONNECTOR_NAME: &str = "__connect.errors.connector.name";
const TASK_ID: &str = "__connect.errors.task.id";
const STAGE: &str = "__connect.errors.stage";
const CLASS_NAME: &str = "__connect.errors.class.name";
const EXCEPTION_CLASS: &str = "__connect.errors.exception.class.name";
const EXCEPTION_MESSAGE: &str = "__connect.errors.exception.message";
const HANDLER: &str = "evp.handler";
const ATTEMPTS: &str = "evp.attempts";
const ERROR_KIND: &str = "evp.error.kind";

/// How the message of an event begins that waited for its document in vain.
pub(crate) const PREDECESSOR_MISSING: &str = "predecessor missing";

/// The name of the dead-letter topic of `topic`.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// Why a record became a dead letter, and which record it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    /// The topic of the record.
    pub(crate) topic: String,
    /// Its partition, if it came that far.
    pub(crate) partition: Option<i32>,
    /// Its offset; a row that the topic did not take has none.
    pub(crate) offset: Option<i64>,
    /// The consumer group that gave it up; none if it was capture.
    pub(crate) group: Option<String>,
    /// Kafka Connect's word for how far it came.
    pub(crate) stage: String,
    /// The handler that failed; none if the event could not be given to any.
    pub(crate) handler: Option<String>,
    /// How often it was tried.
    pub(crate) attempts: Option<u32>,
    /// Name of the error's kind.
    pub(crate) kind: String,
    /// The error in a sentence.
    pub(crate) message: String,
}

impl Cause {
    /// The headers that are added to the record.
    pub(crate) fn to_headers(&self) -> Vec<(&'static str, String)> {
        let number = |number: Option<i64>| number.map(|number| number.to_string());
        let mut headers = vec![
            (DEAD_LETTER_OF, self.topic.clone()),
            (PARTITION, number(self.partition.map(i64::from)).unwrap_or_default()),
        ];
        headers.extend(number(self.offset).map(|offset| (OFFSET, offset)));
        if let Some(group) = &self.group {
            headers.push((CONNECTOR_NAME, group.clone()));
            headers.push((TASK_ID, "0".to_owned()));
        }
        headers.push((STAGE, self.stage.clone()));
        if self.group.is_some() {
            headers.push((CLASS_NAME, self.handler.clone().unwrap_or_else(|| "evp".to_owned())));
        }
        headers.push((EXCEPTION_CLASS, self.kind.clone()));
        headers.push((EXCEPTION_MESSAGE, self.message.clone()));
        if self.group.is_some() {
            headers.push((HANDLER, self.handler.clone().unwrap_or_default()));
        }
        headers.extend(self.attempts.map(|attempts| (ATTEMPTS, attempts.to_string())));
        headers.push((ERROR_KIND, self.kind.clone()));
        headers
    }

    /// Reads the headers of a letter. Of a record that was given up more than once the last time counts.
    pub(crate) fn read<'a>(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let mut cause = Self::default();
        for (name, value) in headers {
            let text = value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default();
            match name {
                // It is the first of those that are added at a time.
                DEAD_LETTER_OF => cause = Self { topic: text, ..Self::default() },
                PARTITION => cause.partition = text.parse().ok(),
                OFFSET => cause.offset = text.parse().ok(),
                CONNECTOR_NAME => cause.group = Some(text),
                STAGE => cause.stage = text,
                EXCEPTION_MESSAGE => cause.message = text,
                HANDLER => cause.handler = Some(text).filter(|name| !name.is_empty()),
                ATTEMPTS => cause.attempts = text.parse().ok(),
                ERROR_KIND => cause.kind = text,
                _ => {}
            }
        }
        cause
    }

    /// Whether the event waited for a document that does not exist.
    pub(crate) fn is_missing_predecessor(&self) -> bool {
        self.message.starts_with(PREDECESSOR_MISSING)
    }
}

/// Whether a header belongs to a dead letter and not to the record that it was.
pub(crate) fn is_added(name: &str) -> bool {
    name.starts_with(CONNECT) || [LETTER, HANDLER, ATTEMPTS, ERROR_KIND].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(headers: &[(&'static str, String)]) -> Cause {
        Cause::read(headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))))
    }

    proptest! {
        #[test]
        fn a_cause_comes_back_from_its_headers(
            (topic, group, handler) in (".+", ".+", proptest::option::of(".+")),
            (partition, offset, attempts) in (any::<i32>(), any::<i64>(), any::<u32>()),
            (stage, kind, message) in (".*", ".*", ".*"),
        ) {
            let cause = Cause {
                topic, partition: Some(partition), offset: Some(offset), group: Some(group), stage, handler,
                attempts: Some(attempts), kind, message,
            };
            let headers = cause.to_headers();
            prop_assert!(headers.iter().all(|(name, _)| is_added(name)));
            prop_assert_eq!(read(&headers), cause);
        }
    }

    #[test]
    fn of_a_record_that_was_given_up_twice_the_last_time_counts() {
        let first = Cause { topic: "t".to_owned(), attempts: Some(4), kind: "data".to_owned(), ..Cause::default() };
        let second = Cause { attempts: None, kind: "refused".to_owned(), ..first.clone() };
        let headers: Vec<_> = first.to_headers().into_iter().chain(second.to_headers()).collect();
        assert_eq!(read(&headers), second);
    }

    #[test]
    fn headers_of_the_record_itself_stay() {
        for name in ["evp.position", "trace", "__debezium.context.connectorName", "evp.other"] {
            assert!(!is_added(name), "{name}");
        }
    }
}
