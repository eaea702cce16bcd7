//! What a configuration names outside itself: files, certificates, servers that are this one.

use crate::config::{Config, FileConfig, RecordWhen};
use crate::files::check_writable;
use crate::key::{StreamKey, StreamName};
use crate::media::looping::{Clip, Loop, Repeat};
use crate::net::{DialTls, ServerTls, TlsIdentity, Verify, check_trust, is_address_of_this_machine};
#[cfg(feature = "http")]
use crate::password::PasswordHash;
use crate::url::RtmpUrl;
use crate::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Checks all that starting would find out before the first peer comes, but for the addresses to listen on, which others
/// may have. Reads media files to their end.
pub(crate) fn check(config: &Config) -> Result<()> {
    check_start(config)?;
    config.file.iter().try_for_each(check_file)
}

/// The part of [`check`] that starting does not do by itself.
pub(crate) fn check_start(config: &Config) -> Result<()> {
    config.check()?;
    check_secrets(config)?;
    check_names(config)?;
    check_targets(config)?;
    let (rtmps, https) = (&config.rtmps, &config.https);
    for identity in [(&rtmps.cert, &rtmps.key), (&https.cert, &https.key)] {
        if let (Some(cert), Some(key)) = identity {
            ServerTls::load(TlsIdentity::files(cert, key))?;
        }
    }
    let relays =
        config.push.iter().map(|push| &push.tuning.tls).chain(config.pull.iter().map(|pull| &pull.tls));
    let relays = relays.chain(config.origins.values().map(|origin| &origin.tls));
    for tls in std::iter::once(&config.tls).chain(relays.flatten()).filter(|tls| tls.ca.is_some()) {
        check_trust(&DialTls { ca_file: tls.ca.clone(), verify: Verify::Full })?;
    }
    let records = config.apps.values().chain([&config.default_app]).map(|app| &app.record);
    for dir in
        records.filter(|record| record.when != RecordWhen::Off).filter_map(|record| record.dir.as_ref())
    {
        check_writable(dir, "record.dir")?;
    }
    #[cfg(feature = "http")]
    if let Some(path) = &config.http.password_file {
        PasswordHash::read(path)?;
    }
    #[cfg(feature = "http")]
    for dir in config.apps.values().chain([&config.default_app]).filter_map(|app| app.hls.dir.as_ref()) {
        check_writable(dir, "hls.dir")?;
    }
    Ok(())
}

fn check_file(file: &FileConfig) -> Result<()> {
    let clips: Vec<_> = file.paths.iter().cloned().map(Clip::from).collect();
    Loop::open(clips, Repeat::Times(1)).map(drop)
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

/// What asks for secrets has some. A file alone may leave them to the environment and to options.
fn check_secrets(config: &Config) -> Result<()> {
    let Config { publish, keys, signed_urls, .. } = config;
    let has_passwords = publish.key.is_some() || keys.url.is_some() && keys.query.is_none();
    let fault = match () {
        () if publish.authmod_adobe && !has_passwords => {
            "publish.authmod_adobe needs passwords: set publish.key, or keys.url without keys.query"
        }
        () if signed_urls.secret.is_none() && (signed_urls.publish || signed_urls.play) => {
            "signed URLs are needed (signed_urls.publish, signed_urls.play), and signed_urls.secret is not set"
        }
        () if keys.url.is_none() && (keys.play || keys.query.is_some()) => {
            "keys.play and keys.query need keys.url (--keys)"
        }
        () => return Ok(()),
    };
    Err(invalid(fault.to_owned()))
}

/// Apps that are not there, files of one name, addresses that are listed twice.
fn check_names(config: &Config) -> Result<()> {
    let (pushed, pulled, played) = (&config.push, &config.pull, &config.file);
    let streams = pushed.iter().map(|push| &push.stream).chain(pulled.iter().map(|pull| &pull.stream));
    let mut streams = streams.chain(played.iter().map(|file| &file.stream));
    if let Some(stream) = streams.find(|stream| config.app(stream.app()).is_none()) {
        return Err(invalid(format!(
            "stream {stream}: the configuration lists apps, and {} is not among them; add [apps.{}]",
            stream.app(),
            stream.app()
        )));
    }
    if let Some(stream) = first_twice(played.iter().map(|file| &file.stream)) {
        return Err(invalid(format!(
            "two entries of [[file]] play as {stream}; list the files in one `paths`"
        )));
    }
    let listen = [&config.rtmp.listen, &config.rtmps.listen, &config.http.listen, &config.https.listen];
    let listen = listen.into_iter().flatten().filter(|address| address.port() != 0);
    match first_twice(listen) {
        Some(address) => Err(invalid(format!("{address} is listed twice to listen on"))),
        None => Ok(()),
    }
}

fn first_twice<T: PartialEq>(items: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = Vec::new();
    for item in items {
        if seen.contains(&item) {
            return Some(item);
        }
        seen.push(item);
    }
    None
}

/// A relay from one stream of this engine to another.
struct Hop<'a> {
    from: StreamKey,
    to: StreamKey,
    url: &'a RtmpUrl,
}

/// Relays of this engine to itself may give a stream another name; they must not bring it back to where it comes from.
fn check_targets(config: &Config) -> Result<()> {
    let pushed = config.push.iter().filter_map(|push| {
        Some(Hop { from: push.stream.clone(), to: own_stream(config, &push.url)?, url: &push.url })
    });
    let pulled = config.pull.iter().filter_map(|pull| {
        // By HTTP it comes with its hops.
        let url = pull.url.as_rtmp()?;
        Some(Hop { from: own_stream(config, url)?, to: pull.stream.clone(), url })
    });
    let hops: Vec<_> = pushed.chain(pulled).collect();
    match hops.iter().find(|hop| leads_to(&hops, &hop.to, &hop.from)) {
        Some(Hop { from, to, url }) => Err(invalid(format!(
            "relay of {from} to {to}: {url} is this server itself, and the stream would come back to where it comes \
             from; give it another name or leave the relay out"
        ))),
        None => Ok(()),
    }
}

fn leads_to(hops: &[Hop<'_>], from: &StreamKey, to: &StreamKey) -> bool {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(&at) = reached.get(next) {
        if at == to {
            return true;
        }
        for hop in hops.iter().filter(|hop| hop.from == *at) {
            if !reached.contains(&&hop.to) {
                reached.push(&hop.to);
            }
        }
        next += 1;
    }
    false
}

/// The stream of this engine that a URL names, where it names one.
fn own_stream(config: &Config, url: &RtmpUrl) -> Option<StreamKey> {
    let listen = if url.tls() { &config.rtmps.listen } else { &config.rtmp.listen };
    let ips: Vec<IpAddr> = match url.host() {
        "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        host => vec![host.parse().ok()?],
    };
    let takes = |address: &SocketAddr, ip: IpAddr| match address.ip() {
        any if any.is_unspecified() => any.is_ipv4() == ip.is_ipv4() && is_address_of_this_machine(ip),
        one => one == ip,
    };
    let leads_here =
        |address: &&SocketAddr| address.port() == url.port() && ips.iter().any(|&ip| takes(address, ip));
    listen.iter().find(leads_here)?;
    StreamName::parse(url.app(), &url.stream_with_query()).ok().map(|name| name.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(&format!("[rtmp]\nlisten = [\"0.0.0.0:19350\", \"127.0.0.1:0\"]\n{text}")).unwrap()
    }

    fn push(from: &str, to: &str) -> String {
        format!("[[push]]\nstream = \"{from}\"\nurl = \"rtmp://{to}\"\n")
    }

    #[test]
    fn relays_to_ourselves_that_bring_a_stream_back_are_refused_and_others_are_not() {
        let pull = |from: &str, to: &str| format!("[[pull]]\nstream = \"{to}\"\nurl = \"rtmp://{from}\"\n");
        for loops in [
            push("live/a", "127.0.0.1:19350/live/a"),
            push("live/a", "localhost:19350/live/a?key=k"),
            pull("127.0.0.1:19350/live/a", "live/a"),
            push("live/a", "127.0.0.1:19350/live/b") + &push("live/b", "127.0.0.1:19350/live/a"),
            push("live/a", "127.0.0.1:19350/live/b") + &pull("localhost:19350/live/b", "live/a"),
        ] {
            let error = check(&config(&loops)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("this server itself"), "{loops}: {error}");
        }
        for fine in [
            push("live/a", "127.0.0.1:19350/live/b"),
            push("live/a", "127.0.0.1:19351/live/a"),
            push("live/a", "203.0.113.1:19350/live/a"),
            push("live/a", "example.com:19350/live/a"),
            push("live/a", "127.0.0.1:19350/live/c") + &push("live/b", "127.0.0.1:19350/live/c"),
        ] {
            check(&config(&fine)).unwrap();
        }
    }

    #[test]
    fn what_is_named_twice_or_not_at_all_is_refused() {
        let file = "[[file]]\npaths = \"a.flv\"\nstream = \"live/a\"\n";
        for (text, words) in [
            (format!("{file}{file}"), "two entries"),
            (format!("[apps.vod]\n{}", push("live/a", "example.com/live/a")), "add [apps.live]"),
            ("[rtmps]\nlisten = [\"0.0.0.0:19350\"]\ncert = \"c\"\nkey = \"k\"\n".to_owned(), "listed twice"),
            ("[http]\nlisten = [\"0.0.0.0:19350\"]\n".to_owned(), "listed twice"),
            ("[tls]\nca = \"/no/such.pem\"\n".to_owned(), "/no/such.pem"),
            ("[rtmps]\ncert = \"/no/such.pem\"\nkey = \"k\"\n".to_owned(), "/no/such.pem"),
            ("[https]\ncert = \"/no/such.pem\"\nkey = \"k\"\n".to_owned(), "/no/such.pem"),
            (file.replace("a.flv", "/no/such.flv"), "/no/such.flv"),
        ] {
            let error = check(&config(&text)).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
