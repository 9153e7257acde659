/**
 * What the kind of subject suggests for the preparation, and why.
 */
(() => {
    "use strict";

    const {state, text, make, write, button, folded, kindWords} = loraTrain;

    function same(left, right) {
        return JSON.stringify(left) === JSON.stringify(right);
    }

    class PlannedSettings {
        /** @param {Preparation} preparation */
        constructor(preparation) {
            this.preparation = preparation;
            this.use = button(text("Use the planned settings"), {
                name: "use-planned", run: () => preparation.save(this.merged),
            });
            this.reasons = make("ul", {class: "lora_train_warnings"});
            this.fold = folded("", this.reasons);
            this.element = make("div", {class: "lora_train_planned lora_train_row", hidden: true}, this.fold, this.use);
        }

        /** The settings with everything that is planned. */
        get merged() {
            const {planned, settings} = this.preparation.overview;
            return Object.fromEntries(Object.entries(settings).map(([group, values]) =>
                [group, {...values, ...planned.settings[group]}]));
        }

        show() {
            const {planned, settings} = this.preparation.overview;
            const reasons = planned ? planned.reasons : [];
            this.element.hidden = reasons.length === 0;
            if (this.element.hidden) return;
            this.use.hidden = same(this.merged, settings);
            const kind = kindWords(state.project.kind);
            write(this.fold.firstChild, this.use.hidden ? text("The settings are planned for: {kind}. Why?", {kind})
                : text("Other settings are planned for: {kind}. Why?", {kind}));
            if (same(this.shown, reasons)) return;
            this.shown = reasons;
            this.reasons.replaceChildren(...reasons.map((words) => make("li", {}, words)));
        }
    }

    Object.assign(loraTrain, {PlannedSettings});
})();
