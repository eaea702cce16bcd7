//! What GStreamer calls a track: caps from decoder configuration and first frames, tags from `onMetaData`.

use streamengine::media::codec::{AudioConfig, audio_config, audio_frame, video_config};
use streamengine::media::elementary::Sample;
use streamengine::media::flv::Codec;
use streamengine::media::metadata;

/// Bytes of the marker and of the header of the first metadata block in a FLAC record, and of STREAMINFO.
const FLAC_MARKER: &[u8] = b"fLaC";
const STREAM_INFO_LEN: usize = 34;

/// The caps that a configuration record or a coded frame stands for. `None` where they cannot be known yet, or for codecs
/// that have no elementary form here.
pub(super) fn of(sample: &Sample) -> Option<gst::Caps> {
    let data = sample.data.as_ref();
    match (sample.codec, sample.config) {
        (Codec::H264 | Codec::Hevc | Codec::Av1, true) => Some(video_with_record(sample.codec, data)),
        (Codec::Vp8 | Codec::Vp9, _) => video_name(sample.codec).map(gst::Caps::new_empty_simple),
        (Codec::Aac, true) => aac(data),
        (Codec::Opus, true) => opus_head(data),
        (Codec::Opus, false) => Some(opus(audio_frame(Codec::Opus, data)?.channels)),
        (Codec::Flac, true) => flac(data),
        (Codec::Mp3 | Codec::Ac3 | Codec::Eac3 | Codec::G711a | Codec::G711u, false) => {
            audio_from_frame(sample.codec, data)
        }
        _ => None,
    }
}

/// The caps of the pads.
pub(super) fn video_template() -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    let all = caps.make_mut();
    all.append_structure(
        structure("video/x-h264").field("stream-format", "avc").field("alignment", "au").build(),
    );
    all.append_structure(
        structure("video/x-h265").field("stream-format", "hvc1").field("alignment", "au").build(),
    );
    all.append_structure(
        structure("video/x-av1").field("stream-format", "obu-stream").field("alignment", "tu").build(),
    );
    all.append_structure(gst::Structure::new_empty("video/x-vp9"));
    all.append_structure(gst::Structure::new_empty("video/x-vp8"));
    caps
}

/// See [`video_template`].
pub(super) fn audio_template() -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    let all = caps.make_mut();
    all.append_structure(
        structure("audio/mpeg").field("mpegversion", 4).field("stream-format", "raw").build(),
    );
    all.append_structure(
        structure("audio/mpeg").field("mpegversion", 1).field("layer", 3).field("parsed", true).build(),
    );
    all.append_structure(gst::Structure::new_empty("audio/x-opus"));
    for framed in ["audio/x-flac", "audio/x-ac3", "audio/x-eac3"] {
        all.append_structure(structure(framed).field("framed", true).build());
    }
    for g711 in ["audio/x-alaw", "audio/x-mulaw"] {
        all.append_structure(structure(g711).field("rate", 8_000).build());
    }
    caps
}

fn structure(name: &str) -> gst::structure::Builder {
    gst::Structure::builder(name)
}

fn video_name(codec: Codec) -> Option<&'static str> {
    Some(match codec {
        Codec::H264 => "video/x-h264",
        Codec::Hevc => "video/x-h265",
        Codec::Av1 => "video/x-av1",
        Codec::Vp8 => "video/x-vp8",
        Codec::Vp9 => "video/x-vp9",
        _ => return None,
    })
}

fn video_with_record(codec: Codec, record: &[u8]) -> gst::Caps {
    let (format, alignment) = match codec {
        Codec::H264 => ("avc", "au"),
        Codec::Hevc => ("hvc1", "au"),
        _ => ("obu-stream", "tu"),
    };
    let config = video_config(codec, record);
    let size = config.and_then(|config| config.width.zip(config.height));
    let int = |value: u32| i32::try_from(value).ok();
    gst::Caps::builder(video_name(codec).unwrap_or("video/x-unknown"))
        .field("stream-format", format)
        .field("alignment", alignment)
        .field("codec_data", gst::Buffer::from_slice(record.to_vec()))
        .field_if_some("width", size.and_then(|size| int(size.0)))
        .field_if_some("height", size.and_then(|size| int(size.1)))
        .build()
}

fn aac(record: &[u8]) -> Option<gst::Caps> {
    let config = audio_config(Codec::Aac, record)?;
    let caps = gst::Caps::builder("audio/mpeg")
        .field("mpegversion", 4)
        .field("stream-format", "raw")
        .field("framed", true)
        .field("codec_data", gst::Buffer::from_slice(record.to_vec()));
    Some(with_layout(caps, &config))
}

fn audio_from_frame(codec: Codec, frame: &[u8]) -> Option<gst::Caps> {
    let config = audio_frame(codec, frame)?;
    let caps = match codec {
        Codec::Mp3 => {
            gst::Caps::builder("audio/mpeg").field("mpegversion", 1).field("layer", 3).field("parsed", true)
        }
        Codec::Ac3 => gst::Caps::builder("audio/x-ac3").field("framed", true).field("alignment", "frame"),
        Codec::Eac3 => gst::Caps::builder("audio/x-eac3").field("framed", true).field("alignment", "frame"),
        Codec::G711a => gst::Caps::builder("audio/x-alaw"),
        _ => gst::Caps::builder("audio/x-mulaw"),
    };
    Some(with_layout(caps, &config))
}

fn with_layout(caps: gst::caps::Builder<gst::caps::NoFeature>, config: &AudioConfig) -> gst::Caps {
    let rate = i32::try_from(config.sample_rate).ok().filter(|rate| *rate > 0);
    let channels = Some(i32::from(config.channels)).filter(|channels| *channels > 0);
    caps.field_if_some("rate", rate).field_if_some("channels", channels).build()
}

fn opus(channels: u8) -> gst::Caps {
    gst::Caps::builder("audio/x-opus")
        .field("rate", 48_000)
        .field("channels", i32::from(channels.max(1)))
        .field("channel-mapping-family", 0)
        .build()
}

/// RFC 7845 5.1: name, version, channels, pre-skip, rate, gain, mapping family and, but for family 0, the mapping.
fn opus_head(head: &[u8]) -> Option<gst::Caps> {
    let channels = *head.get(9)?;
    let family = *head.get(18)?;
    if family == 0 {
        return Some(opus(channels));
    }
    let (streams, coupled) = (*head.get(19)?, *head.get(20)?);
    let mapping = head.get(21..21 + usize::from(channels))?;
    let mapping = gst::Array::new(mapping.iter().map(|&channel| i32::from(channel)));
    let caps = gst::Caps::builder("audio/x-opus")
        .field("rate", 48_000)
        .field("channels", i32::from(channels))
        .field("channel-mapping-family", i32::from(family))
        .field("stream-count", i32::from(streams))
        .field("coupled-count", i32::from(coupled))
        .field("channel-mapping", mapping);
    Some(caps.build())
}

/// As flacparse writes them: the header of FLAC in Ogg with an unknown number of blocks after it.
fn flac(record: &[u8]) -> Option<gst::Caps> {
    let config = audio_config(Codec::Flac, record)?;
    let blocks = record.strip_prefix(FLAC_MARKER).unwrap_or(record);
    // With or without the header of its block.
    let info = match blocks.len() {
        STREAM_INFO_LEN => blocks,
        _ => blocks.get(4..4 + STREAM_INFO_LEN)?,
    };
    let last_block_of_34_bytes = [0x80, 0, 0, 34];
    let header = [&b"\x7fFLAC\x01\x00\x00\x00fLaC"[..], &last_block_of_34_bytes, info].concat();
    let headers = gst::Array::new([gst::Buffer::from_slice(header)]);
    let caps = gst::Caps::builder("audio/x-flac").field("framed", true).field("streamheader", headers);
    Some(with_layout(caps, &config))
}

/// What `onMetaData` says of the stream as a whole; `None` where that is nothing.
pub(super) fn tags(payload: &[u8]) -> Option<gst::TagList> {
    let mut list = gst::TagList::new();
    let tags = list.make_mut();
    let text = |field| metadata::text(payload, field).filter(|text| !text.is_empty());
    let append = gst::TagMergeMode::Append;
    if let Some(encoder) = text("encoder").or_else(|| text("videoencoder")) {
        tags.add::<gst::tags::Encoder>(&encoder, append);
    }
    if let Some(title) = text("title") {
        tags.add::<gst::tags::Title>(&title, append);
    }
    if let Some(artist) = text("author").or_else(|| text("artist")) {
        tags.add::<gst::tags::Artist>(&artist, append);
    }
    if let Some(copyright) = text("copyright") {
        tags.add::<gst::tags::Copyright>(&copyright, append);
    }
    if let Some(rate) = bit_rate(payload) {
        tags.add::<gst::tags::NominalBitrate>(&rate, append);
    }
    (list.n_tags() > 0).then_some(list)
}

/// Of audio and video together; encoders give kbit/s.
fn bit_rate(payload: &[u8]) -> Option<u32> {
    let rates = ["videodatarate", "audiodatarate"].map(|field| metadata::number(payload, field));
    let sum: f64 = rates.iter().flatten().sum();
    let bits = sum * 1_000.0;
    // Within the range, so that nothing is cut but the fraction.
    (bits >= 1.0 && bits < f64::from(u32::MAX)).then_some(bits as u32)
}

/// Which kinds of track `onMetaData` announces, audio and video; `None` where it says nothing.
pub(super) fn announced(payload: &[u8]) -> Option<(bool, bool)> {
    let has = |field| metadata::number(payload, field).is_some() || metadata::text(payload, field).is_some();
    let (audio, video) = (has("audiocodecid"), has("videocodecid"));
    (audio || video).then_some((audio, video))
}
