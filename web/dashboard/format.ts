// Numbers, sizes and times as people read them, in their language. What is not known is a dash.

export const NOTHING = '–';

const UNITS = ['', 'k', 'M', 'G', 'T'];
const formats = new Map<string, Intl.NumberFormat>();

/** A number with so many digits behind its point, or as few as it needs. */
function plain(value: number, digits: number, language: string, isShort = false): string {
    const name = `${language} ${digits} ${isShort}`;
    let format = formats.get(name);
    if (!format) {
        format = new Intl.NumberFormat(language, { minimumFractionDigits: isShort ? 0 : digits, maximumFractionDigits: digits });
        formats.set(name, format);
    }
    return format.format(value);
}

type Known = number | null | undefined;
/** From here on nobody reads seconds alone: ms. */
const LONG = 120_000;

/** A count. */
export function count(value: Known, language: string): string {
    return value === null || value === undefined ? NOTHING : plain(value, 0, language);
}

/** A number with so many digits behind its point. */
export function decimal(value: Known, digits: number, language: string): string {
    return value === null || value === undefined ? NOTHING : plain(value, digits, language);
}

/** A number of some unit, with three digits, or as few as it needs, and the power of a thousand that goes with that. */
function scaled(value: number, unit: string, language: string, isShort = false): string {
    let [shown, power] = [value, 0];
    while (shown >= 999.5 && power < UNITS.length - 1) {
        shown /= 1000;
        power += 1;
    }
    const digits = power === 0 || shown >= 99.95 ? 0 : shown >= 9.995 ? 1 : 2;
    return `${plain(shown, digits, language, isShort)}\u00a0${UNITS[power]}${unit}`;
}

/** Bits per second; `isShort` as at the axis of a chart. */
export function rate(bits: Known, language: string, isShort = false): string {
    return bits === null || bits === undefined ? NOTHING : scaled(bits, 'bit/s', language, isShort);
}

export function bytes(value: Known, language: string): string {
    return value === null || value === undefined ? NOTHING : scaled(value, 'B', language);
}

/** A short time: milliseconds, or seconds where it has many; as clocks show it where it is not short at all. */
export function milliseconds(value: Known, language: string, isShort = false): string {
    if (value === null || value === undefined) return NOTHING;
    if (value >= LONG) return duration(value, language);
    if (Math.abs(value) < 1000) return `${plain(value, 0, language)}\u00a0ms`;
    return `${plain(value / 1000, Math.abs(value) < 10_000 ? 1 : 0, language, isShort)}\u00a0s`;
}

/** How long something lasts, as clocks show it: `1:02:03`, with days before it. */
export function duration(ms: Known, language: string): string {
    if (ms === null || ms === undefined) return NOTHING;
    const all = Math.max(0, Math.floor(ms / 1000));
    const [days, hours, minutes, seconds] = [Math.floor(all / 86_400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60, all % 60];
    const two = (value: number) => String(value).padStart(2, '0');
    const clock = hours > 0 || days > 0 ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
    if (days === 0) return clock;
    return `${new Intl.NumberFormat(language, { style: 'unit', unit: 'day', unitDisplay: 'narrow' }).format(days)} ${clock}`;
}

/** A moment, in milliseconds since 1970. */
export function moment(ms: Known, language: string): string {
    if (ms === null || ms === undefined) return NOTHING;
    return new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'medium' }).format(ms);
}

/** The day of a moment. */
export function day(ms: number, language: string): string {
    return new Intl.DateTimeFormat(language, { dateStyle: 'medium' }).format(ms);
}

/** A moment of today. */
export function clock(ms: number, language: string): string {
    return new Intl.DateTimeFormat(language, { timeStyle: 'medium' }).format(ms);
}
