/**
 * What the health check found: the score with its reasons, and each finding with its pictures and what can be done.
 */
(() => {
    "use strict";

    const {
        api, on, attempt, text, plural, number, moment, make, draw, write, button, say, sayUndo, openSheet, TileBox,
        listOf, setImage,
    } = loraTrain;
    const FEW = 14; // pictures of a finding that are shown at first
    const NARROW = 4; // pictures of a finding that has another one beside it
    const LEVELS = ["error", "warning", "hint"];
    const WHOLE = ["keep_best"]; // fixes that mean the pictures of a finding together
    const ROUND = 2 * Math.PI * 42; // of the score's ring

    function levelWords(severity) {
        return {error: text("Should be changed"), warning: text("Worth a look"), hint: text("Good to know")}[severity];
    }

    /** What a fix will do to so many pictures. */
    function fixLabel(fix, chosen, all) {
        if (chosen > 0) return text("{fix} ({count} chosen)", {fix: fix.label, count: number(chosen)});
        return all > 1 && !WHOLE.includes(fix.name) ? `${fix.label} (${number(all)})` : fix.label;
    }

    /** The score as a ring that is filled so far. */
    function ring(score) {
        const colour = score >= 80 ? "good" : score >= 50 ? "fair" : "poor";
        const part = {cx: 50, cy: 50, r: 42, pathLength: ROUND};
        const drawn = draw("svg", {viewBox: "0 0 100 100", class: `lora_train_ring lora_train_${colour}`, role: "img",
            "aria-label": text("Score {score} of 100", {score: number(score)})},
        draw("circle", {...part, class: "lora_train_ring_back"}),
        draw("circle", {...part, class: "lora_train_ring_part",
            "stroke-dasharray": `${ROUND * score / 100} ${ROUND}`, transform: "rotate(-90 50 50)"}));
        const words = draw("text", {x: 50, y: 52, "text-anchor": "middle", "dominant-baseline": "middle"});
        words.textContent = number(score);
        drawn.append(words);
        return drawn;
    }

    /** One finding: its sentence, its pictures (of many only those in sight), its fixes. */
    class FindingView {
        constructor(finding, sheet) {
            this.finding = finding;
            this.sheet = sheet;
            /** @type {Set<string>} ids of originals */
            this.chosen = new Set();
            const {severity, title, sentence, pictures, fixes} = finding;
            const wide = pictures.length > NARROW ? "lora_train_wide" : "";
            this.fixes = fixes.map((fix) => ({fix, press: button("", {name: `fix-${fix.name}`,
                run: () => sheet.fix(finding, fix, [...this.chosen])})}));
            this.none = button(text("Choose none"), {kind: "quiet", name: "choose-none", run: () => {
                this.chosen.clear();
                this.show();
            }});
            this.element = make("div", {role: "group", "aria-label": title,
                class: `lora_train_finding lora_train_${severity} ${wide}`,
                data: {finding: finding.id, code: finding.code}},
            make("div", {class: "lora_train_row"}, make("strong", {}, title),
                pictures.length ? make("span", {class: "lora_train_hint"},
                    plural(pictures.length, "{count} picture", "{count} pictures")) : null),
            make("p", {}, sentence), pictures.length ? this.makePictures() : null,
            make("div", {class: "lora_train_row"}, ...this.fixes.map((one) => one.press), this.none));
            this.show();
        }

        makePictures() {
            const {title, pictures} = this.finding;
            const toggle = (place) => this.toggle(pictures[place].source);
            this.box = new TileBox(listOf(pictures.slice(0, FEW)), {
                label: title, least: 92, below: 0, kind: "lora_train_strip_grid", multiple: true, press: toggle,
                look: (place) => attempt(() => this.sheet.editor.openSource(pictures[place].source)),
                make: (tile) => tile.append(
                    make("img", {alt: "", loading: "lazy", decoding: "async", draggable: "false"}),
                    make("span", {class: "lora_train_tile_mark", "aria-hidden": "true"}),
                    make("span", {class: "lora_train_best", hidden: true}, text("best")),
                    make("span", {class: "lora_train_look", "data-look": "", title: text("Show it large")}, "⤢")),
                fill: (tile, picture) => this.fill(tile, picture),
            });
            if (pictures.length <= FEW) return this.box.element;
            const all = text("Show all {count}", {count: number(pictures.length)});
            const more = button(all, {kind: "quiet", name: "show-all", run: () => {
                this.box.list = listOf(pictures);
                this.box.element.classList.add("lora_train_all");
                this.box.drawSoon();
                more.remove();
                this.box.element.focus();
            }});
            return make("div", {}, this.box.element, more);
        }

        fill(tile, picture) {
            const [image, , best] = tile.children;
            setImage(image, loraTrain.sourceUrl(picture, "thumbnail"));
            best.hidden = picture.source !== this.finding.best;
            tile.title = picture.name;
            tile.setAttribute("aria-label", best.hidden ? picture.name : `${picture.name}, ${best.textContent}`);
            tile.setAttribute("aria-selected", this.chosen.has(picture.source));
        }

        toggle(source) {
            if (!this.chosen.delete(source)) this.chosen.add(source);
            this.show();
        }

        show() {
            const {pictures} = this.finding;
            for (const {fix, press} of this.fixes) write(press, fixLabel(fix, this.chosen.size, pictures.length));
            this.none.hidden = this.chosen.size === 0;
            if (!this.box) return;
            this.box.element.classList.toggle("lora_train_choosing", this.chosen.size > 0);
            this.box.drawSoon();
        }
    }

    class ReportSheet {
        /**
         * @param {Preparation} preparation
         * @param {CropEditor} editor in which a picture is shown large
         * @param {{changed: function(): Promise, restore: function(string): Promise}} calls
         */
        constructor(preparation, editor, calls) {
            this.preparation = preparation;
            this.editor = editor;
            this.calls = calls;
            this.body = make("div", {class: "lora_train_report"});
            on("prepared", () => { if (this.body.isConnected) attempt(() => this.read()); });
        }

        async open() {
            await this.read();
            openSheet(text("Check of the pictures"), {closed: () => this.preparation.touch()}, this.body);
            for (const view of this.views) if (view.box) view.box.drawSoon();
        }

        async read() {
            this.show(await api.get([...this.preparation.path, "report"]));
        }

        show(report) {
            this.views = report.findings.map((finding) => new FindingView(finding, this));
            const checked = plural(report.checked, "{count} picture checked", "{count} pictures checked");
            const sections = LEVELS.map((level) => {
                const views = this.views.filter((view) => view.finding.severity === level);
                return views.length ? make("section", {class: "lora_train_level", data: {level}},
                    make("h4", {}, levelWords(level)), ...views.map((view) => view.element)) : null;
            });
            const again = button(text("Check again"), {name: "check-again", run: () => this.again()});
            again.hidden = !report.stale;
            this.body.replaceChildren(...[
                make("div", {class: "lora_train_score"}, ring(report.score), make("div", {},
                    make("ul", {class: "lora_train_reasons"}, ...report.reasons.map((words) => make("li", {}, words))),
                    make("p", {class: "lora_train_hint"}, `${checked} · ${moment(report.time)}`),
                    report.stale ? make("p", {class: "lora_train_row"},
                        text("The pictures or settings have changed since."), again) : null)),
                report.findings.length ? null : make("p", {class: "lora_train_idle"},
                    text("Nothing was found. The pictures are fine to train on.")),
                ...sections,
            ].filter(Boolean));
        }

        /** Checks again; what comes of it is read when it is done. */
        async again() {
            await this.preparation.start(["check"]);
            if (!this.preparation.job) await this.read();
        }

        async fix(finding, fix, sources) {
            const body = {finding: finding.id, fix: fix.name, sources};
            const {sentence, trash_id: trashId} = await this.preparation.act("fix", body);
            if (trashId) {
                sayUndo(sentence, trashId, async (id) => {
                    await this.calls.restore(id);
                    if (this.body.isConnected) await this.read();
                });
            } else {
                say({sentence});
            }
            await Promise.all([this.read(), this.calls.changed()]);
        }
    }

    Object.assign(loraTrain, {ReportSheet});
})();
