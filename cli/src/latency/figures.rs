//! What was measured, and how it is told.

use super::News;
use super::stamp::{Stamp, between};
use super::way::{Protocol, Way};
use crate::output::Conclusion;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;
use streamengine::RtmpUrl;

/// What one way has told.
#[derive(Debug)]
pub(super) struct Figures {
    asked: u64,
    first: Option<u64>,
    /// The pictures that count, by number.
    window: Range<u32>,
    /// Latency by number, of those.
    latency: BTreeMap<u32, Duration>,
    hold_back: Option<Duration>,
    /// How old live edges were when they were known, by the number of the picture behind.
    edges: BTreeMap<u32, Duration>,
    ended: Option<String>,
}

impl Figures {
    /// `asked`: when its player began, by the clock.
    pub(super) fn new(asked: u64) -> Self {
        // Nothing counts before all ways have begun.
        Self {
            asked,
            first: None,
            window: u32::MAX..u32::MAX,
            latency: BTreeMap::new(),
            hold_back: None,
            edges: BTreeMap::new(),
            ended: None,
        }
    }

    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Frame { stamp: Stamp { number, sent }, at } => {
                self.first.get_or_insert(at);
                if self.window.contains(&number) {
                    self.latency.entry(number).or_insert(between(sent, at));
                }
            }
            News::HoldBack(hold_back) => self.hold_back = Some(hold_back),
            News::Edge { behind: Stamp { number, sent }, known } => {
                if self.window.contains(&number) {
                    self.edges.insert(number, between(sent, known));
                }
            }
            News::Ended(why) => self.ended = Some(why),
        }
    }

    pub(super) fn count_from(&mut self, first: u32) {
        self.window = first..u32::MAX;
    }

    pub(super) fn count_until(&mut self, end: u32) {
        self.window.end = end;
        self.latency.retain(|number, _| *number < end);
        self.edges.retain(|number, _| *number < end);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.first.is_some()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether every picture that counts is there.
    pub(super) fn is_complete(&self) -> bool {
        self.latency.len() >= self.window.len()
    }
}

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    published: String,
    ways: Vec<Row>,
}

/// A way in it. Times in milliseconds.
#[derive(Debug, Serialize)]
struct Row {
    protocol: Protocol,
    url: String,
    /// Pictures that were sent while it was measured, and those of them that have not come.
    frames: usize,
    missing: usize,
    /// From asking for the stream to its first picture.
    first_frame_ms: Option<f64>,
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    /// What a player keeps from the live edge as the server asks it to.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_back_ms: Option<f64>,
    /// How old the pictures are that such a player shows, at the median: the same, and what the live edge is late.
    #[serde(skip_serializing_if = "Option::is_none")]
    shown_ms: Option<f64>,
    /// How many frames took as long as each column of the chart stands for.
    #[serde(skip)]
    chart: Vec<usize>,
    error: Option<String>,
}

/// Upper ends of the chart's columns, in milliseconds; the last one has no end.
const COLUMNS: [u64; 11] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000];
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Report {
    pub(super) fn new(to: &RtmpUrl, ways: &[Way], figures: Vec<Figures>) -> Self {
        Self {
            published: to.to_string(),
            ways: ways.iter().zip(figures).map(|(way, figures)| row(way, figures)).collect(),
        }
    }
}

impl Conclusion for Report {
    /// For people: a table, with a chart of how the latencies are spread.
    fn text(&self) -> String {
        let mut text = format!("published to {}\n\n", self.published);
        let _ = writeln!(
            text,
            "{:<10} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8}  {:<12}  url",
            "way", "p50 ms", "p90", "p99", "max", "first", "missing", "1 ms … 2 s"
        );
        for row in &self.ways {
            let [p50, p90, p99, max, first] =
                [row.p50_ms, row.p90_ms, row.p99_ms, row.max_ms, row.first_frame_ms].map(shown);
            let (missing, chart) = (row.missing, chart(&row.chart));
            let _ = writeln!(
                text,
                "{:<10} {p50:>8} {p90:>8} {p99:>8} {max:>8} {first:>9} {missing:>8}  {chart:<12}  {}",
                row.protocol, row.url
            );
            if let Some(hold_back) = row.hold_back_ms {
                let _ = writeln!(
                    text,
                    "{:<10} {:>8} at a player, which the server asks to keep {} ms from the end",
                    "",
                    shown(row.shown_ms),
                    shown(Some(hold_back))
                );
            }
            if let Some(error) = &row.error {
                let _ = writeln!(text, "{:<10} {error}", "");
            }
        }
        text
    }

    /// Why a way has nothing to tell.
    fn failed(&self) -> Option<String> {
        let row = self.ways.iter().find(|row| row.p50_ms.is_none())?;
        let why = row.error.as_deref().unwrap_or("no frame has come");
        Some(if why.contains(&row.url) { why.to_owned() } else { format!("{}: {why}", row.url) })
    }
}

fn row(way: &Way, figures: Figures) -> Row {
    let frames = figures.window.len();
    let taken = Sorted::new(figures.latency);
    let edge = Sorted::new(figures.edges).quantile(50);
    let at_player = figures.hold_back.zip(edge).map(|(hold_back, late)| hold_back + late);
    let quantile = |percent| taken.quantile(percent).map(milliseconds);
    let chart = (0..=COLUMNS.len())
        .map(|column| taken.0.iter().filter(|latency| column_of(**latency) == column).count());
    Row {
        protocol: way.protocol,
        url: way.to_string(),
        frames,
        missing: frames - taken.0.len().min(frames),
        first_frame_ms: figures.first.map(|first| milliseconds(between(figures.asked, first))),
        p50_ms: quantile(50),
        p90_ms: quantile(90),
        p99_ms: quantile(99),
        max_ms: quantile(100),
        hold_back_ms: figures.hold_back.map(milliseconds),
        shown_ms: at_player.map(milliseconds),
        chart: chart.collect(),
        error: figures.ended,
    }
}

struct Sorted(Vec<Duration>);

impl Sorted {
    fn new(by_number: BTreeMap<u32, Duration>) -> Self {
        let mut sorted: Vec<_> = by_number.into_values().collect();
        sorted.sort_unstable();
        Self(sorted)
    }

    fn quantile(&self, percent: usize) -> Option<Duration> {
        self.0.get((self.0.len().saturating_sub(1) * percent).div_ceil(100)).copied()
    }
}

fn column_of(latency: Duration) -> usize {
    COLUMNS.partition_point(|end| Duration::from_millis(*end) <= latency)
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn shown(milliseconds: Option<f64>) -> String {
    milliseconds.map_or_else(|| "-".to_owned(), |number| format!("{number:.1}"))
}

/// A bar for each column, as high as its share of the highest one.
fn chart(counts: &[usize]) -> String {
    let most = counts.iter().copied().max().unwrap_or_default();
    let bar = |count: usize| match count {
        0 => ' ',
        _ => BARS.get((count * BARS.len()).div_ceil(most.max(1)) - 1).copied().unwrap_or(' '),
    };
    counts.iter().copied().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(latencies: &[u64]) -> Figures {
        let mut figures = Figures::new(0);
        figures.count_from(10);
        for (number, ms) in (10..).zip(latencies) {
            let stamp = Stamp { number, sent: 1_000_000 };
            figures.take(News::Frame { stamp, at: 1_000_000 + ms * 1_000 });
        }
        figures
    }

    fn way() -> Way {
        let to: RtmpUrl = "rtmp://h/live/a".parse().unwrap();
        super::super::way::parse("rtmp://h/live/a", &to).unwrap().remove(0)
    }

    #[test]
    fn percentiles_missing_frames_and_the_chart_are_of_the_frames_that_count() {
        let mut figures = figures(&(1..=100).collect::<Vec<_>>());
        // Sent before and after.
        for number in [3, 200] {
            figures.take(News::Frame { stamp: Stamp { number, sent: 0 }, at: 1 });
        }
        figures.count_until(112);
        assert!(!figures.is_complete());
        let row = row(&way(), figures);
        assert_eq!((row.frames, row.missing), (102, 2));
        assert_eq!(
            (row.p50_ms, row.p90_ms, row.p99_ms, row.max_ms),
            (Some(51.0), Some(91.0), Some(100.0), Some(100.0))
        );
        assert_eq!(row.chart, [0, 1, 3, 5, 10, 30, 50, 1, 0, 0, 0, 0]);
        assert_eq!(chart(&row.chart), " ▁▁▁▂▅█▁    ");
    }

    #[test]
    fn a_player_shows_pictures_by_what_the_live_edge_is_late_and_not_by_when_they_came() {
        let mut figures = figures(&[200, 160, 120, 80, 40]);
        figures.take(News::HoldBack(Duration::from_millis(615)));
        // The first one lies before all that counts.
        for (number, late) in [(5, 900), (11, 7), (12, 3), (13, 90)] {
            let behind = Stamp { number, sent: 1_000_000 };
            figures.take(News::Edge { behind, known: 1_000_000 + late * 1_000 });
        }
        let row = row(&way(), figures);
        assert_eq!((row.p50_ms, row.hold_back_ms, row.shown_ms), (Some(120.0), Some(615.0), Some(622.0)));
        let report = Report { published: String::new(), ways: vec![row] }.text();
        assert!(report.contains("622.0 at a player, which the server asks to keep 615.0 ms"), "{report}");
    }

    #[test]
    fn a_way_without_frames_is_a_failure_in_words() {
        let mut silent = Figures::new(0);
        silent.count_from(0);
        silent.count_until(50);
        silent.take(News::Ended("no such stream".to_owned()));
        let to: RtmpUrl = "rtmp://h/live/a".parse().unwrap();
        let report = Report::new(&to, &[way()], vec![silent]);
        assert_eq!(report.failed().as_deref(), Some("rtmp://h/live/a: no such stream"));
        assert!(report.text().contains("no such stream"));
        assert_eq!(Report::new(&to, &[way()], vec![figures(&[5])]).failed(), None);
    }
}
