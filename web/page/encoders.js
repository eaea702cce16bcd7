// Encoders for a live stream: pictures as H.264, sound as AAC or, where that cannot be had, Opus.

import { SampleClock } from './clock.js';
import { aacConfiguration, opusHead, opusRecord } from './muxer.js';

/** A keyframe so often, as browsers make none by themselves: ms. */
const KEYFRAMES = 2000;
/** Frames that wait for the encoder; beyond, frames are left out. */
const WAITING = 4;
/** Macroblocks a second, and the level of H.264 that has room for them (table A-1). */
const LEVELS = [[108_000, '1f'], [216_000, '20'], [245_760, '28'], [522_240, '2a'], [983_040, '33']];
/** An encoder that fails more often in so long will go on to do so. */
const FAILURES = 3;
const FAILURES_IN = 10_000;
/** Bits a second of sound, for each channel. */
const SOUND = 64_000;

/** AAC by WebAssembly, where this build has it: only then its name has a hash. */
const AAC = './aac.js';
const HAS_AAC = /-[0-9a-f]{16}\.js$/.test(AAC);

/** The size of pictures that fits into the one that is wished for, whichever way it is turned; even, as H.264 wants it. */
export function fitted(width, height, wish, share = 1) {
    const [long, short] = [Math.max(wish.width, wish.height), Math.min(wish.width, wish.height)];
    const box = width >= height ? [long, short] : [short, long];
    const scale = Math.min(1, box[0] / width, box[1] / height) * share;
    return [width, height].map((side) => Math.max(Math.round(side * scale / 2) * 2, 16));
}

/** What an encoder of H.264 is asked for. */
function pictureConfiguration([width, height], { bitrate, rate }, bitrateMode) {
    const blocks = Math.ceil(width / 16) * Math.ceil(height / 16) * rate;
    const [, level] = LEVELS.find(([most]) => blocks <= most) ?? LEVELS.at(-1);
    return {
        codec: `avc1.42e0${level}`, width, height, bitrate, framerate: rate, bitrateMode, latencyMode: 'realtime', avc: { format: 'avc' },
    };
}

/** Whether this browser encodes pictures as we need them. */
export async function encodesPictures() {
    if (!('VideoEncoder' in globalThis)) return false;
    const asked = pictureConfiguration([640, 360], { bitrate: 1_000_000, rate: 30 }, 'variable');
    return (await VideoEncoder.isConfigSupported(asked).catch(() => null))?.supported === true;
}

/** Pictures. It tells `record(bytes)`, how they are to be decoded, `frame({ timestamp, isKey, bytes })`, and `failed(error)` for good. */
export class PictureEncoder {
    #wish;
    #choice;
    #told;
    #encoder = null;
    #bitrateMode = 'constant';
    #asked = '';
    #size = null;
    #keyAt = -Infinity;
    #failures = [];

    /** `wish` has the width and height at most; `choice` bits and frames a second, and a share of the size. */
    constructor(wish, choice, told) {
        this.#wish = wish;
        this.#choice = choice;
        this.#told = told;
    }

    /** Width and height of what is encoded; null before the first frame. */
    get size() {
        return this.#size;
    }

    /** Something else is to be encoded from the next frame on. */
    choose(choice) {
        this.#choice = choice;
    }

    /** The next frame is to be a keyframe. */
    demandKeyframe() {
        this.#keyAt = -Infinity;
    }

    /** Encodes a frame, which is closed then; whether it was not left out. */
    encode(frame, now) {
        try {
            if (this.#encoder?.encodeQueueSize > WAITING) return false;
            this.#configure(frame);
            const isKey = now - this.#keyAt >= KEYFRAMES;
            if (isKey) this.#keyAt = now;
            this.#encoder.encode(frame, { keyFrame: isKey });
            return true;
        } catch (error) {
            this.#fail(error, now);
            return false;
        } finally {
            frame.close();
        }
    }

    close() {
        if (this.#encoder && this.#encoder.state !== 'closed') this.#encoder.close();
        this.#encoder = null;
    }

    #configure(frame) {
        if (!this.#encoder) this.#begin();
        const size = fitted(frame.displayWidth, frame.displayHeight, this.#wish, this.#choice.size);
        const configuration = pictureConfiguration(size, this.#choice, this.#bitrateMode);
        const asked = JSON.stringify(configuration);
        if (asked === this.#asked) return;
        this.#encoder.configure(configuration);
        this.#asked = asked;
        // A decoder begins anew with another size.
        if (String(size) !== String(this.#size)) this.demandKeyframe();
        this.#size = size;
    }

    #begin() {
        this.#asked = '';
        this.demandKeyframe();
        this.#encoder = new VideoEncoder({
            output: (chunk, { decoderConfig } = {}) => {
                if (decoderConfig?.description) this.#told.record(bytesOf(decoderConfig.description));
                this.#told.frame({ timestamp: chunk.timestamp / 1000, isKey: chunk.type === 'key', bytes: copied(chunk) });
            },
            error: (error) => this.#fail(error, performance.now()),
        });
    }

    #fail(error, now) {
        this.close();
        this.#failures = [...this.#failures.filter((at) => now - at < FAILURES_IN), now];
        // Not all have it.
        this.#bitrateMode = 'variable';
        if (this.#failures.length > FAILURES) this.#told.failed(error);
    }
}

/**
 * Sound. It tells `record(codec, bytes)` and `frame({ codec, made, bytes })`, and `failed(error)` for good. Encoders count their time by
 * samples from the first one on, whatever has been missing since; so that is what they get, and what they give gets the time back at
 * which its samples were made.
 */
export class SoundEncoder {
    #told;
    #encoder = null;
    #format = '';
    #waiting = [];
    #isReady = false;
    #clock = new SampleClock();
    /** What it is encoded by: `aac`, `aac-wasm` or `opus`. */
    way = null;

    constructor(told) {
        this.#told = told;
    }

    /** Bits a second. */
    static bitrate(channels = 2) {
        return SOUND * channels;
    }

    /** Encodes a piece that was made at `made`; it is closed then. */
    encode(data, made) {
        const format = `${data.sampleRate} ${data.numberOfChannels}`;
        if (format !== this.#format) this.#begin(format, data);
        if (!this.#isReady) {
            // A second of it at most, while it is looked what there is.
            this.#waiting.push([data, made]);
            if (this.#waiting.length > 100) this.#waiting.shift()[0].close();
            return;
        }
        this.#give(data, made);
    }

    close() {
        this.#format = '';
        this.#end();
    }

    #end() {
        this.#isReady = false;
        this.#encoder?.close();
        this.#encoder = null;
        this.#clock = new SampleClock();
        for (const [data] of this.#waiting.splice(0)) data.close();
    }

    #give(data, made) {
        try {
            const counted = this.#clock.count(data, made);
            const piece = restamped(data, Math.round(counted * 1000));
            this.#encoder.encode(piece);
            piece.close();
        } catch (error) {
            this.#told.failed(error);
        } finally {
            data.close();
        }
    }

    /** What is encoded, at the time that its samples were captured. */
    #frame({ codec, timestamp, bytes }) {
        this.#told.frame({ codec, made: this.#clock.made(timestamp), bytes });
    }

    async #begin(format, { sampleRate, numberOfChannels }) {
        this.#end();
        this.#format = format;
        const asked = { sampleRate, numberOfChannels, bitrate: SoundEncoder.bitrate(numberOfChannels) };
        const made = await soundEncoder(asked, {
            record: (codec, bytes) => this.#format === format && this.#told.record(codec, bytes),
            frame: (frame) => this.#format === format && this.#frame(frame),
            failed: (error) => this.#format === format && this.#told.failed(error),
        }).catch((error) => this.#told.failed(error));
        if (this.#format !== format || !made) return made?.close();
        this.way = made.way;
        this.#encoder = made;
        this.#isReady = true;
        for (const [data, made] of this.#waiting.splice(0)) this.#give(data, made);
    }
}

/** The first of the ways that this browser has. */
async function soundEncoder(asked, told) {
    if (await encodes({ codec: 'mp4a.40.2', ...asked, aac: { format: 'aac' } })) {
        return native('aac', { codec: 'mp4a.40.2', ...asked, aac: { format: 'aac' } }, aacConfiguration, told);
    }
    if (HAS_AAC && aacConfiguration(asked.numberOfChannels, asked.sampleRate)) {
        const { aacEncoder } = await import('./aac.js').catch(() => ({}));
        if (aacEncoder) {
            const made = await aacEncoder(asked, {
                record: (bytes) => told.record('aac', bytes),
                frame: (timestamp, bytes) => told.frame({ codec: 'aac', timestamp, bytes }),
                failed: told.failed,
            });
            return { way: 'aac-wasm', encode: (data) => made.encode(data), close: () => made.close() };
        }
    }
    if (await encodes({ codec: 'opus', ...asked })) return native('opus', { codec: 'opus', ...asked }, opusHead, told);
    throw new TypeError('this browser encodes no sound');
}

async function encodes(asked) {
    if (!('AudioEncoder' in globalThis)) return false;
    return (await AudioEncoder.isConfigSupported(asked).catch(() => null))?.supported === true;
}

/** An encoder of the browser's own; `record` makes a configuration where that gives none. */
function native(codec, configuration, record, told) {
    let hasTold = false;
    const encoder = new AudioEncoder({
        output: (chunk, { decoderConfig } = {}) => {
            if (decoderConfig?.description || !hasTold) {
                hasTold = true;
                const { numberOfChannels, sampleRate } = decoderConfig ?? configuration;
                const given = decoderConfig?.description;
                const bytes = given ? bytesOf(given) : record(numberOfChannels, sampleRate);
                told.record(codec, codec === 'opus' ? opusRecord(bytes) : bytes);
            }
            told.frame({ codec, timestamp: chunk.timestamp / 1000, bytes: copied(chunk) });
        },
        error: told.failed,
    });
    encoder.configure(configuration);
    return { way: codec, encode: (data) => encoder.encode(data), close: () => encoder.state !== 'closed' && encoder.close() };
}

/** The same samples at another time. */
function restamped(data, timestamp) {
    const { sampleRate, numberOfFrames, numberOfChannels } = data;
    const samples = new Float32Array(numberOfFrames * numberOfChannels);
    for (let planeIndex = 0; planeIndex < numberOfChannels; planeIndex += 1) {
        data.copyTo(samples.subarray(planeIndex * numberOfFrames), { planeIndex, format: 'f32-planar' });
    }
    return new AudioData({ format: 'f32-planar', sampleRate, numberOfFrames, numberOfChannels, timestamp, data: samples });
}

function copied(chunk) {
    const bytes = new Uint8Array(chunk.byteLength);
    chunk.copyTo(bytes);
    return bytes;
}

function bytesOf(source) {
    return ArrayBuffer.isView(source) ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength) : new Uint8Array(source);
}
