//! Who may see what the engine tells of itself, and who may change something: by token, or by address.
//!
//! Whoever has a token is known by it, from wherever he asks. Addresses alone tell less than they seem to: a proxy on this machine
//! asks from it for strangers, and a page of another site makes a browser ask that is near us. So an address counts only where
//! nothing shows that somebody else is behind it.

use super::header;
use super::reply::{self, Reply};
use crate::config::{HttpConfig, HttpRole, site};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN, REFERER, USER_AGENT,
    VARY, VIA, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{StatusCode, Version};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What proxies send with what they bring, beside that.
const OF_PROXIES: [HeaderName; 5] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    VIA,
];
/// From where a browser asks, as it says itself (Fetch Metadata, W3C).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// Nothing says that he may.
    Stranger,
    /// He has shown a token that is none.
    WrongToken,
    /// His token is good for less.
    NotThisRole,
    /// The page of a site asks that is not listed.
    OtherSite,
}

impl Denied {
    /// The status of the reply; where there are tokens, it asks for one.
    pub(super) fn status(self, config: &HttpConfig) -> StatusCode {
        let asks_for_token = match self {
            Self::WrongToken => true,
            Self::Stranger => !config.token.is_empty(),
            Self::NotThisRole | Self::OtherSite => false,
        };
        if asks_for_token { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN }
    }

    /// The reply in words, with this status.
    pub(super) fn reply(self, status: StatusCode) -> Reply {
        let mut reply = reply::told(status, reply::TEXT, format!("{self}\n").into());
        if status == StatusCode::UNAUTHORIZED {
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        reply
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stranger => {
                "this is for the addresses of http.stat_allow and http.control_allow, and for whoever has a token \
                 ([[http.token]]); what comes through a proxy, or asks for this server by a name that is not in http.hosts, has no \
                 address that counts"
            }
            Self::WrongToken => "this token is none that the server knows ([[http.token]])",
            Self::NotThisRole => "this token is good for looking only (its role is \"viewer\")",
            Self::OtherSite => "a page of another site asks, which is not in http.control_origins",
        })
    }
}

/// Whether somebody at `peer` may do by a request what needs this role.
pub(super) fn check(
    config: &HttpConfig,
    peer: IpAddr,
    request: &Parts,
    needed: HttpRole,
) -> Result<(), Denied> {
    if !is_own_or_listed(config, request) {
        return Err(Denied::OtherSite);
    }
    if let Some(token) = request.headers.get(AUTHORIZATION) {
        let known = token.to_str().ok().and_then(|token| role_of(config, token));
        let role = known.ok_or(Denied::WrongToken)?;
        return if role >= needed { Ok(()) } else { Err(Denied::NotThisRole) };
    }
    let allowed = match needed {
        HttpRole::Viewer => &config.stat_allow,
        HttpRole::Admin => &config.control_allow,
    };
    if !is_known_by_address(config, peer, request, allowed) {
        return Err(Denied::Stranger);
    }
    match needed == HttpRole::Admin && is_caused_by_other_site(config, request) {
        true => Err(Denied::OtherSite),
        false => Ok(()),
    }
}

/// What the reply to a page of a listed site has besides: that the page may read it.
pub(super) fn allow_origin(config: &HttpConfig, request: &Parts, reply: &mut Reply) {
    let listed = text(request, &ORIGIN).and_then(site).filter(|site| config.control_origins.contains(site));
    if let Some(origin) = listed.and_then(|_| request.headers.get(ORIGIN)) {
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    reply.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
}

/// What the token of an `Authorization` header is good for.
fn role_of(config: &HttpConfig, header: &str) -> Option<HttpRole> {
    let (scheme, token) = header.split_once(' ')?;
    let known = config.token.iter().find(|known| known.sha256.is_of(token.trim()))?;
    scheme.eq_ignore_ascii_case("bearer").then_some(known.role)
}

/// Whether the address that asks is among the `allowed`, and nothing shows that somebody else is behind it.
fn is_known_by_address(config: &HttpConfig, peer: IpAddr, request: &Parts, allowed: &[IpNet]) -> bool {
    let address = address_of(config, peer, request);
    address.is_some_and(|address| {
        is_among(allowed, &address) && names_us(config, request, address.is_loopback())
    })
}

/// Whether nothing shows that somebody else is behind the address that asks.
pub(super) fn is_itself(config: &HttpConfig, peer: IpAddr, request: &Parts) -> bool {
    let peer = peer.to_canonical();
    address_of(config, peer, request) == Some(peer) && names_us(config, request, peer.is_loopback())
}

fn is_among(networks: &[IpNet], address: &IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// The address of who asks, where that can be told.
fn address_of(config: &HttpConfig, peer: IpAddr, request: &Parts) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    let is_brought = OF_PROXIES.iter().chain([&FORWARDED_FOR]).any(|name| request.headers.contains_key(name));
    match (is_brought, is_among(&config.trusted_proxies, &peer)) {
        (true, true) => {
            let told = told_addresses(request).map(|told| {
                told.into_iter().rev().find(|address| !is_among(&config.trusted_proxies, address))
            });
            // A proxy tells nothing of who is on its own machine that we could check.
            told.flatten().filter(|address| !address.is_loopback())
        }
        (true, false) => None,
        // nginx, where it is told nothing else, asks so for others, and says nothing of them.
        (false, _) if request.version < Version::HTTP_11 => None,
        (false, _) => Some(peer),
    }
}

/// The addresses that a request has come through, the last one last; none where one of them is not to be understood.
fn told_addresses(request: &Parts) -> Option<Vec<IpAddr>> {
    let lines = request.headers.get_all(FORWARDED_FOR).iter();
    let texts: Vec<_> = lines.map(HeaderValue::to_str).collect::<Result<_, _>>().ok()?;
    let addresses = texts.iter().flat_map(|text| text.split(',')).map(|text| text.trim().parse::<IpAddr>());
    addresses.map(|address| Some(address.ok()?.to_canonical())).collect()
}

/// Whether a request names the server in a way that no other site can have led to: from this machine by this machine's own names
/// only, as a proxy on it passes on what it is called itself.
fn names_us(config: &HttpConfig, request: &Parts, is_loopback: bool) -> bool {
    let of_header = || text(request, &HOST).map(str::parse::<Authority>);
    let authorities = [request.uri.authority().cloned().map(Ok), of_header()];
    let mut named = authorities.into_iter().flatten().peekable();
    let is_name = |authority: Result<Authority, _>| {
        let Ok(authority) = authority else { return false };
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => !is_loopback || address.to_canonical().is_loopback(),
            Err(_) => host == "localhost" || !is_loopback && config.hosts.contains(&host),
        }
    };
    named.peek().is_some() && named.all(is_name)
}

/// Whether a page that says of what site it is is of this server, or of a listed site. What comes without is of no page.
fn is_own_or_listed(config: &HttpConfig, request: &Parts) -> bool {
    is_own_or_among(&config.control_origins, request)
}

/// Whether a page that publishes is of this server, or of a site that may. What comes without a site is of no page.
pub(super) fn may_publish(config: &HttpConfig, request: &Parts) -> bool {
    is_own_or_among(&config.publish_origins, request)
}

fn is_own_or_among(sites: &[String], request: &Parts) -> bool {
    if !request.headers.contains_key(ORIGIN) {
        return true;
    }
    let Some(site) = text(request, &ORIGIN).and_then(site) else { return false };
    sites.contains(&site) || is_own(request, &site)
}

/// Whether a site is what the request asks.
fn is_own(request: &Parts, of_page: &str) -> bool {
    let asked = request.uri.authority().map(Authority::as_str).or(text(request, &HOST));
    let of_scheme = |scheme| asked.and_then(|asked| site(&format!("{scheme}://{asked}")));
    ["http", "https"].into_iter().filter_map(of_scheme).any(|own| own == of_page)
}

/// Whether a browser asks because a page of another site has led it here, or may have: an image or a link is enough for that.
fn is_caused_by_other_site(config: &HttpConfig, request: &Parts) -> bool {
    // Pages can have it say nothing of where it comes from, where the connection is not encrypted.
    let tells = [&ORIGIN, &FETCH_SITE, &REFERER].into_iter().any(|name| request.headers.contains_key(name));
    if !tells && text(request, &USER_AGENT).is_some_and(|agent| agent.starts_with("Mozilla/")) {
        return true;
    }
    let is_listed = text(request, &ORIGIN).is_some();
    let is_foreign = text(request, &FETCH_SITE).is_some_and(|from| !matches!(from, "same-origin" | "none"));
    let referer = text(request, &REFERER).map(|page| {
        let end = page.match_indices('/').nth(2).map_or(page.len(), |(at, _)| at);
        site(page.get(..end).unwrap_or_default())
    });
    let is_of_other_page = referer.is_some_and(|page| {
        page.is_none_or(|page| !config.control_origins.contains(&page) && !is_own(request, &page))
    });
    // A page that has been found to be listed says so in `Origin`.
    (is_foreign && !is_listed) || is_of_other_page
}

fn text<'a>(request: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    header::text(&request.headers, name)
}
