//! Writers that never hold up who has something to say: the log's thread behind a bounded queue, and lines that fail
//! whole.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{Error, ErrorKind, IsTerminal, Result, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

streamengine::bound! {
    /// Lines that wait to be written; those that come while there are so many are counted, and told of later
    /// (test `what_does_not_fit_behind_a_reader_that_stalls_is_counted_and_told_when_it_reads_on`).
    const QUEUE: usize = 4096, without 1 << 20;
    /// How long the end of a command waits for who does not read
    /// (test `the_end_waits_half_a_second_for_who_does_not_read`).
    pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_millis(500), without Duration::from_secs(1 << 30);
}
/// How often a writer that cannot wait for its file itself looks again: one that another process made non-blocking.
const RETRY: Duration = Duration::from_millis(10);

enum Message {
    Text(Vec<u8>),
    /// For people, on stdout.
    Say(String),
    /// What the foot of the terminal shows from now on.
    Foot(Vec<String>),
    /// Everything before it has been tried when the sender is dropped.
    End(mpsc::Sender<()>),
}

/// The way to a thread that writes lines. Nothing here waits for it, but [`Self::end`] for a moment.
#[derive(Clone)]
pub(crate) struct Lines {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Writes to `out` on a thread of its own. `told` makes the line that says how many lines are missing; `terminal` has
    /// the lines at the foot.
    pub(crate) fn start<W: Write + Send + 'static>(
        out: W,
        told: impl Fn(u64) -> String + Send + 'static,
        terminal: Option<MultiProgress>,
    ) -> Self {
        let (queue, messages) = mpsc::sync_channel(QUEUE.get());
        let lost = Arc::new(AtomicU64::new(0));
        let foot = terminal.map(|terminal| Foot { terminal, bars: Vec::new() });
        let writer = Writer { out: WholeLines::new(out), lost: lost.clone(), told, foot, said: None };
        std::thread::spawn(move || writer.run(messages));
        Self { queue, lost }
    }

    /// Has a text written when its turn comes, line feed included; counts it as lost where the queue is full.
    pub(crate) fn put(&self, text: impl Into<Vec<u8>>) {
        if self.queue.try_send(Message::Text(text.into())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has a text for people written to stdout when its turn comes. Who does not read that holds up no line of the log.
    pub(crate) fn say(&self, text: String) {
        let _ = self.queue.try_send(Message::Say(text));
    }

    /// Replaces the lines at the foot of the terminal. Where the queue is full the next ones do.
    pub(crate) fn foot(&self, lines: Vec<String>) {
        let _ = self.queue.try_send(Message::Foot(lines));
    }

    /// Writes a last text, and waits until all is written, or until who reads has had [`FLUSH_TIMEOUT`] for it.
    pub(crate) fn end(&self, last: Option<String>) {
        let deadline = Instant::now() + FLUSH_TIMEOUT.get();
        let (end, ended) = mpsc::channel();
        let last = last.map(|text| Message::Text(text.into_bytes()));
        if last.is_none_or(|last| self.send_by(last, deadline)) && self.send_by(Message::End(end), deadline) {
            // Nobody sends: an error means that all is written, or that the time is over.
            let _ = ended.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }

    fn send_by(&self, mut message: Message, deadline: Instant) -> bool {
        loop {
            message = match self.queue.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Full(message)) if Instant::now() < deadline => message,
                Err(_) => return false,
            };
            std::thread::park_timeout(RETRY);
        }
    }
}

struct Writer<W, T> {
    out: WholeLines<W>,
    lost: Arc<AtomicU64>,
    told: T,
    foot: Option<Foot>,
    /// What is being said on a thread of its own.
    said: Option<JoinHandle<()>>,
}

impl<W: Write, T: Fn(u64) -> String> Writer<W, T> {
    fn run(mut self, messages: Receiver<Message>) {
        for message in messages {
            match message {
                Message::Text(text) => self.write(&text),
                Message::Say(text) => self.say(text),
                Message::Foot(lines) => self.show(&lines),
                Message::End(done) => {
                    self.show(&[]);
                    self.tell_lost();
                    // For no longer than who has asked for the end waits.
                    let _ = self.said.take().map(JoinHandle::join);
                    drop(done);
                }
            }
        }
    }

    /// Where stdout is the terminal with the lines at its foot, the text has to go above these.
    fn say(&mut self, text: String) {
        // Who has closed stdout does not want to read this.
        let write = move || drop(std::io::stdout().write_all(text.as_bytes()));
        match &self.foot {
            Some(foot) if std::io::stdout().is_terminal() => foot.terminal.suspend(write),
            _ => self.said = Some(std::thread::spawn(write)),
        }
    }

    fn write(&mut self, text: &[u8]) {
        if !self.tell_lost() || !self.try_write(text) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells how many lines are missing here; whether that could be written.
    fn tell_lost(&mut self) -> bool {
        let count = self.lost.swap(0, Ordering::Relaxed);
        let is_told = count == 0 || self.try_write((self.told)(count).as_bytes());
        if !is_told {
            self.lost.fetch_add(count, Ordering::Relaxed);
        }
        is_told
    }

    fn try_write(&mut self, text: &[u8]) -> bool {
        let out = &mut self.out;
        match &self.foot {
            Some(foot) => foot.terminal.suspend(|| out.write(text)).is_ok(),
            None => out.write(text).is_ok(),
        }
    }

    fn show(&mut self, lines: &[String]) {
        if let Some(foot) = &mut self.foot {
            foot.show(lines);
        }
    }
}

/// Lines at the foot of the terminal that are redrawn in place.
struct Foot {
    terminal: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl Foot {
    fn show(&mut self, lines: &[String]) {
        while self.bars.len() < lines.len() {
            let style = ProgressStyle::with_template("{wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            self.bars.push(self.terminal.add(ProgressBar::new_spinner().with_style(style)));
        }
        for surplus in self.bars.drain(lines.len()..) {
            surplus.finish_and_clear();
            self.terminal.remove(&surplus);
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            bar.set_message(line.clone());
        }
    }
}

/// Writes whole lines: where one failed half-way, the next begins on a line of its own.
pub(crate) struct WholeLines<W> {
    out: W,
    is_torn: bool,
}

impl<W: Write> WholeLines<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, is_torn: false }
    }

    /// Writes `text`, which ends in a line feed.
    pub(crate) fn write(&mut self, text: &[u8]) -> Result<()> {
        if self.is_torn {
            self.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.write_all(text)
    }

    fn write_all(&mut self, mut text: &[u8]) -> Result<()> {
        while !text.is_empty() {
            match self.out.write(text) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    text = text.get(written..).unwrap_or_default();
                    self.is_torn = !text.is_empty();
                }
                Err(error) => wait_or_fail(error)?,
            }
        }
        Ok(())
    }
}

fn wait_or_fail(error: Error) -> Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock => {
            std::thread::park_timeout(RETRY);
            Ok(())
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// What has been written, and what the next writes do.
    #[derive(Clone, Default)]
    struct Paper {
        text: Arc<Mutex<Vec<u8>>>,
        script: Arc<Mutex<Vec<Result<usize>>>>,
    }

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, text: &[u8]) -> Result<usize> {
            let next = self.script.lock().unwrap().pop();
            let length = next.transpose()?.unwrap_or(text.len());
            self.text.lock().unwrap().extend_from_slice(&text[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_failed_are_counted_and_told_before_the_next_that_succeeds() {
        let paper = Paper::default();
        let full = || Err(Error::from(ErrorKind::StorageFull));
        // Popped from the end: the first line is torn, the second fails whole; then the disk has room again.
        *paper.script.lock().unwrap() = vec![full(), full(), Ok(2)];
        let lines = Lines::start(paper.clone(), |count| format!("{count} missing\n"), None);
        for text in ["one\n", "two\n", "three\n"] {
            lines.put(text);
        }
        lines.end(Some("last\n".to_owned()));
        assert_eq!(paper.text(), "on\n2 missing\nthree\nlast\n");
    }

    #[test]
    fn an_interrupted_or_non_blocking_file_gets_its_lines_whole() {
        let paper = Paper::default();
        let later = |kind: ErrorKind| Err(Error::from(kind));
        *paper.script.lock().unwrap() =
            vec![later(ErrorKind::WouldBlock), Ok(1), later(ErrorKind::Interrupted)];
        let lines = Lines::start(paper.clone(), |count| format!("{count} missing\n"), None);
        lines.put("one\n");
        lines.end(None);
        assert_eq!(paper.text(), "one\n");
    }

    /// Blocks in its first write until it is let go on.
    struct Stuck(Receiver<()>, Paper);

    impl Write for Stuck {
        fn write(&mut self, text: &[u8]) -> Result<usize> {
            let _ = self.0.recv();
            self.1.write(text)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_end_waits_half_a_second_for_who_does_not_read() {
        let (go_on, stalled) = mpsc::channel();
        let lines = Lines::start(Stuck(stalled, Paper::default()), |_| String::new(), None);
        let begun = Instant::now();
        lines.end(Some("last\n".to_owned()));
        // Headroom for a busy machine.
        assert!((FLUSH_TIMEOUT.stated()..Duration::from_secs(10)).contains(&begun.elapsed()));
        drop(go_on);
    }

    #[test]
    fn what_does_not_fit_behind_a_reader_that_stalls_is_counted_and_told_when_it_reads_on() {
        let (go_on, stalled) = mpsc::channel();
        let paper = Paper::default();
        let stuck = Stuck(stalled, paper.clone());
        let lines = Lines::start(stuck, |count| format!("{count} missing\n"), None);
        for _ in 0..3 * QUEUE.stated() {
            lines.put("x\n");
        }
        drop(go_on);
        let (end, ended) = mpsc::channel();
        assert!(lines.send_by(Message::End(end), Instant::now() + Duration::from_secs(20)));
        ended.recv_timeout(Duration::from_secs(20)).expect_err("nobody sends");
        let text = paper.text();
        let written = text.lines().filter(|line| *line == "x").count();
        let missing: usize =
            text.lines().filter_map(|line| line.strip_suffix(" missing")?.parse::<usize>().ok()).sum();
        assert!(missing > 0 && written >= QUEUE.stated(), "{written} written, {missing} missing");
        assert_eq!(written + missing, 3 * QUEUE.stated());
    }
}
