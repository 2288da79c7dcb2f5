//! The documents of a collection in the order of their ids, one at a time.

use std::collections::HashMap;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Cursor, Database};

use crate::error::Result;
use crate::mongo::client_error;

/// A collection that is read once.
pub(super) struct Documents {
    cursor: Cursor<Document>,
    database: String,
    next: Option<Document>,
    /// How many were read.
    pub(super) count: usize,
}

impl Documents {
    /// Starts to read; evp's own bookkeeping is left out.
    pub(super) async fn open(database: &Database, collection: &str) -> Result<Self> {
        let collection = database.collection::<Document>(collection);
        let cursor = collection
            .find(doc! {})
            .sort(doc! { "_id": 1 })
            .projection(doc! { "_evp": 0 })
            .no_cursor_timeout(true)
            .await
            .map_err(|error| client_error("reading the read models", database.name(), error))?;
        let mut documents = Self { cursor, database: database.name().to_owned(), next: None, count: 0 };
        documents.advance().await?;
        Ok(documents)
    }

    /// The document with this id, if there is one; those before it, which are passed, go to `passed`.
    pub(super) async fn at(&mut self, id: &str, mut passed: impl FnMut(Document)) -> Result<Option<Document>> {
        while let Some(next) = &self.next {
            match id_of(next) {
                Some(known) if known > id => return Ok(None),
                Some(known) if known == id => {
                    let found = self.next.take();
                    self.advance().await?;
                    return Ok(found);
                }
                _ => {
                    self.next.take().into_iter().for_each(&mut passed);
                    self.advance().await?;
                }
            }
        }
        Ok(None)
    }

    /// Passes all that are left.
    pub(super) async fn rest(&mut self, mut passed: impl FnMut(Document)) -> Result<()> {
        while let Some(next) = self.next.take() {
            passed(next);
            self.advance().await?;
        }
        Ok(())
    }

    async fn advance(&mut self) -> Result<()> {
        let next = self.cursor.try_next().await;
        self.next = next.map_err(|error| client_error("reading the read models", &self.database, error))?;
        self.count = self.count.saturating_add(usize::from(self.next.is_some()));
        Ok(())
    }
}

/// The id of a document, which is a text.
pub(super) fn id_of(document: &Document) -> Option<&str> {
    document.get("_id").and_then(Bson::as_str)
}

/// Some documents by their ids.
pub(super) async fn by_ids(
    database: &Database,
    collection: &str,
    ids: &[String],
    projection: Document,
) -> Result<HashMap<String, Document>> {
    let failed = |error| client_error("reading the read models", database.name(), error);
    let collection = database.collection::<Document>(collection);
    let found = collection.find(doc! { "_id": { "$in": ids } }).projection(projection).await.map_err(failed)?;
    let documents: Vec<Document> = found.try_collect().await.map_err(failed)?;
    Ok(documents.into_iter().filter_map(|document| Some((id_of(&document)?.to_owned(), document))).collect())
}
