/**
 * The models that the preparation can use: what each is for, its licence, whether it is there, and how it gets there.
 */
(() => {
    "use strict";

    const {
        api, attempt, text, number, duration, make, button, enable, bar, openSheet, pause,
    } = loraTrain;
    const LOOK = 1000; // ms between looks while one is downloaded
    const PURPOSES = ["tagger", "face", "matte", "similarity"];

    function purposeWords(purpose) {
        return {
            tagger: text("Tags"), face: text("Faces"), matte: text("Backgrounds"), similarity: text("Duplicates"),
        }[purpose] || purpose;
    }

    function isReady(model) {
        return model.state === "ready";
    }

    function sizeOf(model) {
        return text("{count} MB", {count: number(model.megabytes, model.megabytes < 10 ? 1 : 0)});
    }

    /** "ready", or what it takes; and that it may not be used to earn money. */
    function modelWords(model, mayDownload) {
        const said = [model.state === "ready" ? text("ready")
            : model.state === "changed" ? text("changed since its first use, and refused")
                : model.megabytes && mayDownload ? text("to download: {size}", {size: sizeOf(model)})
                    : text("not there")];
        if (model.licence) said.push(model.licence);
        if (model.commercial === false) said.push(text("no commercial use"));
        return said.join(" · ");
    }

    class ModelSheet {
        /** @param {Preparation} preparation */
        constructor(preparation) {
            this.preparation = preparation;
            /** @type {Map<string, HTMLElement>} rows of the table, by name of the model */
            this.rows = new Map();
            this.lines = make("tbody", {});
            const heads = [text("For"), text("Name"), text("Repository"), text("Size"), text("Licence"), ""];
            const table = make("table", {class: "lora_train_table"},
                make("thead", {}, make("tr", {}, ...heads.map((words) => make("th", {}, words)))), this.lines);
            this.byHand = make("div", {class: "lora_train_by_hand"});
            this.offlineLine = make("p", {class: "lora_train_hint", hidden: true}, text(
                "The server is set to stay offline. Models that are missing can be put there by hand: see below."));
            this.body = make("div", {class: "lora_train_models"}, this.offlineLine,
                make("div", {class: "lora_train_table_frame"}, table), this.byHand);
        }

        async open() {
            await this.read();
            openSheet(text("Models for the preparation"), {closed: () => this.preparation.touch()}, this.body);
            this.follow();
        }

        async read() {
            this.show(await api.get(["models"]));
        }

        show({offline, folder, models}) {
            this.offline = offline;
            this.offlineLine.hidden = !offline || models.every(isReady);
            this.busy = models.some((model) => isUnderWay(model.job));
            const place = (model) => (PURPOSES.indexOf(model.purpose) + 1) || PURPOSES.length + 1;
            const ordered = [...models].sort((left, right) => place(left) - place(right));
            for (const model of ordered) this.showRow(model);
            this.showByHand(folder, ordered.filter((model) => !isReady(model)));
        }

        /** Made anew only where something changed, so that a button stays under the pointer. */
        showRow(model) {
            const signature = JSON.stringify([model, this.offline]);
            const old = this.rows.get(model.name);
            if (old && old.dataset.signature === signature) return;
            const held = old && old.contains(document.activeElement);
            const row = this.makeRow(model);
            row.dataset.signature = signature;
            if (old) old.replaceWith(row);
            else this.lines.append(row);
            this.rows.set(model.name, row);
            const press = row.querySelector("button");
            if (held && press) press.focus();
        }

        makeRow(model) {
            const {name, purpose, label, repository, licence, commercial, note, commit, sha256, state, job} = model;
            const marks = Object.entries(sha256 || {}).map(([file, hash]) => `${file}: ${hash}`);
            const failed = job && job.error ? `${job.error.sentence} ${job.error.remedy || ""}` : "";
            return make("tr", {data: {model: name, state}},
                make("td", {}, purposeWords(purpose)),
                make("td", {class: "lora_train_long"}, make("span", {translate: "no"}, label || name),
                    note ? make("p", {class: "lora_train_hint"}, note) : null,
                    failed ? make("p", {class: "lora_train_log_error"}, failed) : null),
                make("td", {class: "lora_train_long lora_train_hint", translate: "no"}, repository),
                make("td", {}, sizeOf(model)),
                make("td", {class: "lora_train_long"}, licence,
                    commercial ? null : make("p", {class: "lora_train_not_commercial"}, text("no commercial use"))),
                make("td", {title: [commit, ...marks].filter(Boolean).join("\n") || null}, this.stateOf(model)));
        }

        stateOf(model) {
            if (isUnderWay(model.job)) return this.progress(model);
            if (isReady(model)) return make("span", {class: "lora_train_state lora_train_state_done"}, text("ready"));
            if (model.state === "changed") {
                return make("span", {class: "lora_train_state lora_train_state_failed"}, text("changed, refused"));
            }
            const fetch = button(text("Download"), {name: "fetch-model", run: () => this.tell(model, "fetch")});
            fetch.setAttribute("aria-label", `${text("Download")}: ${model.label || model.name}`);
            enable(fetch, !this.offline, text("The server is set to stay offline."));
            return fetch;
        }

        progress(model) {
            const {stage, done, total, remaining, stopping, mine} = model.job;
            const said = [stopping ? text("Stopping") : stage || text("Waiting for its turn")];
            if (total) said.push(`${number(done)} / ${number(total)} MB`);
            if (remaining) said.push(text("{time} left", {time: duration(remaining)}));
            const filled = bar(text("Progress of the download"));
            filled.set(total ? done / total : null);
            const stop = button(text("Stop"), {kind: "stop", name: "stop-model", run: () => this.tell(model, "stop")});
            const reason = stopping ? text("It is stopping.")
                : mine === false ? text("Started by somebody else, who alone can control it.") : "";
            enable(stop, reason === "", reason);
            return make("div", {class: "lora_train_model_job"},
                make("span", {class: "lora_train_hint"}, said.join(" · ")), filled, stop);
        }

        showByHand(folder, missing) {
            const signature = JSON.stringify([folder, missing.map((model) => model.name)]);
            if (this.shownByHand === signature) return;
            this.shownByHand = signature;
            const files = (model) => `${model.name}/: ${model.files.map((file) => file.split("/").pop()).join(", ")}`;
            this.byHand.replaceChildren(loraTrain.folded(text("Without a connection: put the files there by hand"),
                make("p", {}, text("Each model has a folder of its name here; the files keep their names:")),
                make("p", {}, make("code", {translate: "no"}, folder || "…/models")),
                make("ul", {class: "lora_train_problems"}, ...missing.map((model) => make("li", {translate: "no"},
                    make("code", {}, files(model)), " ",
                    make("span", {class: "lora_train_hint"}, model.repository)))),
                make("p", {class: "lora_train_hint"},
                    text("A tagger of your own: a folder with model.onnx and selected_tags.csv, named as you like."))));
        }

        /** Starts or stops the download of a model. */
        async tell(model, action) {
            this.show(await api.post(["models", model.name, action]));
            this.follow();
        }

        /** Looks again while something is on its way and the window is open. */
        async follow() {
            if (this.following) return;
            this.following = true;
            while (this.busy && this.body.isConnected) {
                await pause(LOOK);
                await attempt(() => this.read());
            }
            this.following = false;
        }
    }

    /** Whether a download is on its way or waits; a job that is over says how it ended. */
    function isUnderWay(job) {
        return Boolean(job) && ["queued", "running"].includes(job.state);
    }

    Object.assign(loraTrain, {ModelSheet, isReady, modelWords, purposeWords});
})();
