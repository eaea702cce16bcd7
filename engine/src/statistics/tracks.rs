//! What a stream's main tracks are, as its configuration tells it.

use crate::media::FrameKind;
use crate::media::codec::{audio_config, profile_name, video_config};
use crate::media::flv::{Codec, PacketType, PayloadInfo};
use crate::status::StreamInfo;
use serde::Serialize;

/// A video track. What is not known is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VideoTrack {
    /// The codec, as [`Codec`] displays it.
    #[serde(serialize_with = "as_text")]
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    pub codec: Codec,
    /// The profile in words.
    pub profile: Option<&'static str>,
    /// The profile's number.
    pub profile_id: Option<u8>,
    /// Of H.264: the flags between profile and level.
    pub compatibility: Option<u8>,
    /// The level: 3.1.
    pub level: Option<f64>,
    /// Width of the picture.
    pub width: Option<u32>,
    /// Height of the picture.
    pub height: Option<u32>,
}

/// An audio track. What is not known is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AudioTrack {
    /// The codec, as [`Codec`] displays it.
    #[serde(serialize_with = "as_text")]
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    pub codec: Codec,
    /// The profile in words, of AAC.
    pub profile: Option<&'static str>,
    /// Channels.
    pub channels: Option<u8>,
    /// Samples per second.
    pub sample_rate: Option<u32>,
}

fn as_text<S: serde::Serializer>(codec: &Codec, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(codec)
}

/// The main tracks of a stream.
pub(super) fn of(info: &StreamInfo) -> (Option<VideoTrack>, Option<AudioTrack>) {
    let video = info.video_codec.map(|codec| video_track(codec, record(info, FrameKind::Video, codec)));
    let audio = info.audio_codec.map(|codec| audio_track(codec, record(info, FrameKind::Audio, codec)));
    (video, audio)
}

/// The configuration record of the first track of this kind that has this codec.
fn record(info: &StreamInfo, kind: FrameKind, codec: Codec) -> Option<&[u8]> {
    let of_kind = info.config.iter().filter(|frame| frame.kind == kind);
    of_kind.into_iter().find_map(|frame| {
        let payload = PayloadInfo::parse(kind, &frame.payload)?;
        let is_it = payload.packet == PacketType::SequenceStart && payload.codec == codec;
        is_it.then(|| payload.data(&frame.payload))
    })
}

fn video_track(codec: Codec, record: Option<&[u8]>) -> VideoTrack {
    let config = record.and_then(|record| video_config(codec, record));
    let compatibility = record.filter(|_| codec == Codec::H264).and_then(|record| record.get(2).copied());
    VideoTrack {
        codec,
        profile: config.and_then(|config| profile_name(codec, config.profile)),
        profile_id: config.map(|config| config.profile),
        compatibility,
        level: config.map(|config| f64::from(config.level) / 10.0),
        width: config.and_then(|config| config.width),
        height: config.and_then(|config| config.height),
    }
}

fn audio_track(codec: Codec, record: Option<&[u8]>) -> AudioTrack {
    let config = record.and_then(|record| audio_config(codec, record));
    AudioTrack {
        codec,
        profile: config.and_then(|config| config.profile),
        channels: config.map(|config| config.channels).filter(|channels| *channels > 0),
        sample_rate: config.map(|config| config.sample_rate).filter(|rate| *rate > 0),
    }
}
