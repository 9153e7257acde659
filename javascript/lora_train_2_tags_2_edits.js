/**
 * One edit for many captions: what to do, to which pictures, and what would come of it, shown while it is being set.
 * Nothing changes before it is applied; then it is one step that can be undone.
 */
(() => {
    "use strict";

    const {
        api, on, attempt, later, memory, text, word, plural, number, make, write, button, enable, choice, say,
        ChangePreview, EditForm, literalTag, joined,
    } = loraTrain;
    const WAIT = 180; // ms after the last key
    const EMPTY = "edits.nothing"; // the form is not filled in yet
    const CHANGED = "editor.changed"; // the captions are not as they were when it was shown
    const ALL = {filter: ""};

    function impliedBy({because, count}) {
        return make("span", {class: "lora_train_hint lora_train_asked_by"}, plural(count,
            "said by “{tag}” in {count} caption", "said by “{tag}” in {count} captions", {tag: because}));
    }

    class TagEdits {
        /** @param {TagModel} model */
        constructor(model) {
            this.model = model;
            this.complete = new loraTrain.TagComplete(model);
            /** @type {EditKind[]} */
            this.kinds = [];
            /** @type {Object<string, EditForm>} by kind; what was typed into one stays while another is looked at */
            this.forms = {};
            /** @type {Set<EditForm>} */
            this.untouched = new Set();
            this.kind = memory.read("edit_kind");
            this.scope = "";
            /** @type {?{changes: number, digest: string}} what is shown */
            this.shown = null;
            /** @type {{drop: string, because: string, count: number}[]} implied tags, asked about */
            this.asked = [];
            /** @type {Set<string>} of them those that stay */
            this.spared = new Set();
            this.kindPlace = make("div", {class: "lora_train_chips", role: "group", "aria-label": text("What to do")});
            this.scopePlace = make("div", {});
            this.formPlace = make("div", {});
            this.askedPlace = make("fieldset", {class: "lora_train_asked", hidden: true});
            this.problem = make("p", {class: "lora_train_message lora_train_error", role: "alert", hidden: true});
            this.preview = new ChangePreview((offset, limit) => this.ask(offset, limit),
                (answer, error) => this.told(answer, error));
            this.press = button(text("Apply"), {kind: "primary", name: "edit-apply", run: () => this.apply()});
            this.element = make("div", {class: "lora_train_edits"}, this.kindPlace,
                make("div", {class: "lora_train_edits_side"}, this.scopePlace, this.formPlace, this.askedPlace,
                    make("div", {class: "lora_train_row lora_train_edits_apply"}, this.press)),
                make("div", {class: "lora_train_edits_preview"}, this.problem, this.preview.element));
            this.generation = 0; // of what the form says
            this.sentGeneration = 0;
            this.previewSoon = later(WAIT, () => { if (this.element.isConnected) attempt(() => this.read()); });
            this.element.addEventListener("keydown", (event) => this.key(event));
            on("tags-found", () => this.lookAgain());
            on("tags-selection", () => this.lookAgain());
            on("tags", () => this.lookAgain());
        }

        get form() {
            return this.forms[this.kind] || null;
        }

        /** @param {?Object} given values of an edit with its `kind`, to begin with */
        async opened(given = null) {
            if (this.kinds.length === 0) this.kinds = (await api.get([...this.model.path, "schema"])).edits;
            this.scope = this.model.selected.size > 0 ? "selected" : "found";
            this.signature = "";
            this.drawKinds();
            const known = this.kinds.some(({kind}) => kind === this.kind);
            this.choose(given && given.kind || (known ? this.kind : this.kinds[0].kind), given);
        }

        closed() {
            this.preview.clear();
        }

        drawKinds() {
            this.kindPlace.replaceChildren(...this.kinds.map(({kind, label, help}) => make("button", {
                type: "button", class: "lora_train_chip", title: word(help), data: {kind},
                on: {click: () => this.choose(kind)},
            }, word(label))));
        }

        /** Another kind of edit. */
        choose(kind, given = null) {
            this.kind = kind;
            memory.write("edit_kind", kind);
            const described = this.kinds.find((one) => one.kind === kind);
            this.forms[kind] = this.forms[kind] || this.makeForm(described);
            this.presetTruncate();
            if (given) this.form.values = given;
            for (const chip of this.kindPlace.children) chip.setAttribute("aria-pressed", chip.dataset.kind === kind);
            this.formPlace.replaceChildren(this.form.element);
            this.forgetAsked();
            this.drawScope();
            this.form.focus();
            this.changed();
        }

        makeForm(described) {
            const form = new EditForm(described, this.complete, () => {
                this.untouched.delete(form);
                this.changed();
            });
            this.untouched.add(form);
            return form;
        }

        /** Tokens are counted where that is possible, which may take a moment to be known. */
        presetTruncate() {
            const {truncate} = this.forms;
            if (!truncate || !this.untouched.has(truncate)) return;
            truncate.values = {by: this.model.overview.tokens.available ? "tokens" : "tags"};
        }

        forgetAsked() {
            this.asked = [];
            this.spared.clear();
            this.drawAsked();
        }

        changed() {
            this.generation += 1;
            this.shown = null;
            this.drawApply();
            this.previewSoon();
        }

        /** The pictures, or which of them are meant, may have changed; also by what was just applied. */
        lookAgain() {
            if (!this.element.isConnected || !this.form || !this.model.found || !this.model.overview) return;
            const {selected, found, overview} = this.model;
            const signature = JSON.stringify([selected.size, found.filter, found.total, overview.revision,
                overview.tokens.available]);
            if (this.signature === signature) return;
            this.signature = signature;
            this.presetTruncate();
            if (this.scope === "selected" && selected.size === 0) this.scope = "found";
            this.drawScope();
            this.changed();
        }

        /** The choice of pictures: those selected, those of the filter, all. */
        drawScope() {
            const {selected, found, overview} = this.model;
            const narrowed = found.filter.trim() !== "";
            const options = [
                selected.size ? ["selected", text("Selected ({count})", {count: number(selected.size)})] : null,
                ["found", narrowed ? text("In the filter ({count})", {count: number(found.total)})
                    : text("All ({count})", {count: number(found.total)})],
                narrowed ? ["all", text("All ({count})", {count: number(overview.total)})] : null,
            ].filter(Boolean);
            const chosen = options.some(([name]) => name === this.scope) ? this.scope : "found";
            this.scope = chosen;
            this.scopePlace.replaceChildren(options.length > 1 ? choice(text("Pictures"), options, chosen, (scope) => {
                this.scope = scope;
                this.changed();
            }) : make("p", {class: "lora_train_label"}, text("Pictures: {which}", {which: options[0][1]})));
        }

        get target() {
            const {selected, found} = this.model;
            if (this.scope === "selected") return {pictures: this.model.selectedInOrder || [...selected]};
            return this.scope === "all" ? ALL : {filter: found.filter};
        }

        get edit() {
            const {values} = this.form;
            const asks = this.form.kind.settings.some(({name}) => name === "keep");
            return asks ? {...values, keep: [...this.spared].map(literalTag)} : values;
        }

        /** Shows what would come of it; saved captions go ahead, so that it is of what is seen. */
        async read() {
            if (!this.form.filled) {
                this.blank();
                return;
            }
            await this.model.queue;
            await this.preview.read();
        }

        ask(offset, limit) {
            this.sent = {edit: this.edit, ...this.target};
            this.sentGeneration = this.generation;
            return api.post([...this.model.path, "preview"], {...this.sent, offset, limit});
        }

        told(answer, error) {
            if (this.sentGeneration !== this.generation) return; // of what the form said before; it is asked again soon
            const empty = error !== null && error.code === EMPTY;
            if (empty) {
                this.blank();
                return;
            }
            const named = this.form.blame(error);
            this.shown = answer ? {...this.sent, changes: answer.changes, digest: answer.digest} : null;
            this.problem.hidden = !error || named;
            if (error) write(this.problem, joined(error.sentence || error.message, error.remedy));
            if (answer) this.asked = answer.asked;
            this.drawAsked();
            this.drawApply();
        }

        /** The form is not filled in yet. */
        blank() {
            this.form.blame(null);
            this.shown = null;
            this.asked = [];
            this.problem.hidden = true;
            this.preview.clear(text("Say what to do; what would change is shown here."));
            this.drawAsked();
            this.drawApply();
        }

        /** Tags that others imply: each goes, or stays when its tick is taken away. */
        drawAsked() {
            const held = this.askedPlace.contains(document.activeElement) ? document.activeElement.value : "";
            /** @type {Map<string, {drop: string, because: string, count: number}[]>} */
            const byTag = new Map();
            for (const one of this.asked) byTag.set(one.drop, [...(byTag.get(one.drop) || []), one]);
            this.askedPlace.hidden = byTag.size === 0;
            this.askedPlace.replaceChildren(
                make("legend", {class: "lora_train_label"}, text("Implied by another tag; take out")),
                ...[...byTag].map(([drop, pairs]) => make("label", {class: "lora_train_check"},
                    make("input", {type: "checkbox", value: drop, checked: !this.spared.has(drop),
                        on: {change: (event) => this.spare(drop, !event.target.checked)}}),
                    make("span", {}, make("span", {translate: "no"}, drop), ...pairs.map((pair) => impliedBy(pair))))));
            const again = held && [...this.askedPlace.querySelectorAll("input")].find((one) => one.value === held);
            if (again) again.focus();
        }

        spare(tag, stays) {
            if (stays) this.spared.add(tag);
            else this.spared.delete(tag);
            this.changed();
        }

        drawApply() {
            const changes = this.shown ? this.shown.changes : 0;
            write(this.press, changes ? plural(changes, "Apply to {count} picture", "Apply to {count} pictures")
                : text("Apply"));
            enable(this.press, changes > 0, text("No caption would change."));
        }

        key(event) {
            if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || this.press.disabled) return;
            event.preventDefault();
            this.press.click();
        }

        /** Does what is shown, and nothing else. */
        async apply() {
            const {model} = this;
            const {changes, edit, digest, ...target} = this.shown;
            try {
                await model.act("apply", {edit, digest, ...target});
            } catch (error) {
                if (error.code === CHANGED) this.previewSoon();
                throw error;
            }
            const {undo} = model.overview;
            say({sentence: plural(changes, "{count} caption was changed.", "{count} captions were changed."),
                key: undo ? `tags-${undo.number}` : "", action: undo ? {label: text("Undo"),
                    run: () => loraTrain.undoTagStep(model, undo.number)} : null});
            this.changed();
        }
    }

    Object.assign(loraTrain, {TagEdits});
})();
