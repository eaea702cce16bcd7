//! What is told of an engine from second to second: one snapshot, from which all who watch are told, and what was before it.
//!
//! ```text
//!   hub, sessions, relays, ... ──once a second──> Snapshot ──> /stat, /metrics, the program, ...
//!                                                    └──> Sample, of the last ten minutes
//! ```
//! So what they are told never differs, many who watch cost what one does, and whoever begins to watch finds the past.

mod history;
mod problems;
mod tracks;

pub use history::Sample;
pub use problems::StreamProblem;
pub use tracks::{AudioTrack, VideoTrack};

use crate::Limits;
use crate::key::StreamKey;
use crate::limits::{as_ms, as_ms_or_none};
use crate::status::{
    EngineStats, FileStatus, OriginStatus, RelayStatus, SessionInfo, SessionRole, StreamInfo,
};
#[cfg(feature = "http")]
use bytes::Bytes;
use history::{Moment, Past};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
#[cfg(feature = "http")]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// An engine at one moment: all that there is to tell, each number of the same moment.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Counters of the whole engine; its uptime is when this was.
    pub engine: EngineStats,
    /// What all connections carry.
    pub rates: Rates,
    /// All streams, by name.
    pub streams: Vec<StreamStats>,
    /// All connections, in the order in which they came.
    pub sessions: Vec<SessionInfo>,
    /// All relays.
    pub relays: Vec<RelayStatus>,
    /// All file jobs.
    pub files: Vec<FileStatus>,
    /// All origins, by alias.
    pub origins: Vec<OriginStatus>,
    /// What has been made of it.
    #[cfg(feature = "http")]
    #[serde(skip)]
    forms: [OnceLock<Bytes>; SnapshotForm::COUNT],
}

/// What a snapshot can be made into: each once, however many ask for it.
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy)]
pub(crate) enum SnapshotForm {
    /// nginx-rtmp's XML.
    NginxXml,
    /// The same in the JSON of nginx-http-flv.
    NginxJson,
    /// The text that Prometheus reads.
    Metrics,
    /// The whole in a few numbers, and the lists of the API.
    ApiSummary,
    ApiStreams,
    ApiSessions,
    ApiRelays,
    ApiFiles,
    ApiOrigins,
}

#[cfg(feature = "http")]
impl SnapshotForm {
    const COUNT: usize = Self::ApiOrigins as usize + 1;
}

#[cfg(feature = "http")]
impl Snapshot {
    /// It in a form, which `make` makes where nobody has asked for it yet.
    pub(crate) fn form(&self, form: SnapshotForm, make: impl FnOnce(&Self) -> Vec<u8>) -> Bytes {
        match self.forms.get(form as usize) {
            Some(made) => made.get_or_init(|| make(self).into()).clone(),
            None => Bytes::new(),
        }
    }
}

/// A stream at one moment.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StreamStats {
    /// Facts and counters.
    #[serde(flatten)]
    pub info: StreamInfo,
    /// What it carries.
    pub rates: Rates,
    /// Frames of video per second.
    pub frame_rate: f64,
    /// Time from one keyframe to the next; `None` where there were none lately.
    #[serde(rename = "keyframe_interval_ms", serialize_with = "as_ms_or_none")]
    #[cfg_attr(feature = "http", schemars(with = "Option<u64>"))]
    pub keyframe_interval: Option<Duration>,
    /// Connections that play it.
    pub players: usize,
    /// Of these, the one that is farthest behind: time since the oldest frame came that has not been written to it.
    #[serde(rename = "queue_ms", serialize_with = "as_ms")]
    #[cfg_attr(feature = "http", schemars(with = "u64"))]
    pub queue: Duration,
    /// Its main video track.
    pub video: Option<VideoTrack>,
    /// Its main audio track.
    pub audio: Option<AudioTrack>,
    /// What is wrong with it.
    pub problems: Vec<StreamProblem>,
}

/// Bits per second over the last ten seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Rates {
    /// Received; of a stream its payloads, of an engine all bytes of its connections.
    pub bits_in: u64,
    /// Sent, likewise.
    pub bits_out: u64,
    /// Of a stream: received audio.
    pub audio: u64,
    /// Of a stream: received video.
    pub video: u64,
}

/// What a snapshot is made of.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) engine: EngineStats,
    pub(crate) streams: Vec<StreamInfo>,
    pub(crate) sessions: Vec<SessionInfo>,
    pub(crate) relays: Vec<RelayStatus>,
    pub(crate) files: Vec<FileStatus>,
    pub(crate) origins: Vec<OriginStatus>,
}

/// The statistics of one engine.
pub(crate) struct Statistics {
    newest: watch::Sender<Arc<Snapshot>>,
    past: Mutex<Pasts>,
    /// Streams whose past is kept.
    most_streams: AtomicUsize,
}

#[derive(Default)]
struct Pasts {
    engine: Past,
    streams: HashMap<StreamKey, Past>,
}

/// The players of a stream.
#[derive(Default, Clone, Copy)]
struct Audience {
    players: usize,
    queue: Duration,
}

impl Statistics {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (newest, past) = (watch::Sender::default(), Mutex::default());
        Self { newest, past, most_streams: limits.history_streams.into() }
    }

    /// Holds to these limits as streams begin.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.most_streams.store(limits.history_streams, Ordering::Relaxed);
    }

    /// The engine as it was at the newest second.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.newest.borrow().clone()
    }

    /// The newest second and those that follow, for who is to know each as soon as it is there.
    #[cfg(feature = "http")]
    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.newest.subscribe()
    }

    /// The engine in the last ten minutes, the oldest first.
    pub(crate) fn history(&self) -> Vec<Sample> {
        self.past.lock().engine.samples()
    }

    /// A stream in the last ten minutes, the oldest first; `None` where nothing is known of one of that name.
    pub(crate) fn history_of(&self, key: &StreamKey) -> Option<Vec<Sample>> {
        Some(self.past.lock().streams.get(key)?.samples())
    }

    /// Takes what is now into a new snapshot, and into the past.
    pub(crate) fn note(&self, facts: Facts) {
        let Facts { engine, streams, sessions, relays, files, origins } = facts;
        let now = engine.uptime;
        let (audiences, most) = (audiences(&sessions), self.most_streams.load(Ordering::Relaxed));
        let mut past = self.past.lock();
        let noted = streams.into_iter().map(|info| {
            let audience = audiences.get(&info.key).copied().unwrap_or_default();
            past.note_stream(info, audience, now, most)
        });
        let streams: Vec<_> = noted.collect();
        past.engine.note(Moment::of_engine(&engine, &streams), now);
        let rates = past.engine.rates();
        past.streams.retain(|_, past| past.is_kept(now));
        drop(past);
        let snapshot =
            Snapshot { engine, rates, streams, sessions, relays, files, origins, ..Snapshot::default() };
        self.newest.send_replace(Arc::new(snapshot));
    }
}

impl Pasts {
    fn note_stream(
        &mut self,
        info: StreamInfo,
        audience: Audience,
        now: Duration,
        most: usize,
    ) -> StreamStats {
        let is_new = !self.streams.contains_key(&info.key);
        if is_new {
            let kept = self.streams.values().filter(|past| past.is_long()).count();
            let has_room = kept < most || self.forget_oldest_end(now);
            self.streams.insert(info.key.clone(), Past::new(has_room));
        }
        let past = self.streams.entry(info.key.clone()).or_default();
        past.note(Moment::of_stream(&info, audience), now);
        let (video, audio) = tracks::of(&info);
        let recently = past.recently();
        let mut stream = StreamStats {
            rates: past.rates(),
            frame_rate: past.frame_rate(),
            keyframe_interval: past.keyframe_interval(),
            players: audience.players,
            queue: audience.queue,
            video,
            audio,
            problems: Vec::new(),
            info,
        };
        stream.problems = problems::of(&stream, &recently);
        stream
    }

    /// Forgets the stream that has ended first; false where all go on.
    fn forget_oldest_end(&mut self, now: Duration) -> bool {
        let ended = self.streams.iter().filter(|(_, past)| past.is_long() && past.is_over(now));
        let oldest = ended.min_by_key(|(_, past)| past.noted()).map(|(key, _)| key.clone());
        oldest.is_some_and(|key| self.streams.remove(&key).is_some())
    }
}

fn audiences(sessions: &[SessionInfo]) -> HashMap<StreamKey, Audience> {
    let mut audiences = HashMap::<_, Audience>::new();
    for session in sessions.iter().filter(|session| session.role == SessionRole::Player) {
        if let Some(stream) = &session.stream {
            let audience = audiences.entry(stream.clone()).or_default();
            audience.players += 1;
            audience.queue = audience.queue.max(session.queue);
        }
    }
    audiences
}

#[cfg(test)]
mod tests;
