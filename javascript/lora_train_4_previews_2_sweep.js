/**
 * A window for trying several values of some settings: every combination becomes a run, and all of them stand in one
 * grid afterwards.
 */
(() => {
    "use strict";

    const {
        state, api, on, attempt, later, text, plural, duration, word, make, write, button, enable, field, select, fill,
        say, openTab, lookNow, loadRuns, joined, SweepAxis,
    } = loraTrain;
    const WAIT = 300; // ms after the last key
    // Nobody would compare these; what a project decides is left out as well.
    const REFUSED = ["run.logging_dir", "run.sample_prompts", "run.training_comment", "run.grid_after_training"];
    const FORM = ""; // the settings of Train's form, else those of a run
    const MOST_RUNS = 20; // to begin with

    function groupWords(name) {
        return {
            model: text("Model"), dataset: text("Captions and pictures"), network: text("LoRA"),
            optimizer: text("Optimizer and rates"), loss: text("Loss and noise"),
            run: text("Length, saving and samples"),
        }[name] || name;
    }

    class PreviewSweep {
        /** @param {PreviewModel} model */
        constructor(model) {
            this.model = model;
            /** @type {{name: string, settings: Object[]}[]} groups that can be swept */
            this.groups = [];
            /** @type {SweepAxis[]} */
            this.axes = [];
            this.base = FORM;
            /** @type {?Object} settings by group, on top of which the values are put */
            this.settings = null;
            this.asking = 0;
            this.planned = null;
            this.basePlace = select([], FORM, {"data-action": "sweep-base", translate: "no"});
            this.basePlace.addEventListener("change", () => {
                this.base = this.basePlace.value;
                return attempt(() => this.readBase());
            });
            this.add = select([], "", {"data-action": "add-axis"});
            this.add.addEventListener("change", () => { if (this.add.value) this.addAxis(this.add.value); });
            this.axesPlace = make("div", {class: "lora_train_previews_axes"});
            this.problem = make("p", {class: "lora_train_message lora_train_error", role: "alert", hidden: true});
            this.result = make("div", {class: "lora_train_previews_plan_result"});
            this.press = button(text("Start the runs"), {kind: "primary", name: "start-sweep",
                run: () => this.start()});
            this.element = make("div", {class: "lora_train_previews_plan lora_train_previews_sweep"},
                make("div", {class: "lora_train_previews_side"},
                    make("p", {class: "lora_train_hint"}, joined(
                        text("Choose settings, and write several values of each."),
                        text("Every combination is trained as a run, and all of them stand in one grid afterwards."))),
                    this.axesPlace, field(text("Try values of"), this.add),
                    field(text("Everything else as in"), this.basePlace)),
                make("div", {class: "lora_train_previews_beside"},
                    make("div", {class: "lora_train_row lora_train_previews_make"}, this.press), this.problem,
                    this.result));
            this.readSoon = later(WAIT, () => { if (this.element.isConnected) attempt(() => this.read()); });
            on("project", () => this.forget());
        }

        /** Another project: its settings are others. */
        forget() {
            if (this.project === this.model.project) return;
            this.axes = [];
            this.base = FORM;
            this.axesPlace.replaceChildren();
        }

        async opened() {
            this.project = this.model.project;
            if (this.groups.length === 0) this.groups = (await api.get(["schema"])).groups.map((group) => ({
                name: group.name, settings: group.settings
                    .filter((one) => !one.managed && !REFUSED.includes(`${group.name}.${one.name}`))
                    .map((one) => ({...one, group: group.name})),
            }));
            const runs = state.runs.slice(0, MOST_RUNS).map((run) => [run.id, run.title]);
            if (!runs.some(([id]) => id === this.base)) this.base = FORM;
            fill(this.basePlace, [[FORM, text("The form in Train")], ...runs], this.base);
            await this.readBase();
            this.drawAdd();
            (this.axes[0] || this.add).focus();
        }

        closed() {
            this.asking += 1;
        }

        /** The settings that hold where nothing is tried: a form that nobody has filled in is what would be planned. */
        async readBase() {
            const {project, base} = this;
            this.add.disabled = true; // a value begins as it is there
            let [settings, problem] = [null, null];
            try {
                settings = await this.askBase(["projects", project]);
            } catch (error) {
                problem = error;
            }
            if (project !== this.project || base !== this.base) return;
            this.settings = settings;
            this.add.disabled = settings === null;
            this.changed();
            if (problem) this.blame(problem);
        }

        async askBase(path) {
            if (this.base !== FORM) return (await api.get([...path, "runs", this.base])).settings;
            const settings = await api.get([...path, "settings"]);
            return settings.model.checkpoint ? settings : (await api.post([...path, "plan"])).settings;
        }

        /** The settings that are left to choose from, by their groups. */
        drawAdd() {
            const taken = new Set(this.axes.map((axis) => axis.key));
            const groups = this.groups.map(({name, settings}) => make("optgroup", {label: groupWords(name)},
                ...settings.filter((one) => !taken.has(`${one.group}.${one.name}`)).map((one) =>
                    make("option", {value: `${one.group}.${one.name}`}, word(one.label)))));
            this.add.replaceChildren(make("option", {value: ""}, text("a setting…")), ...groups);
            this.add.value = "";
        }

        addAxis(key) {
            const [group, name] = key.split(".");
            const setting = this.groups.find((one) => one.name === group).settings.find((one) => one.name === name);
            const axis = new SweepAxis(setting, this.settings[group][name], {
                changed: () => this.changed(),
                remove: (one) => {
                    this.axes = this.axes.filter((other) => other !== one);
                    one.element.remove();
                    this.drawAdd();
                    this.add.focus();
                    this.changed();
                },
            });
            this.axes.push(axis);
            this.axesPlace.append(axis.element);
            this.drawAdd();
            axis.focus();
            this.changed();
        }

        get question() {
            const values = Object.fromEntries(this.axes.map((axis) => [axis.key, axis.values]));
            // Whoever tries several values wants to see them side by side, whatever single runs do.
            const run = {...this.settings.run, grid_after_training: true};
            return {values, settings: {...this.settings, run}};
        }

        get filled() {
            return this.settings !== null && this.axes.length > 0 && this.axes.every((axis) => axis.values.length);
        }

        changed() {
            this.planned = null;
            this.asking += 1;
            this.drawPress();
            if (this.filled) {
                this.result.setAttribute("aria-busy", "true");
                this.readSoon();
                return;
            }
            this.blame(null);
            this.result.removeAttribute("aria-busy");
            this.result.replaceChildren(make("p", {class: "lora_train_hint"}, this.axes.length
                ? text("Each setting needs at least one value.") : text("The runs are listed here.")));
        }

        async read() {
            if (!this.filled) return;
            this.asking += 1;
            const {asking, question} = this;
            let [answer, problem] = [null, null];
            try {
                answer = await api.post(this.model.root("sweep"), question);
            } catch (error) {
                problem = error;
            }
            if (asking !== this.asking) return;
            this.result.removeAttribute("aria-busy");
            this.blame(problem);
            this.planned = answer ? {question, runs: answer.runs} : null;
            if (answer) this.draw(answer.runs);
            this.drawPress();
        }

        /** What speaks against it, at the setting that it is about where there is one. */
        blame(problem) {
            const words = problem ? joined(problem.sentence || problem.message, problem.remedy) : "";
            const named = problem && problem.where
                ? this.axes.find((axis) => problem.where === axis.setting.name || problem.where === axis.key) : null;
            for (const axis of this.axes) axis.blame(axis === named ? words : "");
            this.problem.hidden = !problem || Boolean(named);
            write(this.problem, words);
            if (problem) this.result.replaceChildren();
        }

        draw(runs) {
            const steps = runs.reduce((sum, run) => sum + run.steps, 0);
            const pace = secondsOfStep(this.settings.model.checkpoint);
            const time = pace === null ? text("How long they take can be told when something was trained here.")
                : text("They take about {time}.", {time: duration(steps * pace)});
            this.result.replaceChildren(
                make("p", {class: "lora_train_previews_size", role: "status"},
                    plural(runs.length, "{count} run", "{count} runs")),
                steps ? make("p", {}, joined(plural(steps, "{count} step altogether.", "{count} steps altogether."),
                    time)) : "",
                make("ol", {class: "lora_train_previews_runs"}, ...runs.map((run) => make("li", {},
                    make("span", {translate: "no"}, run.label),
                    run.problem ? make("span", {class: "lora_train_field_problem"},
                        joined(run.problem.sentence, run.problem.remedy))
                        : make("span", {class: "lora_train_hint"},
                            plural(run.steps, "{count} step", "{count} steps"))))));
        }

        get refused() {
            return this.planned !== null && this.planned.runs.some((run) => run.problem);
        }

        drawPress() {
            const count = this.planned ? this.planned.runs.length : 0;
            write(this.press, count ? plural(count, "Start {count} run", "Start {count} runs")
                : text("Start the runs"));
            enable(this.press, count > 0 && !this.refused, this.refused
                ? text("One of the runs cannot be trained like this.") : "");
        }

        /** All of what is shown, or nothing. */
        async start() {
            const {question, runs} = this.planned;
            await api.post(this.model.root("sweep"), {...question, start: true});
            lookNow();
            const dialog = this.element.closest("dialog");
            if (dialog) dialog.close();
            say({sentence: plural(runs.length, "{count} run is in line. Its grid is made afterwards.",
                "{count} runs are in line. Their grid is made when the last one is done."),
            action: {label: text("Show them"), run: () => openTab("train")}});
            await loadRuns();
        }
    }

    /** By the last run on the same checkpoint, else by the last one; null before anything was trained. */
    function secondsOfStep(checkpoint) {
        const done = state.runs.filter((run) => run.started && run.ended > run.started && run.step > 0
            && run.attempt === 1);
        const run = done.find((one) => one.checkpoint === checkpoint) || done[0];
        return run ? (run.ended - run.started) / run.step : null;
    }

    Object.assign(loraTrain, {PreviewSweep});
})();
