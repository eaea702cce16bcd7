//! Our client and our server on one wire.

use crate::peer::options;
use bytes::Bytes;
use streamengine::Limits;
use streamengine::media::FrameKind;
use streamengine::proto::chunk::{WireMessage, csid};
use streamengine::proto::client::{ClientEvent, ClientRole, ClientSession};
use streamengine::proto::server::{Phase, Rejection, ServerEvent, ServerSession};

/// What the server's owner says to each request.
type Judge = fn(&ServerEvent) -> Result<(), Rejection>;

struct Pair {
    client: ClientSession,
    server: ServerSession,
    judge: Judge,
    /// Bytes moved at a time.
    step: usize,
    client_events: Vec<ClientEvent>,
    server_events: Vec<ServerEvent>,
}

impl Pair {
    fn new(role: ClientRole, step: usize, judge: Judge) -> Self {
        let limits = Limits::default();
        let client = ClientSession::new(options(role), &limits);
        let server = ServerSession::new(&limits);
        let mut pair =
            Self { client, server, judge, step, client_events: Vec::new(), server_events: Vec::new() };
        pair.run();
        pair
    }

    /// Moves bytes until both sides have nothing to say.
    fn run(&mut self) {
        loop {
            let up = take(self.client.output(), self.step);
            let down = take(self.server.output(), self.step);
            if up.is_empty() && down.is_empty() {
                return;
            }
            self.server.input().extend_from_slice(&up);
            while let Some(event) = self.server.poll().expect("the server has no complaint") {
                if self.server.is_waiting() {
                    match (self.judge)(&event) {
                        Ok(()) => self.server.accept(),
                        Err(rejection) => self.server.reject(&rejection),
                    }
                }
                self.server_events.push(event);
            }
            self.client.input().extend_from_slice(&down);
            while let Some(event) = self.client.poll().expect("the client has no complaint") {
                self.client_events.push(event);
            }
        }
    }

    fn client_events(&mut self) -> Vec<ClientEvent> {
        std::mem::take(&mut self.client_events)
    }

    fn server_events(&mut self) -> Vec<ServerEvent> {
        std::mem::take(&mut self.server_events)
    }
}

fn take(output: &mut bytes::BytesMut, step: usize) -> Bytes {
    let size = output.len().min(step);
    output.split_to(size).freeze()
}

fn refuse_all_but_connect(event: &ServerEvent) -> Result<(), Rejection> {
    match event {
        ServerEvent::Connect(_) => Ok(()),
        _ => Err(Rejection { code: "NetStream.Publish.BadName", description: "taken, sorry".to_owned() }),
    }
}

#[test]
fn publish_carries_media_of_any_size_at_any_cut() {
    for step in [1, 1000, usize::MAX] {
        let mut pair = Pair::new(ClientRole::Publish, step, |_| Ok(()));
        let events = pair.client_events();
        assert_eq!(events.last(), Some(&ClientEvent::Publishing { stream_id: 1 }));
        pair.server_events();
        let payloads = [0, 1, 65_536, 65_537, 300_000].map(|size| Bytes::from(vec![0x27; size]));
        for (payload, time) in payloads.iter().zip([0, 40, 0xFF_FFFF, 0x1_0000_0000, 0x1_0000_0028_i64]) {
            WireMessage::new(csid::VIDEO, 9, 1, time, payload.clone()).encode(pair.client.output());
        }
        pair.run();
        let payload_of = |event| match event {
            ServerEvent::Media { stream_id: 1, kind: FrameKind::Video, payload, .. } => payload,
            other => panic!("{other:?}"),
        };
        let received: Vec<_> = pair.server_events().into_iter().map(payload_of).collect();
        assert_eq!(received, payloads);
        pair.client.close();
        pair.run();
        assert_eq!(pair.server_events(), [ServerEvent::Unpublish { stream_id: 1 }]);
    }
}

#[test]
fn play_carries_media_and_ends() {
    for step in [1, usize::MAX] {
        let mut pair = Pair::new(ClientRole::Play, step, |_| Ok(()));
        assert_eq!(pair.client_events().last(), Some(&ClientEvent::Playing));
        assert_eq!(pair.server.phase(), Phase::Granted);
        for (type_id, csid, kind) in [(8, csid::AUDIO, FrameKind::Audio), (9, csid::VIDEO, FrameKind::Video)]
        {
            let payload = Bytes::from(vec![0xAF; 70_000]);
            WireMessage::new(csid, type_id, 1, 0x1_0000_0000, payload.clone()).encode(pair.server.output());
            pair.run();
            assert_eq!(pair.client_events(), [ClientEvent::Media { kind, timestamp: 0, payload }]);
        }
        pair.server.end_play(1, "over");
        pair.run();
        assert_eq!(pair.client_events(), [ClientEvent::Ended]);
    }
}

#[test]
fn refused_connect_publish_and_play_reach_the_client_in_the_servers_words() {
    for role in [ClientRole::Publish, ClientRole::Play] {
        let mut pair = Pair::new(role, usize::MAX, refuse_all_but_connect);
        let refused = ClientEvent::Rejected {
            code: "NetStream.Publish.BadName".to_owned(),
            description: "taken, sorry".to_owned(),
        };
        assert_eq!(pair.client_events().last(), Some(&refused));
        assert!(pair.server.is_closing());

        let mut pair = Pair::new(role, 1, |_| {
            let description = "no such app; ".repeat(20);
            Err(Rejection { code: "NetConnection.Connect.Rejected", description })
        });
        let events = pair.client_events();
        let Some(ClientEvent::Rejected { code, description }) = events.last() else { panic!("{events:?}") };
        assert_eq!(code, "NetConnection.Connect.Rejected");
        assert_eq!(description, &"no such app; ".repeat(20));
    }
}

#[test]
fn ended_publish_is_a_rejection_at_the_client() {
    let mut pair = Pair::new(ClientRole::Publish, usize::MAX, |_| Ok(()));
    pair.client_events();
    let rejection = Rejection { code: "NetStream.Publish.Denied", description: "taken over".to_owned() };
    pair.server.end_publish(1, &rejection);
    pair.run();
    let refused =
        ClientEvent::Rejected { code: rejection.code.to_owned(), description: "taken over".to_owned() };
    assert_eq!(pair.client_events(), [refused]);
}

#[test]
fn pings_acknowledgements_and_reconnect_requests_cross() {
    let mut pair = Pair::new(ClientRole::Publish, usize::MAX, |_| Ok(()));
    pair.client_events();
    pair.server_events();
    pair.server.ping(42);
    pair.client.ping(43);
    assert!(pair.server.request_reconnect(Some("rtmp://b/live"), "moving"), "our client announces it");
    pair.run();
    assert_eq!(pair.server_events(), [ServerEvent::Pong(42)]);
    let tc_url = Some("rtmp://b/live".to_owned());
    assert_eq!(pair.client_events(), [ClientEvent::ReconnectRequest { tc_url }]);

    let frame = WireMessage::new(csid::VIDEO, 9, 1, 0, Bytes::from(vec![0x27; 2_600_000]));
    frame.encode(pair.client.output());
    pair.run();
    let events = pair.client_events();
    let [ClientEvent::Acknowledged(total)] = &events[..] else { panic!("{events:?}") };
    assert!(*total > 2_500_000);
}
