//! The summary of `evp generate`, for people and for programs.

use std::io::Write;

use serde_json::{Value, json};

use super::GenerateSummary;
use crate::telemetry::LatencySummary;

/// A schedule is held if 99 of 100 transactions were sent within this time; beyond, a latency tells of the generator as well.
const LATENESS_P99_MS_MAX: f64 = 1.0;

/// Prints the summary for people.
pub fn print_text(summary: &GenerateSummary) {
    // A reader that went away has no use for the rest.
    let _ = std::io::stdout().write_all(text(summary).as_bytes());
}

/// Prints the summary as one JSON object.
pub fn print_json(summary: &GenerateSummary) {
    let _ = writeln!(std::io::stdout(), "{}", json_of(summary));
}

fn text(summary: &GenerateSummary) -> String {
    let by_type: Vec<_> = summary.events.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let mut text = format!(
        "{} events in {:.1} s, {:.1} a second\n{}\n{}{:.1} % of what was sent is written\n\n\
         {:<24}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        summary.event_count(),
        summary.elapsed.as_secs_f64(),
        summary.rate(),
        by_type.join(", "),
        summary
            .seconds
            .map(|(last, best)| format!("{best} in the best second, {last} in the last; "))
            .unwrap_or_default(),
        summary.success_percent(),
        "milliseconds from due to",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "count",
    );
    text.push_str(&row("sent", summary.lateness));
    text.push_str(&row("committed", summary.committed));
    if let Some(visible) = summary.visible {
        text.push_str(&row("visible in MongoDB", visible.latency));
        if visible.latency.count < visible.expected {
            text.push_str(&format!("{} of {} new documents were seen\n", visible.latency.count, visible.expected));
        }
    }
    if let Some((count, _)) = &summary.failures {
        text.push_str(&format!("{count} events were sent and are not on the topic\n"));
    }
    if !holds_schedule(summary) {
        text.push_str(&format!(
            "the schedule was not held: at p99 a transaction was sent {:.1} ms late, and {LATENESS_P99_MS_MAX:.0} ms is the most\n\
             for exact latencies; this machine is too busy at this rate\n",
            summary.lateness.p99_ms
        ));
    }
    text
}

fn holds_schedule(summary: &GenerateSummary) -> bool {
    summary.lateness.p99_ms <= LATENESS_P99_MS_MAX
}

fn row(name: &str, latency: LatencySummary) -> String {
    let LatencySummary { count, p50_ms, p90_ms, p99_ms, p999_ms, max_ms } = latency;
    format!("{name:<24}{p50_ms:>9.2}{p90_ms:>9.2}{p99_ms:>9.2}{p999_ms:>9.2}{max_ms:>9.2}{count:>9}\n")
}

fn json_of(summary: &GenerateSummary) -> Value {
    json!({
        "events": summary.event_count(),
        "events_by_type": summary.events,
        "elapsed_seconds": summary.elapsed.as_secs_f64(),
        "rate": summary.rate(),
        "rate_last_second": summary.seconds.map(|(last, _)| last),
        "rate_best_second": summary.seconds.map(|(_, best)| best),
        "success_percent": summary.success_percent(),
        "failed": summary.failures.as_ref().map_or(0, |(count, _)| *count),
        "lateness": latency_json(summary.lateness),
        "schedule_held": holds_schedule(summary),
        "committed": latency_json(summary.committed),
        "visible": summary.visible.map(|visible| json!({
            "expected": visible.expected,
            "latency": latency_json(visible.latency),
        })),
    })
}

fn latency_json(latency: LatencySummary) -> Value {
    json!({
        "count": latency.count,
        "p50_ms": latency.p50_ms,
        "p90_ms": latency.p90_ms,
        "p99_ms": latency.p99_ms,
        "p99_9_ms": latency.p999_ms,
        "max_ms": latency.max_ms,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::generate::{Latencies, VisibleSummary};

    #[test]
    fn missing_documents_and_a_late_generator_are_said() {
        let lateness = Latencies::default();
        lateness.record(Duration::from_millis(80));
        let summary = GenerateSummary {
            events: [("UserCreated", 3)].into(),
            elapsed: Duration::from_secs(2),
            seconds: Some((1, 2)),
            lateness: lateness.summary(),
            committed: lateness.summary(),
            visible: Some(VisibleSummary { expected: 3, latency: lateness.summary() }),
            failures: None,
        };
        let text = text(&summary);
        assert!(text.starts_with("3 events in 2.0 s, 1.5 a second\n3 UserCreated\n"), "{text}");
        assert!(text.contains("2 in the best second, 1 in the last; 100.0 % of what was sent"), "{text}");
        assert!(text.contains("1 of 3 new documents") && text.contains("schedule was not held"), "{text}");
        assert_eq!(json_of(&summary)["schedule_held"], false);
        assert!(summary.check().is_err());
        assert_eq!(json_of(&summary)["visible"]["latency"]["count"], 1);
        let failures = Some((2, "the topic takes no records".to_owned()));
        let failed = GenerateSummary { failures, ..summary };
        assert!(failed.check().unwrap_err().message().contains("the topic takes no records"));
        assert_eq!((&json_of(&failed)["failed"], &json_of(&failed)["success_percent"]), (&json!(2), &json!(60.0)));
    }
}
