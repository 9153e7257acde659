/**
 * The cells of the grid that is shown, by key and by place; which of them are drawn, and how often each came.
 */
(() => {
    "use strict";

    /**
     * @typedef {{key: string, base: number, column: number, weight: number, prompt: number, seed: number,
     *   made: boolean, stars: number, scores: Object<string, ?number>}} PreviewCell
     *   numbers are places in the axes; `column` is -1 and `weight` 0 where no LoRA is on; `seed` is the seed itself
     */

    function placeOf(base, column, weight, prompt, seed) {
        return `${base} ${column} ${weight} ${prompt} ${seed}`;
    }

    class PreviewCells {
        /** @param {PreviewCell[]} cells in the order in which they are drawn @param {?PreviewCells} before */
        constructor(cells = [], before = null) {
            /** @type {Map<string, PreviewCell>} */
            this.byKey = new Map(cells.map((cell) => [cell.key, cell]));
            this.places = new Map(cells.map((cell) => [
                placeOf(cell.base, cell.column, cell.weight, cell.prompt, cell.seed), cell]));
            /** @type {Map<string, number>} by key: how often a picture came while this page was open */
            this.turns = before ? before.turns : new Map();
            for (const cell of before ? cells : []) {
                const old = before.byKey.get(cell.key);
                if (old && !old.made && cell.made) this.came(cell);
            }
        }

        /** @returns {?PreviewCell} */
        at(base, column, weight, prompt, seed) {
            return this.places.get(placeOf(base, weight === 0 ? -1 : column, weight, prompt, seed)) || null;
        }

        came(cell) {
            this.turns.set(cell.key, (this.turns.get(cell.key) || 0) + 1);
        }

        /** They are to be drawn again, which may be over before anybody looks. */
        gone(keys) {
            for (const key of keys) if (this.byKey.has(key)) this.byKey.get(key).made = false;
        }

        /** Which of them are drawn now. @param {[number, number][]} stretches each [from, to) in their order */
        setDrawn(stretches) {
            const drawn = new Uint8Array(this.byKey.size);
            for (const [from, to] of stretches) drawn.fill(1, from, to);
            let place = 0;
            for (const cell of this.byKey.values()) {
                const made = drawn[place] === 1;
                if (made && !cell.made) this.came(cell);
                cell.made = made;
                place += 1;
            }
        }
    }

    Object.assign(loraTrain, {PreviewCells});
})();
