/**
 * Tags: which taggers look, how sure they must be, and what the captions become, shown while it is being set. What
 * the taggers saw is kept by the server, so that nothing has to be looked at again.
 */
(() => {
    "use strict";

    const {
        api, on, attempt, later, text, word, plural, number, make, write, button, field, report, openSheet, sourceUrl,
        setImage, isReady, modelWords,
    } = loraTrain;
    const PREVIEW_WAIT = 150; // ms after the last move of a slider
    const CAPTIONS = 30; // shown at once
    const COUNTS = 150;
    const SLIDERS = ["threshold", "character_threshold"];

    /** The settings of the tags: taggers, sliders, and the others as a form. */
    class TagForm {
        /** @param {Preparation} preparation */
        constructor(preparation) {
            this.preparation = preparation;
            this.taggers = make("fieldset", {class: "lora_train_taggers"});
            this.sliders = new Map();
            this.slidersPlace = make("div", {class: "lora_train_tag_sliders"});
            this.form = new loraTrain.SettingsForm(preparation, "tag", ["taggers", ...SLIDERS]);
            this.element = make("div", {class: "lora_train_tag_form"}, this.slidersPlace, this.taggers,
                this.form.element);
            on("preparation", () => { if (this.element.isConnected) this.show(); });
        }

        makeSlider({name, label: english, help, minimum, maximum}) {
            const label = word(english);
            const input = make("input", {type: "range", min: minimum, max: maximum, step: 0.01,
                "data-setting": `tag.${name}`});
            const value = make("output", {class: "lora_train_slider_words"});
            const words = () => write(value, number(Number(input.value), 2));
            input.addEventListener("input", () => {
                words();
                this.preparation.change("tag", {[name]: Number(input.value)});
            });
            const line = make("div", {class: "lora_train_slider lora_train_row"}, input, value);
            const element = field(label, line, word(help));
            input.setAttribute("aria-label", label);
            element.querySelector("label").removeAttribute("for");
            return {element, show: (now) => {
                if (document.activeElement !== input) input.value = String(now);
                words();
            }};
        }

        show() {
            const {overview} = this.preparation;
            if (!overview) return;
            if (this.sliders.size === 0) {
                for (const one of this.preparation.group("tag").settings) {
                    if (SLIDERS.includes(one.name)) this.sliders.set(one.name, this.makeSlider(one));
                }
                this.slidersPlace.replaceChildren(...[...this.sliders.values()].map((one) => one.element));
            }
            const {tag} = overview.settings;
            for (const [name, slider] of this.sliders) slider.show(tag[name]);
            this.showTaggers(overview.tools, tag.taggers);
            this.form.show();
        }

        showTaggers({taggers, may_download: may}, chosen) {
            const signature = JSON.stringify([taggers, chosen, may]);
            if (this.shownTaggers === signature) return;
            this.shownTaggers = signature;
            const held = this.taggers.contains(document.activeElement) ? document.activeElement.value : "";
            const unknown = chosen.filter((name) => taggers.every((one) => one.name !== name))
                .map((name) => ({name, label: name, state: "missing"}));
            this.taggers.replaceChildren(make("legend", {class: "lora_train_label"}, text("Taggers")),
                ...[...taggers, ...unknown].map((one) => make("label", {class: "lora_train_check lora_train_tagger"},
                    make("input", {type: "checkbox", value: one.name, checked: chosen.includes(one.name),
                        on: {change: () => this.choose(one.name)}}),
                    make("span", {}, one.label, " ", make("span", {class: "lora_train_hint"}, modelWords(one, may))))),
                taggers.some((one) => !isReady(one)) && may ? make("p", {class: "lora_train_hint"},
                    text("What is missing is downloaded when it is used for the first time.")) : "");
            const again = held && this.taggers.querySelector(`input[value="${CSS.escape(held)}"]`);
            if (again) again.focus();
        }

        choose(name) {
            const {taggers} = this.preparation.overview.settings.tag;
            const chosen = taggers.includes(name) ? taggers.filter((one) => one !== name) : [...taggers, name];
            this.preparation.change("tag", {taggers: chosen});
        }
    }

    class TagSheet {
        /** @param {Preparation} preparation */
        constructor(preparation) {
            this.preparation = preparation;
            this.form = new TagForm(preparation);
            this.counts = make("ul", {class: "lora_train_tag_counts"});
            this.captions = make("ul", {class: "lora_train_tag_captions"});
            this.status = make("p", {class: "lora_train_hint", role: "status", "data-note": "tags"});
            this.more = button(text("Show more"), {kind: "quiet", name: "more-captions", run: () => this.showMore()});
            this.body = make("div", {class: "lora_train_tags"},
                make("div", {class: "lora_train_tags_form"}, this.form.element),
                make("div", {class: "lora_train_tags_counts"}, make("h4", {}, text("Tags and how often")), this.counts),
                make("div", {class: "lora_train_tags_captions"}, make("h4", {}, text("Captions, before and after")),
                    this.status, this.captions, this.more));
            this.previewSoon = later(PREVIEW_WAIT, () => attempt(() => this.preview()));
            on("preparation", () => { if (this.body.isConnected) this.settingsChanged(); });
        }

        async open() {
            const asked = this.askedWhom;
            const closed = () => this.preparation.settle(() => this.closed(asked));
            openSheet(text("Tags"), {kind: "lora_train_tall", closed}, this.body);
            this.form.show();
            this.shown = "";
            this.settingsChanged();
        }

        /** Who is asked: with the same ones, other settings need no second look at the pictures. */
        get askedWhom() {
            const {taggers, captioner} = this.preparation.overview.settings.tag;
            return JSON.stringify([taggers, captioner]);
        }

        /** What was shown is what will be written: where everything is known already, the step is done again. */
        async closed(asked) {
            const {preparation} = this;
            const {projectId} = preparation;
            await preparation.saved();
            if (projectId !== preparation.projectId || !preparation.overview) return; // another one was opened
            const {steps, job} = preparation.overview;
            if (job || steps.tag.state !== "stale" || asked !== this.askedWhom) return;
            await preparation.start(["tag"]);
        }

        settingsChanged() {
            const {overview} = this.preparation;
            if (!overview) return;
            const signature = JSON.stringify([overview.settings.tag, overview.steps.tag.time]);
            if (this.shown === signature) return;
            this.shown = signature;
            this.previewSoon();
        }

        ask(offset) {
            const {tag} = this.preparation.overview.settings;
            return api.post([...this.preparation.path, "tags", "preview"], {settings: tag, offset, limit: CAPTIONS});
        }

        /** Asks what the settings would give; an answer that a later question has overtaken is not shown. */
        async preview() {
            if (!this.body.isConnected) return;
            const {shown} = this;
            this.body.classList.add("lora_train_waiting_preview");
            try {
                const answer = await this.ask(0);
                if (shown === this.shown) this.showPreview(answer);
            } catch (error) {
                if (shown === this.shown) report(error);
            } finally {
                if (shown === this.shown) this.body.classList.remove("lora_train_waiting_preview");
            }
        }

        showPreview({total, changed, looked, counts, captions}) {
            this.total = total;
            const most = Math.max(1, ...counts.map((one) => one.count));
            this.counts.replaceChildren(...counts.slice(0, COUNTS).map((one) => this.countLine(one, most)));
            write(this.status, [
                looked ? "" : text("No tagger has looked at the pictures yet. Run the step Tags, or Prepare."),
                changed ? plural(changed, "{count} caption changes", "{count} captions change")
                    : looked ? text("No caption would change.") : "",
                counts.length ? plural(counts.length, "{count} tag", "{count} tags") : "",
            ].filter(Boolean).join(" · "));
            this.captions.replaceChildren(...captions.map((one) => this.captionLine(one)));
            this.more.hidden = this.captions.children.length >= total;
        }

        async showMore() {
            const {shown} = this;
            const {captions} = await this.ask(this.captions.children.length);
            if (shown !== this.shown) return;
            this.captions.append(...captions.map((one) => this.captionLine(one)));
            this.more.hidden = captions.length === 0 || this.captions.children.length >= this.total;
        }

        countLine({tag, count}, most) {
            const bar = make("span", {class: "lora_train_tag_bar", "aria-hidden": "true"});
            bar.style.width = `${100 * count / most}%`;
            const press = (sign, name, words, group) => {
                const one = button(sign, {kind: "quiet", name, title: words, run: () => this.put(group, tag)});
                one.setAttribute("aria-label", `${words}: ${tag}`);
                return one;
            };
            return make("li", {data: {tag}}, bar, make("span", {class: "lora_train_tag_name", translate: "no"}, tag),
                make("span", {class: "lora_train_hint"}, number(count)),
                press("↑", "tag-first", text("Put first"), "first"),
                press("×", "tag-out", text("Leave out"), "exclude"));
        }

        /** Adds a tag to a list of the settings. */
        put(group, tag) {
            const names = this.preparation.overview.settings.tag[group];
            if (!names.includes(tag)) this.preparation.change("tag", {[group]: [...names, tag]});
        }

        captionLine({source, before, after}) {
            const image = make("img", {alt: "", loading: "lazy", decoding: "async"});
            setImage(image, sourceUrl({source}, "thumbnail", {v: source}));
            const had = new Set(before.split(",").map((one) => one.trim()));
            const words = after.split(",").map((one) => one.trim()).filter(Boolean);
            const parts = words.flatMap((one, place) => [place ? ", " : null,
                make("span", {class: had.has(one) ? null : "lora_train_new_tag"}, one)]);
            return make("li", {data: {source}}, image, make("div", {class: "lora_train_caption_pair", translate: "no"},
                before === after ? null : make("p", {class: "lora_train_hint"}, before || text("no caption")),
                make("p", {}, ...(words.length ? parts : [text("no caption")]))));
        }
    }

    Object.assign(loraTrain, {TagForm, TagSheet});
})();
