//! Alerts and the dashboard ask for metrics that evp has, by labels that these have.

use std::collections::BTreeSet;
use std::path::Path;

use evp::telemetry::metrics::{METRICS, Metric, MetricKind};
use serde_json::Value;

use crate::packaging::yaml;

const FOLDER: &str = "compose/observability";
/// Labels that Prometheus adds.
const ADDED: [&str; 3] = ["job", "instance", "le"];

fn rules() -> Vec<Value> {
    let groups = yaml(format!("{FOLDER}/alerts.yml"));
    groups[0]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{FOLDER}/grafana/dashboards/evp.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Title or name, expression, and the texts that may name labels.
fn expressions() -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = rules()
        .iter()
        .map(|rule| (text(&rule["alert"]), text(&rule["expr"]), rule["annotations"].to_string()))
        .collect();
    for panel in dashboard()["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((text(&panel["title"]), text(&target["expr"]), text(&target["legendFormat"])));
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics of an expression as they stand there, each with what is before and after it.
fn metrics_of(expression: &str) -> Vec<(&str, &str, &str)> {
    let starts = expression.match_indices("evp_").map(|(at, _)| at);
    let starts = starts.filter(|at| !expression[..*at].ends_with(|c| is_word(c) || c == '"'));
    starts
        .map(|at| {
            let (before, rest) = expression.split_at(at);
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (before, &rest[..end], &rest[end..])
        })
        .collect()
}

/// The metric of a series' name, and the suffix of a histogram's series.
fn metric(series: &str) -> Option<(&'static Metric, &str)> {
    METRICS.iter().find_map(|metric| {
        let suffix = series.strip_prefix(metric.name)?;
        let is_series = match metric.kind {
            MetricKind::Histogram(_) => ["_bucket", "_sum", "_count"].contains(&suffix),
            MetricKind::Counter | MetricKind::Gauge => suffix.is_empty(),
        };
        is_series.then_some((metric, suffix))
    })
}

/// Names of labels in `{name="value"}`, in `by (name)` and in `{{name}}`.
fn labels_of(expression: &str, texts: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for (at, _) in expression.match_indices('{') {
        let matchers = expression[at + 1..].split('}').next().unwrap();
        let names = matchers.split(',').map(|matcher| matcher.split(['=', '!', '~']).next().unwrap().trim());
        labels.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
    }
    for (at, word) in expression.match_indices("by (") {
        let names = expression[at + word.len()..].split(')').next().unwrap().split(',');
        labels.extend(names.map(|name| name.trim().to_owned()));
    }
    for (at, _) in texts.match_indices("{{") {
        let name = texts[at + 2..].split("}}").next().unwrap().trim();
        if let Some(name) = name.strip_prefix("$labels.").or_else(|| name.chars().all(is_word).then_some(name)) {
            labels.insert(name.to_owned());
        }
    }
    labels
}

#[test]
fn every_metric_that_is_asked_for_is_one_and_read_as_its_kind_is() {
    let mut asked = BTreeSet::new();
    for (name, expression, texts) in expressions() {
        let mut labels: BTreeSet<&str> = ADDED.into();
        let metrics = metrics_of(&expression);
        assert!(!metrics.is_empty() || expression.contains("up{"), "{name}: {expression}");
        for (before, series, after) in metrics {
            let (metric, suffix) =
                metric(series).unwrap_or_else(|| panic!("{name}: {series} is no series of a metric: {expression}"));
            let is_growing = metric.kind == MetricKind::Counter || !suffix.is_empty();
            let is_rated = before.ends_with("rate(") || before.ends_with("increase(");
            assert_eq!(is_growing, is_rated, "{name}: only what grows has a rate: {expression}");
            let is_ranged = after.trim_start_matches(|c| c != '[' && c != ')' && c != ' ').starts_with('[');
            assert!(is_ranged || !is_rated, "{name}: a rate needs a range: {expression}");
            labels.extend(metric.labels);
            asked.insert(metric.name);
        }
        let unknown: Vec<_> =
            labels_of(&expression, &texts).into_iter().filter(|label| !labels.contains(label.as_str())).collect();
        assert!(unknown.is_empty(), "{name}: no label {unknown:?}: {expression}");
    }
    // What nobody looks at: positions in the log say nothing by themselves.
    let positions = ["evp_capture_received_lsn", "evp_capture_flushed_lsn"];
    let unasked: Vec<_> = METRICS
        .iter()
        .map(|metric| metric.name)
        .filter(|name| !asked.contains(name) && !positions.contains(name))
        .collect();
    assert!(unasked.is_empty(), "neither an alert nor a panel has {unasked:?}");
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let rules = rules();
    let names: BTreeSet<_> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert_eq!(names.len(), rules.len(), "a name stands twice");
    let known = ["alert", "expr", "for", "labels", "annotations"];
    for rule in &rules {
        let fields: Vec<_> =
            rule.as_object().unwrap().keys().filter(|field| !known.contains(&field.as_str())).collect();
        assert!(fields.is_empty(), "{rule}: {fields:?}");
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning"].contains(&severity), "{rule}");
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].is_string(), "{rule}");
        }
    }
    for covered in
        ["lag_bytes", "wal_status", "evp_ready", "dead_letters_total", "lag_records", "applied_latency", "mongodb"]
    {
        assert!(rules.iter().any(|rule| rule["expr"].as_str().unwrap().contains(covered)), "{covered}");
    }
}

#[test]
fn prometheus_and_grafana_find_the_files_that_compose_gives_them() {
    let compose = yaml("compose/docker-compose.yml");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose");
    for service in ["prometheus", "grafana"] {
        let service = &compose[0]["services"][service];
        assert_eq!(service["profiles"][0], "observability");
        for volume in service["volumes"].as_array().unwrap() {
            let (from, to) = volume.as_str().unwrap().split_once(':').unwrap();
            assert!(!from.starts_with("./") || (root.join(from).exists() && to.ends_with(":ro")), "{volume}");
        }
    }
    let scraped = yaml(format!("{FOLDER}/prometheus.yml"));
    let jobs = scraped[0]["scrape_configs"].as_array().unwrap();
    let names: Vec<_> = jobs.iter().map(|job| job["job_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["evp-capture", "evp-process"]);
    let texts: String = expressions().into_iter().map(|(_, expression, _)| expression).collect();
    for (at, word) in texts.match_indices("job=\"") {
        let job = texts[at + word.len()..].split('"').next().unwrap();
        assert!(names.contains(&job), "no job {job}");
    }
    for job in jobs {
        let (host, port) = job["static_configs"][0]["targets"][0].as_str().unwrap().split_once(':').unwrap();
        let command = compose[0]["services"][host]["command"].to_string();
        assert!(command.contains(&format!("0.0.0.0:{port}")), "{job}");
    }
}

#[test]
fn panels_of_the_dashboard_do_not_lie_on_one_another() {
    let dashboard = dashboard();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{}", panel["title"]);
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_i64().unwrap());
        assert!(x + w <= 24, "{}", panel["title"]);
        for cell in (y..y + h).flat_map(|row| (x..x + w).map(move |column| (row, column))) {
            assert!(taken.insert(cell), "{} lies on another panel", panel["title"]);
        }
    }
}
