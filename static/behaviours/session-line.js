// SPDX-License-Identifier: MIT
import { openLine } from "../live.js";
import { loadAnew } from "./same-visitor.js";

/**
 * Holds a line to the session while the page is looked at, so that a page whose session was ended elsewhere goes away
 * at once instead of at the next click.
 */
export function sessionLine() {
  if (!document.querySelector('meta[name="session-user"]')) return; // a page for anybody
  let line = null;

  function hold() {
    if (document.hidden || document.prerendering) {
      line?.close();
      line = null;
    } else {
      line ??= openLine("/ws/session", { onEnd: loadAnew });
    }
  }

  hold();
  document.addEventListener("visibilitychange", hold);
  document.addEventListener("prerenderingchange", hold);
  addEventListener("pagehide", () => {
    line?.close();
    line = null;
  });
  addEventListener("pageshow", hold);
}
