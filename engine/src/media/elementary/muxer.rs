//! Samples to frames.

use super::body::can_write;
use super::track::{FrameList, Track};
use super::{Batch, BodyForm, Frames, Sample, millis, name};
use crate::media::flv::{Codec, strip_set_data_frame};
use crate::media::{Frame, FrameKind};
use crate::{Error, ErrorKind, Result};
use bytes::Bytes;

/// Makes the frames of a stream from the samples of its tracks.
///
/// Sequence headers come out before the first frame and whenever a track's configuration changes, in-band
/// changes included. Track 0 is written in legacy tag bodies where FLV has them (H.264, AAC, MP3, G.711) unless
/// [`BodyForm::Enhanced`] is asked for, all else in Enhanced RTMP ones; further tracks as `OneTrack` multitrack bodies.
#[derive(Debug, Default)]
pub struct Muxer {
    /// In the order of their declaration; at most 256 of audio and video each.
    tracks: Vec<Track>,
    form: BodyForm,
}

impl Muxer {
    /// A muxer without tracks.
    pub fn new() -> Self {
        Self::default()
    }

    /// A muxer without tracks that writes them in `form`.
    pub fn with_form(form: BodyForm) -> Self {
        Self { tracks: Vec::new(), form }
    }

    /// Declares track number `track` of the codec's kind, or declares it anew. Its sequence header comes out
    /// with the next sample of any track, unless the last one said the same.
    ///
    /// `extradata` is the decoder configuration:
    /// - H.264, HEVC: `avcC` or `hvcC`, or parameter sets behind start codes; `None`: they come in-band.
    /// - AAC: AudioSpecificConfig; `None`: the samples are ADTS.
    /// - AV1: `av1C`; VP8, VP9: `vpcC`; `None`: made from keyframes.
    /// - VVC: `vvcC`.
    /// - Opus: `OpusHead` or the content of `dOps`; `None`: stereo.
    /// - FLAC: STREAMINFO, bare or behind `fLaC`, or the content of `dfLa`.
    /// - MP3, AC-3, E-AC-3, G.711: not needed, and ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Format`] when `extradata` is not what the codec needs, [`ErrorKind::Unsupported`] for a codec
    /// that cannot be written, or not as track `track`. The track then stays as it was.
    pub fn set_track(&mut self, track: u8, codec: Codec, extradata: Option<&[u8]>) -> Result<()> {
        if codec == Codec::Data {
            return Ok(());
        }
        if !can_write(codec, track) {
            let only =
                if can_write(codec, 0) { "can be written as track 0 only" } else { "cannot be written" };
            return Err(Error::new(ErrorKind::Unsupported, format!("{}: {only}", name(codec, track))));
        }
        let mut new = Track::new(track, codec, self.form);
        if let Some(extradata) = extradata.filter(|extradata| !extradata.is_empty()) {
            new.configure(extradata)?;
        }
        match self.find(codec, track) {
            Some(old) => old.replace(new),
            None => self.tracks.push(new),
        }
        Ok(())
    }

    /// The sequence headers that are due, at `time_ns`: what the next [`push`](Self::push) would put before its
    /// frame. For those who want a stream to be complete before its first frame.
    pub fn headers(&mut self, time_ns: i64) -> Frames {
        Batch(self.headers_at(millis(time_ns)))
    }

    fn headers_at(&mut self, timestamp: i64) -> FrameList {
        self.tracks.iter_mut().filter_map(|track| track.header(timestamp)).collect()
    }

    /// The frames of a sample: sequence headers that are due, then its coded frames. A sample without data
    /// gives none. Data samples need no track.
    ///
    /// Times are rounded to milliseconds one by one, so errors do not add up.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when the track is not declared, or has no decoder configuration yet;
    /// [`ErrorKind::InvalidArgument`] when codec or format do not fit the track, or the times lie too far apart
    /// (2.3 hours); [`ErrorKind::Format`] when the data is malformed; [`ErrorKind::Unsupported`] for ADTS that
    /// needs a decoder to be taken apart; [`ErrorKind::Limit`] when it is longer than an FLV tag (16 MiB). The
    /// next sample can be pushed all the same.
    pub fn push<D: AsRef<[u8]>>(&mut self, sample: &Sample<D>) -> Result<Frames> {
        self.frames(&sample.borrowed())
    }

    fn frames(&mut self, sample: &Sample<&[u8]>) -> Result<Frames> {
        if sample.codec == Codec::Data {
            return Ok(Batch(data(sample).into_iter().collect()));
        }
        let track = self.declared(sample)?;
        let times = track.times(sample)?;
        let coded = match (sample.data.is_empty(), sample.config) {
            (true, _) => return Ok(Frames::default()),
            (false, true) => {
                track.configure(sample.data)?;
                FrameList::new()
            }
            (false, false) => track.frames(sample, times)?,
        };
        let mut frames = self.headers_at(times.dts);
        frames.extend(coded);
        Ok(Batch(frames))
    }

    fn find(&mut self, codec: Codec, number: u8) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.is(codec.kind(), number))
    }

    fn declared(&mut self, sample: &Sample<&[u8]>) -> Result<&mut Track> {
        let what = || name(sample.codec, sample.track);
        let track = self.find(sample.codec, sample.track).ok_or_else(|| {
            Error::new(ErrorKind::State, format!("{}: not declared, call set_track first", what()))
        })?;
        if track.codec() == sample.codec {
            return Ok(track);
        }
        let text = format!("{}: declared as {}, call set_track to change it", what(), track.codec());
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }
}

/// A data event as a frame.
fn data(sample: &Sample<&[u8]>) -> Option<Frame> {
    let payload = strip_set_data_frame(Bytes::copy_from_slice(sample.data));
    (!payload.is_empty()).then(|| Frame::new(FrameKind::Data, millis(sample.pts_ns), payload))
}
