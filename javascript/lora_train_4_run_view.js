/**
 * What a run did, for the running one and for those of the past: curve, samples and the log in words.
 */
(() => {
    "use strict";

    const {api, text, language, make, write, folded, shown} = loraTrain;
    const MOST_POINTS = 2000; // the server gives so many at once
    const MOST_LINES = 1000;
    const NEAR_END = 30; // px; a log that was scrolled up stays where it is

    /** The points of a run, read on from where the last reading ended. */
    class RunMetrics {
        /** @param {string[]} path of the run */
        constructor(path) {
            this.path = path;
            /** @type {number[][]} */
            this.points = [];
            /** @type {number[][]} step and loss on held back pictures */
            this.validation = [];
            this.last = 0;
        }

        /** True when points came. */
        async update() {
            for (let came = false; ;) {
                const answer = await api.get([...this.path, "metrics"], {after: this.last});
                came = this.takeValidation(answer.validation || []) || came;
                if (answer.points.length === 0) return came;
                const known = this.points.length ? this.points[this.points.length - 1][0] : 0;
                if (answer.points[0][0] <= known) { // a run that was resumed repeats its last steps
                    this.points = this.points.filter((point) => point[0] < answer.points[0][0]);
                }
                this.points.push(...answer.points);
                this.last = answer.last;
                came = true;
                if (answer.points.length < MOST_POINTS) return came;
            }
        }

        /** From the last step on: it was told before held back pictures were looked at. True when they are new. */
        takeValidation(points) {
            const before = JSON.stringify(this.validation);
            this.validation = [...this.validation.filter((point) => point[0] < this.last), ...points];
            return JSON.stringify(this.validation) !== before;
        }
    }

    /** The log, of which the newest line is seen while it is folded. */
    class LogView {
        constructor() {
            this.lines = make("div", {class: "lora_train_log", role: "log", tabIndex: 0, "aria-label": text("Log")});
            this.newest = make("span", {class: "lora_train_hint"});
            this.element = folded(text("Log"), this.lines);
            this.element.firstChild.append(" ", this.newest);
            this.element.addEventListener("toggle", () => { this.lines.scrollTop = this.lines.scrollHeight; });
        }

        follow(path) {
            this.path = path;
            this.offset = 0;
            this.lines.replaceChildren();
            write(this.newest, "");
        }

        async update() {
            const {path} = this;
            for (;;) {
                const answer = await api.get([...path, "log"], {offset: this.offset});
                if (path !== this.path || answer.offset === this.offset) return;
                this.offset = answer.offset;
                this.append(answer.lines);
            }
        }

        append(lines) {
            if (lines.length === 0) return;
            const {lines: box} = this;
            const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
            box.append(...lines.map((line) => make("div", {class: `lora_train_log_${line.level}`},
                make("time", {}, clock(line.time)), " ", line.text)));
            while (box.children.length > MOST_LINES) box.firstChild.remove();
            if (atEnd) box.scrollTop = box.scrollHeight;
            write(this.newest, lines[lines.length - 1].text);
        }
    }

    function clock(seconds) {
        if (!seconds) return "";
        return new Intl.DateTimeFormat(language(), {timeStyle: "medium"}).format(new Date(seconds * 1000));
    }

    class RunView {
        constructor() {
            this.chart = new loraTrain.LossChart();
            this.samples = new loraTrain.SampleStrip();
            this.log = new LogView();
            this.pictures = make("div", {class: "lora_train_run_pictures"}, this.chart.element, this.samples.element);
            this.element = make("div", {class: "lora_train_run_view"}, this.pictures, this.log.element);
            this.key = "";
            this.busy = false;
            this.total = 0;
        }

        /** Starts to show a run; the same one again, after a resume, is read anew. */
        follow(run) {
            const key = `${run.project}/${run.id}/${run.attempt}`;
            this.total = run.total_steps;
            if (key === this.key) return;
            this.key = key;
            this.path = ["projects", run.project, "runs", run.id];
            this.metrics = new RunMetrics(this.path);
            this.chart.show([]);
            this.samples.show(this.path, []);
            this.log.follow(this.path);
        }

        /** Reads what is new. A reading under way is not doubled. */
        async update(samples = null) {
            if (this.busy || !shown(this.element.parentElement)) return;
            this.busy = true;
            const {key, metrics} = this;
            try {
                if (samples) this.samples.show(this.path, samples);
                const [came] = await Promise.all([metrics.update(), this.log.update()]);
                if (key === this.key && (came || this.chart.runs.length === 0)) {
                    this.chart.show([{label: "", points: metrics.points, validation: metrics.validation}], this.total);
                }
            } finally {
                this.busy = false;
            }
        }
    }

    Object.assign(loraTrain, {RunMetrics, RunView, LogView});
})();
