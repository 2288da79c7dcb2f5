//! pgoutput messages to rows: Begin, Insert and Commit of single-row transactions.

#![allow(clippy::expect_used)]

mod outbox;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evp::pgoutput::{Change, Message, decode};

fn decode_stream(criterion: &mut Criterion) {
    let messages = outbox::messages();
    let bytes: usize = messages.iter().map(Bytes::len).sum();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::ElementsAndBytes { elements: outbox::EVENTS as u64, bytes: bytes as u64 });
    // Decoding checks the columns and leaves them where they are, so a fair figure also walks them.
    group.bench_function("outbox inserts", |bencher| {
        bencher.iter(|| {
            for message in &messages {
                let message = decode(message.clone()).expect("a message of the stream is valid");
                if let Message::Change(Change::Insert { new, .. }) = &message {
                    new.columns().for_each(|column| {
                        black_box(column);
                    });
                }
                black_box(message);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decode_stream);
criterion_main!(benches);
