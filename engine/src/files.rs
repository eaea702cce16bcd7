//! Files on disk, of media and small ones: the only place that opens them.

mod folder;
mod recording_name;

#[cfg(feature = "http")]
pub use folder::write_private;
pub(crate) use folder::{Folder, check_writable, folders};
pub use recording_name::RecordingName;
#[cfg(feature = "http")]
pub(crate) use recording_name::rfc3339;
pub(crate) use recording_name::{since_1970, start_of_recording};

use crate::limits::MAX_SMALL_FILE;
use crate::media::flv_file::FlvReader;
use crate::media::looping::{Clip, ClipSource, Input};
use crate::media::media_file::MediaReader;
use crate::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

bound! {
    /// Longest time that a small file may take to be read (test `a_file_that_hangs_is_given_up`).
    const MAX_READ_TIME: Duration = Duration::from_secs(5), without Duration::from_secs(1 << 30);
    /// Reads at once that hang; more are refused, as each costs a thread
    /// (test `no_more_than_sixteen_reads_hang_at_once`).
    const MAX_HANGING: usize = 16, without usize::MAX;
    /// Only regular files are opened: a pipe or device would block or never end
    /// (test `pipes_devices_and_directories_are_refused_in_words_and_at_once`).
    const ONLY_REGULAR: bool = true, without false;
}

/// Bytes read from a file at a time.
const READ_BUFFER: usize = 64 * 1024;

impl FlvReader<BufReader<File>> {
    /// Opens the file at `path` and reads its header.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Permission`] or [`ErrorKind::Io`] of the operating system;
    /// [`ErrorKind::InvalidArgument`] for what is no regular file; [`ErrorKind::Format`] with the byte position if it is no
    /// FLV file. All name the path.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let input = open(path, format_args!("open {name}"))?;
        Self::new(input).map_err(|error| error.context(name))
    }
}

impl MediaReader<BufReader<File>> {
    /// Opens the file at `path`, whatever media file it is, and reads its beginning.
    ///
    /// # Errors
    /// As [`FlvReader::open`]; for an MP4 file as [`MediaReader::new`] has them, with the path.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let input = open(path, format_args!("open {name}"))?;
        Self::new(input).map_err(|error| error.context(name))
    }
}

impl<P: Into<PathBuf>> From<P> for Clip {
    fn from(path: P) -> Self {
        Self::new(FileClip { path: path.into(), seen: None, playing: Mutex::default() })
    }
}

/// A media file on disk.
struct FileClip {
    path: PathBuf,
    /// How it was when it was last looked at.
    seen: Option<Stamp>,
    /// The file that was opened last, and how it was then.
    playing: Mutex<Option<(File, Stamp)>>,
}

/// A file's length and time of change: when they are the same, so are its contents.
pub(crate) type Stamp = (u64, Option<SystemTime>);

pub(crate) fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.len(), metadata.modified().ok())
}

impl ClipSource for FileClip {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self) -> Result<Box<dyn Input>> {
        let input = open(&self.path, format_args!("open"))?;
        let file = input.get_ref().try_clone().map_err(|cause| Error::io("open", cause))?;
        let stamp = stamp(&file.metadata().map_err(|cause| Error::io("open", cause))?);
        *self.playing.lock() = Some((file, stamp));
        Ok(Box::new(input))
    }

    fn has_changed(&mut self) -> Result<bool> {
        let metadata = fs::metadata(&self.path).map_err(|cause| Error::io("open", cause))?;
        let now = Some(stamp(&metadata));
        let has_changed = self.seen != now;
        self.seen = now;
        Ok(has_changed)
    }

    fn is_overwritten(&self) -> bool {
        let playing = self.playing.lock();
        let now = playing.as_ref().map(|(file, before)| (file.metadata(), before));
        // What cannot be asked is found out when it is read.
        now.is_some_and(|(now, before)| now.is_ok_and(|now| stamp(&now) != *before))
    }
}

/// Reads a small file that a configuration names, a certificate, a key or the configuration itself, as a whole.
///
/// May wait for [`MAX_READ_TIME`], as a file on a network may hang: not for I/O threads, and not under a lock.
///
/// # Errors
/// Those of the operating system; [`ErrorKind::InvalidArgument`] for what is no regular file, [`ErrorKind::Limit`] for one of
/// more than [`MAX_SMALL_FILE`] bytes, [`ErrorKind::Timeout`]. They begin with `what` it is.
pub(crate) fn read_small(path: &Path, what: impl fmt::Display) -> Result<Vec<u8>> {
    let what = what.to_string();
    let (path, name) = (path.to_owned(), what.clone());
    READS.within(what, move || read_all(&path, &name))
}

fn read_all(path: &Path, what: &str) -> Result<Vec<u8>> {
    let file = open_regular(path, format_args!("{what}"))?;
    let mut bytes = Vec::new();
    let most = MAX_SMALL_FILE.get().saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(|cause| Error::io(what, cause))?;
    if bytes.len() as u64 > MAX_SMALL_FILE.get() {
        let text = format!("{what}: it has more than the {} bytes that are allowed", MAX_SMALL_FILE.stated());
        return Err(Error::new(ErrorKind::Limit, text));
    }
    Ok(bytes)
}

static READS: Reads = Reads { hanging: AtomicUsize::new(0) };

/// Reads that go on.
struct Reads {
    hanging: AtomicUsize,
}

impl Reads {
    /// Does `work` on a thread of its own, and gives it up after [`MAX_READ_TIME`].
    fn within<T: Send + 'static>(
        &'static self,
        what: String,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let hangs = |text: &str| Error::new(ErrorKind::Timeout, format!("{what}: {text}"));
        if self.hanging.load(Ordering::Relaxed) >= MAX_HANGING.get() {
            return Err(hangs("reading other files hangs"));
        }
        // No channel of std: waiting for one leaves something behind in a C program's thread for as long as that lives.
        let result = Arc::new((Mutex::new(None), Condvar::new()));
        let theirs = Arc::clone(&result);
        self.hanging.fetch_add(1, Ordering::Relaxed);
        let reading = thread::Builder::new().name("se-file".to_owned()).spawn(move || {
            let (place, waiting) = &*theirs;
            let read = work();
            *place.lock() = Some(read);
            waiting.notify_all();
            self.hanging.fetch_sub(1, Ordering::Relaxed);
        });
        let reading = reading.map_err(|cause| {
            self.hanging.fetch_sub(1, Ordering::Relaxed);
            Error::io(&what, cause)
        })?;
        let (place, waiting) = &*result;
        let mut place = place.lock();
        let time = MAX_READ_TIME.get();
        waiting.wait_while_for(&mut place, |read| read.is_none(), time);
        let Some(read) = place.take() else {
            return Err(hangs(&format!("reading it takes longer than {time:?}")));
        };
        drop(place);
        // It has said what it had to say.
        let _ = reading.join();
        read
    }
}

fn open(path: &Path, what: fmt::Arguments<'_>) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(READ_BUFFER, open_regular(path, what)?))
}

/// Opens only regular files, as a pipe or device would block or never end. Errors begin with `what` is done.
fn open_regular(path: &Path, what: fmt::Arguments<'_>) -> Result<File> {
    let is_regular = |metadata: std::io::Result<Metadata>| match metadata {
        Ok(metadata) if metadata.is_file() || !ONLY_REGULAR.get() => Ok(()),
        Ok(metadata) => {
            let kind = if metadata.is_dir() { "a directory" } else { "a pipe, device or socket" };
            let text = format!("{what}: not a regular file but {kind}");
            Err(Error::new(ErrorKind::InvalidArgument, text))
        }
        Err(cause) => Err(Error::io(what, cause)),
    };
    // Opening may already do something to a device; what takes its place meanwhile does not block.
    is_regular(fs::metadata(path))?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, nix::libc::O_NONBLOCK);
    let file = options.open(path).map_err(|cause| Error::io(what, cause))?;
    is_regular(file.metadata())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_small_file_is_read_up_to_its_limit_and_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; MAX_SMALL_FILE.stated() as usize]).unwrap();
        assert_eq!(read_small(&path, "key").unwrap().len() as u64, MAX_SMALL_FILE.stated());
        std::fs::write(&path, vec![7; MAX_SMALL_FILE.stated() as usize + 1]).unwrap();
        let error = read_small(&path, "key").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.to_string().starts_with("key: it has more than the"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn pipes_devices_and_directories_are_refused_in_words_and_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, kind) in [
            (pipe.as_path(), "a pipe, device or socket"),
            (Path::new("/dev/zero"), "a pipe, device or socket"),
            (folder.path(), "a directory"),
        ] {
            let error = read_small(path, "certificate x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert_eq!(error.to_string(), format!("certificate x: not a regular file but {kind}"));
            assert!(FlvReader::open(path).unwrap_err().to_string().contains("not a regular file"));
        }
    }

    #[test]
    fn a_file_that_hangs_is_given_up() {
        let (release, hang) = mpsc::channel::<()>();
        static OWN: Reads = Reads { hanging: AtomicUsize::new(0) };
        let error = OWN.within("key".to_owned(), move || {
            // Longer than is waited for, and not for ever.
            let _ = hang.recv_timeout(Duration::from_secs(20));
            Ok(())
        });
        assert_eq!(error.unwrap_err().to_string(), "key: reading it takes longer than 5s");
        drop(release);
    }

    #[test]
    fn no_more_than_sixteen_reads_hang_at_once() {
        static OWN: Reads = Reads { hanging: AtomicUsize::new(16) };
        let refused = OWN.within("key".to_owned(), || Ok(())).unwrap_err();
        assert_eq!(refused.to_string(), "key: reading other files hangs");
        OWN.hanging.fetch_sub(1, Ordering::Relaxed);
        OWN.within("key".to_owned(), || Ok(())).unwrap();
    }
}
