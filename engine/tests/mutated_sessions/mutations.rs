//! Golden dialogues, damaged in all the ways that a bad line, a bad encoder or a bad mind might think of.

use crate::dialogues::{FFMPEG_PLAY, FFMPEG_PUBLISH, OBS_PUBLISH, RTMPDUMP_PLAY};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};

const DIALOGUES: [&[&[u8]]; 4] = [FFMPEG_PUBLISH, FFMPEG_PLAY, RTMPDUMP_PLAY, OBS_PUBLISH];
const HANDSHAKE: usize = 3073;
/// Longest mutated session: repeating must not make one of them slow.
const MAX_BYTES: usize = 256 * 1024;

/// What one peer sends from its first byte to its last. The same seed gives the same bytes; `stream` takes the
/// place of the dialogues' stream name.
pub(crate) fn session(seed: u64, stream: [u8; 3]) -> (Vec<u8>, StdRng) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut pieces = dialogue(&mut rng, stream);
    let mut handshake = handshake(&mut rng);
    for _ in 0..rng.random_range(1..5) {
        mutate(&mut pieces, &mut rng);
    }
    // Few, or hardly anything would get past the handshake.
    if rng.random_ratio(1, 16) {
        mutate_bytes(&mut handshake, &mut rng);
    }
    let mut bytes = [handshake, pieces.concat()].concat();
    bytes.truncate(MAX_BYTES);
    (bytes, rng)
}

fn dialogue(rng: &mut StdRng, stream: [u8; 3]) -> Vec<Vec<u8>> {
    let pieces = DIALOGUES.choose(rng).copied().unwrap_or_default();
    let rename = |piece: &&[u8]| {
        let mut piece = piece.to_vec();
        if let Some(at) = piece.windows(3).position(|name| name == b"cam") {
            piece[at..at + 3].copy_from_slice(&stream);
        }
        piece
    };
    pieces.iter().map(rename).collect()
}

/// A handshake without digests, of zeros or of noise.
fn handshake(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; HANDSHAKE];
    if rng.random_ratio(1, 4) {
        rng.fill_bytes(&mut bytes);
    }
    bytes[0] = 3;
    bytes
}

fn mutate(pieces: &mut Vec<Vec<u8>>, rng: &mut StdRng) {
    let at = rng.random_range(0..pieces.len());
    match rng.random_range(0..8) {
        0 => resize(&mut pieces[at], rng),
        1 => drop(pieces.splice(at.., splice(rng))),
        2 => drop(pieces.splice(at..at, splice(rng))),
        3 => {
            let copies = vec![pieces[at].clone(); rng.random_range(1..200)];
            drop(pieces.splice(at..at, copies));
        }
        4 => {
            let other = rng.random_range(0..pieces.len());
            pieces.swap(at, other);
        }
        5 if pieces.len() > 1 => drop(pieces.remove(at)),
        _ => mutate_bytes(&mut pieces[at], rng),
    }
}

/// The tail of another dialogue.
fn splice(rng: &mut StdRng) -> Vec<Vec<u8>> {
    let mut pieces = dialogue(rng, *b"oth");
    let from = rng.random_range(0..pieces.len());
    pieces.split_off(from)
}

/// Gives the message another length: its own ones and those at the limits.
fn resize(piece: &mut [u8], rng: &mut StdRng) {
    let Some(length) = piece.get_mut(4..7) else { return };
    let own = u32::from_be_bytes([0, length[0], length[1], length[2]]);
    let new = [0, 1, own.wrapping_sub(1), own + 1, own * 2, 127, 128, 65_536, 65_537, 0x80_0001, 0xFF_FFFF];
    let new = new.choose(rng).copied().unwrap_or_default().to_be_bytes();
    length.copy_from_slice(&new[1..]);
}

fn mutate_bytes(bytes: &mut Vec<u8>, rng: &mut StdRng) {
    let at = rng.random_range(0..=bytes.len());
    let end = rng.random_range(at..=bytes.len().min(at + 64));
    match rng.random_range(0..6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = *[0, 1, 3, 0x7F, 0x80, 0xFF].choose(rng).unwrap_or(&0),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let copies = bytes[at..end].repeat(rng.random_range(1..50));
            drop(bytes.splice(at..at, copies));
        }
        _ => {
            let mut noise = [0; 8];
            rng.fill_bytes(&mut noise);
            drop(bytes.splice(at..end, noise));
        }
    }
}
