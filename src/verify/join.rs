//! Rows, records and documents side by side, all in the order of aggregates' ids, one aggregate at a time.

use bson::Document;
use mongodb::Database;

use super::documents::Documents;
use super::history::{Event, History};
use super::judge::COLLECTIONS;
use super::record::{Record, aggregate_of};
use super::rows::Rows;
use super::spill::Sorted;
use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind, Result};

/// The sides.
pub(super) struct Sides<'a> {
    pub(super) rows: Rows<'a>,
    records: Sorted,
    pub(super) documents: [Documents; 2],
}

/// All that there is of one aggregate.
pub(super) struct Aggregate {
    pub(super) id: String,
    /// `None` if it is more than memory should hold.
    pub(super) events: Option<Vec<Event>>,
    pub(super) documents: [Option<Document>; 2],
}

impl<'a> Sides<'a> {
    /// Begins to read. The rows come first, as the server may have to sort them.
    pub(super) async fn open(config: &'a PostgresConfig, records: Sorted, database: &Database) -> Result<Self> {
        let rows = Rows::open(config).await?;
        let [users, activities] = COLLECTIONS;
        let documents = [Documents::open(database, users).await?, Documents::open(database, activities).await?];
        Ok(Self { rows, records, documents })
    }

    /// The next aggregate of any side.
    pub(super) async fn next(&mut self) -> Result<Option<Aggregate>> {
        let record = self.records.peek().map(|key| aggregate_of(key).hyphenated().to_string());
        let [users, activities] = &self.documents;
        let next = [self.rows.peek(), record.as_deref(), users.peek(), activities.peek()];
        let Some(id) = next.into_iter().flatten().min().map(str::to_owned) else { return Ok(None) };
        let mut history = History::default();
        if record.is_some_and(|record| record == id) {
            self.add_records(&mut history)?;
        }
        while let Some(row) = self.rows.next_of(&id).await? {
            history.add_row(row.event_id, row.said);
        }
        let [users, activities] = &mut self.documents;
        let documents = [users.take(&id).await?, activities.take(&id).await?];
        Ok(Some(Aggregate { id, events: history.into_events(), documents }))
    }

    fn add_records(&mut self, history: &mut History) -> Result<()> {
        let failed = |error| Error::with_source(ErrorKind::System, "reading the temporary file", error);
        let aggregate = self.records.peek().map(aggregate_of);
        while self.records.peek().map(aggregate_of) == aggregate {
            let Some((key, body)) = self.records.next().map_err(failed)? else { break };
            let record = Record::from_bytes(&key, &body)
                .ok_or_else(|| Error::new(ErrorKind::System, "the temporary file is damaged"))?;
            history.add_record(record);
        }
        Ok(())
    }
}
