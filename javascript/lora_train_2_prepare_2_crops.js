/**
 * All originals with their crops drawn over them, and what the buckets will hold.
 */
(() => {
    "use strict";

    const {
        api, attempt, text, plural, number, make, write, button, openSheet, openTab, sourceUrl, SourcePages, TileBox,
        listOf, makePicture, fitPicture, setImage, placeBox, sizeWords, enlargement,
    } = loraTrain;
    const SHAPE = 96; // px: the longer side of the largest bucket's drawing
    const FEW = 10; // pictures of a bucket that are shown at first

    /** Draws the crops of an original over its picture in a tile. */
    function drawCrops(fitted, source) {
        const marks = fitted.querySelectorAll(".lora_train_crop_mark");
        source.crops.forEach((crop, place) => {
            const mark = marks[place] || fitted.appendChild(make("div", {class: "lora_train_crop_mark"}));
            mark.classList.toggle("lora_train_enlarged", enlargement(crop) > 1.005);
            mark.classList.toggle("lora_train_only", source.crops.length === 1);
            placeBox(mark, crop, source);
        });
        [...marks].slice(source.crops.length).forEach((mark) => mark.remove());
    }

    function cropsWords(source) {
        if (source.problem) return source.problem.sentence;
        const said = source.crops.length === 1 ? [sizeWords(source.crops[0])]
            : [plural(source.crops.length, "{count} crop", "{count} crops")];
        if (source.by_hand) said.push(text("by hand"));
        return said.join(" · ");
    }

    class CropSheet {
        /**
         * @param {Preparation} preparation
         * @param {CropEditor} editor
         */
        constructor(preparation, editor) {
            this.preparation = preparation;
            this.editor = editor;
        }

        async open() {
            const pages = new SourcePages();
            await pages.load(0);
            const hint = make("p", {class: "lora_train_hint"},
                text("Press a picture to move its frame. Only what is inside is trained on."));
            const box = new TileBox(pages, {
                label: text("Pictures with their crops"), least: 180, below: 22, kind: "lora_train_sources",
                make: makePicture, fill: (tile, source, place, side) => {
                    const fitted = fitPicture(tile, source, side, sourceUrl(source, "thumbnail"));
                    drawCrops(fitted, source);
                    write(tile.lastChild, cropsWords(source));
                    tile.title = source.name;
                    tile.setAttribute("aria-label", `${source.name}: ${cropsWords(source)}`);
                    tile.classList.toggle("lora_train_bad", source.problem !== null);
                },
                press: (place) => attempt(() => this.editor.open(pages, place, (last) => {
                    box.focus(last);
                    box.element.focus({preventScroll: true});
                })),
            });
            openSheet(text("Crops"), {kind: "lora_train_tall"}, hint, box.element);
            box.drawSoon();
            box.element.focus();
        }
    }

    /** One bucket: its shape beside the others', how many pictures, what is lost, and the pictures. */
    function bucketView(bucket, scale, editor) {
        const {width, height, pictures, lost, enlarged} = bucket;
        const shape = make("div", {class: "lora_train_bucket_shape"});
        shape.style.width = `${width * scale}px`;
        shape.style.height = `${height * scale}px`;
        const box = new TileBox(listOf(pictures.slice(0, FEW)), {
            label: `${width} × ${height}`, least: 76, below: 0, kind: "lora_train_strip_grid",
            make: (tile) => tile.append(
                make("img", {alt: "", loading: "lazy", decoding: "async", draggable: "false"})),
            fill: (tile, picture) => {
                setImage(tile.firstChild, sourceUrl(picture, "thumbnail"));
                tile.title = picture.name;
                tile.setAttribute("aria-label", picture.name);
            },
            press: (place) => attempt(() => editor.openSource(pictures[place].source)),
        });
        const more = button(text("Show all {count}", {count: number(pictures.length)}), {
            kind: "quiet", name: "show-all", run: () => {
                box.list = listOf(pictures);
                box.element.classList.add("lora_train_all");
                box.drawSoon();
                more.remove();
            },
        });
        more.hidden = pictures.length <= FEW;
        const percent = number(lost * 100, lost < 0.1 ? 1 : 0);
        return {box, element: make("li", {class: "lora_train_bucket", data: {bucket: `${width}x${height}`}},
            make("div", {class: "lora_train_bucket_room"}, shape),
            make("div", {class: "lora_train_bucket_words"},
                make("strong", {}, `${number(width)} × ${number(height)}`),
                make("span", {}, plural(pictures.length, "{count} picture", "{count} pictures")),
                make("span", {class: "lora_train_hint"}, lost > 0.0005
                    ? text("{percent} % is cut off", {percent}) : text("nothing is cut off")),
                enlarged ? make("span", {class: "lora_train_hint lora_train_enlarged"},
                    text("{count} enlarged", {count: number(enlarged)})) : null),
            make("div", {class: "lora_train_bucket_pictures"}, box.element, more))};
    }

    class BucketSheet {
        /**
         * @param {Preparation} preparation
         * @param {CropEditor} editor
         */
        constructor(preparation, editor) {
            this.preparation = preparation;
            this.editor = editor;
        }

        async open() {
            const checkpoint = loraTrain.dataset.trainNow.checkpoint.value;
            const {resolution, buckets} = await api.get([...this.preparation.path, "buckets"], {checkpoint});
            const longest = Math.max(1, ...buckets.flatMap((one) => [one.width, one.height]));
            const views = buckets.map((one) => bucketView(one, SHAPE / longest, this.editor));
            const pictures = buckets.reduce((sum, one) => sum + one.pictures.length, 0);
            const size = resolution.map((side) => number(side)).join(" × ");
            const dialog = openSheet(text("Buckets"), {},
                make("p", {}, text("Trained at {size}, the {pictures} fall into {buckets}:", {
                    size, pictures: plural(pictures, "{count} picture", "{count} pictures"),
                    buckets: plural(buckets.length, "{count} shape", "{count} shapes"),
                })),
                make("p", {class: "lora_train_hint"},
                    text("Pictures of one shape are trained together; few shapes with several pictures are best.")),
                make("ul", {class: "lora_train_buckets"}, ...views.map((view) => view.element)),
                make("div", {class: "lora_train_row"}, button(text("Change the training size"), {
                    kind: "quiet", name: "to-train", run: () => {
                        dialog.close();
                        openTab("train");
                    },
                })));
            for (const view of views) view.box.drawSoon();
        }
    }

    Object.assign(loraTrain, {CropSheet, BucketSheet});
})();
