//! What a track's samples are, as its frames tell it: most codecs by a configuration record, some by each frame.

use super::coded::{carries, coded, per_ms, timescale};
use super::{Mp4Track, frame_size, mp4_init};
use crate::media::codec::{AudioConfig, Period, audio_frame, audio_track, codec_string};
use crate::media::flv::{Codec, PacketType, PayloadInfo, browser};
use crate::media::{Frame, FrameKind};
use bytes::Bytes;

bound! {
    /// Longest configuration record that a track is described by: each player gets it, and again when it changes
    /// (test `a_record_that_is_too_long_describes_nothing`).
    const MAX_RECORD: usize = 64 * 1024, without usize::MAX;
}

/// Bytes of a frame of MP3, AC-3 or E-AC-3 that say what it is, and more.
const FRAME_HEAD: usize = 64;

/// For how long the last picture of a fragment is said to be shown, in milliseconds, where there is audio: see
/// [`Description::track`].
const PICTURE_MS: u32 = 1_000;
/// The same where there is none.
const LONE_PICTURE_MS: u32 = 250;

/// How a track is to be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    codec: Codec,
    /// The configuration record; of codecs that have none, the head of a frame.
    config: Bytes,
    /// Of the pictures, where the record does not tell.
    size: Option<(u16, u16)>,
    /// Samples per second and channels, of codecs that have no record.
    told: Option<(u32, u8)>,
}

/// What a frame has told of its track.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing new.
    Same,
    /// It is to be decoded otherwise from this frame on; with none, nobody knows how.
    Now(Option<Description>),
}

impl Description {
    /// What a frame tells of the track of its kind with this number, of which so much is known.
    pub(crate) fn told_by(frame: &Frame, track: u8, known: Option<&Self>) -> Told {
        if frame.is_sequence_start() {
            return Self::told_by_record(frame, track, known);
        }
        // Nearly all frames are like the one before them.
        match (frame.kind, frame.payload.first(), known.map(|known| known.codec)) {
            (FrameKind::Video, Some(first @ 0..0x80), Some(Codec::H264)) if first & 0x0f == 7 => Told::Same,
            (FrameKind::Audio, Some(0xa0..=0xaf), Some(Codec::Aac)) => Told::Same,
            (FrameKind::Data, ..) => Told::Same,
            _ => Self::told_by_coded(frame, track, known),
        }
    }

    fn told_by_record(frame: &Frame, track: u8, known: Option<&Self>) -> Told {
        let Some(info) = PayloadInfo::parse(frame.kind, &frame.payload) else { return Told::Same };
        let its = info.tracks(&frame.payload).find(|its| its.id == track);
        let Some(its) = its.filter(|its| info.packet == PacketType::SequenceStart && !its.data.is_empty())
        else {
            return Told::Same;
        };
        let is_enhanced = browser::is_enhanced(frame.kind, &frame.payload);
        let is_known = known.is_some_and(|known| known.codec == its.codec && known.config == its.data);
        let is_record = carries(its.codec, is_enhanced)
            && its.codec.kind() == Some(frame.kind)
            && its.data.len() <= MAX_RECORD.get();
        match (is_known, is_record) {
            (true, _) => Told::Same,
            (false, false) => Self::lost(known),
            (false, true) => Told::Now(Some(Self {
                codec: its.codec,
                config: frame.payload.slice_ref(its.data),
                size: None,
                told: None,
            })),
        }
    }

    fn told_by_coded(frame: &Frame, track: u8, known: Option<&Self>) -> Told {
        let Some((_, its)) = coded(frame, track) else { return Told::Same };
        let known_codec = known.filter(|known| known.codec == its.codec);
        if let Codec::Mp3 | Codec::Ac3 | Codec::Eac3 = its.codec {
            let Some(AudioConfig { sample_rate, channels, .. }) = audio_frame(its.codec, its.data) else {
                return Told::Same;
            };
            let told = Some((sample_rate, channels));
            if known_codec.is_some_and(|known| known.told == told) {
                return Told::Same;
            }
            let config = Bytes::copy_from_slice(its.data.get(..FRAME_HEAD).unwrap_or(its.data));
            return Told::Now(Some(Self { codec: its.codec, config, size: None, told }));
        }
        let Some(known_codec) = known_codec else { return Self::lost(known) };
        match if frame.flags.keyframe { frame_size(its.codec, its.data) } else { None } {
            Some(size) if known_codec.size != Some(size) => {
                Told::Now(Some(Self { size: Some(size), ..known_codec.clone() }))
            }
            _ => Told::Same,
        }
    }

    fn lost(known: Option<&Self>) -> Told {
        if known.is_some() { Told::Now(None) } else { Told::Same }
    }

    /// The track, with number `id`; `None` while something is missing, and where what was told makes no sense.
    ///
    /// What a sample lasts that does not tell it is the duration of a frame for audio, and long for pictures: a browser that is
    /// fed with fragments throws pictures away up to the next keyframe where one comes after more than twice the time that the
    /// one before was said to last (*Media Source Extensions*, coded frame processing, step 6). When the last picture of a
    /// fragment is written nobody knows when the next one will come. Where there is no audio, by whose end the browser goes, it
    /// is less, as it is what the browser takes for the live edge.
    pub(crate) fn track(&self, id: u32, has_other: bool) -> Option<Mp4Track> {
        let Self { codec, config, size, .. } = self;
        let kind = codec.kind()?;
        let scale = timescale(kind);
        let default_duration = match kind {
            FrameKind::Video => {
                per_ms(kind).saturating_mul(if has_other { PICTURE_MS } else { LONE_PICTURE_MS })
            }
            _ => self.period()?.ticks(scale),
        };
        let track =
            Mp4Track { size: *size, default_duration, ..Mp4Track::new(id, *codec, config.clone(), scale) };
        mp4_init(std::slice::from_ref(&track)).is_ok().then_some(track)
    }

    /// How long a frame of audio lasts; where that is not told, as most do.
    fn period(&self) -> Option<Period> {
        const AAC: u64 = 1_024;
        const FLAC: u64 = 4_096;
        const OPUS: u64 = 960;
        let config = audio_track(self.codec, &self.config)?;
        let usual = match self.codec {
            Codec::Flac => FLAC,
            Codec::Opus => OPUS,
            _ => AAC,
        };
        config.period.or_else(|| Period::new(usual, config.sample_rate.into()))
    }
}

/// What browsers call a stream with these tracks: `video/mp4; codecs="avc1.64001f,mp4a.40.2"`.
pub(crate) fn mime_type<'a>(tracks: impl Iterator<Item = &'a Mp4Track>) -> String {
    let (mut media, mut names) = ("audio", Vec::new());
    for track in tracks {
        if track.codec.kind() == Some(FrameKind::Video) {
            media = "video";
        }
        names.extend(codec_string(track.codec, &track.config));
    }
    format!("{media}/mp4; codecs=\"{}\"", names.join(","))
}

#[cfg(test)]
mod tests;
