//! Reads a transport stream strictly: what is not as H.222.0 has it, or is not accounted for, fails the test.

use std::collections::BTreeMap;

pub(crate) const PACKET: usize = 188;
const PMT_PID: u16 = 0x1000;
/// Where times begin anew.
pub(crate) const CIRCLE: u64 = 1 << 33;

/// A PES packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pes {
    pub(crate) pid: u16,
    pub(crate) stream_id: u8,
    pub(crate) pts: u64,
    pub(crate) dts: u64,
    pub(crate) is_random_access: bool,
    pub(crate) data: Vec<u8>,
    /// What it says of its length.
    said: usize,
}

/// What comes in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// The clock's time in 90 kHz, and whether it has nothing to do with the one before.
    Clock(u64, bool),
    Pes(Pes),
}

/// `stream_type`, PID, and descriptors of a track.
pub(crate) type Described = (u8, u16, Vec<u8>);

/// A segment.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    pub(crate) tracks: Vec<Described>,
    pub(crate) clock_pid: u16,
    pub(crate) version: u8,
    pub(crate) items: Vec<Item>,
    tables: usize,
}

impl Segment {
    pub(crate) fn pes(&self) -> impl Iterator<Item = &Pes> {
        self.items.iter().filter_map(|item| if let Item::Pes(pes) = item { Some(pes) } else { None })
    }
}

/// Reads segments that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Of the last packet with a payload.
    counters: BTreeMap<u16, u8>,
}

impl Reader {
    pub(crate) fn segment(&mut self, bytes: &[u8]) -> Segment {
        assert_eq!(bytes.len() % PACKET, 0, "whole packets");
        let (mut segment, mut open) = (Segment::default(), BTreeMap::new());
        for (number, packet) in bytes.chunks(PACKET).enumerate() {
            let (pid, is_start, field, payload) = self.packet(packet);
            let told = field.map(|field| Field::read(field, payload.is_none())).unwrap_or_default();
            let place = segment.items.len();
            if let Some(clock) = told.clock {
                assert_eq!(pid, segment.clock_pid, "told by the track that the table names");
                segment.items.push(Item::Clock(clock, told.is_new));
            }
            match (pid, payload) {
                (_, None) => assert!(told.clock.is_some(), "an empty packet"),
                (0, Some(payload)) => {
                    assert!(number == 0 && is_start);
                    let pat = section(payload, 0);
                    assert_eq!((pat.version, &pat.body[..]), (0, &[0, 1, 0xf0, 0][..]), "one programme");
                    segment.tables += 1;
                }
                (PMT_PID, Some(payload)) => {
                    assert!(number == 1 && is_start);
                    read_pmt(section(payload, 2), &mut segment);
                    segment.tables += 1;
                }
                (pid, Some(payload)) => {
                    assert_eq!(segment.tables, 2, "tables come first");
                    assert!(
                        segment.tracks.iter().any(|(_, of_track, _)| *of_track == pid),
                        "{pid:x} is in no table"
                    );
                    if is_start {
                        let pes = pes(pid, told.is_random_access, payload);
                        let before: Option<usize> = open.insert(pid, segment.items.len());
                        before.into_iter().for_each(|at| is_whole(&segment.items[at]));
                        segment.items.push(Item::Pes(pes));
                    } else {
                        let Some(Item::Pes(pes)) = open.get(&pid).map(|at| &mut segment.items[*at]) else {
                            panic!("the rest of something in packet {number}, item {place}")
                        };
                        pes.data.extend(payload);
                    }
                }
            }
        }
        open.into_values().for_each(|at| is_whole(&segment.items[at]));
        assert_eq!(segment.tables, 2);
        segment
    }

    /// PID, whether something starts in it, adaptation field, payload.
    fn packet<'a>(&mut self, packet: &'a [u8]) -> (u16, bool, Option<&'a [u8]>, Option<&'a [u8]>) {
        assert_eq!(packet[0], 0x47);
        assert_eq!(packet[1] & 0xa0, 0, "neither an error nor priority");
        assert_eq!(packet[3] & 0xc0, 0, "not scrambled");
        let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
        let (has_field, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let end = if has_field { 5 + usize::from(packet[4]) } else { 4 };
        let field = has_field.then(|| &packet[5..end]);
        let payload = has_payload.then(|| &packet[end..]);
        assert!(payload.is_none_or(|payload| !payload.is_empty()) && (has_payload || end == PACKET));
        let counter = packet[3] & 0xf;
        if let Some(last) = self.counters.insert(pid, counter) {
            assert_eq!(counter, (last + u8::from(has_payload)) & 0xf, "continuity of {pid:x}");
        }
        (pid, packet[1] & 0x40 != 0, field, payload)
    }
}

#[derive(Debug, Default)]
struct Field {
    is_new: bool,
    is_random_access: bool,
    clock: Option<u64>,
}

impl Field {
    fn read(field: &[u8], is_alone: bool) -> Self {
        let Some((flags, rest)) = field.split_first() else { return Self::default() };
        assert_eq!(flags & 0x2f, 0, "flags {flags:x}");
        let has_clock = flags & 0x10 != 0;
        let (clock, filling) = rest.split_at(if has_clock { 6 } else { 0 });
        assert!(filling.iter().all(|byte| *byte == 0xff) && (is_alone || filling.len() <= 183));
        let clock = has_clock.then(|| {
            let all = clock.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
            assert_eq!(all & 0x7fff, 0, "nothing in 27 MHz, and no bit where none may be");
            all >> 15
        });
        Self { is_new: flags & 0x80 != 0, is_random_access: flags & 0x40 != 0, clock }
    }
}

struct Section {
    version: u8,
    body: Vec<u8>,
}

/// A table that has one section in one packet (2.4.4).
fn section(payload: &[u8], table: u8) -> Section {
    assert_eq!(payload[..2], [0, table]);
    let len = usize::from(payload[2] & 0xf) << 8 | usize::from(payload[3]);
    assert_eq!(payload[2] & 0xf0, 0xb0);
    let (section, filling) = payload[1..].split_at(3 + len);
    assert!(filling.iter().all(|byte| *byte == 0xff));
    assert_eq!(crc(section), 0, "the sum over its own value");
    assert_eq!((&section[3..5], &section[6..8]), (&[0, 1][..], &[0, 0][..]));
    assert_eq!(section[5] & 0xc1, 0xc1, "it holds now");
    Section { version: section[5] >> 1 & 0x1f, body: section[8..section.len() - 4].to_vec() }
}

/// Annex A.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

fn read_pmt(pmt: Section, segment: &mut Segment) {
    let pid = |bytes: &[u8]| {
        assert_eq!(bytes[0] & 0xe0, 0xe0);
        u16::from(bytes[0] & 0x1f) << 8 | u16::from(bytes[1])
    };
    segment.version = pmt.version;
    segment.clock_pid = pid(&pmt.body);
    assert_eq!(pmt.body[2..4], [0xf0, 0], "nothing about the programme");
    let mut rest = &pmt.body[4..];
    while let [stream_type, more @ ..] = rest {
        let len = usize::from(more[2] & 0xf) << 8 | usize::from(more[3]);
        let (descriptors, next) = more[4..].split_at(len);
        segment.tracks.push((*stream_type, pid(more), descriptors.to_vec()));
        rest = next;
    }
}

/// The first packet of a PES packet (2.4.3.6).
fn pes(pid: u16, is_random_access: bool, payload: &[u8]) -> Pes {
    assert_eq!(payload[..3], [0, 0, 1]);
    assert_eq!(payload[6], 0x84, "the data begins with a frame");
    let said = usize::from(payload[4]) << 8 | usize::from(payload[5]);
    let times = &payload[9..];
    let (pts, dts) = match payload[7..9] {
        [0x80, 5] => (time(times, 2), time(times, 2)),
        [0xc0, 10] => (time(times, 3), time(&times[5..], 1)),
        ref other => panic!("PES flags {other:x?}"),
    };
    assert!(payload[8] == 5 || pts != dts, "a decoding time only where it differs");
    let data = times[usize::from(payload[8])..].to_vec();
    let said = if said == 0 { 0 } else { said - 3 - usize::from(payload[8]) };
    Pes { pid, stream_id: payload[3], pts, dts, is_random_access, data, said }
}

fn time(bytes: &[u8], mark: u8) -> u64 {
    let [a, b, c, d, e] = *bytes.first_chunk().unwrap();
    assert_eq!((a >> 4, a & 1, c & 1, e & 1), (mark, 1, 1, 1));
    let [a, b, c, d, e] = [a, b, c, d, e].map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

fn is_whole(item: &Item) {
    let Item::Pes(pes) = item else { panic!("{item:?}") };
    let is_long_video = pes.stream_id == 0xe0 && pes.said == 0 && pes.data.len() > 65_000;
    assert!(pes.said == pes.data.len() || is_long_video, "said {}, is {}", pes.said, pes.data.len());
}

/// How far `to` is from `from` on the circle.
pub(crate) fn distance(from: u64, to: u64) -> i64 {
    let forward = to.wrapping_sub(from) % CIRCLE;
    if forward < CIRCLE / 2 { forward as i64 } else { forward as i64 - CIRCLE as i64 }
}
