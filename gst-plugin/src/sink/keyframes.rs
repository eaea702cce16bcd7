//! Requests for keyframes, so that who joins need not wait for the next one: not too many.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// When keyframes were asked for.
#[derive(Default)]
pub(super) struct KeyframeRequests {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: Option<Instant>,
    /// One will be sent when the interval is over.
    is_planned: bool,
    count: u32,
}

/// What to do about a wish for a keyframe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyframeAction {
    /// Ask now; the number of the request.
    Ask(u32),
    /// Look again after so long.
    Later(Duration),
    /// One is planned already.
    Nothing,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe.
    pub(super) fn wish(&self, interval: Duration) -> KeyframeAction {
        let mut state = self.state.lock();
        let elapsed = state.last.map(|last| last.elapsed());
        match elapsed.and_then(|elapsed| interval.checked_sub(elapsed)).filter(|left| !left.is_zero()) {
            None => state.ask(),
            Some(_) if state.is_planned => KeyframeAction::Nothing,
            Some(left) => {
                state.is_planned = true;
                KeyframeAction::Later(left)
            }
        }
    }

    /// The time of a planned one has come.
    pub(super) fn due(&self) -> KeyframeAction {
        let mut state = self.state.lock();
        state.is_planned = false;
        state.ask()
    }

    pub(super) fn reset(&self) {
        *self.state.lock() = State::default();
    }
}

impl State {
    fn ask(&mut self) -> KeyframeAction {
        self.last = Some(Instant::now());
        self.count = self.count.wrapping_add(1);
        KeyframeAction::Ask(self.count)
    }
}

/// The event that asks an encoder for a keyframe, as `GstVideo` defines it.
pub(super) fn event(count: u32) -> gst::Event {
    let fields = gst::Structure::builder("GstForceKeyUnit")
        .field("running-time", gst::ClockTime::NONE)
        .field("all-headers", true)
        .field("count", count)
        .build();
    gst::event::CustomUpstream::new(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_within_the_interval_become_one_request_at_its_end() {
        let requests = KeyframeRequests::default();
        let interval = Duration::from_secs(60);
        assert_eq!(requests.wish(interval), KeyframeAction::Ask(1));
        assert!(matches!(requests.wish(interval), KeyframeAction::Later(left) if left <= interval));
        assert_eq!(requests.wish(interval), KeyframeAction::Nothing);
        assert_eq!(requests.due(), KeyframeAction::Ask(2));
        assert!(matches!(requests.wish(interval), KeyframeAction::Later(_)));
        assert_eq!(KeyframeRequests::default().wish(Duration::ZERO), KeyframeAction::Ask(1));
    }
}
