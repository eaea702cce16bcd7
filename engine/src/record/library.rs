//! What there is of recordings: lists, what was left over, and what is too old or too much.

use super::finish::{Finished, finish, told_length};
use crate::config::{Config, RecordConfig, RecordFormat};
use crate::files::{Folder, folders, since_1970, start_of_recording};
use crate::key::StreamKey;
use crate::limits::ms;
use crate::status::RecordedFile;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

bound! {
    /// Files of a stream that are listed, the newest (test `no_more_than_so_many_files_of_a_stream_are_listed`).
    const MAX_FILES: usize = 10_000, without usize::MAX;
    /// Files of all streams that are listed at a time (test `all_files_are_listed_the_newest_first_and_so_many_at_a_time`).
    const MAX_PAGE: usize = 1_000, without usize::MAX;
    /// How deep folders are looked into: names of streams have fewer parts
    /// (test `folders_are_looked_into_as_deep_as_names_go`).
    const MAX_DEPTH: usize = 16, without usize::MAX;
}

/// The recordings of all apps of a configuration.
#[derive(Debug, Clone)]
pub(crate) struct Library {
    shelves: Vec<Shelf>,
}

/// Recordings of one app, or of all in a folder.
#[derive(Debug, Clone)]
struct Shelf {
    root: PathBuf,
    /// `None` for all apps.
    app: Option<String>,
    config: RecordConfig,
}

/// Where a file is in the list of all: by when it began, then by its stream and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    start: u64,
    stream: String,
    name: String,
}

/// A file of a recording, before it is looked into.
struct Entry {
    folder: Folder,
    key: StreamKey,
    name: String,
    start: u64,
    format: RecordFormat,
    is_growing: bool,
    bytes: u64,
}

impl Library {
    pub(crate) fn of(config: &Config) -> Self {
        let shelf = |app: Option<&String>, config: &RecordConfig| {
            Some(Shelf { root: config.dir.clone()?, app: app.cloned(), config: config.clone() })
        };
        let mut shelves: Vec<_> =
            config.apps.iter().filter_map(|(name, app)| shelf(Some(name), &app.record)).collect();
        if shelves.is_empty() && config.apps.is_empty() {
            shelves.extend(shelf(None, &config.default_app.record));
        }
        Self { shelves }
    }

    /// One that has what a recording with this configuration writes of a stream.
    pub(crate) fn of_stream(root: &Path, key: &StreamKey, config: &RecordConfig) -> Self {
        let shelf = Shelf { root: root.to_owned(), app: Some(key.app().to_owned()), config: config.clone() };
        Self { shelves: vec![shelf] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shelves.is_empty()
    }

    /// Makes whole what a server that was killed has left, and removes what is nothing; how many files there are now that were not.
    pub(crate) fn adopt(&self) -> usize {
        let entries = self.shelves.iter().flat_map(Shelf::entries);
        entries.filter(|entry| entry.is_growing).filter_map(|entry| entry.adopt()).count()
    }

    /// The newest files of all streams that are behind a place, the newest first, and where the last of them is, if there are more. Of
    /// the others no more is known at a time than their names in one folder.
    pub(crate) fn page(&self, after: Option<&Place>, most: usize) -> (Vec<RecordedFile>, Option<Place>) {
        let most = most.clamp(1, MAX_PAGE.get());
        let mut newest = BinaryHeap::new();
        for shelf in &self.shelves {
            shelf.each_stream(&mut |key| {
                for found in Folder::new(&shelf.root, key).names() {
                    let place =
                        Place::of(key, &found).filter(|place| after.is_none_or(|after| place < after));
                    newest.extend(place.map(|place| Reverse((place, &shelf.root, key.clone(), found))));
                    if newest.len() > most.saturating_add(1) {
                        newest.pop();
                    }
                }
            });
        }
        let has_more = newest.len() > most;
        if has_more {
            newest.pop();
        }
        let newest = newest.into_sorted_vec();
        let last = newest.last().filter(|_| has_more).map(|Reverse((place, ..))| place.clone());
        let entry = |Reverse((_, root, key, found)): Reverse<(Place, &PathBuf, StreamKey, String)>| {
            entry(root, &key, &Folder::new(root, &key), &found)
        };
        (newest.into_iter().filter_map(entry).map(Entry::told).collect(), last)
    }

    /// Removes files that are too old, and the oldest where there are too many bytes; how many.
    pub(crate) fn clear(&self) -> usize {
        self.shelves.iter().map(Shelf::clear).sum()
    }
}

/// Makes whole what has been left over of a stream in this form; the files that are whole now and were not.
pub(super) fn adopt(root: &Path, key: &StreamKey, format: RecordFormat) -> Vec<RecordedFile> {
    let entries = entries_of(root, key).into_iter();
    let left = entries.filter(|entry| entry.is_growing && entry.format == format);
    let adopted = |entry: Entry| {
        let Finished { bytes, length } = entry.adopt()?;
        Some(RecordedFile { bytes, length: Some(length), is_growing: false, ..entry.unread() })
    };
    left.filter_map(adopted).collect()
}

/// The files of a stream, the oldest first.
pub(crate) fn stream_files(root: &Path, key: &StreamKey) -> Vec<RecordedFile> {
    newest(root, key).into_iter().map(Entry::told).collect()
}

/// The names of these files, which are not opened for that.
#[cfg(feature = "http")]
pub(crate) fn stream_names(root: &Path, key: &StreamKey) -> Vec<String> {
    newest(root, key).into_iter().map(|entry| entry.name).collect()
}

/// Whether a file of this name is one of a recording.
#[cfg(feature = "http")]
pub(crate) fn is_recording(name: &str) -> bool {
    format_of(name).is_some() && start_of_recording(name).is_some()
}

/// A file of a stream by its name, and whether it still grows; `None` where there is none.
#[cfg(feature = "http")]
pub(crate) fn find(root: &Path, key: &StreamKey, name: &str) -> Option<(fs::File, bool)> {
    let folder = Folder::new(root, key);
    // A name in the folder, and no path out of it.
    let is_there = is_recording(name) && !name.contains(['/', '\\']);
    let open = |is_growing| Some((folder.open(name, is_growing).ok()?, is_growing));
    if is_there { open(false).or_else(|| open(true)) } else { None }
}

impl Place {
    /// That of a file of a stream, if it is one of a recording.
    fn of(key: &StreamKey, found: &str) -> Option<Self> {
        let name = Folder::growing(found).unwrap_or(found);
        format_of(name)?;
        let start = start_of_recording(name)?.as_secs();
        Some(Self { start, stream: key.to_string(), name: name.to_owned() })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.start, self.stream, self.name)
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = || {
            let (start, rest) = text.split_once('/')?;
            let (stream, name) = rest.rsplit_once('/')?;
            Some(Self { start: start.parse().ok()?, stream: stream.to_owned(), name: name.to_owned() })
        };
        parts().ok_or("no place in the list of recorded files")
    }
}

impl Shelf {
    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.each_stream(&mut |key| entries.extend(entries_of(&self.root, key)));
        entries
    }

    /// Tells of each stream that has a folder here.
    fn each_stream(&self, tell: &mut dyn FnMut(&StreamKey)) {
        for app in folders(&self.root) {
            let of_app = |wanted: &String| *wanted == app || wanted.starts_with(&format!("{app}/"));
            if self.app.as_ref().is_none_or(of_app) {
                self.look_into(&app, 1, tell);
            }
        }
    }

    fn look_into(&self, name: &str, depth: usize, tell: &mut dyn FnMut(&StreamKey)) {
        if depth > MAX_DEPTH.get() {
            return;
        }
        // Names of streams are names of folders, and no other folder is ours.
        let key = name.parse::<StreamKey>().ok().filter(|key| key.as_str() == name);
        if let Some(key) = key.filter(|key| self.app.as_ref().is_none_or(|app| key.app() == app)) {
            tell(&key);
        }
        for below in folders(&self.root.join(name)) {
            self.look_into(&format!("{name}/{below}"), depth.saturating_add(1), tell);
        }
    }

    fn clear(&self) -> usize {
        let (keep_ms, keep_bytes) = (self.config.keep_ms, self.config.keep_bytes);
        if keep_ms.is_none() && keep_bytes.is_none() {
            return 0;
        }
        let mut entries = self.entries();
        let growing: u64 = entries.iter().filter(|entry| entry.is_growing).map(|entry| entry.bytes).sum();
        entries.retain(|entry| !entry.is_growing);
        entries.sort_by(|a, b| (b.start, &b.name).cmp(&(a.start, &a.name)));
        let oldest = keep_ms.map_or(0, |keep| since_1970().saturating_sub(ms(keep)).as_secs());
        let (mut kept, mut removed) = (growing, 0);
        for entry in entries {
            kept = kept.saturating_add(entry.bytes);
            if entry.start < oldest || keep_bytes.is_some_and(|most| kept > most) {
                entry.folder.remove(&entry.name);
                tracing::debug!(stream = %entry.key, file = entry.name, "recording removed");
                removed += 1;
            }
        }
        removed
    }
}

impl Entry {
    /// Makes it whole, if nobody writes it and there is anything in it.
    fn adopt(&self) -> Option<Finished> {
        let mut file = self.folder.open_part(&self.name).ok()??;
        let finished = finish(&mut file, self.format, None);
        let adopted = match finished {
            Ok(Some(finished)) => self.folder.finish_part(&self.name).map(|()| Some(finished)),
            Ok(None) => {
                self.folder.remove_part(&self.name);
                Ok(None)
            }
            Err(cause) => Err(crate::Error::io(format_args!("finish {}", self.name), cause)),
        };
        adopted.unwrap_or_else(|error| {
            tracing::warn!(stream = %self.key, "a recording that was left over stays as it is: {error}");
            None
        })
    }

    fn told(self) -> RecordedFile {
        let file = self.folder.open(&self.name, self.is_growing).ok();
        let length = file.and_then(|mut file| told_length(&mut file, self.format));
        RecordedFile { length, ..self.unread() }
    }

    /// What its name says.
    fn unread(self) -> RecordedFile {
        RecordedFile {
            recording: None,
            path: self.folder.path(&self.name),
            stream: self.key,
            start: self.start,
            bytes: self.bytes,
            length: None,
            is_growing: self.is_growing,
        }
    }
}

/// Files of a stream, the oldest first; of too many the newest.
fn newest(root: &Path, key: &StreamKey) -> Vec<Entry> {
    let mut entries = entries_of(root, key);
    entries.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
    let first = entries.len().saturating_sub(MAX_FILES.get());
    entries.drain(..first);
    entries
}

/// Files of a stream, in no order.
fn entries_of(root: &Path, key: &StreamKey) -> Vec<Entry> {
    let folder = Folder::new(root, key);
    folder.names().into_iter().filter_map(|found| entry(root, key, &folder, &found)).collect()
}

fn entry(root: &Path, key: &StreamKey, folder: &Folder, found: &str) -> Option<Entry> {
    let name = Folder::growing(found).unwrap_or(found);
    let format = format_of(name)?;
    let start = start_of_recording(name)?.as_secs();
    let metadata = fs::symlink_metadata(folder.path(found)).ok().filter(fs::Metadata::is_file)?;
    Some(Entry {
        folder: Folder::new(root, key),
        key: key.clone(),
        name: name.to_owned(),
        start,
        format,
        is_growing: name != found,
        bytes: metadata.len(),
    })
}

/// How a file of this name is written; `None` for other files.
pub(super) fn format_of(name: &str) -> Option<RecordFormat> {
    let formats = [RecordFormat::Flv, RecordFormat::Fmp4];
    let (_, file_type) = name.rsplit_once('.')?;
    formats.into_iter().find(|format| format.file_type() == file_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::written;
    use crate::record::{Cutter, Rules};
    use crate::testing::{inter, key, keyframe, video_header};
    use std::fs::File;

    /// A recording as bytes, not finished.
    fn bytes() -> Vec<u8> {
        let (mut cutter, mut acts) = (Cutter::new(Rules::of(&RecordConfig::default())), Vec::new());
        cutter.push(&[video_header(0), keyframe(0, 9), inter(40, 9)], &mut acts);
        written(acts)
    }

    fn put(root: &Path, name: &str, bytes: &[u8]) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn library(root: &Path, config: RecordConfig) -> Library {
        Library::of_stream(root, &key("live/a"), &config)
    }

    #[test]
    fn what_a_killed_server_left_is_made_whole_and_what_is_nothing_goes() {
        let root = tempfile::tempdir().unwrap();
        let whole = bytes();
        put(root.path(), "live/a/20180214T002807Z-0.flv.part", &whole[..whole.len() - 5]);
        put(root.path(), "live/a/20180214T002808Z-0.flv.part", &whole[..20]);
        put(root.path(), "live/a/20180214T002809Z-0.flv.part", &whole);
        put(root.path(), "live/a/notes.txt.part", b"notes");
        put(root.path(), "other/a/20180214T002807Z-0.flv.part", &whole);
        let held = root.path().join("live/a/20180214T002809Z-0.flv.part");
        let held = File::open(held).unwrap();
        held.lock().unwrap();
        assert_eq!(library(root.path(), RecordConfig::default()).adopt(), 1);
        let mut names: Vec<_> = Folder::new(root.path(), &key("live/a")).names();
        names.sort();
        assert_eq!(names, ["20180214T002807Z-0.flv", "20180214T002809Z-0.flv.part", "notes.txt.part"]);
        assert!(root.path().join("other/a/20180214T002807Z-0.flv.part").exists(), "another app's");
    }

    #[test]
    fn files_that_are_too_old_and_the_oldest_of_too_many_bytes_go_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let name: crate::files::RecordingName = "{start}-{n}".parse().unwrap();
        let ago = |seconds| name.of(since_1970() - std::time::Duration::from_secs(seconds), 0);
        for (stream, seconds) in [("a", 5_000), ("a", 400), ("b", 300), ("a", 200), ("b/c", 100)] {
            put(root.path(), &format!("live/{stream}/{}.flv", ago(seconds)), &[0; 100]);
        }
        put(root.path(), "live/a/old.flv", b"no recording");
        put(root.path(), &format!("live/a/{}.flv.part", ago(9_000)), &[0; 50]);
        put(root.path(), &format!("other/a/{}.flv", ago(9_000)), &[0; 100]);
        let app = |config| Library {
            shelves: vec![Shelf { root: root.path().to_owned(), app: Some("live".to_owned()), config }],
        };
        assert_eq!(app(RecordConfig::default()).clear(), 0);
        assert_eq!(app(RecordConfig::default().keep_ms(1_000_000)).clear(), 1);
        assert_eq!(app(RecordConfig::default().keep_bytes(300)).clear(), 1);
        let left: Vec<_> = stream_files(root.path(), &key("live/a"));
        assert_eq!(left.iter().map(|file| file.is_growing).collect::<Vec<_>>(), [true, false]);
        assert!(!root.path().join(format!("live/a/{}.flv", ago(400))).exists());
        assert!(root.path().join("live/a/old.flv").exists());
        assert_eq!(stream_files(root.path(), &key("other/a")).len(), 1);
    }

    #[test]
    fn no_more_than_so_many_files_of_a_stream_are_listed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("live/a")).unwrap();
        for number in 0..MAX_FILES.stated() + 5 {
            File::create(root.path().join(format!("live/a/20180214T002807Z-{number:05}.flv"))).unwrap();
        }
        let files = stream_files(root.path(), &key("live/a"));
        assert_eq!(files.len(), MAX_FILES.stated());
        assert!(files[0].path.ends_with("20180214T002807Z-00005.flv"), "{:?}", files[0].path);
    }

    #[test]
    fn all_files_are_listed_the_newest_first_and_so_many_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let whole = bytes();
        for (name, bytes) in [
            ("live/a/20180214T002807Z-0.flv", &whole[..]),
            ("live/a/b/20180214T002809Z-1.flv.part", &[]),
            ("live/c/20180214T002807Z-0.flv", &[]),
            ("live/c/20180214T002808Z-1.mp4", &[]),
            ("live/c/notes.txt", &[]),
            ("other/a/20180214T002810Z-0.flv", &[]),
        ] {
            put(root.path(), name, bytes);
        }
        let shelf = |app: &str| Shelf {
            root: root.path().to_owned(),
            app: Some(app.to_owned()),
            config: RecordConfig::default(),
        };
        let two = Library { shelves: vec![shelf("live"), shelf("live/a")] };
        let all = ["live/a/b/20180214T002809Z-1.flv", "live/c/20180214T002808Z-1.mp4"];
        let all = [all[0], all[1], "live/c/20180214T002807Z-0.flv", "live/a/20180214T002807Z-0.flv"];
        let named = |files: &[RecordedFile]| -> Vec<PathBuf> {
            files.iter().map(|file| file.path.strip_prefix(root.path()).unwrap().to_owned()).collect()
        };
        let (files, last) = two.page(None, 4);
        assert_eq!(named(&files), all.map(PathBuf::from));
        assert_eq!(last, None);
        let growing: Vec<_> = files.iter().map(|file| file.is_growing).collect();
        assert_eq!((growing, files[3].bytes), (vec![true, false, false, false], whole.len() as u64));
        for most in 1..=3 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let (files, last) = two.page(after.as_ref(), most);
                assert!(files.len() <= most);
                seen.extend(named(&files));
                let Some(last) = last else { break };
                after = Some(last.to_string().parse::<Place>().unwrap());
            }
            assert_eq!(seen, all.map(PathBuf::from), "{most} at a time");
        }
        for wrong in ["", "x", "1/a", "-1/live/a/b.flv", "x/live/a/b.flv"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
        for number in 0..MAX_PAGE.stated() {
            put(root.path(), &format!("live/d/20180214T002811Z-{number:04}.flv"), b"");
        }
        let (files, last) = two.page(None, usize::MAX);
        assert_eq!(files.len(), MAX_PAGE.stated());
        assert!(last.is_some_and(|last| two.page(Some(&last), 9).0.len() == all.len()));
    }

    #[test]
    fn folders_are_looked_into_as_deep_as_names_go() {
        let root = tempfile::tempdir().unwrap();
        let deep = |depth: usize| format!("live/{}20180214T002807Z-0.flv", "a/".repeat(depth));
        put(root.path(), &deep(1), b"");
        put(root.path(), &deep(MAX_DEPTH.stated() - 1), b"");
        put(root.path(), &deep(MAX_DEPTH.stated()), b"");
        let entries = Shelf { root: root.path().to_owned(), app: None, config: RecordConfig::default() };
        assert_eq!(entries.entries().len(), 2);
    }
}
