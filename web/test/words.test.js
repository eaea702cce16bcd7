import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fitted } from '../page/encoders.js';
import { CATALOGUES, languageOf, wordsOf } from '../page/publish_words.js';

const page = (name) => readFileSync(new URL(`../page/${name}`, import.meta.url), 'utf8');

test('each language has the words of all others, with the same to be put in', () => {
    const parts = (text) => (text.match(/\{\w+\}/g) ?? []).sort().join();
    for (const [language, catalogue] of Object.entries(CATALOGUES)) {
        assert.deepEqual(Object.keys(catalogue), Object.keys(CATALOGUES.en), language);
        for (const [name, text] of Object.entries(catalogue)) {
            assert.ok(text.length > 0, `${language} ${name}`);
            assert.equal(parts(text), parts(CATALOGUES.en[name]), `${language} ${name}`);
        }
    }
});

test('what the page asks for is there, and nothing else', () => {
    const asked = `${page('publish.html')} ${page('publish.js')}`;
    for (const [, name] of page('publish.html').matchAll(/data-words(?:-label)?="(\w+)"/g)) assert.ok(name in CATALOGUES.en, name);
    const whys = page('publish_worker.js').matchAll(/lost\('(\w+)'|'(drained|lost|unreachable)'/g);
    for (const [, first, second] of whys) assert.ok((first ?? second) in CATALOGUES.en, first ?? second);
    const states = ['lost', 'unreachable', 'silent', 'slept', 'drained'];
    for (const name of Object.keys(CATALOGUES.en)) {
        assert.ok(states.includes(name) || new RegExp(`['"]${name}['"]`).test(asked), `nobody says ${name}`);
    }
});

test('the language is the first that is known', () => {
    assert.equal(languageOf(['pt-BR', 'fr-CA', 'en']), 'fr');
    assert.equal(languageOf(['zh-Hans-CN']), 'zh');
    assert.equal(languageOf(['constructor', '']), 'en');
    assert.equal(wordsOf('en')('refusedTaken', { name: '$& <b>' }), 'Somebody else is publishing $& <b> already.');
});

test('pictures fit into the wish, whichever way they are turned, and are never made larger', () => {
    const wish = { width: 1280, height: 720 };
    assert.deepEqual(fitted(1920, 1080, wish), [1280, 720]);
    assert.deepEqual(fitted(1080, 1920, wish), [720, 1280]);
    assert.deepEqual(fitted(640, 480, wish), [640, 480]);
    assert.deepEqual(fitted(1440, 1080, wish), [960, 720]);
    assert.deepEqual(fitted(1280, 720, wish, 1 / 2), [640, 360]);
    assert.deepEqual(fitted(1281, 719, wish), [1280, 718]);
});
