//! Waits that end: for an event, or for a fact that no event tells.

use crate::events::{Event, EventReceiver, Received};
use std::time::{Duration, Instant};

/// Nothing that a test waits for takes this long unless it is broken, on a machine that compiles beside it too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The longest that something may take which is promised within so long: so long where `STREAMENGINE_IDLE` says that the
/// machine does nothing else, and where it compiles or runs other suites too, as long as that may hold a process up besides.
pub fn at_most(promised: Duration) -> Duration {
    let held_up = if std::env::var_os("STREAMENGINE_IDLE").is_some() { 0 } else { 2 };
    promised + Duration::from_secs(held_up)
}

/// What `pick` makes of the first event that it takes. Fails when none comes, and when events were lost.
pub fn event<T>(events: &mut EventReceiver, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match next(events, deadline) {
            Received::Event(event) => {
                if let Some(found) = pick(event) {
                    return found;
                }
            }
            Received::Lagged(count) => panic!("{count} events lost"),
        }
    }
}

/// Waits for what an event brings with it, whichever that is.
pub fn until_event_makes(events: &mut EventReceiver, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        next(events, deadline);
    }
}

/// Looks again and again until `is_so`.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Blocks the thread as `blocking_next` does, but not for ever.
fn next(events: &mut EventReceiver, deadline: Instant) -> Received {
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let received = clock.block_on(async { tokio::time::timeout_at(deadline.into(), events.next()).await });
    received.expect("an event in time").expect("the engine lives")
}
