//! Configuration records of codecs without NAL units, in the form that Enhanced RTMP wants, from the forms
//! that callers have.

use super::{adts, obu};
use crate::media::codec::{audio_config, bare_vpx_record};
use crate::media::flv::{Codec, Cursor};
use bytes::{BufMut, Bytes, BytesMut};

/// What Opus decoders assume without a header (RFC 7845 5.1): version 1, stereo, no pre-skip, 48 kHz, no gain,
/// channel mapping 0.
pub(super) const OPUS_STEREO: &[u8] = b"OpusHead\x01\x02\x00\x00\x80\xbb\x00\x00\x00\x00\x00";

/// The record that `extradata` means. An error says what would do.
pub(super) fn record(codec: Codec, extradata: &[u8]) -> Result<Bytes, &'static str> {
    let copy = Bytes::copy_from_slice;
    match codec {
        Codec::Aac => aac(extradata).ok_or("not an AudioSpecificConfig"),
        Codec::Av1 if is_av1c(extradata) => Ok(copy(extradata)),
        Codec::Av1 => obu::record(extradata).ok_or("not an av1C record"),
        Codec::Vp8 | Codec::Vp9 => bare_vpx_record(extradata).map(copy).ok_or("not a vpcC record"),
        Codec::Opus => opus(extradata).ok_or("neither OpusHead nor the content of dOps"),
        Codec::Flac => flac(extradata).ok_or("no STREAMINFO"),
        _ => Ok(copy(extradata)),
    }
}

/// Whether frames of the codec mean nothing without a record.
pub(crate) fn is_needed(codec: Codec) -> bool {
    !matches!(codec, Codec::Mp3 | Codec::Ac3 | Codec::Eac3 | Codec::G711a | Codec::G711u)
}

fn aac(extradata: &[u8]) -> Option<Bytes> {
    if let Some(config) = adts::first_config(extradata) {
        return config.record().map(|record| Bytes::copy_from_slice(&record));
    }
    audio_config(Codec::Aac, extradata).map(|_| Bytes::copy_from_slice(extradata))
}

/// Marker and version 1.
fn is_av1c(extradata: &[u8]) -> bool {
    extradata.len() >= 4 && extradata.first() == Some(&0x81)
}

/// `OpusHead` has little-endian numbers and its name before them, `dOps` neither.
fn opus(extradata: &[u8]) -> Option<Bytes> {
    const HEAD: &[u8] = b"OpusHead";
    if extradata.starts_with(HEAD) {
        return (extradata.len() >= OPUS_STEREO.len()).then(|| Bytes::copy_from_slice(extradata));
    }
    let mut cursor = Cursor::new(extradata);
    let version = cursor.u8()?;
    let channels = cursor.u8()?;
    let (pre_skip, rate, gain) = (cursor.u16()?, cursor.u32()?, cursor.u16()?);
    let mapping = cursor.rest();
    if version != 0 || channels == 0 || mapping.is_empty() {
        return None;
    }
    let mut out = BytesMut::from(HEAD);
    out.put_slice(&[1, channels]);
    out.put_u16_le(pre_skip);
    out.put_u32_le(rate);
    out.put_u16_le(gain);
    out.put_slice(mapping);
    Some(out.freeze())
}

/// `fLaC` and STREAMINFO as metadata blocks (RFC 9639 8.1).
fn flac(extradata: &[u8]) -> Option<Bytes> {
    const MARKER: &[u8] = b"fLaC";
    const STREAM_INFO_LEN: usize = 34;
    // The only block, so the last one; type 0; its length.
    const STREAM_INFO: [u8; 4] = [0x80, 0, 0, 34];
    let mut out = BytesMut::from(MARKER);
    if extradata.len() == STREAM_INFO_LEN {
        out.put_slice(&STREAM_INFO);
        out.put_slice(extradata);
    } else if let Some(blocks) = extradata.strip_prefix(MARKER) {
        out.put_slice(blocks);
    } else {
        // The box `dfLa` starts with version and flags.
        out.put_slice(extradata.strip_prefix(&[0; 4])?);
    }
    let is_stream_info = out.get(4).is_some_and(|kind| kind & 0x7f == 0);
    (is_stream_info && audio_config(Codec::Flac, &out).is_some()).then(|| out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opus_heads_are_kept_and_dops_become_them() {
        assert_eq!(record(Codec::Opus, OPUS_STEREO).unwrap(), OPUS_STEREO);
        let dops = b"\x00\x02\x01\x38\x00\x00\xbb\x80\x00\x00\x00";
        let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00";
        assert_eq!(record(Codec::Opus, dops).unwrap(), &head[..]);
        for bad in [&dops[..10], &head[..18], b"", b"\x01\x02\x01\x38\x00\x00\xbb\x80\x00\x00\x00"] {
            assert!(record(Codec::Opus, bad).is_err());
        }
    }

    #[test]
    fn flac_gets_its_marker_and_block_header() {
        let info = [&b"\x12\x00\x12\x00\0\0\0\0\0\0\x0b\xb8\x02\xf0"[..], &[0; 20]].concat();
        let whole = [b"fLaC\x80\0\0\x22", &info[..]].concat();
        for form in [&info[..], &whole, &[b"\0\0\0\0", &whole[4..]].concat()] {
            assert_eq!(record(Codec::Flac, form).unwrap(), whole);
        }
        for bad in [&info[..33], b"", b"fLaC", b"fLaC\x84\0\0\x22"] {
            assert!(record(Codec::Flac, bad).is_err());
        }
    }

    #[test]
    fn aac_and_av1_come_as_record_or_as_the_start_of_a_stream() {
        assert_eq!(
            record(Codec::Aac, &[0x11, 0x88, 0x56, 0xe5, 0]).unwrap(),
            &[0x11, 0x88, 0x56, 0xe5, 0][..]
        );
        assert_eq!(record(Codec::Aac, b"\xff\xf1\x50\x80\x01\x1f\xfc").unwrap(), &[0x12, 0x10][..]);
        assert!(record(Codec::Aac, &[0x16]).is_err());
        let av1c = b"\x81\x04\x0c\x00\x0a\x0b\x00\x00\x00\x24\xcf\x7f\x0d\xbf\xff\x30\x08";
        assert_eq!(record(Codec::Av1, av1c).unwrap(), &av1c[..]);
        assert_eq!(record(Codec::Av1, &av1c[4..]).unwrap(), &av1c[..]);
        assert!(record(Codec::Av1, b"\x01\x04\x0c").is_err());
    }
}
