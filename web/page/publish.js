// The page that publishes one stream: what is sent is chosen and seen before it goes out, and said in words while it does.

import { follow, mixed } from './capture.js';
import { encodesPictures } from './encoders.js';
import { languageOf, wordsOf } from './publish_words.js';
import { publish } from './publisher.js';

const PAGE = '/publish/';
/** Where choices are kept: of this device, and of this tab. */
const DEVICES = 'streamengine-publish';
const PLACES = 'streamengine-destinations';
const NONE = 'none';
const SCREEN = 'screen';
const SCREEN_SOUND = 'screen-sound';
const BOTH_SOUNDS = 'both-sounds';
/** What is chosen that is no device. */
const OTHERS = [NONE, SCREEN, SCREEN_SOUND, BOTH_SOUNDS, ''];
/** States in which something goes out, or will. */
const RUNNING = ['connecting', 'live', 'adapting', 'reconnecting'];

const find = (selector) => document.querySelector(selector);
const page = find('main');
const video = find('video');
const act = find('#act');
const other = find('#other');
const fields = { camera: find('#camera'), microphone: find('#microphone'), size: find('#size'), rate: find('#rate'), bitrate: find('#bitrate') };
const path = location.pathname.slice(PAGE.length);
const name = decoded(path);
const language = languageOf(navigator.languages ?? ['en']);
const words = wordsOf(language);

/** What is captured: tracks of devices and of a screen, and the one of both sounds together. */
const devices = { video: null, audio: null };
const shared = { video: null, audio: null };
let mix = null;
/** What was chosen the last time. */
let remembered = {};
let meter = null;
/** What is sent, or would be. */
let chosen = { video: null, audio: null };
let publication = null;
let notices = {};
const places = { offered: [], wished: new Set(), states: new Map() };

function decoded(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return text;
    }
}

/** Shows a state in words, and up to two buttons as `[label, does]`. Names are text, never markup. */
function show(state, text, first = null, second = null) {
    page.dataset.state = state;
    const line = find('#words');
    if (line.textContent !== text) line.textContent = text;
    for (const [button, what] of [[act, first], [other, second]]) {
        button.hidden = !what;
        button.textContent = what?.[0] ?? '';
        button.onclick = what?.[1] ?? null;
    }
    const isRunning = RUNNING.includes(state);
    find('#quality').disabled = isRunning;
    find('#entry').disabled = isRunning;
    find('#numbers').hidden = state !== 'live' && state !== 'adapting';
}

/** What is to be said beside the state; by `about`, so that it can be taken back. */
function notice(about, text = '') {
    if ((notices[about] ?? '') === text) return;
    notices = { ...notices, [about]: text };
    find('#notice').textContent = Object.values(notices).filter(Boolean).join(' ');
}

// What is kept.

function kept(storage, name) {
    try {
        return JSON.parse(storage.getItem(name)) ?? {};
    } catch {
        return {};
    }
}

function keep(storage, name, value) {
    try {
        storage.setItem(name, JSON.stringify(value));
    } catch {
        // Browsers may allow none.
    }
}

function keepFields() {
    keep(localStorage, DEVICES, Object.fromEntries(Object.entries(fields).map(([name, { value }]) => [name, value])));
}

/** A key may come in the address, behind the `#` that browsers send to nobody; it stays neither there nor in the history. */
function takeKey() {
    const key = new URLSearchParams(location.hash.slice(1)).get('key');
    if (key !== null) find('#key').value = key;
    if (location.hash) history.replaceState(null, '', location.pathname + location.search);
}

// Devices.

function options(select, list) {
    const before = select.value;
    select.replaceChildren(...list.map(([value, text]) => Object.assign(document.createElement('option'), { value, textContent: text })));
    if (list.some(([value]) => value === before)) select.value = before;
}

async function listDevices() {
    const found = await navigator.mediaDevices.enumerateDevices().catch(() => []);
    const of = (kind, label) => found.filter((device) => device.kind === kind && device.deviceId !== '')
        .map((device, i) => [device.deviceId, device.label || words(label, { n: i + 1 })]);
    const cameras = of('videoinput', 'cameraNumber');
    const microphones = of('audioinput', 'microphoneNumber');
    const canShare = 'getDisplayMedia' in navigator.mediaDevices;
    options(fields.camera, [...cameras, ...canShare ? [[SCREEN, words('screen')]] : [], [NONE, words('none')]]);
    const sounds = shared.audio ? [[SCREEN_SOUND, words('screenSound')], [BOTH_SOUNDS, words('bothSounds')]] : [];
    options(fields.microphone, [...microphones, ...sounds, [NONE, words('none')]]);
}

function wish() {
    const [width, height] = fields.size.value.split('x').map(Number);
    return { width, height, rate: Number(fields.rate.value), bitrate: Number(fields.bitrate.value) * 1000 };
}

/** What is asked of a camera and a microphone; at first those of the last time, where they are there. */
function constraints(kinds) {
    const { width, height, rate } = wish();
    const device = (field) => {
        const isDevice = !OTHERS.includes(field.value);
        return { deviceId: isDevice ? { exact: field.value } : { ideal: remembered[field.id] ?? '' } };
    };
    return {
        video: kinds.includes('video') && { ...device(fields.camera), width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: rate } },
        audio: kinds.includes('audio') && { ...device(fields.microphone), channelCount: { ideal: 2 } },
    };
}

/** Opens devices of these kinds; where there is none of one, the other. */
async function openDevices(kinds) {
    let stream;
    try {
        stream = await navigator.mediaDevices.getUserMedia(constraints(kinds));
    } catch (error) {
        if (error.name !== 'NotFoundError' || kinds.length < 2) throw error;
        stream = await openDevices(['video']).catch(() => openDevices(['audio']));
        return stream;
    }
    for (const track of stream.getTracks()) {
        devices[track.kind]?.stop();
        devices[track.kind] = track;
    }
    return stream;
}

async function openScreen() {
    const { rate } = wish();
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: rate } }, audio: true });
    for (const kind of ['video', 'audio']) {
        shared[kind]?.stop();
        shared[kind] = stream.getTracks().find((track) => track.kind === kind) ?? null;
    }
    notice('screen', shared.audio ? '' : words('noScreenSound'));
}

function inWords({ name, message }) {
    if (name === 'NotAllowedError' || name === 'SecurityError') return words('denied');
    if (name === 'NotFoundError' || name === 'OverconstrainedError') return words('notFound');
    return name === 'NotReadableError' || name === 'AbortError' ? words('busy') : words('failed', { words: message });
}

/** Begins with what somebody has pressed for. */
async function prepare(isScreen) {
    show('asking', words('asking'));
    try {
        if (isScreen) {
            await openScreen();
            // Who shares a screen speaks too, where there is a microphone.
            await openDevices(['audio']).catch(() => null);
        } else {
            await openDevices(['video', 'audio']);
        }
    } catch (error) {
        show('denied', inWords(error), [words('useCamera'), () => prepare(false)], second());
        return;
    }
    await listDevices();
    const idOf = (track) => track?.getSettings().deviceId;
    fields.camera.value = isScreen ? SCREEN : (idOf(devices.video) ?? NONE);
    fields.microphone.value = isScreen && shared.audio ? SCREEN_SOUND : (idOf(devices.audio) ?? NONE);
    if (isScreen && shared.audio && devices.audio) fields.microphone.value = BOTH_SOUNDS;
    use();
    preview();
}

function second() {
    return 'getDisplayMedia' in navigator.mediaDevices ? [words('useScreen'), () => prepare(true)] : null;
}

/** The tracks that the fields say. */
function selected() {
    mix?.end();
    mix = null;
    const picture = { [NONE]: null, [SCREEN]: shared.video };
    const video = Object.hasOwn(picture, fields.camera.value) ? picture[fields.camera.value] : devices.video;
    let audio = devices.audio;
    if (fields.microphone.value === NONE) audio = null;
    if (fields.microphone.value === SCREEN_SOUND) audio = shared.audio;
    if (fields.microphone.value === BOTH_SOUNDS) {
        mix = mixed([devices.audio, shared.audio].filter(Boolean));
        audio = mix.track;
    }
    return { video, audio };
}

/** Shows what is chosen, and sends it where something is sent. */
function use() {
    const before = chosen;
    chosen = selected();
    for (const kind of ['video', 'audio']) {
        if (chosen[kind] === before[kind]) continue;
        publication?.replace(kind, chosen[kind]);
        if (chosen[kind]) notice(kind);
        if (chosen[kind] && !publication) chosen[kind].addEventListener('ended', () => gone(kind, chosen[kind]), { once: true });
    }
    video.srcObject = chosen.video ? new MediaStream([chosen.video]) : null;
    video.classList.toggle('mirrored', chosen.video === devices.video && chosen.video?.getSettings().facingMode === 'user');
    if (chosen.video) video.play().catch(() => {});
    if (chosen.audio === before.audio) return;
    meter?.();
    meter = chosen.audio && follow(chosen.audio, (level) => {
        find('#level').value = level;
    });
    find('#loudness').hidden = !chosen.audio;
}

/** A device has gone before anything was sent; the publisher tells of it later. */
function gone(kind, track) {
    if (publication || chosen[kind] !== track) return;
    lost(kind, '');
}

function lost(kind, why) {
    notice(kind, why ? words('notEncoded', { words: why }) : words(kind === 'video' ? 'noPicture' : 'noSound'));
    fields[kind === 'video' ? 'camera' : 'microphone'].value = NONE;
    for (const from of [devices, shared]) {
        if (from[kind]?.readyState === 'ended') from[kind] = null;
    }
    // The publisher has let go of it.
    chosen = { ...chosen, [kind]: null };
    use();
    listDevices();
}

/** Somebody has chosen another device. */
async function change({ target }) {
    keepFields();
    if (!['preview', ...RUNNING].includes(page.dataset.state)) return;
    try {
        const kind = target === fields.camera ? 'video' : 'audio';
        if (target.value === SCREEN) {
            if (shared.video?.readyState !== 'live') await openScreen();
        } else if (target.value === BOTH_SOUNDS) {
            if (devices.audio?.readyState !== 'live') await openDevices(['audio']);
        } else if (!OTHERS.includes(target.value) && devices[kind]?.getSettings().deviceId !== target.value) {
            await openDevices([kind]);
        }
        notice('device');
    } catch (error) {
        notice('device', inWords(error));
        target.value = NONE;
    }
    await listDevices();
    use();
}

/** Another size is asked of a camera at once, so that what is seen is what will be sent. */
function resize() {
    keepFields();
    const { width, height, rate } = wish();
    devices.video?.applyConstraints({ width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: rate } }).catch(() => {});
}

// Going out.

function preview() {
    show('preview', words('ready'), [words('goLive'), goLive]);
}

function goLive() {
    if (!find('#setup').reportValidity()) return;
    if (!chosen.video && !chosen.audio) return;
    keepFields();
    for (const about of ['destinations', 'opus']) notice(about);
    publication = publish({
        url: location.href,
        stream: name,
        key: find('#key').value,
        ...chosen,
        picture: wish(),
        destinations: [...places.wished],
        onstate: told,
        onlost: lost,
    });
}

function stop() {
    publication?.stop();
}

function told(now) {
    const { state } = now;
    const toStop = [words('stop'), stop];
    if (state === 'connecting') return show(state, words('connecting'), toStop);
    if (state === 'reconnecting') return reconnecting(now, toStop);
    if (state === 'live' || state === 'adapting') {
        show(state, state === 'live' ? words('live') : adapting(now), toStop);
        return live(now);
    }
    publication = null;
    const anew = [words('goLiveAgain'), goLive];
    if (state === 'refused') return show(state, refused(now), [words('again'), goLive]);
    show(state, now.by === 'server' ? words('endedByServer', { words: now.words }) : words('ended'), anew);
}

function reconnecting({ why, attempt, wait }, toStop) {
    const seconds = number(Math.max(wait / 1000, 0.5), wait < 1000 ? 1 : 0);
    show('reconnecting', words('reconnecting', { why: words(why), attempt, seconds }), [words('tryNow'), () => publication?.again()], toStop);
}

/** In steps, so that those who hear the page are not told of each change. */
function adapting({ room, choice, size }) {
    if (!room || !size) return words('adaptingUnknown');
    const rounded = Number((room / 1000).toPrecision(room < 1e6 ? 1 : 2));
    return words('adapting', { room: `${number(rounded)} kbit/s`, size: size.join(' × '), rate: number(choice.rate) });
}

function refused({ code, words: why }) {
    const kind = { 4401: 'refusedKey', 4403: 'refusedForbidden', 4409: 'refusedTaken', 4413: 'refusedFast' }[code] ?? 'refused';
    return words(kind, { words: why || String(code), name });
}

function number(value, digits = 0) {
    return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function live({ seconds, bitrate, rate, frames, size, acknowledged, late, sound, offered, missing, destinations }) {
    const clock = [seconds / 3600, seconds / 60 % 60, seconds % 60].map((part) => String(Math.floor(part)).padStart(2, '0')).join(':');
    numbers([
        ['time', clock],
        ['sent', `${number(bitrate / 1000)} kbit/s`],
        ['picture', size ? size.join(' × ') : words('none')],
        ['rate', number(rate)],
        ['sound', { aac: 'AAC', 'aac-wasm': 'AAC (WebAssembly)', opus: 'Opus' }[sound] ?? words('none')],
        ['leftOut', `${number(frames.leftOut)} / ${number(frames.sent + frames.leftOut)}`],
        ['taken', `${number(acknowledged / 1e6, 1)} MB`],
        ['delay', `${number(late)} ms`],
    ]);
    notice('opus', sound === 'opus' ? words('opus') : '');
    notice('destinations', missing.length > 0 ? words('missing', { names: missing.join(', ') }) : '');
    showPlaces(offered, destinations);
}

function numbers(list) {
    const shown = find('#numbers');
    if (shown.children.length === 0) {
        shown.append(...list.map(([label]) => {
            const group = document.createElement('div');
            group.append(Object.assign(document.createElement('dt'), { textContent: words(label) }), document.createElement('dd'));
            return group;
        }));
    }
    list.forEach(([, value], i) => {
        const cell = shown.children[i].lastChild;
        if (cell.textContent !== value) cell.textContent = value;
    });
}

// Destinations, of which the server tells once it is connected.

function showPlaces(offered, destinations = []) {
    places.states = new Map(destinations.map(({ name, state, error }) => [name, stateOf(state, error)]));
    if (String(offered) !== String(places.offered)) {
        places.offered = offered;
        keepPlaces();
        find('#places').replaceChildren(...offered.map(place));
        find('#destinations').hidden = offered.length === 0;
    }
    for (const line of find('#places').children) {
        const text = places.states.get(line.dataset.name) ?? '';
        if (line.lastChild.textContent !== text) line.lastChild.textContent = text;
    }
}

function stateOf(state, error) {
    const named = { connecting: 'stateConnecting', live: 'stateLive', waiting: 'stateWaiting', failed: 'stateFailed' }[state];
    return [named ? words(named) : state, error].filter(Boolean).join(': ');
}

function place(name) {
    const line = Object.assign(document.createElement('label'), { textContent: '' });
    line.dataset.name = name;
    const box = Object.assign(document.createElement('input'), { type: 'checkbox', checked: places.wished.has(name) });
    box.onchange = () => {
        if (box.checked) places.wished.add(name);
        else places.wished.delete(name);
        keepPlaces();
        publication?.choose([...places.wished]);
    };
    line.append(box, Object.assign(document.createElement('span'), { textContent: name }), document.createElement('small'));
    return line;
}

function keepPlaces() {
    keep(sessionStorage, PLACES, { offered: places.offered, wished: [...places.wished] });
}

// The page.

function translate() {
    document.documentElement.lang = language;
    for (const element of document.querySelectorAll('[data-words]')) element.textContent = words(element.dataset.words);
    for (const element of document.querySelectorAll('[data-words-label]')) element.ariaLabel = words(element.dataset.wordsLabel);
    document.title = words('title', { name });
    find('h1').textContent = words('title', { name });
}

function restore() {
    remembered = kept(localStorage, DEVICES);
    for (const name of ['size', 'rate', 'bitrate']) {
        const [field, value] = [fields[name], remembered[name]];
        if (typeof value !== 'string') continue;
        const before = field.value;
        field.value = value;
        if (field.value !== value || !field.checkValidity()) field.value = before;
    }
    const { offered = [], wished = [] } = kept(sessionStorage, PLACES);
    places.wished = new Set(wished);
    showPlaces(offered);
}

async function begin() {
    takeKey();
    translate();
    find('#watch').href = `/play/${path}`;
    addEventListener('hashchange', takeKey);
    // Asks before somebody leaves.
    addEventListener('beforeunload', (event) => {
        if (publication) event.preventDefault();
    });
    find('#setup').onsubmit = (event) => {
        event.preventDefault();
        if (page.dataset.state === 'preview') goLive();
    };
    if (!isSecureContext) return show('insecure', words('insecure'));
    if (!navigator.mediaDevices || !(await encodesPictures())) return show('unsupported', words('unsupported'));
    restore();
    await listDevices();
    for (const select of [fields.camera, fields.microphone]) select.onchange = change;
    for (const field of [fields.size, fields.rate, fields.bitrate]) field.onchange = resize;
    navigator.mediaDevices.addEventListener('devicechange', listDevices);
    show('setup', words('setup'), [words('useCamera'), () => prepare(false)], second());
}

begin();
