/**
 * How likeness, obedience and copying go over the files of a run: where it is underfitted, and from where on it is
 * overfitted. A press on a file goes to its cell.
 */
(() => {
    "use strict";

    const {text, number, language, on, make, draw, write, select, fill, shown, memory} = loraTrain;
    const HEIGHT = 200;
    const MARGIN = {top: 22, right: 20, bottom: 26, left: 48};
    const USUAL = ["likeness", "obedience", "copying", "collapse"]; // the lines that are drawn without being asked
    const ORDER = [...USUAL, "diversity", "leak", "loss"]; // by which the lines have their colours
    const TICKS = [0, 0.25, 0.5, 0.75, 1];
    const AWAY = 14; // px between the reading and the line it reads

    function percent(value) {
        return value === null || value === undefined ? "–"
            : new Intl.NumberFormat(language(), {style: "percent", maximumFractionDigits: 0}).format(value);
    }

    class PreviewCurve {
        /** @param {PreviewModel} model */
        constructor(model) {
            this.model = model;
            /** @type {string} run and checkpoint of the curve that is shown, where there are several */
            this.which = "";
            this.read = null; // place of the point that is read
            const kept = memory.read("previews_curve");
            /** @type {Set<string>} names of the lines that are drawn */
            this.lines = new Set(kept ? kept.split(" ") : USUAL);
            this.choice = select([], "", {"aria-label": text("Curve of"), "data-action": "curve-of"});
            this.choice.addEventListener("change", () => {
                this.which = this.choice.value;
                this.show();
            });
            this.plot = draw("svg", {class: "lora_train_previews_plot", height: HEIGHT, "aria-hidden": "true"});
            this.reading = make("div", {class: "lora_train_reading", hidden: true});
            this.figure = make("figure", {class: "lora_train_previews_figure", tabIndex: 0, role: "img"},
                this.plot, this.reading);
            this.legend = make("div", {class: "lora_train_previews_legend", role: "group",
                "aria-label": text("Lines of the curve")});
            this.notes = make("div", {class: "lora_train_previews_curve_notes", role: "status"});
            this.element = make("section", {class: "lora_train_card lora_train_previews_curve", hidden: true},
                make("div", {class: "lora_train_row"}, make("h4", {}, text("Over the epochs")), this.choice),
                this.figure, this.legend, this.notes);
            this.figure.addEventListener("pointermove", (event) => this.point(event));
            this.figure.addEventListener("pointerleave", () => this.readAt(null));
            this.figure.addEventListener("blur", () => this.readAt(null));
            this.figure.addEventListener("click", () => this.go());
            this.figure.addEventListener("keydown", (event) => this.key(event));
            new ResizeObserver(() => this.drawSoon()).observe(this.element);
            on("previews", () => this.show());
        }

        /** Curves with something to see. */
        get curves() {
            const {grid} = this.model;
            return grid ? grid.scores.curve.filter((curve) => curve.points.length > 1) : [];
        }

        get curve() {
            const {curves} = this;
            return curves.find((curve) => curveKey(curve) === this.which) || curves[0] || null;
        }

        show() {
            const {curves, curve} = this;
            const {grid} = this.model;
            this.element.hidden = !curve;
            const signature = JSON.stringify([curve, curves.map(curveKey), grid && grid.recommendation,
                grid && grid.scores.names, [...this.lines]]);
            if (!curve || this.signature === signature) return;
            this.signature = signature;
            this.choice.hidden = curves.length < 2;
            fill(this.choice, curves.map((one) => [curveKey(one), this.name(one)]), curveKey(curve));
            const known = (name) => curve.points.some((point) => point[name] !== null && point[name] !== undefined);
            /** @type {{name: string, label: string}[]} */
            this.scores = ORDER.map((name) => grid.scores.names.find((one) => one.name === name))
                .filter((score) => score && score.on && known(score.name));
            if (this.read !== null && this.read >= curve.points.length) this.read = null;
            this.drawLegend();
            this.notes.replaceChildren(...curve.notes.map((words) => make("p", {}, words)));
            this.figure.setAttribute("aria-label", [text("Scores over the epochs"), ...curve.notes].join(". "));
            this.drawSoon();
        }

        name({run, base}) {
            const {bases} = this.model.grid;
            const words = run || text("Other files");
            return bases.length > 1 ? `${words} · ${bases[base]}` : words;
        }

        drawLegend() {
            this.legend.replaceChildren(...this.scores.map(({name, label}) => make("button", {
                type: "button", class: "lora_train_previews_line", "aria-pressed": this.lines.has(name),
                data: {line: name}, on: {click: () => this.turn(name)},
            }, make("i", {class: `lora_train_previews_line_${name}`}), label)));
        }

        /** Draws a line, or no longer; the last one stays. */
        turn(name) {
            if (!this.lines.delete(name)) this.lines.add(name);
            memory.write("previews_curve", [...this.lines].join(" "));
            this.show();
            const again = this.legend.querySelector(`[data-line="${name}"]`);
            if (again) again.focus();
        }

        drawSoon() {
            if (this.waiting) return;
            this.waiting = true;
            window.requestAnimationFrame(() => {
                this.waiting = false;
                if (shown(this.element) && this.curve) this.draw();
            });
        }

        draw() {
            const width = this.figure.clientWidth;
            if (width < 100) return;
            const {points} = this.curve;
            const inner = {left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top,
                bottom: HEIGHT - MARGIN.bottom};
            this.inner = inner;
            const room = (inner.right - inner.left) / points.length;
            // Each file has the middle of its part: the first and the last one have room for their marks.
            this.x = (place) => inner.left + (place + 0.5) * room;
            this.y = (value) => inner.bottom - Math.max(0, Math.min(1, value)) * (inner.bottom - inner.top);
            this.cursor = draw("g", {class: "lora_train_cursor"});
            this.plot.setAttribute("width", width);
            this.plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
            this.plot.replaceChildren(this.drawParts(room), this.axes(room), ...this.drawLines(), this.drawBest(),
                this.cursor);
            this.readAt(this.read);
        }

        /** Where it is underfitted and where overfitted, as areas with their names. */
        drawParts(room) {
            const {points, learnt, over} = this.curve;
            const {left, right, top, bottom} = this.inner;
            const group = draw("g", {class: "lora_train_previews_parts"});
            const at = (column) => points.findIndex((point) => point.column === column);
            const part = (kind, from, to, words) => {
                if (to - from < 1) return;
                group.append(draw("rect", {class: `lora_train_previews_${kind}`, x: from, y: top, width: to - from,
                    height: bottom - top}));
                if (to - from < words.length * 7) return; // no room for the word: the sentence below says it
                group.append(draw("text", {x: (from + to) / 2, y: top - 7, "text-anchor": "middle"}, words));
            };
            if (learnt !== null) part("under", left, left + at(learnt) * room, text("underfitted"));
            if (over !== null) part("over", left + at(over) * room, right, text("overfitted"));
            return group;
        }

        axes(room) {
            const {points} = this.curve;
            const {left, right, top, bottom} = this.inner;
            const group = draw("g", {class: "lora_train_axes"});
            const words = (x, y, anchor, label) => draw("text", {x, y, "text-anchor": anchor}, label);
            for (const tick of TICKS) {
                const y = this.y(tick);
                group.append(draw("line", {x1: left, x2: right, y1: y, y2: y}));
                if (tick * 2 % 1 === 0) group.append(words(left - 6, y + 4, "end", percent(tick)));
            }
            const every = Math.max(1, Math.ceil(44 / room));
            points.forEach((point, place) => {
                if (place % every) return;
                group.append(words(this.x(place), bottom + 17, "middle", number(point.epoch || point.step)));
            });
            group.append(draw("line", {class: "lora_train_base", x1: left, x2: right, y1: bottom, y2: bottom}));
            group.append(draw("line", {class: "lora_train_base", x1: left, x2: left, y1: top, y2: bottom}));
            return group;
        }

        get drawn() {
            return this.scores.filter(({name}) => this.lines.has(name));
        }

        drawLines() {
            const {points} = this.curve;
            return this.drawn.map(({name}) => {
                let path = "";
                let gap = true;
                const group = draw("g", {class: `lora_train_previews_line_${name}`});
                points.forEach((point, place) => {
                    const value = point[name];
                    if (value === null || value === undefined) {
                        gap = true;
                        return;
                    }
                    path += `${gap ? "M" : "L"}${this.x(place).toFixed(1)} ${this.y(value).toFixed(1)}`;
                    gap = false;
                    group.append(draw("circle", {cx: this.x(place), cy: this.y(value), r: 3}));
                });
                group.prepend(draw("path", {d: path}));
                return group;
            });
        }

        /** The file that is recommended. */
        drawBest() {
            const {recommendation} = this.model.grid;
            const {points, base} = this.curve;
            const group = draw("g", {class: "lora_train_previews_best_file"});
            const place = recommendation && recommendation.base === base
                ? points.findIndex((point) => point.column === recommendation.column) : -1;
            if (place < 0) return group;
            const x = this.x(place);
            group.append(draw("line", {x1: x, x2: x, y1: this.inner.top, y2: this.inner.bottom}),
                draw("text", {x, y: this.inner.top - 7, "text-anchor": "middle"}, "★"));
            return group;
        }

        // ------------------------------------------------------------------ reading it

        point(event) {
            if (!this.inner) return;
            const {left, right} = this.inner;
            const part = (event.clientX - this.plot.getBoundingClientRect().left - left) / (right - left);
            this.readAt(part < 0 || part >= 1 ? null : Math.floor(part * this.curve.points.length));
        }

        key(event) {
            const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
            if (move === undefined && event.key !== "Enter") return;
            event.preventDefault();
            event.stopPropagation();
            if (event.key === "Enter") this.go();
            else if (this.inner) {
                const last = this.curve.points.length - 1;
                this.readAt(this.read === null ? move > 0 ? 0 : last : Math.max(0, Math.min(last, this.read + move)));
            }
        }

        /** Shows the values of a file; null puts them away. */
        readAt(place) {
            this.read = place;
            this.reading.hidden = place === null;
            if (!this.cursor || !this.curve) return;
            this.cursor.replaceChildren();
            if (place === null) return;
            const point = this.curve.points[place];
            const x = this.x(place);
            this.cursor.append(draw("line", {x1: x, x2: x, y1: this.inner.top, y2: this.inner.bottom}));
            const lines = [point.label, point.epoch ? text("epoch {epoch}, step {step}",
                {epoch: number(point.epoch), step: number(point.step)}) : "",
            ...this.drawn.map(({name, label}) => `${label} ${percent(point[name])}`)].filter(Boolean);
            write(this.reading, lines.join("\n"));
            this.figure.setAttribute("aria-label", lines.join("; "));
            const width = this.reading.offsetWidth + AWAY;
            this.reading.style.left = `${Math.max(0, x + width > this.inner.right ? x - width : x + AWAY)}px`;
        }

        /** Goes to a picture of the file that is read, at the weight the curve is of. */
        go() {
            if (this.read === null) return;
            const {model} = this;
            const {column} = this.curve.points[this.read];
            const {weights, prompts, seeds} = model.grid;
            const weight = weights.filter((one) => one > 0)
                .sort((one, other) => Math.abs(one - 1) - Math.abs(other - 1) || other - one)[0];
            const cell = prompts.flatMap((_, prompt) => seeds.map((seed) => model.at(this.curve.base, column, weight,
                prompt, seed))).find(Boolean);
            if (cell) model.choose(cell.key);
        }
    }

    function curveKey({run, base}) {
        return `${run} ${base}`;
    }

    Object.assign(loraTrain, {PreviewCurve, scorePercent: percent});
})();
