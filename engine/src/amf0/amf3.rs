//! Steps over a value in AMF3, of which nobody needs what is in it.
//!
//! Section numbers are those of Adobe's *AMF 3 Specification*.

bound! {
    /// Deepest nesting that is followed.
    const MAX_DEPTH: usize = 32, without 1_000;
}

/// What follows the AMF3 value that `bytes` start with; none where it is broken, deeper than 32 levels, or has more than
/// `values_left` values in it. A class that writes itself (`IExternalizable`) has no form that others know: it is broken.
pub(super) fn skip<'a>(bytes: &'a [u8], values_left: &mut usize) -> Option<&'a [u8]> {
    let mut skipper = Skipper { rest: bytes, values_left, traits: Vec::new() };
    skipper.value(0)?;
    Some(skipper.rest)
}

/// The members of a class that have a place of their own, and whether there may be others.
#[derive(Clone, Copy)]
struct Traits {
    sealed: usize,
    dynamic: bool,
}

struct Skipper<'a, 'b> {
    rest: &'a [u8],
    values_left: &'b mut usize,
    /// Those sent so far, which later objects name by their number.
    traits: Vec<Traits>,
}

impl Skipper<'_, '_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        *self.values_left = self.values_left.checked_sub(1)?;
        let depth = depth.checked_add(1).filter(|&depth| depth <= MAX_DEPTH.get())?;
        match self.byte()? {
            // Undefined, null, false, true (3.2 to 3.5).
            0x00..=0x03 => Some(()),
            0x04 => self.u29().map(drop),
            0x05 => self.bytes(8),
            // Texts, XML and byte arrays (3.8, 3.9, 3.13, 3.14).
            0x06 | 0x07 | 0x0B | 0x0C => self.text().map(drop),
            0x08 => match self.own()? {
                Some(_) => self.bytes(8),
                None => Some(()),
            },
            0x09 => self.array(depth),
            0x0A => self.object(depth),
            0x0D | 0x0E => self.vector(4),
            0x0F => self.vector(8),
            0x10 => self.object_vector(depth),
            0x11 => self.dictionary(depth),
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn bytes(&mut self, count: usize) -> Option<()> {
        self.rest = self.rest.get(count..)?;
        Some(())
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

    /// A text; its length, 0 of one that was sent before, which is never the empty one (1.3.2).
    fn text(&mut self) -> Option<Option<usize>> {
        let len = self.own()?;
        self.bytes(len.unwrap_or(0))?;
        Some(len)
    }

    /// Names with values, up to the empty name.
    fn members(&mut self, depth: usize) -> Option<()> {
        while self.text()? != Some(0) {
            self.value(depth)?;
        }
        Some(())
    }

    fn values(&mut self, count: usize, depth: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.value(depth))
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        let Some(count) = self.own()? else { return Some(()) };
        self.members(depth)?;
        self.values(count, depth)
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        let Some(number) = self.own()? else { return Some(()) };
        let traits = match number & 1 {
            0 => *self.traits.get(number >> 1)?,
            _ => self.class(number >> 1)?,
        };
        self.values(traits.sealed, depth)?;
        if traits.dynamic { self.members(depth) } else { Some(()) }
    }

    /// A class (3.12): what is left of its number says whether it writes itself, is dynamic, and how many members it has.
    fn class(&mut self, number: usize) -> Option<Traits> {
        if number & 1 == 1 {
            return None;
        }
        let traits = Traits { dynamic: number & 2 == 2, sealed: number >> 2 };
        self.text()?;
        for _ in 0..traits.sealed {
            *self.values_left = self.values_left.checked_sub(1)?;
            self.text()?;
        }
        self.traits.push(traits);
        Some(traits)
    }

    fn vector(&mut self, each: usize) -> Option<()> {
        let Some(count) = self.own()? else { return Some(()) };
        self.byte()?;
        self.bytes(count.checked_mul(each)?)
    }

    fn object_vector(&mut self, depth: usize) -> Option<()> {
        let Some(count) = self.own()? else { return Some(()) };
        self.byte()?;
        self.text()?;
        self.values(count, depth)
    }

    fn dictionary(&mut self, depth: usize) -> Option<()> {
        let Some(count) = self.own()? else { return Some(()) };
        self.byte()?;
        self.values(count.checked_mul(2)?, depth)
    }
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

    #[test]
    fn a_value_is_stepped_over_to_its_last_byte_and_no_cut_of_it_is_one() {
        for (what, value) in SAMPLES {
            assert_eq!(skip(&[value, b"rest"].concat(), &mut 100), Some(&b"rest"[..]), "{what}");
            for cut in 0..value.len() {
                assert_eq!(skip(&value[..cut], &mut 100), None, "{what} cut at {cut}");
            }
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded_and_classes_that_write_themselves_are_broken() {
        let deep = [b"\x09\x03\x01".repeat(31), vec![1]].concat();
        assert_eq!(skip(&deep, &mut 100), Some(&[][..]));
        assert_eq!(skip(&[b"\x09\x03\x01".repeat(32), vec![1]].concat(), &mut 100), None);
        assert_eq!(skip(&deep, &mut 31), None);
        assert_eq!(skip(b"\x09\xff\xff\xff\xff\x01", &mut 4096), None);
        assert_eq!(skip(b"\x0a\x07\x07Cls", &mut 100), None);
        assert_eq!(skip(b"\x0a\x05", &mut 100), None, "a class that was not sent");
    }
}
