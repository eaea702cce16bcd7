//! Reads a value in AMF3: what AMF0 has as well becomes that, all else is stepped over.
//!
//! Section numbers are those of Adobe's *AMF 3 Specification*.

use super::Amf0Value;
use std::collections::HashMap;

bound! {
    /// Deepest nesting that is followed
    /// (test `depth_and_number_of_values_are_bounded_and_classes_that_write_themselves_are_broken`).
    const MAX_DEPTH: usize = 32, without 1_000;
    /// Longest text, in bytes, that is taken where it is only named by its number, and longest name of a member: a few bytes
    /// on the wire are not to become many kilobytes each
    /// (test `f07_few_bytes_do_not_become_much_memory_by_naming_a_long_text_often`).
    const MAX_REPEATED: usize = 256, without usize::MAX;
}

/// The AMF3 value that `bytes` start with, and what follows it; none where it is broken, deeper than 32 levels, or has more
/// than `values_left` values in it. A class that writes itself (`IExternalizable`) has no form that others know: it is broken.
///
/// Texts, XML, numbers, dates, truth values, arrays and objects become what AMF0 has for them; byte arrays, vectors,
/// dictionaries and what is named by its number but is no text are undefined.
pub(super) fn read<'a>(bytes: &'a [u8], values_left: &mut usize) -> Option<(Amf0Value, &'a [u8])> {
    let mut reader = Reader { rest: bytes, values_left, texts: Vec::new(), traits: Vec::new() };
    let value = reader.value(0)?;
    Some((value, reader.rest))
}

/// The members of a class that have a place of their own, by name, and whether there may be others.
#[derive(Clone)]
struct Traits<'a> {
    sealed: Vec<&'a [u8]>,
    dynamic: bool,
}

struct Reader<'a, 'b> {
    rest: &'a [u8],
    values_left: &'b mut usize,
    /// Those sent so far, which later ones are named after by their number (1.3.2).
    texts: Vec<&'a [u8]>,
    traits: Vec<Traits<'a>>,
}

impl<'a> Reader<'a, '_> {
    fn value(&mut self, depth: usize) -> Option<Amf0Value> {
        *self.values_left = self.values_left.checked_sub(1)?;
        let depth = depth.checked_add(1).filter(|&depth| depth <= MAX_DEPTH.get())?;
        Some(match self.byte()? {
            // 3.2 to 3.5
            0x00 => Amf0Value::Undefined,
            0x01 => Amf0Value::Null,
            0x02 => Amf0Value::Boolean(false),
            0x03 => Amf0Value::Boolean(true),
            0x04 => Amf0Value::Number(f64::from(signed(self.u29()?))),
            0x05 => Amf0Value::Number(self.double()?),
            0x06 => Amf0Value::Utf8String(lossy(self.text()?)),
            // XML (3.9, 3.13); a number names an object, not a text.
            0x07 | 0x0B => match self.own()? {
                Some(len) => Amf0Value::Utf8String(lossy(self.bytes(len)?)),
                None => Amf0Value::Undefined,
            },
            0x08 => match self.own()? {
                Some(_) => Amf0Value::Number(self.double()?),
                None => Amf0Value::Undefined,
            },
            0x09 => self.array(depth)?,
            0x0A => self.object(depth)?,
            0x0C => self.byte_array()?,
            0x0D | 0x0E => self.vector(4)?,
            0x0F => self.vector(8)?,
            0x10 => self.object_vector(depth)?,
            0x11 => self.dictionary(depth)?,
            _ => return None,
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    fn double(&mut self) -> Option<f64> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(f64::from_be_bytes(*bytes))
    }

    /// A number of 29 bits in one to four bytes (1.3.1).
    fn u29(&mut self) -> Option<usize> {
        let mut number = 0;
        for _ in 0..3 {
            let byte = self.byte()?;
            number = number << 7 | usize::from(byte & 0x7F);
            if byte < 0x80 {
                return Some(number);
            }
        }
        Some(number << 8 | usize::from(self.byte()?))
    }

    /// The length or count of something that is sent here; none where it was sent before and is named by its number.
    fn own(&mut self) -> Option<Option<usize>> {
        let number = self.u29()?;
        Some((number & 1 == 1).then_some(number >> 1))
    }

    /// A text, or the name of something (1.3.2); the empty one is never named by a number. One that is, but is too long or
    /// unknown, is a mark of its own, as it ends no list of members.
    fn text(&mut self) -> Option<&'a [u8]> {
        let number = self.u29()?;
        if number & 1 == 0 {
            let sent = self.texts.get(number >> 1).copied();
            return Some(sent.filter(|text| text.len() <= MAX_REPEATED.get()).unwrap_or(b"?"));
        }
        let text = self.bytes(number >> 1)?;
        if !text.is_empty() {
            self.texts.push(text);
        }
        Some(text)
    }

    /// Names with values, up to the empty name.
    fn members(&mut self, depth: usize, into: &mut HashMap<String, Amf0Value>) -> Option<()> {
        loop {
            let name = self.text()?;
            if name.is_empty() {
                return Some(());
            }
            let value = self.value(depth)?;
            into.insert(member(name), value);
        }
    }

    fn values(&mut self, count: usize, depth: usize) -> Option<Vec<Amf0Value>> {
        (0..count).map(|_| self.value(depth)).collect()
    }

    /// One with names is an object: AMF0 has no array with both, and the names are what is looked for.
    fn array(&mut self, depth: usize) -> Option<Amf0Value> {
        let Some(count) = self.own()? else { return Some(Amf0Value::Undefined) };
        let mut named = HashMap::new();
        self.members(depth, &mut named)?;
        let values = self.values(count, depth)?;
        Some(if named.is_empty() { Amf0Value::StrictArray(values) } else { Amf0Value::Object(named) })
    }

    fn object(&mut self, depth: usize) -> Option<Amf0Value> {
        let Some(number) = self.own()? else { return Some(Amf0Value::Undefined) };
        let traits = match number & 1 {
            0 => self.traits.get(number >> 1)?.clone(),
            _ => self.class(number >> 1)?,
        };
        let mut members = HashMap::new();
        for name in traits.sealed {
            let value = self.value(depth)?;
            members.insert(member(name), value);
        }
        if traits.dynamic {
            self.members(depth, &mut members)?;
        }
        Some(Amf0Value::Object(members))
    }

    /// A class (3.12): what is left of its number says whether it writes itself, is dynamic, and how many members it has.
    fn class(&mut self, number: usize) -> Option<Traits<'a>> {
        if number & 1 == 1 {
            return None;
        }
        self.text()?;
        let mut sealed = Vec::new();
        for _ in 0..number >> 2 {
            *self.values_left = self.values_left.checked_sub(1)?;
            sealed.push(self.text()?);
        }
        let traits = Traits { sealed, dynamic: number & 2 == 2 };
        self.traits.push(traits.clone());
        Some(traits)
    }

    fn byte_array(&mut self) -> Option<Amf0Value> {
        let len = self.own()?.unwrap_or(0);
        self.bytes(len).map(|_| Amf0Value::Undefined)
    }

    fn vector(&mut self, each: usize) -> Option<Amf0Value> {
        if let Some(count) = self.own()? {
            self.byte()?;
            self.bytes(count.checked_mul(each)?)?;
        }
        Some(Amf0Value::Undefined)
    }

    fn object_vector(&mut self, depth: usize) -> Option<Amf0Value> {
        if let Some(count) = self.own()? {
            self.byte()?;
            self.text()?;
            (0..count).try_for_each(|_| self.value(depth).map(drop))?;
        }
        Some(Amf0Value::Undefined)
    }

    fn dictionary(&mut self, depth: usize) -> Option<Amf0Value> {
        if let Some(count) = self.own()? {
            self.byte()?;
            (0..count.checked_mul(2)?).try_for_each(|_| self.value(depth).map(drop))?;
        }
        Some(Amf0Value::Undefined)
    }
}

/// A number of 29 bits with its sign (3.6).
fn signed(number: usize) -> i32 {
    let number = i32::try_from(number & 0x1FFF_FFFF).unwrap_or_default();
    (number << 3) >> 3
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn member(name: &[u8]) -> String {
    lossy(name.get(..MAX_REPEATED.get()).unwrap_or(name))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Values of every type.
    pub(in super::super) const SAMPLES: [(&str, &[u8]); 20] = [
        ("undefined", b"\x00"),
        ("null", b"\x01"),
        ("false", b"\x02"),
        ("true", b"\x03"),
        ("integer of one byte", b"\x04\x7f"),
        ("integer of four bytes", b"\x04\xff\xff\xff\xff"),
        ("double", b"\x05\x40\x08\0\0\0\0\0\0"),
        ("string", b"\x06\x07abc"),
        ("string sent before", b"\x06\x02"),
        ("xml document", b"\x07\x07<a>"),
        ("date", b"\x08\x01\x42\x76\x8f\x0f\x32\x60\0\0"),
        ("array with names and places", b"\x09\x05\x03k\x04\x01\x01\x06\x03a\x04\x02"),
        ("dynamic object", b"\x0a\x0b\x01\x03k\x06\x03v\x01"),
        ("object of a class, twice", b"\x09\x05\x01\x0a\x23\x07Cls\x03a\x03b\x01\x04\x01\x0a\x01\x02\x03"),
        ("object sent before", b"\x0a\x00"),
        ("byte array", b"\x0c\x07\0\x01\x02"),
        ("vector of numbers", b"\x0d\x05\0\0\0\0\x01\0\0\0\x02"),
        ("vector of doubles", b"\x0f\x03\0\0\0\0\0\0\0\0\0"),
        ("vector of objects", b"\x10\x05\0\x01\x04\x01\x06\x03x"),
        ("dictionary", b"\x11\x03\0\x06\x03k\x04\x01"),
    ];

    /// How many bytes are left behind the value.
    fn rest(bytes: &[u8], mut values_left: usize) -> Option<usize> {
        read(bytes, &mut values_left).map(|(_, rest)| rest.len())
    }

    fn text(text: &str) -> Amf0Value {
        Amf0Value::Utf8String(text.to_owned())
    }

    #[test]
    fn what_amf0_has_too_is_read_also_where_a_number_names_what_was_sent_before() {
        let object = |members: &[(&str, Amf0Value)]| {
            Amf0Value::Object(
                members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            )
        };
        for (bytes, expected) in [
            (&b"\x03"[..], Amf0Value::Boolean(true)),
            (b"\x04\x7f", Amf0Value::Number(127.0)),
            (b"\x04\xff\xff\xff\xff", Amf0Value::Number(-1.0)),
            (b"\x04\x87\xff\xff\xff", Amf0Value::Number(33_554_431.0)),
            (b"\x05\x40\x08\0\0\0\0\0\0", Amf0Value::Number(3.0)),
            (b"\x06\x07abc", text("abc")),
            (b"\x07\x07<a>", text("<a>")),
            (b"\x09\x05\x01\x06\x03a\x06\x00", Amf0Value::StrictArray(vec![text("a"), text("a")])),
            (b"\x09\x01\x03k\x04\x01\x01", object(&[("k", Amf0Value::Number(1.0))])),
            (
                b"\x0a\x0b\x01\x07app\x06\x09live\x03n\x06\x02\x01",
                object(&[("app", text("live")), ("n", text("live"))]),
            ),
            (b"\x0a\x13\x01\x03k\x06\x03v", object(&[("k", text("v"))])),
        ] {
            assert_eq!(read(bytes, &mut 100), Some((expected, &[][..])), "{bytes:?}");
        }
    }

    #[test]
    fn f07_few_bytes_do_not_become_much_memory_by_naming_a_long_text_often() {
        // A text of 8 KiB, then named 3,000 times.
        let long =
            [&b"\x09\xae\x71\x01\x06\x81\x80\x01"[..], &[b'x'; 8192], &b"\x06\x00".repeat(2999)].concat();
        let Some((Amf0Value::StrictArray(values), _)) = read(&long, &mut 4096) else { panic!() };
        let memory: usize =
            values.iter().map(|value| value.clone().get_string().map_or(0, |text| text.len())).sum();
        assert!(values.len() > 2900 && memory < 16 * 1024, "{} values, {memory} bytes", values.len());
    }

    #[test]
    fn a_value_is_stepped_over_to_its_last_byte_and_no_cut_of_it_is_one() {
        for (what, value) in SAMPLES {
            assert_eq!(rest(&[value, b"rest"].concat(), 100), Some(4), "{what}");
            for cut in 0..value.len() {
                assert_eq!(rest(&value[..cut], 100), None, "{what} cut at {cut}");
            }
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded_and_classes_that_write_themselves_are_broken() {
        let deep = [b"\x09\x03\x01".repeat(31), vec![1]].concat();
        assert_eq!(rest(&deep, 100), Some(0));
        assert_eq!(rest(&[b"\x09\x03\x01".repeat(32), vec![1]].concat(), 100), None);
        assert_eq!(rest(&deep, 31), None);
        assert_eq!(rest(b"\x09\xff\xff\xff\xff\x01", 4096), None);
        assert_eq!(rest(b"\x0a\x07\x07Cls", 100), None);
        assert_eq!(rest(b"\x0a\x05", 100), None, "a class that was not sent");
    }
}
