/**
 * The Train sub-tab's form is gradio's. This puts the chosen project into it, keeps its draft, and moves settings
 * between it and files.
 */
(() => {
    "use strict";

    const {
        state, on, onStart, attempt, text, pause, box, press, type, make, seek, download, say, openTab, lookNow,
        loadProjects,
    } = loraTrain;
    const DRAFT_WAIT = 1000; // ms after the last change
    const OPEN_WAIT = 2000; // ms in which a form is filled, unless the server is very busy
    const OPEN_TRIES = 10;
    const DRAFT_LEAD = 300; // ms by which a draft goes ahead of the next project
    const MOST_CHARACTERS = 1_000_000; // of a settings file
    const EXPORT_WAIT = 3000; // ms in which gradio has to answer
    const REFUSAL_WAIT = 200; // ms in which gradio draws what the server answered
    const OURS = ".lora_train_panel, .lora_train_hidden";
    // A dropdown's entry is chosen by the mouse alone, without an event of a field.
    const DROPDOWN = ".wrap-inner";
    const ENTRIES = "ul.options li, [role='option']";

    let waiting = 0; // timer of the next draft

    /** Tells the form which project is open: it loads the draft, the name and the trigger word, and plans. */
    async function openProject(project) {
        if (!project) return;
        if (waiting) { // of the project that was open: what was typed last is its own
            saveDraft();
            await pause(DRAFT_LEAD);
            if (!state.project || state.project.id !== project.id) return; // yet another one was opened
        }
        if (!await type("lora_train_project_id", project.id)) return;
        press("lora_train_project_button");
        // A press while gradio still works on the last one may come to nothing: then it is pressed again.
        for (let tries = 0; tries < OPEN_TRIES; tries++) {
            await pause(OPEN_WAIT);
            const opened = box("lora_train_opened");
            if (!opened || opened.value === project.id) return;
            if (!state.project || state.project.id !== project.id) return;
            press("lora_train_project_button");
        }
    }

    function saveDraft() {
        window.clearTimeout(waiting);
        waiting = 0;
        press("lora_train_draft_button");
    }

    function saveDraftSoon() {
        window.clearTimeout(waiting);
        waiting = state.project ? window.setTimeout(saveDraft, DRAFT_WAIT) : 0;
    }

    function watchForm(event) {
        const target = event.target;
        if (!event.isTrusted || !target.closest || target.closest(OURS)) return;
        if (event.type === "mousedown" && !target.closest(ENTRIES)) return;
        if (event.type === "keydown" && !(event.key === "Enter" && target.closest(DROPDOWN))) return;
        saveDraftSoon();
    }

    /** Puts a settings file into the form; its name's ending says how it is read. */
    async function applyDocument(name, words) {
        if (!await type("lora_train_document", JSON.stringify({name, text: words}))) return;
        press("lora_train_apply_button");
    }

    async function applySettings(settings) {
        openTab("train");
        await applyDocument("run.json", JSON.stringify(settings));
    }

    /** Asks for a settings file and puts it into the form. */
    function loadFile() {
        const input = make("input", {type: "file", accept: ".json,.toml"});
        input.addEventListener("change", () => attempt(async () => {
            const [file] = input.files;
            if (!file) return;
            if (file.size > MOST_CHARACTERS) {
                say({sentence: text("{name} is too large for a settings file.", {name: file.name}), kind: "error"});
                return;
            }
            await applyDocument(file.name, await file.text());
        }));
        input.click();
    }

    /** Gives the person the file that the form writes into `lora_train_export`. */
    async function saveFile() {
        const element = box("lora_train_export");
        if (!element) return;
        for (const until = Date.now() + EXPORT_WAIT; !element.value && Date.now() < until;) await pause(50);
        if (!element.value) return;
        const {name, text: words} = JSON.parse(element.value);
        await type("lora_train_export", "");
        const address = URL.createObjectURL(new Blob([words], {type: "text/plain"}));
        download(address, name);
        window.setTimeout(() => URL.revokeObjectURL(address), 10_000);
    }

    /** What the form was refused for. Its place is above the sub-tabs, and its buttons are far below. */
    function seekRefusal() {
        const line = document.querySelector("#lora_train_message .lora_train_error");
        if (line) seek(line);
        return line !== null;
    }

    /** After the form's Train button: the run is seen at once, and a changed name or trigger word as well. */
    async function started() {
        lookNow();
        attempt(() => loadProjects());
        await pause(REFUSAL_WAIT);
        const panel = document.getElementById("lora_train_live");
        if (!seekRefusal() && panel) panel.scrollIntoView({block: "start", behavior: "smooth"});
    }

    onStart(() => {
        let opened = "";
        on("project", (project) => {
            const {id, title, kind, trigger_word: word} = project || {};
            const signature = JSON.stringify([id, title, kind, word]);
            if (signature === opened) return;
            opened = signature;
            attempt(() => openProject(project));
        });
        on("planned", () => openProject(state.project));
        const message = document.getElementById("lora_train_message");
        if (message) new MutationObserver(seekRefusal).observe(message, {subtree: true, childList: true});
        const form = document.getElementById("lora_train_tab_train");
        if (!form) return;
        for (const name of ["input", "change", "mousedown", "keydown"]) form.addEventListener(name, watchForm, true);
    });

    Object.assign(loraTrain, {applyDocument, applySettings, loadFile, saveFile, started});
})();
