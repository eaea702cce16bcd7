//! FLV files tag by tag, with byte positions in errors and memory bounded by what the file really holds.

use super::flv::{FILE_HEADER_LEN, FileHeader, TAG_HEADER_LEN, TagContent, TagHeader};
use super::{Frame, FrameKind};
use crate::media::TimestampUnwrapper;
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
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

/// Reads an FLV file from its first tag to its last whole one.
///
/// A payload is allocated only after its length has been checked against the bytes that the file had when it
/// was opened, so a wrong length costs nothing. Bytes added later are not read.
#[derive(Debug)]
pub struct FlvReader<R> {
    input: R,
    header: FileHeader,
    length: u64,
    position: u64,
    unwrapper: TimestampUnwrapper,
    truncated_at: Option<u64>,
}

impl<R: BufRead + Seek> FlvReader<R> {
    /// Reads the file header from the start of `input`.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] with the byte position if it is no FLV file, [`ErrorKind::Io`] if reading fails.
    pub fn new(mut input: R) -> Result<Self> {
        let length = input.seek(SeekFrom::End(0)).map_err(|cause| Error::io("seek", cause))?;
        input.rewind().map_err(|cause| Error::io("seek", cause))?;
        if length == 0 {
            return Err(malformed(0, "the file is empty"));
        }
        let mut bytes = [0; FILE_HEADER_LEN];
        let present = usize::try_from(length).unwrap_or(usize::MAX).min(FILE_HEADER_LEN);
        let bytes = bytes.get_mut(..present).unwrap_or_default();
        input.read_exact(bytes).map_err(|cause| Error::io("read at byte 0", cause))?;
        let (header, offset) =
            FileHeader::parse(bytes).map_err(|error| malformed(error.position(), error))?;
        let offset = u64::from(offset);
        if offset > length {
            return Err(malformed(5, format_args!("data offset {offset} is beyond the file's end")));
        }
        let unwrapper = TimestampUnwrapper::default();
        let mut reader = Self { input, header, length, position: offset, unwrapper, truncated_at: None };
        reader.seek_to(offset)?;
        reader.skip_trailer()?;
        Ok(reader)
    }

    /// What the file's header announces.
    pub fn header(&self) -> FileHeader {
        self.header
    }

    /// Bytes of the file when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Offset of the next tag.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Offset of the half tag that the file ends with, once it has been reached.
    pub fn truncated_at(&self) -> Option<u64> {
        self.truncated_at
    }

    /// The next tag, or `None` at the end of the file or before a half tag
    /// ([`truncated_at`](Self::truncated_at) tells which).
    ///
    /// # Errors
    /// [`ErrorKind::Format`] with the byte position of a tag that makes no sense, [`ErrorKind::Unsupported`] of
    /// an encrypted one, [`ErrorKind::Io`] if reading fails.
    pub fn next_tag(&mut self) -> Result<Option<FileTag>> {
        while let Some(header) = self.tag_header()? {
            let position = self.position;
            if self.kind_of(header)?.is_none() {
                self.skip_unknown(header)?;
                continue;
            }
            let payload = self.payload(header)?;
            self.skip_trailer()?;
            let timestamp = self.unwrapper.unwrap(header.timestamp);
            return Ok(header.frame(timestamp, payload).map(|frame| FileTag { position, frame }));
        }
        Ok(None)
    }

    /// The next tag's header if all of the tag is there; the input then stands at its payload.
    fn tag_header(&mut self) -> Result<Option<TagHeader>> {
        let left = self.length.saturating_sub(self.position);
        if left == 0 || self.truncated_at.is_some() {
            return Ok(None);
        }
        if left < TAG_HEADER_LEN as u64 {
            self.truncated_at = Some(self.position);
            return Ok(None);
        }
        let mut bytes = [0; TAG_HEADER_LEN];
        self.read_exact(&mut bytes)?;
        let header = TagHeader::parse(&bytes);
        if u64::from(header.size()) > left {
            self.check_type(header)?;
            self.truncated_at = Some(self.position);
            return Ok(None);
        }
        Ok(Some(header))
    }

    /// Refuses what cannot be a tag's type byte, so that garbage is not taken for a half tag.
    fn check_type(&self, header: TagHeader) -> Result<()> {
        match self.kind_of(header)? {
            Some(_) => Ok(()),
            None => Err(self.unknown_type(header)),
        }
    }

    fn kind_of(&self, header: TagHeader) -> Result<Option<FrameKind>> {
        match header.content() {
            TagContent::Frame(kind) => Ok(Some(kind)),
            TagContent::Unknown => Ok(None),
            TagContent::Encrypted => Err(encrypted(self.position)),
        }
    }

    fn unknown_type(&self, header: TagHeader) -> Error {
        malformed(self.position, format_args!("unknown tag type {}", header.tag_type))
    }

    /// Passes over a tag of unknown type, if the size after it confirms that it is a tag at all.
    fn skip_unknown(&mut self, header: TagHeader) -> Result<()> {
        let end = self.position.saturating_add(u64::from(header.size()));
        if self.length.saturating_sub(end) < 4 {
            return Err(self.unknown_type(header));
        }
        self.seek_to(end)?;
        let mut trailer = [0; 4];
        self.read_exact(&mut trailer)?;
        if u32::from_be_bytes(trailer) != header.size() {
            return Err(self.unknown_type(header));
        }
        self.position = end.saturating_add(4);
        Ok(())
    }

    fn payload(&mut self, header: TagHeader) -> Result<Bytes> {
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let mut payload = vec![0; length];
        self.read_exact(&mut payload)?;
        self.position = self.position.saturating_add(u64::from(header.size()));
        Ok(payload.into())
    }

    /// Passes over "previous tag size", whose value many writers get wrong; the last one may be missing.
    fn skip_trailer(&mut self) -> Result<()> {
        let end = self.position.saturating_add(4).min(self.length);
        let present = usize::try_from(end.saturating_sub(self.position)).unwrap_or(4);
        let mut trailer = [0; 4];
        self.read_exact(trailer.get_mut(..present).unwrap_or_default())?;
        self.position = end;
        Ok(())
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        let position = self.position;
        self.input
            .read_exact(bytes)
            .map_err(|cause| Error::io(format_args!("read tag at byte {position}"), cause))
    }

    fn seek_to(&mut self, position: u64) -> Result<()> {
        self.input.seek(SeekFrom::Start(position)).map_err(|cause| Error::io("seek", cause))?;
        Ok(())
    }
}

pub(super) fn encrypted(position: u64) -> Error {
    let text = format!("tag at byte {position}: encrypted tags are not supported");
    Error::new(ErrorKind::Unsupported, text)
}

pub(super) fn malformed(position: u64, detail: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Format, format!("at byte {position}: {detail}"))
}
