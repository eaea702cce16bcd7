// Opens a page that publishes in Chromium, goes live, and tells, as one JSON object a line, what the page says: four times a second
//
//   {"at":1764460800000,"state":"live","words":"Live","notice":"","numbers":{"Sent":"850 kbit/s",...},"places":{"archive":"live"},
//    "url":"http://...","faults":[]}
//
// and, when it presses the button by which a stream goes out, `{"pressed":1764460800000}`; both in ms of the clock on the wall.
// `faults` is what the console has of errors. Ends by being killed.
//
//   node publish.js URL --profile FOLDER [--shows clock|noise] [--large] [--wish 640x360,2500] [--then SECONDS=EXPRESSION ...]
//                       [--places NAME,...] [--axe] [--denied] [--embedded]
//
// The camera and the microphone are Chromium's own false ones, or, with --shows, ones of ours: a picture of 640x360, or 1280x720 with
// --large, that is white for the first 300 ms of each second, with the time of its making in 32 cells along its bottom ninth as those
// have it that watch.js reads; on the left a tone in the first 100 ms of each second, on the right another one all the time. With
// `noise` the picture has so much in it that no encoder gets it small. --wish is chosen on the page. So long
// after the page is live, each --then is evaluated in it; `camera.resize(960, 540)` makes the picture of ours another size. --places
// were chosen before. With --axe it tells, in each state, once, what axe finds in three widths, light and dark, as
// {"violations":[...],"in":"live"}. With --denied the browser gives no devices. With --embedded nothing is pressed.

import { parseArgs } from 'node:util';
import { AUTOPLAY, FLAGS, chromium, everyLook, executablePath, isTooWide, violations } from './chromium.js';

const { values: given, positionals: [url] } = parseArgs({
    allowPositionals: true,
    options: {
        profile: { type: 'string' },
        shows: { type: 'string' },
        large: { type: 'boolean' },
        wish: { type: 'string' },
        then: { type: 'string', multiple: true, default: [] },
        places: { type: 'string' },
        axe: { type: 'boolean' },
        denied: { type: 'boolean' },
        embedded: { type: 'boolean' },
    },
});

/** Runs in the page, before its own scripts: devices of ours. */
function show({ isNoise, size }) {
    const devices = navigator.mediaDevices;
    if (!devices) return;
    const canvas = document.createElement('canvas');
    const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
    window.camera = {
        resize(width, height) {
            [canvas.width, canvas.height] = [width, height];
        },
    };
    window.camera.resize(...size);

    function draw() {
        const { width, height } = canvas;
        const now = Date.now();
        context.fillStyle = now % 1000 < 300 ? '#fff' : '#000';
        context.fillRect(0, 0, width, height * 8 / 9);
        if (isNoise) {
            const noise = context.createImageData(160, 120);
            const values = new Uint32Array(noise.data.buffer);
            for (let i = 0; i < values.length; i += 1) values[i] = Math.random() * 2 ** 32;
            context.putImageData(noise, width - 160, 0);
        }
        for (let cell = 0; cell < 32; cell += 1) {
            context.fillStyle = Math.floor(now % 2 ** 32 / 2 ** (31 - cell)) % 2 ? '#fff' : '#000';
            context.fillRect(cell * width / 32, height * 8 / 9, width / 32 + 1, height / 9);
        }
    }

    async function tones() {
        const graph = new AudioContext();
        await graph.resume();
        const [sides, out] = [graph.createChannelMerger(2), graph.createMediaStreamDestination()];
        const [gate] = [[1000, 0], [440, 0.25]].map(([frequency, gain], side) => {
            const [source, loud] = [new OscillatorNode(graph, { frequency }), new GainNode(graph, { gain })];
            source.connect(loud).connect(sides, 0, side);
            source.start();
            return loud;
        });
        sides.connect(out);
        let last = 0;
        setInterval(() => {
            const at = graph.currentTime + (1000 - Date.now() % 1000) / 1000;
            if (at - last < 0.5) return;
            last = at;
            gate.gain.setValueAtTime(0.5, at);
            gate.gain.setValueAtTime(0, at + 0.1);
        }, 200);
        return out.stream.getTracks();
    }

    devices.getUserMedia = async ({ video, audio }) => {
        if (video) {
            draw();
            setInterval(draw, 1000 / 30);
        }
        return new MediaStream([...video ? canvas.captureStream(30).getTracks() : [], ...audio ? await tones() : []]);
    };
}

/** Runs in the page: what it says now. */
function look() {
    const text = (selector) => document.querySelector(selector)?.textContent ?? '';
    const pairs = (selector, name, value) => Object.fromEntries(
        [...document.querySelectorAll(selector)].map((line) => [line.querySelector(name).textContent, line.querySelector(value).textContent]),
    );
    return {
        at: Date.now(),
        state: document.querySelector('main')?.dataset.state,
        words: text('#words'),
        notice: text('#notice'),
        numbers: pairs('#numbers > div', 'dt', 'dd'),
        places: pairs('#places > label', 'span', 'small'),
        footer: text('footer'),
        url: location.href,
    };
}

const context = await chromium.launchPersistentContext(given.profile, {
    executablePath,
    headless: false,
    ignoreHTTPSErrors: true,
    viewport: { width: 1024, height: 768 },
    locale: 'en-US',
    args: [
        ...FLAGS, AUTOPLAY,
        '--host-resolver-rules=MAP insecure.test 127.0.0.1',
        '--use-fake-device-for-media-stream=fps=30',
        ...given.denied ? ['--deny-permission-prompts'] : ['--use-fake-ui-for-media-stream'],
    ],
});
const page = context.pages()[0] ?? await context.newPage();
const faults = [];
page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text());
});
page.on('pageerror', (error) => faults.push(String(error)));
if (given.shows) {
    await page.addInitScript(show, { isNoise: given.shows === 'noise', size: given.large ? [1280, 720] : [640, 360] });
}
if (given.places) {
    await page.addInitScript((wished) => {
        sessionStorage.setItem('streamengine-destinations', JSON.stringify({ offered: wished, wished }));
    }, given.places.split(','));
}
await page.goto(url);

const examined = new Set();

async function examine(state) {
    if (!given.axe || examined.has(state) || state === 'connecting' || state === 'asking') return;
    examined.add(state);
    const found = [];
    for await (const { width } of everyLook(page)) {
        found.push(...await violations(page));
        if (await isTooWide(page)) found.push(`wider than the window of ${width}`);
    }
    console.log(JSON.stringify({ violations: found, in: state }));
}

/** What is pressed in a state. */
async function press(state) {
    if (given.embedded || !['setup', 'preview'].includes(state)) return;
    if (state === 'preview') {
        if (given.wish) {
            const [size, bitrate] = given.wish.split(',');
            await page.selectOption('#size', size);
            await page.fill('#bitrate', bitrate);
        }
        console.log(JSON.stringify({ pressed: Date.now() }));
    }
    await page.click('#act');
}

const pending = given.then.map((then) => then.match(/^([\d.]+)=(.*)$/s)).map(([, seconds, script]) => ({ seconds: Number(seconds), script }));
let liveSince = null;
let pressed = null;

try {
    for (;;) {
        const seen = await page.evaluate(look);
        console.log(JSON.stringify({ ...seen, faults }));
        await examine(seen.state);
        if (seen.state !== pressed) {
            pressed = seen.state;
            await press(seen.state);
        }
        if (seen.state === 'live') liveSince ??= Date.now();
        while (liveSince !== null && pending.length > 0 && Date.now() - liveSince >= pending[0].seconds * 1000) {
            await page.evaluate(pending.shift().script);
        }
        await new Promise((done) => setTimeout(done, 250));
    }
} catch (error) {
    // Asked to end, the driver closes the browser first.
    if (!/has been closed/.test(String(error))) throw error;
}
