//! The replication stream: `START_REPLICATION`, frames in, status updates out.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, BytesMut};
use postgres_protocol::message::backend::{Header, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::frame::{Frame, StandbyStatus};
use super::pace::{PACE_WAIT, Pace};
use super::server_error::connection_error;
use super::session::{Session, Socket, error_response};
use super::timeline::Timeline;
use crate::config::PostgresConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lsn::Lsn;
use crate::pgoutput::PROTOCOL_VERSION;

/// How much is asked of the socket at once: large enough to make a backlog cheap, small enough to stay in cache.
const READ_BYTES: usize = 256 * 1024;

/// How much may wait to be handled before reading stops.
const READ_AHEAD_BYTES: usize = 2 * 1024 * 1024;

/// A buffer that a wide row has made larger than this is given back.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// PostgreSQL cannot make a larger message, so a larger length is nonsense.
const MESSAGE_BYTES_MAX: usize = 0x4000_0000;

/// The tag and the length before each message.
const HEADER_BYTES: usize = 5;

/// Seconds between 1970 and 2000, the epochs of Unix and of PostgreSQL.
const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);

/// What to stream.
#[derive(Debug, Clone)]
pub struct StartPoint {
    /// Slot to read.
    pub slot: String,
    /// Publications, comma separated.
    pub publications: String,
    /// What the plugin is to send of changes that were replicated from elsewhere; of all, if nothing is said.
    pub origin: Option<String>,
}

/// Which server this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The cluster's identifier, given by initdb.
    pub system_identifier: u64,
    /// Its timeline, raised by each promotion.
    pub timeline: u32,
}

/// Asks which server answers.
pub async fn identify_system(session: &mut Session) -> Result<SystemIdentity> {
    let row = session.query_row("IDENTIFY_SYSTEM").await?;
    let number = |at: usize| row.get(at).and_then(|text| text.as_deref()).and_then(|text| text.parse::<u64>().ok());
    match (number(0), number(1).and_then(|timeline| u32::try_from(timeline).ok())) {
        (Some(system_identifier), Some(timeline)) => Ok(SystemIdentity { system_identifier, timeline }),
        _ => Err(Error::protocol("IDENTIFY_SYSTEM gives no system identifier")),
    }
}

/// Asks for the history of a timeline; the first one has none.
pub async fn timeline(session: &mut Session, number: u32) -> Result<Timeline> {
    if number <= 1 {
        return Ok(Timeline::first(number));
    }
    let row = match session.query_row(&format!("TIMELINE_HISTORY {number}")).await {
        Ok(row) => row,
        // Somebody has removed the file by hand. Nothing can be said then of where the histories part.
        Err(error) if error.message().contains("58P01") => {
            tracing::warn!(event = "timeline_unknown", timeline = number, %error, "going on without the timeline's history");
            return Ok(Timeline::first(number));
        }
        Err(error) => return Err(error),
    };
    let history = row.get(1).and_then(|text| text.as_deref()).unwrap_or_default();
    Timeline::parse(number, history)
        .ok_or_else(|| Error::protocol(format!("the history of timeline {number} cannot be read")))
}

/// How long the server waits for a sign of life, or `None` if for ever.
pub async fn wal_sender_timeout(session: &mut Session) -> Result<Option<Duration>> {
    let row = session.query_row("SHOW wal_sender_timeout").await?;
    let text = row.first().and_then(|text| text.as_deref()).unwrap_or_default();
    Ok(parse_guc_duration(text).filter(|timeout| !timeout.is_zero()))
}

/// A setting with a unit, as SHOW prints it: `1min`, `30s`, `1500ms`, `0`.
fn parse_guc_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.saturating_mul(milliseconds)))
}

/// Starts streaming from where the slot stands.
pub async fn start_replication(
    mut session: Session,
    start: &StartPoint,
) -> Result<(ReplicationReader, ReplicationWriter)> {
    let what = "starting replication";
    // 0/0 means the slot's own confirmed position: a position of ours could only skip, never rewind.
    let origin = start.origin.as_ref().map(|origin| format!(", origin '{}'", origin.replace('\'', "''")));
    let command = format!(
        "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '{PROTOCOL_VERSION}', publication_names {}, messages 'true'{})",
        quote_identifier(&start.slot),
        quote_publications(&start.publications),
        origin.unwrap_or_default(),
    );
    session.send_query(&command).await?;
    session.expect_copy_both(what).await?;
    let Session { socket, buffer, config } = session;
    let (read, write) = tokio::io::split(socket);
    let reader =
        ReplicationReader { socket: read, buffer, config: config.clone(), pace: Pace::starting_at(Instant::now()) };
    Ok((reader, ReplicationWriter { socket: write, config }))
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The value of `publication_names`: a comma separated list of quoted names.
pub fn publication_names(list: &str) -> String {
    let names: Vec<String> = list.split(',').map(|name| quote_identifier(name.trim())).collect();
    names.join(",")
}

/// The same as a literal.
fn quote_publications(list: &str) -> String {
    format!("'{}'", publication_names(list).replace('\'', "''"))
}

/// The receiving half.
pub struct ReplicationReader {
    socket: ReadHalf<Socket>,
    buffer: BytesMut,
    config: PostgresConfig,
    pace: Pace,
}

impl ReplicationReader {
    /// The next frame that has wholly arrived, without waiting.
    pub fn buffered(&mut self) -> Result<Option<Frame>> {
        loop {
            let Some(header) = Header::parse(&self.buffer).map_err(|error| self.broken(error))? else {
                return Ok(None);
            };
            // Header::parse refuses lengths below 4.
            let length = usize::try_from(header.len()).unwrap_or(usize::MAX).saturating_add(1);
            if length > MESSAGE_BYTES_MAX {
                return Err(Error::protocol(format!("a replication message claims {length} bytes")));
            }
            if self.buffer.len() < length {
                return Ok(None);
            }
            if header.tag() == b'd' {
                self.buffer.advance(HEADER_BYTES);
                let body = self.buffer.split_to(length.saturating_sub(HEADER_BYTES)).freeze();
                let frame = Frame::decode(body).map_err(|error| Error::protocol(error.to_string()))?;
                return Ok(Some(frame));
            }
            match Message::parse(&mut self.buffer).map_err(|error| self.broken(error))? {
                Some(Message::ErrorResponse(body)) => {
                    return Err(error_response("streaming", &self.config, body.fields()));
                }
                Some(Message::CopyDone | Message::CommandComplete(_) | Message::ReadyForQuery(_)) => {
                    return Err(Error::unavailable(format!(
                        "PostgreSQL at {} ended the stream",
                        self.config.address()
                    )));
                }
                _ => {}
            }
        }
    }

    /// How much has arrived and was not taken.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is room to read on.
    pub fn has_space(&self) -> bool {
        self.waiting_bytes() < READ_AHEAD_BYTES
    }

    /// Waits until more bytes have arrived. Dropping the future loses nothing.
    pub async fn fill(&mut self) -> Result<()> {
        if self.pace.is_worth_waiting() {
            // The thread sleeps, not the task: epoll would wake it for every row that arrives meanwhile.
            std::thread::sleep(PACE_WAIT);
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_BYTES_MAX {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(READ_BYTES);
        let mut limited = (&mut self.buffer).limit(READ_BYTES);
        let failed = |error| connection_error("streaming", &self.config, error);
        match self.socket.read_buf(&mut limited).await {
            Ok(0) => Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.pace.read(count, Instant::now());
                Ok(())
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Reads on until the server has ended the stream, which frees the slot.
    pub async fn read_to_end(&mut self) {
        loop {
            match self.buffered() {
                Ok(Some(_)) => {}
                Ok(None) if self.fill().await.is_ok() => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn broken(&self, error: io::Error) -> Error {
        let message = format!("PostgreSQL at {} breaks the replication protocol", self.config.address());
        Error::with_source(ErrorKind::Protocol, message, error)
    }
}

/// The sending half.
pub struct ReplicationWriter {
    socket: WriteHalf<Socket>,
    config: PostgresConfig,
}

impl ReplicationWriter {
    /// Tells the server how far we are; `flushed` moves the slot.
    pub async fn send_status(&mut self, received: Lsn, flushed: Lsn, is_reply_requested: bool) -> Result<()> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH + POSTGRES_EPOCH).unwrap_or_default();
        let clock_us = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
        let status = StandbyStatus { received, flushed, clock_us, is_reply_requested };
        self.write(&status.encode()).await
    }

    /// Ends the stream, so that the server frees the slot at once.
    pub async fn finish(&mut self) -> Result<()> {
        let mut out = BytesMut::new();
        out.put_slice(b"c\0\0\0\x04");
        self.write(&out).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        written.await.map_err(|error| connection_error("sending a status update", &self.config, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_in_every_unit() {
        assert_eq!(parse_guc_duration("1min"), Some(Duration::from_secs(60)));
        assert_eq!(parse_guc_duration("1500ms"), Some(Duration::from_millis(1_500)));
        assert_eq!(parse_guc_duration("0"), Some(Duration::ZERO));
        assert_eq!(parse_guc_duration("soon"), None);
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_publications("one, t'wo"), "'\"one\",\"t''wo\"'");
    }
}
