//! What a player gets, on its way to whoever counts.

use super::stamp::{Clock, Finder, Stamp};
use super::{News, Told};
use tokio::sync::mpsc::UnboundedSender;

/// Who hears what a player gets.
pub(super) struct Listener {
    clock: Clock,
    number: usize,
    tell: UnboundedSender<Told>,
    finder: Finder,
}

impl Listener {
    pub(super) fn new(clock: Clock, number: usize, tell: UnboundedSender<Told>) -> Self {
        Self { clock, number, tell, finder: Finder::default() }
    }

    /// Which way it is.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The time, by the clock of whoever sends.
    pub(super) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// What has just come; the first stamp in it, or an error where nobody wants it any more.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<Stamp>, String> {
        let at = self.now();
        let stamps = self.finder.read(bytes);
        stamps.iter().try_for_each(|&stamp| self.tell(News::Frame { stamp, at }))?;
        Ok(stamps.first().copied())
    }

    /// What follows does not go on from what has come.
    pub(super) fn forget(&mut self) {
        self.finder = Finder::default();
    }

    pub(super) fn tell(&self, news: News) -> Result<(), String> {
        self.tell.send((self.number, news)).map_err(|_| "nobody listens".to_owned())
    }
}
