//! What can go wrong, and the one table that says what to do about it.
//!
//! An [`Error`] carries a [`ErrorKind`]; whoever handles it asks [`ErrorKind::reaction`] and never
//! looks at the text. The text is for people: one sentence with the remedy in it.

use std::fmt;

/// The boxed cause of an [`Error`].
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The class of a failure, which decides the [`Reaction`] and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A flag, variable, file or property is wrong; nothing was contacted.
    Configuration,
    /// A server does not answer or the connection broke; time heals it.
    Unavailable,
    /// A server refuses us: credentials or privileges.
    Denied,
    /// Something that has to exist on a server does not: database, slot, publication, topic.
    Missing,
    /// Going on would lose or skip data: a gap, a foreign slot, another cluster.
    Refused,
    /// A server answers with an error that evp does not know.
    Unknown,
    /// A peer sent bytes that break its protocol.
    Protocol,
    /// One event or row cannot be handled, now or ever.
    Data,
    /// A feature of the input that evp does not have, named.
    Unsupported,
    /// This machine: files, ports, processes.
    System,
}

/// What the handler of an error does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Wait and try again, for as long as it takes.
    Retry,
    /// Wait and try again, [`TRIES_MAX`] times in a row; then stop the process with the kind's exit code.
    RetryBriefly,
    /// Stop the process with the kind's exit code.
    Halt,
    /// Put the one event aside and go on.
    DeadLetter,
}

/// How often in a row something is tried that [`Reaction::RetryBriefly`] answers.
pub const TRIES_MAX: u32 = 8;

impl ErrorKind {
    /// The one table from kind to reaction.
    pub fn reaction(self) -> Reaction {
        match self {
            Self::Unavailable => Reaction::Retry,
            Self::Unknown => Reaction::RetryBriefly,
            Self::Data => Reaction::DeadLetter,
            Self::Configuration
            | Self::Denied
            | Self::Missing
            | Self::Refused
            | Self::Protocol
            | Self::Unsupported
            | Self::System => Reaction::Halt,
        }
    }

    /// The exit code of a process that ends with this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Configuration => 64,
            Self::Refused => 2,
            Self::Unavailable
            | Self::Denied
            | Self::Missing
            | Self::Unknown
            | Self::Protocol
            | Self::Data
            | Self::Unsupported
            | Self::System => 1,
        }
    }

    /// The name used in logs, metrics and dead-letter headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Protocol => "protocol",
            Self::Data => "data",
            Self::Unsupported => "unsupported",
            Self::System => "system",
        }
    }
}

/// A failure: its kind, a sentence for people, and the cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Cause>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same, keeping the cause.
    pub fn with_source(kind: ErrorKind, message: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// [`ErrorKind::Configuration`].
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// [`ErrorKind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// [`ErrorKind::Protocol`].
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    /// [`ErrorKind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence, without the chain of causes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    /// The sentence, then each cause that adds something to it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut said = self.message.clone();
        let mut cause = self.source.as_ref().map(|source| &**source as &dyn std::error::Error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
                said.push_str(&text);
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gap_exits_with_two_and_only_configuration_with_sixty_four() {
        assert_eq!(ErrorKind::Refused.exit_code(), 2);
        assert_eq!(ErrorKind::Configuration.exit_code(), 64);
        assert_eq!(ErrorKind::Denied.exit_code(), 1);
    }

    #[test]
    fn a_cause_is_said_once() {
        let io = std::io::Error::other("connection reset");
        let error = Error::with_source(ErrorKind::Unavailable, "cannot reach PostgreSQL: connection reset", io);
        assert_eq!(error.to_string(), "cannot reach PostgreSQL: connection reset");
        let io = std::io::Error::other("connection reset");
        let error = Error::with_source(ErrorKind::Unavailable, "cannot reach PostgreSQL", io);
        assert_eq!(error.to_string(), "cannot reach PostgreSQL: connection reset");
    }
}
