import { useState } from 'preact/hooks';
import { ask, part, type Key, type MadeKey, type Stream } from '../api.ts';
import { day, moment, NOTHING, rate } from '../format.ts';
import type { Tone } from '../health.ts';
import { Badge, Button, Check, Choice, Confirm, Copy, Dialog, Empty, Field, Filter, FormDialog, Heading, Missing, Table, Two, type Column } from '../parts.tsx';
import { linkToStream } from '../route.ts';
import { isAdmin, useList } from '../state.ts';
import { locale, words } from '../words.ts';

type KeyState = 'good' | 'expired' | 'revoked';
const TONES: Record<KeyState, Tone> = { good: 'good', expired: 'warn', revoked: 'idle' };

function stateOf({ revoked, expires, until }: Key, now: number): KeyState {
    if (revoked && Date.parse(revoked) <= now) return 'revoked';
    const ends = [expires, until].filter((at): at is string => at !== null).map((at) => Date.parse(at));
    return ends.some((at) => at <= now) ? 'expired' : 'good';
}

/** The day of a moment that is as the API has it; the whole where somebody points at it. */
function told(text: string | null) {
    if (text === null) return NOTHING;
    return <time dateTime={text} title={moment(Date.parse(text), locale.value)}>{day(Date.parse(text), locale.value)}</time>;
}

export function Keys() {
    const { keys: t, common } = words.value;
    const keys = useList<Key>(isAdmin.value ? '/keys' : null, 5);
    const [filter, setFilter] = useState('');
    const [isAll, setAll] = useState(false);
    const [isMaking, setMaking] = useState(false);
    const [rotating, setRotating] = useState<Key | null>(null);
    const [revoking, setRevoking] = useState<Key | null>(null);
    const [made, setMade] = useState<MadeKey | null>(null);
    if (!isAdmin.value) return <><Heading title={t.title} /><Empty title={common.viewerOnly} /></>;
    // A server without a database says so.
    if (keys.problem && keys.problem.status >= 400 && keys.problem.status < 500) {
        return <><Heading title={t.title} /><Empty title={t.off}><p>{t.offHow}</p><Copy label="streamengine" text="streamengine serve --keys keys.db" /></Empty></>;
    }
    const now = Date.now();
    const wanted = filter.trim().toLowerCase();
    const shown = keys.data?.filter((key) => (
        `${key.stream} ${key.who ?? ''} ${key.id}`.toLowerCase().includes(wanted) && (isAll || stateOf(key, now) !== 'revoked')
    )) ?? [];
    const columns: Column<Key>[] = [
        {
            name: 'stream', title: common.stream, by: ({ stream }) => stream,
            cell: ({ stream, id }) => <Two below={<code>{id}</code>}><a class="name" title={stream} href={linkToStream(stream)}>{stream}</a></Two>,
        },
        { name: 'who', title: t.who, isWide: true, by: ({ who }) => who ?? '', cell: ({ who }) => <span class="name" title={who ?? ''}>{who ?? NOTHING}</span> },
        {
            name: 'action', title: t.action, by: ({ action, max_kbps }) => `${action} ${String(max_kbps ?? 0).padStart(10, '0')}`,
            cell: ({ action, max_kbps: kbps }) => (kbps ? <Two below={<>≤ {rate(kbps * 1000, locale.value)}</>}>{t[action]}</Two> : t[action]),
        },
        { name: 'state', title: t.state, by: (key) => stateOf(key, now), cell: (key) => <Badge tone={TONES[stateOf(key, now)]}>{t[stateOf(key, now)]}</Badge> },
        { name: 'created', title: t.created, by: ({ created }) => created ?? '', cell: ({ created }) => told(created) },
        { name: 'expires', title: t.expires, by: ({ expires }) => expires ?? '~', cell: ({ expires, until }) => told(expires ?? until) },
        {
            name: 'actions', title: common.actions, isUntitled: true,
            cell: (key) => (stateOf(key, now) === 'revoked' ? null : (
                <span class="buttons">
                    <Button small aria-label={`${t.rotate} ${key.id}`} onClick={() => setRotating(key)}>{t.rotate}</Button>
                    <Button small aria-label={`${t.revoke} ${key.id}`} onClick={() => setRevoking(key)}>{t.revoke}</Button>
                </span>
            )),
        },
    ];
    const close = () => {
        setMaking(false);
        setRotating(null);
        setRevoking(null);
        keys.again();
    };
    return (
        <>
            <Heading title={t.title}><Button kind="main" onClick={() => setMaking(true)}>{t.make}</Button></Heading>
            <p class="soft">{t.intro}</p>
            {keys.data && keys.data.length > 0 ? (
                <div class="tools">
                    <Check label={t.showRevoked} checked={isAll} onChecked={setAll} />
                    <Filter label={common.filter} value={filter} onValue={setFilter} />
                </div>
            ) : null}
            {!keys.data ? <Missing problem={keys.problem} />
                : keys.data.length === 0 ? <Empty title={t.none}><p>{t.noneHow}</p></Empty>
                    : shown.length === 0 ? <Empty title={common.noMatch} />
                        : <Table label={t.title} columns={columns} rows={shown} id={({ id }) => id} />}
            {isMaking ? <Make onMade={setMade} onClose={close} /> : null}
            {rotating ? <Rotate of={rotating} onMade={setMade} onClose={close} /> : null}
            {revoking ? <Confirm title={t.revokeTitle(revoking.id)} text={t.revokeText} label={t.revoke} done={t.revokedDone}
                does={() => ask('DELETE', `/keys/${part(revoking.id)}`)} onClose={close} /> : null}
            {made && !isMaking && !rotating ? (
                <Dialog title={t.told} onClose={() => setMade(null)}>
                    <p>{t.toldText}</p>
                    <Copy label={made.stream} text={made.key ?? ''} />
                    <div class="ends"><Button kind="main" onClick={() => setMade(null)}>{common.close}</Button></div>
                </Dialog>
            ) : null}
        </>
    );
}

/** What a browser's field for a moment holds, which is in its own time zone, as the API has it. */
function asMoment(local: string): string | undefined {
    return local ? new Date(local).toISOString().replace(/\.\d+Z$/, 'Z') : undefined;
}

function Make({ onMade, onClose }: { onMade: (key: MadeKey) => void; onClose: () => void }) {
    const { keys: t, common } = words.value;
    const streams = useList<Stream>('/streams', 5);
    const [action, setAction] = useState<Key['action']>('publish');
    const [stream, setStream] = useState('');
    const [who, setWho] = useState('');
    const [expires, setExpires] = useState('');
    const [until, setUntil] = useState('');
    const [kbps, setKbps] = useState('');
    const [viewers, setViewers] = useState('');
    const does = async () => {
        const body = {
            stream: stream.trim(),
            play: action === 'play',
            who: who.trim() || undefined,
            expires: asMoment(expires),
            until: asMoment(until),
            max_kbps: action === 'publish' && kbps ? Number(kbps) : undefined,
            max_viewers: action === 'publish' && viewers ? Number(viewers) : undefined,
        };
        onMade(await ask<MadeKey>('POST', '/keys', body));
    };
    const optional = (text: string) => `${text} (${common.optional})`;
    return (
        <FormDialog title={t.make} label={t.make} does={does} onClose={onClose}>
            <Field label={common.stream} hint={common.streamHint} value={stream} onValue={setStream} required list={streams.data?.map(({ key }) => key) ?? []} />
            <Choice label={t.action} value={action} onValue={setAction} options={[['publish', t.publish], ['play', t.play]]} />
            <Field label={optional(t.who)} hint={t.whoHint} value={who} onValue={setWho} />
            <div class="pair">
                <Field label={optional(t.expires)} type="datetime-local" value={expires} onValue={setExpires} />
                <Field label={optional(t.until)} type="datetime-local" value={until} onValue={setUntil} />
            </div>
            {action === 'publish' ? (
                <div class="pair">
                    <Field label={optional(t.maxKbps)} type="number" min="1" value={kbps} onValue={setKbps} />
                    <Field label={optional(t.maxViewers)} type="number" min="1" value={viewers} onValue={setViewers} />
                </div>
            ) : null}
        </FormDialog>
    );
}

function Rotate({ of, onMade, onClose }: { of: Key; onMade: (key: MadeKey) => void; onClose: () => void }) {
    const { keys: t } = words.value;
    const [overlap, setOverlap] = useState('600');
    const options = (['0', '600', '3600', '86400'] as const).map((seconds) => [seconds, t.overlaps[seconds]] as const);
    const does = async () => onMade(await ask<MadeKey>('POST', `/keys/${part(of.id)}/rotate`, { overlap_s: Number(overlap) }));
    return (
        <FormDialog title={t.rotateTitle(of.id)} label={t.rotate} does={does} onClose={onClose}>
            <p>{t.rotateText}</p>
            <Choice label={t.overlap} value={overlap} onValue={setOverlap} options={options} />
        </FormDialog>
    );
}
