// SPDX-License-Identifier: MIT
import { openLine } from "../live.js";
import { leave } from "./session-end.js";

const SIGNS_OF_LIFE = ["pointerdown", "keydown", "visibilitychange"];

/**
 * Holds a line to the session while the page is open, so that the page hears at once when the session has ended. What is
 * inside an element with `data-live` is fetched anew whenever one of the user's sessions began or ended.
 *
 * The line is closed when the page is left, because browsers keep no page for Back with an open one (Chromium none that
 * had one and is not to be stored, so have this on few pages). It does not renew the session: a window that nobody looks
 * at must not keep somebody signed in.
 *
 * @param {HTMLElement} element
 * @param {(root: ParentNode) => void} start what starts the behaviours of new elements
 */
export function sessionLine(element, start) {
  let line = null;

  function open() {
    line ??= openLine("/ws/session", { renews: false, onMessage: hear, onEnd: end });
  }

  function close() {
    line?.close();
    line = null;
  }

  function end(why) {
    line = null;
    if (why !== "not-renewed") leave();
    else for (const sign of SIGNS_OF_LIFE) document.addEventListener(sign, openAgain);
  }

  function openAgain() {
    if (document.hidden) return;
    for (const sign of SIGNS_OF_LIFE) document.removeEventListener(sign, openAgain);
    open();
  }

  function hear(text) {
    if (element.dataset.live === undefined || JSON.parse(text).sessions !== "changed") return;
    if (element.contains(document.activeElement)) element.addEventListener("focusout", renew, { once: true });
    else renew();
  }

  async function renew() {
    const response = await fetch(location.pathname, { headers: { Accept: "text/html" } }).catch(() => null);
    if (!response?.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    element.replaceChildren(...(page.getElementById(element.id)?.childNodes ?? []));
    start(element);
  }

  if (document.prerendering) document.addEventListener("prerenderingchange", open, { once: true });
  else open();
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => event.persisted && open());
  document.addEventListener("submit", close); // a form that ends the session leads on by itself
}
