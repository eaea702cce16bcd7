//! The property `stats`, and what is told of players.

use super::audience::Totals;
use super::muxing::Codecs;
use crate::time::clock_time;
use gst::glib;
use std::time::Duration;
use streamengine::{Engine, SessionInfo, SessionRole, StreamKey};

/// What the statistics are made of.
pub(super) struct Sources<'a> {
    pub(super) engine: Option<&'a Engine>,
    pub(super) key: Option<&'a StreamKey>,
    pub(super) totals: Totals,
    pub(super) video_bit_rate: u64,
    pub(super) codecs: Codecs,
    pub(super) targets: Vec<gst::Structure>,
    pub(super) bytes_to_targets: u64,
    pub(super) recording: Option<gst::Structure>,
}

/// `application/x-rtmprelaysink-stats`.
pub(super) fn structure(sources: Sources<'_>) -> gst::Structure {
    let Sources { engine, key, totals, video_bit_rate, codecs, targets, bytes_to_targets, recording } =
        sources;
    let known = engine.zip(key);
    let info = known.and_then(|(engine, key)| engine.stream(key));
    let players = known.map_or_else(Vec::new, |(engine, key)| players(engine, key));
    let bytes_to_players: u64 = players.iter().map(|player| player.bytes_out).sum();
    let count = u32::try_from(players.len()).unwrap_or(u32::MAX);
    let mut stats = gst::Structure::builder("application/x-rtmprelaysink-stats")
        .field("bytes-in", info.as_ref().map_or(0, |info| info.bytes_in))
        .field("frames-in", info.as_ref().map_or(0, |info| info.audio_frames + info.video_frames))
        .field("keyframes-in", info.as_ref().map_or(0, |info| info.keyframes))
        .field("frames-dropped", info.as_ref().map_or(0, |info| info.frames_skipped))
        .field("bytes-out", totals.bytes_to_gone + bytes_to_players + bytes_to_targets)
        .field("players", count)
        .field("players-total", totals.players)
        .field("uptime", info.as_ref().map_or(gst::ClockTime::ZERO, |info| clock_time(info.uptime)))
        .field("video-bitrate", video_bit_rate)
        .field("gop-cache-bytes", info.as_ref().map_or(0, |info| info.gop_bytes))
        .field("players-list", gst::List::new(players.iter().map(player)))
        .field("targets-list", gst::List::new(targets))
        .build();
    stats.set("video-codec", codecs.video.map(|codec| codec.to_string()));
    stats.set("audio-codec", codecs.audio.map(|codec| codec.to_string()));
    if let Some(recording) = recording {
        stats.set("recording", recording);
    }
    stats
}

fn players(engine: &Engine, key: &StreamKey) -> Vec<SessionInfo> {
    let plays =
        |session: &SessionInfo| session.role == SessionRole::Player && session.stream.as_ref() == Some(key);
    engine.sessions().into_iter().filter(plays).collect()
}

/// All that is known of a player.
pub(super) fn player(session: &SessionInfo) -> gst::Structure {
    let mut player = gst::Structure::builder("rtmprelaysink-player")
        .field("id", crate::host::public_id(session.id))
        .field("address", session.peer.to_string())
        .field("door", session.door.as_str())
        .field("tls", session.tls)
        .field("bytes-sent", session.bytes_out)
        .field("queue-time", clock_time(session.queue))
        .field("queue-bytes", session.queue_bytes)
        .field("dropped", session.frames_dropped)
        .build();
    if let Some(agent) = &session.agent {
        player.set("agent", agent);
    }
    if let Some(rtt) = session.rtt {
        player.set("rtt", clock_time(rtt));
    }
    if let Some(since) = ago(session.uptime) {
        player.set("connected-at", since);
    }
    player
}

/// The time of day so long ago.
pub(super) fn ago(time: Duration) -> Option<gst::DateTime> {
    let now = glib::DateTime::now_utc().ok()?;
    let micros = i64::try_from(time.as_micros()).ok()?.checked_neg()?;
    now.add(glib::TimeSpan::from_microseconds(micros)).ok().map(gst::DateTime::from)
}
