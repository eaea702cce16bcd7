//! The seam between two loops, as it arrives at a player.

use super::*;

/// Distances of the clip's frames in milliseconds, and its length.
const VIDEO_MS: i64 = 40;
const AUDIO_MS: i64 = 20;
const CLIP_MS: i64 = 2_000;
const LOOPS: i64 = 30;

/// 2 s of H.264 and Opus with metadata and sequence headers, audio and video starting together.
fn clip_file() -> tempfile::NamedTempFile {
    let frame = |kind, at, payload: &[u8]| Frame::new(kind, at, Bytes::copy_from_slice(payload));
    let metadata =
        b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01\x00\x08duration\x00\x40\x00\0\0\0\0\0\0\0\0\x09";
    let mut frames = vec![
        frame(FrameKind::Data, 0, metadata),
        video_header(0),
        frame(FrameKind::Audio, 0, b"\x90OpusOpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0"),
    ];
    for at in (0..CLIP_MS).step_by(usize::try_from(AUDIO_MS).unwrap()) {
        if at % VIDEO_MS == 0 {
            let first = if at % 1000 == 0 { 0x17 } else { 0x27 };
            frames.push(frame(FrameKind::Video, at, &[first, 1, 0, 0, 0, 9]));
        }
        frames.push(frame(FrameKind::Audio, at, b"\x91Opus\xfc\xff\xfe"));
    }
    let named = tempfile::Builder::new().suffix(".flv").tempfile().unwrap();
    std::fs::write(named.path(), testing::flv(&frames)).unwrap();
    named
}

#[tokio::test(start_paused = true)]
async fn f34_thirty_loops_of_a_2_s_file_arrive_on_time_without_a_seam() {
    let fixture = Fixture::new(|_| ());
    let subscriber = fixture.watch();
    let file = clip_file();
    let mut config = FileConfig::new(key(), vec![file.path().to_owned()]);
    config.loops = Some(u64::try_from(LOOPS).unwrap());
    fixture.jobs.play(config).unwrap();
    let (seen, reason) = watch_to_the_end(subscriber).await;
    assert_eq!(reason, EndReason::Unpublished);
    let (start, _) = seen[0];

    let configs: Vec<_> = seen.iter().filter(|(_, frame)| frame.is_config()).collect();
    assert_eq!(configs.len(), 3, "metadata and sequence headers once");
    let duration = b"duration";
    assert!(!configs[0].1.payload.windows(duration.len()).any(|text| text == duration));
    for (kind, distance) in [(FrameKind::Video, VIDEO_MS), (FrameKind::Audio, AUDIO_MS)] {
        let coded = seen.iter().filter(|(_, frame)| frame.kind == kind && !frame.is_config());
        let mut count = 0;
        // Time on the wire is exact, also across seams, and both tracks have the same origin in all loops.
        for ((arrived, frame), ideal) in coded.zip((0..).step_by(usize::try_from(distance).unwrap())) {
            assert_eq!(frame.timestamp, ideal, "{kind:?}");
            let arrived = i64::try_from((*arrived - start).as_millis()).unwrap();
            assert!((arrived - ideal).abs() <= 1, "{kind:?} of {ideal} ms came at {arrived} ms");
            count += 1;
        }
        assert_eq!(count, LOOPS * CLIP_MS / distance, "{kind:?} frames");
    }
}
