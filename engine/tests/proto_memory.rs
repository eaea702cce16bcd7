//! What hostile bytes can make the protocol layer allocate, measured at the allocator.

mod allocator;

use allocator::Counting;
use bytes::BytesMut;
use std::cell::Cell;
use streamengine::Limits;
use streamengine::amf0;
use streamengine::proto::chunk::ChunkReader;
use streamengine::proto::handshake::Handshake;
use streamengine::proto::message::{Message, decode};
use streamengine::proto::server::ServerSession;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts the bytes of the thread that runs a test.
fn count(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

#[global_allocator]
static ALLOCATOR: Counting = Counting(count);

/// The most bytes that were held at once beyond those at the start, while `work` ran, and at its end.
fn measure<T>(work: impl FnOnce() -> T) -> (usize, usize, T) {
    let start = HELD.get();
    PEAK.set(start);
    let result = work();
    ((PEAK.get() - start) as usize, (HELD.get() - start) as usize, result)
}

fn type0(id: u8, length: u32, payload: &[u8]) -> Vec<u8> {
    [&[id, 0, 0, 0][..], &length.to_be_bytes()[1..], &[9, 1, 0, 0, 0], payload].concat()
}

#[test]
fn f04_one_byte_of_each_of_many_announced_messages_costs_64_kib_before_the_grant_and_2_mib_after() {
    for (grant, length, most) in [(false, 65_536, 64 * 1024), (true, 8 * 1024 * 1024, 2 * 1024 * 1024)] {
        // One open chunk at a time: a chunk of 128 bytes is the least that lets the next message begin.
        let wire: Vec<u8> = (2..63).flat_map(|id| type0(id, length, &[0; 128])).collect();
        for step in [1, 140, wire.len()] {
            let mut input = BytesMut::with_capacity(wire.len());
            let (peak, _, _) = measure(|| {
                let mut reader = ChunkReader::new(&Limits::default());
                if grant {
                    reader.grant();
                }
                for piece in wire.chunks(step) {
                    input.extend_from_slice(piece);
                    let _ = reader.read(&mut input);
                }
            });
            assert!(peak <= most, "{peak} bytes, granted: {grant}, read in steps of {step}");
        }
    }
}

#[test]
fn f02_refused_messages_leave_nothing_behind() {
    let mut reader = ChunkReader::new(&Limits::default());
    for wire in
        [type0(3, 0xFF_FFFF, b"x"), [type0(3, 60_000, &[0; 128]), vec![0x43, 0, 0, 0, 0, 0, 9, 9]].concat()]
    {
        let mut input = BytesMut::from(&wire[..]);
        let (peak, held, result) = measure(|| reader.read(&mut input));
        assert!(result.is_err());
        assert!(peak <= 4 * 1024 && held <= 1024, "peak {peak}, held {held}");
        reader = ChunkReader::new(&Limits::default());
    }
}

#[test]
fn f07_amf_counts_and_lengths_beyond_the_message_allocate_little() {
    let lying: [&[u8]; 5] = [
        &[10, 0xFF, 0xFF, 0xFF, 0xFF],
        &[8, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1, b'a', 5],
        &[12, 0xFF, 0xFF, 0xFF, 0xFF, b'x'],
        &[2, 0xFF, 0xFF, b'x'],
        &[3, 0xFF, 0xFF, b'x'],
    ];
    for bytes in lying {
        let (peak, _, _) = measure(|| amf0::decode_all(bytes));
        assert!(peak <= 1024, "{peak} bytes for {bytes:?}");
    }
}

#[test]
fn f07_decoding_a_command_allocates_a_bounded_multiple_of_it() {
    // 64 KiB of the values that grow most: empty objects, empty arrays, properties, bytes that are not UTF-8.
    let bodies = [
        [3, 0, 0, 9].repeat(4095),
        [10, 0, 0, 0, 0].repeat(4095),
        [&[3][..], &[0, 1, b'a', 5].repeat(4000), &[0, 0, 9]].concat(),
        [&[12, 0, 0, 0xFF, 0xF0][..], &[0xFF; 0xFFF0]].concat(),
        [&[10, 0, 0, 0x0F, 0xFE][..], &[5; 0x0FFE]].concat(),
    ];
    for body in bodies {
        let payload = [&[2, 0, 1, b'x'][..], &body].concat().into();
        let message = Message { timestamp: 0, type_id: 20, stream_id: 0, payload };
        let (peak, _, result) = measure(|| decode(message));
        assert!(peak <= 1024 * 1024, "{peak} bytes for a {} byte command", body.len());
        drop(result);
    }
}

/// Past its handshake, with an announced chunk size that takes the commands whole.
fn served() -> ServerSession {
    let mut session = ServerSession::new(&Limits::default());
    session.input().extend_from_slice(
        &[&[3][..], &[0; 3072], &[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 1, 0, 0]].concat(),
    );
    assert_eq!(session.poll(), Ok(None));
    session.output().clear();
    session
}

#[test]
fn f07_what_connect_leaves_in_memory_before_a_grant_is_at_most_64_kib() {
    // 64 KiB of the values that grow most, and as many as an object may have.
    let properties = |count: u32, value: &[u8]| -> Vec<u8> {
        let property = |i: u32| [&[0, 2][..], &i.to_be_bytes()[2..], value].concat();
        [&[3][..], &(0..count).flat_map(property).collect::<Vec<_>>(), &[0, 0, 9]].concat()
    };
    let text = [&[12, 0, 0, 0x3F, 0][..], &[b'x'; 0x3F00]].concat();
    for (object, allowed) in [
        (properties(4_000, &[5]), false),
        (properties(2_000, &[3, 0, 0, 9]), false),
        (properties(1, &[&[12, 0, 0, 0xF0, 0][..], &[b'x'; 0xF000]].concat()), false),
        (properties(1, &text), true),
        (properties(250, &[5]), true),
        (properties(120, &[3, 0, 0, 9]), true),
    ] {
        let command = [b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0", &object[..]].concat();
        let wire =
            [&[3, 0, 0, 0][..], &(command.len() as u32).to_be_bytes()[1..], &[20, 0, 0, 0, 0], &command]
                .concat();
        let (_, held, (refused, _kept)) = measure(|| {
            let mut session = served();
            session.input().extend_from_slice(&wire);
            let kept = session.poll();
            session.accept();
            session.output().clear();
            (kept.is_err(), (session, kept))
        });
        assert_eq!(refused, !allowed, "{} bytes", object.len());
        assert!(held <= 64 * 1024, "{held} bytes for an object of {}", object.len());
    }
}

#[test]
fn f12_handshake_in_progress_holds_less_than_8_kib() {
    let (_, held, state) = measure(|| {
        let mut server = Handshake::server();
        let (mut input, mut output) = (BytesMut::from(&[3; 1537][..]), BytesMut::new());
        assert_eq!(server.advance(&mut input, &mut output), Ok(false));
        server
    });
    assert!(held <= 8 * 1024, "{held} bytes");
    drop(state);

    let (_, held, state) = measure(|| {
        let mut server = Handshake::server();
        let (mut input, mut output) = (BytesMut::from(&[3; 3073][..]), BytesMut::new());
        assert_eq!(server.advance(&mut input, &mut output), Ok(true));
        server
    });
    assert_eq!(held, 0, "a finished handshake holds nothing");
    drop(state);
}
