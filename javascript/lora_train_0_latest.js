/**
 * Answers that come late, on a server with much to do: only that to the newest question is taken, and none that was
 * asked for before something was changed.
 */
(() => {
    "use strict";

    class Latest {
        constructor() {
            this.questions = 0;
            this.changes = 0; // begun and done
            this.newest = Promise.resolve();
        }

        /** Nobody waits for an answer any more. */
        drop() {
            this.questions += 1;
            this.newest = Promise.resolve();
        }

        /** Something is different: what was asked for until now is of before. */
        changed() {
            this.changes += 1;
        }

        /** Does what changes something; an answer from in between may be of before or after. */
        async change(work) {
            this.changed();
            try {
                return await work();
            } finally {
                this.changed();
            }
        }

        /**
         * Asks, and asks again where something was changed meanwhile.
         * @template T
         * @param {function(): Promise<T>} question
         * @returns {Promise<T|undefined>} undefined, once the newest question is answered, where this one was overtaken
         */
        ask(question) {
            this.questions += 1;
            const asking = this.follow(question, this.questions);
            this.newest = asking.then(() => {}, () => {}); // its error is for who asked
            return asking;
        }

        async follow(question, turn) {
            for (;;) {
                const {changes} = this;
                const [answer, error] = await question().then((said) => [said, null], (failed) => [null, failed]);
                if (turn !== this.questions) return this.newest;
                if (error) throw error;
                if (changes === this.changes) return answer;
            }
        }

        /** @returns {function(): boolean} whether nothing was asked or changed since */
        mark() {
            const {questions, changes} = this;
            return () => questions === this.questions && changes === this.changes;
        }
    }

    Object.assign(loraTrain, {Latest});
})();
