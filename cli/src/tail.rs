//! The newest lines of the log, for who reads them over HTTP.

use std::fmt::{Debug, Write};
use streamengine::LogTail;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Whose lines are those of rates, in the log.
pub(crate) const RATES: &str = "streamengine::rates";

/// Puts what is logged into a tail, as it is in the log. Only rates are left out: there are so many of them on a busy server that
/// everything else would soon be gone, and who reads the tail has better ones from the API.
pub(crate) struct TailLayer(pub(crate) LogTail);

impl<S: Subscriber> Layer<S> for TailLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target() == RATES {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        self.0.push(*metadata.level(), metadata.target(), &format!("{}{}", line.message, line.fields));
    }
}

/// What an event says, and the values beside it.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_line_of_the_tail_says_what_the_log_says_unless_it_is_of_rates() {
        let tail = LogTail::default();
        let subscriber = tracing_subscriber::registry().with(TailLayer(tail.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let peer: std::net::SocketAddr = "192.0.2.7:4000".parse().unwrap();
            tracing::info!(target: RATES, kbits_in = 1, "rates");
            tracing::warn!(%peer, left_out = 0, "refused: {}", "why");
        });
        let (lines, _) = tail.lines(None, 10);
        assert_eq!(lines.len(), 1, "rates are left out");
        let line = &lines[0];
        assert_eq!(
            (line.level, line.message.as_str()),
            ("warn", "refused: why peer=192.0.2.7:4000 left_out=0")
        );
        assert!(line.target.starts_with("streamengine"), "{}", line.target);
    }
}
