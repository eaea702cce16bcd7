//! Files for browsers, which the embedding program gives to its engine.

use bytes::Bytes;
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Files for browsers, for [`EngineBuilder::assets`](crate::EngineBuilder::assets): the page of a player, and what it needs.
///
/// The engine has none of its own; the crate `streamengine-web` has one, and gives it as this value. Without it, the page of a
/// stream says so in plain words. Cheap to clone.
#[derive(Clone, Default)]
pub struct Assets {
    files: Arc<BTreeMap<String, Asset>>,
}

impl Assets {
    /// The file that `/play/APP/STREAM` is answered with, for whatever stream: it finds the name in its own address.
    pub const PLAYER: &str = "play.html";
    /// The file that `/` is answered with, where `http.dashboard` does not say otherwise: the page for those who manage the engine.
    pub const DASHBOARD: &str = "index.html";
    /// The file that `/publish/APP/STREAM` is answered with, in the same way: the page that publishes a stream.
    pub const PUBLISHER: &str = "publish.html";
    /// What pages of others import, at `/assets/embed.js`.
    pub const EMBED: &str = "embed.js";

    /// Adds a file, or replaces the one of that name; `gzip` is the same packed, for browsers that take it so. It is at
    /// `/assets/NAME`, and kept by browsers for a year: another content needs another name, such as one with a hash in it. Only
    /// [`Self::PLAYER`], [`Self::PUBLISHER`], [`Self::DASHBOARD`] and [`Self::EMBED`] are asked for anew each time. Scripts may be read
    /// by pages of any site.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, body: impl Into<Bytes>, gzip: Option<Bytes>) -> Self {
        let name = name.into();
        let asset = Asset::new(&name, body.into(), gzip);
        Arc::make_mut(&mut self.files).insert(name, asset);
        self
    }

    /// A file.
    pub(crate) fn get(&self, name: &str) -> Option<&Asset> {
        self.files.get(name)
    }
}

impl fmt::Debug for Assets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

/// A file as it is sent.
#[derive(Clone)]
pub(crate) struct Asset {
    pub(crate) body: Bytes,
    /// The same, packed.
    pub(crate) gzip: Option<Bytes>,
    pub(crate) content_type: &'static str,
    /// Tells it from other contents, packed or not.
    pub(crate) etag: String,
}

impl Asset {
    pub(crate) fn new(name: &str, body: Bytes, gzip: Option<Bytes>) -> Self {
        let etag = format!("W/\"{}\"", hash(&body));
        Self { body, gzip, content_type: content_type(name), etag }
    }
}

/// A short text that is another one for other contents.
pub(crate) fn hash(content: &[u8]) -> String {
    Md5::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What a file is, by the end of its name.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_type_of_its_name_and_a_tag_of_its_content() {
        let assets = Assets::default().file("a.html", "one", None).file("b.js", "two", None);
        let of = |name: &str| assets.get(name).unwrap();
        assert_eq!(of("a.html").content_type, "text/html; charset=utf-8");
        assert_eq!(of("b.js").content_type, "text/javascript; charset=utf-8");
        assert_ne!(of("a.html").etag, of("b.js").etag);
        let same = Assets::default().file("c.bin", "one", None);
        assert_eq!(same.get("c.bin").unwrap().etag, of("a.html").etag);
        assert!(assets.get("c.bin").is_none());
    }
}
