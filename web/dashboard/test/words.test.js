import assert from 'node:assert/strict';
import { test } from 'node:test';
import { adviceOf, detailOf, reasonOf, stateOf, titleOf, toneOf, toneOfRelay, troublesOf } from '../health.js';
import en from '../words/en.js';
import de from '../words/de.js';
import fr from '../words/fr.js';
import zh from '../words/zh.js';

/** All texts of a catalogue, by their places; functions are called with something. */
function texts(of, place = '') {
    return Object.entries(of).flatMap(([name, value]) => {
        const at = `${place}.${name}`;
        if (typeof value === 'function') return [[at, value(3)]];
        return typeof value === 'string' ? [[at, value]] : texts(value, at);
    });
}

test('each language has all texts, and no empty one', () => {
    const places = texts(en).map(([place]) => place);
    assert.ok(places.length > 250);
    for (const language of [en, de, fr, zh]) {
        assert.deepEqual(texts(language).map(([place]) => place).sort(), [...places].sort());
        for (const [place, text] of texts(language)) assert.ok(text.trim() && !/undefined|\bNaN\b|function/.test(text), place);
    }
});

test('what is put into a text is in it in each language', () => {
    for (const language of [en, de, fr, zh]) {
        assert.match(language.relays.removeTitle('rtmp://a'), /rtmp:\/\/a/);
        assert.match(language.login.wait(42), /42/);
        assert.match(language.keys.rotateTitle('id7'), /id7/);
    }
});

const stream = (problems, state = 'live') => ({ key: 'live/a', state, problems });
const low = { kind: 'low-bitrate', detail: { kbps: 400, usual_kbps: 2300 } };

test('a stream is as well as its worst problem', () => {
    assert.equal(toneOf(stream([])), 'good');
    assert.equal(toneOf(stream([low])), 'warn');
    assert.equal(toneOf(stream([], 'away')), 'bad');
    assert.equal(toneOf(stream([], 'ended')), 'idle');
    assert.equal(stateOf(stream([low]), en), 'Low bit rate');
    assert.equal(stateOf(stream([low, low]), de), '2 Störungen');
});

test('who is gone is not said to send nothing, too', () => {
    const silent = { kind: 'no-media', detail: { silence_ms: 9000 } };
    assert.deepEqual(troublesOf(stream([low, silent])), [low, silent]);
    assert.deepEqual(troublesOf(stream([low, silent], 'away')), [low]);
});

test('problems have a title, an advice and their numbers, and unknown ones their name', () => {
    for (const kind of Object.keys(en.health.kinds)) {
        assert.notEqual(titleOf({ kind, detail: {} }, fr), kind);
        assert.ok(adviceOf({ kind, detail: {} }, fr).length > 20);
    }
    assert.equal(detailOf(low, en, 'en').replaceAll('\u00a0', ' '), 'now 400 kbit/s · usually 2.30 Mbit/s');
    assert.equal(detailOf({ kind: 'no-keyframe', detail: { since_ms: 14_000, usual_ms: 0 } }, en, 'en').replaceAll('\u00a0', ' '), 'for 14 s');
    for (const kind of ['new-one', 'constructor', '__proto__']) {
        assert.equal(titleOf({ kind, detail: {} }, en), kind);
        assert.equal(adviceOf({ kind, detail: {} }, en), '');
    }
});

test('a relay says why it fails in the words of the page, with those of the peer', () => {
    const relay = { state: 'backing-off', last_error: 'nobody there', last_error_kind: 'connection refused' };
    assert.deepEqual(reasonOf(relay, en), { title: 'Nothing listens at this address', text: 'nobody there' });
    assert.equal(reasonOf({ ...relay, last_error_kind: 'toString' }, en).title, en.relays.failed);
    assert.equal(reasonOf({ ...relay, last_error: null }, en), null);
    assert.equal(toneOfRelay(relay), 'bad');
    assert.equal(toneOfRelay({ state: 'publishing', last_error: null }), 'good');
});
