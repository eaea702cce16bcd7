//! The client's side of the handshake, in the plain form of the specification and in the one with digests, and what the server's
//! side is worth: the engine's own client takes whatever comes, others do not.
//!
//! The digests are in no specification: how librtmp and ffmpeg make and check them is followed.

use super::wire::{Broken, Io};
use ring::hmac;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Length of C1, C2, S1 and S2 in bytes.
pub(super) const PART: usize = 1536;
const VERSION: u8 = 3;
const DIGEST: usize = 32;

/// What both keys end with.
const KEY_END: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57, 0x6e,
    0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];
const PLAYER_KEY: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER_KEY: &[u8] = b"Genuine Adobe Flash Media Server 001";

/// What a client begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Four zero bytes, and chance.
    Plain,
    /// The version of a Flash Player, and a digest where bytes 8 to 11 point to.
    Digest([u8; 4]),
}

/// What the server's side was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shaken {
    /// The version that S1 has where the specification wants zeros.
    pub(super) version: [u8; 4],
    /// Whether S2 is C1.
    pub(super) is_echo: bool,
    /// Whether S1 has a digest, in one of the two places.
    pub(super) has_digest: bool,
    /// Whether S2 ends with the signature that the client's digest asks for.
    pub(super) is_signed: bool,
}

/// Shakes hands.
pub(super) async fn shake(io: &mut dyn Io, form: Form) -> Result<Shaken, Broken> {
    let c1 = first_part(form)?;
    let mut parts = vec![VERSION];
    parts.extend(&c1);
    io.write_all(&parts).await?;
    let version = io.read_u8().await?;
    if version != VERSION {
        return Err(Broken(format!("is no RTMP: its first byte is {version:#04x}")));
    }
    let (mut s1, mut s2) = (vec![0; PART], vec![0; PART]);
    io.read_exact(&mut s1).await?;
    // An echo is what the specification wants, and nobody checks more of what a client says.
    io.write_all(&s1).await?;
    io.read_exact(&mut s2).await?;
    Ok(judge(&c1, &s1, &s2))
}

fn first_part(form: Form) -> Result<Vec<u8>, Broken> {
    let mut c1 = vec![0; PART];
    let chance = c1.get_mut(8..).unwrap_or_default();
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), chance)
        .map_err(|_| Broken("cannot be asked: this machine has no random numbers".to_owned()))?;
    if let Form::Digest(version) = form {
        c1.splice(4..8, version);
        let place = first_place(&c1);
        let digest = digest_of(&c1, place, PLAYER_KEY);
        c1.splice(place..place + DIGEST, digest.as_ref().iter().copied());
    }
    Ok(c1)
}

/// What S1 and S2 are for a client that has sent this C1.
pub(super) fn judge(c1: &[u8], s1: &[u8], s2: &[u8]) -> Shaken {
    let version = s1.get(4..8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    let has_digest = [first_place(s1), second_place(s1)]
        .into_iter()
        .any(|place| s1.get(place..place + DIGEST) == Some(digest_of(s1, place, SERVER_KEY).as_ref()));
    let place = first_place(c1);
    let asked = c1.get(place..place + DIGEST).unwrap_or_default();
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[SERVER_KEY, &KEY_END].concat()), asked);
    let (chance, signature) = s2.split_at_checked(PART - DIGEST).unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
    Shaken {
        version,
        is_echo: c1 == s2,
        has_digest,
        is_signed: hmac::verify(&key, chance, signature).is_ok(),
    }
}

/// Where a digest is by bytes 8 to 11.
fn first_place(part: &[u8]) -> usize {
    sum(part, 8) % 728 + 12
}

/// Where a digest is by bytes 772 to 775.
fn second_place(part: &[u8]) -> usize {
    sum(part, 772) % 728 + 776
}

fn sum(part: &[u8], at: usize) -> usize {
    part.iter().skip(at).take(4).map(|&byte| usize::from(byte)).sum()
}

/// The digest of a part, over all but its own place.
fn digest_of(part: &[u8], place: usize, key: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(part.get(..place).unwrap_or_default());
    context.update(part.get(place + DIGEST..).unwrap_or_default());
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use streamengine::proto::handshake::Handshake;

    /// S1 and S2 of the engine, which has its digests from another implementation.
    fn answer(c1: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut input = BytesMut::from(&[&[VERSION][..], c1].concat()[..]);
        let mut output = BytesMut::new();
        Handshake::server().advance(&mut input, &mut output).unwrap();
        (output[1..=PART].to_vec(), output[1 + PART..].to_vec())
    }

    #[test]
    fn digests_and_signatures_of_another_implementation_are_known_and_wrong_ones_too() {
        let c1 = first_part(Form::Digest([10, 0, 45, 2])).unwrap();
        let (s1, s2) = answer(&c1);
        let shaken = judge(&c1, &s1, &s2);
        assert!(shaken.has_digest && shaken.is_signed && !shaken.is_echo, "{shaken:?}");
        assert_ne!(shaken.version[0], 0);

        let mut wrong = s1.clone();
        wrong[100] ^= 1;
        assert!(!judge(&c1, &wrong, &s2).has_digest);
        let mut wrong = s2;
        wrong[0] ^= 1;
        assert!(!judge(&c1, &s1, &wrong).is_signed);
    }

    #[test]
    fn a_plain_first_part_is_echoed() {
        let c1 = first_part(Form::Plain).unwrap();
        assert_eq!(c1[..8], [0; 8]);
        let (s1, s2) = answer(&c1);
        let shaken = judge(&c1, &s1, &s2);
        assert!(shaken.is_echo && !shaken.is_signed, "{shaken:?}");
    }
}
