//! Speaking to PostgreSQL: a replication session of evp's own, and SQL through tokio-postgres.

mod catalog;
mod frame;
mod pace;
mod publication;
mod replica_identity;
mod server_error;
mod session;
mod slot;
mod snapshot;
pub mod sql;
mod stream;
mod timeline;
mod tls;

pub use catalog::{
    enums, published_columns, published_tables, shown_transactions, table_shape, types, unique_index_columns,
};
pub use frame::{Frame, FrameError, StandbyStatus};
pub use publication::{
    LookAt, PublicationLook, PublishedTable, Relation, SeenPublication, SlotLook, look_at_publications,
};
pub(crate) use replica_identity::replica_identity;
pub use server_error::NO_PUBLICATION;
pub(crate) use server_error::is_stopping;
pub use session::Session;
pub use slot::{
    ServerFacts, Slot, copy_slot, create_slot, drop_slot, find_slot, publication_exists, server_facts,
    wal_sender_patience,
};
pub use snapshot::{CopiedLines, SnapshotFacts, SnapshotTable, SnapshotTransaction};
pub use stream::{
    ReplicationReader, ReplicationWriter, StartPoint, SystemIdentity, identify_system, publication_names,
    start_replication, timeline, wal_sender_timeout,
};
pub use timeline::Timeline;
