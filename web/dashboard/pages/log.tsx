import { useEffect, useRef, useState } from 'preact/hooks';
import { ask, type List, type LogLine } from '../api.ts';
import { clock, moment } from '../format.ts';
import { Check, Choice, Empty, Filter, Heading, Missing } from '../parts.tsx';
import { generation, isAdmin, useLive } from '../state.ts';
import { locale, words } from '../words.ts';

type Level = 'all' | 'info' | 'warn' | 'error';
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error'];
/** Lines that are kept here, as the server does, and asked for at once. */
const KEPT = 1000;

export function Log() {
    const { log: t, common } = words.value;
    const [level, setLevel] = useState<Level>('all');
    const [filter, setFilter] = useState('');
    const [isFollowed, setFollowed] = useState(true);
    const kept = useRef({ generation: 0, lines: [] as LogLine[] });
    const end = useRef<HTMLDivElement>(null);
    const log = useLive<LogLine[]>(isAdmin.value ? '/log' : null, async (signal) => {
        if (kept.current.generation !== generation.value) kept.current = { generation: generation.value, lines: [] };
        const last = kept.current.lines.at(-1)?.id;
        const { items } = await ask<List<LogLine>>('GET', `/log?limit=${KEPT}${last === undefined ? '' : `&after=${last}`}`, undefined, signal);
        if (items.length > 0) kept.current.lines = [...kept.current.lines, ...items].slice(-KEPT);
        return kept.current.lines;
    });
    const lines = log.data;
    const least = level === 'all' ? -1 : LEVELS.indexOf(level);
    const wanted = filter.trim().toLowerCase();
    const shown = lines?.filter((line) => LEVELS.indexOf(line.level) >= least && `${line.target} ${line.message}`.toLowerCase().includes(wanted)) ?? [];
    const newest = shown.at(-1)?.id;
    useEffect(() => {
        if (isFollowed && end.current) end.current.scrollTop = end.current.scrollHeight;
    }, [newest, isFollowed]);
    if (!isAdmin.value) return <><Heading title={t.title} /><Empty title={common.viewerOnly} /></>;
    if (log.problem?.status === 404) return <><Heading title={t.title} /><Empty title={t.off} /></>;
    return (
        <>
            <Heading title={t.title} />
            <div class="tools">
                <Choice label={t.level} value={level} onValue={setLevel} options={(['all', 'info', 'warn', 'error'] as const).map((name) => [name, t.levels[name]] as const)} />
                <Filter label={t.filter} value={filter} onValue={setFilter} />
                <Check label={t.follow} checked={isFollowed} onChecked={setFollowed} />
            </div>
            {!lines ? <Missing problem={log.problem} /> : shown.length === 0 ? <Empty title={lines.length === 0 ? t.none : common.noMatch} /> : (
                <div ref={end} class="log" role="log" aria-live="off" aria-label={t.title} tabIndex={0}>
                    {shown.map((line) => (
                        <p key={line.id} class={`line ${line.level}`}>
                            <time title={moment(line.at_ms, locale.value)}>{clock(line.at_ms, locale.value)}</time>
                            <span class="level">{line.level}</span>
                            <span class="text"><span class="soft">{line.target}</span> {line.message}</span>
                        </p>
                    ))}
                </div>
            )}
        </>
    );
}
