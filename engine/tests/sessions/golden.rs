//! Dialogues of common encoders and players: each must give the same however it is cut.

use crate::dialogues::{FFMPEG_PLAY, FFMPEG_PUBLISH, OBS_PUBLISH, RTMPDUMP_PLAY};
use crate::peer::{HANDSHAKE, Parser, Sent, handshake};
use streamengine::Limits;
use streamengine::media::FrameKind;
use streamengine::proto::server::{Play, Publish, ServerEvent, ServerSession};

/// Feeds `bytes` in pieces, grants everything, and returns the events and what was sent behind the handshake.
fn serve<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<ServerEvent>, Vec<Sent>) {
    let mut session = ServerSession::new(&Limits::default());
    let mut events = Vec::new();
    for piece in pieces {
        session.input().extend_from_slice(piece);
        while let Some(event) = session.poll().expect("the dialogue is in order") {
            events.push(event);
            session.accept();
        }
    }
    let output = session.output().split_off(HANDSHAKE);
    (events, Parser::new().all(&output))
}

fn names(sent: &[Sent]) -> Vec<String> {
    sent.iter().map(Sent::name).collect()
}

/// Serves the dialogue as a whole, checks that cuts change nothing, and returns what came of it.
fn serve_with_cuts(dialogue: &[&[u8]]) -> (Vec<ServerEvent>, Vec<Sent>) {
    let bytes = [handshake(), dialogue.concat()].concat();
    let whole = serve([&bytes[..]].into_iter());
    for size in [1, 2, 3, 127] {
        assert_eq!(serve(bytes.chunks(size)), whole, "in pieces of {size} bytes");
    }
    let in_handshake = [1, 2, 1536, 1537, 1538, 3072];
    // Single bytes have met every border already; these are for what a larger piece may skip.
    for cut in in_handshake.into_iter().chain((HANDSHAKE..bytes.len()).step_by(5)) {
        let (head, tail) = bytes.split_at(cut);
        assert_eq!(serve([head, tail].into_iter()), whole, "cut at {cut}");
    }
    whole
}

fn media(kind: FrameKind, timestamp: i64, payload: &'static [u8]) -> ServerEvent {
    ServerEvent::Media { stream_id: 1, kind, timestamp, payload: payload.into() }
}

fn publish() -> ServerEvent {
    ServerEvent::Publish(Publish { stream_id: 1, name: "cam".to_owned() })
}

const METADATA_FFMPEG: &[u8] = b"\x02\0\x0aonMetaData\x08\0\0\0\x01\0\x05width\0@t\0\0\0\0\0\0\0\0\x09";
const METADATA_OBS: &[u8] = b"\x02\0\x0aonMetaData\x08\0\0\0\x14\0\x05width\0@t\0\0\0\0\0\0\0\0\x09";

const CONNECTED: [&str; 4] = ["WindowAckSize", "PeerBandwidth", "SetChunkSize", "_result"];
const PUBLISHED: [&str; 9] = [
    "_result",
    "_result",
    "onFCPublish",
    "_result",
    "StreamBegin",
    "NetStream.Publish.Start",
    "_result",
    "onFCUnpublish",
    "NetStream.Unpublish.Success",
];
const PLAYED: [&str; 3] = ["StreamBegin", "NetStream.Play.Reset", "NetStream.Play.Start"];

#[test]
fn ffmpeg_publishes() {
    let (events, sent) = serve_with_cuts(FFMPEG_PUBLISH);
    let ServerEvent::Connect(connect) = &events[0] else { panic!("{events:?}") };
    assert_eq!((connect.app.as_str(), connect.object.len()), ("live", 4));
    assert_eq!(events[1..3], [publish(), media(FrameKind::Data, 0, METADATA_FFMPEG)]);
    let ServerEvent::Media { kind: FrameKind::Video, payload, .. } = &events[3] else { panic!("{events:?}") };
    assert_eq!(payload.len(), 51);
    let rest = [
        media(FrameKind::Audio, 0, b"\xaf\0\x12\x08V\xe5\0"),
        media(FrameKind::Video, 40, b"\x17\x02\0\0\0"),
        ServerEvent::Unpublish { stream_id: 1 },
    ];
    assert_eq!(events[4..], rest);
    assert_eq!(names(&sent), [&CONNECTED[..], &PUBLISHED].concat());
}

#[test]
fn obs_publishes() {
    let (events, sent) = serve_with_cuts(OBS_PUBLISH);
    let ServerEvent::Connect(connect) = &events[0] else { panic!("{events:?}") };
    assert_eq!((connect.app.as_str(), connect.object.len()), ("live", 5));
    let rest = [
        publish(),
        media(FrameKind::Data, 0, METADATA_OBS),
        media(FrameKind::Audio, 0, b"\xaf\0\x12\x08V\xe5\0"),
        media(FrameKind::Video, 0, b"\x17\0\0\0\0\x01\xf4\0\x0d"),
        media(FrameKind::Audio, 21, b"\xaf\x01\x21\x10\x04"),
        media(FrameKind::Video, 40, b"\x17\x02\0\0\0"),
        ServerEvent::Unpublish { stream_id: 1 },
    ];
    assert_eq!(events[1..], rest);
    assert_eq!(names(&sent), [&CONNECTED[..], &PUBLISHED].concat());
}

#[test]
fn ffmpeg_plays() {
    let (events, sent) = serve_with_cuts(FFMPEG_PLAY);
    let play = Play { stream_id: 1, name: "cam".to_owned(), start: -2.0 };
    assert_eq!(events[1..], [ServerEvent::Play(play), ServerEvent::StopPlay { stream_id: 1 }]);
    assert_eq!(names(&sent), [&CONNECTED[..], &["_result", "_result"], &PLAYED].concat());
}

#[test]
fn rtmpdump_plays() {
    let (events, sent) = serve_with_cuts(RTMPDUMP_PLAY);
    let play = Play { stream_id: 1, name: "cam".to_owned(), start: -1.0 };
    assert_eq!(events[1..], [ServerEvent::Play(play), ServerEvent::StopPlay { stream_id: 1 }]);
    assert_eq!(names(&sent), [&CONNECTED[..], &["_result", "_result", "onFCSubscribe"], &PLAYED].concat());
}
