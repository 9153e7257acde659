/**
 * The pictures as a grid: of thousands only those in sight are in the page. Several can be chosen with the mouse
 * (Ctrl, Shift, the corner mark) and with the keyboard (arrows, Space, Shift, Ctrl+A, Delete, Enter).
 */
(() => {
    "use strict";

    const {state, api, url, attempt, make, write, text, shown} = loraTrain;
    const PAGE = 200; // pictures asked for at once
    const MOST_COUNTED = 2000; // so many are read for the counts; of more, only those in sight
    const TILE = 150; // px, the least; tiles grow until the row is full
    const CAPTION = 38; // px: two lines below the picture, as style.css has them
    const GAP = 8;
    const ROWS_BEYOND = 2;

    function thumbnailUrl(picture) {
        return url(["projects", state.project.id, "pictures", picture.id, "thumbnail"], {v: picture.stamp});
    }

    class PictureGrid {
        /**
         * @param {{open: function(number): void, changed: function(): void, remove: function(): void}} calls
         */
        constructor(calls) {
            this.calls = calls;
            this.spacer = make("div", {class: "lora_train_grid_space"});
            this.element = make("div", {
                class: "lora_train_grid", role: "listbox", "aria-multiselectable": "true", tabIndex: 0,
                "aria-label": text("Pictures"),
            }, this.spacer);
            this.total = 0;
            /** @type {Picture[]} by place; holes where nothing was read yet */
            this.pictures = [];
            /** @type {Map<number, Promise>} pages asked for */
            this.pages = new Map();
            /** @type {Set<string>} ids */
            this.chosen = new Set();
            this.concept = "";
            this.focused = 0;
            this.anchor = 0;
            this.generation = 0;
            /** @type {Map<string, HTMLElement>} tiles in the page, by id */
            this.tiles = new Map();
            this.element.addEventListener("scroll", () => this.drawSoon(), {passive: true});
            this.element.addEventListener("keydown", (event) => this.key(event));
            this.element.addEventListener("click", (event) => this.click(event));
            new ResizeObserver(() => this.drawSoon()).observe(this.element);
        }

        /** Shows the pictures of a concept ("" for all), from the top. */
        async show(concept) {
            this.start(concept);
            await this.reload();
        }

        start(concept) {
            this.concept = concept;
            this.chosen.clear();
            this.focused = this.anchor = 0;
            this.element.scrollTop = 0;
        }

        /** Forgets the pictures of another project: this one's routes do not know them. */
        empty() {
            this.start("");
            this.generation += 1;
            this.pages.clear();
            this.pictures = [];
            this.total = 0;
            for (const tile of this.tiles.values()) tile.remove();
            this.tiles.clear();
        }

        /** Reads again what is in sight; the place in the list stays. */
        async reload() {
            this.generation += 1;
            this.pages.clear();
            const known = new Set(this.pictures.filter(Boolean).map((picture) => picture.id));
            await this.load(Math.floor(this.first / PAGE));
            if (this.pictures.every((picture) => picture)) this.dropGone(known);
            this.draw();
            await this.readRest();
        }

        /** Pictures that are not there any more cannot stay chosen. */
        dropGone(known) {
            const here = new Set(this.pictures.map((picture) => picture.id));
            for (const id of known) if (!here.has(id)) this.chosen.delete(id);
        }

        /** Reads a page of pictures, once. */
        load(page) {
            if (!this.pages.has(page)) {
                const reading = this.read(page, this.generation);
                this.pages.set(page, reading);
                reading.catch(() => this.pages.delete(page)); // whoever waits for it hears of the error
            }
            return this.pages.get(page);
        }

        async read(page, generation) {
            const project = state.project;
            if (!project) return;
            const query = {concept: this.concept, offset: page * PAGE, limit: PAGE};
            const answer = await api.get(["projects", project.id, "pictures"], query);
            if (generation !== this.generation || project !== state.project) return;
            this.total = answer.total;
            this.pictures.length = answer.total;
            answer.pictures.forEach((picture, place) => { this.pictures[page * PAGE + place] = picture; });
            this.calls.changed();
            this.drawSoon();
        }

        /** The picture at a place, read when it was not yet. @returns {Promise<?Picture>} */
        async at(place) {
            await this.load(Math.floor(place / PAGE));
            return this.pictures[place] || null;
        }

        /** Reads on, so that the counts are right, where there are not too many. */
        async readRest() {
            const generation = this.generation;
            for (let page = 0; page * PAGE < Math.min(this.total, MOST_COUNTED); page++) {
                if (generation !== this.generation) return;
                await this.load(page);
            }
        }

        get complete() {
            return this.pictures.length === this.total && !this.pictures.includes(undefined);
        }

        get columns() {
            return Math.max(1, Math.floor((this.element.clientWidth - GAP) / (TILE + GAP)));
        }

        /** Side of a tile in px. */
        get side() {
            return Math.max(TILE, Math.floor((this.element.clientWidth - GAP) / this.columns) - GAP);
        }

        /** Height of a row in px. */
        get rowHeight() {
            return this.side + CAPTION + GAP;
        }

        /** The place of the first picture in sight. */
        get first() {
            return Math.floor(this.element.scrollTop / this.rowHeight) * this.columns;
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
            const {columns, side, rowHeight: height} = this;
            const row = Math.floor(this.element.scrollTop / height);
            const rows = Math.ceil(this.element.clientHeight / height);
            const from = Math.max(0, row - ROWS_BEYOND) * columns;
            const to = Math.min(this.total, (row + rows + ROWS_BEYOND + 1) * columns);
            this.spacer.style.height = `${Math.ceil(this.total / columns) * height + GAP}px`;
            this.spacer.style.setProperty("--lora-train-tile", `${side}px`);
            const keep = new Set();
            for (let place = from; place < to; place++) {
                const picture = this.pictures[place];
                if (!picture) {
                    attempt(() => this.load(Math.floor(place / PAGE)));
                    continue;
                }
                keep.add(picture.id);
                const tile = this.tiles.get(picture.id) || this.newTile(picture);
                this.fillTile(tile, picture, place);
                tile.style.left = `${GAP + (place % columns) * (side + GAP)}px`;
                tile.style.top = `${GAP + Math.floor(place / columns) * height}px`;
            }
            for (const [id, tile] of this.tiles) {
                if (keep.has(id)) continue;
                tile.remove();
                this.tiles.delete(id);
            }
            const focused = this.pictures[this.focused];
            if (focused && this.tiles.has(focused.id)) {
                this.element.setAttribute("aria-activedescendant", this.tiles.get(focused.id).id);
            }
        }

        newTile(picture) {
            const tile = make("div", {
                class: "lora_train_tile", role: "option", id: loraTrain.newId(), data: {id: picture.id},
            },
            make("img", {alt: "", loading: "lazy", decoding: "async", draggable: "false"}),
            make("span", {class: "lora_train_tile_mark", "aria-hidden": "true"}),
            make("span", {class: "lora_train_tile_caption"}));
            this.tiles.set(picture.id, tile);
            this.spacer.append(tile);
            return tile;
        }

        fillTile(tile, picture, place) {
            const [image, , caption] = tile.children;
            const address = thumbnailUrl(picture);
            if (image.getAttribute("src") !== address) image.setAttribute("src", address);
            write(caption, picture.caption || text("no caption"));
            tile.dataset.place = place;
            tile.title = picture.problem ? picture.problem.sentence : picture.name;
            tile.setAttribute("aria-label", `${picture.name}: ${picture.caption || text("no caption")}`);
            tile.setAttribute("aria-selected", this.chosen.has(picture.id));
            tile.classList.toggle("lora_train_uncaptioned", !picture.caption);
            tile.classList.toggle("lora_train_bad", picture.problem !== null);
            tile.classList.toggle("lora_train_focused", place === this.focused);
        }

        click(event) {
            const tile = event.target.closest(".lora_train_tile");
            if (!tile) return;
            // by its name: the list may have changed since it was drawn
            const place = this.pictures.findIndex((picture) => picture && picture.id === tile.dataset.id);
            if (place < 0) return;
            const marked = event.target.closest(".lora_train_tile_mark");
            this.focused = place;
            if (event.shiftKey) attempt(() => this.chooseTo(place));
            else if (event.ctrlKey || event.metaKey || marked || this.chosen.size > 0) this.toggle(place);
            else this.calls.open(place);
        }

        toggle(place) {
            const {id} = this.pictures[place];
            if (!this.chosen.delete(id)) this.chosen.add(id);
            this.anchor = place;
            this.chosenChanged();
        }

        /** Chooses everything from the last chosen one to here. */
        async chooseTo(place) {
            const [from, to] = [Math.min(place, this.anchor), Math.max(place, this.anchor)];
            for (let page = Math.floor(from / PAGE); page <= Math.floor(to / PAGE); page++) await this.load(page);
            for (const picture of this.pictures.slice(from, to + 1)) this.chosen.add(picture.id);
            this.chosenChanged();
        }

        async chooseAll() {
            for (let page = 0; page * PAGE < this.total; page++) await this.load(page);
            for (const picture of this.pictures) this.chosen.add(picture.id);
            this.chosenChanged();
        }

        chooseNone() {
            this.chosen.clear();
            this.chosenChanged();
        }

        chosenChanged() {
            this.draw();
            this.calls.changed();
        }

        key(event) {
            const rows = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight));
            const moves = {
                ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, Home: -this.total,
                End: this.total, PageUp: -this.columns * rows, PageDown: this.columns * rows,
            };
            const keys = {
                " ": () => this.pictures[this.focused] && this.toggle(this.focused),
                Enter: () => this.pictures[this.focused] && this.calls.open(this.focused),
                Escape: () => this.chooseNone(),
                Delete: () => this.chosen.size > 0 && this.calls.remove(),
            };
            if (event.key in moves) this.focus(this.focused + moves[event.key], event.shiftKey);
            else if (event.key === "a" && (event.ctrlKey || event.metaKey)) attempt(() => this.chooseAll());
            else if (event.key in keys) keys[event.key]();
            else return;
            event.preventDefault();
            event.stopPropagation();
        }

        /** Moves the keyboard's mark to a picture and into sight; with Shift everything on the way is chosen. */
        focus(place, choosing = false) {
            this.focused = Math.max(0, Math.min(this.total - 1, place));
            const height = this.rowHeight;
            const top = Math.floor(this.focused / this.columns) * height;
            const element = this.element;
            if (top < element.scrollTop) element.scrollTop = top;
            const below = top + height + GAP - element.clientHeight;
            if (below > element.scrollTop) element.scrollTop = below;
            if (choosing) attempt(() => this.chooseTo(this.focused));
            else this.anchor = this.focused;
            this.draw();
        }

        /** Takes over a picture that was changed in the large view. */
        replace(place, picture) {
            this.pictures[place] = picture;
            this.calls.changed();
            this.drawSoon();
        }
    }

    Object.assign(loraTrain, {PictureGrid});
})();
