/**
 * Those that wait for the running one to end: their order, up and down, and out of the line.
 */
(() => {
    "use strict";

    const {text, number, control, runTitle, make, button, enable} = loraTrain;

    class QueueList {
        constructor() {
            this.list = make("ol", {class: "lora_train_list"});
            this.element = make("section", {
                class: "lora_train_card lora_train_queue", hidden: true, "aria-label": text("Waiting in line"),
            }, make("strong", {}, text("Waiting in line")), this.list);
        }

        /** @param {Waiting[]} queue */
        show(queue) {
            this.element.hidden = queue.length === 0;
            const signature = JSON.stringify(queue);
            if (signature === this.signature) return;
            this.signature = signature;
            const held = this.list.contains(document.activeElement) ? {...document.activeElement.dataset} : null;
            this.list.replaceChildren(...queue.map((waiting, place) => this.line(waiting, place, queue.length)));
            if (held) { // the keyboard stays on the button that was pressed
                const again = this.list.querySelector(`[data-action="${held.action}"][data-job="${held.job}"]`);
                if (again) again.focus();
            }
        }

        line(waiting, place, count) {
            const press = (label, name, title, run) => {
                const one = button(label, {kind: "quiet", name, title, run});
                one.dataset.job = waiting.job;
                one.setAttribute("aria-label", `${title}: ${runTitle(waiting)}`);
                if (!waiting.mine) enable(one, false, text("Started by somebody else, who alone can control it."));
                return one;
            };
            const up = press("↑", "up", text("Earlier"), () => control(waiting.job, "move", {place: place}));
            const down = press("↓", "down", text("Later"), () => control(waiting.job, "move", {place: place + 2}));
            if (place === 0) enable(up, false);
            if (place === count - 1) enable(down, false);
            return make("li", {data: {job: waiting.job}},
                make("span", {class: "lora_train_place"}, number(waiting.place)),
                make("span", {translate: "no"}, runTitle(waiting)),
                make("span", {class: "lora_train_end lora_train_row"}, up, down,
                    press(text("Cancel"), "cancel-job", text("Cancel"), () => control(waiting.job, "cancel"))));
        }
    }

    Object.assign(loraTrain, {QueueList});
})();
