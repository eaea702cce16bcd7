//! Who may see what the engine tells of itself, and who may change something: by token, by password, or by address.
//!
//! Whoever has a token is known by it, from wherever he asks, and so is a browser by the cookie that it has been given for the
//! password. Addresses alone tell less than they seem to: a proxy on this machine asks from it for strangers, and a page of another
//! site makes a browser ask that is near us. So an address counts only where nothing shows that somebody else is behind it.

use super::Asker;
use super::header;
use super::reply::{self, Reply};
use super::routes::is_of_api;
use crate::config::{HttpConfig, HttpRole, HttpTokenConfig, site};
use crate::status::Protocol;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, REFERER,
    USER_AGENT, VARY, VIA, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{StatusCode, Version};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What proxies send with what they bring, beside that.
const OF_PROXIES: [HeaderName; 5] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-host"),
    FORWARDED_PROTO,
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
    /// His address is good for less.
    LessByAddress,
    /// The page of a site asks that is not listed.
    OtherSite,
}

/// By what somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Address,
    Token,
    Password,
}

impl By {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Token => "token",
            Self::Password => "password",
        }
    }
}

/// Somebody who is known.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) role: HttpRole,
    pub(super) by: By,
    /// Of a token.
    pub(super) name: Option<String>,
}

impl Denied {
    /// The status of the reply; where one can be known by more than one's address, it asks for that.
    pub(super) fn status(self, asker: &Asker) -> StatusCode {
        let asks = match self {
            Self::WrongToken => true,
            Self::Stranger | Self::LessByAddress => {
                !asker.core.config().http.token.is_empty() || asker.core.login.has_password()
            }
            Self::NotThisRole | Self::OtherSite => false,
        };
        if asks { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN }
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
            Self::Stranger | Self::LessByAddress => {
                "this is for who has logged in (http.password), for the addresses of http.stat_allow and http.control_allow, and for \
                 whoever has a token ([[http.token]]); what comes through a proxy, or asks for this server by a name that is not in \
                 http.hosts, has no address that counts"
            }
            Self::WrongToken => "this token is none that the server knows ([[http.token]])",
            Self::NotThisRole => "this token is good for looking only (its role is \"viewer\")",
            Self::OtherSite => "a page of another site asks, which is not in http.control_origins",
        })
    }
}

/// Whether somebody may do by a request what needs this role: the one that he has.
pub(super) fn check(asker: &Asker, request: &Parts, needed: HttpRole) -> Result<HttpRole, Denied> {
    let known = who(asker, request)?.ok_or(Denied::Stranger)?;
    if known.role < needed {
        return Err(match known.by {
            By::Address => Denied::LessByAddress,
            By::Token | By::Password => Denied::NotThisRole,
        });
    }
    // No page has a token that nobody has given it; the rest a browser sends by itself.
    let is_sent_by_itself = known.by != By::Token;
    match needed == HttpRole::Admin
        && is_sent_by_itself
        && is_caused_by_other_site(&asker.core.config().http, request)
    {
        true => Err(Denied::OtherSite),
        false => Ok(known.role),
    }
}

/// Who asks, as far as that is known, and what he may.
pub(super) fn who(asker: &Asker, request: &Parts) -> Result<Option<Known>, Denied> {
    let config = &asker.core.config().http;
    if !is_own_or_listed(config, request) {
        return Err(Denied::OtherSite);
    }
    if let Some(token) = request.headers.get(AUTHORIZATION) {
        let known =
            token.to_str().ok().and_then(|token| token_of(config, token)).ok_or(Denied::WrongToken)?;
        return Ok(Some(Known { role: known.role, by: By::Token, name: Some(known.name.clone()) }));
    }
    if is_logged_in(asker, request) {
        return Ok(Some(Known { role: HttpRole::Admin, by: By::Password, name: None }));
    }
    let by_address = |role| Known { role, by: By::Address, name: None };
    Ok(role_of_address(asker, request).map(by_address))
}

/// What the address that asks is good for.
fn role_of_address(asker: &Asker, request: &Parts) -> Option<HttpRole> {
    let config = &asker.core.config().http;
    let address = known_address(config, asker.peer.ip(), request)?;
    let is_among = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
    // Before there is a password, who is at the machine sets it. That a page of another site has him do so is out of the question.
    let may_begin = || {
        config.local_admin
            && address.is_loopback()
            && is_of_api(request.uri.path())
            && !asker.core.login.has_password()
            && !is_caused_by_other_site(config, request)
    };
    if is_among(&config.control_allow) || may_begin() {
        return Some(HttpRole::Admin);
    }
    is_among(&config.stat_allow).then_some(HttpRole::Viewer)
}

/// Whether a change by somebody who need not be known is asked for by no page of another site.
pub(super) fn check_site(asker: &Asker, request: &Parts) -> Result<(), Denied> {
    let config = &asker.core.config().http;
    match is_own_or_listed(config, request) && !is_caused_by_other_site(config, request) {
        true => Ok(()),
        false => Err(Denied::OtherSite),
    }
}

/// How a browser comes here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Over TLS, which may end at a proxy that is trusted.
    Encrypted,
    /// From this machine.
    Local,
    /// As everybody can read it.
    Plain,
}

impl Way {
    pub(super) fn of(asker: &Asker, request: &Parts) -> Self {
        let (config, peer) = (&asker.core.config().http, asker.peer.ip().to_canonical());
        let is_of_proxy =
            peer.is_loopback() || config.trusted_proxies.iter().any(|network| network.contains(&peer));
        let is_brought_over_tls = || {
            text(request, &FORWARDED_PROTO).is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
        };
        match asker.protocol {
            Protocol::Https => Self::Encrypted,
            _ if is_of_proxy && is_brought_over_tls() => Self::Encrypted,
            _ if peer.is_loopback() && !is_brought(request) => Self::Local,
            _ => Self::Plain,
        }
    }

    /// What the cookie of a session is called. By this prefix browsers know one that nobody without TLS can have set (RFC 6265bis, 4.1.3.2).
    pub(super) fn cookie(self) -> &'static str {
        match self {
            Self::Encrypted => "__Host-streamengine",
            Self::Local | Self::Plain => "streamengine",
        }
    }
}

/// The values of the cookies that may be of a session: pages beside us can have set some of the same name.
pub(super) fn cookies<'a>(asker: &Asker, request: &'a Parts) -> impl Iterator<Item = &'a str> {
    let name = Way::of(asker, request).cookie();
    let lines = request.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter_map(move |(of, value)| (of == name).then_some(value))
}

fn is_logged_in(asker: &Asker, request: &Parts) -> bool {
    cookies(asker, request).any(|cookie| asker.core.login.knows(cookie))
}

/// The address by which it is counted how often somebody tries: what a trusted proxy tells, else the one that asks.
pub(super) fn counted_address(asker: &Asker, request: &Parts) -> IpAddr {
    let (config, peer) = (&asker.core.config().http, asker.peer.ip());
    told_by_proxies(config, peer.to_canonical(), request).unwrap_or(peer)
}

/// What the reply to a page of a listed site has besides: that the page may read it.
pub(super) fn allow_origin(config: &HttpConfig, request: &Parts, reply: &mut Reply) {
    let listed = text(request, &ORIGIN).and_then(site).filter(|site| config.control_origins.contains(site));
    if let Some(origin) = listed.and_then(|_| request.headers.get(ORIGIN)) {
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    reply.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
}

/// The token of an `Authorization` header, where it is known.
fn token_of<'a>(config: &'a HttpConfig, header: &str) -> Option<&'a HttpTokenConfig> {
    let (scheme, token) = header.split_once(' ')?;
    let known = config.token.iter().find(|known| known.sha256.is_of(token.trim()))?;
    scheme.eq_ignore_ascii_case("bearer").then_some(known)
}

/// Whether nothing shows that somebody else is behind the address that asks.
pub(super) fn is_itself(config: &HttpConfig, peer: IpAddr, request: &Parts) -> bool {
    known_address(config, peer, request) == Some(peer.to_canonical())
}

/// Whether a proxy says that it brings this.
fn is_brought(request: &Parts) -> bool {
    OF_PROXIES.iter().chain([&FORWARDED_FOR]).any(|name| request.headers.contains_key(name))
}

/// The address that asks; none where something shows that somebody else may be behind it.
fn known_address(config: &HttpConfig, peer: IpAddr, request: &Parts) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    let address = match is_brought(request) {
        true => told_by_proxies(config, peer, request)?,
        // nginx, where it is told nothing else, asks so for others, and says nothing of them.
        false if request.version < Version::HTTP_11 => return None,
        false => peer,
    };
    names_us(config, request, address.is_loopback()).then_some(address)
}

/// The address for which trusted proxies ask, as they tell it.
fn told_by_proxies(config: &HttpConfig, peer: IpAddr, request: &Parts) -> Option<IpAddr> {
    let is_proxy = |address: &IpAddr| config.trusted_proxies.iter().any(|network| network.contains(address));
    if !is_proxy(&peer) {
        return None;
    }
    let last = told_addresses(request)?.into_iter().rev().find(|address| !is_proxy(address));
    // A proxy tells nothing of who is on its own machine that we could check.
    last.filter(|address| !address.is_loopback())
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
