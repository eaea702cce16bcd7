//! The first bytes of audio and video payloads, legacy and Enhanced RTMP.
//!
//! Sources: Adobe FLV specification 10.1 annex E, and Enhanced RTMP v2 (Veovera) for what follows bit 7 of a
//! video payload's first byte and sound format 9.

pub(crate) mod browser;
mod finder;
mod recovery;
mod tag;

pub use finder::LeftOut;
pub(crate) use finder::{FoundTag, Problem, TagFinder};
pub use tag::{
    FILE_HEADER_LEN, FileHeader, HeaderError, MAX_TAG_PAYLOAD, TAG_HEADER_LEN, TagContent, TagFraming,
    TagHeader, encode_tag,
};

use super::{ConfigSlot, FrameFlags, FrameKind};
use std::fmt;

/// The slot of `onMetaData`; it sorts before those of video and audio configuration.
pub const METADATA_SLOT: ConfigSlot = ConfigSlot(0);

/// `onMetaData` as the AMF0 string that starts a data payload.
pub(crate) const ON_METADATA: &[u8] = b"\x02\x00\x0aonMetaData";

/// Data payloads that ffmpeg takes for what they are, a track of subtitles, begin so.
const TEXTS: [&[u8]; 2] = [b"\x02\x00\x0aonTextData", b"\x02\x00\x09onCaption"];

/// Whether a data payload is of a track of subtitles.
pub(crate) fn is_text(payload: &[u8]) -> bool {
    TEXTS.iter().any(|name| payload.starts_with(name))
}

/// `@setDataFrame` as an AMF0 string: what encoders put before the name of a data event.
pub(crate) const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// Reads what a payload is from its first bytes. Never fails: an unknown payload has no flags.
pub fn classify(kind: FrameKind, payload: &[u8]) -> FrameFlags {
    if kind == FrameKind::Data {
        let config = payload.starts_with(ON_METADATA).then_some(METADATA_SLOT);
        return FrameFlags { config, ..FrameFlags::default() };
    }
    let Some(info) = PayloadInfo::parse(kind, payload) else {
        return FrameFlags::default();
    };
    let coded = info.packet.is_coded();
    let is_key = matches!(info.frame_type, FrameType::Key | FrameType::GeneratedKey);
    let keyframe = coded && kind == FrameKind::Video && is_key;
    FrameFlags {
        keyframe,
        recovery: coded && kind == FrameKind::Video && !is_key && recovery::is_point(&info, payload),
        config: config_slot(kind, &info),
        discardable: coded && info.frame_type == FrameType::Disposable,
        track: info.track,
    }
}

/// Whether there is something to decode in an audio or video payload: no configuration, command or end of a sequence, and not a
/// header with nothing behind it. What the codec makes of it is not looked at.
pub(crate) fn has_media(kind: FrameKind, payload: &[u8]) -> bool {
    // Nearly all frames: H.264 and its like behind four bytes of header, AAC behind one.
    match (kind, payload) {
        (FrameKind::Video, [0x17 | 0x27, 1, _, _, _, body @ ..]) if body.len() > LENGTH_FIELD => return true,
        (FrameKind::Audio, [0xa0..0xb0, 1, body @ ..]) => return !body.is_empty(),
        _ => {}
    }
    let is_nothing = |data: &[u8]| match kind {
        // The length of a NAL unit without one.
        FrameKind::Video => data.len() <= LENGTH_FIELD && data.iter().all(|&byte| byte == 0),
        _ => data.is_empty(),
    };
    PayloadInfo::parse(kind, payload).is_some_and(|info| {
        info.packet.is_coded() && !info.tracks(payload).all(|track| is_nothing(track.data))
    })
}

/// Bytes before each NAL unit that say how long it is.
const LENGTH_FIELD: usize = 4;

/// A data payload without a leading `@setDataFrame`.
pub fn strip_set_data_frame(payload: bytes::Bytes) -> bytes::Bytes {
    if payload.starts_with(SET_DATA_FRAME) { payload.slice(SET_DATA_FRAME.len()..) } else { payload }
}

/// The slot of a configuration payload: kind, packet type, layout and (first) track.
fn config_slot(kind: FrameKind, info: &PayloadInfo) -> Option<ConfigSlot> {
    let packet: u32 = match info.packet {
        PacketType::SequenceStart => 0,
        PacketType::Mpeg2TsSequenceStart => 1,
        PacketType::MultichannelConfig => 2,
        PacketType::Metadata => 3,
        _ => return None,
    };
    let kind: u32 = if kind == FrameKind::Video { 1 } else { 2 };
    // A message with several tracks must not replace, or be replaced by, one with its first track only.
    let many: u32 = u32::from(matches!(info.layout, TrackLayout::Many | TrackLayout::ManyCodecs));
    Some(ConfigSlot((kind << 24) | (packet << 16) | (many << 8) | u32::from(info.track)))
}

/// Whether a slot is for a decoder configuration record.
pub(crate) fn is_sequence_start(slot: ConfigSlot) -> bool {
    slot.kind().is_some() && (slot.0 >> 16) & 0xff <= 1
}

impl ConfigSlot {
    /// The kind of the frames that the slot's configuration is for; `None` for `onMetaData`.
    pub fn kind(self) -> Option<FrameKind> {
        match self.0 >> 24 {
            1 => Some(FrameKind::Video),
            2 => Some(FrameKind::Audio),
            _ => None,
        }
    }
}

/// How audio or video is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// H.264 / AVC: legacy id 7, `avc1`.
    H264,
    /// H.265 / HEVC: `hvc1`, and id 12 of Chinese networks.
    Hevc,
    /// AV1: `av01`, and id 13 of Chinese networks.
    Av1,
    /// VP8: `vp08`.
    Vp8,
    /// VP9: `vp09`.
    Vp9,
    /// H.266 / VVC: `vvc1`.
    Vvc,
    /// Sorenson H.263: legacy id 2.
    SorensonH263,
    /// On2 VP6, with or without alpha: legacy ids 4 and 5.
    Vp6,
    /// Screen video 1 and 2: legacy ids 3 and 6.
    ScreenVideo,
    /// AAC: legacy format 10, `mp4a`.
    Aac,
    /// MP3: legacy formats 2 and 14, `.mp3`.
    Mp3,
    /// Opus: `Opus`, and format 13 of Chinese networks.
    Opus,
    /// FLAC: `fLaC`.
    Flac,
    /// Dolby AC-3: `ac-3`.
    Ac3,
    /// Dolby E-AC-3: `ec-3`.
    Eac3,
    /// G.711 A-law: legacy format 7.
    G711a,
    /// G.711 mu-law: legacy format 8.
    G711u,
    /// Speex at 16 kHz: legacy format 11.
    Speex,
    /// Nellymoser: legacy formats 4 to 6.
    Nellymoser,
    /// Linear PCM: legacy formats 0 and 3.
    Pcm,
    /// ADPCM: legacy format 1.
    Adpcm,
    /// No codec: AMF0 data such as `onMetaData`.
    Data,
    /// Another code of Enhanced RTMP.
    FourCc([u8; 4]),
    /// Another legacy number.
    Legacy(u8),
}

impl Codec {
    /// The codec of an Enhanced RTMP FourCC.
    pub fn from_fourcc(code: [u8; 4]) -> Self {
        match &code {
            b"avc1" => Self::H264,
            b"hvc1" => Self::Hevc,
            b"vvc1" => Self::Vvc,
            b"av01" => Self::Av1,
            b"vp08" => Self::Vp8,
            b"vp09" => Self::Vp9,
            b"mp4a" => Self::Aac,
            b".mp3" => Self::Mp3,
            b"Opus" => Self::Opus,
            b"fLaC" => Self::Flac,
            b"ac-3" => Self::Ac3,
            b"ec-3" => Self::Eac3,
            _ => Self::FourCc(code),
        }
    }

    /// The FourCC of Enhanced RTMP; `None` for codecs without one.
    pub fn fourcc(self) -> Option<[u8; 4]> {
        let code = match self {
            Self::H264 => b"avc1",
            Self::Hevc => b"hvc1",
            Self::Vvc => b"vvc1",
            Self::Av1 => b"av01",
            Self::Vp8 => b"vp08",
            Self::Vp9 => b"vp09",
            Self::Aac => b"mp4a",
            Self::Mp3 => b".mp3",
            Self::Opus => b"Opus",
            Self::Flac => b"fLaC",
            Self::Ac3 => b"ac-3",
            Self::Eac3 => b"ec-3",
            Self::FourCc(code) => return Some(code),
            _ => return None,
        };
        Some(*code)
    }

    /// The codec of a legacy video codec id (low four bits of the first byte).
    pub fn from_video_id(id: u8) -> Self {
        match id {
            2 => Self::SorensonH263,
            3 | 6 => Self::ScreenVideo,
            4 | 5 => Self::Vp6,
            7 => Self::H264,
            12 => Self::Hevc,
            13 => Self::Av1,
            other => Self::Legacy(other),
        }
    }

    /// The codec of a legacy sound format (high four bits of the first byte).
    pub fn from_sound_format(format: u8) -> Self {
        match format {
            0 | 3 => Self::Pcm,
            1 => Self::Adpcm,
            2 | 14 => Self::Mp3,
            4..=6 => Self::Nellymoser,
            7 => Self::G711a,
            8 => Self::G711u,
            10 => Self::Aac,
            11 => Self::Speex,
            13 => Self::Opus,
            other => Self::Legacy(other),
        }
    }

    /// Which kind of frame carries this codec; `None` for codes without a meaning.
    pub fn kind(self) -> Option<FrameKind> {
        match self {
            Self::H264 | Self::Hevc | Self::Av1 | Self::Vp8 | Self::Vp9 | Self::Vvc => Some(FrameKind::Video),
            Self::SorensonH263 | Self::Vp6 | Self::ScreenVideo => Some(FrameKind::Video),
            Self::Aac | Self::Mp3 | Self::Opus | Self::Flac | Self::Ac3 | Self::Eac3 => {
                Some(FrameKind::Audio)
            }
            Self::G711a | Self::G711u | Self::Speex | Self::Nellymoser | Self::Pcm | Self::Adpcm => {
                Some(FrameKind::Audio)
            }
            Self::Data => Some(FrameKind::Data),
            Self::FourCc(_) | Self::Legacy(_) => None,
        }
    }

    /// Whether `CodedFrames` of this codec start with a composition time.
    pub fn has_composition_time(self) -> bool {
        matches!(self, Self::H264 | Self::Hevc | Self::Vvc)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::H264 => "H.264",
            Self::Hevc => "HEVC",
            Self::Av1 => "AV1",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Vvc => "VVC",
            Self::SorensonH263 => "Sorenson H.263",
            Self::Vp6 => "VP6",
            Self::ScreenVideo => "screen video",
            Self::Aac => "AAC",
            Self::Mp3 => "MP3",
            Self::Opus => "Opus",
            Self::Flac => "FLAC",
            Self::Ac3 => "AC-3",
            Self::Eac3 => "E-AC-3",
            Self::G711a => "G.711 A-law",
            Self::G711u => "G.711 mu-law",
            Self::Speex => "Speex",
            Self::Nellymoser => "Nellymoser",
            Self::Pcm => "PCM",
            Self::Adpcm => "ADPCM",
            Self::Data => "data",
            Self::FourCc(code) => return write!(f, "unknown ({})", code.escape_ascii()),
            Self::Legacy(id) => return write!(f, "unknown ({id})"),
        };
        f.write_str(name)
    }
}

/// What a video frame depends on. Audio has `Key`: every frame can be decoded by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// 1: decoding can start here.
    Key,
    /// 2: depends on earlier frames.
    Inter,
    /// 3: depends on earlier frames, and nothing depends on it.
    Disposable,
    /// 4: a keyframe made by a server.
    GeneratedKey,
    /// 5: a command to the player, no picture.
    Command,
    /// A number without meaning.
    Unknown(u8),
}

impl FrameType {
    fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Key,
            2 => Self::Inter,
            3 => Self::Disposable,
            4 => Self::GeneratedKey,
            5 => Self::Command,
            other => Self::Unknown(other),
        }
    }
}

/// What a payload carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// A decoder configuration record ("sequence header").
    SequenceStart,
    /// A coded frame; with composition time for H.264, HEVC and VVC.
    CodedFrames,
    /// A coded frame without composition time.
    CodedFramesX,
    /// The stream of this track ends here.
    SequenceEnd,
    /// Video metadata in AMF0, such as `colorInfo`.
    Metadata,
    /// An MPEG-2 TS descriptor as decoder configuration (AV1).
    Mpeg2TsSequenceStart,
    /// Order and number of audio channels.
    MultichannelConfig,
    /// A command to the player.
    Command,
    /// A number that this version of the specification does not define.
    Unknown(u8),
}

impl PacketType {
    fn video(number: u8) -> Self {
        match number {
            0 => Self::SequenceStart,
            1 => Self::CodedFrames,
            2 => Self::SequenceEnd,
            3 => Self::CodedFramesX,
            4 => Self::Metadata,
            5 => Self::Mpeg2TsSequenceStart,
            other => Self::Unknown(other),
        }
    }

    fn audio(number: u8) -> Self {
        match number {
            0 => Self::SequenceStart,
            1 => Self::CodedFrames,
            2 => Self::SequenceEnd,
            4 => Self::MultichannelConfig,
            other => Self::Unknown(other),
        }
    }

    /// Whether the payload is a coded frame.
    pub fn is_coded(self) -> bool {
        matches!(self, Self::CodedFrames | Self::CodedFramesX)
    }
}

/// How many tracks a payload holds, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackLayout {
    /// Not a multitrack payload: track 0.
    Single,
    /// `OneTrack`: one track with its id.
    One,
    /// `ManyTracks`: several tracks of one codec.
    Many,
    /// `ManyTracksManyCodecs`: several tracks, each with its FourCC.
    ManyCodecs,
}

/// The header of an audio or video payload, legacy or Enhanced RTMP v2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadInfo {
    /// The codec, of the first track where there are several.
    pub codec: Codec,
    /// The frame type; for several tracks it concerns all of them.
    pub frame_type: FrameType,
    /// What the payload carries.
    pub packet: PacketType,
    /// How many tracks.
    pub layout: TrackLayout,
    /// Id of the (first) track; 0 is the default track.
    pub track: u8,
    /// Presentation time minus decoding time of the (first) track's frame, in milliseconds.
    pub composition_time: i32,
    /// `TimestampOffsetNano` of a ModEx prefix: nanoseconds to add to the timestamp, at most 999,999.
    pub nanos: u32,
    /// Where the (first) track's data starts in the payload, after composition time.
    pub data_offset: usize,
    /// Where the first track's header starts.
    tracks_offset: usize,
    /// The FourCC that is common to all tracks.
    common_codec: Option<Codec>,
    /// Composition time of a legacy payload, which stands before the track's data.
    legacy_time: Option<i32>,
}

/// One track of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Track<'a> {
    /// The track's id.
    pub id: u8,
    /// Its codec.
    pub codec: Codec,
    /// Presentation time minus decoding time, in milliseconds.
    pub composition_time: i32,
    /// Its data: the configuration record or the coded frame.
    pub data: &'a [u8],
}

impl PayloadInfo {
    /// Reads the header of an audio or video payload. `None`: empty, truncated, malformed, or a data payload.
    pub fn parse(kind: FrameKind, payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        let first = cursor.u8()?;
        match kind {
            FrameKind::Data => None,
            FrameKind::Video if first & 0x80 != 0 => Self::enhanced(kind, first, cursor),
            FrameKind::Video => Self::legacy_video(first, cursor),
            FrameKind::Audio if first >> 4 == 9 => Self::enhanced(kind, first, cursor),
            FrameKind::Audio => Self::legacy_audio(first, cursor),
        }
    }

    /// The tracks of `payload`, which must be the one that this was parsed from.
    pub fn tracks<'a>(&self, payload: &'a [u8]) -> Tracks<'a> {
        Tracks {
            cursor: Cursor::at(payload, self.tracks_offset),
            layout: self.layout,
            common_codec: self.common_codec,
            legacy_time: self.legacy_time,
            packet: self.packet,
            done: false,
        }
    }

    /// The (first) track's configuration record or coded frame.
    pub fn data<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        match self.layout {
            TrackLayout::Single | TrackLayout::One => payload.get(self.data_offset..).unwrap_or_default(),
            _ => self.tracks(payload).next().map(|track| track.data).unwrap_or_default(),
        }
    }

    fn single(codec: Codec, frame_type: FrameType, packet: PacketType, offset: usize) -> Self {
        Self {
            codec,
            frame_type,
            packet,
            layout: TrackLayout::Single,
            track: 0,
            composition_time: 0,
            nanos: 0,
            data_offset: offset,
            tracks_offset: offset,
            common_codec: Some(codec),
            legacy_time: None,
        }
    }

    fn legacy_video(first: u8, mut cursor: Cursor<'_>) -> Option<Self> {
        let codec = Codec::from_video_id(first & 0x0f);
        let frame_type = FrameType::from_bits(first >> 4);
        if frame_type == FrameType::Command {
            return Some(Self::single(codec, frame_type, PacketType::Command, cursor.position));
        }
        if !matches!(codec, Codec::H264 | Codec::Hevc | Codec::Av1) {
            return Some(Self::single(codec, frame_type, PacketType::CodedFrames, cursor.position));
        }
        let packet = match cursor.u8()? {
            0 => PacketType::SequenceStart,
            1 => PacketType::CodedFrames,
            2 => PacketType::SequenceEnd,
            other => PacketType::Unknown(other),
        };
        // Some encoders leave the composition time out of the end of sequence.
        let composition_time = cursor.i24().unwrap_or_default();
        let legacy_time = Some(composition_time);
        let single = Self::single(codec, frame_type, packet, cursor.position);
        Some(Self { composition_time, legacy_time, ..single })
    }

    fn legacy_audio(first: u8, mut cursor: Cursor<'_>) -> Option<Self> {
        let codec = Codec::from_sound_format(first >> 4);
        let packet = match codec {
            Codec::Aac => match cursor.u8()? {
                0 => PacketType::SequenceStart,
                1 => PacketType::CodedFrames,
                other => PacketType::Unknown(other),
            },
            _ => PacketType::CodedFrames,
        };
        Some(Self::single(codec, FrameType::Key, packet, cursor.position))
    }

    /// E-RTMP v2 "Enhanced Video" and "Enhanced Audio": ModEx prefixes, multitrack header, FourCC.
    fn enhanced(kind: FrameKind, first: u8, mut cursor: Cursor<'_>) -> Option<Self> {
        let video = kind == FrameKind::Video;
        let frame_type = if video { FrameType::from_bits((first >> 4) & 7) } else { FrameType::Key };
        let (nanos, mut number) = mod_ex(first & 0x0f, &mut cursor)?;
        if frame_type == FrameType::Command && number != 4 {
            let codec = Codec::Legacy(0);
            return Some(Self::single(codec, frame_type, PacketType::Command, cursor.position));
        }
        let mut layout = TrackLayout::Single;
        if number == if video { 6 } else { 5 } {
            (layout, number) = multitrack(&mut cursor)?;
        }
        let packet = if video { PacketType::video(number) } else { PacketType::audio(number) };
        let common_codec = match layout {
            TrackLayout::ManyCodecs => None,
            _ => Some(Codec::from_fourcc(cursor.fourcc()?)),
        };
        let placeholder = common_codec.unwrap_or(Codec::Legacy(0));
        let info = Self {
            layout,
            nanos,
            common_codec,
            ..Self::single(placeholder, frame_type, packet, cursor.position)
        };
        info.with_first_track(cursor.bytes)
    }

    fn with_first_track(self, payload: &[u8]) -> Option<Self> {
        let mut tracks = self.tracks(payload);
        let first = tracks.next()?;
        // The first track's data ends where the cursor now is.
        let data_offset = tracks.cursor.position.saturating_sub(first.data.len());
        let Track { id: track, codec, composition_time, .. } = first;
        Some(Self { track, codec, composition_time, data_offset, ..self })
    }
}

/// Skips ModEx prefixes; returns their nanosecond offset and the packet type that follows them.
fn mod_ex(mut packet: u8, cursor: &mut Cursor<'_>) -> Option<(u32, u8)> {
    const MOD_EX: u8 = 7;
    const TIMESTAMP_OFFSET_NANO: u8 = 0;
    let mut nanos = 0;
    while packet == MOD_EX {
        let mut size = usize::from(cursor.u8()?).saturating_add(1);
        if size == 256 {
            size = usize::from(cursor.u16()?).saturating_add(1);
        }
        let data = cursor.take(size)?;
        let next = cursor.u8()?;
        if next >> 4 == TIMESTAMP_OFFSET_NANO {
            nanos = Cursor::new(data).u24().unwrap_or_default().min(999_999);
        }
        packet = next & 0x0f;
    }
    Some((nanos, packet))
}

fn multitrack(cursor: &mut Cursor<'_>) -> Option<(TrackLayout, u8)> {
    let byte = cursor.u8()?;
    let layout = match byte >> 4 {
        0 => TrackLayout::One,
        1 => TrackLayout::Many,
        2 => TrackLayout::ManyCodecs,
        _ => return None,
    };
    Some((layout, byte & 0x0f))
}

/// Iterator over the tracks of a payload; ends early where a track is truncated.
#[derive(Debug, Clone)]
pub struct Tracks<'a> {
    cursor: Cursor<'a>,
    layout: TrackLayout,
    common_codec: Option<Codec>,
    legacy_time: Option<i32>,
    packet: PacketType,
    done: bool,
}

impl<'a> Iterator for Tracks<'a> {
    type Item = Track<'a>;

    fn next(&mut self) -> Option<Track<'a>> {
        if self.done {
            return None;
        }
        let track = self.read();
        let more = matches!(self.layout, TrackLayout::Many | TrackLayout::ManyCodecs);
        self.done = track.is_none() || !more;
        track
    }
}

impl<'a> Tracks<'a> {
    fn read(&mut self) -> Option<Track<'a>> {
        let codec = match self.common_codec {
            Some(codec) => codec,
            None => Codec::from_fourcc(self.cursor.fourcc()?),
        };
        let id = if self.layout == TrackLayout::Single { 0 } else { self.cursor.u8()? };
        let body = match self.layout {
            TrackLayout::Single | TrackLayout::One => self.cursor.rest(),
            _ => {
                let size = usize::try_from(self.cursor.u24()?).ok()?;
                self.cursor.take(size)?
            }
        };
        let mut body = Cursor::new(body);
        let timed = self.packet == PacketType::CodedFrames && codec.has_composition_time();
        let composition_time = match self.legacy_time {
            Some(time) => time,
            None if timed => body.i24()?,
            None => 0,
        };
        Some(Track { id, codec, composition_time, data: body.rest() })
    }
}

/// A position in bytes; every read is checked.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub(super) position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    pub(super) fn at(bytes: &'a [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(count)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        self.position = self.bytes.len();
        rest
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u24(&mut self) -> Option<u32> {
        let [a, b, c] = self.array()?;
        Some(u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn i24(&mut self) -> Option<i32> {
        let [a, b, c] = self.array()?;
        // The sign comes along when the 24 bits are shifted down from the top.
        Some(i32::from_be_bytes([a, b, c, 0]) >> 8)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn f64(&mut self) -> Option<f64> {
        self.array().map(f64::from_be_bytes)
    }

    fn fourcc(&mut self) -> Option<[u8; 4]> {
        self.array()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::media::Frame;
    use crate::testing;
    use bytes::Bytes;

    fn video(payload: &[u8]) -> FrameFlags {
        classify(FrameKind::Video, payload)
    }

    fn audio(payload: &[u8]) -> FrameFlags {
        classify(FrameKind::Audio, payload)
    }

    fn concat(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn legacy_avc_is_told_by_frame_and_packet_type() {
        assert!(video(&[0x17, 1, 0, 0, 0, 9]).keyframe);
        assert!(!video(&[0x27, 1, 0, 0, 0, 9]).keyframe);
        assert!(video(&[0x37, 1, 0, 0, 0, 9]).discardable);
        let header = video(&[0x17, 0, 0, 0, 0, 1]);
        assert!(header.config.is_some() && !header.keyframe);
        assert_eq!(video(&[0x17, 2, 0, 0, 0]), FrameFlags::default());
        assert_eq!(video(&[0x17, 2]), FrameFlags::default(), "end of sequence without composition time");
    }

    #[test]
    fn w10_headers_commands_and_what_is_empty_are_no_media_and_all_else_is() {
        for (what, frame) in testing::no_media() {
            assert!(!frame.has_media(), "{what}");
        }
        let frame = |kind, payload: &[u8]| Frame::new(kind, 0, Bytes::copy_from_slice(payload));
        let event = frame(FrameKind::Data, b"\x02\0\x05event\x02\0\x01x");
        assert!(!event.has_media(), "nobody sees or hears it");
        // The clip has an end of sequence.
        let is_end = |frame: &Frame| frame.payload.starts_with(&[0x17, 2]);
        let nothing = |frame: &Frame| frame.kind == FrameKind::Data || frame.is_config() || is_end(frame);
        assert!(testing::demo_frames().iter().all(|frame| nothing(frame) != frame.has_media()));
        for payload in [
            b"\x17\x01\0\0\0\0\0\0\x01\x09".as_slice(),
            b"\x27\x01\0\0\0\0\0\0\0\0",
            b"\x37\x01\0\0\0\x09",
            b"\x12\x01",
            b"\x93avc1\x01",
            b"\xa1hvc1\0\0\0\x01",
            b"\x96\x11av01\x00\0\0\0\x01\0\0\x01\x09",
        ] {
            assert!(frame(FrameKind::Video, payload).has_media(), "{payload:x?}");
        }
        for payload in [b"\xaf\x01\0".as_slice(), b"\x2f\0", b"\x7f\xd5", b"\x91Opus\0"] {
            assert!(frame(FrameKind::Audio, payload).has_media(), "{payload:x?}");
        }
    }

    #[test]
    fn other_legacy_codecs_have_no_packet_type() {
        assert!(video(&[0x12, 0, 0]).keyframe);
        assert!(video(&[0x34, 0]).discardable);
        assert!(video(&[0x1c, 1, 0, 0, 0]).keyframe, "HEVC as id 12 has one");
        assert!(video(&[0x1c, 0, 0, 0, 0]).config.is_some());
        assert_eq!(video(&[0x57, 0]), FrameFlags::default(), "command");
    }

    #[test]
    fn legacy_audio_has_configuration_for_aac_only() {
        assert!(audio(&[0xaf, 0, 0x12, 0x10]).config.is_some());
        assert_eq!(audio(&[0xaf, 1, 0x21]), FrameFlags::default());
        assert_eq!(audio(&[0x2f, 0]), FrameFlags::default());
    }

    #[test]
    fn metadata_has_its_own_slot_before_all_others() {
        let metadata = classify(FrameKind::Data, b"\x02\x00\x0aonMetaData\x08").config.unwrap();
        assert_eq!(metadata, METADATA_SLOT);
        assert!(metadata < video(&[0x17, 0, 0, 0, 0]).config.unwrap());
        assert_eq!(classify(FrameKind::Data, b"\x02\x00\x0aonTextData"), FrameFlags::default());
    }

    #[test]
    fn set_data_frame_is_removed() {
        let data = Bytes::from_static(b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData\x05");
        assert_eq!(&strip_set_data_frame(data)[..], b"\x02\x00\x0aonMetaData\x05");
    }

    #[test]
    fn every_enhanced_video_packet_type_is_classified() {
        for fourcc in [b"avc1", b"hvc1", b"av01", b"vp09", b"vp08", b"vvc1"] {
            let packet = |first: u8| video(&concat(&[&[first], fourcc, &[0, 0, 0, 1]]));
            assert!(packet(0x90).config.is_some() && !packet(0x90).keyframe);
            assert!(packet(0x91).keyframe && packet(0x93).keyframe);
            assert!(!packet(0xa1).keyframe && packet(0xb1).discardable && packet(0xb3).discardable);
            assert_eq!(packet(0x92), FrameFlags::default());
            assert!(packet(0x94).config.is_some() && packet(0xd4).config.is_some());
            assert!(packet(0x95).config.is_some());
            let slots = [packet(0x90), packet(0x94), packet(0x95)].map(|flags| flags.config.unwrap().0);
            assert!(slots[0] < slots[2] && slots[2] < slots[1], "each packet type has its slot");
        }
        assert_eq!(video(&[0xd1, 0]), FrameFlags::default(), "command");
    }

    #[test]
    fn enhanced_audio_configuration_is_classified() {
        assert!(audio(b"\x90OpusOpusHead").config.is_some());
        assert!(audio(b"\x94Opus\x01\x02").config.is_some());
        assert_ne!(audio(b"\x90Opus").config, audio(b"\x94Opus").config);
        assert_eq!(audio(b"\x91Opus\xfc"), FrameFlags::default());
        assert_eq!(audio(b"\x92Opus"), FrameFlags::default());
    }

    #[test]
    fn legacy_and_enhanced_headers_of_the_default_track_replace_each_other() {
        let legacy = video(&[0x17, 0, 0, 0, 0, 1]).config;
        assert_eq!(legacy, video(b"\x90hvc1\x01").config);
        assert_eq!(legacy, video(b"\x96\x00avc1\x00\x01").config, "one track, id 0");
        assert_ne!(legacy, video(b"\x96\x00avc1\x01\x01").config, "one track, id 1");
        assert_ne!(legacy, video(b"\x96\x10avc1\x00\x00\x00\x01\x01").config, "many tracks");
        assert_ne!(legacy, audio(&[0xaf, 0, 0x12, 0x10]).config);
    }

    #[test]
    fn the_track_of_a_legacy_payload_is_what_follows_its_composition_time() {
        let payload = b"\x17\x01\xff\xff\xd8data";
        let info = PayloadInfo::parse(FrameKind::Video, payload).unwrap();
        let track = Track { id: 0, codec: Codec::H264, composition_time: -40, data: b"data" };
        assert_eq!(info.tracks(payload).collect::<Vec<_>>(), [track]);
        assert_eq!((info.data(payload), info.composition_time), (track.data, track.composition_time));
    }

    #[test]
    fn one_track_payload_is_parsed() {
        let payload = b"\x96\x01avc1\x05\xff\xff\xd8data";
        let info = PayloadInfo::parse(FrameKind::Video, payload).unwrap();
        assert_eq!((info.layout, info.packet), (TrackLayout::One, PacketType::CodedFrames));
        assert_eq!((info.track, info.codec, info.composition_time), (5, Codec::H264, -40));
        assert_eq!(info.data(payload), b"data");
        assert_eq!(&payload[info.data_offset..], b"data");
        assert!(video(payload).keyframe);
    }

    #[test]
    fn many_tracks_payload_is_parsed() {
        let payload = b"\xa6\x13av01\x00\x00\x00\x02ab\x07\x00\x00\x03cde";
        let info = PayloadInfo::parse(FrameKind::Video, payload).unwrap();
        let tracks: Vec<_> = info.tracks(payload).map(|track| (track.id, track.codec, track.data)).collect();
        assert_eq!(tracks, [(0, Codec::Av1, &b"ab"[..]), (7, Codec::Av1, &b"cde"[..])]);
        assert_eq!(&payload[info.data_offset..][..2], b"ab");
        assert_eq!(info.data(payload), b"ab");
        assert!(!video(payload).keyframe);
    }

    #[test]
    fn many_tracks_with_many_codecs_are_parsed() {
        let payload = b"\x95\x21Opus\x01\x00\x00\x01omp4a\x02\x00\x00\x02aa";
        let info = PayloadInfo::parse(FrameKind::Audio, payload).unwrap();
        let tracks: Vec<_> = info.tracks(payload).map(|track| (track.id, track.codec, track.data)).collect();
        assert_eq!(tracks, [(1, Codec::Opus, &b"o"[..]), (2, Codec::Aac, &b"aa"[..])]);
        assert_eq!((info.track, info.codec), (1, Codec::Opus));
    }

    #[test]
    fn truncated_tracks_end_the_list() {
        let payload = b"\xa6\x13av01\x00\x00\x00\x02ab\x07\x00\x00\x09cde";
        let info = PayloadInfo::parse(FrameKind::Video, payload).unwrap();
        assert_eq!(info.tracks(payload).count(), 1);
        assert_eq!(PayloadInfo::parse(FrameKind::Video, b"\xa6\x13av01\x00\x00\x00\x09ab"), None);
    }

    #[test]
    fn mod_ex_prefixes_are_skipped_and_nanoseconds_read() {
        // Two prefixes: nanoseconds 0x010203, and an unknown type 1 of 300 bytes.
        let long = [0_u8; 300];
        let payload =
            concat(&[&[0x97, 2, 1, 2, 3, 0x07, 255, 1, 43], &long, &[0x11], b"hvc1", &[0, 0, 1, 9]]);
        let info = PayloadInfo::parse(FrameKind::Video, &payload).unwrap();
        assert_eq!(
            (info.nanos, info.packet, info.codec),
            (0x0001_0203, PacketType::CodedFrames, Codec::Hevc)
        );
        assert_eq!((info.composition_time, info.data(&payload)), (1, &[9_u8][..]));
        assert!(video(&payload).keyframe);
        assert_eq!(video(&payload[..100]), FrameFlags::default());
        let audio = PayloadInfo::parse(FrameKind::Audio, b"\x97\x02\xff\xff\xff\x01Opus\xfc").unwrap();
        assert_eq!(audio.nanos, 999_999);
    }

    #[test]
    fn mod_ex_comes_before_multitrack() {
        let payload = b"\x97\x00\x00\x06\x00av01\x03config";
        let info = PayloadInfo::parse(FrameKind::Video, payload).unwrap();
        assert_eq!((info.layout, info.track), (TrackLayout::One, 3));
        assert_eq!((info.packet, info.data(payload)), (PacketType::SequenceStart, &b"config"[..]));
    }

    #[test]
    fn every_prefix_of_a_payload_is_answered() {
        let payloads: [&[u8]; 4] = [
            b"\x97\x02\x01\x02\x03\x06\x11avc1\x00\x00\x00\x04\x00\x00\x01x\x01\x00\x00\x04\x00\x00\x01y",
            b"\x17\x01\x00\x00\x28data",
            b"\x90hvc1\x01\x02",
            b"\xaf\x00\x12\x10",
        ];
        for payload in payloads {
            for end in 0..payload.len() {
                for kind in [FrameKind::Audio, FrameKind::Video, FrameKind::Data] {
                    let info = PayloadInfo::parse(kind, &payload[..end]);
                    assert!(info.is_none_or(|info| info.data_offset <= end));
                }
            }
        }
    }

    #[test]
    fn file_header_is_written_and_read() {
        for (audio, video) in [(true, true), (true, false), (false, true)] {
            let header = FileHeader { audio, video };
            assert_eq!(FileHeader::parse(&header.encode()), Ok((header, 9)));
        }
        assert_eq!(FileHeader::parse(b"FLV\x01\x05\0\0"), Err(HeaderError::Truncated));
        assert_eq!(FileHeader::parse(b"MP4\x01\x05\0\0\0\x09"), Err(HeaderError::Signature));
        assert_eq!(FileHeader::parse(b"FLV\x02\x05\0\0\0\x09"), Err(HeaderError::Version(2)));
        assert_eq!(FileHeader::parse(b"FLV\x01\x05\0\0\0\x08"), Err(HeaderError::Offset(8)));
    }

    #[test]
    fn f08_tag_time_has_24_and_8_bits_and_wraps_at_32() {
        for (time, wire) in [
            (0, 0),
            ((1 << 24) - 1, 0x00ff_ffff),
            (1 << 24, 0x0100_0000),
            (1 << 31, 0x8000_0000),
            ((1 << 32) + 5, 5),
        ] {
            let frame = Frame::new(FrameKind::Video, time, Bytes::from_static(b"\x17\x01abc"));
            let framing = encode_tag(&frame).unwrap();
            let header = TagHeader::parse(&framing.header);
            assert_eq!(header, TagHeader { tag_type: 9, length: 5, timestamp: wire, stream_id: 0 });
            assert_eq!(framing.trailer, [0, 0, 0, 16]);
        }
        let frame = Frame::new(FrameKind::Audio, 0x0102_0304, Bytes::new());
        assert_eq!(encode_tag(&frame).unwrap().header, [8, 0, 0, 0, 2, 3, 4, 1, 0, 0, 0]);
    }

    #[test]
    fn a_payload_too_long_for_a_tag_is_refused() {
        let frame = |len| Frame::new(FrameKind::Data, 0, Bytes::from(vec![0; len]));
        assert!(encode_tag(&frame(MAX_TAG_PAYLOAD)).is_some());
        assert_eq!(encode_tag(&frame(MAX_TAG_PAYLOAD + 1)), None);
    }
}
