/**
 * One run in detail, and two beside each other.
 */
(() => {
    "use strict";

    const {
        url, text, number, bytes, make, button, folded, facts, download, endedButtons, errorLine, stateChip,
    } = loraTrain;

    function runPath(run) {
        return ["projects", run.project, "runs", run.id];
    }

    /** A setting's value as people read it. */
    function valueWords(value) {
        if (value === true) return text("yes");
        if (value === false) return text("no");
        if (value === null || value === "" || Array.isArray(value) && value.length === 0) return "–";
        if (Array.isArray(value)) return value.map(valueWords).join(", ");
        if (typeof value === "object") return JSON.stringify(value);
        return String(value); // as it is typed: a learning rate of 1e-4 is not a number to group by thousands
    }

    /** A count that starts at one; 0 stands for none. */
    function counted(value) {
        return value ? number(value) : "–";
    }

    /** Rows of words under heads; `rows` are lists of cells. */
    function table(heads, rows, name) {
        const head = make("tr", {}, ...heads.map((words) => make("th", {scope: "col"}, words)));
        const cell = (content) => make("td", {class: "lora_train_long"}, content);
        const body = rows.map((cells) => make("tr", {}, ...cells.map(cell)));
        const all = make("table", {class: "lora_train_table", data: {table: name}},
            make("thead", {}, head), make("tbody", {translate: "no"}, ...body));
        return make("div", {class: "lora_train_table_frame"}, all);
    }

    /** All settings of a nested document, "group.name" and value. */
    function flatten(settings, prefix = "") {
        return Object.entries(settings).flatMap(([name, value]) =>
            (value !== null && typeof value === "object" && !Array.isArray(value)
                ? flatten(value, `${prefix}${name}.`) : [[`${prefix}${name}`, value]]));
    }

    class RunDetails {
        /** @param {Run & Object} run as GET runs/{id} gives it */
        constructor(run, remove) {
            this.run = run;
            this.view = new loraTrain.RunView();
            const over = !["queued", "running"].includes(run.state);
            const reuse = button(text("Use these settings"), {
                name: "use-settings", title: text("Puts the settings of this run into the Train form"),
                run: () => loraTrain.applySettings(run.settings),
            });
            const erase = button(text("Delete run"), {name: "delete-run", run: remove});
            this.element = make("section", {class: "lora_train_card", data: {details: run.id}},
                make("div", {class: "lora_train_row lora_train_run_head"},
                    make("strong", {translate: "no"}, run.title), stateChip(run)),
                run.error ? errorLine(run.error) : null,
                make("div", {class: "lora_train_row"}, ...(over ? endedButtons(run) : []), reuse, over ? erase : null),
                over ? loraTrain.gridNote(run) : null,
                facts([
                    [text("Checkpoint"), run.checkpoint || "–"], [text("Epoch"), counted(run.epoch)],
                    [text("Attempts"), number(run.attempt)],
                ]),
                this.view.element,
                folded(text("Files"), this.files()),
                folded(text("Settings that differ from the defaults"), table(
                    [text("Setting"), text("This run"), text("Default")],
                    run.changed.map((one) => [one.label, valueWords(one.value), valueWords(one.default)]), "changed")),
                folded(text("All settings"), table([text("Setting"), text("This run")],
                    flatten(run.settings).map(([name, value]) => [name, valueWords(value)]), "all")));
            this.element.querySelectorAll("details")[1].open = run.files.length > 0;
        }

        files() {
            if (this.run.files.length === 0) return make("p", {class: "lora_train_hint"}, text("No file was saved."));
            const held = this.run.files.some((file) => Number.isFinite(file.validation));
            const loss = (file) => (Number.isFinite(file.validation) ? number(file.validation, 4) : "–");
            const heads = [text("File"), text("Step"), text("Epoch")];
            if (held) heads.push(text("Validation loss"));
            return table([...heads, text("Size"), ""], this.run.files.map((file) => [
                this.fileName(file), counted(file.step), counted(file.epoch), ...(held ? [loss(file)] : []),
                bytes(file.bytes), this.fileButtons(file),
            ]), "files");
        }

        fileName(file) {
            const note = file.published ? ` ${text("in use as the project’s LoRA")}` : "";
            return make("span", {}, file.name, make("span", {class: "lora_train_hint"}, note));
        }

        fileButtons(file) {
            const address = url([...runPath(this.run), "files", file.name]);
            return make("span", {class: "lora_train_row lora_train_end"},
                button(text("Download"), {
                    kind: "quiet", name: "download-file", run: () => download(address, file.name),
                }),
                button(text("Continue from this"), {
                    kind: "quiet", name: "continue-from-file",
                    run: () => loraTrain.startAgain(this.run, "continue", {file: file.name}),
                }));
        }

        async update() {
            this.view.follow(this.run);
            await this.view.update(this.run.samples);
        }
    }

    class RunComparison {
        /** @param {(Run & Object)[]} runs two of them, the older first */
        constructor(runs) {
            this.runs = runs;
            this.chart = new loraTrain.LossChart();
            this.strips = runs.map(() => new loraTrain.SampleStrip());
            const differences = this.differences();
            const strips = runs.map((run, place) => make("div", {},
                make("span", {class: "lora_train_label", translate: "no"}, run.title), this.strips[place].element));
            this.element = make("section", {
                class: "lora_train_card", data: {comparison: runs.map((run) => run.id).join(" ")},
            }, make("strong", {translate: "no"}, runs.map((run) => run.title).join(" – ")), this.chart.element,
            differences.length ? table([text("Setting"), runs[0].title, runs[1].title], differences, "differences")
                : make("p", {class: "lora_train_hint"}, text("Their settings are the same.")),
            make("div", {class: "lora_train_beside"}, ...strips));
        }

        differences() {
            const labels = new Map(this.runs.flatMap((run) => run.changed.map((one) => [one.setting, one.label])));
            const [first, second] = this.runs.map((run) => new Map(flatten(run.settings)));
            const names = [...new Set([...first.keys(), ...second.keys()])];
            const value = (settings, name) => (settings.has(name) ? settings.get(name) : null);
            return names.filter((name) => JSON.stringify(value(first, name)) !== JSON.stringify(value(second, name)))
                .map((name) => [
                    labels.get(name) || name, valueWords(value(first, name)), valueWords(value(second, name)),
                ]);
        }

        async update() {
            this.runs.forEach((run, place) => this.strips[place].show(runPath(run), run.samples));
            const metrics = this.runs.map((run) => new loraTrain.RunMetrics(runPath(run)));
            await Promise.all(metrics.map((one) => one.update()));
            this.chart.show(this.runs.map((run, place) => (
                {label: run.title, points: metrics[place].points, validation: metrics[place].validation})));
        }
    }

    Object.assign(loraTrain, {RunDetails, RunComparison});
})();
