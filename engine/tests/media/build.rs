//! FLV files made in memory, and the shared real clips.

use bytes::{BufMut, Bytes};
use std::path::PathBuf;
use streamengine::media::flv::FileHeader;
use streamengine::media::{Frame, FrameKind};
pub(crate) use streamengine::testing::AAC_HEADER;
use streamengine::testing::tags;

/// A sequence header for H.264; its record's content does not matter here.
pub(crate) const AVC_HEADER: &[u8] = b"\x17\x00\x00\x00\x00\x01record";

pub(crate) const AVC_END: &[u8] = &[0x17, 2, 0, 0, 0];

/// Builds a file tag by tag.
#[derive(Clone, Default)]
pub(crate) struct FileBuilder(Vec<Frame>);

impl FileBuilder {
    pub(crate) fn tag(mut self, kind: FrameKind, timestamp: i64, payload: impl Into<Vec<u8>>) -> Self {
        self.0.push(Frame::new(kind, timestamp, Bytes::from(payload.into())));
        self
    }

    pub(crate) fn video_headers(self) -> Self {
        self.tag(FrameKind::Video, 0, AVC_HEADER)
    }

    pub(crate) fn audio_headers(self) -> Self {
        self.tag(FrameKind::Audio, 0, AAC_HEADER)
    }

    pub(crate) fn metadata(self, fields: &[(&str, f64)]) -> Self {
        self.tag(FrameKind::Data, 0, on_metadata(fields))
    }

    /// `count` pictures from `start` on, each `num/den` seconds, rounded to milliseconds.
    pub(crate) fn video(mut self, start: i64, count: i64, (num, den): (i64, i64)) -> Self {
        for index in 0..count {
            let first = if index % 50 == 0 { 0x17 } else { 0x27 };
            let payload = [&[first, 1, 0, 0, 0][..], &index.to_be_bytes()].concat();
            self = self.tag(FrameKind::Video, start + rounded(index * num, den), payload);
        }
        self
    }

    /// `count` AAC frames from `start` on.
    pub(crate) fn audio(mut self, start: i64, count: i64) -> Self {
        for index in 0..count {
            let payload = [&[0xaf, 1][..], &index.to_be_bytes()].concat();
            self = self.tag(FrameKind::Audio, start + rounded(index * 1_024, 44_100), payload);
        }
        self
    }

    /// The tags in the order of their times, configuration first where it came first.
    pub(crate) fn interleaved(mut self) -> Self {
        self.0.sort_by_key(|frame| frame.timestamp);
        self
    }

    pub(crate) fn frames(&self) -> &[Frame] {
        &self.0
    }

    pub(crate) fn file(&self) -> Bytes {
        let mut out = FileHeader { audio: true, video: true }.encode().to_vec();
        out.extend(tags(&self.0));
        out.into()
    }
}

/// `value / rate` seconds in milliseconds, rounded like muxers do.
fn rounded(value: i64, rate: i64) -> i64 {
    (value * 2_000 + rate) / (2 * rate)
}

pub(crate) fn on_metadata(fields: &[(&str, f64)]) -> Vec<u8> {
    let mut out = b"\x02\x00\x0aonMetaData\x08".to_vec();
    out.put_u32(u32::try_from(fields.len()).unwrap());
    for (name, value) in fields {
        out.put_u16(u16::try_from(name.len()).unwrap());
        out.put_slice(name.as_bytes());
        out.put_u8(0);
        out.put_f64(*value);
    }
    out.extend([0, 0, 9]);
    out
}

/// Ten seconds like an encoder makes them: 250 pictures and `audio` AAC frames.
pub(crate) fn ten_seconds(audio: i64) -> FileBuilder {
    FileBuilder::default()
        .metadata(&[("duration", 10.0), ("width", 640.0)])
        .video_headers()
        .audio_headers()
        .video(0, 250, (1, 25))
        .audio(0, audio)
        .interleaved()
}

/// A clip of the shared folder, or a printed reason why there is none.
pub(crate) fn shared_clip(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("STREAMENGINE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("media").join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: {name} is not in {} (set STREAMENGINE_SHARED)", root.display());
    None
}

pub(crate) fn demo_clip() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/media/demo.flv")
}
