//! Recordings.

use super::bounds;
use crate::ErrorKind;
use crate::files::RecordingName;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Recordings of an app's streams.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RecordConfig {
    /// What is recorded: `off`, `all` or `manual`.
    pub when: RecordWhen,
    /// The folder that recordings are written to, in `APP/STREAM` below it.
    pub dir: Option<PathBuf>,
    /// How they are written: `flv` or `fmp4`.
    pub format: RecordFormat,
    /// A file ends at the first keyframe after so long, in milliseconds, and another one begins.
    pub segment_ms: u64,
    /// A file ends at the first keyframe after so many bytes, too.
    pub segment_bytes: Option<u64>,
    /// How files are called: `{start}` stands for when one began, such as `20180214T002807Z`, `{n}` for its number among those of
    /// its recording. Without the end (`.flv`, `.mp4`), which tells the format.
    #[cfg_attr(feature = "http", schemars(with = "String"))]
    pub name: RecordingName,
    /// How old a file may get, in milliseconds; then it is removed.
    pub keep_ms: Option<u64>,
    /// How many bytes all files of an app may have; where there are more, the oldest ones are removed.
    pub keep_bytes: Option<u64>,
    /// How many bytes the disk has to have left; where it has less, nothing is recorded until it has.
    pub min_free_bytes: u64,
    /// Whether recordings are there over HTTP, for those who may play the stream.
    pub serve: bool,
}

setters! {
    RecordConfig:
    RecordWhen { when } RecordFormat { format } u64 { segment_ms, min_free_bytes } RecordingName { name } bool { serve };
    PathBuf { dir } u64 { segment_bytes, keep_ms, keep_bytes }
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self {
            when: RecordWhen::default(),
            dir: None,
            format: RecordFormat::default(),
            segment_ms: 3_600_000,
            segment_bytes: None,
            name: RecordingName::default(),
            keep_ms: None,
            keep_bytes: None,
            min_free_bytes: 1 << 30,
            serve: false,
        }
    }
}

impl RecordConfig {
    /// Records into `dir` when asked to.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { when: RecordWhen::Manual, dir: Some(dir.into()), ..Self::default() }
    }

    /// Checks one that stands alone, which has to name its folder.
    pub(crate) fn check_alone(&self) -> crate::Result<()> {
        let invalid = |text: &str| crate::Error::new(ErrorKind::InvalidArgument, format!("record.{text}"));
        bounds::check("record", self)?;
        let config = Self { when: RecordWhen::Manual, ..self.clone() };
        config.check().map_err(invalid)
    }

    /// Checks what the types cannot; the error is in words.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.when != RecordWhen::Off && self.dir.is_none() {
            return Err("dir is missing, the folder that recordings are written to");
        }
        if cfg!(not(feature = "mp4")) && self.format == RecordFormat::Fmp4 {
            return Err("format: this build writes no MP4 (cargo feature `mp4`)");
        }
        Ok(())
    }
}

/// What is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RecordWhen {
    /// Nothing.
    #[default]
    Off,
    /// Each stream, from its first frame to its last.
    All,
    /// What is asked for.
    Manual,
}

/// How recordings are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[cfg_attr(feature = "http", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RecordFormat {
    /// FLV: every codec and event, as it came.
    #[default]
    Flv,
    /// Fragmented MP4: what browsers and editors open, by each second.
    Fmp4,
}

named!(RecordWhen { Off => "off", All => "all", Manual => "manual" });

named!(RecordFormat { Flv => "flv", Fmp4 => "fmp4" });

impl RecordFormat {
    /// What names of files end with, after a dot.
    pub(crate) fn file_type(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::Fmp4 => "mp4",
        }
    }
}
