//! Every limit of the engine in one place: unit, default, what it bounds and which attack it stops.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// Limits on what peers can make the engine hold, wait for or do. Times are in milliseconds, sizes in bytes.
///
/// Each field names the test that fails when the limit is taken away. Bounds that nobody would want to change are
/// constants beside the code that keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Time for the whole RTMP handshake (TLS included), from accept; stops drip-feeding
    /// (test `f12_a_dripped_handshake_is_closed_after_5_seconds_whatever_its_progress`).
    pub handshake_timeout_ms: u64,
    /// Time from the handshake to a granted `publish` or `play`; stops idle connections
    /// (test `f13_silence_is_closed_10_seconds_after_handshake_connect_and_publish`).
    pub command_timeout_ms: u64,
    /// Longest silence of a publisher: no media message and no answer to a ping, which is sent after half of it; frees names
    /// of dead encoders. Apps may have another
    /// ([`AppConfig::publisher_timeout_ms`](crate::AppConfig::publisher_timeout_ms))
    /// (test `f13_silence_is_closed_10_seconds_after_handshake_connect_and_publish`).
    pub publisher_timeout_ms: u64,
    /// Time from a granted `publish`, or a pull's first message, to the first frame of audio or video or the first data event,
    /// where the publisher answers pings or sends what is none of these: headers, `onMetaData`, empty messages. Stops names
    /// that are held for nothing; long, as some encoders wait for their picture
    /// (test `w10_what_is_no_media_does_not_keep_a_stream_that_never_begins`).
    pub first_media_timeout_ms: u64,
    /// Longest time a peer takes no byte while there are bytes to send; ends stuck players
    /// (test `f20_a_player_that_stops_reading_is_closed_after_10_seconds_and_others_lose_nothing`).
    pub write_timeout_ms: u64,
    /// HTTP: time for the head of a request, the first from accept on, later ones from their first byte; stops slow headers
    /// (test `f37_a_head_that_drips_in_is_closed_after_5_seconds`).
    pub http_header_timeout_ms: u64,
    /// HTTP: bytes of the head of a request; more are answered with 431
    /// (test `f37_a_head_of_more_than_8_kib_is_answered_with_431_and_closed`).
    pub http_header_bytes: usize,
    /// HTTP: how long a connection may be kept open between two requests; frees what browsers leave open
    /// (test `f37_a_connection_without_a_request_is_closed_after_30_seconds`).
    pub http_idle_ms: u64,
    /// Time for the authoriser's answer; no answer is a refusal (test `authorizer_without_answer_is_refusal`).
    pub auth_timeout_ms: u64,
    /// Requests of one address, or of one /64 of IPv6, that the authoriser may refuse in a minute. The answer to each further
    /// one comes 3 s later, and four of an address at a time are put off so: while there are four, its other requests wait
    /// for one of them, 3 s at most, and are then refused without asking. Who is granted does not wait as long as there are
    /// fewer; stops the guessing of keys (test `w10_who_guesses_keys_gets_few_answers`).
    pub auth_failures_per_minute: u32,
    /// Time between pings to players; unanswered ones mean nothing by themselves, the write stall decides
    /// (test `idle_players_are_pinged`).
    pub ping_interval_ms: u64,
    /// Connections at once, each player of one that speaks HTTP/2 counted as one; more are not accepted until one ends
    /// (test `connections_over_the_limit_wait_until_one_ends`).
    pub max_connections: usize,
    /// Of these, connections of one address, or of one /64 of IPv6, whatever they do; more are closed at once. What comes
    /// through a proxy on the way counts as the proxy's
    /// (test `w6_one_address_may_hold_so_many_connections_whatever_they_do`).
    pub max_connections_per_address: usize,
    /// Of `max_connections`, places that players do not get, a tenth at most: so that publishers find one
    /// (test `w6_players_leave_places_to_publishers`).
    pub publisher_places: usize,
    /// Of these, connections that have not been granted `publish` or `play`; for one more, the oldest is closed
    /// (test `f14_all_addresses_together_may_hold_so_many_pending_connections_and_the_oldest_gives_way`).
    #[serde(alias = "max_ungranted")]
    pub max_pending: usize,
    /// Pending connections of one address, or of one /64 of IPv6; more are closed at once
    /// (test `f14_one_address_may_hold_so_many_pending_connections_and_others_are_still_served`).
    #[serde(alias = "max_ungranted_per_address")]
    pub max_pending_per_address: usize,
    /// What one address, or one /64 of IPv6, may begin in a minute: connections, each with its first `publish` or `play`, and
    /// further requests. A minute's worth may come at once, as when an audience returns; more wait for their turn, and nothing
    /// is refused. Bounds the events and the work that a peer can cause by beginning and ending; log lines about it have a
    /// bound of their own, 100 a second, and those left out are counted
    /// (test `w5_starts_of_one_address_wait_for_their_turn_and_those_of_others_do_not`).
    pub starts_per_minute_per_address: u32,
    /// Streams that one address, or one /64 of IPv6, publishes over all its connections; those whose publisher is away count
    /// until they end. What relays, files and the embedding program publish does not count. Bounds what an address can make
    /// the engine hold (test `w8_one_address_publishes_so_many_streams_those_that_are_away_included`).
    pub max_streams_per_address: usize,
    /// Streams of origins that are asked for at a time and have not come yet; who wants one more is refused until one has.
    /// Bounds what names that strangers make up cost us and the origins
    /// (test `f39_no_more_than_16_streams_of_origins_are_asked_for_at_a_time`).
    pub origin_pulls: usize,
    /// Longest message before `publish` is granted; bounds what a stranger can make us hold
    /// (test `f04_only_a_publisher_may_send_messages_of_8_mib_and_nobody_longer_ones`).
    #[serde(alias = "max_message_ungranted")]
    pub max_message_pending: usize,
    /// Longest message of a publisher (test `f04_only_a_publisher_may_send_messages_of_8_mib_and_nobody_longer_ones`).
    pub max_message: usize,
    /// Longest message of a publisher by WebSocket, which may be in fragments; it is taken as it comes, and never held. Bounds what
    /// one may announce before it says anything else (test `what_is_too_large_or_too_fast_is_closed_with_4413`).
    pub max_websocket_message: usize,
    /// Unfinished message bytes of one connection, over all its chunk streams, once granted
    /// (test `f04_unfinished_messages_of_a_publisher_share_8_mib`).
    pub max_partial: usize,
    /// Chunk streams of one connection (test `f04_65th_chunk_stream_is_refused_and_17th_before_the_grant`).
    pub max_chunk_streams: usize,
    /// Smallest chunk size a peer may announce; tiny chunks cost CPU per byte
    /// (test `f05_chunk_sizes_below_128_and_with_the_top_bit_are_refused`).
    pub min_chunk_size: usize,
    /// Message streams (`createStream`) of one connection (test `f17_the_ninth_stream_is_refused_and_the_others_live`).
    pub max_message_streams: usize,
    /// Bytes per second that a publisher, or a server that is pulled from, may send, all that its connection does taken
    /// together. Five seconds of it may come at once; who sends more is ended. Above a quarter of it a warning is logged.
    /// Stops publishers at line rate, and files that ffmpeg sends without `-re`
    /// (test `f18_a_publisher_that_sends_too_fast_is_told_so_and_its_players_wait_for_the_next`).
    pub publisher_bytes_per_s: u64,
    /// Messages per second that it may send, of any kind, each part of an aggregate counted: small ones cost as much as
    /// large ones. As of bytes, five seconds of it may come at once
    /// (test `f18_empty_messages_are_counted_and_parts_of_aggregates_too`).
    pub publisher_messages_per_s: u64,
    /// Bytes of frames that a stream's ring holds (test `the_ring_is_bounded_by_bytes_frames_and_age`).
    pub ring_bytes: usize,
    /// Age of the oldest frame in a stream's ring, and longest time that a batch may be on its way to a player
    /// (test `the_ring_is_bounded_by_bytes_frames_and_age`).
    pub ring_ms: u64,
    /// Frames in a stream's ring; bounds audio-only and tiny-frame streams
    /// (test `f22_audio_only_for_24_hours_of_media_stays_flat`).
    pub ring_frames: usize,
    /// Bytes of all rings together; what is left of ended streams gives way first, then the largest ring
    /// (test `all_rings_together_are_bounded_and_the_largest_gives_way`).
    pub ring_bytes_total: usize,
    /// HLS: bytes of one stream that are held for players to load; where its playlist cannot be made short enough, the stream's HLS
    /// stops (test `the_memory_of_one_stream_is_bounded`).
    pub hls_bytes: usize,
    /// HLS: bytes of all streams together that are held; for more, playlists get short, and then HLS of the stream that needs more
    /// stops (test `the_memory_of_all_streams_is_bounded`).
    pub hls_bytes_total: usize,
    /// HLS: viewers at once, each with a place for as long as it asks; more are refused
    /// (test `there_are_so_many_viewers_at_most`).
    pub hls_viewers: usize,
    /// Streams whose past is kept, for ten minutes each, 17 kB of it; of more, those that have ended give way, and the past of what
    /// begins then is not kept (test `the_past_of_so_many_streams_is_kept_and_the_first_to_end_gives_way`).
    pub history_streams: usize,
    /// Bytes handed to one player at a time (test `f19_a_player_that_does_not_read_is_handed_one_batch_only`).
    pub player_batch: usize,
    /// Times a player may fall off the ring within a minute, or within three times `ring_ms` where that is longer;
    /// then it is closed (test `f19_a_slow_subscriber_jumps_to_the_newest_keyframe_and_is_closed_at_the_third_lag`).
    pub max_lags: u32,
}

setters! {
    Limits:
    u64 {
        handshake_timeout_ms, command_timeout_ms, publisher_timeout_ms, first_media_timeout_ms, write_timeout_ms, auth_timeout_ms,
        ping_interval_ms, publisher_bytes_per_s, publisher_messages_per_s, ring_ms, http_header_timeout_ms, http_idle_ms,
    }
    usize {
        max_connections, max_connections_per_address, publisher_places, max_streams_per_address, origin_pulls, max_pending, max_pending_per_address, max_message_pending, max_message, max_websocket_message, max_partial,
        max_chunk_streams, http_header_bytes, min_chunk_size, max_message_streams, ring_bytes, ring_frames, ring_bytes_total, player_batch,
        hls_bytes, hls_bytes_total, hls_viewers, history_streams,
    }
    u32 { max_lags, starts_per_minute_per_address, auth_failures_per_minute }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout_ms: 5_000,
            command_timeout_ms: 10_000,
            publisher_timeout_ms: 10_000,
            first_media_timeout_ms: 600_000,
            write_timeout_ms: 10_000,
            http_header_timeout_ms: 5_000,
            http_header_bytes: 8 * 1024,
            http_idle_ms: 30_000,
            auth_timeout_ms: 3_000,
            auth_failures_per_minute: 10,
            ping_interval_ms: 20_000,
            max_connections: 10_000,
            max_connections_per_address: 4_000,
            publisher_places: 100,
            max_pending: 1_000,
            max_pending_per_address: 64,
            starts_per_minute_per_address: 6_000,
            max_streams_per_address: 1_000,
            origin_pulls: 16,
            max_message_pending: 64 * 1024,
            max_message: 8 * 1024 * 1024,
            max_websocket_message: 16 * 1024 * 1024,
            max_partial: 8 * 1024 * 1024 + 64 * 1024,
            max_chunk_streams: 64,
            min_chunk_size: 128,
            max_message_streams: 8,
            publisher_bytes_per_s: 25_000_000,
            publisher_messages_per_s: 5_000,
            ring_bytes: 32 * 1024 * 1024,
            ring_ms: 30_000,
            ring_frames: 8_192,
            ring_bytes_total: 1024 * 1024 * 1024,
            hls_bytes: 64 * 1024 * 1024,
            hls_bytes_total: 512 * 1024 * 1024,
            hls_viewers: 10_000,
            history_streams: 1_000,
            player_batch: 128 * 1024,
            max_lags: 3,
        }
    }
}

impl Limits {
    /// What is kept to: these, but for the one that `tests/self-check` takes away. Whoever keeps limits takes them so.
    #[cfg(not(feature = "self-check"))]
    pub(crate) fn in_force(&self) -> Cow<'_, Self> {
        Cow::Borrowed(self)
    }

    /// What is kept to.
    #[cfg(feature = "self-check")]
    pub(crate) fn in_force(&self) -> Cow<'_, Self> {
        let name =
            crate::bound::without().and_then(|name| name.strip_prefix("streamengine::limits::Limits::"));
        let Some(field) = name else { return Cow::Borrowed(self) };
        let all_is_allowed: u64 = match field {
            "publisher_places" => 0,
            "min_chunk_size" => 1,
            "max_lags" => u32::MAX.into(),
            _ => 1 << 40,
        };
        let mut limits = serde_json::to_value(self).expect("limits are numbers");
        limits[field] = all_is_allowed.into();
        Cow::Owned(serde_json::from_value(limits).expect("a limit of this name"))
    }

    /// Connections that there may be for a player to be let in.
    pub(crate) fn player_places(&self) -> usize {
        self.max_connections - self.publisher_places.min(self.max_connections / 10)
    }
}

bound! {
    /// Bytes of a certificate, key or configuration file; stops a device or a wrong path from eating all memory
    /// (test `a_small_file_is_read_up_to_its_limit_and_no_further`). All authorities of a system have a quarter of it.
    pub(crate) const MAX_SMALL_FILE: u64 = 1024 * 1024, without 1 << 40;
    /// The longest time that is waited for: a hundred years. A larger one could overflow a clock that counts nanoseconds
    /// in 64 bits (test `any_time_that_a_configuration_can_name_can_be_waited_for`).
    pub(crate) const LONGEST_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1_000, without u64::MAX;
}

/// A time of the configuration in milliseconds as a [`Duration`].
pub(crate) fn ms(value: u64) -> Duration {
    Duration::from_millis(if value < LONGEST_MS.get() { value } else { LONGEST_MS.get() })
}

/// Writes a time into JSON as configurations have them: whole milliseconds.
pub(crate) fn as_ms<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
}

/// [`as_ms`] for a time that may be unknown: null.
pub(crate) fn as_ms_or_none<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => as_ms(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_time_that_a_configuration_can_name_can_be_waited_for() {
        let far = tokio::time::Instant::now() + ms(u64::MAX);
        tokio::time::timeout(Duration::ZERO, tokio::time::sleep_until(far)).await.expect_err("not yet");
        assert!(std::time::Instant::now().checked_add(ms(u64::MAX)).is_some());
        let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + ms(u64::MAX);
        assert!(i64::try_from(since_1970.as_nanos()).is_ok(), "{since_1970:?}");
    }
}
