//! Statements that playlists have to keep to, over made-up streams, from version to version.

use super::reading::Playlist;
use super::timeline::Late;
use super::*;

const FOLDER: &str = "0123";

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
        for pair in list.segments.windows(2) {
            assert!(pair[0].map == pair[1].map || pair[1].is_break, "H9: {pair:?}");
        }
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
    let (steps, wishes) = (shape.steps(), wishes(shape.part_ms));
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
    let window = window(&plan, 1_795_000_000);
    let mut judge = Judge { shape: shape.clone(), window, last: None, breaks: 0, versions: 0 };
    let (mut segmenter, mut cuts, start) = (Segmenter::new(&plan, 0), Vec::new(), SystemTime::now());
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

/// The names of the codecs that newcomers are told of in the end, and how many breaks there were.
fn told(judge: &Judge) -> (String, usize) {
    let snapshot = &judge.last.as_ref().unwrap().1;
    let text = snapshot.multivariant("", "");
    let codecs = text.split_once("CODECS=\"").unwrap().1.split('"').next().unwrap();
    (codecs.to_owned(), judge.breaks)
}

#[test]
fn what_comes_late_is_a_break_and_newcomers_are_told_of_both() {
    for part_ms in [Some(200), None] {
        for (late, codecs) in [
            (None, "avc1.42c01e,mp4a.40.2"),
            (Some(Late::Sound(130)), "avc1.42c01e,mp4a.40.2"),
            (Some(Late::Picture(4_000)), "avc1.42c01e,mp4a.40.2"),
        ] {
            let judge = play(&Shape { late, part_ms, ..steady(40_000, 25, 500) });
            let breaks = 1 + usize::from(late.is_some());
            assert_eq!(told(&judge), (codecs.to_owned(), breaks), "{late:?}");
        }
    }
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

/// A snapshot with whole segments of five parts, and two parts more.
fn snapshot() -> Snapshot {
    let steps = steady(40_000, 25, 261).steps();
    let frames: Vec<_> = steps.into_iter().filter_map(Step::into_frame).collect();
    let plan = Plan::of(&frames, MainIds::default(), wishes(Some(200))).unwrap();
    let mut window = window(&plan, 100);
    let (mut segmenter, mut cuts) = (Segmenter::new(&plan, 0), Vec::new());
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

#[test]
fn a_list_is_as_long_as_its_bytes_allow_and_as_much_is_kept_of_what_was_on_it() {
    const MOST: usize = 12 * 25_500;
    let picture = |n: i64| if n % 25 == 0 { keyframe(n * 40, 1_000) } else { inter(n * 40, 1_000) };
    let frames: Vec<_> = [avc_header(0, AVC_RECORDS[0])].into_iter().chain((0..1_000).map(picture)).collect();
    let plan = Plan::of(&frames, MainIds::default(), wishes(Some(200))).unwrap();
    let Plan { rules, format, .. } = plan;
    let mut window = Window::new(Terms { rules, window: 60 * TICKS, max_bytes: MOST, format, first: 100 });
    let (mut segmenter, mut cuts, mut lists) = (Segmenter::new(&plan, 0), Vec::new(), Vec::new());
    for frame in &frames {
        segmenter.push(frame, &mut cuts);
        for cut in cuts.drain(..) {
            window.push(cut, SystemTime::now(), 0);
            assert!(!window.is_too_large() && window.bytes() <= MOST, "{} bytes", window.bytes());
        }
        if window.has_segments() {
            lists.push(listed_and_kept(&window));
        }
    }
    let full = lists.iter().position(|(listed, _)| *listed == 11).expect("a list that is full");
    let is_even = |(listed, kept): &(usize, usize)| (5..=7).contains(listed) && (4..=6).contains(kept);
    let after: Vec<_> = lists.into_iter().skip(full).skip_while(|list| !is_even(list)).collect();
    assert!(after.len() > 400 && after.iter().all(is_even), "{after:?}");
    // Where other streams need a byte of it, a segment goes.
    let there = |(listed, kept): (usize, usize)| listed + kept;
    let before = there(listed_and_kept(&window));
    window.give_way(window.bytes() - 1);
    assert!(is_even(&listed_and_kept(&window)) && there(listed_and_kept(&window)) == before - 1);
    window.give_way(0);
    let (listed, kept) = listed_and_kept(&window);
    assert!((3..=4).contains(&listed) && kept == 0, "{listed} {kept}");
}

/// How many segments are listed, and how many are kept that are not.
fn listed_and_kept(window: &Window) -> (usize, usize) {
    let snapshot = window.snapshot(FOLDER);
    let list = Playlist::read(std::str::from_utf8(snapshot.playlist(0, false).unwrap().plain()).unwrap());
    let is_kept = |number: &u64| snapshot.piece(&format!("v{number}.m4s")).is_some();
    (list.segments.len(), (100..list.first).rev().take_while(is_kept).count())
}
