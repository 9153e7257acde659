/**
 * "Send to LoRA Train" below the WebUI's galleries: their pictures go into a project, with captions proposed from the
 * prompts they were drawn with. Nothing here needs the tab to be open.
 */
(() => {
    "use strict";

    const {
        state, api, attempt, text, plural, number, bytes, memory, make, write, button, select, field, choice, bar,
        problemLine, openDialog, openSession, picturesOf, loadPicture, showProject,
    } = loraTrain;
    const NEW_PROJECT = "";
    const [SELECTED, ALL] = ["selected", "all"];
    const FINAL = [undefined, 400, 413, 415, 422]; // of an error that concerns one picture and not the others

    /**
     * A picture on its way. `caption` is the field of its caption, `proposed` what was put into it.
     * @typedef {{url: string, name: string, selected: boolean, blob: ?Blob, prompt: string, proposed: string,
     *   read: boolean, sent: boolean, row: HTMLElement, caption: HTMLTextAreaElement, note: HTMLElement}} Item
     */

    /** @type {?SendDialog} the one that is open, or opening */
    let open = null;

    function refusal(sentence, remedy = "") {
        return Object.assign(new Error(sentence), {sentence, remedy});
    }

    function sentenceOf(error) {
        return [error.sentence || error.message, error.remedy].filter(Boolean).join(" ");
    }

    class SendDialog {
        constructor() {
            /** @type {Item[]} */
            this.items = [];
            /** @type {Project[]} */
            this.projects = [];
            this.over = false;
            this.busy = false;
            this.cancel = () => {};
            /** @type {Promise<void>} the reading of prompts */
            this.reading = Promise.resolve();
            this.round = 0; // of proposals; those of an earlier one come too late
        }

        /** Asks for what the dialog shows, and shows it. */
        async open(gallery, information) {
            try {
                if (!loraTrain.root()) {
                    throw refusal(text("The LoRA Train tab is not on this page."),
                        text("Take it off the hidden tabs in Settings, User interface, and reload the page."));
                }
                state.session = state.session || await openSession();
                const pictures = picturesOf(gallery, information);
                if (pictures.length === 0) throw refusal(text("There are no pictures here yet."));
                this.projects = (await api.get(["projects"])).projects;
                this.draw(pictures);
            } catch (error) {
                if (!error.sentence) console.error(error);
                this.show(make("p", {role: "alert"}, sentenceOf(error)), this.makeButtons(null));
                this.closeButton.focus();
            }
        }

        show(...children) {
            this.home = make("div", {id: "lora_train_send"});
            (document.querySelector(".gradio-container") || document.body).append(this.home);
            this.dialog = openDialog(text("Send to LoRA Train"), {
                kind: "lora_train_sending", place: this.home, light: false, closed: () => this.closed(),
            }, ...children);
        }

        closed() {
            this.over = true;
            this.cancel();
            this.home.remove();
            open = null;
        }

        makeButtons(press) {
            this.closeButton = button(press ? text("Cancel") : text("Close"), {
                name: "cancel", run: () => this.dialog.close(),
            });
            return make("div", {class: "lora_train_row lora_train_send_buttons"}, press, this.closeButton);
        }

        draw(pictures) {
            this.items = pictures.map((picture) => this.makeItem(picture));
            const known = this.projects.map((one) => [one.id, one.title]);
            const wished = ["sent_to", "project"].map((name) => this.find(memory.read(name))).find(Boolean)
                || this.projects[0];
            this.project = select([...known, [NEW_PROJECT, text("New project")]], wished ? wished.id : NEW_PROJECT, {
                name: "project",
            });
            this.project.addEventListener("change", () => this.chooseProject());
            this.fields = loraTrain.projectFields(null);
            this.newProject = make("fieldset", {class: "lora_train_send_project"}, ...this.fields.elements);
            this.newProject.addEventListener("change", () => this.propose());
            this.which = this.items.some((item) => item.selected) ? SELECTED : ALL;
            this.list = make("div", {class: "lora_train_send_list"});
            this.status = make("p", {class: "lora_train_send_status", role: "status"});
            this.bar = bar(text("Progress of the upload"));
            this.bar.hidden = true;
            this.press = make("button", {
                type: "submit", class: "lora_train_button lora_train_primary", "data-action": "send",
            }, text("Add to the project"));
            this.choices = make("div", {class: "lora_train_send_choices"}, this.makeWhich(),
                field(text("Project"), this.project), this.newProject);
            this.form = make("form", {class: "lora_train_send_form"},
                this.choices,
                make("p", {class: "lora_train_hint"},
                    text("The captions are proposed from the prompts. Take out what a picture does not show.")),
                this.list, this.bar, this.status, this.makeButtons(this.press));
            this.form.addEventListener("submit", (event) => {
                event.preventDefault();
                this.send();
            });
            this.show(this.form);
            this.chooseProject();
            (this.project.value === NEW_PROJECT ? this.newProject.querySelector("input") : this.project).focus();
            this.chooseWhich(this.which);
        }

        makeWhich() {
            if (this.items.length < 2 || this.which === ALL) return null;
            const all = text("All {count}", {count: number(this.items.length)});
            return choice(text("Pictures"), [[SELECTED, text("The selected one")], [ALL, all]], this.which,
                (which) => this.chooseWhich(which));
        }

        makeItem(picture) {
            const caption = make("textarea", {
                class: "lora_train_input", rows: 3, spellcheck: "false", maxlength: 60000, name: "caption",
                "aria-label": text("Caption of {name}", {name: picture.name}),
            });
            const note = make("span", {class: "lora_train_hint"});
            const row = make("div", {class: "lora_train_send_item"},
                make("img", {src: picture.url, alt: picture.name, loading: "lazy"}),
                make("div", {class: "lora_train_send_words"}, caption, note));
            return {
                ...picture, caption, note, row, blob: null, prompt: "", proposed: "", read: false, sent: false,
            };
        }

        get chosen() {
            return this.items.filter((item) => this.which === ALL || item.selected);
        }

        chooseWhich(which) {
            this.which = which;
            this.list.replaceChildren(...this.chosen.map((item) => item.row));
            this.reading = this.reading.then(() => this.readAll());
        }

        chooseProject() {
            const fresh = this.project.value === NEW_PROJECT;
            this.newProject.hidden = this.newProject.disabled = !fresh;
            this.propose();
        }

        find(id) {
            return this.projects.find((one) => one.id === id);
        }

        get trigger() {
            return (this.find(this.project.value) || this.fields.values).trigger_word;
        }

        /** Reads the prompts of the chosen pictures, one after the other. */
        async readAll() {
            for (const item of this.chosen) {
                if (item.read || this.over || !this.chosen.includes(item)) continue;
                item.read = true;
                write(item.note, text("Reading the prompt…"));
                try {
                    item.blob = await loadPicture(item.url, item.name);
                    const query = {name: item.name, trigger_word: this.trigger};
                    const found = await this.upload(["captions", "from-picture"], query, item.blob);
                    this.take(item, found);
                    if (query.trigger_word !== this.trigger) this.propose();
                    write(item.note, item.prompt ? "" : text("No prompt stands in this picture."));
                } catch (error) {
                    if (this.over) return;
                    item.read = item.blob !== null; // what was read needs no second look
                    write(item.note, sentenceOf(error));
                }
            }
        }

        /** Puts a proposal into the field, unless somebody has written there. */
        take(item, {prompt, caption}) {
            item.prompt = prompt;
            if (item.caption.value === item.proposed) item.caption.value = caption;
            item.proposed = caption;
        }

        /** The same prompts for another trigger word. */
        async propose() {
            this.round += 1;
            const {round, trigger} = this;
            for (const item of this.items.filter((one) => one.prompt)) {
                if (this.over || round !== this.round) return;
                try {
                    const body = {prompt: item.prompt, trigger_word: trigger};
                    const found = await api.post(["captions", "from-prompt"], body);
                    if (round === this.round) this.take(item, found);
                } catch (error) {
                    this.say(error);
                }
            }
        }

        /** As `api.upload`, and again when the server has forgotten the page meanwhile. */
        async upload(parts, query, blob, progress = () => {}) {
            const {file_bytes: most} = state.session.limits;
            if (most && blob.size > most) {
                throw refusal(text("{name} is larger than {most}.", {name: query.name, most: bytes(most)}));
            }
            for (let again = true; ; again = false) {
                const {done, cancel} = api.upload(parts, query, blob, progress);
                this.cancel = cancel;
                try {
                    return await done;
                } catch (error) {
                    if (error.status !== 401 || !again) throw error;
                    await api.renew();
                }
            }
        }

        say(error) {
            write(this.status, sentenceOf(error));
            this.status.setAttribute("role", "alert");
            this.status.classList.add("lora_train_error");
        }

        setBusy(busy) {
            this.busy = busy;
            this.choices.inert = this.list.inert = busy;
            this.press.setAttribute("aria-busy", busy);
            this.bar.hidden = !busy;
            this.status.classList.remove("lora_train_error");
            this.status.setAttribute("role", "status");
        }

        async send() {
            if (this.busy) return;
            this.setBusy(true);
            try {
                await this.reading;
                await this.sendAll();
            } catch (error) {
                if (this.over) return;
                this.setBusy(false);
                this.say(error);
                this.press.focus();
            }
        }

        async sendAll() {
            const project = await this.findProject();
            const items = this.chosen.filter((item) => !item.sent);
            this.added = this.added || {pictures: 0, captions: 0, skipped: []};
            for (const [done, item] of items.entries()) {
                if (this.over) return;
                write(this.status, text("Adding {done} of {total}", {done: number(done), total: number(items.length)}));
                try {
                    await this.sendOne(item, project, (part) => this.bar.set((done + part) / items.length));
                } catch (error) {
                    if (this.over || !FINAL.includes(error.status)) throw error;
                    this.leaveOut(item, error);
                }
            }
            if (this.over) return;
            this.showOutcome(project);
        }

        /** The chosen project; one that is to be is made, once. */
        async findProject() {
            const known = this.find(this.project.value);
            if (known) return known;
            const made = await api.post(["projects"], this.fields.values);
            this.projects.unshift(made);
            this.project.prepend(make("option", {value: made.id}, made.title));
            this.project.value = made.id;
            this.newProject.hidden = this.newProject.disabled = true;
            return made;
        }

        async sendOne(item, project, progress) {
            const home = ["projects", project.id];
            item.blob = item.blob || await loadPicture(item.url, item.name);
            const result = await this.upload([...home, "files"], {name: item.name}, item.blob, progress);
            item.sent = true;
            item.blob = null;
            this.added.skipped.push(...result.skipped);
            this.added.pictures += result.pictures.length;
            const words = item.caption.value.trim();
            if (result.pictures.length === 0 || !words) return;
            try {
                const path = [...home, "pictures", result.pictures[0], "caption"];
                await api.put(path, {text: words, version: ""});
                this.added.captions += 1;
            } catch (error) { // the picture is there; its caption can be written in the tab
                this.leaveOut(item, error);
            }
        }

        leaveOut(item, error) {
            item.sent = true;
            this.added.skipped.push({sentence: error.sentence || error.message, remedy: error.remedy});
        }

        showOutcome(project) {
            const {pictures, captions, skipped} = this.added;
            const said = [plural(pictures, "{count} picture added", "{count} pictures added")];
            if (captions) said.push(plural(captions, "{count} caption", "{count} captions"));
            const link = make("button", {type: "button", class: "lora_train_link", "data-action": "show-project"},
                text("Open “{title}” in LoRA Train", {title: project.title}));
            link.addEventListener("click", () => {
                this.dialog.close();
                showProject(project.id);
            });
            this.form.replaceChildren(make("p", {role: "status"}, said.join(" · ")),
                make("ul", {class: "lora_train_problems"}, ...skipped.map(problemLine)), link, this.makeButtons(null));
            memory.write("sent_to", project.id);
            if (loraTrain.header) attempt(() => loraTrain.loadProjects());
            link.focus();
        }
    }

    /**
     * What the button below a gallery does; nothing while it works already.
     * @param {string} gallery id of its element
     * @param {string} information the WebUI's own about the pictures in it, as JSON; "" where there is none
     */
    function sendPictures(gallery, information = "") {
        if (open) return;
        open = new SendDialog();
        document.body.classList.add("lora_train_waiting");
        open.open(gallery, information).finally(() => document.body.classList.remove("lora_train_waiting"));
    }

    Object.assign(loraTrain, {sendPictures});
})();
