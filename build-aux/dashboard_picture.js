// Makes the picture of the dashboard: a server with some streams, those who watch them, and what a browser shows of it.
//
//   node build-aux/dashboard_picture.js [--program PATH] [--seconds N] [--out PATH]
//
// By default target/release/streamengine, which is looked at for two minutes, so that its charts have something to show, and
// docs/dashboard.png. The pictures of the streams are made by ffmpeg. The browser and what drives it are those of tests/browser.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FLAGS, chromium, executablePath } from '../tests/browser/chromium.js';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values: given } = parseArgs({
    options: {
        program: { type: 'string', default: join(root, 'target/release/streamengine') },
        seconds: { type: 'string', default: '120' },
        out: { type: 'string', default: join(root, 'docs/dashboard.png') },
    },
});

/** The streams: what ffmpeg makes them of, their size, and how many watch them in the end. */
const STREAMS = [
    ['live/keynote', 'mandelbrot=size=1280x720:rate=30', 24],
    ['live/stage-2', 'gradients=size=1280x720:rate=25:speed=0.05:seed=7', 11],
    ['live/lobby', 'gradients=size=640x360:rate=25:speed=0.02:seed=3:nb_colors=5', 3],
    ['music/radio', 'testsrc=size=1280x720:rate=30', 6],
    ['test/clock', 'testsrc2=size=854x480:rate=50', 2],
];

const folder = mkdtempSync(join(tmpdir(), 'dashboard-'));

/** Files of ten seconds, which the server plays again and again. */
function record([stream, source], index) {
    const path = join(folder, `${index}.flv`);
    execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', source, '-f', 'lavfi', '-i', 'sine=frequency=330', '-t', '10', '-c:v', 'libx264',
        '-preset', 'ultrafast', '-g', '50', '-b:v', '1500k', '-maxrate', '2M', '-bufsize', '2M', '-pix_fmt', 'yuv420p', '-c:a', 'aac', path]);
    return `[[file]]\nstream = ${JSON.stringify(stream)}\npaths = [${JSON.stringify(path)}]\n`;
}

/** The server, and where it is. */
async function serve(config) {
    const path = join(folder, 'streamengine.toml');
    writeFileSync(path, config);
    const server = spawn(given.program, ['serve', '--json', '--rtmp', '127.0.0.1:0', '--http', '127.0.0.1:0', '--config', path], {
        cwd: folder, stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: server.stdout });
    const first = await new Promise((done, fail) => {
        lines.once('line', done);
        server.once('error', fail);
        server.once('exit', (code) => fail(new Error(`the server has ended with ${code}`)));
    });
    return { server, http: JSON.parse(first).http[0] };
}

/** Somebody who watches until the server ends. */
async function watch(http, stream) {
    const { body } = await fetch(`http://${http}/${stream}.flv`);
    try {
        for await (const piece of body) void piece;
    } catch {
        // The server has ended.
    }
}

const { server, http } = await serve(STREAMS.map(record).join(''));
let context = null;
try {
    context = await chromium.launchPersistentContext(join(folder, 'profile'), {
        executablePath, headless: false, locale: 'en-GB', colorScheme: 'light', viewport: { width: 1280, height: 800 }, args: [...FLAGS, '--hide-scrollbars'],
    });
    await context.addInitScript(() => localStorage.setItem('streamengine-first', 'done'));
    const page = context.pages()[0] ?? await context.newPage();
    await page.goto(`http://${http}/`);
    // They come one after the other, over most of the time.
    const viewers = STREAMS.flatMap(([stream, , count]) => Array.from({ length: count }, (_, number) => [number / count, stream])).sort();
    for (const [, stream] of viewers) {
        void watch(http, stream);
        await sleep(Number(given.seconds) * 800 / viewers.length);
    }
    await sleep(Number(given.seconds) * 200);
    await page.waitForFunction((count) => document.querySelectorAll('.plot canvas').length > 0 && document.querySelectorAll('.poster video').length === count,
        STREAMS.length);
    await page.screenshot({ path: given.out });
} finally {
    await context?.close();
    server.kill();
    rmSync(folder, { recursive: true, force: true });
}
