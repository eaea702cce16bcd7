//! Heads of fragments, as the crate that knows the boxes reads them.

use super::super::reading::{Read, ReadSample, boxes, read};
use super::*;
use proptest::prelude::*;

/// A fragment with samples whose bytes are their numbers.
fn fragment(runs: &[Run<'_>]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_head(7, runs, &mut out);
    assert_eq!(out.len(), head_len(runs));
    for (number, sample) in runs.iter().flat_map(|run| run.samples).enumerate() {
        out.put_bytes(number as u8, sample.size as usize);
    }
    out.to_vec()
}

fn samples(bytes: &[u8]) -> Vec<ReadSample> {
    let sample = |read| match read {
        Read::Sample(sample) => sample,
        Read::Init(_) => panic!("no init segment"),
    };
    read(bytes).into_iter().map(sample).collect()
}

fn sample(time: u64, duration: Option<u32>, size: u32) -> Sample {
    Sample { time, composition: -3, is_sync: size == 9, duration, size }
}

#[test]
fn one_picture_alone_says_all_but_how_long_it_lasts() {
    let run = Run { track: 1, is_video: true, samples: &[sample(1 << 40, None, 9)] };
    let bytes = fragment(&[run]);
    assert_eq!(bytes.len() - 9, 108, "the head of the usual fragment");
    assert_eq!(boxes(&bytes).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["moof", "mdat"]);
    let expected = ReadSample {
        track: 1,
        time: 1 << 40,
        composition: -3,
        is_sync: true,
        duration: None,
        data: vec![0; 9],
    };
    assert_eq!(samples(&bytes), [expected]);
}

#[test]
fn a_sample_lasts_until_the_next_and_the_last_one_as_it_says_itself() {
    let video = [sample(90, None, 9), sample(190, None, 4), sample(191, None, 4)];
    let audio = [sample(5, Some(20), 1), sample(30, Some(20), 1)];
    let runs = [
        Run { track: 1, is_video: true, samples: &video },
        Run { track: 2, is_video: false, samples: &audio },
    ];
    let durations: Vec<_> =
        samples(&fragment(&runs)).iter().map(|sample| (sample.track, sample.time, sample.duration)).collect();
    assert_eq!(
        durations,
        [(1, 90, Some(100)), (1, 190, Some(1)), (1, 191, None), (2, 5, Some(25)), (2, 30, Some(20))]
    );
}

#[test]
fn nothing_is_an_empty_fragment() {
    let runs = [Run { track: 1, is_video: true, samples: &[] }];
    assert_eq!(samples(&fragment(&runs)), []);
}

fn any_sample() -> impl Strategy<Value = Sample> {
    // Times of all sorts: forward, equal, back, and further than a duration has room for.
    let time = prop_oneof![0..100_u64, Just(1 << 33), Just(u64::MAX)];
    (time, any::<i32>(), any::<bool>(), any::<Option<u32>>(), 1..20_u32).prop_map(
        |(time, composition, is_sync, duration, size)| Sample { time, composition, is_sync, duration, size },
    )
}

proptest! {
    #[test]
    fn every_sample_is_read_with_its_own_time_and_bytes(
        video in prop::collection::vec(any_sample(), 0..12), audio in prop::collection::vec(any_sample(), 0..12)
    ) {
        let runs = [
            Run { track: 1, is_video: true, samples: &video },
            Run { track: 2, is_video: false, samples: &audio },
        ];
        let read = samples(&fragment(&runs));
        prop_assert_eq!(read.len(), video.len() + audio.len());
        let sent = video.iter().map(|sample| (1, sample)).chain(audio.iter().map(|sample| (2, sample)));
        for (number, (read, (track, sent))) in read.iter().zip(sent).enumerate() {
            prop_assert_eq!((read.track, read.time), (track, sent.time));
            prop_assert_eq!(&read.data, &vec![number as u8; sent.size as usize]);
            let (composition, is_sync) = if track == 1 { (sent.composition, sent.is_sync) } else { (0, true) };
            prop_assert_eq!((read.composition, read.is_sync), (composition.into(), is_sync));
        }
    }
}
