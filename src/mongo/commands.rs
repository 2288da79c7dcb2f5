//! The commands of a batch without the batch: what write models become, seen without a server.

use std::collections::{BTreeMap, HashMap};

use bson::RawDocumentBuf;

use super::order::{CommitOrder, EventOrder};
use super::{Create, Durability, Fold, PartitionPaths, Position, WriteModel, begin_command};
use crate::error::Result;

/// A first guess at the size of a command.
const CAPACITY_BYTES: usize = 64 * 1024;

/// What happens in one collection.
#[derive(Default)]
struct Effects<'a> {
    creates: Vec<&'a Create>,
    folds: Vec<Fold<'a>>,
    /// Where the fold of a document stands.
    places: HashMap<&'a str, usize>,
}

/// The commands that write `models`, the effects of consecutive events of one partition, in the form in which
/// they are sent first: per collection one `insert` and one `update`, in which each document is one statement.
///
/// Offsets are taken to count from 0; bounds on the size of a command are left to the caller.
pub fn commands(models: &[WriteModel]) -> Result<Vec<RawDocumentBuf>> {
    let at = |offset: i64| {
        let commit = CommitOrder { epoch: 0, commit: offset.unsigned_abs(), within: 0, sequence: offset };
        Position { offset, order: EventOrder::Commit(commit), is_replay: false }
    };
    write(models.iter().zip((0_i64..).map(at)), &PartitionPaths::new(0, 0, 0))
}

/// The same for the effects of one event, which stands at `position` of a partition.
pub(crate) fn commands_of_event(
    models: &[WriteModel],
    position: Position,
    partition: &PartitionPaths,
) -> Result<Vec<RawDocumentBuf>> {
    write(models.iter().zip(std::iter::repeat(position)), partition)
}

fn write<'a>(
    models: impl Iterator<Item = (&'a WriteModel, Position)>,
    partition: &PartitionPaths,
) -> Result<Vec<RawDocumentBuf>> {
    let mut by_collection: BTreeMap<&str, Effects<'_>> = BTreeMap::new();
    for (model, position) in models {
        let Effects { creates, folds, places } = by_collection.entry(model.collection().as_str()).or_default();
        match model {
            WriteModel::Create(create) => creates.push(create),
            WriteModel::Change(change) => {
                let place = *places.entry(model.id()).or_insert(folds.len());
                match folds.get_mut(place) {
                    Some(fold) => fold.push(position, change),
                    None => folds.push(Fold::new(position, change)),
                }
            }
        }
    }
    let mut commands = Vec::with_capacity(by_collection.len().saturating_mul(2));
    for (collection, Effects { creates, folds, .. }) in by_collection {
        if !creates.is_empty() {
            let mut writer = begin_command("insert", collection, Durability::Primary, CAPACITY_BYTES);
            writer.begin_array("documents");
            for create in creates {
                writer.created(create);
            }
            commands.push(writer.finish()?);
        }
        if !folds.is_empty() {
            let mut writer = begin_command("update", collection, Durability::Primary, CAPACITY_BYTES);
            writer.begin_array("updates");
            for fold in &folds {
                fold.write(fold.first_form(), &mut writer, partition);
            }
            commands.push(writer.finish()?);
        }
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::{Document, doc};

    #[test]
    fn changes_of_one_document_are_one_statement() {
        let models = [
            WriteModel::create("users", "1", doc! { "email": "a" }),
            WriteModel::update("users", "2").set("email", "b").into(),
            WriteModel::update("users", "2").set("email", "c").into(),
        ];
        let commands = commands(&models).unwrap();
        let commands: Vec<Document> = commands.into_iter().map(|command| command.try_into().unwrap()).collect();
        assert_eq!(commands.len(), 2);
        assert_eq!(commands[0].get_array("documents").unwrap().len(), 1);
        assert_eq!(commands[1].get_array("updates").unwrap().len(), 1);
    }
}
