//! What a signal asks for: a row of the signal table, or a record of the signal topic.

use serde::Deserialize;
use serde_json::Value;

/// What the id of a window's row ends with.
const OPEN: &str = "-open";
const CLOSE: &str = "-close";

/// A signal that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signal {
    /// `log`: say this.
    Log(String),
    /// `execute-snapshot`: read these tables while the stream goes on.
    Execute(Execution),
    /// The same of type `blocking`: the stream waits until they are read.
    Block(Execution),
    /// `stop-snapshot`: read no more of tables whose names match one of these, or of any if there are none.
    Stop(Vec<String>),
    /// `pause-snapshot`.
    Pause,
    /// `resume-snapshot`.
    Resume,
}

/// Which tables are to be read, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Execution {
    /// Expressions that match names of tables as a whole.
    pub(crate) collections: Vec<String>,
    /// Expressions, each with the condition that rows of the tables have to meet; of a blocking snapshot, with the statement
    /// that reads them.
    pub(crate) conditions: Vec<(String, String)>,
    /// The column by whose order tables are read, in the place of the primary key.
    pub(crate) surrogate: Option<String>,
}

/// The two ends of a window, by the type or the id of a row of the signal table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowEnd<'a> {
    /// It opens.
    Open(&'a str),
    /// It closes.
    Close(&'a str),
}

impl<'a> WindowEnd<'a> {
    /// From a row that was inserted.
    pub(crate) fn of_inserted(id: &'a str, kind: &str) -> Option<Self> {
        match kind {
            "snapshot-window-open" => id.strip_suffix(OPEN).map(Self::Open),
            "snapshot-window-close" => id.strip_suffix(CLOSE).map(Self::Close),
            _ => None,
        }
    }

    /// From a message of the log.
    pub(crate) fn of_message(id: &'a str) -> Option<Self> {
        id.strip_suffix(OPEN).map(Self::Open).or_else(|| id.strip_suffix(CLOSE).map(Self::Close))
    }

    /// From a row that was deleted, by which a window closes where its opening row is taken away again.
    pub(crate) fn of_deleted(id: &'a str) -> Option<Self> {
        id.strip_suffix(OPEN).map(Self::Close)
    }
}

/// The ids of the rows that open and close a window.
pub(crate) fn window_rows(window: &str) -> (String, String) {
    (format!("{window}{OPEN}"), format!("{window}{CLOSE}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ExecutionData {
    data_collections: Option<Vec<String>>,
    #[serde(default)]
    additional_conditions: Vec<Condition>,
    surrogate_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Condition {
    data_collection: String,
    filter: String,
}

/// Understands a signal; the error says in a few words what is wrong with it.
pub(crate) fn parse(kind: &str, data: &str) -> Result<Signal, String> {
    if !matches!(kind, "log" | "execute-snapshot" | "stop-snapshot" | "pause-snapshot" | "resume-snapshot") {
        return Err("evp has log, execute-snapshot, stop-snapshot, pause-snapshot and resume-snapshot".to_owned());
    }
    let text = if data.trim().is_empty() { "{}" } else { data };
    let data: Value = serde_json::from_str(text).map_err(|error| format!("its data is not JSON: {error}"))?;
    if kind == "log" {
        let message = data.get("message").and_then(Value::as_str).ok_or("its data has no message")?;
        return Ok(Signal::Log(message.to_owned()));
    }
    let is_blocking =
        match data.get("type").map(|kind| kind.as_str().unwrap_or_default().to_ascii_lowercase()).as_deref() {
            None | Some("incremental") => false,
            Some("blocking") if kind == "execute-snapshot" => true,
            Some("blocking") => {
                return Err("a blocking snapshot is not stopped, paused or resumed by signals".to_owned());
            }
            Some(_) => return Err("its type is neither incremental nor blocking".to_owned()),
        };
    match kind {
        "execute-snapshot" => execution(data).map(if is_blocking { Signal::Block } else { Signal::Execute }),
        "stop-snapshot" => {
            let listed: Option<Vec<String>> = match data.get("data-collections") {
                None | Some(Value::Null) => None,
                Some(list) => Some(Vec::deserialize(list).map_err(|_| "its data-collections is no list of texts")?),
            };
            Ok(Signal::Stop(listed.unwrap_or_default()))
        }
        "pause-snapshot" => Ok(Signal::Pause),
        _ => Ok(Signal::Resume),
    }
}

fn execution(data: Value) -> Result<Execution, String> {
    let data = ExecutionData::deserialize(data).map_err(|error| format!("its data is not understood: {error}"))?;
    let collections =
        data.data_collections.filter(|list| !list.is_empty()).ok_or("its data has no data-collections")?;
    let conditions = data.additional_conditions.into_iter();
    Ok(Execution {
        collections,
        conditions: conditions.map(|condition| (condition.data_collection, condition.filter)).collect(),
        surrogate: data.surrogate_key.filter(|column| !column.is_empty()),
    })
}

/// The three parts of a record of the signal topic: id, type and data.
pub(crate) fn of_record(value: &str) -> Result<(String, String, String), String> {
    let record: Value = serde_json::from_str(value).map_err(|error| format!("it is not JSON: {error}"))?;
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let data = match record.get("data") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    Ok((text("id"), text("type"), data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_snapshot_has_tables_conditions_and_a_key() {
        let data = r#"{"type":"INCREMENTAL","data-collections":["app.t.*","app.u"],"surrogate-key":"n",
            "additional-conditions":[{"data-collection":"app.u","filter":"n > 3"}]}"#;
        let asked = Execution {
            collections: vec!["app.t.*".to_owned(), "app.u".to_owned()],
            conditions: vec![("app.u".to_owned(), "n > 3".to_owned())],
            surrogate: Some("n".to_owned()),
        };
        assert_eq!(parse("execute-snapshot", data), Ok(Signal::Execute(asked)));
        let blocking = r#"{"type":"Blocking","data-collections":["a.b"]}"#;
        assert!(
            matches!(parse("execute-snapshot", blocking), Ok(Signal::Block(asked)) if asked.collections == ["a.b"])
        );
        let one = r#"{"data-collections":["a.b"]}"#;
        assert!(matches!(parse("execute-snapshot", one), Ok(Signal::Execute(asked)) if asked.conditions.is_empty()));
    }

    #[test]
    fn the_others_are_understood() {
        assert_eq!(parse("log", r#"{"message":"hello"}"#), Ok(Signal::Log("hello".to_owned())));
        assert_eq!(parse("stop-snapshot", r#"{"data-collections":["a.b"]}"#), Ok(Signal::Stop(vec!["a.b".to_owned()])));
        assert_eq!(parse("stop-snapshot", ""), Ok(Signal::Stop(Vec::new())));
        assert_eq!(parse("pause-snapshot", r#"{"type":"incremental"}"#), Ok(Signal::Pause));
        assert_eq!(parse("resume-snapshot", "{}"), Ok(Signal::Resume));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (kind, data, said) in [
            ("dance", "{}", "evp has log"),
            ("execute-snapshot", "{nope", "not JSON"),
            ("execute-snapshot", "", "no data-collections"),
            ("execute-snapshot", r#"{"data-collections":[]}"#, "no data-collections"),
            ("stop-snapshot", r#"{"type":"blocking"}"#, "not stopped"),
            ("execute-snapshot", r#"{"data-collections":["a.b"],"type":"odd"}"#, "neither incremental"),
            (
                "execute-snapshot",
                r#"{"data-collections":["a.b"],"additional-conditions":[{"data-collection":"a.b"}]}"#,
                "filter",
            ),
            ("stop-snapshot", r#"{"data-collections":"a.b"}"#, "no list"),
            ("log", "{}", "no message"),
        ] {
            let error = parse(kind, data).unwrap_err();
            assert!(error.contains(said), "{kind} {data}: {error}");
        }
    }

    #[test]
    fn windows_are_known_by_their_rows() {
        let (open, close) = window_rows("w");
        assert_eq!(WindowEnd::of_inserted(&open, "snapshot-window-open"), Some(WindowEnd::Open("w")));
        assert_eq!(WindowEnd::of_inserted(&close, "snapshot-window-close"), Some(WindowEnd::Close("w")));
        assert_eq!(WindowEnd::of_deleted(&open), Some(WindowEnd::Close("w")));
        assert_eq!(WindowEnd::of_inserted(&close, "log"), None);
        assert_eq!(WindowEnd::of_deleted("mine"), None);
    }

    #[test]
    fn a_record_holds_its_data_as_an_object_or_as_a_text() {
        let parts = ("1".to_owned(), "log".to_owned(), r#"{"message":"m"}"#.to_owned());
        assert_eq!(of_record(r#"{"id":"1","type":"log","data":{"message":"m"}}"#), Ok(parts.clone()));
        assert_eq!(of_record(r#"{"id":"1","type":"log","data":"{\"message\":\"m\"}"}"#), Ok(parts));
        assert!(of_record("{nope").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_refused(kind in "(log|execute-snapshot|stop-snapshot|x)", data in "\\PC{0,60}") {
            let _ = parse(&kind, &data);
            let _ = of_record(&data);
        }
    }
}
