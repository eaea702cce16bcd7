// One time for all tracks. Browsers count the time of each from an origin of its own: a camera's from the start of the machine, say.

/** What came soonest after its making is looked for in the last parts of so long: ms. */
const PART = 2000;
const PARTS = 5;
/** At first that is believed at once; later no step is heard or seen, of so many ms in each second. */
const AT_FIRST = 2000;
const STEP = 2;
/** A time that is so far from where it should be has an origin of its own again: ms. */
const ANEW = 1000;
/**
 * So has one that goes back by more than clocks are read wrong: ms. Chromium counts sound from the beginning of the page until the
 * worker reads it, and from the beginning of the worker from then on, which is less than `ANEW` later where a page publishes at once.
 */
const BACK = 20;
/** Pieces of sound whose time is known, as far as encoders are behind. */
const MARKS = 200;
/** Sound whose time differs by so much from what was counted has a gap before it: ms. */
const GAP = 50;
/** Pieces come a little early and late, which nobody needs to hear: what counts is the mean of about so many. */
const MEAN = 100;

/** The time of one track, from its own timestamps to that of `performance.now()`. */
export class TrackClock {
    #parts = [];
    #offset = null;
    #last = -Infinity;
    #since = 0;
    #moved = 0;

    /** Notes a frame, which came at `now` and has a `timestamp` of its track; both in ms. */
    note(timestamp, now) {
        const offset = now - timestamp;
        const isBack = timestamp < this.#last - BACK;
        this.#last = timestamp;
        if (this.#offset === null || isBack || Math.abs(offset - this.#offset) > ANEW) {
            this.#parts = [{ since: now, least: offset }];
            this.#offset = offset;
            this.#since = now;
            this.#moved = now;
            return;
        }
        const newest = this.#parts.at(-1);
        if (now - newest.since < PART) newest.least = Math.min(newest.least, offset);
        else this.#parts.push({ since: now, least: offset });
        if (this.#parts.length > PARTS) this.#parts.shift();
        this.#move(now);
    }

    #move(now) {
        const least = Math.min(...this.#parts.map(({ least }) => least));
        if (now - this.#since < AT_FIRST) {
            this.#offset = least;
        } else {
            const most = (now - this.#moved) * STEP / 1000;
            this.#offset += Math.max(Math.min(least - this.#offset, most), -most);
        }
        this.#moved = now;
    }

    /** When what has this timestamp was made, as far as that is known. */
    time(timestamp) {
        return timestamp + this.#offset;
    }
}

/** The time of sound by counting its samples, as encoders do, whatever has been missing. */
export class SampleClock {
    #samples = 0;
    /** By how much pieces of late were made after what was counted, in ms, as the mean `of` so many. */
    #marks = [];

    /** Counts a piece, an `AudioData`, which was made at `made`; gives where it begins by that count, in ms. */
    count({ numberOfFrames, sampleRate }, made) {
        const counted = this.#samples * 1000 / sampleRate;
        this.#samples += numberOfFrames;
        this.#marks.push({ counted, ...this.#mean(made - counted) });
        if (this.#marks.length > MARKS) this.#marks.shift();
        return counted;
    }

    #mean(offset) {
        const before = this.#marks.at(-1);
        if (!before || Math.abs(offset - before.offset) > GAP) return { offset, of: 1 };
        // The first ones have waited for what takes them, and weigh no more than others.
        const of = Math.min(before.of + 1, MEAN);
        return { offset: before.offset + (offset - before.offset) / of, of };
    }

    /** When that was made which has this place in the count. */
    made(place) {
        const mark = this.#marks.findLast(({ counted }) => counted <= place + 0.5) ?? this.#marks[0];
        return place + mark.offset;
    }
}

/** Times of what is sent over one connection: whole ms from 0 on, of each kind later than the one before. */
export class SendClock {
    #origin = null;
    #last = { audio: -1, video: -1 };

    /** Whether what was made at `made` is from before the beginning. */
    isBefore(made) {
        return this.#origin !== null && made < this.#origin - 0.5;
    }

    /** The time of a frame of a kind which was made at `made`. */
    time(kind, made) {
        this.#origin ??= made;
        this.#last[kind] = Math.max(Math.round(made - this.#origin), this.#last[kind] + 1);
        return this.#last[kind];
    }
}
