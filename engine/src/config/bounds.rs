//! What numbers of the configuration can be. Nothing that a configuration can say may abort, overflow or stand still.

use crate::limits::LONGEST_MS;
use crate::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::Value;
use std::ops::RangeInclusive;

/// More than any machine has, and far from overflowing in a sum.
const MOST: u64 = 1 << 40;
/// The length of a message has 24 bits.
const LONGEST_MESSAGE: u64 = (1 << 24) - 1;
/// A time from Rust that means for ever.
const FOR_EVER: u64 = u64::MAX;

/// Numbers by the end of their dotted key, where [`bounds`] has no rule for them.
const BOUNDS: &[(&str, RangeInclusive<u64>)] = &[
    ("engine.io_threads", 0..=1_024),
    ("limits.max_connections", 1..=10_000_000),
    ("limits.max_connections_per_address", 1..=10_000_000),
    ("limits.publisher_places", 0..=10_000_000),
    ("limits.max_pending", 1..=10_000_000),
    ("limits.max_pending_per_address", 1..=10_000_000),
    ("limits.auth_failures_per_minute", 1..=u32::MAX as u64),
    ("limits.starts_per_minute_per_address", 1..=u32::MAX as u64),
    ("limits.max_streams_per_address", 1..=10_000_000),
    ("limits.max_message_pending", 1..=LONGEST_MESSAGE),
    ("limits.max_message", 1..=LONGEST_MESSAGE),
    ("limits.max_websocket_message", 1..=1 << 30),
    ("limits.max_partial", 1..=1 << 30),
    ("limits.max_chunk_streams", 1..=65_600),
    ("limits.http_header_bytes", 1..=1 << 20),
    ("limits.min_chunk_size", 1..=LONGEST_MESSAGE),
    ("limits.max_message_streams", 1..=65_536),
    ("limits.publisher_bytes_per_s", 1..=MOST),
    ("limits.publisher_messages_per_s", 1..=MOST),
    ("limits.ring_bytes", 1..=MOST),
    ("limits.ring_frames", 1..=10_000_000),
    ("limits.ring_bytes_total", 1..=MOST),
    ("limits.hls_bytes", 1..=MOST),
    ("limits.hls_bytes_total", 1..=MOST),
    ("limits.hls_viewers", 1..=10_000_000),
    ("limits.history_streams", 1..=1_000_000),
    ("hls.segment_ms", 1_000..=10_000),
    ("hls.max_segment_ms", 1_000..=60_000),
    ("hls.part_ms", 50..=5_000),
    ("hls.window_ms", 1_000..=600_000),
    ("hls.idle_ms", 1_000..=LONGEST_MS.stated()),
    ("record.segment_ms", 1_000..=LONGEST_MS.stated()),
    ("record.segment_bytes", 1 << 16..=MOST),
    ("record.keep_ms", 1_000..=LONGEST_MS.stated()),
    ("limits.player_batch", 1..=1 << 30),
    ("limits.max_lags", 1..=u32::MAX as u64),
    ("limits.origin_pulls", 1..=1_000_000),
    // Who waits for a verdict waits for 3.5 s at most (test `an_answer_that_does_not_come_is_a_refusal`).
    ("hooks.timeout_ms", 1..=3_000),
    ("hooks.update_every_ms", 1_000..=LONGEST_MS.stated()),
    ("max_streams", 1..=1_000_000),
    ("wait_ms", 1..=LONGEST_MS.stated()),
    ("max_kbps", 1..=MOST),
    ("max_viewers", 1..=10_000_000),
    // Checked where they are read.
    ("chunk_size", 0..=u32::MAX as u64),
    ("loops", 1..=1_000_000_000),
    ("connect_timeout_ms", 1..=LONGEST_MS.stated()),
    ("write_timeout_ms", 1..=LONGEST_MS.stated()),
];

/// What the number under a dotted key can be: as the table says, else by the kind that its name tells.
fn bounds(key: &str) -> RangeInclusive<u64> {
    let is_it = |end: &str| key.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    match BOUNDS.iter().find(|(end, _)| is_it(end)) {
        Some((_, bounds)) => bounds.clone(),
        None if key.ends_with("_ms") => u64::from(key.starts_with("limits."))..=LONGEST_MS.stated(),
        None => 0..=MOST,
    }
}

/// Checks all numbers of a part of the configuration; `path` is its dotted key, empty for the whole.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] with the key, its value, and what it can be.
pub(super) fn check(path: &str, config: &impl Serialize) -> Result<()> {
    // Only maps with keys that are no texts could fail, and there are none.
    check_value(path, &serde_json::to_value(config).unwrap_or_default())
}

fn check_value(path: &str, value: &Value) -> Result<()> {
    match value {
        Value::Object(table) => table.iter().try_for_each(|(key, value)| {
            let dot = if path.is_empty() { "" } else { "." };
            check_value(&format!("{path}{dot}{key}"), value)
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(path, item)),
        Value::Number(number) => match number.as_u64() {
            Some(number) => check_number(path, number),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn check_number(key: &str, number: u64) -> Result<()> {
    let bounds = bounds(key);
    let is_for_ever = number == FOR_EVER && key.ends_with("_ms");
    if bounds.contains(&number) || is_for_ever {
        return Ok(());
    }
    let (least, most) = bounds.into_inner();
    let text = format!("{key} is {number}; it can be {least} to {most}");
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use crate::testing::sample;
    use serde_json::{Value, json};

    /// The dotted keys of all whole numbers that the sample shows, those of lists in their only element.
    fn numbers() -> Vec<String> {
        let leaves = sample::leaves("", &sample::values());
        leaves.into_iter().filter(|(_, value)| value.is_u64()).map(|(key, _)| key).collect()
    }

    fn with(key: &str, number: u64) -> crate::Result<Config> {
        let nested = key.rsplit('.').fold(Value::from(number), |inner, part| json!({ part: inner }));
        Config::from_json(&nested.to_string())
    }

    #[test]
    fn every_number_has_an_upper_bound_and_a_clear_error() {
        let numbers = numbers();
        assert!(numbers.len() > 25, "{numbers:?}");
        for key in &numbers {
            let error = with(key, i64::MAX as u64).expect_err(key).to_string();
            let told = format!("{key} is {}; it can be ", i64::MAX);
            // Some have a type that cannot hold it.
            let misfit = format!("from 0 to {}, found {}", u32::MAX, i64::MAX);
            assert!(error.contains(&told) || error.contains(&misfit), "{key}: {error}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_refused() {
        let is_limit = |key: &&String| key.starts_with("limits.") && *key != "limits.publisher_places";
        for key in numbers().iter().filter(is_limit) {
            let error = with(key, 0).expect_err(key).to_string();
            assert!(error.contains(&format!("{key} is 0; it can be 1 to ")), "{error}");
        }
    }

    #[test]
    fn a_time_of_a_program_may_be_for_ever() {
        let mut config = Config::default();
        config.limits.publisher_timeout_ms = u64::MAX;
        config.check().unwrap();
        config.engine.io_threads = usize::MAX;
        assert!(config.check().unwrap_err().to_string().contains("engine.io_threads"));
    }

    #[test]
    fn jobs_have_bounds_too() {
        for (list, key, number) in
            [("push", "connect_timeout_ms", 0), ("pull", "linger_ms", i64::MAX as u64), ("file", "loops", 0)]
        {
            let mut job = json!({ "stream": "live/a", key: number });
            let (name, what) =
                if list == "file" { ("paths", json!(["a.flv"])) } else { ("url", json!("rtmp://h/a/b")) };
            job[name] = what;
            let error = Config::from_json(&json!({ list: [job] }).to_string()).unwrap_err().to_string();
            assert!(error.contains(&format!("{key} is {number}; it can be ")), "{error}");
        }
    }
}
