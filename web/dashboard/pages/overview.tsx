import { useState } from 'preact/hooks';
import type { Listener, Stream } from '../api.ts';
import { Chart } from '../chart.tsx';
import { count, decimal, duration, NOTHING, rate } from '../format.ts';
import { stateOf, titleOf, toneOf } from '../health.ts';
import { useHistory } from '../history.ts';
import { portOf, urlsOf } from '../names.ts';
import { Badge, Check, Copy, Empty, Filter, Heading, Missing, Table, type Column } from '../parts.tsx';
import { Poster } from '../poster.tsx';
import { linkToStream } from '../route.ts';
import { summary, useList } from '../state.ts';
import { locale, words } from '../words.ts';

function Tile({ label, value, isBad }: { label: string; value: string; isBad?: boolean }) {
    return <div class={isBad ? 'tile bad' : 'tile'}><dt>{label}</dt><dd>{value}</dd></div>;
}

export function picture({ video }: Stream): string {
    if (!video) return NOTHING;
    return [video.codec, video.width && video.height ? `${video.width}×${video.height}` : null].filter(Boolean).join(' ');
}

export function Overview() {
    const t = words.value.overview;
    const l = locale.value;
    const streams = useList<Stream>('/streams');
    const troubled = streams.data?.filter((stream) => toneOf(stream) !== 'good' && toneOf(stream) !== 'idle') ?? [];
    const now = summary.value;
    return (
        <>
            <Heading title={t.title}>{now ? <span class="soft">{t.uptime} {duration(now.engine.uptime_ms, l)}</span> : null}</Heading>
            {now && now.engine.panics > 0 ? <p class="failure" role="alert">{t.panics(now.engine.panics)}</p> : null}
            <dl class="tiles">
                <Tile label={t.live} value={count(now?.engine.streams_live, l)} />
                <Tile label={t.viewers} value={count(now?.engine.players, l)} />
                <Tile label={t.received} value={rate(now?.rates.bits_in, l)} />
                <Tile label={t.sent} value={rate(now?.rates.bits_out, l)} />
                <Tile label={t.connections} value={count(now?.engine.connections, l)} />
                <Tile label={t.trouble} value={count(streams.data ? troubled.length : null, l)} isBad={troubled.length > 0} />
            </dl>
            <Traffic />
            {streams.data ? <Streams all={streams.data} /> : <Missing problem={streams.problem} />}
        </>
    );
}

function Traffic() {
    const t = words.value.overview;
    const history = useHistory('');
    const samples = history?.samples ?? [];
    return (
        <Chart title={t.traffic} times={history?.times ?? []} show={(kbps, isShort) => rate(kbps === null || kbps === undefined ? kbps : kbps * 1000, locale.value, isShort)} lines={[
            { label: t.received, color: 1, values: samples.map(({ in_kbps }) => in_kbps) },
            { label: t.sent, color: 2, values: samples.map(({ out_kbps }) => out_kbps) },
        ]} />
    );
}

function Streams({ all }: { all: Stream[] }) {
    const { overview: t, common } = words.value;
    const l = locale.value;
    const [filter, setFilter] = useState('');
    const [isTroubleOnly, setTroubleOnly] = useState(false);
    const wanted = filter.trim().toLowerCase();
    const matches = (stream: Stream) => `${stream.key} ${stream.video_codec ?? ''} ${stream.audio_codec ?? ''}`.toLowerCase().includes(wanted);
    const shown = all.filter((stream) => matches(stream) && (!isTroubleOnly || ['warn', 'bad'].includes(toneOf(stream))));
    const columns: Column<Stream>[] = [
        {
            name: 'name', title: common.stream, isWide: true, by: ({ key }) => key,
            cell: (stream) => (
                <span class="named">
                    <Poster stream={stream.key} hasPicture={stream.keyframes > 0} />
                    <a class="name" title={stream.key} href={linkToStream(stream.key)}>{stream.key}</a>
                </span>
            ),
        },
        {
            name: 'health', title: t.health, by: (stream) => ['bad', 'warn', 'good', 'idle'].indexOf(toneOf(stream)),
            cell: (stream) => <span title={stream.problems.map((trouble) => titleOf(trouble, words.value)).join(', ')}><Badge tone={toneOf(stream)}>{stateOf(stream, words.value)}</Badge></span>,
        },
        {
            name: 'video', title: t.video, by: ({ video }) => video?.height ?? 0,
            cell: (stream) => <>{picture(stream)}{stream.video ? <span class="soft"> {decimal(stream.frame_rate, 0, l)} fps</span> : null}</>,
        },
        { name: 'audio', title: t.audio, by: ({ audio_codec }) => audio_codec ?? '', cell: ({ audio_codec }) => audio_codec ?? NOTHING },
        { name: 'rate', title: t.bitrate, isNumber: true, by: ({ rates }) => rates.bits_in, cell: ({ rates }) => rate(rates.bits_in, l) },
        { name: 'viewers', title: t.viewers, isNumber: true, by: ({ players }) => players, cell: ({ players }) => count(players, l) },
        { name: 'since', title: t.since, isNumber: true, by: ({ uptime_ms }) => uptime_ms, cell: ({ uptime_ms }) => duration(uptime_ms, l) },
    ];
    return (
        <section>
            <div class="heading">
                <h2>{t.streams}</h2>
                {all.length > 0 ? (
                    <div class="actions">
                        <Check label={t.troubleOnly} checked={isTroubleOnly} onChecked={setTroubleOnly} />
                        <Filter label={t.filter} value={filter} onValue={setFilter} />
                    </div>
                ) : null}
            </div>
            {all.length === 0 ? <HowTo /> : shown.length === 0 ? <Empty title={common.noMatch} /> : (
                <Table label={t.streams} columns={columns} rows={shown} id={({ key }) => key} />
            )}
        </section>
    );
}

/** The RTMP listener that encoders are told of. */
export function useRtmp(): { protocol: string; port: string } | null {
    const listeners = useList<Listener>('/listeners', 30);
    const found = ['rtmp', 'rtmps'].map((protocol) => listeners.data?.find((listener) => listener.protocol === protocol)).find(Boolean);
    return found ? { protocol: found.protocol, port: portOf(found.address) } : null;
}

function HowTo() {
    const { overview: t, stream } = words.value;
    const rtmp = useRtmp();
    const { server, rtmp: url } = urlsOf('live/demo', location, rtmp);
    return (
        <Empty title={t.none}>
            <p>{t.noneHow}</p>
            <Copy label={stream.obsServer} text={server} />
            <Copy label={stream.obsKey} text="demo" />
            <Copy label="ffmpeg" text={`ffmpeg -re -i FILE.mp4 -c copy -f flv ${url}`} />
        </Empty>
    );
}
