//! A grant as JSON, from an HTTP service or a program in another language.

use super::{Action, Grant};
use crate::config::PublisherConfig;
use crate::key::StreamKey;
use crate::url::{RemoteUrl, RtmpUrl};
use crate::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Terms {
    stream: Option<String>,
    principal: Option<String>,
    credential: Option<String>,
    max_kbps: Option<u64>,
    max_viewers: Option<u64>,
    lasts_s: Option<u64>,
    push: Vec<RtmpUrl>,
    pull: Option<RemoteUrl>,
}

/// The names of its fields.
pub(crate) const FIELDS: [&str; 8] =
    ["stream", "principal", "credential", "max_kbps", "max_viewers", "lasts_s", "push", "pull"];

impl Grant {
    /// Reads a grant of `action` to whoever asked for `asked`: a JSON object that may have `stream` (`app/stream`, or a stream in the app
    /// that was asked for), `principal`, `credential`, `max_kbps`, `max_viewers`, `lasts_s` (seconds), `push` (a list of
    /// `rtmp[s]://` URLs), and `pull` (a URL of RTMP, or of FLV by HTTP).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for what is no such object. The text quotes none of its values, which may be secret.
    pub fn from_json(json: &str, action: Action, asked: &StreamKey) -> Result<Self> {
        let value = serde_json::from_str(json).map_err(|_| fault("it is no JSON object"))?;
        Self::from_value(value, action, asked)
    }

    /// The same of JSON that has been read.
    pub(crate) fn from_value(value: Value, action: Action, asked: &StreamKey) -> Result<Self> {
        // Serde would take a list for one.
        let object = value.as_object().ok_or_else(|| fault("it is no JSON object"))?;
        if let Some(unknown) = object.keys().find(|key| !is_known(key)) {
            let unknown = crate::Printable(unknown);
            return Err(fault(&format!("there is no field {unknown}; there are {}", FIELDS.join(", "))));
        }
        let terms: Terms = serde_json::from_value(value).map_err(|_| {
            fault("a field is not what it can be: texts, whole numbers, and URLs in push and pull")
        })?;
        terms.grant(action, asked)
    }
}

pub(crate) fn is_known(field: &str) -> bool {
    FIELDS.contains(&field)
}

fn fault(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("grant: {what}"))
}

impl Terms {
    fn grant(self, action: Action, asked: &StreamKey) -> Result<Grant> {
        let limits = PublisherConfig::default().max_kbps(self.max_kbps).max_viewers(self.max_viewers);
        limits.check().map_err(|error| error.context("grant"))?;
        if action == Action::Play && !self.push.is_empty() {
            return Err(fault("push is for publishers"));
        }
        if action == Action::Publish && self.pull.is_some() {
            return Err(fault("pull is for players"));
        }
        let stream = self.stream.map(|name| stream(&name, asked)).transpose()?;
        Ok(Grant::default()
            .stream(stream)
            .principal(self.principal)
            .credential(self.credential)
            .publisher(limits)
            .push(self.push)
            .pull(self.pull)
            .lasts(self.lasts_s.map(Duration::from_secs)))
    }
}

/// A stream by its name in the app that was asked for, or with an app.
pub(crate) fn stream(name: &str, asked: &StreamKey) -> Result<StreamKey> {
    let key = match name.contains('/') {
        true => name.trim_start_matches('/').parse(),
        false => StreamKey::new(asked.app(), name),
    };
    key.map_err(|error| fault(&format!("stream is no stream's name: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(action: Action, json: &str) -> Result<Grant> {
        Grant::from_json(json, action, &"live/asked".parse().unwrap())
    }

    #[test]
    fn a_grant_is_read_and_what_is_none_is_told_without_its_values() {
        let all = r#"{"stream": "b", "principal": "alice", "credential": "key:1", "max_kbps": 6000, "max_viewers": 5,
                      "lasts_s": 60, "push": ["rtmp://u:s3cret@h/live/b"]}"#;
        let grant = read(Action::Publish, all).unwrap();
        assert_eq!(grant.stream.as_ref().map(StreamKey::as_str), Some("live/b"));
        assert_eq!((grant.lasts, grant.push.len()), (Some(Duration::from_secs(60)), 1));
        assert_eq!((grant.publisher.max_kbps, grant.publisher.max_viewers), (Some(6_000), Some(5)));
        assert_eq!(read(Action::Play, "{}").unwrap(), Grant::default());
        for (json, words) in [
            ("s3cret", "no JSON object"),
            ("[]", "no JSON object"),
            (r#"{"max_kps": 1}"#, "no field max_kps; there are stream"),
            (r#"{"max_kbps": 0}"#, "max_kbps"),
            (r#"{"push": ["http://s3cret/"]}"#, "not what it can be"),
            (r#"{"stream": "a//s3cret"}"#, "no stream's name"),
        ] {
            let error = read(Action::Publish, json).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("s3cret"), "{json}: {error}");
        }
        assert!(read(Action::Play, all).unwrap_err().to_string().contains("push is for publishers"));
    }
}
