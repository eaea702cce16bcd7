//! The form of MP4: whoever writes it, a player gets the same.

use super::peer::Peer;
use super::*;
use crate::hub::StreamTracks;
use crate::media::FrameKind::{Audio, Video};
use crate::media::elementary::Demuxer;
use crate::media::flv::Codec;
use crate::media::fmp4::reading::{Read, ReadSample, boxes, read};
use crate::media::fmp4::{Mp4Track, mp4_init};
use crate::testing::{AVC_RECORDS, audio, audio_header, avc_header, inter, keyframe, metadata, video_header};
use proptest::prelude::*;
use std::task::{Context, Poll, Waker};

const ENVELOPES: [Envelope; 3] = [Envelope::Plain, Envelope::Chunked, Envelope::WebSocket];

const AVC: &[u8] = AVC_RECORDS[0];
const AVC_LARGE: &[u8] = AVC_RECORDS[1];

fn made(kind: FrameKind, at: i64, parts: &[&[u8]]) -> Frame {
    Frame::new(kind, at, parts.concat().into())
}

fn header(at: i64) -> Frame {
    avc_header(at, AVC)
}

fn large_header(at: i64) -> Frame {
    avc_header(at, AVC_LARGE)
}

/// AAC at 48 kHz.
fn other_audio_header(at: i64) -> Frame {
    made(Audio, at, &[b"\xaf\0\x11\x88"])
}

/// What a stream begins with.
fn start() -> Vec<Frame> {
    vec![header(0), audio_header(0), keyframe(0, 50), audio(0), inter(30, 20)]
}

impl Peer {
    fn of_mp4(stage: &Stage, envelope: Envelope) -> Self {
        Self::of_mp4_with(stage, envelope, Clock::Stream, None)
    }

    fn of_mp4_with(stage: &Stage, envelope: Envelope, clock: Clock, only: Option<FrameKind>) -> Self {
        let subscriber = stage.hub.subscribe(&stage.key, SubscribeOptions::default());
        let tracks = Mp4Tracks::find(&subscriber, &subscriber.tracks(), only).expect("something for MP4");
        let (framing, out) = Mp4Framing::new(envelope, tracks);
        let framing = Framing::Mp4(Box::new(framing));
        let delivery = Delivery::new(1, framing, clock, subscriber, ShardHandle(stage.shard.clone()));
        Self::new(delivery, envelope, &out)
    }

    /// What it has got; of a WebSocket also the texts, which must be there before each init segment, and only there.
    fn read(&self) -> (Vec<Read>, Vec<String>) {
        let messages = self.envelope.messages(&self.out);
        let mut texts = Vec::new();
        let mut pieces = Vec::new();
        for (index, (is_text, content)) in messages.iter().enumerate() {
            if *is_text {
                assert_eq!(boxes(messages[index + 1].1)[0].0, "ftyp");
                texts.push(String::from_utf8(content.to_vec()).unwrap());
                continue;
            }
            let read = read(content);
            if self.envelope == Envelope::WebSocket {
                let inits = read.iter().filter(|piece| matches!(piece, Read::Init(_))).count();
                assert!(inits == 0 || (read.len() == 1 && messages[index - 1].0), "alone, behind a text");
                assert_eq!(boxes(content).len(), 2, "one init segment, or one fragment");
            }
            pieces.extend(read);
        }
        (pieces, texts)
    }

    /// What it has got of one track, and all init segments.
    fn track(&self, kind: FrameKind) -> Vec<Read> {
        let id = if kind == Video { 1 } else { 2 };
        let is_of = |piece: &Read| match piece {
            Read::Init(_) => true,
            Read::Sample(sample) => sample.track == id,
        };
        let mut pieces: Vec<_> = self.read().0.into_iter().filter(is_of).collect();
        // How long a sample lasts depends on where batches end.
        for piece in &mut pieces {
            if let Read::Sample(sample) = piece {
                sample.duration = None;
            }
        }
        pieces
    }

    fn samples(&self) -> Vec<ReadSample> {
        let sample = |piece| match piece {
            Read::Init(_) => None,
            Read::Sample(sample) => Some(sample),
        };
        self.read().0.into_iter().filter_map(sample).collect()
    }

    fn inits(&self) -> Vec<InitAt> {
        let (mut video, mut audio, mut inits) = (0, 0, Vec::new());
        for piece in self.read().0 {
            match piece {
                Read::Init(tracks) => {
                    inits.push((
                        video,
                        audio,
                        tracks.iter().find(|track| track.id == 1).map(|track| track.size),
                    ));
                }
                Read::Sample(sample) if sample.track == 1 => video += 1,
                Read::Sample(_) => audio += 1,
            }
        }
        inits
    }
}

/// Samples of video and of audio before an init segment, and the size of the pictures that it tells.
type InitAt = (usize, usize, Option<(u16, u16)>);

/// Publishes the frames, so many at a time.
fn publish(stage: &mut Stage, frames: &[Frame], batch: &mut WireBatch) {
    frames.iter().for_each(|frame| stage.publisher.push(frame.clone()).unwrap());
    assert!(stage.feed.take(stage.feed.edge(), usize::MAX, &mut batch.batch));
    batch.begin();
}

/// Publishes the frames after [`start`], to a player that shares what it can and to one that shares nothing; the two.
fn play(batches: &[Vec<Frame>], envelope: Envelope) -> (Peer, Peer) {
    let mut stage = Stage::new();
    let mut batch = WireBatch::default();
    publish(&mut stage, &start(), &mut batch);
    let (mut sharing, mut single) = (Peer::of_mp4(&stage, envelope), Peer::of_mp4(&stage, envelope));
    sharing.take_singly();
    single.take_singly();
    for frames in batches {
        publish(&mut stage, frames, &mut batch);
        sharing.take(&batch);
        single.take_singly();
    }
    assert_eq!(single.shared, 0);
    assert_eq!(sharing.delivery.frames_sent(), single.delivery.frames_sent());
    (sharing, single)
}

/// A frame of any sort.
fn frame(sort: u8, at: i64) -> Frame {
    let made = |kind, payload: &[u8]| made(kind, at, &[payload]);
    match sort {
        0..=2 => inter(at, 20),
        3 => keyframe(at, 50),
        4..=6 => audio(at),
        7 => header(at),
        8 => large_header(at),
        9 => audio_header(at),
        10 => other_audio_header(at),
        11 => metadata(at, 3),
        12 => made(FrameKind::Data, b"\x02\x00\x0aonCuePoint\x05"),
        // The same record in another form.
        13 => made(Video, &[b"\x90avc1", AVC].concat()),
        14 => made(Video, b"\x91avc1\0\0\x28data!"),
        15 => made(Video, b"\xa3hvc1data!"),
        16 => made(Video, b"\x96\x01avc1\x03data!"),
        17 => made(Video, b"\x96\x11avc1\x00\0\0\x08\0\0\0aaaaa\x01\0\0\x04\0\0\0b"),
        18 => made(Audio, b"\x2f\xff\xfb\x94\x64mp3"),
        19 => made(Audio, b"\x2f\xff\xf3\x90\xc4other mp3"),
        // Half a record.
        20 => video_header(at),
        21 => made(Audio, b"\x91Opus\xfcdata"),
        22 => made(Audio, b"\xb2speex"),
        23 => made(Video, b"\x57\0"),
        24 => made(Audio, b"\x97\x02\x07\xa1\x20\x01mp4adata"),
        25 => made(Video, b"\x17\x01\0\0\0\0\0\0\0"),
        26 => made(Audio, b"\xaf\0"),
        _ => made(Audio, b"\x95\x01Opus\x02data"),
    }
}

/// Frames in their order, cut into batches.
fn batches(sorts: &[(u8, i64, bool)]) -> Vec<Vec<Frame>> {
    let (mut batches, mut at) = (vec![vec![]], 40);
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

/// What a track is, as far as that goes into an init segment: codec, and its record or what its frames say.
type Sort = (Codec, Vec<u8>);

/// What a player has to get, by other ways than ours: samples by kind, and how many init segments.
#[derive(Default)]
struct Expected {
    demuxer: Demuxer,
    now: [Option<Sort>; 2],
    told: [Option<Sort>; 2],
    samples: [Vec<ReadSample>; 2],
    inits: usize,
}

impl Expected {
    fn push(&mut self, frame: &Frame) {
        if frame.kind == FrameKind::Data {
            return;
        }
        let kind = frame.kind as usize;
        for sample in self.demuxer.push(frame).unwrap().into_iter().filter(|sample| sample.track == 0) {
            let is_mp3 = sample.codec == Codec::Mp3;
            let has_form = sample.codec != Codec::Speex;
            if sample.config || is_mp3 {
                // Rate and channels, in the third and fourth byte; the bit rate does not count.
                let of_mp3 = |data: &[u8]| vec![data[1], data[2] & 0x0c, data[3] & 0xc0];
                let told = if is_mp3 { of_mp3(&sample.data) } else { sample.data.to_vec() };
                let track = Mp4Track::new(1, sample.codec, sample.data.clone(), 1_000);
                let is_valid = has_form && mp4_init(&[track]).is_ok();
                self.now[kind] = is_valid.then_some((sample.codec, told));
            }
            if sample.config || frame.payload[..] == *b"\x17\x01\0\0\0\0\0\0\0" {
                continue;
            }
            if !has_form {
                continue;
            }
            if self.now[kind].as_ref().is_some_and(|(codec, _)| *codec != sample.codec) {
                self.now[kind] = None;
            }
            let Some(now) = &self.now[kind] else { continue };
            if self.told[kind].as_ref() != Some(now) {
                self.inits += 1;
                // It tells of both.
                for (told, now) in self.told.iter_mut().zip(&self.now) {
                    *told = now.clone().or(told.take());
                }
            }
            let per_ms = if frame.kind == Video { 90 } else { 28_224 };
            let ticks = |nanos: i64| i128::from(nanos) * i128::from(per_ms) / 1_000_000;
            let (shown, decoded) = (ticks(sample.pts_ns), ticks(sample.dts_ns.unwrap()));
            self.samples[kind].push(ReadSample {
                track: if frame.kind == Video { 1 } else { 2 },
                time: decoded.try_into().unwrap(),
                composition: (shown - decoded).try_into().unwrap(),
                is_sync: frame.kind == Audio || frame.flags.keyframe || frame.flags.recovery,
                duration: None,
                data: sample.data.to_vec(),
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_player_gets_every_frame_once_at_its_time_and_init_segments_where_they_are_needed(
        sorts in prop::collection::vec((0..28_u8, 0..8_i64, any::<bool>()), 1..80), envelope in 0..3_usize
    ) {
        let batches = batches(&sorts);
        let (sharing, single) = play(&batches, ENVELOPES[envelope]);
        let mut expected = Expected::default();
        let mut stage = Stage::new();
        let mut stored = WireBatch::default();
        for frames in [start()].iter().chain(&batches) {
            publish(&mut stage, frames, &mut stored);
            stored.batch.frames.iter().for_each(|frame| expected.push(frame));
        }
        for kind in [Audio, Video] {
            prop_assert_eq!(sharing.track(kind), single.track(kind));
            let samples = |piece| match piece { Read::Sample(sample) => Some(sample), Read::Init(_) => None };
            let got: Vec<_> = single.track(kind).into_iter().filter_map(samples).collect();
            prop_assert_eq!(&got, &expected.samples[kind as usize]);
        }
        prop_assert_eq!(single.inits().len(), expected.inits);
        let (pieces, texts) = sharing.read();
        prop_assert!(matches!(pieces[0], Read::Init(_)));
        prop_assert_eq!(texts.len(), if ENVELOPES[envelope] == Envelope::WebSocket { expected.inits } else { 0 });
    }
}

#[test]
fn what_is_usual_is_shared_and_what_changes_decoding_is_told_before_its_first_frame() {
    let usual = |at| vec![keyframe(at, 50), audio(at), inter(at + 30, 20)];
    let all = [
        usual(60),
        vec![header(120), audio_header(120), keyframe(120, 50), audio(120)],
        vec![large_header(150)],
        vec![audio(150), audio(160)],
        vec![keyframe(180, 50)],
        usual(210),
        vec![other_audio_header(270), inter(270, 20), audio(270), inter(300, 20)],
        usual(330),
    ];
    for envelope in ENVELOPES {
        let (sharing, single) = play(&all, envelope);
        assert_eq!(
            sharing.shared, 4,
            "a repeated configuration is shared, and so is what follows one that has been told"
        );
        let (small, large) = (Some((640, 360)), Some((1_278, 718)));
        let expected = [(0, 0, small), (5, 5, large), (9, 6, large)];
        assert_eq!((sharing.inits(), single.inits()), (expected.to_vec(), expected.to_vec()));
        let texts = sharing.read().1;
        let name = |video| format!(r#"{{"type":"video/mp4; codecs=\"{video},mp4a.40.2\""}}"#);
        match envelope {
            Envelope::WebSocket => {
                assert_eq!(texts, [name("avc1.42c01e"), name("avc1.7a001f"), name("avc1.7a001f")]);
            }
            _ => assert_eq!(texts, [""; 0]),
        }
    }
}

#[test]
fn samples_of_a_batch_last_until_the_next_one_and_the_last_ones_as_their_tracks_say() {
    let batch = vec![inter(60, 20), audio(60), audio(83), inter(93, 20), audio(106)];
    let (sharing, single) = play(&[batch], Envelope::Plain);
    let durations = |peer: &Peer| {
        let last: Vec<_> = peer.samples().into_iter().skip(3).collect();
        last.into_iter().map(|sample| (sample.track, sample.duration)).collect::<Vec<_>>()
    };
    let ms = |ms: u32| Some(ms * 28_224);
    assert_eq!(durations(&sharing), [(1, Some(33 * 90)), (1, None), (2, ms(23)), (2, ms(23)), (2, None)]);
    assert_eq!(durations(&single), [(1, None), (2, None), (2, None), (1, None), (2, None)]);
    let Read::Init(tracks) = &sharing.read().0[0] else { panic!("an init segment") };
    let tracks: Vec<_> = tracks.iter().map(|track| (track.timescale, track.default_duration)).collect();
    assert_eq!(tracks, [(90_000, 90_000), (28_224_000, 655_360)]);
}

#[test]
fn times_from_zero_and_one_kind_only_are_for_one_player_alone() {
    let mut stage = Stage::new();
    let mut batch = WireBatch::default();
    let at = 5_000;
    let frames = [header(at), audio_header(at), keyframe(at, 50), audio(at + 10), inter(at + 40, 20)];
    publish(&mut stage, &frames, &mut batch);
    let times = |peer: &Peer| {
        let per_ms = |track| if track == 1 { 90 } else { 28_224 };
        peer.samples().iter().map(|sample| sample.time / per_ms(sample.track)).collect::<Vec<_>>()
    };
    for (clock, only, expected) in [
        (Clock::FromZero, None, vec![0, 10, 40]),
        (Clock::Stream, Some(Video), vec![5_000, 5_040]),
        (Clock::Stream, Some(Audio), vec![5_010]),
    ] {
        let mut peer = Peer::of_mp4_with(&stage, Envelope::Plain, clock, only);
        peer.take_singly();
        assert_eq!((peer.delivery.shared_form(), peer.delivery.late_kind()), (None, None));
        assert_eq!(times(&peer), expected);
        let Read::Init(tracks) = &peer.read().0[0] else { panic!("an init segment") };
        assert_eq!(tracks.len(), if only.is_some() { 1 } else { 2 });
    }
}

#[test]
fn a_kind_that_comes_late_is_left_out_and_told() {
    let mut stage = Stage::new();
    let mut batch = WireBatch::default();
    publish(&mut stage, &[header(0), keyframe(0, 50)], &mut batch);
    let mut peer = Peer::of_mp4(&stage, Envelope::Plain);
    peer.take_singly();
    for (frames, late) in [
        (vec![made(Audio, 0, &[b"\xb2speex"]), inter(40, 20)], None),
        // Nobody knows how it is to be decoded.
        (vec![audio(40), inter(80, 20)], None),
        (vec![audio_header(80), inter(120, 20)], None),
        (vec![audio(120), inter(160, 20)], Some(Audio)),
        (vec![audio(160), inter(200, 20)], Some(Audio)),
    ] {
        publish(&mut stage, &frames, &mut batch);
        peer.take(&batch);
        assert_eq!(peer.delivery.late_kind(), late);
        assert_eq!(peer.delivery.shared_form().is_some(), late.is_none());
    }
    assert!(peer.samples().iter().all(|sample| sample.track == 1));
    assert_eq!((peer.samples().len(), peer.shared), (6, 1));
}

/// Of a stream with these frames: the entries of the tracks that a player gets.
fn found(frames: &[Frame], tracks: StreamTracks, start: crate::StartAt) -> Option<Vec<String>> {
    let stage = Stage::new();
    frames.iter().for_each(|frame| stage.publisher.push(frame.clone()).unwrap());
    let options = SubscribeOptions { start, ..SubscribeOptions::default() };
    let subscriber = stage.hub.subscribe(&stage.key, options);
    let tracks = Mp4Tracks::find(&subscriber, &tracks, None)?;
    let (_, out) = Mp4Framing::new(Envelope::Plain, tracks);
    let Read::Init(tracks) = &read(&out)[0] else { panic!("an init segment") };
    Some(tracks.iter().map(|track| track.entry.clone()).collect())
}

#[test]
fn a_player_gets_the_tracks_of_which_it_is_known_how_they_are_decoded() {
    use crate::StartAt::{Keyframe, LiveEdge};
    let track = |codec, is_enhanced| Some(crate::hub::TrackCodec { codec, is_enhanced });
    let (h264, aac, mp3) = (track(Codec::H264, false), track(Codec::Aac, false), track(Codec::Mp3, false));
    let both = StreamTracks { video: h264, audio: aac, are_settled: true };
    let with_mp3 = StreamTracks { audio: mp3, ..both };
    let mp3_frame = made(Audio, 5, &[b"\x2f\xff\xfb\x94\x64mp3"]);
    let mp3_stream = [header(0), keyframe(0, 50), mp3_frame.clone(), inter(30, 20)];
    let names = |names: &[&str]| Some(names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
    for start_at in [Keyframe, LiveEdge] {
        assert_eq!(found(&start(), both, start_at), names(&["avc1", "mp4a"]));
        assert_eq!(found(&mp3_stream, with_mp3, start_at), names(&["avc1", "mp4a"]), "{start_at:?}");
        let no_header = [header(0), keyframe(0, 50), audio(0)];
        assert_eq!(found(&no_header, both, start_at), names(&["avc1"]));
        let half = [video_header(0), audio_header(0), keyframe(0, 50), audio(0)];
        assert_eq!(found(&half, both, start_at), names(&["mp4a"]));
        let speex = StreamTracks { video: None, audio: track(Codec::Speex, false), are_settled: true };
        assert_eq!(found(&[made(Audio, 0, &[b"\xb2speex"])], speex, start_at), None);
        assert_eq!(
            found(&start(), StreamTracks { video: track(Codec::Vp8, true), audio: None, ..both }, start_at),
            None
        );
    }
}

#[tokio::test]
async fn outputs_of_mp4_share_a_batch_with_those_of_other_forms() {
    let mut stage = Stage::new();
    let mut batch = WireBatch::default();
    publish(&mut stage, &start(), &mut batch);
    let mut outputs: Vec<Arc<dyn ShardWriter>> = Vec::new();
    let mut peers = Vec::new();
    for envelope in [None, Some(Envelope::Plain), Some(Envelope::Chunked), Some(Envelope::WebSocket)] {
        let (ours, theirs) = duplex(1 << 20);
        let output = Arc::new(ConnectionOutput::new(split(ours).1));
        let delivery = match envelope {
            None => stage.delivery(Framing::Rtmp(RtmpFraming::player(1)), Clock::Stream),
            Some(envelope) => Peer::of_mp4(&stage, envelope).delivery,
        };
        output.lock().deliveries.push(delivery);
        output.lock().fill(0, usize::MAX).unwrap();
        let mut waits = Context::from_waker(Waker::noop());
        assert!(matches!(output.lock().poll_write(&mut waits), Poll::Ready(Ok(()))));
        output.hand_over();
        peers.push((theirs, output.lock().queue.written(), envelope.map_or(Form::Rtmp, Form::Mp4)));
        outputs.push(output);
    }
    let batch = stage.batch_of([inter(60, 200), audio(60)]);
    assert_eq!(turn(&stage, &outputs, &batch), [0; 0]);
    for (mut peer, before, form) in peers {
        let expected = batch.bytes(form);
        let mut got = vec![0; before as usize + expected.len()];
        peer.read_exact(&mut got).await.unwrap();
        assert!(got.ends_with(expected), "{form:?}");
    }
    let made = batch.forms.iter().filter(|form| form.get().is_some()).count();
    assert_eq!(made, 4, "nobody pays for what nobody wants");
}
