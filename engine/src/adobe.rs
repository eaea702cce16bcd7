//! The digest of `authmod=adobe`, by which encoders show that they have a password without sending it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use md5::{Digest, Md5};

/// What is enough to check a password by: `base64(md5(user salt password))`.
pub(crate) fn verifier(user: &str, salt: &str, password: &str) -> String {
    digest([user, salt, password])
}

/// What shows that somebody has the password: `base64(md5(verifier theirs ours))`. `theirs` is the server's `opaque`, or its
/// challenge where it sends none; `ours` is the client's challenge.
pub(crate) fn response(verifier: &str, theirs: &str, ours: &str) -> String {
    digest([verifier, theirs, ours])
}

/// Bytes of a salt.
pub(crate) const SALT_LEN: usize = 12;

/// A salt of the first [`SALT_LEN`] of some bytes, as text.
pub(crate) fn salt(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes.get(..SALT_LEN).unwrap_or(bytes))
}

fn digest(parts: [&str; 3]) -> String {
    BASE64.encode(Md5::digest(parts.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with `printf %s ... | openssl md5 -binary | base64`, one after the other.
    #[test]
    fn the_digest_is_that_of_the_field() {
        let verifier = verifier("user", "c2FsdA==", "pass");
        assert_eq!(verifier, "sfeNH6WsURfVvC+vLJ5zYw==");
        assert_eq!(response(&verifier, "b3BhcQ==", "12345678"), "kREffs49hGDI0/vWYHXXfA==");
    }
}
