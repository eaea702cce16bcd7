//! The loop guard: ids of the engines that a relayed stream has passed, carried in `connect` and its reply.
//!
//! RTMP has no such thing, so this is a property of our own that other software ignores: a text of ids with commas.

/// The property's key.
pub(crate) const KEY: &str = "streamengineHops";

/// Engines that a stream may have passed, the last one included.
pub(crate) const MAX: usize = 8;

/// Longest id.
const MAX_ID: usize = 64;

/// An id for an engine.
pub(crate) fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The ids of a list, oldest first. What cannot be an id is left out, and no more than [`MAX`] and one are read, which
/// shows that there are too many.
pub(crate) fn parse(list: &str) -> Vec<String> {
    list.split(',').filter(|id| is_id(id)).take(MAX + 1).map(str::to_owned).collect()
}

/// The list of ids as it is sent.
pub(crate) fn join(hops: &[String]) -> String {
    hops.join(",")
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_were_sent() {
        let hops: Vec<_> = (0..MAX).map(|_| new_id()).collect();
        assert_eq!(parse(&join(&hops)), hops);
        assert!(parse(&join(&[])).is_empty());
    }

    #[test]
    fn what_cannot_be_an_id_is_left_out_and_too_many_are_seen_but_not_held() {
        assert_eq!(parse("a-1,,B2,a b,x\n,\u{e9}"), ["a-1", "B2"]);
        assert_eq!(parse(&"y".repeat(MAX_ID)).len(), 1);
        assert!(parse(&"y".repeat(MAX_ID + 1)).is_empty());
        assert_eq!(parse(&"a,".repeat(1000)).len(), MAX + 1);
    }
}
