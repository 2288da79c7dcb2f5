//! What the consumer hands over: records, and the coming and going of partitions.

use std::time::Duration;

use super::Dispatcher;
use crate::error::Result;
use crate::kafka::consumer::Delivery;
use crate::process::in_flight::InFlight;
use crate::process::tasks::{join, join_first};

/// A rebalance waits this long for what is being written; the consumer thread waits a little longer.
const FENCE_WAIT: Duration = Duration::from_secs(8);

impl Dispatcher {
    /// Takes a delivery and those that are there already, so that a batch is as large as it can be.
    pub(super) async fn receive(&mut self, delivery: Delivery) -> Result<()> {
        self.receive_one(delivery).await?;
        while let Ok(delivery) = self.consumer.deliveries.try_recv() {
            self.receive_one(delivery).await?;
        }
        Ok(())
    }

    async fn receive_one(&mut self, delivery: Delivery) -> Result<()> {
        match delivery {
            Delivery::Chunk(chunk) => self.gathered.push(chunk),
            Delivery::EndOfPartition(partition) => self.progress.reached_end(partition),
            Delivery::Assigned(partitions) => {
                self.progress.assign(&partitions);
                self.parts.health.set_ready();
                tracing::info!(event = "partitions_assigned", ?partitions, "reading");
            }
            Delivery::Idle => {
                self.parts.health.set_ready();
                tracing::info!(event = "no_partitions", "the group has more members than partitions; standing by");
            }
            Delivery::Revoked { partitions, answer } => {
                let offsets = self.fence(&partitions).await?;
                // The consumer thread has stopped waiting; what is not committed is applied again, without effect.
                let _ = answer.send(offsets);
            }
            Delivery::BeginsAt { partition, offset } => self.progress.will_begin_at(partition, offset),
            Delivery::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Lets what is being written finish, forgets what is behind it, and says what may be committed.
    async fn fence(&mut self, partitions: &[i32]) -> Result<Vec<(i32, i64)>> {
        tracing::info!(event = "partitions_revoked", ?partitions, "another member reads them from now on");
        self.parts.dead_letters.forget_refusals();
        let deadline = tokio::time::Instant::now() + FENCE_WAIT;
        while !self.writes.is_empty()
            && let Ok(applied) = tokio::time::timeout_at(deadline, join_first(&mut self.writes)).await
        {
            self.settle(applied?)?;
            self.write_released();
        }
        if self.giving_up.is_some()
            && let Ok(outcome) = tokio::time::timeout_at(deadline, join(&mut self.giving_up)).await
        {
            self.dead_lettered(outcome?);
        }
        let offsets = self.progress.revoke(partitions);
        self.parts.source.committed(&offsets);
        self.parts.source.revoked(partitions);
        self.desk.revoked(partitions);
        self.gathered.drop_partitions(partitions);
        let progress = &self.progress;
        let is_ours = |event: &InFlight| progress.is_current(event);
        self.waiting.retain(is_ours);
        self.busy.retain(is_ours);
        self.given_up.retain(is_ours);
        self.parking.retain(is_ours, partitions);
        self.first_records.retain(is_ours);
        if let Some(claimed) = &mut self.claimed {
            claimed.retain(|effect| is_ours(&effect.event));
        }
        self.withheld.retain(is_ours);
        self.keep_current_postponed();
        self.forget_refusals();
        self.open.forget_abandoned();
        Ok(offsets)
    }
}
