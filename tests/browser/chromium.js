// What the scripts that use a browser do alike: where it is, how it is started, and what axe finds in a page.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

// Where tests/run has put what package-lock.json names.
const require = createRequire(join(process.env.STREAMENGINE_BROWSER ?? import.meta.dirname, 'package.json'));
export const { chromium } = require('playwright-core');
export const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';

/** Without a window, and with no connection of its own. */
export const FLAGS = [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
/** Pages make sound, and nobody has to touch them before. */
export const AUTOPLAY = '--autoplay-policy=no-user-gesture-required';

/** One that is not as playwright starts them: there all pages are in front, and none of them sleeps. Gives its context. */
export async function ownBrowser(profile, flags) {
    const address = ['--remote-debugging-port=0', `--user-data-dir=${profile}`];
    const child = spawn(executablePath, [...flags, ...address, 'about:blank'], { stdio: 'ignore' });
    process.on('exit', () => child.kill());
    for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit());
    const told = join(profile, 'DevToolsActivePort');
    while (!existsSync(told) || !readFileSync(told, 'utf8').includes('\n')) await new Promise((done) => setTimeout(done, 50));
    const [port] = readFileSync(told, 'utf8').split('\n');
    return (await chromium.connectOverCDP(`http://127.0.0.1:${port}`, { noDefaults: true })).contexts()[0];
}

/** What axe finds in a page as it is, with so much of it as has the fault. */
export async function violations(page, most = Infinity) {
    // What fades in has less contrast until it is there.
    await page.evaluate(() => Promise.allSettled(document.getAnimations()
        .filter((animation) => animation.effect?.getComputedTiming().endTime !== Infinity)
        .map((animation) => animation.finished)));
    // As it is evaluated by the browser's debugger, the policy of the page does not hold for it.
    await page.evaluate(readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8'));
    const { violations: found } = await page.evaluate('axe.run()');
    return found.map(({ id, nodes }) => `${id}: ${nodes.slice(0, most).map(({ html }) => html).join(' ')}`);
}

export function isTooWide(page) {
    return page.evaluate('document.documentElement.scrollWidth > innerWidth');
}

/** Shows a page in light and dark, and in each in three widths. */
export async function* everyLook(page) {
    for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme });
        for (const width of [320, 768, 1440]) {
            await page.setViewportSize({ width, height: width === 320 ? 640 : 900 });
            yield { colorScheme, width };
        }
    }
}
