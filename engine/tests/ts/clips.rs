//! Clips as samples: of FLV files, and of what ffmpeg encodes.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;
use streamengine::media::FrameKind;
use streamengine::media::elementary::{Demuxer, Format, Sample};
use streamengine::media::flv::Codec;
use streamengine::media::flv_file::FlvReader;
use streamengine::media::ts::{TsMuxer, TsSample, TsTrack};

/// A clip as a segmenter has it: video is track 0 where there is any.
pub(crate) struct Clip {
    /// What it was made of, for ffmpeg to read.
    pub(crate) source: PathBuf,
    pub(crate) tracks: Vec<TsTrack>,
    pub(crate) codecs: Vec<Codec>,
    /// In the order of decoding.
    pub(crate) samples: Vec<TsSample>,
}

impl Clip {
    /// In segments that begin with each keyframe that comes a second or more after the last.
    pub(crate) fn cut_at_keyframes(&self) -> Vec<Vec<TsSample>> {
        let (mut segments, mut begin) = (Vec::<Vec<TsSample>>::new(), i64::MIN);
        for sample in &self.samples {
            if segments.is_empty() || sample.track == 0 && sample.is_sync && sample.dts >= begin + 90_000 {
                begin = sample.dts;
                segments.push(Vec::new());
            }
            segments.last_mut().unwrap().push(sample.clone());
        }
        segments
    }

    /// In segments of so many samples.
    pub(crate) fn cut_after(&self, samples: usize) -> Vec<Vec<TsSample>> {
        self.samples.chunks(samples).map(<[_]>::to_vec).collect()
    }

    pub(crate) fn muxer(&self) -> TsMuxer {
        TsMuxer::new(&self.tracks).unwrap()
    }

    /// Of an FLV file.
    pub(crate) fn of_flv(file: &Path) -> Self {
        let mut reader = FlvReader::new(BufReader::new(File::open(file).unwrap())).unwrap();
        let mut native = Demuxer::new();
        let mut demuxer = Demuxer::new().with_format(Format::AnnexB).with_format(Format::Adts);
        let mut told = Vec::<(bool, Codec, TsTrack)>::new();
        let mut coded = Vec::<Sample>::new();
        while let Some(tag) = reader.next_tag().unwrap() {
            if tag.frame.kind == FrameKind::Data {
                continue;
            }
            for Sample { codec, config, data, .. } in native.push(&tag.frame).unwrap() {
                let is_audio = tag.frame.kind == FrameKind::Audio;
                let has_record = codec != Codec::Mp3;
                if config == has_record && !told.iter().any(|(kind, ..)| *kind == is_audio) {
                    told.push((is_audio, codec, TsTrack::new(codec, &data).unwrap()));
                }
            }
            coded.extend(demuxer.push(&tag.frame).unwrap().into_iter().filter(|sample| !sample.config));
        }
        told.sort_by_key(|(is_audio, ..)| *is_audio);
        let samples = coded.into_iter().map(|Sample { codec, pts_ns, dts_ns, keyframe, data, .. }| {
            let ticks = |nanos: i64| nanos / 100 * 9 / 1_000;
            let (pts, dts) = (ticks(pts_ns), ticks(dts_ns.unwrap_or(pts_ns)));
            let track = told.iter().position(|(_, of_track, _)| *of_track == codec).unwrap();
            TsSample { track, dts, composition: (pts - dts) as i32, is_sync: keyframe, data }
        });
        let samples = by_time(samples.collect());
        let (tracks, codecs) = told.iter().map(|(_, codec, track)| (*track, *codec)).unzip();
        Self { source: file.to_owned(), tracks, codecs, samples }
    }

    /// What ffmpeg encodes from pictures and tones of its own: the arguments for video and for audio, each with its codec and the
    /// name of its raw form.
    pub(crate) fn encoded(folder: &Path, streams: &[(Codec, &str, &str)]) -> Self {
        let source = folder.join("source.mp4");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4"]);
        ffmpeg.args(["-f", "lavfi", "-i", "sine=f=440:d=4:r=48000", "-ac", "2", "-shortest"]);
        for (codec, arguments, _) in streams {
            ffmpeg.args(["-map", if codec.kind() == Some(FrameKind::Video) { "0" } else { "1" }]);
            ffmpeg.args(arguments.split_whitespace());
        }
        // Without edit lists, ffmpeg gives the packets as they are.
        done(ffmpeg.args(["-video_track_timescale", "90000", "-use_editlist", "0"]).arg(&source));
        let (mut tracks, mut codecs, mut samples) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (codec, _, raw)) in streams.iter().enumerate() {
            let of_track = raw_samples(folder, &source, place, raw);
            tracks.push(TsTrack::new(*codec, &of_track[0].data).unwrap());
            codecs.push(*codec);
            samples.extend(of_track);
        }
        Self { source, tracks, codecs, samples: by_time(samples) }
    }
}

/// A program of ffmpeg that has nothing to say; its output.
pub(crate) fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{command:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What ffprobe tells of the packets of a stream.
pub(crate) fn packets(file: &Path, stream: &str, what: &str) -> Vec<Vec<String>> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-select_streams", stream, "-show_data_hash", "md5", "-of", "csv=p=0"]);
    let lines = done(ffprobe.args(["-show_entries", &format!("packet={what}")]).arg(file));
    // Side data, which packets in MPEG-TS have, takes a line.
    lines.replace(",\n,", ",").lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn by_time(mut samples: Vec<TsSample>) -> Vec<TsSample> {
    samples.sort_by_key(|sample| sample.dts);
    samples
}

/// The samples of a stream in the form in which it is outside of containers, with their times in the source.
fn raw_samples(folder: &Path, source: &Path, place: usize, raw: &str) -> Vec<TsSample> {
    let file = folder.join(format!("raw.{raw}"));
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(source).args(["-map", &format!("0:{place}"), "-c", "copy"]);
    if raw == "mp3" {
        ffmpeg.args(["-write_xing", "0", "-id3v2_version", "0"]);
    }
    done(ffmpeg.args(["-f", raw]).arg(&file));
    let (bytes, mut at) = (bytes::Bytes::from(fs::read(&file).unwrap()), 0);
    let times = packets(source, &place.to_string(), "pts_time,dts_time,flags");
    let sizes = packets(&file, "0", "size");
    assert_eq!(times.len(), sizes.len(), "{raw}");
    let samples = times.iter().zip(&sizes).map(|(time, size)| {
        let ticks = |seconds: &str| (seconds.parse::<f64>().unwrap() * 90_000.0).round() as i64;
        let (pts, dts, size) = (ticks(&time[0]), ticks(&time[1]), size[0].parse::<usize>().unwrap());
        at += size;
        let data = bytes.slice(at - size..at);
        TsSample {
            track: place,
            dts,
            composition: (pts - dts) as i32,
            is_sync: time[2].starts_with('K'),
            data,
        }
    });
    let samples: Vec<_> = samples.collect();
    assert_eq!(at, bytes.len(), "{raw}");
    samples
}
