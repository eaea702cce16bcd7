//! Facts about the library, and freeing of its strings.

use crate::frame::se_codec;
use crate::{status, text};
use std::ffi::{CString, c_char};

/// The version of the library as one number; compare with `SE_VERSION_NUMBER` of the header.
#[unsafe(no_mangle)]
pub extern "C" fn se_version_number() -> u32 {
    version_part(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | version_part(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | version_part(env!("CARGO_PKG_VERSION_PATCH"))
}

fn version_part(digits: &str) -> u32 {
    digits.parse().unwrap_or(0)
}

/// The version of the library: `"0.1.0"`.
///
/// @return Never NULL, valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn se_version_string() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// What the library was built as, in JSON: `version`, `commit` (null where unknown), `profile`, `target`, `tls`, `http`
/// (whether `se_listen_http` works), `player` (whether the pages of streams have a player) and `codecs`.
///
/// @return To be freed with `se_string_free`; NULL on error.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn se_build_info_json() -> *mut c_char {
    status::guard_or(std::ptr::null_mut(), || {
        text::give_json(&serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "commit": option_env!("STREAMENGINE_COMMIT"),
            "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
            "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            "tls": "rustls, ring",
            "http": cfg!(feature = "http"),
            "player": has_player(),
            "codecs": se_codec::names().collect::<Vec<_>>(),
        }))
    })
}

const fn has_player() -> bool {
    #[cfg(feature = "http")]
    return streamengine_web::HAS_PLAYER;
    #[cfg(not(feature = "http"))]
    return false;
}

/// Frees a string that a function returned as `char *`.
///
/// @param string The string, which is gone then; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn se_string_free(string: *mut c_char) {
    status::guard_or((), || {
        if !string.is_null() {
            // SAFETY: strings that belong to the caller come from `CString::into_raw` only (`text::give`).
            drop(unsafe { CString::from_raw(string) });
        }
        Ok(())
    });
}
