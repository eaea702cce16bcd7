//! MP4 files made in memory, box by box.

/// A box with these parts in it.
pub fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let size = u32::try_from(body.len() + 8).unwrap();
    [&size.to_be_bytes(), &kind[..], &body].concat()
}

/// The same with version and flags.
pub fn full_box(kind: &[u8; 4], version: u8, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    let head = (u32::from(version) << 24 | flags).to_be_bytes();
    boxed(kind, &[&head, &parts.concat()])
}

/// Numbers one after the other.
pub fn numbers(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers.into_iter().flat_map(u32::to_be_bytes).collect()
}

/// A table: how many entries, and these.
fn table(kind: &[u8; 4], count: usize, entries: impl IntoIterator<Item = u32>) -> Vec<u8> {
    full_box(kind, 0, 0, &[&numbers([u32::try_from(count).unwrap()]), &numbers(entries)])
}

/// A sample of a file that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSample {
    pub data: Vec<u8>,
    pub duration: u32,
    pub composition: i32,
    pub is_sync: bool,
}

/// A track of a file that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileTrack {
    pub handler: [u8; 4],
    pub is_enabled: bool,
    pub timescale: u32,
    /// Sample descriptions: boxes.
    pub entries: Vec<Vec<u8>>,
    pub samples: Vec<FileSample>,
    /// Duration in units of the movie (milliseconds), and start in the track.
    pub edits: Vec<(u32, i32)>,
    /// First row of the matrix, whole numbers.
    pub turned: (i32, i32),
}

impl FileTrack {
    /// A track with one description.
    pub fn new(handler: &[u8; 4], timescale: u32, entry: Vec<u8>) -> Self {
        let (entries, samples, edits) = (vec![entry], Vec::new(), Vec::new());
        Self { handler: *handler, is_enabled: true, timescale, entries, samples, edits, turned: (1, 0) }
    }

    /// H.264 at 90 kHz.
    pub fn h264() -> Self {
        Self::new(b"vide", 90_000, visual(b"avc1", &boxed(b"avcC", &[AVC_RECORD])))
    }

    /// AAC at 48 kHz.
    pub fn aac() -> Self {
        Self::new(b"soun", 48_000, sound(b"mp4a", &esds(0x40, &[0x11, 0x90])))
    }

    /// `count` pictures of so many units each, a keyframe at each `gop`-th; shown `composition` units later.
    #[must_use]
    pub fn pictures(mut self, count: u32, duration: u32, gop: u32, composition: i32) -> Self {
        self.samples.extend((0..count).map(|index| {
            let is_sync = index % gop == 0;
            let nal = [if is_sync { 0x65 } else { 0x41 }, 0x88, (index >> 8) as u8, index as u8, 7];
            let data = [&5_u32.to_be_bytes()[..], &nal].concat();
            FileSample { data, duration, composition, is_sync }
        }));
        self
    }

    /// `count` frames of sound of 1,024 units.
    #[must_use]
    pub fn sound(mut self, count: u32) -> Self {
        self.samples.extend((0..count).map(|index| {
            let data = [&b"\x21"[..], &index.to_be_bytes()].concat();
            FileSample { data, duration: 1_024, composition: 0, is_sync: true }
        }));
        self
    }

    #[must_use]
    pub fn edits(mut self, edits: &[(u32, i32)]) -> Self {
        self.edits = edits.to_vec();
        self
    }

    /// The index of this track, whose samples begin at `offsets`.
    fn trak(&self, id: u32, offsets: &[u32]) -> Vec<u8> {
        let matrix = |(a, b): (i32, i32)| {
            [a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30].map(i32::cast_unsigned)
        };
        let tkhd = numbers([0, 0, id, 0, 0, 0, 0, 0, 0]);
        let flags = u32::from(self.is_enabled) | 2;
        let tkhd = full_box(b"tkhd", 0, flags, &[&tkhd, &numbers(matrix(self.turned)), &[0; 8]]);
        let edits = self.edits.iter().flat_map(|(length, from)| [*length, from.cast_unsigned(), 1 << 16]);
        let edts = match self.edits.is_empty() {
            true => Vec::new(),
            false => boxed(b"edts", &[&table(b"elst", self.edits.len(), edits)]),
        };
        let mdhd = full_box(b"mdhd", 0, 0, &[&numbers([0, 0, self.timescale, 0, 0x55c4_0000])]);
        let hdlr = full_box(b"hdlr", 0, 0, &[&[0; 4], &self.handler, &[0; 13]]);
        let minf = boxed(b"minf", &[&boxed(b"stbl", &[&self.tables(offsets)])]);
        boxed(b"trak", &[&tkhd, &edts, &boxed(b"mdia", &[&mdhd, &hdlr, &minf])])
    }

    /// What is in `stbl`; each sample is a chunk of its own.
    fn tables(&self, offsets: &[u32]) -> Vec<u8> {
        let (all, count) = (&self.samples, offsets.len());
        let syncs: Vec<_> =
            (1..).zip(all).filter_map(|(number, sample)| sample.is_sync.then_some(number)).collect();
        let entries = u32::try_from(self.entries.len()).unwrap();
        let size = |sample: &FileSample| u32::try_from(sample.data.len()).unwrap();
        let sizes = numbers([0, u32::try_from(count).unwrap()]);
        let all = &all[..count];
        let mut durations: Vec<(u32, u32)> = Vec::new();
        for sample in all {
            match durations.last_mut() {
                Some((count, duration)) if *duration == sample.duration => *count += 1,
                _ => durations.push((1, sample.duration)),
            }
        }
        [
            full_box(b"stsd", 0, 0, &[&numbers([entries]), &self.entries.concat()]),
            table(
                b"stts",
                durations.len(),
                durations.iter().flat_map(|(count, duration)| [*count, *duration]),
            ),
            table(b"ctts", count, all.iter().flat_map(|sample| [1, sample.composition.cast_unsigned()])),
            table(b"stss", syncs.len(), syncs.iter().copied().filter(|_| count > 0)),
            table(b"stsc", 1, [1, 1, 1]),
            full_box(b"stsz", 0, 0, &[&sizes, &numbers(all.iter().map(size))]),
            table(b"stco", count, offsets.iter().copied()),
        ]
        .concat()
    }
}

/// Where a file has its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    First,
    Last,
}

/// A file with these tracks, whose samples lie in it in the order of their times.
pub fn mp4(tracks: &[FileTrack], index: Index) -> Vec<u8> {
    let ftyp = boxed(b"ftyp", &[b"isom\0\0\x02\0isommp41"]);
    let mut samples = Vec::new();
    for (at, track) in tracks.iter().enumerate() {
        let mut time = 0_u64;
        for sample in &track.samples {
            samples.push((time * 1_000_000 / u64::from(track.timescale), at, &sample.data));
            time += u64::from(sample.duration);
        }
    }
    samples.sort_by_key(|(time, at, _)| (*time, *at));
    let moov = |begins: usize| {
        let (mut offsets, mut position) = (vec![Vec::new(); tracks.len()], begins);
        for (_, at, data) in &samples {
            offsets[*at].push(u32::try_from(position).unwrap());
            position += data.len();
        }
        let traks = (1..).zip(tracks).zip(&offsets);
        let traks: Vec<_> = traks.map(|((id, track), offsets)| track.trak(id, offsets)).collect();
        boxed(b"moov", &[&movie_header(), &traks.concat()])
    };
    let data: Vec<u8> = samples.iter().flat_map(|(_, _, data)| data.iter().copied()).collect();
    let mdat = boxed(b"mdat", &[&data]);
    match index {
        Index::First => [&ftyp[..], &moov(ftyp.len() + moov(0).len() + 8), &mdat].concat(),
        Index::Last => [&ftyp[..], &mdat, &moov(ftyp.len() + 8)].concat(),
    }
}

/// The same in fragments of so many samples of each track, all tracks in each.
pub fn fragmented_mp4(tracks: &[FileTrack], samples: usize) -> Vec<u8> {
    let ids = || (1_u32..).zip(tracks);
    let traks: Vec<_> = ids().map(|(id, track)| track.trak(id, &[])).collect();
    let trex: Vec<_> = ids().map(|(id, _)| full_box(b"trex", 0, 0, &[&numbers([id, 1, 0, 0, 0])])).collect();
    let mvex = boxed(b"mvex", &[&trex.concat()]);
    let mut file = boxed(b"ftyp", &[b"iso6\0\0\x02\0iso6mp41"]);
    file.extend(boxed(b"moov", &[&movie_header(), &traks.concat(), &mvex]));
    let longest = tracks.iter().map(|track| track.samples.len()).max().unwrap_or_default();
    for first in (0..longest).step_by(samples) {
        let moof = |head: usize| {
            let (mut trafs, mut at) = (Vec::new(), head);
            for (id, track) in ids() {
                let run: Vec<_> = track.samples.iter().skip(first).take(samples).collect();
                let begins: u32 = track.samples.iter().take(first).map(|sample| sample.duration).sum();
                trafs.extend(traf(id, begins, &run, at));
                at += run.iter().map(|sample| sample.data.len()).sum::<usize>();
            }
            boxed(b"moof", &[&full_box(b"mfhd", 0, 0, &[&numbers([1])]), &trafs])
        };
        let head = moof(0).len() + 8;
        let runs = ids().flat_map(|(_, track)| track.samples.iter().skip(first).take(samples));
        file.extend(moof(head));
        file.extend(boxed(b"mdat", &[&runs.flat_map(|sample| sample.data.clone()).collect::<Vec<_>>()]));
    }
    file
}

fn traf(id: u32, begins: u32, run: &[&FileSample], offset: usize) -> Vec<u8> {
    const NO_SYNC: u32 = 0x1_0000;
    let tfhd = full_box(b"tfhd", 0, 0x2_0000, &[&numbers([id])]);
    let tfdt = full_box(b"tfdt", 0, 0, &[&numbers([begins])]);
    let entries = run.iter().flat_map(|sample| {
        let (size, flags) =
            (u32::try_from(sample.data.len()).unwrap(), if sample.is_sync { 0 } else { NO_SYNC });
        [sample.duration, size, flags, sample.composition.cast_unsigned()]
    });
    let head = numbers([run.len(), offset].map(|number| u32::try_from(number).unwrap()));
    let trun = full_box(b"trun", 1, 0xf01, &[&head, &numbers(entries)]);
    boxed(b"traf", &[&tfhd, &tfdt, &trun])
}

/// `mvhd`, in milliseconds.
fn movie_header() -> Vec<u8> {
    full_box(b"mvhd", 0, 0, &[&numbers([0, 0, 1_000, 0, 1 << 16]), &[0; 76]])
}

/// A description of pictures.
pub fn visual(kind: &[u8; 4], boxes: &[u8]) -> Vec<u8> {
    let fixed = [&[0; 6][..], &[0, 1], &[0; 16], &[1, 64, 0, 180], &[0; 50]].concat();
    boxed(kind, &[&fixed, boxes])
}

/// A description of sound: two channels, 48 kHz.
pub fn sound(kind: &[u8; 4], boxes: &[u8]) -> Vec<u8> {
    let fixed = [&[0; 6][..], &[0, 1], &[0; 8], &[0, 2, 0, 16], &[0; 4], &[0xbb, 0x80, 0, 0]].concat();
    boxed(kind, &[&fixed, boxes])
}

/// `esds` with an object type and a record.
pub fn esds(object_type: u8, record: &[u8]) -> Vec<u8> {
    let descriptor = |tag: u8, body: &[u8]| [&[tag, u8::try_from(body.len()).unwrap()], body].concat();
    let specific = descriptor(5, record);
    let config = descriptor(4, &[&[object_type, 0x15, 0, 0, 0][..], &[0; 8], &specific].concat());
    let es = descriptor(3, &[&[0, 1, 0][..], &config, &descriptor(6, &[2])].concat());
    full_box(b"esds", 0, 0, &[&es])
}

/// A decoder configuration record of H.264: 320x180, baseline.
pub const AVC_RECORD: &[u8] =
    b"\x01\x42\xc0\x0d\xff\xe1\0\x19\x67\x42\xc0\x0d\xd9\x01\x41\xfb\x01\x10\0\0\x03\0\x10\0\0\x03\x03\xc0\
    \xf1\x42\xa4\x80\x01\0\x05\x68\xcb\x83\xcb\x20";
