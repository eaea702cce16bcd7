// Where a stream comes from: its URL, and the connection that brings it.

import mpegts from 'mpegts.js';

const { BaseLoader, LoaderErrors, LoaderStatus } = mpegts;

const PLAY = '/play/';
// In a WebSocket that we let be opened to say why there is nothing in it: an HTTP status on top of this.
const REFUSED = 4000;

/** The name of the stream of a page, for people. */
export function nameOf(location) {
    const path = location.pathname.slice(PLAY.length);
    try {
        return decodeURIComponent(path);
    } catch {
        return path;
    }
}

/** The URL of the stream of a page; what the page is asked with (a key, say) is asked of the stream, with `more` besides. */
export function streamUrl(location, transport, more = {}) {
    // `a.live.flv` would be the stream `a`.
    const path = location.pathname.slice(PLAY.length).replace(/\.live$/, '%2Elive');
    const url = new URL(`/${path}.flv`, location.href);
    const query = new URLSearchParams(location.search);
    query.delete('transport');
    for (const [name, value] of Object.entries(more)) query.set(name, value);
    url.search = query.toString();
    if (transport === 'ws') url.protocol = url.protocol.replace('http', 'ws');
    return url.href;
}

/** How to begin: over TLS by WebSocket, which keeps to HTTP/1.1 and shares no connection with others. */
export function transportOf(location) {
    const asked = new URLSearchParams(location.search).get('transport');
    if (asked === 'ws' || asked === 'http') return asked;
    return location.protocol === 'https:' ? 'ws' : 'http';
}

/**
 * A loader for mpegts.js that tells how its connection goes on: `opened()`, `bytes(chunk)`, and once
 * `over({ kind, status, words })`, `kind` being `ended` (the stream), `refused` (with its HTTP status), `lost`, or `broken` (the
 * player has failed at what came).
 */
export function loaderFor(told) {
    return class extends BaseLoader {
        #cancel = () => {};
        #received = 0;
        #isOver = false;

        constructor() {
            super('streamengine');
        }

        open(source) {
            this._status = LoaderStatus.kConnecting;
            if (source.url.startsWith('ws')) this.#openSocket(source.url);
            else this.#fetch(source.url);
        }

        abort() {
            this.#isOver = true;
            this._status = LoaderStatus.kComplete;
            this.#cancel();
        }

        destroy() {
            this.abort();
            super.destroy();
        }

        async #fetch(url) {
            const aborting = new AbortController();
            this.#cancel = () => aborting.abort();
            try {
                const reply = await fetch(url, { signal: aborting.signal, cache: 'no-store', credentials: 'same-origin' });
                if (!reply.ok) {
                    const words = (await reply.text()).trim();
                    return this.#end({ kind: 'refused', status: reply.status, words });
                }
                this.#opened();
                const reader = reply.body.getReader();
                for (;;) {
                    const { done, value } = await reader.read();
                    if (done) break;
                    this.#take(value);
                }
                this.#end({ kind: 'ended' });
            } catch {
                this.#end({ kind: 'lost' });
            }
        }

        #openSocket(url) {
            const socket = new WebSocket(url);
            socket.binaryType = 'arraybuffer';
            this.#cancel = () => socket.close();
            socket.onopen = () => this.#opened();
            socket.onmessage = ({ data }) => this.#take(new Uint8Array(data));
            socket.onclose = ({ code, reason }) => {
                if (code === 1000) this.#end({ kind: 'ended' });
                else if (code > REFUSED) this.#end({ kind: 'refused', status: code - REFUSED, words: reason });
                else this.#end({ kind: 'lost' });
            };
        }

        #opened() {
            if (this.#isOver) return;
            this._status = LoaderStatus.kBuffering;
            told.opened();
        }

        #take(bytes) {
            if (this.#isOver) return;
            told.bytes(bytes);
            // A part of a buffer with more in it cannot be given on as a buffer.
            const chunk = bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
            const start = this.#received;
            this.#received += chunk.byteLength;
            try {
                this._onDataArrival?.(chunk, start, this.#received);
            } catch (error) {
                this.#cancel();
                this.#end({ kind: 'broken', words: String(error) });
            }
        }

        #end(how) {
            if (this.#isOver) return;
            this.#isOver = true;
            this._status = how.kind === 'ended' ? LoaderStatus.kComplete : LoaderStatus.kError;
            told.over(how);
            if (how.kind === 'ended') this._onComplete?.(0, this.#received - 1);
            else this._onError?.(LoaderErrors.EXCEPTION, { code: how.status ?? -1, msg: how.words ?? how.kind });
        }
    };
}
