//! What ffmpeg and GStreamer read from HLS is what was published: every frame, at its time.

use super::{AAC, Encoder, H264, Latency, index, made_clip, made_clip_that_lasts, serve, time};
use std::collections::BTreeSet;
use std::path::Path;
use streamengine_tests::flv::{Extent, match_run};
use streamengine_tests::hls::HlsPeer;
use streamengine_tests::peers::{Ffmpeg, Speed, command, vlc_copy};
use streamengine_tests::{PATIENCE, Proc, demo_clip, needs, shared_clip, unique};

/// A packet as ffmpeg reads it.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    /// Seconds.
    dts: f64,
    pts: f64,
    /// In units of the time base.
    ticks: i64,
    size: usize,
    pub(super) hash: String,
}

/// Packets of both kinds, in their order.
#[derive(Debug, Default)]
pub(super) struct Packets {
    pub(super) video: Vec<Packet>,
    pub(super) audio: Vec<Packet>,
}

/// An ffmpeg that reads a file or URL to its end and tells of its packets, without decoding.
fn reads(ffmpeg: Ffmpeg, input: &str) -> Proc {
    let mut command = ffmpeg.command();
    if input.starts_with("http") {
        // From the first segment that is listed on, and for as long as something comes.
        command.args(["-live_start_index", "0"]);
    }
    command.args(["-i", input, "-map", "0", "-c", "copy", "-copyts", "-f", "framemd5", "-"]);
    Proc::spawn("ffmpeg reader", command)
}

impl Packets {
    fn of(reader: &Proc) -> Self {
        reader.succeed(PATIENCE * 3);
        let lines = reader.out.all();
        let of_stream = |tag: &str, number: &str| -> Option<String> {
            let found = lines.iter().find_map(|line| line.strip_prefix(&format!("#{tag} {number}: ")));
            found.map(str::to_owned)
        };
        let mut packets = Self::default();
        for line in lines.iter().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [stream, dts, pts, _, size, hash, ..] = fields[..] else { panic!("{line}") };
            let base = of_stream("tb", stream).expect("a time base");
            let (one, of) = base.split_once('/').expect("a fraction");
            let unit = one.parse::<f64>().expect("a number") / of.parse::<f64>().expect("a number");
            let number = |text: &str| text.parse::<i64>().unwrap_or_else(|_| panic!("{line}"));
            let (ticks, pts) = (number(dts), number(pts));
            let size = size.parse().unwrap_or_else(|_| panic!("{line}"));
            let (dts, pts, hash) = (ticks as f64 * unit, pts as f64 * unit, hash.to_owned());
            let packet = Packet { dts, pts, ticks, size, hash };
            match of_stream("media_type", stream).as_deref() {
                Some("video") => packets.video.push(packet),
                Some("audio") => packets.audio.push(packet),
                _ => {}
            }
        }
        packets
    }

    /// Of a file.
    pub(super) fn of_file(ffmpeg: Ffmpeg, file: &Path) -> Self {
        Self::of(&reads(ffmpeg, &file.to_string_lossy()))
    }
}

/// By how much each packet is later than in the source, decoded and shown, in seconds; fails the test unless all are there from
/// some packet of the source on, and those before it are from before `begins`, in the source's seconds.
fn shifts(what: &str, source: &[Packet], got: &[Packet], begins: f64) -> Vec<f64> {
    let hashes =
        |packets: &[Packet]| -> Vec<String> { packets.iter().map(|packet| packet.hash.clone()).collect() };
    let first = match match_run(&hashes(source), &hashes(got), Extent::ToTheEnd) {
        Ok(first) => first,
        Err(why) => panic!("{what}: {why}"),
    };
    let missed = source[..first].iter().find(|packet| packet.dts >= begins);
    assert!(missed.is_none(), "{what}: begins with packet {first} of the source, not {missed:?}");
    let pairs = source[first..].iter().zip(got);
    pairs.flat_map(|(sent, came)| [came.dts - sent.dts, came.pts - sent.pts]).collect()
}

fn middle(shifts: &[f64]) -> f64 {
    let mut shifts = shifts.to_vec();
    shifts.sort_by(f64::total_cmp);
    shifts[shifts.len() / 2]
}

/// Fails the test unless what came is what was sent: all of it, or all from a keyframe on, as `is_whole` says.
fn judge(source: &Packets, got: &Packets) {
    const MS: f64 = 0.001;
    let has = |packets: &Packets| (!packets.video.is_empty(), !packets.audio.is_empty());
    assert_eq!(has(got), has(source), "picture and sound");
    let mut middles = Vec::new();
    if !source.video.is_empty() {
        let video = shifts("video", &source.video, &got.video, f64::MIN);
        let spread = |bound: fn(f64, f64) -> f64| video.iter().copied().reduce(bound).unwrap_or_default();
        let off = spread(f64::max) - spread(f64::min);
        assert!(off <= 1.01 * MS, "times of pictures are up to {:.2} ms off each other", off / MS);
        middles.push(middle(&video));
    }
    if !source.audio.is_empty() {
        // Sound from before the first picture is nothing to begin with.
        let begins = source.video.first().map_or(f64::MIN, |packet| packet.dts);
        let audio = shifts("audio", &source.audio, &got.audio, begins);
        // By sample count: all of these codecs have frames of one length.
        let steps: BTreeSet<i64> = got.audio.windows(2).map(|pair| pair[1].ticks - pair[0].ticks).collect();
        assert_eq!(steps.len(), 1, "the sound has gaps or overlaps: steps of {steps:?}");
        middles.push(middle(&audio));
    }
    if let [video, audio] = middles[..] {
        let off = (audio - video).abs();
        assert!(off <= 1.01 * MS, "the sound is {:.2} ms off the picture", off / MS);
    }
}

/// Publishes a clip, and compares what each of the readers gets by HLS.
fn plays(clip: &Path, publisher: Ffmpeg, latency: Latency, readers: &[Ffmpeg]) {
    let engine = serve(latency, 40).start();
    let name = format!("live/{}", unique("hls"));
    let publishing = publisher.publish(clip, &engine.url(&name), Speed::Fast);
    engine.wait_publish(&name);
    let readers: Vec<_> = readers.iter().map(|&ffmpeg| reads(ffmpeg, &index(&engine, &name))).collect();
    publishing.succeed(PATIENCE);
    let source = Packets::of_file(publisher, clip);
    for reader in readers {
        judge(&source, &Packets::of(&reader));
    }
}

#[test]
fn ffmpeg_reads_every_frame_at_its_time() {
    needs!("ffmpeg");
    plays(&demo_clip(), Ffmpeg::System, Latency::Low, &[Ffmpeg::System]);
}

#[test]
fn ffmpeg_reads_every_frame_of_plain_hls() {
    needs!("ffmpeg");
    plays(&demo_clip(), Ffmpeg::System, Latency::Plain, &[Ffmpeg::System]);
}

#[test]
fn a_current_ffmpeg_reads_every_frame_at_its_time() {
    needs!("ffmpeg", "current-ffmpeg");
    plays(&demo_clip(), Ffmpeg::System, Latency::Low, &[Ffmpeg::Current]);
    plays(&demo_clip(), Ffmpeg::System, Latency::Plain, &[Ffmpeg::Current]);
}

fn plays_made(publisher: Ffmpeg, video: Option<Encoder>, audio: Option<Encoder>, readers: &[Ffmpeg]) {
    let folder = tempfile::tempdir().expect("a folder");
    let clip = made_clip(publisher, folder.path(), video, audio);
    plays(&clip, publisher, Latency::Low, readers);
}

#[test]
fn ffmpeg_reads_a_picture_alone_and_sound_alone() {
    needs!("ffmpeg");
    plays_made(Ffmpeg::System, Some(H264), None, &[Ffmpeg::System]);
    plays_made(Ffmpeg::System, None, Some(AAC), &[Ffmpeg::System]);
}

#[test]
fn sound_goes_on_without_a_gap_for_as_long_as_it_is_listened_to() {
    needs!("ffmpeg");
    let folder = tempfile::tempdir().expect("a folder");
    let clip = made_clip_that_lasts(Ffmpeg::System, folder.path(), Some(H264), Some(AAC), "160x90", time());
    let engine = serve(Latency::Low, 40).start();
    let name = format!("live/{}", unique("long"));
    let publishing = Ffmpeg::System.publish(&clip, &engine.url(&name), Speed::Real);
    engine.wait_publish(&name);
    let reader = reads(Ffmpeg::System, &index(&engine, &name));
    publishing.succeed(time() + PATIENCE);
    let (source, got) = (Packets::of_file(Ffmpeg::System, &clip), Packets::of(&reader));
    // By its hash each packet is there, and by its time each is where the one before ends.
    judge(&source, &got);
    eprintln!("{} packets of sound and {} pictures in {:?}", got.audio.len(), got.video.len(), time());
}

const BOTH: [Ffmpeg; 2] = [Ffmpeg::System, Ffmpeg::Current];
const HEVC: Encoder = &["libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"];
const VP9: Encoder = &["libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"];
const OPUS: Encoder = &["libopus"];
const FLAC: Encoder = &["flac"];
const AC3: Encoder = &["ac3"];
const MP3: Encoder = &["libmp3lame"];

#[test]
fn both_generations_of_ffmpeg_read_hevc_and_aac() {
    needs!("ffmpeg", "current-ffmpeg");
    plays_made(Ffmpeg::Current, Some(HEVC), Some(AAC), &BOTH);
}

#[test]
fn both_generations_of_ffmpeg_read_vp9_and_opus() {
    needs!("ffmpeg", "current-ffmpeg");
    plays_made(Ffmpeg::Current, Some(VP9), Some(OPUS), &BOTH);
}

#[test]
fn both_generations_of_ffmpeg_read_the_other_codecs_of_sound() {
    needs!("ffmpeg", "current-ffmpeg");
    for sound in [FLAC, AC3, MP3] {
        plays_made(Ffmpeg::Current, Some(H264), Some(sound), &BOTH);
    }
}

#[test]
fn both_generations_of_ffmpeg_read_the_shared_clip_of_av1_and_opus() {
    needs!("ffmpeg", "current-ffmpeg", "shared:bbb-av1-opus-30s.flv");
    let clip = shared_clip("bbb-av1-opus-30s.flv").expect("the clip");
    plays(&clip, Ffmpeg::Current, Latency::Low, &BOTH);
}

/// What ffprobe says of the streams of a file or URL, and the rate of pictures.
fn facts(input: &str) -> Vec<String> {
    let entries = "stream=codec_name,profile,width,height,sample_rate,channels";
    let probe = Proc::spawn(
        "ffprobe",
        command("ffprobe", ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", "-i", input]),
    );
    probe.succeed(PATIENCE);
    let mut facts: Vec<String> =
        probe.out.all().into_iter().map(|line| line.trim_end_matches(',').to_owned()).collect();
    // Of a URL it lists the streams of programs first.
    facts.retain(|line| !line.is_empty());
    facts.sort_unstable();
    facts.dedup();
    facts
}

/// CODECS and RESOLUTION of a file as ffmpeg's own HLS has them.
fn variant_of_ffmpeg(file: &Path, folder: &Path) -> [String; 2] {
    let mut command = Ffmpeg::Current.command();
    command.arg("-i").arg(file).args([
        "-c",
        "copy",
        "-strict",
        "-2",
        "-f",
        "hls",
        "-hls_segment_type",
        "fmp4",
    ]);
    command.args(["-master_pl_name", "main.m3u8", "media.m3u8"]).current_dir(folder);
    Proc::spawn("ffmpeg with HLS", command).succeed(PATIENCE);
    let main = std::fs::read_to_string(folder.join("main.m3u8")).expect("a playlist");
    let line = main.lines().find(|line| line.starts_with("#EXT-X-STREAM-INF")).expect("a variant");
    VARIANT.map(|name| streamengine_tests::hls::attribute(line, name).unwrap_or_default().to_owned())
}

const VARIANT: [&str; 2] = ["CODECS", "RESOLUTION"];

/// Pictures a second, as ffprobe finds them; 0 where there are none.
fn rate_of(file: &Path) -> f64 {
    let args =
        ["-v", "error", "-select_streams", "v", "-show_entries", "stream=avg_frame_rate", "-of", "csv=p=0"];
    let mut command = command("ffprobe", args);
    command.arg(file);
    let probe = Proc::spawn("ffprobe", command);
    probe.succeed(PATIENCE);
    let told = probe.out.all().concat();
    let parts: Vec<f64> = told.trim().split('/').filter_map(|part| part.parse().ok()).collect();
    if let [frames, time] = parts[..] { frames / time } else { 0.0 }
}

/// Publishes a clip again and again, and compares what is said of it.
fn is_called_right(clip: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    // Of Enhanced FLV ffprobe 5.1 knows nothing.
    let file = folder.path().join("clip.mp4");
    let mut copy = Ffmpeg::Current.command();
    copy.arg("-i").arg(clip).args(["-c", "copy", "-strict", "-2"]).arg(&file);
    Proc::spawn("ffmpeg copier", copy).succeed(PATIENCE);
    let engine = serve(Latency::Low, 12).start();
    let name = format!("live/{}", unique("facts"));
    let _publisher = Ffmpeg::Current.publish_forever(clip, &engine.url(&name));
    engine.wait_publish(&name);
    let viewer = HlsPeer::open(engine.http(), &name);
    let told = VARIANT.map(|name| viewer.variant(name).unwrap_or_default().to_owned());
    let expected = variant_of_ffmpeg(&file, folder.path());
    // Names of sample entries: Opus and fLaC, where ffmpeg writes them small. Of HEVC that it copies it tells nothing.
    let (codecs, of_ffmpeg) = (told[0].to_lowercase(), expected[0].to_lowercase());
    assert!(
        codecs == of_ffmpeg || (of_ffmpeg.is_empty() && codecs.starts_with("hvc1.1.6.l")),
        "{codecs} {of_ffmpeg}"
    );
    assert_eq!(told[1], expected[1], "RESOLUTION");
    let rate = viewer.variant("FRAME-RATE").and_then(|rate| rate.parse().ok()).unwrap_or(0.0);
    let expected = rate_of(&file);
    assert!(f64::abs(rate - expected) < 0.02, "FRAME-RATE {rate}, not {expected}");
    assert_eq!(facts(&index(&engine, &name)), facts(&file.to_string_lossy()));
}

#[test]
fn playlists_and_media_tell_the_codecs_that_were_published() {
    needs!("current-ffmpeg", "ffprobe");
    let folder = tempfile::tempdir().expect("a folder");
    is_called_right(&demo_clip());
    for (video, audio) in
        [(Some(HEVC), Some(AAC)), (Some(VP9), Some(OPUS)), (None, Some(AAC)), (Some(H264), Some(FLAC))]
    {
        is_called_right(&made_clip(Ffmpeg::Current, folder.path(), video, audio));
    }
    if let Some(clip) = shared_clip("bbb-av1-opus-30s.flv") {
        is_called_right(&clip);
    }
}

#[test]
fn the_paths_of_nginx_rtmp_and_mediamtx_play() {
    needs!("ffmpeg");
    let engine = serve(Latency::Low, 40).start();
    let stream = unique("paths");
    let name = format!("live/{stream}");
    let publishing = Ffmpeg::System.publish(&demo_clip(), &engine.url(&name), Speed::Fast);
    engine.wait_publish(&name);
    let paths =
        [format!("/hls/{stream}.m3u8"), format!("/hls/{stream}/index.m3u8"), format!("/{name}/stream.m3u8")];
    let readers = paths.map(|path| reads(Ffmpeg::System, &engine.http_url(&path)));
    publishing.succeed(PATIENCE);
    let source = Packets::of_file(Ffmpeg::System, &demo_clip());
    for reader in readers {
        judge(&source, &Packets::of(&reader));
    }
}

/// GStreamer begins three segments before the end of what there is when it comes; from there on it gets all pictures.
fn gstreamer_plays(latency: Latency) {
    let engine = serve(latency, 40).start();
    let name = format!("live/{}", unique("gst"));
    let publishing = Ffmpeg::System.publish(&demo_clip(), &engine.url(&name), Speed::Real);
    engine.wait_publish(&name);
    let mut gst = command("gst-launch-1.0", ["-v", "souphttpsrc"]);
    gst.arg(format!("location={}", index(&engine, &name)));
    let rest = "! hlsdemux ! qtdemux name=d d.video_0 ! queue ! identity silent=false ! fakesink sync=false";
    gst.args(rest.split_whitespace());
    let player = Proc::spawn("gst-launch hlsdemux", gst);
    publishing.succeed(PATIENCE);
    player.succeed(PATIENCE * 2);
    let sizes: Vec<usize> = player.out.all().iter().filter_map(|line| buffer_size(line)).collect();
    let source: Vec<usize> =
        Packets::of_file(Ffmpeg::System, &demo_clip()).video.iter().map(|packet| packet.size).collect();
    let first = match_run(&source, &sizes, Extent::ToTheEnd).unwrap_or_else(|why| panic!("{why}"));
    assert!(first < source.len() / 2, "it begins with picture {first}");
}

/// Bytes of a buffer that `identity` tells of.
fn buffer_size(line: &str) -> Option<usize> {
    let (_, told) = line.split_once("last-message = chain")?;
    let (before, _) = told.split_once(" bytes")?;
    before.rsplit('(').next()?.trim().parse().ok()
}

#[test]
fn gstreamer_plays_low_latency_hls() {
    needs!("ffmpeg", "gst:hlsdemux", "gst:souphttpsrc", "gst:qtdemux");
    gstreamer_plays(Latency::Low);
}

#[test]
fn gstreamer_plays_plain_hls() {
    needs!("ffmpeg", "gst:hlsdemux", "gst:souphttpsrc", "gst:qtdemux");
    gstreamer_plays(Latency::Plain);
}

/// What ffmpeg decodes of the picture in a file: a hash of each.
fn pictures(file: &Path) -> Vec<String> {
    let mut command = Ffmpeg::System.command();
    command.arg("-i").arg(file).args(["-map", "0:v", "-vsync", "passthrough", "-f", "framemd5", "-"]);
    let decoder = Proc::spawn("ffmpeg decoder", command);
    decoder.succeed(PATIENCE);
    let lines = decoder.out.all();
    let hash = |line: &String| line.rsplit_once(',').map(|(_, hash)| hash.trim().to_owned());
    lines.iter().filter(|line| !line.starts_with('#')).filter_map(hash).collect()
}

/// VLC begins a while before the end of what there is when it comes; from there on it gets all pictures, but the last ones: with the
/// end of a stream it lets go of what its multiplexer holds.
fn vlc_plays(latency: Latency) {
    let engine = serve(latency, 40).start();
    let name = format!("live/{}", unique("vlc"));
    let folder = tempfile::tempdir().expect("a folder");
    let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), anybody).expect("own folder");
    let publishing = Ffmpeg::System.publish(&demo_clip(), &engine.url(&name), Speed::Real);
    engine.wait_publish(&name);
    let copy = folder.path().join("copy.ts");
    let player = vlc_copy(&index(&engine, &name), &copy);
    publishing.succeed(PATIENCE);
    player.succeed(PATIENCE * 2);
    let (source, got) = (pictures(&demo_clip()), pictures(&copy));
    let first = match_run(&source, &got, Extent::Run).unwrap_or_else(|why| panic!("{why}"));
    assert!(first < source.len() / 2, "it begins with picture {first}");
    let missing = source.len() - first - got.len();
    assert!(missing <= 25, "{missing} pictures are missing at the end");
}

#[test]
fn vlc_plays_low_latency_hls() {
    needs!("ffmpeg", "vlc");
    vlc_plays(Latency::Low);
}

#[test]
fn vlc_plays_plain_hls() {
    needs!("ffmpeg", "vlc");
    vlc_plays(Latency::Plain);
}
