//! What ffmpeg does, as publisher and as player.

use super::super::dialect::{Dialect, PLAY_START, Peer, Role, statuses};
use super::super::handshake::Shaken;
use super::super::media::OnAir;
use super::super::wire::{Heard, Listened};
use super::{Client, ENOUGH, Finding, Run, arrival};
use streamengine::amf0::{self, Amf0Value};
use streamengine::proto::message::{Control, Decoded};

const FFMPEG: Client = Client::Ffmpeg;
/// From this version of S1 on, ffmpeg wants digests.
const LEAST_VERSION: u8 = 3;

/// Leaves a publisher on air.
pub(super) async fn run(run: &mut Run<'_>) -> Result<OnAir, String> {
    let publisher = enter(run).await?;
    let on_air = OnAir::start(publisher, run.clip);
    play(run).await;
    end(run, on_air).await?;
    Ok(OnAir::start(run.publisher(Dialect::Ffmpeg).await?, run.clip))
}

fn handshake(shaken: &Shaken) -> Finding {
    super::digest_handshake(shaken, LEAST_VERSION, "ffmpeg")
}

async fn enter(run: &mut Run<'_>) -> Result<Peer, String> {
    let come = run.come(FFMPEG, Dialect::Ffmpeg, Role::Publish, handshake).await;
    let granted = async {
        let mut peer = come?;
        match peer.publish(&run.target, &run.name).await {
            Ok(()) => Ok(peer),
            // The one before it may just be leaving.
            Err(_) => run.publisher(Dialect::Ffmpeg).await,
        }
    };
    match granted.await {
        Ok(peer) => {
            let size = peer.session.chunk_size_of_server();
            let words = format!("NetStream.Publish.Start; chunks are of {size} bytes");
            run.add(FFMPEG, "publish", Finding::works(words));
            Ok(peer)
        }
        Err(words) => {
            run.add(FFMPEG, "publish", Finding::does_not(format!("the server {words}")));
            Err(words)
        }
    }
}

async fn play(run: &mut Run<'_>) {
    let mut player = match run.player(Dialect::Ffmpeg).await {
        Ok(player) => player,
        Err(words) => return run.add(FFMPEG, "play", Finding::does_not(format!("the server {words}"))),
    };
    let arrived = run.watch(&mut player, ENOUGH).await;
    let length = match player.answered().contains(&"getStreamLength") {
        true => "getStreamLength is answered",
        false => "getStreamLength gets no answer, and ffmpeg needs none",
    };
    run.add(FFMPEG, "play", Finding::works(format!("{PLAY_START}; {length}")));
    run.add(FFMPEG, "start", arrival::start(&arrived));
}

/// The publisher leaves: does a player hear of it?
async fn end(run: &mut Run<'_>, on_air: OnAir) -> Result<(), String> {
    let player = run.player(Dialect::Ffmpeg).await;
    if let Ok(player) = player {
        let finding = hear_the_end(run, player, on_air).await?;
        run.add(FFMPEG, "end", finding);
        return Ok(());
    }
    on_air.leave().await.map(|_| ())
}

async fn hear_the_end(run: &Run<'_>, mut player: Peer, on_air: OnAir) -> Result<Finding, String> {
    let _ = run.watch(&mut player, 1).await;
    let from = player.session.heard.len();
    let off = on_air.leave().await?;
    let is_told = |heard: &[Heard]| is_end(heard.get(from..).unwrap_or_default());
    let listened = player.session.listen(run.target.until(), is_told).await;
    // Its connection has been open until here, so that it is not what ends the stream.
    drop(off);
    Ok(judge_end(player.session.heard.get(from..).unwrap_or_default(), &listened))
}

/// Codes that ffmpeg ends at.
const ENDS: [&str; 2] = ["NetStream.Play.Stop", "NetStream.Play.UnpublishNotify"];

fn is_end(heard: &[Heard]) -> bool {
    statuses(heard).any(|status| ENDS.contains(&status.code.as_str()))
}

fn judge_end(heard: &[Heard], listened: &Listened) -> Finding {
    let is_eof = |heard: &Heard| matches!(heard.what, Decoded::Control(Control::StreamEof(_)));
    let first = statuses(heard).find(|status| ENDS.contains(&status.code.as_str()));
    match (first, listened) {
        (Some(status), _) => Finding::works(format!("{} comes, at which ffmpeg ends", status.code)),
        (None, Listened::Over(_)) => Finding::works("the server closes the connection, at which ffmpeg ends"),
        (None, _) if heard.iter().any(|heard| is_eof(heard) || is_complete(heard)) => Finding::differs(
            "the server tells of the end in a way that ffmpeg does not know: it waits until it is ended",
        ),
        (None, _) => Finding::differs(
            "the server says nothing: ffmpeg waits until it is ended, or until a stream of the name goes on",
        ),
    }
}

/// Adobe's servers say it in a data message.
fn is_complete(heard: &Heard) -> bool {
    let Decoded::Data(payload) = &heard.what else { return false };
    let values = amf0::decode_all(payload).unwrap_or_default();
    matches!(values.first(), Some(Amf0Value::Utf8String(name)) if name == "onPlayStatus")
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Verdict;
    use super::super::super::wire::Broken;
    use super::super::said::{heard, status};
    use super::*;

    #[test]
    fn only_what_ffmpeg_knows_ends_it() {
        let eof = || heard(Decoded::Control(Control::StreamEof(1)));
        let over = Listened::Over(Broken("closes the connection".to_owned()));
        for (heard, listened, verdict) in [
            (vec![eof(), status("NetStream.Play.UnpublishNotify")], &Listened::Enough, Verdict::Works),
            (vec![status("NetStream.Play.Stop")], &Listened::Enough, Verdict::Works),
            (vec![], &over, Verdict::Works),
            (vec![eof()], &Listened::Silent, Verdict::Differs),
            (vec![status("NetStream.Play.Start")], &Listened::Silent, Verdict::Differs),
        ] {
            assert_eq!(judge_end(&heard, listened).verdict, verdict, "{heard:?}");
        }
        assert!(judge_end(&[eof()], &Listened::Silent).words.contains("does not know"));
    }
}
