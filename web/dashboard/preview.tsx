// The picture of a stream within a page, by the player that the server has for its own pages.

import { useEffect, useRef, useState } from 'preact/hooks';
import { pathOf } from './names.ts';
import { Button } from './parts.tsx';
import { Poster } from './poster.tsx';
import { moduleUrl, words } from './words.ts';

/** Waits between attempts, and how often is looked for the first picture: ms. */
const AGAIN = 2000;
const PERIOD = 250;

interface Over {
    kind: 'ended' | 'refused' | 'lost' | 'unplayable' | 'broken' | 'anew';
    words?: string;
    codec?: { name: string };
}

interface Player {
    arrivals: unknown;
    destroy(): void;
}

interface Modules {
    Player: new (video: HTMLVideoElement, url: string, told: { opened(): void; arrived(): void; over(how: Over): void }) => Player;
    Edge: new (video: HTMLVideoElement, arrivals: unknown, frozen: () => void) => { stop(): void; stalled(): void };
}

/** The player's modules, which are the server's, not of this bundle: who only looks at numbers does not load them. */
async function load(): Promise<Modules> {
    const [player, edge] = await Promise.all([import(moduleUrl('play_mp4')), import(moduleUrl('edge'))]) as [Modules, Modules];
    return { Player: player.Player, Edge: edge.Edge };
}

/** Plays a stream until the function is called that this gives; tells in words what is shown, none where it plays. */
function play(video: HTMLVideoElement, url: string, tell: (text: string) => void): () => void {
    const t = words.value.stream;
    let isOver = false;
    let timer = 0;
    let end = () => {};

    const begin = async () => {
        const modules = await load().catch(() => null);
        if (isOver) return;
        if (!modules) return later(t.lost);
        let edge: InstanceType<Modules['Edge']> | null = null;
        let looking = 0;
        let player: Player | null = null;
        end = () => {
            end = () => {};
            clearInterval(looking);
            edge?.stop();
            player?.destroy();
        };
        player = new modules.Player(video, url, {
            opened: () => {},
            arrived: () => {},
            // Later, as it is being made or destroyed where it tells of it.
            over: (how) => setTimeout(() => !isOver && over(how)),
        });
        edge = new modules.Edge(video, player.arrivals, () => later(t.lost));
        video.onwaiting = () => edge?.stalled();
        looking = window.setInterval(() => {
            if (video.currentTime > 0 && video.readyState >= video.HAVE_CURRENT_DATA) {
                clearInterval(looking);
                tell('');
            }
        }, PERIOD);
        video.play().catch(() => {});
    };
    const later = (text: string) => {
        end();
        tell(text);
        timer = window.setTimeout(() => void begin(), AGAIN);
    };
    const over = (how: Over) => {
        if (how.kind === 'unplayable') {
            end();
            tell(t.unplayable(how.codec?.name ?? ''));
        } else if (how.kind === 'anew') {
            end();
            void begin();
        } else if (how.kind === 'refused') {
            later(t.refused(how.words ?? ''));
        } else {
            later(how.kind === 'ended' ? t.ended : t.lost);
        }
    };
    void begin();
    return () => {
        isOver = true;
        clearTimeout(timer);
        end();
    };
}

export function Preview({ stream, hasPicture }: { stream: string; hasPicture: boolean }) {
    const t = words.value.stream;
    const video = useRef<HTMLVideoElement>(null);
    const [isOn, setOn] = useState(false);
    const [isMuted, setMuted] = useState(true);
    const [text, setText] = useState('');

    useEffect(() => {
        if (!isOn || !video.current) return undefined;
        if (!('MediaSource' in window)) {
            setText(t.noMse);
            return undefined;
        }
        setText(`${t.opening} …`);
        const url = `${location.origin.replace(/^http/, 'ws')}/${pathOf(stream)}.mp4`;
        return play(video.current, url, setText);
    }, [isOn, stream]);

    return (
        <section class="preview" aria-label={t.preview}>
            <div class="stage">
                <video ref={video} playsInline muted={isMuted} hidden={!isOn} aria-label={stream} />
                {isOn ? <p class={text ? 'over' : 'unseen'} role="status">{text}</p> : null}
                {isOn ? null : <Poster stream={stream} hasPicture={hasPicture} />}
                {isOn ? null : <Button kind="main" onClick={() => setOn(true)}>{t.show}</Button>}
            </div>
            <div class="below">
                {isOn ? <Button small onClick={() => setOn(false)}>{t.hide}</Button> : null}
                {isOn ? <Button small aria-pressed={!isMuted} onClick={() => setMuted(!isMuted)}>{isMuted ? t.unmute : t.mute}</Button> : null}
                <a href={`/play/${pathOf(stream)}`} target="_blank" rel="noopener">{t.page}</a>
            </div>
        </section>
    );
}
