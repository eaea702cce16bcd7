//! A stream's own time: it goes on across publishers that come back and clocks that jump, and one odd time stamp moves
//! nothing but its own frame.
//!
//! A frame that does not fit its track is held where the track is, and the clock stays. Only when the next two odd frames,
//! of whichever track, agree with it is that a new clock, which then holds for all tracks alike.

use crate::media::FrameKind;
use std::time::Duration;
use tokio::time::Instant;

bound! {
    /// Within so many milliseconds frames fit together: a longer step back is not reordering, a longer step forward is not
    /// a few lost frames (test `f08_a_clock_that_jumps_back_keeps_the_output_monotone_and_the_tracks_in_step`).
    const JUMP_MS: i64 = 1_000, without 1 << 60;
    /// Tracks may be so far apart; and data events from audio and video (test `data_moves_no_audio_and_no_video`).
    const APART_MS: i64 = 10_000, without 1 << 60;
}
/// Distance of frames where the track has not shown its own yet.
const DEFAULT_FRAME_MS: i64 = 33;
bound! {
    /// Longest distance that is taken for the usual one
    /// (test `a_gap_is_not_taken_for_the_distance_of_frames_when_a_publisher_returns`).
    const MAX_FRAME_MS: i64 = 200, without 1 << 60;
    /// A track without a frame for so long is gone: who joins does not get its configuration, for players wait for the frames
    /// of what is announced to them (test `the_header_of_a_track_that_is_gone_is_for_who_joins_when_it_is_back`).
    const GONE_AFTER: Duration = Duration::from_secs(10), without Duration::from_secs(1 << 30);
}

/// What has a time of its own: a kind, and in Enhanced RTMP the number of a track.
type TrackId = (FrameKind, u8);

/// Maps a publisher's timestamps (milliseconds) to the stream's.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    offset: i64,
    /// The offset before the last new clock: frames of the other tracks may still be on the old one.
    old_offset: Option<i64>,
    tracks: Vec<Track>,
    /// Time of the newest data event.
    data: Option<i64>,
    odd: Option<Odd>,
    /// The longest step forward that frames have been seen to take: further ones are no surprise.
    widest: i64,
    splicing: bool,
    /// See [`Self::jumps`].
    jumps: u64,
    /// See [`Self::take_return`].
    has_returned: bool,
}

#[derive(Debug, Clone, Copy)]
struct Track {
    id: TrackId,
    /// Time of its newest frame, and of the one before that.
    last: i64,
    before: Option<i64>,
    /// Distance of its frames.
    frame_ms: Option<i64>,
    /// When the newest came.
    at: Instant,
}

/// So many frames that do not fit, and agree, are a new clock.
const BELIEVED_ODD: u32 = 3;

/// A frame that did not fit: alone, or the first of a new clock.
#[derive(Debug, Clone, Copy)]
struct Odd {
    id: TrackId,
    /// The publisher's time.
    timestamp: i64,
    /// Where it was held.
    held: i64,
    /// Whether it was ahead of its track.
    is_ahead: bool,
    /// With those that agree.
    count: u32,
}

/// How a frame stands to its track.
enum Fit {
    /// In its place.
    Well,
    /// In its place, and its predecessor was ahead of its own.
    AfterSpike,
    /// A little before its predecessor.
    Late,
    /// Too far ahead, or too far back.
    Not { is_ahead: bool },
}

impl Timeline {
    /// The next coded frame comes from a new publisher: it continues one frame after the last.
    pub(super) fn splice(&mut self) {
        self.splicing = self.end().is_some();
        self.old_offset = None;
        self.odd = None;
        self.tracks.iter_mut().for_each(|track| track.before = None);
    }

    /// The stream time of a coded frame or data event that has come `now`.
    #[inline]
    pub(super) fn place(&mut self, kind: FrameKind, track: u8, timestamp: i64, now: Instant) -> i64 {
        if kind == FrameKind::Data {
            return self.place_data(timestamp);
        }
        if self.splicing {
            self.splicing = false;
            self.offset = self.next().saturating_sub(timestamp);
        }
        let (id, placed) = ((kind, track), timestamp.saturating_add(self.offset));
        let fit = match self.tracks.iter_mut().find(|track| track.id == id) {
            // What nearly every frame is.
            Some(track)
                if self.odd.is_none() && (0..=JUMP_MS.get()).contains(&placed.saturating_sub(track.last)) =>
            {
                track.step_to(placed, now);
                return placed;
            }
            Some(track) => {
                self.has_returned = now.saturating_duration_since(track.at) > GONE_AFTER.get();
                let track = *track;
                self.fit(&track, placed, now)
            }
            None => self.first_fit(placed),
        };
        if matches!(fit, Fit::AfterSpike | Fit::Late) {
            self.jumps = self.jumps.saturating_add(1);
        }
        match fit {
            Fit::Well => self.accept(id, placed, now),
            Fit::AfterSpike => self.accept_after_spike(id, placed, now),
            Fit::Late => self.last(id).unwrap_or(placed),
            Fit::Not { is_ahead } => self.place_odd(id, timestamp, is_ahead, now),
        }
    }

    /// The stream time of configuration of audio or video, which never moves the clock: encoders stamp it with 0.
    pub(super) fn place_config(&self, kind: FrameKind, timestamp: i64) -> i64 {
        let placed = timestamp.saturating_add(self.offset);
        let of_kind = self.tracks.iter().filter(|track| track.id.0 == kind).map(|track| track.last).max();
        match (self.splicing, self.end(), of_kind) {
            (true, Some(end), _) => end,
            (_, _, Some(last)) if placed.saturating_sub(last) <= APART_MS.get() => placed.max(last),
            (_, _, Some(last)) => last,
            (_, Some(end), None) if distance(placed, end) > APART_MS.get() => end,
            _ => placed,
        }
    }

    /// Whether the track of the frame that was placed last had been gone.
    #[inline]
    pub(super) fn take_return(&mut self) -> bool {
        std::mem::take(&mut self.has_returned)
    }

    /// How often frames have come that did not fit: back in time, or too far ahead. Frames that agree with one count with it.
    pub(super) fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Whether a track that has had frames has none any more, while others go on.
    pub(super) fn is_gone(&self, kind: FrameKind, track: u8) -> bool {
        let newest = self.tracks.iter().map(|track| track.at).max();
        self.track((kind, track))
            .zip(newest)
            .is_some_and(|(its, newest)| newest.saturating_duration_since(its.at) > GONE_AFTER.get())
    }

    /// The newest time of any track; of data where there is no other.
    pub(super) fn end(&self) -> Option<i64> {
        self.media_end().or(self.data)
    }

    fn media_end(&self) -> Option<i64> {
        self.tracks.iter().map(|track| track.last).max()
    }

    /// Data is where its publisher says, as long as that is near audio and video; it never moves them.
    fn place_data(&mut self, timestamp: i64) -> i64 {
        // What goes with frames that are soon to be believed goes where they are.
        let beside = self.odd.filter(|odd| odd.count > 1).and_then(|odd| odd.beside(timestamp));
        let placed = beside.unwrap_or(timestamp.saturating_add(self.offset));
        let is_near = self.tracks.iter().any(|track| distance(placed, track.last) <= APART_MS.get());
        let placed = match self.media_end() {
            Some(end) if self.splicing || !is_near => end,
            _ => placed,
        };
        self.data = Some(placed);
        placed
    }

    fn fit(&self, track: &Track, placed: i64, now: Instant) -> Fit {
        let step = placed.saturating_sub(track.last);
        if step >= 0 {
            let waited = millis(now.saturating_duration_since(track.at));
            let is_usual = step <= self.widest.max(JUMP_MS.get()).saturating_add(waited);
            let is_with_others = || self.end().is_some_and(|end| placed.saturating_sub(end) <= JUMP_MS.get());
            return if is_usual || is_with_others() { Fit::Well } else { Fit::Not { is_ahead: true } };
        }
        let is_after_spike = match track.before {
            Some(before) => placed >= before,
            // Either of the two may be the odd one.
            None => step >= -JUMP_MS.get() || self.agrees_with_others(track, placed),
        };
        match is_after_spike {
            true => Fit::AfterSpike,
            false if step >= -JUMP_MS.get() => Fit::Late,
            false => Fit::Not { is_ahead: false },
        }
    }

    /// The first frame of a track is taken as it is, unless the others, once they have shown theirs, are elsewhere.
    fn first_fit(&self, placed: i64) -> Fit {
        let settled = self.tracks.iter().filter(|track| track.before.is_some());
        match settled.map(|track| track.last).max() {
            Some(end) if distance(placed, end) > APART_MS.get() => Fit::Not { is_ahead: placed > end },
            _ => Fit::Well,
        }
    }

    /// Whether the second frame of a track, rather than the first, is where the other tracks are.
    fn agrees_with_others(&self, track: &Track, placed: i64) -> bool {
        let others = self.tracks.iter().filter(|other| other.id != track.id);
        match others.map(|other| other.last).max() {
            Some(end) => distance(placed, end) < distance(track.last, end),
            None => false,
        }
    }

    fn place_odd(&mut self, id: TrackId, timestamp: i64, is_ahead: bool, now: Instant) -> i64 {
        let last = self.last(id);
        if let (Some(last), Some(offset)) = (last, self.old_offset) {
            let placed = timestamp.saturating_add(offset);
            if distance(placed, last) <= JUMP_MS.get() {
                return self.accept(id, placed.max(last), now);
            }
        }
        let held = last.map_or_else(|| self.next(), |last| last.saturating_add(self.frame_ms(id)));
        let Some(mut odd) = self.odd.filter(|odd| odd.agrees(timestamp, is_ahead)) else {
            self.odd = Some(Odd { id, timestamp, held, is_ahead, count: 1 });
            self.jumps = self.jumps.saturating_add(1);
            return held;
        };
        odd.count = odd.count.saturating_add(1);
        self.odd = Some(odd);
        if odd.count < BELIEVED_ODD {
            return last.map_or(held, |last| odd.beside(timestamp).unwrap_or(held).max(last));
        }
        self.believe(odd, self.last(odd.id).or(last));
        let placed = timestamp.saturating_add(self.offset);
        self.accept(id, last.map_or(placed, |last| placed.max(last)), now)
    }

    /// Goes by the clock of a frame that was taken for odd; `last` is the time of its track, or of the one that agrees.
    fn believe(&mut self, odd: Odd, last: Option<i64>) {
        self.odd = None;
        match last {
            // A track that has begun elsewhere, and stays there.
            None => {}
            // A gap, in a stream that comes faster than it plays.
            Some(last) if odd.is_ahead => {
                let gap = odd.timestamp.saturating_add(self.offset).saturating_sub(last);
                self.widest = self.widest.max(gap);
            }
            Some(_) => {
                self.old_offset = Some(self.offset);
                self.offset = odd.held.saturating_sub(odd.timestamp);
            }
        }
    }

    fn accept(&mut self, id: TrackId, placed: i64, now: Instant) -> i64 {
        self.odd = self.odd.filter(|odd| odd.id != id);
        match self.tracks.iter_mut().find(|track| track.id == id) {
            Some(track) => track.step_to(placed, now),
            None => self.tracks.push(Track { id, last: placed, before: None, frame_ms: None, at: now }),
        }
        placed
    }

    /// As if the predecessor had never come.
    fn accept_after_spike(&mut self, id: TrackId, placed: i64, now: Instant) -> i64 {
        if let Some(track) = self.tracks.iter_mut().find(|track| track.id == id) {
            track.last = placed;
            track.at = now;
        }
        placed
    }

    fn last(&self, id: TrackId) -> Option<i64> {
        self.track(id).map(|track| track.last)
    }

    fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id == id)
    }

    fn frame_ms(&self, id: TrackId) -> i64 {
        self.track(id).and_then(|track| track.frame_ms).unwrap_or(DEFAULT_FRAME_MS)
    }

    /// One frame after the end, a frame of video where there is video.
    fn next(&self) -> i64 {
        let of = |kind| self.tracks.iter().find(|track| track.id.0 == kind).and_then(|track| track.frame_ms);
        let frame_ms = of(FrameKind::Video).or_else(|| of(FrameKind::Audio)).unwrap_or(DEFAULT_FRAME_MS);
        self.end().map_or(0, |end| end.saturating_add(frame_ms))
    }
}

impl Track {
    fn step_to(&mut self, placed: i64, now: Instant) {
        let step = placed.saturating_sub(self.last);
        if (1..=MAX_FRAME_MS.get()).contains(&step) {
            self.frame_ms = Some(step);
        }
        self.before = Some(self.last);
        self.last = placed;
        self.at = now;
    }
}

impl Odd {
    /// Whether a second frame that does not fit is on the same clock.
    fn agrees(&self, timestamp: i64, is_ahead: bool) -> bool {
        let is_on = self.is_ahead && is_ahead && timestamp >= self.timestamp;
        is_on || distance(timestamp, self.timestamp) <= JUMP_MS.get()
    }

    /// Where a frame that agrees is, if its distance from this one is true.
    fn beside(&self, timestamp: i64) -> Option<i64> {
        let step = timestamp.saturating_sub(self.timestamp);
        (step.saturating_abs() <= JUMP_MS.get()).then(|| self.held.saturating_add(step))
    }
}

fn distance(a: i64, b: i64) -> i64 {
    a.saturating_sub(b).saturating_abs()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FrameKind::{Audio, Data, Video};
    use proptest::prelude::*;

    type Stamp = (FrameKind, u8, i64);

    /// As fast as it can be pushed.
    fn place_all(timeline: &mut Timeline, stamps: &[Stamp]) -> Vec<i64> {
        let now = Instant::now();
        stamps.iter().map(|&(kind, track, at)| timeline.place(kind, track, at, now)).collect()
    }

    fn play(timeline: &mut Timeline, frames: &[(FrameKind, i64)]) -> Vec<i64> {
        let stamps: Vec<_> = frames.iter().map(|&(kind, at)| (kind, 0, at)).collect();
        place_all(timeline, &stamps)
    }

    #[test]
    fn a_returning_publisher_continues_one_frame_later_with_its_tracks_in_step() {
        let mut t = Timeline::default();
        assert_eq!(play(&mut t, &[(Video, 1000), (Audio, 1010), (Video, 1040)]), [1000, 1010, 1040]);
        t.splice();
        assert_eq!(t.place_config(Video, 0), 1040, "configuration does not move the clock");
        assert_eq!(play(&mut t, &[(Video, 5000), (Audio, 5010), (Video, 5040)]), [1080, 1090, 1120]);
    }

    #[test]
    fn a_gap_is_not_taken_for_the_distance_of_frames_when_a_publisher_returns() {
        let mut t = Timeline::default();
        play(&mut t, &[(Video, 0), (Video, 40), (Video, 940)]);
        t.splice();
        assert_eq!(play(&mut t, &[(Video, 0), (Video, 40)]), [980, 1_020]);
    }

    #[test]
    fn f08_a_clock_that_jumps_back_keeps_the_output_monotone_and_the_tracks_in_step() {
        let mut t = Timeline::default();
        play(&mut t, &[(Video, 60_000), (Audio, 60_005), (Video, 60_040)]);
        let out = play(&mut t, &[(Video, 50_000), (Audio, 60_025), (Audio, 50_005), (Video, 50_040)]);
        assert_eq!(out[0], 60_080, "one frame after the last");
        assert_eq!(out[1], 60_025, "a frame of the old clock keeps its place");
        assert_eq!(out[2] - out[0], 5, "the A/V offset is constant");
        assert_eq!(out[3], 60_120);
    }

    #[test]
    fn f08_time_goes_on_across_2_to_the_24_31_and_32() {
        for edge in [1i64 << 24, 1 << 31, 1 << 32] {
            let mut t = Timeline::default();
            let out =
                play(&mut t, &[(Video, edge - 40), (Audio, edge - 1), (Video, edge), (Audio, edge + 22)]);
            assert_eq!(out, [edge - 40, edge - 1, edge, edge + 22]);
        }
    }

    #[test]
    fn a_small_step_back_is_held_not_followed() {
        let mut t = Timeline::default();
        let out = play(&mut t, &[(Video, 60), (Video, 100), (Video, 50), (Video, 140)]);
        assert_eq!(out, [60, 100, 100, 140]);
    }

    #[test]
    fn a_lone_odd_stamp_is_held_and_the_next_is_where_it_belongs() {
        for odd in [10_120, 3_600_120, -3_600_000, i64::MAX, i64::MIN] {
            let mut t = Timeline::default();
            let out = play(
                &mut t,
                &[(Video, 40), (Audio, 50), (Video, 80), (Video, odd), (Audio, 72), (Video, 160)],
            );
            assert_eq!(out, [40, 50, 80, 120, 72, 160], "{odd}");
        }
    }

    #[test]
    fn two_odd_stamps_in_a_row_are_held_and_the_next_is_where_it_belongs() {
        for by in [2_000, 10_000, 3_600_000, -3_600_000, 1 << 31] {
            for second in [Video, Audio] {
                let mut t = Timeline::default();
                play(&mut t, &[(Video, 7_000_000), (Audio, 7_000_010), (Video, 7_000_040)]);
                let odd = play(&mut t, &[(Video, 7_000_080 + by), (second, 7_000_085 + by)]);
                assert!(odd.iter().all(|at| distance(*at, 7_000_080) <= 45), "{by} {second:?}: {odd:?}");
                let out = play(&mut t, &[(Video, 7_000_120), (Audio, 7_000_103), (Video, 7_000_160)]);
                assert_eq!(out, [7_000_120, 7_000_103, 7_000_160], "{by} {second:?}");
            }
        }
    }

    #[test]
    fn a_stamp_a_little_ahead_passes_and_holds_nothing_back() {
        let mut t = Timeline::default();
        let out = play(&mut t, &[(Video, 40), (Video, 80), (Video, 900), (Video, 160), (Video, 200)]);
        assert_eq!(out, [40, 80, 900, 160, 200]);
    }

    #[test]
    fn a_gap_is_kept_also_in_a_stream_that_comes_faster_than_it_plays() {
        let mut t = Timeline::default();
        let out = play(&mut t, &[(Video, 0), (Video, 12_000), (Video, 24_000), (Video, 36_000)]);
        assert_eq!(out, [0, DEFAULT_FRAME_MS, DEFAULT_FRAME_MS, 36_000], "all but two, which could be odd");
    }

    #[test]
    fn a_still_picture_that_comes_as_seldom_as_it_says_is_in_its_place() {
        let (mut t, begin) = (Timeline::default(), Instant::now());
        for at in [0, 12_000, 24_000] {
            let now = begin + Duration::from_millis(at);
            assert_eq!(t.place(Video, 0, at as i64, now), at as i64);
        }
    }

    #[test]
    fn data_moves_no_audio_and_no_video() {
        let mut t = Timeline::default();
        let out = play(
            &mut t,
            &[
                (Video, 63_300),
                (Data, 0),
                (Video, 63_340),
                (Data, 63_383),
                (Data, 0),
                (Data, 126_766),
                (Audio, 63_383),
            ],
        );
        assert_eq!(out, [63_300, 63_300, 63_340, 63_383, 63_340, 63_340, 63_383]);
        t.splice();
        assert_eq!(play(&mut t, &[(Data, 5), (Video, 0), (Data, 7)]), [63_383, 63_423, 63_430]);
    }

    #[test]
    fn data_at_a_clock_that_starts_again_goes_with_audio_and_video() {
        let mut t = Timeline::default();
        play(&mut t, &[(Video, 60_000), (Audio, 60_005), (Video, 60_040)]);
        let out = play(&mut t, &[(Video, 58_000), (Audio, 58_005), (Data, 58_000), (Video, 58_040)]);
        assert_eq!(out, [60_080, 60_085, 60_080, 60_120]);
    }

    #[test]
    fn configuration_is_never_far_from_its_track() {
        let mut t = Timeline::default();
        play(&mut t, &[(Video, 60_000), (Audio, 60_005)]);
        assert_eq!([0, 60_040, 3_660_000].map(|at| t.place_config(Video, at)), [60_000, 60_040, 60_000]);
    }

    /// A stream of video and audio, in some a second audio track that is late in the order of frames, in some data.
    fn stream() -> impl Strategy<Value = Vec<Stamp>> {
        let beginning = prop_oneof![Just(0i64), 0..100_000_000i64];
        (beginning, 15..70i64, 15..30i64, 0..500i64, any::<bool>(), any::<bool>(), 20..60usize).prop_map(
            |(begin, video, audio, late, has_second, has_data, count)| {
                // When it comes, and what.
                let mut stamps: Vec<(i64, Stamp)> = Vec::new();
                for i in 0..count as i64 {
                    stamps.push((i * video, (Video, 0, begin + i * video)));
                    stamps.push((i * audio, (Audio, 0, begin + i * audio)));
                    if has_second {
                        stamps.push((i * audio + late, (Audio, 1, begin + i * audio)));
                    }
                    if has_data && i % 10 == 0 {
                        stamps.push((i * video, (Data, 0, begin + i * video)));
                    }
                }
                stamps.sort_by_key(|&(order, _)| order);
                stamps.into_iter().map(|(_, stamp)| stamp).collect()
            },
        )
    }

    fn any_stamp() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -5_000..100_000_000i64, any::<u32>().prop_map(i64::from)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn one_odd_stamp_moves_no_other_frame(
            stamps in stream(), index in any::<prop::sample::Index>(), odd in any_stamp(), is_near in any::<bool>()
        ) {
            let usual = place_all(&mut Timeline::default(), &stamps);
            let index = index.index(stamps.len());
            let mut changed = stamps.clone();
            changed[index].2 = if is_near { stamps[index].2 + odd % 20_000 } else { odd };
            let got = place_all(&mut Timeline::default(), &changed);
            let moved: Vec<_> = usual.iter().zip(&got).map(|(usual, got)| got - usual).collect();
            let mut others = moved.iter().enumerate().filter(|&(i, _)| i != index).map(|(_, by)| *by);
            let first = others.next().unwrap();
            prop_assert!(others.all(|by| by == first), "{:?} of {:?}: {:?}", changed[index], stamps[0], moved);
        }

        #[test]
        fn a_publisher_that_starts_again_moves_all_tracks_alike(
            stamps in stream(), cut in any::<prop::sample::Index>(), by in 2_000..50_000_000i64, is_announced in any::<bool>()
        ) {
            // All but the late track have begun.
            let cut = 8 + cut.index(stamps.len() - 8);
            let mut t = Timeline::default();
            place_all(&mut t, &stamps[..cut]);
            let end = t.end();
            if is_announced {
                t.splice();
            }
            let again: Vec<_> = stamps.iter().map(|&(kind, track, at)| (kind, track, at - by)).collect();
            let got = place_all(&mut t, &again);
            prop_assert!(end.is_none_or(|end| got.iter().all(|&at| at > end - 1_000)), "{end:?}: {got:?}");
            // A frame or two tell of it, and what would go back is held.
            let is_settled = |&((kind, _, at), _): &(&Stamp, &i64)| *kind != Data && at - again[0].2 > 1_200;
            let settled = again.iter().zip(&got).filter(is_settled);
            let by: Vec<_> = settled.map(|((_, _, at), got)| got - at).collect();
            prop_assert!(by.iter().all(|moved| *moved == by[0]), "{by:?}");
        }
    }
}
