// What the server tells and does: its API as `docs/openapi.json` has it, as far as it is shown here.

export type Role = 'viewer' | 'admin';

/** Who asks, as the server knows them. */
export interface Session {
    role: Role | null;
    by: 'address' | 'token' | 'password' | null;
    name: string | null;
    password_set: boolean;
    may_set_password: boolean;
    /** Whether one that is set is there after a restart. */
    password_kept: boolean;
    version: string;
}

export interface Rates {
    audio: number;
    bits_in: number;
    bits_out: number;
    video: number;
}

export interface Summary {
    engine: {
        bytes_in: number;
        bytes_out: number;
        connections: number;
        connections_accepted: number;
        connections_rejected: number;
        panics: number;
        players: number;
        publishers: number;
        ring_bytes: number;
        streams_live: number;
        uptime_ms: number;
    };
    rates: Rates;
    streams: number;
    relays: number;
    files: number;
}

/** Something that is wrong with a stream, and the numbers by which it was found. */
export interface Trouble {
    kind: string;
    detail: Record<string, number | null>;
}

export interface Stream {
    key: string;
    state: 'idle' | 'live' | 'away' | 'ended';
    uptime_ms: number;
    publisher: string | null;
    subscribers: number;
    players: number;
    bytes_in: number;
    bytes_out: number;
    audio_codec: string | null;
    video_codec: string | null;
    audio: { codec: string; profile?: string | null; channels?: number | null; sample_rate?: number | null } | null;
    video: { codec: string; profile?: string | null; level?: number | null; width?: number | null; height?: number | null } | null;
    audio_frames: number;
    video_frames: number;
    keyframes: number;
    resumes: number;
    lags: number;
    frames_skipped: number;
    ring_frames: number;
    ring_bytes: number;
    gop_bytes: number;
    silence_ms: number | null;
    skew_ms: number | null;
    frame_rate: number;
    keyframe_interval_ms: number | null;
    queue_ms: number;
    rates: Rates;
    problems: Trouble[];
}

export interface Sample {
    at_s: number;
    frame_rate_x10: number;
    frames_skipped: number;
    in_kbps: number;
    keyframe_interval_ms: number;
    out_kbps: number;
    players: number;
    queue_ms: number;
    skew_ms: number;
    silence_ms: number;
}

export interface Connection {
    id: number;
    peer: string;
    role: 'pending' | 'publisher' | 'player';
    door: string;
    stream: string | null;
    agent: string | null;
    page: string | null;
    tls: boolean;
    uptime_ms: number;
    bytes_in: number;
    bytes_out: number;
    frames_dropped: number;
    queue_ms: number;
    queue_bytes: number;
    rtt_ms: number | null;
    is_caught_up: boolean;
}

export interface Relay {
    id: number;
    direction: 'push' | 'pull';
    state: string;
    stream: string;
    url: string;
    since_ms: number;
    connected_ms: number | null;
    attempts: number;
    retries: number;
    retry_in_ms: number | null;
    bytes_sent: number;
    bytes_received: number;
    frames_dropped: number;
    queue_ms: number;
    last_error: string | null;
    last_error_kind: string | null;
}

export interface FileJob {
    id: number;
    state: 'playing' | 'finished' | 'stopped' | 'failed';
    stream: string;
    file: string;
    frames: number;
    loops_done: number;
    position_ms: number;
    error: string | null;
}

export interface Key {
    id: string;
    action: 'publish' | 'play';
    stream: string;
    who: string | null;
    created: string | null;
    expires: string | null;
    until: string | null;
    revoked: string | null;
    max_kbps: number | null;
    max_viewers: number | null;
}

export interface MadeKey extends Key {
    key: string | null;
}

export interface Recording {
    id: number;
    state: 'idle' | 'recording' | 'disk-full' | 'failed' | 'stopped';
    stream: string;
    file: string | null;
    files: number;
    bytes: number;
    length_ms: number;
    frames_dropped: number;
    error: string | null;
}

export interface RecordedFile {
    path: string;
    stream: string;
    start: number;
    length_ms: number | null;
    bytes: number;
    is_growing: boolean;
}

export interface LogLine {
    id: number;
    at_ms: number;
    level: string;
    target: string;
    message: string;
}

export interface Listener {
    id: number;
    protocol: 'rtmp' | 'rtmps' | 'http' | 'https';
    address: string;
}

export interface List<T> {
    items: T[];
    next: string | number | null;
}

const BASE = '/api/v1';
/** Replies that take longer are given up: ms. */
const PATIENCE = 15_000;

/** A request that failed: by the server's word (RFC 9457), or with the status 0 because it was not to be reached. */
export class Problem extends Error {
    status: number;
    /** Seconds to wait, where the server has said so. */
    retryAfter: number | null;

    constructor(status: number, detail: string, retryAfter: number | null = null) {
        super(detail);
        this.status = status;
        this.retryAfter = retryAfter;
    }
}

/** A part of a path. Whatever is in a name, it stays one part. */
export function part(text: string | number): string {
    return encodeURIComponent(text);
}

async function problemOf(reply: Response): Promise<Problem> {
    const after = Number(reply.headers.get('retry-after')) || null;
    const told = await reply.json().catch(() => null) as { detail?: unknown } | null;
    return new Problem(reply.status, typeof told?.detail === 'string' ? told.detail : reply.statusText, after);
}

/** Asks for something, or has something done; what is told, `undefined` where that is nothing. */
export async function ask<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    const aborting = new AbortController();
    const abort = () => aborting.abort();
    const timer = setTimeout(abort, PATIENCE);
    signal?.addEventListener('abort', abort);
    try {
        const reply = await fetch(BASE + path, {
            method,
            cache: 'no-store',
            credentials: 'same-origin',
            signal: aborting.signal,
            ...body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } },
        });
        if (!reply.ok) throw await problemOf(reply);
        return (reply.status === 204 ? undefined : await reply.json()) as T;
    } catch (error) {
        throw error instanceof Problem ? error : new Problem(0, '');
    } finally {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
    }
}

/** Something that has happened. */
interface Happening {
    event: string;
    stream?: string;
    [key: string]: unknown;
}

const WATCHED = ['stream-started', 'stream-ended', 'relay-state', 'recording-state', 'file-state'];
/** Where events do not come, numbers are asked for so often: ms. */
const PERIOD = 1000;
/** Events are tried again after so many seconds of that. */
const AGAIN = 5;

/**
 * Tells each second what `/summary` does, and what happens, until the function is called that this gives. Events bring it; where they
 * are not to be had, because too many listen or something on the way keeps them, it is asked for. Nothing is told while nobody can see
 * the page: browsers have six connections to a server for all of its pages, and a page in the background must not hold one.
 */
export function follow(told: {
    summary: (summary: Summary) => void;
    happened: (happening: Happening) => void;
    lost: (problem: Problem) => void;
}): () => void {
    let source: EventSource | null = null;
    let timer = 0;
    let polls = 0;
    let isOver = false;

    function stop() {
        source?.close();
        source = null;
        clearTimeout(timer);
    }

    function listen() {
        const own = new EventSource(`${BASE}/events?snapshot=1&names=${WATCHED}`);
        source = own;
        own.addEventListener('summary', ({ data }) => told.summary(JSON.parse(data) as Summary));
        for (const name of WATCHED) own.addEventListener(name, ({ data }) => told.happened(JSON.parse(data) as Happening));
        own.onerror = () => {
            if (source !== own) return;
            stop();
            polls = 0;
            void poll();
        };
    }

    async function poll() {
        try {
            const summary = await ask<Summary>('GET', '/summary');
            if (isOver || source || document.hidden) return;
            told.summary(summary);
            polls += 1;
        } catch (error) {
            if (isOver || source || document.hidden) return;
            polls = 0;
            told.lost(error as Problem);
        }
        timer = window.setTimeout(() => (polls >= AGAIN ? begin() : void poll()), PERIOD);
    }

    function begin() {
        stop();
        polls = 0;
        if (!document.hidden) listen();
    }

    document.addEventListener('visibilitychange', begin);
    begin();
    return () => {
        isOver = true;
        document.removeEventListener('visibilitychange', begin);
        stop();
    };
}
