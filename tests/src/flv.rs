//! A small FLV reader, independent of the engine's, and verdicts on what arrived.

use md5::{Digest, Md5};
use std::collections::BTreeSet;
use std::path::Path;

/// Which track a tag belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// Tag type 8.
    Audio,
    /// Tag type 9.
    Video,
}

/// One FLV tag, or one RTMP media message.
#[derive(Debug, Clone)]
pub struct Tag {
    /// 8 audio, 9 video, 18 script data.
    pub kind: u8,
    /// Milliseconds.
    pub timestamp: u32,
    /// The body, codec header included.
    pub body: Vec<u8>,
}

/// What a tag is for a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Header,
    Frame { key: bool },
    Other,
}

impl Tag {
    /// The track, if it is media.
    pub fn track(&self) -> Option<Track> {
        match self.kind {
            8 => Some(Track::Audio),
            9 => Some(Track::Video),
            _ => None,
        }
    }

    fn role(&self) -> Role {
        let first = self.body.first().copied().unwrap_or(0);
        let second = self.body.get(1).copied().unwrap_or(0);
        match self.track() {
            Some(Track::Video) if first & 0x80 != 0 => match first & 0x0f {
                0 => Role::Header,
                1 | 3 => Role::Frame { key: (first >> 4) & 7 == 1 },
                _ => Role::Other,
            },
            Some(Track::Video) => match (first & 0x0f, second) {
                (7, 0) => Role::Header,
                (7, 2) => Role::Other,
                _ => Role::Frame { key: first >> 4 == 1 },
            },
            Some(Track::Audio) => match (first >> 4, first & 0x0f, second) {
                (9, 0, _) | (10, _, 0) => Role::Header,
                (9, kind, _) if kind != 1 => Role::Other,
                _ => Role::Frame { key: true },
            },
            None => Role::Other,
        }
    }

    /// Whether it is a decoder configuration.
    pub fn is_header(&self) -> bool {
        self.role() == Role::Header
    }

    /// Whether it is a frame; `Some(true)` for one that a decoder can start with.
    pub fn frame(&self) -> Option<bool> {
        match self.role() {
            Role::Frame { key } => Some(key),
            _ => None,
        }
    }

    /// MD5 of the body.
    pub fn hash(&self) -> [u8; 16] {
        Md5::digest(&self.body).into()
    }
}

/// Tags in the order they came.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// All of them.
    pub tags: Vec<Tag>,
}

impl Recording {
    /// Reads a file; half a tag at its end is left out.
    pub fn read(path: &Path) -> Self {
        let data = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&data)
    }

    /// Reads bytes that start with an FLV file header.
    pub fn parse(data: &[u8]) -> Self {
        assert!(data.starts_with(b"FLV"), "not an FLV file ({} bytes)", data.len());
        let mut tags = Vec::new();
        let mut rest = &data[13..];
        while rest.len() >= 11 {
            let size = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
            let timestamp = u32::from_be_bytes([rest[7], rest[4], rest[5], rest[6]]);
            let Some(body) = rest.get(11..11 + size) else { break };
            tags.push(Tag { kind: rest[0] & 0x1f, timestamp, body: body.to_vec() });
            rest = rest.get(11 + size + 4..).unwrap_or(&[]);
        }
        Self { tags }
    }

    /// An FLV file of the tags, which announces both tracks.
    pub fn file(&self) -> Vec<u8> {
        let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
        for tag in &self.tags {
            let size = u32::try_from(tag.body.len()).expect("a tag's size");
            let [high, time @ ..] = tag.timestamp.to_be_bytes();
            file.push(tag.kind);
            file.extend(&size.to_be_bytes()[1..]);
            file.extend([&time[..], &[high, 0, 0, 0], &tag.body, &(size + 11).to_be_bytes()].concat());
        }
        file
    }

    /// The frames of one track, without decoder configurations.
    pub fn frames(&self, track: Track) -> Vec<&Tag> {
        self.tags.iter().filter(|tag| tag.track() == Some(track) && tag.frame().is_some()).collect()
    }

    /// The decoder configurations of one track.
    pub fn headers(&self, track: Track) -> Vec<&Tag> {
        self.tags.iter().filter(|tag| tag.track() == Some(track) && tag.is_header()).collect()
    }

    /// Every media tag of one track, whatever its role.
    pub fn track(&self, track: Track) -> Vec<&Tag> {
        self.tags.iter().filter(|tag| tag.track() == Some(track)).collect()
    }
}

/// How much of the source must have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it, once.
    Whole,
    /// From some keyframe to the end.
    ToTheEnd,
    /// The same, but the very last frame may be missing: rtmp2src throws away the message it holds when it sees
    /// the end of the stream before its own reader took it.
    ToTheLastButOne,
    /// Some unbroken run.
    Run,
    /// An unbroken run that may start anew after the end, as often as it likes.
    Looped,
}

/// Fails the test unless what arrived is, byte for byte, an unbroken part of the source, starting with a
/// keyframe, and each frame comes under the decoder configuration that it has in the source.
pub fn assert_arrived(source: &Recording, got: &Recording, extent: Extent) {
    for track in [Track::Video, Track::Audio] {
        let expected = source.frames(track);
        let frames = got.frames(track);
        if expected.is_empty() {
            assert!(frames.is_empty(), "{track:?} frames from nowhere");
            continue;
        }
        assert!(!frames.is_empty(), "no {track:?} frame arrived ({} tags in all)", got.tags.len());
        assert!(frames[0].frame() == Some(true), "the first {track:?} frame is no keyframe");
        if let Err(why) = match_run(&decodable(source, track), &decodable(got, track), extent) {
            panic!("{track:?}: {why}");
        }
    }
}

/// The decoder configuration in effect at each frame of a track, and the frame.
fn decodable(recording: &Recording, track: Track) -> Vec<(Option<[u8; 16]>, [u8; 16])> {
    let mut header = None;
    let mut frames = Vec::new();
    for tag in recording.track(track) {
        if tag.is_header() {
            header = Some(tag.hash());
        } else if tag.frame().is_some() {
            frames.push((header, tag.hash()));
        }
    }
    frames
}

/// Where in `source` the run `got` starts, or in words how far the best try went.
pub fn match_run<T: Eq>(source: &[T], got: &[T], extent: Extent) -> Result<usize, String> {
    let same = |start: usize| {
        let wrapped = source.iter().cycle().skip(start);
        let matching = got.iter().zip(wrapped).take_while(|(a, b)| a == b).count();
        if extent == Extent::Looped { matching } else { matching.min(source.len() - start) }
    };
    let fits = |start: usize| match extent {
        Extent::Whole => start == 0 && got.len() == source.len(),
        Extent::ToTheEnd => start + got.len() == source.len(),
        Extent::ToTheLastButOne => start + got.len() + 1 >= source.len(),
        Extent::Run | Extent::Looped => true,
    };
    let starts: BTreeSet<usize> = (0..source.len()).filter(|&i| got.first() == Some(&source[i])).collect();
    if let Some(&start) = starts.iter().find(|&&start| same(start) == got.len() && fits(start)) {
        return Ok(start);
    }
    let best = starts.iter().max_by_key(|&&start| same(start));
    Err(match best {
        None => format!("the first of {} frames is not in the source ({} frames)", got.len(), source.len()),
        Some(&start) => format!(
            "{} frames do not fit ({extent:?}) into the source's {}: from source frame {start} on, {} match",
            got.len(),
            source.len(),
            same(start)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tags_is_the_file_that_they_were_read_from() {
        let clip = std::fs::read(crate::demo_clip()).unwrap();
        assert!(Recording::parse(&clip).file() == clip);
    }

    #[test]
    fn a_missing_a_doubled_and_a_changed_frame_are_seen() {
        let source = [1, 2, 3, 4, 5];
        assert_eq!(match_run(&source, &[2, 3, 4], Extent::Run), Ok(1));
        assert_eq!(match_run(&source, &[3, 4, 5], Extent::ToTheEnd), Ok(2));
        assert_eq!(match_run(&source, &[4, 5, 1, 2, 3, 4, 5, 1], Extent::Looped), Ok(3));
        assert!(match_run(&source, &[2, 4], Extent::Run).is_err());
        assert!(match_run(&source, &[2, 2, 3], Extent::Run).is_err());
        assert!(match_run(&source, &[2, 3, 9], Extent::Run).is_err());
        assert!(match_run(&source, &[2, 3, 4], Extent::ToTheEnd).is_err());
        assert!(match_run(&source, &[2, 3], Extent::ToTheLastButOne).is_err());
        assert!(match_run(&source, &[2, 3, 4, 5], Extent::Whole).is_err());
        assert!(match_run(&source, &[4, 5, 1], Extent::Run).is_err());
    }
}
