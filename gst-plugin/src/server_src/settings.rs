//! What users set: the element's properties and its URI.

use super::clock::TimestampMode;
use super::queue::Bounds;
use crate::host::{self, Endpoint, Pattern};
use gst::glib;
use gst::prelude::*;
use std::time::Duration;
use streamengine::{Secret, StreamKey, StreamName};

/// Where an RTMP server listens by default.
const DEFAULT_PORT: u32 = 1_935;
/// Where an RTMPS server listens by default.
const DEFAULT_TLS_PORT: u32 = 443;

/// URI schemes of the element: RTMP, and RTMPS only.
pub(super) const SCHEMES: [&str; 2] = ["rtmpserver", "rtmpsserver"];

/// What follows when the publisher has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[repr(u32)]
#[enum_type(name = "GstRtmpServerSrcOnDisconnect")]
pub enum OnDisconnect {
    /// Another publisher may come.
    #[default]
    #[enum_value(name = "Wait for another publisher", nick = "wait")]
    Wait,
    /// The stream ends.
    #[enum_value(name = "End the stream", nick = "eos")]
    Eos,
    /// The element fails.
    #[enum_value(name = "Post an error", nick = "error")]
    Error,
}

/// What a second publisher is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[repr(u32)]
#[enum_type(name = "GstRtmpServerSrcTakeover")]
pub enum Takeover {
    /// It is refused.
    #[default]
    #[enum_value(name = "Refuse the newcomer", nick = "reject")]
    Reject,
    /// It takes the place of the first.
    #[enum_value(name = "Close the present publisher", nick = "replace")]
    Replace,
}

/// The values of the properties.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) address: String,
    pub(super) port: u32,
    pub(super) application: String,
    pub(super) stream: Option<String>,
    pub(super) publish_key: Option<Secret>,
    pub(super) tls_certificate: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) tls_port: u32,
    pub(super) tls_only: bool,
    pub(super) latency: u32,
    pub(super) timestamp_mode: TimestampMode,
    pub(super) on_disconnect: OnDisconnect,
    pub(super) takeover: Takeover,
    pub(super) wait_timeout: u32,
    pub(super) idle_timeout: u32,
    pub(super) max_queue_time: u32,
    pub(super) max_queue_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: "127.0.0.1".to_owned(),
            port: DEFAULT_PORT,
            application: "live".to_owned(),
            stream: None,
            publish_key: None,
            tls_certificate: None,
            tls_key: None,
            tls_port: 0,
            tls_only: false,
            latency: 200,
            timestamp_mode: TimestampMode::default(),
            on_disconnect: OnDisconnect::default(),
            takeover: Takeover::default(),
            wait_timeout: 0,
            idle_timeout: 10_000,
            max_queue_time: 3_000,
            max_queue_bytes: 16 * 1024 * 1024,
        }
    }
}

/// `None` for 0.
pub(super) fn timeout(ms: u32) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms.into()))
}

impl Settings {
    /// The value of a property; `None` for those that the element itself knows.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "address" => self.address.to_value(),
            "port" => self.port.to_value(),
            "application" => self.application.to_value(),
            "stream" => self.stream.to_value(),
            "tls-certificate" => self.tls_certificate.to_value(),
            "tls-key" => self.tls_key.to_value(),
            "tls-port" => self.tls_port.to_value(),
            "tls-only" => self.tls_only.to_value(),
            "latency" => self.latency.to_value(),
            "timestamp-mode" => self.timestamp_mode.to_value(),
            "on-disconnect" => self.on_disconnect.to_value(),
            "takeover" => self.takeover.to_value(),
            "wait-timeout" => self.wait_timeout.to_value(),
            "idle-timeout" => self.idle_timeout.to_value(),
            "max-queue-time" => self.max_queue_time.to_value(),
            "max-queue-bytes" => self.max_queue_bytes.to_value(),
            _ => return None,
        })
    }

    /// Sets a property; GObject has checked the type.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        const CHECKED: &str = "GObject checks types";
        let default = Self::default();
        let text = || value.get::<Option<String>>().expect(CHECKED).filter(|text| !text.is_empty());
        match name {
            "address" => self.address = text().unwrap_or(default.address),
            "application" => self.application = text().unwrap_or(default.application),
            "stream" => self.stream = text(),
            "publish-key" => self.publish_key = text().map(Secret::new),
            "tls-certificate" => self.tls_certificate = text(),
            "tls-key" => self.tls_key = text(),
            "tls-only" => self.tls_only = value.get().expect(CHECKED),
            "timestamp-mode" => self.timestamp_mode = value.get().expect(CHECKED),
            "on-disconnect" => self.on_disconnect = value.get().expect(CHECKED),
            "takeover" => self.takeover = value.get().expect(CHECKED),
            _ => self.set_number(name, value.get().expect(CHECKED)),
        }
    }

    fn set_number(&mut self, name: &str, number: u32) {
        let field = match name {
            "port" => &mut self.port,
            "tls-port" => &mut self.tls_port,
            "latency" => &mut self.latency,
            "wait-timeout" => &mut self.wait_timeout,
            "idle-timeout" => &mut self.idle_timeout,
            "max-queue-time" => &mut self.max_queue_time,
            "max-queue-bytes" => &mut self.max_queue_bytes,
            _ => return,
        };
        *field = number;
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            time: Duration::from_millis(self.max_queue_time.into()),
            bytes: usize::try_from(self.max_queue_bytes).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency.into())
    }

    /// The most that the element can hold back: what waits until the queues are full. `None` where time does not bound them.
    pub(super) fn max_latency(&self) -> Option<Duration> {
        timeout(self.max_queue_time).map(|queue| self.latency() + queue)
    }

    /// Where to listen.
    ///
    /// # Errors
    /// In the words of the element's error message.
    pub(super) fn endpoint(&self) -> Result<Endpoint, gst::ErrorMessage> {
        let port = |port: u32| u16::try_from(port).unwrap_or_default();
        if !self.tls_only && self.tls_port == 0 {
            return Endpoint::new(&self.address, port(self.port));
        }
        let files = self.tls_certificate.as_ref().zip(self.tls_key.as_ref());
        let (certificate, key) = files.ok_or_else(|| unusable("RTMPS needs tls-certificate and tls-key"))?;
        match self.tls_only {
            true => Endpoint::tls_only(&self.address, port(self.tls_port), certificate, key),
            false => Ok(Endpoint::new(&self.address, port(self.port))?.with_tls(
                port(self.tls_port),
                certificate,
                key,
            )),
        }
    }

    /// Which streams are the element's.
    ///
    /// # Errors
    /// As [`Self::endpoint`].
    pub(super) fn pattern(&self) -> Result<Pattern, gst::ErrorMessage> {
        // Checks the app too where any stream will do.
        let stream = self.stream.as_deref().unwrap_or("any");
        let key = StreamKey::new(&self.application, stream)
            .map_err(|error| unusable(&format!("application and stream: {error}")))?;
        Ok(match self.stream {
            Some(_) => Pattern::Stream(key),
            None => Pattern::App(key.app().to_owned()),
        })
    }

    /// `rtmpserver://address:port/application/stream`, without the publish key.
    pub(super) fn uri(&self) -> String {
        let [plain, secure] = SCHEMES;
        let (scheme, port) = if self.tls_only { (secure, self.tls_port) } else { (plain, self.port) };
        let address = self.address.trim_matches(['[', ']']);
        let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let stream = self.stream.as_ref().map(|stream| format!("/{stream}")).unwrap_or_default();
        format!("{scheme}://{address}:{port}/{}{stream}", self.application)
    }

    /// Takes address, port, application, stream and key from a URI; what it does not name gets its default.
    ///
    /// # Errors
    /// What is wrong with it; the URI itself is not repeated, it may hold the key.
    pub(super) fn set_uri(&mut self, uri: &str) -> Result<(), String> {
        let (scheme, rest) = uri.split_once("://").ok_or("no scheme")?;
        let tls_only = match SCHEMES.iter().position(|known| scheme.eq_ignore_ascii_case(known)) {
            Some(index) => index == 1,
            None => return Err(format!("the scheme is not {}", SCHEMES.join(" or "))),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (address, port) = split_authority(authority)?;
        let default = Self::default();
        let mut new = self.clone();
        new.address = address.unwrap_or(default.address);
        (new.application, new.stream) = split_path(path.trim_matches('/'));
        new.publish_key = key_in(query);
        new.tls_only = tls_only;
        match tls_only {
            true => new.tls_port = port.unwrap_or(DEFAULT_TLS_PORT),
            false => new.port = port.unwrap_or(DEFAULT_PORT),
        }
        new.pattern().map_err(|_| "application and stream are no valid names")?;
        *self = new;
        Ok(())
    }
}

/// Host and port, where they are given.
fn split_authority(authority: &str) -> Result<(Option<String>, Option<u32>), String> {
    let has_port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let (host, port) = match has_port {
        Some((host, port)) => {
            let port: u16 = port.parse().map_err(|_| "the port is no number up to 65535")?;
            (host, Some(port.into()))
        }
        None => (authority, None),
    };
    Ok(((!host.is_empty()).then(|| host.to_owned()), port))
}

/// The last of several parts is the stream.
fn split_path(path: &str) -> (String, Option<String>) {
    match path.rsplit_once('/') {
        Some((application, stream)) => (application.to_owned(), Some(stream.to_owned())),
        None if path.is_empty() => (Settings::default().application, None),
        None => (path.to_owned(), None),
    }
}

fn key_in(query: &str) -> Option<Secret> {
    let name = StreamName::parse("any", &format!("any?{query}")).ok()?;
    name.query_value("key").filter(|key| !key.is_empty()).map(Secret::new)
}

fn unusable(text: &str) -> gst::ErrorMessage {
    host::failure(gst::ResourceError::Settings, text)
}

/// The properties that [`Settings`] holds.
pub(super) fn properties() -> Vec<glib::ParamSpec> {
    let mut all = address_properties();
    all.extend(behaviour_properties());
    all.extend(time_properties());
    all
}

fn text(name: &str, nick: &str, blurb: &str, default: Option<&str>) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name)
        .nick(nick)
        .blurb(blurb)
        .default_value(default)
        .mutable_ready()
        .build()
}

fn port(name: &str, nick: &str, blurb: &str, default: u32) -> glib::ParamSpec {
    glib::ParamSpecUInt::builder(name)
        .nick(nick)
        .blurb(blurb)
        .maximum(u16::MAX.into())
        .default_value(default)
        .mutable_ready()
        .build()
}

fn address_properties() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        text(
            "address",
            "Address",
            "IP address to listen on; 0.0.0.0 or :: lets other machines in",
            Some(&default.address),
        ),
        port("port", "Port", "TCP port to listen on; 0 takes any free one", default.port),
        text(
            "application",
            "Application",
            "Application that the publisher has to name",
            Some(&default.application),
        ),
        text("stream", "Stream", "Stream name that the publisher has to use; NULL takes any", None),
        glib::ParamSpecString::builder("publish-key")
            .nick("Publish key")
            .blurb("Key without which nobody may publish: STREAM?key=KEY or STREAM:KEY; NULL lets anybody")
            .write_only()
            .mutable_ready()
            .build(),
        text("tls-certificate", "TLS certificate", "PEM file with the certificate chain for RTMPS", None),
        text("tls-key", "TLS key", "PEM file with the private key for RTMPS", None),
        port("tls-port", "TLS port", "TCP port to listen on for RTMPS; 0 does not listen for it", 0),
        glib::ParamSpecBoolean::builder("tls-only")
            .nick("TLS only")
            .blurb("Listen on tls-port only")
            .default_value(default.tls_only)
            .mutable_ready()
            .build(),
    ]
}

fn behaviour_properties() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    vec![
        glib::ParamSpecEnum::builder_with_default("timestamp-mode", default.timestamp_mode)
            .nick("Timestamp mode")
            .blurb("Which clock the time stamps follow")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("on-disconnect", default.on_disconnect)
            .nick("On disconnect")
            .blurb("What to do when the publisher has left")
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("takeover", default.takeover)
            .nick("Takeover")
            .blurb("What to do about a second publisher")
            .mutable_playing()
            .build(),
    ]
}

fn time_properties() -> Vec<glib::ParamSpec> {
    let default = Settings::default();
    let number = |name: &str, nick: &str, blurb: &str, default: u32| {
        glib::ParamSpecUInt::builder(name)
            .nick(nick)
            .blurb(blurb)
            .default_value(default)
            .mutable_playing()
            .build()
    };
    vec![
        glib::ParamSpecUInt::builder("latency")
            .nick("Latency")
            .blurb("Latency reported to the pipeline in ms: how late a frame may arrive and still be in time")
            .default_value(default.latency)
            .mutable_ready()
            .build(),
        number(
            "wait-timeout",
            "Wait timeout",
            "Time in ms without a publisher after which the stream ends (on-disconnect=eos) or the element fails; 0 \
             waits for ever",
            default.wait_timeout,
        ),
        number(
            "idle-timeout",
            "Idle timeout",
            "Silence of the publisher in ms after which it counts as gone and is closed; 0 waits for ever",
            default.idle_timeout,
        ),
        number(
            "max-queue-time",
            "Maximum queue time",
            "Longest time in ms that frames wait for the pipeline, then all that wait are dropped up to the next \
             keyframe; 0 sets no bound",
            default.max_queue_time,
        ),
        number(
            "max-queue-bytes",
            "Maximum queue bytes",
            "Most bytes that wait for the pipeline, per pad; then all are dropped up to the next keyframe",
            default.max_queue_bytes,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_set_what_they_name_and_come_back_without_the_key() {
        let cases = [
            (
                "rtmpserver://127.0.0.1:1936/live/in?key=s%203",
                "rtmpserver://127.0.0.1:1936/live/in",
                Some("s 3"),
            ),
            ("rtmpserver://[::1]:1/a/b/c", "rtmpserver://[::1]:1/a/b/c", None),
            ("RTMPSERVER://[::1]/a", "rtmpserver://[::1]:1935/a", None),
            ("rtmpserver://0.0.0.0", "rtmpserver://0.0.0.0:1935/live", None),
            ("rtmpserver://:0/x/", "rtmpserver://127.0.0.1:0/x", None),
            ("rtmpsserver://10.0.0.1/live/in", "rtmpsserver://10.0.0.1:443/live/in", None),
        ];
        for (given, shown, key) in cases {
            let mut settings = Settings { publish_key: Some(Secret::new("old")), ..Settings::default() };
            settings.set_uri(given).unwrap();
            assert_eq!(settings.uri(), shown);
            assert_eq!(settings.publish_key.as_ref().map(Secret::expose), key, "{given}");
        }
    }

    #[test]
    fn wrong_uris_change_nothing_and_are_not_repeated() {
        let mut settings = Settings::default();
        for uri in
            ["", "rtmp://a/b/c", "rtmpserver://a:99999/b", "rtmpserver://a/../b", "rtmpserver://a/b/c d"]
        {
            let error = settings.set_uri(&format!("{uri}?key=hidden")).unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
            assert_eq!(settings.uri(), Settings::default().uri());
        }
    }

    #[test]
    fn one_name_is_claimed_or_the_whole_application() {
        gst::init().unwrap();
        let mut settings = Settings::default();
        assert_eq!(settings.pattern().unwrap(), Pattern::App("live".into()));
        settings.stream = Some("in".into());
        assert_eq!(settings.pattern().unwrap(), Pattern::Stream("live/in".parse().unwrap()));
        settings.application = "no way".into();
        assert!(settings.pattern().is_err());
    }

    #[test]
    fn rtmps_needs_its_files() {
        gst::init().unwrap();
        let mut settings = Settings { tls_port: 443, ..Settings::default() };
        assert!(settings.endpoint().is_err());
        (settings.tls_certificate, settings.tls_key) = (Some("c.pem".into()), Some("k.pem".into()));
        assert_eq!(settings.endpoint().unwrap().to_string(), "rtmp://127.0.0.1:1935");
        settings.tls_only = true;
        assert_eq!(settings.endpoint().unwrap().to_string(), "rtmps://127.0.0.1:443");
    }
}
