/**
 * The four steps as tiles: what each found, and the ways to look at it, to do it again and to set it.
 */
(() => {
    "use strict";

    const {
        text, plural, number, moment, stepWords, make, write, button, enable,
    } = loraTrain;

    /** Whether a step has nothing to do with the settings as they are, and has done nothing with others. */
    function isOff(name, {settings: {crop, matte, tag}, steps}) {
        return steps[name].state !== "stale" && {
            crop: crop.crop === "none", matte: matte.background === "none",
            tag: tag.taggers.length === 0 && tag.captioner === "none",
        }[name] === true;
    }

    /** What a step found, or that it is off, in one line. */
    function stepLine(name, overview) {
        const step = overview.steps[name];
        const total = number(overview.sources);
        const {crops} = overview.steps.crop;
        if (isOff(name, overview)) {
            return {
                crop: text("Off: pictures keep their frame"), matte: text("Off: backgrounds stay"),
                tag: text("Off: captions stay"),
            }[name];
        }
        if (step.state === "never") return text("Not done yet");
        const old = step.state === "stale" ? [text("out of date")] : [];
        const said = {
            check: () => [text("Score {score}", {score: number(step.score)}),
                step.findings ? plural(step.findings, "{count} finding", "{count} findings") : text("nothing found")],
            crop: () => [text("{count} of {total} cropped", {count: number(step.cropped), total}),
                ...(crops > overview.sources ? [plural(crops, "{count} crop", "{count} crops")] : [])],
            matte: () => [text("{count} of {total} cut out", {count: number(step.mattes), total}),
                ...(step.used ? [matteNames(step.used, overview)] : [])],
            tag: () => [text("{count} of {total} tagged",
                {count: number(step.tagged), total: number(Math.max(crops, step.tagged) || overview.sources)})],
        }[name]();
        return [...said, ...old].join(" · ");
    }

    /** The names of what cut the subjects out, as the server lists them, in words. */
    function matteNames(used, {tools}) {
        const words = {hand: text("by hand"), grabcut: text("GrabCut"),
            ...Object.fromEntries(tools.mattes.map((one) => [one.name, one.label]))};
        return used.split(", ").map((name) => words[name] || name).join(", ");
    }

    /** One of the four: its line and its buttons. */
    class StepTile {
        constructor(name, place, card) {
            this.name = name;
            this.card = card;
            const words = stepWords(name);
            this.line = make("p", {class: "lora_train_step_line"});
            this.showButton = button(text("Show"), {name: `show-${name}`, run: () => card.open(name)});
            this.again = button(text("Redo"), {
                kind: "quiet", name: `redo-${name}`, run: () => card.preparation.start([name]),
            });
            this.settings = button(text("Settings"), {
                kind: "quiet", name: `settings-${name}`, run: () => card.toggleSettings(name),
            });
            this.settings.setAttribute("aria-expanded", "false");
            for (const one of [this.showButton, this.again, this.settings]) {
                one.setAttribute("aria-label", `${one.textContent}: ${words}`);
            }
            this.element = make("li", {class: "lora_train_step", data: {step: name}},
                make("div", {class: "lora_train_step_head"},
                    make("span", {class: "lora_train_step_mark", "aria-hidden": "true"}, String(place)),
                    make("strong", {}, words)),
                this.line, make("div", {class: "lora_train_step_buttons"}, this.showButton, this.again, this.settings));
        }

        show(overview, reason) {
            const step = overview.steps[this.name];
            const line = stepLine(this.name, overview);
            write(this.line, line);
            this.element.title = step.time ? moment(step.time) : "";
            const off = isOff(this.name, overview);
            this.element.dataset.state = off ? "off" : step.state;
            const none = overview.sources === 0 ? text("Add pictures first.") : "";
            const unseen = none || this.nothingToShow(step, off);
            enable(this.showButton, !unseen, unseen);
            const idle = none || reason || (off ? text("It is off in its settings.") : "");
            enable(this.again, !idle, idle);
            const words = step.state === "never" ? text("Do it") : text("Redo");
            write(this.again, words);
            this.again.setAttribute("aria-label", `${words}: ${stepWords(this.name)}`);
            this.settings.setAttribute("aria-expanded", this.card.opened === this.name);
        }

        /** Why its window would be empty; else "". */
        nothingToShow(step, off) {
            if (this.name === "check" && step.state === "never") return text("Check the pictures first.");
            const bare = this.name === "matte" && off && step.mattes === 0;
            return bare ? text("Choose a background in the settings first.") : "";
        }
    }

    Object.assign(loraTrain, {StepTile, stepLine});
})();
