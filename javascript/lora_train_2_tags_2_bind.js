/**
 * What to bind: for each frequent tag whether the LoRA shall own it or leave it to prompts, with the reason and the
 * pictures that disagree. One press overrules the advice; one button does it all, as one step that can be undone.
 */
(() => {
    "use strict";

    const {
        state, api, on, attempt, report, text, plural, number, make, write, button, enable, say, thumbnailUrl, setImage,
        kindWords,
    } = loraTrain;
    const DECISIONS = ["bind", "keep", "fix", "unknown"];
    const CHOICES = ["bind", "keep", "fix"]; // what a person decides for; unknown stays free
    const OUTFITS = ["person", "character"]; // kinds of subject whose clothes may belong to them
    const FACES = 6; // disagreeing pictures that are shown
    const CHANGED = "editor.changed"; // the captions are not as they were when it was shown
    const CARDS = 60; // of a column, at first

    function columnWords(decision) {
        return {
            bind: [text("Bind to the trigger word"),
                text("Fixed traits. Their tags are deleted, so that the LoRA owns them.")],
            keep: [text("Keep free"), text("What changes between pictures. The tags stay, so that prompts decide.")],
            fix: [text("Fix"),
                text("Spelling and noise. Replaced where a better tag is known, otherwise deleted.")],
            unknown: [text("Unknown"), text("No rule knows these. They stay in the captions.")],
        }[decision];
    }

    function choiceWords(decision) {
        return {bind: text("Bind"), keep: text("Free"), fix: text("Fix")}[decision];
    }

    class TagBinding {
        /** @param {TagModel} model */
        constructor(model) {
            this.model = model;
            /** @type {?Object} the advice as the server has it */
            this.advice = null;
            /** @type {Object<string, string>} decisions of the person's, by tag */
            this.choices = {};
            this.turn = 0;
            this.saving = Promise.resolve();
            this.all = new Set(); // columns of which every card is shown
            this.summary = make("p", {class: "lora_train_bind_summary", role: "status", "data-note": "summary"});
            this.outfit = make("input", {type: "checkbox", name: "outfit", on: {change: () => this.chooseOutfit()}});
            this.outfitLine = make("label", {class: "lora_train_check"}, this.outfit,
                make("span", {}, text("The clothes belong to the subject")));
            this.kind = make("span", {class: "lora_train_hint"});
            this.reset = button(text("As advised"), {kind: "quiet", name: "binding-reset", run: () => this.save({})});
            this.apply = button(text("Apply"), {kind: "primary", name: "binding-apply", run: () => this.applyAll()});
            this.effect = make("span", {class: "lora_train_hint"});
            this.columns = Object.fromEntries(DECISIONS.map((decision) => [decision, this.makeColumn(decision)]));
            this.element = make("div", {class: "lora_train_bind"}, this.summary,
                make("div", {class: "lora_train_row"}, this.kind, this.outfitLine,
                    make("div", {class: "lora_train_row lora_train_end"}, this.effect, this.reset, this.apply)),
                make("div", {class: "lora_train_bind_columns"},
                    ...Object.values(this.columns).map((column) => column.element)));
            on("tags", (overview) => {
                const old = overview && this.advice && overview.revision !== this.revision;
                if (old && this.element.isConnected) attempt(() => this.read());
            });
        }

        get path() {
            return [...this.model.path, "binding"];
        }

        makeColumn(decision) {
            const [label, help] = columnWords(decision);
            const count = make("span", {class: "lora_train_hint"});
            const list = make("ul", {class: "lora_train_bind_list"});
            const more = button("", {kind: "quiet", name: "all-tags", run: () => {
                this.all.add(decision);
                this.draw();
            }});
            const element = make("section", {class: `lora_train_bind_column lora_train_bind_${decision}`,
                data: {decision}, "aria-label": label},
            make("h4", {}, label, " ", count), make("p", {class: "lora_train_hint"}, help), list, more);
            return {element, count, list, more};
        }

        async opened() {
            this.advice = null;
            this.choices = {};
            this.all.clear();
            this.element.inert = true; // what it shows is of the last time
            await this.read();
        }

        async read() {
            const turn = this.turn += 1;
            const {revision} = this.model.overview || {};
            const advice = await api.get(this.path);
            if (turn === this.turn) this.take(advice, revision);
        }

        take(advice, revision = this.revision) {
            this.advice = advice;
            this.revision = revision;
            this.element.inert = false;
            if ("outfit" in advice) this.outfit.checked = advice.outfit;
            const overruled = advice.rows.filter((row) => row.decision !== row.suggested);
            this.choices = Object.fromEntries(overruled.map((row) => [row.tag, row.decision]));
            this.draw();
        }

        /** Another decision for a tag. It shows at once; what it means as a whole the server says. */
        overrule(row, decision) {
            row.decision = decision;
            this.draw();
            return this.save({...this.choices, [row.tag]: decision});
        }

        /** Decisions that are kept for tags which are not there now stay: only {} takes them all back. */
        chooseOutfit() {
            const [first] = this.advice.rows;
            return this.save(first ? {...this.choices, [first.tag]: first.decision} : this.choices);
        }

        /** Keeps the decisions on the server. Of several in a row only the last answer is shown. */
        save(choices) {
            this.choices = choices;
            const turn = this.turn += 1;
            const {project} = this.model;
            const body = {choices, outfit: this.outfit.checked};
            this.saving = this.saving.then(async () => {
                if (turn !== this.turn || project !== this.model.project) return;
                const advice = await api.put(this.path, body);
                if (turn === this.turn) this.take(advice);
            }).catch((error) => {
                report(error);
                if (turn === this.turn) attempt(() => this.read()); // what is shown is what is kept
            });
            return this.saving;
        }

        drawAll() {
            const {kind, rows, summary, applies} = this.advice;
            write(this.summary, summary);
            write(this.kind, text("Kind of subject: {kind}", {kind: kindWords(kind)}));
            this.outfitLine.hidden = !OUTFITS.includes(kind);
            for (const one of DECISIONS) this.drawColumn(one, rows.filter((row) => row.decision === one));
            const changed = rows.filter((row) => row.decision === "bind" || row.decision === "fix");
            this.reset.hidden = rows.every((row) => row.decision === row.suggested);
            enable(this.apply, changed.length > 0, text("There is nothing to bind or to fix."));
            this.apply.classList.toggle("lora_train_primary", applies !== false);
            write(this.effect, changed.length ? plural(changed.length, "{count} tag leaves the captions or is replaced",
                "{count} tags leave the captions or are replaced") : "");
        }

        drawColumn(decision, rows) {
            const {element, count, list, more} = this.columns[decision];
            write(count, number(rows.length));
            element.hidden = rows.length === 0 && (decision === "unknown" || decision === "fix");
            const few = this.all.has(decision) ? rows : rows.slice(0, CARDS);
            list.replaceChildren(...few.map((row) => this.card(row)));
            more.hidden = few.length === rows.length;
            write(more, text("Show all {count}", {count: number(rows.length)}));
        }

        /** Draws anew, and leaves the keyboard at the button where it was: a press may move the card. */
        draw() {
            const at = document.activeElement.closest(".lora_train_bind_card");
            const here = at && this.element.contains(at);
            const held = here ? {tag: at.dataset.tag, name: document.activeElement.dataset.action} : null;
            this.drawAll();
            if (!held) return;
            const card = [...this.element.querySelectorAll(".lora_train_bind_card")]
                .find((one) => one.dataset.tag === held.tag);
            const press = card && card.querySelector(`[data-action="${held.name}"]`);
            if (press) press.focus({preventScroll: true});
        }

        card(row) {
            const {tag, translation, count, share, decision, suggested, reason, replacement, disagree} = row;
            const part = make("span", {class: "lora_train_tag_bar", "aria-hidden": "true"});
            part.style.width = `${100 * Math.min(1, share)}%`;
            const overruled = decision !== suggested;
            return make("li", {class: `lora_train_bind_card${overruled ? " lora_train_overruled" : ""}`,
                data: {tag, suggested}},
            make("div", {class: "lora_train_bind_head"}, part,
                make("span", {class: "lora_train_tag_name", translate: "no"}, tag,
                    translation ? make("span", {class: "lora_train_translation"}, translation) : null),
                make("span", {class: "lora_train_hint"}, `${number(count)} · ${number(100 * share)} %`)),
            replacement ? make("p", {translate: "no"}, `→ ${replacement}`) : null,
            make("p", {class: "lora_train_hint"}, reason),
            disagree && disagree.count ? this.faces(disagree) : null,
            make("div", {class: "lora_train_bind_choices", role: "group", "aria-label": tag},
                ...CHOICES.map((one) => this.choice(row, one)),
                overruled ? make("span", {class: "lora_train_hint"}, text("your choice")) : null));
        }

        choice(row, decision) {
            const press = button(choiceWords(decision), {kind: "small", name: `decide-${decision}`,
                run: () => this.decide(row, decision)});
            press.setAttribute("aria-pressed", row.decision === decision);
            press.setAttribute("aria-label", `${choiceWords(decision)}: ${row.tag}`);
            return press;
        }

        /** Pressing the decision that holds already goes back to the advice. */
        decide(row, decision) {
            return this.overrule(row, row.decision === decision ? row.suggested : decision);
        }

        /** Thumbnails of the pictures that disagree; pressed, one is shown. */
        faces({count, pictures}) {
            const shown = pictures.slice(0, FACES).map((id) => {
                const image = make("img", {alt: "", loading: "lazy", decoding: "async"});
                setImage(image, thumbnailUrl(id));
                return make("button", {type: "button", class: "lora_train_bind_face", title: text("Show this picture"),
                    "aria-label": text("Show this picture"), data: {picture: id},
                    on: {click: () => attempt(() => this.showPicture(id))}}, image);
            });
            return make("div", {class: "lora_train_bind_faces"},
                make("span", {class: "lora_train_hint"},
                    plural(count, "{count} picture disagrees", "{count} pictures disagree")), ...shown,
                count > shown.length ? make("span", {class: "lora_train_hint"}, `+${number(count - shown.length)}`)
                    : null);
        }

        async showPicture(id) {
            const {model} = this;
            if (!model.found || !model.found.pictures.includes(id)) await model.find("");
            model.show(id);
            const dialog = this.element.closest("dialog");
            if (dialog) dialog.close();
        }

        async applyAll() {
            await this.saving;
            const {model} = this;
            const before = model.overview.undo ? model.overview.undo.number : 0;
            const {digest} = this.advice;
            try {
                await model.act("binding/apply", {digest, outfit: this.outfit.checked});
            } catch (error) {
                if (error.code === CHANGED) await this.read();
                throw error;
            }
            if (model.project !== (state.project && state.project.id)) return;
            const {undo} = model.overview;
            if (!undo || undo.number === before) return;
            say({sentence: plural(undo.count, "The traits are bound; {count} caption changed.",
                "The traits are bound; {count} captions changed."),
            key: `tags-${undo.number}`, action: {label: text("Undo"), run: () => undoStep(model, undo.number)}});
            if (this.element.isConnected) await this.read();
        }
    }

    /** Undoes a step, if it is the newest still; by then it may have been undone elsewhere. */
    async function undoStep(model, number_) {
        if (model.overview && model.overview.undo && model.overview.undo.number === number_) await model.undo();
        else say({sentence: text("Something was done since. Undo it step by step in the history.")});
    }

    Object.assign(loraTrain, {TagBinding, undoTagStep: undoStep});
})();
