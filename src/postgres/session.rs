//! Opening a replication session: connect, TLS, start-up, authentication, simple queries.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use postgres_protocol::authentication::{self, sasl};
use postgres_protocol::message::backend::{self, ErrorFields, Message};
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::fallible_iterator::FallibleIterator;
use tokio_postgres::tls::TlsConnect;

use super::server_error::{connection_error, server_error};
use super::tls::{self, Connector, TlsStream};
use crate::config::{PostgresConfig, SslMode};
use crate::error::{Error, ErrorKind, Result};

/// Bound of one TCP connect and of the whole start-up.
pub(super) const STARTUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The application name that `pg_stat_replication` shows.
pub(super) const APPLICATION_NAME: &str = "evp";

/// A connection, encrypted or not.
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// A replication session that is ready for commands.
pub struct Session {
    pub(super) socket: Socket,
    /// Bytes read and not yet parsed.
    pub(super) buffer: BytesMut,
    pub(super) config: PostgresConfig,
}

/// Bound of one command, which the server answers before it streams.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that says nothing for so long is asked whether it lives, so that none outlives its network unnoticed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Bounds a wait for the server.
pub(super) async fn within<T>(
    timeout: Duration,
    what: &str,
    config: &PostgresConfig,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    let timed = tokio::time::timeout(timeout, answer).await;
    timed.unwrap_or_else(|_| Err(connection_error(what, config, io::ErrorKind::TimedOut.into())))
}

/// Connects over TCP without delaying small packets.
pub(super) async fn connect_tcp(config: &PostgresConfig) -> Result<TcpStream> {
    let connect = TcpStream::connect((config.host.as_str(), config.port));
    let timed = tokio::time::timeout(STARTUP_TIMEOUT, connect).await;
    let stream = timed
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| connection_error("connecting", config, error))?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive))
        .map_err(|error| connection_error("connecting", config, error))?;
    Ok(stream)
}

impl Session {
    /// Opens a session for logical replication with the database of `config`.
    pub async fn open(config: &PostgresConfig) -> Result<Self> {
        let attempt = |use_tls| async move {
            within(STARTUP_TIMEOUT, "starting a session", config, Self::open_once(config, use_tls)).await
        };
        match config.ssl_mode {
            // libpq's `allow`: plain first, TLS only if the server turns that away.
            SslMode::Allow => match attempt(false).await {
                Err(error) if error.kind() == ErrorKind::Denied => attempt(true).await,
                outcome => outcome,
            },
            // And its `prefer`: a server may have TLS, and take this role without it only.
            SslMode::Prefer => match attempt(true).await {
                Err(error) if error.kind() == ErrorKind::Denied => attempt(false).await.map_err(|_| error),
                outcome => outcome,
            },
            SslMode::Disable => attempt(false).await,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => attempt(true).await,
        }
    }

    async fn open_once(config: &PostgresConfig, use_tls: bool) -> Result<Self> {
        let stream = connect_tcp(config).await?;
        let socket = match tls::connector(config)?.filter(|_| use_tls) {
            Some(connector) => negotiate_tls(stream, connector, config).await?,
            None => Socket::Plain(stream),
        };
        let mut session = Self { socket, buffer: BytesMut::with_capacity(16 * 1024), config: config.clone() };
        if session.start_up().await? == "SQL_ASCII" {
            // Whoever asks for UTF-8 loses the whole stream to the first bytes that are none; so evp names their row.
            session.query_row("SET client_encoding = 'SQL_ASCII'").await?;
        }
        Ok(session)
    }

    /// The encoding of the database.
    async fn start_up(&mut self) -> Result<String> {
        // These settings fix the text form of values, whatever the database's own settings are.
        let parameters = [
            ("user", self.config.user.as_str()),
            ("database", self.config.database.as_str()),
            ("replication", "database"),
            ("application_name", APPLICATION_NAME),
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO, MDY"),
            ("TimeZone", "UTC"),
            ("extra_float_digits", "3"),
            ("IntervalStyle", "postgres"),
            ("bytea_output", "hex"),
        ];
        let mut out = BytesMut::new();
        frontend::startup_message(parameters, &mut out).map_err(|error| self.broken(error))?;
        self.send(&out).await?;
        let mut encoding = String::new();
        loop {
            match self.receive("starting a session").await? {
                Message::ParameterStatus(status) if status.name().is_ok_and(|name| name == "server_encoding") => {
                    encoding = status.value().map_err(|error| self.broken(error))?.to_owned();
                }
                Message::AuthenticationOk
                | Message::BackendKeyData(_)
                | Message::ParameterStatus(_)
                | Message::NoticeResponse(_) => {}
                Message::AuthenticationCleartextPassword => {
                    let password = self.password()?.to_owned();
                    self.send_password(password.as_bytes()).await?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash =
                        authentication::md5_hash(self.config.user.as_bytes(), self.password()?.as_bytes(), body.salt());
                    self.send_password(hash.as_bytes()).await?;
                }
                Message::AuthenticationSasl(body) => {
                    let mechanisms: Vec<String> = body
                        .mechanisms()
                        .map(|name| Ok(name.to_owned()))
                        .collect()
                        .map_err(|error| self.broken(error))?;
                    self.authenticate_scram(&mechanisms).await?;
                }
                Message::ReadyForQuery(_) => return Ok(encoding),
                _ => return Err(self.unsupported_authentication()),
            }
        }
    }

    async fn authenticate_scram(&mut self, mechanisms: &[String]) -> Result<()> {
        let offers = |name: &str| mechanisms.iter().any(|offered| offered == name);
        let end_point = match &self.socket {
            Socket::Tls(stream) => stream.server_end_point(),
            Socket::Plain(_) => None,
        };
        let (mechanism, binding) = match end_point {
            Some(hash) if offers(sasl::SCRAM_SHA_256_PLUS) => {
                (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash))
            }
            Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        };
        if !offers(mechanism) {
            return Err(self.unsupported_authentication());
        }
        let mut scram = sasl::ScramSha256::new(self.password()?.as_bytes(), binding);
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(mechanism, scram.message(), &mut out).map_err(|error| self.broken(error))?;
        self.send(&out).await?;
        let Message::AuthenticationSaslContinue(body) = self.receive("authenticating").await? else {
            return Err(self.unsupported_authentication());
        };
        scram.update(body.data()).map_err(|error| self.broken(error))?;
        out.clear();
        frontend::sasl_response(scram.message(), &mut out).map_err(|error| self.broken(error))?;
        self.send(&out).await?;
        let Message::AuthenticationSaslFinal(body) = self.receive("authenticating").await? else {
            return Err(self.unsupported_authentication());
        };
        // A server that does not know the password cannot produce this signature.
        scram.finish(body.data()).map_err(|error| {
            Error::with_source(ErrorKind::Denied, "the server does not prove that it knows the password", error)
        })
    }

    /// Sends a command; what it answers is read with [`Session::receive`] or by the stream.
    pub(super) async fn send_query(&mut self, command: &str) -> Result<()> {
        let mut out = BytesMut::new();
        frontend::query(command, &mut out).map_err(|error| self.broken(error))?;
        self.send(&out).await
    }

    /// Runs a command that answers with one row, given back as texts.
    pub(super) async fn query_row(&mut self, command: &str) -> Result<Vec<Option<String>>> {
        within(COMMAND_TIMEOUT, command, &self.config.clone(), self.receive_row(command)).await
    }

    async fn receive_row(&mut self, command: &str) -> Result<Vec<Option<String>>> {
        self.send_query(command).await?;
        let mut columns = Vec::new();
        loop {
            match self.receive(command).await? {
                Message::DataRow(row) => {
                    let buffer = row.buffer();
                    columns = row
                        .ranges()
                        .map(|range| {
                            let text = range.and_then(|range| buffer.get(range));
                            Ok(text.map(|text| String::from_utf8_lossy(text).into_owned()))
                        })
                        .collect()
                        .map_err(|error| self.broken(error))?;
                }
                Message::ReadyForQuery(_) => return Ok(columns),
                _ => {}
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let written = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        written.await.map_err(|error| connection_error("sending", &self.config, error))
    }

    async fn send_password(&mut self, password: &[u8]) -> Result<()> {
        let mut out = BytesMut::new();
        frontend::password_message(password, &mut out).map_err(|error| self.broken(error))?;
        self.send(&out).await
    }

    /// The next message; an error response becomes an [`Error`].
    pub(super) async fn receive(&mut self, what: &str) -> Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.buffer).map_err(|error| self.broken(error))? {
                if let Message::ErrorResponse(body) = &message {
                    return Err(error_response(what, &self.config, body.fields()));
                }
                return Ok(message);
            }
            self.fill(what).await?;
        }
    }

    /// Waits for `CopyBothResponse`, which postgres-protocol does not know.
    pub(super) async fn expect_copy_both(&mut self, what: &str) -> Result<()> {
        within(COMMAND_TIMEOUT, what, &self.config.clone(), self.receive_copy_both(what)).await
    }

    async fn receive_copy_both(&mut self, what: &str) -> Result<()> {
        loop {
            let header = backend::Header::parse(&self.buffer).map_err(|error| self.broken(error))?;
            if let Some(header) = header {
                let length = usize::try_from(header.len()).unwrap_or(usize::MAX).saturating_add(1);
                if header.tag() == b'W' && self.buffer.len() >= length {
                    self.buffer.advance(length);
                    return Ok(());
                }
                if header.tag() != b'W' {
                    match self.receive(what).await? {
                        Message::NoticeResponse(_) | Message::ParameterStatus(_) => continue,
                        _ => return Err(Error::protocol(format!("{what}: the server does not start to stream"))),
                    }
                }
            }
            self.fill(what).await?;
        }
    }

    async fn fill(&mut self, what: &str) -> Result<()> {
        let read = self.socket.read_buf(&mut self.buffer).await;
        match read {
            Ok(0) => Err(connection_error(what, &self.config, io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(connection_error(what, &self.config, error)),
        }
    }

    fn password(&self) -> Result<&str> {
        self.config.password.as_ref().map(crate::config::Secret::expose).ok_or_else(|| {
            let message = format!("PostgreSQL at {} asks for a password: set POSTGRES_PASSWORD", self.config.address());
            Error::new(ErrorKind::Denied, message)
        })
    }

    fn broken(&self, error: io::Error) -> Error {
        let message = format!("PostgreSQL at {} breaks the protocol", self.config.address());
        Error::with_source(ErrorKind::Protocol, message, error)
    }

    fn unsupported_authentication(&self) -> Error {
        let message = format!(
            "PostgreSQL at {} asks for an authentication that evp does not have; use scram-sha-256 in pg_hba.conf",
            self.config.address()
        );
        Error::new(ErrorKind::Unsupported, message)
    }
}

/// Turns an error response into an [`Error`].
pub(super) fn error_response(what: &str, config: &PostgresConfig, mut fields: ErrorFields<'_>) -> Error {
    let (mut sqlstate, mut message) = (String::new(), String::new());
    while let Ok(Some(field)) = fields.next() {
        match field.type_() {
            b'C' => sqlstate = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            b'M' => message = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            _ => {}
        }
    }
    server_error(what, config, &sqlstate, &message)
}

/// Whether the connection broke, and not what was agreed over it.
pub(super) fn is_lost(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::TimedOut
    )
}

async fn negotiate_tls(mut stream: TcpStream, connector: Connector, config: &PostgresConfig) -> Result<Socket> {
    let what = "asking for TLS";
    let mut out = BytesMut::new();
    frontend::ssl_request(&mut out);
    stream.write_all(&out).await.map_err(|error| connection_error(what, config, error))?;
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).await.map_err(|error| connection_error(what, config, error))?;
    match answer {
        [b'S'] => {
            let stream = connector.connect(stream).await.map_err(|error| {
                // A server, or what stands before it, that goes away in the middle is one that restarts.
                if is_lost(&error) {
                    return connection_error(what, config, error);
                }
                let message = format!(
                    "TLS with PostgreSQL at {} fails; check POSTGRES_SSLMODE and POSTGRES_SSLROOTCERT",
                    config.address()
                );
                Error::with_source(ErrorKind::Denied, message, error)
            })?;
            Ok(Socket::Tls(Box::new(stream)))
        }
        [b'N'] if config.ssl_mode == SslMode::Prefer => Ok(Socket::Plain(stream)),
        [b'N'] => Err(Error::new(
            ErrorKind::Denied,
            format!("PostgreSQL at {} has no TLS, but POSTGRES_SSLMODE asks for it", config.address()),
        )),
        _ => Err(Error::protocol(format!("PostgreSQL at {} answers the TLS request wrongly", config.address()))),
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
