//! HLS and low-latency HLS: what a stream's playlists and media are at every moment, for whoever asks by HTTP.
//!
//! ```text
//!   hub ──frames──> Segmenter ──cuts──> Window ──Snapshot──> everybody who asks, or waits
//! ```
//! A stream is muxed once, from the first request on; what is made for one player is there for all. Nothing here knows a player
//! or HTTP.

mod disk;
mod form;
mod muxer;
mod plan;
mod playlist;
mod segmenter;
mod viewers;

pub(crate) use playlist::{Awaited, Piece, Snapshot, Standing, rendition_of_playlist};
pub(crate) use viewers::Viewer;

use crate::Limits;
use crate::config::HlsConfig;
use crate::hub::Hub;
use crate::key::StreamKey;
use crate::limits::ms;
use crate::status::StreamState;
use arc_swap::ArcSwap;
use disk::Disk;
use muxer::Muxer;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use viewers::Viewers;

/// A second of the time in which cuts are told.
const TICKS: i64 = 90_000;

/// A time in units of which `timescale` are a second, in ticks.
fn ticks(at: i64, timescale: u32) -> i64 {
    scaled(at, TICKS, timescale.into())
}

/// The other way round.
fn units_of(ticks: i64, timescale: u32) -> i64 {
    scaled(ticks, timescale.into(), TICKS)
}

fn scaled(value: i64, to: i64, from: i64) -> i64 {
    let scaled = (i128::from(value) * i128::from(to)).div_euclid(i128::from(from.max(1)));
    i64::try_from(scaled).unwrap_or(i64::MAX)
}

/// The streams that are there as HLS. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hls {
    shared: Arc<Shared>,
}

struct Shared {
    hub: Hub,
    limits: ArcSwap<Limits>,
    tasks: TaskTracker,
    draining: CancellationToken,
    /// What its tasks run on, where that is known: programs publish from threads of their own.
    runtime: OnceLock<Handle>,
    streams: Mutex<HashMap<StreamKey, Arc<HlsStream>>>,
    /// The same by the folders of their media.
    epochs: Mutex<HashMap<String, Arc<HlsStream>>>,
    viewers: Viewers,
    disk: Disk,
    /// Bytes of all windows.
    bytes: AtomicUsize,
}

/// One stream as HLS.
pub(crate) struct HlsStream {
    key: StreamKey,
    /// The folder of its media: a name that nobody guesses, so that who has it may load them.
    epoch: String,
    state: watch::Sender<State>,
    /// When somebody asked for it last.
    asked: Mutex<Instant>,
}

/// How far it is.
#[derive(Debug, Clone, Default)]
pub(crate) enum State {
    /// There is nothing to play yet.
    #[default]
    Starting,
    /// There is.
    Playing(Arc<Snapshot>),
    /// There will be nothing, or nothing more.
    Stopped(Stopped),
}

/// Why there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It has ended, or nobody published it.
    Over,
    /// None of its tracks can be put into MP4.
    NoTracks,
    /// It would take more memory than it may have.
    TooLarge,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Over => "the stream has ended",
            Self::NoTracks => "HLS has no form for the codecs of this stream (hls.format); play it as FLV (.flv) or by RTMP",
            Self::TooLarge => {
                "the stream is too large for HLS: more than limits.hls_bytes of it, or limits.hls_bytes_total of all, would be held"
            }
        })
    }
}

impl Hls {
    pub(crate) fn new(hub: Hub, limits: &Limits, tasks: TaskTracker, draining: CancellationToken) -> Self {
        let shared = Shared {
            hub,
            limits: ArcSwap::from_pointee(limits.in_force().into_owned()),
            tasks,
            draining,
            runtime: OnceLock::new(),
            streams: Mutex::default(),
            epochs: Mutex::default(),
            viewers: Viewers::default(),
            disk: Disk::default(),
            bytes: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Has its tasks run on this from now on.
    pub(crate) fn run_on(&self, runtime: &Handle) {
        self.shared.runtime.get_or_init(|| runtime.clone());
    }

    /// Holds to these limits from now on; streams that are there keep their share.
    pub(crate) fn set_limits(&self, limits: &Limits) {
        self.shared.limits.store(Arc::new(limits.in_force().into_owned()));
    }

    /// The stream, as it is or begun now. Needs a tokio runtime, if none was given.
    pub(crate) fn open(&self, key: &StreamKey, config: &HlsConfig, wait: Duration) -> Arc<HlsStream> {
        let _entered = self.shared.runtime.get().map(Handle::enter);
        let mut streams = self.shared.streams.lock();
        if let Some(stream) = streams.get(key)
            && !stream.is_of_the_past(&self.shared.hub)
        {
            stream.touch();
            return stream.clone();
        }
        let stream = Arc::new(HlsStream {
            key: key.clone(),
            epoch: format!("{:032x}", rand::random::<u128>()),
            state: watch::Sender::default(),
            asked: Mutex::new(Instant::now()),
        });
        streams.insert(key.clone(), stream.clone());
        self.shared.epochs.lock().insert(stream.epoch.clone(), stream.clone());
        let muxer = Muxer::new(self.clone(), stream.clone(), config.clone(), wait);
        self.spawn(muxer.run());
        if let Some(dir) = &config.dir {
            self.spawn(disk::write(self.clone(), stream.clone(), dir.clone(), ms(config.window_ms)));
        }
        stream
    }

    /// The stream where it has ended, its window is still held, and nobody has published it again.
    pub(crate) fn ended(&self, key: &StreamKey) -> Option<Arc<HlsStream>> {
        let stream = self.shared.streams.lock().get(key).cloned()?;
        let is_on = |state| matches!(state, StreamState::Live | StreamState::Away);
        let is_published = || self.shared.hub.stream(key).is_some_and(|info| is_on(info.state));
        (stream.is_over() && !is_published()).then_some(stream)
    }

    /// Removes files of streams that earlier runs have left in the folders of these settings, once they are of no use to anybody.
    pub(crate) fn sweep<'a>(&self, settings: impl Iterator<Item = &'a HlsConfig>) {
        let _entered = self.shared.runtime.get().map(Handle::enter);
        let mut dirs = HashMap::<&PathBuf, Duration>::new();
        for HlsConfig { dir, window_ms, .. } in settings {
            let kept = HlsStream::is_held_for(ms(*window_ms));
            dir.iter().for_each(|dir| {
                dirs.entry(dir).and_modify(|other| *other = kept.max(*other)).or_insert(kept);
            });
        }
        for (dir, kept) in dirs {
            self.spawn(disk::sweep(self.clone(), dir.clone(), kept));
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.tasks.spawn(self.shared.draining.clone().run_until_cancelled_owned(task));
    }

    /// The stream whose media are in this folder.
    pub(crate) fn of_epoch(&self, epoch: &str) -> Option<Arc<HlsStream>> {
        let stream = self.shared.epochs.lock().get(epoch).cloned()?;
        stream.touch();
        Some(stream)
    }

    /// The viewer who has this token.
    pub(crate) fn viewer(&self, token: &str) -> Option<Arc<Viewer>> {
        self.shared.viewers.find(token)
    }

    /// Gives a viewer its place, and a token unless it has one; none where there are as many viewers as there may be.
    pub(crate) fn let_in(
        &self,
        stream: Arc<HlsStream>,
        token: Option<&str>,
        address: IpAddr,
        agent: &str,
    ) -> Option<Arc<Viewer>> {
        self.shared.viewers.take(stream, token, address, agent, self.shared.limits.load().hls_viewers)
    }

    pub(crate) fn forget_viewer(&self, viewer: &Arc<Viewer>) {
        self.shared.viewers.forget(viewer);
    }

    /// Somebody loads media of a stream.
    pub(crate) fn count_media(&self, stream: &HlsStream, address: IpAddr, agent: &str, bytes: usize) {
        self.shared.hub.count_sent(&stream.key, bytes);
        self.shared.viewers.count_media(stream, address, agent, bytes);
    }

    fn forget(&self, stream: &Arc<HlsStream>) {
        self.shared.epochs.lock().remove(&stream.epoch);
        let mut streams = self.shared.streams.lock();
        if streams.get(&stream.key).is_some_and(|other| Arc::ptr_eq(other, stream)) {
            streams.remove(&stream.key);
        }
    }
}

impl Shared {
    /// One window holds `now` bytes where it held `before`; by how many all together are beyond their bound.
    fn note_bytes(&self, before: usize, now: usize) -> usize {
        self.bytes.fetch_add(now, Ordering::Relaxed);
        let all = self.bytes.fetch_sub(before, Ordering::Relaxed) - before;
        all.saturating_sub(self.limits.load().hls_bytes_total)
    }
}

impl HlsStream {
    /// What it is at this moment, and from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Somebody wants it.
    pub(crate) fn touch(&self) {
        *self.asked.lock() = Instant::now();
    }

    /// How long a stream is held after its end that lists so much: as long as a playlist lists what there was then, and as long again.
    fn is_held_for(window: Duration) -> Duration {
        window.saturating_mul(2)
    }

    /// Whether nothing follows what there is to play.
    fn is_over(&self) -> bool {
        matches!(&*self.state.borrow(), State::Playing(snapshot) if snapshot.is_over())
    }

    /// Whether it has stopped, or ended while its name is published again, or waited for.
    fn is_of_the_past(&self, hub: &Hub) -> bool {
        let has_stopped = matches!(&*self.state.borrow(), State::Stopped(_));
        has_stopped || (self.is_over() && hub.stream(&self.key).is_some())
    }
}

#[cfg(test)]
mod tests;
