// What pages are made of. Texts of peers are text nodes, whatever is in them.

import { Fragment, type ButtonHTMLAttributes, type ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { act, forget, notes, wordsOf } from './state.ts';
import { words } from './words.ts';
import type { Problem } from './api.ts';
import type { Tone } from './health.ts';

export function Button(props: { kind?: 'main' | 'bad' | 'plain'; small?: boolean; busy?: boolean } & ButtonHTMLAttributes<HTMLButtonElement>) {
    const { kind, small, busy, class: more, ...given } = props;
    return <button type="button" {...given} disabled={busy || given.disabled} class={['button', kind, small ? 'small' : '', more].filter(Boolean).join(' ')} />;
}

/** A state: a shape and a word, as colour alone tells not everybody. */
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
    return <span class={`badge ${tone}`}><span class="sign" aria-hidden="true" />{children}</span>;
}

/** A path or an address, alone or in what somebody says: it breaks behind slashes before it does anywhere else. */
export function Path({ text }: { text: string }) {
    const pieces = text.match(/(?:\w+:\/\/)?[^/\\?&]*[/\\?&]*/g) ?? [];
    return <span class="breaks">{pieces.filter(Boolean).map((piece, at) => <Fragment key={at}>{at > 0 ? <wbr /> : null}{piece}</Fragment>)}</span>;
}

/** A name, and what is less important below it. */
export function Two({ children, below }: { children: ComponentChildren; below: ComponentChildren }) {
    return <div>{children}<div class="soft below-name">{below}</div></div>;
}

/** Where there is nothing: what to do about it. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
    return <div class="empty"><p class="strong">{title}</p>{children}</div>;
}

/** What is shown while something is not there yet, or why it is not. */
export function Missing({ problem }: { problem: Problem | null }) {
    if (problem) return <p class="failure" role="alert">{wordsOf(problem)}</p>;
    return <p class="soft">{words.value.common.loading} …</p>;
}

export interface Column<T> {
    name: string;
    title: string;
    cell: (row: T) => ComponentChildren;
    isNumber?: boolean;
    /** What takes the room that others leave. */
    isWide?: boolean;
    /** Headings that only those need who hear the page. */
    isUntitled?: boolean;
    by?: (row: T) => number | string;
}

/** Beyond so many rows the rest is counted only: nobody reads them, and they are made anew each second. */
export const SHOWN = 300;

/** A table; on phones each row is a card, whose first column is its title. Columns with `by` can be sorted. */
export function Table<T>({ label, columns, rows, id, sorted, few = SHOWN }: {
    label: string;
    columns: Column<T>[];
    rows: T[];
    id: (row: T) => string | number;
    /** By which column, the greatest first. */
    sorted?: string;
    /** So many rows at first, where the page goes on below. */
    few?: number;
}) {
    const { common } = words.value;
    const [order, setOrder] = useState<{ name: string; isDown: boolean } | null>(sorted ? { name: sorted, isDown: true } : null);
    const [isAll, setAll] = useState(false);
    const most = isAll ? SHOWN : few;
    const by = columns.find(({ name }) => name === order?.name)?.by;
    const shown = by ? [...rows].sort((a, b) => compare(by(a), by(b)) * (order?.isDown ? -1 : 1)) : rows;
    const sort = ({ name, isNumber }: Column<T>) => setOrder((before) => (
        before?.name === name ? { name, isDown: !before.isDown } : { name, isDown: Boolean(isNumber) }
    ));
    const direction = (name: string) => (order?.name === name ? order.isDown ? 'descending' : 'ascending' : undefined);
    return (
        <div class="table" role="region" aria-label={label} tabIndex={0}>
            <table>
                <thead>
                    <tr>{columns.map((column) => (
                        <th key={column.name} scope="col" class={classOf(column)} aria-sort={direction(column.name)}>
                            {column.by
                                ? <button type="button" class="sort" onClick={() => sort(column)}>{column.title}<span class="arrow" aria-hidden="true" /></button>
                                : <span class={column.isUntitled ? 'unseen' : ''}>{column.title}</span>}
                        </th>
                    ))}</tr>
                </thead>
                <tbody>{shown.slice(0, most).map((row) => (
                    <tr key={id(row)}>{columns.map((column) => (
                        <td key={column.name} class={classOf(column)} data-label={column.isUntitled ? undefined : column.title}><div>{column.cell(row)}</div></td>
                    ))}</tr>
                ))}</tbody>
            </table>
            {shown.length > most && most < SHOWN ? <p class="rest"><Button small onClick={() => setAll(true)}>{common.all(shown.length)}</Button></p> : null}
            {shown.length > SHOWN && most === SHOWN ? <p class="rest soft">{common.more(shown.length - SHOWN)}</p> : null}
        </div>
    );
}

function classOf<T>({ name, isNumber, isWide }: Column<T>): string {
    return [`of-${name}`, isNumber ? 'number' : '', isWide ? 'wide' : ''].filter(Boolean).join(' ');
}

function compare(a: number | string, b: number | string): number {
    return typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
}

/** A dialog: what is behind it cannot be reached, Escape closes it, and the focus returns. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }) {
    const dialog = useRef<HTMLDialogElement>(null);
    const id = useId();
    useEffect(() => {
        const before = document.activeElement;
        dialog.current?.showModal();
        return () => {
            if (before instanceof HTMLElement && before.isConnected) before.focus();
        };
    }, []);
    return (
        <dialog ref={dialog} aria-labelledby={id} onClose={onClose} onCancel={onClose}>
            <h2 id={id}>{title}</h2>
            {children}
        </dialog>
    );
}

/** Asks before something is done that cannot be undone. */
export function Confirm({ title, text, label, done, does, onClose }: {
    title: string;
    text: string;
    label: string;
    done?: string;
    does: () => Promise<unknown>;
    onClose: () => void;
}) {
    const [isBusy, setBusy] = useState(false);
    const go = async () => {
        setBusy(true);
        await act(does, done);
        onClose();
    };
    return (
        <Dialog title={title} onClose={onClose}>
            <p>{text}</p>
            <div class="ends">
                <Button autofocus onClick={onClose}>{words.value.common.cancel}</Button>
                <Button kind="bad" busy={isBusy} onClick={() => void go()}>{label}</Button>
            </div>
        </Dialog>
    );
}

/** A form in a dialog. It stays where what it does fails, and says why. */
export function FormDialog({ title, label, does, onClose, children }: {
    title: string;
    label: string;
    does: () => Promise<unknown>;
    onClose: () => void;
    children: ComponentChildren;
}) {
    return (
        <Dialog title={title} onClose={onClose}>
            <Form label={label} does={async () => {
                await does();
                onClose();
            }} onCancel={onClose}>{children}</Form>
        </Dialog>
    );
}

export function Form({ label, does, onCancel, children }: {
    label: string;
    does: () => Promise<unknown>;
    onCancel?: () => void;
    children: ComponentChildren;
}) {
    const [failure, setFailure] = useState('');
    const [isBusy, setBusy] = useState(false);
    const submit = async (event: Event) => {
        event.preventDefault();
        setBusy(true);
        setFailure('');
        try {
            await does();
        } catch (problem) {
            setFailure(problem instanceof Error && problem.name === 'Error' && 'words' in problem ? String(problem.words) : wordsOf(problem));
        }
        setBusy(false);
    };
    return (
        <form onSubmit={(event) => void submit(event)}>
            {children}
            <p class="failure" role="alert">{failure}</p>
            <div class="ends">
                {onCancel ? <Button onClick={onCancel}>{words.value.common.cancel}</Button> : null}
                <Button kind="main" type="submit" busy={isBusy}>{label}</Button>
            </div>
        </form>
    );
}

/** Something wrong with what was put into a form, in the words of the page. */
export class Wrong extends Error {
    words: string;

    constructor(text: string) {
        super(text);
        this.words = text;
    }
}

export function Field({ label, hint, value, onValue, list, ...given }: {
    label: string;
    hint?: string;
    value: string;
    onValue: (value: string) => void;
    list?: string[];
    type?: 'text' | 'password' | 'number' | 'datetime-local';
    autocomplete?: 'off' | 'current-password' | 'new-password';
    inputMode?: 'url';
    placeholder?: string;
    required?: boolean;
    autofocus?: boolean;
    min?: string;
    max?: string;
}) {
    const id = useId();
    return (
        <div class="field">
            <label for={id}>{label}</label>
            <input id={id} autocomplete="off" spellcheck={false} {...given as object} value={value}
                list={list ? `${id}-list` : undefined} aria-describedby={hint ? `${id}-hint` : undefined}
                onInput={(event) => onValue(event.currentTarget.value)} />
            {list ? <datalist id={`${id}-list`}>{list.map((name) => <option key={name} value={name} />)}</datalist> : null}
            {hint ? <p id={`${id}-hint`} class="soft hint">{hint}</p> : null}
        </div>
    );
}

export function Choice<T extends string>({ label, value, onValue, options }: {
    label: string;
    value: T;
    onValue: (value: T) => void;
    options: readonly (readonly [T, string])[];
}) {
    const id = useId();
    return (
        <div class="field">
            <label for={id}>{label}</label>
            <select id={id} value={value} onChange={(event) => onValue(event.currentTarget.value as T)}>
                {options.map(([name, text]) => <option key={name} value={name}>{text}</option>)}
            </select>
        </div>
    );
}

export function Check({ label, checked, onChecked }: { label: string; checked: boolean; onChecked: (is: boolean) => void }) {
    return (
        <label class="check">
            <input type="checkbox" checked={checked} onChange={(event) => onChecked(event.currentTarget.checked)} />
            {label}
        </label>
    );
}

/** A box that filters what is below it. */
export function Filter({ label, value, onValue }: { label: string; value: string; onValue: (value: string) => void }) {
    return <input class="filter" type="search" aria-label={label} placeholder={label} value={value} autocomplete="off"
        onInput={(event) => onValue(event.currentTarget.value)} />;
}

/** A text to be copied. */
export function Copy({ label, text }: { label: string; text: string }) {
    const { common } = words.value;
    const [state, setState] = useState<'' | 'copied' | 'failed'>('');
    const shown = useRef<HTMLElement>(null);
    const copy = async () => {
        setState(await copied(text, shown.current) ? 'copied' : 'failed');
        setTimeout(() => setState(''), 4000);
    };
    return (
        <div class="copy">
            <span class="label">{label}</span>
            <code ref={shown} tabIndex={0}>{text}</code>
            <Button small aria-label={`${common.copy}: ${label}`} onClick={() => void copy()}>{state === 'copied' ? common.copied : common.copy}</Button>
            <span class="unseen" role="status">{state === 'copied' ? common.copied : ''}</span>
            {state === 'failed' ? <p class="soft hint">{common.cannotCopy}</p> : null}
        </div>
    );
}

/** Browsers have a clipboard on https and on this machine only; elsewhere what is selected is copied. */
async function copied(text: string, shown: HTMLElement | null): Promise<boolean> {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        if (!shown) return false;
        getSelection()?.selectAllChildren(shown);
        return document.execCommand('copy');
    }
}

export function Notes() {
    return (
        <div class="notes" role="status">
            {notes.value.map(({ id, text, isBad }) => (
                <div key={id} class={isBad ? 'note bad' : 'note'}>
                    <span>{text}</span>
                    <Button small kind="plain" aria-label={words.value.common.close} onClick={() => forget(id)}>×</Button>
                </div>
            ))}
        </div>
    );
}

/** A name and what there is to say of it, one below the other. */
export function Facts({ of }: { of: (readonly [string, ComponentChildren])[] }) {
    return <dl class="facts">{of.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

export function Heading({ title, children }: { title: string; children?: ComponentChildren }) {
    return <div class="heading"><h1 tabIndex={-1}>{title}</h1>{children ? <div class="actions">{children}</div> : null}</div>;
}
