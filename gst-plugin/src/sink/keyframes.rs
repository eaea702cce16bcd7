//! Requests for keyframes, so that who joins need not wait for the next one: not too many.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// When keyframes were asked for.
#[derive(Default)]
pub(super) struct Requests {
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
pub(super) enum Step {
    /// Ask now; the number of the request.
    Ask(u32),
    /// Look again after so long.
    Later(Duration),
    /// One is planned already.
    Nothing,
}

impl Requests {
    /// Somebody needs a keyframe.
    pub(super) fn wish(&self, interval: Duration) -> Step {
        let mut state = self.state.lock();
        let elapsed = state.last.map(|last| last.elapsed());
        match elapsed.and_then(|elapsed| interval.checked_sub(elapsed)).filter(|left| !left.is_zero()) {
            None => state.ask(),
            Some(_) if state.is_planned => Step::Nothing,
            Some(left) => {
                state.is_planned = true;
                Step::Later(left)
            }
        }
    }

    /// The time of a planned one has come.
    pub(super) fn due(&self) -> Step {
        let mut state = self.state.lock();
        state.is_planned = false;
        state.ask()
    }

    pub(super) fn reset(&self) {
        *self.state.lock() = State::default();
    }
}

impl State {
    fn ask(&mut self) -> Step {
        self.last = Some(Instant::now());
        self.count = self.count.wrapping_add(1);
        Step::Ask(self.count)
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
        let requests = Requests::default();
        let interval = Duration::from_secs(60);
        assert_eq!(requests.wish(interval), Step::Ask(1));
        assert!(matches!(requests.wish(interval), Step::Later(left) if left <= interval));
        assert_eq!(requests.wish(interval), Step::Nothing);
        assert_eq!(requests.due(), Step::Ask(2));
        assert!(matches!(requests.wish(interval), Step::Later(_)));
        assert_eq!(Requests::default().wish(Duration::ZERO), Step::Ask(1));
    }
}
