import { useState } from 'preact/hooks';
import { ask, Problem, type Listener } from '../api.ts';
import { Empty, Facts, Choice, Field, Filter, Form, Heading, Missing, Wrong } from '../parts.tsx';
import { look, note, session, theme, useList, useLive, type Theme } from '../state.ts';
import { language, LANGUAGES, speak, words, type Language } from '../words.ts';

export function Settings() {
    const { settings: t } = words.value;
    return (
        <>
            <Heading title={t.title} />
            <div class="halves">
                <Appearance />
                <Access />
            </div>
            <Server />
            <Configuration />
        </>
    );
}

function Appearance() {
    const { settings: t, problems } = words.value;
    const say = async (chosen: Language) => {
        if (!await speak(chosen, true)) note(problems.unreachable, true);
    };
    return (
        <section>
            <h2>{t.appearance}</h2>
            <Choice label={t.language} value={language.value} onValue={(chosen) => void say(chosen)} options={Object.entries(LANGUAGES) as [Language, string][]} />
            <Choice label={t.theme} value={theme.value} onValue={(chosen) => {
                theme.value = chosen;
            }} options={Object.entries(t.themes) as [Theme, string][]} />
        </section>
    );
}

function Access() {
    const { settings: t, password } = words.value;
    const who = session.value;
    if (!who) return null;
    const by = who.by === 'password' ? t.byPassword : who.by === 'token' ? t.byToken(who.name ?? '') : t.byAddress;
    return (
        <section>
            <h2>{t.account}</h2>
            <p>{by} {who.role === 'admin' ? t.roleAdmin : t.roleViewer}</p>
            {who.may_set_password ? <><h3>{who.password_set ? password.change : password.set}</h3><Password /></> : null}
        </section>
    );
}

/** The form that sets a password, or another one. */
export function Password({ onDone }: { onDone?: () => void }) {
    const { password: t } = words.value;
    const isSet = session.value?.password_set ?? false;
    const [current, setCurrent] = useState('');
    const [fresh, setFresh] = useState('');
    const [again, setAgain] = useState('');
    const does = async () => {
        if ([...fresh].length < 8) throw new Wrong(t.short);
        if (fresh !== again) throw new Wrong(t.differ);
        try {
            await ask('PUT', '/password', { new: fresh, ...isSet ? { current } : {} });
        } catch (problem) {
            throw isSet && problem instanceof Problem && problem.status === 403 ? new Wrong(t.wrong) : problem;
        }
        [setCurrent, setFresh, setAgain].forEach((set) => set(''));
        await look();
        note(session.value?.password_kept ? t.done : t.notKept);
        onDone?.();
    };
    return (
        <Form label={isSet ? t.change : t.set} does={does}>
            {/* Password managers keep a password by a name, though there is one user only. */}
            <input type="text" name="username" value="admin" autocomplete="username" hidden readOnly />
            {isSet ? <Field label={t.current} type="password" autocomplete="current-password" value={current} onValue={setCurrent} required /> : null}
            <Field label={t.fresh} hint={t.hint} type="password" autocomplete="new-password" value={fresh} onValue={setFresh} required />
            <Field label={t.again} type="password" autocomplete="new-password" value={again} onValue={setAgain} required />
        </Form>
    );
}

function Server() {
    const { settings: t } = words.value;
    const listeners = useList<Listener>('/listeners', 30);
    const licences = document.querySelector<HTMLMetaElement>('meta[name="licences"]')?.content ?? '';
    return (
        <section>
            <h2>{t.server}</h2>
            <Facts of={[
                [t.version, session.value?.version ?? ''],
                [t.listeners, listeners.data?.map(({ protocol, address }) => `${protocol}://${address}`).join(', ') ?? ''],
                [t.licences, <a href={licences}>{t.licences}</a>],
            ]} />
        </section>
    );
}

/** A value of the configuration by its dotted key. */
type Setting = readonly [key: string, value: unknown];

function settings(value: unknown, key = ''): Setting[] {
    if (typeof value !== 'object' || value === null) return [[key, value]];
    if (Array.isArray(value) && value.every((item) => typeof item !== 'object')) return [[key, value]];
    return Object.entries(value).flatMap(([name, inner]) => settings(inner, Array.isArray(value) ? `${key}[${name}]` : key ? `${key}.${name}` : name));
}

function Configuration() {
    const { settings: t, common } = words.value;
    const config = useLive<Setting[]>('/config', async (signal) => settings(await ask('GET', '/config', undefined, signal)), 10);
    const [filter, setFilter] = useState('');
    const wanted = filter.trim().toLowerCase();
    const text = (value: unknown) => (value === null ? t.unset : Array.isArray(value) ? value.join(', ') || '[]' : String(value));
    const shown = config.data?.filter(([key, value]) => `${key} ${text(value)}`.toLowerCase().includes(wanted)) ?? [];
    const sections = grouped(shown);
    return (
        <section>
            <div class="heading"><h2>{t.config}</h2><div class="actions"><Filter label={t.filter} value={filter} onValue={setFilter} /></div></div>
            <p class="soft">{t.configHint}</p>
            {!config.data ? <Missing problem={config.problem} /> : shown.length === 0 ? <Empty title={common.noMatch} /> : [...sections].map(([name, of]) => (
                <details key={name} class="section" open={wanted !== ''}>
                    <summary><code>{name}</code> <span class="soft">{of.length}</span></summary>
                    <dl class="config">{of.map(([key, value]) => <div key={key}><dt>{key}</dt><dd class={value === null ? 'soft' : ''}>{text(value)}</dd></div>)}</dl>
                </details>
            ))}
        </section>
    );
}

/** By the first part of their keys; what there are several of is together. */
function grouped(of: Setting[]): Map<string, Setting[]> {
    const groups = new Map<string, Setting[]>();
    for (const setting of of) {
        const name = setting[0].split(/[.[]/)[0] ?? '';
        groups.set(name, [...groups.get(name) ?? [], setting]);
    }
    return groups;
}
