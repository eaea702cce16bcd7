//! Who watches by HLS: players that ask again and again, each known by a token in its URLs.

use super::HlsStream;
use crate::key::StreamKey;
use crate::sessions::{Measured, Queue, Traffic};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Hexadecimal digits of a token: 128 bits, which nobody guesses.
const TOKEN_LEN: usize = 32;

/// Somebody who watches.
pub(crate) struct Viewer {
    token: String,
    /// What it is known by where it shows no token.
    seen: Seen,
    stream: Mutex<Arc<HlsStream>>,
    asked: Mutex<Instant>,
    /// The newest segment that it has seen listed, of each rendition.
    shown: Mutex<HashMap<usize, u64>>,
    bytes: AtomicU64,
}

/// Stream, address and what the player calls itself.
type Seen = (StreamKey, IpAddr, u64);

/// All of an engine.
#[derive(Default)]
pub(super) struct Viewers {
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    by_token: HashMap<String, Arc<Viewer>>,
    /// Of those who have the same, the newest.
    seen: HashMap<Seen, Arc<Viewer>>,
}

impl Viewers {
    pub(super) fn find(&self, token: &str) -> Option<Arc<Viewer>> {
        self.places.lock().by_token.get(token).cloned()
    }

    /// A place for one more, by this token where it is one and nobody has it; none where there are `most`.
    pub(super) fn take(
        &self,
        stream: Arc<HlsStream>,
        token: Option<&str>,
        address: IpAddr,
        agent: &str,
        most: usize,
    ) -> Option<Arc<Viewer>> {
        let mut places = self.places.lock();
        if places.by_token.len() >= most {
            return None;
        }
        let is_token =
            |token: &&str| token.len() == TOKEN_LEN && token.bytes().all(|byte| byte.is_ascii_hexdigit());
        let own = token.filter(is_token).filter(|token| !places.by_token.contains_key(*token));
        let token = own.map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned);
        let seen = seen(&stream, address, agent);
        let viewer = Arc::new(Viewer {
            token: token.clone(),
            seen: seen.clone(),
            stream: Mutex::new(stream),
            asked: Mutex::new(Instant::now()),
            shown: Mutex::default(),
            bytes: AtomicU64::new(0),
        });
        places.by_token.insert(token, viewer.clone());
        places.seen.insert(seen, viewer.clone());
        Some(viewer)
    }

    pub(super) fn forget(&self, viewer: &Arc<Viewer>) {
        let mut places = self.places.lock();
        places.by_token.remove(&viewer.token);
        if places.seen.get(&viewer.seen).is_some_and(|newest| Arc::ptr_eq(newest, viewer)) {
            places.seen.remove(&viewer.seen);
        }
    }

    /// Counts media for whoever seems to load them: an estimate, as they are loaded without a token.
    pub(super) fn count_media(&self, stream: &HlsStream, address: IpAddr, agent: &str, bytes: usize) {
        let viewer = self.places.lock().seen.get(&seen(stream, address, agent)).cloned();
        if let Some(viewer) = viewer {
            viewer.count(bytes);
            viewer.touch();
        }
    }
}

fn seen(stream: &HlsStream, address: IpAddr, agent: &str) -> Seen {
    let mut hasher = DefaultHasher::new();
    agent.hash(&mut hasher);
    (stream.key.clone(), address, hasher.finish())
}

impl Viewer {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn key(&self) -> &StreamKey {
        &self.seen.0
    }

    /// The stream as it was when it asked last.
    pub(crate) fn stream(&self) -> Arc<HlsStream> {
        self.stream.lock().clone()
    }

    /// Goes on with the stream as it is now.
    pub(crate) fn follow(&self, stream: Arc<HlsStream>) {
        *self.stream.lock() = stream;
    }

    /// It asks for something.
    pub(crate) fn touch(&self) {
        *self.asked.lock() = Instant::now();
    }

    /// The newest segment that it has seen listed of a rendition.
    pub(crate) fn shown(&self, rendition: usize) -> Option<u64> {
        self.shown.lock().get(&rendition).copied()
    }

    /// It gets a playlist, of a rendition that there is, whose newest segment is this.
    pub(crate) fn show(&self, rendition: usize, newest: u64) {
        self.shown.lock().insert(rendition, newest);
    }

    /// It gets so many bytes.
    pub(crate) fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until it has not asked for so long.
    pub(crate) async fn gone(&self, patience: Duration) {
        loop {
            let deadline = *self.asked.lock() + patience;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

impl Measured for Viewer {
    fn traffic(&self) -> Traffic {
        Traffic { received: 0, sent: self.bytes.load(Ordering::Relaxed) }
    }

    fn queue(&self) -> Queue {
        Queue { is_empty: true, ..Queue::default() }
    }
}
