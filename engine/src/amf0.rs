//! AMF0: a bounded decoder into `rml_amf0`'s value type, and its encoder.
//!
//! `rml_amf0`'s own decoder overflows the stack on deep values, pads cut strings and fails on dates; its encoder
//! fails on long strings, cuts property names modulo 2^16 and writes properties in random order.
//! Section numbers are those of Adobe's *AMF 0 Specification*.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::expect_used)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "tests compute on their own numbers"))]

mod amf3;

use bytes::{BufMut, BytesMut};
pub use rml_amf0::Amf0Value;
use std::collections::HashMap;
use std::fmt;

/// Deepest nesting of objects and arrays.
pub const MAX_DEPTH: usize = 32;
/// Most values in one message, those inside objects and arrays included.
pub const MAX_VALUES: usize = 4096;

bound! {
    /// [`MAX_DEPTH`] as it is kept to (test `f06_deep_nesting_is_refused_on_a_small_stack`).
    const DEPTH: usize = MAX_DEPTH, without 1_000;
    /// [`MAX_VALUES`] as it is kept to (test `f07_huge_counts_and_lengths_are_cut_off`).
    const VALUES: usize = MAX_VALUES, without usize::MAX;
}

/// Markers (2.1).
mod marker {
    pub(super) const NUMBER: u8 = 0;
    pub(super) const BOOLEAN: u8 = 1;
    pub(super) const STRING: u8 = 2;
    pub(super) const OBJECT: u8 = 3;
    pub(super) const NULL: u8 = 5;
    pub(super) const UNDEFINED: u8 = 6;
    pub(super) const REFERENCE: u8 = 7;
    pub(super) const ECMA_ARRAY: u8 = 8;
    pub(super) const OBJECT_END: u8 = 9;
    pub(super) const STRICT_ARRAY: u8 = 10;
    pub(super) const DATE: u8 = 11;
    pub(super) const LONG_STRING: u8 = 12;
    pub(super) const UNSUPPORTED: u8 = 13;
    pub(super) const XML: u8 = 15;
    pub(super) const TYPED_OBJECT: u8 = 16;
    pub(super) const AMF3: u8 = 17;
}

/// Why AMF0 data was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amf0Error {
    /// The data ends inside a value, or before one that must come; the offset of that value.
    Truncated(usize),
    /// An unknown marker; its offset and value.
    Marker(usize, u8),
    /// Deeper than 32 levels, or more than 4,096 values; the offset.
    Budget(usize),
}

impl fmt::Display for Amf0Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(at) => write!(f, "the value at byte {at} is cut off"),
            Self::Marker(at, marker) => write!(f, "unknown type {marker:#04x} at byte {at}"),
            Self::Budget(at) => write!(f, "too many or too deep values at byte {at}"),
        }
    }
}

impl std::error::Error for Amf0Error {}

/// Decodes all values of a message.
///
/// Dates become numbers (milliseconds since 1970), long strings and XML become strings, typed objects become
/// objects, references become null and unsupported values undefined. ECMA arrays are objects; their end marker
/// may be missing at the end of the data. Bytes that are not UTF-8 are replaced. A value in AMF3 (marker 0x11) is
/// read where AMF0 has the like, else it is undefined.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Amf0Value>, Amf0Error> {
    let mut decoder = Decoder::new(bytes);
    let mut values = Vec::new();
    while !decoder.rest.is_empty() {
        values.push(decoder.value(0)?);
    }
    Ok(values)
}

/// Decodes one value, as [`decode_all`] does, and returns it with the bytes it took.
pub fn decode_one(bytes: &[u8]) -> Result<(Amf0Value, usize), Amf0Error> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.value(0)?;
    Ok((value, decoder.offset()))
}

/// Decodes the values of a message up to the first that cannot be: of an object or array that breaks off, what came before.
/// The error is why the rest is left out.
///
/// For commands: what they need comes first, and nobody is to be turned away for what follows it.
pub fn decode_readable(bytes: &[u8]) -> (Vec<Amf0Value>, Option<Amf0Error>) {
    let mut decoder = Decoder::new(bytes);
    decoder.keeps_part = true;
    let mut values = Vec::new();
    while !decoder.rest.is_empty() && decoder.broken.is_none() {
        match decoder.value(0) {
            Ok(value) => values.push(value),
            Err(error) => return (values, Some(error)),
        }
    }
    (values, decoder.broken)
}

struct Decoder<'a> {
    /// Whether containers that break off are kept as far as they go.
    keeps_part: bool,
    /// Where one did.
    broken: Option<Amf0Error>,
    whole: usize,
    rest: &'a [u8],
    values_left: usize,
}

/// What an object's properties end with.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The end marker.
    Marker,
    /// The end marker, or the end of the data: some encoders leave the marker of ECMA arrays away.
    MarkerOrData,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { keeps_part: false, broken: None, whole: bytes.len(), rest: bytes, values_left: VALUES.get() }
    }

    fn offset(&self) -> usize {
        self.whole.saturating_sub(self.rest.len())
    }

    /// One value inside `depth` containers.
    fn value(&mut self, depth: usize) -> Result<Amf0Value, Amf0Error> {
        let at = self.offset();
        self.values_left = self.values_left.checked_sub(1).ok_or(Amf0Error::Budget(at))?;
        let [marker] = self.take(at)?;
        match marker {
            marker::NUMBER => Ok(Amf0Value::Number(f64::from_be_bytes(self.take(at)?))),
            marker::BOOLEAN => self.take(at).map(|[byte]| Amf0Value::Boolean(byte != 0)),
            marker::STRING => self.short_string(at).map(Amf0Value::Utf8String),
            marker::NULL => Ok(Amf0Value::Null),
            marker::UNDEFINED | marker::UNSUPPORTED => Ok(Amf0Value::Undefined),
            marker::REFERENCE => self.take::<2>(at).map(|_| Amf0Value::Null),
            marker::DATE => self.date(at),
            marker::LONG_STRING | marker::XML => self.long_string(at).map(Amf0Value::Utf8String),
            marker::OBJECT | marker::ECMA_ARRAY | marker::STRICT_ARRAY | marker::TYPED_OBJECT => {
                if depth >= DEPTH.get() {
                    return Err(Amf0Error::Budget(at));
                }
                self.container(marker, at, depth.saturating_add(1))
            }
            marker::AMF3 => {
                let read = amf3::read(self.rest, &mut self.values_left);
                let (value, rest) = read.ok_or(match self.values_left {
                    0 => Amf0Error::Budget(at),
                    _ => Amf0Error::Truncated(at),
                })?;
                self.rest = rest;
                Ok(value)
            }
            _ => Err(Amf0Error::Marker(at, marker)),
        }
    }

    fn container(&mut self, marker: u8, at: usize, depth: usize) -> Result<Amf0Value, Amf0Error> {
        match marker {
            marker::STRICT_ARRAY => return self.strict_array(at, depth),
            marker::ECMA_ARRAY => {
                // The count is a hint that encoders get wrong.
                self.take::<4>(at)?;
                return self.properties(at, depth, End::MarkerOrData);
            }
            marker::TYPED_OBJECT => drop(self.short_string(at)?),
            _ => {}
        }
        self.properties(at, depth, End::Marker)
    }

    fn properties(&mut self, at: usize, depth: usize, end: End) -> Result<Amf0Value, Amf0Error> {
        let mut properties = HashMap::new();
        loop {
            if end == End::MarkerOrData && self.rest.is_empty() {
                break;
            }
            if let Some(rest) = self.rest.strip_prefix(&[0, 0, marker::OBJECT_END]) {
                self.rest = rest;
                break;
            }
            let property = self.short_string(at).and_then(|name| Ok((name, self.value(depth)?)));
            let Some((name, value)) = self.or_broken(property)? else { break };
            properties.insert(name, value);
            if self.broken.is_some() {
                break;
            }
        }
        Ok(Amf0Value::Object(properties))
    }

    fn strict_array(&mut self, at: usize, depth: usize) -> Result<Amf0Value, Amf0Error> {
        let count = u32::from_be_bytes(self.take(at)?);
        let mut values = Vec::new();
        for _ in 0..count {
            let value = self.value(depth);
            let Some(value) = self.or_broken(value)? else { break };
            values.push(value);
            if self.broken.is_some() {
                break;
            }
        }
        Ok(Amf0Value::StrictArray(values))
    }

    /// What is in a container, or none where it breaks off there and is kept so.
    fn or_broken<T>(&mut self, inner: Result<T, Amf0Error>) -> Result<Option<T>, Amf0Error> {
        match inner {
            Ok(inner) => Ok(Some(inner)),
            Err(error) if self.keeps_part => {
                self.broken.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn date(&mut self, at: usize) -> Result<Amf0Value, Amf0Error> {
        let milliseconds = f64::from_be_bytes(self.take(at)?);
        // The time zone is reserved (2.13).
        self.take::<2>(at)?;
        Ok(Amf0Value::Number(milliseconds))
    }

    fn short_string(&mut self, at: usize) -> Result<String, Amf0Error> {
        let len = u16::from_be_bytes(self.take(at)?);
        self.text(at, usize::from(len))
    }

    fn long_string(&mut self, at: usize) -> Result<String, Amf0Error> {
        let len = u32::from_be_bytes(self.take(at)?);
        self.text(at, usize::try_from(len).map_err(|_| Amf0Error::Truncated(at))?)
    }

    fn text(&mut self, at: usize, len: usize) -> Result<String, Amf0Error> {
        let (text, rest) = self.rest.split_at_checked(len).ok_or(Amf0Error::Truncated(at))?;
        self.rest = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn take<const N: usize>(&mut self, at: usize) -> Result<[u8; N], Amf0Error> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Amf0Error::Truncated(at))?;
        self.rest = rest;
        Ok(*head)
    }
}

/// Appends the AMF0 form of `values`. Strings beyond 65,535 bytes become long strings; properties are written
/// in the order of their names, and names are cut at 65,535 bytes.
pub fn encode(values: &[Amf0Value], out: &mut BytesMut) {
    values.iter().for_each(|value| encode_value(value, out));
}

fn encode_value(value: &Amf0Value, out: &mut BytesMut) {
    match value {
        Amf0Value::Number(number) => {
            out.put_u8(marker::NUMBER);
            out.put_f64(*number);
        }
        Amf0Value::Boolean(boolean) => out.put_slice(&[marker::BOOLEAN, u8::from(*boolean)]),
        Amf0Value::Utf8String(text) => encode_string(text, out),
        Amf0Value::Object(properties) => encode_object(properties, out),
        Amf0Value::StrictArray(values) => {
            out.put_u8(marker::STRICT_ARRAY);
            out.put_u32(u32::try_from(values.len()).unwrap_or(u32::MAX));
            encode(values, out);
        }
        Amf0Value::Null => out.put_u8(marker::NULL),
        Amf0Value::Undefined => out.put_u8(marker::UNDEFINED),
    }
}

fn encode_string(text: &str, out: &mut BytesMut) {
    match u16::try_from(text.len()) {
        Ok(len) => {
            out.put_u8(marker::STRING);
            out.put_u16(len);
        }
        Err(_) => {
            out.put_u8(marker::LONG_STRING);
            out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
    }
    out.put_slice(text.as_bytes());
}

fn encode_object(properties: &HashMap<String, Amf0Value>, out: &mut BytesMut) {
    let mut sorted: Vec<_> = properties.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| name.as_str());
    out.put_u8(marker::OBJECT);
    for (name, value) in sorted {
        let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        out.put_u16(len);
        out.put_slice(name.as_bytes().get(..usize::from(len)).unwrap_or_default());
        encode_value(value, out);
    }
    out.put_slice(&[0, 0, marker::OBJECT_END]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(values: &[Amf0Value]) -> Vec<u8> {
        let mut out = BytesMut::new();
        encode(values, &mut out);
        out.to_vec()
    }

    fn text(text: &str) -> Amf0Value {
        Amf0Value::Utf8String(text.to_owned())
    }

    fn object(properties: &[(&str, Amf0Value)]) -> Amf0Value {
        Amf0Value::Object(
            properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        )
    }

    fn sample() -> Vec<Amf0Value> {
        vec![
            text("connect"),
            Amf0Value::Number(-1.5),
            object(&[
                ("app", text("live")),
                ("flags", Amf0Value::StrictArray(vec![Amf0Value::Boolean(true), Amf0Value::Null])),
                ("inner", object(&[("x", Amf0Value::Undefined)])),
            ]),
            Amf0Value::StrictArray(vec![]),
        ]
    }

    #[test]
    fn values_are_read_as_written_also_by_rml_amf0() {
        let bytes = encoded(&sample());
        assert_eq!(decode_all(&bytes), Ok(sample()));
        assert_eq!(rml_amf0::deserialize(&mut &bytes[..]).unwrap(), sample());
        assert_eq!(decode_all(&rml_amf0::serialize(&sample()).unwrap()), Ok(sample()));
    }

    #[test]
    fn properties_are_written_in_the_order_of_their_names() {
        let names = ["zeta", "alpha", "mid", "level", "code"];
        let value = object(&names.map(|name| (name, Amf0Value::Null)));
        let bytes = encoded(&[value]);
        let place = |name: &str| bytes.windows(name.len()).position(|w| w == name.as_bytes()).unwrap();
        let mut sorted = names;
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| place(pair[0]) < place(pair[1])));
    }

    #[test]
    fn string_over_65535_bytes_is_a_long_string_at_any_depth() {
        for len in [65_535, 65_536, 100_000] {
            let values = vec![text(&"a".repeat(len)), object(&[("x", text(&"b".repeat(len)))])];
            let bytes = encoded(&values);
            assert_eq!(bytes[0], if len > 65_535 { marker::LONG_STRING } else { marker::STRING });
            assert_eq!(decode_all(&bytes), Ok(values));
        }
    }

    #[test]
    fn name_over_65535_bytes_does_not_break_the_object() {
        let bytes = encoded(&[object(&[(&"n".repeat(70_000), text("x"))]), Amf0Value::Null]);
        let expected = vec![object(&[(&"n".repeat(65_535), text("x"))]), Amf0Value::Null];
        assert_eq!(decode_all(&bytes), Ok(expected));
    }

    #[test]
    fn f07_unusual_values_of_a_connect_object_are_understood() {
        let property = |name: &str, value: &[u8]| {
            [&(name.len() as u16).to_be_bytes()[..], name.as_bytes(), value].concat()
        };
        let date = [&[marker::DATE][..], &1e12_f64.to_be_bytes(), &[0, 60]].concat();
        let long = [&[marker::LONG_STRING, 0, 0, 0, 2][..], b"hi"].concat();
        let typed = [&[marker::TYPED_OBJECT, 0, 3][..], b"Cls", &property("k", &[5]), &[0, 0, 9]].concat();
        let bytes = [
            vec![marker::OBJECT],
            property("date", &date),
            property("long", &long),
            property("xml", &[&[marker::XML, 0, 0, 0, 4][..], b"<a/>"].concat()),
            property("typed", &typed),
            property("ref", &[marker::REFERENCE, 0, 1]),
            property("unsupported", &[marker::UNSUPPORTED]),
            property("latin1", &[marker::STRING, 0, 1, 0xE9]),
            property("", &[marker::NULL]),
            vec![0, 0, 9],
        ];
        let expected = object(&[
            ("date", Amf0Value::Number(1e12)),
            ("long", text("hi")),
            ("xml", text("<a/>")),
            ("typed", object(&[("k", Amf0Value::Null)])),
            ("ref", Amf0Value::Null),
            ("unsupported", Amf0Value::Undefined),
            ("latin1", text("\u{FFFD}")),
            ("", Amf0Value::Null),
        ]);
        assert_eq!(decode_all(&bytes.concat()), Ok(vec![expected]));
    }

    #[test]
    fn f07_ecma_array_may_miss_its_end_marker_and_an_object_may_not() {
        let properties = [&[0, 1][..], b"k", &[marker::NULL]].concat();
        let ecma = [&[marker::ECMA_ARRAY, 0xFF, 0xFF, 0xFF, 0xFF][..], &properties].concat();
        let expected = object(&[("k", Amf0Value::Null)]);
        assert_eq!(decode_all(&ecma), Ok(vec![expected.clone()]));
        assert_eq!(decode_all(&[&ecma[..], &[0, 0, 9]].concat()), Ok(vec![expected]));
        assert_eq!(decode_all(&[&[marker::OBJECT][..], &properties].concat()), Err(Amf0Error::Truncated(0)));
    }

    #[test]
    fn values_in_amf3_are_read_over_and_so_is_what_follows() {
        for (what, value) in amf3::tests::SAMPLES {
            let bytes = [&encoded(&[text("x")])[..], &[marker::AMF3], value, &encoded(&[text("y")])].concat();
            let values = decode_all(&bytes).unwrap();
            assert_eq!((values.len(), &values[0], &values[2]), (3, &text("x"), &text("y")), "{what}");
        }
    }

    #[test]
    fn what_can_be_read_before_a_broken_value_is_kept_also_in_objects() {
        let whole = encoded(&[text("connect"), Amf0Value::Number(1.0)]);
        let object = [&[marker::OBJECT, 0, 3][..], b"app", &encoded(&[text("live")]), &[0, 1], b"x"].concat();
        let expected =
            vec![text("connect"), Amf0Value::Number(1.0), super::tests::object(&[("app", text("live"))])];
        for broken in [&[0xEE][..], &[2, 0, 9], &[marker::AMF3, 0x0a], &[marker::STRICT_ARRAY, 0, 0]] {
            let (values, error) = decode_readable(&[&whole[..], &object, broken].concat());
            assert!(error.is_some());
            assert_eq!(values, expected, "{broken:?}");
        }
        assert_eq!(decode_readable(&whole), (expected[..2].to_vec(), None));
    }

    #[test]
    fn f07_every_cut_is_an_error_or_ends_between_two_values() {
        let bytes = encoded(&sample());
        let mut ends = vec![0];
        while *ends.last().unwrap() < bytes.len() {
            let at = *ends.last().unwrap();
            ends.push(at + decode_one(&bytes[at..]).unwrap().1);
        }
        for cut in 0..bytes.len() {
            let last_end = *ends.iter().rfind(|&&end| end <= cut).unwrap();
            match decode_all(&bytes[..cut]) {
                Ok(values) => assert_eq!((values.len(), cut), (ends.binary_search(&cut).unwrap(), last_end)),
                Err(Amf0Error::Truncated(at)) => assert!(last_end <= at && at <= cut, "cut at {cut}: {at}"),
                Err(other) => panic!("cut at {cut}: {other:?}"),
            }
        }
    }

    #[test]
    fn f07_huge_counts_and_lengths_are_cut_off() {
        for bytes in [
            &[marker::STRICT_ARRAY, 0xFF, 0xFF, 0xFF, 0xFF][..],
            &[marker::LONG_STRING, 0xFF, 0xFF, 0xFF, 0xFF, b'x'],
            &[marker::STRING, 0xFF, 0xFF, b'x'],
            &[marker::OBJECT, 0xFF, 0xFF, b'x'],
        ] {
            assert!(matches!(decode_all(bytes), Err(Amf0Error::Truncated(_))), "{bytes:?}");
        }
        let flood = [&[marker::STRICT_ARRAY, 0xFF, 0xFF, 0xFF, 0xFF][..], &[marker::NULL; 100_000]].concat();
        assert_eq!(decode_all(&flood), Err(Amf0Error::Budget(5 + 4095)));
        assert_eq!(decode_all(&[marker::NULL; 4096]).map(|values| values.len()), Ok(4096));
        assert_eq!(decode_all(&[marker::NULL; 4097]), Err(Amf0Error::Budget(4096)));
    }

    #[test]
    fn f07_unknown_markers_are_named() {
        for marker in [4, 9, 14, 18, 255] {
            assert_eq!(decode_all(&[5, marker]), Err(Amf0Error::Marker(1, marker)));
        }
    }

    /// `depth` containers inside each other, opened by `open`.
    fn nested(open: &[u8], depth: usize) -> Vec<u8> {
        [open.repeat(depth), vec![marker::NULL]].concat()
    }

    #[test]
    fn f06_deep_nesting_is_refused_on_a_small_stack() {
        let openers: [&[u8]; 4] = [
            &[marker::OBJECT, 0, 1, b'a'],
            &[marker::ECMA_ARRAY, 0, 0, 0, 1, 0, 1, b'a'],
            &[marker::STRICT_ARRAY, 0, 0, 0, 1],
            &[marker::TYPED_OBJECT, 0, 0, 0, 1, b'a'],
        ];
        let run = move || {
            for open in openers {
                for depth in [33, 10_000, 3_000_000] {
                    assert_eq!(decode_all(&nested(open, depth)), Err(Amf0Error::Budget(32 * open.len())));
                }
            }
            assert!(decode_all(&nested(openers[2], 32)).is_ok());
            assert!(decode_all(&nested(openers[1], 1)).is_ok());
        };
        std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap().join().unwrap();
    }
}
