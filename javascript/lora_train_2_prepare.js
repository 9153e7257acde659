/**
 * The preparation of the open project as the server has it. It is read when the project is opened or its pictures
 * change, and once a second while a job of it runs and the tab is seen.
 */
(() => {
    "use strict";

    const {state, api, url, on, emit, attempt, later, pause, visible, shown, lookNow, text} = loraTrain;
    const STEPS = ["check", "crop", "matte", "tag"];
    const SEEN = 1000; // ms between two looks while a job runs
    const SAVE_WAIT = 400; // ms after the last change of a setting
    const RECENT = 5000; // ms: the end of a job was seen as it happened

    /**
     * @typedef {{left: number, top: number, right: number, bottom: number, width: number, height: number,
     *   mirror: boolean, by: string, label: string, notes: string[], scale: number}} Crop box in pixels of the
     *   original, size of what is written, by whom in words, and sentences about it
     * @typedef {{id: string, name: string, concept: string, width: number, height: number, stamp: string,
     *   problem: ?Problem, faces: number[][], proposal: Crop[], crops: Crop[], by_hand: boolean, previews: string[],
     *   outputs: {picture: string, name: string, stamp: string}[], matte: {state: string, stamp: string},
     *   changed: boolean, caption: {before: string, after: string}}} Source an original, and what becomes of it
     * @typedef {{name: string, label: string, help: string, type: string, default: *, minimum: ?number,
     *   maximum: ?number, choices: string[], unit: string}} PrepareSetting
     */

    class Preparation {
        constructor() {
            /** The server's overview of the open project; null before it was read. */
            this.overview = null;
            /** @type {{name: string, label: string, settings: PrepareSetting[]}[]} */
            this.schema = [];
            /** @type {?Element} what has to be in sight for a running job to be followed */
            this.panel = null;
            this.looked = 0; // when the overview was read
            this.changes = 0; // of settings, counted: an older answer does not overwrite them
            this.order = new loraTrain.Latest();
            this.watching = false;
            this.saving = Promise.resolve();
            this.settling = Promise.resolve(); // the last of what closed windows still set going
            this.unsettled = 0; // how many of them are under way
            /** @type {?{project: Project, settings: Object}} changed settings that the server does not have yet */
            this.unsaved = null;
            this.saveSoon = later(SAVE_WAIT, () => attempt(() => this.saved()));
            on("project", () => {
                this.order.drop();
                this.overview = null;
                emit("preparation", null);
            });
            on("live", () => { if (this.missed && !state.offline) attempt(() => this.look()); });
        }

        get path() {
            return ["projects", state.project.id, "prepare"];
        }

        /** Of the open project; empty without one. */
        get projectId() {
            return state.project ? state.project.id : "";
        }

        get job() {
            return this.overview && this.overview.job;
        }

        /** Whether nothing of it was ever done. */
        get never() {
            return this.overview !== null && STEPS.every((name) => this.overview.steps[name].state === "never");
        }

        /** How much Apply would change. */
        get unapplied() {
            return this.overview ? Object.values(this.overview.changes).reduce((sum, count) => sum + count, 0) : 0;
        }

        /** Reads the overview again; where the connection is lost, which the page says elsewhere, once it is back. */
        async look() {
            this.missed = false;
            try {
                const {project} = state;
                if (!project) return;
                const answer = await this.order.ask(async () => {
                    const {changes} = this;
                    const [overview] = await Promise.all([api.get(this.path), this.readSchema()]);
                    return {overview, changes};
                });
                if (answer) this.take(answer.overview, project, answer.changes);
            } catch (error) {
                if (error.status !== 0) throw error;
                this.missed = true;
            }
        }

        async readSchema() {
            if (this.schema.length === 0) this.schema = (await api.get([...this.path, "schema"])).groups;
        }

        /** Takes over what the server said about a project. */
        take(overview, project = state.project, changes = this.changes) {
            if (!state.project || state.project.id !== project.id) return;
            const before = this.overview;
            this.overview = changes === this.changes ? overview : {...overview, settings: before.settings};
            emit("preparation", this.overview);
            const seen = Date.now() - this.looked < RECENT;
            this.looked = Date.now();
            if (before && before.job && !overview.job) emit("prepared", {overview, job: before.job, seen});
            if (overview.job) this.watch();
        }

        async watch() {
            if (this.watching) return;
            this.watching = true;
            while (this.job) {
                await pause(SEEN);
                if (state.project && visible() && shown(this.panel)) await attempt(() => this.look());
            }
            this.watching = false;
        }

        /** POST, whose answer is the overview; settings that wait to be saved go ahead of it. */
        async act(action, body = {}) {
            const {project} = state;
            const {path} = this; // another project may be opened while the settings are saved
            await this.saved();
            const answer = await this.order.change(() => api.post([...path, ...action.split("/")], body));
            this.take(answer.overview || answer, project);
            lookNow();
            return answer;
        }

        start(steps, {apply = false, train = null} = {}) {
            return this.act("start", {steps, apply, train});
        }

        /** Changes settings at once here, and soon on the server. */
        change(group, values) {
            this.changes += 1;
            const {settings} = this.overview;
            this.overview = {...this.overview, settings: {...settings, [group]: {...settings[group], ...values}}};
            this.unsaved = {project: state.project, settings: this.overview.settings};
            emit("preparation", this.overview);
            this.saveSoon();
        }

        /** What a closed window still sets going, its job included. Apply may be pressed meanwhile: it waits for it. */
        settle(work) {
            this.unsettled += 1;
            this.settling = this.settling.then(() => attempt(async () => {
                await work();
                return this.idle();
            })).finally(() => {
                this.unsettled -= 1;
                emit("preparation", this.overview);
            });
        }

        /** Resolves when no job is followed: to the one that there was. */
        async idle() {
            const {job} = this;
            while (this.job) await pause(SEEN / 4);
            return job;
        }

        /** Resolves when nothing is under way: to whether to go on, as what was waited for came to its end. */
        async settled() {
            const closing = this.unsettled > 0;
            const before = await this.settling;
            const job = closing && before || await this.idle();
            return !job || this.overview !== null && this.overview.last !== null && this.overview.last.state === "done";
        }

        /** Resolves when no changed setting waits any more. */
        async saved() {
            if (this.unsaved) await this.save(this.unsaved.settings, this.unsaved.project);
            await this.saving;
        }

        /** Also where another project was opened meanwhile: what was changed last is the other one's. */
        save(settings, project = state.project) {
            const {changes} = this;
            this.unsaved = null;
            this.saving = this.saving.catch(() => {}).then(async () => {
                const path = ["projects", project.id, "prepare", "settings"];
                const overview = await this.order.change(() => api.put(path, {settings}));
                this.take(overview, project, changes);
            });
            return this.saving;
        }

        /** The group of settings of a step. */
        group(name) {
            return this.schema.find((one) => one.name === name) || {name, label: name, settings: []};
        }

        /** Something of a source changed: what it means as a whole is read again, a little later. */
        get touch() {
            this.toucher = this.toucher || later(SAVE_WAIT, () => attempt(() => this.look()));
            return this.toucher;
        }
    }

    function stepWords(name) {
        return {check: text("Check"), crop: text("Crop"), matte: text("Background"), tag: text("Tags")}[name];
    }

    /** The address of something of a source. */
    function sourceUrl(source, what, query = {}) {
        const path = ["projects", state.project.id, "prepare", "sources", source.id || source.source, what];
        return url(path, {v: source.stamp, ...query});
    }

    /** What Apply would write of a crop; the address changes when that does. */
    function previewUrl(source, crop, size = 0) {
        return sourceUrl(source, "preview", {crop, v: source.previews[crop], ...(size ? {size} : {})});
    }

    function matteUrl(source, size = 0) {
        return sourceUrl(source, "matte", {v: source.matte.stamp, ...(size ? {size} : {})});
    }

    Object.assign(loraTrain, {Preparation, PREPARE_STEPS: STEPS, stepWords, sourceUrl, previewUrl, matteUrl});
})();
