/**
 * The grid itself: headings that stay in sight, cells of which only those in sight are in the page, chosen with the
 * mouse or the keyboard. What is shown of it is the desk's to say.
 */
(() => {
    "use strict";

    const {
        on, text, make, newId, later, shown, setImage, headWords, cellTold, PreviewGeometry, PREVIEW_GAP: GAP,
    } = loraTrain;
    const BEYOND = 1; // rows and columns beyond what is in sight
    const SMALL = 256; // px of the longer side of a thumbnail
    const SETTLE = 70; // ms: what is scrolled past is not loaded

    class PreviewMatrix {
        /** @param {PreviewDesk} desk @param {{open: function(): void}} calls `open`: full screen */
        constructor(desk, {open}) {
            this.desk = desk;
            this.model = desk.model;
            this.open = open;
            /** @type {?PreviewGeometry} */
            this.geometry = null;
            /** @type {Map<number, {element: HTMLElement, cells: Map<number, HTMLElement>}>} by row */
            this.rows = new Map();
            this.loaded = new Set(); // addresses of pictures that were shown once
            this.heads = new loraTrain.PreviewHeads();
            this.body = make("div", {class: "lora_train_matrix_body", role: "rowgroup"});
            this.space = make("div", {class: "lora_train_matrix_space"}, this.heads.top, this.heads.left, this.body);
            this.scroller = make("div", {
                class: "lora_train_matrix", role: "grid", tabIndex: 0, "aria-label": text("Grid"),
                "aria-multiselectable": "true",
            }, this.space);
            this.tip = new loraTrain.PreviewTip(desk);
            this.element = make("div", {class: "lora_train_matrix_place"}, this.scroller, this.tip.element);
            this.fillSoon = later(SETTLE, () => this.loadPictures());
            this.hand = new loraTrain.PreviewHand(this);
            new ResizeObserver(() => this.drawSoon()).observe(this.scroller);
            on("previews", () => this.drawSoon());
            on("previews-view", () => this.look());
        }

        // ------------------------------------------------------------------ drawing

        /** What is looked at changed: the layout, the size, or the cell with the keyboard. */
        look() {
            const {layout, size, row, column} = this.desk;
            const now = `${row} ${column}`;
            if (layout !== this.layout || size !== this.size) {
                const anchor = layout === this.layout ? this.anchor() : null;
                this.layout = layout;
                this.size = size;
                this.lay();
                if (anchor) this.hold(anchor);
                else this.seek();
            } else if (now !== this.at) {
                this.seek();
            }
            this.at = now;
            this.drawSoon();
        }

        /** Lays out anew; nothing of the old one stays. */
        lay() {
            const {layout, size, rows} = this;
            for (const {element} of rows.values()) element.remove();
            rows.clear();
            this.tip.hide();
            this.geometry = layout ? new PreviewGeometry(layout, size) : null;
            this.heads.lay(layout, this.geometry);
            this.element.hidden = !layout;
            if (!layout) return;
            const {top, left, bodyWidth, bodyHeight, width, height} = this.geometry;
            const style = this.space.style;
            style.width = `${left + bodyWidth}px`;
            style.height = `${top + bodyHeight}px`;
            for (const [name, value] of Object.entries({top, left, width, height, body: bodyHeight})) {
                style.setProperty(`--lora-train-matrix-${name}`, `${value}px`);
            }
            this.scroller.setAttribute("aria-rowcount", layout.rows.length + layout.columnLevels.length);
            this.scroller.setAttribute("aria-colcount", layout.columns.length + 1);
        }

        drawSoon() {
            if (this.waiting) return;
            this.waiting = true;
            window.requestAnimationFrame(() => {
                this.waiting = false;
                if (this.geometry && this.model.grid && shown(this.scroller)) this.draw();
            });
        }

        draw() {
            const {geometry, scroller, layout} = this;
            const seen = geometry.within(scroller.scrollLeft, scroller.scrollTop,
                scroller.clientWidth - geometry.left, scroller.clientHeight - geometry.top);
            const wide = ([from, to], most) => [Math.max(0, from - BEYOND), Math.min(most, to + BEYOND)];
            const rows = wide(seen.rows, layout.rows.length);
            const columns = wide(seen.columns, layout.columns.length);
            this.state = this.model.grid.job ? "waiting" : "missing";
            for (const [row, {element}] of this.rows) {
                if (row >= rows[0] && row < rows[1]) continue;
                element.remove();
                this.rows.delete(row);
            }
            for (let row = rows[0]; row < rows[1]; row++) this.drawRow(row, columns);
            this.heads.draw(rows, columns);
            const focused = this.cellElement(this.desk.row, this.desk.column);
            if (focused) scroller.setAttribute("aria-activedescendant", focused.id);
            else scroller.removeAttribute("aria-activedescendant");
            this.fillSoon();
        }

        drawRow(row, columns) {
            const known = this.rows.get(row) || this.newRow(row);
            for (const [column, element] of known.cells) {
                if (column >= columns[0] && column < columns[1]) continue;
                element.remove();
                known.cells.delete(column);
            }
            for (let column = columns[0]; column < columns[1]; column++) {
                this.fill(known.cells.get(column) || this.newCell(known, row, column), row, column);
            }
        }

        newRow(row) {
            const {layout, geometry} = this;
            const words = ["base", ...layout.rowLevels].filter((axis) => axis !== "base" || layout.sections)
                .map((axis) => headWords(layout.grid, axis, layout.rows[row][axis]).join(" ")).join(", ");
            const head = make("div", {class: "lora_train_matrix_told", role: "rowheader", "aria-colindex": 1}, words);
            const element = make("div", {
                class: "lora_train_matrix_row", role: "row", "aria-rowindex": row + 1 + layout.columnLevels.length,
            }, head);
            element.style.top = `${geometry.y[row]}px`;
            const known = {element, cells: new Map()};
            this.rows.set(row, known);
            this.body.append(element);
            return known;
        }

        newCell(known, row, column) {
            const cell = make("div", {
                class: "lora_train_matrix_cell", role: "gridcell", id: newId(), "aria-colindex": column + 2,
                data: {row, column},
            }, make("span", {class: "lora_train_matrix_pictures"}),
            make("span", {class: "lora_train_matrix_stars", "aria-hidden": "true"}),
            make("span", {class: "lora_train_matrix_sign", "aria-hidden": "true"}));
            cell.style.left = `${this.geometry.x[column]}px`;
            this.addPicture(cell);
            known.cells.set(column, cell);
            known.element.append(cell);
            return cell;
        }

        /** The picture of a cell, or a second one that lies on it. */
        addPicture(cell) {
            const image = make("img", {alt: "", draggable: "false", decoding: "async", hidden: true});
            image.addEventListener("load", () => {
                this.loaded.add(image.src);
                this.showApart(cell);
            });
            image.addEventListener("error", () => { cell.dataset.state = "broken"; });
            cell.firstElementChild.append(image);
        }

        /** Shows in a place what is there now; nothing is touched where nothing changed. */
        fill(element, row, column) {
            const {desk, model} = this;
            const cell = desk.cellAt(row, column);
            if (!cell) {
                element.hidden = true;
                return;
            }
            const recommended = cell.key === model.recommended;
            const focused = row === desk.row && column === desk.column;
            const chosen = cell.key === model.chosen;
            const address = this.address(cell);
            const plain = desk.differences && cell.column >= 0 ? this.address(model.plain(cell)) : "";
            const signature = [cell.key, address, plain, cell.stars, recommended, focused, chosen,
                cell.key === model.marked, model.selected.has(cell.key), this.state,
                JSON.stringify(cell.scores)].join("|");
            if (element.signature === signature) return;
            element.signature = signature;
            element.hidden = false;
            Object.assign(element.dataset, {key: cell.key, state: cell.made ? "made" : this.state, address, plain});
            element.setAttribute("aria-selected", String(chosen || model.selected.has(cell.key)));
            element.setAttribute("aria-label", cellTold(model.grid, cell, recommended));
            element.classList.toggle("lora_train_focused", focused);
            element.classList.toggle("lora_train_matrix_chosen", chosen);
            element.classList.toggle("lora_train_matrix_selected", model.selected.has(cell.key));
            element.classList.toggle("lora_train_matrix_best", recommended);
            const [pictures, stars, sign] = element.children;
            stars.textContent = cell.stars ? `★${cell.stars}` : "";
            sign.textContent = [cell.key === model.marked ? "⇄" : "", recommended ? "✓" : ""].join("");
            if (plain && !pictures.children[1]) this.addPicture(element);
            if (!plain && pictures.children[1]) pictures.children[1].remove();
            if (!address) {
                pictures.children[0].hidden = true;
                pictures.children[0].removeAttribute("src");
            }
            if (this.loaded.has(address)) this.showPicture(pictures.children[0], address);
            if (this.loaded.has(plain)) this.showPicture(pictures.children[1], plain);
            this.showApart(element);
        }

        /** Of a cell's picture; empty where there is none. @param {?PreviewCell} cell */
        address(cell) {
            return cell && cell.made ? this.model.address(cell.key, this.large ? "picture" : "thumbnail") : "";
        }

        /** A cell's two pictures lie on each other as a difference as soon as both are there. */
        showApart({classList, dataset: {address, plain}, firstElementChild: {children}}) {
            const here = children.length === 2 && children[1].src === plain && this.loaded.has(plain);
            classList.toggle("lora_train_matrix_apart", here && this.loaded.has(address));
        }

        /** Whether a thumbnail would be blurred. */
        get large() {
            return Math.max(this.geometry.width, this.geometry.height) * window.devicePixelRatio > 1.4 * SMALL;
        }

        showPicture(image, address) {
            image.hidden = false;
            setImage(image, address);
        }

        /** Loads what is still in sight. */
        loadPictures() {
            for (const {cells} of this.rows.values()) {
                for (const {dataset: {address, plain}, firstElementChild: {children}} of cells.values()) {
                    if (address) this.showPicture(children[0], address);
                    if (plain) this.showPicture(children[1], plain);
                }
            }
        }

        // ------------------------------------------------------------------ moving

        focus() {
            this.scroller.focus({preventScroll: true});
        }

        /** As large as all columns fit, or as the smallest size allows. */
        fit() {
            if (!this.geometry) return;
            const {layout, scroller, desk} = this;
            const room = scroller.clientWidth - this.geometry.left;
            const sizes = loraTrain.PREVIEW_SIZES.filter((size) => new PreviewGeometry(layout, size).bodyWidth <= room);
            desk.setSize(sizes.at(-1) || loraTrain.PREVIEW_SIZES[0]);
        }

        cellElement(row, column) {
            const known = this.rows.get(row);
            return known ? known.cells.get(column) || null : null;
        }

        /** Scrolls to the cell with the keyboard. */
        seek() {
            const {geometry, scroller, desk} = this;
            if (!geometry) return;
            const {x, y, width, height, left, top} = geometry;
            const reach = (at, from, size, room) => (from < at ? from - GAP
                : from + size > at + room ? from + size - room + GAP : at);
            scroller.scrollLeft = reach(scroller.scrollLeft, x[desk.column], width, scroller.clientWidth - left);
            scroller.scrollTop = reach(scroller.scrollTop, y[desk.row], height, scroller.clientHeight - top);
        }

        /** The cell that a change of size leaves where it is: under the pointer, with the keyboard, in the middle. */
        anchor() {
            const {geometry, scroller, desk} = this;
            if (!geometry) return null;
            const {x, y, width, height, left, top} = geometry;
            let at = this.hand.pointed;
            if (!at) {
                const own = [left + x[desk.column] + width / 2 - scroller.scrollLeft,
                    top + y[desk.row] + height / 2 - scroller.scrollTop];
                const inside = own[0] > left && own[0] < scroller.clientWidth && own[1] > top
                    && own[1] < scroller.clientHeight;
                at = inside ? own : [(left + scroller.clientWidth) / 2, (top + scroller.clientHeight) / 2];
            }
            const [bodyX, bodyY] = [at[0] - left + scroller.scrollLeft, at[1] - top + scroller.scrollTop];
            const [column, row] = [geometry.column(bodyX), geometry.row(bodyY)];
            return {at, column, row, across: (bodyX - x[column]) / width, down: (bodyY - y[row]) / height};
        }

        hold({at, column, row, across, down}) {
            const {x, y, width, height, left, top} = this.geometry;
            this.scroller.scrollLeft = x[column] + across * width + left - at[0];
            this.scroller.scrollTop = y[row] + down * height + top - at[1];
        }
    }

    Object.assign(loraTrain, {PreviewMatrix});
})();
