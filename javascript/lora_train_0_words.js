/**
 * The words that gradio draws (labels, helps, tabs, buttons) in the page's language. The English text is the key.
 * What this page draws itself comes translated, and what people wrote is left alone.
 */
(() => {
    "use strict";

    const {state, onStart, root} = loraTrain;
    const ATTRIBUTES = ["placeholder", "title", "aria-label"];
    const OURS = ".lora_train_panel, [translate='no'], textarea, script, style";

    /** The translation of `words`, keeping the space around them; null where there is none. */
    function translation(words) {
        const key = words.trim();
        if (!key || !Object.hasOwn(state.session.texts, key)) return null;
        return words.replace(key, () => state.session.texts[key]);
    }

    function translateText(node) {
        const words = translation(node.data);
        if (words !== null && words !== node.data) node.data = words;
    }

    function translateAttributes(element) {
        for (const name of ATTRIBUTES) {
            const words = translation(element.getAttribute(name) || "");
            if (words !== null && words !== element.getAttribute(name)) element.setAttribute(name, words);
        }
    }

    /** Everything below `top` that is gradio's. */
    function translateTree(top) {
        const above = top.parentElement;
        if (above && above.closest(OURS)) return;
        if (top.nodeType === Node.TEXT_NODE) {
            translateText(top);
            return;
        }
        if (top.nodeType !== Node.ELEMENT_NODE) return;
        const walker = document.createTreeWalker(top, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) => {
            if (node.nodeType === Node.TEXT_NODE) return NodeFilter.FILTER_ACCEPT;
            if (!node.matches(OURS)) return NodeFilter.FILTER_ACCEPT;
            if (node.matches("textarea")) translateAttributes(node);
            return NodeFilter.FILTER_REJECT;
        });
        for (let node = top.matches(OURS) ? null : walker.currentNode; node; node = walker.nextNode()) {
            if (node.nodeType === Node.TEXT_NODE) translateText(node);
            else translateAttributes(node);
        }
    }

    function watch(changes) {
        for (const change of changes) {
            if (change.type === "childList") change.addedNodes.forEach(translateTree);
            else if (change.type === "characterData") translateTree(change.target);
            else if (!change.target.closest(".lora_train_panel")) translateAttributes(change.target);
        }
    }

    onStart(() => {
        if (Object.keys(state.session.texts).length === 0) return;
        translateTree(root());
        new MutationObserver(watch).observe(root(), {
            subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ATTRIBUTES,
        });
    });
})();
