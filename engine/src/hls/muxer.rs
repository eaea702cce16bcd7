//! The task of one stream: frames from the hub, cut and put into the window, and what that makes of the playlists told to all.

use super::TICKS;
use super::plan::{self, Plan, Wishes};
use super::playlist::{Terms, Window};
use super::segmenter::{Cut, Segmenter};
use super::{Hls, HlsStream, State, Stopped};
use crate::config::{HlsConfig, HlsFormat};
use crate::hub::{EndReason, Interest, SubscribeOptions, Subscriber};
use crate::limits::ms;
use crate::media::Frame;
use crate::policy::StartAt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};

/// How often it looks whether somebody still wants the stream, and whether its publisher is there.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// So many halves of TARGETDURATION after a publisher has been lost its first gap is listed: before requests that wait for the next
/// segment are refused, which is after three times TARGETDURATION; then one each TARGETDURATION. One that is back earlier leaves none:
/// where a gap is the last of a playlist, hls.js 1.7 loads nothing for a second, for two at the next, then four and eight, also where
/// the publisher is back meanwhile.
const FIRST_GAP_AFTER: u32 = 5;

/// See the module.
pub(super) struct Muxer {
    hls: Hls,
    stream: Arc<HlsStream>,
    config: HlsConfig,
    subscriber: Subscriber,
    /// How long a publisher is waited for.
    wait: Duration,
    /// Bytes that its window holds, as the others know it.
    counted: usize,
}

/// A stream while it is muxed.
struct Playing {
    segmenter: Segmenter,
    window: Window,
    cuts: Vec<Cut>,
    /// How long a gap is that stands for a publisher that is away, in ticks.
    gap: i64,
    /// When the next one is due, while it is away.
    next_gap: Option<Instant>,
    /// Time of the newest frame, in ticks.
    edge: i64,
    /// Something has come that nobody has been told of yet.
    has_news: bool,
    /// How long a part is at most; none where there are no parts.
    part: Duration,
    /// From when on the end of a segment may be told.
    ends_from: Instant,
    /// A segment has ended of which nobody has been told yet.
    has_ended: bool,
}

impl Muxer {
    pub(super) fn new(hls: Hls, stream: Arc<HlsStream>, config: HlsConfig, wait: Duration) -> Self {
        // Not one who watches: those hold the stream themselves.
        let options =
            SubscribeOptions { start: StartAt::Keyframe, wait: Some(wait), interest: Interest::Follower };
        let subscriber = hls.shared.hub.subscribe(&stream.key, options);
        Self { hls, stream, config, subscriber, wait, counted: 0 }
    }

    pub(super) async fn run(mut self) {
        let stopped = match self.begin().await {
            Ok(playing) => self.play(playing).await,
            Err(stopped) => Some(stopped),
        };
        if let Some(stopped) = stopped {
            tracing::info!(stream = %self.stream.key, "HLS stopped: {stopped}");
            self.stream.state.send_replace(State::Stopped(stopped));
            if stopped == Stopped::Over {
                self.hand_over();
            }
        }
    }

    /// Has the stream's name made for HLS again, where that has been published before the end was seen here.
    fn hand_over(&self) {
        let is_published =
            || self.hls.shared.hub.stream(&self.stream.key).is_some_and(|info| info.publisher.is_some());
        if self.config.is_made_unasked() && is_published() {
            self.hls.open(&self.stream.key, &self.config, self.wait);
        }
    }

    /// Waits until the stream has shown what it is, and begins with what its ring holds: playlists are full at once.
    async fn begin(&mut self) -> Result<Playing, Stopped> {
        let (wishes, mut frames) = (self.wishes(), Vec::new());
        self.subscriber.rewind(ms(self.config.window_ms));
        loop {
            let before = frames.len();
            let taken = self.subscriber.take(usize::MAX, &mut frames);
            if self.subscriber.take_renewal() {
                // The publisher before was another, and what it sent may have been of another kind.
                frames.drain(..before);
            }
            let main = self.subscriber.main();
            let is_shown =
                self.subscriber.tracks().are_settled && plan::shows_segments(&frames, main, wishes);
            if is_shown || taken.is_err() {
                let has_ended = |reason: EndReason| {
                    tracing::debug!(stream = %self.stream.key, "HLS: {reason}");
                    Stopped::Over
                };
                taken.map_err(has_ended)?;
                let plan = Plan::of(&frames, main, wishes).ok_or(Stopped::NoTracks)?;
                return Ok(self.playing(&plan, &frames));
            }
            // Deadlines wake nobody.
            let _ = timeout(LOOK_PERIOD, self.subscriber.ready()).await;
        }
    }

    fn wishes(&self) -> Wishes {
        let HlsConfig { segment_ms, max_segment_ms, part_ms, low_latency, format, .. } = self.config;
        // What has no parts of its own is listed by whole segments.
        let has_parts = low_latency && format == HlsFormat::Fmp4;
        Wishes { segment_ms, max_segment_ms, part_ms: has_parts.then_some(part_ms), format }
    }

    fn playing(&self, plan: &Plan, frames: &[Frame]) -> Playing {
        let window = i64::try_from(self.config.window_ms).unwrap_or(i64::MAX / TICKS) * (TICKS / 1_000);
        let origin = origin(frames);
        let terms = Terms {
            rules: plan.rules,
            window,
            format: plan.format,
            max_bytes: self.hls.shared.limits.load().hls_bytes,
            first: first_number(origin, frames),
        };
        tracing::info!(
            stream = %self.stream.key, target_s = plan.rules.target_s, renditions = plan.renditions(), "HLS begins"
        );
        let mut playing = Playing {
            segmenter: Segmenter::new(plan, origin),
            window: Window::new(terms),
            cuts: Vec::new(),
            gap: i64::from(plan.rules.target_s) * TICKS,
            next_gap: None,
            edge: 0,
            part: plan.rules.part.map(duration).unwrap_or_default(),
            has_news: false,
            ends_from: Instant::now(),
            has_ended: false,
        };
        playing.take(frames);
        playing
    }

    /// Goes on until nobody wants the stream, or it cannot.
    async fn play(&mut self, mut playing: Playing) -> Option<Stopped> {
        let mut frames = Vec::new();
        loop {
            playing.take_news(&frames, self.subscriber.take_renewal());
            self.mind_gap(&mut playing);
            if playing.is_due() && !self.publish(&mut playing) {
                return Some(Stopped::TooLarge);
            }
            if self.is_idle() {
                return Some(Stopped::Over);
            }
            let _ = timeout(playing.look_after(), self.subscriber.ready()).await;
            frames.clear();
            if self.subscriber.take(usize::MAX, &mut frames).is_err() {
                return self.end(playing).await;
            }
        }
    }

    /// Ends what is open where the publisher is away, and lists gaps for it.
    fn mind_gap(&self, playing: &mut Playing) {
        // Who waits for a publisher has a deadline.
        let is_away = self.subscriber.deadline().is_some();
        match (is_away, playing.next_gap) {
            (false, _) => playing.next_gap = None,
            (true, None) => {
                playing.next_gap = Some(Instant::now() + duration(playing.gap) / 2 * FIRST_GAP_AFTER);
                playing.flush();
            }
            (true, Some(due)) if due <= Instant::now() => {
                playing.next_gap = Some(due + duration(playing.gap));
                playing.push_gap();
            }
            (true, Some(_)) => {}
        }
    }

    /// Tells what there is now; false where it is too much.
    fn publish(&mut self, playing: &mut Playing) -> bool {
        let mut excess = self.count(&playing.window);
        if excess > 0 {
            playing.window.give_way(playing.window.bytes().saturating_sub(excess));
            excess = self.count(&playing.window);
        }
        if playing.window.has_segments() {
            let snapshot = playing.window.snapshot(&self.stream.epoch);
            self.stream.state.send_replace(State::Playing(Arc::new(snapshot)));
        }
        playing.note_told();
        excess == 0 && !playing.window.is_too_large()
    }

    /// Counts what the window holds; by how many bytes all windows together are beyond their bound.
    fn count(&mut self, window: &Window) -> usize {
        let before = std::mem::replace(&mut self.counted, window.bytes());
        self.hls.shared.note_bytes(before, self.counted)
    }

    fn is_idle(&self) -> bool {
        !self.config.is_made_unasked() && self.stream.asked.lock().elapsed() >= ms(self.config.idle_ms)
    }

    /// The stream has ended: players get the rest, and may load it for as long as they saw it listed.
    async fn end(&mut self, mut playing: Playing) -> Option<Stopped> {
        playing.flush();
        playing.window.end();
        if !self.publish(&mut playing) {
            return Some(Stopped::TooLarge);
        }
        self.hand_over();
        tokio::time::sleep(HlsStream::is_held_for(ms(self.config.window_ms))).await;
        Some(Stopped::Over)
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        self.hls.forget(&self.stream);
        self.hls.shared.note_bytes(self.counted, 0);
    }
}

impl Playing {
    /// Takes frames, the first of another publisher where that `is_renewed`.
    fn take_news(&mut self, frames: &[Frame], is_renewed: bool) {
        if is_renewed {
            self.segmenter.renew();
        }
        self.take(frames);
    }

    fn take(&mut self, frames: &[Frame]) {
        for frame in frames {
            if !frame.is_config() {
                self.edge = self.edge.max(frame.timestamp.saturating_mul(TICKS / 1_000));
            }
            self.segmenter.push(frame, &mut self.cuts);
        }
        self.apply();
    }

    /// Ends what is open.
    fn flush(&mut self) {
        self.segmenter.flush(&mut self.cuts);
        self.apply();
    }

    fn push_gap(&mut self) {
        self.window.push_gap(self.gap);
        self.has_news = true;
    }

    fn apply(&mut self) {
        let now = SystemTime::now();
        self.has_news |= !self.cuts.is_empty();
        self.has_ended |= self.cuts.contains(&Cut::Segment);
        for cut in self.cuts.drain(..) {
            self.window.push(cut, now, self.edge);
        }
    }

    /// Whether there is something to be told now. The end of a segment is told no sooner than a part's time after what was told
    /// before, however short its last part is: where hls.js 1.7 learns of it while it loads the part before that one, it may
    /// never load the last one, and stands still until that is not listed any more.
    fn is_due(&self) -> bool {
        self.has_news && (!self.has_ended || self.ends_from <= Instant::now())
    }

    /// When to look again at the latest.
    fn look_after(&self) -> Duration {
        if self.has_news {
            self.ends_from.saturating_duration_since(Instant::now()).min(LOOK_PERIOD)
        } else {
            LOOK_PERIOD
        }
    }

    fn note_told(&mut self) {
        (self.has_news, self.has_ended) = (false, false);
        self.ends_from = Instant::now() + self.part;
    }
}

/// When the stream's time was 0, in milliseconds since 1970, as the newest of these frames has come just now. Media are timed from
/// there, so that those of a server which has been restarted lie where their dates say: hls.js 1.7 goes on by the times that it knows,
/// and showed nothing, or nothing for a quarter of a minute, where they began anew.
fn origin(frames: &[Frame]) -> i64 {
    let newest = times(frames).max().unwrap_or_default();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    i64::try_from(now).unwrap_or_default().saturating_sub(newest)
}

/// MEDIA-SEQUENCE to begin with: when the oldest of these frames came, in seconds since 1970. As segments last a second at least, a
/// stream that begins anew, after a restart too, has higher numbers than before, and players go on. The time of the newest would not
/// do: numbers would be ahead of the clock by all that the ring held, and the stream's next life would have some of them again.
fn first_number(origin: i64, frames: &[Frame]) -> u64 {
    let oldest = times(frames).min().unwrap_or_default();
    u64::try_from(origin.saturating_add(oldest) / 1_000).unwrap_or_default()
}

fn times(frames: &[Frame]) -> impl Iterator<Item = i64> {
    frames.iter().filter(|frame| !frame.is_config()).map(|frame| frame.timestamp)
}

fn duration(ticks: i64) -> Duration {
    Duration::from_millis(u64::try_from(ticks / (TICKS / 1_000)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::inter;

    #[test]
    fn numbers_begin_when_the_oldest_frame_came() {
        let now = first_number(origin(&[]), &[]);
        let frames: Vec<_> = (0..=300).map(|at| inter(5_000 + at * 100, 8)).collect();
        let first = first_number(origin(&frames), &frames);
        assert!((now - 30..=now - 29).contains(&first), "{first} of {now}");
    }
}
