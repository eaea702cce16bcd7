// The newest keyframe of a stream as its picture, as the server has it without a decoder.

import { useEffect, useRef } from 'preact/hooks';
import { pathOf, split } from './names.ts';
import { Refused } from './refused.ts';

/** A picture is exchanged for a newer one after so long; one that takes longer is given up: ms. */
const REFRESH = 10_000;
const PATIENCE = 5000;

/** Apps that let us see nothing: whoever asks them too often waits for other answers, too. */
const refusing = new Refused();
/** Streams without a picture, as far as is known. */
const unshown = new Refused();
/** One at a time, as browsers have few connections. */
let asking: Promise<unknown> = Promise.resolve();

function picture(stream: string, isWanted: () => boolean): Promise<Blob | null> {
    const ask = async () => {
        if (!isWanted() || unshown.has(stream) || refusing.has(split(stream)[0])) return null;
        const aborting = new AbortController();
        const late = setTimeout(() => {
            // All others wait for it. Without a keyframe for so long it has none to show for now.
            unshown.add(stream);
            aborting.abort();
        }, PATIENCE);
        try {
            const reply = await fetch(`/${pathOf(stream)}/keyframe.mp4`, { cache: 'no-store', signal: aborting.signal });
            if (reply.ok) return await reply.blob();
            // In a codec or profile that no picture is made of, or has not told yet.
            if (reply.status === 415) unshown.add(stream);
            if (reply.status === 401 || reply.status === 403) refusing.add(split(stream)[0]);
            return null;
        } finally {
            clearTimeout(late);
        }
    };
    const asked = asking.then(ask).catch(() => null);
    asking = asked;
    return asked;
}

export function Poster({ stream, hasPicture }: { stream: string; hasPicture: boolean }) {
    const place = useRef<HTMLSpanElement>(null);
    useEffect(() => {
        const own = place.current;
        if (!own || !hasPicture) return undefined;
        let [isSeen, isBroken, timer, url] = [false, false, 0, ''];
        const hide = () => {
            const video = own.querySelector('video');
            if (!video) return;
            // Browsers have few players: this one is let go of at once.
            video.onerror = null;
            video.removeAttribute('src');
            video.load();
            video.remove();
            URL.revokeObjectURL(url);
        };
        const show = (blob: Blob) => {
            const video = document.createElement('video');
            const next = URL.createObjectURL(blob);
            Object.assign(video, { muted: true, playsInline: true, preload: 'auto', src: next, tabIndex: -1 });
            // The picture before stays until there is another.
            video.onloadeddata = () => {
                hide();
                url = next;
                if (isSeen) own.append(video);
            };
            video.onerror = () => {
                URL.revokeObjectURL(next);
                isBroken = true;
            };
        };
        const look = async () => {
            clearTimeout(timer);
            if (!isSeen || isBroken) return;
            const blob = document.hidden ? null : await picture(stream, () => isSeen);
            if (blob && isSeen) show(blob);
            clearTimeout(timer);
            timer = window.setTimeout(() => void look(), REFRESH);
        };
        const watcher = new IntersectionObserver(([change]) => {
            isSeen = change?.isIntersecting ?? false;
            if (isSeen) void look();
            else hide();
        });
        watcher.observe(own);
        return () => {
            isSeen = false;
            watcher.disconnect();
            clearTimeout(timer);
            hide();
        };
    }, [stream, hasPicture]);
    return <span ref={place} class="poster" aria-hidden="true" />;
}
