/**
 * The Dataset sub-tab: the pictures of a project in their concepts, from the first drop to Train now.
 */
(() => {
    "use strict";

    const {
        state, api, url, on, onStart, onShown, attempt, text, plural, number, moment,
        make, write, button, fill, download, openDialog, say, sayUndo, problemLine,
    } = loraTrain;

    class Dataset {
        constructor(panel) {
            /** @type {{trash_id: string, title: string, count: number, deleted: number}[]} */
            this.trash = [];
            this.order = new loraTrain.Latest(); // of concepts and trash
            this.concepts = new loraTrain.ConceptBar({
                chosen: (id) => this.showConcept(id),
                changed: () => this.refresh(),
                restore: (trashId) => this.restore(trashId),
            });
            this.queue = new loraTrain.UploadQueue(() => attempt(() => this.refresh()),
                (name, repeats) => this.concepts.named(name, repeats));
            this.grid = new loraTrain.PictureGrid({
                open: (place) => attempt(() => this.viewer.open(place)),
                changed: () => this.showCounts(),
                remove: () => attempt(() => this.deletePictures(this.chosen)),
            });
            this.viewer = new loraTrain.PictureViewer(this.grid, (pictures) => this.deletePictures(pictures));
            this.preparation = loraTrain.preparation = new loraTrain.Preparation();
            this.prepare = new loraTrain.PrepareCard(this.preparation, {
                changed: () => this.refresh(), restore: (trashId) => this.restore(trashId),
            });
            this.trainNow = new loraTrain.TrainNow(() => this.concepts.trainingPictures, this.prepare);
            this.work = make("div", {class: "lora_train_dataset", hidden: true},
                make("div", {class: "lora_train_dataset_top"}, this.makeDrop(), this.trainNow.element),
                this.queue.element, this.prepare.element, this.concepts.element, this.makeToolbar(),
                this.makeNewcomer(), this.grid.element);
            this.welcome = make("div", {class: "lora_train_welcome", hidden: true});
            panel.replaceChildren(this.welcome, this.work);
            this.catchDrops(panel);
            on("project", () => this.open());
            // A plan gives the folders other repeats, and with them concepts and pictures other ids.
            onShown(panel, () => attempt(() => this.refresh()));
            on("problem", (error) => {
                if ((error.code || "").startsWith("collection.unknown_")) attempt(() => this.refresh());
            });
        }

        get path() {
            return ["projects", state.project.id];
        }

        /** @returns {Picture[]} those that are chosen in the grid */
        get chosen() {
            return this.grid.pictures.filter((picture) => picture && this.grid.chosen.has(picture.id));
        }

        makeDrop() {
            const [files, folder] = [this.makeChooser(false), this.makeChooser(true)];
            this.drop = make("section", {
                class: "lora_train_card lora_train_drop", "aria-label": text("Add pictures"),
            },
            make("p", {class: "lora_train_drop_words"}, text("Drop pictures, folders or a zip here")),
            make("p", {class: "lora_train_hint"}, text("Captions (.txt of the same name) come along.")),
            make("div", {class: "lora_train_row"},
                button(text("Choose files"), {name: "choose-files", run: () => files.click()}),
                button(text("Choose a folder"), {name: "choose-folder", run: () => folder.click()}), files, folder),
            state.session.may_use_paths ? this.makeImport() : null);
            return this.drop;
        }

        makeChooser(folder) {
            const input = make("input", {
                type: "file", multiple: true, hidden: true, "data-input": folder ? "folder" : "files",
            });
            input.webkitdirectory = folder;
            input.addEventListener("change", async () => {
                await attempt(() => this.add(loraTrain.collectChosen(input.files)));
                input.value = "";
            });
            return input;
        }

        /** A folder that is on the server already; only where visitors may name one. */
        makeImport() {
            const words = text("Folder or TOML on this computer");
            const path = make("input", {
                class: "lora_train_input", type: "text", name: "path", required: "", placeholder: words,
                "aria-label": words, autocomplete: "off",
            });
            const form = make("form", {class: "lora_train_row lora_train_import", data: {form: "import"}}, path,
                make("button", {type: "submit", class: "lora_train_button lora_train_secondary"}, text("Import")));
            form.addEventListener("submit", async (event) => {
                event.preventDefault();
                form.classList.add("lora_train_busy");
                await attempt(() => this.importFrom(path.value));
                form.classList.remove("lora_train_busy");
            });
            return form;
        }

        async importFrom(path) {
            const added = await api.post([...this.path, "import"], {path, concept: this.concepts.chosen});
            const pictures = plural(added.pictures.length, "{count} picture added", "{count} pictures added");
            say({sentence: `${pictures} · ${plural(added.captions, "{count} caption", "{count} captions")}`});
            if (added.skipped.length > 0) {
                const lines = added.skipped.map(problemLine);
                openDialog(text("Left out"), {}, make("ul", {class: "lora_train_problems"}, ...lines));
            }
            await this.refresh();
        }

        makeToolbar() {
            this.counts = make("span", {class: "lora_train_counts", role: "status"});
            this.target = make("select", {
                class: "lora_train_input", "aria-label": text("Move to concept"), "data-action": "move",
            });
            this.target.addEventListener("change", () => attempt(() => this.movePictures(this.target.value)));
            this.selection = make("div", {class: "lora_train_row", hidden: true, data: {bar: "selection"}}, this.target,
                button(text("Delete"), {name: "delete-pictures", run: () => this.deletePictures(this.chosen)}),
                button(text("Choose none"), {kind: "quiet", name: "choose-none", run: () => this.grid.chooseNone()}));
            this.trashButton = button(text("Deleted pictures"), {
                kind: "quiet", name: "trash", run: () => this.openTrash(),
            });
            this.zipButton = button(text("Download dataset"), {
                kind: "quiet", name: "download-dataset", run: () => download(url([...this.path, "dataset.zip"])),
            });
            this.toolbar = make("div", {class: "lora_train_toolbar"}, this.counts, this.selection,
                make("div", {class: "lora_train_row lora_train_end"}, this.trashButton, this.zipButton));
            return this.toolbar;
        }

        makeNewcomer() {
            const steps = [
                text("Drop 10 to 30 pictures above: one subject, in different poses, light and backgrounds."),
                text("Look at the captions: press a picture to read and change its words."),
                text("Press Train now. The settings are planned from your pictures and your memory."),
            ];
            this.newcomer = make("div", {class: "lora_train_empty", hidden: true},
                make("strong", {}, text("No pictures yet")),
                make("ol", {}, ...steps.map((words) => make("li", {}, words))));
            return this.newcomer;
        }

        /** No project at all: the first step is its name. */
        showWelcome() {
            const steps = [
                text("Name what you want to teach."), text("Drop your pictures."),
                text("Press Train now, and watch it learn."),
            ];
            this.welcome.replaceChildren(make("h3", {}, text("Your first LoRA in three steps")),
                make("ol", {}, ...steps.map((words) => make("li", {}, words))),
                loraTrain.projectForm(null, text("Create project"), loraTrain.createProject, null));
        }

        catchDrops(panel) {
            const over = (is) => this.drop.classList.toggle("lora_train_over", is);
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
            if (state.project) await this.queue.add(found, this.concepts.chosen);
            else say({sentence: text("Name your project first."), kind: "error"});
        }

        /** Another project was opened. */
        async open() {
            const id = state.project ? state.project.id : "";
            if (this.id !== id) this.grid.empty();
            this.id = id;
            this.concepts.closeForm();
            this.concepts.show([]); // those of the other project are nobody's to plan with
            this.work.hidden = !state.project;
            this.welcome.hidden = state.project !== null;
            if (state.project) {
                this.welcome.replaceChildren();
                await this.refresh();
            } else if (!this.welcome.firstChild) this.showWelcome(); // else it stays as it is, with what is typed
        }

        /** Reads concepts, trash and pictures again. */
        async refresh() {
            const project = state.project;
            if (!project) return;
            attempt(() => this.preparation.look());
            const {path} = this;
            const answer = await this.order.ask(() => Promise.all([api.get(path), api.get([...path, "trash"])]));
            if (project !== state.project) return;
            if (answer) this.take(...answer);
            await this.grid.reload();
            this.showCounts();
        }

        take({concepts}, {trash}) {
            this.trash = trash;
            this.concepts.show(concepts);
            this.grid.concept = this.concepts.chosen;
            fill(this.target, [["", text("Move to…")], ...concepts.map((one) => [one.id, one.name])], "");
            this.trainNow.refresh();
        }

        async showConcept(id) {
            await this.grid.show(id);
            this.showCounts();
        }

        async movePictures(concept) {
            const pictures = this.chosen.map((picture) => picture.id);
            this.target.value = "";
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
            const sentence = plural(ids.length, "{count} picture was deleted.", "{count} pictures were deleted.");
            sayUndo(sentence, trashId, (id) => this.restore(id));
            this.grid.chooseNone();
            await this.refresh();
        }

        async restore(trashId) {
            await api.post([...this.path, "trash", "restore"], {trash_id: trashId});
            loraTrain.unsay(trashId);
            await this.refresh();
        }

        openTrash() {
            const lines = this.trash.map((entry) => make("li", {}, make("span", {}, entry.title),
                make("span", {class: "lora_train_hint"}, moment(entry.deleted)),
                button(text("Restore"), {name: "restore", run: async () => {
                    await this.restore(entry.trash_id);
                    dialog.close();
                }})));
            const dialog = openDialog(text("Deleted pictures"), {}, make("ul", {class: "lora_train_list"}, ...lines));
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
            const some = chosen.size > 0;
            write(this.counts, some ? text("{count} chosen", {count: number(chosen.size)}) : said.join(" · "));
            this.selection.hidden = !some;
            this.grid.element.classList.toggle("lora_train_choosing", some);
            this.trashButton.hidden = this.trash.length === 0;
            this.grid.element.hidden = this.zipButton.hidden = total === 0;
            this.toolbar.hidden = total === 0 && this.trash.length === 0;
            this.newcomer.hidden = this.concepts.trainingPictures > 0 || total > 0;
            this.concepts.element.hidden = this.concepts.concepts.length === 0;
        }
    }

    onStart(() => {
        const panel = document.getElementById("lora_train_dataset");
        panel.classList.add("lora_train_panel");
        loraTrain.dataset = new Dataset(panel);
    });
})();
