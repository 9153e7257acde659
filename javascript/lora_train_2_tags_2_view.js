/**
 * One picture of the tag editor, large, with its caption: tags as chips, sentences as text. Text is saved when the
 * field is left, after a pause, and on the way to another picture; a caption that another program changed meanwhile is
 * never overwritten unasked.
 */
(() => {
    "use strict";

    const {
        on, url, later, attempt, text, plural, number, make, write, button, turnButton, field, setImage,
    } = loraTrain;
    const TYPED = 2000; // ms after the last key

    class TagView {
        /**
         * @param {TagModel} model
         * @param {{leave: function(): void, edit: function(): void}} calls `leave`: back to the pictures; `edit`: the
         *   window for several captions
         */
        constructor(model, calls) {
            this.model = model;
            this.asText = false; // tags are shown as text, too, as the person wants it
            this.shownId = "";
            this.was = ""; // the text of the field that is saved
            /** @type {?string} the text that is being saved */
            this.saving = null;
            /** @type {?TagPicture} */
            this.picture = null;
            this.chips = new loraTrain.TagChips(model, {
                change: (tags) => attempt(() => model.save(model.current, tags)), leave: calls.leave,
            });
            this.image = make("img", {alt: "", decoding: "async"});
            this.previous = turnButton("‹", "previous-picture", text("Previous picture"), () => this.go(-1));
            this.next = turnButton("›", "next-picture", text("Next picture"), () => this.go(1));
            this.name = make("span", {class: "lora_train_tagging_name", translate: "no"});
            this.place = make("span", {class: "lora_train_hint"});
            this.mode = button("", {kind: "quiet", name: "as-text", run: () => this.switchMode()});
            this.tokens = new TokenLine();
            this.problem = make("p", {class: "lora_train_message lora_train_error", hidden: true});
            this.conflict = make("div", {class: "lora_train_conflict", hidden: true});
            this.several = make("p", {class: "lora_train_hint", hidden: true});
            this.caption = this.makeText(calls);
            this.written = make("div", {class: "lora_train_tagging_text", hidden: true},
                field(text("Caption"), this.caption), this.cutWords = make("p", {class: "lora_train_hint"}));
            this.element = make("section", {class: "lora_train_tagging_view", "aria-label": text("Picture")},
                make("div", {class: "lora_train_tagging_canvas"}, this.previous, this.image, this.next),
                make("div", {class: "lora_train_tagging_caption"},
                    make("div", {class: "lora_train_row lora_train_tagging_title"}, this.name, this.place,
                        make("span", {class: "lora_train_end"}, this.mode)),
                    this.several, this.problem, this.conflict, this.chips.element, this.written, this.tokens.element));
            this.saveSoon = later(TYPED, () => attempt(() => this.save()));
            on("tags-selection", () => {
                this.showSeveral(calls);
                this.show();
            });
            on("tags-found", () => this.show());
            on("tags", () => this.show());
            on("tags-picture", (id) => { if (id === model.current) this.show(); });
            on("tags-conflict", (conflict) => this.askWhich(conflict));
            on("tags-leaving", () => attempt(() => this.save()));
            on("visible", () => { if (document.hidden) attempt(() => this.save()); });
            window.addEventListener("pagehide", () => {
                attempt(() => this.save());
                model.pictures.leave();
            });
        }

        makeText({leave}) {
            const area = make("textarea", {
                class: "lora_train_input", rows: 5, spellcheck: "false", name: "tags-caption", maxlength: 60000,
                translate: "no", dir: "auto",
            });
            area.addEventListener("input", () => this.saveSoon());
            area.addEventListener("blur", () => attempt(() => this.save()));
            area.addEventListener("keydown", (event) => {
                if (event.isComposing) return;
                if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) attempt(() => this.save());
                else if (event.key === "Escape") attempt(() => this.save()).then(leave);
                else return;
                event.preventDefault();
                event.stopPropagation();
            });
            return area;
        }

        /** Whether the current caption is shown as text. */
        get textual() {
            const {overview} = this.model;
            return this.asText || overview !== null && overview.form === "sentences"
                || this.picture !== null && this.picture.prose;
        }

        /** Whether something was typed that is not saved yet. */
        get typed() {
            const {value} = this.caption;
            return this.picture !== null && !this.written.hidden && value !== this.was && value !== this.saving;
        }

        /** Saves what was typed, into the picture for which it was typed. */
        async save() {
            if (!this.typed || this.model.pictures.conflict) return;
            const [id, words] = [this.shownId, this.caption.value];
            this.saving = words;
            try {
                if (await this.model.save(id, words) && id === this.shownId) this.was = words;
            } finally {
                if (this.saving === words) this.saving = null; // what was refused stays in the field, still typed
                this.show();
            }
        }

        go(by) {
            attempt(() => this.save());
            this.model.go(by);
        }

        switchMode() {
            attempt(() => this.save());
            this.asText = !this.asText;
            this.show();
            this.focus();
        }

        /** The keyboard goes to the caption. */
        focus() {
            if (this.written.hidden) this.chips.input.focus();
            else this.caption.focus();
        }

        /** The keyboard goes to the tags that are there. */
        focusCaption() {
            if (this.written.hidden) this.chips.focus();
            else this.caption.focus();
        }

        /** Shows the current picture as it is known. */
        show() {
            const {model} = this;
            const {current} = model;
            if (current !== this.shownId) {
                attempt(() => this.save());
                this.shownId = current;
                this.picture = null;
                this.was = this.caption.value = "";
                this.saving = null;
                this.showConflict(model.pictures.conflict);
            }
            const picture = current ? model.picture(current) : null;
            this.element.classList.toggle("lora_train_waiting_picture", current !== "" && !picture);
            this.element.hidden = !current;
            if (!picture || !model.overview || !model.found) return;
            this.picture = picture;
            this.showPicture(picture);
            const textual = this.textual;
            this.written.hidden = !textual;
            this.chips.element.hidden = textual;
            const forced = model.overview.form === "sentences" || picture.prose;
            this.mode.hidden = forced;
            write(this.mode, this.asText ? text("As tags") : text("As text"));
            if (textual) {
                this.chips.clear();
                this.showText(picture);
            } else {
                this.chips.show(picture);
            }
            this.tokens.show(picture, model.overview.tokens, textual);
        }

        /** Says that here one caption is changed, however many are chosen. */
        showSeveral({edit}) {
            const {size} = this.model.selected;
            this.several.hidden = size < 2;
            if (size < 2) return;
            this.several.replaceChildren(
                text("{count} pictures are chosen; here you change only this one.", {count: number(size)}), " ",
                make("button", {type: "button", class: "lora_train_link", "data-action": "edit-together",
                    on: {click: () => attempt(edit)}}, text("Edit them together")));
        }

        showPicture(picture) {
            const {model} = this;
            const {pictures} = model.found;
            const place = pictures.indexOf(picture.id);
            setImage(this.image, this.address(picture));
            this.image.alt = picture.name;
            write(this.name, picture.name);
            const size = picture.width ? `${number(picture.width)} × ${number(picture.height)} · ` : "";
            write(this.place, `${size}${number(place + 1)} / ${number(pictures.length)}`);
            this.previous.setAttribute("aria-disabled", place <= 0);
            this.next.setAttribute("aria-disabled", place >= pictures.length - 1);
            this.problem.hidden = picture.problem === null;
            if (picture.problem) write(this.problem, `${picture.problem.sentence} ${picture.problem.remedy || ""}`);
            for (const id of [pictures[place + 1], pictures[place - 1]]) { // so that they are there at once
                const beside = id && model.picture(id);
                if (beside) new Image().src = this.address(beside);
            }
        }

        address({id, stamp}) {
            return url(["projects", this.model.project, "pictures", id, "view"], {v: stamp});
        }

        showText(picture) {
            if (this.saving === null && this.was !== picture.text) {
                if (this.caption.value === this.was) this.caption.value = picture.text;
                this.was = picture.text;
            }
            const cut = picture.cut_at >= 0 ? picture.text.slice(picture.cut_at).trim() : "";
            this.cutWords.hidden = cut === "" || this.typed;
            if (this.cutShown === cut) return;
            this.cutShown = cut;
            this.cutWords.replaceChildren(text("Not trained on:"), " ", make("s", {translate: "no"}, cut));
        }

        /** Both captions; the person says which one stays. */
        askWhich(conflict) {
            if (conflict && conflict.picture.id !== this.model.current) {
                this.model.show(conflict.picture.id); // which draws it, too
                return;
            }
            this.showConflict(conflict);
        }

        showConflict(conflict) {
            this.conflict.hidden = !conflict || conflict.picture.id !== this.model.current;
            if (this.conflict.hidden) return;
            const settle = (mine) => async () => {
                await this.model.pictures.settle(mine);
                this.was = this.caption.value = this.model.picture(this.model.current).text;
                this.show();
            };
            const row = (words, name, caption) => [make("p", {class: "lora_train_label"}, words),
                make("pre", {data: {text: name}, dir: "auto", translate: "no"}, caption || text("no caption"))];
            this.conflict.replaceChildren(
                make("strong", {}, text("This caption was changed elsewhere meanwhile.")),
                ...row(text("Yours"), "mine", conflict.mine), ...row(text("The other"), "theirs", conflict.theirs.text),
                make("div", {class: "lora_train_row"},
                    button(text("Keep mine"), {name: "keep-mine", run: settle(true)}),
                    button(text("Take the other"), {name: "take-theirs", run: settle(false)})));
        }
    }

    /** How many tokens a caption takes, of those that are trained on. */
    class TokenLine {
        constructor() {
            this.words = make("span", {role: "status", "data-note": "tokens"});
            this.fill = make("div", {class: "lora_train_token_fill"});
            this.mark = make("div", {class: "lora_train_token_limit"});
            this.meter = make("div", {class: "lora_train_token_meter", "aria-hidden": "true"}, this.fill, this.mark);
            this.element = make("div", {class: "lora_train_tokens"}, this.meter, this.words);
        }

        show({tokens, tags, cut, problem}, {available, limit, trouble}, textual) {
            this.element.hidden = problem !== null && tokens < 0 || !available && !trouble;
            const known = available && tokens >= 0;
            this.meter.hidden = !known;
            if (!known) {
                write(this.words, available ? text("Tokens are being counted") : trouble);
                return;
            }
            const over = tokens > limit;
            this.element.classList.toggle("lora_train_over_limit", over);
            const most = Math.max(tokens, limit);
            this.fill.style.width = `${100 * tokens / most}%`;
            this.mark.style.left = `${100 * limit / most}%`;
            this.mark.hidden = !over;
            const said = text("{count} of {limit} tokens", {count: number(tokens), limit: number(limit)});
            const left = !textual && cut >= 0 ? tags.length - cut : 0;
            const lost = left > 0
                ? plural(left, "the last tag is not trained on", "the last {count} tags are not trained on")
                : text("the end is not trained on");
            write(this.words, over ? `${said} · ${lost}` : said);
        }
    }

    Object.assign(loraTrain, {TagView, TokenLine});
})();
