//! Coded frames as samples of MP4, one by one: what a sample says does not depend on those around it, so that whoever writes
//! a frame writes the same.
//!
//! A time is the frame's own, in milliseconds and with the nanoseconds that Enhanced RTMP may add, in units in which both kinds
//! of track are exact whatever their rates are.

use super::Sample;
use crate::media::codec::audio_frame;
use crate::media::flv::{Codec, PayloadInfo, Track, browser};
use crate::media::{Frame, FrameKind};

/// Units of a millisecond of video: 90 kHz.
const VIDEO_PER_MS: u32 = 90;
/// The same of audio: 28,224,000 is the least multiple of all sample rates of AAC and of 1,000.
const AUDIO_PER_MS: u32 = 28_224;

const NANOS_PER_MS: u64 = 1_000_000;

/// Units of a second of a track of this kind.
pub(crate) fn timescale(kind: FrameKind) -> u32 {
    per_ms(kind).saturating_mul(1_000)
}

/// Units of a millisecond.
pub(super) fn per_ms(kind: FrameKind) -> u32 {
    match kind {
        FrameKind::Video => VIDEO_PER_MS,
        FrameKind::Audio | FrameKind::Data => AUDIO_PER_MS,
    }
}

/// Whether MP4 has a form for a codec, as the payloads of a track have it: legacy, or Enhanced RTMP.
pub(crate) fn carries(codec: Codec, is_enhanced: bool) -> bool {
    match codec {
        Codec::H264 | Codec::Hevc | Codec::Av1 | Codec::Vp9 => true,
        Codec::Aac | Codec::Mp3 | Codec::Ac3 | Codec::Eac3 => true,
        // The legacy form of Chinese networks has no configuration.
        Codec::Opus | Codec::Flac => is_enhanced,
        _ => false,
    }
}

/// What is known of a coded frame but its time and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodedFrame {
    /// Milliseconds from its decoding until it is shown.
    composition_ms: i32,
    /// Nanoseconds that belong to its time.
    nanos: u32,
    is_sync: bool,
    /// How long it lasts, where it tells that itself.
    duration: Option<u32>,
}

impl CodedFrame {
    /// A frame's part of a track, and its bytes; `None` where it is no coded frame of it that MP4 has a form for.
    pub(crate) fn of(frame: &Frame, track: u8) -> Option<(Self, &[u8])> {
        let (info, its) = coded(frame, track)?;
        let is_start = frame.flags.keyframe || frame.flags.recovery;
        let coded = Self {
            composition_ms: its.composition_time,
            nanos: info.nanos,
            is_sync: is_start || frame.kind == FrameKind::Audio,
            duration: duration(its.codec, its.data),
        };
        Some((coded, its.data))
    }

    /// The sample that it is at `timestamp`, in milliseconds; time before 0 there is not.
    pub(crate) fn sample(&self, kind: FrameKind, timestamp: i64, size: usize) -> Sample {
        let per_ms = per_ms(kind);
        let rest = u64::from(self.nanos).saturating_mul(per_ms.into()).saturating_add(NANOS_PER_MS / 2)
            / NANOS_PER_MS;
        let whole = u64::try_from(timestamp).unwrap_or_default().saturating_mul(per_ms.into());
        Sample {
            time: whole.saturating_add(rest),
            composition: self.composition_ms.saturating_mul(per_ms.try_into().unwrap_or_default()),
            is_sync: self.is_sync,
            duration: self.duration,
            size: u32::try_from(size).unwrap_or(u32::MAX),
        }
    }
}

/// The part of a coded frame that is of a track.
pub(super) fn coded(frame: &Frame, track: u8) -> Option<(PayloadInfo, Track<'_>)> {
    // Not what is empty either: browsers end at a NAL unit of no bytes.
    if !frame.has_media() {
        return None;
    }
    let info = PayloadInfo::parse(frame.kind, &frame.payload)?;
    let its = info.tracks(&frame.payload).find(|its| its.id == track)?;
    let is_carried = its.codec.kind() == Some(frame.kind)
        && carries(its.codec, browser::is_enhanced(frame.kind, &frame.payload));
    (is_carried && !its.data.is_empty()).then_some((info, its))
}

/// How long a frame of audio lasts that tells it, in units of its track.
fn duration(codec: Codec, data: &[u8]) -> Option<u32> {
    match codec {
        Codec::Aac | Codec::Flac => None,
        codec => Some(audio_frame(codec, data)?.period?.ticks(timescale(FrameKind::Audio))),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::testing::{audio, keyframe, no_media, video_header};
    use bytes::Bytes;

    fn frame(kind: FrameKind, payload: &[u8]) -> Frame {
        Frame::new(kind, 40, Bytes::copy_from_slice(payload))
    }

    fn sample(frame: &Frame) -> Option<(Sample, &[u8])> {
        let (coded, data) = CodedFrame::of(frame, frame.flags.track)?;
        Some((coded.sample(frame.kind, frame.timestamp, data.len()), data))
    }

    #[test]
    fn a_unit_of_audio_is_exact_for_all_rates_and_milliseconds() {
        let scale = timescale(FrameKind::Audio);
        for rate in [
            96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
            7_350, 1_000,
        ] {
            assert_eq!(scale % rate, 0, "{rate}");
        }
        assert_eq!(timescale(FrameKind::Video), 90_000);
    }

    #[test]
    fn a_frame_has_its_own_time_with_its_nanoseconds_in_units_of_its_track() {
        let legacy = frame(FrameKind::Video, b"\x27\x01\xff\xff\xd8data!");
        let expected = Sample { time: 3_600, composition: -3_600, is_sync: false, duration: None, size: 5 };
        assert_eq!(sample(&legacy), Some((expected, &b"data!"[..])));
        let nanos = frame(FrameKind::Video, b"\x97\x02\x07\xa1\x20\x01hvc1\0\0\x05data!");
        let (exact, _) = sample(&nanos).unwrap();
        assert_eq!((exact.time, exact.composition, exact.is_sync), (3_600 + 45, 450, true), "half a ms");
        let opus = frame(FrameKind::Audio, b"\x97\x02\x07\xa1\x20\x01Opus\xfcdata");
        let (exact, data) = sample(&opus).unwrap();
        assert_eq!((exact.time, exact.duration), (40_500 * 28_224 / 1_000, Some(20 * 28_224)));
        assert_eq!(data, b"\xfcdata");
        assert_eq!(sample(&audio(-5)).unwrap().0.time, 0);
        let late = 1_i64 << 52;
        assert_eq!(sample(&keyframe(late, 9)).unwrap().0.time, (1_u64 << 52) * 90);
        assert_eq!(sample(&keyframe(i64::MAX, 9)).unwrap().0.time, u64::MAX);
    }

    #[test]
    fn a_track_is_taken_out_of_several() {
        let many = frame(FrameKind::Video, b"\xa6\x13av01\x00\x00\x00\x02ab\x07\x00\x00\x03cde");
        let data = |track| CodedFrame::of(&many, track).map(|(_, data)| data);
        assert_eq!((data(0), data(7), data(1)), (Some(&b"ab"[..]), Some(&b"cde"[..]), None));
    }

    #[test]
    fn what_has_nothing_to_decode_or_no_form_is_no_sample() {
        for (what, frame) in no_media() {
            assert_eq!(CodedFrame::of(&frame, 0), None, "{what}");
        }
        assert_eq!(CodedFrame::of(&video_header(0), 0), None);
        for (kind, payload) in [
            (FrameKind::Video, &b"\x92\0vp6 data"[..]),
            (FrameKind::Video, b"\x91vp08data"),
            (FrameKind::Video, b"\x93vvc1data"),
            (FrameKind::Audio, b"\xb2speex"),
            (FrameKind::Audio, b"\xd2old opus"),
            (FrameKind::Audio, b"\x91avc1data"),
            (FrameKind::Video, b"\x91mp4adata"),
        ] {
            assert_eq!(CodedFrame::of(&frame(kind, payload), 0), None, "{payload:?}");
        }
    }
}
