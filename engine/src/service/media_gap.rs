//! How long a stream may be without media although its publisher gives signs of life.
//!
//! A peer that answers pings lives, and a still picture may be one frame in minutes, so by default nothing ends a stream
//! that has begun: that is its app's decision. A stream that has never begun is another matter: its name is held for
//! nothing. Some encoders do so while they wait for a picture, therefore that has a long time. A stream of nothing but data
//! events, as of subtitles, has begun with the first of them.

use crate::Limits;
use crate::config::AppConfig;
use crate::limits::ms;
use crate::media::{Frame, FrameKind};
use std::time::Duration;
use tokio::time::Instant;

/// The present time without media.
pub(crate) struct MediaGap {
    since: Instant,
    has_begun: bool,
    /// What the app allows.
    most: Option<Duration>,
    most_at_first: Duration,
}

impl MediaGap {
    pub(crate) fn new(app: &AppConfig, limits: &Limits) -> Self {
        let most_at_first = ms(limits.first_media_timeout_ms);
        Self { since: Instant::now(), has_begun: false, most: app.max_media_gap_ms.map(ms), most_at_first }
    }

    /// A frame has come.
    pub(crate) fn note(&mut self, frame: &Frame, now: Instant) {
        // Nobody asks any more.
        if self.has_begun && self.most.is_none() {
            return;
        }
        if frame.has_media() {
            (self.since, self.has_begun) = (now, true);
        } else if frame.kind == FrameKind::Data && !frame.is_metadata() {
            self.has_begun = true;
        }
    }

    /// When it will have lasted too long; `None` = never.
    pub(crate) fn over_at(&self) -> Option<Instant> {
        self.limit().map(|limit| self.since + limit)
    }

    fn limit(&self) -> Option<Duration> {
        match self.has_begun {
            true => self.most,
            false => Some(self.most.map_or(self.most_at_first, |most| most.min(self.most_at_first))),
        }
    }

    /// Why a stream is ended when it has.
    pub(crate) fn words(&self) -> String {
        let limit = self.limit().unwrap_or_default();
        match self.most == Some(limit) {
            true => format!("no media for {} ms, which is what the app allows", limit.as_millis()),
            false => format!("no media in its first {} ms", limit.as_millis()),
        }
    }
}
