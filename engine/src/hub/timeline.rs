//! A stream's own time: it goes on monotonically across publishers that come back and clocks that jump.

use crate::media::FrameKind;

/// A step back by more than this many milliseconds is a new clock, not reordering.
const JUMP_MS: i64 = 1_000;
/// Distance of frames where the stream has not shown its own yet.
const DEFAULT_FRAME_MS: i64 = 33;

/// Maps a publisher's timestamps (milliseconds) to the stream's.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    offset: i64,
    /// The offset before the last jump: frames of the other track may still be on the old clock.
    old_offset: Option<i64>,
    last: [Option<i64>; 3],
    frame_ms: Option<i64>,
    splicing: bool,
}

impl Timeline {
    /// The next coded frame comes from a new publisher: it continues one frame after the last.
    pub(super) fn splice(&mut self) {
        self.splicing = self.end().is_some();
        self.old_offset = None;
    }

    /// The stream time of a coded frame.
    pub(super) fn place(&mut self, kind: FrameKind, timestamp: i64) -> i64 {
        if std::mem::take(&mut self.splicing) {
            self.rebase(timestamp);
        }
        let mut placed = timestamp.saturating_add(self.offset);
        if let Some(last) = self.last[kind as usize] {
            placed = self.follow(timestamp, placed, last);
            self.note_distance(kind, placed.saturating_sub(last));
            placed = placed.max(last);
        }
        self.last[kind as usize] = Some(placed);
        placed
    }

    /// The stream time of configuration, which never moves the clock: encoders stamp it with 0.
    pub(super) fn place_config(&self, kind: FrameKind, timestamp: i64) -> i64 {
        let placed = timestamp.saturating_add(self.offset);
        match (self.splicing, self.end(), self.last[kind as usize]) {
            (true, Some(end), _) => end,
            (_, _, Some(last)) => placed.max(last),
            _ => placed,
        }
    }

    /// The newest time of any track.
    pub(super) fn end(&self) -> Option<i64> {
        self.last.iter().flatten().copied().max()
    }

    /// Starts a new clock after a jump back, and recognises frames that are still on the old one.
    fn follow(&mut self, timestamp: i64, placed: i64, last: i64) -> i64 {
        if last.saturating_sub(placed) > JUMP_MS {
            self.old_offset = Some(self.offset);
            self.rebase(timestamp);
            return timestamp.saturating_add(self.offset);
        }
        let near = |time: i64| time.saturating_sub(last).saturating_abs() <= JUMP_MS;
        match self.old_offset.map(|offset| timestamp.saturating_add(offset)) {
            Some(old) if near(old) && !near(placed) => old,
            _ => placed,
        }
    }

    fn rebase(&mut self, timestamp: i64) {
        let frame_ms = self.frame_ms.unwrap_or(DEFAULT_FRAME_MS);
        let next = self.end().map_or(timestamp, |end| end.saturating_add(frame_ms));
        self.offset = next.saturating_sub(timestamp);
    }

    fn note_distance(&mut self, kind: FrameKind, distance: i64) {
        let usable = kind == FrameKind::Video || (kind == FrameKind::Audio && self.last[1].is_none());
        if usable && (1..=200).contains(&distance) {
            self.frame_ms = Some(distance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FrameKind::{Audio, Video};

    fn play(timeline: &mut Timeline, frames: &[(FrameKind, i64)]) -> Vec<i64> {
        frames.iter().map(|&(kind, at)| timeline.place(kind, at)).collect()
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
        assert_eq!(play(&mut t, &[(Video, 100), (Video, 90), (Video, 140)]), [100, 100, 140]);
    }
}
