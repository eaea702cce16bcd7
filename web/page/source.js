// Where a stream comes from: its URL, and the connection that brings it.

const PLAY = '/play/';
/** What the query asks of the page, not of the stream. */
const OF_THE_PAGE = ['player', 'transport'];
/** What has been asked for ahead is waited for by a player for so long at most: ms. */
const UNCLAIMED = 10_000;
/** In a WebSocket that we let be opened to say why there is nothing in it: an HTTP status on top of this. */
const REFUSED = 4000;

/** The name of the stream of a page, for people. */
export function nameOf(location) {
    const path = location.pathname.slice(PLAY.length);
    try {
        return decodeURIComponent(path);
    } catch {
        return path;
    }
}

/**
 * The URL of the stream of a page, with an ending such as `.mp4`; what the page is asked with (a key, say) is asked of the
 * stream, with `more` besides. Not all is in the first `folder` of the server.
 */
export function streamUrl(location, ending, transport, more = {}, folder = '') {
    // `a.live.flv` would be the stream `a`.
    const path = location.pathname.slice(PLAY.length).replace(/\.live$/, '%2Elive');
    const url = new URL(`${folder}/${path}${ending}`, location.href);
    const query = new URLSearchParams(location.search);
    for (const name of OF_THE_PAGE) query.delete(name);
    for (const [name, value] of Object.entries(more)) query.set(name, value);
    url.search = query.toString();
    if (transport === 'ws') url.protocol = url.protocol.replace('http', 'ws');
    return url.href;
}

/** The kind of connection to try, after as many of others as were `exchanged`; the page may be asked for the first. */
export function transportOf(location, transports, exchanged) {
    const asked = new URLSearchParams(location.search).get('transport');
    const first = Math.max(transports.indexOf(asked), 0);
    return transports[(first + exchanged) % transports.length];
}

/** What has been asked for ahead. */
let ahead = null;

/**
 * Asks for a stream before there is a player: the first that connects to this URL gets what has come until then, and all that
 * follows.
 */
export function connectAhead(url) {
    let told = null;
    const waiting = [];
    const later = (name) => (...given) => (told ? told[name](...given) : waiting.push([name, given]));
    const close = begin(url, { opened: later('opened'), came: later('came'), over: later('over') });
    const claim = (by) => {
        // Not before it has what this gives.
        queueMicrotask(() => {
            told = by;
            for (const [name, given] of waiting) told[name](...given);
        });
        return close;
    };
    const own = { url, claim, close };
    ahead = own;
    setTimeout(() => {
        if (ahead !== own) return;
        ahead = null;
        close();
    }, UNCLAIMED);
}

/**
 * Asks for a stream; the end of it is to be had by the function that this gives. It tells `opened(type)`, the type of HTTP's reply,
 * `came(data)`, bytes in an `Uint8Array` or a text, and once `over({ kind, status, words })`, `kind` being `ended` (the stream),
 * `refused` (with its HTTP status) or `lost`.
 */
export function connect(url, told) {
    const own = ahead;
    ahead = null;
    if (own?.url === url) return own.claim(told);
    own?.close();
    return begin(url, told);
}

function begin(url, told) {
    let isOver = false;
    const during = (does) => (...given) => isOver || does(...given);
    const over = during((how) => {
        isOver = true;
        told.over(how);
    });
    const open = url.startsWith('ws') ? openSocket : openBody;
    const close = open(url, { opened: during(told.opened), came: during(told.came), over });
    return () => {
        isOver = true;
        close();
    };
}

function openSocket(url, { opened, came, over }) {
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => opened();
    socket.onmessage = ({ data }) => came(typeof data === 'string' ? data : new Uint8Array(data));
    socket.onclose = ({ code, reason }) => {
        if (code === 1000) over({ kind: 'ended' });
        else if (code > REFUSED) over({ kind: 'refused', status: code - REFUSED, words: reason });
        else over({ kind: 'lost' });
    };
    return () => socket.close();
}

function openBody(url, { opened, came, over }) {
    const aborting = new AbortController();
    const read = async () => {
        const reply = await ask(url, aborting.signal);
        if (reply.refused) return over(reply.refused);
        opened(reply.headers.get('content-type') ?? '');
        const reader = reply.body.getReader();
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return over({ kind: 'ended' });
            came(value);
        }
    };
    read().catch(() => over({ kind: 'lost' }));
    return () => aborting.abort();
}

/** A reply to a request, which has `refused` where it is not what was asked for. */
export async function ask(url, signal) {
    const reply = await fetch(url, { signal, cache: 'no-store', credentials: 'same-origin' });
    if (!reply.ok) reply.refused = { kind: 'refused', status: reply.status, words: (await reply.text()).trim() };
    return reply;
}
