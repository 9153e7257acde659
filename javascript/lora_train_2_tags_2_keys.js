/**
 * The keys of the tag editor, wherever in it the keyboard is, and the window that lists them. What is being typed keeps
 * the keys that it needs.
 */
(() => {
    "use strict";

    const {attempt, text, make, openDialog} = loraTrain;

    /** Whether a field holds words that its own undo is for. */
    function typing(target) {
        return target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
    }

    class TagKeys {
        /**
         * @param {TagModel} model
         * @param {{element: HTMLElement, filter: TagFilter, frequency: TagFrequency, view: TagView,
         *   gallery: TagGallery, edit: function(): void}} parts
         */
        constructor(model, parts) {
            this.model = model;
            this.parts = parts;
            document.addEventListener("keydown", (event) => this.key(event));
            // The WebUI draws, skips and interrupts by these, and fails in a tab where there is nothing to draw.
            parts.element.addEventListener("keydown", (event) => {
                const {key, ctrlKey, metaKey, altKey} = event;
                if (key === "Escape" || key === "Enter" && (ctrlKey || metaKey || altKey)) event.stopPropagation();
            });
        }

        /** Whether a key is meant for this editor: it is seen, nothing lies above it, and no other part has the key. */
        hears(event) {
            const {element} = this.parts;
            if (event.defaultPrevented || event.isComposing || !this.model.inSight || !this.model.found) return false;
            if (document.querySelector("dialog[open]")) return false;
            return event.target === document.body || element.contains(event.target);
        }

        key(event) {
            if (!this.hears(event)) return;
            const control = (event.ctrlKey || event.metaKey) && !event.altKey;
            const run = control ? this.controlled(event) : event.altKey ? null : this.plain(event);
            if (!run) return;
            event.preventDefault();
            event.stopPropagation();
            attempt(async () => run());
        }

        /** Undo and redo, but not of what is being typed. */
        controlled(event) {
            const {model, parts} = this;
            const {target} = event;
            if (typing(target) && (target === parts.filter.input || target !== parts.view.caption && target.value
                || target === parts.view.caption && parts.view.typed)) return null;
            const name = event.key.toLowerCase();
            if (name === "z") return () => (event.shiftKey ? model.redo() : model.undo());
            if (name === "y") return () => model.redo();
            return null;
        }

        plain(event) {
            const {view, filter, frequency, gallery, edit} = this.parts;
            const turns = {PageUp: () => view.go(-1), PageDown: () => view.go(1)};
            if (event.key in turns && !event.shiftKey) return turns[event.key];
            if (typing(event.target)) return null;
            return {
                "/": () => filter.focus(),
                "?": () => this.list(),
                a: () => view.focus(),
                c: () => view.focusCaption(),
                t: () => frequency.search.focus(),
                g: () => gallery.element.focus(),
                e: edit,
            }[event.key] || null;
        }

        /** All keys. */
        list() {
            const key = (name) => make("kbd", {}, name);
            const group = (heading, rows) => make("section", {}, make("h4", {}, heading), make("dl", {},
                ...rows.flatMap(([keys, words]) => [make("dt", {}, ...keys.map(key)), make("dd", {}, words)])));
            openDialog(text("Keys"), {kind: "lora_train_key_list"}, make("div", {class: "lora_train_key_groups"},
                group(text("Everywhere"), [
                    [["PageUp", "PageDown"], text("Previous and next picture")],
                    [["/"], text("To the filter")],
                    [["A"], text("To the field for a new tag")],
                    [["C"], text("To the tags of the picture")],
                    [["T"], text("To the list of all tags")],
                    [["G"], text("To the pictures")],
                    [["E"], text("Edit several captions at once")],
                    [["Ctrl+Z"], text("Undo")],
                    [["Ctrl+Y", "Ctrl+Shift+Z"], text("Redo")],
                    [["Esc"], text("Back to the pictures")],
                ]),
                group(text("In the pictures"), [
                    [["←", "→", "↑", "↓"], text("Another picture")],
                    [["Shift+←", "Shift+→"], text("Choose all on the way")],
                    [[text("Space")], text("Choose this one, or not")],
                    [["Ctrl+A"], text("Choose all")],
                    [["Enter"], text("To its caption")],
                    [["Esc"], text("Choose none")],
                ]),
                group(text("In the tags of a picture"), [
                    [["←", "→"], text("Another tag")],
                    [["Alt+←", "Alt+→"], text("Move the tag")],
                    [["Alt+Home", "Alt+End"], text("Move it to the front or the end")],
                    [["Delete"], text("Delete the tag")],
                    [["Enter"], text("Rewrite the tag")],
                ]),
                group(text("In the list of all tags"), [
                    [["Enter"], text("Only pictures that have it")],
                    [["−"], text("Only pictures without it")],
                ])));
        }
    }

    Object.assign(loraTrain, {TagKeys});
})();
