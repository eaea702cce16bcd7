//! What is left on the disk of streams that are over, and how it leaves: once nobody can have a playlist any more that names it.
//!
//! A stream whose name is published again goes on with the numbers that its files tell. So these stay until the clock, by which a stream
//! begins that finds none, has passed them. See `first_number` of the muxer.

use super::{Claim, INDEX, MOST, is_ours};
use crate::files::{Folder, folders, since_1970};
use crate::hls::Hls;
use crate::hls::playlist::{FileNames, rendition_of_playlist};
use crate::key::StreamKey;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// The files of a stream, of whatever run.
pub(super) struct Found {
    /// Names that are ours.
    pub(super) files: Vec<String>,
    /// What playlists of renditions say.
    pub(super) lists: Vec<List>,
    has_others: bool,
}

/// What a playlist of an earlier run says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    /// The number after its last segment.
    pub(super) ends: u64,
    /// Breaks up to its end, and the one that follows.
    pub(super) breaks: u64,
    /// The files that it names.
    pub(super) files: HashSet<String>,
}

impl Found {
    pub(super) fn look(folder: &Folder) -> Self {
        let (files, others): (Vec<_>, Vec<_>) = folder.names().into_iter().partition(|name| is_ours(name));
        let playlists = files.iter().filter(|name| rendition_of_playlist(name).is_some());
        let lists = playlists.filter_map(|name| Some(List::read(&folder.read(name)?))).collect();
        Self { files, lists, has_others: !others.is_empty() }
    }

    /// The number after the last of all segments.
    pub(super) fn ends(&self) -> u64 {
        let numbers = self.files.iter().filter_map(|name| FileNames::number(name)?.checked_add(1));
        let ends = numbers.chain(self.lists.iter().map(|list| list.ends)).filter(|end| *end < MOST);
        ends.max().unwrap_or_default()
    }

    /// Whether it was a server like this one that wrote them: others call their playlists so, too.
    fn are_of_a_server(&self) -> bool {
        match &self.lists[..] {
            // It was ended before its first playlist.
            [] => !self.has_others && !self.files.is_empty() && !self.files.iter().any(|name| name == INDEX),
            lists => lists.iter().flat_map(|list| &list.files).all(|name| FileNames::is_of_media(name)),
        }
    }

    /// Removes them, unless the clock has not passed their numbers.
    fn remove(mut self, folder: &Folder) {
        if self.ends() > since_1970().as_secs() {
            return;
        }
        // What names others goes before them.
        self.files.sort_by_key(|name| (name != INDEX, rendition_of_playlist(name).is_none()));
        self.files.iter().for_each(|name| folder.remove(name));
        folder.remove_empty();
    }
}

impl List {
    pub(super) fn read(text: &str) -> Self {
        let mut list = Self::default();
        for line in text.lines() {
            let number = |value: &str| value.parse::<u64>().unwrap_or_default();
            match line.split_once(':').unwrap_or((line, "")) {
                ("#EXT-X-MEDIA-SEQUENCE", value) => list.ends = list.ends.saturating_add(number(value)),
                ("#EXT-X-DISCONTINUITY-SEQUENCE", value) => {
                    list.breaks = list.breaks.saturating_add(number(value));
                }
                ("#EXT-X-DISCONTINUITY", _) => list.breaks = list.breaks.saturating_add(1),
                ("#EXT-X-MAP", value) => {
                    let uri = value.strip_prefix("URI=\"").and_then(|value| value.strip_suffix('"'));
                    list.files.extend(uri.map(str::to_owned));
                }
                _ if line.is_empty() || line.starts_with('#') => {}
                _ => {
                    list.ends = list.ends.saturating_add(1);
                    list.files.insert(line.to_owned());
                }
            }
        }
        list.breaks = list.breaks.saturating_add(1);
        list
    }
}

/// Removes the files of a stream that has ended, whose media lie in memory in the folder `epoch`, after so long.
pub(super) async fn remove_later(hls: Hls, key: StreamKey, epoch: String, root: PathBuf, kept: Duration) {
    sleep(kept).await;
    let removing = spawn_blocking(move || {
        if let Some((_claim, folder)) = unused(&hls, &root, &key, &epoch) {
            Found::look(&folder).remove(&folder);
        }
    });
    let _ = removing.await;
}

/// The folder of a stream, and the right to its files, where nobody has it but perhaps the stream `epoch`.
fn unused(hls: &Hls, root: &Path, key: &StreamKey, epoch: &str) -> Option<(Claim, Folder)> {
    let claim = Claim::new(hls, key)?;
    // Another of the name goes on where this one has ended, and removes it all in its turn.
    let is_used = hls.shared.streams.lock().get(key).is_some_and(|stream| stream.epoch != epoch);
    let folder = Folder::new(root, key);
    (!is_used && folder.is_real()).then_some((claim, folder))
}

/// Removes what earlier runs have left below `root` and nobody has gone on with for so long.
pub(in crate::hls) async fn sweep(hls: Hls, root: PathBuf, kept: Duration) {
    sleep(kept).await;
    let sweeping = spawn_blocking(move || {
        let is_over = || hls.shared.draining.is_cancelled();
        for key in streams_below(&root).take_while(|_| !is_over()) {
            remove_left_over(&hls, &root, &key, kept);
        }
    });
    let _ = sweeping.await;
}

/// Removes what is left of a stream, where nobody has written it for so long.
pub(super) fn remove_left_over(hls: &Hls, root: &Path, key: &StreamKey, kept: Duration) {
    let Some((_claim, folder)) = unused(hls, root, key, "") else { return };
    let found = Found::look(&folder);
    // Another server may have its streams there.
    let is_old =
        || folder.newest(&found.files).is_some_and(|newest| newest.elapsed().is_ok_and(|age| age >= kept));
    if found.are_of_a_server() && is_old() {
        found.remove(&folder);
    }
}

/// Folders below `root` that a stream may have, by the names of the streams. Links are not followed.
fn streams_below(root: &Path) -> impl Iterator<Item = StreamKey> {
    let (root, mut pending) = (root.to_owned(), vec![String::new()]);
    let mut found = Vec::new();
    std::iter::from_fn(move || {
        while found.is_empty() {
            let folder = pending.pop()?;
            for name in folders(&root.join(&folder)) {
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                // What is no part of a name, or too long for one, is nobody's.
                if !format!("{path}/x").parse::<StreamKey>().is_ok_and(|key| key.app() == path) {
                    continue;
                }
                found.extend(path.parse::<StreamKey>().ok());
                pending.push(path);
            }
        }
        found.pop()
    })
}
