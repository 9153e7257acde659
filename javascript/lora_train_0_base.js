/**
 * LoRA Train's page: what its files share. The name `loraTrain` is the only global.
 *
 * State is read by all and changed by its owner, who then emits the event of the same name. Panels are drawn
 * into empty elements that the page holds, and start when the page is seen for the first time.
 */

/**
 * @typedef {{code: string, where: string, sentence: string, remedy: string}} Problem
 * @typedef {{language: string, texts: Object<string, string>, user: string, may_use_paths: boolean,
 *   may_write: boolean, subjects: string[], choices: string[],
 *   limits: {files: number, file_bytes: number, total_bytes: number}, version: string}} Session
 * @typedef {{id: string, title: string, kind: string, trigger_word: string, created: number, runs: number}} Project
 * @typedef {{id: string, name: string, repeats: number, regularization: boolean, pictures: number}} Concept
 * @typedef {{id: string, concept: string, name: string, width: number, height: number, bytes: number,
 *   caption: string, version: string, stamp: string, problem: ?Problem}} Picture
 * @typedef {{id: string, project: string, title: string, state: string, place: number, created: number,
 *   started: ?number, ended: ?number, step: number, total_steps: number, epoch: number, loss: ?number,
 *   error: ?Problem, attempt: number, can_resume: boolean, lora: string, job: string, checkpoint: string}} Run
 * @typedef {Run & {paused: boolean, stopping: boolean, stage: string, stage_done: number, stage_total: number,
 *   total_epochs: number, loss_smoothed: number, rates: Object<string, number>, steps_per_second: number,
 *   memory: number, elapsed: number, remaining: number, mine: boolean, samples: Sample[]}} LiveRun
 * @typedef {{name: string, step: number, number: number, prompt?: string, seed?: number}} Sample
 * @typedef {{job: string, project: string, run: string, title: string, place: number, mine: boolean}} Waiting
 * @typedef {{running: ?LiveRun, queue: Waiting[], last: ?Run, time: number}} Live
 */

window.loraTrain = (() => {
    "use strict";

    const ROOT = "lora_train_root";
    const PREFIX = "lora_train_"; // of what is kept in the browser
    const LOOK_AGAIN = 250; // ms between looks for the root, which gradio may draw late

    const state = {
        /** @type {?Session} */ session: null,
        /** @type {Project[]} */ projects: [],
        /** @type {?Project} */ project: null,
        /** @type {{name: string, family: string, current: boolean}[]} */ checkpoints: [],
        /** @type {?Live} */ live: null,
        /** Whether the last look at the server failed. */ offline: false,
        /** @type {Run[]} of the project, newest first */ runs: [],
    };

    /** @type {Map<string, Function[]>} */
    const listeners = new Map();

    /** Calls `listener` at each `emit(name)` from now on. */
    function on(name, listener) {
        listeners.set(name, [...(listeners.get(name) || []), listener]);
    }

    /** Tells the listeners; one that fails does not keep the others from hearing. */
    function emit(name, value) {
        for (const listener of listeners.get(name) || []) {
            try {
                const result = listener(value);
                if (result instanceof Promise) result.catch(report);
            } catch (error) {
                report(error);
            }
        }
    }

    /** An error that nobody caught: shown in the message line, like any other. */
    function report(error) {
        if (error.name === "AbortError") return;
        if (!error.sentence) console.error(error); // a fault of the page, not a refusal of the server
        emit("problem", error);
    }

    /** Runs `work`; what goes wrong is shown. Resolves to its result, or undefined after an error. */
    async function attempt(work) {
        try {
            return await work();
        } catch (error) {
            report(error);
            return undefined;
        }
    }

    /** The sentence in the page's language, its {names} replaced. The English sentence is the key. */
    function text(english, values = {}) {
        return word(english).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
    }

    /** A word of the server's own tables, as labels of settings are, in the page's language. */
    function word(english) {
        const texts = (state.session && state.session.texts) || {};
        return Object.hasOwn(texts, english) ? texts[english] : english;
    }

    /** As `text`, with {count}, in the form that the number asks for. */
    function plural(count, one, many, values = {}) {
        const form = count === 1 ? one : many;
        return text(form, {count: number(count), ...values});
    }

    function language() {
        return (state.session && state.session.language) || "en";
    }

    /** A number as the language writes it, with at most `digits` after the point. */
    function number(value, digits = 0) {
        return new Intl.NumberFormat(language(), {maximumFractionDigits: digits}).format(value);
    }

    /** 0.0841 and 1.2e-4: three figures that count. */
    function significant(value) {
        if (value === null || value === undefined || !Number.isFinite(value)) return "–";
        if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1).replace(".0e", "e");
        return new Intl.NumberFormat(language(), {maximumSignificantDigits: 3}).format(value);
    }

    function bytes(value) {
        const units = ["B", "KB", "MB", "GB", "TB"];
        let unit = 0;
        for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1024;
        return `${number(value, unit > 1 && value < 100 ? 1 : 0)} ${units[unit]}`;
    }

    /** "40 s", "3 min 20 s", "2 h 5 min". */
    function duration(seconds) {
        if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
        const whole = Math.max(0, Math.round(seconds));
        const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
        if (hours > 0) return text("{hours} h {minutes} min", {hours, minutes});
        if (minutes >= 10) return text("{minutes} min", {minutes});
        if (minutes > 0) return text("{minutes} min {seconds} s", {minutes, seconds: whole % 60});
        return text("{seconds} s", {seconds: whole});
    }

    /** A moment, given in seconds since 1970: the time alone when it was today. */
    function moment(seconds) {
        if (!seconds) return "–";
        const date = new Date(seconds * 1000);
        const today = date.toDateString() === new Date().toDateString();
        const form = today ? {timeStyle: "short"} : {dateStyle: "medium", timeStyle: "short"};
        return new Intl.DateTimeFormat(language(), form).format(date);
    }

    /** What this browser remembers; a browser that forbids it remembers nothing. */
    const memory = {
        read(name) {
            try {
                return window.localStorage.getItem(PREFIX + name) || "";
            } catch {
                return "";
            }
        },
        write(name, value) {
            try {
                window.localStorage.setItem(PREFIX + name, value);
            } catch {
                // Private windows may forbid it; nothing depends on it.
            }
        },
    };

    function root() {
        return document.getElementById(ROOT);
    }

    /** Whether the person can see the tab now. */
    function visible() {
        const element = root();
        return !document.hidden && element !== null && element.getClientRects().length > 0;
    }

    /** Whether an element of ours is drawn: its sub-tab is the open one. */
    function shown(element) {
        return element.getClientRects().length > 0;
    }

    /** Calls `work` each time an element comes into sight, as when its sub-tab is opened. */
    function onShown(element, work) {
        let before = false;
        new ResizeObserver(() => {
            const now = shown(element);
            if (now && !before) work();
            before = now;
        }).observe(element);
    }

    /** Calls `work` once, `wait` ms after the last call. */
    function later(wait, work) {
        let timer = 0;
        return () => {
            window.clearTimeout(timer);
            timer = window.setTimeout(work, wait);
        };
    }

    function pause(milliseconds) {
        return new Promise((resolve) => window.setTimeout(resolve, milliseconds));
    }

    /** @type {Function[]} */
    let starters = [];
    let started = false;

    /** Calls `starter` when the tab is seen for the first time and the session is open. */
    function onStart(starter) {
        if (started) starter();
        else starters.push(starter);
    }

    /** Waits for the tab to be seen, opens the session and draws the panels. */
    async function start() {
        while (!visible()) await pause(LOOK_AGAIN);
        state.session = await loraTrain.openSession();
        started = true;
        for (const starter of starters) starter();
        starters = [];
        emit("started");
    }

    document.addEventListener("visibilitychange", () => emit("visible"));
    window.setTimeout(async () => {
        while (!loraTrain.started) await pause(LOOK_AGAIN); // which the last of the files adds
        start().catch((error) => loraTrain.showStartProblem(error));
    });

    return {
        state, on, emit, report, attempt, text, word, plural, language, number, significant, bytes, duration, moment,
        memory, root, visible, shown, onShown, later, pause, onStart,
    };
})();
