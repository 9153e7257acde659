/**
 * One setting of a sweep, and the values of it that are tried.
 */
(() => {
    "use strict";

    const {state, text, word, make, write, button, field, newId, joined} = loraTrain;
    const RATES = ["learning_rate", "unet_lr", "text_encoder_lr"]; // numbers that are written as text
    const CHECKPOINT = "model.checkpoint";

    /** The table's help; in other languages it is known with what the form puts behind it. */
    function helpWords({help, unit, kohya}) {
        const whole = ["kohya", "name"].map((kind) => [help, unit ? `[${unit}]` : "", `${kind}: ${kohya}`]
            .filter(Boolean).join(" "));
        const known = whole.find((one) => word(one) !== one);
        return known ? word(known) : help;
    }

    function valueWords(value) {
        if (typeof value === "boolean") return value ? text("on") : text("off");
        return Array.isArray(value) ? value.join(" ") : value === null ? "" : String(value);
    }

    /** 0.0002 as people write rates. */
    function plain(value) {
        const rounded = Number(value.toPrecision(3));
        return rounded !== 0 && Math.abs(rounded) < 0.01 ? rounded.toExponential().replace("e+", "e")
            : String(rounded);
    }

    class SweepAxis {
        /**
         * @param {Object} setting of the schema, with its `group`
         * @param {*} value that it has now
         * @param {{changed: function(): void, remove: function(SweepAxis): void}} told
         */
        constructor(setting, value, {changed, remove}) {
            this.setting = setting;
            this.key = `${setting.group}.${setting.name}`;
            this.value = value;
            this.isNumber = setting.type === "int" || setting.type === "float" || RATES.includes(setting.name);
            const label = word(setting.label);
            const options = this.options();
            this.problem = make("span", {class: "lora_train_field_problem", role: "alert", hidden: true, id: newId()});
            const away = button("×", {kind: "quiet", name: "remove-axis", title: text("Take it away"),
                run: () => remove(this)});
            away.setAttribute("aria-label", text("Take away: {what}", {what: label}));
            const control = options ? this.makeBoxes(label, options, changed) : this.makeLines(label, changed);
            this.element = make("div", {class: "lora_train_previews_axis", data: {axis: this.key}}, control, away,
                this.problem);
        }

        /** Values to tick, where there are only these. */
        options() {
            const {type, choices} = this.setting;
            if (type === "bool") return [true, false];
            if (this.key === CHECKPOINT) return state.checkpoints.map((one) => one.name);
            return choices.length ? choices : null;
        }

        makeBoxes(label, options, changed) {
            this.boxes = options.map((one) => make("input", {type: "checkbox", value: String(one),
                checked: String(one) === String(this.value), on: {change: () => this.heard(changed)}}));
            const untranslated = this.setting.type === "bool" ? null : "no";
            return make("fieldset", {class: "lora_train_previews_values"},
                make("legend", {class: "lora_train_label"}, label),
                make("span", {class: "lora_train_hint"}, helpWords(this.setting)),
                ...options.map((one, place) => make("label", {class: "lora_train_check"}, this.boxes[place],
                    make("span", {translate: untranslated}, valueWords(one)))));
        }

        makeLines(label, changed) {
            this.lines = make("textarea", {class: "lora_train_input", rows: 3, translate: "no", spellcheck: "false",
                autocomplete: "off", maxlength: 4000, "data-values": this.key,
                on: {input: () => this.heard(changed)}});
            this.lines.value = valueWords(this.value);
            const hint = this.isNumber ? text("One value in each line, or between commas.")
                : text("One value in each line.");
            const element = field(label, this.lines, joined(hint, helpWords(this.setting)));
            const around = this.isNumber && Number(this.value) > 0;
            if (around) {
                element.append(button(text("Half and double"), {kind: "small", name: "around", run: () => {
                    this.lines.value = this.around().join("\n");
                    this.heard(changed);
                }}));
            }
            return element;
        }

        /** The value with half and twice of it, within the setting's bounds. */
        around() {
            const {minimum, maximum, type} = this.setting;
            const whole = type === "int";
            const found = [0.5, 1, 2].map((factor) => Number(this.value) * factor)
                .map((one) => (whole ? Math.round(one) : one))
                .map((one) => Math.min(maximum ?? Infinity, Math.max(minimum ?? -Infinity, one)));
            return [...new Set(found.map(plain))];
        }

        heard(changed) {
            this.blame("");
            changed();
        }

        /** @returns {(string|boolean)[]} as they are sent */
        get values() {
            if (this.boxes) {
                const ticked = this.boxes.filter((box) => box.checked).map((box) => box.value);
                return this.setting.type === "bool" ? ticked.map((one) => one === "true") : ticked;
            }
            const parts = this.lines.value.split(this.isNumber ? /[\s,，;；]+/ : /\n/).map((one) => one.trim());
            return parts.filter(Boolean);
        }

        blame(words) {
            write(this.problem, words);
            this.problem.hidden = words === "";
        }

        focus() {
            const [first] = this.boxes || [this.lines];
            if (first) first.focus();
        }
    }

    Object.assign(loraTrain, {SweepAxis});
})();
