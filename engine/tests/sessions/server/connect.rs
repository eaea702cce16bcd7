//! `connect`: what it hands over, how it is answered and refused.

use crate::peer::{Server, command, connect, number, object, status, text};
use streamengine::amf0::Amf0Value;
use streamengine::proto::ProtocolErrorKind;
use streamengine::proto::message::Command;
use streamengine::proto::server::{Rejection, ServerEvent};

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
fn hops_are_read_and_nonsense_among_them_is_left_out() {
    let hops = |value| {
        let mut server = Server::new();
        match &server.feed_command(&connect([("streamengineHops", value)]))[..] {
            [ServerEvent::Connect(connect)] => connect.hops.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hops(text("a-1,B2")), ["a-1", "B2"]);
    assert_eq!(hops(text(&["x"; 40].join(","))).len(), 9, "one more than a stream may have passed");
    assert_eq!(hops(text("a b,,c")), ["c"]);
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
fn a_second_connect_is_answered_and_changes_nothing() {
    let mut server = Server::publishing();
    assert_eq!(server.feed_command(&Command { transaction: 7.0, ..connect([]) }), []);
    let answer = &server.sent()[0];
    assert_eq!((answer.command().name.as_str(), answer.command().transaction), ("_error", 7.0));
    let video = server.writer.message(6, 9, 1, 40, b"\x17\x01frame");
    assert_eq!(server.feed(&video).len(), 1);
}

#[test]
fn publish_before_connect_is_a_state_error() {
    let mut server = Server::new();
    let early = server.writer.stream_command(1, &command("publish", 2.0, &[text("cam")]));
    let error = server.feed_error(&early);
    assert_eq!(error.kind, ProtocolErrorKind::State);
    assert_eq!(error.position, 3073 + early.len() as u64);
}
