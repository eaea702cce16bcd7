//! Streams that the program publishes.

use crate::callback::{Callback, se_destroy_fn, se_release_fn};
use crate::config::{self, se_config};
use crate::engine::{running, se_engine};
use crate::frame::{self, FrameArg, se_frame};
use crate::handle::{self, Handle};
use crate::status::{Failure, Outcome, guard, guard_or, se_status};
use crate::text;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use serde_json::Value;
use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicI64, Ordering};
use streamengine::amf0::{self, Amf0Value};
use streamengine::media::elementary::{FlvStream, Muxer, Sample};
use streamengine::media::flv::{Codec, MAX_TAG_PAYLOAD, strip_set_data_frame};
use streamengine::media::{Frame, FrameKind};
use streamengine::{Engine, ErrorKind, Publisher, PublisherConfig, StreamKey};

/// A stream that the program publishes. Several threads may push into one; frames are in the order of the calls.
pub struct se_publisher {
    _opaque: [u8; 0],
}

impl Handle for se_publisher {
    type Behind = Publishing;
    const NAME: &'static str = "publisher";
}

/// Publishes a stream from the program, by the rules of its app.
///
/// @param engine A started engine.
/// @param stream The name, `"app/stream"`.
/// @param options `takeover`, `resume_window_ms`, `start`, `max_start_bytes`, `max_queue_ms`, `max_queue_bytes`,
/// `keyframe_wait_ms`, `ring_bytes`, in place of what the app's configuration says; NULL for none.
/// @param out The publisher, to be freed with `se_publisher_free`.
/// @return `SE_E_EXISTS` where the stream has a publisher that the policy keeps, `SE_E_NOT_FOUND` for an app that the
/// configuration does not list, `SE_E_INVALID_ARGUMENT` for a name that cannot be one, `SE_E_STATE` on an engine
/// that is not started.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn se_publisher_open(
    engine: *mut se_engine,
    stream: *const c_char,
    options: *const se_config,
    out: *mut *mut se_publisher,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or live handles, NULL or NUL-terminated text, and NULL or a place to write to.
        let (engine, key, options, out) = unsafe {
            (
                running(engine)?,
                text::parsed(stream, "stream")?,
                config::options(options)?,
                handle::out(out, "out")?,
            )
        };
        out.write(handle::give::<se_publisher>(Publishing::open(&engine, key, &options.publisher()?)?));
        Ok(())
    })
}

/// Declares a track and gives its decoder configuration, before its first frame or when it changes. Not needed for
/// Annex B and ADTS, nor for FLV tags; nor for codecs that have no configuration (MP3, AC-3, G.711 ...).
///
/// @param publisher The publisher.
/// @param track The track, 0 for the first; audio and video are counted apart.
/// @param codec One of `se_codec`.
/// @param extradata The configuration record (avcC, hvcC, av1C, AudioSpecificConfig, OpusHead ...), copied; NULL where
/// it comes in the stream itself (Annex B, ADTS).
/// @param len Bytes in `extradata`.
/// @return `SE_E_UNSUPPORTED` for a codec that RTMP cannot carry, `SE_E_FORMAT` for a record that is malformed,
/// `SE_E_CLOSED` when the right to publish is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_publisher_set_track(
    publisher: *mut se_publisher,
    track: u32,
    codec: i32,
    extradata: *const u8,
    len: usize,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or `len` bytes.
        let (publisher, extradata) =
            unsafe { (handle::borrow(publisher)?, frame::bytes(extradata, len, "extradata")?) };
        publisher.set_track(track, codec, extradata)
    })
}

/// Sends metadata (`onMetaData`): now to all players, and later to each that joins. Its time is always 0, for programs that
/// take a script tag at any other time for a track.
///
/// @param publisher The publisher.
/// @param json A JSON object of numbers, booleans, strings, and objects and arrays of them:
/// `{"width": 1280, "height": 720}`.
/// @return `SE_E_INVALID_ARGUMENT` for what is no JSON object, `SE_E_CLOSED` when the right to publish is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_publisher_set_metadata_json(
    publisher: *mut se_publisher,
    json: *const c_char,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or NUL-terminated text.
        let (publisher, json) = unsafe { (handle::borrow(publisher)?, text::required(json, "json")?) };
        publisher.set_metadata(json)
    })
}

/// Publishes one frame, which is copied once. Never waits: the pace is the program's own.
///
/// @param publisher The publisher.
/// @param frame The frame. `flv_body` is not looked at.
/// @return `SE_E_STATE` where the codec needs a configuration that has not been given (the text says how to),
/// `SE_E_FORMAT` for a payload that is malformed, `SE_E_UNSUPPORTED` for a codec or format that RTMP cannot carry,
/// `SE_E_LIMIT` for a frame that is too large for RTMP, `SE_E_CLOSED` when the right to publish is gone: takeover, kick,
/// stop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_publisher_push_frame(
    publisher: *mut se_publisher,
    frame: *const se_frame,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or a frame whose bytes can be read.
        unsafe {
            let publisher = handle::borrow(publisher)?;
            let mut complete = se_frame::EMPTY;
            let frame = FrameArg::look(frame, &mut complete)?;
            publisher.push(&frame, frame.data()?)
        }
    })
}

/// `se_publisher_push_frame` for bytes that live on: the library keeps `frame->data` without a copy, as long as players can
/// get it, until `release` is called. So it does with the bodies of FLV tags (`SE_FORMAT_FLV`) from 4 KiB on. What
/// needs a header before it, or another form, and small frames, are copied and released before the call returns.
///
/// @param publisher The publisher.
/// @param frame The frame. The structure itself is read before the call returns.
/// @param release Called exactly once, also where the call fails, when the bytes are needed no more; on any thread.
/// @param user_data For `release`.
/// @return As `se_publisher_push_frame`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_publisher_push_frame_ref(
    publisher: *mut se_publisher,
    frame: *const se_frame,
    release: se_release_fn,
    user_data: *mut c_void,
) -> se_status {
    let release: se_destroy_fn = release;
    let release = Callback::new((), user_data, release);
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or a frame whose bytes can be read until they are
        // released.
        unsafe {
            let publisher = handle::borrow(publisher)?;
            let mut complete = se_frame::EMPTY;
            let frame = FrameArg::look(frame, &mut complete)?;
            publisher.push_lent(&frame, Lent { data: frame.data()?, _release: release })
        }
    })
}

/// Publishes the body of one FLV tag, which is the body of one RTMP message, as it is.
///
/// @param publisher The publisher.
/// @param type 8 for audio, 9 for video, 18 for data (script).
/// @param timestamp_ms Decoding time in milliseconds. It may wrap around after 2^32, as RTMP's does.
/// @param body The body, copied.
/// @param len Bytes in `body`.
/// @return `SE_E_INVALID_ARGUMENT` for another type, `SE_E_FORMAT` for a body that is empty, `SE_E_LIMIT` for one of more
/// than 16 MiB, `SE_E_CLOSED` when the right to publish is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_publisher_push_flv_tag(
    publisher: *mut se_publisher,
    r#type: u8,
    timestamp_ms: u32,
    body: *const u8,
    len: usize,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or `len` bytes.
        let (publisher, body) = unsafe { (handle::borrow(publisher)?, frame::bytes(body, len, "body")?) };
        let kind = frame::kind_of_tag(r#type.into()).map_err(|failure| publisher.fail(failure))?;
        publisher.push_tag(kind, timestamp_ms, body)
    })
}

/// Publishes an FLV byte stream, with or without file header, in pieces of any size: whole tags are published, the rest
/// waits for the next call. Not paced: tags are published as they come. Bytes that are part of no tag are passed over, with a
/// warning in the log: the stream goes on at the next whole tag. So are encrypted tags.
///
/// @param publisher The publisher.
/// @param bytes The next bytes, copied.
/// @param len Bytes in `bytes`.
/// @return `SE_E_FORMAT` where the stream begins like another format: then all later calls fail; open another publisher. Also
/// for each 1 MiB without a tag: then all bytes were taken all the same, and tags that come later are published.
/// `SE_E_CLOSED` when the right to publish is gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_publisher_push_flv(
    publisher: *mut se_publisher,
    bytes: *const u8,
    len: usize,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or a live handle, and NULL or `len` bytes.
        let (publisher, bytes) = unsafe { (handle::borrow(publisher)?, frame::bytes(bytes, len, "bytes")?) };
        publisher.push_flv(bytes)
    })
}

/// Ends the stream, players get their end at once, and frees the publisher. A push of another thread that is under way is
/// the stream's last.
///
/// @param publisher NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_publisher_free(publisher: *mut se_publisher) {
    guard_or((), || {
        if let Some(publishing) = handle::take(publisher)? {
            publishing.finish_flv();
        }
        Ok(())
    });
}

/// Bytes from which on a lent payload is kept rather than copied: below, a copy costs less than keeping account.
const KEEP_FROM: usize = 4 * 1024;

/// Bytes of the program, given back when they are dropped.
struct Lent {
    /// Valid until `_release` is dropped: therefore no reference, which would have to be valid longer.
    data: *const [u8],
    _release: Callback<()>,
}

// SAFETY: nobody changes what is behind the pointer, and the header says that it is released on any thread.
unsafe impl Send for Lent {}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the header demands that the bytes can be read until they are released.
        unsafe { &*self.data }
    }
}

/// Behind `se_publisher`.
pub(crate) struct Publishing {
    publisher: Finished,
    /// Locked during a whole call, so that what comes of one stays together.
    state: Mutex<State>,
    tag_clock: TagClock,
    /// Time of the newest frame in milliseconds.
    now: AtomicI64,
}

/// A publisher whose end is its stream's, not a loss.
struct Finished(Option<Publisher>);

impl std::ops::Deref for Finished {
    type Target = Publisher;

    #[inline]
    fn deref(&self) -> &Publisher {
        self.0.as_ref().expect("only dropping takes it")
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        if let Some(publisher) = self.0.take() {
            publisher.finish();
        }
    }
}

/// What has to be remembered between calls.
struct State {
    muxer: Muxer,
    /// What the muxer knows: which tracks of video, and of audio.
    declared: Vec<(FrameKind, u8)>,
    flv: FlvStream,
    /// From so many places with bytes that are no tag on, and so many encrypted tags, it is told again.
    tell_at: u64,
    tell_encrypted_at: u64,
}

/// Widens the times of tags to 64 bits. Threads that push at once may see each other's time or not: what is behind
/// 2^32 milliseconds is the same from any recent time.
struct TagClock {
    last: AtomicI64,
}

impl TagClock {
    const NEVER: i64 = i64::MIN;

    fn unwrap(&self, timestamp_ms: u32) -> i64 {
        let time = match self.last.load(Ordering::Relaxed) {
            Self::NEVER => timestamp_ms.into(),
            // Modulo 2^32, as far as possible forwards or backwards.
            last => last.saturating_add(timestamp_ms.wrapping_sub(last as u32).cast_signed().into()),
        };
        self.last.store(time, Ordering::Relaxed);
        time
    }
}

impl Publishing {
    fn open(engine: &Engine, key: StreamKey, config: &PublisherConfig) -> Outcome<Self> {
        let state = State {
            muxer: Muxer::new(),
            declared: Vec::new(),
            flv: FlvStream::new(MAX_TAG_PAYLOAD),
            tell_at: 1,
            tell_encrypted_at: 1,
        };
        Ok(Self {
            publisher: Finished(Some(engine.publish_with(&key, config)?)),
            state: Mutex::new(state),
            tag_clock: TagClock { last: AtomicI64::new(TagClock::NEVER) },
            now: AtomicI64::new(0),
        })
    }

    /// The failure with the stream's name.
    fn fail(&self, failure: impl Into<Failure>) -> Failure {
        failure.into().context(format_args!("stream {}", self.publisher.key()))
    }

    fn set_track(&self, track: u32, codec: i32, extradata: &[u8]) -> Outcome {
        let declare = || {
            let (track, codec) = (frame::track(track)?, frame::codec(codec)?);
            let extradata = Some(extradata).filter(|data| !data.is_empty());
            Ok::<_, Failure>(self.state.lock().declare(track, codec, extradata)?)
        };
        declare().map_err(|failure| self.fail(failure))
    }

    fn set_metadata(&self, json: &str) -> Outcome {
        let payload = metadata(json).map_err(|failure| self.fail(failure))?;
        let frame = Frame::new(FrameKind::Data, self.now.load(Ordering::Relaxed), payload);
        self.publish(frame)
    }

    fn push(&self, frame: &FrameArg<'_>, data: &[u8]) -> Outcome {
        match frame.is_tag() {
            true => self.push_body(frame, Bytes::copy_from_slice(data)),
            false => self.push_sample(frame, data),
        }
    }

    /// Keeps the bytes themselves where they are the body of a tag, which needs no other header.
    fn push_lent(&self, frame: &FrameArg<'_>, lent: Lent) -> Outcome {
        match frame.is_tag() && lent.as_ref().len() >= KEEP_FROM {
            true => self.push_body(frame, Bytes::from_owner(lent)),
            false => self.push(frame, lent.as_ref()),
        }
    }

    fn push_body(&self, frame: &FrameArg<'_>, body: Bytes) -> Outcome {
        let kind = frame.tag_kind().map_err(|failure| self.fail(failure))?;
        let timestamp = frame.timestamp().map_err(|failure| self.fail(failure))?;
        check_length(body.len()).map_err(|failure| self.fail(failure))?;
        self.publish_tag(kind, timestamp, body)
    }

    fn push_sample(&self, frame: &FrameArg<'_>, data: &[u8]) -> Outcome {
        let sample = frame.sample(data).map_err(|failure| self.fail(failure))?;
        let mut state = self.state.lock();
        let mut muxed = state.muxer.push(&sample);
        if let Err(error) = &muxed
            && error.kind() == ErrorKind::State
            && !state.is_declared(&sample)
        {
            // Often the stream itself tells all that a declaration could.
            muxed = state.declare(sample.track, sample.codec, None).and_then(|()| state.muxer.push(&sample));
        }
        match muxed {
            Ok(frames) => frames.into_iter().try_for_each(|frame| self.publish(frame)),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn push_tag(&self, kind: FrameKind, timestamp_ms: u32, body: &[u8]) -> Outcome {
        check_length(body.len()).map_err(|failure| self.fail(failure))?;
        self.publish_tag(kind, self.tag_clock.unwrap(timestamp_ms), Bytes::copy_from_slice(body))
    }

    /// Publishes the body of a tag, whose length has been checked.
    #[inline]
    fn publish_tag(&self, kind: FrameKind, timestamp: i64, body: Bytes) -> Outcome {
        let body = match kind {
            FrameKind::Data => self.event(body)?,
            _ => body,
        };
        self.publish(Frame::new(kind, timestamp, body))
    }

    /// The body of a data tag as players get it.
    fn event(&self, body: Bytes) -> Outcome<Bytes> {
        let event = strip_set_data_frame(body);
        check_length(event.len()).map_err(|failure| self.fail(failure))?;
        Ok(event)
    }

    fn push_flv(&self, mut bytes: &[u8]) -> Outcome {
        let mut state = self.state.lock();
        let mut problem = None;
        while !state.flv.is_refused() || problem.is_none() {
            match state.flv.read(&mut bytes) {
                Ok(Some(frame)) => self.publish(frame)?,
                Ok(None) => break,
                // What follows may be tags again.
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        self.tell_left_out(&mut state);
        problem.map_or(Ok(()), |error| Err(self.fail(error)))
    }

    /// Publishes what was held back until more came, as no more does.
    fn finish_flv(&self) {
        let mut state = self.state.lock();
        if state.flv.position() == 0 {
            return;
        }
        loop {
            match state.flv.finish() {
                Ok(Some(frame)) => {
                    if self.publish(frame).is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(stream = %self.publisher.key(), "{error}");
                    break;
                }
            }
        }
        self.tell_left_out(&mut state);
    }

    /// Tells what was passed over, the first time and whenever it has doubled.
    fn tell_left_out(&self, state: &mut State) {
        let left_out = state.flv.left_out();
        if left_out.places >= state.tell_at {
            state.tell_at = left_out.places.saturating_mul(2);
            tracing::warn!(stream = %self.publisher.key(), "left out, as they are no FLV tag: {left_out}");
        }
        let encrypted = state.flv.encrypted_tags();
        if encrypted >= state.tell_encrypted_at {
            state.tell_encrypted_at = encrypted.saturating_mul(2);
            tracing::warn!(stream = %self.publisher.key(), tags = encrypted, "encrypted tags are left out");
        }
    }

    #[inline]
    fn publish(&self, frame: Frame) -> Outcome {
        self.now.store(frame.timestamp, Ordering::Relaxed);
        // The engine's error has the stream's name.
        Ok(self.publisher.push(frame)?)
    }
}

impl State {
    fn declare(&mut self, track: u8, codec: Codec, extradata: Option<&[u8]>) -> streamengine::Result<()> {
        self.muxer.set_track(track, codec, extradata)?;
        if let Some(kind) = codec.kind().filter(|&kind| !self.declared.contains(&(kind, track))) {
            self.declared.push((kind, track));
        }
        Ok(())
    }

    fn is_declared(&self, sample: &Sample<&[u8]>) -> bool {
        sample.codec.kind().is_none_or(|kind| self.declared.contains(&(kind, sample.track)))
    }
}

/// Checks the length of a tag's body.
fn check_length(len: usize) -> Outcome {
    match len {
        1..=MAX_TAG_PAYLOAD => Ok(()),
        0 => Err(Failure::new(se_status::SE_E_FORMAT, "the tag's body is empty")),
        _ => {
            let text = format!("the tag's body has {len} bytes, more than the {MAX_TAG_PAYLOAD} of FLV");
            Err(Failure::new(se_status::SE_E_LIMIT, text))
        }
    }
}

/// `onMetaData` with what a JSON object says.
fn metadata(json: &str) -> Outcome<Bytes> {
    let fail = |error: &dyn std::fmt::Display| Failure::argument(format!("metadata: {error}"));
    let values: serde_json::Map<String, Value> = serde_json::from_str(json).map_err(|error| fail(&error))?;
    let name = Amf0Value::Utf8String("onMetaData".to_owned());
    let mut payload = BytesMut::new();
    amf0::encode(&[name, amf0_value(Value::Object(values))], &mut payload);
    // Nobody is to get what others would refuse to read.
    amf0::decode_all(&payload).map_err(|error| fail(&error))?;
    Ok(payload.freeze())
}

fn amf0_value(json: Value) -> Amf0Value {
    match json {
        Value::Null => Amf0Value::Null,
        Value::Bool(value) => Amf0Value::Boolean(value),
        Value::Number(number) => Amf0Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Amf0Value::Utf8String(text),
        Value::Array(values) => Amf0Value::StrictArray(values.into_iter().map(amf0_value).collect()),
        Value::Object(values) => {
            Amf0Value::Object(values.into_iter().map(|(name, value)| (name, amf0_value(value))).collect())
        }
    }
}
