// How frames arrive: how many, in which codec, and how evenly.

/** For so long it is remembered how late frames came, in parts: ms. */
const PART = 2000;
const PARTS = 5;
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

    /** Notes that what has come can be played to `end`, in seconds of the player's time. */
    note(end, now = performance.now()) {
        const late = now / 1000 - end;
        if (now - this.#noted > SILENCE) this.interrupt();
        if (late < this.least - SOONER) this.#parts = [];
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

    /** The difference between our clock and the end of what has come, where it came soonest: seconds. */
    get least() {
        return Math.min(...this.#parts.map(({ least }) => least));
    }

    /** How much later others came, time and again: what came late once says little of what is to come. Seconds. */
    get spread() {
        const latest = this.#parts.map(({ most }) => most).sort((a, b) => b - a);
        return this.isKnown ? latest[latest.length > 2 ? 1 : 0] - this.least : 0;
    }

    get isKnown() {
        return this.#parts.length > 0;
    }

    /** Since when the backlog is over: a time of `performance.now()`. */
    get since() {
        return this.#parts[0]?.since ?? Infinity;
    }
}
