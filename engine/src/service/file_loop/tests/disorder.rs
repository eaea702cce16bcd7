//! Files whose frames are not in the order of their time: their disorder is no lateness of ours.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

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

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_stamps_a_file_has_every_frame_is_sent_within_the_files_time(
        seconds in 3..8_i64,
        shift in -4_000..4_000_i64,
        odd in prop::collection::vec((any::<usize>(), any::<u32>()), 0..4),
    ) {
        let (bytes, count) = disordered(seconds, shift, &odd);
        let (frames, took) = play(bytes);
        prop_assert_eq!(frames, count);
        let most = Duration::from_secs(seconds.unsigned_abs()) + Duration::from_secs(1);
        prop_assert!(took <= most, "{:?} for {} s", took, seconds);
    }
}
