//! Open files: a process may have so many, and each connection is one.

use streamengine::Config;

/// What the engine has open besides connections of peers, relays and files: threads, listeners, the log.
const RESERVE: u64 = 64;

/// Takes as many as the process may have: shells and service managers start programs with 1024, for the sake of old
/// ones. Where that fails [`warn_if_too_few`] tells.
pub(crate) fn raise_limit() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};
        let _ = getrlimit(RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(RLIMIT_NOFILE, hard, hard));
    }
}

/// Warns where the process may have fewer open files than the configuration lets peers connect.
pub(crate) fn warn_if_too_few(config: &Config) {
    let listens = [&config.rtmp.listen, &config.rtmps.listen, &config.http.listen, &config.https.listen];
    if listens.iter().all(|addresses| addresses.is_empty()) {
        return;
    }
    let Some(limit) = limit() else { return };
    let own = RESERVE + (config.push.len() + config.pull.len() + config.file.len()) as u64;
    let wanted = own.saturating_add(config.limits.max_connections as u64);
    if limit < wanted {
        let room = limit.saturating_sub(own);
        tracing::warn!(
            "this process may have {limit} open files, so about {room} connections fit, not the {} of \
             limits.max_connections; raise that with `ulimit -Hn {wanted}` in the shell as root, `LimitNOFILE={wanted}` \
             in the systemd unit or `--ulimit nofile={wanted}` of docker, or set limits.max_connections to {room}",
            config.limits.max_connections
        );
    }
}

fn limit() -> Option<u64> {
    #[cfg(unix)]
    return nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .ok()
        .map(|(soft, _)| soft);
    #[cfg(not(unix))]
    None
}
