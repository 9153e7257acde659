/**
 * The Previews sub-tab: which grid, what can be done with it, how far it is, and what it recommends; then the grid with
 * the chosen cell beside it.
 */
(() => {
    "use strict";

    const {
        state, api, on, onStart, onShown, attempt, text, plural, number, moment, make, write, button, select, fill,
        enable, openTab, openSheet, openDialog, sayUndo, unsay,
    } = loraTrain;
    /** The windows, by the names of their classes. */
    const WINDOWS = {
        PreviewPlan: () => text("Grid"), PreviewScores: () => text("Scores"), PreviewExports: () => text("Export"),
        PreviewSweep: () => text("Try several values"), PreviewTools: () => text("LoRA tools"),
    };

    class PreviewsCard {
        /** @param {HTMLElement} panel @param {PreviewModel} model */
        constructor(panel, model) {
            this.model = model;
            /** @type {Object<string, {element: HTMLElement}>} the windows that were opened */
            this.windows = {};
            this.desk = new loraTrain.PreviewDesk(model);
            const open = () => {
                if (!model.chosenCell) this.desk.go(this.desk.row, this.desk.column);
                this.viewer.open();
            };
            this.matrix = new loraTrain.PreviewMatrix(this.desk, {open});
            this.view = new loraTrain.PreviewCellView(this.desk, {open});
            this.viewer = new loraTrain.PreviewViewer(this.desk, () => this.matrix.focus());
            this.advice = new loraTrain.PreviewAdvice(this.desk);
            this.advice.shown = () => this.matrix.focus();
            this.status = new loraTrain.PreviewStatus(model);
            this.bar = new loraTrain.PreviewBar(this.desk, this.matrix);
            this.curve = loraTrain.PreviewCurve ? new loraTrain.PreviewCurve(model).element : null;
            this.hint = make("p", {class: "lora_train_hint lora_train_matrix_hint"},
                text("Press a picture to see it large, and to use its file. The arrow keys go on."));
            this.work = make("div", {class: "lora_train_matrix_work"}, this.status.element, this.advice.element,
                this.bar.element, make("div", {class: "lora_train_matrix_columns"}, this.matrix.element,
                    make("div", {class: "lora_train_matrix_aside"}, this.hint, this.view.element)), this.curve);
            this.empty = make("div", {class: "lora_train_welcome", hidden: true});
            this.reading = make("p", {class: "lora_train_hint", role: "status", hidden: true},
                text("The grids are read."));
            panel.replaceChildren(this.makeTools(), this.empty, this.reading, this.work);
            // The WebUI draws, skips and interrupts by these, and fails in a tab where there is nothing to draw.
            panel.addEventListener("keydown", (event) => {
                const {key, ctrlKey, metaKey, altKey} = event;
                if (key === "Escape" || key === "Enter" && (ctrlKey || metaKey || altKey)) event.stopPropagation();
            });
            model.panel = panel;
            onShown(panel, () => attempt(() => this.shown()));
            for (const event of ["project", "previews", "previews-chosen", "runs"]) on(event, () => this.show());
            on("visible", () => { if (model.inSight) attempt(() => model.look()); });
            this.show();
        }

        makeTools() {
            const {model} = this;
            const open = (label, action, name, given = () => undefined, kind = "secondary") => (loraTrain[name]
                ? button(label, {name: action, kind, run: () => this.open(name, given())}) : null);
            this.choice = select([], "", {"aria-label": text("Grid"), "data-action": "grid"});
            this.choice.addEventListener("change", () => attempt(() => model.show(this.choice.value)));
            this.ofGrid = make("div", {class: "lora_train_row"},
                open(text("Change"), "change-grid", "PreviewPlan", () => ({grid: model.grid})),
                open(text("Scores"), "grid-scores", "PreviewScores"),
                open(text("Export"), "grid-export", "PreviewExports"),
                this.remove = button(text("Delete"), {name: "delete-grid", run: () => this.deleteGrid()}));
            this.trash = button(text("Deleted grids"), {
                kind: "quiet", name: "grid-trash", run: () => this.openTrash(),
            });
            this.tools = make("div", {class: "lora_train_row lora_train_matrix_tools"},
                this.choice, open(text("New grid"), "new-grid", "PreviewPlan", () => ({grid: null})), this.ofGrid,
                make("div", {class: "lora_train_row lora_train_end"},
                    open(text("Try several values"), "sweep", "PreviewSweep"),
                    open(text("LoRA tools"), "lora-tools", "PreviewTools"), this.trash));
            return this.tools;
        }

        /** Opens a window; `given` is for it. */
        open(name, given = undefined) {
            this.windows[name] = this.windows[name] || new loraTrain[name](this.model);
            const one = this.windows[name];
            openSheet(WINDOWS[name](), {kind: "lora_train_tall", closed: () => one.closed && one.closed()},
                one.element);
            return one.opened && one.opened(given);
        }

        async shown() {
            await this.model.look();
            this.matrix.seek(); // what is not in sight is not scrolled
            if (document.activeElement === document.body && this.model.grid) this.matrix.focus();
        }

        show() {
            const {overview, grid, chosenCell} = this.model;
            const grids = overview ? overview.grids : [];
            this.tools.hidden = !overview;
            this.empty.hidden = state.project !== null && (overview === null || grids.length > 0);
            this.reading.hidden = state.project === null || overview !== null;
            this.work.hidden = !grid;
            this.hint.hidden = chosenCell !== null;
            if (!this.empty.hidden) this.showEmpty();
            if (!overview) return;
            this.choice.hidden = grids.length === 0;
            this.ofGrid.hidden = !grid;
            this.trash.hidden = overview.trash.length === 0;
            enable(this.remove, grid !== null && grid.job === null, text("The grid is being drawn."));
            this.showChoice(grids);
        }

        showChoice(grids) {
            const options = grids.map((one) => [one.id, lineWords(one)]);
            const signature = JSON.stringify(options);
            if (signature !== this.choices) {
                this.choices = signature;
                fill(this.choice, options, "");
            }
            this.choice.value = this.model.grid ? this.model.grid.id : "";
        }

        /** What to do before there is a grid. */
        showEmpty() {
            const {project, runs} = state;
            const trained = runs.some((run) => run.state === "done" || run.step > 0);
            const [words, label, tab] = !project
                ? [text("Name your project and add pictures; what a training makes of them is compared here."),
                    text("To the dataset"), "dataset"]
                : trained
                    ? [text("There is no grid yet. It shows which file of a run is the best, and at which weight."),
                        text("To the runs"), "runs"]
                    : [text("Train first; the files of a run are compared here. Those you have already can be, too."),
                        text("To the training"), "train"];
            if (this.emptyShown === words) return;
            this.emptyShown = words;
            const make_ = project && loraTrain.PreviewPlan ? button(text("Make a grid"), {
                kind: trained ? "primary" : "secondary", name: "make-first-grid",
                run: () => this.open("PreviewPlan", {grid: null}),
            }) : null;
            const go = button(label, {
                kind: trained ? "secondary" : "primary", name: "to-training", run: () => openTab(tab),
            });
            this.empty.replaceChildren(make("p", {}, words),
                make("div", {class: "lora_train_row"}, ...(trained ? [make_, go] : [go, make_]).filter(Boolean)));
        }

        // ------------------------------------------------------------------ deleting

        async deleteGrid() {
            const {model} = this;
            const {title} = model.grid;
            const {trash_id: trashId} = await model.act(() => api.remove(model.path()));
            const {project} = model;
            sayUndo(text("The grid “{title}” was deleted.", {title}), trashId, () => this.restore(project, trashId));
        }

        async restore(project, trashId) {
            const {model} = this;
            const path = ["projects", project, "grids", "restore"];
            const {grid} = await model.act(() => api.post(path, {trash_id: trashId}));
            unsay(trashId);
            if (project === model.project) await model.show(grid);
        }

        openTrash() {
            const {project, overview} = this.model;
            const dialog = openDialog(text("Deleted grids"), {}, make("ul", {class: "lora_train_list"},
                ...overview.trash.map((one) => make("li", {}, make("span", {}, `${one.title} · ${moment(one.deleted)}`),
                    button(text("Restore"), {name: "restore-grid", run: async () => {
                        await this.restore(project, one.trash_id);
                        dialog.close();
                    }})))));
        }
    }

    /** A grid in one line. */
    function lineWords({title, created, cells, made, job}) {
        const many = made < cells ? text("{made} of {total} pictures", {made: number(made), total: number(cells)})
            : plural(cells, "{count} picture", "{count} pictures");
        return [title, moment(created), many, job ? text("being drawn") : ""].filter(Boolean).join(" · ");
    }

    onStart(() => {
        const panel = document.getElementById("lora_train_previews");
        panel.classList.add("lora_train_panel");
        loraTrain.previewsCard = new PreviewsCard(panel, loraTrain.previews);
    });

    Object.assign(loraTrain, {PreviewsCard});
})();
