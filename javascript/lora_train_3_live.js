/**
 * At the top of the Train sub-tab: the run under way with its controls, or how the last one ended; below it the line
 * of those that wait.
 */
(() => {
    "use strict";

    const {
        state, api, url, on, onStart, onShown, shown, attempt, text, number, significant, bytes, duration, moment,
        control, runTitle, atSteps, lookNow, make, write, button, enable, sureButton, bar, facts, download, openTab,
    } = loraTrain;
    const LOOK_AT_RUN = 2000; // ms between readings of curve and log while a run goes on

    /** How a run stands, in words. */
    function stateWords(run) {
        return {
            queued: text("Waiting"), running: text("Training"), done: text("Finished"), stopped: text("Stopped"),
            failed: text("Failed"), interrupted: text("Interrupted"),
        }[run.state] || run.state;
    }

    function stateChip(run) {
        const given = {class: `lora_train_state lora_train_state_${run.state}`, data: {state: run.state}};
        return make("span", given, stateWords(run));
    }

    /** The file of a run that the person wants: the last one. */
    function loraUrl(run) {
        return url(["projects", run.project, "runs", run.id, "files", run.lora]);
    }

    /** Starts a run again where it stopped, or a new one from its file, and shows it. */
    async function startAgain(run, action, body = {}) {
        await api.post(["projects", run.project, "runs", run.id, action], body);
        lookNow();
        openTab("train");
        document.getElementById("lora_train_live").scrollIntoView({block: "nearest"});
    }

    /** The grid that followed a run, in Previews. */
    async function showGrid(run) {
        openTab("previews");
        await loraTrain.previews.show(run.grid);
    }

    /** What became of the grid that follows a run; null where nothing is said. */
    function gridNote(run) {
        return run.grid_note ? make("p", {class: "lora_train_hint", data: {gridNote: run.grid}}, run.grid_note) : null;
    }

    /** The buttons of a run that is over, as far as they make sense for it. */
    function endedButtons(run) {
        const buttons = [];
        if (run.lora) {
            buttons.push(button(text("Download the LoRA"), {
                kind: "primary", name: "download-lora", title: run.lora, run: () => download(loraUrl(run), run.lora),
            }));
        }
        if (run.grid) {
            buttons.push(button(text("Compare its checkpoints"), {
                name: "show-grid", title: text("In Previews, where one can be picked"), run: () => showGrid(run),
            }));
        }
        if (run.can_resume) {
            buttons.push(button(text("Resume"), {name: "resume", run: () => startAgain(run, "resume")}));
        }
        if (run.lora) {
            buttons.push(button(text("Continue from it"), {
                name: "continue-from", title: text("A new run that begins with this LoRA"),
                run: () => startAgain(run, "continue", {file: ""}),
            }));
        }
        return buttons;
    }

    class Controls {
        constructor() {
            this.job = "";
            const tell = (action, body) => () => control(this.job, action, body);
            this.pauseButton = button(text("Pause"), {
                name: "pause", run: () => control(this.job, this.paused ? "continue" : "pause"),
            });
            this.saveButton = button(text("Save now"), {name: "save", run: tell("save")});
            this.sampleButton = button(text("Sample now"), {name: "sample", run: tell("sample")});
            this.stopSaveButton = button(text("Stop and save"), {
                name: "stop-and-save", run: tell("stop", {save: true}),
            });
            this.stopButton = sureButton(text("Stop"), text("Stop without saving?"), {
                kind: "stop", name: "stop", run: tell("stop", {save: false}),
            });
            this.buttons = [this.pauseButton, this.saveButton, this.sampleButton, this.stopSaveButton, this.stopButton];
            this.note = make("p", {class: "lora_train_hint", hidden: true});
            this.element = make("div", {
                class: "lora_train_controls", role: "group", "aria-label": text("Control the training"),
            }, ...this.buttons, this.note);
        }

        show(run) {
            this.job = run.job;
            this.paused = run.paused;
            write(this.pauseButton, run.paused ? text("Continue") : text("Pause"));
            this.pauseButton.dataset.action = run.paused ? "continue" : "pause";
            const reason = !run.mine ? text("Started by somebody else, who alone can control it.")
                : run.stopping ? text("It is stopping.") : state.offline ? text("Connection lost, trying again") : "";
            for (const one of this.buttons) enable(one, reason === "", reason);
            if (run.paused && !reason) enable(this.sampleButton, false, text("Continue first."));
            write(this.note, reason);
            this.note.hidden = run.mine || reason === "";
        }
    }

    class LivePanel {
        constructor(panel) {
            this.offline = make("p", {class: "lora_train_message lora_train_error", role: "status", hidden: true},
                text("Connection lost, trying again"));
            this.title = make("strong", {class: "lora_train_run_title", translate: "no"});
            this.chip = make("span", {});
            this.words = make("span", {class: "lora_train_stage", role: "status"});
            this.bar = bar(text("Progress"));
            this.facts = make("div", {});
            this.controls = new Controls();
            this.outcome = make("div", {class: "lora_train_outcome", hidden: true});
            this.view = new loraTrain.RunView();
            this.run = make("section", {class: "lora_train_card lora_train_run", hidden: true, data: {run: ""}},
                make("div", {class: "lora_train_row lora_train_run_head"}, this.title, this.chip, this.words),
                this.bar, this.facts, this.controls.element, this.outcome, this.view.element);
            this.empty = make("p", {class: "lora_train_idle"});
            this.queue = new loraTrain.QueueList();
            panel.replaceChildren(this.offline, this.run, this.empty, this.queue.element);
            this.panel = panel;
            this.read = 0;
            on("live", () => this.show());
            on("runs", () => this.show());
            on("project", () => this.show());
            onShown(panel, () => this.show());
        }

        /** What is shown: the running one, else how the project's newest that is over went. */
        get shownRun() {
            const {live, runs, project} = state;
            if (live && live.running) return live.running;
            const last = live && live.last;
            const ours = last && project && last.project === project.id;
            if (ours && runs.every((run) => run.created <= last.created)) return last;
            return runs.find((run) => !["queued", "running"].includes(run.state)) || null;
        }

        show() {
            this.offline.hidden = !state.offline;
            if (!state.live && !state.offline) return;
            const run = this.shownRun;
            this.run.hidden = !run;
            this.queue.show(state.live ? state.live.queue : []);
            this.empty.hidden = run !== null || (state.live && state.live.queue.length > 0);
            write(this.empty, state.project
                ? text("Nothing has been trained in this project yet. Plan below, then press Train.")
                : text("Make a project in Dataset first."));
            if (!run || !shown(this.panel)) return;
            this.run.dataset.run = run.id;
            this.run.dataset.state = run.paused ? "paused" : run.state;
            write(this.title, runTitle(run));
            const running = state.live !== null && run === state.live.running;
            if (running) this.showRunning(run);
            else this.showEnded(run);
            this.view.element.hidden = run.project === "";
            if (run.project === "") return; // not the visitor's to see
            this.view.follow(run);
            this.lookAtRun(run, running);
        }

        showRunning(run) {
            const stage = run.stopping ? text("Stopping") : run.paused ? text("Paused") : run.stage || text("Training");
            const counting = run.stage_total > 0 && !atSteps(run);
            const counted = counting ? ` ${number(run.stage_done)} / ${number(run.stage_total)}` : "";
            this.chip.replaceChildren();
            this.outcome.hidden = true;
            this.bar.hidden = this.controls.element.hidden = this.facts.hidden = false;
            const progress = run.step > 0 ? text("step {step} of {total}, epoch {epoch} of {epochs}", {
                step: number(run.step), total: number(run.total_steps), epoch: number(run.epoch),
                epochs: number(run.total_epochs),
            }) : "";
            write(this.words, [`${stage}${counted}`, progress].filter(Boolean).join(" · "));
            this.bar.set(run.step > 0 && run.total_steps ? run.step / run.total_steps
                : run.stage_total ? run.stage_done / run.stage_total : null);
            this.controls.show(run);
            const rate = Math.max(0, ...Object.values(run.rates || {}));
            const known = run.step > 0;
            this.facts.replaceChildren(facts([
                [text("Time left"), known && !run.paused ? duration(run.remaining) : "–"],
                [text("Time so far"), known ? duration(run.elapsed) : "–"],
                [text("Speed"), known ? text("{speed} steps/s", {speed: significant(run.steps_per_second)}) : "–"],
                [text("Memory"), run.memory ? bytes(run.memory) : "–"],
                [text("Loss"), known ? significant(run.loss_smoothed) : "–"],
                [text("Learning rate"), known && rate ? significant(rate) : "–"],
            ]));
        }

        showEnded(run) {
            const signature = JSON.stringify([run, state.session.language]);
            this.bar.hidden = this.controls.element.hidden = this.facts.hidden = true;
            this.outcome.hidden = false;
            if (this.signature === signature && this.outcome.childElementCount) return;
            this.signature = signature;
            this.chip.replaceChildren(stateChip(run));
            const time = run.started && run.ended ? duration(run.ended - run.started) : "";
            const steps = {step: number(run.step), total: number(run.total_steps)};
            const stepped = run.total_steps ? text("step {step} of {total}", steps) : "";
            write(this.words, [stepped, time, moment(run.ended || run.created)].filter(Boolean).join(" · "));
            this.outcome.replaceChildren(
                ...(run.error ? [errorLine(run.error)] : []),
                make("div", {class: "lora_train_row"}, ...endedButtons(run),
                    button(text("All runs"), {kind: "quiet", name: "runs", run: () => openTab("runs")})),
                ...[gridNote(run)].filter(Boolean));
        }

        /** Curve, samples and log: often while it runs, once when it is over. */
        lookAtRun(run, running) {
            const samples = running ? run.samples : null;
            const key = `${this.view.key} ${run.state}`;
            if (!running && this.readEnd === key) return;
            if (running && Date.now() - this.read < LOOK_AT_RUN && this.readEnd === "") return;
            this.read = Date.now();
            this.readEnd = running ? "" : key;
            attempt(async () => {
                await this.view.update(samples);
                if (running) return;
                const details = await api.get(["projects", run.project, "runs", run.id]);
                if (this.readEnd === key) this.view.samples.show(this.view.path, details.samples);
            });
        }
    }

    function errorLine(problem) {
        return make("p", {class: "lora_train_message lora_train_error", data: {code: problem.code || ""}},
            make("span", {}, problem.sentence), " ", make("span", {class: "lora_train_remedy"}, problem.remedy || ""));
    }

    onStart(() => {
        const panel = document.getElementById("lora_train_live");
        panel.classList.add("lora_train_panel");
        loraTrain.live = new LivePanel(panel);
    });

    Object.assign(loraTrain, {stateWords, stateChip, endedButtons, gridNote, startAgain, errorLine});
})();
