//! The book of cases: what an encoder or a player sends, how the service answers, and what follows, here and at nginx-rtmp.
//!
//! Where it says nothing else, nginx-rtmp does the same. Of each end the service is told, and of nothing that was refused.

use super::service::Says::{self, Big, Book, Ends, Last, Raw, Reply, Silence, Stays, To};

/// A row of the table.
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) at: At,
    pub(super) asks: Asks,
    pub(super) says: Says,
    /// At our server, and at nginx-rtmp where `beside` does not say otherwise.
    pub(super) verdict: Verdict,
    pub(super) beside: Beside,
}

/// How the servers are told of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Fields in the body.
    Post,
    /// Fields in the URL.
    Get,
    /// Connections are asked about, too.
    Connect,
    /// Both.
    ConnectGet,
    /// The servers listen on IPv6.
    V6,
    /// Where the service should be there is nobody.
    Nobody,
    /// The same, and `when_away = "allow"`.
    NobodyAllow,
    /// By TLS.
    Https,
    /// By TLS, with a certificate that nobody is told to trust.
    HttpsUnknown,
}

/// The settings of rows, in the order that they are gone through.
pub(super) const ALL: [At; 8] = [Post, Get, Connect, V6, Nobody, NobodyAllow, Https, HttpsUnknown];

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asks {
    /// To publish this in the app `live`.
    Publish(&'static str),
    /// To publish in an app that has a query.
    PublishIn(&'static str, &'static str),
    /// To publish while somebody does already, with the same.
    PublishAgain(&'static str),
    /// ffmpeg publishes this.
    Ffmpeg(&'static str),
    /// To play this; `live/room` is on air.
    Play(&'static str),
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is published, or played, by this name.
    As(&'static str),
    Refused,
}

/// What nginx-rtmp does.
pub(super) enum Beside {
    Same,
    /// Something else, for this reason.
    Differs(Verdict, &'static str),
    /// Nothing: it has no such thing.
    Cannot(&'static str),
}

const fn case(what: &'static str, at: At, asks: Asks, says: Says, verdict: Verdict) -> Case {
    Case { what, at, asks, says, verdict, beside: Beside::Same }
}

impl Case {
    const fn nginx(mut self, verdict: Verdict, reason: &'static str) -> Self {
        self.beside = Beside::Differs(verdict, reason);
        self
    }

    const fn no_nginx(mut self, reason: &'static str) -> Self {
        self.beside = Beside::Cannot(reason);
        self
    }

    /// What nginx-rtmp does, where it can do that at all.
    pub(super) fn verdict_of_nginx(&self) -> Option<Verdict> {
        match self.beside {
            Beside::Same => Some(self.verdict),
            Beside::Differs(verdict, _) => Some(verdict),
            Beside::Cannot(_) => None,
        }
    }

    /// Why nginx-rtmp does something else, or nothing.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self.beside {
            Beside::Same => None,
            Beside::Differs(_, reason) | Beside::Cannot(reason) => Some(reason),
        }
    }
}

use Asks::{Ffmpeg, Play, Publish, PublishAgain, PublishIn};
use At::{Connect, Get, Https, HttpsUnknown, Nobody, NobodyAllow, Post, V6};
use Verdict::{As, Refused};

const OK: Says = Reply("200 OK", "", "");
const NO: Says = Reply("403 Forbidden", "", "");

/// A reply that is JSON.
const fn json(body: &'static str) -> Says {
    Reply("200 OK", "Content-Type: application/json\r\n", body)
}

/// A redirect.
const fn to(location: &'static str) -> Says {
    Reply("302 Found", location, "")
}

// Reasons that several rows have.
const FIRST_DIGIT: &str = "it looks at the first digit of the status only";
const NO_BODY: &str = "it reads no body";
const VERBATIM: &str = "it sends a client's fields as they are, and behind its own";
const NO_TLS: &str = "it has no https";

/// All of them.
#[rustfmt::skip]
pub(super) const CASES: &[Case] = &[
    // Keys.
    case("the right key, for a name", Post, Publish("k-alice"), Book, As("live/alice")),
    case("the right key, by ffmpeg", Post, Ffmpeg("k-alice"), Book, As("live/alice")),
    case("the right key beside the name", Post, Publish("alice?key=k-alice"), Book, As("live/alice")),
    case("the right key behind a colon", Post, Publish("alice:k-alice"), Book, As("live/alice")).nginx(Refused, "a colon is a letter of its names"),
    case("a wrong key", Post, Publish("k-eve"), Book, Refused),
    case("a wrong key, by ffmpeg", Post, Ffmpeg("k-eve"), Book, Refused),
    case("a wrong key beside the name", Post, Publish("alice?key=k-bob"), Book, Refused),
    case("a key beside another name", Post, Publish("bob?key=k-alice"), Book, Refused),
    case("the public name without a key", Post, Publish("alice"), Book, Refused),
    case("no name", Post, Publish(""), Book, Refused),
    case("an expired key", Post, Publish("k-expired"), Book, Refused),
    case("a blocked key", Post, Publish("k-blocked"), Book, Refused),
    case("the old key after a rotation", Post, Publish("k-old"), Book, As("live/bob")),
    case("the new key after a rotation", Post, Publish("k-new"), Book, As("live/bob")),
    case("a key in use", Post, PublishAgain("k-alice"), Book, Refused),
    // Statuses.
    case("200", Post, Publish("a"), OK, As("live/a")),
    case("201", Post, Publish("a"), Reply("201 Created", "", ""), As("live/a")),
    case("204", Post, Publish("a"), Raw("HTTP/1.1 204 No Content\r\n\r\n"), As("live/a")),
    case("299", Post, Publish("a"), Reply("299 Odd", "", ""), As("live/a")),
    case("400", Post, Publish("a"), Reply("400 Bad Request", "", ""), Refused),
    case("401", Post, Publish("a"), Reply("401 Unauthorized", "", ""), Refused),
    case("403", Post, Publish("a"), NO, Refused),
    case("404", Post, Publish("a"), Reply("404 Not Found", "", ""), Refused),
    case("500", Post, Publish("a"), Reply("500 Oops", "", ""), Refused),
    case("503", Post, Publish("a"), Reply("503 Busy", "", ""), Refused),
    // Redirects.
    case("301 to a name", Post, Publish("k"), Reply("301 Moved", "Location: carol\r\n", ""), As("live/carol")),
    case("302 to a name", Post, Publish("k"), to("Location: carol\r\n"), As("live/carol")),
    case("303 to a name", Post, Publish("k"), Reply("303 See Other", "Location: carol\r\n", ""), As("live/carol")),
    case("307 to a name", Post, Publish("k"), Reply("307 Temporary", "Location: carol\r\n", ""), As("live/carol")),
    case("a header in other letters", Post, Publish("k"), to("LOCATION:   carol\r\n"), As("live/carol")),
    case("a redirect of a name with fields", Post, Publish("k?x=1"), to("Location: carol\r\n"), As("live/carol")),
    case("a redirect to a name with fields", Post, Publish("k"), to("Location: carol?x=1\r\n"), As("live/carol")).nginx(As("live/carol?x=1"), "nobody can play that: a player's name ends at the question mark"),
    case("a redirect to another app", Post, Publish("k"), to("Location: other/carol\r\n"), As("other/carol")).nginx(As("live/other/carol"), "a slash is a letter of its names"),
    case("a redirect to nowhere", Post, Publish("k"), to(""), Refused).nginx(As("live/k"), "it fails open, and the key is the public name"),
    case("a redirect to a page", Post, Publish("k"), to("Location: http://h/x\r\n"), Refused).nginx(As("live/http://h/x"), "nobody can play that"),
    case("a redirect to a server", Post, Publish("pushed"), to("Location: rtmp://PUSH/live/copy\r\n"), As("live/pushed")),
    case("a redirect to a path", Post, Publish("k"), to("Location: /carol\r\n"), Refused).nginx(As("live//carol"), "a slash is a letter of its names"),
    // Forms of answers.
    case("HTTP/1.0", Post, Publish("a"), Raw("HTTP/1.0 200 OK\r\n\r\nyes"), As("live/a")),
    case("HTTP/1.0 that redirects, with short ends of lines", Post, Publish("k"), Raw("HTTP/1.0 302 Found\nLocation: carol\n\n"), As("live/carol")),
    case("a body in chunks", Post, Publish("a"), Raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), As("live/a")),
    case("100 before 200", Post, Publish("a"), Raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), As("live/a")).nginx(Refused, "it takes the first status for the last"),
    // What is no answer.
    case("nobody there", Nobody, Publish("a"), OK, Refused),
    case("nobody there, who is away lets in", NobodyAllow, Publish("a"), OK, As("live/a")).no_nginx("it refuses in any case"),
    case("silence", Post, Publish("a"), Silence, Refused),
    case("an answer, and the connection stays", Post, Publish("a"), Stays("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), As("live/a")),
    case("a close without an answer", Post, Publish("a"), Raw(""), Refused),
    case("half a status", Post, Publish("a"), Raw("HTTP/1.1 "), Refused),
    case("half a head", Post, Publish("a"), Raw("HTTP/1.1 200 OK\r\nContent-Le"), Refused).nginx(As("live/a"), FIRST_DIGIT),
    case("half a body", Post, Publish("a"), Raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Refused).nginx(As("live/a"), FIRST_DIGIT),
    case("another protocol", Post, Publish("a"), Raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Refused),
    case("another protocol with a 2", Post, Publish("a"), Raw("SSH-9.0-x2\r\n\r\n"), Refused).nginx(As("live/a"), FIRST_DIGIT),
    case("a body", Post, Publish("a"), Reply("200 OK", "Content-Type: text/html\r\n", "<p>yes"), As("live/a")),
    case("a big body", Post, Publish("a"), Big(4_000), As("live/a")),
    case("too big a body", Post, Publish("a"), Big(1_000_000), Refused).nginx(As("live/a"), NO_BODY),
    // What the service sees.
    case("a client's own name", Post, Publish("eve?name=alice"), Last("name", "alice"), Refused).nginx(As("live/eve"), VERBATIM),
    case("a client's own address", Post, Publish("eve?addr=10.0.0.1"), Last("addr", "10.0.0.1"), Refused).nginx(As("live/eve"), VERBATIM),
    case("a client's own app", Post, Publish("eve?x=1&app=vip"), Last("app", "vip"), Refused).nginx(As("live/eve"), VERBATIM),
    case("a client's own name, encoded", Post, Publish("eve?n%61me=alice"), Last("name", "alice"), Refused).nginx(As("live/eve"), VERBATIM),
    case("a client's own name, in capitals", Post, Publish("eve?NAME=alice"), Last("name", "alice"), Refused).nginx(As("live/eve"), VERBATIM),
    case("a client's own name behind a plus", Post, Publish("eve?+name=alice"), Last("name", "alice"), Refused).nginx(As("live/eve"), VERBATIM),
    case("a client's own name as a list", Post, Publish("eve?name[]=alice"), Last("name", "alice"), Refused).nginx(As("live/eve"), VERBATIM),
    case("a client's own name behind a semicolon", Post, Publish("eve?a=1;name=alice"), Last("name", "alice"), Refused).nginx(As("live/eve"), VERBATIM),
    case("fields go as they are", Post, Publish("a?t=x%20y+z&b=2;c=3&d&e=%E2%82%AC"), Ends("t=x%20y+z&b=2;c=3&d&e=%E2%82%AC"), As("live/a")),
    case("a field of a client", Post, Publish("a?token=x%26y"), Last("token", "x&y"), As("live/a")),
    case("a name beyond ASCII", Post, Publish("größe-東京"), Last("name", "größe-東京"), As("live/größe-東京")),
    case("a name with marks", Post, Publish("cam-1.main_2~x"), Last("name", "cam-1.main_2~x"), As("live/cam-1.main_2~x")),
    case("an address of IPv4", Post, Publish("a"), Last("call", "publish"), As("live/a")),
    case("an address of IPv6", V6, Publish("a"), Last("addr", "::1"), As("live/a")),
    case("by GET, yes", Get, Publish("a?x=1"), Ends("name=a&type=live&x=1"), As("live/a")),
    case("by GET, a key", Get, Publish("k-alice"), Book, As("live/alice")),
    case("by GET, no", Get, Publish("a"), NO, Refused),
    case("an app's fields", Post, PublishIn("live?token=t", "a"), Last("token", "t"), As("live/a")).nginx(Refused, "it sends them with connect only; some encoders have no other place for them"),
    // Players.
    case("a player who may", Post, Play("room?ticket=1"), Last("ticket", "1"), As("live/room")),
    case("a player who may not", Post, Play("room?ticket=2"), Last("ticket", "1"), Refused),
    case("a player led to a name", Post, Play("k"), to("Location: room\r\n"), As("live/room")),
    case("a player while the service is broken", Post, Play("room"), Reply("500 Oops", "", ""), Refused),
    case("a player led to a server", Post, Play("pulled"), to("Location: rtmp://PUSH/live/copy\r\n"), As("live/pulled")),
    // Connections.
    case("a connection that may", Connect, PublishIn("live?token=t", "a"), To("connect", &Last("token", "t")), As("live/a")),
    case("a connection that may not", Connect, PublishIn("live?token=x", "a"), To("connect", &Last("token", "t")), Refused),
    case("a connection with Adobe's authmod", Connect, PublishIn("live?authmod=adobe&user=u", "a"), To("connect", &Last("authmod", "adobe")), As("live/a")),
    case("a connection led to an app", Connect, Publish("a"), To("connect", &to("Location: other\r\n")), As("other/a")),
    case("a connection led nowhere", Connect, Publish("a"), To("connect", &to("")), Refused).nginx(As("live/a"), "it fails open"),
    case("a connection, and what it publishes not", Connect, Publish("a"), To("publish", &NO), Refused),
    // What nginx-rtmp does not have.
    case("JSON names the stream", Post, Publish("k"), json(r#"{"stream": "dora"}"#), As("live/dora")).nginx(As("live/k"), NO_BODY),
    case("JSON says no", Post, Publish("k"), json(r#"{"verdict": "deny", "reason": "not before noon"}"#), Refused).nginx(As("live/k"), NO_BODY),
    case("JSON that is none", Post, Publish("k"), json("{"), Refused).nginx(As("live/k"), NO_BODY),
    case("a field of JSON that cannot be", Post, Publish("k"), json(r#"{"max_viewers": "many"}"#), Refused).nginx(As("live/k"), NO_BODY),
    case("https", Https, Publish("a"), OK, As("live/a")).no_nginx(NO_TLS),
    case("https, and nobody vouches for it", HttpsUnknown, Publish("a"), OK, Refused).no_nginx(NO_TLS),
];
