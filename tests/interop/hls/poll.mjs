// Loads the playlists of a stream ten times a second, each fifth time what is new of them only, and has the parsers of players
// judge them: hls-parser, in its strict mode, and hls.js's own. Compares each with the one before, too. Tells at the end
//
//   {"polls":200,"versions":101,"deltas":12,"errors":["..."]}
//
//   node poll.mjs URL SECONDS

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(join(process.env.STREAMENGINE_BROWSER ?? import.meta.dirname, 'package.json'));
const parser = require('hls-parser');
const { M3U8Parser } = await import(pathToFileURL(join(dirname(require.resolve('hls.js')), 'hls.mjs')));
parser.setOptions({ strictMode: true });

const [url, time] = process.argv.slice(2);
const PERIOD = 100;
const errors = new Set();

async function load(place) {
    const reply = await fetch(place);
    const text = await reply.text();
    if (reply.status !== 200) throw new Error(`${reply.status} ${text}`);
    return text;
}

/** The lines of each segment, the last of which may have begun only, and what stands before the first. */
function segmentsOf(text) {
    const segments = [[]];
    for (const line of text.trim().split('\n')) {
        segments.at(-1).push(line);
        if (!line.startsWith('#')) segments.push([]);
    }
    return segments;
}

const seconds = (lines, tag) =>
    lines.map((line) => Number(line.match(tag)?.[1] ?? 0)).reduce((sum, lasts) => sum + lasts, 0);

/**
 * Checks that parts are listed of what ends within three TARGETDURATIONs of the playlist's end, and of nothing else. hls-parser takes
 * that for three segments: it gets no others.
 */
function partsAsCounted(text) {
    const target = Number(text.match(/^#EXT-X-TARGETDURATION:(\d+)$/m)[1]);
    const segments = segmentsOf(text);
    const isOpen = segments.at(-1).some((line) => line.startsWith('#EXT-X-PART:'));
    let behind = isOpen ? seconds(segments.at(-1), /^#EXT-X-PART:DURATION=([\d.]+)/) : 0;
    // What comes next is one to it, even if nothing of it is there.
    const last = segments.length - 3;
    for (const [place, lines] of [...segments.entries()].slice(0, -1).reverse()) {
        const hasParts = lines.some((line) => line.startsWith('#EXT-X-PART:'));
        const isGap = lines.includes('#EXT-X-GAP');
        // Sums of what is written with five digits.
        if (Math.abs(behind - 3 * target) > 0.001 && !isGap && hasParts !== (behind <= 3 * target)) {
            errors.add(`parts of a segment that ends ${behind} s before the end: ${hasParts}`);
        }
        behind += seconds(lines, /^#EXTINF:([\d.]+)/);
        if (place < last) segments[place] = lines.filter((line) => !line.startsWith('#EXT-X-PART:'));
    }
    return `${segments.flat().join('\n')}\n`;
}

/** What does not change while a stream lives. */
const fixed = ({ version, targetDuration, partTargetDuration, lowLatencyCompatibility }) =>
    JSON.stringify({ version, targetDuration, partTargetDuration, lowLatencyCompatibility });

const told = ({ uri, duration, discontinuity, gap, programDateTime }) =>
    JSON.stringify({ uri, duration, discontinuity: !!discontinuity, gap: !!gap, programDateTime });

/** By media sequence number. */
function bySequence(list) {
    const first = list.mediaSequenceBase + (list.skip ?? 0);
    return new Map(list.segments.filter(({ uri }) => uri).map((segment, place) => [first + place, told(segment)]));
}

function compare(before, now) {
    if (fixed(before) !== fixed(now)) errors.add(`changed: ${fixed(before)} to ${fixed(now)}`);
    for (const counter of ['mediaSequenceBase', 'discontinuitySequenceBase']) {
        if ((now[counter] ?? 0) < (before[counter] ?? 0)) errors.add(`${counter} has gone back`);
    }
    const old = bySequence(before);
    for (const [number, segment] of bySequence(now)) {
        if (old.has(number) && old.get(number) !== segment) {
            errors.add(`segment ${number} was ${old.get(number)} and is ${segment}`);
        }
    }
    if (Math.max(...bySequence(now).keys()) < Math.max(...old.keys())) errors.add('it lists less than before');
}

const main = await load(url);
const variants = parser.parse(main).variants;
const levels = M3U8Parser.parseMasterPlaylist(main, url);
if (levels.playlistParsingError) errors.add(`hls.js: ${levels.playlistParsingError.message}`);
if (variants.length !== 1 || levels.levels.length !== 1) errors.add(`not one variant: ${main}`);
const place = levels.levels[0].url;

let polls = 0;
let deltas = 0;
let before;
const texts = new Set();
const begun = performance.now();
for (; performance.now() - begun < time * 1000; polls += 1) {
    const skips = polls % 5 === 4;
    const from = skips ? `${place}&_HLS_skip=YES` : place;
    try {
        const text = await load(from);
        const list = parser.parse(text.includes('#EXT-X-PART-INF') ? partsAsCounted(text) : text);
        const details = M3U8Parser.parseLevelPlaylist(text, from, 0, 'main', 0, null);
        if (details.playlistParsingError) errors.add(`hls.js: ${details.playlistParsingError.message}`);
        if (details.fragments.length === 0) errors.add('hls.js: no fragments');
        if (before) compare(before, list);
        deltas += list.skip ? 1 : 0;
        // Of a delta hls-parser keeps no segments that it has skipped.
        before = list;
        texts.add(text);
    } catch (error) {
        errors.add(String(error));
    }
    const rest = begun + (polls + 1) * PERIOD - performance.now();
    if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
}
console.log(JSON.stringify({ polls, versions: texts.size, deltas, errors: [...errors] }));
