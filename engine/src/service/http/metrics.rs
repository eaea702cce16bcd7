//! What Prometheus reads: OpenMetrics, one walk through the snapshot.
//!
//! There are 40 series at most for the engine and 30 for each stream, whatever peers do: what is of one connection has none.
//! Labels are names of streams, which hold nothing that the format would have to escape.

use crate::statistics::{Snapshot, StreamStats};
use crate::status::{FileState, RelayState, StreamState};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use std::sync::atomic::AtomicU64;

/// The type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;

/// The text.
pub(super) fn text(snapshot: &Snapshot) -> Vec<u8> {
    let mut metrics = Metrics(Registry::with_prefix("streamengine"));
    metrics.of_engine(snapshot);
    metrics.of_streams(&snapshot.streams);
    let mut text = String::new();
    // A text takes all that is written.
    let _ = encode(&mut text, &metrics.0);
    text.into_bytes()
}

/// Metrics in the making.
struct Metrics(Registry);

impl Metrics {
    fn register(&mut self, name: &str, help: &str, unit: Option<Unit>, metric: impl Metric) {
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, metric),
            None => self.0.register(name, help, metric),
        }
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.register(name, help, unit, family);
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let family = Family::<Labels, Number>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.register(name, help, unit, family);
    }

    fn of_engine(&mut self, snapshot: &Snapshot) {
        let engine = &snapshot.engine;
        let version = [("version", env!("CARGO_PKG_VERSION"))].to_vec();
        self.0.register("build", "The engine's version", Info::new(version));
        let count = |count: usize| one(count as f64);
        self.gauge("uptime", "Time since the start", Some(Unit::Seconds), one(engine.uptime.as_secs_f64()));
        self.gauge("connections", "Connections", None, count(engine.connections));
        self.gauge("publishers", "Connections that publish", None, count(engine.publishers));
        self.gauge("players", "Connections that play", None, count(engine.players));
        self.gauge("live_streams", "Streams that have a publisher", None, count(engine.streams_live));
        self.gauge("streams", "Streams", None, count(snapshot.streams.len()));
        self.gauge("ring", "Bytes in the rings of all streams", Some(Unit::Bytes), count(engine.ring_bytes));
        let total = |count: u64| [(Labels::new(), count)];
        self.counter(
            "connections_accepted",
            "Connections accepted",
            None,
            total(engine.connections_accepted),
        );
        self.counter(
            "connections_rejected",
            "Connections turned away, as too many were waiting",
            None,
            total(engine.connections_rejected),
        );
        self.counter("panics", "Tasks that panicked, each a fault of the engine", None, total(engine.panics));
        let traffic = [("in", engine.bytes_in), ("out", engine.bytes_out)];
        self.counter(
            "connection",
            "Bytes on all connections",
            Some(Unit::Bytes),
            traffic.map(|(direction, bytes)| (vec![("direction", direction.to_owned())], bytes)),
        );
        let relays = by_state(
            snapshot.relays.iter().map(|relay| relay.state),
            RELAY_STATES.map(|state| (state, state.as_str())),
        );
        self.gauge("relays", "Relays by state", None, relays);
        let files = by_state(
            snapshot.files.iter().map(|file| file.state),
            FILE_STATES.map(|state| (state, state.as_str())),
        );
        self.gauge("files", "File jobs by state", None, files);
        let fetched = snapshot.origins.iter().map(|origin| origin.streams.len()).sum();
        self.gauge("origin_streams", "Streams that are fetched from origins", None, count(fetched));
    }

    fn of_streams(&mut self, streams: &[StreamStats]) {
        let of = |value: fn(&StreamStats) -> f64| {
            streams.iter().map(move |stream| (labels(stream), value(stream)))
        };
        let some = |value: fn(&StreamStats) -> Option<f64>| {
            streams.iter().filter_map(move |stream| Some((labels(stream), value(stream)?)))
        };
        let total = |value: fn(&StreamStats) -> u64| {
            streams.iter().map(move |stream| (labels(stream), value(stream)))
        };
        self.gauge(
            "stream_live",
            "Whether it has a publisher",
            None,
            of(|stream| f64::from(stream.info.state == StreamState::Live)),
        );
        self.gauge("stream_players", "Connections that play it", None, of(|stream| stream.players as f64));
        self.gauge(
            "stream_subscribers",
            "Readers, relay pushes included",
            None,
            of(|stream| stream.info.subscribers as f64),
        );
        self.gauge("stream_frame_rate", "Frames of video per second", None, of(|stream| stream.frame_rate));
        let unit = || Some(Unit::Seconds);
        self.gauge(
            "stream_uptime",
            "Time since its first publisher",
            unit(),
            of(|stream| stream.info.uptime.as_secs_f64()),
        );
        self.gauge(
            "stream_queue",
            "How far the player is behind that is farthest",
            unit(),
            of(|stream| stream.queue.as_secs_f64()),
        );
        self.gauge(
            "stream_silence",
            "Time since its newest audio or video",
            unit(),
            some(|stream| stream.info.silence.map(|time| time.as_secs_f64())),
        );
        self.gauge(
            "stream_skew",
            "Newest audio minus newest video",
            unit(),
            some(|stream| stream.info.skew_ms.map(|skew| skew as f64 / 1_000.0)),
        );
        self.gauge(
            "stream_problems",
            "How much is wrong with it",
            None,
            of(|stream| stream.problems.len() as f64),
        );
        let intervals = streams
            .iter()
            .filter_map(|stream| Some((labels(stream), stream.keyframe_interval?.as_secs_f64())));
        self.gauge("stream_keyframe_interval", "Time between keyframes", unit(), intervals);
        self.gauge(
            "stream_ring",
            "Bytes in its ring",
            Some(Unit::Bytes),
            of(|stream| stream.info.ring_bytes as f64),
        );
        let with = |label: &'static str, values: fn(&StreamStats) -> [(&'static str, u64); 2]| {
            streams.iter().flat_map(move |stream| {
                values(stream).map(|(name, value)| {
                    let mut labels = labels(stream);
                    labels.push((label, name.to_owned()));
                    (labels, value)
                })
            })
        };
        self.counter(
            "stream",
            "Bytes of payload in, and out in their wire form",
            Some(Unit::Bytes),
            with("direction", |stream| [("in", stream.info.bytes_in), ("out", stream.info.bytes_out)]),
        );
        self.counter(
            "stream_frames",
            "Frames received",
            None,
            with("kind", |stream| [("audio", stream.info.audio_frames), ("video", stream.info.video_frames)]),
        );
        self.counter("stream_keyframes", "Keyframes received", None, total(|stream| stream.info.keyframes));
        self.counter(
            "stream_resumes",
            "Publishers that came back or were replaced",
            None,
            total(|stream| stream.info.resumes),
        );
        self.counter(
            "stream_lags",
            "Times that a reader fell too far behind",
            None,
            total(|stream| stream.info.lags),
        );
        self.counter(
            "stream_frames_skipped",
            "Frames that readers missed by that",
            None,
            total(|stream| stream.info.frames_skipped),
        );
    }
}

const RELAY_STATES: [RelayState; 9] = [
    RelayState::Idle,
    RelayState::Resolving,
    RelayState::Connecting,
    RelayState::Handshaking,
    RelayState::Publishing,
    RelayState::Playing,
    RelayState::Stalled,
    RelayState::BackingOff,
    RelayState::Failed,
];
const FILE_STATES: [FileState; 4] =
    [FileState::Playing, FileState::Finished, FileState::Stopped, FileState::Failed];

fn one(value: f64) -> [(Labels, f64); 1] {
    [(Labels::new(), value)]
}

fn labels(stream: &StreamStats) -> Labels {
    vec![("stream", stream.info.key.to_string())]
}

/// How many there are in each state.
fn by_state<S: PartialEq + Copy, const N: usize>(
    states: impl Iterator<Item = S>,
    all: [(S, &'static str); N],
) -> Vec<(Labels, f64)> {
    let states: Vec<_> = states.collect();
    let count = |state: S| states.iter().filter(|other| **other == state).count();
    all.into_iter().map(|(state, name)| (vec![("state", name.to_owned())], count(state) as f64)).collect()
}

#[cfg(test)]
mod tests;
