/**
 * The tags of one caption as chips: added with completion, deleted, moved, and rewritten in their place, with the mouse
 * or the keyboard. Of a very long caption a part is shown at a time.
 */
(() => {
    "use strict";

    const {on, text, number, make, write, button, newId} = loraTrain;
    const AT_ONCE = 120; // chips in the page
    const LONGEST = 1000; // characters of a tag that is typed
    const BETWEEN = /[,，\n]/;

    /** Tags that were typed or pasted, with commas between them. */
    function typedTags(words) {
        return words.split(BETWEEN).map((one) => one.trim()).filter(Boolean);
    }

    class TagChips {
        /**
         * @param {TagModel} model
         * @param {{change: function(string[]): void, leave: function(): void}} calls `change` is told the new tags
         */
        constructor(model, calls) {
            this.model = model;
            this.calls = calls;
            /** @type {?TagPicture} */
            this.picture = null;
            this.from = 0; // the first tag that is shown
            this.active = 0; // the tag that the keyboard is on
            /** @type {?HTMLInputElement} the field of a tag that is being rewritten */
            this.rewriting = null;
            this.complete = new loraTrain.TagComplete(model);
            this.list = make("div", {
                class: "lora_train_tag_chips", role: "listbox", tabIndex: 0, "aria-label": text("Tags of the picture"),
                "aria-orientation": "horizontal",
            });
            this.range = make("span", {class: "lora_train_hint"});
            this.pages = make("div", {class: "lora_train_row", hidden: true},
                button("‹", {kind: "quiet", name: "tags-before", title: text("The tags before"),
                    run: () => this.turn(-1)}),
                this.range,
                button("›", {kind: "quiet", name: "tags-after", title: text("The tags after"),
                    run: () => this.turn(1)}));
            this.input = this.makeInput();
            this.adding = make("div", {class: "lora_train_tag_add"}, this.input);
            this.element = make("div", {class: "lora_train_tag_editing"}, this.pages, this.list, this.adding);
            const keys = (event) => this.inputKey(event);
            this.completion = this.complete.attach(this.input, (words) => this.add(words), {keys});
            this.list.addEventListener("keydown", (event) => this.key(event));
            this.list.addEventListener("click", (event) => this.click(event));
            this.list.addEventListener("dblclick", (event) => this.rewriteAt(event));
            this.catchDrags();
            on("tags", () => this.show());
        }

        makeInput() {
            const input = make("input", {
                class: "lora_train_input", type: "text", name: "add-tag", maxlength: 20000,
                placeholder: text("Add a tag"), "aria-label": text("Add a tag"), translate: "no",
            });
            input.addEventListener("paste", (event) => {
                const words = event.clipboardData.getData("text/plain");
                if (!BETWEEN.test(words.trim())) return;
                event.preventDefault();
                this.add(input.value + words);
                input.value = "";
            });
            return input;
        }

        /** A key in the field for a new tag. */
        inputKey(event) {
            if (event.isComposing || event.defaultPrevented) return;
            const empty = this.input.value === "";
            if (event.key === "Escape" && !empty) this.input.value = "";
            else if (event.key === "Escape") this.calls.leave();
            else if (empty && (event.key === "ArrowLeft" || event.key === "ArrowUp") && !event.altKey
                || empty && event.key === "Backspace") this.focus(this.tags.length - 1);
            else return;
            event.preventDefault();
            event.stopPropagation();
        }

        get tags() {
            return this.picture ? this.picture.tags : [];
        }

        /** Shows the tags of a picture. @param {TagPicture} [picture] */
        show(picture = this.picture) {
            if (!picture) return;
            if (!this.picture || this.picture.id !== picture.id) {
                this.from = this.active = 0;
                this.input.value = "";
                this.rewriting = null;
            }
            this.picture = picture;
            const {tags} = picture;
            this.active = Math.max(0, Math.min(this.active, tags.length - 1));
            this.from = Math.max(0, Math.min(this.from, Math.floor((tags.length - 1) / AT_ONCE) * AT_ONCE));
            const to = Math.min(tags.length, this.from + AT_ONCE);
            this.pages.hidden = tags.length <= AT_ONCE;
            write(this.range, text("Tags {from} to {to} of {all}", {from: number(this.from + 1), to: number(to),
                all: number(tags.length)}));
            if (this.rewriting) return; // it is being typed in
            const said = JSON.stringify([tags.slice(this.from, to), picture.translations, picture.cut, this.from]);
            if (said !== this.shown) {
                this.shown = said;
                const chips = tags.slice(this.from, to).map((tag, at) => this.makeChip(tag, this.from + at));
                this.list.replaceChildren(...chips);
                if (tags.length === 0) {
                    this.list.append(make("p", {class: "lora_train_hint"}, text("No tags yet. Type one below.")));
                }
            }
            this.mark();
        }

        /** No picture's tags, while a caption is shown as text. */
        clear() {
            this.picture = this.rewriting = null;
            this.shown = "";
            this.list.replaceChildren();
        }

        makeChip(tag, place) {
            const translation = this.picture.translations[place] || "";
            const cut = this.picture.cut >= 0 && place >= this.picture.cut;
            const {limit} = this.model.overview.tokens;
            const title = cut ? text("Beyond the limit of {limit} tokens: not trained on.", {limit})
                : `${number(place + 1)}. ${tag}`;
            return make("span", {
                class: `lora_train_tag_chip ${cut ? "lora_train_cut" : ""}`, role: "option", id: newId(), title,
                draggable: "true", data: {place}, translate: "no",
            },
            make("span", {class: "lora_train_tag_words"}, cut ? make("s", {}, tag) : tag),
            translation ? make("span", {class: "lora_train_translation"}, translation) : null,
            make("span", {class: "lora_train_tag_delete", "aria-hidden": "true", "data-delete": "",
                title: text("Delete")}, "×"));
        }

        chip(place) {
            return this.list.querySelector(`[data-place="${place}"]`);
        }

        /** Shows where the keyboard is. */
        mark() {
            for (const chip of this.list.children) {
                const active = Number(chip.dataset.place) === this.active;
                chip.classList.toggle("lora_train_focused", active);
                if (active) this.list.setAttribute("aria-activedescendant", chip.id);
            }
            if (this.tags.length === 0) this.list.removeAttribute("aria-activedescendant");
        }

        turn(by) {
            this.from = Math.max(0, Math.min(this.tags.length - 1, this.from + by * AT_ONCE));
            this.from -= this.from % AT_ONCE;
            this.active = this.from;
            this.show();
        }

        /** The keyboard goes to a tag, and to the field for a new one where there is none. */
        focus(place = this.active) {
            if (this.tags.length === 0) {
                this.input.focus();
                return;
            }
            this.active = Math.max(0, Math.min(this.tags.length - 1, place));
            this.from = this.active - this.active % AT_ONCE;
            this.show();
            this.list.focus({preventScroll: true});
            const chip = this.chip(this.active);
            if (chip) chip.scrollIntoView({block: "nearest"});
        }

        /** Adds what is not there yet, at the end; what is there already lights up. */
        add(words) {
            const tags = [...this.tags];
            for (const tag of typedTags(words)) {
                const place = tags.indexOf(tag);
                if (place < 0) tags.push(tag);
                else this.light(place);
            }
            if (tags.length === this.tags.length) return;
            this.from = tags.length - 1 - (tags.length - 1) % AT_ONCE;
            this.change(tags, tags.length - 1);
            const last = this.chip(tags.length - 1);
            if (last) last.scrollIntoView({block: "nearest"});
        }

        light(place) {
            const chip = this.chip(place);
            if (!chip) return;
            chip.scrollIntoView({block: "nearest"});
            chip.classList.remove("lora_train_lit");
            window.requestAnimationFrame(() => chip.classList.add("lora_train_lit"));
        }

        remove(place) {
            this.change(this.tags.filter((_, at) => at !== place), place);
        }

        /** Moves a tag to another place. */
        move(place, to) {
            const target = Math.max(0, Math.min(this.tags.length - 1, to));
            if (target === place || this.tags.length === 0) return;
            const tags = [...this.tags];
            tags.splice(target, 0, ...tags.splice(place, 1));
            this.from = target - target % AT_ONCE;
            this.change(tags, target);
        }

        change(tags, active) {
            this.active = active;
            this.calls.change(tags);
        }

        key(event) {
            if (event.target !== this.list) return;
            const {active} = this;
            const control = event.ctrlKey || event.metaKey;
            const last = this.tags.length - 1;
            const steps = {ArrowLeft: active - 1, ArrowRight: active + 1, Home: 0, End: last};
            const there = last >= 0;
            if (event.key in steps && event.altKey) this.move(active, steps[event.key]);
            else if (control) return;
            else if (event.key === "ArrowRight" && active >= last || event.key === "ArrowDown") this.input.focus();
            else if (event.key in steps) this.focus(steps[event.key]);
            else if (there && (event.key === "Delete" || event.key === "Backspace")) this.remove(active);
            else if (there && (event.key === "Enter" || event.key === "F2")) this.rewrite(active);
            else if (event.key === "Escape") this.calls.leave();
            else return;
            event.preventDefault();
            event.stopPropagation();
        }

        placeOf(event) {
            const chip = event.target.closest(".lora_train_tag_chip");
            return chip ? Number(chip.dataset.place) : -1;
        }

        click(event) {
            const place = this.placeOf(event);
            if (place < 0 || this.rewriting) return;
            this.list.focus({preventScroll: true});
            if (event.target.closest("[data-delete]")) {
                this.remove(place);
            } else {
                this.active = place;
                this.mark();
            }
        }

        rewriteAt(event) {
            const place = this.placeOf(event);
            if (place >= 0 && !this.rewriting && !event.target.closest("[data-delete]")) this.rewrite(place);
        }

        /** A field in the place of a tag: Enter takes it over, Esc does not. */
        rewrite(place) {
            const chip = this.chip(place);
            const tag = this.tags[place];
            const input = make("input", {
                class: "lora_train_input", type: "text", name: "rewrite-tag", value: tag, maxlength: LONGEST,
                "aria-label": text("Tag"), translate: "no", size: Math.min(60, Math.max(8, [...tag].length + 2)),
            });
            this.rewriting = input;
            const end = (words) => {
                if (this.rewriting !== input) return;
                this.rewriting = null;
                this.shown = "";
                const tags = [...this.tags];
                if (words !== null && tags[place] === tag) tags.splice(place, 1, ...typedTags(words));
                if (tags.join() !== this.tags.join()) this.change(tags, place);
                else this.show();
            };
            chip.draggable = false;
            chip.replaceChildren(input);
            const keys = (event) => {
                event.stopPropagation();
                if (event.key !== "Escape" || event.defaultPrevented) return;
                end(null);
                this.list.focus();
            };
            this.complete.attach(input, (words) => {
                end(words);
                this.list.focus();
            }, {keys});
            input.addEventListener("blur", () => end(input.value));
            input.focus();
            input.select();
        }

        /** Tags are dragged to another place. */
        catchDrags() {
            const {list} = this;
            list.addEventListener("dragstart", (event) => {
                this.dragged = this.placeOf(event);
                event.dataTransfer.effectAllowed = "move";
                event.dataTransfer.setData("text/plain", this.tags[this.dragged] || "");
            });
            list.addEventListener("dragover", (event) => {
                if (this.dragged === undefined) return;
                event.preventDefault();
                event.stopPropagation();
                for (const chip of list.querySelectorAll(".lora_train_over")) chip.classList.remove("lora_train_over");
                const over = this.chip(this.placeOf(event));
                if (over) over.classList.add("lora_train_over");
            });
            list.addEventListener("drop", (event) => {
                if (this.dragged === undefined) return;
                event.preventDefault();
                event.stopPropagation();
                const place = this.placeOf(event);
                if (place >= 0) this.move(this.dragged, place);
            });
            list.addEventListener("dragend", () => {
                this.dragged = undefined;
                for (const chip of list.querySelectorAll(".lora_train_over")) chip.classList.remove("lora_train_over");
            });
        }
    }

    Object.assign(loraTrain, {TagChips, typedTags});
})();
