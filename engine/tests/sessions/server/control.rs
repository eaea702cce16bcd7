//! Control messages, reconnect requests and limits.

use crate::peer::{Sent, Server, command, connect, number, text};
use streamengine::Limits;
use streamengine::proto::ProtocolErrorKind;
use streamengine::proto::message::{Command, Control, Decoded};
use streamengine::proto::server::{Phase, ServerEvent, ServerSession};

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

#[test]
fn f17_the_ninth_stream_is_refused_and_the_others_live() {
    let mut server = Server::connected();
    for transaction in 1..=8 {
        let create = command("createStream", f64::from(transaction), &[]);
        assert_eq!(server.feed_command(&create), []);
        assert_eq!(server.sent()[0].command().arguments, [number(f64::from(transaction))]);
    }
    assert_eq!(server.feed_command(&command("createStream", 9.0, &[])), []);
    let answer = &server.sent()[0];
    assert_eq!((answer.command().name.as_str(), answer.command().transaction), ("_error", 9.0));
    assert!(answer.field("description").contains("8 at most"), "{answer:?}");
    assert!(!server.session.is_closing());
    // Nor can one be published or played on an id beyond.
    for (name, code) in [("publish", "NetStream.Publish.BadName"), ("play", "NetStream.Play.Failed")] {
        assert_eq!(server.feed_stream_command(77, &command(name, 0.0, &[text("a")])), []);
        assert_eq!(server.sent()[0].code(), code);
    }
    server.feed_command(&command("deleteStream", 0.0, &[number(8.0)]));
    server.feed_command(&command("createStream", 10.0, &[]));
    assert_eq!(server.sent()[0].command().arguments, [number(8.0)]);
}

#[test]
fn the_reason_for_closing_is_said_to_the_peer() {
    let mut server = Server::connected();
    let bytes = server.writer.message(2, 1, 0, 0, &64_u32.to_be_bytes());
    assert_eq!(server.feed_error(&bytes).kind, ProtocolErrorKind::Chunk);
    let said = &server.sent()[0];
    assert_eq!((said.code(), said.field("level")), ("NetConnection.Connect.Failed".into(), "error".into()));
    assert!(said.field("description").contains("chunk size 64; at least 128"), "{said:?}");
}

#[test]
fn f17_deleted_streams_make_room() {
    let mut server = Server::publishing();
    for _ in 0..1000 {
        server.feed_command(&command("createStream", 2.0, &[]));
        assert_eq!(server.sent()[0].command().arguments, [number(2.0)]);
        server.feed_command(&command("deleteStream", 0.0, &[number(2.0)]));
    }
}

#[test]
fn f17_a_flood_of_commands_gets_at_most_one_answer_each_and_leaves_nothing_behind() {
    let mut server = Server::publishing();
    let flood: Vec<Command> = ["mystery", "getStreamLength", "createStream", "deleteStream"]
        .into_iter()
        .map(|name| command(name, 2.0, &[number(2.0)]))
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
fn a_thousand_messages_of_any_kind_are_read_before_a_grant_and_no_more() {
    let (unknown, body) = (99, [0; 4]);
    for kind in [3, 8, 9, 18, unknown] {
        let mut server = Server::connected();
        let mut feed = |kind| {
            let bytes = server.writer.message(6, kind, 0, 0, &body);
            server.session.input().extend_from_slice(&bytes);
            server.session.poll()
        };
        // One was `connect`; the last one is found at the look after it.
        let errors: Vec<_> = (1..=1_001).filter_map(|number| Some((number, feed(kind).err()?))).collect();
        let (number, error) = &errors[0];
        assert_eq!((*number, error.kind), (1_001, ProtocolErrorKind::Limit), "{kind}: {error}");
        assert!(error.detail.contains("before anything is published or played"), "{kind}: {error}");
    }
    let mut server = Server::publishing();
    for number in 0..5_000 {
        let bytes = server.writer.message(6, 99, 0, number, &body);
        server.feed(&bytes);
    }
    assert!(!server.session.is_closing());
}

#[test]
fn message_beyond_the_limit_of_pending_ones_is_refused_before_a_grant_and_taken_after() {
    let body = vec![0x27; 100_000];
    let mut server = Server::with_stream();
    let bytes = server.writer.message(6, 9, 1, 0, &body);
    assert_eq!(server.feed_error(&bytes).kind, ProtocolErrorKind::Limit);
    let mut server = Server::publishing();
    let bytes = server.writer.message(6, 9, 1, 0, &body);
    assert_eq!(server.feed(&bytes).len(), 1);
}
