//! What was before: counters of the last seconds, for rates, and a sample of each second of the last ten minutes.

use super::{Audience, Rates, StreamStats};
use crate::status::{EngineStats, StreamInfo};
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;

bound! {
    /// Samples of a stream, and of the engine: ten minutes (test `the_past_of_a_stream_is_ten_minutes_long`).
    const MAX_SAMPLES: usize = 600, without usize::MAX;
}

/// Rates are those of so many seconds: as long as nginx-rtmp takes, whose readers judge streams by them.
const RATED: usize = 10;
/// Room for samples is made for so many at a time, as streams may be short.
const MORE_SAMPLES: usize = 60;
/// How long the past of a stream is kept that has ended.
const KEPT: Duration = Duration::from_secs(600);
/// What a stream has now, for what is wrong with it: over so many seconds, as single ones differ with their keyframes. One more, and
/// a rate that breaks down to a tenth is told later than five seconds after that.
const NOW: usize = 4;
/// What is usual is that of a minute before, of which there has to be so much.
const USUAL: usize = 60;
const LEAST_USUAL: usize = 20;
/// What is noted of a stream each second: where nothing was for longer, it is over.
const IS_OVER_AFTER: Duration = Duration::from_secs(3);

/// One second of a stream or of the engine. 28 bytes, as there are many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Sample {
    /// Seconds since the engine's start.
    pub at_s: u32,
    /// Kilobits received.
    pub in_kbps: u32,
    /// Kilobits sent.
    pub out_kbps: u32,
    /// Connections that play.
    pub players: u32,
    /// Ten times the frames of video per second.
    pub frame_rate_x10: u16,
    /// Milliseconds from one keyframe to the next; 0 where it is not known.
    pub keyframe_interval_ms: u16,
    /// Milliseconds since the oldest frame came that has not been written to the player that is farthest behind.
    pub queue_ms: u16,
    /// Frames that players missed because they were too slow.
    pub frames_skipped: u16,
    /// Newest audio minus newest video, in milliseconds.
    pub skew_ms: i16,
    /// Milliseconds since the newest frame came, 65535 at most; 0 where none has come yet.
    pub silence_ms: u16,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment {
    bytes_in: u64,
    bytes_out: u64,
    audio_bytes: u64,
    video_bytes: u64,
    video_frames: u64,
    keyframes: u64,
    skipped: u64,
    jumps: u64,
    players: usize,
    queue: Duration,
    skew: i64,
    silence: Duration,
    /// How long what they are of has been there.
    age: Duration,
}

impl Moment {
    pub(super) fn of_stream(info: &StreamInfo, audience: Audience) -> Self {
        Self {
            bytes_in: info.bytes_in,
            bytes_out: info.bytes_out,
            audio_bytes: info.audio_bytes,
            video_bytes: info.video_bytes,
            video_frames: info.video_frames,
            keyframes: info.keyframes,
            skipped: info.frames_skipped,
            jumps: info.time_jumps,
            players: audience.players,
            queue: audience.queue,
            skew: info.skew_ms.unwrap_or_default(),
            silence: info.silence.unwrap_or_default(),
            age: info.uptime,
        }
    }

    pub(super) fn of_engine(engine: &EngineStats, streams: &[StreamStats]) -> Self {
        Self {
            bytes_in: engine.bytes_in,
            bytes_out: engine.bytes_out,
            players: engine.players,
            queue: streams.iter().map(|stream| stream.queue).max().unwrap_or_default(),
            age: engine.uptime,
            ..Self::default()
        }
    }
}

/// The past of a stream or of the engine.
#[derive(Debug)]
pub(super) struct Past {
    /// Of the last seconds, with their times.
    recent: VecDeque<(Duration, Moment)>,
    /// None where there are too many streams.
    samples: Option<VecDeque<Sample>>,
    /// None before there is video.
    keyframes: Option<Keyframes>,
}

/// When there was a keyframe, to a second.
#[derive(Debug, Clone, Copy)]
struct Keyframes {
    count: u64,
    /// When there was the last one; or the first frame of video, where there was none.
    since: Duration,
    /// From one to the next, the last time.
    usual: Option<Duration>,
}

/// What a stream did lately, for what is wrong with it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Recently {
    /// What it has now.
    pub(super) kbps: u64,
    pub(super) frame_rate: f64,
    /// What it had in the minute before; `None` where that is not known.
    pub(super) usual: Option<Usual>,
    /// Whether there is video just now.
    pub(super) has_video: bool,
    /// Time since the last keyframe, or since the first frame of video.
    pub(super) since_keyframe: Option<Duration>,
    /// What is usual from one to the next.
    pub(super) usual_keyframe: Option<Duration>,
    /// Newest audio minus newest video a second ago.
    pub(super) skew_before: Option<i64>,
    /// Of the last ten seconds: jumps of its times, and frames that viewers have missed.
    pub(super) jumps: u64,
    pub(super) skipped: u64,
}

/// What a stream has most of the time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usual {
    pub(super) kbps: u64,
    pub(super) frame_rate: f64,
}

impl Default for Past {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Past {
    /// One that has only begun; a long one has samples.
    pub(super) fn new(is_long: bool) -> Self {
        Self { recent: VecDeque::new(), samples: is_long.then(VecDeque::new), keyframes: None }
    }

    pub(super) fn is_long(&self) -> bool {
        self.samples.is_some()
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.iter().flatten().copied().collect()
    }

    /// When something was noted last.
    pub(super) fn noted(&self) -> Duration {
        self.recent.back().map_or(Duration::ZERO, |(at, _)| *at)
    }

    /// Whether nothing comes any more.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.noted()) > IS_OVER_AFTER
    }

    /// Whether it is to be kept.
    pub(super) fn is_kept(&self, now: Duration) -> bool {
        let since = now.saturating_sub(self.noted());
        since < if self.is_long() { KEPT } else { IS_OVER_AFTER }
    }

    pub(super) fn note(&mut self, moment: Moment, now: Duration) {
        // Another of the same name counts from 0.
        if self.recent.back().is_some_and(|(_, before)| moment.age < before.age) {
            self.recent.clear();
            self.keyframes = None;
        }
        self.note_keyframes(&moment, now);
        self.recent.push_back((now, moment));
        if self.recent.len() > RATED + 1 {
            self.recent.pop_front();
        }
        let sample = self.sample(now, moment);
        let Some(samples) = &mut self.samples else { return };
        if samples.len() >= MAX_SAMPLES.get() {
            samples.pop_front();
        }
        if samples.len() == samples.capacity() {
            samples.reserve_exact(MORE_SAMPLES);
        }
        samples.push_back(sample);
    }

    fn note_keyframes(&mut self, moment: &Moment, now: Duration) {
        if moment.video_frames == 0 {
            return;
        }
        let before = self.keyframes;
        let known =
            self.keyframes.get_or_insert(Keyframes { count: moment.keyframes, since: now, usual: None });
        let more = u32::try_from(moment.keyframes.saturating_sub(known.count)).unwrap_or(u32::MAX);
        if let (Some(before), 1..) = (before, more) {
            let usual = now.saturating_sub(before.since) / more;
            *known = Keyframes { count: moment.keyframes, since: now, usual: Some(usual) };
        }
    }

    /// What it did lately.
    pub(super) fn recently(&self) -> Recently {
        let Some((now, moment)) = self.recent.back().copied() else { return Recently::default() };
        let before = |seconds: usize| self.recent.iter().rev().nth(seconds).copied();
        let since = |seconds| before(seconds).map(|from| Step { from, to: (now, moment) });
        let (step, ten) = (since(NOW), self.recent_step());
        let has_more = self.recent.len() > 1;
        Recently {
            kbps: step.as_ref().map_or(0, |step| step.per_second(8, |moment| moment.bytes_in) / 1_000),
            frame_rate: step
                .map_or(0.0, |step| step.per_second(100, |moment| moment.video_frames) as f64 / 100.0),
            usual: self.usual(now, moment.age),
            has_video: since(2).is_some_and(|step| step.more(|moment| moment.video_frames) > 0),
            since_keyframe: self.keyframes.map(|keyframes| now.saturating_sub(keyframes.since)),
            usual_keyframe: self.keyframes.and_then(|keyframes| keyframes.usual),
            skew_before: before(1).map(|(_, moment)| moment.skew),
            jumps: if has_more { ten.more(|moment| moment.jumps) } else { moment.jumps },
            skipped: if has_more { ten.more(|moment| moment.skipped) } else { 0 },
        }
    }

    /// What it had in the minute before now, of which the seconds before its beginning are no part.
    fn usual(&self, now: Duration, age: Duration) -> Option<Usual> {
        let begun = now.saturating_sub(age).as_secs();
        let samples = self.samples.iter().flatten().rev().skip(NOW).take(USUAL);
        let samples: Vec<_> = samples.filter(|sample| u64::from(sample.at_s) > begun).collect();
        let count = u64::try_from(samples.len()).ok().filter(|_| samples.len() >= LEAST_USUAL)?;
        let kbps = samples.iter().map(|sample| u64::from(sample.in_kbps)).sum::<u64>();
        let frames = samples.iter().map(|sample| u64::from(sample.frame_rate_x10)).sum::<u64>();
        Some(Usual { kbps: kbps.checked_div(count)?, frame_rate: frames as f64 / 10.0 / count as f64 })
    }

    /// What has changed since the last second.
    fn sample(&self, now: Duration, moment: Moment) -> Sample {
        let before = self
            .recent
            .iter()
            .rev()
            .nth(1)
            .copied()
            .unwrap_or((now.saturating_sub(moment.age), Moment::default()));
        let step = Step { from: before, to: (now, moment) };
        Sample {
            at_s: clipped(now.as_secs()),
            in_kbps: clipped(step.per_second(8, |moment| moment.bytes_in) / 1_000),
            out_kbps: clipped(step.per_second(8, |moment| moment.bytes_out) / 1_000),
            players: clipped(moment.players as u64),
            frame_rate_x10: clipped(step.per_second(10, |moment| moment.video_frames)),
            keyframe_interval_ms: clipped(self.keyframe_interval().map_or(0, |time| time.as_millis() as u64)),
            queue_ms: clipped(moment.queue.as_millis() as u64),
            frames_skipped: clipped(step.more(|moment| moment.skipped)),
            skew_ms: moment.skew.clamp(i16::MIN.into(), i16::MAX.into()) as i16,
            silence_ms: clipped(moment.silence.as_millis() as u64),
        }
    }

    /// From the oldest of the last seconds to the newest; of what has just begun from its beginning.
    fn recent_step(&self) -> Step {
        let newest = self.recent.back().copied().unwrap_or_default();
        let (now, moment) = newest;
        let begun = (now.saturating_sub(moment.age), Moment::default());
        let oldest = self.recent.front().copied().filter(|_| self.recent.len() > 1);
        Step { from: oldest.unwrap_or(begun), to: newest }
    }

    pub(super) fn rates(&self) -> Rates {
        let step = self.recent_step();
        Rates {
            bits_in: step.per_second(8, |moment| moment.bytes_in),
            bits_out: step.per_second(8, |moment| moment.bytes_out),
            audio: step.per_second(8, |moment| moment.audio_bytes),
            video: step.per_second(8, |moment| moment.video_bytes),
        }
    }

    pub(super) fn frame_rate(&self) -> f64 {
        self.recent_step().per_second(100, |moment| moment.video_frames) as f64 / 100.0
    }

    pub(super) fn keyframe_interval(&self) -> Option<Duration> {
        let step = self.recent_step();
        let count = u32::try_from(step.more(|moment| moment.keyframes)).ok()?;
        step.time().checked_div(count)
    }
}

/// From one moment to a later one.
struct Step {
    from: (Duration, Moment),
    to: (Duration, Moment),
}

impl Step {
    fn time(&self) -> Duration {
        self.to.0.saturating_sub(self.from.0)
    }

    fn more(&self, counter: impl Fn(&Moment) -> u64) -> u64 {
        counter(&self.to.1).saturating_sub(counter(&self.from.1))
    }

    /// How much more in a second, in units of which `units` are one of the counter's.
    fn per_second(&self, units: u64, counter: impl Fn(&Moment) -> u64) -> u64 {
        let micros = self.time().as_micros();
        let more = u128::from(self.more(counter)) * u128::from(units) * 1_000_000;
        more.checked_div(micros).map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

/// What does not fit is as much as fits.
fn clipped<T: TryFrom<u64> + Bounded>(value: u64) -> T {
    T::try_from(value).unwrap_or(T::MOST)
}

trait Bounded {
    const MOST: Self;
}

impl Bounded for u16 {
    const MOST: Self = Self::MAX;
}

impl Bounded for u32 {
    const MOST: Self = Self::MAX;
}
