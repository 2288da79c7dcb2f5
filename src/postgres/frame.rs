//! The frames inside `CopyBoth`: log data and keepalives in, status updates out.
//!
//! Layout: PostgreSQL manual, "Streaming Replication Protocol".

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::lsn::Lsn;

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// `w`: one message of the output plugin.
    LogData {
        /// Position of the change; for a commit, the end of its record.
        lsn: Lsn,
        /// The plugin's message.
        message: Bytes,
    },
    /// `k`: the server is alive.
    Keepalive {
        /// How far the server has decoded and sent.
        sent_lsn: Lsn,
        /// It drops the connection unless it hears from us soon.
        is_reply_requested: bool,
    },
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum FrameError {
    #[error("a replication frame of {0} bytes is too short")]
    Truncated(usize),
    #[error("replication frame tag 0x{0:02X} is not known")]
    UnknownTag(u8),
}

impl Frame {
    /// Decodes the body of one `CopyData`.
    pub fn decode(mut body: Bytes) -> Result<Self, FrameError> {
        let truncated = FrameError::Truncated(body.len());
        match body.first() {
            Some(b'w') if body.len() >= 25 => {
                body.advance(1);
                let lsn = Lsn::new(body.get_u64());
                body.advance(16);
                Ok(Self::LogData { lsn, message: body })
            }
            Some(b'k') if body.len() >= 18 => {
                body.advance(1);
                let sent_lsn = Lsn::new(body.get_u64());
                body.advance(8);
                Ok(Self::Keepalive { sent_lsn, is_reply_requested: body.get_u8() == 1 })
            }
            Some(b'w' | b'k') | None => Err(truncated),
            Some(other) => Err(FrameError::UnknownTag(*other)),
        }
    }
}

/// `r`: how far we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandbyStatus {
    /// Everything before this has arrived.
    pub received: Lsn,
    /// Everything before this is durable; the slot moves here.
    pub flushed: Lsn,
    /// Microseconds since 2000-01-01 UTC.
    pub clock_us: i64,
    /// Ask the server to answer with a keepalive at once.
    pub is_reply_requested: bool,
}

impl StandbyStatus {
    /// The whole `CopyData` message.
    pub fn encode(self) -> BytesMut {
        let mut out = BytesMut::with_capacity(39);
        out.put_u8(b'd');
        out.put_i32(4 + 34);
        out.put_u8(b'r');
        out.put_u64(self.received.get().max(self.flushed.get()));
        out.put_u64(self.flushed.get());
        out.put_u64(self.flushed.get());
        out.put_i64(self.clock_us);
        out.put_u8(u8::from(self.is_reply_requested));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Frame::decode(Bytes::from(bytes));
        }

        #[test]
        fn log_data_keeps_its_position_and_message(lsn: u64, message in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut body = BytesMut::new();
            body.put_u8(b'w');
            body.put_u64(lsn);
            body.put_slice(&[0; 16]);
            body.put_slice(&message);
            let frame = Frame::decode(body.freeze());
            prop_assert_eq!(frame, Ok(Frame::LogData { lsn: Lsn::new(lsn), message: Bytes::from(message) }));
        }
    }

    #[test]
    fn a_status_update_has_the_length_that_it_declares() {
        let status =
            StandbyStatus { received: Lsn::new(1), flushed: Lsn::new(2), clock_us: 3, is_reply_requested: true };
        let bytes = status.encode();
        assert_eq!(bytes.len(), 39);
        assert_eq!(&bytes[..6], b"d\0\0\0\x26r");
        assert_eq!(bytes[6..14], bytes[14..22], "received is never said to be behind flushed");
    }
}
