import { useState } from 'preact/hooks';
import { ask, part, Problem, type Connection, type Recording, type Stream } from '../api.ts';
import { Chart, type Show } from '../chart.tsx';
import { bytes, count, decimal, duration, milliseconds, NOTHING, rate } from '../format.ts';
import { adviceOf, detailOf, stateOf, titleOf, toneOf, troublesOf } from '../health.ts';
import { useHistory } from '../history.ts';
import { quoted, split, urlsOf } from '../names.ts';
import { Badge, Button, Confirm, Copy, Empty, Facts, Heading, Missing, Path, Table, type Column } from '../parts.tsx';
import { Preview } from '../preview.tsx';
import { act, isAdmin, useList, useLive } from '../state.ts';
import { locale, words } from '../words.ts';
import { picture, useRtmp } from './overview.tsx';

export function StreamPage({ stream: key }: { stream: string }) {
    const { stream: t } = words.value;
    const path = `/streams/${part(key)}`;
    const told = useLive<Stream>(path, (signal) => ask<Stream>('GET', path, undefined, signal));
    if (!told.data) {
        if (told.problem?.status !== 404) return <><Heading title={key} /><Missing problem={told.problem} /></>;
        return (
            <>
                <Heading title={key} />
                <Empty title={t.gone}><p>{t.goneHow}</p><p><a href="#/">{t.back}</a></p></Empty>
                <Addresses stream={key} />
            </>
        );
    }
    const stream = told.data;
    return (
        <>
            <Heading title={key}><Badge tone={toneOf(stream)}>{stateOf(stream, words.value)}</Badge><Actions stream={stream} /></Heading>
            <div class="halves">
                <div>
                    <Preview key={key} stream={key} hasPicture={stream.keyframes > 0} />
                    <Health stream={stream} />
                </div>
                <Known stream={stream} />
            </div>
            <Charts path={path} />
            <Viewers stream={key} />
            <Addresses stream={key} />
        </>
    );
}

/** Recording, and an end to it. */
function Actions({ stream: { key, publisher } }: { stream: Stream }) {
    const { stream: t } = words.value;
    const recordings = useList<Recording>('/recordings');
    const [isAsking, setAsking] = useState(false);
    const running = recordings.data?.find((recording) => recording.stream === key && recording.state !== 'stopped');
    if (!isAdmin.value) return null;
    const record = () => act(() => ask('POST', `/streams/${part(key)}/record`), t.recordStarted).then(recordings.again);
    const stop = () => act(() => ask('DELETE', `/recordings/${running?.id}`), t.recordStopped).then(recordings.again);
    return (
        <>
            {running ? <Badge tone="bad">{t.recording}</Badge> : null}
            <div class="actions">
                {running ? <Button onClick={() => void stop()}>{t.recordStop}</Button> : <Button onClick={() => void record()}>{t.record}</Button>}
                {publisher ? <Button onClick={() => setAsking(true)}>{t.kickPublisher}</Button> : null}
            </div>
            {isAsking ? <Confirm title={t.kickTitle(publisher ?? key)} text={t.kickPublisherText} label={t.kickPublisher} done={t.kicked}
                does={() => ask('POST', `/streams/${part(key)}/kick?reason=dashboard`)} onClose={() => setAsking(false)} /> : null}
        </>
    );
}

function Health({ stream }: { stream: Stream }) {
    const t = words.value.health;
    const troubles = troublesOf(stream);
    return (
        <section>
            <h2>{t.title}</h2>
            <ul class="health" aria-live="polite">
                {stream.state === 'away' ? <li><Badge tone="bad">{t.away}</Badge></li> : null}
                {stream.state === 'idle' || stream.state === 'ended' ? <li><Badge tone="idle">{t.idle}</Badge></li> : null}
                {stream.state === 'live' && troubles.length === 0 ? <li><Badge tone="good">{t.good}</Badge></li> : null}
                {troubles.map((trouble) => (
                    <li key={trouble.kind}>
                        <Badge tone="warn">{titleOf(trouble, words.value)}</Badge>
                        <p>{adviceOf(trouble, words.value)} <span class="soft" aria-live="off">{detailOf(trouble, words.value, locale.value)}</span></p>
                    </li>
                ))}
            </ul>
        </section>
    );
}

function Known({ stream }: { stream: Stream }) {
    const { stream: t, overview } = words.value;
    const l = locale.value;
    const { video, audio } = stream;
    const sound = audio ? [
        audio.codec, audio.profile, audio.sample_rate ? `${decimal(audio.sample_rate / 1000, 1, l)} kHz` : null,
        audio.channels ? t.channels(audio.channels) : null,
    ].filter(Boolean).join(', ') : NOTHING;
    return (
        <section>
            <h2>{t.facts}</h2>
            <Facts of={[
                [t.publisher, <Path text={stream.publisher ?? NOTHING} />],
                [t.since, duration(stream.uptime_ms, l)],
                [overview.video, [picture(stream), video?.profile, video?.level ? decimal(video.level, 1, l) : null].filter(Boolean).join(', ')],
                [overview.audio, sound],
                [t.fps, decimal(video ? stream.frame_rate : null, 1, l)],
                [t.interval, milliseconds(stream.keyframe_interval_ms, l)],
                [t.skew, milliseconds(stream.skew_ms, l)],
                [t.silence, milliseconds(stream.silence_ms, l)],
                [t.received, `${rate(stream.rates.bits_in, l)} · ${bytes(stream.bytes_in, l)}`],
                [t.sent, `${rate(stream.rates.bits_out, l)} · ${bytes(stream.bytes_out, l)}`],
                [t.dropped, count(stream.frames_skipped, l)],
                [t.resumes, count(stream.resumes, l)],
                [t.memory, bytes(stream.ring_bytes, l)],
            ]} />
        </section>
    );
}

/** The longest silence that samples tell: ms. */
const LONGEST = 65_535;

function Charts({ path }: { path: string }) {
    const { stream: t, overview } = words.value;
    const history = useHistory(path);
    const l = locale.value;
    const times = history?.times ?? [];
    const samples = history?.samples ?? [];
    const perSecond: Show = (kbps, isShort) => rate(kbps === null || kbps === undefined ? kbps : kbps * 1000, l, isShort);
    const short: Show = (ms, isShort) => milliseconds(ms === null || ms === undefined ? ms : Math.round(ms), l, isShort);
    const silent: Show = (ms, isShort) => (ms && ms >= LONGEST ? `> ${short(LONGEST - LONGEST % 1000)}` : short(ms, isShort));
    return (
        <section>
            <h2>{t.history}</h2>
            <div class="charts">
                <Chart title={t.chartRate} times={times} show={perSecond} lines={[
                    { label: overview.received, color: 1, values: samples.map(({ in_kbps }) => in_kbps) },
                    { label: overview.sent, color: 2, values: samples.map(({ out_kbps }) => out_kbps) },
                ]} />
                <Chart title={t.chartFps} isCount times={times} show={(value) => decimal(value, 0, l)} lines={[
                    { label: t.chartFps, color: 1, values: samples.map(({ frame_rate_x10 }) => frame_rate_x10 / 10) },
                ]} />
                <Chart title={t.chartInterval} isCount times={times} show={short} lines={[
                    { label: t.chartInterval, color: 1, values: samples.map(({ keyframe_interval_ms: ms }) => (ms === 0 ? null : ms)) },
                ]} />
                <Chart title={t.chartSkew} isCount times={times} show={short} lines={[
                    { label: t.chartSkew, color: 1, values: samples.map(({ skew_ms }) => skew_ms) },
                ]} />
                <Chart title={t.silence} isCount times={times} show={silent} lines={[
                    { label: t.silence, color: 1, values: samples.map(({ silence_ms }) => silence_ms) },
                ]} />
                <Chart title={t.chartViewers} isCount times={times} show={(value) => decimal(value, 0, l)} lines={[
                    { label: t.chartViewers, color: 1, values: samples.map(({ players }) => players) },
                ]} />
                <Chart title={t.chartQueue} isCount times={times} show={short} lines={[
                    { label: t.chartQueue, color: 1, values: samples.map(({ queue_ms }) => queue_ms) },
                ]} />
                <Chart title={t.chartDrops} isCount times={times} show={(value) => decimal(value, 0, l)} lines={[
                    { label: t.chartDrops, color: 1, values: samples.map(({ frames_skipped }) => frames_skipped) },
                ]} />
            </div>
        </section>
    );
}

/** Viewers that are shown at first, those who missed most before others: the page goes on below. */
const VIEWERS = 10;

function Viewers({ stream }: { stream: string }) {
    const { stream: t, common } = words.value;
    const l = locale.value;
    const sessions = useList<Connection>('/sessions');
    const [asked, setAsked] = useState<Connection | null>(null);
    const viewers = sessions.data?.filter((session) => session.role === 'player' && session.stream === stream) ?? [];
    const columns: Column<Connection>[] = [
        { name: 'address', title: t.address, by: ({ peer }) => peer, cell: ({ peer }) => peer },
        { name: 'door', title: t.door, by: ({ door }) => door, cell: ({ door }) => door },
        { name: 'agent', title: t.player, isWide: true, cell: ({ agent }) => <span class="cut" title={agent ?? ''}>{agent ?? NOTHING}</span> },
        { name: 'since', title: t.watching, isNumber: true, by: ({ uptime_ms }) => uptime_ms, cell: ({ uptime_ms }) => duration(uptime_ms, l) },
        { name: 'queue', title: t.behind, isNumber: true, by: ({ queue_ms }) => queue_ms, cell: ({ queue_ms }) => milliseconds(queue_ms, l) },
        { name: 'missed', title: t.missed, isNumber: true, by: ({ frames_dropped }) => frames_dropped, cell: ({ frames_dropped }) => count(frames_dropped, l) },
        ...isAdmin.value ? [{
            name: 'actions', title: common.actions, isUntitled: true,
            cell: (viewer: Connection) => <Button small aria-label={`${t.kick} ${viewer.peer}`} onClick={() => setAsked(viewer)}>{t.kick}</Button>,
        }] : [],
    ];
    return (
        <section>
            <h2>{t.viewers}{viewers.length > 0 ? <span class="soft"> {count(viewers.length, l)}</span> : null}</h2>
            {viewers.length === 0 ? <Empty title={t.noViewers} /> : <Table label={t.viewers} columns={columns} rows={viewers} id={({ id }) => id} sorted="missed" few={VIEWERS} />}
            {asked ? <Kick session={asked} onClose={() => {
                setAsked(null);
                sessions.again();
            }} /> : null}
        </section>
    );
}

/** Who has left in the meantime is disconnected, too. */
async function kick(id: number) {
    try {
        await ask('POST', `/sessions/${id}/kick?reason=dashboard`);
    } catch (problem) {
        if (!(problem instanceof Problem && problem.status === 404)) throw problem;
    }
}

export function Kick({ session, onClose }: { session: Connection; onClose: () => void }) {
    const { stream: t } = words.value;
    return <Confirm title={t.kickTitle(session.peer)} text={t.kickText} label={t.kick} done={t.kicked}
        does={() => kick(session.id)} onClose={onClose} />;
}

function Addresses({ stream }: { stream: string }) {
    const { stream: t } = words.value;
    const urls = urlsOf(stream, location, useRtmp());
    const rtmp = quoted(urls.rtmp);
    return (
        <section>
            <h2>{t.urls}</h2>
            <div class="halves addresses">
                <div>
                    <h3>{t.play}</h3>
                    <Copy label={t.webPage} text={urls.page} />
                    <Copy label="RTMP" text={urls.rtmp} />
                    <Copy label="HLS" text={urls.hls} />
                    <Copy label="HTTP-FLV" text={urls.flv} />
                    <Copy label="WebSocket" text={urls.ws} />
                    <Copy label="MP4" text={urls.mp4} />
                    <Copy label="VLC" text={`vlc ${rtmp}`} />
                    <Copy label="ffplay" text={`ffplay ${rtmp}`} />
                    <Copy label="GStreamer" text={`gst-launch-1.0 playbin3 uri=${rtmp}`} />
                </div>
                <div>
                    <h3>{t.publish}</h3>
                    <p class="soft">{t.keyHint}</p>
                    <Copy label={t.obsServer} text={urls.server} />
                    <Copy label={t.obsKey} text={split(stream)[1]} />
                    <Copy label="ffmpeg" text={`ffmpeg -re -i FILE.mp4 -c copy -f flv ${rtmp}`} />
                    <Copy label="GStreamer" text={`gst-launch-1.0 videotestsrc is-live=true ! x264enc tune=zerolatency key-int-max=60 ! flvmux streamable=true ! rtmp2sink location=${rtmp}`} />
                </div>
            </div>
        </section>
    );
}
