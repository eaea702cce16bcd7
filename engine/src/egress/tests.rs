//! What a shard does to outputs of all kinds in one turn.

mod flv;
#[cfg(feature = "mp4")]
mod mp4;
mod peer;

use super::connection_output::OutputState;
use super::*;
use crate::hub::{Hub, PublishRequest, Publisher, SubscribeOptions};
use crate::media::Frame;
use crate::net::Sink;
use std::task::Poll;
use tokio::io::{AsyncReadExt, duplex, split};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A stream, and the shard of its players, without the shard's task.
struct Stage {
    hub: Hub,
    key: StreamKey,
    publisher: Publisher,
    feed: Feed,
    shard: Arc<Shard>,
    /// Reading halves: while they live the sockets stay open.
    readers: Vec<OwnedReadHalf>,
}

impl Stage {
    fn new() -> Self {
        let hub = Hub::new(&crate::Limits::default());
        let key = StreamKey::new("live", "s").unwrap();
        let publisher = hub.publish(&key, PublishRequest::default()).unwrap();
        let feed = hub.subscribe(&key, SubscribeOptions::default()).feed();
        let shard =
            Arc::new(Shard { stream: feed.again(), joining: Mutex::default(), changed: Notify::new() });
        Self { hub, key, publisher, feed, shard, readers: Vec::new() }
    }

    fn delivery(&self, framing: Framing, clock: Clock) -> Delivery {
        let subscriber = self.hub.subscribe(&self.key, SubscribeOptions::default());
        Delivery::new(1, framing, clock, subscriber, ShardHandle(self.shard.clone()))
    }

    /// An output with an RTMP player that has caught up.
    fn output<W: Sink>(&self, io: W) -> Arc<ConnectionOutput<W>> {
        self.output_of(Framing::Rtmp(RtmpFraming::player(1)), io)
    }

    fn output_of<W: Sink>(&self, framing: Framing, io: W) -> Arc<ConnectionOutput<W>> {
        let output = Arc::new(ConnectionOutput::new(io));
        output.lock().deliveries.push(self.delivery(framing, Clock::Stream));
        output.hand_over();
        assert!(output.lock().deliveries[0].is_listed_by(&self.shard), "it has caught up");
        output
    }

    /// An output over a socket, and the socket's other end.
    async fn tcp(&mut self) -> (Arc<ConnectionOutput<OwnedWriteHalf>>, TcpStream) {
        self.tcp_of(Framing::Rtmp(RtmpFraming::player(1))).await
    }

    async fn tcp_of(&mut self, framing: Framing) -> (Arc<ConnectionOutput<OwnedWriteHalf>>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (reader, writer) = listener.accept().await.unwrap().0.into_split();
        self.readers.push(reader);
        (self.output_of(framing, writer), theirs)
    }

    /// Publishes a frame of `len` bytes; the batch with it.
    fn batch(&mut self, len: usize) -> WireBatch {
        let mut payload = vec![0; len];
        payload[0] = 0xaf;
        payload[1] = 1;
        self.batch_of([Frame::new(FrameKind::Audio, 0, payload.into())])
    }

    /// Publishes the frames; the batch with them.
    fn batch_of(&mut self, frames: impl IntoIterator<Item = Frame>) -> WireBatch {
        frames.into_iter().for_each(|frame| self.publisher.push(frame).unwrap());
        let mut batch = WireBatch::default();
        assert!(self.feed.take(self.feed.edge(), usize::MAX, &mut batch.batch));
        batch.begin();
        batch
    }
}

/// One turn of the shard; the indices of the outputs that leave.
fn turn(stage: &Stage, outputs: &[Arc<dyn ShardWriter>], batch: &WireBatch) -> Vec<usize> {
    let mut gone = Vec::new();
    write_turn(outputs, &stage.shard, batch, &mut gone);
    gone
}

#[tokio::test]
async fn a_batch_is_put_into_a_form_once_and_only_when_somebody_wants_it() {
    let mut stage = Stage::new();
    let (output, _peer) = stage.tcp().await;
    let outputs: [Arc<dyn ShardWriter>; 1] = [output];
    let mut batch = stage.batch(100);
    assert!(turn(&stage, &[], &batch).is_empty());
    assert!(batch.forms.iter().all(|form| form.get().is_none()), "nobody has asked");
    assert!(turn(&stage, &outputs, &batch).is_empty());
    let made = batch.forms[Form::Rtmp.index()].get().expect("somebody has").bytes.as_ptr();
    assert_eq!(batch.bytes(Form::Rtmp).as_ptr(), made, "the same bytes for the next");
    batch.begin();
    assert!(batch.forms.iter().all(|form| form.get().is_none()), "another batch");
}

#[tokio::test]
async fn a_turn_serves_outputs_of_all_kinds_and_names_those_that_leave() {
    let mut stage = Stage::new();
    let (first, mut first_peer) = stage.tcp().await;
    let (busy, _busy_peer) = stage.tcp().await;
    let (pipe, mut pipe_peer) = duplex(1000);
    let pipe = stage.output(split(pipe).1);
    let (closed, _closed_peer) = stage.tcp().await;
    let (last, mut last_peer) = stage.tcp().await;
    busy.lock().queue.push_output(&mut BytesMut::from("an answer that waits"));
    closed.lock().close();
    let outputs: [Arc<dyn ShardWriter>; 5] =
        [first.clone(), busy.clone(), pipe.clone(), closed, last.clone()];

    let batch = stage.batch(100);
    assert_eq!(turn(&stage, &outputs, &batch), [1, 3]);
    assert_eq!(
        turn(&stage, &outputs, &batch),
        [1, 3],
        "who has left is not the shard's any more; others have it"
    );
    for peer in [&mut first_peer as &mut (dyn tokio::io::AsyncRead + Unpin), &mut pipe_peer, &mut last_peer] {
        let mut got = vec![0; batch.bytes(Form::Rtmp).len()];
        peer.read_exact(&mut got).await.unwrap();
        assert!(&got == batch.bytes(Form::Rtmp));
    }
    assert_eq!(busy.lock().queue.written(), 0, "nothing overtakes what waits");

    // More than any of them takes at once.
    let large = stage.batch(64 << 20);
    assert_eq!(turn(&stage, &outputs, &large), [0, 1, 2, 3, 4]);
    for output in [&first, &last] {
        let OutputState { queue, .. } = &*output.lock();
        assert!(queue.written() > batch.bytes(Form::Rtmp).len() as u64 && queue.unwritten() > 0);
        assert_eq!(
            queue.written() + queue.unwritten(),
            (batch.bytes(Form::Rtmp).len() + large.bytes(Form::Rtmp).len()) as u64
        );
    }
    assert_eq!(pipe.lock().queue.written(), 1000 + batch.bytes(Form::Rtmp).len() as u64);
}

/// Otherwise two shards could wait for each other's outputs.
#[cfg(all(feature = "io-uring", target_os = "linux"))]
#[tokio::test]
async fn a_lane_that_somebody_holds_holds_up_none_of_the_others() {
    use std::io::Read;
    let mut stage = Stage::new();
    let (held, held_peer) = stage.tcp().await;
    let (other, other_peer) = stage.tcp().await;
    let batch = stage.batch(100);
    let [mut held_peer, mut other_peer] = [held_peer, other_peer].map(|peer| {
        let peer = peer.into_std().unwrap();
        peer.set_nonblocking(false).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        peer
    });
    let outputs: [Arc<dyn ShardWriter>; 2] = [held.clone(), other];
    let mut got = vec![0; batch.bytes(Form::Rtmp).len()];
    std::thread::scope(|scope| {
        let hold = held.lock();
        let turn = scope.spawn(|| turn(&stage, &outputs, &batch));
        other_peer.read_exact(&mut got).expect("its batch, though the first output is held");
        drop(hold);
        assert_eq!(turn.join().unwrap(), [0; 0]);
    });
    held_peer.read_exact(&mut got).expect("the batch, when the output is free");
    assert!(&got == batch.bytes(Form::Rtmp));
}

#[tokio::test]
async fn a_shard_lets_others_on_after_every_128_outputs() {
    let mut stage = Stage::new();
    let outputs: Vec<_> = (0..129).map(|_| stage.output(split(duplex(1_000).0).1)).collect();
    let batch = stage.batch(100);
    let egress = Egress::new(1, usize::MAX, TaskTracker::new(), CancellationToken::new());
    let (key, shard, feed) = (stage.key.clone(), stage.shard.clone(), stage.feed.again());
    let task = ShardTask { egress, key, flush: Flush::Immediate, shard, feed };
    let mut writers: Vec<Arc<dyn ShardWriter>> = Vec::new();
    writers.extend(outputs.iter().map(|output| output.clone() as Arc<dyn ShardWriter>));
    let mut writing = Box::pin(task.write_batch(&mut writers, &batch));
    let is_first_turn_all =
        std::future::poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx).is_ready())).await;
    assert!(!is_first_turn_all, "one output has to wait");
    writing.await;
}
