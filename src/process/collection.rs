//! Writing the effects of a batch on one collection: first what is created, then what is changed.
//!
//! The changes of one partition to one document are one statement, so that a command never holds two statements whose
//! order would matter. A document that a change makes before an event creates it is made by that change, as in two batches.

mod refused;

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Bson, Document, RawDocumentBuf, doc};

use super::in_flight::Effect;
use crate::error::{Error, ErrorKind, Result};
use crate::mongo::{Collection, Create, Durability, Fold, Form, PartitionPaths, Reply, Store, WriteModel, Writer};
use refused::Refusal;

/// Bounds of one command; the server's own are 16 MB and 100 000 statements.
const COMMAND_BYTES_MAX: usize = 8 * 1024 * 1024;
const COMMAND_STATEMENTS_MAX: usize = 10_000;
/// A statement can lose a race against another process creating the document; then it is written once more.
const ROUNDS_MAX: u32 = 3;

/// What became of one effect.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is in MongoDB, now or since an earlier attempt.
    Applied,
    /// The document that it changes does not exist.
    Missing,
    /// It is refused, or fails for a reason that evp does not know.
    Failed(Error),
    /// Its document takes no more.
    Full(Error),
    /// It stands behind an effect that failed and was not tried.
    Deferred,
}

/// The effects of a batch on one collection, and what became of them.
pub(super) struct CollectionWork<'a> {
    store: &'a Store,
    source: i32,
    collection: &'a Collection,
    effects: &'a [Effect],
    /// By the place of the effect in the batch.
    pub(super) outcomes: Vec<(usize, Outcome)>,
    /// The election terms of the replies.
    pub(super) terms: Vec<i64>,
    /// Whether a change was acknowledged by a majority.
    pub(super) has_waited: bool,
}

/// One statement of an `update` command, and the effects that it folds.
struct Statement<'a> {
    partition: PartitionPaths,
    fold: Fold<'a>,
    form: Form,
    indexes: Vec<usize>,
}

impl<'a> CollectionWork<'a> {
    pub(super) fn new(store: &'a Store, source: i32, collection: &'a Collection, effects: &'a [Effect]) -> Self {
        let (outcomes, terms, has_waited) = (Vec::new(), Vec::new(), false);
        Self { store, source, collection, effects, outcomes, terms, has_waited }
    }

    /// Writes the effects at `indexes`; `durability` is that of the first round of changes.
    pub(super) async fn run(mut self, indexes: Vec<usize>, durability: Durability) -> Result<Self> {
        let (mut creates, mut changes) = (Vec::new(), Vec::new());
        let (indexes, late_creates) = self.split_late_creates(indexes);
        for index in indexes {
            match self.effects.get(index).map(|effect| (&effect.model, effect.created_term)) {
                Some((WriteModel::Create(_), Some(term))) => {
                    self.outcomes.push((index, Outcome::Applied));
                    self.terms.push(term);
                }
                Some((WriteModel::Create(_), None)) => creates.push(index),
                Some((WriteModel::Change(_), _)) => changes.push(index),
                None => {}
            }
        }
        self.create(&creates).await?;
        let changes = self.leave_full(changes);
        let statements = self.fold(&changes);
        self.change(statements, durability).await?;
        self.create(&late_creates).await?;
        Ok(self)
    }

    /// Takes out what creates documents that a change of an event before it makes.
    fn split_late_creates(&self, indexes: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
        if !indexes.iter().any(|index| matches!(self.model(*index), Some(WriteModel::Create(_)))) {
            return (indexes, Vec::new());
        }
        let mut made: HashMap<&str, &Effect> = HashMap::new();
        let is_late = |index: &usize| {
            let Some(effect) = self.effects.get(*index) else { return false };
            let id = effect.model.id();
            if effect.model.makes_document() {
                made.entry(id).or_insert(effect);
            }
            let is_create = matches!(effect.model, WriteModel::Create(_)) && effect.created_term.is_none();
            is_create && made.get(id).is_some_and(|first| !Arc::ptr_eq(&first.event, &effect.event))
        };
        let (late, others) = indexes.into_iter().partition(is_late);
        (others, late)
    }

    fn model(&self, index: usize) -> Option<&'a WriteModel> {
        self.effects.get(index).map(|effect| &effect.model)
    }

    async fn create(&mut self, indexes: &[usize]) -> Result<()> {
        let mut rest = indexes;
        while !rest.is_empty() {
            let creates = rest.iter().filter_map(|index| match self.model(*index) {
                Some(WriteModel::Create(create)) => Some(create),
                _ => None,
            });
            let (command, count) = insert_command(self.store, self.collection, self.store.batch_durability(), creates);
            let (now, later) = rest.split_at(count.clamp(1, rest.len()));
            rest = later;
            let command = match command {
                Ok(command) => command,
                Err(error) => {
                    self.split_creates(now, error).await?;
                    continue;
                }
            };
            match self.store.write(&command).await {
                Ok(reply) => self.creates_answered(now, &reply),
                Err(error) if error.kind() == ErrorKind::Data => self.split_creates(now, error).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A whole command was refused: find out which of its documents is to blame.
    async fn split_creates(&mut self, indexes: &[usize], error: Error) -> Result<()> {
        if let [index] = indexes {
            self.outcomes.push((*index, Outcome::Failed(error)));
            return Ok(());
        }
        for index in indexes {
            Box::pin(self.create(&[*index])).await?;
        }
        Ok(())
    }

    fn creates_answered(&mut self, indexes: &[usize], reply: &Reply) {
        self.terms.extend(reply.term);
        let refused: HashMap<usize, Outcome> = reply
            .write_errors
            .iter()
            .map(|error| {
                let outcome = if error.is_taken_id() { Outcome::Applied } else { Outcome::Failed(error.to_error()) };
                (error.index, outcome)
            })
            .collect();
        let mut refused = refused;
        for (place, index) in indexes.iter().enumerate() {
            self.outcomes.push((*index, refused.remove(&place).unwrap_or(Outcome::Applied)));
        }
    }

    /// Folds what one partition changes in one document by handlers of one generation, in the order of the effects.
    fn fold(&self, indexes: &[usize]) -> Vec<Statement<'a>> {
        let mut statements: Vec<Statement<'a>> = Vec::with_capacity(indexes.len());
        let mut places: HashMap<(&str, i32, i32), usize> = HashMap::with_capacity(indexes.len());
        let mut paths: HashMap<(i32, i32), PartitionPaths> = HashMap::new();
        for index in indexes {
            let Some(effect) = self.effects.get(*index) else { continue };
            let WriteModel::Change(change) = &effect.model else { continue };
            let (partition, generation) = (effect.event.partition, effect.handler.1);
            let place = *places.entry((change.id.as_str(), partition, generation)).or_insert(statements.len());
            match statements.get_mut(place) {
                Some(statement) => {
                    statement.fold.push(effect.event.position, change);
                    statement.indexes.push(*index);
                }
                None => {
                    let paths = paths
                        .entry((partition, generation))
                        .or_insert_with(|| PartitionPaths::new(self.source, partition, generation));
                    let fold = Fold::new(effect.event.position, change);
                    let statement =
                        Statement { partition: paths.clone(), fold, form: Form::Exact, indexes: vec![*index] };
                    statements.push(statement);
                }
            }
        }
        // A fold is judged as a whole: a later change can ask for what the first does not.
        statements.iter_mut().for_each(|statement| statement.form = statement.fold.first_form());
        statements
    }

    /// `durability` is that of the first round, in which each document is written at the most once.
    async fn change(&mut self, statements: Vec<Statement<'a>>, mut durability: Durability) -> Result<()> {
        let mut round = 0_u32;
        let mut pending = statements;
        while !pending.is_empty() {
            round = round.saturating_add(1);
            let mut again = Vec::new();
            let mut rest = pending;
            while !rest.is_empty() {
                let (command, count) = self.update_command(&rest, durability);
                let later = rest.split_off(count.min(rest.len()));
                let written = match command {
                    Ok(command) => self.store.write(&command).await,
                    Err(error) => Err(error),
                };
                match written {
                    Ok(reply) => {
                        self.has_waited |= durability == Durability::Majority;
                        again.extend(self.changes_answered(rest, &reply).await?);
                    }
                    Err(error) if error.kind() == ErrorKind::Data => {
                        self.one_by_one(rest, &Refusal { error, is_full: false }).await?;
                    }
                    Err(error) => return Err(error),
                }
                rest = later;
            }
            if round >= ROUNDS_MAX {
                for statement in again.drain(..) {
                    self.settle(&statement, |_| Outcome::Missing);
                }
            }
            pending = again;
            durability = Durability::Majority;
        }
        Ok(())
    }

    /// Changes as many of the documents as one command takes, and how many these are.
    fn update_command(&self, statements: &[Statement<'a>], durability: Durability) -> (Result<RawDocumentBuf>, usize) {
        let mut writer = self.store.begin("update", self.collection, durability, 64 * 1024);
        writer.begin_array("updates");
        let mut count = 0_usize;
        for statement in statements {
            statement.fold.write(statement.form, &mut writer, &statement.partition);
            count = count.saturating_add(1);
            if is_full(&writer, count) {
                break;
            }
        }
        writer.end();
        (writer.finish(), count)
    }

    /// Sorts the statements of an answered command; returns those to be written again.
    async fn changes_answered(&mut self, statements: Vec<Statement<'a>>, reply: &Reply) -> Result<Vec<Statement<'a>>> {
        self.terms.extend(reply.term);
        let refused: HashMap<usize, &_> = reply.write_errors.iter().map(|error| (error.index, error)).collect();
        let all_applied = reply.n.saturating_add(refused.len()) >= statements.len();
        let (mut again, mut unsure) = (Vec::new(), Vec::new());
        for (place, mut statement) in statements.into_iter().enumerate() {
            match refused.get(&place) {
                // What the usual form adds is new, so that the exact form would add it as well.
                Some(error) if error.is_too_large() => self.one_by_one(vec![statement], &Refusal::of(error)).await?,
                Some(_) if statement.form == Form::Usual => {
                    statement.form = Form::Exact;
                    again.push(statement);
                }
                // Two processes created the document of an upsert at once; now it exists.
                Some(error) if error.is_taken_id() => again.push(statement),
                Some(error) => self.one_by_one(vec![statement], &Refusal::of(error)).await?,
                None if all_applied => self.settle(&statement, |_| Outcome::Applied),
                None => unsure.push(statement),
            }
        }
        if !unsure.is_empty() {
            again.extend(self.find_unapplied(unsure).await?);
        }
        Ok(again)
    }

    /// Not all documents were there, or not everything was new. The watermarks tell which statements were
    /// applied; the others are written again in their exact form.
    async fn find_unapplied(&mut self, statements: Vec<Statement<'a>>) -> Result<Vec<Statement<'a>>> {
        let ids: Vec<Bson> = statements.iter().map(|statement| Bson::from(statement.fold.id)).collect();
        let filter = doc! { "_id": { "$in": ids } };
        let found = self.store.find(self.collection.as_str(), filter, doc! { "_evp.wm": 1 }).await?;
        let by_id: HashMap<&str, &Document> =
            found.iter().filter_map(|document| Some((document.get_str("_id").ok()?, document))).collect();
        let mut again = Vec::new();
        for mut statement in statements {
            match by_id.get(statement.fold.id) {
                None => self.settle(&statement, |_| Outcome::Missing),
                Some(document) if watermark(document, &statement.partition) >= Some(statement.fold.last_offset) => {
                    self.settle(&statement, |_| Outcome::Applied);
                }
                Some(_) => {
                    statement.form = Form::Exact;
                    again.push(statement);
                }
            }
        }
        Ok(again)
    }

    fn settle(&mut self, statement: &Statement<'a>, outcome: impl Fn(usize) -> Outcome) {
        let models = statement.indexes.iter().filter_map(|index| self.model(*index));
        models.filter(|model| model.grows()).for_each(|model| self.store.sizes.grew(model));
        self.outcomes.extend(statement.indexes.iter().map(|index| (*index, outcome(*index))));
    }
}

/// Inserts as many of the documents as one command takes, and how many these are.
pub(super) fn insert_command<'a>(
    store: &Store,
    collection: &Collection,
    durability: Durability,
    creates: impl Iterator<Item = &'a Create>,
) -> (Result<RawDocumentBuf>, usize) {
    let mut writer = store.begin("insert", collection, durability, 16 * 1024);
    writer.begin_array("documents");
    let mut count = 0_usize;
    for create in creates {
        writer.created(create);
        count = count.saturating_add(1);
        if is_full(&writer, count) {
            break;
        }
    }
    (writer.finish(), count)
}

fn is_full(writer: &Writer, statements: usize) -> bool {
    writer.len() >= COMMAND_BYTES_MAX || statements >= COMMAND_STATEMENTS_MAX
}

fn watermark(document: &Document, partition: &PartitionPaths) -> Option<i64> {
    let watermarks = document.get_document("_evp").ok()?.get_document("wm").ok()?;
    watermarks.get_i64(&partition.key).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Health;

    #[tokio::test]
    async fn changes_that_cannot_be_written_as_bson_fail_one_by_one_before_anything_is_sent() {
        let client = mongodb::Client::with_uri_str("mongodb://127.0.0.1:1").await.unwrap();
        let store = Store::new(client.database("none"), String::new(), Arc::new(Health::default()));
        let unwritable = || WriteModel::update("users", "1").set("profile", doc! { "nul\0key": 1 }).into();
        let effects = [Effect::of(1, unwritable()), Effect::of(2, unwritable())];
        let users = Collection::new("users");
        let work = CollectionWork::new(&store, 1, &users, &effects).run(vec![0, 1], Durability::Majority).await;
        let mut outcomes = work.unwrap().outcomes;
        outcomes.sort_by_key(|(index, _)| *index);
        assert!(
            matches!(&outcomes[..], [(0, Outcome::Failed(error)), (1, Outcome::Deferred)] if error.kind() == ErrorKind::Data),
            "{outcomes:?}"
        );
    }
}
