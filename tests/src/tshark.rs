//! What Wireshark's RTMP dissector says about the bytes on the wire.

use crate::peers::command;
use crate::{PATIENCE, Proc, Signal};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tempfile::TempDir;

/// Unless told so, the dissector ignores chunk sizes above 32,768 (SRS's 60,000 as well as ours) and takes payload
/// for headers from then on.
const LONG_MESSAGES: &str = "rtmpt.max_packet_size:16777215";

/// A capture on the loopback interface.
pub struct Capture {
    dumpcap: Proc,
    server: SocketAddr,
    folder: TempDir,
}

/// What the dissector found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Frames with a malformed part.
    pub malformed: Vec<String>,
    /// RTMP messages by type number.
    pub messages: BTreeMap<u32, usize>,
    /// The names and other strings of commands.
    pub strings: Vec<String>,
}

impl Capture {
    /// Starts to capture what goes to and from this server and waits until it really does.
    pub fn start(server: SocketAddr) -> Self {
        let mut folder = tempfile::tempdir().expect("temporary folder");
        // For a look with Wireshark at what a failed test has captured.
        folder.disable_cleanup(std::env::var_os("STREAMENGINE_KEEP_CAPTURES").is_some());
        let filter = format!("tcp port {} and host {}", server.port(), server.ip());
        let mut line = command("dumpcap", ["-i", "lo", "-B", "64", "-s", "262144", "-f", &filter, "-w"]);
        line.arg(folder.path().join("capture.pcapng"));
        let dumpcap = Proc::spawn("dumpcap", line);
        // It opens the file after the interface; from then on nothing is missed.
        assert!(dumpcap.err.find("File:", PATIENCE).is_some(), "dumpcap does not capture\n{}", dumpcap.log());
        Self { dumpcap, server, folder }
    }

    /// Stops and lets the dissector judge. Captured frames that the kernel dropped fail the test.
    pub fn verdict(self) -> Verdict {
        self.dumpcap.signal(Signal::INT);
        self.dumpcap.succeed(PATIENCE);
        let log = self.dumpcap.err.all().join("\n");
        let whole = log.lines().filter(|line| line.contains("dropped")).all(|line| line.contains("/0 ("));
        assert!(whole, "the capture has holes: {log}");
        let malformed = self.dissect("_ws.malformed", &["frame.number", "_ws.expert.message"]);
        let types = self.dissect("rtmpt", &["rtmpt.header.typeid"]);
        let strings = self.dissect("amf.string", &["amf.string"]);
        Verdict {
            malformed,
            messages: count(types.iter().flat_map(|line| line.split(','))),
            strings: strings.iter().flat_map(|line| line.split(',')).map(str::to_owned).collect(),
        }
    }

    fn dissect(&self, filter: &str, fields: &[&str]) -> Vec<String> {
        let decode = format!("tcp.port=={},rtmpt", self.server.port());
        let mut line =
            command("tshark", ["-n", "-d", &decode, "-o", LONG_MESSAGES, "-Y", filter, "-T", "fields", "-r"]);
        line.arg(self.folder.path().join("capture.pcapng"));
        for field in fields {
            line.args(["-e", field]);
        }
        let tshark = Proc::spawn("tshark", line);
        tshark.succeed(PATIENCE * 4);
        tshark.out.all()
    }
}

fn count<'a>(types: impl Iterator<Item = &'a str>) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for number in types.filter_map(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()) {
        *counts.entry(number).or_insert(0) += 1;
    }
    counts
}

impl Verdict {
    /// Fails the test unless the dissector named these commands and saw audio and video: a verdict of "nothing
    /// malformed" is worth something only then.
    pub fn assert_saw(&self, commands: &[&str]) {
        for command in commands {
            assert!(
                self.strings.iter().any(|text| text == command),
                "the dissector saw no {command:?}: {self:?}"
            );
        }
        for kind in [8, 9] {
            let count = self.messages.get(&kind).copied().unwrap_or(0);
            assert!(count > 100, "the dissector saw only {count} messages of type {kind}");
        }
    }
}
