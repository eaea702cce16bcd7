// Uses the dashboard as people do, in Chromium, and tells each step as one JSON object a line: {"step":"..."}. What is to be done
// outside is asked for by {"wants":"..."}, and shows up on the page. Ends with the status 0 where everything was as it should be and the
// console has told of no error.
//
//   node dashboard.js walk     URL --profile FOLDER --by mouse|keyboard [--phone] --given JSON
//   node dashboard.js examine  URL --profile FOLDER [--shots FOLDER] [--pages a,b] [--as NAME] [--names TEXT]
//   node dashboard.js login    URL --profile FOLDER
//   node dashboard.js trouble  URL --profile FOLDER --given JSON
//   node dashboard.js stay     URL --profile FOLDER --seconds N [--times N] [--pages NAME]
//
// `examine` runs axe on every page in three widths, light and dark, and looks that nothing is wider than the window, no table wider than
// its place, that no name of a peer has become markup, and that --names is to be read where connections and relays are listed; with --shots
// it takes pictures of them all. `trouble` wants streams to go bad, and tells when the overview and the stream's own page had said so, in milliseconds since 1970.
// `stay` leaves a page open, and tells so many times in that time what the page's process holds and has used: after its garbage is gone,
// bytes of scripts, nodes of documents, and seconds of a processor.

import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { AUTOPLAY, FLAGS, chromium, executablePath, isTooWide, violations } from './chromium.js';

const { values: given, positionals: [task, url] } = parseArgs({
    allowPositionals: true,
    options: {
        profile: { type: 'string' },
        by: { type: 'string', default: 'mouse' },
        phone: { type: 'boolean' },
        given: { type: 'string', default: '{}' },
        shots: { type: 'string' },
        pages: { type: 'string' },
        as: { type: 'string', default: 'page' },
        names: { type: 'string' },
        seconds: { type: 'string', default: '60' },
        times: { type: 'string', default: '6' },
    },
});

/** For what takes its time, on a machine that does other things too: ms. */
const PATIENCE = 60_000;
const WIDTHS = [390, 900, 1440];
const PAGES = ['', 'sessions', 'relays', 'files', 'recordings', 'keys', 'log', 'settings'];

const context = await chromium.launchPersistentContext(given.profile, {
    executablePath,
    headless: false,
    locale: 'en-GB',
    viewport: given.phone ? { width: 390, height: 844 } : { width: 1280, height: 900 },
    hasTouch: given.phone ?? false,
    args: [...FLAGS, AUTOPLAY],
});
context.setDefaultTimeout(PATIENCE);
const page = context.pages()[0] ?? await context.newPage();
const faults = [];
/** Where a reply is to be a refusal: the browser tells of those itself. */
let isRefusalDue = false;
page.on('console', (message) => {
    if (message.type() === 'error' && !isRefusalDue) faults.push(`${message.text()} ${message.location().url}`);
});
page.on('pageerror', (error) => faults.push(String(error.stack)));

const tell = (told) => console.log(JSON.stringify(told));
const step = (text) => tell({ step: text });
const wants = (what) => tell({ wants: what });

function expect(is, text) {
    if (!is) throw new Error(text);
}

/** Somebody with a mouse, or a finger. */
const mouse = {
    press: (locator) => locator.first().click(),
    async write(locator, text) {
        await locator.first().click();
        await locator.first().fill(text);
    },
    choose: (locator, value) => locator.first().selectOption(value),
};

/** Somebody with a keyboard alone, who has to see where the focus is. */
const keyboard = {
    async go(locator) {
        const wanted = locator.first();
        await wanted.waitFor();
        for (let tabs = 0; tabs < 400; tabs += 1) {
            if (await wanted.evaluate((element) => element === document.activeElement)) {
                const isSeen = await wanted.evaluate((element) => {
                    const { outlineStyle, outlineWidth } = getComputedStyle(element);
                    return outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1;
                });
                expect(isSeen, `nobody sees that ${await wanted.evaluate((element) => element.outerHTML)} has the focus`);
                return;
            }
            await page.keyboard.press('Tab');
        }
        throw new Error(`Tab does not lead to ${locator}`);
    },
    async press(locator) {
        await this.go(locator);
        await page.keyboard.press('Enter');
    },
    async write(locator, text) {
        await this.go(locator);
        await page.keyboard.press('Control+A');
        await page.keyboard.type(text);
    },
    async choose(locator, value) {
        await this.go(locator);
        const index = await locator.first().evaluate((list, name) => [...list.options].findIndex((option) => option.value === name), value);
        await page.keyboard.press('Home');
        for (let at = 0; at < index; at += 1) await page.keyboard.press('ArrowDown');
    },
};
const user = given.by === 'keyboard' ? keyboard : mouse;

const main = page.locator('main');
const button = (name, within = page) => within.getByRole('button', { name, exact: typeof name === 'string' });
const field = (name, within = page) => within.getByLabel(name, { exact: typeof name === 'string' });
const dialog = page.getByRole('dialog');
const seen = (text, within = main) => within.getByText(text).first().waitFor();
const gone = (locator) => locator.first().waitFor({ state: 'detached' });

async function open(name) {
    const menu = button(/^(Menu|Menü)$/);
    if (await menu.isVisible()) await user.press(menu);
    await user.press(page.getByRole('navigation').getByRole('link', { name, exact: true }));
    await page.getByRole('heading', { level: 1, name, exact: true }).waitFor();
    step(`the page ${name}`);
}

/** Waits until a player has come so far. */
async function plays(locator, seconds) {
    await locator.first().waitFor();
    const handle = await locator.first().elementHandle();
    await page.waitForFunction(([video, least]) => video.currentTime > least, [handle, seconds]);
}

async function walk() {
    const { stream, file, other } = JSON.parse(given.given);
    await page.goto(url);
    await user.press(button('Not now'));
    await seen('Nothing is live yet.');
    step('nothing is live');
    wants('a publisher');
    const row = page.locator('tr').filter({ hasText: stream });
    await row.getByText('live', { exact: true }).waitFor();
    step('a stream has come up');

    await user.press(page.getByRole('link', { name: stream, exact: true }));
    await page.getByRole('heading', { level: 1, name: stream, exact: true }).waitFor();
    await user.press(button('Show the picture'));
    await plays(page.locator('.preview video'), 1);
    // It is one of the viewers, too, until it stops.
    await button(/^Disconnect 127/).waitFor();
    await user.press(button('Stop'));
    await seen('Nobody watches at the moment.');
    step('its picture is shown');

    wants('a viewer');
    await user.press(button(/^Disconnect 127/));
    await user.press(button('Disconnect', dialog));
    await seen('Nobody watches at the moment.');
    step('a viewer is disconnected');

    await user.press(button('Record'));
    await button('Stop recording').waitFor();
    await page.waitForTimeout(3000);
    await user.press(button('Stop recording'));
    await button('Record').waitFor();
    await open('Recordings');
    await user.write(field('Only of the stream'), stream);
    await user.press(button(/^Play .*\.mp4$/));
    await plays(dialog.locator('video'), 0.5);
    await user.press(button('Close', dialog));
    await gone(dialog);
    step('what was recorded is played');

    await open('Relays');
    await user.press(button('Add relay'));
    await user.write(field('Stream', dialog), stream);
    await user.write(field('Address', dialog), 'rtmp://127.0.0.1:1/live/x');
    await user.press(button('Add', dialog));
    await seen('Nothing listens at this address.');
    step('the relay says why it fails');
    await user.press(button(/^Correct:/));
    await user.write(field('Address', dialog), `${other}/live/out`);
    await user.press(button('Save', dialog));
    await seen('sending');
    expect(await page.getByText('Nothing listens').count() === 0, 'the relay that was wrong is still there');
    step('the relay is corrected');
    await user.press(button(/^Remove:/));
    await user.press(button('Remove', dialog));
    await seen('There are no relays.');

    await open('Stream keys');
    await user.press(button('Make a key'));
    await user.write(field('Stream', dialog), 'live/studio');
    await user.write(field('Whose (optional)', dialog), '<img src=x onerror="window.hostile=1">');
    await user.press(button('Make a key', dialog));
    await page.getByRole('heading', { name: 'The new key' }).waitFor();
    const first = await dialog.locator('code').textContent();
    await user.press(button('Close', dialog));
    await seen('<img src=x onerror="window.hostile=1">');
    await user.press(button(/^Exchange /));
    await user.press(button('Exchange', dialog));
    await page.getByRole('heading', { name: 'The new key' }).waitFor();
    const second = await dialog.locator('code').textContent();
    expect(first.length > 10 && second.length > 10 && first !== second, `${first}, then ${second}`);
    await user.press(button('Close', dialog));
    for (let left = await button(/^Revoke /).count(); left > 0; left -= 1) {
        await user.press(button(/^Revoke /));
        await user.press(button('Revoke', dialog));
        await gone(dialog);
        await page.waitForFunction((most) => document.querySelectorAll('button[aria-label^="Revoke "]').length < most, left);
    }
    await seen('Nothing matches the filter.');
    step('keys are made, exchanged and revoked');

    await open('File loops');
    await user.press(button('Play files'));
    await user.write(field('Stream', dialog), 'live/loop');
    await user.write(field('Files', dialog), file);
    await user.press(button('Play files', dialog));
    await seen('playing');
    step('a file is looped');
    await user.press(button('End live/loop'));
    await user.press(button('End', dialog));
    await seen('No files are played.');

    await open('Log');
    await page.locator('.log .line').first().waitFor();
    step('the log is there');

    await open('Settings');
    await user.choose(field('Colours'), 'dark');
    await page.locator('html[data-theme="dark"]').waitFor({ state: 'attached' });
    await user.choose(field('Language'), 'de');
    await page.getByRole('heading', { level: 1, name: 'Einstellungen' }).waitFor();
    await page.reload();
    await page.getByRole('heading', { level: 1, name: 'Einstellungen' }).waitFor();
    const texts = await page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => name).filter((name) => name.includes('/words_')));
    expect(texts.length === 1 && texts[0].includes('/words_de'), `it loads ${texts}`);
    step('it speaks German, in dark, and goes on so');

    await user.write(field('Neues Passwort'), 'correct horse');
    await user.write(field('Dasselbe noch einmal'), 'correct horse');
    await user.press(button('Passwort setzen'));
    isRefusalDue = true;
    await user.press(button('Abmelden'));
    await page.getByRole('heading', { level: 1, name: 'Anmelden' }).waitFor();
    step('a password is set, and nobody is logged in');
    await user.write(field('Passwort'), 'wrong horse');
    await user.press(button('Anmelden'));
    await seen('Das ist nicht das Passwort.');
    await user.write(field('Passwort'), 'correct horse');
    await user.press(button('Anmelden'));
    await page.getByRole('heading', { level: 1, name: 'Einstellungen' }).waitFor();
    step('the password lets in');
    await marked();
}

/** Looks that no name has become markup. */
async function marked() {
    expect(await page.evaluate('window.hostile') === undefined, 'a name was run as a script');
    expect(await page.locator('img, iframe, script:not([src])').count() === 0, 'a name has become markup');
}

async function examine() {
    await context.addInitScript(() => localStorage.setItem('streamengine-first', 'done'));
    const found = [];
    for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme });
        for (const width of WIDTHS) {
            await page.setViewportSize({ width, height: width < 600 ? 844 : 900 });
            for (const name of given.pages?.split(',') ?? PAGES) {
                await page.goto(`${url}#/${name}`);
                await page.locator('main h1').waitFor();
                await settled();
                const place = `${name || 'overview'}, ${colorScheme}, ${width}`;
                for (const violation of await violations(page, 3)) found.push(`${place}: ${violation}`);
                if (await isTooWide(page)) found.push(`${place}: wider than the window`);
                for (const table of await cutTables()) found.push(`${place}: ${table} is wider than its place`);
                await marked();
                if (given.names && ['sessions', 'relays'].includes(name)) await seen(given.names);
                if (given.shots) {
                    const file = `${given.as}-${(name || 'overview').replace(/[^a-z0-9]/gi, '_').slice(0, 40)}-${colorScheme}-${width}.png`;
                    await page.screenshot({ path: join(given.shots, file), fullPage: true });
                }
            }
        }
    }
    expect(found.length === 0, found.join('\n'));
    step('axe finds nothing');
}

/** Tables of which one sees a part only: what can be done stands at their end. */
function cutTables() {
    return page.locator('.table:not(.low)').evaluateAll((tables) => tables
        .filter(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth).map((table) => table.getAttribute('aria-label')));
}

/** Waits until what is asked for is there, once. */
async function settled() {
    await page.waitForFunction(() => !/Loading …/.test(document.querySelector('main')?.textContent ?? ''));
    const charts = await page.locator('.plot').count();
    if (charts > 0) await page.waitForFunction((count) => document.querySelectorAll('.plot canvas').length === count, charts);
}

/** Who comes from elsewhere before there is a password, and what the first visit looks like. */
async function login() {
    await page.goto(url);
    await page.getByRole('heading', { level: 1, name: 'Choose a password' }).waitFor();
    const found = await violations(page, 3);
    await mouse.write(field('New password'), 'short');
    await mouse.write(field('The same once more'), 'short');
    await mouse.press(button('Set password'));
    await seen('A password has 8 characters at least.');
    await mouse.write(field('New password'), 'long enough');
    await mouse.write(field('The same once more'), 'long enouhg');
    await mouse.press(button('Set password'));
    await seen('The two are not the same.');
    await mouse.write(field('The same once more'), 'long enough');
    await mouse.press(button('Set password'));
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    step('the first visit sets a password');
    isRefusalDue = true;
    await mouse.press(button('Log out'));
    await page.getByRole('heading', { level: 1, name: 'Log in' }).waitFor();
    found.push(...await violations(page, 3));
    expect(found.length === 0, found.join('\n'));
    step('axe finds nothing');
}

/** Has streams go bad, one after the other, while somebody looks at all of them and somebody else at the one. */
async function trouble() {
    await context.addInitScript(() => localStorage.setItem('streamengine-first', 'done'));
    const other = await context.newPage();
    await page.goto(url);
    for (const { stream, words } of JSON.parse(given.given)) {
        await other.goto(`${url}#/streams/${encodeURIComponent(stream)}`);
        const health = other.locator('.health');
        await seen('Nothing is wrong with this stream.', health);
        const row = page.locator('tr').filter({ hasText: stream });
        await row.getByText('live', { exact: true }).waitFor();
        wants(words);
        const said = [row.getByTitle(words).getByText(new RegExp(`^(${words}|\\d problems)$`)), health.getByText(words, { exact: true })];
        const [overview, own] = await Promise.all(said.map((place) => place.waitFor().then(() => Date.now())));
        tell({ seen: words, overview, page: own });
    }
}

/** Looks at one page, and does nothing. */
async function stay() {
    await context.addInitScript(() => localStorage.setItem('streamengine-first', 'done'));
    await page.goto(`${url}#/${given.pages ?? ''}`);
    await page.locator('main h1').waitFor();
    await settled();
    const browser = await context.newCDPSession(page);
    await browser.send('Performance.enable');
    const begun = performance.now();
    for (let looked = 0; looked <= Number(given.times); looked += 1) {
        await page.waitForTimeout(Math.max(0, begun + looked / Number(given.times) * Number(given.seconds) * 1000 - performance.now()));
        await browser.send('HeapProfiler.collectGarbage');
        const { metrics } = await browser.send('Performance.getMetrics');
        const { Timestamp: at, ProcessTime: cpu, JSHeapUsedSize: heap, Nodes: nodes } = Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
        tell({ at, cpu, heap, nodes });
    }
}

let status = 0;
try {
    await { walk, examine, login, trouble, stay }[task]();
    expect(faults.length === 0, `the console tells of ${faults.join('\n')}`);
    tell({ done: true });
} catch (error) {
    status = 1;
    console.error(String(error.stack ?? error));
    console.error(await page.locator('body').innerText().catch(() => ''));
    console.error(faults.join('\n'));
}
await context.close();
process.exit(status);
