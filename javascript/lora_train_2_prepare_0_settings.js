/**
 * The settings of a preparation step as a form, made from the server's schema; what most people leave alone is folded.
 */
(() => {
    "use strict";

    const {on, text, word, make, write, field, folded, select, fill, newId} = loraTrain;

    // What stands open; the others of a group are folded below.
    const FIRST = {
        check: ["size", "medium"],
        crop: ["crop", "width", "height", "face_share", "several", "close_ups", "mirror", "max_upscale"],
        matte: ["background", "colour", "matte"],
        tag: ["existing", "captioner", "trigger", "exclude", "first", "replace"],
    };
    const FIXED = ["size", "face", "head", "upper_body", "split"]; // crops of one size
    const FOCAL = ["face_weight", "entropy_weight", "edges_weight"];

    /** Whether a setting changes anything with the others as they are. */
    function matters(group, name, values) {
        if (group === "crop") {
            if (["width", "height"].includes(name)) return FIXED.includes(values.crop);
            if (name === "face_share") return values.crop === "face";
            if (FOCAL.includes(name)) return values.crop === "size" || values.crop === "auto";
            if (["split_threshold", "overlap"].includes(name)) return values.crop === "split";
            if (name.startsWith("auto_")) return values.crop === "auto";
            if (name === "several") return !["none", "aspect"].includes(values.crop);
            return values.crop !== "none" || name === "mirror";
        }
        if (group === "matte") {
            if (name === "colour") return values.background === "colour";
            if (name === "decontaminate") return !["none", "mask"].includes(values.background);
            return values.background !== "none" || name === "background";
        }
        return true;
    }

    /** What a choice means, in words. */
    function optionWords(group, name, value) {
        const words = {
            "check.medium.auto": text("Look by itself"), "check.medium.drawn": text("Drawn"),
            "check.medium.photo": text("Photos"),
            "crop.crop.none": text("None"), "crop.crop.size": text("To one size"),
            "crop.crop.aspect": text("Keep the shape"), "crop.crop.face": text("Face"),
            "crop.crop.head": text("Head and shoulders"), "crop.crop.upper_body": text("Upper body"),
            "crop.crop.split": text("Split long pictures"), "crop.crop.auto": text("Best size within limits"),
            "matte.background.none": text("Leave it"), "matte.background.transparent": text("Transparent"),
            "matte.background.white": text("White"), "matte.background.grey": text("Grey"),
            "matte.background.colour": text("One colour"), "matte.background.blur": text("Blurred"),
            "matte.background.noise": text("Noise"), "matte.background.mask": text("Leave it, write a mask"),
            "matte.matte.auto": text("What fits the pictures"), "matte.matte.grabcut": text("GrabCut, without a model"),
            "tag.combine.union": text("Any of them"), "tag.combine.intersection": text("All of them"),
            "tag.combine.vote": text("More than half"),
            "tag.existing.keep": text("Keep them"), "tag.existing.append": text("Add tags after them"),
            "tag.existing.prepend": text("Add tags before them"), "tag.existing.replace": text("Write them anew"),
            "tag.captioner.none": text("Nobody"),
        };
        return words[`${group}.${name}.${value}`] || value;
    }

    /** What the choice that holds does, in a sentence, where the choices differ so much; else "". */
    function choiceHelp(group, name, value) {
        return {
            "crop.crop.none": text("Pictures are trained on as they are."),
            "crop.crop.size": text("The width and height below, around what matters most in the picture."),
            "crop.crop.aspect": text("Only borders of one colour are cut off; the buckets do the rest."),
            "crop.crop.face": text("A frame around each face, of which it fills the share below."),
            "crop.crop.head": text("A frame around head and shoulders of each person."),
            "crop.crop.upper_body": text("A frame around the upper body of each person."),
            "crop.crop.split": text("Long pictures become several, which overlap a little."),
            "crop.crop.auto": text("The largest shape within the limits below that is close to the picture’s own."),
            "tag.existing.keep": text("Pictures that have a caption keep it; only the others are tagged."),
            "tag.existing.append": text("Captions stay, and new tags come after them."),
            "tag.existing.prepend": text("Captions stay, and new tags come before them."),
            "tag.existing.replace": text("All captions are written anew; Undo brings the old ones back."),
        }[`${group}.${name}.${value}`] || "";
    }

    /** "a, b" and lines as a list. */
    function toList(words) {
        return words.split(/[,，\n]/).map((word) => word.trim()).filter(Boolean);
    }

    /** A control of one setting: its element, and ways to read, write and name it. */
    class SettingField {
        /**
         * @param {string} group
         * @param {PrepareSetting} setting
         * @param {function(*): void} change called with every valid value
         * @param {?[string, string][]} options instead of the schema's choices
         */
        constructor(group, setting, change, options = null) {
            this.setting = setting;
            this.group = group;
            const {name, choices, unit} = setting;
            const [label, help] = [word(setting.label), word(setting.help)];
            const given = {class: "lora_train_input", name, "data-setting": `${group}.${name}`};
            const type = Array.isArray(setting.default) ? "list" : typeof setting.default;
            this.type = type;
            if (type === "boolean") this.control = make("input", {type: "checkbox", ...given, class: null});
            else if (options || (choices && choices.length)) {
                this.control = select(options || choices.map((one) => [one, optionWords(group, name, one)]), "", given);
            } else if (type === "number") {
                this.control = make("input", {...given, type: "number", ...this.bounds()});
            } else if (name === "colour") this.control = make("input", {...given, type: "color"});
            else this.control = make("input", {...given, type: "text", autocomplete: "off", maxlength: 4000});
            this.control.addEventListener("change", () => {
                if (!this.control.reportValidity()) return;
                change(this.value);
                this.showHelp(this.value);
            });
            const words = unit ? `${label} (${unit})` : label;
            if (type === "boolean") {
                this.control.id = newId();
                this.element = make("div", {class: "lora_train_field"},
                    make("label", {class: "lora_train_check", for: this.control.id}, this.control,
                        make("span", {}, words)), make("span", {class: "lora_train_hint"}, help));
            } else {
                this.element = field(words, this.control, help);
            }
        }

        bounds() {
            const {minimum, maximum, type} = this.setting;
            return {min: minimum, max: maximum, step: type.startsWith("int") ? 1 : "any", required: ""};
        }

        get value() {
            if (this.type === "boolean") return this.control.checked;
            if (this.type === "number") return Number(this.control.value);
            return this.type === "list" ? toList(this.control.value) : this.control.value;
        }

        /** Shows a value, unless the person is at it. */
        show(value) {
            if (document.activeElement === this.control && this.type !== "boolean") return;
            if (this.type === "boolean") this.control.checked = value;
            else this.control.value = this.type === "list" ? value.join(", ") : String(value);
            this.showHelp(value);
        }

        showHelp(value) {
            const help = choiceHelp(this.group, this.setting.name, value);
            if (help) write(this.element.querySelector(".lora_train_hint"), help);
        }
    }

    class SettingsForm {
        /**
         * @param {Preparation} preparation
         * @param {string} group
         * @param {string[]} [left] names of settings that are shown elsewhere
         */
        constructor(preparation, group, left = []) {
            this.preparation = preparation;
            this.group = group;
            this.left = left;
            this.element = make("div", {class: "lora_train_settings", data: {settings: group}});
            /** @type {SettingField[]} */
            this.fields = [];
            on("preparation", () => { if (this.element.isConnected) this.show(); });
        }

        build() {
            const {settings} = this.preparation.group(this.group);
            const first = FIRST[this.group] || [];
            const wanted = settings.filter((one) => !this.left.includes(one.name));
            this.fields = wanted.map((one) => new SettingField(this.group, one,
                (value) => this.preparation.change(this.group, {[one.name]: value}), this.options(one.name)));
            const open = first.map((name) => this.fields.find((one) => one.setting.name === name)).filter(Boolean);
            const others = this.fields.filter((one) => !open.includes(one));
            this.more = folded(text("More settings"),
                make("div", {class: "lora_train_settings_grid"}, ...others.map((one) => one.element)));
            this.element.replaceChildren(
                make("div", {class: "lora_train_settings_grid"}, ...open.map((one) => one.element)), this.more);
            this.others = others;
        }

        /** Choices that depend on what the server has. */
        options(name) {
            const {captioners, mattes} = this.preparation.overview.tools;
            if (`${this.group}.${name}` === "matte.matte") {
                const labels = Object.fromEntries(mattes.map((one) => [one.name, one.label]));
                const {choices} = this.preparation.group("matte").settings.find((one) => one.name === name);
                return choices.map((one) => [one, labels[one] || optionWords("matte", name, one)]);
            }
            if (`${this.group}.${name}` !== "tag.captioner") return null;
            return [["none", text("Nobody")], ...captioners.map((one) => [one.name, one.label])];
        }

        show() {
            const {overview} = this.preparation;
            if (!overview || this.preparation.schema.length === 0) return;
            if (this.fields.length === 0) this.build();
            const values = overview.settings[this.group];
            for (const one of this.fields) {
                const {name} = one.setting;
                if (name === "captioner") fill(one.control, this.options(name), values[name]);
                one.show(values[name]);
                one.element.hidden = !matters(this.group, name, values);
            }
            this.more.hidden = this.others.every((one) => one.element.hidden);
        }
    }

    Object.assign(loraTrain, {SettingsForm, SettingField, optionWords, matters});
})();
