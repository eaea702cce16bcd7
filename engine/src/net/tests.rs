//! Promises of TLS and dialling, over real sockets.

use super::*;
use crate::testing::wait::at_most;
use crate::{Error, ErrorKind, Limits};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A certificate authority whose certificate lies in `ca.pem`, and a place for what it issues.
pub(crate) struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority of {}", dir.path().display());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        std::fs::write(dir.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `cert.pem` and `key.pem` for `host`.
    pub(crate) fn issue(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        self.write(&params.signed_by(&key, &self.issuer).unwrap().pem(), &key);
    }

    fn issue_self_signed(&self, host: &str, is_ca: IsCa) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        self.write(&params.self_signed(&key).unwrap().pem(), &key);
    }

    fn write(&self, cert: &str, key: &KeyPair) {
        std::fs::write(self.path("cert.pem"), cert).unwrap();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
    }

    pub(crate) fn server(&self) -> Arc<ServerTls> {
        Arc::new(ServerTls::load(TlsIdentity::files(self.path("cert.pem"), self.path("key.pem"))).unwrap())
    }

    pub(crate) fn trusted(&self) -> DialTls {
        DialTls { ca_file: Some(self.path("ca.pem")), verify: Verify::Full }
    }
}

/// Serves TLS, echoing; the port and what became of each connection.
async fn serve(tls: Arc<ServerTls>) -> (u16, tokio::sync::mpsc::UnboundedReceiver<Result<(), Error>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (outcomes, received) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let (tls, outcomes) = (tls.clone(), outcomes.clone());
            tokio::spawn(async move {
                let mut conn = match tls.accept(stream, peer).await {
                    Ok(conn) => conn,
                    Err(error) => return drop(outcomes.send(Err(error))),
                };
                assert!(conn.is_tls());
                let _ = outcomes.send(Ok(()));
                while let Ok(byte) = conn.read_u8().await {
                    conn.write_u8(byte).await.unwrap();
                    conn.flush().await.unwrap();
                }
            });
        }
    });
    (port, received)
}

async fn dial(port: u16, tls: DialTls) -> Result<Conn, Error> {
    let options = DialOptions { host: "localhost".into(), port, tls: Some(tls) };
    Dialer::new(&Limits::default()).dial(&options, |_| ()).await
}

async fn echo(conn: &mut Conn, byte: u8) {
    conn.write_u8(byte).await.unwrap();
    conn.flush().await.unwrap();
    assert_eq!(conn.read_u8().await.unwrap(), byte);
}

/// The dial must fail as TLS, with text that names the target and holds all of `words`.
async fn must_fail(port: u16, tls: DialTls, words: &[&str]) {
    let error = dial(port, tls).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    let target = format!("localhost:{port}");
    for word in words.iter().chain([&target.as_str()]) {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn w4_an_alarm_that_comes_far_too_late_gives_everybody_a_fresh_period_once() {
    let mut reprieve = Reprieve::default();
    let due = Instant::now();
    assert!(reprieve.may_judge(due, due + Duration::from_millis(900)), "busy, but awake");
    let woken = due + Duration::from_secs(15);
    assert!(!reprieve.may_judge(due, woken));
    assert_eq!(reprieve.extend(due), woken + FRESH_PERIOD.stated());
    assert!(!reprieve.may_judge(due, woken + FRESH_PERIOD.stated() / 2));
    assert!(reprieve.may_judge(due, woken + FRESH_PERIOD.stated()), "then the old deadline holds");
}

#[tokio::test]
async fn f44_a_certificate_of_a_trusted_authority_is_accepted() {
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let (port, mut outcomes) = serve(authority.server()).await;
    let mut conn = dial(port, authority.trusted()).await.unwrap();
    assert!(conn.is_tls());
    assert_eq!(conn.peer().port(), port);
    echo(&mut conn, 7).await;
    outcomes.recv().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_takes_aes_with_a_key_of_128_bits_where_the_peer_has_it() {
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let (port, _outcomes) = serve(authority.server()).await;
    let conn = dial(port, authority.trusted()).await.unwrap();
    let Stream::Tls(stream) = &conn.stream else { panic!("no TLS") };
    let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap();
    assert_eq!(suite.suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}

#[tokio::test]
async fn what_is_written_to_tls_at_once_and_what_follows_arrive_in_order() {
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tls, trusted) = (authority.server(), authority.trusted());
    let accept = async {
        let (stream, peer) = listener.accept().await.unwrap();
        tls.accept(stream, peer).await.unwrap()
    };
    let (conn, client) = tokio::join!(accept, dial(port, trusted));
    let mut client = client.unwrap();
    let Halves::Tls(mut reader, mut writer) = conn.into_halves() else { panic!("no TLS") };
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|number| (number % 251) as u8).collect();
    // Nothing is read until the socket takes no more.
    let (mut sent, mut refused) = (0, 0);
    while sent < bytes.len() && refused == 0 {
        match writer.try_write(&bytes[sent..]) {
            Ok(taken) => sent += taken,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                assert!(!writer.is_flushed(), "some is encrypted and waits");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1, "8 MB were taken at once");
    let expected = bytes.clone();
    let reading = tokio::spawn(async move {
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got).await.unwrap();
        assert!(got == expected);
        client.write_all(b"thanks").await.unwrap();
        client.flush().await.unwrap();
    });
    writer.write_all(&bytes[sent..]).await.unwrap();
    writer.flush().await.unwrap();
    assert!(writer.is_flushed());
    let mut answer = [0; 6];
    reader.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"thanks");
    reading.await.unwrap();
}

#[tokio::test]
async fn f44_bad_certificates_are_refused_with_the_cause() {
    let authority = Authority::new();
    let trusted = || authority.trusted();

    authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    must_fail(serve(authority.server()).await.0, trusted(), &["expired", "days ago"]).await;

    authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(4000, 1, 1);
        params.not_after = date_time_ymd(4001, 1, 1);
    });
    must_fail(serve(authority.server()).await.0, trusted(), &["not valid yet"]).await;

    authority.issue("live.example.com", |_| ());
    must_fail(serve(authority.server()).await.0, trusted(), &["another host name", "live.example.com"]).await;

    authority.issue("localhost", |_| ());
    let stranger = Authority::new();
    must_fail(serve(authority.server()).await.0, stranger.trusted(), &["issuer is unknown"]).await;

    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        authority.issue_self_signed("localhost", is_ca);
        must_fail(serve(authority.server()).await.0, trusted(), &["self-signed"]).await;
    }
}

/// A certificate that vouches for itself, as the `ca_file` of those who dial; the error in words, if any.
async fn dial_listed(change: impl FnOnce(&mut CertificateParams)) -> Result<(), Error> {
    let authority = Authority::new();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    authority.write(&params.self_signed(&key).unwrap().pem(), &key);
    let listed = DialTls { ca_file: Some(authority.path("cert.pem")), verify: Verify::Full };
    echo(&mut dial(serve(authority.server()).await.0, listed).await?, 1).await;
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_is_itself_listed_is_trusted_whoever_signed_it() {
    dial_listed(|_| ()).await.unwrap();
    dial_listed(|params| params.is_ca = IsCa::ExplicitNoCa).await.unwrap();
    dial_listed(|params| params.is_ca = IsCa::NoCa).await.unwrap();
    // As `openssl req -x509 -subj /CN=localhost` makes them: without alternative names.
    dial_listed(|params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "localhost");
    })
    .await
    .unwrap();
    // One that an authority has signed which is not listed.
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let listed = DialTls { ca_file: Some(authority.path("cert.pem")), verify: Verify::Full };
    echo(&mut dial(serve(authority.server()).await.0, listed).await.unwrap(), 1).await;
}

#[tokio::test]
async fn f44_dates_name_and_purpose_of_a_listed_certificate_are_checked() {
    let refused = async |change: &dyn Fn(&mut CertificateParams), words: &str| {
        let error = dial_listed(change).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Tls && error.to_string().contains(words), "{words}: {error}");
    };
    refused(&|params| params.not_after = date_time_ymd(2021, 1, 1), "expired").await;
    refused(&|params| params.not_before = date_time_ymd(4000, 1, 1), "not valid yet").await;
    let elsewhere = || CertificateParams::new(["elsewhere".to_owned()]).unwrap();
    refused(&|params| params.subject_alt_names = elsewhere().subject_alt_names, "another host name").await;
    refused(&|params| params.subject_alt_names.clear(), "another host name").await;
    let client_only = rcgen::ExtendedKeyUsagePurpose::ClientAuth;
    refused(&|params| params.extended_key_usages = vec![client_only.clone()], "not for servers").await;
    let critical = |params: &mut CertificateParams| {
        let mut strange = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        strange.set_criticality(true);
        params.custom_extensions.push(strange);
    };
    refused(&critical, "critical extension").await;
}

/// Certificate and key as `openssl req -new` and `openssl x509 -req -signkey` make them, valid until 2126: of version 1,
/// which neither webpki nor rcgen know.
const VERSION_1: &str = include_str!("tls/version_1.pem");

#[tokio::test]
async fn a_listed_certificate_of_version_1_is_trusted_and_one_that_is_not_is_told_apart() {
    let authority = Authority::new();
    for name in ["cert.pem", "key.pem"] {
        std::fs::write(authority.path(name), VERSION_1).unwrap();
    }
    let (port, _outcomes) = serve(authority.server()).await;
    let listed = DialTls { ca_file: Some(authority.path("cert.pem")), verify: Verify::Full };
    echo(&mut dial(port, listed).await.unwrap(), 1).await;
    must_fail(port, authority.trusted(), &["version 1", "trusted"]).await;
    let any = DialTls { ca_file: None, verify: Verify::DangerAcceptAny };
    echo(&mut dial(port, any).await.unwrap(), 1).await;
}

#[tokio::test]
async fn f44_a_listed_certificate_is_nothing_without_its_key_and_vouches_for_no_other_host() {
    let (listed, other) = (Authority::new(), Authority::new());
    listed.issue_self_signed("localhost", IsCa::NoCa);
    // The same names and signer, but another certificate.
    other.issue_self_signed("localhost", IsCa::NoCa);
    let trust = DialTls { ca_file: Some(listed.path("cert.pem")), verify: Verify::Full };
    must_fail(serve(other.server()).await.0, trust, &["certificate"]).await;
}

#[tokio::test]
async fn f44_only_the_danger_option_accepts_a_bad_certificate() {
    let authority = Authority::new();
    authority.issue_self_signed("elsewhere", IsCa::NoCa);
    let (port, _) = serve(authority.server()).await;
    let any = DialTls { ca_file: None, verify: Verify::DangerAcceptAny };
    echo(&mut dial(port, any).await.unwrap(), 1).await;
}

#[tokio::test]
async fn f44_a_peer_with_tls_1_0_is_refused_and_named() {
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let (port, mut outcomes) = serve(authority.server()).await;
    let mut old = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let mut hello = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01".to_vec();
    hello.extend([9; 32]); // random
    hello.extend(b"\x00\x00\x02\x00\x2f\x01\x00"); // no session, AES128-SHA, no compression
    old.write_all(&hello).await.unwrap();
    let error = outcomes.recv().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("does not offer TLS 1.2 or 1.3"), "{error}");
}

#[tokio::test]
async fn f44_a_renewed_certificate_is_used_by_the_next_connection_and_none_is_dropped() {
    let old = Authority::new();
    old.issue("localhost", |_| ());
    let tls = old.server();
    let (port, _) = serve(tls.clone()).await;
    let mut running = dial(port, old.trusted()).await.unwrap();
    tokio::time::pause();

    // Files that do not fit together leave the old certificate in force.
    std::fs::write(old.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    dial(port, old.trusted()).await.expect("the old certificate is still there");

    let new = Authority::new();
    new.issue("localhost", |_| ());
    for name in ["cert.pem", "key.pem"] {
        std::fs::rename(new.path(name), old.path(name)).unwrap();
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut next = dial(port, new.trusted()).await.expect("the new certificate is in use");
    echo(&mut next, 1).await;
    echo(&mut running, 2).await;
    assert!(dial(port, old.trusted()).await.is_err());
}

#[tokio::test]
async fn a_certificate_given_as_text_replaces_the_one_in_use_and_a_bad_one_does_not() {
    let (old, new) = (Authority::new(), Authority::new());
    old.issue("localhost", |_| ());
    new.issue("localhost", |_| ());
    let tls = old.server();
    let (port, _outcomes) = serve(tls.clone()).await;
    let read = |name| std::fs::read_to_string(new.path(name)).unwrap();
    let (cert, key) = (read("cert.pem"), read("key.pem"));
    let broken = tls.replace(Some(TlsIdentity::text_or_path(&key, &key))).unwrap_err();
    assert!(broken.to_string().contains("given as text"), "{broken}");
    assert!(
        !format!("{broken} {:?}", TlsIdentity::text_or_path(&cert, &key)).contains("PRIVATE"),
        "no key is shown"
    );
    echo(&mut dial(port, old.trusted()).await.expect("the old one stays"), 1).await;
    tls.replace(Some(TlsIdentity::text_or_path(&cert, &key))).unwrap();
    tls.replace(None).unwrap();
    echo(&mut dial(port, new.trusted()).await.expect("the new one is in use"), 1).await;
}

#[tokio::test]
async fn certificate_files_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let (cert, key) = (authority.path("cert.pem"), authority.path("key.pem"));
    let missing = ServerTls::load(TlsIdentity::files(authority.path("none.pem"), &key)).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().contains("none.pem"), "{missing}");
    let swapped = ServerTls::load(TlsIdentity::files(&key, &cert)).unwrap_err();
    assert!(swapped.to_string().contains("holds no certificate"), "{swapped}");
    // What else goes wrong with files that are made by hand, and the way out.
    let whole = std::fs::read_to_string(&cert).unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let p521 = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked_as_of_old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMAA=\n\
                            -----END RSA PRIVATE KEY-----\n";
    for (what, contents, words) in [
        ("key.pem", other.as_bytes(), "the key is not that of the first certificate in the file"),
        ("key.pem", p521.as_bytes(), "its kind is not supported; RSA"),
        ("key.pem", locked.as_bytes(), "locked by a passphrase; openssl pkey"),
        ("key.pem", locked_as_of_old.as_bytes(), "locked by a passphrase; openssl pkey"),
        ("key.pem", b"\x30\x82\x01\x00", "in DER form; openssl pkey"),
        ("cert.pem", b"\x30\x82\x01\x00", "in DER form; openssl x509"),
        ("cert.pem", b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "makes no sense"),
    ] {
        authority.issue("localhost", |_| ());
        std::fs::write(authority.path(what), contents).unwrap();
        let error = ServerTls::load(TlsIdentity::files(&cert, &key)).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(what), "{words}: {error}");
    }
    // A chain in the wrong order.
    authority.issue("localhost", |_| ());
    let ca = std::fs::read_to_string(authority.path("ca.pem")).unwrap();
    std::fs::write(&cert, format!("{ca}{whole}")).unwrap();
    let error = ServerTls::load(TlsIdentity::files(&cert, &key)).unwrap_err().to_string();
    assert!(error.contains("must be the server's own"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_certificate_that_becomes_a_pipe_or_device_holds_up_no_connection_and_the_old_one_stays() {
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let (port, _outcomes) = serve(authority.server()).await;
    let mut running = dial(port, authority.trusted()).await.unwrap();
    let cert = authority.path("cert.pem");
    for device in [None, Some("/dev/zero")] {
        std::fs::remove_file(&cert).unwrap();
        match device {
            Some(device) => std::os::unix::fs::symlink(device, &cert).unwrap(),
            None => assert!(std::process::Command::new("mkfifo").arg(&cert).status().unwrap().success()),
        }
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::time::resume();
        let start = std::time::Instant::now();
        let mut next = dial(port, authority.trusted()).await.expect("the old certificate is in force");
        echo(&mut next, 1).await;
        echo(&mut running, 2).await;
        assert!(start.elapsed() < at_most(Duration::from_secs(2)), "{:?}", start.elapsed());
        let refused = ServerTls::load(TlsIdentity::files(&cert, authority.path("key.pem"))).unwrap_err();
        assert!(refused.to_string().contains("not a regular file"), "{refused}");
    }
}

#[tokio::test]
async fn f45_plain_rtmp_on_the_tls_port_is_closed_within_100_ms_and_named() {
    let authority = Authority::new();
    authority.issue("localhost", |_| ());
    let (port, mut outcomes) = serve(authority.server()).await;
    for (first, words) in [(b"\x03", "plain RTMP connection on a TLS"), (b"G", "HTTP"), (b"\0", "no TLS")] {
        let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let start = std::time::Instant::now();
        plain.write_all(first).await.unwrap();
        assert!(matches!(plain.read(&mut [0]).await, Ok(0) | Err(_)));
        assert!(start.elapsed() <= at_most(Duration::from_millis(100)));
        let error = outcomes.recv().await.unwrap().unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn tls_towards_a_plain_port_says_so() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 1000]).await;
    });
    must_fail(port, Authority::new().trusted(), &["does not speak TLS"]).await;
}

#[tokio::test]
async fn f31_errors_of_a_dial_name_the_target_and_the_cause() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let dialer = Dialer::new(&Limits::default());
    let dial = async |host: &str, port| {
        let options = DialOptions { host: host.into(), port, tls: None };
        let mut steps = Vec::new();
        let result = dialer.dial(&options, |step| steps.push(step)).await;
        (result.unwrap_err(), steps)
    };
    let (refused, steps) = dial("127.0.0.1", unused.port()).await;
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.to_string().starts_with(&format!("{unused}: connect:")), "{refused}");
    assert_eq!(steps, [DialStep::Resolving, DialStep::Connecting(unused)]);
    let (unknown, _) = dial("does-not-exist.invalid", 1935).await;
    assert_eq!(unknown.kind(), ErrorKind::Resolve);
    assert!(unknown.to_string().starts_with("does-not-exist.invalid:1935: "), "{unknown}");
}

/// A listener that answers no SYN any more because its backlog is full, and what fills it.
async fn black_hole() -> (socket2::Socket, SocketAddr, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut fill = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        fill.push(stream.unwrap());
    }
    (socket, address, fill)
}

#[tokio::test]
async fn f31_an_address_without_an_answer_costs_5_seconds_and_the_next_is_tried() {
    let (_socket, dead, _fill) = black_hole().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let alive = listener.local_addr().unwrap();
    tokio::time::pause();
    let start = Instant::now();
    let dialer = Dialer::new(&Limits::default());
    let (_, peer) = dialer.connect(&[dead, alive], &mut |_| ()).await.unwrap();
    assert_eq!(peer, alive);
    assert_eq!(start.elapsed().as_secs(), 5);
    let error = dialer.connect(&[dead], &mut |_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn f31_no_more_than_eight_addresses_of_a_host_are_tried() {
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let mut tried = 0;
    let error = Dialer::new(&Limits::default()).connect(&[dead; 20], &mut |_| tried += 1).await.unwrap_err();
    assert_eq!((error.kind(), tried), (ErrorKind::Refused, 8));
}

#[tokio::test]
async fn sockets_have_no_delay_and_little_unsent_data() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tune(&stream, Duration::from_secs(10));
    assert!(stream.nodelay().unwrap());
    #[cfg(target_os = "linux")]
    assert_eq!(SockRef::from(&stream).tcp_notsent_lowat().unwrap(), NOT_SENT_LOW_WATER.stated());
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[tokio::test]
async fn the_kernel_gives_up_a_peer_that_acknowledges_nothing_after_twice_the_write_timeout() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tune(&stream, Duration::from_secs(10));
    assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(Duration::from_secs(20)));
}

#[tokio::test(start_paused = true)]
async fn a_timer_is_ready_at_the_earliest_time_it_was_set_to() {
    let mut timer = DeadlineTimer::new();
    let start = Instant::now();
    timer.set(start + Duration::from_secs(5));
    timer.set(start + Duration::from_secs(3));
    timer.set(start + Duration::from_secs(4));
    std::future::poll_fn(|cx| timer.poll(cx)).await;
    assert_eq!(start.elapsed().as_secs(), 3);
    let unset = std::future::poll_fn(|cx| timer.poll(cx));
    tokio::time::timeout(Duration::from_secs(60), unset).await.expect_err("it is ready once");
}
