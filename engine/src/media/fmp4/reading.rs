//! What tests read of a stream of MP4, by the crate that knows the boxes.

#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]

use super::NO_SYNC;
use mp4_atom::{Decode, Ftyp, Moof, Moov};

/// An init segment or a sample, in the order of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    Init(Vec<ReadTrack>),
    Sample(ReadSample),
}

/// A track of an init segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadTrack {
    pub(crate) id: u32,
    pub(crate) timescale: u32,
    pub(crate) default_duration: u32,
    /// The type of its samples: `avc1`, `mp4a`.
    pub(crate) entry: String,
    /// Width and height as its header has them.
    pub(crate) size: (u16, u16),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadSample {
    pub(crate) track: u32,
    pub(crate) time: u64,
    pub(crate) composition: i64,
    pub(crate) is_sync: bool,
    /// As the fragment says it.
    pub(crate) duration: Option<u32>,
    pub(crate) data: Vec<u8>,
}

/// The sizes and types of the boxes that `bytes` are.
pub(crate) fn boxes(mut bytes: &[u8]) -> Vec<(String, &[u8])> {
    let mut boxes = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        let (whole, rest) = bytes.split_at(len);
        boxes.push((String::from_utf8(whole[4..8].to_vec()).unwrap(), whole));
        bytes = rest;
    }
    boxes
}

/// Everything in a stream, which is init segments and fragments.
pub(crate) fn read(bytes: &[u8]) -> Vec<Read> {
    let boxes = boxes(bytes);
    let pairs = boxes.chunks(2).map(|pair| match pair {
        [(ftyp, first), (moov, second)] if ftyp == "ftyp" && moov == "moov" => {
            Ftyp::decode(&mut &first[..]).unwrap();
            vec![Read::Init(tracks(&Moov::decode(&mut &second[..]).unwrap()))]
        }
        [(moof, first), (mdat, second)] if moof == "moof" && mdat == "mdat" => samples(first, second),
        other => panic!("{:?}", other.iter().map(|(name, _)| name).collect::<Vec<_>>()),
    });
    pairs.flatten().collect()
}

fn tracks(moov: &Moov) -> Vec<ReadTrack> {
    let of_trak = |trak: &mp4_atom::Trak| {
        let id = trak.tkhd.track_id;
        let trex = moov.mvex.as_ref().unwrap().trex.iter().find(|trex| trex.track_id == id).unwrap();
        let entry = format!("{:?}", trak.mdia.minf.stbl.stsd.codecs[0]);
        ReadTrack {
            id,
            timescale: trak.mdia.mdhd.timescale,
            default_duration: trex.default_sample_duration,
            entry: entry.split('(').next().unwrap().to_lowercase(),
            size: (trak.tkhd.width.integer(), trak.tkhd.height.integer()),
        }
    };
    moov.trak.iter().map(of_trak).collect()
}

fn samples(head: &[u8], mdat: &[u8]) -> Vec<Read> {
    let moof = Moof::decode(&mut &head[..]).unwrap();
    let whole = [head, mdat].concat();
    let (mut read, mut data_len) = (Vec::new(), 8);
    for traf in &moof.traf {
        assert!(traf.tfhd.default_base_is_moof);
        let mut time = traf.tfdt.as_ref().unwrap().base_media_decode_time;
        for (index, trun) in traf.trun.iter().enumerate() {
            let mut at = usize::try_from(trun.data_offset.unwrap()).unwrap();
            for sample in trun.samples.iter() {
                let size = sample.size.unwrap() as usize;
                data_len += size;
                read.push(Read::Sample(ReadSample {
                    track: traf.tfhd.track_id,
                    time,
                    composition: sample.cts.unwrap_or(0),
                    // Where nothing is said, the track's header says that all are.
                    is_sync: sample.flags.is_none_or(|flags| flags != NO_SYNC),
                    duration: sample.duration,
                    data: whole[at..at + size].to_vec(),
                }));
                at += size;
                time = time.wrapping_add(sample.duration.unwrap_or(0).into());
            }
            let is_last = index + 1 == traf.trun.len();
            assert!(is_last || trun.samples.iter().all(|sample| sample.duration.is_some()));
        }
    }
    assert_eq!(data_len, mdat.len(), "nothing but samples");
    read
}
