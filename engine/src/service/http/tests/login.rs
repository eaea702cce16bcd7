//! Logging in: what it takes, what a browser is given for it, and what that opens.

use super::h2::Client;
use super::*;
use crate::key::Secret;
use crate::service::http::tests::manage::{ask, parts};
use crate::testing::cheap_hash;
use hyper::{Method, Version};
use serde_json::{Value, json};
use std::net::IpAddr;

const PASSWORD: &str = "right & ***";
const HERE: &str = "127.0.0.1";
const FAR: &str = "192.0.2.7";

/// A core that has a password.
fn guarded(change: impl FnOnce(&mut Config)) -> Arc<Core> {
    let core = core(|config| {
        config.http.password = Some(Secret::new(cheap_hash(PASSWORD)));
        change(config);
    });
    core.login.put(core.login.read(&core.config().http).unwrap());
    core
}

/// Sets a password, and logs in: the cookie.
pub(super) async fn session(core: &Arc<Core>) -> String {
    let hash = crate::config::HttpConfig::default().password(Secret::new(cheap_hash(PASSWORD)));
    core.login.put(core.login.read(&hash).unwrap());
    let cookie = core.login.begin([192, 0, 2, 1].into(), Secret::new(PASSWORD), 10).await.unwrap();
    format!("streamengine={}", cookie.expose())
}

/// Who asks, and how.
#[derive(Clone, Copy)]
struct Browser<'a> {
    core: &'a Arc<Core>,
    peer: &'a str,
    protocol: Protocol,
    headers: &'a str,
}

/// What came of it.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(known, value)| (known == name).then_some(value))
    }

    /// The cookie that is given, and what is said of it.
    fn cookie(&self) -> (&str, &str) {
        self.header("set-cookie").unwrap_or_else(|| panic!("{self:?}")).split_once("; ").unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl<'a> Browser<'a> {
    fn at(core: &'a Arc<Core>, peer: &'a str) -> Self {
        Self { core, peer, protocol: Protocol::Http, headers: "Host: localhost\r\n" }
    }

    fn open(&self) -> DuplexStream {
        let (ours, theirs) = duplex(PIPE);
        let peer = (self.peer.parse::<IpAddr>().unwrap(), 4000).into();
        let asker = Asker { core: self.core.clone(), peer, protocol: self.protocol, places: None };
        tokio::spawn(async move { Requests::new(asker, None).serve(ours).await.is_none() });
        theirs
    }

    fn head(&self, method: &str, path: &str, more: &str) -> String {
        format!("{method} /api/v1{path} HTTP/1.1\r\n{}{more}", self.headers)
    }

    async fn send(&self, method: &str, path: &str, cookie: Option<&str>, body: Option<Value>) -> Answer {
        let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let content = match body.len() {
            0 => String::new(),
            len => format!("Content-Type: application/json\r\nContent-Length: {len}\r\n"),
        };
        let mut io = self.open();
        let head = self.head(method, path, &format!("Connection: close\r\n{cookie}{content}\r\n"));
        io.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut reply = String::new();
        io.read_to_string(&mut reply).await.unwrap();
        let (head, text) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {reply}"));
        Answer { status: head[9..12].parse().unwrap(), head: head.to_owned(), text: text.to_owned() }
    }

    async fn log_in(&self, password: &str) -> Answer {
        self.send("POST", "/session", None, Some(json!({ "password": password }))).await
    }
}

#[tokio::test]
async fn who_knows_the_password_gets_a_cookie_that_scripts_and_other_sites_do_not_and_may_do_all() {
    let core = guarded(|_| ());
    let browser = Browser::at(&core, HERE);
    let mine = browser.log_in(PASSWORD).await;
    assert_eq!((mine.status, mine.text.as_str()), (204, ""));
    let (cookie, about) = mine.cookie();
    assert_eq!(about, "HttpOnly; SameSite=Strict; Path=/; Max-Age=43200");
    assert!(cookie.starts_with("streamengine=") && cookie.len() == 13 + 64, "{cookie}");
    assert_ne!(browser.log_in(PASSWORD).await.cookie().0, cookie);
    let session = browser.send("GET", "/session", Some(cookie), None).await.json();
    let expected = json!({
        "role": "admin", "by": "password", "name": null, "password_set": true, "may_set_password": true,
        "password_kept": false, "version": env!("CARGO_PKG_VERSION"),
    });
    assert_eq!(session, expected);
    assert_eq!(browser.send("POST", "/files", Some(cookie), None).await.status, 400, "it is let in");
    let left = browser.send("DELETE", "/session", Some(cookie), None).await;
    assert_eq!((left.status, left.cookie().0), (204, "streamengine="));
    assert!(left.cookie().1.contains("Max-Age=0"), "{left:?}");
    assert_eq!(browser.send("POST", "/files", Some(cookie), None).await.status, 401);
    let session = browser.send("GET", "/session", Some(cookie), None).await.json();
    assert_eq!((&session["role"], &session["by"]), (&json!("viewer"), &json!("address")));
}

#[tokio::test]
async fn a_cookie_that_a_browser_brings_is_never_made_its_session() {
    let core = guarded(|_| ());
    let browser = Browser::at(&core, HERE);
    let brought = format!("streamengine={}", "ab".repeat(32));
    let body = Some(json!({ "password": PASSWORD }));
    let mine = browser.send("POST", "/session", Some(&brought), body).await;
    assert!(mine.status == 204 && mine.cookie().0 != brought, "{mine:?}");
    assert_eq!(browser.send("POST", "/files", Some(&brought), None).await.status, 401);
}

#[tokio::test]
async fn whatever_is_wrong_the_answer_is_the_same_and_after_ten_it_is_to_come_later() {
    let core = guarded(|_| ());
    let browser = Browser::at(&core, HERE);
    let mut answers = Vec::new();
    for wrong in ["", "right", "right & **", "RIGHT & ***", &"x".repeat(3_000)] {
        answers.push(browser.log_in(wrong).await);
    }
    let told = |answer: &Answer| (answer.status, answer.text.clone());
    assert!(answers.iter().all(|answer| told(answer) == told(&answers[0])), "{answers:?}");
    assert_eq!(answers[0].status, 401);
    assert!(answers.iter().all(|answer| answer.header("set-cookie").is_none()));
    for _ in 5..10 {
        assert_eq!(browser.log_in("wrong").await.status, 401);
    }
    let late = browser.log_in(PASSWORD).await;
    let seconds: u64 = late.header("retry-after").unwrap().parse().unwrap();
    assert!(late.status == 429 && (1..=6).contains(&seconds), "{late:?}");
    let other = Browser::at(&core, "127.0.0.2").log_in(PASSWORD).await;
    assert_eq!(other.status, 204);
    // What a body says is not told, nor why it says nothing.
    let third = Browser::at(&core, "127.0.0.3");
    let odd = third.send("POST", "/session", None, Some(json!({ "password": ["5ecret"] }))).await;
    assert!(odd.status == 400 && !odd.text.contains("5ecret"), "{odd:?}");
}

#[tokio::test]
async fn a_body_of_strangers_is_short() {
    let core = guarded(|_| ());
    let browser = Browser::at(&core, HERE);
    assert_eq!(browser.log_in(&"x".repeat(4 * 1024)).await.status, 413);
    assert_eq!(browser.log_in(&"x".repeat(4 * 1024 - 20)).await.status, 401);
}

#[tokio::test]
async fn without_a_password_nobody_logs_in_and_this_machine_sets_one() {
    let core = core(|config| config.http.local_admin = true);
    let (here, far) = (Browser::at(&core, HERE), Browser::at(&core, FAR));
    assert_eq!([here.log_in("").await.status, far.log_in("any").await.status], [409, 409]);
    let session = far.send("GET", "/session", None, None).await.json();
    assert_eq!((&session["role"], &session["password_set"]), (&Value::Null, &json!(false)));
    let session = here.send("GET", "/session", None, None).await.json();
    assert_eq!((&session["role"], &session["by"]), (&json!("admin"), &json!("address")));
    let set = async |browser: &Browser<'_>, cookie: Option<&str>, body: Value| {
        browser.send("PUT", "/password", cookie, Some(body)).await
    };
    assert_eq!(set(&far, None, json!({ "new": "of-a-stranger" })).await.status, 403);
    let short = set(&here, None, json!({ "new": "1234567" })).await;
    assert!(short.status == 422 && short.text.contains("8 characters"), "{short:?}");
    let first = set(&here, None, json!({ "new": "first-password" })).await;
    let cookie = first.cookie().0;
    assert_eq!(first.status, 204);
    assert_eq!(here.send("POST", "/files", None, None).await.status, 401, "the door is closed");
    assert_eq!(here.send("POST", "/files", Some(cookie), None).await.status, 400);
    assert_eq!(set(&here, Some(cookie), json!({ "new": "second-password" })).await.status, 400);
    let wrong = json!({ "new": "second-password", "current": "wrong" });
    assert_eq!(set(&here, Some(cookie), wrong).await.status, 403);
    let right = json!({ "new": "second-password", "current": "first-password" });
    let second = set(&here, Some(cookie), right).await;
    assert_eq!(here.send("POST", "/files", Some(cookie), None).await.status, 401);
    assert_eq!(here.send("POST", "/files", Some(second.cookie().0), None).await.status, 400);
    assert_eq!(here.log_in("first-password").await.status, 401);
    assert_eq!(here.log_in("second-password").await.status, 204);
}

#[tokio::test]
async fn a_password_goes_over_tls_from_other_machines_unless_that_is_allowed() {
    let core = guarded(|config| config.http.trusted_proxies = vec!["10.9.0.0/16".parse().unwrap()]);
    let plain = |peer| Browser::at(&core, peer);
    let refused = plain(FAR).log_in(PASSWORD).await;
    assert!(refused.status == 403 && refused.text.contains("HTTPS"), "{refused:?}");
    let of = |headers, peer| Browser { headers, ..plain(peer) };
    for (headers, peer, status) in [
        ("Host: h\r\nX-Forwarded-Proto: https\r\n", FAR, 403),
        ("Host: h\r\nX-Forwarded-For: 192.0.2.7\r\n", HERE, 403),
        ("Host: h\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n", "10.9.0.1", 403),
        ("Host: h\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n", "10.9.0.1", 204),
        ("Host: h\r\nX-Forwarded-Proto: https\r\n", HERE, 204),
    ] {
        let answer = of(headers, peer).log_in(PASSWORD).await;
        assert_eq!(answer.status, status, "{headers:?} {peer}: {answer:?}");
        let is_secure = answer.header("set-cookie").is_some_and(|cookie| cookie.contains("; Secure"));
        assert_eq!(is_secure, status == 204, "{headers:?} {peer}: {answer:?}");
    }
    let tls = Browser { protocol: Protocol::Https, ..plain(FAR) };
    let mine = tls.log_in(PASSWORD).await;
    let (cookie, about) = mine.cookie();
    assert_eq!(about, "HttpOnly; SameSite=Strict; Path=/; Max-Age=43200; Secure");
    assert!(cookie.starts_with("__Host-streamengine="), "{cookie}");
    assert_eq!(tls.send("POST", "/files", Some(cookie), None).await.status, 400);
    // What may have been set without TLS is none.
    let bare = cookie.trim_start_matches("__Host-");
    assert_eq!(tls.send("POST", "/files", Some(bare), None).await.status, 401);
    let allowed = guarded(|config| config.http.allow_plain_login = true);
    assert_eq!(Browser::at(&allowed, FAR).log_in(PASSWORD).await.status, 204);
}

#[tokio::test]
async fn who_asks_through_a_trusted_proxy_is_counted_by_his_own_address() {
    let core = guarded(|config| config.http.trusted_proxies = vec!["10.9.0.0/16".parse().unwrap()]);
    let of = |headers| Browser { headers, ..Browser::at(&core, "10.9.0.1") };
    let guessing = of("Host: h\r\nX-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Proto: https\r\n");
    for _ in 0..10 {
        assert_eq!(guessing.log_in("wrong").await.status, 401);
    }
    assert_eq!(guessing.log_in(PASSWORD).await.status, 429);
    let other = of("Host: h\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n");
    assert_eq!(other.log_in(PASSWORD).await.status, 204);
}

#[tokio::test]
async fn nothing_that_a_request_says_leads_to_another_site() {
    let core = guarded(|_| ());
    let headers = "Host: evil.example\r\nX-Forwarded-Host: evil.example\r\n";
    let browser = Browser { headers, protocol: Protocol::Https, ..Browser::at(&core, FAR) };
    for query in ["", "?next=http://evil.example/", "?redirect=//evil.example"] {
        let path = format!("/session{query}");
        for (method, body) in
            [("GET", None), ("POST", Some(json!({ "password": PASSWORD }))), ("DELETE", None)]
        {
            let answer = browser.send(method, &path, None, body).await;
            assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
            assert!(answer.header("location").is_none() && !answer.head.contains("evil"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn media_is_for_everybody_as_before_whatever_the_cookie() {
    let core = guarded(|_| ());
    let _published = publish(&core, "live/a");
    let cookie = session(&core).await;
    let mut replies = Vec::new();
    for cookie in ["", "streamengine=00", &cookie] {
        for path in ["/live/a.flv", "/play/live/a", "/streams", "/live/none.flv"] {
            let request = parts(Method::HEAD, Version::HTTP_11, path, &[("host", "h"), ("cookie", cookie)]);
            let (status, headers, _) = ask(&core, FAR, &request).await;
            assert!(!headers.contains_key("set-cookie"));
            replies.push((path, status));
        }
    }
    let (of_none, others) = replies.split_at(4);
    assert!(others.chunks(4).all(|of_cookie| of_cookie == of_none), "{replies:?}");
    assert_eq!(of_none[0].1, 200);
}

#[tokio::test(start_paused = true)]
async fn who_listens_to_events_hears_no_more_once_the_session_is_over() {
    for ends_by_password in [false, true] {
        let core = guarded(|_| ());
        let browser = Browser { protocol: Protocol::Https, ..Browser::at(&core, FAR) };
        let mine = browser.log_in(PASSWORD).await;
        let cookie = mine.cookie().0;
        let mut io = browser.open();
        let head = browser.head("GET", "/events", &format!("Cookie: {cookie}\r\n\r\n"));
        io.write_all(head.as_bytes()).await.unwrap();
        assert!(read_head(&mut io).await.starts_with("HTTP/1.1 200"));
        read_chunk(&mut io).await;
        // It goes on while it is used, and an hour is no end.
        for _ in 0..5_000 / 15 {
            assert_eq!(read_chunk(&mut io).await, b":\n\n");
        }
        match ends_by_password {
            true => {
                let body = json!({ "new": "second-password", "current": PASSWORD });
                assert_eq!(browser.send("PUT", "/password", Some(cookie), Some(body)).await.status, 204);
            }
            false => assert_eq!(browser.send("DELETE", "/session", Some(cookie), None).await.status, 204),
        }
        let since = Instant::now();
        while !read_chunk(&mut io).await.is_empty() {}
        assert!(since.elapsed() <= Duration::from_secs(2), "{:?}", since.elapsed());
    }
}

#[tokio::test]
async fn over_http_2_it_is_the_same() {
    let core = guarded(|_| ());
    let mut client = Client::open(&core).await;
    let body = json!({ "password": PASSWORD }).to_string();
    let response =
        client.send(Method::POST, "/api/v1/session", &[("content-type", "application/json")], &body);
    let response = response.await;
    assert_eq!(response.status(), 204);
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-streamengine="), "{cookie}");
    // A browser may send each cookie in a header of its own (RFC 9113, 8.2.3).
    let headers = [("cookie", "a=b"), ("cookie", cookie.as_str()), ("cookie", "c=d")];
    assert_eq!(client.send(Method::POST, "/api/v1/files", &headers, "").await.status(), 400);
    assert_eq!(client.send(Method::GET, "/api/v1/streams", &headers, "").await.status(), 200);
    assert_eq!(client.send(Method::DELETE, "/api/v1/session", &headers, "").await.status(), 204);
    assert_eq!(client.send(Method::GET, "/api/v1/streams", &headers, "").await.status(), 401);
}
