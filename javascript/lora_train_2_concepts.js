/**
 * The concepts of a project: folders of pictures with their repeats, as chips that filter the grid, and the form in
 * which one is added, renamed, repeated more often or deleted.
 */
(() => {
    "use strict";

    const {state, api, attempt, text, number, make, button, field, sayUndo} = loraTrain;
    const MOST_REPEATS = 1000;
    const USUAL_REPEATS = 10;
    const MAX_NAME = 100;
    const ALL = "";

    class ConceptBar {
        /**
         * @param {{chosen: function(string): Promise, changed: function(): Promise,
         *   restore: function(string): Promise}} calls
         */
        constructor(calls) {
            this.calls = calls;
            /** @type {Concept[]} */
            this.concepts = [];
            /** @type {string} id of the one whose pictures are shown, "" for all */
            this.chosen = ALL;
            this.chips = make("div", {class: "lora_train_chips", role: "group", "aria-label": text("Concepts")});
            this.formPlace = make("div", {class: "lora_train_form_place", hidden: true});
            this.element = make("div", {class: "lora_train_concepts"}, this.chips, this.formPlace);
        }

        get path() {
            return ["projects", state.project.id, "concepts"];
        }

        /** Pictures that are trained on; those of regularization are not. */
        get trainingPictures() {
            return this.concepts.reduce((sum, one) => sum + (one.regularization ? 0 : one.pictures), 0);
        }

        get current() {
            return this.concepts.find((one) => one.id === this.chosen) || null;
        }

        /** @param {Concept[]} concepts as they are now */
        show(concepts) {
            this.concepts = concepts;
            if (!this.current) this.chosen = ALL;
            const all = concepts.reduce((sum, one) => sum + one.pictures, 0);
            const edit = button(text("Edit concept"), {
                kind: "quiet", name: "edit-concept", run: () => this.openForm(this.current),
            });
            edit.hidden = !this.current;
            this.chips.replaceChildren(this.chip(ALL, text("All pictures"), number(all)),
                ...concepts.map((one) => this.conceptChip(one)),
                button(text("Add concept"), {kind: "quiet", name: "add-concept", run: () => this.openForm(null)}),
                edit);
        }

        conceptChip(concept) {
            const [count, repeats] = [number(concept.pictures), number(concept.repeats)];
            const note = concept.regularization ? ` · ${text("regularization")}` : "";
            const title = text("{count} pictures, each shown {repeats} times in an epoch", {count, repeats});
            return this.chip(concept.id, concept.name, `${count} × ${repeats}${note}`, title);
        }

        chip(id, name, note, title = null) {
            return make("button", {
                type: "button", class: "lora_train_chip", title, "aria-pressed": id === this.chosen,
                data: {concept: id}, on: {click: () => attempt(() => this.choose(id))},
            }, make("span", {}, name), make("span", {class: "lora_train_hint"}, note));
        }

        async choose(id) {
            this.chosen = id;
            this.closeForm();
            this.show(this.concepts);
            await this.calls.chosen(id);
        }

        /** The concept of that name, made when there is none. @returns {Promise<string>} its id */
        async named(name, repeats) {
            const known = this.concepts.find((one) => one.name === name && !one.regularization);
            if (known) return known.id;
            const made = await api.post(this.path, {name, repeats, regularization: false});
            this.concepts.push(made);
            return made.id;
        }

        /** Name and repeats of a concept; of a new one also whether it is for regularization. */
        openForm(concept) {
            const name = make("input", {
                class: "lora_train_input", type: "text", required: "", maxlength: MAX_NAME, name: "name",
                value: concept ? concept.name : "",
            });
            const repeats = make("input", {
                class: "lora_train_input", type: "number", min: 1, max: MOST_REPEATS, required: "", name: "repeats",
                value: String(concept ? concept.repeats : USUAL_REPEATS),
            });
            const regularization = make("input", {type: "checkbox", name: "regularization"});
            const form = make("form", {class: "lora_train_form", data: {form: "concept"}},
                field(text("Concept"), name), field(text("Repeats"), repeats),
                concept ? null : make("label", {class: "lora_train_check"}, regularization,
                    make("span", {}, text("For regularization"))),
                make("div", {class: "lora_train_form_buttons"},
                    make("button", {type: "submit", class: "lora_train_button lora_train_primary"},
                        concept ? text("Save") : text("Add concept")),
                    button(text("Cancel"), {name: "cancel", run: () => this.closeForm()}),
                    concept ? button(text("Delete concept"), {
                        name: "delete-concept", run: () => this.remove(concept),
                    }) : null));
            form.addEventListener("submit", (event) => {
                event.preventDefault();
                attempt(() => this.save(concept, name.value, Number(repeats.value), regularization.checked));
            });
            form.addEventListener("keydown", (event) => { if (event.key === "Escape") this.closeForm(); });
            this.formPlace.replaceChildren(form);
            this.formPlace.hidden = false;
            name.focus();
        }

        closeForm() {
            this.formPlace.hidden = true;
            this.formPlace.replaceChildren();
        }

        async save(concept, name, repeats, regularization) {
            const saved = concept ? await api.patch([...this.path, concept.id], {name, repeats})
                : await api.post(this.path, {name, repeats, regularization});
            this.closeForm();
            this.chosen = saved.id; // a concept's id goes with its name
            await this.calls.changed();
            await this.calls.chosen(saved.id);
        }

        async remove(concept) {
            const {trash_id: trashId} = await api.remove([...this.path, concept.id]);
            this.closeForm();
            const sentence = text("The concept “{name}” was deleted.", {name: concept.name});
            sayUndo(sentence, trashId, this.calls.restore);
            this.chosen = ALL;
            await this.calls.changed();
            await this.calls.chosen(ALL);
        }
    }

    Object.assign(loraTrain, {ConceptBar});
})();
