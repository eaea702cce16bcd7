//! Judges what has come to a player: whether it can be decoded, and whether it is what was sent.

use super::media::{OBS_FIELDS, SET_DATA_FRAME, obs_metadata};
use super::report::Finding;
use super::wire::Heard;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use streamengine::amf0::{self, Amf0Value};
use streamengine::media::metadata::Value;
use streamengine::media::{Frame, FrameKind};

/// The frames among what was heard.
pub(super) fn frames(heard: &[Heard]) -> Vec<Frame> {
    heard.iter().filter_map(Heard::frame).collect()
}

/// How many of them can be decoded, or would be.
pub(super) fn media(frames: &[Frame]) -> usize {
    frames.iter().filter(|frame| frame.has_media()).count()
}

/// What comes before the first frames of a stream with video and audio.
pub(super) fn start(frames: &[Frame]) -> Finding {
    let first = |kind| frames.iter().position(|frame| frame.kind == kind && frame.has_media());
    let head = |kind| frames.iter().position(|frame| frame.kind == kind && frame.is_config());
    let (Some(video), Some(audio)) = (first(FrameKind::Video), first(FrameKind::Audio)) else {
        return Finding::does_not("video and audio do not both come");
    };
    let missing: Vec<_> = [(FrameKind::Video, video, "H.264"), (FrameKind::Audio, audio, "AAC")]
        .into_iter()
        .filter(|(kind, first, _)| head(*kind).is_none_or(|head| head > *first))
        .map(|(.., name)| name)
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        return Finding::does_not(format!(
            "the configuration of {missing} is not there before the first frame, which nobody can decode"
        ));
    }
    let is_key = frames.get(video).is_some_and(|frame| frame.flags.keyframe);
    let metadata = frames.iter().position(|frame| frame.is_metadata() || is_as_published(frame));
    match (is_key, metadata.is_some_and(|metadata| metadata < video.min(audio))) {
        (true, true) => {
            Finding::works("metadata, the configuration of H.264 and AAC, and a keyframe come first")
        }
        (false, _) => {
            Finding::differs("the first picture is no keyframe: there is none to see until the next one")
        }
        (true, false) => {
            Finding::differs("configuration and a keyframe come first, but no metadata before them")
        }
    }
}

/// The metadata that came of OBS's.
pub(super) fn metadata(frames: &[Frame]) -> Finding {
    let Some(arrived) = frames.iter().find(|frame| frame.is_metadata() || is_as_published(frame)) else {
        return Finding::does_not("no metadata comes to players");
    };
    if is_as_published(arrived) {
        return Finding::differs(
            "it comes to players with @setDataFrame before it, as publishers send it: ffmpeg reads that, and others do not",
        );
    }
    if arrived.payload == obs_metadata().1 {
        return Finding::works("all of it comes to players, byte for byte");
    }
    let Ok(values) = amf0::decode_all(&arrived.payload) else {
        return Finding::does_not("what comes to players is no AMF0");
    };
    let Some(Amf0Value::Object(fields)) = values.into_iter().nth(1) else {
        return Finding::does_not("what comes to players has no fields");
    };
    let lost = OBS_FIELDS.iter().filter(|(name, value)| !is_kept(&fields, name, *value));
    let lost: Vec<_> = lost.map(|(name, _)| *name).collect();
    match lost.is_empty() {
        true => Finding::works("all fields come to players, in another form"),
        false => Finding::differs(format!("these do not come to players as they were: {}", lost.join(", "))),
    }
}

/// Whether it is metadata that a server should have taken `@setDataFrame` off.
fn is_as_published(frame: &Frame) -> bool {
    frame.kind == FrameKind::Data && frame.payload.starts_with(SET_DATA_FRAME)
}

fn is_kept(fields: &HashMap<String, Amf0Value>, name: &str, value: Value<'_>) -> bool {
    match (fields.get(name), value) {
        (Some(Amf0Value::Number(number)), Value::Number(sent)) => (number - sent).abs() < 1e-6,
        (Some(Amf0Value::Boolean(boolean)), Value::Boolean(sent)) => *boolean == sent,
        (Some(Amf0Value::Utf8String(text)), Value::Text(sent)) => text == sent,
        _ => false,
    }
}

/// Whether there is enough of it, and some of video and of audio.
pub(super) fn has_both(frames: &[Frame], enough: usize) -> bool {
    let has = |kind| frames.iter().any(|frame| frame.kind == kind && frame.has_media());
    media(frames) >= enough && has(FrameKind::Video) && has(FrameKind::Audio)
}

/// What was sent, to find it again.
pub(super) struct Sent(HashSet<(FrameKind, Bytes)>);

impl Sent {
    pub(super) fn new(frames: &[Frame]) -> Self {
        Self(frames.iter().map(|frame| (frame.kind, frame.payload.clone())).collect())
    }

    /// Whether this is a frame of it, which can be decoded.
    pub(super) fn has_media(&self, heard: &Heard) -> bool {
        heard.frame().is_some_and(|frame| frame.has_media() && self.has(&frame))
    }

    fn has(&self, frame: &Frame) -> bool {
        self.0.contains(&(frame.kind, frame.payload.clone()))
    }

    /// What has come without what was there before it, and whether there was any.
    pub(super) fn without_rest(&self, mut arrived: Vec<Frame>) -> (Vec<Frame>, bool) {
        // Decoder configuration may be the same in both.
        let is_own = |frame: &Frame| frame.has_media() && self.has(frame);
        let first = arrived.iter().position(is_own).unwrap_or(arrived.len());
        let own = arrived.split_off(first);
        let is_foreign =
            |frame: &Frame| frame.kind != FrameKind::Data && !frame.payload.is_empty() && !self.has(frame);
        let has_rest = arrived.iter().any(is_foreign);
        arrived.retain(|frame| !is_foreign(frame));
        (arrived.into_iter().chain(own).collect(), has_rest)
    }
}

/// Whether what has come, of audio and video, is among what was sent, byte for byte; how many frames that was.
pub(super) fn unchanged(sent: &[Frame], arrived: &[Frame]) -> Result<usize, String> {
    let known: HashSet<(FrameKind, &Bytes)> = sent.iter().map(|frame| (frame.kind, &frame.payload)).collect();
    let is_foreign = |frame: &&Frame| {
        frame.kind != FrameKind::Data
            && !frame.payload.is_empty()
            && !known.contains(&(frame.kind, &frame.payload))
    };
    match arrived.iter().find(is_foreign) {
        None => Ok(media(arrived)),
        Some(frame) => Err(format!(
            "{} comes that was not sent, of {} bytes: the server changes it",
            if frame.kind == FrameKind::Video { "video" } else { "audio" },
            frame.payload.len()
        )),
    }
}

/// Whether the frames keep their distance in time; by how much all are moved, in milliseconds modulo 2^32.
pub(super) fn moved_by(sent: &[Frame], arrived: &[Frame]) -> Result<u32, String> {
    let wire = |time: i64| u32::try_from(time.rem_euclid(1 << 32)).unwrap_or_default();
    let times: HashMap<&Bytes, u32> =
        sent.iter().map(|frame| (&frame.payload, wire(frame.timestamp))).collect();
    let mut moves = arrived.iter().filter(|frame| frame.has_media()).filter_map(|frame| {
        let sent = times.get(&frame.payload)?;
        Some((*sent, wire(frame.timestamp)))
    });
    let Some((sent, came)) = moves.next() else { return Err("no frame of it comes to players".to_owned()) };
    let moved = came.wrapping_sub(sent);
    match moves.find(|(sent, came)| came.wrapping_sub(*sent) != moved) {
        None => Ok(moved),
        Some((sent, came)) => Err(format!(
            "times break: the frame sent with {sent} ms comes with {came} ms, and those before it were moved by {moved} ms"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;
    use streamengine::testing::{audio, audio_header, demo_frames, inter, keyframe, video_header};

    fn heads() -> Vec<Frame> {
        vec![Frame::new(FrameKind::Data, 0, obs_metadata().1), video_header(0), audio_header(0)]
    }

    fn with(frames: impl IntoIterator<Item = Frame>) -> Vec<Frame> {
        heads().into_iter().chain(frames).collect()
    }

    #[test]
    fn what_can_be_decoded_from_the_first_frame_on_is_told_from_what_cannot() {
        let whole = with([keyframe(0, 99), audio(0), inter(40, 99)]);
        assert_eq!(start(&whole).verdict, Verdict::Works);
        let mut bare = whole.clone();
        bare.remove(0);
        assert_eq!(start(&bare).verdict, Verdict::Differs);
        assert_eq!(start(&with([inter(0, 99), audio(0), keyframe(40, 99)])).verdict, Verdict::Differs);
        for (head, name) in [(1, "H.264"), (2, "AAC")] {
            let mut headless = whole.clone();
            let late = headless.remove(head);
            headless.push(late);
            let finding = start(&headless);
            assert_eq!(finding.verdict, Verdict::DoesNot);
            assert!(finding.words.contains(&format!("configuration of {name} ")), "{}", finding.words);
        }
        assert_eq!(start(&with([keyframe(0, 99)])).verdict, Verdict::DoesNot);
    }

    #[test]
    fn metadata_is_whole_or_its_lost_fields_are_named() {
        assert_eq!(metadata(&heads()).verdict, Verdict::Works);
        assert_eq!(metadata(&heads()[1..]).verdict, Verdict::DoesNot);
        let finding = metadata(&[Frame::new(FrameKind::Data, 0, obs_metadata().0.payload)]);
        assert!(finding.verdict == Verdict::Differs && finding.words.contains("@setDataFrame"));
        let kept: Vec<_> = OBS_FIELDS.iter().copied().filter(|(name, _)| *name != "encoder").collect();
        let shorter = streamengine::media::metadata::on_metadata(0, &kept);
        let finding = metadata(&[shorter]);
        assert_eq!(finding.verdict, Verdict::Differs);
        assert!(finding.words.ends_with(": encoder"), "{}", finding.words);
        let more: Vec<_> = [("server", Value::Text("x"))].into_iter().chain(OBS_FIELDS).collect();
        assert_eq!(metadata(&[streamengine::media::metadata::on_metadata(0, &more)]).verdict, Verdict::Works);
        let empty = Frame::new(FrameKind::Data, 0, Bytes::from_static(b"\x02\0\x0aonMetaData"));
        assert_eq!(metadata(&[empty]).verdict, Verdict::DoesNot);
    }

    #[test]
    fn a_changed_byte_and_a_wrong_time_are_found() {
        let sent: Vec<_> = demo_frames().into_iter().filter(|frame| frame.kind == FrameKind::Video).collect();
        let mut arrived = sent[3..60].to_vec();
        assert_eq!(unchanged(&sent, &arrived), Ok(media(&arrived)));
        assert_eq!(moved_by(&sent, &arrived), Ok(0));
        arrived.iter_mut().for_each(|frame| frame.timestamp += 70);
        assert_eq!(moved_by(&sent, &arrived), Ok(70));
        arrived[50].timestamp -= 1;
        assert!(moved_by(&sent, &arrived).unwrap_err().contains("moved by 70 ms"));
        let mut bytes = arrived[40].payload.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        arrived[40].payload = bytes.into();
        assert!(unchanged(&sent, &arrived).unwrap_err().contains("was not sent"));
        assert!(moved_by(&sent, &[]).is_err());
    }

    #[test]
    fn what_is_left_of_the_stream_before_is_no_change_of_this_one() {
        let sent = with([keyframe(0, 99), audio(0)]);
        let known = Sent::new(&sent);
        let (own, has_rest) =
            known.without_rest([vec![keyframe(0, 50), inter(40, 50)], sent.clone()].concat());
        assert!(has_rest);
        assert_eq!(own, sent);
        assert!(!known.without_rest(sent).1);
    }

    #[test]
    fn a_time_that_is_cut_to_24_bits_is_found() {
        let clip = super::super::media::clip().unwrap();
        let sent = super::super::media::late_frames(&clip);
        let mut arrived = sent.clone();
        assert_eq!(moved_by(&sent, &arrived), Ok(0));
        arrived.iter_mut().for_each(|frame| frame.timestamp &= 0xFF_FFFF);
        assert!(moved_by(&sent, &arrived).is_err());
    }
}
