/**
 * Prepare, in the Dataset sub-tab: four steps with what each found, one button that runs them all, and what would
 * change. Nothing changes before Apply.
 */
(() => {
    "use strict";

    const {
        on, emit, onShown, attempt, text, plural, number, duration, moment, stepWords, PREPARE_STEPS,
        make, write, button, enable, sureButton, bar, say, openTab, memory,
    } = loraTrain;
    const TRAINING = "prepare_then_train"; // in the browser's memory: the job after which a training starts

    class PrepareCard {
        /**
         * @param {Preparation} preparation
         * @param {{changed: function(): Promise, restore: function(string): Promise}} calls
         */
        constructor(preparation, calls) {
            this.preparation = preparation;
            this.calls = calls;
            this.opened = "";
            /** @type {Object<string, {element: HTMLElement, show: function(): void}>} */
            this.forms = {};
            this.steps = PREPARE_STEPS.map((name, place) => new loraTrain.StepTile(name, place + 1, this));
            this.press = button(text("Prepare"), {kind: "primary", name: "prepare", run: () => this.start()});
            this.place = make("div", {class: "lora_train_step_settings", hidden: true});
            this.progress = this.makeProgress();
            this.outcome = make("div", {class: "lora_train_prepare_outcome", hidden: true});
            this.changes = this.makeChanges();
            this.undoLine = make("div", {class: "lora_train_row", hidden: true});
            this.planned = new loraTrain.PlannedSettings(preparation);
            this.element = make("section", {
                class: "lora_train_card lora_train_prepare", "aria-label": text("Prepare the pictures"), hidden: true,
            },
            make("div", {class: "lora_train_row"},
                make("strong", {}, text("Prepare the pictures")),
                make("span", {class: "lora_train_hint"}, text("Nothing changes before you apply it.")),
                make("div", {class: "lora_train_row lora_train_end"},
                    button(text("Buckets"), {kind: "quiet", name: "buckets", run: () => this.sheets.buckets.open()}),
                    button(text("Models"), {kind: "quiet", name: "models", run: () => this.sheets.models.open()}),
                    this.press)),
            make("ol", {class: "lora_train_steps"}, ...this.steps.map((step) => step.element)),
            this.place, this.planned.element, this.progress, this.outcome, this.changes, this.undoLine);
            preparation.panel = this.element;
            on("preparation", () => this.show());
            on("prepared", (end) => attempt(() => this.ended(end)));
            onShown(this.element, () => { if (preparation.job) preparation.watch(); });
        }

        /** The windows; made when the first is opened. */
        get sheets() {
            if (this.made) return this.made;
            const {preparation} = this;
            const editor = new loraTrain.CropEditor(preparation);
            const brush = new loraTrain.BrushEditor(preparation);
            this.made = {
                buckets: new loraTrain.BucketSheet(preparation, editor),
                models: new loraTrain.ModelSheet(preparation),
                check: new loraTrain.ReportSheet(preparation, editor, this.calls),
                crop: new loraTrain.CropSheet(preparation, editor),
                matte: new loraTrain.MatteSheet(preparation, brush),
                tag: new loraTrain.TagSheet(preparation),
            };
            return this.made;
        }

        async open(name) {
            await this.preparation.saved();
            await this.sheets[name].open();
        }

        makeProgress() {
            this.stage = make("span", {class: "lora_train_stage", role: "status"});
            this.bar = bar(text("Progress of the preparation"));
            this.stopButton = button(text("Stop"), {
                kind: "stop", name: "stop-prepare", run: () => this.preparation.act("stop"),
            });
            return make("div", {class: "lora_train_prepare_progress", hidden: true},
                make("div", {class: "lora_train_row"}, this.stage,
                    make("span", {class: "lora_train_end"}, this.stopButton)), this.bar);
        }

        makeChanges() {
            this.changeWords = make("span", {});
            this.apply = button(text("Apply"), {kind: "primary", name: "apply", run: () => this.applyAll()});
            this.discard = sureButton(text("Discard"), text("Discard it all?"), {
                name: "discard", run: () => this.discardAll(),
            });
            return make("div", {class: "lora_train_changes lora_train_row", role: "status", hidden: true},
                this.changeWords, make("div", {class: "lora_train_row lora_train_end"}, this.discard, this.apply));
        }

        start() {
            memory.write(TRAINING, "");
            return this.preparation.start(PREPARE_STEPS);
        }

        /** All steps, Apply, and then the training; the page follows while it is looked at. */
        async startTraining(wishes) {
            await this.preparation.start(PREPARE_STEPS, {apply: true, train: wishes});
            const {job} = this.preparation;
            memory.write(TRAINING, job ? job.id : "");
            if (job) this.element.scrollIntoView({block: "nearest", behavior: "smooth"});
            else openTab("train"); // there was nothing to do
        }

        /** A job is over: what it changed is read, and a training that follows is shown to who waited for it. */
        async ended({overview, job, seen}) {
            const training = memory.read(TRAINING) === job.id && overview.last && overview.last.state === "done";
            memory.write(TRAINING, "");
            await this.calls.changed();
            if (!training) return;
            loraTrain.lookNow();
            emit("planned"); // the form has what was planned
            if (seen) openTab("train");
        }

        /** What is written is tagged as it is now: a crop by hand, or another threshold, came after the tags. */
        async applyAll() {
            const {projectId} = this.preparation;
            const settled = await this.preparation.settled();
            if (projectId !== this.preparation.projectId) {
                say({sentence: text("Nothing was applied: another project was opened meanwhile.")});
                return;
            }
            if (!settled) return; // stopped, or failed, as is said below the steps
            const {tag} = this.preparation.overview.steps;
            await this.preparation.start(tag.state === "stale" ? ["tag"] : [], {apply: true});
            await this.calls.changed();
        }

        async discardAll() {
            await this.preparation.act("discard");
            await this.calls.changed();
        }

        async undo() {
            const {undo} = this.preparation.overview;
            await this.preparation.act("undo", {id: undo.id});
            await this.calls.changed();
            say({sentence: text("The pictures and captions are as they were before.")});
        }

        /** Opens the settings of a step below the steps, or closes them. */
        toggleSettings(name) {
            this.opened = this.opened === name ? "" : name;
            this.place.hidden = this.opened === "";
            if (this.opened) {
                this.forms[name] = this.forms[name] || (name === "tag" ? new loraTrain.TagForm(this.preparation)
                    : new loraTrain.SettingsForm(this.preparation, name));
                this.place.replaceChildren(make("strong", {}, stepWords(name)), this.forms[name].element);
                this.forms[name].show();
            }
            this.show();
        }

        show() {
            const {overview} = this.preparation;
            this.element.hidden = !overview || overview.sources === 0 && !overview.undo;
            if (!overview) return;
            const reason = overview.job ? text("It is being prepared already.") : "";
            for (const step of this.steps) step.show(overview, reason);
            const none = overview.sources === 0 ? text("Add pictures first.") : "";
            enable(this.press, !none && !reason, none || reason);
            const done = PREPARE_STEPS.every((name) => overview.steps[name].state === "done");
            this.press.classList.toggle("lora_train_primary", !done);
            this.showJob(overview.job);
            this.showOutcome(overview);
            this.showChanges(overview, reason);
            this.planned.show();
        }

        showJob(job) {
            this.progress.hidden = !job;
            this.element.setAttribute("aria-busy", job !== null);
            if (!job) return;
            const stage = job.stopping ? text("Stopping") : job.state === "queued" ? text("Waiting for its turn")
                : job.stage || text("Preparing");
            const said = [job.total ? `${stage} ${number(job.done)} / ${number(job.total)}` : stage];
            if (memory.read(TRAINING) === job.id) said.push(text("the training starts afterwards"));
            if (job.remaining > 0 && !job.stopping) said.push(text("{time} left", {time: duration(job.remaining)}));
            write(this.stage, said.join(" · "));
            this.bar.set(job.total && job.state === "running" ? job.done / job.total : null);
            const reason = !job.mine ? text("Started by somebody else, who alone can control it.")
                : job.stopping ? text("It is stopping.") : "";
            enable(this.stopButton, reason === "", reason);
        }

        /** What the last run said. */
        showOutcome({last, job}) {
            const quiet = !last || job || last.state === "done" && last.notes.length === 0;
            this.outcome.hidden = Boolean(quiet);
            if (quiet) return;
            const words = {
                stopped: text("Stopped. What was finished until then is kept."),
                interrupted: text("It was interrupted. What was finished until then is kept; prepare again to go on."),
            }[last.state];
            const signature = JSON.stringify(last);
            if (this.outcomeShown === signature) return;
            this.outcomeShown = signature;
            const lines = last.notes.map((note) => make("li", {}, note));
            this.outcome.replaceChildren(...[
                last.error ? loraTrain.errorLine(last.error) : null,
                !last.error && words ? make("p", {}, words) : null,
                lines.length ? make("ul", {class: "lora_train_warnings"}, ...lines) : null,
            ].filter(Boolean));
        }

        showChanges({changes, undo}, reason) {
            const said = [];
            const add = (count, words) => { if (count) said.push(words); };
            const {pictures, added, removed, captions, masks} = changes;
            add(pictures, plural(pictures, "{count} picture changes", "{count} pictures change"));
            add(added, plural(added, "{count} is added", "{count} are added"));
            add(removed, plural(removed, "{count} is taken out", "{count} are taken out"));
            add(captions, plural(captions, "{count} caption changes", "{count} captions change"));
            add(masks, plural(masks, "{count} mask is written", "{count} masks are written"));
            this.changes.hidden = said.length === 0;
            write(this.changeWords, text("When you apply it: {changes}.", {changes: said.join(", ")}));
            const waits = this.preparation.unsettled > 0; // for what a window, just closed, has set going
            enable(this.apply, !reason || waits, reason);
            enable(this.discard, !reason, reason);
            this.undoLine.hidden = !undo;
            const signature = JSON.stringify([undo, Boolean(reason)]);
            if (!undo || this.undoShown === signature) return;
            this.undoShown = signature;
            const back = button(text("Undo"), {name: "undo-prepare", run: () => this.undo()});
            enable(back, !reason, reason);
            this.undoLine.replaceChildren(make("span", {class: "lora_train_hint"},
                text("Applied: {title}, {time}", {title: undo.title, time: moment(undo.time)})), back);
        }
    }

    Object.assign(loraTrain, {PrepareCard});
})();
