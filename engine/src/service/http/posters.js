// Pictures in the list of streams: the newest keyframe of each that somebody sees, as the server has it without a decoder.

/** A picture is exchanged for a newer one after so long, and what there is to do is looked for so often: ms. */
const REFRESH = 10_000;
const PERIOD = 250;
/** A picture that takes longer is given up: ms. */
const PATIENCE = 5000;

/** Lines on the screen. */
const seen = new Set();
/** When lines were asked for the last time, and for those that have no picture for us never again. */
const asked = new WeakMap();
/** Apps that let us see nothing: whoever asks them too often waits for other answers, too. */
const refusing = new Set();

/** `/APP` of a line. */
function appOf({ dataset: { poster } }) {
    return poster.split('/').slice(0, -2).join('/');
}

function show(line, blob) {
    const [place, video] = [line.querySelector('span'), document.createElement('video')];
    const url = URL.createObjectURL(blob);
    Object.assign(video, { muted: true, playsInline: true, preload: 'auto', src: url });
    // The picture before stays until there is another.
    video.onloadeddata = () => {
        hide(line);
        place.append(video);
    };
    video.onerror = () => {
        URL.revokeObjectURL(url);
        asked.set(line, Infinity);
    };
}

/** Lets go of a picture: browsers have few players. */
function hide(line) {
    const video = line.querySelector('video');
    if (!video) return;
    video.onerror = null;
    URL.revokeObjectURL(video.src);
    video.removeAttribute('src');
    video.load();
    video.remove();
}

async function ask(line) {
    asked.set(line, performance.now());
    const reply = await fetch(line.dataset.poster, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) });
    if (reply.ok) {
        const blob = await reply.blob();
        if (seen.has(line)) show(line, blob);
        return;
    }
    asked.set(line, Infinity);
    if (reply.status === 401 || reply.status === 403) refusing.add(appOf(line));
}

/** Whether a line has gone without a new picture for long enough. */
function isDue(line) {
    return performance.now() - (asked.get(line) ?? -Infinity) > REFRESH && !refusing.has(appOf(line));
}

/** One at a time, as browsers have few connections. */
async function look() {
    const line = document.hidden ? undefined : [...seen].find(isDue);
    // What the network loses is asked for again in its time.
    if (line) await ask(line).catch(() => {});
    setTimeout(look, line ? 0 : PERIOD);
}

const watcher = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
        if (isIntersecting) {
            seen.add(target);
        } else if (seen.delete(target)) {
            hide(target);
            // Who comes back to it sees it at once.
            if (asked.get(target) < Infinity) asked.delete(target);
        }
    }
});
for (const line of document.querySelectorAll('[data-poster]')) watcher.observe(line);
look();
