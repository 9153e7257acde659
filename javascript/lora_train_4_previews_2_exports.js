/**
 * A grid as files to take away: one large picture, everything, its table of scores, the text of the WebUI's X/Y/Z plot;
 * and the chosen cell by itself.
 */
(() => {
    "use strict";

    const {api, url, on, text, number, make, write, button, enable, download, ApiError} = loraTrain;
    const MOST = 3e8; // bytes that the page holds; more is handed to the browser as it comes
    const KEPT = 60000; // ms for which the browser may still read what it saves

    /** The name that the server gave a file. */
    function nameIn(response, other) {
        const found = /filename\*=UTF-8''([^;]+)/.exec(response.headers.get("content-disposition") || "");
        try {
            return found ? decodeURIComponent(found[1]) : other;
        } catch {
            return other;
        }
    }

    /** Asks for a file, and once more with a new session. Raises ApiError, in the server's words. */
    async function fetchFile(address) {
        for (let again = true; ; again = false) {
            let response;
            try {
                response = await fetch(address, {credentials: "same-origin", cache: "no-store"});
            } catch {
                throw new ApiError(0, {error: {
                    sentence: text("The server does not answer."), remedy: text("Try again in a moment."),
                }});
            }
            if (response.ok) return response;
            if (response.status !== 401 || !again) {
                throw new ApiError(response.status, await response.json().catch(() => null));
            }
            await api.renew();
        }
    }

    /** Saves what takes a while to be made; what goes wrong is said, instead of being saved as a file. */
    async function saveFile(address, name) {
        const response = await fetchFile(address);
        const content = URL.createObjectURL(await response.blob());
        download(content, nameIn(response, name));
        window.setTimeout(() => URL.revokeObjectURL(content), KEPT);
    }

    class PreviewExports {
        /** @param {PreviewModel} model */
        constructor(model) {
            this.model = model;
            this.state = make("p", {class: "lora_train_hint", role: "status"});
            this.whole = make("section", {class: "lora_train_previews_part", data: {part: "grid"}},
                make("h4", {}, text("The whole grid")), this.state, ...this.makeLines());
            this.cell = make("section", {class: "lora_train_previews_part", data: {part: "cell"}});
            this.element = make("div", {class: "lora_train_previews_exports"}, this.whole, this.cell);
            on("previews", () => { if (this.element.isConnected) this.show(); });
        }

        opened() {
            this.plot.hidden = true;
            this.show();
        }

        makeLines() {
            const line = (name, label, words, run, ...more) => make("div", {class: "lora_train_previews_export"},
                make("div", {}, make("strong", {}, label), make("p", {class: "lora_train_hint"}, words)),
                make("div", {class: "lora_train_row"}, button(text("Save"), {name: `export-${name}`, run}), ...more));
            this.plotText = make("textarea", {
                class: "lora_train_input", rows: 8, readonly: "", spellcheck: "false", translate: "no",
                "aria-label": text("Text of the X/Y/Z plot"),
            });
            this.plot = make("div", {class: "lora_train_previews_plot", hidden: true}, this.plotText,
                make("div", {class: "lora_train_row"},
                    button(text("Copy"), {name: "copy-plot", run: () => loraTrain.copyAndSay(this.plotText.value)})));
            return [
                line("png", text("One large picture"), text("All cells with their labels, as PNG."),
                    () => this.save("png")),
                line("zip", text("Everything"), text(
                    "The large picture, each cell with the text that draws it again, scores and recommendation."),
                () => this.save("zip")),
                line("csv", text("Scores as a table"), text("One row for each cell, for a spreadsheet (CSV)."),
                    () => this.save("csv")),
                line("plot", text("Text for the WebUI’s X/Y/Z plot"), text(
                    "Pasted into txt2img, it sets prompt, parameters and script: the WebUI draws the grid."),
                () => this.save("plot"), button(text("Show"), {name: "show-plot", run: () => this.showPlot()})),
                this.plot,
            ];
        }

        show() {
            const {grid} = this.model;
            if (!grid) return;
            const {made, size} = grid;
            this.state.hidden = made === size;
            write(this.state, made === 0 ? text("Nothing of this grid is drawn yet.")
                : text("{made} of {size} cells are drawn; the others are left out.",
                    {made: number(made), size: number(size)}));
            for (const name of ["png", "zip"]) {
                enable(this.whole.querySelector(`[data-action="export-${name}"]`), made > 0,
                    text("Nothing of this grid is drawn yet."));
            }
            this.showCell();
        }

        showCell() {
            const {model} = this;
            const cell = model.chosenCell;
            const signature = cell ? `${cell.key} ${cell.made} ${model.address(cell.key)}` : "";
            if (signature === this.signature) return;
            this.signature = signature;
            const heading = make("h4", {}, text("The chosen cell"));
            if (!cell || !cell.made) {
                const why = cell ? text("It is not drawn yet.")
                    : text("Choose a cell in the grid, and it can be saved here by itself.");
                this.cell.replaceChildren(heading, make("p", {class: "lora_train_hint"}, why));
                return;
            }
            const save = (what, label, ending) => button(label, {
                name: `save-${what}`, run: () => saveFile(model.address(cell.key, what), this.cellName(cell, ending)),
            });
            const canDiffer = cell.column >= 0 && model.plain(cell) && model.plain(cell).made;
            this.cell.replaceChildren(heading, make("div", {class: "lora_train_previews_export_cell"},
                make("img", {src: model.address(cell.key, "thumbnail"), alt: model.grid.prompts[cell.prompt].text}),
                make("div", {},
                    make("p", {translate: "no"}, this.cellName(cell, "")),
                    make("p", {class: "lora_train_hint"},
                        text("The PNG holds the text that draws it again: “PNG Info” and txt2img read it.")),
                    make("div", {class: "lora_train_row"},
                        save("picture", text("Save the PNG"), ".png"),
                        canDiffer ? save("difference", text("Save the difference"), " difference.png") : null,
                        cell.column >= 0 && model.grid.columns[cell.column].there
                            ? button(text("Download the LoRA"), {name: "save-file", run: () => this.saveLora(cell)})
                            : null,
                        button(text("Copy its text"), {
                            name: "copy-text", run: () => loraTrain.copyCell(model, cell, "infotext"),
                        })))));
        }

        /** What a cell shows, as a name. */
        cellName(cell, ending) {
            const {grid} = this.model;
            const file = cell.column < 0 ? text("without LoRA")
                : grid.columns[cell.column].file.replace(/\.[^.]*$/, "");
            return `${file} w${cell.weight} p${cell.prompt + 1} s${cell.seed}${ending}`;
        }

        async save(kind) {
            const {model} = this;
            const {made, settings} = model.grid;
            const address = url(model.path("export"), {as: kind});
            const large = kind === "zip" && made * settings.width * settings.height * 2 > MOST;
            if (large) download(address);
            else await saveFile(address, `${model.grid.id}.${kind === "plot" ? "txt" : kind}`);
        }

        /** The file that a cell was drawn with. */
        saveLora(cell) {
            const {model} = this;
            const {run, file} = model.grid.columns[cell.column];
            const path = run ? ["projects", model.project, "runs", run, "files", file]
                : model.root("tools", "files", file);
            return saveFile(url(path), file);
        }

        async showPlot() {
            const response = await fetchFile(url(this.model.path("export"), {as: "plot"}));
            this.plotText.value = await response.text();
            this.plot.hidden = false;
            this.plotText.focus();
        }
    }

    Object.assign(loraTrain, {PreviewExports});
})();
