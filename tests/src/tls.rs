//! Certificates made by the openssl program: an authority, and leaves that are right or wrong in one way.

use crate::Proc;
use crate::peers::command;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A certificate authority in a temporary folder.
pub struct Authority {
    folder: TempDir,
}

/// A certificate and its key as PEM files.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The certificate.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy)]
pub enum Validity {
    /// Now, for a day.
    Now,
    /// It was, until yesterday.
    Expired,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let authority = Self { folder };
        let (cert, key) = (authority.path("ca.pem"), authority.path("ca.key"));
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={} \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
             -keyout {} -out {}",
            crate::unique("authority"),
            key.display(),
            cert.display()
        ));
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its certificate, for those who shall trust it.
    pub fn cert(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for these names (`DNS:localhost,IP:127.0.0.1`).
    pub fn leaf(&self, names: &str, validity: Validity) -> Leaf {
        let id = crate::unique("leaf");
        let [key, request, cert, extensions] =
            ["key", "csr", "pem", "ext"].map(|end| self.path(&format!("{id}.{end}")));
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={id} -keyout {} -out {}",
            key.display(),
            request.display()
        ));
        let text =
            format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n");
        std::fs::write(&extensions, text).expect("extensions");
        let days = match validity {
            Validity::Now => "1",
            Validity::Expired => "-1",
        };
        openssl(&format!(
            "x509 -req -in {} -CA {} -CAkey {} -CAcreateserial -days {days} -extfile {} -out {}",
            request.display(),
            self.cert().display(),
            self.path("ca.key").display(),
            extensions.display(),
            cert.display()
        ));
        Leaf { cert, key }
    }

    /// A certificate that nobody but itself vouches for.
    pub fn self_signed(&self) -> Leaf {
        let id = crate::unique("self");
        let [cert, key] = ["pem", "key"].map(|end| self.path(&format!("{id}.{end}")));
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN={id} \
             -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {} -out {}",
            key.display(),
            cert.display()
        ));
        Leaf { cert, key }
    }
}

/// Puts one certificate and key in the place of another, as a renewal does.
pub fn replace(old: &Leaf, new: &Leaf) {
    for (from, to) in [(&new.key, &old.key), (&new.cert, &old.cert)] {
        let staged: &Path = &to.with_extension("new");
        std::fs::copy(from, staged).expect("copy");
        std::fs::rename(staged, to).expect("rename");
    }
}

fn openssl(line: &str) {
    Proc::spawn("openssl", command("openssl", line.split_whitespace())).succeed(Duration::from_secs(30));
}

/// What `openssl s_client` says about a server: its whole output.
pub fn s_client(address: std::net::SocketAddr, options: &[&str]) -> String {
    let mut line =
        command("openssl", ["s_client", "-connect", &address.to_string(), "-servername", "localhost"]);
    line.args(options);
    let client = Proc::spawn("openssl s_client", line);
    client.wait(Duration::from_secs(20));
    [client.out.all(), client.err.all()].concat().join("\n")
}
