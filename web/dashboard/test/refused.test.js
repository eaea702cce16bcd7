import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Refused } from '../refused.js';

test('what was refused is asked for again after a minute, and each by itself', () => {
    const refused = new Refused();
    assert.equal(refused.has('live/a', 0), false);
    refused.add('live/a', 1000);
    refused.add('live/b', 31_000);
    for (const [name, now, is] of [['live/a', 60_999, true], ['live/a', 61_000, false], ['live/b', 61_000, true], ['live/c', 61_000, false]]) {
        assert.equal(refused.has(name, now), is, `${name} at ${now}`);
    }
    refused.add('live/a', 70_000);
    assert.equal(refused.has('live/a', 129_999), true);
});
