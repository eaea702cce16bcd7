//! The disk form: a stream's window as files of plain HLS, for web servers and caches in front.
//!
//! Whatever happens at whatever moment, the playlists that are there are whole and name whole files: media are written first, each file
//! under another name until it is whole, and nothing is removed that a playlist names.

mod leavings;

pub(super) use leavings::sweep;

use super::playlist::{Edition, FileNames, NewSegment, rendition_of_playlist};
use super::{Hls, HlsStream, State};
use crate::Result;
use crate::budget::Rate;
use crate::files::Folder;
use crate::key::StreamKey;
use crate::log_limit::{LogLimit, left_out};
use leavings::Found;
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::time::timeout;

bound! {
    /// Streams that write at once: each takes a thread, which a disk that hangs keeps
    /// (test `no_more_than_sixteen_streams_write_at_once`).
    const MAX_WRITING: usize = 16, without 1 << 20;
}

/// How often it looks whether another has left the folder.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Log lines of a stream about one fault.
const LINES: Rate = Rate::new(1, Duration::from_secs(60));
/// The playlist that names the others.
const INDEX: &str = "index.m3u8";
/// No number in a file of ours is as high.
const MOST: u64 = 1 << 53;

/// Who writes where.
pub(super) struct Disk {
    places: Arc<Semaphore>,
    /// Streams that are written.
    claimed: Mutex<HashSet<StreamKey>>,
}

impl Default for Disk {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_WRITING.get())), claimed: Mutex::default() }
    }
}

/// The right to write a stream's files: of two streams of one name, the first may be about to end.
struct Claim {
    hls: Hls,
    key: StreamKey,
}

impl Claim {
    fn new(hls: &Hls, key: &StreamKey) -> Option<Self> {
        let is_free = hls.shared.disk.claimed.lock().insert(key.clone());
        is_free.then(|| Self { hls: hls.clone(), key: key.clone() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.hls.shared.disk.claimed.lock().remove(&self.key);
    }
}

/// Writes a stream's files below `root` until it ends, and removes them when its window is held no more.
pub(super) async fn write(hls: Hls, stream: Arc<HlsStream>, root: PathBuf, window: Duration) {
    if stream.key.as_str().split('/').any(is_ours) {
        tracing::warn!(stream = %stream.key, "HLS files: not of a stream that has the name of such a file");
        return;
    }
    let (key, epoch) = (stream.key.clone(), stream.epoch.clone());
    write_until_end(&hls, stream, &root, window).await;
    leavings::remove_later(hls, key, epoch, root, HlsStream::is_held_for(window)).await;
}

async fn write_until_end(hls: &Hls, stream: Arc<HlsStream>, root: &Path, window: Duration) {
    let mut watch = stream.watch();
    let claim = loop {
        if let Some(claim) = Claim::new(hls, &stream.key) {
            break claim;
        }
        let stopped = watch.wait_for(|state| matches!(state, State::Stopped(_)));
        if timeout(LOOK_PERIOD, stopped).await.is_ok() {
            return;
        }
    };
    let mut writer = Writer::new(root, window, claim);
    loop {
        let edition = match &*watch.borrow_and_update() {
            State::Starting => None,
            State::Playing(snapshot) => snapshot.edition(writer.next),
            State::Stopped(_) => return,
        };
        if let Some(edition) = edition {
            let is_over = edition.is_over;
            let Ok(place) = hls.shared.disk.places.clone().acquire_owned().await else { return };
            let writing = tokio::task::spawn_blocking(move || {
                writer.write_and_tell(&edition);
                drop(place);
                writer
            });
            let Ok(back) = writing.await else { return };
            writer = back;
            if is_over {
                return;
            }
        }
        if watch.changed().await.is_err() {
            return;
        }
    }
}

/// The files of a stream. All that it does may wait for the disk.
struct Writer {
    folder: Folder,
    claim: Claim,
    /// For how long files stay that are listed no more.
    window: Duration,
    names: FileNames,
    /// The number of the first segment that has not been seen.
    next: u64,
    /// Whether there are files of this run.
    has_begun: bool,
    /// Files of earlier runs that are named by their playlists.
    earlier: Vec<String>,
    /// Files that no playlist names any more, and since when.
    leaving: VecDeque<(Instant, Vec<String>)>,
    /// What is in [`INDEX`].
    index: String,
    faults: Vec<(String, LogLimit)>,
    /// The last fault was told, and nothing has been written since.
    is_faulty: bool,
}

impl Writer {
    fn new(root: &Path, window: Duration, claim: Claim) -> Self {
        Self {
            folder: Folder::new(root, &claim.key),
            claim,
            window,
            names: FileNames::default(),
            next: 0,
            has_begun: false,
            earlier: Vec::new(),
            leaving: VecDeque::new(),
            index: String::new(),
            faults: Vec::new(),
            is_faulty: false,
        }
    }

    fn write_and_tell(&mut self, edition: &Edition) {
        let had_begun = self.has_begun;
        if edition.left_out > 0 && had_begun {
            let segments = edition.left_out;
            self.tell(
                "slow",
                &format!("the disk is slower than the stream: {segments} segments are left out"),
            );
        }
        match self.write(edition) {
            Ok(()) if std::mem::take(&mut self.is_faulty) => {
                tracing::info!(stream = %self.claim.key, "HLS files are written again");
            }
            Ok(()) => {}
            Err(error) => {
                let fault = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                self.is_faulty |= self.tell(&fault, &format!("{error}; the stream goes on without"));
            }
        }
        self.next = edition.ends;
    }

    /// Tells of a fault, unless that was told a moment ago.
    fn tell(&mut self, fault: &str, text: &str) -> bool {
        let place = self.faults.iter().position(|(known, _)| known == fault).unwrap_or_else(|| {
            self.faults.push((fault.to_owned(), LogLimit::new(LINES)));
            self.faults.len().saturating_sub(1)
        });
        let held_back = self.faults.get(place).and_then(|(_, limit)| limit.allow());
        if let Some(held_back) = held_back {
            tracing::warn!(stream = %self.claim.key, left_out = left_out(held_back), "HLS files: {text}");
        }
        held_back.is_some()
    }

    /// Writes what is new, and the playlists. Where a segment cannot be written, it is listed as a gap, and the error is given.
    fn write(&mut self, edition: &Edition) -> Result<()> {
        self.folder.make()?;
        if !self.has_begun {
            self.find_earlier(edition);
            self.has_begun = true;
        } else if self.is_gone() {
            self.begin_again(edition);
        }
        let written: Vec<_> = edition.new.iter().map(|segment| self.write_segment(segment)).collect();
        let written: Result<()> = written.into_iter().collect();
        self.write_playlists(edition)?;
        self.let_go(edition);
        written
    }

    /// Goes on after what is there of earlier runs, and removes what nobody can know.
    fn find_earlier(&mut self, edition: &Edition) {
        let found = Found::look(&self.folder);
        let (own, ends) = (edition.begins, found.ends());
        let Found { files, lists, .. } = found;
        let breaks = lists.iter().map(|list| list.breaks).filter(|breaks| *breaks < MOST).max();
        self.names = FileNames {
            first: own,
            shift: ends.saturating_sub(own),
            breaks: breaks.unwrap_or_default(),
            format: edition.format,
            ..FileNames::default()
        };
        let is_named = |name: &String| lists.iter().any(|list| list.files.contains(name));
        let own_playlist =
            |name: &str| rendition_of_playlist(name).is_some_and(|number| number < edition.renditions);
        for name in files.into_iter().filter(|name| name != INDEX && !own_playlist(name)) {
            if is_named(&name) || rendition_of_playlist(&name).is_some() {
                self.earlier.push(name);
            } else {
                self.folder.remove(&name);
            }
        }
    }

    /// Whether somebody has removed it all.
    fn is_gone(&self) -> bool {
        let newest = self.names.written.last().map(|number| self.names.segment(0, *number));
        newest.is_some_and(|name| !self.folder.has(&name))
            || !(self.index.is_empty() || self.folder.has(INDEX))
    }

    fn begin_again(&mut self, edition: &Edition) {
        self.names.first = edition.begins;
        self.names.written.clear();
        self.names.inits.clear();
        self.leaving.clear();
        self.index.clear();
    }

    fn write_segment(&mut self, segment: &NewSegment) -> Result<()> {
        let number = segment.number;
        let is_new_init = !self.names.inits.contains_key(&segment.init);
        let of_init = segment.headers.iter().enumerate().filter(|(_, init)| is_new_init && !init.is_empty());
        let inits = of_init
            .map(|(rendition, header)| (self.names.init(rendition, number), std::slice::from_ref(header)));
        let media = segment.media.iter().enumerate();
        let media = media.map(|(rendition, media)| (self.names.segment(rendition, number), &media[..]));
        let files: Vec<_> = inits.chain(media).collect();
        let written = files.iter().try_for_each(|(name, pieces)| self.folder.write(name, pieces));
        if written.is_ok() {
            self.names.inits.entry(segment.init).or_insert(number);
            self.names.written.insert(number);
        } else {
            // Half of them would only take room.
            files.iter().for_each(|(name, _)| self.folder.remove(name));
        }
        written
    }

    fn write_playlists(&mut self, edition: &Edition) -> Result<()> {
        if self.names.written.is_empty() {
            // There is nothing to play yet.
            return Ok(());
        }
        for rendition in 0..edition.renditions {
            let (name, text) = edition.playlist(rendition, &self.names);
            self.folder.write(&name, &[text.into()])?;
        }
        if self.index != edition.multivariant {
            self.folder.write(INDEX, &[edition.multivariant.clone().into()])?;
            self.index.clone_from(&edition.multivariant);
        }
        Ok(())
    }

    /// Removes what has been named by no playlist for so long that nobody asks for it.
    fn let_go(&mut self, edition: &Edition) {
        let first = edition.first().max(self.names.first);
        let listed = self.names.written.split_off(&first);
        let gone = std::mem::replace(&mut self.names.written, listed);
        let renditions = 0..edition.renditions;
        let of_segment = |number: u64| renditions.clone().map(move |rendition| (rendition, number));
        let mut files: Vec<_> = gone
            .into_iter()
            .flat_map(of_segment)
            .map(|(rendition, number)| self.names.segment(rendition, number))
            .collect();
        let unnamed: Vec<_> =
            self.names.inits.keys().copied().filter(|init| !edition.names_init(*init, first)).collect();
        for init in unnamed {
            let Some(segment) = self.names.inits.remove(&init) else { continue };
            files.extend(renditions.clone().map(|rendition| self.names.init(rendition, segment)));
        }
        if !self.index.is_empty() {
            files.append(&mut self.earlier);
        }
        let (now, stay) = (Instant::now(), self.window.max(edition.patience()));
        if !files.is_empty() {
            self.leaving.push_back((now, files));
        }
        while let Some((since, files)) = self.leaving.front()
            && now.duration_since(*since) >= stay
        {
            files.iter().for_each(|name| self.folder.remove(name));
            self.leaving.pop_front();
        }
    }
}

/// Whether a file of this name is one of ours, whole or not.
fn is_ours(name: &str) -> bool {
    let name = Folder::unfinished(name).unwrap_or(name);
    name == INDEX || rendition_of_playlist(name).is_some() || FileNames::is_of_media(name)
}

#[cfg(test)]
mod tests;
