//! What is no URL of a stream and no file that is played: its name in words, and the command of another program that makes one of it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use streamengine::UrlError;

/// What an argument that should be the URL of a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Target,
    /// A stream to look at.
    Probed,
}

/// Protocols by the scheme of their URLs: the name, what ffmpeg needs to read it and to write it.
const PROTOCOLS: &[(&str, &str, &str, &str)] = &[
    ("http", "an HTTP URL", "", "-f mpegts"),
    ("https", "an HTTP URL", "", "-f mpegts"),
    ("rtsp", "an RTSP URL", "-rtsp_transport tcp ", "-f rtsp"),
    ("rtsps", "an RTSP URL", "-rtsp_transport tcp ", "-f rtsp"),
    ("srt", "an SRT URL", "", "-f mpegts"),
    ("udp", "a UDP URL", "", "-f mpegts"),
    ("rtp", "an RTP URL", "", "-f rtp_mpegts"),
    ("tcp", "a TCP URL", "", "-f mpegts"),
    ("rist", "a RIST URL", "", "-f mpegts"),
    ("mms", "an MMS URL", "", "-f mpegts"),
    ("ftp", "an FTP URL", "", "-f mpegts"),
    ("hls", "an HLS URL", "", "-f hls"),
    ("rtmpt", "a URL of tunnelled RTMP", "", "-f flv"),
    ("rtmpts", "a URL of tunnelled RTMP", "", "-f flv"),
    ("rtmpe", "a URL of encrypted RTMP", "", "-f flv"),
    ("rtmpte", "a URL of encrypted RTMP", "", "-f flv"),
];

/// Whether an argument is a URL, of whatever protocol, rather than a file.
pub(crate) fn is_url(argument: &str) -> bool {
    let scheme = argument.split_once("://").map(|(scheme, _)| scheme);
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.chars().all(is_letter))
}

/// Why an argument is no URL of a stream, with the command that helps. Nothing of a URL is repeated: it may hold a password.
pub(crate) fn no_stream_url(argument: &str, role: Role, error: &UrlError) -> String {
    let protocol = argument
        .split_once("://")
        .and_then(|(scheme, _)| PROTOCOLS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(scheme)));
    let (known, is_of_protocol) = match error {
        UrlError::SourceScheme => (READ, true),
        UrlError::Scheme => ("rtmp:// and rtmps:// are", true),
        _ => ("", false),
    };
    if let Some((_, what, reading, writing)) = protocol.filter(|_| is_of_protocol) {
        return match role {
            Role::Target => format!(
                "this is {what}, and {known} written here; ffmpeg takes a stream there: \
                 ffmpeg -i rtmp://HOST/live/NAME -c copy {writing} URL"
            ),
            reads => format!("this is {what}, and {known} read here; {}", helps(reads, reading)),
        };
    }
    match (role, is_url(argument)) {
        (Role::Source, false) if Path::new(argument).is_file() => {
            format!("{argument} is a file; `streamengine loop FILE URL` plays one into a server")
        }
        (Role::Target, false) if Path::new(argument).extension().is_some() => {
            format!(
                "{argument} is a file; ffmpeg records a stream into one: ffmpeg -i URL -c copy {argument}"
            )
        }
        _ if protocol.is_some() => format!("HTTP URL: {error}"),
        _ => format!("rtmp URL: {error}"),
    }
}

/// What is read.
const READ: &str = "rtmp://, rtmps://, and FLV by http:// and https://, are";

/// The command that reads something else.
fn helps(role: Role, reading: &str) -> String {
    match role {
        Role::Probed => format!("ffprobe tells what is in it: ffprobe {reading}URL"),
        Role::Source | Role::Target => {
            format!("ffmpeg brings it in: ffmpeg {reading}-i URL -c copy -f flv rtmp://HOST/live/NAME")
        }
    }
}

/// Ends of paths that name something else than FLV.
const NO_FLV: &[(&str, &str)] = &[
    (".m3u8", "an HLS playlist"),
    (".mpd", "a DASH playlist"),
    (".ts", "an MPEG-TS stream"),
    (".mp4", "an MP4 file"),
    (".m4s", "a part of an MP4 file"),
    (".mkv", "a Matroska file"),
    (".webm", "a WebM file"),
    (".mp3", "an MP3 stream"),
    (".aac", "an AAC stream"),
];

/// Why an HTTP URL with this path is none of FLV, with the command that helps, where its end says so.
pub(crate) fn no_flv_url(path: &str, role: Role) -> Option<String> {
    let path = path.to_ascii_lowercase();
    let (_, what) = NO_FLV.iter().find(|(end, _)| path.ends_with(end))?;
    Some(format!("this is {what} by HTTP, and {READ} read here; {}", helps(role, "")))
}

/// How to make a file that is played of one that is not: of the first whose format is not played, else of an MP4 file, whose
/// codecs may be what is wrong with it. `None` where all are FLV, or where they cannot be read at all.
pub(crate) fn no_played_file<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Option<String> {
    let of_path = |path: &'a Path| Some((path, container(&beginning(path)?)?));
    let foreign: Vec<_> = paths.into_iter().filter_map(of_path).collect();
    let is_mp4 = |what: &str| what == MP4;
    let (path, what) = foreign.iter().find(|(_, what)| !is_mp4(what)).or(foreign.first())?;
    let name = path.display();
    Some(match is_mp4(what) {
        true => format!(
            "where its codecs are to blame, ffmpeg makes a file with others of it: ffmpeg -i {name} -c:v libx264 -c:a aac {}",
            path.with_extension("flv").display()
        ),
        false => format!(
            "{name} is {what}, and FLV and MP4 files are played here; ffmpeg makes one of it: \
             ffmpeg -i {name} -c copy {}, with -c:v libx264 -c:a aac in place of -c copy where RTMP has not its codecs",
            path.with_extension("mp4").display()
        ),
    })
}

/// How an MP4 file is called.
const MP4: &str = "an MP4 or MOV file";

/// The first bytes of a regular file.
fn beginning(path: &Path) -> Option<Vec<u8>> {
    path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// What a file is by its first bytes, where it is media but not FLV.
fn container(bytes: &[u8]) -> Option<&'static str> {
    let at = |position: usize, text: &[u8]| bytes.get(position..).is_some_and(|rest| rest.starts_with(text));
    let is_mp4 = [&b"ftyp"[..], b"moov", b"mdat", b"free", b"wide", b"skip"].iter().any(|name| at(4, name));
    Some(match bytes {
        _ if is_mp4 => MP4,
        _ if at(0, &[0x1A, 0x45, 0xDF, 0xA3]) => "a Matroska (MKV) or WebM file",
        _ if (at(0, b"G") && at(188, b"G")) || (at(4, b"G") && at(196, b"G")) => "an MPEG-TS file",
        _ if at(0, b"RIFF") => "an AVI or WAV file",
        _ if at(0, b"OggS") => "an Ogg file",
        _ if at(0, b"fLaC") => "a FLAC file",
        _ if at(0, b"#EXTM3U") => "an HLS playlist",
        _ if at(0, b"ID3") || matches!(bytes, [0xFF, 0xE0..=0xFF, ..]) => "an MP3 or AAC file",
        _ if at(0, &[0, 0, 1, 0xBA]) => "an MPEG-PS file",
        _ if at(0, &[0, 0, 0, 1]) || at(0, &[0, 0, 1]) => "a raw video file (H.264 or alike)",
        _ if at(0, &[0x30, 0x26, 0xB2, 0x75]) => "an ASF (WMV) file",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(argument: &str, role: Role) -> String {
        let error = match role {
            Role::Target => argument.parse::<streamengine::RtmpUrl>().map(drop),
            Role::Source | Role::Probed => argument.parse::<streamengine::RemoteUrl>().map(drop),
        };
        no_stream_url(argument, role, &error.unwrap_err())
    }

    #[test]
    fn urls_of_other_protocols_are_named_with_the_command_that_helps_and_nothing_of_theirs() {
        for (url, what) in [
            ("rtsp://h/s3cret", "an RTSP URL"),
            ("srt://h:9000?passphrase=s3cret", "an SRT URL"),
            ("udp://@239.0.0.1:1234", "a UDP URL"),
        ] {
            for (role, command) in [
                (Role::Source, "-i URL -c copy -f flv rtmp://HOST/live/NAME"),
                (Role::Target, "ffmpeg -i rtmp://HOST/live/NAME -c copy -f "),
                (Role::Probed, "ffprobe "),
            ] {
                let text = why(url, role);
                assert!(is_url(url) && text.contains(what) && text.contains(command), "{text}");
                assert!(!text.contains("s3cret"), "{text}");
            }
        }
        let target = why("http://u:s3cret@h/live.flv?s3cret", Role::Target);
        assert!(
            target.contains("an HTTP URL") && target.contains("ffmpeg -i") && !target.contains("s3cret"),
            "{target}"
        );
        assert!(why("http://h", Role::Source).contains("the path is missing"));
        let playlist = no_flv_url("/a/s.M3U8", Role::Source).unwrap();
        assert!(playlist.contains("an HLS playlist") && playlist.contains("ffmpeg -i URL"), "{playlist}");
        assert_eq!(no_flv_url("/a/s.flv", Role::Source), None);
        assert!(why("rtmp://h", Role::Source).contains("app and stream name are missing"));
        assert!(why("out.flv", Role::Target).contains("ffmpeg -i URL -c copy out.flv"));
        assert!(!is_url("clip.flv") && !is_url("C:/clip.flv") && !is_url("://x"));
    }

    #[test]
    fn media_files_of_other_kinds_are_told_by_their_first_bytes() {
        let mut ts = [0; 200];
        (ts[0], ts[188]) = (b'G', b'G');
        for (bytes, what) in [
            (&b"\0\0\0\x20ftypisom"[..], Some("an MP4 or MOV file")),
            (b"\x1A\x45\xDF\xA3\x01", Some("a Matroska (MKV) or WebM file")),
            (&ts, Some("an MPEG-TS file")),
            (b"RIFF....", Some("an AVI or WAV file")),
            (b"FLV\x01\x05", None),
            (b"not a video", None),
            (b"", None),
        ] {
            assert_eq!(container(bytes), what);
        }
    }
}
