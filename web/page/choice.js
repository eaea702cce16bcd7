// Which player a stream gets: our own, else one of others, which not every build has.

import { FlvPlayer } from './play_flv.js';
import { HlsPlayer } from './play_hls.js';
import { Mp4Player } from './play_mp4.js';

/** By the names that `?player=` has: `ending` of the URLs that they ask for, and `transports` in the order in which they are tried. */
const PLAYERS = {
    // WebSockets tell of each change of codecs, and the six connections of HTTP/1.1 are left to others.
    mse: { Player: Mp4Player, ending: '.mp4', transports: ['ws', 'http'] },
    // WebSockets keep to HTTP/1.1, and share no connection with others.
    mpegts: { Player: FlvPlayer, ending: '.flv', transports: location.protocol === 'https:' ? ['ws', 'http'] : ['http', 'ws'] },
    hls: { Player: HlsPlayer, ending: '/index.m3u8', transports: ['http'] },
};
const NO_MSE = 'This browser has no Media Source Extensions, without which it cannot play live streams here. VLC and mpv can.';

const query = new URLSearchParams(location.search);
const asked = Object.hasOwn(PLAYERS, query.get('player') ?? '') ? query.get('player') : null;

/** Whether a page shall play by one player, whatever comes. */
export const isAsked = asked !== null;

/** Only Safari has this: it plays HLS best. Others have begun to play it too, but not its parts, for little delay. */
const isSafari = 'WebKitPlaybackTargetAvailabilityEvent' in window;

/** The player that is tried first. */
export function firstChoice() {
    if (asked) return asked;
    return Mp4Player.isSupported() && !isSafari ? 'mse' : 'hls';
}

/** The player for a server that has no HLS. */
export function choiceWithoutHls() {
    return !asked && Mp4Player.isSupported() ? 'mse' : null;
}

/** The player that may play a codec that this one cannot. */
export function choiceFor(codec, name, video) {
    if (asked) return null;
    // As such, not in MP4.
    if (name === 'mse' && codec.name === 'MP3' && MediaSource.isTypeSupported('audio/mpeg')) return 'mpegts';
    const isPlayed = codec.code && video.canPlayType(`video/mp4; codecs="${codec.code}"`) !== '';
    return name !== 'hls' && isPlayed && HlsPlayer.isNative(video) ? 'hls' : null;
}

/**
 * What a player is made of: `{ Player, ending, transports, libraries }`, or `{ missing }`, words that say why it cannot be had.
 */
export async function load(name, video) {
    const found = PLAYERS[name];
    if (name === 'mse') return Mp4Player.isSupported() ? { ...found, libraries: {} } : { missing: NO_MSE };
    if (name === 'hls' && isSafari) return { ...found, libraries: {} };
    const library = name === 'hls' ? 'hls.js' : 'mpegts.js';
    try {
        const { default: loaded } = await (name === 'hls' ? import('./hls.js') : import('./mpegts.js'));
        if (loaded.isSupported()) return { ...found, libraries: { [name]: loaded } };
    } catch {
        if (name !== 'hls' || !HlsPlayer.isNative(video)) return { missing: `This server was built without ${library}, which plays such streams here.` };
    }
    return name === 'hls' && HlsPlayer.isNative(video) ? { ...found, libraries: {} } : { missing: NO_MSE };
}
