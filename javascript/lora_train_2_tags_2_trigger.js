/**
 * The trigger word: checked while it is typed, then put first in every caption, as one step that can be undone.
 */
(() => {
    "use strict";

    const {
        api, on, attempt, later, text, plural, make, write, button, enable, field, say, loadProjects, joined,
    } = loraTrain;
    const WAIT = 200; // ms after the last key
    const LONGEST = 200; // characters, as a project's

    class TagTrigger {
        /** @param {TagModel} model */
        constructor(model) {
            this.model = model;
            this.order = new loraTrain.Latest();
            this.input = make("input", {class: "lora_train_input", type: "text", name: "trigger", maxlength: LONGEST,
                autocomplete: "off", spellcheck: "false", translate: "no",
                placeholder: text("A word without a meaning, such as hana1")});
            this.facts = make("p", {class: "lora_train_hint", role: "status", "data-note": "trigger-word"});
            this.notes = make("ul", {class: "lora_train_warnings"});
            this.press = button(text("Put it first everywhere"), {kind: "primary", name: "trigger-apply",
                run: () => this.apply()});
            this.element = make("div", {class: "lora_train_trigger"},
                make("p", {}, joined(text("The word that calls the LoRA in a prompt."),
                    text("It comes first in every caption, and the training keeps it there."))),
                field(text("Trigger word"), this.input), this.facts, this.notes,
                make("div", {class: "lora_train_row"}, this.press));
            this.checkSoon = later(WAIT, () => attempt(() => this.check()));
            this.input.addEventListener("input", () => this.typed());
            this.input.addEventListener("keydown", (event) => {
                if (event.key !== "Enter" || event.isComposing) return;
                event.preventDefault();
                if (!this.press.disabled) this.press.click();
            });
            on("tags", (overview) => { if (overview && this.element.isConnected) this.follow(); });
        }

        /** The word may have changed, by Undo or elsewhere: what was not typed here goes along with it. */
        follow() {
            const {current} = this;
            if (this.word === this.followed) this.input.value = current;
            this.followed = current;
            this.checkSoon();
        }

        get word() {
            return this.input.value.trim();
        }

        /** The project's word now. */
        get current() {
            const {overview} = this.model;
            return overview ? overview.trigger.word : "";
        }

        async opened() {
            this.input.value = this.followed = this.current;
            write(this.facts, "");
            this.notes.replaceChildren();
            this.input.focus();
            this.input.select();
            await this.check();
        }

        typed() {
            this.order.drop();
            enable(this.press, false, text("It is being checked."));
            this.checkSoon();
        }

        /** Asks what speaks against the word. */
        async check() {
            const {word, model} = this;
            const answer = await this.order.ask(() => Promise.all([
                api.get([...model.path, "trigger"], {word}), this.elsewhere(word)]));
            if (!answer || !model.overview) return;
            const [{notes, missing}, elsewhere] = answer;
            const same = word === this.current;
            this.notes.replaceChildren(...notes.map((one) => make("li", {}, one)));
            write(this.facts, [
                word ? this.missingWords(missing) : "",
                word && elsewhere > missing ? plural(elsewhere - missing, "not first in {count} caption",
                    "not first in {count} captions") : "",
            ].filter(Boolean).join(" · "));
            const idle = same && elsewhere === 0;
            enable(this.press, !idle, word ? text("It is the trigger word already, and first everywhere.")
                : text("There is no trigger word."));
            write(this.press, word || !this.current ? text("Put it first everywhere") : text("Remove it everywhere"));
        }

        /** In how many captions the word does not come first, those without it included. */
        async elsewhere(word) {
            const tags = word.split(",").map((one) => one.trim()).filter(Boolean);
            if (tags.length === 0) return 0;
            const edit = {kind: "add", tags, where: "front", move: true};
            const question = {edit, filter: "-is:regularization", offset: 0, limit: 1};
            return (await api.post([...this.model.path, "preview"], question)).changes;
        }

        missingWords(missing) {
            return missing === 0 ? text("in every caption")
                : plural(missing, "missing in {count} caption", "missing in {count} captions");
        }

        async apply() {
            const {model, word} = this;
            const before = model.overview.undo ? model.overview.undo.number : 0;
            await model.act("trigger", {word});
            await loadProjects(); // whose trigger word it is
            const {undo} = model.overview;
            if (!undo || undo.number === before) return;
            const sentence = word ? text("“{word}” is the trigger word, first in every caption.", {word})
                : text("There is no trigger word any more.");
            say({sentence, key: `tags-${undo.number}`, action: {label: text("Undo"), run: async () => {
                await loraTrain.undoTagStep(model, undo.number);
                await loadProjects();
            }}});
            await this.opened();
        }
    }

    Object.assign(loraTrain, {TagTrigger});
})();
