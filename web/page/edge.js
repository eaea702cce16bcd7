// Keeps playback near the end of what has come, and sees when it stands still.

/**
 * Seconds behind the end that are aimed at; a stall makes it more, as the way is not as even as it was thought to be, and a minute
 * without one makes it as much less.
 */
const LEAST = 0.2;
const MOST = 2;
const PER_STALL = 0.2;
const FORGOTTEN = 60_000;
/** Beyond the aim, seconds until playback is sped up, and until it jumps. */
const SLACK = 0.2;
const FAR = 5;
/** Time between two looks, and after a jump of ours for which a stall says nothing: ms. */
const PERIOD = 200;
const AFTER_JUMP = 500;
/** Picture or time that has not moved for so long, while frames come, will not move again: ms. */
const FROZEN = 2000;
/** So many frames have to come meanwhile: a still picture is one in seconds. */
const FRAMES = 10;

export class Edge {
    #video;
    #tags;
    #frozen;
    #aim = LEAST;
    #timer;
    #jumped = performance.now();
    #pictures = { count: -1, since: 0, tags: 0 };
    #time = { at: -1, since: 0, tags: 0 };

    /** `frozen()` is called when playback stands still for good though frames of `tags` come. */
    constructor(video, tags, frozen) {
        this.#video = video;
        this.#tags = tags;
        this.#frozen = frozen;
        this.#timer = setInterval(() => this.#look(), PERIOD);
    }

    stop() {
        clearInterval(this.#timer);
        this.#video.playbackRate = 1;
    }

    /** Playback has run out of frames. */
    stalled() {
        if (performance.now() - this.#jumped < AFTER_JUMP) return;
        this.#aim = Math.min(this.#aim + PER_STALL, MOST);
    }

    #look() {
        const video = this.#video;
        if (video.paused || video.buffered.length === 0) {
            this.#pictures.count = this.#time.at = -1;
            return;
        }
        this.#chase();
        const { totalVideoFrames } = video.getVideoPlaybackQuality();
        const { audio, video: pictures } = this.#tags;
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
        this.#aim = Math.max(this.#aim - PER_STALL * PERIOD / FORGOTTEN, LEAST);
        const end = video.buffered.end(video.buffered.length - 1);
        const behind = end - video.currentTime - this.#aim;
        if (behind > FAR) this.#jump(end - this.#aim);
        else if (behind > SLACK) video.playbackRate = behind > 1 ? 1.5 : 1.2;
        else if (behind <= 0) video.playbackRate = 1;
        // Over a hole that the browser does not bridge.
        if (video.readyState < video.HAVE_FUTURE_DATA) {
            for (let i = 0; i < video.buffered.length; i += 1) {
                const start = video.buffered.start(i);
                if (start > video.currentTime) {
                    this.#jump(start);
                    break;
                }
            }
        }
    }

    /** Whether `value` has not changed for long, though enough has come. */
    #stands(seen, name, value, tags) {
        const now = performance.now();
        if (seen[name] !== value) {
            Object.assign(seen, { [name]: value, since: now, tags });
            return false;
        }
        return now - seen.since > FROZEN && tags - seen.tags > FRAMES;
    }
}
