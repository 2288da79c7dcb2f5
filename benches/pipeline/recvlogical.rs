//! `pg_recvlogical`, PostgreSQL's own reader of a slot: the bound of what any capture can reach.

use std::process::Command;

use crate::Result;
use crate::child::{Running, Sink};
use crate::servers::World;

/// What stands before the id of an inserted outbox row: a new tuple of 12 columns, the first a text of 36 bytes.
pub(crate) const INSERTED_ID: &[u8] = b"N\0\x0ct\0\0\0\x24";

/// Starts it on a slot, up to a position if one is given; stdout goes to `sink`.
pub(crate) fn start(world: &World, slot: &str, end: Option<&str>, sink: Sink) -> Result<Running> {
    let mut command = Command::new("pg_recvlogical");
    let servers = &world.servers;
    command.args(["--host", servers.variable("POSTGRES_HOST"), "--port", servers.variable("POSTGRES_PORT")]);
    command.args(["--username", servers.variable("POSTGRES_USER"), "--dbname", &world.name]);
    command.env("PGPASSWORD", servers.variable("POSTGRES_PASSWORD"));
    command.args(["--start", "--slot", slot, "--no-loop", "--file", "-"]);
    command.args(["-o", "proto_version=1", "-o", "publication_names=debezium_publication"]);
    if let Some(end) = end {
        command.arg(format!("--endpos={end}"));
    }
    Running::spawn("pg_recvlogical", command, Some(sink))
        .map_err(|error| format!("{error}: install PostgreSQL's client programs, or leave this subject out").into())
}
