//! The client session against hand-made servers.

use crate::peer::{Client, Sent, Server, command, connect_reply, number, object, options, status, text};
use streamengine::Limits;
use streamengine::amf0::Amf0Value;
use streamengine::media::FrameKind;
use streamengine::proto::ProtocolErrorKind;
use streamengine::proto::client::{ClientEvent, ClientRole, ClientSession};
use streamengine::proto::message::{Control, Decoded};
use streamengine::proto::server::ServerEvent;

fn rejected(code: &str, description: &str) -> ClientEvent {
    ClientEvent::Rejected { code: code.to_owned(), description: description.to_owned() }
}

fn media(kind: FrameKind, timestamp: i64, payload: &'static [u8]) -> ClientEvent {
    ClientEvent::Media { kind, timestamp, payload: payload.into() }
}

#[test]
fn connect_is_the_first_message_and_in_default_chunks() {
    for role in [ClientRole::Publish, ClientRole::Play] {
        let mut client = Client::new(role);
        let sent = client.sent();
        let [connect] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((connect.csid, connect.stream_id, connect.name().as_str()), (3, 0, "connect"));
        let Amf0Value::Object(object) = &connect.command().object else { panic!() };
        assert_eq!(object["app"], text("live"));
        assert_eq!(object["tcUrl"], text("rtmp://example.com/live"));
        assert_eq!(object["capsEx"], number(15.0));
        assert_eq!(object["streamengineHops"], text("engine-a,engine-b"));
        let Amf0Value::StrictArray(codecs) = &object["fourCcList"] else { panic!() };
        assert!(codecs.contains(&text("hvc1")) && codecs.contains(&text("Opus")));
        let Amf0Value::Object(video) = &object["videoFourCcInfoMap"] else { panic!() };
        assert_eq!((video.len(), &video["av01"]), (6, &number(4.0)));
    }
}

#[test]
fn connect_without_hops_has_no_key_of_ours() {
    let mut options = options(ClientRole::Publish);
    options.hops.clear();
    let mut session = ClientSession::new(options, &Limits::default());
    session.input().extend_from_slice(&crate::peer::handshake());
    session.poll().expect("the handshake is complete");
    assert!(!session.output().windows(16).any(|bytes| bytes == b"streamengineHops"));
}

#[test]
fn connected_carries_the_properties_and_the_information_of_the_reply() {
    let mut client = Client::new(ClientRole::Publish);
    let events = client.feed_command(&connect_reply());
    let [ClientEvent::Connected { properties: reply, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(reply["fmsVer"], text("FMS/3,5,7,7009"));
    assert_eq!(reply["code"], text("NetConnection.Connect.Success"));
}

#[test]
fn publishing_goes_through_release_fcpublish_create_and_publish() {
    let mut client = Client::connected(ClientRole::Publish);
    let sent = client.sent();
    let names: Vec<_> = sent.iter().map(Sent::name).collect();
    assert_eq!(names, ["SetChunkSize", "WindowAckSize", "releaseStream", "FCPublish", "createStream"]);
    assert_eq!(sent[2].command().arguments, [text("cam?key=secret")]);
    client.feed_command(&command("_result", 4.0, &[number(7.0)]));
    let sent = client.sent();
    assert_eq!((sent[0].csid, sent[0].stream_id, sent[0].name().as_str()), (5, 7, "publish"));
    assert_eq!(sent[0].command().arguments, [text("cam?key=secret"), text("live")]);
    let events = client.feed_status("status", "NetStream.Publish.Start");
    assert_eq!(events, [ClientEvent::Publishing { stream_id: 7 }], "though it came on stream 1");
    assert_eq!(client.feed_status("status", "NetStream.Publish.Start"), []);
}

#[test]
fn playing_goes_through_create_buffer_length_and_play() {
    let mut client = Client::connected(ClientRole::Play);
    assert_eq!(client.sent_names(), ["SetChunkSize", "WindowAckSize", "createStream"]);
    client.feed_command(&command("_result", 4.0, &[number(1.0)]));
    let sent = client.sent();
    assert_eq!(sent[0].what, Decoded::Control(Control::SetBufferLength(1, 3000)));
    assert_eq!((sent[1].stream_id, sent[1].name().as_str()), (1, "play"));
    assert_eq!(sent[1].command().arguments, [text("cam?key=secret"), number(-2000.0)]);
    assert_eq!(client.feed_status("status", "NetStream.Play.Reset"), []);
    assert_eq!(client.feed_status("status", "NetStream.Play.Start"), [ClientEvent::Playing]);
    let frame = client.writer.message(6, 9, 1, 20, b"\x17\x01x");
    assert_eq!(client.feed(&frame), [media(FrameKind::Video, 20, b"\x17\x01x")]);
}

#[test]
fn answers_to_formalities_may_come_late_or_be_errors() {
    let mut client = Client::requesting(ClientRole::Publish);
    assert_eq!(client.feed_command(&command("_error", 2.0, &[status("error", "x", "y")])), []);
    assert_eq!(client.feed_command(&command("_result", 3.0, &[])), []);
    assert_eq!(client.feed_command(&command("onFCPublish", 0.0, &[])), []);
    assert_eq!(client.feed_command(&command("onBWDone", 0.0, &[])), []);
    let events = client.feed_status("status", "NetStream.Publish.Start");
    assert_eq!(events, [ClientEvent::Publishing { stream_id: 1 }]);
}

#[test]
fn refused_connect_tells_code_and_description() {
    let code = "NetConnection.Connect.Rejected";
    let refusals = [
        command("_error", 1.0, &[status("error", code, "[ AccessManager.Reject ] : no\nway")]),
        command("_result", 1.0, &[status("error", code, "[ AccessManager.Reject ] : no\nway")]),
        command("onStatus", 0.0, &[status("error", code, "[ AccessManager.Reject ] : no\nway")]),
    ];
    for refusal in refusals {
        let mut client = Client::new(ClientRole::Publish);
        client.sent();
        assert_eq!(client.feed_command(&refusal), [rejected(code, "[ AccessManager.Reject ] : no\nway")]);
        assert_eq!(client.feed_command(&connect_reply()), [], "nothing more comes");
        client.session.close();
        client.session.ping(1);
        assert!(client.session.output().is_empty());
    }
}

#[test]
fn refused_create_stream_is_a_rejection() {
    for transaction in [4.0, 0.0] {
        let mut client = Client::connected(ClientRole::Play);
        let info = status("error", "NetConnection.Call.Failed", "no");
        let events = client.feed_command(&command("_error", transaction, &[info]));
        assert_eq!(events, [rejected("NetConnection.Call.Failed", "no")]);
    }
}

#[test]
fn refused_publish_is_a_rejection_whether_status_or_error() {
    let code = "NetStream.Publish.BadName";
    for level in ["error", "Error"] {
        let mut client = Client::requesting(ClientRole::Publish);
        assert_eq!(client.feed_status(level, code), [rejected(code, "in the server's words")]);
    }
    for transaction in [0.0, 5.0] {
        let mut client = Client::requesting(ClientRole::Publish);
        let events = client.feed_command(&command("_error", transaction, &[status("error", code, "taken")]));
        assert_eq!(events, [rejected(code, "taken")]);
    }
}

#[test]
fn refusal_without_an_information_object_is_still_a_rejection() {
    let mut client = Client::new(ClientRole::Publish);
    assert_eq!(
        client.feed_command(&command("_error", 1.0, &[])),
        [rejected("NetConnection.Call.Failed", "")]
    );
}

#[test]
fn errors_while_active_are_rejections_and_stray_error_replies_are_not() {
    let mut client = Client::publishing();
    assert_eq!(client.feed_command(&command("_error", 0.0, &[])), []);
    let code = "NetStream.Publish.Denied";
    assert_eq!(client.feed_status("error", code), [rejected(code, "in the server's words")]);
    let mut client = Client::playing();
    assert_eq!(client.feed_status("warning", "NetStream.Play.InsufficientBW"), []);
    let code = "NetStream.Play.Failed";
    assert_eq!(client.feed_status("error", code), [rejected(code, "in the server's words")]);
}

#[test]
fn close_of_the_connection_by_the_server_is_a_rejection() {
    let code = "NetConnection.Connect.Closed";
    let mut client = Client::publishing();
    assert_eq!(client.feed_command(&command("close", 0.0, &[])), [rejected(code, "closed by the server")]);
    let mut client = Client::publishing();
    assert_eq!(client.feed_status("status", code), [rejected(code, "in the server's words")]);
}

#[test]
fn create_stream_answered_without_an_id_is_a_command_error() {
    for arguments in [&[][..], &[text("1")], &[number(-1.0)], &[number(f64::NAN)]] {
        let mut client = Client::connected(ClientRole::Play);
        let bytes = client.writer.command(&command("_result", 4.0, arguments));
        client.session.input().extend_from_slice(&bytes);
        let error = client.session.poll().expect_err("no stream id");
        assert_eq!(error.kind, ProtocolErrorKind::Command);
        assert_eq!(client.session.poll(), Ok(None));
    }
}

#[test]
fn media_before_play_start_counts_as_the_start() {
    let mut client = Client::requesting(ClientRole::Play);
    let frame = client.writer.message(6, 9, 1, 20, b"\x17\x01x");
    assert_eq!(client.feed(&frame), [ClientEvent::Playing, media(FrameKind::Video, 20, b"\x17\x01x")]);
}

#[test]
fn repeated_play_start_of_nginx_play_restart_goes_on() {
    let mut client = Client::playing();
    assert_eq!(client.feed_status("status", "NetStream.Play.Start"), [ClientEvent::Playing]);
    assert_eq!(client.feed_status("status", "NetStream.Play.Stop"), [ClientEvent::Ended]);
    assert_eq!(client.feed_control(Control::StreamEof(1)), []);
    assert_eq!(client.feed_control(Control::StreamBegin(1)), []);
    assert_eq!(client.feed_status("status", "NetStream.Play.Start"), [ClientEvent::Playing]);
    let frame = client.writer.message(6, 8, 1, 0, b"\xaf\x01");
    assert_eq!(client.feed(&frame), [media(FrameKind::Audio, 0, b"\xaf\x01")]);
}

#[test]
fn end_is_said_once_however_the_server_says_it() {
    for code in ["NetStream.Play.Stop", "NetStream.Play.Complete", "NetStream.Play.UnpublishNotify"] {
        let mut client = Client::playing();
        assert_eq!(client.feed_status("status", code), [ClientEvent::Ended]);
        assert_eq!(client.feed_status("status", code), []);
    }
    let mut client = Client::playing();
    assert_eq!(client.feed_control(Control::StreamEof(1)), [ClientEvent::Ended]);
    let mut client = Client::playing();
    let complete = b"\x02\x00\x0conPlayStatus\x03\x00\x04code\x02\x00\x17NetStream.Play.Complete\x00\x00\x09";
    let bytes = client.writer.message(5, 18, 1, 0, complete);
    assert_eq!(client.feed(&bytes), [ClientEvent::Ended]);
    let mut client = Client::publishing();
    assert_eq!(client.feed_control(Control::StreamEof(1)), [], "a publisher has no stream that ends");
}

#[test]
fn data_about_the_connection_is_not_media() {
    let mut client = Client::playing();
    for body in [&b"\x02\x00\x11|RtmpSampleAccess\x01\x01\x01\x01"[..], b"\x02\x00\x08onStatus\x05"] {
        let bytes = client.writer.message(5, 18, 1, 0, body);
        assert_eq!(client.feed(&bytes), []);
    }
    let bytes = client.writer.message(5, 18, 1, 0, b"\x02\x00\x0aonMetaData\x05");
    assert_eq!(client.feed(&bytes), [media(FrameKind::Data, 0, b"\x02\x00\x0aonMetaData\x05")]);
}

#[test]
fn reconnect_request_carries_the_new_address_if_there_is_one() {
    let mut client = Client::publishing();
    let code = "NetConnection.Connect.ReconnectRequest";
    let info = object([("code", text(code)), ("level", text("status")), ("tcUrl", text("rtmp://b/live"))]);
    let events = client.feed_command(&command("onStatus", 0.0, &[info]));
    assert_eq!(events, [ClientEvent::ReconnectRequest { tc_url: Some("rtmp://b/live".to_owned()) }]);
    let events = client.feed_command(&command("onStatus", 0.0, &[status("status", code, "go")]));
    assert_eq!(events, [ClientEvent::ReconnectRequest { tc_url: None }]);
}

#[test]
fn control_messages_of_servers_are_answered() {
    let mut client = Client::new(ClientRole::Publish);
    client.sent();
    assert_eq!(client.feed_control(Control::WindowAckSize(2_500_000)), []);
    assert_eq!(client.feed_control(Control::PeerBandwidth(2_500_000, 2)), []);
    assert_eq!(client.feed_control(Control::StreamBegin(0)), []);
    assert_eq!(client.feed_control(Control::PingRequest(9)), []);
    assert_eq!(client.feed_command(&command("_onbwcheck", 12.0, &[])), []);
    let sent = client.sent();
    assert_eq!(sent[0].what, Decoded::Control(Control::WindowAckSize(2_500_000)));
    assert_eq!(sent[1].what, Decoded::Control(Control::PingResponse(9)));
    assert_eq!((sent[2].name().as_str(), sent[2].command().transaction), ("_result", 12.0));
    client.session.ping(4);
    assert_eq!(client.sent()[0].what, Decoded::Control(Control::PingRequest(4)));
    assert_eq!(client.feed_control(Control::Acknowledgement(500)), [ClientEvent::Acknowledged(500)]);
}

#[test]
fn close_undoes_what_was_asked_for_and_ends_the_session() {
    let mut client = Client::publishing();
    client.session.close();
    client.session.close();
    let sent = client.sent();
    let names: Vec<_> = sent.iter().map(|sent| (sent.stream_id, sent.name())).collect();
    let expected = [(0, "FCUnpublish"), (1, "closeStream"), (0, "deleteStream")];
    assert_eq!(names, expected.map(|(id, name)| (id, name.to_owned())));
    assert_eq!(sent[2].command().arguments, [number(1.0)]);
    assert_eq!(client.feed_status("error", "NetStream.Failed"), []);

    let mut client = Client::playing();
    client.session.close();
    assert_eq!(client.sent_names(), ["closeStream", "deleteStream"]);

    let mut client = Client::connected(ClientRole::Publish);
    client.sent();
    client.session.close();
    assert_eq!(client.sent_names(), [] as [&str; 0], "there is no stream yet");
}

#[test]
fn ping_and_close_before_the_handshake_write_nothing() {
    let mut session = ClientSession::new(options(ClientRole::Play), &Limits::default());
    session.output().clear();
    session.ping(1);
    session.close();
    assert!(session.output().is_empty());
}

#[test]
fn reply_fed_byte_by_byte_gives_the_same_events() {
    let mut whole = Client::new(ClientRole::Play);
    let mut bytes = whole.writer.control(Control::SetChunkSize(4096));
    bytes.extend(whole.writer.command(&connect_reply()));
    bytes.extend(whole.writer.command(&command("_result", 4.0, &[number(1.0)])));
    let start = command("onStatus", 0.0, &[status("status", "NetStream.Play.Start", "go")]);
    bytes.extend(whole.writer.stream_command(1, &start));
    bytes.extend(whole.writer.message(6, 9, 1, 40, &[0x17; 5000]));
    let events = whole.feed(&bytes);
    assert_eq!(events.len(), 3);
    let sent = whole.sent();
    let mut split = Client::new(ClientRole::Play);
    let split_events: Vec<_> = bytes.iter().flat_map(|byte| split.feed(&[*byte])).collect();
    assert_eq!(split_events, events);
    assert_eq!(split.sent(), sent);
}

#[test]
fn hops_sent_by_the_client_are_the_hops_that_the_server_reads() {
    let mut client = Client::new(ClientRole::Publish);
    let bytes = client.session.output().split();
    let mut server = Server::new();
    let events = server.feed(&bytes);
    let [ServerEvent::Connect(connect)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(connect.hops, ["engine-a", "engine-b"]);
    assert_eq!(connect.app, "live");
}

#[test]
fn w3_a_turn_of_a_client_ends_after_256_messages() {
    let mut client = Client::playing();
    let empty: Vec<u8> = (0..257).flat_map(|_| client.writer.message(6, 99, 1, 0, &[])).collect();
    client.session.input().extend_from_slice(&empty);
    client.session.begin_turn();
    assert_eq!(client.session.poll().unwrap(), None);
    assert!(client.session.is_turn_over());
    client.session.begin_turn();
    assert_eq!(client.session.poll().unwrap(), None);
    assert!(!client.session.is_turn_over());
}
