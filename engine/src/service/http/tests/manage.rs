//! What is for those who manage the engine: who gets it, and that no more is told than should be.

use super::*;
use crate::SessionId;
use crate::config::{HttpRole, HttpTokenConfig, TokenHash};
use crate::service::http::body::Body;
use crate::service::http::manage::answer;
use crate::service::http::request::{Answer, Answers};
use crate::service::http::routes::ManageUrl;
use crate::statistics::Facts;
use http_body_util::BodyExt;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use std::net::IpAddr;

const VIEWER: (&str, &str) = ("authorization", "Bearer a-viewers-token");
const ADMIN: (&str, &str) = ("authorization", "bearer an-admins-token");
const WRONG: (&str, &str) = ("authorization", "Bearer guessed");
const HERE: &str = "127.0.0.1";
const LAN: &str = "10.0.0.7";
const FAR: &str = "192.0.2.7";
const PROXY: &str = "10.9.0.1";
const DROP: &str = "/control/drop/subscriber?app=live&name=nobody";

fn managed() -> Arc<Core> {
    core(|config| {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let http = &mut config.http;
        http.stat_allow = networks(&["127.0.0.0/8", "::1/128", "10.0.0.0/16", "198.51.100.0/24"]);
        http.control_allow = networks(&["127.0.0.0/8", "::1/128", "10.0.0.7/32", "198.51.100.7/32"]);
        http.trusted_proxies = networks(&["10.9.0.0/16"]);
        http.control_origins = vec!["http://monitor.example:9991".to_owned()];
        http.hosts = vec!["live.example".to_owned()];
        http.token = vec![
            HttpTokenConfig::new("viewer", HttpRole::Viewer, TokenHash::of("a-viewers-token")),
            HttpTokenConfig::new("admin", HttpRole::Admin, TokenHash::of("an-admins-token")),
        ];
    })
}

pub(super) fn parts(method: Method, version: Version, target: &str, headers: &[(&str, &str)]) -> Parts {
    let request = Request::builder().method(method).uri(target).version(version);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap().into_parts().0
}

pub(super) async fn ask(core: &Arc<Core>, peer: &str, request: &Parts) -> (StatusCode, HeaderMap, String) {
    let peer = (peer.parse::<IpAddr>().unwrap(), 4000).into();
    let answers = Answers::new(Asker { core: core.clone(), peer, protocol: Protocol::Http, places: None });
    let Answer::Reply(reply) = answers.answer(request, Body::Nothing).await else { panic!("a stream") };
    let (head, body) = reply.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

/// Who asks from where in which way for what, and the status of the reply.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);

/// By GET of HTTP/1.1 where the target has no method before it; the second column is `Host`.
const ACCESS: &[Case<'_>] = &[
    // By address: this machine, asked by its own names only.
    (HERE, "127.0.0.1:8080", &[], "/stat", 200),
    (HERE, "localhost:8080", &[], "/stat", 200),
    (HERE, "LOCALHOST", &[], "/stat.xml", 200),
    (HERE, "localhost.", &[], "/metrics", 200),
    ("::1", "[::1]:8080", &[], "/stat", 200),
    ("::ffff:127.0.0.1", "127.0.0.1", &[], "/metrics", 200),
    (HERE, "localhost:8080", &[], "HEAD /stat", 200),
    (HERE, "localhost:8080", &[], DROP, 200),
    (HERE, "localhost:8080", &[], "POST /control/drop/subscriber?app=live", 200),
    // A name that another site may have given to our address.
    (HERE, "evil.example", &[], "/stat", 401),
    (HERE, "evil.example:8080", &[], DROP, 401),
    (HERE, "live.example", &[], "/stat", 401),
    (HERE, "198.51.100.1", &[], "/stat", 401),
    (HERE, "127.0.0.1.evil.example", &[], "/stat", 401),
    (HERE, "", &[], "/stat", 401),
    (LAN, "evil.example", &[], "/stat", 401),
    // A proxy on this machine.
    (HERE, "localhost", &[("x-forwarded-for", FAR)], "/stat", 401),
    (HERE, "localhost", &[("x-forwarded-for", HERE)], "/stat", 401),
    (HERE, "localhost", &[("forwarded", "for=127.0.0.1")], "/metrics", 401),
    (HERE, "localhost", &[("via", "1.1 proxy")], "/stat", 401),
    (HERE, "localhost", &[("x-real-ip", FAR)], "/stat", 401),
    (HERE, "localhost", &[("x-forwarded-proto", "https")], "/stat", 401),
    (HERE, "localhost", &[("x-forwarded-host", "live.example")], DROP, 401),
    (HERE, "localhost", &[], "HTTP/1.0 /stat", 401),
    (HERE, "localhost", &[], "HTTP/1.0 /control/drop/publisher", 401),
    // Others by address.
    (LAN, "10.0.0.1:8080", &[], "/stat", 200),
    (LAN, "live.example", &[], "/stat", 200),
    (LAN, "live.example:8080", &[], DROP, 200),
    ("10.0.0.8", "10.0.0.1", &[], "/stat", 200),
    ("10.0.0.8", "10.0.0.1", &[], DROP, 401),
    (FAR, "live.example", &[], "/stat", 401),
    (FAR, "localhost", &[], "/stat", 401),
    (FAR, "localhost", &[("x-forwarded-for", HERE)], "/stat", 401),
    // Proxies that are trusted tell who asks, and nobody before them does.
    (PROXY, "live.example", &[("x-forwarded-for", "198.51.100.7")], "/stat", 200),
    (PROXY, "live.example", &[("x-forwarded-for", "198.51.100.7")], DROP, 200),
    (PROXY, "live.example", &[("x-forwarded-for", "198.51.100.8")], DROP, 401),
    (PROXY, "live.example", &[("x-forwarded-for", "198.51.100.7, 192.0.2.7")], "/stat", 401),
    (PROXY, "live.example", &[("x-forwarded-for", "192.0.2.7, 198.51.100.7, 10.9.0.2")], "/stat", 200),
    (
        PROXY,
        "live.example",
        &[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "198.51.100.7")],
        "/stat",
        200,
    ),
    (PROXY, "live.example", &[("x-forwarded-for", "unknown, 198.51.100.7")], "/stat", 401),
    (PROXY, "localhost", &[("x-forwarded-for", HERE)], "/stat", 401),
    (PROXY, "live.example", &[("x-forwarded-for", FAR)], "/stat", 401),
    (PROXY, "live.example", &[("forwarded", "for=198.51.100.7")], "/stat", 401),
    (PROXY, "10.9.0.9", &[], "/stat", 401),
    // By token, from wherever.
    (FAR, "any.example", &[VIEWER], "/stat", 200),
    (FAR, "any.example", &[VIEWER], "/metrics", 200),
    (FAR, "any.example", &[VIEWER], DROP, 403),
    (HERE, "localhost", &[VIEWER], DROP, 403),
    (FAR, "any.example", &[ADMIN], "/stat", 200),
    (FAR, "any.example", &[ADMIN], DROP, 200),
    (FAR, "any.example", &[ADMIN, ("x-forwarded-for", FAR)], "HTTP/1.0 /stat", 200),
    (HERE, "localhost", &[WRONG], "/stat", 401),
    (FAR, "any.example", &[("authorization", "Basic YTphLXZpZXdlcnMtdG9rZW4=")], "/stat", 401),
    (FAR, "any.example", &[("authorization", "Bearer")], "/stat", 401),
    (FAR, "any.example", &[("authorization", "Basic a-viewers-token")], "/stat", 401),
    // Pages of other sites.
    (HERE, "localhost", &[("origin", "http://evil.example")], "/stat", 403),
    (HERE, "localhost", &[("origin", "null")], DROP, 403),
    (HERE, "localhost", &[("origin", "http://localhost")], DROP, 200),
    (HERE, "localhost:8080", &[("origin", "http://localhost:9000")], DROP, 403),
    (
        LAN,
        "10.0.0.1",
        &[("origin", "http://monitor.example:9991"), ("sec-fetch-site", "cross-site")],
        DROP,
        200,
    ),
    (LAN, "10.0.0.1", &[("origin", "http://monitor.example:9991")], "/stat", 200),
    (FAR, "any.example", &[ADMIN, ("origin", "http://evil.example")], DROP, 403),
    (FAR, "any.example", &[ADMIN, ("origin", "http://monitor.example:9991")], DROP, 200),
    (HERE, "localhost", &[("sec-fetch-site", "cross-site")], DROP, 403),
    (HERE, "localhost", &[("sec-fetch-site", "same-site")], DROP, 403),
    (HERE, "localhost", &[("sec-fetch-site", "none"), ("user-agent", "Mozilla/5.0")], DROP, 200),
    (HERE, "localhost", &[("sec-fetch-site", "same-origin")], DROP, 200),
    (LAN, "10.0.0.1", &[("referer", "http://evil.example/x")], DROP, 403),
    (LAN, "10.0.0.1", &[("referer", "http://10.0.0.1/stat")], DROP, 200),
    (LAN, "10.0.0.1", &[("user-agent", "Mozilla/5.0")], DROP, 403),
    (LAN, "10.0.0.1", &[("user-agent", "Mozilla/5.0")], "/stat", 200),
    // The API, as the others; how it is by itself, everybody may know.
    (HERE, "localhost:8080", &[], "/api/v1/streams", 200),
    (HERE, "localhost:8080", &[], "HEAD /api/v1/streams", 200),
    (HERE, "evil.example", &[], "/api/v1/streams", 401),
    (HERE, "localhost", &[("x-forwarded-for", FAR)], "/api/v1/sessions", 401),
    (HERE, "localhost", &[("origin", "http://evil.example")], "/api/v1/version", 403),
    (LAN, "10.0.0.1", &[("origin", "http://monitor.example:9991")], "/api/v1/summary", 200),
    (FAR, "any.example", &[], "/api/v1/relays", 401),
    (FAR, "any.example", &[VIEWER], "/api/v1/relays", 200),
    (FAR, "any.example", &[], "/api/v1/recorded-files", 401),
    (FAR, "any.example", &[VIEWER], "/api/v1/recorded-files?limit=two", 400),
    (HERE, "localhost", &[("origin", "http://evil.example")], "/api/v1/recorded-files", 403),
    (HERE, "localhost", &[], "POST /api/v1/recorded-files", 405),
    (FAR, "any.example", &[ADMIN], "/api/v1/origins", 200),
    (FAR, "any.example", &[WRONG], "/api/v1/files", 401),
    (FAR, "any.example", &[], "/api/v1/health", 200),
    (
        HERE,
        "localhost",
        &[("x-forwarded-for", FAR), ("origin", "http://evil.example")],
        "/api/v1/health",
        200,
    ),
    (HERE, "localhost", &[], "POST /api/v1/streams", 405),
    (FAR, "any.example", &[], "OPTIONS /api/v1/streams", 204),
    // Changes, as /control; what is let in has no body.
    (HERE, "localhost", &[], "POST /api/v1/relays/push", 400),
    (HERE, "evil.example", &[], "POST /api/v1/relays/push", 401),
    (HERE, "localhost", &[("via", "1.1 proxy")], "POST /api/v1/files", 401),
    (HERE, "localhost", &[("origin", "http://evil.example")], "PUT /api/v1/config", 403),
    (HERE, "localhost", &[("origin", "http://localhost")], "PUT /api/v1/config", 400),
    (HERE, "localhost", &[("sec-fetch-site", "cross-site")], "PUT /api/v1/origins/a", 403),
    (LAN, "10.0.0.1", &[("referer", "http://evil.example/x")], "POST /api/v1/files", 403),
    (LAN, "10.0.0.1", &[("user-agent", "Mozilla/5.0")], "POST /api/v1/files", 403),
    (LAN, "10.0.0.1", &[], "POST /api/v1/files", 400),
    ("10.0.0.8", "10.0.0.1", &[], "POST /api/v1/files", 401),
    ("10.0.0.8", "10.0.0.1", &[], "/api/v1/files", 200),
    (LAN, "10.0.0.1", &[("origin", "http://monitor.example:9991")], "POST /api/v1/files", 400),
    (FAR, "any.example", &[VIEWER], "POST /api/v1/files", 403),
    (FAR, "any.example", &[VIEWER], "DELETE /api/v1/relays/7", 403),
    (FAR, "any.example", &[ADMIN], "POST /api/v1/files", 400),
    (FAR, "any.example", &[ADMIN, ("origin", "http://evil.example")], "PUT /api/v1/config", 403),
    (FAR, "any.example", &[], "/api/v1/events", 401),
    (HERE, "localhost", &[], "/api/v1/nothing", 404),
    (HERE, "localhost", &[], "/api/", 404),
    // Methods.
    (HERE, "localhost", &[], "POST /stat", 405),
    (HERE, "localhost", &[], "DELETE /control/drop/publisher", 405),
    (HERE, "localhost", &[], "HEAD /control/drop/publisher", 405),
    (FAR, "any.example", &[], "OPTIONS /control/drop/publisher", 204),
    // What it does not have.
    (HERE, "localhost", &[], "/control/drop/everybody", 500),
    (HERE, "localhost", &[], "/control/drop/publisher?srv=7", 500),
    (HERE, "localhost", &[], "/control/redirect/subscriber?app=live", 500),
    (HERE, "localhost", &[], "/control/redirect/publisher?newname=b", 501),
    (HERE, "localhost", &[], "/control/record/pause", 500),
    (HERE, "localhost", &[], "/control/other/thing", 404),
    (HERE, "localhost", &[], "/control", 404),
];

#[tokio::test]
async fn who_may_see_and_change_what_is_as_the_table_says() {
    let core = managed();
    assert!(ACCESS.len() >= 60);
    let mut wrong = Vec::new();
    for (peer, host, headers, target, expected) in ACCESS {
        let (how, target) = target.rsplit_once(' ').unwrap_or(("", *target));
        let (method, version) = match how {
            "HTTP/1.0" => (Method::GET, Version::HTTP_10),
            "" => (Method::GET, Version::HTTP_11),
            method => (method.parse().unwrap(), Version::HTTP_11),
        };
        let all = [&[("host", *host)][..], *headers].concat();
        let (status, replied, text) = ask(&core, peer, &parts(method, version, target, &all)).await;
        let allows_origin = replied.get("access-control-allow-origin");
        let is_listed = headers.contains(&("origin", "http://monitor.example:9991"));
        let is_managed = !matches!(*expected, 404);
        if status != *expected || (is_managed && allows_origin.is_some() != is_listed) {
            wrong.push(format!(
                "{peer} {host:?} {headers:?} {how} {target}: {status}, {allows_origin:?}, {text:?}"
            ));
        }
        if is_managed {
            assert!(replied["x-content-type-options"] == "nosniff" && replied["cache-control"] == "no-store");
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// Whether a password is set, then as above; the cookie `SESSION` stands for one of a session.
type LoginCase<'a> = (bool, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);

const SESSION: (&str, &str) = ("cookie", "a=b; SESSION; c=d");
const NO_SESSION: (&str, &str) =
    ("cookie", "streamengine=0000000000000000000000000000000000000000000000000000000000000000");
/// What is let in has no body.
const CHANGE: &str = "POST /api/v1/files";

/// Without settings but a token of each role. Nothing opens from another machine before there is a password.
const LOGIN: &[LoginCase<'_>] = &[
    // The first visit: this machine may do all by the API, asked by its own names, and nobody else may.
    (false, HERE, "localhost:8080", &[], "/api/v1/streams", 200),
    (false, HERE, "localhost:8080", &[], CHANGE, 400),
    (false, HERE, "127.0.0.1:8080", &[], "PUT /api/v1/password", 400),
    (
        false,
        "::1",
        "[::1]:8080",
        &[("origin", "http://[::1]:8080"), ("sec-fetch-site", "same-origin")],
        CHANGE,
        400,
    ),
    (false, HERE, "localhost:8080", &[], DROP, 401),
    (false, HERE, "evil.example", &[], CHANGE, 401),
    (false, HERE, "live.example", &[], "/api/v1/config", 401),
    (false, HERE, "localhost", &[("x-forwarded-for", FAR)], CHANGE, 401),
    (false, HERE, "localhost", &[("x-forwarded-for", HERE)], CHANGE, 401),
    (false, HERE, "localhost", &[("via", "1.1 proxy")], "PUT /api/v1/password", 401),
    (false, HERE, "localhost", &[("x-real-ip", FAR)], CHANGE, 401),
    (false, HERE, "localhost", &[("forwarded", "for=127.0.0.1")], CHANGE, 401),
    (false, HERE, "localhost", &[("origin", "http://evil.example")], CHANGE, 403),
    (false, HERE, "localhost", &[("origin", "null")], CHANGE, 403),
    (false, HERE, "localhost:8080", &[("origin", "http://localhost:9000")], CHANGE, 403),
    (false, HERE, "localhost", &[("sec-fetch-site", "cross-site")], CHANGE, 401),
    (false, HERE, "localhost", &[("sec-fetch-site", "same-site")], CHANGE, 401),
    (false, HERE, "localhost", &[("referer", "http://evil.example/")], CHANGE, 401),
    (false, HERE, "localhost", &[("user-agent", "Mozilla/5.0")], CHANGE, 401),
    (false, HERE, "localhost", &[("sec-fetch-site", "none"), ("user-agent", "Mozilla/5.0")], CHANGE, 400),
    (false, HERE, "localhost", &[NO_SESSION], CHANGE, 400),
    (false, LAN, "10.0.0.1", &[], "/api/v1/streams", 401),
    (false, LAN, "10.0.0.1", &[], CHANGE, 401),
    (false, LAN, "localhost", &[], "PUT /api/v1/password", 401),
    (false, FAR, "localhost", &[], CHANGE, 401),
    (false, FAR, "localhost", &[("x-forwarded-for", HERE)], CHANGE, 401),
    (false, PROXY, "localhost", &[("x-forwarded-for", HERE)], CHANGE, 401),
    (false, PROXY, "live.example", &[("x-forwarded-for", FAR)], CHANGE, 401),
    (false, FAR, "live.example", &[NO_SESSION], "/api/v1/streams", 401),
    (false, FAR, "live.example", &[], "POST /api/v1/session", 400),
    (false, FAR, "live.example", &[], "/api/v1/session", 200),
    // With a password, this machine is one that may look, as http.stat_allow says.
    (true, HERE, "localhost:8080", &[], "/api/v1/streams", 200),
    (true, HERE, "localhost:8080", &[], CHANGE, 401),
    (true, HERE, "localhost:8080", &[], "PUT /api/v1/password", 401),
    (true, HERE, "localhost:8080", &[], "GET /api/v1/session", 200),
    (true, HERE, "localhost", &[("x-forwarded-for", FAR)], "/api/v1/streams", 401),
    (true, FAR, "live.example", &[], "/api/v1/streams", 401),
    // Who has logged in is known from wherever, and by whatever name.
    (true, HERE, "localhost:8080", &[SESSION], CHANGE, 400),
    (true, FAR, "live.example", &[SESSION], "/api/v1/streams", 200),
    (true, FAR, "any.example", &[SESSION], CHANGE, 400),
    (true, FAR, "any.example", &[SESSION], "/stat", 200),
    (true, FAR, "any.example", &[SESSION], DROP, 200),
    (true, FAR, "any.example", &[SESSION, ("x-forwarded-for", FAR)], CHANGE, 400),
    (
        true,
        FAR,
        "any.example",
        &[SESSION, ("origin", "http://any.example"), ("sec-fetch-site", "same-origin")],
        CHANGE,
        400,
    ),
    (true, FAR, "any.example", &[NO_SESSION, SESSION], CHANGE, 400),
    (true, FAR, "any.example", &[NO_SESSION], CHANGE, 401),
    (
        true,
        FAR,
        "any.example",
        &[("cookie", "streamengine="), ("cookie", "streamengine")],
        "/api/v1/streams",
        401,
    ),
    // No page of another site has it do so.
    (true, FAR, "any.example", &[SESSION, ("origin", "http://evil.example")], "/api/v1/streams", 403),
    (true, FAR, "any.example", &[SESSION, ("origin", "http://any.example:9000")], CHANGE, 403),
    (true, FAR, "any.example", &[SESSION, ("origin", "null")], CHANGE, 403),
    (true, FAR, "any.example", &[SESSION, ("sec-fetch-site", "same-site")], CHANGE, 403),
    (true, FAR, "any.example", &[SESSION, ("sec-fetch-site", "cross-site")], DROP, 403),
    (true, FAR, "any.example", &[SESSION, ("referer", "http://evil.example/x")], DROP, 403),
    (true, FAR, "any.example", &[SESSION, ("user-agent", "Mozilla/5.0")], DROP, 403),
    (true, FAR, "any.example", &[("origin", "http://evil.example")], "POST /api/v1/session", 403),
    (true, FAR, "any.example", &[("sec-fetch-site", "cross-site")], "POST /api/v1/session", 403),
    (true, FAR, "any.example", &[SESSION, ("origin", "http://evil.example")], "DELETE /api/v1/session", 403),
    (true, FAR, "any.example", &[SESSION, ("sec-fetch-site", "same-site")], "DELETE /api/v1/session", 403),
    // A token counts for what it is, whatever comes with it.
    (true, FAR, "any.example", &[SESSION, VIEWER], CHANGE, 403),
    (true, FAR, "any.example", &[SESSION, WRONG], "/api/v1/streams", 401),
    (true, FAR, "any.example", &[ADMIN], "PUT /api/v1/password", 400),
    // Whoever wants to leave, may.
    (true, FAR, "any.example", &[], "DELETE /api/v1/session", 204),
    (false, FAR, "any.example", &[NO_SESSION], "DELETE /api/v1/session", 204),
];

#[tokio::test]
async fn who_may_do_what_before_there_is_a_password_and_then_is_as_the_table_says() {
    let settings = |config: &mut Config| {
        let of = managed().config().clone();
        (config.http.token, config.http.trusted_proxies) = (of.http.token, of.http.trusted_proxies);
        config.http.local_admin = true;
    };
    let mut wrong = Vec::new();
    for (has_password, peer, host, headers, target, expected) in LOGIN {
        let core = core(settings);
        let session = if *has_password { super::login::session(&core).await } else { String::new() };
        let (method, target) = target.split_once(' ').unwrap_or(("GET", *target));
        let all = [&[("host", *host)][..], *headers].concat();
        let all: Vec<_> =
            all.iter().map(|(name, value)| (*name, value.replace("SESSION", &session))).collect();
        let all: Vec<_> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request = parts(method.parse().unwrap(), Version::HTTP_11, target, &all);
        let (status, replied, text) = ask(&core, peer, &request).await;
        if status != *expected {
            wrong.push(format!(
                "{has_password} {peer} {host} {headers:?} {method} {target}: {status}, {text:?}"
            ));
        }
        assert!(!replied.contains_key("access-control-allow-origin"));
        let policy = replied["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn a_first_visit_that_is_not_wanted_is_not_there() {
    let core = core(|_| ());
    let request = |target: &str| parts(Method::POST, Version::HTTP_11, target, &[("host", "localhost")]);
    assert_eq!(ask(&core, HERE, &request("/api/v1/files")).await.0, 403);
}

#[tokio::test]
async fn without_settings_this_machine_sees_statistics_and_nobody_changes_anything() {
    let core = core(|_| ());
    for (peer, host, target, expected) in [
        (HERE, "localhost", "/stat", 200),
        (HERE, "localhost", "/metrics", 200),
        (HERE, "localhost", DROP, 403),
        (FAR, "localhost", "/stat", 403),
        (FAR, "192.0.2.1", "/metrics", 403),
        (FAR, "192.0.2.1", DROP, 403),
    ] {
        let request = parts(Method::GET, Version::HTTP_11, target, &[("host", host)]);
        let (status, _, text) = ask(&core, peer, &request).await;
        assert_eq!(status, expected, "{peer} {target}: {text}");
        assert!(expected != 403 || text.contains("http.stat_allow"), "{text}");
    }
}

#[tokio::test]
async fn with_http_2_the_authority_is_what_is_asked() {
    let core = managed();
    for (authority, expected) in [("localhost:8443", 200), ("evil.example", 401)] {
        let request = parts(Method::GET, Version::HTTP_2, &format!("https://{authority}/stat"), &[]);
        assert_eq!(ask(&core, HERE, &request).await.0, expected, "{authority}");
    }
}

#[tokio::test]
async fn however_many_ask_a_form_is_made_once_for_each_snapshot() {
    let core = core(|_| ());
    let published = publish(&core, "live/a");
    let asker = Asker {
        core: core.clone(),
        peer: ([127, 0, 0, 1], 4000).into(),
        protocol: Protocol::Http,
        places: None,
    };
    for (target, url) in
        [("/stat", ManageUrl::Stat), ("/stat?format=json", ManageUrl::Stat), ("/metrics", ManageUrl::Metrics)]
    {
        let request = parts(Method::GET, Version::HTTP_11, target, &[("host", "localhost")]);
        let body =
            async || answer(&asker, &request, url).await.into_body().collect().await.unwrap().to_bytes();
        core.statistics.note(Facts { streams: core.hub.streams(), ..Facts::default() });
        let first = body().await;
        for _ in 0..100 {
            assert_eq!(body().await.as_ptr(), first.as_ptr(), "{target}");
        }
        core.statistics.note(Facts { streams: core.hub.streams(), ..Facts::default() });
        assert_ne!(body().await.as_ptr(), first.as_ptr(), "{target}");
    }
    drop(published);
}

#[tokio::test]
async fn load_balancers_learn_that_the_engine_drains() {
    let core = core(|_| ());
    let health = parts(Method::GET, Version::HTTP_11, "/api/v1/health", &[("host", "any.example")]);
    assert_eq!(ask(&core, FAR, &health).await.0, 200);
    core.draining.cancel();
    let (status, _, text) = ask(&core, FAR, &health).await;
    assert_eq!((status.as_u16(), text.as_str()), (503, r#"{"status":"draining"}"#));
}

#[tokio::test]
async fn what_is_dropped_is_what_the_query_names() {
    let core = managed();
    let _published = ["live/a", "live/b", "other/a"].map(|name| publish(&core, name));
    let mut players = Vec::new();
    for path in ["/live/a.flv", "/live/a.flv", "/live/b.flv", "/other/a.flv"] {
        let mut io = open(&core);
        io.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
        read_head(&mut io).await;
        players.push(io);
    }
    let drop = async |target: &str| {
        let target = format!("/control/drop/{target}");
        let request = parts(Method::GET, Version::HTTP_11, &target, &[("host", "localhost")]);
        let (status, _, text) = ask(&core, HERE, &request).await;
        assert_eq!(status, 200, "{target}");
        text
    };
    let newest = core.sessions.list().last().unwrap().id;
    assert_eq!(drop("subscriber?app=live&name=nothing").await, "0");
    assert_eq!(drop("subscriber?addr=192.0.2.8").await, "0");
    assert_eq!(drop(&format!("client?app=live&clientid={newest}")).await, "0", "it plays in another app");
    assert_eq!(drop(&format!("client?clientid={newest}")).await, "1");
    assert_eq!(drop("subscriber?app=live&name=%61&addr=192.0.2.7").await, "2");
    assert_eq!(drop("publisher?app=live&name=b").await, "1", "the program's own");
    assert!(core.hub.stream(&key("live/b")).is_none_or(|stream| stream.publisher.is_none()));
    assert_eq!(drop("publisher").await, "2");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_keep_up_with_events_is_told_how_many_he_has_lost_and_goes_on() {
    let core = managed();
    let mut io = open_with(&core, 1024);
    io.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer a-viewers-token\r\n\r\n")
        .await
        .unwrap();
    assert!(read_head(&mut io).await.contains("content-type: text/event-stream"));
    read_chunk(&mut io).await;
    let emit = |session: u64| {
        let peer = ([192, 0, 2, 7], 4000).into();
        core.events.emit(Event::SessionClosed {
            session: SessionId(session),
            peer,
            reason: "<b>".to_owned(),
        });
    };
    (0..10_000).for_each(emit);
    let mut told = 0;
    let lost = loop {
        let chunk = String::from_utf8(read_chunk(&mut io).await).unwrap();
        let (_, data) = chunk.split_once("data: ").unwrap();
        assert!(!data.contains('<'), "{data}");
        match chunk.contains("event: lagged") {
            true => break serde_json::from_str::<serde_json::Value>(data).unwrap()["lost"].as_u64().unwrap(),
            false => told += 1,
        }
    };
    assert!(lost > 5_000, "{lost} after {told}");
    let next = String::from_utf8(read_chunk(&mut io).await).unwrap();
    assert!(next.contains(&format!("\"session\":{}", told + lost)), "{next}");
    // A line for proxies, where nothing else has come for long.
    for _ in told + lost + 1..10_000 {
        read_chunk(&mut io).await;
    }
    assert_eq!(read_chunk(&mut io).await, b":\n\n");
}
