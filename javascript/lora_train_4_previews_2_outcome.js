/**
 * LoRAs that were picked from grids: what was found out about a published file, its downloads, and the way back.
 */
(() => {
    "use strict";

    const {
        api, url, on, report, text, plural, number, moment, make, button, facts, folded, seek, say, unsay, download,
    } = loraTrain;
    const SAME = 2; // grey levels by which a picture may differ that was drawn in another batch

    /** A published LoRA's files as buttons. @param {string[]} home path of the project's grids */
    function savedButtons(home, pick) {
        const save = (part, label) => button(label, {
            name: `save-${part}`, run: () => download(url([...home, "picks", pick, part])),
        });
        return [save("lora", text("Download the LoRA")), save("card", text("Card")), save("picture", text("Picture"))];
    }

    /** Takes a published LoRA away again; what was moved for it comes back. */
    async function undoPick(home, model, pick, name) {
        await model.act(() => api.post([...home, "unpick"], {pick}));
        unsay(pick);
        say({sentence: text("“{name}” is no LoRA any more, and what was moved for it is back.", {name})});
    }

    /**
     * Shows why something was refused, in an element for it. A name that is taken is asked about: `take` is called with
     * one that is free.
     */
    function showClash(place, error, take) {
        if (!error.sentence || !place.isConnected) {
            report(error);
            return;
        }
        const free = error.free ? button(text("Use “{name}”", {name: error.free}), {
            name: "use-free", run: () => take(error.free),
        }) : null;
        place.replaceChildren(make("div", {class: "lora_train_message_text"}, `${error.sentence} `,
            make("span", {class: "lora_train_remedy"}, error.remedy || "")), free || "");
        place.hidden = false;
        seek(place);
        if (free) free.focus();
    }

    /** What came of a pick: how the file was checked, and what can be done with it. */
    class PickOutcome {
        /**
         * @param {{model: PreviewModel, cell: PreviewCell, grid: Object, home: string[], dialog: Element}} asked
         * @param {Object} result as the server tells it
         */
        constructor({model, cell, grid, home, dialog}, result) {
            const {name, card, pick} = result;
            const send = loraTrain.canSend()
                ? button(text("Send to txt2img"), {
                    kind: "primary", name: "send-picked", run: () => loraTrain.sendCell(model, cell, grid.id),
                })
                : button(text("Copy the prompt"), {
                    kind: "primary", name: "copy-picked", run: () => loraTrain.copyCell(model, cell, "prompt", grid.id),
                });
            const undo = button(text("Undo"), {name: "undo-pick", run: async () => {
                await undoPick(home, model, pick, name);
                dialog.close();
            }});
            this.heading = make("h4", {tabIndex: -1}, text("“{name}” is among your LoRAs now.", {name}));
            const folder = folded(text("Card"), cardFacts(card));
            folder.open = true;
            this.element = make("div", {class: "lora_train_previews_picked"}, this.heading,
                make("ul", {class: "lora_train_previews_pick_checks"}, ...checks(result)),
                make("div", {class: "lora_train_row"}, send, ...savedButtons(home, pick), undo), folder);
        }
    }

    /** What was found out about the published file, in words. */
    function checks(result) {
        const {matched, total, difference, moved, unmatched, notes} = result;
        const line = (good, words) => make("li", {data: {good: String(good)}}, words);
        const lines = [line(matched === total, matched === total
            ? plural(total, "Loaded again: its {count} part fits the checkpoint.",
                "Loaded again: all {count} parts fit the checkpoint.")
            : text("Loaded again: {matched} of {total} parts fit the checkpoint.",
                {matched: number(matched), total: number(total)}))];
        if (difference === 0) lines.push(line(true, text("Drawn again: the same picture, to the last pixel.")));
        else if (difference !== null && difference <= SAME) {
            lines.push(line(true, plural(difference,
                "Drawn again: the same picture; pixels differ by at most {count} grey level of 255.",
                "Drawn again: the same picture; pixels differ by at most {count} grey levels of 255.")));
        }
        if (moved) {
            lines.push(line(true, plural(moved, "{count} other file is out of the list of LoRAs.",
                "{count} other files are out of the list of LoRAs.")));
        }
        // That not every part fits is said in the first line already.
        const more = notes.slice(matched === total ? 0 : 1);
        return [...lines, ...more.map((words) => line(false, words)),
            unmatched.length ? make("li", {}, folded(text("Parts that do not fit"),
                make("p", {translate: "no"}, unmatched.join(", ")))) : null].filter(Boolean);
    }

    /** The card as the WebUI shows it. */
    function cardFacts(card) {
        const labels = {
            "activation text": text("Trigger words"), "preferred weight": text("Preferred weight"),
            "negative text": text("Negative prompt"), "sd version": text("Made for"), description: text("Description"),
            notes: text("Notes"),
        };
        const known = Object.entries(labels).filter(([key]) => card[key] !== "" && card[key] !== undefined);
        const shown = facts(known.map(([key, label]) => [label, String(card[key])]));
        shown.setAttribute("translate", "no");
        return shown;
    }

    /** The newest of each name: those before it can be undone after it. */
    function newest(picks) {
        const names = new Set();
        return picks.filter(({name}) => !names.has(name.toLowerCase()) && names.add(name.toLowerCase()));
    }

    /** The project's picks that can be undone, the newest first. */
    class PickList {
        /** @param {PreviewModel} model */
        constructor(model) {
            this.model = model;
            this.list = make("ul", {class: "lora_train_previews_picks"});
            this.nothing = make("p", {class: "lora_train_hint"},
                text("None yet. Choose a cell in the grid and press “Use this”."));
            this.element = make("section", {class: "lora_train_previews_part", data: {part: "picks"}},
                make("h4", {}, text("LoRAs taken from grids")), this.nothing, this.list);
            on("previews", () => { if (this.element.isConnected) this.show(); });
        }

        show() {
            const {overview} = this.model;
            const picks = newest(overview ? overview.picks : []);
            const signature = picks.map((one) => one.pick).join(" ");
            this.nothing.hidden = picks.length > 0;
            if (signature === this.signature) return;
            this.signature = signature;
            this.list.replaceChildren(...picks.map((one) => this.makeLine(one)));
        }

        makeLine(one) {
            const {model} = this;
            const told = text("{file} at weight {weight}, {time}",
                {file: one.file, weight: number(one.weight, 3), time: moment(one.time)});
            return make("li", {data: {pick: one.pick}},
                make("div", {class: "lora_train_previews_pick_words"},
                    make("strong", {translate: "no"}, one.name), make("span", {class: "lora_train_hint"}, told)),
                make("div", {class: "lora_train_row"}, ...savedButtons(model.root(), one.pick),
                    button(text("Undo"), {
                        name: "undo-pick", run: () => undoPick(model.root(), model, one.pick, one.name),
                    })));
        }
    }

    Object.assign(loraTrain, {PickOutcome, PickList, undoPick, showClash});
})();
