// Pages by the part of the address behind `#`, which never reaches a server: `#/streams/live%2Fa`.

import { signal } from '@preact/signals';
import { part } from './api.ts';

export const PAGES = ['overview', 'sessions', 'relays', 'files', 'recordings', 'keys', 'log', 'settings'] as const;
type PageName = (typeof PAGES)[number];
export type Route = { page: PageName } | { page: 'stream'; stream: string };

export function parse(hash: string): Route {
    const [first = '', second = ''] = hash.replace(/^#?\/?/, '').split('/');
    if (first === 'streams' && second) {
        try {
            return { page: 'stream', stream: decodeURIComponent(second) };
        } catch {
            return { page: 'overview' };
        }
    }
    return { page: PAGES.find((name) => name === first) ?? 'overview' };
}

export function linkTo(page: PageName): string {
    return page === 'overview' ? '#/' : `#/${page}`;
}

export function linkToStream(key: string): string {
    return `#/streams/${part(key)}`;
}

export const route = signal<Route>(parse(location.hash));
addEventListener('hashchange', () => {
    route.value = parse(location.hash);
});
