//! Boxes: where they are (ISO/IEC 14496-12 4.2).

use super::source::{Source, Window};
use crate::Result;
use crate::media::flv::Cursor;
use crate::media::flv_file::malformed;
use mp4_atom::Atom;
use std::io::{Read, Seek};

/// Bytes of a box's head, and of one with a long size.
const HEAD: u64 = 8;
const LONG_HEAD: u64 = 16;

/// Bytes that are read at a time where boxes are looked for.
const AHEAD: usize = 4 * 1024;

/// Where a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BoxAt {
    pub(super) kind: [u8; 4],
    /// Of its head.
    pub(super) start: u64,
    /// Of what is in it.
    pub(super) body: u64,
    /// Behind it.
    pub(super) end: u64,
}

impl BoxAt {
    /// Bytes that are in it.
    pub(super) fn len(&self) -> u64 {
        self.end.saturating_sub(self.body)
    }

    /// What is in it, of `most` bytes at most.
    pub(super) fn read<R: Read + Seek>(&self, source: &mut Source<R>, most: usize) -> Result<Vec<u8>> {
        let len = usize::try_from(self.len()).ok().filter(|len| *len <= most);
        let len = len.ok_or_else(|| {
            malformed(self.start, format_args!("{self} has {} bytes, more than {most}", self.len()))
        })?;
        let mut bytes = Vec::new();
        source.read(self.body, len, &mut bytes)?;
        if bytes.len() < len {
            Err(malformed(self.start, format_args!("{self} is cut off")))
        } else {
            Ok(bytes)
        }
    }

    /// The same, as what it means.
    pub(super) fn decode<A: Atom>(&self, source: &mut Source<impl Read + Seek>, most: usize) -> Result<A> {
        let body = self.read(source, most)?;
        A::decode_body(&mut &body[..]).map_err(|error| malformed(self.start, format_args!("{self}: {error}")))
    }
}

impl std::fmt::Display for BoxAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the box {}", self.kind.escape_ascii())
    }
}

/// Boxes that follow each other, from the first to the last.
#[derive(Debug)]
pub(super) struct Boxes {
    next: u64,
    end: u64,
    window: Window,
}

impl Boxes {
    /// Those of the file.
    pub(super) fn of_file<R: Read + Seek>(source: &Source<R>) -> Self {
        Self::between(0, source.length())
    }

    /// Those in a box, behind its first `skipped` bytes.
    pub(super) fn inside(parent: &BoxAt, skipped: u64) -> Self {
        Self::between(parent.body.saturating_add(skipped), parent.end)
    }

    fn between(next: u64, end: u64) -> Self {
        Self { next, end, window: Window::new(AHEAD) }
    }

    /// Where the next one begins.
    pub(super) fn position(&self) -> u64 {
        self.next
    }

    /// The next box; `None` at the end, and before what is too short to be one. One that says that it goes on beyond the end
    /// ends there.
    ///
    /// # Errors
    /// [`ErrorKind::Format`](crate::ErrorKind::Format) for a size that is less than that of its head.
    pub(super) fn next<R: Read + Seek>(&mut self, source: &mut Source<R>) -> Result<Option<BoxAt>> {
        let start = self.next;
        let left = self.end.saturating_sub(start);
        let len = usize::try_from(left.min(LONG_HEAD)).unwrap_or_default();
        let Some(head) = self.window.get(source, start, len)?.filter(|_| left >= HEAD) else {
            return Ok(None);
        };
        let Some((kind, head_len, size)) = parse(head, left) else { return Ok(None) };
        if size < head_len {
            let kind = kind.escape_ascii();
            return Err(malformed(start, format_args!("the box {kind} says that it has {size} bytes")));
        }
        source.count(HEAD);
        let end = start.saturating_add(size).min(self.end);
        self.next = end;
        Ok(Some(BoxAt { kind, start, body: start.saturating_add(head_len).min(end), end }))
    }
}

/// Kind, length of the head, and size.
fn parse(head: &[u8], left: u64) -> Option<([u8; 4], u64, u64)> {
    let mut cursor = Cursor::new(head);
    let size = cursor.u32()?;
    let kind = cursor.take(4)?.try_into().ok()?;
    Some(match size {
        0 => (kind, HEAD, left),
        1 => (kind, LONG_HEAD, (u64::from(cursor.u32()?) << 32) | u64::from(cursor.u32()?)),
        size => (kind, HEAD, size.into()),
    })
}
