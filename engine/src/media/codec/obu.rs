//! AV1 open bitstream units (OBUs), 5.3.

use super::super::flv::Cursor;

/// `obu_type` of a sequence header.
pub(in crate::media) const SEQUENCE_HEADER: u8 = 1;
/// `obu_type` of a frame header.
pub(in crate::media) const FRAME_HEADER: u8 = 3;
/// `obu_type` of a frame with its header.
pub(in crate::media) const FRAME: u8 = 6;

/// An open bitstream unit, AV1 5.3.
pub(in crate::media) struct Obu<'a> {
    pub(in crate::media) kind: u8,
    pub(in crate::media) payload: &'a [u8],
}

/// Iterator over OBUs; ends early where one is malformed.
pub(in crate::media) struct Obus<'a>(Cursor<'a>);

impl<'a> Iterator for Obus<'a> {
    type Item = Obu<'a>;

    fn next(&mut self) -> Option<Obu<'a>> {
        let header = self.0.u8()?;
        if header & 4 != 0 {
            self.0.u8()?;
        }
        let payload = if header & 2 == 0 {
            self.0.rest()
        } else {
            let size = leb128(&mut self.0)?;
            self.0.take(size)?
        };
        Some(Obu { kind: (header >> 3) & 0x0f, payload })
    }
}

fn leb128(cursor: &mut Cursor<'_>) -> Option<usize> {
    let mut value = 0_u64;
    for shift in [0_u32, 7, 14, 21, 28] {
        let byte = cursor.u8()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

/// The OBUs of a temporal unit or of what follows the header of a record.
pub(in crate::media) fn obus(unit: &[u8]) -> Obus<'_> {
    Obus(Cursor::new(unit))
}
