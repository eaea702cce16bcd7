//! An FLV byte stream cut into frames.

use crate::media::Frame;
use crate::media::TimestampUnwrapper;
use crate::media::flv::{LeftOut, Problem, TagFinder};
use crate::media::flv_file::{malformed, other_format};
use crate::{Error, ErrorKind, Result};

/// Bytes that are taken before it is looked whether a frame is whole.
const PIECE: usize = 64 * 1024;

/// First bytes that tell another format.
const BEGINNING: usize = 12;

/// Reads FLV that comes in pieces of any size: with or without file header, cut at any byte, and also several
/// files one after the other.
///
/// Bytes that are part of no tag, and encrypted tags, are passed over and counted: the stream goes on at the next tag
/// that its "previous tag size", or a row of tags behind it, confirms. Where nothing can be told from the bytes alone,
/// what looks like a tag is taken for one, so a frame may hold bytes that were not in it.
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
    finder: TagFinder,
    /// The first bytes, until it is known that they are no other format.
    beginning: Option<Vec<u8>>,
    /// The format that it is instead.
    instead: Option<&'static str>,
    clock: TimestampUnwrapper,
}

impl FlvStream {
    /// Takes no tags of more than `max_payload` bytes, which with 64 KiB is also the most that is kept between calls. The
    /// engine's own bound is [`Limits::max_message`](crate::Limits::max_message).
    pub fn new(max_payload: usize) -> Self {
        Self {
            max_payload,
            finder: TagFinder::stream(max_payload),
            beginning: Some(Vec::new()),
            instead: None,
            clock: TimestampUnwrapper::default(),
        }
    }

    /// Takes bytes off the front of `input` until a frame is whole. `None`: all was taken, and more is needed.
    ///
    /// Times are unwrapped to 64 bits; `@setDataFrame` and the zero byte of AMF3 script tags are removed.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] when the stream begins like another format: then all of `input` is taken, and all later
    /// calls fail alike. After the other errors the next call goes on: [`ErrorKind::Format`] for each 1 MiB in a row
    /// that holds no tag, [`ErrorKind::Limit`] for a tag that is too long. Positions are counted from the first byte
    /// ever read.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Frame>> {
        loop {
            if let Some(format) = self.instead {
                *input = &[];
                return Err(malformed(0, format_args!("this is no FLV, it looks like {format}")));
            }
            if let Some(tag) = self.finder.next() {
                let timestamp = self.clock.unwrap(tag.header.timestamp);
                return Ok(tag.header.frame(timestamp, tag.payload));
            }
            if let Some(problem) = self.finder.take_problem() {
                return Err(self.error(problem));
            }
            if input.is_empty() {
                return Ok(None);
            }
            self.take(input);
        }
    }

    /// The stream has ended: what was held back until more came. To be called until there is nothing more.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] when there was no tag in all of it.
    pub fn finish(&mut self) -> Result<Option<Frame>> {
        self.finder.finish();
        let frame = self.read(&mut &[][..])?;
        if frame.is_none() && !self.finder.is_recognised() && self.position() > 0 {
            return Err(malformed(0, format_args!("no FLV tag in {} bytes", self.position())));
        }
        Ok(frame)
    }

    /// Whether it began like another format: nothing more comes out of it.
    pub fn is_refused(&self) -> bool {
        self.instead.is_some()
    }

    /// Bytes so far that are part of no tag. They count once the next tag has been found.
    pub fn left_out(&self) -> LeftOut {
        self.finder.left_out()
    }

    /// Tags so far that were passed over because they are encrypted.
    pub fn encrypted_tags(&self) -> u64 {
        self.finder.encrypted()
    }

    /// Offset of the next byte to be read, counted from the first ever read.
    pub fn position(&self) -> u64 {
        self.finder.fed()
    }

    /// Whether the stream is between tags: if it ends here, nothing of a tag is missing.
    pub fn is_between_tags(&self) -> bool {
        self.finder.is_between_tags()
    }

    fn take(&mut self, input: &mut &[u8]) {
        let (piece, rest) = input.split_at(input.len().min(PIECE));
        *input = rest;
        if let Some(beginning) = &mut self.beginning {
            let missing = BEGINNING.saturating_sub(beginning.len());
            beginning.extend_from_slice(piece.get(..missing).unwrap_or(piece));
            self.instead = other_format(beginning);
            if beginning.len() >= BEGINNING {
                self.beginning = None;
            }
        }
        self.finder.feed(piece);
    }

    fn error(&self, problem: Problem) -> Error {
        match problem {
            Problem::NoTag { position, bytes } if self.finder.is_recognised() => {
                malformed(position, format_args!("no FLV tag in {bytes} bytes"))
            }
            Problem::NoTag { position, bytes } => {
                malformed(position, format_args!("neither an FLV file header nor a tag in {bytes} bytes"))
            }
            Problem::TooLong { position, length } => {
                let most = self.max_payload;
                let text = format!("tag at byte {position}: {length} bytes are more than the allowed {most}");
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

    /// The frames of `bytes` that come in pieces of `piece`, and all that was wrong.
    fn read(bytes: &[u8], piece: usize) -> (Vec<Frame>, Vec<Error>, FlvStream) {
        let mut stream = FlvStream::new(MAX);
        let (mut frames, mut errors) = (Vec::new(), Vec::new());
        for mut input in bytes.chunks(piece) {
            while !input.is_empty() {
                match stream.read(&mut input) {
                    Ok(frame) => frames.extend(frame),
                    Err(error) => errors.push(error),
                }
            }
            while let Ok(Some(frame)) = stream.read(&mut input) {
                frames.push(frame);
            }
            assert!(stream.finder.capacity() <= 2 * (MAX + PIECE + 15));
        }
        assert_eq!(stream.position(), bytes.len() as u64);
        (frames, errors, stream)
    }

    fn whole(bytes: &[u8], piece: usize) -> Vec<Frame> {
        let (frames, errors, stream) = read(bytes, piece);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(stream.left_out(), LeftOut::default());
        frames
    }

    /// The frames, and what is left out, once the stream has ended.
    fn damaged(bytes: &[u8]) -> (Vec<Frame>, LeftOut) {
        let read = |piece| {
            let (mut frames, errors, mut stream) = read(bytes, piece);
            assert!(errors.is_empty(), "{errors:?}");
            while let Ok(Some(frame)) = stream.finish() {
                frames.push(frame);
            }
            (frames, stream.left_out())
        };
        let outcome = read(5);
        assert_eq!(outcome, read(bytes.len()), "the pieces change nothing");
        outcome
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
        let mut wrong = stream;
        wrong[18 + 18] ^= 1;
        let (frames, left_out) = damaged(&wrong);
        assert_eq!((frames.len(), left_out), (2, LeftOut { bytes: 19, places: 1, position: 18 }));
    }

    #[test]
    fn bytes_that_are_no_tag_are_passed_over_and_counted() {
        let audio = |at| tag(8, at, b"\xaf\x01x");
        let left_out = |bytes, position| LeftOut { bytes, places: 1, position };
        for garbage in [
            &[0; 4][..],
            &[0; 15],
            &[0; 4096],
            &[0xab; 64],
            b"ID3\x04\0\0\0\0\0\x0a0123456789",
            &audio(9)[..9],
        ] {
            let stream = [&audio(0), garbage, &audio(20), &audio(40)].concat();
            let (frames, left) = damaged(&stream);
            assert_eq!(testing::times(&frames), [0, 20, 40], "{garbage:?}");
            assert_eq!(left, left_out(garbage.len() as u64, 18), "{garbage:?}");
            let first = [b"FLV\x01\x04\0\0\0\x09\0\0\0\0", &audio(0)[..], &audio(20)].concat();
            let (frames, left) = damaged(&[garbage, &first].concat());
            assert_eq!(testing::times(&frames), [0, 20], "{garbage:?} before the header");
            assert_eq!(left, left_out(garbage.len() as u64, 0), "{garbage:?} before the header");
        }
    }

    #[test]
    fn an_encrypted_tag_is_passed_over_and_counted() {
        let stream = [tag(8, 0, b"\xaf\x01x"), tag(0x29, 0, b"x"), tag(8, 20, b"\xaf\x01y")].concat();
        let (frames, _, stream) = read(&stream, 3);
        assert_eq!((testing::times(&frames), stream.encrypted_tags()), (vec![0, 20], 1));
        assert_eq!(stream.left_out(), LeftOut::default());
    }

    #[test]
    fn a_length_that_is_wrong_does_not_silence_what_follows() {
        let mut stream = [tag(8, 0, b"\xaf\x01x"), tag(8, 20, b"\xaf\x01y")].concat();
        stream[18 + 1] = 8;
        stream.extend([tag(8, 40, b"\xaf\x01z"), tag(8, 60, b"\xaf\x01a")].concat());
        let (frames, ..) = read(&stream, 7);
        assert_eq!(testing::times(&frames), [0, 40, 60], "without waiting for half a megabyte");
    }

    #[test]
    fn a_payload_that_holds_a_whole_tag_is_played_as_it_is() {
        let payload = [b"\x17\x01\0\0\0", &tag(8, 0, b"\xaf\x01x")[..], b"more"].concat();
        let frames = whole(&[tag(9, 0, &payload), tag(9, 40, &payload)].concat(), 3);
        assert!(frames.len() == 2 && frames.iter().all(|frame| frame.payload == payload));
    }

    #[test]
    fn what_is_no_flv_is_told_and_tags_that_come_later_are_read_all_the_same() {
        let noise = vec![0xab; (3 << 20) + 5_000];
        let (frames, errors, _) = read(&[&noise[..], &tag(8, 0, b"\xaf\x01x")].concat(), 1000);
        let texts: Vec<_> = errors.iter().map(Error::to_string).collect();
        assert_eq!((frames.len(), texts.len()), (1, 3), "{texts:?}");
        assert!(texts[0].starts_with("at byte 0: neither an FLV file header nor a tag in "), "{}", texts[0]);
        let good = tag(8, 0, b"\xaf\x01x");
        let (frames, errors, _) = read(&[&good[..], &noise, &good].concat(), 4096);
        assert_eq!((frames.len(), errors.len()), (2, 3));
        assert!(errors.iter().all(|error| error.kind() == ErrorKind::Format));
        assert!(errors[0].to_string().starts_with("at byte 18: no FLV tag in "), "{}", errors[0]);
        let mut short = FlvStream::new(MAX);
        short.read(&mut &b"what"[..]).unwrap();
        assert_eq!(short.finish().unwrap_err().to_string(), "at byte 0: no FLV tag in 4 bytes");
    }

    #[test]
    fn another_format_is_refused_at_once_and_for_good() {
        for bytes in
            [&b"\x00\x00\x00 ftypisom\x00\x00\x00\x00"[..], b"GET / HTTP/1.1\r\n", b"RIFF, which is no FLV"]
        {
            let mut stream = FlvStream::new(MAX);
            let text = stream.read(&mut &bytes[..]).unwrap_err().to_string();
            assert!(text.starts_with("at byte 0: this is no FLV, it looks like "), "{text}");
            assert_eq!(stream.read(&mut &DEMO[..]).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn a_tag_that_is_too_long_is_told_and_passed_over() {
        let good = tag(8, 0, b"\xaf\x01x");
        let long = tag(9, 0, &vec![7; MAX + 1]);
        let (frames, errors, _) = read(&[&good[..], &long, &good, &good].concat(), 100_000);
        assert_eq!(frames.len(), 3);
        assert_eq!(errors[0].kind(), ErrorKind::Limit);
        assert_eq!(errors[0].to_string(), "tag at byte 18: 1048577 bytes are more than the allowed 1048576");
    }

    #[test]
    fn an_announced_length_costs_nothing_before_its_bytes_come() {
        let mut stream = FlvStream::new(16 << 20);
        stream.read(&mut &[9, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1][..]).unwrap();
        assert!(stream.finder.capacity() <= PIECE);
    }

    #[test]
    fn encoded_frames_are_read_back() {
        assert_eq!(testing::tags(&demo_frames()), &DEMO[13..]);
    }
}
