//! The tracks of a stream that a reader gets who can have one of each kind only, and whether they are known.

use super::{State, Stream, codec_mark};
use crate::media::flv::{Codec, PacketType, PayloadInfo, browser};
use crate::media::metadata::announces_video;
use crate::media::{Frame, FrameKind};

/// Of a stream with one kind of media so much is waited for, in milliseconds of it, before the other kind is taken not to
/// come.
const SETTLED_AFTER_MS: i64 = 1_000;

/// The same where metadata says that there is video: nginx-rtmp sends audio at once and video from the next keyframe on.
const ANNOUNCED_AFTER_MS: i64 = 5_000;

/// The numbers of the main tracks, by kind of frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MainIds([u8; 3]);

impl MainIds {
    pub(crate) fn of(self, kind: FrameKind) -> u8 {
        self.0[kind as usize]
    }
}

/// How a main track is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrackCodec {
    pub(crate) codec: Codec,
    /// Whether its payloads are Enhanced RTMP.
    pub(crate) is_enhanced: bool,
}

/// The main tracks of a stream at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamTracks {
    /// `None` where there is none, or none yet.
    pub(crate) audio: Option<TrackCodec>,
    /// `None` where there is none, or none yet.
    pub(crate) video: Option<TrackCodec>,
    /// Whether what is missing is not to be expected any more: both are there, or so much of one that the other would
    /// have come.
    pub(crate) are_settled: bool,
}

impl StreamTracks {
    /// Whether the sound is Opus.
    pub(crate) fn has_opus(&self) -> bool {
        self.audio.is_some_and(|audio| audio.codec == Codec::Opus)
    }
}

/// Of each kind the track with the lowest number that its publisher has sent.
#[derive(Default)]
pub(super) struct MainTracks([Option<MainTrack>; 2]);

struct MainTrack {
    id: u8,
    /// [`codec_mark`] of what `codec` was read from.
    mark: u64,
    codec: TrackCodec,
    /// Stream time of its first frame; `None` while only its configuration has come.
    first: Option<i64>,
    /// The same of its newest.
    last: Option<i64>,
    /// It was an earlier publisher's.
    is_old: bool,
}

impl MainTracks {
    /// A publisher begins, whose tracks may be others.
    pub(super) fn renew(&mut self) {
        self.0.iter_mut().flatten().for_each(|track| track.is_old = true);
    }

    /// Looks at a frame or configuration. Cheap: it is asked for every frame.
    #[inline]
    pub(super) fn note(&mut self, frame: &Frame) {
        let Some(known) = self.0.get_mut(frame.kind as usize) else { return };
        let id = frame.flags.track;
        let is_news = match known {
            Some(track) if !track.is_old && id >= track.id => {
                id == track.id && track.mark != codec_mark(frame)
            }
            _ => true,
        };
        if is_news {
            note_codec(known, frame);
        }
    }

    /// Notes the stream time of a coded frame.
    #[inline]
    pub(super) fn note_time(&mut self, frame: &Frame) {
        if let Some(Some(track)) = self.0.get_mut(frame.kind as usize)
            && !track.is_old
            && track.id == frame.flags.track
        {
            track.first.get_or_insert(frame.timestamp);
            track.last = Some(frame.timestamp);
        }
    }

    #[inline]
    pub(super) fn ids(&self) -> MainIds {
        let id = |kind| self.of(kind).map_or(0, |track| track.id);
        MainIds([id(FrameKind::Audio), id(FrameKind::Video), 0])
    }

    fn of(&self, kind: FrameKind) -> Option<&MainTrack> {
        self.0.get(kind as usize)?.as_ref()
    }
}

#[cold]
fn note_codec(known: &mut Option<MainTrack>, frame: &Frame) {
    let Some(info) = PayloadInfo::parse(frame.kind, &frame.payload) else { return };
    if !info.packet.is_coded()
        && !matches!(info.packet, PacketType::SequenceStart | PacketType::Mpeg2TsSequenceStart)
    {
        return;
    }
    let is_enhanced = browser::is_enhanced(frame.kind, &frame.payload);
    let same = known.as_ref().filter(|track| !track.is_old && track.id == info.track);
    *known = Some(MainTrack {
        id: info.track,
        mark: codec_mark(frame),
        codec: TrackCodec { codec: info.codec, is_enhanced },
        first: same.and_then(|track| track.first),
        last: same.and_then(|track| track.last),
        is_old: false,
    });
}

impl State {
    /// See [`StreamTracks`].
    pub(crate) fn tracks(&self) -> StreamTracks {
        let begun = |kind| {
            let track = self.main_tracks.of(kind).filter(|track| !track.is_old)?;
            Some((track, !self.timeline.is_gone(kind, track.id)))
        };
        let (audio, video) = (begun(FrameKind::Audio), begun(FrameKind::Video));
        let tracks = [audio, video].into_iter().flatten();
        let first = tracks.clone().filter_map(|(track, _)| track.first).min();
        let played = first.zip(self.timeline.end()).map_or(0, |(first, end)| end.saturating_sub(first));
        let is_video_to_come = played < ANNOUNCED_AFTER_MS && self.expects_video();
        let is_time_over = played >= SETTLED_AFTER_MS && !is_video_to_come;
        let both_play = tracks.filter(|(track, is_on)| *is_on && track.first.is_some()).count() == 2;
        let is_there = |(track, is_on): (&MainTrack, bool)| match track.first {
            Some(_) => is_on,
            // Configuration may be announced of what never comes.
            None => !is_time_over,
        };
        let codec = |track: Option<(&MainTrack, bool)>| {
            track.filter(|track| is_there(*track)).map(|(track, _)| track.codec)
        };
        StreamTracks { audio: codec(audio), video: codec(video), are_settled: both_play || is_time_over }
    }
}

impl State {
    /// How the main track of a kind is coded, where there is one.
    pub(super) fn main_codec(&self, kind: FrameKind) -> Option<Codec> {
        self.main_tracks.of(kind).map(|track| track.codec.codec)
    }

    /// Newest audio minus newest video, in milliseconds, where there are both.
    pub(super) fn skew(&self) -> Option<i64> {
        let last = |kind| self.main_tracks.of(kind).and_then(|track| track.last);
        Some(last(FrameKind::Audio)?.saturating_sub(last(FrameKind::Video)?))
    }

    /// Whether metadata says that there is video, of which nothing has come.
    fn expects_video(&self) -> bool {
        let has_frames = |track: &MainTrack| !track.is_old && track.first.is_some();
        let has_come = self.main_tracks.of(FrameKind::Video).is_some_and(has_frames);
        let announces = |header: &Frame| header.is_metadata() && announces_video(&header.payload);
        !has_come && self.join_headers.iter().any(announces)
    }
}

impl Stream {
    /// Whether metadata says that there is video, of which nothing has come.
    #[cfg(feature = "http")]
    pub(crate) fn expects_video(&self) -> bool {
        self.with_state(|state| state.expects_video())
    }

    /// See [`StreamTracks`].
    pub(crate) fn tracks(&self) -> StreamTracks {
        self.with_state(|state| state.tracks())
    }
}

#[cfg(test)]
mod tests;
