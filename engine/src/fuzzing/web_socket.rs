//! Frames of WebSocket clients.

use super::{Choices, pieces};
use crate::service::http::heard::{Saying, of_player, of_publisher};

/// Longest message here.
const MOST: u64 = 8 * 1024;

/// Any split says the same, of players and of publishers, and nothing is held but the beginning of a frame and a text; messages that
/// keep to the rules are heard as they were sent.
/// Input: 0 for bytes as they are, 1 for frames that are made of them; seed of the split; the bytes.
pub fn web_socket(data: &[u8]) {
    let mut choices = Choices::new(data);
    let is_made = choices.byte() & 1 == 1;
    let seed = choices.byte();
    if !is_made {
        let sent = choices.rest();
        let (whole, split) = ([sent], pieces(sent, seed));
        assert_eq!(of_player(&whole), of_player(&split), "the split changed what a player says");
        assert_eq!(
            of_publisher(&whole, MOST),
            of_publisher(&split, MOST),
            "the split changed what a publisher says"
        );
        return;
    }
    let (sent, said) = messages(choices);
    let heard = of_publisher(&pieces(&sent, seed), MOST);
    assert_eq!((heard.said, heard.violation), (said, None), "what was sent is not what was heard");
}

/// Messages of a publisher that keeps to the rules, and what they say.
fn messages(mut choices: Choices<'_>) -> (Vec<u8>, Vec<Saying>) {
    let (mut sent, mut said) = (Vec::new(), Vec::new());
    let (mut text, mut stream) = (None, false);
    while !choices.is_empty() {
        let kind = choices.byte();
        let is_final = kind & 0x80 != 0;
        let mask = choices.u32().to_be_bytes();
        let len = usize::from(choices.byte());
        let payload = choices.slice(len);
        match (kind % 3, &mut text, stream) {
            (0, _, _) => {
                let payload = payload.get(..125).unwrap_or(payload);
                sent.extend(frame(0x89, mask, payload));
                said.push(Saying::Other(format!("Ping({:?})", bytes::Bytes::copy_from_slice(payload))));
            }
            (1, None, false) | (_, Some(_), _) => {
                let begun = text.is_some();
                let whole: &mut String = text.get_or_insert_default();
                let letters: String = payload.iter().map(|byte| char::from(byte & 0x7f)).collect();
                // Texts have an end.
                let letters = if whole.len() + letters.len() > 4_096 { "" } else { &letters };
                whole.push_str(letters);
                let first = u8::from(is_final) << 7 | u8::from(!begun);
                sent.extend(frame(first, mask, letters.as_bytes()));
                if is_final {
                    said.extend(text.take().map(Saying::Text));
                }
            }
            _ => {
                let first = u8::from(is_final) << 7 | u8::from(!stream) << 1;
                sent.extend(frame(first, mask, payload));
                stream = !is_final;
                match said.last_mut() {
                    _ if payload.is_empty() => {}
                    Some(Saying::Stream(before)) => before.extend_from_slice(payload),
                    _ => said.push(Saying::Stream(payload.to_vec())),
                }
            }
        }
        // A message may be no longer than it may be.
        if sent.len() > MOST as usize / 2 {
            break;
        }
    }
    (sent, said)
}

/// A frame of a client.
fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(len @ 0..126) => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            frame.extend((payload.len() as u16).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    frame
}
