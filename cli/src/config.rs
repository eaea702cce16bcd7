//! The configuration from file, environment and options; and `check-config`.

use crate::args::{ServeArgs, TrustArgs};
use crate::{Failure, foreign, host, output, self_signed};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use streamengine::{
    AppConfig, Config, ConfigSource, Engine, Error, ErrorKind, FileConfig, PublishRule, PullConfig, PullWhen,
    PushConfig, Secret, TlsConfig,
};

/// RTMP's port.
pub(crate) const PORT: u16 = 1935;
/// The port of HTTP where none is named.
const HTTP_PORT: u16 = 8080;

/// What `serve` is to do.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) config: Config,
    /// Whether HTTP is served beside plain RTMP where the port is free, as nobody has said anything about it.
    pub(crate) http_beside: bool,
    /// Whether RTMP is served on its own port of all addresses, as no address is named.
    pub(crate) by_default: bool,
}

impl Serving {
    /// `is_told`: something has set `http.listen`, be it to nothing.
    fn new(config: Config, is_told: bool) -> Self {
        let http_beside = !is_told && config.https.listen.is_empty();
        let by_default = listens_by_default(&config);
        Self { config, http_beside, by_default }
    }

    /// The configuration that the engine gets.
    pub(crate) fn to_start(&self) -> Config {
        let mut config = self.config.clone();
        if self.by_default {
            config.rtmp.listen.push(default_address());
        }
        config
    }
}

/// The configuration of `serve`: the file, then the environment, then `--set`, then the other options.
pub(crate) fn for_serve(args: &ServeArgs) -> Result<Serving, Failure> {
    let mut source = file_and_environment(args.config.as_deref())?;
    warn_of_near_misses();
    for (key, value) in &args.settings {
        source.set(key, value).map_err(|error| error.context("--set"))?;
    }
    let is_told = source.has("http.listen") || !args.http.is_empty() || args.no_http;
    let is_told_of_admin = source.has("http.local_admin");
    let mut config = build(source, args.config.as_deref())?;
    // Who starts a server sets its password in the browser beside it.
    config.http.local_admin |= !is_told_of_admin;
    apply_options(&mut config, args);
    sign_for_https(&mut config, args)?;
    check_identities(&config, args)?;
    config.check()?;
    Ok(Serving::new(config, is_told))
}

fn file_and_environment(file: Option<&Path>) -> Result<ConfigSource, Failure> {
    let mut source = match file {
        Some(path) => read(path)?,
        None => ConfigSource::default(),
    };
    source.apply_env(environment()).map_err(Failure::from)?;
    Ok(source)
}

/// The configuration of a server, without options of a command line.
pub(crate) fn of_file_and_environment(file: Option<&Path>) -> Result<Config, Failure> {
    build(file_and_environment(file)?, file)
}

fn build(source: ConfigSource, file: Option<&Path>) -> Result<Config, Failure> {
    let named = |error: Error| match file {
        Some(path) => error.context(path.display()),
        None => error,
    };
    Ok(source.build().map_err(named)?)
}

/// Gives HTTPS that is asked for a certificate that signs itself, where there is none.
fn sign_for_https(config: &mut Config, args: &ServeArgs) -> Result<(), Failure> {
    let https = &mut config.https;
    if !args.https.is_empty() && https.cert.is_none() && https.key.is_none() {
        let files = self_signed::kept_or_made(args.state_dir.as_deref(), &https.listen)?;
        (https.cert, https.key) = (Some(files.cert), Some(files.key));
    }
    Ok(())
}

/// What has TLS needs a certificate, and a certificate something that has TLS.
fn check_identities(config: &Config, args: &ServeArgs) -> Result<(), Failure> {
    let (rtmps, https) = (&config.rtmps, &config.https);
    for (name, asked, cert, key) in
        [("rtmps", &args.rtmps, &rtmps.cert, &rtmps.key), ("https", &args.https, &https.cert, &https.key)]
    {
        if !asked.is_empty() && (cert.is_none() || key.is_none()) {
            return Err(Failure::usage(format!(
                "--{name} needs a certificate: give --cert FILE and --key FILE (PEM), or {name}.cert and {name}.key in \
                 the configuration"
            )));
        }
    }
    if args.cert.is_some() && rtmps.listen.is_empty() && https.listen.is_empty() {
        return Err(Failure::usage(
            "--cert and --key are for RTMPS and HTTPS, and nothing listens for them: give --rtmps ADDR:PORT or --https \
             ADDR:PORT",
        ));
    }
    Ok(())
}

/// What `serve` listens on where nothing is said; IPv6 may be switched off.
fn default_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))
}

/// The addresses that HTTP is served on beside these of plain RTMP.
pub(crate) fn http_beside(rtmp: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for mut address in rtmp {
        address.set_port(HTTP_PORT);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Whether the configuration itself can be used; an address that is taken by another program is none of its faults.
pub(crate) fn check_all(mut config: Config) -> streamengine::Result<()> {
    if listens_by_default(&config) {
        config.rtmp.listen.push(default_address());
    }
    Engine::builder().config(config).check()
}

/// The configuration of commands that have their jobs from the command line: of the environment, what says how
/// to do them (TLS, limits, threads), not what to do; `trust` wins.
pub(crate) fn for_jobs(trust: &TrustArgs) -> streamengine::Result<Config> {
    let mut source = ConfigSource::default();
    source.apply_env(environment())?;
    let mut given = source.build()?;
    if trust.ca.is_some() || trust.insecure {
        given.tls = TlsConfig::default().danger_accept_invalid_certs(trust.insecure);
        given.tls.ca.clone_from(&trust.ca);
    }
    let config = Config::default().tls(given.tls).limits(given.limits);
    Ok(config.engine(given.engine).publish(given.publish))
}

/// Whether the configuration names no address to listen on.
fn listens_by_default(config: &Config) -> bool {
    config.rtmp.listen.is_empty() && config.rtmps.listen.is_empty()
}

/// What options read.
const OPTIONS: [&str; 3] = ["STREAMENGINE_KEYS", "STREAMENGINE_PUBLISH_KEY", "STREAMENGINE_CONTROL"];

/// What may set keys of the configuration. Variables that are not text cannot be ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| !OPTIONS.contains(&name.as_str()))
}

/// Warns of variables with one underscore where two are needed: they set nothing, and nobody would notice.
fn warn_of_near_misses() {
    for (name, value) in environment() {
        if let Some(meant) = meant_variable(&name, &value) {
            tracing::warn!(
                "{name} sets nothing; {meant} would, with two underscores between section and key"
            );
        }
    }
}

fn meant_variable(name: &str, value: &str) -> Option<String> {
    const PREFIX: &str = "STREAMENGINE_";
    let key = name.strip_prefix(PREFIX).filter(|key| !key.contains("__") && !OPTIONS.contains(&name))?;
    let parted = key.match_indices('_').map(|(at, _)| format!("{}__{}", &key[..at], &key[at + 1..]));
    let is_key = |key: &String| {
        ConfigSource::default().set(&key.to_ascii_lowercase().replace("__", "."), value).is_ok()
    };
    parted.into_iter().find(is_key).map(|key| format!("{PREFIX}{key}"))
}

fn apply_options(config: &mut Config, args: &ServeArgs) {
    if !args.rtmp.is_empty() {
        config.rtmp.listen.clone_from(&args.rtmp);
    }
    if !args.rtmps.is_empty() {
        config.rtmps.listen.clone_from(&args.rtmps);
    }
    if !args.http.is_empty() {
        config.http.listen.clone_from(&args.http);
    }
    if !args.https.is_empty() {
        config.https.listen.clone_from(&args.https);
    }
    if args.no_http {
        config.http.listen.clear();
        config.https.listen.clear();
    }
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        for (own_cert, own_key) in
            [(&mut config.rtmps.cert, &mut config.rtmps.key), (&mut config.https.cert, &mut config.https.key)]
        {
            (*own_cert, *own_key) = (Some(cert.clone()), Some(key.clone()));
        }
    }
    apply_secrets(config, args.publish_key.as_ref(), args.keys.as_ref());
    if let Some(path) = &args.password_file {
        config.http.password_file = Some(path.clone());
    }
    if args.open {
        config.publish.key = None;
        config.publish.open = true;
    }
}

/// What is given as an option or in the environment, so that it stands in no file.
fn apply_secrets(config: &mut Config, publish_key: Option<&Secret>, keys: Option<&Secret>) {
    if let Some(key) = publish_key {
        config.publish.key = Some(key.clone());
        config.publish.open = false;
    }
    if let Some(keys) = keys {
        config.keys.url = Some(keys.clone());
    }
}

fn read(path: &Path) -> Result<ConfigSource, Failure> {
    ConfigSource::from_toml_file(path).map_err(|error| Failure::usage(error.to_string()))
}

/// Why an engine has not started: status 2 where `check-config` would find the same fault, else 1.
pub(crate) fn why_not(error: Error, config: Config) -> Failure {
    let paths: Vec<_> = config.file.iter().flat_map(|file| file.paths.clone()).collect();
    match check_all(config) {
        Err(_) => no_media(error, paths.iter().map(PathBuf::as_path)),
        Ok(()) => host::with_way_out(error),
    }
}

/// Something that was named cannot be used; where it is a media file that is not played, says what makes one of it that is.
pub(crate) fn no_media<'a>(
    error: Error,
    paths: impl IntoIterator<Item = &'a (impl AsRef<Path> + ?Sized + 'a)>,
) -> Failure {
    let foreign = match error.kind() {
        ErrorKind::Format => foreign::no_played_file(paths.into_iter().map(AsRef::as_ref)),
        _ => None,
    };
    let foreign = foreign.map(|what| format!("; {what}")).unwrap_or_default();
    Failure::usage(format!("{error}{foreign}"))
}

/// `check-config`: what a file means in short, or what is wrong with it.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let source = file_and_environment(Some(path))?;
    let is_told = source.has("http.listen");
    let mut config = build(source, Some(path))?;
    // As `serve` has them by its options.
    let secret = |name| std::env::var(name).ok().filter(|text| !text.is_empty()).map(Secret::new);
    let [keys, publish_key, _] = OPTIONS.map(secret);
    apply_secrets(&mut config, publish_key.as_ref(), keys.as_ref());
    check_all(config.clone()).map_err(|error| why_not(error.context(path.display()), config.clone()))?;
    output::print_result(&describe(&Serving::new(config, is_told)))
}

fn describe(Serving { config, http_beside: is_beside, by_default }: &Serving) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:<12}{value}");
    };
    let rtmp = match by_default {
        true => vec![default_address(), SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT))],
        false => config.rtmp.listen.clone(),
    };
    line("rtmp", &listed(&rtmp));
    line("rtmps", &listed(&config.rtmps.listen));
    match *is_beside && !rtmp.is_empty() {
        true => line("http", &format_args!("{}, where free", listed(&http_beside(rtmp)))),
        false => line("http", &listed(&config.http.listen)),
    }
    line("https", &listed(&config.https.listen));
    line("publishing", &publishing(&config.publish_rule(), config.publish.authmod_adobe));
    match config.apps.is_empty() {
        true => line("apps", &format_args!("any: {}", policy(&config.default_app))),
        false => config.apps.iter().for_each(|(name, app)| line("app", &format!("{name}: {}", policy(app)))),
    }
    config.push.iter().for_each(|push| line("push", &pushed(push)));
    config.pull.iter().for_each(|pull| line("pull", &pulled(pull)));
    config.file.iter().for_each(|file| line("file", &played(file)));
    let limits = &config.limits;
    line(
        "limits",
        &format_args!("{} connections, {} not yet granted", limits.max_connections, limits.max_pending),
    );
    text
}

/// Who may publish, in one line; with `asks` encoders need user and password.
pub(crate) fn publishing(rule: &PublishRule, asks: bool) -> &'static str {
    match asks {
        true => "with user and password, as rtmp://USER:PASSWORD@HOST/APP/STREAM (publish.authmod_adobe)",
        false => rule.describe().trim_start_matches("publishing: "),
    }
}

fn listed(addresses: &[SocketAddr]) -> String {
    match addresses {
        [] => "off".to_owned(),
        _ => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn policy(app: &AppConfig) -> String {
    let limits = [
        ("with at most", app.max_start_bytes, "bytes"),
        ("fall behind by at most", app.max_queue_ms, "ms"),
        ("by at most", app.max_queue_bytes, "bytes"),
    ];
    let limits = limits.map(|(what, limit, unit)| limit.map(|limit| format!(", {what} {limit} {unit}")));
    let ring = app.ring_bytes.map(|bytes| format!("; a stream holds {bytes} bytes"));
    format!(
        "takeover {}, resume window {} ms, players wait {} ms for a publisher and start at {}{}{}",
        app.takeover,
        app.resume_window_ms,
        app.wait_for_publisher_ms,
        app.start,
        limits.into_iter().flatten().collect::<String>(),
        ring.unwrap_or_default()
    )
}

fn pushed(push: &PushConfig) -> String {
    format!("{} to {}", push.stream, push.url)
}

fn pulled(pull: &PullConfig) -> String {
    let when = match pull.when {
        PullWhen::Always => String::new(),
        PullWhen::Watched => format!(" while watched, and {} ms longer", pull.linger_ms),
    };
    format!("{} from {}{when}", pull.stream, pull.url)
}

fn played(file: &FileConfig) -> String {
    let paths: Vec<_> = file.paths.iter().map(|path| path.display().to_string()).collect();
    let times = file.loops.map_or_else(|| "for ever".to_owned(), |loops| format!("{loops} times"));
    format!("{} plays {} {times}", file.stream, paths.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_with_one_underscore_too_few_is_told_from_one_that_is_none_of_ours() {
        for (name, value, meant) in [
            ("STREAMENGINE_LIMITS_MAX_CONNECTIONS", "5", Some("STREAMENGINE_LIMITS__MAX_CONNECTIONS")),
            ("STREAMENGINE_DEFAULT_APP_TAKEOVER", "reject", Some("STREAMENGINE_DEFAULT_APP__TAKEOVER")),
            ("STREAMENGINE_LIMITS__MAX_CONNECTIONS", "5", None),
            ("STREAMENGINE_PUBLISH_KEY", "k", None),
            ("STREAMENGINE_LOG", "info", None),
            // As container runtimes set them.
            ("STREAMENGINE_PORT_1935_TCP", "tcp://10.0.0.1:1935", None),
            ("STREAMENGINE_RTMP_SERVICE_HOST", "10.0.0.1", None),
            ("LIMITS_MAX_CONNECTIONS", "5", None),
        ] {
            assert_eq!(meant_variable(name, value).as_deref(), meant, "{name}");
        }
    }
}
