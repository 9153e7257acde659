/**
 * The headings of a grid: above and at the side, in sight wherever one scrolls to. One that reaches over several cells
 * shows its words in what is seen of it.
 */
(() => {
    "use strict";

    const {make, headWords, PREVIEW_GAP: GAP, PREVIEW_SECTION: SECTION} = loraTrain;

    function place(element, left, top, width, height) {
        Object.assign(element.style, {
            left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px`,
        });
    }

    class PreviewHeads {
        constructor() {
            this.top = make("div", {class: "lora_train_matrix_top", role: "rowgroup"},
                make("div", {class: "lora_train_matrix_corner", role: "presentation"}));
            // Each row says what heads it: these are for the eye.
            this.left = make("div", {class: "lora_train_matrix_left", "aria-hidden": "true"});
            /** @type {Map<string, HTMLElement>} */
            this.shown = new Map();
        }

        /** @param {?PreviewLayout} layout @param {?PreviewGeometry} geometry */
        lay(layout, geometry) {
            for (const element of this.shown.values()) element.remove();
            this.shown.clear();
            for (const row of this.top.querySelectorAll(":scope > [role=row]")) row.remove();
            this.layout = layout;
            this.geometry = geometry;
        }

        /** Headings above and at the side, of what is in sight. */
        draw(rows, columns) {
            const {geometry, layout} = this;
            const wanted = new Set();
            const need = (name, create) => {
                wanted.add(name);
                if (!this.shown.has(name)) this.shown.set(name, create());
            };
            geometry.columnSpans.forEach((span, place) => {
                if (span.to > columns[0] && span.from < columns[1]) need(`c${place}`, () => this.columnHead(span));
            });
            geometry.rowSpans.forEach((span, place) => {
                if (span.to > rows[0] && span.from < rows[1]) need(`r${place}`, () => this.rowHead(span));
            });
            for (let row = rows[0]; layout.sections && row < rows[1]; row++) {
                if (row === 0 || layout.rows[row].base !== layout.rows[row - 1].base) {
                    need(`s${row}`, () => this.sectionHead(row));
                }
            }
            for (const [name, element] of this.shown) {
                if (wanted.has(name)) continue;
                element.remove();
                this.shown.delete(name);
            }
        }

        newHead(kind, {axis, value}, given = {}) {
            const [words, more] = headWords(this.layout.grid, axis, value);
            return make("div", {
                class: `lora_train_matrix_head ${kind}`, title: [words, more].filter(Boolean).join("\n"),
                data: {axis}, ...given,
            }, make("div", {class: "lora_train_matrix_label"}, make("strong", {}, words),
                more ? make("span", {class: "lora_train_hint"}, more) : null));
        }

        columnHead(span) {
            const {x, left, levelTop} = this.geometry;
            const head = this.newHead("lora_train_matrix_above", span, {
                role: "columnheader", "aria-colindex": span.from + 2, "aria-colspan": span.to - span.from,
            });
            const [top, height] = levelTop[span.level];
            place(head, left + x[span.from], top, x[span.to - 1] + this.geometry.width - x[span.from], height);
            this.levelRow(span.level).append(head);
            return head;
        }

        /** The row of headings of a level. */
        levelRow(level) {
            const rows = this.top.querySelectorAll(":scope > [role=row]");
            if (rows[level]) return rows[level];
            this.top.append(make("div", {role: "row", "aria-rowindex": rows.length + 1}));
            return this.levelRow(level);
        }

        rowHead(span) {
            const {y, height, levelLeft} = this.geometry;
            const head = this.newHead("lora_train_matrix_beside", span);
            const [left, width] = levelLeft[span.level];
            place(head, left, GAP + y[span.from], width, y[span.to - 1] + height - y[span.from]);
            this.left.append(head);
            return head;
        }

        sectionHead(row) {
            const head = this.newHead("lora_train_matrix_section", {axis: "base", value: this.layout.rows[row].base});
            place(head, 0, GAP + this.geometry.y[row] - SECTION, 0, SECTION - GAP);
            head.style.width = "";
            this.left.append(head);
            return head;
        }
    }

    Object.assign(loraTrain, {PreviewHeads});
})();
