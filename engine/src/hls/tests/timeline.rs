//! Made-up streams.

use super::*;

/// What a timeline is made of.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Microseconds between pictures; none for sound alone.
    pub(super) picture: Option<i64>,
    /// Pictures of a GOP, one after the other, and then again.
    pub(super) gops: Vec<usize>,
    pub(super) has_sound: bool,
    /// What of picture and sound comes later than the other.
    pub(super) late: Option<Late>,
    /// After so many pictures, something happens.
    pub(super) happens: Vec<(usize, Happening)>,
    pub(super) part_ms: Option<u64>,
    pub(super) pictures: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Late {
    /// The sound, after so many pictures.
    Sound(usize),
    /// The picture, after so many milliseconds.
    Picture(i64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Happening {
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

pub(super) enum Step {
    Frame(Frame),
    Renewal,
    Away(usize),
}

impl Step {
    pub(super) fn into_frame(self) -> Option<Frame> {
        match self {
            Self::Frame(frame) => Some(frame),
            _ => None,
        }
    }
}

impl Shape {
    /// Whether every frame lies where the rate has it.
    pub(super) fn is_steady(&self) -> bool {
        !self.happens.iter().any(|(_, what)| matches!(what, Happening::Hole(_) | Happening::Still(_)))
    }

    /// Whether there is sound when so many pictures have come.
    fn has_sound_at(&self, pictures: usize) -> bool {
        self.has_sound && !matches!(self.late, Some(Late::Sound(from)) if pictures < from)
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let header = |at, config: usize| Step::Frame(avc_header(at, AVC_RECORDS[config]));
        if self.has_sound_at(0) {
            steps.push(Step::Frame(audio_header(0)));
        }
        let Some(period) = self.picture else {
            steps.extend(
                (0..self.pictures).map(|frame| Step::Frame(audio(frame as i64 * 1_024_000 / 44_100))),
            );
            return steps;
        };
        let (mut config, mut shift, mut sound, mut pending) = (0, 1_000_000, 0_i64, Vec::new());
        steps.push(header(1_000, 0));
        if let Some(Late::Picture(ms)) = self.late {
            shift += ms * 1_000;
        }
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
                            steps.push(header(at, config));
                        }
                        Happening::Renewal | Happening::Away(_) => {
                            if let Happening::Away(gaps) = what {
                                steps.push(Step::Away(gaps));
                            }
                            steps.push(Step::Renewal);
                            let at = (picture as i64 * period + shift) / 1_000;
                            steps.push(header(at, config));
                            if self.has_sound_at(picture) {
                                steps.push(Step::Frame(audio_header(at)));
                            }
                        }
                        Happening::Still(ms) => shift += ms * 1_000,
                    }
                }
            }
            left -= 1;
            let at = (picture as i64 * period + shift) / 1_000;
            if self.late == Some(Late::Sound(picture)) {
                sound = (at - 1_000) * 44_100 / 1_024_000;
                steps.push(Step::Frame(audio_header(at)));
            }
            while self.has_sound_at(picture) && 1_000 + sound * 1_024_000 / 44_100 < at {
                steps.push(Step::Frame(audio(1_000 + sound * 1_024_000 / 44_100)));
                sound += 1;
            }
            let len = 40 + picture % 100;
            steps.push(Step::Frame(if is_key { keyframe(at, len) } else { inter(at, len) }));
        }
        steps
    }
}

pub(super) fn shapes() -> impl Strategy<Value = Shape> {
    let rates = prop::sample::select(vec![200_000, 66_667, 41_667, 40_000, 33_367, 33_333, 20_000, 16_667]);
    let happening = prop_oneof![
        (100_i64..15_000).prop_map(Happening::Hole),
        Just(Happening::OtherConfig),
        Just(Happening::Renewal),
        (0_usize..4).prop_map(Happening::Away),
        (100_i64..15_000).prop_map(Happening::Still),
    ];
    let late = prop_oneof![(1_usize..600).prop_map(Late::Sound), (1_000_i64..8_000).prop_map(Late::Picture)];
    let parts = prop::sample::select(vec![Some(200), Some(200), Some(500), Some(1_000), None]);
    (
        prop::option::weighted(0.9, rates),
        prop::collection::vec(1_usize..400, 1..6),
        any::<bool>(),
        prop::collection::vec((0_usize..800, happening), 0..4),
        parts,
        150_usize..900,
        prop::option::weighted(0.4, late),
    )
        .prop_map(|(picture, gops, has_sound, mut happens, part_ms, pictures, late)| {
            let late = late.filter(|_| picture.is_some());
            happens.sort_by_key(|(after, _)| *after);
            if picture.is_none() {
                happens.clear();
            }
            let has_sound = has_sound || picture.is_none() || late.is_some();
            Shape { picture, gops, has_sound, late, happens, part_ms, pictures }
        })
}

/// A stream of a constant rate to which nothing happens.
pub(super) fn steady(period: i64, gop: usize, pictures: usize) -> Shape {
    Shape {
        picture: Some(period),
        gops: vec![gop],
        has_sound: true,
        late: None,
        happens: Vec::new(),
        part_ms: Some(200),
        pictures,
    }
}
