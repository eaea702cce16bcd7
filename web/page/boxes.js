// What a player needs to know of MP4 (ISO/IEC 14496-12): the tracks of an init segment, when the frames of a fragment are due, and
// where one ends and the next begins. The browser reads the rest.

const HEAD = 8;
/** `sample_is_non_sync_sample` (8.8.3.1). */
const NO_SYNC = 0x10000;
/** More than an init segment or a fragment ever has; who sends more without an end speaks another language: bytes. */
const LONGEST = 64 << 20;

/** The type of a box, four characters. */
export function typeOf(view, at = 0) {
    return String.fromCharCode(...[4, 5, 6, 7].map((byte) => view.getUint8(at + byte)));
}

/** The boxes between two places: their types, and where their contents begin and end. */
function* boxes(view, start = 0, end = view.byteLength) {
    for (let at = start; at + HEAD <= end;) {
        const size = view.getUint32(at);
        if (size < HEAD || at + size > end) throw new RangeError(`a box of ${size} bytes`);
        yield { type: typeOf(view, at), start: at + HEAD, end: at + size };
        at += size;
    }
}

/** The boxes that lie in boxes of these types. */
function* within(view, { start, end }, type, ...path) {
    for (const box of boxes(view, start, end)) {
        if (box.type !== type) continue;
        if (path.length === 0) yield box;
        else yield* within(view, box, ...path);
    }
}

function whole(view) {
    return { start: 0, end: view.byteLength };
}

/** Flags of a box, and its version in the highest byte. */
function flagsOf(view, box) {
    return view.getUint32(box.start);
}

/** A field that is longer in version 1. */
function wide(view, box, at) {
    const isWide = view.getUint8(box.start) === 1;
    return isWide ? Number(view.getBigUint64(box.start + at)) : view.getUint32(box.start + at);
}

/** The tracks of an init segment, by their numbers: `{ isVideo, timescale }`. */
export function tracksOf(view) {
    const tracks = new Map();
    for (const trak of within(view, whole(view), 'moov', 'trak')) {
        const [tkhd] = within(view, trak, 'tkhd');
        const [mdhd] = within(view, trak, 'mdia', 'mdhd');
        const [hdlr] = within(view, trak, 'mdia', 'hdlr');
        // Behind two times.
        const behind = (box) => box.start + 4 + (view.getUint8(box.start) === 1 ? 16 : 8);
        const isVideo = typeOf(view, hdlr.start + 4) === 'vide';
        tracks.set(view.getUint32(behind(tkhd)), { isVideo, timescale: view.getUint32(behind(mdhd)) });
    }
    return tracks;
}

/** What is in a fragment, for each track: `{ isVideo, time, frames, isKey }`, `time` in seconds, `isKey` of the first frame. */
export function runsOf(view, tracks) {
    const runs = [];
    for (const traf of within(view, whole(view), 'moof', 'traf')) {
        const [tfhd] = within(view, traf, 'tfhd');
        const [tfdt] = within(view, traf, 'tfdt');
        const [trun] = within(view, traf, 'trun');
        const track = tracks.get(view.getUint32(tfhd.start + 4));
        if (!track || !tfdt || !trun) continue;
        const flags = firstFlags(view, trun) ?? defaultFlags(view, tfhd) ?? 0;
        runs.push({
            isVideo: track.isVideo,
            time: wide(view, tfdt, 4) / track.timescale,
            frames: view.getUint32(trun.start + 4),
            isKey: (flags & NO_SYNC) === 0,
        });
    }
    return runs;
}

/** Flags of the first frame of a run (8.8.8), where it has some. */
function firstFlags(view, trun) {
    const flags = flagsOf(view, trun);
    const fields = (bits) => bits.filter((bit) => flags & bit).length * 4;
    let at = trun.start + 8 + fields([0x1]);
    if (flags & 0x4) return view.getUint32(at);
    if (!(flags & 0x400)) return undefined;
    at += fields([0x100, 0x200]);
    return view.getUint32(at);
}

/** Flags of the frames of a fragment's track (8.8.7), where it has some. */
function defaultFlags(view, tfhd) {
    const flags = flagsOf(view, tfhd);
    if (!(flags & 0x20)) return undefined;
    const before = [[0x1, 8], [0x2, 4], [0x8, 4], [0x10, 4]];
    return view.getUint32(before.reduce((at, [bit, size]) => at + (flags & bit ? size : 0), tfhd.start + 8));
}

/** Cuts what comes in pieces of any length into init segments and fragments. */
export class Cutter {
    #bytes = new Uint8Array(0);

    /** The buffers of those that have become whole. */
    feed(piece) {
        const bytes = new Uint8Array(this.#bytes.length + piece.length);
        if (bytes.length > LONGEST) throw new RangeError('boxes without an end');
        bytes.set(this.#bytes);
        bytes.set(piece, this.#bytes.length);
        const view = new DataView(bytes.buffer);
        const cut = [];
        let start = 0;
        for (let at = 0; at + HEAD <= bytes.length;) {
            const size = view.getUint32(at);
            if (size < HEAD) throw new RangeError(`a box of ${size} bytes`);
            if (at + size > bytes.length) break;
            const type = typeOf(view, at);
            at += size;
            if (type === 'moov' || type === 'mdat') {
                cut.push(bytes.buffer.slice(start, at));
                start = at;
            }
        }
        this.#bytes = bytes.subarray(start);
        return cut;
    }
}
