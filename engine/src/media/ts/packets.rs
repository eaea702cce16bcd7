//! Packets and tables. The one place that knows the crate which writes them.

use super::{MediaPid, TsTrack};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;
use mpeg2ts::es::{StreamId, StreamType};
use mpeg2ts::pes::PesHeader;
use mpeg2ts::time::{ClockReference, Timestamp};
use mpeg2ts::ts::payload::{Bytes as Body, Pat, Pes, Pmt, Section};
use mpeg2ts::ts::{
    AdaptationField, ContinuityCounter, Descriptor, EsInfo, Pid, ProgramAssociation,
    TransportScramblingControl, TsHeader, TsPacket, TsPacketWriter, TsPayload, VersionNumber, WriteTsPacket,
};
use std::collections::BTreeMap;

/// Where the programme's table is, as ffmpeg has it.
const PMT_PID: u16 = 0x1000;
const PROGRAM: u16 = 1;
/// Registration descriptor (2.6.8).
const REGISTRATION: u8 = 5;
/// What a packet has besides its header.
const ROOM: usize = Body::MAX_SIZE;
/// Length and flags of an adaptation field, and a clock reference in it.
const FIELD: usize = 2;
const REFERENCE: usize = 6;
/// A PES packet's head up to the length of what may follow, of which three bytes count as its length; and a time.
const PES_HEAD: usize = 9;
const COUNTED: usize = 3;
const TIME: usize = 5;

bound! {
    /// Most bytes in a PES packet that has to tell its length, as all but those of video have to: no codec's frame has as many
    /// (test `audio_that_no_pes_packet_can_have_is_left_out`).
    pub(super) const MAX_PES: usize = 65_535_usize.saturating_sub(COUNTED).saturating_sub(TIME), without usize::MAX;
}

/// A reading of the programme's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference {
    /// In 90 kHz; modulo 2^33 in the packet.
    pub(super) at: i64,
    /// It has nothing to do with the one before.
    pub(super) is_new: bool,
}

/// What is in front of a PES packet's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) stream_id: u8,
    /// In 90 kHz; modulo 2^33 in the packet.
    pub(super) pts: i64,
    pub(super) dts: i64,
    pub(super) is_random_access: bool,
    pub(super) reference: Option<Reference>,
}

impl Head {
    /// Packets that it and `len` bytes take.
    pub(super) fn packets(&self, len: usize) -> usize {
        len.saturating_sub(self.room()).div_ceil(ROOM).saturating_add(1)
    }

    /// Bytes of data in the first packet.
    fn room(&self) -> usize {
        let field = match self.reference {
            Some(_) => FIELD.saturating_add(REFERENCE),
            None if self.is_random_access => FIELD,
            None => 0,
        };
        ROOM.saturating_sub(field).saturating_sub(PES_HEAD).saturating_sub(self.times())
    }

    fn times(&self) -> usize {
        if self.dts == self.pts { TIME } else { TIME.saturating_add(TIME) }
    }

    /// Zero is "not told", which is allowed for video.
    fn pes_len(&self, len: usize) -> u16 {
        let total = len.saturating_add(COUNTED).saturating_add(self.times());
        u16::try_from(total).unwrap_or_default()
    }

    fn pes_header(&self) -> Result<PesHeader> {
        Ok(PesHeader {
            stream_id: StreamId::new(self.stream_id),
            priority: false,
            data_alignment_indicator: true,
            copyright: false,
            original_or_copy: false,
            pts: Some(timestamp(self.pts)?),
            dts: if self.dts == self.pts { None } else { Some(timestamp(self.dts)?) },
            escr: None,
        })
    }
}

/// The tables that a segment begins with.
#[derive(Debug)]
pub(super) struct Tables {
    pat: Section,
    pmt: Section,
}

impl Tables {
    /// Packets that they take.
    pub(super) const PACKETS: usize = 2;

    /// `version` modulo 32 tells receivers that something is new.
    pub(super) fn new(tracks: &[(MediaPid, TsTrack)], clock: MediaPid, version: u8) -> Result<Self> {
        let version_number = VersionNumber::from_u8(version & VersionNumber::MAX).map_err(broken)?;
        let pat = Pat {
            transport_stream_id: 1,
            version_number: VersionNumber::new(),
            table: vec![ProgramAssociation { program_num: PROGRAM, program_map_pid: pid(PMT_PID)? }],
        };
        let pmt = Pmt {
            program_num: PROGRAM,
            pcr_pid: Some(pid(clock.0)?),
            version_number,
            program_info: Vec::new(),
            es_info: tracks.iter().map(|(pid, track)| es_info(*pid, track)).collect::<Result<_>>()?,
        };
        let too_many = |_| Error::new(ErrorKind::Limit, "more tracks than a table of one packet can tell of");
        Ok(Self { pat: section(TsPayload::Pat(pat))?, pmt: section(TsPayload::Pmt(pmt)).map_err(too_many)? })
    }
}

fn es_info(at: MediaPid, track: &TsTrack) -> Result<EsInfo> {
    let registered = track.registration().map(|name| Descriptor { tag: REGISTRATION, data: name.to_vec() });
    Ok(EsInfo {
        stream_type: StreamType::from_u8(track.stream_type()).map_err(broken)?,
        elementary_pid: pid(at.0)?,
        descriptors: registered.into_iter().collect(),
    })
}

/// A table as packets have it, with 0xff behind it (2.4.4). The crate fills an adaptation field instead, which is allowed
/// too (2.4.3.5), but which no other muxer does: receivers have not been tried with it.
fn section(table: TsPayload) -> Result<Section> {
    const HAS_FIELD: u8 = 0x20;
    let mut writer = Writer { out: TsPacketWriter::new(Vec::new()), counters: &mut Counters::default() };
    writer.put(0, None, Some(table))?;
    let packet = writer.out.into_stream();
    let Some([_, _, _, flags, body @ ..]) = packet.first_chunk::<{ TsPacket::SIZE }>() else {
        return Err(Error::new(ErrorKind::Internal, "MPEG-TS: a table that is no packet"));
    };
    let filling =
        body.first().filter(|_| flags & HAS_FIELD != 0).map_or(0, |len| usize::from(*len).saturating_add(1));
    // Behind the pointer, which is 0.
    let table = body.get(filling.saturating_add(1)..).unwrap_or_default();
    let mut data = table.to_vec();
    data.resize(ROOM.saturating_sub(1), 0xff);
    Ok(Section { pointer_field: 0, data: Body::new(&data).map_err(broken)? })
}

/// The continuity counter of each PID's last packet that had a payload (2.4.3.3).
#[derive(Debug, Default)]
pub(super) struct Counters(BTreeMap<u16, u8>);

impl Counters {
    /// Of a packet that has a payload or has not.
    fn next(&mut self, pid: u16, has_payload: bool) -> Result<ContinuityCounter> {
        let counter = self.0.entry(pid).or_insert(ContinuityCounter::MAX);
        *counter = counter.wrapping_add(has_payload.into()) & ContinuityCounter::MAX;
        ContinuityCounter::from_u8(*counter).map_err(broken)
    }
}

/// Writes the packets of a segment.
pub(super) struct Writer<'a> {
    out: TsPacketWriter<Vec<u8>>,
    counters: &'a mut Counters,
}

impl<'a> Writer<'a> {
    /// With room for `packets`.
    pub(super) fn new(packets: usize, counters: &'a mut Counters) -> Self {
        let room = Vec::with_capacity(packets.saturating_mul(TsPacket::SIZE));
        Self { out: TsPacketWriter::new(room), counters }
    }

    pub(super) fn tables(&mut self, tables: &Tables) -> Result<()> {
        self.put(Pid::PAT, None, Some(TsPayload::Section(tables.pat.clone())))?;
        self.put(PMT_PID, None, Some(TsPayload::Section(tables.pmt.clone())))
    }

    /// A packet with nothing but the time.
    pub(super) fn reference(&mut self, pid: MediaPid, reference: Reference) -> Result<()> {
        self.put(pid.0, field(false, Some(reference))?, None)
    }

    /// A PES packet.
    pub(super) fn pes(&mut self, pid: MediaPid, head: &Head, data: &[u8]) -> Result<()> {
        let (first, rest) = data.split_at_checked(head.room()).unwrap_or((data, &[]));
        let start =
            Pes { header: head.pes_header()?, pes_packet_len: head.pes_len(data.len()), data: body(first)? };
        self.put(pid.0, field(head.is_random_access, head.reference)?, Some(TsPayload::PesStart(start)))?;
        for part in rest.chunks(ROOM) {
            self.put(pid.0, None, Some(TsPayload::PesContinuation(body(part)?)))?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.into_stream().into()
    }

    fn put(
        &mut self,
        at: u16,
        adaptation_field: Option<AdaptationField>,
        payload: Option<TsPayload>,
    ) -> Result<()> {
        let header = TsHeader {
            transport_error_indicator: false,
            transport_priority: false,
            pid: pid(at)?,
            transport_scrambling_control: TransportScramblingControl::NotScrambled,
            continuity_counter: self.counters.next(at, payload.is_some())?,
        };
        self.out.write_ts_packet(&TsPacket { header, adaptation_field, payload }).map_err(broken)
    }
}

/// None where it would say nothing.
fn field(is_random_access: bool, reference: Option<Reference>) -> Result<Option<AdaptationField>> {
    if !is_random_access && reference.is_none() {
        return Ok(None);
    }
    Ok(Some(AdaptationField {
        discontinuity_indicator: reference.is_some_and(|reference| reference.is_new),
        random_access_indicator: is_random_access,
        es_priority_indicator: false,
        pcr: reference.map(|reference| timestamp(reference.at)).transpose()?.map(ClockReference::from),
        opcr: None,
        splice_countdown: None,
        transport_private_data: Vec::new(),
        extension: None,
    }))
}

fn timestamp(at: i64) -> Result<Timestamp> {
    const CIRCLE: i64 = 1 << 33;
    Timestamp::new(u64::try_from(at.rem_euclid(CIRCLE)).unwrap_or_default()).map_err(broken)
}

fn pid(number: u16) -> Result<Pid> {
    Pid::new(number).map_err(broken)
}

fn body(data: &[u8]) -> Result<Body> {
    Body::new(data).map_err(broken)
}

/// What we hand over can be written.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn broken(error: mpeg2ts::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("MPEG-TS: {error}"))
}
