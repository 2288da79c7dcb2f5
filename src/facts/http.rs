//! One question over HTTP, to programs that stand beside evp.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than the list of a large worker of Kafka Connect.
const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The status and the body of an answer from `host:port`; the older protocol sends it in one piece.
pub(crate) async fn get(authority: &str, path: &str) -> io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {authority}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
    let body = answer.split_off(end.saturating_add(4).min(answer.len()));
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    Ok((String::from_utf8_lossy(status).into_owned(), body))
}
