// The player of our own: fragmented MP4, as the server makes it once for all, into Media Source Extensions.

import { Arrivals } from './arrivals.js';
import { Cutter, runsOf, tracksOf, typeOf } from './boxes.js';
import { codecsOf } from './codecs.js';
import { connect } from './source.js';

/** So much of what has been played stays, and so much has to have gathered before the rest is taken away: seconds. */
const KEPT = 10;
const GATHERED = 20;
/** What the browser has not taken is given up beyond this: bytes. */
const WAITING = 32 << 20;

export class Player {
    /** What has come; names of codecs are known before frames. */
    arrivals = new Arrivals();
    #video;
    #told;
    #close;
    #isOver = false;
    #cutter = new Cutter();
    /** The type of the init segment that comes next. */
    #type = null;
    #tracks = new Map();
    #source = new MediaSource();
    #url = URL.createObjectURL(this.#source);
    #buffer = null;
    /** The type that the browser has been told. */
    #configured = null;
    /** What waits for the browser: init segments with their `type`, and fragments. */
    #queue = [];
    #waiting = 0;
    /** The stream's time where ours is 0; where keyframes are in ours, as far as they are kept: seconds. */
    #origin = null;
    #keys = [];

    /**
     * Plays `url` in `video`. It tells `opened()`, `arrived()`, and once how it is `over(how)`: as `connect` does, and besides by the
     * kinds `unplayable` (for `codec`), `broken` (the browser fails at what has come) and `anew` (a new connection is needed).
     */
    constructor(video, url, told) {
        this.#video = video;
        this.#told = told;
        this.#source.onsourceopen = () => this.#guard(() => this.#append());
        video.src = this.#url;
        this.#close = connect(url, {
            opened: (type) => {
                told.opened();
                if (type) this.#expect(type);
            },
            came: (data) => this.#guard(() => this.#take(data)),
            over: (how) => this.#over(how),
        });
    }

    destroy() {
        this.#isOver = true;
        this.#close();
        this.#queue = [];
        URL.revokeObjectURL(this.#url);
        this.#video.removeAttribute('src');
        this.#video.load();
    }

    #over(how) {
        if (this.#isOver) return;
        this.#isOver = true;
        this.#close();
        this.#told.over(how);
    }

    #guard(does) {
        if (this.#isOver) return;
        try {
            does();
        } catch (error) {
            this.#over({ kind: 'broken', words: String(error) });
        }
    }

    /** A text announces the type of the next init segment; HTTP does so in its head, once. */
    #take(data) {
        if (typeof data === 'string') return this.#expect(JSON.parse(data).type);
        this.#told.arrived();
        for (const part of this.#cutter.feed(data)) {
            const view = new DataView(part);
            if (typeOf(view) === 'ftyp') this.#begin(part, view);
            else this.#continue(part, view);
        }
        this.#append();
    }

    #expect(type) {
        this.#type = type;
        const codecs = codecsOf(type);
        for (const { name, isVideo } of codecs) this.arrivals.codecs[isVideo ? 'video' : 'audio'] = name;
        const lacking = codecs.find(({ code }) => !MediaSource.isTypeSupported(`video/mp4; codecs="${code}"`));
        if (lacking) this.#over({ kind: 'unplayable', codec: lacking });
    }

    #begin(bytes, view) {
        // What HTTP's head has told was of the first one.
        if (!this.#type && this.#configured) return this.#over({ kind: 'anew' });
        if (!this.#type) throw new TypeError('nobody tells what it is');
        this.#tracks = tracksOf(view);
        this.arrivals.interrupt();
        this.#put({ type: this.#type, bytes });
        this.#type = null;
    }

    #continue(bytes, view) {
        const hasVideo = [...this.#tracks.values()].some(({ isVideo }) => isVideo);
        for (const { isVideo, time, frames, isKey } of runsOf(view, this.#tracks)) {
            this.arrivals[isVideo ? 'video' : 'audio'] += frames;
            this.#origin ??= time;
            if (isKey && isVideo === hasVideo) this.#keys.push(time - this.#origin);
        }
        this.#put({ bytes });
    }

    #put(part) {
        this.#queue.push(part);
        this.#waiting += part.bytes.byteLength;
        if (this.#waiting > WAITING) this.#over({ kind: 'anew' });
    }

    /** Gives the browser what comes next, when it has taken what was before. */
    #append() {
        if (this.#isOver || this.#source.readyState !== 'open' || this.#buffer?.updating) return;
        const [{ type } = {}] = this.#queue;
        if (type) this.#configure(type);
        const count = type ? 1 : this.#queue.findIndex((part) => part.type);
        const parts = this.#queue.slice(0, count < 0 ? undefined : count);
        if (parts.length === 0 || !this.#buffer) return;
        if (!type && this.#buffer.timestampOffset !== -this.#origin) this.#buffer.timestampOffset = -this.#origin;
        try {
            this.#buffer.appendBuffer(joined(parts));
        } catch (error) {
            if (error.name === 'QuotaExceededError' && this.#forget(0)) return;
            throw error;
        }
        this.#queue.splice(0, parts.length);
        this.#waiting -= parts.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
    }

    #configure(type) {
        if (!this.#buffer) {
            this.#buffer = this.#source.addSourceBuffer(type);
            this.#buffer.onupdateend = () => this.#guard(() => this.#appended());
            this.#buffer.onerror = () => this.#over({ kind: 'broken', words: 'the browser cannot read it' });
        } else if (type !== this.#configured) {
            this.#buffer.changeType(type);
        }
        this.#configured = type;
    }

    #appended() {
        const { buffered } = this.#buffer;
        if (buffered.length > 0) {
            this.arrivals.note(buffered.end(buffered.length - 1));
            // What has come since the event was due may be with the browser already.
            const isFree = !this.#buffer.updating;
            if (isFree && this.#video.currentTime - buffered.start(0) > GATHERED) this.#forget(KEPT);
        }
        this.#append();
    }

    /**
     * Takes away what lies so many seconds back, where there is something. It ends at a keyframe: what is between that and the
     * next one is useless without it, and browsers take it away too.
     */
    #forget(kept) {
        const until = this.#keys.filter((key) => key <= this.#video.currentTime - kept).at(-1);
        if (!(until > this.#buffer.buffered.start(0) + 0.1)) return false;
        this.#keys = this.#keys.filter((key) => key >= until);
        this.#buffer.remove(0, until);
        return true;
    }
}

function joined(parts) {
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.bytes.byteLength, 0));
    let at = 0;
    for (const part of parts) {
        bytes.set(new Uint8Array(part.bytes), at);
        at += part.bytes.byteLength;
    }
    return bytes;
}
