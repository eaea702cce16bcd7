//! `check-compat`: speaks to a running server as OBS, ffmpeg, librtmp and mpegts.js do, and tells what works.
//!
//! The scripts speak for themselves, byte by byte: the engine's own client is forgiving, and would hide what others fail at.

mod arrival;
mod dialect;
mod flv;
mod handshake;
mod media;
mod report;
mod scripts;
mod wire;

use crate::args::CheckCompatArgs;
use crate::connection::{Trust, dial};
use crate::foreign::Role;
use crate::host::{self, Hangup, Stop};
use crate::{Failure, config, output, relay};
use dialect::Target;
use report::{Findings, Report};
use scripts::Run;
use std::borrow::Cow;
use std::time::Duration;
use streamengine::{HttpUrl, RtmpUrl, Secret};

/// Publishes, plays, and tells.
pub(crate) fn run(args: &CheckCompatArgs) -> Result<(), Failure> {
    let url = relay::parse_url(&args.url, Role::Target)?;
    if url.credentials().is_some() {
        return Err(Failure::usage(
            "check-compat: user and password are not tried; give what opens the stream in its query",
        ));
    }
    // Before anything is sent, so that what is wrong with it is told at once.
    args.http.as_deref().map(|http| over_http(http, &url)).transpose()?;
    let stop = Stop::on_signals(Hangup::Ignored)?;
    let trust = config::for_jobs(&args.trust)?.tls.client()?;
    let report = host::block_on(async {
        tokio::select! {
            report = check(args, url, trust) => report.map(Some),
            () = stop.asked() => Ok(None),
        }
    })??;
    report.map_or(Ok(()), |report| output::conclude("check-compat", &report, args.json))
}

async fn check(args: &CheckCompatArgs, url: RtmpUrl, trust: Trust) -> Result<Report, Failure> {
    let asked = url.to_string();
    let tls = url.tls().then(|| trust.clone());
    let reached = dial(url.host(), url.port(), tls.as_ref()).await;
    reached.map_err(|why| Failure::running(format!("check-compat: {url} cannot be reached: {why}")))?;

    let clip = media::clip()?;
    let patience = Duration::from_secs(args.timeout.into());
    let target = Target { url, trust: tls, patience };
    let name = target.url.stream_with_query().into_owned();
    let mut run = Run { target, name, clip: &clip, findings: Findings::default() };
    let mut instead = None;
    if run.is_live().await {
        let url = beside(&run.target.url)?;
        tracing::warn!("{asked} is live, and is left alone: publishing {url}");
        instead = Some(url.to_string());
        run.name = url.stream_with_query().into_owned();
        run.target.url = url;
    }
    let on_air = scripts::all(&mut run).await;
    if let Err(why) = &on_air {
        tracing::warn!("what follows cannot be checked: the server {why}");
    }
    if let (Some(http), Ok(_)) = (&args.http, &on_air) {
        let http = over_http(http, &run.target.url)?;
        flv::run(&mut run.findings, &http, &trust, patience).await;
    }
    if let Ok(on_air) = on_air {
        // The server may have had enough.
        let _ = on_air.leave().await;
        scripts::long_stream(&mut run).await;
    }
    Ok(Report::new(asked, instead, &run.findings, args.http.is_some()))
}

/// The URL of a stream beside the one that is live, with the same app and query.
fn beside(url: &RtmpUrl) -> Result<RtmpUrl, Failure> {
    let query = url.query().map(|query| format!("?{}", query.expose())).unwrap_or_default();
    let name = format!("{}-{}{query}", url.stream(), std::process::id());
    url.with_names(Some(&url.app_with_query()), Some(&name))
        .map_err(|error| Failure::usage(format!("check-compat: {error}")))
}

/// Where the stream is as FLV: `{app}` and `{stream}` stand for its names, and a place without them has it by its usual name.
fn over_http(http: &str, url: &RtmpUrl) -> Result<HttpUrl, Failure> {
    const APP: &str = "{app}";
    const STREAM: &str = "{stream}";
    let http = match http.contains(STREAM) {
        true => Cow::Borrowed(http),
        false => Cow::Owned(format!("{}/{APP}/{STREAM}.flv", http.trim_end_matches('/'))),
    };
    let mut http = http.replace(APP, url.app()).replace(STREAM, url.stream());
    if let Some(query) = url.query().map(Secret::expose) {
        let sign = if http.contains('?') { '&' } else { '?' };
        http.push(sign);
        http.push_str(query);
    }
    http.parse().map_err(|error| Failure::usage(format!("check-compat: --http: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_found_by_its_usual_name_or_where_the_template_says() {
        let target = |http: &str, url: &str| {
            over_http(http, &url.parse().unwrap()).map(|url| format!("{}{}", url.authority(), url.target()))
        };
        let url = "rtmp://h/live/a";
        assert_eq!(target("http://h:8080", url).unwrap(), "h:8080/live/a.flv");
        assert_eq!(
            target("http://h:8080/hls/", "rtmp://h/live/a?key=k").unwrap(),
            "h:8080/hls/live/a.flv?key=k"
        );
        assert_eq!(
            target("https://h/live?port=1935&app={app}&stream={stream}", "rtmp://h/live/a?key=k").unwrap(),
            "h/live?port=1935&app=live&stream=a&key=k"
        );
        assert!(target("rtmp://h/live", url).is_err());
    }

    #[test]
    fn a_name_beside_one_that_is_live_keeps_app_and_query() {
        let url: RtmpUrl = "rtmp://h/live?vhost=x/a?key=s3cret".parse().unwrap();
        let other = beside(&url).unwrap();
        assert_eq!(other.stream(), format!("a-{}", std::process::id()));
        assert_eq!(other.app_with_query(), "live?vhost=x");
        assert_eq!(other.query().map(Secret::expose), Some("key=s3cret"));
        assert!(!other.to_string().contains("s3cret"));
    }
}
