//! Fragmented MP4 (ISO/IEC 14496-12): how a stream begins, and its parts. The one place that knows the crate which writes boxes.

use super::codec::{Bits, audio_config, audio_frame, video_config};
use super::flv::Codec;
use crate::{Error, ErrorKind, Result};
use bytes::{BufMut, Bytes, BytesMut};
use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor};
use mp4_atom::{
    Ac3, Ac3SpecificBox, Atom, Audio, Av01, Av1c, Avc1, Avcc, Dfla, Dinf, Dops, Dref, DrefEntry, Eac3,
    Ec3IndependentSubstream, Ec3SpecificBox, Encode, Esds, FixedPoint, Flac, FourCC, Ftyp, Hdlr, Hvc1, Hvcc,
    Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mp4a, Mvex, Mvhd, Opus, OpusChannelMapping, Smhd, Stbl, Stco, Stsd,
    Tfdt, Tfhd, Tkhd, Traf, Trak, Trex, Trun, TrunEntry, TrunSamples, Url, Visual, Vmhd, Vp09, VpcC,
};

/// `sample_depends_on` = 2: it needs no other (8.8.3.1).
const SYNC: u32 = 0x0200_0000;
/// `sample_depends_on` = 1, and no sync sample.
const NO_SYNC: u32 = 0x0101_0000;
/// Object types of MPEG-4 descriptors (ISO/IEC 14496-1 7.2.6.6): AAC, and MP3.
const AAC: u8 = 0x40;
const MP3: u8 = 0x6b;
/// `streamType` of audio (7.2.6.6.2).
const AUDIO_STREAM: u8 = 5;
/// Bytes of a box's head.
const BOX_HEAD: usize = 8;

/// A track.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mp4Track {
    /// Its number, from 1 on; each track has its own.
    pub id: u32,
    /// What its samples are.
    pub codec: Codec,
    /// The decoder configuration record, as sequence headers of FLV have it; for MP3, AC-3 and E-AC-3, which have none, a coded
    /// frame.
    pub config: Bytes,
    /// Units of its times in a second.
    pub timescale: u32,
    /// Width and height of the picture, where the record does not tell them (VP9).
    pub size: Option<(u16, u16)>,
}

impl Mp4Track {
    /// A track whose record tells all.
    pub fn new(id: u32, codec: Codec, config: Bytes, timescale: u32) -> Self {
        Self { id, codec, config, timescale, size: None }
    }
}

/// A coded frame in its native form: NAL units behind their lengths, raw AAC and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mp4Sample {
    /// How long it lasts, in units of its track.
    pub duration: u32,
    /// When it is shown after it is decoded.
    pub composition: i32,
    /// Whether decoding can begin with it.
    pub is_sync: bool,
    /// Its bytes.
    pub data: Bytes,
}

/// Samples of one track that follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Mp4Run<'a> {
    /// The track's number.
    pub track: u32,
    /// When the first one is decoded, in units of the track.
    pub begins: u64,
    /// The samples.
    pub samples: &'a [Mp4Sample],
}

/// The beginning: what the tracks are. No sample is in it.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a codec that MP4 has no form for here, [`ErrorKind::Format`] for a record that makes no sense.
pub fn mp4_init(tracks: &[Mp4Track]) -> Result<Bytes> {
    let brands = [*b"iso6", *b"cmfc", *b"mp41"].map(|brand| FourCC::new(&brand));
    let ftyp = Ftyp { major_brand: FourCC::new(b"iso6"), minor_version: 0, compatible_brands: brands.into() };
    let next_track_id = tracks.iter().map(|track| track.id).max().unwrap_or_default().saturating_add(1);
    let moov = Moov {
        mvhd: Mvhd { timescale: 1_000, rate: 1.into(), volume: 1.into(), next_track_id, ..Mvhd::default() },
        mvex: Some(Mvex { mehd: None, trex: tracks.iter().map(trex).collect() }),
        trak: tracks.iter().map(trak).collect::<Result<_>>()?,
        ..Moov::default()
    };
    let mut out = Vec::new();
    ftyp.encode(&mut out).and_then(|()| moov.encode(&mut out)).map_err(|error| broken(&error))?;
    Ok(out.into())
}

/// A part: runs of samples, of which those of one track follow those of the part before.
///
/// # Errors
/// [`ErrorKind::Limit`] where it has 2 GiB or more.
pub fn mp4_part(sequence: u32, runs: &[Mp4Run<'_>]) -> Result<Bytes> {
    let sizes: Vec<usize> =
        runs.iter().map(|run| run.samples.iter().map(|sample| sample.data.len()).sum()).collect();
    let total: usize = sizes.iter().sum();
    // The offsets of samples count from the beginning of the box that has them, whose length does not depend on them.
    let head = encoded(&moof(sequence, runs, &vec![0; runs.len()]))?.len();
    let mut at = head.saturating_add(BOX_HEAD);
    let mut offsets = Vec::with_capacity(runs.len());
    for size in &sizes {
        offsets.push(i32::try_from(at).map_err(|_| too_long())?);
        at = at.saturating_add(*size);
    }
    let moof = encoded(&moof(sequence, runs, &offsets))?;
    let mdat = u32::try_from(total.saturating_add(BOX_HEAD)).map_err(|_| too_long())?;
    let mut out = BytesMut::with_capacity(at);
    out.put_slice(&moof);
    out.put_u32(mdat);
    out.put_slice(b"mdat");
    runs.iter().flat_map(|run| run.samples).for_each(|sample| out.put_slice(&sample.data));
    Ok(out.freeze())
}

fn encoded(atom: &impl Encode) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    atom.encode(&mut out).map_err(|error| broken(&error))?;
    Ok(out)
}

fn moof(sequence: u32, runs: &[Mp4Run<'_>], offsets: &[i32]) -> Moof {
    let traf = runs.iter().zip(offsets).map(|(run, &offset)| Traf {
        tfhd: Tfhd { track_id: run.track, default_base_is_moof: true, ..Tfhd::default() },
        tfdt: Some(Tfdt { base_media_decode_time: run.begins }),
        trun: vec![Trun {
            data_offset: Some(offset),
            samples: TrunSamples::Explicit(run.samples.iter().map(entry).collect()),
        }],
        ..Traf::default()
    });
    Moof { mfhd: Mfhd { sequence_number: sequence }, traf: traf.collect() }
}

fn entry(sample: &Mp4Sample) -> TrunEntry {
    TrunEntry {
        duration: Some(sample.duration),
        size: u32::try_from(sample.data.len()).ok(),
        flags: Some(if sample.is_sync { SYNC } else { NO_SYNC }),
        cts: Some(sample.composition.into()),
    }
}

fn trex(track: &Mp4Track) -> Trex {
    Trex { track_id: track.id, default_sample_description_index: 1, ..Trex::default() }
}

fn trak(track: &Mp4Track) -> Result<Trak> {
    let (codec, shown) = sample_entry(track)?;
    let is_video = shown.is_some();
    let (width, height) = shown.unwrap_or_default();
    let handler = if is_video { b"vide" } else { b"soun" };
    Ok(Trak {
        tkhd: Tkhd {
            track_id: track.id,
            enabled: true,
            in_movie: true,
            volume: u8::from(!is_video).into(),
            width: width.into(),
            height: height.into(),
            ..Tkhd::default()
        },
        mdia: Mdia {
            mdhd: Mdhd { timescale: track.timescale, language: "und".to_owned(), ..Mdhd::default() },
            hdlr: Hdlr { handler: FourCC::new(handler), name: String::new() },
            minf: Minf {
                vmhd: is_video.then(Vmhd::default),
                smhd: (!is_video).then(Smhd::default),
                stbl: Stbl {
                    stsd: Stsd { codecs: vec![codec] },
                    stco: Some(Stco::default()),
                    ..Stbl::default()
                },
                dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } },
                ..Minf::default()
            },
        },
        ..Trak::default()
    })
}

/// What the samples of a track are, and the size of the picture where it has one.
fn sample_entry(track: &Mp4Track) -> Result<(mp4_atom::Codec, Option<(u16, u16)>)> {
    let size = video_size(track);
    let visual = |(width, height)| Visual { data_reference_index: 1, width, height, ..Visual::default() };
    let visual = visual(size.unwrap_or_default());
    let video = |codec: mp4_atom::Codec| match size {
        Some(size) => Ok((codec, Some(size))),
        None => Err(wrong(track)),
    };
    match track.codec {
        Codec::H264 => {
            video(Avc1 { visual, avcc: read::<Avcc>(track, &track.config)?, ..Avc1::default() }.into())
        }
        Codec::Hevc => {
            video(Hvc1 { visual, hvcc: read::<Hvcc>(track, &track.config)?, ..Hvc1::default() }.into())
        }
        Codec::Av1 => {
            video(Av01 { visual, av1c: read::<Av1c>(track, &track.config)?, ..Av01::default() }.into())
        }
        Codec::Vp9 => video(Vp09 { visual, vpcc: vpcc(track)?, ..Vp09::default() }.into()),
        _ => Ok((audio_entry(track)?, None)),
    }
}

/// The size of the picture, as its record or the track tells.
fn video_size(track: &Mp4Track) -> Option<(u16, u16)> {
    let config = video_config(track.codec, &track.config)?;
    let told = config.width.zip(config.height);
    told.map_or(track.size, |(width, height)| Some((width.try_into().ok()?, height.try_into().ok()?)))
}

/// A record as the crate has it, which writes it as it came.
fn read<A: Atom>(track: &Mp4Track, mut record: &[u8]) -> Result<A> {
    A::decode_body(&mut record).map_err(|_| wrong(track))
}

/// With the version of the box, which some senders leave out.
fn vpcc(track: &Mp4Track) -> Result<VpcC> {
    const VERSION: [u8; 4] = [1, 0, 0, 0];
    let record = track.config.strip_prefix(&VERSION).unwrap_or(&track.config);
    read(track, &[&VERSION, record].concat())
}

fn audio_entry(track: &Mp4Track) -> Result<mp4_atom::Codec> {
    let told = audio_config(track.codec, &track.config).or_else(|| audio_frame(track.codec, &track.config));
    let told = told.ok_or_else(|| wrong(track))?;
    let audio = Audio {
        data_reference_index: 1,
        channel_count: u16::from(told.channels.max(1)),
        sample_size: 16,
        // More than the field can have is told by the record alone (ISO/IEC 14496-14 5.6).
        sample_rate: FixedPoint::from(u16::try_from(told.sample_rate).unwrap_or_default()),
    };
    Ok(match track.codec {
        Codec::Aac => mp4a(audio, track, AAC, Some(&track.config)).into(),
        Codec::Mp3 => mp4a(audio, track, MP3, None).into(),
        Codec::Opus => Opus { audio, dops: dops(track)?, btrt: None }.into(),
        Codec::Flac => Flac { audio, dfla: dfla(track)? }.into(),
        Codec::Ac3 => Ac3 { audio, dac3: dac3(&track.config).ok_or_else(|| wrong(track))? }.into(),
        Codec::Eac3 => Eac3 { audio, dec3: dec3(&track.config).ok_or_else(|| wrong(track))? }.into(),
        codec => {
            return Err(Error::new(ErrorKind::Unsupported, format!("MP4 has no form for {}", codec)));
        }
    })
}

/// MPEG-4 audio, and what has come in its form since.
fn mp4a(audio: Audio, track: &Mp4Track, object: u8, specific: Option<&[u8]>) -> Mp4a {
    let specific = specific.map(|raw| DecoderSpecific { raw: raw.into(), ..DecoderSpecific::default() });
    let dec_config = DecoderConfig {
        object_type_indication: object,
        stream_type: AUDIO_STREAM,
        dec_specific: specific,
        ..DecoderConfig::default()
    };
    let es_id = u16::try_from(track.id).unwrap_or_default();
    let esds = Esds { es_desc: EsDescriptor { es_id, dec_config, ..EsDescriptor::default() } };
    Mp4a { audio, esds, btrt: None, taic: None }
}

/// `OpusHead` (RFC 7845 5.1), whose numbers are the other way round in MP4.
fn dops(track: &Mp4Track) -> Result<Dops> {
    let head = track.config.strip_prefix(b"OpusHead").ok_or_else(|| wrong(track))?;
    let [_, channels, s0, s1, r0, r1, r2, r3, g0, g1, rest @ ..] = head else { return Err(wrong(track)) };
    let channel_mapping = match rest {
        [0, ..] | [] => None,
        [family, streams, coupled, mapping @ ..] => Some(OpusChannelMapping {
            family: *family,
            stream_count: *streams,
            coupled_count: *coupled,
            channel_mapping: mapping.to_vec(),
        }),
        _ => return Err(wrong(track)),
    };
    Ok(Dops {
        output_channel_count: *channels,
        pre_skip: u16::from_le_bytes([*s0, *s1]),
        input_sample_rate: u32::from_le_bytes([*r0, *r1, *r2, *r3]),
        output_gain: i16::from_le_bytes([*g0, *g1]),
        channel_mapping,
    })
}

/// STREAMINFO, as the only block and the last.
fn dfla(track: &Mp4Track) -> Result<Dfla> {
    const INFO: usize = 34;
    let record = &track.config[..];
    let info = record.strip_prefix(b"fLaC").map_or(Some(record), |rest| rest.get(4..));
    let info = info.and_then(|info| info.get(..INFO)).ok_or_else(|| wrong(track))?;
    read(track, &[&[0, 0, 0, 0, 0x80, 0, 0, 34][..], info].concat())
}

/// ETSI TS 102 366 F.4, from the head of a frame (4.3).
fn dac3(frame: &[u8]) -> Option<Ac3SpecificBox> {
    let mut bits = Bits::new(frame.get(4..)?);
    let fscod = small(&mut bits, 2)?;
    let bit_rate_code = small(&mut bits, 6)? >> 1;
    let (bsid, bsmod, acmod) = (small(&mut bits, 5)?, small(&mut bits, 3)?, small(&mut bits, 3)?);
    let has_centre = acmod & 1 == 1 && acmod != 1;
    let more = [has_centre, acmod & 4 != 0, acmod == 2];
    more.into_iter().filter(|there| *there).try_for_each(|_| bits.skip(2))?;
    Some(Ac3SpecificBox { fscod, bsid, bsmod, acmod, lfeon: bits.bit()?, bit_rate_code })
}

/// F.6, from the head of a frame (E.1.2.2): one programme, as streams have it.
fn dec3(frame: &[u8]) -> Option<Ec3SpecificBox> {
    const BLOCKS: [u32; 4] = [1, 2, 3, 6];
    const RATES: [u32; 3] = [48_000, 44_100, 32_000];
    let mut bits = Bits::new(frame.get(2..)?);
    bits.skip(5)?;
    let words = bits.bits(11)?.checked_add(1)?;
    let fscod = small(&mut bits, 2)?;
    let blocks = usize::try_from(bits.bits(2)?).ok()?;
    let (acmod, lfeon, bsid) = (small(&mut bits, 3)?, bits.bit()?, small(&mut bits, 5)?);
    // Half the rates have six blocks always.
    let (rate, blocks) = match RATES.get(usize::from(fscod)) {
        Some(rate) => (*rate, *BLOCKS.get(blocks)?),
        None => (RATES.get(blocks)? / 2, 6),
    };
    let bits_per_s =
        u64::from(words).checked_mul(16)?.checked_mul(rate.into())?.checked_div(u64::from(blocks) << 8)?;
    let substream = Ec3IndependentSubstream {
        fscod,
        bsid,
        asvc: false,
        bsmod: 0,
        acmod,
        lfeon,
        num_dep_sub: 0,
        chan_loc: None,
    };
    Some(Ec3SpecificBox { data_rate: u16::try_from(bits_per_s / 1_000).ok()?, substreams: vec![substream] })
}

fn small(bits: &mut Bits<'_>, count: u32) -> Option<u8> {
    u8::try_from(bits.bits(count)?).ok()
}

fn wrong(track: &Mp4Track) -> Error {
    let text = format!("track {}: this is no configuration of {}", track.id, track.codec);
    Error::new(ErrorKind::Format, text)
}

fn too_long() -> Error {
    Error::new(ErrorKind::Limit, "a part of 2 GiB or more")
}

/// What we hand over can be written.
fn broken(error: &mp4_atom::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("MP4: {error}"))
}
