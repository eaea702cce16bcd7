//! `onMetaData`: made from a list of fields, and edited in place, where fields are read and removed without
//! decoding and encoding the rest.

use super::flv::{Cursor, ON_METADATA};
use super::{Frame, FrameKind};
use crate::amf0::{self, Amf0Value};
use bytes::{BufMut, Bytes, BytesMut};

/// Fields that describe a file as a whole and are wrong for a live stream made from it.
const FILE_FIELDS: [&[u8]; 12] = [
    b"duration",
    b"totalduration",
    b"filesize",
    b"datasize",
    b"videosize",
    b"audiosize",
    b"keyframes",
    b"hasKeyframes",
    b"canSeekToEnd",
    b"lasttimestamp",
    b"lastkeyframetimestamp",
    b"lastkeyframelocation",
];

bound! {
    /// Deepest nesting that is followed; deeper metadata is left as it is
    /// (test `metadata_nested_too_deep_to_follow_is_left_as_it_is`).
    const MAX_DEPTH: u32 = 32, without 1_000;
}

/// AMF0 markers.
const OBJECT: u8 = 3;
const ECMA_ARRAY: u8 = 8;
const OBJECT_END: u8 = 9;

/// A value of `onMetaData`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A number: `width`, `framerate`, `videodatarate` (kbit/s), `videocodecid`.
    Number(f64),
    /// A yes or no: `stereo`.
    Boolean(bool),
    /// A text: `encoder`, `title`.
    Text(&'a str),
}

/// Whether `onMetaData` says that there is video.
pub(crate) fn announces_video(payload: &[u8]) -> bool {
    const FIELD: &[u8] = b"\0\x0cvideocodecid";
    // A number of 0 is no codec, and neither is a text without characters.
    let is_field = |rest: &[u8]| {
        rest.strip_prefix(FIELD).is_some_and(|value| value.iter().take(5).any(|byte| !matches!(byte, 0 | 2)))
    };
    (0..payload.len()).filter_map(|at| payload.get(at..)).any(is_field)
}

/// An `onMetaData` frame at `timestamp` (milliseconds) with `fields` in their order, as an ECMA array like
/// encoders send it. Names are cut at 65,535 bytes.
pub fn on_metadata(timestamp: i64, fields: &[(&str, Value<'_>)]) -> Frame {
    let mut out = BytesMut::from(ON_METADATA);
    out.put_u8(ECMA_ARRAY);
    out.put_u32(u32::try_from(fields.len()).unwrap_or(u32::MAX));
    for (name, value) in fields {
        let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        out.put_u16(len);
        out.put_slice(name.as_bytes().get(..usize::from(len)).unwrap_or_default());
        let value = match *value {
            Value::Number(number) => Amf0Value::Number(number),
            Value::Boolean(boolean) => Amf0Value::Boolean(boolean),
            Value::Text(text) => Amf0Value::Utf8String(text.to_owned()),
        };
        amf0::encode(&[value], &mut out);
    }
    out.put_slice(&[0, 0, OBJECT_END]);
    Frame::new(FrameKind::Data, timestamp, out.freeze())
}

/// An `onMetaData` payload without the fields that only a file has (`duration`, `filesize`, `keyframes`, ...).
///
/// All other bytes stay as they are and in order, unknown fields and values after the object included. A
/// payload that is malformed or has none of the fields is returned as it is.
pub fn without_file_fields(payload: &Bytes) -> Bytes {
    without(payload, &FILE_FIELDS)
}

/// [`without_file_fields`] for any fields.
pub(crate) fn without(payload: &Bytes, fields: &[&[u8]]) -> Bytes {
    match Properties::of(payload) {
        Some(properties) => remove(payload, &properties, fields).unwrap_or_else(|| payload.clone()),
        None => payload.clone(),
    }
}

/// An `onMetaData` payload for the beginning of a file: without what describes other files, and with `duration` and `filesize`, which
/// are 0 until [`number_at`] tells where they are to be written.
pub(crate) fn with_file_fields(payload: Option<&Bytes>) -> Bytes {
    let zero = Value::Number(0.0);
    let own = on_metadata(0, &[("duration", zero), ("filesize", zero)]).payload;
    let described = payload.map(without_file_fields).and_then(|payload| with_fields_of(&own, &payload));
    described.unwrap_or(own)
}

/// One payload with the fields of another behind its own.
fn with_fields_of(own: &[u8], payload: &[u8]) -> Option<Bytes> {
    let (mine, theirs) = (Properties::of(own)?, Properties::of(payload)?);
    let (begins, ends) = (theirs.list.first()?.start, theirs.list.last()?.end);
    let count = u32::try_from(mine.list.len().checked_add(theirs.list.len())?).ok()?;
    let count_at = mine.count_at?;
    let mut out = BytesMut::with_capacity(own.len().checked_add(payload.len())?);
    out.put_slice(own.get(..count_at)?);
    out.put_u32(count);
    out.put_slice(own.get(count_at.checked_add(4)?..mine.list.last()?.end)?);
    out.put_slice(payload.get(begins..ends)?);
    out.put_slice(&[0, 0, OBJECT_END]);
    Some(out.freeze())
}

/// Where the eight bytes of a number are in `onMetaData`, from its beginning.
pub(crate) fn number_at(payload: &[u8], field: &str) -> Option<usize> {
    let mut value = value_of(payload, field)?;
    (value.u8()? == 0).then_some(value.position)
}

/// A number of `onMetaData`, such as `framerate`. `None` where it is missing or no finite number.
pub fn number(payload: &[u8], field: &str) -> Option<f64> {
    let mut value = value_of(payload, field)?;
    let number = (value.u8()? == 0).then(|| value.f64()).flatten()?;
    number.is_finite().then_some(number)
}

/// A text of `onMetaData`, such as `encoder`. `None` where it is missing, no text or not UTF-8.
pub fn text<'a>(payload: &'a [u8], field: &str) -> Option<&'a str> {
    let mut value = value_of(payload, field)?;
    let length = match value.u8()? {
        2 => usize::from(value.u16()?),
        12 => usize::try_from(value.u32()?).ok()?,
        _ => return None,
    };
    std::str::from_utf8(value.take(length)?).ok()
}

/// Where the value of a field starts, its marker first.
fn value_of<'a>(payload: &'a [u8], field: &str) -> Option<Cursor<'a>> {
    let properties = Properties::of(payload)?;
    let property = properties.list.iter().find(|property| property.name == field.as_bytes())?;
    Some(Cursor::at(payload, property.value))
}

fn remove(payload: &Bytes, properties: &Properties<'_>, fields: &[&[u8]]) -> Option<Bytes> {
    let doomed: Vec<_> = properties.list.iter().filter(|property| fields.contains(&property.name)).collect();
    if doomed.is_empty() {
        return None;
    }
    let mut out = BytesMut::with_capacity(payload.len());
    let mut kept = 0;
    if let Some(at) = properties.count_at {
        let count = Cursor::at(payload, at).u32()?;
        let removed = u32::try_from(doomed.len()).ok()?;
        out.put_slice(payload.get(..at)?);
        out.put_u32(count.saturating_sub(removed));
        kept = at.checked_add(4)?;
    }
    for property in doomed {
        out.put_slice(payload.get(kept..property.start)?);
        kept = property.end;
    }
    out.put_slice(payload.get(kept..)?);
    Some(out.freeze())
}

/// One name and value; offsets into the payload.
struct Property<'a> {
    name: &'a [u8],
    start: usize,
    value: usize,
    end: usize,
}

/// The top level of the metadata object.
struct Properties<'a> {
    /// Where the ECMA array's count stands; a plain object has none.
    count_at: Option<usize>,
    list: Vec<Property<'a>>,
}

impl<'a> Properties<'a> {
    fn of(payload: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor::new(payload);
        skip_value(&mut cursor, MAX_DEPTH.get())?;
        let count_at = match cursor.u8()? {
            OBJECT => None,
            ECMA_ARRAY => {
                let at = cursor.position;
                cursor.u32()?;
                Some(at)
            }
            _ => return None,
        };
        let mut list = Vec::new();
        while let Some(property) = next_property(&mut cursor, MAX_DEPTH.get())? {
            list.push(property);
        }
        Some(Self { count_at, list })
    }
}

/// The next name and value of an object; the inner `None` is its end marker.
fn next_property<'a>(cursor: &mut Cursor<'a>, depth: u32) -> Option<Option<Property<'a>>> {
    let start = cursor.position;
    let length = usize::from(cursor.u16()?);
    let name = cursor.take(length)?;
    let value = cursor.position;
    let marker = cursor.u8()?;
    if name.is_empty() && marker == OBJECT_END {
        return Some(None);
    }
    cursor.position = value;
    skip_value(cursor, depth.checked_sub(1)?)?;
    Some(Some(Property { name, start, value, end: cursor.position }))
}

fn skip_value(cursor: &mut Cursor<'_>, depth: u32) -> Option<()> {
    let skip = match cursor.u8()? {
        0 => 8,
        1 => 1,
        2 => usize::from(cursor.u16()?),
        5 | 6 | 13 => 0,
        7 => 2,
        11 => 10,
        12 | 15 => usize::try_from(cursor.u32()?).ok()?,
        OBJECT => return skip_object(cursor, depth),
        ECMA_ARRAY => {
            cursor.u32()?;
            return skip_object(cursor, depth);
        }
        10 => return skip_strict_array(cursor, depth),
        16 => {
            let length = usize::from(cursor.u16()?);
            cursor.take(length)?;
            return skip_object(cursor, depth);
        }
        _ => return None,
    };
    cursor.take(skip).map(|_| ())
}

fn skip_object(cursor: &mut Cursor<'_>, depth: u32) -> Option<()> {
    while next_property(cursor, depth)?.is_some() {}
    Some(())
}

fn skip_strict_array(cursor: &mut Cursor<'_>, depth: u32) -> Option<()> {
    let count = cursor.u32()?;
    let depth = depth.checked_sub(1)?;
    // Each value takes at least one byte, so a wrong count ends with the payload.
    for _ in 0..count {
        skip_value(cursor, depth)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"\x02\x00\x0aonMetaData";
    const END: &[u8] = b"\x00\x00\x09";
    const WIDTH: &[u8] = b"\x00\x05width\x00\x40\x84\x00\x00\x00\x00\x00\x00";
    const DURATION: &[u8] = b"\x00\x08duration\x00\x40\x24\x00\x00\x00\x00\x00\x00";
    const KEYFRAMES: &[u8] = b"\x00\x09keyframes\x03\x00\x05times\x0a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09";
    const ODD: &[u8] = b"\x00\x03odd\x11\x01";
    const TEXT: &[u8] = b"\x00\x07encoder\x02\x00\x03abc";

    fn payload(parts: &[&[u8]]) -> Bytes {
        parts.concat().into()
    }

    #[test]
    fn file_fields_go_and_all_else_stays_byte_for_byte() {
        let before = payload(&[NAME, b"\x08\0\0\0\x04", DURATION, WIDTH, KEYFRAMES, TEXT, END, b"tail"]);
        let after = payload(&[NAME, b"\x08\0\0\0\x02", WIDTH, TEXT, END, b"tail"]);
        assert_eq!(without_file_fields(&before), after);
        assert_eq!(without_file_fields(&after), after);
    }

    #[test]
    fn plain_objects_and_wrong_counts_are_edited_too() {
        let object = payload(&[NAME, b"\x03", WIDTH, DURATION, END]);
        assert_eq!(without_file_fields(&object), payload(&[NAME, b"\x03", WIDTH, END]));
        let count = payload(&[NAME, b"\x08\0\0\0\0", DURATION, END]);
        assert_eq!(without_file_fields(&count), payload(&[NAME, b"\x08\0\0\0\0", END]));
    }

    #[test]
    fn malformed_metadata_is_left_alone() {
        let whole = payload(&[NAME, b"\x08\0\0\0\x02", DURATION, WIDTH, END]);
        for end in 0..whole.len() {
            assert_eq!(without_file_fields(&whole.slice(..end)), whole.slice(..end));
        }
        let unknown = payload(&[NAME, b"\x03", DURATION, ODD, END]);
        assert_eq!(without_file_fields(&unknown), unknown);
    }

    #[test]
    fn metadata_nested_too_deep_to_follow_is_left_as_it_is() {
        let nested = |depth| [b"\x00\x01a\x03".repeat(depth), END.repeat(depth)].concat();
        let with = |depth| payload(&[NAME, b"\x03", DURATION, &nested(depth), END]);
        assert_eq!(without_file_fields(&with(20)), payload(&[NAME, b"\x03", &nested(20), END]));
        assert_eq!(without_file_fields(&with(100)), with(100));
    }

    #[test]
    fn deep_nesting_is_bounded() {
        let nested = b"\x00\x01a\x03".repeat(100_000);
        let deep = payload(&[NAME, b"\x03", &nested]);
        assert_eq!(without_file_fields(&deep), deep);
        let arrays = payload(&[NAME, b"\x03\x00\x01a", &b"\x0a\xff\xff\xff\xff".repeat(100_000)]);
        assert_eq!(without_file_fields(&arrays), arrays);
    }

    #[test]
    fn texts_and_numbers_are_read_by_name() {
        let fields = [("encoder", Value::Text("abc")), ("width", Value::Number(640.0))];
        let payload = on_metadata(0, &fields).payload;
        assert_eq!((text(&payload, "encoder"), number(&payload, "width")), (Some("abc"), Some(640.0)));
        assert_eq!(
            (text(&payload, "width"), number(&payload, "encoder"), text(&payload, "x")),
            (None, None, None)
        );
        for end in 0..payload.len() {
            assert_eq!(text(&payload[..end], "encoder"), None, "cut at {end}");
        }
    }

    #[test]
    fn metadata_is_made_from_fields_in_their_order() {
        let fields = [
            ("width", Value::Number(640.0)),
            ("stereo", Value::Boolean(true)),
            ("encoder", Value::Text("abc")),
        ];
        let frame = on_metadata(40, &fields);
        let stereo = b"\x00\x06stereo\x01\x01";
        assert_eq!(frame.payload, payload(&[NAME, b"\x08\0\0\0\x03", WIDTH, stereo, TEXT, END]));
        assert!(frame.is_config() && frame.timestamp == 40);
        assert_eq!(number(&frame.payload, "width"), Some(640.0));
    }

    #[test]
    fn the_metadata_of_a_file_has_places_for_what_its_end_tells() {
        let live = payload(&[NAME, b"\x08\0\0\0\x03", DURATION, WIDTH, TEXT, END]);
        for (before, width) in [(Some(&live), Some(640.0)), (Some(&payload(&[NAME])), None), (None, None)] {
            let file = with_file_fields(before).to_vec();
            assert_eq!(number(&file, "width"), width);
            for field in ["duration", "filesize"] {
                assert_eq!(number(&file, field), Some(0.0));
                let (mut patched, at) = (file.clone(), number_at(&file, field).unwrap());
                patched[at..][..8].copy_from_slice(&7.5_f64.to_be_bytes());
                assert_eq!((number(&patched, field), number(&patched, "width")), (Some(7.5), width));
            }
        }
        let file = with_file_fields(Some(&live));
        assert_eq!(text(&file, "encoder"), Some("abc"));
        assert_eq!(Properties::of(&file).unwrap().list.len(), 4);
        assert_eq!(file[NAME.len()..][..5], *b"\x08\0\0\0\x04");
    }

    #[test]
    fn numbers_are_found_by_name() {
        let data = payload(&[NAME, b"\x08\0\0\0\x02", TEXT, WIDTH, END]);
        assert_eq!(number(&data, "width"), Some(640.0));
        assert_eq!(number(&data, "encoder"), None);
        assert_eq!(number(&data, "height"), None);
    }
}
