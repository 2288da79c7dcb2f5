//! Whether a start begins a snapshot, goes on with one, or takes none.

use super::progress::SnapshotProgress;
use crate::connector::SnapshotMode;
use crate::error::{Error, Result};

/// What a start finds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    /// The snapshot that was begun last.
    pub(crate) progress: Option<&'a SnapshotProgress>,
    /// Something of these topics was captured before, by whomever.
    pub(crate) has_begun: bool,
    /// Debezium's last records are of a snapshot without its last row.
    pub(crate) is_debeziums_unfinished: bool,
    /// This process has taken one already.
    pub(crate) is_taken: bool,
    /// Changes are missing, and `when_needed` makes them good.
    pub(crate) has_gap: bool,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing is read.
    Stream,
    /// The one that was begun goes on.
    Resume,
    /// All tables are read. If nothing was captured before, what a table shows need not come by the stream as well.
    Begin { is_first: bool },
}

/// Decides by the connector's mode.
pub(crate) fn decide(mode: SnapshotMode, found: &Found<'_>) -> Result<Decision> {
    let begin = Ok(Decision::Begin { is_first: !found.has_begun });
    let is_unfinished = found.progress.is_some_and(|progress| !progress.is_completed());
    match mode {
        SnapshotMode::NoData => return Ok(Decision::Stream),
        // What is missing may be of tables that are read already.
        SnapshotMode::WhenNeeded if found.has_gap => return begin,
        _ if is_unfinished => return Ok(Decision::Resume),
        SnapshotMode::Always if !found.is_taken => return begin,
        SnapshotMode::WhenNeeded if found.is_debeziums_unfinished => return begin,
        SnapshotMode::Always | SnapshotMode::WhenNeeded | SnapshotMode::Initial | SnapshotMode::InitialOnly => {}
    }
    if found.progress.is_some() {
        return Ok(Decision::Stream);
    }
    if found.is_debeziums_unfinished {
        return Err(Error::refused(
            "the topics end within a snapshot that Debezium has not finished, so that rows of the tables are missing: let \
             Debezium finish it, or set snapshot.mode=always for one start, which reads all tables, or \
             snapshot.mode=no_data to go on without them",
        ));
    }
    if found.has_begun { Ok(Decision::Stream) } else { begin }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Found<'_> =
        Found { progress: None, has_begun: false, is_debeziums_unfinished: false, is_taken: false, has_gap: false };
    const MODES: [SnapshotMode; 5] = [
        SnapshotMode::Always,
        SnapshotMode::Initial,
        SnapshotMode::InitialOnly,
        SnapshotMode::WhenNeeded,
        SnapshotMode::NoData,
    ];

    fn all(found: &Found<'_>) -> [Option<Decision>; 5] {
        MODES.map(|mode| decide(mode, found).ok())
    }

    #[test]
    fn a_first_start_reads_the_tables_and_a_later_one_streams() {
        let (first, again) = (Some(Decision::Begin { is_first: true }), Some(Decision::Begin { is_first: false }));
        let (resume, stream) = (Some(Decision::Resume), Some(Decision::Stream));
        assert_eq!(all(&NOTHING), [first, first, first, first, stream]);
        let unfinished = SnapshotProgress::due(None, Default::default(), true);
        let completed = unfinished.clone().completed();
        let gap = |progress| Found { progress: Some(progress), has_begun: true, has_gap: true, ..NOTHING };
        let known = |progress| Found { progress: Some(progress), has_begun: true, ..NOTHING };
        assert_eq!(all(&known(&unfinished)), [resume, resume, resume, resume, stream]);
        assert_eq!(all(&known(&completed)), [again, stream, stream, stream, stream]);
        assert_eq!(all(&Found { has_begun: true, ..NOTHING }), [again, stream, stream, stream, stream]);
        assert_eq!(all(&Found { is_taken: true, ..known(&completed) }), [stream; 5]);
        assert_eq!(all(&gap(&completed)), [again, stream, stream, again, stream]);
        assert_eq!(all(&gap(&unfinished)), [resume, resume, resume, again, stream]);
    }

    #[test]
    fn half_a_snapshot_of_debeziums_is_refused_unless_the_mode_says_what_to_do() {
        let (again, stream) = (Some(Decision::Begin { is_first: false }), Some(Decision::Stream));
        let half = Found { has_begun: true, is_debeziums_unfinished: true, ..NOTHING };
        assert_eq!(all(&half), [again, None, None, again, stream]);
        let error = decide(SnapshotMode::Initial, &half).unwrap_err();
        assert!(error.message().contains("snapshot.mode=no_data"), "{error}");
    }
}
