//! Logs on stderr, as text for people or as JSON lines for programs.
//!
//! Every line that a program may wait for has the field `event`; these names stay.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::error::{Error, ErrorKind, Result};

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One flat JSON object a line: timestamp, level, event, message and further fields.
    Json,
    /// For reading on a terminal.
    Text,
}

impl LogFormat {
    /// Text where a person looks at stderr, else JSON.
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Checks a level, in the spellings of this and of other loggers, or a filter such as `evp=debug`.
pub fn parse_level(text: &str) -> Result<String, String> {
    let level = text.trim().to_ascii_lowercase();
    let name = match level.as_str() {
        "critical" | "fatal" => "error",
        "warning" => "warn",
        "off" | "error" | "warn" | "info" | "debug" | "trace" => level.as_str(),
        _ if level.contains('=') && EnvFilter::builder().parse(text.trim()).is_ok() => text.trim(),
        _ => return Err(format!("`{text}` is no log level: give one of error, warn, info, debug, trace")),
    };
    Ok(name.to_owned())
}

/// Starts logging; `level` is one that [`parse_level`] returned.
pub fn init(format: LogFormat, level: &str) -> Result<()> {
    let filter = EnvFilter::builder().parse(level).map_err(|error| {
        Error::with_source(ErrorKind::Configuration, format!("the log level `{level}` is wrong"), error)
    })?;
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A closed stderr must not bring the process down.
        .log_internal_errors(false)
        .with_target(false);
    let installed = match format {
        LogFormat::Json => {
            let json = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            tracing::subscriber::set_global_default(json.finish())
        }
        LogFormat::Text => {
            tracing::subscriber::set_global_default(lines.with_ansi(std::io::stderr().is_terminal()).finish())
        }
    };
    installed.map_err(|error| Error::with_source(ErrorKind::System, "logging is already set up", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_known_by_their_usual_names() {
        assert_eq!(parse_level("INFO").as_deref(), Ok("info"));
        assert_eq!(parse_level("Warning").as_deref(), Ok("warn"));
        assert_eq!(parse_level("evp=debug,warn").as_deref(), Ok("evp=debug,warn"));
    }

    #[test]
    fn an_unknown_level_is_refused_with_the_known_ones() {
        assert!(parse_level("loud").unwrap_err().contains("debug"));
        assert!(parse_level("evp=loud").is_err());
    }
}
