//! `check-compat` where there is little to check; whole runs, against servers of several makes, are in the interop suite.
#![cfg(unix)]

#[allow(dead_code, reason = "made for several")]
mod process;

use process::{Process, run};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};

/// A server that takes connections, and says nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("rtmp://{}/live/test?key=s3cret", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn a_server_that_cannot_be_reached_is_one_error() {
    let ended = run(&["check-compat", "rtmp://127.0.0.1:1/live/test?key=s3cret"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("rtmp://127.0.0.1:1/live/test?*** cannot be reached"), "{}", ended.stderr);
}

#[test]
fn what_cannot_be_asked_is_a_wrong_command_line() {
    for (args, words) in [
        (&["http://127.0.0.1/live/a"][..], "an HTTP URL"),
        (&["rtmp://user:s3cret@127.0.0.1/live/a"], "user and password"),
        (&["rtmp://127.0.0.1/live/a", "--http", "ftp://127.0.0.1"], "--http"),
        (&["rtmp://127.0.0.1/live/a", "--timeout", "0"], "--timeout"),
    ] {
        let ended = run(&[&["check-compat"], args].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(ended.stderr.contains(words) && !ended.stderr.contains("s3cret"), "{}", ended.stderr);
    }
}

#[test]
fn of_a_silent_server_nothing_works() {
    let (_server, url) = silent();
    let ended = run(&["check-compat", &url, "--timeout", "1", "--json"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.lines().last().unwrap().contains("OBS shakes hands in the plain form"));
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["works"], false);
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() > 20 && checks.iter().all(|check| check["verdict"] == "does-not"), "{report}");
    assert_eq!(checks[0]["words"], "the server does not answer within 1 s");
    assert!(!ended.stdout.contains("s3cret") && !ended.stderr.contains("s3cret"));
}

#[test]
fn ctrl_c_ends_it_with_0_and_without_a_report() {
    let (server, url) = silent();
    let mut process = Process::start(&["check-compat", &url, "--timeout", "3600"]);
    // The first connection only asks whether there is a server; the second one waits for it.
    let _connections = [server.accept().unwrap(), server.accept().unwrap()];
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(0));
    assert!(process.is_silent());
}
