//! Pipelines with a watchdog, publishers, and frames to publish.

pub(crate) use crate::common::{PATIENCE, free_port, local_url, register, until};
use crate::common::{demo_frames, watch};
pub(crate) use crate::encoder::Encoder;
use gst::prelude::*;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use streamengine::media::elementary::{Demuxer, Muxer, Sample};
use streamengine::media::flv::Codec;
use streamengine::media::metadata::{self, Value};
use streamengine::media::{Frame, FrameKind};

/// No test takes longer: a pipeline that hangs ends the process instead of the patience.
const WATCHDOG: Duration = Duration::from_secs(25);

/// A decoder configuration record of H.264: 640x360, Baseline.
const AVCC: &[u8] = b"\x01\x42\xc0\x1e\xff\xe1\x00\x19\x67\x42\xc0\x1e\xd8\x90\x28\x0b\xfe\x5c\x04\x40\x00\x00\x03\x00\x40\x00\
    \x00\x0c\x83\xc5\x8b\x89\x80\x01\x00\x05\x68\xc8\x88\xcb\x20";
/// AAC LC, 44.1 kHz, stereo.
const ASC: &[u8] = &[0x12, 0x10];

/// A pipeline of a launch line. Dropping it stops it.
pub(crate) struct Line {
    pub(crate) pipeline: gst::Pipeline,
    pub(crate) bus: gst::Bus,
    _watchdog: mpsc::Sender<()>,
}

impl Line {
    /// Makes and plays the pipeline; `rtmpserversrc` has to be named `r`.
    pub(crate) fn play(line: &str) -> Self {
        let line = Self::make(line);
        line.pipeline.set_state(gst::State::Playing).unwrap();
        line
    }

    pub(crate) fn make(line: &str) -> Self {
        register();
        let watchdog = watch(line.to_owned(), WATCHDOG);
        let element = gst::parse::launch(line).unwrap();
        // A line of one element is no pipeline.
        let pipeline = element.downcast::<gst::Pipeline>().unwrap_or_else(|element| {
            let pipeline = gst::Pipeline::new();
            pipeline.add(&element).unwrap();
            pipeline
        });
        let bus = pipeline.bus().unwrap();
        Self { pipeline, bus, _watchdog: watchdog }
    }

    pub(crate) fn get(&self, name: &str) -> gst::Element {
        self.pipeline.by_name(name).unwrap()
    }

    /// The port of `r`.
    pub(crate) fn port(&self) -> u32 {
        self.get("r").property("current-port")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        local_url(self.port(), path)
    }

    /// The next buffer of an appsink; `None` at the end.
    pub(crate) fn pull(&self, sink: &str) -> Option<gst::Sample> {
        let timeout = gst::ClockTime::from_seconds(10).nseconds();
        let sink = self.get(sink);
        let sample = sink.emit_by_name::<Option<gst::Sample>>("try-pull-sample", &[&timeout]);
        assert!(sample.is_some() || sink.property::<bool>("eos"), "nothing came in time");
        sample
    }

    /// The next buffer of an appsink if it comes soon.
    pub(crate) fn try_pull(&self, sink: &str) -> Option<gst::Sample> {
        let timeout = gst::ClockTime::from_mseconds(300).nseconds();
        self.get(sink).emit_by_name::<Option<gst::Sample>>("try-pull-sample", &[&timeout])
    }

    /// `count` buffers of an appsink.
    pub(crate) fn pull_many(&self, sink: &str, count: usize) -> Vec<gst::Sample> {
        (0..count).map(|index| self.pull(sink).unwrap_or_else(|| panic!("end at {index}"))).collect()
    }

    /// The next message of a type. An error message that is not asked for fails the test.
    pub(crate) fn message(&self, wanted: gst::MessageType) -> gst::Message {
        let message =
            self.bus.timed_pop_filtered(gst::ClockTime::from_seconds(10), &[wanted, gst::MessageType::Error]);
        let message = message.unwrap_or_else(|| panic!("no message {wanted:?}"));
        assert!(message.type_() == wanted, "{message:?}");
        message
    }

    /// The text of the next error.
    pub(crate) fn error(&self) -> String {
        let message = self.message(gst::MessageType::Error);
        let gst::MessageView::Error(error) = message.view() else { unreachable!() };
        error.error().to_string()
    }

    /// Fails the test if there has been an error.
    pub(crate) fn assert_no_error(&self) {
        let error = self.bus.pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{error:?}");
    }

    /// Waits until the element has got so many frames of its publisher.
    pub(crate) fn wait_for_frames(&self, count: u64) {
        until("frames", || {
            let stats = self.get("r").property::<gst::Structure>("stats");
            let publisher = stats.get::<gst::Structure>("publisher");
            let frames = |publisher: &gst::Structure, name| publisher.get::<u64>(name).unwrap();
            publisher.is_ok_and(|p| frames(&p, "video-frames") + frames(&p, "audio-frames") >= count)
        });
    }

    /// Publishes a few frames as `live/x` and pulls them from the appsink `s`, in FLV mode; then the publisher goes.
    pub(crate) fn pull_after_publishing(&self, go: impl FnOnce(Encoder)) {
        let removed = self.signal("stream-ended");
        let frames = Source::avc_aac().both(0, 5).frames;
        let encoder = Encoder::connect(&self.url("live/x"));
        encoder.send(&frames);
        self.pull_many("s", frames.len() + 1);
        go(encoder);
        removed.recv_timeout(PATIENCE).unwrap();
    }

    /// Where the appsink `s` is, in milliseconds of running time.
    pub(crate) fn last_pts(&self) -> u64 {
        let sample = self.get("s").property::<Option<gst::Sample>>("last-sample").unwrap();
        pts(&sample)
    }

    /// The STREAM_START that a sink has got last.
    pub(crate) fn stream_start(&self, sink: &str) -> gst::event::StreamStart<gst::Event> {
        self.get(sink).static_pad("sink").unwrap().sticky_event::<gst::event::StreamStart>(0).unwrap()
    }

    /// What a signal of `r` passes, as it comes: a text, where there is one, and a structure.
    pub(crate) fn signal(&self, name: &str) -> Receiver<(String, gst::Structure)> {
        let (out, seen) = mpsc::channel();
        self.get("r").connect(name, false, move |values| {
            let text = values[1].get().unwrap_or_default();
            let _ = out.send((text, values[values.len() - 1].get().unwrap()));
            None
        });
        seen
    }

    /// Events of a type that reach a sink's pad.
    pub(crate) fn events(&self, sink: &str, wanted: gst::EventType) -> Receiver<gst::Event> {
        let (out, seen) = mpsc::channel();
        let pad = self.get(sink).static_pad("sink").unwrap();
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let Some(event) = info.event().filter(|event| event.type_() == wanted) {
                let _ = out.send(event.to_owned());
            }
            gst::PadProbeReturn::Ok
        });
        seen
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// H.264 and AAC as encoders send them.
pub(crate) struct Source {
    muxer: Muxer,
    pub(crate) frames: Vec<Frame>,
}

/// What a source's frames are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) video: Vec<Vec<u8>>,
    pub(crate) audio: Vec<Vec<u8>>,
}

impl Source {
    pub(crate) fn new() -> Self {
        Self { muxer: Muxer::new(), frames: Vec::new() }
    }

    pub(crate) fn avc_aac() -> Self {
        Self::new().metadata().track(Codec::H264, AVCC).track(Codec::Aac, ASC)
    }

    pub(crate) fn metadata(mut self) -> Self {
        let fields = [
            ("videocodecid", Value::Number(7.0)),
            ("audiocodecid", Value::Number(10.0)),
            ("videodatarate", Value::Number(1_000.0)),
            ("encoder", Value::Text("an encoder")),
        ];
        self.frames.push(metadata::on_metadata(0, &fields));
        self
    }

    pub(crate) fn track(mut self, codec: Codec, record: &[u8]) -> Self {
        self.muxer.set_track(0, codec, Some(record)).unwrap();
        self.frames.extend(self.muxer.headers(0));
        self
    }

    /// Adds frames of both kinds, 40 ms apart; a keyframe every ten, video presented 80 ms late.
    pub(crate) fn both(mut self, from_ms: i64, count: i64) -> Self {
        for index in 0..count {
            let at = from_ms + 40 * index;
            self = self.video(Codec::H264, at, index % 10 == 0).audio(Codec::Aac, at + 5);
        }
        self
    }

    pub(crate) fn video(self, codec: Codec, at_ms: i64, keyframe: bool) -> Self {
        let kind = match (codec, keyframe) {
            (Codec::Hevc, true) => [0x26, 1],
            (Codec::Hevc, false) => [0x02, 1],
            (_, true) => [0x65, 0],
            (_, false) => [0x41, 0],
        };
        let data = [&[0, 0, 0, 12][..], &kind, &at_ms.to_be_bytes(), &[0xff, 0xff]].concat();
        let sample = Sample {
            pts_ns: (at_ms + 80) * 1_000_000,
            dts_ns: Some(at_ms * 1_000_000),
            keyframe,
            ..Sample::new(codec, 0, data)
        };
        self.sample(&sample)
    }

    pub(crate) fn audio(self, codec: Codec, at_ms: i64) -> Self {
        let data = [&[0xfc][..], &at_ms.to_be_bytes()].concat();
        self.sample(&Sample::new(codec, at_ms * 1_000_000, data))
    }

    fn sample(mut self, sample: &Sample) -> Self {
        self.frames.extend(self.muxer.push(sample).unwrap());
        self
    }

    pub(crate) fn expected(&self) -> Expected {
        expected(&self.frames)
    }

    /// Takes what has been added since the last time.
    pub(crate) fn take(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.frames)
    }
}

/// The coded frames of both kinds.
pub(crate) fn expected(frames: &[Frame]) -> Expected {
    let mut demuxer = Demuxer::new();
    let mut expected = Expected { video: Vec::new(), audio: Vec::new() };
    for sample in frames.iter().flat_map(|frame| demuxer.push(frame).unwrap()) {
        match sample.codec.kind() {
            _ if sample.config => {}
            Some(FrameKind::Video) => expected.video.push(sample.data.to_vec()),
            Some(FrameKind::Audio) => expected.audio.push(sample.data.to_vec()),
            _ => {}
        }
    }
    expected
}

/// The frames of the demonstration file, at most `limit`.
pub(crate) fn demo(limit: usize) -> Vec<Frame> {
    demo_frames().into_iter().take(limit).collect()
}

pub(crate) fn bytes(sample: &gst::Sample) -> Vec<u8> {
    sample.buffer().unwrap().map_readable().unwrap().to_vec()
}

pub(crate) fn flags(sample: &gst::Sample) -> gst::BufferFlags {
    sample.buffer().unwrap().flags()
}

/// In milliseconds.
pub(crate) fn pts(sample: &gst::Sample) -> u64 {
    sample.buffer().unwrap().pts().unwrap().mseconds()
}

/// A certificate for 127.0.0.1 in files.
pub(crate) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    _directory: tempfile::TempDir,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = crate::common::certificate(directory.path());
        Self { certificate, key, _directory: directory }
    }

    pub(crate) fn certificate(&self) -> String {
        self.certificate.display().to_string()
    }

    pub(crate) fn key(&self) -> String {
        self.key.display().to_string()
    }
}
