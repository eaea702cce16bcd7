// How much is sent over a way that may have less room than is wished for. What the server has acknowledged is all that is known of
// the way: browsers tell of a socket that it has taken everything while megabytes lie in the kernel.
//
// First the bitrate gives way, then the frame rate, then the size, as this shows most and disturbs players. Where frames wait all the
// same, the next ones are left out before they are encoded, so that what follows is not late.

/** What comes so much later than it could is late; where it is later still, frames are left out until it is so much: ms. */
const LATE = 200;
const LEAVE_OUT = 320;
const TAKE_UP = 180;
/** The server acknowledges at least this often while bytes come: ms. */
const ACKNOWLEDGED = 200;
/** An acknowledgement after so long says nothing of how fast it went before: ms. */
const GAP = 600;
/** The rate of the way is measured over so long, at least and at most: ms. */
const MEASURED_LEAST = 350;
const MEASURED_MOST = 1000;
/** The shortest time of a byte and its acknowledgement is looked for in the last: ms. */
const BASE = 10_000;
/** So much of what the way has room for is used. */
const SHARE = 0.82;
/** The least share that is left at once, as a machine that is busy for a moment looks like a way without room. */
const LEAST = 0.45;
/** The least that is sent, sound and picture: bits a second. */
const FLOOR = 120_000;
/** More is tried after so long without lateness, and each time after a second of it: ms. */
const HOLD = 1500;
const STEP = 1000;
/** By so much, away from what the way was known to have room for, and near it. */
const FAST = 1.25;
const SLOW = 1.06;
/** Near: between these shares of it. */
const NEAR = [0.75, 1.15];
/** What was tried near it in vain is tried again after twice the time; up to this where much can be gained, and little: ms. */
const HOLD_MUCH = 4000;
const HOLD_LITTLE = 30_000;
const MUCH = 1.5;
/** Shares of the wished bitrate below which a rate or size holds, and by how much more is needed for the way back. */
const RATES = [[0.5, 1], [0.3, 2 / 3], [0, 1 / 2]];
const SIZES = [[0.16, 1], [0.07, 2 / 3], [0, 1 / 2]];
const BACK = 1.3;
/** A size is kept for so long at least, before a larger one: ms. */
const SIZE_KEPT = 5000;
/** What is encoded is more than was asked for, by so much for so long: its content does not fit into the size. */
const TOO_MUCH = 1.5;
const TOO_LONG = 2500;
/** For how long that is believed of a size: ms. */
const BELIEVED = 60_000;
/**
 * So much that waits tells that the way is full: of the target's bits, ms, and bytes at least. With less, it is machines that are late.
 */
const FULL = 60;
const FULL_LEAST = 8000;
/** After so long with all that is wished for, what was known is no longer true: ms. */
const FORGOTTEN = 20_000;

export class Adaptation {
    #wish;
    #sound;
    #target;
    /** Bytes given to the socket, and when: of those that are not acknowledged, and the last that is. */
    #marks = [];
    #sent = 0;
    #acknowledged = 0;
    /** Acknowledgements in a row: `{ at, bytes }`; how late the last ones came: `{ at, delay }`. */
    #row = [];
    #delays = [];
    /** What the way was measured to have room for: `{ at, room }`. */
    #rooms = [];
    #isLate = false;
    #leavesOut = false;
    /** What the way had room for when it was too little: bits a second. */
    #known = null;
    #hold = HOLD;
    #heldUntil = 0;
    #cutAt = -Infinity;
    #stepped = 0;
    #fullSince = null;
    #step = { rate: 0, size: 0, sizedAt: -Infinity };
    /** What the next larger size takes, as seen at a time: bits a second. */
    #larger = { bitrate: 0, at: -Infinity };
    /** What was encoded of late, and since when it is too much. */
    #encoded = [];
    #tooMuchSince = null;
    #next = -Infinity;

    /** What is wished for: `bitrate` of the picture and `sound` in bits a second, `rate` in frames a second. */
    constructor({ bitrate, rate, sound = 0 }) {
        this.#wish = { bitrate, rate };
        this.#sound = sound;
        this.#target = bitrate + sound;
    }

    /** What is to be encoded: bits and frames a second, and the share of width and height. */
    get choice() {
        return {
            bitrate: Math.round(this.#picture),
            rate: this.#wish.rate * RATES[this.#step.rate][1],
            size: SIZES[this.#step.size][1],
        };
    }

    /** Whether less is sent than is wished for. */
    get isLess() {
        return this.#target < 0.97 * this.#whole || this.#step.size > 0 || this.#step.rate > 0;
    }

    /** What the way was last seen to have room for, or null: bits a second. */
    get room() {
        return this.#known;
    }

    /** Bytes that the server has. */
    get taken() {
        return this.#acknowledged;
    }

    /** Bytes that are on their way. */
    get waiting() {
        return this.#sent - this.#acknowledged;
    }

    get #whole() {
        return this.#wish.bitrate + this.#sound;
    }

    get #picture() {
        return Math.max(this.#target - this.#sound, FLOOR / 2);
    }

    /** Another connection: bytes count from 0 again, and it may be another way. */
    restart() {
        this.#marks = [];
        this.#row = [];
        this.#delays = [];
        this.#rooms = [];
        this.#sent = 0;
        this.#acknowledged = 0;
        this.#isLate = false;
        this.#leavesOut = false;
    }

    /** So many bytes more were given to the socket; `isPicture` of the picture. */
    sent(bytes, now, isPicture = false) {
        this.#sent += bytes;
        this.#marks.push({ at: now, bytes: this.#sent });
        if (isPicture) this.#encoded.push({ at: now, bytes });
    }

    /** The server has so many bytes in all. */
    acknowledged(bytes, now) {
        if (bytes <= this.#acknowledged || bytes > this.#sent) return;
        const mark = this.#marks.find((mark) => mark.bytes >= bytes);
        this.#acknowledged = bytes;
        this.#marks = this.#marks.filter((mark) => mark.bytes > bytes);
        if (now - (this.#row.at(-1)?.at ?? now) > GAP) this.#row = [];
        this.#row.push({ at: now, bytes });
        while (this.#row.length > 2 && now - this.#row[1].at >= MEASURED_LEAST && now - this.#row[0].at > MEASURED_MOST) {
            this.#row.shift();
        }
        this.#delays.push({ at: now, delay: now - mark.at });
        while (now - this.#delays[0].at > BASE) this.#delays.shift();
        this.#judge(now);
    }

    /** Whether a frame that has come at this time is to be encoded. */
    admits(now) {
        const late = this.late(now);
        this.#leavesOut = this.#isFull && late > (this.#leavesOut ? TAKE_UP : LEAVE_OUT);
        if (this.#leavesOut) return false;
        const period = 1000 / this.choice.rate;
        // Frames come a little early and late.
        const isDue = this.#step.rate === 0 || now >= this.#next - 500 / this.#wish.rate;
        if (isDue) this.#next = Math.max(this.#next + period, now - period);
        return isDue;
    }

    /** How much later bytes come than they could: ms. */
    late(now) {
        const last = this.#delays.at(-1);
        const base = this.#base;
        const told = last && now - last.at < GAP ? last.delay - base : 0;
        const untold = this.#marks.length > 0 ? now - this.#marks[0].at - base - ACKNOWLEDGED : 0;
        return Math.max(told, untold, 0);
    }

    get #isFull() {
        return this.waiting > Math.max(FULL * this.#target / 8000, FULL_LEAST);
    }

    get #base() {
        return Math.min(...this.#delays.map(({ delay }) => delay), ACKNOWLEDGED);
    }

    /** The rate at which bytes came, where that can be told: bits a second. */
    #measured(now) {
        const first = this.#row.find(({ at }) => now - at <= MEASURED_LEAST + ACKNOWLEDGED + 50) ?? this.#row[0];
        const last = this.#row.at(-1);
        const took = last.at - first.at;
        if (took < MEASURED_LEAST) return null;
        const rate = (last.bytes - first.bytes) * 8000 / took;
        return rate;
    }

    #judge(now) {
        const base = this.#base;
        const [before, last] = this.#delays.slice(-2);
        // A keyframe alone is late too, and over soon.
        const isLate = last !== undefined && this.#isFull && Math.min(before.delay, last.delay) - base > LATE;
        if (isLate) this.#lessen(now);
        else if (this.late(now) < LATE) this.#try(now);
        this.#isLate = isLate;
        this.#fit(now);
    }

    #lessen(now) {
        this.#heldUntil = now + this.#hold;
        const measured = this.#measured(now);
        if (measured === null) return;
        // Where it was empty in between, it seems to have had less room.
        this.#rooms = [...this.#rooms.filter(({ at }) => now - at < MEASURED_MOST), { at: now, room: measured }];
        const room = Math.max(...this.#rooms.map(({ room }) => room));
        const isNear = this.#known !== null && this.#target > NEAR[0] * this.#known;
        if (!this.#isLate && isNear) {
            const most = this.#whole > MUCH * this.#known ? HOLD_MUCH : HOLD_LITTLE;
            this.#hold = Math.min(this.#hold * 2, most);
            this.#heldUntil = now + this.#hold;
        }
        if (room * SHARE >= this.#target && this.#isLate) return;
        if (now - this.#cutAt < MEASURED_LEAST) return;
        this.#cutAt = now;
        this.#known = room;
        this.#target = Math.max(Math.min(this.#target, room * SHARE), this.#target * LEAST, FLOOR);
    }

    #try(now) {
        if (this.#target < this.#whole) this.#fullSince = null;
        else this.#fullSince ??= now;
        if (this.#fullSince !== null && now - this.#fullSince > FORGOTTEN) this.#forget();
        if (this.#target >= this.#whole || now < this.#heldUntil || now - this.#stepped < STEP) return;
        this.#stepped = now;
        const share = this.#known === null ? Infinity : this.#target / this.#known;
        const isNear = share > NEAR[0] && share < NEAR[1];
        this.#target = Math.min(this.#target * (isNear ? SLOW : FAST), this.#whole);
        if (share >= NEAR[1] && this.#known !== null) this.#forget();
    }

    #forget() {
        this.#known = null;
        this.#hold = HOLD;
    }

    /** The frame rate and the size that go with the bitrate. */
    #fit(now) {
        const share = this.#picture / this.#wish.bitrate;
        const step = this.#step;
        step.rate = fitting(RATES, step.rate, share);
        const size = Math.max(fitting(SIZES, step.size, share), this.#isTooMuch(now) ? step.size + 1 : 0);
        if (size === step.size || size >= SIZES.length) return;
        const isTooMuch = this.#target < this.#whole && this.#picture < this.#larger.bitrate && now - this.#larger.at < BELIEVED;
        const isKept = now - step.sizedAt < SIZE_KEPT || now < this.#heldUntil || isTooMuch;
        if (size > step.size || !isKept) Object.assign(step, { size, sizedAt: now });
    }

    /** Whether what is encoded does not get as small as it has to. */
    #isTooMuch(now) {
        while (this.#encoded.length > 0 && now - this.#encoded[0].at > TOO_LONG) this.#encoded.shift();
        // What was left out would have been as much.
        const bits = this.#encoded.reduce((sum, { bytes }) => sum + bytes * 8, 0) / this.#encoded.length;
        const bitrate = bits * this.choice.rate;
        if (!this.isLess || !(bitrate > TOO_MUCH * this.#picture)) {
            this.#tooMuchSince = null;
            return false;
        }
        this.#tooMuchSince ??= now;
        if (now - this.#tooMuchSince < TOO_LONG) return false;
        this.#tooMuchSince = null;
        this.#larger = { bitrate, at: now };
        return true;
    }
}

/** The step for a share, which is gone back from only where there is some more. */
function fitting(steps, step, share) {
    const down = steps.findIndex(([least]) => share >= least);
    if (down >= step) return down;
    const up = steps.findIndex(([least]) => share >= least * BACK);
    return Math.min(up < 0 ? step : up, step);
}
