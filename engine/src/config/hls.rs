//! HLS and low-latency HLS.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// HLS of an app's streams. Needs the cargo feature `http`, and a listener for it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HlsConfig {
    /// When a stream is there as HLS: `watched`, `always` or `off`.
    pub when: HlsWhen,
    /// Whether playlists list parts, too, which players load while their segment is still being made: low-latency HLS.
    pub low_latency: bool,
    /// A segment ends at the first keyframe after so long, in milliseconds.
    pub segment_ms: u64,
    /// The longest that a segment may get: where keyframes are farther apart, segments end between them.
    pub max_segment_ms: u64,
    /// How long parts are, about, in milliseconds. 200 gives the least delay, about a second; Apple's devices and caches do better with
    /// 500.
    pub part_ms: u64,
    /// How media are written: `fmp4` or `ts`.
    pub format: HlsFormat,
    /// How much a playlist lists, in milliseconds: not less than three segments. As much again is held for players that have an older
    /// playlist.
    pub window_ms: u64,
    /// With `watched`: how long after the last request a stream is no longer made for HLS, in milliseconds.
    pub idle_ms: u64,
    /// A folder that has the streams as files of plain HLS besides, in `APP/STREAM` below it, for a web server or a CDN: while a stream is
    /// published it is written, whatever `when` says.
    pub dir: Option<PathBuf>,
}

setters! {
    HlsConfig:
    HlsWhen { when } HlsFormat { format } bool { low_latency } u64 { segment_ms, max_segment_ms, part_ms, window_ms, idle_ms };
    PathBuf { dir }
}

impl Default for HlsConfig {
    fn default() -> Self {
        Self {
            when: HlsWhen::default(),
            low_latency: true,
            segment_ms: 1_000,
            max_segment_ms: 10_000,
            part_ms: 200,
            format: HlsFormat::default(),
            window_ms: 12_000,
            idle_ms: 60_000,
            dir: None,
        }
    }
}

impl HlsConfig {
    /// Whether streams are made for HLS as soon as they are published, and for as long.
    #[cfg(feature = "http")]
    pub(crate) fn is_made_unasked(&self) -> bool {
        self.when == HlsWhen::Always || self.dir.is_some()
    }

    /// Checks what the types cannot; the error is in words.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.max_segment_ms < self.segment_ms {
            return Err("max_segment_ms is less than segment_ms");
        }
        if cfg!(not(feature = "http")) && self.dir.is_some() {
            return Err("dir: this build has no HLS (cargo feature `http`)");
        }
        if self.low_latency && self.part_ms > self.segment_ms {
            return Err("part_ms is more than segment_ms");
        }
        Ok(())
    }
}

/// When a stream is there as HLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HlsWhen {
    /// From the first request on, and for a while after the last.
    #[default]
    Watched,
    /// While it is published: the first viewer waits for nothing.
    Always,
    /// Never.
    Off,
}

/// How media of HLS are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HlsFormat {
    /// Fragmented MP4: every codec that HLS has, and parts for low latency.
    #[default]
    Fmp4,
    /// MPEG-TS, for old boxes and programs: H.264 or HEVC with AAC, MP3 or AC-3, by whole segments.
    Ts,
}

named!(HlsFormat { Fmp4 => "fmp4", Ts => "ts" });

named!(HlsWhen { Watched => "watched", Always => "always", Off => "off" });
