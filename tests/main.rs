//! The one integration binary: the real evp against real servers, which `make test` starts.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

/// Servers, a world of its own for each test, and the running binary.
mod support;

/// `evp capture`: tables of applications beside live Debezium.
mod applications;
/// `GET /applied` of `evp process`.
mod applied;
/// Both halves on a cluster of two brokers, one of which is away.
mod brokers;
/// `evp capture`: killed, cut off, and lied to by its slot.
mod capture;
/// `evp capture`: blocking snapshots.
mod capture_blocking;
/// `evp capture`: NULL in columns that have a default.
mod capture_defaults;
/// `evp capture` with brokers that take long to answer.
mod capture_distant;
/// `evp capture` and brokers that leave topics out of what they tell.
mod capture_forgetful;
/// `evp capture` when the server behind the slot, or the topic, is not what it was.
mod capture_history;
/// `evp capture`: incremental snapshots and signals.
mod capture_incremental;
/// `evp capture`: incremental snapshots beside live Debezium.
mod capture_incremental_parity;
/// `evp capture` and what administrators do to its server.
mod capture_interruptions;
/// `evp capture`: the keys of records.
mod capture_keys;
/// `evp capture`: lists of tables and columns, the first start, and the query of heartbeats.
mod capture_lists;
/// `evp capture` and what the stream does not tell: publications and catalog.
mod capture_publication;
/// `evp capture`: events of an outbox, transactions, messages and truncates.
mod capture_records;
/// `evp capture` and rows that the topic does not take.
mod capture_refusals;
/// `evp capture`: snapshots.
mod capture_snapshot;
/// `evp capture`: snapshots beside live Debezium.
mod capture_snapshot_parity;
/// `evp capture`: which tables, columns and rows a snapshot reads, beside live Debezium.
mod capture_snapshot_tables;
/// `evp capture` beside a broker that stands still.
mod capture_stall;
/// `evp capture` behind records that others have written.
mod capture_takeover;
/// `evp capture` with single message transforms.
mod capture_transforms;
/// What a user meets first: usage, configuration, and servers that are not as they should be.
mod cli;
/// The connector file and `--set`.
mod config_connector;
/// Kafka's settings: told before connecting, and tried on a broker.
mod config_kafka;
/// `evp dlq`.
mod dlq;
/// `evp dlq` with many letters of several kinds.
mod dlq_at_size;
/// `evp doctor` and `evp status`.
mod doctor;
/// `evp doctor` on a broker with rules.
mod doctor_rights;
/// `evp generate` and `evp verify`.
mod generate;
/// `evp generate --to kafka`.
mod generate_kafka;
/// Byte for byte what Debezium writes.
mod golden;
/// `evp handover` to Debezium and back.
mod handover;
/// `evp handover --compare` beside live Debezium.
mod handover_compare;
/// `evp init`: twice, dry, and without privileges.
mod init;
/// `evp init` and the tables that it publishes.
mod init_tables;
/// Alerts and the dashboard.
mod observability;
/// Completions, man pages, notifications and `evp top`.
mod operators;
/// Units, manifests and images, and the commands of the pages.
mod packaging;
/// `evp capture`: every type beside live Debezium.
mod parity_types;
/// `evp capture`: every type in a snapshot, beside live Debezium.
mod parity_types_read;
/// Both halves together, and Debezium in the place of one.
mod pipeline;
/// `evp process`: what it writes and what it refuses.
mod process;
/// `evp process` without the right to write dead letters.
mod process_acl;
/// `evp process`: how long events are remembered.
mod process_claims;
/// `evp process`: what it sets aside.
mod process_dead_letters;
/// `evp process`: what handlers do to documents, beside the same in memory.
mod process_effects;
/// `evp process` while servers and other members come and go.
mod process_faults;
/// `evp process`: batches do not show in documents.
mod process_groupings;
/// `evp process` with handlers of a stranger.
mod process_handlers;
/// `evp process` while a partition is behind the others.
mod process_lagging;
/// `evp process`: a list that grows up to MongoDB's limit.
mod process_large_documents;
/// `evp process`: commits without an answer, and members without partitions.
mod process_members;
/// `evp process`: the later commit wins.
mod process_order;
/// `evp process` with time to gather.
mod process_pace;
/// `evp process` while a server stands still.
mod process_paused;
/// `evp process --plan`.
mod process_plan;
/// `evp process` where one event after the other is refused.
mod process_refusals;
/// `evp process` while MongoDB refuses whatever is written.
mod process_server_refusals;
/// `evp process` on records of another shape.
mod process_shapes;
/// `evp process` on a stranger's outbox and on several topics.
mod process_sources;
/// `evp process` in a group whose members come, go, die and sleep.
mod process_storms;
/// `evp process` on a topic that is not the one that was applied.
mod process_topics;
/// `evp process`: rows that are updated after their events.
mod process_updates;
/// Handlers of a projection file.
mod projections;
/// `evp capture`: random tables and transactions beside live Debezium.
mod random;
/// `evp rebuild`.
mod rebuild;
/// The shape of the source itself.
mod tidy;
/// `evp trace`.
mod trace;
/// `evp verify`: rows that are odd, gone, or lost.
mod verify;
/// `evp verify`: rows and records that are rewritten or gone.
mod verify_history;
