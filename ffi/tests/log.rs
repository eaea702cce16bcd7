//! The log of the process: what happens where its callback is slow, and where it is replaced while all speak.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "the tests call C functions throughout, with what they made"
)]

use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use streamengine_ffi::se_event_type::SE_EVENT_LOG_LAGGED;
use streamengine_ffi::se_log_level::{SE_LOG_INFO, SE_LOG_OFF};
use streamengine_ffi::se_status::*;
use streamengine_ffi::*;

/// How long anything may take that is bound to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines that wait for the callback, as the header says.
const KEPT: usize = 4_096;

/// The log is one for the process, so is this for its tests.
static LOG: Mutex<()> = Mutex::new(());

/// Something that the engine could say.
fn speak() {
    tracing::info!(target: "streamengine::hub", "said");
}

fn end_log() {
    assert_eq!(unsafe { se_log_set_callback(SE_LOG_OFF as i32, None, null_mut(), None) }, SE_OK);
}

/// An engine that is not started, and so has nothing to say itself.
struct Quiet(*mut se_engine);

unsafe impl Sync for Quiet {}

impl Quiet {
    fn new() -> Self {
        let mut engine = null_mut();
        assert_eq!(unsafe { se_engine_new(null(), &raw mut engine) }, SE_OK);
        Self(engine)
    }

    /// The next event's message and JSON, which must tell of lost lines; `None` where none comes in time.
    fn lost(&self, timeout: Duration) -> Option<(String, String)> {
        let mut event = null_mut();
        let status = unsafe { se_engine_next_event(self.0, timeout.as_millis() as i32, &raw mut event) };
        if status == SE_E_AGAIN {
            return None;
        }
        assert_eq!(status, SE_OK);
        let text = |text| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned();
        let told = unsafe { &*se_event_ref_get(event) };
        assert_eq!(told.r#type, SE_EVENT_LOG_LAGGED as i32);
        let texts = (text(told.message), text(told.json));
        unsafe { se_event_ref_free(event) };
        Some(texts)
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        unsafe { se_engine_free(self.0) };
    }
}

/// A callback that waits in its first call.
struct Slow {
    lines: mpsc::Sender<String>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

unsafe extern "C" fn be_slow(record: *const se_log_record, slow: *mut c_void) {
    let slow = unsafe { &*slow.cast::<Slow>() };
    slow.lines.send(unsafe { CStr::from_ptr((*record).message) }.to_str().unwrap().to_owned()).unwrap();
    // An error once nobody holds it up any more.
    let _ = slow.go_on.lock().unwrap().recv();
}

#[test]
fn lost_lines_are_told_by_every_engine_at_once_and_by_the_log_when_it_goes_on() {
    let _log = LOG.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let ((lines, said), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
    let slow = Slow { lines, go_on: Mutex::new(may_go_on) };
    let user_data = std::ptr::from_ref(&slow).cast_mut().cast();
    let set = unsafe { se_log_set_callback(SE_LOG_INFO as i32, Some(be_slow), user_data, None) };
    assert_eq!(set, SE_OK);
    let (waiting, looking, gone) = (Quiet::new(), Quiet::new(), Quiet::new());
    drop(gone);
    speak();
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), "said");
    (0..KEPT).for_each(|_| speak());
    assert_eq!(looking.lost(Duration::ZERO), None, "as many can wait");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| waiting.lost(PATIENCE).unwrap().0);
        speak();
        assert_eq!(first.join().unwrap(), "1 lines of the log were lost");
    });
    (0..6).for_each(|_| speak());
    assert_eq!(waiting.lost(Duration::ZERO).unwrap().0, "6 lines of the log were lost");
    let (message, json) = looking.lost(Duration::ZERO).unwrap();
    assert_eq!(message, "7 lines of the log were lost");
    assert!(json.contains(r#""event":"log-lagged""#) && json.contains(r#""lost":7"#), "{json}");
    assert_eq!(looking.lost(Duration::ZERO), None);
    drop(go_on);
    end_log();
    let rest: Vec<_> = said.try_iter().collect();
    assert_eq!((rest.len(), rest[0].as_str()), (1 + KEPT, "7 lines of the log were lost"));
    assert!(rest[1..].iter().all(|line| line == "said"));
}

/// Counts its lines in memory of its own.
unsafe extern "C" fn count(_: *const se_log_record, counter: *mut c_void) {
    unsafe { *counter.cast::<usize>() += 1 };
}

static LINES: AtomicUsize = AtomicUsize::new(0);
static DESTROYED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn destroy(counter: *mut c_void) {
    LINES.fetch_add(*unsafe { Box::from_raw(counter.cast::<usize>()) }, Ordering::Relaxed);
    DESTROYED.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_callback_may_be_replaced_while_threads_speak_and_no_line_is_lost_or_told_twice() {
    let _log = LOG.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let replace = || {
        let counter = Box::into_raw(Box::new(0_usize)).cast();
        unsafe { se_log_set_callback(SE_LOG_INFO as i32, Some(count), counter, Some(destroy)) }
    };
    assert_eq!(replace(), SE_OK);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..500).for_each(|_| speak()));
        }
        scope.spawn(|| (0..20).for_each(|_| assert_eq!(replace(), SE_OK)));
    });
    end_log();
    assert_eq!((LINES.load(Ordering::Relaxed), DESTROYED.load(Ordering::Relaxed)), (1_500, 21));
}

#[test]
fn a_callback_that_does_not_return_does_not_keep_its_replacement_waiting_for_ever() {
    let _log = LOG.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let ((lines, said), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
    // The log's thread may still be in it when the test is over.
    let slow: &Slow = Box::leak(Box::new(Slow { lines, go_on: Mutex::new(may_go_on) }));
    let user_data = std::ptr::from_ref(slow).cast_mut().cast();
    let set = unsafe { se_log_set_callback(SE_LOG_INFO as i32, Some(be_slow), user_data, None) };
    assert_eq!(set, SE_OK);
    speak();
    assert_eq!(said.recv_timeout(PATIENCE).unwrap(), "said");
    let (ended, has_ended) = mpsc::channel();
    let ending = std::thread::spawn(move || {
        end_log();
        ended.send(()).unwrap();
    });
    let in_time = has_ended.recv_timeout(Duration::from_secs(20));
    drop(go_on);
    ending.join().unwrap();
    in_time.expect("the call is back while the callback still runs");
}
