// Opens a page in Chromium and tells, as one JSON object a line, what is to be seen of its video: four times a second
//
//   {"at":1234,"state":"playing","words":"Live (H.264, AAC)","frames":31,"dropped":0,"time":1.02,"width":640,"height":360,
//    "first":215,"started":231,"delays":[254,251,...],"ends":[120,87,...],"loads":1,"source":"blob:...","player":"mse","hidden":false,
//    "faults":[]}
//
// `at`, `first` (the first picture; null before) and `started` (when its time went on, to 50 ms; null before) are ms since the
// page was asked for, `frames` those that were decoded since then, `delays` ms between the making of a picture and its showing,
// as the cells along its bottom say that, `ends` how old the end of what was loaded was at these moments, `loads` how often the
// video has got something to play, `hidden` whether nobody can see the page, `faults` what the console has of errors. Ends by
// being killed.
//
//   node watch.js URL --profile FOLDER [--axe] [--shots FOLDER] [--until STATE] [--untouched] [--press STATE] [--away SECONDS] [--camera] [--since MS] [--warm URL]
//
// With --untouched the browser lets a page make sound only once somebody has touched it, as browsers do; with --press the page's
// button is pressed once, when the page is in that state. With --camera it gets Chromium's false camera and microphone. With --away another tab is in front of it for so long, once it has been
// playing for some seconds.
// With --warm it has played another URL before, until its time went on: the browser's own start is over then.
// With --since the cells count from that time, ms since 1970.
// With --axe it tells once, when the page is in that state, what axe finds in three widths, light and dark, as
// {"violations":[...]}; with --shots it takes pictures of them. Pages that tell no state are in that of a `picture`, once there is
// one, and of a `page` before.

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { AUTOPLAY, FLAGS, chromium, everyLook, executablePath, isTooWide, ownBrowser, violations } from './chromium.js';

const { values: given, positionals: [url] } = parseArgs({
    allowPositionals: true,
    options: {
        profile: { type: 'string' },
        shots: { type: 'string' },
        axe: { type: 'boolean' },
        until: { type: 'string', default: 'playing' },
        untouched: { type: 'boolean' },
        press: { type: 'string' },
        away: { type: 'string' },
        camera: { type: 'boolean' },
        since: { type: 'string', default: '0' },
        warm: { type: 'string' },
    },
});

/** Runs in the page, before its own scripts. */
function observe(since) {
    const seen = { first: null, started: null, frames: 0, before: 0, last: 0, dropped: 0, loads: 0, delays: [], ends: [] };
    window.seen = seen;
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [320, 9];
    const context = canvas.getContext('2d', { willReadFrequently: true });

    /** The time in the 32 cells along the bottom ninth of a picture; undefined where there are none. */
    function cells(video) {
        const { videoWidth: width, videoHeight: height } = video;
        context.drawImage(video, 0, height * 8 / 9, width, height / 9, 0, 0, 320, 9);
        const { data } = context.getImageData(0, 4, 320, 1);
        let time = 0;
        for (let cell = 0; cell < 32; cell += 1) {
            const light = data[(cell * 10 + 5) * 4];
            if (light > 80 && light < 175) return undefined;
            time = time * 2 + (light >= 175 ? 1 : 0);
        }
        return time;
    }

    function follow(video) {
        const presented = (_, { mediaTime }) => {
            seen.first ??= performance.now();
            // Drawing the picture takes time, which is not its own.
            const now = Date.now() - since;
            const time = cells(video);
            const delay = time === undefined ? NaN : (now % 2 ** 32 - time + 2 ** 32) % 2 ** 32;
            // Pictures without a time have some.
            if (delay < 60_000) {
                seen.delays.push(Math.round(delay));
                const { buffered } = video;
                const ahead = buffered.length ? buffered.end(buffered.length - 1) - mediaTime : 0;
                seen.ends.push(Math.max(0, Math.round(delay - ahead * 1000)));
            }
            video.requestVideoFrameCallback(presented);
        };
        video.requestVideoFrameCallback(presented);
        video.addEventListener('loadstart', () => seen.loads += video.currentSrc ? 1 : 0);
        // A player that begins anew counts anew.
        setInterval(() => {
            const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality();
            if (totalVideoFrames < seen.last) seen.before += seen.last;
            seen.last = totalVideoFrames;
            seen.frames = seen.before + totalVideoFrames;
            seen.dropped = droppedVideoFrames;
            const plays = !video.paused && !video.seeking && video.readyState >= video.HAVE_FUTURE_DATA;
            if (plays && video.currentTime > 0) seen.started ??= performance.now();
        }, 50);
    }

    document.addEventListener('DOMContentLoaded', () => {
        const video = document.querySelector('video');
        if (video) follow(video);
    });
}

/** Runs in the page: what is seen now. */
function look() {
    const video = document.querySelector('video');
    const { first, started, frames, dropped, loads, delays, ends } = window.seen;
    return {
        at: performance.now(),
        state: document.querySelector('main')?.dataset.state,
        words: document.querySelector('#words')?.textContent,
        title: document.title,
        muted: video?.muted,
        frames,
        dropped,
        first,
        started,
        delays: delays.splice(0),
        ends: ends.splice(0),
        loads,
        source: video?.currentSrc,
        player: document.querySelector('main')?.dataset.player,
        hidden: document.hidden,
        time: video?.currentTime,
        width: video?.videoWidth,
        height: video?.videoHeight,
    };
}

const CAMERA = ['--use-fake-device-for-media-stream=fps=30', '--use-fake-ui-for-media-stream'];
const flags = [...FLAGS, ...given.untouched ? [] : [AUTOPLAY], ...given.camera ? CAMERA : []];

async function browser() {
    if (given.away) return ownBrowser(given.profile, flags);
    return chromium.launchPersistentContext(given.profile, {
        executablePath, headless: false, ignoreHTTPSErrors: true, viewport: { width: 1024, height: 768 }, args: flags,
    });
}

const context = await browser();
const page = context.pages()[0] ?? await context.newPage();
const faults = [];
page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text());
});
page.on('pageerror', (error) => faults.push(String(error)));
await page.addInitScript(observe, Number(given.since));
if (given.warm) {
    await page.goto(given.warm);
    await page.waitForFunction(() => document.querySelector('video').currentTime > 0);
}
await page.goto(url);

async function examine() {
    const found = { violations: [] };
    for await (const { colorScheme, width } of everyLook(page)) {
        if (given.axe) found.violations.push(...await violations(page));
        if (given.shots) {
            const path = join(given.shots, `${given.until}-${colorScheme}-${width}.png`);
            await page.screenshot({ path });
        }
        if (await isTooWide(page)) found.violations.push(`at ${width} the page is wider than the window`);
    }
    console.log(JSON.stringify(found));
}

let isExamined = !given.axe && !given.shots;
let isPressed = !given.press;
let playing = 0;

/** Leaves the page, and comes back, as people do with tabs. */
async function leave() {
    const other = await context.newPage();
    await other.bringToFront();
    setTimeout(() => page.bringToFront(), Number(given.away) * 1000);
}

try {
    for (;;) {
        const seen = await page.evaluate(look);
        console.log(JSON.stringify({ ...seen, faults }));
        if (!isExamined && (seen.state ?? (seen.width > 0 ? 'picture' : 'page')) === given.until) {
            isExamined = true;
            await examine();
        }
        if (!isPressed && seen.state === given.press) {
            isPressed = true;
            await page.click('#act');
        }
        if (given.away && seen.state === 'playing' && ++playing === 20) await leave();
        await new Promise((done) => setTimeout(done, 250));
    }
} catch (error) {
    // Asked to end, the driver closes the browser first.
    if (!/has been closed/.test(String(error))) throw error;
}
