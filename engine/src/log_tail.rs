//! The newest lines of the log, for those who manage an engine from elsewhere. The program that has the log puts them in.

use crate::files::since_1970;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use tracing::Level;

bound! {
    /// Lines that are kept (test `so_many_lines_and_bytes_of_the_log_are_kept_the_newest`).
    const MAX_KEPT: usize = 1_000, without usize::MAX;
    /// Bytes of these, with what each costs besides (test `so_many_lines_and_bytes_of_the_log_are_kept_the_newest`).
    const MAX_BYTES: usize = 256 * 1024, without usize::MAX;
    /// Bytes of one; the rest of it is left out (test `a_long_line_of_the_log_is_cut`).
    const MAX_LINE: usize = 4 * 1024, without usize::MAX;
}

/// The newest lines of the log: 1,000 and 256 KiB of them at most. Cheap to clone; all clones are the same.
///
/// An engine that has one ([`EngineBuilder::log_tail`](crate::EngineBuilder::log_tail)) tells it to admins, at `/api/v1/log`. The
/// program puts in what it logs, from its layer of `tracing_subscriber` or whatever else it logs by.
#[derive(Clone, Default)]
pub struct LogTail {
    lines: Arc<Mutex<Lines>>,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<LogLine>,
    bytes: usize,
    /// Of the newest.
    id: u64,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct LogLine {
    /// Its number: the first has 1, and each the next. What is missing before the oldest is kept no more.
    pub id: u64,
    /// When it was, in milliseconds since 1970.
    pub at_ms: u64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// The part of the program that says it.
    pub target: String,
    /// What it says.
    pub message: String,
}

impl LogLine {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.target.len() + self.message.len()
    }
}

impl LogTail {
    /// Adds a line. The oldest leave for it. Does not wait, and logs nothing itself.
    pub fn push(&self, level: Level, target: &str, message: &str) {
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            _ => "trace",
        };
        let at_ms = u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX);
        let (target, message) = (cut(target), cut(message));
        let Lines { kept, bytes, id } = &mut *self.lines.lock();
        *id += 1;
        let line = LogLine { id: *id, at_ms, level, target, message };
        *bytes += line.bytes();
        kept.push_back(line);
        while kept.len() > MAX_KEPT.get() || *bytes > MAX_BYTES.get() {
            let Some(oldest) = kept.pop_front() else { return };
            *bytes -= oldest.bytes();
        }
    }

    /// The lines behind the one of this number, the oldest first, so many at most; and whether there are more. With no number, the
    /// newest.
    pub fn lines(&self, after: Option<u64>, limit: usize) -> (Vec<LogLine>, bool) {
        let lines = self.lines.lock();
        match after {
            Some(after) => {
                let mut behind = lines.kept.iter().filter(|line| line.id > after);
                (behind.by_ref().take(limit).cloned().collect(), behind.next().is_some())
            }
            None => {
                let skipped = lines.kept.len().saturating_sub(limit);
                (lines.kept.iter().skip(skipped).cloned().collect(), false)
            }
        }
    }
}

impl std::fmt::Debug for LogTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogTail").field("lines", &self.lines.lock().kept.len()).finish_non_exhaustive()
    }
}

/// The beginning of a text.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_LINE.get());
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_and_bytes_of_the_log_are_kept_the_newest() {
        let tail = LogTail::default();
        (0..1_500).for_each(|number| tail.push(Level::INFO, "t", &number.to_string()));
        let (lines, has_more) = tail.lines(None, usize::MAX);
        assert_eq!((lines.len(), has_more), (1_000, false));
        let (first, last) = (&lines[0], &lines[999]);
        assert_eq!((first.id, first.message.as_str()), (501, "500"));
        assert_eq!((last.id, last.message.as_str(), last.level), (1_500, "1499", "info"));
        (0..500).for_each(|_| tail.push(Level::WARN, "t", &"x".repeat(2_000)));
        let (lines, _) = tail.lines(None, usize::MAX);
        let bytes: usize = lines.iter().map(LogLine::bytes).sum();
        assert!((250 * 1024..=256 * 1024).contains(&bytes), "{bytes}");
        assert_eq!(tail.lines.lock().bytes, bytes);
    }

    #[test]
    fn a_long_line_of_the_log_is_cut() {
        let tail = LogTail::default();
        tail.push(Level::ERROR, "t", &format!("x{}", "直".repeat(5_000)));
        let line = &tail.lines(None, 1).0[0];
        assert!((4_090..=4_096).contains(&line.message.len()), "{}", line.message.len());
    }

    #[test]
    fn lines_of_the_log_can_be_read_on_from_where_they_were_read_to() {
        let tail = LogTail::default();
        (0..10).for_each(|number| tail.push(Level::DEBUG, "t", &number.to_string()));
        let ids = |(lines, has_more): (Vec<LogLine>, bool)| {
            (lines.iter().map(|line| line.id).collect::<Vec<_>>(), has_more)
        };
        assert_eq!(ids(tail.lines(None, 2)), (vec![9, 10], false));
        assert_eq!(ids(tail.lines(Some(6), 3)), (vec![7, 8, 9], true));
        assert_eq!(ids(tail.lines(Some(9), 3)), (vec![10], false));
        assert_eq!(ids(tail.lines(Some(10), 3)), (vec![], false));
        assert_eq!(ids(tail.lines(Some(0), 0)), (vec![], true));
    }
}
