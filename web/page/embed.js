// What pages of anybody may import: this file alone has a name that stays.

import { Edge } from './edge.js';
import { Player } from './play_mp4.js';

export { PICTURE, publish } from './publisher.js';

/** Waits before another attempt, longer with each that fails: ms. */
const RETRY = [250, 1000, 2000, 5000];
/** What a WebSocket's close adds to a status of HTTP that will not be another one the next time. */
const FINAL = [400, 401, 403];
/** A connection that brings nothing for so long is given up: ms. */
const SILENCE = 20_000;

/**
 * Plays a stream such as `live/a` of the server at `url`, by default the one that this file comes from, in a video element, near the
 * live edge and until it is stopped. It tells `onstate({ state, words })`: `connecting`, `playing`, `ended`, `lost`, and last `refused`
 * or `unsupported`. `query` is asked with, as a key may be needed. Gives `stop()`.
 */
export function play({ url = import.meta.url, stream, video, query = {}, onstate = () => {} }) {
    const path = stream.split('/').map(encodeURIComponent).join('/');
    const source = new URL(`/${path}.mp4`, url);
    source.protocol = source.protocol.replace('http', 'ws');
    for (const [name, value] of Object.entries(query)) source.searchParams.set(name, value);
    let own = null;
    let failures = 0;
    let timer = 0;
    const end = () => {
        clearTimeout(timer);
        own?.edge.stop();
        own?.player.destroy();
        own = null;
    };
    const again = (state, words = '') => {
        end();
        onstate({ state, words });
        timer = setTimeout(start, RETRY[Math.min(failures, RETRY.length - 1)]);
        failures += 1;
    };
    const last = (state, words) => {
        end();
        onstate({ state, words });
    };
    const over = ({ kind, status, words, codec }) => {
        if (kind === 'refused' && FINAL.includes(status)) return last('refused', words);
        if (kind === 'unplayable') return last('unsupported', codec.name);
        again(kind === 'ended' ? 'ended' : 'lost', words);
    };
    const start = () => {
        const now = {};
        const during = (does) => (...given) => own === now && does(...given);
        own = now;
        onstate({ state: 'connecting', words: '' });
        const watched = () => {
            clearTimeout(timer);
            timer = setTimeout(during(() => again('lost')), SILENCE);
        };
        watched();
        now.player = new Player(video, source.href, {
            opened() {},
            arrived: during(watched),
            // Later, as the player that tells of it is destroyed.
            over: during((how) => setTimeout(during(() => over(how)))),
        });
        now.edge = new Edge(video, now.player.arrivals, during(() => again('lost')));
        video.addEventListener('playing', during(() => {
            failures = 0;
            onstate({ state: 'playing', words: '' });
        }), { once: true });
        video.play().catch(() => {
            // Browsers play sound only where somebody has touched the page.
            video.muted = true;
            video.play().catch(() => {});
        });
    };
    if (!('MediaSource' in globalThis)) last('unsupported', 'Media Source Extensions');
    else start();
    return { stop: end };
}
