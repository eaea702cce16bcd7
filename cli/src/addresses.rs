//! The URLs that a server is reached by: what a newcomer can paste.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use streamengine::{ListenerInfo, Protocol, PublishRule};

/// What stands for the name of a stream.
const NAME: &str = "NAME";

/// Where to publish to and to play from, for people; `app` is one that the server has. With `asks` encoders need user and password.
pub(crate) fn welcome(listeners: &[ListenerInfo], rule: &PublishRule, asks: bool, app: &str) -> String {
    let places = |protocols| places(listeners, protocols, &own_address);
    let (pages, places) =
        (places([Protocol::Http, Protocol::Https]), places([Protocol::Rtmp, Protocol::Rtmps]));
    let url = |place: &Place| format!("{}/{app}/{NAME}", place.base);
    let secret = if matches!(rule, PublishRule::Key(_)) && !asks { "?key=KEY" } else { "" };
    let user = if asks { "://USER:PASSWORD@" } else { "://" };
    let to_publish = |place: &Place| url(place).replacen("://", user, 1) + secret;
    let may_publish = |place: &&Place| *rule != PublishRule::Loopback || place.is_loopback;
    let doors: Vec<_> = places.iter().filter(may_publish).collect();
    let mut text = "\n".to_owned();
    list(&mut text, "Publish to", doors.iter().map(|place| to_publish(place)));
    match (rule, doors.first()) {
        (PublishRule::Loopback, Some(_)) => {
            text.push_str(
                "            from this machine only; --publish-key KEY or --open lets others publish\n",
            );
        }
        (_, None) => text.push_str(
            "Publish     by 127.0.0.1 only, where nothing listens; --publish-key KEY or --open lets others publish\n",
        ),
        _ => {}
    }
    list(&mut text, "Play from", places.iter().map(url));
    list(&mut text, "Browser", pages.iter().map(|place| format!("{}/play/{app}/{NAME}", place.base)));
    if let Some(place) = doors.first() {
        // Writing to a string cannot fail.
        let authentication = if asks { ", Use authentication with USER and PASSWORD" } else { "" };
        let _ = writeln!(
            text,
            "In OBS      Server {}/{app}, Stream Key {NAME}{secret}{authentication}",
            place.base
        );
    }
    text.push_str("Ctrl-C      ends the server\n\n");
    text
}

fn list(text: &mut String, what: &str, urls: impl Iterator<Item = String>) {
    for (index, url) in urls.enumerate() {
        let what = if index == 0 { what } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{what:<10}  {url}");
    }
}

#[derive(Debug, PartialEq)]
struct Place {
    /// `rtmp://host[:port]`, or with `http` or another scheme.
    base: String,
    is_loopback: bool,
}

/// The places at which listeners for these protocols are reached, each once; `own` finds this machine's address in a
/// network.
fn places(
    listeners: &[ListenerInfo],
    protocols: [Protocol; 2],
    own: &dyn Fn(bool) -> Option<IpAddr>,
) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let is_meant = |listener: &&ListenerInfo| protocols.contains(&listener.protocol);
    for ListenerInfo { protocol, address, .. } in listeners.iter().filter(is_meant) {
        for (host, is_loopback) in hosts(*protocol, *address, own) {
            let usual = match protocol {
                Protocol::Http => 80,
                _ if protocol.is_tls() => 443,
                _ => 1935,
            };
            let scheme = protocol.as_str();
            let port = if address.port() == usual { String::new() } else { format!(":{}", address.port()) };
            let place = Place { base: format!("{scheme}://{host}{port}"), is_loopback };
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// The hosts of an address that was bound. Those of TLS are names that the certificate has to carry.
fn hosts(
    protocol: Protocol,
    address: SocketAddr,
    own: &dyn Fn(bool) -> Option<IpAddr>,
) -> Vec<(String, bool)> {
    let ip = address.ip();
    let named = |ip: IpAddr| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
    match () {
        () if protocol.is_tls() && !ip.is_loopback() => vec![("HOST".to_owned(), false)],
        () if !ip.is_unspecified() => vec![(named(ip), ip.is_loopback())],
        () => {
            let outside = own(ip.is_ipv6()).map(|ip| (named(ip), false));
            std::iter::once(("localhost".to_owned(), true)).chain(outside).collect()
        }
    }
}

/// This machine's address on the way to others. Nothing is sent: connecting a UDP socket only looks the way up.
pub(crate) fn own_address(is_ipv6: bool) -> Option<IpAddr> {
    // Addresses for documentation, which nobody has.
    let (any, outside): (IpAddr, IpAddr) = match is_ipv6 {
        false => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        true => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((outside, 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts_of(protocol: Protocol, address: &str) -> Vec<String> {
        let own = |is_ipv6: bool| Some(if is_ipv6 { "2001:db8::7" } else { "192.0.2.7" }.parse().unwrap());
        hosts(protocol, address.parse().unwrap(), &own).into_iter().map(|(host, _)| host).collect()
    }

    #[test]
    fn an_address_that_means_any_is_told_as_those_that_can_be_pasted() {
        for (address, told) in [
            ("0.0.0.0:1935", &["localhost", "192.0.2.7"][..]),
            ("[::]:1935", &["localhost", "[2001:db8::7]"]),
            ("127.0.0.1:1935", &["127.0.0.1"]),
            ("192.0.2.9:1935", &["192.0.2.9"]),
            ("[2001:db8::9]:1935", &["[2001:db8::9]"]),
        ] {
            assert_eq!(hosts_of(Protocol::Rtmp, address), told, "{address}");
        }
        assert_eq!(hosts_of(Protocol::Rtmps, "0.0.0.0:443"), ["HOST"], "the certificate says its name");
    }
}
