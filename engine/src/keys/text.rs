//! What keys look like, and what is kept of them.

use crate::key::{Secret, random};
use crate::{Error, ErrorKind, Result};
use crate::{adobe, auth};
use ring::hmac;

/// Digits and letters that nobody takes for each other: good in URLs, in stream names, and read aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// What a key is called by.
const ID_LEN: usize = 10;
/// 130 bits.
const SECRET_LEN: usize = 26;

/// A new key and what it is called by: `ID-SECRET`.
pub(super) fn make() -> Result<(String, Secret)> {
    let id = letters(ID_LEN)?;
    let key = Secret::new(format!("{id}-{}", letters(SECRET_LEN)?));
    Ok((id, key))
}

fn letters(len: usize) -> Result<String> {
    let random = random(len)?;
    Ok(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// Whether somebody's own text can be a key.
pub(super) fn check(key: &Secret) -> Result<()> {
    let text = key.expose();
    match (8..=128).contains(&text.len()) && !text.contains(char::is_control) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::InvalidArgument,
            "a key has 8 to 128 bytes, and no control characters among them",
        )),
    }
}

/// What a key is checked by where it is sent as a password, which is never sent itself. MD5, as that is what encoders speak: of 130
/// bits that nobody can guess, not of what people choose.
pub(super) struct Verifier {
    pub(super) salt: String,
    pub(super) digest: String,
}

impl Verifier {
    /// One of a key that was made here, whose user is what it is called by.
    pub(super) fn of(id: &str, key: &Secret) -> Result<Self> {
        let salt = adobe::salt(&random(adobe::SALT_LEN)?);
        let digest = adobe::verifier(id, &salt, key.expose());
        Ok(Self { salt, digest })
    }
}

/// What finds keys in one database.
#[derive(Clone)]
pub(super) struct Hasher(hmac::Key);

impl Hasher {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// What is kept of a key.
    pub(super) fn hash(&self, key: &str) -> hmac::Tag {
        hmac::sign(&self.0, key.as_bytes())
    }

    /// The salt of a user whom nobody knows here. No key has a line end, as what is signed for it has: it tells nothing of one.
    pub(super) fn salt(&self, user: &str) -> String {
        auth::salt(&self.0, user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::StreamKey;
    use std::collections::HashSet;

    #[test]
    fn keys_are_good_as_names_and_no_two_are_the_same() {
        let made: Vec<_> = (0..1_000).map(|_| make().unwrap()).collect();
        for (id, key) in &made {
            assert_eq!(
                key.expose().split_once('-').map(|(id, secret)| (id, secret.len())),
                Some((&**id, 26))
            );
            assert_eq!(StreamKey::new("live", key.expose()).unwrap().stream(), key.expose());
            check(key).unwrap();
        }
        assert_eq!(made.iter().map(|(_, key)| key.expose()).collect::<HashSet<_>>().len(), made.len());
        let letters: HashSet<_> = made.iter().flat_map(|(_, key)| key.expose().chars()).collect();
        assert_eq!(letters.len(), 33, "every letter comes up: {letters:?}");
    }

    #[test]
    fn what_is_no_key_is_told_without_quoting_it() {
        for text in ["", "5ecret", "5ecret\n5ecret", &"5ecret".repeat(30)] {
            let error = check(&Secret::new(text)).unwrap_err();
            assert!(!error.to_string().contains("5ecret"), "{error}");
        }
    }

    #[test]
    fn what_is_kept_depends_on_the_database() {
        let (one, other) = (Hasher::new(b"one"), Hasher::new(b"other"));
        assert_eq!(one.hash("key").as_ref(), one.hash("key").as_ref());
        assert_ne!(one.hash("key").as_ref(), other.hash("key").as_ref());
        assert_ne!(one.hash("key").as_ref(), one.hash("kez").as_ref());
    }
}
