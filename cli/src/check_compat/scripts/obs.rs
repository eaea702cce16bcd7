//! What OBS does.

use super::super::dialect::{CONNECT_SUCCESS, Dialect, Peer, Role, Status, statuses};
use super::super::handshake::Shaken;
use super::super::media::{OffAir, OnAir};
use super::super::wire::Listened;
use super::{Client, ENOUGH, Finding, Run, arrival};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const OBS: Client = Client::Obs;
/// How long the first of two publishers may still be heard of.
const GONE: Duration = Duration::from_secs(2);

/// Why nothing else can be checked, where that is so.
pub(super) async fn run(run: &mut Run<'_>) -> Result<(), String> {
    let publisher = enter(run).await?;
    let off = send(run, publisher).await?;
    let (finding, next) = stop(run, off).await;
    run.add(OBS, "stop", finding);
    let Some(next) = next else { return Ok(()) };

    // Its connection breaks: nothing is said, the socket is closed.
    let off = OnAir::start(next, run.clip).end().await?;
    drop(off);
    let (finding, next) = run.is_free("the connection is closed").await;
    run.add(OBS, "reconnect", finding);
    let Some(next) = next else { return Ok(()) };

    republish(run, next).await?;
    close_stream(run).await?;
    with_query(run).await;
    Ok(())
}

fn handshake(shaken: &Shaken) -> Finding {
    match shaken.is_echo {
        true => Finding::works("S2 is what OBS has sent"),
        false => Finding::differs("S2 is not what OBS has sent, which its log says, and it goes on"),
    }
}

/// Handshake, `connect` and `publish`.
async fn enter(run: &mut Run<'_>) -> Result<Peer, String> {
    let come = run.come(OBS, Dialect::Obs, Role::Publish, handshake).await;
    let mut peer = match come {
        Ok(peer) => peer,
        Err(words) => {
            run.add(OBS, "connect", Finding::does_not(format!("the server {words}")));
            return Err(words);
        }
    };
    let code = peer.welcome().and_then(Status::of).map(|status| run.target.quote(&status.code));
    run.add(OBS, "connect", judge_welcome(code.as_deref()));
    let finding = match peer.publish(&run.target, &run.name).await {
        Ok(()) => Finding::works(format!("NetStream.Publish.Start; {}", answers(&peer))),
        Err(words) => {
            run.add(OBS, "publish", Finding::does_not(format!("the server {words}")));
            return Err(words);
        }
    };
    run.add(OBS, "publish", finding);
    Ok(peer)
}

/// The code in the answer to `connect`: clients look whether it is a `_result`, and no further.
fn judge_welcome(code: Option<&str>) -> Finding {
    match code {
        Some(CONNECT_SUCCESS) => Finding::works(format!("the server answers {CONNECT_SUCCESS}")),
        Some(other) => Finding::differs(format!("the server answers {other}, at which OBS does not look")),
        None => Finding::differs("the server's answer has no code, at which OBS does not look"),
    }
}

/// Which of the calls are answered that OBS makes for servers of Adobe.
pub(super) fn answers(peer: &Peer) -> String {
    let answered = peer.answered();
    match answered.is_empty() {
        true => "calls that OBS makes without need of an answer get none".to_owned(),
        false => format!("answered are also {}", answered.join(", ")),
    }
}

/// Sends the stream to a player; then leaves.
async fn send(run: &mut Run<'_>, publisher: Peer) -> Result<OffAir, String> {
    let on_air = OnAir::start(publisher, run.clip);
    let player = run.player(Dialect::Ffmpeg).await;
    let arrived = match player {
        Ok(mut player) => Ok(run.watch(&mut player, ENOUGH).await),
        Err(words) => Err(words),
    };
    let off = on_air.leave().await?;
    let finding = match &arrived {
        Err(words) => Finding::does_not(format!("it cannot be played: the server {words}")),
        Ok(arrived) => match (arrival::unchanged(&off.sent, arrived), &off.broken) {
            (_, Some(broken)) => Finding::does_not(format!("the server {broken} while OBS sends")),
            (Ok(count), None) if count >= ENOUGH => Finding::works("frames come to a player byte for byte"),
            (Ok(_), None) => Finding::does_not("too few frames come to a player"),
            (Err(words), None) => Finding::differs(words),
        },
    };
    run.add(OBS, "stream", finding);
    run.add(OBS, "metadata", arrival::metadata(&arrived.unwrap_or_default()));
    Ok(off)
}

/// Whether the name is free once OBS has left, and who publishes it then.
async fn stop(run: &Run<'_>, off: OffAir) -> (Finding, Option<Peer>) {
    if let Ok(next) = run.publish_once(Dialect::Obs, &run.name).await {
        let words = "after FCUnpublish and deleteStream: the name is free at once";
        return (Finding::works(words), Some(next));
    }
    drop(off);
    run.is_free("not by FCUnpublish and deleteStream, but when the connection is closed, as OBS does next")
        .await
}

/// A second publisher while the first one sends; none is left.
async fn republish(run: &mut Run<'_>, first: Peer) -> Result<(), String> {
    let first = OnAir::start(first, run.clip);
    // Servers that look for silence have something to look at.
    sleep(Duration::from_millis(300)).await;
    let asked = async {
        let mut second = Peer::come(&run.target, Dialect::Obs, Role::Publish).await?;
        let granted = second.publish(&run.target, &run.name).await;
        Ok::<_, String>((second, granted))
    };
    let (mut second, granted) = asked.await?;
    let is_gone = granted.is_ok() && is_turned_away(&mut second, &first).await;
    let is_over = first.is_over();
    let off = first.leave().await?;
    let told = statuses(off.peer.since()).last().map(|status| run.target.quote(&status.to_string()));
    run.add(OBS, "republish", judge_second(granted, is_gone, is_over, told.as_deref()));
    // It may have been turned away.
    let _ = second.leave(Role::Publish).await;
    Ok(())
}

/// Whether a second publisher that was let in is sent away in a while in which the first one might be.
async fn is_turned_away(second: &mut Peer, first: &OnAir) -> bool {
    let until = Instant::now() + GONE;
    while !first.is_over() && Instant::now() < until {
        if let Listened::Over(_) = second.session.listen(Instant::now() + super::AGAIN, |_| false).await {
            return true;
        }
    }
    false
}

/// What became of two publishers of a name: the answer to the second one, and whether it was sent away after that; whether the
/// first one is gone, and what it was told last.
fn judge_second(granted: Result<(), String>, is_gone: bool, is_over: bool, told: Option<&str>) -> Finding {
    match granted {
        Ok(()) if is_gone => Finding::differs(
            "the second one is let in, and then the server closes its connection: OBS can only say that it lost it",
        ),
        Ok(()) if is_over => {
            let told = told.filter(|told| !told.starts_with("NetStream.Publish.Start"));
            let told = told.map_or_else(|| "closed without a word".to_owned(), |told| format!("told {told}"));
            Finding::works(format!("the second one takes over, and the first one is {told}"))
        }
        Ok(()) => {
            Finding::differs("both may publish at once: players get frames of two streams, or of one of them")
        }
        Err(words) if words.starts_with("refuses") => {
            let words = words.trim_start_matches("refuses: ");
            Finding::works(format!("the second one is refused while the first one sends: {words}"))
        }
        Err(words) if words.contains("closes the connection") => Finding::differs(format!(
            "the second one is turned away while the first one sends, as the server {words}: OBS can only say that it lost the connection"
        )),
        Err(words) => Finding::does_not(format!("the server {words}: OBS waits for it")),
    }
}

/// `closeStream` alone, on a connection that stays open.
async fn close_stream(run: &mut Run<'_>) -> Result<(), String> {
    let first = run.publisher(Dialect::Obs).await?;
    let mut off = OnAir::start(first, run.clip).end().await?;
    let said = off.peer.command("closeStream", &[]).await;
    if let Err(broken) = said {
        run.add(OBS, "close-stream", Finding::does_not(format!("the server {broken}")));
        return Ok(());
    }
    // What is said to it meanwhile is of no interest, but whether it stays.
    let stays = off.peer.session.listen(Instant::now() + super::AGAIN, |_| false).await;
    let (finding, next) = run.is_free("after closeStream").await;
    let finding = match stays {
        Listened::Over(broken) => Finding::differs(format!("the server {broken} then")),
        _ => finding,
    };
    run.add(OBS, "close-stream", finding);
    if let Some(mut next) = next {
        let _ = next.leave(Role::Publish).await;
    }
    Ok(())
}

/// A query behind the stream key, as keys and signatures are given.
async fn with_query(run: &mut Run<'_>) {
    if run.name.contains('?') {
        run.add(
            OBS,
            "query",
            Finding::works("the URL has one, with which all of this was published and played"),
        );
        return;
    }
    let name = format!("{}?check=1", run.name);
    let finding = match run.publisher_of(Dialect::Obs, &name).await {
        Err(words) => Finding::does_not(format!("the server {words}")),
        Ok(publisher) => match run.carry(publisher, run.clip.iter().take(40).cloned().collect()).await {
            Ok(carried) if arrival::media(&carried.frames) > 0 => {
                Finding::works("the stream is played by its name without the query")
            }
            Ok(_) => {
                Finding::differs("the query is taken for a part of the name: nothing is played without it")
            }
            Err(words) => Finding::does_not(words),
        },
    };
    run.add(OBS, "query", finding);
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::*;

    #[test]
    fn takeover_refusal_silence_and_two_publishers_at_once_are_told_apart() {
        let refused = Err("refuses: NetStream.Publish.BadName \"Already publishing\"".to_owned());
        let closed = Err("closes the connection without a word".to_owned());
        let silent = Err("does not answer within 5 s".to_owned());
        let gone = judge_second(Ok(()), true, false, None);
        assert!(gone.verdict == Verdict::Differs && gone.words.contains("closes its connection"));
        for (granted, is_over, told, verdict, words) in [
            (
                Ok(()),
                true,
                Some("NetStream.Publish.BadName"),
                Verdict::Works,
                "told NetStream.Publish.BadName",
            ),
            (Ok(()), true, Some("NetStream.Publish.Start"), Verdict::Works, "closed without a word"),
            (Ok(()), false, None, Verdict::Differs, "both"),
            (
                refused,
                false,
                None,
                Verdict::Works,
                "refused while the first one sends: NetStream.Publish.BadName",
            ),
            (closed, false, None, Verdict::Differs, "lost the connection"),
            (silent, false, None, Verdict::DoesNot, "does not answer"),
        ] {
            let finding = judge_second(granted, false, is_over, told);
            assert_eq!(finding.verdict, verdict, "{}", finding.words);
            assert!(finding.words.contains(words), "{}", finding.words);
        }
    }

    #[test]
    fn a_welcome_with_another_code_is_told() {
        assert_eq!(judge_welcome(Some(CONNECT_SUCCESS)).verdict, Verdict::Works);
        assert_eq!(judge_welcome(Some("Hello")).verdict, Verdict::Differs);
        assert_eq!(judge_welcome(None).verdict, Verdict::Differs);
    }

    #[test]
    fn an_answer_that_is_no_echo_is_only_a_line_in_the_log() {
        let shaken = |is_echo| Shaken { version: [0; 4], is_echo, has_digest: false, is_signed: false };
        assert_eq!(handshake(&shaken(true)).verdict, Verdict::Works);
        assert_eq!(handshake(&shaken(false)).verdict, Verdict::Differs);
    }
}
