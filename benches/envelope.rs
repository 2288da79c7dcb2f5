//! Decoded rows to Debezium's envelopes and keys.

#![allow(clippy::expect_used)]

mod outbox;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evp::envelope::{ChangeEncoder, EncodeError};

fn encode_rows(criterion: &mut Criterion) {
    let (changes, transaction) = (outbox::changes(), outbox::transaction());
    let mut encoder = ChangeEncoder::default();
    let mut group = criterion.benchmark_group("envelope");
    for (name, table) in
        [("outbox rows", outbox::table()), ("outbox rows with their schemas", outbox::table_with_schemas())]
    {
        let bytes: usize = outbox::envelopes_of(&table).iter().map(Vec::len).sum();
        group.throughput(Throughput::ElementsAndBytes { elements: outbox::EVENTS as u64, bytes: bytes as u64 });
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for change in &changes {
                    let written = encoder.encode(&table, change.row(), outbox::row(&transaction), |record| {
                        black_box((record.key, record.value));
                        Ok::<_, EncodeError>(())
                    });
                    written.expect("a row of the stream is valid");
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode_rows);
criterion_main!(benches);
