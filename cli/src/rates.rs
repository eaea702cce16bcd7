//! Live rates: one line per stream and relay, on the terminal or in the log.

use crate::output::{self, Console, LiveLines};
use crate::tail::RATES;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use streamengine::{
    Engine, RelayDirection, RelayState, RelayStatus, SessionId, SessionInfo, SessionRole, StreamInfo,
    StreamKey, StreamState,
};

/// How often the lines on a terminal are renewed.
const REDRAW: Duration = Duration::from_secs(1);

/// Shows the rates of `engines` until dropped: on the terminal each second, else in the log each `period`.
pub(crate) async fn show(engines: &[Engine], console: &Console, period: Duration) {
    let mut live = console.live_lines();
    let mut ticks = tokio::time::interval(if live.is_some() { REDRAW } else { period });
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut meters: Vec<_> = engines.iter().map(|_| Meter::new()).collect();
    loop {
        ticks.tick().await;
        let rows: Vec<Row> =
            engines.iter().zip(&mut meters).flat_map(|(engine, meter)| meter.read(engine)).collect();
        tell(&rows, live.as_mut());
    }
}

fn tell(rows: &[Row], live: Option<&mut LiveLines>) {
    match live {
        Some(lines) => lines.show(table(rows)),
        None => rows.iter().for_each(Row::log),
    }
}

/// Longest name of a stream that has a column of its own.
const NAME_WIDTH: usize = 30;

/// The rows under a head, in columns; nothing where there is nothing to tell.
fn table(rows: &[Row]) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let longest = rows.iter().map(|row| row.name().len()).max().unwrap_or_default();
    let width = longest.clamp("stream".len(), NAME_WIDTH);
    let head = format!(
        "{:<width$}  {:<10} {:>8} {:>9} {:>10} {:>5}  players",
        "stream", "state", "time", "in kbit/s", "out kbit/s", "fps"
    );
    // A line apart from the log above it.
    [String::new(), head].into_iter().chain(rows.iter().flat_map(|row| row.lines(width))).collect()
}

/// What one line tells.
#[derive(Debug, PartialEq)]
enum Row {
    Stream {
        stream: StreamKey,
        state: StreamState,
        uptime: Duration,
        kbits_in: u64,
        fps: f64,
        players: usize,
        kbits_out: u64,
    },
    Relay {
        name: String,
        direction: RelayDirection,
        url: String,
        state: RelayState,
        since: Duration,
        kbits: u64,
        retries: u64,
        error: Option<String>,
    },
}

impl Row {
    /// What stands in the first column. A push stands under its stream.
    fn name(&self) -> &str {
        match self {
            Self::Stream { stream, .. } => stream.as_str(),
            Self::Relay { direction: RelayDirection::Push, .. } => "  push",
            Self::Relay { direction: RelayDirection::Pull, .. } => "  pull",
        }
    }

    /// The row in columns, and on a line of its own what is wrong: it may be long.
    fn lines(&self, width: usize) -> Vec<String> {
        let name = self.name();
        match self {
            Self::Stream { state, uptime, kbits_in, fps, players, kbits_out, .. } => vec![format!(
                "{name:<width$}  {:<10} {:>8} {kbits_in:>9} {kbits_out:>10} {fps:>5.1}  {players}",
                state.as_str(),
                clock(*uptime),
            )],
            Self::Relay { direction, url, state, since, kbits, retries, error, .. } => {
                let (received, sent, way) = match direction {
                    RelayDirection::Push => (String::new(), kbits.to_string(), "to"),
                    RelayDirection::Pull => (kbits.to_string(), String::new(), "from"),
                };
                let line = format!(
                    "{name:<width$}  {:<10} {:>8} {received:>9} {sent:>10}  {way} {url}",
                    output::state_in_words(*state),
                    clock(*since),
                );
                let trouble = error.iter().map(|error| match retries {
                    0 => format!("    {error}"),
                    1 => format!("    {error} (1 retry)"),
                    _ => format!("    {error} ({retries} retries)"),
                });
                std::iter::once(line).chain(trouble).collect()
            }
        }
    }

    fn log(&self) {
        match self {
            Self::Stream { stream, state, kbits_in, fps, players, kbits_out, .. } => {
                let fps = (fps * 10.0).round() / 10.0;
                let state = state.as_str();
                tracing::info!(target: RATES, %stream, state, kbits_in, fps, players, kbits_out, "rates");
            }
            Self::Relay { name, state, kbits, retries, error, .. } => {
                let (state, error) = (output::state_in_words(*state), error.as_deref());
                tracing::info!(target: RATES, relay = name, state, kbits, retries, error, "rates");
            }
        }
    }
}

/// `1:02:03`
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Counter {
    StreamBytes(StreamKey),
    StreamFrames(StreamKey),
    Player(SessionId),
    Relay(String),
}

/// Turns counters into rates: the growth since the last reading.
struct Meter {
    last: HashMap<Counter, u64>,
    next: HashMap<Counter, u64>,
    read_at: Instant,
    elapsed: Duration,
}

impl Meter {
    fn new() -> Self {
        Self { last: HashMap::new(), next: HashMap::new(), read_at: Instant::now(), elapsed: Duration::ZERO }
    }

    fn read(&mut self, engine: &Engine) -> Vec<Row> {
        let now = Instant::now();
        self.elapsed = now.duration_since(self.read_at);
        self.read_at = now;
        let (sessions, relays) = (engine.sessions(), engine.relays());
        let mut rows = Vec::new();
        let streams = engine.streams();
        for stream in &streams {
            rows.push(self.stream(stream, &sessions));
            let of_it = relays.iter().filter(|relay| relay.stream == stream.key);
            rows.extend(of_it.map(|relay| self.relay(relay)));
        }
        let has_stream = |relay: &&RelayStatus| streams.iter().any(|stream| stream.key == relay.stream);
        rows.extend(relays.iter().filter(|relay| !has_stream(relay)).map(|relay| self.relay(relay)));
        // What was not read this time is gone, and forgotten.
        self.last = std::mem::take(&mut self.next);
        rows
    }

    fn stream(&mut self, stream: &StreamInfo, sessions: &[SessionInfo]) -> Row {
        let key = &stream.key;
        let of_it = |session: &&SessionInfo| {
            session.role == SessionRole::Player && session.stream.as_ref() == Some(key)
        };
        let players: Vec<_> = sessions.iter().filter(of_it).collect();
        let sent: u64 =
            players.iter().map(|player| self.growth(Counter::Player(player.id), player.bytes_out)).sum();
        let received = self.growth(Counter::StreamBytes(key.clone()), stream.bytes_in);
        let frames = self.growth(Counter::StreamFrames(key.clone()), stream.video_frames);
        Row::Stream {
            stream: key.clone(),
            state: stream.state,
            uptime: stream.uptime,
            kbits_in: self.kbits(received),
            fps: self.per_second(frames),
            players: players.len(),
            kbits_out: self.kbits(sent),
        }
    }

    fn relay(&mut self, relay: &RelayStatus) -> Row {
        let bytes = relay.bytes_sent + relay.bytes_received;
        let moved = self.growth(Counter::Relay(relay.id.to_string()), bytes);
        Row::Relay {
            name: output::relay_name(relay),
            direction: relay.direction,
            url: relay.url.to_string(),
            state: relay.state,
            since: relay.since,
            kbits: self.kbits(moved),
            retries: relay.retries,
            error: relay.last_error.clone(),
        }
    }

    /// How much a counter has grown. One that is new, or starts again, grew from nothing.
    fn growth(&mut self, counter: Counter, total: u64) -> u64 {
        let before = self.last.get(&counter).copied().unwrap_or(0);
        self.next.insert(counter, total);
        total.checked_sub(before).unwrap_or(total)
    }

    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }

    fn kbits(&self, bytes: u64) -> u64 {
        (self.per_second(bytes) * 8.0 / 1000.0).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_growth_since_the_last_reading() {
        let mut meter = Meter::new();
        meter.elapsed = Duration::from_secs(2);
        let counter = Counter::Player(SessionId(1));
        assert_eq!(meter.growth(counter.clone(), 500), 500, "new: from nothing");
        meter.last = std::mem::take(&mut meter.next);
        assert_eq!(meter.growth(counter.clone(), 1_500), 1_000);
        meter.last = std::mem::take(&mut meter.next);
        assert_eq!(meter.growth(counter, 100), 100, "a counter that starts again");
        assert_eq!(meter.kbits(1_000), 4);
        assert!((meter.per_second(50) - 25.0).abs() < f64::EPSILON);
    }

    #[test]
    fn lines_are_columns_that_fit_a_terminal_of_80_with_a_push_under_its_stream() {
        let stream = |name: &str, kbits_in, fps, players, kbits_out| Row::Stream {
            stream: name.parse().unwrap(),
            state: StreamState::Live,
            uptime: Duration::from_secs(3_600),
            kbits_in,
            fps,
            players,
            kbits_out,
        };
        let push = |state, retries, error: Option<&str>| Row::Relay {
            name: "push to rtmp://h/live/x".to_owned(),
            direction: RelayDirection::Push,
            url: "rtmp://h/live/x".to_owned(),
            state,
            since: Duration::from_secs(2),
            kbits: 349,
            retries,
            error: error.map(str::to_owned),
        };
        let rows = [
            stream("live/demo", 6_000, 60.0, 12, 720_000),
            push(RelayState::Publishing, 0, None),
            push(RelayState::BackingOff, 3, Some("connection refused")),
            stream("live/demo-copy", 349, 25.04, 0, 0),
        ];
        let lines = table(&rows);
        assert_eq!(
            lines[1..],
            [
                "stream          state          time in kbit/s out kbit/s   fps  players",
                "live/demo       live        1:00:00      6000     720000  60.0  12",
                "  push          sending     0:00:02                  349  to rtmp://h/live/x",
                "  push          retrying    0:00:02                  349  to rtmp://h/live/x",
                "    connection refused (3 retries)",
                "live/demo-copy  live        1:00:00       349          0  25.0  0",
            ]
        );
        assert!(table(&[]).is_empty());
    }

    #[test]
    fn a_clock_shows_hours() {
        assert_eq!(clock(Duration::from_secs(3_723)), "1:02:03");
    }
}
