//! The connector file and `--set`: references to secrets, what wins over what, and what is never shown.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{DEADLINE, Finished, Running, World};

/// The shipped connector file with this password, in the world's directory.
fn file_with_password(world: &World, password: &str) -> PathBuf {
    let shipped = include_str!("../debezium/postgres-event-outbox-connector.json");
    let mut document: serde_json::Value = serde_json::from_str(shipped).unwrap();
    document["config"]["database.password"] = password.into();
    let path = world.directory().join("connector.json");
    std::fs::write(&path, document.to_string()).unwrap();
    path
}

fn with_file(world: &World, command: &str, password: &str) -> Command {
    let path = file_with_password(world, password);
    let mut command = world.command(&[command, "--connector", path.to_str().unwrap()]);
    command.env_remove("POSTGRES_PASSWORD").env("SECRET", world.variable("POSTGRES_PASSWORD"));
    command
}

fn finish(command: Command) -> Finished {
    Running::spawn(command).wait(DEADLINE)
}

#[tokio::test]
async fn a_password_is_found_where_the_connector_file_refers_to() {
    let world = World::new("references").await;
    let folder = world.directory().to_str().unwrap().to_owned();
    let password = world.variable("POSTGRES_PASSWORD");
    std::fs::write(world.directory().join("secrets.properties"), format!("other=x\npw = {password}\n")).unwrap();
    std::fs::write(world.directory().join("password"), format!("{password}\n")).unwrap();
    for reference in
        ["${env:SECRET}", &format!("${{file:{folder}/secrets.properties:pw}}"), &format!("${{dir:{folder}:password}}")]
    {
        let finished = finish(with_file(&world, "init", reference));
        assert_eq!(finished.code, Some(0), "{reference}: {finished:?}");
    }
}

#[tokio::test]
async fn a_reference_that_cannot_be_resolved_is_named_and_never_sent() {
    let world = World::new("no_reference").await;
    for (reference, named) in
        [("hunter2${vault:secret:password}", "`vault`"), ("hunter2${file:/nonexistent:pw}", "/nonexistent")]
    {
        for command in ["capture", "init"] {
            let finished = finish(with_file(&world, command, reference));
            assert_eq!(finished.code, Some(64), "{finished:?}");
            let failure = finished.failure();
            assert!(failure.contains("`database.password`") && failure.contains(named), "{failure}");
            assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
        }
    }
    // What a variable replaces is not looked for.
    let mut command = with_file(&world, "init", "${vault:secret:password}");
    command.env("POSTGRES_PASSWORD", world.variable("POSTGRES_PASSWORD"));
    let finished = finish(command);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn set_wins_over_the_environment() {
    let world = World::new("precedence").await;
    for (set, named) in [
        ("database.dbname=no_such_database", "no_such_database"),
        ("database.user=no_such_role", "no_such_role"),
        ("database.port=1", ":1/"),
    ] {
        let finished = world.run(&["init", "--set", set]);
        assert_eq!(finished.code, Some(1), "{set}: {finished:?}");
        assert!(finished.failure().contains(named), "{set}: {}", finished.failure());
    }
    let finished = world.run(&["init", "--set", "database.password=wrong"]);
    assert!(finished.code == Some(1) && finished.failure().contains("POSTGRES_PASSWORD"), "{finished:?}");
}

#[tokio::test]
async fn initial_statements_run_before_capture_asks_anything_and_are_named_where_they_fail() {
    let world = World::new("initial").await;
    world.init(1);
    let sql = world.sql().await;
    sql.batch_execute("CREATE TABLE public.connected (who text)").await.unwrap();
    let statements = "database.initial.statements=SET application_name = 'asker'; \
                      INSERT INTO public.connected SELECT current_setting('application_name') || ';;'";
    let finished = world.run(&["capture", "--until", "caught-up", "--set", statements]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let who: String = sql.query_one("SELECT DISTINCT who FROM public.connected", &[]).await.unwrap().get(0);
    assert_eq!(who, "asker;");
    let finished = world.run(&["capture", "--set", "database.initial.statements=SELECT nosuch"]);
    assert!(finished.code == Some(1) && finished.failure().contains("database.initial.statements"), "{finished:?}");
}

#[tokio::test]
async fn the_origin_of_changes_is_asked_of_the_output_plugin() {
    let world = World::new("origin").await;
    world.init(1);
    let run = |params: &str| world.run(&["capture", "--until", "caught-up", "--set", params]);
    assert_eq!(run("slot.stream.params=origin=none").code, Some(0));
    let finished = run("slot.stream.params=origin=elsewhere");
    assert!(finished.code != Some(0) && finished.failure().contains("elsewhere"), "{finished:?}");
}

#[tokio::test]
async fn values_of_refused_properties_are_not_shown_unless_they_are_words_of_a_list() {
    let world = World::new("refused").await;
    let finished = world.run(&[
        "capture",
        "--set",
        "post.processors=hunter2",
        "--set",
        "vault.token=hunter2",
        "--set",
        "database.password:hunter2",
        "--kafka",
        "sasl.password:hunter2",
        "--set",
        "snapshot.mode=custom",
    ]);
    assert_eq!(finished.code, Some(64), "{finished:?}");
    let failure = finished.failure();
    for part in ["post.processors", "vault.token", "`database.password`", "`sasl.password`"] {
        assert!(failure.contains(part), "{part}: {failure}");
    }
    assert!(failure.contains("snapshot.mode=custom"), "{failure}");
    assert!(!finished.stderr.contains("hunter2"), "{finished:?}");
}
