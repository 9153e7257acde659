/**
 * A window for making a grid, or changing one: which files, at which weights, by which prompts and seeds; beside it
 * what that would be, while it is being set.
 */
(() => {
    "use strict";

    const {
        state, api, on, attempt, later, text, plural, number, duration, moment, make, write, button, enable, choice,
        folded, say, joined, GridField, NameList,
    } = loraTrain;
    const WAIT = 250; // ms after the last key
    const DRAWING = ["negative_prompt", "sampler", "steps", "cfg_scale", "width", "height", "clip_skip"];
    const SIZES = ["width", "height"]; // left to the checkpoint as long as nobody asks for others
    const OURS = ["captions", "templates"]; // matter as long as the prompts are left to us
    const MOST_SEED = 2 ** 32;

    /** What a prompt is there for, in words. */
    function kindWords(kind) {
        return {
            caption: text("From a caption"), template: text("From a template"), leak: text("Without the trigger word"),
            own: text("Your own"),
        }[kind] || kind;
    }

    function promptWords({kind, label}) {
        return label && kind === "template" ? text("From a template: {label}", {label}) : kindWords(kind);
    }

    function seedsLike(words) {
        const count = Math.max(1, words.split(/[,，]/).filter((one) => one.trim()).length);
        return Array.from({length: count}, () => Math.floor(Math.random() * MOST_SEED)).join(", ");
    }

    class PreviewPlan {
        /** @param {PreviewModel} model */
        constructor(model) {
            this.model = model;
            /** @type {Map<string, GridField>} by the setting's name */
            this.fields = new Map();
            this.grid = ""; // id of the one that is changed; "" makes a new one
            this.order = new loraTrain.Latest(); // of what is planned
            /** @type {?{question: Object, answer: Object}} what is shown */
            this.planned = null;
            const changed = () => this.changed();
            this.runs = new NameList(text("Runs"), {name: "runs", none: "", changed});
            this.files = new NameList(text("Files of the LoRA folder"), {name: "files", none: "", changed});
            this.bases = new NameList(text("Checkpoints"), {name: "bases", changed,
                none: text("The one that was trained on.")});
            this.modePlace = make("div", {});
            this.formPlace = make("div", {class: "lora_train_previews_form"});
            this.problem = make("p", {class: "lora_train_message lora_train_error", role: "alert", hidden: true});
            this.result = make("div", {class: "lora_train_previews_plan_result"});
            this.press = button(text("Make the grid"), {kind: "primary", name: "make-grid", run: () => this.start()});
            this.usual = button(text("Usual settings"), {kind: "quiet", name: "usual-settings",
                run: () => this.reset()});
            this.element = make("div", {class: "lora_train_previews_plan"},
                make("div", {class: "lora_train_previews_side"}, this.modePlace, this.runs.element, this.files.element,
                    this.bases.element, this.formPlace),
                make("div", {class: "lora_train_previews_beside"},
                    make("div", {class: "lora_train_row lora_train_previews_make"}, this.press, this.usual),
                    this.problem, this.result));
            this.readSoon = later(WAIT, () => { if (this.element.isConnected) attempt(() => this.read()); });
            this.element.addEventListener("keydown", (event) => this.key(event));
            on("runs", () => { if (this.element.isConnected) this.showRuns(); });
        }

        /** @param {?{grid?: ?{id: string}, runs?: string[], files?: string[]}} given what to begin with */
        async opened(given = null) {
            const wish = given || {};
            if (this.fields.size === 0) this.build();
            const {files} = await api.get(this.model.root("tools"));
            this.names = files.map((name) => ({value: name, words: name}));
            this.grid = wish.grid ? wish.grid.id : "";
            await this.begin(wish);
        }

        /** Of what the form is: as long as it is the same, what was typed stays when the window is opened again. */
        get subject() {
            return `${this.model.project} ${this.grid}`;
        }

        closed() {
            this.order.drop();
        }

        build() {
            const {schema, samplers} = this.model.overview;
            for (const setting of schema) {
                const options = setting.name === "sampler" ? samplers.map((one) => [one, one]) : null;
                const one = new GridField(setting, () => this.changed(), options);
                if (SIZES.includes(setting.name)) one.value = null;
                this.fields.set(setting.name, one);
            }
            const seeds = this.fields.get("seeds");
            if (seeds) {
                seeds.element.append(button(text("Other seeds"), {kind: "small", name: "other-seeds", run: () => {
                    seeds.value = seedsLike(seeds.value);
                    this.changed();
                }}));
            }
            const elements = (wanted) => [...this.fields].filter(([name]) => DRAWING.includes(name) === wanted)
                .map(([, one]) => one.element);
            this.drawing = folded("", make("div", {class: "lora_train_settings_grid"}, ...elements(true)));
            this.formPlace.replaceChildren(...elements(false), this.drawing);
        }

        /** The form as the grid that is changed has it, or as a new one begins. */
        async begin(wish = {}) {
            const {model} = this;
            const again = this.subject === this.begun && !wish.runs && !wish.files;
            let shown = model.grid;
            if (this.grid && (!shown || shown.id !== this.grid)) {
                shown = await api.get(model.root(this.grid), {cells: false});
            }
            const asked = again ? this.question : this.grid ? shown.asked
                : {runs: wish.runs || [], files: wish.files || [], bases: []};
            this.begun = this.subject;
            this.drawMode();
            this.runs.show(this.runNames(asked.runs), asked.runs);
            this.files.show(this.names, asked.files);
            this.bases.show(state.checkpoints.map(({name, family}) => ({value: name, words: name, hint: family})),
                asked.bases);
            if (!again && this.grid) this.fillIn(shown.settings);
            else if (!again && shown) this.fillIn({...shown.settings, ...this.own});
            this.changed();
        }

        /** The choice between a new grid and the one that is shown. */
        drawMode() {
            const {grid} = this.model;
            const id = this.grid || (grid ? grid.id : "");
            this.modePlace.hidden = id === "";
            if (!id) return;
            const held = this.modePlace.contains(document.activeElement);
            this.modePlace.replaceChildren(choice(text("What to make"), [["", text("A new grid")],
                [id, text("Change {grid}", {grid: id})]], this.grid, (wanted) => {
                this.grid = wanted;
                if (!wanted) this.begun = this.subject; // a new one like the one that would have been changed
                return attempt(() => this.begin());
            }));
            if (held) this.modePlace.querySelector("input:checked").focus();
        }

        /** Those that have a file, or may have one somewhere else. */
        runNames(also = []) {
            return state.runs.filter((run) => run.lora || also.includes(run.id)
                || ["done", "stopped", "interrupted"].includes(run.state))
                .map((run) => ({value: run.id, words: run.title, hint: moment(run.ended || run.created)}));
        }

        showRuns() {
            const names = this.runNames(this.runs.values);
            if (JSON.stringify(names) !== JSON.stringify(this.runs.names)) this.runs.show(names);
        }

        /** What a new grid does not take over: its sizes, and how few files an automatic one had time for. */
        get own() {
            const {setting} = this.fields.get("checkpoints");
            return {width: null, height: null, checkpoints: setting.default};
        }

        fillIn(values) {
            for (const [name, one] of this.fields) if (name in values) one.value = values[name];
        }

        /** Everything as it is without being asked. */
        reset() {
            for (const [name, one] of this.fields) one.value = SIZES.includes(name) ? null : one.setting.default;
            this.changed();
        }

        get settings() {
            const given = [...this.fields].map(([name, one]) => [name, one.value]);
            return Object.fromEntries(given.filter(([, value]) => value !== null));
        }

        get question() {
            return {runs: this.runs.values, files: this.files.values, bases: this.bases.values,
                settings: this.settings};
        }

        changed() {
            this.planned = null;
            this.order.drop();
            const own = this.fields.get("prompts").value.trim() !== "";
            for (const name of OURS) this.fields.get(name).element.hidden = own;
            this.runs.none = this.files.values.length ? "" : text("The newest one that has saved a file.");
            this.runs.drawHint();
            this.drawPress();
            this.result.setAttribute("aria-busy", "true");
            this.readSoon();
        }

        async read() {
            const {question} = this;
            let [answer, problem] = [null, null];
            try {
                answer = await this.order.ask(() => api.post(this.model.root("plan"), question));
                if (!answer) return;
            } catch (error) {
                problem = error;
            }
            this.result.removeAttribute("aria-busy");
            this.planned = answer ? {question, answer} : null;
            this.blame(problem);
            if (answer) this.draw(answer);
            this.drawPress();
        }

        /** What speaks against it, at the field that it is about where there is one. */
        blame(problem) {
            const words = problem ? joined(problem.sentence || problem.message, problem.remedy) : "";
            const named = problem && problem.where ? this.fields.get(problem.where) : null;
            for (const one of this.fields.values()) one.blame(one === named ? words : "");
            if (named && this.drawing.contains(named.element)) this.drawing.open = true;
            this.problem.hidden = !problem || Boolean(named);
            write(this.problem, words);
            if (problem) this.result.replaceChildren();
        }

        draw(plan) {
            for (const [name, one] of this.fields) one.suggest(plan.settings[name]);
            const {sampler, steps, width, height} = plan.settings;
            write(this.drawing.querySelector("summary"), text("How it is drawn: {sampler}, {steps} steps, {size} px",
                {sampler, steps, size: `${width} × ${height}`}));
            const axes = [
                plural(plan.columns.length, "{count} file", "{count} files"),
                plural(plan.weights.length, "{count} weight", "{count} weights"),
                plural(plan.prompts.length, "{count} prompt", "{count} prompts"),
                plural(plan.seeds.length, "{count} seed", "{count} seeds"),
                plan.bases.length > 1 ? plural(plan.bases.length, "{count} checkpoint", "{count} checkpoints") : "",
            ].filter(Boolean).join(" × ");
            const missing = plan.columns.filter((column) => !column.there);
            this.result.replaceChildren(
                make("p", {class: "lora_train_previews_size", role: "status"},
                    plural(plan.size, "{count} picture", "{count} pictures")),
                make("p", {}, axes),
                make("p", {}, ...this.work(plan)),
                plan.weights.includes(0) && plan.columns.length > 1 ? make("p", {class: "lora_train_hint"},
                    text("Weight 0 is drawn once for all files.")) : "",
                ...plan.notes.map((note) => make("p", {class: "lora_train_previews_note"}, note)),
                missing.length ? make("p", {class: "lora_train_previews_note"}, text("These files are gone: {names}",
                    {names: missing.map((column) => column.label).join(", ")})) : "",
                ...this.prompts(plan), this.columns(plan));
        }

        /** How much there is to do, and how long it takes. */
        work(plan) {
            const same = plan.grid && plan.grid !== this.grid ? text("It is there already as {grid}.",
                {grid: plan.grid}) : "";
            const kept = plan.kept > 0 && plan.new > 0 ? text("{new} to draw, {kept} are there already.",
                {new: number(plan.new), kept: number(plan.kept)}) : "";
            const time = plan.new === 0 ? text("Nothing has to be drawn.")
                : plan.seconds === null ? text("How long it takes can be told when something was drawn here.")
                    : text("It takes about {time}.", {time: duration(plan.seconds)});
            const busy = plan.new > 0 && (state.live && state.live.running
                || this.model.overview.grids.some((one) => one.job && one.id !== this.grid));
            const wait = busy ? text("The model is in use now; the grid waits for its turn.") : "";
            return [joined(same, kept, time, wait)];
        }

        prompts(plan) {
            const own = plan.prompts.every((prompt) => this.fields.get("prompts").value.includes(prompt.text));
            const take = button(text("Write them myself"), {kind: "small", name: "own-prompts", run: () => {
                const {control} = this.fields.get("prompts");
                this.fields.get("prompts").value = plan.prompts.map((prompt) => prompt.text).join("\n");
                this.changed();
                control.focus();
            }});
            return [
                make("div", {class: "lora_train_row"}, make("h4", {}, text("What is asked for")), own ? null : take),
                make("ul", {class: "lora_train_previews_prompts"}, ...plan.prompts.map((prompt) => make("li", {
                    data: {kind: prompt.kind},
                }, make("span", {class: "lora_train_hint"}, promptWords(prompt)),
                make("span", {translate: "no"}, prompt.text)))),
            ];
        }

        columns(plan) {
            const lines = plan.columns.map((column) => make("li", {}, make("span", {translate: "no"}, column.label),
                column.epoch ? make("span", {class: "lora_train_hint"},
                    text("epoch {epoch}, step {step}", {epoch: number(column.epoch), step: number(column.step)}))
                    : null));
            return folded(plural(lines.length, "{count} file", "{count} files"),
                make("ul", {class: "lora_train_previews_columns"}, ...lines));
        }

        drawPress() {
            const plan = this.planned && this.planned.answer;
            const there = plan && plan.grid && plan.new === 0 && !this.grid;
            write(this.press, !plan || plan.new === 0 && !there ? this.grid ? text("Change {grid}", {grid: this.grid})
                : text("Make the grid")
                : there ? text("Show {grid}", {grid: plan.grid})
                    : plural(plan.new, "Draw {count} picture", "Draw {count} pictures"));
            enable(this.press, Boolean(plan), this.problem.textContent);
        }

        key(event) {
            if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || this.press.disabled) return;
            event.preventDefault();
            this.press.click();
        }

        /** Puts it in line, or goes on with the one that is asked for in the same way. */
        async start() {
            const {model, grid} = this;
            const {question, answer} = this.planned;
            let made = answer.grid;
            const there = made && answer.new === 0 && !grid;
            if (!there) {
                await model.act(async () => { made = (await api.post(model.root(), {...question, grid})).grid; });
            }
            this.begun = "";
            await model.show(made);
            const dialog = this.element.closest("dialog");
            if (dialog) dialog.close();
            if (!there) say({sentence: text("The grid {grid} is in line.", {grid: made}), key: `grid-${made}`});
        }
    }

    Object.assign(loraTrain, {PreviewPlan});
})();
