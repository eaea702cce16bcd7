//! The forms in which parts are written: fragmented MP4 and MPEG-TS.

use super::ticks;
use crate::config::HlsFormat;
use crate::media::elementary::{Demuxer, Format};
use crate::media::fmp4::{Mp4Run, Mp4Sample, Mp4Track, mp4_init, mp4_part};
use crate::media::ts::{TsMuxer, TsSample, TsTrack};
use bytes::Bytes;

/// Samples of one track that follow each other.
pub(super) struct Run<'a> {
    pub(super) track: &'a Mp4Track,
    /// When the first one is decoded, in units of the track.
    pub(super) begins: i64,
    pub(super) samples: Vec<Mp4Sample>,
}

/// Whether a form has a place for a track.
pub(super) fn can_write(format: HlsFormat, track: &Mp4Track) -> bool {
    match format {
        HlsFormat::Fmp4 => mp4_init(std::slice::from_ref(track)).is_ok(),
        HlsFormat::Ts => TsTrack::new(track.codec, &track.config).is_ok(),
    }
}

/// Takes samples out of frames as a form has them.
pub(super) fn demuxer(format: HlsFormat) -> Demuxer {
    match format {
        HlsFormat::Fmp4 => Demuxer::new(),
        HlsFormat::Ts => Demuxer::new().with_format(Format::AnnexB).with_format(Format::Adts),
    }
}

/// Writes the parts of one rendition.
pub(super) enum Writer {
    Mp4 {
        /// The number of the last part.
        sequence: u32,
        /// What times are counted from, as [`Segmenter::new`](super::segmenter::Segmenter::new) has it.
        origin: i64,
    },
    Ts {
        /// `None` before the first tracks.
        muxer: Option<Box<TsMuxer>>,
        /// The numbers of its tracks.
        tracks: Vec<u32>,
    },
}

impl Writer {
    pub(super) fn new(format: HlsFormat, origin: i64) -> Self {
        match format {
            HlsFormat::Fmp4 => Self::Mp4 { sequence: 0, origin },
            HlsFormat::Ts => Self::Ts { muxer: None, tracks: Vec::new() },
        }
    }

    /// Begins anew with these tracks, each of which can be written: what decoders need first, nothing where all is in each segment.
    pub(super) fn begin(&mut self, tracks: &[Mp4Track]) -> Bytes {
        match self {
            Self::Mp4 { .. } => mp4_init(tracks).unwrap_or_default(),
            Self::Ts { muxer, tracks: numbers } => {
                let known = tracks.iter().filter_map(|track| TsTrack::new(track.codec, &track.config).ok());
                let known: Vec<_> = known.collect();
                let renewed = muxer.as_mut().map(|muxer| muxer.renew(&known));
                if !matches!(renewed, Some(Ok(()))) {
                    *muxer = TsMuxer::new(&known).ok().map(Box::new);
                }
                *numbers = tracks.iter().map(|track| track.id).collect();
                Bytes::new()
            }
        }
    }

    /// A part. Only one of 2 GiB could not be written.
    pub(super) fn part(&mut self, runs: &[Run<'_>]) -> Bytes {
        match self {
            Self::Mp4 { sequence, origin } => {
                *sequence = sequence.wrapping_add(1);
                let begins = |run: &Run<'_>| {
                    let origin = origin.saturating_mul(run.track.timescale.into()) / 1_000;
                    u64::try_from(run.begins.saturating_add(origin)).unwrap_or_default()
                };
                let runs = runs.iter().map(|run| Mp4Run {
                    track: run.track.id,
                    begins: begins(run),
                    samples: &run.samples,
                });
                mp4_part(*sequence, &runs.collect::<Vec<_>>()).unwrap_or_default()
            }
            Self::Ts { muxer, tracks } => {
                let place = |run: &Run<'_>| tracks.iter().position(|id| *id == run.track.id);
                let samples = runs.iter().filter_map(|run| Some(ts_samples(place(run)?, run))).flatten();
                let segment =
                    muxer.as_mut().and_then(|muxer| muxer.segment(&samples.collect::<Vec<_>>()).ok());
                segment.unwrap_or_default()
            }
        }
    }
}

/// Samples with times in 90 kHz.
fn ts_samples<'a>(track: usize, run: &'a Run<'_>) -> impl Iterator<Item = TsSample> + 'a {
    let in_ticks = |units| ticks(units, run.track.timescale);
    let mut at = run.begins;
    run.samples.iter().map(move |sample| {
        let dts = in_ticks(at);
        at = at.saturating_add(sample.duration.into());
        let composition = i32::try_from(in_ticks(sample.composition.into())).unwrap_or_default();
        TsSample { track, dts, composition, is_sync: sample.is_sync, data: sample.data.clone() }
    })
}
