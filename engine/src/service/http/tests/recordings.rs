//! Promises to those who load recordings.

use super::*;
use crate::config::{RecordConfig, RecordFormat};
use crate::record::tests::recording;
use std::path::Path;

const NAME: &str = "20180214T002807Z-0";

struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// What a request with these lines is answered.
async fn get(core: &Arc<Core>, path: &str, lines: &str) -> Got {
    let mut io = open_with(core, 4 * 1024 * 1024);
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{lines}\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut io).await;
    let mut body = Vec::new();
    timeout(Duration::from_secs(120), io.read_to_end(&mut body)).await.expect("the end").unwrap();
    Got { status: head[9..12].parse().unwrap(), head, body }
}

/// An engine with a recording of each form, and one that grows.
fn recorded(root: &Path, serve: bool) -> Arc<Core> {
    let folder = root.join("live/a");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{NAME}.flv")), recording(RecordFormat::Flv)).unwrap();
    std::fs::write(folder.join(format!("{NAME}.mp4")), recording(RecordFormat::Fmp4)).unwrap();
    std::fs::write(folder.join("20180214T003807Z-1.flv.part"), recording(RecordFormat::Flv)).unwrap();
    std::fs::write(folder.join("secret.txt"), "nobody's business").unwrap();
    let dir = root.to_owned();
    core(move |config| config.default_app.record = RecordConfig::new(dir).serve(serve))
}

#[tokio::test]
async fn recordings_are_listed_by_their_names() {
    let root = tempfile::tempdir().unwrap();
    let core = recorded(root.path(), true);
    let got = get(&core, "/recordings/live/a", "").await;
    assert_eq!(got.status, 200);
    assert!(got.head.contains("content-type: application/json\r\n"));
    let list: serde_json::Value = serde_json::from_slice(&got.body).unwrap();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, [&format!("{NAME}.flv"), &format!("{NAME}.mp4"), "20180214T003807Z-1.flv"]);
    assert_eq!((&list[0]["start"], &list[2]["is_growing"]), (&1_518_568_087.into(), &true.into()));
    assert!(!String::from_utf8(got.body).unwrap().contains(root.path().to_str().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn files_come_whole_on_a_connection_that_is_kept_however_slowly_they_are_read() {
    let root = tempfile::tempdir().unwrap();
    let (core, whole) = (recorded(root.path(), true), recording(RecordFormat::Fmp4));
    let idle = Duration::from_millis(core.limits().http_idle_ms);
    let mut io = open_with(&core, 1_000);
    for _ in 0..2 {
        let request = format!("GET /recordings/live/a/{NAME}.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        assert!(read_head(&mut io).await.contains(&format!("content-length: {}\r\n", whole.len())));
        let (mut body, mut rest) = (vec![0; whole.len() / 2], vec![0; whole.len() - whole.len() / 2]);
        io.read_exact(&mut body).await.unwrap();
        // Who takes some of it each second is not idle.
        for piece in rest.chunks_mut(1_000 * whole.len() / 2 / usize::try_from(idle.as_millis()).unwrap()) {
            io.read_exact(piece).await.unwrap();
            sleep(Duration::from_millis(1_200)).await;
        }
        body.extend(rest);
        assert!(body == whole);
    }
}

#[tokio::test]
async fn a_file_comes_as_a_whole_or_the_range_that_is_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let (core, whole) = (recorded(root.path(), true), recording(RecordFormat::Fmp4));
    let path = format!("/recordings/live/a/{NAME}.mp4");
    let got = get(&core, &path, "").await;
    assert!((got.status, &got.body) == (200, &whole), "{} bytes", got.body.len());
    assert!(
        got.head.contains("accept-ranges: bytes\r\n") && got.head.contains("content-type: video/mp4\r\n")
    );
    let tag = got.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    let len = whole.len();
    for (lines, status, body) in [
        ("Range: bytes=100-199\r\n".to_owned(), 206, &whole[100..200]),
        ("Range: bytes=100000-\r\n".to_owned(), 206, &whole[100_000..]),
        ("Range: bytes=-10\r\n".to_owned(), 206, &whole[len - 10..]),
        (format!("Range: bytes={len}-\r\n"), 416, &[]),
        (format!("Range: bytes=0-9\r\nIf-Range: {tag}\r\n"), 206, &whole[..10]),
        ("Range: bytes=0-9\r\nIf-Range: \"other\"\r\n".to_owned(), 200, &whole),
        (format!("If-None-Match: {tag}\r\n"), 304, &[]),
    ] {
        let got = get(&core, &path, &lines).await;
        assert!((got.status, &got.body[..]) == (status, body), "{lines}: {} {}", got.status, got.body.len());
    }
    let growing = get(&core, "/recordings/live/a/20180214T003807Z-1.flv", "").await;
    assert!(growing.status == 200 && growing.head.contains("cache-control: no-store\r\n"));
}

#[tokio::test]
async fn a_file_comes_as_a_whole_on_a_connection_that_is_kept_however_slowly_it_is_read() {
    let root = tempfile::tempdir().unwrap();
    let (core, whole) = (recorded(root.path(), true), recording(RecordFormat::Fmp4));
    let mut io = open_with(&core, 1024);
    for _ in 0..2 {
        let request = format!("GET /recordings/live/a/{NAME}.mp4 HTTP/1.1\r\nHost: h\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        read_head(&mut io).await;
        let mut body = vec![0; whole.len()];
        timeout(Duration::from_secs(120), io.read_exact(&mut body)).await.expect("in time").unwrap();
        assert!(body == whole);
    }
}

#[tokio::test]
async fn players_seek_by_a_playlist_whose_urls_have_what_theirs_had() {
    let root = tempfile::tempdir().unwrap();
    let core = recorded(root.path(), true);
    for path in ["index".to_owned(), NAME.to_owned()] {
        let got = get(&core, &format!("/recordings/live/a/{path}.m3u8?key=x"), "").await;
        let text = String::from_utf8(got.body).unwrap();
        assert!(got.status == 200 && text.contains(&format!("\n{NAME}.mp4?key=x\n")), "{text}");
        assert!(got.head.contains("content-type: application/vnd.apple.mpegurl\r\n"));
    }
    let got = get(&core, "/recordings/live/a/index.m3u8?a=\"b", "").await;
    assert_eq!(got.status, 400);
    assert_eq!(plain("a=1&sign=x%22"), "a=1&sign=x%22");
    assert_eq!(plain("a=\"1"), "");
}

fn plain(query: &str) -> String {
    super::super::recordings::plain_query(Some(query))
}

#[tokio::test(start_paused = true)]
async fn what_is_not_served_or_no_recording_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    let core = recorded(root.path(), true);
    for path in
        ["secret.txt", "20180214T002807Z-9.flv", "..%2f..%2fx20180214T002807Z.flv", "20180214T003807Z-1.m3u8"]
    {
        let got = get(&core, &format!("/recordings/live/a/{path}"), "").await;
        assert!([400, 404].contains(&got.status) || got.body == b"[]\n", "{path}: {}", got.status);
    }
    let closed = recorded(root.path(), false);
    let mut events = closed.events.subscribe();
    let got = get(&closed, &format!("/recordings/live/a/{NAME}.flv"), "").await;
    assert_eq!(got.status, 404);
    assert!(events.try_next().is_some(), "it is another stream's name there");
}

#[tokio::test]
async fn who_may_not_play_gets_no_recording_and_the_door_is_told() {
    let (root, doors) = (tempfile::tempdir().unwrap(), Arc::<Mutex<Vec<crate::Door>>>::default());
    drop(recorded(root.path(), true));
    let told = doors.clone();
    let nobody = move |request: AuthRequest, ticket: Ticket| {
        told.lock().push(request.door);
        ticket.reject("not for you");
    };
    let mut config = Config::default();
    config.default_app.record = RecordConfig::new(root.path()).serve(true);
    let core = core_with(config, nobody);
    for path in ["", &format!("/{NAME}.flv"), "/index.m3u8"] {
        assert_eq!(get(&core, &format!("/recordings/live/a{path}"), "").await.status, 403);
    }
    assert_eq!(*doors.lock(), [crate::Door::Recording; 3]);
}

#[tokio::test]
async fn no_more_than_256_recordings_are_read_at_once() {
    let root = tempfile::tempdir().unwrap();
    let core = recorded(root.path(), true);
    let all = core.recording_readers.clone().acquire_many_owned(256).await.unwrap();
    let got = get(&core, &format!("/recordings/live/a/{NAME}.flv"), "").await;
    assert_eq!(got.status, 503);
    drop(all);
    assert_eq!(get(&core, &format!("/recordings/live/a/{NAME}.flv"), "").await.status, 200);
    assert_eq!(core.recording_readers.available_permits(), 256);
}
