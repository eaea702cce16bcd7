// What is left where nothing else plays: HLS, by the browser itself or by hls.js. It is some seconds behind.

import { Arrivals } from './arrivals.js';
import { ask } from './source.js';

export class Player {
    /** Nothing is counted here: whoever plays keeps to the live edge by itself. */
    arrivals = new Arrivals();
    #video;
    #told;
    #hls = null;
    #leaving = new AbortController();

    /** As that of `play_mp4.js`, with the library beside, where there is one. */
    constructor(video, url, told, { hls }) {
        this.#video = video;
        this.#told = told;
        const { signal } = this.#leaving;
        video.addEventListener('ended', () => told.over({ kind: 'ended' }), { signal });
        for (const name of ['progress', 'timeupdate']) video.addEventListener(name, () => told.arrived(), { signal });
        this.#open(url, hls);
    }

    destroy() {
        this.#leaving.abort();
        this.#hls?.destroy();
        this.#video.removeAttribute('src');
        this.#video.load();
    }

    /** A player in between would not tell what a refusal says. */
    async #open(url, Hls) {
        const { signal } = this.#leaving;
        const reply = await ask(url, signal).catch(() => ({ refused: { kind: 'lost' } }));
        if (signal.aborted) return;
        if (reply.refused) return this.#told.over(reply.refused);
        this.#told.opened();
        if (Hls?.isSupported()) this.#play(url, Hls);
        else this.#video.src = url;
    }

    #play(url, Hls) {
        this.#hls = new Hls({ maxLiveSyncPlaybackRate: 1.1, backBufferLength: 10 });
        this.#hls.on(Hls.Events.ERROR, (_, { fatal, type, details, response }) => {
            if (!fatal) return;
            if (response?.code >= 400) this.#told.over({ kind: 'refused', status: response.code, words: response.text });
            else this.#told.over({ kind: type === Hls.ErrorTypes.NETWORK_ERROR ? 'lost' : 'broken', words: details });
        });
        this.#hls.loadSource(url);
        this.#hls.attachMedia(this.#video);
    }
}
