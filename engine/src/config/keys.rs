//! Keys of the configuration where serde's derived code would not do: tables that are read as one and kept as several
//! structs, and values that exclude each other.

use super::{OnRefusal, OpusPolicy, PushConfig, PushTuning, RetryTimes, TlsConfig, parsed};
use crate::key::{Secret, StreamKey};
use crate::proto::chunk::MAX_CHUNK_SIZE;
use crate::proto::client::{StopCommands, is_own_field};
use crate::url::RtmpUrl;
use serde::de::{DeserializeOwned, Error as _, Visitor, value};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use std::collections::BTreeMap;

/// The keys of `[[push]]`. Not `flatten`, which knows neither the line of an error nor the names that there are.
#[derive(Deserialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct PushKeys {
    #[serde(deserialize_with = "parsed")]
    stream: StreamKey,
    #[serde(deserialize_with = "parsed")]
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    url: RtmpUrl,
    remote_app: Option<String>,
    #[cfg_attr(feature = "http", schemars(with = "Option<String>"))]
    remote_stream: Option<Secret>,
    #[serde(default)]
    on_refusal: OnRefusal,
    retry: Option<RetryTimes>,
    max_retries: Option<u32>,
    connect_timeout_ms: Option<u64>,
    write_timeout_ms: Option<u64>,
    tls: Option<TlsConfig>,
    #[serde(default)]
    stop_commands: StopCommands,
    #[serde(default)]
    from_zero: bool,
    #[serde(default)]
    opus: OpusPolicy,
    #[serde(default, deserialize_with = "chunk_size")]
    chunk_size: Option<u32>,
    #[serde(default, deserialize_with = "connect")]
    connect: BTreeMap<String, String>,
}

impl From<PushKeys> for PushConfig {
    fn from(keys: PushKeys) -> Self {
        let tuning = PushTuning {
            retry: keys.retry,
            max_retries: keys.max_retries,
            connect_timeout_ms: keys.connect_timeout_ms,
            write_timeout_ms: keys.write_timeout_ms,
            tls: keys.tls,
            stop_commands: keys.stop_commands,
            from_zero: keys.from_zero,
            opus: keys.opus,
            chunk_size: keys.chunk_size,
            connect: keys.connect,
        };
        Self {
            stream: keys.stream,
            url: keys.url,
            remote_app: keys.remote_app,
            remote_stream: keys.remote_stream,
            on_refusal: keys.on_refusal,
            tuning,
        }
    }
}

/// The keys of `retry`. What is left out fits to what is there.
#[derive(Deserialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RetryKeys {
    min_ms: Option<u64>,
    max_ms: Option<u64>,
}

impl TryFrom<RetryKeys> for RetryTimes {
    type Error = String;

    fn try_from(keys: RetryKeys) -> Result<Self, String> {
        let usual = Self { min_ms: 1_000, max_ms: 30_000 };
        let min_ms = keys.min_ms.unwrap_or_else(|| keys.max_ms.unwrap_or(usual.min_ms).min(usual.min_ms));
        let max_ms = keys.max_ms.unwrap_or_else(|| min_ms.max(usual.max_ms));
        match min_ms {
            0 => Err("retry.min_ms and retry.max_ms are 1 or more".to_owned()),
            _ if max_ms < min_ms => {
                Err(format!("retry.max_ms is {max_ms}, less than retry.min_ms, {min_ms}"))
            }
            _ => Ok(Self { min_ms, max_ms }),
        }
    }
}

fn chunk_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let size = Option::<i64>::deserialize(deserializer)?;
    check_chunk_size(size).map_err(D::Error::custom)?;
    Ok(size.and_then(|size| u32::try_from(size).ok()))
}

/// Whether a chunk size can be announced; the error is in words.
pub(super) fn check_chunk_size(size: Option<i64>) -> Result<(), String> {
    let allowed = 1..=i64::from(MAX_CHUNK_SIZE);
    match size {
        Some(size) if !allowed.contains(&size) => {
            Err(format!("chunk_size is {size}; it can be 1 to {MAX_CHUNK_SIZE}"))
        }
        _ => Ok(()),
    }
}

pub(super) fn connect<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let fields = BTreeMap::deserialize(deserializer)?;
    check_connect(&fields).map_err(D::Error::custom)?;
    Ok(fields)
}

/// Whether these fields of `connect` are for the configuration to say; the error is in words.
pub(super) fn check_connect(fields: &BTreeMap<String, String>) -> Result<(), String> {
    match fields.keys().find(|name| name.is_empty() || is_own_field(name)) {
        Some(name) if name.is_empty() => Err("connect: the name of a field is empty".to_owned()),
        Some(name) => {
            Err(format!("connect.{name}: the engine says that itself, by the URL or by what it can do"))
        }
        None => Ok(()),
    }
}

/// The names of a struct's fields, as its derived code tells them when it asks for a struct.
pub(super) fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // An error in any case, as there is nothing to read.
    let _ = T::deserialize(Names(&mut fields));
    fields
}

struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(value::Error::custom("only names are asked for"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, RetryTimes, TlsConfig};

    const PUSH: &str = "[[push]]\nstream = \"live/a\"\nurl = \"rtmp://h/a/b\"\n";

    fn push(keys: &str) -> crate::Result<crate::PushConfig> {
        Config::from_toml(&format!("{PUSH}{keys}")).map(|config| config.push[0].clone())
    }

    #[test]
    fn all_of_a_push_is_one_table() {
        let push = push(
            "on_refusal = \"fail\"\nretry = { min_ms = 5, max_ms = 7 }\nmax_retries = 0\nconnect_timeout_ms = 1\n\
             write_timeout_ms = 2\ntls = { danger_accept_invalid_certs = true }\nfrom_zero = true\n\
             stop_commands = { close_stream = false }\nchunk_size = 2147483647\n\
             connect = { flashVer = \"LNX\", pageUrl = \"http://h\" }\n",
        );
        let tuning = push.unwrap().tuning;
        assert_eq!(tuning.retry, Some(RetryTimes { min_ms: 5, max_ms: 7 }));
        assert_eq!((tuning.max_retries, tuning.chunk_size), (Some(0), Some(2_147_483_647)));
        assert_eq!((tuning.connect_timeout_ms, tuning.write_timeout_ms), (Some(1), Some(2)));
        assert_eq!(tuning.tls, Some(TlsConfig { ca: None, danger_accept_invalid_certs: true }));
        let leave = tuning.stop_commands;
        assert!(tuning.from_zero && leave.fc_unpublish && !leave.close_stream && leave.delete_stream);
        assert_eq!(tuning.connect["flashVer"], "LNX");
    }

    #[test]
    fn wrong_keys_of_a_push_are_errors_that_name_line_and_nearest_key() {
        for (key, words) in [
            ("max_retrys = 1", "did you mean `max_retries`?"),
            ("retry = { min_mss = 1 }", "did you mean `min_ms`?"),
            ("retry = { min_ms = 2, max_ms = 1 }", "less than"),
            ("retry = { min_ms = 0 }", "1 or more"),
            ("stop_commands = { closeStream = true }", "did you mean `close_stream`?"),
            ("chunk_size = 0", "chunk_size is 0; it can be 1 to 2147483647"),
            ("chunk_size = 2147483648", "chunk_size is 2147483648"),
            ("chunk_size = -1", "chunk_size is -1"),
            ("connect = { tcurl = \"rtmp://h\" }", "connect.tcurl"),
            ("connect = { streamengineHops = \"\" }", "connect.streamengineHops"),
            ("connect = { \"\" = \"\" }", "empty"),
            ("connect = { swfUrl = 1 }", "expected a text"),
        ] {
            let error = push(key).unwrap_err().to_string();
            assert!(error.contains("line 4") && error.contains(words), "{key}: {error}");
        }
    }

    #[test]
    fn what_is_left_out_of_retry_times_fits_to_what_is_there() {
        for (keys, min_ms, max_ms) in [
            ("", 1_000, 30_000),
            ("min_ms = 60000", 60_000, 60_000),
            ("min_ms = 5", 5, 30_000),
            ("max_ms = 500", 500, 500),
            ("max_ms = 5000", 1_000, 5_000),
        ] {
            let push = push(&format!("retry = {{ {keys} }}")).unwrap();
            assert_eq!(push.tuning.retry, Some(RetryTimes { min_ms, max_ms }), "{keys}");
        }
    }

    #[test]
    fn a_pull_has_keys_for_how_it_connects_and_waits() {
        let pull = |keys: &str| {
            Config::from_toml(&format!("[[pull]]\nstream = \"live/a\"\nurl = \"rtmp://h/a/b\"\n{keys}"))
        };
        let config = pull(
            "retry = { min_ms = 5, max_ms = 7 }\nmax_retries = 3\nconnect_timeout_ms = 1\n\
             tls = { ca = \"ca.pem\" }\nconnect = { swfUrl = \"x\" }\n",
        );
        let tuning = config.unwrap().pull[0].tuning();
        assert_eq!(tuning.retry, Some(RetryTimes { min_ms: 5, max_ms: 7 }));
        assert_eq!((tuning.max_retries, tuning.connect_timeout_ms), (Some(3), Some(1)));
        assert!(tuning.tls.unwrap().ca.is_some() && tuning.connect["swfUrl"] == "x");
        for (key, words) in [
            ("connect = { app = \"x\" }", "connect.app"),
            ("chunk_size = 1", "unknown key `chunk_size`"),
            ("max_retrys = 1", "did you mean `max_retries`?"),
        ] {
            let error = pull(key).unwrap_err().to_string();
            assert!(error.contains("line 4") && error.contains(words), "{key}: {error}");
        }
    }

    #[test]
    fn app_and_stream_of_a_push_and_a_pull_can_be_given_apart_from_the_url() {
        let keys = "remote_app = \"a/b/c?vhost=v\"\nremote_stream = \"d?key=1\"\n";
        let push = push(keys).unwrap();
        let pull =
            Config::from_toml(&format!("{}{keys}", PUSH.replace("push", "pull"))).unwrap().pull[0].clone();
        for url in [push.target().unwrap(), pull.source().unwrap().as_rtmp().unwrap().clone()] {
            assert_eq!((&*url.app_with_query(), &*url.stream_with_query()), ("a/b/c?vhost=v", "d?key=1"));
        }
        assert!(!serde_json::to_string(&push).unwrap().contains("key=1"));
        assert!(super::super::PushConfig { remote_app: Some("?".into()), ..push }.check().is_err());
    }

    #[test]
    fn a_push_made_by_a_program_is_checked_too() {
        let mut push = push("").unwrap();
        push.check().unwrap();
        push.tuning.chunk_size = Some(0);
        let error = push.check().unwrap_err().to_string();
        assert!(error.contains("live/a") && error.contains("chunk_size is 0"), "{error}");
        push.tuning.chunk_size = None;
        push.tuning.connect.insert("App".into(), "x".into());
        assert!(push.check().unwrap_err().to_string().contains("connect.App"));
    }
}
