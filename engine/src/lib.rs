//! An RTMP streaming engine that other programs carry inside them: it serves, relays and loops live streams.
//!
//! ```
//! use std::time::Duration;
//! use streamengine::media::{Frame, FrameKind};
//! use streamengine::{Engine, StreamKey};
//!
//! # fn main() -> streamengine::Result<()> {
//! // Serve RTMP on any free port; encoders and players may come now.
//! let engine = Engine::builder().listen_rtmp("127.0.0.1:0".parse().unwrap()).start()?;
//! println!("rtmp://{}/live/demo", engine.listeners()[0].address);
//!
//! // Publish a stream from this program, and read it in this program.
//! let key: StreamKey = "live/demo".parse()?;
//! let publisher = engine.publish(&key)?;
//! let mut subscriber = engine.subscribe(&key)?;
//! let aac = Frame::new(FrameKind::Audio, 0, vec![0xaf, 1, 0x21, 0x10].into());
//! publisher.push(aac.clone())?;
//! assert_eq!(subscriber.blocking_next(Duration::from_secs(1))?, Some(aac));
//!
//! publisher.finish();
//! engine.blocking_drain()
//! # }
//! ```
//!
//! The tour: [`Engine`] starts, stops and lists everything; [`Config`] is all that it can be told, and [`Limits`]
//! all that peers can make it do. [`Engine::publish`] gives a [`Publisher`] to push [`Frame`](media::Frame)s
//! into, [`Engine::subscribe`] a [`Subscriber`] to take them out of. [`Engine::add_push`] and [`Engine::add_pull`] relay
//! streams to and from other servers, [`Engine::loop_file`] plays FLV files as live streams. [`Authorize`]
//! decides who may publish and play. [`Engine::events`] tells what happens.
//!
//! The engine runs on threads of its own. Methods that may wait are async; those named `blocking_` wait on the
//! caller's thread. All others return at once.
#![forbid(unsafe_code)]

#[macro_use]
mod bound;
#[macro_use]
mod named;
#[macro_use]
mod setters;

mod access;
mod address;
mod adobe;
pub mod amf0;
#[cfg(feature = "http")]
mod assets;
mod auth;
mod budget;
mod config;
#[cfg_attr(
    not(any(test, feature = "http")),
    expect(dead_code, unused_imports, reason = "the players over HTTP use it")
)]
mod egress;
mod engine;
mod error;
mod events;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
mod hls;
#[cfg(feature = "http")]
mod hooks;
mod hops;
mod hub;
mod id;
mod key;
#[cfg(feature = "keys")]
mod keys;
mod limits;
mod local;
mod log_limit;
#[cfg(feature = "http")]
mod log_tail;
#[cfg(feature = "http")]
mod login;
mod manage;
pub mod media;
mod net;
mod origins;
#[cfg(feature = "http")]
mod password;
mod policy;
mod preflight;
pub mod proto;
mod record;
mod service;
mod sessions;
mod starts;
mod statistics;
mod status;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
mod url;

pub use access::AccessRule;
#[cfg(feature = "http")]
pub use assets::Assets;
pub use auth::{Action, AuthRequest, Authorize, Claims, Grant, PublishRule, Ticket, UrlSigner};
#[doc(hidden)]
pub use bound::Bound;
pub use config::{
    AppConfig, AuthConfig, ChangeKind, Config, ConfigChange, ConfigSource, Decider, DestinationConfig,
    EngineConfig, FileConfig, FlushKind, HlsConfig, HlsFormat, HlsWhen, HookMethod, HookStyle, HooksConfig,
    HttpConfig, HttpRole, HttpTokenConfig, HttpsConfig, KeysConfig, OnRefusal, OptionSource, OpusPolicy,
    OriginConfig, PublishConfig, PublisherConfig, PullConfig, PullWhen, PushConfig, PushTuning, RecordConfig,
    RecordFormat, RecordWhen, Reloaded, RetryTimes, RtmpConfig, RtmpsConfig, SignatureStyle,
    SignedUrlsConfig, SubscriberConfig, TakesEffect, TlsConfig, TokenHash, WhenAway,
};
pub use engine::{Engine, EngineBuilder, WeakEngine};
pub use error::{Error, ErrorKind, Result};
pub use events::{Event, EventReceiver, Received};
pub use files::RecordingName;
#[cfg(feature = "http")]
#[doc(hidden)]
pub use files::write_private;
pub use hub::{EndReason, StreamChange, StreamWatcher};
pub use id::{FileId, ListenerId, RecordingId, RelayId, SessionId};
pub use ipnet::IpNet;
pub use key::{KeyError, Printable, Secret, StreamKey, StreamName};
#[cfg(feature = "keys")]
pub use keys::{KeyInfo, Keys, MadeKey, NewKey};
pub use limits::Limits;
pub use local::{Publisher, Subscriber};
#[cfg(feature = "http")]
pub use log_tail::{LogLine, LogTail};
pub use manage::Manage;
pub use net::TlsIdentity;
#[cfg(feature = "http")]
pub use password::PasswordHash;
pub use policy::{StartAt, StreamPolicy, Takeover};
pub use proto::client::StopCommands;
pub use statistics::{AudioTrack, Rates, Sample, Snapshot, StreamProblem, StreamStats, VideoTrack};
pub use status::{
    Door, EngineStats, FileState, FileStatus, ListenerInfo, OriginStatus, OriginStreamStatus, Protocol,
    RecordedFile, RecordingState, RecordingStatus, RelayDirection, RelayState, RelayStatus, SessionInfo,
    SessionRole, StreamInfo, StreamState,
};
pub use url::{
    Credentials, HookUrl, HttpUrl, OriginUrl, PathTemplate, RemoteUrl, RtmpUrl, UrlError, UrlWarning,
};
