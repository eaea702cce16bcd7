//! Tests of the chunk reader and writer against bytes written out by hand.

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;

/// A basic header in its shortest form.
fn basic(format: u8, id: u32) -> Vec<u8> {
    match id {
        0..64 => vec![format << 6 | id as u8],
        64..320 => vec![format << 6, (id - 64) as u8],
        _ => [vec![format << 6 | 1], ((id - 64) as u16).to_le_bytes().to_vec()].concat(),
    }
}

fn be24(value: u32) -> Vec<u8> {
    value.to_be_bytes()[1..].to_vec()
}

/// A timestamp field, and the extended one that belongs behind the header.
fn time_fields(value: u32) -> (Vec<u8>, Vec<u8>) {
    match value {
        0..EXTENDED => (be24(value), vec![]),
        _ => (be24(EXTENDED), value.to_be_bytes().to_vec()),
    }
}

fn type0(id: u32, time: u32, length: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let (field, extended) = time_fields(time);
    [basic(0, id), field, be24(length), vec![kind, 1, 0, 0, 0], extended, payload.to_vec()].concat()
}

fn type1(id: u32, delta: u32, length: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let (field, extended) = time_fields(delta);
    [basic(1, id), field, be24(length), vec![kind], extended, payload.to_vec()].concat()
}

fn type2(id: u32, delta: u32, payload: &[u8]) -> Vec<u8> {
    let (field, extended) = time_fields(delta);
    [basic(2, id), field, extended, payload.to_vec()].concat()
}

fn type3(id: u32, payload: &[u8]) -> Vec<u8> {
    [basic(3, id), payload.to_vec()].concat()
}

fn set_chunk_size(size: u32) -> Vec<u8> {
    type0(2, 0, 4, 1, &size.to_be_bytes())
}

fn abort(id: u32) -> Vec<u8> {
    type0(2, 0, 4, 2, &id.to_be_bytes())
}

fn granted() -> ChunkReader {
    let mut reader = ChunkReader::new(&Limits::default());
    reader.grant();
    reader
}

/// All messages in `bytes`, and the error after them.
fn drain(reader: &mut ChunkReader, input: &mut BytesMut) -> (Vec<Message>, Option<ProtocolError>) {
    let mut messages = Vec::new();
    loop {
        match reader.read(input) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(error) => return (messages, Some(error)),
        }
    }
}

fn read_all(parts: &[Vec<u8>]) -> Vec<Message> {
    let (messages, error) = drain(&mut granted(), &mut BytesMut::from(&parts.concat()[..]));
    assert_eq!(error, None);
    messages
}

fn error_of(parts: &[Vec<u8>]) -> ProtocolError {
    drain(&mut granted(), &mut BytesMut::from(&parts.concat()[..])).1.expect("an error")
}

/// `(time, type, payload)` of each message.
fn summary(messages: &[Message]) -> Vec<(u32, u8, &[u8])> {
    messages.iter().map(|m| (m.timestamp, m.type_id, &m.payload[..])).collect()
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[test]
fn ping_inside_a_video_message_disturbs_neither() {
    let video = bytes(300, 1);
    let ping = [0, 6, 0, 0, 0, 9];
    let messages = read_all(&[
        type0(6, 40, 300, VIDEO, &video[..128]),
        type0(2, 0, 6, 4, &ping),
        type3(6, &video[128..256]),
        type3(6, &video[256..]),
    ]);
    assert_eq!(summary(&messages), [(0, 4, &ping[..]), (40, VIDEO, &video[..])]);
}

#[test]
fn audio_and_video_chunks_may_alternate() {
    let (video, audio) = (bytes(300, 1), bytes(280, 2));
    let messages = read_all(&[
        type0(6, 10, 300, VIDEO, &video[..128]),
        type0(4, 11, 280, AUDIO, &audio[..128]),
        type3(6, &video[128..256]),
        type3(4, &audio[128..256]),
        type3(6, &video[256..]),
        type3(4, &audio[256..]),
    ]);
    assert_eq!(summary(&messages), [(10, VIDEO, &video[..]), (11, AUDIO, &audio[..])]);
}

#[test]
fn abort_drops_only_its_chunk_stream() {
    let (video, audio) = (bytes(300, 1), bytes(200, 2));
    let messages = read_all(&[
        type0(6, 10, 300, VIDEO, &video[..128]),
        type0(4, 11, 200, AUDIO, &audio[..128]),
        abort(6),
        abort(999),
        type3(4, &audio[128..]),
        type0(6, 20, 5, VIDEO, b"fresh"),
    ]);
    assert_eq!(summary(&messages), [(11, AUDIO, &audio[..]), (20, VIDEO, &b"fresh"[..])]);
}

#[test]
fn header_restart_drops_the_unfinished_message() {
    for restart in [
        type0(6, 50, 200, VIDEO, &bytes(128, 7)),
        type1(6, 10, 200, VIDEO, &bytes(128, 7)),
        type2(6, 10, &bytes(128, 7)),
    ] {
        let tail = bytes(200, 7)[128..].to_vec();
        let messages = read_all(&[type0(6, 40, 200, VIDEO, &bytes(128, 1)), restart, type3(6, &tail)]);
        assert_eq!(summary(&messages), [(50, VIDEO, &bytes(200, 7)[..])]);
    }
    let shorter = [type0(6, 40, 200, VIDEO, &bytes(128, 1)), type0(6, 50, 3, VIDEO, b"new")];
    assert_eq!(summary(&read_all(&shorter)), [(50, VIDEO, &b"new"[..])]);
}

#[test]
fn f02_length_change_in_mid_message_is_refused() {
    for length in [0, 1, 128, 199, 201, 60_000, 0xFF_FFFF] {
        for grant in [false, true] {
            let mut reader = ChunkReader::new(&Limits::default());
            if grant {
                reader.grant();
            }
            let start = type0(6, 0, 200, VIDEO, &bytes(128, 1));
            let mut input = BytesMut::from(&[start.clone(), type1(6, 0, length, VIDEO, b"")].concat()[..]);
            let (messages, error) = drain(&mut reader, &mut input);
            let error = error.expect("refused");
            assert_eq!((messages.len(), error.kind), (0, ProtocolErrorKind::Chunk));
            assert_eq!(error.position, start.len() as u64);
            assert_eq!(reader.allocated(), 0);
            input.extend_from_slice(&type0(6, 0, 1, VIDEO, b"x"));
            assert_eq!(reader.read(&mut input), Err(error), "errors are final");
        }
    }
}

#[test]
fn f03_interleaved_chunk_streams_are_kept_apart_in_1000_schedules() {
    let mut delivered = 0;
    for seed in 0..1000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let choices: Vec<u8> = (0..600).map(|_| rng.random()).collect();
        delivered += crate::fuzzing::chunk_roundtrip_count(&choices);
    }
    assert!(delivered > 10_000, "the schedules carried only {delivered} messages");
}

#[test]
fn f04_announced_bytes_cost_nothing_before_they_arrive() {
    for (mut reader, streams, length, most) in [
        (ChunkReader::new(&Limits::default()), 16, 64 * 1024, 20 * 1024),
        (granted(), 64, 8 * 1024 * 1024, 2 * 1024 * 1024),
    ] {
        let begin = |id: u32| type0(3 + id, 0, length, VIDEO, &[0; 128]);
        // All at once, so that the reader sees as much input as possible behind each header.
        let mut input = BytesMut::from(&(0..streams).flat_map(begin).collect::<Vec<u8>>()[..]);
        assert_eq!(reader.read(&mut input), Ok(None));
        assert!(reader.allocated() <= most, "{} bytes held", reader.allocated());
    }
    assert_eq!(error_of(&[type0(3, 0, 0xFF_FFFF, VIDEO, &[0])]).kind, ProtocolErrorKind::Limit);
}

#[test]
fn f04_65th_chunk_stream_is_refused_and_17th_before_the_grant() {
    for (mut reader, most) in [(ChunkReader::new(&Limits::default()), 16), (granted(), 64)] {
        for n in 0..=most {
            let mut input = BytesMut::from(&type0(3 + n * 7, 0, 1, AUDIO, b"x")[..]);
            match reader.read(&mut input) {
                Ok(Some(_)) => assert!(n < most),
                other => {
                    assert_eq!(n, most);
                    assert_eq!(other.unwrap_err().kind, ProtocolErrorKind::Limit);
                }
            }
        }
    }
}

#[test]
fn f04_message_length_is_limited_by_the_grant() {
    for (mut reader, max) in [(ChunkReader::new(&Limits::default()), 64 * 1024), (granted(), 8 * 1024 * 1024)]
    {
        let mut input = BytesMut::from(&set_chunk_size(0x7FFF_FFFF)[..]);
        input.extend_from_slice(&type0(3, 0, max, VIDEO, &vec![7; max as usize]));
        assert_eq!(reader.read(&mut input).unwrap().unwrap().payload.len(), max as usize);
        input.extend_from_slice(&type1(3, 0, max + 1, VIDEO, b""));
        assert_eq!(reader.read(&mut input).unwrap_err().kind, ProtocolErrorKind::Limit);
    }
}

#[test]
fn f04_unfinished_messages_share_one_budget_before_the_grant() {
    let mut reader = ChunkReader::new(&Limits::default());
    assert_eq!(reader.chunk_size(), 128);
    let mut input = BytesMut::from(&set_chunk_size(16 * 1024)[..]);
    for n in 0..5 {
        let part = type0(3 + n, 0, 64 * 1024, VIDEO, &vec![0; 16 * 1024]);
        part.iter().for_each(|&byte| {
            input.extend_from_slice(&[byte]);
            let _ = reader.read(&mut input);
        });
        assert!(reader.allocated() <= 96 * 1024, "{}", reader.allocated());
    }
    assert_eq!(reader.chunk_size(), 16 * 1024);
    assert_eq!(reader.read(&mut input).unwrap_err().kind, ProtocolErrorKind::Limit);
}

#[test]
fn f04_unfinished_messages_of_a_publisher_share_8_mib() {
    let mut reader = granted();
    let mut input = BytesMut::from(&set_chunk_size(1024 * 1024)[..]);
    let mut received = 0;
    let error = loop {
        input.extend_from_slice(&type0(3 + received, 0, 8 * 1024 * 1024, VIDEO, &vec![0; 1024 * 1024]));
        match reader.read(&mut input) {
            Ok(None) => received += 1,
            other => break other.unwrap_err(),
        }
        assert!(received < 64, "no end to it");
    };
    assert_eq!((received, error.kind), (8, ProtocolErrorKind::Limit));

    // The longest message of all may still be interleaved with another one.
    let mut reader = granted();
    let mut input = BytesMut::from(&set_chunk_size(4096)[..]);
    input.extend_from_slice(&type0(3, 0, 60_000, AUDIO, &[8; 4096]));
    input.extend_from_slice(&set_chunk_size(0x7FFF_FFFF));
    input.extend_from_slice(&type0(4, 0, 8 * 1024 * 1024, VIDEO, &vec![9; 8 * 1024 * 1024]));
    assert_eq!(reader.read(&mut input).unwrap().unwrap().payload.len(), 8 * 1024 * 1024);
}

#[test]
fn f05_chunk_sizes_below_128_and_with_the_top_bit_are_refused() {
    for size in [0, 1, 127, 0x8000_0000, u32::MAX] {
        assert_eq!(error_of(&[set_chunk_size(size)]).kind, ProtocolErrorKind::Chunk, "{size}");
    }
    for size in [128, 129, 65_536, 0xFF_FFFF, 0x7FFF_FFFF] {
        let body = bytes(5000, 3);
        let mut parts = vec![set_chunk_size(size)];
        let mut pieces = body.chunks(size as usize);
        parts.push(type0(6, 1, 5000, VIDEO, pieces.next().unwrap()));
        parts.extend(pieces.map(|piece| type3(6, piece)));
        assert_eq!(summary(&read_all(&parts)), [(1, VIDEO, &body[..])]);
    }
    assert_eq!(
        read_all(&[type0(2, 0, 3, 1, b"abc"), type0(2, 0, 0, 2, b"")]),
        [],
        "malformed ones are ignored"
    );
}

/// What this thread has had of the processor, whatever else runs on it.
#[cfg(unix)]
fn cpu_time() -> std::time::Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// The CPU that it takes to read messages of 64 KiB in chunks of `size` bytes.
#[cfg(unix)]
fn reading_cpu(size: u32) -> std::time::Duration {
    let body = bytes(64 * 1024, 1);
    let mut wire = set_chunk_size(size);
    for _ in 0..20 {
        let mut pieces = body.chunks(size as usize);
        wire.extend(type0(6, 0, 64 * 1024, VIDEO, pieces.next().unwrap()));
        pieces.for_each(|piece| wire.extend(type3(6, piece)));
    }
    let (mut reader, mut input) = (granted(), BytesMut::from(&wire[..]));
    let start = cpu_time();
    let (messages, error) = drain(&mut reader, &mut input);
    let took = cpu_time() - start;
    assert_eq!((messages.len(), error), (20, None));
    took
}

#[cfg(unix)]
#[test]
fn f05_chunks_of_128_bytes_cost_three_times_the_cpu_of_large_ones_at_most() {
    // One after the other, so that cold caches and a busy machine make both dearer; the best of some leaves that out.
    let runs = (0..20).map(|_| (reading_cpu(128), reading_cpu(4096)));
    let (small, large) = runs.reduce(|best, run| (best.0.min(run.0), best.1.min(run.1))).unwrap();
    // Without optimisation, copying is as fast as ever and all else is slow.
    let most = if cfg!(debug_assertions) { 60 } else { 3 };
    assert!(small <= large * most, "{small:?} against {large:?}");
}

#[test]
fn f08_extended_timestamp_is_found_whether_type_3_repeats_it_or_not() {
    for time in [0xFF_FFFF, 0x100_0000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF_u32] {
        for repeat in [vec![], time.to_be_bytes().to_vec()] {
            let body = bytes(300, 5);
            let stream = [
                type0(6, time, 300, VIDEO, &body[..128]),
                type3(6, &[&repeat[..], &body[128..256]].concat()),
                type3(6, &[&repeat[..], &body[256..]].concat()),
                type1(6, 40, 130, VIDEO, &body[..128]),
                type3(6, &body[128..130]),
            ];
            let messages = read_all(&stream);
            let next = time.wrapping_add(40);
            assert_eq!(summary(&messages), [(time, VIDEO, &body[..]), (next, VIDEO, &body[..130])]);
            assert_eq!(read_bytewise(&stream.concat()), messages);
        }
    }
}

#[test]
fn f08_extended_delta_may_be_repeated_as_delta_or_as_time_or_not_at_all() {
    let (start, delta) = (1000_u32, 0x0123_4567_u32);
    let time = start + delta;
    for repeat in [vec![], delta.to_be_bytes().to_vec(), time.to_be_bytes().to_vec()] {
        let body = bytes(200, 5);
        let messages = read_all(&[
            type0(6, start, 1, VIDEO, b"x"),
            type1(6, delta, 200, VIDEO, &body[..128]),
            type3(6, &[&repeat[..], &body[128..]].concat()),
        ]);
        assert_eq!(summary(&messages)[1], (time, VIDEO, &body[..]));
    }
}

#[test]
fn f08_short_rest_of_an_unrepeated_extended_message_is_not_waited_for() {
    // Two bytes are left, fewer than a repeated timestamp would need.
    let body = bytes(130, 5);
    let mut input = BytesMut::from(&type0(6, 0x0100_0000, 130, VIDEO, &body[..128])[..]);
    input.extend_from_slice(&type3(6, &body[128..]));
    assert_eq!(granted().read(&mut input).unwrap().unwrap().payload, body);
}

#[test]
fn f08_deltas_wrap_and_may_step_back() {
    let back = 10_000_u32.wrapping_neg();
    let messages = read_all(&[
        type0(6, 0xFFFF_FFF0, 1, VIDEO, b"a"),
        type1(6, 0x20, 1, VIDEO, b"b"),
        type2(6, 0, b"c"),
        type2(6, back, b"d"),
    ]);
    let times: Vec<u32> = messages.iter().map(|m| m.timestamp).collect();
    assert_eq!(times, [0xFFFF_FFF0, 0x10, 0x10, 0x10_u32.wrapping_sub(10_000)]);
}

#[test]
fn extended_field_may_hold_a_small_value() {
    let mut chunk = type0(6, 0xFF_FFFF, 1, VIDEO, b"");
    let at = chunk.len() - 4;
    chunk[at..].copy_from_slice(&77_u32.to_be_bytes());
    chunk.push(b'x');
    let messages = read_all(&[chunk, type2(6, 3, b"y")]);
    assert_eq!(summary(&messages), [(77, VIDEO, &b"x"[..]), (80, VIDEO, &b"y"[..])]);
}

#[test]
fn type_3_that_starts_a_message_reuses_the_delta() {
    let messages = read_all(&[
        type0(6, 20, 1, VIDEO, b"a"),
        type3(6, b"b"),
        type1(6, 7, 1, AUDIO, b"c"),
        type3(6, b"d"),
        type2(6, 5, b"e"),
        type3(6, b"f"),
    ]);
    let times: Vec<(u32, u8)> = messages.iter().map(|m| (m.timestamp, m.type_id)).collect();
    assert_eq!(times, [(20, VIDEO), (40, VIDEO), (47, AUDIO), (54, AUDIO), (59, AUDIO), (64, AUDIO)]);
}

#[test]
fn type_3_message_after_an_extended_time_keeps_the_time() {
    for repeat in [vec![], 0x0100_0000_u32.to_be_bytes().to_vec()] {
        let messages = read_all(&[
            type0(6, 0x0100_0000, 5, VIDEO, b"first"),
            type3(6, &[&repeat[..], b"again"].concat()),
        ]);
        assert_eq!(summary(&messages)[1], (0x0100_0000, VIDEO, &b"again"[..]));
    }
}

#[test]
fn chunk_stream_ids_have_one_two_or_three_bytes() {
    for id in [2, 3, 63, 64, 319, 320, 65_599] {
        let body = bytes(200, 9);
        let messages = read_all(&[type0(id, 1, 200, VIDEO, &body[..128]), type3(id, &body[128..])]);
        assert_eq!(summary(&messages), [(1, VIDEO, &body[..])], "chunk stream {id}");
    }
}

#[test]
fn chunk_stream_may_begin_with_type_1_but_not_with_2_or_3() {
    assert_eq!(summary(&read_all(&[type1(2, 9, 2, 4, b"uc")])), [(9, 4, &b"uc"[..])]);
    assert_eq!(error_of(&[type2(5, 1, b"")]).kind, ProtocolErrorKind::Chunk);
    assert_eq!(error_of(&[type3(5, b"")]).kind, ProtocolErrorKind::Chunk);
}

#[test]
fn empty_messages_are_returned() {
    let messages = read_all(&[type0(4, 5, 0, AUDIO, b""), type3(4, b""), type1(4, 1, 1, AUDIO, b"x")]);
    assert_eq!(summary(&messages), [(5, AUDIO, &b""[..]), (10, AUDIO, &b""[..]), (11, AUDIO, &b"x"[..])]);
}

fn read_bytewise(stream: &[u8]) -> Vec<Message> {
    let mut reader = granted();
    let mut input = BytesMut::new();
    let mut messages = Vec::new();
    for &byte in stream {
        input.extend_from_slice(&[byte]);
        let (more, error) = drain(&mut reader, &mut input);
        assert_eq!(error, None);
        messages.extend(more);
    }
    messages
}

#[test]
fn any_split_of_the_input_gives_the_same_messages() {
    let (video, audio) = (bytes(300, 1), bytes(280, 2));
    let stream = [
        type0(6, 0xFFFF_FF00, 300, VIDEO, &video[..128]),
        type0(70, 11, 280, AUDIO, &audio[..128]),
        type3(6, &video[128..256]),
        type3(70, &audio[128..256]),
        type3(6, &video[256..]),
        type3(70, &audio[256..]),
        set_chunk_size(4096),
        type1(6, 0x0100_0000, 300, VIDEO, &video),
        type0(4, 3, 0, AUDIO, b""),
    ]
    .concat();
    let whole = read_all(std::slice::from_ref(&stream));
    assert_eq!(whole.len(), 4);
    assert_eq!(read_bytewise(&stream), whole);
    for cut in 0..stream.len() {
        let mut reader = granted();
        let mut input = BytesMut::from(&stream[..cut]);
        let (mut messages, _) = drain(&mut reader, &mut input);
        input.extend_from_slice(&stream[cut..]);
        let (more, error) = drain(&mut reader, &mut input);
        messages.extend(more);
        assert_eq!((messages, error), (whole.clone(), None), "cut at {cut}");
    }
}

#[test]
fn messages_do_not_pin_the_read_buffer() {
    let mut input = BytesMut::with_capacity(64 * 1024);
    input.extend_from_slice(&type0(4, 0, 6, AUDIO, b"sample"));
    let start = input.as_ptr() as usize;
    let message = granted().read(&mut input).unwrap().unwrap();
    let at = message.payload.as_ptr() as usize;
    assert!(at < start || at >= start + 64 * 1024, "the payload lies in the read buffer");
    assert!(input.try_reclaim(64 * 1024), "the read buffer is in use");
}

#[test]
fn assembled_messages_have_no_spare_room() {
    let body = bytes(100_000, 1);
    let mut reader = granted();
    let mut input = BytesMut::from(&set_chunk_size(4096)[..]);
    let mut pieces = body.chunks(4096);
    input.extend_from_slice(&type0(6, 0, 100_000, VIDEO, pieces.next().unwrap()));
    pieces.for_each(|piece| input.extend_from_slice(&type3(6, piece)));
    let mut tail = input.split_off(50_000);
    assert_eq!(reader.read(&mut input), Ok(None));
    assert!(reader.allocated() < 100_000, "{}", reader.allocated());
    input.unsplit(tail.split());
    let payload = reader.read(&mut input).unwrap().unwrap().payload;
    assert_eq!((&payload[..], reader.allocated()), (&body[..], 0));
    assert_eq!(Vec::from(payload).capacity(), 100_000);
}

#[test]
fn position_counts_from_the_start_of_the_connection() {
    let mut reader = granted();
    reader.set_base(3073);
    let mut input = BytesMut::from(&type0(4, 0, 6, AUDIO, b"sample")[..]);
    input.extend_from_slice(&type0(4, 0, 6, AUDIO, b"sam"));
    assert!(reader.read(&mut input).unwrap().is_some());
    assert_eq!(reader.position(), 3073 + 18);
    assert_eq!(reader.read(&mut input), Ok(None));
    assert_eq!((reader.position(), input.len()), (3073 + 33, 0));
}

fn wire(message: &WireMessage) -> BytesMut {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out
}

#[test]
fn written_message_is_read_back_at_every_length_around_a_chunk() {
    for len in [0, 1, 127, 128, 65_535, 65_536, 65_537, 131_072, 131_073, 1_000_000] {
        for time in [0, 40, 0xFF_FFFE, 0xFF_FFFF, 0xFFFF_FFFF_i64] {
            let payload = Bytes::from(bytes(len, 3));
            let message = WireMessage::new(csid::VIDEO, VIDEO, 1, time, payload.clone());
            let out = wire(&message);
            assert_eq!(out.len(), message.len());
            let mut input = BytesMut::from(&set_chunk_size(CHUNK_SIZE_OUT as u32)[..]);
            input.unsplit(out);
            let (messages, error) = drain(&mut granted(), &mut input);
            let expected = Message { timestamp: time as u32, type_id: VIDEO, stream_id: 1, payload };
            assert_eq!((messages, error), (vec![expected], None));
        }
    }
}

#[test]
fn a_message_in_chunks_of_another_size_is_read_back_with_that_size() {
    for size in [1, 128, 4_096, 1_000_000] {
        let payload = Bytes::from(bytes(10_000, 3));
        let message = WireMessage::new(csid::VIDEO, VIDEO, 1, 0xFF_FFFF, payload.clone()).in_chunks_of(size);
        let out = wire(&message);
        assert_eq!(out.len(), message.len());
        let mut reader = ChunkReader::new(&Limits { min_chunk_size: 1, ..Limits::default() });
        reader.grant();
        let mut input = BytesMut::from(&set_chunk_size(size)[..]);
        input.unsplit(out);
        let (messages, error) = drain(&mut reader, &mut input);
        assert_eq!((messages.len(), error), (1, None), "chunks of {size}");
        assert_eq!(messages[0].payload, payload);
    }
}

fn concat(slices: &[IoSlice<'_>]) -> Vec<u8> {
    slices.iter().flat_map(|s| s.iter().copied()).collect()
}

#[test]
fn slices_continue_at_any_byte() {
    let message = WireMessage::new(csid::VIDEO, VIDEO, 1, 0x1234_5678, bytes(131_100, 3).into());
    let whole = wire(&message);
    let borders = [0, 1, 15, 16, 17, 16 + 65_536, 16 + 65_536 + 5, 16 + 2 * 65_536 + 5, message.len() - 1];
    for skip in borders.into_iter().chain((0..=message.len()).step_by(997)).chain([message.len()]) {
        let mut slices = Vec::new();
        message.slices(skip, &mut slices);
        assert!(slices.iter().all(|s| !s.is_empty()));
        assert_eq!(concat(&slices), &whole[skip..], "after {skip} bytes");
    }
}

#[test]
fn payload_is_not_copied_into_slices() {
    let payload = Bytes::from(bytes(100, 1));
    let message = WireMessage::new(csid::AUDIO, AUDIO, 1, -1, payload.clone());
    let mut slices = Vec::new();
    message.slices(0, &mut slices);
    assert_eq!(slices[1].as_ptr(), payload.as_ptr());
    assert_eq!(wire(&message)[12..16], [0xFF; 4], "time -1 is 2^32 - 1 on the wire");
}
