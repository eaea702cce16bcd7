//! The bytes of a file, wherever they are asked for, and what of them is held.

use crate::{Error, Result};
use std::io::{Read, Seek, SeekFrom};

/// A file, and how much was read of it.
pub(super) struct Source<R> {
    input: R,
    length: u64,
    work: u64,
}

impl<R: Read + Seek> Source<R> {
    pub(super) fn new(mut input: R) -> Result<Self> {
        let length = input.seek(SeekFrom::End(0)).map_err(|cause| Error::io("seek", cause))?;
        Ok(Self { input, length, work: 0 })
    }

    /// Bytes of the file; fewer than before where it has become shorter.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that were read, and steps that were taken without reading any.
    pub(super) fn work(&self) -> u64 {
        self.work
    }

    /// Counts something that costs time and is in no byte.
    pub(super) fn count(&mut self, steps: u64) {
        self.work = self.work.saturating_add(steps);
    }

    /// Reads up to `len` bytes from `position` on in place of what `into` holds. Memory is taken for what is there only.
    pub(super) fn read(&mut self, position: u64, len: usize, into: &mut Vec<u8>) -> Result<()> {
        let broken = |cause| Error::io(format_args!("read at byte {position}"), cause);
        into.clear();
        let left = self.length.saturating_sub(position);
        let wanted = left.min(u64::try_from(len).unwrap_or(u64::MAX));
        if wanted == 0 {
            return Ok(());
        }
        into.reserve_exact(usize::try_from(wanted).unwrap_or_default());
        self.input.seek(SeekFrom::Start(position)).map_err(broken)?;
        let count = Read::by_ref(&mut self.input).take(wanted).read_to_end(into).map_err(broken)?;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.count(count);
        if count < wanted {
            self.length = position.saturating_add(count);
        }
        Ok(())
    }
}

/// A part of a file that was read last: what lies behind it is likely to be asked for next.
#[derive(Debug, Default)]
pub(super) struct Window {
    start: u64,
    bytes: Vec<u8>,
    /// Bytes that are read at a time.
    size: usize,
}

impl Window {
    pub(super) fn new(size: usize) -> Self {
        Self { size, ..Self::default() }
    }

    /// `len` bytes from `position` on, of which there are no more than the window's size; `None` where the file ends before.
    pub(super) fn get<R: Read + Seek>(
        &mut self,
        source: &mut Source<R>,
        position: u64,
        len: usize,
    ) -> Result<Option<&[u8]>> {
        if self.held(position, len).is_none() {
            source.read(position, self.size.max(len), &mut self.bytes)?;
            self.start = position;
        }
        Ok(self.held(position, len))
    }

    fn held(&self, position: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(position.checked_sub(self.start)?).ok()?;
        self.bytes.get(at..at.checked_add(len)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_window_holds_no_more_than_its_size_however_much_is_read() {
        let mut source = Source::new(Cursor::new(vec![7; 100_000])).unwrap();
        let mut window = Window::new(1_000);
        for position in (0..100_000).step_by(10) {
            assert_eq!(window.get(&mut source, position, 10).unwrap(), Some(&[7; 10][..]));
            assert!(window.bytes.capacity() <= 1_000);
        }
        assert_eq!((window.get(&mut source, 99_995, 10).unwrap(), source.work()), (None, 100_005));
    }
}
