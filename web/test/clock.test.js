import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SendClock, TrackClock } from '../page/clock.js';

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

test('times that are sent begin with 0, and no two of a kind are one', () => {
    const clock = new SendClock();
    assert.ok(!clock.isBefore(0));
    assert.deepEqual([1_000, 1_033.4, 1_020, 900, 1_050].map((made) => clock.time('video', made)), [0, 33, 34, 35, 50]);
    assert.ok(clock.isBefore(990) && !clock.isBefore(1_000));
    assert.deepEqual([1_000, 1_010].map((made) => clock.time('audio', made)), [0, 10]);
});
