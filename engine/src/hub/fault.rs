//! Bugs, made on purpose: what would one in the hub cost?

use super::{Hub, Interest, SubscribeOptions, Subscriber};
use crate::key::StreamKey;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};

/// Has the next frame of a live stream panic in the hub, on the task that publishes it: what a bug there would do. The
/// reader has to be kept until then.
#[must_use]
pub(crate) fn panic_at_next_frame(hub: &Hub, key: &StreamKey) -> Subscriber {
    struct Bug;

    impl Wake for Bug {
        fn wake(self: Arc<Self>) {
            panic!("injected");
        }
    }

    let mut reader =
        hub.subscribe(key, SubscribeOptions { interest: Interest::Follower, ..Default::default() });
    while reader.take(usize::MAX, &mut Vec::new()).unwrap() > 0 {}
    let waker = Arc::new(Bug).into();
    assert_eq!(reader.poll_ready(&mut Context::from_waker(&waker)), Poll::Pending);
    reader
}
