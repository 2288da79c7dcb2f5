//! The publication and the captured tables.

use super::Link;
use crate::facts::{PostgresFacts, PublicationFacts, TableFacts};

pub(super) fn check(facts: &PostgresFacts, link: &mut Link) {
    let name = &facts.publication_name;
    for table in &facts.missing_tables {
        link.problem("table", format!("{table} does not exist"), "evp init");
    }
    let Some(publication) = &facts.publication else {
        link.problem("publication", format!("{name} does not exist"), "evp init");
        return;
    };
    if !publication.inserts {
        let what = format!("{name} does not send inserts, which are the events");
        link.problem(
            "publication",
            what,
            format!("ALTER PUBLICATION \"{name}\" SET (publish = 'insert, update, delete');"),
        );
    } else if !publication.updates {
        link.note(
            "publication",
            format!("{name} sends no updates, so that a row that is corrected repairs no dead letter"),
        );
    } else {
        link.good("publication", format!("{name} sends inserts and updates"));
    }
    for table in &facts.tables {
        check_table(table, publication, facts, link);
    }
    link.otherwise_good("table", format!("{} captured, all published and readable", facts.tables.len()));
}

fn check_table(table: &TableFacts, publication: &PublicationFacts, facts: &PostgresFacts, link: &mut Link) {
    let (name, publication_name) = (&table.name, &facts.publication_name);
    if table.is_published_in_parts {
        let what = format!(
            "{publication_name} sends the partitions of {name} under their own names, which capture leaves out"
        );
        link.problem(
            "table",
            what,
            format!("ALTER PUBLICATION \"{publication_name}\" SET (publish_via_partition_root = true);"),
        );
    } else if !table.is_published {
        let what = format!("{name} is not in publication {publication_name}");
        link.problem("table", what, format!("ALTER PUBLICATION \"{publication_name}\" ADD TABLE {name};"));
    }
    if !table.can_select {
        let role = &facts.server.role;
        let what = format!("{role} may not read {name}");
        link.problem("table", what, format!("GRANT SELECT ON {name} TO \"{role}\";"));
    }
    if let Some(part) = table.unidentified.as_ref().filter(|_| publication.updates || publication.deletes) {
        let what = format!("{part} has no replica identity, so that each UPDATE and DELETE of the application fails");
        link.problem("replica identity", what, format!("ALTER TABLE {part} REPLICA IDENTITY FULL;"));
    } else if publication.updates && !table.has_full_identity && !table.toastable.is_empty() {
        let what = format!(
            "an update of {name} that leaves a large {} as it is comes without it; evp knows such an event by its id",
            table.toastable.join(", ")
        );
        link.add(
            "replica identity",
            super::Grade::Note,
            what,
            Some(format!("ALTER TABLE {name} REPLICA IDENTITY FULL;")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::tests::healthy;
    use super::*;
    use crate::doctor::checks::Grade;

    fn findings(change: impl Fn(&mut PostgresFacts)) -> Vec<String> {
        let (mut facts, mut link) = (healthy(), Link::new("postgres"));
        change(&mut facts);
        check(&facts, &mut link);
        let findings = link.checks.into_iter().filter(|check| check.grade >= Grade::Warning);
        findings.map(|check| check.remedy.unwrap()).collect()
    }

    fn table(change: impl Fn(&mut TableFacts)) -> Vec<String> {
        findings(|facts| change(&mut facts.tables[0]))
    }

    #[test]
    fn each_fault_has_its_statement_and_healthy_tables_have_none() {
        assert!(findings(|_| {}).is_empty());
        assert_eq!(findings(|facts| facts.publication = None), ["evp init"]);
        assert_eq!(findings(|facts| facts.missing_tables.push("a.b".to_owned())), ["evp init"]);
        let remedy = |found: Vec<String>, part: &str| assert!(found.len() == 1 && found[0].contains(part), "{found:?}");
        remedy(findings(|facts| facts.publication.as_mut().unwrap().inserts = false), "SET (publish");
        remedy(table(|table| table.is_published = false), "ADD TABLE activity.event_outbox");
        remedy(table(|table| table.is_published_in_parts = true), "publish_via_partition_root");
        remedy(table(|table| table.can_select = false), "GRANT SELECT");
        remedy(table(|table| table.unidentified = Some("a.part".to_owned())), "ALTER TABLE a.part REPLICA IDENTITY");
        let toast = table(|table| (table.has_full_identity, table.toastable) = (false, vec!["payload".to_owned()]));
        assert!(toast.is_empty(), "a note, as evp needs nothing else: {toast:?}");
    }
}
