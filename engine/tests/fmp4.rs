//! What ffmpeg reads of the MP4 that is made of a clip is what it reads of the clip: every packet, and when it is shown.
#![cfg(feature = "mp4")]
#![allow(clippy::print_stdout, reason = "what is skipped is counted by these lines")]

use bytes::Bytes;
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use streamengine::media::FrameKind;
use streamengine::media::elementary::{Demuxer, Sample};
use streamengine::media::flv_file::FlvReader;
use streamengine::media::fmp4::{Mp4Run, Mp4Sample, Mp4Track, mp4_init, mp4_part};

/// Milliseconds are what FLV has.
const TIMESCALE: u32 = 1_000;
/// Samples of each track in a part.
const PART: usize = 7;

/// A track and its samples, with the times of their decoding.
struct Track {
    track: Mp4Track,
    samples: Vec<(u64, Mp4Sample)>,
}

fn milliseconds(nanos: i64) -> i64 {
    nanos / 1_000_000
}

/// The tracks of a clip, one of each kind.
fn tracks(clip: &Path) -> Vec<Track> {
    let mut reader = FlvReader::new(BufReader::new(std::fs::File::open(clip).unwrap())).unwrap();
    let (mut demuxer, mut tracks) = (Demuxer::new(), BTreeMap::<bool, Track>::new());
    while let Some(tag) = reader.next_tag().unwrap() {
        let is_audio = tag.frame.kind == FrameKind::Audio;
        if tag.frame.kind == FrameKind::Data {
            continue;
        }
        for sample in demuxer.push(&tag.frame).unwrap() {
            let Sample { codec, pts_ns, dts_ns, keyframe, config, data, .. } = sample;
            if config {
                let id = 1 + u32::from(is_audio);
                let track = Mp4Track::new(id, codec, data, TIMESCALE);
                tracks.entry(is_audio).or_insert(Track { track, samples: Vec::new() });
                continue;
            }
            let Some(track) = tracks.get_mut(&is_audio) else { continue };
            let (shown, decoded) = (milliseconds(pts_ns), milliseconds(dts_ns.unwrap_or(pts_ns)));
            let composition = i32::try_from(shown - decoded).unwrap();
            let sample = Mp4Sample { duration: 0, composition, is_sync: is_audio || keyframe, data };
            track.samples.push((u64::try_from(decoded).unwrap(), sample));
        }
    }
    let mut tracks: Vec<_> = tracks.into_values().collect();
    for Track { samples, .. } in &mut tracks {
        let times: Vec<_> = samples.iter().map(|(at, _)| *at).collect();
        for ((at, sample), next) in samples.iter_mut().zip(&times[1..]) {
            sample.duration = u32::try_from(next - *at).unwrap();
        }
    }
    tracks
}

/// The clip as MP4, in parts.
fn mp4(tracks: &[Track]) -> Vec<u8> {
    let described: Vec<_> = tracks.iter().map(|track| track.track.clone()).collect();
    let mut out = mp4_init(&described).unwrap().to_vec();
    let parts = tracks.iter().map(|track| track.samples.len().div_ceil(PART)).max().unwrap();
    for part in 0..parts {
        let of_part: Vec<(u32, u64, Vec<Mp4Sample>)> = tracks
            .iter()
            .filter_map(|track| {
                let samples = track.samples.chunks(PART).nth(part)?;
                let own = samples.iter().map(|(_, sample)| sample.clone()).collect();
                Some((track.track.id, samples[0].0, own))
            })
            .collect();
        let runs: Vec<_> = of_part
            .iter()
            .map(|(track, begins, samples)| Mp4Run { track: *track, begins: *begins, samples })
            .collect();
        out.extend(mp4_part(part as u32 + 1, &runs).unwrap());
    }
    out
}

/// Times in seconds and MD5 of all packets of a kind, as ffmpeg reads them.
fn packets(file: &Path, kind: &str) -> Vec<String> {
    let show = ["-show_entries", "packet=pts_time,dts_time,flags,data_hash", "-show_data_hash", "md5"];
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-select_streams", kind, "-of", "csv=p=0"]).args(show).arg(file);
    let output = ffprobe.output().expect("ffprobe of ffmpeg");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The same of what was made into MP4.
fn expected(track: &Track) -> Vec<String> {
    let seconds = |at: i64| format!("{}.{:06}", at / 1_000, at % 1_000 * 1_000);
    let line = |(at, sample): &(u64, Mp4Sample)| {
        let at = i64::try_from(*at).unwrap();
        let (shown, decoded) = (seconds(at + i64::from(sample.composition)), seconds(at));
        let hash: String = Md5::digest(&sample.data).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{shown},{decoded},{},MD5:{hash}", if sample.is_sync { "K_" } else { "__" })
    };
    track.samples.iter().map(line).collect()
}

fn is_the_clip(clip: &Path) {
    let (folder, tracks) = (tempfile::tempdir().unwrap(), tracks(clip));
    let file = folder.path().join("clip.mp4");
    std::fs::write(&file, mp4(&tracks)).unwrap();
    for (track, kind) in tracks.iter().zip(["v", "a"]) {
        let (read, sent) = (packets(&file, kind), expected(track));
        assert!(sent.len() > 10, "{kind}: {}", sent.len());
        for (number, (read, sent)) in read.iter().zip(&sent).enumerate() {
            assert_eq!(read, sent, "{kind} {number}");
        }
        assert_eq!(read.len(), sent.len(), "{kind}");
    }
}

fn has_ffmpeg(test: &str) -> bool {
    let is_there = Command::new("ffprobe").arg("-version").output().is_ok();
    if !is_there {
        println!("SKIP {test}: ffmpeg is not installed");
    }
    is_there
}

#[test]
fn h264_and_aac_of_the_demo_clip() {
    if has_ffmpeg("h264_and_aac_of_the_demo_clip") {
        is_the_clip(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/media/demo.flv"));
    }
}

/// A clip that is not in the project.
fn shared(test: &str, name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("STREAMENGINE_SHARED").map_or_else(beside, PathBuf::from);
    let clip = folder.join("media").join(name);
    if !clip.exists() {
        println!("SKIP {test}: shared media {name} is absent");
        return None;
    }
    Some(clip)
}

#[test]
fn av1_and_opus_of_a_shared_clip() {
    const TEST: &str = "av1_and_opus_of_a_shared_clip";
    if let Some(clip) = shared(TEST, "bbb-av1-opus-30s.flv").filter(|_| has_ffmpeg(TEST)) {
        is_the_clip(&clip);
    }
}

#[test]
fn a_record_that_makes_no_sense_is_an_error() {
    use streamengine::media::flv::Codec;
    for codec in [
        Codec::H264,
        Codec::Hevc,
        Codec::Av1,
        Codec::Vp9,
        Codec::Aac,
        Codec::Opus,
        Codec::Flac,
        Codec::Mp3,
        Codec::Ac3,
        Codec::Eac3,
        Codec::Speex,
    ] {
        for record in ["", "\0"] {
            let track = Mp4Track::new(1, codec, Bytes::from_static(record.as_bytes()), TIMESCALE);
            assert!(mp4_init(&[track]).is_err(), "{codec}: {record:?}");
        }
    }
}
