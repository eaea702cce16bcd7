// Keeps playback near the end of what has come, and sees when it stands still.

/**
 * Seconds behind the end that are aimed at where all comes evenly. What comes unevenly makes it as much more, or what stalls make of
 * it, each of which tells that the way is less even than it was measured. Half a minute without one makes that as much less.
 */
const LEAST = 0.15;
const MOST = 2;
const PER_STALL = 0.1;
const FORGOTTEN = 30_000;
/** Beyond the aim, seconds until the rate is changed, until that is over, and until playback jumps. */
const SLACK = 0.06;
const NEAR = 0.01;
const FAR = 2;
/** The same at the beginning, after a break, and when somebody looks again: a jump disturbs nobody then. */
const FAR_AT_FIRST = 0.15;
/** Rates, which nobody hears: to gain on what is far, on what is less so, and to fall back. */
const FASTER = 1.1;
const FAST = 1.05;
const SLOW = 0.95;
/** Time between two looks, for which the backlog has to be over, and after a jump for which a stall says nothing: ms. */
const PERIOD = 100;
const SETTLED = 100;
const AFTER_JUMP = 1000;
/** Browsers that have run out of frames wait for more than they need, and for more each time. Not for longer than: ms. */
const WAITING = 200;
/** Picture or time that has not moved for so long, while frames come, will not move again: ms. */
const FROZEN = 2000;
/** So many frames have to come meanwhile: a still picture is one in seconds. */
const FRAMES = 10;

export class Edge {
    #video;
    #arrivals;
    #frozen;
    #penalty = 0;
    #timer;
    #jumped = performance.now();
    #waits = null;
    #isAtFirst = true;
    #breaks = 0;
    #pictures = { count: -1, since: 0, frames: 0 };
    #time = { at: -1, since: 0, frames: 0 };

    /** `frozen()` is called when playback stands still for good though frames arrive. */
    constructor(video, arrivals, frozen) {
        this.#video = video;
        this.#arrivals = arrivals;
        this.#frozen = frozen;
        video.preservesPitch = true;
        this.#timer = setInterval(() => this.#look(), PERIOD);
    }

    stop() {
        clearInterval(this.#timer);
        this.#video.playbackRate = 1;
    }

    /** Playback has run out of frames. */
    stalled() {
        const isMeasured = this.#arrivals.spread >= this.#penalty + PER_STALL;
        if (isMeasured || performance.now() - this.#jumped < AFTER_JUMP) return;
        this.#penalty = Math.min(this.#penalty + PER_STALL, MOST);
    }

    /** Somebody looks again. */
    seen() {
        this.#isAtFirst = true;
        this.#look();
    }

    /** Seconds behind the end that are aimed at. */
    get aim() {
        return Math.min(LEAST + Math.max(this.#penalty, this.#arrivals.spread), MOST);
    }

    /** Seconds behind what would be the end if all came as soon as what came soonest. */
    get behind() {
        return performance.now() / 1000 - this.#arrivals.least - this.#video.currentTime;
    }

    #look() {
        const video = this.#video;
        if (video.paused || video.buffered.length === 0) {
            this.#pictures.count = this.#time.at = -1;
            return;
        }
        this.#penalty = Math.max(this.#penalty - PER_STALL * PERIOD / FORGOTTEN, 0);
        this.#skip();
        this.#chase();
        const { totalVideoFrames } = video.getVideoPlaybackQuality();
        const { audio, video: pictures } = this.#arrivals;
        // For a page that nobody sees no pictures need be made.
        if (document.hidden) this.#pictures.count = -1;
        const stands = !document.hidden && this.#stands(this.#pictures, 'count', totalVideoFrames, pictures);
        if (stands || this.#stands(this.#time, 'at', video.currentTime, audio + pictures)) this.#frozen();
    }

    #jump(time) {
        this.#jumped = performance.now();
        this.#video.currentTime = time;
    }

    #chase() {
        const video = this.#video;
        if (!this.#arrivals.isKnown || video.seeking || video.readyState < video.HAVE_CURRENT_DATA) return;
        if (this.#breaks !== this.#arrivals.breaks) this.#resume();
        const aim = this.aim;
        const end = video.buffered.end(video.buffered.length - 1);
        const far = this.behind - aim;
        const isSettled = performance.now() - this.#arrivals.since > SETTLED;
        if (isSettled && far > (this.#isAtFirst ? FAR_AT_FIRST : FAR)) {
            this.#jump(Math.max(Math.min(video.currentTime + far, end - LEAST), video.currentTime));
        }
        if (isSettled) this.#isAtFirst = false;
        if (far > 2 * SLACK) video.playbackRate = FASTER;
        else if (far > SLACK) video.playbackRate = Math.max(video.playbackRate, FAST);
        else if (far < -SLACK) video.playbackRate = SLOW;
        else if (video.playbackRate > 1 ? far < NEAR : far > -NEAR) video.playbackRate = 1;
    }

    /** What has been interrupted goes on: a stall was due to that, not to the way. */
    #resume() {
        this.#breaks = this.#arrivals.breaks;
        this.#isAtFirst = true;
        this.#penalty = Math.max(this.#penalty - PER_STALL, 0);
    }

    /** Jumps over a hole that the browser does not bridge, and to the end of a wait. */
    #skip() {
        const video = this.#video;
        const now = performance.now();
        // A jump to where a hole has come meanwhile does not end.
        const isJumping = video.seeking && now - this.#jumped < AFTER_JUMP;
        if (isJumping || video.readyState >= video.HAVE_FUTURE_DATA) {
            this.#waits = null;
            return;
        }
        this.#waits ??= now;
        const isLong = video.played.length > 0 && now - this.#waits > WAITING;
        for (let i = 0; i < video.buffered.length; i += 1) {
            const [start, end] = [video.buffered.start(i), video.buffered.end(i)];
            if (start > video.currentTime) return this.#jump(start);
            if (isLong && end - video.currentTime > this.aim) return this.#jump(end - this.aim);
        }
    }

    /** Whether `value` has not changed for long, though enough has come. */
    #stands(seen, name, value, frames) {
        const now = performance.now();
        if (seen[name] !== value) {
            Object.assign(seen, { [name]: value, since: now, frames });
            return false;
        }
        return now - seen.since > FROZEN && frames - seen.frames > FRAMES;
    }
}
