// Publishes a camera, a microphone or a screen to the server that this file comes from, or another one. Pages of anybody import it:
//
//   import { publish } from 'https://HOST/assets/embed.js';
//   const publication = publish({ stream: 'live/a', key, video, audio, onstate: ({ state }) => ... });

import { sourceOf } from './capture.js';

/** What is wished for where nothing else is said: pixels, frames and bits a second. */
export const PICTURE = { width: 1280, height: 720, rate: 30, bitrate: 2_500_000 };

/**
 * Publishes a stream such as `live/a` to the server at `url`, with a `key` where one is needed. `video` and `audio` are tracks
 * (MediaStreamTrack), of which one may be absent; `picture` says what is wished for, as `PICTURE`; `destinations` has the names of
 * those that the server is to push to.
 *
 * It tells `onstate({ state, ... })`:
 *
 * - `connecting`;
 * - `live`, or `adapting` where the way has less room than is wished for, again and again: `seconds`, `bitrate` and `rate` of the last
 *   two seconds, `frames` that were `sent` and `leftOut` since the beginning, `acknowledged` and `waiting` in bytes, `room` in bits a second as far as known, `size`, `sound` (`aac`, `aac-wasm`,
 *   `opus`), `destinations` as `{ name, state, error }`, `offered` and `missing` with names of them;
 * - `reconnecting`: the `attempt` that comes in `wait` ms, and `why`: `lost`, `unreachable`, `silent`, `slept`, `drained`;
 * - `refused` with the server's `code` and `words`; `ended` `by` the `server` or `us`. Nothing follows these two.
 *
 * `onlost(kind, words)` tells that a track has ended, as devices do that are unplugged; what is left goes on.
 *
 * Gives `stop()`, `replace(kind, track)`, `choose(destinations)` and `again()`, which does not wait for the next attempt.
 */
export function publish({ url = import.meta.url, stream, key, video, audio, picture = {}, destinations = [], onstate, onlost }) {
    const worker = startWorker();
    const captured = { video: null, audio: null };
    const release = (kind) => {
        captured[kind]?.end();
        captured[kind] = null;
    };
    const capture = (kind, track) => {
        release(kind);
        const own = track ? sourceOf(kind, track) : { given: { kind }, transfer: [], end() {} };
        captured[kind] = own;
        const ended = () => {
            if (captured[kind] !== own) return;
            replace(kind, null);
            onlost?.(kind, '');
        };
        track?.addEventListener('ended', ended);
        return own;
    };
    const replace = (kind, track) => {
        const { given, transfer } = capture(kind, track);
        worker.postMessage({ replace: given }, transfer);
    };
    const over = () => {
        release('video');
        release('audio');
    };
    worker.onmessage = ({ data }) => {
        if (data.lost) {
            release(data.lost);
            onlost?.(data.lost, data.words);
            return;
        }
        if (data.state === 'ended' || data.state === 'refused') over();
        onstate?.(data);
    };
    worker.onerror = ({ message }) => {
        over();
        worker.terminate();
        onstate?.({ state: 'refused', code: 0, words: message ?? 'the page has lost a part of itself' });
    };
    const tracks = Object.entries({ video, audio }).filter(([, track]) => track).map(([kind, track]) => [kind, capture(kind, track)]);
    const start = { url: ingestUrl(url, stream, key), picture: { ...PICTURE, ...picture }, destinations };
    for (const [kind, { given }] of tracks) start[kind] = given;
    worker.postMessage({ start }, tracks.flatMap(([, { transfer }]) => transfer));
    return {
        stop: () => worker.postMessage({ stop: true }),
        replace,
        choose: (names) => worker.postMessage({ choose: names }),
        again: () => worker.postMessage({ again: true }),
    };
}

/** Where a stream is published to: what the page's server has besides in `url`, its path and query, is not part of it. */
function ingestUrl(url, stream, key) {
    const path = stream.split('/').map(encodeURIComponent).join('/');
    const ingest = new URL(`/${path}`, url);
    ingest.protocol = ingest.protocol.replace('http', 'ws');
    if (key) ingest.searchParams.set('key', key);
    return ingest.href;
}

function startWorker() {
    const url = new URL('./publish_worker.js', import.meta.url);
    if (url.origin === location.origin) return new Worker(url, { type: 'module' });
    // Browsers start no worker from elsewhere, but one of the page's own may import from there.
    const own = new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' });
    return new Worker(URL.createObjectURL(own), { type: 'module' });
}
