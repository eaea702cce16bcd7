import { useState } from 'preact/hooks';
import { ask, type Relay, type Stream } from '../api.ts';
import { bytes, count, duration, milliseconds } from '../format.ts';
import { reasonOf, toneOfRelay } from '../health.ts';
import { Badge, Button, Check, Choice, Confirm, Empty, Field, FormDialog, Heading, Missing, Path, Table, Two, type Column } from '../parts.tsx';
import { linkToStream } from '../route.ts';
import { act, isAdmin, note, useList } from '../state.ts';
import { locale, words } from '../words.ts';

export function Relays() {
    const { relays: t, common } = words.value;
    const relays = useList<Relay>('/relays');
    const [adding, setAdding] = useState<Relay | 'new' | null>(null);
    const [removing, setRemoving] = useState<Relay | null>(null);
    const add = <Button kind="main" onClick={() => setAdding('new')}>{t.add}</Button>;
    const restart = (relay: Relay) => act(() => ask('POST', `/relays/${relay.id}/restart`), t.restarted).then(relays.again);
    const columns: Column<Relay>[] = [
        {
            name: 'relay', title: common.stream, isWide: true, by: ({ stream, direction }) => `${stream} ${direction}`,
            cell: ({ stream, direction, url }) => (
                <Two below={<>{t[direction]} <span aria-hidden="true">{direction === 'push' ? '→' : '←'}</span> <Path text={url} /></>}>
                    <a class="name" title={stream} href={linkToStream(stream)}>{stream}</a>
                </Two>
            ),
        },
        { name: 'state', title: t.state, isWide: true, by: ({ state }) => state, cell: (relay) => <State relay={relay} /> },
        {
            name: 'traffic', title: t.traffic, isNumber: true, by: (relay) => relay.bytes_sent + relay.bytes_received,
            cell: (relay) => bytes(relay.direction === 'push' ? relay.bytes_sent : relay.bytes_received, locale.value),
        },
        ...isAdmin.value ? [{
            name: 'actions', title: common.actions, isUntitled: true,
            cell: (relay: Relay) => (
                <span class="buttons">
                    {toneOfRelay(relay) === 'good' ? null : <Button small aria-label={`${t.restart}: ${relay.url}`} onClick={() => void restart(relay)}>{t.restart}</Button>}
                    <Button small aria-label={`${t.correct}: ${relay.url}`} onClick={() => setAdding(relay)}>{t.correct}</Button>
                    <Button small aria-label={`${common.remove}: ${relay.url}`} onClick={() => setRemoving(relay)}>{common.remove}</Button>
                </span>
            ),
        }] : [],
    ];
    return (
        <>
            <Heading title={t.title}>{isAdmin.value ? add : null}</Heading>
            <p class="soft">{t.intro}</p>
            {!relays.data ? <Missing problem={relays.problem} />
                : relays.data.length === 0 ? <Empty title={t.none}><p>{t.noneHow}</p></Empty>
                    : <Table label={t.title} columns={columns} rows={relays.data} id={({ id }) => id} />}
            {adding ? <RelayForm of={adding === 'new' ? null : adding} onClose={() => {
                setAdding(null);
                relays.again();
            }} /> : null}
            {removing ? <Confirm title={t.removeTitle(removing.url)} text={t.removeText} label={common.remove} done={t.removed}
                does={() => ask('DELETE', `/relays/${removing.id}`)} onClose={() => {
                    setRemoving(null);
                    relays.again();
                }} /> : null}
        </>
    );
}

function State({ relay }: { relay: Relay }) {
    const { relays: t } = words.value;
    const l = locale.value;
    const states: Record<string, string> = t.states;
    const reason = reasonOf(relay, words.value);
    return (
        <div class="state">
            <Badge tone={toneOfRelay(relay)}>{states[relay.state] ?? relay.state}</Badge>
            {' '}<span class="soft">{t.since} {duration(relay.since_ms, l)}
                {relay.retry_in_ms === null ? '' : ` · ${t.retry(milliseconds(Math.ceil(relay.retry_in_ms / 1000) * 1000, l))}`}
                {relay.retries > 0 ? ` · ${t.attempts(count(relay.attempts, l))}` : ''}</span>
            {reason ? <p class="reason"><strong>{reason.title}.</strong> <span class="soft"><Path text={reason.text} /></span></p> : null}
        </div>
    );
}

/** Adds a relay, or puts another one in the place of one that was wrong: that one ends once the new one is there. */
function RelayForm({ of, onClose }: { of: Relay | null; onClose: () => void }) {
    const { relays: t, common } = words.value;
    const streams = useList<Stream>('/streams', 5);
    const [direction, setDirection] = useState<Relay['direction']>(of?.direction ?? 'push');
    const [stream, setStream] = useState(of?.stream ?? '');
    const [url, setUrl] = useState(of?.url ?? '');
    const [isWatched, setWatched] = useState(false);
    const does = async () => {
        const when = direction === 'pull' && isWatched ? { when: 'watched' } : {};
        await ask('POST', `/relays/${direction}`, { stream: stream.trim(), url: url.trim(), ...when });
        if (of) await ask('DELETE', `/relays/${of.id}`);
        note(of ? t.corrected : t.added);
    };
    return (
        <FormDialog title={of ? t.correctTitle : t.add} label={of ? common.save : common.add} does={does} onClose={onClose}>
            <Choice label={t.direction} value={direction} onValue={setDirection} options={[['push', t.pushLong], ['pull', t.pullLong]]} />
            <Field label={common.stream} hint={common.streamHint} value={stream} onValue={setStream} required list={streams.data?.map(({ key }) => key) ?? []} />
            <Field label={t.url} hint={of ? t.correctHint : direction === 'push' ? t.pushHint : t.pullHint} value={url} onValue={setUrl} required inputMode="url" />
            {direction === 'pull' ? <Check label={t.watched} checked={isWatched} onChecked={setWatched} /> : null}
        </FormDialog>
    );
}
