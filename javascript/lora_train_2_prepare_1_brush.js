/**
 * The brush that repairs a mask: painted over the picture, with zoom, strokes that can be taken back, and keys.
 */
(() => {
    "use strict";

    const {
        api, text, number, make, write, turnButton, button, enable, choice, folded, openSheet, sourceUrl,
        previewUrl, matteUrl, setImage, report,
    } = loraTrain;
    const MOST_ZOOM = 16;
    const WHEEL = 1.0015; // of zoom, for a pixel of the wheel
    const VIEWS = ["result", "mask", "over", "before"];
    const MOST_SIDE = 4096; // px: a larger mask is painted at this size

    function loadImage(address) {
        return new Promise((resolve, reject) => {
            const image = new Image();
            image.onload = () => resolve(image);
            image.onerror = () => reject(Object.assign(new Error("image"), {
                sentence: text("The picture cannot be shown."), remedy: text("Try again."),
            }));
            image.src = address;
        });
    }

    class BrushEditor {
        /** @param {Preparation} preparation */
        constructor(preparation) {
            this.preparation = preparation;
            this.mask = new loraTrain.Mask();
            [this.add, this.view, this.zoom, this.x, this.y] = [false, "result", 1, 0, 0];
            this.saving = Promise.resolve(true); // one after the other, so that the newest is what stays
            this.build();
        }

        build() {
            this.canvas = make("canvas", {class: "lora_train_brush_canvas lora_train_checkers", tabIndex: 0,
                role: "application", "aria-label": text("Mask: paint with the mouse, or with arrows and Space")});
            this.ring = make("div", {class: "lora_train_brush_ring", "aria-hidden": "true", hidden: true});
            this.stage = make("div", {class: "lora_train_brush_stage"}, this.canvas, this.ring);
            this.previous = turnButton("‹", "previous", text("Previous picture"), () => this.go(-1));
            this.next = turnButton("›", "next", text("Next picture"), () => this.go(1));
            this.name = make("p", {class: "lora_train_view_name", translate: "no"});
            this.note = make("span", {class: "lora_train_hint", role: "status", "data-note": "mask"});
            this.size = this.slider(text("Brush size"), 2, 400, 60);
            this.soft = this.slider(text("Softness"), 0, 100, 30);
            this.modes = choice(text("The brush"), [["erase", text("takes away")], ["add", text("adds")]], "erase",
                (value) => { this.add = value === "add"; });
            this.views = choice(text("Show"), [["result", text("Cut out")], ["over", text("Marked")],
                ["mask", text("Mask")], ["before", text("Before")]], "result", (value) => this.setView(value));
            // A button that is over must not keep the keys to itself.
            const press = (words, name, run, kind = "secondary") => {
                const made = button(words, {kind, name, run: async () => {
                    await run();
                    if (made.disabled) this.canvas.focus({preventScroll: true});
                }});
                return made;
            };
            this.undoPress = press(text("Undo"), "undo-stroke", () => this.turn("undo"));
            this.redoPress = press(text("Redo the stroke"), "redo-stroke", () => this.turn("redo"));
            this.savePress = press(text("Save"), "save-mask", () => this.save(), "primary");
            this.back = press(text("The model's mask again"), "reset-mask", () => this.reset());
            this.preview = make("img", {class: "lora_train_checkers", alt: text("What is written")});
            const side = make("div", {class: "lora_train_view_side"}, this.name, this.views, this.modes,
                this.size.element, this.soft.element,
                make("div", {class: "lora_train_row"}, this.undoPress, this.redoPress,
                    press(text("Invert"), "invert-mask", () => this.invert())),
                make("div", {class: "lora_train_row"}, press("−", "zoom-out", () => this.zoomBy(0.8)),
                    press("+", "zoom-in", () => this.zoomBy(1.25)),
                    press(text("Whole picture"), "fit", () => this.fit())),
                make("div", {class: "lora_train_row"}, this.savePress, this.back), this.note,
                make("div", {class: "lora_train_written"},
                    make("span", {class: "lora_train_label"}, text("What is written")), this.preview), this.help());
            this.body = make("div", {class: "lora_train_view lora_train_brush_view"},
                make("div", {class: "lora_train_view_picture"}, this.previous, this.stage, this.next), side);
            this.hand = new loraTrain.BrushHand(this);
            new ResizeObserver(() => { if (this.source) this.fit(); }).observe(this.stage);
        }

        slider(words, min, max, value) {
            const input = make("input", {type: "range", min, max, step: 1, value: String(value)});
            input.addEventListener("input", () => this.hand.showRing());
            return {element: loraTrain.field(words, input), get value() { return Number(input.value); },
                set value(now) { input.value = String(now); }};
        }

        help() {
            const keys = [
                ["[ ]", text("smaller, larger brush")], ["X", text("take away or add")],
                [text("Ctrl+Z, Ctrl+Shift+Z"), text("a stroke back, and again")], ["I", text("invert")],
                [text("Wheel, + −"), text("zoom")], [text("Alt or middle button"), text("move the picture")],
                [text("Arrows, Space"), text("move the brush, paint a dot")],
                [text("Page up, page down"), text("the previous, the next picture")],
            ];
            return folded(text("Keys"), make("dl", {class: "lora_train_keys"},
                ...keys.flatMap(([key, words]) => [make("dt", {}, key), make("dd", {}, words)])));
        }

        /** @param {SourcePages} pages */
        async open(pages, place, closed = null) {
            this.pages = pages;
            await this.show(place);
            this.dialog = openSheet(text("Mask of a picture"), {kind: "lora_train_cropper", closed: () => {
                this.save().catch(report);
                if (closed) closed(this.place);
            }}, this.body);
            this.dialog.addEventListener("keydown", (event) => this.hand.key(event));
            this.fit();
            this.canvas.focus();
        }

        get path() {
            return [...this.pages.path, this.source.id];
        }

        async show(place) {
            const source = await this.pages.at(place);
            if (!source) return;
            const [picture, mask] = await Promise.all([loadImage(sourceUrl(source, "view")),
                source.matte.state === "none" ? null : loadImage(matteUrl(source))]);
            [this.place, this.source, this.picture] = [place, source, picture];
            const shrink = Math.min(1, MOST_SIDE / Math.max(source.width, source.height));
            this.mask.load(mask, Math.round(source.width * shrink), Math.round(source.height * shrink));
            this.unsaved = false;
            const {name, width, height} = source;
            write(this.name, `${name} · ${number(width)} × ${number(height)} · `
                + `${number(place + 1)} / ${number(this.pages.total)}`);
            this.previous.setAttribute("aria-disabled", place === 0);
            this.next.setAttribute("aria-disabled", place >= this.pages.total - 1);
            write(this.note, "");
            this.showSource();
            this.fit();
        }

        showSource() {
            setImage(this.preview, previewUrl(this.source, 0, 512));
            enable(this.back, this.source.matte.state === "hand");
            this.showPresses();
        }

        showPresses() {
            enable(this.undoPress, this.mask.done.length > 0);
            enable(this.redoPress, this.mask.undone.length > 0);
            enable(this.savePress, Boolean(this.unsaved));
        }

        setView(view) {
            this.view = view;
            this.draw();
        }

        /** Steps to the next way of showing it. */
        nextView() {
            this.setView(VIEWS[(VIEWS.indexOf(this.view) + 1) % VIEWS.length]);
        }

        /** The whole picture in the stage. */
        fit() {
            const {clientWidth: room, clientHeight: deep} = this.stage;
            if (!room || !deep || !this.source) return;
            const sharp = window.devicePixelRatio || 1;
            [this.canvas.width, this.canvas.height] = [Math.round(room * sharp), Math.round(deep * sharp)];
            const {width, height} = this.mask.canvas;
            this.least = Math.min(room / width, deep / height);
            this.zoom = this.least;
            [this.x, this.y] = [(room - width * this.zoom) / 2, (deep - height * this.zoom) / 2];
            this.draw();
        }

        /** Larger or smaller, around a place of the stage. */
        zoomBy(factor, atX = this.stage.clientWidth / 2, atY = this.stage.clientHeight / 2) {
            const zoom = Math.min(Math.max(this.zoom * factor, this.least), this.least * MOST_ZOOM);
            this.x = atX - (atX - this.x) * zoom / this.zoom;
            this.y = atY - (atY - this.y) * zoom / this.zoom;
            this.zoom = zoom;
            this.pan(0, 0);
        }

        wheel(event, x, y) {
            this.zoomBy(WHEEL ** -event.deltaY, x, y);
        }

        /** Moves the picture; a part of it stays in sight. */
        pan(dx, dy) {
            const {width, height} = this.mask.canvas;
            const within = (value, size, room) => Math.min(Math.max(value, room / 2 - size), room / 2);
            this.x = within(this.x + dx, width * this.zoom, this.stage.clientWidth);
            this.y = within(this.y + dy, height * this.zoom, this.stage.clientHeight);
            this.draw();
        }

        draw() {
            if (this.waiting) return;
            this.waiting = true;
            window.requestAnimationFrame(() => {
                this.waiting = false;
                if (this.canvas.isConnected && this.source) loraTrain.drawMasked(this);
                this.hand.showRing();
            });
        }

        /** Something was painted, or taken back. */
        changed() {
            this.unsaved = true;
            write(this.note, "");
            this.showPresses();
            this.draw();
        }

        turn(way) {
            if (this.mask[way]()) this.changed();
        }

        invert() {
            this.mask.invert();
            this.changed();
        }

        save() {
            if (!this.unsaved) return this.saving;
            this.unsaved = false;
            write(this.note, text("Saving…"));
            const {source, path, place, pages} = this;
            const png = this.mask.toPng();
            const saving = this.saving.catch(() => {})
                .then(() => this.put(png, {source, path, place, pages}, () => this.saving === saving));
            this.saving = saving;
            return saving;
        }

        /** `isLast` tells whether no other saving waits by then. */
        async put(png, {source, path, place, pages}, isLast) {
            try {
                const saved = await api.putFile([...path, "matte"], await png);
                if (isLast() && !this.unsaved) write(this.note, text("Saved"));
                this.take(saved, source, place, pages);
                return true;
            } catch (error) {
                if (this.source.id === source.id) this.unsaved = true;
                write(this.note, `${error.sentence || error.message} ${error.remedy || ""}`);
                throw error;
            }
        }

        take(saved, source, place, pages) {
            pages.replace(place, saved);
            this.preparation.touch();
            if (this.source.id !== source.id) return;
            this.source = saved;
            this.showSource();
        }

        /** Forgets what was painted by hand. */
        async reset() {
            const {path} = this;
            await this.saving.catch(() => {});
            const saved = await api.remove([...path, "matte"]);
            this.pages.replace(this.place, saved);
            this.preparation.touch();
            await this.show(this.place);
        }

        async go(by) {
            const place = this.place + by;
            if (place < 0 || place >= this.pages.total || !await this.save()) return;
            await this.show(place);
        }
    }

    Object.assign(loraTrain, {BrushEditor});
})();
