// What is encoded as FLV (Adobe's specification, annex E; Opus as Enhanced RTMP has it), as servers take it from publishers.

const AUDIO = 8;
const VIDEO = 9;
const SCRIPT = 18;
/** The longest payload of a tag, whose size has three bytes. */
const LONGEST = 0xff_ff_ff;
/** Samples a second of all Opus that is decoded. */
const OPUS_RATE = 48_000;

/** Codecs of sound: the byte that a tag's payload begins with, and what follows it before a configuration and before frames. */
const SOUNDS = {
    // 44 kHz, 16 bit and stereo are said of all AAC; the configuration tells the truth.
    aac: { configuration: [0xaf, 0], frame: [0xaf, 1] },
    opus: { configuration: [0x90, ...ascii('Opus')], frame: [0x91, ...ascii('Opus')] },
};
/** H.264 with its time of showing, which is that of decoding. */
const CONFIGURATION = [0x17, 0, 0, 0, 0];
const KEYFRAME = [0x17, 1, 0, 0, 0];
const FRAME = [0x27, 1, 0, 0, 0];

function ascii(text) {
    return [...text].map((letter) => letter.charCodeAt(0));
}

/** What a stream begins with, of these kinds. */
export function header(hasAudio, hasVideo) {
    return Uint8Array.from([...ascii('FLV'), 1, (hasAudio ? 4 : 0) | (hasVideo ? 1 : 0), 0, 0, 0, 9, 0, 0, 0, 0]);
}

/** What a stream is about: numbers and texts by their names, as `onMetaData`. */
export function metadata(facts) {
    const entries = Object.entries(facts).filter(([, value]) => value !== undefined);
    const count = [0, 0, 0, entries.length];
    const pairs = entries.flatMap(([name, value]) => [...text(name), ...(typeof value === 'number' ? number(value) : [2, ...text(value)])]);
    return tag(SCRIPT, 0, [2, ...text('onMetaData'), 8, ...count, ...pairs, 0, 0, 9], new Uint8Array(0));
}

/** AMF0: a length and a text; a number with its marker. */
function text(value) {
    const bytes = new TextEncoder().encode(value);
    return [bytes.length >> 8, bytes.length & 0xff, ...bytes];
}

function number(value) {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    return [0, ...new Uint8Array(view.buffer)];
}

/** How H.264 is to be decoded: an AVCDecoderConfigurationRecord. */
export function videoConfiguration(time, record) {
    return tag(VIDEO, time, CONFIGURATION, record);
}

/** A frame of H.264, its units with their lengths before them. */
export function videoFrame(time, isKey, frame) {
    return tag(VIDEO, time, isKey ? KEYFRAME : FRAME, frame);
}

/** How sound is to be decoded: of `aac` an AudioSpecificConfig, of `opus` an identification header. */
export function audioConfiguration(time, codec, record) {
    return tag(AUDIO, time, SOUNDS[codec].configuration, record);
}

/** A frame of sound. */
export function audioFrame(time, codec, frame) {
    return tag(AUDIO, time, SOUNDS[codec].frame, frame);
}

/**
 * Opus' identification header (RFC 7845 5.1), where an encoder gives none. The rate in it is for information alone, and Chromium plays
 * nothing of another than 48,000 in MP4, whatever microphones have.
 */
export function opusHead(channels) {
    const view = new DataView(new ArrayBuffer(19));
    ascii('OpusHead').forEach((byte, at) => view.setUint8(at, byte));
    view.setUint8(8, 1);
    view.setUint8(9, channels);
    // What an encoder needs to begin.
    view.setUint16(10, 312, true);
    view.setUint32(12, OPUS_RATE, true);
    return new Uint8Array(view.buffer);
}

/** Of an encoder's identification header, with the same rate in it. */
export function opusRecord(head) {
    const record = head.slice();
    if (record.length >= 19) new DataView(record.buffer).setUint32(12, OPUS_RATE, true);
    return record;
}

const RATES = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/** An AudioSpecificConfig of AAC-LC (ISO/IEC 14496-3 1.6.2.1), where an encoder gives none; null for a rate that has no number. */
export function aacConfiguration(channels, rate) {
    const index = RATES.indexOf(rate);
    return index < 0 ? null : Uint8Array.from([(2 << 3) | (index >> 1), ((index & 1) << 7) | (channels << 3)]);
}

function tag(kind, time, head, body) {
    const size = head.length + body.byteLength;
    if (size > LONGEST) throw new RangeError(`a tag of ${size} bytes`);
    const bytes = new Uint8Array(11 + size + 4);
    const view = new DataView(bytes.buffer);
    view.setUint8(0, kind);
    view.setUint8(1, size >> 16);
    view.setUint16(2, size & 0xffff);
    // The highest byte of the time comes last.
    view.setUint8(4, (time >> 16) & 0xff);
    view.setUint16(5, time & 0xffff);
    view.setUint8(7, (time >>> 24) & 0xff);
    bytes.set(head, 11);
    bytes.set(body, 11 + head.length);
    view.setUint32(11 + size, 11 + size);
    return bytes;
}
