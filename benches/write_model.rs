//! Records on Kafka to commands for MongoDB: parse the envelope, ask the handlers, write the BSON.

#![allow(clippy::expect_used)]

mod outbox;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evp::envelope::decode::decode;
use evp::mongo::{WriteModel, commands};
use evp::process::{Event, HandlerRegistry};

/// Events whose effects are written together.
const BATCH_EVENTS: usize = 1_000;

fn event(envelope: &[u8]) -> Event {
    let decoded = decode(envelope).expect("an envelope of the stream is valid");
    let row = decoded.after.expect("an insert has a row");
    Event::from_row(&row, decoded.source_ts_us).expect("a row of the stream is an event")
}

fn models(registry: &HandlerRegistry, event: &Event) -> Vec<WriteModel> {
    let handlers = registry.handlers(&event.event_type).iter();
    handlers.flat_map(|handler| handler.handle(event).expect("an event of the stream can be handled")).collect()
}

fn write_models(criterion: &mut Criterion) {
    let (envelopes, registry) = (outbox::envelopes(), evp::activity::registry());
    let events: Vec<Event> = envelopes.iter().map(|envelope| event(envelope)).collect();
    let effects: Vec<WriteModel> = events.iter().flat_map(|event| models(&registry, event)).collect();
    let bytes: usize = envelopes.iter().map(Vec::len).sum();
    let mut group = criterion.benchmark_group("write_model");
    group.throughput(Throughput::ElementsAndBytes { elements: outbox::EVENTS as u64, bytes: bytes as u64 });
    group.bench_function("record to event", |bencher| {
        bencher.iter(|| envelopes.iter().for_each(|envelope| drop(black_box(event(envelope)))));
    });
    group.bench_function("event to write models", |bencher| {
        bencher.iter(|| events.iter().for_each(|event| drop(black_box(models(&registry, event)))));
    });
    group.bench_function("write models to commands", |bencher| {
        bencher.iter(|| {
            for batch in effects.chunks(BATCH_EVENTS) {
                black_box(commands(batch).expect("the effects can be written as BSON"));
            }
        });
    });
    group.bench_function("record to commands", |bencher| {
        bencher.iter(|| {
            for batch in envelopes.chunks(BATCH_EVENTS) {
                let effects: Vec<WriteModel> =
                    batch.iter().flat_map(|envelope| models(&registry, &event(envelope))).collect();
                black_box(commands(&effects).expect("the effects can be written as BSON"));
            }
        });
    });
    // The same handlers, from a file.
    let file = include_str!("../examples/activity.yaml");
    let of_file = HandlerRegistry::new().with_projections("activity.yaml", file).expect("the shipped file is valid");
    group.bench_function("event to write models, projection file", |bencher| {
        bencher.iter(|| events.iter().for_each(|event| drop(black_box(models(&of_file, event)))));
    });
    group.bench_function("record to commands, projection file", |bencher| {
        bencher.iter(|| {
            for batch in envelopes.chunks(BATCH_EVENTS) {
                let effects: Vec<WriteModel> =
                    batch.iter().flat_map(|envelope| models(&of_file, &event(envelope))).collect();
                black_box(commands(&effects).expect("the effects can be written as BSON"));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, write_models);
criterion_main!(benches);
