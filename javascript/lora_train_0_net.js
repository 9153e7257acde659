/**
 * Talking to the server: the session of this page, REST calls with its token, uploads with progress.
 */
(() => {
    "use strict";

    const {text, pause} = loraTrain;
    const PATH = "lora-train/v1/";
    const TOKEN_HEADER = "X-Lora-Train";
    const TOKEN_WAIT = 20000; // ms in which gradio has to answer with a token
    const MOST_KEPT = 50000; // bytes on the way that outlive the page; browsers allow 64 KB
    const HEADERS = 1000; // bytes that a browser may count for each
    const PRESS_AGAIN = 3000; // ms; a press before gradio was ready is lost

    /** What the server refused, in the words it gave. */
    class ApiError extends Error {
        /**
         * @param {number} status 0 when there was no answer
         * @param {Object} body
         */
        constructor(status, body) {
            const problem = (body && body.error) || {};
            super(problem.sentence || text("The server answered with error {status}.", {status}));
            this.name = "ApiError";
            this.status = status;
            this.code = problem.code || "";
            this.where = problem.where || "";
            this.sentence = this.message;
            this.remedy = problem.remedy || "";
            /** @type {?{text: string, version: string}} what a caption became meanwhile */
            this.theirs = (body && body.theirs) || null;
            /** @type {?{position: number, length: number}} where in a text that was sent the fault is */
            this.mark = (body && body.mark) || null;
            /** @type {string} a name that is free, where the one that was sent is taken */
            this.free = (body && body.free) || "";
        }
    }

    function connectionLost() {
        return new ApiError(0, {error: {
            code: "page.connection",
            sentence: text("The server does not answer."),
            remedy: text("Look whether it still runs; the page goes on by itself when it is back."),
        }});
    }

    function sessionLost() {
        return new ApiError(401, {error: {
            code: "page.session",
            sentence: text("The server does not know this page any more."),
            remedy: text("Reload the page."),
        }});
    }

    /** The address of a route: beside the page, so that a server in a subfolder works too. */
    function url(parts, query = {}) {
        const page = window.location.origin + window.location.pathname.replace(/[^/]*$/, "");
        const address = new URL(PATH + parts.map(encodeURIComponent).join("/"), page);
        for (const [name, value] of Object.entries(query)) address.searchParams.set(name, String(value));
        return address.href;
    }

    class Api {
        constructor() {
            this.token = "";
            /** @type {?Promise<void>} the one renewal under way */
            this.renewal = null;
            this.kept = 0; // bytes on the way that outlive the page
        }

        get(parts, query, signal) {
            return this.request("GET", url(parts, query), undefined, signal);
        }

        post(parts, body = {}) {
            return this.request("POST", url(parts), body);
        }

        put(parts, body) {
            return this.request("PUT", url(parts), body);
        }

        /** Sends a file as it is. @param {Blob} file */
        putFile(parts, file) {
            return this.request("PUT", url(parts), file);
        }

        patch(parts, body) {
            return this.request("PATCH", url(parts), body);
        }

        remove(parts) {
            return this.request("DELETE", url(parts));
        }

        /** The answer's JSON. Raises ApiError. A session that is not known any more is renewed once. */
        async request(method, address, body, signal, again = true) {
            const headers = {[TOKEN_HEADER]: this.token, Accept: "application/json"};
            const raw = body instanceof Blob;
            const words = raw ? body : JSON.stringify(body);
            if (body !== undefined) headers["Content-Type"] = raw ? "application/octet-stream" : "application/json";
            const kept = this.keeps(words);
            let response;
            this.kept += kept;
            try {
                response = await fetch(address, {
                    method, headers, signal, body: words,
                    credentials: "same-origin", cache: "no-store", keepalive: kept > 0,
                });
            } catch (error) {
                if (error.name === "AbortError" && signal && signal.reason !== "late") throw error;
                throw connectionLost();
            } finally {
                this.kept -= kept;
            }
            if (response.status === 401) {
                if (!again) throw sessionLost();
                await this.renew();
                return this.request(method, address, body, signal, false);
            }
            return answer(response.status, await response.text());
        }

        /**
         * What a page says arrives also where it is closed the next moment; a server that is busy would not even have
         * read it then. Its bytes, or 0 where there are too many on the way for that.
         */
        keeps(words) {
            if (typeof words !== "string") return 0;
            const bytes = new TextEncoder().encode(words).length + HEADERS;
            return this.kept + bytes <= MOST_KEPT ? bytes : 0;
        }

        async renew() {
            this.renewal = this.renewal || newSession().finally(() => { this.renewal = null; });
            await this.renewal;
        }

        /**
         * Sends a file as it is.
         * @param {function(number): void} progress called with 0..1
         * @returns {{done: Promise<Object>, cancel: function(): void}}
         */
        upload(parts, query, file, progress) {
            const request = new XMLHttpRequest();
            const done = new Promise((resolve, reject) => {
                request.open("POST", url(parts, query));
                request.setRequestHeader(TOKEN_HEADER, this.token);
                request.setRequestHeader("Content-Type", "application/octet-stream");
                request.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 0);
                request.onerror = () => reject(connectionLost());
                request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
                request.onload = () => {
                    try {
                        resolve(answer(request.status, request.responseText));
                    } catch (error) {
                        reject(error);
                    }
                };
                request.send(file);
            });
            return {done, cancel: () => request.abort()};
        }
    }

    function answer(status, words) {
        let body = null;
        try {
            body = words ? JSON.parse(words) : {};
        } catch {
            body = null; // a page of a proxy, not ours
        }
        if (status < 200 || status >= 300 || body === null) throw new ApiError(status, body);
        return body;
    }

    const api = new Api();

    /** The field of a gradio textbox. */
    function box(id) {
        return document.querySelector(`#${id} textarea, #${id} input`);
    }

    function press(id) {
        const element = document.querySelector(`button#${id}, #${id} button`);
        if (element) element.click();
        return element !== null;
    }

    /** Puts words into a gradio textbox as if they had been typed. */
    async function type(id, words) {
        const element = box(id);
        if (!element) return false;
        element.value = words;
        element.dispatchEvent(new Event("input", {bubbles: true}));
        await pause(50); // gradio hands the value on before the next press
        return true;
    }

    /** A token from gradio, which knows who is logged in. Empty where the page has no such button. */
    async function readToken(old) {
        const until = Date.now() + TOKEN_WAIT;
        let pressed = 0;
        while (Date.now() < until) {
            const element = box("lora_train_token");
            if (element && element.value && element.value !== old) return element.value;
            if (element && Date.now() - pressed > PRESS_AGAIN) {
                pressed = press("lora_train_session_button") ? Date.now() : 0;
            }
            await pause(100);
        }
        return "";
    }

    async function newSession() {
        const token = await readToken(api.token);
        if (!token) throw sessionLost();
        api.token = token;
        await api.request("POST", url(["session"]), {}, undefined, false);
    }

    /** @type {?Promise<Session>} */
    let opened = null;

    /** The session of this page, opened by whoever asks first. @returns {Promise<Session>} */
    function openSession() {
        opened = opened || askForSession().catch((error) => {
            opened = null;
            throw error;
        });
        return opened;
    }

    async function askForSession() {
        const token = await readToken("");
        if (!token) throw sessionLost();
        api.token = token;
        return api.request("POST", url(["session"]), {}, undefined, false);
    }

    Object.assign(loraTrain, {ApiError, api, url, box, press, type, openSession});
})();
