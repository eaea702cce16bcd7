// What a server has refused, which is not asked for again for a while. Not for ever: a stream may come back in another codec, and
// rights may change, while the page is open.

/** After so long it is asked for once more: ms. */
const AGAIN = 60_000;

export class Refused {
    readonly #until = new Map<string, number>();

    add(name: string, now = performance.now()) {
        for (const [other, until] of this.#until) {
            if (until <= now) this.#until.delete(other);
        }
        this.#until.set(name, now + AGAIN);
    }

    has(name: string, now = performance.now()): boolean {
        return (this.#until.get(name) ?? -Infinity) > now;
    }
}
