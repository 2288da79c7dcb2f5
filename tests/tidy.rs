//! The shape of the source, kept by a test instead of by memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lines before a file's own tests.
const LINES_MAX: usize = 400;
/// The same of files that are tests.
const TEST_LINES_MAX: usize = 500;

/// Modules without input or output, without a clock and without a runtime: a path, or the beginning of one.
const PURE: [&str; 85] = [
    "src/activity/",
    "src/capture/gap.rs",
    "src/capture/incremental/progress.rs",
    "src/capture/incremental/query.rs",
    "src/capture/incremental/signal.rs",
    "src/capture/incremental/window.rs",
    "src/capture/lane.rs",
    "src/capture/lineage.rs",
    "src/capture/progress.rs",
    "src/capture/published.rs",
    "src/capture/snapshot/decision.rs",
    "src/capture/snapshot/plan.rs",
    "src/capture/snapshot/progress.rs",
    "src/capture/snapshot/visibility.rs",
    "src/capture/tails.rs",
    "src/capture/transaction.rs",
    "src/config/table.rs",
    "src/connect/",
    "src/connector/event_router.rs",
    "src/connector/filter.rs",
    "src/connector/lists.rs",
    "src/connector/masks.rs",
    "src/connector/plan.rs",
    "src/pattern.rs",
    "src/connector/properties.rs",
    "src/connector/records.rs",
    "src/connector/route.rs",
    "src/connector/transforms.rs",
    "src/dead_letters/book.rs",
    "src/dead_letters/filter.rs",
    "src/dead_letters/format.rs",
    "src/dead_letters/letter.rs",
    "src/dead_letters/plan.rs",
    "src/doctor/checks/",
    "src/envelope/",
    "src/error.rs",
    "src/generate/record.rs",
    "src/handover/compare/difference.rs",
    "src/handover/compare/masks.rs",
    "src/handover/compare/progress.rs",
    "src/handover/compare/properties.rs",
    "src/handover/compare/record.rs",
    "src/handover/compare/text.rs",
    "src/kafka/known.rs",
    "src/kafka/offsets.rs",
    "src/kafka/partition.rs",
    "src/kafka/witness.rs",
    "src/lsn.rs",
    "src/mongo/fold.rs",
    "src/mongo/memory.rs",
    "src/mongo/order.rs",
    "src/mongo/path.rs",
    "src/mongo/write_model.rs",
    "src/mongo/writer.rs",
    "src/pgoutput/",
    "src/postgres/frame.rs",
    "src/postgres/timeline.rs",
    "src/process/applied/evidence.rs",
    "src/process/busy.rs",
    "src/process/coordinates.rs",
    "src/process/event.rs",
    "src/process/handler",
    "src/process/order.rs",
    "src/process/projections/handler.rs",
    "src/process/projections/payload.rs",
    "src/process/projections/steps.rs",
    "src/process/projections/value.rs",
    "src/process/projections/yaml.rs",
    "src/process/shape.rs",
    "src/process/write_paths.rs",
    "src/rebuild/decide.rs",
    "src/rebuild/differences.rs",
    "src/row/",
    "src/top/exposition.rs",
    "src/top/screen.rs",
    "src/top/view.rs",
    "src/trace/story.rs",
    "src/transform/",
    "src/typemap/",
    "src/verify/compare.rs",
    "src/verify/fold.rs",
    "src/verify/history.rs",
    "src/verify/judge.rs",
    "src/verify/payload.rs",
    "src/verify/record.rs",
];
const IMPURE: [&str; 12] = [
    "tokio::",
    "tokio_postgres",
    "rdkafka",
    "mongodb::",
    "axum",
    "std::net",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "Instant",
    "SystemTime",
];
/// What must not stay behind.
const LEFTOVERS: [&str; 7] = ["dbg!(", "todo!(", "unimplemented!(", "FIXME", "TODO", "XXX", "// ===="];

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines before the file's own tests.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| *line != "#[cfg(test)]")
    }

    /// The code without its comments.
    fn statements(&self) -> impl Iterator<Item = &str> {
        self.code().filter(|line| !line.trim_start().starts_with("//"))
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> =
        folders.iter().map(|folder| root.join(folder)).filter(|path| path.is_dir()).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// Fails with one line for each fault.
fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_fit_a_reader() {
    let mut long = Vec::new();
    for (folders, most) in [(&["src", "benches", "examples"][..], LINES_MAX), (&["tests"], TEST_LINES_MAX)] {
        let counted = sources(folders).into_iter().map(|source| (source.code().count(), source.path));
        let long_ones = counted.filter(|(lines, _)| *lines > most);
        long.extend(long_ones.map(|(lines, path)| format!("{path}: {lines} lines, at most {most}")));
    }
    assert_none(long);
}

#[test]
fn pure_modules_stay_pure() {
    let all = sources(&["src"]);
    for pure in PURE {
        assert!(all.iter().any(|source| source.path.starts_with(pure)), "no file is left of {pure}");
    }
    let mut faults = Vec::new();
    for source in all.iter().filter(|source| PURE.iter().any(|pure| source.path.starts_with(pure))) {
        for line in source.statements() {
            if let Some(impure) = IMPURE.iter().find(|impure| line.contains(*impure)) {
                faults.push(format!("{}: `{impure}` in a pure module: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn only_the_assembly_knows_the_command_line() {
    let callers = sources(&["src"]).into_iter().filter(|source| {
        !source.path.starts_with("src/run") && source.statements().any(|line| line.contains("crate::cli"))
    });
    assert_none(callers.map(|source| format!("{} uses the command line's types", source.path)).collect());
}

#[test]
fn kafkas_client_is_used_in_one_room() {
    let is_used = |line: &str| line.replace("librdkafka", "").contains("rdkafka");
    let elsewhere = sources(&["src"])
        .into_iter()
        .filter(|source| !source.path.starts_with("src/kafka/") && source.statements().any(is_used));
    assert_none(elsewhere.map(|source| format!("{} uses rdkafka, which is src/kafka/'s", source.path)).collect());
}

#[test]
fn the_walks_through_the_source_lead_to_files() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let library = std::fs::read_to_string(source.join("lib.rs")).unwrap();
    let walks = library.split("# Two walks").nth(1).unwrap().split("# Where things go").next().unwrap();
    let named: Vec<&str> = walks.split('`').skip(1).step_by(2).collect();
    assert_eq!(named.len(), 20, "ten each");
    let lost = named.into_iter().filter(|file| !source.join(file).is_file());
    assert_none(lost.map(|file| format!("src/lib.rs names {file}, which is not there")).collect());
}

#[test]
fn every_module_says_what_it_is() {
    let silent =
        sources(&["src", "benches", "tests", "examples"]).into_iter().filter(|source| !source.text.starts_with("//! "));
    assert_none(silent.map(|source| format!("{} has no //! at its top", source.path)).collect());
}

#[test]
fn nothing_is_left_behind() {
    let mut faults = Vec::new();
    for source in sources(&["src", "benches", "examples", "tests"]) {
        // This file has to spell what it looks for.
        if source.path == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in (1..).zip(source.text.lines()) {
            if let Some(leftover) = LEFTOVERS.iter().find(|leftover| line.contains(*leftover)) {
                faults.push(format!("{}:{number}: {leftover}", source.path));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn metrics_are_used_as_the_table_has_them() {
    let names: Vec<_> = evp::telemetry::metrics::METRICS.iter().map(|metric| metric.name).collect();
    let mut uses: BTreeMap<&str, usize> = names.iter().map(|name| (*name, 0)).collect();
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        if source.path == "src/telemetry/metrics.rs" {
            continue;
        }
        for line in source.statements() {
            for quoted in line.split('"').skip(1).step_by(2) {
                match uses.get_mut(quoted) {
                    Some(count) => *count += 1,
                    None if !is_metric_name(quoted) => {}
                    None => faults.push(format!("{}: metric {quoted} is not in the table", source.path)),
                }
            }
        }
    }
    let own = "evp_build_info";
    faults.extend(
        uses.iter()
            .filter(|(name, count)| **count == 0 && **name != own)
            .map(|(name, _)| format!("metric {name} is in the table and never recorded")),
    );
    assert_none(faults);
}

#[test]
fn metrics_are_recorded_with_the_labels_of_the_table() {
    let table = evp::telemetry::metrics::METRICS;
    let mut labelled: Vec<_> =
        table.iter().filter(|metric| !metric.labels.is_empty()).map(|metric| metric.name).collect();
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        for line in source.statements() {
            let Some((_, recorded)) = line.split_once("!(\"evp_") else { continue };
            let name = format!("evp_{}", recorded.split('"').next().unwrap());
            let ends = recorded.match_indices("\" =>").map(|(at, _)| &recorded[..at]);
            let labels: Vec<_> = ends.filter_map(|before| before.rsplit('"').next()).collect();
            match table.iter().find(|metric| metric.name == name) {
                Some(metric) if metric.labels == labels => labelled.retain(|known| *known != metric.name),
                Some(metric) => faults.push(format!("{}: {name} by {labels:?}, not {:?}", source.path, metric.labels)),
                None => faults.push(format!("{}: metric {name} is not in the table", source.path)),
            }
        }
    }
    faults.extend(labelled.iter().map(|name| format!("{name} has labels in the table and is recorded without")));
    assert_none(faults);
}

fn is_metric_name(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    is_plain && (text.starts_with("evp_capture_") || text.starts_with("evp_process_"))
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for (number, name) in (1..).zip(&names) {
        assert!(name.starts_with(&format!("V{number}__")) && name.ends_with(".sql"), "{name}");
    }
}
