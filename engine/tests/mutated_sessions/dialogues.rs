//! What common encoders and players send behind their handshakes; long messages are in several pieces. The dialogues of
//! ffmpeg 5.1 and rtmpdump 2.4 were captured; that of OBS follows its librtmp.

/// Publish from ffmpeg: chunk size as ours, csid 8 for `publish`, 6 and 7 for media.
pub(crate) const FFMPEG_PUBLISH: &[&[u8]] = &[
    b"\x03\0\0\0\0\0\x8c\x14\0\0\0\0\x02\0\x07connect\0?\xf0\0\0\0\0\0\0\x03\0\x03app\x02\0\x04",
    b"live\0\x04type\x02\0\x0anonprivate\0\x08flashVer\x02\0$FMLE/3.0 (compatible; Lavf59.27",
    b".100)\0\x05tcUrl\x02\0\x1brtmp://127.0.0.1:1\xc39937/live\0\0\x09",
    b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\x01\0\0",
    b"C\0\0\0\0\0 \x14\x02\0\x0dreleaseStream\0@\0\0\0\0\0\0\0\x05\x02\0\x03cam",
    b"C\0\0\0\0\0\x1c\x14\x02\0\x09FCPublish\0@\x08\0\0\0\0\0\0\x05\x02\0\x03cam",
    b"C\0\0\0\0\0\x19\x14\x02\0\x0ccreateStream\0@\x10\0\0\0\0\0\0\x05",
    b"\x08\0\0\0\0\0!\x14\x01\0\0\0\x02\0\x07publish\0@\x14\0\0\0\0\0\0\x05\x02\0\x03cam\x02",
    b"\0\x04live",
    b"\x04\0\0\0\0\0\x35\x12\x01\0\0\0\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08\0\0\0\x01",
    b"\0\x05width\0@t\0\0\0\0\0\0\0\0\x09",
    b"\x06\0\0\0\0\0\x33\x09\x01\0\0\0\x17\0\0\0\0\x01\xf4\0\x0d\xff\xe1\0\x19g\xf4\0\x0d\x91\x9b",
    b"((?`\"\0\0\x03\0\x02\0\0\x03\0d\x1e(S,\x01\0\x06h\xeb\xe3\xc4HD\xff\xf8\xf8\0",
    b"\x04\0\0\0\0\0\x07\x08\x01\0\0\0\xaf\0\x12\x08V\xe5\0",
    b"F\0\0\x28\0\0\x05\x09\x17\x02\0\0\0",
    b"C\0\0\0\0\0\x1e\x14\x02\0\x0bFCUnpublish\0@\x18\0\0\0\0\0\0\x05\x02\0\x03cam",
    b"C\0\0\0\0\0\x22\x14\x02\0\x0cdeleteStream\0@\x1c\0\0\0\0\0\0\x05\0?\xf0\0\0\0\0\0\0",
];

/// Play from ffmpeg.
pub(crate) const FFMPEG_PLAY: &[&[u8]] = &[
    b"\x03\0\0\0\0\0\xc5\x14\0\0\0\0\x02\0\x07connect\0?\xf0\0\0\0\0\0\0\x03\0\x03app\x02\0\x04",
    b"live\0\x08flashVer\x02\0\x0dLNX 9,0,124,2\0\x05tcUrl\x02\0\x1brtmp://127.0.0.1:19937/l",
    b"ive\0\x04fpad\x01\0\0\x0ccapabilities\0@.\0\0\0\0\0\0\0\x0b\xc3audioCodecs\0@\xaf\xce\0",
    b"\0\0\0\0\0\x0bvideoCodecs\0@o\x80\0\0\0\0\0\0\x0dvideoFunction\0?\xf0\0\0\0\0\0\0\0\0\x09",
    b"\x02\0\0\0\0\0\x04\x05\0\0\0\0\0&%\xa0",
    b"C\0\0\0\0\0\x19\x14\x02\0\x0ccreateStream\0@\0\0\0\0\0\0\0\x05",
    b"\x08\0\0\0\0\0\"\x14\0\0\0\0\x02\0\x0fgetStreamLength\0@\x08\0\0\0\0\0\0\x05\x02\0\x03",
    b"cam",
    b"\x08\0\0\0\0\0 \x14\x01\0\0\0\x02\0\x04play\0@\x10\0\0\0\0\0\0\x05\x02\0\x03cam\0\xc0\x9f",
    b"@\0\0\0\0\0",
    b"B\0\0\x01\0\0\x0a\x04\0\x03\0\0\0\x01\0\0\x0b\xb8",
    b"C\0\0\0\0\0\"\x14\x02\0\x0cdeleteStream\0@\x14\0\0\0\0\0\0\x05\0?\xf0\0\0\0\0\0\0",
];

/// `rtmpdump --live`: asks for the stream twice over, with `FCSubscribe` and `play`.
pub(crate) const RTMPDUMP_PLAY: &[&[u8]] = &[
    b"\x03\0\0\0\0\0\xc6\x14\0\0\0\0\x02\0\x07connect\0?\xf0\0\0\0\0\0\0\x03\0\x03app\x02\0\x04",
    b"live\0\x08flashVer\x02\0\x0eLNX 10,0,32,18\0\x05tcUrl\x02\0\x1brtmp://127.0.0.1:19937/",
    b"live\0\x04fpad\x01\0\0\x0ccapabilities\0@.\0\0\0\0\0\0\0\xc3\x0baudioCodecs\0@\xa8\xee",
    b"\0\0\0\0\0\0\x0bvideoCodecs\0@o\x80\0\0\0\0\0\0\x0dvideoFunction\0?\xf0\0\0\0\0\0\0\0\0",
    b"\x09",
    b"\x02\0\0\0\0\0\x04\x05\0\0\0\0\0&%\xa0",
    b"B\0\0\0\0\0\x0a\x04\0\x03\0\0\0\0\0\0\x01,",
    b"C\0\0\0\0\0\x19\x14\x02\0\x0ccreateStream\0@\0\0\0\0\0\0\0\x05",
    b"C\0\0\0\0\0\x1e\x14\x02\0\x0bFCSubscribe\0@\x08\0\0\0\0\0\0\x05\x02\0\x03cam",
    b"\x08\0\0\0\0\0 \x14\x01\0\0\0\x02\0\x04play\0@\x10\0\0\0\0\0\0\x05\x02\0\x03cam\0\xc0\x8f",
    b"@\0\0\0\0\0",
    b"\xc2\0\x03\0\0\0\x01\x02%Q\0",
    b"C\0\0\0\0\0\"\x14\x02\0\x0cdeleteStream\0@\x14\0\0\0\0\0\0\x05\0?\xf0\0\0\0\0\0\0",
];

/// Publish from OBS: swfUrl in `connect`, chunks of 4,096 bytes, everything of the stream on csid 4.
pub(crate) const OBS_PUBLISH: &[&[u8]] = &[
    b"\x03\0\0\0\0\0\xa1\x14\0\0\0\0\x02\0\x07connect\0?\xf0\0\0\0\0\0\0\x03\0\x03app\x02\0\x04",
    b"live\0\x04type\x02\0\x0anonprivate\0\x08flashVer\x02\0\x1fFMLE/3.0 (compatible; FMSc/1.0)",
    b"\0\x06swfUrl\x02\0\x15rtmp://127.0.0.1/live\0\xc3\x05tcUrl\x02\0\x15rtmp://127.0.0.1/live\0\0\x09",
    b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\x10\0",
    b"C\0\0\x0a\0\0 \x14\x02\0\x0dreleaseStream\0@\0\0\0\0\0\0\0\x05\x02\0\x03cam",
    b"C\0\0\0\0\0\x1c\x14\x02\0\x09FCPublish\0@\x08\0\0\0\0\0\0\x05\x02\0\x03cam",
    b"C\0\0\0\0\0\x19\x14\x02\0\x0ccreateStream\0@\x10\0\0\0\0\0\0\x05",
    b"\x04\0\0\x30\0\0!\x14\x01\0\0\0\x02\0\x07publish\0@\x14\0\0\0\0\0\0\x05\x02\0\x03cam\x02",
    b"\0\x04live",
    b"\x04\0\0\0\0\0\x35\x12\x01\0\0\0\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x08\0\0\0\x14",
    b"\0\x05width\0@t\0\0\0\0\0\0\0\0\x09",
    b"D\0\0\0\0\0\x07\x08\xaf\0\x12\x08V\xe5\0",
    b"D\0\0\0\0\0\x09\x09\x17\0\0\0\0\x01\xf4\0\x0d",
    b"D\0\0\x15\0\0\x05\x08\xaf\x01\x21\x10\x04",
    b"D\0\0\x13\0\0\x05\x09\x17\x02\0\0\0",
    b"C\0\x10\0\0\0\x1e\x14\x02\0\x0bFCUnpublish\0@\x18\0\0\0\0\0\0\x05\x02\0\x03cam",
    b"C\0\0\0\0\0\x22\x14\x02\0\x0cdeleteStream\0@\x1c\0\0\0\0\0\0\x05\0?\xf0\0\0\0\0\0\0",
];
