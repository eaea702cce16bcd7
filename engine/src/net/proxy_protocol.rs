//! The PROXY protocol, versions 1 and 2: the peer's true address, told by a TCP load balancer in front of its bytes.

use crate::{Error, ErrorKind, Result};
use arc_swap::ArcSwap;
use ipnet::IpNet;
use ppp::{HeaderResult, v1, v2};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};

bound! {
    /// Longest header of version 1, its line end included
    /// (test `what_is_no_header_is_an_error_in_words_and_bounded_in_length`).
    const LONGEST_V1: usize = 107, without usize::MAX;
    /// Longest header of version 2 that is read; addresses take 52 bytes, and what proxies add to them (TLS, ids) a few hundred
    /// (test `what_is_no_header_is_an_error_in_words_and_bounded_in_length`).
    const LONGEST_V2: usize = 2048, without usize::MAX;
}
/// What version 2 begins with, up to its length field.
const START_V2: usize = 16;

/// Those who may tell other addresses than their own: load balancers, by address or network. Clones share the list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(Arc<ArcSwap<Vec<IpNet>>>);

impl Proxies {
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(networks.to_vec())))
    }

    /// These may from the next connection on, and no others.
    pub(crate) fn set(&self, networks: &[IpNet]) {
        self.0.store(Arc::new(networks.to_vec()));
    }

    pub(crate) fn contain(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.load().iter().any(|network| network.contains(&peer))
    }
}

/// Reads the header that a connection from a proxy has to begin with, and nothing behind it. The address in it; none where
/// the proxy speaks for itself (`LOCAL`, `UNKNOWN`), as it does to see whether we live. The caller bounds the time.
pub(crate) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>> {
    let mut header = vec![0; v2::PROTOCOL_PREFIX.len()];
    read(stream, &mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        read_v2(stream, &mut header).await?;
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        read_line(stream, &mut header).await?;
    } else {
        return Err(fault("a connection from this address has to begin with a PROXY header, and does not"));
    }
    let address = told_by(&header)?;
    // A proxy whose sockets take both families writes IPv4 as `::ffff:192.0.2.7`: the same peer, for rules, limits and logs.
    Ok(address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port())))
}

fn told_by(header: &[u8]) -> Result<Option<SocketAddr>> {
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
            (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
            (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
        }),
        HeaderResult::V1(Err(error)) => Err(fault(format!("malformed PROXY header: {error}"))),
        HeaderResult::V2(Err(error)) => Err(fault(format!("malformed PROXY header: {error}"))),
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<()> {
    stream.read_exact(bytes).await.map(drop).map_err(|error| Error::io("PROXY header", error))
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> Result<()> {
    header.resize(START_V2, 0);
    read(stream, &mut header[v2::PROTOCOL_PREFIX.len()..]).await?;
    let whole = START_V2 + usize::from(u16::from_be_bytes([header[START_V2 - 2], header[START_V2 - 1]]));
    if whole > LONGEST_V2.get() {
        return Err(fault(format!(
            "PROXY header of {whole} bytes; at most {} are read",
            LONGEST_V2.stated()
        )));
    }
    header.resize(whole, 0);
    read(stream, &mut header[START_V2..]).await
}

/// Byte by byte, as what follows the line is not ours.
async fn read_line(stream: &mut (impl AsyncRead + Unpin), header: &mut Vec<u8>) -> Result<()> {
    while !header.ends_with(b"\n") {
        if header.len() >= LONGEST_V1.get() {
            return Err(fault(format!("PROXY header of more than {} bytes", LONGEST_V1.stated())));
        }
        let mut byte = [0];
        read(stream, &mut byte).await?;
        header.extend(byte);
    }
    Ok(())
}

fn fault(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Protocol, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `bytes`, and how many are left.
    async fn read_all(bytes: &[u8]) -> (Result<Option<SocketAddr>>, usize) {
        let mut rest = bytes;
        let read = read_header(&mut rest).await;
        (read, rest.len())
    }

    /// A header of version 2 with this command and family.
    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &len, body].concat()
    }

    const TCP4: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 7, 0x8f];

    #[tokio::test]
    async fn the_true_address_is_read_and_not_one_byte_behind_the_header() {
        let v6 = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0x30, 0x39, 7, 0x8f]].concat();
        let mapped = [&[0; 10][..], &[0xff, 0xff], &TCP4[..4], &[0; 16], &TCP4[8..]].concat();
        let with_more = [TCP4, &[4, 0, 5, 1, 2, 3, 4, 5]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 1935\r\n".to_vec(), Some("192.0.2.7:12345")),
            (b"PROXY TCP6 2001:db8::1 ::1 12345 1935\r\n".to_vec(), Some("[2001:db8::1]:12345")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 12345 1935\r\n".to_vec(), Some("192.0.2.7:12345")),
            (v2(1, 0x21, &mapped), Some("192.0.2.7:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2(1, 0x11, TCP4), Some("192.0.2.7:12345")),
            (v2(1, 0x11, &with_more), Some("192.0.2.7:12345")),
            (v2(1, 0x21, &v6), Some("[2001:db8::1]:12345")),
            (v2(0, 0, &[]), None),
            (v2(0, 0x11, TCP4), None),
        ] {
            let (read, rest) = read_all(&[&header[..], b"\x03rest"].concat()).await;
            let expected: Option<SocketAddr> = expected.map(|address| address.parse().unwrap());
            assert_eq!((read.unwrap(), rest), (expected, 5), "{header:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_an_error_in_words_and_bounded_in_length() {
        for (bytes, words) in [
            (vec![3; 2000], "has to begin with a PROXY header"),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "has to begin with"),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 nonsense 1935\r\n".to_vec(), "malformed"),
            (b"PROXY TCP4 192.0.2.7\r\n".to_vec(), "malformed"),
            ([&b"PROXY TCP4 "[..], &[b'1'; 500]].concat(), "more than 107"),
            (v2(9, 0x11, TCP4), "malformed"),
            (v2(1, 0x11, &TCP4[..4]), "malformed"),
            (v2(1, 0x11, &[0; 4000]), "at most 2048"),
            (b"PROXY TCP4 192".to_vec(), "PROXY header"),
            (v2(1, 0x11, TCP4)[..20].to_vec(), "PROXY header"),
        ] {
            let (read, _) = read_all(&bytes).await;
            let error = read.unwrap_err();
            assert!(error.to_string().contains(words), "{words}: {error}");
        }
    }

    #[test]
    fn proxies_are_addresses_and_networks_mapped_ones_too() {
        let networks = ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1/32"].map(|text| text.parse().unwrap());
        let proxies = Proxies::new(&networks);
        for (peer, expected) in [
            ("10.9.8.7", true),
            ("::ffff:10.9.8.7", true),
            ("11.0.0.1", false),
            ("2001:db8::7", true),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::1", false),
        ] {
            assert_eq!(proxies.contain(peer.parse().unwrap()), expected, "{peer}");
        }
        assert!(!Proxies::default().contain("127.0.0.1".parse().unwrap()));
    }
}
