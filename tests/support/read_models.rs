//! Looking at the read models.

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::Database;

/// Every document of a database but evp's own collections, in order.
pub(crate) async fn read_models(database: &Database, with_bookkeeping: bool) -> Vec<(String, Vec<Document>)> {
    let mut models = Vec::new();
    for name in ["users", "activities", "statistics"] {
        let cursor = database.collection::<Document>(name).find(Document::new()).sort(doc! { "_id": 1 }).await.unwrap();
        let mut documents: Vec<Document> = cursor.try_collect().await.unwrap();
        if !with_bookkeeping {
            documents.iter_mut().for_each(|document| {
                document.remove("_evp");
            });
        }
        models.push((name.to_owned(), documents));
    }
    models
}

/// One document without evp's bookkeeping.
pub(crate) async fn document(database: &Database, collection: &str, id: &str) -> Option<Document> {
    let found = database.collection::<Document>(collection).find_one(doc! { "_id": id }).await.unwrap();
    found.map(|mut document| {
        document.remove("_evp");
        document
    })
}

/// How many events were ever claimed.
pub(crate) async fn claim_count(database: &Database) -> u64 {
    // The server's estimate, which costs less, is wrong after it was killed.
    database.collection::<Document>("evp_applied_events").count_documents(Document::new()).await.unwrap_or_default()
}
