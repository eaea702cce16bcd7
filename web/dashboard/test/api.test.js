import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

/** What the sources call things, and what the API's description does. */
const CALLED = {
    Stream: 'StreamStats', Summary: 'Summary', Rates: 'Rates', Sample: 'Sample', Connection: 'SessionInfo', Relay: 'RelayStatus',
    FileJob: 'FileStatus', Key: 'KeyInfo', MadeKey: 'AddedKey', Recording: 'RecordingStatus', RecordedFile: 'RecordedFile',
    Listener: 'ListenerInfo', Session: 'Session', LogLine: 'LogLine',
};

test('what is read of the API is in its description', () => {
    const { schemas } = JSON.parse(readFileSync(process.env.OPENAPI, 'utf8')).components;
    const source = readFileSync(new URL('../../dashboard/api.ts', import.meta.url), 'utf8');
    for (const [name, called] of Object.entries(CALLED)) {
        const [, body] = source.match(new RegExp(`export interface ${name} [^{]*\\{\\n(.*?)\\n\\}`, 's'));
        const fields = [...body.matchAll(/^ {4}(\w+)\??:/gm)].map(([, field]) => field);
        assert.ok(fields.length > 0 && schemas[called], called);
        for (const field of fields) assert.ok(Object.hasOwn(schemas[called].properties, field), `${called} has no ${field}`);
    }
});
