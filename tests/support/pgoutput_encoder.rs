//! A pgoutput encoder for tests only, so that decode∘encode can be shown to be the identity.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use crate::lsn::Lsn;
use crate::pgoutput::{
    Begin, Change, Commit, LogicalMessage, Message, OldTuple, OldTupleKind, Relation, RelationColumn, RelationId,
    ReplicaIdentity, Truncate, Tuple, Xid,
};
use crate::row::Value;

pub(super) fn encode(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    match message {
        Message::Begin(begin) => {
            out.put_u8(b'B');
            out.put_u64(begin.commit_lsn.get());
            out.put_i64(begin.commit_time_us);
            out.put_u32(begin.xid.0);
        }
        Message::Commit(commit) => {
            out.put_slice(b"C\0");
            out.put_u64(commit.commit_lsn.get());
            out.put_u64(commit.end_lsn.get());
            out.put_i64(commit.commit_time_us);
        }
        Message::Origin { origin_lsn, name } => {
            out.put_u8(b'O');
            out.put_u64(origin_lsn.get());
            put_c_string(&mut out, name);
        }
        Message::Relation(relation) => put_relation(&mut out, relation),
        Message::Type => out.put_slice(b"Y\0\0\0\x19public\0mood\0"),
        Message::Change(Change::Insert { relation, new }) => {
            out.put_u8(b'I');
            out.put_u32(relation.0);
            put_tuple(&mut out, b'N', new);
        }
        Message::Change(Change::Update { relation, old, new }) => {
            out.put_u8(b'U');
            out.put_u32(relation.0);
            if let Some(old) = old {
                put_old_tuple(&mut out, old);
            }
            put_tuple(&mut out, b'N', new);
        }
        Message::Change(Change::Delete { relation, old }) => {
            out.put_u8(b'D');
            out.put_u32(relation.0);
            put_old_tuple(&mut out, old);
        }
        Message::Truncate(truncate) => {
            out.put_u8(b'T');
            out.put_i32(truncate.relations.len().try_into().unwrap());
            out.put_u8(truncate.options);
            truncate.relations.iter().for_each(|relation| out.put_u32(relation.0));
        }
        Message::Logical(logical) => {
            out.put_slice(&[b'M', u8::from(logical.is_transactional)]);
            out.put_u64(logical.lsn.get());
            put_c_string(&mut out, &logical.prefix);
            out.put_i32(logical.content.len().try_into().unwrap());
            out.put_slice(&logical.content);
        }
    }
    out.freeze()
}

fn put_c_string(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}

fn put_relation(out: &mut BytesMut, relation: &Relation) {
    out.put_u8(b'R');
    out.put_u32(relation.id.0);
    put_c_string(out, relation.schema.as_bytes());
    put_c_string(out, relation.table.as_bytes());
    out.put_u8(match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    out.put_u16(relation.columns.len().try_into().unwrap());
    for column in &relation.columns {
        out.put_u8(u8::from(column.is_key));
        put_c_string(out, column.name.as_bytes());
        out.put_u32(column.type_oid);
        out.put_i32(column.type_modifier);
    }
}

fn put_old_tuple(out: &mut BytesMut, old: &OldTuple) {
    let marker = match old.kind {
        OldTupleKind::Key => b'K',
        OldTupleKind::Full => b'O',
    };
    put_tuple(out, marker, &old.tuple);
}

fn put_tuple(out: &mut BytesMut, marker: u8, tuple: &Tuple) {
    out.put_u8(marker);
    out.put_u16(tuple.len().try_into().unwrap());
    for column in tuple.columns() {
        put_column(out, column);
    }
}

fn put_column(out: &mut BytesMut, column: Value<'_>) {
    match column {
        Value::Null => out.put_u8(b'n'),
        Value::Unchanged => out.put_u8(b'u'),
        Value::Text(text) => {
            out.put_u8(b't');
            out.put_u32(text.len().try_into().unwrap());
            out.put_slice(text);
        }
    }
}

fn arbitrary_tuple() -> impl Strategy<Value = Tuple> {
    let column = prop_oneof![
        Just(None),
        Just(Some(None)),
        proptest::collection::vec(any::<u8>(), 0..24).prop_map(|text| Some(Some(text))),
    ];
    proptest::collection::vec(column, 0..8).prop_map(|columns| {
        let mut data = BytesMut::new();
        for column in &columns {
            put_column(
                &mut data,
                match column {
                    None => Value::Null,
                    Some(None) => Value::Unchanged,
                    Some(Some(text)) => Value::Text(text),
                },
            );
        }
        Tuple::checked(columns.len().try_into().unwrap(), data.freeze())
    })
}

fn arbitrary_old_tuple() -> impl Strategy<Value = OldTuple> {
    let kind = prop_oneof![Just(OldTupleKind::Key), Just(OldTupleKind::Full)];
    (kind, arbitrary_tuple()).prop_map(|(kind, tuple)| OldTuple { kind, tuple })
}

fn arbitrary_relation() -> impl Strategy<Value = Relation> {
    let identity = prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Nothing),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Index)
    ];
    let column = (any::<bool>(), "[^\0]{0,12}", any::<u32>(), any::<i32>())
        .prop_map(|(is_key, name, type_oid, type_modifier)| RelationColumn { is_key, name, type_oid, type_modifier });
    (any::<u32>(), "[^\0]{1,12}", "[^\0]{0,12}", identity, proptest::collection::vec(column, 0..8)).prop_map(
        |(id, schema, table, replica_identity, columns)| Relation {
            id: RelationId(id),
            schema,
            table,
            replica_identity,
            columns,
        },
    )
}

pub(super) fn arbitrary_message() -> impl Strategy<Value = Message> {
    let lsn = || any::<u64>().prop_map(Lsn::new);
    let id = || any::<u32>().prop_map(RelationId);
    let text = || proptest::collection::vec(1_u8.., 0..16).prop_map(Bytes::from);
    prop_oneof![
        (lsn(), any::<i64>(), any::<u32>()).prop_map(|(commit_lsn, commit_time_us, xid)| {
            Message::Begin(Begin { commit_lsn, commit_time_us, xid: Xid(xid) })
        }),
        (lsn(), lsn(), any::<i64>()).prop_map(|(commit_lsn, end_lsn, commit_time_us)| {
            Message::Commit(Commit { commit_lsn, end_lsn, commit_time_us })
        }),
        (lsn(), text()).prop_map(|(origin_lsn, name)| Message::Origin { origin_lsn, name }),
        arbitrary_relation().prop_map(Message::Relation),
        Just(Message::Type),
        (id(), arbitrary_tuple()).prop_map(|(relation, new)| Message::Change(Change::Insert { relation, new })),
        (id(), proptest::option::of(arbitrary_old_tuple()), arbitrary_tuple())
            .prop_map(|(relation, old, new)| Message::Change(Change::Update { relation, old, new })),
        (id(), arbitrary_old_tuple()).prop_map(|(relation, old)| Message::Change(Change::Delete { relation, old })),
        (any::<u8>(), proptest::collection::vec(id(), 0..6))
            .prop_map(|(options, relations)| Message::Truncate(Truncate { options, relations })),
        (any::<bool>(), lsn(), text(), proptest::collection::vec(any::<u8>(), 0..32)).prop_map(
            |(is_transactional, lsn, prefix, content)| {
                Message::Logical(LogicalMessage { is_transactional, lsn, prefix, content: Bytes::from(content) })
            }
        ),
    ]
}
