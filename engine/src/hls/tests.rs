//! Statements that playlists have to keep to (H1 to H14 of the tests' names), over generated timelines.

use super::TICKS;
use super::plan::{Plan, Wishes, shows_segments};
use super::playlist::{Awaited, Piece, Snapshot, Standing, Terms, Window};
use super::segmenter::{Cut, Header, Segmenter};
use crate::config::HlsFormat;
use crate::hub::MainIds;
use crate::media::{Frame, FrameKind};
use crate::testing::{audio, audio_header, inter, keyframe};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// A configuration of H.264 at 640 x 360, and another.
const AVC: [&[u8]; 2] = [
    b"\x17\0\0\0\0\x01\x42\xc0\x1e\xff\xe1\0\x19\x67\x42\xc0\x1e\xd8\x90\x28\x0b\xfe\x5c\x04\x40\0\0\x03\
      \0\x40\0\0\x0c\x83\xc5\x8b\x89\x80\x01\0\x05\x68\xc8\x88\xcb\x20",
    b"\x17\0\0\0\0\x01\x7a\0\x1f\xff\xe1\0\x19\x67\x7a\0\x1f\xbc\xd9\x40\x50\x05\xbe\xaf\x01\x10\0\0\
      \x3e\x90\0\x0e\xa6\0\xf1\x83\x19\x60\x01\0\x06\x68\xeb\xe3\xcb\x22\xc0\xfe\xf8\xf8\0",
];
const FOLDER: &str = "0123";

/// What a timeline is made of.
#[derive(Debug, Clone)]
struct Shape {
    /// Microseconds between pictures; none for sound alone.
    picture: Option<i64>,
    /// Pictures of a GOP, one after the other, and then again.
    gops: Vec<usize>,
    has_sound: bool,
    /// After so many pictures, something happens.
    happens: Vec<(usize, Happening)>,
    part_ms: Option<u64>,
    pictures: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Happening {
    /// Pictures are missing for so many milliseconds, at the next keyframe.
    Hole(i64),
    /// The next GOP has another configuration.
    OtherConfig,
    /// Another publisher goes on at the next keyframe.
    Renewal,
    /// The publisher is away for so many gaps, and another goes on.
    Away(usize),
    /// Pictures stop for so long in milliseconds, the sound does not.
    Still(i64),
}

enum Step {
    Frame(Frame),
    Renewal,
    Away(usize),
}

impl Step {
    fn into_frame(self) -> Option<Frame> {
        match self {
            Self::Frame(frame) => Some(frame),
            _ => None,
        }
    }
}

impl Shape {
    /// Whether every frame lies where the rate has it.
    fn is_steady(&self) -> bool {
        !self.happens.iter().any(|(_, what)| matches!(what, Happening::Hole(_) | Happening::Still(_)))
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let frame =
            |kind, at, payload: &[u8]| Step::Frame(Frame::new(kind, at, Bytes::copy_from_slice(payload)));
        if self.has_sound {
            steps.push(Step::Frame(audio_header(0)));
        }
        let Some(period) = self.picture else {
            steps.extend(
                (0..self.pictures).map(|frame| Step::Frame(audio(frame as i64 * 1_024_000 / 44_100))),
            );
            return steps;
        };
        let (mut config, mut shift, mut sound, mut pending) = (0, 1_000_000, 0_i64, Vec::new());
        steps.push(frame(FrameKind::Video, 1_000, AVC[0]));
        let (mut gops, mut left) = (self.gops.iter().cycle(), 0);
        let mut happens = self.happens.iter().peekable();
        for picture in 0..self.pictures {
            while let Some((_, what)) = happens.next_if(|(after, _)| *after <= picture) {
                pending.push(*what);
            }
            let is_key = left == 0;
            if is_key {
                left = *gops.next().unwrap();
                for what in pending.drain(..) {
                    match what {
                        Happening::Hole(ms) => {
                            shift += ms * 1_000;
                            // The sound is missing with them.
                            sound += ms * 44_100 / 1_024_000;
                        }
                        Happening::OtherConfig => {
                            config = 1 - config;
                            let at = (picture as i64 * period + shift) / 1_000;
                            steps.push(frame(FrameKind::Video, at, AVC[config]));
                        }
                        Happening::Renewal | Happening::Away(_) => {
                            if let Happening::Away(gaps) = what {
                                steps.push(Step::Away(gaps));
                            }
                            steps.push(Step::Renewal);
                            let at = (picture as i64 * period + shift) / 1_000;
                            steps.push(frame(FrameKind::Video, at, AVC[config]));
                            if self.has_sound {
                                steps.push(Step::Frame(audio_header(at)));
                            }
                        }
                        Happening::Still(ms) => shift += ms * 1_000,
                    }
                }
            }
            left -= 1;
            let at = (picture as i64 * period + shift) / 1_000;
            while self.has_sound && 1_000 + sound * 1_024_000 / 44_100 < at {
                steps.push(Step::Frame(audio(1_000 + sound * 1_024_000 / 44_100)));
                sound += 1;
            }
            let len = 40 + picture % 100;
            steps.push(Step::Frame(if is_key { keyframe(at, len) } else { inter(at, len) }));
        }
        steps
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let rates = prop::sample::select(vec![200_000, 66_667, 41_667, 40_000, 33_367, 33_333, 20_000, 16_667]);
    let happening = prop_oneof![
        (100_i64..15_000).prop_map(Happening::Hole),
        Just(Happening::OtherConfig),
        Just(Happening::Renewal),
        (0_usize..4).prop_map(Happening::Away),
        (100_i64..15_000).prop_map(Happening::Still),
    ];
    let parts = prop::sample::select(vec![Some(200), Some(200), Some(500), Some(1_000), None]);
    (
        prop::option::weighted(0.9, rates),
        prop::collection::vec(1_usize..400, 1..6),
        any::<bool>(),
        prop::collection::vec((0_usize..800, happening), 0..4),
        parts,
        150_usize..900,
    )
        .prop_map(|(picture, gops, has_sound, mut happens, part_ms, pictures)| {
            happens.sort_by_key(|(after, _)| *after);
            if picture.is_none() {
                happens.clear();
            }
            let has_sound = has_sound || picture.is_none();
            Shape { picture, gops, has_sound, happens, part_ms, pictures }
        })
}

/// A segment or what is open, as a playlist lists it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Listed {
    uri: String,
    lasts: f64,
    is_break: bool,
    is_gap: bool,
    map: Option<String>,
    date: Option<String>,
    parts: Vec<ListedPart>,
}

#[derive(Debug, Clone, PartialEq)]
struct ListedPart {
    uri: String,
    lasts: f64,
    is_independent: bool,
}

#[derive(Debug, Clone, Default)]
struct Playlist {
    /// What must never change.
    terms: Vec<String>,
    target: f64,
    part_target: Option<f64>,
    control: HashMap<String, f64>,
    first: u64,
    breaks: u64,
    skipped: usize,
    segments: Vec<Listed>,
    open: Listed,
    hints: Vec<String>,
    is_over: bool,
}

fn attributes(text: &str) -> HashMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

impl Playlist {
    fn read(text: &str) -> Self {
        let mut list = Self::default();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#EXTM3U"));
        let mut map = None;
        for line in lines {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            let number = || value.trim_end_matches(',').parse::<f64>().unwrap();
            match tag {
                "#EXT-X-VERSION" => list.terms.push(line.to_owned()),
                "#EXT-X-TARGETDURATION" => {
                    list.terms.push(line.to_owned());
                    list.target = number();
                }
                "#EXT-X-SERVER-CONTROL" => {
                    list.terms.push(line.to_owned());
                    let numbers = attributes(value).into_iter();
                    list.control =
                        numbers.filter_map(|(name, value)| Some((name, value.parse().ok()?))).collect();
                }
                "#EXT-X-PART-INF" => {
                    list.terms.push(line.to_owned());
                    list.part_target = Some(attributes(value)["PART-TARGET"].parse().unwrap());
                }
                "#EXT-X-MEDIA-SEQUENCE" => list.first = value.parse().unwrap(),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => list.breaks = value.parse().unwrap(),
                "#EXT-X-SKIP" => list.skipped = attributes(value)["SKIPPED-SEGMENTS"].parse().unwrap(),
                "#EXT-X-DISCONTINUITY" => list.open.is_break = true,
                "#EXT-X-MAP" => map = Some(attributes(value)["URI"].clone()),
                "#EXT-X-PROGRAM-DATE-TIME" => list.open.date = Some(value.to_owned()),
                "#EXT-X-GAP" => list.open.is_gap = true,
                "#EXT-X-PART" => {
                    let attributes = attributes(value);
                    list.open.parts.push(ListedPart {
                        uri: attributes["URI"].clone(),
                        lasts: attributes["DURATION"].parse().unwrap(),
                        is_independent: attributes.contains_key("INDEPENDENT"),
                    });
                }
                "#EXTINF" => list.open.lasts = number(),
                "#EXT-X-PRELOAD-HINT" => {
                    assert_eq!(attributes(value)["TYPE"], "PART");
                    list.hints.push(attributes(value)["URI"].clone());
                }
                "#EXT-X-RENDITION-REPORT" => {}
                "#EXT-X-ENDLIST" => list.is_over = true,
                uri => {
                    assert!(!uri.starts_with('#'), "{line}");
                    let mut segment = std::mem::take(&mut list.open);
                    segment.uri = uri.to_owned();
                    segment.map = map.clone();
                    list.segments.push(segment);
                }
            }
        }
        list
    }

    fn number(&self, place: usize) -> u64 {
        self.first + (self.skipped + place) as u64
    }

    /// Parts by their URIs.
    fn parts(&self) -> impl Iterator<Item = &ListedPart> {
        self.segments.iter().chain([&self.open]).flat_map(|segment| &segment.parts)
    }
}

/// One that follows a stream from version to version, and holds it to what is promised.
struct Judge {
    shape: Shape,
    window: Window,
    last: Option<(Playlist, Snapshot)>,
    /// Breaks in all that has been listed so far.
    breaks: usize,
    versions: usize,
}

impl Judge {
    fn look(&mut self) {
        let snapshot = self.window.snapshot(FOLDER);
        let text = std::str::from_utf8(snapshot.playlist(0, false).unwrap().plain()).unwrap().to_owned();
        let list = Playlist::read(&text);
        self.versions += 1;
        self.check_lengths(&list);
        self.check_media(&list, &snapshot);
        check_delta(&snapshot, &text, &list);
        if let Some((before, _)) = &self.last {
            self.check_step(before, &list, &snapshot);
        }
        self.last = Some((list, snapshot));
    }

    /// H1, H2, H3, H4, H14.
    fn check_lengths(&self, list: &Playlist) {
        for segment in &list.segments {
            assert!(segment.lasts.round() <= list.target, "H1: {} of {}", segment.lasts, list.target);
            assert!(segment.lasts > 0.0);
        }
        let control = |name: &str| list.control[name];
        assert_eq!(list.part_target.is_some(), self.shape.part_ms.is_some());
        let Some(part_target) = list.part_target else {
            assert!(list.parts().next().is_none() && list.hints.is_empty() && list.control.is_empty());
            return;
        };
        assert!(control("HOLD-BACK") >= 3.0 * list.target, "H4");
        assert!(control("PART-HOLD-BACK") >= 3.0 * part_target - 1e-9, "H4");
        assert!(control("CAN-SKIP-UNTIL") >= 6.0 * list.target, "H4");
        assert_eq!(list.hints.len(), usize::from(!list.is_over), "H13: one hint");
        if self.shape.is_steady() {
            for segment in list.segments.iter().chain([&list.open]).filter(|segment| !segment.is_gap) {
                let count = segment.parts.len();
                for (place, part) in segment.parts.iter().enumerate() {
                    assert!(part.lasts <= part_target, "H3: {part:?} of {part_target}");
                    let may_be_short = part.is_independent || place + 1 == count;
                    // A period of 200 ms leaves no choice.
                    let is_coarse = self.shape.picture.is_some_and(|period| period > 100_000);
                    assert!(
                        part.lasts >= 0.85 * part_target || may_be_short || is_coarse,
                        "H3: {part:?} of {part_target}"
                    );
                }
            }
        }
    }

    /// What is listed can be loaded, and is what it is made of.
    fn check_media(&self, list: &Playlist, snapshot: &Snapshot) {
        let load = |uri: &str| match snapshot.piece(uri.strip_prefix("0123/").unwrap()) {
            Some(Piece::There(media)) => media.concat(),
            other => panic!("{uri}: {other:?}"),
        };
        // What was there before is as it was.
        for segment in list.segments.iter().rev().take(2) {
            if segment.is_gap {
                continue;
            }
            assert!(load(segment.map.as_ref().expect("a map for all media")).starts_with(b"\0\0\0"));
            let whole = load(&segment.uri);
            let parts: Vec<_> = segment.parts.iter().map(|part| load(&part.uri)).collect();
            assert!(segment.parts.is_empty() || whole == parts.concat(), "a segment is its parts");
        }
        for hint in &list.hints {
            let name = hint.strip_prefix("0123/").unwrap();
            assert_eq!(snapshot.piece(name), Some(Piece::ToCome), "H13");
        }
        for name in ["v1.m4s", "vp999999.m4s", "vi99.mp4", "a1-1.m4s", "", "x", "vp.m4s", "v.m4s"] {
            assert_eq!(snapshot.piece(name), None, "H13: {name}");
        }
    }

    /// H2, H5, H6, H7, H9, H13: from one version to the next.
    fn check_step(&self, before: &Playlist, list: &Playlist, snapshot: &Snapshot) {
        assert_eq!(before.terms, list.terms, "H2");
        assert!(list.first >= before.first, "H6: {} after {}", list.first, before.first);
        let removed = usize::try_from(list.first - before.first).unwrap();
        let gone = &before.segments[..removed.min(before.segments.len())];
        let breaks = gone.iter().filter(|segment| segment.is_break).count() as u64;
        assert_eq!(list.breaks, before.breaks + breaks, "H6");
        for (was, is) in before.segments[removed..].iter().zip(&list.segments) {
            assert_eq!(
                (&was.uri, was.lasts, was.is_break, was.is_gap),
                (&is.uri, is.lasts, is.is_break, is.is_gap),
                "H5"
            );
            assert_eq!((&was.date, &was.map), (&is.date, &is.map), "H5");
            assert!(is.parts.is_empty() || is.parts == was.parts, "H5: parts are dropped all together");
        }
        assert!(before.segments.len() - removed <= list.segments.len(), "H5: nothing is taken from the end");
        let total: f64 = list.segments.iter().map(|segment| segment.lasts).sum();
        assert!(removed == 0 || total >= 3.0 * list.target - 1e-3, "H7: {total} of {}", list.target);
        for segment in gone.iter().filter(|segment| !segment.is_gap) {
            assert!(
                matches!(snapshot.piece(segment.uri.strip_prefix("0123/").unwrap()), Some(Piece::There(_))),
                "H7: what was listed a moment ago loads"
            );
        }
        let dates: Vec<_> = list.segments.iter().filter_map(|segment| segment.date.as_ref()).collect();
        assert!(dates.len() == list.segments.len() && dates.is_sorted(), "H9: {dates:?}");
        let knows = |uri: &str| before.parts().any(|part| part.uri == uri);
        if let Some(new) = list.parts().find(|part| !knows(&part.uri) && !part.uri.is_empty())
            && before.parts().next().is_some()
        {
            assert_eq!(Some(&new.uri), before.hints.first(), "H13: the hint names the next part");
        }
        for (place, segment) in list.segments.iter().enumerate() {
            assert_eq!(segment.uri, format!("{FOLDER}/v{}.m4s", list.number(place)));
        }
    }
}

/// H12.
fn check_delta(snapshot: &Snapshot, whole: &str, list: &Playlist) {
    let delta = std::str::from_utf8(snapshot.playlist(0, true).unwrap().plain()).unwrap();
    if delta == whole {
        return;
    }
    let short = Playlist::read(delta);
    assert!(short.skipped > 0 && short.first == list.first && short.breaks == list.breaks);
    assert_eq!(short.skipped + short.segments.len(), list.segments.len());
    for (was, is) in list.segments[short.skipped..].iter().zip(&short.segments) {
        assert_eq!((&was.uri, was.lasts, &was.parts, &was.date), (&is.uri, is.lasts, &is.parts, &is.date));
        assert!(is.map.is_none() || is.map == was.map);
    }
    let behind = |place: usize| {
        let rest = list.segments[place..].iter().map(|segment| segment.lasts).sum::<f64>();
        rest + list.open.parts.iter().map(|part| part.lasts).sum::<f64>()
    };
    let boundary = list.control["CAN-SKIP-UNTIL"];
    assert!(behind(short.skipped) >= boundary - 1e-3, "H12: too much is skipped");
    assert!(behind(short.skipped + 1) < boundary + 1e-3, "H12: more could be skipped");
    let maps = |text: &str| text.lines().filter(|line| line.starts_with("#EXT-X-MAP")).count();
    let changes = list.segments.windows(2).skip(short.skipped - 1).filter(|pair| pair[0].map != pair[1].map);
    assert!(maps(delta) >= changes.count(), "H12: no map is lost");
}

fn play(shape: &Shape) -> Judge {
    let steps = shape.steps();
    let wishes =
        Wishes { segment_ms: 1_000, max_segment_ms: 10_000, part_ms: shape.part_ms, format: HlsFormat::Fmp4 };
    let (main, mut frames, mut begun) = (MainIds::default(), Vec::new(), 0);
    for step in &steps {
        begun += 1;
        match step {
            Step::Frame(frame) => frames.push(frame.clone()),
            Step::Renewal => frames.clear(),
            Step::Away(_) => {}
        }
        if shows_segments(&frames, main, wishes) {
            break;
        }
    }
    let plan = Plan::of(&frames, main, wishes).expect("a stream that can be played");
    let window = Window::new(Terms {
        rules: plan.rules,
        window: 12 * TICKS,
        max_bytes: 1 << 30,
        format: HlsFormat::Fmp4,
        first: 1_795_000_000,
    });
    let mut judge = Judge { shape: shape.clone(), window, last: None, breaks: 0, versions: 0 };
    let (mut segmenter, mut cuts, start) = (Segmenter::new(&plan), Vec::new(), SystemTime::now());
    let mut edge = 0;
    let apply = |judge: &mut Judge, cuts: &mut Vec<Cut>, edge: i64| {
        for cut in cuts.drain(..) {
            let is_break = matches!(cut, Cut::Break(_));
            judge.breaks += usize::from(is_break);
            let now = start + Duration::from_millis(u64::try_from(edge / 90).unwrap());
            judge.window.push(cut, now, edge);
            if judge.window.has_segments() && !is_break {
                judge.look();
            }
        }
    };
    let first = frames.into_iter().map(Step::Frame);
    for step in first.chain(steps.into_iter().skip(begun)) {
        match step {
            Step::Frame(frame) => {
                edge = edge.max(frame.timestamp * 90);
                segmenter.push(&frame, &mut cuts);
            }
            Step::Renewal => segmenter.renew(),
            Step::Away(gaps) => {
                segmenter.flush(&mut cuts);
                apply(&mut judge, &mut cuts, edge);
                for _ in 0..gaps {
                    judge.window.push_gap(i64::from(plan.rules.target_s) * TICKS);
                    judge.look();
                }
            }
        }
        apply(&mut judge, &mut cuts, edge);
    }
    segmenter.flush(&mut cuts);
    apply(&mut judge, &mut cuts, edge);
    judge.window.end();
    if judge.window.has_segments() {
        judge.look();
        assert!(judge.last.as_ref().unwrap().0.is_over, "H14: the end is told");
    }
    judge
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn h1_to_h14_hold_over_generated_timelines(shape in shapes()) {
        let judge = play(&shape);
        prop_assert!(judge.versions > 0);
    }
}

fn steady(period: i64, gop: usize, pictures: usize) -> Shape {
    let gops = vec![gop];
    Shape { picture: Some(period), gops, has_sound: true, happens: Vec::new(), part_ms: Some(200), pictures }
}

fn last(judge: &Judge) -> &Playlist {
    &judge.last.as_ref().unwrap().0
}

#[test]
fn a_return_of_the_publisher_is_one_break_however_much_configuration_comes() {
    let happens = vec![(300, Happening::Away(2)), (300, Happening::OtherConfig)];
    let judge = play(&Shape { happens, ..steady(40_000, 25, 500) });
    assert_eq!(judge.breaks, 2, "the first, and the return");
    let judge = play(&steady(40_000, 25, 500));
    assert_eq!(judge.breaks, 1);
}

#[test]
fn parts_have_whole_frames_and_the_length_that_is_told() {
    for (period, target) in [(33_333, 0.205), (40_000, 0.205), (41_667, 0.17167), (16_667, 0.205)] {
        let judge = play(&steady(period, 1_000_000 / usize::try_from(period).unwrap(), 900));
        let told = last(&judge).part_target.unwrap();
        assert!((told - target).abs() < 0.002, "{period}: {told}");
    }
}

#[test]
fn segments_follow_the_keyframes_and_the_target_is_their_length() {
    for (gop, target, lasts) in
        [(25, 1.0, 1.0), (10, 2.0, 1.2), (50, 2.0, 2.0), (90, 4.0, 3.6), (2_000, 10.0, 10.0)]
    {
        let judge = play(&steady(40_000, gop, 1_200));
        let list = last(&judge);
        let (first, middle) = (list.segments[0].lasts, list.segments[1].lasts);
        assert_eq!(list.target, target, "{gop}");
        assert!((middle - lasts).abs() < 0.45, "{gop}: {first} {middle}");
    }
}

#[test]
fn sound_that_lasts_longer_than_the_picture_is_in_the_last_parts() {
    let wishes =
        Wishes { segment_ms: 1_000, max_segment_ms: 10_000, part_ms: Some(200), format: HlsFormat::Fmp4 };
    let mut frames: Vec<Frame> =
        steady(40_000, 25, 100).steps().into_iter().filter_map(Step::into_frame).collect();
    let newest = frames.iter().map(|frame| frame.timestamp).max().unwrap();
    let ends = newest + 450;
    let sound = (1..20).map(|count| newest + 1 + count * 1_024_000 / 44_100).take_while(|at| *at < ends);
    frames.extend(sound.map(audio));
    let plan = Plan::of(&frames, MainIds::default(), wishes).unwrap();
    let (mut segmenter, mut cuts) = (Segmenter::new(&plan), Vec::new());
    frames.iter().for_each(|frame| segmenter.push(frame, &mut cuts));
    segmenter.flush(&mut cuts);
    let last = cuts.iter().rev().find_map(|cut| match cut {
        Cut::Part(part) => Some(part.begins + part.lasts),
        _ => None,
    });
    let (sound, end) = (frames.last().unwrap().timestamp, last.unwrap() / 90);
    // Counted samples are as near to what the publisher says.
    assert!((sound - 40..sound + 50).contains(&end), "the last sound is of {sound}, the end {end}");
    let most = plan.rules.part.unwrap();
    let longest = cuts.iter().filter_map(|cut| match cut {
        Cut::Part(part) => Some(part.lasts),
        _ => None,
    });
    assert!(longest.max() <= Some(most), "H3");
}

/// A snapshot with whole segments of five parts, and two parts more.
fn snapshot() -> Snapshot {
    let steps = steady(40_000, 25, 261).steps();
    let wishes =
        Wishes { segment_ms: 1_000, max_segment_ms: 10_000, part_ms: Some(200), format: HlsFormat::Fmp4 };
    let frames: Vec<_> = steps
        .into_iter()
        .filter_map(|step| match step {
            Step::Frame(frame) => Some(frame),
            _ => None,
        })
        .collect();
    let plan = Plan::of(&frames, MainIds::default(), wishes).unwrap();
    let mut window = Window::new(Terms {
        rules: plan.rules,
        window: 12 * TICKS,
        max_bytes: 1 << 30,
        format: HlsFormat::Fmp4,
        first: 100,
    });
    let (mut segmenter, mut cuts) = (Segmenter::new(&plan), Vec::new());
    frames.iter().for_each(|frame| segmenter.push(frame, &mut cuts));
    cuts.into_iter().for_each(|cut| window.push(cut, SystemTime::now(), 0));
    window.snapshot(FOLDER)
}

#[test]
fn h10_h11_what_is_waited_for_is_there_to_come_or_too_far() {
    let snapshot = snapshot();
    let standing = |number, part| snapshot.standing(Awaited { number, part });
    let open = 110;
    for (number, part, expected) in [
        (open - 1, None, Standing::There),
        (1, None, Standing::There),
        (open, None, Standing::ToCome),
        (open + 1, None, Standing::ToCome),
        (open + 2, None, Standing::TooFar),
        (open, Some(1), Standing::There),
        (open, Some(2), Standing::ToCome),
        // Three seconds of parts ahead, and no more.
        (open, Some(2 + 15), Standing::ToCome),
        (open, Some(2 + 16), Standing::TooFar),
        (open + 1, Some(0), Standing::ToCome),
        (open - 1, Some(4), Standing::There),
        // The one behind the last is the first of the next.
        (open - 1, Some(5), Standing::There),
        (open - 1, Some(500), Standing::There),
        (u64::MAX, None, Standing::TooFar),
    ] {
        assert_eq!(standing(number, part), expected, "{number} {part:?}");
    }
}

/// What comes of all of a stream's frames at once.
fn cuts_of(frames: &[Frame], part_ms: Option<u64>) -> Vec<Cut> {
    let wishes = Wishes { segment_ms: 1_000, max_segment_ms: 10_000, part_ms, format: HlsFormat::Fmp4 };
    let plan = Plan::of(frames, MainIds::default(), wishes).expect("something to play");
    let (mut segmenter, mut cuts) = (Segmenter::new(&plan), Vec::new());
    frames.iter().for_each(|frame| segmenter.push(frame, &mut cuts));
    segmenter.flush(&mut cuts);
    cuts
}

fn headers(cuts: &[Cut]) -> Vec<&[Header]> {
    let mut found = Vec::new();
    for cut in cuts {
        if let Cut::Break(headers) = cut {
            found.push(&headers[..]);
        }
    }
    found
}

#[test]
fn sound_without_a_record_is_there_from_the_first_segment_on() {
    let mp3 = Bytes::from([&b"\x2f\xff\xfb\x90\x64"[..], &[0; 413]].concat());
    let is_sound = |frame: &Frame| frame.kind == FrameKind::Audio;
    let steps = steady(40_000, 25, 100).steps().into_iter().filter_map(Step::into_frame);
    let frames: Vec<_> = steps
        .filter(|frame| !is_sound(frame) || !frame.is_config())
        .map(|frame| match is_sound(&frame) {
            // Behind the picture of that time, too.
            true => Frame::new(FrameKind::Audio, frame.timestamp + 20, mp3.clone()),
            false => frame,
        })
        .collect();
    let cuts = cuts_of(&frames, Some(200));
    let codecs: Vec<_> = headers(&cuts).iter().map(|headers| headers[0].codecs.join(",")).collect();
    assert_eq!(codecs, ["avc1.42c01e,mp4a.40.34"]);
}

#[test]
fn a_keyframe_of_vp9_tells_its_size_and_another_size_is_a_break() {
    const RECORD: &[u8] = b"\x90vp09\x01\0\0\0\0\x14\x82\x02\x02\x02\0\0";
    const KEYS: [&[u8]; 2] = [
        b"\x91vp09\x82\x49\x83\x42\x00\x13\xf0\x0e\xf0\x00",
        b"\x91vp09\x82\x49\x83\x42\x00\x27\xf0\x16\x70\x00",
    ];
    let frame =
        |at: i64, payload: &'static [u8]| Frame::new(FrameKind::Video, at, Bytes::from_static(payload));
    // Two seconds of each size.
    let of = |number: i64| match number % 25 {
        0 => frame(number * 40, KEYS[usize::from(number >= 50)]),
        _ => frame(number * 40, b"\xa1vp09\x86\0"),
    };
    let frames: Vec<_> = std::iter::once(frame(0, RECORD)).chain((0..100).map(of)).collect();
    let cuts = cuts_of(&frames, Some(200));
    let sizes: Vec<_> = headers(&cuts).iter().map(|headers| headers[0].size).collect();
    assert_eq!(sizes, [Some((320, 240)), Some((640, 360))]);
}

#[test]
fn sound_of_a_picture_that_has_never_come_is_left_out() {
    let mut frames: Vec<_> =
        steady(40_000, 25, 60).steps().into_iter().filter_map(Step::into_frame).collect();
    // A hole that no segment has room for; behind it pictures come that one cannot begin with, for 20 s, and then one can.
    let begins = frames.last().unwrap().timestamp + 30_000;
    frames.push(inter(begins, 50));
    frames.extend((0..800).map(|number| audio(begins + number * 25)));
    frames.push(keyframe(begins + 20_100, 50));
    frames.push(inter(begins + 20_140, 50));
    let last = cuts_of(&frames, Some(200)).into_iter().rev().find_map(|cut| match cut {
        Cut::Part(part) => Some(part),
        _ => None,
    });
    let bytes = last.unwrap().media[0].len();
    // Each frame has 16 bytes in the table of its part.
    assert!(bytes < 16 * 50, "{bytes} bytes: more than half a second of sound");
}

#[test]
fn a_part_ends_where_it_has_much_in_it() {
    let header = Frame::new(FrameKind::Video, 0, Bytes::from_static(AVC[0]));
    let pictures = (1..30).map(|number| inter(number * 40, 1024 * 1024));
    let frames: Vec<_> = [header, keyframe(0, 100)]
        .into_iter()
        .chain(pictures)
        .chain([keyframe(1_200, 100), inter(1_240, 100)])
        .collect();
    let cuts = cuts_of(&frames, None);
    let parts = cuts.iter().take_while(|cut| **cut != Cut::Segment).filter(|cut| matches!(cut, Cut::Part(_)));
    assert_eq!(parts.count(), 4, "29 MiB, 9 at a time");
}
