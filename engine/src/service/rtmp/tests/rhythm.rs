//! When players get their frames: flush policies, and players that are not level.

use super::*;
use crate::config::FlushKind;

/// A stream that a player has joined and is level with.
async fn level(core: &Arc<Core>, name: &str) -> (Peer<DuplexStream>, Peer<DuplexStream>) {
    let publisher_name = name.split('?').next().unwrap();
    let mut publisher = Peer::publisher(core, publisher_name).await;
    let mut player = Peer::player(core, name).await;
    publisher.keyframe(0, 100).await;
    player.media().await;
    // The next frame finds a shard at work.
    publisher.video(40, 100).await;
    player.media().await;
    (publisher, player)
}

/// Virtual milliseconds until the player has its next frame, and that frame's time.
async fn wait(player: &mut Peer<DuplexStream>) -> (u128, i64) {
    let start = Instant::now();
    let (_, timestamp, _) = player.media().await;
    (start.elapsed().as_millis(), timestamp)
}

fn core_that_flushes(flush: FlushKind) -> Arc<Core> {
    core(|config| config.default_app.flush = flush)
}

#[tokio::test(start_paused = true)]
async fn riding_audio_waits_for_video_and_50_ms_at_most() {
    let core = core_that_flushes(FlushKind::WithVideo);
    let (mut publisher, mut player) = level(&core, "live/a").await;
    for round in 1..20 {
        let at = round * 100;
        publisher.video(at, 100).await;
        assert_eq!(wait(&mut player).await, (0, at), "video goes at once");
        publisher.audio(at + 10).await;
        let (waited, time) = wait(&mut player).await;
        assert_eq!(time, at + 10);
        assert!((1..=51).contains(&waited), "audio alone after {waited} ms");
        publisher.audio(at + 30).await;
        publisher.video(at + 40, 100).await;
        assert_eq!(wait(&mut player).await, (0, at + 30), "audio goes with video");
        assert_eq!(wait(&mut player).await, (0, at + 40));
    }
}

#[tokio::test(start_paused = true)]
async fn an_audio_only_stream_flows_every_50_ms() {
    let core = core_that_flushes(FlushKind::WithVideo);
    let mut publisher = Peer::publisher(&core, "live/a").await;
    let mut player = Peer::player(&core, "live/a").await;
    for i in 0..100 {
        publisher.audio(i * 23).await;
        let (waited, time) = wait(&mut player).await;
        assert_eq!(time, i * 23);
        assert!(waited <= 51, "{waited}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn immediate_players_get_audio_at_once() {
    let core = core_that_flushes(FlushKind::Immediate);
    let (mut publisher, mut player) = level(&core, "live/a").await;
    for i in 1..50 {
        publisher.audio(40 + i * 23).await;
        assert_eq!(wait(&mut player).await, (0, 40 + i * 23));
    }
}

#[tokio::test(start_paused = true)]
async fn merging_players_get_what_has_come_once_in_a_period() {
    let core = core_that_flushes(FlushKind::Merge);
    let (mut publisher, mut player) = level(&core, "live/a").await;
    let mut flushes = 0;
    for i in 1..=50 {
        publisher.video(40 + i * 20, 100).await;
        sleep(Duration::from_millis(20)).await;
        let mut first = true;
        while let Ok((_, _, _)) = timeout(Duration::ZERO, player.media()).await {
            flushes += u32::from(std::mem::take(&mut first));
        }
    }
    assert!((8..=12).contains(&flushes), "{flushes} writes in a second of 100 ms periods");
}

#[tokio::test(start_paused = true)]
async fn a_player_asks_for_its_rhythm_within_what_the_app_allows() {
    let core = core(|config| {
        config.default_app.flush = FlushKind::Merge;
        config.default_app.max_latency_ms = 300;
    });
    let app = core.config().default_app.clone();
    assert_eq!(app.flush_for(Some(0)), crate::config::Flush::Immediate);
    assert_eq!(app.flush_for(Some(5_000)), crate::config::Flush::Merge(Duration::from_millis(300)));
    assert_eq!(app.flush_for(None), crate::config::Flush::Merge(Duration::from_millis(100)));
    assert_eq!(app.flush_for(Some(199)), crate::config::Flush::Merge(Duration::from_millis(100)), "a step");
    let mut deaf = app.clone();
    (deaf.min_latency_ms, deaf.max_latency_ms) = (1, 0);
    assert_eq!(deaf.flush_for(Some(0)), deaf.flush_for(None));

    let (mut publisher, mut player) = level(&core, "live/a?latency=0").await;
    publisher.audio(50).await;
    assert_eq!(wait(&mut player).await, (0, 50));
}

#[tokio::test(start_paused = true)]
async fn a_player_that_stops_reading_for_a_while_costs_the_others_nothing_and_catches_up() {
    let core = core_that_flushes(FlushKind::Immediate);
    let (mut publisher, mut reading) = level(&core, "live/a").await;
    let mut sleeping = Peer::player(&core, "live/a").await;
    for i in 2..100 {
        publisher.keyframe(i * 40, 5_000).await;
        assert_eq!(wait(&mut reading).await, (0, i * 40));
    }
    // Half a megabyte is behind a pipe of 64 KiB: nothing of it is lost.
    let mut newest = 0;
    while newest < 99 * 40 {
        let (_, time, _) = sleeping.media().await;
        assert!(newest == 0 || time == newest + 40, "{time} after {newest}");
        newest = time;
    }
    publisher.keyframe(100 * 40, 5_000).await;
    assert_eq!(wait(&mut reading).await, (0, 100 * 40));
    assert_eq!(wait(&mut sleeping).await, (0, 100 * 40));
}

#[tokio::test(start_paused = true)]
async fn f19_a_player_that_has_caught_up_and_stops_reading_is_handed_one_batch_only() {
    let core = core_that_flushes(FlushKind::Merge);
    let mut events = core.events.subscribe();
    let (mut publisher, player) = level(&core, "live/a").await;
    // All in one period, so that the shard finds them together.
    for timestamp in 0..200 {
        publisher.keyframe(80 + timestamp, 10_000).await;
    }
    sleep(Duration::from_secs(2)).await;
    drop(player);
    let bytes_sent = bytes_played(&mut events).await;
    let most = (Limits::default().player_batch + 11_000) as u64;
    assert!((10_000..=most).contains(&bytes_sent), "{bytes_sent}");
}

#[tokio::test(start_paused = true)]
async fn shards_end_with_their_stream_and_with_their_last_player() {
    let core = core_that_flushes(FlushKind::WithVideo);
    let before = core.tasks.len();
    let (mut publisher, mut player) = level(&core, "live/a").await;
    assert!(core.tasks.len() > before, "a shard is at work");
    player.leave().await;
    publisher.video(80, 100).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(core.tasks.len(), before, "no player, no shard");

    let mut player = Peer::player(&core, "live/a").await;
    player.media().await;
    publisher.leave().await;
    while player.next().await.is_some_and(|event| event != ClientEvent::Ended) {}
    sleep(Duration::from_secs(1)).await;
    assert_eq!(core.tasks.len(), before, "no stream, no shard");
}

#[tokio::test(start_paused = true)]
async fn what_a_flush_policy_holds_back_is_delivered_when_the_engine_drains() {
    for flush in [FlushKind::WithVideo, FlushKind::Merge] {
        let core = core_that_flushes(flush);
        let (mut publisher, mut player) = level(&core, "live/a").await;
        publisher.audio(50).await;
        publisher.audio(70).await;
        while core.hub.stream(&"live/a".parse().unwrap()).unwrap().audio_frames < 2 {
            tokio::task::yield_now().await;
        }
        core.draining.cancel();
        for time in [50, 70] {
            assert_eq!(wait(&mut player).await, (0, time), "{flush:?}");
        }
    }
}
