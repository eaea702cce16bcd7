//! Keys on their way from one database to another: one JSON object in a line, the first of which has what finds them.

use super::text::Verifier;
use super::{KeyInfo, seconds, time};
use crate::auth::Action;
use crate::{Error, ErrorKind, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What finds the keys of a database, and its keys.
pub(super) struct Keyring {
    pub(super) secret: Vec<u8>,
    pub(super) rows: Vec<Row>,
}

/// A key and what it is found by.
pub(super) struct Row {
    pub(super) info: KeyInfo,
    pub(super) hash: Vec<u8>,
    /// What it is checked by as a password, where it can be one.
    pub(super) verifier: Option<Verifier>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    hash_secret: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    hash: String,
    action: Action,
    stream: String,
    who: Option<String>,
    max_kbps: Option<u64>,
    max_viewers: Option<u64>,
    expires: Option<u64>,
    until: Option<u64>,
    created: u64,
    revoked: Option<u64>,
    /// Older versions have neither, here and in the next field.
    #[serde(skip_serializing_if = "Option::is_none")]
    adobe_salt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adobe_verifier: Option<String>,
}

impl Keyring {
    pub(super) fn write(self) -> String {
        let head = Head { hash_secret: STANDARD.encode(&self.secret) };
        self.rows.into_iter().map(|row| line(&Line::from(row))).fold(line(&head), |all, line| all + &line)
    }

    /// Reads what [`Self::write`] has written; nothing of it is quoted in errors.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let no_head = || Error::new(ErrorKind::Format, "the first line is not that of exported keys");
        let (_, head) = lines.next().ok_or_else(no_head)?;
        let head: Head = serde_json::from_str(head).map_err(|_| no_head())?;
        let secret = STANDARD.decode(head.hash_secret).map_err(|_| no_head())?;
        let rows = lines.map(|(at, line)| {
            let fault = |what: String| Error::new(ErrorKind::Format, format!("line {}: {what}", at + 1));
            let line: Line =
                serde_json::from_str(line).map_err(|_| fault("this is no exported key".to_owned()))?;
            line.row().map_err(fault)
        });
        Ok(Self { secret, rows: rows.collect::<Result<_>>()? })
    }
}

/// Only maps with keys that are no texts could fail, and there are none.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

impl From<Row> for Line {
    fn from(Row { info, hash, verifier }: Row) -> Self {
        let (adobe_salt, adobe_verifier) = verifier.map(|Verifier { salt, digest }| (salt, digest)).unzip();
        Self {
            id: info.id,
            hash: STANDARD.encode(hash),
            action: info.action,
            stream: info.stream.to_string(),
            who: info.who,
            max_kbps: info.max_kbps,
            max_viewers: info.max_viewers,
            expires: info.expires.map(seconds),
            until: info.until.map(seconds),
            created: info.created.map_or(0, seconds),
            revoked: info.revoked.map(seconds),
            adobe_salt,
            adobe_verifier,
        }
    }
}

impl Line {
    /// The error is in words.
    fn row(self) -> Result<Row, String> {
        let hash = STANDARD.decode(self.hash).map_err(|_| "`hash` is not what was exported")?;
        let stream = self.stream.parse().map_err(|error| format!("stream: {error}"))?;
        let info = KeyInfo {
            id: self.id,
            action: self.action,
            stream,
            who: self.who,
            max_kbps: self.max_kbps,
            max_viewers: self.max_viewers,
            expires: self.expires.map(time),
            until: self.until.map(time),
            created: Some(time(self.created)),
            revoked: self.revoked.map(time),
        };
        let verifier = self.adobe_salt.zip(self.adobe_verifier);
        let verifier = verifier.map(|(salt, digest)| Verifier { salt, digest });
        Ok(Row { info, hash, verifier })
    }
}
