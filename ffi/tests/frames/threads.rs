//! What several threads of the program do to one engine at once; `tests/thread-sanitizer` looks on.

use crate::support::*;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use streamengine_ffi::se_event_type::*;
use streamengine_ffi::se_status::*;
use streamengine_ffi::*;

/// How often each stream was told to begin (first) and to end.
type Told = Mutex<BTreeMap<String, [u32; 2]>>;

/// Counts an event; the stream's name where it is the begin of one.
unsafe fn tell(event: *const se_event, told: &Told) -> Option<String> {
    let event = unsafe { &*event };
    let stream = unsafe { CStr::from_ptr(event.stream) }.to_str().unwrap().to_owned();
    let is_end = event.r#type == SE_EVENT_STREAM_ENDED as i32;
    assert!(is_end || event.r#type == SE_EVENT_STREAM_STARTED as i32, "{}", event.r#type);
    told.lock().unwrap().entry(stream.clone()).or_default()[usize::from(is_end)] += 1;
    (!is_end).then_some(stream)
}

unsafe extern "C" fn on_event(event: *const se_event, told: *mut c_void) {
    let _ = unsafe { tell(event, &*told.cast::<Told>()) };
}

/// Takes events until one says that a stream of this name begins.
fn take_until(engine: &TestEngine, last: &str, told: &Told) {
    loop {
        let mut event = null_mut();
        match unsafe { se_engine_next_event(engine.0, -1, &raw mut event) } {
            SE_OK => {
                let begun = unsafe { tell(se_event_ref_get(event), told) };
                unsafe { se_event_ref_free(event) };
                if begun.is_some_and(|stream| stream.starts_with(last)) {
                    return;
                }
            }
            // A callback has them for a while.
            SE_E_STATE => std::thread::yield_now(),
            status => panic!("{status:?}: {}", last_error()),
        }
    }
}

/// Gives events to a callback, and takes them away again.
fn switch_until(engine: &TestEngine, is_over: &AtomicBool, told: &Told) {
    let user_data = std::ptr::from_ref(told).cast_mut().cast();
    let set = |callback| ok(unsafe { se_engine_set_event_callback(engine.0, callback, user_data, None) });
    while !is_over.load(Ordering::Relaxed) {
        set(Some(on_event));
        std::thread::yield_now();
        set(None);
    }
}

#[test]
fn each_event_comes_once_to_whichever_thread_or_callback_takes_it() {
    const READERS: usize = 3;
    let told = Told::default();
    let (engine, is_over) = (TestEngine::start(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| take_until(&engine, "live/last", &told));
        }
        let publishing = ["a", "b"].map(|name| {
            let engine = &engine;
            scope.spawn(move || (0..50).for_each(|n| drop(engine.publish(&format!("live/{name}-{n}")))))
        });
        let switching = scope.spawn(|| switch_until(&engine, &is_over, &told));
        publishing.into_iter().for_each(|thread| thread.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        switching.join().unwrap();
        // One for each reader, which then has seen enough.
        (0..READERS).for_each(|n| drop(engine.publish(&format!("live/last-{n}"))));
    });
    // With it ends the callback that was just running.
    engine.free();
    let mut told = told.into_inner().unwrap();
    told.retain(|stream, _| !stream.starts_with("live/last"));
    assert_eq!(told.len(), 100);
    assert!(told.values().all(|counts| *counts == [1, 1]), "{told:?}");
}

/// A request on its way to the thread that decides.
struct Deferred(*mut se_auth_request);

unsafe impl Send for Deferred {}

unsafe extern "C" fn defer(request: *mut se_auth_request, decider: *mut c_void) -> i32 {
    unsafe { &*decider.cast::<mpsc::Sender<Deferred>>() }.send(Deferred(request)).unwrap();
    se_auth_verdict::SE_AUTH_DEFER as i32
}

impl Deferred {
    /// The stream that it is about.
    fn stream(&self) -> String {
        let mut info = std::mem::MaybeUninit::<se_auth_info>::zeroed();
        unsafe {
            (*info.as_mut_ptr()).struct_size = size_of::<se_auth_info>();
            ok(se_auth_request_get(self.0, info.as_mut_ptr()));
            CStr::from_ptr((*info.as_ptr()).stream).to_str().unwrap().to_owned()
        }
    }

    fn reply(self, allow: bool) {
        unsafe { se_auth_request_reply(self.0, allow.into(), null()) };
    }
}

/// Waits until so many events of a type have come.
fn wait_for(engine: &TestEngine, kind: se_event_type, count: usize) {
    for _ in 0..count {
        loop {
            let mut event = null_mut();
            ok(unsafe { se_engine_next_event(engine.0, PATIENCE_MS, &raw mut event) });
            let found = unsafe { (*se_event_ref_get(event)).r#type };
            unsafe { se_event_ref_free(event) };
            if found == kind as i32 {
                break;
            }
        }
    }
}

/// Pushes `live/NAME` of an engine to a stream of the same name behind that port.
fn push(engine: &TestEngine, port: u16, name: &str) -> TestPublisher {
    let publisher = engine.publish(&format!("live/{name}"));
    ok(publisher.keyframe(0, 100));
    let (stream, url) = (c(&format!("live/{name}")), c(&format!("rtmp://127.0.0.1:{port}/live/{name}")));
    let options = Settings::new(&[("on_refusal", "fail")]);
    ok(unsafe { se_relay_add_push(engine.0, stream.as_ptr(), url.as_ptr(), options.0, null_mut()) });
    publisher
}

#[test]
fn requests_are_answered_by_another_thread_even_after_the_engine_is_gone() {
    let (decider, requests) = mpsc::channel::<Deferred>();
    let (server, encoder) = (TestEngine::start(), TestEngine::start());
    let user_data = std::ptr::from_ref(&decider).cast_mut().cast();
    ok(unsafe { se_engine_set_auth_callback(server.0, Some(defer), user_data, None) });
    let mut port = 0;
    ok(unsafe { se_listen_rtmp(server.0, c("127.0.0.1:0").as_ptr(), null_mut(), &raw mut port) });
    std::thread::scope(|scope| {
        let deciding = scope.spawn(move || {
            let mut late = Vec::new();
            while late.len() < 2 {
                let request = requests.recv_timeout(PATIENCE).unwrap();
                match request.stream().as_str() {
                    stream if stream.starts_with("live/late") => late.push(request),
                    stream => request.reply(stream.starts_with("live/yes")),
                }
            }
            late
        });
        let _publishers = ["yes-1", "no-1", "yes-2", "no-2", "yes-3"].map(|name| push(&encoder, port, name));
        wait_for(&server, SE_EVENT_STREAM_STARTED, 3);
        let _late = ["late-1", "late-2"].map(|name| push(&encoder, port, name));
        let late = deciding.join().unwrap();
        let answering = scope.spawn(move || late.into_iter().for_each(|request| request.reply(true)));
        server.free();
        answering.join().unwrap();
    });
}
