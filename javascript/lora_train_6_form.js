/**
 * The Train sub-tab's form is gradio's. This puts the chosen project into it, keeps its draft, and moves settings
 * between it and files.
 */
(() => {
    "use strict";

    const {
        state, on, onStart, onShown, attempt, text, pause, box, press, type, make, seek, download, say, openTab,
        lookNow, loadProjects,
    } = loraTrain;
    const DRAFT_WAIT = 1000; // ms after the last change
    const FILL_WAIT = 4000; // ms in which a form is filled, unless the server is very busy
    const FILL_TRIES = 5;
    const FILL_LOOK = 30; // ms
    const DRAFT_LEAD = 300; // ms by which a draft goes ahead of the next project
    const MOST_CHARACTERS = 1_000_000; // of a settings file
    const EXPORT_WAIT = 3000; // ms in which gradio has to answer
    const REFUSAL_WAIT = 200; // ms in which gradio draws what the server answered
    const OURS = ".lora_train_panel, .lora_train_hidden";
    // A dropdown's entry is chosen by the mouse alone, without an event of a field.
    const DROPDOWN = ".wrap-inner";
    const ENTRIES = "ul.options li, [role='option']";
    const FORM = "#lora_train_setup, [id^='lora_train_group_']";

    let waiting = 0; // timer of the next draft
    let touched = false; // by a hand, since the project was opened
    let fillings = 0; // that were begun
    let filling = Promise.resolve(); // all of them, one after the other
    let presses = 0; // counted; the number is a press's name

    /** Fills the form by `work`. It takes nothing meanwhile: what is typed would be replaced by the answer. */
    function fillForm(work) {
        fillings += 1;
        holdForm();
        filling = filling.then(() => attempt(work)).finally(() => {
            fillings -= 1;
            holdForm();
        });
        return filling;
    }

    function holdForm() {
        for (const part of document.querySelectorAll(FORM)) part.inert = fillings > 0;
    }

    function openId() {
        return state.project ? state.project.id : "";
    }

    /** Presses a button of gradio's whose answer fills the form, and waits for it. */
    async function fillBy(button, id = openId()) {
        const name = String(presses += 1);
        if (!await type("lora_train_press", name)) return;
        const answered = () => box("lora_train_answered").value === name;
        // A press while gradio still works on the last one may come to nothing: then it is pressed again.
        for (let tries = 0; tries < FILL_TRIES && !answered() && openId() === id; tries++) {
            press(button);
            for (const until = Date.now() + FILL_WAIT; !answered() && Date.now() < until;) await pause(FILL_LOOK);
        }
    }

    /** Tells the form which project is open: it loads the draft, the name and the trigger word, and plans. */
    function openProject(project) {
        return project && fillForm(async () => {
            if (waiting) { // of the project that was open: what was typed last is its own
                saveDraft();
                await pause(DRAFT_LEAD);
            }
            if (openId() !== project.id) return; // yet another one was opened
            if (!await type("lora_train_project_id", project.id)) return;
            touched = false;
            await fillBy("lora_train_project_button", project.id);
        });
    }

    /** Pictures may have come since: looks at them again. What was changed in the form stays, be it right or wrong. */
    function lookAgain() {
        if (touched) saveDraft();
        else if (state.project && fillings === 0) fillForm(() => fillBy("lora_train_look_button"));
    }

    /** Whether a change of the project is one that was made in the form, which is ahead of it then. */
    function isFormsOwn({id, title, kind, trigger_word: word}) {
        const says = (name, pseudo = "") => {
            const field = document.querySelector(`#lora_train_${name} input${pseudo}, #lora_train_${name} textarea`);
            return field ? field.value.trim() : "";
        };
        if (fillings > 0 || says("opened") !== id) return false;
        return [...document.querySelectorAll(FORM)].some((part) => part.contains(document.activeElement))
            || says("name") === title && says("trigger") === word && says("kind", ":checked").toLowerCase() === kind;
    }

    function saveDraft() {
        window.clearTimeout(waiting);
        waiting = 0;
        press("lora_train_draft_button");
    }

    function saveDraftSoon() {
        touched = true;
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
    function applyDocument(name, words) {
        return fillForm(async () => {
            if (!await type("lora_train_document", JSON.stringify({name, text: words}))) return;
            await fillBy("lora_train_apply_button");
        });
    }

    function applySettings(settings) {
        openTab("train");
        return applyDocument("run.json", JSON.stringify(settings));
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
            if (project && !isFormsOwn(project)) openProject(project);
        });
        on("planned", () => openProject(state.project));
        const message = document.getElementById("lora_train_message");
        if (message) new MutationObserver(seekRefusal).observe(message, {subtree: true, childList: true});
        const form = document.getElementById("lora_train_tab_train");
        if (!form) return;
        onShown(form, lookAgain);
        for (const name of ["input", "change", "mousedown", "keydown"]) form.addEventListener(name, watchForm, true);
    });

    Object.assign(loraTrain, {applyDocument, applySettings, loadFile, saveFile, started});
})();
