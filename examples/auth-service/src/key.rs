//! Keys of streamers: what they look like, and what is kept of them.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes of a key. Nobody finds out so many, so that a plain hash keeps them secret.
const BYTES: usize = 20;

/// A new key, of letters that every encoder takes.
pub(crate) fn new() -> Result<String, String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system has no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the table has of a key.
pub(crate) fn hash(key: &str) -> Vec<u8> {
    digest(&SHA256, key.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_new_each_time() {
        let (one, other) = (new().unwrap(), new().unwrap());
        assert_eq!(one.len(), 40);
        assert_ne!(one, other);
        assert_ne!(hash(&one), hash(&other));
        assert!(!hash(&one).windows(8).any(|part| one.as_bytes().windows(8).any(|of_key| of_key == part)));
    }
}
