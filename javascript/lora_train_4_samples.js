/**
 * The sample pictures of a run: a slider goes through the steps, beside each picture stands the one from before
 * the training, and a press enlarges.
 */
(() => {
    "use strict";

    const {url, text, number, make, write, turnButton, openDialog} = loraTrain;
    const SIDE = 256; // px of what the strip asks for

    class SampleStrip {
        constructor() {
            this.slider = make("input", {
                type: "range", min: 0, step: 1, "aria-label": text("Step of the samples"), "data-action": "sample-step",
            });
            this.words = make("output", {class: "lora_train_slider_words"});
            this.rows = make("div", {class: "lora_train_samples"});
            this.element = make("section", {
                class: "lora_train_sample_strip", "aria-label": text("Samples"), hidden: true,
            }, make("div", {class: "lora_train_row lora_train_slider"},
                make("span", {class: "lora_train_label"}, text("Samples")), this.slider, this.words), this.rows);
            /** @type {Sample[]} */
            this.samples = [];
            this.steps = [];
            this.path = [];
            this.follows = true; // the newest step, until the slider is moved
            this.slider.addEventListener("input", () => {
                this.follows = Number(this.slider.value) === this.steps.length - 1;
                this.draw();
            });
            this.slider.addEventListener("keydown", (event) => event.stopPropagation());
        }

        /** @param {string[]} path of the run */
        show(path, samples) {
            const address = path.join("/");
            if (address !== this.path.join("/")) this.follows = true;
            const before = this.steps[Number(this.slider.value)];
            const signature = `${address} ${samples.map((sample) => sample.name).join(" ")}`;
            if (signature === this.signature) return;
            this.signature = signature;
            this.path = path;
            this.samples = samples;
            this.steps = [...new Set(samples.map((sample) => sample.step))].sort((a, b) => a - b);
            this.element.hidden = this.steps.length === 0;
            this.slider.max = String(Math.max(0, this.steps.length - 1));
            this.slider.value = String(this.follows ? this.steps.length - 1 : Math.max(0, this.steps.indexOf(before)));
            this.slider.hidden = this.words.hidden = this.steps.length < 2;
            this.draw();
        }

        address(sample, side) {
            return url([...this.path, "samples", sample.name], side ? {side} : {});
        }

        stepWords(step) {
            return step === 0 ? text("Untrained") : text("Step {step}", {step: number(step)});
        }

        draw() {
            if (this.steps.length === 0) {
                this.rows.replaceChildren();
                return;
            }
            const [first, step] = [this.steps[0], this.steps[Number(this.slider.value)]];
            write(this.words, this.stepWords(step));
            this.slider.setAttribute("aria-valuetext", this.stepWords(step));
            const numbers = [...new Set(this.samples.map((sample) => sample.number))].sort((a, b) => a - b);
            const at = (one, count) => this.samples.findLast((sample) =>
                sample.step === one && sample.number === count);
            const wanted = numbers.map((count) => [at(first, count), step === first ? null : at(step, count)]);
            while (this.rows.children.length > wanted.length) this.rows.lastChild.remove();
            wanted.forEach((pair, place) => {
                if (!this.rows.children[place]) this.rows.append(make("div", {class: "lora_train_sample_row"}));
                this.drawRow(this.rows.children[place], pair.filter(Boolean));
            });
        }

        /** Pictures already there stay, so that nothing flickers while the slider moves. */
        drawRow(row, samples) {
            while (row.children.length > samples.length) row.lastChild.remove();
            samples.forEach((sample, place) => {
                let figure = row.children[place];
                if (!figure) {
                    figure = make("button", {type: "button", class: "lora_train_sample"},
                        make("img", {alt: "", decoding: "async"}), make("span", {}));
                    figure.addEventListener("click", () => this.enlarge(figure.sample));
                    row.append(figure);
                }
                figure.sample = sample;
                const [image, caption] = figure.children;
                const address = this.address(sample, SIDE);
                if (image.getAttribute("src") !== address) image.setAttribute("src", address);
                image.alt = sample.prompt || this.stepWords(sample.step);
                figure.title = sample.prompt || "";
                figure.dataset.step = sample.step;
                write(caption, this.stepWords(sample.step));
            });
        }

        /** The whole picture; the arrows go through the steps of the same prompt. */
        enlarge(sample) {
            const series = this.samples.filter((one) => one.number === sample.number).sort((a, b) => a.step - b.step);
            const image = make("img", {});
            const words = make("p", {class: "lora_train_view_name", translate: "no"});
            let place = series.indexOf(sample);
            const turn = (by) => {
                place = Math.max(0, Math.min(series.length - 1, place + by));
                const {prompt, seed, step} = series[place];
                image.src = this.address(series[place], 0);
                image.alt = prompt || this.stepWords(step);
                const seeded = seed === undefined ? "" : text("seed {seed}", {seed});
                write(words, [this.stepWords(step), prompt, seeded].filter(Boolean).join(" · "));
                previous.setAttribute("aria-disabled", place === 0);
                next.setAttribute("aria-disabled", place === series.length - 1);
            };
            const previous = turnButton("‹", "previous", text("Earlier step"), () => turn(-1));
            const next = turnButton("›", "next", text("Later step"), () => turn(1));
            const dialog = openDialog(text("Sample"), {kind: "lora_train_viewer"},
                make("div", {class: "lora_train_view_picture"}, previous, image, next), words);
            dialog.addEventListener("keydown", (event) => {
                const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
                if (by) turn(by);
            });
            turn(0);
        }
    }

    Object.assign(loraTrain, {SampleStrip});
})();
