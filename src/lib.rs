//! evp moves rows of a PostgreSQL transactional outbox to MongoDB read models through Kafka.
//!
//! ```text
//!             capture                                                process
//! ┌──────────────────────────────────────────────┐   ┌───────────────────────────────────────────┐
//!  postgres ──▶ pgoutput ──▶ envelope ──▶ kafka ═══════▶ kafka ──▶ envelope ──▶ process ──▶ mongo
//!  frames       messages     records      acks           records   events       write       guarded
//!     ▲                                    │               ▲       handlers     models      writes
//!     └──── confirmed position ◀───────────┘               └────── committed offset ◀──────────┘
//! ```
//!
//! What stands on Kafka is Debezium's own format, so either half can be exchanged for the real Debezium or for any
//! other consumer. The two halves share [`envelope`] and know nothing of each other.
//!
//! **Capture** ([`capture`]) reads the slot through a replication session of its own ([`postgres`]), decodes the
//! messages of the output plugin ([`pgoutput`]), writes each changed row as Debezium's envelope ([`envelope`]) and hands
//! it to an idempotent producer ([`kafka`]). PostgreSQL is told of a position only when every record before it is
//! acknowledged by Kafka. Each record carries its position in a header; at a start the ends of the topic are read back
//! and what is there already is dropped, so that capture goes on at the exact next event. A slot that moved by other
//! hands is refused. Where the connector asks for a snapshot, the rows that are in the tables already come first.
//!
//! **Process** ([`process`]) parses envelopes into events, asks the registered handlers what each event means, which
//! they answer with write models as data, and applies a batch of them to MongoDB in a few commands ([`mongo`]). Guards
//! in the documents make every write take effect once, in order, however often it is repeated. An offset is committed
//! when all before it is applied or in the dead-letter topic.
//!
//! Pure modules decide, thin shells around them speak to servers: the decoder, the encoder, the trackers of positions
//! and offsets, the handlers and the guards import no socket, no clock and no client, and a test keeps it so.
//! An [`error::Error`] carries a kind, and one table says what follows from it.
//!
//! # Two walks
//!
//! One row, from socket to broker: `postgres/stream.rs` takes its frame, `pgoutput/decode.rs` the message, `capture/transaction.rs`
//! its place in the transaction, `capture/pipeline/change.rs` what it is written as, by the plan of its table (`envelope/plan.rs`);
//! `envelope/change.rs` makes its records, `envelope/write.rs` their bytes; `capture/pipeline/sink.rs` knows which are there already and
//! where they go, `kafka/producer.rs` sends them, and `capture/confirmation.rs` tells PostgreSQL once they are acknowledged.
//!
//! One record, from broker to MongoDB: `kafka/consumer/reader.rs` copies it, `process/told.rs` reads what it tells, `process/prepare.rs`
//! asks the handlers, `process/claim.rs` whether it is this record that applies the event; `process/apply.rs` writes its batch
//! and makes it durable, `process/collection.rs` puts it into a command, `mongo/fold.rs` under its guards, which `mongo/store.rs` runs
//! until it is answered; `process/settle.rs` judges the answer, and `process/progress.rs` commits its offset.
//!
//! # Where things go
//!
//! | to add | go to |
//! |---|---|
//! | a column type | a line in the table of `typemap/mod.rs` |
//! | a connector property | a line in the table of `connector/properties.rs`, from which its page is written |
//! | a single message transform | `transform/`, and its properties in `connector/transforms.rs` |
//! | a handler | a file in `activity`, or a crate of your own that calls [`run`], or a projection file |
//! | a key of projection files | `process/projections`, and `docs/projections.md` |
//! | a step of a write model | `mongo/write_model.rs`, its fold, both forms of it, and `mongo/memory.rs` |
//! | a property of librdkafka | a line in the table of `config/kafka_properties.rs` |
//! | a variable | a line in the table of `config/table.rs`, from which its page is written |
//! | a metric | a line in the table of `telemetry/metrics.rs` |
//! | an alert or a panel | `compose/observability`; a test holds the names against that table |
//! | a rule of changing hands with Debezium | `handover` |
//! | what a comparison with Debezium passes over, or must not touch | the lists of `handover/compare/masks.rs` and `properties.rs` |
//! | a check of `evp doctor` | a function in `doctor/checks`, and its facts in `facts` |
//! | a rule of what a rebuild applies | `rebuild/decide.rs`; what members do about it is in `process/swaps.rs` |
//! | a failure and what to do about it | [`error::ErrorKind`] |

pub mod cli;
pub mod config;
pub mod connector;

pub mod postgres;

pub mod pgoutput;

pub mod row;

pub mod connect;

pub mod typemap;

pub mod transform;

pub mod envelope;

pub mod kafka;

pub mod capture;

pub mod process;

pub mod activity;

pub mod mongo;

pub mod dead_letters;
pub mod terminal;

mod facts;

pub mod doctor;
pub mod generate;
pub mod handover;
pub mod init;
pub mod rebuild;
pub mod status;
pub mod top;
pub mod trace;
pub mod verify;

pub mod error;
pub mod lsn;
pub mod pattern;
pub mod shutdown;
pub mod telemetry;

mod run;

pub use bson;
pub use run::run;
pub use serde_json;
