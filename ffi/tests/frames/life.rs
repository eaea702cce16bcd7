//! The end of an engine while it is in full use, and user data that is given back once on every path.

use crate::support::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use streamengine_ffi::se_status::*;
use streamengine_ffi::*;

unsafe extern "C" fn ignore_frame(_: *const se_frame, _: *const se_frame_ref, _: *mut c_void) {}
unsafe extern "C" fn ignore_event(_: *const se_event, _: *mut c_void) {}
unsafe extern "C" fn deny(_: *mut se_auth_request, _: *mut c_void) -> i32 {
    0
}

/// What goes on while the engine is freed: a program's own counters and handles.
#[derive(Default)]
struct Busy {
    frames: AtomicU64,
    events: AtomicU64,
    last: Mutex<Option<TestFrame>>,
}

unsafe extern "C" fn on_frame(frame: *const se_frame, reference: *const se_frame_ref, busy: *mut c_void) {
    let busy = unsafe { &*busy.cast::<Busy>() };
    if !frame.is_null() {
        assert!(unsafe { Seen::read(frame) }.body.len() >= 100);
        *busy.last.lock().unwrap() = Some(TestFrame(unsafe { se_frame_ref_clone(reference) }));
    }
    busy.frames.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn on_event(event: *const se_event, busy: *mut c_void) {
    let busy = unsafe { &*busy.cast::<Busy>() };
    assert!(unsafe { (*event).time_us } > 0);
    busy.events.fetch_add(1, Ordering::SeqCst);
}

/// Pushes until it may not any more; the last status.
fn push_to_the_end(publisher: &TestPublisher) -> se_status {
    (0..).map(|at| publisher.keyframe(at, 100)).find(|status| *status != SE_OK).unwrap()
}

fn pull_to_the_end(subscriber: &TestSubscriber) -> se_status {
    std::iter::repeat_with(|| subscriber.next(PATIENCE_MS).err()).flatten().next().unwrap()
}

#[test]
fn g9_an_engine_may_be_freed_while_everything_is_in_use() {
    let cycles = if cfg!(debug_assertions) { 20 } else { 200 };
    for _ in 0..cycles {
        let engine = TestEngine::start();
        let (publisher, pulling, called) =
            (engine.publish("live/a"), engine.subscribe("live/a"), engine.subscribe("live/a"));
        let busy: &'static Busy = Box::leak(Box::default());
        let user_data = std::ptr::from_ref(busy).cast_mut().cast();
        ok(unsafe { se_subscriber_set_callback(called.0, Some(on_frame), user_data, None) });
        ok(unsafe { se_engine_set_event_callback(engine.0, Some(on_event), user_data, None) });
        std::thread::scope(|scope| {
            let pushing = scope.spawn(|| push_to_the_end(&publisher));
            let reading = scope.spawn(|| pull_to_the_end(&pulling));
            let opening = scope.spawn(|| {
                // Another thread opens and frees: of a publisher's own handles, not of the engine's.
                let (a, b) = (engine.subscribe("live/b"), engine.subscribe("live/b"));
                drop((a, b));
            });
            opening.join().unwrap();
            while busy.frames.load(Ordering::SeqCst) < 10 || busy.events.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            scope.spawn(|| {
                let engine = &engine;
                unsafe { se_engine_free(engine.0) }
            });
            assert_eq!(pushing.join().unwrap(), SE_E_CLOSED);
            assert_eq!(reading.join().unwrap(), SE_E_CLOSED);
        });
        std::mem::forget(engine);
        let calls = busy.frames.load(Ordering::SeqCst);
        fails(publisher.keyframe(0, 100), SE_E_CLOSED, &["live/a"]);
        assert_eq!(pulling.next(-1).err(), Some(SE_E_CLOSED));
        assert_eq!(busy.frames.load(Ordering::SeqCst), calls, "no callback after the end");
        assert!(busy.last.lock().unwrap().take().unwrap().see().body.len() == 100, "frames live on");
    }
}

#[test]
fn g9_stale_ids_name_nothing() {
    let engine = TestEngine::start();
    let (mut id, mut port) = (0, 0);
    ok(unsafe { se_listen_rtmp(engine.0, c("127.0.0.1:0").as_ptr(), &raw mut id, &raw mut port) });
    ok(unsafe { se_listener_close(engine.0, id) });
    for id in [id, 0, u64::MAX] {
        fails(unsafe { se_listener_close(engine.0, id) }, SE_E_NOT_FOUND, &[&format!("listener {id}")]);
        fails(unsafe { se_relay_remove(engine.0, id) }, SE_E_NOT_FOUND, &[&format!("relay {id}")]);
        fails(unsafe { se_file_stop(engine.0, id) }, SE_E_NOT_FOUND, &["file", &id.to_string()]);
    }
    // A listener's id is no relay's, and ids of one engine name nothing in another.
    let other = TestEngine::start();
    ok(unsafe { se_listen_rtmp(engine.0, c("127.0.0.1:0").as_ptr(), &raw mut id, null_mut()) });
    fails(unsafe { se_listener_close(other.0, id) }, SE_E_NOT_FOUND, &["listener"]);
    fails(unsafe { se_relay_restart(engine.0, id) }, SE_E_NOT_FOUND, &["relay"]);
}

/// Frees the engine of the callback that it is in, which must be refused.
struct Suicide {
    engine: AtomicPtr<se_engine>,
    told: mpsc::Sender<String>,
}

unsafe extern "C" fn free_engine(_: *const se_frame, _: *const se_frame_ref, suicide: *mut c_void) {
    let suicide = unsafe { &*suicide.cast::<Suicide>() };
    unsafe { se_engine_free(suicide.engine.load(Ordering::SeqCst)) };
    suicide.told.send(last_error()).unwrap();
}

#[test]
fn freeing_the_engine_in_a_callback_is_refused_and_it_lives_on() {
    let engine = TestEngine::start();
    let (told, texts) = mpsc::channel();
    let suicide = Suicide { engine: AtomicPtr::new(engine.0), told };
    let user_data = std::ptr::from_ref(&suicide).cast_mut().cast();
    let subscriber = engine.subscribe("live/a");
    ok(unsafe { se_subscriber_set_callback(subscriber.0, Some(free_engine), user_data, None) });
    let publisher = engine.publish("live/a");
    for at in 0..3 {
        ok(publisher.keyframe(at, 100));
        let text = texts.recv_timeout(PATIENCE).unwrap();
        assert!(text.contains("se_engine_free") && text.contains("callback"), "{text}");
    }
    drop(subscriber);
    drop(engine);
}

/// Frees its own subscriber from inside its callback.
struct Leaving {
    subscriber: *mut se_subscriber,
    calls: mpsc::Sender<()>,
    destroyed: mpsc::Sender<()>,
}

unsafe extern "C" fn leave(_: *const se_frame, _: *const se_frame_ref, leaving: *mut c_void) {
    let leaving = unsafe { &*leaving.cast::<Leaving>() };
    unsafe { se_subscriber_free(leaving.subscriber) };
    assert!(leaving.calls.send(()).is_ok(), "the user data is still there");
}

unsafe extern "C" fn left(leaving: *mut c_void) {
    let leaving = unsafe { Box::from_raw(leaving.cast::<Leaving>()) };
    leaving.destroyed.send(()).unwrap();
}

#[test]
fn a_subscriber_may_be_freed_in_its_own_callback_which_is_then_its_last() {
    let engine = TestEngine::start();
    let subscriber = std::mem::ManuallyDrop::new(engine.subscribe("live/a"));
    let publisher = engine.publish("live/a");
    (0..10).for_each(|at| ok(publisher.keyframe(at, 100)));
    let ((calls, called), (destroyed, is_destroyed)) = (mpsc::channel(), mpsc::channel());
    let leaving = Box::into_raw(Box::new(Leaving { subscriber: subscriber.0, calls, destroyed })).cast();
    ok(unsafe { se_subscriber_set_callback(subscriber.0, Some(leave), leaving, Some(left)) });
    is_destroyed.recv_timeout(PATIENCE).unwrap();
    assert_eq!(called.iter().count(), 1);
    assert_eq!(is_destroyed.recv(), Err(mpsc::RecvError), "once");
}

#[test]
fn freeing_a_subscriber_elsewhere_waits_for_its_callback() {
    struct Slow {
        entered: mpsc::Sender<()>,
        is_over: AtomicU64,
    }
    unsafe extern "C" fn be_slow(_: *const se_frame, _: *const se_frame_ref, slow: *mut c_void) {
        let slow = unsafe { &*slow.cast::<Slow>() };
        slow.entered.send(()).unwrap();
        // Less than whoever frees it waits for it, however busy the machine is.
        std::thread::sleep(Duration::from_millis(5));
        slow.is_over.fetch_add(1, Ordering::SeqCst);
    }
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    for _ in 0..20 {
        let subscriber = engine.subscribe("live/a");
        let (entered, has_entered) = mpsc::channel();
        let slow = Slow { entered, is_over: AtomicU64::new(0) };
        let user_data = std::ptr::from_ref(&slow).cast_mut().cast();
        ok(unsafe { se_subscriber_set_callback(subscriber.0, Some(be_slow), user_data, None) });
        ok(publisher.keyframe(0, 100));
        has_entered.recv_timeout(PATIENCE).unwrap();
        drop(subscriber);
        let calls = 1 + has_entered.try_iter().count() as u64;
        assert_eq!(slow.is_over.load(Ordering::SeqCst), calls, "no callback runs any more");
    }
}

#[test]
fn freeing_a_subscriber_does_not_wait_for_ever_for_a_callback_that_does_not_return() {
    struct Stuck {
        entered: mpsc::Sender<()>,
        go_on: Mutex<mpsc::Receiver<()>>,
    }
    unsafe extern "C" fn be_stuck(_: *const se_frame, _: *const se_frame_ref, stuck: *mut c_void) {
        let stuck = unsafe { &*stuck.cast::<Stuck>() };
        let _ = stuck.entered.send(());
        // An error once nobody holds it up any more.
        let _ = stuck.go_on.lock().unwrap().recv();
    }
    let engine = TestEngine::start();
    let publisher = engine.publish("live/a");
    let subscriber = engine.subscribe("live/a");
    let ((entered, has_entered), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
    let stuck: &Stuck = Box::leak(Box::new(Stuck { entered, go_on: Mutex::new(may_go_on) }));
    let user_data = std::ptr::from_ref(stuck).cast_mut().cast();
    ok(unsafe { se_subscriber_set_callback(subscriber.0, Some(be_stuck), user_data, None) });
    ok(publisher.keyframe(0, 100));
    has_entered.recv_timeout(PATIENCE).unwrap();
    let (freed, is_freed) = mpsc::channel();
    let in_time = std::thread::scope(|scope| {
        scope.spawn(move || {
            drop(subscriber);
            freed.send(()).unwrap();
        });
        let in_time = is_freed.recv_timeout(Duration::from_secs(20));
        drop(go_on);
        in_time
    });
    in_time.expect("the subscriber is freed while the callback still runs");
}

#[test]
fn user_data_is_given_back_once_on_every_path() {
    let destroyed = counter();
    let ud = as_user_data(destroyed);
    let expect = |calls: usize, path: &str| {
        assert_eq!(destroyed.swap(0, Ordering::SeqCst), calls, "{path}");
    };
    let engine = TestEngine::start();
    unsafe {
        let subscriber = engine.subscribe("live/a");
        let set = |to, function| se_subscriber_set_callback(to, function, ud, Some(count));
        fails(set(null_mut(), Some(ignore_frame)), SE_E_INVALID_ARGUMENT, &["subscriber"]);
        expect(1, "no subscriber");
        fails(set(subscriber.0, None), SE_E_INVALID_ARGUMENT, &["callback"]);
        expect(1, "no callback");
        ok(set(subscriber.0, Some(ignore_frame)));
        expect(0, "set");
        fails(set(subscriber.0, Some(ignore_frame)), SE_E_STATE, &["callback"]);
        expect(1, "a second callback");
        drop(subscriber);
        expect(1, "freed: at once, the callback was not running");

        let outliving = engine.subscribe("live/a");
        ok(set(outliving.0, Some(ignore_frame)));
        let late = engine.subscribe("live/a");
        ok(se_engine_set_event_callback(engine.0, Some(ignore_event), ud, Some(count)));
        ok(se_engine_set_auth_callback(engine.0, Some(deny), ud, Some(count)));
        expect(0, "three are set");
        engine.free();
        expect(3, "the engine is freed");
        fails(set(late.0, Some(ignore_frame)), SE_E_CLOSED, &["live/a"]);
        expect(1, "set too late");
        assert_eq!(late.next(0).err(), Some(SE_E_CLOSED), "it can still be read to its end");
        drop((outliving, late));
        expect(0, "nothing is left");

        fails(
            se_engine_set_event_callback(null_mut(), None, ud, Some(count)),
            SE_E_INVALID_ARGUMENT,
            &["engine"],
        );
        fails(
            se_engine_set_auth_callback(null_mut(), None, ud, Some(count)),
            SE_E_INVALID_ARGUMENT,
            &["engine"],
        );
        expect(2, "no engine");
    }
}

#[test]
fn an_engine_can_be_stopped_in_a_callback_and_started_again() {
    struct Stop {
        engine: *mut se_engine,
        told: mpsc::Sender<se_status>,
    }
    unsafe extern "C" fn stop(frame: *const se_frame, _: *const se_frame_ref, stop: *mut c_void) {
        if !frame.is_null() {
            let stop = unsafe { &*stop.cast::<Stop>() };
            stop.told.send(unsafe { se_engine_stop(stop.engine, 0) }).unwrap();
        }
    }
    let engine = TestEngine::start();
    let (told, stopped) = mpsc::channel();
    let user_data = Stop { engine: engine.0, told };
    let subscriber = engine.subscribe("live/a");
    let user_data = std::ptr::from_ref(&user_data).cast_mut().cast();
    ok(unsafe { se_subscriber_set_callback(subscriber.0, Some(stop), user_data, None) });
    let publisher = engine.publish("live/a");
    ok(publisher.keyframe(0, 100));
    let status = stopped.recv_timeout(PATIENCE).unwrap();
    assert!([SE_OK, SE_E_TIMEOUT].contains(&status), "{status:?}");
    let mut out = null_mut();
    let open = unsafe { se_publisher_open(engine.0, c("live/a").as_ptr(), null(), &raw mut out) };
    fails(open, SE_E_STATE, &["engine"]);
    ok(unsafe { se_engine_start(engine.0) });
    drop(engine.publish("live/a"));
}

/// As `the_answer_is_the_one_of_all_ways` of the engine's tests.
#[test]
fn another_configuration_is_answered_as_by_all_ways() {
    let json = |toml: &str| serde_json::to_string(&toml.parse::<toml::Table>().unwrap()).unwrap();
    let before = Settings::new(&[]);
    ok(unsafe {
        se_config_load_json(before.0, c(&json(include_str!("../../../tests/reload/before.toml"))).as_ptr())
    });
    let after = Settings::new(&[]);
    ok(unsafe {
        se_config_load_json(after.0, c(&json(include_str!("../../../tests/reload/after.toml"))).as_ptr())
    });
    let engine = TestEngine::of(&before);
    let told = unsafe { se_engine_reload(engine.0, after.0) };
    assert!(!told.is_null(), "{}", last_error());
    let text = unsafe { std::ffi::CStr::from_ptr(told) }.to_str().unwrap().to_owned();
    unsafe { se_string_free(told) };
    let answer: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/reload/answer.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), answer);
}
