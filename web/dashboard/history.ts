// What a stream, or the whole, did in each of the last 600 seconds.

import { useRef } from 'preact/hooks';
import { ask, type List, type Sample } from './api.ts';
import { generation, useLive } from './state.ts';

const KEPT = 600;

interface History {
    /** Seconds since 1970. */
    times: number[];
    samples: Sample[];
}

/** Follows `/history` below a path. Only what is new is asked for. */
export function useHistory(path: string): History | null {
    const kept = useRef({ name: '', begun: 0, samples: [] as Sample[] });
    return useLive<History>(path, async (signal) => {
        const name = `${generation.value} ${path}`;
        if (kept.current.name !== name) kept.current = { name, begun: 0, samples: [] };
        const own = kept.current;
        if (own.samples.length === 0) {
            // Times of samples count from the start of the engine.
            const now = await ask<{ time_ms: number; uptime_ms: number }>('GET', '/time', undefined, signal);
            own.begun = (now.time_ms - now.uptime_ms) / 1000;
        }
        const last = own.samples.at(-1)?.at_s;
        const { items } = await ask<List<Sample>>('GET', `${path}/history${last === undefined ? '' : `?since=${last}`}`, undefined, signal);
        own.samples = [...own.samples, ...items].slice(-KEPT);
        return { times: own.samples.map(({ at_s }) => Math.round(own.begun + at_s)), samples: own.samples };
    }).data;
}
