// Asks for the stream while the rest of the page is still on its way: what brings it here takes about as long as that.

import { firstChoice, isHls, urlFor } from './choice.js';
import { connectAhead } from './source.js';

const choice = firstChoice();
// HLS is asked for by others.
if (!isHls(choice)) connectAhead(urlFor(choice));
