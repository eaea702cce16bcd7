import { useId, useState } from 'preact/hooks';
import { ask, type FileJob } from '../api.ts';
import { count, duration } from '../format.ts';
import type { Tone } from '../health.ts';
import { Badge, Button, Confirm, Empty, Field, FormDialog, Heading, Missing, Path, Table, type Column } from '../parts.tsx';
import { linkToStream } from '../route.ts';
import { isAdmin, note, useList } from '../state.ts';
import { locale, words } from '../words.ts';

const TONES: Record<FileJob['state'], Tone> = { playing: 'good', finished: 'idle', stopped: 'idle', failed: 'bad' };

export function Files() {
    const { files: t, common } = words.value;
    const l = locale.value;
    const files = useList<FileJob>('/files');
    const [isAdding, setAdding] = useState(false);
    const [ending, setEnding] = useState<FileJob | null>(null);
    const columns: Column<FileJob>[] = [
        { name: 'stream', title: common.stream, by: ({ stream }) => stream, cell: ({ stream }) => <a class="name" title={stream} href={linkToStream(stream)}>{stream}</a> },
        { name: 'file', title: t.file, isWide: true, by: ({ file }) => file, cell: ({ file }) => <Path text={file} /> },
        {
            name: 'state', title: t.state, by: ({ state }) => state,
            cell: ({ state, error }) => (
                <div class="state">
                    <Badge tone={error && state === 'playing' ? 'warn' : TONES[state]}>{t.states[state]}</Badge>
                    {error ? <p class="reason"><Path text={error} /></p> : null}
                </div>
            ),
        },
        { name: 'position', title: t.position, isNumber: true, by: ({ position_ms }) => position_ms, cell: (job) => <>{duration(job.position_ms, l)} <span class="soft">{t.done(count(job.loops_done, l))}</span></> },
        ...isAdmin.value ? [{
            name: 'actions', title: common.actions, isUntitled: true,
            cell: (job: FileJob) => <Button small aria-label={`${t.end} ${job.stream}`} onClick={() => setEnding(job)}>{t.end}</Button>,
        }] : [],
    ];
    return (
        <>
            <Heading title={t.title}>{isAdmin.value ? <Button kind="main" onClick={() => setAdding(true)}>{t.add}</Button> : null}</Heading>
            <p class="soft">{t.intro}</p>
            {!files.data ? <Missing problem={files.problem} />
                : files.data.length === 0 ? <Empty title={t.none}><p>{t.noneHow}</p></Empty>
                    : <Table label={t.title} columns={columns} rows={files.data} id={({ id }) => id} />}
            {isAdding ? <FileForm onClose={() => {
                setAdding(false);
                files.again();
            }} /> : null}
            {ending ? <Confirm title={t.endTitle(ending.stream)} text={t.endText} label={t.end} done={t.ended}
                does={() => ask('DELETE', `/files/${ending.id}`)} onClose={() => {
                    setEnding(null);
                    files.again();
                }} /> : null}
        </>
    );
}

function FileForm({ onClose }: { onClose: () => void }) {
    const { files: t, common } = words.value;
    const id = useId();
    const [stream, setStream] = useState('');
    const [paths, setPaths] = useState('');
    const [loops, setLoops] = useState('');
    const does = async () => {
        const listed = paths.split('\n').map((path) => path.trim()).filter(Boolean);
        await ask('POST', '/files', { stream: stream.trim(), paths: listed, ...loops ? { loops: Number(loops) } : {} });
        note(t.added);
    };
    return (
        <FormDialog title={t.add} label={t.add} does={does} onClose={onClose}>
            <Field label={common.stream} hint={common.streamHint} value={stream} onValue={setStream} required />
            <div class="field">
                <label for={id}>{t.paths}</label>
                <textarea id={id} rows={3} required value={paths} spellcheck={false} aria-describedby={`${id}-hint`} onInput={(event) => setPaths(event.currentTarget.value)} />
                <p id={`${id}-hint`} class="soft hint">{t.pathsHint}</p>
            </div>
            <Field label={t.loops} hint={t.loopsHint} value={loops} onValue={setLoops} type="number" min="1" max="4294967295" />
        </FormDialog>
    );
}
