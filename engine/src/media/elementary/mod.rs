//! Elementary samples: coded frames of one track each, as encoders, demuxers and decoders have them.
//!
//! [`Muxer`] turns samples into [`Frame`]s (FLV tag bodies, legacy and Enhanced RTMP v2), [`Demuxer`] turns
//! frames into samples, [`FlvStream`] cuts an FLV byte stream into frames. Nothing here does I/O.
//!
//! ```
//! use streamengine::media::elementary::{Format, Muxer, Sample};
//! use streamengine::media::flv::Codec;
//!
//! # fn main() -> streamengine::Result<()> {
//! # let access_unit = &b"\0\0\0\x01\x67\x4d\x40\x1e\xd9\x80\0\0\0\x01\x68\xe9\x70\0\0\0\x01\x65\x88"[..];
//! # let (push, raw_aac) = (|_frame| {}, &b"\x21\x10"[..]);
//! let mut muxer = Muxer::new();
//! muxer.set_track(0, Codec::H264, None)?; // Parameter sets come in-band.
//! muxer.set_track(0, Codec::Aac, Some(&[0x12, 0x10]))?; // AAC LC, 44.1 kHz, stereo.
//! let video = Sample { format: Format::AnnexB, ..Sample::new(Codec::H264, 0, access_unit) };
//! muxer.push(&video)?.into_iter().for_each(push); // Two sequence headers and a keyframe.
//! muxer.push(&Sample::new(Codec::Aac, 0, raw_aac))?.into_iter().for_each(push);
//! # Ok(())
//! # }
//! ```

mod adts;
mod body;
mod demuxer;
mod flv_stream;
mod muxer;
mod nal;
mod obu;
mod parameter_sets;
mod records;
mod track;
mod vpx;

pub use demuxer::Demuxer;
pub use flv_stream::FlvStream;
pub use muxer::Muxer;
#[cfg(feature = "http")]
pub(crate) use records::is_needed as needs_record;

use super::flv::Codec;
use super::{Frame, FrameKind, NANOS_PER_MS};
use bytes::Bytes;
use smallvec::SmallVec;
use std::ops::Deref;

/// How the bytes of a sample are arranged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// As in FLV and MP4: NAL units behind their lengths (`avc`, `hvc1`), raw AAC, AV1 as a temporal unit of
    /// OBUs with sizes, and any other codec's frame as it is. The only format of codecs other than H.264,
    /// HEVC and AAC.
    #[default]
    Native,
    /// H.264 and HEVC: one access unit, NAL units behind start codes, parameter sets in-band
    /// (`byte-stream`).
    AnnexB,
    /// AAC: one or more frames, each with its ADTS header.
    Adts,
}

/// How a [`Muxer`] writes track 0 of the codecs that FLV has had from the start: H.264, AAC and MP3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyForm {
    /// In the tag bodies that every player knows.
    #[default]
    LegacyFirst,
    /// In those of Enhanced RTMP, with a FourCC.
    Enhanced,
}

/// A coded frame, configuration, or data event of one track.
///
/// A track is what [`codec`](Self::codec) is (audio, video or data) and [`track`](Self::track): video track 0 and
/// audio track 0 are two tracks, and what a player plays by default.
///
/// The data may be borrowed where it is only looked at: a [`Muxer`] copies it into the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample<D = Bytes> {
    /// The track's number among those of its kind. Only peers that know Enhanced RTMP v2 see more than track 0.
    pub track: u8,
    /// The track's codec; [`Codec::Data`] for AMF0 events such as `onMetaData`.
    pub codec: Codec,
    /// How [`data`](Self::data) is arranged.
    pub format: Format,
    /// Presentation time in nanoseconds. FLV keeps whole milliseconds.
    pub pts_ns: i64,
    /// Decoding time in nanoseconds; `None` is the presentation time. Only H.264, HEVC and VVC can have another.
    pub dts_ns: Option<i64>,
    /// Decoding of a video track can start here. When muxing, `false` leaves it to the data: keyframes of
    /// all video codecs but VVC are recognised. Always `false` for audio.
    pub keyframe: bool,
    /// The data is no coded frame but decoder configuration, in the form that [`Muxer::set_track`] takes; for
    /// [`Codec::Data`], that it is `onMetaData`.
    pub config: bool,
    /// No other frame refers to this one.
    pub discardable: bool,
    /// The bytes.
    pub data: D,
}

impl Sample {
    /// A sample of track 0 in native format, without flags, decoded when it is presented.
    pub fn new(codec: Codec, pts_ns: i64, data: impl Into<Bytes>) -> Self {
        Self {
            track: 0,
            codec,
            format: Format::Native,
            pts_ns,
            dts_ns: None,
            keyframe: false,
            config: false,
            discardable: false,
            data: data.into(),
        }
    }
}

impl<D: AsRef<[u8]>> Sample<D> {
    /// The same with borrowed data.
    fn borrowed(&self) -> Sample<&[u8]> {
        Sample {
            track: self.track,
            codec: self.codec,
            format: self.format,
            pts_ns: self.pts_ns,
            dts_ns: self.dts_ns,
            keyframe: self.keyframe,
            config: self.config,
            discardable: self.discardable,
            data: self.data.as_ref(),
        }
    }
}

/// A few values in order: most calls give none, one or two, which takes no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<T>(SmallVec<[T; 2]>);

/// What [`Muxer`] makes of a sample.
pub type Frames = Batch<Frame>;

/// What [`Demuxer`] makes of a frame.
pub type Samples = Batch<Sample>;

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<T> Deref for Batch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self.0.into_iter())
    }
}

/// Iterator over a [`Batch`]'s values.
#[derive(Debug)]
pub struct IntoIter<T>(smallvec::IntoIter<[T; 2]>);

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> ExactSizeIterator for IntoIter<T> {}

/// The access unit delimiter that `access_unit`, in [`Format::AnnexB`], does not begin with; empty where it does, and for
/// codecs without NAL units.
#[cfg(feature = "http")]
pub(super) fn missing_delimiter(codec: Codec, access_unit: &[u8]) -> &'static [u8] {
    nal::NalCodec::of(codec).map_or(&[], |codec| codec.missing_delimiter(access_unit))
}

/// Whether ADTS can say what an AudioSpecificConfig says.
#[cfg(feature = "http")]
pub(super) fn has_adts(record: &[u8]) -> bool {
    adts::AdtsConfig::from_record(record).is_some()
}

/// Nanoseconds to the nearest millisecond.
fn millis(nanos: i64) -> i64 {
    nanos.saturating_add(NANOS_PER_MS / 2).div_euclid(NANOS_PER_MS)
}

fn nanos(millis: i64) -> i64 {
    millis.saturating_mul(NANOS_PER_MS)
}

/// How errors call a track: `video track 0 (H.264)`.
fn name(codec: Codec, track: u8) -> String {
    let kind = match codec.kind() {
        Some(FrameKind::Video) => "video ",
        Some(FrameKind::Audio) => "audio ",
        _ => "",
    };
    format!("{kind}track {track} ({codec})")
}
