//! Speaking to PostgreSQL: a replication session of evp's own, and SQL through tokio-postgres.

mod catalog;
mod frame;
mod pace;
mod server_error;
mod session;
mod slot;
pub mod sql;
mod stream;
mod timeline;
mod tls;

pub use catalog::{CatalogColumn, CatalogTable, published_columns, published_tables, table_facts};
pub use frame::{Frame, FrameError, StandbyStatus};
pub use session::Session;
pub use slot::{ServerFacts, Slot, SlotLog, find_slot, publication_exists, server_facts, slot_log};
pub use stream::{
    ReplicationReader, ReplicationWriter, StartPoint, SystemIdentity, identify_system, start_replication, timeline,
    wal_sender_timeout,
};
pub use timeline::Timeline;
