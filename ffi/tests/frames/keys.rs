//! Stream keys, and grants that say more than yes.

use crate::support::*;
use serde_json::{Value, json};
use std::ffi::{CStr, c_char, c_void};
use std::net::TcpStream;
use std::ptr::{null, null_mut};
use std::sync::mpsc;
use streamengine::testing::{rtmp, wait};
use streamengine_ffi::se_status::{
    SE_E_CLOSED, SE_E_EXISTS, SE_E_FORMAT, SE_E_INVALID_ARGUMENT, SE_E_NOT_FOUND, SE_E_STATE,
};
use streamengine_ffi::*;

/// Takes over a text that the library has made.
fn taken(text: *mut c_char) -> String {
    assert!(!text.is_null(), "{}", last_error());
    let own = unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned();
    unsafe { se_string_free(text) };
    own
}

fn json_of(text: *mut c_char) -> Value {
    serde_json::from_str(&taken(text)).unwrap()
}

fn listen(engine: &TestEngine) -> u16 {
    let mut port = 0;
    ok(unsafe { se_listen_rtmp(engine.0, c("127.0.0.1:0").as_ptr(), null_mut(), &raw mut port) });
    port
}

fn publish(port: u16, name: &str) -> Result<TcpStream, String> {
    rtmp::publish_at(("127.0.0.1", port), name)
}

fn sessions(engine: &TestEngine, stream: &str) -> usize {
    let list = json_of(unsafe { se_sessions_json(engine.0, c(stream).as_ptr()) });
    list.as_array().unwrap().len()
}

fn add(engine: &TestEngine, json: &Value) -> *mut c_char {
    unsafe { se_keys_add(engine.0, c(&json.to_string()).as_ptr()) }
}

#[test]
fn keys_are_made_listed_rotated_revoked_and_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let engine = TestEngine::with(&[("keys.url", &url("keys.db"))]);
    let port = listen(&engine);
    let made = json_of(add(&engine, &json!({ "stream": "live/alice", "who": "alice", "max_viewers": 5 })));
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert_eq!((&made["who"], &made["max_viewers"]), (&json!("alice"), &json!(5)));
    let list = || json_of(unsafe { se_keys_json(engine.0, c("live/alice").as_ptr()) });
    assert_eq!(list()[0]["id"], id);
    assert!(!list().to_string().contains(key), "it is shown once");
    assert_eq!(json_of(unsafe { se_keys_json(engine.0, c("live/bob").as_ptr()) }), json!([]));
    let _publisher = publish(port, key).unwrap();
    wait::until("on air", || sessions(&engine, "live/alice") == 1);

    let rotated = json_of(unsafe { se_keys_rotate(engine.0, c(id).as_ptr(), 60_000) });
    assert!(rotated["key"] != made["key"] && rotated["stream"] == "live/alice");
    ok(unsafe { se_keys_revoke(engine.0, c(id).as_ptr()) });
    wait::until("off the air", || sessions(&engine, "live/alice") == 0);
    assert!(publish(port, key).unwrap_err().contains("revoked"));
    let taken_in = json!({ "stream": "live/bob", "key": "bobs-old-key" });
    assert_eq!(json_of(add(&engine, &taken_in)).get("key"), None, "it is known");
    publish(port, "bobs-old-key").unwrap();

    assert!(add(&engine, &taken_in).is_null());
    fails(se_status::SE_E_EXISTS, SE_E_EXISTS, &["key"]);
    for (json, words) in
        [(json!({ "strem": "live/a" }), "expected {"), (json!({ "stream": "live" }), "stream")]
    {
        assert!(add(&engine, &json).is_null());
        assert!(last_error().contains(words), "{}", last_error());
    }
    fails(unsafe { se_keys_revoke(engine.0, c("nobody").as_ptr()) }, SE_E_NOT_FOUND, &["nobody"]);
    assert!(unsafe { se_keys_rotate(engine.0, c(id).as_ptr(), 0) }.is_null());
    assert!(last_error().contains("revoked"), "{}", last_error());

    let exported = taken(unsafe { se_keys_export(engine.0) });
    let other = TestEngine::with(&[("keys.url", &url("other.db"))]);
    ok(unsafe { se_keys_import(other.0, c(&exported).as_ptr()) });
    publish(listen(&other), rotated["key"].as_str().unwrap()).unwrap();
    fails(unsafe { se_keys_import(other.0, c("x").as_ptr()) }, SE_E_FORMAT, &["first line"]);
    fails(unsafe { se_keys_import(other.0, c(&exported).as_ptr()) }, SE_E_EXISTS, &["key"]);
}

#[test]
fn an_engine_without_a_database_says_so() {
    let engine = TestEngine::start();
    assert!(add(&engine, &json!({ "stream": "live/a" })).is_null());
    assert!(last_error().contains("keys.url"), "{}", last_error());
    fails(unsafe { se_keys_revoke(engine.0, c("a").as_ptr()) }, SE_E_NOT_FOUND, &["keys.url"]);
    fails(unsafe { se_keys_revoke(engine.0, null()) }, SE_E_INVALID_ARGUMENT, &["id"]);
}

/// Answers by the name: what is asked for as `grant`, `broken`, `pass` or `rule`.
unsafe extern "C" fn decide(request: *mut se_auth_request, told: *mut c_void) -> i32 {
    let mut info = std::mem::MaybeUninit::<se_auth_info>::zeroed();
    let stream = unsafe {
        (*info.as_mut_ptr()).struct_size = size_of::<se_auth_info>();
        ok(se_auth_request_get(request, info.as_mut_ptr()));
        CStr::from_ptr((*info.as_ptr()).stream).to_str().unwrap().to_owned()
    };
    let terms = json!({ "stream": "room/1", "principal": "alice", "credential": "row:7", "max_viewers": 1 });
    match stream.as_str() {
        "live/grant" => ok(unsafe { se_auth_request_grant_json(request, c(&terms.to_string()).as_ptr()) }),
        "live/broken" => {
            let status = unsafe { se_auth_request_grant_json(request, c("{\"max\": 1}").as_ptr()) };
            unsafe { &*told.cast::<mpsc::Sender<(se_status, String)>>() }
                .send((status, last_error()))
                .unwrap();
        }
        "live/pass" => unsafe { se_auth_request_pass(request) },
        "live/rule" => return se_auth_verdict::SE_AUTH_PASS as i32,
        _ => return se_auth_verdict::SE_AUTH_DENY as i32,
    }
    se_auth_verdict::SE_AUTH_DEFER as i32
}

#[test]
fn a_grant_may_say_more_than_yes_and_a_decider_may_leave_it_to_others() {
    let (tell, told) = mpsc::channel::<(se_status, String)>();
    let engine = TestEngine::with(&[("publish.key", "right")]);
    let user_data = std::ptr::from_ref(&tell).cast_mut().cast();
    ok(unsafe { se_engine_set_auth_callback(engine.0, Some(decide), user_data, None) });
    let port = listen(&engine);
    let publisher = publish(port, "grant").unwrap();
    wait::until("on air as it was granted", || sessions(&engine, "room/1") == 1);
    let mut count = 0;
    let (credential, reason) = (c("row:7"), c("the row is gone"));
    ok(unsafe { se_kick_credential(engine.0, credential.as_ptr(), reason.as_ptr(), &raw mut count) });
    assert_eq!(count, 1);
    wait::until("off the air", || sessions(&engine, "room/1") == 0);
    drop(publisher);
    publish(port, "broken").unwrap_err();
    let (status, text) = told.recv_timeout(PATIENCE).unwrap();
    assert!(status == SE_E_INVALID_ARGUMENT && text.contains("no field max"), "{text}");
    for name in ["pass", "rule"] {
        assert!(publish(port, name).unwrap_err().contains("publish key"), "{name}");
        publish(port, &format!("{name}?key=right")).unwrap();
    }
    fails(
        unsafe { se_auth_request_grant_json(null_mut(), c("{}").as_ptr()) },
        SE_E_INVALID_ARGUMENT,
        &["request"],
    );
    fails(unsafe { se_engine_set_names_may_be_keys(null_mut(), 1) }, SE_E_INVALID_ARGUMENT, &["engine"]);
}

#[test]
fn what_may_be_a_key_is_in_no_event() {
    for (enabled, is_told) in [(0, true), (1, false)] {
        let engine = TestEngine::start();
        ok(unsafe { se_engine_set_names_may_be_keys(engine.0, enabled) });
        ok(unsafe { se_engine_set_auth_callback(engine.0, Some(decide), null_mut(), None) });
        publish(listen(&engine), "5ecret").unwrap_err();
        let mut streams = Vec::new();
        loop {
            let mut event = null_mut();
            match unsafe { se_engine_next_event(engine.0, 100, &raw mut event) } {
                se_status::SE_OK => {}
                SE_E_CLOSED | SE_E_STATE => panic!("{}", last_error()),
                _ => break,
            }
            let stream = unsafe { (*se_event_ref_get(event)).stream };
            if !stream.is_null() {
                streams.push(unsafe { CStr::from_ptr(stream) }.to_str().unwrap().to_owned());
            }
            unsafe { se_event_ref_free(event) };
        }
        assert_eq!(streams.iter().any(|stream| stream.contains("5ecret")), is_told, "{streams:?}");
    }
}
