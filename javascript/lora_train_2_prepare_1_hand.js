/**
 * Mouse, pen and keys of the brush, and how picture and mask are drawn together.
 */
(() => {
    "use strict";

    const {attempt} = loraTrain;
    const GROWTH = 1.2; // of the brush, for a key
    const AWAY = "#e11d48"; // what is not the subject, where it is marked

    class BrushHand {
        /** @param {BrushEditor} editor */
        constructor(editor) {
            this.editor = editor;
            this.spot = null; // where the brush is, in px of the stage
            this.doing = ""; // paint or pan
            const {canvas} = editor;
            canvas.addEventListener("pointerdown", (event) => this.down(event));
            canvas.addEventListener("pointermove", (event) => this.move(event));
            canvas.addEventListener("pointerup", () => this.end());
            canvas.addEventListener("pointercancel", () => this.end());
            canvas.addEventListener("pointerleave", () => {
                if (!this.doing) this.setSpot(null);
            });
            canvas.addEventListener("wheel", (event) => {
                event.preventDefault();
                editor.wheel(event, event.offsetX, event.offsetY);
            }, {passive: false});
        }

        get brush() {
            const {add, size, soft, zoom, least} = this.editor;
            // The size is that on the screen when the whole picture is seen, and is the mask's own from there.
            return {add, size: size.value / least, soft: soft.value / 100, zoom};
        }

        /** A place of the stage, in px of the mask. */
        toMask({x, y}) {
            const {x: left, y: top, zoom} = this.editor;
            return [(x - left) / zoom, (y - top) / zoom];
        }

        down(event) {
            const {editor} = this;
            if (![0, 1].includes(event.button)) return;
            event.preventDefault();
            editor.canvas.focus({preventScroll: true});
            editor.canvas.setPointerCapture(event.pointerId);
            this.setSpot({x: event.offsetX, y: event.offsetY});
            this.doing = event.button === 1 || event.altKey ? "pan" : "paint";
            if (this.doing === "paint") {
                editor.mask.begin(this.brush, ...this.toMask(this.spot));
                editor.draw();
            }
        }

        move(event) {
            const {editor, spot} = this;
            const moves = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
            this.setSpot({x: event.offsetX, y: event.offsetY});
            if (this.doing === "pan") editor.pan(this.spot.x - spot.x, this.spot.y - spot.y);
            if (this.doing !== "paint") return;
            const {left, top} = editor.canvas.getBoundingClientRect();
            for (const one of moves.length ? moves : [event]) {
                editor.mask.to(...this.toMask({x: one.clientX - left, y: one.clientY - top}));
            }
            editor.draw();
        }

        end() {
            const painted = this.doing === "paint";
            this.doing = "";
            if (!painted) return;
            this.editor.mask.end();
            this.editor.changed();
        }

        setSpot(spot) {
            this.spot = spot;
            this.showRing();
        }

        /** The brush's outline, where it is. */
        showRing() {
            const {ring, zoom} = this.editor;
            ring.hidden = this.spot === null;
            if (!this.spot || !this.editor.source) return;
            const size = this.brush.size * zoom;
            ring.style.width = ring.style.height = `${size}px`;
            ring.style.transform = `translate(${this.spot.x - size / 2}px, ${this.spot.y - size / 2}px)`;
        }

        /** A key anywhere in the window, but not one that a slider or a choice means. */
        key(event) {
            const {editor} = this;
            const field = event.target.closest("input, select, textarea");
            const letter = event.key.toLowerCase();
            const turn = {pageup: -1, pagedown: 1}[letter];
            if (turn !== undefined) attempt(() => editor.go(turn));
            else if ((event.ctrlKey || event.metaKey) && letter === "z") editor.turn(event.shiftKey ? "redo" : "undo");
            else if ((event.ctrlKey || event.metaKey) && letter === "y") editor.turn("redo");
            else if (event.ctrlKey || event.metaKey || event.altKey) return;
            else if (letter === "[" || letter === "]") this.grow(letter === "]" ? GROWTH : 1 / GROWTH);
            else if (letter === "x") this.turnOver();
            else if (letter === "i") editor.invert();
            else if (letter === "+" || letter === "=") editor.zoomBy(1.25);
            else if (letter === "-") editor.zoomBy(0.8);
            else if (field || event.target !== editor.canvas || !this.spotKey(event)) return;
            event.preventDefault();
        }

        grow(factor) {
            const {size} = this.editor;
            const grown = size.value * factor;
            size.value = Math.round(factor > 1 ? Math.max(size.value + 1, grown) : grown);
            this.showRing();
        }

        turnOver() {
            this.editor.modes.querySelector("input:not(:checked)").click();
        }

        /** The brush by arrows and Space, for who has no mouse. */
        spotKey(event) {
            const {editor} = this;
            const way = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
            const {clientWidth: room, clientHeight: deep} = editor.stage;
            if (!way && event.key !== " ") return false;
            const spot = this.spot || {x: room / 2, y: deep / 2};
            if (way) {
                const step = event.shiftKey ? 1 : Math.max(2, this.brush.size * editor.zoom / 3);
                const within = (value, most) => Math.min(Math.max(value, 0), most);
                this.setSpot({x: within(spot.x + way[0] * step, room), y: within(spot.y + way[1] * step, deep)});
                return true;
            }
            this.setSpot(spot);
            editor.mask.begin(this.brush, ...this.toMask(spot));
            editor.mask.end();
            editor.changed();
            return true;
        }
    }

    /** Draws picture and mask of a `BrushEditor` as its view wants them. */
    function drawMasked({canvas, mask, picture, view, zoom, x, y}) {
        const context = canvas.getContext("2d");
        const sharp = window.devicePixelRatio || 1;
        const {width, height} = mask.canvas;
        context.setTransform(1, 0, 0, 1, 0, 0);
        context.globalCompositeOperation = "source-over";
        context.clearRect(0, 0, canvas.width, canvas.height);
        context.setTransform(zoom * sharp, 0, 0, zoom * sharp, x * sharp, y * sharp);
        const paint = (what, how) => {
            context.globalCompositeOperation = how;
            context.drawImage(what, 0, 0, width, height);
        };
        const colour = (value, how) => {
            context.globalCompositeOperation = how;
            context.fillStyle = value;
            context.fillRect(0, 0, width, height);
        };
        if (view === "before") {
            paint(picture, "source-over");
        } else if (view === "result") {
            paint(mask.canvas, "source-over");
            paint(picture, "source-atop");
        } else if (view === "mask") {
            colour("#000", "source-over");
            paint(mask.canvas, "source-over");
        } else {
            // The mark is seen through where the mask is: first what stays out, then the picture below it.
            colour(AWAY, "source-over");
            context.globalCompositeOperation = "destination-out";
            context.drawImage(mask.canvas, 0, 0, width, height);
            context.globalAlpha = 0.45;
            paint(picture, "source-atop");
            context.globalAlpha = 1;
            paint(picture, "destination-over");
        }
    }

    Object.assign(loraTrain, {BrushHand, drawMasked});
})();
