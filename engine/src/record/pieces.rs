//! Bytes of a file before they are written: the payloads of frames in the memory in which they came, and what belongs between them.

use bytes::{BufMut, Bytes, BytesMut};

/// Shorter payloads are copied: a piece of its own costs more.
const SHORT: usize = 1_024;

/// Pieces that follow each other in a file.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    whole: Vec<Bytes>,
    /// What comes behind them, and grows.
    last: BytesMut,
    len: usize,
}

impl Pieces {
    /// Bytes of all pieces.
    pub(super) fn len(&self) -> usize {
        self.len.saturating_add(self.last.len())
    }

    pub(super) fn put_slice(&mut self, bytes: &[u8]) {
        self.last.put_slice(bytes);
    }

    /// Appends a payload.
    pub(super) fn put(&mut self, payload: &Bytes) {
        if payload.len() < SHORT {
            return self.last.put_slice(payload);
        }
        self.end_last();
        self.len = self.len.saturating_add(payload.len());
        self.whole.push(payload.clone());
    }

    fn end_last(&mut self) {
        if !self.last.is_empty() {
            self.len = self.len.saturating_add(self.last.len());
            self.whole.push(self.last.split().freeze());
        }
    }

    /// Takes all of it.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.end_last();
        self.len = 0;
        std::mem::take(&mut self.whole)
    }

    pub(super) fn clear(&mut self) {
        drop(self.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_stay_where_they_are_and_all_is_in_order() {
        let (short, long) = (Bytes::from_static(b"short"), Bytes::from(vec![7; SHORT]));
        let mut pieces = Pieces::default();
        for payload in [&short, &long, &short] {
            pieces.put_slice(b"<");
            pieces.put(payload);
            pieces.put_slice(b">");
        }
        assert_eq!(pieces.len(), 6 + 10 + SHORT);
        let taken = pieces.take();
        assert_eq!(taken.concat(), [b"<short><", &long[..], b"><short>"].concat());
        assert_eq!((taken.len(), taken[1].as_ptr()), (3, long.as_ptr()));
        assert_eq!((pieces.len(), pieces.take().len()), (0, 0));
    }
}
