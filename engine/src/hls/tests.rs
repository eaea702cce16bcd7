//! What becomes of frames: cuts, and playlists that keep to the statements of the draft (H1 to H14 of the tests' names).

mod cuts;
mod reading;
mod rules;
mod timeline;

use super::TICKS;
use super::plan::{Plan, Wishes, shows_segments};
use super::playlist::{Awaited, Piece, Snapshot, Standing, Terms, Window};
use super::segmenter::{Cut, Header, Segmenter};
use crate::config::HlsFormat;
use crate::hub::MainIds;
use crate::media::{Frame, FrameKind};
use crate::testing::{AVC_RECORDS, audio, audio_header, avc_header, inter, keyframe};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};
use timeline::{Happening, Shape, Step, shapes, steady};

fn wishes(part_ms: Option<u64>) -> Wishes {
    Wishes { segment_ms: 1_000, max_segment_ms: 10_000, part_ms, format: HlsFormat::Fmp4 }
}

fn window(plan: &Plan, first: u64) -> Window {
    let Plan { rules, format, .. } = *plan;
    Window::new(Terms { rules, window: 12 * TICKS, max_bytes: 1 << 30, format, first })
}
