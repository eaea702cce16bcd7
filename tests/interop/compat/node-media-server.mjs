// Runs node-media-server, as its users do without a configuration but for addresses.
//
//   node node-media-server.mjs PACKAGES HOST RTMP-PORT HTTP-PORT

import { createRequire } from 'node:module';
import { join } from 'node:path';

const [packages, bind, rtmp, http] = process.argv.slice(2);
const NodeMediaServer = createRequire(join(packages, 'package.json'))('node-media-server');
new NodeMediaServer({ bind, rtmp: { port: Number(rtmp) }, http: { port: Number(http) } }).run();
