//! From flags, environment, `.env`, connector file and defaults to one validated configuration.

mod secret;
mod servers;
mod variables;

pub use secret::Secret;
pub(crate) use servers::shutdown_timeout;
pub use servers::{KafkaConfig, MongoConfig, OffsetReset, PostgresConfig, ProcessConfig, SslMode, TlsFiles};
pub use variables::Variables;
