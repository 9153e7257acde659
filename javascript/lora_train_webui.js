/**
 * Inside the WebUI: its own progress bar for the run under way, in the place of ours. With it comes what people know
 * from drawing pictures: progress in the page's title, and a screen that does not fall asleep.
 */
(() => {
    "use strict";

    const {state, on, onStart} = loraTrain;
    const TASK = "task(lora-train)"; // by which the server shows our runs

    /** Whether the WebUI is around us, and has read its options, which its bar asks for. */
    function isReady() {
        const {requestProgress, opts} = window;
        return typeof requestProgress === "function" && Boolean(opts) && "show_progressbar" in opts;
    }

    onStart(() => {
        let attached = false;

        /** The WebUI takes its bar away when the task ends, and that is at a pause too: then it is asked again. */
        function attach() {
            const running = state.live && state.live.running;
            if (attached || !running || running.paused || state.offline || !isReady()) return;
            attached = true;
            window.requestProgress(TASK, loraTrain.live.bar, null, () => { attached = false; });
        }

        on("live", attach);
    });
})();
