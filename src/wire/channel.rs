//! Frames on a byte stream: a length, then that many bytes.
//!
//! A request is a chain of buffers that is written without copying it together; a response is one buffer that grows as
//! its bytes arrive, so that a length alone makes nobody reserve memory.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::api::Request;
use super::error::{ApiName, WireError};
use super::lengths::Checked;
use super::tls;
use super::transport::Stream;

/// Largest request; a broker's own default (`socket.request.max.bytes`), which ends a connection that sends more.
pub const MAX_REQUEST_BYTES: usize = 100 * 1024 * 1024;
/// Largest response before a broker is known to be one.
const MAX_HANDSHAKE_BYTES: usize = 1024 * 1024;
/// Room for a read when nothing is known of the next frame.
const READ_BYTES: usize = 64 * 1024;
/// A frame may take so many times the memory of what has come of it.
const GROWTH: usize = 7;
/// Before the body of each frame: its length.
const LENGTH_BYTES: usize = 4;

/// A stream of frames, in both directions.
pub(super) struct Channel {
    address: String,
    client_id: StrBytes,
    next_correlation: i32,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

impl Channel {
    pub(super) fn new(address: String, client_id: &str, stream: Stream) -> Self {
        let (read, write) = tokio::io::split(stream);
        Channel {
            client_id: StrBytes::from_string(client_id.to_owned()),
            // What is not Kafka will hardly answer with the number that we happen to begin with.
            next_correlation: fastrand::i32(0..i32::MAX),
            reader: Reader { address: address.clone(), half: read, buffer: BytesMut::new(), max: MAX_HANDSHAKE_BYTES },
            writer: Writer { address: address.clone(), half: write, chunks: VecDeque::new(), unflushed: false },
            address,
        }
    }

    /// Queues a request for [`Writer::progress`]; the answer will have the correlation id that is returned.
    pub(super) fn queue(&mut self, key: ApiKey, version: i16, body: Vec<Bytes>) -> Result<i32, WireError> {
        let correlation = self.next_correlation;
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(self.client_id.clone()));
        let body_bytes: usize = body.iter().map(Bytes::len).sum();
        let mut head = BytesMut::with_capacity(64 + self.client_id.len());
        head.put_i32(0);
        header.encode(&mut head, key.request_header_version(version)).map_err(|error| self.unencodable(key, &error))?;
        let length = head.len() - LENGTH_BYTES + body_bytes;
        if length > MAX_REQUEST_BYTES {
            return Err(WireError::TooLarge { api: ApiName(key), bytes: length, max: MAX_REQUEST_BYTES });
        }
        // Below MAX_REQUEST_BYTES, so it fits.
        head[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
        self.writer.chunks.push_back(head.freeze());
        self.writer.chunks.extend(body.into_iter().filter(|chunk| !chunk.is_empty()));
        self.writer.unflushed = true;
        self.next_correlation = correlation.wrapping_add(1) & i32::MAX;
        Ok(correlation)
    }

    /// Sends one request and waits for its answer; only while nothing else is under way.
    pub(super) async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, WireError> {
        let (reply, header_version) = self.exchange_raw(request, version).await?;
        decode_body::<R::Response>(&self.address, R::KEY, reply, version, header_version)
    }

    /// [`exchange`](Self::exchange) without decoding: ApiVersions answers in another version than it was asked in.
    pub(super) async fn exchange_raw<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<(Bytes, i16), WireError> {
        let body = encode(&self.address, request, version)?;
        let correlation = self.queue(R::KEY, version, vec![body])?;
        while self.writer.has_work() {
            if let Err(error) = self.writer.progress().await {
                // A broker that hung up may have said why.
                return Err(self.reader.frame().await.err().filter(|told| !told.is_retriable()).unwrap_or(error));
            }
        }
        let frame = self.reader.frame().await?;
        if frame.correlation() != Some(correlation) {
            return Err(self.reader.unknown_answer(&frame.0));
        }
        Ok((frame.0, R::Response::header_version(version)))
    }

    /// From here on responses may be as large as the settings say.
    pub(super) fn raise_limit(&mut self, max_response_bytes: usize) {
        self.reader.max = max_response_bytes;
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    fn unencodable(&self, key: ApiKey, error: &impl std::fmt::Display) -> WireError {
        unencodable(&self.address, key, error)
    }
}

fn unencodable(address: &str, key: ApiKey, error: &impl std::fmt::Display) -> WireError {
    WireError::Protocol { address: address.to_owned(), reason: format!("{} can't be written: {error}", ApiName(key)) }
}

/// The body of a request.
pub(super) fn encode<R: Request>(address: &str, request: &R, version: i16) -> Result<Bytes, WireError> {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).map_err(|error| unencodable(address, R::KEY, &error))?;
    Ok(body.freeze())
}

/// The body of a response that starts with its header.
pub(super) fn decode_body<M: Decodable + HeaderVersion>(
    address: &str,
    key: ApiKey,
    frame: Bytes,
    version: i16,
    header_version: i16,
) -> Result<M, WireError> {
    let mut body = strip_header(address, key, frame, header_version)?;
    decode(address, key, &mut body, version)
}

/// A response's body, decoded.
pub(super) fn decode<M: Decodable>(address: &str, key: ApiKey, body: &mut Bytes, version: i16) -> Result<M, WireError> {
    M::decode(&mut Checked::new(body, key), version).map_err(|error| unreadable(address, key, &error))
}

/// A response without its header.
pub(super) fn strip_header(address: &str, key: ApiKey, mut frame: Bytes, version: i16) -> Result<Bytes, WireError> {
    ResponseHeader::decode(&mut frame, version).map_err(|error| unreadable(address, key, &error))?;
    Ok(frame)
}

/// An answer that is not what it should be.
pub(super) fn unreadable(address: &str, key: ApiKey, error: &impl std::fmt::Display) -> WireError {
    let reason = format!("the answer to {} can't be read: {error}", ApiName(key));
    WireError::Protocol { address: address.to_owned(), reason }
}

/// One response with its header, without its length.
pub(super) struct Frame(pub(super) Bytes);

impl Frame {
    pub(super) fn correlation(&self) -> Option<i32> {
        let bytes: [u8; 4] = self.0.get(..4)?.try_into().ok()?;
        Some(i32::from_be_bytes(bytes))
    }
}

/// The half that reads.
pub(super) struct Reader {
    address: String,
    half: ReadHalf<Stream>,
    buffer: BytesMut,
    max: usize,
}

impl Reader {
    /// The next response. May be dropped and called again: what has arrived is kept.
    pub(super) async fn frame(&mut self) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            self.make_room();
            let read = self.half.read_buf(&mut self.buffer).await.map_err(|error| self.failed(&error))?;
            if read == 0 {
                return Err(self.closed("closed by the broker".to_owned()));
            }
        }
    }

    /// Makes room for what is missing of the frame, as far as the bytes that are there vouch for it. So a large frame is moved
    /// to larger memory a few times only, and takes its size: [`BytesMut::reserve`] by itself would double.
    fn make_room(&mut self) {
        let there = self.buffer.len();
        let missing = self.length().map_or(READ_BYTES, |length| (LENGTH_BYTES + length).saturating_sub(there));
        let room = missing.min(READ_BYTES.max(there.saturating_mul(GROWTH)));
        if there + room <= 2 * READ_BYTES {
            self.buffer.reserve(room);
        } else if self.buffer.capacity() - there < room {
            let mut larger = BytesMut::with_capacity(there + room);
            larger.extend_from_slice(&self.buffer);
            self.buffer = larger;
        }
    }

    /// What the frame's first bytes say, once they are there.
    fn length(&self) -> Option<usize> {
        let length = self.buffer.get(..LENGTH_BYTES)?;
        Some(length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)))
    }

    fn take(&mut self) -> Result<Option<Frame>, WireError> {
        let Some(length) = self.length() else { return Ok(None) };
        if length < LENGTH_BYTES || length > self.max {
            return Err(self.not_kafka(length));
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(Frame(self.buffer.split_to(length).freeze())))
    }

    fn not_kafka(&self, length: usize) -> WireError {
        let reason = match self.buffer.get(..LENGTH_BYTES) {
            Some(b"HTTP") => "this is an HTTP server, not a Kafka broker: see bootstrap.servers".to_owned(),
            // A TLS record: alert or handshake, version 3.x.
            Some([0x15 | 0x16, 3, ..]) => {
                "this listener speaks TLS: set security.protocol to ssl or sasl_ssl".to_owned()
            }
            _ => format!(
                "an answer of {length} bytes, at most {} are allowed (receive.message.max.bytes): \
                 not a Kafka broker, or another protocol than security.protocol says",
                self.max
            ),
        };
        WireError::Protocol { address: self.address.clone(), reason }
    }

    /// An answer whose correlation id is not the one that comes next.
    pub(super) fn unknown_answer(&self, frame: &Bytes) -> WireError {
        let reason = format!("an answer of {} bytes that nobody asked for: not a Kafka broker?", frame.len());
        WireError::Protocol { address: self.address.clone(), reason }
    }

    fn failed(&self, error: &io::Error) -> WireError {
        match tls::refused_certificate(error) {
            Some(reason) => WireError::Tls { address: self.address.clone(), reason },
            None => self.closed(error.to_string()),
        }
    }

    fn closed(&self, reason: String) -> WireError {
        WireError::Closed { address: self.address.clone(), reason }
    }
}

/// The half that writes.
pub(super) struct Writer {
    address: String,
    half: WriteHalf<Stream>,
    chunks: VecDeque<Bytes>,
    /// TLS keeps what the socket did not take.
    unflushed: bool,
}

impl Writer {
    pub(super) fn has_work(&self) -> bool {
        self.unflushed
    }

    /// Writes what the socket takes. May be dropped and called again: what was written is no longer queued.
    pub(super) async fn progress(&mut self) -> Result<(), WireError> {
        let address = &self.address;
        let closed =
            |error: io::Error| WireError::Closed { address: address.clone(), reason: format!("writing: {error}") };
        if self.chunks.is_empty() {
            self.half.flush().await.map_err(closed)?;
            self.unflushed = false;
            return Ok(());
        }
        let written = self.half.write_buf(&mut Chain(&mut self.chunks)).await.map_err(closed)?;
        if written == 0 {
            return Err(closed(io::ErrorKind::WriteZero.into()));
        }
        Ok(())
    }

    /// Says goodbye, as TLS wants it.
    pub(super) async fn shutdown(&mut self) {
        // The other side may be gone; then there is nobody to say it to.
        let _ = self.half.shutdown().await;
    }
}

/// Buffers in a row, as one.
struct Chain<'a>(&'a mut VecDeque<Bytes>);

impl Buf for Chain<'_> {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn has_remaining(&self) -> bool {
        !self.0.is_empty()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'b>(&'b self, slices: &mut [IoSlice<'b>]) -> usize {
        let filled = slices.iter_mut().zip(self.0.iter());
        filled.map(|(slice, chunk)| *slice = IoSlice::new(chunk)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(front) = self.0.front_mut() else { break };
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.0.pop_front();
        }
        debug_assert_eq!(count, 0, "no more is written than there is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_advances_over_its_chunks() {
        let mut chunks: VecDeque<Bytes> = [&b"abc"[..], b"d", b"efgh"].map(Bytes::from_static).into();
        let mut chain = Chain(&mut chunks);
        assert_eq!((chain.remaining(), chain.chunk()), (8, &b"abc"[..]));
        chain.advance(2);
        assert_eq!(chain.chunk(), b"c");
        chain.advance(3);
        assert_eq!((chain.remaining(), chain.chunk()), (3, &b"fgh"[..]));
        chain.advance(3);
        assert!(!chain.has_remaining());
    }
}
