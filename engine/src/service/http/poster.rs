//! The newest keyframe of a stream as a film of one picture: what lists of streams show, without a decoder here.

use super::header;
use super::reply::{self, Reply};
use super::request::Answers;
use super::routes::StreamUrl;
use super::visit::Look;
use crate::auth;
use crate::hub::{EndReason, Hub, Interest, MainIds, SubscribeOptions};
use crate::key::StreamKey;
use crate::media::elementary::Demuxer;
use crate::media::fmp4::{Mp4Track, mp4_still};
use crate::media::{Frame, FrameKind};
use crate::policy::StartAt;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::RANGE;
use hyper::http::request::Parts;
use std::time::Duration;
use tokio::time::timeout;

/// How long a keyframe is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const NO_PICTURE: &str = "the stream has no picture that MP4 has a form for";

impl Answers {
    /// The newest keyframe of a stream that the peer may play.
    pub(super) async fn poster(&self, request: &Parts, url: StreamUrl) -> Reply {
        let mut visit = self.visit(auth::Door::HttpMp4, request).await;
        let key = match visit.look(url).await {
            Ok(Look { is_there: true, key }) => key,
            Ok(Look { is_there: false, .. }) => {
                visit.answered();
                return reply::words(StatusCode::NOT_FOUND, EndReason::NotPublished);
            }
            Err(refused) => return visit.refuse(&refused),
        };
        let still = timeout(PATIENCE, still(&self.asker().core.hub, &key)).await;
        visit.answered();
        match still {
            Ok(Some(still)) => {
                let range = header::text(&request.headers, &RANGE);
                reply::piece("video/mp4", vec![still], range, "no-store")
            }
            Ok(None) => reply::words(StatusCode::NOT_FOUND, EndReason::NotPublished),
            Err(_) => reply::words(StatusCode::UNSUPPORTED_MEDIA_TYPE, NO_PICTURE),
        }
    }
}

/// The newest keyframe as soon as there is one; none where the stream ends before.
async fn still(hub: &Hub, key: &StreamKey) -> Option<Bytes> {
    let (start, wait) = (StartAt::Keyframe, Some(Duration::ZERO));
    let options = SubscribeOptions { start, wait, interest: Interest::Follower };
    let mut subscriber = hub.subscribe(key, options);
    let mut frames = Vec::new();
    loop {
        subscriber.take(usize::MAX, &mut frames).ok()?;
        if let Some(still) = newest_still(&frames, subscriber.main()) {
            return Some(still);
        }
        // A keyframe comes with the configuration before it.
        frames.retain(Frame::is_config);
        subscriber.ready().await;
    }
}

/// The last keyframe of the main picture among these frames.
fn newest_still(frames: &[Frame], main: MainIds) -> Option<Bytes> {
    let (mut demuxer, mut record, mut newest) = (Demuxer::new(), None, None);
    let samples = frames.iter().filter_map(|frame| demuxer.push(frame).ok()).flatten();
    let is_main = |kind, track| kind == Some(FrameKind::Video) && track == main.of(FrameKind::Video);
    for sample in samples.filter(|sample| is_main(sample.codec.kind(), sample.track)) {
        if sample.config {
            record = Some((sample.codec, sample.data));
        } else if let Some((codec, record)) =
            record.as_ref().filter(|(codec, _)| sample.keyframe && *codec == sample.codec)
        {
            newest = Some((Mp4Track::new(1, *codec, record.clone(), 90_000), sample.data));
        }
    }
    let (track, keyframe) = newest?;
    mp4_still(&track, &keyframe).ok()
}
