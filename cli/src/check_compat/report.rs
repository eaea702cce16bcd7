//! All that is checked, in one table, and what came of it.

use crate::output::Conclusion;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Whose script it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Client {
    #[serde(rename = "OBS")]
    Obs,
    #[serde(rename = "ffmpeg")]
    Ffmpeg,
    #[serde(rename = "librtmp")]
    Librtmp,
    #[serde(rename = "mpegts.js")]
    Mpegts,
    #[serde(rename = "any")]
    Any,
}

impl Client {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Obs => "OBS",
            Self::Ffmpeg => "ffmpeg",
            Self::Librtmp => "librtmp",
            Self::Mpegts => "mpegts.js",
            Self::Any => "any",
        }
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// As the client has it with the servers that it was made for.
    Works,
    /// The client gets along, but its user notices.
    Differs,
    DoesNot,
    /// The server has nothing of the kind.
    NotOffered,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Differs => "differs",
            Self::DoesNot => "does not",
            Self::NotOffered => "not offered",
        }
    }

    fn is_fine(self) -> bool {
        matches!(self, Self::Works | Self::Differs)
    }
}

/// What was seen, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) words: String,
    pub(super) took: Option<Duration>,
}

impl Finding {
    fn new(verdict: Verdict, words: impl Into<String>) -> Self {
        Self { verdict, words: words.into(), took: None }
    }

    pub(super) fn works(words: impl Into<String>) -> Self {
        Self::new(Verdict::Works, words)
    }

    pub(super) fn differs(words: impl Into<String>) -> Self {
        Self::new(Verdict::Differs, words)
    }

    pub(super) fn does_not(words: impl Into<String>) -> Self {
        Self::new(Verdict::DoesNot, words)
    }

    pub(super) fn not_offered(words: impl Into<String>) -> Self {
        Self::new(Verdict::NotOffered, words)
    }

    pub(super) fn after(self, took: Duration) -> Self {
        Self { took: Some(took), ..self }
    }
}

/// One check: whose, what it is called in JSON, what the client does, and whether it is of no use without.
type Check = (Client, &'static str, &'static str, bool);

/// All of them.
const CHECKS: [Check; 36] = [
    (Client::Obs, "handshake", "shakes hands in the plain form", true),
    (Client::Obs, "connect", "connects to the app", true),
    (Client::Obs, "publish", "publishes: releaseStream, FCPublish, createStream, publish", true),
    (Client::Obs, "stream", "sends H.264 and AAC, and a player gets it", true),
    (Client::Obs, "metadata", "sends its 20 fields of metadata", false),
    (Client::Obs, "query", "publishes with a query behind the stream key", false),
    (Client::Obs, "stop", "stops (FCUnpublish, deleteStream) and starts again", false),
    (Client::Obs, "reconnect", "loses its connection and comes back", false),
    (Client::Obs, "republish", "publishes a name that another OBS publishes", false),
    (Client::Obs, "close-stream", "leaves the stream by closeStream, and stays connected", false),
    (Client::Obs, "hevc", "publishes HEVC by Enhanced RTMP, without having announced it", false),
    (Client::Obs, "av1", "publishes AV1 likewise", false),
    (Client::Ffmpeg, "handshake", "shakes hands with a digest, and checks the server's", true),
    (Client::Ffmpeg, "publish", "publishes in chunks as large as the server's", true),
    (Client::Ffmpeg, "play", "plays: createStream, getStreamLength, play, SetBufferLength", true),
    (Client::Ffmpeg, "start", "gets what it needs to decode, from the first frame on", true),
    (Client::Ffmpeg, "end", "plays, and the publisher leaves", false),
    (
        Client::Librtmp,
        "handshake",
        "shakes hands with a digest, as with --swfhash, and checks the server's",
        false,
    ),
    (Client::Librtmp, "connect", "connects with the fields of a Flash player, and _checkbw", true),
    (Client::Librtmp, "play", "plays: createStream, FCSubscribe, play", true),
    (Client::Librtmp, "start", "gets what it needs to decode, from the first frame on", true),
    (Client::Librtmp, "pause", "pauses and goes on", false),
    (Client::Mpegts, "response", "asks for FLV by HTTP", true),
    (Client::Mpegts, "cors", "asks from a page of another origin", false),
    (Client::Mpegts, "flv", "reads the head of the stream and its tags", true),
    (Client::Mpegts, "start", "gets what it needs to decode, from the first frame on", true),
    (Client::Mpegts, "times", "goes by the times of the tags", false),
    (Client::Mpegts, "websocket", "reads the same from a WebSocket", false),
    (Client::Any, "late-join", "joins between two keyframes, and waits for a picture", false),
    (Client::Any, "anew", "waits for a stream by a name that was used before", false),
    (Client::Any, "timestamps", "sends for longer than 4 h 39 min (times beyond 0xFFFFFF)", true),
    (Client::Any, "chunk-size", "sends frames of 300 kB in chunks of 1 MiB", true),
    (Client::Any, "enhanced", "announces Enhanced RTMP in connect", false),
    (Client::Any, "opus", "publishes Opus by Enhanced RTMP", false),
    (Client::Any, "acknowledgement", "asks for acknowledgements of what it sends", false),
    (Client::Any, "ping", "sends a ping", false),
];

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Where to, masked.
    url: String,
    /// What was published instead, as a stream of the name is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<String>,
    checks: Vec<Row>,
    /// Whether all that is essential works.
    works: bool,
}

/// A check in it.
#[derive(Debug, Serialize)]
struct Row {
    client: Client,
    check: &'static str,
    does: &'static str,
    essential: bool,
    verdict: Verdict,
    words: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
}

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(Client, &'static str, Finding)>);

impl Findings {
    pub(super) fn add(&mut self, client: Client, check: &'static str, finding: Finding) {
        debug_assert!(CHECKS.iter().any(|known| (known.0, known.1) == (client, check)), "{check}");
        self.0.push((client, check, finding));
    }

    fn of(&self, client: Client, check: &str) -> Option<&Finding> {
        let mut of_it = self.0.iter().filter(|(whose, what, _)| (*whose, *what) == (client, check));
        of_it.next().map(|(.., finding)| finding)
    }
}

impl Report {
    /// Without HTTP, mpegts.js has nothing to ask.
    pub(super) fn new(url: String, instead: Option<String>, findings: &Findings, has_http: bool) -> Self {
        let asked = CHECKS.into_iter().filter(|(client, ..)| has_http || *client != Client::Mpegts);
        let checks: Vec<Row> = asked.map(|check| row(check, findings)).collect();
        let works = checks.iter().all(|row| !row.essential || row.verdict.is_fine());
        Self { url, instead, checks, works }
    }
}

impl Conclusion for Report {
    /// For people: a line for each check, what was seen below it, and a summary.
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.url);
        if let Some(instead) = &self.instead {
            let _ =
                writeln!(text, "A stream of this name is live and was left alone; published was {instead}");
        }
        let mut last = None;
        for row in &self.checks {
            let client = if last.replace(row.client) == Some(row.client) { "" } else { row.client.name() };
            if !client.is_empty() {
                text.push('\n');
            }
            let took = row.ms.map(|ms| format!(" ({ms} ms)")).unwrap_or_default();
            let _ = writeln!(text, "{client:<10} {:<12} {}", row.verdict.name(), row.does);
            let _ = writeln!(text, "{:<23} {}{took}", "", row.words);
        }
        let count = |verdict| self.checks.iter().filter(|row| row.verdict == verdict).count();
        let all = [Verdict::Works, Verdict::Differs, Verdict::DoesNot, Verdict::NotOffered];
        let counts = all.map(|verdict| format!("{} {}", count(verdict), verdict.name()));
        let _ = writeln!(text, "\n{} checks: {}", self.checks.len(), counts.join(", "));
        if !self.checks.iter().any(|row| row.client == Client::Mpegts) {
            text.push_str(
                "mpegts.js was not tried: --http URL says where the server has its streams as FLV\n",
            );
        }
        text
    }

    /// What is essential and does not work.
    fn failed(&self) -> Option<String> {
        let failed = self.checks.iter().filter(|row| row.essential && !row.verdict.is_fine());
        let failed: Vec<_> = failed.map(|row| format!("{} {}", row.client.name(), row.does)).collect();
        (!failed.is_empty()).then(|| format!("what does not work and is essential: {}", failed.join("; ")))
    }
}

fn row((client, check, does, essential): Check, findings: &Findings) -> Row {
    let none = || Finding::does_not("was not reached, as what comes before it does not work");
    let Finding { verdict, words, took } = findings.of(client, check).cloned().unwrap_or_else(none);
    let ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    Row { client, check, does, essential, verdict, words, ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(findings: &Findings, has_http: bool) -> Report {
        Report::new("rtmp://h/live/a".to_owned(), None, findings, has_http)
    }

    fn everything_works() -> Findings {
        Findings(
            CHECKS
                .into_iter()
                .map(|(client, check, ..)| (client, check, Finding::works("as it is")))
                .collect(),
        )
    }

    #[test]
    fn the_status_follows_what_is_essential() {
        let fine = everything_works();
        assert_eq!(report(&fine, true).failed(), None);

        let with = |check: &str, finding: Finding| {
            let mut findings = everything_works();
            findings
                .0
                .iter_mut()
                .filter(|known| known.1 == check)
                .for_each(|known| known.2 = finding.clone());
            report(&findings, true)
        };
        let unessential = with("metadata", Finding::does_not("none came"));
        assert!(unessential.works && unessential.failed().is_none());
        assert!(with("publish", Finding::differs("in another way")).works);
        let failed = with("response", Finding::not_offered("404"));
        assert_eq!(
            failed.failed().as_deref(),
            Some("what does not work and is essential: mpegts.js asks for FLV by HTTP")
        );
    }

    #[test]
    fn what_was_not_reached_does_not_work_and_mpegts_js_is_left_out_without_http() {
        let report = report(&Findings::default(), false);
        assert!(!report.works);
        assert!(report.checks.iter().all(|row| row.verdict == Verdict::DoesNot));
        let text = report.text();
        assert!(text.contains("mpegts.js was not tried") && !text.contains("asks for FLV by HTTP"));
        assert!(text.contains("30 checks: 0 works, 0 differs, 30 does not, 0 not offered"), "{text}");
    }
}
