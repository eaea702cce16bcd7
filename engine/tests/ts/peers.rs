//! What peers read of the segments is what went into them.

use crate::clips::{Clip, done, packets};
use crate::reader::{PACKET, Reader};
use bytes::Bytes;
use md5::{Digest, Md5};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use streamengine::media::flv::Codec;
use streamengine::media::ts::TsSample;

/// How much later than told frames are decoded and shown.
const LATER: i64 = 126_000;

/// The segments, and all of them in one.
fn segments(clip: &Clip, cut: &[Vec<TsSample>]) -> (Vec<Bytes>, Vec<u8>) {
    let mut muxer = clip.muxer();
    let segments: Vec<_> = cut.iter().map(|samples| muxer.segment(samples).unwrap()).collect();
    let whole = segments.concat();
    (segments, whole)
}

/// MD5 of each sample as ffmpeg reads it: video has a delimiter. ffmpeg's parser of HEVC has the first zero of a start code of four
/// bytes end the access unit before.
fn hashes(codec: Codec, samples: &[&TsSample]) -> Vec<String> {
    let delimiter: &[u8] = match codec {
        Codec::H264 => b"\0\0\0\x01\x09\xf0",
        Codec::Hevc => b"\0\0\0\x01\x46\x01\x50",
        _ => b"",
    };
    let mut data: Vec<_> = samples.iter().map(|sample| [delimiter, &sample.data].concat()).collect();
    if codec == Codec::Hevc {
        for number in 1..data.len() {
            let zero = data[number].remove(0);
            data[number - 1].push(zero);
        }
    }
    let hex = |data: &Vec<u8>| Md5::digest(data).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    data.iter().map(|data| format!("MD5:{}", hex(data))).collect()
}

/// ffmpeg reads these samples in a file, at their times; of those that lie behind others in a PES packet, nearly.
fn has_samples(file: &Path, clip: &Clip, samples: &[&TsSample]) {
    for (track, codec) in clip.codecs.iter().enumerate() {
        let sent: Vec<_> = samples.iter().copied().filter(|sample| sample.track == track).collect();
        let is_video = matches!(codec, Codec::H264 | Codec::Hevc);
        let read = packets(file, if is_video { "v" } else { "a" }, "pts,dts,flags,data_hash");
        for (number, ((read, sent), hash)) in read.iter().zip(&sent).zip(hashes(*codec, &sent)).enumerate() {
            let [pts, dts] = [&read[0], &read[1]].map(|at| at.parse::<i64>().unwrap() - LATER);
            let told = (sent.dts + i64::from(sent.composition), sent.dts);
            let most = if is_video { 0 } else { 100 };
            assert!(
                (pts - told.0).abs() <= most && (dts - told.1).abs() <= most,
                "{codec} {number}: {pts} {dts} {told:?}"
            );
            assert_eq!(read[3], hash, "{codec} {number}");
            assert!(!is_video || read[2].starts_with('K') == sent.is_sync, "{codec} {number}: {}", read[2]);
        }
        assert_eq!(read.len(), sent.len(), "{codec}");
    }
}

/// MD5 of each picture.
fn pictures(file: &Path) -> Vec<String> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(file).args([
        "-map",
        "0:v",
        "-fps_mode",
        "passthrough",
        "-f",
        "framemd5",
        "-",
    ]);
    let lines = done(&mut ffmpeg);
    lines
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit(',').next().unwrap().to_owned())
        .collect()
}

/// What ffmpeg says of the streams; `codec_tag` is the stream type.
fn streams(file: &Path) -> String {
    const WHAT: &str = "stream=codec_name,codec_tag,profile,width,height,pix_fmt,sample_rate,channels,r_frame_rate,has_b_frames";
    let mut ffprobe = Command::new("ffprobe");
    done(ffprobe.args(["-v", "error", "-of", "compact", "-show_entries", WHAT]).arg(file))
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, bytes).unwrap();
    file
}

/// ffmpeg's own transport stream of what the clip was made of.
fn of_ffmpeg(folder: &Path, clip: &Clip) -> PathBuf {
    let file = folder.join("ffmpeg.ts");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(&clip.source).args(["-map", "0:v?", "-map", "0:a?", "-c", "copy"]);
    done(ffmpeg.args(["-f", "mpegts"]).arg(&file));
    file
}

/// Bytes of samples, and of what was made of them.
fn overhead(clip: &Clip, bytes: u64) -> f64 {
    let media: usize = clip.samples.iter().map(|sample| sample.data.len()).sum();
    (bytes as f64 / media as f64 - 1.0) * 100.0
}

fn is_judged(clip: &Clip) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| write(folder.path(), name, bytes);
    let cut = clip.cut_at_keyframes();
    let (parts, whole) = segments(clip, &cut);
    let file = at("whole.ts", &whole);
    has_samples(&file, clip, &clip.samples.iter().collect::<Vec<_>>());
    let reference = of_ffmpeg(folder.path(), clip);
    assert_eq!(streams(&file), streams(&reference));
    done(Command::new("ffmpeg").args(["-v", "warning", "-i"]).arg(&file).args(["-f", "null", "-"]));
    if matches!(clip.codecs[0], Codec::H264 | Codec::Hevc) {
        let (read, sent) = (pictures(&file), pictures(&clip.source));
        assert!(sent.len() > 90 && read == sent, "{} pictures of {}", read.len(), sent.len());
    }
    let [ours, ffmpegs] = [whole.len() as u64, fs::metadata(&reference).unwrap().len()];
    println!(
        "{:?}: {:.2} % over the media, ffmpeg's {:.2} %",
        clip.codecs,
        overhead(clip, ours),
        overhead(clip, ffmpegs)
    );
    assert!(ours < ffmpegs, "{ours} bytes, ffmpeg's {ffmpegs}");

    assert!(parts.len() >= 3, "{}", parts.len());
    let mut list = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n".to_owned();
    for (number, (part, samples)) in parts.iter().zip(&cut).enumerate() {
        let name = format!("{number}.ts");
        let part = at(&name, part);
        has_samples(&part, clip, &samples.iter().collect::<Vec<_>>());
        done(Command::new("ffmpeg").args(["-v", "warning", "-i"]).arg(&part).args(["-f", "null", "-"]));
        list += &format!("#EXTINF:1.0,\n{name}\n");
    }
    let list = at("list.m3u8", format!("{list}#EXT-X-ENDLIST\n").as_bytes());
    has_samples(&list, clip, &clip.samples.iter().collect::<Vec<_>>());

    let (_, odd) = segments(clip, &clip.cut_after(37));
    has_samples(&at("odd.ts", &odd), clip, &clip.samples.iter().collect::<Vec<_>>());
}

fn has(test: &str, programs: &[&str]) -> bool {
    let absent = programs.iter().find(|program| Command::new(program).arg("-version").output().is_err());
    if let Some(program) = absent {
        println!("SKIP {test}: {program} is not installed");
    }
    absent.is_none()
}

fn demo() -> Clip {
    Clip::of_flv(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/media/demo.flv"))
}

#[test]
fn h264_and_aac_of_the_demo_clip() {
    if has("h264_and_aac_of_the_demo_clip", &["ffmpeg", "ffprobe"]) {
        is_judged(&demo());
    }
}

#[test]
fn h264_and_aac_of_a_shared_clip() {
    const TEST: &str = "h264_and_aac_of_a_shared_clip";
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("STREAMENGINE_SHARED").map_or_else(beside, PathBuf::from);
    let clip = folder.join("media/bbb-h264-aac-10s.flv");
    if !clip.exists() {
        println!("SKIP {TEST}: shared media bbb-h264-aac-10s.flv is absent");
    } else if has(TEST, &["ffmpeg", "ffprobe"]) {
        is_judged(&Clip::of_flv(&clip));
    }
}

fn encoded(test: &str, streams: &[(Codec, &str, &str)]) {
    if has(test, &["ffmpeg", "ffprobe"]) {
        let folder = tempfile::tempdir().unwrap();
        is_judged(&Clip::encoded(folder.path(), streams));
    }
}

/// A keyframe each second, and pictures that are shown in another order than they are decoded in.
const X264: &str = "-c:v libx264 -preset veryfast -g 25 -bf 3 -pix_fmt yuv420p";
const X265: &str = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params log-level=none:keyint=25:min-keyint=25:bframes=3:open-gop=0";

const AC3: (Codec, &str, &str) = (Codec::Ac3, "-c:a ac3 -b:a 192k", "ac3");

#[test]
fn hevc_and_ac3() {
    encoded("hevc_and_ac3", &[(Codec::Hevc, X265, "hevc"), AC3]);
}

#[test]
fn h264_and_eac3() {
    let eac3 = (Codec::Eac3, "-c:a eac3 -b:a 192k", "eac3");
    encoded("h264_and_eac3", &[(Codec::H264, X264, "h264"), eac3]);
}

#[test]
fn h264_and_mp3() {
    let mp3 = (Codec::Mp3, "-c:a libmp3lame -b:a 128k", "mp3");
    encoded("h264_and_mp3", &[(Codec::H264, X264, "h264"), mp3]);
}

/// MP3 of MPEG-2, whose stream type is another.
#[test]
fn mp3_alone() {
    encoded("mp3_alone", &[(Codec::Mp3, "-c:a libmp3lame -ar 22050 -b:a 64k", "mp3")]);
}

/// Some senders have pictures begin with the time of their decoding, so that later ones are shown before they are decoded.
#[test]
fn pictures_shown_before_they_are_decoded() {
    const TEST: &str = "pictures_shown_before_they_are_decoded";
    if !has(TEST, &["ffmpeg", "ffprobe"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let clip = Clip::encoded(folder.path(), &[(Codec::H264, X264, "h264")]);
    let first = clip.samples[0].composition;
    let moved = |sample: &TsSample| TsSample { composition: sample.composition - first, ..sample.clone() };
    let samples: Vec<_> = clip.samples.iter().map(moved).collect();
    assert!(samples.iter().any(|sample| sample.composition < 0));
    let clip = Clip { samples, ..clip };
    let (_, whole) = segments(&clip, &clip.cut_at_keyframes());
    let file = write(folder.path(), "moved.ts", &whole);
    done(Command::new("ffmpeg").args(["-v", "warning", "-i"]).arg(&file).args(["-f", "null", "-"]));
    assert!(pictures(&file) == pictures(&clip.source));
    let times = packets(&file, "v", "pts,dts,data_hash");
    for (read, sent) in times.iter().zip(&clip.samples) {
        let [pts, dts] = [&read[0], &read[1]].map(|at| at.parse::<i64>().unwrap() - LATER);
        assert_eq!((pts, dts), (sent.dts + i64::from(sent.composition), sent.dts - i64::from(first)));
    }
    assert_eq!(times.len(), clip.samples.len());
}

/// A publisher comes back, and its times begin anew.
#[test]
fn ffmpeg_reads_on_after_a_renewal() {
    if !has("ffmpeg_reads_on_after_a_renewal", &["ffmpeg", "ffprobe"]) {
        return;
    }
    let (folder, clip) = (tempfile::tempdir().unwrap(), demo());
    let mut muxer = clip.muxer();
    let mut whole = muxer.segment(&clip.samples).unwrap().to_vec();
    let from_there = packets(&write(folder.path(), "once.ts", &whole), "v", "pts,data_hash");
    muxer.renew(&clip.tracks).unwrap();
    whole.extend(muxer.segment(&clip.samples).unwrap());
    let file = write(folder.path(), "twice.ts", &whole);
    let ffmpeg =
        Command::new("ffmpeg").args(["-v", "warning", "-i"]).arg(&file).args(["-f", "null", "-"]).output();
    let told = String::from_utf8(ffmpeg.unwrap().stderr).unwrap();
    assert!(
        told.lines().all(|line| line.ends_with("out of order")),
        "of the times, but of no packet: {told}"
    );
    assert!(packets(&file, "v", "pts,data_hash") == [&from_there[..], &from_there].concat());
    assert_eq!(pictures(&file).len(), 2 * pictures(&clip.source).len());
}

/// The bytes of a track, as GStreamer's demuxer hands them on, and in how many buffers: one for each PES packet.
fn of_gstreamer(folder: &Path, file: &Path, caps: &str) -> (Vec<u8>, usize) {
    let buffers = folder.join("buffers");
    fs::create_dir(&buffers).unwrap();
    let mut gst = Command::new("gst-launch-1.0");
    gst.args([
        "-q",
        "filesrc",
        &format!("location={}", file.display()),
        "!",
        "tsdemux",
        "!",
        caps,
        "!",
        "queue",
        "!",
    ]);
    done(gst.args(["multifilesink", "sync=false", &format!("location={}/%06d", buffers.display())]));
    let mut files: Vec<_> = fs::read_dir(&buffers).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let bytes: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    fs::remove_dir_all(&buffers).unwrap();
    (bytes.concat(), files.len())
}

/// GStreamer's demuxer gives what our own reader reads.
fn gstreamer_reads(clip: &Clip, caps: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (parts, whole) = segments(clip, &clip.cut_at_keyframes());
    let file = write(folder.path(), "whole.ts", &whole);
    let mut reader = Reader::default();
    let pes: Vec<_> =
        parts.iter().flat_map(|part| reader.segment(part).pes().cloned().collect::<Vec<_>>()).collect();
    for (caps, pid) in caps.iter().zip([0x100, 0x101]) {
        let sent: Vec<_> = pes.iter().filter(|pes| pes.pid == pid).map(|pes| &pes.data[..]).collect();
        let (read, buffers) = of_gstreamer(folder.path(), &file, caps);
        assert!(read == sent.concat(), "{caps}: {} bytes of {}", read.len(), sent.concat().len());
        assert_eq!(buffers, sent.len(), "{caps}");
    }
}

#[test]
fn gstreamer_demuxes_h264_and_aac() {
    if has("gstreamer_demuxes_h264_and_aac", &["gst-launch-1.0"]) {
        gstreamer_reads(&demo(), &["video/x-h264", "audio/mpeg"]);
    }
}

#[test]
fn gstreamer_demuxes_hevc_and_ac3() {
    if has("gstreamer_demuxes_hevc_and_ac3", &["gst-launch-1.0", "ffmpeg", "ffprobe"]) {
        let folder = tempfile::tempdir().unwrap();
        let clip = Clip::encoded(folder.path(), &[(Codec::Hevc, X265, "hevc"), AC3]);
        gstreamer_reads(&clip, &["video/x-h265", "audio/x-ac3"]);
    }
}

/// How many packets of a file tshark has something to say about, and how many there are.
fn complaints(folder: &Path, bytes: &[u8]) -> (usize, usize) {
    const COMPLAINTS: &str = "mp2t.analysis.drops || mp2t.analysis.skips || mp2t.msg.fragment.error || _ws.malformed || _ws.expert";
    let file = write(folder, "judged.ts", bytes);
    let count = |filter: &str| {
        let output = Command::new("tshark").args(["-n", "-Y", filter, "-r"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    (count(COMPLAINTS), count("mp2t"))
}

#[test]
fn wireshark_misses_no_packet() {
    if !has("wireshark_misses_no_packet", &["tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let clip = demo();
    let (_, mut whole) = segments(&clip, &clip.cut_at_keyframes());
    assert_eq!(complaints(folder.path(), &whole), (0, whole.len() / PACKET));
    whole.drain(100 * PACKET..101 * PACKET);
    assert_ne!(complaints(folder.path(), &whole).0, 0, "of a stream that lacks one");
}
