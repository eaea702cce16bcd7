//! What is counted, for `stats` and the signals.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use streamengine::media::flv::{Codec, PayloadInfo};
use streamengine::media::{Frame, FrameKind};

/// What one publisher has sent.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: AtomicU64,
    /// Audio, video, data; configuration not counted.
    frames: [AtomicU64; 3],
    keyframes: AtomicU64,
    /// Of audio and video.
    codecs: Mutex<[Option<Codec>; 2]>,
}

impl Received {
    pub(super) fn count(&self, frame: &Frame) {
        let add = |counter: &AtomicU64, by: u64| counter.fetch_add(by, Ordering::Relaxed);
        add(&self.bytes, frame.payload.len() as u64);
        if !frame.is_config() {
            add(&self.frames[frame.kind as usize], 1);
            add(&self.keyframes, u64::from(frame.flags.keyframe));
        }
        self.note_codec(frame);
    }

    fn note_codec(&self, frame: &Frame) {
        let mut codecs = self.codecs.lock();
        let Some(codec) = codecs.get_mut(frame.kind as usize) else { return };
        if codec.is_none() || frame.is_config() {
            *codec = PayloadInfo::parse(frame.kind, &frame.payload).map(|info| info.codec).or(*codec);
        }
    }

    /// Adds the counters to a structure.
    pub(super) fn add_to(&self, structure: &mut gst::StructureRef) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        structure.set("bytes-in", read(&self.bytes));
        structure.set("audio-frames", read(&self.frames[FrameKind::Audio as usize]));
        structure.set("video-frames", read(&self.frames[FrameKind::Video as usize]));
        structure.set("keyframes", read(&self.keyframes));
        for (name, codec) in ["audio-codec", "video-codec"].iter().zip(*self.codecs.lock()) {
            if let Some(codec) = codec {
                structure.set(*name, codec.to_string());
            }
        }
    }
}

/// What has happened to an element since it was made.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Publishers that were let in.
    pub(super) publishers: AtomicU64,
    /// Publishers that were refused.
    pub(super) refused: AtomicU64,
    /// Frames dropped because the pipeline was too slow.
    pub(super) dropped: AtomicU64,
}

impl Totals {
    pub(super) fn add_to(&self, structure: &mut gst::StructureRef) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        structure.set("publishers-total", read(&self.publishers));
        structure.set("publishers-refused", read(&self.refused));
        structure.set("frames-dropped", read(&self.dropped));
    }
}
