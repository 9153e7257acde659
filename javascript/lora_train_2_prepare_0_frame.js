/**
 * The geometry of crops: boxes in pixels of the original, moved and resized inside of it. Nothing here touches the
 * page. A box is {left, top, right, bottom}; `aspect` is width / height, or null for a free shape.
 */
(() => {
    "use strict";

    const LEAST = 16; // px: the smallest side of a crop

    const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
    const widthOf = (box) => box.right - box.left;
    const heightOf = (box) => box.bottom - box.top;

    function boxOf(left, top, width, height) {
        return {left, top, right: left + width, bottom: top + height};
    }

    /** Moved by dx, dy, as far as the picture goes. */
    function moveBox(box, dx, dy, picture) {
        const [width, height] = [widthOf(box), heightOf(box)];
        return boxOf(clamp(box.left + dx, 0, picture.width - width), clamp(box.top + dy, 0, picture.height - height),
            width, height);
    }

    /** The largest width that a box of that shape may have where so much room is. */
    function mostWidth(aspect, roomX, roomY) {
        return aspect === null ? roomX : Math.min(roomX, roomY * aspect);
    }

    /** The smallest width at which no side is below `LEAST`, or what there is where that is less. */
    function leastWidth(aspect, most) {
        return Math.min(most, aspect === null ? LEAST : Math.max(LEAST, LEAST * aspect));
    }

    /**
     * Resized by dragging a handle by dx, dy. The opposite side or corner stays; with a shape to keep, the pull along
     * the handle's longer way counts, and a side pulls both neighbours evenly.
     * @param {string} handle of n, s, e, w: one or two
     */
    function resizeBox(box, handle, dx, dy, aspect, picture) {
        const x = handle.includes("e") ? 1 : handle.includes("w") ? -1 : 0;
        const y = handle.includes("s") ? 1 : handle.includes("n") ? -1 : 0;
        const roomX = room(box.left, box.right, x, picture.width);
        const roomY = room(box.top, box.bottom, y, picture.height);
        let width = widthOf(box) + x * dx;
        let height = heightOf(box) + y * dy;
        if (aspect !== null) {
            if (x === 0) width = height * aspect;
            else if (y !== 0 && Math.abs(dy) * aspect > Math.abs(dx)) width = height * aspect;
            const most = mostWidth(aspect, roomX, roomY);
            width = clamp(width, leastWidth(aspect, most), most);
            height = width / aspect;
        } else {
            width = x === 0 ? widthOf(box) : clamp(width, Math.min(LEAST, roomX), roomX);
            height = y === 0 ? heightOf(box) : clamp(height, Math.min(LEAST, roomY), roomY);
        }
        const left = anchored(box.left, box.right, width, x, picture.width);
        return boxOf(left, anchored(box.top, box.bottom, height, y, picture.height), width, height);
    }

    /** How long a side may be: to the picture's end from where it stays; all of it where it has no such place. */
    function room(low, high, direction, end) {
        return direction > 0 ? end - low : direction < 0 ? high : end;
    }

    /** Where the side begins; without a place to stay it keeps its middle as far as the picture goes. */
    function anchored(low, high, size, direction, end) {
        if (direction > 0) return low;
        if (direction < 0) return high - size;
        return clamp((low + high) / 2 - size / 2, 0, end - size);
    }

    /** Larger or smaller around its middle, which gives way where the picture ends. */
    function scaleBox(box, factor, picture) {
        const aspect = widthOf(box) / heightOf(box);
        const most = mostWidth(aspect, picture.width, picture.height);
        const width = clamp(widthOf(box) * factor, leastWidth(aspect, most), most);
        return around(box, width, width / aspect, picture);
    }

    /** The same place and area in another shape. */
    function shapeBox(box, aspect, picture) {
        const most = mostWidth(aspect, picture.width, picture.height);
        const width = clamp(Math.sqrt(widthOf(box) * heightOf(box) * aspect), leastWidth(aspect, most), most);
        return around(box, width, width / aspect, picture);
    }

    function around(box, width, height, picture) {
        const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
        return moveBox(boxOf(x - width / 2, y - height / 2, width, height), 0, 0, picture);
    }

    /** Whether what is written is the box itself, pixel by pixel. */
    function isUnscaled(crop) {
        return crop.width === Math.round(widthOf(crop)) && crop.height === Math.round(heightOf(crop));
    }

    /**
     * The crop with another box. One that was written pixel by pixel still is; any other keeps the size of what is
     * written, in a new shape its area.
     */
    function withBox(crop, box, free = false) {
        const moved = {...crop, ...box, by: "user", notes: []};
        if (isUnscaled(crop)) {
            [moved.width, moved.height] = [Math.round(widthOf(box)), Math.round(heightOf(box))];
        } else if (free) {
            const aspect = widthOf(box) / heightOf(box);
            const width = Math.sqrt(crop.width * crop.height * aspect);
            [moved.width, moved.height] = [Math.max(1, Math.round(width)), Math.max(1, Math.round(width / aspect))];
        }
        moved.scale = enlargement(moved);
        return moved;
    }

    /** By how much a crop is enlarged; below 1 it is reduced. */
    function enlargement(crop) {
        return Math.max(crop.width / widthOf(crop), crop.height / heightOf(crop));
    }

    /** The box as style: shares of the picture in percent. */
    function placeBox(element, box, picture) {
        element.style.left = `${100 * box.left / picture.width}%`;
        element.style.top = `${100 * box.top / picture.height}%`;
        element.style.width = `${100 * widthOf(box) / picture.width}%`;
        element.style.height = `${100 * heightOf(box) / picture.height}%`;
    }

    Object.assign(loraTrain, {
        moveBox, resizeBox, scaleBox, shapeBox, withBox, isUnscaled, enlargement, placeBox,
    });
})();
