//! What librtmp does, as rtmpdump plays with it.

use super::super::dialect::{Dialect, PLAY_START, Peer, Role, statuses};
use super::super::handshake::Shaken;
use super::super::wire::{Heard, Listened};
use super::{Client, ENOUGH, Finding, Run, arrival};
use std::time::Duration;
use streamengine::amf0::Amf0Value;
use streamengine::proto::message::{Control, Decoded};
use tokio::time::Instant;

const LIBRTMP: Client = Client::Librtmp;
/// From this version of S1 on, librtmp wants digests.
const LEAST_VERSION: u8 = 1;
const PLAY_RESET: &str = "NetStream.Play.Reset";
/// What may still be on its way when a pause is asked for, and how long it is looked at then.
const ON_ITS_WAY: Duration = Duration::from_millis(700);
const PAUSED: Duration = Duration::from_millis(800);

pub(super) async fn run(run: &mut Run<'_>) {
    let come = run.come(LIBRTMP, Dialect::Librtmp, Role::Play, handshake).await;
    let mut player = match come {
        Ok(player) => player,
        Err(words) => return run.add(LIBRTMP, "connect", Finding::does_not(format!("the server {words}"))),
    };
    let played = player.play(&run.target, &run.name).await;
    run.add(LIBRTMP, "connect", bandwidth(&player));
    if let Err(words) = played {
        return run.add(LIBRTMP, "play", Finding::does_not(format!("the server {words}")));
    }
    let arrived = run.watch(&mut player, ENOUGH).await;
    run.add(LIBRTMP, "play", order(player.since()));
    run.add(LIBRTMP, "start", arrival::start(&arrived));
    let finding = pause(run, &mut player).await;
    run.add(LIBRTMP, "pause", finding);
}

fn handshake(shaken: &Shaken) -> Finding {
    let finding = super::digest_handshake(shaken, LEAST_VERSION, "librtmp");
    let is_plain = shaken.version.first() == Some(&0);
    match is_plain && !shaken.is_echo {
        true => Finding::differs("S2 is not what librtmp has sent, of which it warns, and it goes on"),
        false => finding,
    }
}

/// `onBWDone`, at which librtmp asks the server to measure.
fn bandwidth(player: &Peer) -> Finding {
    let is_asked = player.session.heard.iter().filter_map(Heard::command).any(|c| c.name == "onBWDone");
    let is_answered = player.answered().contains(&"_checkbw");
    Finding::works(match (is_asked, is_answered) {
        (true, true) => "the server says onBWDone, and answers the _checkbw that follows",
        (true, false) => {
            "the server says onBWDone, and does not answer the _checkbw that follows, which does no harm"
        }
        (false, _) => "the server does not say onBWDone, so that librtmp asks for nothing",
    })
}

/// What the answer to `play` consists of, in its order.
fn order(heard: &[Heard]) -> Finding {
    let mut parts: Vec<&str> = Vec::new();
    for heard in heard {
        let part = match &heard.what {
            Decoded::Control(Control::StreamBegin(_)) => "StreamBegin",
            Decoded::Command(_) => match statuses(std::slice::from_ref(heard)).next() {
                Some(status) if status.code == PLAY_START => "Play.Start",
                Some(status) if status.code == PLAY_RESET => "Play.Reset",
                _ => continue,
            },
            Decoded::Audio(payload) | Decoded::Video(payload) if !payload.is_empty() => "frames",
            _ => continue,
        };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let place = |part: &str| parts.iter().position(|known| *known == part);
    let words = parts.join(", ");
    let (start, frames) = (place("Play.Start"), place("frames"));
    match (place("Play.Reset"), start) {
        (Some(reset), Some(start)) if reset > start => {
            Finding::differs(format!("Reset comes after Start, at which players begin anew: {words}"))
        }
        (_, start) if start > frames && frames.is_some() => {
            Finding::differs(format!("frames come before Start, and librtmp drops those: {words}"))
        }
        _ => Finding::works(format!("in this order: {words}")),
    }
}

async fn pause(run: &Run<'_>, player: &mut Peer) -> Finding {
    if let Err(broken) = player.command("pause", &pause_of(true)).await {
        return Finding::does_not(format!("the server {broken}"));
    }
    let _ = player.session.listen(Instant::now() + ON_ITS_WAY, |_| false).await;
    let before = arrival::media(&arrival::frames(&player.session.heard));
    let listened = player.session.listen(Instant::now() + PAUSED, |_| false).await;
    if let Listened::Over(broken) = listened {
        return Finding::does_not(format!("the server {broken}"));
    }
    let meanwhile = arrival::media(&arrival::frames(&player.session.heard)) - before;
    let is_told = statuses(player.since()).any(|status| status.code == "NetStream.Pause.Notify");
    let from = before + meanwhile;
    let goes_on = match player.command("pause", &pause_of(false)).await {
        Ok(_) => {
            let is_more = |heard: &[Heard]| arrival::media(&arrival::frames(heard)) > from;
            player.session.listen(run.target.until(), is_more).await == Listened::Enough
        }
        Err(_) => false,
    };
    judge_pause(meanwhile, is_told, goes_on)
}

fn pause_of(is_pause: bool) -> [Amf0Value; 2] {
    [Amf0Value::Boolean(is_pause), Amf0Value::Number(0.0)]
}

fn judge_pause(meanwhile: usize, is_told: bool, goes_on: bool) -> Finding {
    match (meanwhile, goes_on) {
        (_, false) => Finding::does_not("nothing comes any more after the pause"),
        (0, true) => Finding::works(match is_told {
            true => "frames stop with NetStream.Pause.Notify, and go on after it",
            false => "frames stop without NetStream.Pause.Notify, and go on after it",
        }),
        (_, true) if is_told => {
            Finding::differs("the server says NetStream.Pause.Notify, and goes on sending all the same")
        }
        (_, true) => Finding::not_offered("the server goes on sending, as is usual for live streams"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::said::{heard, status};
    use super::*;

    #[test]
    fn the_order_of_an_answer_is_told_and_a_wrong_one_found() {
        let begin = || heard(Decoded::Control(Control::StreamBegin(1)));
        let frame = || heard(Decoded::Video(b"\x17\x01\0\0\0\0\0\0\x01\x65".as_slice().into()));
        let (reset, start) = (|| status(PLAY_RESET), || status(PLAY_START));
        let right = order(&[begin(), reset(), start(), frame()]);
        assert_eq!(right.verdict, Verdict::Works);
        assert_eq!(right.words, "in this order: StreamBegin, Play.Reset, Play.Start, frames");
        assert_eq!(order(&[start(), frame()]).verdict, Verdict::Works);
        assert_eq!(order(&[begin(), start(), reset(), frame()]).verdict, Verdict::Differs);
        assert_eq!(order(&[frame(), reset(), start()]).verdict, Verdict::Differs);
    }

    #[test]
    fn a_pause_that_is_kept_ignored_or_final_is_told_apart() {
        assert_eq!(judge_pause(0, true, true).verdict, Verdict::Works);
        assert_eq!(judge_pause(20, true, true).verdict, Verdict::Differs);
        assert_eq!(judge_pause(20, false, true).verdict, Verdict::NotOffered);
        assert_eq!(judge_pause(0, true, false).verdict, Verdict::DoesNot);
    }

    #[test]
    fn a_plain_answer_that_is_no_echo_is_only_a_warning() {
        let shaken = Shaken { version: [0; 4], is_echo: false, has_digest: false, is_signed: false };
        assert_eq!(handshake(&shaken).verdict, Verdict::Differs);
        assert_eq!(handshake(&Shaken { is_echo: true, ..shaken }).verdict, Verdict::Works);
    }
}
