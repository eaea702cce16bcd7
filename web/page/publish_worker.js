// What publishes, in a thread of its own, so that neither a busy page nor a hidden one holds it up: encodes what is captured, sends it,
// adapts to the way, and connects anew when the way is lost.

import { Adaptation } from './adapt.js';
import { SendClock, TrackClock } from './clock.js';
import { PictureEncoder, SoundEncoder } from './encoders.js';
import { audioConfiguration, audioFrame, header, metadata, videoConfiguration, videoFrame } from './muxer.js';

/** Waits before another attempt, longer with each that fails: ms. */
const RETRY = [500, 1000, 2000, 4000, 8000, 15_000];
/** A server that does not open, or no longer acknowledges what was sent, is given up: ms. */
const OPENED = 10_000;
const ACKNOWLEDGED = 8000;
/** The machine has slept where our timer was away for so long: ms. */
const SLEPT = 5000;
const TICK = 250;
/** A state is told at least so often: ms. */
const TOLD = 500;
/** A screen on which nothing moves is sent again so often, as players wait for pictures: ms. */
const STILL = 500;
/** What is measured of late: ms. */
const LATELY = 2000;
/** The server may not have seen yet that we were lost: it is asked for so long whether somebody else publishes: ms. */
const OWN_GHOST = 60_000;
/** What a server closes with. */
const CLOSED = { ended: 1000, drained: 1001, taken: 4409 };
/** By these it says that another attempt may do: what came was too little, there is no room now. */
const LATER = [4408, 4503];

let given = null;
let connection = null;
let isStopped = false;
let attempts = 0;
let liveSince = null;
let lostAt = -Infinity;
let retrying = 0;
let adaptation = null;
let pictures = null;
let sound = null;
let ticked = Date.now();
let toldAt = 0;
/** By kind: what is captured now, its clock, and how it is to be decoded. */
const tracks = { video: null, audio: null };
const records = { video: null, audio: null };
let still = null;
const seen = { frames: [], bytes: [], sent: 0, leftOut: 0, destinations: new Map(), offered: [], missing: [] };

function now() {
    return performance.now();
}

function tell(state, facts = {}) {
    toldAt = now();
    postMessage({ state, ...facts });
}

onmessage = ({ data }) => {
    if (data.start) begin(data.start);
    if (data.stop) stop();
    if (data.replace) capture(data.replace);
    if (data.choose) choose(data.choose);
    if (data.again) again();
};
// Not in every worker.
self.addEventListener?.('online', again);

function begin(asked) {
    given = asked;
    adaptation = new Adaptation({
        bitrate: asked.picture.bitrate, rate: asked.picture.rate, sound: asked.audio ? SoundEncoder.bitrate() : 0,
    });
    for (const track of [asked.video, asked.audio]) if (track) capture(track);
    setInterval(tick, TICK);
    connect();
}

function stop() {
    if (isStopped) return;
    over('ended', { by: 'us' });
}

/** Comes to an end for good. */
function over(state, facts) {
    isStopped = true;
    clearTimeout(retrying);
    connection?.close();
    connection = null;
    for (const kind of ['video', 'audio']) release(kind);
    tell(state, facts);
    close();
}

// The connection.

function connect() {
    clearTimeout(retrying);
    retrying = 0;
    tell('connecting', { attempt: attempts });
    adaptation.restart();
    const socket = new WebSocket(given.url);
    socket.binaryType = 'arraybuffer';
    const own = { socket, since: now(), isOpen: false, acknowledgedAt: now(), clock: new SendClock(), told: {}, error: null };
    const during = (does) => (event) => connection === own && does(own, event);
    socket.onmessage = during(heard);
    socket.onclose = during(closed);
    own.close = () => socket.close(1000);
    connection = own;
}

function heard(own, { data }) {
    if (typeof data !== 'string') return;
    let told;
    try {
        told = JSON.parse(data);
    } catch {
        return;
    }
    if (told.open) opened(own, told.destinations ?? []);
    if (typeof told.ack === 'number') acknowledged(own, told.ack);
    if (told.keyframe) pictures?.demandKeyframe();
    if (typeof told.destination === 'string') seen.destinations.set(told.destination, { state: told.state, error: told.error ?? null });
    if (typeof told.error === 'string' && told.destination === undefined) own.error = told.error;
}

function opened(own, offered) {
    own.isOpen = true;
    own.acknowledgedAt = now();
    attempts = 0;
    liveSince ??= now();
    seen.offered = offered;
    seen.destinations.clear();
    choose(given.destinations);
    pictures?.demandKeyframe();
    const { audio, video } = tracks;
    send(own, header(audio !== null, video !== null));
    live();
}

/** The destinations that are wished for, of those that the server has. */
function choose(names) {
    given.destinations = names;
    seen.missing = connection?.isOpen ? names.filter((name) => !seen.offered.includes(name)) : [];
    if (!connection?.isOpen) return;
    const destinations = names.filter((name) => seen.offered.includes(name));
    for (const name of seen.destinations.keys()) if (!destinations.includes(name)) seen.destinations.delete(name);
    // Also that none is: until then the stream goes where it went before.
    if (seen.offered.length > 0) connection.socket.send(JSON.stringify({ destinations }));
}

function acknowledged(own, bytes) {
    own.acknowledgedAt = now();
    adaptation.acknowledged(bytes, now());
    pictures?.choose(adaptation.choice);
}

function closed(own, { code, reason }) {
    const words = own.error ?? reason ?? '';
    if (code === CLOSED.ended && own.isOpen) return over('ended', { by: 'server', words });
    const isOurs = code === CLOSED.taken && !own.isOpen && now() - lostAt < OWN_GHOST;
    if (code >= 4000 && !isOurs && !LATER.includes(code)) return over('refused', { code, words });
    lost(code === CLOSED.drained ? 'drained' : own.isOpen ? 'lost' : 'unreachable', words);
}

/** The way is lost, and is looked for again. */
function lost(why, words = '') {
    if (connection?.isOpen) lostAt = now();
    connection?.close();
    connection = null;
    // So that those who were lost together do not come together.
    const wait = Math.round(RETRY[Math.min(attempts, RETRY.length - 1)] * (0.8 + 0.4 * Math.random()));
    attempts += 1;
    tell('reconnecting', { attempt: attempts, wait, why, words, isFirst: liveSince === null });
    retrying = setTimeout(connect, wait);
}

/** Somebody, or the network's return, wants it now. */
function again() {
    if (retrying !== 0 && !isStopped) connect();
}

function send(own, bytes, isPicture = false) {
    own.socket.send(bytes);
    adaptation.sent(bytes.byteLength, now(), isPicture);
    seen.bytes.push({ at: now(), bytes: bytes.byteLength });
}

// What is captured.

/** Reads a track from now on: `{ kind, readable, port, isScreen }`, or nothing more of this kind. */
function capture({ kind, readable, port, isScreen }) {
    release(kind);
    if (!readable && !port) return;
    const own = { kind, isScreen, clock: new TrackClock() };
    tracks[kind] = own;
    const take = (item) => (tracks[kind] === own ? captured(own, item) : item.close());
    if (readable) own.end = read(readable, take);
    else own.end = listen(port, take);
}

function release(kind) {
    tracks[kind]?.end();
    tracks[kind] = null;
    records[kind] = null;
    if (kind === 'audio') {
        sound?.close();
        sound = null;
        return;
    }
    still?.close();
    still = null;
    pictures?.close();
    pictures = null;
}

/** Reads to the end; gives what ends it. */
function read(readable, take) {
    const reader = readable.getReader();
    const next = async () => {
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return;
            take(value);
        }
    };
    next().catch(() => {});
    return () => reader.cancel().catch(() => {});
}

/** The same where pages hand over each piece: a picture, or samples of each channel. */
function listen(port, take) {
    port.onmessage = ({ data }) => take(data.samples ? audioData(data) : data);
    return () => port.close();
}

function audioData({ samples, channels, rate, timestamp }) {
    const numberOfFrames = samples.length / channels;
    return new AudioData({ format: 'f32-planar', sampleRate: rate, numberOfFrames, numberOfChannels: channels, timestamp, data: samples });
}

function captured(own, item) {
    // A piece of sound can come once its last sample is made, a picture at once.
    own.clock.note(item.timestamp / 1000 + (item.numberOfFrames ?? 0) * 1000 / (item.sampleRate ?? 1), now());
    own.cameAt = now();
    if (own.kind === 'audio') {
        sound ??= new SoundEncoder({
            record: (codec, record) => configured('audio', (time) => audioConfiguration(time, codec, record)),
            frame: sendSound,
            failed: (error) => failed('audio', error),
        });
        sound.encode(item, own.clock.time(item.timestamp / 1000));
        return;
    }
    if (own.isScreen) {
        still?.close();
        still = item.clone();
    }
    picture(item);
}

function picture(frame) {
    pictures ??= new PictureEncoder(given.picture, adaptation.choice, {
        record: (record) => configured('video', (time) => videoConfiguration(time, record)),
        frame: sendPicture,
        failed: (error) => failed('video', error),
    });
    if (!connection?.isOpen) return frame.close();
    const isSent = adaptation.admits(now()) ? pictures.encode(frame, now()) : frame.close();
    if (isSent) seen.frames.push({ at: now() });
    seen[isSent ? 'sent' : 'leftOut'] += 1;
}

/** An encoder cannot go on. */
function failed(kind, error) {
    release(kind);
    postMessage({ lost: kind, words: String(error?.message ?? error) });
}

// What is encoded.

function configured(kind, tag) {
    records[kind] = tag;
    // Told again before the next frame.
    if (connection) connection.told[kind] = false;
}

/** Tells how a track is to be decoded, once on each connection and when that changes. */
function announce(own, kind, time) {
    if (!own.told.metadata) {
        own.told.metadata = true;
        send(own, metadata(facts()));
    }
    if (own.told[kind] || !records[kind]) return;
    own.told[kind] = true;
    send(own, records[kind](time));
}

function facts() {
    const [width, height] = pictures?.size ?? [];
    return { width, height, framerate: width && given.picture.rate, videocodecid: width && 7, encoder: 'streamengine' };
}

function sendPicture({ timestamp, isKey, bytes }) {
    const own = connection;
    if (!own?.isOpen || !tracks.video) return;
    if (!own.hasKeyframe && !isKey) return pictures?.demandKeyframe();
    own.hasKeyframe = true;
    const time = own.clock.time('video', tracks.video.clock.time(timestamp));
    announce(own, 'video', time);
    send(own, videoFrame(time, isKey, bytes), true);
}

function sendSound({ codec, made, bytes }) {
    const own = connection;
    if (!own?.isOpen || !tracks.audio) return;
    // Players begin with a picture, where there is one.
    const isEarly = tracks.video && !own.hasKeyframe && now() - own.since < OPENED;
    if ((isEarly && tracks.video.cameAt !== undefined) || own.clock.isBefore(made)) return;
    const time = own.clock.time('audio', made);
    announce(own, 'audio', time);
    send(own, audioFrame(time, codec, bytes));
}

// From time to time.

function tick() {
    if (isStopped) return;
    const away = Date.now() - ticked;
    ticked = Date.now();
    const own = connection;
    if (own && away > SLEPT) return lost('slept');
    if (own && !own.isOpen && now() - own.since > OPENED) return lost('unreachable');
    if (!own?.isOpen) return;
    if (adaptation.waiting > 0 && now() - own.acknowledgedAt > ACKNOWLEDGED) return lost('silent');
    // What was sent before is what is waited for.
    if (adaptation.waiting === 0) own.acknowledgedAt = now();
    repeat();
    if (now() - toldAt >= TOLD) live();
}

/** A screen on which nothing moves. */
function repeat() {
    const { video } = tracks;
    const quiet = now() - (video?.cameAt ?? now());
    if (!still || quiet < STILL || now() - (seen.frames.at(-1)?.at ?? 0) < STILL) return;
    picture(new VideoFrame(still, { timestamp: still.timestamp + quiet * 1000 }));
}

function live() {
    const lately = (list) => {
        while (list.length > 0 && now() - list[0].at > LATELY) list.shift();
        return list;
    };
    const time = Math.min(LATELY, Math.max(now() - connection.since, 1));
    const bits = lately(seen.bytes).reduce((sum, { bytes }) => sum + bytes * 8, 0);
    const { choice, isLess, room, waiting } = adaptation;
    tell(isLess ? 'adapting' : 'live', {
        seconds: (now() - liveSince) / 1000,
        bitrate: bits * 1000 / time,
        rate: lately(seen.frames).length * 1000 / time,
        frames: { sent: seen.sent, leftOut: seen.leftOut },
        acknowledged: adaptation.taken,
        waiting,
        late: adaptation.late(now()),
        room,
        choice,
        size: pictures?.size ?? null,
        sound: sound?.way ?? null,
        offered: seen.offered,
        missing: seen.missing,
        destinations: [...seen.destinations].map(([name, told]) => ({ name, ...told })),
    });
}
