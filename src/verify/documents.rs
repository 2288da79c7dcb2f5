//! The documents of a collection in the order of their ids, one at a time.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::ErrorKind as DriverError;
use mongodb::{Collection, Cursor, Database};

use crate::error::{Error, Result};
use crate::mongo::client_error;

/// Documents of one question. Each ends soon, so that none waits until its cursor is given up by the server.
const PAGE: i64 = 1_000;
/// What the server answers to a cursor that it has given up.
const CURSOR_NOT_FOUND: i32 = 43;

/// A collection that is read once.
pub(crate) struct Documents {
    collection: Collection<Document>,
    database: String,
    page: Option<Cursor<Document>>,
    /// Documents of this page so far.
    of_page: i64,
    last: Option<String>,
    next: Option<(String, Document)>,
    /// How many were read.
    pub(crate) count: usize,
}

impl Documents {
    /// Starts to read those whose id is a text; evp's own bookkeeping is left out.
    pub(crate) async fn open(database: &Database, collection: &str) -> Result<Self> {
        let (collection, database) = (database.collection(collection), database.name().to_owned());
        let mut documents = Self { collection, database, page: None, of_page: 0, last: None, next: None, count: 0 };
        documents.next = documents.read().await?;
        Ok(documents)
    }

    /// The id of the next document.
    pub(crate) fn peek(&self) -> Option<&str> {
        self.next.as_ref().map(|(id, _)| id.as_str())
    }

    /// The document with this id, if it is the next one.
    pub(crate) async fn take(&mut self, id: &str) -> Result<Option<Document>> {
        if self.peek() != Some(id) {
            return Ok(None);
        }
        let next = self.read().await?;
        self.count = self.count.saturating_add(1);
        Ok(std::mem::replace(&mut self.next, next).map(|(_, document)| document))
    }

    /// How many documents there are whose id is no text.
    pub(crate) async fn nameless(&self) -> Result<u64> {
        let filter = doc! { "_id": { "$not": { "$gte": "" } } };
        self.collection.count_documents(filter).await.map_err(|error| self.failed(error))
    }

    async fn read(&mut self) -> Result<Option<(String, Document)>> {
        loop {
            let mut page = match self.page.take() {
                Some(page) => page,
                None => self.open_page().await?,
            };
            match page.try_next().await {
                Ok(Some(document)) => {
                    self.page = Some(page);
                    self.of_page = self.of_page.saturating_add(1);
                    let Some(id) = document.get("_id").and_then(Bson::as_str).map(str::to_owned) else { continue };
                    self.last = Some(id.clone());
                    return Ok(Some((id, document)));
                }
                Ok(None) if self.of_page < PAGE => return Ok(None),
                Ok(None) => {}
                Err(error) if is_given_up(&error) && self.of_page > 0 => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    async fn open_page(&mut self) -> Result<Cursor<Document>> {
        let range = match &self.last {
            Some(last) => doc! { "_id": { "$gt": last } },
            None => doc! { "_id": { "$gte": "" } },
        };
        self.of_page = 0;
        let found = self.collection.find(range).sort(doc! { "_id": 1 }).limit(PAGE).projection(doc! { "_evp": 0 });
        found.await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: mongodb::error::Error) -> Error {
        client_error("reading the read models", &self.database, error)
    }
}

fn is_given_up(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), DriverError::Command(command) if command.code == CURSOR_NOT_FOUND)
}
