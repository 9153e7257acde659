/**
 * The history of a project's captions: undo and redo, and a window with every step, of which one may go back to any.
 */
(() => {
    "use strict";

    const {
        api, on, attempt, text, plural, number, moment, make, write, button, enable, openSheet,
    } = loraTrain;
    const PAGE = 60; // steps read at once

    class TagHistory {
        /** @param {TagModel} model */
        constructor(model) {
            this.model = model;
            this.undo = button("↶", {name: "undo-tags", run: () => model.undo()});
            this.redo = button("↷", {name: "redo-tags", run: () => model.redo()});
            this.last = make("button", {
                type: "button", class: "lora_train_button lora_train_quiet lora_train_last_step",
                "data-action": "history", title: text("All steps, to go back to any of them"),
                on: {click: () => attempt(() => this.open())},
            });
            this.element = make("div", {class: "lora_train_row lora_train_history_bar"},
                this.undo, this.redo, this.last);
            this.list = make("div", {class: "lora_train_history"});
            this.more = button(text("Show more"), {kind: "quiet", name: "more-steps", run: () => this.read()});
            this.sitting = button(text("Undo everything of this session"), {
                name: "undo-sitting", run: () => model.rollback(model.overview.sitting.to),
            });
            this.body = make("div", {class: "lora_train_history_body"},
                make("div", {class: "lora_train_row"},
                    make("span", {class: "lora_train_hint"},
                        text("Nothing is lost: what is undone can be done again.")),
                    make("span", {class: "lora_train_end"}, this.sitting)),
                this.list, this.more);
            on("tags", () => this.show());
        }

        show() {
            const {overview} = this.model;
            const step = (name, control, words) => {
                const there = overview ? overview[name] : null;
                const label = there ? `${words}: ${there.title}` : words;
                control.setAttribute("aria-label", label);
                enable(control, there !== null, words);
                if (there) control.title = label;
            };
            step("undo", this.undo, text("Undo"));
            step("redo", this.redo, text("Redo"));
            const undo = overview && overview.undo;
            write(this.last, undo ? `${undo.title} · ${moment(undo.time)}` : text("History"));
            this.sitting.hidden = !overview || !overview.sitting;
            if (this.body.isConnected && overview) this.readAgain();
        }

        async open() {
            openSheet(text("History"), {}, this.body);
            this.shown = "";
            await this.readAgain();
        }

        /** From the newest; where nothing changed since, nothing is asked. */
        async readAgain() {
            const {undo, redo, left} = this.model.overview;
            const state = JSON.stringify([undo, redo, left, this.model.project]);
            if (this.shown === state) return;
            this.shown = state;
            const most = Math.max(PAGE, this.list.querySelectorAll("[data-step]").length);
            const {total, entries} = await this.ask(0, Math.min(200, most));
            if (this.shown !== state) return;
            this.list.replaceChildren();
            this.append(entries, total);
            if (total === 0) {
                this.list.append(make("p", {class: "lora_train_hint"},
                    text("Nothing was changed yet. Each change of a caption will stand here.")));
            }
        }

        ask(offset, limit = PAGE) {
            return api.get([...this.model.path, "log"], {offset, limit});
        }

        async read() {
            const {total, entries} = await this.ask(this.list.querySelectorAll("[data-step]").length);
            this.append(entries, total);
        }

        /** Steps under the session in which they were made. */
        append(entries, total) {
            for (const entry of entries) {
                let group = this.list.lastElementChild;
                if (!group || group.dataset.sitting !== entry.sitting) {
                    group = make("section", {data: {sitting: entry.sitting}},
                        make("h4", {}, moment(entry.time)), make("ul", {}));
                    this.list.append(group);
                }
                group.querySelector("ul").append(this.line(entry));
            }
            this.more.hidden = this.list.querySelectorAll("[data-step]").length >= total;
        }

        line({number: step, time, title, count, in_force: inForce, left}) {
            const {model} = this;
            const press = inForce
                ? button(text("Undo to here"), {kind: "quiet", name: "rollback",
                    title: text("Undoes this step and everything after it"), run: () => model.rollback(step - 1)})
                : button(text("Redo to here"), {kind: "quiet", name: "forward",
                    title: text("Does everything up to this step again"), run: () => model.forward(step)});
            const leftBehind = Array.isArray(left) ? left.length : Number(left || 0);
            return make("li", {class: inForce ? "" : "lora_train_undone", data: {step}},
                make("time", {class: "lora_train_hint"}, moment(time)),
                make("span", {class: "lora_train_history_words"}, title,
                    leftBehind ? make("span", {class: "lora_train_hint"}, " ", plural(leftBehind,
                        "{count} caption was left as another program had made it",
                        "{count} captions were left as another program had made them")) : null),
                make("span", {class: "lora_train_hint"}, plural(count, "{count} picture", "{count} pictures")),
                inForce ? null : make("span", {class: "lora_train_hint"}, text("undone")), press);
        }
    }

    Object.assign(loraTrain, {TagHistory});
})();
