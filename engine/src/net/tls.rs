//! TLS 1.2 and 1.3 by rustls: server certificates that renew themselves, verification of peers, errors in words.

mod halves;
mod validity;

use super::{Conn, TLS_FIRST_BYTE};
use crate::config::TlsConfig;
use crate::files;
use crate::{Error, ErrorKind, Result, Secret};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, InvalidMessage, PeerIncompatible,
    RootCertStore, ServerConfig, SignatureScheme,
};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use validity::Validity;
use x509_parser::certificate::X509Certificate;

pub(super) use halves::{TlsReader, TlsWriter, halves};

bound! {
    /// Shortest time between two looks at the certificate files
    /// (test `certificate_files_are_looked_at_once_a_second_at_most`).
    const CHECK_PERIOD: Duration = Duration::from_secs(1), without Duration::ZERO;
    /// How long the connection that finds it time for a look waits for the look
    /// (test `certificate_files_that_hang_do_not_keep_a_connection_waiting`).
    const CHECK_WAIT: Duration = Duration::from_millis(200), without Duration::from_secs(1 << 30);
}

/// Something in PEM form: a file, or the text itself.
#[derive(Clone, PartialEq, Eq)]
enum Pem {
    File(PathBuf),
    Text(Secret),
}

impl Pem {
    /// A text with a PEM header is the thing itself, any other the path of a file.
    fn new(text: &str) -> Self {
        match text.contains("-----BEGIN") {
            true => Self::Text(Secret::new(text)),
            false => Self::File(text.into()),
        }
    }

    fn read(&self, what: &str) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => files::read_small(path, format_args!("{what} {self}")),
            Self::Text(text) => Ok(text.expose().as_bytes().to_vec()),
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let Self::File(path) = self else { return None };
        let meta = path.metadata().ok()?;
        Some((meta.modified().ok()?, meta.len()))
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text(_) => f.write_str("given as text"),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A server's certificate chain and private key, both in PEM form. Shows no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    cert: Pem,
    key: Pem,
}

impl TlsIdentity {
    /// Two files, read again when they change.
    pub fn files(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: Pem::File(cert.into()), key: Pem::File(key.into()) }
    }

    /// Each the text itself, where it has a `-----BEGIN` in it, or the path of a file.
    pub fn text_or_path(cert: &str, key: &str) -> Self {
        Self { cert: Pem::new(cert), key: Pem::new(key) }
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [self.cert.stamp(), self.key.stamp()]
    }
}

/// A server's certificate and key. When the files change, the next connection gets the new certificate;
/// files that cannot be used leave the old one in force, and files that hang are waited for by no connection for long.
#[derive(Debug)]
pub(crate) struct ServerTls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: ArcSwap<ServerConfig>,
    /// Protocols that are offered to those who ask (ALPN), the best first; with none, whatever they ask for.
    protocols: &'static [&'static str],
    /// Never locked while a file is read.
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    identity: TlsIdentity,
    at: Instant,
    stamps: [Option<Stamp>; 2],
    is_looking: bool,
    /// How often the identity was replaced.
    replaced: u64,
}

/// What tells one version of a file from the next.
type Stamp = (SystemTime, u64);

/// A certificate and key that have been read.
pub(crate) struct Renewal {
    identity: TlsIdentity,
    stamps: [Option<Stamp>; 2],
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Reads a certificate chain and its key.
    pub(crate) fn load(identity: TlsIdentity) -> Result<Self> {
        Self::load_for(identity, &[])
    }

    /// The same for a listener that speaks `protocols`, by their names in ALPN.
    pub(crate) fn load_for(identity: TlsIdentity, protocols: &'static [&'static str]) -> Result<Self> {
        let config = ArcSwap::new(server_config(&identity, protocols)?);
        let stamps = identity.stamps();
        let seen = Seen { identity, at: Instant::now(), stamps, is_looking: false, replaced: 0 };
        Ok(Self(Arc::new(Shared { config, protocols, seen: Mutex::new(seen) })))
    }

    /// Uses another certificate and key from the next connection on, or reads again what is in use. Where they cannot be
    /// used, nothing changes.
    pub(crate) fn replace(&self, identity: Option<TlsIdentity>) -> Result<()> {
        let identity = identity.unwrap_or_else(|| self.0.seen.lock().identity.clone());
        self.put(self.read(identity)?);
        Ok(())
    }

    /// Reads another certificate and key, and leaves what is in use.
    pub(crate) fn read(&self, identity: TlsIdentity) -> Result<Renewal> {
        let config = server_config(&identity, self.0.protocols)?;
        Ok(Renewal { stamps: identity.stamps(), identity, config })
    }

    /// Uses what has been read from the next connection on.
    pub(crate) fn put(&self, renewal: Renewal) {
        let Renewal { identity, stamps, config } = renewal;
        let mut seen = self.0.seen.lock();
        self.0.config.store(config);
        (seen.identity, seen.at, seen.stamps) = (identity, Instant::now(), stamps);
        seen.replaced = seen.replaced.wrapping_add(1);
    }

    /// The server side of a TLS handshake. The caller bounds the time. A peer that does not speak TLS is
    /// found out by its first byte.
    pub(crate) async fn accept(&self, stream: TcpStream, peer: SocketAddr) -> Result<Conn> {
        check_first_byte(&stream).await?;
        match TlsAcceptor::from(self.current().await).accept(stream).await {
            Ok(stream) => Ok(Conn::tls(stream.into(), peer)),
            Err(error) => Err(Error::new(ErrorKind::Tls, words(&error))),
        }
    }

    /// The configuration for the next connection. Lets the files be looked at, at most once a second and by one at a
    /// time; what that takes beyond [`CHECK_WAIT`] is for connections that come later.
    async fn current(&self) -> Arc<ServerConfig> {
        if self.0.is_due() {
            let shared = Arc::clone(&self.0);
            let look = tokio::task::spawn_blocking(move || shared.look());
            // What is in use stays where it panics.
            let _ = tokio::time::timeout(CHECK_WAIT.get(), look).await;
        }
        self.0.config.load_full()
    }
}

impl Shared {
    fn is_due(&self) -> bool {
        let mut seen = self.seen.lock();
        let is_due = !seen.is_looking && seen.at.elapsed() >= CHECK_PERIOD.get();
        if is_due {
            (seen.at, seen.is_looking) = (Instant::now(), true);
        }
        is_due
    }

    /// Reads the files again if they have changed; once per change, so a broken one is logged once.
    fn look(&self) {
        let (identity, before, replaced) = {
            let seen = self.seen.lock();
            (seen.identity.clone(), seen.stamps, seen.replaced)
        };
        let stamps = identity.stamps();
        let config = (stamps != before).then(|| server_config(&identity, self.protocols));
        let mut seen = self.seen.lock();
        seen.is_looking = false;
        if seen.replaced != replaced {
            return;
        }
        seen.stamps = stamps;
        match config {
            Some(Ok(config)) => {
                self.config.store(config);
                tracing::info!(cert = %identity.cert, "certificate renewed");
            }
            Some(Err(error)) => {
                tracing::error!("the certificate in use stays, the new one cannot be used: {error}")
            }
            None => {}
        }
    }
}

/// Waits for the first byte and leaves it in the socket.
async fn check_first_byte(stream: &TcpStream) -> Result<()> {
    let mut first = [0];
    let peeked = stream.peek(&mut first).await.map_err(|e| Error::io("TLS handshake", e))?;
    match (peeked, first) {
        (0, _) => Err(Error::new(ErrorKind::Reset, "closed by the peer before the TLS handshake")),
        (_, [TLS_FIRST_BYTE]) => Ok(()),
        (_, [3]) => Err(Error::new(
            ErrorKind::Protocol,
            "plain RTMP connection on a TLS port: its URLs begin with rtmps://",
        )),
        (_, [byte]) if byte.is_ascii_uppercase() => Err(Error::new(
            ErrorKind::Protocol,
            "plain text, perhaps HTTP, on a TLS port: its URLs begin with rtmps:// or https://",
        )),
        _ => Err(Error::new(ErrorKind::Protocol, "no TLS on a TLS port")),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// AES with keys of 128 bits first, as browsers want it: what is encrypted for each player anew is most of what TLS costs, and
/// the ten rounds instead of fourteen are seen in it.
fn server_provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| !is_aes_128(suite.suite()));
    Arc::new(provider)
}

fn is_aes_128(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

fn server_config(identity: &TlsIdentity, protocols: &[&str]) -> Result<Arc<ServerConfig>> {
    let own = Arc::new(SingleCertAndKey::from(certified_key(identity)?));
    let mut config = ServerConfig::builder_with_provider(server_provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Tls, e.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(own);
    // Or programs on OpenSSL and rustls would take the dearer one first.
    config.ignore_client_order = true;
    // librtmp (rtmpdump, rtmpsink, old players) reads nothing more behind a ticket. Who stays for hours resumes nothing.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// Reads a certificate chain and its key, and checks that they belong together; what else is in the certificate is for
/// those who dial to judge.
fn certified_key(identity: &TlsIdentity) -> Result<CertifiedKey> {
    let TlsIdentity { cert, key } = identity;
    let chain = read_certificates(cert, "certificate")?;
    let first = chain.first().map_or(&[][..], |first| first.as_ref());
    if let Some(problem) = Validity::of(first).and_then(|validity| validity.problem(UnixTime::now())) {
        tracing::warn!(%cert, "the certificate {problem}: those who check it will not connect");
    }
    let bytes = key.read("private key")?;
    let secret = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| pem_error("private key", key, &bytes, &error))?;
    let signer = provider().key_provider.load_private_key(secret).map_err(|_| {
        let kinds = "RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, and Ed25519";
        Error::new(ErrorKind::Format, format!("private key {key}: its kind is not supported; {kinds} are"))
    })?;
    let (_, parsed) = x509_parser::parse_x509_certificate(first)
        .map_err(|_| Error::new(ErrorKind::Format, format!("certificate {cert}: it makes no sense")))?;
    if signer.public_key().is_some_and(|own| own.as_ref() != parsed.public_key().raw) {
        let why = "the key is not that of the first certificate in the file, which must be the server's own";
        return Err(Error::new(ErrorKind::Tls, format!("certificate {cert} with key {key}: {why}")));
    }
    Ok(CertifiedKey::new(chain, signer))
}

fn read_certificates(pem: &Pem, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = pem.read(what)?;
    let error = |e| pem_error(what, pem, &bytes, &e);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(error)?;
    if chain.is_empty() {
        return Err(error(rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn pem_error(what: &str, pem: &Pem, bytes: &[u8], error: &rustls::pki_types::pem::Error) -> Error {
    let has = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    let why = match error {
        _ if has(b"ENCRYPTED") => {
            format!("the {what} is locked by a passphrase; openssl pkey -in FILE -out UNLOCKED takes it off")
        }
        rustls::pki_types::pem::Error::NoItemsFound if bytes.starts_with(&[0x30, 0x82]) => {
            let tool = if what == "certificate" { "x509" } else { "pkey" };
            format!("it is in DER form; openssl {tool} -inform der -in FILE -out PEM makes PEM of it")
        }
        rustls::pki_types::pem::Error::NoItemsFound => format!("it holds no {what} in PEM form"),
        other => other.to_string(),
    };
    Error::new(ErrorKind::Format, format!("{what} {pem}: {why}"))
}

/// How to check the certificate of a server that is dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DialTls {
    /// Authorities (PEM) to trust besides those of the operating system.
    pub(crate) ca_file: Option<PathBuf>,
    /// Whether certificates are checked at all.
    pub(crate) verify: Verify,
}

impl DialTls {
    /// As the configuration says.
    pub(crate) fn new(config: &TlsConfig) -> Self {
        let verify = match config.danger_accept_invalid_certs {
            true => Verify::DangerAcceptAny,
            false => Verify::Full,
        };
        Self { ca_file: config.ca.clone(), verify }
    }
}

impl TlsConfig {
    /// How rustls checks servers by this configuration, for connections of the embedding program's own. Reads files: not for
    /// async tasks.
    #[doc(hidden)]
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        client_config(&DialTls::new(self), &system_roots())
    }
}

/// Whether a server's certificate is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Chain, dates and host name are checked.
    #[default]
    Full,
    /// Nothing is; anybody on the way can read and change the stream. Logged at each use.
    DangerAcceptAny,
}

/// The client side of a TLS handshake with `host`, which is also the name to verify. The caller bounds the time.
pub(super) async fn connect(
    stream: TcpStream,
    peer: SocketAddr,
    host: &str,
    config: Arc<ClientConfig>,
) -> Result<Conn> {
    // The zone of an address of IPv6 is known to this machine only.
    let host = host.split('%').next().unwrap_or_default();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Error::new(ErrorKind::Tls, "the host is not a name that a certificate can carry"))?;
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => Ok(Conn::tls(stream.into(), peer)),
        Err(error) => Err(Error::new(ErrorKind::Tls, words(&error))),
    }
}

/// The authorities that the operating system trusts. Reads files: not for async tasks.
pub(super) fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("trusted certificate authorities of this system: {error}");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Whether the authorities that are named can be read.
pub(crate) fn check_trust(options: &DialTls) -> Result<()> {
    client_config(options, &RootCertStore::empty()).map(drop)
}

/// What a client needs to check a server as `options` say, `roots` being those of the system. Reads files: not for async
/// tasks.
pub(super) fn client_config(options: &DialTls, roots: &RootCertStore) -> Result<Arc<ClientConfig>> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Tls, e.to_string()))?;
    let config = match options.verify {
        Verify::DangerAcceptAny => {
            let verifier = Arc::new(AcceptAny { provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
        Verify::Full => {
            let (roots, listed) = trusted(options.ca_file.as_deref(), roots)?;
            let algorithms = provider.signature_verification_algorithms;
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| Error::new(ErrorKind::Tls, e.to_string()))?;
            let verifier = Arc::new(TrustListed { verifier, listed, algorithms });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
    };
    Ok(Arc::new(config))
}

/// All authorities that are trusted, and the certificates of `ca_file` as they stand there.
fn trusted(
    ca_file: Option<&Path>,
    roots: &RootCertStore,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let (mut roots, mut listed) = (roots.clone(), Vec::new());
    if let Some(path) = ca_file {
        for certificate in read_certificates(&Pem::File(path.to_owned()), "certificate")? {
            // One that cannot vouch for others may still be that of a server itself.
            if roots.add(certificate.clone()).is_err() {
                x509_parser::parse_x509_certificate(&certificate).map_err(|_| {
                    let why = "one of its certificates makes no sense";
                    Error::new(ErrorKind::Format, format!("certificate {}: {why}", path.display()))
                })?;
            }
            listed.push(certificate);
        }
    }
    if roots.is_empty() {
        let help =
            "this system has no trusted certificate authorities; install ca-certificates or name a CA file";
        return Err(Error::new(ErrorKind::Tls, help));
    }
    Ok((roots, listed))
}

/// Trusts, besides what a trusted authority has signed, a server's certificate that is itself in the list, as OpenSSL and
/// curl do: `openssl req -x509` makes certificates that vouch for themselves and are marked as an authority's, which webpki
/// takes for no server's. Dates, purpose, host name and the handshake's signature are checked all the same.
#[derive(Debug)]
struct TrustListed {
    verifier: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for TrustListed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.listed.iter().any(|listed| listed.as_ref() == end_entity.as_ref()) {
            return check_listed(end_entity, server_name, now);
        }
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_by_key(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Dates, purpose and host name of a certificate that is trusted as it is.
fn check_listed(
    certificate: &CertificateDer<'_>,
    host: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    let encoding = |_| CertificateError::BadEncoding;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let valid = parsed.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < valid.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > valid.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    let purpose = parsed.extended_key_usage().map_err(encoding)?;
    if purpose.is_some_and(|purpose| !purpose.value.any && !purpose.value.server_auth) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    match parsed.subject_alternative_name().map_err(encoding)? {
        Some(_) => verify_server_name(&ParsedCertificate::try_from(certificate)?, host)?,
        // Without names, the common name is one, as for OpenSSL: so are those that are made by hand.
        None if has_common_name(&parsed, &host.to_str()) => {}
        None => return Err(CertificateError::NotValidForName.into()),
    }
    Ok(ServerCertVerified::assertion())
}

fn has_common_name(certificate: &X509Certificate<'_>, host: &str) -> bool {
    let mut names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    names.any(|name| name.eq_ignore_ascii_case(host))
}

/// Accepts every certificate; handshake signatures are still checked, so that broken peers fail early.
#[derive(Debug)]
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_by_key(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether the peer has the key of its certificate. Reads nothing but the key from it: those of version 1 (what
/// `openssl x509 -req` makes), which webpki does not read, are as good where somebody trusts them.
fn verify_by_key(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
    verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
}

/// The cause of a failed TLS handshake, for people.
fn words(error: &io::Error) -> String {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(cause) => tls_words(cause),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "closed by the peer in the TLS handshake".into()
        }
        None => format!("TLS handshake: {error}"),
    }
}

fn tls_words(error: &rustls::Error) -> String {
    use PeerIncompatible as Old;
    match error {
        rustls::Error::InvalidCertificate(cause) => certificate_words(cause),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the peer does not speak TLS on this port".into()
        }
        rustls::Error::PeerIncompatible(
            Old::Tls12NotOffered
            | Old::Tls12NotOfferedOrEnabled
            | Old::ServerDoesNotSupportTls12Or13
            | Old::SupportedVersionsExtensionRequired
            | Old::SignatureAlgorithmsExtensionRequired,
        ) => "the peer does not offer TLS 1.2 or 1.3".into(),
        rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) => {
            "the peer supports neither TLS 1.2 nor 1.3".into()
        }
        rustls::Error::AlertReceived(alert) => format!("the peer ended the TLS handshake: {alert:?}"),
        other => format!("TLS handshake: {other}"),
    }
}

fn certificate_words(cause: &CertificateError) -> String {
    match cause {
        CertificateError::Expired => "the certificate has expired".into(),
        CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            format!("the certificate has expired, {days} days ago")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet (is the clock right?)".into()
        }
        CertificateError::NotValidForName => "the certificate is for another host name".into(),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().map(|name| host_in(name)).collect();
            format!("the certificate is for another host name: {}", crate::Printable(&names.join(", ")))
        }
        CertificateError::UnknownIssuer => {
            "the certificate's issuer is unknown: it is self-signed, or its authority is not trusted here"
                .into()
        }
        // webpki's name for a self-signed certificate that is marked as an authority, as openssl makes them.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the certificate is an authority's own (self-signed), and not itself in the list of trusted ones"
                .into()
        }
        CertificateError::BadSignature => {
            "the certificate is not signed by the trusted authority that it names".into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not for servers: its extended key usage has no serverAuth".into()
        }
        CertificateError::BadEncoding => "the certificate makes no sense".into(),
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCriticalExtension") => {
            "the certificate has a critical extension that is not known here".into()
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            "the certificate is of version 1, which is trusted only where it is itself in the list of trusted ones"
                .into()
        }
        other => format!("the certificate is not acceptable: {other}"),
    }
}

/// The host in what rustls shows of a name, as in `DnsName("a.example")` and `IpAddress(127.0.0.1)`.
fn host_in(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::Authority;
    use std::sync::mpsc;
    use tokio::time::{advance, pause, resume, timeout};

    #[tokio::test(start_paused = true)]
    async fn certificate_files_are_looked_at_once_a_second_at_most() {
        let authority = Authority::new();
        authority.issue("localhost", |_| ());
        let tls = authority.server();
        let first = tls.current().await;
        // Of another length, as file systems may have coarse clocks.
        authority.issue("renewed.example", |_| ());
        assert!(Arc::ptr_eq(&first, &tls.current().await), "looked at within the second");
        advance(CHECK_PERIOD.stated()).await;
        assert!(!Arc::ptr_eq(&first, &tls.current().await), "not looked at after it");
    }

    #[test]
    fn certificate_files_that_hang_do_not_keep_a_connection_waiting() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().max_blocking_threads(1).build().unwrap();
        let authority = Authority::new();
        authority.issue("localhost", |_| ());
        let (go_on, hang) = mpsc::channel::<()>();
        let waited = runtime.block_on(async {
            let tls = authority.server();
            // The look waits for the only thread that may read files.
            tokio::task::spawn_blocking(move || hang.recv());
            pause();
            advance(CHECK_PERIOD.stated()).await;
            resume();
            timeout(Duration::from_secs(20), tls.current()).await
        });
        drop(go_on);
        waited.expect("the connection gets the certificate in use");
    }
}
