//! Ordinary SQL, for looking at the catalog, for set-up and for snapshots; never on the path of a change.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres::{Client, Config};

use super::server_error::{connection_error, server_error};
use super::session::{APPLICATION_NAME, STARTUP_TIMEOUT, connect_tcp, within};
use super::tls;
use crate::config::{PostgresConfig, SslMode};
use crate::error::{Error, ErrorKind, Result};

/// A server that has taken a question and does not answer is given up, so that another one can be tried.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection for questions that come now and then, made anew where the server or a pooler has ended it meanwhile.
pub struct Catalog {
    config: PostgresConfig,
    /// Run on each connection before anything else.
    statements: Vec<String>,
    client: Mutex<Arc<Client>>,
}

impl Catalog {
    /// Connects, and runs `statements` there as on every connection that follows.
    pub async fn connect(config: &PostgresConfig, statements: &[String]) -> Result<Self> {
        let client = begun(config, statements).await?;
        Ok(Self { config: config.clone(), statements: statements.to_vec(), client: Mutex::new(Arc::new(client)) })
    }

    /// A client whose connection was there a moment ago.
    pub async fn client(&self) -> Result<Arc<Client>> {
        let mut client = self.client.lock().await;
        if client.is_closed() {
            *client = Arc::new(begun(&self.config, &self.statements).await?);
        }
        Ok(Arc::clone(&client))
    }
}

async fn begun(config: &PostgresConfig, statements: &[String]) -> Result<Client> {
    let client = connect(config).await?;
    run_initial(&client, config, statements).await?;
    Ok(client)
}

/// Runs what the user wants to be run on a connection.
pub(super) async fn run_initial(client: &Client, config: &PostgresConfig, statements: &[String]) -> Result<()> {
    for statement in statements {
        answered("running a statement of database.initial.statements", config, client.batch_execute(statement)).await?;
    }
    Ok(())
}

/// Connects; the connection's task ends with the client, once all that was asked for has been answered.
pub async fn connect(config: &PostgresConfig) -> Result<Client> {
    connect_abortable(config).await.map(|(client, _)| client)
}

/// The same with a way to end the connection in the middle of an answer.
pub(super) async fn connect_abortable(config: &PostgresConfig) -> Result<(Client, AbortHandle)> {
    within(STARTUP_TIMEOUT, "connecting", config, connect_by_mode(config)).await
}

async fn connect_by_mode(config: &PostgresConfig) -> Result<(Client, AbortHandle)> {
    match config.ssl_mode {
        SslMode::Disable => connect_once(config, DriverSslMode::Disable).await,
        SslMode::Allow => match connect_once(config, DriverSslMode::Disable).await {
            Err(error) if error.kind() == ErrorKind::Denied => connect_once(config, DriverSslMode::Require).await,
            outcome => outcome,
        },
        SslMode::Prefer => match connect_once(config, DriverSslMode::Prefer).await {
            Err(error) if error.kind() == ErrorKind::Denied => {
                connect_once(config, DriverSslMode::Disable).await.map_err(|_| error)
            }
            outcome => outcome,
        },
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            connect_once(config, DriverSslMode::Require).await
        }
    }
}

async fn connect_once(config: &PostgresConfig, ssl_mode: DriverSslMode) -> Result<(Client, AbortHandle)> {
    let stream = connect_tcp(config).await?;
    let mut driver = Config::new();
    driver.user(&config.user).dbname(&config.database).application_name(APPLICATION_NAME).ssl_mode(ssl_mode);
    if let Some(password) = &config.password {
        driver.password(password.expose());
    }
    let failed = |error| query_error("connecting", config, error);
    match tls::connector(config)?.filter(|_| ssl_mode != DriverSslMode::Disable) {
        Some(connector) => {
            let (client, connection) = driver.connect_raw(stream, connector).await.map_err(failed)?;
            Ok((client, drive(connection)))
        }
        None => {
            let (client, connection) = driver.connect_raw(stream, tokio_postgres::NoTls).await.map_err(failed)?;
            Ok((client, drive(connection)))
        }
    }
}

/// Runs a connection until its client is dropped; an error shows up in the client's next call.
fn drive<F>(connection: F) -> AbortHandle
where
    F: Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
{
    let driving = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(event = "postgres_connection_lost", %error, "the SQL connection ended");
        }
    });
    driving.abort_handle()
}

/// Waits for the answer to a statement that takes no time, such as one about the catalog.
pub(super) async fn answered<T>(
    what: &str,
    config: &PostgresConfig,
    answer: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Result<T> {
    let answer = async { answer.await.map_err(|error| query_error(what, config, error)) };
    within(QUERY_TIMEOUT, what, config, answer).await
}

/// The error of a statement, with its kind and remedy.
pub fn query_error(what: &str, config: &PostgresConfig, error: tokio_postgres::Error) -> Error {
    if let Some(server) = error.as_db_error() {
        return server_error(what, config, server.code().code(), server.message());
    }
    let text = error.to_string();
    if text.contains("password missing") {
        let message = format!("PostgreSQL at {} asks for a password: set POSTGRES_PASSWORD", config.address());
        return Error::new(ErrorKind::Denied, message);
    }
    let is_lost = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(super::session::is_lost);
    if text.contains("TLS") && !is_lost {
        let message = format!(
            "TLS with PostgreSQL at {} fails; check POSTGRES_SSLMODE and POSTGRES_SSLROOTCERT",
            config.address()
        );
        return Error::with_source(ErrorKind::Denied, message, error);
    }
    connection_error(what, config, std::io::Error::other(error))
}
