// Opens a page that publishes in Chromium, goes live, and tells, as one JSON object a line, what the page says: four times a second
//
//   {"at":1764460800000,"state":"live","words":"Live","notice":"","numbers":{"Sent":"850 kbit/s",...},"places":{"archive":"live"},
//    "url":"http://...","faults":[]}
//
// and, when it presses the button by which a stream goes out, `{"pressed":1764460800000}`; both in ms of the clock on the wall.
// `faults` is what the console has of errors. Ends by being killed.
//
//   node publish.js URL --profile FOLDER [--shows clock|noise] [--large] [--wish 640x360,2500] [--then SECONDS=EXPRESSION ...]
//                       [--places NAME,...] [--axe] [--denied] [--embedded] [--screen] [--unshare SECONDS] [--away SECONDS]
//                       [--sleep SECONDS] [--busy SECONDS] [--without NAME]
//
// The camera and the microphone are Chromium's own false ones, or, with --shows, ones of ours: a picture of 640x360, or 1280x720 with
// --large, that is white for the first 300 ms of each second, with the time of its making in 32 cells along its bottom ninth as those
// have it that watch.js reads; on the left a tone in the first 100 ms of each second, on the right another one all the time. With
// `noise` the picture has so much in it that no encoder gets it small. --wish is chosen on the page. So long
// after the page is live, each --then is evaluated in it; `camera.resize(960, 540)` makes the picture of ours another size, and
// `camera.unplug()` ends it as a device that is unplugged. --places
// were chosen before. With --axe it tells, in each state, once, what axe finds in three widths, light and dark, as
// {"violations":[...],"in":"live"}. With --denied the browser gives no devices. With --embedded nothing is pressed. With --screen
// another tab is shared, on which things move and sound; after --unshare it is closed, which stops that as the browser's own button
// does. With --away another tab is in front as soon as the page is live, for so long; with --sleep the whole browser stands still for
// so long, as when a laptop is shut; with --busy the page's worker does nothing but count for so long. --without is what the browser
// lacks, a property of its window.

import { readFileSync, readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { AUTOPLAY, FLAGS, chromium, everyLook, executablePath, isTooWide, ownBrowser, violations } from './chromium.js';

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
        screen: { type: 'boolean' },
        unshare: { type: 'string' },
        away: { type: 'string' },
        sleep: { type: 'string' },
        busy: { type: 'string' },
        without: { type: 'string' },
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
        unplug() {
            const track = window.camera.track;
            track.stop();
            // Which it does not tell of where a page has stopped it.
            track.dispatchEvent(new Event('ended'));
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
        const pictures = video ? canvas.captureStream(30).getTracks() : [];
        [window.camera.track] = pictures.length > 0 ? pictures : [window.camera.track];
        return new MediaStream([...pictures, ...audio ? await tones() : []]);
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
        hidden: document.hidden,
    };
}

/** Runs in the tab that is shared. */
function move() {
    document.title = 'Shared';
    const [graph, shown] = [new AudioContext(), document.body.appendChild(document.createElement('h1'))];
    const source = new OscillatorNode(graph, { frequency: 640 });
    source.connect(graph.destination);
    source.start();
    setInterval(() => {
        shown.textContent = Date.now();
    }, 50);
}

const flags = [
    ...FLAGS, AUTOPLAY,
    '--host-resolver-rules=MAP insecure.test 127.0.0.1',
    '--use-fake-device-for-media-stream=fps=30',
    ...given.screen ? ['--auto-select-tab-capture-source-by-title=Shared'] : [],
    ...given.denied ? ['--deny-permission-prompts'] : given.screen ? [] : ['--use-fake-ui-for-media-stream'],
];

async function browser() {
    if (given.away) return ownBrowser(given.profile, flags);
    return chromium.launchPersistentContext(given.profile, {
        executablePath, headless: false, ignoreHTTPSErrors: true, viewport: { width: 1024, height: 768 }, locale: 'en-US', args: flags,
    });
}

const context = await browser();
const page = context.pages()[0] ?? await context.newPage();
const faults = [];
page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text());
});
page.on('pageerror', (error) => faults.push(String(error)));
if (given.shows) {
    await page.addInitScript(show, { isNoise: given.shows === 'noise', size: given.large ? [1280, 720] : [640, 360] });
}
if (given.without) await page.addInitScript((name) => delete window[name], given.without);
let shared = null;
if (given.screen) {
    // What the page would be asked for by the browser, where it shows no questions.
    await context.grantPermissions(['camera', 'microphone'], { origin: new URL(url).origin });
    shared = await context.newPage();
    await shared.evaluate(move);
    await page.bringToFront();
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

/** It may be loaded again while it is looked at. */
function whereItGoes(error) {
    if (!/context was destroyed/.test(String(error))) throw error;
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
    await page.click(given.screen && state === 'setup' ? '#other' : '#act');
}

/** Another tab is in front for some time, as people do with tabs. */
async function leave(seconds) {
    const other = await context.newPage();
    await other.bringToFront();
    setTimeout(() => page.bringToFront(), seconds * 1000);
}

/** All that the browser runs in stands still for some time. */
function sleep(seconds) {
    const parents = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
        try {
            return [[Number(pid), Number(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\)/s, '').split(' ')[2])]];
        } catch {
            // It has just ended.
            return [];
        }
    });
    const below = (pid) => parents.filter(([, parent]) => parent === pid).flatMap(([child]) => [child, ...below(child)]);
    const all = below(process.pid);
    const tell = (signal) => all.forEach((pid) => {
        try {
            process.kill(pid, signal);
        } catch {
            // Likewise.
        }
    });
    tell('SIGSTOP');
    setTimeout(() => tell('SIGCONT'), seconds * 1000);
}

/** The page's worker has no time for what it is there for. */
async function occupy(seconds) {
    await page.workers()[0].evaluate((until) => {
        while (Date.now() < until);
    }, Date.now() + seconds * 1000);
}

/** What happens once the page is live. */
function meet() {
    if (given.away) leave(given.away);
    if (given.sleep) setTimeout(() => sleep(given.sleep), 2000);
    if (given.busy) setTimeout(() => occupy(given.busy), 2000);
    if (given.unshare) setTimeout(() => shared.close(), given.unshare * 1000);
}

const pending = given.then.map((then) => then.match(/^([\d.]+)=(.*)$/s)).map(([, seconds, script]) => ({ seconds: Number(seconds), script }));
let liveSince = null;
let pressed = null;

try {
    for (;;) {
        const seen = await page.evaluate(look).catch(whereItGoes);
        if (!seen) continue;
        console.log(JSON.stringify({ ...seen, faults }));
        await examine(seen.state);
        if (seen.state !== pressed) {
            pressed = seen.state;
            await press(seen.state);
        }
        if (seen.state === 'live' && liveSince === null) {
            liveSince = Date.now();
            meet();
        }
        while (liveSince !== null && pending.length > 0 && Date.now() - liveSince >= pending[0].seconds * 1000) {
            await page.evaluate(pending.shift().script);
        }
        await new Promise((done) => setTimeout(done, 250));
    }
} catch (error) {
    // Asked to end, the driver closes the browser first.
    if (!/has been closed/.test(String(error))) throw error;
}
