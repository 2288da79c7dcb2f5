//! Which handler writes which field: two that write one field in different ways, or one inside of the other's, would undo
//! each other without a word, and differently in another batch.
//!
//! What a handler writes is known once it has written it, so the second one is refused when it comes.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::mongo::{Change, Collection, Path, Step, WriteModel, Written};

/// The fields that were written, by collection.
#[derive(Debug, Default)]
pub(super) struct WritePaths(HashMap<Collection, HashMap<String, Writer>>);

/// The first handler that wrote a field, and as what.
#[derive(Debug)]
struct Writer {
    event_type: String,
    handler: String,
    is_map: bool,
    way: Way,
}

/// [`Written`], kept.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// With these fields together.
    Fields(Vec<Path>),
    Other(std::mem::Discriminant<Written<'static>>),
}

impl Way {
    fn is(&self, written: Written<'_>) -> bool {
        match (self, written) {
            (Self::Fields(known), Written::Fields(fields)) => known.iter().eq(fields.iter().map(|(path, _)| path)),
            (Self::Other(known), written) => *known == kind(written),
            (Self::Fields(_), _) => false,
        }
    }

    fn of(written: Written<'_>, is_map: bool) -> Self {
        match written {
            // Keys are too many to be remembered; those of a map are set one at a time.
            Written::Fields(fields) if !is_map => Self::Fields(fields.iter().map(|(path, _)| path.clone()).collect()),
            other => Self::Other(kind(other)),
        }
    }
}

fn kind(written: Written<'_>) -> std::mem::Discriminant<Written<'static>> {
    std::mem::discriminant(&match written {
        Written::Fields(_) => Written::Fields(&[]),
        Written::Join => Written::Join,
        Written::GrowingList => Written::GrowingList,
        Written::GrowingValues => Written::GrowingValues,
        Written::List => Written::List,
        Written::Length => Written::Length,
        Written::Counter => Written::Counter,
        Written::Latest => Written::Latest,
    })
}

/// A handler, and what it wants of one event.
pub(super) type Wanted<'a> = (&'a str, &'a [WriteModel]);

impl WritePaths {
    /// Refuses what the handlers of an event want if it does not go together with what they and others have written.
    pub(super) fn check(&mut self, event_type: &str, wanted: &[Wanted<'_>]) -> Result<()> {
        for (handler, models) in wanted {
            for change in changes(models) {
                for (path, written) in change.steps.iter().flat_map(Step::written) {
                    self.write(&change.collection, path, written, (event_type, handler))?;
                }
            }
        }
        for (place, (handler, models)) in wanted.iter().enumerate() {
            for (other, others) in wanted.iter().skip(place.saturating_add(1)) {
                for change in changes(models) {
                    let same = |other: &&Change| other.id == change.id && other.collection == change.collection;
                    if let Some(path) = changes(others).filter(same).find_map(|other| contradiction(change, other)) {
                        return Err(conflict(
                            &change.collection,
                            [(event_type, handler, path), (event_type, other, path)],
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, collection: &Collection, path: &Path, written: Written<'_>, by: (&str, &str)) -> Result<()> {
        let (field, is_map) = path.map().map_or((path.as_str(), false), |map| (map, true));
        if !self.0.contains_key(collection) {
            self.0.insert(collection.clone(), HashMap::new());
        }
        let Some(known) = self.0.get_mut(collection) else { return Ok(()) };
        let is_other = |writer: &Writer| (writer.event_type.as_str(), writer.handler.as_str()) != by;
        let refused = |(other, writer): (&str, &Writer)| {
            let (event_type, handler) = by;
            Err(conflict(collection, [(&writer.event_type, &writer.handler, other), (event_type, handler, field)]))
        };
        if let Some(writer) = known.get(field) {
            let is_same = writer.is_map == is_map
                && if is_map { writer.way == Way::of(written, true) } else { writer.way.is(written) };
            return if is_same || !is_other(writer) { Ok(()) } else { refused((field, writer)) };
        }
        let parents = field.match_indices('.').filter_map(|(end, _)| field.get(..end));
        let mut above = parents.filter_map(|parent| Some((parent, known.get(parent)?)));
        if let Some(found) = above.find(|(_, writer)| !writer.is_map && is_other(writer)) {
            return refused(found);
        }
        let is_below = |other: &str| other.strip_prefix(field).is_some_and(|rest| rest.starts_with('.'));
        let mut below = known.iter().filter(|(other, writer)| !is_map && is_below(other) && is_other(writer));
        if let Some((other, writer)) = below.next() {
            return refused((other, writer));
        }
        let (event_type, handler) = (by.0.to_owned(), by.1.to_owned());
        known.insert(field.to_owned(), Writer { event_type, handler, is_map, way: Way::of(written, is_map) });
        Ok(())
    }
}

fn changes(models: &[WriteModel]) -> impl Iterator<Item = &Change> {
    models.iter().filter_map(|model| match model {
        WriteModel::Change(change) => Some(change),
        WriteModel::Create(_) => None,
    })
}

/// A field that two handlers of one event give different values, of which one would be lost.
fn contradiction<'a>(change: &'a Change, other: &Change) -> Option<&'a Path> {
    let is_last_writer = |step: &&Step| matches!(step, Step::Set { .. } | Step::Entry(_));
    let path_of = |step: &Step| step.written().next().map(|(path, _)| path.clone());
    let is_lost = |step: &Step, other: &Step| match (step, other) {
        (Step::Entry(one), Step::Entry(two)) => one.list == two.list && one.key == two.key && one.entry != two.entry,
        (Step::Set { .. }, Step::Set { .. }) => path_of(step) == path_of(other) && step != other,
        _ => false,
    };
    let steps = change.steps.iter().filter(is_last_writer);
    let lost = steps.filter(|step| other.steps.iter().any(|other| is_lost(step, other)));
    lost.flat_map(Step::written).map(|(path, _)| path).next()
}

fn conflict(collection: &Collection, writers: [(&str, &str, impl std::fmt::Display); 2]) -> Error {
    let [(event_type, handler, path), (other_type, other, other_path)] = writers;
    Error::configuration(format!(
        "handler `{handler}` of `{event_type}` writes `{path}` of `{collection}`, and handler `{other}` of `{other_type}` writes \
         `{other_path}` of it: one would undo the other. Let one of them write it, or both by the same step"
    ))
}

#[cfg(test)]
mod tests {
    use bson::DateTime;

    use super::*;

    fn check(paths: &mut WritePaths, handler: &str, change: Change) -> Result<()> {
        paths.check("Changed", &[(handler, &[change.into()])])
    }

    fn user() -> Change {
        WriteModel::update("users", "1")
    }

    #[test]
    fn a_field_inside_of_anothers_is_refused_whoever_comes_first() {
        for [first, second] in [["profile", "profile.bio"], ["profile.bio", "profile"], ["a", "a.b.c"]] {
            let mut paths = WritePaths::default();
            check(&mut paths, "one", user().set(first, 1)).unwrap();
            check(&mut paths, "one", user().set(first, 2)).unwrap();
            check(&mut paths, "other", WriteModel::update("accounts", "1").set(second, 1)).unwrap();
            let refused = check(&mut paths, "two", user().set(second, 1)).unwrap_err();
            assert_eq!(refused.kind().exit_code(), 64);
            let said = refused.to_string();
            assert!([first, second, "`one`", "`two`", "`users`"].iter().all(|part| said.contains(part)), "{said}");
        }
        let mut paths = WritePaths::default();
        check(&mut paths, "one", user().set("profile", 1)).unwrap();
        check(&mut paths, "two", user().set("profiles", 1).set("pro.file", 1)).unwrap();
    }

    #[test]
    fn a_field_may_be_shared_by_handlers_that_write_it_in_the_same_way() {
        let mut paths = WritePaths::default();
        let together = || user().set_together(vec![("m.at", 1.into()), ("m.by", 2.into())]);
        let shared = || together().increment("n", 1).latest("seen", DateTime::from_millis(1)).add_value("tags", "x");
        check(&mut paths, "one", shared()).unwrap();
        check(&mut paths, "two", shared()).unwrap();
        for other in [user().set("m.at", 1), user().set("n", 1), user().put_value("tags", "x"), user().set("seen", 1)] {
            assert!(check(&mut paths, "three", other.clone()).is_err(), "{other:?}");
        }
    }

    #[test]
    fn keys_of_a_map_are_one_field_for_each_handler() {
        let map = |key: &str| Path::new("counts").key(key);
        let mut paths = WritePaths::default();
        for key in ["de", "at", "ch"] {
            check(&mut paths, "one", user().increment(map(key), 1)).unwrap();
            check(&mut paths, "two", user().increment(map(key), 1)).unwrap();
        }
        assert!(check(&mut paths, "three", user().set(map("li"), 1)).is_err());
        assert!(check(&mut paths, "three", user().set("counts", 1)).is_err());
    }

    #[test]
    fn of_one_event_two_handlers_do_not_say_different_things_of_one_field() {
        let wanted = |value: i32| [WriteModel::from(user().set("status", value))];
        let mut paths = WritePaths::default();
        paths.check("Changed", &[("one", &wanted(1)), ("two", &wanted(1))]).unwrap();
        assert!(paths.check("Changed", &[("one", &wanted(1)), ("two", &wanted(2))]).is_err());
    }
}
