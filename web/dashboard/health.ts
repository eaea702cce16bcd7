// What is wrong with streams and relays, in words.

import type { Relay, Stream, Trouble } from './api.ts';
import { decimal, milliseconds, rate } from './format.ts';
import type { Words } from './words/en.ts';

export type Tone = 'good' | 'warn' | 'bad' | 'idle';

/** How a stream does, at a glance. */
export function toneOf(stream: Stream): Tone {
    if (stream.state === 'live') return stream.problems.length > 0 ? 'warn' : 'good';
    return stream.state === 'away' ? 'bad' : 'idle';
}

/** The same as one word. */
export function stateOf(stream: Stream, words: Words): string {
    const trouble = stream.state === 'live' ? stream.problems[0] : undefined;
    if (!trouble) return words.states[stream.state];
    return stream.problems.length > 1 ? words.health.many(stream.problems.length) : titleOf(trouble, words);
}

/** What is wrong with it beside its state: where the publisher is gone, nothing is expected to come. */
export function troublesOf({ state, problems }: Stream): Trouble[] {
    return state === 'away' ? problems.filter(({ kind }) => kind !== 'no-media') : problems;
}

type Known = keyof Words['health']['kinds'];

function known({ kind }: Trouble, words: Words): Known | null {
    return Object.hasOwn(words.health.kinds, kind) ? kind as Known : null;
}

/** The name of what is wrong. An engine that is newer than this page may tell of something else. */
export function titleOf(trouble: Trouble, words: Words): string {
    const kind = known(trouble, words);
    return kind ? words.health.kinds[kind].title : trouble.kind;
}

/** What it means, and what helps. */
export function adviceOf(trouble: Trouble, words: Words): string {
    const kind = known(trouble, words);
    return kind ? words.health.kinds[kind].advice : '';
}

/** The numbers by which it was found. What is usual is 0 where nothing is. */
export function detailOf(trouble: Trouble, words: Words, language: string): string {
    const names: Record<string, string> = words.health.details;
    const said = Object.entries(trouble.detail)
        .filter(([name, value]) => typeof value === 'number' && !(value === 0 && name.startsWith('usual_')))
        .map(([name, value]) => `${Object.hasOwn(names, name) ? names[name] : name} ${quantity(name, value as number, language)}`);
    return said.join(' · ');
}

function quantity(name: string, value: number, language: string): string {
    if (name.endsWith('_ms')) return milliseconds(value, language);
    if (name.endsWith('kbps')) return rate(value * 1000, language);
    return decimal(value, Number.isInteger(value) ? 0 : 1, language);
}

export function toneOfRelay(relay: Relay): Tone {
    if (relay.state === 'publishing' || relay.state === 'playing') return 'good';
    if (relay.state === 'failed') return 'bad';
    if (relay.state === 'idle') return 'idle';
    return relay.last_error ? 'bad' : 'warn';
}

/** Why a relay does not run: of what kind that is, in the language of the page, and the peer's own words. */
export function reasonOf(relay: Relay, words: Words): { title: string; text: string } | null {
    if (!relay.last_error) return null;
    const kinds: Record<string, string> = words.relays.kinds;
    const kind = relay.last_error_kind ?? '';
    return { title: (Object.hasOwn(kinds, kind) ? kinds[kind] : null) ?? words.relays.failed, text: relay.last_error };
}
