// What all pages share: who is here, what the server tells each second, how it is to be shown.

import { signal, computed } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { ask, follow, Problem, type List, type Session, type Summary } from './api.ts';
import { words } from './words.ts';

/** Who is here; `null` until that is known. */
export const session = signal<Session | null>(null);
export const isAdmin = computed(() => session.value?.role === 'admin');
/** Whether who may look only is about to log in. */
export const wantsLogin = signal(false);
/** Whether the server answers. */
export const link = signal<'connecting' | 'live' | 'lost'>('connecting');
export const summary = signal<Summary | null>(null);
/** Counts how often the server has begun anew: its times and numbers count from there. */
export const generation = signal(0);
/** Counts the seconds in which the server has told something: what is shown is asked for anew with each. */
export const tick = signal(0);
/** What has just happened, for those who hear the page. */
export const said = signal('');

interface Note {
    id: number;
    text: string;
    isBad: boolean;
}

/** Short words at the edge of the page. */
export const notes = signal<Note[]>([]);
let noted = 0;
const NOTED = { good: 5000, bad: 12_000 };

export function forget(id: number) {
    notes.value = notes.value.filter((note) => note.id !== id);
}

export function note(text: string, isBad = false) {
    noted += 1;
    const id = noted;
    notes.value = [...notes.value.slice(-3), { id, text, isBad }];
    setTimeout(() => forget(id), isBad ? NOTED.bad : NOTED.good);
}

/** What is wrong, in words. */
export function wordsOf(problem: unknown): string {
    const t = words.value.problems;
    if (!(problem instanceof Problem)) return String(problem);
    if (problem.status === 0) return t.unreachable;
    if (problem.status === 401 && !session.value?.role) return t.loggedOut;
    return problem.message || t.status(problem.status);
}

/** Does something, and says what comes of it; whether it was done. */
export async function act(does: () => Promise<unknown>, done?: string): Promise<boolean> {
    try {
        await does();
        if (done) note(done);
        return true;
    } catch (problem) {
        note(wordsOf(problem), true);
        // Who was let in a moment ago may not be any more.
        if (problem instanceof Problem && [401, 403].includes(problem.status)) void look();
        return false;
    }
}

/** Looks who is here. */
export async function look(): Promise<void> {
    try {
        session.value = await ask<Session>('GET', '/session');
        link.value = 'live';
    } catch {
        link.value = 'lost';
    }
}

let unfollow: (() => void) | null = null;

/** Follows the server while somebody is here who may look. */
session.subscribe((now) => {
    const may = Boolean(now?.role);
    if (may === Boolean(unfollow)) return;
    unfollow?.();
    unfollow = may ? followServer() : null;
    if (!may) summary.value = null;
});

function followServer() {
    return follow({
        summary: (told) => {
            if (told.engine.uptime_ms < (summary.value?.engine.uptime_ms ?? 0)) generation.value += 1;
            summary.value = told;
            link.value = 'live';
            tick.value += 1;
        },
        happened: ({ event, stream }) => {
            const t = words.value.happenings;
            if (event === 'stream-started') said.value = t.started(stream ?? '');
            if (event === 'stream-ended') said.value = t.ended(stream ?? '');
        },
        lost: ({ status }) => {
            if (status === 401 || status === 403) void look();
            else link.value = 'lost';
        },
    });
}

/** Something that is asked for anew with each tick, while it is shown. */
export interface Live<T> {
    data: T | null;
    problem: Problem | null;
    /** Asks now, as something was changed. */
    again: () => void;
}

/** What `read` gives, each `every` seconds; it begins anew with another `name`. */
export function useLive<T>(name: string | null, read: (signal: AbortSignal) => Promise<T>, every = 1): Live<T> {
    const [state, set] = useState<{ name: string | null; data: T | null; problem: Problem | null }>({ name, data: null, problem: null });
    const again = useRef(() => {});
    useEffect(() => {
        if (name === null) return undefined;
        const aborting = new AbortController();
        let isAsking = false;
        const look = async () => {
            if (isAsking) return;
            isAsking = true;
            try {
                const data = await read(aborting.signal);
                if (!aborting.signal.aborted) set({ name, data, problem: null });
            } catch (error) {
                if (aborting.signal.aborted) return;
                const problem = error instanceof Problem ? error : new Problem(0, String(error));
                // What was there stays to be seen while the server is away.
                set((before) => ({ name, data: problem.status === 0 ? before.data : null, problem }));
            } finally {
                isAsking = false;
            }
        };
        again.current = () => void look();
        void look();
        const end = tick.subscribe((at) => {
            if (at > 0 && at % every === 0) void look();
        });
        return () => {
            aborting.abort();
            end();
        };
    }, [name]);
    const isThis = state.name === name;
    return { data: isThis ? state.data : null, problem: isThis ? state.problem : null, again: () => again.current() };
}

/** The same of a list of the API. */
export function useList<T>(path: string | null, every = 1): Live<T[]> {
    return useLive(path, async (signal) => (await ask<List<T>>('GET', path ?? '', undefined, signal)).items, every);
}

/** Light or dark, or as the system has it. */
export type Theme = 'system' | 'light' | 'dark';
const isTheme = (text: string | null): text is Theme => text === 'system' || text === 'light' || text === 'dark';
const kept = read('theme');
export const theme = signal<Theme>(isTheme(kept) ? kept : 'system');

theme.subscribe((chosen) => {
    if (chosen === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    keep('theme', chosen);
});

/** Browsers may be told to keep nothing. */
export function read(name: string): string | null {
    try {
        return localStorage.getItem(`streamengine-${name}`);
    } catch {
        return null;
    }
}

export function keep(name: string, value: string) {
    try {
        localStorage.setItem(`streamengine-${name}`, value);
    } catch {
        // It holds until the page is left.
    }
}
