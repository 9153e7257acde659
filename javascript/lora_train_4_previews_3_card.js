/**
 * The Previews sub-tab: which grid, what can be done with it, how far it is, and what it recommends; then the grid.
 */
(() => {
    "use strict";

    const {state, on, onStart, onShown, attempt, text, make, button, openTab, openSheet} = loraTrain;
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
            this.curve = loraTrain.PreviewCurve ? new loraTrain.PreviewCurve(model).element : null;
            this.empty = make("div", {class: "lora_train_welcome", hidden: true},
                make("p", {}, text("No grid yet.")),
                button(text("To the training"), {kind: "primary", name: "to-train", run: () => openTab("train")}));
            panel.replaceChildren(this.makeTools(), this.empty, this.curve || "");
            model.panel = panel;
            onShown(panel, () => attempt(() => model.look()));
            on("project", () => this.show());
            on("previews", () => this.show());
            on("visible", () => { if (model.inSight) attempt(() => model.look()); });
            this.show();
        }

        makeTools() {
            const open = (label, action, name, given = () => undefined) => (loraTrain[name]
                ? button(label, {name: action, run: () => this.open(name, given())}) : null);
            return make("div", {class: "lora_train_row lora_train_previews_tools"},
                open(text("New grid"), "new-grid", "PreviewPlan", () => ({grid: null})),
                open(text("Change"), "change-grid", "PreviewPlan", () => ({grid: this.model.grid})),
                open(text("Scores"), "grid-scores", "PreviewScores"),
                open(text("Export"), "grid-export", "PreviewExports"),
                open(text("Try several values"), "sweep", "PreviewSweep"),
                open(text("LoRA tools"), "lora-tools", "PreviewTools"));
        }

        /** Opens a window; `given` is for it. */
        open(name, given = undefined) {
            this.windows[name] = this.windows[name] || new loraTrain[name](this.model);
            const one = this.windows[name];
            openSheet(WINDOWS[name](), {kind: "lora_train_tall", closed: () => one.closed && one.closed()},
                one.element);
            return one.opened && one.opened(given);
        }

        show() {
            const {overview} = this.model;
            this.empty.hidden = state.project !== null && (overview === null || overview.grids.length > 0);
        }
    }

    onStart(() => {
        const panel = document.getElementById("lora_train_previews");
        panel.classList.add("lora_train_panel");
        loraTrain.previewsCard = new PreviewsCard(panel, loraTrain.previews);
    });

    Object.assign(loraTrain, {PreviewsCard});
})();
