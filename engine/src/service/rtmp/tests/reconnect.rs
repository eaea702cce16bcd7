//! Reconnect requests: who is asked, when, and what goes on meanwhile.

use super::*;

/// A peer that differs from [`Peer::new`] in `connect` only: it does not announce that it follows reconnect requests.
async fn silent_about_it(core: &Arc<Core>, role: ClientRole, stream: &str) -> Peer<DuplexStream> {
    let mut peer = Peer::new(core, role, stream);
    let key = loop {
        let event = peer.rtmp.poll().unwrap();
        let mut output = peer.rtmp.output().split();
        let key = output.windows(6).position(|bytes| bytes == b"capsEx");
        if let Some(at) = key {
            output[at..at + 6].copy_from_slice(b"capsNo");
        }
        peer.io.write_all(&output).await.unwrap();
        if event == Some(ClientEvent::HandshakeDone) {
            break key;
        }
        peer.io.read_buf(peer.rtmp.input()).await.unwrap();
    };
    assert!(key.is_some(), "`connect` is in what follows the handshake, its key in one chunk");
    match role {
        ClientRole::Publish => peer.until_publishing().await,
        ClientRole::Play => peer.until_playing().await,
    }
    peer
}

/// What a peer hears until the server closes, acknowledgements left out.
async fn heard(peer: &mut Peer<DuplexStream>) -> Vec<ClientEvent> {
    let mut heard = Vec::new();
    while let Some(event) = peer.next().await {
        if !matches!(event, ClientEvent::Acknowledged(_)) {
            heard.push(event);
        }
    }
    heard
}

fn is_request(event: &ClientEvent) -> bool {
    matches!(event, ClientEvent::ReconnectRequest { tc_url: None })
}

fn drain(core: &Core) {
    core.draining.cancel();
    core.hub.end_all(&EndReason::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn draining_asks_players_that_announced_it_before_their_last_frames_and_no_others() {
    let core = core(|_| ());
    let mut publisher = Peer::publisher(&core, "live/a").await;
    let mut asked = Peer::player(&core, "live/a").await;
    let mut other = silent_about_it(&core, ClientRole::Play, "live/a").await;
    for time in [0, 40] {
        publisher.keyframe(time, 100).await;
        for player in [&mut asked, &mut other] {
            assert_eq!(player.media().await.1, time);
        }
    }
    // Waits for video to ride with.
    publisher.audio(50).await;
    while core.hub.stream(&key("live/a")).unwrap().audio_frames < 1 {
        tokio::task::yield_now().await;
    }
    drain(&core);

    let mut heard_by_asked = heard(&mut asked).await;
    assert!(is_request(&heard_by_asked.remove(0)), "before the frames that were held back");
    assert!(
        matches!(heard_by_asked[..], [ClientEvent::Media { timestamp: 50, .. }, ClientEvent::Ended]),
        "{heard_by_asked:?}"
    );
    assert_eq!(heard(&mut other).await, heard_by_asked);
}

#[tokio::test(start_paused = true)]
async fn draining_asks_publishers_that_announced_it_and_ends_all_as_ever() {
    let core = core(|_| ());
    let mut asked = Peer::publisher(&core, "live/a").await;
    let mut other = silent_about_it(&core, ClientRole::Publish, "live/b").await;
    drain(&core);
    let mut heard_by_asked = heard(&mut asked).await;
    assert!(is_request(&heard_by_asked.remove(0)));
    let [ClientEvent::Rejected { code, description }] = &heard_by_asked[..] else {
        panic!("one refusal expected: {heard_by_asked:?}")
    };
    assert_eq!(code, "NetConnection.Connect.AppShutdown");
    assert!(description.contains("shutting down"), "{description}");
    assert_eq!(heard(&mut other).await, heard_by_asked);
}

#[tokio::test(start_paused = true)]
async fn whoever_hears_of_the_end_of_the_streams_first_is_asked_all_the_same() {
    let core = core(|_| ());
    let mut publisher = Peer::publisher(&core, "live/a").await;
    publisher.keyframe(0, 100).await;
    let mut player = Peer::player(&core, "live/a").await;
    player.media().await;
    core.hub.end_all(&EndReason::Shutdown);
    for peer in [&mut publisher, &mut player] {
        let heard = heard(peer).await;
        assert!(is_request(&heard[0]), "{heard:?}");
        assert_eq!(heard.len(), 2, "then the end: {heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_asked_peer_goes_on_until_it_leaves_and_can_be_asked_again_and_kicked() {
    let core = core(|_| ());
    let mut publisher = Peer::publisher(&core, "live/a").await;
    let id = core.sessions.list()[0].id;
    for tc_url in [Some("rtmp://b/live?key=1"), None, None] {
        assert_eq!(core.sessions.request_reconnect(id, tc_url), Some(true));
        let expected = ClientEvent::ReconnectRequest { tc_url: tc_url.map(str::to_owned) };
        assert_eq!(publisher.next().await, Some(expected));
    }
    publisher.keyframe(0, 100).await;
    let mut player = Peer::player(&core, "live/a").await;
    assert_eq!(player.media().await.2, 100);

    assert!(core.sessions.kick(id, "enough"));
    assert_eq!(core.sessions.request_reconnect(id, None), Some(true), "takes nothing back");
    assert!(publisher.rejected().await.1.contains("enough"));
}

#[tokio::test(start_paused = true)]
async fn who_has_not_announced_it_or_is_not_there_is_not_asked() {
    let core = core(|_| ());
    let mut publisher = silent_about_it(&core, ClientRole::Publish, "live/a").await;
    let id = core.sessions.list()[0].id;
    assert_eq!(core.sessions.request_reconnect(id, None), Some(false));
    assert!(core.sessions.kick(id, "enough"));
    let heard = heard(&mut publisher).await;
    assert!(matches!(&heard[..], [ClientEvent::Rejected { .. }]), "{heard:?}");
    while !core.sessions.list().is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(core.sessions.request_reconnect(id, None), None);
}
