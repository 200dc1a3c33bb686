// SPDX-License-Identifier: MIT
import { readFrontToken } from "../session.js";
import { loadAnew } from "./same-visitor.js";

const ASK_TIMEOUT_MS = 5000;
const OWN_SIGN_OUT_MS = 300; // by then the tab that signed out has told the others, and its cookies are gone

/**
 * Notices that the session was ended elsewhere, on another device or by an administrator, where no answer of the server
 * tells this browser: asks when the page is looked at again, and when it is a copy that the browser kept. Asking renews
 * nothing. A copy is not to be seen until the answer is there.
 *
 * Who signed out in this browser is same-visitor.js' part: no question is asked without a session's cookie.
 */
export function noticeSessionEnd() {
  const address = document.querySelector('meta[name="session-alive"]')?.content;
  if (!address) return; // a page for anybody, or a server that cannot know

  async function ask({ isCopy }) {
    if (document.prerendering || !readFrontToken()) return;
    veil(isCopy);
    if (await isOver(address)) leave();
    else veil(false);
  }

  const { deliveryType } = performance.getEntriesByType("navigation")[0] ?? {};
  if (deliveryType) ask({ isCopy: true });
  addEventListener("pageshow", (event) => event.persisted && ask({ isCopy: true }));
  document.addEventListener("prerenderingchange", () => ask({ isCopy: true }));
  document.addEventListener("visibilitychange", () => document.hidden || ask({ isCopy: false }));
}

/** The session is over: shows nothing private any more, and goes where the server sends guests. */
export function leave() {
  veil(true);
  setTimeout(loadAnew, OWN_SIGN_OUT_MS);
}

/**
 * @param {string} address
 * @returns {Promise<boolean>} false also if nobody could be asked
 */
async function isOver(address) {
  try {
    const response = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    return response.ok && (await response.json()).alive === false;
  } catch {
    return false;
  }
}

/** @param {boolean} isVeiled */
const veil = (isVeiled) => document.documentElement.classList.toggle("veiled", isVeiled);
