//! What mpegts.js does: FLV by HTTP and by WebSocket, as a page of another origin asks for it.

use super::arrival;
use super::report::{Client, Finding, Findings};
use crate::connection::{Trust, connect, words};
use bytes::{Buf, Bytes, BytesMut};
use futures_lite::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, LOCATION, ORIGIN,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use streamengine::media::flv::{FILE_HEADER_LEN, FileHeader, TAG_HEADER_LEN, TagHeader};
use streamengine::media::{Frame, FrameKind};
use streamengine::{HttpUrl, Printable};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

const MPEGTS: Client = Client::Mpegts;
streamengine::bound! {
    /// Most bytes of a stream that are looked at: its first seconds
    /// (test `a_reply_without_end_or_sense_is_left`).
    const MOST_BYTES: usize = 16 << 20, without usize::MAX;
    /// Largest message of a WebSocket, which is held as a whole (test `a_message_beyond_all_measure_is_refused`).
    const LARGEST_MESSAGE: usize = 8 << 20, without usize::MAX;
}
/// Frames that are enough to judge a stream by.
const ENOUGH: usize = 25;
/// The page that asks.
const PAGE: &str = "https://player.example";
/// What mpegts.js is made for.
const FLV: &str = "video/x-flv";
/// How far two times of frames that follow each other may be apart, in milliseconds: mpegts.js fills or drops what is beyond.
const GAP_MS: i64 = 5_000;

/// The reply to a request for a stream.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    flv: Flv,
}

/// FLV as far as it has come.
#[derive(Debug, Default)]
struct Flv {
    rest: BytesMut,
    taken: usize,
    header: Option<FileHeader>,
    frames: Vec<Frame>,
    /// What is wrong with it: nothing after that is read.
    broken: Option<String>,
}

impl Flv {
    /// Takes bytes; whether it is enough.
    fn read(&mut self, bytes: &[u8]) -> bool {
        self.taken = self.taken.saturating_add(bytes.len());
        self.rest.extend_from_slice(bytes);
        while self.broken.is_none() && self.step() {}
        if self.taken > MOST_BYTES.get() && !self.is_enough() {
            self.broken.get_or_insert(format!("{} bytes come without enough frames", self.taken));
        }
        self.broken.is_some() || self.is_enough()
    }

    fn is_enough(&self) -> bool {
        arrival::has_both(&self.frames, ENOUGH)
    }

    /// Whether a piece was taken.
    fn step(&mut self) -> bool {
        match self.header {
            None => self.take_header(),
            Some(_) => self.take_tag(),
        }
    }

    fn take_header(&mut self) -> bool {
        let Some(first) = self.rest.get(..FILE_HEADER_LEN + 4) else { return false };
        match FileHeader::parse(first) {
            Err(error) => self.broken = Some(format!("it begins as no FLV: {error}")),
            Ok((header, 9)) if first.get(9..) == Some(&[0; 4]) => self.header = Some(header),
            Ok(_) => self.broken = Some("the size of the tag before the first one is not 0".to_owned()),
        }
        self.rest.advance(FILE_HEADER_LEN + 4);
        true
    }

    fn take_tag(&mut self) -> bool {
        let Some(head) = self.rest.first_chunk::<TAG_HEADER_LEN>() else { return false };
        let tag = TagHeader::parse(head);
        let length = usize::try_from(tag.length).unwrap_or(usize::MAX);
        if self.rest.len() < TAG_HEADER_LEN + length + 4 {
            return false;
        }
        self.rest.advance(TAG_HEADER_LEN);
        let payload = self.rest.split_to(length).freeze();
        if self.rest.get_u32() != tag.size() {
            self.broken = Some("the size behind a tag is not that of the tag".to_owned());
        }
        match tag.frame(tag.timestamp.into(), payload) {
            Some(frame) => self.frames.push(frame),
            None => self.broken = Some(format!("a tag has type {}, which FLV does not know", tag.tag_type)),
        }
        true
    }
}

/// Asks for the stream by HTTP, and by WebSocket.
pub(super) async fn run(findings: &mut Findings, url: &HttpUrl, trust: &Trust, patience: Duration) {
    tracing::info!("as mpegts.js");
    let reply = timeout(patience * 3, get(url, trust, patience)).await;
    match reply.unwrap_or_else(|_| Err(format!("does not answer within {} s", patience.as_secs()))) {
        Ok(reply) => judge(findings, &reply),
        Err(words) => {
            findings.add(MPEGTS, "response", Finding::does_not(format!("the server {words}")));
        }
    }
    let finding = match timeout(patience * 3, watch_socket(url, trust, patience)).await {
        Ok(seen) => judge_socket(seen),
        Err(_) => Finding::does_not(format!("the server does not answer within {} s", patience.as_secs())),
    };
    findings.add(MPEGTS, "websocket", finding);
}

async fn get(url: &HttpUrl, trust: &Trust, patience: Duration) -> Result<Reply, String> {
    let unreachable = |why| format!("cannot be reached: {why}");
    let io = connect(url, trust).await.map_err(unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(words)?;
    tokio::spawn(connection);
    let request = Request::get(url.target()).header(HOST, url.authority()).header(ACCEPT, "*/*");
    let request = request.header(ORIGIN, PAGE);
    let request = match url.authorization() {
        Some(authorization) => request.header(AUTHORIZATION, authorization),
        None => request,
    };
    let asked = sender.send_request(request.body(Empty::<Bytes>::new()).map_err(words)?);
    let silent = |_| format!("does not answer within {} s", patience.as_secs());
    let reply =
        timeout(patience, asked).await.map_err(silent)?.map_err(|error| format!("breaks off: {error}"))?;
    let (status, headers) = (reply.status(), reply.headers().clone());
    let flv = match status {
        StatusCode::OK => read(reply, Instant::now() + patience).await,
        _ => Flv::default(),
    };
    Ok(Reply { status, headers, flv })
}

async fn read(reply: Response<Incoming>, until: Instant) -> Flv {
    let (mut flv, mut body) = (Flv::default(), reply.into_body());
    while let Ok(Some(Ok(piece))) = timeout_at(until, body.frame()).await {
        if piece.data_ref().is_some_and(|bytes| flv.read(bytes)) {
            break;
        }
    }
    flv
}

fn judge(findings: &mut Findings, reply: &Reply) {
    findings.add(MPEGTS, "response", judge_response(reply));
    if reply.status != StatusCode::OK {
        for check in ["cors", "flv", "start", "times"] {
            findings.add(MPEGTS, check, Finding::not_offered("there is no such stream to look at"));
        }
        return;
    }
    findings.add(MPEGTS, "cors", judge_origin(&reply.headers));
    findings.add(MPEGTS, "flv", judge_flv(&reply.flv));
    findings.add(MPEGTS, "start", arrival::start(&reply.flv.frames));
    findings.add(MPEGTS, "times", judge_times(&reply.flv.frames));
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn judge_response(reply: &Reply) -> Finding {
    let (status, headers) = (reply.status, &reply.headers);
    if status.is_redirection() {
        let to = header(headers, &LOCATION).unwrap_or_default();
        let to = to.split('?').next().unwrap_or_default();
        return Finding::differs(format!("{status}: the browser goes on to {}", Printable(to)));
    }
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Finding::not_offered(format!("{status}: nothing is there")),
        _ => return Finding::does_not(format!("{status}")),
    }
    if headers.contains_key(CONTENT_LENGTH) {
        return Finding::does_not("200 with a Content-Length: a stream has none, and ends there");
    }
    match header(headers, &CONTENT_TYPE).map(|kind| kind.split(';').next().unwrap_or_default().trim()) {
        Some(FLV) => {
            Finding::works(format!("200 with Content-Type: {FLV}, until the connection or the chunks end"))
        }
        Some(other) => Finding::differs(format!(
            "200 with Content-Type: {}, which mpegts.js does not look at, and others do",
            Printable(other)
        )),
        None => {
            Finding::differs("200 without a Content-Type, which mpegts.js does not look at, and others do")
        }
    }
}

fn judge_origin(headers: &HeaderMap) -> Finding {
    match header(headers, &ACCESS_CONTROL_ALLOW_ORIGIN) {
        Some("*") => Finding::works("Access-Control-Allow-Origin: *"),
        Some(PAGE) => Finding::works("Access-Control-Allow-Origin has the page's origin"),
        Some(_) => Finding::does_not("Access-Control-Allow-Origin has another origin: the browser stops it"),
        None => Finding::does_not(
            "there is no Access-Control-Allow-Origin: the browser stops it but for pages of the same origin",
        ),
    }
}

fn judge_flv(flv: &Flv) -> Finding {
    if let Some(broken) = &flv.broken {
        return Finding::does_not(broken.clone());
    }
    let Some(FileHeader { audio, video }) = flv.header else { return Finding::does_not("nothing comes") };
    let has = |kind| flv.frames.iter().any(|frame| frame.kind == kind);
    let (has_audio, has_video) = (has(FrameKind::Audio), has(FrameKind::Video));
    match () {
        () if !has_audio && !has_video => Finding::does_not("the head comes, and no frames"),
        () if (has_audio && !audio) || (has_video && !video) => {
            Finding::does_not("tracks come that the head does not announce, and mpegts.js leaves those out")
        }
        () if (audio && !has_audio) || (video && !has_video) => {
            Finding::does_not("the head announces a track that does not come, for which mpegts.js waits")
        }
        () => {
            Finding::works("head, sizes and types of the tags are right, and the head announces what comes")
        }
    }
}

fn judge_times(frames: &[Frame]) -> Finding {
    let times: Vec<_> =
        frames.iter().filter(|frame| frame.has_media()).map(|frame| frame.timestamp).collect();
    let Some(first) = times.first() else { return Finding::does_not("no frame comes") };
    let steps = times.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?));
    match steps.into_iter().find(|step| step.abs() > GAP_MS) {
        Some(step) => Finding::differs(format!("times jump by {step} ms in the first seconds")),
        None if *first < 1_000 => Finding::works("times begin near zero for each player"),
        None => Finding::works("times go on with the publisher's, and mpegts.js counts from the first"),
    }
}

/// What comes by a WebSocket.
#[derive(Debug, Default)]
struct Seen {
    flv: Flv,
    /// Whether each message had whole tags only.
    is_whole: bool,
    /// Whether there was text.
    has_text: bool,
    /// Code and reason of the end.
    closed: Option<String>,
}

/// What a server says that opens no WebSocket.
#[derive(Debug)]
enum NoSocket {
    Status(StatusCode),
    Words(String),
}

async fn watch_socket(url: &HttpUrl, trust: &Trust, patience: Duration) -> Result<Seen, NoSocket> {
    let scheme = if url.tls() { "wss" } else { "ws" };
    let said = |why: String| NoSocket::Words(why);
    let mut request = format!("{scheme}://{}{}", url.authority(), url.target())
        .into_client_request()
        .map_err(|error| said(words(error)))?;
    let page = PAGE.parse().map_err(|error| said(words(error)))?;
    request.headers_mut().insert(ORIGIN, page);
    let io = connect(url, trust).await.map_err(said)?;
    let bounds = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_MESSAGE.get()))
        .max_frame_size(Some(LARGEST_MESSAGE.get()));
    let opened = timeout(patience, client_async_with_config(request, io, Some(bounds))).await;
    let silent = |_| said(format!("does not answer within {} s", patience.as_secs()));
    let (mut socket, _) = opened.map_err(silent)?.map_err(|error| match error {
        Error::Http(reply) => NoSocket::Status(reply.status()),
        error => said(words(error)),
    })?;
    let mut seen = Seen { is_whole: true, ..Seen::default() };
    let until = Instant::now() + patience;
    while let Ok(Some(Ok(message))) = timeout_at(until, socket.next()).await {
        match message {
            Message::Binary(bytes) => {
                let is_enough = seen.flv.read(&bytes);
                seen.is_whole &= seen.flv.rest.is_empty();
                if is_enough {
                    break;
                }
            }
            Message::Text(_) => seen.has_text = true,
            Message::Close(frame) => {
                let why = frame.map(|frame| format!("{} {}", frame.code, Printable(&frame.reason)));
                seen.closed = Some(why.unwrap_or_else(|| "no code".to_owned()));
                break;
            }
            _ => {}
        }
    }
    Ok(seen)
}

fn judge_socket(seen: Result<Seen, NoSocket>) -> Finding {
    let seen = match seen {
        Ok(seen) => seen,
        Err(NoSocket::Status(status)) => {
            return Finding::not_offered(format!("{status}: no WebSocket is there"));
        }
        Err(NoSocket::Words(words)) => {
            return Finding::not_offered(format!("no WebSocket is there: {words}"));
        }
    };
    if let Some(closed) = seen.closed {
        return Finding::does_not(format!("it is closed at once: {closed}"));
    }
    match (judge_flv(&seen.flv), seen.has_text, seen.is_whole) {
        (_, true, _) => Finding::does_not("messages of text come, which mpegts.js does not read"),
        (Finding { verdict, words, .. }, ..) if verdict != super::report::Verdict::Works => {
            Finding { verdict, words, took: None }
        }
        (_, _, true) => Finding::works("binary messages come, each of whole tags"),
        (_, _, false) => {
            Finding::works("binary messages come, which are cut anywhere, and mpegts.js takes them so")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;
    use streamengine::testing::{DEMO, audio, flv as file_of, keyframe, tag};

    fn flv(bytes: &[u8]) -> Flv {
        let mut flv = Flv::default();
        for piece in bytes.chunks(999) {
            if flv.read(piece) {
                break;
            }
        }
        flv
    }

    fn reply(status: StatusCode, headers: &[(HeaderName, &'static str)]) -> Reply {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        Reply { status, headers: headers.collect(), flv: Flv::default() }
    }

    #[test]
    fn flv_is_read_in_any_pieces_and_what_is_wrong_with_it_is_named() {
        let good = flv(DEMO);
        assert_eq!(judge_flv(&good).verdict, Verdict::Works);
        assert_eq!(arrival::start(&good.frames).verdict, Verdict::Works);
        assert_eq!(judge_times(&good.frames).verdict, Verdict::Works);

        let silent = file_of(&[keyframe(0, 99)]);
        assert_eq!(judge_flv(&flv(&silent)).verdict, Verdict::Works);
        let mut announces_sound = silent.to_vec();
        announces_sound[4] |= 4;
        let mut hides_sound = file_of(&[keyframe(0, 99), audio(0)]).to_vec();
        hides_sound[4] &= 1;
        let mut no_zero = DEMO.to_vec();
        no_zero[12] = 1;
        let mut wrong_size = DEMO.to_vec();
        wrong_size[13 + 11 + 230 + 3] ^= 1;
        let unknown = [&DEMO[..13], &tag(7, 0, &[1], 12)].concat();
        for (bytes, words) in [
            (&b"<html>not found</html>"[..], "no FLV"),
            (&no_zero, "not 0"),
            (&wrong_size, "behind a tag"),
            (&unknown, "type 7"),
            (&announces_sound, "does not come"),
            (&hides_sound, "leaves those out"),
            (&DEMO[..13], "no frames"),
            (&[], "nothing comes"),
        ] {
            let finding = judge_flv(&flv(bytes));
            assert_eq!(finding.verdict, Verdict::DoesNot, "{words}");
            assert!(finding.words.contains(words), "{words}: {}", finding.words);
        }
    }

    #[test]
    fn a_reply_without_end_or_sense_is_left() {
        let mut endless = Flv::default();
        let header = FileHeader { audio: true, video: true }.encode();
        assert!(!endless.read(&header));
        let big = tag(9, 0, &vec![0x17; 1 << 20], 11 + (1 << 20));
        let pieces = (0..20).take_while(|_| !endless.read(&big)).count();
        assert_eq!(pieces, 15, "16 MiB are read");
        assert!(judge_flv(&endless).words.contains("without enough frames"));
    }

    #[tokio::test]
    async fn a_message_beyond_all_measure_is_refused() {
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url: HttpUrl = format!("http://{}/live/a.flv", listener.local_addr().unwrap()).parse().unwrap();
        let trust = streamengine::TlsConfig::default().client().unwrap();
        let server = async {
            let (io, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(io).await.unwrap();
            // A binary message, whose length takes eight bytes (RFC 6455, 5.2).
            let mut message = [&[0x82, 127][..], &(9_u64 << 20).to_be_bytes()].concat();
            message.resize(message.len() + (9 << 20), 0);
            // The other side may have gone by then.
            let _ = tokio::io::AsyncWriteExt::write_all(socket.get_mut(), &message).await;
        };
        let watch = watch_socket(&url, &trust, Duration::from_secs(30));
        let (seen, ()) = tokio::join!(watch, server);
        assert_eq!(seen.unwrap().flv.taken, 0);
    }

    #[test]
    fn replies_are_told_apart_by_status_type_length_and_origin() {
        let of = |status: u16, headers: &[(HeaderName, &'static str)]| {
            judge_response(&reply(StatusCode::from_u16(status).unwrap(), headers)).verdict
        };
        assert_eq!(of(200, &[(CONTENT_TYPE, FLV)]), Verdict::Works);
        assert_eq!(of(200, &[(CONTENT_TYPE, "video/mp4")]), Verdict::Differs);
        assert_eq!(of(200, &[]), Verdict::Differs);
        assert_eq!(of(200, &[(CONTENT_TYPE, FLV), (CONTENT_LENGTH, "9")]), Verdict::DoesNot);
        assert_eq!(of(302, &[(LOCATION, "http://other/x?token=1")]), Verdict::Differs);
        assert_eq!(of(403, &[]), Verdict::DoesNot);
        assert_eq!(of(404, &[]), Verdict::NotOffered);

        let origin = |value: &'static str| {
            judge_origin(&reply(StatusCode::OK, &[(ACCESS_CONTROL_ALLOW_ORIGIN, value)]).headers).verdict
        };
        assert_eq!((origin("*"), origin(PAGE)), (Verdict::Works, Verdict::Works));
        assert_eq!(origin("https://other.example"), Verdict::DoesNot);
        assert_eq!(judge_origin(&HeaderMap::new()).verdict, Verdict::DoesNot);
    }

    #[test]
    fn times_that_jump_are_found() {
        let frames = |times: &[i64]| times.iter().map(|&time| audio(time)).collect::<Vec<_>>();
        assert_eq!(judge_times(&frames(&[0, 20, 40])).verdict, Verdict::Works);
        assert_eq!(judge_times(&frames(&[90_000, 90_020])).verdict, Verdict::Works);
        assert_eq!(judge_times(&frames(&[0, 90_000])).verdict, Verdict::Differs);
        assert_eq!(judge_times(&[]).verdict, Verdict::DoesNot);
    }

    #[test]
    fn websockets_are_told_apart_by_what_comes() {
        let seen = |is_whole, has_text, closed: Option<&str>| {
            let closed = closed.map(str::to_owned);
            judge_socket(Ok(Seen { flv: flv(DEMO), is_whole, has_text, closed })).verdict
        };
        assert_eq!(seen(true, false, None), Verdict::Works);
        assert_eq!(seen(false, false, None), Verdict::Works);
        assert_eq!(seen(true, true, None), Verdict::DoesNot);
        assert_eq!(seen(true, false, Some("4404 no such stream")), Verdict::DoesNot);
        assert_eq!(judge_socket(Err(NoSocket::Status(StatusCode::NOT_FOUND))).verdict, Verdict::NotOffered);
        let nothing = judge_socket(Ok(Seen { is_whole: true, ..Seen::default() }));
        assert_eq!(nothing.verdict, Verdict::DoesNot);
    }
}
