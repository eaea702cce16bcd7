// What cameras, microphones and screens give, on its way to the worker that encodes it.

/** Samples that are handed over at once. */
const SAMPLES = 1024;
/** Pieces of sound, of 10 ms in Chromium, that wait for a worker which is busy: of the 10 that wait where nothing is said, some are lost. */
const WAITING = 100;

/**
 * A track as the worker reads it: what it is `given`, what of that is to `transfer`, and `end()`. Where browsers have no processor for
 * tracks, pictures are taken from a video element, and samples from a graph of sound.
 */
export function sourceOf(kind, track) {
    const isScreen = track.getSettings().displaySurface !== undefined;
    if ('MediaStreamTrackProcessor' in globalThis) {
        // Of pictures, those that are late are better lost.
        const { readable } = new MediaStreamTrackProcessor({ track, ...kind === 'audio' && { maxBufferSize: WAITING } });
        return { given: { kind, readable, isScreen }, transfer: [readable], end() {} };
    }
    const { port1, port2 } = new MessageChannel();
    const end = kind === 'video' ? takePictures(track, port1) : takeSamples(track, port1);
    return { given: { kind, port: port2, isScreen }, transfer: [port2], end };
}

function takePictures(track, port) {
    const video = Object.assign(document.createElement('video'), { muted: true, playsInline: true, srcObject: new MediaStream([track]) });
    let isOver = false;
    const presented = (now) => {
        if (isOver) return;
        // Where the page is hidden, and at the end, there is none.
        if (video.readyState >= video.HAVE_CURRENT_DATA && video.videoWidth > 0) {
            const frame = new VideoFrame(video, { timestamp: Math.round(now * 1000) });
            port.postMessage(frame, [frame]);
        }
        video.requestVideoFrameCallback(presented);
    };
    video.requestVideoFrameCallback(presented);
    video.play().catch(() => {});
    return () => {
        isOver = true;
        video.srcObject = null;
        port.close();
    };
}

function takeSamples(track, port) {
    const context = new AudioContext({ latencyHint: 'interactive' });
    const begin = async () => {
        await context.audioWorklet.addModule(new URL('./samples_worklet.js', import.meta.url));
        const options = { numberOfInputs: 1, numberOfOutputs: 0, channelCount: 2, processorOptions: { samples: SAMPLES } };
        const node = new AudioWorkletNode(context, 'samples', options);
        node.port.postMessage({ port }, [port]);
        context.createMediaStreamSource(new MediaStream([track])).connect(node);
        await context.resume();
    };
    begin().catch(() => port.close());
    return () => context.close().catch(() => {});
}

/** How loud a track is, again and again as `told(level)`, from 0 to 1; gives what ends that. */
export function follow(track, told) {
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
        analyser.getFloatTimeDomainData(samples);
        const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
        // As ears have it: from 60 dB below the loudest on.
        told(Math.min(Math.max(1 + 10 * Math.log10(power + 1e-9) / 60, 0), 1));
    }, 100);
    context.resume().catch(() => {});
    return () => {
        clearInterval(timer);
        context.close().catch(() => {});
    };
}

/** A track with the sound of two, such as a microphone and a screen; `end()` lets go of it. */
export function mixed(tracks) {
    const context = new AudioContext();
    const out = context.createMediaStreamDestination();
    for (const track of tracks) context.createMediaStreamSource(new MediaStream([track])).connect(out);
    context.resume().catch(() => {});
    return { track: out.stream.getAudioTracks()[0], end: () => context.close().catch(() => {}) };
}
