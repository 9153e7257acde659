/**
 * The settings of one kind of edit as a form, made from the server's schema; fields of tags are completed.
 */
(() => {
    "use strict";

    const {text, word, make, write, field, select, newId, joined} = loraTrain;
    const LONGEST = 4000; // characters of a field
    const HIDDEN = ["keep"]; // asked elsewhere, tag by tag
    const LIMITS = [75, 150, 225]; // tokens that a training can read
    const CLEAR = ["ignore_case", "position"]; // shown only where their help would say that they matter
    const ONE_TAG = ["tag", "into", "find"]; // fields of text that hold a tag
    const SEVERAL_TAGS = ["replace"]; // or several, as lists do
    const BESIDE = ["before", "after"]; // another tag

    /**
     * @typedef {{name: string, label: string, help: string, type: string, default: *, minimum: ?number,
     *   maximum: ?number, choices: string[], unit: string}} EditSetting
     * @typedef {{kind: string, label: string, help: string, settings: EditSetting[]}} EditKind
     */

    /** Whether a setting changes anything with the others as they are. */
    function matters(kind, name, {where, how, to}) {
        if (name === "tag") return BESIDE.includes(where);
        if (name === "position") return where === "position";
        if (name === "within" || name === "ignore_case") return how !== "tag";
        if (name === "only") return kind !== "affix" || to === "tags";
        return true;
    }

    const NEEDED = {
        add: ["tags"], remove: ["tags"], replace: ["find"], merge: ["tags", "into"], move: ["tags"],
    };

    /** Whether so much is filled in that the server can say what would come of it. */
    function isFilled(values) {
        const {kind, where, tag, prefix, suffix} = values;
        if (BESIDE.includes(where) && !tag.trim()) return false;
        if (kind === "affix") return (prefix + suffix).trim() !== "";
        return (NEEDED[kind] || []).every((name) => values[name].length > 0);
    }

    /** What a choice means, in words. */
    function choiceWords(name, value) {
        const words = {
            "where.front": text("At the front"), "where.trigger": text("Behind the trigger word"),
            "where.back": text("At the end"), "where.before": text("Before a tag"),
            "where.after": text("After a tag"), "where.position": text("At a position"),
            "how.tag": text("A whole tag"), "how.text": text("A part of the text"),
            "how.regex": text("A regular expression"),
            "within.tags": text("In each tag"), "within.line": text("In the whole caption"),
            "to.caption": text("Around the whole caption"), "to.tags": text("Around each tag"),
            "to.lower": text("small letters"), "to.first": text("First letter large"),
            "to.title": text("First Letter Of Each Word"), "to.upper": text("CAPITALS"),
            "by.order": text("Subject, action, feature, view, light, other"),
            "by.frequency": text("How frequent they are"), "by.alphabet": text("The alphabet"),
            "by.tokens": text("Tokens"), "by.tags": text("Tags"),
            "write.spaces": text("Spaces"), "write.underscores": text("Underscores"),
            "write.keep": text("Leave them"),
        };
        return words[`${name}.${value}`] || value;
    }

    /** What is to be known of the choice that holds. The schema's help is of all of them, by their short names. */
    function choiceHelp(name, value) {
        return {
            "how.tag": text("* and ? are wildcards."),
            "how.regex": text("Its groups are {numbered} or {named} in the new text.",
                {numbered: "\\1, \\2", named: "\\g<name>"}),
            "where.trigger": text("First of all where there is none."),
        }[`${name}.${value}`] || "";
    }

    /** "a, b" and lines as a list. */
    function toList(words) {
        return words.split(/[,，\n]/).map((one) => one.trim()).filter(Boolean);
    }

    /** The same as wildcards read it: a tag with a * in it, and nothing else. */
    function literal(tag) {
        return tag.replace(/[*?\\]/g, "\\$&");
    }

    /** The control of one setting. */
    class EditField {
        /**
         * @param {EditSetting} setting
         * @param {TagComplete} complete
         * @param {function(): void} changed
         */
        constructor(setting, complete, changed) {
            this.setting = setting;
            this.type = Array.isArray(setting.default) ? "list" : typeof setting.default;
            const {name, choices, unit} = setting;
            const [label, help] = [word(setting.label), CLEAR.includes(name) ? "" : word(setting.help)];
            const given = {class: "lora_train_input", name, "data-field": name};
            if (this.type === "boolean") this.control = make("input", {...given, type: "checkbox", class: null});
            else if (choices && choices.length) {
                this.chosen = true;
                this.control = select(choices.map((one) => [one, choiceWords(name, one)]), setting.default, given);
            } else if (this.type === "number") {
                this.control = make("input", {...given, type: "number", ...this.bounds()});
            } else {
                this.control = make("input", {...given, type: "text", autocomplete: "off", spellcheck: "false",
                    maxlength: LONGEST, translate: "no"});
                const several = this.type === "list" || SEVERAL_TAGS.includes(name);
                const when = () => !this.pattern;
                if (several || ONE_TAG.includes(name)) complete.attach(this.control, null, {several, when});
            }
            if (name === "limit") this.suggest(LIMITS);
            this.value = setting.default;
            for (const event of ["input", "change"]) this.control.addEventListener(event, () => this.heard(changed));
            this.problem = make("span", {class: "lora_train_field_problem", role: "alert", hidden: true, id: newId()});
            this.element = this.makeElement(unit ? `${label} (${unit})` : label, help);
            this.element.append(this.problem, this.offers || "");
        }

        makeElement(label, help) {
            this.note = make("span", {class: "lora_train_hint", id: newId(), hidden: help === ""}, help);
            this.control.id = newId();
            this.control.setAttribute("aria-describedby", this.note.id);
            if (this.type !== "boolean") {
                const element = field(label, this.control);
                element.append(this.note);
                return element;
            }
            return make("div", {class: "lora_train_field"},
                make("label", {class: "lora_train_check", for: this.control.id}, this.control, make("span", {}, label)),
                this.note);
        }

        /** Numbers to choose from; any other can be typed. */
        suggest(values) {
            this.offers = make("datalist", {id: newId()}, ...values.map((value) => make("option", {value})));
            this.control.setAttribute("list", this.offers.id);
        }

        /** What stands below it; of a choice, what is to be known of the one that holds. */
        help(words) {
            write(this.note, words);
            this.note.hidden = words === "";
        }

        bounds() {
            const {minimum, maximum, type} = this.setting;
            return {min: minimum, max: maximum, step: type.startsWith("int") ? 1 : "any"};
        }

        /** A field tells of a change twice, by "input" and by "change". */
        heard(changed) {
            const signature = JSON.stringify(this.value);
            if (signature === this.signature) return;
            this.signature = signature;
            changed();
        }

        get value() {
            if (this.type === "boolean") return this.control.checked;
            if (this.type === "number") {
                const {value} = this.control;
                return value === "" ? this.setting.default : Number(value);
            }
            if (this.type !== "list") return this.control.value;
            const {value} = this.control;
            return this.pattern && value.trim() ? [value] : toList(value); // commas belong to a pattern
        }

        set value(value) {
            if (this.type === "boolean") this.control.checked = value;
            else this.control.value = this.type === "list" ? value.join(", ") : String(value);
            this.signature = JSON.stringify(this.value);
        }

        /** Says what is wrong with it; "" when nothing is. */
        blame(words) {
            loraTrain.blame(this.control, this.problem, words);
        }
    }

    class EditForm {
        /**
         * @param {EditKind} kind
         * @param {TagComplete} complete
         * @param {function(): void} changed
         */
        constructor(kind, complete, changed) {
            this.kind = kind;
            const shown = kind.settings.filter(({name}) => !HIDDEN.includes(name));
            /** @type {EditField[]} */
            this.fields = shown.map((setting) => new EditField(setting, complete, () => {
                this.show();
                this.blame(null); // until it was looked at again
                changed();
            }));
            this.element = make("div", {class: "lora_train_edit_form", data: {kind: kind.kind}},
                make("p", {class: "lora_train_hint"}, word(kind.help)), ...this.fields.map((one) => one.element));
            this.show();
        }

        /** Hides what does not matter with the others as they are. */
        show() {
            const {values} = this;
            for (const one of this.fields) {
                const {name} = one.setting;
                one.element.hidden = !matters(this.kind.kind, name, values);
                one.pattern = values.how === "regex" && (name === "tags" || name === "find");
                if (one.chosen) one.help(choiceHelp(name, one.value));
            }
        }

        get values() {
            const entries = this.fields.map((one) => [one.setting.name, one.value]);
            return {kind: this.kind.kind, ...Object.fromEntries(entries)};
        }

        set values(given) {
            for (const one of this.fields) if (one.setting.name in given) one.value = given[one.setting.name];
            this.show();
        }

        get filled() {
            return isFilled(this.values);
        }

        /** Shows a refusal at the field that it names. Whether there is one. */
        blame(error) {
            const named = error ? this.fields.find((one) => error.where.split(".").pop() === one.setting.name) : null;
            for (const one of this.fields) one.blame(one === named ? joined(error.sentence, error.remedy) : "");
            return Boolean(named);
        }

        focus() {
            const first = this.fields.find((one) => !one.element.hidden);
            if (first) first.control.focus();
        }
    }

    Object.assign(loraTrain, {EditForm, literalTag: literal});
})();
