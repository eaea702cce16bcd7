//! A certificate that signs itself, for `serve --https` where none is given: browsers let pages use camera and microphone on https
//! only, and warn of this one once. It is kept, so that it stays the one that was trusted.

use crate::{Failure, addresses};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{CertificateParams, KeyPair};
use ring::digest::{SHA256, digest};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use streamengine::write_private;

/// How long one is good for. Some browsers take none that is good for more than 398 days.
const GOOD_FOR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// It is replaced at a start so long before its end.
const NEAR_THE_END: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The files of a certificate and its key.
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// The one that is kept in this folder, or a new one for these addresses.
pub(crate) fn kept_or_made(state_dir: Option<&Path>, listened: &[SocketAddr]) -> Result<Files, Failure> {
    let folder = state_dir.map(Path::to_owned).or_else(default_folder).ok_or_else(|| {
        Failure::usage(
            "--https has no certificate, and there is no folder to keep one in that signs itself: give --cert FILE and --key FILE \
             (PEM), or --state-dir DIR",
        )
    })?;
    let files = Files { cert: folder.join("self-signed.pem"), key: folder.join("self-signed-key.pem") };
    let failed = |error: io::Error| Failure::usage(format!("--state-dir: {}: {error}", folder.display()));
    let pem = match kept(&files) {
        Some(pem) => pem,
        None => make(&folder, &files, listened).map_err(failed)?,
    };
    let fingerprint = fingerprint(&pem).unwrap_or_else(|| "unknown".to_owned());
    tracing::info!(
        cert = %files.cert.display(), sha256 = fingerprint,
        "https with a certificate that signs itself: browsers will warn once; --cert and --key give another"
    );
    Ok(files)
}

/// Where programs keep what is theirs (XDG Base Directory Specification), or systemd has such a folder (`StateDirectory=`).
fn default_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // systemd names several with colons between them.
    let of_systemd = folder("STATE_DIRECTORY").filter(|folder| !folder.to_string_lossy().contains(':'));
    let of_user = || {
        let state = folder("XDG_STATE_HOME").filter(|folder| folder.is_absolute());
        Some(state.or_else(|| Some(folder("HOME")?.join(".local/state")))?.join("streamengine"))
    };
    of_systemd.or_else(of_user)
}

/// The certificate that is there, while it is good for long enough.
fn kept(files: &Files) -> Option<String> {
    let made = fs::metadata(&files.cert).and_then(|file| file.modified()).ok()?;
    let age = SystemTime::now().duration_since(made).unwrap_or_default();
    (age < GOOD_FOR - NEAR_THE_END && files.key.is_file()).then(|| fs::read_to_string(&files.cert).ok())?
}

fn make(folder: &Path, files: &Files, listened: &[SocketAddr]) -> io::Result<String> {
    let mut params = CertificateParams::new(names(listened)).map_err(io::Error::other)?;
    let now = SystemTime::now();
    // Clocks of others may be somewhat behind.
    params.not_before = (now - Duration::from_secs(60 * 60)).into();
    params.not_after = (now + GOOD_FOR).into();
    params.distinguished_name.push(rcgen::DnType::CommonName, "streamengine");
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let cert = params.self_signed(&key).map_err(io::Error::other)?.pem();
    make_folder(folder)?;
    // The key first: a certificate that is there has its own.
    write_private(&files.key, key.serialize_pem().as_bytes()).map_err(io::Error::other)?;
    write_private(&files.cert, cert.as_bytes()).map_err(io::Error::other)?;
    Ok(cert)
}

/// What it is for: this machine by the names that it is known by, and the addresses that are listened on.
fn names(listened: &[SocketAddr]) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(host_name());
    let named = listened.iter().map(SocketAddr::ip);
    let any =
        named.clone().filter(IpAddr::is_unspecified).filter_map(|ip| addresses::own_address(ip.is_ipv6()));
    let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    let all = named.filter(|ip| !ip.is_unspecified()).chain(any).chain(loopback);
    for name in all.map(|ip| ip.to_string()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// This machine's name, where that can be one in a certificate.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("COMPUTERNAME").ok())?;
    let name = name.trim().to_ascii_lowercase();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (!name.is_empty() && name != "localhost" && name.chars().all(is_name)).then_some(name)
}

/// A folder for this user only.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The SHA-256 of a certificate, as browsers show it.
fn fingerprint(pem: &str) -> Option<String> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = BASE64.decode(body).ok()?;
    Some(
        digest(&SHA256, &der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"),
    )
}
