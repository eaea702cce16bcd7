//! What the pads take: templates, and what a pad's caps mean to the muxer.

use std::str::FromStr;
use std::sync::LazyLock;
use streamengine::media::elementary::Format;
use streamengine::media::flv::Codec;

/// In the order in which encoders and parsers are to choose. The second H.264 structure is what `flvdemux` says: it
/// names no alignment.
const VIDEO: &str = "video/x-h264, stream-format=avc, alignment=au; \
    video/x-h264, stream-format=avc; \
    video/x-h264, stream-format=avc3, alignment=au; \
    video/x-h264, stream-format=byte-stream, alignment=au; \
    video/x-h265, stream-format={ (string)hvc1, (string)hev1 }, alignment=au; \
    video/x-h265, stream-format=byte-stream, alignment=au; \
    video/x-av1, stream-format=obu-stream, alignment=tu; \
    video/x-vp9; \
    video/x-vp8";

const AUDIO: &str = "audio/mpeg, mpegversion=4, stream-format=raw; \
    audio/mpeg, mpegversion=4, stream-format=adts, framed=true; \
    audio/mpeg, mpegversion=1, layer=3, parsed=true; \
    audio/x-opus, channel-mapping-family=0; \
    audio/x-flac, framed=true; \
    audio/x-ac3, framed=true; \
    audio/x-eac3, framed=true; \
    audio/x-alaw, rate=8000, channels=1; \
    audio/x-mulaw, rate=8000, channels=1";

const FLV: &str = "video/x-flv";

/// The pads' caps.
pub(super) struct Templates {
    pub(super) all: gst::Caps,
    pub(super) video: gst::Caps,
    pub(super) audio: gst::Caps,
}

pub(super) static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| {
    let caps = |text: &str| gst::Caps::from_str(text).expect("a constant");
    Templates { all: caps(&format!("{FLV}; {VIDEO}; {AUDIO}")), video: caps(VIDEO), audio: caps(AUDIO) }
});

/// What comes on a pad.
pub(super) enum Content {
    /// FLV tags, with the headers that the caps carry.
    Flv(Vec<gst::Buffer>),
    /// Samples of one track.
    Track(TrackCaps),
}

/// One track as its caps describe it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrackCaps {
    pub(super) codec: Codec,
    pub(super) format: Format,
    pub(super) extradata: Option<Vec<u8>>,
    pub(super) facts: Facts,
}

/// What goes into `onMetaData`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) width: Option<i32>,
    pub(super) height: Option<i32>,
    pub(super) frame_rate: Option<f64>,
    pub(super) sample_rate: Option<i32>,
    pub(super) channels: Option<i32>,
    /// Profile in the words of the caps.
    pub(super) profile: Option<String>,
}

impl Facts {
    fn of(caps: &gst::StructureRef) -> Self {
        let number = |name: &str| caps.get::<i32>(name).ok().filter(|&number| number > 0);
        let rate =
            caps.get::<gst::Fraction>("framerate").ok().filter(|rate| rate.numer() > 0 && rate.denom() > 0);
        Self {
            width: number("width"),
            height: number("height"),
            frame_rate: rate.map(|rate| f64::from(rate.numer()) / f64::from(rate.denom())),
            sample_rate: number("rate"),
            channels: number("channels"),
            profile: caps.get("profile").ok(),
        }
    }
}

/// Reads a pad's caps.
///
/// # Errors
/// Why these cannot be taken, and what would help.
pub(super) fn read(caps: &gst::CapsRef) -> Result<Content, String> {
    let caps = caps.structure(0).ok_or("empty caps")?;
    if caps.name() == FLV {
        return Ok(Content::Flv(stream_header(caps)));
    }
    let (codec, format) = codec(caps)?;
    let codec_data = caps.get::<gst::Buffer>("codec_data").ok().and_then(|buffer| bytes(&buffer));
    let extradata = match codec {
        Codec::Opus => opus_head(caps),
        Codec::Flac => stream_header(caps).first().and_then(bytes).and_then(flac_streaminfo),
        _ => codec_data,
    };
    let track = TrackCaps { codec, format, extradata, facts: Facts::of(caps) };
    track.check()?;
    Ok(Content::Track(track))
}

fn codec(caps: &gst::StructureRef) -> Result<(Codec, Format), String> {
    let stream_format = caps.get::<&str>("stream-format").unwrap_or_default();
    let nal_format = if stream_format == "byte-stream" { Format::AnnexB } else { Format::Native };
    let mpeg_version = caps.get::<i32>("mpegversion").unwrap_or_default();
    Ok(match caps.name().as_str() {
        "video/x-h264" => (Codec::H264, nal_format),
        "video/x-h265" => (Codec::Hevc, nal_format),
        "video/x-av1" => (Codec::Av1, Format::Native),
        "video/x-vp9" => (Codec::Vp9, Format::Native),
        "video/x-vp8" => (Codec::Vp8, Format::Native),
        "audio/mpeg" if mpeg_version == 1 => (Codec::Mp3, Format::Native),
        "audio/mpeg" if stream_format == "adts" => (Codec::Aac, Format::Adts),
        "audio/mpeg" => (Codec::Aac, Format::Native),
        "audio/x-opus" => (Codec::Opus, Format::Native),
        "audio/x-flac" => (Codec::Flac, Format::Native),
        "audio/x-ac3" => (Codec::Ac3, Format::Native),
        "audio/x-eac3" => (Codec::Eac3, Format::Native),
        "audio/x-alaw" => (Codec::G711a, Format::Native),
        "audio/x-mulaw" => (Codec::G711u, Format::Native),
        other => return Err(format!("{other} cannot be sent over RTMP")),
    })
}

impl TrackCaps {
    /// Whether the decoder configuration is there that this format keeps outside its samples.
    fn check(&self) -> Result<(), String> {
        let parser = match self.codec {
            Codec::H264 => "h264parse",
            Codec::Hevc => "h265parse",
            Codec::Aac => "aacparse",
            Codec::Flac => "flacparse",
            _ => return Ok(()),
        };
        match (self.format, &self.extradata) {
            (Format::Native, None) => {
                Err(format!("{} without decoder configuration in its caps: insert {parser}", self.codec))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn is_video(&self) -> bool {
        self.codec.kind() == Some(streamengine::media::FrameKind::Video)
    }

    /// What most players cannot show, in words.
    pub(super) fn warning(&self) -> Option<String> {
        let profile = self.facts.profile.as_deref().filter(|_| self.codec == Codec::H264)?;
        let is_rare = ["4:4:4", "4:2:2", "high-10"].iter().any(|rare| profile.contains(rare));
        is_rare.then(|| {
            format!(
                "H.264 of profile {profile}: most players show no picture; put video/x-raw,format=I420 before the encoder"
            )
        })
    }
}

/// The buffers of `streamheader`.
fn stream_header(caps: &gst::StructureRef) -> Vec<gst::Buffer> {
    let array = caps.get::<gst::ArrayRef<'_>>("streamheader");
    let values = array.iter().flat_map(|array| array.as_slice().iter());
    values.filter_map(|value| value.get::<gst::Buffer>().ok()).collect()
}

fn bytes(buffer: &gst::Buffer) -> Option<Vec<u8>> {
    let map = buffer.map_readable().ok()?;
    (!map.is_empty()).then(|| map.to_vec())
}

/// `OpusHead` (RFC 7845 section 5.1) from what the caps say.
fn opus_head(caps: &gst::StructureRef) -> Option<Vec<u8>> {
    if let Some(head) =
        stream_header(caps).first().and_then(bytes).filter(|head| head.starts_with(b"OpusHead"))
    {
        return Some(head);
    }
    let channels =
        u8::try_from(caps.get::<i32>("channels").ok()?).ok().filter(|count| (1..=2).contains(count))?;
    let rate = u32::try_from(caps.get::<i32>("rate").unwrap_or(48_000)).ok()?;
    let mut head = b"OpusHead\x01".to_vec();
    head.push(channels);
    head.extend(0_u16.to_le_bytes()); // Pre-skip: what the encoder put first has been cut off, or nobody knows.
    head.extend(rate.to_le_bytes());
    head.extend([0, 0, 0]); // No gain, mapping family 0.
    Some(head)
}

/// STREAMINFO behind `fLaC` in the first packet of the Ogg mapping, which is how caps carry it.
fn flac_streaminfo(packet: Vec<u8>) -> Option<Vec<u8>> {
    match packet.get(..5)? {
        b"\x7fFLAC" => packet.get(9..).map(<[u8]>::to_vec),
        [b'f', b'L', b'a', b'C', _] => Some(packet),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(text: &str) -> Result<TrackCaps, String> {
        gst::init().unwrap();
        match read(&gst::Caps::from_str(text).unwrap())? {
            Content::Track(track) => Ok(track),
            Content::Flv(_) => panic!("FLV"),
        }
    }

    #[test]
    fn every_structure_of_the_templates_is_understood() {
        gst::init().unwrap();
        for structure in TEMPLATES.all.iter().filter(|structure| structure.name() != FLV) {
            codec(structure).unwrap();
        }
    }

    #[test]
    fn configuration_that_is_missing_is_refused_in_words_that_name_the_parser() {
        for (caps, parser) in [
            ("video/x-h264, stream-format=avc", "h264parse"),
            ("video/x-h265, stream-format=hvc1, alignment=au", "h265parse"),
            ("audio/mpeg, mpegversion=4, stream-format=raw", "aacparse"),
            ("audio/x-flac, framed=true", "flacparse"),
        ] {
            assert!(track(caps).unwrap_err().contains(parser), "{caps}");
        }
        assert!(track("video/x-h264, stream-format=byte-stream, alignment=au").is_ok());
    }

    #[test]
    fn facts_and_formats_are_read() {
        let video = track(
            "video/x-h264, stream-format=avc, codec_data=(buffer)01640028, width=640, height=360, \
             framerate=30000/1001, profile=high-4:4:4",
        );
        let video = video.unwrap();
        assert_eq!((video.facts.width, video.facts.height), (Some(640), Some(360)));
        assert!((video.facts.frame_rate.unwrap() - 29.97).abs() < 0.001);
        assert!(video.warning().unwrap().contains("4:4:4") && video.is_video());
        let adts =
            track("audio/mpeg, mpegversion=4, stream-format=adts, framed=true, rate=44100, channels=2");
        assert_eq!(adts.unwrap().format, Format::Adts);
        let opus = track("audio/x-opus, channel-mapping-family=0, channels=1, rate=48000").unwrap();
        assert_eq!(&opus.extradata.unwrap()[..10], b"OpusHead\x01\x01");
    }
}
