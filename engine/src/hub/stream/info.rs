//! What a stream tells about itself.

use super::rights::Phase;
use super::{State, Stream};
use crate::hub::watcher::Standing;
use crate::media::FrameKind;
use crate::status::{StreamInfo, StreamState};
use std::sync::atomic::Ordering;
use tokio::time::Instant;

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

impl State {
    /// What watchers are told.
    pub(super) fn standing(&self) -> Option<Standing> {
        match self.phase {
            Phase::Idle => (self.viewers > 0).then_some(Standing::Wanted),
            Phase::Live(_) | Phase::Away { .. } => Some(Standing::Begun),
            Phase::Ended { .. } => None,
        }
    }

    pub(crate) fn count_lag(&mut self, skipped: u64) {
        self.counters.lags += 1;
        self.counters.skipped += skipped;
    }
}

impl Stream {
    /// What watchers are told.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.state.lock().standing()
    }

    /// Facts and counters at this moment.
    pub(crate) fn info(&self) -> StreamInfo {
        let state = self.state.lock();
        let counters = &state.counters;
        let bytes_of = |kind: FrameKind| counters.bytes[kind as usize];
        StreamInfo {
            key: self.key.clone(),
            state: state.phase.public(),
            uptime: state.since.map(|since| since.elapsed()).unwrap_or_default(),
            publisher: state.phase.request().map(|request| request.source.clone()),
            subscribers: state.viewers + state.followers,
            bytes_in: counters.bytes.iter().sum(),
            bytes_out: self.sent.load(Ordering::Relaxed),
            audio_bytes: bytes_of(FrameKind::Audio),
            video_bytes: bytes_of(FrameKind::Video),
            audio_codec: state.main_codec(FrameKind::Audio),
            video_codec: state.main_codec(FrameKind::Video),
            skew_ms: state.skew(),
            audio_frames: counters.frames[FrameKind::Audio as usize],
            video_frames: counters.frames[FrameKind::Video as usize],
            keyframes: counters.keyframes,
            timestamp: state.timeline.end(),
            time_jumps: state.timeline.jumps(),
            resumes: counters.resumes,
            lags: counters.lags,
            frames_skipped: counters.skipped,
            ring_frames: state.ring.len(),
            ring_bytes: state.ring.bytes(),
            gop_bytes: state
                .ring
                .newest_start()
                .map_or(0, |(at, ..)| state.ring.backlog(at, Instant::now()).bytes),
            silence: counters.last_media.map(|at| at.elapsed()),
            config: state.join_headers.to_vec(),
        }
    }
}
