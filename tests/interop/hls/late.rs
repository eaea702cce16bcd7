//! Sound or a picture that comes when HLS has begun without it: behind a break both are there, with all of their frames.

use super::players::Packets;
use super::{AAC, H264, Latency, made_clip, serve};
use rml_amf0::Amf0Value;
use std::path::Path;
use streamengine_tests::flv::{Extent, Recording, Tag, Track, match_run};
use streamengine_tests::hls::{HlsPeer, Playlist};
use streamengine_tests::peers::Ffmpeg;
use streamengine_tests::raw::RawPeer;
use streamengine_tests::synthetic::granted;
use streamengine_tests::{needs, unique};

/// When the late track begins, in milliseconds: behind a keyframe, so that sound has to wait for the next one.
const LATE: u32 = 2_300;

/// The clip's media without what is before [`LATE`] of this track; it begins with its configuration, and a picture with a keyframe.
fn without_begin(clip: &Path, late: Track) -> Vec<Tag> {
    let all = Recording::read(clip).tags;
    let is_its = |tag: &Tag| tag.track() == Some(late);
    let begins = |tag: &&Tag| is_its(tag) && tag.timestamp >= LATE && tag.frame() == Some(true);
    let begins = all.iter().find(begins).expect("a keyframe").timestamp;
    let (mut tags, mut header) = (Vec::new(), None);
    for tag in all.into_iter().filter(|tag| tag.track().is_some()) {
        match is_its(&tag) {
            true if tag.is_header() => header = Some(Tag { timestamp: begins, ..tag }),
            true if tag.timestamp < begins => {}
            true => tags.extend(header.take().into_iter().chain([tag])),
            false => tags.push(tag),
        }
    }
    tags
}

fn send(peer: &mut RawPeer, tags: &[Tag]) {
    for tag in tags {
        peer.send(4, tag.timestamp, tag.kind, 1, &tag.body).expect("send");
    }
}

/// What lies behind the one break, as a file.
fn rest(viewer: &mut HlsPeer, list: &Playlist) -> Vec<u8> {
    let at = list.segments.iter().position(|segment| segment.is_break).expect("a break");
    let (before, after) = list.segments.split_at(at);
    assert!(!before.is_empty() && after.iter().all(|segment| segment.map == after[0].map));
    assert!(before.iter().all(|segment| segment.map != after[0].map && !segment.is_break));
    let names = after[0].map.iter().chain(after.iter().map(|segment| &segment.uri));
    let load = |name: &String| {
        let answer = viewer.load(name, "");
        assert_eq!(answer.status, 200, "{name}");
        answer.body
    };
    names.flat_map(load).collect()
}

fn hashes(packets: &Packets, track: Track) -> Vec<String> {
    let packets = match track {
        Track::Audio => &packets.audio,
        Track::Video => &packets.video,
    };
    packets.iter().map(|packet| packet.hash.clone()).collect()
}

/// Publishes a stream of one kind to which the other kind comes: one break, behind which both are there, as newcomers are told.
fn comes_late(late: Track) {
    let folder = tempfile::tempdir().expect("a folder");
    let tags = without_begin(&made_clip(Ffmpeg::System, folder.path(), Some(H264), Some(AAC)), late);
    let (other, codec) = match late {
        Track::Audio => (Track::Video, "avc1."),
        Track::Video => (Track::Audio, "mp4a."),
    };
    let engine = serve(Latency::Low, 40).start();
    let name = format!("live/{}", unique("late"));
    let (mut peer, status) = granted(engine.rtmp, &name).expect("publish");
    assert_eq!(status.code, "NetStream.Publish.Start");
    let first = tags.iter().position(|tag| tag.track() == Some(late)).expect("its configuration");
    send(&mut peer, &tags[..first]);
    let mut viewer = HlsPeer::open(engine.http(), &name);
    let codecs = viewer.variant("CODECS").expect("codecs");
    assert!(codecs.starts_with(codec) && !codecs.contains(','), "{codecs}");
    let target = viewer.list("").target;
    send(&mut peer, &tags[first..]);
    peer.send_command(0, "deleteStream", 0.0, vec![Amf0Value::Null, Amf0Value::Number(1.0)]).expect("send");
    engine.wait_unpublish(&name);
    let source = folder.path().join("source.flv");
    std::fs::write(&source, Recording { tags }.file()).expect("write");
    let source = Packets::of_file(Ffmpeg::System, &source);
    // Who comes now is told of both, and gets both behind the break.
    let mut newcomer = HlsPeer::open(engine.http(), &name);
    let codecs = newcomer.variant("CODECS").expect("codecs");
    assert!(codecs.contains("avc1.") && codecs.contains(",mp4a."), "{codecs}");
    let list = newcomer.list("");
    assert!(list.is_over && list.target == target, "{list:?}");
    let file = folder.path().join("rest.mp4");
    std::fs::write(&file, rest(&mut newcomer, &list)).expect("write");
    let got = Packets::of_file(Ffmpeg::System, &file);
    for (track, missing) in [(Track::Video, "picture"), (Track::Audio, "sound")] {
        let (sent, got) = (hashes(&source, track), hashes(&got, track));
        assert!(!got.is_empty(), "no {missing} behind the break");
        let begins =
            match_run(&sent, &got, Extent::ToTheEnd).unwrap_or_else(|why| panic!("{missing}: {why}"));
        assert!(track == other || late == Track::Audio || begins == 0, "{missing} from {begins} on");
    }
}

#[test]
fn ffmpeg_reads_both_where_sound_has_come_to_a_picture() {
    needs!("ffmpeg");
    comes_late(Track::Audio);
}

#[test]
fn ffmpeg_reads_both_where_a_picture_has_come_to_sound() {
    needs!("ffmpeg");
    comes_late(Track::Video);
}
