// Numbers over time, with a table of the same beside them.

import { useEffect, useRef, useState } from 'preact/hooks';
import type uPlot from 'uplot';
import { clock } from './format.ts';
import { theme } from './state.ts';
import { locale, moduleUrl, words } from './words.ts';

interface Line {
    label: string;
    values: (number | null)[];
    /** Which colour of the page. */
    color: 1 | 2;
}

/** Words of a value, at the axis as few as it needs. */
export type Show = (value: number | null | undefined, isShort?: boolean) => string;

/** One row of the table for so many samples. */
const EACH = 10;
/** Of a chart, in pixels, with the axes. */
const HEIGHT = 150;
/** Of a label at the axis of times and what is beside it, in pixels; and what may be between two, in seconds. */
const LABEL = 76;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 300, 600];
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 1_000_000];

/** What draws, which only those load who see a chart. */
let drawing: Promise<typeof uPlot> | null = null;

async function load(): Promise<typeof uPlot> {
    drawing ??= import(moduleUrl('uplot')).then((found: { default: typeof uPlot }) => found.default);
    drawing.catch(() => {
        drawing = null;
    });
    return drawing;
}

const dark = matchMedia('(prefers-color-scheme: dark)');

/** A colour of the page's style. */
function color(name: string): string {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axis(more: uPlot.Axis): uPlot.Axis {
    const line = { stroke: color('--line'), width: 1 };
    return { stroke: color('--soft'), font: '12px system-ui, sans-serif', grid: line, ticks: { ...line, size: 4 }, ...more };
}

/** `times` are seconds since 1970; `show` makes words of a value. */
export function Chart({ title, times, lines, show, isCount }: {
    title: string;
    times: number[];
    lines: Line[];
    show: Show;
    /** Whether there is nothing between whole numbers. */
    isCount?: boolean;
}) {
    const place = useRef<HTMLDivElement>(null);
    const plot = useRef<uPlot | null>(null);
    const [at, setAt] = useState<number | null>(null);
    const [isOpen, setOpen] = useState(false);
    const [scheme, setScheme] = useState(dark.matches);
    const shown = useRef(show);
    shown.current = show;
    const tongue = locale.value;
    const data: uPlot.AlignedData = [times, ...lines.map(({ values }) => values)];
    const drawn = useRef(data);
    drawn.current = data;
    const newest = times.length - 1;

    useEffect(() => {
        const changed = () => setScheme(dark.matches);
        dark.addEventListener('change', changed);
        return () => dark.removeEventListener('change', changed);
    }, []);

    useEffect(() => {
        let isOver = false;
        let end = () => {};
        void load().then((Plot) => {
            if (!isOver && place.current) end = draw(Plot, place.current);
        }, () => {});
        return () => {
            isOver = true;
            end();
        };
    }, [theme.value, scheme, tongue, lines.length]);

    const draw = (Plot: typeof uPlot, own: HTMLDivElement) => {
        const made = new Plot({
            width: own.clientWidth || 300,
            height: HEIGHT,
            legend: { show: false },
            cursor: { y: false, drag: { setScale: false }, points: { size: 6 } },
            padding: [8, 22, 0, 0],
            scales: { y: { range: (_, low, high) => span(low, high) } },
            axes: [
                axis({ values: (_, splits) => splits.map((split) => clock(split * 1000, tongue).replace(/:00(?!:)/, '')), space: LABEL, incrs: STEPS, size: 26, gap: 2 }),
                axis({ values: (_, splits) => splits.map((split) => shown.current(split, true)), size: 76, space: 32, ...isCount ? { incrs: WHOLE } : {} }),
            ],
            series: [{}, ...lines.map(({ color: number }) => ({
                stroke: color(`--chart-${number}`), width: 1.5, fill: `${color(`--chart-${number}`)}1a`, points: { show: false }, spanGaps: false,
            }))],
            hooks: { setCursor: [({ cursor }) => setAt(cursor.idx ?? null)] },
        }, drawn.current, own);
        plot.current = made;
        const watcher = new ResizeObserver(() => {
            if (own.clientWidth > 0 && own.clientWidth !== made.width) made.setSize({ width: own.clientWidth, height: HEIGHT });
        });
        watcher.observe(own);
        return () => {
            watcher.disconnect();
            made.destroy();
            plot.current = null;
        };
    };

    useEffect(() => {
        plot.current?.setData(data);
    }, [times]);

    const index = at !== null && at <= newest ? at : newest;
    const rows = times.map((_, row) => row).filter((row) => (newest - row) % EACH === 0).reverse();
    const { common } = words.value;
    return (
        <figure class="chart">
            <figcaption>
                <span class="strong">{title}</span>
                <span class="legend">{lines.map(({ label, values, color: number }) => (
                    <span key={label}>{lines.length > 1 ? <><span class={`key of-${number}`} aria-hidden="true" />{label} </> : null}<span class="value">{show(values[index])}</span></span>
                ))}</span>
            </figcaption>
            <div ref={place} class="plot" aria-hidden="true" />
            <details onToggle={(event) => setOpen(event.currentTarget.open)}>
                <summary>{common.asTable}<span class="unseen">: {title}</span></summary>
                {isOpen ? (
                    <div class="table low" role="region" aria-label={title} tabIndex={0}>
                        <table class="plain">
                            <thead><tr><th scope="col">{common.time}</th>{lines.map(({ label }) => <th key={label} scope="col" class="number">{label}</th>)}</tr></thead>
                            <tbody>{rows.map((row) => (
                                <tr key={times[row]}>
                                    <td>{clock((times[row] ?? 0) * 1000, tongue)}</td>
                                    {lines.map(({ label, values }) => <td key={label} class="number">{show(values[row])}</td>)}
                                </tr>
                            ))}</tbody>
                        </table>
                    </div>
                ) : null}
            </details>
        </figure>
    );
}

/** What is to be seen of the values: from 0 on, unless some are below it. */
function span(low: number | null, high: number | null): [number, number] {
    const [least, most] = [Math.min(low ?? 0, 0), Math.max(high ?? 0, 0)];
    return [least * 1.1, (most || 1) * 1.1];
}
