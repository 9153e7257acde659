/**
 * The mouse and the keyboard in a grid. Chosen as files in a file manager: a press shows one cell, Ctrl adds one, Shift
 * all between; Ctrl and the wheel change the size.
 */
(() => {
    "use strict";

    const {PREVIEW_GAP: GAP} = loraTrain;
    const WHEEL = 40; // of a wheel's turn, for one size

    class PreviewHand {
        /** @param {PreviewMatrix} matrix */
        constructor(matrix) {
            this.matrix = matrix;
            this.desk = matrix.desk;
            this.model = matrix.model;
            this.turned = 0;
            /** @type {?[number, number]} where the pointer is while it changes the size, in the grid's own px */
            this.pointed = null;
            this.listen();
        }

        listen() {
            const {scroller, tip} = this.matrix;
            scroller.addEventListener("scroll", () => {
                tip.hide();
                this.matrix.drawSoon();
            }, {passive: true});
            scroller.addEventListener("keydown", (event) => this.key(event));
            scroller.addEventListener("click", (event) => this.click(event));
            scroller.addEventListener("dblclick", (event) => { if (this.placeOf(event)) this.matrix.open(); });
            scroller.addEventListener("wheel", (event) => this.wheel(event), {passive: false});
            scroller.addEventListener("pointermove", (event) => {
                const cell = event.pointerType === "touch" ? null : event.target.closest(".lora_train_matrix_cell");
                tip.over(cell, cell ? this.model.cells.get(cell.dataset.key) : null);
            });
            scroller.addEventListener("pointerleave", () => tip.hide());
        }

        wheel(event) {
            if (!(event.ctrlKey || event.metaKey)) return;
            event.preventDefault();
            this.turned += event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL;
            if (Math.abs(this.turned) < WHEEL) return;
            const {left, top} = this.matrix.scroller.getBoundingClientRect();
            this.pointed = [event.clientX - left, event.clientY - top];
            this.desk.zoom(this.turned < 0 ? 1 : -1);
            this.pointed = null;
            this.turned = 0;
        }

        /** Row and column under an event. */
        placeOf(event) {
            const cell = event.target.closest(".lora_train_matrix_cell");
            return cell && cell.dataset.key ? [Number(cell.dataset.row), Number(cell.dataset.column)] : null;
        }

        click(event) {
            const at = this.placeOf(event);
            if (!at) return;
            this.matrix.tip.hide();
            const {desk, model} = this;
            const from = [desk.row, desk.column];
            if (event.ctrlKey || event.metaKey) this.toggle(...at);
            else if (event.shiftKey) this.selectTo(from, at);
            else {
                if (model.selected.size) model.select([]);
                desk.go(...at);
            }
        }

        toggle(row, column) {
            const {desk, model} = this;
            const selected = new Set(model.selected);
            const cell = desk.cellAt(row, column);
            if (!cell) return;
            const {key} = cell;
            if (!selected.delete(key)) selected.add(key);
            model.select(selected);
            desk.go(row, column);
        }

        /** Everything between two places. */
        selectTo(from, to) {
            const keys = [];
            for (let row = Math.min(from[0], to[0]); row <= Math.max(from[0], to[0]); row++) {
                for (let column = Math.min(from[1], to[1]); column <= Math.max(from[1], to[1]); column++) {
                    const cell = this.desk.cellAt(row, column);
                    if (cell) keys.push(cell.key);
                }
            }
            this.model.select([...this.model.selected, ...keys]);
        }

        key(event) {
            const {desk, model} = this;
            const {geometry, scroller, open} = this.matrix;
            if (!geometry || event.key === "Tab") return;
            event.stopPropagation(); // the WebUI has keys of its own
            const rows = Math.max(1, Math.floor((scroller.clientHeight - geometry.top) / (geometry.height + GAP)));
            if (event.key === " ") this.toggle(desk.row, desk.column);
            else if (event.key === "Escape" && model.selected.size) model.select([]);
            else if (!desk.key(event, {rows, open})) return;
            event.preventDefault();
        }
    }

    Object.assign(loraTrain, {PreviewHand});
})();
