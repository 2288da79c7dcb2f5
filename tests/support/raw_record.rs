//! A record that no client would write, put on a topic by Kafka's protocol itself.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{DEADLINE, World};

const PRODUCE: i16 = 0;
const PRODUCE_VERSION: i16 = 3;

/// Puts a record on partition 0; the names of its headers may be any bytes.
pub(crate) fn produce_raw(world: &World, topic: &str, value: &[u8], headers: &[(&[u8], &[u8])]) {
    let mut record = vec![0];
    for delta in [0, 0, -1] {
        varint(&mut record, delta);
    }
    sized(&mut record, value);
    varint(&mut record, i64::try_from(headers.len()).unwrap());
    for (name, value) in headers {
        sized(&mut record, name);
        sized(&mut record, value);
    }
    let batch = batch(&record);

    let mut request = Vec::new();
    request.extend(PRODUCE.to_be_bytes());
    request.extend(PRODUCE_VERSION.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(10_000_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
    request.extend(topic.as_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    block(&mut request, &batch);
    let answer = exchange(world.variable("KAFKA_BOOTSTRAP_SERVERS"), &request);
    // Correlation id, one topic with its name, one partition and its number stand before the code.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(i16::from_be_bytes(answer[at..at + 2].try_into().unwrap()), 0, "Kafka refuses the record");
}

fn exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut sent = Vec::new();
    block(&mut sent, request);
    stream.write_all(&sent).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// A batch of one record, in the format that headers came with.
fn batch(record: &[u8]) -> Vec<u8> {
    let mut checked = Vec::new();
    checked.extend(0_i16.to_be_bytes());
    checked.extend(0_i32.to_be_bytes());
    for timestamp in [0_i64; 2] {
        checked.extend(timestamp.to_be_bytes());
    }
    checked.extend((-1_i64).to_be_bytes());
    checked.extend((-1_i16).to_be_bytes());
    checked.extend((-1_i32).to_be_bytes());
    checked.extend(1_i32.to_be_bytes());
    sized(&mut checked, record);

    let mut rest = Vec::new();
    rest.extend((-1_i32).to_be_bytes());
    rest.push(2);
    rest.extend(crc32c(&checked).to_be_bytes());
    rest.extend(checked);
    let mut batch = 0_i64.to_be_bytes().to_vec();
    block(&mut batch, &rest);
    batch
}

/// Bytes behind their length in four bytes.
fn block(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
    to.extend(bytes);
}

/// Bytes behind their length as a varint.
fn sized(to: &mut Vec<u8>, bytes: &[u8]) {
    varint(to, i64::try_from(bytes.len()).unwrap());
    to.extend(bytes);
}

fn varint(to: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while rest >= 0x80 {
        to.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    to.push(u8::try_from(rest).unwrap());
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
