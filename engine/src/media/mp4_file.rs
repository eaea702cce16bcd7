//! MP4 and QuickTime files sample by sample, fragmented or not, wherever the index is, with byte positions in errors.
//!
//! ```text
//!   moov ──> tracks, where their tables are     tables, moof ──> samples of each track, edit by edit
//!                                               mdat ──> the sample that is decoded next, of all tracks ──> frames
//! ```
//!
//! The boxes that are small are read by `mp4-atom`, which has no view of a file as a whole. What has one reads all tables into
//! memory before the first sample (`mp4`, `re_mp4`), knows neither edit lists nor fragments, or is under a licence that does
//! not fit (`mp4parse`, `symphonia-format-isomp4`). Here the tables stay on disk, and a piece of each is in memory: so a file
//! starts at once however long it is, and takes as much memory as a short one.
//!
//! Edit lists are honoured: a track is shifted against the other as they say, and what they cut off is left out, but for what
//! decoders need before the first picture that is shown. Pictures keep the times at which they are decoded and shown. Sequence
//! headers and frames are those of [`elementary`](super::elementary).

mod boxes;
mod description;
mod edits;
mod feed;
mod fragments;
mod movie;
mod source;
mod tables;

use super::elementary::{Format, Muxer, Sample};
use super::flv::{Codec, MAX_TAG_PAYLOAD};
use super::flv_file::{FileTag, malformed};
use super::metadata::{Value, on_metadata};
use super::{Frame, NANOS_PER_MS, NotCarried};
use crate::{Error, ErrorKind, Result};
use description::{Coding, Description};
use feed::{Feed, Timed, too_long};
use movie::{Movie, Track};
use source::{Source, Window};
use std::collections::VecDeque;
use std::fmt;
use std::io::{Read, Seek};

/// Bytes of a track's data that are in memory; longer samples are read by themselves.
const PIECE: usize = 64 * 1024;

/// Bytes of a sample that tell what it is, and all that are looked at of the first one of a kind.
const HEAD: usize = 64;
const FIRST_HEAD: usize = 4 * 1024;

/// Reads the samples of an MP4 file as frames, in the order of decoding over all tracks.
///
/// Frames are those that an encoder would send: `onMetaData`, a sequence header for each track, then coded frames, and a
/// sequence header again where a track goes on otherwise. Times are in milliseconds from where the movie begins; what comes
/// before that, as encoders need it, has times below 0.
///
/// Memory is a piece of each table and track, and one sample (16 MiB); where the file has so many bytes.
pub struct Mp4Reader<R> {
    source: Source<R>,
    tracks: Vec<Playing>,
    muxer: Muxer,
    /// Frames that were made and not yet taken.
    ready: VecDeque<FileTag>,
    sample: Vec<u8>,
    not_carried: Vec<NotCarried>,
    truncated_at: Option<u64>,
    /// No more is read than this; and only what samples are, not all of their bytes.
    skims: Option<u64>,
    has_stopped: bool,
}

/// A track that is played.
struct Playing {
    feed: Feed,
    /// Its number in the stream.
    number: u8,
    /// The sample that comes next.
    next: Option<Timed>,
    window: Window,
    /// The description that holds, from 1 on.
    description: u32,
    coding: Coding,
    /// What was read of its first sample, for [`Mp4Reader::skim`].
    head: Vec<u8>,
}

impl<R: Read + Seek> Mp4Reader<R> {
    /// Reads the index, wherever it is, but not its tables.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] with the byte position where there is no index, where it makes no sense, or where nothing of the
    /// file can be carried by RTMP; [`ErrorKind::Limit`] for an index that is too large, [`ErrorKind::Io`] if reading fails.
    pub fn new(input: R) -> Result<Self> {
        let mut source = Source::new(input)?;
        let movie = Movie::read(&mut source)?;
        let mut reader = Self {
            source,
            tracks: Vec::new(),
            muxer: Muxer::new(),
            ready: VecDeque::new(),
            sample: Vec::new(),
            not_carried: Vec::new(),
            truncated_at: None,
            skims: None,
            has_stopped: false,
        };
        for is_video in [true, false] {
            let its = movie.tracks.iter().filter(|track| track.is_video == is_video);
            // Of sound in several languages one is enabled; where none is, the first was meant.
            let enabled: Vec<_> = its.clone().filter(|track| track.is_enabled).collect();
            let chosen = if enabled.is_empty() { its.take(1).collect() } else { enabled };
            chosen.into_iter().for_each(|track| reader.open_track(track));
        }
        if reader.tracks.is_empty() {
            return Err(reader.nothing_carried());
        }
        for index in 0..reader.tracks.len() {
            reader.read_ahead(index)?;
        }
        let begins = reader.tracks.iter().filter_map(|track| track.next.map(|next| next.dts)).min();
        let metadata = reader.metadata(begins.unwrap_or_default().div_euclid(NANOS_PER_MS));
        reader.ready.push_back(FileTag { position: 0, frame: metadata });
        Ok(reader)
    }

    /// Takes a track in, or notes why it is not.
    fn open_track(&mut self, track: &Track) {
        let number = self.tracks.iter().filter(|other| other.feed.track().is_video == track.is_video).count();
        let declared = match (track.descriptions.first(), u8::try_from(number)) {
            (Some(Description::Carried(coding)), Ok(number)) => {
                let set = self.muxer.set_track(number, coding.codec, coding.record.as_deref());
                let codec = coding.codec;
                set.map(|()| (coding.clone(), number))
                    .map_err(|_| format!("{codec}, whose configuration makes no sense"))
            }
            (Some(Description::Foreign(what)), _) => Err(what.clone()),
            _ => Err("one of too many".to_owned()),
        };
        let name = name(track);
        match declared {
            Ok((coding, number)) => self.tracks.push(Playing::new(track.clone(), coding, number)),
            Err(why) => return self.leave_out(track.is_video, format!("{name} ({why})")),
        }
        if track.rotation != 0 {
            let options = "-c:a copy";
            let what = format!("the rotation of {name} by {} degrees", track.rotation);
            self.not_carried.push(NotCarried { what, options });
        }
    }

    fn leave_out(&mut self, is_video: bool, what: String) {
        let options = if is_video { "-c:v libx264 -c:a copy" } else { "-c:v copy -c:a aac" };
        self.not_carried.push(NotCarried { what, options });
    }

    fn nothing_carried(&self) -> Error {
        let what: Vec<_> = self.not_carried.iter().map(ToString::to_string).collect();
        match what.is_empty() {
            true => malformed(0, "the file holds no track of audio or video"),
            false => malformed(0, format_args!("RTMP carries nothing of the file: {}", what.join(", "))),
        }
    }

    /// What the file has and a stream made of it has not.
    pub fn not_carried(&self) -> &[NotCarried] {
        &self.not_carried
    }

    /// Bytes of the file when it was opened.
    pub fn length(&self) -> u64 {
        self.source.length()
    }

    /// Offset of the next sample.
    pub fn position(&self) -> u64 {
        let next = self.next_track().and_then(|index| self.tracks.get(index)?.next);
        next.map_or(self.source.length(), |next| next.sample.position)
    }

    /// Where the data of the first sample would be that the file ends before, once it has been reached; what belongs to its
    /// track and comes before it is whole.
    pub fn truncated_at(&self) -> Option<u64> {
        self.truncated_at
    }

    /// Reads no more than `limit` bytes from now on, and of samples what tells their codec's facts only: for who wants to
    /// know times.
    pub(super) fn skim(&mut self, limit: u64) {
        self.skims = Some(limit);
    }

    /// Whether there would have been more.
    pub(super) fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] with the byte position where index or sample make no sense, [`ErrorKind::Limit`] for what is too
    /// long, [`ErrorKind::Io`] if reading fails.
    pub fn next_tag(&mut self) -> Result<Option<FileTag>> {
        loop {
            if let Some(tag) = self.ready.pop_front() {
                return Ok(Some(tag));
            }
            if self.skims.is_some_and(|limit| self.source.work() > limit) {
                self.has_stopped = true;
                return Ok(None);
            }
            let Some(index) = self.next_track() else { return Ok(None) };
            self.play(index)?;
        }
    }

    /// The track whose sample is decoded next.
    fn next_track(&self) -> Option<usize> {
        let times = self.tracks.iter().enumerate().filter_map(|(at, track)| Some((track.next?.dts, at)));
        times.min().map(|(_, at)| at)
    }

    /// Makes frames of the next sample of a track.
    fn play(&mut self, index: usize) -> Result<()> {
        let Some(track) = self.tracks.get_mut(index) else { return Ok(()) };
        let Some(timed) = track.next.take() else { return Ok(()) };
        let sample = timed.sample;
        if sample.description != track.description {
            track.follow(sample.description, &mut self.muxer).map_err(|error| at(sample.position, &error))?;
        }
        let (number, codec, skims) = (track.number, track.coding.codec, self.skims.is_some());
        let Some(data) = track.data(&mut self.source, &timed, &mut self.sample, skims)? else {
            self.truncated_at.get_or_insert(sample.position);
            return Ok(());
        };
        let coded = Sample {
            track: number,
            codec,
            format: Format::Native,
            pts_ns: timed.pts,
            dts_ns: Some(timed.dts),
            // The others tell it themselves.
            keyframe: sample.is_sync && codec == Codec::Vvc,
            config: false,
            discardable: false,
            data,
        };
        let frames = self.muxer.push(&coded).map_err(|error| at(sample.position, &error))?;
        self.ready.extend(frames.into_iter().map(|frame| FileTag { position: sample.position, frame }));
        self.read_ahead(index)
    }

    /// Finds the next sample of a track.
    fn read_ahead(&mut self, index: usize) -> Result<()> {
        let Some(track) = self.tracks.get_mut(index) else { return Ok(()) };
        track.next = track.feed.next(&mut self.source)?;
        Ok(())
    }

    /// `onMetaData`, as encoders send it.
    fn metadata(&self, timestamp: i64) -> Frame {
        let first = |is_video: bool| self.tracks.iter().find(|track| track.feed.track().is_video == is_video);
        let mut fields = Vec::new();
        let mut put = |name: &'static str, value: Option<f64>| {
            fields.extend(value.map(|value| (name, Value::Number(value))));
        };
        if let Some(track) = first(true) {
            put("width", track.coding.size.map(|(width, _)| width.into()));
            put("height", track.coding.size.map(|(_, height)| height.into()));
            put("framerate", track.frame_rate());
            put("videocodecid", codec_id(track.coding.codec));
        }
        if let Some(track) = first(false) {
            put("audiosamplerate", track.coding.sound.map(|(rate, _)| rate.into()));
            put("audiochannels", track.coding.sound.map(|(_, channels)| channels.into()));
            put("audiocodecid", codec_id(track.coding.codec));
        }
        on_metadata(timestamp, &fields)
    }
}

impl<R> fmt::Debug for Mp4Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tracks: Vec<_> = self.tracks.iter().map(|track| name(track.feed.track())).collect();
        f.debug_struct("Mp4Reader").field("tracks", &tracks).finish_non_exhaustive()
    }
}

impl Playing {
    fn new(track: Track, coding: Coding, number: u8) -> Self {
        let (feed, window) = (Feed::new(track), Window::new(PIECE));
        Self { feed, number, next: None, window, description: 1, coding, head: Vec::new() }
    }

    /// Goes on as another description of the track says.
    fn follow(&mut self, description: u32, muxer: &mut Muxer) -> Result<()> {
        self.description = description;
        let index = usize::try_from(description).unwrap_or_default().saturating_sub(1);
        match self.feed.track().descriptions.get(index) {
            Some(Description::Carried(coding)) => {
                muxer.set_track(self.number, coding.codec, coding.record.as_deref())?;
                (self.coding, self.head) = (coding.clone(), Vec::new());
                Ok(())
            }
            Some(Description::Foreign(what)) => {
                let text =
                    format!("{} goes on with what RTMP does not carry ({what})", name(self.feed.track()));
                Err(Error::new(ErrorKind::Format, text))
            }
            // Writers put any number there where there is one description.
            None => Ok(()),
        }
    }

    /// The bytes of a sample, or the head of the track's first one; `None` where the file ends before.
    fn data<'a, R: Read + Seek>(
        &'a mut self,
        source: &mut Source<R>,
        timed: &Timed,
        whole: &'a mut Vec<u8>,
        skims: bool,
    ) -> Result<Option<&'a [u8]>> {
        let Timed { sample, .. } = timed;
        let len = usize::try_from(sample.size).unwrap_or(usize::MAX);
        if len > MAX_TAG_PAYLOAD {
            return Err(too_long(sample, MAX_TAG_PAYLOAD));
        }
        if sample.position.saturating_add(sample.size.into()) > source.length() {
            return Ok(None);
        }
        if skims && !self.head.is_empty() {
            return Ok(Some(self.head.get(..HEAD).unwrap_or(&self.head)));
        }
        if skims {
            source.read(sample.position, len.min(FIRST_HEAD), &mut self.head)?;
            return Ok(Some(&self.head));
        }
        if len <= PIECE {
            return self.window.get(source, sample.position, len);
        }
        source.read(sample.position, len, whole)?;
        Ok(Some(whole.as_slice()).filter(|whole| whole.len() == len))
    }

    /// Pictures per second, where the samples outside fragments all last as long.
    fn frame_rate(&self) -> Option<f64> {
        let track = self.feed.track();
        track.tables.as_ref().filter(|tables| tables.is_steady())?;
        let duration = self.next?.sample.duration;
        (duration > 0).then(|| f64::from(track.timescale) / f64::from(duration))
    }
}

/// How texts call a track.
fn name(track: &Track) -> String {
    format!("{} track {}", if track.is_video { "video" } else { "audio" }, track.number)
}

fn at(position: u64, error: &Error) -> Error {
    Error::new(error.kind(), format!("at byte {position}: {error}"))
}

/// FLV's number of a codec, else its FourCC as Enhanced RTMP has it in metadata.
fn codec_id(codec: Codec) -> Option<f64> {
    Some(match codec {
        Codec::H264 => 7.0,
        Codec::Aac => 10.0,
        Codec::Mp3 => 2.0,
        codec => f64::from(u32::from_be_bytes(codec.fourcc()?)),
    })
}

/// Whether a file is MP4 or QuickTime, by its first bytes.
pub(super) fn is_mp4(bytes: &[u8]) -> bool {
    const FIRST: [&[u8]; 11] =
        [b"ftyp", b"moov", b"mdat", b"moof", b"styp", b"sidx", b"free", b"skip", b"wide", b"pnot", b"uuid"];
    bytes.get(4..8).is_some_and(|kind| FIRST.contains(&kind))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]
mod tests;
