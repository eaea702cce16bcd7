//! Frames as fragments of MP4, for players over HTTP: what browsers play without a line of script, and what their Media Source
//! Extensions take.
//!
//! A response is an init segment (`ftyp`, `moov`) with a track of each kind at most, and fragments (`moof`, `mdat`): one for each
//! batch, or for each frame of a player that is behind. Each sample has its frame's stream time, so that what a player gets does
//! not depend on who writes it. When a track is to be decoded otherwise from some frame on, another init segment comes directly
//! before that frame: to a browser every picture after an init segment up to the next keyframe is lost.
//!
//! Over WebSocket a message is an init segment or a fragment, so that a page tells them apart by the type of its first box; before
//! each init segment a text tells it in JSON what it is to hand to `addSourceBuffer` or `changeType`:
//! `{"type":"video/mp4; codecs=\"avc1.64001f,mp4a.40.2\""}`. Over HTTP that is the `Content-Type`.
//!
//! Times are the stream's, so they are large after a while: a page sets `timestampOffset`, or seeks to where its buffer begins. A
//! hole in the audio of more than two of its frames costs a browser the pictures up to the next keyframe too: audio that is said
//! to last longer than it does is cut where the next frame comes, so that nothing can be done about it here.

use super::envelope::{Envelope, MAX_CLOSING, MAX_OPENING};
use super::{Content, Encoded, Form, put_slices};
use crate::hub::{Batch, MainIds, StreamTracks, Subscriber, TrackCodec};
use crate::media::fmp4::{self, CodedFrame, Description, Mp4Track, Run, Sample, Told};
use crate::media::{Frame, FrameKind};
use bytes::{BufMut, Bytes, BytesMut};
use std::io::IoSlice;

/// The kinds of track, in the order in which they stand in a fragment.
const KINDS: [FrameKind; 2] = [FrameKind::Video, FrameKind::Audio];

/// What comes before the bytes of a frame that is sent alone, an envelope's opening included.
const USUAL_HEAD: usize = 128;

/// Something for each kind of track.
type ByKind<T> = [T; 2];

/// The number of the track of this kind.
fn track_id(kind: FrameKind) -> u32 {
    if kind == FrameKind::Video { 1 } else { 2 }
}

/// What is known of a stream's main tracks from the frames so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::egress) struct Descriptions(ByKind<Option<Description>>);

impl Descriptions {
    /// Looks at a frame; whether its track is to be decoded otherwise from it on.
    pub(in crate::egress) fn note(&mut self, frame: &Frame, main: MainIds) -> bool {
        let Some(known) = self.0.get_mut(frame.kind as usize) else { return false };
        match Description::told_by(frame, main.of(frame.kind), known.as_ref()) {
            Told::Same => false,
            Told::Now(description) => {
                *known = description;
                true
            }
        }
    }

    fn track(&self, kind: FrameKind, has_other: bool) -> Option<Mp4Track> {
        self.0[kind as usize].as_ref()?.track(track_id(kind), has_other)
    }
}

/// What of a stream a player gets: tracks of which it is known how they are to be decoded.
#[derive(Debug)]
pub(crate) struct Mp4Tracks {
    known: Descriptions,
    tracks: ByKind<Option<Mp4Track>>,
    /// Only one kind is wanted.
    is_partial: bool,
}

impl Mp4Tracks {
    /// Those of a stream with these main tracks that a player wants, as they are where it begins; `None` where there are none
    /// that MP4 has a form for.
    pub(crate) fn find(
        subscriber: &Subscriber,
        main: &StreamTracks,
        only: Option<FrameKind>,
    ) -> Option<Self> {
        let is_wanted = |kind: FrameKind| {
            let track = if kind == FrameKind::Video { main.video } else { main.audio };
            let is_carried = |track: TrackCodec| fmp4::carries(track.codec, track.is_enhanced);
            only.is_none_or(|only| only == kind) && track.is_some_and(is_carried)
        };
        let has_other = KINDS.into_iter().all(is_wanted);
        let mut wanted: Vec<_> = KINDS.into_iter().filter(|kind| is_wanted(*kind)).collect();
        let (mut known, mut tracks) = (Descriptions::default(), ByKind::default());
        subscriber.look_ahead(|frame, main| {
            // What it begins with counts.
            if wanted.contains(&frame.kind) && known.note(frame, main) {
                let track = known.track(frame.kind, has_other);
                wanted.retain(|kind| *kind != frame.kind || track.is_none());
                tracks[frame.kind as usize] = track;
            }
            wanted.is_empty()
        });
        let found = Self { known, tracks, is_partial: only.is_some() };
        found.tracks.iter().any(Option::is_some).then_some(found)
    }

    /// What browsers call it.
    pub(crate) fn mime_type(&self) -> String {
        fmp4::mime_type(in_order(&self.tracks))
    }
}

/// What is there of each kind, video first.
fn in_order<T>(tracks: &ByKind<Option<T>>) -> impl Iterator<Item = &T> + Clone {
    KINDS.into_iter().filter_map(|kind| tracks[kind as usize].as_ref())
}

/// Fragments for one player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mp4Framing {
    envelope: Envelope,
    /// See [`Mp4Tracks`].
    is_partial: bool,
    /// The newest init segment tells how all tracks of it are to be decoded now.
    is_told: bool,
    /// See [`Self::late_kind`].
    late: Option<FrameKind>,
    known: Descriptions,
    tracks: ByKind<Option<PlayedTrack>>,
}

/// A track of the init segments of one player: the first one has it, so all have to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PlayedTrack {
    /// As the newest init segment has it.
    told: Mp4Track,
    /// As it is to be decoded from here on; `None` where nobody knows how.
    now: Option<Mp4Track>,
}

impl Mp4Framing {
    /// For a player that gets these tracks; and what comes first.
    pub(crate) fn new(envelope: Envelope, tracks: Mp4Tracks) -> (Self, Bytes) {
        let Mp4Tracks { known, tracks, is_partial } = tracks;
        let tracks = tracks.map(|track| track.map(|told| PlayedTrack { now: Some(told.clone()), told }));
        let mut framing = Self { envelope, is_partial, is_told: true, late: None, known, tracks };
        let head = framing.init();
        (framing, head)
    }

    /// A kind of media that has come and is left out, as the first init segment had no track for it: browsers cannot begin with
    /// it late. `None` for what the player does not want.
    pub(super) fn late_kind(&self) -> Option<FrameKind> {
        self.late
    }

    pub(super) fn form(&self) -> Option<Form> {
        let is_usual = self.is_told && !self.is_partial && self.late.is_none();
        is_usual.then_some(Form::Mp4(self.envelope))
    }

    /// Whether there are tracks for all of this.
    pub(super) fn has_tracks_for(&self, content: &Content) -> bool {
        let has = |kind: FrameKind| self.tracks[kind as usize].is_some();
        KINDS.into_iter().all(|kind| has(kind) || !content.has[kind as usize])
    }

    /// A coded frame as far as the player gets it: its bytes in its track.
    pub(super) fn adapt(&mut self, frame: Frame, main: MainIds) -> Option<(CodedFrame, Frame)> {
        if self.known.note(&frame, main) {
            self.describe(frame.kind);
        }
        let (coded, data) = CodedFrame::of(&frame, main.of(frame.kind))?;
        let data = frame.payload.slice_ref(data);
        match &self.tracks[frame.kind as usize] {
            Some(played) => played.now.is_some().then_some((coded, Frame { payload: data, ..frame })),
            None => {
                let is_late = !self.is_partial && self.known.track(frame.kind, true).is_some();
                self.late = self.late.or(is_late.then_some(frame.kind));
                None
            }
        }
    }

    pub(super) fn message(&mut self, coded: CodedFrame, frame: Frame) -> Mp4Message {
        let mut head = BytesMut::with_capacity(USUAL_HEAD);
        if self.tracks[frame.kind as usize].as_ref().is_some_and(|played| !played.is_told()) {
            head.extend_from_slice(&self.init());
        }
        let samples = [coded.sample(frame.kind, frame.timestamp, frame.payload.len())];
        let run =
            Run { track: track_id(frame.kind), is_video: frame.kind == FrameKind::Video, samples: &samples };
        head.put_slice(&self.envelope.opening(fmp4::head_len(&[run]) + frame.payload.len()));
        fmp4::put_head(sequence(frame.timestamp), &[run], &mut head);
        Mp4Message { head: head.freeze(), payload: frame.payload, envelope: self.envelope }
    }

    /// Takes note that a track is to be decoded otherwise.
    fn describe(&mut self, kind: FrameKind) {
        let has_other = self.tracks.iter().all(Option::is_some);
        if let Some(played) = &mut self.tracks[kind as usize] {
            played.now = self.known.track(kind, has_other);
        }
        self.is_told = self.tracks.iter().flatten().all(PlayedTrack::is_told);
    }

    /// An init segment, and over WebSocket what it is.
    fn init(&mut self) -> Bytes {
        for played in self.tracks.iter_mut().flatten() {
            played.told = played.now.as_ref().unwrap_or(&played.told).clone();
        }
        self.is_told = self.tracks.iter().flatten().all(PlayedTrack::is_told);
        let tracks = in_order(&self.tracks).map(|played| &played.told);
        let mut bytes = BytesMut::new();
        if self.envelope == Envelope::WebSocket {
            let text = serde_json::json!({ "type": fmp4::mime_type(tracks.clone()) }).to_string();
            bytes.extend_from_slice(&Envelope::text(&text));
        }
        let tracks: Vec<_> = tracks.cloned().collect();
        // Each of them makes one: it would be no track otherwise.
        let init = fmp4::mp4_init(&tracks).unwrap_or_default();
        bytes.extend_from_slice(&self.envelope.wrap(&init));
        bytes.freeze()
    }
}

impl PlayedTrack {
    fn is_told(&self) -> bool {
        self.now.as_ref() == Some(&self.told)
    }
}

/// The number of a fragment, by its first frame's time: it grows, which is all that the numbers are for (ISO/IEC 14496-12
/// 8.8.5), and whoever writes the fragment knows it.
fn sequence(timestamp: i64) -> u32 {
    timestamp as u32
}

/// A fragment with one frame, and what comes before it.
#[derive(Debug)]
pub(crate) struct Mp4Message {
    head: Bytes,
    payload: Bytes,
    /// The envelope that it is in, for its end.
    envelope: Envelope,
}

impl Mp4Message {
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.payload.len() + self.envelope.closing().len()
    }

    /// Appends the slices that remain after the first `skip` bytes, for a vectored write.
    pub(super) fn slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) {
        put_slices([&self.head, &self.payload, self.envelope.closing()], skip, out);
    }
}

/// Puts a batch's frames into one fragment, in one envelope.
pub(super) fn encode(envelope: Envelope, batch: &Batch, buffer: &mut BytesMut) -> Encoded {
    let (mut samples, mut data) = (ByKind::<Vec<Sample>>::default(), ByKind::<Vec<&[u8]>>::default());
    let (mut content, mut first) = (Content::default(), None);
    for frame in &batch.frames {
        if let Some((coded, bytes)) = CodedFrame::of(frame, batch.main.of(frame.kind)) {
            samples[frame.kind as usize].push(coded.sample(frame.kind, frame.timestamp, bytes.len()));
            data[frame.kind as usize].push(bytes);
            first.get_or_insert(frame.timestamp);
            content.add(frame);
        }
    }
    let Some(first) = first else { return Encoded::default() };
    let run = |kind| Run {
        track: track_id(kind),
        is_video: kind == FrameKind::Video,
        samples: &samples[kind as usize],
    };
    let runs = KINDS.map(run);
    let payloads: usize = data.iter().flatten().map(|bytes| bytes.len()).sum();
    let len = fmp4::head_len(&runs) + payloads;
    buffer.reserve(MAX_OPENING + len + MAX_CLOSING);
    buffer.put_slice(&envelope.opening(len));
    fmp4::put_head(sequence(first), &runs, buffer);
    KINDS.iter().flat_map(|kind| &data[*kind as usize]).for_each(|bytes| buffer.put_slice(bytes));
    buffer.put_slice(envelope.closing());
    Encoded { bytes: buffer.split().freeze(), content }
}
