//! What is asked as no client in particular: of long streams, large frames, newer codecs, and who joins late.

use super::super::dialect::{Dialect, Peer, Role};
use super::super::media::{self, OnAir};
use super::super::wire::{Heard, Listened};
use super::{Carried, Client, Finding, Run, arrival, between_keyframes};
use bytes::Bytes;
use streamengine::amf0::Amf0Value;
use streamengine::media::{Frame, FrameKind};
use streamengine::proto::message::{Command, Control, Decoded};
use tokio::time::Instant;

const ANY: Client = Client::Any;
/// How large chunks are that are meant to be very large.
const LARGE_CHUNKS: u32 = 1 << 20;
/// After how many bytes the server is asked to acknowledge.
const WINDOW: u32 = 250_000;
/// The clock of a ping.
const CLOCK: u32 = 0x00C0_FFEE;
/// Fields of Enhanced RTMP in the answer to `connect`.
const ENHANCED: [&str; 4] = ["capsEx", "fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap"];

pub(super) async fn run(run: &mut Run<'_>) {
    large(run).await;
    announced(run).await;
    for (client, check, code) in
        [(Client::Obs, "hevc", b"hvc1"), (Client::Obs, "av1", b"av01"), (ANY, "opus", b"Opus")]
    {
        let sent = media::enhanced_frames(code);
        let carried = publish(run, sent.clone()).await;
        if code == b"hvc1" {
            run.add(ANY, "anew", judge_rest(carried.as_ref().map(|carried| carried.has_rest)));
        }
        run.add(client, check, judge_enhanced(&sent, carried.map(|carried| carried.frames)));
    }
}

async fn publish(run: &Run<'_>, frames: Vec<Frame>) -> Result<Carried, String> {
    match run.publisher(Dialect::Obs).await {
        Ok(publisher) => run.carry(publisher, frames).await,
        Err(words) => Err(format!("the server {words}")),
    }
}

/// Whether something of another stream came to who waited for this one.
fn judge_rest(has_rest: Result<bool, &String>) -> Finding {
    match has_rest {
        Ok(false) => Finding::works("players who wait for it get nothing of the stream before"),
        Ok(true) => Finding::differs(
            "players who wait for it get the end of the stream before first, of other codecs perhaps",
        ),
        Err(words) => Finding::does_not(words.clone()),
    }
}

pub(super) async fn long_stream(run: &mut Run<'_>) {
    let sent = media::late_frames(run.clip);
    let carried = publish(run, sent.clone()).await;
    run.add(ANY, "timestamps", judge_times(&sent, carried.map(|carried| carried.frames)));
}

fn judge_times(sent: &[Frame], arrived: Result<Vec<Frame>, String>) -> Finding {
    let checked = arrived.and_then(|arrived| {
        let count = arrival::unchanged(sent, &arrived)?;
        let moved = arrival::moved_by(sent, &arrived)?;
        Ok((count, moved))
    });
    match checked {
        Ok((count, _)) if count < arrival::media(sent) => {
            Finding::does_not("not all of it comes to a player")
        }
        Ok((_, 0)) => Finding::works("frames and times come to a player as they were sent"),
        Ok(_) => Finding::works(
            "frames come to a player as they were sent, and times count from another beginning",
        ),
        Err(words) => Finding::does_not(words),
    }
}

/// Large chunks, and with them the server's acknowledgements.
async fn large(run: &mut Run<'_>) {
    let sent = media::large_frames(run.clip);
    let carried = send_large(run, sent.clone()).await;
    let has_acknowledged =
        carried.as_ref().is_ok_and(|carried| acknowledges(&carried.publisher.session.heard));
    run.add(
        ANY,
        "acknowledgement",
        match has_acknowledged {
            true => Finding::works("the server acknowledges what it has received"),
            false => Finding::not_offered(
                "the server acknowledges nothing: who sends cannot tell what has arrived",
            ),
        },
    );
    run.add(ANY, "chunk-size", judge_large(&sent, carried.map(|carried| carried.frames)));
}

async fn send_large(run: &Run<'_>, frames: Vec<Frame>) -> Result<Carried, String> {
    let said = |words: String| format!("the server {words}");
    let mut publisher = run.publisher(Dialect::Obs).await.map_err(said)?;
    let announced = async {
        publisher.session.control(Control::WindowAckSize(WINDOW)).await?;
        publisher.session.set_chunk_size(LARGE_CHUNKS).await
    };
    announced.await.map_err(|broken| said(broken.into()))?;
    run.carry(publisher, frames).await
}

fn acknowledges(heard: &[Heard]) -> bool {
    heard.iter().any(|heard| matches!(heard.what, Decoded::Control(Control::Acknowledgement(1..))))
}

fn judge_large(sent: &[Frame], arrived: Result<Vec<Frame>, String>) -> Finding {
    match arrived.and_then(|arrived| arrival::unchanged(sent, &arrived)) {
        Ok(count) if count == arrival::media(sent) => {
            Finding::works("all of it comes to a player byte for byte")
        }
        Ok(0) => Finding::does_not("none of it comes to a player"),
        Ok(_) => Finding::differs("not all of it comes to a player: the server drops what is large, or late"),
        Err(words) => Finding::does_not(words),
    }
}

/// What the server says of itself, and whether it answers a ping.
async fn announced(run: &mut Run<'_>) {
    let mut peer = match Peer::come(&run.target, Dialect::Enhanced, Role::Publish).await {
        Ok(peer) => peer,
        Err(words) => {
            let finding = Finding::does_not(format!("the server {words} to a client that announces it"));
            return run.add(ANY, "enhanced", finding);
        }
    };
    run.add(ANY, "enhanced", judge_announcement(peer.welcome()));
    let is_pong = |heard: &Heard| heard.what == Decoded::Control(Control::PingResponse(CLOCK));
    let finding = match peer.session.control(Control::PingRequest(CLOCK)).await {
        Err(broken) => Finding::does_not(format!("the server {broken}")),
        Ok(()) => {
            let start = Instant::now();
            let heard = peer.session.listen(run.target.until(), |heard| heard.iter().any(is_pong)).await;
            match (peer.session.heard.iter().any(is_pong), heard) {
                (true, _) => Finding::works("the server answers").after(start.elapsed()),
                (false, Listened::Over(broken)) => Finding::does_not(format!("the server {broken}")),
                (false, _) => {
                    Finding::not_offered("the server does not answer: pings are for servers to send")
                }
            }
        }
    };
    run.add(ANY, "ping", finding);
}

fn judge_announcement(welcome: Option<&Command>) -> Finding {
    let objects = welcome.into_iter().flat_map(|command| command.arguments.iter().chain([&command.object]));
    let known: Vec<_> = objects
        .filter_map(|value| match value {
            Amf0Value::Object(fields) => Some(fields),
            _ => None,
        })
        .flat_map(|fields| ENHANCED.into_iter().filter(|name| fields.contains_key(*name)))
        .collect();
    match known.is_empty() {
        true => Finding::not_offered(
            "the answer has none of its fields: encoders that ask first take the server for one without newer codecs",
        ),
        false => Finding::works(format!("the answer has {}", known.join(", "))),
    }
}

fn judge_enhanced(sent: &[Frame], arrived: Result<Vec<Frame>, String>) -> Finding {
    let arrived = match arrived {
        Ok(arrived) => arrived,
        Err(words) => return Finding::does_not(words),
    };
    let has_head = arrived.iter().any(Frame::is_config);
    match arrival::unchanged(sent, &arrived) {
        Ok(0) => Finding::not_offered("none of it comes to a player"),
        Ok(_) if !has_head => Finding::does_not("frames come to a player without their configuration"),
        Ok(_) => Finding::works("configuration and frames come to a player byte for byte"),
        Err(words) => Finding::differs(words),
    }
}

/// A player that comes between two keyframes.
pub(super) async fn join_late(run: &mut Run<'_>, on_air: &OnAir) {
    between_keyframes(on_air).await;
    let (asked, before) = (Instant::now(), on_air.keyframes());
    let joined = async {
        let mut player = run.player(Dialect::Ffmpeg).await?;
        let has_picture = |heard: &[Heard]| heard.iter().any(is_picture);
        let _ = player.session.listen(run.target.until(), has_picture).await;
        let first = player.session.heard.iter().find(|heard| is_picture(heard)).cloned();
        Ok::<_, String>(first)
    };
    let finding = match joined.await {
        Ok(Some(first)) => judge_join(&first, &before).after(first.at.duration_since(asked)),
        Ok(None) => Finding::does_not("no picture comes"),
        Err(words) => Finding::does_not(format!("the server {words}")),
    };
    run.add(ANY, "late-join", finding);
}

fn is_picture(heard: &Heard) -> bool {
    heard.frame().is_some_and(|frame| frame.kind == FrameKind::Video && frame.has_media())
}

/// The first picture of a player, and the keyframes that had been sent before it asked.
fn judge_join(first: &Heard, before: &[Bytes]) -> Finding {
    let Some(frame) = first.frame().filter(|frame| frame.flags.keyframe) else {
        return Finding::differs(
            "pictures come that need one from before the player joined: there is none to see until the next keyframe",
        );
    };
    Finding::works(match before.contains(&frame.payload) {
        true => "the first picture is a keyframe, which the server has kept for those who join",
        false => "the first picture is the next keyframe, which the player has to wait for",
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn frames_of_newer_codecs_are_kept_changed_headless_or_dropped() {
        let sent = media::enhanced_frames(b"hvc1");
        let judged = |arrived: &[Frame]| judge_enhanced(&sent, Ok(arrived.to_vec())).verdict;
        assert_eq!(judged(&sent), Verdict::Works);
        assert_eq!(judged(&[]), Verdict::NotOffered);
        assert_eq!(judged(&sent[1..]), Verdict::DoesNot);
        let mut changed = sent.clone();
        changed[3].payload = changed[3].payload.slice(..100);
        assert_eq!(judged(&changed), Verdict::Differs);
        assert_eq!(judge_enhanced(&sent, Err("closes".to_owned())).verdict, Verdict::DoesNot);
    }

    #[test]
    fn the_rest_of_another_stream_is_told_of() {
        assert_eq!(judge_rest(Ok(false)).verdict, Verdict::Works);
        assert_eq!(judge_rest(Ok(true)).verdict, Verdict::Differs);
        assert_eq!(judge_rest(Err(&"closes".to_owned())).verdict, Verdict::DoesNot);
    }

    #[test]
    fn times_that_are_moved_work_and_those_that_break_do_not() {
        let clip = media::clip().unwrap();
        let sent = media::late_frames(&clip);
        assert_eq!(judge_times(&sent, Ok(sent.clone())).verdict, Verdict::Works);
        let moved = |by: fn(i64) -> i64| {
            sent.iter().map(|frame| Frame { timestamp: by(frame.timestamp), ..frame.clone() }).collect()
        };
        let rebased = judge_times(&sent, Ok(moved(|time| time - 16_000_000)));
        assert!(rebased.verdict == Verdict::Works && rebased.words.contains("another beginning"));
        assert_eq!(judge_times(&sent, Ok(moved(|time| time & 0xFF_FFFF))).verdict, Verdict::DoesNot);
        assert_eq!(judge_times(&sent, Ok(sent[..10].to_vec())).verdict, Verdict::DoesNot);
    }

    #[test]
    fn large_frames_come_whole_in_part_or_not() {
        let clip = media::clip().unwrap();
        let sent = media::large_frames(&clip);
        let judged = |arrived: &[Frame]| judge_large(&sent, Ok(arrived.to_vec())).verdict;
        assert_eq!(judged(&sent), Verdict::Works);
        assert_eq!(judged(&sent[..8]), Verdict::Differs);
        assert_eq!(judged(&[]), Verdict::DoesNot);
    }

    #[test]
    fn what_a_server_announces_is_in_its_answer() {
        let info = |names: &[&str]| {
            let fields = names.iter().map(|name| ((*name).to_owned(), Amf0Value::Number(1.0)));
            Amf0Value::Object(fields.collect::<HashMap<_, _>>())
        };
        let welcome =
            |object, arguments| Command { name: "_result".to_owned(), transaction: 1.0, object, arguments };
        let plain = welcome(info(&["fmsVer"]), vec![info(&["code"])]);
        assert_eq!(judge_announcement(Some(&plain)).verdict, Verdict::NotOffered);
        for command in [
            welcome(info(&["fourCcList"]), vec![]),
            welcome(Amf0Value::Null, vec![info(&["fourCcList", "code"])]),
        ] {
            let finding = judge_announcement(Some(&command));
            assert_eq!(finding.words, "the answer has fourCcList");
        }
    }

    #[test]
    fn a_player_that_joins_gets_a_keyframe_first_or_not() {
        let heard = |first: u8| Heard {
            at: Instant::now(),
            stream: 1,
            time: 0,
            what: Decoded::Video(vec![first, 1, 0, 0, 0, 0, 0, 0, 1, 0x65].into()),
        };
        assert!(is_picture(&heard(0x17)));
        let key = heard(0x17);
        let kept = judge_join(&key, &[key.frame().unwrap().payload]);
        assert!(kept.verdict == Verdict::Works && kept.words.contains("kept"));
        let next = judge_join(&key, &[]);
        assert!(next.verdict == Verdict::Works && next.words.contains("wait"));
        assert_eq!(judge_join(&heard(0x27), &[]).verdict, Verdict::Differs);
    }
}
