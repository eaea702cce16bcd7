//! What a stream tells about itself, and what it counts for that.

use super::rights::Phase;
use super::{State, Stream};
use crate::key::StreamKey;
use crate::limits::{as_ms, as_ms_or_none};
use crate::media::{Frame, FrameKind};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// Where a stream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    /// Subscribers wait; nobody has published yet.
    Idle,
    /// It has a publisher.
    Live,
    /// The publisher was lost and may return within the resume window.
    Away,
    /// It is over.
    Ended,
}

impl Phase {
    fn public(&self) -> StreamState {
        match self {
            Self::Idle => StreamState::Idle,
            Self::Live(_) => StreamState::Live,
            Self::Away { .. } => StreamState::Away,
            Self::Ended { .. } => StreamState::Ended,
        }
    }
}

/// Facts and counters of one stream at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The name.
    pub key: StreamKey,
    /// Where it is in its life.
    pub state: StreamState,
    /// Time since the first publisher of this stream was let in.
    #[serde(rename = "uptime_ms", serialize_with = "as_ms")]
    pub uptime: Duration,
    /// Who publishes, while there is a publisher.
    pub publisher: Option<String>,
    /// Subscribers at present, relay pushes included.
    pub subscribers: usize,
    /// Payload bytes received, all frames.
    pub bytes_in: u64,
    /// Audio frames received, configuration not counted.
    pub audio_frames: u64,
    /// Video frames received, configuration not counted.
    pub video_frames: u64,
    /// Keyframes received.
    pub keyframes: u64,
    /// Stream time of the newest frame in milliseconds.
    pub timestamp: Option<i64>,
    /// Times a publisher was replaced or returned within the resume window.
    pub resumes: u64,
    /// Times a subscriber fell off the ring, or behind what the publisher allows, and jumped to a keyframe.
    pub lags: u64,
    /// Frames that subscribers missed by those jumps.
    pub frames_skipped: u64,
    /// Frames in the ring.
    pub ring_frames: usize,
    /// Bytes in the ring, a fixed overhead per frame included.
    pub ring_bytes: usize,
    /// Of these, payload bytes from the newest keyframe on: what a joining player gets first.
    pub gop_bytes: u64,
    /// Time since the newest media frame.
    #[serde(rename = "silence_ms", serialize_with = "as_ms_or_none")]
    pub silence: Option<Duration>,
    /// Decoder configuration frames and metadata in force.
    #[serde(skip)]
    pub config: Vec<Frame>,
}

/// What has happened since the stream began.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) bytes_in: u64,
    pub(super) frames: [u64; 3],
    pub(super) keyframes: u64,
    pub(super) resumes: u64,
    pub(super) lags: u64,
    pub(super) skipped: u64,
    pub(super) last_media: Option<Instant>,
}

impl Counters {
    #[inline]
    pub(super) fn count(&mut self, frame: &Frame) {
        self.bytes_in += frame.payload.len() as u64;
        if !frame.is_config() {
            self.frames[frame.kind as usize] += 1;
            self.keyframes += u64::from(frame.kind == FrameKind::Video && frame.flags.keyframe);
        }
    }
}

impl State {
    pub(in crate::hub) fn count_lag(&mut self, skipped: u64) {
        self.counters.lags += 1;
        self.counters.skipped += skipped;
    }
}

impl Stream {
    /// Facts and counters at this moment.
    pub(in crate::hub) fn info(&self) -> StreamInfo {
        let state = self.state.lock();
        let counters = &state.counters;
        StreamInfo {
            key: self.key.clone(),
            state: state.phase.public(),
            uptime: state.since.map(|since| since.elapsed()).unwrap_or_default(),
            publisher: state.phase.request().map(|request| request.source.clone()),
            subscribers: state.viewers + state.followers,
            bytes_in: counters.bytes_in,
            audio_frames: counters.frames[FrameKind::Audio as usize],
            video_frames: counters.frames[FrameKind::Video as usize],
            keyframes: counters.keyframes,
            timestamp: state.timeline.end(),
            resumes: counters.resumes,
            lags: counters.lags,
            frames_skipped: counters.skipped,
            ring_frames: state.ring.len(),
            ring_bytes: state.ring.bytes(),
            gop_bytes: state
                .ring
                .newest_keyframe()
                .map_or(0, |(at, ..)| state.ring.backlog(at, Instant::now()).bytes),
            silence: counters.last_media.map(|at| at.elapsed()),
            config: state.prelude.to_vec(),
        }
    }
}
