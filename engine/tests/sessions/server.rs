//! The server session against hand-made peers.

use crate::peer::{Sent, Server, command, connect, number, object, status, text};
use streamengine_core::Limits;
use streamengine_core::media::FrameKind;
use streamengine_core::proto::ProtocolErrorKind;
use streamengine_core::proto::amf0::Amf0Value;
use streamengine_core::proto::message::{Command, Control, Decoded, encode_command};
use streamengine_core::proto::server::{Phase, Play, Publish, Rejection, ServerEvent, ServerSession};

fn rejection() -> Rejection {
    Rejection { code: "NetStream.Publish.BadName", description: "the name is taken".to_owned() }
}

fn media(kind: FrameKind, timestamp: i64, payload: &'static [u8]) -> ServerEvent {
    ServerEvent::Media { stream_id: 1, kind, timestamp, payload: payload.into() }
}

fn publish(stream_id: u32, name: &str) -> ServerEvent {
    ServerEvent::Publish(Publish { stream_id, name: name.to_owned() })
}

// connect

#[test]
fn connect_hands_over_the_whole_object_and_all_arguments() {
    let mut server = Server::new();
    let mut sent = connect([
        ("tcUrl", text("rtmp://host/live?token=1")),
        ("capsEx", number(3.0)),
        ("custom", object([("deep", Amf0Value::Boolean(true))])),
    ]);
    sent.arguments = vec![text("user"), text("password")];
    let events = server.feed_command(&sent);
    let [ServerEvent::Connect(connect)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(connect.app, "live");
    assert_eq!(Amf0Value::Object(connect.object.clone()), sent.object);
    assert_eq!(connect.arguments, sent.arguments);
    assert!(server.session.is_waiting());
    assert!(server.session.output().is_empty(), "nothing is sent before the verdict");
}

#[test]
fn connect_reply_comes_after_the_control_messages_on_their_own_chunk_stream() {
    let mut server = Server::new();
    server.feed_command(&connect([("objectEncoding", number(3.0))]));
    server.session.accept();
    let sent = server.sent();
    let names: Vec<_> = sent.iter().map(|sent| (sent.csid, sent.name())).collect();
    let expected = [(2, "WindowAckSize"), (2, "PeerBandwidth"), (2, "SetChunkSize"), (3, "_result")];
    assert_eq!(names, expected.map(|(csid, name)| (csid, name.to_owned())));
    let reply = &sent[3];
    assert_eq!(reply.command().transaction, 1.0);
    assert_eq!(
        reply.command().object,
        object([("fmsVer", text("FMS/3,0,1,123")), ("capabilities", number(31.0))])
    );
    assert_eq!(reply.code(), "NetConnection.Connect.Success");
    assert_eq!(reply.info()["objectEncoding"], number(3.0));
}

#[test]
fn connect_with_any_enhanced_rtmp_key_is_answered_with_all_of_them() {
    for key in ["capsEx", "fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap"] {
        let mut server = Server::new();
        server.feed_command(&connect([(key, Amf0Value::Null)]));
        server.session.accept();
        let sent = server.sent();
        let Amf0Value::Object(reply) = &sent[3].command().object else { panic!() };
        let any = object([("*", number(4.0))]);
        assert_eq!(reply["capsEx"], number(15.0));
        assert_eq!(reply["fourCcList"], Amf0Value::StrictArray(vec![text("*")]));
        assert_eq!((&reply["videoFourCcInfoMap"], &reply["audioFourCcInfoMap"]), (&any, &any));
    }
}

#[test]
fn connect_survives_dates_long_strings_and_typed_objects() {
    let mut server = Server::new();
    let mut body = b"\x02\x00\x07connect\x00\x3f\xf0\0\0\0\0\0\0\x03\x00\x03app\x02\x00\x04live".to_vec();
    body.extend_from_slice(b"\x00\x01d\x0b\x40\x8f\x40\0\0\0\0\0\0\0");
    body.extend_from_slice(b"\x00\x01l\x0c\0\0\0\x02hi\x00\x01t\x10\x00\x01T\x00\x00\x09\x00\x00\x09");
    let bytes = server.writer.message(3, 20, 0, 0, &body);
    let events = server.feed(&bytes);
    let [ServerEvent::Connect(connect)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&connect.object["d"], &connect.object["l"]), (&number(1000.0), &text("hi")));
    assert_eq!(connect.object["t"], object([]));
}

#[test]
fn connect_nested_too_deep_closes_with_a_command_error() {
    let mut server = Server::new();
    let mut body = b"\x02\x00\x07connect\x00\x3f\xf0\0\0\0\0\0\0".to_vec();
    body.extend(b"\x03\x00\x01a".repeat(10_000));
    let bytes = server.writer.message(3, 20, 0, 0, &body);
    assert_eq!(server.feed_error(&bytes).kind, ProtocolErrorKind::Command);
    assert!(server.session.is_closing());
}

#[test]
fn hops_are_read_up_to_sixteen_and_a_malformed_list_counts_as_none() {
    let hops = |value| {
        let mut server = Server::new();
        match &server.feed_command(&connect([("streamengineHops", value)]))[..] {
            [ServerEvent::Connect(connect)] => connect.hops.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hops(text("a-1,B2")), ["a-1", "B2"]);
    assert_eq!(hops(text(&["x"; 40].join(","))).len(), 16);
    assert_eq!(hops(text(&"y".repeat(36))).len(), 1);
    for bad in ["", "a,", "a b", "a,,b", "ä", &"y".repeat(37)] {
        assert!(hops(text(bad)).is_empty(), "{bad:?}");
    }
    assert!(hops(number(1.0)).is_empty());
}

#[test]
fn refused_connect_is_an_error_with_a_description_and_closes() {
    let mut server = Server::new();
    server.feed_command(&connect([]));
    let description = "there is no app of this name; known are: ".repeat(5);
    let code = "NetConnection.Connect.Rejected";
    server.session.reject(&Rejection { code, description: description.clone() });
    let sent = server.sent();
    let refusal = sent.last().expect("a reply");
    assert_eq!((refusal.csid, refusal.name().as_str()), (3, "_error"));
    assert_eq!(refusal.command().transaction, 1.0);
    assert_eq!(refusal.command().arguments, [status("error", code, &description)]);
    assert!(server.session.is_closing() && !server.session.is_waiting());
    assert_eq!(server.feed_command(&command("createStream", 2.0, &[])), []);
    assert!(server.session.output().is_empty(), "no output after the refusal");
    assert!(server.session.input().is_empty(), "input is not kept");
}

#[test]
fn second_connect_is_a_state_error() {
    let mut server = Server::connected();
    let again = server.writer.command(&connect([]));
    assert_eq!(server.feed_error(&again).kind, ProtocolErrorKind::State);
}

#[test]
fn publish_before_connect_is_a_state_error() {
    let mut server = Server::new();
    let early = server.writer.stream_command(1, &command("publish", 2.0, &[text("cam")]));
    let error = server.feed_error(&early);
    assert_eq!(error.kind, ProtocolErrorKind::State);
    assert_eq!(error.position, 3073 + early.len() as u64);
}

// publish

#[test]
fn publish_goes_from_formalities_to_media_to_its_end() {
    let mut server = Server::connected();
    assert_eq!(server.session.phase(), Phase::Command);
    server.feed_command(&command("releaseStream", 2.0, &[text("cam")]));
    server.feed_command(&command("FCPublish", 3.0, &[text("cam")]));
    server.feed_command(&command("createStream", 4.0, &[]));
    let sent = server.sent();
    let names: Vec<_> = sent.iter().map(Sent::name).collect();
    assert_eq!(names, ["_result", "_result", "onFCPublish", "_result"]);
    assert_eq!(sent[2].info()["code"], text("NetStream.Publish.Start"));
    assert_eq!(sent[2].info()["description"], text("cam"));

    let events = server.feed_stream_command(1, &command("publish", 5.0, &[text("cam"), text("live")]));
    assert_eq!(events, [publish(1, "cam")]);
    server.session.accept();
    assert_eq!(server.session.phase(), Phase::Granted);
    let sent = server.sent();
    assert_eq!((sent[0].csid, sent[0].stream_id, sent[0].name().as_str()), (2, 0, "StreamBegin"));
    assert_eq!((sent[1].csid, sent[1].stream_id), (5, 1));
    assert_eq!((sent[1].field("level"), sent[1].code()), ("status".into(), "NetStream.Publish.Start".into()));

    let video = server.writer.message(6, 9, 1, 40, b"\x17\x01frame");
    assert_eq!(server.feed(&video), [media(FrameKind::Video, 40, b"\x17\x01frame")]);
    let events = server.feed_command(&command("FCUnpublish", 6.0, &[text("cam")]));
    assert_eq!(events, [ServerEvent::Unpublish { stream_id: 1 }]);
    assert_eq!(server.sent_names(), ["_result", "onFCUnpublish", "NetStream.Unpublish.Success"]);
    assert_eq!(server.feed_command(&command("deleteStream", 7.0, &[number(1.0)])), []);
}

#[test]
fn publish_type_may_be_missing_null_or_in_capitals() {
    let name = text("cam");
    for arguments in [
        vec![name.clone()],
        vec![name.clone(), Amf0Value::Null],
        vec![name.clone(), text("LIVE")],
        vec![name.clone(), text("record")],
        vec![name.clone(), text("append"), number(0.0)],
    ] {
        let mut server = Server::with_stream();
        let events = server.feed_stream_command(1, &command("publish", 3.0, &arguments));
        assert_eq!(events, [publish(1, "cam")]);
    }
}

#[test]
fn names_are_handed_over_as_sent() {
    let mut server = Server::with_stream();
    let name = "cam/../x?token=%2e&a=b";
    assert_eq!(server.feed_stream_command(1, &command("publish", 3.0, &[text(name)])), [publish(1, name)]);
}

#[test]
fn refused_publish_is_a_status_error_on_its_stream_and_closes() {
    let mut server = Server::with_stream();
    server.feed_stream_command(1, &command("publish", 3.0, &[text("cam")]));
    server.session.reject(&rejection());
    let sent = server.sent();
    assert_eq!((sent.len(), sent[0].csid, sent[0].stream_id), (1, 5, 1));
    let expected = status("error", "NetStream.Publish.BadName", "the name is taken");
    assert_eq!(sent[0].command(), &command("onStatus", 0.0, &[expected]));
    assert!(server.session.is_closing());
    assert_eq!(server.session.phase(), Phase::Command);
}

#[test]
fn headers_behind_publish_in_one_segment_are_not_lost() {
    let mut server = Server::with_stream();
    let mut bytes = server.writer.stream_command(1, &command("publish", 3.0, &[text("cam")]));
    bytes.extend(server.writer.message(4, 8, 1, 0, b"\xaf\x00cfg"));
    bytes.extend(server.writer.message(6, 9, 1, 0, b"\x17\x00cfg"));
    assert_eq!(server.feed(&bytes), [publish(1, "cam")]);
    assert_eq!(server.events(), [], "nothing before the verdict");
    server.session.accept();
    let headers = [media(FrameKind::Audio, 0, b"\xaf\x00cfg"), media(FrameKind::Video, 0, b"\x17\x00cfg")];
    assert_eq!(server.events(), headers);
}

#[test]
fn connect_create_stream_and_play_in_one_segment_work() {
    let mut server = Server::new();
    let mut bytes = server.writer.command(&connect([]));
    bytes.extend(server.writer.command(&command("createStream", 2.0, &[])));
    bytes.extend(server.writer.stream_command(1, &command("play", 3.0, &[text("cam")])));
    assert!(matches!(&server.feed(&bytes)[..], [ServerEvent::Connect(_)]));
    server.session.accept();
    let play = Play { stream_id: 1, name: "cam".to_owned(), start: -2.0 };
    assert_eq!(server.events(), [ServerEvent::Play(play)]);
    server.session.accept();
    assert_eq!(server.events(), []);
    let names = server.sent_names();
    assert_eq!(names[3..5], ["_result", "_result"]);
    assert_eq!(names.last().map(String::as_str), Some("NetStream.Play.Start"));
}

#[test]
fn accept_and_reject_without_a_request_do_nothing() {
    let mut server = Server::connected();
    server.session.accept();
    server.session.reject(&rejection());
    assert!(server.session.output().is_empty() && !server.session.is_closing());
}

#[test]
fn media_without_an_accepted_publish_is_ignored() {
    let mut server = Server::with_stream();
    for stream_id in [0, 1, 7] {
        let frame = server.writer.message(6, 9, stream_id, 0, b"\x17\x01x");
        assert_eq!(server.feed(&frame), []);
    }
    let mut server = Server::playing();
    let frame = server.writer.message(6, 9, 1, 0, b"\x17\x01x");
    assert_eq!(server.feed(&frame), []);
}

#[test]
fn metadata_is_handed_over_byte_for_byte_without_set_data_frame() {
    let mut server = Server::publishing();
    let body: &[u8] =
        b"\x02\x00\x0aonMetaData\x08\0\0\0\x02\x00\x07unknown\x0b\x40\x8f\x40\0\0\0\0\0\0\0\x00\x00\x09";
    let wrapped = [b"\x02\x00\x0d@setDataFrame", body].concat();
    for sent in [wrapped.as_slice(), body] {
        let bytes = server.writer.message(4, 18, 1, 0, sent);
        assert_eq!(server.feed(&bytes), [media(FrameKind::Data, 0, body.to_vec().leak())]);
    }
    let amf3 = server.writer.message(4, 15, 1, 0, &[&[0], wrapped.as_slice()].concat());
    assert_eq!(server.feed(&amf3), [media(FrameKind::Data, 0, body.to_vec().leak())]);
    let empty = server.writer.message(4, 18, 1, 0, b"\x02\x00\x0d@setDataFrame");
    assert_eq!(server.feed(&empty), [], "nothing is left of it");
    let one = server.writer.message(4, 18, 1, 0, b"\x02\x00\x0d@setDataFrame\x02\x00\x01x");
    assert_eq!(server.feed(&one), [media(FrameKind::Data, 0, b"\x02\x00\x01x")]);
}

#[test]
fn timestamps_go_on_past_the_32_bit_wrap_for_each_stream_by_itself() {
    let mut server = Server::publishing();
    server.feed_command(&command("createStream", 4.0, &[]));
    server.feed_stream_command(2, &command("publish", 5.0, &[text("other")]));
    server.session.accept();
    let mut times = Vec::new();
    for (stream_id, time) in [(1, 0xFFFF_FFF0_u32), (2, 5), (1, 16), (2, 45), (1, 56)] {
        let mut bytes = vec![0x06, 0xFF, 0xFF, 0xFF, 0, 0, 1, 9];
        bytes.extend_from_slice(&u32::to_le_bytes(stream_id));
        bytes.extend_from_slice(&time.to_be_bytes());
        bytes.push(0x17);
        for event in server.feed(&bytes) {
            let ServerEvent::Media { timestamp, .. } = event else { panic!("{event:?}") };
            times.push(timestamp);
        }
    }
    assert_eq!(times, [0xFFFF_FFF0, 5, 0x1_0000_0010, 45, 0x1_0000_0038]);
}

#[test]
fn f09_aggregates_are_split_into_media_of_the_aggregates_stream() {
    let mut server = Server::publishing();
    let part = |type_id: u8, time: u8, body: &[u8]| {
        let mut tag = vec![type_id, 0, 0, body.len() as u8, 0, 0, time, 0, 0, 0, 0];
        tag.extend_from_slice(body);
        tag.extend_from_slice(&(11 + body.len() as u32).to_be_bytes());
        tag
    };
    let command = encode_command(&command("publish", 1.0, &[text("evil")]));
    let body = [part(8, 10, b"\xaf\x01a"), part(20, 12, &command), part(9, 30, b"\x27\x01v")].concat();
    let bytes = server.writer.message(6, 22, 1, 1000, &body);
    let expected = [media(FrameKind::Audio, 1000, b"\xaf\x01a"), media(FrameKind::Video, 1020, b"\x27\x01v")];
    assert_eq!(server.feed(&bytes), expected, "commands in an aggregate are ignored");
}

#[test]
fn end_publish_tells_the_encoder_and_stops_its_media() {
    let mut server = Server::publishing();
    server.session.end_publish(1, &rejection());
    server.session.end_publish(1, &rejection());
    server.session.end_publish(9, &rejection());
    assert_eq!(server.sent_names(), ["NetStream.Publish.BadName"]);
    let frame = server.writer.message(6, 9, 1, 0, b"\x17\x01x");
    assert_eq!(server.feed(&frame), []);
    assert_eq!(server.feed_command(&command("deleteStream", 7.0, &[number(1.0)])), []);
    assert!(!server.session.is_closing());
}

// play

#[test]
fn play_is_answered_with_begin_reset_and_start_in_this_order() {
    let mut server = Server::with_stream();
    let arguments = [text("cam?t=1"), number(-2000.0), number(-1.0), Amf0Value::Boolean(true)];
    let events = server.feed_stream_command(1, &command("play", 3.0, &arguments));
    let play = Play { stream_id: 1, name: "cam?t=1".to_owned(), start: -2.0 };
    assert_eq!(events, [ServerEvent::Play(play)]);
    server.session.accept();
    let sent: Vec<_> = server.sent().iter().map(|sent| (sent.csid, sent.stream_id, sent.name())).collect();
    let expected = [(2, 0, "StreamBegin"), (5, 1, "NetStream.Play.Reset"), (5, 1, "NetStream.Play.Start")];
    assert_eq!(sent, expected.map(|(csid, id, name)| (csid, id, name.to_owned())));
    assert_eq!(server.session.phase(), Phase::Granted);
}

#[test]
fn play_without_reset_is_not_answered_with_reset() {
    for reset in [Amf0Value::Boolean(false), number(0.0)] {
        let mut server = Server::with_stream();
        let arguments = [text("cam"), number(-1000.0), number(-1.0), reset];
        server.feed_stream_command(1, &command("play", 3.0, &arguments));
        server.session.accept();
        assert_eq!(server.sent_names(), ["StreamBegin", "NetStream.Play.Start"]);
    }
}

#[test]
fn play_start_is_in_seconds_whether_sent_in_seconds_or_milliseconds() {
    for (sent, start) in
        [(-2000.0, -2.0), (-1000.0, -1.0), (-2.0, -2.0), (-1.0, -1.0), (0.0, 0.0), (5000.0, 5.0)]
    {
        let mut server = Server::with_stream();
        let events = server.feed_stream_command(1, &command("play", 3.0, &[text("cam"), number(sent)]));
        assert_eq!(events, [ServerEvent::Play(Play { stream_id: 1, name: "cam".to_owned(), start })]);
    }
}

#[test]
fn refused_play_is_a_status_error_on_its_stream_and_closes() {
    let mut server = Server::with_stream();
    server.feed_stream_command(1, &command("play", 3.0, &[text("cam")]));
    let code = "NetStream.Play.StreamNotFound";
    server.session.reject(&Rejection { code, description: "no such stream".to_owned() });
    let sent = server.sent();
    assert_eq!((sent.len(), sent[0].stream_id, sent[0].field("level")), (1, 1, "error".to_owned()));
    assert_eq!(
        (sent[0].code(), sent[0].field("description")),
        (code.to_owned(), "no such stream".to_owned())
    );
    assert!(server.session.is_closing());
}

#[test]
fn end_play_says_it_in_all_ways_that_players_know() {
    let mut server = Server::playing();
    server.session.end_play(1, "the publisher has left");
    server.session.end_play(1, "again");
    let sent: Vec<_> = server.sent().iter().map(|sent| (sent.csid, sent.stream_id, sent.name())).collect();
    let expected =
        [(5, 1, "NetStream.Play.UnpublishNotify"), (5, 1, "NetStream.Play.Stop"), (2, 0, "StreamEof")];
    assert_eq!(sent, expected.map(|(csid, id, name)| (csid, id, name.to_owned())));
}

#[test]
fn pause_and_receive_become_events_of_a_playing_stream() {
    let mut server = Server::playing();
    let (yes, no) = (Amf0Value::Boolean(true), Amf0Value::Boolean(false));
    let events = server.feed_stream_command(1, &command("pause", 4.0, &[yes.clone(), number(100.0)]));
    assert_eq!(events, [ServerEvent::Pause { stream_id: 1, paused: true }]);
    let events = server.feed_stream_command(1, &command("pause", 5.0, &[no.clone(), number(100.0)]));
    assert_eq!(events, [ServerEvent::Pause { stream_id: 1, paused: false }]);
    assert_eq!(server.sent_names(), ["NetStream.Pause.Notify", "NetStream.Unpause.Notify"]);
    let events = server.feed_stream_command(1, &command("receiveAudio", 0.0, &[no]));
    assert_eq!(events, [ServerEvent::Receive { stream_id: 1, kind: FrameKind::Audio, wanted: false }]);
    let events = server.feed_stream_command(1, &command("receiveVideo", 0.0, &[yes]));
    assert_eq!(events, [ServerEvent::Receive { stream_id: 1, kind: FrameKind::Video, wanted: true }]);
    for name in ["pause", "receiveAudio", "receiveVideo"] {
        assert_eq!(server.feed_stream_command(5, &command(name, 0.0, &[Amf0Value::Boolean(true)])), []);
    }
}

#[test]
fn seek_and_play2_are_answered_with_a_status() {
    let mut server = Server::playing();
    server.feed_stream_command(1, &command("seek", 0.0, &[number(5000.0)]));
    server.feed_stream_command(1, &command("play2", 0.0, &[object([("streamName", text("b"))])]));
    assert_eq!(server.sent_names(), ["NetStream.Seek.Notify", "NetStream.Play.Failed"]);
}

#[test]
fn second_play_on_a_stream_ends_the_first() {
    let mut server = Server::playing();
    let bytes = server.writer.stream_command(1, &command("play", 4.0, &[text("b")]));
    server.session.input().extend_from_slice(&bytes);
    assert_eq!(server.session.poll(), Ok(Some(ServerEvent::StopPlay { stream_id: 1 })));
    assert!(!server.session.is_waiting(), "the request has not been handed over yet");
    let play = Play { stream_id: 1, name: "b".to_owned(), start: -2.0 };
    assert_eq!(server.events(), [ServerEvent::Play(play)]);
    assert!(server.session.is_waiting());
}

// streams of one connection

#[test]
fn one_connection_publishes_and_plays_on_several_streams() {
    let mut server = Server::publishing();
    server.feed_command(&command("createStream", 4.0, &[]));
    let events = server.feed_stream_command(2, &command("play", 5.0, &[text("other")]));
    assert_eq!(events, [ServerEvent::Play(Play { stream_id: 2, name: "other".to_owned(), start: -2.0 })]);
    server.session.accept();
    let frame = server.writer.message(6, 9, 1, 0, b"\x17\x01x");
    assert_eq!(server.feed(&frame), [media(FrameKind::Video, 0, b"\x17\x01x")]);
    let events = server.feed_command(&command("deleteStream", 6.0, &[number(1.0)]));
    assert_eq!(events, [ServerEvent::Unpublish { stream_id: 1 }]);
    let events = server.feed_command(&command("deleteStream", 7.0, &[number(2.0)]));
    assert_eq!(events, [ServerEvent::StopPlay { stream_id: 2 }]);
}

#[test]
fn close_stream_works_with_and_without_its_argument_and_leaves_the_stream_usable() {
    for arguments in [&[][..], &[number(1.0)], &[Amf0Value::Null]] {
        let mut server = Server::publishing();
        let events = server.feed_stream_command(1, &command("closeStream", 0.0, arguments));
        assert_eq!(events, [ServerEvent::Unpublish { stream_id: 1 }]);
        let events = server.feed_stream_command(1, &command("publish", 5.0, &[text("cam")]));
        assert_eq!(events, [publish(1, "cam")]);
    }
}

#[test]
fn stream_ids_of_hostile_kinds_are_ignored() {
    let mut server = Server::publishing();
    for id in [f64::NAN, f64::INFINITY, -1.0, 0.5, 1e300, 99.0] {
        assert_eq!(server.feed_command(&command("deleteStream", 0.0, &[number(id)])), []);
        assert_eq!(server.feed_command(&command("closeStream", 0.0, &[number(id)])), []);
    }
}

#[test]
fn publish_on_a_stream_that_was_not_created_is_a_state_error_except_for_0_and_1() {
    for stream_id in [0, 1] {
        let mut server = Server::connected();
        let events = server.feed_stream_command(stream_id, &command("publish", 2.0, &[text("cam")]));
        assert_eq!(events, [publish(stream_id, "cam")]);
        server.session.accept();
        let frame = server.writer.message(6, 8, stream_id, 0, b"\xaf\x01");
        assert_eq!(server.feed(&frame).len(), 1);
    }
    let mut server = Server::connected();
    let bytes = server.writer.stream_command(2, &command("publish", 2.0, &[text("cam")]));
    assert_eq!(server.feed_error(&bytes).kind, ProtocolErrorKind::State);
}

// quirks and unknown things

#[test]
fn f10_flash_order_and_unknown_things_do_not_disturb_a_publisher() {
    let mut server = Server::publishing();
    server.feed_command(&command("releaseStream", 9.0, &[text("cam")]));
    server.feed_command(&command("FCUnpublish", 9.0, &[text("another")]));
    for type_id in [0, 7, 10, 14, 16, 19, 21, 23, 255] {
        let unknown = server.writer.message(9, type_id, 1, 0, b"\x00\x01\x02");
        assert_eq!(server.feed(&unknown), []);
    }
    let user_control = server.writer.message(2, 4, 0, 0, b"\x00\x1a\x00\x00\x00\x01");
    assert_eq!(server.feed(&user_control), []);
    let short = server.writer.message(2, 4, 0, 0, b"\x00");
    assert_eq!(server.feed(&short), []);
    let frame = server.writer.message(6, 9, 1, 0, b"\x17\x01x");
    assert_eq!(server.feed(&frame), [media(FrameKind::Video, 0, b"\x17\x01x")]);
}

#[test]
fn f10_commands_in_amf3_envelopes_count() {
    let mut server = Server::connected();
    let create = [&[0], &encode_command(&command("createStream", 2.0, &[]))[..]].concat();
    let bytes = server.writer.message(3, 17, 0, 0, &create);
    server.feed(&bytes);
    let publish_body = [&[0], &encode_command(&command("publish", 3.0, &[text("cam")]))[..]].concat();
    let bytes = server.writer.message(8, 17, 1, 0, &publish_body);
    assert_eq!(server.feed(&bytes), [publish(1, "cam")]);
}

#[test]
fn f10_flash_publish_false_and_play_false_end_the_stream() {
    let mut server = Server::publishing();
    let events = server.feed_stream_command(1, &command("publish", 0.0, &[Amf0Value::Boolean(false)]));
    assert_eq!(events, [ServerEvent::Unpublish { stream_id: 1 }]);
    let mut server = Server::playing();
    let events = server.feed_stream_command(1, &command("play", 0.0, &[Amf0Value::Boolean(false)]));
    assert_eq!(events, [ServerEvent::StopPlay { stream_id: 1 }]);
}

#[test]
fn commands_of_no_one_or_two_values_are_harmless() {
    for body in [&b""[..], b"\x02\x00\x04play", b"\x02\x00\x04junk\x00\x40\x00\0\0\0\0\0\0", b"\x05"] {
        let mut server = Server::with_stream();
        let bytes = server.writer.message(8, 20, 1, 0, body);
        server.feed(&bytes);
        assert!(!server.session.is_closing(), "{body:?}");
    }
}

#[test]
fn formalities_are_answered_and_unknown_commands_get_an_error() {
    let mut server = Server::connected();
    let cam = [text("cam")];
    server.feed_command(&command("getStreamLength", 2.0, &cam));
    server.feed_command(&command("_checkbw", 3.0, &[]));
    server.feed_command(&command("FCSubscribe", 4.0, &cam));
    server.feed_command(&command("mystery", 5.0, &[]));
    let sent = server.sent();
    let names: Vec<_> = sent.iter().map(|sent| (sent.name(), sent.command().transaction)).collect();
    let expected =
        [("_result", 2.0), ("_result", 3.0), ("_result", 4.0), ("onFCSubscribe", 0.0), ("_error", 5.0)];
    assert_eq!(names, expected.map(|(name, id)| (name.to_owned(), id)));
    assert_eq!(sent[0].command().arguments, [number(0.0)]);
    for quiet in [command("mystery", 0.0, &[]), command("_result", 6.0, &[]), command("_error", 7.0, &[])] {
        server.feed_command(&quiet);
        assert!(server.session.output().is_empty(), "{} is not answered", quiet.name);
    }
}

#[test]
fn command_that_cannot_be_decoded_is_a_command_error() {
    let mut server = Server::connected();
    let bytes = server.writer.message(3, 20, 0, 0, b"\x02\x00\x40x");
    assert_eq!(server.feed_error(&bytes).kind, ProtocolErrorKind::Command);
    assert!(server.session.is_closing());
    assert_eq!(server.feed_command(&command("createStream", 2.0, &[])), []);
}

// control

#[test]
fn pings_are_answered_and_pongs_become_events() {
    let mut server = Server::new();
    server.feed_control(Control::PingRequest(77));
    assert_eq!(server.sent()[0].what, Decoded::Control(Control::PingResponse(77)));
    server.session.ping(5);
    assert_eq!(server.sent()[0].what, Decoded::Control(Control::PingRequest(5)));
    assert_eq!(server.feed_control(Control::PingResponse(5)), [ServerEvent::Pong(5)]);
}

#[test]
fn ping_before_the_handshake_is_complete_writes_nothing() {
    let mut session = ServerSession::new(&Limits::default());
    session.ping(1);
    session.end_play(1, "x");
    assert!(session.output().is_empty());
    assert_eq!(session.phase(), Phase::Handshake);
}

#[test]
fn peer_bandwidth_is_answered_with_our_window() {
    let mut server = Server::connected();
    server.feed_control(Control::PeerBandwidth(100_000, 2));
    server.feed_control(Control::PeerBandwidth(1, 0));
    server.feed_control(Control::PeerBandwidth(0, 0));
    let sent: Vec<_> = server.sent().into_iter().map(|sent| sent.what).collect();
    let expected = [100_000, 16_384].map(|window| Decoded::Control(Control::WindowAckSize(window)));
    assert_eq!(sent, expected);
}

#[test]
fn acknowledgements_of_the_peer_are_a_running_total_past_4_gib() {
    let mut server = Server::connected();
    let mut totals = Vec::new();
    for total in [1000_u32, 0x7000_0000, 0xE000_0000, 0xE000_0000, 0x0000_0010, 0xFFFF_0000] {
        totals.extend(server.feed_control(Control::Acknowledgement(total)));
    }
    let expected = [1000, 0x7000_0000, 0xE000_0000, 0x1_0000_0010];
    assert_eq!(totals, expected.map(ServerEvent::Acknowledged), "repeated and older ones are ignored");
}

#[test]
fn f16_windows_of_0_and_1_and_the_largest_cost_at_most_one_acknowledgement_per_read() {
    for (window, acks) in [(0, 0), (1, 1), (u32::MAX, 0)] {
        let mut server = Server::publishing();
        server.feed_control(Control::WindowAckSize(window));
        for _ in 0..50 {
            let read = server.writer.message(6, 9, 1, 0, &[0x27; 20_000]);
            assert_eq!(server.feed(&read).len(), 1);
            assert_eq!(server.sent_names(), vec!["Acknowledgement"; acks]);
            assert_eq!(server.events(), []);
            assert!(server.session.output().is_empty(), "none for a run without a read");
        }
    }
}

/// The total of the only message sent.
fn total_acknowledged(server: &mut Server) -> u32 {
    match &server.sent()[..] {
        [Sent { what: Decoded::Control(Control::Acknowledgement(total)), .. }] => *total,
        other => panic!("{other:?}"),
    }
}

#[test]
fn acknowledgements_carry_the_running_total_of_the_connection() {
    let mut server = Server::publishing();
    server.feed_control(Control::WindowAckSize(20_000));
    let bytes = server.writer.message(6, 9, 1, 0, &[0x27; 30_000]);
    server.feed(&bytes);
    let first = total_acknowledged(&mut server);
    let bytes = server.writer.message(6, 9, 1, 0, &[0x27; 30_000]);
    server.feed(&bytes);
    let second = total_acknowledged(&mut server);
    assert!(first > 33_000, "handshake and commands count too: {first}");
    assert_eq!(second - first, bytes.len() as u32);
}

#[test]
fn reconnect_is_requested_only_from_a_peer_that_announced_it() {
    let mut server = Server::connected();
    assert!(!server.session.request_reconnect(None, "moving"));
    assert!(server.session.output().is_empty());

    let mut server = Server::new();
    server.feed_command(&connect([("capsEx", number(1.0))]));
    assert!(!server.session.request_reconnect(None, "too early"));
    server.session.accept();
    server.sent();
    assert!(server.session.request_reconnect(Some("rtmp://b/live"), "moving"));
    assert!(server.session.request_reconnect(None, "moving"));
    let sent = server.sent();
    assert_eq!((sent[0].csid, sent[0].stream_id, sent[0].command().transaction), (3, 0, 0.0));
    assert_eq!(sent[0].code(), "NetConnection.Connect.ReconnectRequest");
    assert_eq!((sent[0].field("level"), sent[0].field("tcUrl")), ("status".into(), "rtmp://b/live".into()));
    assert!(!sent[1].info().contains_key("tcUrl"));
}

// limits

#[test]
fn f17_the_ninth_stream_closes_the_connection() {
    let mut server = Server::connected();
    for transaction in 1..=8 {
        let create = command("createStream", f64::from(transaction), &[]);
        assert_eq!(server.feed_command(&create), []);
        assert_eq!(server.sent()[0].command().arguments, [number(f64::from(transaction))]);
    }
    let ninth = server.writer.command(&command("createStream", 9.0, &[]));
    assert_eq!(server.feed_error(&ninth).kind, ProtocolErrorKind::Limit);
    assert!(server.session.is_closing());
    assert!(server.session.output().is_empty());
}

#[test]
fn f17_deleted_streams_make_room() {
    let mut server = Server::connected();
    for _ in 0..1000 {
        server.feed_command(&command("createStream", 2.0, &[]));
        assert_eq!(server.sent()[0].command().arguments, [number(1.0)]);
        server.feed_command(&command("deleteStream", 0.0, &[number(1.0)]));
    }
}

#[test]
fn f17_a_flood_of_commands_gets_at_most_one_answer_each_and_leaves_nothing_behind() {
    let mut server = Server::connected();
    let flood: Vec<Command> = ["mystery", "getStreamLength", "createStream", "deleteStream"]
        .into_iter()
        .map(|name| command(name, 2.0, &[number(1.0)]))
        .collect();
    // A read holds many requests.
    for _ in 0..50 {
        let read: Vec<u8> =
            (0..100).flat_map(|_| &flood).flat_map(|one| server.writer.command(one)).collect();
        assert_eq!(server.feed(&read), []);
        let answers = server.sent_names().into_iter().filter(|name| name != "Acknowledgement");
        assert_eq!(answers.count(), 300, "deleteStream has no answer");
        assert!(server.session.input().is_empty());
    }
}

#[test]
fn message_beyond_the_ungranted_limit_is_refused_before_a_grant_and_taken_after() {
    let body = vec![0x27; 100_000];
    let mut server = Server::with_stream();
    let bytes = server.writer.message(6, 9, 1, 0, &body);
    assert_eq!(server.feed_error(&bytes).kind, ProtocolErrorKind::Limit);
    let mut server = Server::publishing();
    let bytes = server.writer.message(6, 9, 1, 0, &body);
    assert_eq!(server.feed(&bytes).len(), 1);
}
