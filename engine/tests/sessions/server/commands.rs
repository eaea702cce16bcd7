//! Several streams of one connection, and commands that are odd, old or unknown.

use super::{media, publish};
use crate::peer::{Server, command, number, text};
use streamengine::amf0::Amf0Value;
use streamengine::media::FrameKind;
use streamengine::proto::ProtocolErrorKind;
use streamengine::proto::message::encode_command;
use streamengine::proto::server::{Play, ServerEvent};

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
