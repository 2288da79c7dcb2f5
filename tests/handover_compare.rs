//! `evp handover --compare` beside live Debezium: equal bytes are found equal, others named, and nothing is left behind.

use serde_json::{Value, json};

use crate::support::{OwnStack, World, all_topics, connect, eventually, records, topic_end, topics};

const CONNECTOR: &str = "shop";
const SERVICES: [&str; 3] = ["postgres", "kafka", "connect"];

/// Tables with a key, without one, and two outboxes.
const TABLES: &str = "
    CREATE SCHEMA app;
    CREATE TABLE app.orders (id serial PRIMARY KEY, customer text NOT NULL, total numeric(10,2) NOT NULL, paid_at timestamptz);
    CREATE TABLE app.visits (at timestamptz NOT NULL DEFAULT now(), page text, tags text[]);
    ALTER TABLE app.visits REPLICA IDENTITY FULL;
    CREATE TABLE app.states (id int PRIMARY KEY, state jsonb);
    CREATE TABLE app.messages (id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text NOT NULL, type text, payload jsonb);
    CREATE TABLE app.signals (id text PRIMARY KEY, type text, data text);
    ALTER PUBLICATION debezium_publication ADD TABLE app.orders, app.visits, app.states, app.messages, app.signals;";

/// A live connector, and what evp is told of it.
struct Shop {
    world: World,
    sql: tokio_postgres::Client,
    written: i32,
}

impl Shop {
    async fn open(test: &str, stack: &OwnStack) -> Self {
        let mut world = World::on_stack(test, stack).await;
        world.set("CONNECT_URL", stack.variables()["CONNECT_URL"].clone());
        world.set("MONGODB_URI", "mongodb://127.0.0.1:9");
        let slot = world.name().to_owned();
        let sql = world.sql().await;
        sql.batch_execute("CREATE PUBLICATION debezium_publication").await.unwrap();
        sql.batch_execute(TABLES).await.unwrap();
        sql.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&slot]).await.unwrap();
        let shop = Self { world, sql, written: 0 };
        let answer = connect(&shop.world, "PUT", &format!("/connectors/{CONNECTOR}/config"), Some(&shop.properties()));
        assert_eq!(answer["name"], CONNECTOR, "{answer}");
        eventually("the connector runs", async || shop.state() == "RUNNING").await;
        eventually("Debezium reads the slot", async || shop.reader().await.is_some()).await;
        shop
    }

    fn properties(&self) -> Value {
        let name = self.world.name();
        json!({
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": self.world.variable("POSTGRES_HOST"),
            "database.port": self.world.variable("POSTGRES_PORT"),
            "database.user": self.world.variable("POSTGRES_USER"),
            "database.password": self.world.variable("POSTGRES_PASSWORD"),
            "database.dbname": name,
            "topic.prefix": name,
            "slot.name": name,
            "plugin.name": "pgoutput",
            "publication.name": "debezium_publication",
            "snapshot.mode": "no_data",
            "table.include.list": "app.orders,app.visits,app.states,app.messages",
            "signal.data.collection": "app.signals",
            "message.key.columns": "app.orders:customer",
            "provide.transaction.metadata": "true",
            "topic.creation.default.partitions": "2",
            "topic.creation.default.replication.factor": "1",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "key.converter.schemas.enable": "false",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "transforms": "events,flat",
            "transforms.events.type": "io.debezium.transforms.outbox.EventRouter",
            "transforms.events.predicate": "isMessage",
            "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState",
            "transforms.flat.predicate": "isState",
            "transforms.flat.add.fields": "op,ts_ms,source.ts_ms:committed",
            "transforms.flat.add.headers": "ts_us",
            "predicates": "isMessage,isState",
            "predicates.isMessage.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
            "predicates.isMessage.pattern": ".*\\.messages",
            "predicates.isState.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
            "predicates.isState.pattern": ".*\\.states",
        })
    }

    /// Four rows in each round, one of which is changed and one deleted.
    async fn write(&mut self, rounds: i32) {
        for _ in 0..rounds {
            self.written += 1;
            let number = self.written;
            let statements = format!(
                "BEGIN;
                INSERT INTO app.orders (customer, total) VALUES ('customer {}', {number}.25);
                UPDATE app.orders SET paid_at = now() WHERE id = {number};
                INSERT INTO app.visits (page, tags) VALUES ('/päge/{number}', ARRAY['a', NULL]);
                COMMIT;
                INSERT INTO app.states VALUES ({number}, '{{\"n\": {number}}}');
                DELETE FROM app.states WHERE id = {number} AND id % 3 = 0;
                INSERT INTO app.messages VALUES (gen_random_uuid(), 'order', '{}', 'paid', '{{\"n\": {number}}}');",
                number % 7,
                number % 5
            );
            self.sql.batch_execute(&statements).await.unwrap();
        }
    }

    fn state(&self) -> String {
        let status = connect(&self.world, "GET", &format!("/connectors/{CONNECTOR}/status"), None);
        let of = |state: &Value| state["state"].as_str().unwrap_or_default().to_owned();
        match status["tasks"][0].is_null() {
            true => of(&status["connector"]),
            false => of(&status["tasks"][0]),
        }
    }

    async fn stop(&self) {
        connect(&self.world, "PUT", &format!("/connectors/{CONNECTOR}/stop"), None);
        eventually("the connector is stopped", async || self.state() == "STOPPED" && self.reader().await.is_none())
            .await;
    }

    /// Who reads the live slot.
    async fn reader(&self) -> Option<i32> {
        let statement = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1";
        self.sql.query_one(statement, &[&self.world.name()]).await.unwrap().get(0)
    }

    /// Everything of the live side that a comparison could have touched, once nobody reads it.
    async fn standing(&self) -> (Vec<(String, Option<String>)>, Value, Vec<(String, Option<i64>)>) {
        let statement = "SELECT slot_name::text, confirmed_flush_lsn::text FROM pg_replication_slots ORDER BY 1";
        let slots = self.sql.query(statement, &[]).await.unwrap();
        let slots = slots.iter().map(|row| (row.get(0), row.get(1))).collect();
        let offsets = connect(&self.world, "GET", &format!("/connectors/{CONNECTOR}/offsets"), None);
        let mut ends: Vec<_> =
            topics(&self.world).into_keys().map(|topic| (topic.clone(), topic_end(&self.world, &topic))).collect();
        ends.sort();
        (slots, offsets, ends)
    }

    /// Fails if a comparison has left anything.
    async fn assert_nothing_is_left(&self) {
        assert_eq!(connect(&self.world, "GET", "/connectors", None), json!([CONNECTOR]));
        let statement = "SELECT slot_name::text FROM pg_replication_slots";
        let slots = self.sql.query(statement, &[]).await.unwrap();
        let slots: Vec<String> = slots.iter().map(|row| row.get(0)).collect();
        assert_eq!(slots, [self.world.name()]);
        let left: Vec<String> = all_topics(&self.world).into_iter().filter(|topic| topic.contains("evp")).collect();
        let of_connect: Vec<_> = left.iter().filter(|topic| !topic.starts_with("evp-connect-")).collect();
        assert!(of_connect.is_empty(), "{of_connect:?}");
    }

    /// The result of a comparison that ends with `code`.
    fn compare(&self, code: i32, arguments: &[&str]) -> Value {
        let finished = self.world.run(&[&["handover", "--compare", "--json", "--name", CONNECTOR], arguments].concat());
        assert_eq!(finished.code, Some(code), "{finished:?}");
        serde_json::from_str(&finished.stdout).unwrap()
    }

    /// The sentence with which it fails.
    fn failure(&self, code: i32, arguments: &[&str]) -> String {
        let finished = self.world.run(&[&["handover", "--compare", "--name", CONNECTOR], arguments].concat());
        assert_eq!(finished.code, Some(code), "{finished:?}");
        finished.failure()
    }
}

/// The topic's part of a result.
fn of_topic<'a>(result: &'a Value, ending: &str) -> &'a Value {
    let found =
        result["topics"].as_array().unwrap().iter().find(|topic| topic["topic"].as_str().unwrap().ends_with(ending));
    found.unwrap_or_else(|| panic!("no {ending} in {result}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_write_the_same_bytes_beside_a_connector_that_runs_on() {
    let stack = OwnStack::up(&SERVICES, &[]);
    let mut shop = Shop::open("compare", &stack).await;
    let reader = shop.reader().await;
    shop.write(5).await;
    let live = format!("{}.app.orders", shop.world.name());
    eventually("the live topic is there", async || topic_end(&shop.world, &live) == Some(10)).await;

    let comparing = shop.world.start(&["handover", "--compare", "--json", "--name", CONNECTOR, "--for", "15"]);
    let statement = "SELECT count(*) FROM pg_stat_replication";
    eventually("Debezium reads a copy", async || {
        shop.sql.query_one(statement, &[]).await.unwrap().get::<_, i64>(0) == 2
    })
    .await;
    shop.write(100).await;
    // Not a word of this reaches the copies, or the database would be written to.
    shop.sql
        .batch_execute(
            "INSERT INTO app.signals VALUES ('1', 'execute-snapshot', '{\"data-collections\": [\"app.orders\"]}')",
        )
        .await
        .unwrap();
    let finished = comparing.wait(std::time::Duration::from_secs(120));
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let result: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(result["is_equal"], true, "{result}");
    for (topic, records) in [("app.orders", 200), ("app.visits", 100), ("app.states", 133), ("outbox.event.order", 100)]
    {
        let equal = of_topic(&result, topic)["equal"].as_u64().unwrap();
        assert!(equal >= records, "{topic}: {result}");
    }
    assert!(of_topic(&result, ".transaction")["equal"].as_u64().unwrap() > 200, "{result}");
    let notes = result["notes"].to_string();
    assert!(notes.contains("signal.data.collection"), "{notes}");

    assert_eq!((shop.state().as_str(), shop.reader().await), ("RUNNING", reader), "the live connector was not touched");
    eventually("the live topic has its rows", async || topic_end(&shop.world, &live) >= Some(210)).await;
    shop.assert_nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_named_and_the_live_side_stays_as_it_was() {
    let stack = OwnStack::up(&SERVICES, &[]);
    let mut shop = Shop::open("compare_no", &stack).await;
    shop.write(5).await;
    eventually("the live topic is there", async || topic_end(&shop.world, "outbox.event.order") == Some(5)).await;
    shop.stop().await;
    shop.write(40).await;
    let before = shop.standing().await;

    let result = shop.compare(3, &["--set", "decimal.handling.mode=string"]);
    let difference = &of_topic(&result, "app.orders")["first_difference"];
    assert_eq!((&difference["what"], &difference["part"]), (&json!("content"), &json!("value")), "{result}");
    // Schemas are on by default, and come first.
    let path = difference["debezium"]["path"].as_str().unwrap();
    assert!(path.starts_with("schema.fields[0].fields["), "{difference}");
    assert!(difference["evp"].get("shows").is_none(), "{difference}");
    assert!(of_topic(&result, "app.visits")["first_difference"].is_null(), "{result}");
    assert!(result["notes"].to_string().contains("decimal.handling.mode"), "{result}");

    let result = shop.compare(3, &["--set", "skipped.operations=u,t", "--keep"]);
    assert_eq!(of_topic(&result, "app.orders")["first_difference"]["what"], "only_debezium", "{result}");
    let kept: Vec<String> =
        all_topics(&shop.world).into_iter().filter(|topic| topic.starts_with("evp-compare.shop.")).collect();
    assert!(kept.iter().any(|topic| topic.ends_with("outbox.event.order")), "{kept:?}");

    let finished = shop.world.run(&["handover", "--compare", "--name", CONNECTOR, "--records", "60"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains(" and evp write the same, from "), "{}", finished.stdout);
    assert_eq!(shop.standing().await, before);
    shop.assert_nothing_is_left().await;

    let said = shop.failure(2, &["--set", "publication.name=another"]);
    assert!(said.contains("another pipeline"), "{said}");
    let limit: i64 =
        shop.sql.query_one("SELECT current_setting('max_replication_slots')::int8", &[]).await.unwrap().get(0);
    for number in 2..limit {
        let statement = "SELECT pg_create_physical_replication_slot($1)";
        shop.sql.execute(statement, &[&format!("full_{number}")]).await.unwrap();
    }
    let said = shop.failure(1, &[]);
    assert!(said.contains("max_replication_slots") && said.contains("raise it"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_nothing_and_after_a_kill_the_next_run_clears_up() {
    let stack = OwnStack::up(&SERVICES, &[]);
    let mut shop = Shop::open("compare_end", &stack).await;
    let begin = || shop.world.start(&["handover", "--compare", "--json", "--name", CONNECTOR, "--for", "600"]);
    let copies = "SELECT count(*) FROM pg_stat_replication";
    let is_reading =
        async |sql: &tokio_postgres::Client| sql.query_one(copies, &[]).await.unwrap().get::<_, i64>(0) == 2;

    let comparing = begin();
    eventually("Debezium reads a copy", async || is_reading(&shop.sql).await).await;
    let said = shop.failure(2, &[]);
    assert!(said.contains("another"), "{said}");
    let finished = comparing.stop();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.failure().contains("stopped by a signal"), "{finished:?}");
    shop.assert_nothing_is_left().await;

    let comparing = begin();
    eventually("Debezium reads a copy", async || is_reading(&shop.sql).await).await;
    comparing.kill();
    assert!(is_reading(&shop.sql).await, "nobody has cleared up");
    shop.stop().await;
    shop.write(10).await;
    let result = shop.compare(0, &[]);
    assert_eq!(of_topic(&result, "app.orders")["equal"], 20, "{result}");
    shop.assert_nothing_is_left().await;
    assert_eq!(records(&shop.world, "outbox.event.order").len(), 0, "the live connector is stopped");
}
