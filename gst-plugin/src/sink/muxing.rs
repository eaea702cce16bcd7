//! The stream as it comes from the pads: samples and FLV tags become frames on one time, for one publisher.

use super::EnhancedForm;
use super::caps::TrackCaps;
use super::metadata;
use crate::host::failure;
use crate::time::{NANOS_PER_MILLI, millis_to_nanos};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use streamengine::media::elementary::{BodyForm, Frames, Muxer, Sample};
use streamengine::media::flv::{Codec, PayloadInfo};
use streamengine::media::{Frame, FrameKind};
use streamengine::{Error, ErrorKind, Publisher, Result, StreamPolicy};

/// Distance in milliseconds of the frames before and after a seam (a flush, a new clock), as nobody knows the true one.
pub(super) const SEAM_MS: i64 = 33;
const SEAM_NS: i64 = SEAM_MS * NANOS_PER_MILLI;
/// Over so long the video's bit rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Names a pad, for as long as the element lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PadNumber(pub(super) u32);

/// A coded frame of an elementary stream.
pub(super) struct AccessUnit<'a> {
    /// Running time in nanoseconds.
    pub(super) pts_ns: Option<i64>,
    pub(super) dts_ns: Option<i64>,
    pub(super) keyframe: bool,
    pub(super) discardable: bool,
    pub(super) data: &'a [u8],
}

/// What all pads share.
#[derive(Default)]
pub(super) struct StreamMuxer {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// There while the stream is published.
    publisher: Option<Publisher>,
    muxer: Muxer,
    is_legacy: bool,
    inputs: BTreeMap<PadNumber, Input>,
    clock: Clock,
    own_metadata: Option<gst::Structure>,
    /// The metadata that was sent last.
    sent_metadata: Option<Bytes>,
    rate: Rate,
    codecs: Codecs,
}

/// The codecs of the first tracks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Codecs {
    pub(super) video: Option<Codec>,
    pub(super) audio: Option<Codec>,
}

enum Input {
    Flv { metadata: Option<Bytes> },
    Track { number: u8, caps: TrackCaps, tags: gst::TagList },
}

impl StreamMuxer {
    /// Publishes from now on. Something is said at once, so that targets connect before the first frame comes.
    pub(super) fn start(
        &self,
        publisher: Publisher,
        policy: StreamPolicy,
        enhanced: EnhancedForm,
        own_metadata: Option<gst::Structure>,
    ) {
        publisher.set_policy(policy);
        let form =
            if enhanced == EnhancedForm::Enhanced { BodyForm::Enhanced } else { BodyForm::LegacyFirst };
        let mut state = self.state.lock();
        *state = State {
            publisher: Some(publisher),
            muxer: Muxer::with_form(form),
            is_legacy: enhanced == EnhancedForm::Legacy,
            own_metadata,
            ..State::default()
        };
        // Nothing but a takeover could make it fail, and that shows with the first frame.
        let _ = state.send_metadata();
    }

    /// Ends the stream: players get their end.
    pub(super) fn stop(&self) {
        let publisher = std::mem::take(&mut *self.state.lock()).publisher;
        if let Some(publisher) = publisher {
            publisher.finish();
        }
    }

    pub(super) fn set_policy(&self, policy: StreamPolicy) {
        if let Some(publisher) = &self.state.lock().publisher {
            publisher.set_policy(policy);
        }
    }

    pub(super) fn set_metadata(&self, own: Option<gst::Structure>) {
        let mut state = self.state.lock();
        state.own_metadata = own;
        let _ = state.send_metadata();
    }

    /// Bits per second of video, over the last seconds.
    pub(super) fn video_bit_rate(&self) -> u64 {
        self.state.lock().rate.bits_per_second()
    }

    /// What is being sent.
    pub(super) fn codecs(&self) -> Codecs {
        self.state.lock().codecs
    }

    /// Takes what a pad announces: one track, whose headers come out with its next sample.
    ///
    /// # Errors
    /// In the words of the element's error message.
    pub(super) fn set_track(
        &self,
        pad: PadNumber,
        caps: &TrackCaps,
    ) -> std::result::Result<(), gst::ErrorMessage> {
        let mut state = self.state.lock();
        state.refuse_mixture(pad, |other| matches!(other, Input::Flv { .. }))?;
        if state.is_legacy && !is_legacy(caps.codec) {
            let text = format!("{}: needs Enhanced RTMP, which enhanced=legacy forbids", caps.codec);
            return Err(failure(gst::StreamError::CodecNotFound, &text));
        }
        let number = state.track_number(pad, caps.is_video());
        let declared = state.muxer.set_track(number, caps.codec, caps.extradata.as_deref());
        declared.map_err(|error| failure(gst::StreamError::Format, &error.to_string()))?;
        let tags = match state.inputs.remove(&pad) {
            Some(Input::Track { tags, .. }) => tags,
            _ => gst::TagList::new(),
        };
        state.inputs.insert(pad, Input::Track { number, caps: caps.clone(), tags });
        let told = state.send_metadata().and_then(|()| state.send_headers());
        told.map_err(|error| failure(gst::ResourceError::Write, &error.to_string()))
    }

    /// Notes that FLV comes on a pad.
    ///
    /// # Errors
    /// Another pad has something already.
    pub(super) fn set_flv(&self, pad: PadNumber) -> std::result::Result<(), gst::ErrorMessage> {
        let mut state = self.state.lock();
        state.refuse_mixture(pad, |_| true)?;
        state.inputs.entry(pad).or_insert(Input::Flv { metadata: None });
        Ok(())
    }

    pub(super) fn remove(&self, pad: PadNumber) {
        self.state.lock().inputs.remove(&pad);
    }

    /// Takes tags of a track into the metadata.
    pub(super) fn add_tags(&self, pad: PadNumber, new: &gst::TagListRef) {
        let mut state = self.state.lock();
        if let Some(Input::Track { tags, .. }) = state.inputs.get_mut(&pad) {
            tags.make_mut().insert(new, gst::TagMergeMode::Replace);
            let _ = state.send_metadata();
        }
    }

    /// The running time of all pads starts anew: a flush, named by the number of its event, which is the same on all.
    pub(super) fn flush(&self, pad: PadNumber, seqnum: gst::Seqnum) {
        self.state.lock().clock.flush(pad, seqnum);
    }

    /// The stream time in milliseconds of a running time in nanoseconds.
    pub(super) fn place(&self, running_ns: i64) -> i64 {
        self.state.lock().clock.place(running_ns) / NANOS_PER_MILLI
    }

    /// Sends a sample of a pad's track.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] where the stream has been taken away; all others concern this sample only.
    pub(super) fn push_unit(&self, pad: PadNumber, unit: &AccessUnit<'_>) -> Result<()> {
        let mut state = self.state.lock();
        let Some(Input::Track { number, caps, .. }) = state.inputs.get(&pad) else {
            return Err(Error::new(ErrorKind::State, "data without caps"));
        };
        let (track, codec, format) = (*number, caps.codec, caps.format);
        let last = state.clock.last_ns;
        let placed = unit.dts_ns.or(unit.pts_ns).map(|time| state.clock.place(time));
        let dts_ns = placed.unwrap_or(last).max(0);
        let pts_ns = unit.pts_ns.map_or(dts_ns, |pts| state.clock.at(pts).max(0));
        let sample = Sample {
            track,
            codec,
            format,
            pts_ns,
            dts_ns: Some(dts_ns),
            keyframe: unit.keyframe,
            config: false,
            discardable: unit.discardable,
            data: unit.data,
        };
        let frames = state.muxer.push(&sample)?;
        state.publish_all(frames)
    }

    /// Sends a frame of an FLV stream; its time is the stream's.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] where the stream has been taken away.
    pub(super) fn push_frame(&self, pad: PadNumber, frame: Frame) -> Result<()> {
        let mut state = self.state.lock();
        if frame.kind == FrameKind::Data && frame.is_config() {
            if let Some(Input::Flv { metadata }) = state.inputs.get_mut(&pad) {
                *metadata = Some(frame.payload);
            }
            return state.send_metadata();
        }
        if !frame.is_config() {
            state.clock.last_ns = millis_to_nanos(frame.timestamp);
        }
        state.publish(frame)
    }
}

fn is_legacy(codec: Codec) -> bool {
    matches!(codec, Codec::H264 | Codec::Aac | Codec::Mp3 | Codec::G711a | Codec::G711u)
}

impl State {
    /// FLV carries all tracks: nothing else can come beside it.
    fn refuse_mixture(
        &self,
        pad: PadNumber,
        is_other: impl Fn(&Input) -> bool,
    ) -> std::result::Result<(), gst::ErrorMessage> {
        match self.inputs.iter().any(|(number, input)| *number != pad && is_other(input)) {
            false => Ok(()),
            true => Err(failure(
                gst::StreamError::WrongType,
                "FLV comes on one pad and something else on another: link FLV alone, or elementary streams only",
            )),
        }
    }

    /// The pad's track among those of its kind: what it had, else the first that is free.
    fn track_number(&self, pad: PadNumber, is_video: bool) -> u8 {
        let of_kind = |input: &Input| match input {
            Input::Track { number, caps, .. } if caps.is_video() == is_video => Some(*number),
            _ => None,
        };
        if let Some(number) = self.inputs.get(&pad).and_then(of_kind) {
            return number;
        }
        let taken: Vec<_> = self.inputs.values().filter_map(of_kind).collect();
        (0..u8::MAX).find(|number| !taken.contains(number)).unwrap_or(u8::MAX)
    }

    /// Sends metadata where it has changed.
    fn send_metadata(&mut self) -> Result<()> {
        let now = self.clock.last_ms();
        let own = self.own_metadata.as_ref();
        let of_flv = self.inputs.values().find_map(|input| match input {
            Input::Flv { metadata } => Some(metadata.as_ref()),
            Input::Track { .. } => None,
        });
        let frame = match of_flv {
            Some(Some(payload)) => Frame::new(FrameKind::Data, now, metadata::of_flv(payload, own)),
            Some(None) => return Ok(()),
            None => {
                let tracks = self.inputs.values().filter_map(|input| match input {
                    Input::Track { caps, tags, .. } => Some((caps, tags)),
                    Input::Flv { .. } => None,
                });
                metadata::of_tracks(now, tracks, own)
            }
        };
        if self.sent_metadata.as_ref() == Some(&frame.payload) {
            return Ok(());
        }
        self.sent_metadata = Some(frame.payload.clone());
        self.publish(frame)
    }

    fn send_headers(&mut self) -> Result<()> {
        let headers = self.muxer.headers(self.clock.last_ns);
        self.publish_all(headers)
    }

    fn publish_all(&mut self, frames: Frames) -> Result<()> {
        frames.into_iter().try_for_each(|frame| self.publish(frame))
    }

    fn publish(&mut self, frame: Frame) -> Result<()> {
        self.rate.note(&frame);
        self.codecs.note(&frame);
        let stopped = || Error::new(ErrorKind::Closed, "the stream is not published");
        self.publisher.as_ref().ok_or_else(stopped)?.push(frame)
    }
}

impl Codecs {
    /// Looks at configuration, and at the first frame of what has none.
    fn note(&mut self, frame: &Frame) {
        let codec = match frame.kind {
            FrameKind::Video => &mut self.video,
            FrameKind::Audio => &mut self.audio,
            FrameKind::Data => return,
        };
        if codec.is_none() || frame.is_config() {
            let first = PayloadInfo::parse(frame.kind, &frame.payload).filter(|info| info.track == 0);
            *codec = first.map(|info| info.codec).or(*codec);
        }
    }
}

/// Running time to stream time: nanoseconds since the first frame, on and on across flushes.
#[derive(Debug, Default)]
struct Clock {
    /// Running time of stream time 0.
    origin_ns: Option<i64>,
    last_ns: i64,
    /// The flush that is not followed by a frame yet.
    flushed: Option<gst::Seqnum>,
    /// The newest flush, and the pads that have told of it: the others get it too.
    seen: Option<(gst::Seqnum, Vec<PadNumber>)>,
}

impl Clock {
    /// A seek comes by every pad on its way upstream, and some demuxers seek each time, with one number for all: what a pad tells
    /// twice is another flush.
    fn flush(&mut self, pad: PadNumber, seqnum: gst::Seqnum) {
        match &mut self.seen {
            Some((seen, pads)) if *seen == seqnum && !pads.contains(&pad) => pads.push(pad),
            seen => {
                *seen = Some((seqnum, vec![pad]));
                self.flushed = Some(seqnum).filter(|_| self.origin_ns.is_some());
            }
        }
    }

    fn place(&mut self, running_ns: i64) -> i64 {
        if self.flushed.take().is_some() {
            self.origin_ns = Some(running_ns.saturating_sub(self.last_ns.saturating_add(SEAM_NS)));
        }
        self.origin_ns.get_or_insert(running_ns);
        let placed = self.at(running_ns);
        self.last_ns = self.last_ns.max(placed);
        placed
    }

    fn at(&self, running_ns: i64) -> i64 {
        running_ns.saturating_sub(self.origin_ns.unwrap_or_default())
    }

    fn last_ms(&self) -> i64 {
        self.last_ns / NANOS_PER_MILLI
    }
}

/// Measures the bit rate of video.
#[derive(Debug, Default)]
struct Rate {
    since: Option<Instant>,
    bytes: u64,
    measured: u64,
}

impl Rate {
    fn note(&mut self, frame: &Frame) {
        if frame.kind != FrameKind::Video {
            return;
        }
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(*self.since.get_or_insert(now));
        if elapsed >= RATE_WINDOW {
            self.measured = bits_per_second(self.bytes, elapsed);
            (self.since, self.bytes) = (Some(now), 0);
        }
        self.bytes += frame.payload.len() as u64;
    }

    /// Over the last whole window, or since the start; nothing once no frame has come for longer.
    fn bits_per_second(&self) -> u64 {
        let elapsed = self.since.map(|since| since.elapsed()).unwrap_or_default();
        match elapsed {
            _ if elapsed > 2 * RATE_WINDOW => 0,
            _ if self.measured > 0 => self.measured,
            _ => bits_per_second(self.bytes, elapsed),
        }
    }
}

fn bits_per_second(bytes: u64, time: Duration) -> u64 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    bytes.saturating_mul(8_000).checked_div(millis).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_starts_at_the_first_frame_and_goes_on_after_a_flush_that_all_pads_tell() {
        gst::init().unwrap();
        let mut clock = Clock::default();
        let start = 3_600_000_000_000_000;
        assert_eq!(clock.place(start), 0);
        assert_eq!(clock.place(start + 40), 40);
        assert_eq!(clock.place(start - 20), -20, "an earlier frame of the other track keeps its distance");
        let seqnum = gst::Seqnum::next();
        let [video, audio] = [0, 1].map(PadNumber);
        clock.flush(video, seqnum);
        assert_eq!(clock.place(0), 40 + SEAM_NS);
        clock.flush(audio, seqnum);
        assert_eq!(clock.place(10), 50 + SEAM_NS, "the second pad's flush is the same one");
        clock.flush(video, seqnum);
        assert_eq!(clock.place(0), 50 + 2 * SEAM_NS, "what a pad tells twice is another");
        clock.flush(audio, seqnum);
        assert_eq!(clock.place(10), 60 + 2 * SEAM_NS);
        clock.flush(video, gst::Seqnum::next());
        assert_eq!(clock.place(7_000), 60 + 3 * SEAM_NS);
    }
}
