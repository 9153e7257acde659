/**
 * What the windows of the previews are filled in with: a field for each setting of a schema, and lists of names of
 * which some are chosen.
 */
(() => {
    "use strict";

    const {
        text, plural, number, word, make, write, field, fill, select, newId, later,
    } = loraTrain;
    const LONGEST = 20_000; // characters of a field
    const MOST_SHOWN = 200; // names of a list; others are found by typing
    const FEW = 8; // names that are seen at a glance
    const LINES = {prompts: 5, negative_prompt: 2}; // of the fields that are texts of several lines

    /**
     * @typedef {{name: string, label: string, help: string, type: string, default: *, minimum: ?number,
     *   maximum: ?number, choices: string[], unit: string}} GridSetting
     */

    /** The control of one setting, with its help and, where there is one, what is wrong with it. */
    class GridField {
        /**
         * @param {GridSetting} setting
         * @param {function(): void} changed
         * @param {?[string, string][]} options instead of the schema's choices
         */
        constructor(setting, changed, options = null) {
            this.setting = setting;
            const {name, type, choices, unit} = setting;
            const [label, help] = [word(setting.label), word(setting.help)];
            const given = {class: "lora_train_input", name, "data-field": name};
            this.options = options || (choices.length ? choices.map((one) => [one, one]) : null);
            this.isNumber = type === "int" || type === "float";
            if (type === "bool") this.control = make("input", {...given, class: null, type: "checkbox"});
            else if (this.options) this.control = select(this.options, setting.default, given);
            else if (this.isNumber) this.control = make("input", {...given, type: "number", ...this.bounds()});
            else {
                const free = {...given, maxlength: LONGEST, translate: "no", autocomplete: "off", spellcheck: "false"};
                this.control = LINES[name] ? make("textarea", {...free, rows: LINES[name]})
                    : make("input", {...free, type: "text"});
            }
            for (const event of ["input", "change"]) this.control.addEventListener(event, () => this.heard(changed));
            this.problem = make("span", {class: "lora_train_field_problem", role: "alert", hidden: true, id: newId()});
            this.element = this.makeElement(unit ? `${label} (${unit})` : label, help);
            this.element.append(this.problem);
            this.value = setting.default;
        }

        makeElement(label, help) {
            if (this.setting.type !== "bool") return field(label, this.control, help);
            const note = make("span", {class: "lora_train_hint", id: newId()}, help);
            this.control.id = newId();
            this.control.setAttribute("aria-describedby", note.id);
            return make("div", {class: "lora_train_field"}, make("label", {
                class: "lora_train_check", for: this.control.id,
            }, this.control, make("span", {}, label)), note);
        }

        bounds() {
            const {minimum, maximum, type} = this.setting;
            return {min: minimum, max: maximum, step: type === "int" ? 1 : "any"};
        }

        /** A field tells of a change twice, by "input" and by "change". */
        heard(changed) {
            const signature = JSON.stringify([this.value, this.control.validity.badInput]);
            if (signature === this.signature) return;
            this.signature = signature;
            this.blame("");
            changed();
        }

        /** null where a number is left to the server. */
        get value() {
            if (this.setting.type === "bool") return this.control.checked;
            if (!this.isNumber) return this.control.value;
            return this.control.value === "" ? null : Number(this.control.value);
        }

        set value(value) {
            if (this.setting.type === "bool") this.control.checked = Boolean(value);
            else if (this.options && !this.options.some(([one]) => one === value)) { // of another host, or a schedule
                fill(this.control, [...this.options, [value, value]], value);
            } else this.control.value = value === null ? "" : String(value);
            this.signature = JSON.stringify([this.value, false]);
        }

        /** What holds where the field is left empty. */
        suggest(value) {
            this.control.placeholder = value === null || value === undefined ? "" : String(value);
        }

        /** Says what is wrong with it; "" when nothing is. */
        blame(words) {
            loraTrain.blame(this.control, this.problem, words);
        }
    }

    /** Names, of which any number is chosen; where there are many, they are found by typing. */
    class NameList {
        /**
         * @param {string} label
         * @param {{name: string, none: string, changed: function(): void}} given `name` is for tests and styles, `none`
         *   what holds as long as nothing is chosen
         */
        constructor(label, {name, none, changed}) {
            this.label = label;
            this.none = none;
            this.changed = changed;
            /** @type {{value: string, words: string, hint?: string}[]} */
            this.names = [];
            /** @type {Set<string>} values, in the order in which they were chosen */
            this.chosen = new Set();
            this.legend = make("legend", {class: "lora_train_label"}, label);
            this.filter = make("input", {class: "lora_train_input", type: "search", translate: "no", hidden: true,
                "aria-label": text("Find: {what}", {what: label}), placeholder: text("Find"), autocomplete: "off"});
            this.list = make("div", {class: "lora_train_previews_names_list"});
            this.hint = make("span", {class: "lora_train_hint"});
            this.element = make("fieldset", {class: "lora_train_previews_names", data: {names: name}}, this.legend,
                this.filter, this.list, this.hint);
            this.filter.addEventListener("input", later(80, () => this.drawList()));
        }

        get values() {
            return [...this.chosen];
        }

        /** Takes other names. What is chosen and not among them is to be seen as well, and can be taken away. */
        show(names, chosen = this.values) {
            const here = new Set(names.map((one) => one.value));
            this.names = [...names, ...chosen.filter((value) => !here.has(value))
                .map((value) => ({value, words: value, hint: text("not there any more")}))];
            this.chosen = new Set(chosen);
            this.filter.value = "";
            this.filter.hidden = names.length <= FEW;
            this.element.hidden = this.names.length === 0;
            this.drawList();
        }

        choose(value, on) {
            if (on) this.chosen.add(value);
            else this.chosen.delete(value);
            this.drawHint();
            this.changed();
        }

        drawList() {
            const sought = this.filter.value.trim().toLocaleLowerCase();
            const found = this.names.filter(({value, words}) => !sought || this.chosen.has(value)
                || words.toLocaleLowerCase().includes(sought));
            // What is chosen is never out of sight.
            const shown = [...found.filter((one) => this.chosen.has(one.value)),
                ...found.filter((one) => !this.chosen.has(one.value))].slice(0, MOST_SHOWN);
            const ordered = found.length > MOST_SHOWN ? shown : found;
            this.left = found.length - ordered.length;
            this.list.replaceChildren(...ordered.map((one) => this.entry(one)));
            this.drawHint();
        }

        entry({value, words, hint = ""}) {
            return make("label", {class: "lora_train_check"},
                make("input", {type: "checkbox", value, checked: this.chosen.has(value),
                    on: {change: (event) => this.choose(value, event.target.checked)}}),
                make("span", {translate: "no"}, words),
                hint ? make("span", {class: "lora_train_hint"}, hint) : null);
        }

        drawHint() {
            const count = this.chosen.size;
            write(this.legend, count ? text("{what} ({count})", {what: this.label, count: number(count)}) : this.label);
            const more = this.left ? plural(this.left, "{count} more is found by typing.",
                "{count} more are found by typing.") : "";
            write(this.hint, more || (count ? "" : this.none));
            this.hint.hidden = this.hint.textContent === "";
        }
    }

    Object.assign(loraTrain, {GridField, NameList});
})();
