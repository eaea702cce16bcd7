//! `publish`: from formalities to media and its end.

use super::{media, publish, rejection};
use crate::peer::{Sent, Server, command, connect, number, status, text};
use streamengine::amf0::Amf0Value;
use streamengine::media::FrameKind;
use streamengine::proto::message::encode_command;
use streamengine::proto::server::{Phase, Play, ServerEvent};

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

#[test]
fn a_repeated_publish_of_the_running_name_is_answered_and_changes_nothing() {
    let mut server = Server::publishing();
    let again = command("publish", 9.0, &[text("cam"), text("live")]);
    assert_eq!(server.feed_stream_command(1, &again), []);
    assert_eq!(server.sent()[0].code(), "NetStream.Publish.Start");
    // Of another type, and with something else behind the name.
    for (name, kind) in [("cam", "record"), ("cam?x=1", "append")] {
        let again = command("publish", 9.0, &[text(name), text(kind)]);
        assert_eq!(server.feed_stream_command(1, &again), []);
        assert_eq!(server.sent()[0].code(), "NetStream.Publish.Start");
    }
    let frame = server.writer.message(6, 9, 1, 40, b"\x17\x01x");
    assert_eq!(server.feed(&frame), [media(FrameKind::Video, 40, b"\x17\x01x")]);
}

#[test]
fn a_name_in_amf3_is_a_name() {
    let mut server = Server::connected();
    let mut body = rml_amf0::serialize(&vec![text("publish"), number(3.0), Amf0Value::Null]).unwrap();
    body.extend(b"\x11\x06\x07cam\x11\x06\x09live");
    let message = server.writer.message(8, 20, 1, 0, &body);
    assert_eq!(server.feed(&message), [publish(1, "cam")]);
}

#[test]
fn a_publish_on_an_id_that_was_not_created_is_taken_and_so_is_its_media_on_message_stream_0() {
    for id in [0, 1, 5, 70_000] {
        let mut server = Server::connected();
        let events = server.feed_stream_command(id, &command("publish", 3.0, &[text("cam")]));
        assert_eq!(events, [publish(id, "cam")]);
        server.session.accept();
        for other in [id, 0, 9] {
            let video = server.writer.message(6, 9, other, 40, b"\x17\x01frame");
            let events = server.feed(&video);
            assert!(
                matches!(&events[..], [ServerEvent::Media { stream_id, .. }] if *stream_id == id),
                "{id} by {other}: {events:?}"
            );
        }
    }
}

#[test]
fn media_on_message_stream_0_is_nobodys_where_two_streams_are_published_or_the_one_has_ended() {
    let mut server = Server::publishing();
    server.feed_stream_command(2, &command("publish", 3.0, &[text("other")]));
    server.session.accept();
    let video = server.writer.message(6, 9, 0, 40, b"\x17\x01frame");
    assert_eq!(server.feed(&video), []);
    server.session.end_publish(1, &rejection());
    let late = server.writer.message(6, 9, 1, 80, b"\x17\x01frame");
    assert_eq!(server.feed(&late), [], "what was ended is not mixed into the other");
}

#[test]
fn a_refused_request_costs_only_itself_while_something_else_goes_on_but_not_for_ever() {
    let mut server = Server::publishing();
    for _ in 0..8 {
        server.feed_stream_command(2, &command("play", 3.0, &[text("nothing")]));
        server.session.reject(&rejection());
        assert_eq!(server.sent()[0].field("level"), "error");
        let video = server.writer.message(6, 9, 1, 40, b"\x17\x01frame");
        assert_eq!(server.feed(&video).len(), 1);
    }
    server.feed_stream_command(2, &command("play", 3.0, &[text("nothing")]));
    server.session.reject(&rejection());
    assert!(server.session.is_closing(), "one that asks on and on guesses");
}
