//! Replays the kept inputs of every fuzz target, and mutations of them.

use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use streamengine::fuzzing::{TARGETS, Target};
use streamengine::proto::handshake::Handshake;
use streamengine::testing::tag;

/// Longest mutated input: repeating must not make the test slow.
const MAX_INPUT: usize = 16 * 1024;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// The kept inputs of `target` by file name.
fn inputs(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = corpus(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let read = |entry: fs::DirEntry| {
        (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap())
    };
    files.map(|entry| read(entry.unwrap())).collect()
}

/// Runs one input and says which one it was if it fails.
fn run(target: &Target, origin: &str, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{} fails for {origin}; the input in hex: {hex}", target.name);
    }
}

fn mutate(input: &mut Vec<u8>, others: &[&Vec<u8>], rng: &mut StdRng) {
    let at = rng.random_range(0..=input.len());
    let end = rng.random_range(at..=input.len().min(at + 64));
    match rng.random_range(0..7) {
        0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        1 if at < input.len() => input[at] = *[0, 1, 3, 0x7F, 0x80, 0xFF].choose(rng).unwrap(),
        2 => input.truncate(at),
        3 => drop(input.drain(at..end)),
        4 => {
            let copy = input[at..end].repeat(rng.random_range(1..8));
            drop(input.splice(at..at, copy));
        }
        5 => {
            let other = others.choose(rng).unwrap();
            let from = rng.random_range(0..=other.len());
            drop(input.splice(at.., other[from..].iter().copied()));
        }
        _ => {
            let mut noise = [0; 8];
            rng.fill_bytes(&mut noise);
            drop(input.splice(at..end, noise));
        }
    }
    input.truncate(MAX_INPUT);
}

fn replay(target: &Target) {
    let inputs = inputs(target.name);
    assert!(inputs.len() >= 3, "{} has a corpus of {} inputs", target.name, inputs.len());
    for (name, input) in &inputs {
        run(target, name, input);
    }
    let all: Vec<&Vec<u8>> = inputs.values().collect();
    let rounds = target.mutations.div_ceil(inputs.len());
    for (number, (name, input)) in inputs.iter().enumerate() {
        for round in 0..rounds {
            let mut rng = StdRng::seed_from_u64((number * 1_000_000 + round) as u64);
            let mut mutated = input.clone();
            for _ in 0..rng.random_range(1..6) {
                mutate(&mut mutated, &all, &mut rng);
            }
            run(target, &format!("mutation {round} of {name}"), &mutated);
        }
    }
}

#[test]
fn f01_kept_inputs_and_their_mutations_break_no_target() {
    std::thread::scope(|scope| {
        for target in TARGETS {
            scope.spawn(|| replay(target));
        }
    });
}

#[test]
fn every_target_has_a_program() {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        let program = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzzing::{name}(data)")), "{name} runs another body");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in the manifest");
    }
}

type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Writes inputs that reach the interesting places of each target, where they are missing. Run by hand when a
/// seed is added.
#[test]
#[ignore = "writes fuzz/corpus"]
fn write_seeds() {
    for (target, seeds) in [
        ("aggregate", aggregate_seeds()),
        ("amf0_decode", amf0_seeds()),
        ("amf0_roundtrip", choice_seeds(400)),
        ("browser_payload", browser_seeds()),
        ("chunk_read", chunk_seeds()),
        ("chunk_roundtrip", choice_seeds(600)),
        ("elementary", choice_seeds(2000)),
        ("handshake", handshake_seeds()),
        #[cfg(feature = "http")]
        ("http_request", http_seeds()),
        #[cfg(feature = "http")]
        ("web_socket", web_socket_seeds()),
        #[cfg(feature = "mp4")]
        ("mp4", mp4_seeds()),
        #[cfg(feature = "mp4")]
        ("mp4_file", mp4_file_seeds()),
        ("client_session_ops", choice_seeds(1000)),
        ("server_session_ops", choice_seeds(1000)),
        ("session_pair", choice_seeds(1000)),
    ] {
        fs::create_dir_all(corpus(target)).unwrap();
        for (name, bytes) in seeds {
            let file = corpus(target).join(name);
            if !file.exists() {
                fs::write(file, bytes).unwrap();
            }
        }
    }
}

/// Inputs for targets that read choices.
fn choice_seeds(len: usize) -> Seeds {
    let random = |seed| {
        let mut bytes = vec![0; len];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    };
    let counting = (0..len).map(|i| (i * 37) as u8).collect();
    vec![("counting", counting), ("random-1", random(1)), ("random-2", random(2)), ("random-3", random(3))]
}

fn aggregate_seeds() -> Seeds {
    let time = [0, 0, 3, 232];
    let two = [tag(9, 0, b"video", 16), tag(8, 23, b"audio", 16)].concat();
    let backwards = [tag(9, u32::MAX, b"a", 12), tag(9, 0, b"", 11)].concat();
    let with_time = |body: &[u8]| [&time, body].concat();
    vec![
        ("two", with_time(&two)),
        ("empty", with_time(b"")),
        ("backwards", with_time(&backwards)),
        ("nested", with_time(&tag(22, 0, &two, 0))),
        ("back-pointer-missing", with_time(&two[..two.len() - 4])),
        ("cut", with_time(&two[..two.len() - 6])),
        ("many-empty", with_time(&tag(8, 0, b"", 11).repeat(300))),
    ]
}

/// Records and frames as encoders write them, behind their headers.
fn record_seeds() -> Seeds {
    let record = |name, head: &[u8], hex: &str| {
        let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
        let record = digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap());
        (name, head.iter().copied().chain(record).collect())
    };
    vec![
        record("aac-record", b"\0\0\xaf\0", "139056e5a0"),
        record("ac3-frame", b"\0\0\x91ac-3", "0b77fe95144043e106"),
        record("av1-record", b"\x02\0\x90av01", "81040c000a0b00000024cf7f0dbfff3008"),
        record(
            "avc-record",
            b"\x02\0\x17\0\0\0\0",
            "0142c01effe100196742c01ed890280bfe5c0440000003004000000c83c58b898001000568c888cb20",
        ),
        record("eac3-frame", b"\0\0\x91ec-3", "0b77017f3487c000"),
        record(
            "flac-record",
            b"\0\0\x90fLaC",
            "120012000000000000000bb802f00000000000000000000000000000000000000000",
        ),
        record(
            "hevc-record",
            b"\x02\0\x90hvc1",
            "0101600000009000000000003cf000fcfdf8f800000f04200001001840010c01ffff01600000030090000003000003003c9598092\
             10001002b42010101600000030090000003000003003ca00a080b9f796566924caf016808000003000800000300c840",
        ),
        record("mp3-frame", b"\0\0\x2f", "fffb94640000000000000000"),
        record("opus-record", b"\0\0\x90Opus", "4f707573486561640102380180bb0000000000"),
        record("vp9-record", b"\x02\0\x90vp09", "010000000014820202020000"),
    ]
}

/// Payloads of each way in which players in browsers get them. First comes the kind (0 audio, 1 data, 2 video), then the
/// number of the track.
fn browser_seeds() -> Seeds {
    let own = vec![
        ("aac-enhanced", b"\0\0\x91mp4adata".to_vec()),
        ("ac3", b"\0\0\x91ac-3data".to_vec()),
        ("av1-without-time", b"\x02\0\xa3av01data".to_vec()),
        ("av1-legacy-number", b"\x02\0\x1d\x01\0\0\0data".to_vec()),
        ("avc-enhanced", b"\x02\0\x91avc1\xff\xff\xd8data".to_vec()),
        ("avc-enhanced-header", b"\x02\0\x90avc1record".to_vec()),
        ("avc-enhanced-end", b"\x02\0\x92avc1".to_vec()),
        ("avc-legacy", b"\x02\0\x17\x01\0\0\x28data".to_vec()),
        ("generated-keyframe", b"\x02\0\x47\x01\0\0\0data".to_vec()),
        ("hevc-many-tracks", b"\x02\x03\x96\x11hvc1\0\0\0\x05\0\0\x28ab\x03\0\0\x06\0\0\x50cde".to_vec()),
        ("hevc-mod-ex", b"\x02\0\xa7\x02\x01\x02\x03\x01hvc1\0\0\x01data".to_vec()),
        ("many-codecs", b"\0\x02\x95\x21Opus\x01\0\0\x01omp4a\x02\0\0\x02aa".to_vec()),
        (
            "metadata",
            b"\x01\0\x02\0\x0aonMetaData\x08\0\0\0\x02\0\x08hasVideo\x01\x01\0\x05width\x01\0\0\0\x09"
                .to_vec(),
        ),
        ("mp3-enhanced", b"\0\0\x91.mp3data".to_vec()),
        ("opus-channels", b"\0\0\x94Opus\x01\x02".to_vec()),
        ("pcm", b"\0\0\x0fdata".to_vec()),
    ];
    own.into_iter().chain(record_seeds()).collect()
}

fn amf0_seeds() -> Seeds {
    let connect = [
        &b"\x02\x00\x07connect\x00\x3f\xf0\0\0\0\0\0\0\x03\x00\x03app\x02\x00\x04live\x00\x0eobjectEncoding"
            [..],
        b"\x00\0\0\0\0\0\0\0\0\x00\x0afourCcList\x0a\0\0\0\x02\x02\x00\x04hvc1\x02\x00\x01*\x00\x00\x09",
    ]
    .concat();
    let metadata = b"\x02\x00\x0aonMetaData\x08\0\0\0\x02\x00\x05width\x00\x40\x94\0\0\0\0\0\0\x00\x05codec\x02\x00\x04avc1\0\0\x09";
    let odd = [
        &b"\x0b\x42\x76\x8f\x0f\x32\x60\0\0\0\x3c\x0c\0\0\0\x02hi\x0f\0\0\0\x04<a/>\x10\0\x03Cls\0\x01k\x05\0\0\x09"[..],
        b"\x07\0\x01\x0d\x06\x05\x01\x02\x02\0\x01\xe9",
    ]
    .concat();
    vec![
        ("connect", connect),
        ("metadata", metadata.to_vec()),
        ("ecma-without-end", metadata[..metadata.len() - 3].to_vec()),
        ("odd-types", odd),
        ("deep-objects", b"\x03\0\x01a".repeat(40)),
        ("deep-arrays", b"\x0a\0\0\0\x01".repeat(40)),
        ("deep-enough", [b"\x0a\0\0\0\x01".repeat(32), vec![5]].concat()),
        ("lying-count", b"\x0a\xff\xff\xff\xff\x05\x05".to_vec()),
        ("lying-length", b"\x0c\xff\xff\xff\xffx".to_vec()),
        ("many-values", vec![5; 4097]),
        ("amf3", b"\x02\0\x01x\x11\x0a\x0b\x01\x01".to_vec()),
        (
            "amf3-class-twice",
            b"\x11\x09\x05\x01\x0a\x23\x07Cls\x03a\x03b\x01\x04\x01\x0a\x01\x02\x03\x05".to_vec(),
        ),
        ("amf3-vectors", b"\x11\x0d\x05\0\0\0\0\x01\0\0\0\x02\x11\x11\x03\0\x06\x03k\x04\x01\x05".to_vec()),
        ("amf3-deep", [&b"\x11"[..], &b"\x09\x03\x01".repeat(40)].concat()),
    ]
}

fn chunk(first: u8, fields: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[first], fields, payload].concat()
}

fn chunk_seeds() -> Seeds {
    let video = chunk(6, b"\0\0\x28\0\x01\x2c\x09\x01\0\0\0", &[7; 128]);
    let audio = chunk(4, b"\0\0\x29\0\x01\x18\x08\x01\0\0\0", &[8; 128]);
    let interleaved = [
        video.clone(),
        audio,
        chunk(2, b"\0\0\0\0\0\x06\x04\0\0\0\0", b"\0\x06\0\0\0\x09"),
        chunk(0xC6, b"", &[7; 128]),
        chunk(0xC4, b"", &[8; 128]),
        chunk(0xC6, b"", &[7; 44]),
        chunk(0xC4, b"", &[8; 24]),
        chunk(0x44, b"\0\0\x17\0\0\x01\x08", b"x"),
        chunk(0x84, b"\0\0\x17", b"y"),
        chunk(0xC4, b"", b"z"),
    ]
    .concat();
    let extended = |repeat: &[u8]| {
        let start = chunk(6, b"\xff\xff\xff\0\x01\x2c\x09\x01\0\0\0\x01\0\0\0", &[7; 128]);
        let next = [repeat, &[7; 128]].concat();
        let last = [repeat, &[7; 44]].concat();
        [start, chunk(0xC6, b"", &next), chunk(0xC6, b"", &last)].concat()
    };
    let chunk_size = |size: &[u8; 4]| chunk(2, b"\0\0\0\0\0\x04\x01\0\0\0\0", size);
    let abort = chunk(2, b"\0\0\0\0\0\x04\x02\0\0\0\0", b"\0\0\0\x06");
    let ids = [&b"\x00\x00"[..], b"\x00\xff", b"\x01\x00\x01", b"\x01\xff\xff"]
        .map(|id| [id, b"\0\0\0\0\0\x01\x08\x01\0\0\0x"].concat());
    let large = [chunk_size(b"\0\x01\0\0"), chunk(6, b"\0\0\0\0\x13\x88\x09\x01\0\0\0", &[9; 5000])].concat();
    let floods: Vec<u8> =
        (3..63).flat_map(|id| chunk(id, b"\0\0\0\x10\0\0\x09\x01\0\0\0", &[0; 128])).collect();
    let restart = [video.clone(), video.clone(), chunk(0x46, b"\0\0\0\0\x01\x2c\x09", &[1; 128])].concat();
    let granted = |body: &[u8]| [&[1, 5], body].concat();
    vec![
        ("interleaved", granted(&interleaved)),
        ("interleaved-ungranted", [&[0, 9], &interleaved[..]].concat()),
        ("extended-repeated", granted(&extended(b"\x01\0\0\0"))),
        ("extended-not-repeated", granted(&extended(b""))),
        ("abort", granted(&[&video[..], &abort, &interleaved].concat())),
        ("chunk-size-0", granted(&chunk_size(&[0; 4]))),
        ("chunk-size-127", granted(&chunk_size(b"\0\0\0\x7f"))),
        ("chunk-size-top-bit", granted(&chunk_size(&[0x80, 0, 0, 0]))),
        ("chunk-size-large", granted(&large)),
        ("ids", granted(&ids.concat())),
        ("restart", granted(&restart)),
        ("length-change", granted(&[&video[..], &chunk(0x46, b"\0\0\0\0\x01\0\x09", &[1; 128])].concat())),
        (
            "empty-messages",
            granted(&[&chunk(4, b"\0\0\x05\0\0\0\x08\x01\0\0\0", b"")[..], &[0xC4; 50]].concat()),
        ),
        ("announced-flood", granted(&floods)),
        ("announced-flood-ungranted", [&[0, 1], &floods[..]].concat()),
        ("type-3-first", granted(&[0xC3])),
    ]
}

/// Requests. First comes the protocol (0 HTTP/1, 1 HTTP/2 behind its preface), then the seed of the split.
#[cfg(feature = "http")]
fn http_seeds() -> Seeds {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let old = |requests: &str| [&b"\0\x07"[..], requests.as_bytes()].concat();
    let with = |header: &str| get("/live/a.flv").replacen("\r\n", &format!("\r\n{header}\r\n"), 1);
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let play = b"\x82\x87\x41\x01h\x04\x0b/live/a.flv";
    let new = |frames: &[Vec<u8>]| [&b"\x01\x07"[..], &frame(4, 0, 0, b""), &frames.concat()].concat();
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    vec![
        ("play", old(&get("/live/a.flv?key=5"))),
        ("play-by-query", old(&get("/live?port=1935&app=live&stream=a"))),
        ("play-old", old("GET /live/a.flv HTTP/1.0\r\n\r\n")),
        ("play-absolute", old(&get("http://other.example/live/a.live.flv"))),
        ("play-encoded", old(&get("/live/%61.flv"))),
        (
            "names-hostile",
            old(&[get("/live/%2e%2e.flv"), get("/live/a%00.flv"), get("/a/../b.flv")].concat()),
        ),
        ("pipelined", old(&[get("/"), get("/live/b.flv"), get("/live/a.flv"), get("/")].concat())),
        (
            "head-and-options",
            old(&["HEAD", "OPTIONS", "POST"].map(|m| get("/live/a.flv").replacen("GET", m, 1)).concat()),
        ),
        ("web-socket", old(&with(upgrade))),
        ("web-socket-of-nobody", old(&with(upgrade).replacen("a.flv", "b.flv", 1))),
        ("both-lengths", old(&with("Content-Length: 4\r\nTransfer-Encoding: chunked"))),
        ("two-lengths", old(&with("Content-Length: 0\r\nContent-Length: 4"))),
        ("folded", old(&with("X: y\r\n z"))),
        ("bare-lines", old("GET /live/a.flv HTTP/1.1\nHost: h\n\n")),
        ("no-host", old("GET /live/a.flv HTTP/1.1\r\n\r\n")),
        ("new-play", new(&[frame(1, 5, 1, play)])),
        ("new-play-taken-back", new(&[frame(1, 5, 1, play), frame(3, 0, 1, &[0, 0, 0, 8])])),
        (
            "new-several",
            new(&[frame(1, 5, 1, play), frame(1, 5, 3, b"\x82\x84\x87\x41\x01h"), frame(6, 0, 0, &[0; 8])]),
        ),
        ("new-head-in-pieces", new(&[frame(1, 1, 1, &play[..5]), frame(9, 4, 1, &play[5..])])),
        ("new-with-body", new(&[frame(1, 4, 1, play), frame(0, 1, 1, b"body")])),
        ("new-window", new(&[frame(1, 5, 1, play), frame(8, 0, 1, &[0x7f, 0xff, 0xff, 0xff])])),
    ]
}

/// Frames of clients. First comes whether they are made of what follows (1), then the seed of the split.
#[cfg(feature = "http")]
fn web_socket_seeds() -> Seeds {
    let frame = |first: u8, payload: &[u8]| {
        let masked = payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask);
        [&[first, 0x80 | payload.len() as u8, 1, 2, 3, 4], &masked.collect::<Vec<_>>()[..]].concat()
    };
    let raw = |frames: &[Vec<u8>]| [&b"\0\x07"[..], &frames.concat()].concat();
    let flv = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";
    let wishes = br#"{"destinations":["archive"]}"#;
    let long = |first: u8, len: u64| [&[first, 0xff][..], &len.to_be_bytes(), &[1, 2, 3, 4], flv].concat();
    // A kind, a mask, a length and a payload each.
    let made = |kind: u8, payload: &[u8]| [&[kind, 5, 6, 7, 8, payload.len() as u8], payload].concat();
    vec![
        ("stream", raw(&[frame(0x82, flv), frame(0x82, b"tag")])),
        (
            "stream-in-fragments",
            raw(&[frame(0x02, &flv[..3]), frame(0x89, b"ping"), frame(0x00, b""), frame(0x80, &flv[3..])]),
        ),
        ("text", raw(&[frame(0x81, wishes), frame(0x01, &wishes[..9]), frame(0x80, &wishes[9..])])),
        ("text-no-utf8", raw(&[frame(0x81, b"\xff\xfe")])),
        ("control", raw(&[frame(0x89, b"ping"), frame(0x8a, b"pong"), frame(0x88, b"\x03\xe8bye")])),
        ("control-in-fragments", raw(&[frame(0x09, b"ping")])),
        ("no-mask", raw(&[vec![0x82, 3, 1, 2, 3]])),
        ("extension", raw(&[frame(0xc2, flv)])),
        ("unknown-kind", raw(&[frame(0x83, flv), frame(0x8b, b"")])),
        ("fragment-of-nothing", raw(&[frame(0x80, flv)])),
        ("message-within-another", raw(&[frame(0x02, flv), frame(0x82, flv)])),
        ("long", raw(&[long(0x82, 8_192), long(0x82, 8_193)])),
        ("longest", raw(&[long(0x82, u64::MAX)])),
        ("long-text", raw(&[long(0x81, 4_097)])),
        (
            "made-stream",
            [&b"\x01\x09"[..], &made(0x02, flv), &made(0x00, b"ping"), &made(0x82, &[7; 200])].concat(),
        ),
        ("made-text", [&b"\x01\x09"[..], &made(0x01, b"{"), &made(0x81, b"}"), &made(0x82, flv)].concat()),
    ]
}

/// Choices, and for each codec of the target a track with its record as it is.
#[cfg(feature = "mp4")]
fn mp4_seeds() -> Seeds {
    let mut seeds = choice_seeds(400);
    for (name, number) in [
        ("h264", 0),
        ("hevc", 2),
        ("av1", 3),
        ("vp9", 4),
        ("aac", 7),
        ("mp3", 9),
        ("opus", 10),
        ("flac", 12),
        ("ac3", 13),
        ("eac3", 14),
    ] {
        // One track; a record and a frame, neither changed; units of time; that the frame is taken; samples.
        seeds.push((name, [&[0, number, 0, 1, number + 1, 0, 1, 0, 0, 3, 232, 1][..], &[7; 200]].concat()));
    }
    seeds
}

/// Files of each kind: where the index is, what it says, and fragments.
#[cfg(feature = "mp4")]
fn mp4_file_seeds() -> Seeds {
    use streamengine::testing::mp4_file::{
        FileTrack, Index, boxed, esds, fragmented_mp4, full_box, mp4, sound, visual,
    };
    let clip = || vec![FileTrack::h264().pictures(6, 3_600, 3, 7_200), FileTrack::aac().sound(11)];
    let edited =
        |edits: &[(u32, i32)]| vec![clip().remove(0).edits(edits), clip().remove(1).edits(&[(0, 1_024)])];
    let one = |track: FileTrack| mp4(&[track.sound(4)], Index::First);
    let audio = |entry| FileTrack::new(b"soun", 48_000, entry);
    let video = |kind, boxes: &[u8]| FileTrack::new(b"vide", 25, visual(kind, boxes));
    let mut turned = FileTrack::h264().pictures(4, 3_600, 4, 0);
    turned.turned = (0, 1);
    let wave = boxed(b"wave", &[&esds(0x40, &[0x11, 0x90])]);
    let mut quick_time = sound(b"mp4a", &[&[0; 16][..], &wave].concat());
    quick_time[17] = 1;
    let with_large_data = |mut file: Vec<u8>| {
        let at = file.windows(4).position(|window| window == b"mdat").unwrap() - 4;
        file[at..at + 4].fill(0);
        file
    };
    vec![
        ("index-first", mp4(&clip(), Index::First)),
        ("index-last", mp4(&clip(), Index::Last)),
        ("to-the-end", with_large_data(mp4(&clip(), Index::First))),
        ("fragments", fragmented_mp4(&clip(), 4)),
        ("fragments-edited", fragmented_mp4(&edited(&[(0, 7_200)]), 3)),
        ("edited", mp4(&edited(&[(240, 7_200)]), Index::First)),
        ("edited-later", mp4(&edited(&[(500, -1), (100, 18_000), (80, 7_200)]), Index::First)),
        ("turned", mp4(&[turned], Index::Last)),
        ("quick-time", one(audio(quick_time))),
        ("mp3", one(audio(sound(b"mp4a", &esds(0x6b, b""))))),
        ("opus", one(audio(sound(b"Opus", &boxed(b"dOps", &[b"\0\x02\x01\x38\0\0\xbb\x80\0\0\0"]))))),
        ("pcm", one(audio(sound(b"sowt", b"")))),
        (
            "av1",
            one(video(
                b"av01",
                &boxed(b"av1C", &[b"\x81\x04\x0c\0\x0a\x0b\0\0\0\x24\xcf\x7f\x0d\xbf\xff\x30\x08"]),
            )),
        ),
        ("vp9", one(video(b"vp09", &full_box(b"vpcC", 1, 0, &[b"\0\x14\x82\x02\x02\0\0\0"])))),
        ("no-index", mp4(&clip(), Index::Last)[..200].to_vec()),
    ]
}

fn handshake_seeds() -> Seeds {
    let (mut client, mut server) = (Handshake::client(), Handshake::server());
    let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        client.advance(&mut to_client, &mut to_server).unwrap();
        sent.extend_from_slice(&to_server);
        server.advance(&mut to_server, &mut to_client).unwrap();
        answered.extend_from_slice(&to_client);
    }
    let plain = [&[3][..], &[0; 8], &[0x5A; 3064], b"chunk"].concat();
    vec![
        ("server-digest", [&[0, 1], &sent[..]].concat()),
        ("server-plain", [&[0, 2], &plain[..]].concat()),
        ("server-cut", [&[0, 3], &plain[..2000]].concat()),
        ("client-digest", [&[1, 4], &answered[..]].concat()),
        ("client-plain", [&[1, 5], &plain[..]].concat()),
        ("http", b"\0\0GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("tls", b"\0\0\x16\x03\x01\x02\0".to_vec()),
        ("rtmpe", b"\0\0\x06".to_vec()),
    ]
}
