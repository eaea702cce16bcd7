//! The chunk layer: a bounded reader with per-chunk-stream assembly and a stateless writer.
//!
//! Section numbers are those of Adobe's *RTMP Specification 1.0*.

use super::message::{Message, message_type};
use super::{ProtocolError, ProtocolErrorKind};
use crate::Limits;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::borrow::Cow;
use std::io::IoSlice;

/// Chunk size of everything we send, announced once per connection before the `connect` reply.
pub const CHUNK_SIZE_OUT: usize = 65_536;

/// The largest chunk size that can be announced.
pub const MAX_CHUNK_SIZE: u32 = 0x7FFF_FFFF;

/// Chunk size of a peer that has not announced one (5.4.1).
const CHUNK_SIZE_START: usize = 128;
bound! {
    /// Chunk streams before a grant: an encoder uses two of them for its commands
    /// (test `f04_65th_chunk_stream_is_refused_and_17th_before_the_grant`).
    const MAX_STREAMS_PENDING: usize = 16, without usize::MAX;
    /// Room besides the longest message before a grant, so that a control message can be cut by a read meanwhile
    /// (test `f04_unfinished_messages_share_one_budget_before_the_grant`).
    const SPARE_PENDING: usize = 4 * 1024, without usize::MAX;
    /// Least and most bytes that are allocated ahead of those received, per chunk stream, before a grant
    /// (test `f04_announced_bytes_cost_nothing_before_they_arrive`).
    const AHEAD_PENDING: (usize, usize) = (256, 1024), without (1 << 20, 1 << 20);
    /// The same after it (test `f04_announced_bytes_cost_nothing_before_they_arrive`).
    const AHEAD: (usize, usize) = (8 * 1024, 32 * 1024), without (1 << 20, 1 << 20);
}
/// Value of a 24-bit timestamp field that says that four more bytes follow the header (5.3.1.3).
const EXTENDED: u32 = 0xFF_FFFF;

/// Chunk streams that we send on. They stay below 32: nginx-rtmp refuses larger ones.
pub mod csid {
    /// Protocol control and user control messages.
    pub const CONTROL: u8 = 2;
    /// Commands of the connection (`connect`, `createStream`).
    pub const CONNECTION: u8 = 3;
    /// Commands of a message stream, and data.
    pub const STREAM: u8 = 5;
    /// Audio.
    pub const AUDIO: u8 = 6;
    /// Video.
    pub const VIDEO: u8 = 7;
}

/// Reads messages out of chunks. Memory follows the bytes received, never the bytes announced.
///
/// Where peers and papers differ:
///
/// * A type-3 chunk that starts a message reuses the last delta; after a type-0 chunk that is the timestamp
///   itself (5.3.1.2.4; ffmpeg sends so), unless it was an extended one: then the time stays, as a step of
///   more than four hours is never meant.
/// * The extended timestamp is repeated in type-3 chunks by most senders, but not by librtmp's older copies
///   (OBS before 2024). Four bytes are taken for it only if they are its value.
/// * A type-0 header on a chunk stream with an unfinished message drops that message, and so does a type-1 or
///   type-2 header that keeps its length. A type-1 header with another length is an error: such a sender has
///   lost count.
/// * A type-1 chunk may be the first of its chunk stream (librtmp's user control messages): time and message
///   stream then start from 0.
/// * Chunk sizes from [`Limits::min_chunk_size`] to 2^31-1 are taken, whatever the message length; a chunk is
///   never waited for as a whole.
pub struct ChunkReader {
    bounds: Bounds,
    granted: Bounds,
    min_chunk_size: usize,
    chunk_size: usize,
    streams: Vec<ChunkStream>,
    chunk: Option<OpenChunk>,
    /// Received bytes of all unfinished messages.
    unfinished: usize,
    position: u64,
    failed: Option<ProtocolError>,
}

/// What the reader may hold, before and after the grant.
#[derive(Clone, Copy)]
struct Bounds {
    message: usize,
    streams: usize,
    unfinished: usize,
    /// Least and most bytes that are allocated ahead of those received, per chunk stream.
    ahead: (usize, usize),
}

/// What is known about one chunk stream: its last header and its unfinished message.
#[derive(Default)]
struct ChunkStream {
    id: u32,
    /// Time of the last message.
    timestamp: u32,
    /// The last timestamp field: the time after a type-0 header, a delta after type 1 and 2.
    field: u32,
    /// Whether the last timestamp field was an extended one.
    extended: bool,
    /// Whether `field` is an absolute time.
    absolute: bool,
    length: usize,
    type_id: u8,
    stream_id: u32,
    /// Received bytes of the unfinished message.
    partial: Option<Vec<u8>>,
}

/// The chunk whose payload is being received.
struct OpenChunk {
    stream: usize,
    left: usize,
}

/// A rule broken, before its position is known.
struct Fault(ProtocolErrorKind, Cow<'static, str>);

impl ChunkReader {
    /// A reader for a peer that has not been granted anything yet ([`Limits::max_message_pending`]).
    pub fn new(limits: &Limits) -> Self {
        let limits = limits.in_force();
        let pending = Bounds {
            message: limits.max_message_pending,
            streams: limits.max_chunk_streams.min(MAX_STREAMS_PENDING.get()),
            unfinished: limits.max_message_pending.saturating_add(SPARE_PENDING.get()),
            ahead: AHEAD_PENDING.get(),
        };
        let granted = Bounds {
            message: limits.max_message,
            streams: limits.max_chunk_streams,
            unfinished: limits.max_partial,
            ahead: AHEAD.get(),
        };
        Self {
            bounds: pending,
            granted,
            min_chunk_size: limits.min_chunk_size,
            chunk_size: CHUNK_SIZE_START,
            streams: Vec::new(),
            chunk: None,
            unfinished: 0,
            position: 0,
            failed: None,
        }
    }

    /// Raises the limits to those of a granted publisher.
    pub fn grant(&mut self) {
        self.bounds = self.granted;
    }

    /// Sets what [`Self::position`] counts from: the bytes that the handshake took.
    pub fn set_base(&mut self, base: u64) {
        self.position = base;
    }

    /// Takes chunks from `input` until one message is whole; `None` = more bytes are needed. Set Chunk Size and
    /// Abort are carried out here and not returned. Errors are final.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Message>, ProtocolError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut bytes = Unread(input);
        let result = self.next_message(&mut bytes);
        let taken = input.len().saturating_sub(bytes.0.len());
        input.advance(taken);
        self.position = self.position.saturating_add(taken as u64);
        result.map_err(|Fault(kind, detail)| {
            self.streams = Vec::new();
            self.failed.insert(ProtocolError::new(kind, self.position, detail)).clone()
        })
    }

    /// Bytes taken from input so far, plus `base` given by [`Self::set_base`] (handshake bytes).
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The peer's chunk size in bytes: 128 until it announces another one.
    pub fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// Bytes allocated for unfinished messages.
    pub fn allocated(&self) -> usize {
        self.streams.iter().filter_map(|s| s.partial.as_ref()).map(Vec::capacity).sum()
    }

    fn next_message(&mut self, bytes: &mut Unread<'_>) -> Result<Option<Message>, Fault> {
        loop {
            if self.chunk.is_none() && !self.begin_chunk(bytes)? {
                return Ok(None);
            }
            match self.take_payload(bytes) {
                Some(Message { type_id: message_type::SET_CHUNK_SIZE, payload, .. }) => {
                    self.set_chunk_size(&payload)?
                }
                Some(Message { type_id: message_type::ABORT, payload, .. }) => self.abort(&payload),
                Some(message) => return Ok(Some(message)),
                None if self.chunk.is_some() => return Ok(None),
                None => {}
            }
        }
    }

    fn set_chunk_size(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let Some(&size) = payload.first_chunk() else { return Ok(()) };
        let size = u32::from_be_bytes(size);
        if size > MAX_CHUNK_SIZE {
            return Err(chunk_fault("the announced chunk size has its top bit set"));
        }
        self.chunk_size = usize::try_from(size).unwrap_or(usize::MAX);
        if self.chunk_size < self.min_chunk_size.max(1) {
            let least = self.min_chunk_size;
            return Err(chunk_fault(format!("announced chunk size {size}; at least {least} is needed")));
        }
        Ok(())
    }

    fn abort(&mut self, payload: &[u8]) {
        let Some(&id) = payload.first_chunk() else { return };
        let id = u32::from_be_bytes(id);
        if let Some(stream) = self.streams.iter_mut().find(|s| s.id == id) {
            self.unfinished = self.unfinished.saturating_sub(stream.received());
            stream.partial = None;
        }
    }

    /// Reads a chunk header if it has arrived as a whole, and takes none of it otherwise.
    fn begin_chunk(&mut self, bytes: &mut Unread<'_>) -> Result<bool, Fault> {
        let mut rest = *bytes;
        let Some((format, id)) = rest.basic_header() else { return Ok(false) };
        let index = self.find_or_add(format, id)?;
        let Some(stream) = self.streams.get_mut(index) else { return Ok(false) };
        let Some(header) = stream.read_header(format, &mut rest) else { return Ok(false) };
        let others = self.unfinished.saturating_sub(stream.received());
        stream.apply(&header, self.bounds.message)?;
        self.unfinished = others.saturating_add(stream.received());
        let left = stream.missing().min(self.chunk_size);
        let most = self.bounds.unfinished;
        if self.unfinished.saturating_add(left) > most {
            return Err(limit_fault(format!("more than {most} bytes of unfinished messages")));
        }
        self.chunk = Some(OpenChunk { stream: index, left });
        *bytes = rest;
        Ok(true)
    }

    fn find_or_add(&mut self, format: u8, id: u32) -> Result<usize, Fault> {
        if let Some(index) = self.streams.iter().position(|s| s.id == id) {
            return Ok(index);
        }
        if format > 1 {
            return Err(chunk_fault(format!("chunk stream {id} starts with a type-{format} header")));
        }
        let index = self.streams.len();
        if index >= self.bounds.streams {
            return Err(limit_fault(format!("more than {} chunk streams", self.bounds.streams)));
        }
        // Exact: a player sends on two or three for all its life.
        self.streams.reserve_exact(1);
        self.streams.push(ChunkStream { id, ..ChunkStream::default() });
        Ok(index)
    }

    /// Moves payload of the open chunk; returns the message when this completes it.
    fn take_payload(&mut self, bytes: &mut Unread<'_>) -> Option<Message> {
        let OpenChunk { stream: index, left } = self.chunk.take()?;
        let (least, most) = self.bounds.ahead;
        let ahead = bytes.0.len().clamp(least, most);
        let (arrived, rest) = bytes.0.split_at_checked(left).unwrap_or((bytes.0, &[]));
        let stream = self.streams.get_mut(index)?;
        let others = self.unfinished.saturating_sub(stream.received());
        let message = stream.receive(arrived, ahead);
        self.unfinished = others.saturating_add(stream.received());
        let left = left.saturating_sub(arrived.len());
        self.chunk = (left > 0).then_some(OpenChunk { stream: index, left });
        bytes.0 = rest;
        message
    }
}

impl ChunkStream {
    /// Reads the rest of a header of type `format`; fields that it leaves out come from the last one.
    /// `None` = more bytes are needed.
    fn read_header(&self, format: u8, bytes: &mut Unread<'_>) -> Option<Header> {
        let mut header = Header {
            format,
            field: self.field,
            extended: self.extended,
            length: self.length,
            type_id: self.type_id,
            stream_id: self.stream_id,
        };
        if format == 3 {
            return self.skip_repeated_timestamp(bytes).then_some(header);
        }
        header.field = bytes.be24()?;
        if format < 2 {
            header.length = usize::try_from(bytes.be24()?).ok()?;
            [header.type_id] = bytes.take()?;
        }
        if format == 0 {
            header.stream_id = u32::from_le_bytes(bytes.take()?);
        }
        header.extended = header.field == EXTENDED;
        if header.extended {
            header.field = u32::from_be_bytes(bytes.take()?);
        }
        Some(header)
    }

    /// Steps over the extended timestamp in a type-3 header, where the sender repeats it: as it was in the last
    /// header, or as the message's absolute time. False = more bytes are needed to tell.
    fn skip_repeated_timestamp(&self, bytes: &mut Unread<'_>) -> bool {
        if !self.extended {
            return true;
        }
        let time =
            if self.partial.is_some() { self.timestamp } else { self.timestamp.wrapping_add(self.step()) };
        for value in [self.field.to_be_bytes(), time.to_be_bytes()] {
            if let Some(rest) = bytes.0.strip_prefix(&value) {
                bytes.0 = rest;
                return true;
            }
            if value.starts_with(bytes.0) {
                return false;
            }
        }
        true
    }

    /// The delta that a type-3 header stands for when it starts a message.
    fn step(&self) -> u32 {
        if self.absolute && self.extended { 0 } else { self.field }
    }

    /// Carries out a chunk header: starts a message of at most `max` bytes, or goes on with one.
    fn apply(&mut self, header: &Header, max: usize) -> Result<(), Fault> {
        match header.format {
            3 if self.partial.is_some() => {}
            1 if self.partial.is_some() && header.length != self.length => {
                let (old, new) = (self.length, header.length);
                return Err(chunk_fault(format!(
                    "message length changed from {old} to {new} in mid-message"
                )));
            }
            _ if header.length > max => {
                let length = header.length;
                return Err(limit_fault(format!("message of {length} bytes; at most {max} are allowed")));
            }
            _ => self.start(header),
        }
        Ok(())
    }

    fn start(&mut self, header: &Header) {
        self.timestamp = match header.format {
            0 => header.field,
            3 => self.timestamp.wrapping_add(self.step()),
            _ => self.timestamp.wrapping_add(header.field),
        };
        if header.format != 3 {
            self.absolute = header.format == 0;
        }
        self.field = header.field;
        self.extended = header.extended;
        self.length = header.length;
        self.type_id = header.type_id;
        self.stream_id = header.stream_id;
        self.partial = Some(Vec::new());
    }

    /// Adds payload to the unfinished message and returns the message when it is whole. Where memory is needed,
    /// at most a quarter of what has been received, or `ahead`, is allocated beyond it.
    fn receive(&mut self, arrived: &[u8], ahead: usize) -> Option<Message> {
        if arrived.len() == self.length {
            // The usual case: one exact copy, which does not pin the read buffer.
            self.partial = None;
            return Some(self.message(Bytes::copy_from_slice(arrived)));
        }
        let partial = self.partial.get_or_insert_default();
        let needed = partial.len().saturating_add(arrived.len());
        if needed > partial.capacity() {
            let capacity = needed.saturating_add(ahead.max(needed / 4)).min(self.length);
            partial.reserve_exact(capacity.saturating_sub(partial.len()));
        }
        partial.extend_from_slice(arrived);
        if needed < self.length {
            return None;
        }
        self.partial.take().map(|payload| self.message(payload.into()))
    }

    /// Bytes of the unfinished message that have been received.
    fn received(&self) -> usize {
        self.partial.as_ref().map_or(0, Vec::len)
    }

    /// Bytes of the unfinished message that have not been received.
    fn missing(&self) -> usize {
        self.length.saturating_sub(self.received())
    }

    fn message(&self, payload: Bytes) -> Message {
        Message { timestamp: self.timestamp, type_id: self.type_id, stream_id: self.stream_id, payload }
    }
}

/// A chunk's message header, completed from the one before.
struct Header {
    format: u8,
    field: u32,
    extended: bool,
    length: usize,
    type_id: u8,
    stream_id: u32,
}

/// Input that has not been taken.
#[derive(Clone, Copy)]
struct Unread<'a>(&'a [u8]);

impl Unread<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn be24(&mut self) -> Option<u32> {
        let [a, b, c] = self.take()?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }

    /// Header type and chunk stream, in one, two or three bytes (5.3.1.1).
    fn basic_header(&mut self) -> Option<(u8, u32)> {
        let [first] = self.take()?;
        let id = match first & 0x3F {
            0 => {
                let [low] = self.take()?;
                u32::from(low).saturating_add(64)
            }
            1 => u32::from(u16::from_le_bytes(self.take()?)).saturating_add(64),
            small => u32::from(small),
        };
        Some((first >> 6, id))
    }
}

fn chunk_fault(detail: impl Into<Cow<'static, str>>) -> Fault {
    Fault(ProtocolErrorKind::Chunk, detail.into())
}

fn limit_fault(detail: impl Into<Cow<'static, str>>) -> Fault {
    Fault(ProtocolErrorKind::Limit, detail.into())
}

/// A message in wire form without copying its payload: type-0 header, payload in chunks with type-3 headers between
/// them. Stateless, so any player can start at any message.
#[derive(Debug, Clone)]
pub struct WireMessage {
    /// The payload, shared with every other user of the frame.
    pub payload: Bytes,
    first: [u8; 16],
    first_len: u8,
    next: [u8; 5],
    next_len: u8,
    chunk_size: u32,
}

impl WireMessage {
    /// The wire form, in [`CHUNK_SIZE_OUT`] chunks, of a message of `type_id` on chunk stream `csid` (2..=63) and
    /// message stream `stream_id`; the timestamp is wrapped to 32 bits. Of a payload over 2^24-1 bytes, which no message can have, only so
    /// much is sent.
    pub fn new(csid: u8, type_id: u8, stream_id: u32, timestamp: i64, mut payload: Bytes) -> Self {
        debug_assert!((2..64).contains(&csid), "one-byte chunk headers only");
        payload.truncate(0xFF_FFFF);
        let [.., t0, t1, t2, t3] = timestamp.to_be_bytes();
        let time = u32::from_be_bytes([t0, t1, t2, t3]);
        let [_, l0, l1, l2] = u32::try_from(payload.len()).unwrap_or(0xFF_FFFF).to_be_bytes();
        let [_, f0, f1, f2] = time.min(EXTENDED).to_be_bytes();
        let [s0, s1, s2, s3] = stream_id.to_le_bytes();
        let extended = time >= EXTENDED;
        let basic = csid & 0x3F;
        Self {
            payload,
            first: [basic, f0, f1, f2, l0, l1, l2, type_id, s0, s1, s2, s3, t0, t1, t2, t3],
            first_len: if extended { 16 } else { 12 },
            next: [basic | 0xC0, t0, t1, t2, t3],
            next_len: if extended { 5 } else { 1 },
            chunk_size: CHUNK_SIZE_OUT as u32,
        }
    }

    /// The same in chunks of that many bytes, which have been announced to the peer; at least 1.
    #[must_use]
    pub fn in_chunks_of(self, chunk_size: u32) -> Self {
        Self { chunk_size: chunk_size.max(1), ..self }
    }

    fn chunk_size(&self) -> usize {
        usize::try_from(self.chunk_size).unwrap_or(usize::MAX)
    }

    /// Length on the wire in bytes, all chunk headers included.
    pub fn len(&self) -> usize {
        let continuations =
            self.payload.len().saturating_sub(1).checked_div(self.chunk_size()).unwrap_or_default();
        let headers = continuations.saturating_mul(usize::from(self.next_len));
        self.payload.len().saturating_add(headers).saturating_add(usize::from(self.first_len))
    }

    /// Whether there is nothing on the wire; never so, a header is always sent.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Appends the slices that remain after the first `skip` wire bytes, for a vectored write.
    pub fn slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) {
        let mut skip = skip;
        for part in self.parts() {
            match part.get(skip..) {
                Some([]) | None => skip = skip.saturating_sub(part.len()),
                Some(rest) => {
                    out.push(IoSlice::new(rest));
                    skip = 0;
                }
            }
        }
    }

    /// Copies the wire form into `out`: for commands and control messages.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(self.len());
        for part in self.parts() {
            out.put_slice(part);
        }
    }

    /// Headers and pieces of payload in wire order.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.first.get(..usize::from(self.first_len)).unwrap_or_default();
        let next = self.next.get(..usize::from(self.next_len)).unwrap_or_default();
        let headers = std::iter::once(first).chain(std::iter::repeat(next));
        let (head, rest) = self.payload.split_at_checked(self.chunk_size()).unwrap_or((&self.payload, &[]));
        let pieces = std::iter::once(head).chain(rest.chunks(self.chunk_size()));
        headers.zip(pieces).flat_map(|(header, piece)| [header, piece])
    }
}

#[cfg(test)]
mod tests;
