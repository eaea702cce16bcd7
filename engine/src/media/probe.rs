//! What a stream or file consists of, measured from its frames: tracks, codecs, rates and A/V skew.

use super::codec::{self, AudioConfig, VideoConfig};
use super::flv::{Codec, PacketType, PayloadInfo, Track};
use super::{Frame, FrameKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Collects facts from frames in the order they came. Its memory does not grow with their number.
#[derive(Debug, Default)]
pub struct Probe {
    tracks: BTreeMap<TrackKey, TrackProbe>,
    data_frames: u64,
    time_to_first_frame: Option<Duration>,
    arrivals: Option<(Duration, Duration)>,
}

/// Video before audio, then the track's id.
type TrackKey = (TrackKind, u8);

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackKind {
    /// Video.
    Video,
    /// Audio.
    Audio,
}

#[derive(Debug)]
struct TrackProbe {
    codec: Codec,
    video: Option<VideoConfig>,
    audio: Option<AudioConfig>,
    frames: u64,
    bytes: u64,
    /// First and newest decoding time.
    times: Option<(i64, i64)>,
    backward: u64,
    longest_gap: i64,
    keyframes: u64,
    key_times: Option<(i64, i64)>,
    longest_key_gap: i64,
}

impl Probe {
    /// An empty probe.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes how long it took from the start of the connection attempt to the first audio or video frame.
    pub fn set_time_to_first_frame(&mut self, elapsed: Duration) {
        self.time_to_first_frame = Some(elapsed);
    }

    /// Takes a frame. `arrival` is when it came, since any fixed moment; `None` when reading a file.
    pub fn push(&mut self, frame: &Frame, arrival: Option<Duration>) {
        if let Some(now) = arrival {
            let first = self.arrivals.map_or(now, |(first, _)| first);
            self.arrivals = Some((first, now));
        }
        let kind = match frame.kind {
            FrameKind::Audio => TrackKind::Audio,
            FrameKind::Video => TrackKind::Video,
            FrameKind::Data => {
                self.data_frames = self.data_frames.saturating_add(1);
                return;
            }
        };
        let Some(info) = PayloadInfo::parse(frame.kind, &frame.payload) else { return };
        for track in info.tracks(&frame.payload) {
            let entry = self.tracks.entry((kind, track.id)).or_insert_with(|| TrackProbe::new(track.codec));
            entry.push(frame, info.packet, &track);
        }
    }

    /// What is known so far.
    pub fn report(&self) -> ProbeReport {
        let tracks: Vec<_> = self.tracks.iter().map(|((kind, id), track)| track.report(*kind, *id)).collect();
        let starts = self.tracks.values().filter_map(|track| track.times.map(|times| times.0));
        let ends = self.tracks.values().filter_map(TrackProbe::end);
        let duration_ms = starts.min().zip(ends.max()).map_or(0, |(start, end)| end.saturating_sub(start));
        let bytes = self.tracks.values().map(|track| track.bytes).fold(0, u64::saturating_add);
        ProbeReport {
            time_to_first_frame_ms: self.time_to_first_frame.map(millis),
            received_ms: self.arrivals.map(|(first, last)| millis(last.saturating_sub(first))),
            duration_ms,
            bit_rate: bit_rate(bytes, duration_ms),
            start_skew_ms: self.skew(|(first, _)| first),
            end_skew_ms: self.skew(|(_, last)| last),
            data_frames: self.data_frames,
            tracks,
        }
    }

    /// Audio minus video, of the first track of each.
    fn skew(&self, of: impl Fn((i64, i64)) -> i64) -> Option<i64> {
        let time = |wanted: TrackKind| {
            let mut tracks = self.tracks.iter().filter(|((kind, _), _)| *kind == wanted);
            tracks.find_map(|(_, track)| track.times).map(&of)
        };
        Some(time(TrackKind::Audio)?.saturating_sub(time(TrackKind::Video)?))
    }
}

impl TrackProbe {
    fn new(codec: Codec) -> Self {
        Self {
            codec,
            video: None,
            audio: None,
            frames: 0,
            bytes: 0,
            times: None,
            backward: 0,
            longest_gap: 0,
            keyframes: 0,
            key_times: None,
            longest_key_gap: 0,
        }
    }

    fn push(&mut self, frame: &Frame, packet: PacketType, track: &Track<'_>) {
        match packet {
            PacketType::SequenceStart => self.configure(track),
            PacketType::CodedFrames | PacketType::CodedFramesX => self.coded(frame, track),
            _ => {}
        }
    }

    fn configure(&mut self, track: &Track<'_>) {
        self.codec = track.codec;
        self.video = codec::video_config(track.codec, track.data).or(self.video);
        self.audio = codec::audio_config(track.codec, track.data).or(self.audio);
    }

    fn coded(&mut self, frame: &Frame, track: &Track<'_>) {
        if self.codec != track.codec {
            (self.codec, self.video, self.audio) = (track.codec, None, None);
        }
        if self.audio.is_none() {
            self.audio = codec::audio_frame(track.codec, track.data);
        }
        self.frames = self.frames.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::try_from(track.data.len()).unwrap_or(u64::MAX));
        let time = frame.timestamp;
        if self.times.is_some_and(|(_, last)| time < last) {
            self.backward = self.backward.saturating_add(1);
        }
        self.longest_gap = self.longest_gap.max(advance(&mut self.times, time));
        if frame.flags.keyframe {
            self.keyframes = self.keyframes.saturating_add(1);
            self.longest_key_gap = self.longest_key_gap.max(advance(&mut self.key_times, time));
        }
    }

    /// The end of the newest frame, which is taken to last as long as all did on average.
    fn end(&self) -> Option<i64> {
        let (first, last) = self.times?;
        let steps = i64::try_from(self.frames.saturating_sub(1)).ok()?;
        let step = last.saturating_sub(first).checked_div(steps).unwrap_or_default();
        Some(last.saturating_add(step))
    }

    fn report(&self, kind: TrackKind, id: u8) -> TrackReport {
        let (first, last) = self.times.unwrap_or_default();
        let duration = self.end().unwrap_or_default().saturating_sub(first);
        let video = self.video.filter(|_| kind == TrackKind::Video);
        let audio = self.audio.filter(|_| kind == TrackKind::Audio);
        let name = video.and_then(|config| codec::profile_name(self.codec, config.profile));
        let (first_key, last_key) = self.key_times.unwrap_or_default();
        let is_video = kind == TrackKind::Video;
        TrackReport {
            kind,
            track: id,
            codec: self.codec.to_string(),
            profile: name.or(audio.and_then(|config| config.profile)),
            level: video.map(|config| f64::from(config.level) / 10.0),
            width: video.and_then(|config| config.width),
            height: video.and_then(|config| config.height),
            sample_rate: audio.map(|config| config.sample_rate),
            channels: audio.map(|config| config.channels).filter(|channels| *channels > 0),
            frames: self.frames,
            bytes: self.bytes,
            bit_rate: bit_rate(self.bytes, duration),
            frame_rate: per_second(self.frames.saturating_sub(1), last.saturating_sub(first)),
            keyframes: is_video.then_some(self.keyframes),
            keyframe_interval_ms: mean(last_key.saturating_sub(first_key), self.keyframes.saturating_sub(1)),
            longest_keyframe_interval_ms: (self.keyframes > 1).then_some(self.longest_key_gap),
            first_timestamp: first,
            last_timestamp: last,
            longest_gap_ms: self.longest_gap,
            backward_steps: self.backward,
        }
    }
}

/// Moves the newer of two times on and returns by how much.
fn advance(times: &mut Option<(i64, i64)>, time: i64) -> i64 {
    let (first, last) = times.unwrap_or((time, time));
    *times = Some((first, time));
    time.saturating_sub(last)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn per_second(count: u64, ms: i64) -> Option<f64> {
    (ms > 0 && count > 0).then(|| count as f64 * 1_000.0 / ms as f64)
}

fn bit_rate(bytes: u64, ms: i64) -> Option<u64> {
    per_second(bytes.saturating_mul(8), ms).map(|rate| rate.round() as u64)
}

fn mean(sum: i64, count: u64) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64)
}

/// What a stream or file consists of. All times are in milliseconds of media time unless said otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProbeReport {
    /// From the start of the connection attempt to the first audio or video frame.
    pub time_to_first_frame_ms: Option<u64>,
    /// Real time from the first frame's arrival to the last one's.
    pub received_ms: Option<u64>,
    /// From the first frame's time to the end of the last one.
    pub duration_ms: i64,
    /// Bits per second of coded audio and video.
    pub bit_rate: Option<u64>,
    /// First audio frame's time minus first video frame's: positive when audio starts later.
    pub start_skew_ms: Option<i64>,
    /// Newest audio frame's time minus newest video frame's.
    pub end_skew_ms: Option<i64>,
    /// Data frames such as `onMetaData`.
    pub data_frames: u64,
    /// The tracks, video first.
    pub tracks: Vec<TrackReport>,
}

/// What is known about one track. Fields that are missing or do not apply are `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrackReport {
    /// Audio or video.
    pub kind: TrackKind,
    /// E-RTMP track id; 0 is the default track.
    pub track: u8,
    /// The codec's name, such as `H.264`.
    pub codec: String,
    /// The profile's name.
    pub profile: Option<&'static str>,
    /// The level: 3.1.
    pub level: Option<f64>,
    /// Picture width in pixels.
    pub width: Option<u32>,
    /// Picture height in pixels.
    pub height: Option<u32>,
    /// Samples per second.
    pub sample_rate: Option<u32>,
    /// Audio channels.
    pub channels: Option<u8>,
    /// Coded frames.
    pub frames: u64,
    /// Bytes of coded frames.
    pub bytes: u64,
    /// Bits per second.
    pub bit_rate: Option<u64>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
    /// Keyframes, for video.
    pub keyframes: Option<u64>,
    /// Mean distance of keyframes.
    pub keyframe_interval_ms: Option<f64>,
    /// Longest distance of keyframes.
    pub longest_keyframe_interval_ms: Option<i64>,
    /// First frame's decoding time.
    pub first_timestamp: i64,
    /// Newest frame's decoding time.
    pub last_timestamp: i64,
    /// Longest distance of two frames.
    pub longest_gap_ms: i64,
    /// Frames whose time lies before that of the one before.
    pub backward_steps: u64,
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = self.time_to_first_frame_ms {
            writeln!(f, "first frame  after {time} ms")?;
        }
        write!(f, "length       {:.3} s", self.duration_ms as f64 / 1_000.0)?;
        writeln!(f, "{}", rate_text(self.bit_rate))?;
        if let (Some(start), Some(end)) = (self.start_skew_ms, self.end_skew_ms) {
            writeln!(f, "A/V skew     audio - video: {start:+} ms at the start, {end:+} ms at the end")?;
        }
        for track in &self.tracks {
            writeln!(f, "{track}")?;
        }
        write!(f, "data         {} frames", self.data_frames)
    }
}

impl fmt::Display for TrackReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == TrackKind::Video { "video" } else { "audio" };
        write!(f, "{kind} {:<6} {}", self.track, self.codec)?;
        if let Some(profile) = self.profile {
            write!(f, " {profile}")?;
        }
        if let Some(level) = self.level.filter(|level| *level > 0.0) {
            write!(f, " level {level:.1}")?;
        }
        if let (Some(width), Some(height)) = (self.width, self.height) {
            write!(f, ", {width}x{height}")?;
        }
        if let Some(rate) = self.sample_rate {
            write!(f, ", {rate} Hz")?;
        }
        if let Some(channels) = self.channels {
            write!(f, ", {channels} ch")?;
        }
        write!(f, ", {} frames", self.frames)?;
        if let Some(rate) = self.frame_rate {
            write!(f, ", {rate:.2}/s")?;
        }
        write!(f, "{}", rate_text(self.bit_rate))?;
        if let Some(interval) = self.keyframe_interval_ms {
            write!(f, ", keyframe every {:.2} s", interval / 1_000.0)?;
        }
        if self.backward_steps > 0 {
            write!(f, ", time goes back {} times", self.backward_steps)?;
        }
        Ok(())
    }
}

fn rate_text(bit_rate: Option<u64>) -> String {
    bit_rate.map(|rate| format!(", {:.0} kbit/s", rate as f64 / 1_000.0)).unwrap_or_default()
}
