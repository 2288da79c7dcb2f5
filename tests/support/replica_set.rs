//! Three members of a replica set, to let one of them be wrong about what lasts.

use mongodb::bson::{Bson, Document, Timestamp, doc};
use mongodb::options::Acknowledgment;

use super::{OwnStack, eventually};

/// More than one answer to a member's question for more of the log.
const ALONE_WRITES: usize = 20;
/// Longer than the primary is left alone, even on a busy machine: it would step down by itself.
const ELECTION_TIMEOUT_MS: i32 = 60_000;

/// A replica set whose first member comes with PostgreSQL and Kafka and is the primary at the beginning.
pub(crate) struct ReplicaSet {
    pub(crate) first: OwnStack,
    others: [OwnStack; 2],
}

impl ReplicaSet {
    /// Starts the members and waits until all have the data.
    pub(crate) async fn up() -> Self {
        let first = OwnStack::up(&["postgres", "kafka", "mongo"], &[]);
        let other = || OwnStack::up(&["mongo"], &[("EVP_MONGO_REPLSET", "join")]);
        let set = Self { first, others: [other(), other()] };
        let admin = admin(&set.first).await;
        for (id, other) in (1..).zip(&set.others) {
            let host = address(other);
            eventually("the primary takes the member in", async || {
                let answer = admin.run_command(doc! { "replSetGetConfig": 1 }).await.unwrap();
                let config = with_member(answer.get_document("config").unwrap().clone(), id, &host);
                admin.run_command(doc! { "replSetReconfig": config }).await.is_ok()
            })
            .await;
            eventually("the member has the data", async || is_secondary(&admin, &host).await).await;
        }
        set
    }

    /// What a client needs to find the primary, whoever it is.
    pub(crate) fn uri(&self) -> String {
        let [second, third] = &self.others;
        format!("mongodb://{},{},{}/?replicaSet=rs0", address(&self.first), address(second), address(third))
    }

    /// Freezes all but the first member, and waits until that one has written what nobody else has, and waits for them.
    pub(crate) async fn leave_the_first_alone(&self) {
        self.others.iter().for_each(|other| other.pause(&["mongo"]));
        let admin = admin(&self.first).await;
        let mut before = None;
        eventually("the primary has written something alone", async || {
            let (applied, committed) = progress(&admin).await;
            before.replace(applied) == Some(applied) && applied > committed
        })
        .await;
        // The others may still receive what they had asked for when they were frozen, so there has to be more than that.
        let alone = admin.client().database("alone").collection::<Document>("written");
        for _ in 0..ALONE_WRITES {
            alone.insert_one(Document::new()).write_concern(Acknowledgment::Nodes(1).into()).await.unwrap();
        }
    }

    /// Freezes the first member, has another one elected, and lets the first know, which takes back what nobody else has.
    pub(crate) async fn elect_another(&self) {
        let before = rollback_id(&admin(&self.first).await).await.expect("the primary tells its rollback id");
        self.first.pause(&["mongo"]);
        self.others.iter().for_each(|other| other.resume(&["mongo"]));
        let [second, third] = [admin(&self.others[0]).await, admin(&self.others[1]).await];
        eventually("one of the others is elected", async || {
            // The one that has less of the log than the other does not get its vote.
            step_up(&second).await || step_up(&third).await
        })
        .await;
        self.first.resume(&["mongo"]);
        let admin = admin(&self.first).await;
        eventually("the first takes back what it wrote alone", async || {
            // It closes its connections while it does so.
            rollback_id(&admin).await.is_some_and(|now| now > before)
        })
        .await;
    }
}

impl Drop for ReplicaSet {
    fn drop(&mut self) {
        // A member that is asked to stop waits a quarter of a minute for others to take over.
        for member in self.others.iter().chain([&self.first]) {
            let _ = member.command().args(["kill", "mongo"]).output();
        }
    }
}

fn address(stack: &OwnStack) -> String {
    let uri = &stack.variables()["MONGODB_URI"];
    uri.trim_start_matches("mongodb://").split('/').next().unwrap().to_owned()
}

/// A connection to this member, whatever it is.
async fn admin(stack: &OwnStack) -> mongodb::Database {
    let uri = format!("mongodb://{}/?directConnection=true", address(stack));
    mongodb::Client::with_uri_str(uri).await.unwrap().database("admin")
}

fn with_member(mut config: Document, id: i32, host: &str) -> Document {
    let version = config.get_i32("version").unwrap();
    config.insert("version", version + 1);
    config.get_array_mut("members").unwrap().push(Bson::from(doc! { "_id": id, "host": host }));
    let settings = config.get_document_mut("settings").unwrap();
    settings.insert("electionTimeoutMillis", ELECTION_TIMEOUT_MS);
    // A new primary would otherwise fetch what only the old one has.
    settings.insert("catchUpTimeoutMillis", 0);
    config
}

/// Name and state of each.
fn members(status: &Document) -> impl Iterator<Item = (&str, &str)> {
    let members = status.get_array("members").unwrap().iter().filter_map(Bson::as_document);
    members.map(|member| (member.get_str("name").unwrap(), member.get_str("stateStr").unwrap()))
}

async fn is_secondary(admin: &mongodb::Database, host: &str) -> bool {
    let status = admin.run_command(doc! { "replSetGetStatus": 1 }).await.unwrap();
    members(&status).any(|member| member == (host, "SECONDARY"))
}

/// Whether the member, asked to stand at once, was elected.
async fn step_up(admin: &mongodb::Database) -> bool {
    admin.run_command(doc! { "replSetStepUp": 1 }).await.is_ok()
}

/// What the member has, and what it knows a majority to have.
async fn progress(admin: &mongodb::Database) -> (Timestamp, Timestamp) {
    let status = admin.run_command(doc! { "replSetGetStatus": 1 }).await.unwrap();
    let times = status.get_document("optimes").unwrap();
    let time = |name| times.get_document(name).unwrap().get_timestamp("ts").unwrap();
    (time("appliedOpTime"), time("lastCommittedOpTime"))
}

/// Grows each time the member takes something back.
async fn rollback_id(admin: &mongodb::Database) -> Option<i32> {
    admin.run_command(doc! { "replSetGetRBID": 1 }).await.ok()?.get_i32("rbid").ok()
}
