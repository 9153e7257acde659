/**
 * One original, large, with its crops: frames that are moved and resized with the mouse and the keyboard. What is
 * changed is saved after each pull, and on the way to another picture.
 */
(() => {
    "use strict";

    const {
        api, attempt, later, text, number, make, write, turnButton, button, enable, sureButton, select, field,
        folded, say, openSheet, sourceUrl, setImage, moveBox, resizeBox, scaleBox, shapeBox, withBox, SourcePages,
    } = loraTrain;
    const SAVE_WAIT = 600; // ms after the last key
    const STEPS = [1, 4, 16, 64]; // px of the original, for a key
    const GROWTH = 1.05; // of + and -
    const HANDLE = 16; // px: that handles need around the picture
    const NEW_SHARE = 0.6; // of the picture's side, of a crop that is added
    const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};

    class CropEditor {
        /** @param {Preparation} preparation */
        constructor(preparation) {
            this.preparation = preparation;
            this.active = 0;
            this.version = 0; // of the crops shown: an answer to older ones is not taken over
            this.saving = Promise.resolve(true); // one after the other, so that the newest is what stays
            this.saveSoon = later(SAVE_WAIT, () => attempt(() => this.save()));
            this.build();
        }

        build() {
            this.image = make("img", {alt: "", draggable: "false"});
            this.frames = new loraTrain.CropFrames(this);
            this.canvas = make("div", {class: "lora_train_crop_canvas"}, this.image, this.frames.element);
            this.stage = make("div", {class: "lora_train_crop_stage"}, this.canvas);
            this.previous = turnButton("‹", "previous", text("Previous picture"), () => this.go(-1));
            this.next = turnButton("›", "next", text("Next picture"), () => this.go(1));
            this.name = make("p", {class: "lora_train_view_name", translate: "no"});
            this.problem = make("p", {class: "lora_train_message lora_train_error", hidden: true});
            this.list = make("ul", {class: "lora_train_crop_list"});
            this.note = make("span", {class: "lora_train_hint", role: "status", "data-note": "crops"});
            this.free = make("input", {type: "checkbox", "data-action": "free"});
            this.step = select(STEPS.map((one) => [String(one), `${number(one)} px`]), "4", {"data-action": "step"});
            this.mirror = button(text("Mirror"), {name: "mirror-crop", run: () => this.toggleMirror()});
            this.reset = button(text("Back to the proposal"), {name: "reset-crops", run: () => this.backToProposal()});
            const all = sureButton(text("Apply to all pictures"), text("Replace the crops of all pictures?"), {
                name: "crops-all", run: () => this.applyToAll(),
            });
            const side = make("div", {class: "lora_train_view_side"}, this.name, this.problem, this.list,
                make("div", {class: "lora_train_row"},
                    button(text("Add a crop"), {name: "add-crop", run: () => this.add()}), this.mirror),
                make("label", {class: "lora_train_check"}, this.free, make("span", {}, text("Free shape"))),
                field(text("Step of the keys"), this.step),
                make("div", {class: "lora_train_row"}, this.reset, all), this.note, this.help());
            this.body = make("div", {class: "lora_train_view lora_train_crop_view"},
                make("div", {class: "lora_train_view_picture"}, this.previous, this.stage, this.next), side);
            new ResizeObserver(() => this.fit()).observe(this.stage);
        }

        help() {
            const keys = [
                [text("Arrows"), text("move the frame")], [text("Shift and arrows"), text("resize it")],
                ["+ −", text("larger, smaller")], [text("Tab"), text("the next frame")],
                [text("Delete"), text("take the frame away")], ["M", text("mirror")],
                [text("Page up, page down"), text("the previous, the next picture")],
            ];
            return folded(text("Keys"), make("dl", {class: "lora_train_keys"},
                ...keys.flatMap(([key, words]) => [make("dt", {}, key), make("dd", {}, words)])));
        }

        /** Opens at a place of a list of originals. @param {SourcePages} pages */
        async open(pages, place, closed = null) {
            this.pages = pages;
            await this.show(place);
            this.dialog = openSheet(text("Crops of a picture"), {kind: "lora_train_cropper", closed: () => {
                attempt(() => this.save());
                if (closed) closed(this.place);
            }}, this.body);
            this.dialog.addEventListener("cancel", (event) => {
                if (this.frames.cancel()) event.preventDefault();
            });
            this.body.addEventListener("keydown", this.onKey = (event) => this.pageKey(event));
            this.dialog.addEventListener("close", () => this.body.removeEventListener("keydown", this.onKey));
            this.fit();
            this.frames.focus();
        }

        /** Opens the original of that id, with the others around it. */
        async openSource(id) {
            const pages = new SourcePages();
            const place = await pages.find(id);
            if (place >= 0) await this.open(pages, place);
        }

        get crop() {
            return this.crops[this.active];
        }

        get crops() {
            return this.source.crops;
        }

        async show(place) {
            const source = await this.pages.at(place);
            if (!source) return;
            [this.place, this.source, this.active] = [place, source, 0];
            this.version += 1;
            this.unsaved = false;
            setImage(this.image, sourceUrl(source, "view"));
            this.image.alt = source.name;
            const {name, width, height, problem} = source;
            write(this.name, `${name} · ${number(width)} × ${number(height)} · `
                + `${number(place + 1)} / ${number(this.pages.total)}`);
            this.problem.hidden = problem === null;
            if (problem) write(this.problem, `${problem.sentence} ${problem.remedy || ""}`);
            this.previous.setAttribute("aria-disabled", place === 0);
            this.next.setAttribute("aria-disabled", place >= this.pages.total - 1);
            write(this.note, "");
            this.fit();
            this.draw();
        }

        /** The picture as large as the stage allows; a small one up to four times. */
        fit() {
            if (!this.source || !this.source.width) return;
            const {width, height} = this.source;
            const [room, deep] = [this.stage.clientWidth - HANDLE, this.stage.clientHeight - HANDLE];
            if (room <= 0 || deep <= 0) return;
            this.scale = Math.min(room / width, deep / height, 4);
            this.canvas.style.width = `${width * this.scale}px`;
            this.canvas.style.height = `${height * this.scale}px`;
        }

        draw() {
            this.frames.draw();
            this.list.replaceChildren(...this.crops.map((crop, place) => loraTrain.cropLine(this, crop, place)));
            const proposal = JSON.stringify(this.crops) === JSON.stringify(this.source.proposal);
            enable(this.reset, !proposal && this.source.proposal.length > 0);
            const mirrored = Boolean(this.crop && this.crop.mirror);
            this.mirror.setAttribute("aria-pressed", mirrored);
            enable(this.mirror, Boolean(this.crop));
        }

        /** While a frame is pulled, at most once for each picture that the screen shows. */
        drawSoon() {
            if (this.waiting) return;
            this.waiting = true;
            window.requestAnimationFrame(() => {
                this.waiting = false;
                this.draw();
            });
        }

        /** Makes a frame the one that keys and buttons mean. */
        choose(place) {
            if (this.active === place) return;
            this.active = place;
            this.draw();
        }

        /** Another box for the active crop. `rest`: the pull is over, it is to be saved. */
        setBox(box, rest = "soon") {
            this.setCrop(withBox(this.crop, box, this.free.checked), rest);
        }

        setCrop(crop, rest = "soon") {
            this.source = {...this.source, crops: this.crops.map((one, place) => (place === this.active ? crop : one))};
            this.changed(rest);
        }

        changed(rest) {
            this.version += 1;
            this.unsaved = true;
            if (rest === "later") this.drawSoon();
            else this.draw();
            if (rest === "soon") this.saveSoon();
            if (rest === "now") attempt(() => this.save());
        }

        get aspect() {
            return this.free.checked ? null : (this.crop.right - this.crop.left) / (this.crop.bottom - this.crop.top);
        }

        add() {
            const {width, height} = this.source;
            const like = this.crop || {left: 0, top: 0, right: width, bottom: height, width, height, mirror: false};
            const whole = {left: 0, top: 0, right: width * NEW_SHARE, bottom: height * NEW_SHARE};
            const shaped = shapeBox(whole, (like.right - like.left) / (like.bottom - like.top), this.source);
            const middle = moveBox(shaped, (width - shaped.right - shaped.left) / 2,
                (height - shaped.bottom - shaped.top) / 2, this.source);
            this.source = {...this.source, crops: [...this.crops, withBox({...like, mirror: false}, middle)]};
            this.active = this.crops.length - 1;
            this.changed("now");
            this.frames.focus();
        }

        remove(place = this.active) {
            if (this.crops.length < 2) {
                say({sentence: text("A picture has at least one crop.")});
                return;
            }
            this.source = {...this.source, crops: this.crops.filter((one, other) => other !== place)};
            this.active = Math.min(this.active, this.crops.length - 1);
            this.changed("now");
            this.frames.focus();
        }

        toggleMirror() {
            this.setCrop({...this.crop, mirror: !this.crop.mirror}, "now");
        }

        async backToProposal() {
            this.unsaved = false;
            this.version += 1;
            const {version, path} = this;
            await this.saving.catch(() => {});
            this.take(await api.post([...path, "crops", "reset"]), version);
            write(this.note, "");
            this.frames.focus();
        }

        async applyToAll() {
            await this.save();
            await this.preparation.act("crops/all", {source: this.source.id});
            this.pages.forget();
            say({sentence: text("All pictures have these crops now, in the same places.")});
        }

        get path() {
            return [...this.pages.path, this.source.id];
        }

        /** Saves what was changed. Resolves when it is all saved; rejects when it could not be: the picture stays. */
        save() {
            if (!this.unsaved) return this.saving;
            const {version, path} = this;
            this.unsaved = false;
            write(this.note, text("Saving…"));
            const crops = this.crops.map(({left, top, right, bottom, width, height, mirror}) =>
                ({left, top, right, bottom, width, height, mirror}));
            this.saving = this.saving.catch(() => {}).then(() => this.put(path, crops, version));
            return this.saving;
        }

        async put(path, crops, version) {
            try {
                const saved = await api.put([...path, "crops"], {crops});
                if (version === this.version) write(this.note, text("Saved"));
                this.take(saved, version);
                return true;
            } catch (error) {
                if (version === this.version) this.unsaved = true;
                write(this.note, `${error.sentence || error.message} ${error.remedy || ""}`);
                throw error;
            }
        }

        /** The server's answer about this original, where nothing was changed meanwhile. */
        take(source, version) {
            this.preparation.touch();
            if (version !== this.version || source.id !== this.source.id) return;
            this.source = source;
            this.pages.replace(this.place, source);
            this.active = Math.min(this.active, this.crops.length - 1);
            this.draw();
        }

        async go(by) {
            const place = this.place + by;
            if (place < 0 || place >= this.pages.total || !await this.save()) return;
            await this.show(place);
            this.frames.focus();
        }

        pageKey(event) {
            const turn = {PageUp: -1, PageDown: 1}[event.key];
            if (turn === undefined) return;
            event.preventDefault();
            attempt(() => this.go(turn));
        }

        /** A key on a frame. @returns whether it meant something */
        key(event) {
            if (!this.crop || event.ctrlKey || event.metaKey) return false;
            const step = Number(this.step.value);
            if (event.key in ARROWS) {
                const [x, y] = ARROWS[event.key].map((way) => way * step);
                // With Shift the side that the arrow points away from stays.
                this.setBox(event.shiftKey
                    ? resizeBox(this.crop, x ? "e" : "s", x, y, this.aspect, this.source)
                    : moveBox(this.crop, x, y, this.source));
            } else if (event.key === "+" || event.key === "=") {
                this.setBox(scaleBox(this.crop, GROWTH, this.source));
            } else if (event.key === "-") {
                this.setBox(scaleBox(this.crop, 1 / GROWTH, this.source));
            } else if (event.key === "Delete" || event.key === "Backspace") this.remove();
            else if (event.key.toLowerCase() === "m") this.toggleMirror();
            else return false;
            return true;
        }
    }

    Object.assign(loraTrain, {CropEditor});
})();
