import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, count, decimal, duration, milliseconds, rate } from '../format.js';
import { pathOf, portOf, quoted, split, urlsOf } from '../names.js';

/** What is to be read, with spaces that break. */
const plain = (text) => text.replace(/[\u00a0\u202f]/g, ' ');

test('rates and sizes have three digits and the power of a thousand that goes with them', () => {
    const cases = [[0, '0 bit/s'], [999, '999 bit/s'], [1000, '1.00 kbit/s'], [12_345, '12.3 kbit/s'], [999_499, '999 kbit/s'],
        [999_500, '1.00 Mbit/s'], [9_996_000, '10.0 Mbit/s'], [2.5e9, '2.50 Gbit/s']];
    for (const [bits, expected] of cases) assert.equal(plain(rate(bits, 'en')), expected);
    assert.equal(plain(bytes(30_500_000, 'de')), '30,5 MB');
    for (const [bits, expected] of [[2_000_000, '2 Mbit/s'], [2_500_000, '2,5 Mbit/s'], [60e6, '60 Mbit/s'], [0, '0 bit/s']]) {
        assert.equal(plain(rate(bits, 'de', true)), expected);
    }
    assert.equal(plain(bytes(7e15, 'en')), '7,000 TB');
});

test('what is not known is a dash, and never 0', () => {
    for (const show of [rate, bytes, count, milliseconds, duration]) {
        assert.equal(show(null, 'en'), '–');
        assert.equal(show(undefined, 'en'), '–');
    }
    assert.equal(decimal(null, 1, 'en'), '–');
});

test('times are read as clocks show them, short ones in milliseconds', () => {
    assert.equal(duration(0, 'en'), '0:00');
    assert.equal(duration(59_999, 'en'), '0:59');
    assert.equal(duration(3_723_000, 'en'), '1:02:03');
    assert.equal(plain(duration(90_061_000, 'en')), '1d 1:01:01');
    assert.equal(duration(-5, 'en'), '0:00');
    assert.equal(plain(milliseconds(-812, 'en')), '-812 ms');
    assert.equal(plain(milliseconds(2500, 'fr')), '2,5 s');
    assert.equal(plain(milliseconds(14_000, 'en')), '14 s');
    assert.equal(plain(milliseconds(119_999, 'en')), '120 s');
    assert.equal(milliseconds(234_000, 'en'), '3:54');
    assert.equal(plain(milliseconds(2000, 'en', true)), '2 s');
});

test('a stream is where its name says, whatever characters are in that', () => {
    const page = { hostname: 'live.example.org', origin: 'https://live.example.org:8443' };
    const urls = urlsOf('live/room/直播.flv', page, { protocol: 'rtmp', port: '1935' });
    assert.equal(urls.rtmp, 'rtmp://live.example.org/live/room/直播.flv');
    assert.equal(urls.server, 'rtmp://live.example.org/live/room');
    assert.equal(urls.flv, 'https://live.example.org:8443/live/room/%E7%9B%B4%E6%92%AD%2Eflv.flv');
    assert.equal(urls.ws, urls.flv.replace('https', 'wss'));
    assert.equal(urlsOf('live/a', page, { protocol: 'rtmps', port: '444' }).rtmp, 'rtmps://live.example.org:444/live/a');
    assert.deepEqual(split('live/room/a'), ['live/room', 'a']);
    assert.equal(pathOf('live/b&c=d'), 'live/b%26c%3Dd');
    assert.equal(portOf('[::]:1935'), '1935');
});

test('a command that is copied into a shell has its words quoted where it must', () => {
    assert.equal(quoted('rtmp://host:1935/live/a'), 'rtmp://host:1935/live/a');
    assert.equal(quoted('rtmp://host/live/a&b'), "'rtmp://host/live/a&b'");
    assert.equal(quoted("a'; rm -rf ~"), "'a'\\''; rm -rf ~'");
});
