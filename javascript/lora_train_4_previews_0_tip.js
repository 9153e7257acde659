/**
 * What is said of a cell under the pointer: file and weight, prompt, seed and scores.
 */
(() => {
    "use strict";

    const {text, number, make, cellWords, cellFacts, starWords} = loraTrain;
    const WAIT = 250; // ms over a cell before it is told
    const AWAY = 8; // px from the cell

    /** Scores as bars, the better the fuller. */
    function scoreRows(grid, cell) {
        return cellFacts(grid, cell).map(({name, label, help, better, value}) => {
            const fill = make("span", {class: "lora_train_matrix_score_fill"});
            fill.style.width = `${Math.round(Math.min(1, Math.max(0, value)) * 100)}%`;
            return make("div", {
                class: "lora_train_matrix_score", title: help, data: {score: name, better},
            }, make("span", {}, label), make("span", {class: "lora_train_matrix_score_bar"}, fill),
            make("span", {class: "lora_train_matrix_score_value"}, number(value * 100)));
        });
    }

    class PreviewTip {
        /** @param {PreviewDesk} desk */
        constructor(desk) {
            this.desk = desk;
            this.element = make("div", {class: "lora_train_matrix_tip", role: "tooltip", hidden: true});
            this.timer = 0;
            /** @type {?HTMLElement} */
            this.at = null;
        }

        /** The pointer is over a cell, or over none. @param {?HTMLElement} element @param {?PreviewCell} cell */
        over(element, cell) {
            if (element === this.at) return;
            this.hide();
            this.at = element;
            if (cell) this.timer = window.setTimeout(() => this.show(element, cell), WAIT);
        }

        hide() {
            window.clearTimeout(this.timer);
            this.at = null;
            this.element.hidden = true;
        }

        show(at, cell) {
            const {grid} = this.desk.model;
            if (!grid || !at.isConnected) return;
            const prompt = grid.prompts[cell.prompt];
            this.element.replaceChildren(
                make("strong", {}, cellWords(grid, cell)),
                make("span", {class: "lora_train_hint"}, [prompt.label, text("seed {seed}", {seed: cell.seed}),
                    cell.stars ? starWords(cell.stars) : "", cell.made ? "" : text("not drawn yet")]
                    .filter(Boolean).join(" · ")),
                make("p", {class: "lora_train_matrix_prompt"}, prompt.text),
                ...scoreRows(grid, cell));
            this.element.hidden = false;
            this.put(at);
        }

        /** Beside the cell, where there is room. */
        put(at) {
            const place = this.element.parentElement.getBoundingClientRect();
            const cell = at.getBoundingClientRect();
            const {offsetWidth: width, offsetHeight: height} = this.element;
            const right = cell.right + AWAY + width <= Math.min(place.right, window.innerWidth);
            const left = right ? cell.right + AWAY : Math.max(place.left, cell.left - AWAY - width);
            const top = Math.max(place.top, Math.min(cell.top, place.bottom - height, window.innerHeight - height));
            this.element.style.left = `${left - place.left}px`;
            this.element.style.top = `${top - place.top}px`;
        }
    }

    Object.assign(loraTrain, {PreviewTip, scoreRows});
})();
