/**
 * How a grid is looked at: what lies across and down, what is filtered out, how large, which cell has the keyboard, and
 * whether its picture, its difference or two in turn are shown. Emits "previews-view"; its keys are those of the grid
 * and of the full screen.
 */
(() => {
    "use strict";

    const {on, emit, attempt, memory, PreviewLayout, previewValues} = loraTrain;
    const SIZES = [48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512]; // px of the longer side
    const USUAL = 128;
    const MOST_STARS = 5;

    class PreviewDesk {
        /** @param {PreviewModel} model */
        constructor(model) {
            this.model = model;
            /** @type {?PreviewLayout} null while there is no grid */
            this.layout = null;
            this.row = this.column = 0;
            /** @type {"picture"|"difference"|"flicker"} */
            this.mode = "picture";
            this.differences = false; // in the grid, all of them
            this.arrangement = memory.read("previews_arrangement") || "files";
            this.swapped = memory.read("previews_swapped") === "1";
            this.size = SIZES.includes(Number(memory.read("previews_size"))) ? Number(memory.read("previews_size"))
                : USUAL;
            /** @type {Object<string, Set<number>>} values that are filtered out, by axis */
            this.hidden = {};
            this.of = ""; // the axes of which `layout` is
            on("previews", () => this.refresh());
            on("previews-chosen", () => this.follow());
        }

        /** Lays out anew where the grid is another one, or has other axes. */
        refresh() {
            const {grid} = this.model;
            const of = grid ? JSON.stringify([grid.id, grid.columns, grid.weights, grid.bases, grid.prompts,
                grid.seeds, grid.settings.width, grid.settings.height]) : "";
            if (of === this.of) return;
            const another = !grid || !this.layout || this.layout.grid.id !== grid.id;
            this.of = of;
            // Values of other axes are other values.
            this.hidden = grid && another ? this.readHidden(grid) : {};
            if (another) this.row = this.column = 0;
            this.lay();
        }

        lay() {
            const {grid} = this.model;
            this.layout = grid ? new PreviewLayout(grid, {
                name: this.arrangement, swapped: this.swapped, hidden: this.hidden,
            }) : null;
            this.place();
            emit("previews-view", this);
        }

        /** Keeps the keyboard at the chosen cell, or within the grid. */
        place() {
            const {layout, model} = this;
            if (!layout) return;
            const at = model.chosenCell ? layout.find(model.chosenCell) : null;
            if (at && !this.isHere(model.chosen)) [this.row, this.column] = at;
            this.row = Math.max(0, Math.min(this.row, layout.rows.length - 1));
            this.column = Math.max(0, Math.min(this.column, layout.columns.length - 1));
        }

        /** Whether the cell with the keyboard is that one; weight 0 can stand in several places. */
        isHere(key) {
            const cell = this.cell;
            return cell !== null && cell.key === key;
        }

        follow() {
            this.place();
            emit("previews-view", this);
        }

        /** The cell with the keyboard. @returns {?PreviewCell} */
        get cell() {
            return this.cellAt(this.row, this.column);
        }

        /** @returns {?PreviewCell} */
        cellAt(row, column) {
            if (!this.layout || !this.layout.rows[row] || !this.layout.columns[column]) return null;
            const place = this.layout.place(row, column);
            return this.model.at(place.base, place.column, place.weight, place.prompt, place.seed);
        }

        /** What the chosen cell is compared with: the marked one, or the same without the LoRA. */
        get other() {
            const {model} = this;
            const cell = model.chosenCell;
            const marked = model.cells.get(model.marked);
            return marked && cell && marked.key !== cell.key ? marked : cell ? model.plain(cell) : null;
        }

        // ------------------------------------------------------------------ looking

        /** To a cell by its place; it becomes the chosen one. */
        go(row, column) {
            const {layout} = this;
            if (!layout) return;
            this.row = Math.max(0, Math.min(row, layout.rows.length - 1));
            this.column = Math.max(0, Math.min(column, layout.columns.length - 1));
            const cell = this.cell;
            if (cell && cell.key !== this.model.chosen) this.model.choose(cell.key);
            else emit("previews-view", this);
        }

        /** To a cell by its key; what filters it out is taken back. */
        show(key) {
            const cell = this.model.cells.get(key);
            if (!cell || !this.layout) return;
            if (!this.layout.find(cell)) {
                this.hidden = {};
                this.keepHidden();
                this.lay();
            }
            this.go(...this.layout.find(cell));
        }

        setMode(mode) {
            this.mode = this.mode === mode ? "picture" : mode;
            emit("previews-view", this);
        }

        /** The grid shows how each picture differs from the one without the LoRA, or the pictures. */
        turnDifferences() {
            this.differences = !this.differences;
            emit("previews-view", this);
        }

        /** One size larger (1) or smaller (-1). */
        zoom(by) {
            const at = SIZES.indexOf(this.size) + by;
            this.setSize(SIZES[Math.max(0, Math.min(SIZES.length - 1, at))]);
        }

        setSize(size) {
            if (size === this.size) return;
            this.size = size;
            memory.write("previews_size", String(size));
            emit("previews-view", this);
        }

        arrange(name, swapped) {
            this.arrangement = name;
            this.swapped = swapped;
            memory.write("previews_arrangement", name);
            memory.write("previews_swapped", swapped ? "1" : "");
            this.lay();
        }

        // ------------------------------------------------------------------ filtering

        get filtered() {
            return Object.values(this.hidden).some((values) => values.size > 0);
        }

        /** Which values of an axis are seen. @param {string} axis @param {Iterable<number>} values */
        filter(axis, values) {
            const seen = new Set(values);
            const hidden = previewValues(this.model.grid)[axis].filter((value) => !seen.has(value));
            this.hidden = {...this.hidden, [axis]: new Set(hidden)};
            this.keepHidden();
            this.lay();
        }

        filterNothing() {
            this.hidden = {};
            this.keepHidden();
            this.lay();
        }

        keepHidden() {
            const {grid, project} = this.model;
            const hidden = Object.fromEntries(Object.entries(this.hidden).map(([axis, values]) => [axis, [...values]]));
            memory.write(`previews_filter_${project}`, this.filtered ? JSON.stringify({grid: grid.id, hidden}) : "");
        }

        readHidden(grid) {
            try {
                const kept = JSON.parse(memory.read(`previews_filter_${this.model.project}`) || "{}");
                if (kept.grid !== grid.id) return {};
                return Object.fromEntries(Object.keys(previewValues(grid))
                    .map((axis) => [axis, new Set(Array.isArray(kept.hidden[axis]) ? kept.hidden[axis] : [])]));
            } catch {
                return {}; // another version wrote it
            }
        }

        // ------------------------------------------------------------------ keys

        /**
         * Does what a key means; false where it means nothing here.
         * @param {KeyboardEvent} event @param {{rows: number, open: ?Function}} here rows of a page; what Enter does
         */
        key(event, {rows, open}) {
            if (event.ctrlKey || event.metaKey || event.altKey || !this.layout) return false;
            const {row, column, layout} = this;
            const move = {
                ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], PageUp: [-rows, 0],
                PageDown: [rows, 0],
            }[event.key];
            if (move) {
                if (event.shiftKey) return false;
                this.go(row + move[0], column + move[1]);
            } else if (event.key === "Home") this.go(row, 0);
            else if (event.key === "End") this.go(row, layout.columns.length - 1);
            else if (event.key === "Enter" && open) open();
            else if (event.key.toLowerCase() === "x" && open) this.turnDifferences(); // not beneath the full screen
            else return this.letter(event.key.toLowerCase());
            return true;
        }

        letter(key) {
            const {model} = this;
            const cell = model.chosenCell;
            if (key === "d") this.setMode("difference");
            else if (key === "f") this.setMode("flicker");
            else if (key === "m" && cell) model.mark(cell.key);
            else if (key === "+" || key === "=") this.zoom(1);
            else if (key === "-") this.zoom(-1);
            else if (/^[0-5]$/.test(key) && cell && cell.made) {
                attempt(() => model.giveStars(cell.key, Math.min(MOST_STARS, Number(key))));
            } else return false;
            return true;
        }
    }

    Object.assign(loraTrain, {PreviewDesk, PREVIEW_SIZES: SIZES});
})();
