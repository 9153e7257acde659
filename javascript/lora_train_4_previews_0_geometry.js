/**
 * Where the cells of a grid lie in px: the offsets of rows and columns, gaps between groups, what is in sight, and over
 * how many of them a heading reaches.
 */
(() => {
    "use strict";

    const GAP = 4;
    const GROUP = 10; // px more between cells of which a heading differs that reaches over several
    const SECTION = 30; // px above the rows of a base checkpoint
    const HEAD = {column: 40, weight: 24, prompt: 46, seed: 24}; // px of a heading above
    const SIDE = {column: 96, weight: 56, prompt: 168, seed: 92}; // px of a heading at the side

    /** Offsets of places along a side, one more than there are of them. */
    function offsetsOf(places, size, groups, sections) {
        const offsets = new Float64Array(places.length + 1);
        let at = 0;
        for (let place = 0; place < places.length; place++) {
            const [now, before] = [places[place], places[place - 1]];
            const section = sections && (!before || before.base !== now.base);
            if (section) at += SECTION + (before ? GROUP : 0);
            else if (before && groups.some((axis) => before[axis] !== now[axis])) at += GROUP;
            offsets[place] = at;
            at += size + GAP;
        }
        offsets[places.length] = at;
        return offsets;
    }

    /** The last place that begins at or before `at`. */
    function placeAt(offsets, at) {
        let [low, high] = [0, offsets.length - 2];
        while (low < high) {
            const middle = (low + high + 1) >> 1;
            if (offsets[middle] <= at) low = middle;
            else high = middle - 1;
        }
        return Math.max(0, low);
    }

    /**
     * Headings of each level: neighbours of one value, and of one value in all levels above, have one.
     * @returns {{axis: string, level: number, from: number, to: number, value: number}[]}
     */
    function spansOf(places, levels, sections) {
        const found = [];
        levels.forEach((axis, level) => {
            const above = [...(sections ? ["base"] : []), ...levels.slice(0, level + 1)];
            let open = null;
            places.forEach((place, index) => {
                const same = open !== null && level < levels.length - 1
                    && above.every((one) => places[open.from][one] === place[one]);
                if (same) open.to = index + 1;
                else found.push(open = {axis, level, from: index, to: index + 1, value: place[axis]});
            });
        });
        return found;
    }

    class PreviewGeometry {
        /** @param {PreviewLayout} layout @param {number} size px of the longer side of a cell */
        constructor(layout, size) {
            const {width, height} = layout.grid.settings;
            const scale = size / Math.max(width, height);
            this.width = Math.max(40, Math.round(width * scale));
            this.height = Math.max(36, Math.round(height * scale));
            this.x = offsetsOf(layout.columns, this.width, layout.columnLevels.slice(0, -1), false);
            this.y = offsetsOf(layout.rows, this.height, layout.rowLevels.slice(0, -1), layout.sections);
            this.top = layout.columnLevels.reduce((sum, axis) => sum + HEAD[axis], 0) + GAP;
            this.left = layout.rowLevels.reduce((sum, axis) => sum + SIDE[axis], 0) + GAP;
            this.columnSpans = spansOf(layout.columns, layout.columnLevels, false);
            this.rowSpans = spansOf(layout.rows, layout.rowLevels, layout.sections);
            this.levelTop = levelOffsets(layout.columnLevels, HEAD);
            this.levelLeft = levelOffsets(layout.rowLevels, SIDE);
        }

        get bodyWidth() {
            return this.x.at(-1);
        }

        get bodyHeight() {
            return this.y.at(-1);
        }

        /** Rows and columns in a rectangle of the body, [from, to) each. */
        within(left, top, width, height) {
            return {
                rows: [placeAt(this.y, top), placeAt(this.y, top + height) + 1],
                columns: [placeAt(this.x, left), placeAt(this.x, left + width) + 1],
            };
        }

        row(y) {
            return placeAt(this.y, y);
        }

        column(x) {
            return placeAt(this.x, x);
        }
    }

    function levelOffsets(levels, sizes) {
        let at = 0;
        return levels.map((axis) => {
            const from = at;
            at += sizes[axis];
            return [from, sizes[axis]];
        });
    }

    Object.assign(loraTrain, {PreviewGeometry, PREVIEW_GAP: GAP, PREVIEW_SECTION: SECTION});
})();
