/**
 * The Tags sub-tab: filter, pictures, the caption of one of them, and all tags, in one view; above them undo and redo
 * and the windows for several captions at once.
 */
(() => {
    "use strict";

    const {
        state, on, onStart, onShown, attempt, text, plural, number, make, write, button, bar, enable, openTab,
        openSheet,
    } = loraTrain;
    /** The windows, by the names of their classes. */
    const PANELS = {
        TagEdits: () => text("Edit captions"), TagBinding: () => text("What to bind"),
        TagTrigger: () => text("Trigger word"), TagExchange: () => text("Import and export"),
    };

    class TagsCard {
        /** @param {HTMLElement} panel @param {TagModel} model */
        constructor(panel, model) {
            this.model = model;
            /** @type {Object<string, {element: HTMLElement}>} the windows that were opened */
            this.panels = {};
            const leave = () => this.gallery.element.focus({preventScroll: true});
            this.filter = new loraTrain.TagFilter(model, {leave});
            this.history = new loraTrain.TagHistory(model);
            const edit = () => this.open("TagEdits");
            this.view = new loraTrain.TagView(model, {leave, edit});
            this.gallery = new loraTrain.TagGallery(model, {open: () => this.view.focus()});
            this.frequency = new loraTrain.TagFrequency(model, {leave});
            this.notes = make("div", {class: "lora_train_tagging_notes"});
            this.writing = this.makeWriting();
            this.work = make("div", {class: "lora_train_tagging", hidden: true}, this.makeTools(), this.filter.element,
                this.notes, this.writing,
                make("div", {class: "lora_train_tagging_columns"},
                    this.gallery.element, this.view.element, this.frequency.element));
            this.empty = make("div", {class: "lora_train_welcome", hidden: true});
            this.reading = make("p", {
                class: "lora_train_hint lora_train_tagging_reading", role: "status", hidden: true,
            }, text("The captions are being read. The first time, this takes a moment."));
            panel.replaceChildren(this.empty, this.reading, this.work);
            this.keys = new loraTrain.TagKeys(model, {
                element: panel, filter: this.filter, frequency: this.frequency, view: this.view,
                gallery: this.gallery, edit,
            });
            model.panel = panel;
            onShown(panel, () => attempt(() => this.shown()));
            on("project", () => this.show());
            on("tags", () => this.show());
            on("tags-found", () => this.show());
            on("tags-selection", () => this.showTarget());
            on("visible", () => { if (model.inSight) attempt(() => model.look()); });
            this.show();
        }

        makeTools() {
            const open = (label, name, panel) => button(label, {name, run: () => this.open(panel)});
            this.several = open("", "edit-captions", "TagEdits");
            this.trigger = open("", "trigger-word", "TagTrigger");
            return make("div", {class: "lora_train_row lora_train_tagging_tools"},
                this.history.element,
                make("div", {class: "lora_train_row lora_train_tagging_windows"},
                    this.several, open(text("What to bind"), "binding", "TagBinding"), this.trigger,
                    open(text("Import and export"), "exchange", "TagExchange")),
                button(text("Keys"), {kind: "quiet", name: "keys", run: () => this.keys.list()}));
        }

        makeWriting() {
            this.writingWords = make("span", {class: "lora_train_hint", role: "status"});
            this.writingBar = bar(text("Progress of the writing"));
            return make("div", {class: "lora_train_tagging_writing", hidden: true}, this.writingWords, this.writingBar);
        }

        /** Opens a window; `given` is for it. */
        open(name, given = undefined) {
            this.panels[name] = this.panels[name] || new loraTrain[name](this.model);
            const panel = this.panels[name];
            openSheet(PANELS[name](), {kind: "lora_train_tall", closed: () => panel.closed && panel.closed()},
                panel.element);
            return panel.opened && panel.opened(given);
        }

        async shown() {
            await this.model.look();
            if (document.activeElement === document.body) this.gallery.element.focus({preventScroll: true});
        }

        show() {
            const {overview, found} = this.model;
            const total = overview ? overview.total : 0;
            this.empty.hidden = state.project !== null && (overview === null || total > 0);
            this.work.hidden = !overview || total === 0;
            this.reading.hidden = state.project === null || overview !== null;
            if (!this.empty.hidden) this.showEmpty();
            if (!overview) return;
            const {word} = overview.trigger;
            write(this.trigger, word ? text("Trigger word: {word}", {word}) : text("Trigger word"));
            this.showNotes();
            this.showWriting(overview.writing);
            this.showTarget();
            this.gallery.nothing.hidden = !found || found.pictures.length > 0;
            if (!this.gallery.nothing.hidden && this.gallery.nothing.children.length === 0) {
                this.gallery.nothing.append(make("p", {}, text("No picture matches the filter.")),
                    button(text("Clear the filter"), {name: "show-all", run: () => this.filter.set("")}));
            }
        }

        /** What to do before there are tags to edit. */
        showEmpty() {
            const [words, label] = state.project
                ? [text("This project has no pictures yet. Add some, and their tags are edited here."),
                    text("Add pictures")]
                : [text("Name your project and add pictures; their tags are edited here then."),
                    text("To the dataset")];
            if (this.emptyShown === words) return;
            this.emptyShown = words;
            this.empty.replaceChildren(make("p", {}, words), make("div", {class: "lora_train_row"},
                button(label, {kind: "primary", name: "to-dataset", run: () => openTab("dataset")})));
        }

        /** What to know about this project's captions. */
        showNotes() {
            const {captioned, trigger, left, trouble} = this.model.overview;
            const signature = JSON.stringify([captioned === 0, trigger, left, trouble]);
            if (this.notesShown === signature) return;
            this.notesShown = signature;
            const note = (name, words, ...more) => make("div", {
                class: "lora_train_message", role: "status", data: {note: name},
            }, make("div", {class: "lora_train_message_text"}, words), ...more);
            this.notes.replaceChildren(...[
                trouble ? note("trouble", `${trouble.sentence} ${trouble.remedy || ""}`) : null,
                captioned > 0 ? null : note("no-captions",
                    text("No picture has a caption yet. Let a tagger write them, or type them here one by one."),
                    button(text("Write captions automatically"), {
                        kind: "primary", name: "to-prepare", run: () => this.toPrepare(),
                    })),
                captioned > 0 && trigger.word && trigger.everywhere > 0 ? note("trigger",
                    plural(trigger.everywhere, "{count} caption is without the trigger word “{word}”.",
                        "{count} captions are without the trigger word “{word}”.", {word: trigger.word}),
                    button(text("Show them"), {name: "show-missing", run: () => this.filter.set("missing:trigger")}),
                    button(text("Put it first everywhere"), {name: "trigger-note", run: () => this.open("TagTrigger")}))
                    : null,
                left ? note("left", plural(left.count,
                    "Another program changed {count} caption meanwhile; it was left as it is: {names}",
                    "Another program changed {count} captions meanwhile; they were left as they are: {names}",
                    {names: left.names.join(", ")})) : null,
            ].filter(Boolean));
        }

        toPrepare() {
            openTab("dataset");
            const card = document.querySelector(".lora_train_prepare");
            if (card) window.setTimeout(() => card.scrollIntoView({block: "start", behavior: "smooth"}), 150);
        }

        showWriting(writing) {
            this.writing.hidden = !writing;
            if (!writing) return;
            write(this.writingWords, text("Writing the files: {done} of {total}", {done: number(writing.done),
                total: number(writing.total)}));
            this.writingBar.set(writing.total ? writing.done / writing.total : null);
        }

        /** How many pictures the edit of several is about. */
        showTarget() {
            const {model} = this;
            const chosen = model.selected.size;
            const count = model.targetCount;
            write(this.several, chosen ? plural(chosen, "Edit {count} chosen", "Edit {count} chosen")
                : model.found && model.found.filter.trim() ? plural(count, "Edit {count} found", "Edit {count} found")
                    : plural(count, "Edit {count} caption", "Edit all {count} captions"));
            enable(this.several, count > 0, text("No picture matches the filter."));
            this.several.classList.toggle("lora_train_primary", chosen > 1);
        }
    }

    onStart(() => {
        const panel = document.getElementById("lora_train_tags");
        panel.classList.add("lora_train_panel");
        loraTrain.tagsCard = new TagsCard(panel, loraTrain.tags);
    });

    Object.assign(loraTrain, {TagsCard});
})();
