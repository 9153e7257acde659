/**
 * Backgrounds: each picture before and after, and the brush for those that need a hand.
 */
(() => {
    "use strict";

    const {
        attempt, text, make, write, openSheet, sourceUrl, previewUrl, matteUrl, SourcePages, TileBox, setImage,
    } = loraTrain;
    const SMALL = 320; // px: of what tiles show

    function matteWords(source) {
        if (source.problem) return source.problem.sentence;
        return {
            none: text("not cut out"), model: text("cut out"), hand: text("mask by hand"),
        }[source.matte.state];
    }

    class MatteSheet {
        /**
         * @param {Preparation} preparation
         * @param {BrushEditor} brush
         */
        constructor(preparation, brush) {
            this.preparation = preparation;
            this.brush = brush;
        }

        async open() {
            const pages = new SourcePages();
            await pages.load(0);
            const {background} = this.preparation.overview.settings.matte;
            const hint = {
                none: text("The background setting is to leave it: masks are kept, and pictures stay as they are."),
                mask: text("Pictures stay as they are; the mask says where is learned. Press one to repair its mask."),
            }[background] || text("Before and after. Press a picture to repair its mask with the brush.");
            const box = new TileBox(pages, {
                label: text("Pictures with their backgrounds"), least: 300, ratio: 0.5, below: 22,
                kind: "lora_train_sources",
                make: (tile) => tile.append(
                    make("div", {class: "lora_train_pair"}, make("img", {alt: "", loading: "lazy", draggable: "false"}),
                        make("img", {alt: "", loading: "lazy", draggable: "false"})),
                    make("span", {class: "lora_train_tile_caption"})),
                fill: (tile, source) => this.fill(tile, source, background),
                press: (place) => attempt(() => this.brush.open(pages, place, (last) => {
                    box.focus(last);
                    box.element.focus({preventScroll: true});
                })),
            });
            openSheet(text("Backgrounds"), {kind: "lora_train_tall"}, make("p", {class: "lora_train_hint"}, hint),
                box.element);
            box.drawSoon();
            box.element.focus();
        }

        fill(tile, source, background) {
            const [before, after] = tile.firstChild.children;
            setImage(before, sourceUrl(source, "thumbnail"));
            after.classList.toggle("lora_train_checkers", background === "transparent");
            const made = source.matte.state !== "none";
            after.hidden = !made || source.problem !== null;
            if (!after.hidden) {
                setImage(after, ["none", "mask"].includes(background) ? matteUrl(source, SMALL)
                    : previewUrl(source, 0, SMALL));
            }
            const words = matteWords(source);
            write(tile.lastChild, words);
            tile.title = source.name;
            tile.setAttribute("aria-label", `${source.name}: ${words}`);
            tile.classList.toggle("lora_train_bad", source.problem !== null);
        }
    }

    Object.assign(loraTrain, {MatteSheet});
})();
