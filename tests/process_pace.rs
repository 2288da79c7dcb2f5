//! `evp process --target-p99`: latency that is allowed is used for larger writes.

use crate::support::{World, eventually, http_get};

async fn metric(address: &str, name: &str) -> f64 {
    let Some((_, metrics)) = http_get(address, "/metrics").await else { return 0.0 };
    let lines = metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// How many records a batch had, with an event every three milliseconds.
async fn records_a_batch(test: &str, flags: &[&str]) -> f64 {
    let world = World::new(test).await;
    world.init(2);
    let mut capture = world.start(&["capture"]);
    let mut process = world.start(&[&["process", "--http", "127.0.0.1:0"], flags].concat());
    let address = process.event("http_listening").await["address"].as_str().unwrap().to_owned();
    process.event("partitions_assigned").await;
    capture.event("streaming_started").await;
    let generated = world.run(&["generate", "--count", "2400", "--rate", "300"]);
    assert_eq!(generated.code, Some(0), "{generated:?}");
    eventually("all is applied", async || metric(&address, "evp_process_events_total").await >= 2400.0).await;
    assert_eq!(metric(&address, "evp_process_gather_seconds").await > 0.0, !flags.is_empty());
    let batches = metric(&address, "evp_process_batch_records_count").await;
    assert_eq!(capture.stop().code, Some(0));
    assert_eq!(process.stop().code, Some(0));
    let verified = world.run(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);
    2400.0 / batches
}

#[tokio::test]
async fn events_gather_as_long_as_the_target_leaves_time() {
    let alone = records_a_batch("pace_none", &[]).await;
    let gathered = records_a_batch("pace_second", &["--target-p99", "1000"]).await;
    assert!(gathered > alone * 2.0, "{gathered} records a batch, and {alone} without a target");
}
