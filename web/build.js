// Makes of others' players the files that the page loads where its own cannot play, and the dashboard: `node build.js [FOLDER]`, by
// default `dist`. With `STREAMENGINE_WEB_AAC=1`, also the encoder of AAC that the publishing page loads where a browser has none.
// esbuild is the bundler that others are built around too: one is enough.

import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, extname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const hasAac = process.env.STREAMENGINE_WEB_AAC === '1';
const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, 'dist');

/** Where the player goes wrong: the file, what it says, and what it should say. A new version may no longer need it. */
const MENDED = [
    // As AV1's specification has it (5.9.2): with the condition turned round, the size of a picture is made of other bits.
    ['demux/av1-parser.ts', 'if (keyframe || refresh_frame_flags !== allFrames)', 'if (!keyframe || refresh_frame_flags !== allFrames)'],
    // And (5.9.6): these two are the size, not how many bits it has.
    ['demux/av1-parser.ts', 'RenderWidth = gb.readBits(render_width_bits) + 1;', 'RenderWidth = render_width_bits;'],
    ['demux/av1-parser.ts', 'RenderHeight = gb.readBits(render_height_bits) + 1;', 'RenderHeight = render_height_bits;'],
    // It begins anew at each keyframe of AV1, which costs the picture before, and at that hole browsers stand still: once is
    // enough for each configuration.
    ['demux/flv-demuxer.js',
        'if (keyframe) {\n            let meta = this._videoMetadata;\n\n            const config = AV1OBUParser',
        'if (keyframe && this._told !== String(this._videoMetadata.av1c)) {\n            let meta = this._videoMetadata;\n            this._told = String(meta.av1c);\n            const config = AV1OBUParser'],
];

const mending = {
    name: 'mending',
    setup(bundle) {
        const left = new Set(MENDED);
        bundle.onLoad({ filter: /mpegts\.js\/src\/(.*\.ts|demux\/flv-demuxer\.js)$/ }, async ({ path }) => {
            let contents = await readFile(path, 'utf8');
            for (const mend of MENDED) {
                const [file, wrong, right] = mend;
                if (path.endsWith(`/${file}`) && contents.includes(wrong)) {
                    contents = contents.replace(wrong, right);
                    left.delete(mend);
                }
            }
            // As webpack and the author's compiler take it.
            contents = contents.replace(/import \* as (\w+) from '(events|.*webworkify-webpack)'/g, "import $1 from '$2'");
            return { contents, loader: extname(path).slice(1) };
        });
        // Workers are not used, and what makes them knows webpack only.
        bundle.onLoad({ filter: /webworkify-webpack\.js$/ }, () => ({
            contents: "export default () => { throw new Error('there are no workers here'); };",
        }));
        bundle.onEnd(() => {
            if (left.size > 0) throw new Error(`mpegts.js has changed: ${[...left].map(([, wrong]) => wrong)}`);
        });
    },
};

async function manifest(folder) {
    return JSON.parse(await readFile(join(here, folder, 'package.json'), 'utf8'));
}

/** What is in a file beside its package, as that tells nothing of their licences: those lie in packages of their own. */
const WITHIN = { 'node_modules/hls.js': ['node_modules/eventemitter3', 'node_modules/url-toolkit'] };

const AAC_LICENCES = 'Where a browser encodes no AAC, the publishing page loads an encoder of others, of @mediabunny/aac-encoder and mediabunny, '
    + 'both MPL-2.0, unchanged; their source is at https://github.com/Vanilagy/mediabunny. The encoder itself is that of FFmpeg '
    + '(https://ffmpeg.org), LGPL-2.1 or later, compiled to WebAssembly by its authors\u2019 build script there.\n';

const { version } = await manifest('node_modules/mpegts.js');
const bundled = await build({
    absWorkingDir: here,
    entryPoints: {
        // From its sources: what is not used stays out.
        mpegts: './node_modules/mpegts.js/src/mpegts.js',
        hls: './node_modules/hls.js/dist/hls.light.mjs',
        ...hasAac ? { aac: './aac/aac.js' } : {},
    },
    bundle: true,
    minify: true,
    format: 'esm',
    target: ['chrome94', 'firefox93', 'safari15.4'],
    define: { __VERSION__: JSON.stringify(version) },
    plugins: [mending],
    // The player tells the console of each connection and keyframe.
    drop: ['console'],
    legalComments: 'none',
    metafile: true,
    write: false,
    outdir: 'out',
});

/**
 * The dashboard, and what browsers load as they need it: what draws charts, and texts in each language. No file imports another by its
 * name, as names get a hash later: the page names them all.
 */
const LANGUAGES = ['en', 'de', 'fr', 'zh'];
const dashboard = await build({
    absWorkingDir: here,
    entryPoints: {
        dashboard: './dashboard/main.tsx',
        uplot: './node_modules/uplot/dist/uPlot.esm.js',
        ...Object.fromEntries(LANGUAGES.map((language) => [`words_${language}`, `./dashboard/words/${language}.ts`])),
    },
    bundle: true,
    minify: true,
    format: 'esm',
    target: ['chrome94', 'firefox98', 'safari15.4'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    tsconfigRaw: {},
    legalComments: 'none',
    charset: 'utf8',
    metafile: true,
    write: false,
    outdir: 'out',
});
const inputs = [bundled, dashboard].flatMap(({ metafile }) => Object.keys(metafile.inputs));

/** Licences of everything in the bundles, in the words of its authors. */
async function licences() {
    const packages = new Set(inputs
        .map((input) => input.match(/(?:aac\/)?node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0])
        .filter(Boolean));
    const texts = [
        await readFile(join(here, 'page/licences.txt'), 'utf8'),
        '\nWhere it cannot play, the page loads a player of others; that and the dashboard are made of the following.\n',
        hasAac ? AAC_LICENCES : '',
        `Changed in it: ${[...new Set(MENDED.map(([file]) => `mpegts.js/src/${file}`))].join(', ')}.\n`,
    ];
    for (const folder of [...packages].flatMap((folder) => [folder, ...WITHIN[folder] ?? []]).sort()) {
        const { name, version, license } = await manifest(folder);
        texts.push(`\n=== ${name} ${version} (${license})\n`);
        const files = await readdir(join(here, folder), { recursive: true });
        // Beside a bundle lie the licences of what is in it.
        for (const file of files.filter((file) => /(^|[./])licen[cs]e(\.txt|\.md)?$/i.test(file)).sort()) {
            texts.push(`\n--- ${file}\n\n${await readFile(join(here, folder, file), 'utf8')}`);
        }
    }
    return texts.join('');
}

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });

const files = [bundled, dashboard].flatMap(({ outputFiles }) => outputFiles.map(({ path, contents }) => [basename(path), contents]));
files.push(['licences.txt', Buffer.from(await licences())]);
for (const [name, content] of files) {
    await writeFile(join(out, name), content);
    await writeFile(join(out, `${name}.gz`), gzipSync(content, { level: 9 }));
}
// It names the others, whose names get a hash, and so is not packed.
await writeFile(join(out, 'index.html'), await readFile(join(here, 'dashboard/index.html')));
console.log((await readdir(out)).map((file) => relative(here, join(out, file))).join('\n'));
