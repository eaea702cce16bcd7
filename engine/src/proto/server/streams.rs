//! The message streams of a connection.

use crate::media::TimestampUnwrapper;
use smallvec::SmallVec;

/// What goes on on a message stream.
pub(super) enum Stream {
    Idle,
    Publishing { name: String, clock: TimestampUnwrapper },
    Playing,
}

/// The message streams of a connection, in the order of their ids. Inline where there is one, as nearly everybody has.
#[derive(Default)]
pub(super) struct Streams(SmallVec<[(u32, Stream); 1]>);

impl Streams {
    fn find(&self, id: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id)
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.find(id).is_ok()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Stream> {
        self.0.get(self.find(id).ok()?).map(|(_, stream)| stream)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let index = self.find(id).ok()?;
        self.0.get_mut(index).map(|(_, stream)| stream)
    }

    pub(super) fn insert(&mut self, id: u32, stream: Stream) {
        match self.get_mut(id) {
            Some(place) => *place = stream,
            None => {
                let index = self.find(id).unwrap_or_else(|index| index);
                self.0.insert(index, (id, stream));
            }
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        if let Ok(index) = self.find(id) {
            self.0.remove(index);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(u32, Stream)> {
        self.0.iter()
    }
}
