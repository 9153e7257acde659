/**
 * The loss curve: raw light, smoothed strong, that on held back pictures dashed with a dot for each saved file, the
 * learning rate thin on an axis of its own. Drawn as SVG in the page's colours; of thousands of points only what a
 * pixel can show.
 */
(() => {
    "use strict";

    const {text, number, significant, make, draw, write, shown} = loraTrain;
    const HEIGHT = 220;
    const MARGIN = {top: 10, right: 54, bottom: 24, left: 52};
    const [STEP, LOSS, SMOOTHED, RATE] = [0, 1, 2, 3]; // places in a point
    const AWAY = 14; // px between the reading and the line it reads
    const SPREAD = 0.02; // of the raw losses at each end, single outliers left out of the axis

    /** About `count` round numbers from `low` to `high`, both inside. @returns {number[]} */
    function niceTicks(low, high, count) {
        if (!(high > low)) return [low];
        const rough = (high - low) / count;
        const power = 10 ** Math.floor(Math.log10(rough));
        const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999);
        const first = Math.ceil(low / step - 1e-9);
        const steps = Math.min(count, Math.floor(high / step + 1e-9) - first); // huge numbers do not go up by 1
        const ticks = [];
        for (let place = 0; place <= steps; place++) ticks.push(Number(((first + place) * step).toPrecision(12)));
        return ticks;
    }

    /**
     * At most four points for each of `columns` pixels: the first, lowest, highest and last one, in their order.
     * @param {number[][]} points by rising step
     * @param {number} value which of a point's values is drawn
     * @returns {[number, number][]} step and value
     */
    function thin(points, value, columns) {
        if (points.length <= columns * 4) {
            return points.filter((point) => Number.isFinite(point[value])).map((point) => [point[STEP], point[value]]);
        }
        const [first, last] = [points[0][STEP], points[points.length - 1][STEP]];
        const width = (last - first) / columns || 1;
        const kept = [];
        for (let place = 0; place < points.length;) {
            const column = Math.floor((points[place][STEP] - first) / width);
            let [low, high, from, to] = [-1, -1, -1, -1];
            for (; place < points.length; place++) {
                if (Math.floor((points[place][STEP] - first) / width) !== column) break;
                if (!Number.isFinite(points[place][value])) continue;
                if (from < 0) from = low = high = place;
                to = place;
                if (points[place][value] < points[low][value]) low = place;
                if (points[place][value] > points[high][value]) high = place;
            }
            const places = [...new Set([from, low, high, to])].filter((one) => one >= 0).sort((a, b) => a - b);
            for (const one of places) kept.push([points[one][STEP], points[one][value]]);
        }
        return kept;
    }

    /** Low and high of what the axis shows: all smoothed losses and `others`, the raw ones without single outliers. */
    function lossRange(points, others = []) {
        const raw = points.map((point) => point[LOSS]).filter(Number.isFinite).sort((a, b) => a - b);
        const smoothed = [...points.map((point) => point[SMOOTHED]), ...others].filter(Number.isFinite);
        if (raw.length === 0) return [0, 1];
        const cut = Math.floor(raw.length * SPREAD);
        let [low, high] = [raw[cut], raw[raw.length - 1 - cut]];
        for (const value of smoothed) [low, high] = [Math.min(low, value), Math.max(high, value)];
        const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
        return [Math.max(0, low - room), high + room];
    }

    function path(pairs, x, y) {
        return pairs.map(([step, value], place) =>
            `${place ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    }

    class LossChart {
        constructor() {
            this.plot = draw("svg", {class: "lora_train_plot", height: HEIGHT, "aria-hidden": "true"});
            this.reading = make("div", {class: "lora_train_reading", hidden: true});
            this.legend = make("div", {class: "lora_train_legend"});
            this.element = make("figure", {
                class: "lora_train_chart", tabIndex: 0, role: "img", "aria-label": text("Loss curve"), hidden: true,
            }, this.plot, this.reading, this.legend);
            /** @type {{label: string, points: number[][], validation: number[][]}[]} */
            this.runs = [];
            this.total = 0;
            this.read = null;
            this.element.addEventListener("pointermove", (event) => this.point(event));
            this.element.addEventListener("pointerleave", () => this.readAt(null));
            this.element.addEventListener("blur", () => this.readAt(null));
            this.element.addEventListener("keydown", (event) => this.key(event));
            new ResizeObserver(() => this.drawSoon()).observe(this.element);
        }

        /**
         * @param {{label: string, points: number[][], validation?: number[][]}[]} runs points are
         * [step, loss, smoothed, learning rate], validation [step, loss] on held back pictures
         * @param {number} total steps of the whole axis; 0 to end at the last point
         */
        show(runs, total = 0) {
            this.runs = runs.filter((run) => run.points.length > 0).map((run) => ({validation: [], ...run}));
            this.total = total;
            this.element.hidden = this.runs.length === 0;
            this.drawSoon();
        }

        drawSoon() {
            if (this.waiting) return;
            this.waiting = true;
            window.requestAnimationFrame(() => {
                this.waiting = false;
                if (shown(this.element) && this.runs.length) this.draw();
            });
        }

        draw() {
            const width = this.plot.parentElement.clientWidth;
            if (width < 100) return;
            const alone = this.runs.length === 1;
            const all = this.runs.flatMap((run) => run.points);
            const last = Math.max(this.total, ...this.runs.map((run) => run.points[run.points.length - 1][STEP]));
            const held = this.runs.flatMap((run) => run.validation);
            const starts = [...this.runs.map((run) => run.points[0]), ...held].map((point) => point[STEP]);
            const first = Math.min(...starts, last - 1, 1);
            const [low, high] = lossRange(all, held.map((point) => point[LOSS]));
            const rate = alone ? all.reduce((most, point) => Math.max(most, point[RATE] || 0), 0) : 0;
            const inner = {
                left: MARGIN.left, right: width - (rate ? MARGIN.right : 24), top: MARGIN.top,
                bottom: HEIGHT - MARGIN.bottom,
            };
            const scale = (from, to, start, end) => (value) => start + (value - from) / (to - from) * (end - start);
            this.x = scale(first, last, inner.left, inner.right);
            this.y = scale(low, high, inner.bottom, inner.top);
            const rateY = scale(0, rate * 1.08 || 1, inner.bottom, inner.top);
            this.inner = inner;
            const columns = Math.max(50, Math.floor(inner.right - inner.left));
            const clip = loraTrain.newId();
            const lines = draw("g", {"clip-path": `url(#${clip})`});
            const line = (kind, points, value, y) => {
                lines.append(draw("path", {class: kind, d: path(thin(points, value, columns), this.x, y)}));
            };
            if (rate) line("lora_train_rate", all, RATE, rateY);
            this.runs.forEach((run, place) => {
                line(`lora_train_raw lora_train_run_${place % 2}`, run.points, LOSS, this.y);
            });
            this.runs.forEach((run, place) => {
                line(`lora_train_smoothed lora_train_run_${place % 2}`, run.points, SMOOTHED, this.y);
            });
            this.runs.forEach((run, place) => {
                const kind = alone ? "" : ` lora_train_run_${place % 2}`;
                if (run.validation.length > 1) line(`lora_train_validation${kind}`, run.validation, LOSS, this.y);
                lines.append(...this.dots(run.validation, kind));
            });
            this.cursor = draw("g", {class: "lora_train_cursor"});
            this.plot.setAttribute("width", width);
            this.plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
            this.plot.replaceChildren(draw("defs", {}, draw("clipPath", {id: clip}, draw("rect", {
                x: inner.left, y: inner.top, width: Math.max(0, inner.right - inner.left),
                height: inner.bottom - inner.top,
            }))), this.axes(first, last, low, high, rate, rateY), lines, this.cursor);
            this.drawLegend(alone, rate, held.length > 0);
            this.readAt(this.read);
        }

        /** One for each loss on held back pictures, the lowest one larger. */
        dots(points, kind) {
            const lowest = Math.min(...points.map((point) => point[LOSS]));
            return points.map((point) => draw("circle", {
                class: `lora_train_validated${kind}`, cx: this.x(point[STEP]), cy: this.y(point[LOSS]),
                r: points.length > 1 && point[LOSS] === lowest ? 4.5 : 2.5,
            }));
        }

        axes(first, last, low, high, rate, rateY) {
            const {left, right, top, bottom} = this.inner;
            const group = draw("g", {class: "lora_train_axes"});
            const words = (x, y, anchor, label) => draw("text", {x, y, "text-anchor": anchor}, label);
            for (const tick of niceTicks(low, high, 4)) {
                const y = this.y(tick);
                group.append(draw("line", {x1: left, x2: right, y1: y, y2: y}));
                group.append(words(left - 6, y + 4, "end", significant(tick)));
            }
            for (const tick of niceTicks(first, last, Math.max(2, Math.floor((right - left) / 110)))) {
                if (!Number.isInteger(tick)) continue;
                group.append(words(this.x(tick), bottom + 16, "middle", number(tick)));
            }
            if (rate) {
                for (const tick of niceTicks(0, rate, 2)) {
                    group.append(words(right + 6, rateY(tick) + 4, "start", significant(tick)));
                }
            }
            group.append(draw("line", {class: "lora_train_base", x1: left, x2: right, y1: bottom, y2: bottom}));
            group.append(draw("line", {class: "lora_train_base", x1: left, x2: left, y1: top, y2: bottom}));
            return group;
        }

        drawLegend(alone, rate, held) {
            const entry = (kind, words) => make("span", {class: "lora_train_key"}, make("i", {class: kind}), words);
            const entries = alone ? [entry("lora_train_key_raw", text("Loss")), entry("", text("Loss, smoothed"))]
                : this.runs.map((run, place) => entry(`lora_train_run_${place % 2}`, run.label));
            const kind = alone ? "lora_train_key_held" : "lora_train_key_held lora_train_key_both";
            if (held) entries.push(entry(kind, text("Validation loss")));
            if (rate) entries.push(entry("lora_train_key_rate", text("Learning rate")));
            const signature = entries.map((one) => one.textContent).join("|");
            if (this.legend.dataset.signature === signature) return;
            this.legend.dataset.signature = signature;
            this.legend.replaceChildren(...entries);
        }

        point(event) {
            if (!this.inner) return;
            const box = this.plot.getBoundingClientRect();
            const part = (event.clientX - box.left - this.inner.left) / (this.inner.right - this.inner.left);
            const [first, last] = this.steps();
            this.readAt(part < -0.02 || part > 1.02 ? null : first + part * (last - first));
        }

        /** First and last step of the axis as it is drawn. */
        steps() {
            const {left, right} = this.inner;
            const unit = this.x(1) - this.x(0);
            return [(left - this.x(0)) / unit, (right - this.x(0)) / unit];
        }

        key(event) {
            const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
            if (move === undefined || !this.inner) return;
            event.preventDefault();
            event.stopPropagation();
            const [first, last] = this.steps();
            const stride = Math.max(1, Math.round((last - first) / 60));
            this.readAt(Math.min(last, Math.max(first, (this.read === null ? first : this.read) + move * stride)));
        }

        /** Shows the values nearest to a step; null puts them away. */
        readAt(step) {
            this.read = step;
            this.reading.hidden = step === null;
            if (!this.cursor) return;
            this.cursor.replaceChildren();
            if (step === null) return;
            const near = this.runs.map((run) => nearest(run.points, step));
            const x = this.x(near[0][STEP]);
            this.cursor.append(draw("line", {x1: x, x2: x, y1: this.inner.top, y2: this.inner.bottom}));
            near.forEach((point, place) => this.cursor.append(draw("circle", {
                class: `lora_train_run_${place % 2}`, cx: this.x(point[STEP]), cy: this.y(point[SMOOTHED]), r: 3.5,
            })));
            const lines = near.flatMap((point, place) => {
                const {label, validation} = this.runs[place];
                const [loss, smoothed] = [significant(point[LOSS]), significant(point[SMOOTHED])];
                const words = [text("step {step}: loss {loss}, smoothed {smoothed}",
                    {step: number(point[STEP]), loss, smoothed})];
                if (validation.length) {
                    const held = nearest(validation, step);
                    words.push(text("validation loss {loss} at step {step}",
                        {loss: number(held[LOSS], 4), step: number(held[STEP])}));
                }
                return this.runs.length > 1 ? words.map((one) => `${label} – ${one}`) : words;
            });
            if (this.runs.length === 1 && near[0][RATE]) {
                lines.push(text("learning rate {rate}", {rate: significant(near[0][RATE])}));
            }
            write(this.reading, lines.join("\n"));
            this.element.setAttribute("aria-label", lines.join("; "));
            const width = this.reading.offsetWidth + AWAY;
            this.reading.style.left = `${Math.max(0, x + width > this.inner.right ? x - width : x + AWAY)}px`;
        }
    }

    /** The point whose step is nearest, found by halving. */
    function nearest(points, step) {
        let [from, to] = [0, points.length - 1];
        while (to - from > 1) {
            const middle = (from + to) >> 1;
            if (points[middle][STEP] < step) from = middle;
            else to = middle;
        }
        return Math.abs(points[from][STEP] - step) <= Math.abs(points[to][STEP] - step) ? points[from] : points[to];
    }

    Object.assign(loraTrain, {LossChart, niceTicks, thin, lossRange, nearest});
})();
