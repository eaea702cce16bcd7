//! Our sessions against those of `rml_rtmp`, an implementation that we did not write.

use crate::peer::{handshake, options};
use bytes::Bytes;
use rml_rtmp::sessions::{
    ClientSession as RmlClient, ClientSessionConfig, ClientSessionEvent, ClientSessionResult,
    PublishRequestType, ServerSession as RmlServer, ServerSessionConfig, ServerSessionEvent,
    ServerSessionResult,
};
use rml_rtmp::time::RtmpTimestamp;
use streamengine::Limits;
use streamengine::media::FrameKind;
use streamengine::proto::chunk::{WireMessage, csid};
use streamengine::proto::client::{ClientEvent, ClientRole, ClientSession};
use streamengine::proto::server::{ServerEvent, ServerSession};

/// `rml_rtmp`'s client on our server, which grants everything.
struct OurServer {
    ours: ServerSession,
    theirs: RmlClient,
    our_events: Vec<ServerEvent>,
    their_events: Vec<ClientSessionEvent>,
}

impl OurServer {
    fn connected() -> Self {
        let mut ours = ServerSession::new(&Limits::default());
        ours.input().extend_from_slice(&handshake());
        ours.poll().expect("a handshake");
        ours.output().clear();
        let (theirs, first) = RmlClient::new(ClientSessionConfig::new()).expect("a client");
        let mut pair = Self { ours, theirs, our_events: Vec::new(), their_events: Vec::new() };
        pair.up(first);
        let connect = pair.theirs.request_connection("live".to_owned()).expect("connect");
        pair.up(vec![connect]);
        assert!(pair.their_events.contains(&ClientSessionEvent::ConnectionRequestAccepted));
        pair
    }

    /// Gives what the client wants to send to our server, and its answers to the client.
    fn up(&mut self, results: Vec<ClientSessionResult>) {
        let mut results = results;
        while !results.is_empty() {
            for result in results {
                match result {
                    ClientSessionResult::OutboundResponse(packet) => {
                        self.ours.input().extend_from_slice(&packet.bytes);
                    }
                    ClientSessionResult::RaisedEvent(event) => self.their_events.push(event),
                    // Set Peer Bandwidth is unknown to it.
                    ClientSessionResult::UnhandleableMessageReceived(payload) => {
                        assert_eq!(payload.type_id, 6)
                    }
                }
            }
            while let Some(event) = self.ours.poll().expect("no complaint") {
                self.ours.accept();
                self.our_events.push(event);
            }
            results = self.down();
        }
    }

    fn down(&mut self) -> Vec<ClientSessionResult> {
        let output = self.ours.output().split();
        if output.is_empty() { Vec::new() } else { self.theirs.handle_input(&output).expect("no complaint") }
    }
}

#[test]
fn their_client_publishes_to_our_server() {
    let mut pair = OurServer::connected();
    let publish =
        pair.theirs.request_publishing("cam".to_owned(), PublishRequestType::Live).expect("publish");
    pair.up(vec![publish]);
    assert!(pair.their_events.contains(&ClientSessionEvent::PublishRequestAccepted));
    pair.our_events.clear();
    let payload = Bytes::from(vec![0x17; 10_000]);
    let video =
        pair.theirs.publish_video_data(payload.clone(), RtmpTimestamp::new(40), false).expect("video");
    pair.up(vec![video]);
    let audio =
        pair.theirs.publish_audio_data(payload.clone(), RtmpTimestamp::new(41), false).expect("audio");
    pair.up(vec![audio]);
    let expected = [(FrameKind::Video, 40), (FrameKind::Audio, 41)].map(|(kind, timestamp)| {
        ServerEvent::Media { stream_id: 1, kind, timestamp, payload: payload.clone() }
    });
    assert_eq!(pair.our_events, expected);
    pair.our_events.clear();
    let stop = pair.theirs.stop_publishing().expect("stop");
    pair.up(stop);
    assert_eq!(pair.our_events, [ServerEvent::Unpublish { stream_id: 1 }]);
}

#[test]
fn their_client_plays_from_our_server() {
    let mut pair = OurServer::connected();
    let play = pair.theirs.request_playback("cam".to_owned()).expect("play");
    pair.up(vec![play]);
    assert!(pair.their_events.contains(&ClientSessionEvent::PlaybackRequestAccepted));
    pair.their_events.clear();
    let data = Bytes::from(vec![0x17; 100_000]);
    WireMessage::new(csid::VIDEO, 9, 1, 0x0100_0000, data.clone()).encode(pair.ours.output());
    let results = pair.down();
    pair.up(results);
    let timestamp = RtmpTimestamp::new(0x0100_0000);
    assert_eq!(pair.their_events, [ClientSessionEvent::VideoDataReceived { timestamp, data }]);
}

/// Our client on `rml_rtmp`'s server, which grants everything.
struct OurClient {
    ours: ClientSession,
    theirs: RmlServer,
    our_events: Vec<ClientEvent>,
    their_events: Vec<ServerSessionEvent>,
}

impl OurClient {
    fn new(role: ClientRole) -> Self {
        let mut ours = ClientSession::new(options(role), &Limits::default());
        ours.input().extend_from_slice(&handshake());
        assert_eq!(ours.poll(), Ok(Some(ClientEvent::HandshakeDone)));
        let _first_parts_and_echo = ours.output().split_to(1537 + 1536);
        let (theirs, first) = RmlServer::new(ServerSessionConfig::new()).expect("a server");
        let mut pair = Self { ours, theirs, our_events: Vec::new(), their_events: Vec::new() };
        pair.down(first);
        pair
    }

    /// Gives what the server wants to send to our client, and its answers to the server.
    fn down(&mut self, results: Vec<ServerSessionResult>) {
        let mut results = results;
        loop {
            let mut granted = Vec::new();
            for result in results {
                match result {
                    ServerSessionResult::OutboundResponse(packet) => {
                        self.ours.input().extend_from_slice(&packet.bytes);
                    }
                    ServerSessionResult::RaisedEvent(event) => {
                        if let Some(request) = request_id(&event) {
                            granted.extend(self.theirs.accept_request(request).expect("accepted"));
                        }
                        self.their_events.push(event);
                    }
                    ServerSessionResult::UnhandleableMessageReceived(payload) => panic!("{payload:?}"),
                }
            }
            while let Some(event) = self.ours.poll().expect("no complaint") {
                self.our_events.push(event);
            }
            let output = self.ours.output().split();
            results = granted;
            if !output.is_empty() {
                results.extend(self.theirs.handle_input(&output).expect("no complaint"));
            }
            if results.is_empty() {
                return;
            }
        }
    }
}

fn request_id(event: &ServerSessionEvent) -> Option<u32> {
    match event {
        ServerSessionEvent::ConnectionRequested { request_id, .. }
        | ServerSessionEvent::ReleaseStreamRequested { request_id, .. }
        | ServerSessionEvent::PublishStreamRequested { request_id, .. }
        | ServerSessionEvent::PlayStreamRequested { request_id, .. } => Some(*request_id),
        _ => None,
    }
}

#[test]
fn our_client_publishes_to_their_server() {
    let mut pair = OurClient::new(ClientRole::Publish);
    assert_eq!(pair.our_events.last(), Some(&ClientEvent::Publishing { stream_id: 1 }));
    pair.their_events.clear();
    let data = Bytes::from(vec![0x17; 100_000]);
    WireMessage::new(csid::VIDEO, 9, 1, 40, data.clone()).encode(pair.ours.output());
    pair.down(Vec::new());
    let expected = ServerSessionEvent::VideoDataReceived {
        app_name: "live".to_owned(),
        stream_key: "cam?key=secret".to_owned(),
        data,
        timestamp: RtmpTimestamp::new(40),
    };
    assert_eq!(pair.their_events, [expected]);
    pair.ours.close();
    pair.down(Vec::new());
    let finished =
        |event: &ServerSessionEvent| matches!(event, ServerSessionEvent::PublishStreamFinished { .. });
    assert!(pair.their_events.iter().any(finished));
}

#[test]
fn our_client_plays_from_their_server() {
    let mut pair = OurClient::new(ClientRole::Play);
    assert_eq!(pair.our_events.last(), Some(&ClientEvent::Playing));
    pair.our_events.clear();
    let payload = Bytes::from(vec![0xAF; 10_000]);
    let packet =
        pair.theirs.send_audio_data(1, payload.clone(), RtmpTimestamp::new(7), false).expect("audio");
    pair.down(vec![ServerSessionResult::OutboundResponse(packet)]);
    let expected = ClientEvent::Media { kind: FrameKind::Audio, timestamp: 7, payload };
    assert_eq!(pair.our_events, [expected]);
    pair.our_events.clear();
    let packet = pair.theirs.finish_playing(1).expect("finish");
    pair.down(vec![ServerSessionResult::OutboundResponse(packet)]);
    assert_eq!(pair.our_events, [ClientEvent::Ended]);
}
