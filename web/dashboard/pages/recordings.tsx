import { useEffect, useRef, useState } from 'preact/hooks';
import { ask, part, type List, type RecordedFile, type Recording, type Stream } from '../api.ts';
import { bytes, duration, moment } from '../format.ts';
import type { Tone } from '../health.ts';
import { pathOf } from '../names.ts';
import { Badge, Button, Confirm, Dialog, Empty, Field, Heading, Missing, Path, SHOWN, Table, type Column } from '../parts.tsx';
import { linkToStream } from '../route.ts';
import { isAdmin, useList, useLive } from '../state.ts';
import { locale, words } from '../words.ts';

const TONES: Record<Recording['state'], Tone> = { idle: 'warn', recording: 'good', 'disk-full': 'bad', failed: 'bad', stopped: 'idle' };

/** Files of all streams that are asked for at a time, as far as tables go: what is older is found by its stream. */
const AT_A_TIME = 100;

export function Recordings() {
    const { recordings: t } = words.value;
    const running = useList<Recording>('/recordings');
    return (
        <>
            <Heading title={t.title} />
            <section>
                <h2>{t.running}</h2>
                {!running.data ? <Missing problem={running.problem} />
                    : running.data.length === 0 ? <Empty title={t.noneRunning}><p>{t.noneRunningHow}</p></Empty>
                        : <Running all={running.data} onChange={running.again} />}
            </section>
            <Recorded />
        </>
    );
}

function Running({ all, onChange }: { all: Recording[]; onChange: () => void }) {
    const { recordings: t, stream: s, common } = words.value;
    const l = locale.value;
    const [stopping, setStopping] = useState<Recording | null>(null);
    const columns: Column<Recording>[] = [
        { name: 'stream', title: common.stream, by: ({ stream }) => stream, cell: ({ stream }) => <a class="name" title={stream} href={linkToStream(stream)}>{stream}</a> },
        {
            name: 'state', title: t.state, isWide: true, by: ({ state }) => state,
            cell: ({ state, error }) => <div class="state"><Badge tone={TONES[state]}>{t.states[state]}</Badge>{error ? <p class="reason"><Path text={error} /></p> : null}</div>,
        },
        { name: 'length', title: t.length, isNumber: true, by: ({ length_ms }) => length_ms, cell: ({ length_ms }) => duration(length_ms, l) },
        { name: 'size', title: t.size, isNumber: true, by: (one) => one.bytes, cell: (one) => bytes(one.bytes, l) },
        ...isAdmin.value ? [{
            name: 'actions', title: common.actions, isUntitled: true,
            cell: (one: Recording) => <Button small aria-label={`${t.stop} ${one.stream}`} onClick={() => setStopping(one)}>{t.stop}</Button>,
        }] : [],
    ];
    return (
        <>
            <Table label={t.running} columns={columns} rows={all} id={({ id }) => id} />
            {stopping ? <Confirm title={t.stopTitle(stopping.stream)} text={t.stopText} label={t.stop} done={s.recordStopped}
                does={() => ask('DELETE', `/recordings/${stopping.id}`)} onClose={() => {
                    setStopping(null);
                    onChange();
                }} /> : null}
        </>
    );
}

/** What a file is called, without the mark of one that is being written. */
function nameOf({ path }: RecordedFile): string {
    return path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1).replace(/\.part$/, '');
}

function urlOf(file: RecordedFile): string {
    return `/recordings/${pathOf(file.stream)}/${encodeURIComponent(nameOf(file))}`;
}

/** All recorded files, the newest first, or those of one stream. */
function Recorded() {
    const { recordings: t, common } = words.value;
    const l = locale.value;
    const streams = useList<Stream>('/streams', 5);
    const [wanted, setWanted] = useState('');
    const text = wanted.trim();
    const stream = /^.+\/.+$/.test(text) ? text : null;
    const most = useRef(AT_A_TIME);
    const all = useLive(stream === null ? 'all' : null, (signal) => ask<List<RecordedFile>>('GET', `/recorded-files?limit=${most.current}`, undefined, signal), 5);
    const own = useList<RecordedFile>(stream === null ? null : `/streams/${part(stream)}/recordings`, 3);
    const problem = stream === null ? all.problem : own.problem;
    const files = stream === null ? all.data?.items.filter((file) => file.stream.includes(text)) : own.data && [...own.data].reverse();
    const hasMore = stream === null && all.data?.next && most.current < SHOWN;
    const more = () => {
        most.current += AT_A_TIME;
        all.again();
    };
    const [playing, setPlaying] = useState<RecordedFile | null>(null);
    const columns: Column<RecordedFile>[] = [
        { name: 'stream', title: common.stream, by: (file) => file.stream, cell: (file) => <a class="name" title={file.stream} href={linkToStream(file.stream)}>{file.stream}</a> },
        { name: 'begun', title: t.begun, by: ({ start }) => start, cell: ({ start }) => moment(start * 1000, l) },
        { name: 'file', title: t.file, isWide: true, cell: (file) => <><span class="breaks">{nameOf(file)}</span>{file.is_growing ? <span class="soft"> {t.growing}</span> : null}</> },
        { name: 'length', title: t.length, isNumber: true, by: ({ length_ms }) => length_ms ?? 0, cell: ({ length_ms }) => duration(length_ms, l) },
        { name: 'size', title: t.size, isNumber: true, by: (file) => file.bytes, cell: (file) => bytes(file.bytes, l) },
        {
            name: 'actions', title: common.actions, isUntitled: true,
            cell: (file) => (
                <span class="buttons">
                    <Button small aria-label={`${t.play} ${nameOf(file)}`} onClick={() => setPlaying(file)}>{t.play}</Button>
                    {file.is_growing ? null : <a class="button small" href={urlOf(file)} download={nameOf(file)} aria-label={`${t.download} ${nameOf(file)}`}>{t.download}</a>}
                </span>
            ),
        },
    ];
    const names = [...new Set([...streams.data?.map(({ key }) => key) ?? [], ...all.data?.items.map((file) => file.stream) ?? []])];
    return (
        <section>
            <h2>{t.files}</h2>
            <div class="tools"><Field label={t.of} value={wanted} onValue={setWanted} list={names} placeholder={common.streamHint} /></div>
            {!files && problem?.status !== 404 ? <Missing problem={problem} />
                : !files || files.length === 0 ? <Empty title={t.noFiles} />
                    : <Table label={t.files} columns={columns} rows={files} id={({ path }) => path} />}
            {hasMore ? <Button onClick={more}>{t.older}</Button> : null}
            {playing ? <Watch file={playing} onClose={() => setPlaying(null)} /> : null}
        </section>
    );
}

/** Plays a file. Why that is not possible only the server's answer tells. */
function Watch({ file, onClose }: { file: RecordedFile; onClose: () => void }) {
    const { recordings: t, common, problems } = words.value;
    const [failure, setFailure] = useState(/\.flv$/.test(nameOf(file)) ? t.unplayable : '');
    useEffect(() => {
        if (failure) return;
        fetch(urlOf(file), { method: 'HEAD', cache: 'no-store' }).then(
            ({ ok, status }) => ok || setFailure(status === 404 ? t.notServed : problems.status(status)),
            () => setFailure(problems.unreachable),
        );
    }, []);
    return (
        <Dialog title={nameOf(file)} onClose={onClose}>
            {failure ? <p class="failure" role="alert">{failure}</p> : <video class="watch" src={urlOf(file)} controls autoplay muted playsInline aria-label={nameOf(file)} />}
            <div class="ends"><Button onClick={onClose}>{common.close}</Button></div>
        </Dialog>
    );
}
