/**
 * The filter of the tag editor: an expression, applied while it is typed. A fault is underlined where it is, and the
 * pictures of the last filter stay. Below it, on demand, what can be written.
 */
(() => {
    "use strict";

    const {on, later, attempt, report, text, plural, number, make, write, button, select} = loraTrain;
    const TYPED = 300; // ms after the last key
    const LONGEST_FIRST = ["tokens", "tags"]; // orders that begin with the most
    const LONGEST = 2000; // characters, as the server takes them

    class TagFilter {
        /** @param {TagModel} model @param {{leave: function(): void}} calls `leave`: on to the pictures */
        constructor(model, calls) {
            this.model = model;
            this.calls = calls;
            this.sent = "";
            this.applied = ""; // of what is shown
            this.early = false;
            const hint = text("Filter: hat -tag:solo tokens:>75");
            this.behind = make("div", {class: "lora_train_input lora_train_filter_behind", "aria-hidden": "true"});
            this.fault = make("p", {class: "lora_train_filter_fault", role: "alert", hidden: true,
                id: loraTrain.newId()});
            this.input = make("input", {
                class: "lora_train_input", type: "text", name: "filter", autocomplete: "off", spellcheck: "false",
                maxlength: LONGEST, placeholder: hint, "aria-label": text("Filter"), "aria-describedby": this.fault.id,
                translate: "no",
            });
            this.clear = button("×", {kind: "quiet", name: "clear-filter", title: text("Clear the filter"),
                run: () => this.set("")});
            this.clear.setAttribute("aria-label", text("Clear the filter"));
            this.help = button("?", {kind: "quiet", name: "filter-help", title: text("What can be written here"),
                run: () => this.toggleHelp()});
            this.help.setAttribute("aria-label", text("What can be written here"));
            this.help.setAttribute("aria-expanded", "false");
            this.count = make("span", {class: "lora_train_hint lora_train_filter_count", role: "status",
                "data-note": "found"});
            this.order = select([["name", text("By name")], ["tokens", text("By length")],
                ["tags", text("By number of tags")], ["changed", text("Last changed first")]], "name",
            {"aria-label": text("Order of the pictures"), name: "order"});
            this.order.addEventListener("change", () => attempt(() => this.reorder()));
            this.examples = make("div", {class: "lora_train_filter_help", hidden: true});
            this.element = make("div", {class: "lora_train_filter"},
                make("div", {class: "lora_train_filter_line"},
                    make("div", {class: "lora_train_filter_field"}, this.behind, this.input, this.clear, this.help),
                    this.count, this.order),
                this.fault, this.examples);
            this.applySoon = later(TYPED, () => this.apply());
            this.input.addEventListener("input", () => {
                this.showFault(null);
                this.applySoon();
            });
            this.input.addEventListener("scroll", () => this.align());
            this.input.addEventListener("keydown", (event) => this.key(event));
            on("tags-found", () => this.show());
        }

        focus() {
            this.input.focus();
            this.input.select();
        }

        /** Puts an expression into the field and applies it. */
        set(filter) {
            this.input.value = filter;
            this.input.focus();
            return this.apply();
        }

        async apply() {
            const filter = this.input.value;
            this.sent = filter;
            this.early = !this.model.found; // what is typed before anything is there is applied then
            if (this.early) return;
            try {
                await this.model.find(filter);
                if (filter === this.sent) this.showFault(null);
            } catch (error) {
                if (filter !== this.sent) return; // it was typed on
                if (error.mark) this.showFault(error);
                else report(error);
            }
        }

        reorder() {
            const order = this.order.value;
            return this.model.find(undefined, {order, reverse: LONGEST_FIRST.includes(order)});
        }

        key(event) {
            if (event.key === "Enter" && !event.isComposing) this.apply();
            else if (event.key === "Escape" || event.key === "ArrowDown") this.calls.leave();
            else return;
            event.preventDefault();
            event.stopPropagation();
        }

        /** Underlines the fault, and says what was expected there. */
        showFault(error) {
            this.fault.hidden = error === null;
            this.input.setAttribute("aria-invalid", error !== null);
            this.behind.replaceChildren();
            if (error === null) return;
            write(this.fault, `${error.sentence} ${error.remedy}`);
            const {value} = this.input;
            const characters = [...value]; // the server counts characters, not halves of them
            const {position, length} = error.mark;
            const at = Math.min(position, characters.length);
            const part = (from, to) => characters.slice(from, to).join("");
            this.behind.append(part(0, at),
                make("mark", {class: "lora_train_fault"}, part(at, at + Math.max(1, length)) || "\u00a0"),
                part(at + Math.max(1, length)));
            this.align();
        }

        /** The underlining moves with the text. */
        align() {
            this.behind.scrollLeft = this.input.scrollLeft;
        }

        show() {
            const {found, overview} = this.model;
            this.clear.hidden = !found || found.filter === "" && this.input.value === "";
            if (!found) {
                this.early = false;
                this.input.value = this.sent = this.applied = "";
                this.showFault(null);
                write(this.count, "");
                return;
            }
            if (this.early) {
                this.apply();
                return;
            }
            // Another one that was not typed comes from a click elsewhere; the same one again leaves what is typed.
            if (found.filter !== this.sent && found.filter !== this.applied) {
                this.input.value = this.sent = found.filter;
                this.showFault(null);
            }
            this.applied = found.filter;
            this.order.value = found.order;
            const all = overview ? overview.total : found.total;
            write(this.count, found.total === all ? plural(all, "{count} picture", "{count} pictures")
                : text("{found} of {all} pictures", {found: number(found.total), all: number(all)}));
        }

        toggleHelp() {
            const open = this.examples.hidden;
            this.examples.hidden = !open;
            this.help.setAttribute("aria-expanded", open);
            if (open && this.examples.children.length === 0) this.examples.append(...this.makeHelp());
        }

        makeHelp() {
            const line = ([expression, words]) => make("li", {},
                button(expression, {kind: "example", name: "filter-example", run: () => this.set(expression)}),
                make("span", {}, words));
            return [
                make("ul", {}, ...[
                    ["hat", text("these letters stand in the caption")],
                    ["tag:\"long hair\"", text("has this tag; * stands for anything: tag:*hair")],
                    ["-tag:solo", text("does not have it")],
                    ["missing:trigger", text("without the trigger word")],
                    ["none:caption", text("without a caption")],
                ].map(line)),
                make("ul", {}, ...[
                    ["tokens:>75", text("too long a caption; also tags:3..8")],
                    ["size:<512", text("a small picture; also width: and height:")],
                    ["name:img_2*", text("by the name of the file; also concept:")],
                    ["tag:hat | tag:cap", text("one or the other; AND, NOT and parentheses too")],
                    ["is:sentences", text("a caption in sentences; also is:tags, is:broken")],
                ].map(line)),
            ];
        }
    }

    Object.assign(loraTrain, {TagFilter});
})();
