//! What follows the head of a request: taken by the API, up to a size and within a time, and of publishers, as it comes.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::time::Duration;
use tokio::time::timeout;

bound! {
    /// Bytes of a body (test `f37_a_body_of_more_than_256_kib_is_answered_with_413`).
    pub(super) const MAX_BODY: usize = 256 * 1024, without usize::MAX;
    /// Bytes of one that anybody may send (test `a_body_of_strangers_is_short`).
    pub(super) const MAX_BODY_OF_STRANGERS: usize = 4 * 1024, without usize::MAX;
}

/// What follows the head of a request.
pub(super) enum Body {
    Nothing,
    Http1(Incoming),
    Http2(RecvStream),
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It has more than `most` bytes.
    TooLarge {
        most: usize,
    },
    TooSlow,
    Broken,
}

impl From<Incoming> for Body {
    fn from(body: Incoming) -> Self {
        if body.is_end_stream() { Self::Nothing } else { Self::Http1(body) }
    }
}

impl From<RecvStream> for Body {
    fn from(body: RecvStream) -> Self {
        if body.is_end_stream() { Self::Nothing } else { Self::Http2(body) }
    }
}

impl Body {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// The whole of it, of so many bytes at most.
    pub(super) async fn read(mut self, most: usize, within: Duration) -> Result<Bytes, Unread> {
        timeout(within, self.pieces(most)).await.unwrap_or(Err(Unread::TooSlow))
    }

    async fn pieces(&mut self, most: usize) -> Result<Bytes, Unread> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if piece.len() > most.saturating_sub(whole.len()) {
                return Err(Unread::TooLarge { most });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The next piece; `None` at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Unread> {
        let piece = match self {
            Self::Nothing => None,
            Self::Http1(body) => match body.frame().await {
                // What comes behind as headers says nothing here.
                Some(Ok(frame)) => Some(Ok(frame.into_data().unwrap_or_default())),
                Some(Err(_)) => Some(Err(Unread::Broken)),
                None => None,
            },
            Self::Http2(body) => match body.data().await {
                Some(Ok(piece)) => {
                    // The peer may send as much again.
                    let _ = body.flow_control().release_capacity(piece.len());
                    Some(Ok(piece))
                }
                Some(Err(_)) => Some(Err(Unread::Broken)),
                None => None,
            },
        };
        piece.transpose()
    }
}
