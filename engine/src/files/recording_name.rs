//! How files of recordings are called, and what their names tell.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// Stands for when a file began.
const START: &str = "{start}";
/// Stands for its number.
const NUMBER: &str = "{n}";
/// Letters of a time: `20180214T002807Z`.
const START_LEN: usize = 16;

bound! {
    /// Longest template: with the start and the number in it, names stay below the 255 bytes that file systems have
    /// (test `a_template_makes_names_of_files_and_no_paths`).
    const MAX_TEMPLATE: usize = 128, without usize::MAX;
}

/// How files of recordings are called: letters, digits, `-`, `_` and `.`, with `{start}` and `{n}` once each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordingName(String);

impl Default for RecordingName {
    fn default() -> Self {
        Self(format!("{START}-{NUMBER}"))
    }
}

impl fmt::Display for RecordingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RecordingName> for String {
    fn from(name: RecordingName) -> Self {
        name.0
    }
}

impl TryFrom<String> for RecordingName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let rest = text.replacen(START, "", 1).replacen(NUMBER, "", 1);
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        match () {
            () if !text.contains(START) || !text.contains(NUMBER) => Err("it needs {start} and {n}"),
            () if !rest.bytes().all(is_allowed) => {
                Err("besides {start} and {n}, once each, it can have letters, digits, -, _ and .")
            }
            () if text.starts_with('.') => Err("it begins with a dot"),
            () if text.len() > MAX_TEMPLATE.get() => Err("it is too long"),
            () => Ok(Self(text)),
        }
    }
}

impl FromStr for RecordingName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl RecordingName {
    /// The name of a file that began at `start`, which is the time since 1970.
    pub(crate) fn of(&self, start: Duration, number: u64) -> String {
        let start = SystemTime::UNIX_EPOCH.checked_add(start).unwrap_or(SystemTime::UNIX_EPOCH);
        // Of 2018-02-14T00:28:07Z what no file system minds.
        let start: String = humantime::format_rfc3339_seconds(start)
            .to_string()
            .chars()
            .filter(|letter| !matches!(letter, '-' | ':'))
            .collect();
        self.0.replacen(START, &start, 1).replacen(NUMBER, &number.to_string(), 1)
    }
}

/// When the file of a recording began, as the time since 1970; `None` for names of other files.
pub(crate) fn start_of_recording(name: &str) -> Option<Duration> {
    let at = |from: usize| started(name.get(from..from.checked_add(START_LEN)?)?);
    (0..name.len()).find_map(at)
}

fn started(text: &str) -> Option<Duration> {
    let part = |from: usize, to: usize| text.get(from..to);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (date, time) = (part(0, 8)?, part(9, 15)?);
    if part(8, 9)? != "T" || part(15, 16)? != "Z" || !is_digits(date) || !is_digits(time) {
        return None;
    }
    let (date, time) =
        ((part(0, 4)?, part(4, 6)?, part(6, 8)?), (part(9, 11)?, part(11, 13)?, part(13, 15)?));
    let text = format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, time.0, time.1, time.2);
    let at = humantime::parse_rfc3339(&text).ok()?;
    at.duration_since(SystemTime::UNIX_EPOCH).ok()
}

/// A time since 1970 as playlists have it: `2018-02-14T00:28:07Z`.
#[cfg(feature = "http")]
pub(crate) fn rfc3339(time: Duration) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(time).unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The time since 1970, by which files of recordings are named and kept.
pub(crate) fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_when_a_file_began() {
        let start = Duration::from_secs(1_518_568_087);
        assert_eq!(RecordingName::default().of(start, 3), "20180214T002807Z-3");
        let name: RecordingName = "show_{n}-{start}".parse().unwrap();
        assert_eq!(name.of(start, 12), "show_12-20180214T002807Z");
        for (name, expected) in [
            ("20180214T002807Z-3.flv", Some(start)),
            ("show_12-20180214T002807Z.mp4", Some(start)),
            ("20181314T002807Z-3.flv", None),
            ("2018021xT002807Z-3.flv", None),
            ("20180214T00280", None),
            ("index.m3u8", None),
            ("ünü.mp4", None),
        ] {
            assert_eq!(start_of_recording(name), expected, "{name}");
        }
    }

    #[test]
    fn a_template_makes_names_of_files_and_no_paths() {
        for (text, words) in [
            ("{start}", "needs"),
            ("{n}", "needs"),
            ("../{start}-{n}", "letters"),
            ("a/{start}-{n}", "letters"),
            ("{start}-{n}-{n}", "letters"),
            ("{start}-{n}\0", "letters"),
            ("{start}-{n} ", "letters"),
            ("{start}-{n}{app}", "letters"),
            (".{start}-{n}", "dot"),
            (&format!("{{start}}-{{n}}{}", "a".repeat(MAX_TEMPLATE.stated())), "long"),
        ] {
            let error = text.parse::<RecordingName>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
