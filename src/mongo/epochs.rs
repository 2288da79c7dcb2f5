//! The clusters that events of this database have come from, in the order in which they were met.
//!
//! Positions of one cluster say nothing of those of another, and a database that is moved to a new one may start over
//! at lower positions. So the place of its cluster stands in front of an event's position. One document holds
//! the clusters of all topics, because a topic can be made anew without its cluster, too.

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::{Bson, doc};
use parking_lot::Mutex;

use super::sources::SOURCES;
use super::store::{Durability, Store, begin_command};
use crate::error::Result;

/// The document's id; those of topics have a `/`.
const SYSTEMS: &str = "systems";

/// What is known of the clusters.
#[derive(Debug)]
pub(crate) struct Epochs {
    store: Arc<Store>,
    /// `None` until they were read.
    systems: Mutex<Option<Vec<u64>>>,
}

impl Epochs {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, systems: Mutex::new(None) }
    }

    /// Makes sure that clusters have their places; of several new ones the one that was initialised first comes first.
    pub(crate) async fn learn(&self, met: impl Iterator<Item = u64>) -> Result<()> {
        let met: BTreeSet<u64> = met.collect();
        let is_unread = self.systems.lock().is_none();
        if is_unread {
            self.read().await?;
        }
        // A cluster's identifier begins with the time at which it was initialised.
        for system in met {
            while !self.knows(system) {
                self.append(system).await?;
                self.read().await?;
            }
        }
        Ok(())
    }

    /// The place of a cluster; an event that names none is taken to be of the last one.
    pub(crate) fn of(&self, system: Option<u64>) -> u16 {
        let systems = self.systems.lock();
        let systems = systems.as_deref().unwrap_or_default();
        let place = match system {
            Some(system) => systems.iter().position(|known| *known == system),
            None => systems.len().checked_sub(1),
        };
        place.map_or(0, |place| u16::try_from(place).unwrap_or(u16::MAX))
    }

    /// The place of a cluster that was met, as far as is known without asking.
    pub(crate) fn place(&self, system: u64) -> Option<u16> {
        self.knows(system).then(|| self.of(Some(system)))
    }

    fn knows(&self, system: u64) -> bool {
        self.systems.lock().as_deref().is_some_and(|systems| systems.contains(&system))
    }

    async fn append(&self, system: u64) -> Result<()> {
        let system = Bson::Int64(system.cast_signed());
        let update = doc! {
            "q": { "_id": SYSTEMS, "systems": { "$ne": &system } }, "u": { "$push": { "systems": &system } }, "upsert": true,
        };
        let mut writer = begin_command("update", SOURCES, Durability::Majority, 256);
        writer.value("updates", &Bson::Array(vec![update.into()]));
        // Refused because the id is taken: another process has appended it, or another one at the same time.
        self.store.write(&writer.finish()?).await.map(|_| ())
    }

    async fn read(&self) -> Result<()> {
        let found = self.store.find(SOURCES, doc! { "_id": SYSTEMS }, doc! {}).await?;
        let systems = found.first().and_then(|known| known.get_array("systems").ok()).into_iter().flatten();
        *self.systems.lock() = Some(systems.filter_map(Bson::as_i64).map(i64::cast_unsigned).collect());
        Ok(())
    }
}
