/**
 * Watching the server: what runs and what waits, once a second while the tab is seen; the runs of the project.
 */
(() => {
    "use strict";

    const {state, api, text, on, emit, onStart, attempt, visible, pause} = loraTrain;
    const SEEN = 1000; // ms between two looks
    const UNSEEN = 5000;
    const LATE = 8000; // ms after which an answer is not waited for any more

    let wake = null;
    let looking = false;
    const order = new loraTrain.Latest(); // of the runs

    /** Looks at once, instead of when the second is over. */
    function lookNow() {
        if (wake) wake();
    }

    async function look() {
        const late = new AbortController();
        const timer = window.setTimeout(() => late.abort("late"), LATE);
        try {
            const live = await api.get(["live"], {}, late.signal);
            notice(live);
        } catch (error) {
            state.offline = error.status === 0 || error.status >= 500 || error.status === undefined;
            if (!state.offline) emit("problem", error);
            emit("live", state.live);
        } finally {
            window.clearTimeout(timer);
        }
    }

    /** Takes over what the server said, and tells what changed since the last time. */
    function notice(live) {
        const before = state.live;
        const wasOffline = state.offline;
        state.offline = false;
        state.live = live;
        emit("live", live);
        const ended = before && before.running && (!live.running || live.running.job !== before.running.job);
        if (ended && live.last && live.last.job === before.running.job) emit("ended", live.last);
        if (!before || wasOffline || signature(before) !== signature(live)) attempt(loadRuns);
    }

    /** What has to change for the list of runs to be another one. */
    function signature(live) {
        const running = live.running ? live.running.job : "";
        const last = live.last ? `${live.last.project}/${live.last.id}/${live.last.job}/${live.last.state}` : "";
        return [running, last, ...live.queue.map((waiting) => waiting.job)].join(" ");
    }

    async function loadRuns() {
        const answer = await order.ask(async () => (
            state.project ? api.get(["projects", state.project.id, "runs"]) : {runs: []}));
        if (!answer) return;
        state.runs = answer.runs;
        emit("runs", state.runs);
    }

    async function watch() {
        if (looking) return;
        looking = true;
        for (;;) {
            await look();
            await Promise.race([pause(visible() ? SEEN : UNSEEN), new Promise((resolve) => { wake = resolve; })]);
        }
    }

    /** What a run or one in line is called; those that are not the visitor's to see come without a name. */
    function runTitle(run) {
        return run.title || text("Somebody else’s training");
    }

    /** Whether a run is at its steps: not at what comes before, between and after them. */
    function atSteps(run) {
        return run.step > 0 && (run.stage_total === 0 || run.stage_total === run.total_steps);
    }

    /** Tells a job something; what comes of it is seen at once. */
    async function control(job, action, body = {}) {
        const answer = await api.post(["jobs", job, action], body);
        lookNow();
        return answer;
    }

    onStart(() => {
        on("visible", () => { if (visible()) lookNow(); });
        on("project", () => {
            order.changed();
            state.runs = [];
            attempt(loadRuns);
        });
        watch();
    });

    Object.assign(loraTrain, {lookNow, loadRuns, runTitle, atSteps, control});
})();
