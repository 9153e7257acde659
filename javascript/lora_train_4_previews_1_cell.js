/**
 * One cell, large: its picture, its difference from the one without the LoRA, or two in turn; what is known of it, its
 * stars, and what can be done with it. Beside the grid, and in full screen.
 */
(() => {
    "use strict";

    const {
        on, attempt, text, number, make, write, button, enable, setImage, cellWords, scoreRows, starWords,
    } = loraTrain;
    const STARS = [1, 2, 3, 4, 5];

    class PreviewCellView {
        /** @param {PreviewDesk} desk @param {{open?: ?Function, full?: boolean}} calls `open`: full screen */
        constructor(desk, {open = null, full = false} = {}) {
            this.desk = desk;
            this.model = desk.model;
            this.full = full;
            this.image = make("img", {class: "lora_train_matrix_image", alt: ""});
            this.second = make("img", {class: "lora_train_matrix_second", alt: "", hidden: true});
            this.missing = make("p", {class: "lora_train_hint", hidden: true});
            this.shownAs = make("span", {class: "lora_train_matrix_shown", hidden: true});
            this.picture = make("div", {class: "lora_train_matrix_picture"}, this.image, this.second, this.missing,
                this.shownAs);
            if (open) this.picture.addEventListener("click", open);
            this.facts = make("div", {class: "lora_train_matrix_facts"});
            this.stars = this.makeStars();
            this.side = make("div", {class: "lora_train_matrix_beside_view"}, this.facts, this.stars,
                this.makeLooks(open), this.makeButtons());
            this.element = make("div", {
                class: `lora_train_matrix_view ${full ? "lora_train_matrix_full" : ""}`, hidden: true,
            }, this.picture, this.side);
            this.image.addEventListener("error", () => this.sayMissing(text("The picture cannot be shown.")));
            for (const event of ["previews", "previews-chosen", "previews-view"]) on(event, () => this.show());
            this.show();
        }

        makeStars() {
            this.starButtons = STARS.map((count) => {
                const press = make("button", {
                    type: "button", class: "lora_train_matrix_star", data: {stars: count},
                    "aria-label": starWords(count), title: starWords(count),
                }, "★");
                press.addEventListener("click", () => attempt(() => {
                    const cell = this.model.chosenCell;
                    return cell && this.model.giveStars(cell.key, cell.stars === count ? 0 : count);
                }));
                return press;
            });
            return make("div", {
                class: "lora_train_matrix_giving", role: "group", "aria-label": text("Your stars"),
                title: text("Your own stars win over the scores. Keys 1 to 5; 0 takes them away."),
            }, ...this.starButtons);
        }

        /** How it is looked at. */
        makeLooks(open) {
            const {desk, model} = this;
            this.difference = button(text("Difference"), {
                name: "difference", title: text("What the LoRA changes, made brighter (D)"),
                run: () => desk.setMode("difference"),
            });
            this.flicker = button(text("Flicker"), {
                name: "flicker", title: text("In turn with the marked picture, or with the one without the LoRA (F)"),
                run: () => desk.setMode("flicker"),
            });
            this.mark = button(text("Mark"), {
                name: "mark", title: text("Others are compared with this one (M)"),
                run: () => model.mark(model.chosen),
            });
            const large = open ? button(text("Full screen"), {
                name: "full-screen", title: text("Enter; the arrow keys go on there"), run: open,
            }) : null;
            return make("div", {class: "lora_train_row"}, large, this.difference, this.flicker, this.mark);
        }

        makeButtons() {
            const {model} = this;
            this.use = button(text("Use this"), {
                kind: "primary", name: "use-cell", run: () => loraTrain.openPick(model, model.chosenCell),
            });
            this.send = button(text("Send to txt2img"), {
                name: "send-cell", run: () => loraTrain.sendCell(model, model.chosenCell),
            });
            const copy = (what) => loraTrain.copyCell(model, model.chosenCell, what);
            this.copy = button(text("Copy the prompt"), {name: "copy-prompt", run: () => copy("prompt")});
            this.copyAll = button(text("Copy all parameters"), {
                name: "copy-infotext", run: () => copy("infotext"),
                title: text("As the WebUI reads them when they are pasted into the prompt"),
            });
            this.redraw = button(text("Draw again"), {
                name: "redraw-cell", run: () => model.redraw([model.chosen]),
            });
            return make("div", {class: "lora_train_row lora_train_matrix_buttons"}, this.use, this.send, this.copy,
                this.copyAll, this.redraw);
        }

        show() {
            const {model, desk} = this;
            const cell = model.chosenCell;
            this.element.hidden = !cell;
            if (!cell) return;
            const {grid} = model;
            this.showPicture(cell);
            const signature = JSON.stringify([cell, grid.id, grid.scores.names, grid.scores.places, model.recommended]);
            if (signature !== this.signature) {
                this.signature = signature;
                this.facts.replaceChildren(...this.factsOf(cell));
            }
            for (const press of this.starButtons) {
                const given = Number(press.dataset.stars) <= cell.stars;
                press.classList.toggle("lora_train_matrix_given", given);
                press.setAttribute("aria-pressed", String(Number(press.dataset.stars) === cell.stars));
                enable(press, cell.made, text("It is not drawn yet."));
                if (cell.made) press.title = press.getAttribute("aria-label");
            }
            this.difference.setAttribute("aria-pressed", String(desk.mode === "difference"));
            this.flicker.setAttribute("aria-pressed", String(desk.mode === "flicker"));
            this.mark.setAttribute("aria-pressed", String(model.marked === cell.key));
            this.showButtons(cell);
        }

        showButtons(cell) {
            const {model} = this;
            const busy = model.grid.job !== null;
            const webui = loraTrain.canSend();
            const why = !cell.made ? text("It is not drawn yet.")
                : cell.column < 0 ? text("It is drawn without a LoRA.")
                    : !model.grid.columns[cell.column].there ? text("The LoRA file is gone.") : "";
            enable(this.use, !why, why);
            this.send.hidden = !webui;
            this.copy.hidden = this.copyAll.hidden = webui;
            for (const press of [this.send, this.copy, this.copyAll]) {
                if (press.disabled === cell.made) enable(press, cell.made, text("It is not drawn yet."));
            }
            enable(this.redraw, cell.made && !busy, cell.made ? text("The grid is being drawn.")
                : text("It is not drawn yet."));
        }

        /** The picture as the desk says it is looked at. */
        showPicture(cell) {
            const {model, desk} = this;
            const {other} = desk;
            const plain = model.plain(cell);
            const drawn = (one) => cell.made && one !== null && one.made && one.key !== cell.key;
            const able = {picture: true, difference: drawn(plain), flicker: drawn(other)};
            const mode = able[desk.mode] ? desk.mode : "picture";
            this.picture.dataset.mode = mode;
            const {width, height} = model.grid.settings;
            this.picture.style.setProperty("--lora-train-matrix-ratio", `${width} / ${height}`);
            this.missing.hidden = this.image.hidden = true;
            this.second.hidden = mode !== "flicker";
            this.image.alt = cellWords(model.grid, cell);
            if (!cell.made) {
                this.sayMissing(model.grid.job ? text("It is not drawn yet.") : text("It is not drawn."));
            } else {
                this.image.hidden = false;
                setImage(this.image, model.address(cell.key, mode === "difference" ? "difference" : "picture"));
                if (mode === "flicker") setImage(this.second, model.address(other.key));
            }
            const words = {
                difference: text("Difference from the picture without the LoRA"),
                flicker: other ? text("In turn with {cell}", {cell: this.otherWords(cell, other)}) : "",
            };
            const unable = desk.mode !== "picture" && mode === "picture";
            write(this.shownAs, unable ? text("There is nothing to compare it with yet.") : words[mode] || "");
            this.shownAs.hidden = !unable && mode === "picture";
        }

        /** The other cell, in what it is another. */
        otherWords(cell, other) {
            const {grid} = this.model;
            const words = [cellWords(grid, other)];
            if (other.prompt !== cell.prompt) words.push(grid.prompts[other.prompt].label);
            if (other.seed !== cell.seed) words.push(text("seed {seed}", {seed: other.seed}));
            return words.filter(Boolean).join(", ");
        }

        sayMissing(words) {
            this.image.hidden = true;
            this.missing.hidden = false;
            write(this.missing, words);
        }

        factsOf(cell) {
            const {grid, recommended} = this.model;
            const prompt = grid.prompts[cell.prompt];
            const file = cell.column < 0 ? null : grid.columns[cell.column];
            const place = grid.scores.places.find((one) => one.base === cell.base && one.column === cell.column
                && one.weight === cell.weight);
            const hint = (...words) => make("p", {class: "lora_train_hint"}, words.filter(Boolean).join(" · "));
            return [
                make("p", {class: "lora_train_matrix_name"}, make("strong", {}, cellWords(grid, cell)),
                    cell.key === recommended ? make("span", {class: "lora_train_matrix_advised"}, text("recommended"))
                        : null),
                hint(file ? file.file : "", text("seed {seed}", {seed: cell.seed}), prompt.label),
                make("p", {class: "lora_train_matrix_prompt"}, prompt.text),
                ...scoreRows(grid, cell),
                place && Number.isFinite(place.total) ? hint(
                    text("All pictures of this file and weight: {total} of 100", {total: number(place.total * 100)}),
                    place.sign ? signWords(place.sign) : "") : null,
            ].filter(Boolean);
        }
    }

    /** The sign of overfitting that is seen most. */
    function signWords(sign) {
        return {
            grey: text("looks grey"), smeared: text("looks smeared"), jagged: text("looks jagged"),
            gaudy: text("looks gaudy"),
        }[sign] || sign;
    }

    Object.assign(loraTrain, {PreviewCellView});
})();
