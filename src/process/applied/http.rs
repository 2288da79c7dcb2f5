//! `GET /applied`: the same question over HTTP, for back ends in any language.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::{Answer, PartitionReach, Question, Questions, Reach, SetAside};
use crate::process::Event;

/// How long an answer is waited for unless the question says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Serves `/applied`.
pub(crate) fn routes(questions: Questions) -> Router {
    Router::new().route("/applied", get(applied).with_state(questions))
}

async fn applied(State(questions): State<Questions>, RawQuery(query): RawQuery) -> Response {
    let (question, timeout) = match parse(query.as_deref().unwrap_or_default()) {
        Ok(parsed) => parsed,
        Err(problem) => return response(StatusCode::BAD_REQUEST, json!({ "applied": false, "problem": problem })),
    };
    let started = Instant::now();
    let answer = questions.ask(question, timeout).await;
    let (status, mut body) = told(&answer);
    if let Value::Object(body) = &mut body {
        let waited = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        body.insert("waited_ms".to_owned(), waited.into());
    }
    response(status, body)
}

fn response(status: StatusCode, body: Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, format!("{body}\n")).into_response()
}

/// The question of a query such as `lsn=0/16B3748&timeout=2s`.
fn parse(query: &str) -> Result<(Question, Duration), String> {
    let (mut question, mut system, mut timeout) = (None, None, TIMEOUT);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or_else(|| format!("`{name}` is not well encoded"))?;
        match name {
            "lsn" | "event_id" if question.is_some() => {
                return Err("ask for one thing: `lsn` or `event_id`".to_owned());
            }
            "lsn" => {
                let lsn = value.parse().map_err(|error| format!("`lsn={value}`: {error}, such as 0/16B3748"))?;
                question = Some(Question::Commit { lsn, system: None });
            }
            "event_id" if value.is_empty() => return Err("`event_id` is empty".to_owned()),
            "event_id" => question = Some(Question::Event(Event::id_of_text(&value))),
            "system" => {
                system = Some(value.parse().map_err(|_| format!("`system={value}` is no system identifier"))?);
            }
            "timeout" => timeout = duration(&value).ok_or_else(|| timeout_problem(&value))?,
            _ => return Err(format!("`{name}` is not known; there are lsn, event_id, system and timeout")),
        }
    }
    let question = match question {
        Some(Question::Commit { lsn, .. }) => Question::Commit { lsn, system },
        Some(Question::Event(_)) if system.is_some() => return Err("`system` goes with `lsn`".to_owned()),
        Some(question) => question,
        None => return Err("give `lsn` or `event_id`".to_owned()),
    };
    Ok((question, timeout))
}

fn timeout_problem(value: &str) -> String {
    format!("`timeout={value}`: give seconds such as 5 or 0.5, or 500ms, {} at the most", TIMEOUT_MAX.as_secs())
}

/// Seconds, or milliseconds with their unit.
fn duration(text: &str) -> Option<Duration> {
    let seconds = match text.strip_suffix("ms") {
        Some(millis) => millis.parse::<f64>().ok()? / 1_000.0,
        None => text.strip_suffix('s').unwrap_or(text).parse().ok()?,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= TIMEOUT_MAX)
}

/// A value of a query as it was before it was encoded.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn told(answer: &Answer) -> (StatusCode, Value) {
    match answer {
        Answer::Applied(aside) => (StatusCode::OK, json!({ "applied": true, "dead_letters": told_aside(aside) })),
        Answer::DeadLetter(handlers) => {
            let problem = "the event is a dead letter; see `evp dlq list`";
            (StatusCode::CONFLICT, json!({ "applied": false, "problem": problem, "failed_handlers": handlers }))
        }
        Answer::NotYet(topics) => {
            let topics: Vec<Value> = topics.iter().map(told_reach).collect();
            let problem = "not applied in time, as far as is known";
            (StatusCode::GATEWAY_TIMEOUT, json!({ "applied": false, "problem": problem, "topics": topics }))
        }
        Answer::Unavailable(problem) => {
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "applied": false, "problem": problem }))
        }
    }
}

fn told_aside(aside: &SetAside) -> Value {
    let latest = aside.latest.iter().map(|(event_id, lsn)| json!({ "event_id": event_id, "lsn": lsn }));
    json!({ "since_start": aside.count, "latest": latest.collect::<Vec<_>>() })
}

fn told_reach(reach: &Reach) -> Value {
    let partitions = reach.partitions.iter().map(|partition| {
        let PartitionReach { partition, decided_end, end, passed, is_own } = partition;
        let read_by = if *is_own { "this process" } else { "another process" };
        json!({ "partition": partition, "applied_offset": decided_end, "end_offset": end, "passed_lsn": passed,
            "read_by": read_by })
    });
    json!({ "topic": reach.topic, "captured_lsn": reach.captured, "problem": reach.problem,
        "partitions": partitions.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lsn::Lsn;

    #[test]
    fn a_question_is_read_as_it_is_usually_encoded() {
        let commit = |lsn, system| Question::Commit { lsn: Lsn::new(lsn), system };
        assert_eq!(parse("lsn=0/16B3748"), Ok((commit(0x16B_3748, None), TIMEOUT)));
        let parsed = parse("lsn=1%2FA&system=7429&timeout=250ms");
        assert_eq!(parsed, Ok((commit(0x1_0000_000A, Some(7429)), Duration::from_millis(250))));
        let id = "fd304db0-6e40-4f4d-9c0e-d66c58fe5c8e";
        let event = |text| Question::Event(Event::id_of_text(text));
        assert_eq!(parse(&format!("event_id={id}&timeout=1.5")), Ok((event(id), Duration::from_millis(1_500))));
        assert_eq!(parse("event_id=A%2f1+b&timeout=0s"), Ok((event("A/1 b"), Duration::ZERO)));
    }

    #[test]
    fn what_is_wrong_with_a_question_is_said() {
        for (query, part) in [
            ("", "lsn"),
            ("lsn=here", "0/16B3748"),
            ("lsn=0/1&event_id=x", "one thing"),
            ("event_id=", "empty"),
            ("event_id=x&system=1", "goes with"),
            ("lsn=0/1&system=x", "system identifier"),
            ("lsn=0/1&timeout=61", "60"),
            ("lsn=0/1&timeout=-1", "60"),
            ("lsn=0%", "encoded"),
            ("lsn=0/1&wait=1", "`wait`"),
        ] {
            let problem = parse(query).unwrap_err();
            assert!(problem.contains(part), "{query}: {problem}");
        }
    }

    #[tokio::test]
    async fn without_a_process_at_work_nobody_answers() {
        let answer = Questions::default().ask(Question::Event(uuid::Uuid::nil()), Duration::from_millis(60)).await;
        assert!(matches!(answer, Answer::Unavailable(_)));
        assert_eq!(told(&answer).0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
