/**
 * The frames over a picture: one for each crop, the active one with handles and everything outside darkened; and the
 * list of crops beside it.
 */
(() => {
    "use strict";

    const {
        text, number, make, write, button, sourceUrl, setImage, moveBox, resizeBox, placeBox, enlargement,
    } = loraTrain;
    const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
    const THUMB = 64; // px: the longer side of a crop in the list

    /** "512 × 768, enlarged 1.4 ×": what is written of a crop, and whether it is more than there is. */
    function sizeWords(crop) {
        const size = `${number(crop.width)} × ${number(crop.height)}`;
        const scale = enlargement(crop);
        return scale > 1.005 ? `${size} · ${text("enlarged {scale} ×", {scale: number(scale, scale < 1.05 ? 2 : 1)})}`
            : size;
    }

    class CropFrames {
        /** @param {CropEditor} editor */
        constructor(editor) {
            this.editor = editor;
            this.faces = make("div", {"aria-hidden": "true"});
            this.holder = make("div", {});
            this.hole = make("div", {class: "lora_train_crop_hole"}); // around it the picture is dark
            this.element = make("div", {class: "lora_train_frames"},
                make("div", {class: "lora_train_crop_shade", "aria-hidden": "true"}, this.hole), this.faces,
                this.holder);
            /** @type {?{pointer: number, handle: string, x: number, y: number, crop: Crop}} what is pulled */
            this.pull = null;
            this.element.addEventListener("pointerdown", (event) => this.down(event));
            this.element.addEventListener("pointermove", (event) => this.move(event));
            this.element.addEventListener("pointerup", (event) => this.up(event));
            this.element.addEventListener("pointercancel", () => this.cancel());
            this.element.addEventListener("keydown", (event) => {
                if (!event.target.closest(".lora_train_frame") || !this.editor.key(event)) return;
                event.preventDefault();
                event.stopPropagation();
            });
            this.element.addEventListener("focusin", (event) => {
                const frame = event.target.closest(".lora_train_frame");
                if (frame) this.editor.choose(Number(frame.dataset.place));
            });
        }

        /** The frames stay the same elements, so that the keyboard and a pull do not lose them. */
        draw() {
            const {source, crops, active} = this.editor;
            while (this.holder.children.length > crops.length) this.holder.lastChild.remove();
            while (this.holder.children.length < crops.length) this.holder.append(this.newFrame());
            crops.forEach((crop, place) => this.drawFrame(this.holder.children[place], crop, place));
            this.hole.hidden = crops.length === 0;
            if (crops[active]) placeBox(this.hole, crops[active], source);
            const faces = JSON.stringify([source.id, source.faces]);
            if (this.shownFaces === faces) return;
            this.shownFaces = faces;
            this.faces.replaceChildren(...source.faces.map(([left, top, right, bottom]) => {
                const mark = make("div", {class: "lora_train_face"});
                placeBox(mark, {left, top, right, bottom}, source);
                return mark;
            }));
        }

        newFrame() {
            return make("div", {class: "lora_train_frame", role: "group", tabIndex: 0},
                make("span", {class: "lora_train_frame_size"}),
                ...HANDLES.map((handle) => make("span", {
                    class: `lora_train_handle lora_train_handle_${handle}`, data: {handle},
                })));
        }

        drawFrame(frame, crop, place) {
            const {source, crops, active} = this.editor;
            placeBox(frame, crop, source);
            frame.dataset.place = place;
            frame.classList.toggle("lora_train_active", place === active);
            frame.classList.toggle("lora_train_enlarged", enlargement(crop) > 1.005);
            frame.classList.toggle("lora_train_mirrored", crop.mirror);
            const size = sizeWords(crop);
            write(frame.firstChild, crop.mirror ? `${size} · ${text("mirrored")}` : size);
            frame.setAttribute("aria-label", text("Crop {place} of {count}: {size}, from {left}, {top}", {
                place: number(place + 1), count: number(crops.length), size: frame.firstChild.textContent,
                left: number(crop.left), top: number(crop.top),
            }));
        }

        focus() {
            const frame = this.holder.children[this.editor.active];
            if (frame) frame.focus({preventScroll: true});
        }

        down(event) {
            const frame = event.target.closest(".lora_train_frame");
            if (!frame || event.button !== 0) return;
            event.preventDefault();
            this.editor.choose(Number(frame.dataset.place));
            frame.focus({preventScroll: true});
            this.element.setPointerCapture(event.pointerId);
            this.pull = {
                pointer: event.pointerId, handle: event.target.dataset.handle || "", x: event.clientX, y: event.clientY,
                crop: this.editor.crop, moved: false,
            };
        }

        move(event) {
            const {pull, editor} = this;
            if (!pull || event.pointerId !== pull.pointer) return;
            const [dx, dy] = [(event.clientX - pull.x) / editor.scale, (event.clientY - pull.y) / editor.scale];
            if (dx === 0 && dy === 0 && !pull.moved) return;
            pull.moved = true;
            const box = pull.handle ? resizeBox(pull.crop, pull.handle, dx, dy, this.aspectOf(pull.crop), editor.source)
                : moveBox(pull.crop, dx, dy, editor.source);
            editor.setCrop(loraTrain.withBox(pull.crop, box, editor.free.checked), "later");
        }

        aspectOf(crop) {
            return this.editor.free.checked ? null : (crop.right - crop.left) / (crop.bottom - crop.top);
        }

        up(event) {
            const {pull} = this;
            if (!pull || event.pointerId !== pull.pointer) return;
            this.pull = null;
            if (pull.moved) this.editor.changed("now");
            else if (!pull.handle) this.chooseBelow(event);
        }

        /** A press without a pull means the smallest frame there: the active one may lie over it. */
        chooseBelow(event) {
            const {left, top} = this.element.getBoundingClientRect();
            const {scale, crops} = this.editor;
            const [x, y] = [(event.clientX - left) / scale, (event.clientY - top) / scale];
            const area = (crop) => (crop.right - crop.left) * (crop.bottom - crop.top);
            const holds = (crop) => crop.left <= x && x <= crop.right && crop.top <= y && y <= crop.bottom;
            const there = crops.filter(holds);
            if (there.length === 0) return;
            this.editor.choose(crops.indexOf(there.reduce((least, one) => (area(one) < area(least) ? one : least))));
            this.focus();
        }

        /** Ends a pull as if it had not been. @returns whether there was one */
        cancel() {
            const {pull} = this;
            this.pull = null;
            if (!pull) return false;
            if (pull.moved) this.editor.setCrop(pull.crop, "soon");
            return true;
        }
    }

    /** A crop in the list: how it looks, its size, by whom, and the way to take it away. */
    function cropLine(editor, crop, place) {
        const {source} = editor;
        const scale = THUMB / Math.max(crop.right - crop.left, crop.bottom - crop.top);
        const image = make("img", {alt: "", draggable: "false"});
        setImage(image, sourceUrl(source, "view"));
        image.style.width = `${source.width * scale}px`;
        image.style.height = `${source.height * scale}px`;
        image.style.transform = `translate(${-crop.left * scale}px, ${-crop.top * scale}px)`;
        const window = make("span", {class: `lora_train_crop_look ${crop.mirror ? "lora_train_mirrored" : ""}`}, image);
        window.style.width = `${(crop.right - crop.left) * scale}px`;
        window.style.height = `${(crop.bottom - crop.top) * scale}px`;
        const press = make("button", {
            type: "button", class: "lora_train_crop_press", "aria-pressed": place === editor.active,
            data: {crop: place}, on: {click: () => {
                editor.choose(place);
                editor.frames.focus();
            }},
        }, make("span", {class: "lora_train_crop_room"}, window),
        make("span", {class: "lora_train_crop_words"}, make("span", {}, sizeWords(crop)),
            make("span", {class: "lora_train_hint"}, crop.by === "user" ? text("by hand") : crop.label)));
        const remove = button("×", {kind: "quiet", name: "remove-crop", title: text("Take this crop away"),
            run: () => editor.remove(place)});
        remove.setAttribute("aria-label", text("Take this crop away"));
        remove.hidden = editor.crops.length < 2;
        const notes = crop.notes.map((words) => make("p", {class: "lora_train_hint"}, words));
        return make("li", {class: enlargement(crop) > 1.005 ? "lora_train_enlarged" : null}, press, remove, ...notes);
    }

    Object.assign(loraTrain, {CropFrames, cropLine, sizeWords});
})();
