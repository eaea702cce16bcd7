//! What changes something: bodies are read, and what is in them is done as the engine's own methods do it.

use super::operations::{Act, Found, Operation, ROOT, Takes, value};
use super::problem::Problem;
#[cfg(feature = "keys")]
use super::views::{AddedKey, Items, Rotation};
use super::{apart, told};
use crate::config::{
    Config, FileConfig, OptionSource, OriginConfig, PullConfig, PushConfig, RecordConfig, entry,
};
use crate::id::{FileId, RecordingId, RelayId, SessionId};
#[cfg(feature = "keys")]
use crate::key::StreamKey;
#[cfg(feature = "keys")]
use crate::keys::NewKey;
use crate::manage::Manage;
#[cfg(feature = "keys")]
use crate::service::Core;
use crate::service::http::body::{Body, MAX_BODY, MAX_BODY_OF_STRANGERS};
use crate::service::http::reply::{self, Reply};
use crate::status::RelayDirection;
use crate::{Error, ErrorKind, Result as Outcome};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// What those are told who are ended, where the request says nothing.
const REASON: &str = "ended by the operator";

/// What secrets are told as.
pub(super) const MASK: &str = "***";

#[cfg(feature = "keys")]
bound! {
    /// For how long a key may go on to be good that is replaced (test `a_key_that_is_rotated_is_good_for_a_day_more_at_the_most`).
    const MAX_OVERLAP_S: u64 = 86_400, without 1 << 40;
}

/// What a request wants changed.
pub(super) struct Change<'a> {
    #[cfg(feature = "keys")]
    pub(super) core: &'a Arc<Core>,
    pub(super) manager: Arc<dyn Manage>,
    pub(super) operation: &'static Operation,
    pub(super) found: Found<'a>,
    pub(super) query: &'a str,
    pub(super) body: Content,
}

/// A body that is understood as text.
pub(super) enum Content {
    Nothing,
    Json(String),
    Toml(String),
}

impl Content {
    /// One entry of a configuration, as JSON.
    fn entry<T: serde::de::DeserializeOwned>(&self) -> Result<T, Problem> {
        Ok(entry(self.json())?)
    }

    pub(super) fn json(&self) -> &str {
        match self {
            Self::Json(text) | Self::Toml(text) => text,
            Self::Nothing => "{}",
        }
    }

    /// Reads what follows the head of a request, as its operation takes it.
    pub(super) async fn read(
        takes: &Takes,
        content_type: Option<&str>,
        body: Body,
        within: Duration,
    ) -> Result<Self, Problem> {
        let wrong = |text: &'static str| Problem::new(StatusCode::BAD_REQUEST, text);
        match (takes, body.is_nothing()) {
            (Takes::Nothing, false) => return Err(wrong("this takes no body")),
            (Takes::Nothing | Takes::Perhaps(_), true) => return Ok(Self::Nothing),
            (Takes::Json(_) | Takes::Password(_) | Takes::Config(_), true) => {
                return Err(wrong("the body is missing"));
            }
            (_, false) => {}
        }
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let make = match takes {
            _ if media_type.eq_ignore_ascii_case("application/json") => Self::Json,
            Takes::Config(_) if media_type.eq_ignore_ascii_case("application/toml") => Self::Toml,
            takes => {
                let toml = if matches!(takes, Takes::Config(_)) { " or application/toml" } else { "" };
                let text = format!("the body has to be application/json{toml}, as Content-Type says");
                return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
            }
        };
        let is_password = matches!(takes, Takes::Password(_));
        let most = if is_password { MAX_BODY_OF_STRANGERS.get() } else { MAX_BODY.get() };
        let text = body.read(most, within).await?;
        let text = String::from_utf8(text.into()).map_err(|_| wrong("the body is no text in UTF-8"))?;
        // What has been read here and is sent back would take its secrets' place. A password may be anything.
        match text.contains(MASK) && !is_password {
            true => Err(wrong(
                "the body has *** in it, which stands for a secret that is not told; give the secret itself",
            )),
            false => Ok(make(text)),
        }
    }
}

impl Change<'_> {
    /// Does it.
    pub(super) async fn make(self) -> Result<Reply, Problem> {
        match self.operation.act {
            Act::AddPush => {
                let push: PushConfig = self.body.entry()?;
                self.added("relays", move |manager| {
                    let id = manager.add_push(push)?;
                    Ok((id.0, manager.relay(id)))
                })
                .await
            }
            Act::AddPull => {
                let pull: PullConfig = self.body.entry()?;
                self.added("relays", move |manager| {
                    let id = manager.add_pull(pull)?;
                    Ok((id.0, manager.relay(id)))
                })
                .await
            }
            Act::TuneRelay => self.tune().await,
            Act::RestartRelay => self.done(|manager, id| manager.restart_relay(RelayId(id))).await,
            Act::RemoveRelay => self.done(|manager, id| manager.remove_relay(RelayId(id))).await,
            Act::AddFile => {
                let file: FileConfig = self.body.entry()?;
                self.added("files", move |manager| {
                    let id = manager.loop_file(file)?;
                    Ok((id.0, manager.file(id)))
                })
                .await
            }
            Act::ReplaceFile => {
                let (file, id): (FileConfig, _) = (self.body.entry()?, FileId(self.found.number()));
                let status = self.apart(move |manager| {
                    let id = manager.replace_file(id, file)?;
                    Ok(manager.file(id))
                });
                Ok(told(StatusCode::OK, &status.await?))
            }
            Act::StopFile => self.done(|manager, id| manager.stop_file(FileId(id))).await,
            Act::SetOrigin => {
                let (origin, alias): (OriginConfig, _) = (self.body.entry()?, self.found.text().into_owned());
                let status = self.apart(move |manager| {
                    manager.set_origin(&alias, origin)?;
                    Ok(manager.origins().into_iter().find(|origin| origin.alias == alias))
                });
                Ok(told(StatusCode::OK, &status.await?))
            }
            Act::RemoveOrigin => {
                let alias = self.found.text().into_owned();
                self.apart(move |manager| manager.remove_origin(&alias)).await?;
                Ok(nothing())
            }
            Act::Record => {
                let stream = self.found.stream()?;
                let config = match &self.body {
                    Content::Nothing => None,
                    body => Some(body.entry::<RecordConfig>()?),
                };
                self.added("recordings", move |manager| {
                    let id = match &config {
                        Some(config) => manager.record_with(&stream, config)?,
                        None => manager.record(&stream)?,
                    };
                    Ok((id.0, manager.recording(id)))
                })
                .await
            }
            Act::StopRecording => self.done(|manager, id| manager.stop_recording(RecordingId(id))).await,
            Act::KickSession => {
                let reason = self.reason();
                self.done(move |manager, id| manager.kick(SessionId(id), &reason)).await
            }
            Act::KickStream => {
                let (stream, reason) = (self.found.stream()?, self.reason());
                self.apart(move |manager| manager.kick_publisher(&stream, &reason)).await?;
                Ok(nothing())
            }
            Act::SetConfig => {
                let config = match &self.body {
                    Content::Toml(text) => Config::from_toml(text)?,
                    body => Config::from_json(body.json())?,
                };
                Ok(told(StatusCode::OK, &self.apart(move |manager| manager.reload(config)).await?))
            }
            #[cfg(feature = "keys")]
            act @ (Act::Keys | Act::AddKey | Act::RotateKey | Act::RevokeKey) => self.change_keys(act).await,
            // What is to be looked at only.
            _ => Err(Problem::wrong_method()),
        }
    }

    /// Does something that may wait.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Manage) -> Outcome<T> + Send + 'static,
    ) -> Result<T, Problem> {
        apart(&self.manager, work).await
    }

    /// Does something with what has the number in the path.
    async fn done(
        &self,
        work: impl FnOnce(&dyn Manage, u64) -> Outcome<()> + Send + 'static,
    ) -> Result<Reply, Problem> {
        let id = self.found.number();
        self.apart(move |manager| work(manager, id)).await?;
        Ok(nothing())
    }

    /// Adds something to a list, and tells how it stands.
    async fn added<T: Serialize + Send + 'static>(
        &self,
        list: &str,
        work: impl FnOnce(&dyn Manage) -> Outcome<(u64, T)> + Send + 'static,
    ) -> Result<Reply, Problem> {
        let (id, status) = self.apart(work).await?;
        let mut reply = told(StatusCode::CREATED, &status);
        if let Ok(place) = HeaderValue::from_str(&format!("{ROOT}/{list}/{id}")) {
            reply.headers_mut().insert(LOCATION, place);
        }
        Ok(reply)
    }

    async fn tune(&self) -> Result<Reply, Problem> {
        let (mut options, id) = (OptionSource::default(), RelayId(self.found.number()));
        options.merge_json(self.body.json())?;
        let fixed = ["on_refusal", "remote_app", "remote_stream"];
        if let Some(name) = options.names().find(|name| fixed.contains(name)) {
            let text = format!("option {name}: it is of another relay; add that one");
            return Err(Problem::new(StatusCode::BAD_REQUEST, text));
        }
        let status = self.apart(move |manager| {
            let none = || Error::new(ErrorKind::NotFound, format!("there is no relay {id}"));
            let status = manager.relay(id).ok_or_else(none)?;
            let url = status.url.as_rtmp().filter(|_| status.direction == RelayDirection::Push);
            let pull = || Error::new(ErrorKind::State, format!("relay {id}: it is a pull"));
            let push = options.push(status.stream.clone(), url.ok_or_else(pull)?.clone())?;
            manager.tune_push(id, push.tuning)?;
            Ok(manager.relay(id))
        });
        Ok(told(StatusCode::OK, &status.await?))
    }

    #[cfg(feature = "keys")]
    async fn change_keys(&self, act: Act) -> Result<Reply, Problem> {
        let none =
            || Problem::new(StatusCode::CONFLICT, "the configuration names no database of keys (keys.url)");
        let keys = self.core.keys.as_ref().ok_or_else(none)?;
        match act {
            Act::Keys => {
                let stream = value(self.query, "stream").map(|name| name.parse::<StreamKey>());
                let stream = stream.transpose().map_err(Error::from)?;
                Ok(told(StatusCode::OK, &Items::new(keys.list(stream.as_ref()).await?)))
            }
            Act::AddKey => {
                let (key, new) = NewKey::from_json(self.body.json())?;
                let (key, info) = match key {
                    Some(key) => (None, keys.add_existing(&key, &new).await?),
                    None => {
                        let made = keys.add(&new).await?;
                        (Some(made.key), made.info)
                    }
                };
                Ok(told(StatusCode::CREATED, &AddedKey::new(key.as_ref(), info)))
            }
            Act::RotateKey => {
                let wrong = |_| Problem::new(StatusCode::BAD_REQUEST, "the body is {\"overlap_s\": SECONDS}");
                let Rotation { overlap_s } = serde_json::from_str(self.body.json()).map_err(wrong)?;
                if overlap_s > MAX_OVERLAP_S.get() {
                    let text = format!("overlap_s can be 0 to {}", MAX_OVERLAP_S.stated());
                    return Err(Problem::new(StatusCode::BAD_REQUEST, text));
                }
                let id = self.found.text();
                let made = keys.rotate(&id, Duration::from_secs(overlap_s)).await?;
                if overlap_s == 0 {
                    keys.revoke(&id).await?;
                }
                Ok(told(StatusCode::CREATED, &AddedKey::new(Some(&made.key), made.info)))
            }
            _ => Ok(told(StatusCode::OK, &keys.revoke(&self.found.text()).await?)),
        }
    }

    /// What is told those who are ended.
    fn reason(&self) -> String {
        let told = value(self.query, "reason").filter(|text| !text.is_empty()).unwrap_or(REASON.into());
        crate::Printable(&told).to_string()
    }
}

/// What is done, and of which there is nothing to tell.
pub(super) fn nothing() -> Reply {
    reply::told(StatusCode::NO_CONTENT, reply::TEXT, Bytes::new())
}
