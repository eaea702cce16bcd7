//! The chunk layer and the handshake against `rml_rtmp`'s, an implementation that we did not write.

use bytes::{Bytes, BytesMut};
use rml_rtmp::chunk_io::{ChunkDeserializer, ChunkSerializer};
use rml_rtmp::handshake::{Handshake as RmlHandshake, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::time::RtmpTimestamp;
use streamengine::Limits;
use streamengine::proto::chunk::{CHUNK_SIZE_OUT, ChunkReader, WireMessage, csid};
use streamengine::proto::handshake::Handshake;

/// Times around every border: small steps, equal ones, 2^24, 2^31, and back.
const TIMES: [u32; 12] =
    [0, 0, 40, 80, 80, 0xFF_FFFE, 0xFF_FFFF, 0x100_0000, 0x7FFF_FFF0, 0x8000_0010, 0x8000_0000, 5];
const LENGTHS: [usize; 9] = [1, 4, 127, 128, 129, 4096, 65_536, 65_537, 200_000];

fn body(len: usize, seed: u8) -> Bytes {
    (0..len).map(|i| (i as u8).wrapping_mul(29) ^ seed).collect()
}

#[test]
fn our_writer_is_understood_by_rml_rtmp() {
    let mut peer = ChunkDeserializer::new();
    peer.set_max_chunk_size(CHUNK_SIZE_OUT).unwrap();
    for (n, time) in TIMES.into_iter().enumerate() {
        for len in LENGTHS {
            let payload = body(len, n as u8);
            let (id, kind) = if n % 2 == 0 { (csid::VIDEO, 9) } else { (csid::AUDIO, 8) };
            let mut out = BytesMut::new();
            WireMessage::new(id, kind, 1, time.into(), payload.clone()).encode(&mut out);
            let read = peer.get_next_message(&out).unwrap().expect("a whole message");
            assert_eq!((read.timestamp.value, read.type_id, read.message_stream_id), (time, kind, 1));
            assert_eq!(read.data, payload);
        }
    }
}

#[test]
fn our_reader_understands_rml_rtmp() {
    for chunk_size in [128, 4096, 65_536] {
        let mut peer = ChunkSerializer::new();
        let mut reader = ChunkReader::new(&Limits::default());
        reader.grant();
        let mut input = BytesMut::new();
        input.extend_from_slice(&peer.set_max_chunk_size(chunk_size, RtmpTimestamp::new(0)).unwrap().bytes);
        for (n, time) in TIMES.into_iter().enumerate() {
            for len in LENGTHS {
                let sent = MessagePayload {
                    timestamp: RtmpTimestamp::new(time),
                    type_id: [8, 9, 18, 20][n % 4],
                    message_stream_id: 1,
                    data: body(len, n as u8),
                };
                input.extend_from_slice(&peer.serialize(&sent, false, false).unwrap().bytes);
                let read = reader.read(&mut input).unwrap().expect("a whole message");
                assert_eq!((read.timestamp, read.type_id, read.stream_id), (time, sent.type_id, 1));
                assert_eq!(read.payload, sent.data);
            }
        }
        assert!(input.is_empty());
    }
}

#[test]
fn our_server_completes_the_handshake_with_rml_rtmp_as_client() {
    let mut peer = RmlHandshake::new(PeerType::Client);
    let mut server = Handshake::server();
    let mut input = BytesMut::from(&peer.generate_outbound_p0_and_p1().unwrap()[..]);
    let mut output = BytesMut::new();
    assert_eq!(server.advance(&mut input, &mut output), Ok(false));
    let Ok(HandshakeProcessResult::Completed { response_bytes, remaining_bytes }) =
        peer.process_bytes(&output)
    else {
        panic!("the peer did not complete");
    };
    assert!(remaining_bytes.is_empty());
    input.extend_from_slice(&response_bytes);
    input.extend_from_slice(b"chunk");
    assert_eq!(server.advance(&mut input, &mut output), Ok(true));
    assert_eq!(&input[..], b"chunk");
}

#[test]
fn our_client_completes_the_handshake_with_rml_rtmp_as_server() {
    let mut peer = RmlHandshake::new(PeerType::Server);
    let mut client = Handshake::client();
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    assert_eq!(client.advance(&mut input, &mut output), Ok(false));
    let Ok(HandshakeProcessResult::InProgress { response_bytes }) = peer.process_bytes(&output.split())
    else {
        panic!("the peer did not answer");
    };
    input.extend_from_slice(&response_bytes);
    assert_eq!(client.advance(&mut input, &mut output), Ok(true));
    assert!(matches!(peer.process_bytes(&output), Ok(HandshakeProcessResult::Completed { .. })));
}
