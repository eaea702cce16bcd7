//! Frames as C sees them: codecs, formats, flags, the structure for both directions, and references to frames.

use crate::handle::{self, Handle};
use crate::status::{Failure, Outcome, guard_or, se_status};
use bytes::Bytes;
use std::ffi::{CStr, c_char};
use std::mem::{offset_of, size_of};
use std::time::Duration;
use streamengine::media::elementary::{Format, Sample};
use streamengine::media::flv::Codec;
use streamengine::media::{Frame, FrameKind};

/// How the payload of a frame is coded. New ones may be added.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_codec {
    /// None, or (out) one without a number here: `flv_body` has all of it.
    SE_CODEC_NONE = 0,
    /// H.264 / AVC.
    SE_CODEC_H264 = 1,
    /// H.265 / HEVC.
    SE_CODEC_HEVC = 2,
    /// AV1.
    SE_CODEC_AV1 = 3,
    /// VP9.
    SE_CODEC_VP9 = 4,
    /// VP8.
    SE_CODEC_VP8 = 5,
    /// H.266 / VVC.
    SE_CODEC_VVC = 6,
    /// AAC.
    SE_CODEC_AAC = 64,
    /// MP3.
    SE_CODEC_MP3 = 65,
    /// Opus.
    SE_CODEC_OPUS = 66,
    /// FLAC.
    SE_CODEC_FLAC = 67,
    /// Dolby AC-3.
    SE_CODEC_AC3 = 68,
    /// Dolby E-AC-3.
    SE_CODEC_EAC3 = 69,
    /// G.711 A-law.
    SE_CODEC_PCM_ALAW = 70,
    /// G.711 mu-law.
    SE_CODEC_PCM_MULAW = 71,
    /// A data message such as `onMetaData`, in AMF0.
    SE_CODEC_DATA = 128,
}

use se_codec::*;

/// Every codec with its name, and as the engine has it.
const CODECS: [(se_codec, &CStr, Option<Codec>); 16] = [
    (SE_CODEC_NONE, c"none", None),
    (SE_CODEC_H264, c"H.264", Some(Codec::H264)),
    (SE_CODEC_HEVC, c"HEVC", Some(Codec::Hevc)),
    (SE_CODEC_AV1, c"AV1", Some(Codec::Av1)),
    (SE_CODEC_VP9, c"VP9", Some(Codec::Vp9)),
    (SE_CODEC_VP8, c"VP8", Some(Codec::Vp8)),
    (SE_CODEC_VVC, c"VVC", Some(Codec::Vvc)),
    (SE_CODEC_AAC, c"AAC", Some(Codec::Aac)),
    (SE_CODEC_MP3, c"MP3", Some(Codec::Mp3)),
    (SE_CODEC_OPUS, c"Opus", Some(Codec::Opus)),
    (SE_CODEC_FLAC, c"FLAC", Some(Codec::Flac)),
    (SE_CODEC_AC3, c"AC-3", Some(Codec::Ac3)),
    (SE_CODEC_EAC3, c"E-AC-3", Some(Codec::Eac3)),
    (SE_CODEC_PCM_ALAW, c"G.711 A-law", Some(Codec::G711a)),
    (SE_CODEC_PCM_MULAW, c"G.711 mu-law", Some(Codec::G711u)),
    (SE_CODEC_DATA, c"data", Some(Codec::Data)),
];

impl se_codec {
    /// The names of all codecs that frames can have.
    pub(crate) fn names() -> impl Iterator<Item = String> {
        CODECS.iter().skip(1).map(|(_, name, _)| name.to_string_lossy().into_owned())
    }

    /// The number of a codec of the engine, if it has one.
    fn of(codec: Codec) -> Option<Self> {
        CODECS.iter().find(|(.., known)| *known == Some(codec)).map(|(number, ..)| *number)
    }
}

/// The name of a codec: `"H.264"`.
///
/// @param codec Any number; for one that is no `se_codec` the answer is `"unknown"`.
/// @return Never NULL, valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn se_codec_name(codec: i32) -> *const c_char {
    let found = CODECS.iter().find(|(known, ..)| *known as i32 == codec);
    found.map_or(c"unknown", |(_, name, _)| name).as_ptr()
}

/// The form in which the bytes of a frame are.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_format {
    /// As in FLV and MP4: NAL units with a 4-byte length before each (H.264, HEVC, VVC), raw AAC, AV1 as a temporal
    /// unit of OBUs with sizes and without temporal delimiter. A frame with `SE_FRAME_CONFIG` is the decoder's
    /// configuration record (avcC, hvcC, av1C, AudioSpecificConfig, OpusHead ...).
    SE_FORMAT_NATIVE = 0,
    /// H.264 and HEVC as a byte stream with start codes, one access unit a frame. In only. Parameter sets are taken
    /// out of the stream; no configuration needs to be given.
    SE_FORMAT_ANNEXB = 1,
    /// AAC, one or more frames with an ADTS header before each. In only. No configuration needs to be given.
    SE_FORMAT_ADTS = 2,
    /// The body of one FLV tag as it is, of the kind that `flv_type` says. In only. Of the frame's other fields only the
    /// decoding time is looked at.
    SE_FORMAT_FLV = 3,
}

/// Flag of a frame: decoding can start here. On audio it says nothing.
pub const SE_FRAME_KEY: u32 = 1;
/// Flag of a frame: it is no picture or sound but the decoder's configuration, or metadata.
pub const SE_FRAME_CONFIG: u32 = 2;
/// Flag of a frame: no other frame refers to it.
pub const SE_FRAME_DISCARDABLE: u32 = 4;
/// Flag of a frame, out only: frames are missing before it, because the reader was too slow. It may be on configuration,
/// which is repeated then.
pub const SE_FRAME_DISCONT: u32 = 8;

/// One audio or video frame, or a data message, in both directions.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct se_frame {
    /// `sizeof(se_frame)`.
    pub struct_size: usize,
    /// One of `se_codec`.
    pub codec: i32,
    /// One of `se_format`; out always `SE_FORMAT_NATIVE`.
    pub format: i32,
    /// The track: 0 unless the stream has several of a kind. Audio and video are counted apart.
    pub track: u32,
    /// `SE_FRAME_KEY` and others, or-ed. In: keyframes are also found out from the data, of all codecs but VVC.
    pub flags: u32,
    /// When it is shown, in nanoseconds; `SE_TIME_UNSET` is `dts_ns`. RTMP carries whole milliseconds: it is rounded
    /// to them.
    pub pts_ns: i64,
    /// When it is decoded, in nanoseconds; `SE_TIME_UNSET` is `pts_ns`. Must not decrease within a track.
    pub dts_ns: i64,
    /// The payload in the form of `format`. Out: borrowed, valid as long as the callback runs or the reference lives.
    /// Out, where `codec` is `SE_CODEC_NONE`: empty.
    pub data: *const u8,
    /// Bytes in `data`.
    pub len: usize,
    /// Out only: the body of the FLV tag (of the RTMP message), byte for byte as it was published. `data` lies in it. Where
    /// one tag holds frames of several tracks, it is with the first of them only.
    pub flv_body: *const u8,
    /// Bytes in `flv_body`.
    pub flv_body_len: usize,
    /// The type of that tag: 8 for audio, 9 for video, 18 for data (script). In only with `SE_FORMAT_FLV`.
    pub flv_type: i32,
    /// Not used.
    pub reserved: i32,
}

/// A frame that the program holds: counted, not copied.
pub struct se_frame_ref {
    _opaque: [u8; 0],
}

impl Handle for se_frame_ref {
    type Behind = FrameView;
    const NAME: &'static str = "frame";
}

/// Looks at a frame.
///
/// @param frame The frame.
/// @return Valid until this reference is freed; NULL on error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_frame_ref_get(frame: *const se_frame_ref) -> *const se_frame {
    guard_or(std::ptr::null(), || Ok(handle::borrow(frame)?.as_c()))
}

/// Another reference to the same frame, without a copy of its bytes. References are freed one by one and may be used on
/// any thread.
///
/// @param frame The frame.
/// @return To be freed with `se_frame_ref_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_frame_ref_clone(frame: *const se_frame_ref) -> *mut se_frame_ref {
    guard_or(std::ptr::null_mut(), || {
        let shown = handle::borrow(frame)?;
        Ok(handle::give(FrameView::clone(&shown)))
    })
}

/// Frees a reference to a frame.
///
/// @param frame NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_frame_ref_free(frame: *mut se_frame_ref) {
    guard_or((), || handle::free(frame));
}

/// A frame in the form for C, with the bytes that it points to. Cloning it copies none of them.
#[derive(Clone)]
pub(crate) struct FrameView {
    frame: se_frame,
    /// What `frame.data` points to, and `frame.flv_body`.
    _bytes: (Bytes, Bytes),
}

// SAFETY: the pointers point into `_bytes`, which is immutable and lives as long; `Bytes` itself is `Send` and `Sync`.
unsafe impl Send for FrameView {}
// SAFETY: as above.
unsafe impl Sync for FrameView {}

impl FrameView {
    /// One of a frame's samples, without its tag; `None` where C has no number for its codec.
    pub(crate) fn sample(sample: Sample, kind: FrameKind) -> Option<Self> {
        let codec = se_codec::of(sample.codec)?;
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        let flags = flag(sample.keyframe, SE_FRAME_KEY)
            | flag(sample.config, SE_FRAME_CONFIG)
            | flag(sample.discardable, SE_FRAME_DISCARDABLE);
        let frame = se_frame {
            codec: codec as i32,
            track: sample.track.into(),
            flags,
            pts_ns: sample.pts_ns,
            dts_ns: sample.dts_ns.unwrap_or(sample.pts_ns),
            flv_type: kind.type_id().into(),
            ..se_frame::EMPTY
        };
        Some(Self::new(frame, sample.data, Bytes::new()))
    }

    /// A frame that has no form but its FLV tag's.
    pub(crate) fn tag(frame: &Frame) -> Self {
        let at = nanos(frame.timestamp);
        let keyframe = if frame.flags.keyframe { SE_FRAME_KEY } else { 0 };
        let config = if frame.is_config() { SE_FRAME_CONFIG } else { 0 };
        let shown = se_frame {
            flags: keyframe | config,
            pts_ns: at,
            dts_ns: at,
            flv_type: frame.kind.type_id().into(),
            ..se_frame::EMPTY
        };
        Self::new(shown, Bytes::new(), frame.payload.clone())
    }

    fn new(mut frame: se_frame, data: Bytes, body: Bytes) -> Self {
        (frame.data, frame.len) = (data.as_ptr(), data.len());
        (frame.flv_body, frame.flv_body_len) = (body.as_ptr(), body.len());
        Self { frame, _bytes: (data, body) }
    }

    /// The same with its tag's body.
    pub(crate) fn with_body(mut self, body: Bytes) -> Self {
        (self.frame.flv_body, self.frame.flv_body_len) = (body.as_ptr(), body.len());
        self._bytes.1 = body;
        self
    }

    /// The same, marked as the first one after a gap.
    pub(crate) fn after_gap(mut self) -> Self {
        self.frame.flags |= SE_FRAME_DISCONT;
        self
    }

    /// What C sees; valid as long as `self`.
    pub(crate) fn as_c(&self) -> *const se_frame {
        &raw const self.frame
    }
}

impl se_frame {
    /// With every field unset.
    pub(crate) const EMPTY: Self = Self {
        struct_size: size_of::<Self>(),
        codec: SE_CODEC_NONE as i32,
        format: se_format::SE_FORMAT_NATIVE as i32,
        track: 0,
        flags: 0,
        pts_ns: TIME_UNSET,
        dts_ns: TIME_UNSET,
        data: std::ptr::null(),
        len: 0,
        flv_body: std::ptr::null(),
        flv_body_len: 0,
        flv_type: 0,
        reserved: 0,
    };

    /// What of it every program has.
    const SHORTEST: usize = offset_of!(Self, len) + size_of::<usize>();
}

/// `SE_TIME_UNSET`.
const TIME_UNSET: i64 = i64::MIN;

/// A frame that the program pushes, checked; its bytes are the program's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameArg<'a> {
    frame: &'a se_frame,
}

impl<'a> FrameArg<'a> {
    /// Looks at a frame that the program has filled in. One of a program that knows less of the structure is completed
    /// in `complete`; any other is not copied, which would show.
    ///
    /// # Safety
    /// `frame` is NULL or points to an `se_frame`, of which as many bytes can be read as `struct_size` says and nobody
    /// changes any while the result lives.
    pub(crate) unsafe fn look(frame: *const se_frame, complete: &'a mut se_frame) -> Outcome<Self> {
        if frame.is_null() {
            return Err(handle::null("frame"));
        }
        // SAFETY: by the contract; it is the first field.
        let size = unsafe { (&raw const (*frame).struct_size).read() };
        if size >= size_of::<se_frame>() {
            // SAFETY: by the contract all of it can be read; its fields are numbers and pointers.
            return Ok(Self { frame: unsafe { &*frame } });
        }
        if size < se_frame::SHORTEST {
            let text = format!("frame: struct_size {size} is too small; set it to sizeof(se_frame)");
            return Err(Failure::argument(text));
        }
        let to: *mut se_frame = complete;
        // SAFETY: by the contract `size` bytes can be read, and there is room for more; the fields are numbers and
        // pointers, for which all bytes are valid.
        unsafe { std::ptr::copy_nonoverlapping(frame.cast::<u8>(), to.cast::<u8>(), size) };
        Ok(Self { frame: complete })
    }

    /// The bytes.
    ///
    /// # Safety
    /// `data` of the frame can be read for `len` bytes, and stays as it is while the result lives.
    pub(crate) unsafe fn data(&self) -> Outcome<&'a [u8]> {
        // SAFETY: by the contract.
        unsafe { bytes(self.frame.data, self.frame.len, "frame->data") }
    }

    /// Whether the data is the body of an FLV tag.
    pub(crate) fn is_tag(&self) -> bool {
        self.frame.format == se_format::SE_FORMAT_FLV as i32
    }

    /// The kind of that tag.
    pub(crate) fn tag_kind(&self) -> Outcome<FrameKind> {
        kind_of_tag(self.frame.flv_type).map_err(|failure| failure.context("frame->flv_type"))
    }

    /// Decoding time in milliseconds.
    pub(crate) fn timestamp(&self) -> Outcome<i64> {
        let (pts_ns, dts_ns) = self.times()?;
        // As the engine rounds: to the nearest.
        Ok(dts_ns.unwrap_or(pts_ns).saturating_add(NANOS_PER_MS / 2).div_euclid(NANOS_PER_MS))
    }

    /// The frame with `data` as the engine has it.
    #[inline]
    pub(crate) fn sample<'d>(&self, data: &'d [u8]) -> Outcome<Sample<&'d [u8]>> {
        let (pts_ns, dts_ns) = self.times()?;
        Ok(Sample {
            track: track(self.frame.track)?,
            codec: codec(self.frame.codec)?,
            format: self.format()?,
            pts_ns,
            dts_ns,
            keyframe: self.has(SE_FRAME_KEY),
            config: self.has(SE_FRAME_CONFIG),
            discardable: self.has(SE_FRAME_DISCARDABLE),
            data,
        })
    }

    fn has(&self, flag: u32) -> bool {
        self.frame.flags & flag != 0
    }

    fn times(&self) -> Outcome<(i64, Option<i64>)> {
        match (self.frame.pts_ns, self.frame.dts_ns) {
            (TIME_UNSET, TIME_UNSET) => Err(Failure::argument("frame: neither pts_ns nor dts_ns is set")),
            (TIME_UNSET, dts_ns) => Ok((dts_ns, None)),
            (pts_ns, TIME_UNSET) => Ok((pts_ns, None)),
            (pts_ns, dts_ns) => Ok((pts_ns, Some(dts_ns))),
        }
    }

    fn format(&self) -> Outcome<Format> {
        match self.frame.format {
            0 => Ok(Format::Native),
            1 => Ok(Format::AnnexB),
            2 => Ok(Format::Adts),
            other => Err(Failure::argument(format!("frame: there is no format {other}"))),
        }
    }
}

const NANOS_PER_MS: i64 = Duration::from_millis(1).as_nanos() as i64;

fn nanos(ms: i64) -> i64 {
    ms.saturating_mul(NANOS_PER_MS)
}

/// Bytes that the program points to; none for a NULL of length 0.
///
/// # Safety
/// `data` is NULL or can be read for `len` bytes, which stay as they are while the result lives.
pub(crate) unsafe fn bytes<'a>(data: *const u8, len: usize, name: &str) -> Outcome<&'a [u8]> {
    match (data.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(handle::null(name)),
        (false, len) if isize::try_from(len).is_err() => {
            Err(Failure::new(se_status::SE_E_LIMIT, format!("{name}: no memory has {len} bytes")))
        }
        // SAFETY: by the contract; not NULL, and no longer than memory can be.
        (false, len) => Ok(unsafe { std::slice::from_raw_parts(data, len) }),
    }
}

/// The engine's codec of a number.
pub(crate) fn codec(number: i32) -> Outcome<Codec> {
    let found = CODECS.iter().find(|(codec, ..)| *codec as i32 == number);
    found.and_then(|(_, _, codec)| *codec).ok_or_else(|| {
        Failure::new(se_status::SE_E_UNSUPPORTED, format!("codec {number}: RTMP cannot carry it"))
    })
}

/// The engine's track of a number.
pub(crate) fn track(number: u32) -> Outcome<u8> {
    u8::try_from(number).map_err(|_| Failure::argument(format!("track {number}: the highest is 255")))
}

/// The kind of an FLV tag's type.
#[inline]
pub(crate) fn kind_of_tag(number: i32) -> Outcome<FrameKind> {
    match number {
        8 => Ok(FrameKind::Audio),
        9 => Ok(FrameKind::Video),
        18 => Ok(FrameKind::Data),
        other => Err(Failure::argument(format!("there is no tag type {other}, but 8, 9 and 18"))),
    }
}
