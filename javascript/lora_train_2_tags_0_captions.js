/**
 * The pictures of the tag editor as the server has them, by id: asked for in batches when they come into sight, and
 * kept. What is changed here shows at once and is saved in the order in which it was done.
 */
(() => {
    "use strict";

    const {api, emit, report} = loraTrain;
    const AT_ONCE = 200; // the most that one request may ask for
    const KEPT = 2000; // pictures; of more, those read longest ago are forgotten
    const GATHER = 15; // ms in which what is asked for becomes one request

    /**
     * @typedef {{id: string, name: string, concept: string, width: number, height: number, stamp: string, text: string,
     *   version: string, tags: string[], translations: string[], prose: boolean, tokens: number, cut: number,
     *   cut_at: number, problem: ?Problem}} TagPicture `tokens`, `cut` (the first tag beyond the limit) and `cut_at`
     *   (a place in the text) are -1 where nobody knows or nothing is cut
     * @typedef {{tags: string[]}|{text: string}} CaptionChange
     */

    class TagPictures {
        /** @param {TagModel} model */
        constructor(model) {
            this.model = model;
            /** @type {Map<string, TagPicture>} */
            this.known = new Map();
            /** @type {Set<string>} known, but something changed since: read again when looked at */
            this.old = new Set();
            /** @type {Set<string>} to be asked for next */
            this.wanted = new Set();
            /** @type {Map<string, Promise>} asked for */
            this.asked = new Map();
            /**
             * Changes that are still to be saved, with the picture as it was saved last.
             * @type {Map<string, {left: number, refused: boolean, picture: TagPicture, path: string[],
             *   last: CaptionChange, sent: ?CaptionChange}>}
             */
            this.unsaved = new Map();
            this.saves = 0; // answered, counted
            /** @type {Map<string, number>} by id, the last save: what was asked for before its answer is not taken */
            this.savedAt = new Map();
            /** @type {?{picture: TagPicture, mine: string, theirs: {text: string, version: string}}} */
            this.conflict = null;
        }

        /** The picture as far as it is known; otherwise null, and "tags-picture" tells when it has come. */
        get(id) {
            if (!this.known.has(id) || this.old.has(id)) this.read(id).catch(report);
            return this.known.get(id) || null;
        }

        /** Reads a picture that is not known, or not as it is now. @returns {Promise<?TagPicture>} */
        async read(id) {
            if (!this.asked.has(id)) {
                this.wanted.add(id);
                this.gathering = this.gathering || this.gather();
                this.asked.set(id, this.gathering);
            }
            await this.asked.get(id);
            return this.known.get(id) || null;
        }

        async gather() {
            await loraTrain.pause(GATHER);
            this.gathering = null;
            const ids = [...this.wanted];
            this.wanted.clear();
            const {path, project} = this.model;
            try {
                for (let from = 0; from < ids.length; from += AT_ONCE) {
                    const some = ids.slice(from, from + AT_ONCE);
                    for (const id of some) this.old.delete(id); // what changes from now on makes it old again
                    const {saves} = this;
                    const {pictures} = await api.post([...path, "pictures"], {pictures: some});
                    if (project !== this.model.project) return;
                    const there = new Set(pictures.map((one) => one.id));
                    for (const id of some) if (!there.has(id) && !this.unsaved.has(id)) this.known.delete(id);
                    for (const picture of pictures) {
                        if ((this.savedAt.get(picture.id) || 0) <= saves) this.take(picture);
                    }
                }
            } finally {
                for (const id of ids) this.asked.delete(id);
            }
        }

        /** Takes over what the server said, unless it was changed here since. */
        take(picture) {
            if (this.unsaved.has(picture.id)) return;
            const before = this.known.get(picture.id);
            this.known.delete(picture.id); // to the end of the line
            this.known.set(picture.id, picture);
            for (const id of this.known.keys()) {
                if (this.known.size <= KEPT) break;
                if (!this.unsaved.has(id)) this.known.delete(id);
            }
            if (JSON.stringify(before) !== JSON.stringify(picture)) emit("tags-picture", picture.id);
        }

        /** Something changed on the server: what is known shows until it was read again. */
        age() {
            for (const id of this.known.keys()) this.old.add(id);
        }

        forget() {
            for (const map of [this.known, this.old, this.wanted, this.asked, this.unsaved, this.savedAt]) map.clear();
            this.conflict = null;
        }

        /**
         * Saves a caption, after everything that was done before. It shows at once.
         * @param {string} id
         * @param {CaptionChange} change
         * @returns {Promise<boolean>} false when it was not saved, as another program changed it meanwhile
         */
        save(id, change) {
            const picture = this.known.get(id);
            if (!picture || this.conflict && this.conflict.picture.id === id) return Promise.resolve(false);
            const unsaved = this.unsaved.get(id)
                || {left: 0, refused: false, picture, path: this.model.path, sent: null};
            unsaved.left += 1;
            unsaved.last = change;
            this.unsaved.set(id, unsaved);
            this.known.set(id, changed(picture, change));
            emit("tags-picture", id);
            return this.model.inTurn(() => this.put(unsaved, change));
        }

        /** Also where another project was opened meanwhile: what was typed into the last one is saved, too. */
        async put(unsaved, change) {
            if (unsaved.refused) return false; // this one was made on top of what was refused
            unsaved.sent = change;
            const {id, version} = unsaved.picture;
            const here = () => this.unsaved.get(id) === unsaved;
            try {
                const body = {picture: id, version, ...change};
                const {picture, overview} = await api.put([...unsaved.path, "caption"], body);
                unsaved.left -= 1;
                unsaved.picture = picture;
                if (!here()) return true;
                if (unsaved.left === 0) this.settled(picture);
                this.model.take(overview);
                return true;
            } catch (error) {
                unsaved.refused = true;
                const theirs = error.status === 409 && here() ? error.theirs : null;
                if (here()) this.takeBack(unsaved.picture, change, theirs);
                if (theirs) return false;
                throw error;
            }
        }

        /** The page is being left: what waits for its turn is sent now, as there will be none. */
        leave() {
            for (const [id, unsaved] of this.unsaved) {
                const {last, sent, refused, picture: {version}, path} = unsaved;
                if (last === sent || refused) continue;
                unsaved.refused = true; // its turn is over, should the page be shown again
                const body = {picture: id, version, after: sent, ...last};
                api.put([...path, "caption"], body).catch(report).finally(() => {
                    if (this.unsaved.get(id) !== unsaved) return;
                    this.unsaved.delete(id);
                    this.old.add(id);
                    emit("tags-picture", id);
                });
            }
        }

        settled(picture) {
            this.saves += 1;
            this.savedAt.set(picture.id, this.saves);
            this.unsaved.delete(picture.id);
            this.old.delete(picture.id);
            this.take(picture);
        }

        /** Shows what was saved last; what another program wrote is never overwritten unasked. */
        takeBack(picture, change, theirs) {
            this.unsaved.delete(picture.id);
            this.known.set(picture.id, picture);
            this.old.add(picture.id);
            if (theirs) {
                const mine = "text" in change ? change.text : change.tags.join(", ");
                this.conflict = {picture, mine, theirs};
                emit("tags-conflict", this.conflict);
            }
            emit("tags-picture", picture.id);
        }

        /** Of the two captions the one stays that the person chose. */
        async settle(keepMine) {
            const {picture, mine, theirs} = this.conflict;
            this.conflict = null;
            emit("tags-conflict", null);
            this.known.set(picture.id, {...picture, ...theirs});
            if (keepMine) await this.save(picture.id, {text: mine});
            this.old.add(picture.id);
            await this.read(picture.id);
        }
    }

    /** The picture as it will be; what only the server can say is left as it was. */
    function changed(picture, change) {
        if (!("tags" in change)) return {...picture, ...change};
        const words = new Map(picture.tags.map((tag, place) => [tag, picture.translations[place] || ""]));
        return {
            ...picture, tags: change.tags, text: change.tags.join(", "),
            translations: change.tags.map((tag) => words.get(tag) || ""),
        };
    }

    Object.assign(loraTrain, {TagPictures});
})();
