// Hands on the samples of a graph of sound, where browsers have no processor for tracks.

class Samples extends AudioWorkletProcessor {
    #port = null;
    #size;
    #kept = [];
    #count = 0;
    #since = 0;

    constructor({ processorOptions }) {
        super();
        this.#size = processorOptions.samples;
        this.port.onmessage = ({ data }) => {
            this.#port = data.port;
        };
    }

    process([input]) {
        if (input.length === 0 || !this.#port) return true;
        if (this.#kept.length !== input.length) this.#begin(input.length);
        if (this.#count === 0) this.#since = currentFrame;
        input.forEach((samples, channel) => this.#kept[channel].set(samples, this.#count));
        this.#count += input[0].length;
        if (this.#count + input[0].length > this.#size) this.#give();
        return true;
    }

    #begin(channels) {
        this.#kept = Array.from({ length: channels }, () => new Float32Array(this.#size));
        this.#count = 0;
    }

    #give() {
        const channels = this.#kept.length;
        const samples = new Float32Array(channels * this.#count);
        this.#kept.forEach((kept, channel) => samples.set(kept.subarray(0, this.#count), channel * this.#count));
        const timestamp = Math.round(this.#since / sampleRate * 1e6);
        this.#port.postMessage({ samples, channels, rate: sampleRate, timestamp }, [samples.buffer]);
        this.#count = 0;
    }
}

registerProcessor('samples', Samples);
