/**
 * A window for the scores of a grid: what each of them says and whether it counts, and their values for each file and
 * weight, to be sorted.
 */
(() => {
    "use strict";

    const {
        api, on, attempt, text, plural, number, make, write, button, newId, scorePercent: percent,
    } = loraTrain;
    const FIRST = 60; // rows that are drawn before somebody asks for more
    const HIGH = "high";
    const CLEAR = 0.25; // of a sign of collapse, worth its word

    function signWords(sign) {
        return {
            grey: text("grey"), smeared: text("smeared"), jagged: text("jagged"), gaudy: text("gaudy"),
        }[sign] || sign;
    }

    class PreviewScores {
        /** @param {PreviewModel} model */
        constructor(model) {
            this.model = model;
            /** What the rows are sorted by: the name of a score, "total", "file" or "weight"; "" is the ranking. */
            this.sort = "";
            this.reverse = false;
            this.all = false;
            this.notes = make("div", {class: "lora_train_previews_notes"});
            this.switches = make("ul", {class: "lora_train_previews_switches"});
            this.frame = make("div", {class: "lora_train_table_frame"});
            this.more = button("", {name: "all-places", run: () => {
                this.all = true;
                this.draw();
            }});
            this.element = make("div", {class: "lora_train_previews_scores"}, this.notes, this.switches,
                make("p", {class: "lora_train_hint"}, text("Stars that you give win over all scores.")),
                this.frame, this.more);
            on("previews", () => { if (this.element.isConnected) this.draw(); });
        }

        opened() {
            this.signature = "";
            this.all = false;
            this.draw();
        }

        draw() {
            const {grid, overview} = this.model;
            const signature = JSON.stringify([grid && [grid.id, grid.scores, grid.recommendation, grid.state],
                overview && overview.tools, this.sort, this.reverse, this.all]);
            if (this.signature === signature) return; // the progress of the drawing alone
            this.signature = signature;
            const held = document.activeElement;
            const name = held && this.element.contains(held) ? held.dataset.score || held.dataset.sort : undefined;
            this.drawNotes(grid, overview);
            this.switches.replaceChildren(...(grid ? grid.scores.names.map((score) => this.entry(score)) : []));
            this.drawTable(grid);
            const again = name !== undefined && this.element.querySelector(
                `[data-score="${name}"], [data-sort="${name}"]`);
            if (again) again.focus();
        }

        /** What has to be known of the values as a whole. */
        drawNotes(grid, overview) {
            const notes = [];
            if (!grid) notes.push(text("There is no grid to look at."));
            else if (grid.scores.places.length === 0) {
                notes.push(text("There are no values yet: the pictures are looked at when they are drawn."));
            } else if (!grid.scores.whole) {
                notes.push(text("Not all pictures were looked at yet; the values may still change."));
            }
            if (overview && !overview.tools.tagger) {
                notes.push(text("Without a tagger on this computer nobody can tell whether a prompt was obeyed."));
            }
            if (overview && !overview.tools.embedding) {
                notes.push(text("Without an embedding model likeness and copying are told by tags and pixels alone."));
            }
            this.notes.replaceChildren(...notes.map((words) => make("p", {
                class: "lora_train_previews_note", role: "status",
            }, words)));
        }

        /** One score: its switch, its name, which way is better, and what it says. */
        entry({name, label, help, better, on: counts}) {
            const note = make("span", {class: "lora_train_hint", id: newId()}, help);
            const box = make("input", {type: "checkbox", checked: counts, data: {score: name}, id: newId(),
                "aria-describedby": note.id, on: {change: (event) => this.turn(name, event.target.checked)}});
            return make("li", {}, make("label", {class: "lora_train_check", for: box.id}, box,
                make("strong", {}, label), make("span", {class: "lora_train_hint"},
                    better === HIGH ? text("more is better") : text("less is better"))), note);
        }

        turn(name, counts) {
            const {model} = this;
            const names = model.grid.scores.names.filter((one) => one.on).map((one) => one.name);
            const wanted = counts ? [...names, name] : names.filter((one) => one !== name);
            return attempt(async () => {
                try {
                    await model.act(() => api.put(model.path("scores"), {on: wanted}));
                } finally {
                    this.signature = ""; // also where it was refused: the switch goes back
                    this.draw();
                }
            });
        }

        // ------------------------------------------------------------------ the table

        /** The places with a LoRA in their order, and after them those without. */
        rows(grid) {
            const ranking = grid.recommendation ? grid.recommendation.ranking : [];
            const rank = new Map(ranking.map((place, order) => [placeKey(place), {order, stars: place.stars}]));
            const rows = grid.scores.places.map((place) => ({...place, ...rank.get(placeKey(place))}));
            const value = {
                "": (row) => (row.order === undefined ? ranking.length + 1 - (row.total || 0) : row.order),
                file: (row) => row.base * 1e4 + row.column, weight: (row) => row.weight,
            }[this.sort] || ((row) => -(row[this.sort] ?? -1));
            const sign = this.reverse ? -1 : 1;
            return rows.sort((one, other) => (one.column < 0) - (other.column < 0)
                || sign * (value(one) - value(other)) || one.base - other.base || one.column - other.column
                || one.weight - other.weight);
        }

        drawTable(grid) {
            const rows = grid ? this.rows(grid) : [];
            const shown = this.all ? rows : rows.slice(0, FIRST);
            const left = rows.length - shown.length;
            this.more.hidden = left === 0;
            write(this.more, plural(left, "Show {count} more", "Show {count} more"));
            this.frame.hidden = rows.length === 0;
            if (rows.length === 0) return;
            const scores = grid.scores.names.filter((score) => score.on);
            const several = grid.bases.length > 1;
            const head = [
                this.head(text("File"), "file"), this.head(text("Weight"), "weight"),
                several ? make("th", {scope: "col"}, text("Checkpoint")) : null, this.head(text("Total"), "total"),
                ...scores.map((score) => this.head(score.label, score.name)),
            ].filter(Boolean);
            this.frame.replaceChildren(make("table", {class: "lora_train_table lora_train_previews_table"},
                make("thead", {}, make("tr", {}, ...head)),
                make("tbody", {}, ...shown.map((row) => this.row(grid, row, scores, several)))));
        }

        head(label, name) {
            const holds = this.sort === name;
            const direction = this.reverse ? "ascending" : "descending";
            const press = make("button", {type: "button", class: "lora_train_link", data: {sort: name},
                on: {click: () => this.sortBy(name)}}, label, holds ? this.reverse ? " ↑" : " ↓" : "");
            return make("th", {scope: "col", "aria-sort": holds ? direction : "none"}, press);
        }

        /** A second press turns the order round, a third goes back to the ranking. */
        sortBy(name) {
            if (this.sort !== name) [this.sort, this.reverse] = [name, false];
            else if (!this.reverse) this.reverse = true;
            else [this.sort, this.reverse] = ["", false];
            this.draw();
        }

        row(grid, row, scores, several) {
            const best = grid.recommendation;
            const recommended = best && placeKey(best) === placeKey(row);
            const words = row.column < 0 ? text("without LoRA") : grid.columns[row.column].label;
            const name = make("button", {type: "button", class: "lora_train_link", translate: "no",
                title: text("Show it in the grid"), on: {click: () => this.show(row)}}, words);
            return make("tr", {class: recommended ? "lora_train_previews_best" : null,
                data: {place: placeKey(row)}}, make("th", {scope: "row"}, name,
                recommended ? make("span", {class: "lora_train_previews_mark"}, text("recommended")) : null,
                row.stars ? make("span", {class: "lora_train_hint"}, `★ ${number(row.stars, 1)}`) : null),
            make("td", {}, row.column < 0 ? "–" : number(row.weight, 2)),
            several ? make("td", {translate: "no"}, grid.bases[row.base]) : null,
            this.value(row.total, HIGH),
            ...scores.map((score) => this.value(row[score.name], score.better,
                score.name === "collapse" && row.sign && row.collapse >= CLEAR ? signWords(row.sign) : "")));
        }

        /** A value as a bar; one of which less is better has another colour. */
        value(value, better, words = "") {
            const known = value !== null && value !== undefined;
            const bar = make("span", {class: `lora_train_previews_value lora_train_previews_${better}`,
                "aria-hidden": "true"}, make("i", {}));
            if (known) bar.firstChild.style.width = `${Math.max(0, Math.min(1, value)) * 100}%`;
            return make("td", {class: known ? null : "lora_train_previews_unknown"}, known ? bar : null,
                make("span", {}, percent(known ? value : null)),
                words ? make("span", {class: "lora_train_previews_sign"}, words) : null);
        }

        /** Goes to a picture of the place. */
        show({base, column, weight}) {
            const {model} = this;
            const {recommendation, prompts, seeds} = model.grid;
            const best = recommendation && placeKey(recommendation) === placeKey({base, column, weight})
                ? recommendation.cell : "";
            const found = prompts.flatMap((_, prompt) => seeds.map((seed) => model.at(base, column, weight, prompt,
                seed))).find(Boolean);
            const key = best || (found ? found.key : "");
            if (!key) return;
            model.choose(key);
            const dialog = this.element.closest("dialog");
            if (dialog) dialog.close();
        }
    }

    function placeKey({base, column, weight}) {
        return `${base} ${column} ${weight}`;
    }

    Object.assign(loraTrain, {PreviewScores});
})();
