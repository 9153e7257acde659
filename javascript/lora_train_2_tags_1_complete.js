/**
 * Tags completed while they are typed: from the vocabulary that the server has, by tag, alias or translation. Inside
 * the WebUI its extension for completion does this instead where it is installed, with its own list and settings.
 */
(() => {
    "use strict";

    const {api, later, language, make, newId, number, text} = loraTrain;
    const WAIT = 60; // ms after the last key
    const MOST = 12; // suggestions shown
    const LONGEST = 200; // characters that are looked for
    const PARTS = /[,，\n]/; // what separates tags
    const HAN = /[\u3400-\u9fff\uf900-\ufaff]/;

    /**
     * @typedef {{tag: string, count: number, category: string, alias: string, translation: string, own: number}}
     *   Suggestion `count` of the pictures that the list was made from, `own` of those of this project
     */

    /** The part between commas at a place of a text: its beginning and end, and what it says. */
    function partAt(words, place) {
        let [from, to] = [place, place];
        while (from > 0 && !PARTS.test(words[from - 1])) from -= 1;
        while (to < words.length && !PARTS.test(words[to])) to += 1;
        const part = words.slice(from, to);
        const before = part.length - part.trimStart().length;
        return {from: from + before, to, part: part.trim()};
    }

    /** The text with that part replaced, ready for the next tag; and where the cursor goes. */
    function withPart(words, {from, to}, tag) {
        const after = words.slice(to);
        const comma = after ? "" : ", ";
        return {words: words.slice(0, from) + tag + comma + after, place: from + tag.length + comma.length};
    }

    /** What the other extension writes is meant for prompts, where parentheses are escaped; captions hold them bare. */
    function unescaped(words) {
        return words.replace(/\\([()])/g, "$1");
    }

    /** The WebUI's extension for completion: whether it is there and set up. */
    function otherCompletion() {
        return typeof window.addAutocompleteToArea === "function" && window.TAC_CFG ? window.addAutocompleteToArea
            : null;
    }

    /** The completion of one field. */
    class Completion {
        constructor(model, input, take, {several = false, when = () => true, keys = () => {}}) {
            this.model = model;
            this.when = when;
            this.keys = keys;
            this.input = input;
            this.take = take;
            this.several = several;
            /** @type {Suggestion[]} */
            this.suggestions = [];
            this.active = -1; // of the suggestions
            this.list = make("ul", {class: "lora_train_suggestions", role: "listbox", id: newId(), hidden: true,
                "aria-label": text("Suggestions"), translate: "no"});
            this.asking = null;
            this.askSoon = later(WAIT, () => this.ask());
            for (const [name, value] of Object.entries({role: "combobox", autocomplete: "off", spellcheck: "false",
                "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": this.list.id})) {
                input.setAttribute(name, value);
            }
            this.listen();
        }

        listen() {
            const {input, list} = this;
            this.last = (event) => {
                this.keys(event);
                this.entered(event);
            };
            this.follow = (event) => { if (event.target !== list) this.place(); };
            input.addEventListener("focus", () => this.hand());
            input.addEventListener("input", (event) => this.typed(event));
            input.addEventListener("compositionend", () => this.askSoon());
            input.addEventListener("blur", () => this.close());
            // Before the field's other listeners, which shall not hear a key that the list has used.
            input.addEventListener("keydown", (event) => this.key(event), true);
            input.addEventListener("keydown", this.last);
            list.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays in the field
            list.addEventListener("click", (event) => {
                const option = event.target.closest("[role='option']");
                if (option) this.choose(this.suggestions[Number(option.dataset.place)].tag);
            });
        }

        get open() {
            return !this.list.hidden;
        }

        /** Hands the field to the other extension where there is one, once. */
        hand() {
            const other = this.other ? null : otherCompletion();
            if (!other) return;
            other(this.input);
            this.other = this.input.classList.contains("autocomplete"); // it is not active everywhere
            this.input.removeEventListener("keydown", this.last); // after its listener, not before it
            this.input.addEventListener("keydown", this.last);
        }

        /** What is looked for now. */
        get wanted() {
            const {value, selectionStart} = this.input;
            const {part} = this.several ? partAt(value, selectionStart) : {part: value.trim()};
            return part.slice(0, LONGEST);
        }

        /** Whether what was typed is a tag already, as it is. */
        get complete() {
            const {wanted} = this;
            return this.suggestions.some(({tag}) => tag === wanted);
        }

        typed(event) {
            if (this.other) {
                if (!event.inputType) this.takeOther();
                return;
            }
            if (event.isTrusted && !event.isComposing) this.askSoon();
        }

        /** The other extension has put a tag into the field. */
        takeOther() {
            const {input} = this;
            const place = input.selectionStart;
            const plain = unescaped(input.value);
            if (!this.several && PARTS.test(plain.trim().slice(-1))) {
                const tag = plain.trim().slice(0, -1).trim();
                if (this.take) this.choose(tag);
                else input.value = tag;
            } else if (plain !== input.value) {
                const moved = unescaped(input.value.slice(0, place)).length;
                input.value = plain;
                input.setSelectionRange(moved, moved);
            }
        }

        /** Asks the server; an answer that a later question has overtaken is not shown. */
        async ask() {
            const {wanted} = this;
            if (this.asking) this.asking.abort();
            if (!wanted || document.activeElement !== this.input || this.other || !this.when()) {
                this.close();
                return;
            }
            this.asking = new AbortController();
            const {signal} = this.asking;
            try {
                const query = {text: wanted, limit: MOST};
                const {suggestions} = await api.get([...this.model.path, "complete"], query, signal);
                if (!signal.aborted && document.activeElement === this.input) this.show(suggestions, wanted);
            } catch {
                if (!signal.aborted) this.close(); // typing goes on without it; a lost connection is said elsewhere
            }
        }

        show(suggestions, wanted) {
            const same = suggestions.length === 1 && suggestions[0].tag === wanted;
            this.suggestions = same ? [] : suggestions;
            // Chinese stands for the tag that it translates; anything else may be meant as it is typed.
            const translated = HAN.test(wanted) && suggestions.length > 0 && HAN.test(suggestions[0].translation);
            this.active = translated ? 0 : -1;
            this.list.replaceChildren(...this.suggestions.map((one, place) => this.line(one, place)));
            if (this.suggestions.length === 0) {
                this.close();
                return;
            }
            if (this.input.nextSibling !== this.list) this.input.after(this.list);
            this.list.hidden = false;
            this.input.setAttribute("aria-expanded", "true");
            this.mark();
            this.place();
            window.addEventListener("scroll", this.follow, true);
            window.addEventListener("resize", this.follow);
        }

        line({tag, count, category, alias, translation, own}, place) {
            return make("li", {role: "option", id: newId(), data: {place, category, tag}},
                make("span", {class: "lora_train_suggested"}, tag,
                    alias ? make("span", {class: "lora_train_hint"}, ` ← ${alias}`) : null),
                translation ? make("span", {class: "lora_train_translation"}, translation) : null,
                own ? make("span", {class: "lora_train_hint"}, text("{count} here", {count: number(own)})) : null,
                count ? make("span", {class: "lora_train_hint lora_train_suggested_count"}, compact(count)) : null);
        }

        /** Below the field, or above it where there is more room, whatever it lies in. */
        place() {
            const {list, input} = this;
            const field = input.getBoundingClientRect();
            list.style.left = list.style.top = "0";
            const zero = list.getBoundingClientRect(); // where an ancestor moves what is fixed
            const below = window.innerHeight - field.bottom;
            const room = Math.max(below, field.top) - 12;
            list.style.minWidth = `${Math.min(field.width, 420)}px`;
            list.style.maxHeight = `${Math.max(80, Math.min(340, room))}px`;
            const {width, height} = list.getBoundingClientRect();
            const top = below >= height + 8 || below >= field.top ? field.bottom + 4 : field.top - height - 4;
            const left = Math.max(4, Math.min(field.left, window.innerWidth - width - 8));
            list.style.left = `${left - zero.left}px`;
            list.style.top = `${top - zero.top}px`;
        }

        mark() {
            [...this.list.children].forEach((one, place) => {
                one.setAttribute("aria-selected", place === this.active);
                if (place === this.active) one.scrollIntoView({block: "nearest"});
            });
            const active = this.list.children[this.active];
            if (active) this.input.setAttribute("aria-activedescendant", active.id);
            else this.input.removeAttribute("aria-activedescendant");
        }

        key(event) {
            if (event.isComposing || !this.open) return;
            const {length} = this.suggestions;
            const up = this.active > 0 ? this.active - 1 : length - 1;
            const moves = {ArrowDown: (this.active + 1) % length, ArrowUp: up};
            if (event.key in moves && !event.altKey && !event.ctrlKey) {
                this.active = moves[event.key];
                this.mark();
            } else if (event.key === "Escape") {
                this.close();
            } else if (event.key === "Tab" && !event.shiftKey && this.active < 0 && this.complete) {
                this.close();
                return;
            } else if (event.key === "Tab" && !event.shiftKey || event.key === "Enter" && this.active >= 0) {
                this.choose(this.suggestions[Math.max(0, this.active)].tag);
            } else {
                return;
            }
            event.preventDefault();
            event.stopImmediatePropagation();
        }

        /** What was typed is entered as it is. */
        entered(event) {
            if (event.key !== "Enter" || event.isComposing || event.defaultPrevented || !this.take) return;
            if (event.ctrlKey || event.metaKey || event.altKey) return;
            const tag = this.input.value.trim();
            if (!tag) return;
            event.preventDefault();
            this.choose(tag);
        }

        choose(tag) {
            const {input} = this;
            this.close();
            if (this.take) {
                input.value = "";
                this.take(tag);
                return;
            }
            const {words, place} = this.several ? withPart(input.value, partAt(input.value, input.selectionStart), tag)
                : {words: tag, place: tag.length};
            input.value = words;
            input.setSelectionRange(place, place);
            input.dispatchEvent(new Event("input", {bubbles: true}));
            input.dispatchEvent(new Event("change", {bubbles: true}));
            this.close();
        }

        close() {
            if (this.asking) this.asking.abort();
            this.asking = null;
            this.active = -1;
            this.suggestions = [];
            this.list.hidden = true;
            this.input.setAttribute("aria-expanded", "false");
            this.input.removeAttribute("aria-activedescendant");
            window.removeEventListener("scroll", this.follow, true);
            window.removeEventListener("resize", this.follow);
        }
    }

    class TagComplete {
        /** @param {TagModel} model whose route is asked */
        constructor(model) {
            this.model = model;
        }

        /**
         * Completes what is typed into a field.
         * @param {HTMLInputElement|HTMLTextAreaElement} input
         * @param {?function(string): void} take called with the tag that was chosen, or typed and entered, and the
         *   field is emptied; without it the tag is put into the field
         * @param {{several?: boolean, when?: function(): boolean, keys?: function(KeyboardEvent): void}} options
         *   `several`: the field holds tags with commas between, and the one at the cursor is completed; `when`:
         *   whether there is anything to complete now; `keys`: hears the keys that no completion has used
         * @returns {Completion} `open` is whether suggestions are shown, `close()` puts them away
         */
        attach(input, take = null, options = {}) {
            return new Completion(this.model, input, take, options);
        }
    }

    /** 1200000 as "1.2M", as the language writes it. */
    function compact(value) {
        return new Intl.NumberFormat(language(), {notation: "compact", maximumFractionDigits: 1}).format(value);
    }

    Object.assign(loraTrain, {TagComplete, partAt, withPart});
})();
