//! Files whose frames are not in the order of their time: their disorder is no lateness of ours.

use super::*;
use proptest::prelude::*;

/// A clip of so many seconds with 25 pictures and 46 audio frames a second, video lying `shift` ms later in the file than
/// audio of its time, with these stamps in place of frames' own.
fn disordered(seconds: i64, shift: i64, odd: &[(usize, u32)]) -> (Bytes, usize) {
    let video = (0..seconds * 25)
        .map(|n| (n * 40 + shift, if n % 25 == 0 { keyframe(n * 40, 9) } else { inter(n * 40, 9) }));
    let audio =
        (0..seconds * 44_100 / 1_024).map(|n| n * 1_024_000 / 44_100).map(|at| (at, testing::audio(at)));
    let mut frames: Vec<(i64, Frame)> = video.chain(audio).collect();
    frames.sort_by_key(|(place, _)| *place);
    let mut frames: Vec<Frame> = frames.into_iter().map(|(_, frame)| frame).collect();
    for (which, time) in odd {
        let which = which % frames.len();
        frames[which].timestamp = i64::from(*time);
    }
    let count = frames.len();
    let headers = [video_header(0), testing::audio_header(0)];
    (testing::flv(&[&headers[..], &frames].concat()), count)
}

/// How many coded frames come, and how long it takes from the first to the end of the stream.
async fn played(bytes: Bytes) -> (usize, Duration) {
    let fixture = Fixture::new(|_| ());
    let subscriber = fixture.watch();
    let start = Instant::now();
    fixture.jobs.play_clips(&key(), vec![Clip::memory("clip", bytes)], Repeat::Times(1)).unwrap();
    let (seen, _) = watch_to_the_end(subscriber).await;
    (seen.iter().filter(|(_, frame)| !frame.is_config()).count(), start.elapsed())
}

fn play(bytes: Bytes) -> (usize, Duration) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(played(bytes))
}

#[test]
fn tracks_that_are_apart_in_the_file_are_played_in_the_files_time() {
    for shift in [-3_200, 3_200, 9_000] {
        let (bytes, count) = disordered(20, shift, &[]);
        let (frames, took) = play(bytes);
        assert_eq!(frames, count, "video {shift} ms later");
        assert!(took.abs_diff(Duration::from_secs(20)) <= Duration::from_millis(40), "{shift} ms: {took:?}");
    }
}

/// How far the coded frames of the first passes come from the time that they are stamped with, at most.
fn furthest_from_its_time(frames: &[Frame], passes: u64) -> Duration {
    let headers = [video_header(0), testing::audio_header(0)];
    let bytes = testing::flv(&[&headers[..], frames].concat());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let seen = runtime.block_on(async {
        let fixture = Fixture::new(|config| config.limits.ring_bytes = 64 << 20);
        let subscriber = fixture.watch();
        let clips = vec![Clip::memory("clip", bytes)];
        fixture.jobs.play_clips(&key(), clips, Repeat::Times(passes)).unwrap();
        watch_to_the_end(subscriber).await.0
    });
    let mut coded = seen.iter().filter(|(_, frame)| !frame.is_config());
    assert_eq!(coded.clone().count() as u64, frames.len() as u64 * passes);
    let (start, first) = coded.next().unwrap();
    let off = |(at, frame): &(Instant, Frame)| {
        let own = Duration::from_millis(frame.timestamp.abs_diff(first.timestamp));
        (*at - *start).abs_diff(own)
    };
    coded.map(off).max().unwrap()
}

/// Ten or more seconds of pictures and audio, in the order of their time.
fn in_order(seconds: i64) -> Vec<Frame> {
    let video = (0..seconds * 25).map(|n| if n % 25 == 0 { keyframe(n * 40, 9) } else { inter(n * 40, 9) });
    let audio = (0..seconds * 44_100 / 1_024).map(|n| testing::audio(n * 1_024_000 / 44_100));
    let mut frames: Vec<Frame> = video.chain(audio).collect();
    frames.sort_by_key(|frame| frame.timestamp);
    frames
}

#[test]
fn each_frame_is_sent_at_its_own_time_however_far_apart_the_tracks_lie_in_the_file() {
    for shift in [-3_200_i64, 3_200, 9_000, -12_000, 25_000] {
        let later = |frame: &Frame| (shift > 0) == (frame.kind == FrameKind::Video);
        let mut frames = in_order(30);
        frames.iter_mut().filter(|frame| later(frame)).for_each(|frame| frame.timestamp += shift.abs());
        let off = furthest_from_its_time(&frames, 2);
        assert!(off <= Duration::from_millis(2), "video {shift} ms later: {off:?}");
    }
    for block in [5_000_i64, 10_000, 30_000] {
        let mut frames = in_order(30);
        frames.sort_by_key(|frame| (frame.timestamp / block, frame.kind.type_id()));
        let off = furthest_from_its_time(&frames, 2);
        assert!(off <= Duration::from_millis(2), "in blocks of {block} ms: {off:?}");
    }
}

#[test]
fn a_track_that_ends_early_or_starts_late_holds_nothing_back() {
    for kind in [FrameKind::Audio, FrameKind::Video] {
        for keep in [0..3_000, 6_000..20_000] {
            let mut frames = in_order(20);
            frames.retain(|frame| frame.kind != kind || keep.contains(&frame.timestamp));
            let off = furthest_from_its_time(&frames, 2);
            assert!(off <= Duration::from_millis(2), "{kind:?} {keep:?}: {off:?}");
        }
    }
}

#[test]
fn a_stamp_an_hour_off_costs_neither_a_frame_nor_time() {
    for at in [0, 1, 350, 678, 679] {
        for time in [3_600_000, 0, 0_u32.wrapping_sub(3_600_000)] {
            let (bytes, count) = disordered(10, 0, &[(at, time)]);
            let (frames, took) = play(bytes);
            assert_eq!(frames, count, "{time} at {at}");
            assert!(took <= Duration::from_millis(10_100), "{time} at {at}: {took:?}");
        }
    }
}

#[test]
fn a_stamp_some_seconds_off_costs_neither_a_frame_nor_time() {
    for at in [0, 1, 2, 350, 678, 679] {
        for off in [-9_000, -4_000, -1_500, 1_500, 4_000, 9_000] {
            let own = i64::try_from(at).unwrap() * 10_000 / 680;
            let (bytes, count) = disordered(10, 0, &[(at, (own + off) as u32)]);
            let (frames, took) = play(bytes);
            assert_eq!(frames, count, "{off} at {at}");
            assert!(took <= Duration::from_millis(10_100), "{off} at {at}: {took:?}");
        }
    }
}

#[test]
fn a_gap_of_some_seconds_stays_one() {
    for kinds in [&[FrameKind::Audio][..], &[FrameKind::Video], &[FrameKind::Audio, FrameKind::Video]] {
        for gap in [20..2_500, 20..9_000, 6_000..11_000, 12_000..19_900] {
            let mut frames = in_order(20);
            frames.retain(|frame| !kinds.contains(&frame.kind) || !gap.contains(&frame.timestamp));
            let off = furthest_from_its_time(&frames, 2);
            assert!(off <= Duration::from_millis(2), "{kinds:?} {gap:?}: {off:?}");
        }
    }
}

/// Stamps of all kinds that are found: anywhere, and around where 32 bits and their half begin.
fn stamp() -> impl Strategy<Value = u32> {
    let near =
        (0..4_u32, -9_000..9_000_i32).prop_map(|(quarter, off)| (quarter << 30).wrapping_add_signed(off));
    prop_oneof![any::<u32>(), near]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stamps_a_file_has_every_frame_is_sent_within_the_files_time(
        seconds in 3..8_i64,
        shift in -4_000..4_000_i64,
        odd in prop::collection::vec((any::<usize>(), stamp()), 0..4),
    ) {
        let (bytes, count) = disordered(seconds, shift, &odd);
        let (frames, took) = play(bytes);
        prop_assert_eq!(frames, count);
        let most = Duration::from_secs(seconds.unsigned_abs()) + Duration::from_secs(1);
        prop_assert!(took <= most, "{:?} for {} s", took, seconds);
    }
}
