/**
 * Above all sub-tabs: the project, messages, and what runs now.
 */
(() => {
    "use strict";

    const {
        state, api, on, emit, onStart, attempt, text, plural, duration, number, memory, visible,
        make, write, button, select, fill, field, bar, seek, openDialog,
    } = loraTrain;
    const TABS = ["dataset", "tags", "train", "previews", "runs"];
    const NOTE_STAYS = 12000; // ms; an error stays until it is put away
    const MOST_MESSAGES = 3;
    const MAX_TITLE = 200;

    const messages = make("div", {class: "lora_train_messages"});

    /**
     * A message below the project. An error stays; a note goes by itself.
     * @param {{sentence: string, remedy?: string, kind?: string, key?: string,
     *   action?: {label: string, run: Function}, sought?: boolean}} message `key` is what `unsay` knows it by;
     *   to one that answers a press the page scrolls
     */
    function say({sentence, remedy = "", kind = "note", action = null, key = "", sought = false}) {
        for (const old of [...messages.children]) if (old.dataset.sentence === sentence) old.remove();
        const close = button("×", {kind: "quiet", name: "dismiss", title: text("Close")});
        close.setAttribute("aria-label", text("Close"));
        const line = make("div", {
            class: `lora_train_message lora_train_${kind}`, role: kind === "error" ? "alert" : "status",
            data: {sentence, kind, key},
        }, make("div", {class: "lora_train_message_text"}, make("span", {}, sentence), remedy ? " " : null,
            remedy ? make("span", {class: "lora_train_remedy"}, remedy) : null));
        if (action) {
            const press = button(action.label, {name: "message-action", run: async () => {
                line.remove();
                await action.run();
            }});
            line.append(press);
        }
        line.append(close);
        close.addEventListener("click", () => line.remove());
        messages.prepend(line);
        while (messages.children.length > MOST_MESSAGES) messages.lastChild.remove();
        if (sought) seek(line);
        if (kind === "note") window.setTimeout(() => goWhenLeft(line), NOTE_STAYS);
    }

    /** Removes a note, but not from under the pointer or the keyboard. */
    function goWhenLeft(line) {
        if (line.matches(":hover, :focus-within")) window.setTimeout(() => goWhenLeft(line), 1000);
        else line.remove();
    }

    function showProblem(error, sought = true) {
        say({
            sought,
            sentence: error.sentence || text("The page made an error: {reason}", {reason: error.message}),
            remedy: error.remedy || (error.sentence ? "" : text("Reload the page.")), kind: "error",
        });
    }

    /** "Deleted …" with the way back, which `undo` takes with the id in the trash. */
    function sayUndo(sentence, trashId, undo) {
        say({sentence, key: trashId, sought: true, action: {label: text("Undo"), run: () => undo(trashId)}});
    }

    /** Takes back a message: what it offers was done elsewhere. */
    function unsay(key) {
        for (const line of [...messages.children]) if (line.dataset.key === key) line.remove();
    }

    function kindWords(kind) {
        return {
            person: text("Person"), character: text("Character"), style: text("Style"), object: text("Object"),
            concept: text("Concept"),
        }[kind] || kind;
    }

    /** Opens one of the sub-tabs; gradio 3 gives its tab buttons no ids, so that they go by their order. */
    function openTab(name) {
        const press = document.getElementById(`lora_train_tab_${name}-button`)
            || document.querySelectorAll("#lora_train_tabs > .tab-nav > button")[TABS.indexOf(name)];
        if (press) press.click();
    }

    /** Title, kind and trigger word, of a project or of one to be. */
    function projectFields(project) {
        const title = make("input", {
            class: "lora_train_input", type: "text", maxlength: MAX_TITLE, required: "", autocomplete: "off",
            name: "title", value: project ? project.title : "",
        });
        const kinds = state.session.subjects.map((kind) => [kind, kindWords(kind)]);
        const kind = select(kinds, project ? project.kind : "character", {name: "kind"});
        const trigger = make("input", {
            class: "lora_train_input", type: "text", maxlength: MAX_TITLE, autocomplete: "off", name: "trigger_word",
            value: project ? project.trigger_word : "", placeholder: text("A word without a meaning, such as hana1"),
        });
        return {
            elements: [field(text("Project title"), title), field(text("Kind of subject"), kind),
                field(text("Trigger word"), trigger)],
            get values() {
                return {title: title.value, kind: kind.value, trigger_word: trigger.value};
            },
        };
    }

    /**
     * The form of a project; Enter saves.
     * @param {function({title: string, kind: string, trigger_word: string}): Promise} save
     */
    function projectForm(project, label, save, cancel) {
        const fields = projectFields(project);
        const form = make("form", {class: "lora_train_form", data: {form: "project"}},
            ...fields.elements,
            make("div", {class: "lora_train_form_buttons"},
                make("button", {type: "submit", class: "lora_train_button lora_train_primary"}, label),
                cancel ? button(text("Cancel"), {run: cancel, name: "cancel"}) : null));
        form.addEventListener("submit", async (event) => {
            event.preventDefault();
            await attempt(() => save(fields.values));
        });
        form.addEventListener("keydown", (event) => {
            event.stopPropagation();
            if (event.key === "Escape" && cancel) cancel();
        });
        return form;
    }

    async function createProject(values) {
        const project = await api.post(["projects"], values);
        await loadProjects(project.id);
        openTab("dataset");
    }

    const loading = {wanted: "", order: new loraTrain.Latest()};

    /** Reads the projects anew, and opens the one of that id. */
    async function loadProjects(wanted = "") {
        loading.wanted = wanted || loading.wanted;
        const answer = await loading.order.ask(() => api.get(["projects"]));
        if (!answer) return;
        state.projects = answer.projects;
        emit("projects", answer);
        for (const problem of answer.problems) say({sentence: problem, kind: "error"});
        const id = loading.wanted || (state.project && state.project.id) || "";
        loading.wanted = "";
        choose(id);
    }

    /** Makes the project of that id the open one; the newest where there is none of that id. */
    function choose(id) {
        const before = state.project;
        const project = state.projects.find((one) => one.id === id) || state.projects[0] || null;
        memory.write("project", project ? project.id : "");
        // Unchanged, it stays the same object: by that a reading under way knows that it is still wanted.
        if (project && JSON.stringify(before) === JSON.stringify(project)) return;
        state.project = project;
        emit("project", project);
    }

    class Header {
        constructor(panel) {
            this.select = select([], "", {"aria-label": text("Project"), "data-action": "project"});
            this.select.addEventListener("change", () => choose(this.select.value));
            this.rename = button(text("Rename"), {name: "rename-project", run: () => this.openForm(state.project)});
            this.remove = button(text("Delete"), {name: "delete-project", run: () => this.deleteProject()});
            this.trash = button(text("Deleted projects"), {
                kind: "quiet", name: "project-trash", run: () => this.openTrash(),
            });
            this.formPlace = make("div", {class: "lora_train_form_place", hidden: true});
            /** @type {?Project} that the form is about; none where it makes a new one */
            this.renamed = null;
            this.strip = make("button", {
                type: "button", class: "lora_train_strip", hidden: true, "data-action": "strip",
                on: {click: () => openTab("train")},
            });
            this.stripText = make("span", {class: "lora_train_strip_text"});
            this.stripBar = bar(text("Progress of the training"));
            this.strip.append(this.stripText, this.stripBar);
            /** @type {{trash_id: string, title: string}[]} */
            this.deleted = [];
            panel.replaceChildren(
                make("div", {class: "lora_train_head"},
                    make("div", {class: "lora_train_project"},
                        make("span", {class: "lora_train_label"}, text("Project")), this.select,
                        button(text("New"), {name: "new-project", run: () => this.openForm(null)}),
                        this.rename, this.remove, this.trash),
                    this.strip),
                this.formPlace, messages);
            on("projects", (answer) => this.showProjects(answer));
            on("project", () => this.showChosen());
            on("live", (live) => this.showLive(live));
            on("problem", (error) => showProblem(error));
            on("ended", (run) => this.sayEnded(run));
        }

        showProjects(answer) {
            this.deleted = answer.trash || [];
            this.trash.hidden = this.deleted.length === 0;
            const options = answer.projects.map((project) => [project.id, project.title]);
            const chosen = options.length && state.project ? state.project.id : "";
            fill(this.select, options.length ? options : [["", text("No project yet")]], chosen);
            this.select.disabled = options.length === 0;
        }

        showChosen() {
            this.select.value = state.project ? state.project.id : "";
            this.rename.hidden = this.remove.hidden = !state.project;
            const {renamed} = this;
            if (renamed && !(state.project && state.project.id === renamed.id)) this.closeForm();
        }

        /** For a project's names, or without one for those of a new project; that form outlives what is opened. */
        openForm(project) {
            this.renamed = project;
            const label = project ? text("Save") : text("Create project");
            const save = project ? async (values) => {
                await api.patch(["projects", project.id], values);
                await loadProjects(project.id);
            } : createProject;
            const form = projectForm(project, label, async (values) => {
                await save(values);
                this.closeForm();
            }, () => this.closeForm());
            this.formPlace.replaceChildren(form);
            this.formPlace.hidden = false;
            form.querySelector("input").focus();
        }

        closeForm() {
            this.formPlace.hidden = true;
            this.formPlace.replaceChildren();
        }

        async deleteProject() {
            const project = state.project;
            const {trash_id: trashId} = await api.remove(["projects", project.id]);
            await loadProjects();
            sayUndo(text("The project “{title}” was deleted.", {title: project.title}), trashId, restoreProject);
        }

        openTrash() {
            const dialog = openDialog(text("Deleted projects"), {}, make("ul", {class: "lora_train_list"},
                ...this.deleted.map((entry) => make("li", {}, make("span", {}, entry.title),
                    button(text("Restore"), {name: "restore", run: async () => {
                        await restoreProject(entry.trash_id);
                        dialog.close();
                    }})))));
        }

        showLive(live) {
            const running = live && live.running;
            this.strip.hidden = !running;
            if (!running) return;
            const title = loraTrain.runTitle(running);
            const values = {title, step: number(running.step), total: number(running.total_steps)};
            const stepping = loraTrain.atSteps(running) || !running.stage;
            let words = stepping ? text("{title} – step {step} of {total}", values)
                : `${title} – ${running.stage}`;
            if (running.step > 0 && !running.paused && running.remaining > 0) {
                words += ` – ${text("{time} left", {time: duration(running.remaining)})}`;
            }
            if (running.paused) words += ` – ${text("paused")}`;
            if (live.queue.length) words += ` – ${plural(live.queue.length, "{count} waiting", "{count} waiting")}`;
            if (state.offline) words = text("Connection lost, trying again");
            write(this.stripText, words);
            this.stripBar.set(running.total_steps ? running.step / running.total_steps : null);
        }

        /** Said where the training itself is not looked at. */
        sayEnded(run) {
            if (run.error) showProblem(run.error, false);
            const train = document.getElementById("lora_train_live");
            if (visible() && train && loraTrain.shown(train)) return;
            const words = run.state === "done" ? text("“{title}” is trained.", {title: run.title})
                : text("The training of “{title}” has ended.", {title: run.title});
            say({sentence: words, action: {label: text("Show"), run: () => openTab("train")}});
        }
    }

    async function restoreProject(trashId) {
        const project = await api.post(["projects", "restore"], {trash_id: trashId});
        unsay(trashId);
        await loadProjects(project.id);
    }

    /** The page could not open its session: said in the header's place, where nothing is drawn yet. */
    function showStartProblem(error) {
        const panel = document.getElementById("lora_train_header");
        if (panel) {
            panel.classList.add("lora_train_panel");
            panel.replaceChildren(messages);
        }
        showProblem(error);
    }

    onStart(() => {
        const panel = document.getElementById("lora_train_header");
        panel.classList.add("lora_train_panel");
        loraTrain.header = new Header(panel);
        on("started", () => attempt(async () => {
            state.checkpoints = (await api.get(["checkpoints"])).checkpoints;
            emit("checkpoints");
            const {running} = await api.get(["live"]);
            await loadProjects(memory.read("project") || (running ? running.project : ""));
        }));
    });

    Object.assign(loraTrain, {
        messages, say, sayUndo, unsay, openTab, projectFields, projectForm, createProject, loadProjects, kindWords,
        showStartProblem,
    });
})();
