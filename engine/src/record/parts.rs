//! Which pieces of MP4 files players load. What is whole does not change: it is read once.

use crate::files::{Stamp, stamp};
use crate::media::fmp4::{FileIndex, Fragment};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

/// A segment ends at the first keyframe after so long, in milliseconds.
const SEGMENT_MS: u64 = 2_000;
/// What a file costs beside its segments, in segments: its path, and what is known of it.
const FILE_COST: usize = 16;

bound! {
    /// Segments of whole files that are remembered, at 24 bytes each, so 12 MB over all streams; a file counts as so many more
    /// (test `no_more_than_so_much_of_files_is_remembered`).
    const MAX_REMEMBERED: usize = 500_000, without usize::MAX;
}

/// What of a file is loaded, and in which pieces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(super) init_len: u64,
    pub(super) segments: Box<[Segment]>,
}

/// A part of a file that players load at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) lasts_ms: u64,
}

impl Parts {
    pub(super) fn of(index: &FileIndex) -> Self {
        Self { init_len: index.init_len, segments: segments(index).into() }
    }

    /// So many segments of nothing.
    #[cfg(test)]
    pub(super) fn made_up(count: usize) -> Self {
        let segment = |number: usize| Segment { at: number as u64, len: 1, lasts_ms: 3_000 };
        Self { init_len: 1, segments: (0..count).map(segment).collect() }
    }
}

/// The parts of files that were listed before. What is whole does not change: it is read once.
#[derive(Default)]
pub(crate) struct KnownParts {
    generations: Mutex<Generations>,
}

/// What was asked for lately, and what was before that: half of what may be remembered is either at most.
#[derive(Default)]
struct Generations {
    new: HashMap<Box<Path>, Known>,
    old: HashMap<Box<Path>, Known>,
    /// What the new ones cost, in segments.
    cost: usize,
}

struct Known {
    stamp: Stamp,
    parts: Arc<Parts>,
}

impl KnownParts {
    /// The parts of the open file at `path`; `None` where it is no recording. May wait for the disk.
    pub(crate) fn of(&self, path: &Path, file: File, is_growing: bool) -> Option<Arc<Parts>> {
        let stamp = stamp(&file.metadata().ok()?);
        if let Some(known) = self.generations.lock().find(path, stamp) {
            return Some(known);
        }
        let index = FileIndex::read(&mut BufReader::new(file)).ok()?;
        let parts = Arc::new(Parts::of(&index));
        if !is_growing {
            self.generations.lock().remember(path.into(), Known { stamp, parts: parts.clone() });
        }
        Some(parts)
    }
}

impl Generations {
    fn find(&mut self, path: &Path, stamp: Stamp) -> Option<Arc<Parts>> {
        if let Some(known) = self.new.get(path) {
            return (known.stamp == stamp).then(|| known.parts.clone());
        }
        let (path, known) = self.old.remove_entry(path)?;
        let parts = (known.stamp == stamp).then(|| known.parts.clone());
        if parts.is_some() {
            self.remember(path, known);
        }
        parts
    }

    fn remember(&mut self, path: Box<Path>, known: Known) {
        let cost = |known: &Known| known.parts.segments.len().saturating_add(FILE_COST);
        let added = cost(&known);
        if self.cost.saturating_add(added) > MAX_REMEMBERED.get() / 2 {
            self.old = std::mem::take(&mut self.new);
            self.cost = 0;
        }
        let replaced = self.new.insert(path, known).as_ref().map_or(0, cost);
        self.cost = self.cost.saturating_add(added).saturating_sub(replaced);
    }
}

/// Fragments put together, so that each segment begins with a keyframe.
fn segments(index: &FileIndex) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut begins_ms = 0;
    let fragments = index.fragments.iter().skip_while(|fragment| !fragment.is_independent);
    for Fragment { at, len, begins_ms: now, is_independent } in fragments {
        match segments.last_mut() {
            Some(open) if !(*is_independent && now.saturating_sub(begins_ms) >= SEGMENT_MS) => {
                open.len = open.len.saturating_add(*len);
            }
            open => {
                if let Some(open) = open {
                    open.lasts_ms = now.saturating_sub(begins_ms);
                }
                begins_ms = *now;
                segments.push(Segment { at: *at, len: *len, lasts_ms: 0 });
            }
        }
    }
    if let Some(open) = segments.last_mut() {
        open.lasts_ms = index.ends_ms.saturating_sub(begins_ms);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RecordFormat;
    use crate::record::tests::recording;
    use std::fs;

    #[test]
    fn a_whole_file_is_read_once_and_again_where_it_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let known = KnownParts::default();
        let parts = |is_growing| known.of(&path, File::open(&path).unwrap(), is_growing);
        let bytes = recording(RecordFormat::Fmp4);
        fs::write(&path, &bytes).unwrap();
        let first = parts(true).unwrap();
        assert!(!Arc::ptr_eq(&first, &parts(true).unwrap()), "what grows is looked at each time");
        let whole = parts(false).unwrap();
        assert_eq!(whole, first);
        assert!(Arc::ptr_eq(&whole, &parts(false).unwrap()));
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let half = parts(false).unwrap();
        assert!(half.segments.len() < whole.segments.len());
        assert!(Arc::ptr_eq(&half, &parts(false).unwrap()));
        fs::write(&path, b"no recording any more").unwrap();
        assert!(parts(false).is_none());
    }

    #[test]
    fn no_more_than_so_much_of_files_is_remembered() {
        let (mut generations, made_up) = (Generations::default(), Arc::new(Parts::made_up(1_000)));
        let stamp = (1, None);
        let name = |number: usize| Box::<Path>::from(Path::new(&number.to_string()));
        let known = || Known { stamp, parts: made_up.clone() };
        for number in 0..2_000 {
            generations.remember(name(number), known());
            // It is asked for all the time.
            assert!(generations.find(&name(0), stamp).is_some(), "after {number} others");
        }
        let files = generations.new.len() + generations.old.len();
        let cost = files * (1_000 + FILE_COST);
        assert!(cost <= MAX_REMEMBERED.stated() && cost > MAX_REMEMBERED.stated() / 3, "{files} files");
        assert!(generations.find(&name(1_999), stamp).is_some());
        assert!(generations.find(&name(1), stamp).is_none());
        assert!(generations.find(&name(1_999), (2, None)).is_none());
    }
}
