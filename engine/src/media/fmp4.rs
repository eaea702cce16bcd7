//! Fragmented MP4 (ISO/IEC 14496-12): how a stream begins, and its parts. The one place that knows the crate which writes boxes.

mod coded;
mod description;
mod fragment;
mod index;
#[cfg(test)]
pub(crate) mod reading;

pub(crate) use coded::{CodedFrame, carries, timescale};
pub(crate) use description::{Description, Told, mime_type};
pub(crate) use fragment::{Run, Sample, head_len, put_head};
#[cfg(any(test, feature = "http"))]
pub(crate) use index::Fragment;
pub(crate) use index::{FileIndex, length_at};

use super::FrameKind;
use super::codec::{
    Dolby, audio_frame, audio_track, bare_vpx_record, flac_stream_info, video_config, video_frame,
};
use super::flv::Codec;
use crate::{Error, ErrorKind, Result};
use bytes::{BufMut, Bytes, BytesMut};
use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor};
use mp4_atom::{
    Ac3, Ac3SpecificBox, Atom, Audio, Av01, Av1c, Avc1, Avcc, Dfla, Dinf, Dops, Dref, DrefEntry, Eac3,
    Ec3IndependentSubstream, Ec3SpecificBox, Encode, Esds, FixedPoint, Flac, FlacMetadataBlock, FourCC, Ftyp,
    Hdlr, Hvc1, Hvcc, Mdhd, Mdia, Mehd, Mfhd, Minf, Moof, Moov, Mp4a, Mvex, Mvhd, Opus, OpusChannelMapping,
    Smhd, Stbl, Stco, Stsd, Tfdt, Tfhd, Tkhd, Traf, Trak, Trex, Trun, TrunEntry, TrunSamples, Url, Visual,
    Vmhd, Vp09, VpcC,
};
use std::ops::RangeInclusive;

/// `sample_depends_on` = 2: it needs no other (8.8.3.1).
const SYNC: u32 = 0x0200_0000;
/// `sample_depends_on` = 1, and no sync sample.
const NO_SYNC: u32 = 0x0101_0000;
/// Object types of MPEG-4 descriptors (ISO/IEC 14496-1 7.2.6.6): AAC, and MP3 at the rates of MPEG-1 and at lower ones.
const AAC: u8 = 0x40;
const MP3: u8 = 0x6b;
const MP3_OF_MPEG_2: u8 = 0x69;
/// `streamType` of audio (7.2.6.6.2).
const AUDIO_STREAM: u8 = 5;
/// Bytes of a box's head.
const BOX_HEAD: usize = 8;
/// Units of a second of a file as a whole.
const MOVIE_TIMESCALE: u32 = 1_000;

bound! {
    /// Longest configuration record that is taken: each of its parameter sets, which may be empty, costs an allocation
    /// (test `a_record_that_is_too_long_for_mp4_is_refused`).
    const MAX_RECORD: usize = 64 * 1024, without usize::MAX;
}

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
    /// Width and height of the picture, where the record does not tell them (VP9): [`Self::with_frame`] finds them.
    pub size: Option<(u16, u16)>,
    /// How long samples last that do not tell it, in units of the track; those of an [`Mp4Run`] do.
    pub default_duration: u32,
}

impl Mp4Track {
    /// A track whose record tells all.
    pub fn new(id: u32, codec: Codec, config: Bytes, timescale: u32) -> Self {
        Self { id, codec, config, timescale, size: None, default_duration: 0 }
    }

    /// The same with what a coded frame, of video a keyframe, tells and the record does not: the size of VP9, and all of
    /// MP3, AC-3 and E-AC-3.
    #[must_use]
    pub fn with_frame(mut self, frame: &Bytes) -> Self {
        let is_its_own_record = matches!(self.codec, Codec::Mp3 | Codec::Ac3 | Codec::Eac3);
        if is_its_own_record && audio_frame(self.codec, frame).is_some() {
            self.config = frame.clone();
        }
        self.size = frame_size(self.codec, frame).or(self.size);
        self
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
/// [`ErrorKind::Unsupported`] for a codec that MP4 has no form for here, [`ErrorKind::Format`] for a record that makes no sense,
/// [`ErrorKind::Limit`] for one of more than 64 KiB.
pub fn mp4_init(tracks: &[Mp4Track]) -> Result<Bytes> {
    init(tracks, None)
}

/// The same for a file, which says how long it lasts, in milliseconds; [`length_at`] tells where.
///
/// # Errors
/// As [`mp4_init`].
pub(crate) fn mp4_file_init(tracks: &[Mp4Track], lasts_ms: u64) -> Result<Bytes> {
    init(tracks, Some(Mehd { fragment_duration: lasts_ms }))
}

fn init(tracks: &[Mp4Track], mehd: Option<Mehd>) -> Result<Bytes> {
    let brands = [*b"iso6", *b"cmfc", *b"mp41"].map(|brand| FourCC::new(&brand));
    let ftyp = Ftyp { major_brand: FourCC::new(b"iso6"), minor_version: 0, compatible_brands: brands.into() };
    let next_track_id = tracks.iter().map(|track| track.id).max().unwrap_or_default().saturating_add(1);
    let moov = Moov {
        mvhd: Mvhd {
            timescale: MOVIE_TIMESCALE,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id,
            ..Mvhd::default()
        },
        mvex: Some(Mvex { mehd, trex: tracks.iter().map(trex).collect() }),
        trak: tracks.iter().map(trak).collect::<Result<_>>()?,
        ..Moov::default()
    };
    let mut out = Vec::new();
    ftyp.encode(&mut out).map_err(|error| broken(&error))?;
    // A record may say what no box can.
    let refused = |error| Error::new(ErrorKind::Format, format!("MP4: {error}"));
    moov.encode(&mut out).map_err(refused)?;
    Ok(out.into())
}

/// A still picture that `<video>` shows for a second: a beginning and one part, with a keyframe of a track of video.
///
/// # Errors
/// As [`mp4_init`] has them, and [`ErrorKind::InvalidArgument`] for a track of audio.
pub fn mp4_still(track: &Mp4Track, keyframe: &Bytes) -> Result<Bytes> {
    if track.codec.kind() != Some(FrameKind::Video) {
        let text = format!("a still picture of {}, which is no video", track.codec);
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let track = track.clone().with_frame(keyframe);
    let sample =
        Mp4Sample { duration: track.timescale, composition: 0, is_sync: true, data: keyframe.clone() };
    let init = mp4_init(std::slice::from_ref(&track))?;
    let part = mp4_part(1, &[Mp4Run { track: track.id, begins: 0, samples: &[sample] }])?;
    Ok([init, part].concat().into())
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
    let is_audio = track.codec.kind() == Some(FrameKind::Audio);
    Trex {
        track_id: track.id,
        default_sample_description_index: 1,
        default_sample_duration: track.default_duration,
        default_sample_flags: if is_audio { SYNC } else { NO_SYNC },
        ..Trex::default()
    }
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
    if track.config.len() > MAX_RECORD.get() {
        let text = format!("track {}: a configuration of {} bytes", track.id, track.config.len());
        return Err(Error::new(ErrorKind::Limit, text));
    }
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
        Codec::Hevc => video(Hvc1 { visual, hvcc: hvcc(track)?, ..Hvc1::default() }.into()),
        Codec::Av1 => {
            video(Av01 { visual, av1c: read::<Av1c>(track, &track.config)?, ..Av01::default() }.into())
        }
        Codec::Vp9 => video(Vp09 { visual, vpcc: vpcc(track)?, ..Vp09::default() }.into()),
        Codec::Aac | Codec::Mp3 | Codec::Opus | Codec::Flac | Codec::Ac3 | Codec::Eac3 => {
            Ok((audio_entry(track)?, None))
        }
        _ => Err(unsupported(track)),
    }
}

/// The size of the picture, as its record or the track tells.
fn video_size(track: &Mp4Track) -> Option<(u16, u16)> {
    let config = video_config(track.codec, &track.config)?;
    if config.width.is_some() { size(config.width, config.height) } else { track.size }
}

/// The size of the picture, where a keyframe tells it.
fn frame_size(codec: Codec, frame: &[u8]) -> Option<(u16, u16)> {
    let told = video_frame(codec, frame)?;
    size(told.width, told.height)
}

fn size(width: Option<u32>, height: Option<u32>) -> Option<(u16, u16)> {
    Some((width?.try_into().ok()?, height?.try_into().ok()?))
}

/// A record as the crate has it, which writes it as it came.
fn read<A: Atom>(track: &Mp4Track, mut record: &[u8]) -> Result<A> {
    A::decode_body(&mut record).map_err(|_| wrong(track))
}

/// All parameter sets are said to be here, as the name `hvc1` demands (ISO/IEC 14496-15 8.4.1.1): encoders say nothing of it.
fn hvcc(track: &Mp4Track) -> Result<Hvcc> {
    const PARAMETER_SETS: RangeInclusive<u8> = 32..=34;
    let mut hvcc: Hvcc = read(track, &track.config)?;
    let sets = hvcc.arrays.iter_mut().filter(|array| PARAMETER_SETS.contains(&array.nal_unit_type));
    sets.for_each(|array| array.completeness = true);
    Ok(hvcc)
}

fn vpcc(track: &Mp4Track) -> Result<VpcC> {
    const VERSION: [u8; 4] = [1, 0, 0, 0];
    const RGB: u8 = 0;
    const FULL_CHROMA: u8 = 3;
    const UNSPECIFIED: u8 = 2;
    let record = bare_vpx_record(&track.config).ok_or_else(|| wrong(track))?;
    let mut vpcc: VpcC = read(track, &[&VERSION, record].concat())?;
    // Senders that know no matrix write 0, which is RGB and cannot be of subsampled colours; the decoder does not ask.
    if vpcc.matrix_coefficients == RGB && vpcc.chroma_subsampling != FULL_CHROMA {
        vpcc.matrix_coefficients = UNSPECIFIED;
    }
    Ok(vpcc)
}

fn audio_entry(track: &Mp4Track) -> Result<mp4_atom::Codec> {
    let told = audio_track(track.codec, &track.config);
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
        Codec::Mp3 if told.sample_rate < 32_000 => mp4a(audio, track, MP3_OF_MPEG_2, None).into(),
        Codec::Mp3 => mp4a(audio, track, MP3, None).into(),
        Codec::Opus => Opus { audio, dops: dops(track)?, btrt: None }.into(),
        Codec::Flac => flac(audio, track)?.into(),
        Codec::Ac3 => Ac3 { audio, dac3: dac3(&track.config).ok_or_else(|| wrong(track))? }.into(),
        Codec::Eac3 => Eac3 { audio, dec3: dec3(&track.config).ok_or_else(|| wrong(track))? }.into(),
        _ => return Err(unsupported(track)),
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

/// `OpusHead` (RFC 7845 5.1), whose numbers are the other way round in MP4. The rate before encoding is for information alone, and
/// Chromium plays nothing where it is another than that of the entry, which is always 48,000.
fn dops(track: &Mp4Track) -> Result<Dops> {
    let head = track.config.strip_prefix(b"OpusHead").ok_or_else(|| wrong(track))?;
    let [_, channels, s0, s1, _, _, _, _, g0, g1, rest @ ..] = head else { return Err(wrong(track)) };
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
        input_sample_rate: 48_000,
        output_gain: i16::from_le_bytes([*g0, *g1]),
        channel_mapping,
    })
}

/// STREAMINFO, as the only block and the last. Bits of a sample are its; of a rate that the entry cannot have, the largest
/// part that it can (FLAC in ISO BMFF 3.3.1).
fn flac(audio: Audio, track: &Mp4Track) -> Result<Flac> {
    const INFO: usize = 34;
    let info =
        flac_stream_info(&track.config).and_then(|info| info.get(..INFO)).ok_or_else(|| wrong(track))?;
    let dfla: Dfla = read(track, &[&[0, 0, 0, 0, 0x80, 0, 0, 34][..], info].concat())?;
    let Some(FlacMetadataBlock::StreamInfo { sample_rate, bits_per_sample_minus_one, .. }) =
        dfla.blocks.first()
    else {
        return Err(wrong(track));
    };
    let rate = (1..=u16::MAX.into())
        .filter(|parts| sample_rate.is_multiple_of(*parts))
        .find_map(|parts| u16::try_from(sample_rate.checked_div(parts)?).ok());
    let sample_size = u16::from(*bits_per_sample_minus_one).saturating_add(1);
    let sample_rate = FixedPoint::from(rate.unwrap_or_default());
    Ok(Flac { audio: Audio { sample_size, sample_rate, ..audio }, dfla })
}

/// ETSI TS 102 366 F.4.
fn dac3(frame: &[u8]) -> Option<Ac3SpecificBox> {
    let Dolby { fscod, bsid, bsmod, acmod, lfeon, bit_rate, .. } = Dolby::ac3(frame)?;
    Some(Ac3SpecificBox { fscod, bsid, bsmod, acmod, lfeon, bit_rate_code: bit_rate.try_into().ok()? })
}

/// F.6: one programme, as streams have it.
fn dec3(frame: &[u8]) -> Option<Ec3SpecificBox> {
    let Dolby { fscod, bsid, bsmod, acmod, lfeon, bit_rate, .. } = Dolby::eac3(frame)?;
    let (asvc, num_dep_sub, chan_loc) = (false, 0, None);
    let substream = Ec3IndependentSubstream { fscod, bsid, asvc, bsmod, acmod, lfeon, num_dep_sub, chan_loc };
    Some(Ec3SpecificBox { data_rate: bit_rate, substreams: vec![substream] })
}

fn unsupported(track: &Mp4Track) -> Error {
    Error::new(ErrorKind::Unsupported, format!("MP4 has no form for {}", track.codec))
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

#[cfg(test)]
mod tests {
    use super::*;

    const MP3_FRAME: &[u8] = b"\xff\xfb\x94\x64";
    const VP9_KEY: &[u8] = b"\x82\x49\x83\x42\x00\x13\xf0\x0e\xf0\x00";

    fn track(codec: Codec, config: &[u8]) -> Mp4Track {
        Mp4Track::new(1, codec, Bytes::copy_from_slice(config), 1_000)
    }

    /// What follows the name of the first box of that name.
    fn after<'a>(init: &'a [u8], name: &[u8]) -> &'a [u8] {
        let at = init.windows(name.len()).position(|window| window == name).unwrap();
        &init[at..][name.len()..]
    }

    #[test]
    fn a_record_that_is_too_long_for_mp4_is_refused() {
        let init = |len: usize| {
            let mut config = MP3_FRAME.to_vec();
            config.resize(len, 0);
            mp4_init(&[track(Codec::Mp3, &config)]).map_err(|error| error.kind())
        };
        assert!(init(MAX_RECORD.stated()).is_ok());
        assert_eq!(init(MAX_RECORD.stated().saturating_add(1)), Err(ErrorKind::Limit));
    }

    #[test]
    fn a_keyframe_tells_the_size_of_vp9_and_a_frame_all_of_mp3() {
        let vp9 = track(Codec::Vp9, b"\0\x14\x82\x02\x02\x02\0\0");
        assert!(mp4_init(std::slice::from_ref(&vp9)).is_err());
        let vp9 = vp9.with_frame(&Bytes::from_static(VP9_KEY));
        assert_eq!(vp9.size, Some((320, 240)));
        let other = vp9.with_frame(&Bytes::from_static(b"\x86\0"));
        assert_eq!(other.size, Some((320, 240)));
        assert_eq!(&after(&mp4_init(&[other]).unwrap(), b"vp09")[24..28], [1, 64, 0, 240]);
        let mp3 = track(Codec::Mp3, b"").with_frame(&Bytes::from_static(MP3_FRAME));
        assert_eq!(mp3.config, MP3_FRAME);
        let opus = track(Codec::Opus, b"OpusHead").with_frame(&Bytes::from_static(b"\xfc"));
        assert_eq!(opus.config, &b"OpusHead"[..]);
    }

    #[test]
    fn opus_of_any_rate_is_told_to_be_of_the_rate_of_its_entry() {
        let head = b"OpusHead\x01\x02\x38\x01\x44\xac\0\0\0\0\0";
        let init = mp4_init(&[track(Codec::Opus, head)]).unwrap();
        assert_eq!(after(&init, b"dOps")[..10], [0, 2, 1, 0x38, 0, 0, 0xbb, 0x80, 0, 0]);
    }

    #[test]
    fn vp9_of_subsampled_rgb_is_of_an_unspecified_matrix() {
        for (sampling, matrix, written) in [(0x82, 0, 2), (0x82, 9, 9), (0x86, 0, 0)] {
            for version in [&b""[..], b"\x01\0\0\0"] {
                let record = [version, &[0, 20, sampling, 2, 2, matrix, 0, 0]].concat();
                let track = track(Codec::Vp9, &record).with_frame(&Bytes::from_static(VP9_KEY));
                let init = mp4_init(&[track]).unwrap();
                assert_eq!(after(&init, b"vpcC")[..12], [1, 0, 0, 0, 0, 20, sampling, 2, 2, written, 0, 0]);
            }
        }
        let of_no_sampling = track(Codec::Vp9, &[0, 20, 0x8e, 2, 2, 2, 0, 0]);
        let refused = mp4_init(&[of_no_sampling.with_frame(&Bytes::from_static(VP9_KEY))]);
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Format));
    }

    #[test]
    fn mp3_is_of_the_object_type_of_its_rate() {
        for (frame, object) in [(MP3_FRAME, 0x6b), (b"\xff\xf3\x90\xc4", 0x69)] {
            let init = mp4_init(&[track(Codec::Mp3, frame)]).unwrap();
            // Version and flags, an ES descriptor of 3 bytes, the head of the next.
            assert_eq!(after(&init, b"esds")[11], object);
        }
    }

    #[test]
    fn an_entry_of_flac_has_its_bits_and_what_it_can_of_its_rate() {
        for (rate, written) in [(48_000_u32, 48_000_u16), (96_000, 48_000), (88_200, 44_100), (524_309, 0)] {
            let mut info = [0; 34];
            // Rate, channels less one, bits less one.
            info[10..14].copy_from_slice(&(rate << 12 | 1 << 9 | 23 << 4).to_be_bytes());
            let init = mp4_init(&[track(Codec::Flac, &[b"fLaC\x80\0\0\x22", &info[..]].concat())]).unwrap();
            let entry = after(&after(&init, b"stsd")[8..], b"fLaC");
            assert_eq!(entry[16..20], [0, 2, 0, 24], "{rate}");
            assert_eq!(entry[24..26], written.to_be_bytes(), "{rate}");
        }
    }

    #[test]
    fn codecs_without_a_form_are_told_from_records_that_make_no_sense() {
        for (codec, refusal) in [
            (Codec::Vp8, ErrorKind::Unsupported),
            (Codec::Vvc, ErrorKind::Unsupported),
            (Codec::G711a, ErrorKind::Unsupported),
            (Codec::Speex, ErrorKind::Unsupported),
            (Codec::H264, ErrorKind::Format),
            (Codec::Opus, ErrorKind::Format),
        ] {
            let refused = mp4_init(&[track(codec, b"\0")]);
            assert_eq!(refused.map_err(|error| error.kind()), Err(refusal), "{codec}");
        }
    }

    #[test]
    fn audio_has_no_still_picture() {
        let refused = mp4_still(&track(Codec::Mp3, MP3_FRAME), &Bytes::from_static(MP3_FRAME));
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::InvalidArgument));
    }
}
