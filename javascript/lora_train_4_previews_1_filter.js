/**
 * Above the grid: what lies across and down, which values of each axis are seen, how large, and the list of keys.
 */
(() => {
    "use strict";

    const {on, text, plural, number, make, write, button, select, openDialog, previewValues, headWords} = loraTrain;
    const AXES = {
        prompt: () => text("Prompts"), seed: () => text("Seeds"), column: () => text("Files"),
        weight: () => text("Weights"), base: () => text("Base checkpoints"),
    };

    /** A list of check boxes that unfolds below its name. */
    class AxisFilter {
        constructor(desk, axis) {
            this.desk = desk;
            this.axis = axis;
            this.summary = make("summary", {class: "lora_train_button lora_train_secondary"});
            this.list = make("div", {class: "lora_train_matrix_menu", role: "group", "aria-label": AXES[axis]()});
            this.element = make("details", {class: "lora_train_matrix_filter", data: {axis}}, this.summary, this.list);
            this.element.addEventListener("keydown", (event) => {
                if (event.key !== "Escape" || !this.element.open) return;
                event.stopPropagation();
                this.element.open = false;
                this.summary.focus();
            });
            this.element.addEventListener("focusout", (event) => {
                if (event.relatedTarget && !this.element.contains(event.relatedTarget)) this.element.open = false;
            });
            document.addEventListener("pointerdown", (event) => {
                if (!this.element.contains(event.target)) this.element.open = false;
            });
        }

        show() {
            const {desk, axis} = this;
            const {grid} = desk.model;
            const values = previewValues(grid)[axis];
            const hidden = desk.hidden[axis] || new Set();
            this.element.hidden = values.length < 2;
            const seen = values.filter((value) => !hidden.has(value));
            write(this.summary, seen.length === values.length || seen.length === 0 ? text("{axis}: all", {
                axis: AXES[axis](),
            }) : text("{axis}: {count} of {total}", {
                axis: AXES[axis](), count: number(seen.length), total: number(values.length),
            }));
            const signature = JSON.stringify([desk.of, values.length]);
            if (signature !== this.signature) {
                this.signature = signature;
                this.list.replaceChildren(this.makeAll(), ...values.map((value) => this.makeLine(value)));
            }
            for (const box of this.list.querySelectorAll("input")) box.checked = !hidden.has(Number(box.value));
        }

        makeAll() {
            return button(text("All"), {kind: "quiet", name: "filter-all", run: () => this.choose(() => true)});
        }

        makeLine(value) {
            const [words, more] = headWords(this.desk.model.grid, this.axis, value);
            const box = make("input", {type: "checkbox", value: String(value), name: `see-${this.axis}`});
            box.addEventListener("change", () => this.choose((one) => (
                one === value ? box.checked : !(this.desk.hidden[this.axis] || new Set()).has(one))));
            return make("div", {class: "lora_train_matrix_filter_line"},
                make("label", {title: more}, box, make("span", {}, more ? `${words} · ${more}` : words)),
                button(text("Only"), {
                    kind: "quiet", name: "filter-only", run: () => this.choose((one) => one === value),
                }));
        }

        /** Shows the values that fit; none at all would leave nothing to see, so then it is all. */
        choose(fits) {
            const values = previewValues(this.desk.model.grid)[this.axis];
            const seen = values.filter(fits);
            this.desk.filter(this.axis, seen.length ? seen : values);
        }
    }

    class PreviewBar {
        /** @param {PreviewDesk} desk @param {PreviewMatrix} matrix */
        constructor(desk, matrix) {
            this.desk = desk;
            this.matrix = matrix;
            this.arrangement = select([
                ["files", text("Files and weights across")], ["weights", text("Weights across, files down")],
                ["epochs", text("Files across, weights down")], ["seeds", text("Seeds across")],
            ], desk.arrangement, {"aria-label": text("Arrangement"), name: "arrangement"});
            this.arrangement.addEventListener("change", () => desk.arrange(this.arrangement.value, desk.swapped));
            this.swap = button(text("Swap rows and columns"), {
                name: "swap-axes", run: () => desk.arrange(desk.arrangement, !desk.swapped),
            });
            this.filters = Object.keys(AXES).map((axis) => new AxisFilter(desk, axis));
            this.all = button(text("Show all"), {
                kind: "quiet", name: "show-all-cells", run: () => desk.filterNothing(),
            });
            const sized = (sign, name, words, run) => {
                const press = button(sign, {name, title: words, run});
                press.setAttribute("aria-label", words);
                return press;
            };
            this.differences = sized("Δ", "all-differences",
                text("How each picture differs from the one without the LoRA (X)"), () => desk.turnDifferences());
            this.element = make("div", {class: "lora_train_row lora_train_matrix_bar"},
                this.arrangement, this.swap, ...this.filters.map((one) => one.element), this.all,
                make("div", {class: "lora_train_row lora_train_end"}, this.makeSelection(),
                    this.differences,
                    sized("−", "zoom-out", text("Smaller (−, or Ctrl and the wheel)"), () => desk.zoom(-1)),
                    sized("+", "zoom-in", text("Larger (+, or Ctrl and the wheel)"), () => desk.zoom(1)),
                    button(text("Fit"), {name: "zoom-fit", title: text("As large as the columns fit"),
                        run: () => matrix.fit()}),
                    button(text("Keys"), {kind: "quiet", name: "preview-keys", run: listKeys})));
            for (const event of ["previews", "previews-chosen", "previews-view"]) on(event, () => this.show());
            this.show();
        }

        /** Several that were chosen, to be drawn again. */
        makeSelection() {
            const {model} = this.desk;
            this.count = make("span", {class: "lora_train_hint", role: "status"});
            this.redraw = button(text("Draw these again"), {
                name: "redraw-cells", run: async () => {
                    await model.redraw([...model.selected].filter((key) => model.cells.get(key).made));
                    model.select([]);
                },
            });
            this.selection = make("div", {class: "lora_train_row lora_train_matrix_selection", hidden: true},
                this.count, this.redraw,
                button(text("Choose none"), {kind: "quiet", name: "choose-none", run: () => model.select([])}));
            return this.selection;
        }

        show() {
            const {desk} = this;
            const {model} = desk;
            this.element.hidden = !model.grid;
            if (!model.grid || !desk.layout) return;
            this.arrangement.value = desk.arrangement;
            for (const one of this.filters) one.show();
            this.all.hidden = !desk.filtered;
            this.differences.hidden = model.grid.weights.every((weight) => weight !== 0);
            this.differences.setAttribute("aria-pressed", String(desk.differences));
            this.selection.hidden = model.selected.size === 0;
            write(this.count, plural(model.selected.size, "{count} picture chosen", "{count} pictures chosen"));
            loraTrain.enable(this.redraw, model.grid.job === null, text("The grid is being drawn."));
        }
    }

    /** All keys of the grid. */
    function listKeys() {
        const key = (name) => make("kbd", {}, name);
        const group = (heading, rows) => make("section", {}, make("h4", {}, heading), make("dl", {},
            ...rows.flatMap(([keys, words]) => [make("dt", {}, ...keys.map(key)), make("dd", {}, words)])));
        openDialog(text("Keys"), {kind: "lora_train_key_list"}, make("div", {class: "lora_train_key_groups"},
            group(text("In the grid"), [
                [["←", "→", "↑", "↓"], text("Another picture")],
                [["Home", "End"], text("First and last of the row")],
                [["PageUp", "PageDown"], text("A page up and down")],
                [["Enter"], text("Full screen")],
                [["X"], text("All as differences from the pictures without the LoRA")],
                [["+", "−"], text("Larger and smaller; also Ctrl and the wheel")],
                [[text("Space"), text("Ctrl+click")], text("Choose several, to draw them again")],
                [[text("Shift+click")], text("Choose all between")],
                [["Esc"], text("Choose none")],
            ]),
            group(text("In the grid and in full screen"), [
                [["D"], text("Difference from the picture without the LoRA")],
                [["F"], text("In turn with the marked picture, or with the one without the LoRA")],
                [["M"], text("Mark the picture that others are compared with")],
                [["1", "5"], text("Give stars, which win over the scores")],
                [["0"], text("Take the stars away")],
            ])));
    }

    Object.assign(loraTrain, {PreviewBar});
})();
