//! The end of a file: what its beginning says of all of it, and what a server that was killed has left.

use crate::config::RecordFormat;
use crate::media::FrameKind;
use crate::media::flv::{FILE_HEADER_LEN, TAG_HEADER_LEN, TagContent, TagHeader};
#[cfg(feature = "mp4")]
use crate::media::fmp4::{FileIndex, length_at};
use crate::media::metadata;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::time::Duration;

/// Bytes of a file's beginning that are read for what they say of it.
const HEAD: u64 = 256 * 1024;
/// "Previous tag size".
const SIZE_LEN: u64 = 4;

/// A file that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) bytes: u64,
    pub(super) length: Duration,
}

/// Has the beginning of a file say how long it is. Where `length` is not given, the file may end anywhere: what is no whole tag or
/// fragment goes. `None` where nothing is left.
pub(super) fn finish(
    file: &mut File,
    format: RecordFormat,
    length: Option<Duration>,
) -> io::Result<Option<Finished>> {
    let finished = match length {
        Some(length) => Finished { bytes: file.seek(SeekFrom::End(0))?, length },
        None => match whole_part(file, format)? {
            Some(finished) => finished,
            None => return Ok(None),
        },
    };
    file.set_len(finished.bytes)?;
    let head = head(file)?;
    for (at, bytes) in fields(&head, format, finished) {
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&bytes)?;
    }
    Ok(Some(finished))
}

/// How long a file says that it lasts; `None` where it does not, as it is not finished.
pub(super) fn told_length(file: &mut File, format: RecordFormat) -> Option<Duration> {
    let head = head(file).ok()?;
    let ms = match format {
        RecordFormat::Flv => {
            let seconds = metadata::number(metadata_of(&head)?.1, "duration")?;
            Duration::try_from_secs_f64(seconds).ok()?
        }
        #[cfg(feature = "mp4")]
        RecordFormat::Fmp4 => Duration::from_millis(length_at(&head)?.1),
        #[cfg(not(feature = "mp4"))]
        RecordFormat::Fmp4 => return None,
    };
    (!ms.is_zero()).then_some(ms)
}

fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.rewind()?;
    file.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

/// `onMetaData`, as files of ours begin, and where it is.
fn metadata_of(head: &[u8]) -> Option<(usize, &[u8])> {
    let tag = FILE_HEADER_LEN.checked_add(4)?;
    let header = TagHeader::parse(head.get(tag..)?.first_chunk()?);
    let payload = tag.checked_add(TAG_HEADER_LEN)?;
    let end = payload.checked_add(usize::try_from(header.length).ok()?)?;
    let is_data = header.content() == TagContent::Frame(FrameKind::Data);
    is_data.then_some((payload, head.get(payload..end)?))
}

/// What the beginning is to say, and where.
fn fields(head: &[u8], format: RecordFormat, finished: Finished) -> Vec<(u64, [u8; 8])> {
    match format {
        RecordFormat::Flv => {
            let Some((begins, payload)) = metadata_of(head) else { return Vec::new() };
            let field = |name: &str, value: f64| {
                let at = begins.checked_add(metadata::number_at(payload, name)?)?;
                Some((at as u64, value.to_be_bytes()))
            };
            let duration = field("duration", finished.length.as_secs_f64());
            duration.into_iter().chain(field("filesize", finished.bytes as f64)).collect()
        }
        #[cfg(feature = "mp4")]
        RecordFormat::Fmp4 => {
            let lasts = u64::try_from(finished.length.as_millis()).unwrap_or(u64::MAX);
            length_at(head).into_iter().map(|(at, _)| (at as u64, lasts.to_be_bytes())).collect()
        }
        #[cfg(not(feature = "mp4"))]
        RecordFormat::Fmp4 => Vec::new(),
    }
}

/// Up to where a file that was cut off is whole, and how long that lasts; `None` where no media is in it.
fn whole_part(file: &mut File, format: RecordFormat) -> io::Result<Option<Finished>> {
    match format {
        RecordFormat::Flv => whole_tags(file),
        #[cfg(feature = "mp4")]
        RecordFormat::Fmp4 => {
            let Ok(index) = FileIndex::read(&mut BufReader::new(file)) else { return Ok(None) };
            let length = Duration::from_millis(index.ends_ms);
            let is_empty = index.len <= index.init_len;
            Ok((!is_empty).then_some(Finished { bytes: index.len, length }))
        }
        #[cfg(not(feature = "mp4"))]
        RecordFormat::Fmp4 => Ok(None),
    }
}

fn whole_tags(file: &mut File) -> io::Result<Option<Finished>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut at = (FILE_HEADER_LEN as u64).saturating_add(SIZE_LEN);
    let mut input = BufReader::new(file);
    input.seek(SeekFrom::Start(at))?;
    let mut finished = None;
    let mut newest = 0;
    loop {
        let mut header = [0; TAG_HEADER_LEN];
        let rest = end.saturating_sub(at);
        if rest < (TAG_HEADER_LEN as u64).saturating_add(SIZE_LEN) {
            return Ok(finished);
        }
        input.read_exact(&mut header)?;
        let header = TagHeader::parse(&header);
        let size = u64::from(header.size());
        if size.saturating_add(SIZE_LEN) > rest {
            return Ok(finished);
        }
        input.seek_relative(i64::from(header.length))?;
        let mut behind = [0; SIZE_LEN as usize];
        input.read_exact(&mut behind)?;
        if u64::from(u32::from_be_bytes(behind)) != size {
            return Ok(finished);
        }
        at = at.saturating_add(size).saturating_add(SIZE_LEN);
        if matches!(header.content(), TagContent::Frame(FrameKind::Audio | FrameKind::Video)) {
            newest = newest.max(header.timestamp);
            finished = Some(Finished { bytes: at, length: Duration::from_millis(newest.into()) });
        } else if let Some(finished) = &mut finished {
            finished.bytes = at;
        }
    }
}
