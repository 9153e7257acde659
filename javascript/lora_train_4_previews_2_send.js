/**
 * A cell in the WebUI's txt2img: its text goes into the prompt, and the WebUI's own button reads it out into the
 * fields. The name in it is one that the LoRA folder has.
 */
(() => {
    "use strict";

    const {state, api, text, pause, make, say} = loraTrain;
    const FIELD = "#txt2img_prompt textarea";
    const SEED = "#txt2img_seed input";
    // Both tabs have one by this name; it reads parameters out of the prompt beside it.
    const PRESS = "#tab_txt2img #paste, #txt2img_tools #paste, #txt2img_toprow #paste";
    const TAKEN = 300; // ms in which gradio hands a text on
    const AGAIN = 8000; // ms after which it is told again: a busy gradio loses what it is told
    const LONGEST = 40000; // ms in which the WebUI has read it, however busy it is
    const MISREAD = 2; // times that it may have read something else, which stood there before

    function refusal(sentence, remedy = "") {
        return Object.assign(new Error(sentence), {sentence, remedy});
    }

    /** Whether this page has a txt2img, as the WebUI's does. */
    function canSend() {
        return document.querySelector(FIELD) !== null;
    }

    /** Puts words into the prompt as if they had been typed. */
    function type(field, words) {
        field.value = words;
        field.dispatchEvent(new Event("input", {bubbles: true}));
    }

    /** Whether the WebUI has read the text: what it leaves is where the text begins, and the seed is in its field. */
    function isRead(field, words, seed) {
        const place = document.querySelector(SEED);
        return words.startsWith(field.value.trim().slice(0, 40)) && (!place || Number(place.value) === seed);
    }

    /** Has the WebUI read a text; true when it did, false when the text is left in the prompt. */
    async function paste(words, seed) {
        const field = document.querySelector(FIELD);
        const until = Date.now() + LONGEST;
        let misread = 0;
        while (Date.now() < until && misread < MISREAD) {
            type(field, words);
            await pause(TAKEN * (misread + 1));
            const press = document.querySelector(PRESS);
            if (!press) return false;
            press.click();
            const again = Date.now() + AGAIN;
            while (field.value === words && Date.now() < again) await pause(50);
            await pause(50); // the other fields are filled in the same moment
            if (field.value === words) continue;
            if (isRead(field, words, seed)) return true;
            misread += 1;
        }
        return false;
    }

    /** Opens the WebUI's txt2img. A window of ours that is open would keep the keyboard. */
    function showTxt2img() {
        for (const dialog of document.querySelectorAll("dialog.lora_train_dialog[open]")) dialog.close();
        const own = window.switch_to_txt2img;
        const press = document.querySelector("#tabs > .tab-nav > button, #tabs button");
        if (typeof own === "function") own();
        else if (press) press.click();
    }

    /** What is wrong with the place to which it would go, or with the file. */
    function check(told) {
        if (!canSend()) {
            throw refusal(text("There is no txt2img in this page."),
                text("Open the WebUI with this tab in it, or copy the prompt."));
        }
        if (told.paste) return;
        throw refusal(text("The file “{name}” is not in the LoRA folder under a name that a prompt can hold.",
            {name: told.lora}), text("Press “Use this” first: then it is there under a name of your choice."));
    }

    /** The checkpoint that is on now may be another one; the WebUI does not change it by itself. */
    function sayCheckpoint(told) {
        const current = state.checkpoints.find((one) => one.current);
        if (!current || current.name === told.checkpoint) return;
        say({key: "sent-checkpoint", sentence: text(
            "The cell was drawn with the checkpoint “{name}”; choose it above to get the same picture.",
            {name: told.checkpoint})});
    }

    /**
     * Fills txt2img with what draws a cell again, and goes there.
     * @param {PreviewModel} model
     * @param {PreviewCell} cell
     * @param {string} [grid] its id, where it may not be the one that is shown
     */
    async function sendCell(model, cell, grid = model.grid.id) {
        const told = await api.get(model.root(grid, "cells", cell.key, "text"));
        check(told);
        const done = await paste(told.paste, told.seed);
        showTxt2img();
        sayCheckpoint(told);
        if (done) return;
        say({kind: "error", sentence: text("The WebUI has not read the text that stands in its prompt now."),
            remedy: text("Press the button with the arrow ↙ there.")});
    }

    /** Copies words; where the browser keeps scripts from it, as on a page without https, by hand of an old way. */
    async function copyWords(words) {
        if (window.isSecureContext && navigator.clipboard) {
            try {
                await navigator.clipboard.writeText(words);
                return true;
            } catch {
                // Not allowed here; the old way may be.
            }
        }
        const place = document.querySelector("dialog[open]") || document.body;
        const before = document.activeElement;
        const field = make("textarea", {class: "lora_train_previews_copied", value: words, "aria-hidden": true});
        place.append(field);
        field.select();
        const done = document.execCommand("copy");
        field.remove();
        if (before && before.isConnected) before.focus({preventScroll: true});
        return done;
    }

    /** Copies the "prompt" of a cell, or its whole "infotext", and says so. */
    async function copyCell(model, cell, what = "prompt", grid = model.grid.id) {
        const told = await api.get(model.root(grid, "cells", cell.key, "text"));
        await copyAndSay(what === "prompt" ? promptOf(told) : told.paste || told.infotext);
    }

    /** The prompt with the name under which the file can be used, where it is another than the checkpoint's own. */
    function promptOf(told) {
        return told.usable ? told.prompt.replace(`<lora:${told.lora}:`, `<lora:${told.usable}:`) : told.prompt;
    }

    async function copyAndSay(words) {
        if (!await copyWords(words)) {
            throw refusal(text("The browser does not let this page copy."), text("Select the text, and press Ctrl+C."));
        }
        say({sentence: text("Copied."), key: "copied"});
    }

    Object.assign(loraTrain, {canSend, sendCell, copyCell, copyAndSay});
})();
