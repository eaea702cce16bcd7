//! Reading by pull and by callback: waiting, ending, falling behind, and how long frames live.

use crate::support::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};
use streamengine_ffi::se_status::*;
use streamengine_ffi::*;

#[test]
fn next_waits_as_long_as_it_is_told() {
    let engine = TestEngine::start();
    let subscriber = engine.subscribe("live/a");
    assert_eq!(subscriber.next(0).err(), Some(SE_E_AGAIN));
    assert!(last_error().contains("live/a"), "{}", last_error());
    let start = Instant::now();
    assert_eq!(subscriber.next(50).err(), Some(SE_E_TIMEOUT));
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert!(last_error().contains("live/a"), "{}", last_error());

    let publisher = engine.publish("live/a");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| subscriber.next(-1).unwrap().see());
        ok(publisher.keyframe(7, 100));
        assert_eq!(reader.join().unwrap().dts_ns, 7_000_000);
    });
}

#[test]
fn the_end_of_a_stream_says_why() {
    let engine = TestEngine::start();
    let subscriber = engine.subscribe("live/a");
    drop(engine.publish("live/a"));
    for _ in 0..2 {
        assert_eq!(subscriber.next(PATIENCE_MS).err(), Some(SE_E_CLOSED));
        assert_eq!(last_error(), "stream live/a: unpublished");
    }
    let options = Settings::new(&[("wait_for_publisher_ms", "20")]);
    let mut impatient = null_mut();
    ok(unsafe { se_subscriber_open(engine.0, c("live/b").as_ptr(), options.0, &raw mut impatient) });
    assert_eq!(TestSubscriber(impatient).next(-1).err(), Some(SE_E_CLOSED));
    assert!(last_error().contains("live/b") && last_error().contains("nobody publishes"), "{}", last_error());
}

/// What a callback's last call, with NULL, finds in `se_last_error`.
unsafe extern "C" fn tell_end(frame: *const se_frame, _: *const se_frame_ref, sender: *mut c_void) {
    let sender = unsafe { &*sender.cast::<mpsc::Sender<String>>() };
    if frame.is_null() {
        sender.send(last_error()).unwrap();
    }
}

unsafe extern "C" fn hang_up(sender: *mut c_void) {
    drop(unsafe { Box::from_raw(sender.cast::<mpsc::Sender<String>>()) });
}

#[test]
fn a_callback_is_told_the_end_once_and_its_user_data_is_given_back_then() {
    let engine = TestEngine::start();
    let subscriber = engine.subscribe("live/a");
    let (sender, ends) = mpsc::channel::<String>();
    let sender = Box::into_raw(Box::new(sender)).cast();
    ok(unsafe { se_subscriber_set_callback(subscriber.0, Some(tell_end), sender, Some(hang_up)) });
    let publisher = engine.publish("live/a");
    ok(publisher.keyframe(0, 100));
    drop(publisher);
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), "stream live/a: unpublished");
    assert_eq!(ends.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn all_readers_see_the_same_bytes_in_the_same_place() {
    let engine = TestEngine::start();
    let (one, two) = (engine.subscribe("live/a"), engine.subscribe("live/a"));
    let frames = two.collect(counter());
    let publisher = engine.publish("live/a");
    ok(publisher.keyframe(0, 100_000));
    let pulled = one.next(PATIENCE_MS).unwrap();
    let called = frames.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(pulled.see(), called, "pointers included: nothing was copied");
    assert_eq!(pulled.clone().see(), called);
}

#[test]
fn frames_outlive_their_subscriber_their_engine_and_each_other() {
    let engine = TestEngine::start();
    let subscriber = engine.subscribe("live/a");
    let publisher = engine.publish("live/a");
    ok(publisher.keyframe(5, 50_000));
    let frame = subscriber.next(PATIENCE_MS).unwrap();
    let expected = frame.see();
    drop((subscriber, publisher, engine));
    let clone = frame.clone();
    drop(frame);
    let seen = std::thread::spawn(move || clone.see()).join().unwrap();
    assert_eq!(seen, expected);
}

/// Keeps every frame by reference.
unsafe extern "C" fn keep(frame: *const se_frame, reference: *const se_frame_ref, sender: *mut c_void) {
    if !frame.is_null() {
        let kept = TestFrame(unsafe { se_frame_ref_clone(reference) });
        unsafe { &*sender.cast::<mpsc::Sender<TestFrame>>() }.send(kept).unwrap();
    }
}

#[test]
fn a_callback_can_keep_its_frame_without_a_copy() {
    let engine = TestEngine::start();
    let (other, subscriber) = (engine.subscribe("live/a"), engine.subscribe("live/a"));
    let (sender, kept) = mpsc::channel::<TestFrame>();
    let sender = std::ptr::from_ref(&sender).cast_mut().cast();
    ok(unsafe { se_subscriber_set_callback(subscriber.0, Some(keep), sender, None) });
    let publisher = engine.publish("live/a");
    ok(publisher.keyframe(5, 50_000));
    let kept = kept.recv_timeout(PATIENCE).unwrap();
    let expected = other.next(PATIENCE_MS).unwrap().see();
    drop((subscriber, other, publisher, engine));
    assert_eq!(kept.see(), expected);
}

/// Stops in its first call until it may go on.
struct Gate {
    entered: Barrier,
    go_on: Barrier,
    seen: mpsc::Sender<Option<Seen>>,
}

unsafe extern "C" fn wait_at_first(frame: *const se_frame, _: *const se_frame_ref, gate: *mut c_void) {
    let gate = unsafe { &*gate.cast::<Gate>() };
    let seen = (!frame.is_null()).then(|| unsafe { Seen::read(frame) });
    let is_first = seen.as_ref().is_some_and(|seen| seen.dts_ns == 0);
    gate.seen.send(seen).unwrap();
    if is_first {
        gate.entered.wait();
        gate.go_on.wait();
    }
}

#[test]
fn a_slow_callback_goes_on_at_the_newest_keyframe_and_is_told() {
    let engine = TestEngine::with(&[("limits.ring_frames", "16")]);
    let (seen, frames) = mpsc::channel();
    let gate = Gate { entered: Barrier::new(2), go_on: Barrier::new(2), seen };
    // Freed before the gate: its last call may still be on its way out.
    let subscriber = engine.subscribe("live/a");
    let user_data = std::ptr::from_ref(&gate).cast_mut().cast();
    ok(unsafe { se_subscriber_set_callback(subscriber.0, Some(wait_at_first), user_data, None) });
    let publisher = engine.publish("live/a");
    ok(publisher.keyframe(0, 100));
    gate.entered.wait();
    // While it is busy: 40 groups of pictures of ten frames.
    for at in 1..=400_u32 {
        let first = if at % 10 == 1 { 0x17 } else { 0x27 };
        ok(publisher.tag(9, at, &[first, 1, 0, 0, 0, 1]));
    }
    gate.go_on.wait();
    drop(publisher);
    let seen: Vec<_> = std::iter::from_fn(|| frames.recv_timeout(PATIENCE).unwrap()).collect();
    assert!(seen[1].is(SE_FRAME_DISCONT) && seen[1].is(SE_FRAME_KEY), "{:?}", seen[1]);
    let times: Vec<_> = seen.iter().map(|seen| seen.dts_ns / 1_000_000).collect();
    assert_eq!(times[..2], [0, 391]);
    assert_eq!(times[1..], (391..=400).collect::<Vec<_>>());
    assert_eq!(seen.iter().filter(|seen| seen.is(SE_FRAME_DISCONT)).count(), 1);
}

/// What the callback of a busy subscriber goes by.
struct Busy {
    publisher: TestPublisher,
    stop: AtomicBool,
}

#[test]
fn a_callback_of_one_subscriber_does_not_keep_others_waiting_for_ever() {
    /// Sees to it that there is always one more.
    unsafe extern "C" fn push_on(frame: *const se_frame, _: *const se_frame_ref, busy: *mut c_void) {
        let busy = unsafe { &*busy.cast::<Busy>() };
        if !frame.is_null() && !busy.stop.load(Ordering::Relaxed) {
            ok(busy.publisher.keyframe(unsafe { (*frame).dts_ns / 1_000_000 } as u32 + 1, 10));
        }
    }
    unsafe extern "C" fn tell(frame: *const se_frame, _: *const se_frame_ref, sender: *mut c_void) {
        if !frame.is_null() {
            unsafe { &*sender.cast::<mpsc::Sender<()>>() }.send(()).unwrap();
        }
    }
    let engine = TestEngine::start();
    let busy = Busy { publisher: engine.publish("live/a"), stop: AtomicBool::new(false) };
    let (many, one) = (engine.subscribe("live/a"), engine.subscribe("live/b"));
    let b = engine.publish("live/b");
    let (sender, told) = mpsc::channel::<()>();
    let user_data = std::ptr::from_ref(&busy).cast_mut().cast();
    ok(unsafe { se_subscriber_set_callback(many.0, Some(push_on), user_data, None) });
    let user_data = std::ptr::from_ref(&sender).cast_mut().cast();
    ok(unsafe { se_subscriber_set_callback(one.0, Some(tell), user_data, None) });
    ok(busy.publisher.keyframe(0, 10));
    ok(b.keyframe(0, 10));
    let turn = told.recv_timeout(PATIENCE);
    busy.stop.store(true, Ordering::Relaxed);
    turn.expect("a turn for the other");
    drop((many, one));
}

#[test]
fn a_subscriber_has_one_reader_by_pull_or_by_callback() {
    let engine = TestEngine::start();
    let subscriber = engine.subscribe("live/a");
    let publisher = engine.publish("live/a");
    let destroyed = counter();
    let set = || unsafe {
        se_subscriber_set_callback(subscriber.0, Some(ignore), as_user_data(destroyed), Some(count))
    };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| subscriber.next(-1).map(|frame| frame.see()));
        // Until it waits, nothing stands in the way of a callback: another reader is told to wait first.
        while subscriber.next(0).err() != Some(SE_E_AGAIN) {
            std::thread::yield_now();
        }
        let second = scope.spawn(|| subscriber.next(5).err());
        assert_eq!(second.join().unwrap(), Some(SE_E_TIMEOUT));
        ok(publisher.keyframe(0, 100));
        assert!(waiting.join().unwrap().is_ok());
    });
    ok(set());
    fails(set(), SE_E_STATE, &["live/a", "callback"]);
    assert_eq!(destroyed.load(Ordering::SeqCst), 1, "that of the second");
    assert_eq!(subscriber.next(0).err(), Some(SE_E_STATE));
    drop(subscriber);
    drop(engine);
    assert_eq!(destroyed.load(Ordering::SeqCst), 2);
}

unsafe extern "C" fn ignore(_: *const se_frame, _: *const se_frame_ref, _: *mut c_void) {}

#[test]
fn freeing_a_subscriber_wakes_its_readers_and_refuses_those_that_come_too_late() {
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    for frames in [0, 1, 1_000] {
        let subscriber = engine.subscribe("live/a");
        (0..frames).for_each(|at| ok(publisher.keyframe(at, 100)));
        let handle = std::mem::ManuallyDrop::new(subscriber);
        std::thread::scope(|scope| {
            let read = || {
                let ends = std::iter::repeat_with(|| handle.next(-1).err());
                ends.into_iter().flatten().next().unwrap()
            };
            let readers = [scope.spawn(read), scope.spawn(read)];
            unsafe { se_subscriber_free(handle.0) };
            for reader in readers {
                assert_eq!(reader.join().unwrap(), SE_E_CLOSED);
            }
        });
        fails(handle.next(-1).err().unwrap(), SE_E_CLOSED, &["subscriber"]);
        let status = unsafe { se_subscriber_set_callback(handle.0, Some(ignore), null_mut(), None) };
        fails(status, SE_E_CLOSED, &["subscriber"]);
        unsafe { se_subscriber_free(handle.0) };
    }
}

#[test]
fn a_joiner_starts_with_configuration_and_a_keyframe_unless_it_wants_the_live_edge() {
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    for frame in demo_frames() {
        ok(publisher.tag(frame.kind.type_id(), frame.timestamp as u32, &frame.payload));
    }
    let subscriber = engine.subscribe("live/a");
    let options = Settings::new(&[("start", "live-edge")]);
    let mut edge = null_mut();
    ok(unsafe { se_subscriber_open(engine.0, c("live/a").as_ptr(), options.0, &raw mut edge) });
    let edge = TestSubscriber(edge);
    drop(publisher);
    let (seen, edge) = (subscriber.rest(), edge.rest());
    let (config, media): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.is(SE_FRAME_CONFIG));
    assert_eq!((config.len(), config[0].tag), (3, 18));
    assert!(media[0].is(SE_FRAME_KEY) && media[0].dts_ns == 8_000_000_000, "{:?}", media[0].dts_ns);
    assert!(edge.iter().all(|seen| seen.is(SE_FRAME_CONFIG)) && edge.len() == 3);
}

#[test]
fn looking_at_no_frame_is_an_error() {
    assert!(unsafe { se_frame_ref_get(null()) }.is_null());
    assert!(last_error().contains("frame is NULL"));
    assert!(unsafe { se_frame_ref_clone(null()) }.is_null());
    unsafe { se_frame_ref_free(null_mut()) };
}
