// The page of one stream: plays it at the live edge, begins anew after each loss, and says in words what is wrong.

import mpegts from 'mpegts.js';
import { Edge } from './edge.js';
import { loaderFor, nameOf, streamUrl, transportOf } from './source.js';
import { Tags } from './tags.js';

/** Without an answer for so long we say that we wait, without a frame that there is silence: ms. */
const WAITING = 1000;
const SILENT = 2500;
/** A connection that brings nothing for so long is given up. Servers wait less for a publisher to return: ms. */
const GIVEN_UP = 20_000;
/** Waits before another attempt, longer with each that fails: ms. */
const RETRY = [250, 1000, 2000, 5000];
/** A server that has not waited for the publisher is asked so often: ms. */
const ASK_AGAIN = 2000;
/** What is paused for longer is let go of: ms. */
const PAUSED = 10_000;

const page = document.querySelector('main');
const video = document.querySelector('video');
const words = document.querySelector('#words');
const act = document.querySelector('#act');
const name = nameOf(location);

/** The attempt that runs: its player, what has gone by, and since when. */
let attempt = null;
/** Attempts that have failed since there was something to see or hear. */
let failures = 0;
let transport = transportOf(location);
/** The only kind of media that is asked for, where the other cannot be played here. */
let only = null;
/** Whether the stream has been here and has ended. */
let hasEnded = false;
let retrying = 0;
let pausing = 0;

/** Shows a state in words, and a button that does something about it. A name is text, never markup. */
function show(state, text, label = '', does = null) {
    page.dataset.state = state;
    if (words.textContent !== text) words.textContent = text;
    act.hidden = !does;
    act.textContent = label;
    act.onclick = does;
    video.controls = ['playing', 'sound', 'sound-only', 'silent'].includes(state);
}

function stop() {
    clearTimeout(retrying);
    clearTimeout(pausing);
    const stopped = attempt;
    attempt = null;
    clearInterval(stopped?.timer);
    stopped?.edge.stop();
    stopped?.player.destroy();
}

function start() {
    stop();
    const now = performance.now();
    const own = { tags: new Tags(), since: now, heard: now, isOpen: false, isShown: false, isBlocked: false, isSilenced: false };
    attempt = own;
    // Of an attempt that is over nothing is heard.
    const during = (does) => (...given) => attempt === own && does(...given);
    const told = {
        opened: during(() => {
            own.isOpen = true;
            own.heard = performance.now();
        }),
        bytes: during((bytes) => {
            own.heard = performance.now();
            own.tags.feed(bytes);
        }),
        // Later, as the player that tells of it is destroyed.
        over: during((how) => setTimeout(during(() => over(own, how)))),
    };
    own.player = mpegts.createPlayer(
        { type: 'flv', isLive: true, url: streamUrl(location, transport, only ? { only } : {}) },
        {
            customLoader: loaderFor(told),
            enableStashBuffer: false,
            lazyLoad: false,
            autoCleanupSourceBuffer: true,
            autoCleanupMaxBackwardDuration: 60,
            autoCleanupMinBackwardDuration: 20,
        },
    );
    own.player.on(mpegts.Events.ERROR, during((kind, _, info) => {
        if (kind === mpegts.ErrorTypes.MEDIA_ERROR) unplayable(own, info?.msg ?? '');
    }));
    own.player.attachMediaElement(video);
    own.player.load();
    own.edge = new Edge(video, own.tags, during(() => again('The picture stood still. Beginning anew.')));
    own.timer = setInterval(during(() => watch(own)), 250);
    play(own);
}

/** Browsers play sound only where somebody has touched the page, and some nothing at all. */
async function play(own) {
    try {
        await video.play();
    } catch (error) {
        if (attempt !== own || error.name !== 'NotAllowedError') return;
        if (!video.muted) {
            video.muted = true;
            own.isSilenced = true;
            play(own);
            return;
        }
        own.isBlocked = true;
        show('blocked', `${name} is ready.`, 'Play', () => {
            own.isBlocked = false;
            video.muted = false;
            own.isSilenced = false;
            play(own);
            if (own.isShown) shown(own);
        });
    }
}

/** Looks how an attempt goes on, several times a second. */
function watch(own) {
    const now = performance.now();
    if (own.isBlocked || (video.paused && own.isShown)) return;
    if (!own.isOpen) {
        if (now - own.since > WAITING && page.dataset.state === 'connecting') {
            show('waiting', `Waiting for ${name}. It starts here by itself as soon as somebody publishes it.`);
        }
        return;
    }
    if (now - own.heard > GIVEN_UP) {
        again('Nothing comes from the server any more. Trying again.');
    } else if (!own.isShown) {
        if (video.currentTime > 0 && video.readyState >= video.HAVE_CURRENT_DATA) shown(own);
    } else if (now - own.heard > SILENT) {
        if (page.dataset.state !== 'silent') {
            show('silent', 'The publisher sends nothing at the moment. It goes on here as soon as it does.');
        }
    } else if (page.dataset.state === 'silent') {
        shown(own);
    }
}

/** There is something to see or hear. */
function shown(own) {
    own.isShown = true;
    failures = 0;
    hasEnded = false;
    const { audio, video: pictures, codecs } = own.tags;
    const told = [codecs.video, codecs.audio].filter(Boolean).join(', ');
    if (own.isSilenced && video.muted && audio > 0) {
        show('sound', `Live, without sound (${told})`, 'Turn the sound on', () => {
            video.muted = false;
            shown(own);
        });
    } else if (pictures === 0) {
        show('sound-only', `Live: sound only (${told})`);
    } else {
        show('playing', `Live (${told})`);
    }
}

/** The connection of an attempt has come to its end. */
function over(own, { kind, status, words: why }) {
    if (kind === 'ended') {
        hasEnded = true;
        return again(endedWords(), 'ended');
    }
    if (kind === 'broken') return unplayable(own, why);
    if (kind === 'lost' || status === 408) {
        if (!navigator.onLine) return again('There is no network here. Trying again.');
        // What is on the way may let only the other kind of connection through.
        if (!own.isOpen && failures > 0) transport = transport === 'ws' ? 'http' : 'ws';
        return again('The server cannot be reached. Trying again.');
    }
    if (status === 404) return absent(own, why);
    if (status >= 500) return again(`The server cannot serve ${name} now: ${why || status}. Trying again.`);
    stop();
    show('refused', `The server refuses to show ${name}: ${why || status}`, 'Try again', anew);
}

function endedWords() {
    return `${name} has ended. If it begins again, it goes on here.`;
}

/** The server knows no such stream at the moment. */
function absent(own, why) {
    failures = 0;
    const text = /nobody publishes/.test(why)
        ? `Nobody publishes ${name} at the moment. It starts here by itself as soon as somebody does.`
        : `The server does not have ${name}: ${why}`;
    // Most servers wait a while for the publisher before they say so.
    const wait = performance.now() - own.since > ASK_AGAIN ? 0 : ASK_AGAIN;
    again(hasEnded ? endedWords() : text, hasEnded ? 'ended' : 'waiting', wait);
}

/** Begins anew after a while. */
function again(text, state = 'lost', wait = RETRY[Math.min(failures, RETRY.length - 1)]) {
    stop();
    show(state, text);
    failures += 1;
    retrying = setTimeout(start, wait);
}

/** Begins anew because somebody wants it. */
function anew() {
    show('connecting', 'Connecting …');
    start();
}

/** The browser cannot play what has come: for its codec, or because it is damaged. */
function unplayable(own, message) {
    const { codecs, audio, video: pictures } = own.tags;
    if (!/not ?supported|unsupported/i.test(message) && failures < RETRY.length) {
        return again('The stream cannot be decoded. Beginning anew.');
    }
    const isPicture = /video/i.test(message) || (pictures > 0 && !/audio/i.test(message));
    const codec = codecs[isPicture ? 'video' : 'audio'] ?? 'an unknown codec';
    const hasOther = !only && (isPicture ? audio : pictures) > 0;
    stop();
    show(
        'unsupported',
        `This browser cannot play the ${isPicture ? 'picture' : 'sound'} of ${name}: ${codec}. Another browser may; VLC and mpv do.`,
        isPicture ? 'Play the sound only' : 'Play without sound',
        hasOther ? () => {
            only = isPicture ? 'audio' : 'video';
            anew();
        } : null,
    );
}

function follow() {
    // Sooner than at the next look.
    video.addEventListener('timeupdate', () => attempt && !attempt.isShown && watch(attempt));
    video.addEventListener('waiting', () => attempt?.isShown && attempt.edge.stalled());
    video.addEventListener('error', () => attempt && video.error && unplayable(attempt, video.error.message));
    video.addEventListener('pause', () => {
        if (!attempt?.isShown) return;
        clearTimeout(pausing);
        pausing = setTimeout(() => {
            stop();
            show('paused', `${name} is paused.`, 'Play', anew);
        }, PAUSED);
    });
    video.addEventListener('play', () => clearTimeout(pausing));
    addEventListener('online', () => page.dataset.state === 'lost' && start());
}

document.title = `${name} – live`;
document.querySelector('h1').textContent = name;
document.querySelector('#flv').href = streamUrl(location, 'http');
if (mpegts.isSupported()) {
    follow();
    start();
} else {
    show('unsupported', 'This browser has no Media Source Extensions, without which it cannot play live FLV. VLC and mpv can.');
}
