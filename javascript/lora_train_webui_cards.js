/**
 * The WebUI's cards of LoRAs: its page draws them once, and again when somebody presses its Refresh. Pressed here when
 * there is another file: a run has ended, or a cell was used, or that was undone.
 */
(() => {
    "use strict";

    const {state, on} = loraTrain;
    const REFRESH = "#txt2img_lora_extra_refresh_internal, #img2img_lora_extra_refresh_internal";

    function refreshCards() {
        for (const press of document.querySelectorAll(REFRESH)) press.click();
    }

    /** Refreshes when an event finds other files than before in the same project; `files` may give null. */
    function watch(event, files) {
        let before = {project: "", told: null};
        on(event, () => {
            const project = state.project ? state.project.id : "";
            const told = files();
            if (told === null) return;
            const now = {project, told: JSON.stringify(told)};
            if (before.project === project && before.told !== null && before.told !== now.told) refreshCards();
            before = now;
        });
    }

    watch("runs", () => (state.runs ? state.runs.map((run) => [run.id, run.lora]) : null));
    watch("previews", () => {
        const {overview} = loraTrain.previews;
        return overview ? overview.picks.map((one) => one.pick) : null;
    });
})();
