//! What evp is run with: units, manifests, images. Whatever they name exists in evp.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use evp::cli::Arguments;
use evp::config::table::{find, variables};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::Value;

/// What `SHUTDOWN_TIMEOUT_SECONDS` is unless it is set; whoever stops evp has to wait longer.
fn shutdown_seconds() -> i64 {
    find("SHUTDOWN_TIMEOUT_SECONDS").unwrap().default.parse().unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML file as JSON, with `<<` put in its place.
pub(crate) fn yaml(path: impl AsRef<Path>) -> Vec<Value> {
    let text = read(&path);
    let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()));
    documents.iter().map(json).collect()
}

fn json(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Boolean(value)) => Value::from(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => Value::from(value.as_ref()),
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Sequence(items) => Value::from(items.iter().map(json).collect::<Vec<_>>()),
        Yaml::Mapping(pairs) => {
            let mut object = serde_json::Map::new();
            for (name, value) in pairs {
                let (name, value) = (name.as_str().expect("a key is a text"), json(value));
                match value {
                    Value::Object(merged) if name == "<<" => {
                        merged.into_iter().for_each(|(name, value)| {
                            object.entry(name).or_insert(value);
                        });
                    }
                    value => {
                        object.insert(name.to_owned(), value);
                    }
                }
            }
            Value::Object(object)
        }
        other => panic!("{other:?} is not expected here"),
    }
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    assert!(!found.is_empty(), "no .{extension} in {folder}");
    found
}

#[track_caller]
fn assert_command(arguments: &[&str], place: &str) {
    let line = std::iter::once("evp").chain(arguments.iter().copied());
    if let Err(error) = Arguments::try_parse_from(line) {
        panic!("{place}: evp {arguments:?}: {error}");
    }
}

/// Every variable that looks like one of evp's is one.
#[track_caller]
fn assert_variables<'a>(names: impl IntoIterator<Item = &'a str>, place: &str) {
    for name in names {
        assert!(find(name).is_some(), "{place}: evp has no variable {name}");
    }
}

/// Names in a text that begin as evp's variables do.
fn named_variables(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    let prefixes = ["POSTGRES_", "KAFKA_", "MONGODB_", "OUTBOX_", "PROCESSING_", "SHUTDOWN_", "LOG_LEVEL"];
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())).collect()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap_or_else(|| panic!("{item}"))).collect()
}

/// Settings of a unit, by name; one that stands there twice has several values.
fn unit(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut settings: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', '['])) {
        if let Some((name, value)) = line.split_once('=') {
            settings.entry(name).or_default().push(value);
        }
    }
    settings
}

#[test]
fn systemd_starts_what_evp_has_and_restarts_only_what_heals() {
    let units = files("compose/systemd", "service");
    assert_eq!(units.len(), 2);
    for path in units {
        let (text, place) = (std::fs::read_to_string(&path).unwrap(), path.display().to_string());
        let unit = unit(&text);
        let start: Vec<_> = unit["ExecStart"][0].split(' ').collect();
        assert_eq!(start[0], "/usr/local/bin/evp");
        assert_command(&start[1..], &place);
        assert_variables(named_variables(&text), &place);
        assert_eq!((unit["Restart"][0], unit["RestartPreventExitStatus"][0]), ("on-failure", "2 64"), "{place}");
        assert!(unit["TimeoutStopSec"][0].parse::<i64>().unwrap() > shutdown_seconds(), "{place}");
        assert_eq!(unit["Type"][0], "notify", "{place}");
        // A file that is loaded for the service is one that it is told of.
        for credential in &unit["LoadCredential"] {
            let (name, _) = credential.split_once(':').unwrap();
            let told = format!("_FILE=%d/{name}");
            assert!(unit["Environment"].iter().any(|variable| variable.ends_with(&told)), "{place}: {name}");
        }
    }
}

#[test]
fn systemd_takes_the_units() {
    let Ok(version) = std::process::Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("systemd-analyze is not installed: the units are not verified");
        return;
    };
    assert!(version.status.success());
    let folder = tempfile::tempdir().unwrap();
    for path in files("compose/systemd", "service") {
        let text = std::fs::read_to_string(&path).unwrap();
        let copy = folder.path().join(path.file_name().unwrap());
        std::fs::write(&copy, text.replace("/usr/local/bin/evp", env!("CARGO_BIN_EXE_evp"))).unwrap();
        let verified = std::process::Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && said.is_empty(), "{}: {said}", path.display());
    }
}

/// The manifests that `kustomization.yaml` lists.
fn manifests() -> Vec<Value> {
    let folder = "compose/kubernetes";
    let list = yaml(format!("{folder}/kustomization.yaml"));
    let listed = strings(&list[0]["resources"]);
    let there = files(folder, "yaml").len();
    assert_eq!(listed.len() + 1, there, "a file of {folder} is not listed");
    listed.iter().flat_map(|name| yaml(format!("{folder}/{name}"))).collect()
}

#[test]
fn kubernetes_runs_what_evp_has_with_variables_that_it_reads() {
    let manifests = manifests();
    let config = manifests.iter().find(|manifest| manifest["kind"] == "ConfigMap").unwrap();
    let set: Vec<_> = config["data"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_variables(set.iter().copied(), "ConfigMap");
    for variable in variables().filter(|variable| variable.is_secret) {
        assert!(!set.contains(&variable.name), "the secret {} is no part of a ConfigMap", variable.name);
    }
    let pods: Vec<_> = manifests.iter().filter(|manifest| manifest["spec"]["template"].is_object()).collect();
    assert_eq!(pods.len(), 3);
    for manifest in pods {
        let place = manifest["metadata"]["name"].as_str().unwrap();
        let pod = &manifest["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let arguments = strings(&container["args"]);
        assert_command(&arguments, place);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{place}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{place}");
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false, "{place}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{place}");
        let mounted = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
        let files = config["data"].as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_FILE"));
        assert!(files.map(|(_, path)| path.as_str().unwrap()).all(|path| path.starts_with(mounted)), "{place}");
        let Some(at) = arguments.iter().position(|argument| *argument == "--http") else { continue };
        let port = arguments[at + 1].rsplit(':').next().unwrap().parse::<i64>().unwrap();
        assert_eq!(container["ports"][0]["containerPort"], port, "{place}");
        for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            assert_eq!(
                (&container[probe]["httpGet"]["path"], &container[probe]["httpGet"]["port"]),
                (&path.into(), &"http".into())
            );
        }
        assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() > shutdown_seconds(), "{place}");
    }
}

#[test]
fn kubernetes_never_runs_two_captures_and_drains_processes_one_by_one() {
    let manifests = manifests();
    let named = |kind: &str, name: &str| {
        let found = manifests.iter().find(|found| found["kind"] == kind && found["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let capture = &named("Deployment", "evp-capture")["spec"];
    assert_eq!((&capture["replicas"], &capture["strategy"]["type"]), (&1.into(), &"Recreate".into()));
    let budget = &named("PodDisruptionBudget", "evp-process")["spec"];
    assert_eq!(budget["selector"], named("Deployment", "evp-process")["spec"]["selector"]);
}

#[test]
fn containers_run_what_evp_has_with_variables_that_it_reads() {
    let compose = yaml("compose/docker-compose.yml");
    let services = compose[0]["services"].as_object().unwrap();
    let own: Vec<_> = services.iter().filter(|(_, service)| service["image"] == "evp:local").collect();
    assert_eq!(own.len(), 3);
    for (name, service) in own {
        // Defaults stand in the place of what the environment may set.
        let arguments: Vec<_> = strings(&service["command"]).into_iter().map(without_variable).collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        assert_command(&arguments, name);
        assert_variables(service["environment"].as_object().unwrap().keys().map(String::as_str), name);
        assert_eq!(service["read_only"], true, "{name}");
        if let Some(grace) = service["stop_grace_period"].as_str() {
            assert!(grace.trim_end_matches('s').parse::<i64>().unwrap() > shutdown_seconds(), "{name}");
        }
    }
}

/// `${NAME:-default}` is the default.
fn without_variable(text: &str) -> String {
    let inner = text.strip_prefix("${").and_then(|text| text.strip_suffix('}'));
    inner.and_then(|inner| inner.split_once(":-")).map_or(text, |(_, default)| default).to_owned()
}

#[test]
fn the_image_runs_as_nobody_and_asks_for_its_health() {
    let text = read("Dockerfile");
    let last_stage = text.rsplit("\nFROM ").next().unwrap();
    assert!(last_stage.contains("\nUSER 65532:65532\n"), "{text}");
    assert!(text.contains("/readyz") && text.contains("HEALTHCHECK"), "{text}");
    for pod in manifests().iter().filter(|manifest| manifest["spec"]["template"].is_object()) {
        assert_eq!(pod["spec"]["template"]["spec"]["securityContext"]["runAsUser"], 65_532, "{pod}");
    }
}

/// The lines of a page's blocks that run evp, without what the shell does with them.
fn commands_of(page: &str) -> Vec<Vec<String>> {
    let mut is_fenced = false;
    let mut commands = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        let Some(command) = line.trim_start().strip_prefix("evp ") else { continue };
        if is_fenced || line.starts_with("    ") {
            let ends = ["#", "&", "|", "&&", ">", ">>", ";"];
            commands.push(words(command).into_iter().take_while(|word| !ends.contains(&word.as_str())).collect());
        }
    }
    commands
}

/// Splits a line as a shell does; what is quoted is one word.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (' ', None) => words.push(String::new()),
            (c, _) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_of_the_pages_is_one() {
    let mut pages = files("docs", "md");
    pages.extend(["README.md", "debezium/README.md"].map(|page| root().join(page)));
    let mut count = 0;
    for path in pages {
        for command in commands_of(&std::fs::read_to_string(&path).unwrap()) {
            // What a reader puts in stands in capitals.
            let command: Vec<_> = command.iter().map(|word| filled_in(word)).collect();
            assert_command(&command.iter().map(String::as_str).collect::<Vec<_>>(), &path.display().to_string());
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// A value for a word such as `EVENT_ID`.
fn filled_in(word: &str) -> String {
    match word {
        "EVENT_ID" => "00000000-0000-4000-8000-000000000001".to_owned(),
        "N" | "SECONDS" => "1".to_owned(),
        "LETTER" => "0:17".to_owned(),
        _ => word.trim_matches(['[', ']']).to_owned(),
    }
}
