//! Recordings as HLS: a playlist over the fragments of MP4 files, so that players seek in them without loading all.

use crate::files::rfc3339;
use crate::media::fmp4::{FileIndex, Fragment};
use std::fmt::Write;
use std::time::Duration;

/// A segment ends at the first keyframe after so long, in milliseconds.
const SEGMENT_MS: u64 = 2_000;
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
    pub(crate) index: FileIndex,
}

/// A part of a file that players load at once.
#[derive(Debug, PartialEq, Eq)]
struct Segment {
    at: u64,
    len: u64,
    lasts_ms: u64,
}

/// A playlist of these files, the oldest first. `query` is what each URL in it has behind its question mark. Players are to begin at
/// `start_ms` from its beginning, or, where that is negative, back from its end.
pub(crate) fn playlist(files: &[Listed], query: &str, start_ms: Option<i64>) -> String {
    let mut listed: Vec<(&Listed, Vec<Segment>)> = Vec::new();
    let mut count = 0_usize;
    for file in files.iter().rev() {
        let segments = segments(&file.index);
        count = count.saturating_add(segments.len());
        if count > MAX_SEGMENTS.get() && !listed.is_empty() {
            break;
        }
        listed.push((file, segments));
    }
    listed.retain(|(_, segments)| !segments.is_empty());
    listed.reverse();
    let is_growing = files.last().is_some_and(|file| file.is_growing);
    let longest = listed.iter().flat_map(|(_, segments)| segments).map(|segment| segment.lasts_ms).max();
    let target =
        longest.unwrap_or_default().div_ceil(1_000).max(if is_growing { GROWING_TARGET_S } else { 1 });
    let kind = if is_growing { "EVENT" } else { "VOD" };
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-PLAYLIST-TYPE:{kind}\n#EXT-X-INDEPENDENT-SEGMENTS\n"
    );
    if let Some(start) = start_ms {
        // As RFC 8216 4.3.5.2 has it; what is beyond the ends is for players to bring back.
        let sign = if start < 0 { "-" } else { "" };
        let (seconds, ms) = (start.unsigned_abs() / 1_000, start.unsigned_abs() % 1_000);
        let _ = writeln!(text, "#EXT-X-START:TIME-OFFSET={sign}{seconds}.{ms:03}");
    }
    for (number, (file, segments)) in listed.iter().enumerate() {
        put_file(file, segments, number > 0, query, &mut text);
    }
    if !is_growing {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

fn put_file(file: &Listed, segments: &[Segment], follows_another: bool, query: &str, text: &mut String) {
    let mark = if query.is_empty() { "" } else { "?" };
    let url = format!("{}{mark}{query}", file.name);
    if follows_another {
        // Each file has a time line of its own.
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    // Writing into a text does not fail.
    let _ = writeln!(text, "#EXT-X-MAP:URI=\"{url}\",BYTERANGE=\"{}@0\"", file.index.init_len);
    let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", rfc3339(file.start));
    for Segment { at, len, lasts_ms } in segments {
        let (seconds, ms) = (lasts_ms / 1_000, lasts_ms % 1_000);
        let _ = writeln!(text, "#EXTINF:{seconds}.{ms:03},\n#EXT-X-BYTERANGE:{len}@{at}\n{url}");
    }
}

/// Fragments put together, so that each segment begins with a keyframe.
fn segments(index: &FileIndex) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut begins_ms = 0;
    let fragments = index.fragments.iter().skip_while(|fragment| !fragment.is_independent);
    for Fragment { at, len, begins_ms: now, is_independent } in fragments {
        match segments.last_mut() {
            Some(open) if !(*is_independent && now.saturating_sub(begins_ms) >= SEGMENT_MS) => {
                open.len = open.len.saturating_add(*len);
            }
            open => {
                if let Some(open) = open {
                    open.lasts_ms = now.saturating_sub(begins_ms);
                }
                begins_ms = *now;
                segments.push(Segment { at: *at, len: *len, lasts_ms: 0 });
            }
        }
    }
    if let Some(open) = segments.last_mut() {
        open.lasts_ms = index.ends_ms.saturating_sub(begins_ms);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RecordFormat;
    use crate::record::tests::recording;
    use std::io::Cursor;

    fn listed(name: &str, is_growing: bool) -> Listed {
        let index = FileIndex::read(&mut Cursor::new(recording(RecordFormat::Fmp4))).unwrap();
        Listed { name: name.to_owned(), start: Duration::from_secs(1_518_568_087), is_growing, index }
    }

    #[test]
    fn a_playlist_has_every_byte_of_its_files_once_and_each_segment_begins_with_a_keyframe() {
        let text = playlist(&[listed("a.mp4", false), listed("b.mp4", false)], "key=x", None);
        let len = recording(RecordFormat::Fmp4).len() as u64;
        let index = FileIndex::read(&mut Cursor::new(recording(RecordFormat::Fmp4))).unwrap();
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
        let start = |start| playlist(&[listed("a.mp4", true)], "", start);
        assert!(!start(None).contains("START"));
        for (asked, told) in [(-90_500, "-90.500"), (-5, "-0.005"), (1_234, "1.234"), (0, "0.000")] {
            assert_eq!(
                start(Some(asked)).matches(&format!("\n#EXT-X-START:TIME-OFFSET={told}\n")).count(),
                1
            );
        }
    }

    #[test]
    fn one_that_grows_does_not_end() {
        let text = playlist(&[listed("a.mp4", true)], "", None);
        assert!(text.contains("#EXT-X-TARGETDURATION:10\n#EXT-X-PLAYLIST-TYPE:EVENT\n"), "{text}");
        assert!(!text.contains("ENDLIST") && !text.contains('?'));
    }

    #[test]
    fn a_playlist_has_an_end() {
        let mut long = listed("a.mp4", false);
        let fragment =
            |number: u64| Fragment { at: number, len: 1, begins_ms: number * 3_000, is_independent: true };
        long.index.fragments = (0..MAX_SEGMENTS.stated() as u64 / 2 + 1).map(fragment).collect();
        let text = playlist(&[listed("old.mp4", false), long, listed("new.mp4", false)], "", None);
        assert!(text.contains("new.mp4") && text.contains("a.mp4") && text.contains("old.mp4"));
        let mut longer = listed("b.mp4", false);
        longer.index.fragments = (0..MAX_SEGMENTS.stated() as u64).map(fragment).collect();
        let text = playlist(&[listed("old.mp4", false), longer, listed("new.mp4", false)], "", None);
        assert!(text.contains("new.mp4") && !text.contains("old.mp4") && !text.contains("b.mp4"));
    }
}
