// How frames arrive: how many, in which codec, and how evenly.

/** It is remembered how late frames came, in parts of so long, the newest of which counts once it has so much: ms. */
const PART = 1000;
const PARTS = 10;
const ENOUGH = 500;
/** After so long without anything time has stood still, and says nothing about what follows: ms. */
const SILENCE = 1000;
/** What comes so much sooner than all before is the end of a backlog, which is no unevenness: seconds. */
const SOONER = 0.01;

export class Arrivals {
    /** Frames of each kind so far. */
    audio = 0;
    video = 0;
    /** The names of the codecs, as far as they are known. */
    codecs = { audio: undefined, video: undefined };
    /** How often they were interrupted: what follows says nothing of what was before, and nobody minds a jump. */
    breaks = 0;
    #parts = [];
    #noted = -Infinity;
    #end = 0;

    /** Notes that what has come can be played to `end`, in seconds of the player's time. */
    note(end, now = performance.now()) {
        // Of two tracks one may be ahead.
        if (end === this.#end) return;
        this.#end = end;
        const late = now / 1000 - end;
        if (now - this.#noted > SILENCE) this.interrupt();
        if (this.#parts.every(({ least }) => late < least - SOONER)) this.#parts = [];
        this.#noted = now;
        const newest = this.#parts.at(-1);
        if (newest && now - newest.since < PART) {
            newest.least = Math.min(newest.least, late);
            newest.most = Math.max(newest.most, late);
            return;
        }
        this.#parts.push({ since: now, least: late, most: late });
        if (this.#parts.length > PARTS) this.#parts.shift();
    }

    /** What comes from now on is something else. */
    interrupt() {
        this.breaks += 1;
        this.#parts = [];
    }

    /** The difference between our clock and the end of what has come, where it came soonest of late: seconds. */
    get least() {
        const newest = this.#parts.at(-1);
        const isEnough = this.#parts.length === 1 || this.#noted - newest?.since > ENOUGH;
        return (isEnough ? newest : this.#parts.at(-2))?.least ?? Infinity;
    }

    /**
     * How much later others came, time and again: what came late once says little of what is to come, such as the way's having
     * become longer. Seconds.
     */
    get spread() {
        const spreads = this.#parts.map(({ least, most }) => most - least).sort((a, b) => b - a);
        return spreads[spreads.length > 2 ? 1 : 0] ?? 0;
    }

    get isKnown() {
        return this.#parts.length > 0;
    }

    /** Since when the backlog is over: a time of `performance.now()`. */
    get since() {
        return this.#parts[0]?.since ?? Infinity;
    }
}
