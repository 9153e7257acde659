/**
 * The pictures of the tag editor as a column of small tiles, of which only those in sight are in the page. Chosen as
 * files in a file manager: a press shows one, Ctrl adds one, Shift all between; with the keyboard likewise.
 */
(() => {
    "use strict";

    const {on, url, make, write, text, TileBox, setImage} = loraTrain;
    const LEAST = 112; // px: width of a tile
    const WORDS = 20; // px below the picture: one line, as style.css has it

    class TagGallery extends TileBox {
        /** @param {TagModel} model @param {{open: function(): void}} calls `open`: on to the caption of the picture */
        constructor(model, calls) {
            super({get items() { return model.found ? model.found.pictures : []; },
                get total() { return this.items.length; }, load: () => Promise.resolve()}, {
                label: text("Pictures"), least: LEAST, below: WORDS, kind: "lora_train_tagging_gallery", multiple: true,
                make: makeTile, fill: (tile, id, place) => this.fill(tile, id, place), press: () => {},
            });
            this.model = model;
            this.calls = calls;
            this.nothing = make("div", {class: "lora_train_tagging_nothing", hidden: true});
            this.element.append(this.nothing);
            on("tags-found", () => this.drawSoon());
            on("tags-picture", () => this.drawSoon());
            on("tags-selection", () => this.follow());
        }

        /** The keyboard's mark is on the current picture, and that in sight. */
        follow() {
            const place = this.list.items.indexOf(this.model.current);
            if (place < 0) this.drawSoon();
            else if (place !== this.focused || this.shownCurrent !== this.model.current) this.focus(place);
            else this.drawSoon();
            this.shownCurrent = this.model.current;
        }

        fill(tile, id, place) {
            const {model} = this;
            const picture = model.picture(id);
            const [image, , words] = tile.children;
            tile.dataset.id = id;
            tile.setAttribute("aria-selected", model.selected.has(id));
            tile.classList.toggle("lora_train_current", id === model.current);
            tile.classList.toggle("lora_train_kept", id === model.kept);
            if (!picture) {
                image.removeAttribute("src");
                write(words, "");
                return;
            }
            const {limit} = model.overview ? model.overview.tokens : {limit: 0};
            const empty = picture.text.trim() === "";
            const long = limit > 0 && picture.tokens > limit;
            setImage(image, url(["projects", model.project, "pictures", id, "thumbnail"], {v: picture.stamp}));
            write(words, picture.name);
            tile.title = [
                picture.name, picture.problem ? picture.problem.sentence : "", empty ? text("no caption") : "",
                long ? text("longer than {limit} tokens", {limit}) : "",
                id === model.kept ? text("does not match the filter any more") : "",
            ].filter(Boolean).join(" · ");
            tile.setAttribute("aria-label", `${place + 1}. ${tile.title}`);
            tile.classList.toggle("lora_train_uncaptioned", empty);
            tile.classList.toggle("lora_train_too_long", long);
            tile.classList.toggle("lora_train_bad", picture.problem !== null);
        }

        click(event) {
            const tile = event.target.closest(".lora_train_tile");
            if (!tile) return;
            const marked = event.target.closest(".lora_train_tile_mark") !== null;
            this.model.choose(tile.dataset.id, {
                add: event.ctrlKey || event.metaKey || marked, range: event.shiftKey,
            });
        }

        key(event) {
            const {model, columns} = this;
            const moves = {
                ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -this.list.total,
                End: this.list.total,
            };
            if (event.altKey) return;
            const control = event.ctrlKey || event.metaKey;
            const keys = {
                " ": () => model.choose(model.current, {add: true}),
                Enter: () => this.calls.open(),
                Escape: () => model.chooseNone(),
            };
            if (event.key in moves) this.move(moves[event.key], event.shiftKey);
            else if (event.key === "a" && control) model.chooseAll();
            else if (event.key in keys && !control) keys[event.key]();
            else return;
            event.preventDefault();
            event.stopPropagation();
        }

        /** To another picture; with Shift everything on the way is chosen. */
        move(by, range) {
            const {items, total} = this.list;
            if (total === 0) return;
            const from = Math.max(0, items.indexOf(this.model.current));
            this.model.choose(items[Math.max(0, Math.min(total - 1, from + by))], {range});
        }
    }

    function makeTile(tile) {
        tile.append(
            make("img", {alt: "", loading: "lazy", decoding: "async", draggable: "false"}),
            make("span", {class: "lora_train_tile_mark", "aria-hidden": "true"}),
            make("span", {class: "lora_train_tile_caption", translate: "no"}));
    }

    Object.assign(loraTrain, {TagGallery});
})();
