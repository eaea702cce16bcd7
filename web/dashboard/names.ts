// Where a stream is for encoders and players, by its name.

/** A name's app, and what is behind its last slash. */
export function split(key: string): [app: string, stream: string] {
    const at = key.lastIndexOf('/');
    return [key.slice(0, at), key.slice(at + 1)];
}

/** A name in a path. Its dots are encoded, so that what it ends in is not taken for the form that it is wanted in. */
export function pathOf(key: string): string {
    return key.split('/').map((name) => encodeURIComponent(name).replaceAll('.', '%2E')).join('/');
}

/** A word of a command for shells. */
export function quoted(text: string): string {
    return /^[\w./:@=+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

interface Urls {
    /** The server as encoders are told it, and the whole. */
    server: string;
    rtmp: string;
    page: string;
    flv: string;
    mp4: string;
    ws: string;
    hls: string;
}

/** The URLs of a stream on this server: RTMP on the port that it listens on, everything else where this page is. */
export function urlsOf(key: string, page: Location, rtmp: { protocol: string; port: string } | null): Urls {
    const [app, stream] = split(key);
    const isUsual = rtmp?.port === (rtmp?.protocol === 'rtmps' ? '443' : '1935');
    const host = `${rtmp?.protocol ?? 'rtmp'}://${page.hostname}${rtmp && !isUsual ? `:${rtmp.port}` : ''}`;
    const http = `${page.origin}/${pathOf(key)}`;
    return {
        server: `${host}/${app}`,
        rtmp: `${host}/${app}/${stream}`,
        page: `${page.origin}/play/${pathOf(key)}`,
        flv: `${http}.flv`,
        mp4: `${http}.mp4`,
        ws: `${http}.flv`.replace(/^http/, 'ws'),
        hls: `${http}/index.m3u8`,
    };
}

/** The port of an address, `[::]:1935`. */
export function portOf(address: string): string {
    return address.slice(address.lastIndexOf(':') + 1);
}
