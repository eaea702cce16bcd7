//! Recordings as HLS: a playlist over the fragments of MP4 files, so that players seek in them without loading all.

use super::parts::{Parts, Segment};
use crate::files::rfc3339;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// TARGETDURATION where a file still grows, in seconds: it must not change (RFC 8216 6.2.1), and nobody knows what comes.
const GROWING_TARGET_S: u64 = 10;

bound! {
    /// Segments that a playlist lists, the newest files' (test `a_playlist_has_an_end`).
    const MAX_SEGMENTS: usize = 100_000, without usize::MAX;
}

/// A file in a playlist.
pub(crate) struct Listed {
    /// As the playlist's folder knows it.
    pub(crate) name: String,
    /// When it began, since 1970.
    pub(crate) start: Duration,
    pub(crate) is_growing: bool,
    pub(crate) parts: Arc<Parts>,
}

/// A playlist of these files, the newest first, which it takes as far as there is room. `query` is what each URL in it has behind its
/// question mark. Players are to begin at `start_ms` from its beginning, or, where that is negative, back from its end. `None`
/// without a file.
pub(crate) fn playlist(
    files: impl Iterator<Item = Listed>,
    query: &str,
    start_ms: Option<i64>,
) -> Option<Playlist> {
    let mut listed: Vec<Listed> = Vec::new();
    let (mut count, mut is_growing) = (0_usize, None);
    for file in files {
        is_growing.get_or_insert(file.is_growing);
        count = count.saturating_add(file.parts.segments.len());
        if count > MAX_SEGMENTS.get() && !listed.is_empty() {
            break;
        }
        listed.push(file);
    }
    let is_growing = is_growing?;
    listed.retain(|file| !file.parts.segments.is_empty());
    listed.reverse();
    let text = text(&listed, is_growing, query, start_ms);
    Some(Playlist { text, is_growing })
}

/// A playlist, and whether there is more to come.
pub(crate) struct Playlist {
    pub(crate) text: String,
    pub(crate) is_growing: bool,
}

fn text(listed: &[Listed], is_growing: bool, query: &str, start_ms: Option<i64>) -> String {
    let lengths = listed.iter().flat_map(|file| &file.parts.segments).map(|segment| segment.lasts_ms);
    let longest = lengths.max();
    let target =
        longest.unwrap_or_default().div_ceil(1_000).max(if is_growing { GROWING_TARGET_S } else { 1 });
    let kind = if is_growing { "EVENT" } else { "VOD" };
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-PLAYLIST-TYPE:{kind}\n#EXT-X-INDEPENDENT-SEGMENTS\n"
    );
    if let Some(start) = start_ms {
        // As RFC 8216 4.3.5.2 has it; what is beyond the ends is for players to bring back.
        let sign = if start < 0 { "-" } else { "" };
        let _ = writeln!(text, "#EXT-X-START:TIME-OFFSET={sign}{}", seconds(start.unsigned_abs()));
    }
    for (number, file) in listed.iter().enumerate() {
        put_file(file, number > 0, query, &mut text);
    }
    if !is_growing {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

fn put_file(file: &Listed, follows_another: bool, query: &str, text: &mut String) {
    let mark = if query.is_empty() { "" } else { "?" };
    let url = format!("{}{mark}{query}", file.name);
    if follows_another {
        // Each file has a time line of its own.
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    // Writing into a text does not fail.
    let _ = writeln!(text, "#EXT-X-MAP:URI=\"{url}\",BYTERANGE=\"{}@0\"", file.parts.init_len);
    let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", rfc3339(file.start));
    for Segment { at, len, lasts_ms } in &file.parts.segments {
        let lasts = seconds(*lasts_ms);
        let _ = writeln!(text, "#EXTINF:{lasts},\n#EXT-X-BYTERANGE:{len}@{at}\n{url}");
    }
}

/// Milliseconds as playlists have times.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RecordFormat;
    use crate::media::fmp4::FileIndex;
    use crate::record::tests::recording;
    use std::io::Cursor;

    fn index() -> FileIndex {
        FileIndex::read(&mut Cursor::new(recording(RecordFormat::Fmp4))).unwrap()
    }

    fn listed(name: &str, is_growing: bool) -> Listed {
        let (parts, start) = (Arc::new(Parts::of(&index())), Duration::from_secs(1_518_568_087));
        Listed { name: name.to_owned(), start, is_growing, parts }
    }

    /// A file of so many segments.
    fn long(name: &str, segments: usize) -> Listed {
        Listed { parts: Arc::new(Parts::made_up(segments)), ..listed(name, false) }
    }

    /// The playlist of files, the newest first.
    fn text_of<const N: usize>(files: [Listed; N], query: &str) -> String {
        playlist(files.into_iter(), query, None).unwrap().text
    }

    #[test]
    fn a_playlist_has_every_byte_of_its_files_once_and_each_segment_begins_with_a_keyframe() {
        let text = text_of([listed("b.mp4", false), listed("a.mp4", false)], "key=x");
        let len = recording(RecordFormat::Fmp4).len() as u64;
        let index = index();
        for url in ["a.mp4?key=x", "b.mp4?key=x"] {
            let mut at = index.init_len;
            let lines: Vec<_> = text.lines().collect();
            for pair in lines.windows(2).filter(|pair| pair[1] == url) {
                let range = pair[0].strip_prefix("#EXT-X-BYTERANGE:").unwrap();
                let (bytes, from) = range.split_once('@').unwrap();
                assert_eq!(from.parse(), Ok(at));
                let fragment = index.fragments.iter().find(|fragment| fragment.at == at).unwrap();
                assert!(fragment.is_independent);
                at += bytes.parse::<u64>().unwrap();
            }
            assert_eq!(at, len, "{text}");
        }
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1);
        assert!(text.contains("#EXT-X-PROGRAM-DATE-TIME:2018-02-14T00:28:07Z\n"), "{text}");
        assert!(text.contains("#EXT-X-PLAYLIST-TYPE:VOD\n") && text.ends_with("#EXT-X-ENDLIST\n"));
        let lasts: f64 = text
            .lines()
            .filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(',')?.parse::<f64>().ok())
            .sum();
        assert!((19.0..21.0).contains(&lasts), "{lasts}");
    }

    #[test]
    fn it_says_where_players_are_to_begin_where_they_have_asked_for_that() {
        let start = |start| playlist([listed("a.mp4", true)].into_iter(), "", start).unwrap().text;
        assert!(!start(None).contains("START"));
        for (asked, told) in [(-90_500, "-90.500"), (-5, "-0.005"), (1_234, "1.234"), (0, "0.000")] {
            let line = format!("\n#EXT-X-START:TIME-OFFSET={told}\n");
            assert_eq!(start(Some(asked)).matches(&line).count(), 1);
        }
    }

    #[test]
    fn one_that_grows_does_not_end() {
        let text = text_of([listed("a.mp4", true)], "");
        assert!(text.contains("#EXT-X-TARGETDURATION:10\n#EXT-X-PLAYLIST-TYPE:EVENT\n"), "{text}");
        assert!(!text.contains("ENDLIST") && !text.contains('?'));
    }

    #[test]
    fn a_playlist_has_an_end() {
        let half = MAX_SEGMENTS.stated() / 2 + 1;
        let text = text_of([listed("new.mp4", false), long("a.mp4", half), listed("old.mp4", false)], "");
        assert!(text.contains("new.mp4") && text.contains("a.mp4") && text.contains("old.mp4"));
        let all = long("b.mp4", MAX_SEGMENTS.stated());
        let behind = std::iter::once_with(|| panic!("what has no room is not looked into"));
        let files = [listed("new.mp4", false), all].into_iter().chain(behind);
        let text = playlist(files, "", None).unwrap().text;
        assert!(text.contains("new.mp4") && !text.contains("b.mp4"));
        assert!(playlist(std::iter::empty(), "", None).is_none());
    }
}
