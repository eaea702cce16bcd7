// A way to a server, an encoder and a publisher on it, in a time of their own.

import { Adaptation } from '../page/adapt.js';

const TICK = 1000 / 30;
const KEYFRAMES = 2000;
const SOUND = 128_000;
/** A keyframe has so many times the bytes of another frame. */
const KEY = 6;
/** An encoder is at a new bitrate after some of these: ms. */
const FOLLOWS = 350;

/** Always the same chance. */
function dice(seed) {
    let state = seed;
    return () => {
        state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
        return state / 2 ** 31;
    };
}

/**
 * Publishes for so many ms over a way that has room for `room(now)` bits a second and takes 20 ms in each direction. An encoder takes
 * `least` bits a second at full size, whatever it is asked for. Gives what was there every 100 ms: `{ at, bitrate, rate, size }`, and
 * of each frame `{ at, delay, isPicture }`.
 */
export function publishOver(room, length, wish = { bitrate: 2_372_000, rate: 30, sound: SOUND }, least = 0) {
    const adaptation = new Adaptation(wish);
    const chance = dice(7);
    const queue = [];
    const acknowledgements = [];
    const frames = [];
    const choices = [];
    let encoding = wish.bitrate;
    let owed = 0;
    let arrived = 0;
    let acknowledged = 0;
    let [nextFrame, nextKey, nextSound, nextAck, nextLook] = [0, 0, 0, 200, 0];
    const send = (bytes, now, isPicture) => {
        adaptation.sent(bytes, now, isPicture);
        queue.push({ at: now, left: bytes, bytes, isPicture });
    };
    for (let now = 0; now < length; now += 1) {
        for (let carried = room(now) / 8000; carried > 0 && queue.length > 0;) {
            const took = Math.min(carried, queue[0].left);
            queue[0].left -= took;
            carried -= took;
            if (queue[0].left > 1e-6) break;
            const { at, bytes, isPicture } = queue.shift();
            arrived += bytes;
            frames.push({ at, delay: now + 20 - at, isPicture });
        }
        if (now >= nextAck) {
            nextAck += 200;
            if (arrived > acknowledged) acknowledgements.push({ at: now + 40, bytes: arrived });
            acknowledged = arrived;
        }
        while (acknowledgements[0]?.at <= now) adaptation.acknowledged(Math.floor(acknowledgements.shift().bytes), now);
        if (now >= nextSound) {
            nextSound += 20;
            send(wish.sound / 400, now, false);
        }
        if (now >= nextFrame) {
            nextFrame += TICK;
            const { bitrate, rate, size } = adaptation.choice;
            const asked = Math.max(bitrate, least * size * size);
            encoding += (asked - encoding) * Math.min(TICK / FOLLOWS, 1);
            if (adaptation.admits(now)) {
                const isKey = now >= nextKey;
                if (isKey) nextKey = now + KEYFRAMES;
                const mean = encoding / 8 / rate;
                const wanted = mean * (isKey ? KEY : 0.8 + 0.4 * chance());
                // What a keyframe took is saved by the next second.
                const saved = isKey ? 0 : Math.min(owed, mean * 0.3);
                owed += (isKey ? wanted - mean : 0) - saved;
                send(wanted - saved, now, true);
            }
        }
        if (now >= nextLook) {
            nextLook += 100;
            choices.push({ at: now, ...adaptation.choice, isLess: adaptation.isLess });
        }
    }
    return { frames, choices, left: queue };
}
