// The dashboard: for those who manage a server, what it does and what may be done about it.

import { render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import { ask } from './api.ts';
import { Button, Notes } from './parts.tsx';
import { Files } from './pages/files.tsx';
import { Keys } from './pages/keys.tsx';
import { Log } from './pages/log.tsx';
import { First, Login } from './pages/login.tsx';
import { Overview } from './pages/overview.tsx';
import { Recordings } from './pages/recordings.tsx';
import { Relays } from './pages/relays.tsx';
import { Sessions } from './pages/sessions.tsx';
import { Settings } from './pages/settings.tsx';
import { StreamPage } from './pages/stream.tsx';
import { linkTo, PAGES, route, type Route } from './route.ts';
import { act, isAdmin, link, look, read, said, session, wantsLogin } from './state.ts';
import { spoken, words } from './words.ts';

/** Where the server is away, it is looked for so often: ms. */
const AGAIN = 2000;

function shownBy(now: Route) {
    switch (now.page) {
        case 'overview': return <Overview />;
        case 'stream': return <StreamPage key={now.stream} stream={now.stream} />;
        case 'sessions': return <Sessions />;
        case 'relays': return <Relays />;
        case 'files': return <Files />;
        case 'recordings': return <Recordings />;
        case 'keys': return <Keys />;
        case 'log': return <Log />;
        case 'settings': return <Settings />;
    }
}

function Navigation() {
    const { nav, menu } = words.value;
    const [isOpen, setOpen] = useState(false);
    const now = route.value;
    useEffect(() => setOpen(false), [now]);
    return (
        <header class="side">
            <a class="brand" href="#/">streamengine</a>
            <Button class="menu" aria-expanded={isOpen} aria-controls="navigation" onClick={() => setOpen(!isOpen)}>{menu}</Button>
            <nav id="navigation" aria-label={nav.label} class={isOpen ? 'open' : ''}>
                <ul>{PAGES.map((name) => (
                    <li key={name}><a href={linkTo(name)} aria-current={now.page === name || (name === 'overview' && now.page === 'stream') ? 'page' : undefined}>{nav[name]}</a></li>
                ))}</ul>
            </nav>
            <Foot />
        </header>
    );
}

function Foot() {
    const { common, link: t, login } = words.value;
    const logout = () => act(async () => {
        await ask('DELETE', '/session');
        await look();
        wantsLogin.value = true;
    });
    const mayLogIn = !isAdmin.value && session.value?.password_set;
    return (
        <div class="foot">
            <p class={`link ${link.value}`} role="status"><span class="sign" aria-hidden="true" />{t[link.value]}</p>
            {isAdmin.value ? null : <p class="soft">{common.viewerOnly}</p>}
            {mayLogIn ? <Button small onClick={() => {
                wantsLogin.value = true;
            }}>{login.submit}</Button> : null}
            {session.value?.by === 'password' ? <Button small onClick={() => void logout()}>{common.logout}</Button> : null}
        </div>
    );
}

/** Whether a password is to be offered before anything else: to whoever is on the server itself, once. */
function isFirst(): boolean {
    const now = session.value;
    return Boolean(now?.may_set_password && !now.password_set && read('first') === null);
}

function Page() {
    const now = route.value;
    const { nav, skip } = words.value;
    const content = useRef<HTMLElement>(null);
    const isArrived = useRef(false);
    const title = now.page === 'stream' ? now.stream : nav[now.page];
    useEffect(() => {
        document.title = `${title} – streamengine`;
    }, [title]);
    // Who goes to another page hears what it is called, and goes on there with the keyboard.
    useEffect(() => {
        if (isArrived.current) {
            scrollTo(0, 0);
            content.current?.querySelector('h1')?.focus({ preventScroll: true });
        }
        isArrived.current = true;
    }, [now]);
    const toContent = (event: Event) => {
        event.preventDefault();
        content.current?.focus();
    };
    return (
        <div class="layout">
            <a class="skip" href="#content" onClick={toContent}>{skip}</a>
            <Navigation />
            <main id="content" ref={content} tabIndex={-1}>{shownBy(now)}</main>
            <p class="unseen" role="status">{said.value}</p>
            <Notes />
        </div>
    );
}

function App() {
    const now = session.value;
    const [isSkipped, setSkipped] = useState(false);
    if (now && (!now.role || (wantsLogin.value && now.role === 'viewer'))) return <><Login session={now} /><Notes /></>;
    if (now && isFirst() && !isSkipped) return <><First onDone={() => setSkipped(true)} /><Notes /></>;
    if (now) return <Page />;
    const { link: t } = words.value;
    return <main class="alone"><p class="brand">streamengine</p><h1 class="soft">{t[link.value]}</h1></main>;
}

async function start() {
    // What happens is told in words.
    await spoken;
    await look();
    const place = document.querySelector('#app');
    if (place) render(<App />, place);
    while (!session.value) {
        await new Promise((done) => setTimeout(done, AGAIN));
        await look();
    }
}

void start();
