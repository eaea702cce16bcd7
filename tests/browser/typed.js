// Compiles the dashboard's sources, all types checked, so that a text that a language lacks is an error, and runs their unit tests:
// `node typed.js`. Browsers get what esbuild makes, which checks nothing.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const packages = process.env.STREAMENGINE_BROWSER ?? import.meta.dirname;
const sources = join(import.meta.dirname, '../../web/dashboard');
const folder = mkdtempSync(join(tmpdir(), 'dashboard-'));

function run(program, ...args) {
    const env = { ...process.env, OPENAPI: join(import.meta.dirname, '../../docs/openapi.json') };
    const { status, error } = spawnSync(program, args, { cwd: folder, env, stdio: 'inherit' });
    if (error) throw error;
    if (status !== 0) process.exitCode = 1;
    return status === 0;
}

try {
    // Their packages are looked for around them.
    cpSync(sources, join(folder, 'dashboard'), { recursive: true });
    symlinkSync(join(packages, 'node_modules'), join(folder, 'node_modules'), 'dir');
    const compiled = run(process.execPath, join(packages, 'node_modules/typescript/bin/tsc'), '-p', 'dashboard', '--outDir', 'made');
    if (compiled) {
        writeFileSync(join(folder, 'made/package.json'), '{"type":"module"}');
        cpSync(join(folder, 'dashboard/test'), join(folder, 'made/test'), { recursive: true });
        run(process.execPath, '--test', join(folder, 'made/test/'));
    }
} finally {
    rmSync(folder, { recursive: true, force: true });
}
