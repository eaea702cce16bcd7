//! Media files, whatever they are: FLV, and MP4 where that is built in.

use super::NotCarried;
use super::flv::LeftOut;
use super::flv_file::{FileTag, FlvReader};
#[cfg(feature = "mp4")]
use super::mp4_file::{Mp4Reader, is_mp4};
use crate::{Error, Result};
use std::io::{BufRead, Seek};

/// Reads a media file as frames, from the first to the last.
#[derive(Debug)]
#[non_exhaustive]
pub enum MediaReader<R> {
    /// An FLV file, or what is to be taken for one.
    Flv(Box<FlvReader<R>>),
    /// An MP4 or QuickTime file.
    #[cfg(feature = "mp4")]
    Mp4(Mp4Reader<R>),
}

impl<R: BufRead + Seek> MediaReader<R> {
    /// Recognises the file by its first bytes. FLV may be without a header.
    ///
    /// # Errors
    /// As [`FlvReader::new`] and [`Mp4Reader::new`](super::mp4_file::Mp4Reader::new).
    pub fn new(mut input: R) -> Result<Self> {
        input.rewind().map_err(|cause| Error::io("seek", cause))?;
        #[cfg(feature = "mp4")]
        if is_mp4(input.fill_buf().map_err(|cause| Error::io("read at byte 0", cause))?) {
            return Mp4Reader::new(input).map(Self::Mp4);
        }
        FlvReader::new(input).map(|flv| Self::Flv(Box::new(flv)))
    }

    /// The next frame, and where it is in the file; `None` at the end, and where a file that was cut off ends
    /// ([`truncated_at`](Self::truncated_at) tells which).
    ///
    /// # Errors
    /// As [`FlvReader::next_tag`] and [`Mp4Reader::next_tag`](super::mp4_file::Mp4Reader::next_tag).
    pub fn next_tag(&mut self) -> Result<Option<FileTag>> {
        match self {
            Self::Flv(flv) => flv.next_tag(),
            #[cfg(feature = "mp4")]
            Self::Mp4(mp4) => mp4.next_tag(),
        }
    }

    /// Offset of the next tag or sample.
    pub fn position(&self) -> u64 {
        match self {
            Self::Flv(flv) => flv.position(),
            #[cfg(feature = "mp4")]
            Self::Mp4(mp4) => mp4.position(),
        }
    }

    /// Where a file that was cut off ends, once that has been reached: its half tag, or the first sample that is not whole.
    pub fn truncated_at(&self) -> Option<u64> {
        match self {
            Self::Flv(flv) => flv.truncated_at(),
            #[cfg(feature = "mp4")]
            Self::Mp4(mp4) => mp4.truncated_at(),
        }
    }

    /// Bytes of an FLV file so far that are part of no tag.
    pub fn left_out(&self) -> LeftOut {
        match self {
            Self::Flv(flv) => flv.left_out(),
            #[cfg(feature = "mp4")]
            Self::Mp4(_) => LeftOut::default(),
        }
    }

    /// Tags of an FLV file so far that were passed over because they are encrypted.
    pub fn encrypted_tags(&self) -> u64 {
        match self {
            Self::Flv(flv) => flv.encrypted_tags(),
            #[cfg(feature = "mp4")]
            Self::Mp4(_) => 0,
        }
    }

    /// What the file has and a stream cannot have.
    pub fn not_carried(&self) -> &[NotCarried] {
        match self {
            Self::Flv(_) => &[],
            #[cfg(feature = "mp4")]
            Self::Mp4(mp4) => mp4.not_carried(),
        }
    }

    /// Reads no more than so many bytes from now on, and of MP4 no more of samples than tells what they are: for who wants to
    /// know their times.
    pub(super) fn skim(&mut self, limit: u64) {
        match self {
            Self::Flv(flv) => flv.read_up_to(limit),
            #[cfg(feature = "mp4")]
            Self::Mp4(mp4) => mp4.skim(limit),
        }
    }

    /// Whether [`skim`](Self::skim) has left something unread.
    pub(super) fn has_stopped(&self) -> bool {
        match self {
            Self::Flv(flv) => flv.has_stopped(),
            #[cfg(feature = "mp4")]
            Self::Mp4(mp4) => mp4.has_stopped(),
        }
    }
}
