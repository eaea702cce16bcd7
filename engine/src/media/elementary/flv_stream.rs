//! An FLV byte stream cut into frames.

use crate::media::Frame;
use crate::media::TimestampUnwrapper;
use crate::media::flv::{FILE_HEADER_LEN, FileHeader, HeaderError, TagContent, TagHeader};
use crate::media::flv_file::{encrypted, malformed};
use crate::{Error, ErrorKind, Result};
use smallvec::SmallVec;
use std::mem;

/// Payload bytes that are allocated before any of them has come.
const FIRST_ALLOCATION: usize = 64 * 1024;

/// Reads FLV that comes in pieces of any size: with or without file header, cut at any byte, and also several
/// files one after the other.
///
/// ```no_run
/// # use streamengine::media::elementary::FlvStream;
/// # fn f(mut bytes: &[u8], push: impl Fn(streamengine::media::Frame)) -> streamengine::Result<()> {
/// let mut stream = FlvStream::new(8 * 1024 * 1024);
/// while let Some(frame) = stream.read(&mut bytes)? {
///     push(frame);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FlvStream {
    max_payload: usize,
    state: State,
    /// What came of the header or trailer that `state` waits for.
    head: SmallVec<[u8; 16]>,
    /// What came of a frame's payload.
    payload: Vec<u8>,
    /// Offset of the next byte in the whole stream.
    position: u64,
    /// Offset of the tag or file header that is being read.
    start: u64,
    /// A file header or a tag has been seen: it is FLV.
    recognised: bool,
    clock: TimestampUnwrapper,
}

/// What is being read.
#[derive(Debug, Clone, Copy)]
enum State {
    /// The first byte of a tag or file header.
    Start,
    FileHeader,
    /// What a file header's data offset leaves over: bytes left.
    Skip(u64),
    /// "Previous tag size" after a file header, or after a frame, where many writers get its value wrong.
    Trailer,
    TagHeader,
    Payload(TagHeader),
    /// Payload of a tag of unknown type: bytes left.
    Unknown(TagHeader, u64),
    /// "Previous tag size" of such a tag, which must be right to show that it is a tag at all.
    UnknownTrailer(TagHeader),
    Failed(Failure),
}

/// What was wrong with the header at [`FlvStream::start`].
#[derive(Debug, Clone, Copy)]
enum Failure {
    File(HeaderError),
    Type(u8),
    NoFlv,
    Encrypted,
    Length(u32),
}

/// What a step led to.
enum Step {
    On(State),
    Frame(Frame),
    /// All input was taken.
    Wait,
}

impl FlvStream {
    /// Refuses tags of more than `max_payload` bytes, which is also the most that is kept between calls. The
    /// engine's own bound is [`Limits::max_message`](crate::Limits::max_message).
    pub fn new(max_payload: usize) -> Self {
        Self {
            max_payload,
            state: State::Start,
            head: SmallVec::new(),
            payload: Vec::new(),
            position: 0,
            start: 0,
            recognised: false,
            clock: TimestampUnwrapper::default(),
        }
    }

    /// Takes bytes off the front of `input` until a frame is whole. `None`: all was taken, and more is needed.
    ///
    /// Times are unwrapped to 64 bits; `@setDataFrame` and the zero byte of AMF3 script tags are removed.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] when it is no FLV, [`ErrorKind::Unsupported`] for an encrypted tag and
    /// [`ErrorKind::Limit`] for one that is too long, each with its byte position counted from the first byte
    /// ever read. The place of the next tag is lost then: all later calls fail alike.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Frame>> {
        loop {
            match self.step(input)? {
                Step::On(state) => self.state = state,
                Step::Frame(frame) => {
                    self.state = State::Trailer;
                    return Ok(Some(frame));
                }
                Step::Wait => return Ok(None),
            }
        }
    }

    /// Offset of the next byte to be read, counted from the first ever read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the stream is between tags: if it ends here, nothing of a tag is missing.
    pub fn is_between_tags(&self) -> bool {
        matches!(self.state, State::Start | State::Trailer)
    }

    fn step(&mut self, input: &mut &[u8]) -> Result<Step> {
        let step = match self.state {
            State::Start => self.begin(input),
            State::FileHeader => self.head::<FILE_HEADER_LEN>(input).map(|bytes| self.file_header(&bytes)),
            State::Skip(left) => self.skip(left, input).map(State::Skip),
            State::Trailer => self.head::<4>(input).map(|_| State::Start),
            State::TagHeader => self.head(input).map(|bytes| self.tag_header(TagHeader::parse(&bytes))),
            State::Payload(header) => return Ok(self.frame(header, input)),
            State::Unknown(header, left) => self.skip(left, input).map(|left| State::Unknown(header, left)),
            State::UnknownTrailer(header) => {
                self.head(input).map(|trailer| match u32::from_be_bytes(trailer) {
                    size if size == header.size() => State::Start,
                    _ => State::Failed(Failure::Type(header.tag_type)),
                })
            }
            State::Failed(failure) => return Err(self.error(failure)),
        };
        Ok(match step {
            // What is to be skipped may be nothing.
            Some(State::Skip(0)) => Step::On(State::Trailer),
            Some(State::Unknown(header, 0)) => Step::On(State::UnknownTrailer(header)),
            Some(state) => Step::On(state),
            None => Step::Wait,
        })
    }

    fn begin(&mut self, input: &[u8]) -> Option<State> {
        let first = *input.first()?;
        self.start = self.position;
        Some(match first {
            b'F' => State::FileHeader,
            // The zero "previous tag size" of a file whose header was cut off.
            0 if self.position == 0 => State::Trailer,
            _ => State::TagHeader,
        })
    }

    fn file_header(&mut self, bytes: &[u8]) -> State {
        match FileHeader::parse(bytes) {
            Ok((_, offset)) => {
                self.recognised = true;
                State::Skip(u64::from(offset).saturating_sub(FILE_HEADER_LEN as u64))
            }
            Err(error) => State::Failed(Failure::File(error)),
        }
    }

    fn tag_header(&mut self, header: TagHeader) -> State {
        let too_long = usize::try_from(header.length).is_ok_and(|length| length > self.max_payload);
        match header.content() {
            TagContent::Encrypted => State::Failed(Failure::Encrypted),
            TagContent::Unknown if !self.recognised => State::Failed(Failure::NoFlv),
            TagContent::Unknown => State::Unknown(header, header.length.into()),
            TagContent::Frame(_) if too_long => State::Failed(Failure::Length(header.length)),
            TagContent::Frame(_) => {
                self.recognised = true;
                State::Payload(header)
            }
        }
    }

    fn frame(&mut self, header: TagHeader, input: &mut &[u8]) -> Step {
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let missing = length.saturating_sub(self.payload.len());
        let taken = self.take(missing, input);
        if self.payload.capacity().saturating_sub(self.payload.len()) < taken.len() {
            // Not at once for all that the header announces, which may never come.
            let room = taken.len().max(self.payload.len()).max(FIRST_ALLOCATION).min(missing);
            self.payload.reserve_exact(room);
        }
        self.payload.extend_from_slice(taken);
        if self.payload.len() < length {
            return Step::Wait;
        }
        let timestamp = self.clock.unwrap(header.timestamp);
        match header.frame(timestamp, mem::take(&mut self.payload).into()) {
            Some(frame) => Step::Frame(frame),
            None => Step::On(State::Trailer),
        }
    }

    /// The `N` bytes that are waited for, once they have come.
    fn head<const N: usize>(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        let missing = N.saturating_sub(self.head.len());
        let taken = self.take(missing, input);
        self.head.extend_from_slice(taken);
        let bytes = *self.head.first_chunk()?;
        self.head.clear();
        Some(bytes)
    }

    /// Passes over bytes; how many are left. `None` when all input was taken and more is needed.
    fn skip(&mut self, left: u64, input: &mut &[u8]) -> Option<u64> {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let taken = self.take(most, input).len();
        (taken > 0 || left == 0).then(|| left.saturating_sub(taken as u64))
    }

    fn take<'a>(&mut self, most: usize, input: &mut &'a [u8]) -> &'a [u8] {
        let (taken, rest) = input.split_at(most.min(input.len()));
        *input = rest;
        self.position = self.position.saturating_add(taken.len() as u64);
        taken
    }

    fn error(&self, failure: Failure) -> Error {
        let at = self.start;
        match failure {
            Failure::File(error) => malformed(at.saturating_add(error.position()), error),
            Failure::Type(number) => malformed(at, format_args!("unknown tag type {number}")),
            Failure::NoFlv => malformed(at, "neither an FLV file header nor a tag"),
            Failure::Encrypted => encrypted(at),
            Failure::Length(length) => {
                let most = self.max_payload;
                let text = format!("tag at byte {at}: {length} bytes are more than the allowed {most}");
                Error::new(ErrorKind::Limit, text)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::testing::{self, DEMO, demo_frames};

    const MAX: usize = 1 << 20;

    /// The frames of `bytes` that come in pieces of `piece`, and the error that they end in.
    fn read(bytes: &[u8], piece: usize) -> (Vec<Frame>, Option<Error>) {
        let mut stream = FlvStream::new(MAX);
        let mut frames = Vec::new();
        for mut input in bytes.chunks(piece) {
            loop {
                match stream.read(&mut input) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(stream.read(&mut input).unwrap_err().to_string(), error.to_string());
                        return (frames, Some(error));
                    }
                }
            }
            assert!(input.is_empty() && stream.payload.capacity() <= MAX);
        }
        assert_eq!(stream.position(), bytes.len() as u64);
        (frames, None)
    }

    fn whole(bytes: &[u8], piece: usize) -> Vec<Frame> {
        let (frames, error) = read(bytes, piece);
        assert!(error.is_none(), "{error:?}");
        frames
    }

    fn failure(bytes: &[u8]) -> (ErrorKind, String) {
        let error = read(bytes, 5).1.unwrap();
        (error.kind(), error.to_string())
    }

    fn tag(tag_type: u8, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        testing::tag(tag_type, timestamp, payload, 11 + u32::try_from(payload.len()).unwrap())
    }

    #[test]
    fn pieces_of_any_size_give_the_frames_of_the_file() {
        let expected = demo_frames();
        for piece in [1, 2, 7, 11, 4096, 65_536, DEMO.len()] {
            assert!(whole(DEMO, piece) == expected, "pieces of {piece}");
        }
    }

    #[test]
    fn the_file_header_may_be_missing_or_come_again() {
        let expected = demo_frames();
        assert!(whole(&DEMO[13..], 1000) == expected, "tags only");
        assert!(whole(&DEMO[9..], 1000) == expected, "and the size before the first tag");
        let twice = [DEMO, DEMO].concat();
        assert_eq!(whole(&twice, 1000).len(), 2 * expected.len());
        let long_header =
            [b"FLV\x01\x05\x00\x00\x00\x0cabc\x00\x00\x00\x00", &tag(8, 5, b"\xaf\x01x")[..]].concat();
        assert_eq!(whole(&long_header, 1).len(), 1);
    }

    #[test]
    fn a_frame_comes_as_soon_as_its_payload_is_whole() {
        let tag = tag(9, 7, b"\x17\x01\x00\x00\x00x");
        let mut stream = FlvStream::new(MAX);
        assert_eq!(stream.read(&mut &tag[..tag.len() - 5]).unwrap(), None);
        assert!(!stream.is_between_tags());
        let frame = stream.read(&mut &tag[tag.len() - 5..tag.len() - 4]).unwrap().unwrap();
        assert!(frame.flags.keyframe && frame.timestamp == 7 && stream.is_between_tags());
        assert_eq!(whole(&self::tag(8, 0, b""), 1).len(), 1, "an empty one");
    }

    #[test]
    fn f08_time_goes_on_when_the_wire_wraps() {
        let stream = [tag(8, u32::MAX - 9, b"\xaf\x01x"), tag(8, 10, b"\xaf\x01x")].concat();
        let times: Vec<_> = whole(&stream, 3).iter().map(|frame| frame.timestamp).collect();
        assert_eq!(times, [0xffff_fff6, 0x1_0000_000a]);
    }

    #[test]
    fn script_tags_lose_what_is_not_their_event() {
        let event = b"\x02\x00\x0aonMetaData\x05";
        let wrapped = [b"\x02\x00\x0d@setDataFrame", &event[..]].concat();
        let stream = [tag(18, 0, &wrapped), tag(15, 0, &[b"\x00", &event[..]].concat())].concat();
        let frames = whole(&stream, 6);
        assert!(frames.len() == 2 && frames.iter().all(|frame| frame.payload == event[..]));
    }

    #[test]
    fn tags_of_unknown_type_are_passed_over_if_their_size_confirms_them() {
        let stream = [tag(8, 0, b"\xaf\x01x"), tag(77, 0, b"what"), tag(8, 0, b"\xaf\x01y")].concat();
        assert_eq!(whole(&stream, 3).len(), 2);
        let mut wrong = stream.clone();
        wrong[18 + 18] ^= 1;
        assert_eq!(failure(&wrong), (ErrorKind::Format, "at byte 18: unknown tag type 77".into()));
    }

    #[test]
    fn mistakes_are_named_with_their_position() {
        let good = tag(8, 0, b"\xaf\x01x");
        let after = |bytes: &[u8]| failure(&[&good, bytes].concat());
        let (format, text) = after(b"FLV\x07\x00\x00\x00\x00\x00");
        assert_eq!(
            (format, text.as_str()),
            (ErrorKind::Format, "at byte 21: FLV version 7 is not supported")
        );
        let (kind, text) = after(&tag(0x29, 0, b"x"));
        assert_eq!(kind, ErrorKind::Unsupported);
        assert!(text.contains("at byte 18"), "{text}");
        let (kind, text) = after(&[9, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(kind, ErrorKind::Limit);
        assert!(text.contains("at byte 18: 1048577 bytes"), "{text}");
        for bytes in [
            &b"\x00\x00\x00 ftypisom\x00\x00\x00\x00"[..],
            b"GET / HTTP/1.1\r\n",
            b"FLX\x01\x00\x00\x00\x00\x09",
        ] {
            assert_eq!(failure(bytes).0, ErrorKind::Format);
        }
    }

    #[test]
    fn an_announced_length_costs_nothing_before_its_bytes_come() {
        let mut stream = FlvStream::new(16 << 20);
        stream.read(&mut &[9, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1][..]).unwrap();
        assert!(stream.payload.capacity() <= FIRST_ALLOCATION);
    }

    #[test]
    fn encoded_frames_are_read_back() {
        assert_eq!(testing::tags(&demo_frames()), &DEMO[13..]);
    }
}
