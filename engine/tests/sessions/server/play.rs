//! `play`: its answers, its end, and what players ask for meanwhile.

use crate::peer::{Server, command, number, object, text};
use streamengine::amf0::Amf0Value;
use streamengine::media::FrameKind;
use streamengine::proto::ProtocolErrorKind;
use streamengine::proto::message::Control;
use streamengine::proto::server::{Phase, Play, Rejection, ServerEvent};

#[test]
fn w2_a_player_may_send_no_longer_messages_than_a_stranger() {
    let mut server = Server::playing();
    let long = vec![0; 64 * 1024 + 1];
    let bytes = server.writer.message(6, 9, 1, 0, &long);
    assert_eq!(server.feed_error(&bytes).kind, ProtocolErrorKind::Limit);
    let mut publisher = Server::publishing();
    let bytes = publisher.writer.message(6, 9, 1, 0, &long);
    assert_eq!(publisher.feed(&bytes).len(), 1);
}

#[test]
fn f04_only_a_publisher_may_send_messages_of_8_mib_and_nobody_longer_ones() {
    for (mut server, most) in [
        (Server::with_stream(), 64 * 1024),
        (Server::playing(), 64 * 1024),
        (Server::publishing(), 8 * 1024 * 1024),
    ] {
        server.feed_control(Control::SetChunkSize(0x7FFF_FFFF));
        server.writer.chunk_size = usize::MAX;
        let bytes = server.writer.message(6, 9, 1, 0, &vec![0; most]);
        server.feed(&bytes);
        let bytes = server.writer.message(6, 9, 1, 0, &vec![0; most + 1]);
        assert_eq!(server.feed_error(&bytes).kind, ProtocolErrorKind::Limit);
    }
}

#[test]
fn w3_a_turn_of_a_publisher_ends_after_64_messages() {
    let mut server = Server::publishing();
    let empty: Vec<u8> = (0..65).flat_map(|_| server.writer.message(6, 99, 1, 0, &[])).collect();
    server.session.input().extend_from_slice(&empty);
    server.session.begin_turn();
    assert_eq!(server.session.poll().unwrap(), None);
    assert!(server.session.is_turn_over());
    server.session.begin_turn();
    assert_eq!(server.session.poll().unwrap(), None);
    assert!(!server.session.is_turn_over());
}

#[test]
fn w3_a_turn_ends_before_many_small_messages_do_and_the_next_goes_on() {
    let mut server = Server::playing();
    let empty: Vec<u8> = (0..100).flat_map(|_| server.writer.message(6, 99, 1, 0, &[])).collect();
    server.session.input().extend_from_slice(&empty);
    let mut turns = 0;
    loop {
        server.session.begin_turn();
        assert_eq!(server.session.poll().unwrap(), None);
        turns += 1;
        if !server.session.is_turn_over() {
            break;
        }
        let left = server.session.input().len();
        assert!(left > 0 && left < empty.len(), "{left}");
    }
    assert_eq!(turns, 100 / 16 + 1);
    assert!(server.session.input().is_empty());
}

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
