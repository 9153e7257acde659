/**
 * The Dataset sub-tab: the pictures of a project in their concepts, from the first drop to Train now.
 */
(() => {
    "use strict";

    const {
        state, api, url, on, onStart, attempt, text, plural, number, moment,
        make, write, button, field, fill, download, openDialog, say, sayUndo, problemLine,
    } = loraTrain;
    const MOST_REPEATS = 1000;
    const ALL = "";

    class Dataset {
        constructor(panel) {
            /** @type {Concept[]} */
            this.concepts = [];
            this.concept = ALL;
            this.trash = [];
            this.queue = new loraTrain.UploadQueue(() => attempt(() => this.refresh()),
                (name, repeats) => this.conceptNamed(name, repeats));
            this.grid = new loraTrain.PictureGrid({
                open: (place) => attempt(() => this.viewer.open(place)),
                changed: () => this.showCounts(),
                remove: () => attempt(() => this.deletePictures(this.chosen)),
            });
            this.viewer = new loraTrain.PictureViewer(this.grid, (pictures) => this.deletePictures(pictures));
            this.trainNow = new loraTrain.TrainNow(() => this.trainingPictures);
            this.chips = make("div", {class: "lora_train_chips", role: "group", "aria-label": text("Concepts")});
            this.conceptPlace = make("div", {class: "lora_train_form_place", hidden: true});
            this.counts = make("span", {class: "lora_train_counts", role: "status"});
            this.work = make("div", {class: "lora_train_dataset", hidden: true},
                make("div", {class: "lora_train_dataset_top"}, this.makeDrop(), this.trainNow.element),
                this.queue.element, this.chips, this.conceptPlace, this.makeToolbar(), this.makeNewcomer(), this.grid.element);
            this.welcome = make("div", {class: "lora_train_welcome", hidden: true});
            panel.replaceChildren(this.welcome, this.work);
            this.catchDrops(panel);
            on("project", () => this.open());
        }

        /** Pictures that are trained on; those of regularization are not. */
        get trainingPictures() {
            return this.concepts.reduce((sum, one) => sum + (one.regularization ? 0 : one.pictures), 0);
        }

        get path() {
            return ["projects", state.project.id];
        }

        get chosen() {
            return this.grid.pictures.filter((picture) => picture && this.grid.chosen.has(picture.id));
        }

        makeDrop() {
            const chooser = (folder) => {
                const input = make("input", {type: "file", multiple: true, hidden: true, "data-input": folder ? "folder" : "files"});
                if (folder) input.webkitdirectory = true;
                input.addEventListener("change", () => {
                    attempt(() => this.add(loraTrain.collectChosen(input.files))).then(() => { input.value = ""; });
                });
                return input;
            };
            const [files, folder] = [chooser(false), chooser(true)];
            this.drop = make("section", {class: "lora_train_card lora_train_drop", "aria-label": text("Add pictures")},
                make("p", {class: "lora_train_drop_words"}, text("Drop pictures, folders or a zip here")),
                make("p", {class: "lora_train_hint"}, text("Captions (.txt of the same name) come along.")),
                make("div", {class: "lora_train_row"},
                    button(text("Choose files"), {name: "choose-files", run: () => files.click()}),
                    button(text("Choose a folder"), {name: "choose-folder", run: () => folder.click()}), files, folder),
                state.session.may_use_paths ? this.makeImport() : null);
            return this.drop;
        }

        /** A folder that is on the server already; only where visitors may name one. */
        makeImport() {
            const path = make("input", {
                class: "lora_train_input", type: "text", name: "path", placeholder: text("Folder or TOML on this computer"),
                "aria-label": text("Folder or TOML on this computer"), autocomplete: "off",
            });
            const form = make("form", {class: "lora_train_row lora_train_import", data: {form: "import"}}, path,
                make("button", {type: "submit", class: "lora_train_button lora_train_secondary"}, text("Import")));
            form.addEventListener("submit", async (event) => {
                event.preventDefault();
                form.classList.add("lora_train_busy");
                await attempt(async () => this.sayAdded(await api.post([...this.path, "import"],
                    {path: path.value, concept: this.concept})));
                form.classList.remove("lora_train_busy");
                await attempt(() => this.refresh());
            });
            return form;
        }

        sayAdded(added) {
            const pictures = plural(added.pictures.length, "{count} picture added", "{count} pictures added");
            say({sentence: `${pictures} · ${plural(added.captions, "{count} caption", "{count} captions")}`});
            if (added.skipped.length === 0) return;
            openDialog(text("Left out"), {}, make("ul", {class: "lora_train_problems"}, ...added.skipped.map(problemLine)));
        }

        makeToolbar() {
            this.target = make("select", {class: "lora_train_input", "aria-label": text("Move to concept"), "data-action": "move"});
            this.target.addEventListener("change", () => attempt(() => this.movePictures(this.target.value)));
            this.selection = make("div", {class: "lora_train_row", hidden: true, data: {bar: "selection"}}, this.target,
                button(text("Delete"), {name: "delete-pictures", run: () => this.deletePictures(this.chosen)}),
                button(text("Choose none"), {kind: "quiet", name: "choose-none", run: () => this.grid.chooseNone()}));
            this.trashButton = button(text("Deleted pictures"), {kind: "quiet", name: "trash", run: () => this.openTrash()});
            this.zipButton = button(text("Download dataset"), {
                kind: "quiet", name: "download-dataset", run: () => download(url([...this.path, "dataset.zip"])),
            });
            this.toolbar = make("div", {class: "lora_train_toolbar"}, this.counts, this.selection,
                make("div", {class: "lora_train_row lora_train_end"}, this.trashButton, this.zipButton));
            return this.toolbar;
        }

        makeNewcomer() {
            this.newcomer = make("div", {class: "lora_train_empty", hidden: true},
                make("strong", {}, text("No pictures yet")),
                make("ol", {},
                    make("li", {}, text("Drop 10 to 30 pictures above: one subject, in different poses, light and backgrounds.")),
                    make("li", {}, text("Look at the captions: press a picture to read and change its words.")),
                    make("li", {}, text("Press Train now. The settings are planned from your pictures and your memory."))));
            return this.newcomer;
        }

        /** No project at all: the first step is its name. */
        showWelcome() {
            this.welcome.replaceChildren(
                make("h3", {}, text("Your first LoRA in three steps")),
                make("ol", {},
                    make("li", {}, text("Name what you want to teach.")),
                    make("li", {}, text("Drop your pictures.")),
                    make("li", {}, text("Press Train now, and watch it learn."))),
                loraTrain.projectForm(null, text("Create project"), loraTrain.createProject, null));
        }

        catchDrops(panel) {
            const over = (on) => this.drop.classList.toggle("lora_train_over", on);
            panel.addEventListener("dragover", (event) => {
                if (!event.dataTransfer.types.includes("Files")) return;
                event.preventDefault();
                event.stopPropagation(); // the WebUI takes dropped pictures for its own
                over(true);
            });
            panel.addEventListener("dragleave", (event) => {
                if (!panel.contains(event.relatedTarget)) over(false);
            });
            panel.addEventListener("drop", (event) => {
                over(false);
                if (!event.dataTransfer.types.includes("Files")) return;
                event.preventDefault();
                event.stopPropagation();
                const collected = loraTrain.collectDropped(event.dataTransfer);
                attempt(async () => this.add(await collected));
            });
        }

        async add(found) {
            if (found.length === 0) return;
            if (state.project) await this.queue.add(found, this.concept);
            else say({sentence: text("Name your project first."), kind: "error"});
        }

        /** The concept of that name, made when there is none. @returns {Promise<string>} its id */
        async conceptNamed(name, repeats) {
            const known = this.concepts.find((one) => one.name === name && !one.regularization);
            if (known) return known.id;
            const made = await api.post([...this.path, "concepts"], {name, repeats, regularization: false});
            this.concepts.push(made);
            return made.id;
        }

        /** Another project was opened. */
        async open() {
            this.concept = ALL;
            this.work.hidden = !state.project;
            this.welcome.hidden = state.project !== null;
            this.closeConceptForm();
            if (!state.project) this.showWelcome();
            else await this.refresh(() => this.grid.show(ALL));
        }

        /** Reads concepts, trash and pictures again. */
        async refresh(showPictures = () => this.grid.reload()) {
            const project = state.project;
            if (!project) return;
            const [details, trash] = await Promise.all([api.get(this.path), api.get([...this.path, "trash"])]);
            if (project !== state.project) return;
            this.concepts = details.concepts;
            this.trash = trash.trash;
            if (!this.concepts.some((one) => one.id === this.concept)) this.concept = this.grid.concept = ALL;
            this.showConcepts();
            this.trainNow.refresh();
            await showPictures();
            this.showCounts();
        }

        showConcepts() {
            const all = this.concepts.reduce((sum, one) => sum + one.pictures, 0);
            const chip = (id, name, note, given = {}) => make("button", {
                type: "button", class: "lora_train_chip", "aria-pressed": id === this.concept, data: {concept: id},
                on: {click: () => attempt(() => this.chooseConcept(id))}, ...given,
            }, make("span", {}, name), make("span", {class: "lora_train_hint"}, note));
            const chips = this.concepts.map((one) => chip(one.id, one.name,
                `${number(one.pictures)} × ${number(one.repeats)}${one.regularization ? ` · ${text("regularization")}` : ""}`,
                {title: text("{count} pictures, each shown {repeats} times in an epoch",
                    {count: number(one.pictures), repeats: number(one.repeats)})}));
            const edit = button(text("Edit concept"), {kind: "quiet", name: "edit-concept", run: () => this.openConceptForm(this.current)});
            edit.hidden = !this.current;
            this.chips.replaceChildren(chip(ALL, text("All pictures"), number(all)), ...chips,
                button(text("Add concept"), {kind: "quiet", name: "add-concept", run: () => this.openConceptForm(null)}), edit);
            fill(this.target, [["", text("Move to…")], ...this.concepts.map((one) => [one.id, one.name])], "");
        }

        get current() {
            return this.concepts.find((one) => one.id === this.concept) || null;
        }

        async chooseConcept(id) {
            this.concept = id;
            this.closeConceptForm();
            this.showConcepts();
            await this.grid.show(id);
            this.showCounts();
        }

        /** Name and repeats of a concept; of a new one also whether it is for regularization. */
        openConceptForm(concept) {
            const name = make("input", {class: "lora_train_input", type: "text", required: "", maxlength: 100, name: "name", value: concept ? concept.name : ""});
            const repeats = make("input", {class: "lora_train_input", type: "number", min: 1, max: MOST_REPEATS, required: "", name: "repeats", value: String(concept ? concept.repeats : 10)});
            const regularization = make("input", {type: "checkbox", name: "regularization"});
            const form = make("form", {class: "lora_train_form", data: {form: "concept"}},
                field(text("Concept"), name), field(text("Repeats"), repeats),
                concept ? null : make("label", {class: "lora_train_check"}, regularization, make("span", {}, text("For regularization"))),
                make("div", {class: "lora_train_form_buttons"},
                    make("button", {type: "submit", class: "lora_train_button lora_train_primary"}, concept ? text("Save") : text("Add concept")),
                    button(text("Cancel"), {name: "cancel", run: () => this.closeConceptForm()}),
                    concept ? button(text("Delete concept"), {name: "delete-concept", run: () => this.deleteConcept(concept)}) : null));
            form.addEventListener("submit", (event) => {
                event.preventDefault();
                attempt(() => this.saveConcept(concept, name.value, Number(repeats.value), regularization.checked));
            });
            form.addEventListener("keydown", (event) => { if (event.key === "Escape") this.closeConceptForm(); });
            this.conceptPlace.replaceChildren(form);
            this.conceptPlace.hidden = false;
            name.focus();
        }

        closeConceptForm() {
            this.conceptPlace.hidden = true;
            this.conceptPlace.replaceChildren();
        }

        async saveConcept(concept, name, repeats, regularization) {
            const saved = concept ? await api.patch([...this.path, "concepts", concept.id], {name, repeats})
                : await api.post([...this.path, "concepts"], {name, repeats, regularization});
            this.closeConceptForm();
            this.concept = saved.id; // a concept's id goes with its name
            await this.refresh(() => this.grid.show(saved.id));
        }

        async deleteConcept(concept) {
            const {trash_id: trashId} = await api.remove([...this.path, "concepts", concept.id]);
            this.closeConceptForm();
            sayUndo(text("The concept “{name}” was deleted.", {name: concept.name}), trashId, (id) => this.restore(id));
            await this.refresh();
        }

        async movePictures(concept) {
            const pictures = this.chosen.map((picture) => picture.id);
            fill(this.target, [...this.target.options].map((one) => [one.value, one.textContent]), "");
            if (!concept || pictures.length === 0) return;
            await api.post([...this.path, "pictures", "move"], {pictures, concept});
            this.grid.chooseNone();
            await this.refresh();
        }

        /** @param {Picture[]} pictures */
        async deletePictures(pictures) {
            if (pictures.length === 0) return;
            const ids = pictures.map((picture) => picture.id);
            const {trash_id: trashId} = await api.post([...this.path, "pictures", "delete"], {pictures: ids});
            sayUndo(plural(ids.length, "{count} picture was deleted.", "{count} pictures were deleted."), trashId, (id) => this.restore(id));
            this.grid.chooseNone();
            await this.refresh();
        }

        async restore(trashId) {
            await api.post([...this.path, "trash", "restore"], {trash_id: trashId});
            loraTrain.unsay(trashId);
            await this.refresh();
        }

        openTrash() {
            const dialog = openDialog(text("Deleted pictures"), {}, make("ul", {class: "lora_train_list"},
                ...this.trash.map((entry) => make("li", {}, make("span", {}, entry.title),
                    make("span", {class: "lora_train_hint"}, moment(entry.deleted)),
                    button(text("Restore"), {name: "restore", run: async () => {
                        await this.restore(entry.trash_id);
                        dialog.close();
                    }})))));
        }

        showCounts() {
            const {total, complete, pictures, chosen} = this.grid;
            const said = [plural(total, "{count} picture", "{count} pictures")];
            if (complete) {
                const without = pictures.filter((picture) => !picture.caption).length;
                const bad = pictures.filter((picture) => picture.problem).length;
                if (without) said.push(plural(without, "{count} without caption", "{count} without caption"));
                if (bad) said.push(plural(bad, "{count} with a problem", "{count} with a problem"));
            }
            write(this.counts, chosen.size ? text("{count} chosen", {count: number(chosen.size)}) : said.join(" · "));
            this.selection.hidden = chosen.size === 0;
            this.grid.element.classList.toggle("lora_train_choosing", chosen.size > 0);
            this.trashButton.hidden = this.trash.length === 0;
            this.grid.element.hidden = total === 0;
            this.newcomer.hidden = this.trainingPictures > 0 || total > 0;
            this.chips.hidden = this.concepts.length === 0;
            this.zipButton.hidden = total === 0;
            this.toolbar.hidden = total === 0 && this.trash.length === 0;
        }
    }

    onStart(() => {
        const panel = document.getElementById("lora_train_dataset");
        panel.classList.add("lora_train_panel");
        loraTrain.dataset = new Dataset(panel);
    });
})();
