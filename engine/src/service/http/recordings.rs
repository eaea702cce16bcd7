//! Recordings by HTTP: which there are, the files themselves with ranges, and playlists over those of MP4, so that browsers seek.
//!
//! What somebody may play live, that may be shown of before only where the app says so (`record.serve`): who lets people watch does not
//! thereby let them have what was said hours ago. Then each request is asked as one to play the stream is, by the door `recording`.

use super::header;
use super::reply::{self, Reply};
use super::request::Answers;
use super::routes::{RecordingUrl, Wanted, query_value};
use crate::auth;
use crate::files::start_of_recording;
use crate::key::StreamKey;
use crate::record::{self, Listed, Playlist};
use crate::service::Core;
use crate::status::RecordedFile;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE};
use hyper::http::request::Parts;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

/// What is whole does not change; whoever may have it may keep it.
const WHOLE: &str = "private, max-age=3600";
const GROWING: &str = "no-store";

impl Answers {
    pub(super) async fn recording(&self, request: &Parts, url: RecordingUrl<'_>) -> Reply {
        let mut visit = self.visit(auth::Door::Recording, request).await;
        let key = match visit.ask_for_recordings(url.stream).await {
            Ok(key) => key,
            Err(refused) => return visit.refuse(&refused),
        };
        let core = self.asker().core.clone();
        let dir = core.app(&key).filter(|app| app.record.serve).and_then(|app| app.record.dir.clone());
        visit.answered();
        let Some(dir) = dir else { return nothing("this app shows no recordings (record.serve = false)") };
        let Ok(place) = core.recording_readers.clone().try_acquire_owned() else {
            return reply::later("as many recordings are read as may be");
        };
        let text = |name| header::text(&request.headers, name).map(str::to_owned);
        let asked = Asked {
            core,
            dir,
            key,
            query: plain_query(request.uri.query()),
            start_ms: start_of(request.uri.query()),
            range: text(&RANGE),
            if_range: text(&IF_RANGE),
            if_none_match: text(&IF_NONE_MATCH),
        };
        let answered = match url.wanted {
            Wanted::List => spawn_blocking(move || asked.list()).await,
            Wanted::Playlist => spawn_blocking(move || asked.playlist(None)).await,
            Wanted::PlaylistOf(name) => {
                let name = format!("{name}.mp4");
                spawn_blocking(move || asked.playlist(Some(&name))).await
            }
            Wanted::File(name) => {
                let name = name.to_owned();
                spawn_blocking(move || asked.file(&name, place)).await
            }
        };
        answered.unwrap_or_else(|_| reply::words(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read"))
    }
}

/// What is asked for, where the disk may be waited for.
struct Asked {
    core: Arc<Core>,
    dir: PathBuf,
    key: StreamKey,
    query: String,
    start_ms: Option<i64>,
    range: Option<String>,
    if_range: Option<String>,
    if_none_match: Option<String>,
}

impl Asked {
    /// What there is, as JSON.
    fn list(&self) -> Reply {
        let files = record::stream_files(&self.dir, &self.key);
        let files: Vec<_> = files.iter().filter_map(listed).collect();
        let mut reply = reply::words(StatusCode::OK, serde_json::Value::from(files));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply
    }

    /// A playlist of one file, or of all.
    fn playlist(&self, only: Option<&str>) -> Reply {
        let names = record::stream_names(&self.dir, &self.key).into_iter().rev();
        let names = names.filter(|name| only.is_none_or(|only| only == name) && name.ends_with(".mp4"));
        let made = record::playlist(names.filter_map(|name| self.listed(name)), &self.query, self.start_ms);
        let Some(Playlist { text, is_growing }) = made else {
            return nothing("there is no recording as MP4");
        };
        let cache = if is_growing { GROWING } else { "private, no-cache" };
        reply::playlist(text.into(), false, cache)
    }

    fn listed(&self, name: String) -> Option<Listed> {
        let (file, is_growing) = record::find(&self.dir, &self.key, &name)?;
        let path = self.dir.join(self.key.as_str()).join(&name);
        let parts = self.core.recording_parts.of(&path, file, is_growing)?;
        Some(Listed { start: start_of_recording(&name)?, name, is_growing, parts })
    }

    fn file(&self, name: &str, place: OwnedSemaphorePermit) -> Reply {
        let Some((file, is_growing)) = record::find(&self.dir, &self.key, name) else {
            return nothing("there is no such recording");
        };
        let content_type = if name.ends_with(".mp4") { "video/mp4" } else { "video/x-flv" };
        self.opened(file, name, content_type, is_growing, place)
            .unwrap_or_else(|error| reply::words(StatusCode::INTERNAL_SERVER_ERROR, error))
    }

    fn opened(
        &self,
        file: File,
        name: &str,
        content_type: &'static str,
        is_growing: bool,
        place: OwnedSemaphorePermit,
    ) -> std::io::Result<Reply> {
        let len = file.metadata()?.len();
        // A name is used once, and its file does not change when it is whole.
        let tag = format!("\"{name}-{len}\"");
        let is_known = !is_growing && self.if_none_match.as_ref().is_some_and(|known| *known == tag);
        let cache = if is_growing { GROWING } else { WHOLE };
        // What has changed since is wanted as a whole (RFC 9110 13.1.5).
        let range =
            self.range.as_deref().filter(|_| self.if_range.as_ref().is_none_or(|known| *known == tag));
        let mut reply = match is_known {
            true => {
                let mut reply = reply::piece(content_type, Vec::new(), None, cache);
                *reply.status_mut() = StatusCode::NOT_MODIFIED;
                reply
            }
            false => reply::file(content_type, file, len, range, cache, place)?,
        };
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            reply.headers_mut().insert(ETAG, tag);
        }
        Ok(reply)
    }
}

/// A file as it is told: by its name, not by where it is on the disk.
fn listed(file: &RecordedFile) -> Option<serde_json::Value> {
    let name = name_of(&file.path).to_owned();
    let mut value = serde_json::to_value(file).ok()?;
    let object = value.as_object_mut()?;
    for own in ["path", "recording"] {
        object.remove(own);
    }
    object.insert("name".to_owned(), name.into());
    Some(value)
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// From where a player of a playlist wants to begin, in milliseconds; back from the end where it is negative.
fn start_of(query: Option<&str>) -> Option<i64> {
    query_value(query?, "start")?.parse().ok()
}

/// The query for the URLs of a playlist, which are asked for as it was: what URLs cannot have is not in it.
pub(super) fn plain_query(query: Option<&str>) -> String {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    query.filter(|query| query.bytes().all(is_allowed)).unwrap_or_default().to_owned()
}

fn nothing(text: &str) -> Reply {
    reply::words(StatusCode::NOT_FOUND, text)
}
