import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SampleClock, SendClock, TrackClock } from '../page/clock.js';

test('tracks of different origins are at one time, whatever came late', () => {
    const [camera, microphone] = [new TrackClock(), new TrackClock()];
    // The first picture waited for the camera, and comes 90 ms after its making; others need 20 ms, sound 10 ms.
    for (let made = 0; made < 1_000; made += 33) camera.note(2_238_000 + made, made + (made === 0 ? 90 : 20));
    for (let made = 0; made < 1_000; made += 10) microphone.note(1_200 + made, made + 10);
    assert.equal(camera.time(2_238_500) - microphone.time(1_700), 10);
});

test('a clock that goes wrong is followed without a step', () => {
    const clock = new TrackClock();
    let last = null;
    let most = 0;
    for (let at = 0; at < 600_000; at += 20) {
        // Half a part of a thousand too fast.
        const timestamp = at * 1.0005;
        clock.note(timestamp, at);
        if (last !== null) most = Math.max(most, Math.abs(clock.time(timestamp) - last - 20));
        last = clock.time(timestamp);
    }
    assert.ok(Math.abs(last - 600_000) < 50, `${last}`);
    assert.ok(most < 0.2, `${most} ms at once`);
});

test('another device begins with an origin of its own', () => {
    const clock = new TrackClock();
    clock.note(5_000, 100);
    clock.note(9_000_000, 140);
    assert.equal(clock.time(9_000_010), 150);
});

test('a track whose origin becomes later on its way to the worker is at its time at once', () => {
    const clock = new TrackClock();
    // Four pieces of sound wait for a worker that begins 190 ms after the page, from whose beginning they are counted.
    for (const made of [167, 177, 187, 197]) clock.note(made + 10, 20);
    assert.equal(clock.time(207), 20);
    for (let made = 12; made < 1_000; made += 10) {
        clock.note(made + 10, made + 13);
        assert.equal(clock.time(made), made + 3);
    }
});

test('a time that is read a little wrong is none of another origin', () => {
    const clock = new TrackClock();
    for (let made = 0; made < 500; made += 10) clock.note(made, made + 5);
    // It waited, and tells less than the one before it.
    clock.note(480, 600);
    assert.equal(clock.time(480), 485);
});

/** A piece of sound. */
const PIECE = { numberOfFrames: 480, sampleRate: 48_000 };

test('sound that has waited at first is soon at its time', () => {
    const clock = new SampleClock();
    // What was made from 520 ms on is thought to be made when it was taken, all at once.
    for (let made = 520; made < 600; made += 10) clock.count(PIECE, 600);
    for (let made = 600; made < 1_000; made += 10) clock.count(PIECE, made);
    const late = clock.made(470) - 990;
    assert.ok(Math.abs(late) < 8, `${late} ms late`);
});

test('sound is evenly timed, however uneven its pieces are told, and has a gap where some is missing', () => {
    const clock = new SampleClock();
    const uneven = (made) => made + (made % 20 === 0 ? 4 : -4);
    for (let made = 0; made < 2_000; made += 10) clock.count(PIECE, uneven(made));
    const steps = Array.from({ length: 99 }, (_, i) => clock.made(1_010 + i * 10) - clock.made(1_000 + i * 10));
    assert.ok(steps.every((step) => Math.abs(step - 10) < 0.1), `${steps}`);
    assert.ok(Math.abs(clock.made(1_990) - 1_990) < 0.5);
    // A second is missing.
    assert.equal(clock.count(PIECE, 3_000), 2_000);
    assert.equal(clock.made(2_000), 3_000);
    // What is still being encoded keeps its time.
    assert.ok(Math.abs(clock.made(1_980) - 1_980) < 0.5);
});

test('times that are sent begin with 0, and no two of a kind are one', () => {
    const clock = new SendClock();
    assert.ok(!clock.isBefore(0));
    assert.deepEqual([1_000, 1_033.4, 1_020, 900, 1_050].map((made) => clock.time('video', made)), [0, 33, 34, 35, 50]);
    assert.ok(clock.isBefore(990) && !clock.isBefore(1_000));
    assert.deepEqual([1_000, 1_010].map((made) => clock.time('audio', made)), [0, 10]);
});
