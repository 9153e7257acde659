/**
 * What stands where in a grid: its axes (checkpoint, weight, prompt, seed) put one into the other along the two sides,
 * without what is filtered out; several base checkpoints one below the other.
 */
(() => {
    "use strict";

    const {text, plural, number} = loraTrain;

    /** By name: which axes lie across and which down, the outer one first. */
    const ARRANGEMENTS = {
        files: {across: ["column", "weight"], down: ["prompt", "seed"]},
        weights: {across: ["weight"], down: ["prompt", "seed", "column"]},
        epochs: {across: ["column"], down: ["prompt", "seed", "weight"]},
        seeds: {across: ["seed"], down: ["prompt", "column", "weight"]},
    };

    /** The values of each axis of a grid. */
    function valuesOf(grid) {
        return {
            base: grid.bases.map((_, place) => place), column: grid.columns.map((_, place) => place),
            weight: grid.weights, prompt: grid.prompts.map((_, place) => place), seed: grid.seeds,
        };
    }

    /** Files at weights; weight 0, which is the same for all of them, once and first. */
    function adapted({column, weight}) {
        const weights = weight.filter((value) => value !== 0);
        const drawn = column.flatMap((file) => weights.map((value) => ({column: file, weight: value})));
        return weight.includes(0) ? [{column: -1, weight: 0}, ...drawn] : drawn;
    }

    /**
     * All places of a side in their order.
     * @param {string[]} axes @param {Object<string, number[]>} values
     * @returns {Object<string, number>[]}
     */
    function placesOf(axes, values) {
        const both = axes.includes("column") && axes.includes("weight");
        const lists = axes.filter((axis) => !(both && axis === "weight")).map((axis) => (
            both && axis === "column" ? adapted(values) : values[axis].map((value) => ({[axis]: value}))));
        const join = (places, list) => places.flatMap((place) => list.map((one) => ({...place, ...one})));
        return lists.reduce(join, [{}]);
    }

    class PreviewLayout {
        /**
         * @param {Object} grid
         * @param {{name: string, swapped: boolean, hidden: Object<string, Set<number>>}} look
         */
        constructor(grid, {name, swapped, hidden}) {
            this.grid = grid;
            const {across, down} = ARRANGEMENTS[name] || ARRANGEMENTS.files;
            const all = valuesOf(grid);
            const values = {};
            for (const [axis, list] of Object.entries(all)) {
                const seen = list.filter((value) => !(hidden[axis] && hidden[axis].has(value)));
                values[axis] = seen.length ? seen : list; // a filter that leaves nothing is none
            }
            this.across = swapped ? down : across;
            this.down = swapped ? across : down;
            this.columns = placesOf(this.across, values);
            const rows = placesOf(this.down, values);
            /** @type {Object<string, number>[]} with `base` each; where it changes a section begins */
            this.rows = values.base.flatMap((base) => rows.map((row) => ({base, ...row})));
            this.sections = all.base.length > 1;
            this.columnLevels = levelsOf(this.across, all);
            this.rowLevels = levelsOf(this.down, all);
        }

        /** The base, column, weight, prompt and seed of a cell. */
        place(row, column) {
            const place = {...this.rows[row], ...this.columns[column]};
            if (place.weight === 0) place.column = -1;
            return place;
        }

        /** Where a cell stands, as [row, column]; null where it is filtered out. */
        find(cell) {
            const fits = (place) => Object.entries(place).every(([axis, value]) => cell[axis] === value
                || axis === "column" && cell.weight === 0);
            const row = this.rows.findIndex(fits);
            const column = this.columns.findIndex(fits);
            return row < 0 || column < 0 ? null : [row, column];
        }
    }

    /** Axes that need a heading: those with one value alone say nothing. */
    function levelsOf(axes, values) {
        const levels = axes.filter((axis) => values[axis].length > 1);
        return levels.length ? levels : axes.slice(0, 1);
    }

    /**
     * A LoRA file in few words: what tells it from others of its run, what tells its run or step, whether it is gone.
     * @returns {[string, string, string]}
     */
    function fileWords(grid, place) {
        if (place < 0) return [text("Without LoRA"), "", ""];
        const {epoch, step, label, run, there} = grid.columns[place];
        const alike = (one) => one.run === run && one.epoch === epoch && (epoch > 0 || one.step === step);
        const swept = /\(([^()]*)\)$/.exec(label);
        const runs = new Set(grid.columns.map((one) => one.run));
        const from = swept ? swept[1] : runs.size > 1 ? run : "";
        const gone = there ? "" : text("the file is gone");
        const known = run && (epoch > 0 || step > 0) && grid.columns.filter(alike).length === 1;
        if (!known) return [label, "", gone];
        const at = epoch > 0 && step > 0 ? text("step {step}", {step: number(step)}) : "";
        return [epoch > 0 ? text("Epoch {epoch}", {epoch: number(epoch)})
            : text("Step {step}", {step: number(step)}), from || at, gone];
    }

    /** What heads the value of an axis: words, and smaller ones below. @returns {[string, string]} */
    function headWords(grid, axis, value) {
        if (axis === "column") {
            const [name, ...more] = fileWords(grid, value);
            return [name, more.filter(Boolean).join(", ")];
        }
        if (axis === "weight") return [number(value, 4), ""];
        if (axis === "seed") return [String(value), ""];
        if (axis === "base") return [grid.bases[value], ""];
        const prompt = grid.prompts[value];
        return prompt.label ? [prompt.label, prompt.text] : [prompt.text, ""];
    }

    /** A cell in one line. */
    function cellWords(grid, cell) {
        const [name, more] = fileWords(grid, cell.weight === 0 ? -1 : cell.column);
        const words = [cell.weight === 0 ? name : text("{file} at weight {weight}", {
            file: more && more !== name ? `${name}, ${more}` : name, weight: number(cell.weight, 4),
        })];
        if (grid.bases.length > 1) words.push(grid.bases[cell.base]);
        return words.join(" · ");
    }

    /** What there is of a cell to be said: [label, value] of each. */
    function cellFacts(grid, cell) {
        const values = cell.made ? cell.scores : {};
        return grid.scores.names.filter((score) => score.on && Number.isFinite(values[score.name]))
            .map((score) => ({...score, value: values[score.name]}));
    }

    function starWords(stars) {
        return stars ? plural(stars, "{count} of 5 stars", "{count} of 5 stars") : text("no stars");
    }

    /** Everything of a cell in words, for who cannot see it. */
    function cellTold(grid, cell, recommended) {
        const scores = cellFacts(grid, cell).map(({label, value}) => `${label} ${number(value * 100)} %`);
        return [
            cellWords(grid, cell), grid.prompts[cell.prompt].label || grid.prompts[cell.prompt].text,
            text("seed {seed}", {seed: cell.seed}), cell.made ? "" : text("not drawn yet"),
            cell.stars ? starWords(cell.stars) : "", recommended ? text("recommended") : "", ...scores,
        ].filter(Boolean).join(", ");
    }

    Object.assign(loraTrain, {
        PreviewLayout, previewValues: valuesOf, headWords, cellWords, cellFacts, cellTold, starWords,
    });
})();
