/**
 * LoRA files from LoRA files: another rank, a sum of several, less said of the pictures, another precision; and the
 * LoRAs that were taken from grids.
 */
(() => {
    "use strict";

    const {
        api, url, emit, text, number, bytes, make, write, button, enable, field, select, fill, choice, attempt,
        download, PickList, showClash,
    } = loraTrain;
    const USUAL_RANK = 8;
    const LONGEST = 120;

    function toolWords(name) {
        return {
            resize: [text("Change the rank"), text(
                "A smaller file that does nearly the same: each layer is brought to the nearest of that rank (SVD).")],
            merge: [text("Merge several"), text("One file that does what these do together, each at its weight.")],
            scrub: [text("Clean the metadata"), text(
                "A copy that says nothing of your pictures: no tags, folders, times and settings of the training.")],
            convert: [text("Change the precision"), text(
                "A copy with numbers of another size: fp16 and bf16 take half of fp32.")],
        }[name];
    }

    /** A name that says what was done to a file. */
    function newName(tool, files, {rank, precision}) {
        const base = files[0] || "LoRA";
        const ending = {
            resize: rank ? `r${rank}` : "", merge: "merged", scrub: "clean", convert: precision,
        }[tool];
        return `${base} ${ending}`.trim().slice(0, LONGEST);
    }

    class PreviewTools {
        /** @param {PreviewModel} model */
        constructor(model) {
            this.model = model;
            this.told = null;
            this.tool = "resize";
            this.rows = [];
            this.named = ""; // the name that was proposed last
            this.form = make("form", {class: "lora_train_previews_tool", novalidate: ""});
            this.form.addEventListener("submit", (event) => {
                event.preventDefault();
                attempt(() => this.make());
            });
            this.work = make("section", {class: "lora_train_previews_part", data: {part: "tools"}},
                make("h4", {}, text("A new file from LoRA files")), this.form);
            this.picks = new PickList(model);
            this.element = make("div", {class: "lora_train_previews_toolbox"}, this.picks.element, this.work);
        }

        async opened() {
            this.picks.show();
            this.told = await api.get(this.model.root("tools"));
            this.draw();
        }

        /** The file of the chosen cell, where it can be taken; else the first there is. */
        get usual() {
            const {model, told} = this;
            const cell = model.chosenCell;
            const column = cell && model.grid.columns[cell.column];
            const name = column ? column.file.replace(/\.safetensors$/, "") : "";
            return told.files.includes(name) ? name : told.files[0];
        }

        draw() {
            const {told} = this;
            if (told.files.length === 0) {
                this.form.replaceChildren(make("p", {class: "lora_train_hint"},
                    text("There is no LoRA file yet that you may use.")));
                return;
            }
            this.hint = make("p", {class: "lora_train_hint", role: "status"});
            this.files = make("div", {class: "lora_train_previews_tool_files"});
            this.add = button(text("Add a file"), {name: "add-file", run: () => {
                this.addRow();
                this.changed();
            }});
            this.rank = this.input("rank", {type: "number", min: 1, max: told.largest_rank, step: 1});
            this.keep = this.input("keep", {type: "number", min: 1, max: 100, step: "any", value: "100"});
            this.precision = select([], "", {name: "precision"});
            this.name = this.input("name", {type: "text", maxlength: LONGEST, autocomplete: "off", spellcheck: "false",
                translate: "no"});
            this.fields = {
                rank: field(text("Rank"), this.rank), keep: field(text("Keep, in % of each layer"), this.keep,
                    text("Below 100, layers that need fewer ranks get fewer.")),
                precision: field(text("Precision"), this.precision),
            };
            this.clash = make("div", {class: "lora_train_message lora_train_error", role: "alert", hidden: true});
            this.outcome = make("div", {class: "lora_train_message", role: "status", hidden: true});
            this.press = make("button", {
                type: "submit", class: "lora_train_button lora_train_primary", "data-action": "make-lora",
            }, text("Make the file"));
            this.form.replaceChildren(
                choice(text("What to do"), told.tools.map(({name}) => [name, toolWords(name)[0]]), this.tool,
                    (name) => this.choose(name)),
                this.hint, this.files, this.add,
                make("div", {class: "lora_train_form"}, ...Object.values(this.fields),
                    field(text("Name of the new file"), this.name)),
                this.clash, make("div", {class: "lora_train_row"}, this.press), this.outcome);
            for (const one of [this.rank, this.precision]) one.addEventListener("input", () => this.changed());
            this.choose(this.tool);
        }

        input(name, given) {
            return make("input", {class: "lora_train_input", name, ...given});
        }

        choose(name) {
            this.tool = name;
            const {takes, files} = this.told.tools.find((one) => one.name === name);
            write(this.hint, toolWords(name)[1]);
            for (const [key, element] of Object.entries(this.fields)) element.hidden = !takes.includes(key);
            const as = name === "convert" ? [] : [["", text("as it is")]];
            fill(this.precision, [...as, ...this.told.precisions.map((one) => [one, one])],
                name === "convert" ? this.told.precisions[0] : "");
            this.rank.value = name === "resize" ? String(USUAL_RANK) : "";
            this.rank.placeholder = name === "merge" ? text("as many as it takes") : "";
            this.most = files;
            const wanted = Math.min(files, files > 1 ? 2 : 1);
            while (this.rows.length > (files > 1 ? files : 1)) this.rows.pop().element.remove();
            this.rows = this.rows.filter((row) => this.told.files.includes(row.file.value));
            this.files.replaceChildren(...this.rows.map((row) => row.element));
            while (this.rows.length < wanted) this.addRow();
            this.outcome.hidden = true;
            this.changed();
        }

        addRow() {
            const {told} = this;
            const taken = this.rows.map((row) => row.file.value);
            const free = [this.usual, ...told.files].find((name) => !taken.includes(name)) || told.files[0];
            const file = select(told.files.map((name) => [name, name]), free, {
                name: "file", translate: "no", "aria-label": text("LoRA file"),
            });
            const weight = this.input("weight", {
                type: "number", min: -10, max: 10, step: "any", value: "1", "aria-label": text("Weight"),
            });
            const row = {file, weight};
            row.remove = button("×", {kind: "quiet", name: "remove-file", title: text("Remove"), run: () => {
                this.rows = this.rows.filter((one) => one !== row);
                row.element.remove();
                this.changed();
            }});
            row.remove.setAttribute("aria-label", text("Remove"));
            file.addEventListener("input", () => this.changed());
            row.element = make("div", {class: "lora_train_previews_tool_file"}, file, weight, row.remove);
            this.rows.push(row);
            this.files.append(row.element);
        }

        /** What follows from what was chosen: which controls there are, and a name that nobody has changed. */
        changed() {
            const several = this.most > 1;
            this.add.hidden = !several;
            enable(this.add, this.rows.length < this.most);
            for (const row of this.rows) {
                row.weight.hidden = row.remove.hidden = !several;
                enable(row.remove, this.rows.length > 2);
            }
            this.clash.hidden = true;
            if (this.name.value !== this.named && this.name.value.trim()) return;
            this.named = newName(this.tool, this.rows.map((row) => row.file.value),
                {rank: this.rank.value, precision: this.precision.value});
            this.name.value = this.named;
        }

        get body() {
            const takes = (name) => !this.fields[name].hidden;
            const body = {files: this.rows.map((row) => row.file.value), name: this.name.value.trim()};
            if (this.most > 1) body.weights = this.rows.map((row) => Number(row.weight.value));
            if (takes("rank") && this.rank.value.trim()) body.rank = Math.round(Number(this.rank.value));
            if (takes("keep")) body.keep = Number(this.keep.value) / 100;
            if (this.precision.value) body.precision = this.precision.value;
            return body;
        }

        async make() {
            if (this.press.getAttribute("aria-busy") === "true") return;
            this.press.setAttribute("aria-busy", "true");
            this.clash.hidden = this.outcome.hidden = true;
            try {
                this.done(await api.post(this.model.root("tools", this.tool), this.body));
            } catch (error) {
                showClash(this.clash, error, (free) => {
                    this.name.value = free;
                    return this.make();
                });
            } finally {
                this.press.removeAttribute("aria-busy");
            }
        }

        done(made) {
            const [least, most] = made.rank;
            const rank = least === most ? text("rank {rank}", {rank: number(most)})
                : text("ranks {least} to {most}", {least: number(least), most: number(most)});
            const words = text("“{name}” is among your LoRAs now: {facts}.", {
                name: made.name, facts: [rank, made.precision, bytes(made.bytes)].join(", "),
            });
            const address = url(this.model.root("tools", "files", made.file));
            this.outcome.replaceChildren(make("div", {class: "lora_train_message_text"}, words),
                button(text("Download"), {name: "save-made", run: () => download(address, made.file)}));
            this.outcome.hidden = false;
            this.named = this.name.value; // another file gets another name
            emit("loras"); // the WebUI's cards show it
            attempt(() => this.readFiles());
        }

        /** The new file can be chosen, too. */
        async readFiles() {
            this.told = await api.get(this.model.root("tools"));
            for (const row of this.rows) {
                fill(row.file, this.told.files.map((name) => [name, name]), row.file.value);
            }
        }
    }

    Object.assign(loraTrain, {PreviewTools});
})();
