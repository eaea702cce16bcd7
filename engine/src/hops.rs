//! The loop guard: the streams of engines that a relayed stream has been, carried in `connect`; the reply has the id of the
//! engine.
//!
//! RTMP has no such thing, so this is a property of our own that other software ignores: a text of ids with commas. HTTP has
//! it in a header of ours.

/// The property's key.
pub(crate) const KEY: &str = "streamengineHops";

/// The same list as a header of HTTP requests; replies have in it what the stream has been, their own included.
#[cfg(feature = "http")]
pub(crate) const HEADER: &str = "x-streamengine-hops";

/// By this header (RFC 7240) a request says that it wants no stream to be waited for.
#[cfg(feature = "http")]
pub(crate) const PREFER: &str = "prefer";
#[cfg(feature = "http")]
pub(crate) const WAIT_NOT: &str = "wait=0";

bound! {
    /// Streams of engines that a stream may have been, the last one included
    /// (test `f32_a_stream_that_has_passed_eight_engines_is_not_pushed_on`).
    pub(crate) const MAX: usize = 8, without usize::MAX - 1;
    /// Longest id (test `what_cannot_be_an_id_is_left_out_and_too_many_are_seen_but_not_held`).
    const MAX_ID: usize = 64, without usize::MAX;
}

/// An id for an engine.
pub(crate) fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A stream of an engine as others are told of it. The name is hashed (FNV-1a, the same in all versions), as it may be a
/// key.
pub(crate) fn of_stream(engine: &str, stream: &str) -> String {
    let hash = stream.bytes().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    format!("{engine}-{hash:016x}")
}

/// The ids of a list, oldest first. What cannot be an id is left out, and no more than [`MAX`] and one are read, which
/// shows that there are too many.
pub(crate) fn parse(list: &str) -> Vec<String> {
    list.split(',').filter(|id| is_id(id)).take(MAX.get() + 1).map(str::to_owned).collect()
}

/// The list of ids as it is sent.
pub(crate) fn join(hops: &[String]) -> String {
    hops.join(",")
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID.get()).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_were_sent() {
        let hops: Vec<_> = (0..MAX.stated()).map(|_| of_stream(&new_id(), "live/a")).collect();
        assert_eq!(parse(&join(&hops)), hops);
        assert!(parse(&join(&[])).is_empty());
    }

    #[test]
    fn streams_of_one_engine_are_told_apart_and_their_names_not_told() {
        assert_eq!(of_stream("e", "live/a"), of_stream("e", "live/a"));
        assert_ne!(of_stream("e", "live/a"), of_stream("e", "live/b"));
        assert_ne!(of_stream("e", "live/a"), of_stream("f", "live/a"));
        assert!(!of_stream("e", "live/a").contains("live"));
    }

    #[test]
    fn what_cannot_be_an_id_is_left_out_and_too_many_are_seen_but_not_held() {
        assert_eq!(parse("a-1,,B2,a b,x\n,\u{e9}"), ["a-1", "B2"]);
        assert_eq!(parse(&"y".repeat(MAX_ID.stated())).len(), 1);
        assert!(parse(&"y".repeat(MAX_ID.stated() + 1)).is_empty());
        assert_eq!(parse(&"a,".repeat(1000)).len(), MAX.stated() + 1);
    }
}
