/**
 * One picture, large, with its caption. What is typed is saved when the field is left, with Ctrl+Enter and on the
 * way to the next picture; a caption that somebody else changed meanwhile is never overwritten unasked.
 */
(() => {
    "use strict";

    const {
        state, api, url, text, report, bytes, number, make, write, turnButton, button, field, openDialog,
    } = loraTrain;

    class PictureViewer {
        /**
         * @param {PictureGrid} grid whose pictures are shown, in their order
         * @param {function(Picture[]): Promise} remove
         */
        constructor(grid, remove) {
            this.grid = grid;
            this.remove = remove;
            this.place = 0;
            /** @type {?Picture} */
            this.picture = null;
            /** @type {?Promise<boolean>} the saving under way */
            this.saving = null;
        }

        async open(place) {
            const canvas = make("div", {class: "lora_train_view_picture"});
            this.image = make("img", {alt: ""});
            this.caption = make("textarea", {
                class: "lora_train_input", rows: 8, spellcheck: "false", name: "caption", maxlength: 60000,
            });
            this.note = make("span", {class: "lora_train_hint", role: "status", "data-note": "caption"});
            this.name = make("p", {class: "lora_train_view_name", translate: "no"});
            this.problem = make("p", {class: "lora_train_message lora_train_error", hidden: true});
            this.conflict = make("div", {class: "lora_train_conflict", hidden: true});
            this.previous = turnButton("‹", "previous", text("Previous picture"), () => this.go(-1));
            this.next = turnButton("›", "next", text("Next picture"), () => this.go(1));
            canvas.append(this.previous, this.image, this.next);
            const erase = button(text("Delete picture"), {name: "delete-picture", run: () => this.removeThis()});
            this.dialog = openDialog(text("Picture"), {kind: "lora_train_viewer", closed: () => this.closed()},
                make("div", {class: "lora_train_view"}, canvas, make("div", {class: "lora_train_view_side"},
                    this.name, this.problem,
                    field(text("Caption"), this.caption,
                        text("Tags with commas between, or a sentence. Saved when you go on.")),
                    this.note, this.conflict, make("div", {class: "lora_train_row"}, erase))));
            this.caption.addEventListener("blur", () => this.save().catch(report));
            this.caption.addEventListener("input", () => write(this.note, ""));
            this.dialog.addEventListener("keydown", (event) => this.key(event));
            this.dialog.addEventListener("cancel", (event) => this.leave(event));
            await this.show(place);
            this.next.focus();
        }

        get changed() {
            return this.picture !== null && this.caption.value !== this.picture.caption;
        }

        async show(place) {
            const picture = await this.grid.at(place);
            if (!picture) return;
            this.place = place;
            this.picture = picture;
            this.conflict.hidden = true;
            const {name, width, height, bytes: size, problem, caption, stamp, id} = this.picture;
            this.image.src = url(["projects", state.project.id, "pictures", id, "view"], {v: stamp});
            this.image.alt = caption || name;
            this.caption.value = caption;
            write(this.note, "");
            const size_ = width ? ` · ${number(width)} × ${number(height)}` : "";
            write(this.name, `${name}${size_} · ${bytes(size)} · ${number(place + 1)} / ${number(this.grid.total)}`);
            this.problem.hidden = problem === null;
            if (problem) write(this.problem, `${problem.sentence} ${problem.remedy || ""}`);
            // Not `disabled`, which would take the focus away, and the arrow keys with it.
            this.previous.setAttribute("aria-disabled", place === 0);
            this.next.setAttribute("aria-disabled", place >= this.grid.total - 1);
        }

        /** To the next or the previous picture, once the caption is safe. */
        async go(by) {
            const place = this.place + by;
            if (place < 0 || place >= this.grid.total || !await this.save()) return;
            await this.show(place);
        }

        key(event) {
            const typing = event.target === this.caption;
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
                event.preventDefault();
                this.save().catch(report);
            }
            const turn = {ArrowLeft: -1, ArrowRight: 1, PageUp: -1, PageDown: 1}[event.key];
            if (turn === undefined || typing && event.key.startsWith("Arrow") && !event.altKey) return;
            event.preventDefault();
            this.go(turn).catch(report);
        }

        /** Saves what was typed. False when it could not be, and the picture should stay. */
        async save() {
            if (this.saving) await this.saving;
            if (!this.changed || !this.conflict.hidden) return this.conflict.hidden;
            this.saving = this.put(this.caption.value, this.picture.version).finally(() => { this.saving = null; });
            return this.saving;
        }

        async put(words, version) {
            const {place, picture} = this;
            write(this.note, text("Saving…"));
            try {
                const path = ["projects", state.project.id, "pictures", picture.id, "caption"];
                const saved = await api.put(path, {text: words, version});
                this.grid.replace(place, saved);
                if (this.picture === picture) this.picture = saved;
                write(this.note, text("Saved"));
                return true;
            } catch (error) {
                write(this.note, `${error.sentence || error.message} ${error.remedy || ""}`);
                if (error.status !== 409 || !error.theirs) throw error;
                this.askWhich(error.theirs);
                return false;
            }
        }

        /** Both captions, beside each other; the person says which one stays. */
        askWhich(theirs) {
            const mine = this.caption.value;
            const settle = async (words, version) => {
                this.conflict.hidden = true;
                this.picture = {...this.picture, caption: theirs.text, version};
                this.caption.value = words;
                this.grid.replace(this.place, this.picture);
                if (await this.save()) this.caption.focus();
            };
            this.conflict.replaceChildren(
                make("strong", {}, text("This caption was changed elsewhere meanwhile.")),
                make("p", {class: "lora_train_label"}, text("Yours")),
                make("pre", {data: {text: "mine"}}, mine),
                make("p", {class: "lora_train_label"}, text("The other")),
                make("pre", {data: {text: "theirs"}}, theirs.text),
                make("div", {class: "lora_train_row"},
                    button(text("Keep mine"), {name: "keep-mine", run: () => settle(mine, theirs.version)}),
                    button(text("Take the other"), {
                        name: "take-theirs", run: () => settle(theirs.text, theirs.version),
                    })));
            this.conflict.hidden = false;
            write(this.note, "");
        }

        /** Esc: not before the caption is safe. */
        leave(event) {
            if (!this.changed) return;
            event.preventDefault();
            this.save().then((saved) => { if (saved) this.dialog.close(); }, report);
        }

        /** Closed by the button or a press beside it: the caption is saved on the way out. */
        closed() {
            if (this.changed && this.conflict.hidden) this.put(this.caption.value, this.picture.version).catch(report);
            this.grid.focus(this.place);
            this.grid.element.focus({preventScroll: true});
        }

        async removeThis() {
            if (this.conflict.hidden && !await this.save()) return; // what was typed goes to the trash, too
            const {place} = this;
            this.picture = {...this.picture, caption: this.caption.value};
            this.image.removeAttribute("src"); // which may still be on its way
            try {
                await this.remove([this.grid.pictures[place]]);
            } finally {
                if (this.grid.total === 0) this.dialog.close();
                else await this.show(Math.min(place, this.grid.total - 1));
            }
        }
    }

    Object.assign(loraTrain, {PictureViewer});
})();
