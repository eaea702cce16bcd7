//! One stream on its way to one player or target: frames out of the hub, in the wire form, filtered as the player
//! asked.

use super::form::{Encoded, Form, Framing, Message};
use super::{Shard, ShardHandle, ShardWriter, WireBatch};
use crate::hub::StreamTracks;
use crate::hub::{Backlog, EndReason, Place, Subscriber};
use crate::key::StreamKey;
use crate::media::{Frame, FrameKind};
use crate::net::{Segments, WriteQueue};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// The times that a peer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The stream's own.
    Stream,
    /// What it gets first has time 0.
    FromZero,
}

/// An accepted `play`, or a granted `publish` of our own.
pub(crate) struct Delivery {
    /// Tells it from others of its connection; with RTMP the message stream.
    pub(crate) id: u32,
    framing: Framing,
    clock: Clock,
    subscriber: Subscriber,
    paused: bool,
    wants_audio: bool,
    wants_video: bool,
    /// It gets nothing of the sound, its configuration neither.
    is_without_audio: bool,
    /// Time of the newest frame sent, by kind.
    newest: [Option<i64>; 3],
    /// What [`Self::newest`] was at the last return to the live point: nothing is sent twice.
    sent_before: [Option<i64>; 3],
    /// Time of the first frame sent.
    first: Option<i64>,
    bytes_sent: u64,
    frames_sent: u64,
    since: Instant,
    /// Who writes to it while it has caught up.
    shard: ShardHandle,
    driver: Driver,
    /// Whether the shard has it on its list, also while its connection drives it.
    is_listed: bool,
}

/// Who moves a player on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// Its connection's task: it is behind, or not like the others.
    Connection,
    /// The shard, in this form.
    Shard(Form),
}

impl Delivery {
    pub(crate) fn new(
        id: u32,
        framing: Framing,
        clock: Clock,
        subscriber: Subscriber,
        shard: ShardHandle,
    ) -> Self {
        Self {
            id,
            framing,
            clock,
            frames_sent: 0,
            subscriber,
            paused: false,
            wants_audio: true,
            wants_video: true,
            is_without_audio: false,
            newest: [None; 3],
            sent_before: [None; 3],
            first: None,
            bytes_sent: 0,
            since: Instant::now(),
            shard,
            driver: Driver::Connection,
            is_listed: false,
        }
    }

    pub(super) fn driver(&self) -> Driver {
        self.driver
    }

    /// Takes the player back from the shard.
    pub(super) fn take_back(&mut self) {
        self.driver = Driver::Connection;
    }

    /// Gives it to the shard where the shard can write to it. `output` is put on the shard's list, once.
    pub(super) fn hand_over(&mut self, output: impl FnOnce() -> Arc<dyn ShardWriter>) {
        if self.driver == Driver::Connection
            && let Some(form) = self.shared_form()
            && self.subscriber.is_caught_up()
        {
            self.is_listed = self.is_listed || self.shard.join(output());
            if self.is_listed {
                self.driver = Driver::Shard(form);
            }
        }
    }

    /// The shard has taken it off its list.
    pub(super) fn unlist(&mut self) {
        self.is_listed = false;
        self.driver = Driver::Connection;
    }

    /// The form in which it gets every frame as it is; `None` where it is not like the others now.
    pub(super) fn shared_form(&self) -> Option<Form> {
        let wants_all = self.wants_audio && self.wants_video && !self.paused;
        let is_usual = self.clock == Clock::Stream && self.sent_before == [None; 3];
        self.framing.form().filter(|_| wants_all && is_usual)
    }

    pub(super) fn is_listed_by(&self, shard: &Shard) -> bool {
        self.is_listed && std::ptr::eq(&*self.shard, shard)
    }

    /// Where the player stands to a batch of the shard; where it is [`Place::At`] it has taken it, in that form.
    pub(super) fn step_over(&mut self, batch: &WireBatch, form: Form) -> Place {
        if !self.framing.shares(batch, form) {
            return Place::Elsewhere;
        }
        let place = self.subscriber.step_over(&batch.batch);
        if place == Place::At {
            let Encoded { bytes, content } = batch.encoded(form);
            self.frames_sent += content.frames;
            self.bytes_sent += bytes.len() as u64;
            self.subscriber.count_sent(bytes.len() as u64);
            for (newest, sent) in self.newest.iter_mut().zip(content.newest) {
                *newest = sent.or(*newest);
            }
        }
        place
    }

    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.subscriber.poll_ready(cx)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.subscriber.deadline()
    }

    pub(crate) fn key(&self) -> &StreamKey {
        self.subscriber.key()
    }

    /// Bytes of media put on the way so far.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Frames put on the way so far.
    pub(crate) fn frames_sent(&self) -> u64 {
        self.frames_sent
    }

    /// Time since it was let in.
    pub(crate) fn played(&self) -> Duration {
        self.since.elapsed()
    }

    /// Time of the newest frame sent, of each kind.
    pub(super) fn newest(&self, kind: FrameKind) -> Option<i64> {
        self.newest.get(kind as usize).copied().flatten()
    }

    /// Frames that it missed because it was too slow.
    pub(crate) fn skipped(&self) -> u64 {
        self.subscriber.skipped()
    }

    /// A kind of media that has come and is left out, as the peer was not told that there is such.
    pub(crate) fn late_kind(&self) -> Option<FrameKind> {
        self.framing.late_kind()
    }

    /// Frames that have not been handed to the connection yet.
    pub(super) fn backlog(&self) -> Backlog {
        self.subscriber.backlog()
    }

    /// Holds media back, or goes on at the live point.
    pub(crate) fn pause(&mut self, paused: bool) {
        self.take_back();
        if self.paused && !paused {
            self.rejoin();
        }
        self.paused = paused;
    }

    /// What is known of the stream's tracks now.
    pub(crate) fn tracks(&self) -> StreamTracks {
        self.subscriber.tracks()
    }

    /// From now on it gets nothing of the sound: its peer would not know what it is.
    pub(crate) fn leave_audio_out(&mut self) {
        self.receive(FrameKind::Audio, false);
        self.is_without_audio = true;
    }

    /// Stops or restarts one kind of media; video restarts with a keyframe.
    pub(crate) fn receive(&mut self, kind: FrameKind, wanted: bool) {
        self.take_back();
        match kind {
            FrameKind::Audio => self.wants_audio = wanted,
            FrameKind::Video => {
                if wanted && !self.wants_video {
                    self.rejoin();
                }
                self.wants_video = wanted;
            }
            FrameKind::Data => {}
        }
    }

    /// The newest keyframe may lie before what was sent last; the player then goes on where it was.
    fn rejoin(&mut self) {
        self.subscriber.rejoin();
        self.sent_before = self.newest;
    }

    /// Puts the next frames into `queue`, about `max_bytes` of them. The error is the end of the stream.
    ///
    /// While paused, frames are taken and dropped, so that the end is noticed and nothing piles up.
    pub(super) fn fill(
        &mut self,
        max_bytes: usize,
        queue: &mut WriteQueue<Message>,
    ) -> Result<(), EndReason> {
        let mut frames = Vec::new();
        self.subscriber.take(max_bytes, &mut frames)?;
        for frame in frames {
            if self.wants(&frame) {
                self.send(frame, queue);
            }
        }
        Ok(())
    }

    fn wants(&self, frame: &Frame) -> bool {
        let asked_for = match frame.kind {
            FrameKind::Audio => self.wants_audio,
            FrameKind::Video => self.wants_video,
            FrameKind::Data => true,
        };
        let is_new = self.sent_before[frame.kind as usize].is_none_or(|sent| frame.timestamp > sent);
        let is_known = frame.kind != FrameKind::Audio || !self.is_without_audio;
        !self.paused && is_known && (frame.is_config() || (asked_for && is_new))
    }

    fn send(&mut self, frame: Frame, queue: &mut WriteQueue<Message>) {
        let Self { framing, clock, newest, first, subscriber, .. } = self;
        let newest = &mut newest[frame.kind as usize];
        let message = framing.message(frame, subscriber.main(), *newest, |frame, time| {
            if frame.is_metadata() {
                return 0;
            }
            let not_before = |time: i64| newest.map_or(time, |newest| newest.max(time));
            if frame.is_config() {
                // What is repeated after a jump may be older than what was sent: time does not go back.
                return clock.place(not_before(time), first);
            }
            *newest = Some(not_before(frame.timestamp));
            clock.place(time, first)
        });
        let Some(message) = message else { return };
        self.frames_sent += 1;
        self.bytes_sent += message.len() as u64;
        self.subscriber.count_sent(message.len() as u64);
        queue.push(message);
    }
}

impl Clock {
    /// A time of the stream as the peer is to get it, with that of the first frame sent.
    fn place(self, timestamp: i64, first: &mut Option<i64>) -> i64 {
        match self {
            Self::Stream => timestamp,
            Self::FromZero => {
                let first = *first.get_or_insert(timestamp);
                // The other track's first frame may be a little earlier.
                timestamp.saturating_sub(first).max(0)
            }
        }
    }
}
