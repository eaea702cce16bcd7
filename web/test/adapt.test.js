import assert from 'node:assert/strict';
import { test } from 'node:test';
import { publishOver } from './link.js';

const WISH = 2_372_000;
const FULL = 0.97 * WISH;

function late({ frames }, from, to) {
    return Math.max(...frames.filter(({ at }) => at >= from && at < to).map(({ delay }) => delay));
}

function during({ choices }, from, to) {
    return choices.filter(({ at }) => at >= from && at < to);
}

function bitrates(run, from, to) {
    const rates = during(run, from, to).map(({ bitrate }) => bitrate);
    return { least: Math.min(...rates), most: Math.max(...rates), mean: rates.reduce((sum, rate) => sum + rate, 0) / rates.length };
}

/** How often something of what is encoded was changed. */
function changes(run, name, from, to) {
    const values = during(run, from, to).map((choice) => choice[name]);
    return values.filter((value, i) => i > 0 && value !== values[i - 1]).length;
}

test('a way with room for all is used as wished', () => {
    const run = publishOver(() => 6_000_000, 60_000);
    assert.equal(bitrates(run, 0, 60_000).least, WISH);
    assert.ok(during(run, 0, 60_000).every(({ rate, size, isLess }) => rate === 30 && size === 1 && !isLess));
    assert.ok(run.frames.filter(({ isPicture }) => isPicture).length >= 1799);
});

test('a squeeze to 700 kbit/s is over for what follows after 3 s, and all is as before 15 s after its end', () => {
    const run = publishOver((now) => (now >= 10_000 && now < 22_000 ? 700_000 : 6_000_000), 45_000);
    const delay = late(run, 13_000, 22_000);
    assert.ok(delay <= 600, `${delay} ms`);
    const { least, mean } = bitrates(run, 13_000, 22_000);
    assert.ok(least > 250_000 && mean > 400_000, `${least}, ${mean}`);
    assert.ok(during(run, 13_000, 22_000).every(({ rate, size }) => rate < 30 && size === 1));
    const back = run.choices.find(({ at, bitrate, rate }) => at > 22_000 && bitrate >= FULL && rate === 30);
    assert.ok(back && back.at <= 37_000, `${back?.at}`);
    assert.ok(late(run, 23_000, 45_000) < 400);
    const pictures = run.frames.filter(({ at, isPicture }) => isPicture && at >= 13_000 && at < 22_000).length;
    assert.ok(pictures > 9 * 10, `${pictures} pictures in 9 s`);
});

test('a cut of 5 s leaves little that is late, and what follows is as before soon', () => {
    const run = publishOver((now) => (now >= 10_000 && now < 15_000 ? 0 : 6_000_000), 40_000);
    assert.ok(late(run, 15_100, 40_000) < 400);
    const waiting = run.frames.filter(({ at, isPicture }) => isPicture && at >= 10_000 && at < 14_900).length;
    assert.ok(waiting < 25, `${waiting} pictures waited`);
    const back = run.choices.find(({ at, bitrate }) => at > 15_000 && bitrate >= FULL);
    assert.ok(back && back.at <= 25_000, `${back?.at}`);
});

test('a way just below the wish is used without a swing', () => {
    const run = publishOver(() => 2_200_000, 120_000);
    const { least, most } = bitrates(run, 20_000, 120_000);
    assert.ok(least > 0.6 * 2_200_000 && most < 1.1 * 2_200_000, `${least} to ${most}`);
    assert.ok(late(run, 10_000, 120_000) <= 600, `${late(run, 10_000, 120_000)} ms`);
    assert.equal(changes(run, 'size', 0, 120_000), 0);
    assert.ok(changes(run, 'rate', 10_000, 120_000) <= 2);
    const downs = during(run, 20_000, 120_000).filter(({ bitrate }, i, all) => i > 0 && bitrate < 0.95 * all[i - 1].bitrate);
    assert.ok(downs.length <= 6, `${downs.length} times less`);
});

test('a way of 1 Mbit/s is found and kept to', () => {
    const run = publishOver(() => 1_000_000, 90_000);
    assert.ok(late(run, 5_000, 90_000) <= 700, `${late(run, 5_000, 90_000)} ms`);
    const { mean } = bitrates(run, 10_000, 90_000);
    assert.ok(mean > 550_000 && mean < 950_000, `${mean}`);
    assert.equal(changes(run, 'size', 0, 90_000), 0);
});

test('the size is the last to give way, and comes back', () => {
    const run = publishOver((now) => (now >= 5_000 && now < 35_000 ? 250_000 : 6_000_000), 70_000);
    const small = run.choices.find(({ size }) => size < 1);
    const slow = run.choices.find(({ rate }) => rate < 30);
    assert.ok(small && slow && slow.at <= small.at);
    assert.ok(late(run, 12_000, 35_000) <= 1_200, `${late(run, 12_000, 35_000)} ms`);
    assert.equal(run.choices.at(-1).size, 1);
    assert.equal(run.choices.at(-1).bitrate, WISH);
    assert.ok(changes(run, 'size', 0, 70_000) <= 6, `${changes(run, 'size', 0, 70_000)}`);
});

test('what does not get as small as it has to gets a smaller size', () => {
    const run = publishOver((now) => (now < 5_000 ? 6_000_000 : 1_200_000), 60_000, undefined, 2_100_000);
    assert.ok(run.choices.at(-1).size < 1);
    assert.ok(late(run, 10_000, 60_000) <= 800, `${late(run, 10_000, 60_000)} ms`);
});

test('acknowledgements that come late say nothing where little is on its way', async () => {
    const { Adaptation } = await import('../page/adapt.js');
    const adaptation = new Adaptation({ bitrate: 2_372_000, rate: 30, sound: 128_000 });
    // 125 kbit/s, and a server that is kept busy by others now and then.
    let left = 0;
    for (let now = 0, sent = 0; now < 60_000; now += 33) {
        if (adaptation.admits(now)) {
            adaptation.sent(500, now, true);
            sent += 500;
        } else left += 1;
        if (now % 660 < 33) adaptation.acknowledged(sent - 1_000, now);
    }
    assert.equal(adaptation.isLess, false);
    assert.equal(left, 0);
});

test('acknowledgements of what was never sent, or that go back, are passed over', async () => {
    const { Adaptation } = await import('../page/adapt.js');
    const adaptation = new Adaptation({ bitrate: 1_000_000, rate: 30 });
    adaptation.sent(1_000, 0);
    adaptation.acknowledged(2_000, 100);
    assert.equal(adaptation.waiting, 1_000);
    adaptation.acknowledged(600, 100);
    adaptation.acknowledged(500, 200);
    assert.equal(adaptation.waiting, 400);
});
