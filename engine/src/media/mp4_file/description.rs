//! What the samples of a track are: its sample descriptions (ISO/IEC 14496-12 8.5.2, and QuickTime's).

use crate::media::flv::{Codec, Cursor};
use mp4_atom::{Atom, Esds};

/// Bytes of a description of video before the boxes in it, and of one of sound.
const VISUAL: usize = 78;
const AUDIO: usize = 28;
/// What QuickTime puts behind the latter, by version.
const AUDIO_V1: usize = 16;
const AUDIO_V2: usize = 36;

/// Object types of MPEG-4 descriptors (ISO/IEC 14496-1 7.2.6.6).
const AAC: u8 = 0x40;
const AAC_OF_MPEG_2: [u8; 3] = [0x66, 0x67, 0x68];
const MP3: [u8; 2] = [0x69, 0x6b];
const AC3: u8 = 0xa5;
const EAC3: u8 = 0xa6;

/// One description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Description {
    /// Of samples that have a form in RTMP.
    Carried(Coding),
    /// Of others; what they are, in words.
    Foreign(String),
}

/// How samples are coded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coding {
    pub(super) codec: Codec,
    /// The decoder configuration, where there is one.
    pub(super) record: Option<Vec<u8>>,
    /// Width and height of the picture.
    pub(super) size: Option<(u16, u16)>,
    /// Samples per second and channels of sound.
    pub(super) sound: Option<(u16, u16)>,
}

impl Description {
    /// A description from what is in its box, which is called `kind`; `None` for what is neither video nor sound.
    pub(super) fn parse(kind: [u8; 4], body: &[u8], is_video: bool) -> Option<Self> {
        if is_video { visual(kind, body) } else { audio(kind, body) }
    }
}

fn visual(kind: [u8; 4], body: &[u8]) -> Option<Description> {
    let (codec, record) = match &kind {
        b"avc1" | b"avc2" | b"avc3" | b"avc4" => (Codec::H264, b"avcC"),
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => (Codec::Hevc, b"hvcC"),
        b"av01" => (Codec::Av1, b"av1C"),
        b"vp08" => (Codec::Vp8, b"vpcC"),
        b"vp09" => (Codec::Vp9, b"vpcC"),
        b"vvc1" | b"vvi1" => (Codec::Vvc, b"vvcC"),
        _ => return Some(Description::Foreign(foreign(kind).to_owned())),
    };
    // Width and height stand behind the index of the data reference and 16 bytes more.
    let mut sizes = Cursor::at(body, 24);
    let size = sizes.u16().zip(sizes.u16());
    let record = child(body.get(VISUAL..)?, record).map(|record| match codec {
        // Version and flags of the box.
        Codec::Vvc => record.get(4..).unwrap_or_default().to_vec(),
        _ => record.to_vec(),
    });
    Some(Description::Carried(Coding { codec, record, size, sound: None }))
}

fn audio(kind: [u8; 4], body: &[u8]) -> Option<Description> {
    let mut fields = Cursor::at(body, 8);
    let version = fields.u16()?;
    fields.take(6)?;
    let channels = fields.u16()?;
    fields.take(6)?;
    let sound = Some((fields.u16()?, channels));
    let boxes = body.get(AUDIO.saturating_add(quick_time(version))..).or(body.get(AUDIO..))?;
    let carried = |codec, record: Option<&[u8]>| {
        let record = record.map(<[u8]>::to_vec);
        Some(Description::Carried(Coding { codec, record, size: None, sound }))
    };
    match &kind {
        b"mp4a" => Some(mpeg_4(boxes, sound)),
        b".mp3" => carried(Codec::Mp3, None),
        b"ac-3" => carried(Codec::Ac3, None),
        b"ec-3" => carried(Codec::Eac3, None),
        b"Opus" => carried(Codec::Opus, child(boxes, b"dOps")),
        b"fLaC" => carried(Codec::Flac, child(boxes, b"dfLa")),
        _ => Some(Description::Foreign(foreign(kind).to_owned())),
    }
}

/// Bytes more in a description of sound of QuickTime.
fn quick_time(version: u16) -> usize {
    match version {
        1 => AUDIO_V1,
        2 => AUDIO_V2,
        _ => 0,
    }
}

/// `mp4a`, whose codec its descriptor tells; QuickTime has that in another box.
fn mpeg_4(boxes: &[u8], sound: Option<(u16, u16)>) -> Description {
    let descriptor = child(boxes, b"esds").or_else(|| child(child(boxes, b"wave")?, b"esds"));
    let Some(descriptor) = descriptor else {
        return Description::Foreign("MPEG-4 sound without a descriptor".to_owned());
    };
    let config = match Esds::decode_body(&mut &descriptor[..]) {
        Ok(esds) => esds.es_desc.dec_config,
        Err(error) => {
            return Description::Foreign(format!("MPEG-4 sound whose descriptor is damaged: {error}"));
        }
    };
    let record = config.dec_specific.map(|specific| specific.raw).filter(|record| !record.is_empty());
    let codec = match config.object_type_indication {
        AAC => Codec::Aac,
        kind if AAC_OF_MPEG_2.contains(&kind) => Codec::Aac,
        kind if MP3.contains(&kind) => Codec::Mp3,
        AC3 => Codec::Ac3,
        EAC3 => Codec::Eac3,
        kind => return Description::Foreign(format!("MPEG-4 sound of object type {kind:#04x}")),
    };
    Description::Carried(Coding { codec, record, size: None, sound })
}

/// What is in the first box of this kind among `boxes`.
fn child<'a>(boxes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    let mut cursor = Cursor::new(boxes);
    loop {
        let size = usize::try_from(cursor.u32()?).ok()?;
        let found = cursor.take(4)?;
        let body = cursor.take(size.checked_sub(8)?)?;
        if found == kind {
            return Some(body);
        }
    }
}

/// What is coded so that RTMP has no form for it.
fn foreign(kind: [u8; 4]) -> &'static str {
    match &kind {
        b"encv" | b"enca" | b"drmi" | b"drms" => "encrypted",
        b"sowt" | b"twos" | b"lpcm" | b"ipcm" | b"fpcm" | b"in24" | b"in32" | b"fl32" | b"fl64" | b"raw " => {
            "PCM"
        }
        b"alac" => "ALAC",
        b"alaw" | b"ulaw" => "G.711",
        b"samr" | b"sawb" => "AMR",
        b"apcn" | b"apch" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "ProRes",
        b"mp4v" => "MPEG-4 Part 2",
        b"s263" | b"h263" => "H.263",
        b"jpeg" | b"mjpa" | b"mjpb" => "Motion JPEG",
        b"AVdn" | b"AVdh" => "DNxHD",
        _ => "of an unknown codec",
    }
}
