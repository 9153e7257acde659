/**
 * The grids of the open project as the server has them: `loraTrain.previews`. The card, its parts and its windows read
 * them, and change them through `act`, `giveStars`, `redraw`, `stop` and `goOn`; then it emits "previews" (the overview
 * or the grid changed; also once a second while a grid is drawn) and "previews-chosen".
 *
 * A window is a class that takes the model and has `element`; the card shows it in a sheet (`loraTrain.openSheet`) and
 * then calls `opened(given)`, and `closed()` when it was closed, where the window has them. `given` of PreviewPlan is
 * {grid: the grid to change, or null for a new one}.
 */
(() => {
    "use strict";

    const {state, api, url, on, emit, attempt, report, memory, pause, visible, shown} = loraTrain;
    const PACE = 1000; // ms between two looks while a grid is drawn
    const OTHERS = 3; // so many of them between two looks at the list, while another grid is drawn
    const AFTER_RUN = [0, 2000, 6000]; // ms after a run has ended, when its grid may have come
    const AXES = ["columns", "weights", "bases", "prompts", "seeds"];

    /**
     * @typedef {{id: string, title: string, runs: string[], columns: number, weights: number[], prompts: number,
     *   seeds: number[], cells: number, made: number, state: string, job: ?PreviewJob, created: number,
     *   recommended: ?Object}} PreviewLine
     * @typedef {{id: string, state: string, stage: string, done: number, total: number, remaining: ?number,
     *   stopping: boolean, mine: boolean}} PreviewJob
     */

    class PreviewModel {
        constructor() {
            /** @type {?{grids: PreviewLine[], schema: Object[], samplers: string[], trash: Object[], picks: Object[],
             *   tools: {tagger: string, embedding: boolean}}} null before it was read */
            this.overview = null;
            /** @type {?Object} the grid that is shown, as GET /grids/{id} answers; null where there is none */
            this.grid = null;
            this.list = new loraTrain.PreviewCells();
            /** @type {?string} key of the cell that the buttons are about */
            this.chosen = null;
            /** @type {Set<string>} keys of several that were chosen to be drawn again */
            this.selected = new Set();
            /** @type {?string} key of the cell that others are compared with; without one it is that of weight 0 */
            this.marked = null;
            this.project = "";
            /** @type {?Element} what has to be in sight for the server to be watched */
            this.panel = null;
            this.order = new loraTrain.Latest();
            this.stars = Promise.resolve(); // those that are being given
            on("project", () => this.open());
            on("ended", (run) => this.runEnded(run));
            on("runs", () => { if (this.inSight) attempt(() => this.look()); });
            on("started", () => this.watch());
        }

        /** Path of a route of the project's grids. */
        root(...more) {
            return ["projects", this.project, "grids", ...more];
        }

        /** Path of a route of the grid that is shown. */
        path(...more) {
            return this.root(this.grid.id, ...more);
        }

        get inSight() {
            return Boolean(this.project && this.panel && visible() && shown(this.panel));
        }

        // ------------------------------------------------------------------ cells

        /** By key, in the order in which they are drawn. @returns {Map<string, PreviewCell>} */
        get cells() {
            return this.list.byKey;
        }

        /**
         * The cell at a place; that of weight 0 is the same for every column.
         * @returns {?PreviewCell}
         */
        at(base, column, weight, prompt, seed) {
            return this.list.at(base, column, weight, prompt, seed);
        }

        /** The same picture without the LoRA; null where the grid has no weight 0. @returns {?PreviewCell} */
        plain(cell) {
            return this.at(cell.base, -1, 0, cell.prompt, cell.seed);
        }

        /** @returns {?PreviewCell} */
        get chosenCell() {
            return this.cells.get(this.chosen) || null;
        }

        /** Key of the recommended cell; "" where nothing is recommended. */
        get recommended() {
            return this.grid && this.grid.recommendation ? this.grid.recommendation.cell : "";
        }

        /** Makes a cell the one that the buttons are about. @param {?string} key */
        choose(key) {
            if (key === this.chosen || key !== null && !this.cells.has(key)) return;
            this.chosen = key;
            this.remember();
            emit("previews-chosen", this);
        }

        /** The cell that others are compared with, or none. */
        mark(key) {
            this.marked = this.marked === key ? null : key;
            emit("previews-chosen", this);
        }

        /** @param {Iterable<string>} keys */
        select(keys) {
            this.selected = new Set(keys);
            emit("previews-chosen", this);
        }

        /** The address of a cell's picture: "picture", "thumbnail" or "difference". */
        address(key, what = "picture") {
            const turn = this.list.turns.get(key);
            const query = turn ? {v: turn} : {};
            if (what === "difference") return url(this.path("difference", key), query);
            return url(this.path("cells", key, ...(what === "thumbnail" ? [what] : [])), query);
        }

        // ------------------------------------------------------------------ reading

        /** Another project is open: nothing of the last one is left. */
        open() {
            const id = state.project ? state.project.id : "";
            if (id === this.project) return;
            this.project = id;
            this.order.changed();
            this.overview = null;
            this.known = readMemory(id);
            this.forget();
            emit("previews", this);
            if (this.inSight) attempt(() => this.look());
        }

        forget() {
            this.grid = null;
            this.list = new loraTrain.PreviewCells();
            this.chosen = this.marked = null;
            this.selected = new Set();
        }

        /** Shows another grid. */
        async show(id) {
            this.order.changed();
            this.known = {...this.known, grid: id, cell: ""};
            this.wanted = id;
            await this.look();
        }

        /** Reads the overview and the grid that is shown anew. */
        async look() {
            const answer = await this.order.ask(() => this.readAll());
            if (!answer) return;
            this.overview = answer.overview;
            this.take(answer.grid);
            this.remember();
            emit("previews", this);
        }

        async readAll() {
            if (!this.project) return null;
            const overview = await api.get(this.root());
            const id = this.which(overview.grids);
            return {overview, grid: id ? await this.read(id) : null};
        }

        async read(id) {
            try {
                return await api.get(this.root(id));
            } catch (error) {
                if (error.status === 404) return null; // deleted this very moment: the next look knows
                throw error;
            }
        }

        /** The id of the grid to show: one that is new, else the one that was shown last, else the newest. */
        which(grids) {
            const ids = grids.map((one) => one.id);
            if (this.wanted && ids.includes(this.wanted)) return this.wanted;
            const {grid, newest} = this.known || {};
            const fresh = ids.length > 0 && newest !== undefined && ids[0] !== newest && isLater(ids[0], newest);
            if (!fresh && ids.includes(grid)) return grid;
            return ids[0] || "";
        }

        /** Takes over a grid with its cells. */
        take(grid) {
            if (!grid) {
                this.forget();
                return;
            }
            const same = this.grid !== null && this.grid.id === grid.id;
            if (!same) this.forget();
            this.grid = grid;
            this.list = new loraTrain.PreviewCells(grid.cells, same ? this.list : null);
            if (this.marked && !this.cells.has(this.marked)) this.marked = null;
            for (const key of this.selected) if (!this.cells.has(key)) this.selected.delete(key);
            if (this.chosen && this.cells.has(this.chosen)) return;
            const {cell} = this.known || {};
            this.chosen = this.cells.has(cell) ? cell : null;
            emit("previews-chosen", this);
        }

        /** Takes over what a grid says of itself without its cells; false where they have to be read. */
        takeState(said) {
            const {grid} = this;
            if (!grid || said.id !== grid.id || said.size !== this.cells.size) return false;
            if (AXES.some((axis) => JSON.stringify(said[axis]) !== JSON.stringify(grid[axis]))) return false;
            this.list.setDrawn(said.drawn);
            const ended = grid.job !== null && said.job === null;
            this.grid = {...grid, ...said};
            emit("previews", this);
            return !ended;
        }

        async poll() {
            const isNew = this.order.mark();
            const said = await api.get(this.path(), {cells: false});
            if (!isNew()) return;
            if (!this.takeState(said)) await this.look();
        }

        async watch() {
            for (let turn = 0; ; turn += 1) {
                await pause(PACE);
                if (!this.inSight || state.offline || !this.overview) continue;
                const own = this.grid && this.grid.job;
                const another = this.overview.grids.some((one) => one.job);
                if (!own && (!another || turn % OTHERS)) continue;
                try {
                    await (own ? this.poll() : this.look());
                } catch (error) {
                    if (error.status === 404) await attempt(() => this.look());
                    else if (error.status !== 0) report(error); // a lost connection is said in the header
                }
            }
        }

        /** The grid of a run comes by itself, a moment after the run has ended. */
        async runEnded(run) {
            if (run.project !== this.project) return;
            for (const wait of AFTER_RUN) {
                await pause(wait);
                if (this.inSight) await attempt(() => this.look());
            }
        }

        /** What a browser remembers of a project: the page that is opened again shows the same. */
        remember() {
            if (!this.overview || !this.project) return;
            const [first] = this.overview.grids;
            this.wanted = "";
            this.known = {
                newest: first ? first.id : "", grid: this.grid ? this.grid.id : "", cell: this.chosen || "",
            };
            memory.write(`previews_${this.project}`, JSON.stringify(this.known));
        }

        // ------------------------------------------------------------------ changing

        /**
         * Runs a change, and looks again. Resolves to what `work` gave.
         * @param {function(): Promise} work
         */
        async act(work) {
            try {
                return await this.order.change(work);
            } finally {
                await attempt(() => this.look());
            }
        }

        /** Stars that are given quickly arrive in their order. */
        sendStars(body) {
            const {project} = this;
            const path = this.path("stars");
            const turn = this.stars.then(async () => {
                const said = await this.order.change(() => api.put(path, body));
                if (project === this.project && !this.takeState(said)) await this.look();
            });
            this.stars = turn.catch(() => {});
            return turn;
        }

        /** 1 to 5, or 0 for none. What is seen changes at once, and back where it is refused. */
        giveStars(key, stars) {
            const cell = this.cells.get(key);
            if (!cell || cell.stars === stars) return Promise.resolve();
            const before = cell.stars;
            cell.stars = stars;
            emit("previews-chosen", this);
            return this.sendStars({cell: key, stars}).catch((error) => {
                cell.stars = before;
                emit("previews-chosen", this);
                throw error;
            });
        }

        /** @param {string[]} keys */
        redraw(keys) {
            return this.act(async () => {
                const {list} = this;
                const said = await api.post(this.path("redraw"), {cells: keys});
                list.gone(keys);
                return said;
            });
        }

        stop() {
            return this.act(() => api.post(this.path("stop")));
        }

        goOn() {
            return this.act(() => api.post(this.path("continue")));
        }
    }

    /** Grids are numbered: g02 is later than g01. */
    function isLater(id, than) {
        return Number(id.slice(1)) > (Number((than || "").slice(1)) || 0);
    }

    function readMemory(project) {
        try {
            const known = JSON.parse(memory.read(`previews_${project}`) || "{}");
            return known && typeof known === "object" ? known : {};
        } catch {
            return {};
        }
    }

    Object.assign(loraTrain, {PreviewModel, previews: new PreviewModel()});
})();
