//! Recordings as fragmented MP4: a fragment by each second, and one that begins with each keyframe.
//!
//! Whoever opens a file that is being written, or whose writing was cut off, has all but the newest second. Each sample is written when
//! the next one of its track has come, so that it is said to last as long as it does.

use super::pieces::Pieces;
use crate::media::flv::PayloadInfo;
use crate::media::fmp4::{self, CodedFrame, Description, Mp4Track, Run, Sample, Told};
use crate::media::{Frame, FrameKind};
use bytes::{Bytes, BytesMut};

/// How long fragments are at most, in milliseconds of stream time: with the sample that is held back, and the time that a recording
/// waits for more to write, a second.
const FRAGMENT_MS: i64 = 900;
/// A keyframe begins another one only after so long: a stream may have nothing but keyframes.
const MIN_FRAGMENT_MS: i64 = 250;
/// What the last picture of a stream is said to last where there is none to go by, in milliseconds.
const PICTURE_MS: u32 = 40;

bound! {
    /// Bytes of a fragment, after which it ends in any case (test `a_fragment_ends_where_it_has_much_in_it`).
    const MAX_FRAGMENT: usize = 8 * 1024 * 1024, without usize::MAX;
    /// Tracks of a stream that are recorded; each costs the description of it
    /// (test `no_more_than_sixteen_tracks_are_recorded_as_mp4`).
    const MAX_TRACKS: usize = 16, without usize::MAX;
}

/// A track of the stream.
struct Track {
    kind: FrameKind,
    /// Its number in the stream.
    number: u8,
    known: Option<Description>,
    /// As a file would have it from here on; `None` where that is not known.
    now: Option<Mp4Track>,
    /// As the file that is open has it.
    told: Option<Mp4Track>,
    /// What is in no fragment yet; the newest one waits for the next.
    samples: Vec<Sample>,
    data: Vec<Bytes>,
}

impl Track {
    /// How long its newest sample lasts, where none of its track follows: up to `next`, or as the one before.
    fn last_duration(&self, next: Option<u64>) -> Option<u32> {
        let (newest, before) = self.samples.split_last()?;
        if let Some(told) = self.told.as_ref().filter(|_| self.kind == FrameKind::Audio) {
            return Some(newest.duration.unwrap_or(told.default_duration));
        }
        let until_next = next.and_then(|next| next.checked_sub(newest.time));
        let as_before = || newest.time.checked_sub(before.last()?.time);
        let lasts = until_next.or_else(as_before).and_then(|lasts| u32::try_from(lasts).ok());
        lasts.or_else(|| fmp4::timescale(self.kind).checked_div(1_000)?.checked_mul(PICTURE_MS))
    }
}

/// The fragments of a file.
#[derive(Default)]
pub(super) struct Mp4Form {
    base: i64,
    tracks: Vec<Track>,
    sequence: u32,
    /// Stream time of the first sample that is in no fragment.
    begins: Option<i64>,
    /// Bytes of what is in none.
    held: usize,
}

impl Mp4Form {
    /// See [`Form::note`](super::cutter::Form::note).
    pub(super) fn note(&mut self, frame: &Frame) -> bool {
        let mut is_news = false;
        for number in numbers(frame) {
            let place = self.place(frame.kind, number).or_else(|| self.add(frame.kind, number));
            let Some((index, track)) = place.and_then(|index| Some((index, self.tracks.get_mut(index)?)))
            else {
                continue;
            };
            if let Told::Now(known) = Description::told_by(frame, number, track.known.as_ref()) {
                track.now = known.as_ref().and_then(|known| known.track(id(index), true));
                track.known = known;
                is_news |= track.now != track.told;
            }
        }
        is_news
    }

    fn place(&self, kind: FrameKind, number: u8) -> Option<usize> {
        self.tracks.iter().position(|track| track.kind == kind && track.number == number)
    }

    fn add(&mut self, kind: FrameKind, number: u8) -> Option<usize> {
        if self.tracks.len() >= MAX_TRACKS.get() {
            return None;
        }
        let (known, now, told) = (None, None, None);
        self.tracks.push(Track { kind, number, known, now, told, samples: Vec::new(), data: Vec::new() });
        self.tracks.len().checked_sub(1)
    }

    pub(super) fn begin(&mut self, base: i64, out: &mut Pieces) -> bool {
        (self.base, self.sequence, self.begins, self.held) = (base, 0, None, 0);
        for track in &mut self.tracks {
            track.told.clone_from(&track.now);
            track.samples.clear();
            track.data.clear();
        }
        let mut told: Vec<_> = self.tracks.iter().filter_map(|track| track.told.clone()).collect();
        // Players show the first track of each kind.
        told.sort_by_key(|track| track.codec.kind() != Some(FrameKind::Video));
        let init = if told.is_empty() { None } else { fmp4::mp4_file_init(&told, 0).ok() };
        out.put_slice(&init.clone().unwrap_or_default());
        init.is_some()
    }

    pub(super) fn push(&mut self, frame: &Frame, out: &mut Pieces) {
        let at = frame.timestamp.saturating_sub(self.base).max(0);
        let (mut is_cut, mut is_taken) = (false, false);
        for number in numbers(frame) {
            let Some(index) = self.place(frame.kind, number) else { continue };
            let lead = self.lead();
            let Some(track) = self.tracks.get_mut(index) else { continue };
            // What is coded otherwise than the file says belongs into the next one.
            let is_as_told = track.told.is_some() && track.now == track.told;
            let Some((coded, data)) = CodedFrame::of(frame, number).filter(|_| is_as_told) else { continue };
            let sample = coded.sample(frame.kind, at, data.len());
            track.samples.push(sample);
            track.data.push(frame.payload.slice_ref(data));
            self.held = self.held.saturating_add(data.len());
            is_cut |= lead == Some(index) && frame.kind == FrameKind::Video && sample.is_sync;
            is_taken = true;
        }
        if !is_taken {
            return;
        }
        let begins = *self.begins.get_or_insert(frame.timestamp);
        let lasts = frame.timestamp.saturating_sub(begins);
        let is_over = lasts >= FRAGMENT_MS || is_cut && lasts >= MIN_FRAGMENT_MS;
        if is_over || self.held > MAX_FRAGMENT.get() {
            self.put_fragment(1, out);
            self.begins = Some(frame.timestamp);
        }
    }

    pub(super) fn end(&mut self, next: Option<i64>, out: &mut Pieces) {
        let next = next.map(|next| next.saturating_sub(self.base));
        for track in &mut self.tracks {
            let units = |next: i64| {
                let per_ms = u64::from(fmp4::timescale(track.kind) / 1_000);
                u64::try_from(next).unwrap_or_default().saturating_mul(per_ms)
            };
            let duration = track.last_duration(next.map(units));
            if let Some(newest) = track.samples.last_mut() {
                newest.duration = duration;
            }
        }
        self.put_fragment(0, out);
    }

    /// By its keyframes fragments are cut: the first track of video that is in the file.
    fn lead(&self) -> Option<usize> {
        self.tracks.iter().position(|track| track.kind == FrameKind::Video && track.told.is_some())
    }

    /// Writes what has come together, but for so many of the newest samples of each track.
    fn put_fragment(&mut self, stay: usize, out: &mut Pieces) {
        let (mut runs, mut data) = (Vec::new(), Vec::new());
        for (index, track) in self.tracks.iter_mut().enumerate() {
            let go = track.samples.len().saturating_sub(stay);
            let staying = track.samples.split_off(go);
            let mut samples = std::mem::replace(&mut track.samples, staying);
            data.extend(track.data.drain(..go));
            if let (Some(last), Some(next)) = (samples.last_mut(), track.samples.first()) {
                let lasts = next.time.checked_sub(last.time).and_then(|lasts| u32::try_from(lasts).ok());
                last.duration = lasts.or(last.duration).or(Some(0));
            }
            if !samples.is_empty() {
                runs.push((id(index), track.kind == FrameKind::Video, samples));
            }
        }
        let runs =
            runs.iter().map(|(track, is_video, samples)| Run { track: *track, is_video: *is_video, samples });
        let runs: Vec<_> = runs.collect();
        if !runs.is_empty() {
            self.sequence = self.sequence.wrapping_add(1);
            let mut head = BytesMut::new();
            fmp4::put_head(self.sequence, &runs, &mut head);
            out.put(&head.freeze());
            data.iter().for_each(|data| out.put(data));
        }
        self.held = self.tracks.iter().flat_map(|track| &track.data).map(Bytes::len).sum();
    }
}

/// The number of a track in files.
fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or_default().saturating_add(1)
}

/// The numbers of the tracks that a frame has something of.
fn numbers(frame: &Frame) -> impl Iterator<Item = u8> {
    let info = PayloadInfo::parse(frame.kind, &frame.payload);
    info.into_iter().flat_map(|info| info.tracks(&frame.payload).map(|track| track.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::fmp4::FileIndex;
    use crate::testing::demo_frames;
    use std::io::Cursor;

    fn form(frames: &[Frame]) -> (Mp4Form, Pieces) {
        let (mut form, mut out) = (Mp4Form::default(), Pieces::default());
        frames.iter().for_each(|frame| {
            form.note(frame);
        });
        assert!(form.begin(0, &mut out));
        (form, out)
    }

    #[test]
    fn a_fragment_ends_where_it_has_much_in_it() {
        let header: Vec<_> = demo_frames().into_iter().filter(Frame::is_sequence_start).collect();
        let (mut form, mut out) = form(&header);
        let big = |at| {
            let payload = [&[0x27, 1, 0, 0, 0][..], &vec![7; 1 << 20]].concat();
            Frame::new(FrameKind::Video, at, payload.into())
        };
        for at in 0..20 {
            form.push(&big(at), &mut out);
            assert!(form.held <= MAX_FRAGMENT.stated() + (2 << 20), "{} bytes are held", form.held);
        }
        form.end(None, &mut out);
        assert!(FileIndex::read(&mut Cursor::new(out.take().concat())).unwrap().fragments.len() > 1);
    }

    #[test]
    fn no_more_than_sixteen_tracks_are_recorded_as_mp4() {
        let header = demo_frames().into_iter().find(Frame::is_sequence_start).unwrap();
        let record = &header.payload[5..];
        let track = |number: u8| {
            let payload = [&[0x96, 0x00][..], b"avc1", &[number], record].concat();
            Frame::new(FrameKind::Video, 0, payload.into())
        };
        let (form, _) = form(&(0..40).map(track).collect::<Vec<_>>());
        assert_eq!(form.tracks.len(), MAX_TRACKS.stated());
    }
}
