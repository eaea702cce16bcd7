//! Who may publish and play, decided by the program.

use crate::auth_queue::{Decider, REFUSED};
use crate::c_string::c_string;
use crate::callback::{Callback, se_destroy_fn};
use crate::engine::{self, se_engine};
use crate::handle::{self, Handle, Versioned, null};
use crate::host::Host;
use crate::status::{Outcome, guard, guard_or, se_status};
use crate::text;
use parking_lot::Mutex;
use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;
use streamengine::{Action, AuthRequest, Claims, Door, Grant, StreamKey, Ticket};

/// What a peer asks for.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_auth_action {
    /// To publish a stream.
    SE_AUTH_PUBLISH = 1,
    /// To play a stream.
    SE_AUTH_PLAY = 2,
}

/// By which service a request comes in. New ones may be added.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_door {
    /// A connection that speaks RTMP.
    SE_DOOR_RTMP = 1,
    /// A player that gets FLV in the reply to an HTTP request.
    SE_DOOR_HTTP_FLV = 2,
    /// A player that gets FLV or MP4 in the messages of a WebSocket.
    SE_DOOR_WEBSOCKET = 3,
    /// A player that gets MP4 in the reply to an HTTP request.
    SE_DOOR_HTTP_MP4 = 4,
    /// A player that asks for playlists and segments of HLS.
    SE_DOOR_HLS = 5,
    /// Somebody who asks for recordings of a stream.
    SE_DOOR_RECORDING = 6,
}

/// What an authorisation callback returns; any other number refuses.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum se_auth_verdict {
    /// Refuse.
    SE_AUTH_DENY = 0,
    /// Grant.
    SE_AUTH_ALLOW = 1,
    /// The program keeps the request and answers with `se_auth_request_reply`, `se_auth_request_grant_json` or
    /// `se_auth_request_pass`, from any thread.
    SE_AUTH_DEFER = 2,
    /// Say nothing: the configuration's rule decides.
    SE_AUTH_PASS = 3,
}

/// A request to publish or play that waits for its answer.
pub struct se_auth_request {
    _opaque: [u8; 0],
}

impl Handle for se_auth_request {
    type Behind = Waiting;
    const NAME: &'static str = "request";
}

/// All that is known of who asks. Texts are never NULL, but empty where there is nothing; they are borrowed: valid as
/// long as the request. Those marked "secret" should not be logged.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct se_auth_info {
    /// `sizeof(se_auth_info)`.
    pub struct_size: usize,
    /// One of `se_auth_action`.
    pub action: i32,
    /// Whether the connection is encrypted: 0 or 1.
    pub tls: i32,
    /// The stream, `app/stream`, without secret and query.
    pub stream: *const c_char,
    /// The peer's address and port.
    pub peer: *const c_char,
    /// The text behind a colon in the stream name (`STREAM:SECRET`). Secret.
    pub secret: *const c_char,
    /// The query of the stream name or, without one, of the app (`key=KEY&user=NAME`), not decoded. Secret.
    pub query: *const c_char,
    /// The software that the peer claims to be (`flashVer` of `connect`, `User-Agent` of HTTP).
    pub agent: *const c_char,
    /// The URL that the peer says it has connected to (`tcUrl` of `connect`). Secret.
    pub tc_url: *const c_char,
    /// The page that the peer says it is on (`pageUrl` of `connect`, `Referer` of HTTP). Secret.
    pub page_url: *const c_char,
    /// One of `se_door`; 0 for one that has no number yet.
    pub door: i32,
    /// Not used.
    pub reserved: i32,
    /// The site whose page asks, as browsers say (`Origin` of HTTP).
    pub origin: *const c_char,
}

/// Called on the callback thread for each request to publish or play. An answer that takes time should be deferred, as
/// all callbacks of the engine wait for this one. A request that has no answer within `limits.auth_timeout_ms` is refused.
///
/// @param request Borrowed: gone when the callback returns, unless that returns `SE_AUTH_DEFER`; then it belongs to the
/// program, which must answer it once (that may be done before the callback returns).
/// @param user_data As given.
/// @return One of `se_auth_verdict`.
pub type se_auth_fn =
    Option<unsafe extern "C" fn(request: *mut se_auth_request, user_data: *mut c_void) -> i32>;

/// Lets the program decide who may publish and play, in place of the configuration's `publish` section. May be called
/// before the start and at any time, for requests from then on.
///
/// @param engine The engine.
/// @param callback Called on the callback thread; NULL lets the configuration decide again.
/// @param user_data For the callback.
/// @param destroy Called when `user_data` is needed no more; may be NULL.
/// @return `SE_E_CLOSED` while the engine is being freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_engine_set_auth_callback(
    engine: *mut se_engine,
    callback: se_auth_fn,
    user_data: *mut c_void,
    destroy: se_destroy_fn,
) -> se_status {
    let callback = Callback::new(callback, user_data, destroy);
    guard(|| {
        let host = engine::host(engine)?;
        ask(&host, callback.present())
    })
}

/// Says whether what peers send for a name may be a key, for which the program grants another `stream`
/// (`se_auth_request_grant_json`). Then names that are refused are not told: in no event and no log. Off at first.
///
/// @param engine The engine.
/// @param enabled Not 0 for yes.
/// @return `SE_E_INVALID_ARGUMENT` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_engine_set_names_may_be_keys(engine: *mut se_engine, enabled: i32) -> se_status {
    guard(|| {
        engine::host(engine)?.requests.set_names_may_be_keys(enabled != 0);
        Ok(())
    })
}

/// Looks at a request.
///
/// @param request The request.
/// @param inout Filled in up to `struct_size`.
/// @return `SE_E_INVALID_ARGUMENT` for NULL or a `struct_size` of 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_auth_request_get(
    request: *const se_auth_request,
    inout: *mut se_auth_info,
) -> se_status {
    guard(|| {
        let request = handle::borrow(request)?;
        let info = request.info();
        // SAFETY: the header demands NULL or a structure of the size that it says.
        unsafe { handle::fill(inout, &info) }
    })
}

/// Answers a deferred request, which is gone then. An answer that comes too late has no effect.
///
/// @param request The request; NULL does nothing.
/// @param allow Not 0 grants, 0 refuses.
/// @param text Of a refusal: why, which the encoder or player shows. Of a grant: by which right, such as a user's name; a
/// publisher that is lost can be replaced by one with the same. May be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_auth_request_reply(
    request: *mut se_auth_request,
    allow: i32,
    text: *const c_char,
) {
    guard_or((), || {
        let Some(request) = handle::take(request)? else { return Ok(()) };
        // SAFETY: the header demands NULL or NUL-terminated text.
        let text = unsafe { text::optional(text, "text") }?.map(str::to_owned);
        request.answer(match allow {
            0 => Answer::Deny(text),
            _ => Answer::Allow(Box::new(Grant::default().principal(text))),
        });
        Ok(())
    });
}

/// Grants a deferred request with more than a name. The request is gone then, in any case: what is no grant refuses it.
///
/// @param request The request.
/// @param json An object that may have `stream` (`app/stream`, or a stream in the app that was asked for: what a peer sends may be a
/// key), `principal` (by which right; a publisher that is lost can be replaced by one with the same), `credential` (what was
/// shown for it, no secret: `se_kick_credential` ends all that has it), `max_kbps` and `max_viewers` (limits in place of the
/// app's), `lasts_s` (seconds; then the connection ends), `push` (of a publisher: a list of `rtmp[s]://` URLs that the stream goes to
/// as long as it lasts), and `pull` (of a player: a URL that the stream is fetched from while somebody plays it).
/// @return `SE_E_INVALID_ARGUMENT` for NULL and for text that is no such object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_auth_request_grant_json(
    request: *mut se_auth_request,
    json: *const c_char,
) -> se_status {
    guard(|| {
        let request = handle::take(request)?.ok_or_else(|| null("request"))?;
        // SAFETY: the header demands NULL or NUL-terminated text.
        let json = unsafe { text::required(json, "json") };
        let grant = json.and_then(|json| Ok(Grant::from_json(json, request.action, &request.stream)?));
        let (answer, said) = match grant {
            Ok(grant) => (Answer::Allow(Box::new(grant)), Ok(())),
            Err(failure) => (Answer::Deny(None), Err(failure)),
        };
        request.answer(answer);
        said
    })
}

/// Leaves a deferred request, which is gone then, to whoever decides next: at last the configuration's rule.
///
/// @param request The request; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_auth_request_pass(request: *mut se_auth_request) {
    guard_or((), || {
        if let Some(request) = handle::take(request)? {
            request.answer(Answer::Pass);
        }
        Ok(())
    });
}

/// What is said of a request.
enum Answer {
    Allow(Box<Grant>),
    /// With words for the peer.
    Deny(Option<String>),
    Pass,
}

/// The function of an authorisation callback.
type AuthFn = unsafe extern "C" fn(*mut se_auth_request, *mut c_void) -> i32;

/// A request on its way from an I/O thread to the callback, and from there to the answer.
pub(crate) struct Waiting {
    /// Taken by the answer.
    ticket: Mutex<Option<Ticket>>,
    texts: Texts,
    action: Action,
    stream: StreamKey,
    door: Door,
    tls: bool,
}

/// What `se_auth_info` points to.
struct Texts {
    stream: CString,
    peer: CString,
    secret: CString,
    query: CString,
    agent: CString,
    tc_url: CString,
    page_url: CString,
    origin: CString,
}

impl Waiting {
    fn new(request: &AuthRequest, ticket: Ticket) -> Self {
        let claim = |name| c_string(request.claims.get(name).unwrap_or_default());
        let texts = Texts {
            stream: c_string(request.stream().as_str()),
            peer: c_string(&request.peer.to_string()),
            secret: c_string(request.name.secret.expose()),
            query: c_string(request.name.query.expose()),
            agent: claim(Claims::AGENT),
            tc_url: claim(Claims::URL),
            page_url: claim(Claims::PAGE),
            origin: claim(Claims::ORIGIN),
        };
        Self {
            ticket: Mutex::new(Some(ticket)),
            texts,
            action: request.action,
            stream: request.stream().clone(),
            door: request.door,
            tls: request.protocol.is_tls(),
        }
    }

    fn info(&self) -> se_auth_info {
        let Texts { stream, peer, secret, query, agent, tc_url, page_url, origin } = &self.texts;
        let action = match self.action {
            Action::Publish => se_auth_action::SE_AUTH_PUBLISH,
            Action::Play => se_auth_action::SE_AUTH_PLAY,
        };
        let door = match self.door {
            Door::Rtmp => Some(se_door::SE_DOOR_RTMP),
            Door::HttpFlv => Some(se_door::SE_DOOR_HTTP_FLV),
            Door::WebSocket => Some(se_door::SE_DOOR_WEBSOCKET),
            Door::HttpMp4 => Some(se_door::SE_DOOR_HTTP_MP4),
            Door::Hls => Some(se_door::SE_DOOR_HLS),
            Door::Recording => Some(se_door::SE_DOOR_RECORDING),
            // One that is newer than this file.
            _ => None,
        };
        se_auth_info {
            struct_size: size_of::<se_auth_info>(),
            action: action as i32,
            tls: self.tls.into(),
            stream: stream.as_ptr(),
            peer: peer.as_ptr(),
            secret: secret.as_ptr(),
            query: query.as_ptr(),
            agent: agent.as_ptr(),
            tc_url: tc_url.as_ptr(),
            page_url: page_url.as_ptr(),
            door: door.map_or(0, |door| door as i32),
            reserved: 0,
            origin: origin.as_ptr(),
        }
    }

    fn answer(&self, answer: Answer) {
        let Some(ticket) = self.ticket.lock().take() else { return };
        match answer {
            Answer::Allow(grant) => ticket.accept(*grant),
            Answer::Deny(text) => ticket.reject(text.unwrap_or_else(|| REFUSED.to_owned())),
            Answer::Pass => ticket.pass(),
        }
    }
}

// SAFETY: `repr(C)`, begins with its size, and has only numbers and pointers.
unsafe impl Versioned for se_auth_info {
    const NAME: &'static str = "se_auth_info";
}

/// Has requests decided by a callback from now on, or by the rule.
fn ask(host: &Host, callback: Option<Callback<AuthFn>>) -> Outcome {
    let decider = callback
        .map(|callback| -> Decider { Arc::new(move |request, ticket| call(&callback, &request, ticket)) });
    let spawn = |answering| host.dispatcher.spawn(answering).map(|task| task.detach());
    host.requests.set_decider(decider, spawn)
}

/// Has a callback decide, on the callback thread.
fn call(callback: &Callback<AuthFn>, request: &AuthRequest, ticket: Ticket) {
    let handle = handle::give::<se_auth_request>(Waiting::new(request, ticket));
    // SAFETY: the header says what the callback is called with; the request lives until it returns.
    let verdict = unsafe { (callback.function)(handle, callback.user_data()) };
    if verdict == se_auth_verdict::SE_AUTH_DEFER as i32 {
        // It is the program's now, or already answered.
        return;
    }
    // One that the program has answered all the same is gone.
    if let Ok(Some(request)) = handle::take(handle) {
        request.answer(match verdict {
            verdict if verdict == se_auth_verdict::SE_AUTH_ALLOW as i32 => Answer::Allow(Box::default()),
            verdict if verdict == se_auth_verdict::SE_AUTH_PASS as i32 => Answer::Pass,
            _ => Answer::Deny(None),
        });
    }
}
