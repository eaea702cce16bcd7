//! A publisher whose line comes and goes.

use super::*;

#[tokio::test(start_paused = true)]
async fn f27_a_publisher_that_flaps_for_a_minute_keeps_its_players_and_leaves_nothing() {
    const FLAPS: usize = 300;
    let core = core(|_| ());
    let mut events = core.events.subscribe();
    let mut player = Peer::player(&core, "live/a").await;
    let before = Arc::strong_count(&core);
    let mut newest = -1;
    for _ in 0..FLAPS {
        let mut publisher = Peer::publisher(&core, "live/a").await;
        // Each time the encoder's clock starts afresh.
        publisher.keyframe(0, 1000).await;
        let (kind, timestamp, _) = player.media().await;
        assert_eq!(kind, FrameKind::Video);
        assert!(timestamp > newest, "{timestamp} after {newest}");
        newest = timestamp;
        sleep(Duration::from_millis(100)).await;
        drop(publisher);
        sleep(Duration::from_millis(100)).await;
    }

    assert_eq!(core.sessions.list().len(), 1, "the player");
    assert_eq!(Arc::strong_count(&core), before, "no task is left");
    let stream = core.hub.stream(&key("live/a")).unwrap();
    assert_eq!((stream.subscribers, stream.resumes, stream.lags), (1, FLAPS as u64 - 1, 0));
    let mut counts = [0; 4];
    while let Some(received) = events.try_next() {
        match received {
            Received::Event(Event::StreamStarted { .. }) => counts[0] += 1,
            Received::Event(Event::StreamEnded { .. }) => counts[1] += 1,
            Received::Event(Event::SessionClosed { .. }) => counts[2] += 1,
            Received::Event(Event::SessionOpened { .. }) => counts[3] += 1,
            Received::Event(Event::PlayStarted { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts, [FLAPS, FLAPS, FLAPS, FLAPS + 1], "once each; the player was opened too");
}
