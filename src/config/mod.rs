//! From flags, environment, `.env`, connector file and defaults to one validated configuration.

mod kafka;
mod kafka_properties;
mod kafka_security;
mod outbox;
#[cfg(test)]
mod page;
mod secret;
mod servers;
pub mod table;
mod variables;

pub use kafka::{KafkaConfig, OffsetReset};
pub(crate) use outbox::outbox_columns;
pub use secret::Secret;
pub use servers::{GivenProperty, MongoConfig, PostgresConfig, ProcessConfig, SslMode, TlsFiles};
pub(crate) use servers::{POSTGRES_VARIABLES, shutdown_timeout};
pub use variables::Variables;
