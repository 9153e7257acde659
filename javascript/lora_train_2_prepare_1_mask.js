/**
 * A mask that is painted: a canvas whose opacity says what belongs to the subject, its strokes, and the way back
 * through them.
 */
(() => {
    "use strict";

    const MOST_KEPT = 300_000_000; // bytes of strokes that can be taken back
    const SPACING = 0.2; // of the brush's size, between two dabs of a stroke

    class Mask {
        constructor() {
            this.canvas = document.createElement("canvas");
            this.before = document.createElement("canvas"); // as it was when the stroke began
            this.context = this.canvas.getContext("2d", {willReadFrequently: true});
            /** @type {Object[]} what `undo` puts back, oldest first; and what `redo` does */
            [this.done, this.undone] = [[], []];
            this.dirty = null;
        }

        /** Starts from an image whose grey is the mask, or from "everything belongs to it". */
        load(image, width, height) {
            for (const canvas of [this.canvas, this.before]) [canvas.width, canvas.height] = [width, height];
            [this.done, this.undone, this.dirty] = [[], [], null];
            const {context} = this;
            if (!image) {
                context.fillStyle = "#fff";
                context.fillRect(0, 0, width, height);
                return;
            }
            context.drawImage(image, 0, 0, width, height);
            const pixels = context.getImageData(0, 0, width, height);
            const {data} = pixels;
            for (let place = 0; place < data.length; place += 4) {
                data[place + 3] = data[place];
                data[place] = data[place + 1] = data[place + 2] = 255;
            }
            context.putImageData(pixels, 0, 0);
        }

        /** Begins a stroke. @param {{add: boolean, size: number, soft: number}} brush `soft`: 0 hard to 1 */
        begin(brush, x, y) {
            this.brush = brush;
            this.stamp = stampOf(brush);
            this.last = {x, y};
            this.left = 0; // way to go to the next dab
            const before = this.before.getContext("2d");
            before.globalCompositeOperation = "copy";
            before.drawImage(this.canvas, 0, 0);
            this.dirty = null;
            this.dab(x, y);
        }

        /** Goes on with the stroke, in a straight line. */
        to(x, y) {
            const {x: fromX, y: fromY} = this.last;
            const way = Math.hypot(x - fromX, y - fromY);
            const step = Math.max(1, this.brush.size * SPACING);
            let gone = this.left;
            for (; gone <= way; gone += step) {
                if (way > 0) this.dab(fromX + (x - fromX) * gone / way, fromY + (y - fromY) * gone / way);
            }
            this.left = gone - way;
            this.last = {x, y};
        }

        dab(x, y) {
            const {context, stamp} = this;
            const half = stamp.width / 2;
            context.globalCompositeOperation = this.brush.add ? "source-over" : "destination-out";
            context.drawImage(stamp, x - half, y - half);
            context.globalCompositeOperation = "source-over";
            const dirty = this.dirty || {left: x, top: y, right: x, bottom: y};
            this.dirty = {
                left: Math.min(dirty.left, x - half), top: Math.min(dirty.top, y - half),
                right: Math.max(dirty.right, x + half), bottom: Math.max(dirty.bottom, y + half),
            };
        }

        /** Ends the stroke; what it covered can be put back. */
        end() {
            const {dirty, canvas} = this;
            if (!dirty) return;
            this.dirty = null;
            const [left, top] = [Math.max(0, Math.floor(dirty.left)), Math.max(0, Math.floor(dirty.top))];
            const width = Math.min(canvas.width, Math.ceil(dirty.right)) - left;
            const height = Math.min(canvas.height, Math.ceil(dirty.bottom)) - top;
            if (width <= 0 || height <= 0) return;
            const pixels = this.before.getContext("2d").getImageData(left, top, width, height);
            this.keep({pixels, left, top});
        }

        /** What belonged to the subject does not, and the other way round. */
        invert() {
            this.swap();
            this.keep({inverted: true});
        }

        swap() {
            const {context, canvas} = this;
            context.globalCompositeOperation = "xor";
            context.fillStyle = "#fff";
            context.fillRect(0, 0, canvas.width, canvas.height);
            context.globalCompositeOperation = "source-over";
        }

        keep(stroke) {
            this.done.push(stroke);
            this.undone = [];
            const size = (one) => (one.pixels ? one.pixels.data.length : 0);
            let kept = this.done.reduce((sum, one) => sum + size(one), 0);
            while (kept > MOST_KEPT && this.done.length > 1) kept -= size(this.done.shift());
        }

        undo() {
            return this.turn(this.done, this.undone);
        }

        redo() {
            return this.turn(this.undone, this.done);
        }

        /** Takes the newest of one list back, so that the other can bring it again. @returns whether there was one */
        turn(from, to) {
            const stroke = from.pop();
            if (!stroke) return false;
            if (stroke.inverted) {
                this.swap();
                to.push(stroke);
                return true;
            }
            const {pixels, left, top} = stroke;
            to.push({pixels: this.context.getImageData(left, top, pixels.width, pixels.height), left, top});
            this.context.putImageData(pixels, left, top);
            return true;
        }

        /** The mask as a grey PNG: white is the subject. @returns {Promise<Blob>} */
        toPng() {
            const grey = document.createElement("canvas");
            [grey.width, grey.height] = [this.canvas.width, this.canvas.height];
            const context = grey.getContext("2d");
            context.fillStyle = "#000";
            context.fillRect(0, 0, grey.width, grey.height);
            context.drawImage(this.canvas, 0, 0);
            return new Promise((resolve) => grey.toBlob(resolve, "image/png"));
        }
    }

    /** One dab of a brush: a disc whose edge is as soft as wanted. */
    function stampOf({size, soft}) {
        const stamp = document.createElement("canvas");
        const radius = Math.max(0.5, size / 2);
        stamp.width = stamp.height = Math.ceil(radius * 2) + 2;
        const context = stamp.getContext("2d");
        const middle = stamp.width / 2;
        const shade = context.createRadialGradient(middle, middle, radius * Math.min(0.98, 1 - soft), middle, middle,
            radius);
        shade.addColorStop(0, "#fff");
        shade.addColorStop(1, "rgb(255 255 255 / 0%)");
        context.fillStyle = shade;
        context.fillRect(0, 0, stamp.width, stamp.height);
        return stamp;
    }

    Object.assign(loraTrain, {Mask});
})();
