//! Body of the fuzz target for elementary samples: a panic or a failed assertion is the finding.

use super::Choices;
use crate::Result;
use crate::media::elementary::{Demuxer, Format, Frames, Muxer, Sample};
use crate::media::flv::Codec;
use crate::media::{Frame, FrameKind};
use std::collections::HashMap;

/// Tracks declared and samples pushed with one input.
const STEPS: usize = 4_096;

/// What samples and configuration are made of: `avcC`, access units and so on, one or two of each codec.
const MATERIAL: &[(Codec, &[u8])] = &[
    (
        Codec::H264,
        b"\x01\x4d\x40\x1e\xff\xe1\x00\x19\x67\x4d\x40\x1e\xd9\x80\xa0\x2f\xf9\x70\x11\0\0\x03\0\x01\0\0\x03\0\
          \x32\x0f\x16\x2e\x68\x01\x00\x04\x68\xe9\x70\x44",
    ),
    (
        Codec::H264,
        b"\0\0\0\x01\x09\xf0\0\0\0\x01\x67\x64\x00\x1e\xac\xd9\x40\xa0\x3d\xa1\0\0\x01\x68\xeb\xe3\xcb\
          \0\0\x01\x65\x88\x84",
    ),
    (Codec::H264, b"\0\0\0\x03\x65\x88\x84\0\0\0\x02\x41\x9a"),
    (
        Codec::Hevc,
        b"\0\0\0\x01\x40\x01\x0c\x01\xff\xff\x01\x60\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\x95\x98\x09\
          \0\0\0\x01\x42\x01\x01\x01\x60\0\0\x03\0\x90\0\0\x03\0\0\x03\0\x3c\xa0\x0a\x08\x0b\x9f\x79\x65\x66\x92\
          \x4c\xaf\x01\x68\x08\0\0\x03\0\x08\0\0\x03\0\xc8\x40\0\0\x01\x44\x01\xc1\x72\xb4\0\0\x01\x26\x01\xaf",
    ),
    (Codec::Hevc, b"\0\0\0\x03\x02\x01\xd0"),
    (Codec::Aac, b"\x11\x88\x56\xe5\x00"),
    (Codec::Aac, b"\xff\xf1\x50\x80\x01\x3f\xfc\x21\x10\xff\xf1\x50\x80\x01\x3f\xfc\x21\x11"),
    (Codec::Av1, b"\x81\x04\x0c\x00\x0a\x0b\x00\x00\x00\x24\xcf\x7f\x0d\xbf\xff\x30\x08"),
    (Codec::Av1, b"\x12\0\x0a\x0b\x00\x00\x00\x24\xcf\x7f\x0d\xbf\xff\x30\x08\x32\x01\x10"),
    (Codec::Vp9, b"\x82\x49\x83\x42\x00\x13\xf0\x0e\xf0\x00"),
    (Codec::Vp8, b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xf0\x00\x00"),
    (Codec::Vvc, b"\xff\x00\x65"),
    (Codec::Opus, b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"),
    (Codec::Flac, b"fLaC\x80\0\0\x22\x12\x00\x12\x00\0\0\0\0\0\0\x0b\xb8\x02\xf0"),
    (Codec::Mp3, b"\xff\xfb\x94\x64"),
    (Codec::Ac3, b"\x0b\x77\xfe\x95\x14\x40\x43\xe1\x06"),
    (Codec::G711a, b"\xd5\xd5"),
    (Codec::Data, b"\x02\x00\x0aonMetaData\x05"),
];

/// Tracks declared and samples pushed in any order: every frame made says what its sample said, and comes out
/// again the same from its own samples. Input: choices.
pub fn elementary(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut bench = Bench::default();
    for _ in 0..STEPS {
        if choices.is_empty() {
            break;
        }
        let (codec, material) = changed(&mut choices, MATERIAL);
        let track = choices.below(2);
        match choices.below(8) {
            0 => bench.declare(track, codec, Some(&material)),
            1 => bench.declare(track, codec, None),
            // Declared as this codec if it was not before.
            2..=6 => bench.push_to_its_track(&sample(&mut choices, track, codec, material)),
            _ => bench.push(&sample(&mut choices, track, codec, material)),
        }
    }
}

/// A codec and bytes that mean something to it, or did before some were changed.
pub(super) fn changed(choices: &mut Choices<'_>, material: &[(Codec, &[u8])]) -> (Codec, Vec<u8>) {
    let below = u8::try_from(material.len()).unwrap_or(u8::MAX);
    let chosen = material.get(usize::from(choices.below(below))).copied();
    let (codec, bytes) = chosen.unwrap_or((Codec::Data, b""));
    let mut bytes = bytes.to_vec();
    for _ in 0..choices.below(4) {
        let at = usize::from(choices.byte()).checked_rem(bytes.len()).unwrap_or_default();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = choices.byte();
        }
    }
    if choices.below(8) == 0 {
        let more = usize::from(choices.byte());
        bytes.extend_from_slice(choices.slice(more));
        bytes.truncate(usize::from(choices.byte()));
    }
    (codec, bytes)
}

fn sample(choices: &mut Choices<'_>, track: u8, codec: Codec, data: Vec<u8>) -> Sample {
    let format = match (codec, choices.below(8)) {
        (_, 0) => Format::Adts,
        (_, 1) => Format::AnnexB,
        (Codec::H264 | Codec::Hevc, 2..=4) => Format::AnnexB,
        (Codec::Aac, 2..=4) => Format::Adts,
        _ => Format::Native,
    };
    let flags = choices.byte();
    let pts_ns = i64::from(choices.u32()) << choices.below(30);
    let offset = i64::from(choices.u32().cast_signed()) << choices.below(16);
    let dts_ns = (flags & 1 == 1).then(|| pts_ns.saturating_sub(offset));
    let (keyframe, config, discardable) = (flags & 2 != 0, flags & 12 == 12, flags & 16 != 0);
    Sample { track, format, dts_ns, keyframe, config, discardable, ..Sample::new(codec, pts_ns, data) }
}

/// A muxer, and what its frames are put through.
#[derive(Default)]
struct Bench {
    made: Remuxer,
    native: Demuxer,
    again: Remuxer,
    converting: Option<Demuxer>,
    converted: Remuxer,
}

impl Bench {
    fn declare(&mut self, track: u8, codec: Codec, extradata: Option<&[u8]>) {
        if self.made.muxer.set_track(track, codec, extradata).is_ok() {
            self.made.declared.insert((codec.kind(), track), codec);
        }
    }

    fn push_to_its_track(&mut self, sample: &Sample) {
        let made = self.made.push(sample);
        self.check(made, sample);
    }

    fn push(&mut self, sample: &Sample) {
        let made = self.made.muxer.push(sample);
        self.check(made, sample);
    }

    fn check(&mut self, made: Result<Frames>, sample: &Sample) {
        for frame in made.into_iter().flatten() {
            self.assert_says(&frame, sample);
            self.convert(&frame);
        }
    }

    /// A frame's native sample makes the same frame.
    fn assert_says(&mut self, frame: &Frame, source: &Sample) {
        let Ok(samples) = self.native.push(frame) else { panic!("native samples are not looked into") };
        assert_eq!(samples.len(), 1, "{frame:?}");
        for sample in samples {
            if !sample.config {
                let video = source.codec.kind() == Some(FrameKind::Video);
                let track = if frame.kind == FrameKind::Data { 0 } else { source.track };
                assert_eq!((sample.codec, sample.track), (source.codec, track));
                assert!(sample.keyframe || sample.discardable == (source.discardable && video));
            }
            let again = self.again.push(&sample).map(|frames| frames.to_vec());
            let same = match again.as_deref() {
                Ok([again]) => again == frame,
                // The header from before another codec had the track for a while, unused.
                Ok([]) => sample.config,
                _ => false,
            };
            assert!(same, "{frame:?} became {again:?}");
        }
    }

    /// Conversion fails, or gives what a muxer understands, whatever it may think of it.
    fn convert(&mut self, frame: &Frame) {
        let demuxer = self
            .converting
            .get_or_insert_with(|| Demuxer::new().with_format(Format::AnnexB).with_format(Format::Adts));
        for sample in demuxer.push(frame).into_iter().flatten() {
            let fits = matches!(
                (sample.format, sample.codec),
                (Format::Native, _)
                    | (Format::AnnexB, Codec::H264 | Codec::Hevc)
                    | (Format::Adts, Codec::Aac)
            );
            assert!(fits && !sample.data.is_empty());
            let made = self.converted.push(&sample).map_or(0, |frames| frames.len());
            assert!(made <= 3, "{made} frames of one");
        }
    }
}

/// A muxer that declares its tracks when they come.
#[derive(Default)]
struct Remuxer {
    muxer: Muxer,
    declared: HashMap<(Option<FrameKind>, u8), Codec>,
}

impl Remuxer {
    fn push(&mut self, sample: &Sample) -> Result<Frames> {
        let Sample { track, codec, .. } = *sample;
        if self.declared.get(&(codec.kind(), track)) != Some(&codec) {
            self.muxer.set_track(track, codec, None)?;
            self.declared.insert((codec.kind(), track), codec);
        }
        self.muxer.push(sample)
    }
}
