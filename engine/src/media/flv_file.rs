//! FLV files tag by tag, with byte positions in errors and memory bounded by what the file really holds.

use super::Frame;
use super::flv::{FileHeader, FoundTag, LeftOut, TagFinder};
use crate::media::TimestampUnwrapper;
use crate::{Error, ErrorKind, Result};
use std::io::{BufRead, Seek, SeekFrom};

/// One tag of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTag {
    /// Offset of the tag's header in the file.
    pub position: u64,
    /// The tag as a frame: its time is unwrapped to 64 bits; a leading `@setDataFrame`, and the zero byte of an
    /// AMF3 script tag (type 15), are removed.
    pub frame: Frame,
}

/// Reads the whole tags of an FLV file from the first to the last.
///
/// Bytes that are part of no tag are passed over, wherever they are, and counted ([`left_out`](Self::left_out)): the
/// file goes on at the next tag that its "previous tag size", or a row of tags behind it, confirms. So do encrypted
/// tags ([`encrypted_tags`](Self::encrypted_tags)). File header, sizes and the end of the file may be missing or wrong.
///
/// Memory is that of the longest tag (16 MiB), and only where the file has so many bytes; each byte is looked at
/// once or twice. Bytes that are added after the file was opened are not read.
#[derive(Debug)]
pub struct FlvReader<R> {
    input: R,
    header: FileHeader,
    length: u64,
    finder: TagFinder,
    /// Read on the way to the first tag of a file without header.
    first: Option<FoundTag>,
    unwrapper: TimestampUnwrapper,
    /// No more bytes are read than these.
    limit: u64,
}

impl<R: BufRead + Seek> FlvReader<R> {
    /// Reads from the start of `input` to the file header, or to the first tag where there is no header.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] with the byte position if there is neither a file header nor a tag in all of the input,
    /// [`ErrorKind::Io`] if reading fails.
    pub fn new(mut input: R) -> Result<Self> {
        let length = input.seek(SeekFrom::End(0)).map_err(|cause| Error::io("seek", cause))?;
        input.rewind().map_err(|cause| Error::io("seek", cause))?;
        if length == 0 {
            return Err(malformed(0, "the file is empty"));
        }
        let header = FileHeader { audio: true, video: true };
        let (finder, unwrapper) = (TagFinder::file(length), TimestampUnwrapper::default());
        let mut reader = Self { input, header, length, finder, first: None, unwrapper, limit: u64::MAX };
        let beginning = reader.input.fill_buf().map_err(|cause| Error::io("read at byte 0", cause))?;
        let instead = other_format(beginning);
        reader.recognise(instead)?;
        Ok(reader)
    }

    fn recognise(&mut self, instead: Option<&str>) -> Result<()> {
        loop {
            self.first = self.finder.next();
            if let Some(header) = self.finder.header() {
                self.header = header;
            }
            if self.first.is_some() || self.finder.header().is_some() {
                return Ok(());
            }
            if !self.fill()? {
                break;
            }
        }
        // Encrypted tags alone make a file too.
        if self.finder.is_recognised() { Ok(()) } else { Err(self.no_flv(instead)) }
    }

    fn no_flv(&self, instead: Option<&str>) -> Error {
        let rest = match instead {
            Some(format) => format!(", and holds no FLV tag; it looks like {format}"),
            None => format!(", and there is no FLV tag in its {} bytes", self.length),
        };
        match self.finder.header_error() {
            Some((position, error)) => {
                malformed(position.saturating_add(error.position()), format_args!("{error}{rest}"))
            }
            None => malformed(0, format_args!("not an FLV file: it does not start with \"FLV\"{rest}")),
        }
    }

    /// What the file's header announces; audio and video where it has none.
    pub fn header(&self) -> FileHeader {
        self.header
    }

    /// Bytes of the file when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Offset of the next tag.
    pub fn position(&self) -> u64 {
        self.first.as_ref().map_or(self.finder.position(), |tag| tag.position)
    }

    /// Offset of the half tag that the file ends with, once it has been reached.
    pub fn truncated_at(&self) -> Option<u64> {
        self.finder.truncated_at()
    }

    /// Bytes so far that are part of no tag; those of a half tag at the end are not among them.
    pub fn left_out(&self) -> LeftOut {
        self.finder.left_out()
    }

    /// Tags so far that were passed over because they are encrypted.
    pub fn encrypted_tags(&self) -> u64 {
        self.finder.encrypted()
    }

    /// The next tag, or `None` at the end of the file or before a half tag
    /// ([`truncated_at`](Self::truncated_at) tells which).
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if reading fails.
    pub fn next_tag(&mut self) -> Result<Option<FileTag>> {
        loop {
            if let Some(found) = self.first.take().or_else(|| self.finder.next()) {
                let FoundTag { position, header, payload } = found;
                let timestamp = self.unwrapper.unwrap(header.timestamp);
                return Ok(header.frame(timestamp, payload).map(|frame| FileTag { position, frame }));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Ends, as if the file did, when so many of its bytes have been read; until it is called again with more.
    pub(super) fn read_up_to(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Whether [`read_up_to`](Self::read_up_to) has left something unread.
    pub(super) fn has_stopped(&self) -> bool {
        self.limit < self.length
    }

    /// Reads on; false at the end.
    fn fill(&mut self) -> Result<bool> {
        let position = self.finder.fed();
        let left = self.length.saturating_sub(position);
        if left == 0 || position >= self.limit {
            return Ok(false);
        }
        let read = self.input.fill_buf();
        let bytes = read.map_err(|cause| Error::io(format_args!("read at byte {position}"), cause))?;
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.finder.feed(bytes.get(..count).unwrap_or_default());
        self.input.consume(count);
        if count == 0 {
            // It has become shorter.
            self.finder.finish();
            self.length = position;
        }
        Ok(true)
    }
}

/// What bytes that are no FLV may be, from the first of them.
pub(super) fn other_format(bytes: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: [(&[u8], &str); 14] = [
        (b"RIFF", "RIFF (AVI or WAV)"),
        (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
        (b"OggS", "Ogg"),
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "gzip"),
        (b"#EXTM3U", "an HLS playlist"),
        (b"HTTP/1.", "an answer of HTTP"),
        (b"GET /", "a request of HTTP"),
        (b"POST /", "a request of HTTP"),
        (b"<!DOCTYPE", "HTML"),
        (b"<html", "HTML"),
        (b"version https://git-lfs", "a pointer of Git LFS"),
    ];
    if bytes.get(4..8) == Some(b"ftyp") {
        return Some("MP4");
    }
    if bytes.first() == Some(&0x47) && bytes.get(188) == Some(&0x47) && bytes.get(376) == Some(&0x47) {
        return Some("an MPEG transport stream");
    }
    BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)).map(|(_, name)| *name)
}

pub(super) fn malformed(position: u64, detail: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Format, format!("at byte {position}: {detail}"))
}
