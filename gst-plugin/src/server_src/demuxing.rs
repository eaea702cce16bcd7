//! From a publisher's frames to what the streaming threads do: one FLV queue, or a queue and a pad per track.

use super::caps;
use super::clock::PublisherClock;
use super::counters::{Received, Totals};
use super::queue::{Item, Media, Queue, Role};
use super::settings::Settings;
use crate::time::millis_to_nanos;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use streamengine::media::elementary::{Demuxer, Sample};
use streamengine::media::flv::Codec;
use streamengine::media::{Frame, FrameKind};

/// How long a second track may take after the first before no more pads are announced.
const SECOND_TRACK: Duration = Duration::from_secs(2);

/// Tracks, in the order of their pads.
const KINDS: [FrameKind; 2] = [FrameKind::Video, FrameKind::Audio];

/// See the module. Lives on the reader's thread.
pub(super) struct StreamDemuxer {
    element: glib::WeakRef<super::RtmpServerSrc>,
    settings: Arc<Mutex<Settings>>,
    totals: Arc<Totals>,
    received: Arc<Received>,
    clock: PublisherClock,
    output: Output,
}

enum Output {
    Flv(Flv),
    Pads(Box<Pads>),
}

struct Flv {
    queue: Arc<Queue>,
    has_video: bool,
    is_discont: bool,
}

struct Pads {
    demuxer: Demuxer,
    tracks: [Track; 2],
    tags: Option<gst::TagList>,
    /// Which kinds `onMetaData` announces, audio and video.
    announced: Option<(bool, bool)>,
    first_pad: Option<Instant>,
    are_complete: bool,
}

#[derive(Default)]
struct Track {
    /// With the pad.
    queue: Option<Arc<Queue>>,
    codec: Option<Codec>,
    caps: Option<gst::Caps>,
    /// The present publisher has said what its frames are.
    is_known: bool,
    is_discont: bool,
}

impl StreamDemuxer {
    /// Feeds one queue with FLV.
    pub(super) fn flv(element: &super::RtmpServerSrc, queue: Arc<Queue>) -> Self {
        Self::new(element, Output::Flv(Flv { queue, has_video: false, is_discont: true }))
    }

    /// Makes pads as tracks appear.
    pub(super) fn pads(element: &super::RtmpServerSrc) -> Self {
        let pads = Pads {
            demuxer: Demuxer::new(),
            tracks: Default::default(),
            tags: None,
            announced: None,
            first_pad: None,
            are_complete: false,
        };
        Self::new(element, Output::Pads(Box::new(pads)))
    }

    fn new(element: &super::RtmpServerSrc, output: Output) -> Self {
        let (settings, totals) = element.imp().shared();
        let clock = clock(&settings);
        let received = Arc::default();
        Self { element: element.downgrade(), settings, totals, received, clock, output }
    }

    /// A publisher begins.
    pub(super) fn begin(&mut self, received: Arc<Received>) {
        self.received = received;
        self.clock = clock(&self.settings);
        match &mut self.output {
            Output::Flv(flv) => (flv.is_discont, flv.has_video) = (true, false),
            Output::Pads(pads) => pads.begin(),
        }
    }

    /// Passes a frame on.
    pub(super) fn frame(&mut self, frame: &Frame, arrival: Instant, is_after_gap: bool) {
        self.received.count(frame);
        if is_after_gap {
            self.set_discont();
        }
        match self.output {
            Output::Flv(_) => self.frame_to_flv(frame, arrival),
            Output::Pads(_) => self.frame_to_pads(frame, arrival),
        }
    }

    /// The publisher has left.
    pub(super) fn leave(&mut self) {
        if let Output::Pads(pads) = &mut self.output
            && pads.first_pad.is_some()
        {
            pads.announce_completeness(&self.element);
        }
        self.queues().for_each(|queue| queue.set_idle());
    }

    /// Ends the stream; false where there is nothing that could end.
    pub(super) fn end(&self) -> bool {
        self.queues().map(|queue| queue.push(Item::End)).count() > 0
    }

    /// When [`Self::on_time`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.output {
            Output::Pads(pads) if !pads.are_complete => pads.first_pad.map(|first| first + SECOND_TRACK),
            _ => None,
        }
    }

    /// Announces that no more pads come, where the second track takes too long.
    pub(super) fn on_time(&mut self) {
        let is_due = self.deadline().is_some_and(|at| at <= Instant::now());
        if let Output::Pads(pads) = &mut self.output
            && is_due
        {
            pads.announce_completeness(&self.element);
        }
    }

    fn queues(&self) -> Box<dyn Iterator<Item = &Arc<Queue>> + '_> {
        match &self.output {
            Output::Flv(flv) => Box::new(std::iter::once(&flv.queue)),
            Output::Pads(pads) => Box::new(pads.tracks.iter().filter_map(|track| track.queue.as_ref())),
        }
    }

    fn set_discont(&mut self) {
        match &mut self.output {
            Output::Flv(flv) => flv.is_discont = true,
            Output::Pads(pads) => pads.tracks.iter_mut().for_each(|track| track.is_discont = true),
        }
    }

    fn frame_to_flv(&mut self, frame: &Frame, arrival: Instant) {
        let is_non_media = frame.is_config() || frame.kind == FrameKind::Data;
        let (stamp, jumps) = match is_non_media {
            true => (self.clock.stamp_non_media(millis_to_nanos(frame.timestamp), arrival), false),
            false => self.clock.stamp(frame.kind, millis_to_nanos(frame.timestamp), arrival),
        };
        let Output::Flv(flv) = &mut self.output else { return };
        flv.has_video |= frame.kind == FrameKind::Video;
        let role = match frame.kind {
            _ if frame.is_config() => Role::Header,
            FrameKind::Video if !frame.flags.keyframe => Role::Delta,
            FrameKind::Audio if flv.has_video => Role::Accompanying,
            FrameKind::Data => Role::Accompanying,
            _ => Role::Key,
        };
        if frame.kind == FrameKind::Data
            && frame.is_config()
            && let Some(tags) = caps::tags(&frame.payload)
        {
            flv.queue.push(Item::Tags(tags));
        }
        let is_discont = jumps | std::mem::take(&mut flv.is_discont);
        let (kind, data) = (frame.kind, frame.payload.clone());
        let media = Media { kind, data, stamp, composition: 0, arrival, role, is_discont };
        let dropped = flv.queue.push_media(media, self.settings.lock().bounds());
        self.totals.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    fn frame_to_pads(&mut self, frame: &Frame, arrival: Instant) {
        let Output::Pads(pads) = &mut self.output else { return };
        let samples = match pads.demuxer.push(frame) {
            Ok(samples) => samples,
            Err(error) => {
                gst::warning!(super::CAT, "left a frame out: {error}");
                return;
            }
        };
        for sample in samples {
            // Other tracks of Enhanced RTMP have no pads.
            if sample.track != 0 {
                continue;
            }
            match KINDS.iter().position(|kind| sample.codec.kind() == Some(*kind)) {
                Some(index) => self.sample(index, sample, arrival),
                None if sample.config => self.metadata(&sample.data),
                None => {}
            }
        }
    }

    fn metadata(&mut self, payload: &[u8]) {
        let Output::Pads(pads) = &mut self.output else { return };
        pads.announced = caps::announced(payload).or(pads.announced);
        if let Some(tags) = caps::tags(payload) {
            for track in &pads.tracks {
                if let Some(queue) = &track.queue {
                    queue.push(Item::Tags(tags.clone()));
                }
            }
            pads.tags = Some(tags);
        }
    }

    fn sample(&mut self, index: usize, sample: Sample, arrival: Instant) {
        let Output::Pads(pads) = &mut self.output else { return };
        pads.learn(index, &sample, &self.element);
        let Some(queue) = pads.tracks[index].queue.clone() else { return };
        if sample.config || !pads.tracks[index].is_known {
            return;
        }
        let kind = KINDS[index];
        let dts = sample.dts_ns.unwrap_or(sample.pts_ns);
        let (stamp, jumps) = self.clock.stamp(kind, dts, arrival);
        if jumps {
            pads.tracks.iter_mut().for_each(|track| track.is_discont = true);
        }
        let role = match kind {
            FrameKind::Video if !sample.keyframe => Role::Delta,
            _ => Role::Key,
        };
        let media = Media {
            kind,
            stamp,
            composition: sample.pts_ns.saturating_sub(dts),
            data: sample.data,
            arrival,
            role,
            is_discont: std::mem::take(&mut pads.tracks[index].is_discont),
        };
        let dropped = queue.push_media(media, self.settings.lock().bounds());
        self.totals.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}

impl Pads {
    fn begin(&mut self) {
        self.demuxer = Demuxer::new();
        self.announced = None;
        for track in &mut self.tracks {
            (track.is_known, track.is_discont) = (false, true);
        }
    }

    /// Finds out what a track's frames are, where that is new, and tells those downstream.
    fn learn(&mut self, index: usize, sample: &Sample, element: &glib::WeakRef<super::RtmpServerSrc>) {
        let track = &self.tracks[index];
        if track.is_known && !sample.config && track.codec == Some(sample.codec) {
            return;
        }
        let Some(caps) = caps::of(sample) else {
            if !sample.config && track.codec != Some(sample.codec) {
                self.tracks[index].is_known = false;
                gst::debug!(super::CAT, "{} frame without configuration", sample.codec);
            }
            return;
        };
        let has_changed_codec = track.codec.is_some_and(|codec| codec != sample.codec);
        let has_changed_caps = track.caps.as_ref() != Some(&caps);
        let track = &mut self.tracks[index];
        (track.is_known, track.codec) = (true, Some(sample.codec));
        track.caps = Some(caps.clone());
        if track.queue.is_none() {
            self.expose(index, &caps, element);
            return;
        }
        if has_changed_codec {
            if let Some(element) = element.upgrade() {
                element.imp().begin_group();
            }
            self.each_queue(|queue| queue.push(Item::Stream));
        }
        if let Some(queue) = self.tracks[index].queue.as_ref().filter(|_| has_changed_caps) {
            queue.push(Item::Caps(caps));
        }
    }

    fn each_queue(&self, act: impl Fn(&Queue)) {
        self.tracks.iter().filter_map(|track| track.queue.as_ref()).for_each(|queue| act(queue));
    }

    /// Makes the pad of a track.
    fn expose(&mut self, index: usize, caps: &gst::Caps, element: &glib::WeakRef<super::RtmpServerSrc>) {
        let Some(element) = element.upgrade() else { return };
        let queue = Arc::new(Queue::default());
        queue.push(Item::Caps(caps.clone()));
        if let Some(tags) = &self.tags {
            queue.push(Item::Tags(tags.clone()));
        }
        self.tracks[index].queue = Some(queue.clone());
        self.first_pad.get_or_insert_with(Instant::now);
        element.imp().expose(KINDS[index], caps, queue);
        let has = |kind| KINDS.iter().zip(&self.tracks).any(|(k, track)| *k == kind && track.queue.is_some());
        let (audio, video) = self.announced.unwrap_or((true, true));
        if (has(FrameKind::Audio) || !audio) && (has(FrameKind::Video) || !video) {
            self.announce_completeness(&element.downgrade());
        }
    }

    fn announce_completeness(&mut self, element: &glib::WeakRef<super::RtmpServerSrc>) {
        if std::mem::replace(&mut self.are_complete, true) {
            return;
        }
        if let Some(element) = element.upgrade() {
            element.no_more_pads();
            // Whoever has been linked now has to hear of the latency.
            let _ = element.post_message(gst::message::Latency::builder().src(&element).build());
        }
    }
}

fn clock(settings: &Mutex<Settings>) -> PublisherClock {
    let settings = settings.lock();
    PublisherClock::new(settings.timestamp_mode, settings.latency())
}
