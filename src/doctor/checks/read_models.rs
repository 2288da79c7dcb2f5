//! MongoDB: version, replica set, write concern, collections and indexes.

use super::{Fix, Link};
use crate::facts::MongoFacts;

pub(super) fn check(facts: &MongoFacts, link: &mut Link) {
    let MongoFacts { version, database, .. } = facts;
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (4, 4) {
        link.problem("server", format!("version {version}; evp needs 4.4 or later"), "upgrade MongoDB");
    } else {
        link.good("server", format!("version {version}, database {database}"));
    }
    if !facts.is_writable {
        let what = "the server that answers is no primary and takes no writes";
        link.problem(
            "replica set",
            what,
            "name all members and replicaSet=… in MONGODB_URI; rs.status() shows the primary",
        );
    } else if let Some(name) = &facts.replica_set {
        link.good("replica set", name);
    } else {
        link.note(
            "replica set",
            "a server that stands alone; a replica set, even of one node, makes process faster and outlives a machine",
        );
    }
    if facts.default_write_concern.as_deref() == Some("0") {
        let what = "the server's default write concern is 0; evp asks for more, other writers lose data";
        link.warning(
            "write concern",
            what,
            "db.adminCommand({setDefaultRWConcern: 1, defaultWriteConcern: {w: 'majority'}})",
        );
    } else {
        link.good("write concern", "evp asks for a majority by itself");
    }
    if facts.missing.is_empty() {
        link.good("indexes", "all that `evp init` makes are there");
    } else {
        link.warning("indexes", format!("missing: {}", facts.missing.join(", ")), "evp init");
        link.fixed_by(Fix::Collections);
    }
}

#[cfg(test)]
pub(in crate::doctor) mod tests {
    use super::*;
    use crate::doctor::checks::Grade;

    pub(in crate::doctor) fn healthy() -> MongoFacts {
        MongoFacts {
            database: "activity_read".to_owned(),
            version: "6.0.5".to_owned(),
            replica_set: Some("rs0".to_owned()),
            is_writable: true,
            clock_skew_ms: 0,
            counts: [("users".to_owned(), 1)].into(),
            total_users: None,
            missing: Vec::new(),
            default_write_concern: Some("majority".to_owned()),
        }
    }

    fn findings(change: impl Fn(&mut MongoFacts)) -> Vec<&'static str> {
        let (mut facts, mut link) = (healthy(), Link::new("mongodb"));
        change(&mut facts);
        check(&facts, &mut link);
        link.checks.iter().filter(|check| check.grade >= Grade::Warning).map(|check| check.name).collect()
    }

    #[test]
    fn each_fault_of_mongodb_is_named_and_a_healthy_one_has_none() {
        assert!(findings(|_| {}).is_empty());
        assert!(findings(|facts| facts.replica_set = None).is_empty(), "a note");
        assert_eq!(findings(|facts| facts.version = "4.2.24".to_owned()), ["server"]);
        assert!(findings(|facts| facts.version = "4.4.0-rc1".to_owned()).is_empty());
        assert_eq!(findings(|facts| facts.is_writable = false), ["replica set"]);
        assert_eq!(findings(|facts| facts.default_write_concern = Some("0".to_owned())), ["write concern"]);
        assert_eq!(findings(|facts| facts.missing.push("index email on users".to_owned())), ["indexes"]);
    }
}
