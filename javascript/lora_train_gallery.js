/**
 * The WebUI around the tab: the pictures that its galleries show, and its own row of tabs.
 */
(() => {
    "use strict";

    const {attempt, memory, text} = loraTrain;
    const TAB = "tab_lora_train";

    /** How many pictures of a gallery are grids of the others; they come first. */
    function countGrids(information) {
        try {
            const first = JSON.parse(information).index_of_first_image;
            return Number.isInteger(first) && first > 0 ? first : 0;
        } catch {
            return 0; // a gallery that tells nothing about its pictures has none
        }
    }

    /** The file's name at the end of an address such as file=/folder/00001-1.png?1700000000.5 */
    function nameOf(url, place) {
        const path = url.startsWith("data:") ? "" : url.split(/[?#]/)[0];
        const encoded = path.slice(path.lastIndexOf("/") + 1);
        try {
            return decodeURIComponent(encoded) || `picture-${place + 1}.png`;
        } catch {
            return encoded;
        }
    }

    /**
     * The pictures of a gallery, without its grids; gradio shows them large with small ones below, or all small.
     * @param {string} information what the WebUI knows about them, as JSON
     */
    function picturesOf(gallery, information) {
        const frame = document.getElementById(gallery);
        const small = frame ? [...frame.querySelectorAll(".thumbnail-item.thumbnail-small")] : [];
        const shown = small.length || !frame ? small : [...frame.querySelectorAll(".thumbnail-item")];
        const found = shown.map((element, place) => ({element, place, image: element.querySelector("img")}))
            .filter(({image}) => image && image.src);
        const grids = countGrids(information);
        return found.slice(grids < found.length ? grids : 0).map(({element, place, image}) => ({
            url: image.src, name: nameOf(image.src, place), selected: element.classList.contains("selected"),
        }));
    }

    /** @returns {Promise<Blob>} */
    async function loadPicture(url, name) {
        let response;
        try {
            response = await fetch(url, {credentials: "same-origin"});
        } catch {
            response = {ok: false};
        }
        if (response.ok) return response.blob();
        const sentence = text("“{name}” cannot be read; it may have been deleted.", {name});
        throw Object.assign(new Error(sentence), {sentence, remedy: ""});
    }

    /** Opens the LoRA Train tab on a project. */
    async function showProject(id) {
        memory.write("project", id);
        const page = document.getElementById(TAB);
        if (page) {
            const pages = [...page.parentElement.children].filter((child) => child.classList.contains("tabitem"));
            const presses = page.parentElement.querySelectorAll(":scope > .tab-nav > button");
            const press = document.getElementById(`${TAB}-button`) || presses[pages.indexOf(page)];
            if (press) press.click();
        }
        if (!loraTrain.header) return; // it starts now, and opens the project that is remembered
        await attempt(() => loraTrain.loadProjects(id));
        loraTrain.openTab("dataset");
    }

    Object.assign(loraTrain, {picturesOf, loadPicture, showProject});
})();
