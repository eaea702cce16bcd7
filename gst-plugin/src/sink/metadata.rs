//! `onMetaData`: what caps and tags say, and what the application adds or knows better.

use super::caps::TrackCaps;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use streamengine::amf0::{self, Amf0Value};
use streamengine::media::Frame;
use streamengine::media::flv::Codec;
use streamengine::media::metadata::{Value, on_metadata, without_file_fields};

/// Who made the stream, where nobody else says.
const ENCODER: &str = concat!("streamengine ", env!("CARGO_PKG_VERSION"));

/// A value of a field.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Number(f64),
    Boolean(bool),
    Text(String),
}

impl Field {
    /// A value of a structure; `None` for what has no form in metadata.
    fn of(value: &gst::glib::Value) -> Option<Self> {
        let whole = || {
            let signed = value.get::<i32>().map(f64::from);
            let unsigned = || value.get::<u32>().map(f64::from);
            signed.or_else(|_| unsigned()).ok()
        };
        #[expect(clippy::cast_precision_loss, reason = "metadata knows no other numbers")]
        let long = || {
            let signed = value.get::<i64>().map(|number| number as f64);
            signed.or_else(|_| value.get::<u64>().map(|number| number as f64)).ok()
        };
        let real = || value.get::<f64>().or_else(|_| value.get::<f32>().map(f64::from)).ok();
        let fraction = || {
            let fraction = value.get::<gst::Fraction>().ok().filter(|fraction| fraction.denom() != 0)?;
            Some(f64::from(fraction.numer()) / f64::from(fraction.denom()))
        };
        let number = whole().or_else(long).or_else(real).or_else(fraction).map(Self::Number);
        let boolean = || value.get::<bool>().ok().map(Self::Boolean);
        let text = || value.get::<String>().ok().map(Self::Text);
        number.or_else(boolean).or_else(text)
    }

    fn borrow(&self) -> Value<'_> {
        match self {
            Self::Number(number) => Value::Number(*number),
            Self::Boolean(boolean) => Value::Boolean(*boolean),
            Self::Text(text) => Value::Text(text),
        }
    }

    fn into_amf(self) -> Amf0Value {
        match self {
            Self::Number(number) => Amf0Value::Number(number),
            Self::Boolean(boolean) => Amf0Value::Boolean(boolean),
            Self::Text(text) => Amf0Value::Utf8String(text),
        }
    }
}

/// Fields in their order; a later one of the same name replaces the earlier.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Field)>);

impl Fields {
    fn put(&mut self, name: &str, value: Field) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    fn number(&mut self, name: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.put(name, Field::Number(value));
        }
    }

    fn text(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.put(name, Field::Text(value));
        }
    }

    fn track(&mut self, track: &TrackCaps) {
        let facts = &track.facts;
        let id = codec_id(track.codec);
        if track.is_video() {
            self.number("width", facts.width.map(f64::from));
            self.number("height", facts.height.map(f64::from));
            self.number("framerate", facts.frame_rate);
            self.number("videocodecid", id);
        } else {
            self.number("audiosamplerate", facts.sample_rate.map(f64::from));
            self.number("audiosamplesize", Some(16.0));
            if let Some(channels) = facts.channels {
                self.put("stereo", Field::Boolean(channels > 1));
                self.number("audiochannels", Some(channels.into()));
            }
            self.number("audiocodecid", id);
        }
    }

    fn tags(&mut self, tags: &gst::TagList, is_video: bool) {
        use gst::tags::{Artist, Bitrate, Comment, Copyright, Encoder, NominalBitrate, Title};
        let rate = tags.get::<Bitrate>().map(|tag| tag.get());
        let rate = rate.or_else(|| tags.get::<NominalBitrate>().map(|tag| tag.get()));
        let name = if is_video { "videodatarate" } else { "audiodatarate" };
        self.number(name, rate.map(|bits| f64::from(bits) / 1_000.0));
        self.text("title", tags.get::<Title>().map(|tag| tag.get().to_owned()));
        self.text("artist", tags.get::<Artist>().map(|tag| tag.get().to_owned()));
        self.text("comment", tags.get::<Comment>().map(|tag| tag.get().to_owned()));
        self.text("copyright", tags.get::<Copyright>().map(|tag| tag.get().to_owned()));
        self.text("encoder", tags.get::<Encoder>().map(|tag| tag.get().to_owned()));
    }

    fn structure(&mut self, structure: Option<&gst::Structure>) {
        for (name, value) in structure.iter().flat_map(|structure| structure.iter()) {
            if let Some(value) = Field::of(value) {
                self.put(name.as_str(), value);
            }
        }
    }
}

/// FLV's number of a codec, else its FourCC as Enhanced RTMP has it in metadata.
fn codec_id(codec: Codec) -> Option<f64> {
    Some(match codec {
        Codec::H264 => 7.0,
        Codec::Aac => 10.0,
        Codec::Mp3 => 2.0,
        Codec::G711a => 7.0,
        Codec::G711u => 8.0,
        codec => f64::from(u32::from_be_bytes(codec.fourcc()?)),
    })
}

/// The metadata of elementary streams at `timestamp` (ms).
pub(super) fn of_tracks<'a>(
    timestamp: i64,
    tracks: impl Iterator<Item = (&'a TrackCaps, &'a gst::TagList)>,
    own: Option<&gst::Structure>,
) -> Frame {
    let mut fields = Fields::default();
    fields.text("encoder", Some(ENCODER.to_owned()));
    for (track, tags) in tracks {
        fields.track(track);
        fields.tags(tags, track.is_video());
    }
    fields.structure(own);
    let borrowed: Vec<_> = fields.0.iter().map(|(name, value)| (name.as_str(), value.borrow())).collect();
    on_metadata(timestamp, &borrowed)
}

/// The metadata of an FLV stream without what is true of files only, with the application's fields.
pub(super) fn of_flv(payload: &Bytes, own: Option<&gst::Structure>) -> Bytes {
    let live = without_file_fields(payload);
    match own {
        Some(own) => merged(&live, own).unwrap_or(live),
        None => live,
    }
}

/// `None` where the payload is not understood.
fn merged(payload: &[u8], own: &gst::Structure) -> Option<Bytes> {
    let mut values = amf0::decode_all(payload).ok()?;
    let mut fields = Fields::default();
    fields.structure(Some(own));
    let Some(Amf0Value::Object(map)) = values.get_mut(1) else { return None };
    let map: &mut HashMap<String, Amf0Value> = map;
    map.extend(fields.0.into_iter().map(|(name, value)| (name, value.into_amf())));
    let mut out = BytesMut::new();
    amf0::encode(&values, &mut out);
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::super::caps;
    use super::*;
    use std::str::FromStr;
    use streamengine::media::metadata::number;

    fn track(text: &str) -> TrackCaps {
        match caps::read(&gst::Caps::from_str(text).unwrap()) {
            Ok(caps::Content::Track(track)) => track,
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn caps_tags_and_the_applications_fields_are_told_the_last_ones_first() {
        gst::init().unwrap();
        let video = track("video/x-h264, stream-format=byte-stream, width=640, height=360, framerate=25/1");
        let audio = track("audio/x-opus, channel-mapping-family=0, rate=48000, channels=2");
        let mut tags = gst::TagList::new();
        tags.make_mut().add::<gst::tags::NominalBitrate>(&800_000, gst::TagMergeMode::Replace);
        let own = gst::Structure::builder("m").field("height", 361).field("title", "a title").build();
        let none = gst::TagList::new();
        let frame = of_tracks(5, [(&video, &tags), (&audio, &none)].into_iter(), Some(&own));
        let read = |name| number(&frame.payload, name);
        assert_eq!(
            (read("width"), read("height"), read("framerate")),
            (Some(640.0), Some(361.0), Some(25.0))
        );
        assert_eq!((read("videodatarate"), read("videocodecid")), (Some(800.0), Some(7.0)));
        assert_eq!(read("audiocodecid"), Some(f64::from(u32::from_be_bytes(*b"Opus"))));
        assert!(frame.payload.windows(7).any(|bytes| bytes == b"a title"));
        assert!(frame.is_config() && frame.timestamp == 5);
    }

    #[test]
    fn metadata_of_flv_loses_the_files_fields_and_takes_the_applications() {
        gst::init().unwrap();
        let fields = [("duration", Value::Number(9.0)), ("width", Value::Number(1.0))];
        let payload = on_metadata(0, &fields).payload;
        assert_eq!(number(&of_flv(&payload, None), "duration"), None);
        let own = gst::Structure::builder("m").field("width", 2).field("custom", true).build();
        let merged = of_flv(&payload, Some(&own));
        assert_eq!(number(&merged, "width"), Some(2.0));
        assert!(merged.starts_with(b"\x02\x00\x0aonMetaData"));
    }
}
