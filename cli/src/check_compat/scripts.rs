//! The scripts: what each client does, and what is made of the answers.

mod any;
mod ffmpeg;
mod librtmp;
mod obs;

use super::arrival;
use super::dialect::{Dialect, Peer, Role, Target, connect, shake};
use super::handshake::Shaken;
use super::media::OnAir;
use super::report::{Client, Finding, Findings};
use super::wire::{Heard, Listened};
use std::time::Duration;
use streamengine::media::{Frame, FrameKind};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Frames that are enough to judge a stream by.
const ENOUGH: usize = 25;
/// A stream that is live sends something within this time.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is asked whether a name is free again.
const AGAIN: Duration = Duration::from_millis(200);
/// A server that lets everybody in sends those whose name is taken away again within this time.
const SENT_AWAY: Duration = Duration::from_millis(400);
/// Between two keyframes of the clip.
const KEYFRAME_INTERVAL_MS: u128 = 2_000;

/// What the scripts share.
pub(super) struct Run<'a> {
    pub(super) target: Target,
    /// The stream's name with the query of the URL.
    pub(super) name: String,
    pub(super) clip: &'a [Frame],
    pub(super) findings: Findings,
}

impl Run<'_> {
    pub(super) fn add(&mut self, client: Client, check: &'static str, finding: Finding) {
        tracing::debug!("{} {check}: {:?}", client.name(), finding.verdict);
        self.findings.add(client, check, finding);
    }

    /// Whether somebody publishes the stream.
    pub(super) async fn is_live(&self) -> bool {
        let looked = timeout(LOOK.max(self.target.patience), async {
            let mut player = self.player(Dialect::Ffmpeg).await?;
            let listened =
                player.session.listen(Instant::now() + LOOK, |heard| heard.iter().any(is_of_stream));
            Ok::<_, String>(listened.await == Listened::Enough)
        });
        matches!(looked.await, Ok(Ok(true)))
    }

    /// Shakes hands as a client does, tells of it, and connects.
    async fn come(
        &mut self,
        client: Client,
        dialect: Dialect,
        role: Role,
        judge: fn(&Shaken) -> Finding,
    ) -> Result<Peer, String> {
        let (session, shaken) = match shake(&self.target, dialect).await {
            Ok(shaken) => shaken,
            Err(words) => {
                self.add(client, "handshake", Finding::does_not(format!("the server {words}")));
                return Err(words);
            }
        };
        self.add(client, "handshake", judge(&shaken));
        connect(&self.target, dialect, role, session).await
    }

    /// A publisher, once the name is free.
    async fn publisher(&self, dialect: Dialect) -> Result<Peer, String> {
        self.publisher_of(dialect, &self.name).await
    }

    async fn publisher_of(&self, dialect: Dialect, name: &str) -> Result<Peer, String> {
        let until = self.target.until();
        loop {
            match self.publish_once(dialect, name).await {
                Err(words) if Instant::now() >= until => return Err(words),
                Err(_) => sleep(AGAIN).await,
                granted => return granted,
            }
        }
    }

    /// A publisher that is let in, and may stay.
    async fn publish_once(&self, dialect: Dialect, name: &str) -> Result<Peer, String> {
        let mut peer = Peer::come(&self.target, dialect, Role::Publish).await?;
        peer.publish(&self.target, name).await?;
        match peer.session.listen(Instant::now() + SENT_AWAY, |_| false).await {
            Listened::Over(broken) => Err(format!("{broken} after NetStream.Publish.Start")),
            _ => Ok(peer),
        }
    }

    async fn player(&self, dialect: Dialect) -> Result<Peer, String> {
        let mut peer = Peer::come(&self.target, dialect, Role::Play).await?;
        peer.play(&self.target, &self.name).await?;
        Ok(peer)
    }

    /// What comes to a player until it is enough, of video and of audio, or the time is over.
    async fn watch(&self, player: &mut Peer, enough: usize) -> Vec<Frame> {
        let is_enough = |heard: &[_]| arrival::has_both(&arrival::frames(heard), enough);
        let _ = player.session.listen(self.target.until(), is_enough).await;
        arrival::frames(&player.session.heard)
    }

    /// Whether the name is free at once for another publisher, after how long, or why not.
    async fn is_free(&self, words: &str) -> (Finding, Option<Peer>) {
        let start = Instant::now();
        if let Ok(peer) = self.publish_once(Dialect::Obs, &self.name).await {
            return (Finding::works(format!("{words}: the name is free at once")), Some(peer));
        }
        match self.publisher(Dialect::Obs).await {
            Ok(peer) => {
                let finding = Finding::differs(format!("{words}: the name is free again after a while only"));
                (finding.after(start.elapsed()), Some(peer))
            }
            Err(why) => {
                let waited = self.target.patience.as_secs();
                (
                    Finding::does_not(format!("{words}: the name is still taken after {waited} s: it {why}")),
                    None,
                )
            }
        }
    }

    /// Publishes frames to a player that is there before them: what has come of them.
    async fn carry(&self, publisher: Peer, frames: Vec<Frame>) -> Result<Carried, String> {
        let (wanted, sent) = (arrival::media(&frames), arrival::Sent::new(&frames));
        let mut player = self
            .player(Dialect::Enhanced)
            .await
            .map_err(|why| format!("it cannot be played: the server {why}"))?;
        let on_air = OnAir::send(publisher, frames.into_iter());
        let (mut looked, mut count) = (0, 0);
        let is_enough = |heard: &[Heard]| {
            let new = heard.get(looked..).unwrap_or_default();
            count += new.iter().filter(|heard| sent.has_media(heard)).count();
            looked = heard.len();
            count >= wanted
        };
        let _ = player.session.listen(self.target.until(), is_enough).await;
        let off = on_air.leave().await?;
        if let Some(broken) = off.broken {
            return Err(format!("the server {broken} while it is sent"));
        }
        let (frames, has_rest) = sent.without_rest(arrival::frames(&player.session.heard));
        Ok(Carried { frames, has_rest, publisher: off.peer })
    }
}

/// What has come of frames that were published.
struct Carried {
    frames: Vec<Frame>,
    /// Whether something of the stream before came first.
    has_rest: bool,
    publisher: Peer,
}

/// Whether it is of a stream that somebody publishes: servers say more to players than that.
fn is_of_stream(heard: &Heard) -> bool {
    heard.frame().is_some_and(|frame| frame.kind != FrameKind::Data || frame.is_metadata())
}

/// Waits until a publisher of the clip is about in the middle between two keyframes.
async fn between_keyframes(on_air: &OnAir) {
    const MIDDLE: u128 = KEYFRAME_INTERVAL_MS / 2;
    let age = on_air.age().as_millis() % KEYFRAME_INTERVAL_MS;
    let wait = (KEYFRAME_INTERVAL_MS + MIDDLE - age) % KEYFRAME_INTERVAL_MS;
    sleep_until(Instant::now() + Duration::from_millis(u64::try_from(wait).unwrap_or_default())).await;
}

/// Runs all scripts but those over HTTP, for which a publisher is left on air, once one could publish.
pub(super) async fn all(run: &mut Run<'_>) -> Result<OnAir, String> {
    tracing::info!("as OBS");
    obs::run(run).await?;
    tracing::info!("as any client");
    any::run(run).await;
    tracing::info!("as ffmpeg");
    let on_air = ffmpeg::run(run).await?;
    tracing::info!("as librtmp");
    librtmp::run(run).await;
    any::join_late(run, &on_air).await;
    Ok(on_air)
}

/// What is left for the end, as a stream of late times may go on in those that follow it.
pub(super) async fn long_stream(run: &mut Run<'_>) {
    any::long_stream(run).await;
}

/// The handshake of a client that checks digests: it takes servers for plain ones whose version is below this.
fn digest_handshake(shaken: &Shaken, least: u8, client: &str) -> Finding {
    let [major, ..] = shaken.version;
    if major < least {
        return Finding::works(format!(
            "the server answers in the plain form, which {client} takes as it is"
        ));
    }
    match (shaken.has_digest, shaken.is_signed) {
        (true, true) => Finding::works("digest and signature of the server are right"),
        (false, _) => Finding::does_not(format!(
            "the server claims to be version {major} and has no digest in S1: {client} gives up"
        )),
        (true, false) => {
            Finding::does_not(format!("S2 is not signed for the client's digest: {client} gives up"))
        }
    }
}

/// What a server may have said.
#[cfg(test)]
mod said {
    use super::super::wire::Heard;
    use std::collections::HashMap;
    use streamengine::amf0::Amf0Value;
    use streamengine::proto::message::{Command, Decoded};
    use tokio::time::Instant;

    pub(super) fn heard(what: Decoded) -> Heard {
        Heard { at: Instant::now(), stream: 1, time: 0, what }
    }

    pub(super) fn status(code: &str) -> Heard {
        let info = HashMap::from([("code".to_owned(), Amf0Value::Utf8String(code.to_owned()))]);
        let (name, object) = ("onStatus".to_owned(), Amf0Value::Null);
        let arguments = vec![Amf0Value::Object(info)];
        heard(Decoded::Command(Command { name, transaction: 0.0, object, arguments }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn digests_that_clients_give_up_at_are_told_from_plain_answers() {
        let shaken = |major, has_digest, is_signed| Shaken {
            version: [major, 0, 0, 0],
            is_echo: false,
            has_digest,
            is_signed,
        };
        for (shaken, verdict, words) in [
            (shaken(0, false, false), Verdict::Works, "plain form"),
            (shaken(3, true, true), Verdict::Works, "right"),
            (shaken(4, false, true), Verdict::DoesNot, "no digest"),
            (shaken(4, true, false), Verdict::DoesNot, "not signed"),
        ] {
            let finding = digest_handshake(&shaken, 3, "it");
            assert_eq!(finding.verdict, verdict, "{shaken:?}");
            assert!(finding.words.contains(words), "{}", finding.words);
        }
    }
}
