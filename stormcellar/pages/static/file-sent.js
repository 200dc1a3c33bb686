// SPDX-License-Identifier: MIT
/**
 * Notices that a navigation ended in a download: the browser then stays on the page that began it, and tells it nothing.
 *
 * The page leaves a random number in a cookie for the address. A server that answers there with a file, or with no
 * content, puts the number into another cookie (stormcellar/web/file_sent.py).
 */

const AWAITED = "sFileAwaited";
const SENT = "sFileSent";
const KEPT_S = 60;
const CHECK_EVERY_MS = 200;

/**
 * Begins a navigation, and waits for the news that it ended in a download.
 *
 * @param {string} address a path of this site
 * @param {() => void} begin begins the navigation
 * @param {() => void} onSent is called once, if the answer was no page
 */
export function awaitFile(address, begin, onSent) {
  const number = String(crypto.getRandomValues(new Uint32Array(1))[0]);
  const { pathname } = new URL(address, location.href);
  const path = pathname.includes(";") ? "/" : pathname;
  document.cookie = `${AWAITED}=${number}; path=${path}; max-age=${KEPT_S}; samesite=lax`;
  begin();
  const timer = setInterval(() => {
    if (!document.cookie.split("; ").includes(`${SENT}=${number}`)) return;
    clearInterval(timer);
    document.cookie = `${SENT}=; path=/; max-age=0`;
    onSent();
  }, CHECK_EVERY_MS);
  setTimeout(() => clearInterval(timer), KEPT_S * 1000);
}
