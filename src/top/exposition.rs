//! Metrics as Prometheus' text tells them, and what can be read out of two looks at them.

use std::collections::BTreeMap;

/// One look at the metrics of a running half: by name, each series with its labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Exposition(BTreeMap<String, Vec<Series>>);

#[derive(Debug, Clone, PartialEq)]
struct Series {
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Exposition {
    /// Reads the text; lines that are none of a metric are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let mut metrics: BTreeMap<String, Vec<Series>> = BTreeMap::new();
        for (name, series) in text.lines().filter(|line| !line.starts_with('#')).filter_map(series) {
            metrics.entry(name.to_owned()).or_default().push(series);
        }
        Self(metrics)
    }

    fn series(&self, name: &str) -> impl Iterator<Item = &Series> {
        self.0.get(name).into_iter().flatten()
    }

    /// The sum of a metric's series; none if it has none.
    pub(super) fn sum(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|series| series.iter().map(|series| series.value).sum())
    }

    /// The counts of a histogram, each of what was up to its bound, in the order of the bounds.
    fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let bucket = |series: &Series| Some((series.labels.get("le")?.parse().ok()?, series.value));
        let mut buckets: Vec<(f64, f64)> = self.series(&format!("{name}_bucket")).filter_map(bucket).collect();
        buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        buckets
    }

    /// Quantiles of what a histogram has counted since `before`; none if that is nothing.
    pub(super) fn quantiles<const N: usize>(
        &self,
        name: &str,
        before: Option<&Self>,
        quantiles: [f64; N],
    ) -> Option<[f64; N]> {
        let mut buckets = self.buckets(name);
        let earlier = before.map(|before| before.buckets(name)).unwrap_or_default();
        // A half that was started anew counts from zero again.
        let is_same = earlier.len() == buckets.len() && earlier.iter().zip(&buckets).all(|(was, is)| was.1 <= is.1);
        if is_same {
            buckets.iter_mut().zip(&earlier).for_each(|(is, was)| is.1 -= was.1);
        }
        let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        Some(quantiles.map(|quantile| at_rank(&buckets, quantile * all)))
    }

    /// How fast a counter has grown since `before`, a second; none if that is not known.
    pub(super) fn rate(&self, name: &str, before: Option<&Self>, seconds: f64) -> Option<f64> {
        let (now, then) = (self.sum(name)?, before?.sum(name).unwrap_or(0.0));
        (seconds > 0.0).then(|| (now - if then <= now { then } else { 0.0 }) / seconds)
    }
}

/// Where the observation of this rank is, as Prometheus finds it: evenly spread between the bounds.
fn at_rank(buckets: &[(f64, f64)], rank: f64) -> f64 {
    let (mut low, mut below) = (0.0, 0.0);
    for (high, count) in buckets {
        if *count >= rank {
            if high.is_infinite() || *count <= below {
                return low;
            }
            return low + (high - low) * (rank - below) / (count - below);
        }
        (low, below) = (*high, *count);
    }
    low
}

/// The name, labels and value of a line.
fn series(line: &str) -> Option<(&str, Series)> {
    let (before, value) = line.trim_end().rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = before.split_once('{') else {
        return Some((before, Series { labels: BTreeMap::new(), value }));
    };
    Some((name, Series { labels: labels_of(labels.trim_end_matches('}')), value }))
}

/// Labels such as `topic="a",partition="0"`; a quote in a value stands behind a backslash.
fn labels_of(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let mut is_escaped = false;
        let end = rest.find(|c: char| {
            let is_end = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        let Some((value, after)) = end.and_then(|end| Some((rest.get(..end)?, rest.get(end.checked_add(1)?..)?)))
        else {
            break;
        };
        labels.insert(name.trim_start_matches(',').to_owned(), value.replace("\\\"", "\"").replace("\\\\", "\\"));
        text = after;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP evp_process_events_total Events
# TYPE evp_process_events_total counter
evp_process_events_total{outcome=\"applied\"} 90
evp_process_events_total{outcome=\"duplicate\"} 10
evp_process_lag_records{topic=\"a,b=\\\"c\\\"\",partition=\"0\"} 7
evp_ready 1
evp_x_seconds_bucket{le=\"0.001\"} 50
evp_x_seconds_bucket{le=\"0.01\"} 99
evp_x_seconds_bucket{le=\"+Inf\"} 100
";

    #[test]
    fn series_are_summed_and_their_labels_read() {
        let look = Exposition::parse(TEXT);
        assert_eq!(
            (look.sum("evp_process_events_total"), look.sum("evp_ready"), look.sum("no")),
            (Some(100.0), Some(1.0), None)
        );
        let lag = look.series("evp_process_lag_records").next().unwrap();
        assert_eq!((lag.labels["topic"].as_str(), lag.labels["partition"].as_str()), ("a,b=\"c\"", "0"));
        assert_eq!(Exposition::parse("<html>\n{a=\"\n\n# x 1\n"), Exposition::default());
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_buckets() {
        let look = Exposition::parse(TEXT);
        let [half, most, all] = look.quantiles("evp_x_seconds", None, [0.5, 0.99, 1.0]).unwrap();
        assert!((half - 0.001).abs() < 1e-9 && (most - 0.01).abs() < 1e-9, "{half} {most}");
        assert!((all - 0.01).abs() < 1e-9, "beyond the last bound nothing is known: {all}");
        assert_eq!(look.quantiles("evp_x_seconds", Some(&look), [0.5]), None, "nothing since");
        assert_eq!(look.quantiles("evp_y_seconds", None, [0.5]), None);
    }

    #[test]
    fn a_counter_that_begins_anew_does_not_run_backwards() {
        let (before, now) = (Exposition::parse("c_total 1000\n"), Exposition::parse("c_total 50\n"));
        assert_eq!(now.rate("c_total", Some(&before), 2.0), Some(25.0));
        assert_eq!(before.rate("c_total", Some(&now), 2.0), Some(475.0));
        assert_eq!((now.rate("c_total", None, 2.0), now.rate("d_total", Some(&before), 2.0)), (None, None));
    }
}
