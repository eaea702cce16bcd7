// What goes by in an FLV stream: how many frames of each kind, in which codec. Nothing of it is kept.

import { Arrivals } from './arrivals.js';
import { codecName } from './codecs.js';

const AUDIO = 8;
const VIDEO = 9;
// A tag's header, and as much of its payload as names the codec.
const TAG_HEADER = 11;
const LOOKED_AT = TAG_HEADER + 5;

const LEGACY_VIDEO = { 2: 'Sorenson H.263', 3: 'Screen Video', 4: 'VP6', 5: 'VP6', 7: 'H.264', 12: 'H.265 (HEVC)', 13: 'AV1' };
const LEGACY_AUDIO = { 2: 'MP3', 5: 'Nellymoser', 6: 'Nellymoser', 7: 'G.711', 8: 'G.711', 10: 'AAC', 11: 'Speex', 13: 'Opus' };

export class Tags extends Arrivals {
    /** Bytes to pass over: at first the FLV header. */
    #skip = 13;
    #head = [];

    /** Looks at the next bytes. */
    feed(bytes) {
        let at = 0;
        while (at < bytes.length) {
            if (this.#skip > 0) {
                const step = Math.min(this.#skip, bytes.length - at);
                this.#skip -= step;
                at += step;
                continue;
            }
            this.#head.push(bytes[at]);
            at += 1;
            const size = this.#head.length < TAG_HEADER ? Infinity : this.#size();
            if (this.#head.length >= Math.min(LOOKED_AT, TAG_HEADER + size)) {
                this.#look();
                this.#skip = TAG_HEADER + size + 4 - this.#head.length;
                this.#head = [];
            }
        }
    }

    #size() {
        return (this.#head[1] << 16) | (this.#head[2] << 8) | this.#head[3];
    }

    #look() {
        const kind = this.#head[0] & 0x1f;
        const first = this.#head[TAG_HEADER];
        if ((kind !== AUDIO && kind !== VIDEO) || first === undefined) return;
        const name = kind === AUDIO ? 'audio' : 'video';
        this[name] += 1;
        const isEnhanced = kind === AUDIO ? first >> 4 === 9 : (first & 0x80) !== 0;
        const fourcc = () => String.fromCharCode(...this.#head.slice(TAG_HEADER + 1));
        const legacy = () => (kind === AUDIO ? LEGACY_AUDIO[first >> 4] : LEGACY_VIDEO[first & 0x0f]);
        this.codecs[name] = isEnhanced ? codecName(fourcc()) : (legacy() ?? 'an unknown codec');
    }
}
