/**
 * Train now: from the pictures to a LoRA with planned settings, and what that will mean in one line beforehand.
 */
(() => {
    "use strict";

    const {
        state, api, on, emit, attempt, text, plural, number, bytes, memory, later, shown,
        make, write, button, enable, select, fill, field, choice, openTab, lookNow,
    } = loraTrain;
    const PLAN_WAIT = 500; // ms after the last change

    function choiceWords(name) {
        return {quick: text("Quick"), balanced: text("Balanced"), thorough: text("Thorough")}[name] || name;
    }

    class TrainNow {
        /**
         * @param {function(): number} countPictures of the open project
         * @param {PrepareCard} prepare
         */
        constructor(countPictures, prepare) {
            this.countPictures = countPictures;
            this.prepare = prepare;
            this.choice = memory.read("choice") || "balanced";
            this.generation = 0;
            this.checkpoint = select([], "", {"data-action": "checkpoint"});
            this.checkpoint.addEventListener("change", () => {
                memory.write("checkpoint", this.checkpoint.value);
                this.planSoon();
            });
            const choices = state.session.choices.map((name) => [name, choiceWords(name)]);
            this.press = button(text("Train now"), {kind: "primary", name: "train-now", run: () => this.start()});
            this.first = make("input", {type: "checkbox", "data-action": "prepare-first"});
            this.first.addEventListener("change", () => {
                memory.write(this.firstKey, this.first.checked ? "yes" : "no");
            });
            this.firstLine = make("label", {class: "lora_train_check", hidden: true}, this.first,
                make("span", {}, text("Prepare first"), " ", make("span", {class: "lora_train_hint"},
                    text("check, crop, background and tags as set below"))));
            this.line = make("p", {class: "lora_train_plan_line", role: "status"});
            this.warnings = make("ul", {class: "lora_train_warnings"});
            this.element = make("section", {class: "lora_train_card", "aria-label": text("Train now")},
                make("div", {class: "lora_train_train_now"},
                    field(text("Train on"), this.checkpoint),
                    choice(text("Quality"), choices, this.choice, (value) => this.choose(value)), this.press),
                this.firstLine, this.line, this.warnings);
            this.planSoon = later(PLAN_WAIT, () => attempt(() => this.plan()));
            on("checkpoints", () => this.showCheckpoints());
            on("live", () => this.showButton());
            on("preparation", () => this.showFirst());
            loraTrain.onShown(this.element, () => this.planSoon());
        }

        choose(value) {
            this.choice = value;
            memory.write("choice", value);
            this.planSoon();
        }

        get firstKey() {
            return `prepare_first_${state.project.id}`;
        }

        /** Whether it is prepared first: as it was said for this project, else where something is left to do. */
        showFirst() {
            const {preparation} = this.prepare;
            this.firstLine.hidden = !preparation.overview;
            if (!preparation.overview) return;
            const said = memory.read(this.firstKey);
            this.first.checked = said ? said === "yes" : preparation.never || preparation.unapplied > 0;
            this.showButton();
        }

        showCheckpoints() {
            const known = state.checkpoints;
            const current = known.find((one) => one.current) || known[0];
            const wished = known.find((one) => one.name === memory.read("checkpoint")) || current;
            fill(this.checkpoint, known.map((one) => [one.name, one.name]), wished ? wished.name : "");
            this.planSoon();
        }

        /** Something that the plan depends on has changed. */
        refresh() {
            this.showButton();
            this.planSoon();
        }

        get wishes() {
            return {kind: state.project.kind, medium: "auto", choice: this.choice, checkpoint: this.checkpoint.value};
        }

        /** Why it cannot be pressed; "" when it can. */
        get obstacle() {
            if (this.countPictures() === 0) return text("Add pictures first.");
            if (!this.checkpoint.value) return text("There is no checkpoint to train on.");
            if (this.prepare.preparation.job) return text("It is being prepared already.");
            return "";
        }

        showButton() {
            const busy = state.live && (state.live.running || state.live.queue.length);
            write(this.press, busy ? text("Train next") : text("Train now"));
            enable(this.press, this.obstacle === "", this.obstacle);
        }

        async plan() {
            this.generation += 1;
            const generation = this.generation;
            this.warnings.replaceChildren();
            if (!state.project || this.obstacle) {
                write(this.line, state.project ? this.obstacle : "");
                return;
            }
            if (!shown(this.element)) return;
            write(this.line, text("Planning…"));
            try {
                const plan = await api.post(["projects", state.project.id, "plan"], this.wishes);
                if (generation === this.generation) this.showPlan(plan);
            } catch (error) {
                if (generation !== this.generation) return;
                write(this.line, `${error.sentence || error.message} ${error.remedy || ""}`);
            }
        }

        showPlan(plan) {
            const pictures = plural(this.countPictures(), "{count} picture", "{count} pictures");
            const [steps, need, free] = [number(plan.steps), bytes(plan.need), bytes(plan.free)];
            write(this.line, text("{steps} steps on {pictures}; needs {need} of {budget} memory.",
                {steps, pictures, need, budget: free}));
            const warnings = plan.fits ? [] : [text("It may not fit into memory: {need} are needed, {budget} are free.",
                {need, budget: free})];
            this.warnings.replaceChildren(...[...warnings, ...plan.warnings].map((words) => make("li", {}, words)));
        }

        async start() {
            if (this.first.checked && !this.firstLine.hidden) {
                await this.prepare.startTraining(this.wishes);
                return;
            }
            const started = await api.post(["projects", state.project.id, "runs"], {wishes: this.wishes});
            lookNow();
            emit("planned"); // the form has what was planned, and the choice made here
            openTab("train");
            if (started.state === "queued") {
                loraTrain.say({sentence: text("Waiting in line at place {place}.", {place: number(started.place)})});
            }
        }
    }

    Object.assign(loraTrain, {TrainNow, choiceWords});
})();
