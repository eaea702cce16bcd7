//! The properties of `rtmprelaysink`: names, ranges, defaults, and their values.

use super::{EnhancedForm, ErrorPolicy, RecordFormat, StopCommands};
use crate::host::{Endpoint, failure};
use gst::glib;
use gst::prelude::*;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use streamengine::{PushTuning, RecordConfig, RetryTimes, StartAt, StreamKey, StreamPolicy, TlsConfig};

/// What the ring of an engine holds at most; a longer GOP cannot be cached.
const MAX_GOP_CACHE: u64 = 32 * 1024 * 1024;

/// From what every peer takes at the start to what the longest message needs.
const CHUNK_SIZES: RangeInclusive<u32> = 128..=0xff_ffff;

/// What the engine takes: milliseconds, and bytes.
const SEGMENT_TIMES: (u32, u32) = (1_000, u32::MAX);
const LARGEST_DISK: u64 = 1 << 40;

/// The values.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) serve: bool,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) tls_port: u16,
    pub(super) tls_certificate: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) http_port: i32,
    pub(super) https_port: i32,
    pub(super) http_dashboard: bool,
    pub(super) application: String,
    pub(super) stream: String,
    pub(super) location: Option<String>,
    pub(super) targets: Vec<String>,
    pub(super) target: TargetSettings,
    pub(super) error_policy: ErrorPolicy,
    pub(super) max_queue_time: u32,
    pub(super) max_queue_bytes: u64,
    pub(super) gop_cache: bool,
    pub(super) gop_cache_max_bytes: u64,
    pub(super) request_keyframes: bool,
    pub(super) keyframe_interval_min: u32,
    pub(super) wait_for_connection: bool,
    pub(super) max_players: u32,
    pub(super) enhanced: EnhancedForm,
    pub(super) metadata: Option<gst::Structure>,
    pub(super) record_location: Option<String>,
    pub(super) record_format: RecordFormat,
    pub(super) record_segment_time: u32,
    pub(super) record_min_free_bytes: u64,
    pub(super) drain_timeout: u32,
    pub(super) sync: bool,
    pub(super) ts_offset: i64,
}

/// What holds for push targets, and may be different for one of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TargetSettings {
    pub(super) reconnect: bool,
    pub(super) reconnect_min: u32,
    pub(super) reconnect_max: u32,
    pub(super) max_reconnects: i32,
    pub(super) connect_timeout: u32,
    pub(super) write_timeout: u32,
    pub(super) chunk_size: u32,
    pub(super) tls_validation: bool,
    pub(super) ca_file: Option<String>,
    pub(super) stop_commands: StopCommands,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            serve: true,
            address: "127.0.0.1".into(),
            port: 1935,
            tls_port: 0,
            tls_certificate: None,
            tls_key: None,
            http_port: -1,
            https_port: -1,
            http_dashboard: true,
            application: "live".into(),
            stream: "stream".into(),
            location: None,
            targets: Vec::new(),
            target: TargetSettings::default(),
            error_policy: ErrorPolicy::default(),
            max_queue_time: 3_000,
            max_queue_bytes: 8 * 1024 * 1024,
            gop_cache: true,
            gop_cache_max_bytes: 16 * 1024 * 1024,
            request_keyframes: true,
            keyframe_interval_min: 1_000,
            wait_for_connection: false,
            max_players: 0,
            enhanced: EnhancedForm::default(),
            metadata: None,
            record_location: None,
            record_format: RecordFormat::default(),
            record_segment_time: 3_600_000,
            record_min_free_bytes: 1 << 30,
            drain_timeout: 2_000,
            sync: true,
            ts_offset: 0,
        }
    }
}

impl Default for TargetSettings {
    fn default() -> Self {
        Self {
            reconnect: true,
            reconnect_min: 1_000,
            reconnect_max: 30_000,
            max_reconnects: -1,
            connect_timeout: 5_000,
            write_timeout: 10_000,
            chunk_size: 4_096,
            tls_validation: true,
            ca_file: None,
            stop_commands: StopCommands::default(),
        }
    }
}

impl TargetSettings {
    /// The same with what `options` of one target say, by the names of the properties.
    ///
    /// # Errors
    /// A name that is not among them, or a value of another type; in words.
    pub(super) fn with(mut self, options: &gst::StructureRef) -> Result<Self, String> {
        for (name, value) in options.iter() {
            let name = name.as_str();
            let taken = self.set(name, value);
            taken.ok_or_else(|| {
                format!("target option {name}: there is none, or its value is not of its type")
            })?;
        }
        Ok(self)
    }

    fn set(&mut self, name: &str, value: &glib::Value) -> Option<()> {
        // In structures that were written as text, all whole numbers are of the signed type.
        let unsigned = || -> Option<u32> {
            value.get::<u32>().ok().or_else(|| u32::try_from(value.get::<i32>().ok()?).ok())
        };
        let millis = || unsigned().filter(|&millis| millis > 0);
        match name {
            "reconnect" => self.reconnect = value.get().ok()?,
            "reconnect-min" => self.reconnect_min = unsigned()?,
            "reconnect-max" => self.reconnect_max = unsigned()?,
            "max-reconnects" => self.max_reconnects = value.get::<i32>().ok().filter(|&count| count >= -1)?,
            "connect-timeout" => self.connect_timeout = millis()?,
            "write-timeout" => self.write_timeout = millis()?,
            "chunk-size" => self.chunk_size = unsigned().filter(|size| CHUNK_SIZES.contains(size))?,
            "tls-validation" => self.tls_validation = value.get().ok()?,
            "ca-file" => self.ca_file = value.get().ok()?,
            _ => return None,
        }
        Some(())
    }

    /// As the engine takes it.
    pub(super) fn tuning(&self) -> PushTuning {
        let (min_ms, max_ms) = (u64::from(self.reconnect_min), u64::from(self.reconnect_max));
        let max_retries = match self.reconnect {
            true => u32::try_from(self.max_reconnects).ok(),
            false => Some(0),
        };
        let tls = TlsConfig::default()
            .ca(self.ca_file.as_ref().map(Into::into))
            .danger_accept_invalid_certs(!self.tls_validation);
        PushTuning::default()
            .retry(RetryTimes { min_ms, max_ms: max_ms.max(min_ms) })
            .max_retries(max_retries)
            .connect_timeout_ms(u64::from(self.connect_timeout))
            .write_timeout_ms(u64::from(self.write_timeout))
            .tls(tls)
            .stop_commands(self.stop_commands.into())
            .from_zero(true)
            .chunk_size(self.chunk_size)
    }
}

impl Settings {
    /// Where to listen; `None` where it is not to serve.
    ///
    /// # Errors
    /// Values that do not fit together.
    pub(super) fn endpoint(&self) -> Result<Option<Endpoint>, gst::ErrorMessage> {
        if !self.serve {
            return Ok(None);
        }
        let mut endpoint = Endpoint::new(&self.address, self.port)?;
        if self.tls_port != 0 {
            let (certificate, key) = self.identity("tls-port")?;
            endpoint = endpoint.with_tls(self.tls_port, certificate, key);
        }
        if let Ok(port) = u16::try_from(self.http_port) {
            endpoint = endpoint.with_http(port);
        }
        if let Ok(port) = u16::try_from(self.https_port) {
            let (certificate, key) = self.identity("https-port")?;
            endpoint = endpoint.with_https(port, certificate, key);
        }
        if !self.http_dashboard {
            endpoint = endpoint.without_dashboard();
        }
        Ok(Some(endpoint))
    }

    /// Certificate and key for a port.
    fn identity(&self, property: &str) -> Result<(&String, &String), gst::ErrorMessage> {
        self.tls_certificate.as_ref().zip(self.tls_key.as_ref()).ok_or_else(|| {
            let text = format!("{property} is set: tls-certificate and tls-key are needed too");
            failure(gst::ResourceError::Settings, &text)
        })
    }

    /// The stream's name.
    ///
    /// # Errors
    /// Application or stream have characters that names cannot have.
    pub(super) fn key(&self) -> Result<StreamKey, gst::ErrorMessage> {
        StreamKey::new(&self.application, &self.stream).map_err(|error| {
            let text = format!("application \"{}\", stream \"{}\": {error}", self.application, self.stream);
            failure(gst::ResourceError::Settings, &text)
        })
    }

    /// What holds for players and targets.
    pub(super) fn policy(&self) -> StreamPolicy {
        let limit = |value: u64| (value > 0).then_some(value);
        let mut policy = StreamPolicy::default();
        policy.start = Some(if self.gop_cache { StartAt::Keyframe } else { StartAt::LiveEdge });
        policy.max_start_bytes = Some(self.gop_cache_max_bytes);
        policy.max_queue_ms = limit(self.max_queue_time.into());
        policy.max_queue_bytes = limit(self.max_queue_bytes);
        policy.ring_bytes = limit(self.max_queue_bytes).map(|queue| {
            let cache = if self.gop_cache { self.gop_cache_max_bytes } else { 0 };
            usize::try_from(queue.max(cache)).unwrap_or(usize::MAX)
        });
        policy
    }

    /// How the stream is recorded; `None` where it is not.
    pub(super) fn recording(&self) -> Option<RecordConfig> {
        let config = RecordConfig::new(self.record_location.as_ref()?)
            .format(self.record_format.into())
            .segment_ms(self.record_segment_time.into())
            .min_free_bytes(self.record_min_free_bytes);
        Some(config)
    }

    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        // GObject has checked types and ranges.
        fn get<T: for<'a> glib::value::FromValue<'a>>(value: &glib::Value) -> T {
            value.get().unwrap_or_else(|_| unreachable!("checked by GObject"))
        }
        let port = || u16::try_from(get::<u32>(value)).unwrap_or_default();
        let text = || get::<Option<String>>(value).filter(|text| !text.is_empty());
        match name {
            "serve" => self.serve = get(value),
            "address" => self.address = text().unwrap_or_else(|| Self::default().address),
            "port" => self.port = port(),
            "tls-port" => self.tls_port = port(),
            "tls-certificate" => self.tls_certificate = text(),
            "tls-key" => self.tls_key = text(),
            "http-port" => self.http_port = get(value),
            "https-port" => self.https_port = get(value),
            "http-dashboard" => self.http_dashboard = get(value),
            "application" => self.application = text().unwrap_or_else(|| Self::default().application),
            "stream" => self.stream = text().unwrap_or_else(|| Self::default().stream),
            "location" => self.location = text(),
            "targets" => self.targets = texts(value),
            "error-policy" => self.error_policy = get(value),
            "max-queue-time" => self.max_queue_time = get(value),
            "max-queue-bytes" => self.max_queue_bytes = get(value),
            "gop-cache" => self.gop_cache = get(value),
            "gop-cache-max-bytes" => self.gop_cache_max_bytes = get(value),
            "request-keyframes" => self.request_keyframes = get(value),
            "keyframe-interval-min" => self.keyframe_interval_min = get(value),
            "wait-for-connection" => self.wait_for_connection = get(value),
            "max-players" => self.max_players = get(value),
            "enhanced" => self.enhanced = get(value),
            "metadata" => self.metadata = get(value),
            "record-location" => self.record_location = text(),
            "record-format" => self.record_format = get(value),
            "record-segment-time" => self.record_segment_time = get(value),
            "record-min-free-bytes" => self.record_min_free_bytes = get(value),
            "drain-timeout" => self.drain_timeout = get(value),
            "sync" => self.sync = get(value),
            "ts-offset" => self.ts_offset = get(value),
            "stop-commands" => self.target.stop_commands = get(value),
            name => {
                let taken = self.target.set(name, value);
                debug_assert!(taken.is_some(), "{name}");
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> glib::Value {
        match name {
            "serve" => self.serve.to_value(),
            "address" => self.address.to_value(),
            "port" => u32::from(self.port).to_value(),
            "tls-port" => u32::from(self.tls_port).to_value(),
            "tls-certificate" => self.tls_certificate.to_value(),
            "tls-key" => self.tls_key.to_value(),
            "http-port" => self.http_port.to_value(),
            "https-port" => self.https_port.to_value(),
            "http-dashboard" => self.http_dashboard.to_value(),
            "application" => self.application.to_value(),
            "stream" => self.stream.to_value(),
            "location" => self.location.to_value(),
            "targets" => gst::Array::new(&self.targets).to_value(),
            "reconnect" => self.target.reconnect.to_value(),
            "reconnect-min" => self.target.reconnect_min.to_value(),
            "reconnect-max" => self.target.reconnect_max.to_value(),
            "max-reconnects" => self.target.max_reconnects.to_value(),
            "connect-timeout" => self.target.connect_timeout.to_value(),
            "write-timeout" => self.target.write_timeout.to_value(),
            "chunk-size" => self.target.chunk_size.to_value(),
            "tls-validation" => self.target.tls_validation.to_value(),
            "ca-file" => self.target.ca_file.to_value(),
            "stop-commands" => self.target.stop_commands.to_value(),
            "error-policy" => self.error_policy.to_value(),
            "max-queue-time" => self.max_queue_time.to_value(),
            "max-queue-bytes" => self.max_queue_bytes.to_value(),
            "gop-cache" => self.gop_cache.to_value(),
            "gop-cache-max-bytes" => self.gop_cache_max_bytes.to_value(),
            "request-keyframes" => self.request_keyframes.to_value(),
            "keyframe-interval-min" => self.keyframe_interval_min.to_value(),
            "wait-for-connection" => self.wait_for_connection.to_value(),
            "max-players" => self.max_players.to_value(),
            "enhanced" => self.enhanced.to_value(),
            "metadata" => self.metadata.to_value(),
            "record-location" => self.record_location.to_value(),
            "record-format" => self.record_format.to_value(),
            "record-segment-time" => self.record_segment_time.to_value(),
            "record-min-free-bytes" => self.record_min_free_bytes.to_value(),
            "drain-timeout" => self.drain_timeout.to_value(),
            "sync" => self.sync.to_value(),
            "ts-offset" => self.ts_offset.to_value(),
            name => unreachable!("property {name}"),
        }
    }
}

/// The texts of an array property; what is no text is left out.
fn texts(value: &glib::Value) -> Vec<String> {
    let array = value.get::<gst::ArrayRef<'_>>();
    let values = array.iter().flat_map(|array| array.as_slice().iter());
    values.filter_map(|value| value.get::<String>().ok()).filter(|text| !text.is_empty()).collect()
}

/// When a property may still be changed.
#[derive(Clone, Copy)]
enum Until {
    Ready,
    Playing,
}

impl Until {
    fn mark<'a, B: GstParamSpecBuilderExt<'a>>(self, builder: B) -> B {
        match self {
            Self::Ready => builder.mutable_ready(),
            Self::Playing => builder.mutable_playing(),
        }
    }
}

/// The properties in the order in which they are documented.
pub(super) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    use Until::{Playing, Ready};
    let default = Settings::default();
    vec![
        boolean("serve", "Serve", "Serve the stream to players", default.serve, Ready),
        string(
            "address",
            "Address",
            "IP address to listen on; 0.0.0.0 lets other machines play the stream",
            Some(&default.address),
            Ready,
        ),
        uint(
            "port",
            "Port",
            "TCP port to listen on; 0 takes any free one",
            (0, 65_535),
            default.port.into(),
            Ready,
        ),
        current_port("current-port", "Current port", "TCP port that is listened on; 0 while none is"),
        uint(
            "tls-port",
            "TLS port",
            "TCP port to listen on for RTMPS as well; 0 = none",
            (0, 65_535),
            default.tls_port.into(),
            Ready,
        ),
        string(
            "tls-certificate",
            "TLS certificate",
            "PEM file with the certificate chain for tls-port and https-port",
            None,
            Ready,
        ),
        string(
            "tls-key",
            "TLS key",
            "PEM file with the private key for tls-port and https-port",
            None,
            Ready,
        ),
        optional_port(
            "http-port",
            "HTTP port",
            "TCP port to listen on for players over HTTP and WebSocket as well; 0 takes any free one, -1 = none",
            default.http_port,
        ),
        current_port(
            "current-http-port",
            "Current HTTP port",
            "TCP port that is listened on for HTTP; 0 while none is",
        ),
        optional_port(
            "https-port",
            "HTTPS port",
            "TCP port to listen on for HTTPS as well, with tls-certificate and tls-key; 0 takes any free one, -1 = none",
            default.https_port,
        ),
        current_port(
            "current-https-port",
            "Current HTTPS port",
            "TCP port that is listened on for HTTPS; 0 while none is",
        ),
        boolean(
            "http-dashboard",
            "HTTP dashboard",
            "Have the dashboard at / of http-port and https-port; if not, the list of live streams is there",
            default.http_dashboard,
            Ready,
        ),
        string(
            "application",
            "Application",
            "First part of the stream's name: rtmp://ADDRESS:PORT/APPLICATION/STREAM",
            Some(&default.application),
            Ready,
        ),
        string("stream", "Stream", "Last part of the stream's name", Some(&default.stream), Ready),
        string(
            "location",
            "Location",
            "URL of a server to push the stream to: rtmp[s]://HOST[:PORT]/APPLICATION/STREAM[?QUERY]",
            None,
            Playing,
        ),
        targets(),
        boolean(
            "tls-validation",
            "TLS validation",
            "Check the certificates of rtmps targets; holds from their next connection on",
            default.target.tls_validation,
            Playing,
        ),
        string(
            "ca-file",
            "CA file",
            "PEM file with certificate authorities to trust beside the system's, for rtmps targets",
            None,
            Playing,
        ),
        boolean(
            "reconnect",
            "Reconnect",
            "Connect again to a target that is lost or refuses; if not, the first failure is final",
            default.target.reconnect,
            Playing,
        ),
        uint(
            "reconnect-min",
            "Reconnect min",
            "Wait before the first new attempt for a target, in ms; doubles with each",
            (0, u32::MAX),
            default.target.reconnect_min,
            Playing,
        ),
        uint(
            "reconnect-max",
            "Reconnect max",
            "Longest wait between attempts for a target, in ms",
            (0, u32::MAX),
            default.target.reconnect_max,
            Playing,
        ),
        glib::ParamSpecInt::builder("max-reconnects")
            .nick("Max reconnects")
            .blurb("New attempts for a target in a row before it is given up; -1 = without end")
            .minimum(-1)
            .default_value(default.target.max_reconnects)
            .mutable_playing()
            .build(),
        uint(
            "connect-timeout",
            "Connect timeout",
            "Longest time to connect to a target, from the look-up to the granted publish, in ms",
            (1, u32::MAX),
            default.target.connect_timeout,
            Playing,
        ),
        uint(
            "write-timeout",
            "Write timeout",
            "Time after which a target that takes nothing is taken for lost, in ms",
            (1, u32::MAX),
            default.target.write_timeout,
            Playing,
        ),
        uint(
            "chunk-size",
            "Chunk size",
            "Bytes per RTMP chunk towards targets; holds from their next connection on",
            (*CHUNK_SIZES.start(), *CHUNK_SIZES.end()),
            default.target.chunk_size,
            Playing,
        ),
        glib::ParamSpecFlags::builder::<StopCommands>("stop-commands")
            .nick("Stop commands")
            .blurb("What targets are told when the stream ends")
            .default_value(default.target.stop_commands)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("error-policy", default.error_policy)
            .nick("Error policy")
            .blurb(
                "When targets that are given up make the element fail; a failing target is always a warning",
            )
            .mutable_ready()
            .build(),
        uint(
            "max-queue-time",
            "Max queue time",
            "How far a player or target may fall behind, in ms, before it goes on at a newer keyframe; 0 = as far as the memory reaches",
            (0, u32::MAX),
            default.max_queue_time,
            Playing,
        ),
        uint64(
            "max-queue-bytes",
            "Max queue bytes",
            "The same in bytes that it has not taken; 0 = as far as the memory reaches",
            u64::MAX,
            default.max_queue_bytes,
        ),
        boolean("gop-cache", "GOP cache", "Start players at the newest keyframe", default.gop_cache, Playing),
        uint64(
            "gop-cache-max-bytes",
            "GOP cache max bytes",
            "Most bytes that players start with; where more have come since the newest keyframe they wait for the next",
            MAX_GOP_CACHE,
            default.gop_cache_max_bytes,
        ),
        boolean(
            "request-keyframes",
            "Request keyframes",
            "Ask the encoder for a keyframe when a player joins or a target connects",
            default.request_keyframes,
            Playing,
        ),
        uint(
            "keyframe-interval-min",
            "Keyframe interval min",
            "Shortest time between such requests, in ms",
            (0, u32::MAX),
            default.keyframe_interval_min,
            Playing,
        ),
        boolean(
            "wait-for-connection",
            "Wait for connection",
            "Hold the stream until there is a player or a connected target; blocks live pipelines",
            default.wait_for_connection,
            Playing,
        ),
        uint(
            "max-players",
            "Max players",
            "Most players at once; 0 = no limit",
            (0, u32::MAX),
            default.max_players,
            Playing,
        ),
        glib::ParamSpecEnum::builder_with_default("enhanced", default.enhanced)
            .nick("Enhanced")
            .blurb(
                "Whether elementary streams are sent in the form of Enhanced RTMP; FLV is passed on as it is",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("metadata")
            .nick("Metadata")
            .blurb("Fields of onMetaData that replace or complete what caps and tags say")
            .mutable_playing()
            .build(),
        string(
            "record-location",
            "Record location",
            "Folder to record the stream to, as APPLICATION/STREAM/NAME.flv or .mp4 below it; another one, or none, holds at once",
            None,
            Playing,
        ),
        glib::ParamSpecEnum::builder_with_default("record-format", default.record_format)
            .nick("Record format")
            .blurb("How the stream is recorded")
            .mutable_ready()
            .build(),
        uint(
            "record-segment-time",
            "Record segment time",
            "Time after which, at the first keyframe, another file is begun, in ms",
            SEGMENT_TIMES,
            default.record_segment_time,
            Ready,
        ),
        glib::ParamSpecUInt64::builder("record-min-free-bytes")
            .nick("Record min free bytes")
            .blurb("What the disk has to have left; where it has less, nothing is recorded until it has")
            .maximum(LARGEST_DISK)
            .default_value(default.record_min_free_bytes)
            .mutable_ready()
            .build(),
        uint(
            "drain-timeout",
            "Drain timeout",
            "Longest time that EOS waits for players and targets to take what has come, and for a recording to be whole, in ms",
            (0, u32::MAX),
            default.drain_timeout,
            Playing,
        ),
        boolean(
            "sync",
            "Sync",
            "Send in time with the clock; false for live pipelines that want the least delay",
            default.sync,
            Playing,
        ),
        glib::ParamSpecInt64::builder("ts-offset")
            .nick("TS offset")
            .blurb("How much later than its time a buffer is sent, in ns")
            .default_value(default.ts_offset)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("Counters, and what is known of each player and target")
            .read_only()
            .build(),
    ]
});

/// A port that need not be.
fn optional_port(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    default: i32,
) -> glib::ParamSpec {
    let builder = glib::ParamSpecInt::builder(name).nick(nick).blurb(blurb);
    builder.minimum(-1).maximum(65_535).default_value(default).mutable_ready().build()
}

/// A port that is really bound.
fn current_port(name: &'static str, nick: &'static str, blurb: &'static str) -> glib::ParamSpec {
    let builder = glib::ParamSpecUInt::builder(name).nick(nick).blurb(blurb);
    builder.maximum(65_535).read_only().build()
}

fn targets() -> glib::ParamSpec {
    let element = glib::ParamSpecString::builder("target").nick("Target").blurb("URL of one target").build();
    gst::ParamSpecArray::builder("targets")
        .nick("Targets")
        .blurb("URLs of servers to push the stream to: targets='<rtmp://a/live/x,rtmp://b/live/y>'")
        .element_spec(&element)
        .mutable_playing()
        .build()
}

fn boolean(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    default: bool,
    until: Until,
) -> glib::ParamSpec {
    let builder = glib::ParamSpecBoolean::builder(name).nick(nick).blurb(blurb).default_value(default);
    until.mark(builder).build()
}

fn string(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    default: Option<&str>,
    until: Until,
) -> glib::ParamSpec {
    let builder = glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).default_value(default);
    until.mark(builder).build()
}

fn uint(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    (minimum, maximum): (u32, u32),
    default: u32,
    until: Until,
) -> glib::ParamSpec {
    let builder = glib::ParamSpecUInt::builder(name).nick(nick).blurb(blurb);
    until.mark(builder.minimum(minimum).maximum(maximum).default_value(default)).build()
}

fn uint64(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    maximum: u64,
    default: u64,
) -> glib::ParamSpec {
    let builder = glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb);
    builder.maximum(maximum).default_value(default).mutable_playing().build()
}
