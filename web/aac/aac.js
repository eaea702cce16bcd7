// AAC for browsers that have no encoder of it: FFmpeg's, in WebAssembly. It is a part of the pages only where `STREAMENGINE_WEB_AAC=1` is
// in the environment of the build, as it is several times as large as all others together, and under other licences.

import { registerAacEncoder } from '@mediabunny/aac-encoder';
import { AudioSample, AudioSampleSource, Mp4OutputFormat, NullTarget, Output } from 'mediabunny';

/** Samples of silence that the encoder puts before the first one. */
const PRIMING = 1024;

registerAacEncoder();

/**
 * An encoder for `sampleRate`, `numberOfChannels` and `bitrate`; tells `record(bytes)`, how it is to be decoded, and
 * `frame(timestamp, bytes)`, in ms, and `failed(error)`.
 */
export async function aacEncoder({ sampleRate, numberOfChannels, bitrate }, told) {
    const source = new AudioSampleSource({
        codec: 'aac',
        bitrate,
        onEncodedPacket: ({ data, timestamp }, meta) => {
            const record = meta?.decoderConfig?.description;
            if (record) told.record(record);
            told.frame((timestamp - PRIMING / sampleRate) * 1000, data);
        },
    });
    // Nobody reads the file that these become a part of, and in fragments it does not grow.
    const output = new Output({ format: new Mp4OutputFormat({ fastStart: 'fragmented' }), target: new NullTarget() });
    output.addAudioTrack(source);
    await output.start();
    let last = Promise.resolve();
    const add = async (sample) => {
        try {
            await source.add(sample);
        } catch (error) {
            told.failed(error);
        } finally {
            sample.close();
        }
    };
    return {
        encode(data) {
            const { numberOfFrames, timestamp } = data;
            const samples = new Float32Array(numberOfFrames * numberOfChannels);
            for (let planeIndex = 0; planeIndex < numberOfChannels; planeIndex += 1) {
                data.copyTo(samples.subarray(planeIndex * numberOfFrames), { planeIndex, format: 'f32-planar' });
            }
            const sample = new AudioSample({ data: samples, format: 'f32-planar', numberOfChannels, sampleRate, timestamp: timestamp / 1e6 });
            last = last.then(() => add(sample));
        },
        close: () => output.cancel().catch(() => {}),
    };
}
