//! Writers that make every kind of transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use uuid::Uuid;

use super::World;

/// Writers at work, until [`Load::finish`].
pub(crate) struct Load {
    writers: Vec<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    events: Arc<AtomicU64>,
}

const INSERT: &str = "INSERT INTO activity.event_outbox (event_id, aggregate_id, aggregate_type, event_type, payload) \
                      SELECT id, $2, 'User', CASE WHEN $3 THEN 'UserCreated' ELSE 'UserUpdated' END, \
                             jsonb_build_object('email', $4::text || n, 'username', $4::text, 'first_name', 'F' || n, \
                                                'last_name', 'L', 'bio', n::text) \
                      FROM unnest($1::uuid[]) WITH ORDINALITY AS ids(id, n)";

impl Load {
    /// Starts writers that stop by themselves after about `events_max` changes.
    pub(crate) async fn start(world: &World, writer_count: u32, events_max: u64) -> Self {
        let (is_over, events) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut writers = Vec::new();
        for writer in 0..writer_count {
            let client = world.sql().await;
            let (is_over, events) = (Arc::clone(&is_over), Arc::clone(&events));
            writers.push(tokio::spawn(async move {
                let mut round = 0;
                while !is_over.load(Ordering::Relaxed) && events.load(Ordering::Relaxed) < events_max {
                    round += 1;
                    write_round(client_name(writer), round, &client, &events).await;
                }
            }));
        }
        Self { writers, is_over, events }
    }

    /// Starts one writer of single rows at so many a second, for so long.
    pub(crate) async fn paced(world: &World, rows_a_second: u32, duration: Duration) -> Self {
        let (is_over, events) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = world.sql().await;
        let (over, counted) = (Arc::clone(&is_over), Arc::clone(&events));
        let writer = tokio::spawn(async move {
            let mut ticker = tokio::time::interval(Duration::from_secs(1) / rows_a_second);
            let started = Instant::now();
            while started.elapsed() < duration && !over.load(Ordering::Relaxed) {
                ticker.tick().await;
                let (id, aggregate) = (vec![Uuid::new_v4()], Uuid::new_v4());
                client.execute(INSERT, &[&id, &aggregate, &true, &"paced"]).await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { writers: vec![writer], is_over, events }
    }

    /// How many changes were committed so far.
    pub(crate) fn written(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Waits until the writers have written all, and gives the number.
    pub(crate) async fn finish(self) -> u64 {
        for writer in self.writers {
            writer.await.unwrap();
        }
        self.events.load(Ordering::Relaxed)
    }

    /// Ends the writers.
    #[allow(dead_code)]
    pub(crate) async fn stop(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.finish().await
    }
}

fn client_name(writer: u32) -> String {
    format!("writer{writer}")
}

/// A new aggregate with its updates, the status of its rows, a deletion, and a rollback.
async fn write_round(name: String, round: u64, client: &tokio_postgres::Client, events: &AtomicU64) {
    let aggregate = Uuid::new_v4();
    let created = vec![Uuid::new_v4()];
    // Mostly small transactions, now and then one of 2 000 rows.
    let update_count = if round.is_multiple_of(97) { 2_000 } else { round % 5 };
    let updates: Vec<Uuid> = (0..update_count).map(|_| Uuid::new_v4()).collect();
    let email = format!("{name}-{round}@example.org-");
    client.execute(INSERT, &[&created, &aggregate, &true, &email]).await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    client.execute(INSERT, &[&updates, &aggregate, &false, &email]).await.unwrap();
    let status = "UPDATE activity.event_outbox SET status = 'processed', published_at = now() WHERE event_id = ANY($1)";
    client.execute(status, &[&created]).await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    let mut count = 2 + updates.len() as u64;
    if round.is_multiple_of(3) {
        count +=
            client.execute("DELETE FROM activity.event_outbox WHERE event_id = ANY($1)", &[&created]).await.unwrap();
    }
    if round.is_multiple_of(4) {
        client.batch_execute("BEGIN").await.unwrap();
        client.execute(INSERT, &[&vec![Uuid::new_v4()], &aggregate, &false, &email]).await.unwrap();
        client.batch_execute("ROLLBACK").await.unwrap();
    }
    events.fetch_add(count, Ordering::Relaxed);
}
