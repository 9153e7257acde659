/**
 * All tags of the found pictures with their counts. A press keeps to the pictures that have the tag, "−" to those that
 * have not, the same again takes it back. Of thousands only those in sight are in the page.
 */
(() => {
    "use strict";

    const {on, attempt, shown, text, plural, number, make, write, newId} = loraTrain;
    const ROW = 30; // px, as style.css has it
    const BEYOND = 4; // rows
    const TERM = /(-?)tag:("(?:[^"\\]|\\.)*"|[^\s()|"]+)/giu;

    /** Tags are compared as the filter does it: "_" is a blank, case does not matter. */
    function plain(tag) {
        return tag.replace(/_/g, " ").trim().toLowerCase();
    }

    /** The tags that a filter asks for outside of parentheses. @returns {Map<string, boolean>} true: included */
    function filterTags(filter) {
        const terms = new Map();
        for (const match of filter.matchAll(TERM)) {
            const before = filter.slice(0, match.index);
            if (before.split("(").length !== before.split(")").length) continue;
            const written = match[2];
            const tag = written.startsWith("\"") ? written.slice(1, -1).replace(/\\(.)/g, "$1") : written;
            terms.set(plain(tag), match[1] === "");
        }
        return terms;
    }

    class TagFrequency {
        /** @param {TagModel} model @param {{leave: function(): void}} calls */
        constructor(model, calls) {
            this.model = model;
            this.calls = calls;
            /** @type {{tag: string, count: number, all: number, translation: string}[]} what is listed */
            this.rows = [];
            this.terms = new Map();
            this.focused = 0;
            /** @type {Map<number, HTMLElement>} by place */
            this.lines = new Map();
            /** @type {WeakMap<HTMLElement, object>} what a line shows, which may be older than `rows` by a frame */
            this.drawn = new WeakMap();
            this.search = make("input", {
                class: "lora_train_input", type: "search", name: "search-tags", autocomplete: "off",
                spellcheck: "false", placeholder: text("Search the tags"), "aria-label": text("Search the tags"),
                maxlength: 200, translate: "no",
            });
            this.byName = make("button", {
                type: "button", class: "lora_train_button lora_train_quiet", "data-action": "sort-tags",
                "aria-pressed": "false", title: text("In the order of the alphabet"),
            }, "A–Z");
            this.count = make("span", {class: "lora_train_hint", role: "status"});
            this.space = make("div", {class: "lora_train_grid_space"});
            this.list = make("div", {
                class: "lora_train_frequency_list", role: "listbox", tabIndex: 0, "aria-label": text("Tags"),
                "aria-multiselectable": "true",
            }, this.space);
            this.element = make("section", {class: "lora_train_frequency", "aria-label": text("Tags")},
                make("div", {class: "lora_train_row lora_train_frequency_head"}, make("strong", {}, text("Tags")),
                    this.count, make("span", {class: "lora_train_end"}, this.byName)),
                this.search, this.list);
            this.listen();
        }

        listen() {
            this.search.addEventListener("input", () => this.show());
            this.search.addEventListener("keydown", (event) => {
                if (event.key === "ArrowDown" || event.key === "Enter") this.list.focus();
                else if (event.key === "Escape" && this.search.value) this.seek("");
                else if (event.key === "Escape") this.calls.leave();
                else return;
                event.preventDefault();
                event.stopPropagation();
            });
            this.byName.addEventListener("click", () => {
                this.byName.setAttribute("aria-pressed", this.byName.getAttribute("aria-pressed") === "false");
                this.show();
            });
            this.list.addEventListener("scroll", () => this.drawSoon(), {passive: true});
            this.list.addEventListener("click", (event) => this.click(event));
            this.list.addEventListener("keydown", (event) => this.key(event));
            new ResizeObserver(() => this.drawSoon()).observe(this.list);
            on("tags-found", () => this.show());
            on("tags-selection", () => this.drawSoon());
            on("tags-picture", (id) => { if (id === this.model.current) this.drawSoon(); });
        }

        seek(words) {
            this.search.value = words;
            this.show();
        }

        /** Lists what is searched for; the tags of the filter come first, where they are still asked for. */
        show() {
            const {found} = this.model;
            const sought = plain(this.search.value);
            const all = found ? found.tags : [];
            this.terms = filterTags(found ? found.filter : "");
            const listed = new Set(all.map((one) => plain(one.tag)));
            const missing = [...this.terms.keys()].filter((tag) => !listed.has(tag) && !tag.includes("*"))
                .map((tag) => ({tag, count: 0, all: 0, translation: ""}));
            const wanted = (one) => plain(one.tag).includes(sought) || one.translation.includes(sought);
            const asked = (one) => (this.terms.has(plain(one.tag)) ? 0 : 1);
            const byName = this.byName.getAttribute("aria-pressed") === "true";
            this.rows = [...missing, ...all].filter(wanted);
            if (byName) this.rows.sort((a, b) => a.tag.localeCompare(b.tag));
            this.rows.sort((a, b) => asked(a) - asked(b));
            this.most = Math.max(1, ...all.slice(0, 50).map((one) => one.count));
            this.focused = Math.max(0, Math.min(this.focused, this.rows.length - 1));
            write(this.count, found ? plural(this.rows.length, "{count} tag", "{count} tags") : "");
            if (shown(this.list)) this.draw(); // at once: what stands where it is pressed is what is meant
        }

        drawSoon() {
            if (this.waiting) return;
            this.waiting = true;
            window.requestAnimationFrame(() => {
                this.waiting = false;
                if (shown(this.list)) this.draw();
            });
        }

        draw() {
            const first = Math.floor(this.list.scrollTop / ROW);
            const from = Math.max(0, first - BEYOND);
            const to = Math.min(this.rows.length, first + Math.ceil(this.list.clientHeight / ROW) + BEYOND);
            this.space.style.height = `${this.rows.length * ROW}px`;
            for (const [place, line] of this.lines) {
                if (place >= from && place < to) continue;
                line.remove();
                this.lines.delete(place);
            }
            const picture = this.model.pictures.known.get(this.model.current);
            const here = new Set(picture ? picture.tags.map(plain) : []);
            for (let place = from; place < to; place++) this.drawLine(place, here);
            const active = this.lines.get(this.focused);
            if (active) this.list.setAttribute("aria-activedescendant", active.id);
        }

        drawLine(place, here) {
            const {tag, count, all, translation} = this.rows[place];
            const line = this.lines.get(place) || this.newLine(place);
            this.drawn.set(line, this.rows[place]);
            const [bar, name, other, counted, out] = line.children;
            const term = this.terms.get(plain(tag));
            line.dataset.term = term === undefined ? "" : term ? "include" : "exclude";
            line.style.top = `${place * ROW}px`;
            bar.style.width = `${100 * Math.min(1, count / this.most)}%`;
            write(name, tag);
            write(other, translation);
            write(counted, number(count));
            const words = text("{count} of the pictures found, {all} of all", {count: number(count),
                all: number(Math.max(all, count))});
            line.title = [words, tag, translation].filter(Boolean).join(" · ");
            line.setAttribute("aria-selected", term === true);
            line.classList.toggle("lora_train_focused", place === this.focused);
            line.classList.toggle("lora_train_here", here.has(plain(tag)));
            const state = term === false ? text("Not left out any more: {tag}", {tag})
                : text("Only pictures without it: {tag}", {tag});
            out.title = state;
        }

        newLine(place) {
            const line = make("div", {class: "lora_train_frequency_row", role: "option", id: newId(), data: {place}},
                make("span", {class: "lora_train_tag_bar", "aria-hidden": "true"}),
                make("span", {class: "lora_train_tag_name", translate: "no"}),
                make("span", {class: "lora_train_translation", translate: "no"}),
                make("span", {class: "lora_train_hint lora_train_frequency_count"}),
                make("span", {class: "lora_train_frequency_out", "aria-hidden": "true", "data-out": ""}, "−"));
            this.lines.set(place, line);
            this.space.append(line);
            return line;
        }

        click(event) {
            const line = event.target.closest(".lora_train_frequency_row");
            if (!line) return;
            this.focused = Number(line.dataset.place);
            this.toggle(line, event.target.closest("[data-out]") || event.altKey ? "exclude" : "include");
        }

        /** Asks for the tag that a line shows, or against it; where that is asked already, not any more. */
        toggle(line, how) {
            const row = this.drawn.get(line);
            if (!row) return;
            const term = this.terms.get(plain(row.tag));
            const again = term !== undefined && term === (how === "include");
            attempt(() => this.model.filterBy(row.tag, again ? "without" : how));
        }

        key(event) {
            if (event.ctrlKey || event.metaKey || event.altKey) return;
            const page = Math.max(1, Math.floor(this.list.clientHeight / ROW) - 1);
            const moves = {ArrowUp: -1, ArrowDown: 1, Home: -this.rows.length, End: this.rows.length};
            const line = this.lines.get(this.focused);
            const keys = {
                Enter: () => this.toggle(line, "include"),
                " ": () => this.toggle(line, "include"),
                "-": () => this.toggle(line, "exclude"),
                Delete: () => this.toggle(line, "exclude"),
                Escape: () => this.calls.leave(),
            };
            if (event.key in moves) this.focus(this.focused + moves[event.key]);
            else if (event.shiftKey && event.key === "PageDown") this.focus(this.focused + page);
            else if (event.shiftKey && event.key === "PageUp") this.focus(this.focused - page);
            else if (event.key in keys) keys[event.key]();
            else return;
            event.preventDefault();
            event.stopPropagation();
        }

        /** Moves the keyboard's mark to a row and into sight. */
        focus(place) {
            this.focused = Math.max(0, Math.min(this.rows.length - 1, place));
            const top = this.focused * ROW;
            if (top < this.list.scrollTop) this.list.scrollTop = top;
            const below = top + ROW - this.list.clientHeight;
            if (below > this.list.scrollTop) this.list.scrollTop = below;
            this.draw();
        }
    }

    Object.assign(loraTrain, {TagFrequency, filterTags});
})();
