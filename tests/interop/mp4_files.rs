//! MP4 files as sources: what arrives is what ffmpeg finds in them, packet by packet and at its time, over several loops.

use crate::mp4::{coded, hash};
use std::path::{Path, PathBuf};
use streamengine_tests::flv::{Recording, Tag, Track};
use streamengine_tests::peers::{self, Packet, command};
use streamengine_tests::{Engine, PATIENCE, Proc, Recorder, demo_clip, needs, streamengine, unique};

/// Timestamps on the wire are whole milliseconds: each is rounded, and so is the beginning of a loop.
const ROUNDING: f64 = 0.0011;
const LOOPS: usize = 3;

const X264: &[&str] = &["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25"];
pub(super) const B_FRAMES: &[&str] =
    &["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "25", "-bf", "3"];
pub(super) const AAC: &[&str] = &["-c:a", "aac"];
const AAC_FRAME: f64 = 1_024.0 / 48_000.0;

fn ffmpeg<'a>(args: impl IntoIterator<Item = &'a str>) {
    let quiet = ["-y", "-v", "error", "-nostdin"];
    Proc::spawn("ffmpeg", command("ffmpeg", quiet.into_iter().chain(args))).succeed(PATIENCE * 3);
}

/// A file of made-up picture and sound, of so many seconds each.
pub(super) fn encoded(folder: &Path, seconds: (&str, &str), rate: u32, options: &[&[&str]]) -> PathBuf {
    let path = folder.join("clip.mp4");
    let (video, audio) = (format!("testsrc2=size=320x180:rate={rate}"), "sine=sample_rate=48000");
    let inputs = ["-f", "lavfi", "-t", seconds.0, "-i", &video, "-f", "lavfi", "-t", seconds.1, "-i", audio];
    let name = path.to_string_lossy().into_owned();
    ffmpeg(inputs.into_iter().chain(options.concat()).chain([name.as_str()]));
    path
}

fn of<'a>(packets: &'a [Packet], kind: &str) -> Vec<&'a Packet> {
    packets.iter().filter(|packet| packet.codec_type == kind).collect()
}

/// Plays the file several times, and what a player gets of it.
pub(super) fn looped(file: &Path) -> Recording {
    let engine = Engine::start();
    let name = format!("live/{}", unique("mp4"));
    let player = Recorder::play(engine.rtmp, &name);
    engine.wait_players(&name, 1);
    let count = LOOPS.to_string();
    let looper = streamengine(["loop", &file.to_string_lossy(), &engine.url(&name), "--loops", &count]);
    assert_eq!(looper.wait(PATIENCE * 3), 0, "{}", looper.log());
    player.finish(PATIENCE)
}

/// Every packet came, each in its turn and unchanged, but for fewer than so many sounds before the first keyframe, with which playing
/// starts.
pub(super) fn has_all_of(got: &Recording, source: &[Packet], skips: usize) {
    for (track, kind) in [(Track::Video, "video"), (Track::Audio, "audio")] {
        let (sent, came) = (of(source, kind), got.frames(track));
        // MP3 has none.
        assert!(got.headers(track).len() <= 1, "{kind} headers");
        let first = hash(coded(came[0]).0);
        let skipped = sent.iter().position(|packet| packet.hash == first).expect("a packet of the source");
        assert!(skipped < skips, "{kind} starts with packet {skipped}");
        assert_eq!(came.len() + skipped, sent.len() * LOOPS, "{kind} packets");
        assert!(came.windows(2).all(|pair| pair[1].timestamp > pair[0].timestamp), "{kind} time goes back");
        for (index, tag) in (skipped..).zip(&came) {
            let original = sent[index % sent.len()];
            assert_eq!(hash(coded(tag).0), original.hash, "{kind} packet {index} is not the source's");
        }
    }
}

/// How long one loop must last: as long as the longer track, its last frame included.
fn period(source: &[Packet], (video, audio): (f64, f64)) -> f64 {
    let length = |kind: &str, frame: f64| {
        let packets = of(source, kind);
        packets[packets.len() - 1].dts + frame - packets[0].dts
    };
    length("video", video).max(length("audio", audio))
}

/// `frames`: how long a frame of video and one of audio last.
fn loops_as_ffmpeg_reads_it(file: &Path, frames: (f64, f64)) {
    let source = peers::ffprobe_packets(&file.to_string_lossy());
    let got = looped(file);
    has_all_of(&got, &source, 10);
    is_on_time(&got, &source, frames);
}

/// Every packet came at its time, decoded and shown, over all loops.
fn is_on_time(got: &Recording, source: &[Packet], frames: (f64, f64)) {
    let period = period(source, frames);
    let time = |tag: &Tag| f64::from(tag.timestamp) / 1_000.0;
    let zero = time(got.frames(Track::Video)[0]) - of(source, "video")[0].dts;
    for (track, kind) in [(Track::Video, "video"), (Track::Audio, "audio")] {
        let (sent, came) = (of(source, kind), got.frames(track));
        let skipped = sent.len() * LOOPS - came.len();
        for (index, tag) in (skipped..).zip(&came) {
            let original = sent[index % sent.len()];
            let composition = coded(tag).1;
            // One zero for both tracks: a change of the A/V offset shows as well as a drift.
            let ideal = zero + period * (index / sent.len()) as f64;
            let (decoded, shown) = (time(tag), time(tag) + f64::from(composition) / 1_000.0);
            let (early, late) =
                ((decoded - ideal - original.dts).abs(), (shown - ideal - original.pts).abs());
            assert!(
                early <= ROUNDING && late <= ROUNDING + 0.0005,
                "{kind} packet {index} is {:.1} and {:.1} ms off: {original:?}",
                early * 1e3,
                late * 1e3
            );
        }
    }
}

#[test]
fn without_b_frames_and_with_the_index_at_the_end() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = encoded(folder.path(), ("3", "3"), 25, &[X264, AAC]);
    loops_as_ffmpeg_reads_it(&clip, (0.040, AAC_FRAME));
}

#[test]
fn with_b_frames() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = encoded(folder.path(), ("3", "3"), 25, &[B_FRAMES, AAC]);
    loops_as_ffmpeg_reads_it(&clip, (0.040, AAC_FRAME));
}

#[test]
fn with_the_index_at_the_beginning() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = encoded(folder.path(), ("3", "3"), 30, &[B_FRAMES, AAC, &["-movflags", "+faststart"]]);
    loops_as_ffmpeg_reads_it(&clip, (1.0 / 30.0, AAC_FRAME));
}

#[test]
fn in_fragments() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let fragments = &["-movflags", "+frag_keyframe+empty_moov+default_base_moof"];
    let clip = encoded(folder.path(), ("3", "3"), 25, &[X264, AAC, fragments]);
    loops_as_ffmpeg_reads_it(&clip, (0.040, AAC_FRAME));
}

#[test]
fn in_fragments_with_b_frames_and_an_edit_list() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let fragments = &["-movflags", "+frag_keyframe+delay_moov"];
    let clip = encoded(folder.path(), ("3", "3"), 25, &[B_FRAMES, AAC, fragments]);
    loops_as_ffmpeg_reads_it(&clip, (0.040, AAC_FRAME));
}

#[test]
fn of_hevc() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let hevc =
        &["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "bframes=3:keyint=25:log-level=error"];
    let clip = encoded(folder.path(), ("3", "3"), 25, &[hevc, &["-tag:v", "hvc1"], AAC]);
    loops_as_ffmpeg_reads_it(&clip, (0.040, AAC_FRAME));
}

#[test]
fn of_av1_and_opus() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let av1 = &["-c:v", "libsvtav1", "-preset", "12", "-g", "25", "-c:a", "libopus"];
    let clip = encoded(folder.path(), ("3", "3"), 25, &[av1]);
    loops_as_ffmpeg_reads_it(&clip, (0.040, 0.020));
}

#[test]
fn of_mp3() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = encoded(folder.path(), ("3", "3"), 25, &[X264, &["-c:a", "libmp3lame"]]);
    loops_as_ffmpeg_reads_it(&clip, (0.040, 1_152.0 / 48_000.0));
}

#[test]
fn as_a_telephone_has_it_cut_and_turned() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let whole = encoded(folder.path(), ("5", "5"), 30, &[B_FRAMES, AAC]);
    let cut = folder.path().join("cut.mov");
    let (from, to) = (whole.to_string_lossy().into_owned(), cut.to_string_lossy().into_owned());
    ffmpeg(["-ss", "1.5", "-i", &from, "-t", "3", "-c", "copy", "-metadata:s:v:0", "rotate=90", &to]);
    // ffprobe lists what the edits hide at times below 0. Pictures of these are needed for those behind; sounds are left out, all but
    // those of which a decoder needs one or two.
    let (got, mut source) = (looped(&cut), peers::ffprobe_packets(&to));
    let first = hash(coded(got.frames(Track::Audio)[0]).0);
    let begun = source.iter().find(|packet| packet.hash == first).expect("a packet of the source").pts;
    assert!((-0.2..0.0).contains(&begun), "sound begins at {begun}");
    source.retain(|packet| packet.codec_type == "video" || packet.pts >= begun);
    has_all_of(&got, &source, 10);
    is_on_time(&got, &source, (1.0 / 30.0, AAC_FRAME));
    let probe = streamengine(["probe", &to]);
    probe.succeed(PATIENCE);
    let told = probe.out.all().join("\n");
    assert!(told.contains("not carried  the rotation of video track 1 by "), "{told}");
}

#[test]
fn with_sound_that_is_longer() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = encoded(folder.path(), ("2", "3"), 25, &[X264, AAC]);
    loops_as_ffmpeg_reads_it(&clip, (0.040, AAC_FRAME));
}

#[test]
fn at_60_pictures_a_second() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = encoded(folder.path(), ("3", "3"), 60, &[X264, AAC]);
    loops_as_ffmpeg_reads_it(&clip, (1.0 / 60.0, AAC_FRAME));
}

#[test]
fn of_10_gigabytes() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = encoded(folder.path(), ("3", "3"), 25, &[X264, AAC]);
    let large = folder.path().join("large.mp4");
    put_hole(&clip, &large, 10 << 30);
    loops_as_ffmpeg_reads_it(&large, (0.040, AAC_FRAME));
}

/// Copies a file whose index is at its end, with a hole of so many bytes in front of its media.
fn put_hole(from: &Path, to: &Path, hole: u64) {
    use std::io::{Seek, SeekFrom, Write};
    let bytes = std::fs::read(from).expect("read");
    let mut file = std::fs::File::create(to).expect("create");
    for (kind, whole) in boxes(&bytes) {
        match kind {
            b"moov" => file.write_all(&shifted(whole, hole)).expect("write"),
            b"mdat" => {
                file.write_all(&[&[0, 0, 0, 1][..], b"free", &hole.to_be_bytes()].concat()).expect("write");
                let left = i64::try_from(hole).expect("a size") - 16;
                file.seek(SeekFrom::Current(left)).expect("seek");
                file.write_all(whole).expect("write");
            }
            _ => file.write_all(whole).expect("write"),
        }
    }
}

fn boxes(mut bytes: &[u8]) -> Vec<(&[u8; 4], &[u8])> {
    let mut boxes = Vec::new();
    while let Some((size, rest)) = bytes.split_first_chunk::<4>() {
        let (whole, more) = bytes.split_at(u32::from_be_bytes(*size) as usize);
        boxes.push((rest.first_chunk::<4>().expect("a kind"), whole));
        bytes = more;
    }
    boxes
}

/// A box of an index whose media has moved.
fn shifted(whole: &[u8], by: u64) -> Vec<u8> {
    let (kind, body) = (&whole[4..8], &whole[8..]);
    let (kind, body) = match kind {
        b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" => {
            (kind, boxes(body).into_iter().flat_map(|(_, inner)| shifted(inner, by)).collect())
        }
        b"stco" => {
            let offsets =
                body[8..].chunks_exact(4).map(|offset| u32::from_be_bytes(offset.try_into().expect("four")));
            let wide = offsets.flat_map(|offset| (u64::from(offset) + by).to_be_bytes());
            (&b"co64"[..], body[..8].iter().copied().chain(wide).collect())
        }
        _ => (kind, body.to_vec()),
    };
    let size = u32::try_from(body.len() + 8).expect("a size");
    [&size.to_be_bytes(), kind, &body].concat()
}

#[test]
fn a_playlist_mixes_flv_and_mp4() {
    needs!("ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = encoded(folder.path(), ("2", "2"), 25, &[B_FRAMES, AAC]);
    let engine = Engine::start();
    let name = format!("live/{}", unique("mixed"));
    let player = Recorder::play(engine.rtmp, &name);
    engine.wait_players(&name, 1);
    let (mp4, flv) = (clip.to_string_lossy().into_owned(), demo_clip().to_string_lossy().into_owned());
    let looper = streamengine(["loop", &mp4, &flv, &engine.url(&name), "--loops", "1"]);
    assert_eq!(looper.wait(PATIENCE * 3), 0, "{}", looper.log());
    let got = player.finish(PATIENCE);
    let video: Vec<_> = got.frames(Track::Video).iter().map(|tag| hash(coded(tag).0)).collect();
    let source = peers::ffprobe_packets(&mp4);
    let first: Vec<_> = of(&source, "video").iter().map(|packet| packet.hash.clone()).collect();
    let clip = Recording::read(&demo_clip());
    let second: Vec<_> = clip.frames(Track::Video).iter().map(|tag| hash(coded(tag).0)).collect();
    assert_eq!(video, [first, second].concat());
    assert_eq!(got.headers(Track::Video).len(), 2, "each has its own");
}

#[test]
fn what_is_not_carried_is_named_with_the_command_that_converts_it() {
    needs!("ffmpeg");
    let folder = tempfile::tempdir().expect("a folder");
    let pcm = folder.path().join("pcm.mov");
    let name = pcm.to_string_lossy().into_owned();
    let picture = ["-f", "lavfi", "-t", "1", "-i", "testsrc2=size=320x180:rate=25"];
    let sound = ["-f", "lavfi", "-t", "1", "-i", "sine=sample_rate=48000"];
    ffmpeg(picture.into_iter().chain(sound).chain(["-c:v", "mpeg4", "-c:a", "pcm_s16le", name.as_str()]));
    let refused = streamengine(["loop", &name, "rtmp://127.0.0.1:1/live/x"]);
    assert_eq!(refused.wait(PATIENCE), 2);
    let log = refused.log();
    for part in ["MPEG-4 Part 2", "audio track 2 (PCM)", "ffmpeg -i ", "-c:v libx264 -c:a aac"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}
