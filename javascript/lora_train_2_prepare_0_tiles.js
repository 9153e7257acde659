/**
 * Rows of tiles of which only those in sight are in the page; the originals of a project, read by and by; and the
 * large windows in which both are shown.
 */
(() => {
    "use strict";

    const {state, api, attempt, make, newId, shown, openDialog, root} = loraTrain;
    const GAP = 8;
    const ROWS_BEYOND = 1;
    const PAGE = 100; // originals asked for at once

    /** The originals, by place; a list of its own for each window. */
    class SourcePages {
        constructor(concept = "") {
            this.concept = concept;
            this.total = 0;
            /** @type {Source[]} holes where nothing was read yet */
            this.items = [];
            this.pages = new Map();
            this.project = state.project.id;
        }

        get path() {
            return ["projects", this.project, "prepare", "sources"];
        }

        /** Reads the page that holds a place, once. */
        load(place) {
            const page = Math.floor(place / PAGE);
            if (!this.pages.has(page)) {
                const reading = this.read(page);
                this.pages.set(page, reading);
                reading.catch(() => this.pages.delete(page));
            }
            return this.pages.get(page);
        }

        async read(page) {
            const query = {concept: this.concept, offset: page * PAGE, limit: PAGE};
            const answer = await api.get(this.path, query);
            this.total = this.items.length = answer.total;
            answer.sources.forEach((source, place) => { this.items[page * PAGE + place] = source; });
        }

        /** @returns {Promise<?Source>} */
        async at(place) {
            await this.load(place);
            return this.items[place] || null;
        }

        /** The place of the original with that id; reads on until it is found. -1 when it is gone. */
        async find(id) {
            for (let place = 0; place === 0 || place < this.total; place += PAGE) {
                await this.load(place);
                const found = this.items.findIndex((source) => source && source.id === id);
                if (found >= 0) return found;
            }
            return -1;
        }

        replace(place, source) {
            this.items[place] = source;
        }

        forget() {
            this.pages.clear();
            this.items = new Array(this.total);
        }
    }

    /** What `TileBox` shows when everything is known already. */
    function listOf(items) {
        return {items, get total() { return this.items.length; }, load: () => Promise.resolve()};
    }

    class TileBox {
        /**
         * @param {{total: number, items: Object[], load: function(number): Promise}} list
         * @param {{label: string, least: number, below: number, ratio?: number, kind?: string, multiple?: boolean,
         *   make: function(HTMLElement): void, fill: function(HTMLElement, Object, number, number): void,
         *   press: function(number): void, toggle?: function(number): void}} look `least`: width of a tile in px,
         *   which grows until the row is full; its height is `ratio` of the width and `below`
         */
        constructor(list, look) {
            this.list = list;
            this.look = {ratio: 1, kind: "", multiple: false, toggle: look.press, ...look};
            this.space = make("div", {class: "lora_train_grid_space"});
            this.element = make("div", {
                class: `lora_train_grid ${this.look.kind}`, role: "listbox", tabIndex: 0, "aria-label": look.label,
                "aria-multiselectable": this.look.multiple ? "true" : null,
            }, this.space);
            this.focused = 0;
            /** @type {Map<number, HTMLElement>} by place */
            this.tiles = new Map();
            this.element.addEventListener("scroll", () => this.drawSoon(), {passive: true});
            this.element.addEventListener("keydown", (event) => this.key(event));
            this.element.addEventListener("click", (event) => this.click(event));
            this.observer = new ResizeObserver(() => this.drawSoon());
            this.observer.observe(this.element);
        }

        get columns() {
            return Math.max(1, Math.floor((this.element.clientWidth - GAP) / (this.look.least + GAP)));
        }

        get side() {
            return Math.max(40, Math.floor((this.element.clientWidth - GAP) / this.columns) - GAP);
        }

        get rowHeight() {
            return Math.round(this.side * this.look.ratio) + this.look.below + GAP;
        }

        drawSoon() {
            if (this.waiting) return;
            this.waiting = true;
            window.requestAnimationFrame(() => {
                this.waiting = false;
                if (shown(this.element)) this.draw();
            });
        }

        draw() {
            const {columns, side, rowHeight: height, list} = this;
            const row = Math.floor(this.element.scrollTop / height);
            const rows = Math.ceil(this.element.clientHeight / height);
            const from = Math.max(0, row - ROWS_BEYOND) * columns;
            const to = Math.min(list.total, (row + rows + ROWS_BEYOND + 1) * columns);
            this.measure();
            for (const [place, tile] of this.tiles) {
                if (place >= from && place < to && list.items[place]) continue;
                tile.remove();
                this.tiles.delete(place);
            }
            for (let place = from; place < to; place++) {
                const item = list.items[place];
                if (item) this.drawTile(item, place, side, height, columns);
                else attempt(() => list.load(place).then(() => this.drawSoon()));
            }
            const focused = this.tiles.get(this.focused);
            if (focused) this.element.setAttribute("aria-activedescendant", focused.id);
        }

        /** Makes room for all rows. */
        measure() {
            this.space.style.height = `${Math.ceil(this.list.total / this.columns) * this.rowHeight + GAP}px`;
            this.space.style.setProperty("--lora-train-tile", `${this.side}px`);
        }

        drawTile(item, place, side, height, columns) {
            const tile = this.tiles.get(place) || this.newTile(place);
            tile.style.left = `${GAP + (place % columns) * (side + GAP)}px`;
            tile.style.top = `${GAP + Math.floor(place / columns) * height}px`;
            tile.classList.toggle("lora_train_focused", place === this.focused);
            this.look.fill(tile, item, place, side);
        }

        newTile(place) {
            const tile = make("div", {class: "lora_train_tile", role: "option", id: newId(), data: {place}});
            this.look.make(tile);
            this.tiles.set(place, tile);
            this.space.append(tile);
            return tile;
        }

        click(event) {
            const tile = event.target.closest(".lora_train_tile");
            if (!tile || !this.element.contains(tile)) return;
            this.focused = Number(tile.dataset.place);
            this.drawSoon();
            if (event.target.closest("[data-look]")) this.look.look(this.focused);
            else this.look.press(this.focused);
        }

        key(event) {
            const {columns} = this;
            const rows = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight));
            const moves = {
                ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -columns * rows,
                PageDown: columns * rows, Home: -this.list.total, End: this.list.total,
            };
            if (event.key in moves) this.focus(this.focused + moves[event.key]);
            else if (event.key === "Enter" && this.list.items[this.focused]) {
                (this.look.look || this.look.press)(this.focused);
            } else if (event.key === " " && this.list.items[this.focused]) this.look.toggle(this.focused);
            else return;
            event.preventDefault();
            event.stopPropagation();
        }

        /** Moves the keyboard's mark to a place and into sight. */
        focus(place) {
            this.focused = Math.max(0, Math.min(this.list.total - 1, place));
            this.measure();
            const top = Math.floor(this.focused / this.columns) * this.rowHeight;
            const below = top + this.rowHeight + GAP - this.element.clientHeight;
            if (top < this.element.scrollTop) this.element.scrollTop = top;
            else if (below > this.element.scrollTop) this.element.scrollTop = below;
            this.draw();
        }
    }

    /** As `openDialog`, large, with the messages of the page in it while it is open: they could not be seen behind. */
    function openSheet(label, {kind = "", closed = null} = {}, ...children) {
        const {messages} = loraTrain;
        const home = messages.parentElement || root();
        const place = make("div", {class: "lora_train_sheet_messages"});
        const dialog = openDialog(label, {
            kind: `lora_train_sheet ${kind}`, place: root(), closed: () => {
                if (messages.parentElement === place) home.append(messages);
                if (closed) closed();
            },
        }, place, ...children);
        place.append(messages);
        return dialog;
    }

    /** A picture in a tile: as large as it fits, with what `fillPicture` lays over it. */
    function makePicture(tile) {
        tile.append(
            make("div", {class: "lora_train_fit"}, make("div", {class: "lora_train_fitted"},
                make("img", {alt: "", loading: "lazy", decoding: "async", draggable: "false"}))),
            make("span", {class: "lora_train_tile_caption"}));
        return tile;
    }

    /** Gives the picture of a tile its address and the size at which it fits into a square of `side`. */
    function fitPicture(tile, source, side, address) {
        const fitted = tile.querySelector(".lora_train_fitted");
        const scale = side / Math.max(source.width, source.height, 1);
        fitted.style.width = `${Math.max(1, Math.round((source.width || 1) * scale))}px`;
        fitted.style.height = `${Math.max(1, Math.round((source.height || 1) * scale))}px`;
        setImage(fitted.querySelector("img"), address);
        return fitted;
    }

    function setImage(image, address) {
        if (image.getAttribute("src") !== address) image.setAttribute("src", address);
    }

    Object.assign(loraTrain, {SourcePages, TileBox, listOf, openSheet, makePicture, fitPicture, setImage});
})();
