/* SPDX-License-Identifier: Apache-2.0 */
/* The search runs in a worker, which browsers refuse to pages that are opened as files. A hidden frame
   of the same page stands in for it. The theme looks for this file's name in mkdocs.yml, and would load a
   script from the network without it. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      inside.postMessage = data => {
        const message = new MessageEvent("message", { data });
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      };
      inside.importScripts = (...urls) => Promise.all(urls.map(one => load(inside, one)));
      const ready = load(inside, url);
      this.postMessage = data =>
        ready.then(() => inside.dispatchEvent(new MessageEvent("message", { data })));
      this.terminate = () => frame.remove();
    }
  };

  function load(inside, url) {
    return new Promise((resolve, reject) => {
      const script = inside.document.createElement("script");
      Object.assign(script, { src: new URL(url, location), onload: resolve, onerror: reject });
      inside.document.documentElement.append(script);
    });
  }
}
