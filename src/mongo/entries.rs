//! Lists whose entries are put in and taken out, as expressions: of each entry the last writer wins.

use super::expression::{
    Either, Expression, Literals, Nothing, Variable, all_lists, and, both_lists, cond, element_at, eq, filter, is_in,
    let_in, list_at, map, not, or,
};
use super::fold::{EntriesFold, EntryFold};
use super::path::escaped;
use super::pipeline::{PartitionPaths, Wins, is_new};
use super::writer::Writer;

const KNOWN: Variable<'static> = Variable("$$known", "");
const PUT: Variable<'static> = Variable("$$put", "");
const GONE: Variable<'static> = Variable("$$gone", "");

/// An expression of one kind among others.
type Any<'a> = Box<dyn Expression + 'a>;

/// Writes the list without what is taken out and with what is put in, each in the place of the entry with its key or at the
/// end; and what is kept of the last writer of each.
pub(super) fn write_entries(list: &EntriesFold<'_>, writer: &mut Writer, partition: &PartitionPaths) {
    let wins: Vec<Wins> = list.entries.iter().map(|entry| wins(list, entry)).collect();
    let variables = (
        ("known", list_at(list.list.as_str())),
        ("put", put(list, &wins, partition)),
        ("gone", gone(list, &wins, partition)),
    );
    let suffix = list.field.map(|field| format!(".{field}")).unwrap_or_default();
    let key = Key { list, suffix: &suffix };
    let_in(variables, both_lists(kept(&key), appended(&key))).write(list.list.as_str(), writer);
    wins.iter().for_each(|wins| wins.write_record(writer, partition));
}

fn wins(list: &EntriesFold<'_>, entry: &EntryFold<'_>) -> Wins {
    let record = format!("_evp.e.{}.{}", list.list.flat(), escaped(entry.key));
    Wins { record, offset: entry.offset, order: entry.order, is_replay: entry.is_replay }
}

/// The keys of what is put in.
fn put<'a>(list: &'a EntriesFold<'_>, wins: &'a [Wins], partition: &'a PartitionPaths) -> impl Expression + use<'a> {
    let put = list.entries.iter().zip(wins).filter(|(entry, _)| entry.entry.is_some());
    keys(put.map(|(entry, wins)| -> Any<'a> { Box::new(key_if(entry.key, wins.condition(partition))) }))
}

/// The keys of what leaves its place: taken out, or taken out and put in again.
fn gone<'a>(list: &'a EntriesFold<'_>, wins: &'a [Wins], partition: &'a PartitionPaths) -> impl Expression + use<'a> {
    let gone = list.entries.iter().zip(wins).filter_map(|(entry, wins)| -> Option<Any<'a>> {
        let wins = wins.condition(partition);
        match (entry.entry, entry.removed_at) {
            (None, _) => Some(Box::new(key_if(entry.key, wins))),
            (Some(_), Some(removed_at)) => Some(Box::new(key_if(entry.key, and(wins, is_new(removed_at, partition))))),
            (Some(_), None) => None,
        }
    });
    keys(gone)
}

/// Lists of keys as one.
fn keys<'a>(lists: impl Iterator<Item = Any<'a>>) -> impl Expression {
    let nothing: Any<'a> = Box::new(Nothing);
    all_lists(lists.chain([nothing]).collect())
}

/// `[key]` if the condition holds, else `[]`.
fn key_if<E: Expression>(key: &str, condition: E) -> impl Expression {
    cond(condition, Literals(|writer: &mut Writer| writer.string("", key)), Nothing)
}

/// How entries of a list are told apart.
struct Key<'a> {
    list: &'a EntriesFold<'a>,
    /// Behind an entry, for its key.
    suffix: &'a str,
}

impl Key<'_> {
    fn of(&self, entry: &'static str) -> Variable<'_> {
        Variable(entry, self.suffix)
    }

    /// The entries that are put in.
    fn put(&self) -> impl Expression {
        Literals(|writer: &mut Writer| {
            self.list.entries.iter().filter_map(|entry| entry.entry).for_each(|entry| writer.value("", entry));
        })
    }

    /// The keys that the list has.
    fn known(&self) -> impl Expression {
        match self.list.field {
            Some(_) => Either::One(list_at(format!("{}{}", self.list.list, self.suffix))),
            None => Either::Other(KNOWN),
        }
    }
}

/// What does not leave its place, with the new entry where one is put there.
fn kept(key: &Key<'_>) -> impl Expression {
    let stays = filter(KNOWN, "entry", not(is_in(key.of("$$entry"), GONE)));
    let new = element_at(filter(key.put(), "new", eq(key.of("$$new"), key.of("$$entry"))), 0_i32);
    map(stays, "entry", cond(is_in(key.of("$$entry"), PUT), new, Variable("$$entry", "")))
}

/// What is put in and has no place in the list.
fn appended(key: &Key<'_>) -> impl Expression {
    let has_no_place = or(is_in(key.of("$$new"), GONE), not(is_in(key.of("$$new"), key.known())));
    filter(key.put(), "new", and(is_in(key.of("$$new"), PUT), has_no_place))
}
