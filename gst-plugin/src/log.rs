//! The engine's log in GStreamer's: `GST_DEBUG=streamengine:5` shows it.

use gst::prelude::*;
use std::fmt::{self, Write};
use std::sync::LazyLock;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Level, Metadata, Subscriber};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("streamengine", gst::DebugColorFlags::empty(), Some("RTMP streaming engine"))
});

/// Where the engine's modules are.
const ENGINE: &str = "streamengine";

/// Sends the engine's log to GStreamer. Not where the plugin is linked into a program: the log is that program's then.
pub(crate) fn bridge(plugin: &gst::Plugin) {
    if plugin.filename().is_some() {
        // There is one already when the plugin is loaded a second time.
        let _ = set_global_default(Bridge);
    }
}

struct Bridge;

fn level(level: Level) -> gst::DebugLevel {
    match level {
        Level::ERROR => gst::DebugLevel::Error,
        Level::WARN => gst::DebugLevel::Warning,
        Level::INFO => gst::DebugLevel::Info,
        Level::DEBUG => gst::DebugLevel::Debug,
        Level::TRACE => gst::DebugLevel::Trace,
    }
}

/// The text of an event: its message, then the other fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// The engine opens no spans: they need no numbers of their own.
impl Subscriber for Bridge {
    /// Asked each time, as thresholds of GStreamer's log change at run time.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(ENGINE) && CAT.above_threshold(level(*metadata.level()))
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let Text { message, fields } = text;
        match *event.metadata().level() {
            Level::ERROR => gst::error!(CAT, "{message}{fields}"),
            Level::WARN => gst::warning!(CAT, "{message}{fields}"),
            Level::INFO => gst::info!(CAT, "{message}{fields}"),
            Level::DEBUG => gst::debug!(CAT, "{message}{fields}"),
            Level::TRACE => gst::trace!(CAT, "{message}{fields}"),
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
