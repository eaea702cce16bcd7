// The texts of the page in the language that was chosen, else the first of the browser's that there is, else English.

import { computed, signal } from '@preact/signals';
import type { Words } from './words/en.ts';

export const LANGUAGES = { en: 'English', de: 'Deutsch', fr: 'Français', zh: '中文' } as const;
export type Language = keyof typeof LANGUAGES;
const KEPT = 'streamengine-language';
/** Where no texts are to be had, the page is loaded again after so long: ms. */
const AGAIN = 2000;

const isLanguage = (text: string | null | undefined): text is Language => Boolean(text) && Object.hasOwn(LANGUAGES, text ?? '');

function first(): Language {
    try {
        const kept = localStorage.getItem(KEPT);
        if (isLanguage(kept)) return kept;
    } catch {
        // Nothing is kept here.
    }
    return navigator.languages.map((language) => language.slice(0, 2).toLowerCase()).find(isLanguage) ?? 'en';
}

/** They are there before anything is shown, which waits for `spoken`. */
export const words = signal(undefined as unknown as Words);
export const language = signal<Language>('en');

/** How numbers and times are written: as where the browser is at home, if that is where the language is spoken. */
export const locale = computed(() => navigator.languages.find((told) => told.slice(0, 2).toLowerCase() === language.value) ?? language.value);

/** The address of a file of the server, which carries a hash: the page has it. */
export function moduleUrl(name: string): string {
    return document.querySelector<HTMLMetaElement>(`meta[name="module-${name}"]`)?.content ?? '';
}

/** Shows the page in a language. It stays in the present one where the texts cannot be had. */
export async function speak(chosen: Language, isChosen = false): Promise<boolean> {
    try {
        words.value = (await import(moduleUrl(`words_${chosen}`)) as { default: Words }).default;
    } catch {
        return false;
    }
    language.value = chosen;
    document.documentElement.lang = chosen;
    if (isChosen) {
        try {
            localStorage.setItem(KEPT, chosen);
        } catch {
            // It holds until the page is left.
        }
    }
    return true;
}

/** Shows the page in its language, or in English where those texts cannot be had. */
async function begin(): Promise<void> {
    if (await speak(first()) || await speak('en')) return;
    // The server has gone since it gave the page. Another one may have other files: the page is asked for anew.
    setTimeout(() => location.reload(), AGAIN);
    await new Promise(() => {});
}

export const spoken = begin();
