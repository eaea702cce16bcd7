//! Engines, publishers and subscribers made through the C functions, and the demo clip to compare with.

use std::ffi::{CStr, CString, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
pub(crate) use streamengine::testing::demo_frames;
use streamengine::testing::picture;
use streamengine_ffi::se_status::{self, SE_OK};
use streamengine_ffi::*;
pub(crate) use streamengine_tests::demo_clip;

/// How long anything may take that is bound to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The same for functions that take milliseconds.
pub(crate) const PATIENCE_MS: i32 = 60_000;

/// The text of the last error of this thread.
pub(crate) fn last_error() -> String {
    unsafe { CStr::from_ptr(se_last_error()) }.to_str().unwrap().to_owned()
}

#[track_caller]
pub(crate) fn ok(status: se_status) {
    assert_eq!(status, SE_OK, "{}", last_error());
}

/// A call that fails with a code, and a text that has all these parts.
#[track_caller]
pub(crate) fn fails(status: se_status, expected: se_status, parts: &[&str]) {
    let text = last_error();
    assert_eq!(status, expected, "{text}");
    for part in parts {
        assert!(text.contains(part), "{text:?} does not name {part:?}");
    }
}

pub(crate) fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Settings or options, freed at the end.
pub(crate) struct Settings(pub(crate) *mut se_config);

impl Settings {
    pub(crate) fn new(pairs: &[(&str, &str)]) -> Self {
        let settings = Self(se_config_new());
        for (key, value) in pairs {
            ok(unsafe { se_config_set(settings.0, c(key).as_ptr(), c(value).as_ptr()) });
        }
        settings
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        unsafe { se_config_free(self.0) };
    }
}

/// A started engine, freed at the end.
pub(crate) struct TestEngine(pub(crate) *mut se_engine);

/// Handles may be used on any thread.
unsafe impl Send for TestEngine {}
unsafe impl Sync for TestEngine {}

impl TestEngine {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::of(&Settings::new(settings))
    }

    pub(crate) fn of(settings: &Settings) -> Self {
        let mut engine = null_mut();
        ok(unsafe { se_engine_new(settings.0, &raw mut engine) });
        ok(unsafe { se_engine_start(engine) });
        Self(engine)
    }

    pub(crate) fn publish(&self, stream: &str) -> TestPublisher {
        let mut publisher = null_mut();
        ok(unsafe { se_publisher_open(self.0, c(stream).as_ptr(), null(), &raw mut publisher) });
        TestPublisher(publisher)
    }

    pub(crate) fn subscribe(&self, stream: &str) -> TestSubscriber {
        let mut subscriber = null_mut();
        ok(unsafe { se_subscriber_open(self.0, c(stream).as_ptr(), null(), &raw mut subscriber) });
        TestSubscriber(subscriber)
    }

    /// Frees it now.
    pub(crate) fn free(self) {}
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        unsafe { se_engine_free(self.0) };
    }
}

pub(crate) struct TestPublisher(pub(crate) *mut se_publisher);

unsafe impl Send for TestPublisher {}
unsafe impl Sync for TestPublisher {}

impl TestPublisher {
    /// Pushes the body of an FLV tag.
    pub(crate) fn tag(&self, kind: u8, at: u32, body: &[u8]) -> se_status {
        unsafe { se_publisher_push_flv_tag(self.0, kind, at, body.as_ptr(), body.len()) }
    }

    /// Pushes a keyframe of so many bytes, which need no decoder.
    pub(crate) fn keyframe(&self, at: u32, len: usize) -> se_status {
        self.tag(9, at, &picture(0x17, len.max(6)))
    }

    pub(crate) fn frame(&self, frame: &se_frame) -> se_status {
        unsafe { se_publisher_push_frame(self.0, frame) }
    }
}

impl Drop for TestPublisher {
    fn drop(&mut self) {
        unsafe { se_publisher_free(self.0) };
    }
}

pub(crate) struct TestSubscriber(pub(crate) *mut se_subscriber);

unsafe impl Send for TestSubscriber {}
unsafe impl Sync for TestSubscriber {}

impl TestSubscriber {
    /// The next frame, or why there is none.
    pub(crate) fn next(&self, timeout_ms: i32) -> Result<TestFrame, se_status> {
        let mut frame = null_mut();
        match unsafe { se_subscriber_next(self.0, timeout_ms, &raw mut frame) } {
            SE_OK => Ok(TestFrame(frame)),
            status => Err(status),
        }
    }

    /// All frames until the end of the stream.
    pub(crate) fn rest(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        loop {
            match self.next(PATIENCE_MS) {
                Ok(frame) => seen.push(frame.see()),
                Err(status) => {
                    assert_eq!(status, se_status::SE_E_CLOSED, "{}", last_error());
                    return seen;
                }
            }
        }
    }

    /// Has frames sent to a channel, the end as `None`; the counter counts `destroy`.
    pub(crate) fn collect(&self, destroyed: &'static AtomicUsize) -> mpsc::Receiver<Option<Seen>> {
        let (sender, receiver) = mpsc::channel();
        let collector = Box::into_raw(Box::new(Collector { sender, destroyed })).cast();
        let status = unsafe {
            se_subscriber_set_callback(self.0, Some(Collector::collect), collector, Some(Collector::destroy))
        };
        ok(status);
        receiver
    }
}

impl Drop for TestSubscriber {
    fn drop(&mut self) {
        unsafe { se_subscriber_free(self.0) };
    }
}

struct Collector {
    sender: mpsc::Sender<Option<Seen>>,
    destroyed: &'static AtomicUsize,
}

impl Collector {
    unsafe extern "C" fn collect(
        frame: *const se_frame,
        reference: *const se_frame_ref,
        collector: *mut c_void,
    ) {
        let collector = unsafe { &*collector.cast::<Self>() };
        assert_eq!(frame.is_null(), reference.is_null());
        let seen = (!frame.is_null()).then(|| unsafe { Seen::read(frame) });
        // Whoever has seen enough has gone.
        let _ = collector.sender.send(seen);
    }

    unsafe extern "C" fn destroy(collector: *mut c_void) {
        let collector = unsafe { Box::from_raw(collector.cast::<Self>()) };
        collector.destroyed.fetch_add(1, Ordering::SeqCst);
    }
}

/// A counter for `destroy` and `release` that lives on.
pub(crate) fn counter() -> &'static AtomicUsize {
    Box::leak(Box::default())
}

/// Counts in such a counter.
pub(crate) unsafe extern "C" fn count(counter: *mut c_void) {
    unsafe { &*counter.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
}

pub(crate) fn as_user_data(counter: &'static AtomicUsize) -> *mut c_void {
    std::ptr::from_ref(counter).cast_mut().cast()
}

/// A frame reference, freed at the end.
pub(crate) struct TestFrame(pub(crate) *mut se_frame_ref);

unsafe impl Send for TestFrame {}

impl TestFrame {
    pub(crate) fn see(&self) -> Seen {
        unsafe { Seen::read(self.frame()) }
    }

    pub(crate) fn frame(&self) -> *const se_frame {
        let frame = unsafe { se_frame_ref_get(self.0) };
        assert!(!frame.is_null(), "{}", last_error());
        frame
    }
}

impl Clone for TestFrame {
    fn clone(&self) -> Self {
        Self(unsafe { se_frame_ref_clone(self.0) })
    }
}

impl Drop for TestFrame {
    fn drop(&mut self) {
        unsafe { se_frame_ref_free(self.0) };
    }
}

/// What a frame said, copied out of it, and where its bytes were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) codec: i32,
    pub(crate) track: u32,
    pub(crate) flags: u32,
    pub(crate) pts_ns: i64,
    pub(crate) dts_ns: i64,
    pub(crate) data: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) tag: i32,
    pub(crate) body_at: usize,
}

impl Seen {
    pub(crate) unsafe fn read(frame: *const se_frame) -> Self {
        let frame = unsafe { &*frame };
        assert_eq!((frame.struct_size, frame.format), (size_of::<se_frame>(), 0));
        let slice = |data: *const u8, len| unsafe { std::slice::from_raw_parts(data, len) };
        let (data, body) = (slice(frame.data, frame.len), slice(frame.flv_body, frame.flv_body_len));
        if !data.is_empty() && !body.is_empty() {
            assert!(body.as_ptr_range().contains(&frame.data), "data lies in the body");
        }
        Self {
            codec: frame.codec,
            track: frame.track,
            flags: frame.flags,
            pts_ns: frame.pts_ns,
            dts_ns: frame.dts_ns,
            data: data.to_vec(),
            body: body.to_vec(),
            tag: frame.flv_type,
            body_at: frame.flv_body.addr(),
        }
    }

    pub(crate) fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// A frame to push.
pub(crate) fn frame(codec: se_codec, format: se_format, at_ns: i64, data: &[u8]) -> se_frame {
    se_frame {
        struct_size: size_of::<se_frame>(),
        codec: codec as i32,
        format: format as i32,
        track: 0,
        flags: 0,
        pts_ns: at_ns,
        dts_ns: i64::MIN,
        data: data.as_ptr(),
        len: data.len(),
        flv_body: null(),
        flv_body_len: 0,
        flv_type: 0,
        reserved: 0,
    }
}
