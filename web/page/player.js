// The page of one stream: plays it at the live edge, begins anew after each loss, and says in words what is wrong.

import { choiceFor, choiceWithoutHls, firstChoice, isAsked, isHls, load, urlFor } from './choice.js';
import { Edge } from './edge.js';
import { nameOf, streamUrl } from './source.js';

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

/** The attempt that runs: its player, and since when. */
let attempt = null;
/** Attempts that have failed since there was something to see or hear. */
let failures = 0;
/** The player, and how often its connection was exchanged for one of another kind. */
let choice = firstChoice();
let exchanged = 0;
/** The only kind of media that is asked for, where the other cannot be played here. */
let only = null;
/** Whether the stream has been here and has ended. */
let hasEnded = false;
/** Whether it was the browser that paused, as nobody looked. */
let isUnseen = false;
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
    stopped?.edge?.stop();
    stopped?.player?.destroy();
}

async function start() {
    stop();
    const now = performance.now();
    const own = { choice, since: now, heard: now, isOpen: false, isShown: false, isBlocked: false, isSilenced: false };
    attempt = own;
    page.dataset.player = choice;
    const { Player, libraries, missing, isLost } = await load(choice, video);
    if (attempt !== own) return;
    if (isLost) return lost(own);
    if (missing) return show('unsupported', missing);
    // Of an attempt that is over nothing is heard.
    const during = (does) => (...given) => attempt === own && does(...given);
    const told = {
        opened: during(() => {
            own.isOpen = true;
            own.heard = performance.now();
        }),
        arrived: during(() => {
            own.heard = performance.now();
        }),
        // Later, as the player that tells of it is destroyed.
        over: during((how) => setTimeout(during(() => over(own, how)))),
    };
    own.player = new Player(video, urlFor(choice, exchanged, only ? { only } : {}), told, libraries);
    // Others keep to the live edge of HLS.
    if (!isHls(choice)) own.edge = new Edge(video, own.player.arrivals, during(() => again('The picture stood still. Beginning anew.')));
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
    } else if (page.dataset.state === 'silent' || own.label !== labelOf(own)) {
        shown(own);
    }
}

/** What is played, in words. */
function labelOf({ player: { arrivals: { codecs } } }) {
    return [codecs.video, codecs.audio].filter(Boolean).join(', ') || 'HLS';
}

/** There is something to see or hear. */
function shown(own) {
    own.isShown = true;
    failures = 0;
    hasEnded = false;
    own.label = labelOf(own);
    const { codecs } = own.player.arrivals;
    const hasSound = codecs.audio || !codecs.video;
    if (own.isSilenced && video.muted && hasSound) {
        show('sound', `Live, without sound (${own.label})`, 'Turn the sound on', () => {
            video.muted = false;
            shown(own);
        });
    } else if (video.videoWidth === 0) {
        show('sound-only', `Live: sound only (${own.label})`);
    } else {
        show('playing', own.choice === 'recording' ? 'Recorded' : `Live (${own.label})`);
    }
}

/** An attempt has come to its end. */
function over(own, how) {
    const { kind, status, words: why } = how;
    if (kind === 'ended') {
        if (own.choice === 'recording') return recordingEnded();
        hasEnded = true;
        return again(endedWords(), 'ended');
    }
    if (kind === 'anew') return start();
    if (kind === 'broken') return broken(why);
    if (kind === 'unplayable') return unplayable(own, how.codec);
    if (kind === 'lost' || status === 408) return lost(own);
    if (status === 404) return absent(own, why);
    if (status >= 500) return again(`The server cannot serve ${name} now: ${why || status}. Trying again.`);
    stop();
    show('refused', `The server refuses to show ${name}: ${why || status}`, 'Try again', anew);
}

function lost(own) {
    if (!navigator.onLine) return again('There is no network here. Trying again.');
    // What is on the way may let only the other kind of connection through.
    if (!own.isOpen && failures > 0) exchanged += 1;
    again('The server cannot be reached. Trying again.');
    if (own.choice === 'hls') choice = firstChoice();
    else if (!own.isOpen && failures > RETRY.length) tryHls();
}

/** Where the server is there, but what is on the way lets no endless reply through, short ones may be. */
async function tryHls() {
    if (isAsked) return;
    const reply = await fetch(location.pathname, { method: 'HEAD', cache: 'no-store' }).catch(() => null);
    if (reply?.ok) choice = 'hls';
}

/** Nothing goes on by itself where the end of what has been recorded is reached. */
function recordingEnded() {
    stop();
    show('ended', `What has been recorded of ${name} ends here.`, 'Play it again', anew);
}

function endedWords() {
    return `${name} has ended. If it begins again, it goes on here.`;
}

/** The server knows no such stream at the moment. */
function absent(own, why) {
    failures = 0;
    const isStream = /nobody publishes/.test(why);
    if (!isStream && own.choice === 'hls' && choiceWithoutHls()) {
        choice = choiceWithoutHls();
        return start();
    }
    const text = isStream
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

/** The browser fails at what has come, which is damaged as far as we know. */
function broken(why) {
    if (failures < RETRY.length) return again('The stream cannot be decoded. Beginning anew.');
    stop();
    show('unsupported', `This browser cannot decode ${name}: ${why}. Another browser may; VLC and mpv do.`, 'Try again', anew);
}

/** The browser has no decoder for a codec. */
async function unplayable(own, { code, name: codec, isVideo }) {
    const { codecs } = own.player.arrivals;
    const hasOther = !only && !isHls(own.choice) && codecs[isVideo ? 'audio' : 'video'];
    stop();
    const other = choiceFor({ code, name: codec }, own.choice, video);
    if (other && !(await load(other, video)).missing) {
        choice = other;
        return start();
    }
    show(
        'unsupported',
        `This browser cannot play the ${isVideo ? 'picture' : 'sound'} of ${name}: ${codec}. Another browser may; VLC and mpv do.`,
        isVideo ? 'Play the sound only' : 'Play without sound',
        hasOther ? () => {
            only = isVideo ? 'audio' : 'video';
            anew();
        } : null,
    );
}

/** Somebody looks again at what was in the background. */
function seen() {
    if (document.hidden) return;
    if (page.dataset.state === 'paused' && isUnseen) return anew();
    if (attempt?.isShown && video.paused && isUnseen) play(attempt);
    attempt?.edge?.seen();
}

function follow() {
    // Sooner than at the next look.
    video.addEventListener('timeupdate', () => attempt && !attempt.isShown && watch(attempt));
    video.addEventListener('waiting', () => attempt?.isShown && attempt.edge?.stalled());
    video.addEventListener('error', () => attempt && video.error && broken(video.error.message));
    video.addEventListener('pause', () => {
        if (!attempt?.isShown) return;
        isUnseen = document.hidden;
        clearTimeout(pausing);
        pausing = setTimeout(() => {
            stop();
            show('paused', `${name} is paused.`, 'Play', anew);
        }, PAUSED);
    });
    video.addEventListener('play', () => clearTimeout(pausing));
    addEventListener('online', () => page.dataset.state === 'lost' && start());
    document.addEventListener('visibilitychange', seen);
}

document.title = `${name} – live`;
document.querySelector('h1').textContent = name;
document.querySelector('#flv').href = streamUrl(location, '.flv');
follow();
start();
