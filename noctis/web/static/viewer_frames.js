// Pictures for the viewer: fetched a few at a time, kept up to a limit, given up when they are not wanted any more.
"use strict";

class Frames {
  static KEPT = 96 << 20; // bytes of pictures, as they are in memory
  static AT_ONCE = 3;
  static TRIES = 8;

  constructor() {
    this.kept = new Map(); // address -> { picture, info, reason }, the one used last at the end
    this.size = 0;
    this.open = new Map(); // address -> { promise, abort }
    this.ahead = [];
  }

  /** What is there already, or nothing. */
  have(address) {
    const found = this.kept.get(address);
    if (found) {
      this.kept.delete(address);
      this.kept.set(address, found);
    }
    return found;
  }

  /** A picture: { picture: ImageBitmap or null, info, reason }. */
  get(address) {
    const found = this.have(address);
    if (found) return Promise.resolve(found);
    const under = this.open.get(address);
    if (under) return under.promise;
    const abort = new AbortController();
    const promise = this.fetch(address, abort.signal).finally(() => {
      this.open.delete(address);
      this.go_on();
    });
    this.open.set(address, { promise, abort });
    return promise;
  }

  /** Nothing but these addresses is wanted: the first at once, the others one after the other. */
  want(addresses) {
    const wanted = new Set(addresses);
    for (const [address, under] of this.open) if (!wanted.has(address)) under.abort.abort();
    this.ahead = addresses.filter((each) => !this.kept.has(each) && !this.open.has(each));
    this.go_on();
  }

  go_on() {
    while (this.ahead.length && this.open.size < Frames.AT_ONCE) this.get(this.ahead.shift()).catch(() => {});
  }

  async fetch(address, signal) {
    for (let attempt = 1; ; attempt++) {
      const answer = await fetch(address, { signal, headers: { Accept: "image/*" } });
      if (answer.status === 503 && attempt < Frames.TRIES) {
        const seconds = Number(answer.headers.get("Retry-After")) || 1;
        await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
        if (signal.aborted) throw new DOMException("given up", "AbortError");
        continue;
      }
      if (answer.redirected || answer.status === 401) location.reload(); // logged out meanwhile
      if (!answer.ok) {
        const problem = await answer.json().catch(() => ({}));
        throw new Error(problem.title || `the server answered ${answer.status}`);
      }
      const reason = decodeURIComponent(answer.headers.get("Noctis-Reason") || "");
      const info = JSON.parse(answer.headers.get("Noctis-Frame") || "{}");
      const picture = reason ? null : await createImageBitmap(await answer.blob());
      return this.keep(address, { picture, info, reason });
    }
  }

  keep(address, made) {
    this.kept.set(address, made);
    this.size += made.picture ? 4 * made.picture.width * made.picture.height : 0;
    for (const [other, old] of this.kept) {
      if (this.size <= Frames.KEPT || other === address) break;
      this.kept.delete(other);
      if (old.picture) this.size -= 4 * old.picture.width * old.picture.height; // closed by the collector: it may be on show
    }
    return made;
  }
}
