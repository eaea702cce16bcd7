// Which player a stream gets: our own, else one of others, which not every build has.

import { streamUrl, transportOf } from './source.js';

/**
 * By the names that `?player=` has: the `module` with its `Player`, `ending` of the URLs that they ask for, and `transports` in the
 * order in which they are tried; those that play HLS in a `folder` of the server, where it is not the first one.
 */
const PLAYERS = {
    // WebSockets tell of each change of codecs, and the six connections of HTTP/1.1 are left to others.
    mse: { module: () => import('./play_mp4.js'), ending: '.mp4', transports: ['ws', 'http'] },
    // WebSockets keep to HTTP/1.1, and share no connection with others.
    mpegts: {
        module: () => import('./play_flv.js'),
        ending: '.flv',
        transports: location.protocol === 'https:' ? ['ws', 'http'] : ['http', 'ws'],
    },
    hls: { module: () => import('./play_hls.js'), ending: '/index.m3u8', transports: ['http'], isHls: true },
    // What has been recorded until now.
    recording: { module: () => import('./play_hls.js'), folder: '/recordings', ending: '/index.m3u8', transports: ['http'], isHls: true },
};
const NO_MSE = 'This browser has no Media Source Extensions, without which it cannot play live streams here. VLC and mpv can.';

const query = new URLSearchParams(location.search);
const asked = Object.hasOwn(PLAYERS, query.get('player') ?? '') ? query.get('player') : null;

/** Whether a page shall play by one player, whatever comes. */
export const isAsked = asked !== null;

/** Whether a page shall begin before the live edge. */
const isBack = /^-\d+$/.test(query.get('start') ?? '');

/** Whether a player is one of HLS, which keeps by itself to where it shall be. */
export function isHls(name) {
    return PLAYERS[name].isHls === true;
}

const hasMse = 'MediaSource' in window && MediaSource.isTypeSupported('video/mp4; codecs="avc1.42e01e"');

/** Only Safari has this: it plays HLS best. Others have begun to play it too, but not its parts, for little delay. */
const isSafari = 'WebKitPlaybackTargetAvailabilityEvent' in window;

/** Whether the browser plays HLS without help. */
function isNative(video) {
    return video.canPlayType('application/vnd.apple.mpegurl') !== '';
}

/** The player that is tried first. */
export function firstChoice() {
    if (asked) return asked;
    if (isBack) return 'recording';
    return hasMse && !isSafari ? 'mse' : 'hls';
}

/** The player for a server that has no HLS. */
export function choiceWithoutHls() {
    return !asked && hasMse ? 'mse' : null;
}

/** The player that may play a codec that this one cannot. */
export function choiceFor(codec, name, video) {
    if (asked) return null;
    // As such, not in MP4.
    if (name === 'mse' && codec.name === 'MP3' && MediaSource.isTypeSupported('audio/mpeg')) return 'mpegts';
    if (isHls(name)) return null;
    const isPlayed = codec.code && video.canPlayType(`video/mp4; codecs="${codec.code}"`) !== '';
    return isPlayed && isNative(video) ? 'hls' : null;
}

/**
 * What the stream of a page is asked for at by a player whose connection has been `exchanged` so often; with `more` in the query.
 */
export function urlFor(name, exchanged = 0, more = {}) {
    const { folder, ending, transports } = PLAYERS[name];
    return streamUrl(location, ending, transportOf(location, transports, exchanged), more, folder);
}

/**
 * What a player is made of: `{ Player, libraries }`, or `{ missing }`, words that say why it cannot be had, with `isLost` where it
 * may be had later.
 */
export async function load(name, video) {
    const found = await PLAYERS[name].module().catch(() => null);
    if (!found) return { missing: 'The server cannot be reached.', isLost: true };
    if (name === 'mse') return hasMse ? { ...found, libraries: {} } : { missing: NO_MSE };
    if (isHls(name) && isSafari) return { ...found, libraries: {} };
    const library = isHls(name) ? 'hls.js' : 'mpegts.js';
    try {
        const { default: loaded } = await (isHls(name) ? import('./hls.js') : import('./mpegts.js'));
        if (loaded.isSupported()) return { ...found, libraries: { [isHls(name) ? 'hls' : 'mpegts']: loaded } };
    } catch {
        if (!isHls(name) || !isNative(video)) return { missing: `This server was built without ${library}, which plays such streams here.` };
    }
    return isHls(name) && isNative(video) ? { ...found, libraries: {} } : { missing: NO_MSE };
}
