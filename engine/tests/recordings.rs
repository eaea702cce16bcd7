//! Recordings as embedding programs have them.

use std::fs;
use std::path::Path;
use streamengine::testing::{demo_frames, key, wait};
use streamengine::{
    Config, Engine, ErrorKind, Event, Manage, RecordConfig, RecordWhen, RecordingState, RecordingStatus,
};

fn engine(config: RecordConfig) -> Engine {
    let mut whole = Config::default();
    whole.default_app.record = config.min_free_bytes(0);
    Engine::builder().config(whole).start().unwrap()
}

/// Publishes until it is recorded, by another recording than the one of who has published it before.
fn publish_demo(engine: &Engine) {
    let is_recorded = |status: &RecordingStatus| status.state == RecordingState::Recording;
    wait::until("nothing is recorded", || !engine.recordings().iter().any(is_recorded));
    let publisher = engine.publish(&key("live/a")).unwrap();
    demo_frames().into_iter().for_each(|frame| publisher.push(frame).unwrap());
    wait::until("it is recorded", || engine.recordings().iter().any(is_recorded));
    publisher.finish();
}

/// Waits until there are so many whole files, and gives them with their lengths in seconds.
fn whole_files(engine: &Engine, count: usize) -> Vec<f64> {
    let lengths = || -> Vec<f64> {
        let files = engine.recorded_files(&key("live/a")).unwrap();
        let whole = files.into_iter().filter(|file| !file.is_growing);
        whole.map(|file| file.length.unwrap().as_secs_f64()).collect()
    };
    wait::until("the files are whole", || lengths().len() == count);
    lengths()
}

#[test]
fn all_streams_of_an_app_are_recorded_and_a_program_sees_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(RecordConfig::new(dir.path()).when(RecordWhen::All));
    publish_demo(&engine);
    let lengths = whole_files(&engine, 1);
    assert!((9.5..10.5).contains(&lengths[0]), "{lengths:?}");
    publish_demo(&engine);
    assert_eq!(whole_files(&engine, 2).len(), 2);
    let (newest, next) = engine.all_recorded_files(None, 1).unwrap();
    assert!(newest.len() == 1 && newest[0].stream == key("live/a") && next.is_some(), "{newest:?}, {next:?}");
    let (others, next) = engine.all_recorded_files(next.as_deref(), 100).unwrap();
    assert!(
        others.len() == 1 && others[0].start <= newest[0].start && next.is_none(),
        "{others:?}, {next:?}"
    );
    assert!(others[0].path != newest[0].path && others[0].length.is_some());
    let nowhere = engine.all_recorded_files(Some("nowhere"), 1).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::InvalidArgument);
    wait::until("none is listed any more", || engine.recordings().is_empty());
    engine.blocking_drain().unwrap();
}

#[test]
fn one_that_is_asked_for_goes_on_until_it_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(RecordConfig::new(dir.path()));
    let mut events = engine.events();
    let id = engine.record(&key("live/a")).unwrap();
    assert_eq!(engine.record(&key("live/a")).unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(engine.recording(id).unwrap().state, RecordingState::Idle);
    publish_demo(&engine);
    let file = wait::event(&mut events, |event| match event {
        Event::RecordingFile(file) => Some(file),
        _ => None,
    });
    assert_eq!((file.recording, fs::metadata(&file.path).unwrap().len()), (Some(id), file.bytes));
    let manage: &dyn Manage = &engine;
    manage.stop_recording(id).unwrap();
    assert_eq!(engine.stop_recording(id).unwrap_err().kind(), ErrorKind::NotFound);
    wait::event(&mut events, |event| match event {
        Event::RecordingState(status) if status.state == RecordingState::Stopped => Some(()),
        _ => None,
    });
    assert!(manage.record(&key("live/a")).is_ok(), "it may be asked for again");
}

#[test]
fn what_cannot_be_recorded_is_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let off = Engine::builder().start().unwrap();
    assert_eq!(off.record(&key("live/a")).unwrap_err().kind(), ErrorKind::State);
    assert_eq!(off.recorded_files(&key("live/a")).unwrap_err().kind(), ErrorKind::State);
    let nowhere = off.record_with(&key("live/a"), &RecordConfig::default()).unwrap_err();
    assert!(nowhere.kind() == ErrorKind::InvalidArgument && nowhere.to_string().contains("record.dir"));
    let short = RecordConfig::new(dir.path()).segment_ms(1);
    assert!(
        off.record_with(&key("live/a"), &short).unwrap_err().to_string().contains("record.segment_ms is 1")
    );
    off.record_with(&key("live/a"), &RecordConfig::new(dir.path())).unwrap();
    for (text, words) in [
        ("[default_app.record]\nwhen = \"all\"", "default_app.record.dir is missing"),
        ("[default_app.record]\nname = \"x\"", "it needs {start} and {n}"),
        ("[default_app.record]\nname = \"../{start}-{n}\"", "letters, digits"),
    ] {
        let error = Config::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let gone = Config::from_toml("[default_app.record]\nwhen = \"manual\"\ndir = \"/no/such\"").unwrap();
    assert!(
        Engine::builder()
            .config(gone)
            .start()
            .map(drop)
            .unwrap_err()
            .to_string()
            .contains("record.dir /no/such")
    );
}

#[test]
fn what_a_killed_server_has_left_is_whole_soon_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    {
        let engine = engine(RecordConfig::new(dir.path()).when(RecordWhen::All));
        publish_demo(&engine);
        whole_files(&engine, 1);
    }
    let folder = dir.path().join("live/a");
    let entry = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&entry).unwrap();
    fs::remove_file(&entry).unwrap();
    let left = folder.join("20180214T002807Z-0.flv.part");
    fs::write(&left, &whole[..whole.len() / 2]).unwrap();
    let engine = engine(RecordConfig::new(dir.path()));
    let lengths = whole_files(&engine, 1);
    assert!((3.0..7.0).contains(&lengths[0]), "{lengths:?}");
    assert!(!Path::new(&left).exists());
}

/// Status and text of the reply to a GET.
#[cfg(feature = "http")]
fn get(engine: &Engine, target: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let address = engine.listeners()[0].address;
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    write!(socket, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    let (head, text) = reply.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), text.to_owned())
}

#[cfg(feature = "http")]
#[test]
fn nginxs_control_urls_start_and_stop_a_recording_and_name_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.default_app.record = RecordConfig::new(dir.path()).min_free_bytes(0);
    config.apps.insert("other".to_owned(), Default::default());
    config.apps.insert("live".to_owned(), config.default_app.clone());
    config.http.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.http.control_allow = vec!["127.0.0.0/8".parse().unwrap()];
    let engine = Engine::builder().config(config).start().unwrap();
    let ask = |target: &str| get(&engine, &format!("/control/record/{target}"));
    assert_eq!(ask("start?app=live&name=a"), (204, String::new()), "nobody publishes it");
    let publishers = ["live/a", "live/b", "other/a"].map(|name| engine.publish(&key(name)).unwrap());
    for publisher in &publishers {
        demo_frames().into_iter().for_each(|frame| publisher.push(frame).unwrap());
    }
    assert_eq!(ask("start?app=live&name=a&rec=low").0, 500, "there is no recorder of that name");
    let (status, words) = ask("start?app=other");
    assert!(status == 500 && words.contains("record.when is \"off\""), "{status} {words}");
    let (status, path) = ask("start?app=live&name=a");
    assert_eq!((status, Path::new(&path).parent()), (200, Some(&*dir.path().join("live/a"))), "{path}");
    assert_eq!(ask("start?app=live&name=a"), (204, String::new()), "it is being recorded");
    let (status, both) = ask("start?app=live");
    assert!(status == 200 && both.contains("live/b/") && !both.contains("live/a/"), "{both}");
    assert_eq!(ask("stop?app=live&name=a"), (200, path.clone()));
    wait::until("it is whole", || Path::new(&path).exists());
    assert_eq!(ask("stop?app=live&name=a"), (204, String::new()));
    assert_eq!(engine.recordings().len(), 1, "the other one goes on");
}
