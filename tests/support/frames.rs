//! Requests and answers as connections to Kafka carry them: a length, and as many bytes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The next one, `None` behind the last.
pub(super) async fn read_frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut frame = vec![0; usize::try_from(from.read_u32().await.ok()?).unwrap()];
    from.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// Writes one, `None` where nobody reads any more.
pub(super) async fn write_frame(to: &mut OwnedWriteHalf, frame: &[u8]) -> Option<()> {
    to.write_u32(u32::try_from(frame.len()).unwrap()).await.ok()?;
    to.write_all(frame).await.ok()
}
