/**
 * How far the grid is, what went wrong in words, and what it recommends.
 */
(() => {
    "use strict";

    const {on, text, plural, number, duration, make, write, button, bar, enable} = loraTrain;

    class PreviewStatus {
        /** @param {PreviewModel} model */
        constructor(model) {
            this.model = model;
            this.words = make("span", {role: "status", data: {note: "grid-state"}});
            this.bar = bar(text("Progress of the grid"));
            this.stop = button(text("Stop"), {kind: "stop", name: "stop-grid", run: () => model.stop()});
            this.goOn = button(text("Continue"), {kind: "primary", name: "continue-grid", run: () => model.goOn()});
            this.problem = make("div", {class: "lora_train_message lora_train_error", role: "alert", hidden: true});
            this.notes = make("ul", {class: "lora_train_problems", hidden: true});
            this.element = make("div", {class: "lora_train_matrix_status"},
                make("div", {class: "lora_train_row"}, this.words, this.stop, this.goOn), this.bar, this.problem,
                this.notes);
            on("previews", () => this.show());
        }

        show() {
            const {grid} = this.model;
            this.element.hidden = !grid;
            if (!grid) return;
            const {job, last, state} = grid;
            this.element.dataset.state = state;
            write(this.words, this.wordsOf(grid));
            this.bar.hidden = !job;
            if (job) this.bar.set(job.total ? job.done / job.total : null);
            this.stop.hidden = !job;
            if (job) enable(this.stop, job.mine && !job.stopping, job.stopping ? text("It is being stopped.")
                : text("Somebody else has started it."));
            this.goOn.hidden = Boolean(job) || state === "done" && (grid.scores.whole || !grid.made);
            const error = !job && last && last.error ? last.error : null;
            this.problem.hidden = !error;
            if (error) write(this.problem, [error.sentence, error.remedy].filter(Boolean).join(" "));
            const notes = !job && last ? last.notes : [];
            this.notes.hidden = notes.length === 0;
            const signature = JSON.stringify(notes);
            if (signature === this.notesShown) return;
            this.notesShown = signature;
            this.notes.replaceChildren(...notes.map((note) => make("li", {class: "lora_train_problem"}, note)));
        }

        wordsOf({state, job, size, made, scores, cost}) {
            const count = {made: number(made), total: number(size)};
            if (job && job.stopping) return text("It stops after the pictures that are being drawn.");
            if (job && state === "queued") {
                return text("It waits for its turn. {made} of {total} pictures are drawn.", count);
            }
            if (job) {
                const parts = [job.stage, job.total ? text("{done} of {total}", {
                    done: number(job.done), total: number(job.total),
                }) : "", job.remaining !== null ? text("{time} left", {time: duration(job.remaining)}) : ""];
                return parts.filter(Boolean).join(" – ") || text("It begins.");
            }
            if (state === "done" && !scores.whole) {
                return text("{made} of {total} pictures are drawn, and not all of them are scored.", count);
            }
            if (state === "done") {
                const drawn = plural(size, "{count} picture", "{count} pictures");
                return cost ? `${drawn} · ${text("drawn in {time}", {time: duration(cost.seconds)})}` : drawn;
            }
            const words = {
                stopped: text("Stopped: {made} of {total} pictures are drawn.", count),
                failed: text("It did not come to its end: {made} of {total} pictures are drawn.", count),
                interrupted: text("The server ended meanwhile: {made} of {total} pictures are drawn.", count),
            };
            return words[state] || text("{made} of {total} pictures are drawn.", count);
        }
    }

    /** What the grid recommends, why, and the way there. */
    class PreviewAdvice {
        /** @param {PreviewDesk} desk */
        constructor(desk) {
            this.desk = desk;
            this.model = desk.model;
            this.words = make("div", {class: "lora_train_matrix_advice_words"});
            const cell = () => this.model.cells.get(this.model.recommended);
            this.go = button(text("Show it"), {name: "show-recommended", run: () => {
                desk.show(this.model.recommended);
                this.shown();
            }});
            this.use = button(text("Use this"), {
                kind: "primary", name: "use-recommended", run: () => loraTrain.openPick(this.model, cell()),
            });
            this.element = make("div", {class: "lora_train_matrix_advice", role: "note", hidden: true},
                this.words, this.go, this.use);
            /** What is called after it was shown. */
            this.shown = () => {};
            on("previews", () => this.show());
        }

        show() {
            const {grid, cells} = this.model;
            const found = grid && grid.recommendation;
            this.element.hidden = !found;
            if (!found) return;
            const known = cells.get(found.cell);
            enable(this.use, Boolean(known && known.made && grid.columns[found.column].there),
                text("The LoRA file is gone."));
            if (found.reason === this.reason) return;
            this.reason = found.reason;
            this.words.replaceChildren(make("strong", {}, text("Recommended:")), make("span", {}, ` ${found.reason}`));
        }
    }

    Object.assign(loraTrain, {PreviewStatus, PreviewAdvice});
})();
