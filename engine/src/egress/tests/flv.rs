//! The FLV forms: whoever writes them, a player gets the same.

use super::peer::Peer;
use super::*;
use crate::media::flv::FileHeader;
use crate::media::flv_file::FlvReader;
use crate::testing::{audio, audio_header, inter, keyframe, metadata, times, video_header};
use proptest::prelude::*;
use std::io::Cursor;

const BOTH: FileHeader = FileHeader { audio: true, video: true };
const ENVELOPES: [Envelope; 3] = [Envelope::Plain, Envelope::Chunked, Envelope::WebSocket];
const FLAVOURS: [Flavour; 2] = [Flavour::Browser, Flavour::Full];

fn framing(envelope: Envelope, flavour: Flavour) -> FlvFraming {
    FlvFraming::new(envelope, flavour, BOTH)
}

fn other_header(at: i64) -> Frame {
    Frame::new(FrameKind::Video, at, Bytes::from_static(b"\x17\0\0\0\0another"))
}

fn made(kind: FrameKind, at: i64, payload: &[u8]) -> Frame {
    Frame::new(kind, at, Bytes::copy_from_slice(payload))
}

impl Peer {
    fn of_flv(stage: &Stage, framing: FlvFraming, envelope: Envelope, clock: Clock) -> Self {
        Self::new(stage.delivery(Framing::Flv(framing), clock), envelope, &framing.head())
    }

    /// The response's body.
    fn body(&self) -> Vec<u8> {
        let contents = self.envelope.unwrap(&self.out);
        if self.envelope != Envelope::Plain {
            assert!(contents.iter().skip(1).all(|tags| is_whole_tags(tags)));
        }
        contents.concat()
    }

    fn frames(&self) -> Vec<Frame> {
        let mut reader = FlvReader::new(Cursor::new(self.body())).unwrap();
        let frames = std::iter::from_fn(|| reader.next_tag().unwrap()).map(|tag| tag.frame).collect();
        assert_eq!((reader.left_out().bytes, reader.truncated_at()), (0, None));
        frames
    }
}

fn is_whole_tags(mut bytes: &[u8]) -> bool {
    while let Some([_, l0, l1, l2]) = bytes.first_chunk() {
        let len = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize + 11 + 4;
        match bytes.get(len..) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    bytes.is_empty()
}

/// Publishes the frames, so many at a time, to a player that shares what it can and to one that shares nothing; the two.
fn play(batches: &[Vec<Frame>], framing: FlvFraming, envelope: Envelope) -> (Peer, Peer) {
    let mut stage = Stage::new();
    let mut sharing = Peer::of_flv(&stage, framing, envelope, Clock::Stream);
    let mut single = Peer::of_flv(&stage, framing, envelope, Clock::Stream);
    let mut batch = WireBatch::default();
    for frames in batches {
        frames.iter().for_each(|frame| stage.publisher.push(frame.clone()).unwrap());
        assert!(stage.feed.take(stage.feed.edge(), usize::MAX, &mut batch.batch));
        batch.begin();
        sharing.take(&batch);
        single.take_singly();
    }
    assert_eq!(single.shared, 0);
    assert_eq!(sharing.delivery.frames_sent(), single.delivery.frames_sent());
    (sharing, single)
}

/// A frame of any sort; its time is a multiple of 10.
fn any_frame() -> impl Strategy<Value = (u8, i64, bool)> {
    (0..22_u8, 0..8_i64, any::<bool>())
}

fn frame(sort: u8, at: i64) -> Frame {
    let made = |kind, payload| made(kind, at, payload);
    match sort {
        0..=2 => inter(at, 20),
        3 => keyframe(at, 50),
        4..=6 => audio(at),
        7 => video_header(at),
        8 => other_header(at),
        9 => audio_header(at),
        10 => metadata(at, 3),
        11 if at % 20 == 0 => made(FrameKind::Data, b"\x02\x00\x0aonCuePoint\x05"),
        11 => made(FrameKind::Data, b"\x02\x00\x0aonTextData\x05"),
        12 => made(FrameKind::Video, b"\x90avc1record"),
        13 => made(FrameKind::Video, b"\x91avc1\0\0\x28data"),
        14 => made(FrameKind::Video, b"\xa3hvc1data"),
        15 => made(FrameKind::Video, b"\x96\x01avc1\x03data"),
        16 => made(FrameKind::Video, b"\x96\x00avc1\x03record"),
        17 => made(FrameKind::Video, b"\x96\x11avc1\x00\0\0\x04\0\0\0a\x01\0\0\x04\0\0\0b"),
        18 => made(FrameKind::Audio, b"\x95\x01Opus\x02data"),
        19 => made(FrameKind::Audio, b"\x91mp4adata"),
        20 => made(FrameKind::Audio, b"\x91ac-3data"),
        _ => made(FrameKind::Video, b"\x91vp09data"),
    }
}

/// Frames in their order, cut into batches.
fn batches(sorts: &[(u8, i64, bool)]) -> Vec<Vec<Frame>> {
    let (mut batches, mut at) = (vec![vec![]], 0);
    for &(sort, step, ends_batch) in sorts {
        at += step * 10;
        batches.last_mut().unwrap().push(frame(sort, at));
        if ends_batch {
            batches.push(vec![]);
        }
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_player_gets_the_same_bytes_whether_shared_or_by_itself(
        sorts in prop::collection::vec(any_frame(), 1..80), envelope in 0..3_usize, flavour in 0..2_usize
    ) {
        let (envelope, flavour) = (ENVELOPES[envelope], FLAVOURS[flavour]);
        let (sharing, single) = play(&batches(&sorts), framing(envelope, flavour), envelope);
        prop_assert_eq!(sharing.body(), single.body());
        let frames = sharing.frames();
        prop_assert_eq!(frames.len() as u64, single.delivery.frames_sent());
        prop_assert!(frames.iter().all(|frame| !frame.is_metadata() || frame.timestamp == 0));
    }
}

#[test]
fn what_is_usual_is_shared_and_another_video_configuration_is_not() {
    let usual = |at| vec![keyframe(at, 50), audio(at), inter(at + 40, 20)];
    let repeated = |at| vec![video_header(at), keyframe(at, 50), audio(at)];
    let changed = [vec![other_header(240)], vec![audio(250)], vec![keyframe(250, 50)], vec![inter(280, 20)]];
    let first = vec![video_header(0), audio_header(0), keyframe(0, 50), audio(0)];
    let mut all = vec![first, usual(40), repeated(120), usual(160)];
    all.extend(changed);
    for envelope in ENVELOPES {
        let (sharing, single) = play(&all, framing(envelope, Flavour::Browser), envelope);
        assert_eq!(sharing.body(), single.body());
        assert_eq!(
            sharing.shared, 4,
            "a repeated configuration is shared, and what follows the changed one again"
        );
        let video: Vec<_> =
            sharing.frames().into_iter().filter(|frame| frame.kind == FrameKind::Video).collect();
        assert_eq!(
            times(&video)[8..],
            [201, 201, 280],
            "the changed one, and its first picture, follow at once"
        );
    }
}

#[test]
fn what_was_missed_makes_a_repeated_configuration_one_that_may_have_changed() {
    let mut stage = Stage::new();
    let mut batch = WireBatch::default();
    let mut changes = |stage: &mut Stage, frames: Vec<Frame>, is_taken: bool| {
        frames.into_iter().for_each(|frame| stage.publisher.push(frame).unwrap());
        if !is_taken {
            stage.feed.skip();
            return false;
        }
        assert!(stage.feed.take(stage.feed.edge(), usize::MAX, &mut batch.batch));
        batch.begin();
        batch.changes_video
    };
    assert!(changes(&mut stage, vec![video_header(0)], true));
    assert!(!changes(&mut stage, vec![keyframe(0, 50), video_header(40)], true));
    changes(&mut stage, vec![other_header(40)], false);
    assert!(changes(&mut stage, vec![video_header(80)], true));
    assert!(!changes(&mut stage, vec![made(FrameKind::Video, 80, b"\x94hvc1color")], true));
}

#[test]
fn times_from_zero_and_one_kind_only_are_for_one_player_alone() {
    let stage = Stage::new();
    let plain = framing(Envelope::Plain, Flavour::Browser);
    let mut from_zero = Peer::of_flv(&stage, plain, Envelope::Plain, Clock::FromZero);
    let only = plain.only(FrameKind::Video);
    let mut video = Peer::of_flv(&stage, only, Envelope::Plain, Clock::Stream);
    for frame in [
        metadata(0, 2),
        video_header(5_000),
        audio_header(5_000),
        keyframe(5_000, 50),
        audio(5_010),
        inter(5_040, 20),
    ] {
        stage.publisher.push(frame).unwrap();
    }
    for peer in [&mut from_zero, &mut video] {
        assert_eq!(peer.delivery.shared_form(), None);
        peer.take_singly();
        assert_eq!(peer.delivery.shared_form(), None);
    }
    assert_eq!(times(&from_zero.frames()), [0, 0, 0, 0, 10, 40]);
    assert_eq!(times(&video.frames()), [0, 5_000, 5_000, 5_040]);
    assert_eq!(video.delivery.late_kind(), None);
}

#[test]
fn a_kind_that_comes_late_is_left_out_and_told() {
    let mut stage = Stage::new();
    let announced = FileHeader { audio: false, video: true };
    let plain = FlvFraming::new(Envelope::Plain, Flavour::Browser, announced);
    let mut peer = Peer::of_flv(&stage, plain, Envelope::Plain, Clock::Stream);
    let mut batch = WireBatch::default();
    for (frames, late) in [
        (vec![video_header(0), keyframe(0, 50)], None),
        (vec![made(FrameKind::Audio, 0, b"\x91ac-3data"), inter(40, 20)], None),
        (vec![audio_header(40), inter(80, 20)], Some(FrameKind::Audio)),
        (vec![audio(80), inter(120, 20)], Some(FrameKind::Audio)),
    ] {
        frames.into_iter().for_each(|frame| stage.publisher.push(frame).unwrap());
        assert!(stage.feed.take(stage.feed.edge(), usize::MAX, &mut batch.batch));
        batch.begin();
        peer.take(&batch);
        assert_eq!(peer.delivery.late_kind(), late);
        assert_eq!(peer.delivery.shared_form().is_some(), late.is_none());
    }
    assert_eq!(times(&peer.frames()), [0, 0, 40, 80, 120]);
    assert_eq!(peer.shared, 1, "what no player in a browser gets is no track that comes late");
}

#[tokio::test]
async fn outputs_of_several_forms_get_a_batch_each_in_its_own() {
    let mut stage = Stage::new();
    let forms = [
        None,
        Some((Envelope::Plain, Flavour::Browser)),
        Some((Envelope::Chunked, Flavour::Browser)),
        None,
        Some((Envelope::WebSocket, Flavour::Full)),
        Some((Envelope::Chunked, Flavour::Browser)),
    ];
    let (mut outputs, mut peers): (Vec<Arc<dyn ShardWriter>>, Vec<_>) = (vec![], vec![]);
    for form in forms {
        let rtmp = Framing::Rtmp(RtmpFraming::player(1));
        let framing = form.map_or(rtmp, |(envelope, flavour)| Framing::Flv(framing(envelope, flavour)));
        let (output, peer) = stage.tcp_of(framing).await;
        outputs.push(output);
        peers.push(peer);
    }
    let batch = stage.batch(100);
    assert_eq!(turn(&stage, &outputs, &batch), [0; 0]);
    for (form, peer) in forms.into_iter().zip(&mut peers) {
        let form = form.map_or(Form::Rtmp, |(envelope, flavour)| Form::Flv(envelope, flavour));
        let mut got = vec![0; batch.bytes(form).len()];
        peer.read_exact(&mut got).await.unwrap();
        assert!(&got == batch.bytes(form), "{form:?}");
    }
    let made = batch.forms.iter().filter(|form| form.get().is_some()).count();
    assert_eq!(made, 4, "nobody pays for what nobody wants");
}

#[tokio::test]
async fn a_batch_that_is_nothing_in_a_form_is_stepped_over_without_a_write() {
    let mut stage = Stage::new();
    let (output, mut peer) = stage.tcp_of(Framing::Flv(framing(Envelope::Chunked, Flavour::Browser))).await;
    let (other, _other_peer) = stage.tcp_of(Framing::Flv(framing(Envelope::Chunked, Flavour::Full))).await;
    let outputs: [Arc<dyn ShardWriter>; 2] = [output.clone(), other.clone()];
    let ac3 = made(FrameKind::Audio, 0, b"\x91ac-3data");
    let nothing = stage.batch_of([ac3]);
    assert_eq!(turn(&stage, &outputs, &nothing), [0; 0]);
    assert_eq!(output.lock().queue.written(), 0);
    assert!(other.lock().queue.written() > 0);
    let something = stage.batch_of([audio(20)]);
    assert_eq!(turn(&stage, &outputs, &something), [0; 0], "it is still with the others");
    let form = Form::Flv(Envelope::Chunked, Flavour::Browser);
    let mut got = vec![0; something.bytes(form).len()];
    peer.read_exact(&mut got).await.unwrap();
    assert!(&got == something.bytes(form));
    assert_eq!(output.lock().deliveries[0].frames_sent(), 1);
}

#[test]
fn what_a_form_costs_a_shard_is_bounded() {
    assert!(size_of::<WireBatch>() < 1_500, "{}", size_of::<WireBatch>());
}
