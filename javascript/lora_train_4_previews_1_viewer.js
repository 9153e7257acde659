/**
 * A cell in full screen. The arrow keys go on as in the grid, and so do the keys for looking and for stars.
 */
(() => {
    "use strict";

    const {on, text, make, write, button, openSheet, number, PreviewCellView} = loraTrain;

    class PreviewViewer {
        /** @param {PreviewDesk} desk @param {function(): void} closed */
        constructor(desk, closed) {
            this.desk = desk;
            this.closed = closed;
            this.view = new PreviewCellView(desk, {full: true});
            const turn = (sign, name, title, rows, columns) => {
                const press = button(sign, {name, title, run: () => desk.go(desk.row + rows, desk.column + columns)});
                press.setAttribute("aria-label", title);
                return press;
            };
            this.turns = [turn("←", "cell-left", text("To the left"), 0, -1),
                turn("→", "cell-right", text("To the right"), 0, 1), turn("↑", "cell-up", text("Up"), -1, 0),
                turn("↓", "cell-down", text("Down"), 1, 0)];
            this.place = make("p", {class: "lora_train_hint"});
            this.view.side.prepend(make("div", {class: "lora_train_row"}, ...this.turns, this.place));
            this.dialog = null;
            on("previews-view", () => this.show());
        }

        open() {
            if (this.dialog || !this.desk.model.chosenCell) return;
            this.dialog = openSheet(text("Picture"), {kind: "lora_train_matrix_viewer", closed: () => {
                this.dialog = null;
                this.closed();
            }}, this.view.element);
            this.dialog.addEventListener("keydown", (event) => this.key(event));
            this.view.show();
            this.show();
            this.turns[1].focus();
        }

        show() {
            const {layout, row, column} = this.desk;
            if (!this.dialog || !layout) return;
            // Not `disabled`, which would take the focus away, and the arrow keys with it.
            const {columns, rows} = layout;
            const ends = [column === 0, column === columns.length - 1, row === 0, row === rows.length - 1];
            this.turns.forEach((press, place) => press.setAttribute("aria-disabled", String(ends[place])));
            write(this.place, text("column {column} of {columns}, row {row} of {rows}", {
                column: number(column + 1), columns: number(columns.length), row: number(row + 1),
                rows: number(rows.length),
            }));
            this.preload();
        }

        /** The next ones to the right and below are there when they are asked for. */
        preload() {
            const {desk} = this;
            for (const [rows, columns] of [[0, 1], [1, 0]]) {
                const cell = desk.cellAt(desk.row + rows, desk.column + columns);
                if (cell && cell.made) new Image().src = desk.model.address(cell.key);
            }
        }

        key(event) {
            if (event.target.closest("dialog") !== this.dialog) return;
            if (this.desk.key(event, {rows: 1, open: null})) event.preventDefault();
        }
    }

    Object.assign(loraTrain, {PreviewViewer});
})();
