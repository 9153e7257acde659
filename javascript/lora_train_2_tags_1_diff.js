/**
 * What a change does to captions, before it is made: tags taken away, added and moved, which pictures, page by page.
 */
(() => {
    "use strict";

    const {state, url, language, text, plural, number, make, write, button, enable, folded, setImage} = loraTrain;
    const PAGE = 24; // pictures shown at once
    const NAMED = 40; // tags of a summary
    const LARGEST = 300000; // comparisons; longer texts are shown as replaced
    const AROUND = 1500; // characters shown before and behind what changes
    const MOST = 8000; // characters shown of a caption
    const LONG = 4; // words: from here on a part between commas is compared by words

    /** @typedef {{kind: "same"|"removed"|"added"|"moved", text: string}} Piece */

    /**
     * What became of a list: kept, removed and added items in reading order. With `moves`, what was only put
     * elsewhere is one "moved" item at its new place.
     * @param {string[]} before
     * @param {string[]} after
     * @returns {Piece[]}
     */
    function diffLists(before, after, moves = false) {
        let [first, lastB, lastA] = [0, before.length, after.length];
        while (first < Math.min(lastB, lastA) && before[first] === after[first]) first += 1;
        while (lastB > first && lastA > first && before[lastB - 1] === after[lastA - 1]) {
            [lastB, lastA] = [lastB - 1, lastA - 1];
        }
        const pieces = [...all("same", before.slice(0, first)),
            ...compared(before.slice(first, lastB), after.slice(first, lastA)), ...all("same", after.slice(lastA))];
        return moves ? withMoves(pieces) : pieces;
    }

    function all(kind, items) {
        return items.map((one) => ({kind, text: one}));
    }

    /** By the longest list that both contain in order. */
    function compared(before, after) {
        if (before.length * after.length > LARGEST) return [...all("removed", before), ...all("added", after)];
        const wide = after.length + 1;
        const common = new Uint32Array((before.length + 1) * wide);
        const [below, beside] = [(b, a) => common[(b + 1) * wide + a], (b, a) => common[b * wide + a + 1]];
        for (let b = before.length - 1; b >= 0; b--) {
            for (let a = after.length - 1; a >= 0; a--) {
                common[b * wide + a] = before[b] === after[a] ? common[(b + 1) * wide + a + 1] + 1
                    : Math.max(below(b, a), beside(b, a));
            }
        }
        const pieces = [];
        for (let [b, a] = [0, 0]; b < before.length || a < after.length;) {
            if (b < before.length && a < after.length && before[b] === after[a]) {
                pieces.push({kind: "same", text: before[b]});
                [b, a] = [b + 1, a + 1];
            } else if (a >= after.length || b < before.length && below(b, a) >= beside(b, a)) {
                pieces.push({kind: "removed", text: before[b]});
                b += 1;
            } else {
                pieces.push({kind: "added", text: after[a]});
                a += 1;
            }
        }
        return pieces;
    }

    function withMoves(pieces) {
        const gone = new Map();
        for (const {kind, text: tag} of pieces) if (kind === "removed") gone.set(tag, (gone.get(tag) || 0) + 1);
        const moved = new Map();
        const marked = pieces.map((piece) => {
            if (piece.kind !== "added" || !gone.get(piece.text)) return piece;
            gone.set(piece.text, gone.get(piece.text) - 1);
            moved.set(piece.text, (moved.get(piece.text) || 0) + 1);
            return {kind: "moved", text: piece.text};
        });
        return marked.filter(({kind, text: tag}) => {
            if (kind !== "removed" || !moved.get(tag)) return true;
            moved.set(tag, moved.get(tag) - 1);
            return false;
        });
    }

    const tagsOf = (words) => words.split(/(\n)|,/).filter((one) => one !== undefined)
        .map((one) => (one === "\n" ? one : one.trim())).filter(Boolean);
    const wordsOf = (words) => words.split(/(\s+)/).filter(Boolean);
    const isLong = (words) => words.split(/\s+/).length >= LONG;

    /**
     * What became of a caption, as groups of pieces: groups stand with commas between, the pieces of one close up.
     * @returns {Piece[][]}
     */
    function diffCaptions(before, after) {
        const pieces = diffLists(tagsOf(before), tagsOf(after), true);
        if (before !== after && pieces.every((one) => one.kind === "same")) {
            return [diffLists(wordsOf(before), wordsOf(after))]; // it is in the blanks
        }
        const groups = [];
        for (let place = 0; place < pieces.length; place++) {
            const [piece, next] = [pieces[place], pieces[place + 1]];
            const changed = next && piece.kind === "removed" && next.kind === "added";
            if (changed && isLong(piece.text) && isLong(next.text)) {
                groups.push(diffLists(wordsOf(piece.text), wordsOf(next.text)));
                place += 1;
            } else {
                groups.push([piece]);
            }
        }
        return groups;
    }

    function drawPiece({kind, text: words}) {
        const given = {class: `lora_train_${kind}_tag`};
        if (kind === "removed") return make("del", given, words);
        if (kind === "added") return make("ins", given, words);
        if (kind === "moved") return make("span", {...given, title: text("moved")}, words);
        return words;
    }

    /** Of long captions the part around what changes. */
    function clipped(before, after) {
        let [first, last] = [0, 0];
        const least = Math.min(before.length, after.length);
        while (first < least && before[first] === after[first]) first += 1;
        while (last < least - first && before.at(-1 - last) === after.at(-1 - last)) last += 1;
        const part = (words) => {
            const from = Math.max(0, first - AROUND);
            const to = Math.min(words.length - Math.max(0, last - AROUND), from + MOST);
            return `${from ? "… " : ""}${words.slice(from, to)}${to < words.length ? " …" : ""}`;
        };
        return [part(before), part(after)];
    }

    /** A caption with what changes in it: removed, added and moved parts marked. */
    function drawDiff(whole, becomes) {
        const [before, after] = clipped(whole, becomes);
        const groups = diffCaptions(before, after);
        const line = make("p", {class: "lora_train_diff", translate: "no", dir: "auto"});
        groups.forEach((pieces, place) => {
            const breaks = pieces[0].text === "\n" || place > 0 && groups[place - 1][0].text === "\n";
            if (place > 0 && !breaks) line.append(", ");
            line.append(...pieces.map(drawPiece));
        });
        if (!before.trim()) line.prepend(make("span", {class: "lora_train_hint"}, text("no caption yet"), " "));
        if (!after.trim()) line.append(" ", make("span", {class: "lora_train_hint"}, text("no caption left")));
        return line;
    }

    /** Translations of the tags that the project has, by tag. */
    function translations() {
        const {found} = loraTrain.tags;
        return new Map((found ? found.tags : []).map(({tag, translation}) => [tag, translation]));
    }

    /** Tags with their counts, the most frequent first; of many the rest is folded. */
    function drawCounts(label, kind, counts) {
        const known = translations();
        const chip = ({tag, count}) => make("li", {class: `lora_train_${kind}_tag`, data: {tag}},
            make("span", {translate: "no"}, tag),
            make("span", {class: "lora_train_hint"}, ` ${[known.get(tag), number(count)].filter(Boolean).join(" ")}`));
        const list = (some) => make("ul", {class: "lora_train_diff_counts", data: {counts: kind}}, ...some.map(chip));
        const rest = counts.slice(NAMED);
        return make("div", {class: "lora_train_diff_side"}, make("span", {class: "lora_train_label"}, label),
            list(counts.slice(0, NAMED)),
            rest.length ? folded(plural(rest.length, "{count} more", "{count} more"), list(rest)) : null);
    }

    class ChangePreview {
        /**
         * @param {function(number, number): Promise<Object>} ask offset and limit -> {changes, total, removed, added,
         *   notes, pictures: {id, name, stamp, before, after}[]}
         * @param {function(?Object, ?Error): void} told called with what is shown: an answer, or what went wrong
         */
        constructor(ask, told) {
            this.ask = ask;
            this.told = told;
            this.offset = 0;
            this.order = new loraTrain.Latest();
            this.status = make("p", {class: "lora_train_diff_status", role: "status", "data-note": "changes"});
            this.notes = make("ul", {class: "lora_train_warnings"});
            this.counts = make("div", {class: "lora_train_diff_sides"});
            this.list = make("ul", {class: "lora_train_diff_list"});
            this.previous = this.pageButton("‹", "previous-changes", text("Previous page"), -1);
            this.next = this.pageButton("›", "next-changes", text("Next page"), 1);
            this.range = make("span", {class: "lora_train_hint"});
            this.pager = make("div", {class: "lora_train_row lora_train_pager", hidden: true},
                this.previous, this.range, this.next);
            this.element = make("div", {class: "lora_train_change_preview"}, this.status, this.notes, this.counts,
                this.list, this.pager);
        }

        pageButton(sign, name, label, by) {
            const press = button(sign, {name, run: () => this.read(Math.max(0, this.offset + by * PAGE))});
            press.setAttribute("aria-label", label);
            return press;
        }

        /** Asks from the first page on. */
        async read(offset = 0) {
            this.element.setAttribute("aria-busy", "true");
            if (this.list.children.length === 0) write(this.status, text("Working it out…"));
            try {
                const answer = await this.order.ask(() => this.ask(offset, PAGE));
                if (!answer) return;
                this.offset = offset;
                this.show(answer);
                this.told(answer, null);
                this.element.setAttribute("aria-busy", "false");
            } catch (error) {
                this.clear();
                this.told(null, error);
            }
        }

        clear(words = "") {
            this.order.drop();
            this.element.setAttribute("aria-busy", "false");
            write(this.status, words);
            for (const one of [this.notes, this.counts, this.list]) one.replaceChildren();
            this.pager.hidden = true;
        }

        show({changes, total, removed, added, notes = [], pictures}) {
            write(this.status, changes === 0 ? text("No caption would change.")
                : plural(total, "{changes} of {count} caption changes", "{changes} of {count} captions change",
                    {changes: number(changes)}));
            this.notes.replaceChildren(...notes.map((one) => make("li", {}, one)));
            this.counts.replaceChildren(...[
                removed.length ? drawCounts(text("Removed"), "removed", removed) : null,
                added.length ? drawCounts(text("Added"), "added", added) : null,
            ].filter(Boolean));
            this.list.replaceChildren(...pictures.map((one) => this.line(one)));
            this.list.scrollTop = 0;
            this.pager.hidden = changes <= PAGE;
            write(this.range, text("{from}–{to} of {count}", {from: number(this.offset + 1),
                to: number(this.offset + pictures.length), count: number(changes)}));
            enable(this.previous, this.offset > 0);
            enable(this.next, this.offset + pictures.length < changes);
        }

        line({id, name, stamp, before, after}) {
            const image = make("img", {alt: "", loading: "lazy", decoding: "async"});
            setImage(image, thumbnailUrl(id, stamp));
            return make("li", {data: {picture: id}}, image, make("div", {},
                make("span", {class: "lora_train_hint", translate: "no"}, name), drawDiff(before, after)));
        }
    }

    /** Sentences one after the other, as the language writes them. */
    function joined(...sentences) {
        return sentences.filter(Boolean).join(language().startsWith("zh") ? "" : " ");
    }

    function thumbnailUrl(id, stamp) {
        return url(["projects", state.project.id, "pictures", id, "thumbnail"], {v: stamp || ""});
    }

    Object.assign(loraTrain, {diffLists, diffCaptions, drawDiff, ChangePreview, thumbnailUrl, joined});
})();
