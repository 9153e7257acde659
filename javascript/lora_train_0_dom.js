/**
 * Elements, made without markup: every text is a text node, whatever a caption or a file name holds.
 */
(() => {
    "use strict";

    const {text, attempt} = loraTrain;
    const SVG = "http://www.w3.org/2000/svg";
    const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "multiple", "tabIndex"]);
    const STILL_SURE = 4000; // ms in which the second press counts as "yes"

    let counter = 0;

    /** An id for an element that a label or a description names. */
    function newId() {
        counter += 1;
        return `lora_train_element_${counter}`;
    }

    /**
     * @param {string} tag
     * @param {Object} [given] attributes; `on` holds listeners, `data` holds data-attributes; null leaves one out
     * @param {...(Node|string|null)} children
     */
    function make(tag, given = {}, ...children) {
        const element = document.createElement(tag);
        for (const [name, value] of Object.entries(given)) {
            if (value === null || value === undefined) continue;
            if (name === "on") {
                for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
            } else if (name === "data") {
                Object.assign(element.dataset, value);
            } else if (PROPERTIES.has(name)) {
                element[name] = value;
            } else {
                element.setAttribute(name, value);
            }
        }
        element.append(...children.filter((child) => child !== null && child !== undefined));
        return element;
    }

    /** As `make`, for drawings. */
    function draw(tag, attributes = {}, ...children) {
        const element = document.createElementNS(SVG, tag);
        for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
        element.append(...children);
        return element;
    }

    /** Sets the text only where it changed, so that a selection in it stays. */
    function write(element, value) {
        if (element.textContent !== value) element.textContent = value;
    }

    /**
     * A button. While `run` works it does nothing more, but keeps the focus; what goes wrong is shown in the message
     * line.
     * @param {string} label already in the page's language
     * @param {{run?: Function, kind?: string, title?: string, name?: string}} options `name` is for tests and styles
     */
    function button(label, {run = null, kind = "secondary", title = null, name = null} = {}) {
        const element = make("button", {
            type: "button", class: `lora_train_button lora_train_${kind}`, title, "data-action": name,
        }, label);
        if (run !== null) {
            element.addEventListener("click", async (event) => {
                if (element.getAttribute("aria-busy") === "true") return;
                element.setAttribute("aria-busy", "true");
                await attempt(() => run(event));
                element.removeAttribute("aria-busy");
            });
        }
        return element;
    }

    /** Makes a button pressable or not; `reason` is what its tooltip says then. */
    function enable(element, on, reason = "") {
        element.disabled = !on;
        element.title = on ? "" : reason;
    }

    /** A button that asks once: the first press changes its words, the second within four seconds does it. */
    function sureButton(label, question, options) {
        let asked = false;
        let timer = 0;
        const settle = () => {
            asked = false;
            write(element, label);
        };
        const element = button(label, {...options, run: async (event) => {
            window.clearTimeout(timer);
            if (asked) {
                settle();
                await options.run(event);
                return;
            }
            asked = true;
            write(element, question);
            timer = window.setTimeout(settle, STILL_SURE);
        }});
        return element;
    }

    /** A button with a sign alone, at the side of a picture. */
    function turnButton(sign, name, label, run) {
        const element = button(sign, {kind: "turn", name, title: label, run});
        element.setAttribute("aria-label", label);
        return element;
    }

    /** A control under its label. */
    function field(label, control, hint = "") {
        control.id = control.id || newId();
        const note = hint ? make("span", {class: "lora_train_hint", id: newId()}, hint) : null;
        if (note) control.setAttribute("aria-describedby", note.id);
        return make("div", {class: "lora_train_field"}, make("label", {for: control.id}, label), control, note);
    }

    /** Says beside a control, in `problem`, what is wrong with it; "" when nothing is. */
    function blame(control, problem, words) {
        write(problem, words);
        problem.hidden = words === "";
        control.setAttribute("aria-invalid", words !== "");
        if (words) control.setAttribute("aria-errormessage", problem.id);
        else control.removeAttribute("aria-errormessage");
    }

    /**
     * A select.
     * @param {[string, string][]} options value and words
     */
    function select(options, value, given = {}) {
        const element = make("select", {class: "lora_train_input", ...given});
        fill(element, options, value);
        return element;
    }

    function fill(element, options, value) {
        element.replaceChildren(...options.map(([key, words]) => make("option", {value: key}, words)));
        element.value = value;
    }

    /** Choices beside each other, of which one holds; `change` is called with its value. */
    function choice(label, options, value, change) {
        const name = newId();
        const radios = options.map(([key, words]) => make("label", {class: "lora_train_choice"},
            make("input", {
                type: "radio", name, value: key, checked: key === value, on: {change: () => change(key)},
            }), make("span", {}, words)));
        return make("div", {class: "lora_train_field", role: "radiogroup", "aria-label": label},
            make("span", {class: "lora_train_label"}, label),
            make("div", {class: "lora_train_choices"}, ...radios));
    }

    /** A bar that fills; `set(part)` with 0..1, or null while nobody knows. */
    function bar(label) {
        const fillElement = make("div", {class: "lora_train_bar_fill"});
        const element = make("div", {
            class: "lora_train_bar", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100,
        }, fillElement);
        element.set = (part) => {
            const percent = part === null ? 0 : Math.round(Math.min(1, Math.max(0, part)) * 1000) / 10;
            element.classList.toggle("lora_train_unknown", part === null);
            fillElement.style.width = part === null ? "" : `${percent}%`;
            if (part === null) element.removeAttribute("aria-valuenow");
            else element.setAttribute("aria-valuenow", percent);
        };
        return element;
    }

    /** Words beside each other as facts: [[name, value]...]. */
    function facts(pairs) {
        return make("dl", {class: "lora_train_facts"}, ...pairs.map(([name, value]) =>
            make("div", {}, make("dt", {}, name), make("dd", {}, value))));
    }

    /** Something folded under a heading. */
    function folded(heading, ...children) {
        return make("details", {class: "lora_train_folded"}, make("summary", {}, heading), ...children);
    }

    /** Scrolls to the element where it is out of sight. */
    function seek(element) {
        const {top, bottom} = element.getBoundingClientRect();
        if (top < 0 || bottom > window.innerHeight) element.scrollIntoView({block: "center"});
    }

    function download(url, name = "") {
        const link = make("a", {href: url, download: name});
        document.body.append(link);
        link.click();
        link.remove();
    }

    /** An error's sentence and what to do, as one line of a list. */
    function problemLine(problem) {
        return make("li", {class: "lora_train_problem"}, make("span", {}, problem.sentence), " ",
            make("span", {class: "lora_train_hint"}, problem.remedy || ""));
    }

    /**
     * A window above the page: Esc and the close button close it, the keyboard stays inside, and the focus returns.
     * @param {string} label
     * @param {{kind?: string, closed?: ?function(): void, place?: Element, light?: boolean}} options `place`: what it
     *   hangs on, which has to be in sight; `light`: a press beside it closes it
     */
    function openDialog(label, {kind = "", closed = null, place = loraTrain.root(), light = true} = {}, ...children) {
        const before = document.activeElement;
        const close = button("×", {kind: "quiet", name: "close", title: text("Close")});
        close.setAttribute("aria-label", text("Close"));
        const dialog = make("dialog", {class: `lora_train_dialog lora_train_panel ${kind}`, "aria-label": label},
            make("header", {class: "lora_train_dialog_head"}, make("strong", {}, label), close), ...children);
        close.addEventListener("click", () => dialog.close());
        dialog.addEventListener("click", (event) => {
            if (light && event.target === dialog) dialog.close();
        });
        // The page behind has keys of its own (the WebUI's Ctrl+Enter and arrows); they are not meant here.
        dialog.addEventListener("keydown", (event) => event.stopPropagation());
        // Nor where the keyboard is nowhere, as after a press on a button that is disabled then.
        const nowhere = (event) => { if (event.target === document.body) event.stopPropagation(); };
        window.addEventListener("keydown", nowhere, true);
        dialog.addEventListener("close", () => {
            window.removeEventListener("keydown", nowhere, true);
            dialog.remove();
            if (closed) closed();
            // This comes a moment after the window has gone: who is elsewhere by now stays there.
            const lost = document.activeElement === null || document.activeElement === document.body;
            if (lost && before && before.isConnected) before.focus({preventScroll: true});
        });
        place.append(dialog);
        dialog.showModal();
        return dialog;
    }

    Object.assign(loraTrain, {
        newId, make, draw, write, button, enable, sureButton, turnButton, field, blame, select, fill, choice, bar,
        facts, folded, seek, download, problemLine, openDialog,
    });
})();
