//! Listeners.

use crate::engine::{self, se_engine};
use crate::handle::{self, null};
use crate::host::Host;
use crate::status::{Failure, Outcome, guard, se_status};
use crate::{se_id, text};
use std::ffi::c_char;
use std::net::SocketAddr;
use streamengine::{Engine, ListenerId, ListenerInfo, TlsIdentity};

/// Opens an RTMP listener. It is open when the call returns: streams are published to and played from
/// `rtmp://HOST:PORT/app/stream`. As long as neither an authorisation callback nor the configuration (`publish.key`,
/// `publish.open`) says otherwise, only this machine may publish, and everybody may play.
///
/// @param engine A started engine.
/// @param address `"HOST:PORT"` with a numeric host: `"0.0.0.0:1935"`, `"[::]:1935"`, `"127.0.0.1:0"`. Port 0 takes
/// any free one.
/// @param out The listener; may be NULL.
/// @param out_port The port really bound; may be NULL.
/// @return `SE_E_INVALID_ARGUMENT` for what is no address, `SE_E_ADDRESS_IN_USE`, `SE_E_PERMISSION`, `SE_E_IO`;
/// `SE_E_STATE` on an engine that is not started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_listen_rtmp(
    engine: *mut se_engine,
    address: *const c_char,
    out: *mut se_id,
    out_port: *mut u16,
) -> se_status {
    guard(|| {
        let engine = engine::running(engine)?;
        // SAFETY: the header demands NULL or NUL-terminated text.
        let address = unsafe { text::required(address, "address") }?;
        let listener = engine.listen_rtmp(parse("rtmp", address)?)?;
        // SAFETY: the header demands NULL or a place to write to.
        unsafe { tell(&listener, out, out_port) };
        Ok(())
    })
}

/// Opens an RTMPS (TLS) listener.
///
/// @param engine A started engine.
/// @param address As in `se_listen_rtmp`.
/// @param cert The certificate chain in PEM form: the text itself, or the path of a file. Files are read again when they
/// change.
/// @param key The private key in PEM form, likewise.
/// @param out The listener; may be NULL.
/// @param out_port The port really bound; may be NULL.
/// @return As `se_listen_rtmp`; `SE_E_NOT_FOUND`, `SE_E_FORMAT` or `SE_E_TLS` for a certificate or key that cannot be
/// used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_listen_rtmps(
    engine: *mut se_engine,
    address: *const c_char,
    cert: *const c_char,
    key: *const c_char,
    out: *mut se_id,
    out_port: *mut u16,
) -> se_status {
    guard(|| {
        let engine = engine::running(engine)?;
        // SAFETY: the header demands NULL or NUL-terminated text.
        let address = unsafe { text::required(address, "address") }?;
        // SAFETY: as above.
        let (cert, key) = unsafe { (text::required(cert, "cert")?, text::required(key, "key")?) };
        let identity = TlsIdentity::text_or_path(cert, key);
        let listener = listen("rtmps", address, |at| Ok(engine.listen_rtmps_with(at, identity)?))?;
        // SAFETY: the header demands NULL or a place to write to.
        unsafe { tell(&listener, out, out_port) };
        Ok(())
    })
}

/// Opens a listener for players over HTTP, or over HTTPS where a certificate is given. Every stream is
/// `http://HOST:PORT/app/stream.flv` there (also `.live.flv`, and `/live?app=APP&stream=STREAM`), as fragments of MP4
/// `http://HOST:PORT/app/stream.mp4`, and on the same URLs with `ws://` it comes in the messages of a WebSocket, which players
/// in browsers can take too. Nothing is published here.
/// `http://HOST:PORT/play/app/stream` is a page that plays it, `http://HOST:PORT/streams` lists what is live (the key `http.index`
/// of the configuration), and `http://HOST:PORT/` is the dashboard (`http.dashboard`), in libraries that npm was there to make it
/// for. The player is in the library too (`player` in `se_build_info_json`).
///
/// @param engine A started engine.
/// @param address As in `se_listen_rtmp`.
/// @param cert As in `se_listen_rtmps`; NULL, with `key`, for plain HTTP.
/// @param key As in `se_listen_rtmps`.
/// @param out The listener; may be NULL.
/// @param out_port The port really bound; may be NULL.
/// @return As `se_listen_rtmps`; `SE_E_UNSUPPORTED` from a library that was built without HTTP (`http` in
/// `se_build_info_json`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_listen_http(
    engine: *mut se_engine,
    address: *const c_char,
    cert: *const c_char,
    key: *const c_char,
    out: *mut se_id,
    out_port: *mut u16,
) -> se_status {
    guard(|| {
        let engine = engine::running(engine)?;
        // SAFETY: the header demands NULL or NUL-terminated text.
        let address = unsafe { text::required(address, "address") }?;
        // SAFETY: as above.
        let identity = unsafe { identity(cert, key) }?;
        let protocol = if identity.is_some() { "https" } else { "http" };
        let listener = listen(protocol, address, |at| listen_http(&engine, at, identity))?;
        // SAFETY: the header demands NULL or a place to write to.
        unsafe { tell(&listener, out, out_port) };
        Ok(())
    })
}

/// Says whether `http://HOST:PORT/` is the dashboard, on all HTTP listeners, or what is live. It is the key `http.dashboard` of the
/// configuration; on at first. An engine that runs goes by it at once.
///
/// @param engine The engine, started or not.
/// @param enabled Not 0 for yes.
/// @return `SE_E_UNSUPPORTED` from a library that was built without HTTP.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_http_set_dashboard(engine: *mut se_engine, enabled: i32) -> se_status {
    guard(|| set_dashboard(&*engine::host(engine)?, enabled != 0))
}

#[cfg(feature = "http")]
fn set_dashboard(host: &Host, enabled: bool) -> Outcome {
    host.change(|config| config.http.dashboard = enabled)
}

#[cfg(not(feature = "http"))]
fn set_dashboard(_: &Host, _: bool) -> Outcome {
    Err(without_http())
}

#[cfg(feature = "http")]
fn listen_http(engine: &Engine, at: SocketAddr, identity: Option<TlsIdentity>) -> Outcome<ListenerInfo> {
    Ok(match identity {
        Some(identity) => engine.listen_https(at, identity),
        None => engine.listen_http(at),
    }?)
}

#[cfg(not(feature = "http"))]
fn listen_http(_: &Engine, _: SocketAddr, _: Option<TlsIdentity>) -> Outcome<ListenerInfo> {
    Err(without_http())
}

#[cfg(not(feature = "http"))]
fn without_http() -> Failure {
    let text = "this library was built without HTTP (the feature http of its crate)";
    Failure::new(se_status::SE_E_UNSUPPORTED, text)
}

/// Gives a listener with TLS (RTMPS or HTTPS) another certificate and key, for connections from now on.
///
/// @param engine A started engine.
/// @param listener The listener.
/// @param cert As in `se_listen_rtmps`; NULL, with `key`, to read the files again that are in use.
/// @param key As in `se_listen_rtmps`.
/// @return `SE_E_NOT_FOUND` where there is no such listener, `SE_E_STATE` where it has no TLS; and as
/// `se_listen_rtmps`: then the certificate in use stays.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_listener_reload_tls(
    engine: *mut se_engine,
    listener: se_id,
    cert: *const c_char,
    key: *const c_char,
) -> se_status {
    guard(|| {
        // SAFETY: the header demands NULL or NUL-terminated text.
        let identity = unsafe { identity(cert, key) }?;
        let engine = engine::running(engine)?;
        let reloaded = engine.reload_tls(ListenerId(listener), identity);
        reloaded.map_err(|error| named(&format!("listener {listener}"), error.into()))
    })
}

/// Closes a listener. Its connections go on.
///
/// @param engine A started engine.
/// @param listener The listener.
/// @return `SE_E_NOT_FOUND` where there is no such listener.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_listener_close(engine: *mut se_engine, listener: se_id) -> se_status {
    guard(|| Ok(engine::running(engine)?.close_listener(ListenerId(listener))?))
}

/// A certificate and key; none where both are NULL.
///
/// # Safety
/// Both are NULL or NUL-terminated text.
unsafe fn identity(cert: *const c_char, key: *const c_char) -> Outcome<Option<TlsIdentity>> {
    // SAFETY: by the contract.
    let (cert, key) = unsafe { (text::optional(cert, "cert")?, text::optional(key, "key")?) };
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsIdentity::text_or_path(cert, key))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(null("cert")),
        (Some(_), None) => Err(null("key")),
    }
}

/// Opens a listener at an address; what goes wrong names both.
fn listen(
    protocol: &str,
    address: &str,
    open: impl FnOnce(SocketAddr) -> Outcome<ListenerInfo>,
) -> Outcome<ListenerInfo> {
    let at = parse(protocol, address)?;
    open(at).map_err(|failure| named(&format!("listen {protocol} on {at}"), failure))
}

fn parse(protocol: &str, address: &str) -> Outcome<SocketAddr> {
    address.parse().map_err(|_| {
        let text = format!("{address:?} is not an address such as 0.0.0.0:1935 or [::]:1935");
        Failure::argument(text).context(format_args!("listen {protocol}"))
    })
}

/// Puts the object before a failure that does not name it.
fn named(object: &str, failure: Failure) -> Failure {
    if failure.message.contains(object) { failure } else { failure.context(object) }
}

/// Writes what the caller wants to know of a new listener.
///
/// # Safety
/// Both are NULL or can be written.
unsafe fn tell(listener: &ListenerInfo, id: *mut se_id, port: *mut u16) {
    // SAFETY: by the contract.
    unsafe {
        handle::write_if(id, listener.id.0);
        handle::write_if(port, listener.address.port());
    }
}

#[cfg(all(test, not(feature = "http")))]
mod tests {
    use super::*;
    use crate::{se_engine_free, se_engine_new, se_engine_start, se_last_error};
    use std::ffi::CStr;
    use std::ptr::null;

    #[test]
    fn a_library_without_http_has_the_function_and_says_why_it_does_not_work() {
        let mut engine = std::ptr::null_mut();
        // SAFETY: all pointers are NULL, or to what lives longer than the call.
        let said = unsafe {
            assert_eq!(se_engine_new(null(), &raw mut engine), se_status::SE_OK);
            assert_eq!(se_engine_start(engine), se_status::SE_OK);
            let address = c"127.0.0.1:0".as_ptr();
            let (out, port) = (std::ptr::null_mut(), std::ptr::null_mut());
            let status = se_listen_http(engine, address, null(), null(), out, port);
            assert_eq!(status, se_status::SE_E_UNSUPPORTED);
            assert_eq!(se_http_set_dashboard(engine, 0), se_status::SE_E_UNSUPPORTED);
            se_listen_http(engine, address, null(), null(), out, port);
            let said = CStr::from_ptr(se_last_error()).to_str().unwrap().to_owned();
            se_engine_free(engine);
            said
        };
        assert!(said.contains("listen http on 127.0.0.1:0: ") && said.contains("without HTTP"), "{said}");
    }
}
