//! Text that crosses the border, in both directions.

use crate::c_string::c_string;
use crate::handle::null;
use crate::status::{Failure, Outcome};
use std::ffi::{CStr, c_char};

/// A text that the C side owns from now on, to be freed by `se_string_free`.
pub(crate) fn give(text: &str) -> *mut c_char {
    c_string(text).into_raw()
}

/// A value as JSON text that the C side owns from now on.
pub(crate) fn give_json(value: &impl serde::Serialize) -> Outcome<*mut c_char> {
    let text = serde_json::to_string(value).map_err(|error| {
        Failure::new(crate::se_status::SE_E_INTERNAL, format!("put together JSON: {error}"))
    })?;
    Ok(give(&text))
}

/// A required text argument.
///
/// # Safety
/// `text` is NULL or NUL-terminated and lives as long as the result.
pub(crate) unsafe fn required<'a>(text: *const c_char, name: &str) -> Outcome<&'a str> {
    // SAFETY: handed on.
    unsafe { optional(text, name) }?.ok_or_else(|| null(name))
}

/// A text argument that may be NULL.
///
/// # Safety
/// As [`required`].
pub(crate) unsafe fn optional<'a>(text: *const c_char, name: &str) -> Outcome<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, so by the contract NUL-terminated.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Failure::argument(format!("{name} is not UTF-8")))
}

/// A text argument with what it has to be read as, such as a stream name.
///
/// # Safety
/// As [`required`].
pub(crate) unsafe fn parsed<T>(text: *const c_char, name: &str) -> Outcome<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    // SAFETY: handed on.
    let text = unsafe { required(text, name) }?;
    text.parse().map_err(|error| Failure::argument(format!("{name}: {error}")))
}

/// Copies text into a field of a structure, cut at a character's border where it is too long, with its NUL.
pub(crate) fn fill<const N: usize>(field: &mut [c_char; N], text: &str) {
    let mut end = text.len().min(N.saturating_sub(1));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let bytes = text.as_bytes()[..end].iter().map(|&byte| if byte == 0 { b'?' } else { byte });
    let padded = bytes.chain(std::iter::repeat(0));
    field.iter_mut().zip(padded).for_each(|(to, byte)| *to = byte.cast_signed() as c_char);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_too_long_is_cut_between_characters() {
        let mut field = [1; 5];
        fill(&mut field, "abcé");
        // SAFETY: `fill` has put a NUL.
        assert_eq!(unsafe { CStr::from_ptr(field.as_ptr()) }, c"abc");
        fill(&mut field, "");
        assert_eq!(field, [0; 5]);
    }
}
