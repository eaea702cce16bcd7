import { useState } from 'preact/hooks';
import { ask, Problem, type Session } from '../api.ts';
import { Button, Copy, Field, Form, Wrong } from '../parts.tsx';
import { keep, look, wantsLogin } from '../state.ts';
import { words } from '../words.ts';
import { Password } from './settings.tsx';

/** Whoever is not let in yet: logs in, or is told how to open the door. */
export function Login({ session }: { session: Session }) {
    const { login: t } = words.value;
    const [password, setPassword] = useState('');
    const does = async () => {
        try {
            await ask('POST', '/session', { password });
        } catch (problem) {
            throw problem instanceof Problem ? new Wrong(refusal(problem)) : problem;
        }
        wantsLogin.value = false;
        await look();
    };
    return (
        <main class="alone" id="content">
            <p class="brand">streamengine</p>
            <div class="panel">
                <h1 tabIndex={-1}>{t.title}</h1>
                {session.password_set ? (
                    <Form label={t.submit} does={does}>
                        <input type="text" name="username" value="admin" autocomplete="username" hidden readOnly />
                        <Field label={t.password} type="password" autocomplete="current-password" value={password} onValue={setPassword} required autofocus />
                    </Form>
                ) : (
                    <>
                        <p>{t.closed}</p>
                        <p>{t.closedHow}</p>
                        <Copy label="streamengine" text="streamengine passwd" />
                    </>
                )}
                {session.role ? <Button onClick={() => {
                    wantsLogin.value = false;
                }}>{t.look}</Button> : null}
            </div>
            <p><a href="/streams">{words.value.common.publicList}</a></p>
        </main>
    );
}

function refusal({ status, retryAfter, message }: Problem): string {
    const { login: t, problems } = words.value;
    if (status === 401) return t.wrong;
    if (status === 403) return t.plain;
    if (status === 429) return t.wait(retryAfter ?? 60);
    return status === 0 ? problems.unreachable : message || problems.status(status);
}

/** The first visit, from the server itself. */
export function First({ onDone }: { onDone: () => void }) {
    const { login: t } = words.value;
    const skip = () => {
        keep('first', 'done');
        onDone();
    };
    return (
        <main class="alone" id="content">
            <p class="brand">streamengine</p>
            <div class="panel">
                <h1 tabIndex={-1}>{t.firstTitle}</h1>
                <p>{t.first}</p>
                <Password onDone={skip} />
                <Button onClick={skip}>{t.firstSkip}</Button>
            </div>
        </main>
    );
}
