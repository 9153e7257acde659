/**
 * Captions in and out, and their form: kohya's metadata, one tag per line or a folder of caption files; tags or
 * sentences, of which the project keeps both.
 */
(() => {
    "use strict";

    const {
        api, url, on, attempt, text, plural, make, write, button, field, select, choice, download, say, folded,
        ChangePreview, joined,
    } = loraTrain;
    const LARGEST = 64e6; // bytes of a file to import; the server has its own limit
    const NAMED = 20; // names that found no picture
    const FORMATS = ["kohya", "folder", "lines"];

    function formatWords(format) {
        return {
            kohya: text("kohya’s metadata (JSON)"), folder: text("Caption files (ZIP)"),
            lines: text("All tags, one per line (TXT)"),
        }[format];
    }

    class TagExchange {
        /** @param {TagModel} model */
        constructor(model) {
            this.model = model;
            /** @type {?{token: string, digest: string}} what was read of a file and is not applied yet */
            this.read = null;
            this.element = make("div", {class: "lora_train_exchange"}, this.makeForm(), this.makeExport(),
                this.makeImport());
            on("tags", () => { if (this.element.isConnected) this.show(); });
            on("tags-found", () => { if (this.element.isConnected) this.show(); });
        }

        opened() {
            this.forget();
            this.show();
        }

        closed() {
            this.forget();
        }

        show() {
            const {overview, found} = this.model;
            if (!overview) return;
            for (const radio of this.forms.querySelectorAll("input")) radio.checked = radio.value === overview.form;
            const narrowed = Boolean(found && found.filter.trim());
            this.onlyLine.hidden = !narrowed;
            if (narrowed) {
                write(this.onlyWords, plural(found.total, "Only the {count} picture of the filter",
                    "Only the {count} pictures of the filter"));
            }
        }

        makeForm() {
            const options = [["tags", text("Tags")], ["sentences", text("Sentences")]];
            this.forms = choice(text("Form of the captions"), options, "tags",
                (form) => attempt(() => this.switch(form)));
            return make("section", {class: "lora_train_exchange_part", data: {part: "form"}}, this.forms,
                make("p", {class: "lora_train_hint"},
                    joined(text("Each form keeps its own captions: when you switch back, they are as they were."),
                        text("A picture without a caption of the other form keeps the one it has."),
                        text("What is trained on is the form that is shown."))));
        }

        async switch(form) {
            const {model} = this;
            if (form === model.overview.form) return;
            this.forms.querySelectorAll("input").forEach((one) => { one.disabled = true; });
            try {
                await model.act("form", {form});
                say({sentence: form === "tags" ? text("The captions are tags now.")
                    : text("The captions are sentences now.")});
            } finally {
                this.forms.querySelectorAll("input").forEach((one) => { one.disabled = false; });
                this.show();
            }
        }

        makeExport() {
            this.format = select(FORMATS.map((one) => [one, formatWords(one)]), FORMATS[0], {name: "format"});
            this.only = make("input", {type: "checkbox", name: "only", checked: true});
            this.onlyWords = make("span", {});
            this.onlyLine = make("label", {class: "lora_train_check", hidden: true}, this.only, this.onlyWords);
            return make("section", {class: "lora_train_exchange_part", data: {part: "export"}},
                make("h4", {}, text("Export")),
                make("div", {class: "lora_train_form"}, field(text("As"), this.format),
                    button(text("Download"), {name: "export-tags", run: () => this.export()})),
                this.onlyLine);
        }

        async export() {
            await this.model.queue; // what was just typed is in it
            const {path, found} = this.model;
            const filter = !this.onlyLine.hidden && this.only.checked ? found.filter : "";
            download(url([...path, "export"], {as: this.format.value, filter}));
        }

        makeImport() {
            this.file = make("input", {type: "file", name: "import", accept: ".json,.zip,.txt", hidden: true,
                on: {change: () => this.chosen(this.file.files[0])}});
            this.name = make("span", {class: "lora_train_hint", translate: "no"});
            this.problem = make("p", {class: "lora_train_message lora_train_error", role: "alert", hidden: true});
            this.unmatched = make("div", {});
            this.preview = new ChangePreview((offset, limit) => this.page(offset, limit),
                (answer, error) => this.told(answer, error));
            this.press = button("", {kind: "primary", name: "import-apply", run: () => this.apply()});
            this.putAway = button(text("Cancel"), {name: "import-cancel", run: () => this.forget()});
            this.outcome = make("div", {class: "lora_train_exchange_outcome", hidden: true},
                make("div", {class: "lora_train_row"}, this.press, this.putAway), this.unmatched, this.preview.element);
            const drop = make("div", {class: "lora_train_card lora_train_drop"},
                make("div", {class: "lora_train_row"},
                    button(text("Choose a file"), {name: "import-tags", run: () => this.file.click()}), this.name),
                make("p", {class: "lora_train_hint"},
                    joined(text("kohya’s metadata with “caption” or “tags”, or a ZIP of caption files."),
                        text("Its names are those of the pictures."),
                        text("You see what changes before it is applied."))), this.file);
            this.listenForDrops(drop);
            return make("section", {class: "lora_train_exchange_part", data: {part: "import"}},
                make("h4", {}, text("Import")), drop, this.problem, this.outcome);
        }

        listenForDrops(drop) {
            const over = (on_) => drop.classList.toggle("lora_train_over", on_);
            drop.addEventListener("dragover", (event) => {
                event.preventDefault();
                event.stopPropagation();
                over(true);
            });
            drop.addEventListener("dragleave", () => over(false));
            drop.addEventListener("drop", (event) => {
                event.preventDefault();
                event.stopPropagation(); // the WebUI takes dropped files for prompts
                over(false);
                attempt(() => this.chosen(event.dataTransfer.files[0]));
            });
        }

        forget() {
            this.read = null;
            this.file.value = "";
            write(this.name, "");
            this.problem.hidden = this.outcome.hidden = true;
            this.preview.clear();
            this.unmatched.replaceChildren();
        }

        /** Sends a file to be read; nothing changes yet. */
        async chosen(file) {
            this.forget();
            if (!file) return;
            write(this.name, file.name);
            if (file.size > LARGEST) {
                this.refuse(text("The file is too large."));
                return;
            }
            await this.model.queue; // what is compared is what was typed last
            this.sent = file;
            this.press.hidden = true; // until it is known what it would do
            this.outcome.hidden = false;
            await this.preview.read();
        }

        async page(offset, limit) {
            const {path} = this.model;
            const query = {name: this.sent.name, offset, limit};
            return api.upload([...path, "import"], query, this.sent, () => {}).done;
        }

        /** What the file would change was shown, or it could not be read. */
        told(answer, error) {
            this.outcome.hidden = answer === null;
            this.read = answer;
            if (error) {
                this.refuse(error.sentence || error.message, error.remedy);
                return;
            }
            const {changes, unmatched = []} = answer;
            write(this.press, plural(changes, "Apply to {count} picture", "Apply to {count} pictures"));
            this.press.hidden = changes === 0;
            const names = unmatched.slice(0, NAMED).map((one) => make("li", {translate: "no"}, one));
            this.unmatched.replaceChildren(...(unmatched.length ? [folded(
                plural(unmatched.length, "{count} name fits no picture", "{count} names fit no picture"),
                make("ul", {class: "lora_train_problems"}, ...names,
                    unmatched.length > NAMED ? make("li", {}, "…") : null),
            )] : []));
        }

        refuse(sentence, remedy = "") {
            write(this.problem, joined(sentence, remedy));
            this.problem.hidden = false;
            this.outcome.hidden = true;
        }

        async apply() {
            const {model} = this;
            const {token, digest, changes} = this.read;
            await model.act("import/apply", {token, digest});
            this.forget();
            const {undo} = model.overview;
            say({sentence: plural(changes, "{count} caption was imported.", "{count} captions were imported."),
                key: undo ? `tags-${undo.number}` : "", action: undo ? {label: text("Undo"),
                    run: () => loraTrain.undoTagStep(model, undo.number)} : null});
        }
    }

    Object.assign(loraTrain, {TagExchange});
})();
