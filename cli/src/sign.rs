//! `sign`: a URL that opens one stream for a while.

use crate::args::SignArgs;
use crate::{Failure, config, output};
use std::time::SystemTime;
use streamengine::{Action, Secret, StreamKey, UrlSigner};

/// What URLs of streams begin with.
const SCHEMES: [&str; 6] = ["rtmp", "rtmps", "http", "https", "ws", "wss"];

/// Prints the URL with its signature.
pub(crate) fn run(args: &SignArgs) -> Result<(), Failure> {
    let config = config::of_file_and_environment(args.config.as_deref())?;
    let signer = UrlSigner::new(&config.signed_urls).ok_or_else(|| {
        Failure::usage(
            "no secret: set signed_urls.secret in a configuration (--config FILE), or STREAMENGINE_SIGNED_URLS__SECRET",
        )
    })?;
    let stream = stream(&args.url)?;
    let action = if args.publish { Action::Publish } else { Action::Play };
    let expires =
        SystemTime::now().checked_add(args.time).ok_or_else(|| Failure::usage("--for is too long"))?;
    let query = signer.query(action, &stream, expires, args.address).ok_or_else(|| {
        Failure::usage("signed URLs of this style (signed_urls.style) have no address: leave --address out")
    })?;
    let url = args.url.expose();
    let joint = if url.contains('?') { '&' } else { '?' };
    output::print_result(&format!("{url}{joint}{}\n", query.expose()))
}

/// The stream that a URL is of: the path, without what a page or a player adds to it.
fn stream(url: &Secret) -> Result<StreamKey, Failure> {
    let fault = |what: &str| {
        Failure::usage(format!(
            "{what}; expected a URL such as rtmp://HOST/live/a or http://HOST:8080/play/live/a"
        ))
    };
    let known = url.expose().split_once("://").filter(|(scheme, _)| SCHEMES.contains(scheme));
    let (scheme, rest) = known.ok_or_else(|| fault("this is no URL of a stream"))?;
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let path = path.split('?').next().unwrap_or_default();
    let name = match scheme {
        "rtmp" | "rtmps" => path,
        _ => path.strip_prefix("play/").unwrap_or_else(|| path.strip_suffix(".flv").unwrap_or(path)),
    };
    name.parse().map_err(|error| fault(&format!("the stream of this URL: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_url_is_what_the_server_takes_it_for() {
        for url in [
            "rtmp://host/live/a",
            "rtmps://host:443/live/a?x=1",
            "http://host:8080/live/a.flv",
            "https://host/play/live/a?x=1",
            "ws://host/live/a.flv",
        ] {
            assert_eq!(stream(&Secret::new(url)).unwrap().as_str(), "live/a", "{url}");
        }
        assert_eq!(stream(&Secret::new("rtmp://h/live/a.flv")).unwrap().as_str(), "live/a.flv");
        for url in
            ["", "live/a", "ftp://host/live/a", "rtmp://host", "rtmp://host/live", "http://host/play/a"]
        {
            assert!(stream(&Secret::new(url)).unwrap_err().text.contains("rtmp://HOST/live/a"), "{url}");
        }
    }
}
