// What codecs are called, by people.

const NAMES = {
    avc1: 'H.264', avc3: 'H.264', hvc1: 'H.265 (HEVC)', hev1: 'H.265 (HEVC)', vvc1: 'H.266 (VVC)', av01: 'AV1', vp09: 'VP9', vp08: 'VP8',
    mp4a: 'AAC', Opus: 'Opus', opus: 'Opus', fLaC: 'FLAC', flac: 'FLAC', '.mp3': 'MP3', 'ac-3': 'AC-3', 'ec-3': 'E-AC-3',
};
/** MPEG-4 audio that is no AAC (RFC 6381 3.3). */
const MP3 = /^mp4a\.(40\.34|6B)$/i;
const VIDEO = /^(avc|hvc|hev|vvc|av01|vp0)/;

/** The name of a four-character code, or of a codec as types of media have it (RFC 6381). */
export function codecName(code) {
    return MP3.test(code) ? 'MP3' : (NAMES[code.slice(0, 4)] ?? code);
}

/** The codecs of a type of media, as `{ code, name, isVideo }`. */
export function codecsOf(type) {
    const codes = type.match(/codecs="?([^"]*)/)?.[1] ?? '';
    return codes.split(',').map((code) => code.trim()).filter(Boolean)
        .map((code) => ({ code, name: codecName(code), isVideo: VIDEO.test(code) }));
}
