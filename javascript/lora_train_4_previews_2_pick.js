/**
 * "Use this": a cell's file becomes a LoRA under a plain name, with card and picture. First a form, then how far it is,
 * then what was found out about the published file, with the way back.
 */
(() => {
    "use strict";

    const {
        api, text, plural, number, make, write, button, enable, field, choice, bar, facts, attempt, pause, say,
        openSheet, PickOutcome, undoPick, showClash,
    } = loraTrain;
    const LOOK = 500; // ms between two looks at how far it is
    const LIVES = ["queued", "running"];

    /** What becomes of the run's other files, each with what that means. */
    function othersWords(count) {
        return [
            ["keep", text("Keep them"), text("They stay in the list of LoRAs.")],
            ["move", text("Move them to the run"), plural(count,
                "It leaves the list of LoRAs and stays with the run: grids can still be drawn with it.",
                "They leave the list of LoRAs and stay with the run: grids can still be drawn with them.")],
            ["trash", text("Delete them"), plural(count,
                "It goes to the trash of this project, and Undo brings it back.",
                "They go to the trash of this project, and Undo brings them back.")],
        ];
    }

    /** What is wrong with using a cell; "" where nothing is. */
    function refusedWords(model, cell) {
        if (cell.column < 0) {
            return text("This picture was drawn without a LoRA. Choose one with a weight other than 0.");
        }
        if (!cell.made) return text("This picture is not drawn yet.");
        if (model.grid.columns[cell.column].there) return "";
        return text("The file of this picture is gone.");
    }

    class PickDialog {
        /** @param {PreviewModel} model @param {PreviewCell} cell */
        constructor(model, cell) {
            this.model = model;
            this.cell = cell;
            this.home = model.root(); // another grid, or project, may be open at the end
            this.grid = model.grid;
            this.over = false;
            this.side = make("div", {class: "lora_train_previews_pick_side"});
            this.main = make("div", {class: "lora_train_previews_pick_main"});
            this.element = make("div", {class: "lora_train_previews_pick"}, this.side, this.main);
        }

        async open() {
            this.dialog = openSheet(text("Use this LoRA"), {
                kind: "lora_train_previews_picking", closed: () => { this.over = true; },
            }, this.element);
            this.showSide();
            this.main.replaceChildren(make("p", {class: "lora_train_hint", role: "status"}, text("One moment…")));
            const {picking} = await api.get(this.home);
            if (picking && LIVES.includes(picking.state)) {
                await this.follow(picking);
                return;
            }
            await this.ask();
        }

        showSide() {
            const {model, cell, grid} = this;
            const column = grid.columns[cell.column];
            const prompt = grid.prompts[cell.prompt].text;
            this.side.replaceChildren(
                make("img", {src: model.address(cell.key), alt: prompt, class: "lora_train_previews_pick_picture"}),
                facts([[text("File"), column.label], [text("Weight"), number(cell.weight, 3)],
                    [text("Seed"), String(cell.seed)]]),
                make("p", {class: "lora_train_hint", translate: "no"}, prompt));
        }

        // ------------------------------------------------------------------ the form

        async ask() {
            this.told = await api.get([...this.home, this.grid.id, "cells", this.cell.key, "text"]);
            if (this.over) return;
            if (!this.told.name) {
                this.showRefused(text("The file of this picture is gone."));
                return;
            }
            this.main.replaceChildren(this.makeForm());
            this.name.focus();
            this.name.select();
        }

        showRefused(sentence) {
            this.main.replaceChildren(
                make("p", {class: "lora_train_message lora_train_error", role: "alert"}, sentence));
        }

        makeForm() {
            const {told, cell} = this;
            const input = (name, value, more = {}) => make("input", {
                class: "lora_train_input", type: "text", autocomplete: "off", spellcheck: "false", name, value, ...more,
            });
            const area = (name, value, rows) => make("textarea", {
                class: "lora_train_input", rows, spellcheck: "false", name, value, maxlength: 10000,
            });
            this.name = input("name", told.name, {required: "", maxlength: 120, translate: "no"});
            this.weight = input("weight", String(cell.weight), {type: "number", min: -10, max: 10, step: "any"});
            this.trigger = input("trigger", told.trigger, {maxlength: 10000});
            this.negative = area("negative", told.negative_prompt, 2);
            this.notes = area("notes", "", 2);
            this.scrub = make("input", {type: "checkbox", name: "scrub"});
            this.compare = make("input", {type: "checkbox", name: "compare", checked: true});
            this.tag = make("code", {translate: "no"});
            this.clash = make("div", {class: "lora_train_message lora_train_error", role: "alert", hidden: true});
            this.others = "keep";
            this.name.addEventListener("input", () => this.named());
            this.weight.addEventListener("input", () => this.named());
            this.press = make("button", {
                type: "submit", class: "lora_train_button lora_train_primary", "data-action": "pick",
            }, text("Use this"));
            const form = make("form", {class: "lora_train_form lora_train_previews_pick_form", novalidate: ""},
                field(text("Name"), this.name, text("As it is called in prompts and among the LoRA cards.")),
                make("p", {class: "lora_train_hint"}, text("In a prompt:"), " ", this.tag),
                field(text("Preferred weight"), this.weight),
                field(text("Trigger words"), this.trigger, text("The card puts them into the prompt with the LoRA.")),
                field(text("Negative prompt"), this.negative),
                field(text("Notes"), this.notes, text("For yourself; they stand on the card.")),
                told.others > 0 ? this.makeOthers() : null,
                check(this.scrub,
                    text("Leave out what the file says of your pictures: tags, folders, times, settings")),
                check(this.compare, text("Draw the picture again with the published file, and compare")),
                this.clash,
                make("div", {class: "lora_train_row"}, this.press));
            form.addEventListener("submit", (event) => {
                event.preventDefault();
                attempt(() => this.send());
            });
            this.named();
            return form;
        }

        makeOthers() {
            const {others} = this.told;
            const words = othersWords(others);
            const label = plural(others, "The {count} other checkpoint of the run",
                "The {count} other checkpoints of the run");
            const hint = make("p", {class: "lora_train_hint", role: "status"}, words[0][2]);
            return make("div", {class: "lora_train_previews_pick_others"},
                choice(label, words.map(([key, short]) => [key, short]), "keep", (key) => {
                    this.others = key;
                    write(hint, words.find(([one]) => one === key)[2]);
                }), hint);
        }

        /** What the prompt will hold; a name that was refused may be right now. */
        named() {
            write(this.tag, `<lora:${this.name.value.trim()}:${Number(this.weight.value) || 0}>`);
            this.clash.hidden = true;
        }

        get values() {
            return {
                cell: this.cell.key, name: this.name.value.trim(), weight: Number(this.weight.value),
                trigger: this.trigger.value.trim(), negative: this.negative.value.trim(),
                notes: this.notes.value.trim(), scrub: this.scrub.checked, compare: this.compare.checked,
                others: this.others, wait: false,
            };
        }

        /** What is wrong with the form, as an error of the server would say it. */
        get fault() {
            if (!this.name.value.trim()) return [this.name, text("The LoRA needs a name.")];
            const weight = this.weight.value.trim();
            if (!weight || !Number.isFinite(Number(weight))) return [this.weight, text("The weight is no number.")];
            return null;
        }

        async send() {
            if (this.press.getAttribute("aria-busy") === "true") return;
            const {fault} = this;
            if (fault) {
                this.refuse({sentence: fault[1], remedy: "", free: ""});
                fault[0].focus();
                return;
            }
            this.press.setAttribute("aria-busy", "true");
            try {
                const {picking} = await api.post([...this.home, this.grid.id, "pick"], this.values);
                await this.follow(picking);
            } catch (error) {
                this.refuse(error);
            } finally {
                this.press.removeAttribute("aria-busy");
            }
        }

        refuse(error) {
            showClash(this.clash, error, (free) => {
                this.name.value = free;
                this.named();
                return this.send();
            });
        }

        // ------------------------------------------------------------------ on its way

        /** Shows how far it is until it has ended. With the window closed it goes on, and is told of at the end. */
        async follow(picking) {
            const form = this.main.firstChild;
            this.showProgress();
            let now = picking;
            while (LIVES.includes(now.state)) {
                this.tell(now);
                await pause(LOOK);
                const seen = (await this.look()) || now;
                if (seen.id !== picking.id) break; // somebody else's, which came later
                now = seen;
            }
            await attempt(() => this.model.look());
            this.ended(now, form);
        }

        /** How far it is; null while the server does not answer. */
        async look() {
            try {
                return (await api.get(this.home)).picking;
            } catch (error) {
                if (error.status === 0) return null;
                throw error;
            }
        }

        showProgress() {
            this.stage = make("p", {role: "status", class: "lora_train_previews_pick_stage"});
            const working = bar(text("Progress of the check"));
            working.set(null);
            this.cancel = button(text("Cancel"), {name: "cancel-pick", run: async () => {
                enable(this.cancel, false);
                await api.post([...this.home, "cancel-pick"]);
            }});
            this.main.replaceChildren(this.stage, working,
                make("p", {class: "lora_train_hint"},
                    text("The file is checked before it is called finished: written, loaded again, and drawn with.")),
                make("div", {class: "lora_train_row"}, this.cancel));
            if (!this.over) this.cancel.focus();
        }

        tell(picking) {
            const waits = picking.state === "queued" || !picking.stage;
            write(this.stage, waits ? text("“{name}” waits for the model…", {name: picking.name})
                : text("“{name}”: {stage}…", {name: picking.name, stage: picking.stage}));
        }

        ended(picking, form) {
            const {result, error, name} = picking;
            const own = picking.cell === this.cell.key && picking.grid === this.grid.id;
            if (this.over || !own) {
                if (result) {
                    say({sentence: text("“{name}” is among your LoRAs now.", {name}), key: result.pick, action: {
                        label: text("Undo"), run: () => undoPick(this.home, this.model, result.pick, name),
                    }});
                } else if (error) say({...error, kind: "error"});
                if (!this.over) attempt(() => this.ask());
                return;
            }
            if (result) {
                const outcome = new PickOutcome(this, result);
                this.main.replaceChildren(outcome.element);
                outcome.heading.focus();
                return;
            }
            const why = error || {sentence: text("It was cancelled; nothing has changed."), remedy: "", free: ""};
            if (form && form.matches("form")) {
                this.main.replaceChildren(form);
                this.refuse(why);
            } else {
                attempt(() => this.ask());
                say({...why, kind: error ? "error" : "note"});
            }
        }
    }

    function check(input, words) {
        return make("label", {class: "lora_train_check"}, input, make("span", {}, words));
    }

    /**
     * Opens the window in which a cell's file becomes a LoRA.
     * @param {PreviewModel} model
     * @param {PreviewCell} cell
     */
    async function openPick(model, cell) {
        const refused = refusedWords(model, cell);
        if (refused) {
            say({sentence: refused, sought: true});
            return;
        }
        await new PickDialog(model, cell).open();
    }

    Object.assign(loraTrain, {openPick});
})();
