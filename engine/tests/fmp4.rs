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
use streamengine::media::codec::codec_string;
use streamengine::media::elementary::{Demuxer, Sample};
use streamengine::media::flv::Codec;
use streamengine::media::flv_file::FlvReader;
use streamengine::media::fmp4::{Mp4Run, Mp4Sample, Mp4Track, mp4_init, mp4_part, mp4_still};

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
        if tag.frame.kind == FrameKind::Data {
            continue;
        }
        for sample in demuxer.push(&tag.frame).unwrap() {
            let is_audio = tag.frame.kind == FrameKind::Audio;
            let Sample { codec, pts_ns, dts_ns, keyframe, config, data, .. } = sample;
            let record = if config { data.clone() } else { Bytes::new() };
            let new = || Mp4Track::new(1 + u32::from(is_audio), codec, record, TIMESCALE);
            let track = tracks.entry(is_audio).or_insert_with(|| Track { track: new(), samples: Vec::new() });
            if config {
                continue;
            }
            if track.samples.is_empty() {
                track.track = track.track.clone().with_frame(&data);
            }
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

/// What a program prints that has nothing to say against what it reads.
fn told(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn ffprobe(file: &Path, show: &[&str]) -> Vec<String> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-of", "csv=p=0"]).args(show).arg(file);
    told(&mut ffprobe).lines().map(str::to_owned).collect()
}

/// Times in seconds and MD5 of all packets of a kind, as ffmpeg reads them.
fn packets(file: &Path, kind: &str) -> Vec<String> {
    let entries = "packet=pts_time,dts_time,flags,data_hash";
    ffprobe(file, &["-select_streams", kind, "-show_data_hash", "md5", "-show_entries", entries])
}

/// The same of what was made into MP4.
fn expected(track: &Track) -> Vec<String> {
    let seconds = |at: i64| format!("{}.{:06}", at / 1_000, at % 1_000 * 1_000);
    let line = |(at, sample): &(u64, Mp4Sample)| {
        let at = i64::try_from(*at).unwrap();
        let (shown, decoded) = (seconds(at + i64::from(sample.composition)), seconds(at));
        let hash = hex(&Md5::digest(&sample.data));
        format!("{shown},{decoded},{},MD5:{hash}", if sample.is_sync { "K_" } else { "__" })
    };
    track.samples.iter().map(line).collect()
}

/// What the streams are, as ffmpeg reads them: one of video, one of audio.
fn facts(file: &Path) -> [Vec<String>; 2] {
    let entries = "stream=codec_name,codec_tag_string,profile,level,pix_fmt,width,height,sample_rate,channels,\
         channel_layout,bits_per_raw_sample";
    ["v", "a"].map(|kind| ffprobe(file, &["-select_streams", kind, "-show_entries", entries]))
}

fn ffmpeg(program: &Path, file: &Path) -> Command {
    let mut ffmpeg = Command::new(program);
    ffmpeg.args(["-v", "error", "-i"]).arg(file);
    ffmpeg
}

/// Times, sizes and MD5 of all packets as a current ffmpeg reads them, and what it takes them for. Not how long they last: FLV
/// does not tell it.
fn hashes(current: &Path, file: &Path, kind: &str) -> Vec<String> {
    let mut ffmpeg = ffmpeg(current, file);
    ffmpeg.args(["-map", kind, "-c", "copy", "-f", "framehash", "-hash", "md5", "-"]);
    let packet = |line: &str| {
        let fields: Vec<_> = line.split(',').map(str::trim).collect();
        match fields[..] {
            // What it makes of messages about the stream.
            [_, _, _, _, "0", ..] => None,
            [stream, decoded, shown, _, size, hash, ..] => {
                Some([stream, decoded, shown, size, hash].join(","))
            }
            _ => Some(line.to_owned()),
        }
    };
    let is_told = |line: &&str| !line.starts_with("#software") && !line.starts_with("#extradata");
    told(&mut ffmpeg).lines().filter(is_told).filter_map(packet).collect()
}

/// Pictures as ffmpeg decodes them.
fn pictures(program: &Path, file: &Path) -> Vec<String> {
    let mut ffmpeg = ffmpeg(program, file);
    ffmpeg.args(["-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"]);
    let md5 = |line: &str| line.rsplit(',').next().unwrap_or_default().trim().to_owned();
    told(&mut ffmpeg).lines().filter(|line| !line.starts_with('#')).map(md5).collect()
}

fn are_equal(read: &[String], sent: &[String], what: &str) {
    assert!(sent.len() > 10, "{what}: {}", sent.len());
    for (number, (read, sent)) in read.iter().zip(sent).enumerate() {
        assert_eq!(read, sent, "{what} {number}");
    }
    assert_eq!(read.len(), sent.len(), "{what}");
}

/// The MP4 that is made of a clip, and where it lies.
fn made_of(clip: &Path, folder: &Path) -> (Vec<Track>, PathBuf) {
    let (tracks, file) = (tracks(clip), folder.join("clip.mp4"));
    std::fs::write(&file, mp4(&tracks)).unwrap();
    (tracks, file)
}

fn is_the_clip(clip: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let (tracks, file) = made_of(clip, folder.path());
    let kind = |track: &Track| if track.track.id == 1 { "v" } else { "a" };
    for track in &tracks {
        are_equal(&packets(&file, kind(track)), &expected(track), kind(track));
    }
    told(ffmpeg(Path::new("ffmpeg"), &file).args(["-f", "null", "-"]));
    let Some(current) = current_ffmpeg() else { return };
    told(ffmpeg(&current, &file).args(["-f", "null", "-"]));
    for kind in tracks.iter().map(kind) {
        are_equal(&hashes(&current, &file, kind), &hashes(&current, clip, kind), kind);
    }
    if tracks[0].track.id == 1 {
        are_equal(&pictures(&current, &file), &pictures(&current, clip), "pictures");
    }
    let reference = folder.path().join("reference.mp4");
    let mut copy = ffmpeg(&current, clip);
    copy.args(["-c", "copy", "-strict", "-2"]);
    if tracks[0].track.codec == Codec::Hevc {
        copy.args(["-tag:v", "hvc1"]);
    }
    told(copy.arg(&reference));
    assert_eq!(facts(&file), facts(&reference));
    let in_esds = |track: &&Track| matches!(track.track.codec, Codec::Aac | Codec::Mp3);
    assert_eq!(records(&file).len(), tracks.len() - tracks.iter().filter(in_esds).count());
    assert_eq!(records(&file), records(&reference));
}

/// The boxes that tell decoders what they get, of a file of MP4, in hexadecimal.
fn records(file: &Path) -> Vec<String> {
    const KINDS: [&[u8; 4]; 8] = [b"avcC", b"hvcC", b"av1C", b"vpcC", b"dac3", b"dec3", b"dfLa", b"dOps"];
    let bytes = std::fs::read(file).unwrap();
    let of_kind = |kind: &&[u8; 4]| {
        let at = bytes.windows(4).position(|window| window == *kind)?.checked_sub(4)?;
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut record = bytes[at..at + size as usize].to_vec();
        // ffmpeg takes over that its source of pictures has RGB; such a record is none of 4:2:0.
        if *kind == b"vpcC" && record[17] == 0 {
            record[17] = 2;
        }
        Some(hex(&record))
    };
    KINDS.iter().filter_map(of_kind).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An ffmpeg that is years newer than Debian's: it writes and reads Enhanced RTMP.
fn current_ffmpeg() -> Option<PathBuf> {
    let place = std::env::var_os("STREAMENGINE_FFMPEG")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/judges/ffmpeg"), PathBuf::from);
    place.is_file().then_some(place)
}

/// What a test needs to make a clip: `None` where that is not to be had.
fn encoder(test: &str) -> Option<PathBuf> {
    if !has_ffmpeg(test) {
        return None;
    }
    let current = current_ffmpeg();
    if current.is_none() {
        println!("SKIP {test}: a current ffmpeg is not installed");
    }
    current
}

/// A clip of two seconds with these encoders and their options.
fn encoded(current: &Path, folder: &Path, video: &str, audio: &str) -> PathBuf {
    let clip = folder.join("clip.flv");
    told(encode(current, video, audio).arg(&clip));
    clip
}

fn encode(current: &Path, video: &str, audio: &str) -> Command {
    let mut ffmpeg = Command::new(current);
    ffmpeg.args(["-v", "error"]);
    for (encoder, source) in
        [(video, "testsrc2=size=320x240:rate=25"), (audio, "sine=frequency=440:sample_rate=48000")]
    {
        if !encoder.is_empty() {
            ffmpeg.args(["-f", "lavfi", "-i", source]);
        }
    }
    for (option, encoder) in [("-c:v", video), ("-c:a", audio)] {
        if !encoder.is_empty() {
            ffmpeg.arg(option).args(encoder.split(' '));
        }
    }
    ffmpeg.args(["-t", "2"]);
    ffmpeg
}

const HEVC: &str = "libx265 -pix_fmt yuv420p -preset ultrafast -g 25 -bf 2 -x265-params log-level=error";
const VP9: &str = "libvpx-vp9 -pix_fmt yuv420p -deadline realtime -cpu-used 8 -g 25";
const AV1: &str = "libaom-av1 -pix_fmt yuv420p -usage realtime -cpu-used 8 -g 25";
const H264: &str = "libx264 -pix_fmt yuv420p -preset veryfast -g 25 -bf 2";

/// Judges the clip that these encoders make; whether they are there.
fn is_what_was_encoded(test: &str, video: &str, audio: &str) -> bool {
    let Some(current) = encoder(test) else { return false };
    let folder = tempfile::tempdir().unwrap();
    is_the_clip(&encoded(&current, folder.path(), video, audio));
    true
}

#[test]
fn hevc_and_eac3() {
    is_what_was_encoded("hevc_and_eac3", HEVC, "eac3 -ac 6");
}

#[test]
fn vp9_and_flac() {
    is_what_was_encoded("vp9_and_flac", VP9, "flac");
}

#[test]
fn av1_and_ac3() {
    is_what_was_encoded("av1_and_ac3", AV1, "ac3 -ac 6");
}

#[test]
fn h264_and_mp3() {
    is_what_was_encoded("h264_and_mp3", H264, "libmp3lame");
}

/// The tracks of what was encoded.
fn tracks_of(test: &str, video: &str, audio: &str) -> Option<(PathBuf, tempfile::TempDir, Vec<Track>)> {
    let current = encoder(test)?;
    let folder = tempfile::tempdir().unwrap();
    let tracks = tracks(&encoded(&current, folder.path(), video, audio));
    Some((current, folder, tracks))
}

/// Nobody can encode HE-AAC here. A decoder that is told of it doubles the rate of any AAC; the profile it takes from the
/// frames.
#[test]
fn he_aac() {
    const HE_OF_24_AND_48_KHZ: &[u8] = &[0x2b, 0x11, 0x88, 0x00];
    let Some((current, folder, mut tracks)) = tracks_of("he_aac", "", "aac -ar 24000 -ac 2") else { return };
    let Track { track, .. } = &mut tracks[0];
    track.config = Bytes::from_static(HE_OF_24_AND_48_KHZ);
    assert_eq!(codec_string(Codec::Aac, &track.config).unwrap(), "mp4a.40.5");
    let file = folder.path().join("clip.mp4");
    std::fs::write(&file, mp4(&tracks)).unwrap();
    are_equal(&packets(&file, "a"), &expected(&tracks[0]), "a");
    assert_eq!(ffprobe(&file, &["-show_entries", "stream=profile,sample_rate,channels"]), ["LC,48000,2"]);
    for program in [Path::new("ffmpeg"), &current] {
        told(ffmpeg(program, &file).args(["-f", "null", "-"]));
    }
    assert_eq!(playlist_codecs(&current, &file, folder.path()), "mp4a.40.5");
}

/// What ffmpeg calls the codecs of a file in a playlist of HLS.
fn playlist_codecs(current: &Path, file: &Path, folder: &Path) -> String {
    let mut hls = ffmpeg(current, file);
    hls.args(["-c", "copy", "-strict", "-2"]);
    codecs_of_playlist(hls, folder)
}

fn codecs_of_playlist(mut ffmpeg: Command, folder: &Path) -> String {
    ffmpeg.args(["-f", "hls", "-hls_segment_type", "fmp4", "-master_pl_name", "main.m3u8", "media.m3u8"]);
    told(ffmpeg.current_dir(folder));
    let main = std::fs::read_to_string(folder.join("main.m3u8")).unwrap();
    let codecs = main.split_once("CODECS=\"").and_then(|(_, rest)| rest.split_once('"'));
    codecs.map_or("", |(codecs, _)| codecs).to_owned()
}

#[test]
fn codecs_are_called_as_ffmpeg_calls_them_in_playlists() {
    const TEST: &str = "codecs_are_called_as_ffmpeg_calls_them_in_playlists";
    for (video, audio, expected, of_ffmpeg) in [
        (H264, "libmp3lame", "avc1.64000d,mp4a.40.34", "avc1.64000d,mp4a.40.34"),
        (VP9, "ac3", "vp09.00.20.08,ac-3", "vp09.00.20.08,ac-3"),
        (AV1, "eac3", "av01.0.00M.08,ec-3", "av01.0.00M.08,ec-3"),
        // Names of sample entries, as RFC 6381 and both bindings to MP4 have them; ffmpeg writes its own. Chromium takes both.
        ("", "flac", "fLaC", "flac"),
        ("", "libopus", "Opus", "opus"),
        ("", "aac", "mp4a.40.2", "mp4a.40.2"),
    ] {
        let Some((current, folder, tracks)) = tracks_of(TEST, video, audio) else { return };
        let names =
            tracks.iter().map(|Track { track, .. }| codec_string(track.codec, &track.config).unwrap());
        assert_eq!(names.collect::<Vec<_>>().join(","), expected);
        let file = folder.path().join("clip.mp4");
        std::fs::write(&file, mp4(&tracks)).unwrap();
        assert_eq!(playlist_codecs(&current, &file, folder.path()), of_ffmpeg);
    }
}

/// ffmpeg has a name for HEVC only while it encodes. (5.1 has one, but it says the same of all: `hvc1.1.4.L60.B01`.)
#[test]
fn hevc_is_called_as_ffmpeg_calls_it_in_playlists() {
    const TEST: &str = "hevc_is_called_as_ffmpeg_calls_it_in_playlists";
    let main_10 = HEVC.replace("yuv420p", "yuv420p10le");
    for (video, expected) in [(HEVC, "hvc1.1.6.L60.90"), (&main_10, "hvc1.2.4.L60.90")] {
        let Some((current, folder, tracks)) = tracks_of(TEST, video, "") else { return };
        let Track { track, .. } = &tracks[0];
        assert_eq!(codec_string(track.codec, &track.config).unwrap(), expected);
        let mut hls = encode(&current, video, "");
        hls.args(["-tag:v", "hvc1"]);
        assert_eq!(codecs_of_playlist(hls, folder.path()), expected);
    }
}

#[test]
fn a_keyframe_is_a_still_picture() {
    for video in [H264, HEVC, VP9, AV1] {
        let Some((current, folder, tracks)) = tracks_of("a_keyframe_is_a_still_picture", video, "") else {
            return;
        };
        let (track, keyframe) = (&tracks[0].track, &tracks[0].samples[0].1.data);
        let without_size = Mp4Track::new(track.id, track.codec, track.config.clone(), TIMESCALE);
        let still = folder.path().join("still.mp4");
        std::fs::write(&still, mp4_still(&without_size, keyframe).unwrap()).unwrap();
        let count = ["-count_frames", "-show_entries", "stream=width,height,nb_read_frames"];
        assert_eq!(ffprobe(&still, &count), ["320,240,1"], "{video}");
        assert_eq!(ffprobe(&still, &["-show_entries", "format=duration"]), ["1.000000"]);
        let of_clip = pictures(&current, &folder.path().join("clip.flv"));
        for program in [Path::new("ffmpeg"), &current] {
            assert_eq!(pictures(program, &still), of_clip[..1], "{video}");
        }
    }
}

#[test]
fn audio_at_other_rates() {
    for audio in [
        "flac -ar 96000 -sample_fmt s32",
        "libmp3lame -ar 22050 -ac 2",
        "ac3 -ar 44100 -ac 1",
        "eac3 -ar 32000 -ac 2",
        "libopus -ac 2",
        "aac -ar 88200 -ac 2",
    ] {
        if !is_what_was_encoded("audio_at_other_rates", "", audio) {
            return;
        }
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
