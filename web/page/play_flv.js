// The second choice: FLV by mpegts.js, for what MP4 cannot carry for browsers, and for comparison.

import { connect } from './source.js';
import { Tags } from './tags.js';

/** A loader for mpegts.js that tells how its connection goes on. */
function loaderFor({ BaseLoader, LoaderErrors, LoaderStatus }, told) {
    return class extends BaseLoader {
        #close = () => {};
        #received = 0;
        #isOver = false;

        constructor() {
            super('streamengine');
        }

        open({ url }) {
            this._status = LoaderStatus.kConnecting;
            this.#close = connect(url, {
                opened: () => {
                    this._status = LoaderStatus.kBuffering;
                    told.opened();
                },
                came: (bytes) => this.#take(bytes),
                over: (how) => this.#end(how),
            });
        }

        abort() {
            this.#isOver = true;
            this._status = LoaderStatus.kComplete;
            this.#close();
        }

        destroy() {
            this.abort();
            super.destroy();
        }

        #take(bytes) {
            told.came(bytes);
            // A part of a buffer with more in it cannot be given on as a buffer.
            const chunk = bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer;
            const start = this.#received;
            this.#received += chunk.byteLength;
            try {
                this._onDataArrival?.(chunk, start, this.#received);
            } catch (error) {
                this.#close();
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

export class Player {
    arrivals = new Tags();
    #player;

    /** As that of `play_mp4.js`, with the library beside. */
    constructor(video, url, told, { mpegts }) {
        const loader = loaderFor(mpegts, {
            opened: told.opened,
            came: (bytes) => {
                told.arrived();
                this.arrivals.feed(bytes);
                const { buffered } = video;
                if (buffered.length > 0) this.arrivals.note(buffered.end(buffered.length - 1));
            },
            over: told.over,
        });
        this.#player = mpegts.createPlayer(
            { type: 'flv', isLive: true, url },
            {
                customLoader: loader,
                enableStashBuffer: false,
                lazyLoad: false,
                autoCleanupSourceBuffer: true,
                autoCleanupMaxBackwardDuration: 60,
                autoCleanupMinBackwardDuration: 20,
            },
        );
        this.#player.on(mpegts.Events.ERROR, (kind, _, info) => {
            if (kind === mpegts.ErrorTypes.MEDIA_ERROR) told.over(this.#failure(info?.msg ?? ''));
        });
        this.#player.attachMediaElement(video);
        this.#player.load();
    }

    destroy() {
        this.#player.destroy();
    }

    #failure(words) {
        if (!/not ?supported|unsupported/i.test(words)) return { kind: 'broken', words };
        const { codecs, audio, video } = this.arrivals;
        const isVideo = /video/i.test(words) || (video > 0 && !/audio/i.test(words));
        return { kind: 'unplayable', codec: { name: codecs[isVideo ? 'video' : 'audio'] ?? 'an unknown codec', isVideo } };
    }
}
