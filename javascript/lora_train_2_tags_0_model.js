/**
 * The tags of the open project as the server has them: `loraTrain.tags`. Its parts and panels read it, and change it
 * only through its methods; then it emits "tags" (the overview), "tags-found" (the pictures and tags of the filter),
 * "tags-picture" (the id of a picture that came or changed), "tags-selection" and "tags-conflict".
 *
 * A panel is a class that takes the model and has `element`; the card shows it in a window (`loraTrain.openSheet`) and
 * then calls `opened(given)`, and `closed()` when it was closed, where the panel has them. Completion is asked for as
 * `new TagComplete(model).attach(input, (tag) => ...)`.
 */
(() => {
    "use strict";

    const {state, api, on, emit, attempt, later, pause, visible, shown} = loraTrain;
    const SEEN = 3000; // ms between two looks, for what other programs change
    const WRITING = 300; // ms, while files are written
    const FIND_WAIT = 120; // ms after the last change, before the counts are asked for again

    /**
     * @typedef {{number: number, title: string, time: number, count: number}} TagStep
     * @typedef {{revision: string, form: string, total: number, captioned: number, undo: ?TagStep, redo: ?TagStep,
     *   trigger: {word: string, notes: string[], everywhere: number}, sitting: ?{count: number, to: number},
     *   writing: ?{done: number, total: number}, left: ?{count: number, names: string[]}, trouble: ?Problem,
     *   tokens: {available: boolean, name: string, limit: number, trouble: string},
     *   vocabulary: {source: string, count: number}, translation: {language: string, count: number}}} TagOverview
     * @typedef {{filter: string, order: string, reverse: boolean, revision: string, total: number, captioned: number,
     *   pictures: string[], tags: {tag: string, count: number, all: number, translation: string}[]}} TagFound
     *   `pictures`: ids in order; the current one stays among them when its tags do not match any more
     */

    class TagModel {
        constructor() {
            /** @type {?TagOverview} null before it was read */
            this.overview = null;
            /** @type {?TagFound} null before it was read */
            this.found = null;
            /** @type {Set<string>} ids of those chosen, of which the current one need not be one */
            this.selected = new Set();
            this.current = "";
            this.anchor = "";
            /** The current picture, where it is shown although the filter does not find it any more. */
            this.kept = "";
            this.project = "";
            /** @type {?Element} what has to be in sight for the server to be watched */
            this.panel = null;
            this.pictures = new loraTrain.TagPictures(this);
            this.aged = ""; // the revision of which the known pictures are, or are being read again
            this.findings = new loraTrain.Latest(); // questions for pictures
            /** @type {?Promise} of the filter that somebody asked for, until it is answered */
            this.filtering = null;
            this.order = new loraTrain.Latest(); // of the overview
            this.queue = Promise.resolve(); // what is to be saved, one after the other
            this.clicks = Promise.resolve(); // what changes the filter
            this.sought = ""; // the revision that was known when pictures were asked for last
            this.findSoon = later(FIND_WAIT, () => {
                if (this.overview && this.sought !== this.overview.revision) attempt(() => this.find());
            });
            on("project", () => this.open());
            on("started", () => this.watch());
        }

        get path() {
            return ["projects", this.project, "tags"];
        }

        /** Another project is open: nothing of the last one is left. */
        open() {
            const id = state.project ? state.project.id : "";
            if (id === this.project) return;
            emit("tags-leaving");
            this.project = id;
            this.overview = this.found = null;
            this.selected.clear();
            this.current = this.anchor = "";
            this.order.drop();
            this.findings.drop();
            this.pictures.forget();
            emit("tags", null);
            emit("tags-found", null);
            if (this.inSight) attempt(() => this.look());
        }

        get inSight() {
            return Boolean(this.project && this.panel && visible() && shown(this.panel));
        }

        /** Reads the overview again, and what it says is different. */
        async look() {
            const {project, path} = this;
            if (!project) return;
            const overview = await this.order.ask(() => api.get(path));
            if (overview) this.take(overview);
            if (project === this.project && !this.found) await this.find("");
        }

        /** Takes over what the server said about the project. */
        take(overview) {
            this.overview = overview;
            emit("tags", overview);
            if (!this.found || this.found.revision === overview.revision) return;
            this.age(overview.revision);
            this.findSoon();
        }

        /** Captions changed: those in sight are read again, once for each revision. */
        age(revision) {
            if (this.aged === revision) return;
            this.aged = revision;
            this.pictures.age();
            this.selectionChanged(); // by which what is in sight is drawn again
        }

        async watch() {
            for (;;) {
                await pause(this.overview && this.overview.writing ? WRITING : SEEN);
                if (!this.inSight || state.offline) continue;
                try {
                    await this.look();
                } catch (error) {
                    if (error.status !== 0) loraTrain.report(error); // a lost connection is said in the header
                }
            }
        }

        /** Does something after everything that was begun before it. */
        inTurn(work) {
            const {queue} = this;
            const turn = this.order.change(() => queue.then(work));
            this.queue = turn.catch(() => {});
            return turn;
        }

        /**
         * Shows the pictures of a filter; the one in force when it is left out.
         * @param {string} [filter]
         * @param {{order?: string, reverse?: boolean}} [look]
         * @throws {ApiError} with `mark` {position, length} when the filter is not understood; the last one stays
         */
        async find(filter = undefined, look = {}) {
            while (filter === undefined && this.filtering) await this.filtering; // it would be forgotten
            const {project, found: before} = this;
            if (!project) return;
            const again = filter === undefined || before !== null && filter === before.filter;
            const {order, reverse} = {order: "name", reverse: false, ...before, ...look};
            const question = {filter: filter ?? (before ? before.filter : ""), order, reverse};
            this.sought = this.overview ? this.overview.revision : "";
            const answering = this.findings.ask(() => this.ask(question));
            if (filter !== undefined) this.waitFor(answering);
            const answer = await answering;
            if (!answer) return;
            this.found = {...question, ...answer};
            this.place(again ? before : null);
            if (before) this.age(answer.revision);
            emit("tags-found", this.found);
            this.selectionChanged();
        }

        waitFor(answering) {
            const heard = answering.catch(() => {}).then(() => {
                if (this.filtering === heard) this.filtering = null;
            });
            this.filtering = heard;
        }

        async ask(question) {
            try {
                return await api.post([...this.path, "find"], question);
            } catch (error) {
                this.sought = "";
                throw error;
            }
        }

        /** Keeps the current picture where it was, and of the selection what is still there. */
        place(before) {
            const {pictures} = this.found;
            const here = new Set(pictures);
            this.kept = "";
            for (const id of this.selected) if (!here.has(id)) this.selected.delete(id);
            if (here.has(this.current)) return;
            const at = before ? before.pictures.indexOf(this.current) : -1;
            const picture = this.pictures.known.get(this.current);
            const gone = this.found.filter.trim() === ""; // without a filter, each that is there is found
            if (at >= 0 && picture && !gone) {
                pictures.splice(at, 0, this.current);
                this.kept = this.current;
            } else {
                this.current = pictures[Math.max(0, Math.min(at, pictures.length - 1))] || "";
            }
        }

        /** The current picture goes from the list when another is looked at and its tags do not match any more. */
        letGo(id) {
            if (!this.kept || id === this.kept) return;
            this.found.pictures = this.found.pictures.filter((one) => one !== this.kept);
            this.selected.delete(this.kept);
            this.kept = "";
        }

        /** Narrows the filter by a tag, as a click on it does; clicks follow each other. */
        filterBy(tag, how) {
            const clicked = this.clicks.then(() => this.click(tag, how));
            this.clicks = clicked.catch(() => {});
            return clicked;
        }

        /** @param {"include"|"exclude"|"without"} how */
        async click(tag, how) {
            if (!this.found) return;
            const {filter} = this.found;
            const answer = await api.post([...this.path, "filter"], {filter, tag, how});
            await this.find(answer.filter);
        }

        /** A picture as far as it is known, else null; "tags-picture" tells when it has come. @returns {?TagPicture} */
        picture(id) {
            return this.pictures.get(id);
        }

        /** What the buttons for several pictures are about: the chosen ones, or all that the filter found. */
        target() {
            return this.selected.size > 0 ? {pictures: this.selectedInOrder} : {filter: this.found.filter};
        }

        /** How many `target()` names. */
        get targetCount() {
            return this.selected.size || (this.found ? this.found.total : 0);
        }

        get selectedInOrder() {
            return this.found.pictures.filter((id) => this.selected.has(id));
        }

        /** Saves a caption. @param {string[]|string} given its tags, or its text. @returns {Promise<boolean>} */
        save(id, given) {
            return this.pictures.save(id, Array.isArray(given) ? {tags: given} : {text: given});
        }

        undo() {
            return this.inTurn(() => this.step("undo", this.overview.undo));
        }

        redo() {
            return this.inTurn(() => this.step("redo", this.overview.redo));
        }

        async step(action, step) {
            if (step) await this.send(action, {number: step.number});
        }

        /** Undoes everything after the entry `to` (0: everything), or does it again up to there. */
        rollback(to) {
            return this.act("rollback", {to});
        }

        forward(to) {
            return this.act("forward", {to});
        }

        /** POST to a route whose answer is the overview, when everything begun before is done. */
        act(action, body = {}) {
            return this.inTurn(() => this.send(action, body));
        }

        /** As `act`, at once. */
        async send(action, body) {
            const {project} = this;
            try {
                const overview = await api.post([...this.path, ...action.split("/")], body);
                if (project !== this.project) return;
                this.order.changed(); // an answer of before may still be on its way
                this.take(overview);
                await this.find();
            } catch (error) {
                this.sought = ""; // what is shown is what is there, whatever was refused
                this.findSoon();
                attempt(() => this.look());
                throw error;
            }
        }

        /** Makes a picture the current one, alone. */
        show(id) {
            this.choose(id);
        }

        /** To the next (1) or the previous (-1) picture. */
        go(by) {
            const {pictures} = this.found;
            const id = pictures[pictures.indexOf(this.current) + by];
            if (id) this.choose(id);
        }

        /**
         * As files are chosen in a file manager: alone, one more or less (`add`), or all from the last one (`range`).
         * The picture becomes the current one.
         */
        choose(id, {add = false, range = false} = {}) {
            const {pictures} = this.found;
            if (range) {
                const ends = [pictures.indexOf(this.anchor || this.current), pictures.indexOf(id)];
                if (!add) this.selected.clear();
                for (const one of pictures.slice(Math.min(...ends), Math.max(...ends) + 1)) this.selected.add(one);
            } else if (add) {
                if (this.selected.size === 0 && id !== this.current && this.current) this.selected.add(this.current);
                if (!this.selected.delete(id)) this.selected.add(id);
            } else {
                this.selected.clear();
            }
            if (!range) this.anchor = id;
            this.current = id;
            this.letGo(id);
            this.selectionChanged();
        }

        chooseAll() {
            this.selected = new Set(this.found.pictures);
            this.selectionChanged();
        }

        chooseNone() {
            this.selected.clear();
            this.selectionChanged();
        }

        selectionChanged() {
            emit("tags-selection", this);
        }
    }

    Object.assign(loraTrain, {TagModel, tags: new TagModel()});
})();
