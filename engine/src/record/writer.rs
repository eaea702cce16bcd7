//! Writes the files of one recording. All that it does may wait for the disk.

use super::cutter::Act;
use super::finish::{Finished, finish};
use super::library::{Library, adopt};
use crate::budget::{Budget, Rate};
use crate::config::RecordConfig;
use crate::files::{Folder, since_1970};
use crate::key::StreamKey;
use crate::status::RecordedFile;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// How often it looks how much room there is, and whether its file is still there.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// How many numbers are tried for a file whose name is taken.
const NUMBERS: u64 = 10_000;
/// As many pieces as operating systems take in one call.
const MOST_PIECES: usize = 1_024;

bound! {
    /// Files that a recording begins: 60 at once, and one a second. A publisher that changes its configuration all the time would fill
    /// the folder with them (test `a_stream_that_changes_all_the_time_does_not_fill_the_folder_with_files`).
    const FILES: Rate = Rate::new(60, Duration::from_secs(60)), without Rate::new(1 << 30, Duration::from_secs(1));
}

/// Why nothing is written.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The disk has no room, or less than it has to have.
    Full(Error),
    /// Nothing more goes into this file, which is gone, or as large as files may be: another one may be begun at once.
    File(Error),
    /// All else.
    Broken(Error),
}

impl Fault {
    fn of(error: Error) -> Self {
        use std::io::ErrorKind as Io;
        let cause =
            std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        match cause.map(std::io::Error::kind) {
            Some(Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge) => Self::Full(error),
            _ => Self::Broken(error),
        }
    }

    pub(crate) fn error(&self) -> &Error {
        match self {
            Self::Full(error) | Self::File(error) | Self::Broken(error) => error,
        }
    }
}

/// A file that is being written.
struct Open {
    file: File,
    /// What it is to be called.
    name: String,
    start: Duration,
    /// Bytes of it that are whole.
    bytes: u64,
    looked: Instant,
}

/// See the module.
pub(crate) struct Writer {
    root: PathBuf,
    folder: Folder,
    key: StreamKey,
    /// What it writes, with what is there already.
    library: Library,
    config: RecordConfig,
    open: Option<Open>,
    /// Files may be there that are to be made whole: of one who was killed, or where the disk has not even taken that.
    may_have_left: bool,
    /// The number of the next file.
    number: u64,
    begun: Budget,
    /// Bytes written, over all files.
    bytes: u64,
}

impl Writer {
    pub(crate) fn new(root: &Path, key: &StreamKey, config: RecordConfig) -> Self {
        Self {
            root: root.to_owned(),
            folder: Folder::new(root, key),
            key: key.clone(),
            library: Library::of_stream(root, key, &config),
            config,
            open: None,
            may_have_left: true,
            number: 0,
            begun: Budget::default(),
            bytes: 0,
        }
    }

    /// The file that is being written, as it is to be called.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.open.as_ref().map(|open| self.folder.path(&open.name))
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Finishes what is open as far as it is whole, if it can be: it cannot be written any more.
    pub(crate) fn give_up(&mut self, whole: &mut Vec<RecordedFile>) {
        // What is said of this file is said by the fault.
        let _ = self.end(None, whole);
        self.make_room(whole);
    }

    /// Does what the stream has come to, which may take long: `whole` gets the files that have become so, for which old ones make
    /// room. Where that fails, what was open has been finished as far as it was whole, if it could be.
    pub(crate) fn apply(&mut self, acts: Vec<Act>, whole: &mut Vec<RecordedFile>) -> Result<(), Fault> {
        let done = acts.into_iter().try_for_each(|act| match act {
            Act::Begin => self.begin(whole),
            Act::Write(bytes) => self.write(&bytes),
            Act::End(ms) => self.end(Some(Duration::from_millis(ms)), whole).map_err(Fault::of),
        });
        match done {
            Ok(()) => self.make_room(whole),
            Err(_) => self.give_up(whole),
        }
        done
    }

    fn make_room(&self, whole: &[RecordedFile]) {
        if !whole.is_empty() {
            self.library.clear();
        }
    }

    fn begin(&mut self, whole: &mut Vec<RecordedFile>) -> Result<(), Fault> {
        if !self.begun.spend(FILES.get(), 1, Instant::now()) {
            let text = "the stream changes all the time: a recording begins 60 files in a minute at most";
            return Err(Fault::Broken(Error::new(ErrorKind::Limit, text)));
        }
        self.folder.make().map_err(Fault::of)?;
        self.check_room()?;
        if std::mem::take(&mut self.may_have_left) {
            whole.extend(adopt(&self.root, &self.key, self.config.format));
        }
        let start = since_1970();
        for _ in 0..NUMBERS {
            let number = self.number;
            self.number = number.saturating_add(1);
            let name = format!("{}.{}", self.config.name.of(start, number), self.config.format.file_type());
            if self.folder.has(&name) {
                continue;
            }
            match self.folder.create_part(&name) {
                Ok(file) => {
                    self.open = Some(Open { file, name, start, bytes: 0, looked: Instant::now() });
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Exists => {}
                Err(error) => return Err(Fault::of(error)),
            }
        }
        let text = format!("{}: no name is free", self.folder.path("").display());
        Err(Fault::Broken(Error::new(ErrorKind::Exists, text)))
    }

    /// Writes on in the file that is open, which takes no longer than the disk takes for so many bytes. Where it fails, [`Self::give_up`]
    /// has to follow.
    pub(crate) fn write(&mut self, pieces: &[Bytes]) -> Result<(), Fault> {
        if self.open.as_ref().is_some_and(|open| open.looked.elapsed() >= LOOK_PERIOD) {
            self.look()?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        if let Err(cause) = write_all(&mut open.file, pieces) {
            // Of a file that has nothing yet another one would get no larger.
            let is_long = cause.kind() == io::ErrorKind::FileTooLarge && open.bytes > 0;
            let error = Error::io(format_args!("write {}", self.folder.path(&open.name).display()), cause);
            return Err(if is_long { Fault::File(error) } else { Fault::of(error) });
        }
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        open.bytes = open.bytes.saturating_add(bytes as u64);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        Ok(())
    }

    /// Ends the file that is open; without its length, as what it was left as.
    fn end(&mut self, length: Option<Duration>, whole: &mut Vec<RecordedFile>) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let path = self.folder.path(&open.name);
        // Disks that write nothing in place have no room for that either where they are full.
        self.may_have_left |= length.is_none();
        let failed = |cause| Error::io(format_args!("finish {}", path.display()), cause);
        match finish(&mut open.file, self.config.format, length).map_err(failed)? {
            Some(Finished { bytes, length }) => {
                self.folder.finish_part(&open.name)?;
                whole.push(RecordedFile {
                    recording: None,
                    stream: self.key.clone(),
                    path,
                    start: open.start.as_secs(),
                    bytes,
                    length: Some(length),
                    is_growing: false,
                });
            }
            None => self.folder.remove_part(&open.name),
        }
        Ok(())
    }

    /// Looks after the file that is open.
    fn look(&mut self) -> Result<(), Fault> {
        self.check_room()?;
        let Some(open) = &mut self.open else { return Ok(()) };
        open.looked = Instant::now();
        if !self.folder.has_part(&open.name) {
            let text = format!("{}: it has been removed", self.folder.path(&open.name).display());
            return Err(Fault::File(Error::new(ErrorKind::NotFound, text)));
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), Fault> {
        let least = self.config.min_free_bytes;
        match self.folder.free_bytes() {
            Some(free) if free < least => {
                let text = format!(
                    "{}: {free} bytes are free, and record.min_free_bytes is {least}",
                    self.folder.path("").display()
                );
                Err(Fault::Full(Error::new(ErrorKind::Limit, text)))
            }
            _ => Ok(()),
        }
    }
}

/// Writes pieces one behind the other, in as few calls as the system has them.
fn write_all(file: &mut File, pieces: &[Bytes]) -> io::Result<()> {
    for some in pieces.chunks(MOST_PIECES) {
        let mut slices: Vec<_> = some.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            match file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RecordFormat;
    use crate::record::{Cutter, Rules};
    use crate::testing::{inter, key, keyframe, video_header};

    fn acts() -> Vec<Act> {
        let (mut cutter, mut acts) = (Cutter::new(Rules::of(&RecordConfig::default())), Vec::new());
        cutter.push(&[video_header(0), keyframe(0, 9), inter(40, 9)], &mut acts);
        cutter.end(&mut acts);
        acts
    }

    fn writer(root: &Path, config: RecordConfig) -> Writer {
        Writer::new(root, &key("live/a"), config.min_free_bytes(0))
    }

    fn names(root: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(root.join("live/a")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_no_file_that_is_there_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let (mut writer, mut whole) = (writer(root.path(), RecordConfig::default()), Vec::new());
        let mut acts = acts();
        let end = acts.pop().unwrap();
        writer.apply(acts.clone(), &mut whole).unwrap();
        assert!(names(root.path())[0].ends_with("-0.flv.part"));
        assert!(writer.path().unwrap().to_str().unwrap().ends_with("-0.flv"));
        writer.apply(vec![end.clone()], &mut whole).unwrap();
        assert!(names(root.path())[0].ends_with("-0.flv"));
        assert_eq!((whole[0].length, whole[0].bytes), (Some(Duration::from_millis(40)), writer.bytes()));
        // One who comes later, in the same second.
        let mut other = super::tests::writer(root.path(), RecordConfig::default());
        acts.push(end);
        other.apply(acts, &mut whole).unwrap();
        assert_eq!(names(root.path()).len(), 2);
        assert_ne!(whole[0].path, whole[1].path);
    }

    #[test]
    fn a_stream_that_changes_all_the_time_does_not_fill_the_folder_with_files() {
        let root = tempfile::tempdir().unwrap();
        let (mut writer, mut whole) = (writer(root.path(), RecordConfig::default()), Vec::new());
        let mut refused = None;
        for _ in 0..100 {
            if let Err(fault) = writer.apply(acts(), &mut whole) {
                refused = Some(fault.error().to_string());
            }
        }
        let count = names(root.path()).len();
        assert!((60..90).contains(&count), "{count}");
        assert!(refused.unwrap().contains("60 files in a minute"));
    }

    #[test]
    fn a_disk_with_less_than_is_to_be_left_is_full() {
        let root = tempfile::tempdir().unwrap();
        let config = RecordConfig::default().min_free_bytes(1 << 40).format(RecordFormat::Flv);
        let mut writer =
            Writer::new(root.path(), &key("live/a"), RecordConfig { min_free_bytes: u64::MAX, ..config });
        let fault = writer.apply(acts(), &mut Vec::new()).unwrap_err();
        assert!(matches!(fault, Fault::Full(_)), "{fault:?}");
        assert_eq!(names(root.path()), [""; 0]);
    }

    #[test]
    fn what_was_left_over_of_the_stream_is_made_whole_before_the_next_file_begins() {
        let root = tempfile::tempdir().unwrap();
        let (mut first, mut whole) = (writer(root.path(), RecordConfig::default()), Vec::new());
        let mut cut = acts();
        cut.pop();
        first.apply(cut.clone(), &mut whole).unwrap();
        let left = first.path().unwrap();
        let mut second = writer(root.path(), RecordConfig::default());
        second.apply(acts(), &mut whole).unwrap();
        assert!(whole.iter().all(|file| file.path != left), "somebody writes it");
        drop(first);
        let mut third = writer(root.path(), RecordConfig::default());
        third.apply(acts(), &mut whole).unwrap();
        let adopted = whole.iter().find(|file| file.path == left).unwrap();
        assert_eq!((adopted.length, adopted.is_growing), (Some(Duration::from_millis(40)), false));
        assert!(names(root.path()).iter().all(|name| name.ends_with(".flv")));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_written_stays_below_the_folder_whatever_lies_there() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), root.path().join("live")).unwrap();
        let mut writer = writer(root.path(), RecordConfig::default());
        let fault = writer.apply(acts(), &mut Vec::new()).unwrap_err();
        assert!(fault.error().to_string().contains("symbolic link"), "{fault:?}");
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
