//! `docs/configuration.md` and `.env.example`, held against the table and the table against what is read.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::table::{SECTIONS, find, variables};
use super::{KafkaConfig, MongoConfig, PostgresConfig, ProcessConfig, Variables, outbox_columns};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const HEAD: &str = "\
# Configuration

Written from `src/config/table.rs`; a test keeps the two equal (`EVP_WRITE_PAGES=1 cargo test --lib page` writes it anew).

A flag wins over the environment, that over `.env` in the working directory, that over `database.*` of the connector file, and that
over the default. All mistakes are told at once, with exit code 64, before anything is contacted. An empty value counts as unset.

What may hold a password is marked *secret*: it stands in no log, error or `--help`, and may be given as a file instead, whose name
is in the variable with `_FILE` behind it (`POSTGRES_PASSWORD_FILE=/run/secrets/postgres-password`). A line end at the file's end is
not part of the secret; both forms at once are a mistake.

The flags of each command are in its `--help` and in the pages of `evp man`; the properties of a connector file are in
[Properties](debezium-properties.md). Properties of librdkafka are set with `--kafka NAME=VALUE`.
";

const TAIL: &str = "
## Others

| variable | read by | meaning |
|---|---|---|
| `NO_COLOR` | `doctor`, `status`, `top`, `dlq`, `trace` | anything but empty: no colours |
| `TMPDIR` | `verify` | folder of the temporary file in which the topic is sorted |
| `NOTIFY_SOCKET` | `capture`, `process` | set by systemd: it is told of readiness, obstacles and the end |
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for section in SECTIONS {
        writeln!(page, "\n## {}\n\n| variable | default | values | meaning |\n|---|---|---|---|", section.title)
            .unwrap();
        for variable in section.variables {
            let default =
                if variable.default.is_empty() { "–".to_owned() } else { format!("`{}`", variable.default) };
            let secret = if variable.is_secret { " *secret*" } else { "" };
            let (name, values, meaning) = (variable.name, variable.values, variable.meaning);
            writeln!(page, "| `{name}`{secret} | {default} | {values} | {meaning} |").unwrap();
        }
    }
    page + TAIL
}

#[test]
fn the_page_of_variables_says_what_the_table_does() {
    let path = format!("{ROOT}/docs/configuration.md");
    let page = page();
    if std::env::var_os("EVP_WRITE_PAGES").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "write the page anew: EVP_WRITE_PAGES=1 cargo test --lib page");
}

#[test]
fn the_table_has_what_is_read_with_its_default_and_bounds() {
    let mut read = Variables::default();
    PostgresConfig::from_variables(&mut read, |_| None);
    KafkaConfig::from_variables(&mut read, &[]);
    MongoConfig::from_variables(&mut read);
    ProcessConfig::from_variables(&mut read);
    outbox_columns(&mut read, None, None);
    read.text("CONNECT_URL", "http://localhost:8083");
    read.text("LOG_LEVEL", "info");
    read.optional("PROJECTIONS");
    let asked = read.asked.into_inner();
    let is_known = |name: &str| find(name.strip_suffix("_FILE").unwrap_or(name)).is_some();
    let unknown: Vec<_> = asked.keys().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
    for variable in variables() {
        let Some(asked) = asked.get(variable.name) else { panic!("{} is never read", variable.name) };
        // The batch size takes over another variable's value, whatever that is.
        if let Some(default) = asked.default.as_ref().filter(|_| variable.default != "KAFKA_MAX_POLL_RECORDS") {
            assert_eq!(default, variable.default, "{}", variable.name);
        }
        if let Some(values) = &asked.values {
            assert_eq!(values, variable.values, "{}", variable.name);
        }
        assert_eq!(asked.is_secret, variable.is_secret, "{}", variable.name);
    }
}

#[test]
fn the_example_has_every_variable_with_its_default() {
    let example = std::fs::read_to_string(format!("{ROOT}/.env.example")).unwrap();
    let lines = example.lines().filter_map(|line| line.trim_start_matches('#').split_once('='));
    let lines: BTreeMap<_, _> = lines.filter(|(name, _)| !name.contains(' ')).collect();
    for (name, value) in &lines {
        let variable = find(name).unwrap_or_else(|| panic!("{name} is in .env.example and not in the table"));
        let is_default = value.is_empty() || *value == variable.default || *value == variable.values;
        assert!(is_default || *name == "PROCESSING_BATCH_SIZE", "{name}={value}");
    }
    let missing: Vec<_> = variables().map(|variable| variable.name).filter(|name| !lines.contains_key(name)).collect();
    assert!(missing.is_empty(), "not in .env.example: {missing:?}");
}
