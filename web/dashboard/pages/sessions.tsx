import { useState } from 'preact/hooks';
import type { Connection } from '../api.ts';
import { bytes, count, duration, milliseconds, NOTHING } from '../format.ts';
import { Button, Choice, Empty, Filter, Heading, Missing, Table, Two, type Column } from '../parts.tsx';
import { linkToStream } from '../route.ts';
import { isAdmin, useList } from '../state.ts';
import { locale, words } from '../words.ts';
import { Kick } from './stream.tsx';

type Shown = 'all' | Connection['role'];

export function Sessions() {
    const { sessions: t, stream, common } = words.value;
    const l = locale.value;
    const sessions = useList<Connection>('/sessions');
    const [filter, setFilter] = useState('');
    const [role, setRole] = useState<Shown>('all');
    const [asked, setAsked] = useState<Connection | null>(null);
    const wanted = filter.trim().toLowerCase();
    const matches = (one: Connection) => `${one.peer} ${one.stream ?? ''} ${one.agent ?? ''} ${one.door}`.toLowerCase().includes(wanted);
    const shown = sessions.data?.filter((one) => matches(one) && (role === 'all' || one.role === role)) ?? [];
    const columns: Column<Connection>[] = [
        {
            name: 'address', title: stream.address, by: ({ peer }) => peer,
            cell: ({ peer, tls, agent }) => <Two below={<span class="cut" title={agent ?? ''}>{agent ?? t.unnamed}</span>}>{peer}{tls ? <span class="soft"> {t.encrypted}</span> : null}</Two>,
        },
        {
            name: 'stream', title: common.stream, isWide: true, by: ({ stream: of }) => of ?? '',
            cell: ({ stream: of, role: is, door }) => <Two below={`${t.roles[is]} · ${door}`}>{of ? <a class="name" title={of} href={linkToStream(of)}>{of}</a> : NOTHING}</Two>,
        },
        { name: 'since', title: t.since, isNumber: true, by: ({ uptime_ms }) => uptime_ms, cell: ({ uptime_ms }) => duration(uptime_ms, l) },
        { name: 'traffic', title: t.traffic, isNumber: true, by: (one) => one.bytes_in + one.bytes_out, cell: (one) => `${bytes(one.bytes_in, l)} / ${bytes(one.bytes_out, l)}` },
        { name: 'queue', title: stream.behind, isNumber: true, by: ({ queue_ms }) => queue_ms, cell: (one) => (one.role === 'player' ? milliseconds(one.queue_ms, l) : NOTHING) },
        { name: 'rtt', title: t.rtt, isNumber: true, by: ({ rtt_ms }) => rtt_ms ?? -1, cell: ({ rtt_ms }) => milliseconds(rtt_ms, l) },
        ...isAdmin.value ? [{
            name: 'actions', title: common.actions, isUntitled: true,
            cell: (one: Connection) => <Button small aria-label={`${stream.kick} ${one.peer}`} onClick={() => setAsked(one)}>{stream.kick}</Button>,
        }] : [],
    ];
    return (
        <>
            <Heading title={t.title}>
                {sessions.data ? <span class="soft">{count(sessions.data.length, l)}</span> : null}
            </Heading>
            {sessions.data && sessions.data.length > 0 ? (
                <div class="tools">
                    <Choice label={t.role} value={role} onValue={setRole} options={[
                        ['all', t.all], ['publisher', t.roles.publisher], ['player', t.roles.player], ['pending', t.roles.pending],
                    ]} />
                    <Filter label={t.filter} value={filter} onValue={setFilter} />
                </div>
            ) : null}
            {!sessions.data ? <Missing problem={sessions.problem} />
                : sessions.data.length === 0 ? <Empty title={t.none}><p>{t.noneHow}</p></Empty>
                    : shown.length === 0 ? <Empty title={common.noMatch} />
                        : <Table label={t.title} columns={columns} rows={shown} id={({ id }) => id} />}
            {asked ? <Kick session={asked} onClose={() => {
                setAsked(null);
                sessions.again();
            }} /> : null}
        </>
    );
}
