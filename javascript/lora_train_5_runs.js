/**
 * The Runs sub-tab: what was trained in this project, one of them in detail, two of them compared.
 */
(() => {
    "use strict";

    const {
        state, api, on, onStart, attempt, text, plural, number, significant, duration, moment, loadRuns, shown,
        make, write, button, sayUndo, stateChip, newId,
    } = loraTrain;

    const LONG = [1, 7]; // columns of names, which may need several lines
    const STEPS = 4; // the column; that of the loss follows

    function stepWords(run) {
        return run.total_steps ? `${number(run.step)} / ${number(run.total_steps)}` : "–";
    }

    class RunsPanel {
        constructor(panel) {
            /** @type {string} id of the run shown in detail */
            this.opened = "";
            this.order = new loraTrain.Latest(); // of the details
            /** @type {string[]} ids of those to compare, at most two */
            this.compared = [];
            this.compareButton = button(text("Compare two"), {name: "compare", run: () => this.compare()});
            this.hint = make("span", {class: "lora_train_hint"});
            this.body = make("tbody", {});
            const heads = [
                text("Compare"), text("Run"), text("Outcome"), text("When"), text("Steps"), text("Loss"),
                text("Length"), text("File"),
            ].map((words) => make("th", {scope: "col"}, words));
            this.table = make("table", {class: "lora_train_table"},
                make("thead", {}, make("tr", {}, ...heads)), this.body);
            this.head = make("div", {class: "lora_train_toolbar"}, this.hint, this.compareButton);
            this.empty = make("div", {class: "lora_train_empty", hidden: true});
            this.detail = make("div", {class: "lora_train_detail"});
            const frame = make("div", {class: "lora_train_table_frame"}, this.table);
            panel.replaceChildren(this.empty, this.head, frame, this.detail);
            this.panel = panel;
            on("runs", () => this.show());
            on("project", () => this.close());
            on("live", (live) => this.showRunning(live && live.running));
            on("ended", (run) => { if (this.opened === run.id) attempt(() => this.open(run.id)); });
        }

        close() {
            this.opened = "";
            this.compared = [];
            this.detail.replaceChildren();
            this.show();
        }

        show() {
            const {runs, project} = state;
            this.compared = this.compared.filter((id) => runs.some((run) => run.id === id));
            const none = runs.length === 0;
            this.empty.hidden = !none;
            this.head.hidden = this.table.hidden = none;
            this.empty.replaceChildren(make("strong", {}, text("No runs yet")), make("p", {}, project
                ? text("Each training appears here with its curve, samples, settings and files.")
                : text("Make a project in Dataset first.")));
            this.body.replaceChildren(...runs.map((run) => this.row(run)));
            this.showCompare();
        }

        /** The running one's row goes with it. */
        showRunning(run) {
            if (!run || !shown(this.panel)) return;
            const row = this.body.querySelector(`tr[data-run="${run.id}"]`);
            if (!row || !state.project || run.project !== state.project.id) return;
            write(row.cells[STEPS], stepWords(run));
            write(row.cells[STEPS + 1], significant(run.loss));
        }

        row(run) {
            const id = newId();
            const mark = make("input", {
                type: "checkbox", checked: this.compared.includes(run.id), "aria-labelledby": id,
                data: {compare: run.id},
            });
            mark.addEventListener("change", () => this.mark(run.id, mark.checked));
            const name = make("button", {
                type: "button", class: "lora_train_link", id, translate: "no", "aria-expanded": run.id === this.opened,
                on: {click: () => attempt(() => (run.id === this.opened ? this.close() : this.open(run.id)))},
            }, run.title);
            const length = run.started && run.ended ? duration(run.ended - run.started) : "–";
            const cells = [
                mark, name, stateChip(run), moment(run.started || run.created), stepWords(run), significant(run.loss),
                length, run.lora || "–",
            ];
            const kind = run.id === this.opened ? "lora_train_opened" : "";
            // The whole row opens it for a mouse; keyboard and screen reader have the name.
            const open = (event) => { if (!event.target.closest("button, input")) name.click(); };
            return make("tr", {class: kind, data: {run: run.id, state: run.state}, on: {click: open}},
                ...cells.map((cell, place) => (LONG.includes(place)
                    ? make("td", {class: "lora_train_long", translate: "no"}, cell) : make("td", {}, cell))));
        }

        mark(id, on) {
            this.compared = this.compared.filter((one) => one !== id);
            if (on) this.compared = [...this.compared, id].slice(-2); // a third takes the place of the first
            for (const one of this.body.querySelectorAll("[data-compare]")) {
                one.checked = this.compared.includes(one.dataset.compare);
            }
            this.showCompare();
        }

        showCompare() {
            this.compareButton.hidden = state.runs.length < 2;
            loraTrain.enable(this.compareButton, this.compared.length === 2, text("Mark two runs first."));
            this.hint.textContent = plural(state.runs.length, "{count} run", "{count} runs");
        }

        async open(id) {
            const project = state.project;
            const details = await this.order.ask(() => api.get(["projects", project.id, "runs", id]));
            if (!details || project !== state.project) return;
            this.opened = id;
            this.show();
            const view = new loraTrain.RunDetails(details, () => attempt(() => this.remove(details)));
            this.detail.replaceChildren(view.element);
            await view.update();
        }

        async compare() {
            const project = state.project;
            const ids = this.compared;
            const both = await this.order.ask(() => Promise.all(
                ids.map((id) => api.get(["projects", project.id, "runs", id]))));
            if (!both || project !== state.project) return;
            both.sort((a, b) => a.created - b.created);
            this.opened = "";
            this.show();
            const view = new loraTrain.RunComparison(both);
            this.detail.replaceChildren(view.element);
            await view.update();
            view.element.scrollIntoView({block: "nearest"});
        }

        async remove(run) {
            const runs = ["projects", run.project, "runs"];
            const {trash_id: trashId} = await api.remove([...runs, run.id]);
            sayUndo(text("The run “{title}” was deleted.", {title: run.title}), trashId, async () => {
                await api.post([...runs, "restore"], {trash_id: trashId});
                await loadRuns();
            });
            this.close();
            await loadRuns();
        }
    }

    onStart(() => {
        const panel = document.getElementById("lora_train_runs");
        panel.classList.add("lora_train_panel");
        loraTrain.runs = new RunsPanel(panel);
    });
})();
