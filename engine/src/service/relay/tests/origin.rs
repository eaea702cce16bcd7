//! Promises of what fetches streams from origins, with servers whose every step the test decides.

use super::support::*;
use crate::config::{Config, OriginConfig};
use crate::hub::{EndReason, SubscribeOptions, Subscriber};
use crate::media::FrameKind;
use crate::media::metadata::{Value, on_metadata};
use crate::origins::{Missing, Refused};
use crate::status::StreamState;
use crate::testing::audio;
use crate::url::OriginUrl;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const NAME: &str = "origin/a/app/s";

fn node(change: impl FnOnce(&mut Config)) -> Node {
    let node = Node::new(change);
    node.relays.serve_origins();
    node
}

fn origin(doors: &[&Door], wait_ms: u64) -> OriginConfig {
    let url = |door: &&Door| format!("rtmp://u:hunter2@{}", door.address).parse::<OriginUrl>().unwrap();
    OriginConfig::new(doors.iter().map(url).collect()).wait_ms(wait_ms).linger_ms(0)
}

/// Somebody who plays the stream, once it has come.
async fn play(node: &Node) -> Result<Subscriber, Refused> {
    let fetched = soon("a verdict", node.core.origins.want(&key(NAME), &[])?.over()).await;
    fetched.map(|()| node.core.hub.subscribe(&key(NAME), SubscribeOptions::default()))
}

/// Reads up to this frame.
async fn see(viewer: &mut Subscriber, last: i64) {
    loop {
        soon("frames", viewer.ready()).await;
        let mut frames = Vec::new();
        viewer.take(usize::MAX, &mut frames).unwrap();
        let is_it = |f: &crate::media::Frame| {
            f.kind == FrameKind::Video && is_coded(&f.payload) && number(&f.payload) == last
        };
        if frames.iter().any(is_it) {
            return;
        }
    }
}

async fn end(viewer: &mut Subscriber) -> EndReason {
    loop {
        soon("the end", viewer.ready()).await;
        if let Err(reason) = viewer.take(usize::MAX, &mut Vec::new()) {
            return reason;
        }
    }
}

#[tokio::test]
async fn a_stream_is_fetched_for_its_players_and_left_after_the_last() {
    let (node, door) = (node(|_| ()), Door::open().await);
    node.core.origins.set("a", origin(&[&door], 5_000));
    let serve = async {
        let mut remote = door.grant().await;
        remote.send(frame(0, 100)).await;
        remote
    };
    let (first, second, mut remote) = tokio::join!(play(&node), play(&node), serve);
    let (mut first, second) = (first.unwrap(), second.unwrap());
    see(&mut first, 0).await;
    let status = node.core.origins.status("a").unwrap();
    assert!(status.streams[0].is_live && status.streams[0].moves == 0, "{status:?}");
    assert!(!format!("{status:?} {:?}", node.core.hub.streams()).contains("hunter"), "{status:?}");
    drop((first, second));
    while remote.event().await.is_some() {}
    soon("it is forgotten", async {
        while !node.core.origins.status("a").unwrap().streams.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(node.core.hub.stream(&key(NAME)).is_none());
}

#[tokio::test]
async fn a_stream_begins_with_a_picture_where_there_are_any_also_from_a_server_that_sends_audio_first() {
    for has_video in [true, false] {
        let (node, door) = (node(|_| ()), Door::open().await);
        node.core.origins.set("a", origin(&[&door], 5_000));
        let serve = async {
            let mut remote = door.grant().await;
            let codec = if has_video { 7.0 } else { 0.0 };
            remote.send(on_metadata(0, &[("videocodecid", Value::Number(codec))])).await;
            for at in 0..50 {
                remote.send(audio(at * 20)).await;
            }
            remote.send(frame(5, 100)).await;
            remote.send(frame(10, 100)).await;
            remote
        };
        let (viewer, _remote) = tokio::join!(play(&node), serve);
        let _viewer = viewer.unwrap();
        soon("the last frame", async {
            while node.core.hub.stream(&key(NAME)).unwrap().keyframes == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let info = node.core.hub.stream(&key(NAME)).unwrap();
        let expected = if has_video { (0, 1) } else { (50, 2) };
        assert_eq!((info.audio_frames, info.video_frames), expected, "{has_video}");
    }
}

#[tokio::test]
async fn a_lost_server_is_replaced_by_the_next_and_players_stay() {
    let (node, one, two) = (node(|_| ()), Door::open().await, Door::open().await);
    node.core.origins.set("a", origin(&[&one, &two], 5_000).failback_ms(0));
    let serve = async {
        let mut remote = one.grant().await;
        remote.send(frame(0, 100)).await;
        remote
    };
    let (viewer, remote) = tokio::join!(play(&node), serve);
    let mut viewer = viewer.unwrap();
    see(&mut viewer, 0).await;
    one.close();
    drop(remote);
    let mut remote = two.grant().await;
    remote.send(frame(10, 100)).await;
    see(&mut viewer, 10).await;
    let status = node.core.origins.status("a").unwrap();
    assert_eq!((status.streams[0].moves, status.streams[0].is_live), (1, true), "{status:?}");
    assert_eq!(node.core.hub.stream(&key(NAME)).unwrap().resumes, 1);
}

#[tokio::test]
async fn players_go_back_to_a_better_server_at_a_keyframe_once_it_has_sent_for_long_enough() {
    let (node, one, two) = (node(|_| ()), Door::open().await, Door::open().await);
    let address = one.close();
    let better: OriginUrl = format!("rtmp://{address}").parse().unwrap();
    let mut config = origin(&[&two], 5_000).failback_ms(300);
    config.urls.insert(0, better);
    node.core.origins.set("a", config);
    let serve = async {
        let mut remote = two.grant().await;
        remote.send(frame(0, 100)).await;
        remote
    };
    let (viewer, mut remote) = tokio::join!(play(&node), serve);
    let mut viewer = viewer.unwrap();
    see(&mut viewer, 0).await;
    let one = Door::open_at(address);
    let mut back = one.grant().await;
    let since = Instant::now();
    for header in headers() {
        back.send(header).await;
    }
    back.send(frame(100, 100)).await;
    // Neither a keyframe that comes too soon nor a late picture that is none.
    tokio::time::sleep(Duration::from_millis(400)).await;
    back.send(frame(101, 100)).await;
    remote.send(frame(1, 100)).await;
    see(&mut viewer, 1).await;
    back.send(frame(110, 100)).await;
    see(&mut viewer, 110).await;
    assert!(since.elapsed() >= Duration::from_millis(300));
    while remote.event().await.is_some() {}
    let info = node.core.hub.stream(&key(NAME)).unwrap();
    assert_eq!((info.state, info.config.len()), (StreamState::Live, 3), "with its configuration");
}

#[tokio::test]
async fn a_stream_that_has_ended_everywhere_ends_for_its_players() {
    let (node, one, two) = (node(|_| ()), Door::open().await, Door::open().await);
    node.core.origins.set("a", origin(&[&one, &two], 5_000));
    let serve = async {
        let mut remote = one.grant().await;
        remote.send(frame(0, 100)).await;
        remote
    };
    let (viewer, mut remote) = tokio::join!(play(&node), serve);
    let mut viewer = viewer.unwrap();
    see(&mut viewer, 0).await;
    remote.session.end_play(1, "over");
    remote.flush().await;
    let mut other = two.greet().await;
    other.connect().await;
    other.session.accept();
    other.event().await;
    other.refuse("NetStream.Play.StreamNotFound", "no").await;
    assert_eq!(end(&mut viewer).await, EndReason::Unpublished);
}

#[tokio::test]
async fn players_of_a_lost_stream_get_it_back_soon_after_its_server_is_back() {
    let (node, door) = (node(|config| config.default_app.resume_window_ms = 60_000), Door::open().await);
    node.core.origins.set("a", origin(&[&door], 5_000));
    let serve = async {
        let mut remote = door.grant().await;
        remote.send(frame(0, 100)).await;
        remote
    };
    let (viewer, remote) = tokio::join!(play(&node), serve);
    let mut viewer = viewer.unwrap();
    see(&mut viewer, 0).await;
    let address = door.close();
    drop(remote);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let door = Door::open_at(address);
    let mut remote = door.grant().await;
    remote.send(frame(10, 100)).await;
    see(&mut viewer, 10).await;
}

#[tokio::test]
async fn f39_answers_tell_what_all_servers_say_and_no_server_in_particular() {
    // Servers that refuse, are not there, or have nothing: what players learn, after how many milliseconds.
    for (servers, missing, time) in [
        (&["not found"][..], Missing::NotFound, 0..500),
        (&["silent"], Missing::NotFound, 900..1_100),
        (&["away"], Missing::Unreachable, 900..1_100),
        (&["black hole"], Missing::Unreachable, 900..1_100),
        (&["not found", "away"], Missing::Unreachable, 900..1_100),
        (&["not found", "not found"], Missing::NotFound, 0..500),
        (&["denied"], Missing::Unreachable, 900..1_100),
    ] {
        let node = node(|_| ());
        let mut urls = Vec::new();
        for &server in servers {
            let door = Door::open().await;
            urls.push(format!("rtmp://{}", door.address).parse::<OriginUrl>().unwrap());
            if server != "away" {
                tokio::spawn(async move {
                    loop {
                        if server == "black hole" {
                            std::mem::forget(door.accept().await);
                            continue;
                        }
                        let mut remote = door.greet().await;
                        remote.connect().await;
                        remote.session.accept();
                        remote.event().await;
                        match server {
                            "not found" => remote.refuse("NetStream.Play.StreamNotFound", "no").await,
                            "denied" => remote.refuse("NetStream.Play.Failed", "no").await,
                            _ => {
                                remote.session.accept();
                                remote.flush().await;
                                std::mem::forget(remote);
                            }
                        }
                    }
                });
            }
        }
        node.core.origins.set("a", OriginConfig::new(urls).wait_ms(1_000));
        let since = std::time::Instant::now();
        assert_eq!(play(&node).await.err(), Some(Refused::Missing(missing)), "{servers:?}");
        let took = since.elapsed().as_millis();
        assert!(time.contains(&took), "{servers:?}: {took} ms");
        assert!(node.core.hub.streams().is_empty());
    }
}

#[tokio::test]
async fn an_alias_that_is_changed_takes_its_players_along_and_one_that_is_removed_ends_them() {
    let (node, one, two) = (node(|_| ()), Door::open().await, Door::open().await);
    node.core.origins.set("a", origin(&[&one], 5_000));
    let serve = async {
        let mut remote = one.grant().await;
        remote.send(frame(0, 100)).await;
        remote
    };
    let (viewer, _remote) = tokio::join!(play(&node), serve);
    let mut viewer = viewer.unwrap();
    see(&mut viewer, 0).await;
    node.core.origins.set("a", origin(&[&two], 5_000));
    let mut remote = two.grant().await;
    remote.send(frame(10, 100)).await;
    see(&mut viewer, 10).await;
    assert!(node.core.origins.remove("a") && !node.core.origins.remove("a"));
    assert_eq!(end(&mut viewer).await, EndReason::Unpublished);
}

#[tokio::test]
async fn f39_names_that_strangers_make_up_write_few_lines_of_the_log() {
    let node = node(|config| config.limits.origin_pulls = 100);
    let door = Door::open().await;
    let address = door.close();
    let away: OriginUrl = format!("rtmp://{address}").parse().unwrap();
    node.core.origins.set("a", OriginConfig::new(vec![away]).wait_ms(50));
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    // All tasks of this test run on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    for number in 0..40 {
        let waiting = node.core.origins.want(&key(&format!("origin/a/app/{number}")), &[]).unwrap();
        assert!(waiting.over().await.is_err());
    }
    let count = lines.0.load(Ordering::Relaxed);
    assert!((1..=20).contains(&count), "{count} lines");
}

/// Counts lines that are written.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicUsize>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.fetch_add(bytes.iter().filter(|byte| **byte == b'\n').count(), Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
