/**
 * Adding pictures: files, folders and zips are collected, checked for what the server would refuse anyway, and sent
 * three at a time.
 */
(() => {
    "use strict";

    const {state, api, text, plural, bytes, number, make, write, button, bar, folded, problemLine} = loraTrain;
    const AT_ONCE = 3;
    const PICTURES = /\.(a?png|jpe?g|jfif|webp|bmp|gif|tiff?|avif|heic|heif)$/i;
    const CAPTIONS = /\.(txt|caption)$/i;
    const ZIP = /\.zip$/i;
    const KOHYA_FOLDER = /^(\d{1,4})_(.+)$/; // <repeats>_<concept>
    const UNSEEN = /^(\.|__MACOSX|Thumbs\.db$|desktop\.ini$)/i; // what systems leave in folders
    const MOST_LISTED = 200;

    /**
     * @typedef {{file: File, folders: string[]}} Found a file and the folders it lay in
     * @typedef {{file: File, name: string, concept: string, state: string, part: number, problem: ?Object,
     *   cancel: ?function(): void}} Item
     */

    /** Everything in what was dropped, folders within folders included. @returns {Promise<Found[]>} */
    async function collectDropped(transfer) {
        // All has to be taken before the first await: the browser forgets it afterwards.
        const items = [...transfer.items].filter((item) => item.kind === "file");
        const dropped = items.map((item) => item.webkitGetAsEntry() || item.getAsFile());
        const found = [];
        for (const one of dropped) {
            if (one instanceof File) found.push({file: one, folders: []});
            else if (one) await collectEntry(one, [], found);
        }
        return found;
    }

    async function collectEntry(entry, folders, found) {
        if (UNSEEN.test(entry.name)) return;
        if (entry.isFile) {
            found.push({file: await new Promise((resolve, reject) => entry.file(resolve, reject)), folders});
            return;
        }
        const reader = entry.createReader();
        for (;;) { // the browser gives a hundred at a time
            const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
            if (some.length === 0) return;
            for (const child of some) await collectEntry(child, [...folders, entry.name], found);
        }
    }

    /** What a file chooser gave. @returns {Found[]} */
    function collectChosen(files) {
        return [...files].map((file) => {
            const folders = (file.webkitRelativePath || "").split("/").slice(0, -1);
            return {file, folders};
        }).filter(({file, folders}) => ![...folders, file.name].some((name) => UNSEEN.test(name)));
    }

    /** Names under which files are sent: folders of the same picture names would meet in one concept. */
    function nameAll(found) {
        const stem = (name) => name.replace(/\.[^.]*$/, "").toLowerCase();
        const homes = new Map();
        for (const {file, folders} of found) {
            const key = `${concept(folders)}/${stem(file.name)}`;
            homes.set(key, (homes.get(key) || new Set()).add(folders.join("/")));
        }
        return found.map(({file, folders}) => {
            const shared = homes.get(`${concept(folders)}/${stem(file.name)}`).size > 1;
            return shared ? [...folders, file.name].join("_") : file.name;
        });
    }

    /** The kohya folder a file lies in, "" where there is none. */
    function concept(folders) {
        return [...folders].reverse().find((name) => KOHYA_FOLDER.test(name)) || "";
    }

    /** Why a file is not sent at all; null when it is. */
    function refusal(file) {
        const {file_bytes: mostBytes, total_bytes: mostTotal} = state.session.limits;
        const most = ZIP.test(file.name) ? mostTotal : mostBytes;
        if (!PICTURES.test(file.name) && !CAPTIONS.test(file.name) && !ZIP.test(file.name)) {
            return {sentence: text("{name} is no picture, caption or zip.", {name: file.name}), remedy: ""};
        }
        if (most && file.size > most) {
            return {
                sentence: text("{name} is larger than {most}.", {name: file.name, most: bytes(most)}),
                remedy: text("Make it smaller and add it again."),
            };
        }
        return null;
    }

    /** The files under way, their progress and what was left out. */
    class UploadQueue {
        /**
         * @param {function(): void} arrived called when pictures have come, not for each of them
         * @param {function(string, number): Promise<string>} findConcept the id of the concept of that name
         */
        constructor(arrived, findConcept) {
            this.arrived = arrived;
            this.findConcept = findConcept;
            /** @type {Item[]} */
            this.items = [];
            this.running = 0;
            this.skipped = [];
            this.pictures = this.captions = 0;
            this.words = make("span", {role: "status"});
            this.bar = bar(text("Progress of the upload"));
            this.cancelButton = button(text("Cancel"), {name: "cancel-upload", run: () => this.cancel()});
            this.retryButton = button(text("Try again"), {name: "retry-upload", run: () => this.retry()});
            this.closeButton = button(text("Close"), {kind: "quiet", name: "close-upload", run: () => this.clear()});
            this.list = make("ul", {class: "lora_train_problems"});
            this.details = folded(text("Left out"), this.list);
            this.element = make("div", {class: "lora_train_upload", hidden: true, data: {state: "idle"}},
                make("div", {class: "lora_train_row"}, this.words,
                    this.cancelButton, this.retryButton, this.closeButton),
                this.bar, this.details);
        }

        /** Sends what was collected into the project that is open now. @param {Found[]} found */
        async add(found, conceptId) {
            if (this.idle) this.forget();
            const project = state.project.id;
            const names = nameAll(found);
            const concepts = new Map();
            for (const [place, {file, folders}] of found.entries()) {
                const problem = refusal(file);
                if (problem) {
                    this.skip(problem);
                    continue;
                }
                const folder = concept(folders);
                if (folder && !concepts.has(folder)) {
                    const [, repeats, name] = KOHYA_FOLDER.exec(folder);
                    concepts.set(folder, await this.findConcept(name, Number(repeats)));
                }
                this.items.push({
                    file, name: names[place], project, concept: folder ? concepts.get(folder) : conceptId,
                    state: "waiting", part: 0, problem: null, cancel: null,
                });
            }
            this.show();
            this.pump();
        }

        get idle() {
            return this.items.every((item) => !["waiting", "sending"].includes(item.state));
        }

        pump() {
            while (this.running < AT_ONCE) {
                const item = this.items.find((one) => one.state === "waiting");
                if (!item) break;
                this.running += 1;
                item.state = "sending";
                this.send(item).finally(() => {
                    this.running -= 1;
                    this.show();
                    this.tellArrived();
                    this.pump();
                });
            }
            this.show();
        }

        async send(item) {
            const query = {concept: item.concept, name: item.name};
            const upload = api.upload(["projects", item.project, "files"], query, item.file, (part) => {
                item.part = part;
                this.show();
            });
            item.cancel = upload.cancel;
            try {
                const added = await upload.done;
                item.state = "done";
                this.pictures += added.pictures.length;
                this.captions += added.captions;
                added.skipped.forEach((problem) => this.skip(problem));
            } catch (error) {
                item.state = error.name === "AbortError" ? "cancelled" : "failed";
                if (item.state === "failed") await this.fail(item, error);
            }
        }

        /** The server's refusal of a file is final; everything else can be tried again. */
        async fail(item, error) {
            if (error.status === 401) await api.renew().catch(loraTrain.report);
            if ([400, 413, 415, 422].includes(error.status)) {
                item.state = "refused";
                this.skip({sentence: error.sentence, remedy: error.remedy});
            } else {
                item.problem = error;
            }
        }

        skip(problem) {
            this.skipped.push(problem);
            if (this.skipped.length <= MOST_LISTED) this.list.append(problemLine(problem));
        }

        cancel() {
            for (const item of this.items) {
                if (item.state === "sending") item.cancel();
                if (item.state === "waiting") item.state = "cancelled";
            }
            this.show();
        }

        retry() {
            for (const item of this.items) {
                if (item.state === "failed" || item.state === "cancelled") item.state = "waiting";
            }
            this.pump();
        }

        /** Ends what is shown of uploads that are over. */
        clear() {
            this.forget();
            this.element.hidden = true;
        }

        forget() {
            this.items = [];
            this.skipped = [];
            this.pictures = this.captions = 0;
            this.list.replaceChildren();
            this.details.open = false;
        }

        tellArrived() {
            window.clearTimeout(this.timer);
            this.timer = window.setTimeout(this.arrived, this.idle ? 0 : 1500);
        }

        show() {
            const count = (...states) => this.items.filter((item) => states.includes(item.state)).length;
            const whole = this.items.reduce((sum, item) => sum + item.file.size, 0);
            const sent = this.items.reduce((sum, item) =>
                sum + item.file.size * (["waiting", "sending"].includes(item.state) ? item.part : 1), 0);
            const [failed, cancelled] = [count("failed"), count("cancelled")];
            this.element.hidden = this.items.length === 0 && this.skipped.length === 0;
            this.element.dataset.state = this.idle ? "idle" : "sending";
            this.bar.hidden = this.idle;
            this.bar.set(whole ? sent / whole : 0);
            this.cancelButton.hidden = this.idle;
            this.closeButton.hidden = !this.idle;
            this.retryButton.hidden = !this.idle || failed + cancelled === 0;
            this.details.hidden = this.skipped.length === 0;
            const skipped = plural(this.skipped.length, "{count} file left out", "{count} files left out");
            write(this.details.firstChild, skipped);
            write(this.words, this.idle ? this.outcome(failed, cancelled) : text("Adding {done} of {total}", {
                done: number(this.items.length - count("waiting", "sending")), total: number(this.items.length),
            }));
        }

        outcome(failed, cancelled) {
            const said = [plural(this.pictures, "{count} picture added", "{count} pictures added")];
            if (this.captions) said.push(plural(this.captions, "{count} caption", "{count} captions"));
            if (cancelled) said.push(plural(cancelled, "{count} cancelled", "{count} cancelled"));
            if (failed) {
                const first = this.items.find((item) => item.state === "failed").problem;
                said.push(plural(failed, "{count} failed", "{count} failed"), first.sentence || first.message);
            }
            return said.join(" · ");
        }
    }

    Object.assign(loraTrain, {UploadQueue, collectDropped, collectChosen, nameAll});
})();
